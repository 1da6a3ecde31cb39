/*
 * The floating-point operations of SSE to SSE4.1, after the Intel SDM volume 1, chapters 10 to 12.
 * The arithmetic itself is the host's (sse-host.h) or, elsewhere, software (sse-soft.h).
 */
#if defined(__x86_64__) && !defined(X86_FP_SOFT)
#include "sse-host.h"
#else
#include "sse-soft.h"
#endif

/*
 * This file is compiled a second time, with the software, as sse-fp-soft.c.  The host tells the
 * precision flag of the masked result only; where an underflow or overflow is not masked, the
 * software does the instruction again.
 */
#ifndef FP_NAME
#define FP_NAME(n) x86_##n
#endif
#if defined(__x86_64__) && !defined(X86_FP_SOFT)
#define FP_BEFORE(name) X86SseFn x86_soft_##name; const uint32_t before = f->mxcsr
#define FP_UNMASKED(name, xm)                                                                      \
    (f->mxcsr & 0x18 & ~(before >> 7) ? (f->mxcsr = before, x86_soft_##name(f, dst, src, imm)) : xm)
#else
#define FP_BEFORE(name) (void)0
#define FP_UNMASKED(name, xm) xm
#endif

/*
 * One instruction: the first `width` bytes of dst are the operand and the result, `src_width` bytes
 * are read of src.  In the statement t is dst's copy to compute in, b the source.
 */
#define FP_INSN(name, width, src_width, ...)                                                       \
    X86SseFn FP_NAME(name);                                                                        \
    uint32_t FP_NAME(name)(X86Fpu *f, void *dst, const void *src, unsigned imm)                    \
    {                                                                                              \
        X86Xmm a = fp_load(dst, width), b = fp_load(src, src_width), t;                            \
        uint32_t xm = 0;                                                                           \
        FP_BEFORE(name);                                                                           \
        FP_RUN (f, xm) {                                                                           \
            t = a;                                                                                 \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
        if (__builtin_expect(xm != 0, 0))                                                          \
            return FP_UNMASKED(name, xm);                                                          \
        memcpy(dst, &t, width);                                                                    \
        return 0;                                                                                  \
    }

#define FP_ARITH(op)                                                                               \
    FP_INSN(op##ps, 16, 16, h_##op##ps(&t, &b))                                                    \
    FP_INSN(op##pd, 16, 16, h_##op##pd(&t, &b))                                                    \
    FP_INSN(op##ss, 4, 4, h_##op##ss(&t, &b))                                                      \
    FP_INSN(op##sd, 8, 8, h_##op##sd(&t, &b))

FP_ARITH(add)
FP_ARITH(sub)
FP_ARITH(mul)
FP_ARITH(div)
FP_ARITH(min)
FP_ARITH(max)
FP_ARITH(sqrt)

FP_INSN(cmpps, 16, 16, h_cmpps(&t, &b, imm))
FP_INSN(cmppd, 16, 16, h_cmppd(&t, &b, imm))
FP_INSN(cmpss, 4, 4, h_cmpss(&t, &b, imm))
FP_INSN(cmpsd, 8, 8, h_cmpsd(&t, &b, imm))

/* The approximations raise nothing. */
#define FP_APPROX(op, width)                                                                       \
    X86SseFn FP_NAME(op);                                                                          \
    uint32_t FP_NAME(op)(X86Fpu *f, void *dst, const void *src, unsigned imm)                      \
    {                                                                                              \
        X86Xmm t = { 0 }, b = fp_load(src, width);                                                 \
        h_##op(&t, &b);                                                                            \
        memcpy(dst, &t, width);                                                                    \
        return 0;                                                                                  \
    }

FP_APPROX(rcpps, 16)
FP_APPROX(rcpss, 4)
FP_APPROX(rsqrtps, 16)
FP_APPROX(rsqrtss, 4)

#define FP_COMI(op, width)                                                                         \
    X86SseFn FP_NAME(op);                                                                          \
    uint32_t FP_NAME(op)(X86Fpu *f, void *dst, const void *src, unsigned imm)                      \
    {                                                                                              \
        X86Xmm a = fp_load(dst, width), b = fp_load(src, width);                                   \
        uint32_t xm = 0, flags = 0;                                                                \
        FP_RUN (f, xm)                                                                             \
            flags = h_##op(&a, &b);                                                                \
        return xm ? xm : flags;                                                                    \
    }

FP_COMI(comiss, 4)
FP_COMI(comisd, 8)
FP_COMI(ucomiss, 4)
FP_COMI(ucomisd, 8)

/* ------------------------------------------------------- conversions */

FP_INSN(cvtps2pd, 16, 8, h_cvtps2pd(&t, &b))
FP_INSN(cvtpd2ps, 16, 16, h_cvtpd2ps(&t, &b))
FP_INSN(cvtss2sd, 8, 4, h_cvtss2sd(&t, &b))
FP_INSN(cvtsd2ss, 4, 8, h_cvtsd2ss(&t, &b))
FP_INSN(cvtdq2ps, 16, 16, h_cvtdq2ps(&t, &b))
FP_INSN(cvtdq2pd, 16, 8, h_cvtdq2pd(&t, &b))
FP_INSN(cvtps2dq, 16, 16, h_cvtps2dq(&t, &b))
FP_INSN(cvttps2dq, 16, 16, h_cvttps2dq(&t, &b))
FP_INSN(cvtpd2dq, 16, 16, h_cvtpd2dq(&t, &b))
FP_INSN(cvttpd2dq, 16, 16, h_cvttpd2dq(&t, &b))

/* With MMX operands: half of the packed form; the zero lanes raise nothing. */
FP_INSN(cvtpi2ps, 8, 8, h_cvtdq2ps(&t, &b))
FP_INSN(cvtpi2pd, 16, 8, h_cvtdq2pd(&t, &b))
FP_INSN(cvtps2pi, 8, 8, h_cvtps2dq(&t, &b))
FP_INSN(cvttps2pi, 8, 8, h_cvttps2dq(&t, &b))
FP_INSN(cvtpd2pi, 8, 16, h_cvtpd2dq(&t, &b))
FP_INSN(cvttpd2pi, 8, 16, h_cvttpd2dq(&t, &b))

#define FP_FROM_INT(op, width)                                                                     \
    X86SseFn FP_NAME(op);                                                                          \
    uint32_t FP_NAME(op)(X86Fpu *f, void *dst, const void *src, unsigned imm)                      \
    {                                                                                              \
        X86Xmm t = { 0 };                                                                          \
        uint32_t xm = 0;                                                                           \
        if (imm & X86_SSE_IMM_REXW) {                                                              \
            uint64_t v;                                                                            \
            memcpy(&v, src, 8);                                                                    \
            FP_RUN (f, xm)                                                                         \
                h_##op##q(&t, v);                                                                  \
        } else {                                                                                   \
            uint32_t v;                                                                            \
            memcpy(&v, src, 4);                                                                    \
            FP_RUN (f, xm)                                                                         \
                h_##op##l(&t, v);                                                                  \
        }                                                                                          \
        if (!xm)                                                                                   \
            memcpy(dst, &t, width);                                                                \
        return xm;                                                                                 \
    }

FP_FROM_INT(cvtsi2ss, 4)
FP_FROM_INT(cvtsi2sd, 8)

#define FP_TO_INT(op, width)                                                                       \
    X86SseFn FP_NAME(op);                                                                          \
    uint32_t FP_NAME(op)(X86Fpu *f, void *dst, const void *src, unsigned imm)                      \
    {                                                                                              \
        X86Xmm b = fp_load(src, width);                                                            \
        uint32_t xm = 0;                                                                           \
        uint64_t v = 0;                                                                            \
        if (imm & X86_SSE_IMM_REXW) {                                                              \
            FP_RUN (f, xm)                                                                         \
                v = h_##op##_q(&b);                                                                \
        } else {                                                                                   \
            FP_RUN (f, xm)                                                                         \
                v = h_##op##_l(&b);                                                                \
        }                                                                                          \
        if (!xm)                                                                                   \
            memcpy(dst, &v, 8);                                                                    \
        return xm;                                                                                 \
    }

FP_TO_INT(cvtss2si, 4)
FP_TO_INT(cvtsd2si, 8)
FP_TO_INT(cvttss2si, 4)
FP_TO_INT(cvttsd2si, 8)

/* ------------------------------------------------------- SSE3 and SSE4.1 */

/* Horizontal: the operands of the vertical operation are the even and the odd lanes of both. */
static inline void split_ps(X86Xmm *even, X86Xmm *odd, const X86Xmm *a, const X86Xmm *b)
{
    for (unsigned i = 0; i < 2; i++) {
        even->d[i] = a->d[2 * i];
        even->d[i + 2] = b->d[2 * i];
        odd->d[i] = a->d[2 * i + 1];
        odd->d[i + 2] = b->d[2 * i + 1];
    }
}

static inline void split_pd(X86Xmm *even, X86Xmm *odd, const X86Xmm *a, const X86Xmm *b)
{
    even->q[0] = a->q[0];
    even->q[1] = b->q[0];
    odd->q[0] = a->q[1];
    odd->q[1] = b->q[1];
}

#define FP_HORIZONTAL(name, type, op)                                                              \
    FP_INSN(name, 16, 16, X86Xmm odd; split_##type(&t, &odd, &a, &b); h_##op(&t, &odd))

FP_HORIZONTAL(haddps, ps, addps)
FP_HORIZONTAL(haddpd, pd, addpd)
FP_HORIZONTAL(hsubps, ps, subps)
FP_HORIZONTAL(hsubpd, pd, subpd)

/*
 * Even lanes are subtracted, odd ones added.  The lanes that an operation does not concern are zero
 * in both operands, so they raise nothing.
 */
FP_INSN(addsubps, 16, 16, {
    X86Xmm a1 = { .d = { 0, a.d[1], 0, a.d[3] } }, b1 = { .d = { 0, b.d[1], 0, b.d[3] } };
    X86Xmm b0 = { .d = { b.d[0], 0, b.d[2], 0 } };
    t = (X86Xmm){ .d = { a.d[0], 0, a.d[2], 0 } };
    h_subps(&t, &b0);
    h_addps(&a1, &b1);
    t.d[1] = a1.d[1];
    t.d[3] = a1.d[3];
})

FP_INSN(addsubpd, 16, 16, {
    h_subsd(&t, &b);
    X86Xmm a1 = { .q = { a.q[1], 0 } }, b1 = { .q = { b.q[1], 0 } };
    h_addsd(&a1, &b1);
    t.q[1] = a1.q[0];
})

/*
 * imm8: the high nibble chooses what is multiplied, the low one where the sum goes.  An unmasked
 * exception of one of the steps ends the instruction, with the flags up to there.  The sum is made
 * once for each lane, and its operands are in the order that Intel's CPUs have: it matters where two
 * of the products are NaNs.
 */
X86SseFn FP_NAME(dpps), FP_NAME(dppd);

uint32_t FP_NAME(dpps)(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    X86Xmm a, b, t;
    uint32_t xm = 0;
    FP_BEFORE(dpps);
    memcpy(&a, dst, 16);
    memcpy(&b, src, 16);
    for (unsigned i = 0; i < 4; i++) {
        if (!(imm >> (4 + i) & 1))
            a.d[i] = b.d[i] = 0;
    }
    FP_RUN (f, xm) {
        t = a;
        h_mulps(&t, &b);
    }
    if (xm)
        return FP_UNMASKED(dpps, xm);
    a = (X86Xmm){ .d = { t.d[1], t.d[0], t.d[3], t.d[2] } };
    b = t;
    FP_RUN (f, xm) {
        t = a;
        h_addps(&t, &b);
    }
    if (xm)
        return FP_UNMASKED(dpps, xm);
    a = t;
    b = (X86Xmm){ .d = { t.d[2], t.d[3], t.d[0], t.d[1] } };
    FP_RUN (f, xm) {
        t = a;
        h_addps(&t, &b);
    }
    if (xm)
        return FP_UNMASKED(dpps, xm);
    for (unsigned i = 0; i < 4; i++)
        a.d[i] = imm >> i & 1 ? t.d[i] : 0;
    memcpy(dst, &a, 16);
    return 0;
}

uint32_t FP_NAME(dppd)(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    X86Xmm a, b, t;
    uint32_t xm = 0;
    FP_BEFORE(dppd);
    memcpy(&a, dst, 16);
    memcpy(&b, src, 16);
    for (unsigned i = 0; i < 2; i++) {
        if (!(imm >> (4 + i) & 1))
            a.q[i] = b.q[i] = 0;
    }
    FP_RUN (f, xm) {
        t = a;
        h_mulpd(&t, &b);
    }
    if (xm)
        return FP_UNMASKED(dppd, xm);
    a = t;
    b = (X86Xmm){ .q = { t.q[1], t.q[0] } };
    FP_RUN (f, xm) {
        t = a;
        h_addpd(&t, &b);
    }
    if (xm)
        return FP_UNMASKED(dppd, xm);
    for (unsigned i = 0; i < 2; i++)
        a.q[i] = imm >> i & 1 ? t.q[i] : 0;
    memcpy(dst, &a, 16);
    return 0;
}

/*
 * ROUNDxx in integer arithmetic: the host may have no SSE4.1.  imm8: bits 1..0 the rounding, bit 2
 * use MXCSR.RC instead, bit 3 do not raise precision.
 */
typedef struct RoundFormat {
    unsigned frac; /* bits of the fraction */
    unsigned bias;
} RoundFormat;

static uint64_t round_lane(uint64_t v, RoundFormat fmt, unsigned rc, bool daz, uint32_t *flags)
{
    uint64_t one = 1;
    unsigned exp_max = 2 * fmt.bias + 1, exp = (unsigned)(v >> fmt.frac) & exp_max;
    uint64_t frac_mask = (one << fmt.frac) - 1;
    uint64_t sign = v & one << (fmt.frac == 23 ? 31 : 63), frac = v & frac_mask;
    if (exp == exp_max) {
        if (frac && !(frac >> (fmt.frac - 1))) {
            *flags |= 1;
            v |= one << (fmt.frac - 1);
        }
        return v;
    }
    if (exp >= fmt.bias + fmt.frac || (!exp && (!frac || daz)))
        return exp ? v : sign;
    bool up;
    if (exp < fmt.bias) { /* 0 < |v| < 1 */
        *flags |= 0x20;
        up = rc == 0 ? exp == fmt.bias - 1 && frac : rc == 1 ? sign : rc == 2 ? !sign : false;
        return sign | (up ? (uint64_t)fmt.bias << fmt.frac : 0);
    }
    unsigned shift = fmt.frac - (exp - fmt.bias);
    uint64_t rest_mask = (one << shift) - 1, rest = v & rest_mask, half = one << (shift - 1);
    if (!rest)
        return v;
    *flags |= 0x20;
    v &= ~rest_mask;
    /* If only the implied bit is left, v >> shift is the exponent: the bias, odd like that bit. */
    up = rc == 0 ? rest > half || (rest == half && (v >> shift & 1))
        : rc == 1 ? sign : rc == 2 ? !sign : false;
    return up ? v + (one << shift) : v; /* the carry runs into the exponent, as it should */
}

static uint32_t round_commit(X86Fpu *f, unsigned imm, uint32_t flags)
{
    if (imm & 8)
        flags &= 1;
    uint32_t unmasked = flags & ~(f->mxcsr >> 7);
    if (unmasked & 1)
        flags = 1;
    f->mxcsr |= flags;
    return unmasked ? X86_SSE_XM : 0;
}

#define FP_ROUND(name, lane, count, frac, bias)                                                    \
    X86SseFn FP_NAME(name);                                                                        \
    uint32_t FP_NAME(name)(X86Fpu *f, void *dst, const void *src, unsigned imm)                    \
    {                                                                                              \
        X86Xmm t;                                                                                  \
        const size_t size = sizeof(t.lane[0]) * count;                                             \
        unsigned rc = imm & 4 ? f->mxcsr >> 13 & 3 : imm & 3;                                      \
        uint32_t flags = 0;                                                                        \
        memcpy(&t, src, size);                                                                     \
        for (unsigned i = 0; i < count; i++)                                                       \
            t.lane[i] = (__typeof__(t.lane[0]))round_lane(t.lane[i], (RoundFormat){ frac, bias },  \
                                                          rc, f->mxcsr & 0x40, &flags);            \
        uint32_t xm = round_commit(f, imm, flags);                                                 \
        if (!xm)                                                                                   \
            memcpy(dst, &t, size);                                                                 \
        return xm;                                                                                 \
    }

FP_ROUND(roundps, d, 4, 23, 127)
FP_ROUND(roundpd, q, 2, 52, 1023)
FP_ROUND(roundss, d, 1, 23, 127)
FP_ROUND(roundsd, q, 1, 52, 1023)
