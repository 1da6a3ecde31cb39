/*
 * accel/interp/x86/cpu.h - one x86 vCPU of the interpreter.
 *
 * After the Intel SDM, volumes 1 to 3.  Files of this folder:
 *   decode.c   instruction bytes -> ops          ops.h     the list of ops
 *   peephole.c ops that go together               mix.c     counts of ops, for who looks for such
 *   exec.c     the executor                       helpers.c rarer instructions, as functions
 *   mmu.c      page walks, slow memory accesses   string.c  string and port I/O instructions
 *   segment.c  descriptors, far transfers         event.c   exceptions and interrupts
 *   system.c   control registers, MSRs, CPUID     run.c     the loop, life, state, the accelerator
 *   debug.c    breakpoints                         smm.c     system management mode
 *   x87.c, sse*.c  floating point and vectors (fpu.h), without knowledge of memory
 */
#ifndef VMR_INTERP_X86_CPU_H
#define VMR_INTERP_X86_CPU_H

#include "../engine.h"
#include "accel/x86/model.h"
#include "fpu.h"
#include <vmrun/x86.h>

/* ---- register file: byte offsets are what ops hold ---------------------- */

enum {
    RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI,
    REG_ZERO = 16, /* always 0 */
    REG_T0,        /* address made by an AGEN op */
    REG_T1,        /* value */
    REG_T2,
    REG_PC,        /* RIP of the block's first instruction */
    REG_BASE_ES,   /* segment bases, in the order of VMR_X86_ES... */
    REG_BASE_CS, REG_BASE_SS, REG_BASE_DS, REG_BASE_FS, REG_BASE_GS,
    REG_COUNT = 32,
};

/* ---- flags ---------------------------------------------------------------- */

enum {
    FL_CF = 1u << 0, FL_1 = 1u << 1, FL_PF = 1u << 2, FL_AF = 1u << 4, FL_ZF = 1u << 6,
    FL_SF = 1u << 7, FL_TF = 1u << 8, FL_IF = 1u << 9, FL_DF = 1u << 10, FL_OF = 1u << 11,
    FL_IOPL = 3u << 12, FL_NT = 1u << 14, FL_RF = 1u << 16, FL_VM = 1u << 17, FL_AC = 1u << 18,
    FL_VIF = 1u << 19, FL_VIP = 1u << 20, FL_ID = 1u << 21,
    FL_CC = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF,
};

/*
 * Lazy flags: what the last arithmetic did.  cc_dst is its result, sign-extended
 * to 64 bits, and always gives ZF, SF and PF (but with CC_FLAGS); cc_src is the
 * second operand, sign-extended, or for CC_BITS holds CF, AF and OF in place.
 */
enum {
    CC_FLAGS, /* cpu->eflags has them all */
    CC_ADD8, CC_ADD16, CC_ADD32, CC_ADD64,
    CC_ADC8, CC_ADC16, CC_ADC32, CC_ADC64, /* with a carry in of 1 */
    CC_SUB8, CC_SUB16, CC_SUB32, CC_SUB64,
    CC_SBB8, CC_SBB16, CC_SBB32, CC_SBB64, /* with a borrow in of 1 */
    CC_LOGIC,
    CC_BITS,
};

/* ---- control registers, EFER ------------------------------------------------ */

enum {
    CR0_PE = 1u << 0, CR0_MP = 1u << 1, CR0_EM = 1u << 2, CR0_TS = 1u << 3, CR0_ET = 1u << 4,
    CR0_NE = 1u << 5, CR0_WP = 1u << 16, CR0_AM = 1u << 18, CR0_NW = 1u << 29, CR0_CD = 1u << 30,
    CR0_PG = 1u << 31,
    CR4_VME = 1u << 0, CR4_PVI = 1u << 1, CR4_TSD = 1u << 2, CR4_DE = 1u << 3, CR4_PSE = 1u << 4,
    CR4_PAE = 1u << 5, CR4_MCE = 1u << 6, CR4_PGE = 1u << 7, CR4_PCE = 1u << 8,
    CR4_OSFXSR = 1u << 9, CR4_OSXMMEXCPT = 1u << 10, CR4_UMIP = 1u << 11, CR4_LA57 = 1u << 12,
    CR4_FSGSBASE = 1u << 16, CR4_PCIDE = 1u << 17, CR4_OSXSAVE = 1u << 18, CR4_SMEP = 1u << 20,
    CR4_SMAP = 1u << 21, CR4_PKE = 1u << 22,
    EFER_SCE = 1u << 0, EFER_LME = 1u << 8, EFER_LMA = 1u << 10, EFER_NXE = 1u << 11,
};

