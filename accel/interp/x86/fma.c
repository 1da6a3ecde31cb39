/*
 * FMA and F16C.  Intel SDM volume 2.
 *
 * With all exceptions masked the fused multiply-add is the host's own, where it has
 * one; otherwise, and for half precision, it is soft-float.h.
 */
#include "avx.h"
#include "soft-float.h"

#include <string.h>

#define SF_F16 ((SfFormat){ 11, -14, 15 })
enum { FP_MASKS = 0x1f80 };

enum { NEGATE = 1, SUBTRACT = 2, ALTERNATE = 4 }; /* the product, the addend, turned every other time */

static SfEnv env_of(const X86Fpu *f)
{
    return (SfEnv){ .rc = f->mxcsr >> 13 & 3, .daz = f->mxcsr & 0x40, .masks = f->mxcsr >> 7 & 0x3f,
                    .ftz = f->mxcsr & 0x8000 };
}

static uint32_t env_done(X86Fpu *f, SfEnv *e)
{
    unsigned unmasked = e->flags & ~e->masks & 0x3f;
    if (unmasked & 7) /* invalid, denormal: found before anything is computed */
        e->flags &= 7;
    f->mxcsr |= e->flags;
    return unmasked ? X86_SSE_XM : 0;
}

/* x * y + z */
static Sf fused(SfEnv *e, Sf x, Sf y, Sf z, unsigned how, SfFormat fmt)
{
    x = sf_daz(e, x);
    y = sf_daz(e, y);
    z = sf_daz(e, z);
    bool invalid = (x.cls == SF_INF && y.cls == SF_ZERO) || (x.cls == SF_ZERO && y.cls == SF_INF);
    if (x.cls == SF_NAN || y.cls == SF_NAN || z.cls == SF_NAN) {
        if (x.snan || y.snan || z.snan)
            e->flags |= SF_IE;
        return sf_quiet(x.cls == SF_NAN ? x : y.cls == SF_NAN ? y : z);
    }
    if (invalid)
        return sf_invalid(e);
    bool sign = x.sign != y.sign;
    if (how & NEGATE)
        sign = !sign;
    if (how & SUBTRACT)
        z.sign = !z.sign;
    bool inf = x.cls == SF_INF || y.cls == SF_INF;
    if (inf && z.cls == SF_INF && sign != z.sign)
        return sf_invalid(e);
    if (x.denormal || y.denormal || z.denormal)
        e->flags |= SF_DE;
    if (inf)
        return (Sf){ .cls = SF_INF, .sign = sign };
    if (z.cls == SF_INF)
        return z;
    if (x.cls == SF_ZERO || y.cls == SF_ZERO) {
        if (z.cls == SF_ZERO)
            return (Sf){ .cls = SF_ZERO, .sign = sign == z.sign ? sign : e->rc == SF_DOWN };
        return sf_round(e, z.sign, z.exp, (SfWide)z.mant << 64, false, fmt);
    }
    SfWide p = (SfWide)x.mant * y.mant, q = (SfWide)z.mant << 64;
    int32_t pe = x.exp + y.exp + 1, qe = z.exp;
    if (z.cls == SF_ZERO)
        return sf_normalize_round(e, sign, pe, p, false, fmt);
    if (!(p >> 127)) {
        p <<= 1;
        pe--;
    }
    /* the larger one first; one bit of room for the carry */
    bool qsign = z.sign, sticky = false;
    if (pe < qe || (pe == qe && p < q)) {
        SfWide t = p;
        int32_t te = pe;
        p = q, q = t;
        pe = qe, qe = te;
        qsign = sign;
        sign = z.sign;
    }
    p >>= 1; /* the lowest bits of both are zero */
    q = sf_shift_right(q, (int64_t)pe - qe + 1, &sticky);
    p = sign == qsign ? p + q : p - q - sticky;
    if (!p && !sticky)
        return (Sf){ .cls = SF_ZERO, .sign = e->rc == SF_DOWN };
    return sf_normalize_round(e, sign, pe + 1, p, sticky, fmt);
}

static uint32_t fma_soft(X86Fpu *f, X86Ymm *t, const X86Ymm *x, const X86Ymm *y, const X86Ymm *z,
                         unsigned how, bool wide, unsigned count)
{
    SfEnv e = env_of(f);
    for (unsigned i = 0; i < count; i++) {
        unsigned h = how & ALTERNATE && (i & 1) ? how ^ SUBTRACT : how;
        if (wide)
            t->q[i] = sf_pack(fused(&e, sf_unpack(x->q[i], 52, 1023), sf_unpack(y->q[i], 52, 1023),
                                    sf_unpack(z->q[i], 52, 1023), h, SF_F64), 52, 1023);
        else
            t->d[i] = (uint32_t)sf_pack(fused(&e, sf_unpack(x->d[i], 23, 127),
                                              sf_unpack(y->d[i], 23, 127),
                                              sf_unpack(z->d[i], 23, 127), h, SF_F32), 23, 127);
    }
    return env_done(f, &e);
}

