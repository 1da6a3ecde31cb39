/*
 * AVX and AVX2: which SSE instructions have VEX forms and how, and the instructions
 * that only VEX has.  Intel SDM volume 2.
 */
#include "avx.h"
#include "sse-ops.h"

#define NO 0xffff

static unsigned class_0f(unsigned p, uint8_t op, const X86SseInsn *i)
{
    bool store = i->flags & X86_SSE_STORE;
    switch (op) {
    case 0x10: case 0x11:
        if (p < 2)
            return AVX_LANES;
        /* VMOVSS, VMOVSD: two sources between registers */
        return AVX_LOW | AVX_LIG | (i->fn == x86_mov4 || i->fn == x86_mov8 ? AVX_NDS : 0);
    case 0x12:
        return p >= 2 ? AVX_LANES : AVX_LOW | AVX_NDS;
    case 0x13: case 0x17:
        return AVX_LOW;
    case 0x16:
        return p == 2 ? AVX_LANES : AVX_LOW | AVX_NDS;
    case 0x14: case 0x15: case 0xc6: case 0x54: case 0x55: case 0x56: case 0x57:
    case 0x7c: case 0x7d: case 0xd0:
        return AVX_LANES | AVX_NDS;
    case 0x28: case 0x29: case 0x2b:
        return AVX_LANES | AVX_ALIGN;
    case 0x2a: return AVX_LOW | AVX_LIG | AVX_NDS;
    case 0x2c: case 0x2d: case 0x2e: case 0x2f: return AVX_LOW | AVX_LIG;
    case 0x50: return AVX_MASK;
    case 0x51: case 0x52: case 0x53:
        return p >= 2 ? AVX_LOW | AVX_LIG | AVX_NDS : AVX_LANES;
    case 0x58: case 0x59: case 0x5c: case 0x5d: case 0x5e: case 0x5f:
        return p >= 2 ? AVX_LOW | AVX_LIG | AVX_NDS : AVX_LANES | AVX_NDS;
    case 0x5a: return p == 0 ? AVX_EXPAND : p == 1 ? AVX_NARROW : AVX_LOW | AVX_LIG | AVX_NDS;
    case 0x5b: return AVX_LANES;
    case 0x6e: case 0x7e: return AVX_LOW;
    case 0x6f: case 0x7f: return AVX_LANES | (p == 1 ? AVX_ALIGN : 0);
    case 0x70: return AVX_LANES | AVX_INT;
    case 0x71: case 0x72: case 0x73: return AVX_LANES | AVX_NDD | AVX_INT;
    case 0x77: case 0xc2: return NO;
    case 0xc4: return AVX_LOW | AVX_NDS;
    case 0xc5: case 0xd6: return AVX_LOW;
    case 0xd7: return AVX_MASK | AVX_INT;
    case 0xe6: return p == 2 ? AVX_EXPAND : AVX_NARROW;
    case 0xe7: return AVX_LANES | AVX_ALIGN;
    case 0xf0: return AVX_LANES;
    case 0xf7: return AVX_LOW;
    case 0xd1: case 0xd2: case 0xd3: case 0xe1: case 0xe2: case 0xf1: case 0xf2: case 0xf3:
        return AVX_COUNT | AVX_NDS | AVX_INT;
    }
    return store ? NO : AVX_LANES | AVX_NDS | AVX_INT;
}

unsigned x86_avx_class(unsigned map, unsigned p, uint8_t op, const X86SseInsn *i)
{
    if (i->flags & X86_SSE_MMX || i->feature == X86_FEAT_SHA || i->reg == X86_OPK_MMX ||
        i->rm == X86_OPK_MMX)
        return NO;
    if (map == 0)
        return class_0f(p, op, i);
    if (map == 1) {
        if ((op >= 0x1c && op <= 0x1e))
            return AVX_LANES | AVX_INT;
        if (op == 0x10 || op == 0x14 || op == 0x15)
            return NO; /* with a fourth operand, in map 0F3A */
        if (op == 0x17)
            return AVX_TEST;
        if ((op >= 0x20 && op <= 0x25) || (op >= 0x30 && op <= 0x35))
            return AVX_EXPAND | AVX_INT;
        if (op == 0x2a)
            return AVX_LANES | AVX_INT | AVX_ALIGN;
        if (op == 0x41 || op == 0xdb)
            return AVX_LOW;
        if (op == 0xcf)
            return AVX_LANES | AVX_NDS; /* GF2P8MULB */
        if (op >= 0xdc)
            return AVX_LOW | AVX_NDS;
        return AVX_LANES | AVX_NDS | AVX_INT;
    }
    switch (op) {
    case 0x08: case 0x09: return AVX_LANES;
    case 0x0a: case 0x0b: return AVX_LOW | AVX_LIG | AVX_NDS;
    case 0x0c: case 0x0d: case 0x40: return AVX_LANES | AVX_NDS;
    case 0x0e: case 0x0f: case 0x42: return AVX_LANES | AVX_NDS | AVX_INT;
    case 0xce: case 0xcf: return AVX_LANES | AVX_NDS; /* GFNI wants AVX only, for 256 bits too */
    case 0x14: case 0x15: case 0x16: case 0x17: return AVX_LOW;
    case 0x20: case 0x21: case 0x22: case 0x41: case 0x44: return AVX_LOW | AVX_NDS;
    case 0x60: case 0x61: case 0x62: case 0x63: case 0xdf: return AVX_LOW;
    }
    return NO;
}

