/*
 * What a block gains by being seen as a whole: flags that nobody reads are not made, a move in
 * front of an operation becomes its left operand, and an op goes together with the branch or the
 * like that follows.  None of this is needed for a block to be right.
 *
 * Two rules keep faults exact.  An exception shows all flags and registers, so an op that can fault
 * reads them all; and the op of an instruction that can fault keeps its `pc` and `index`.  The
 * choice of what is fused comes from counts of -Dinterp_mix=true: docs/performance.md.
 */
#include "helpers.h"
#include "ops.h"

static bool between(unsigned code, unsigned first, unsigned last)
{
    return code >= first && code <= last;
}

/* ---- flags that nobody reads ---------------------------------------------------------------- */

enum { LIVE_C = 1, LIVE_REST = 2, LIVE_ALL = 3 };

/* Ops that neither touch flags nor can fault. */
static bool is_neutral(unsigned code)
{
    return code == OP_NOP || between(code, OP_MOV_RR8, OP_MOV_RI64) || between(code, OP_NOT8, OP_NOT64) ||
           between(code, OP_MOVZX_8_16, OP_MOVSX_32_64) || between(code, OP_LEA16, OP_AGEN32) ||
           between(code, OP_XCHG_RR8, OP_XCHG_RR64) || between(code, OP_CBW, OP_STD);
}

