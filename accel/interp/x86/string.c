/*
 * String instructions and port I/O.  SDM volume 2, REP; volume 1, chapter 19.
 *
 * A repeated instruction does a bounded number of steps, then RIP stays on it
 * so that interrupts are seen; a fault leaves the registers as after the last
 * whole step.  Runs of MOVS and STOS within pages of RAM are block operations.
 *
 * Where the vendors differ these are Intel's, as CPUID says: a fault in a repeated CMPS or SCAS has the
 * flags of before the instruction (SDM, REP), and one with 32-bit addresses clears the upper half of
 * RCX, MOVS that of RSI and RDI, STOS of RDI, whether a step is done or not.
 */
#include "helpers.h"

enum { STEPS = 65536 }; /* of one repeated instruction before events are looked at */

static uint64_t mask_of(unsigned as) { return as == 3 ? ~0ull : as == 2 ? 0xffffffff : 0xffff; }

static void reg_set(X86Cpu *c, unsigned reg, unsigned as, uint64_t v)
{
    if (as == 3)
        c->r[reg] = v;
    else if (as == 2)
        c->r[reg] = (uint32_t)v;
    else
        c->r[reg] = (c->r[reg] & ~0xffffull) | (v & 0xffff);
}

typedef struct Step {
    X86Cpu *c;
    unsigned size, as, seg; /* size as log2 */
    uint64_t mask;
    int64_t delta;
} Step;

static bool source(Step *s, uint64_t *value)
{
    uint64_t at;
    return x86_seg_linear(s->c, s->seg, s->c->r[RSI] & s->mask, 1u << s->size, false, &at) &&
           x86_load(s->c, at, 1u << s->size, value);
}

static bool dest_load(Step *s, uint64_t *value)
{
    uint64_t at;
    return x86_seg_linear(s->c, VMR_X86_ES, s->c->r[RDI] & s->mask, 1u << s->size, false, &at) &&
           x86_load(s->c, at, 1u << s->size, value);
}

static bool dest_store(Step *s, uint64_t value)
{
    uint64_t at;
    return x86_seg_linear(s->c, VMR_X86_ES, s->c->r[RDI] & s->mask, 1u << s->size, true, &at) &&
           x86_store_slow(s->c, at, value, 1u << s->size);
}

static void advance(Step *s, unsigned reg)
{
    reg_set(s->c, reg, s->as, (s->c->r[reg] + (uint64_t)s->delta) & s->mask);
}

static void compare(X86Cpu *c, uint64_t a, uint64_t b, unsigned size)
{
    c->cc_op = CC_SUB8 + size;
    switch (size) {
    case 0: c->cc_dst = (uint64_t)(int8_t)(a - b); c->cc_src = (uint64_t)(int8_t)b; break;
    case 1: c->cc_dst = (uint64_t)(int16_t)(a - b); c->cc_src = (uint64_t)(int16_t)b; break;
    case 2: c->cc_dst = (uint64_t)(int32_t)(a - b); c->cc_src = (uint64_t)(int32_t)b; break;
    default: c->cc_dst = a - b; c->cc_src = b; break;
    }
}

static bool io_allowed(X86Cpu *c, unsigned port, unsigned bytes)
{
    if (!(c->cr0 & CR0_PE))
        return true;
    if (!(c->eflags & FL_VM) && c->cpl <= (c->eflags >> 12 & 3))
        return true;
    /* the I/O permission bitmap of the TSS */
    uint64_t base, bits;
    if (c->tr.unusable || c->tr.limit < 0x67)
        return x86_gp(c, 0);
    if (!x86_sys_load(c, c->tr_base + 0x66, 2, &base))
        return false;
    if (base + port / 8 + 1 > c->tr.limit)
        return x86_gp(c, 0);
    if (!x86_sys_load(c, c->tr_base + base + port / 8, 2, &bits))
        return false;
    return !(bits >> (port & 7) & ((1u << bytes) - 1)) || x86_gp(c, 0);
}

static uint64_t port_in(X86Cpu *c, unsigned port, unsigned bytes)
{
    uint64_t v = 0;
    if (unlikely(c->debug_on))
        x86_debug_io(c, port, bytes);
    c->ic.stats.exits_pio++;
    vmr_space_read(c->ic.vm->machine->io, port, &v, bytes, (int)c->ic.index);
    return v;
}

static void port_out(X86Cpu *c, unsigned port, uint64_t v, unsigned bytes)
{
    if (unlikely(c->debug_on))
        x86_debug_io(c, port, bytes);
    c->ic.stats.exits_pio++;
    vmr_space_write(c->ic.vm->machine->io, port, v, bytes, (int)c->ic.index);
}

