/*
 * PCLMULQDQ, AES-NI, SHA and GFNI: Intel SDM volume 2; FIPS 197 and FIPS 180-4.  The AES rounds and the
 * carry-less product are the host's where it has them.  The portable form computes the S-boxes from
 * their definition, so it is slow (a microsecond a round) but has no tables to time.
 */
#include "sse-ops.h"

#if defined(__x86_64__) && !defined(X86_FP_SOFT)
#include <emmintrin.h>
#define HOST_CRYPTO(feature, insn) \
    do { \
        if (__builtin_cpu_supports(feature)) { \
            __m128i x = _mm_load_si128((const __m128i *)a), \
                    y = _mm_load_si128((const __m128i *)b); \
            __asm__(insn " %1, %0" : "+x"(x) : "x"(y)); \
            _mm_store_si128((__m128i *)a, x); \
            return; \
        } \
    } while (0)
#else
#define HOST_CRYPTO(feature, insn) do { } while (0)
#endif

VEC_XMM(pclmulqdq, {
    switch (imm & 0x11) {
    case 0x00: HOST_CRYPTO("pclmul", "pclmullqlqdq"); break;
    case 0x01: HOST_CRYPTO("pclmul", "pclmulhqlqdq"); break;
    case 0x10: HOST_CRYPTO("pclmul", "pclmullqhqdq"); break;
    case 0x11: HOST_CRYPTO("pclmul", "pclmulhqhqdq"); break;
    }
    uint64_t x = a->q[imm & 1], y = b->q[imm >> 4 & 1], lo = 0, hi = 0;
    for (unsigned i = 0; i < 64; i++) {
        uint64_t m = -(y >> i & 1);
        lo ^= m & x << i;
        hi ^= i ? m & x >> (64 - i) : 0;
    }
    a->q[0] = lo;
    a->q[1] = hi;
})

/* ------------------------------------------------------- AES */

static uint8_t gf_mul(uint8_t x, uint8_t y)
{
    uint8_t r = 0;
    for (unsigned i = 0; i < 8; i++) {
        r ^= (uint8_t)(-(y >> i & 1) & x);
        x = (uint8_t)(x << 1 ^ (-(x >> 7) & 0x1b));
    }
    return r;
}

static uint8_t gf_inverse(uint8_t x)
{
    /* x^254 = x^2 x^4 x^8 ... x^128 */
    uint8_t r = 1, p = x;
    for (unsigned i = 0; i < 7; i++) {
        p = gf_mul(p, p);
        r = gf_mul(r, p);
    }
    return r;
}

static uint8_t rotl8(uint8_t x, unsigned k)
{
    return (uint8_t)(x << k | x >> (8 - k));
}

static uint8_t sub_byte(uint8_t x)
{
    x = gf_inverse(x);
    return x ^ rotl8(x, 1) ^ rotl8(x, 2) ^ rotl8(x, 3) ^ rotl8(x, 4) ^ 0x63;
}

static uint8_t inv_sub_byte(uint8_t x)
{
    x = rotl8(x, 1) ^ rotl8(x, 3) ^ rotl8(x, 6) ^ 0x05;
    return gf_inverse(x);
}

static void shift_sub(X86Xmm *a)
{
    X86Xmm t = *a;
    for (unsigned i = 0; i < 16; i++)
        a->b[i] = sub_byte(t.b[(i + 4 * (i & 3)) & 15]);
}

static void inv_shift_sub(X86Xmm *a)
{
    X86Xmm t = *a;
    for (unsigned i = 0; i < 16; i++)
        a->b[i] = inv_sub_byte(t.b[(i - 4 * (i & 3)) & 15]);
}

/* Multiplies each column by the circulant matrix whose first row is c. */
static void mix_columns(X86Xmm *a, const uint8_t c[4])
{
    X86Xmm t = *a;
    for (unsigned i = 0; i < 16; i++) {
        uint8_t v = 0;
        for (unsigned j = 0; j < 4; j++)
            v ^= gf_mul(t.b[(i & 12) + j], c[(j - i) & 3]);
        a->b[i] = v;
    }
}

static const uint8_t mix[4] = { 2, 3, 1, 1 }, inv_mix[4] = { 14, 11, 13, 9 };

#define ADD_KEY do { a->q[0] ^= b->q[0]; a->q[1] ^= b->q[1]; } while (0)

VEC_XMM(aesenc, HOST_CRYPTO("aes", "aesenc"); shift_sub(a); mix_columns(a, mix); ADD_KEY)
VEC_XMM(aesenclast, HOST_CRYPTO("aes", "aesenclast"); shift_sub(a); ADD_KEY)
VEC_XMM(aesdec, HOST_CRYPTO("aes", "aesdec"); inv_shift_sub(a); mix_columns(a, inv_mix); ADD_KEY)
VEC_XMM(aesdeclast, HOST_CRYPTO("aes", "aesdeclast"); inv_shift_sub(a); ADD_KEY)
VEC_XMM(aesimc, HOST_CRYPTO("aes", "aesimc"); *a = *b; mix_columns(a, inv_mix))

