/*
 * Floating point without the host's MXCSR, for the executor: the plain C operation, where it can be
 * shown to raise nothing but "inexact", and that is raised already.  That is so with the guest's
 * MXCSR at its usual controls (round to nearest, all masked, no DAZ, no FTZ) and its sticky PE set,
 * operands that are zero or normal, and a result that is normal, or zero and exact.  All else goes
 * the exact way, sse-fp.c; so the first inexact operation does, and later ones come here.
 *
 * "Normal" leaves out the smallest exponent: a result that is tiny before it is rounded up to the
 * smallest normal number raises underflow.
 */
#ifndef VMRUN_INTERP_X86_SSE_FAST_H
#define VMRUN_INTERP_X86_SSE_FAST_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "cpu.h"

/* Controls, and PE; the other flags may be as they are. */
#define SSE_FAST_MASK 0xffe0u
#define SSE_FAST_MXCSR 0x1fa0u

static inline bool x86_fast_mxcsr(const X86Cpu *c)
{
    /* the host must not compute in a wider format */
    return FLT_EVAL_METHOD == 0 && likely((c->fpu.mxcsr & SSE_FAST_MASK) == SSE_FAST_MXCSR);
}

static inline bool x86_normal64(uint64_t v)
{
    return ((v + (1ull << 52)) & ~(1ull << 63)) >= 3ull << 52;
}
static inline bool x86_zero64(uint64_t v) { return v << 1 == 0; }
static inline bool x86_normal32(uint32_t v)
{
    return ((v + (1u << 23)) & ~(1u << 31)) >= 3u << 23;
}
static inline bool x86_zero32(uint32_t v) { return v << 1 == 0; }

