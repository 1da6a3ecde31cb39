/*
 * SSE arithmetic by the host's own SSE unit: x86-64 hosts only.  The guest's MXCSR is loaded with
 * all exceptions masked, the operation runs, and the flags come back, so that NaNs, rounding, DAZ,
 * FTZ and flags are the real ones.  Unmasked exceptions are found afterwards, from the flags.
 *
 * The host thread is taken to run with the ABI's MXCSR (0x1f80).  Only x86_fp_enter() and
 * x86_fp_leave() change it: an executor that keeps the guest's MXCSR loaded replaces these two.
 */
#ifndef VMRUN_INTERP_X86_SSE_HOST_H
#define VMRUN_INTERP_X86_SSE_HOST_H

#include <emmintrin.h>

#include "sse-ops.h"

#define FP_MASKS 0x1f80u
#define FP_FLAGS 0x3fu
#define FP_UE 0x10u
#define FP_UM 0x800u
#define FP_FTZ 0x8000u

enum { FP_PASS_END, FP_PASS_RUN, FP_PASS_TINY };

static inline void fp_set_mxcsr(uint32_t v)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(v));
}

static inline uint32_t fp_get_mxcsr(void)
{
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v;
}

/*
 * Runs the statement that follows with the guest's MXCSR.  The statement may run twice, so it must
 * not change its inputs; its volatile asm stays between enter and leave.  xm becomes X86_SSE_XM
 * when the result must not be stored.
 */
#define FP_RUN(f, xm) \
    for (uint32_t tiny_ = 0, pass_ = x86_fp_enter(f); pass_; \
         pass_ = x86_fp_leave(f, pass_, &tiny_, &xm))

static inline uint32_t x86_fp_enter(X86Fpu *f)
{
    if (__builtin_expect((f->mxcsr & FP_MASKS) == FP_MASKS, 1)) {
        fp_set_mxcsr(f->mxcsr);
        return FP_PASS_RUN;
    }
    /*
     * Unmasked underflow is raised by any tiny result, but the masked flag only by an inexact one.
     * Flush-to-zero raises it for every tiny result: a first pass with it finds them.  When
     * underflow or overflow is raised, PE stands for the masked result, not for the unbounded one:
     * sse-fp.c then has the software do it again.
     */
    uint32_t v = (f->mxcsr & ~FP_FLAGS) | FP_MASKS;
    if (!(f->mxcsr & FP_UM)) {
        fp_set_mxcsr(v | FP_FTZ);
        return FP_PASS_TINY;
    }
    fp_set_mxcsr(v);
    return FP_PASS_RUN;
}

static inline uint32_t x86_fp_leave_unmasked(X86Fpu *f, uint32_t pass, uint32_t *tiny, uint32_t *xm)
{
    uint32_t now = fp_get_mxcsr() & FP_FLAGS;
    if (pass == FP_PASS_TINY) {
        *tiny = now & FP_UE;
        /* FTZ does nothing while underflow is unmasked. */
        fp_set_mxcsr((f->mxcsr & ~(FP_FLAGS | FP_FTZ)) | FP_MASKS);
        return FP_PASS_RUN;
    }
    fp_set_mxcsr(FP_MASKS);
    now |= *tiny;
    uint32_t unmasked = now & ~(f->mxcsr >> 7);
    if (unmasked & 7) /* invalid, denormal, divide by zero: found before anything is computed */
        now &= 7;
    f->mxcsr |= now;
    if (unmasked)
        *xm = X86_SSE_XM;
    return FP_PASS_END;
}

static inline uint32_t x86_fp_leave(X86Fpu *f, uint32_t pass, uint32_t *tiny, uint32_t *xm)
{
    if (__builtin_expect((f->mxcsr & FP_MASKS) == FP_MASKS, 1)) {
        f->mxcsr = fp_get_mxcsr();
        fp_set_mxcsr(FP_MASKS);
        return FP_PASS_END;
    }
    return x86_fp_leave_unmasked(f, pass, tiny, xm);
}

/* The first 4, 8 or 16 bytes, the rest zero.  One vector load: pieces would stall the reload. */
static inline __attribute__((always_inline)) X86Xmm fp_load(const void *p, unsigned width)
{
    X86Xmm v;
    __m128i x;
    if (width == 4) {
        int32_t d;
        memcpy(&d, p, 4);
        x = _mm_cvtsi32_si128(d);
    } else if (width == 8) {
        x = _mm_loadl_epi64(p);
    } else {
        x = _mm_loadu_si128(p);
    }
    _mm_store_si128((__m128i *)&v, x);
    return v;
}

#define HOST_XMM(v) _mm_load_si128((const __m128i *)(v))