VEC_XMM(aeskeygenassist, {
    for (unsigned i = 0; i < 2; i++) {
        X86Xmm s = { 0 };
        for (unsigned j = 0; j < 4; j++)
            s.b[j] = sub_byte(b->b[8 * i + 4 + j]);
        a->d[2 * i] = s.d[0];
        a->d[2 * i + 1] = (s.d[0] >> 8 | s.d[0] << 24) ^ (imm & 0xff);
    }
})

/* ------------------------------------------------------- GFNI: bytes as elements of GF(2^8), 0x11b */

/* The bit matrix in 8 bytes, the row of bit 0 last, times x, plus the constant. */
static uint8_t gf_affine(const uint8_t *matrix, uint8_t x, unsigned constant)
{
    unsigned out = 0;
    for (unsigned i = 0; i < 8; i++)
        out |= (unsigned)__builtin_parity(matrix[7 - i] & x) << i;
    return (uint8_t)(out ^ constant);
}

VEC_XMM(gf2p8mulb, {
    for (unsigned i = 0; i < 16; i++)
        a->b[i] = gf_mul(a->b[i], b->b[i]);
})
VEC_XMM(gf2p8affineqb, {
    for (unsigned i = 0; i < 16; i++)
        a->b[i] = gf_affine(&b->b[i & ~7u], a->b[i], imm & 0xff);
})
VEC_XMM(gf2p8affineinvqb, {
    for (unsigned i = 0; i < 16; i++)
        a->b[i] = gf_affine(&b->b[i & ~7u], gf_inverse(a->b[i]), imm & 0xff);
})

/* ------------------------------------------------------- SHA */

static inline uint32_t rol(uint32_t x, unsigned k)
{
    return x << k | x >> (32 - k);
}

static inline uint32_t ror(uint32_t x, unsigned k)
{
    return x >> k | x << (32 - k);
}

VEC_XMM(sha1rnds4, {
    static const uint32_t k[4] = { 0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6 };
    uint32_t A = a->d[3], B = a->d[2], C = a->d[1], D = a->d[0], E = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t fn = B ^ C ^ D;
        if ((imm & 3) == 0)
            fn = (B & C) ^ (~B & D);
        else if ((imm & 3) == 2)
            fn = (B & C) ^ (B & D) ^ (C & D);
        /* E is already in the first word of the source (SHA1NEXTE put it there). */
        uint32_t next = fn + rol(A, 5) + b->d[3 - i] + E + k[imm & 3];
        E = D;
        D = C;
        C = rol(B, 30);
        B = A;
        A = next;
    }
    a->d[3] = A;
    a->d[2] = B;
    a->d[1] = C;
    a->d[0] = D;
})

VEC_XMM(sha1nexte, uint32_t e = rol(a->d[3], 30); *a = *b; a->d[3] += e)
VEC_XMM(sha1msg1, {
    X86Xmm t = { .d = { b->d[2], b->d[3], a->d[0], a->d[1] } };
    for (unsigned i = 0; i < 4; i++)
        a->d[i] ^= t.d[i];
})
VEC_XMM(sha1msg2, {
    for (unsigned i = 4; i-- > 1;)
        a->d[i] = rol(a->d[i] ^ b->d[i - 1], 1);
    a->d[0] = rol(a->d[0] ^ a->d[3], 1);
})

static inline uint32_t sigma0(uint32_t x)
{
    return ror(x, 7) ^ ror(x, 18) ^ x >> 3;
}

static inline uint32_t sigma1(uint32_t x)
{
    return ror(x, 17) ^ ror(x, 19) ^ x >> 10;
}

VEC_XMM(sha256msg1, {
    for (unsigned i = 0; i < 3; i++)
        a->d[i] += sigma0(a->d[i + 1]);
    a->d[3] += sigma0(b->d[0]);
})
VEC_XMM(sha256msg2, {
    a->d[0] += sigma1(b->d[2]);
    a->d[1] += sigma1(b->d[3]);
    a->d[2] += sigma1(a->d[0]);
    a->d[3] += sigma1(a->d[1]);
})

/* The state is CDGH in the destination and ABEF in the source; XMM0 holds two words W + K. */
uint32_t x86_sha256rnds2_x(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    X86Xmm s, d;
    memcpy(&d, dst, 16);
    memcpy(&s, src, 16);
    uint32_t A = s.d[3], B = s.d[2], C = d.d[3], D = d.d[2];
    uint32_t E = s.d[1], F = s.d[0], G = d.d[1], H = d.d[0];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t t =
            H + (ror(E, 6) ^ ror(E, 11) ^ ror(E, 25)) + ((E & F) ^ (~E & G)) + f->xmm[0].d[i];
        uint32_t u = (ror(A, 2) ^ ror(A, 13) ^ ror(A, 22)) + ((A & B) ^ (A & C) ^ (B & C));
        H = G;
        G = F;
        F = E;
        E = D + t;
        D = C;
        C = B;
        B = A;
        A = t + u;
    }
    d.d[3] = A;
    d.d[2] = B;
    d.d[1] = E;
    d.d[0] = F;
    memcpy(dst, &d, 16);
    return 0;
}
