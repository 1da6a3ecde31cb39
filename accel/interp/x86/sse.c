/*
 * The opcode maps of MMX and SSE to SSE4.2, PCLMULQDQ, AES-NI, SHA and GFNI: Intel SDM volume 2, appendix
 * A. Left out, because integer: MOVNTI, PREFETCHx, fences, LDMXCSR and STMXCSR, CRC32, POPCNT,
 * MOVBE.
 */
#include "sse-ops.h"

typedef enum X86SseForm {
    FORM_ANY,
    FORM_REG,   /* mod 3 only */
    FORM_MEM,   /* memory only */
    FORM_SPLIT, /* the register form; the memory form is in mem_forms[] */
    FORM_GROUP, /* ModRM.reg extends the opcode: shift_groups[] */
} X86SseForm;

typedef struct X86SseRow {
    X86SseInsn insn;
    uint8_t form;
} X86SseRow;

/* X86OpKind, short. */
#define N X86_OPK_NONE
#define X X86_OPK_XMM
#define M X86_OPK_MMX
#define G X86_OPK_GPR
enum { P0, P66, PF3, PF2 };

#define ST X86_SSE_STORE
#define AL X86_SSE_ALIGN16
#define IM X86_SSE_IMM8
#define RW X86_SSE_REXW
#define EF X86_SSE_EFLAGS
#define MX X86_SSE_MMX
#define FP X86_SSE_FP