/* a = a OP b */
#define HOST_BINARY(op)                                                                            \
    static inline void h_##op(X86Xmm *a, const X86Xmm *b)                                          \
    {                                                                                              \
        __m128i x = HOST_XMM(a);                                                                   \
        __asm__ volatile(#op " %1, %0" : "+x"(x) : "x"(HOST_XMM(b)));                              \
        _mm_store_si128((__m128i *)a, x);                                                          \
    }
#define HOST_BINARY4(op) \
    HOST_BINARY(op##ps) HOST_BINARY(op##pd) HOST_BINARY(op##ss) HOST_BINARY(op##sd)

HOST_BINARY4(add)
HOST_BINARY4(sub)
HOST_BINARY4(mul)
HOST_BINARY4(div)
HOST_BINARY4(min)
HOST_BINARY4(max)
HOST_BINARY4(sqrt)
HOST_BINARY(rcpps)
HOST_BINARY(rcpss)
HOST_BINARY(rsqrtps)
HOST_BINARY(rsqrtss)
HOST_BINARY(cvtps2pd)
HOST_BINARY(cvtpd2ps)
HOST_BINARY(cvtss2sd)
HOST_BINARY(cvtsd2ss)
HOST_BINARY(cvtdq2ps)
HOST_BINARY(cvtdq2pd)
HOST_BINARY(cvtps2dq)
HOST_BINARY(cvttps2dq)
HOST_BINARY(cvtpd2dq)
HOST_BINARY(cvttpd2dq)

#define HOST_CMP(type)                                                                             \
    static inline void h_cmp##type(X86Xmm *a, const X86Xmm *b, unsigned predicate)                 \
    {                                                                                              \
        __m128i x = HOST_XMM(a), y = HOST_XMM(b);                                                  \
        switch (predicate & 7) {                                                                   \
        case 0: __asm__ volatile("cmpeq" #type " %1, %0" : "+x"(x) : "x"(y)); break;               \
        case 1: __asm__ volatile("cmplt" #type " %1, %0" : "+x"(x) : "x"(y)); break;               \
        case 2: __asm__ volatile("cmple" #type " %1, %0" : "+x"(x) : "x"(y)); break;               \
        case 3: __asm__ volatile("cmpunord" #type " %1, %0" : "+x"(x) : "x"(y)); break;            \
        case 4: __asm__ volatile("cmpneq" #type " %1, %0" : "+x"(x) : "x"(y)); break;              \
        case 5: __asm__ volatile("cmpnlt" #type " %1, %0" : "+x"(x) : "x"(y)); break;              \
        case 6: __asm__ volatile("cmpnle" #type " %1, %0" : "+x"(x) : "x"(y)); break;              \
        case 7: __asm__ volatile("cmpord" #type " %1, %0" : "+x"(x) : "x"(y)); break;              \
        }                                                                                          \
        _mm_store_si128((__m128i *)a, x);                                                          \
    }

HOST_CMP(ps)
HOST_CMP(pd)
HOST_CMP(ss)
HOST_CMP(sd)

/* EFLAGS of a compare: ZF, PF, CF; the others are cleared. */
#define HOST_COMI(op)                                                                              \
    static inline uint32_t h_##op(const X86Xmm *a, const X86Xmm *b)                                \
    {                                                                                              \
        bool z, p, c;                                                                              \
        __asm__ volatile(#op " %4, %3" : "=@ccz"(z), "=@ccp"(p), "=@ccc"(c)                        \
                         : "x"(HOST_XMM(a)), "x"(HOST_XMM(b)));                                    \
        return (uint32_t)z << 6 | (uint32_t)p << 2 | c;                                            \
    }

HOST_COMI(comiss)
HOST_COMI(comisd)
HOST_COMI(ucomiss)
HOST_COMI(ucomisd)

#define HOST_FROM_INT(op, suffix, type)                                                            \
    static inline void h_##op##suffix(X86Xmm *a, type v)                                           \
    {                                                                                              \
        __m128i x = HOST_XMM(a);                                                                   \
        __asm__ volatile(#op #suffix " %1, %0" : "+x"(x) : "r"(v));                                \
        _mm_store_si128((__m128i *)a, x);                                                          \
    }
#define HOST_TO_INT(op, name, type)                                                                \
    static inline type h_##name(const X86Xmm *b)                                                   \
    {                                                                                              \
        type v;                                                                                    \
        __asm__ volatile(#op " %1, %0" : "=r"(v) : "x"(HOST_XMM(b)));                              \
        return v;                                                                                  \
    }

HOST_FROM_INT(cvtsi2ss, l, uint32_t)
HOST_FROM_INT(cvtsi2ss, q, uint64_t)
HOST_FROM_INT(cvtsi2sd, l, uint32_t)
HOST_FROM_INT(cvtsi2sd, q, uint64_t)
HOST_TO_INT(cvtss2si, cvtss2si_l, uint32_t)
HOST_TO_INT(cvtss2si, cvtss2si_q, uint64_t)
HOST_TO_INT(cvtsd2si, cvtsd2si_l, uint32_t)
HOST_TO_INT(cvtsd2si, cvtsd2si_q, uint64_t)
HOST_TO_INT(cvttss2si, cvttss2si_l, uint32_t)
HOST_TO_INT(cvttss2si, cvttss2si_q, uint64_t)
HOST_TO_INT(cvttsd2si, cvttsd2si_l, uint32_t)
HOST_TO_INT(cvttsd2si, cvttsd2si_q, uint64_t)

#endif