#if defined(__x86_64__) && !defined(X86_FP_SOFT)
/* All exceptions masked.  Operands as of the 213 forms: the product is y * x. */
#define HOST_FMA(type)                                                                             \
    __attribute__((target("fma"))) static void fma_##type(X86Xmm *t, const X86Xmm *x,              \
                                                          const X86Xmm *y, const X86Xmm *z,        \
                                                          unsigned how)                            \
    {                                                                                              \
        typedef float Vec __attribute__((vector_size(16), aligned(16)));                           \
        Vec a = *(const Vec *)y, b = *(const Vec *)x, c = *(const Vec *)z;                         \
        switch (how) {                                                                             \
        case 0: __asm__ volatile("vfmadd213" #type " %2, %1, %0" : "+x"(a) : "x"(b), "x"(c)); break;       \
        case NEGATE: __asm__ volatile("vfnmadd213" #type " %2, %1, %0" : "+x"(a) : "x"(b), "x"(c)); break; \
        case SUBTRACT: __asm__ volatile("vfmsub213" #type " %2, %1, %0" : "+x"(a) : "x"(b), "x"(c)); break; \
        default: __asm__ volatile("vfnmsub213" #type " %2, %1, %0" : "+x"(a) : "x"(b), "x"(c));    \
        }                                                                                          \
        *(Vec *)t = a;                                                                             \
    }
HOST_FMA(ps)
HOST_FMA(pd)
HOST_FMA(ss)
HOST_FMA(sd)

static bool fma_host(X86Fpu *f, X86Ymm *t, const X86Ymm *x, const X86Ymm *y, const X86Ymm *z,
                     unsigned how, bool wide, unsigned count)
{
    if ((f->mxcsr & FP_MASKS) != FP_MASKS || how & ALTERNATE || !__builtin_cpu_supports("fma"))
        return false;
    X86Ymm out = *t;
    uint32_t mxcsr = f->mxcsr, usual = 0x1f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    if (count == 1) {
        (wide ? fma_sd : fma_ss)(&out.h[0], &x->h[0], &y->h[0], &z->h[0], how);
        memcpy(t, &out, wide ? 8 : 4);
    } else {
        for (unsigned i = 0; i < count / (wide ? 2 : 4); i++)
            (wide ? fma_pd : fma_ps)(&t->h[i], &x->h[i], &y->h[i], &z->h[i], how);
    }
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("ldmxcsr %0" : : "m"(usual));
    f->mxcsr = mxcsr;
    return true;
}
#else
static bool fma_host(X86Fpu *f, X86Ymm *t, const X86Ymm *x, const X86Ymm *y, const X86Ymm *z,
                     unsigned how, bool wide, unsigned count)
{
    return false;
}
#endif

/* how: VEX.W in bit 8, the opcode below. */
uint32_t x86_avx_fma(X86Fpu *f, X86Ymm *dst, const X86Ymm *v, const X86Ymm *rm, unsigned how, unsigned bytes)
{
    static const uint8_t kinds[10] = { ALTERNATE | SUBTRACT, ALTERNATE, 0, 0, SUBTRACT, SUBTRACT, NEGATE,
                                       NEGATE, NEGATE | SUBTRACT, NEGATE | SUBTRACT };
    unsigned low = (how & 15) - 6, kind = kinds[low];
    bool wide = how >> 8 & 1, scalar = low >= 2 && (low & 1);
    unsigned count = scalar ? 1 : bytes / (wide ? 8 : 4);
    X86Ymm d = *dst, t = d;
    const X86Ymm *x = v, *y = rm, *z = &d; /* 231 */
    if ((how & 0xf0) == 0x90)
        x = &d, z = v;
    else if ((how & 0xf0) == 0xa0)
        y = &d, z = rm;
    uint32_t r = 0;
    if (!fma_host(f, &t, x, y, z, kind, wide, count))
        r = fma_soft(f, &t, x, y, z, kind, wide, count);
    if (!r)
        *dst = t;
    return r;
}

uint32_t x86_avx_cvtph2ps(X86Fpu *f, X86Ymm *dst, const X86Ymm *v, const X86Ymm *rm, unsigned imm,
                          unsigned bytes)
{
    SfEnv e = env_of(f);
    X86Ymm out;
    for (unsigned i = 0; i < bytes / 4; i++) {
        Sf s = sf_unpack(rm->w[i] & 0x7fff, 10, 15);
        if (s.cls == SF_NAN) {
            e.flags |= s.snan ? SF_IE : 0;
            s = sf_quiet(s);
        }
        out.d[i] = (uint32_t)sf_pack(s, 23, 127) | (uint32_t)(rm->w[i] & 0x8000) << 16;
    }
    uint32_t r = env_done(f, &e);
    if (!r)
        *dst = out;
    return r;
}

uint32_t x86_avx_cvtps2ph(X86Fpu *f, X86Ymm *dst, const X86Ymm *v, const X86Ymm *rm, unsigned imm,
                          unsigned bytes)
{
    SfEnv e = env_of(f);
    X86Ymm out;
    memset(&out, 0, sizeof out);
    e.ftz = false;
    if (!(imm & 4))
        e.rc = imm & 3;
    for (unsigned i = 0; i < bytes / 4; i++) {
        Sf s = sf_daz(&e, sf_unpack(rm->d[i], 23, 127));
        bool sign = s.sign;
        if (s.cls == SF_NAN) {
            e.flags |= s.snan ? SF_IE : 0;
            s = sf_quiet(s);
        } else if (s.cls == SF_FINITE) {
            /* inexact even where the bits would do without a bound to the exponent, as Intel's CPUs say */
            e.flags |= s.denormal ? SF_DE | SF_PE : 0;
            s = sf_round(&e, sign, s.exp, (SfWide)s.mant << 64, false, SF_F16);
        }
        s.sign = false;
        out.w[i] = (uint16_t)(sf_pack(s, 10, 15) | (unsigned)sign << 15);
    }
    uint32_t r = env_done(f, &e);
    if (!r)
        *dst = out;
    return r;
}