/* ---- what only VEX has -------------------------------------------------------------------- */

#define FN(name)                                                                                   \
    static uint32_t name(X86Fpu *f, X86Ymm *dst, const X86Ymm *a, const X86Ymm *b, unsigned imm,    \
                         unsigned bytes)
#define EACH(size) for (unsigned i = 0; i < bytes / (size); i++)

FN(vpermilps_v) { EACH(4) dst->d[i] = a->d[(i & ~3u) | (b->d[i] & 3)]; return 0; }
FN(vpermilpd_v) { EACH(8) dst->q[i] = a->q[(i & ~1u) | (b->q[i] >> 1 & 1)]; return 0; }
FN(vpermilps_i) { EACH(4) dst->d[i] = b->d[(i & ~3u) | (imm >> 2 * (i & 3) & 3)]; return 0; }
FN(vpermilpd_i) { EACH(8) dst->q[i] = b->q[(i & ~1u) | (imm >> i & 1)]; return 0; }
FN(vpermd) { EACH(4) dst->d[i] = b->d[a->d[i] & 7]; return 0; }
FN(vpermq) { EACH(8) dst->q[i] = b->q[imm >> 2 * i & 3]; return 0; }
FN(broadcast1) { EACH(1) dst->b[i] = b->b[0]; return 0; }
FN(broadcast2) { EACH(2) dst->w[i] = b->w[0]; return 0; }
FN(broadcast4) { EACH(4) dst->d[i] = b->d[0]; return 0; }
FN(broadcast8) { EACH(8) dst->q[i] = b->q[0]; return 0; }
FN(broadcast16) { dst->h[0] = dst->h[1] = b->h[0]; return 0; }
FN(vpsrlvd) { EACH(4) dst->d[i] = b->d[i] < 32 ? a->d[i] >> b->d[i] : 0; return 0; }
FN(vpsrlvq) { EACH(8) dst->q[i] = b->q[i] < 64 ? a->q[i] >> b->q[i] : 0; return 0; }
FN(vpsllvd) { EACH(4) dst->d[i] = b->d[i] < 32 ? a->d[i] << b->d[i] : 0; return 0; }
FN(vpsllvq) { EACH(8) dst->q[i] = b->q[i] < 64 ? a->q[i] << b->q[i] : 0; return 0; }
FN(vpsravd)
{
    EACH(4) dst->d[i] = (uint32_t)((int32_t)a->d[i] >> (b->d[i] < 32 ? b->d[i] : 31));
    return 0;
}
FN(vpblendd) { EACH(4) dst->d[i] = imm >> i & 1 ? b->d[i] : a->d[i]; return 0; }
FN(vinsert128)
{
    *dst = *a;
    dst->h[imm & 1] = b->h[0];
    return 0;
}
FN(vextract128) { dst->h[0] = b->h[imm & 1]; return 0; }
FN(vperm2x128)
{
    const X86Xmm *from[4] = { &a->h[0], &a->h[1], &b->h[0], &b->h[1] };
    X86Xmm zero = { .q = { 0, 0 } };
    for (unsigned i = 0; i < 2; i++) {
        unsigned s = imm >> 4 * i;
        dst->h[i] = s & 8 ? zero : *from[s & 3];
    }
    return 0;
}

