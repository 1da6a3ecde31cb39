/* The programs that `tests/bench/run programs` times: one function each, the amount of work in
   rounds, a checksum as the result, by which runs on different machines are compared. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

uint64_t bench_crc(unsigned long rounds);
uint64_t bench_xorshift(unsigned long rounds);
uint64_t bench_sieve(unsigned long rounds);
uint64_t bench_chase_small(unsigned long rounds);
uint64_t bench_chase_large(unsigned long rounds);
uint64_t bench_copy(unsigned long rounds);
uint64_t bench_sort(unsigned long rounds);
uint64_t bench_nbody(unsigned long rounds);
uint64_t bench_mandelbrot(unsigned long rounds);
uint64_t bench_matrix(unsigned long rounds);
uint64_t bench_saxpy(unsigned long rounds);
uint64_t bench_syscall(unsigned long rounds);
uint64_t bench_pipe(unsigned long rounds);
uint64_t bench_exec(unsigned long rounds);
uint64_t bench_fault(unsigned long rounds);

static inline uint64_t bench_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* What the compiler must not work out, or leave out. */
#define BENCH_OPAQUE(x) __asm__ volatile("" : "+r"(x) : : "memory")

#endif