typedef enum { DONE, AGAIN, FAULT } Outcome;
typedef Outcome StepFn(Step *s);

static Outcome step_movs(Step *s)
{
    uint64_t v;
    if (!source(s, &v) || !dest_store(s, v))
        return FAULT;
    advance(s, RSI);
    advance(s, RDI);
    return AGAIN;
}

static Outcome step_stos(Step *s)
{
    if (!dest_store(s, s->c->r[RAX]))
        return FAULT;
    advance(s, RDI);
    return AGAIN;
}

static Outcome step_lods(Step *s)
{
    uint64_t v;
    if (!source(s, &v))
        return FAULT;
    char *rax = (char *)&s->c->r[RAX];
    if (s->size == 2)
        s->c->r[RAX] = (uint32_t)v;
    else
        memcpy(rax, &v, 1u << s->size);
    advance(s, RSI);
    return AGAIN;
}

static Outcome step_cmps(Step *s)
{
    uint64_t a, b;
    if (!source(s, &a) || !dest_load(s, &b))
        return FAULT;
    compare(s->c, a, b, s->size);
    advance(s, RSI);
    advance(s, RDI);
    return AGAIN;
}

static Outcome step_scas(Step *s)
{
    uint64_t b;
    if (!dest_load(s, &b))
        return FAULT;
    compare(s->c, s->c->r[RAX], b, s->size);
    advance(s, RDI);
    return AGAIN;
}

static Outcome step_ins(Step *s)
{
    X86Cpu *c = s->c;
    uint64_t at;
    unsigned bytes = 1u << s->size, port = (uint16_t)c->r[RDX];
    /* the port must not be read if the store faults */
    if (!io_allowed(c, port, bytes) ||
        !x86_seg_linear(c, VMR_X86_ES, c->r[RDI] & s->mask, bytes, true, &at) ||
        !x86_probe(c, at, bytes, true))
        return FAULT;
    if (!x86_store_slow(c, at, port_in(c, port, bytes), bytes))
        return FAULT;
    advance(s, RDI);
    return AGAIN;
}

static Outcome step_outs(Step *s)
{
    X86Cpu *c = s->c;
    uint64_t v;
    unsigned bytes = 1u << s->size, port = (uint16_t)c->r[RDX];
    if (!io_allowed(c, port, bytes) || !source(s, &v))
        return FAULT;
    port_out(c, port, v, bytes);
    advance(s, RSI);
    return AGAIN;
}

/* How many elements fit before the page of `at` ends, ascending, at most n. */
static uint64_t room(uint64_t at, unsigned size, uint64_t n)
{
    uint64_t k = (INTERP_PAGE - (at & (INTERP_PAGE - 1))) >> size;
    return MIN(k, n);
}

/* May a run of elements be done at once?  Only ascending, with flat segments. */
static bool blockwise(const Step *s)
{
    X86Cpu *c = s->c;
    return s->delta > 0 && (x86_code64(c) ? s->seg < VMR_X86_FS && s->as == 3
                                           : (c->key & KEY_FLAT) && s->as == 2 && s->seg != VMR_X86_CS &&
                                                 s->seg < VMR_X86_FS);
}

/* A run of MOVS: how many elements were done; 0: do one by hand. */
static uint64_t run_movs(Step *s, uint64_t n)
{
    X86Cpu *c = s->c;
    uint64_t from = c->r[RSI] & s->mask, to = c->r[RDI] & s->mask;
    n = room(to, s->size, room(from, s->size, n));
    uint64_t bytes = n << s->size;
    /* an overlap just above repeats a pattern: leave that to single steps */
    if (n < 2 || (to > from && to - from < bytes))
        return 0;
    const void *src = x86_host_ptr(c, from, (unsigned)bytes, false);
    if (!src)
        return 0;
    void *dst = x86_host_ptr(c, to, (unsigned)bytes, true);
    if (!dst || (dst > src && (uintptr_t)dst - (uintptr_t)src < bytes))
        return 0;
    memmove(dst, src, bytes);
    reg_set(c, RSI, s->as, (from + bytes) & s->mask);
    reg_set(c, RDI, s->as, (to + bytes) & s->mask);
    return n;
}

