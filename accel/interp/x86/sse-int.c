/*
 * The integer operations of MMX, SSE and SSE2, and all moves and shuffles up to SSE3.  Intel SDM
 * volume 2.  None of them looks at MXCSR.  Plain loops over lanes: the compiler vectorises them.
 */
#include "sse-ops.h"

static inline int32_t sat(int32_t v, int32_t min, int32_t max)
{
    return v < min ? min : v > max ? max : v;
}

#define SAT_B(v) ((uint8_t)sat((v), -128, 127))
#define SAT_UB(v) ((uint8_t)sat((v), 0, 255))
#define SAT_W(v) ((uint16_t)sat((v), -32768, 32767))
#define SAT_UW(v) ((uint16_t)sat((v), 0, 65535))
#define SB(v) ((int8_t)(v))
#define SW(v) ((int16_t)(v))
#define SD(v) ((int32_t)(v))

/* ------------------------------------------------------- lane by lane */

#define LANE_PAIR(name, lane, expr) VEC_PAIR(name, FOR_LANES(lane) {                               \
        __typeof__(a->lane[0]) x = a->lane[i], y = b->lane[i];                                     \
        a->lane[i] = (__typeof__(x))(expr);                                                        \
    })

LANE_PAIR(paddb, b, x + y)
LANE_PAIR(paddw, w, x + y)
LANE_PAIR(paddd, d, x + y)
LANE_PAIR(paddq, q, x + y)
LANE_PAIR(psubb, b, x - y)
LANE_PAIR(psubw, w, x - y)
LANE_PAIR(psubd, d, x - y)
LANE_PAIR(psubq, q, x - y)
LANE_PAIR(paddsb, b, SAT_B(SB(x) + SB(y)))
LANE_PAIR(paddsw, w, SAT_W(SW(x) + SW(y)))
LANE_PAIR(paddusb, b, SAT_UB(x + y))
LANE_PAIR(paddusw, w, SAT_UW(x + y))
LANE_PAIR(psubsb, b, SAT_B(SB(x) - SB(y)))
LANE_PAIR(psubsw, w, SAT_W(SW(x) - SW(y)))
LANE_PAIR(psubusb, b, SAT_UB(x - y))
LANE_PAIR(psubusw, w, SAT_UW(x - y))
LANE_PAIR(pmullw, w, SW(x) * SW(y))
LANE_PAIR(pmulhw, w, (SW(x) * SW(y)) >> 16)
LANE_PAIR(pmulhuw, w, ((uint32_t)x * y) >> 16)
LANE_PAIR(pavgb, b, (x + y + 1) >> 1)
LANE_PAIR(pavgw, w, (x + y + 1) >> 1)
LANE_PAIR(pminub, b, x < y ? x : y)
LANE_PAIR(pmaxub, b, x > y ? x : y)
LANE_PAIR(pminsw, w, SW(x) < SW(y) ? x : y)
LANE_PAIR(pmaxsw, w, SW(x) > SW(y) ? x : y)
LANE_PAIR(pcmpgtb, b, SB(x) > SB(y) ? -1 : 0)
LANE_PAIR(pcmpgtw, w, SW(x) > SW(y) ? -1 : 0)
LANE_PAIR(pcmpgtd, d, SD(x) > SD(y) ? -1 : 0)
LANE_PAIR(pcmpeqb, b, x == y ? -1 : 0)
LANE_PAIR(pcmpeqw, w, x == y ? -1 : 0)
LANE_PAIR(pcmpeqd, d, x == y ? -1 : 0)
LANE_PAIR(pand, q, x & y)
LANE_PAIR(pandn, q, ~x & y)
LANE_PAIR(por, q, x | y)
LANE_PAIR(pxor, q, x ^ y)

/* ------------------------------------------------------- across lanes */

VEC_PAIR(pmuludq, FOR_LANES(q) a->q[i] = (uint64_t)(uint32_t)a->q[i] * (uint32_t)b->q[i])

VEC_PAIR(pmaddwd, FOR_LANES(d) {
    /* Both products may be 2^30: the sum wraps to 0x80000000. */
    uint32_t lo = (uint32_t)(SW(a->w[2 * i]) * SW(b->w[2 * i]));
    uint32_t hi = (uint32_t)(SW(a->w[2 * i + 1]) * SW(b->w[2 * i + 1]));
    a->d[i] = lo + hi;
})

VEC_PAIR(psadbw, FOR_LANES(q) {
    unsigned sum = 0;
    for (unsigned j = 8 * i; j < 8 * i + 8; j++)
        sum += a->b[j] > b->b[j] ? a->b[j] - b->b[j] : b->b[j] - a->b[j];
    a->q[i] = sum;
})

#define INTERLEAVE(lane, first) do {                                                               \
        X86Xmm t = *a;                                                                             \
        unsigned half = n / 2 / sizeof(a->lane[0]), base = (first) ? half : 0;                     \
        for (unsigned i = 0; i < half; i++) {                                                      \
            a->lane[2 * i] = t.lane[base + i];                                                     \
            a->lane[2 * i + 1] = b->lane[base + i];                                                \
        }                                                                                          \
    } while (0)