/* The form of an op that leaves the flags alone, or 0. */
static unsigned quiet(const InterpOp *op)
{
    unsigned code = op->code;
#define QUIET(name, first, last, to)                                                               \
    if (between(code, OP_##name##_##first, OP_##name##_##last))                                    \
        return code - OP_##name##_##first + OP_##name##_##to;
    QUIET(ADD, RR8, RI64, RRQ8)
    QUIET(OR, RR8, RI64, RRQ8)
    QUIET(AND, RR8, RI64, RRQ8)
    QUIET(SUB, RR8, RI64, RRQ8)
    QUIET(XOR, RR8, RI64, RRQ8)
    QUIET(SHL, I32, I64, IQ32)
    QUIET(SHR, I32, I64, IQ32)
    QUIET(SAR, I32, I64, IQ32)
    QUIET(IMUL, RR32, RR64, RRQ32)
    QUIET(IMUL, RI32, RI64, RIQ32)
#undef QUIET
    if (between(code, OP_CMP_RR8, OP_CMP_RI64) || between(code, OP_TEST_RR8, OP_TEST_RI64))
        return OP_NOP;
    return 0;
}

/* ROL and ROR by an immediate change CF and OF only: without flags, or as they are. */
static bool quiet_rotate(InterpOp *op)
{
    bool right = op->fn == (void *)x86_op2_ror;
    if (op->code != OP_CALL2 || (op->fn != (void *)x86_op2_rol && !right) || op->x < 2 || op->disp < 0)
        return false;
    unsigned bits = op->x == 3 ? 64 : 32, n = (unsigned)op->disp & (bits - 1);
    op->code = op->x == 3 ? OP_ROL_IQ64 : OP_ROL_IQ32;
    op->imm = (right ? bits - n : n) & (bits - 1);
    op->b = op->d;
    return true;
}

/* Backward over the block. */
static void drop_dead_flags(InterpOp *ops, unsigned count)
{
    unsigned live = LIVE_ALL;
    for (unsigned i = count; i-- > 0;) {
        InterpOp *op = &ops[i];
        unsigned code = op->code;
        if (is_neutral(code))
            continue;
        unsigned q = quiet(op);
        if (q) {
            if (!live)
                op->code = (uint16_t)q;
            live = 0;
        } else if (between(code, OP_INC8, OP_DEC64)) {
            if (!(live & LIVE_C)) { /* then it is ADD or SUB of 1 */
                bool dec = code >= OP_DEC8;
                op->code = (uint16_t)(dec ? code - OP_DEC8 + OP_SUB_RI8 : code - OP_INC8 + OP_ADD_RI8);
                op->imm = 1;
                if (!live)
                    op->code = (uint16_t)quiet(op);
                live = 0;
            } else {
                live = LIVE_C;
            }
        } else if (between(code, OP_SHL_I8, OP_SAR_I64) || between(code, OP_NEG8, OP_NEG64) ||
                   between(code, OP_IMUL_RR16, OP_IMUL_RI64) || between(code, OP_CMPJ_RR8_O, OP_TESTJ_RR64_G)) {
            live = 0;
        } else if (live || !quiet_rotate(op)) {
            live = LIVE_ALL;
        }
    }
}

/* ---- moves ------------------------------------------------------------------------------------ */

/* Ops of registers that make d of b, and cannot fault. */
static bool takes_left(unsigned code)
{
    if (between(code, OP_ADD_RR8, OP_XOR_MI64)) /* all but CMP, by their forms */
        return (code - OP_ADD_RR8) % (OP_OR_RR8 - OP_ADD_RR8) < 2 * (OP_ADD_RI8 - OP_ADD_RR8);
    return between(code, OP_ADD_RRQ8, OP_XOR_RIQ64) || between(code, OP_INC8, OP_ROL_IQ64) ||
           between(code, OP_IMUL_RR16, OP_IMUL_RR64) || between(code, OP_IMUL_RRQ32, OP_IMUL_RRQ64);
}

/* The size of such an op, as log2 of bytes. */
static unsigned size_of(unsigned code)
{
    if (between(code, OP_SHL_IQ32, OP_ROL_IQ64))
        return 2 + ((code - OP_SHL_IQ32) & 1);
    if (between(code, OP_IMUL_RRQ32, OP_IMUL_RRQ64))
        return 2 + (code - OP_IMUL_RRQ32);
    if (between(code, OP_IMUL_RR16, OP_IMUL_RR64))
        return 1 + (code - OP_IMUL_RR16);
    return (code - OP_ADD_RR8) & 3; /* all between are in fours */
}

/* MOV d, s; OP d, d, ... is OP d, s, ...: true if `move` is not needed any more. */
static bool merge_move(const InterpOp *move, InterpOp *op)
{
    unsigned code = move->code;
    if ((code != OP_MOV_RR32 && code != OP_MOV_RR64) || !takes_left(op->code) || op->b != move->d || op->d != move->d)
        return false;
    if (between(op->code, OP_SHL_C8, OP_SAR_C64) && op->d == RCX * 8) /* its count is the move's, too */
        return false;
    unsigned size = size_of(op->code);
    if (size < 2 || (size == 3 && code == OP_MOV_RR32)) /* it would miss what the move does to the rest */
        return false;
    op->b = move->s;
    if (op->s == move->d)
        op->s = move->s;
    return true;
}

/* Without NOPs and merged moves; returns the number of ops. */
static unsigned merge(InterpOp *ops, unsigned count)
{
    unsigned to = 0;
    for (unsigned i = 0; i < count; i++) {
        if (ops[i].code == OP_NOP || (i + 1 < count && merge_move(&ops[i], &ops[i + 1])))
            continue;
        if (to != i)
            ops[to] = ops[i];
        to++;
    }
    return to;
}

/* ---- ops that go together ----------------------------------------------------------------------- */

/* The op that works and branches, for one in front of a JCC, or 0. */
static unsigned with_branch(unsigned code, unsigned cond)
{
#define FUSE(name, first, last, to)                                                                \
    if (between(code, OP_##name##first, OP_##name##last))                                          \
        return OP_##to##_O + (code - OP_##name##first) * 16 + cond;
    FUSE(SUB_RR, 32, 64, SUBJ_RR32)
    FUSE(SUB_RI, 32, 64, SUBJ_RI32)
    FUSE(DEC, 32, 64, DECJ32)
    FUSE(AND_RR, 32, 64, ANDJ_RR32)
    FUSE(AND_RI, 32, 64, ANDJ_RI32)
    FUSE(CMP_RM, 32, 64, CMPJ_RM32)
    FUSE(CMP_MR, 32, 64, CMPJ_MR32)
    FUSE(CMP_MI, 8, 64, CMPJ_MI8)
    FUSE(TEST_RI, 8, 64, TESTJ_RI8)
    FUSE(TEST_MI, 8, 64, TESTJ_MI8)
#undef FUSE
    return 0;
}

/* How many of the ops from here on are `code`, and neither write nor push RSP. */
static unsigned run_length(const InterpOp *op, const InterpOp *end, unsigned code)
{
    unsigned n = 0;
    while (op + n < end && n < 15 && op[n].code == code && op[n].d != RSP * 8 && op[n].s != RSP * 8)
        n++;
    return n;
}

static void fuse(InterpOp *ops, unsigned count)
{
    InterpOp *end = ops + count, *last = end - 1;
    if (count > 1 && between(last->code, OP_JCC_O, OP_JCC_G)) {
        unsigned code = with_branch(last[-1].code, last->code - OP_JCC_O);
        if (code)
            last[-1].code = (uint16_t)code;
    }
    for (InterpOp *op = ops; op < end; op++) {
        unsigned code = op->code;
        if (code != OP_PUSH64_R && code != OP_POP64_R)
            continue;
        unsigned n = run_length(op, end, code);
        if (n > 1) {
            op->code = code == OP_PUSH64_R ? OP_PUSH64_RUN : OP_POP64_RUN;
            op->x = (uint8_t)n;
            op += n - 1;
        }
    }
}

unsigned x86_peephole(InterpBlock *b, unsigned count)
{
    drop_dead_flags(b->ops, count);
    count = merge(b->ops, count);
    fuse(b->ops, count);
    return count;
}
