/*
 * x86 instruction bytes to ops: SDM volume 2, appendix A.
 *
 * One pass, an instruction at a time, until the block ends.  What is common
 * becomes an inline op, what is rare a call of a helper.  The decoder reads
 * nothing but the bytes and the mode key, so that a block is true for as long
 * as both stay.  peephole.c then improves the block as a whole.
 */
#include "avx.h"
#include "helpers.h"
#include "ops.h"

#define OFF(reg) ((uint8_t)((reg)*8))

typedef struct Decoder {
    X86Cpu *c;
    InterpBlock *b;
    const uint8_t *bytes;
    unsigned avail, pos; /* bytes from the block's start */
    unsigned start;      /* of the instruction */
    unsigned ops, first; /* count; first op of the instruction */
    unsigned insns;
    bool overrun, bad, end, use_riprel;
    bool m64, prot, flat;
    uint8_t code_size; /* KEY_CODE16.. */
    /* prefixes */
    uint8_t rex, os, as; /* sizes as log2 of bytes */
    bool lock, opsize;
    uint8_t rep; /* 0, 0xf3, 0xf2 */
    int8_t seg;  /* override or -1 */
    /* ModRM */
    uint8_t modrm, mod, reg, rm;
    uint8_t base, index, scale, mseg;
    bool riprel;
    int64_t disp;
    /* effective operand as ops take it */
    uint8_t eb, ei, es;
    int32_t ed;
} Decoder;

static uint8_t fetch8(Decoder *d)
{
    if (d->pos >= d->avail) {
        d->overrun = true;
        return 0;
    }
    return d->bytes[d->pos++];
}
static uint16_t fetch16(Decoder *d)
{
    uint16_t v = fetch8(d);
    return (uint16_t)(v | fetch8(d) << 8);
}
static uint32_t fetch32(Decoder *d)
{
    uint32_t v = fetch16(d);
    return v | (uint32_t)fetch16(d) << 16;
}
static uint64_t fetch64(Decoder *d)
{
    uint64_t v = fetch32(d);
    return v | (uint64_t)fetch32(d) << 32;
}
/* Immediate of operand size (at most 32 bits), sign-extended. */
static int64_t fetch_iz(Decoder *d, unsigned size)
{
    return size == 0 ? (int8_t)fetch8(d) : size == 1 ? (int16_t)fetch16(d) : (int32_t)fetch32(d);
}

static InterpOp *emit(Decoder *d, unsigned code)
{
    InterpOp *op = &d->b->ops[d->ops++];
    memset(op, 0, sizeof *op);
    op->code = (uint16_t)code;
    op->pc = (uint16_t)d->start;
    op->index = (uint8_t)d->insns;
    op->b = op->i = op->d = op->s = OFF(REG_ZERO);
    return op;
}

static InterpOp *emit_ri(Decoder *d, unsigned code, uint8_t dst, uint64_t imm)
{
    InterpOp *op = emit(d, code);
    op->d = op->b = dst;
    op->imm = imm;
    return op;
}

static InterpOp *emit_rr(Decoder *d, unsigned code, uint8_t dst, uint8_t src)
{
    InterpOp *op = emit(d, code);
    op->d = op->b = dst;
    op->s = src;
    return op;
}

static InterpOp *emit_helper(Decoder *d, X86Helper *fn, unsigned size)
{
    InterpOp *op = emit(d, OP_HELPER);
    op->fn = (void *)fn;
    op->x = (uint8_t)size;
    return op;
}

static InterpOp *emit_helper_end(Decoder *d, X86Helper *fn, unsigned size)
{
    InterpOp *op = emit_helper(d, fn, size);
    op->code = OP_HELPER_END;
    d->end = true;
    return op;
}

static InterpOp *emit_op2(Decoder *d, X86Op2 *fn, unsigned size, uint8_t dst, uint8_t src)
{
    InterpOp *op = emit_rr(d, OP_CALL2, dst, src);
    op->fn = (void *)fn;
    op->x = (uint8_t)size;
    return op;
}

static void undefined(Decoder *d)
{
    d->bad = true;
}

/* ---- registers and ModRM ------------------------------------------------------------------ */

static uint8_t reg8(const Decoder *d, unsigned n)
{
    return n >= 4 && n < 8 && !d->rex ? (uint8_t)(OFF(n - 4) + 1) : OFF(n);
}

static uint8_t reg_off(const Decoder *d, unsigned n, unsigned size)
{
    return size == 0 ? reg8(d, n) : OFF(n);
}

static uint8_t g(const Decoder *d, unsigned size) { return reg_off(d, d->reg, size); }
static uint8_t e(const Decoder *d, unsigned size) { return reg_off(d, d->rm, size); }

