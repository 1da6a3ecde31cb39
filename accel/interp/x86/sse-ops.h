/*
 * Internal to the vector library: the functions that sse.c's tables name, and what they share.
 * A pair `_m` and `_x` is one operation on MMX (8 bytes) and XMM (16 bytes) registers.
 */
#ifndef VMRUN_INTERP_X86_SSE_OPS_H
#define VMRUN_INTERP_X86_SSE_OPS_H

#include <string.h>

#include "fpu.h"

#define X86_PAIR(n) x86_##n##_m, x86_##n##_x

/*
 * Defines x86_NAME_m and x86_NAME_x.  The body works on *a (destination, in and out) and *b
 * (source) of n bytes, private copies, so that overlapping operands and any type of lane are safe.
 */
#define VEC_PAIR(name, ...)                                                                        \
    static inline __attribute__((always_inline)) void name##_body(X86Xmm *a, const X86Xmm *b,      \
                                                                  unsigned n, unsigned imm)        \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    VEC_WRAP(name, m, 8, 8)                                                                        \
    VEC_WRAP(name, x, 16, 16)

/* The XMM form only. */
#define VEC_XMM(name, ...)                                                                         \
    static inline __attribute__((always_inline)) void name##_body(X86Xmm *a, const X86Xmm *b,      \
                                                                  unsigned n, unsigned imm)        \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    VEC_WRAP(name, x, 16, 16)

#define VEC_WRAP(name, suffix, bytes, src_bytes)                                                   \
    uint32_t x86_##name##_##suffix(X86Fpu *f, void *dst, const void *src, unsigned imm)            \
    {                                                                                              \
        X86Xmm a, b;                                                                               \
        memcpy(&a, dst, bytes);                                                                    \
        memcpy(&b, src, src_bytes);                                                                \
        name##_body(&a, &b, bytes, imm);                                                           \
        memcpy(dst, &a, bytes);                                                                    \
        return 0;                                                                                  \
    }

#define FOR_LANES(lane) for (unsigned i = 0; i < n / sizeof(a->lane[0]); i++)

X86SseFn X86_PAIR(punpcklbw), X86_PAIR(punpcklwd), X86_PAIR(punpckldq), X86_PAIR(punpckhbw),
    X86_PAIR(punpckhwd), X86_PAIR(punpckhdq), x86_punpcklqdq_x, x86_punpckhqdq_x;
X86SseFn X86_PAIR(packsswb), X86_PAIR(packuswb), X86_PAIR(packssdw), x86_packusdw_x;
X86SseFn X86_PAIR(pcmpgtb), X86_PAIR(pcmpgtw), X86_PAIR(pcmpgtd), X86_PAIR(pcmpeqb),
    X86_PAIR(pcmpeqw), X86_PAIR(pcmpeqd), x86_pcmpeqq_x, x86_pcmpgtq_x;
X86SseFn X86_PAIR(paddb), X86_PAIR(paddw), X86_PAIR(paddd), X86_PAIR(paddq), X86_PAIR(psubb),
    X86_PAIR(psubw), X86_PAIR(psubd), X86_PAIR(psubq), X86_PAIR(paddsb), X86_PAIR(paddsw),
    X86_PAIR(paddusb), X86_PAIR(paddusw), X86_PAIR(psubsb), X86_PAIR(psubsw), X86_PAIR(psubusb),
    X86_PAIR(psubusw);
X86SseFn X86_PAIR(pmullw), X86_PAIR(pmulhw), X86_PAIR(pmulhuw), X86_PAIR(pmuludq),
    X86_PAIR(pmaddwd), X86_PAIR(psadbw), X86_PAIR(pavgb), X86_PAIR(pavgw), X86_PAIR(pminub),
    X86_PAIR(pmaxub), X86_PAIR(pminsw), X86_PAIR(pmaxsw);
X86SseFn X86_PAIR(pand), X86_PAIR(pandn), X86_PAIR(por), X86_PAIR(pxor);
X86SseFn X86_PAIR(psllw), X86_PAIR(pslld), X86_PAIR(psllq), X86_PAIR(psrlw), X86_PAIR(psrld),
    X86_PAIR(psrlq), X86_PAIR(psraw), X86_PAIR(psrad);
X86SseFn X86_PAIR(psllwi), X86_PAIR(pslldi), X86_PAIR(psllqi), X86_PAIR(psrlwi), X86_PAIR(psrldi),
    X86_PAIR(psrlqi), X86_PAIR(psrawi), X86_PAIR(psradi), x86_pslldq_x, x86_psrldq_x;
