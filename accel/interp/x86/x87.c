/*
 * The x87: register stack, status, exceptions and control instructions, after the Intel SDM volume
 * 1, chapter 8, and volume 2.  The arithmetic is the host's (x87-host.h) or software (x87-soft.h);
 * the table of instructions is in x87-table.c.
 *
 * Left out: the 8087's and 287's FENI, FDISI, FSETPM (they do nothing, as on later processors).
 */
#include <string.h>

#include "fpu.h"
#include "x87.h"
#if defined(__x86_64__) && !defined(X86_FP_SOFT)
#include "x87-host.h"
#else
#include "x87-soft.h"
#endif

enum { IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32, SF = 64, ES = 0x80, C0 = 0x100, C1 = 0x200,
       C2 = 0x400, C3 = 0x4000, BUSY = 0x8000, ALL_CC = C0 | C1 | C2 | C3 };

static const X86FpReg indefinite = { .mant = 0xc000000000000000, .se = 0xffff };

static inline unsigned top(const X86Fpu *f)
{
    return f->sw >> 11 & 7;
}

static inline X86FpReg *st(X86Fpu *f, unsigned i)
{
    return &f->r[(top(f) + i) & 7];
}

static inline bool is_empty(const X86Fpu *f, unsigned i)
{
    return !(f->tag >> ((top(f) + i) & 7) & 1);
}

static inline void set_top(X86Fpu *f, unsigned t)
{
    f->sw = (uint16_t)((f->sw & ~0x3800) | (t & 7) << 11);
}

static void set_st(X86Fpu *f, unsigned i, X86FpReg v)
{
    *st(f, i) = v;
    f->tag |= (uint16_t)(1 << ((top(f) + i) & 7));
}

static void free_st(X86Fpu *f, unsigned i)
{
    f->tag &= (uint16_t)~(1 << ((top(f) + i) & 7));
}

static void pop(X86Fpu *f, unsigned count)
{
    for (; count; count--) {
        free_st(f, 0);
        set_top(f, top(f) + 1);
    }
}

static void push(X86Fpu *f, X86FpReg v)
{
    set_top(f, top(f) - 1);
    set_st(f, 0, v);
}

static void update_es(X86Fpu *f)
{
    f->sw &= (uint16_t)~(ES | BUSY);
    if (f->sw & ~f->cw & 0x3f)
        f->sw |= ES | BUSY;
}

/* Takes over flags, and C1 with other condition codes in `cc`.  Returns the unmasked exceptions. */
static unsigned finish(X86Fpu *f, unsigned sw, unsigned cc)
{
    f->sw = (uint16_t)((f->sw & ~cc) | (sw & (cc | 0x3f | SF)));
    unsigned unmasked = sw & ~f->cw & 0x3f;
    if (unmasked)
        f->sw |= ES | BUSY;
    return unmasked;
}

/* True if the masked response is to be given. */
static bool stack_fault(X86Fpu *f, bool overflow)
{
    return !finish(f, IE | SF | (overflow ? C1 : 0), C1);
}

/* Found before the operation: then nothing is stored and nothing popped. */
#define BEFORE (IE | DE | ZE)

static void load(X86Fpu *f, enum H87Kind kind, const void *mem)
{
    X86FpReg v;
    if (!is_empty(f, 7)) {
        if (stack_fault(f, true))
            push(f, indefinite);
        return;
    }
    /* An unmasked denormal is pushed nevertheless. */
    if (!(finish(f, h87_load(f->cw, kind, &v, mem) & ~C1, C1) & IE))
        push(f, v);
}

static void load80(X86Fpu *f, X86FpReg v)
{
    if (!is_empty(f, 7)) {
        if (stack_fault(f, true))
            push(f, indefinite);
        return;
    }
    f->sw &= (uint16_t)~C1;
    push(f, v);
}