/* A zero as an operand or as the result; exact where only an operand makes the result zero. */
#define FAST_ZEROS(bits)                                                                           \
    static inline bool x86_fast_add##bits(uint##bits##_t a, uint##bits##_t b, uint##bits##_t r)    \
    {                                                                                              \
        return (x86_normal##bits(a) || x86_zero##bits(a)) &&                                       \
               (x86_normal##bits(b) || x86_zero##bits(b)) &&                                       \
               (x86_normal##bits(r) || x86_zero##bits(r));                                         \
    }                                                                                              \
    static inline bool x86_fast_mul##bits(uint##bits##_t a, uint##bits##_t b, uint##bits##_t r)    \
    {                                                                                              \
        return x86_zero##bits(r) && ((x86_zero##bits(a) && (x86_normal##bits(b) || x86_zero##bits(b))) || \
                                     (x86_zero##bits(b) && x86_normal##bits(a)));                  \
    }                                                                                              \
    static inline bool x86_fast_div##bits(uint##bits##_t a, uint##bits##_t b, uint##bits##_t r)    \
    {                                                                                              \
        return x86_zero##bits(r) && x86_zero##bits(a) && x86_normal##bits(b);                      \
    }
FAST_ZEROS(32)
FAST_ZEROS(64)
#define x86_fast_sub32 x86_fast_add32
#define x86_fast_sub64 x86_fast_add64

/* *a OP= b on the bits; false: not done. */
#define FAST_SCALAR(name, op, bits, type)                                                          \
    static inline bool x86_fast_##name##_##type(uint##bits##_t *a, uint##bits##_t b)               \
    {                                                                                              \
        type x, y;                                                                                 \
        uint##bits##_t r, o = *a;                                                                  \
        memcpy(&x, &o, sizeof x);                                                                  \
        memcpy(&y, &b, sizeof y);                                                                  \
        x = x op y;                                                                                \
        memcpy(&r, &x, sizeof r);                                                                  \
        if (unlikely(!(x86_normal##bits(o) && x86_normal##bits(b) && x86_normal##bits(r)) &&       \
                     !x86_fast_##name##bits(o, b, r)))                                             \
            return false;                                                                          \
        *a = r;                                                                                    \
        return true;                                                                               \
    }
#define FAST_ARITH(name, op)                                                                       \
    FAST_SCALAR(name, op, 32, float)                                                               \
    FAST_SCALAR(name, op, 64, double)
FAST_ARITH(add, +)
FAST_ARITH(sub, -)
FAST_ARITH(mul, *)
FAST_ARITH(div, /)

/* Packed: all of them normal, or, in sums, zero. */
typedef int32_t X86V4i __attribute__((vector_size(16)));
typedef int64_t X86V2i __attribute__((vector_size(16)));
typedef float X86V4f __attribute__((vector_size(16)));
typedef double X86V2d __attribute__((vector_size(16)));

static inline X86V4i x86_normal_v4(X86V4i v)
{
    v &= 0x7fffffff;
    return (v > 0x00ffffff) & (v < 0x7f800000);
}
/* By the upper half, which has the exponent: SSE2 compares no 64 bits. */
static inline X86V4i x86_normal_v2(X86V4i v)
{
    v &= 0x7fffffff;
    return ((v > 0x001fffff) & (v < 0x7ff00000)) | (X86V4i){ -1, 0, -1, 0 };
}
static inline bool x86_all_v4(X86V4i v)
{
    X86V2i q;
    memcpy(&q, &v, sizeof q);
    return (q[0] & q[1]) == -1;
}
static inline X86V4i x86_zero_v4(X86V4i v) { return (v & 0x7fffffff) == 0; }
static inline X86V4i x86_zero_v2(X86V4i v)
{
    return (X86V4i)((X86V2i)(v & (X86V4i){ -1, 0x7fffffff, -1, 0x7fffffff }) == 0);
}

#define FAST_PACKED(name, op, v, vector, sum)                                                      \
    static inline bool x86_fast_##name##_##v(X86Xmm *to, const X86Xmm *from)                       \
    {                                                                                              \
        vector x, y;                                                                               \
        X86V4i a, b, r;                                                                            \
        memcpy(&x, to, sizeof x);                                                                  \
        memcpy(&y, from, sizeof y);                                                                \
        memcpy(&a, to, sizeof a);                                                                  \
        memcpy(&b, from, sizeof b);                                                                \
        x = x op y;                                                                                \
        memcpy(&r, &x, sizeof r);                                                                  \
        X86V4i na = x86_normal_##v(a), nb = x86_normal_##v(b), nr = x86_normal_##v(r);             \
        if (unlikely(!x86_all_v4(na & nb & nr)) &&                                                 \
            !(sum ? x86_all_v4((na | x86_zero_##v(a)) & (nb | x86_zero_##v(b)) & (nr | x86_zero_##v(r)))     \
                  : x86_all_v4((na & nb & nr) | (x86_zero_##v(a) & (nb | x86_zero_##v(b))) | (x86_zero_##v(b) & na))))      \
            return false;                                                                          \
        memcpy(to, &x, sizeof x);                                                                  \
        return true;                                                                               \
    }
FAST_PACKED(add, +, v4, X86V4f, 1)
FAST_PACKED(sub, -, v4, X86V4f, 1)
FAST_PACKED(mul, *, v4, X86V4f, 0)
FAST_PACKED(add, +, v2, X86V2d, 1)
FAST_PACKED(sub, -, v2, X86V2d, 1)
FAST_PACKED(mul, *, v2, X86V2d, 0)

/* Of a positive normal number. */
static inline double x86_fast_sqrt(double v)
{
#if defined(__SSE2__)
    __asm__("sqrtsd %0, %0" : "+x"(v)); /* sqrt() wants libm for errno */
    return v;
#else
    return sqrt(v);
#endif
}

/* A compare raises nothing by numbers that are zero or normal; EFLAGS as COMISD leaves them. */
#define FAST_COMPARE(bits, type)                                                                   \
    static inline bool x86_fast_compare_##type(uint##bits##_t a, uint##bits##_t b, uint32_t *flags) \
    {                                                                                              \
        type x, y;                                                                                 \
        if (unlikely(!(x86_normal##bits(a) || x86_zero##bits(a)) ||                                \
                     !(x86_normal##bits(b) || x86_zero##bits(b))))                                 \
            return false;                                                                          \
        memcpy(&x, &a, sizeof x);                                                                  \
        memcpy(&y, &b, sizeof y);                                                                  \
        *flags = x == y ? FL_ZF : x < y ? FL_CF : 0;                                               \
        return true;                                                                               \
    }
FAST_COMPARE(32, float)
FAST_COMPARE(64, double)

#endif
