/*
 * The floating-point and vector part of the x86 front end: x87, MMX, SSE to SSE4.2, PCLMULQDQ,
 * AES-NI, SHA and GFNI, after the Intel SDM volumes 1 (chapters 8 to 13) and 2.
 *
 * A library without knowledge of memory, segments or faults: the executor decodes ModRM, loads and
 * stores memory operands, checks CR0/CR4/CPUID, and calls in here with pointers to operands.
 *
 * Left out: AVX (the type X86Xmm of `xmm[]` is the only thing to widen), 3DNow!, SSE4a.
 * The executor does itself: POPCNT, CRC32, MOVNTI, MOVBE, fences, PREFETCHx, CLFLUSH, LDMXCSR and
 * STMXCSR (with x86_mxcsr_valid()), FXSAVE/FXRSTOR/XSAVE/XRSTOR (with the helpers below).
 */
#ifndef VMRUN_INTERP_X86_FPU_H
#define VMRUN_INTERP_X86_FPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef union X86Xmm {
    uint8_t b[16];
    uint16_t w[8];
    uint32_t d[4];
    uint64_t q[2];
    float s[4];
    double f[2];
} __attribute__((aligned(16))) X86Xmm;

typedef struct X86FpReg {
    uint64_t mant;
    uint16_t se; /* sign in bit 15, biased exponent below */
} X86FpReg;

typedef struct X86Fpu {
    X86Xmm xmm[16];
    X86FpReg r[8]; /* by physical index: ST(i) is r[(TOP + i) & 7], MMi is r[i].mant */
    uint16_t cw;
    uint16_t sw;  /* TOP in bits 13..11; ES and B are kept up to date */
    uint16_t tag; /* abridged, as in FXSAVE: bit i set = physical register i is not empty */
    uint16_t fop;
    uint64_t fip, fdp;
    uint16_t fcs, fds;
    uint32_t mxcsr, mxcsr_mask;
    X86Xmm ymmh[16]; /* upper halves of the YMM registers */
    /* Implicit operands of PCMPxSTRx: see X86_SSE_PCMPSTR. */
    uint64_t arg_ax, arg_dx, res_cx;
} X86Fpu;

void x86_fpu_reset(X86Fpu *f);  /* power-on values: CW 0x37f as after FNINIT, MXCSR 0x1f80 */
void x86_fpu_fninit(X86Fpu *f); /* as FNINIT: leaves the data registers and all SSE state alone */

/* ---------------------------------------------------------------- SSE, MMX */

typedef enum X86OpKind {
    X86_OPK_NONE,
    X86_OPK_XMM, /* pointer to f->xmm[n] */
    X86_OPK_MMX, /* pointer to f->r[n & 7].mant */
    X86_OPK_GPR, /* pointer to the whole 8-byte slot of a general register */
} X86OpKind;

typedef enum X86SseFeature { /* all that CPUID must offer for the instruction to exist */
    X86_FEAT_MMX,
    X86_FEAT_SSE,
    X86_FEAT_SSE2,
    X86_FEAT_SSE3,
    X86_FEAT_SSSE3,
    X86_FEAT_SSE41,
    X86_FEAT_SSE42,
    X86_FEAT_PCLMUL,
    X86_FEAT_AES,
    X86_FEAT_SHA,
    X86_FEAT_GFNI,
} X86SseFeature;

enum { /* X86SseInsn.flags */
    /* dst is the rm operand (register, or a buffer of 16 bytes of which the executor stores
     * mem_size afterwards) and src the reg operand (NULL if reg is X86_OPK_NONE).  Otherwise dst is
     * the reg operand, src the rm operand.  A memory dst is write-only: it is not loaded before. */
    X86_SSE_STORE = 1 << 0,
    X86_SSE_ALIGN16 = 1 << 1, /* a memory operand not aligned to 16 bytes is #GP(0) */
    X86_SSE_IMM8 = 1 << 2,    /* an imm8 follows ModRM and its displacement */
    /* The gpr or memory operand has 8 bytes rather than mem_size (4) if REX.W is set. */
    X86_SSE_REXW = 1 << 3,
    /* The return value replaces OF, SF, ZF, AF, PF and CF (all six), unless X86_SSE_XM is set. */
    X86_SSE_EFLAGS = 1 << 4,
    /* Uses MMX registers: pending x87 exceptions are #MF first; call x86_mmx_enter() before fn, and
     * x86_mmx_written() for a destination MMX register after. */
    X86_SSE_MMX = 1 << 5,
    /* MASKMOVQ, MASKMOVDQU: there is no memory operand in ModRM.  fn does nothing; the executor
     * stores byte i of the reg operand to DS:rDI + i where byte i of the rm operand has bit 7 set
     * (mem_size bytes are looked at). */
    X86_SSE_MASKMOV = 1 << 6,
    /* PCMPxSTRx: f->arg_ax, arg_dx hold rAX and rDX before; for the STRI forms f->res_cx goes to
     * ECX afterwards (X86_SSE_RES_CX).  XMM0 is written by fn itself. */
    X86_SSE_PCMPSTR = 1 << 7,
    X86_SSE_RES_CX = 1 << 8,
    X86_SSE_FP = 1 << 9, /* may raise #XM: reads and writes MXCSR */
};