/* Exception vectors. */
enum {
    EXC_DE = 0, EXC_DB = 1, EXC_NMI = 2, EXC_BP = 3, EXC_OF = 4, EXC_BR = 5, EXC_UD = 6, EXC_NM = 7,
    EXC_DF = 8, EXC_TS = 10, EXC_NP = 11, EXC_SS = 12, EXC_GP = 13, EXC_PF = 14, EXC_MF = 16,
    EXC_AC = 17, EXC_MC = 18, EXC_XM = 19,
};

/* ---- segments ---------------------------------------------------------------- */

/* Access rights as VMX has them: 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G. */
enum {
    AR_S = 1u << 4, AR_P = 1u << 7, AR_L = 1u << 13, AR_DB = 1u << 14, AR_G = 1u << 15,
    AR_CODE = 1u << 3, AR_CONFORMING = 1u << 2, AR_EXPAND_DOWN = 1u << 2, AR_RW = 1u << 1,
    AR_ACCESSED = 1u << 0,
};
#define AR_DPL(ar) (((ar) >> 5) & 3u)
#define AR_TYPE(ar) ((ar)&15u)

typedef struct X86Seg {
    uint32_t limit; /* bytes, after granularity */
    uint16_t sel;
    uint16_t ar;
    bool unusable;
} X86Seg; /* bases of the six are in the register file */

/* ---- mode key of blocks -------------------------------------------------------- */

enum {
    KEY_CODE16 = 0, KEY_CODE32 = 1, KEY_CODE64 = 2, KEY_CODE_MASK = 3,
    KEY_SS32 = 1u << 2,   /* stack pointer is 32 bits wide (not in 64-bit mode) */
    KEY_FLAT = 1u << 3,   /* DS, ES, SS: base 0, limit 4 GiB, writable */
    KEY_CSFLAT = 1u << 4, /* CS: base 0, limit 4 GiB; blocks may be linked */
    KEY_PROT = 1u << 5,   /* protected mode, not virtual-8086 */
    KEY_NM = 1u << 6,     /* CR0.TS or EM: x87/SSE raise #NM (or #UD) */
    KEY_SINGLE = 1u << 7, /* blocks of one instruction */
    KEY_NOSSE = 1u << 8,  /* CR4.OSFXSR is clear: SSE is #UD */
    KEY_NOAVX = 1u << 9,  /* CR4.OSXSAVE is clear, or AVX or SSE in XCR0 */
};

/* Events of this front end. */
enum {
    EV_INTR = INTERP_EV_FRONT,
    EV_NMI = INTERP_EV_FRONT << 1,
    EV_SMI = INTERP_EV_FRONT << 2,
    EV_INIT = INTERP_EV_FRONT << 3,
    EV_SIPI = INTERP_EV_FRONT << 4,
};

