/*
 * accel/interp/x86/ops.h - the list of ops of the x86 front end.
 *
 * Order matters where the decoder computes an op's number: sizes are
 * consecutive (8, 16, 32, 64), and so are the forms of ALU and the conditions.
 * d, s: register byte offsets; imm: sign-extended; [m]: memory operand.  Without a memory operand,
 * b is the left one: the decoder makes it d, and peephole.c another register after a move.
 *
 * Q, quiet: the flags stay as they are, since nobody reads them before they change.
 */
#ifndef VMR_INTERP_X86_OPS_H
#define VMR_INTERP_X86_OPS_H

#define OPS_SIZE(X, n) X(n##8) X(n##16) X(n##32) X(n##64)
#define OPS_COND(X, n)                                                                             \
    X(n##_O) X(n##_NO) X(n##_B) X(n##_AE) X(n##_E) X(n##_NE) X(n##_BE) X(n##_A)                    \
    X(n##_S) X(n##_NS) X(n##_P) X(n##_NP) X(n##_L) X(n##_GE) X(n##_LE) X(n##_G)
/* d=b,s  d=b,imm  d,[m]  [m],s  [m],imm; and the first two without flags, but for ADC and SBB */
#define OPS_ALU(X, n)                                                                              \
    OPS_SIZE(X, n##_RR) OPS_SIZE(X, n##_RI) OPS_SIZE(X, n##_RM) OPS_SIZE(X, n##_MR)                \
    OPS_SIZE(X, n##_MI)
#define OPS_ALU_QUIET(X, n)                                                                        \
    OPS_SIZE(X, n##_RRQ) OPS_SIZE(X, n##_RIQ)
#define OPS_WIDE(X, n) X(n##32) X(n##64)
#define OPS_FUSED_WIDE(X, n) OPS_COND(X, n##32) OPS_COND(X, n##64)
#define OPS_FUSED(X, n) OPS_COND(X, n##8) OPS_COND(X, n##16) OPS_FUSED_WIDE(X, n)

/* The operands of SSE_RR, SSE_RM and SSE_MR, to which these fall back: exec-sse.inc. */
#define OPS_SSE_ARITH(X, n)                                                                        \
    X(SSE_##n##SS_RR) X(SSE_##n##SS_RM) X(SSE_##n##SD_RR) X(SSE_##n##SD_RM)
#define OPS_SSE_PACKED(X, n)                                                                       \
    X(SSE_##n##PS_RR) X(SSE_##n##PS_RM) X(SSE_##n##PD_RR) X(SSE_##n##PD_RM)
#define OPS_SSE_FAST(X)                                                                            \
    X(SSE_PLAIN_RR) X(SSE_PLAIN_RM) X(SSE_MOV_RR) X(SSE_MOVQ_RR) X(SSE_MOVSS_RR) X(SSE_MOVSD_RR)   \
    X(SSE_LD32) X(SSE_LD64) X(SSE_LD128) X(SSE_LDL) X(SSE_LDH)                                     \
    X(SSE_ST32) X(SSE_ST64) X(SSE_ST128) X(SSE_STH)                                                \
    X(SSE_FROM32) X(SSE_FROM64) X(SSE_TO32) X(SSE_TO64)                                            \
    X(SSE_XOR_RR) X(SSE_AND_RR) X(SSE_OR_RR) X(SSE_ANDN_RR)                                        \
    OPS_SSE_ARITH(X, ADD) OPS_SSE_ARITH(X, SUB) OPS_SSE_ARITH(X, MUL) OPS_SSE_ARITH(X, DIV)        \
    OPS_SSE_PACKED(X, ADD) OPS_SSE_PACKED(X, SUB) OPS_SSE_PACKED(X, MUL)                           \
    X(SSE_SQRTSD_RR) X(SSE_COMISS_RR) X(SSE_COMISS_RM) X(SSE_COMISD_RR) X(SSE_COMISD_RM)           \
    X(SSE_CVTSI2SD_RR) X(SSE_CVTTSD2SI_RR) X(SSE_CVTSS2SD_RR) X(SSE_CVTSD2SS_RR)

/* The operands of AVX, to which these fall back. */
#define OPS_AVX_FAST(X)                                                                            \
    X(AVX_LD128) X(AVX_LD256) X(AVX_ST128) X(AVX_ST256) X(AVX_MASK)                                \
    X(AVX_PLAIN_RR128) X(AVX_PLAIN_RR256) X(AVX_PLAIN_RM128) X(AVX_PLAIN_RM256)

#define X86_OPS(X)                                                                                 \
    X(DEAD) /* the block was invalidated: look again */                                            \
    X(END)  /* fall out of the block to the next one */                                            \
    X(NOP)                                                                                         \
    OPS_ALU(X, ADD) OPS_ALU(X, OR) OPS_ALU(X, ADC) OPS_ALU(X, SBB)                                 \
    OPS_ALU(X, AND) OPS_ALU(X, SUB) OPS_ALU(X, XOR) OPS_ALU(X, CMP)                                \
    OPS_ALU_QUIET(X, ADD) OPS_ALU_QUIET(X, OR) OPS_ALU_QUIET(X, AND)                               \
    OPS_ALU_QUIET(X, SUB) OPS_ALU_QUIET(X, XOR)                                                    \
    OPS_SIZE(X, TEST_RR) OPS_SIZE(X, TEST_RI) OPS_SIZE(X, TEST_MR) OPS_SIZE(X, TEST_MI)            \
    OPS_SIZE(X, INC) OPS_SIZE(X, DEC) OPS_SIZE(X, NEG) OPS_SIZE(X, NOT)                            \
    OPS_SIZE(X, SHL_I) OPS_SIZE(X, SHR_I) OPS_SIZE(X, SAR_I) /* d = b by imm, 1..63 */             \
    OPS_SIZE(X, SHL_C) OPS_SIZE(X, SHR_C) OPS_SIZE(X, SAR_C) /* d = b by CL */                     \
    OPS_WIDE(X, SHL_IQ) OPS_WIDE(X, SHR_IQ) OPS_WIDE(X, SAR_IQ) OPS_WIDE(X, ROL_IQ)                \
    OPS_SIZE(X, MOV_RR) OPS_SIZE(X, MOV_RI) OPS_SIZE(X, LD) OPS_SIZE(X, ST) OPS_SIZE(X, ST_I)      \
    OPS_SIZE(X, LDW) /* load that checks for write permission: first half of a RMW */              \
    X(MOVZX_8_16) X(MOVZX_8_32) X(MOVZX_16_32)                                                     \
    X(MOVSX_8_16) X(MOVSX_8_32) X(MOVSX_8_64) X(MOVSX_16_32) X(MOVSX_16_64) X(MOVSX_32_64)         \
    X(LDZX_8_16) X(LDZX_8_32) X(LDZX_16_32)                                                        \
    X(LDSX_8_16) X(LDSX_8_32) X(LDSX_8_64) X(LDSX_16_32) X(LDSX_16_64) X(LDSX_32_64)               \
    X(LEA16) X(LEA32) X(LEA64)                                                                     \
    X(AGEN) X(AGEN32) X(AGEN_SEG) /* T0 = address */                                               \
    OPS_SIZE(X, XCHG_RR)                                                                           \
    X(IMUL_RR16) X(IMUL_RR32) X(IMUL_RR64) X(IMUL_RI16) X(IMUL_RI32) X(IMUL_RI64)                  \
    OPS_WIDE(X, IMUL_RRQ) OPS_WIDE(X, IMUL_RIQ)                                                    \
    X(CMOV16) OPS_COND(X, CMOV32) OPS_COND(X, CMOV64) OPS_COND(X, SET)                             \
    X(CALL2) /* d = fn(cpu, d, s, op), size in x */                                                \
    X(CBW) X(CWDE) X(CDQE) X(CWD) X(CDQ) X(CQO) X(BSWAP32) X(BSWAP64)                              \
    X(CLD) X(STD) X(CLC) X(STC) X(CMC)                                                             \
    X(PUSH64_R) X(PUSH64_I) X(POP64_R)                                                             \
    X(PUSH64_RUN) X(POP64_RUN) /* in place of the first of x such ops */                           \
    X(PUSH32_R) X(PUSH32_I) X(POP32_R)                          \
    X(LEAVE64)                                                                                     \
    X(HELPER) X(HELPER_END)                                                                        \
    X(LOCK_RMW) X(SSE_RR) X(SSE_RM) X(SSE_MR) X(AVX) OPS_SSE_FAST(X) OPS_AVX_FAST(X)               \
    X(JMP) X(JMP_R) X(CALL64) X(CALL64_R) X(CALL32) X(CALL32_R) X(RET64) X(RET32)                  \
    OPS_COND(X, JCC)                                                                               \
    OPS_FUSED(X, CMPJ_RR) OPS_FUSED(X, CMPJ_RI) OPS_FUSED(X, TESTJ_RR)                             \
    /* in place of an op in front of a JCC, which stays for where it goes */                       \
    OPS_FUSED_WIDE(X, SUBJ_RR) OPS_FUSED_WIDE(X, SUBJ_RI) OPS_FUSED_WIDE(X, DECJ)                  \
    OPS_FUSED_WIDE(X, ANDJ_RR) OPS_FUSED_WIDE(X, ANDJ_RI)                                          \
    OPS_FUSED_WIDE(X, CMPJ_RM) OPS_FUSED_WIDE(X, CMPJ_MR)                                          \
    OPS_FUSED(X, CMPJ_MI) OPS_FUSED(X, TESTJ_RI) OPS_FUSED(X, TESTJ_MI)

enum {
#define OP_ENUM(n) OP_##n,
    X86_OPS(OP_ENUM)
#undef OP_ENUM
    OP_COUNT
};

#endif