enum {
    /* In fn's imm: REX.W was set.  Bits 7..0 are the imm8. */
    X86_SSE_IMM_REXW = 1 << 8,
    /* In fn's result: an unmasked SIMD exception.  Raise #XM (#UD if CR4.OSXMMEXCPT is clear).
     * dst is unchanged and MXCSR has the flags. */
    X86_SSE_XM = 1u << 31,
};

/*
 * A gpr as dst is written whole (8 bytes, results of 4 zero-extended).  A register src is read in
 * place, a memory src must be a buffer of at least mem_size valid bytes (aligned to 16 if it has
 * 16).  dst and src may be the same register.
 */
typedef uint32_t X86SseFn(X86Fpu *f, void *dst, const void *src, unsigned imm);

typedef struct X86SseInsn {
    const char *name;
    X86SseFn *fn;
    uint8_t reg;      /* X86OpKind of ModRM.reg (NONE: it extends the opcode) */
    uint8_t rm;       /* X86OpKind of ModRM.rm when mod is 3; NONE for EMMS, which has no ModRM */
    uint8_t mem_size; /* bytes of the operand when rm is memory: 1, 2, 4, 8, 16 */
    uint8_t feature;  /* X86SseFeature */
    uint16_t flags;
} X86SseInsn;

/*
 * map: 0 for 0F, 1 for 0F38, 2 for 0F3A.  prefix: 0 none, 1 66, 2 F3, 3 F2 (the last of F2/F3,
 * which go before 66).  NULL: no such instruction of this library (#UD if it is none of the
 * executor's). The answer fits this modrm: illegal register or memory forms give NULL; register and
 * memory form may have different descriptors.  EMMS (0F 77) has no ModRM byte: pass 0xc0 and fetch
 * nothing.
 */
const X86SseInsn *x86_sse_lookup(unsigned map, unsigned prefix, uint8_t opcode, unsigned modrm);

static inline void *x86_sse_reg(X86Fpu *f, unsigned kind, unsigned n)
{
    return kind == X86_OPK_MMX ? (void *)&f->r[n & 7].mant : (void *)&f->xmm[n & 15];
}

static inline void x86_mmx_enter(X86Fpu *f)
{
    f->sw &= (uint16_t)~0x3800;
    f->tag = 0xff;
}

static inline void x86_mmx_written(X86Fpu *f, unsigned n)
{
    f->r[n & 7].se = 0xffff;
}

/* LDMXCSR: a value with bits outside the mask is #GP(0). */
static inline bool x86_mxcsr_valid(const X86Fpu *f, uint32_t value)
{
    return !(value & ~f->mxcsr_mask);
}

/* ---------------------------------------------------------------- x87 */

enum { /* X86X87Insn.flags */
    X86_X87_LOAD = 1 << 0,   /* the executor loads mem_size bytes into `mem` before */
    X86_X87_STORE = 1 << 1,  /* ... stores them after, unless the result has X86_X87_NO_STORE */
    X86_X87_WAIT = 1 << 2,   /* a pending exception is #MF instead (x86_x87_pending()) */
    X86_X87_EFLAGS = 1 << 3, /* FCOMI and like: the result is the new OF..CF, as in SSE */
    X86_X87_AX = 1 << 4,     /* FNSTSW AX: `mem` is a 2-byte buffer, goes to AX */
    X86_X87_NOTE = 1 << 5,   /* not a control instruction: call x86_x87_note() */
    X86_X87_CMOV = 1 << 6,   /* reads EFLAGS; FCMOVcc, FCOMI: CPUID.CMOV */
    X86_X87_SSE3 = 1 << 7,   /* FISTTP: CPUID.SSE3 */
};