/* The low MMX forms read only 4 bytes of memory. */
#define PUNPCKL(name, lane)                                                                        \
    static inline void name##_body(X86Xmm *a, const X86Xmm *b, unsigned n, unsigned imm)           \
    {                                                                                              \
        INTERLEAVE(lane, 0);                                                                       \
    }                                                                                              \
    VEC_WRAP(name, m, 8, 4)                                                                        \
    VEC_WRAP(name, x, 16, 16)

PUNPCKL(punpcklbw, b)
PUNPCKL(punpcklwd, w)
PUNPCKL(punpckldq, d)
VEC_PAIR(punpckhbw, INTERLEAVE(b, 1))
VEC_PAIR(punpckhwd, INTERLEAVE(w, 1))
VEC_PAIR(punpckhdq, INTERLEAVE(d, 1))
VEC_XMM(punpcklqdq, INTERLEAVE(q, 0))
VEC_XMM(punpckhqdq, INTERLEAVE(q, 1))

#define PACK(from, to, expr) do {                                                                  \
        X86Xmm t;                                                                                  \
        unsigned half = n / sizeof(a->from[0]);                                                    \
        for (unsigned i = 0; i < half; i++) {                                                      \
            __typeof__(a->from[0]) v = a->from[i];                                                 \
            t.to[i] = expr;                                                                        \
        }                                                                                          \
        for (unsigned i = 0; i < half; i++) {                                                      \
            __typeof__(a->from[0]) v = b->from[i];                                                 \
            t.to[half + i] = expr;                                                                 \
        }                                                                                          \
        memcpy(a, &t, n);                                                                          \
    } while (0)

VEC_PAIR(packsswb, PACK(w, b, SAT_B(SW(v))))
VEC_PAIR(packuswb, PACK(w, b, SAT_UB(SW(v))))
VEC_PAIR(packssdw, PACK(d, w, SAT_W(SD(v))))
VEC_XMM(packusdw, PACK(d, w, SAT_UW(SD(v))))

/* ------------------------------------------------------- shifts */

#define SHIFT(lane, bits, expr) do {                                                               \
        FOR_LANES(lane) {                                                                          \
            __typeof__(a->lane[0]) x = a->lane[i];                                                 \
            a->lane[i] = c < (bits) ? (__typeof__(x))(expr) : 0;                                   \
        }                                                                                          \
    } while (0)
#define SHIFT_ARITH(lane, type, bits) do {                                                         \
        unsigned k = c < (bits) ? (unsigned)c : (bits) - 1;                                        \
        FOR_LANES(lane) a->lane[i] = (__typeof__(a->lane[0]))((type)a->lane[i] >> k);              \
    } while (0)

/* By the low quadword of the source, and by imm8 (group 12 to 14: no source). */
#define SHIFT_BOTH(name, ...)                                                                      \
    VEC_PAIR(name, uint64_t c = b->q[0]; __VA_ARGS__)                                              \
    static inline void name##i_body(X86Xmm *a, unsigned n, uint64_t c)                             \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    uint32_t x86_##name##i_m(X86Fpu *f, void *dst, const void *src, unsigned imm)                  \
    {                                                                                              \
        X86Xmm a;                                                                                  \
        memcpy(&a, dst, 8);                                                                        \
        name##i_body(&a, 8, imm & 0xff);                                                           \
        memcpy(dst, &a, 8);                                                                        \
        return 0;                                                                                  \
    }                                                                                              \
    uint32_t x86_##name##i_x(X86Fpu *f, void *dst, const void *src, unsigned imm)                  \
    {                                                                                              \
        name##i_body(dst, 16, imm & 0xff);                                                         \
        return 0;                                                                                  \
    }

SHIFT_BOTH(psllw, SHIFT(w, 16, (uint32_t)x << c))
SHIFT_BOTH(pslld, SHIFT(d, 32, x << c))
SHIFT_BOTH(psllq, SHIFT(q, 64, x << c))
SHIFT_BOTH(psrlw, SHIFT(w, 16, x >> c))
SHIFT_BOTH(psrld, SHIFT(d, 32, x >> c))
SHIFT_BOTH(psrlq, SHIFT(q, 64, x >> c))
SHIFT_BOTH(psraw, SHIFT_ARITH(w, int16_t, 16u))
SHIFT_BOTH(psrad, SHIFT_ARITH(d, int32_t, 32u))

uint32_t x86_pslldq_x(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    unsigned k = (imm & 0xff) > 16 ? 16 : imm & 0xff;
    memmove((uint8_t *)dst + k, dst, 16 - k);
    memset(dst, 0, k);
    return 0;
}

uint32_t x86_psrldq_x(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    unsigned k = (imm & 0xff) > 16 ? 16 : imm & 0xff;
    memmove(dst, (uint8_t *)dst + k, 16 - k);
    memset((uint8_t *)dst + 16 - k, 0, k);
    return 0;
}