static X86Ymm fourth(const X86Fpu *f, unsigned imm)
{
    X86Ymm m = { .h = { f->xmm[imm >> 4 & 15], f->ymmh[imm >> 4 & 15] } };
    return m;
}
FN(vblendvps)
{
    X86Ymm m = fourth(f, imm);
    EACH(4) dst->d[i] = m.d[i] >> 31 ? b->d[i] : a->d[i];
    return 0;
}
FN(vblendvpd)
{
    X86Ymm m = fourth(f, imm);
    EACH(8) dst->q[i] = m.q[i] >> 63 ? b->q[i] : a->q[i];
    return 0;
}
FN(vpblendvb)
{
    X86Ymm m = fourth(f, imm);
    EACH(1) dst->b[i] = m.b[i] >> 7 ? b->b[i] : a->b[i];
    return 0;
}

enum { F_CF = 1, F_PF = 4, F_ZF = 0x40 };

/* dst is the register operand, b the other one; only signs count. */
FN(vtestps)
{
    uint32_t both = 0, rest = 0;
    EACH(4) both |= dst->d[i] & b->d[i], rest |= ~dst->d[i] & b->d[i];
    return (both >> 31 ? 0 : F_ZF) | (rest >> 31 ? 0 : F_CF);
}
FN(vtestpd)
{
    uint64_t both = 0, rest = 0;
    EACH(8) both |= dst->q[i] & b->q[i], rest |= ~dst->q[i] & b->q[i];
    return (both >> 63 ? 0 : F_ZF) | (rest >> 63 ? 0 : F_CF);
}

/* The 32 predicates of VCMP, by the outcome of a comparison as (U)COMIS gives it. */
static bool predicate(unsigned p, uint32_t flags)
{
    bool unordered = flags & F_PF, equal = !unordered && (flags & F_ZF);
    bool less = !unordered && (flags & F_CF);
    bool greater = !unordered && !equal && !less;
    switch (p & 15) {
    case 0: return equal;
    case 1: return less;
    case 2: return less || equal;
    case 3: return unordered;
    case 4: return !equal;
    case 5: return !less;
    case 6: return !less && !equal;
    case 7: return !unordered;
    case 8: return equal || unordered;
    case 9: return less || unordered;
    case 10: return !greater;
    case 11: return false;
    case 12: return less || greater;
    case 13: return greater || equal;
    case 14: return greater;
    default: return true;
    }
}
/* 1, 2, 5, 6 and their like signal for quiet NaNs; 16 turns it round. */
static bool signals(unsigned p)
{
    unsigned k = p & 3;
    return (k == 1 || k == 2) != (p >> 4 & 1);
}

static uint32_t compare(X86Fpu *f, X86Ymm *dst, const X86Ymm *a, const X86Ymm *b, unsigned p, bool wide,
                        unsigned count)
{
    X86SseFn *fn = wide ? signals(p) ? x86_comisd : x86_ucomisd : signals(p) ? x86_comiss : x86_ucomiss;
    uint32_t xm = 0;
    X86Ymm out = *dst;
    for (unsigned i = 0; i < count; i++) {
        X86Xmm x = { .q = { 0, 0 } }, y = x;
        x.q[0] = wide ? a->q[i] : a->d[i];
        y.q[0] = wide ? b->q[i] : b->d[i];
        uint32_t r = fn(f, &x, &y, 0);
        xm |= r & X86_SSE_XM;
        uint64_t v = predicate(p, r) ? ~0ull : 0;
        if (wide)
            out.q[i] = v;
        else
            out.d[i] = (uint32_t)v;
    }
    *dst = out;
    return xm;
}
FN(vcmpps) { return compare(f, dst, a, b, imm & 31, false, bytes / 4); }
FN(vcmppd) { return compare(f, dst, a, b, imm & 31, true, bytes / 8); }
FN(vcmpss)
{
    dst->h[0] = a->h[0];
    return compare(f, dst, a, b, imm & 31, false, 1);
}
FN(vcmpsd)
{
    dst->h[0] = a->h[0];
    return compare(f, dst, a, b, imm & 31, true, 1);
}
FN(vzero)
{
    if (bytes == 32)
        memset(f->xmm, 0, sizeof f->xmm);
    memset(f->ymmh, 0, sizeof f->ymmh);
    return 0;
}
/* The executor does these. */
FN(by_executor) { return 0; }

#define I AVI_IMM8
#define V AVI_NDS
#define L1 AVI_L1
#define A2 AVI_AVX2

