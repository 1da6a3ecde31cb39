/*
 * SSE arithmetic in software, for hosts without SSE: the same functions as sse-host.h.  Results and
 * flags are exact, but for the approximations (RCPPS, RSQRTPS), which are the true value chopped to
 * 12 bits.
 */
#ifndef VMRUN_INTERP_X86_SSE_SOFT_H
#define VMRUN_INTERP_X86_SSE_SOFT_H

#include "soft-float.h"
#include "sse-ops.h"

static _Thread_local SfEnv soft; /* what MXCSR is to the host's instructions */

#define FP_RUN(f, xm)                                                                              \
    for (uint32_t once_ = x86_fp_enter(f); once_; once_ = x86_fp_leave(f, &xm))

static inline uint32_t x86_fp_enter(X86Fpu *f)
{
    soft = (SfEnv){ .rc = f->mxcsr >> 13 & 3, .daz = f->mxcsr & 0x40, .masks = f->mxcsr >> 7 & 0x3f,
                    .ftz = f->mxcsr & 0x8000 };
    return 1;
}

static inline uint32_t x86_fp_leave(X86Fpu *f, uint32_t *xm)
{
    unsigned unmasked = soft.flags & ~soft.masks;
    if (unmasked & 7)
        soft.flags &= 7;
    f->mxcsr |= soft.flags;
    if (unmasked)
        *xm = X86_SSE_XM;
    return 0;
}

static inline X86Xmm fp_load(const void *p, unsigned width)
{
    X86Xmm v = { 0 };
    memcpy(&v, p, width);
    return v;
}

#define UNPACK_d(v) sf_unpack(v, 23, 127)
#define UNPACK_q(v) sf_unpack(v, 52, 1023)
#define PACK_d(v) (uint32_t)sf_pack(v, 23, 127)
#define PACK_q(v) sf_pack(v, 52, 1023)
#define FORMAT_d SF_F32
#define FORMAT_q SF_F64

#define SOFT_LANES(name, lane, count, expr)                                                        \
    static inline void h_##name(X86Xmm *a, const X86Xmm *b)                                        \
    {                                                                                              \
        for (unsigned i = 0; i < count; i++) {                                                     \
            Sf x = UNPACK_##lane(a->lane[i]), y = UNPACK_##lane(b->lane[i]);                       \
            (void)x, (void)y;                                                                      \
            a->lane[i] = expr(lane);                                                               \
        }                                                                                          \
    }
