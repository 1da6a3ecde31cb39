/* Integer programs: table look-ups, dependent shifts, byte stores, and branches that depend on data. */
#include <string.h>

#include "bench.h"

/* CRC-32 of 64 KiB a round, a byte at a time. */
uint64_t bench_crc(unsigned long rounds)
{
    static uint32_t table[256];
    static uint8_t data[65536];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
        table[i] = c;
    }
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    uint32_t crc = ~0u;
    while (rounds-- > 0)
        for (size_t i = 0; i < sizeof data; i++)
            crc = crc >> 8 ^ table[(crc ^ data[i]) & 0xff];
    return crc;
}

/* 65536 steps of a generator a round, mixed as a hash does it. */
uint64_t bench_xorshift(unsigned long rounds)
{
    uint64_t state = 88172645463325252, sum = 0;
    while (rounds-- > 0)
        for (int i = 0; i < 65536; i++) {
            uint64_t v = bench_random(&state);
            v = (v ^ v >> 32) * 0x9e3779b97f4a7c15;
            sum += v << 11 | v >> 53;
        }
    return sum;
}

/* The primes below 32768. */
uint64_t bench_sieve(unsigned long rounds)
{
    enum { LIMIT = 32768 };
    static uint8_t composite[LIMIT];
    uint64_t primes = 0;
    while (rounds-- > 0) {
        memset(composite, 0, sizeof composite);
        for (unsigned i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            primes++;
            for (unsigned j = i * 2; j < LIMIT; j += i)
                composite[j] = 1;
        }
    }
    return primes;
}

static void quicksort(uint32_t *a, long low, long high)
{
    while (low < high) {
        uint32_t pivot = a[(low + high) / 2];
        long i = low, j = high;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        quicksort(a, low, j);
        low = i;
    }
}

/* 8192 random numbers, sorted. */
uint64_t bench_sort(unsigned long rounds)
{
    enum { COUNT = 8192 };
    static uint32_t a[COUNT];
    uint64_t state = 42, sum = 0;
    while (rounds-- > 0) {
        for (int i = 0; i < COUNT; i++)
            a[i] = (uint32_t)bench_random(&state);
        quicksort(a, 0, COUNT - 1);
        for (int i = 0; i < COUNT; i++)
            sum = sum * 31 + a[i];
    }
    return sum;
}