static uint32_t store(X86Fpu *f, enum H87Kind kind, void *mem, size_t size, unsigned pops)
{
    uint8_t buf[16] = { 0 };
    unsigned unmasked;
    if (is_empty(f, 0)) {
        if (!stack_fault(f, false))
            return X86_X87_NO_STORE;
        h87_store(f->cw, kind, buf, &indefinite);
    } else {
        unmasked = finish(f, h87_store(f->cw, kind, buf, st(f, 0)), C1);
        if (unmasked & (IE | OE | UE))
            return X86_X87_NO_STORE;
    }
    memcpy(mem, buf, size);
    pop(f, pops);
    return 0;
}

static uint32_t store80(X86Fpu *f, void *mem)
{
    X86FpReg v = *st(f, 0);
    if (is_empty(f, 0)) {
        if (!stack_fault(f, false))
            return X86_X87_NO_STORE;
        v = indefinite;
    } else {
        f->sw &= (uint16_t)~C1;
    }
    memcpy(mem, &v.mant, 8);
    memcpy((uint8_t *)mem + 8, &v.se, 2);
    pop(f, 1);
    return 0;
}

/* ST(dst) = ST(dst) op ST(src) */
static void arith(X86Fpu *f, unsigned op, unsigned dst, unsigned src, unsigned pops)
{
    X86FpReg res;
    if (is_empty(f, dst) || is_empty(f, src)) {
        if (!stack_fault(f, false))
            return;
        res = indefinite;
    } else if (finish(f, h87_arith(f->cw, op, &res, st(f, dst), st(f, src)), C1) & BEFORE) {
        return;
    }
    set_st(f, dst, res);
    pop(f, pops);
}

static void set_compare(X86Fpu *f, unsigned sw, unsigned pops)
{
    if (!(finish(f, sw & ~C1, ALL_CC) & BEFORE))
        pop(f, pops);
}

static void compare(X86Fpu *f, bool quiet, unsigned i, unsigned pops)
{
    if (is_empty(f, 0) || is_empty(f, i))
        set_compare(f, IE | SF | C0 | C2 | C3, pops);
    else
        set_compare(f, h87_compare(f->cw, quiet, st(f, 0), st(f, i)), pops);
}

/* The result in EFLAGS; C1 is only touched by a stack fault. */
static uint32_t compare_eflags(X86Fpu *f, bool quiet, unsigned i, unsigned pops)
{
    unsigned sw = IE | SF | C0 | C2 | C3;
    if (!is_empty(f, 0) && !is_empty(f, i))
        sw = h87_compare(f->cw, quiet, st(f, 0), st(f, i));
    else
        f->sw &= (uint16_t)~C1;
    if (!(finish(f, sw, 0) & BEFORE))
        pop(f, pops);
    return (sw & C3 ? 0x40 : 0) | (sw & C2 ? 4 : 0) | (sw & C0 ? 1 : 0);
}

static void arith_mem(X86Fpu *f, unsigned op, enum H87Kind kind, const void *mem)
{
    X86FpReg res;
    unsigned sw;
    bool is_compare = op == 2 || op == 3;
    if (is_empty(f, 0)) {
        if (is_compare)
            set_compare(f, IE | SF | C0 | C2 | C3, op == 3);
        else if (stack_fault(f, false))
            set_st(f, 0, indefinite);
        return;
    }
    sw = h87_arith_mem(f->cw, is_compare ? 2 : op, kind, &res, st(f, 0), mem);
    if (is_compare)
        set_compare(f, sw, op == 3);
    else if (!(finish(f, sw, C1) & BEFORE))
        set_st(f, 0, res);
}

static void examine(X86Fpu *f)
{
    const X86FpReg *r = st(f, 0);
    unsigned exp = r->se & 0x7fff, cc;
    if (is_empty(f, 0))
        cc = C3 | C0;
    else if (!exp)
        cc = r->mant ? C3 | C2 : C3;
    else if (!(r->mant >> 63))
        cc = 0; /* unsupported */
    else if (exp == 0x7fff)
        cc = r->mant << 1 ? C0 : C2 | C0;
    else
        cc = C2;
    f->sw = (uint16_t)((f->sw & ~ALL_CC) | cc | (r->se & 0x8000 ? C1 : 0));
}