#define SOFT_4(name, expr)                                                                         \
    SOFT_LANES(name##ps, d, 4, expr)                                                               \
    SOFT_LANES(name##pd, q, 2, expr)                                                               \
    SOFT_LANES(name##ss, d, 1, expr)                                                               \
    SOFT_LANES(name##sd, q, 1, expr)

#define EXPR_ADD(lane) PACK_##lane(sf_arith(&soft, '+', x, y, FORMAT_##lane))
#define EXPR_SUB(lane) PACK_##lane(sf_arith(&soft, '-', x, y, FORMAT_##lane))
#define EXPR_MUL(lane) PACK_##lane(sf_arith(&soft, '*', x, y, FORMAT_##lane))
#define EXPR_DIV(lane) PACK_##lane(sf_arith(&soft, '/', x, y, FORMAT_##lane))
#define EXPR_SQRT(lane) PACK_##lane(sf_sqrt(&soft, y, FORMAT_##lane))
/* The second operand if they are equal or not ordered, unchanged even if it is a signalling NaN. */
#define SELECT(lane, order) \
    (sf_compare(&soft, x, y, false) == (order) ? PACK_##lane(sf_daz(&soft, x)) \
                                               : PACK_##lane(sf_daz(&soft, y)))
#define EXPR_MIN(lane) SELECT(lane, -1)
#define EXPR_MAX(lane) SELECT(lane, 1)

SOFT_4(add, EXPR_ADD)
SOFT_4(sub, EXPR_SUB)
SOFT_4(mul, EXPR_MUL)
SOFT_4(div, EXPR_DIV)
SOFT_4(sqrt, EXPR_SQRT)
SOFT_4(min, EXPR_MIN)
SOFT_4(max, EXPR_MAX)

static inline uint32_t soft_approximate(uint32_t v, bool root)
{
    SfEnv e = { .rc = SF_CHOP, .daz = true, .ftz = true, .masks = 0x3f };
    Sf x = UNPACK_d(v), one = { .cls = SF_FINITE, .mant = 1ull << 63 };
    if (root)
        x = sf_sqrt(&e, x, SF_F64);
    uint32_t r = PACK_d(sf_arith(&e, '/', one, x, SF_F32));
    return x.cls == SF_FINITE ? r & ~0x7ffu : r;
}

#define EXPR_RCP(lane) soft_approximate(b->d[i], false)
#define EXPR_RSQRT(lane) soft_approximate(b->d[i], true)
SOFT_LANES(rcpps, d, 4, EXPR_RCP)
SOFT_LANES(rcpss, d, 1, EXPR_RCP)
SOFT_LANES(rsqrtps, d, 4, EXPR_RSQRT)
SOFT_LANES(rsqrtss, d, 1, EXPR_RSQRT)

/* Predicates 0 equal, 1 less, 2 less or equal, 3 unordered; 4 to 7 their opposites. */
static inline uint64_t soft_predicate(Sf x, Sf y, unsigned predicate)
{
    unsigned p = predicate & 3;
    int r = sf_compare(&soft, x, y, p == 0 || p == 3);
    bool is = p == 0 ? r == 0 : p == 1 ? r == -1 : p == 2 ? r == -1 || r == 0 : r == 2;
    return is != !!(predicate & 4) ? ~0ull : 0;
}

#define SOFT_CMP(type, lane, count) \
    static inline void h_cmp##type(X86Xmm *a, const X86Xmm *b, unsigned predicate) \
    { \
        for (unsigned i = 0; i < count; i++) \
            a->lane[i] = (__typeof__(a->lane[0]))soft_predicate( \
                UNPACK_##lane(a->lane[i]), UNPACK_##lane(b->lane[i]), predicate); \
    }

SOFT_CMP(ps, d, 4)
SOFT_CMP(pd, q, 2)
SOFT_CMP(ss, d, 1)
SOFT_CMP(sd, q, 1)

#define SOFT_COMI(name, lane, quiet)                                                               \
    static inline uint32_t h_##name(const X86Xmm *a, const X86Xmm *b)                              \
    {                                                                                              \
        int r = sf_compare(&soft, UNPACK_##lane(a->lane[0]), UNPACK_##lane(b->lane[0]), quiet);    \
        return r == 2 ? 0x45 : r == 1 ? 0 : r == -1 ? 1 : 0x40;                                    \
    }

SOFT_COMI(comiss, d, false)
SOFT_COMI(comisd, q, false)
SOFT_COMI(ucomiss, d, true)
SOFT_COMI(ucomisd, q, true)

/* Conversions change the width of the lanes, so they build the result aside. */
#define SOFT_CONVERT(name, to, count, expr)                                                        \
    static inline void h_##name(X86Xmm *a, const X86Xmm *b)                                        \
    {                                                                                              \
        X86Xmm t = { 0 };                                                                          \
        for (unsigned i = 0; i < count; i++)                                                       \
            t.to[i] = (__typeof__(t.to[0]))(expr);                                                 \
        *a = t;                                                                                    \
    }

static inline uint64_t soft_to_int(Sf v, unsigned bits, bool chop)
{
    if (chop)
        soft.rc = SF_CHOP;
    return sf_to_int(&soft, v, bits);
}

SOFT_CONVERT(cvtps2pd, q, 2, PACK_q(sf_convert(&soft, UNPACK_d(b->d[i]), SF_F64)))
SOFT_CONVERT(cvtpd2ps, d, 2, PACK_d(sf_convert(&soft, UNPACK_q(b->q[i]), SF_F32)))
SOFT_CONVERT(cvtss2sd, q, 1, PACK_q(sf_convert(&soft, UNPACK_d(b->d[i]), SF_F64)))
SOFT_CONVERT(cvtsd2ss, d, 1, PACK_d(sf_convert(&soft, UNPACK_q(b->q[i]), SF_F32)))
SOFT_CONVERT(cvtdq2ps, d, 4, PACK_d(sf_convert(&soft, sf_from_int((int32_t)b->d[i]), SF_F32)))
SOFT_CONVERT(cvtdq2pd, q, 2, PACK_q(sf_from_int((int32_t)b->d[i])))
SOFT_CONVERT(cvtps2dq, d, 4, soft_to_int(UNPACK_d(b->d[i]), 32, false))
SOFT_CONVERT(cvttps2dq, d, 4, soft_to_int(UNPACK_d(b->d[i]), 32, true))
SOFT_CONVERT(cvtpd2dq, d, 2, soft_to_int(UNPACK_q(b->q[i]), 32, false))
SOFT_CONVERT(cvttpd2dq, d, 2, soft_to_int(UNPACK_q(b->q[i]), 32, true))

#define SOFT_FROM_INT(name, lane, type)                                                            \
    static inline void h_##name(X86Xmm *a, uint64_t v)                                             \
    {                                                                                              \
        a->lane[0] = PACK_##lane(sf_convert(&soft, sf_from_int((type)v), FORMAT_##lane));          \
    }
#define SOFT_TO_INT(name, lane, bits, chop)                                                        \
    static inline uint64_t h_##name(const X86Xmm *b)                                               \
    {                                                                                              \
        return soft_to_int(UNPACK_##lane(b->lane[0]), bits, chop) & (~0ull >> (64 - bits));        \
    }

SOFT_FROM_INT(cvtsi2ssl, d, int32_t)
SOFT_FROM_INT(cvtsi2ssq, d, int64_t)
SOFT_FROM_INT(cvtsi2sdl, q, int32_t)
SOFT_FROM_INT(cvtsi2sdq, q, int64_t)
SOFT_TO_INT(cvtss2si_l, d, 32, false)
SOFT_TO_INT(cvtss2si_q, d, 64, false)
SOFT_TO_INT(cvtsd2si_l, q, 32, false)
SOFT_TO_INT(cvtsd2si_q, q, 64, false)
SOFT_TO_INT(cvttss2si_l, d, 32, true)
SOFT_TO_INT(cvttss2si_q, d, 64, true)
SOFT_TO_INT(cvttsd2si_l, q, 32, true)
SOFT_TO_INT(cvttsd2si_q, q, 64, true)

#endif