typedef struct X86Cpu {
    InterpCpu ic;

    uint64_t r[REG_COUNT];
    uint64_t cc_dst, cc_src;
    uint32_t cc_op;
    uint32_t eflags; /* without FL_CC unless cc_op is CC_FLAGS */
    uint32_t key;
    uint64_t pc_mask; /* of RIP in this mode */
    uint8_t cpl;
    bool halted, wait_sipi;
    bool inhibit;     /* STI or MOV SS shadow: no interrupt before the next instruction */
    bool no_step;     /* no #DB for the step just done: INT n cleared TF, MOV SS puts it off */
    bool nmi_blocked, nmi_pending;
    bool smm, smi_pending, smm_nmi_blocked;
    bool mwait;       /* halted by MWAIT */
    uint32_t smbase;
    bool exc_pending;
    uint8_t exc_vector;
    bool exc_has_error, exc_soft; /* soft: INT n, INT3, INTO */
    bool exc_canonical;           /* #GP because an address is not canonical: #SS for a stack's */
    bool shutdown;
    uint32_t exc_error;
    uint64_t exc_cr2;
    uint64_t insn_pc;  /* RIP of the instruction that a helper works on */
    uint64_t next_pc;  /* and of the one behind */

    X86Seg seg[6], ldtr, tr;
    uint64_t ldtr_base, tr_base, gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
    uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
    uint64_t pdpte[4]; /* of PAE paging */
    uint32_t pkru;
    uint64_t dr[8];
    bool debug_on;     /* DR7 enables something: single steps */
    bool ss_shadow;    /* MOV SS, POP SS just done: no #DB before the next instruction */
    bool gd_fault;     /* the pending #DB is a fault of MOV DR */
    bool rep_again;    /* a repeated instruction is not done yet */
    uint8_t dr6_hits;  /* B0-B3 of breakpoints met by the instruction */
    bool trace_memory;  /* all pages are watched, for the trace */
    VmrDebug *debugger; /* what somebody outside stops it for, or NULL */
    bool debugger_data; /* among it what watches data */
    bool stepped;      /* an instruction was done since it was told */
    bool watch_hit;    /* ... and met this: */
    const VmrPoint *watch_point;

    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, mtrr_def_type, spec_ctrl;
    uint64_t mtrr_fixed[11], mtrr_var[16];
    uint64_t mcg_status;
    uint64_t tsc_adjust;
    int64_t tsc_offset; /* TSC = virtual ns * tsc_hz / 1e9 + tsc_offset */

    /* The features that CPUID shows; behaviour asks the same words. */
    uint32_t cpuid_1_ecx, cpuid_1_edx, cpuid_7_ebx, cpuid_7_ecx, cpuid_7_edx, cpuid_81_ecx, cpuid_81_edx;
    VmrX86Cpuid cpuid;
    uint32_t cpuid_d1_eax;

    _Atomic bool intr;  /* the INTR pin */
    _Atomic uint32_t sipi_vector;
    VmrDevice *intc;    /* who acknowledges; its tables */
    const VmrX86IntcInterface *intc_ops;
    const VmrX86LapicInterface *lapic_ops; /* NULL: none */

    InterpBlock *scratch; /* for code that cannot be kept */
    X86Fpu fpu;
} X86Cpu;

#define X86(ic_) ((X86Cpu *)(ic_))
/* Does the model have what [machine] cpu or --describe call by that word and bit? */
#define X86_FEATURE(c, word, bit) ((c)->cpuid.words[VMR_X86_##word] >> (bit) & 1)

/* ---- flags.  Any function of these may be called at any time ------------------- */

static inline bool x86_zf(const X86Cpu *c)
{
    return c->cc_op == CC_FLAGS ? c->eflags & FL_ZF : c->cc_dst == 0;
}

static inline bool x86_sf(const X86Cpu *c)
{
    return c->cc_op == CC_FLAGS ? c->eflags & FL_SF : (int64_t)c->cc_dst < 0;
}

static inline bool x86_pf(const X86Cpu *c)
{
    return c->cc_op == CC_FLAGS ? c->eflags & FL_PF : !__builtin_parity(c->cc_dst & 0xff);
}

/* The first operand of CC_SUB or CC_SBB, sign-extended. */
static inline uint64_t x86_cc_minuend(const X86Cpu *c, unsigned borrow)
{
    uint64_t a = c->cc_dst + c->cc_src + borrow;
    switch ((c->cc_op - CC_ADD8) & 3) {
    case 0: return (uint64_t)(int8_t)a;
    case 1: return (uint64_t)(int16_t)a;
    case 2: return (uint64_t)(int32_t)a;
    default: return a;
    }
}

