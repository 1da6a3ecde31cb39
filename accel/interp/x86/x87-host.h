/*
 * x87 arithmetic by the host's own x87: x86-64 hosts only.  Operands and results pass as 80-bit
 * memory images, which raise nothing; the operation in between runs with the guest's control word,
 * masks included.  An unmasked exception only becomes pending on the host, and FNCLEX removes it
 * before the next waiting instruction, so results with wrapped exponents come out as they should,
 * too.
 *
 * Each function returns the status word after the operation.  The host thread is taken to run with
 * the ABI's control word (0x37f) and an empty register stack, and is left so.
 */
#ifndef VMRUN_INTERP_X86_X87_HOST_H
#define VMRUN_INTERP_X86_X87_HOST_H

#include "fpu.h"

enum H87Kind { H87_F32, H87_I32, H87_F64, H87_I16, H87_I64, H87_BCD, H87_T16, H87_T32, H87_T64 };

/* The memory operand of either direction, as an asm operand of the largest size. */
typedef struct H87Mem {
    uint8_t b[16];
} H87Mem;

/* `before` up to the operation, `after` takes results away (by then nothing is pending). */
#define H87_ASM(before, after, ...)                                                                \
    __asm__ volatile("fnclex\n\tfldcw %[cw]\n\t" before "\n\tfnstsw %%ax\n\ttestb $0x80, %%al\n\t" \
                     "jz 1f\n\tfnclex\n1:\n\tfldcw %[host]\n\t" after "\n\temms"                  \
                     : "=&a"(sw), __VA_ARGS__, [cw] "m"(cw), [host] "m"(h87_host_cw)               \
                     : "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)")

static const uint16_t h87_host_cw = 0x37f;

#define H87_CASE_ARITH(n, insn)                                                                    \
    case n:                                                                                        \
        H87_ASM("fldt %[b]\n\tfldt %[a]\n\t" insn " %%st(1), %%st", "fstpt %[r]",                  \
                [r] "=m"(*res) : [a] "m"(*a), [b] "m"(*b));                                        \
        break;

/* res = a OP b; op as ModRM.reg of D8. */
static uint16_t h87_arith(uint16_t cw, unsigned op, X86FpReg *res, const X86FpReg *a,
                          const X86FpReg *b)
{
    uint16_t sw = 0;
    switch (op) {
        H87_CASE_ARITH(0, "fadd")
        H87_CASE_ARITH(1, "fmul")
        H87_CASE_ARITH(4, "fsub")
        H87_CASE_ARITH(5, "fsubr")
        H87_CASE_ARITH(6, "fdiv")
        H87_CASE_ARITH(7, "fdivr")
    }
    return sw;
}

#define H87_CASE_MEM(n, kind, insn)                                                                \
    case (n) * 4 + (kind):                                                                         \
        H87_ASM("fldt %[a]\n\t" insn " %[b]", "fstpt %[r]",                                        \
                [r] "=m"(*res) : [a] "m"(*a), [b] "m"(*(const H87Mem *)mem));                      \
        break;
#define H87_CASES_MEM(n, insn)                                                                     \
    H87_CASE_MEM(n, H87_F32, "f" insn "s")                                                         \
    H87_CASE_MEM(n, H87_I32, "fi" insn "l")                                                        \
    H87_CASE_MEM(n, H87_F64, "f" insn "l")                                                         \
    H87_CASE_MEM(n, H87_I16, "fi" insn "s")

/* As h87_arith(), with b in memory; also the compare (op 2), which changes only the status. */
static uint16_t h87_arith_mem(uint16_t cw, unsigned op, enum H87Kind kind, X86FpReg *res,
                              const X86FpReg *a, const void *mem)
{
    uint16_t sw = 0;
    switch (op * 4 + kind) {
        H87_CASES_MEM(0, "add")
        H87_CASES_MEM(1, "mul")
        H87_CASES_MEM(2, "com")
        H87_CASES_MEM(4, "sub")
        H87_CASES_MEM(5, "subr")
        H87_CASES_MEM(6, "div")
        H87_CASES_MEM(7, "divr")
    }
    return sw;
}

static uint16_t h87_compare(uint16_t cw, bool quiet, const X86FpReg *a, const X86FpReg *b)
{
    uint16_t sw, dummy;
    if (quiet)
        H87_ASM("fldt %[b]\n\tfldt %[a]\n\tfucom %%st(1)", "",
                [r] "=m"(dummy) : [a] "m"(*a), [b] "m"(*b));
    else
        H87_ASM("fldt %[b]\n\tfldt %[a]\n\tfcom %%st(1)", "",
                [r] "=m"(dummy) : [a] "m"(*a), [b] "m"(*b));
    return sw;
}

#define H87_CASE_LOAD(kind, insn)                                                                  \
    case kind:                                                                                     \
        H87_ASM(insn " %[b]", "fstpt %[r]", [r] "=m"(*res) : [b] "m"(*(const H87Mem *)mem));       \
        break;