static void modrm16(Decoder *d)
{
    static const uint8_t bases[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const uint8_t indexes[8] = {RSI, RDI, RSI, RDI, REG_ZERO, REG_ZERO, REG_ZERO, REG_ZERO};
    unsigned rm = d->modrm & 7;
    d->base = bases[rm];
    d->index = indexes[rm];
    if (d->mod == 0 && rm == 6) {
        d->base = REG_ZERO;
        d->disp = fetch16(d);
    } else if (d->mod == 1) {
        d->disp = (int8_t)fetch8(d);
    } else if (d->mod == 2) {
        d->disp = (int16_t)fetch16(d);
    }
    if (d->base == RBP)
        d->mseg = VMR_X86_SS;
}

static void modrm(Decoder *d)
{
    d->modrm = fetch8(d);
    d->mod = d->modrm >> 6;
    d->reg = (uint8_t)((d->modrm >> 3 & 7) | (d->rex & 4) << 1);
    d->rm = (uint8_t)((d->modrm & 7) | (d->rex & 1) << 3);
    if (d->mod == 3)
        return;
    d->base = d->index = REG_ZERO;
    d->scale = 0;
    d->disp = 0;
    d->riprel = false;
    d->mseg = VMR_X86_DS;
    if (d->as == 1) {
        modrm16(d);
    } else {
        unsigned rm = d->modrm & 7;
        if (rm == 4) {
            uint8_t sib = fetch8(d);
            unsigned index = (sib >> 3 & 7) | (d->rex & 2) << 2;
            d->scale = sib >> 6;
            if (index != 4)
                d->index = (uint8_t)index;
            if ((sib & 7) == 5 && d->mod == 0)
                d->disp = (int32_t)fetch32(d);
            else
                d->base = (uint8_t)((sib & 7) | (d->rex & 1) << 3);
        } else if (rm == 5 && d->mod == 0) {
            d->disp = (int32_t)fetch32(d);
            if (d->m64) {
                d->base = REG_PC;
                d->riprel = true;
            }
        } else {
            d->base = d->rm;
        }
        if (d->mod == 1)
            d->disp = (int8_t)fetch8(d);
        else if (d->mod == 2)
            d->disp = (int32_t)fetch32(d);
        if (d->base == RSP || d->base == RBP)
            d->mseg = VMR_X86_SS;
    }
    if (d->seg >= 0)
        d->mseg = (uint8_t)d->seg;
}

static void put_address(Decoder *d, InterpOp *op)
{
    op->b = OFF(d->base);
    op->i = OFF(d->index);
    op->scale = d->scale;
    op->disp = (int32_t)d->disp;
    if (d->riprel)
        d->use_riprel = true;
}

/* Make the memory operand one that ops take (eb, ei, es, ed), by an AGEN op where it is not. */
static void operand(Decoder *d, unsigned bytes, bool write)
{
    bool plain = false;
    InterpOp *op;
    if (d->m64) {
        bool fsgs = d->mseg >= VMR_X86_FS;
        uint8_t segbase = fsgs ? (uint8_t)(REG_BASE_ES + d->mseg) : REG_ZERO;
        if (d->as == 3 && (!fsgs || d->index == REG_ZERO)) {
            d->eb = OFF(d->base);
            d->ei = OFF(fsgs ? segbase : d->index);
            d->es = fsgs ? 0 : d->scale;
            d->ed = (int32_t)d->disp;
            if (d->riprel)
                d->use_riprel = true;
            return;
        }
        op = emit(d, d->as == 3 ? OP_AGEN : OP_AGEN32);
        op->s = OFF(segbase);
        plain = true;
    } else if (d->flat && d->as == 2 && d->mseg < VMR_X86_FS && d->mseg != VMR_X86_CS) {
        op = emit(d, OP_AGEN32);
        plain = true;
    } else {
        op = emit(d, OP_AGEN_SEG);
    }
    put_address(d, op);
    if (!plain) {
        op->x = d->mseg;
        op->imm = bytes | (unsigned)write << 8 | (d->as == 1 ? 0xffffull : 0xffffffffull) << 16;
    }
    d->eb = OFF(REG_T0);
    d->ei = OFF(REG_ZERO);
    d->es = 0;
    d->ed = 0;
}

/* A memory op on the operand that operand() made. */
static InterpOp *emit_mem(Decoder *d, unsigned code, uint8_t dst, uint8_t src)
{
    InterpOp *op = emit_rr(d, code, dst, src);
    op->b = d->eb;
    op->i = d->ei;
    op->scale = d->es;
    op->disp = d->ed;
    return op;
}

/* The linear address in T0, for helpers. */
static void address(Decoder *d, unsigned bytes, bool write)
{
    operand(d, bytes, write);
    if (d->eb == OFF(REG_T0))
        return;
    emit_mem(d, OP_AGEN, OFF(REG_T0), OFF(REG_ZERO));
}

/* E as a value in a register: its own, or T1 loaded from memory. */
static uint8_t load_e(Decoder *d, unsigned size)
{
    if (d->mod == 3)
        return e(d, size);
    operand(d, 1u << size, false);
    emit_mem(d, OP_LD8 + size, OFF(REG_T1), OFF(REG_ZERO));
    return OFF(REG_T1);
}

/* E for read, modify, write: ops between work on the register that comes back. */
static uint8_t rmw_begin(Decoder *d, unsigned size)
{
    if (d->mod == 3)
        return e(d, size);
    operand(d, 1u << size, true);
    emit_mem(d, OP_LDW8 + size, OFF(REG_T1), OFF(REG_ZERO));
    return OFF(REG_T1);
}

static void rmw_end(Decoder *d, unsigned size)
{
    if (d->mod != 3)
        emit_mem(d, OP_ST8 + size, OFF(REG_ZERO), OFF(REG_T1));
}

/* A helper with an E operand of `bytes`, in memory or a register. */
static InterpOp *helper_e(Decoder *d, X86Helper *fn, unsigned size, unsigned bytes, bool write)
{
    bool mem = d->mod != 3;
    if (mem)
        address(d, bytes, write);
    InterpOp *op = emit_helper(d, fn, size);
    op->d = g(d, size);
    op->s = mem ? OFF(REG_T1) : e(d, size);
    op->scale = mem;
    return op;
}

static void as_end(Decoder *d, InterpOp *op)
{
    op->code = OP_HELPER_END;
    d->end = true;
}

/* LOCK_RMW on E in memory. */
static InterpOp *locked(Decoder *d, unsigned size, unsigned kind, uint8_t src)
{
    operand(d, 1u << size, true);
    InterpOp *op = emit_mem(d, OP_LOCK_RMW, (uint8_t)size, src);
    op->x = (uint8_t)kind;
    d->lock = false; /* taken note of */
    return op;
}

/* ---- groups of instructions ----------------------------------------------------------------- */

enum { F_RR, F_RI, F_RM, F_MR, F_MI };
#define ALU_OP(kind, form, size)                                                                   \
    (OP_ADD_RR8 + (kind) * (OP_OR_RR8 - OP_ADD_RR8) + (form)*4 + (size))

/* kind 0..7: ADD OR ADC SBB AND SUB XOR CMP */
static void alu_e_g(Decoder *d, unsigned kind, unsigned size)
{
    modrm(d);
    if (d->mod == 3) {
        emit_rr(d, ALU_OP(kind, F_RR, size), e(d, size), g(d, size));
    } else if (d->lock && kind != 7) {
        locked(d, size, LOCK_ALU + kind, g(d, size));
    } else {
        operand(d, 1u << size, kind != 7);
        emit_mem(d, ALU_OP(kind, F_MR, size), OFF(REG_ZERO), g(d, size));
    }
}

static void alu_g_e(Decoder *d, unsigned kind, unsigned size)
{
    modrm(d);
    if (d->mod == 3) {
        emit_rr(d, ALU_OP(kind, F_RR, size), g(d, size), e(d, size));
    } else {
        operand(d, 1u << size, false);
        emit_mem(d, ALU_OP(kind, F_RM, size), g(d, size), OFF(REG_ZERO));
    }
}

static void alu_e_imm(Decoder *d, unsigned size, bool imm8)
{
    modrm(d);
    unsigned kind = d->modrm >> 3 & 7;
    int64_t imm = imm8 ? (int8_t)fetch8(d) : fetch_iz(d, size);
    if (d->mod == 3) {
        emit_ri(d, ALU_OP(kind, F_RI, size), e(d, size), (uint64_t)imm);
    } else if (d->lock && kind != 7) {
        locked(d, size, (LOCK_ALU + kind) | LOCK_IMM, OFF(REG_ZERO))->imm = (uint64_t)imm;
    } else {
        operand(d, 1u << size, kind != 7);
        emit_mem(d, ALU_OP(kind, F_MI, size), OFF(REG_ZERO), OFF(REG_ZERO))->imm = (uint64_t)imm;
    }
}

/* C0, C1, D0..D3.  count: -1 CL, else the immediate. */
static void shift(Decoder *d, unsigned size, int count)
{
    static X86Op2 *const rotates[4] = {x86_op2_rol, x86_op2_ror, x86_op2_rcl, x86_op2_rcr};
    unsigned kind = d->modrm >> 3 & 7;
    uint8_t r = rmw_begin(d, size);
    if (count >= 0)
        count &= size == 3 ? 63 : 31;
    if (kind < 4) {
        InterpOp *op = emit_op2(d, rotates[kind], size, r, OFF(RCX));
        op->disp = count;
    } else if (count == 0) {
        if (size == 2)
            emit_rr(d, OP_MOV_RR32, r, r);
        else
            emit(d, OP_NOP); /* no instruction is without ops */
    } else {
        unsigned code = kind == 5 ? OP_SHR_I8 : kind == 7 ? OP_SAR_I8 : OP_SHL_I8;
        if (count < 0)
            code += OP_SHL_C8 - OP_SHL_I8;
        emit_ri(d, code + size, r, (uint64_t)count);
    }
    rmw_end(d, size);
}

static unsigned stack_size(const Decoder *d)
{
    return d->m64 ? (d->opsize ? 1 : 3) : d->os;
}

static bool stack_flat32(const Decoder *d)
{
    return d->flat && (d->c->key & KEY_SS32);
}

static void push_reg(Decoder *d, uint8_t r)
{
    unsigned size = stack_size(d);
    if (d->m64 && size == 3)
        emit_rr(d, OP_PUSH64_R, OFF(REG_ZERO), r);
    else if (!d->m64 && size == 2 && stack_flat32(d))
        emit_rr(d, OP_PUSH32_R, OFF(REG_ZERO), r);
    else
        emit_helper(d, x86_h_push, size)->s = r;
}

static void push_imm(Decoder *d, int64_t imm)
{
    unsigned size = stack_size(d);
    if (d->m64 && size == 3) {
        emit_ri(d, OP_PUSH64_I, OFF(REG_ZERO), (uint64_t)imm);
    } else if (!d->m64 && size == 2 && stack_flat32(d)) {
        emit_ri(d, OP_PUSH32_I, OFF(REG_ZERO), (uint64_t)imm);
    } else {
        emit_ri(d, OP_MOV_RI64, OFF(REG_T1), (uint64_t)imm);
        emit_helper(d, x86_h_push, size)->s = OFF(REG_T1);
    }
}

static void pop_reg(Decoder *d, uint8_t r)
{
    unsigned size = stack_size(d);
    if (d->m64 && size == 3)
        emit_rr(d, OP_POP64_R, r, OFF(REG_ZERO));
    else if (!d->m64 && size == 2 && stack_flat32(d))
        emit_rr(d, OP_POP32_R, r, OFF(REG_ZERO));
    else
        emit_helper(d, x86_h_pop, size)->d = r;
}

/* Is a relative branch the plain kind, which the inline ops do? */
static bool plain_branch(const Decoder *d)
{
    return d->m64 || (d->code_size == KEY_CODE32 ? d->os == 2 : d->os == 1);
}

static void jump_rel(Decoder *d, int64_t rel)
{
    d->end = true;
    if (plain_branch(d))
        emit(d, OP_JMP)->imm = d->pos + (uint64_t)rel;
    else
        emit_helper_end(d, x86_h_jmp_near, d->os)->disp = (int32_t)rel;
}

static void jcc(Decoder *d, unsigned cond, int64_t rel)
{
    if (d->overrun)
        return; /* the compare before must not be touched */
    d->end = true;
    int64_t to = (int64_t)d->pos + rel;
    if (!plain_branch(d) || to != (int32_t)to) {
        InterpOp *op = emit_helper_end(d, x86_h_jcc_far, d->os);
        op->disp = (int32_t)rel;
        op->d = (uint8_t)cond;
        return;
    }
    InterpOp *op = d->ops ? &d->b->ops[d->ops - 1] : NULL;
    unsigned code = op ? op->code : 0;
    /* Fuse with a compare of registers or an immediate right before. */
    if (op && code >= OP_CMP_RR8 && code <= OP_CMP_RR64)
        code = OP_CMPJ_RR8_O + (code - OP_CMP_RR8) * 16 + cond;
    else if (op && code >= OP_CMP_RI8 && code <= OP_CMP_RI64)
        code = OP_CMPJ_RI8_O + (code - OP_CMP_RI8) * 16 + cond;
    else if (op && code >= OP_TEST_RR8 && code <= OP_TEST_RR64)
        code = OP_TESTJ_RR8_O + (code - OP_TEST_RR8) * 16 + cond;
    else
        code = 0;
    if (code) {
        op->code = (uint16_t)code;
    } else {
        op = emit(d, OP_JCC_O + cond);
    }
    op->disp = (int32_t)to;
    op->b = (uint8_t)d->pos;
    op->i = (uint8_t)(d->pos >> 8);
}

static void call_rel(Decoder *d, int64_t rel)
{
    d->end = true;
    if (d->m64)
        emit(d, OP_CALL64)->imm = d->pos + (uint64_t)rel;
    else if (d->code_size == KEY_CODE32 && d->os == 2 && stack_flat32(d))
        emit(d, OP_CALL32)->imm = d->pos + (uint64_t)rel;
    else
        emit_helper_end(d, x86_h_call_near, d->os)->disp = (int32_t)rel;
}

static void ret_near(Decoder *d, unsigned pop)
{
    d->end = true;
    if (d->m64) /* 66 is ignored, as in all near branches (AMD: a 16-bit target) */
        emit(d, OP_RET64)->imm = pop;
    else if (d->code_size == KEY_CODE32 && d->os == 2 && stack_flat32(d))
        emit(d, OP_RET32)->imm = pop;
    else
        emit_helper_end(d, x86_h_ret_near, d->os)->disp = (int32_t)pop;
}

static void string_op(Decoder *d, X86Helper *fn, unsigned size)
{
    /* d: segment of the source, s: address size, scale: repeat prefix */
    InterpOp *op = emit_helper_end(d, fn, size);
    op->d = (uint8_t)(d->seg >= 0 ? d->seg : VMR_X86_DS);
    op->s = d->as;
    op->scale = d->rep == 0xf3 ? 1 : d->rep == 0xf2 ? 2 : 0;
    if (!op->scale) {
        op->code = OP_HELPER;
        d->end = false;
    }
}

static void cond_move(Decoder *d, unsigned cond)
{
    modrm(d);
    uint8_t src = load_e(d, d->os);
    unsigned code = d->os == 1 ? OP_CMOV16 : (d->os == 2 ? OP_CMOV32_O : OP_CMOV64_O) + cond;
    emit_rr(d, code, g(d, d->os), src)->x = (uint8_t)cond;
}

/* BT family with the bit offset in a register or an immediate. */
static void bit_test(Decoder *d, unsigned kind, bool imm)
{
    static X86Op2 *const fns[4] = {x86_op2_bt, x86_op2_bts, x86_op2_btr, x86_op2_btc};
    unsigned size = d->os;
    int n = imm ? fetch8(d) : -1;
    if (d->mod == 3) {
        uint8_t r = e(d, size);
        if (kind == 0) { /* BT leaves its operand alone, the upper half too */
            emit_rr(d, OP_MOV_RR64, OFF(REG_T2), r);
            r = OFF(REG_T2);
        }
        emit_op2(d, fns[kind], size, r, g(d, size))->disp = n;
    } else if (!imm) {
        /* the offset moves the address: a helper does all of it */
        operand(d, 1, false);
        if (d->eb != OFF(REG_T0))
            emit_mem(d, OP_AGEN, OFF(REG_T0), OFF(REG_ZERO));
        InterpOp *op = emit_helper(d, x86_h_bt_mem, size);
        op->d = (uint8_t)kind;
        op->s = g(d, size);
        d->lock = false;
    } else if (d->lock && kind) {
        locked(d, size, (LOCK_BTS + kind - 1) | LOCK_IMM, OFF(REG_ZERO))->imm = (unsigned)n;
    } else if (kind == 0) {
        uint8_t r = load_e(d, size);
        emit_op2(d, fns[0], size, r, OFF(REG_ZERO))->disp = n;
    } else {
        uint8_t r = rmw_begin(d, size);
        emit_op2(d, fns[kind], size, r, OFF(REG_ZERO))->disp = n;
        rmw_end(d, size);
    }
}

static bool fp_off(Decoder *d, bool x87)
{
    if (d->c->key & (x87 ? KEY_NM : KEY_NM | KEY_NOSSE)) {
        emit_helper_end(d, x86_h_nm, x87);
        return true;
    }
    return false;
}

/* The op for an SSE instruction that has a fast form (exec-sse.inc), or the general one. */
static unsigned sse_fast(const Decoder *d, unsigned prefix, uint8_t opcode, const X86SseInsn *insn)
{
    enum { NP = 0, P66 = 0x100, F3 = 0x200, F2 = 0x300 };
    bool mem = d->mod != 3, wide = d->rex & 8, store = insn->flags & X86_SSE_STORE;
    unsigned general = !mem ? OP_SSE_RR : store ? OP_SSE_MR : OP_SSE_RM;
    if (insn->flags & X86_SSE_MMX)
        return general;
#define FORM(name) return mem ? OP_SSE_##name##_RM : OP_SSE_##name##_RR
#define FOUR(code, name)                                                                           \
    case NP | (code): FORM(name##PS);                                                              \
    case P66 | (code): FORM(name##PD);                                                             \
    case F3 | (code): FORM(name##SS);                                                              \
    case F2 | (code): FORM(name##SD);
    switch (prefix << 8 | opcode) {
    case NP | 0x10: case P66 | 0x10: case NP | 0x28: case P66 | 0x28: case P66 | 0x6f: case F3 | 0x6f:
        return mem ? OP_SSE_LD128 : OP_SSE_MOV_RR;
    case F2 | 0xf0:
        return mem ? OP_SSE_LD128 : general;
    case NP | 0x11: case P66 | 0x11: case NP | 0x29: case P66 | 0x29: case P66 | 0x7f: case F3 | 0x7f:
    case NP | 0x2b: case P66 | 0x2b: case P66 | 0xe7:
        return mem ? OP_SSE_ST128 : general;
    case F3 | 0x10: return mem ? OP_SSE_LD32 : OP_SSE_MOVSS_RR;
    case F2 | 0x10: return mem ? OP_SSE_LD64 : OP_SSE_MOVSD_RR;
    case F3 | 0x11: return mem ? OP_SSE_ST32 : general;
    case F2 | 0x11: return mem ? OP_SSE_ST64 : general;
    case F3 | 0x7e: return mem ? OP_SSE_LD64 : OP_SSE_MOVQ_RR;
    case P66 | 0xd6: return mem ? OP_SSE_ST64 : general;
    case NP | 0x12: case P66 | 0x12: return mem ? OP_SSE_LDL : general;
    case NP | 0x13: case P66 | 0x13: return mem ? OP_SSE_ST64 : general;
    case NP | 0x16: case P66 | 0x16: return mem ? OP_SSE_LDH : general;
    case NP | 0x17: case P66 | 0x17: return mem ? OP_SSE_STH : general;
    case P66 | 0x6e: return mem ? (wide ? OP_SSE_LD64 : OP_SSE_LD32) : wide ? OP_SSE_FROM64 : OP_SSE_FROM32;
    case P66 | 0x7e: return mem ? (wide ? OP_SSE_ST64 : OP_SSE_ST32) : wide ? OP_SSE_TO64 : OP_SSE_TO32;
    case NP | 0x54: case P66 | 0x54: case P66 | 0xdb: if (!mem) return OP_SSE_AND_RR; break;
    case NP | 0x55: case P66 | 0x55: case P66 | 0xdf: if (!mem) return OP_SSE_ANDN_RR; break;
    case NP | 0x56: case P66 | 0x56: case P66 | 0xeb: if (!mem) return OP_SSE_OR_RR; break;
    case NP | 0x57: case P66 | 0x57: case P66 | 0xef: if (!mem) return OP_SSE_XOR_RR; break;
    FOUR(0x58, ADD)
    FOUR(0x59, MUL)
    FOUR(0x5c, SUB)
    case F3 | 0x5e: FORM(DIVSS);
    case F2 | 0x5e: FORM(DIVSD);
    case F2 | 0x51: return mem ? general : OP_SSE_SQRTSD_RR;
    case NP | 0x2e: case NP | 0x2f: FORM(COMISS);
    case P66 | 0x2e: case P66 | 0x2f: FORM(COMISD);
    case F2 | 0x2a: return mem || wide ? general : OP_SSE_CVTSI2SD_RR;
    case F2 | 0x2c: return mem || wide ? general : OP_SSE_CVTTSD2SI_RR;
    case F3 | 0x5a: return mem ? general : OP_SSE_CVTSS2SD_RR;
    case F2 | 0x5a: return mem ? general : OP_SSE_CVTSD2SS_RR;
    }
#undef FOUR
#undef FORM
    if (!store && insn->reg == X86_OPK_XMM && insn->rm == X86_OPK_XMM && (!mem || insn->mem_size == 16) &&
        !(insn->flags & (X86_SSE_EFLAGS | X86_SSE_PCMPSTR | X86_SSE_RES_CX | X86_SSE_FP)))
        return mem ? OP_SSE_PLAIN_RM : OP_SSE_PLAIN_RR;
    return general;
}

/* An instruction of the vector library; false: there is none. */
static bool sse(Decoder *d, unsigned map, uint8_t opcode)
{
    unsigned prefix = d->rep == 0xf3 ? 2 : d->rep == 0xf2 ? 3 : d->opsize ? 1 : 0;
    bool emms = map == 0 && opcode == 0x77;
    unsigned at = d->pos;
    uint8_t m = emms ? 0xc0 : fetch8(d);
    if (d->overrun)
        return true;
    const X86SseInsn *insn = x86_sse_lookup(map, prefix, opcode, m);
    if (!insn)
        return false;
    d->pos = at;
    if (emms) {
        d->mod = 3;
        d->reg = d->rm = 0;
    } else {
        modrm(d);
    }
    if (!x86_has(d->c, insn->feature))
        return false;
    uint8_t imm = insn->flags & X86_SSE_IMM8 ? fetch8(d) : 0;
    if (fp_off(d, insn->flags & X86_SSE_MMX))
        return true;
    InterpOp *op;
    if (insn->flags & X86_SSE_MASKMOV) {
        op = emit_helper(d, x86_h_maskmov, insn->mem_size);
        op->d = d->reg;
        op->s = d->rm;
        op->scale = d->as;
        op->b = (uint8_t)(d->seg >= 0 ? d->seg : VMR_X86_DS);
        op->i = (insn->flags & X86_SSE_MMX) != 0;
        return true;
    }
    uint8_t reg = (uint8_t)(d->reg | (d->rex & 8) << 4);
    if (d->mod == 3) {
        op = emit_rr(d, OP_SSE_RR, reg, d->rm);
    } else {
        bool store = insn->flags & X86_SSE_STORE;
        unsigned bytes = (insn->flags & X86_SSE_REXW) && (d->rex & 8) ? 8 : insn->mem_size;
        operand(d, bytes, store);
        op = emit_mem(d, store ? OP_SSE_MR : OP_SSE_RM, reg, d->rm);
    }
    if (map == 0)
        op->code = (uint16_t)sse_fast(d, prefix, opcode, insn);
    op->fn = (void *)insn;
    op->x = imm;
    return true;
}

static void x87(Decoder *d, uint8_t opcode)
{
    modrm(d);
    if (fp_off(d, true))
        return;
    if (d->mod == 3 && !X86_FEATURE(d->c, 1_EDX, 15)) { /* FCMOVcc, FCOMI */
        unsigned kind = d->modrm >> 3 & 7;
        if ((opcode == 0xda && kind < 4) || (opcode == 0xdb && (kind < 4 || kind == 5 || kind == 6)) ||
            (opcode == 0xdf && (kind == 5 || kind == 6))) {
            undefined(d);
            return;
        }
    }
    const X86X87Insn *insn =
        x86_x87_lookup(opcode, d->modrm, d->os >= 2 ? X86_X87_OP32 : 0);
    if (!insn) {
        undefined(d);
        return;
    }
    if (d->mod != 3)
        address(d, insn->mem_size, insn->flags & X86_X87_STORE);
    InterpOp *op = emit_helper(d, x86_h_x87, d->os);
    op->d = opcode;
    op->s = d->modrm;
    op->scale = d->mod != 3;
    if (d->mod != 3) {
        op->b = d->mseg;
        if (!d->m64 || d->mseg >= VMR_X86_FS)
            op->i = OFF(REG_BASE_ES + d->mseg);
    }
}

#include "decode-0f.inc"
#include "decode-vex.inc"

static void group3(Decoder *d, unsigned size)
{
    modrm(d);
    unsigned kind = d->modrm >> 3 & 7;
    switch (kind) {
    case 0:
    case 1: {
        int64_t imm = fetch_iz(d, size);
        if (d->mod == 3) {
            emit_ri(d, OP_TEST_RI8 + size, e(d, size), (uint64_t)imm);
        } else {
            operand(d, 1u << size, false);
            emit_mem(d, OP_TEST_MI8 + size, OFF(REG_ZERO), OFF(REG_ZERO))->imm = (uint64_t)imm;
        }
        break;
    }
    case 2:
    case 3:
        if (d->lock && d->mod != 3) {
            locked(d, size, kind == 2 ? LOCK_NOT : LOCK_NEG, OFF(REG_ZERO));
        } else {
            uint8_t r = rmw_begin(d, size);
            emit_rr(d, (kind == 2 ? OP_NOT8 : OP_NEG8) + size, r, r);
            rmw_end(d, size);
        }
        break;
    default: {
        static X86Helper *const fns[4] = {x86_h_mul, x86_h_imul1, x86_h_div, x86_h_idiv};
        uint8_t r = load_e(d, size);
        emit_helper(d, fns[kind - 4], size)->s = r;
    }
    }
}

static void inc_dec(Decoder *d, unsigned size, bool dec)
{
    if (d->lock && d->mod != 3) {
        locked(d, size, dec ? LOCK_DEC : LOCK_INC, OFF(REG_ZERO));
        return;
    }
    uint8_t r = rmw_begin(d, size);
    emit_rr(d, (dec ? OP_DEC8 : OP_INC8) + size, r, r);
    rmw_end(d, size);
}

static void group5(Decoder *d)
{
    modrm(d);
    unsigned kind = d->modrm >> 3 & 7, size = d->os;
    switch (kind) {
    case 0:
    case 1:
        inc_dec(d, size, kind == 1);
        break;
    case 2:
    case 4: {
        if (d->m64)
            size = 3;
        uint8_t r = load_e(d, size);
        d->end = true;
        if (size == 1)
            emit_rr(d, OP_MOVZX_16_32, OFF(REG_T1), r), r = OFF(REG_T1);
        if (kind == 4)
            emit_rr(d, OP_JMP_R, 0, r);
        else if (d->m64)
            emit_rr(d, OP_CALL64_R, 0, r);
        else if (size == 2 && d->code_size == KEY_CODE32 && stack_flat32(d))
            emit_rr(d, OP_CALL32_R, 0, r);
        else {
            InterpOp *op = emit_helper_end(d, x86_h_call_near, size);
            op->s = r;
            op->scale = 1;
        }
        break;
    }
    case 3:
    case 5:
        if (d->mod == 3) {
            undefined(d);
            break;
        }
        as_end(d, helper_e(d, kind == 3 ? x86_h_far_call_mem : x86_h_far_jump_mem, size,
                           (1u << size) + 2, false));
        break;
    case 6: {
        unsigned save = d->os;
        d->os = (uint8_t)stack_size(d);
        uint8_t r = load_e(d, d->os);
        push_reg(d, r);
        d->os = (uint8_t)save;
        break;
    }
    default:
        undefined(d);
    }
}

static void move_offset(Decoder *d, unsigned size, bool store)
{
    uint64_t at = d->as == 3 ? fetch64(d) : d->as == 2 ? fetch32(d) : fetch16(d);
    emit_ri(d, OP_MOV_RI64, OFF(REG_T2), at);
    d->base = REG_T2;
    d->index = REG_ZERO;
    d->scale = 0;
    d->disp = 0;
    d->riprel = false;
    d->mseg = (uint8_t)(d->seg >= 0 ? d->seg : VMR_X86_DS);
    operand(d, 1u << size, store);
    if (store)
        emit_mem(d, OP_ST8 + size, OFF(REG_ZERO), OFF(RAX));
    else
        emit_mem(d, OP_LD8 + size, OFF(RAX), OFF(REG_ZERO));
}

static void one_byte(Decoder *d, uint8_t op)
{
    unsigned size = op & 1 ? d->os : 0; /* the usual meaning of bit 0 */
    InterpOp *o;
    if (op < 0x40 && (op & 7) < 6) {
        unsigned kind = op >> 3;
        if ((op & 7) < 2)
            alu_e_g(d, kind, size);
        else if ((op & 7) < 4)
            alu_g_e(d, kind, size);
        else
            emit_ri(d, ALU_OP(kind, F_RI, size), OFF(RAX), (uint64_t)fetch_iz(d, size));
        return;
    }
    switch (op) {
    case 0x06: case 0x0e: case 0x16: case 0x1e:
        if (d->m64)
            undefined(d);
        else
            emit_helper(d, x86_h_push_seg, d->os)->d = op >> 3;
        break;
    case 0x07: case 0x17: case 0x1f:
        if (d->m64) {
            undefined(d);
        } else {
            emit_helper_end(d, x86_h_pop_seg, d->os)->d = op >> 3;
        }
        break;
    case 0x0f:
        two_byte(d);
        break;
    case 0x27: case 0x2f: case 0x37: case 0x3f: {
        static X86Helper *const fns[4] = {x86_h_daa, x86_h_das, x86_h_aaa, x86_h_aas};
        if (d->m64)
            undefined(d);
        else
            emit_helper(d, fns[(op >> 3) & 3], 0);
        break;
    }
    case 0x40: case 0x41: case 0x42: case 0x43: case 0x44: case 0x45: case 0x46: case 0x47:
        emit_rr(d, OP_INC8 + d->os, OFF(op & 7), 0);
        break;
    case 0x48: case 0x49: case 0x4a: case 0x4b: case 0x4c: case 0x4d: case 0x4e: case 0x4f:
        emit_rr(d, OP_DEC8 + d->os, OFF(op & 7), 0);
        break;
    case 0x50: case 0x51: case 0x52: case 0x53: case 0x54: case 0x55: case 0x56: case 0x57:
        push_reg(d, OFF((op & 7) | (d->rex & 1) << 3));
        break;
    case 0x58: case 0x59: case 0x5a: case 0x5b: case 0x5c: case 0x5d: case 0x5e: case 0x5f:
        pop_reg(d, OFF((op & 7) | (d->rex & 1) << 3));
        break;
    case 0x60: case 0x61:
        if (d->m64)
            undefined(d);
        else
            emit_helper(d, op == 0x60 ? x86_h_pusha : x86_h_popa, d->os);
        break;
    case 0x62:
        if (d->m64) {
            undefined(d);
            break;
        }
        modrm(d);
        if (d->mod == 3)
            undefined(d);
        else
            helper_e(d, x86_h_bound, d->os, 2u << d->os, false);
        break;
    case 0x63:
        modrm(d);
        if (d->m64) {
            if (d->os == 3) {
                if (d->mod == 3) {
                    emit_rr(d, OP_MOVSX_32_64, g(d, 3), e(d, 2));
                } else {
                    operand(d, 4, false);
                    emit_mem(d, OP_LDSX_32_64, g(d, 3), OFF(REG_ZERO));
                }
            } else {
                uint8_t r = load_e(d, d->os);
                emit_rr(d, OP_MOV_RR8 + d->os, g(d, d->os), r);
            }
        } else if (!d->prot) {
            undefined(d);
        } else {
            helper_e(d, x86_h_arpl, 1, 2, true);
        }
        break;
    case 0x68:
        push_imm(d, fetch_iz(d, d->os));
        break;
    case 0x6a:
        push_imm(d, (int8_t)fetch8(d));
        break;
    case 0x69: case 0x6b: {
        modrm(d);
        int64_t imm;
        if (d->mod == 3) {
            imm = op == 0x6b ? (int8_t)fetch8(d) : fetch_iz(d, d->os);
            o = emit_rr(d, OP_IMUL_RI16 + d->os - 1, g(d, d->os), e(d, d->os));
        } else {
            uint8_t r = load_e(d, d->os);
            imm = op == 0x6b ? (int8_t)fetch8(d) : fetch_iz(d, d->os);
            o = emit_rr(d, OP_IMUL_RI16 + d->os - 1, g(d, d->os), r);
        }
        o->imm = (uint64_t)imm;
        break;
    }
    case 0x6c: case 0x6d:
        string_op(d, x86_h_ins, size > 2 ? 2 : size);
        break;
    case 0x6e: case 0x6f:
        string_op(d, x86_h_outs, size > 2 ? 2 : size);
        break;
    case 0x70: case 0x71: case 0x72: case 0x73: case 0x74: case 0x75: case 0x76: case 0x77:
    case 0x78: case 0x79: case 0x7a: case 0x7b: case 0x7c: case 0x7d: case 0x7e: case 0x7f:
        jcc(d, op & 15, (int8_t)fetch8(d));
        break;
    case 0x80: case 0x81: case 0x82: case 0x83:
        if (op == 0x82 && d->m64)
            undefined(d);
        else
            alu_e_imm(d, size, op == 0x83);
        break;
    case 0x84: case 0x85:
        modrm(d);
        if (d->mod == 3) {
            emit_rr(d, OP_TEST_RR8 + size, e(d, size), g(d, size));
        } else {
            operand(d, 1u << size, false);
            emit_mem(d, OP_TEST_MR8 + size, OFF(REG_ZERO), g(d, size));
        }
        break;
    case 0x86: case 0x87:
        modrm(d);
        if (d->mod == 3)
            emit_rr(d, OP_XCHG_RR8 + size, e(d, size), g(d, size));
        else
            locked(d, size, LOCK_XCHG, g(d, size));
        break;
    case 0x88: case 0x89:
        modrm(d);
        if (d->mod == 3) {
            emit_rr(d, OP_MOV_RR8 + size, e(d, size), g(d, size));
        } else {
            operand(d, 1u << size, true);
            emit_mem(d, OP_ST8 + size, OFF(REG_ZERO), g(d, size));
        }
        break;
    case 0x8a: case 0x8b:
        modrm(d);
        if (d->mod == 3) {
            emit_rr(d, OP_MOV_RR8 + size, g(d, size), e(d, size));
        } else {
            operand(d, 1u << size, false);
            emit_mem(d, OP_LD8 + size, g(d, size), OFF(REG_ZERO));
        }
        break;
    case 0x8c:
        modrm(d);
        if ((d->modrm >> 3 & 7) > 5) {
            undefined(d);
            break;
        }
        o = helper_e(d, x86_h_mov_from_seg, d->mod == 3 ? d->os : 1, 2, true);
        o->d = d->modrm >> 3 & 7;
        break;
    case 0x8d:
        modrm(d);
        if (d->mod == 3) {
            undefined(d);
            break;
        }
        if (d->as == 1 || (d->as == 2 && d->os == 3)) {
            o = emit(d, OP_LEA32);
            put_address(d, o);
            o->d = OFF(REG_T1);
            if (d->as == 1) {
                emit_rr(d, OP_MOVZX_16_32, OFF(REG_T1), OFF(REG_T1));
            }
            emit_rr(d, OP_MOV_RR8 + d->os, g(d, d->os), OFF(REG_T1));
        } else {
            o = emit(d, OP_LEA16 + d->os - 1);
            put_address(d, o);
            o->d = g(d, d->os);
        }
        break;
    case 0x8e:
        modrm(d);
        if ((d->modrm >> 3 & 7) > 5 || (d->modrm >> 3 & 7) == VMR_X86_CS) {
            undefined(d);
            break;
        }
        o = helper_e(d, x86_h_mov_to_seg, 1, 2, false);
        o->d = d->modrm >> 3 & 7;
        as_end(d, o);
        break;
    case 0x8f:
        modrm(d);
        if (d->modrm >> 3 & 7) {
            undefined(d);
            break;
        }
        if (d->mod == 3) {
            pop_reg(d, e(d, stack_size(d)));
        } else {
            /* An address with RSP is computed after the pop has added to it. */
            if (d->base == RSP)
                d->disp += 1 << stack_size(d);
            address(d, 1u << stack_size(d), true);
            emit_helper(d, x86_h_pop_e, stack_size(d));
        }
        break;
    case 0x90:
        if (!(d->rex & 1)) {
            if (d->rep == 0xf3)
                emit_helper(d, x86_h_pause, 0);
            else
                emit(d, OP_NOP);
            break;
        }
        /* fall through */
    case 0x91: case 0x92: case 0x93: case 0x94: case 0x95: case 0x96: case 0x97:
        emit_rr(d, OP_XCHG_RR8 + d->os, OFF(RAX), OFF((op & 7) | (d->rex & 1) << 3));
        break;
    case 0x98:
        emit(d, OP_CBW + d->os - 1);
        break;
    case 0x99:
        emit(d, OP_CWD + d->os - 1);
        break;
    case 0x9a: case 0xea:
        if (d->m64) {
            undefined(d);
        } else {
            uint32_t offset = d->os == 2 ? fetch32(d) : fetch16(d);
            uint16_t sel = fetch16(d);
            o = emit_helper_end(d, op == 0x9a ? x86_h_far_call : x86_h_far_jump, d->os);
            o->disp = (int32_t)offset;
            o->b = (uint8_t)sel;
            o->i = (uint8_t)(sel >> 8);
        }
        break;
    case 0x9b:
        emit_helper(d, x86_h_fwait, 0);
        break;
    case 0x9c:
        emit_helper(d, x86_h_pushf, stack_size(d));
        break;
    case 0x9d:
        emit_helper_end(d, x86_h_popf, stack_size(d));
        break;
    case 0x9e:
        if (d->m64 && !X86_FEATURE(d->c, 81_ECX, 0)) {
            undefined(d);
            return;
        }
        emit_helper(d, x86_h_sahf, 0);
        break;
    case 0x9f:
        if (d->m64 && !X86_FEATURE(d->c, 81_ECX, 0)) {
            undefined(d);
            return;
        }
        emit_op2(d, x86_op2_lahf, 0, OFF(RAX) + 1, OFF(REG_ZERO));
        break;
    case 0xa0: case 0xa1: case 0xa2: case 0xa3:
        move_offset(d, size, op & 2);
        break;
    case 0xa4: case 0xa5:
        string_op(d, x86_h_movs, size);
        break;
    case 0xa6: case 0xa7:
        string_op(d, x86_h_cmps, size);
        break;
    case 0xa8: case 0xa9:
        emit_ri(d, OP_TEST_RI8 + size, OFF(RAX), (uint64_t)fetch_iz(d, size));
        break;
    case 0xaa: case 0xab:
        string_op(d, x86_h_stos, size);
        break;
    case 0xac: case 0xad:
        string_op(d, x86_h_lods, size);
        break;
    case 0xae: case 0xaf:
        string_op(d, x86_h_scas, size);
        break;
    case 0xb0: case 0xb1: case 0xb2: case 0xb3: case 0xb4: case 0xb5: case 0xb6: case 0xb7:
        emit_ri(d, OP_MOV_RI8, reg8(d, (op & 7) | (d->rex & 1) << 3), fetch8(d));
        break;
    case 0xb8: case 0xb9: case 0xba: case 0xbb: case 0xbc: case 0xbd: case 0xbe: case 0xbf: {
        uint64_t imm = d->os == 3 ? fetch64(d) : d->os == 2 ? fetch32(d) : fetch16(d);
        emit_ri(d, OP_MOV_RI8 + d->os, OFF((op & 7) | (d->rex & 1) << 3), imm);
        break;
    }
    case 0xc0: case 0xc1:
        modrm(d);
        /* the immediate comes after the operand's displacement: modrm() has read that */
        shift(d, size, fetch8(d));
        break;
    case 0xd0: case 0xd1:
        modrm(d);
        shift(d, size, 1);
        break;
    case 0xd2: case 0xd3:
        modrm(d);
        shift(d, size, -1);
        break;
    case 0xc2:
        ret_near(d, fetch16(d));
        break;
    case 0xc3:
        ret_near(d, 0);
        break;
    case 0xc4: case 0xc5:
        if (d->m64 || (d->pos < d->avail && d->bytes[d->pos] >= 0xc0)) {
            vex(d, op == 0xc4);
            break;
        }
        modrm(d);
        o = helper_e(d, x86_h_load_far, d->os, (1u << d->os) + 2, false);
        o->disp = op == 0xc4 ? VMR_X86_ES : VMR_X86_DS;
        as_end(d, o);
        break;
    case 0xc6: case 0xc7: {
        modrm(d);
        if (d->modrm >> 3 & 7) {
            undefined(d);
            break;
        }
        int64_t imm = fetch_iz(d, size);
        if (d->mod == 3) {
            emit_ri(d, OP_MOV_RI8 + size, e(d, size), (uint64_t)imm);
        } else {
            operand(d, 1u << size, true);
            emit_mem(d, OP_ST_I8 + size, OFF(REG_ZERO), OFF(REG_ZERO))->imm = (uint64_t)imm;
        }
        break;
    }
    case 0xc8: {
        uint16_t bytes = fetch16(d);
        o = emit_helper(d, x86_h_enter, stack_size(d));
        o->disp = bytes;
        o->d = fetch8(d);
        break;
    }
    case 0xc9:
        if (d->m64 && !d->opsize)
            emit(d, OP_LEAVE64);
        else
            emit_helper(d, x86_h_leave, stack_size(d));
        break;
    case 0xca: case 0xcb:
        emit_helper_end(d, x86_h_far_return, d->os)->disp = op == 0xca ? fetch16(d) : 0;
        break;
    case 0xcc:
        emit_helper_end(d, x86_h_int3, 0);
        break;
    case 0xcd:
        emit_helper_end(d, x86_h_int_n, 0)->disp = fetch8(d);
        break;
    case 0xce:
        if (d->m64)
            undefined(d);
        else
            emit_helper_end(d, x86_h_into, 0);
        break;
    case 0xcf:
        emit_helper_end(d, x86_h_iret, d->os);
        break;
    case 0xd4: case 0xd5:
        if (d->m64)
            undefined(d);
        else
            emit_helper(d, op == 0xd4 ? x86_h_aam : x86_h_aad, 0)->disp = fetch8(d);
        break;
    case 0xd6:
        if (d->m64)
            undefined(d);
        else
            emit_op2(d, x86_op2_salc, 0, OFF(RAX), OFF(REG_ZERO));
        break;
    case 0xd7:
        o = emit_helper(d, x86_h_xlat, d->as);
        o->d = (uint8_t)(d->seg >= 0 ? d->seg : VMR_X86_DS);
        break;
    case 0xd8: case 0xd9: case 0xda: case 0xdb: case 0xdc: case 0xdd: case 0xde: case 0xdf:
        x87(d, op);
        break;
    case 0xe0: case 0xe1: case 0xe2: case 0xe3:
        o = emit_helper_end(d, op == 0xe3 ? x86_h_jcxz : x86_h_loop, d->os);
        o->disp = (int8_t)fetch8(d);
        o->d = op & 3;
        o->s = d->as;
        break;
    case 0xe4: case 0xe5: case 0xe6: case 0xe7:
        o = emit_helper_end(d, op & 2 ? x86_h_out : x86_h_in, size > 2 ? 2 : size);
        o->disp = fetch8(d);
        break;
    case 0xec: case 0xed: case 0xee: case 0xef:
        emit_helper_end(d, op & 2 ? x86_h_out : x86_h_in, size > 2 ? 2 : size)->disp = -1;
        break;
    case 0xe8: {
        int64_t rel = fetch_iz(d, d->m64 ? 2 : d->os);
        call_rel(d, rel);
        break;
    }
    case 0xe9: {
        int64_t rel = fetch_iz(d, d->m64 ? 2 : d->os);
        jump_rel(d, rel);
        break;
    }
    case 0xeb:
        jump_rel(d, (int8_t)fetch8(d));
        break;
    case 0xf1:
        emit_helper_end(d, x86_h_int1, 0);
        break;
    case 0xf4:
        emit_helper_end(d, x86_h_hlt, 0);
        break;
    case 0xf5:
        emit(d, OP_CMC);
        break;
    case 0xf6: case 0xf7:
        group3(d, size);
        break;
    case 0xf8:
        emit(d, OP_CLC);
        break;
    case 0xf9:
        emit(d, OP_STC);
        break;
    case 0xfa:
        emit_helper(d, x86_h_cli, 0);
        break;
    case 0xfb:
        emit_helper_end(d, x86_h_sti, 0);
        break;
    case 0xfc:
        emit(d, OP_CLD);
        break;
    case 0xfd:
        emit(d, OP_STD);
        break;
    case 0xfe:
        modrm(d);
        if ((d->modrm >> 3 & 7) > 1)
            undefined(d);
        else
            inc_dec(d, 0, d->modrm >> 3 & 1);
        break;
    case 0xff:
        group5(d);
        break;
    default:
        undefined(d);
    }
}

/* One instruction.  False: the bytes end before it does (or the block has no room). */
static bool instruction(Decoder *d)
{
    d->start = d->pos;
    d->first = d->ops;
    d->rex = d->rep = 0;
    d->seg = -1;
    d->lock = d->opsize = d->bad = d->use_riprel = false;
    bool addrsize = false;
    uint8_t op;
    for (;;) {
        op = fetch8(d);
        if (d->overrun)
            return false;
        if (op == 0x66)
            d->opsize = true;
        else if (op == 0x67)
            addrsize = true;
        else if (op == 0xf0)
            d->lock = true;
        else if (op == 0xf2 || op == 0xf3)
            d->rep = op;
        else if (op == 0x26 || op == 0x2e || op == 0x36 || op == 0x3e) {
            if (!d->m64)
                d->seg = (int8_t)(op >> 3 & 3);
        } else if (op == 0x64 || op == 0x65)
            d->seg = (int8_t)(VMR_X86_FS + (op & 1));
        else if (d->m64 && (op & 0xf0) == 0x40) {
            d->rex = op;
            op = fetch8(d);
            /* a REX that is not last is ignored */
            if (op == 0x66 || op == 0x67 || op == 0xf0 || op == 0xf2 || op == 0xf3 || op == 0x26 ||
                op == 0x2e || op == 0x36 || op == 0x3e || op == 0x64 || op == 0x65 ||
                (op & 0xf0) == 0x40) {
                d->rex = 0;
                d->pos--;
                if (d->pos - d->start > 15)
                    break;
                continue;
            }
            break;
        } else
            break;
        if (d->pos - d->start > 15)
            break;
    }
    if (d->overrun)
        return false;
    if (d->m64) {
        d->os = d->rex & 8 ? 3 : d->opsize ? 1 : 2;
        d->as = addrsize ? 2 : 3;
    } else {
        d->os = (d->code_size == KEY_CODE32) != d->opsize ? 2 : 1;
        d->as = (d->code_size == KEY_CODE32) != addrsize ? 2 : 1;
    }
    if (d->pos - d->start <= 15)
        one_byte(d, op);
    if (d->overrun) {
        d->end = false;
        return false;
    }
    if (d->pos - d->start > 15) {
        d->ops = d->first;
        emit_helper_end(d, x86_h_gp0, 0);
    } else if (d->bad || d->lock) {
        /* LOCK is still set: it was not for an instruction that takes it */
        d->ops = d->first;
        emit_helper_end(d, x86_h_ud, 0);
    }
    unsigned length = d->pos - d->start;
    for (unsigned i = d->first; i < d->ops; i++) {
        InterpOp *o = &d->b->ops[i];
        o->length = (uint8_t)length;
        if (d->use_riprel && o->b == OFF(REG_PC) && o->code != OP_HELPER &&
            o->code != OP_HELPER_END)
            o->disp += (int32_t)d->pos;
    }
    d->insns++;
    return true;
}

unsigned x86_decode_block(X86Cpu *c, InterpBlock *b, const uint8_t *bytes, unsigned avail,
                          unsigned most, bool first_only)
{
    Decoder d = {.c = c, .b = b, .bytes = bytes, .avail = avail};
    d.code_size = c->key & KEY_CODE_MASK;
    d.m64 = d.code_size == KEY_CODE64;
    d.flat = c->key & KEY_FLAT;
    d.prot = c->key & KEY_PROT;
    if (first_only)
        most = 1;
    unsigned ops = 0, end = 0;
    while (d.insns < most && d.ops < INTERP_BLOCK_OPS - 12) {
        if (!instruction(&d))
            break;
        ops = d.ops;
        end = d.pos;
        if (d.end)
            break;
    }
    if (ops == 0)
        return 0;
    d.ops = ops;
    b->insns = (uint8_t)d.insns;
    b->bytes = (uint16_t)end;
    if (!d.end) {
        InterpOp *op = emit(&d, OP_END);
        op->pc = (uint16_t)end;
        op->index = (uint8_t)d.insns;
    }
    d.ops = x86_peephole(b, d.ops);
    if (x86_op_handlers)
        for (unsigned i = 0; i < d.ops; i++)
            b->ops[i].handler = x86_op_handlers[b->ops[i].code];
    return d.ops;
}