static inline bool x86_cf(const X86Cpu *c)
{
    if (c->cc_op == CC_FLAGS)
        return c->eflags & FL_CF;
    if (c->cc_op <= CC_ADD64)
        return c->cc_dst < c->cc_src;
    if (c->cc_op <= CC_ADC64)
        return c->cc_dst <= c->cc_src;
    if (c->cc_op <= CC_SUB64)
        return x86_cc_minuend(c, 0) < c->cc_src;
    if (c->cc_op <= CC_SBB64)
        return x86_cc_minuend(c, 1) <= c->cc_src;
    return c->cc_op == CC_BITS && (c->cc_src & FL_CF);
}

bool x86_of(const X86Cpu *c);
uint32_t x86_cc_flags(const X86Cpu *c); /* the six, computed */
/* Put the six flags into eflags: CC_FLAGS afterwards. */
void x86_flags_settle(X86Cpu *c);
/* Replace the six flags. */
static inline void x86_flags_set(X86Cpu *c, uint32_t flags)
{
    c->eflags = (c->eflags & ~(uint32_t)FL_CC) | (flags & FL_CC);
    c->cc_op = CC_FLAGS;
}
static inline uint64_t x86_rflags(const X86Cpu *c)
{
    return (c->eflags & ~(uint32_t)FL_CC) | x86_cc_flags(c) | FL_1;
}
/* Set all of RFLAGS under `mask`; updates the mode where a bit asks for it. */
void x86_rflags_write(X86Cpu *c, uint64_t value, uint32_t mask);
bool x86_cond(const X86Cpu *c, unsigned cond); /* 0..15 as in Jcc */

/* ---- exceptions: all return false, so that a helper can `return x86_gp(c, 0)` ---- */

bool x86_raise(X86Cpu *c, unsigned vector);
bool x86_raise_error(X86Cpu *c, unsigned vector, uint32_t error);
static inline bool x86_gp(X86Cpu *c, uint32_t error) { return x86_raise_error(c, EXC_GP, error); }
/* Is a linear address canonical in this paging mode? */
static inline bool x86_canonical(const X86Cpu *c, uint64_t v)
{
    int64_t top = (int64_t)v >> (c->cr4 & CR4_LA57 ? 56 : 47);
    return top == 0 || top == -1;
}
/* May a base (MSRs, descriptor tables, FS and GS) hold it?  That goes by what the CPU has. */
static inline bool x86_canonical_base(const X86Cpu *c, uint64_t v)
{
    int64_t top = (int64_t)v >> (X86_FEATURE(c, 7_ECX, 16) ? 56 : 47);
    return top == 0 || top == -1;
}
/* The operand of FXSAVE and like is not aligned: an address that is not canonical goes first. */
static inline bool x86_misaligned(X86Cpu *c, uint64_t addr)
{
    x86_gp(c, 0);
    c->exc_canonical = !x86_canonical(c, addr);
    return false;
}
static inline bool x86_ud(X86Cpu *c) { return x86_raise(c, EXC_UD); }

/* Deliver the pending exception; sets `shutdown` on a triple fault. */
void x86_exception_deliver(X86Cpu *c);
/* In 64-bit mode the kind of a fault by a bad address depends on the segment: op of `b` faulted. */
void x86_exception_segment(X86Cpu *c, const InterpBlock *b, const InterpOp *op);
/* Deliver an interrupt (external, NMI, INT n); false: an exception is pending. */
bool x86_interrupt(X86Cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error,
                   uint64_t return_pc);

/* ---- memory: linear addresses, current privilege ----------------------------------- */

bool x86_load_slow(X86Cpu *c, uint64_t addr, unsigned size);             /* -> ic.value */
bool x86_load_rmw_slow(X86Cpu *c, uint64_t addr, unsigned size);         /* write permission too */
bool x86_store_slow(X86Cpu *c, uint64_t addr, uint64_t value, unsigned size);
/* Copies of any size up to a page; nothing is written if it would fault. */
bool x86_load_block(X86Cpu *c, uint64_t addr, void *buf, unsigned size);
bool x86_store_block(X86Cpu *c, uint64_t addr, const void *buf, unsigned size);
/* Is [addr, addr + size) accessible?  Raises the fault if not. */
bool x86_probe(X86Cpu *c, uint64_t addr, unsigned size, bool write);
/* Implicit supervisor accesses (descriptor tables, TSS). */
bool x86_sys_load(X86Cpu *c, uint64_t addr, unsigned size, uint64_t *value);
bool x86_sys_store(X86Cpu *c, uint64_t addr, uint64_t value, unsigned size);
/* Host address of [addr, addr + size) if it is plain RAM within a page; NULL: use
   the slow path, or (with exc_pending) a fault. */