static void exchange(X86Fpu *f, unsigned i)
{
    if (is_empty(f, 0) || is_empty(f, i)) {
        if (!stack_fault(f, false))
            return;
        if (is_empty(f, 0))
            set_st(f, 0, indefinite);
        if (is_empty(f, i))
            set_st(f, i, indefinite);
    } else {
        f->sw &= (uint16_t)~C1;
    }
    X86FpReg t = *st(f, 0);
    *st(f, 0) = *st(f, i);
    *st(f, i) = t;
}

/* FST, FCMOVcc: a copy raises nothing but a stack fault. */
static void copy(X86Fpu *f, unsigned dst, unsigned src, unsigned pops)
{
    X86FpReg v = *st(f, src);
    if (is_empty(f, src)) {
        if (!stack_fault(f, false))
            return;
        v = indefinite;
    } else {
        f->sw &= (uint16_t)~C1;
    }
    set_st(f, dst, v);
    pop(f, pops);
}

/* D9 D8: an undocumented FSTP to which an empty ST0 is nothing wrong. */
static void copy_tagged(X86Fpu *f, unsigned dst)
{
    f->sw &= (uint16_t)~C1;
    if (!is_empty(f, 0))
        set_st(f, dst, *st(f, 0));
    pop(f, 1);
}

static void cmov(X86Fpu *f, bool condition, unsigned i)
{
    if (is_empty(f, 0) || is_empty(f, i)) {
        if (stack_fault(f, false)) /* whatever the condition */
            set_st(f, 0, indefinite);
    } else if (condition) {
        set_st(f, 0, *st(f, i));
    }
}

static bool condition(unsigned opcode, unsigned reg, uint32_t eflags)
{
    static const uint8_t bits[4] = { 1, 0x40, 0x41, 4 };
    return !(eflags & bits[reg & 3]) == (opcode == 0xdb);
}

static void unary(X86Fpu *f, unsigned op)
{
    X86FpReg res = indefinite;
    /* Only the trigonometric ones report an operand out of range. */
    unsigned cc = op == 0xfe || op == 0xff ? C1 | C2 : C1;
    if (is_empty(f, 0)) {
        f->sw &= (uint16_t)~cc;
        if (stack_fault(f, false))
            set_st(f, 0, res);
        return;
    }
    if (!(finish(f, h87_unary(f->cw, op, &res, st(f, 0)), cc) & BEFORE))
        set_st(f, 0, res);
}

/* FPTAN, FXTRACT, FSINCOS */
static void unary_push(X86Fpu *f, unsigned op)
{
    X86FpReg first = indefinite, second = indefinite;
    unsigned cc = op == 0xf4 ? C1 : C1 | C2;
    if (is_empty(f, 0) || !is_empty(f, 7)) {
        f->sw &= (uint16_t)~cc;
        if (!stack_fault(f, !is_empty(f, 0)))
            return;
    } else {
        unsigned sw = h87_two(f->cw, op, &second, &first, st(f, 0));
        /* FXTRACT of zero: the unmasked exception stops it like all that are found before. */
        if (finish(f, sw, cc) & BEFORE || (sw & cc & C2))
            return;
    }
    set_st(f, 0, first);
    push(f, second);
}

static bool is_nan(const X86FpReg *r)
{
    return (r->se & 0x7fff) == 0x7fff && r->mant << 1;
}

