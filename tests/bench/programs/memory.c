/* Memory programs: loads and stores at random places in little and in much memory, and copies. */
#include <emmintrin.h>

#include "bench.h"

/* 65536 times a round: the next place depends on what was read. */
static uint64_t chase(uint32_t *words, uint32_t count, unsigned long rounds)
{
    for (uint32_t i = 0; i < count; i++)
        words[i] = i * 2654435761u;
    uint32_t at = 1, sum = 0;
    while (rounds-- > 0)
        for (uint32_t i = 0; i < 65536; i++) {
            uint32_t *p = &words[(at >> 5) & (count - 1)];
            sum += *p;
            at = at * 1664525 + 1013904223 + (*p & 0xff);
            *p = sum;
        }
    return sum;
}

static uint32_t large[4 << 20];

uint64_t bench_chase_small(unsigned long rounds)
{
    return chase(large, 16 << 10, rounds);
}

uint64_t bench_chase_large(unsigned long rounds)
{
    return chase(large, 4 << 20, rounds);
}

/* 64 KiB a round, 16 bytes at a time as a C library copies; its own choice depends on the CPU. */
uint64_t bench_copy(unsigned long rounds)
{
    enum { BYTES = 65536 };
    uint8_t *from = (uint8_t *)large, *to = from + BYTES;
    uint64_t sum = 0;
    for (int i = 0; i < BYTES; i++)
        from[i] = (uint8_t)(i * 13);
    while (rounds-- > 0) {
        BENCH_OPAQUE(from);
        for (int i = 0; i < BYTES; i += 64) {
            __m128i a = _mm_loadu_si128((const __m128i *)(from + i));
            __m128i b = _mm_loadu_si128((const __m128i *)(from + i + 16));
            __m128i c = _mm_loadu_si128((const __m128i *)(from + i + 32));
            __m128i d = _mm_loadu_si128((const __m128i *)(from + i + 48));
            _mm_storeu_si128((__m128i *)(to + i), a);
            _mm_storeu_si128((__m128i *)(to + i + 16), b);
            _mm_storeu_si128((__m128i *)(to + i + 32), c);
            _mm_storeu_si128((__m128i *)(to + i + 48), d);
        }
        sum += to[rounds & (BYTES - 1)];
    }
    return sum;
}