#define MA (V | AVI_FMA | AVI_FP)
#define FMA_PACKED(name, op)                                                                       \
    { name "132p", x86_avx_fma, 1, 1, 0x90 + op, -1, 0, MA },                                      \
    { name "213p", x86_avx_fma, 1, 1, 0xa0 + op, -1, 0, MA },                                      \
    { name "231p", x86_avx_fma, 1, 1, 0xb0 + op, -1, 0, MA }
#define FMA_SCALAR(name, op, w, size)                                                              \
    { name "132s", x86_avx_fma, 1, 1, 0x90 + op, w, size, MA | AVI_LIG },                          \
    { name "213s", x86_avx_fma, 1, 1, 0xa0 + op, w, size, MA | AVI_LIG },                          \
    { name "231s", x86_avx_fma, 1, 1, 0xb0 + op, w, size, MA | AVI_LIG }

static const X86AvxInsn rows[] = {
    FMA_PACKED("vfmaddsub", 6), FMA_PACKED("vfmsubadd", 7), FMA_PACKED("vfmadd", 8),
    FMA_SCALAR("vfmadd", 9, 0, 4), FMA_SCALAR("vfmadd", 9, 1, 8), FMA_PACKED("vfmsub", 10),
    FMA_SCALAR("vfmsub", 11, 0, 4), FMA_SCALAR("vfmsub", 11, 1, 8), FMA_PACKED("vfnmadd", 12),
    FMA_SCALAR("vfnmadd", 13, 0, 4), FMA_SCALAR("vfnmadd", 13, 1, 8), FMA_PACKED("vfnmsub", 14),
    FMA_SCALAR("vfnmsub", 15, 0, 4), FMA_SCALAR("vfnmsub", 15, 1, 8),
    { "vcvtph2ps", x86_avx_cvtph2ps, 1, 1, 0x13, 0, 0, AVI_F16C | AVI_HALF | AVI_FP },
    { "vcvtps2ph", x86_avx_cvtps2ph, 2, 1, 0x1d, 0, 0, I | AVI_F16C | AVI_HALF | AVI_STORE | AVI_FP },
    { "vzero", vzero, 0, 0, 0x77, -1, 0, 0 },
    { "vcmpps", vcmpps, 0, 0, 0xc2, -1, 0, V | I | AVI_FP },
    { "vcmppd", vcmppd, 0, 1, 0xc2, -1, 0, V | I | AVI_FP },
    { "vcmpss", vcmpss, 0, 2, 0xc2, -1, 4, V | I | AVI_LIG | AVI_FP },
    { "vcmpsd", vcmpsd, 0, 3, 0xc2, -1, 8, V | I | AVI_LIG | AVI_FP },
    { "vpermilps", vpermilps_v, 1, 1, 0x0c, 0, 0, V },
    { "vpermilpd", vpermilpd_v, 1, 1, 0x0d, 0, 0, V },
    { "vtestps", vtestps, 1, 1, 0x0e, 0, 0, AVI_EFLAGS },
    { "vtestpd", vtestpd, 1, 1, 0x0f, 0, 0, AVI_EFLAGS },
    { "vpermps", vpermd, 1, 1, 0x16, 0, 0, V | L1 | A2 },
    { "vbroadcastss", broadcast4, 1, 1, 0x18, 0, 4, AVI_REG2 },
    { "vbroadcastsd", broadcast8, 1, 1, 0x19, 0, 8, L1 | AVI_REG2 },
    { "vbroadcastf128", broadcast16, 1, 1, 0x1a, 0, 16, L1 | AVI_MEM },
    { "vmaskmovps", by_executor, 1, 1, 0x2c, 0, 4, V | AVI_MEM | AVI_MASKED },
    { "vmaskmovpd", by_executor, 1, 1, 0x2d, 0, 8, V | AVI_MEM | AVI_MASKED },
    { "vmaskmovps", by_executor, 1, 1, 0x2e, 0, 4, V | AVI_MEM | AVI_MASKED | AVI_STORE },
    { "vmaskmovpd", by_executor, 1, 1, 0x2f, 0, 8, V | AVI_MEM | AVI_MASKED | AVI_STORE },
    { "vpermd", vpermd, 1, 1, 0x36, 0, 0, V | L1 | A2 },
    { "vpsrlvd", vpsrlvd, 1, 1, 0x45, 0, 0, V | A2 },
    { "vpsrlvq", vpsrlvq, 1, 1, 0x45, 1, 0, V | A2 },
    { "vpsravd", vpsravd, 1, 1, 0x46, 0, 0, V | A2 },
    { "vpsllvd", vpsllvd, 1, 1, 0x47, 0, 0, V | A2 },
    { "vpsllvq", vpsllvq, 1, 1, 0x47, 1, 0, V | A2 },
    { "vpbroadcastd", broadcast4, 1, 1, 0x58, 0, 4, A2 },
    { "vpbroadcastq", broadcast8, 1, 1, 0x59, 0, 8, A2 },
    { "vbroadcasti128", broadcast16, 1, 1, 0x5a, 0, 16, L1 | A2 | AVI_MEM },
    { "vpbroadcastb", broadcast1, 1, 1, 0x78, 0, 1, A2 },
    { "vpbroadcastw", broadcast2, 1, 1, 0x79, 0, 2, A2 },
    { "vpmaskmovd", by_executor, 1, 1, 0x8c, 0, 4, V | A2 | AVI_MEM | AVI_MASKED },
    { "vpmaskmovq", by_executor, 1, 1, 0x8c, 1, 8, V | A2 | AVI_MEM | AVI_MASKED },
    { "vpmaskmovd", by_executor, 1, 1, 0x8e, 0, 4, V | A2 | AVI_MEM | AVI_MASKED | AVI_STORE },
    { "vpmaskmovq", by_executor, 1, 1, 0x8e, 1, 8, V | A2 | AVI_MEM | AVI_MASKED | AVI_STORE },
    { "vpgatherdd", by_executor, 1, 1, 0x90, 0, 4, V | A2 | AVI_MEM | AVI_GATHER },
    { "vpgatherdq", by_executor, 1, 1, 0x90, 1, 8, V | A2 | AVI_MEM | AVI_GATHER },
    { "vpgatherqd", by_executor, 1, 1, 0x91, 0, 4, V | A2 | AVI_MEM | AVI_GATHER },
    { "vpgatherqq", by_executor, 1, 1, 0x91, 1, 8, V | A2 | AVI_MEM | AVI_GATHER },
    { "vgatherdps", by_executor, 1, 1, 0x92, 0, 4, V | A2 | AVI_MEM | AVI_GATHER },
    { "vgatherdpd", by_executor, 1, 1, 0x92, 1, 8, V | A2 | AVI_MEM | AVI_GATHER },
    { "vgatherqps", by_executor, 1, 1, 0x93, 0, 4, V | A2 | AVI_MEM | AVI_GATHER },
    { "vgatherqpd", by_executor, 1, 1, 0x93, 1, 8, V | A2 | AVI_MEM | AVI_GATHER },
    { "vpermq", vpermq, 2, 1, 0x00, 1, 0, I | L1 | A2 },
    { "vpermpd", vpermq, 2, 1, 0x01, 1, 0, I | L1 | A2 },
    { "vpblendd", vpblendd, 2, 1, 0x02, 0, 0, V | I | A2 },
    { "vpermilps", vpermilps_i, 2, 1, 0x04, 0, 0, I },
    { "vpermilpd", vpermilpd_i, 2, 1, 0x05, 0, 0, I },
    { "vperm2f128", vperm2x128, 2, 1, 0x06, 0, 0, V | I | L1 },
    { "vinsertf128", vinsert128, 2, 1, 0x18, 0, 16, V | I | L1 },
    { "vextractf128", vextract128, 2, 1, 0x19, 0, 16, I | L1 | AVI_STORE },
    { "vinserti128", vinsert128, 2, 1, 0x38, 0, 16, V | I | L1 | A2 },
    { "vextracti128", vextract128, 2, 1, 0x39, 0, 16, I | L1 | A2 | AVI_STORE },
    { "vperm2i128", vperm2x128, 2, 1, 0x46, 0, 0, V | I | L1 | A2 },
    { "vblendvps", vblendvps, 2, 1, 0x4a, 0, 0, V | I },
    { "vblendvpd", vblendvpd, 2, 1, 0x4b, 0, 0, V | I },
    /* 32 bytes of integers: AVX2, which the decoder asks by this flag with L */
    { "vpblendvb", vpblendvb, 2, 1, 0x4c, 0, 0, V | I },
};

const X86AvxInsn *x86_avx_lookup(unsigned map, unsigned prefix, uint8_t opcode, unsigned w)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const X86AvxInsn *r = &rows[i];
        if (r->map == map && r->prefix == prefix && r->opcode == opcode && (r->w < 0 || r->w == (int)w))
            return r;
    }
    return NULL;
}
