/*
 * accel/interp/x86/avx.h - AVX and AVX2 on top of the SSE library (fpu.h).
 *
 * Most VEX-encoded instructions are an SSE instruction with a second source, done
 * once for each 16-byte lane: x86_avx_class() says how.  What only VEX has is a
 * row of its own, x86_avx_lookup().  FMA and F16C: fma.c.  Left out: VAES, AVX-512.
 */
#ifndef VMRUN_INTERP_X86_AVX_H
#define VMRUN_INTERP_X86_AVX_H

#include "fpu.h"

typedef union X86Ymm {
    X86Xmm h[2];
    uint8_t b[32];
    uint16_t w[16];
    uint32_t d[8];
    uint64_t q[4];
} X86Ymm;

enum { /* how an SSE instruction becomes one of AVX */
    AVX_LOW,    /* on 16 bytes only */
    AVX_LANES,  /* on each lane */
    AVX_EXPAND, /* lane i takes the i-th mem_size bytes of the source */
    AVX_NARROW, /* lane i makes the i-th 8 bytes of the result */
    AVX_MASK,   /* a general register gets bits of each lane */
    AVX_TEST,   /* ZF and CF are those of all lanes together */
    AVX_COUNT,  /* the source is 16 bytes, the same one for each lane */
    AVX_SPECIAL,
    AVX_KIND = 7,
    AVX_NDS = 1 << 3,   /* vvvv is the first source; else it must be 1111 */
    AVX_LIG = 1 << 4,   /* VEX.L is ignored; else LOW wants it clear */
    AVX_INT = 1 << 5,   /* with 32 bytes it is AVX2 */
    AVX_ALIGN = 1 << 6, /* memory must be aligned */
    AVX_NDD = 1 << 7,   /* vvvv is the destination (shifts by an immediate) */
};
/* map 0..2 and prefix as for x86_sse_lookup(); 0xffff: there is no VEX form. */
unsigned x86_avx_class(unsigned map, unsigned prefix, uint8_t opcode, const X86SseInsn *insn);

typedef uint32_t X86AvxFn(X86Fpu *f, X86Ymm *dst, const X86Ymm *a, const X86Ymm *b, unsigned imm,
                          unsigned bytes);

enum { /* X86AvxInsn.flags */
    AVI_NDS = 1 << 0,
    AVI_L1 = 1 << 1,     /* 32 bytes only */
    AVI_AVX2 = 1 << 2,
    AVI_IMM8 = 1 << 3,
    AVI_EFLAGS = 1 << 4,
    AVI_MEM = 1 << 5,    /* no register form */
    AVI_STORE = 1 << 6,  /* dst is rm */
    AVI_LIG = 1 << 7,
    AVI_REG2 = 1 << 8,   /* the register form is AVX2 */
    AVI_MASKED = 1 << 9, /* VMASKMOV: `mem` is the element's size */
    AVI_GATHER = 1 << 10,
    AVI_FP = 1 << 11,
    AVI_FMA = 1 << 12,   /* CPUID.FMA; fn takes the opcode and VEX.W << 8 as its immediate */
    AVI_F16C = 1 << 13,
    AVI_HALF = 1 << 14,  /* half of the vector in memory, or as what is stored */
};
/* fma.c */
X86AvxFn x86_avx_fma, x86_avx_cvtph2ps, x86_avx_cvtps2ph;

typedef struct X86AvxInsn {
    const char *name;
    X86AvxFn *fn;
    uint8_t map, prefix, opcode;
    int8_t w;       /* VEX.W, -1: ignored */
    uint8_t mem;    /* bytes of the memory operand, 0: as the vector */
    uint16_t flags;
} X86AvxInsn;
const X86AvxInsn *x86_avx_lookup(unsigned map, unsigned prefix, uint8_t opcode, unsigned w);

#endif
