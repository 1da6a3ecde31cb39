/*
 * The integer operations of SSSE3 and SSE4.1, and PCMPGTQ.  Intel SDM volume 2.  The
 * text-processing instructions of SSE4.2 are in sse-str.c, AES, SHA and PCLMULQDQ in sse-crypto.c.
 */
#include "sse-ops.h"

#define SB(v) ((int8_t)(v))
#define SW(v) ((int16_t)(v))
#define SD(v) ((int32_t)(v))

static inline uint16_t sat_w(int32_t v)
{
    return (uint16_t)(v < -32768 ? -32768 : v > 32767 ? 32767 : v);
}

#define LANES(lane, expr) FOR_LANES(lane) {                                                        \
        __typeof__(a->lane[0]) x = a->lane[i], y = b->lane[i];                                     \
        (void)x;                                                                                   \
        a->lane[i] = (__typeof__(x))(expr);                                                        \
    }

VEC_PAIR(pabsb, LANES(b, SB(y) < 0 ? -y : y))
VEC_PAIR(pabsw, LANES(w, SW(y) < 0 ? -y : y))
VEC_PAIR(pabsd, LANES(d, SD(y) < 0 ? -y : y))
VEC_PAIR(psignb, LANES(b, SB(y) < 0 ? -x : y ? x : 0))
VEC_PAIR(psignw, LANES(w, SW(y) < 0 ? -x : y ? x : 0))
VEC_PAIR(psignd, LANES(d, SD(y) < 0 ? -x : y ? x : 0))
VEC_PAIR(pmulhrsw, LANES(w, (((SW(x) * SW(y)) >> 14) + 1) >> 1))

VEC_PAIR(pmaddubsw, FOR_LANES(w)
         a->w[i] = sat_w(a->b[2 * i] * SB(b->b[2 * i]) + a->b[2 * i + 1] * SB(b->b[2 * i + 1])))

VEC_PAIR(pshufb, {
    X86Xmm t = *a;
    FOR_LANES(b) a->b[i] = b->b[i] & 0x80 ? 0 : t.b[b->b[i] & (n - 1)];
})

#define HORIZONTAL(lane, expr) do {                                                                \
        X86Xmm t;                                                                                  \
        unsigned half = n / 2 / sizeof(a->lane[0]);                                                \
        for (unsigned i = 0; i < 2 * half; i++) {                                                  \
            const X86Xmm *s = i < half ? a : b;                                                    \
            unsigned j = 2 * (i % half);                                                           \
            __typeof__(a->lane[0]) x = s->lane[j], y = s->lane[j + 1];                             \
            t.lane[i] = (__typeof__(x))(expr);                                                     \
        }                                                                                          \
        memcpy(a, &t, n);                                                                          \
    } while (0)

VEC_PAIR(phaddw, HORIZONTAL(w, x + y))
VEC_PAIR(phaddd, HORIZONTAL(d, x + y))
VEC_PAIR(phaddsw, HORIZONTAL(w, sat_w(SW(x) + SW(y))))
VEC_PAIR(phsubw, HORIZONTAL(w, x - y))
VEC_PAIR(phsubd, HORIZONTAL(d, x - y))
VEC_PAIR(phsubsw, HORIZONTAL(w, sat_w(SW(x) - SW(y))))

/* Bytes imm.. of the source (low) and the destination (high) joined. */
VEC_PAIR(palignr, {
    uint8_t joined[32];
    memcpy(joined, b, n);
    memcpy(joined + n, a, n);
    unsigned k = imm & 0xff;
    for (unsigned i = 0; i < n; i++)
        a->b[i] = k + i < 2 * n ? joined[k + i] : 0;
})

VEC_XMM(pcmpeqq, LANES(q, x == y ? -1 : 0))
VEC_XMM(pcmpgtq, LANES(q, (int64_t)x > (int64_t)y ? -1 : 0))
VEC_XMM(pminsb, LANES(b, SB(x) < SB(y) ? x : y))
VEC_XMM(pminsd, LANES(d, SD(x) < SD(y) ? x : y))
VEC_XMM(pminuw, LANES(w, x < y ? x : y))
VEC_XMM(pminud, LANES(d, x < y ? x : y))
VEC_XMM(pmaxsb, LANES(b, SB(x) > SB(y) ? x : y))
VEC_XMM(pmaxsd, LANES(d, SD(x) > SD(y) ? x : y))
VEC_XMM(pmaxuw, LANES(w, x > y ? x : y))
VEC_XMM(pmaxud, LANES(d, x > y ? x : y))
VEC_XMM(pmulld, LANES(d, x * y))
VEC_XMM(pmuldq, LANES(q, (int64_t)SD(x) * SD(y)))

VEC_XMM(phminposuw, {
    unsigned best = 0;
    for (unsigned i = 1; i < 8; i++)
        best = b->w[i] < b->w[best] ? i : best;
    a->q[0] = (uint64_t)best << 16 | b->w[best];
    a->q[1] = 0;
})

