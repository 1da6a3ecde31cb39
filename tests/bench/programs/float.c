/* Floating-point programs: scalar double precision, and packed single precision. */
#include <string.h>
#include <xmmintrin.h>

#include "bench.h"

static uint64_t bits_of(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

static double square_root(double x)
{
    __asm__("sqrtsd %0, %0" : "+x"(x));
    return x;
}

/* Five bodies under gravity, 1000 steps a round. */
uint64_t bench_nbody(unsigned long rounds)
{
    struct { double x, y, z, vx, vy, vz, mass; } b[5] = {
        { 0, 0, 0, 0, 0, 0, 39.47 },
        { 4.84, -1.16, -0.10, 0.606, 2.811, -0.02, 0.0377 },
        { 8.34, 4.12, -0.4, -1.01, 1.82, 0.008, 0.0113 },
        { 12.89, -15.11, -0.22, 1.08, 0.868, -0.01, 0.0017 },
        { 15.37, -25.9, 0.179, 0.979, 0.594, -0.034, 0.002 },
    };
    for (unsigned long n = rounds * 1000; n > 0; n--) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double dx = b[i].x - b[j].x, dy = b[i].y - b[j].y, dz = b[i].z - b[j].z;
                double square = dx * dx + dy * dy + dz * dz;
                double pull = 0.01 / (square * square_root(square));
                b[i].vx -= dx * b[j].mass * pull;
                b[i].vy -= dy * b[j].mass * pull;
                b[i].vz -= dz * b[j].mass * pull;
                b[j].vx += dx * b[i].mass * pull;
                b[j].vy += dy * b[i].mass * pull;
                b[j].vz += dz * b[i].mass * pull;
            }
        for (int i = 0; i < 5; i++) {
            b[i].x += 0.01 * b[i].vx;
            b[i].y += 0.01 * b[i].vy;
            b[i].z += 0.01 * b[i].vz;
        }
    }
    return bits_of(b[1].x) ^ bits_of(b[4].vz);
}

/* 64 by 64 points, 100 iterations at most. */
uint64_t bench_mandelbrot(unsigned long rounds)
{
    uint64_t inside = 0;
    while (rounds-- > 0)
        for (int py = 0; py < 64; py++)
            for (int px = 0; px < 64; px++) {
                double cr = px * (3.0 / 64) - 2, ci = py * (2.0 / 64) - 1, zr = 0, zi = 0;
                int i = 0;
                for (; i < 100 && zr * zr + zi * zi < 4; i++) {
                    double t = zr * zr - zi * zi + cr;
                    zi = 2 * zr * zi + ci;
                    zr = t;
                }
                inside += (unsigned)i;
            }
    return inside;
}

/* A product of 48 by 48 matrices. */
uint64_t bench_matrix(unsigned long rounds)
{
    enum { N = 48 };
    static double a[N][N], b[N][N], c[N][N];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            a[i][j] = 1.0 / (i + j + 1), b[i][j] = i - j * 0.5;
    while (rounds-- > 0) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double sum = 0;
                for (int k = 0; k < N; k++)
                    sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
        a[rounds % N][0] += c[0][rounds % N] * 1e-6;
    }
    return bits_of(c[N - 1][3]);
}

/* y = a x + y for 4096 single-precision numbers, four at a time. */
uint64_t bench_saxpy(unsigned long rounds)
{
    enum { N = 4096 };
    static float x[N] __attribute__((aligned(16))), y[N] __attribute__((aligned(16)));
    for (int i = 0; i < N; i++)
        x[i] = (float)i / N, y[i] = 1;
    const __m128 a = _mm_set1_ps(0.001f), decay = _mm_set1_ps(0.999f);
    while (rounds-- > 0)
        for (int i = 0; i < N; i += 4) {
            __m128 v = _mm_mul_ps(_mm_load_ps(y + i), decay);
            _mm_store_ps(y + i, _mm_add_ps(v, _mm_mul_ps(a, _mm_load_ps(x + i))));
        }
    return bits_of((double)y[N - 1] + (double)y[N / 3]);
}
