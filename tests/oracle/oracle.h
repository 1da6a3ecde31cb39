/*
 * tests/oracle/oracle.h - the host's CPU as the judge of the interpreter.
 *
 *   forms.c    every instruction form, and how a case of one is made
 *   undef.c    what the manuals leave undefined, instruction by instruction
 *   native.c   runs cases on the host's CPU, in a child process
 *   guest.c    runs cases in the interpreter
 *   main.c     options, comparison, coverage, TAP
 *
 * A case is a full user-mode state, the bytes of an instruction (or a few) and
 * what memory holds.  Both worlds map the same pages at the same addresses and
 * run until the first exception: behind the instruction lies HLT, which is
 * #GP in user mode, so that an end is an exception like any other.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- the common address space -------------------------------------------------- */

enum {
    PAGE = 4096,
    CODE_AT = 0x20000000,   /* two pages, filled with HLT */
    CODE_BYTES = 2 * PAGE,
    DATA_AT = 0x20010000,   /* two pages; unmapped before and behind */
    DATA_BYTES = 2 * PAGE,
    RO_AT = 0x20020000,     /* a page that may only be read */
    RO_BYTES = PAGE,
    STACK_AT = 0x20030000,
    STACK_BYTES = PAGE,
    HOLE_AT = 0x20040000,   /* nothing */
    GS_BASE = 0x10000,      /* of GS */
    DATA_WINDOW = 1024,     /* what a case sets and compares of the data pages */
    STACK_WINDOW = 512,
    CODE_MAX = 48,
};

/* FXSAVE64's image; reserved bytes are zero. */
typedef struct FxImage {
    uint16_t cw, sw;
    uint8_t tag, pad;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    struct { uint64_t mant; uint16_t se; uint16_t pad[3]; } st[8];
    uint64_t xmm[16][2];
    uint8_t rest[96];
} FxImage;
_Static_assert(sizeof(FxImage) == 512, "FXSAVE");

typedef struct State {
    uint64_t gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
    uint64_t rip, rflags;
    uint64_t ymmh[16][2]; /* upper halves */
    FxImage fx;
} State;

typedef struct Result {
    State s;
    uint32_t vector, error; /* what ended it; vector 255: it never ended */
    uint64_t cr2;           /* of #PF */
    uint8_t data[DATA_WINDOW], stack[STACK_WINDOW];
} Result;

typedef struct Case {
    State in;
    uint32_t form;         /* index; of a sequence the first one */
    uint32_t index;        /* number of the case, for its seed */
    uint8_t code[CODE_MAX];
    uint32_t length;
    uint8_t count;         /* instructions in code */
    uint8_t imm;           /* the immediate byte, where undef.c asks */
    uint8_t modrm;
    uint64_t code_at, data_at, stack_at; /* of the code and the two windows */
    uint64_t operand_at;   /* of the memory operand */
    uint8_t data[DATA_WINDOW], stack[STACK_WINDOW];
} Case;

/* ---- forms ------------------------------------------------------------------------ */

typedef struct Undef Undef;

enum { OPERAND_NONE, OPERAND_REG, OPERAND_MEM, OPERAND_OPREG };

typedef enum Special {
    SP_NONE,
    SP_STACK,    /* RSP points into the stack window */
    SP_STRING,   /* RSI, RDI into the data, RCX small */
    SP_SHIFT,    /* CL is a count */
    SP_DIV,      /* dividends that do not always overflow */
    SP_BT,       /* a bit offset in G moves the address: keep it small */
    SP_CMPXCHG,  /* the accumulator often equals the destination */
    SP_XLAT, SP_MASKMOV, SP_MOFFS, SP_ENTER, SP_LEAVE, SP_JUMP, SP_JUMP_IND, SP_LOOP, SP_RET,
    SP_POPF, SP_FXSAVE, SP_FXRSTOR, SP_LDMXCSR, SP_X87, SP_FLDENV, SP_PCMPSTR, SP_ALIGN16,
    SP_GATHER,   /* the index is a vector of small numbers */
    SP_SMALLV,   /* the register in vvvv is an index */
    SP_ALIGNED,  /* never unaligned: the vendors differ */
} Special;

typedef struct Form {
    char *name;
    const char *group;
    uint8_t map;      /* 0 one byte, 1 0F, 2 0F38, 3 0F3A */
    uint8_t opcode;
    int8_t ext;       /* ModRM.reg, -1: a register */
    int16_t modrm;    /* the whole ModRM byte, or -1 */
    uint8_t prefix;   /* mandatory: 66, F2, F3 or 0 */
    uint8_t size;     /* log2 of operand bytes: 1 gives 66, 3 REX.W; 4: no such prefix */
    uint8_t operand;
    uint8_t imm;      /* bytes */
    uint8_t bytes;    /* of the memory operand */
    bool lock;
    uint8_t rep;
    bool as32;        /* with 67 */
    bool vex, vex_l, vex_w, vex_v; /* v: vvvv is an operand */
    bool fp;          /* operands are floating-point */
    bool undefined;   /* the interpreter has no such instruction: #UD expected */
    bool jump;        /* ends a sequence */
    Special special;
    const Undef *undef;
} Form;

extern GPtrArray *forms;
void forms_make(void);
/* Make case `index` of a form.  The same seed gives the same case. */
void case_make(Case *c, unsigned form, uint32_t index, uint64_t seed);
/* A few random instructions in a row, all of forms without undefined results. */
void sequence_make(Case *c, uint32_t index, uint64_t seed);
void coverage_print(void);

/* ---- undef.c ------------------------------------------------------------------------- */

/* Which flags, and whether the destination, of this case the manuals leave open. */
const Undef *undef_find(const char *mnemonic);
uint32_t undef_flags(const Undef *u, const Case *c, const Form *f);
bool undef_result(const Undef *u, const Case *c, const Form *f);
/* Is the difference in MXCSR one that the table of known deviations has? */
bool known_deviation(const Case *c, const Result *h, const Result *g);
/*
 * Where the host's vendor is not the interpreter's: make of the host's result what the interpreter's
 * vendor documents.  false: there is nothing to compare.
 */
bool vendor_adapt(const Case *c, Result *h, const Result *g);
/* Of the host's CPU. */
const char *vendor_name(void);
void undef_print(void);

/* ---- the two worlds --------------------------------------------------------------------- */

/* false: the child died or hung at case *bad; it is restarted at the next call. */
bool native_run(const Case *cases, Result *results, unsigned n, unsigned *bad);
void native_stop(void);
bool guest_start(const char *model);
void guest_run(const Case *c, Result *r);
/* Does the interpreter's CPU of this model have the vector instruction?  Its name, or NULL. */
const char *guest_vector_name(unsigned map, unsigned prefix, uint8_t opcode, unsigned modrm,
                              unsigned *mem_size, bool *aligned, bool *fp, unsigned *imm);

/* The same of VEX forms. */
const char *guest_avx_name(unsigned map, unsigned prefix, uint8_t opcode, unsigned modrm, bool l, bool w,
                           unsigned *mem_size, bool *aligned, bool *fp, unsigned *imm, bool *nds,
                           bool *gather);

#define ORACLE_BATCH 512

#endif