VEC_XMM(mpsadbw, {
    const uint8_t *x = a->b + (imm & 4), *y = b->b + 4 * (imm & 3);
    X86Xmm t;
    for (unsigned i = 0; i < 8; i++) {
        unsigned sum = 0;
        for (unsigned j = 0; j < 4; j++)
            sum += x[i + j] > y[j] ? x[i + j] - y[j] : y[j] - x[i + j];
        t.w[i] = (uint16_t)sum;
    }
    *a = t;
})

#define PMOVX(name, bytes, from, type, to)                                                         \
    uint32_t x86_##name(X86Fpu *f, void *dst, const void *src, unsigned imm)                       \
    {                                                                                              \
        X86Xmm s = { 0 }, t;                                                                       \
        memcpy(&s, src, bytes);                                                                    \
        for (unsigned i = 0; i < 16 / sizeof(t.to[0]); i++)                                        \
            t.to[i] = (__typeof__(t.to[0]))(type)s.from[i];                                        \
        memcpy(dst, &t, 16);                                                                       \
        return 0;                                                                                  \
    }

PMOVX(pmovsxbw, 8, b, int8_t, w)
PMOVX(pmovsxbd, 4, b, int8_t, d)
PMOVX(pmovsxbq, 2, b, int8_t, q)
PMOVX(pmovsxwd, 8, w, int16_t, d)
PMOVX(pmovsxwq, 4, w, int16_t, q)
PMOVX(pmovsxdq, 8, d, int32_t, q)
PMOVX(pmovzxbw, 8, b, uint8_t, w)
PMOVX(pmovzxbd, 4, b, uint8_t, d)
PMOVX(pmovzxbq, 2, b, uint8_t, q)
PMOVX(pmovzxwd, 8, w, uint16_t, d)
PMOVX(pmovzxwq, 4, w, uint16_t, q)
PMOVX(pmovzxdq, 8, d, uint32_t, q)

/* ------------------------------------------------------- blends, insertion, extraction */

#define BLENDV(name, lane, top)                                                                    \
    uint32_t x86_##name(X86Fpu *f, void *dst, const void *src, unsigned imm)                       \
    {                                                                                              \
        X86Xmm a, b, m = f->xmm[0];                                                                \
        memcpy(&a, dst, 16);                                                                       \
        memcpy(&b, src, 16);                                                                       \
        for (unsigned i = 0; i < 16 / sizeof(a.lane[0]); i++)                                      \
            a.lane[i] = m.lane[i] >> (top) ? b.lane[i] : a.lane[i];                                \
        memcpy(dst, &a, 16);                                                                       \
        return 0;                                                                                  \
    }

BLENDV(pblendvb_x, b, 7)
BLENDV(blendvps_x, d, 31)
BLENDV(blendvpd_x, q, 63)

VEC_XMM(pblendw, LANES(w, imm >> i & 1 ? y : x))
VEC_XMM(blendps, LANES(d, imm >> i & 1 ? y : x))
VEC_XMM(blendpd, LANES(q, imm >> i & 1 ? y : x))

uint32_t x86_ptest(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    X86Xmm a, b;
    memcpy(&a, dst, 16);
    memcpy(&b, src, 16);
    uint64_t both = (a.q[0] & b.q[0]) | (a.q[1] & b.q[1]);
    uint64_t only = (~a.q[0] & b.q[0]) | (~a.q[1] & b.q[1]);
    return (both ? 0 : 0x40u) | (only ? 0 : 1u);
}

static uint32_t put_gpr(void *dst, uint64_t v)
{
    memcpy(dst, &v, 8);
    return 0;
}

uint32_t x86_pextrb(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return put_gpr(dst, ((const X86Xmm *)src)->b[imm & 15]);
}

uint32_t x86_pextrd(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    const X86Xmm *s = src;
    return put_gpr(dst, imm & X86_SSE_IMM_REXW ? s->q[imm & 1] : s->d[imm & 3]);
}

uint32_t x86_pinsrb(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    memcpy((uint8_t *)dst + (imm & 15), src, 1);
    return 0;
}

uint32_t x86_pinsrd(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    if (imm & X86_SSE_IMM_REXW)
        memcpy((uint8_t *)dst + 8 * (imm & 1), src, 8);
    else
        memcpy((uint8_t *)dst + 4 * (imm & 3), src, 4);
    return 0;
}

/* imm8: 7..6 the source's lane (of a register), 5..4 the destination's, 3..0 lanes to clear. */
static uint32_t insertps(X86Xmm *a, uint32_t v, unsigned imm)
{
    a->d[imm >> 4 & 3] = v;
    for (unsigned i = 0; i < 4; i++)
        a->d[i] = imm >> i & 1 ? 0 : a->d[i];
    return 0;
}

uint32_t x86_insertps_reg(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return insertps(dst, ((const X86Xmm *)src)->d[imm >> 6 & 3], imm);
}

uint32_t x86_insertps_mem(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    uint32_t v;
    memcpy(&v, src, 4);
    return insertps(dst, v, imm);
}

/* Like PEXTRD, but always of 4 bytes. */
uint32_t x86_extractps(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return put_gpr(dst, ((const X86Xmm *)src)->d[imm & 3]);
}