void *x86_host_ptr(X86Cpu *c, uint64_t addr, unsigned size, bool write);
/* Translate for execution: RAM offset of addr, or false with a fault; *ram UINT64_MAX: not RAM,
   *phys valid. */
bool x86_fetch_translate(X86Cpu *c, uint64_t addr, uint64_t *ram, uint64_t *phys);

static inline bool x86_load(X86Cpu *c, uint64_t addr, unsigned size, uint64_t *value)
{
    if (!x86_load_slow(c, addr, size))
        return false;
    *value = c->ic.value;
    return true;
}

/* ---- mode ------------------------------------------------------------------------------ */

/* After any change of CR0, CR4, EFER, CS, SS, DS, ES, CPL, EFLAGS.VM or AC. */
void x86_mode_update(X86Cpu *c);
static inline bool x86_long(const X86Cpu *c) { return c->efer & EFER_LMA; }
static inline bool x86_code64(const X86Cpu *c) { return (c->key & KEY_CODE_MASK) == KEY_CODE64; }
static inline uint64_t x86_linear_pc(const X86Cpu *c)
{
    return x86_code64(c) ? c->r[REG_PC] : (uint32_t)(c->r[REG_PC] + c->r[REG_BASE_CS]);
}
static inline bool x86_protected(const X86Cpu *c)
{
    return (c->cr0 & CR0_PE) && !(c->eflags & FL_VM);
}
static inline bool x86_real(const X86Cpu *c) { return !(c->cr0 & CR0_PE); }

static inline unsigned x86_phys_bits(const X86Cpu *c)
{
    return X86_FEATURE(c, 81_EDX, 29) ? 40 : X86_FEATURE(c, 1_EDX, 6) || X86_FEATURE(c, 1_EDX, 17) ? 36 : 32;
}