static uint16_t h87_load(uint16_t cw, enum H87Kind kind, X86FpReg *res, const void *mem)
{
    uint16_t sw = 0;
    switch (kind) {
        H87_CASE_LOAD(H87_F32, "flds")
        H87_CASE_LOAD(H87_F64, "fldl")
        H87_CASE_LOAD(H87_I16, "filds")
        H87_CASE_LOAD(H87_I32, "fildl")
        H87_CASE_LOAD(H87_I64, "fildll")
        H87_CASE_LOAD(H87_BCD, "fbld")
    default:
        break;
    }
    return sw;
}

#define H87_CASE_STORE(kind, insn)                                                                 \
    case kind:                                                                                     \
        H87_ASM("fldt %[a]\n\t" insn " %[r]", "", [r] "+m"(*(H87Mem *)mem) : [a] "m"(*a));         \
        break;

/* mem has 16 bytes. */
static uint16_t h87_store(uint16_t cw, enum H87Kind kind, void *mem, const X86FpReg *a)
{
    uint16_t sw = 0;
    switch (kind) {
        H87_CASE_STORE(H87_F32, "fsts")
        H87_CASE_STORE(H87_F64, "fstl")
        H87_CASE_STORE(H87_I16, "fists")
        H87_CASE_STORE(H87_I32, "fistl")
        H87_CASE_STORE(H87_I64, "fistpll")
        H87_CASE_STORE(H87_BCD, "fbstp")
    /* Truncation is the control word's; FISTTP is SSE3. */
    case H87_T16:
    case H87_T32:
    case H87_T64:
        return h87_store(cw | 0xc00,
                         kind == H87_T16   ? H87_I16
                         : kind == H87_T32 ? H87_I32
                                           : H87_I64,
                         mem, a);
    }
    return sw;
}

#define H87_CASE_UNARY(n, insn)                                                                    \
    case n:                                                                                        \
        H87_ASM("fldt %[a]\n\t" insn, "fstpt %[r]", [r] "=m"(*res) : [a] "m"(*a));                 \
        break;

/* res = OP(a); op is the second opcode byte after D9. */
static uint16_t h87_unary(uint16_t cw, unsigned op, X86FpReg *res, const X86FpReg *a)
{
    uint16_t sw = 0;
    switch (op) {
        H87_CASE_UNARY(0xe4, "ftst")
        H87_CASE_UNARY(0xf0, "f2xm1")
        H87_CASE_UNARY(0xfa, "fsqrt")
        H87_CASE_UNARY(0xfc, "frndint")
        H87_CASE_UNARY(0xfe, "fsin")
        H87_CASE_UNARY(0xff, "fcos")
    }
    return sw;
}

#define H87_CASE_BINARY(n, insn)                                                                   \
    case n:                                                                                        \
        H87_ASM("fldt %[b]\n\tfldt %[a]\n\t" insn, "fstpt %[r]",                                   \
                [r] "=m"(*res) : [a] "m"(*a), [b] "m"(*b));                                        \
        break;

/* res = OP(ST0 = a, ST1 = b) */
static uint16_t h87_binary(uint16_t cw, unsigned op, X86FpReg *res, const X86FpReg *a,
                           const X86FpReg *b)
{
    uint16_t sw = 0;
    switch (op) {
        H87_CASE_BINARY(0xf1, "fyl2x")
        H87_CASE_BINARY(0xf3, "fpatan")
        H87_CASE_BINARY(0xf5, "fprem1")
        H87_CASE_BINARY(0xf8, "fprem")
        H87_CASE_BINARY(0xf9, "fyl2xp1")
        H87_CASE_BINARY(0xfd, "fscale")
    }
    return sw;
}

#define H87_CASE_TWO(n, insn)                                                                      \
    case n:                                                                                        \
        H87_ASM("fldt %[a]\n\t" insn, "fstpt %[r]\n\tfstpt %[r1]",                                 \
                [r] "=m"(*top), [r1] "=m"(*next) : [a] "m"(*a));                                   \
        break;

/* Operations that push: top and next are ST0 and ST1 afterwards (next is void if C2 is set). */
static uint16_t h87_two(uint16_t cw, unsigned op, X86FpReg *top, X86FpReg *next, const X86FpReg *a)
{
    uint16_t sw = 0;
    switch (op) {
        H87_CASE_TWO(0xf2, "fptan")
        H87_CASE_TWO(0xf4, "fxtract")
        H87_CASE_TWO(0xfb, "fsincos")
    }
    return sw;
}

#define H87_CASE_CONST(n, insn)                                                                    \
    case n:                                                                                        \
        H87_ASM(insn, "fstpt %[r]", [r] "=m"(*res) : "m"(cw));                                     \
        break;

static uint16_t h87_const(uint16_t cw, unsigned op, X86FpReg *res)
{
    uint16_t sw = 0;
    switch (op) {
        H87_CASE_CONST(0xe8, "fld1")
        H87_CASE_CONST(0xe9, "fldl2t")
        H87_CASE_CONST(0xea, "fldl2e")
        H87_CASE_CONST(0xeb, "fldpi")
        H87_CASE_CONST(0xec, "fldlg2")
        H87_CASE_CONST(0xed, "fldln2")
        H87_CASE_CONST(0xee, "fldz")
    }
    return sw;
}

#endif
