/*
 * What glibc and the compiler choose by the CPU, on one page of output: string functions over all
 * alignments and lengths, libm at many points, sorting, conversions, vectors, 128-bit and x87
 * arithmetic.  Prints checksums and values; the same source is compiled in several ways.
 */
#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static uint64_t state = 88172645463325252ull;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static uint64_t mix(uint64_t sum, uint64_t v)
{
    return (sum ^ v) * 0x100000001b3ull;
}

static uint64_t bits(double v)
{
    uint64_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static void strings(void)
{
    static char a[1024], b[1024];
    uint64_t sum = 0;
    for (unsigned length = 0; length < 300; length += 1 + length / 40)
        for (unsigned at = 0; at < 64; at += 7) {
            for (unsigned i = 0; i < sizeof a; i++)
                a[i] = b[i] = (char)('a' + next() % 20);
            a[at + length] = 0;
            memcpy(b + (at ^ 5), a + at, length + 1);
            sum = mix(sum, strlen(a + at));
            sum = mix(sum, (uint64_t)(strcmp(a + at, b + (at ^ 5)) + 1));
            char *found = strchr(a + at, 'c');
            sum = mix(sum, found ? (uint64_t)(found - a) : 9999);
            found = strrchr(a + at, 'd');
            sum = mix(sum, found ? (uint64_t)(found - a) : 9999);
            found = strstr(a + at, "ab");
            sum = mix(sum, found ? (uint64_t)(found - a) : 9999);
            found = memchr(a, 0, sizeof a);
            sum = mix(sum, (uint64_t)(found - a));
            sum = mix(sum, strspn(a + at, "abcdefgh"));
            sum = mix(sum, strcspn(a + at, "xyzq"));
            int less = memcmp(a, b, sizeof a);
            sum = mix(sum, less < 0 ? 1 : less > 0 ? 2 : 3);
            memmove(a + 3, a, length);
            memset(b + at, 'z', length);
            for (unsigned i = 0; i < sizeof a; i++)
                sum = mix(sum, (unsigned char)a[i] | (unsigned)(unsigned char)b[i] << 8);
        }
    printf("strings %016llx\n", (unsigned long long)sum);
    wchar_t wide[64];
    swprintf(wide, 64, L"%d wide %ls", 42, L"characters");
    printf("%zu %ls\n", wcslen(wide), wide);
}

#define EACH(f)                                                                                    \
    do {                                                                                           \
        uint64_t sum = 0;                                                                          \
        for (int i = 1; i < 2000; i++) {                                                           \
            double x = (double)(int64_t)next() / (double)(1ull << (next() % 63));                  \
            sum = mix(mix(sum, bits(f(x))), bits(f(1.0 / (i + 1))));                               \
        }                                                                                          \
        printf("%s %016llx\n", #f, (unsigned long long)sum);                                       \
    } while (0)

static double fused(double x) { return fma(x, 3.1, -x * 3.1); }
static double power(double x) { return pow(fabs(x), 0.37); }
static double single(double x) { return sinf((float)x) + expf((float)fmod(x, 40)); }
static double positive_log(double x) { return log(fabs(x) + 1e-300); }

static void mathematics(void)
{
    EACH(sin); EACH(cos); EACH(tan); EACH(exp); EACH(positive_log); EACH(power); EACH(atan);
    EACH(floor); EACH(rint); EACH(trunc); EACH(cbrt); EACH(fused); EACH(single); EACH(tanh);
    long double sum = 0;
    for (int i = 1; i < 3000; i++)
        sum += sinl(i) / i + sqrtl(i) * 1e-3L;
    printf("long double %.20Lg\n", sum);
    static const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    for (unsigned i = 0; i < 4; i++) {
        volatile double third = 3, one = 1;
        fesetround(modes[i]);
        printf("1/3 %.20g %.17g\n", one / third, nearbyint(-2.5 * one));
    }
    fesetround(FE_TONEAREST);
    feclearexcept(FE_ALL_EXCEPT);
    volatile double zero = 0, q = 1 / zero;
    (void)q;
    printf("exceptions %x\n", (unsigned)fetestexcept(FE_ALL_EXCEPT));
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void integers(void)
{
    static uint64_t v[20000];
    uint64_t sum = 0;
    for (unsigned i = 0; i < 20000; i++)
        v[i] = next();
    qsort(v, 20000, sizeof v[0], by_value);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned __int128 p = (unsigned __int128)v[i] * (v[i] >> 3);
        sum = mix(sum, (uint64_t)(p >> 64) ^ (uint64_t)p);
        sum = mix(sum, (uint64_t)__builtin_popcountll(v[i]) + (uint64_t)__builtin_clzll(v[i] | 1) +
                           (uint64_t)__builtin_ctzll(v[i] | 1ull << 60));
        sum = mix(sum, __builtin_bswap64(v[i]) % (v[i % 777] | 1));
    }
    printf("integers %016llx\n", (unsigned long long)sum);
}

static void vectors(void)
{
    static float a[4096], b[4096];
    static int32_t n[4096];
    static uint8_t m[4096];
    double total = 0;
    uint64_t sum = 0;
    for (unsigned i = 0; i < 4096; i++) {
        a[i] = (float)(int)(next() % 2000) / 7;
        b[i] = (float)(int)(next() % 2000) / 3;
        n[i] = (int32_t)next();
        m[i] = (uint8_t)next();
    }
    for (unsigned round = 0; round < 20; round++)
        for (unsigned i = 0; i < 4096; i++) {
            a[i] = a[i] * b[i] * 0.001f + (b[i] > a[i] ? b[i] : a[i]);
            n[i] = (n[i] << 3 ^ n[i] >> 7) + (n[i] > 1000 ? m[i] : -m[i]);
            m[i] = (uint8_t)((m[i] * 5 + 3) / 2);
        }
    for (unsigned i = 0; i < 4096; i++) {
        total += a[i];
        sum = mix(sum, (uint32_t)n[i] ^ (uint64_t)m[i] << 32);
    }
    printf("vectors %.17g %016llx\n", total, (unsigned long long)sum);
}

int main(void)
{
    strings();
    mathematics();
    integers();
    vectors();
    char text[64];
    snprintf(text, sizeof text, "%.15g", strtod("1.7976931348623157e308", NULL));
    printf("%s %a %.3e\n", text, strtod("0x1.8p-1070", NULL), 1e-310);
    return 0;
}