/* ------------------------------------------------------- shuffles */

static inline void shuffle_words(uint16_t *d, const uint16_t *s, unsigned imm)
{
    for (unsigned i = 0; i < 4; i++)
        d[i] = s[imm >> 2 * i & 3];
}

uint32_t x86_pshufw_m(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    X86Xmm d, s;
    memcpy(&s, src, 8);
    shuffle_words(d.w, s.w, imm);
    memcpy(dst, &d, 8);
    return 0;
}

VEC_XMM(pshuflw, *a = *b; shuffle_words(a->w, b->w, imm))
VEC_XMM(pshufhw, *a = *b; shuffle_words(a->w + 4, b->w + 4, imm))
VEC_XMM(pshufd, FOR_LANES(d) a->d[i] = b->d[imm >> 2 * i & 3])

uint32_t x86_shufps(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    X86Xmm a, b, t;
    memcpy(&a, dst, 16);
    memcpy(&b, src, 16);
    t.d[0] = a.d[imm & 3];
    t.d[1] = a.d[imm >> 2 & 3];
    t.d[2] = b.d[imm >> 4 & 3];
    t.d[3] = b.d[imm >> 6 & 3];
    memcpy(dst, &t, 16);
    return 0;
}

uint32_t x86_shufpd(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    X86Xmm a, b, t;
    memcpy(&a, dst, 16);
    memcpy(&b, src, 16);
    t.q[0] = a.q[imm & 1];
    t.q[1] = b.q[imm >> 1 & 1];
    memcpy(dst, &t, 16);
    return 0;
}

static uint32_t put_gpr(void *dst, uint64_t v)
{
    memcpy(dst, &v, 8);
    return 0;
}

static uint64_t get8(const void *src)
{
    uint64_t v;
    memcpy(&v, src, 8);
    return v;
}

uint32_t x86_pinsrw_m(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    memcpy((uint8_t *)dst + 2 * (imm & 3), src, 2);
    return 0;
}

uint32_t x86_pinsrw_x(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    memcpy((uint8_t *)dst + 2 * (imm & 7), src, 2);
    return 0;
}

uint32_t x86_pextrw_m(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return put_gpr(dst, get8(src) >> 16 * (imm & 3) & 0xffff);
}

uint32_t x86_pextrw_x(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return put_gpr(dst, ((const X86Xmm *)src)->w[imm & 7]);
}

static uint32_t put_signs(void *dst, const uint8_t *top, unsigned count, unsigned step)
{
    uint64_t m = 0;
    for (unsigned i = 0; i < count; i++)
        m |= (uint64_t)(top[i * step] >> 7) << i;
    return put_gpr(dst, m);
}

uint32_t x86_pmovmskb_m(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return put_signs(dst, src, 8, 1);
}

uint32_t x86_pmovmskb_x(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return put_signs(dst, src, 16, 1);
}

uint32_t x86_movmskps(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return put_signs(dst, (const uint8_t *)src + 3, 4, 4);
}

uint32_t x86_movmskpd(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    return put_signs(dst, (const uint8_t *)src + 7, 2, 8);
}

/* ------------------------------------------------------- moves */

#define MOVE(name, ...)                                                                            \
    uint32_t x86_##name(X86Fpu *f, void *dst, const void *src, unsigned imm)                       \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
        return 0;                                                                                  \
    }

static inline uint64_t get_gpr(const void *src, unsigned imm)
{
    uint32_t v;
    if (imm & X86_SSE_IMM_REXW)
        return get8(src);
    memcpy(&v, src, 4);
    return v;
}

static inline void put_low8(void *dst, uint64_t lo)
{
    uint64_t v[2] = { lo, 0 };
    memcpy(dst, v, 16);
}

MOVE(nop)
MOVE(emms, f->tag = 0; f->sw &= (uint16_t)~0x3800)
MOVE(mov4, memmove(dst, src, 4))
MOVE(mov8, memmove(dst, src, 8))
MOVE(mov16, memmove(dst, src, 16))
MOVE(mov4z, put_low8(dst, get_gpr(src, 0)))
MOVE(mov8z, put_low8(dst, get8(src)))
MOVE(movd_load, put_low8(dst, get_gpr(src, imm)))
MOVE(movd_load_m, put_gpr(dst, get_gpr(src, imm)))
MOVE(movd_store, put_gpr(dst, get_gpr(src, imm)))
MOVE(movhps_load, memcpy((uint8_t *)dst + 8, src, 8)) /* MOVLHPS too */
MOVE(movhps_store, memcpy(dst, (const uint8_t *)src + 8, 8))
MOVE(movhlps, memcpy(dst, (const uint8_t *)src + 8, 8))
MOVE(movddup, uint64_t v = get8(src); memcpy(dst, &v, 8); memcpy((uint8_t *)dst + 8, &v, 8))

VEC_XMM(movsldup, FOR_LANES(d) a->d[i] = b->d[i & 2])
VEC_XMM(movshdup, FOR_LANES(d) a->d[i] = b->d[i | 1])