X86SseFn x86_pshufw_m, x86_pshufd_x, x86_pshufhw_x, x86_pshuflw_x,
    x86_shufps, x86_shufpd;
X86SseFn X86_PAIR(pinsrw), X86_PAIR(pextrw), X86_PAIR(pmovmskb), x86_movmskps, x86_movmskpd;

/* Moves: the number is what is copied; `z` clears the rest of a 16-byte destination. */
X86SseFn x86_mov4, x86_mov4z, x86_mov8, x86_mov8z, x86_mov16, x86_movd_load, x86_movd_load_m,
    x86_movd_store, x86_movhps_load, x86_movhps_store, x86_movhlps, x86_movsldup_x,
    x86_movshdup_x, x86_movddup, x86_nop, x86_emms;

/* SSSE3, SSE4.1, SSE4.2 */
X86SseFn X86_PAIR(pshufb), X86_PAIR(phaddw), X86_PAIR(phaddd), X86_PAIR(phaddsw),
    X86_PAIR(pmaddubsw), X86_PAIR(phsubw), X86_PAIR(phsubd), X86_PAIR(phsubsw), X86_PAIR(psignb),
    X86_PAIR(psignw), X86_PAIR(psignd), X86_PAIR(pmulhrsw), X86_PAIR(pabsb), X86_PAIR(pabsw),
    X86_PAIR(pabsd), X86_PAIR(palignr);
X86SseFn x86_pminsb_x, x86_pminsd_x, x86_pminuw_x, x86_pminud_x, x86_pmaxsb_x, x86_pmaxsd_x,
    x86_pmaxuw_x, x86_pmaxud_x, x86_pmulld_x, x86_pmuldq_x, x86_phminposuw_x, x86_mpsadbw_x;
X86SseFn x86_pmovsxbw, x86_pmovsxbd, x86_pmovsxbq, x86_pmovsxwd, x86_pmovsxwq, x86_pmovsxdq,
    x86_pmovzxbw, x86_pmovzxbd, x86_pmovzxbq, x86_pmovzxwd, x86_pmovzxwq, x86_pmovzxdq;
X86SseFn x86_pblendvb_x, x86_blendvps_x, x86_blendvpd_x, x86_pblendw_x, x86_blendps_x,
    x86_blendpd_x, x86_ptest, x86_extractps, x86_pextrb, x86_pextrd, x86_pinsrb, x86_pinsrd,
    x86_insertps_reg, x86_insertps_mem;
X86SseFn x86_pcmpestrm, x86_pcmpestri, x86_pcmpistrm, x86_pcmpistri;
X86SseFn x86_pclmulqdq_x, x86_aesimc_x, x86_aesenc_x, x86_aesenclast_x, x86_aesdec_x,
    x86_aesdeclast_x, x86_aeskeygenassist_x;
X86SseFn x86_sha1rnds4_x, x86_sha1nexte_x, x86_sha1msg1_x, x86_sha1msg2_x, x86_sha256rnds2_x,
    x86_sha256msg1_x, x86_sha256msg2_x;
X86SseFn x86_gf2p8mulb_x, x86_gf2p8affineqb_x, x86_gf2p8affineinvqb_x;

/* Floating point */
#define X86_FP4(n) x86_##n##ps, x86_##n##pd, x86_##n##ss, x86_##n##sd
X86SseFn X86_FP4(add), X86_FP4(sub), X86_FP4(mul), X86_FP4(div), X86_FP4(min), X86_FP4(max),
    X86_FP4(sqrt), X86_FP4(cmp), X86_FP4(round);
X86SseFn x86_rcpps, x86_rcpss, x86_rsqrtps, x86_rsqrtss;
X86SseFn x86_comiss, x86_comisd, x86_ucomiss, x86_ucomisd;
X86SseFn x86_haddps, x86_haddpd, x86_hsubps, x86_hsubpd, x86_addsubps, x86_addsubpd, x86_dpps,
    x86_dppd;
X86SseFn x86_cvtpi2ps, x86_cvtpi2pd, x86_cvtsi2ss, x86_cvtsi2sd, x86_cvttps2pi, x86_cvttpd2pi,
    x86_cvttss2si, x86_cvttsd2si, x86_cvtps2pi, x86_cvtpd2pi, x86_cvtss2si, x86_cvtsd2si,
    x86_cvtps2pd, x86_cvtpd2ps, x86_cvtss2sd, x86_cvtsd2ss, x86_cvtdq2ps, x86_cvtps2dq,
    x86_cvttps2dq, x86_cvttpd2dq, x86_cvtpd2dq, x86_cvtdq2pd;

#endif