static uint64_t run_stos(Step *s, uint64_t n)
{
    X86Cpu *c = s->c;
    uint64_t to = c->r[RDI] & s->mask, v = c->r[RAX];
    n = room(to, s->size, n);
    if (n < 2)
        return 0;
    char *dst = x86_host_ptr(c, to, (unsigned)(n << s->size), true);
    if (!dst)
        return 0;
    if (s->size == 0 || v == 0)
        memset(dst, (uint8_t)v, n << s->size);
    else
        for (uint64_t i = 0; i < n; i++)
            memcpy(dst + (i << s->size), &v, 1u << s->size);
    reg_set(c, RDI, s->as, (to + (n << s->size)) & s->mask);
    return n;
}

/* ends: REPE/REPNE look at ZF.  index: those index registers that a 32-bit address size clears above. */
enum { INDEX_NONE, INDEX_DI, INDEX_BOTH };
static bool string(X86Cpu *c, const InterpOp *op, StepFn *step, bool ends, unsigned index,
                   uint64_t (*run)(Step *, uint64_t))
{
    Step s = {.c = c, .size = op->x, .as = op->s, .seg = op->d, .mask = mask_of(op->s)};
    s.delta = (c->eflags & FL_DF ? -1 : 1) * (int64_t)(1u << op->x);
    if (!op->scale)
        return step(&s) != FAULT;
    bool single = (c->eflags & FL_TF) || c->debug_on; /* #DB after each round */
    bool blocks = run && !single && blockwise(&s);
    uint64_t cc_dst = c->cc_dst, cc_src = c->cc_src;
    uint32_t cc_op = c->cc_op;
    if (s.as == 2) {
        c->r[RCX] = (uint32_t)c->r[RCX];
        if (index >= INDEX_DI)
            c->r[RDI] = (uint32_t)c->r[RDI];
        if (index == INDEX_BOTH)
            c->r[RSI] = (uint32_t)c->r[RSI];
    }
    for (unsigned steps = 0; steps < (single ? 1 : STEPS);) {
        uint64_t count = c->r[RCX] & s.mask;
        if (!count)
            return true;
        uint64_t n = blocks ? run(&s, count) : 0;
        if (n == 0) {
            if (c->exc_pending)
                return false; /* the run met a fault: nothing of this step is done */
            if (step(&s) == FAULT) {
                c->cc_dst = cc_dst; /* nothing but a comparison has changed them */
                c->cc_src = cc_src;
                c->cc_op = cc_op;
                return false;
            }
            n = 1;
        }
        reg_set(c, RCX, s.as, (count - n) & s.mask);
        if (ends && x86_zf(c) != (op->scale == 1))
            return true;
        steps += (unsigned)n;
        if (c->ic.code_hit)
            break; /* what was written may be what comes next */
    }
    if (c->r[RCX] & s.mask) {
        c->r[REG_PC] = c->insn_pc; /* go on after a look at events */
        c->rep_again = true;
    }
    return true;
}

bool x86_h_movs(X86Cpu *c, const InterpOp *op) { return string(c, op, step_movs, false, INDEX_BOTH, run_movs); }
bool x86_h_stos(X86Cpu *c, const InterpOp *op) { return string(c, op, step_stos, false, INDEX_DI, run_stos); }
bool x86_h_lods(X86Cpu *c, const InterpOp *op) { return string(c, op, step_lods, false, INDEX_NONE, NULL); }
bool x86_h_cmps(X86Cpu *c, const InterpOp *op) { return string(c, op, step_cmps, true, INDEX_NONE, NULL); }
bool x86_h_scas(X86Cpu *c, const InterpOp *op) { return string(c, op, step_scas, true, INDEX_NONE, NULL); }
bool x86_h_ins(X86Cpu *c, const InterpOp *op) { return string(c, op, step_ins, false, INDEX_NONE, NULL); }
bool x86_h_outs(X86Cpu *c, const InterpOp *op) { return string(c, op, step_outs, false, INDEX_NONE, NULL); }

bool x86_h_in(X86Cpu *c, const InterpOp *op)
{
    unsigned port = op->disp >= 0 ? (unsigned)op->disp : (uint16_t)c->r[RDX], bytes = 1u << op->x;
    if (!io_allowed(c, port, bytes))
        return false;
    uint64_t v = port_in(c, port, bytes);
    if (bytes == 4)
        c->r[RAX] = (uint32_t)v;
    else
        memcpy(&c->r[RAX], &v, bytes);
    return true;
}

bool x86_h_out(X86Cpu *c, const InterpOp *op)
{
    unsigned port = op->disp >= 0 ? (unsigned)op->disp : (uint16_t)c->r[RDX], bytes = 1u << op->x;
    if (!io_allowed(c, port, bytes))
        return false;
    port_out(c, port, c->r[RAX] & (bytes == 4 ? 0xffffffffu : (1u << (8 * bytes)) - 1), bytes);
    return true;
}