/* dst is the one that gets the result, 0 (FPREM, FSCALE) or 1 (which then becomes ST0). */
static void binary(X86Fpu *f, unsigned op, unsigned dst, unsigned cc)
{
    X86FpReg res = indefinite;
    if (is_empty(f, 0) || is_empty(f, 1)) {
        f->sw &= (uint16_t)~(cc & C2);
        if (!stack_fault(f, false))
            return;
    } else {
        unsigned sw = h87_binary(f->cw, op, &res, st(f, 0), st(f, 1));
        if ((sw & BEFORE & ~f->cw) || is_nan(&res))
            cc &= C1 | C2; /* there is no quotient */
        if (finish(f, sw, cc) & BEFORE)
            return;
    }
    set_st(f, dst, res);
    pop(f, dst);
}

static void constant(X86Fpu *f, unsigned op)
{
    X86FpReg v;
    h87_const(f->cw, op, &v);
    load80(f, v);
}

/* D9 E0..FF */
static void execute_d9(X86Fpu *f, unsigned modrm)
{
    switch (modrm) {
    case 0xe0: /* FCHS */
    case 0xe1: /* FABS */
        if (is_empty(f, 0)) {
            if (stack_fault(f, false))
                set_st(f, 0, indefinite);
            return;
        }
        f->sw &= (uint16_t)~C1;
        st(f, 0)->se = modrm == 0xe0 ? st(f, 0)->se ^ 0x8000 : st(f, 0)->se & 0x7fff;
        return;
    case 0xe4: { /* FTST */
        X86FpReg res;
        set_compare(f, is_empty(f, 0) ? IE | SF | C0 | C2 | C3
                                      : h87_unary(f->cw, 0xe4, &res, st(f, 0)), 0);
        return;
    }
    case 0xe5:
        examine(f);
        return;
    case 0xe8: case 0xe9: case 0xea: case 0xeb: case 0xec: case 0xed: case 0xee:
        constant(f, modrm);
        return;
    case 0xf0: case 0xfa: case 0xfc: case 0xfe: case 0xff:
        unary(f, modrm);
        return;
    case 0xf2: case 0xf4: case 0xfb:
        unary_push(f, modrm);
        return;
    case 0xf1: case 0xf3: case 0xf9:
        binary(f, modrm, 1, C1);
        return;
    case 0xf5: case 0xf8:
        binary(f, modrm, 0, ALL_CC);
        return;
    case 0xfd:
        binary(f, modrm, 0, C1);
        return;
    case 0xf6: /* FDECSTP */
    case 0xf7: /* FINCSTP */
        f->sw &= (uint16_t)~C1;
        set_top(f, modrm == 0xf6 ? top(f) - 1 : top(f) + 1);
        return;
    }
}

/* DB E0..E4 */
static void execute_control(X86Fpu *f, unsigned modrm)
{
    if (modrm == 0xe2) { /* FNCLEX */
        f->sw &= 0x7f00;
    } else if (modrm == 0xe3) { /* FNINIT */
        x86_fpu_fninit(f);
    }
}