enum { /* the argument `mode` */
    X86_X87_OP32 = 1 << 0, /* 32-bit layout of FLDENV, FNSTENV, FNSAVE, FRSTOR */
    X86_X87_PROT = 1 << 1, /* protected-mode layout (else real and virtual-8086 mode) */
};

enum { X86_X87_NO_STORE = 1u << 31 };

#define X86_X87_MEM_MAX 108 /* the largest memory operand: FNSAVE in 32-bit layout */

typedef struct X86X87Insn {
    const char *name;
    uint8_t mem_size;
    uint8_t flags;
} X86X87Insn;

/* opcode d8..df; only OP32 of mode matters.  NULL: #UD. */
const X86X87Insn *x86_x87_lookup(uint8_t opcode, uint8_t modrm, unsigned mode);

/*
 * Executes one instruction.  mem: buffer for the memory operand (NULL in register forms but FNSTSW
 * AX).  eflags: for FCMOVcc.  A store pops, so the executor must know before the call that the
 * memory can be written (or keep a copy of *f to go back to).  Unmasked exceptions are left pending
 * in sw.ES.  Only NO_STORE and, for FCOMI, EFLAGS come back.
 */
uint32_t x86_x87_execute(X86Fpu *f, uint8_t opcode, uint8_t modrm, void *mem, unsigned mode,
                         uint32_t eflags);

/* #MF is due at the next waiting x87 instruction, WAIT, or MMX instruction. */
static inline bool x86_x87_pending(const X86Fpu *f)
{
    return f->sw & 0x80;
}

static inline void x86_x87_note(X86Fpu *f, uint8_t opcode, uint8_t modrm, uint16_t cs, uint64_t ip)
{
    f->fop = (uint16_t)((opcode & 7) << 8 | modrm);
    f->fcs = cs;
    f->fip = ip;
}

static inline void x86_x87_note_data(X86Fpu *f, uint16_t ds, uint64_t dp)
{
    f->fds = ds;
    f->fdp = dp;
}

/* ---------------------------------------------------------------- state images */

enum { /* components, bits of XCR0 */
    X86_XC_X87 = 1 << 0,
    X86_XC_SSE = 1 << 1,
    X86_XC_AVX = 1 << 2,
#define X86_XC_AVX X86_XC_AVX
};
#define X86_XC_COMPACTED (1ull << 63) /* of XCOMP_BV */

#define X86_FXSAVE_SIZE 512
#define X86_XSAVE_SIZE 832 /* legacy area, header, and AVX at 576 */
#define X86_XSAVE_LEGACY 576

/*
 * wide: FXSAVE64 (REX.W): 64-bit FIP and FDP without selectors.  long_mode: 16 XMM registers, else
 * 8.  buf is 512 bytes; bytes 416..511 (and XMM8..15 outside long mode) are left as they are, so
 * load the old content before if the whole buffer is to be stored, or store only 416 (288) bytes.
 */
void x86_fxsave(const X86Fpu *f, void *buf, bool wide, bool long_mode);

/* False: reserved bits of MXCSR set (#GP(0)); nothing was changed. */
bool x86_fxrstor(X86Fpu *f, const void *buf, bool wide, bool long_mode);

/*
 * Standard format.  buf is the area of X86_XSAVE_SIZE (X86_XSAVE_LEGACY without AVX in rfbm) as it was in memory before; rfbm is EDX:EAX & XCR0.
 * Changes only what XSAVE writes, so that all of it can be stored back.
 */
void x86_xsave(const X86Fpu *f, void *buf, uint64_t rfbm, bool wide, bool long_mode);

/* Which components are not as after reset: XINUSE, but that MXCSR counts for SSE's. */
uint64_t x86_fpu_in_use(const X86Fpu *f);

/*
 * Either format: AVX is at the same place in both.  False: #GP(0) by the header or MXCSR; nothing
 * was changed.  The caller refuses the compacted one where the CPU has no XSAVEC.
 */
bool x86_xrstor(X86Fpu *f, const void *buf, uint64_t rfbm, uint64_t xcr0, bool wide,
                bool long_mode);

#endif