/* Load the PAE page-directory-pointer entries; check: #GP on reserved bits. */
bool x86_pdptes_load(X86Cpu *c, uint64_t cr3, bool check);
static inline bool x86_pae_paging(const X86Cpu *c)
{
    return (c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !x86_long(c);
}

void x86_pkru_set(X86Cpu *c, uint32_t value);
uint64_t x86_xinuse(const X86Cpu *c); /* components of XCR0 that are not as after reset */
void x86_smi(X86Cpu *c); /* smm.c */

/* ---- debug registers (debug.c) ---------------------------------------------------------------- */

enum { DR6_BD = 1 << 13, DR6_BS = 1 << 14, DR6_BT = 1 << 15, DR7_GD = 1 << 13 };
void x86_debug_update(X86Cpu *c); /* after a change of DR0-DR3, DR7, CR4.DE */
bool x86_debug_fetch(X86Cpu *c);  /* a breakpoint at CS:RIP: false, and #DB is pending */
void x86_debug_data(X86Cpu *c, uint64_t linear, unsigned size, bool write);
void x86_debug_io(X86Cpu *c, unsigned port, unsigned size);
/* #DB behind the instruction, for these bits of DR6. */
void x86_debug_trap(X86Cpu *c, uint32_t dr6);

/* ---- a debugger outside the guest (debug.c) --------------------------------------------------- */

typedef enum X86DebuggerWants { DEBUGGER_RUN, DEBUGGER_STEP, DEBUGGER_STOP } X86DebuggerWants;
void x86_debugger_set(X86Cpu *c, const VmrDebug *debug);
/* Before the next instruction; STOP: VmrCpu.debug_hit says why. */
X86DebuggerWants x86_debugger_look(X86Cpu *c);
/* Is there a breakpoint in the page of this linear address?  No block of it is entered from another. */
bool x86_debugger_page(const X86Cpu *c, uint64_t linear);
static inline bool x86_debugger_steps(const X86Cpu *c) { return c->debugger && c->debugger->step; }

/* ---- segments (segment.c) ---------------------------------------------------------------- */

bool x86_seg_load(X86Cpu *c, unsigned seg, uint16_t selector); /* MOV/POP Sreg, not CS */
void x86_seg_set_real(X86Cpu *c, unsigned seg, uint16_t selector);
/* Linear address of an operand with all checks of a segment; false: exception. */
bool x86_seg_linear(X86Cpu *c, unsigned seg, uint64_t offset, unsigned size, bool write,
                    uint64_t *linear);
bool x86_far_jump(X86Cpu *c, uint16_t selector, uint64_t offset);
bool x86_far_call(X86Cpu *c, uint16_t selector, uint64_t offset, unsigned size);
bool x86_far_return(X86Cpu *c, unsigned size, unsigned pop);
bool x86_iret(X86Cpu *c, unsigned size);
/* INT n in virtual-8086 mode under CR4.VME: *done if the 8086's own handler was entered. */
bool x86_vme_int(X86Cpu *c, unsigned vector, bool *done);
bool x86_task_switch(X86Cpu *c, uint16_t selector, unsigned reason, bool has_error, uint32_t error);
enum { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_INT };
/* Fetch a descriptor: raises #GP/#TS as `vector` says; address of it in *at. */
bool x86_descriptor(X86Cpu *c, uint16_t selector, unsigned vector, uint64_t desc[2], uint64_t *at);
static inline uint64_t x86_desc_base(uint64_t d)
{
    return ((d >> 16) & 0xffffff) | ((d >> 32) & 0xff000000);
}
static inline uint32_t x86_desc_limit(uint64_t d)
{
    uint32_t l = (uint32_t)((d & 0xffff) | ((d >> 32) & 0xf0000));
    return d >> 55 & 1 ? l << 12 | 0xfff : l;
}
static inline uint16_t x86_desc_ar(uint64_t d) { return (uint16_t)((d >> 40) & 0xf0ff); }
/* Stack accesses of the current mode: push/pop `size` bytes without changing RSP for good. */
bool x86_push(X86Cpu *c, uint64_t value, unsigned size);
bool x86_pop(X86Cpu *c, uint64_t *value, unsigned size);
uint64_t x86_stack_mask(const X86Cpu *c);

/* ---- system ---------------------------------------------------------------------------------- */

void x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);
bool x86_msr_read(X86Cpu *c, uint32_t msr, uint64_t *value);
bool x86_msr_write(X86Cpu *c, uint32_t msr, uint64_t value);
bool x86_cr_write(X86Cpu *c, unsigned cr, uint64_t value);
uint64_t x86_cr4_known(const X86Cpu *c); /* bits that are not reserved */
uint64_t x86_tsc(X86Cpu *c);
bool x86_has(const X86Cpu *c, unsigned feature); /* X86SseFeature */
#define X86_TSC_HZ 1000000000ull /* if nobody says otherwise */
#define X86_TSC_HZ_MIN 1000000ull
#define X86_TSC_HZ_MAX 100000000000ull
bool x86_model_apply(X86Cpu *c, const char *name, GError **error);
const char *const *x86_model_list(void);
char *x86_model_describe(const char *name);
void x86_reset(X86Cpu *c, bool init); /* init: INIT rather than power-on */
/* Is an interrupt to be taken now?  Then leave the executor at the next block. */
void x86_check_interrupts(X86Cpu *c);

/* ---- blocks ------------------------------------------------------------------------------------ */

/* The block at CS:RIP of the current mode, made if need be; NULL: an exception is pending. */
InterpBlock *x86_block(X86Cpu *c, uint32_t extra_key);
unsigned x86_decode_block(X86Cpu *c, InterpBlock *b, const uint8_t *bytes, unsigned avail,
                          unsigned most, bool first_only);
/* Run from `block` until something stops it. */
void x86_exec(X86Cpu *c, InterpBlock *block);

/* A helper: does an instruction; false: an exception is pending.  insn_pc and next_pc are set.
   Helpers that end a block may change r[REG_PC], which is next_pc before. */
typedef bool X86Helper(X86Cpu *c, const InterpOp *op);

#endif