static uint32_t execute_reg(X86Fpu *f, unsigned opcode, unsigned modrm, void *mem, uint32_t eflags)
{
    unsigned reg = modrm >> 3 & 7, i = modrm & 7;
    switch (opcode) {
    case 0xd8:
        if (reg == 2 || reg == 3)
            compare(f, false, i, reg == 3);
        else
            arith(f, reg, 0, i, 0);
        return 0;
    case 0xd9:
        if (reg == 0) {
            if (is_empty(f, i)) {
                if (stack_fault(f, false))
                    push(f, indefinite);
            } else {
                load80(f, *st(f, i));
            }
        } else if (reg == 1) {
            exchange(f, i);
        } else if (reg == 3) {
            copy_tagged(f, i);
        } else if (reg >= 4) {
            execute_d9(f, modrm);
        }
        return 0;
    case 0xda:
        if (modrm == 0xe9)
            compare(f, true, 1, 2);
        else
            cmov(f, condition(opcode, reg, eflags), i);
        return 0;
    case 0xdb:
        if (reg == 4)
            execute_control(f, modrm);
        else if (reg == 5 || reg == 6)
            return compare_eflags(f, reg == 5, i, 0);
        else
            cmov(f, condition(opcode, reg, eflags), i);
        return 0;
    case 0xdc:
    case 0xde: {
        unsigned pops = opcode == 0xde;
        if (opcode == 0xde && modrm == 0xd9)
            compare(f, false, 1, 2);
        else if (reg == 2 || reg == 3)
            compare(f, false, i, opcode == 0xde || reg == 3);
        else
            arith(f, reg < 4 ? reg : reg ^ 1, i, 0, pops);
        return 0;
    }
    case 0xdd:
        if (reg == 0) {
            free_st(f, i);
            f->sw &= (uint16_t)~C1;
        } else if (reg == 1) {
            exchange(f, i);
        } else if (reg <= 3) {
            copy(f, i, 0, reg == 3);
        } else {
            compare(f, true, i, reg == 5);
        }
        return 0;
    case 0xdf:
        if (reg == 0) { /* FFREEP */
            free_st(f, i);
            f->sw &= (uint16_t)~C1;
            pop(f, 1);
        } else if (reg == 1) {
            exchange(f, i);
        } else if (reg <= 3) {
            copy(f, i, 0, 1);
        } else if (reg == 4) {
            memcpy(mem, &f->sw, 2);
        } else {
            return compare_eflags(f, reg == 5, i, 1);
        }
        return 0;
    }
    return 0;
}

static uint32_t execute_mem(X86Fpu *f, unsigned opcode, unsigned reg, void *mem, unsigned mode)
{
    static const uint8_t kinds[4] = { H87_F32, H87_I32, H87_F64, H87_I16 };
    static const uint8_t truncs[4] = { H87_T32, H87_T32, H87_T64, H87_T16 };
    static const uint8_t sizes[4] = { 4, 4, 8, 2 };
    unsigned format = opcode >> 1 & 3;
    X86FpReg v;

    if (!(opcode & 1)) {
        arith_mem(f, reg, kinds[format], mem);
        return 0;
    }
    switch (reg) {
    case 0:
        load(f, kinds[format], mem);
        return 0;
    case 1:
        return store(f, truncs[format], mem, sizes[format], 1);
    case 2:
    case 3:
        return store(f, kinds[format], mem, sizes[format], reg == 3);
    }
    switch (opcode << 4 | reg) {
    case 0xd94:
        x87_load_env(f, mem, mode);
        break;
    case 0xd95:
        memcpy(&f->cw, mem, 2);
        f->cw = (f->cw & 0x1f7f) | 0x40;
        break;
    case 0xd96:
        x87_store_env(f, mem, mode);
        f->cw |= 0x3f;
        break;
    case 0xd97:
        memcpy(mem, &f->cw, 2);
        return 0;
    case 0xdb5:
        memcpy(&v.mant, mem, 8);
        memcpy(&v.se, (uint8_t *)mem + 8, 2);
        load80(f, v);
        return 0;
    case 0xdb7:
        return store80(f, mem);
    case 0xdd4:
        x87_load_all(f, mem, mode);
        break;
    case 0xdd6:
        x87_store_all(f, mem, mode);
        x86_fpu_fninit(f);
        return 0;
    case 0xdd7:
        memcpy(mem, &f->sw, 2);
        return 0;
    case 0xdf4:
        load(f, H87_BCD, mem);
        return 0;
    case 0xdf5:
        load(f, H87_I64, mem);
        return 0;
    case 0xdf6:
        return store(f, H87_BCD, mem, 10, 1);
    case 0xdf7:
        return store(f, H87_I64, mem, 8, 1);
    }
    update_es(f); /* the control word or the flags came from memory */
    return 0;
}

uint32_t x86_x87_execute(X86Fpu *f, uint8_t opcode, uint8_t modrm, void *mem, unsigned mode,
                         uint32_t eflags)
{
    if (modrm >= 0xc0)
        return execute_reg(f, opcode, modrm, mem, eflags);
    return execute_mem(f, opcode, modrm >> 3 & 7, mem, mode);
}