/* op(opcode, form, name, function, reg, rm, bytes, feature, flags) */
#define OP(opc, form, name, fn, reg, rm, size, feat, flags)                                        \
    [opc] = { { name, x86_##fn, reg, rm, size, X86_FEAT_##feat, flags }, FORM_##form }

/* The common shape: xmm, xmm/m128 aligned; mm, mm/m64. */
#define XX(opc, name, feat, flags) OP(opc, ANY, #name, name##_x, X, X, 16, feat, AL | (flags))
#define MM(opc, name, feat, flags) OP(opc, ANY, #name, name##_m, M, M, 8, feat, MX | (flags))
#define FX(opc, name, size, feat, flags) OP(opc, ANY, #name, name, X, X, size, feat, FP | (flags))

static const X86SseRow map_0f[4][256] = {
    [P0] = {
        OP(0x10, ANY, "movups", mov16, X, X, 16, SSE, 0),
        OP(0x11, ANY, "movups", mov16, X, X, 16, SSE, ST),
        OP(0x12, SPLIT, "movhlps", movhlps, X, X, 8, SSE, 0),
        OP(0x13, MEM, "movlps", mov8, X, X, 8, SSE, ST),
        OP(0x14, ANY, "unpcklps", punpckldq_x, X, X, 16, SSE, AL),
        OP(0x15, ANY, "unpckhps", punpckhdq_x, X, X, 16, SSE, AL),
        OP(0x16, ANY, "movhps", movhps_load, X, X, 8, SSE, 0), /* MOVLHPS is the register form */
        OP(0x17, MEM, "movhps", movhps_store, X, X, 8, SSE, ST),
        OP(0x28, ANY, "movaps", mov16, X, X, 16, SSE, AL),
        OP(0x29, ANY, "movaps", mov16, X, X, 16, SSE, AL | ST),
        OP(0x2a, SPLIT, "cvtpi2ps", cvtpi2ps, X, M, 8, SSE, FP | MX),
        OP(0x2b, MEM, "movntps", mov16, X, X, 16, SSE, AL | ST),
        OP(0x2c, ANY, "cvttps2pi", cvttps2pi, M, X, 8, SSE, FP | MX),
        OP(0x2d, ANY, "cvtps2pi", cvtps2pi, M, X, 8, SSE, FP | MX),
        FX(0x2e, ucomiss, 4, SSE, EF),
        FX(0x2f, comiss, 4, SSE, EF),
        OP(0x50, REG, "movmskps", movmskps, G, X, 16, SSE, 0),
        FX(0x51, sqrtps, 16, SSE, AL),
        OP(0x52, ANY, "rsqrtps", rsqrtps, X, X, 16, SSE, AL),
        OP(0x53, ANY, "rcpps", rcpps, X, X, 16, SSE, AL),
        OP(0x54, ANY, "andps", pand_x, X, X, 16, SSE, AL),
        OP(0x55, ANY, "andnps", pandn_x, X, X, 16, SSE, AL),
        OP(0x56, ANY, "orps", por_x, X, X, 16, SSE, AL),
        OP(0x57, ANY, "xorps", pxor_x, X, X, 16, SSE, AL),
        FX(0x58, addps, 16, SSE, AL),
        FX(0x59, mulps, 16, SSE, AL),
        FX(0x5a, cvtps2pd, 8, SSE2, 0),
        FX(0x5b, cvtdq2ps, 16, SSE2, AL),
        FX(0x5c, subps, 16, SSE, AL),
        FX(0x5d, minps, 16, SSE, AL),
        FX(0x5e, divps, 16, SSE, AL),
        FX(0x5f, maxps, 16, SSE, AL),
        OP(0x60, ANY, "punpcklbw", punpcklbw_m, M, M, 4, MMX, MX),
        OP(0x61, ANY, "punpcklwd", punpcklwd_m, M, M, 4, MMX, MX),
        OP(0x62, ANY, "punpckldq", punpckldq_m, M, M, 4, MMX, MX),
        MM(0x63, packsswb, MMX, 0),
        MM(0x64, pcmpgtb, MMX, 0),
        MM(0x65, pcmpgtw, MMX, 0),
        MM(0x66, pcmpgtd, MMX, 0),
        MM(0x67, packuswb, MMX, 0),
        MM(0x68, punpckhbw, MMX, 0),
        MM(0x69, punpckhwd, MMX, 0),
        MM(0x6a, punpckhdq, MMX, 0),
        MM(0x6b, packssdw, MMX, 0),
        OP(0x6e, ANY, "movd", movd_load_m, M, G, 4, MMX, MX | RW),
        OP(0x6f, ANY, "movq", mov8, M, M, 8, MMX, MX),
        OP(0x70, ANY, "pshufw", pshufw_m, M, M, 8, SSE, MX | IM),
        OP(0x71, GROUP, "", nop, N, M, 8, MMX, MX),
        OP(0x72, GROUP, "", nop, N, M, 8, MMX, MX),
        OP(0x73, GROUP, "", nop, N, M, 8, MMX, MX),
        MM(0x74, pcmpeqb, MMX, 0),
        MM(0x75, pcmpeqw, MMX, 0),
        MM(0x76, pcmpeqd, MMX, 0),
        OP(0x77, REG, "emms", emms, N, N, 0, MMX, MX),
        OP(0x7e, ANY, "movd", movd_store, M, G, 4, MMX, MX | RW | ST),
        OP(0x7f, ANY, "movq", mov8, M, M, 8, MMX, MX | ST),
        FX(0xc2, cmpps, 16, SSE, AL | IM),
        OP(0xc4, ANY, "pinsrw", pinsrw_m, M, G, 2, SSE, MX | IM),
        OP(0xc5, REG, "pextrw", pextrw_m, G, M, 8, SSE, MX | IM),
        OP(0xc6, ANY, "shufps", shufps, X, X, 16, SSE, AL | IM),
        MM(0xd1, psrlw, MMX, 0),
        MM(0xd2, psrld, MMX, 0),
        MM(0xd3, psrlq, MMX, 0),
        MM(0xd4, paddq, SSE2, 0),
        MM(0xd5, pmullw, MMX, 0),
        OP(0xd7, REG, "pmovmskb", pmovmskb_m, G, M, 8, SSE, MX),
        MM(0xd8, psubusb, MMX, 0),
        MM(0xd9, psubusw, MMX, 0),
        MM(0xda, pminub, SSE, 0),
        MM(0xdb, pand, MMX, 0),
        MM(0xdc, paddusb, MMX, 0),
        MM(0xdd, paddusw, MMX, 0),
        MM(0xde, pmaxub, SSE, 0),
        MM(0xdf, pandn, MMX, 0),
        MM(0xe0, pavgb, SSE, 0),
        MM(0xe1, psraw, MMX, 0),
        MM(0xe2, psrad, MMX, 0),
        MM(0xe3, pavgw, SSE, 0),
        MM(0xe4, pmulhuw, SSE, 0),
        MM(0xe5, pmulhw, MMX, 0),
        OP(0xe7, MEM, "movntq", mov8, M, M, 8, SSE, MX | ST),
        MM(0xe8, psubsb, MMX, 0),
        MM(0xe9, psubsw, MMX, 0),
        MM(0xea, pminsw, SSE, 0),
        MM(0xeb, por, MMX, 0),
        MM(0xec, paddsb, MMX, 0),
        MM(0xed, paddsw, MMX, 0),
        MM(0xee, pmaxsw, SSE, 0),
        MM(0xef, pxor, MMX, 0),
        MM(0xf1, psllw, MMX, 0),
        MM(0xf2, pslld, MMX, 0),
        MM(0xf3, psllq, MMX, 0),
        MM(0xf4, pmuludq, SSE2, 0),
        MM(0xf5, pmaddwd, MMX, 0),
        MM(0xf6, psadbw, SSE, 0),
        OP(0xf7, REG, "maskmovq", nop, M, M, 8, SSE, MX | X86_SSE_MASKMOV),
        MM(0xf8, psubb, MMX, 0),
        MM(0xf9, psubw, MMX, 0),
        MM(0xfa, psubd, MMX, 0),
        MM(0xfb, psubq, SSE2, 0),
        MM(0xfc, paddb, MMX, 0),
        MM(0xfd, paddw, MMX, 0),
        MM(0xfe, paddd, MMX, 0),
    },
    [P66] = {
        OP(0x10, ANY, "movupd", mov16, X, X, 16, SSE2, 0),
        OP(0x11, ANY, "movupd", mov16, X, X, 16, SSE2, ST),
        OP(0x12, MEM, "movlpd", mov8, X, X, 8, SSE2, 0),
        OP(0x13, MEM, "movlpd", mov8, X, X, 8, SSE2, ST),
        OP(0x14, ANY, "unpcklpd", punpcklqdq_x, X, X, 16, SSE2, AL),
        OP(0x15, ANY, "unpckhpd", punpckhqdq_x, X, X, 16, SSE2, AL),
        OP(0x16, MEM, "movhpd", movhps_load, X, X, 8, SSE2, 0),
        OP(0x17, MEM, "movhpd", movhps_store, X, X, 8, SSE2, ST),
        OP(0x28, ANY, "movapd", mov16, X, X, 16, SSE2, AL),
        OP(0x29, ANY, "movapd", mov16, X, X, 16, SSE2, AL | ST),
        OP(0x2a, SPLIT, "cvtpi2pd", cvtpi2pd, X, M, 8, SSE2, FP | MX),
        OP(0x2b, MEM, "movntpd", mov16, X, X, 16, SSE2, AL | ST),
        OP(0x2c, ANY, "cvttpd2pi", cvttpd2pi, M, X, 16, SSE2, FP | MX | AL),
        OP(0x2d, ANY, "cvtpd2pi", cvtpd2pi, M, X, 16, SSE2, FP | MX | AL),
        FX(0x2e, ucomisd, 8, SSE2, EF),
        FX(0x2f, comisd, 8, SSE2, EF),
        OP(0x50, REG, "movmskpd", movmskpd, G, X, 16, SSE2, 0),
        FX(0x51, sqrtpd, 16, SSE2, AL),
        OP(0x54, ANY, "andpd", pand_x, X, X, 16, SSE2, AL),
        OP(0x55, ANY, "andnpd", pandn_x, X, X, 16, SSE2, AL),
        OP(0x56, ANY, "orpd", por_x, X, X, 16, SSE2, AL),
        OP(0x57, ANY, "xorpd", pxor_x, X, X, 16, SSE2, AL),
        FX(0x58, addpd, 16, SSE2, AL),
        FX(0x59, mulpd, 16, SSE2, AL),
        FX(0x5a, cvtpd2ps, 16, SSE2, AL),
        FX(0x5b, cvtps2dq, 16, SSE2, AL),
        FX(0x5c, subpd, 16, SSE2, AL),
        FX(0x5d, minpd, 16, SSE2, AL),
        FX(0x5e, divpd, 16, SSE2, AL),
        FX(0x5f, maxpd, 16, SSE2, AL),
        XX(0x60, punpcklbw, SSE2, 0),
        XX(0x61, punpcklwd, SSE2, 0),
        XX(0x62, punpckldq, SSE2, 0),
        XX(0x63, packsswb, SSE2, 0),
        XX(0x64, pcmpgtb, SSE2, 0),
        XX(0x65, pcmpgtw, SSE2, 0),
        XX(0x66, pcmpgtd, SSE2, 0),
        XX(0x67, packuswb, SSE2, 0),
        XX(0x68, punpckhbw, SSE2, 0),
        XX(0x69, punpckhwd, SSE2, 0),
        XX(0x6a, punpckhdq, SSE2, 0),
        XX(0x6b, packssdw, SSE2, 0),
        XX(0x6c, punpcklqdq, SSE2, 0),
        XX(0x6d, punpckhqdq, SSE2, 0),
        OP(0x6e, ANY, "movd", movd_load, X, G, 4, SSE2, RW),
        OP(0x6f, ANY, "movdqa", mov16, X, X, 16, SSE2, AL),
        XX(0x70, pshufd, SSE2, IM),
        OP(0x71, GROUP, "", nop, N, X, 16, SSE2, 0),
        OP(0x72, GROUP, "", nop, N, X, 16, SSE2, 0),
        OP(0x73, GROUP, "", nop, N, X, 16, SSE2, 0),
        XX(0x74, pcmpeqb, SSE2, 0),
        XX(0x75, pcmpeqw, SSE2, 0),
        XX(0x76, pcmpeqd, SSE2, 0),
        FX(0x7c, haddpd, 16, SSE3, AL),
        FX(0x7d, hsubpd, 16, SSE3, AL),
        OP(0x7e, ANY, "movd", movd_store, X, G, 4, SSE2, RW | ST),
        OP(0x7f, ANY, "movdqa", mov16, X, X, 16, SSE2, AL | ST),
        FX(0xc2, cmppd, 16, SSE2, AL | IM),
        OP(0xc4, ANY, "pinsrw", pinsrw_x, X, G, 2, SSE2, IM),
        OP(0xc5, REG, "pextrw", pextrw_x, G, X, 16, SSE2, IM),
        OP(0xc6, ANY, "shufpd", shufpd, X, X, 16, SSE2, AL | IM),
        FX(0xd0, addsubpd, 16, SSE3, AL),
        XX(0xd1, psrlw, SSE2, 0),
        XX(0xd2, psrld, SSE2, 0),
        XX(0xd3, psrlq, SSE2, 0),
        XX(0xd4, paddq, SSE2, 0),
        XX(0xd5, pmullw, SSE2, 0),
        OP(0xd6, SPLIT, "movq", mov8z, X, X, 8, SSE2, ST),
        OP(0xd7, REG, "pmovmskb", pmovmskb_x, G, X, 16, SSE2, 0),
        XX(0xd8, psubusb, SSE2, 0),
        XX(0xd9, psubusw, SSE2, 0),
        XX(0xda, pminub, SSE2, 0),
        XX(0xdb, pand, SSE2, 0),
        XX(0xdc, paddusb, SSE2, 0),
        XX(0xdd, paddusw, SSE2, 0),
        XX(0xde, pmaxub, SSE2, 0),
        XX(0xdf, pandn, SSE2, 0),
        XX(0xe0, pavgb, SSE2, 0),
        XX(0xe1, psraw, SSE2, 0),
        XX(0xe2, psrad, SSE2, 0),
        XX(0xe3, pavgw, SSE2, 0),
        XX(0xe4, pmulhuw, SSE2, 0),
        XX(0xe5, pmulhw, SSE2, 0),
        FX(0xe6, cvttpd2dq, 16, SSE2, AL),
        OP(0xe7, MEM, "movntdq", mov16, X, X, 16, SSE2, AL | ST),
        XX(0xe8, psubsb, SSE2, 0),
        XX(0xe9, psubsw, SSE2, 0),
        XX(0xea, pminsw, SSE2, 0),
        XX(0xeb, por, SSE2, 0),
        XX(0xec, paddsb, SSE2, 0),
        XX(0xed, paddsw, SSE2, 0),
        XX(0xee, pmaxsw, SSE2, 0),
        XX(0xef, pxor, SSE2, 0),
        XX(0xf1, psllw, SSE2, 0),
        XX(0xf2, pslld, SSE2, 0),
        XX(0xf3, psllq, SSE2, 0),
        XX(0xf4, pmuludq, SSE2, 0),
        XX(0xf5, pmaddwd, SSE2, 0),
        XX(0xf6, psadbw, SSE2, 0),
        OP(0xf7, REG, "maskmovdqu", nop, X, X, 16, SSE2, X86_SSE_MASKMOV),
        XX(0xf8, psubb, SSE2, 0),
        XX(0xf9, psubw, SSE2, 0),
        XX(0xfa, psubd, SSE2, 0),
        XX(0xfb, psubq, SSE2, 0),
        XX(0xfc, paddb, SSE2, 0),
        XX(0xfd, paddw, SSE2, 0),
        XX(0xfe, paddd, SSE2, 0),
    },
    [PF3] = {
        OP(0x10, SPLIT, "movss", mov4, X, X, 4, SSE, 0),
        OP(0x11, ANY, "movss", mov4, X, X, 4, SSE, ST),
        OP(0x12, ANY, "movsldup", movsldup_x, X, X, 16, SSE3, AL),
        OP(0x16, ANY, "movshdup", movshdup_x, X, X, 16, SSE3, AL),
        OP(0x2a, ANY, "cvtsi2ss", cvtsi2ss, X, G, 4, SSE, FP | RW),
        OP(0x2c, ANY, "cvttss2si", cvttss2si, G, X, 4, SSE, FP),
        OP(0x2d, ANY, "cvtss2si", cvtss2si, G, X, 4, SSE, FP),
        FX(0x51, sqrtss, 4, SSE, 0),
        OP(0x52, ANY, "rsqrtss", rsqrtss, X, X, 4, SSE, 0),
        OP(0x53, ANY, "rcpss", rcpss, X, X, 4, SSE, 0),
        FX(0x58, addss, 4, SSE, 0),
        FX(0x59, mulss, 4, SSE, 0),
        FX(0x5a, cvtss2sd, 4, SSE2, 0),
        FX(0x5b, cvttps2dq, 16, SSE2, AL),
        FX(0x5c, subss, 4, SSE, 0),
        FX(0x5d, minss, 4, SSE, 0),
        FX(0x5e, divss, 4, SSE, 0),
        FX(0x5f, maxss, 4, SSE, 0),
        OP(0x6f, ANY, "movdqu", mov16, X, X, 16, SSE2, 0),
        OP(0x70, ANY, "pshufhw", pshufhw_x, X, X, 16, SSE2, AL | IM),
        OP(0x7e, ANY, "movq", mov8z, X, X, 8, SSE2, 0),
        OP(0x7f, ANY, "movdqu", mov16, X, X, 16, SSE2, ST),
        FX(0xc2, cmpss, 4, SSE, IM),
        OP(0xd6, REG, "movq2dq", mov8z, X, M, 8, SSE2, MX),
        FX(0xe6, cvtdq2pd, 8, SSE2, 0),
    },
    [PF2] = {
        OP(0x10, SPLIT, "movsd", mov8, X, X, 8, SSE2, 0),
        OP(0x11, ANY, "movsd", mov8, X, X, 8, SSE2, ST),
        OP(0x12, ANY, "movddup", movddup, X, X, 8, SSE3, 0),
        OP(0x2a, ANY, "cvtsi2sd", cvtsi2sd, X, G, 4, SSE2, FP | RW),
        OP(0x2c, ANY, "cvttsd2si", cvttsd2si, G, X, 8, SSE2, FP),
        OP(0x2d, ANY, "cvtsd2si", cvtsd2si, G, X, 8, SSE2, FP),
        FX(0x51, sqrtsd, 8, SSE2, 0),
        FX(0x58, addsd, 8, SSE2, 0),
        FX(0x59, mulsd, 8, SSE2, 0),
        FX(0x5a, cvtsd2ss, 8, SSE2, 0),
        FX(0x5c, subsd, 8, SSE2, 0),
        FX(0x5d, minsd, 8, SSE2, 0),
        FX(0x5e, divsd, 8, SSE2, 0),
        FX(0x5f, maxsd, 8, SSE2, 0),
        OP(0x70, ANY, "pshuflw", pshuflw_x, X, X, 16, SSE2, AL | IM),
        FX(0x7c, haddps, 16, SSE3, AL),
        FX(0x7d, hsubps, 16, SSE3, AL),
        FX(0xc2, cmpsd, 8, SSE2, IM),
        FX(0xd0, addsubps, 16, SSE3, AL),
        OP(0xd6, REG, "movdq2q", mov8, M, X, 8, SSE2, MX),
        FX(0xe6, cvtpd2dq, 16, SSE2, AL),
        OP(0xf0, MEM, "lddqu", mov16, X, X, 16, SSE3, 0),
    },
};

static const X86SseRow map_0f38_mm[256] = { /* no prefix */
    MM(0x00, pshufb, SSSE3, 0),
    MM(0x01, phaddw, SSSE3, 0),
    MM(0x02, phaddd, SSSE3, 0),
    MM(0x03, phaddsw, SSSE3, 0),
    MM(0x04, pmaddubsw, SSSE3, 0),
    MM(0x05, phsubw, SSSE3, 0),
    MM(0x06, phsubd, SSSE3, 0),
    MM(0x07, phsubsw, SSSE3, 0),
    MM(0x08, psignb, SSSE3, 0),
    MM(0x09, psignw, SSSE3, 0),
    MM(0x0a, psignd, SSSE3, 0),
    MM(0x0b, pmulhrsw, SSSE3, 0),
    MM(0x1c, pabsb, SSSE3, 0),
    MM(0x1d, pabsw, SSSE3, 0),
    MM(0x1e, pabsd, SSSE3, 0),
    XX(0xc8, sha1nexte, SHA, 0),
    XX(0xc9, sha1msg1, SHA, 0),
    XX(0xca, sha1msg2, SHA, 0),
    XX(0xcb, sha256rnds2, SHA, 0),
    XX(0xcc, sha256msg1, SHA, 0),
    XX(0xcd, sha256msg2, SHA, 0),
};

#define PX(opc, name, size) OP(opc, ANY, #name, name, X, X, size, SSE41, 0)

static const X86SseRow map_0f38_66[256] = {
    XX(0x00, pshufb, SSSE3, 0),
    XX(0x01, phaddw, SSSE3, 0),
    XX(0x02, phaddd, SSSE3, 0),
    XX(0x03, phaddsw, SSSE3, 0),
    XX(0x04, pmaddubsw, SSSE3, 0),
    XX(0x05, phsubw, SSSE3, 0),
    XX(0x06, phsubd, SSSE3, 0),
    XX(0x07, phsubsw, SSSE3, 0),
    XX(0x08, psignb, SSSE3, 0),
    XX(0x09, psignw, SSSE3, 0),
    XX(0x0a, psignd, SSSE3, 0),
    XX(0x0b, pmulhrsw, SSSE3, 0),
    XX(0x10, pblendvb, SSE41, 0),
    XX(0x14, blendvps, SSE41, 0),
    XX(0x15, blendvpd, SSE41, 0),
    OP(0x17, ANY, "ptest", ptest, X, X, 16, SSE41, AL | EF),
    XX(0x1c, pabsb, SSSE3, 0),
    XX(0x1d, pabsw, SSSE3, 0),
    XX(0x1e, pabsd, SSSE3, 0),
    PX(0x20, pmovsxbw, 8),
    PX(0x21, pmovsxbd, 4),
    PX(0x22, pmovsxbq, 2),
    PX(0x23, pmovsxwd, 8),
    PX(0x24, pmovsxwq, 4),
    PX(0x25, pmovsxdq, 8),
    XX(0x28, pmuldq, SSE41, 0),
    XX(0x29, pcmpeqq, SSE41, 0),
    OP(0x2a, MEM, "movntdqa", mov16, X, X, 16, SSE41, AL),
    XX(0x2b, packusdw, SSE41, 0),
    PX(0x30, pmovzxbw, 8),
    PX(0x31, pmovzxbd, 4),
    PX(0x32, pmovzxbq, 2),
    PX(0x33, pmovzxwd, 8),
    PX(0x34, pmovzxwq, 4),
    PX(0x35, pmovzxdq, 8),
    XX(0x37, pcmpgtq, SSE42, 0),
    XX(0x38, pminsb, SSE41, 0),
    XX(0x39, pminsd, SSE41, 0),
    XX(0x3a, pminuw, SSE41, 0),
    XX(0x3b, pminud, SSE41, 0),
    XX(0x3c, pmaxsb, SSE41, 0),
    XX(0x3d, pmaxsd, SSE41, 0),
    XX(0x3e, pmaxuw, SSE41, 0),
    XX(0x3f, pmaxud, SSE41, 0),
    XX(0x40, pmulld, SSE41, 0),
    XX(0x41, phminposuw, SSE41, 0),
    XX(0xcf, gf2p8mulb, GFNI, 0),
    XX(0xdb, aesimc, AES, 0),
    XX(0xdc, aesenc, AES, 0),
    XX(0xdd, aesenclast, AES, 0),
    XX(0xde, aesdec, AES, 0),
    XX(0xdf, aesdeclast, AES, 0),
};

static const X86SseRow map_0f3a_mm[256] = { /* no prefix */
    MM(0x0f, palignr, SSSE3, IM),
    XX(0xcc, sha1rnds4, SHA, IM),
};

#define PS (IM | EF | X86_SSE_PCMPSTR)

static const X86SseRow map_0f3a_66[256] = {
    FX(0x08, roundps, 16, SSE41, AL | IM),
    FX(0x09, roundpd, 16, SSE41, AL | IM),
    FX(0x0a, roundss, 4, SSE41, IM),
    FX(0x0b, roundsd, 8, SSE41, IM),
    XX(0x0c, blendps, SSE41, IM),
    XX(0x0d, blendpd, SSE41, IM),
    XX(0x0e, pblendw, SSE41, IM),
    XX(0x0f, palignr, SSSE3, IM),
    OP(0x14, ANY, "pextrb", pextrb, X, G, 1, SSE41, ST | IM),
    OP(0x15, ANY, "pextrw", pextrw_x, X, G, 2, SSE41, ST | IM),
    OP(0x16, ANY, "pextrd", pextrd, X, G, 4, SSE41, ST | IM | RW),
    OP(0x17, ANY, "extractps", extractps, X, G, 4, SSE41, ST | IM),
    OP(0x20, ANY, "pinsrb", pinsrb, X, G, 1, SSE41, IM),
    OP(0x21, SPLIT, "insertps", insertps_reg, X, X, 4, SSE41, IM),
    OP(0x22, ANY, "pinsrd", pinsrd, X, G, 4, SSE41, IM | RW),
    FX(0x40, dpps, 16, SSE41, AL | IM),
    FX(0x41, dppd, 16, SSE41, AL | IM),
    XX(0x42, mpsadbw, SSE41, IM),
    XX(0x44, pclmulqdq, PCLMUL, IM),
    XX(0xce, gf2p8affineqb, GFNI, IM),
    XX(0xcf, gf2p8affineinvqb, GFNI, IM),
    OP(0x60, ANY, "pcmpestrm", pcmpestrm, X, X, 16, SSE42, PS),
    OP(0x61, ANY, "pcmpestri", pcmpestri, X, X, 16, SSE42, PS | X86_SSE_RES_CX),
    OP(0x62, ANY, "pcmpistrm", pcmpistrm, X, X, 16, SSE42, PS),
    OP(0x63, ANY, "pcmpistri", pcmpistri, X, X, 16, SSE42, PS | X86_SSE_RES_CX),
    XX(0xdf, aeskeygenassist, AES, IM),
};

/* Memory forms that do something else than the register form of the same opcode. */
static const struct {
    uint8_t map, prefix, opcode;
    X86SseInsn insn;
} mem_forms[] = {
    { 0, P0, 0x12, { "movlps", x86_mov8, X, X, 8, X86_FEAT_SSE, 0 } },
    { 0, PF3, 0x10, { "movss", x86_mov4z, X, X, 4, X86_FEAT_SSE, 0 } },
    { 0, PF2, 0x10, { "movsd", x86_mov8z, X, X, 8, X86_FEAT_SSE2, 0 } },
    /* Touches no MMX register: no switch to MMX state (silicon; the SDM says so of CVTPI2PD only). */
    { 0, P0, 0x2a, { "cvtpi2ps", x86_cvtpi2ps, X, M, 8, X86_FEAT_SSE, FP } },
    { 0, P66, 0x2a, { "cvtpi2pd", x86_cvtpi2pd, X, M, 8, X86_FEAT_SSE2, FP } },
    { 0, P66, 0xd6, { "movq", x86_mov8, X, X, 8, X86_FEAT_SSE2, ST } },
    { 2, P66, 0x21, { "insertps", x86_insertps_mem, X, X, 4, X86_FEAT_SSE41, IM } },
};

#define SHIFT_OP(name, kind, suffix, feat, flags)                                                  \
    { #name, x86_##name##suffix, N, kind, 0, X86_FEAT_##feat, ST | IM | (flags) }
#define SHIFT_MM(name) SHIFT_OP(name, M, i_m, MMX, MX)
#define SHIFT_XX(name) SHIFT_OP(name, X, i_x, SSE2, 0)

/* By prefix (none, 66), opcode (71, 72, 73), ModRM.reg.  There are no memory forms. */
static const X86SseInsn shift_groups[2][3][8] = {
    {
        { [2] = SHIFT_MM(psrlw), [4] = SHIFT_MM(psraw), [6] = SHIFT_MM(psllw) },
        { [2] = SHIFT_MM(psrld), [4] = SHIFT_MM(psrad), [6] = SHIFT_MM(pslld) },
        { [2] = SHIFT_MM(psrlq), [6] = SHIFT_MM(psllq) },
    },
    {
        { [2] = SHIFT_XX(psrlw), [4] = SHIFT_XX(psraw), [6] = SHIFT_XX(psllw) },
        { [2] = SHIFT_XX(psrld), [4] = SHIFT_XX(psrad), [6] = SHIFT_XX(pslld) },
        { [2] = SHIFT_XX(psrlq), [3] = SHIFT_OP(psrldq, X, _x, SSE2, 0), [6] = SHIFT_XX(psllq),
          [7] = SHIFT_OP(pslldq, X, _x, SSE2, 0) },
    },
};

static const X86SseRow *find_row(unsigned map, unsigned prefix, uint8_t opcode)
{
    if (prefix > 3)
        return NULL;
    switch (map) {
    case 0:
        return &map_0f[prefix][opcode];
    case 1:
        return prefix == P0 ? &map_0f38_mm[opcode] : prefix == P66 ? &map_0f38_66[opcode] : NULL;
    case 2:
        return prefix == P0 ? &map_0f3a_mm[opcode] : prefix == P66 ? &map_0f3a_66[opcode] : NULL;
    default:
        return NULL;
    }
}

const X86SseInsn *x86_sse_lookup(unsigned map, unsigned prefix, uint8_t opcode, unsigned modrm)
{
    const X86SseRow *row = find_row(map, prefix, opcode);
    bool is_reg = (modrm & 0xc0) == 0xc0;
    if (!row || !row->insn.fn)
        return NULL;
    switch ((X86SseForm)row->form) {
    case FORM_ANY:
        return &row->insn;
    case FORM_REG:
        return is_reg ? &row->insn : NULL;
    case FORM_MEM:
        return is_reg ? NULL : &row->insn;
    case FORM_SPLIT:
        if (is_reg)
            return &row->insn;
        for (size_t i = 0; i < sizeof(mem_forms) / sizeof(mem_forms[0]); i++) {
            if (mem_forms[i].map == map && mem_forms[i].prefix == prefix &&
                mem_forms[i].opcode == opcode)
                return &mem_forms[i].insn;
        }
        return NULL;
    case FORM_GROUP: {
        const X86SseInsn *insn = &shift_groups[prefix][opcode - 0x71][modrm >> 3 & 7];
        return is_reg && insn->fn ? insn : NULL;
    }
    }
    return NULL;
}
