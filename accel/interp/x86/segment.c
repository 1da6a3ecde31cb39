/*
 * Segments, far transfers, task switches: SDM volume 3, chapters 3, 5 and 8.
 */
#include "cpu.h"

#define BASE(seg) c->r[REG_BASE_ES + (seg)]

enum { /* system descriptor types */
    SYS_TSS16 = 1, SYS_LDT = 2, SYS_TSS16_BUSY = 3, SYS_CALL16 = 4, SYS_TASK_GATE = 5, SYS_TSS = 9,
    SYS_TSS_BUSY = 11, SYS_CALL = 12,
};

uint64_t x86_stack_mask(const X86Cpu *c)
{
    return x86_code64(c) ? ~0ull : c->key & KEY_SS32 ? 0xffffffff : 0xffff;
}

bool x86_seg_linear(X86Cpu *c, unsigned seg, uint64_t offset, unsigned size, bool write,
                    uint64_t *linear)
{
    if (x86_code64(c)) {
        *linear = offset + (seg >= VMR_X86_FS ? BASE(seg) : 0);
        return true;
    }
    const X86Seg *s = &c->seg[seg];
    unsigned fault = seg == VMR_X86_SS ? EXC_SS : EXC_GP;
    offset = (uint32_t)offset;
    uint64_t last = offset + size - 1;
    *linear = (uint32_t)(BASE(seg) + offset);
    if (c->cr0 & CR0_PE) {
        if (s->unusable)
            return x86_raise_error(c, fault, 0);
        if (!(c->eflags & FL_VM)) {
            unsigned type = AR_TYPE(s->ar);
            if (write ? (type & AR_CODE) || !(type & AR_RW) : (type & AR_CODE) && !(type & AR_RW))
                return x86_raise_error(c, fault, 0);
        }
    }
    if ((s->ar & (AR_CODE | AR_EXPAND_DOWN)) == AR_EXPAND_DOWN && (s->ar & AR_S)) {
        uint64_t top = s->ar & AR_DB ? 0xffffffff : 0xffff;
        if (offset <= s->limit || last > top)
            return x86_raise_error(c, fault, 0);
    } else if (last > s->limit) {
        return x86_raise_error(c, fault, 0);
    }
    return true;
}

/* A stack address that is not canonical is #SS, not #GP. */
static bool stack_fault(X86Cpu *c)
{
    if (c->exc_canonical)
        c->exc_vector = EXC_SS;
    return false;
}

bool x86_push(X86Cpu *c, uint64_t value, unsigned size)
{
    uint64_t mask = x86_stack_mask(c), sp = (c->r[RSP] - size) & mask, at;
    if (!x86_seg_linear(c, VMR_X86_SS, sp, size, true, &at) || !x86_store_slow(c, at, value, size))
        return stack_fault(c);
    c->r[RSP] = (c->r[RSP] & ~mask) | sp;
    if (mask == 0xffffffff)
        c->r[RSP] = sp;
    return true;
}

bool x86_pop(X86Cpu *c, uint64_t *value, unsigned size)
{
    uint64_t mask = x86_stack_mask(c), sp = c->r[RSP] & mask, at;
    if (!x86_seg_linear(c, VMR_X86_SS, sp, size, false, &at) || !x86_load(c, at, size, value))
        return stack_fault(c);
    sp = (sp + size) & mask;
    c->r[RSP] = mask == 0xffffffff ? sp : (c->r[RSP] & ~mask) | sp;
    return true;
}

/* ---- descriptors -------------------------------------------------------------------------- */

bool x86_descriptor(X86Cpu *c, uint16_t selector, unsigned vector, uint64_t desc[2], uint64_t *at)
{
    uint64_t base = selector & 4 ? c->ldtr_base : c->gdt_base;
    uint32_t limit = selector & 4 ? c->ldtr.limit : c->gdt_limit;
    uint32_t offset = selector & ~7u;
    if ((selector & 4 && c->ldtr.unusable) || offset + 7 > limit)
        return x86_raise_error(c, vector, selector & ~3u);
    *at = base + offset;
    desc[1] = 0;
    if (!x86_sys_load(c, *at, 8, &desc[0]))
        return false;
    /* system descriptors have 16 bytes in long mode */
    if (x86_long(c) && !(desc[0] >> 44 & 1)) {
        if (offset + 15 > limit)
            return x86_raise_error(c, vector, selector & ~3u);
        if (!x86_sys_load(c, *at + 8, 8, &desc[1]))
            return false;
    }
    return true;
}

static void seg_set(X86Cpu *c, unsigned seg, uint16_t selector, uint64_t d)
{
    X86Seg *s = &c->seg[seg];
    s->sel = selector;
    s->limit = x86_desc_limit(d);
    s->ar = x86_desc_ar(d);
    s->unusable = false;
    BASE(seg) = x86_desc_base(d);
}

void x86_seg_set_real(X86Cpu *c, unsigned seg, uint16_t selector)
{
    X86Seg *s = &c->seg[seg];
    s->sel = selector;
    BASE(seg) = (uint32_t)selector << 4;
    s->unusable = false;
    if (c->eflags & FL_VM) {
        s->limit = 0xffff;
        s->ar = AR_P | AR_S | AR_RW | AR_ACCESSED | 3 << 5;
    }
    /* in real mode, limit and rights stay ("unreal mode") */
}

static void seg_set_null(X86Cpu *c, unsigned seg, uint16_t selector)
{
    X86Seg *s = &c->seg[seg];
    s->sel = selector;
    s->unusable = true;
    s->limit = 0;
    s->ar = 0;
    BASE(seg) = 0;
}

static bool mark_accessed(X86Cpu *c, uint64_t at, uint64_t *d)
{
    if (*d >> 40 & 1)
        return true;
    *d |= 1ull << 40;
    return x86_sys_store(c, at + 5, *d >> 40 & 0xff, 1);
}

/* A stack segment for privilege `cpl`. */
static bool stack_load(X86Cpu *c, uint16_t selector, unsigned cpl, unsigned vector)
{
    uint64_t d[2], at;
    if (!(selector & ~3u)) {
        if (vector == EXC_GP && x86_code64(c) && cpl < 3 && (selector & 3) == cpl) {
            seg_set_null(c, VMR_X86_SS, selector);
            c->seg[VMR_X86_SS].ar = (uint16_t)(cpl << 5);
            return true;
        }
        return x86_raise_error(c, vector, vector == EXC_TS ? selector & ~3u : 0);
    }
    if (!x86_descriptor(c, selector, vector, d, &at))
        return false;
    uint16_t ar = x86_desc_ar(d[0]);
    if ((selector & 3) != cpl || AR_DPL(ar) != cpl || !(ar & AR_S) || (ar & AR_CODE) || !(ar & AR_RW))
        return x86_raise_error(c, vector, selector & ~3u);
    if (!(ar & AR_P))
        return x86_raise_error(c, EXC_SS, selector & ~3u);
    if (!mark_accessed(c, at, &d[0]))
        return false;
    seg_set(c, VMR_X86_SS, selector, d[0]);
    return true;
}

bool x86_seg_load(X86Cpu *c, unsigned seg, uint16_t selector)
{
    if (!x86_protected(c)) {
        x86_seg_set_real(c, seg, selector);
        x86_mode_update(c);
        return true;
    }
    if (seg == VMR_X86_SS) {
        if (!stack_load(c, selector, c->cpl, EXC_GP))
            return false;
        x86_mode_update(c);
        return true;
    }
    if (!(selector & ~3u)) {
        seg_set_null(c, seg, selector);
        x86_mode_update(c);
        return true;
    }
    uint64_t d[2], at;
    if (!x86_descriptor(c, selector, EXC_GP, d, &at))
        return false;
    uint16_t ar = x86_desc_ar(d[0]);
    bool conforming = (ar & AR_CODE) && (ar & AR_CONFORMING);
    if (!(ar & AR_S) || ((ar & AR_CODE) && !(ar & AR_RW)) ||
        (!conforming && (AR_DPL(ar) < (selector & 3u) || AR_DPL(ar) < c->cpl)))
        return x86_gp(c, selector & ~3u);
    if (!(ar & AR_P))
        return x86_raise_error(c, EXC_NP, selector & ~3u);
    if (!mark_accessed(c, at, &d[0]))
        return false;
    seg_set(c, seg, selector, d[0]);
    x86_mode_update(c);
    return true;
}

/* ---- far transfers --------------------------------------------------------------------------- */

/* Is `offset` a place that the code segment of descriptor d can run at? */
static bool code_offset_ok(X86Cpu *c, uint64_t d, uint64_t offset)
{
    if (x86_long(c) && (x86_desc_ar(d) & AR_L))
        return x86_canonical(c, offset);
    return offset <= x86_desc_limit(d);
}

/* Checks of a code descriptor for JMP and CALL; returns the new CPL by its selector. */
static bool code_check(X86Cpu *c, uint16_t selector, uint64_t d)
{
    uint16_t ar = x86_desc_ar(d);
    if (ar & AR_CONFORMING ? AR_DPL(ar) > c->cpl
                           : (selector & 3u) > c->cpl || AR_DPL(ar) != c->cpl)
        return x86_gp(c, selector & ~3u);
    if (x86_long(c) && (ar & AR_L) && (ar & AR_DB))
        return x86_gp(c, selector & ~3u);
    if (!(ar & AR_P))
        return x86_raise_error(c, EXC_NP, selector & ~3u);
    return true;
}

static void code_set(X86Cpu *c, uint16_t selector, unsigned cpl, uint64_t d, uint64_t offset)
{
    seg_set(c, VMR_X86_CS, (uint16_t)((selector & ~3u) | cpl), d);
    c->cpl = (uint8_t)cpl;
    x86_mode_update(c);
    c->r[REG_PC] = offset & c->pc_mask;
}

static void real_jump(X86Cpu *c, uint16_t selector, uint64_t offset)
{
    x86_seg_set_real(c, VMR_X86_CS, selector);
    x86_mode_update(c);
    c->r[REG_PC] = (uint32_t)offset;
}

typedef struct Gate {
    uint16_t selector;
    uint64_t offset;
    unsigned size;   /* bytes that the gate pushes an item */
    unsigned params; /* items to copy */
} Gate;

static Gate gate_of(X86Cpu *c, const uint64_t d[2])
{
    Gate g = {.selector = (uint16_t)(d[0] >> 16), .params = d[0] >> 32 & 31};
    unsigned type = d[0] >> 40 & 15;
    g.offset = (d[0] & 0xffff) | (d[0] >> 32 & 0xffff0000);
    g.size = type & 8 ? 4 : 2;
    if (g.size == 2)
        g.offset &= 0xffff;
    if (x86_long(c)) {
        g.offset = (g.offset & 0xffffffff) | d[1] << 32;
        g.size = 8;
        g.params = 0;
    }
    return g;
}

/* The stack for privilege `cpl` from the TSS. */
static bool tss_stack(X86Cpu *c, unsigned cpl, uint16_t *ss, uint64_t *sp)
{
    uint64_t v;
    if (x86_long(c)) {
        unsigned at = 4 + 8 * cpl;
        if (at + 7 > c->tr.limit)
            return x86_raise_error(c, EXC_TS, c->tr.sel & ~3u);
        *ss = (uint16_t)cpl;
        return x86_sys_load(c, c->tr_base + at, 8, sp);
    }
    bool wide = AR_TYPE(c->tr.ar) & 8;
    unsigned at = wide ? 4 + 8 * cpl : 2 + 4 * cpl, size = wide ? 4 : 2;
    if (at + size + 1 > c->tr.limit)
        return x86_raise_error(c, EXC_TS, c->tr.sel & ~3u);
    if (!x86_sys_load(c, c->tr_base + at, size, sp) ||
        !x86_sys_load(c, c->tr_base + at + size, 2, &v))
        return false;
    *ss = (uint16_t)v;
    return true;
}

/* What a transfer changes before its last check, to go back to on a fault. */
typedef struct Saved {
    X86Seg cs, ss;
    uint64_t cs_base, ss_base, sp, pc;
    uint8_t cpl;
} Saved;

static Saved save(const X86Cpu *c)
{
    return (Saved){c->seg[VMR_X86_CS], c->seg[VMR_X86_SS], c->r[REG_BASE_CS], c->r[REG_BASE_SS],
                   c->r[RSP], c->r[REG_PC], c->cpl};
}

static bool restore(X86Cpu *c, const Saved *s)
{
    c->seg[VMR_X86_CS] = s->cs;
    c->seg[VMR_X86_SS] = s->ss;
    c->r[REG_BASE_CS] = s->cs_base;
    c->r[REG_BASE_SS] = s->ss_base;
    c->r[RSP] = s->sp;
    c->r[REG_PC] = s->pc;
    c->cpl = s->cpl;
    x86_mode_update(c);
    return false;
}

/* Enter privilege `cpl` with a stack: the flags of accesses change with it. */
static bool switch_stack(X86Cpu *c, unsigned cpl, uint16_t ss, uint64_t sp)
{
    uint8_t old = c->cpl;
    if (x86_long(c)) {
        c->cpl = (uint8_t)cpl;
        seg_set_null(c, VMR_X86_SS, ss);
        c->seg[VMR_X86_SS].ar = (uint16_t)(cpl << 5);
    } else {
        c->cpl = (uint8_t)cpl;
        if (!stack_load(c, ss, cpl, EXC_TS)) {
            c->cpl = old;
            return false;
        }
    }
    c->r[RSP] = sp;
    x86_mode_update(c);
    return true;
}

static bool call_gate(X86Cpu *c, uint16_t selector, const uint64_t d[2], bool call)
{
    uint16_t ar = x86_desc_ar(d[0]);
    uint64_t code[2], at;
    if (AR_DPL(ar) < c->cpl || AR_DPL(ar) < (selector & 3u))
        return x86_gp(c, selector & ~3u);
    if (!(ar & AR_P))
        return x86_raise_error(c, EXC_NP, selector & ~3u);
    Gate g = gate_of(c, d);
    if (!(g.selector & ~3u))
        return x86_gp(c, 0);
    if (!x86_descriptor(c, g.selector, EXC_GP, code, &at))
        return false;
    uint16_t car = x86_desc_ar(code[0]);
    if (!(car & AR_S) || !(car & AR_CODE) || AR_DPL(car) > c->cpl)
        return x86_gp(c, g.selector & ~3u);
    if (x86_long(c) && (!(car & AR_L) || (car & AR_DB)))
        return x86_gp(c, g.selector & ~3u);
    if (!(car & AR_P))
        return x86_raise_error(c, EXC_NP, g.selector & ~3u);
    bool inner = !(car & AR_CONFORMING) && AR_DPL(car) < c->cpl;
    if (!call && inner)
        return x86_gp(c, g.selector & ~3u);
    if (!mark_accessed(c, at, &code[0]))
        return false;
    unsigned cpl = inner ? AR_DPL(car) : c->cpl;
    if (!call) {
        if (!code_offset_ok(c, code[0], g.offset))
            return x86_gp(c, 0);
        code_set(c, g.selector, cpl, code[0], g.offset);
        return true;
    }
    Saved saved = save(c);
    uint16_t old_cs = c->seg[VMR_X86_CS].sel, old_ss = c->seg[VMR_X86_SS].sel;
    uint64_t old_sp = c->r[RSP], params[32];
    if (inner) {
        uint16_t ss = 0;
        uint64_t sp = 0;
        uint64_t mask = x86_stack_mask(c);
        for (unsigned i = 0; i < g.params; i++) {
            uint64_t where;
            if (!x86_seg_linear(c, VMR_X86_SS, (old_sp + i * g.size) & mask, g.size, false, &where) ||
                !x86_load(c, where, g.size, &params[i]))
                return false;
        }
        if (!tss_stack(c, cpl, &ss, &sp) || !switch_stack(c, cpl, ss, sp))
            return restore(c, &saved);
        if (!x86_push(c, old_ss, g.size) || !x86_push(c, old_sp, g.size))
            return restore(c, &saved);
        for (unsigned i = g.params; i-- > 0;)
            if (!x86_push(c, params[i], g.size))
                return restore(c, &saved);
    }
    if (!x86_push(c, old_cs, g.size) || !x86_push(c, c->next_pc, g.size))
        return restore(c, &saved);
    if (!code_offset_ok(c, code[0], g.offset)) {
        restore(c, &saved);
        return x86_gp(c, 0);
    }
    code_set(c, g.selector, cpl, code[0], g.offset);
    return true;
}

/* JMP and CALL to a system descriptor. */
static bool system_transfer(X86Cpu *c, uint16_t selector, const uint64_t d[2], bool call)
{
    uint16_t ar = x86_desc_ar(d[0]);
    switch (AR_TYPE(ar)) {
    case SYS_CALL16:
        if (x86_long(c))
            break;
        /* fall through */
    case SYS_CALL:
        return call_gate(c, selector, d, call);
    case SYS_TASK_GATE:
    case SYS_TSS16:
    case SYS_TSS: {
        if (x86_long(c))
            break;
        if (AR_DPL(ar) < c->cpl || AR_DPL(ar) < (selector & 3u))
            break;
        if (!(ar & AR_P))
            return x86_raise_error(c, EXC_NP, selector & ~3u);
        uint16_t tss = AR_TYPE(ar) == SYS_TASK_GATE ? (uint16_t)(d[0] >> 16) : selector;
        return x86_task_switch(c, tss, call ? TASK_CALL : TASK_JUMP, false, 0);
    }
    }
    return x86_gp(c, selector & ~3u);
}

bool x86_far_jump(X86Cpu *c, uint16_t selector, uint64_t offset)
{
    if (!x86_protected(c)) {
        if (offset > c->seg[VMR_X86_CS].limit)
            return x86_gp(c, 0);
        real_jump(c, selector, offset);
        return true;
    }
    uint64_t d[2], at;
    if (!(selector & ~3u))
        return x86_gp(c, 0);
    if (!x86_descriptor(c, selector, EXC_GP, d, &at))
        return false;
    uint16_t ar = x86_desc_ar(d[0]);
    if (!(ar & AR_S))
        return system_transfer(c, selector, d, false);
    if (!(ar & AR_CODE))
        return x86_gp(c, selector & ~3u);
    if (!code_check(c, selector, d[0]))
        return false;
    if (!code_offset_ok(c, d[0], offset))
        return x86_gp(c, 0);
    if (!mark_accessed(c, at, &d[0]))
        return false;
    code_set(c, selector, c->cpl, d[0], offset);
    return true;
}

bool x86_far_call(X86Cpu *c, uint16_t selector, uint64_t offset, unsigned size)
{
    Saved saved = save(c);
    uint16_t old_cs = c->seg[VMR_X86_CS].sel;
    if (!x86_protected(c)) {
        if (offset > c->seg[VMR_X86_CS].limit)
            return x86_gp(c, 0);
        if (!x86_push(c, old_cs, size) || !x86_push(c, c->next_pc, size))
            return restore(c, &saved);
        real_jump(c, selector, offset);
        return true;
    }
    uint64_t d[2], at;
    if (!(selector & ~3u))
        return x86_gp(c, 0);
    if (!x86_descriptor(c, selector, EXC_GP, d, &at))
        return false;
    uint16_t ar = x86_desc_ar(d[0]);
    if (!(ar & AR_S))
        return system_transfer(c, selector, d, true);
    if (!(ar & AR_CODE))
        return x86_gp(c, selector & ~3u);
    if (!code_check(c, selector, d[0]))
        return false;
    if (!code_offset_ok(c, d[0], offset))
        return x86_gp(c, 0);
    if (!mark_accessed(c, at, &d[0]))
        return false;
    if (!x86_push(c, old_cs, size) || !x86_push(c, c->next_pc, size))
        return restore(c, &saved);
    code_set(c, selector, c->cpl, d[0], offset);
    return true;
}

/* Data segments that the outer privilege may not have become null. */
static void drop_inner_segments(X86Cpu *c)
{
    static const uint8_t segs[4] = {VMR_X86_ES, VMR_X86_DS, VMR_X86_FS, VMR_X86_GS};
    for (unsigned i = 0; i < 4; i++) {
        X86Seg *s = &c->seg[segs[i]];
        bool conforming = (s->ar & AR_CODE) && (s->ar & AR_CONFORMING);
        if (!s->unusable && !conforming && AR_DPL(s->ar) < c->cpl)
            seg_set_null(c, segs[i], 0);
        else if (s->unusable && AR_DPL(s->ar) < c->cpl)
            s->sel = s->sel & ~3u ? 0 : s->sel;
    }
}

/* The common end of RETF and IRET in protected mode: CS:RIP and, going outward, SS:RSP are
   popped.  In 64-bit mode IRET pops SS:RSP always. */
static bool return_to(X86Cpu *c, const Saved *saved, uint16_t cs, uint64_t pc, unsigned size,
                      unsigned pop, bool iret)
{
    uint64_t d[2], at, sp = 0, ss = 0;
    unsigned rpl = cs & 3u;
    if (!(cs & ~3u)) {
        restore(c, saved);
        return x86_gp(c, 0);
    }
    if (!x86_descriptor(c, cs, EXC_GP, d, &at))
        return restore(c, saved);
    uint16_t ar = x86_desc_ar(d[0]);
    if (!(ar & AR_S) || !(ar & AR_CODE) || rpl < c->cpl ||
        (ar & AR_CONFORMING ? AR_DPL(ar) > rpl : AR_DPL(ar) != rpl) ||
        (x86_long(c) && (ar & AR_L) && (ar & AR_DB))) {
        restore(c, saved);
        return x86_gp(c, cs & ~3u);
    }
    if (!(ar & AR_P)) {
        restore(c, saved);
        return x86_raise_error(c, EXC_NP, cs & ~3u);
    }
    bool outer = rpl > c->cpl, stack = outer || (iret && x86_code64(c));
    uint64_t mask = x86_stack_mask(c);
    if (pop)
        c->r[RSP] = (c->r[RSP] & ~mask) | ((c->r[RSP] + pop) & mask);
    if (stack) {
        if (!x86_pop(c, &sp, size) || !x86_pop(c, &ss, size))
            return restore(c, saved);
    }
    if (!code_offset_ok(c, d[0], pc)) {
        restore(c, saved);
        return x86_gp(c, 0);
    }
    if (!mark_accessed(c, at, &d[0]))
        return restore(c, saved);
    if (stack) {
        /* a null SS is for 64-bit code below ring 3 */
        bool to64 = x86_long(c) && (ar & AR_L);
        uint8_t old_cpl = c->cpl;
        if (!(ss & ~3ull) && to64 && rpl < 3 && (ss & 3) == rpl) {
            seg_set_null(c, VMR_X86_SS, (uint16_t)ss);
            c->seg[VMR_X86_SS].ar = (uint16_t)(rpl << 5);
        } else if (!(ss & ~3ull)) {
            restore(c, saved);
            return x86_gp(c, 0);
        } else {
            c->cpl = (uint8_t)rpl;
            if (!stack_load(c, (uint16_t)ss, rpl, EXC_GP)) {
                c->cpl = old_cpl;
                return restore(c, saved);
            }
        }
    }
    code_set(c, cs, rpl, d[0], pc);
    if (stack) {
        mask = x86_stack_mask(c);
        c->r[RSP] = mask == 0xffff ? (c->r[RSP] & ~mask) | (sp & mask) : sp & mask;
        if (pop && outer)
            c->r[RSP] = mask == 0xffff ? (c->r[RSP] & ~mask) | ((c->r[RSP] + pop) & mask)
                                       : (c->r[RSP] + pop) & mask;
    }
    if (outer)
        drop_inner_segments(c);
    x86_mode_update(c);
    return true;
}

bool x86_far_return(X86Cpu *c, unsigned size, unsigned pop)
{
    Saved saved = save(c);
    uint64_t pc, cs;
    if (!x86_pop(c, &pc, size) || !x86_pop(c, &cs, size))
        return restore(c, &saved);
    if (!x86_protected(c)) {
        if (pc > c->seg[VMR_X86_CS].limit) {
            restore(c, &saved);
            return x86_gp(c, 0);
        }
        uint64_t mask = x86_stack_mask(c);
        real_jump(c, (uint16_t)cs, pc);
        c->r[RSP] = (c->r[RSP] & ~mask) | ((c->r[RSP] + pop) & mask);
        return true;
    }
    return return_to(c, &saved, (uint16_t)cs, pc, size, pop, false);
}

/* A virtual interrupt is pending and enabled: the monitor is told before the next instruction. */
static void virtual_pending(X86Cpu *c)
{
    bool on = c->eflags & FL_VM ? c->cr4 & CR4_VME : c->cpl == 3 && (c->cr4 & CR4_PVI);
    if (on && (c->eflags & FL_VIF) && (c->eflags & FL_VIP)) {
        x86_gp(c, 0);
        atomic_store(&c->ic.limit, 0);
    }
}

/* IRET to virtual-8086 mode: nine items in all. */
static bool iret_to_vm86(X86Cpu *c, const Saved *saved, uint64_t pc, uint64_t cs, uint64_t flags)
{
    uint64_t sp, sel[5]; /* SS ES DS FS GS */
    static const uint8_t order[5] = {VMR_X86_SS, VMR_X86_ES, VMR_X86_DS, VMR_X86_FS, VMR_X86_GS};
    if (!x86_pop(c, &sp, 4))
        return restore(c, saved);
    for (unsigned i = 0; i < 5; i++)
        if (!x86_pop(c, &sel[i], 4))
            return restore(c, saved);
    c->cpl = 3;
    x86_rflags_write(c, flags,
                     FL_CC | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | FL_VIF |
                         FL_VIP | FL_ID);
    x86_seg_set_real(c, VMR_X86_CS, (uint16_t)cs);
    for (unsigned i = 0; i < 5; i++)
        x86_seg_set_real(c, order[i], (uint16_t)sel[i]);
    c->r[RSP] = (uint32_t)sp;
    x86_mode_update(c);
    c->r[REG_PC] = pc & 0xffff;
    x86_check_interrupts(c);
    virtual_pending(c);
    return true;
}

bool x86_iret(X86Cpu *c, unsigned size)
{
    Saved saved = save(c);
    uint64_t pc, cs, flags;
    bool virtual = (c->eflags & FL_VM) && (c->eflags >> 12 & 3) < 3;
    if (virtual && (!(c->cr4 & CR4_VME) || size != 2))
        return x86_gp(c, 0);
    if (x86_protected(c) && (c->eflags & FL_NT)) {
        if (x86_long(c))
            return x86_gp(c, 0);
        uint64_t link;
        return x86_sys_load(c, c->tr_base, 2, &link) &&
               x86_task_switch(c, (uint16_t)link, TASK_IRET, false, 0);
    }
    if (!x86_pop(c, &pc, size) || !x86_pop(c, &cs, size) || !x86_pop(c, &flags, size))
        return restore(c, &saved);
    uint32_t mask = FL_CC | FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID;
    if (!x86_protected(c)) {
        if (pc > c->seg[VMR_X86_CS].limit) {
            restore(c, &saved);
            return x86_gp(c, 0);
        }
        if (virtual && ((flags & FL_TF) || ((flags & FL_IF) && (c->eflags & FL_VIP)))) {
            restore(c, &saved);
            return x86_gp(c, 0);
        }
        if (virtual)
            c->eflags = (c->eflags & ~(uint32_t)FL_VIF) | (flags & FL_IF ? FL_VIF : 0);
        else
            mask |= FL_IF | (c->eflags & FL_VM ? 0 : FL_IOPL);
        real_jump(c, (uint16_t)cs, pc);
    } else {
        if (size == 4 && (flags & FL_VM) && c->cpl == 0 && !x86_long(c)) {
            c->nmi_blocked = false;
            return iret_to_vm86(c, &saved, pc, cs, flags);
        }
        unsigned cpl = c->cpl;
        if (cpl == 0)
            mask |= FL_IOPL | FL_VIF | FL_VIP;
        if (cpl <= (c->eflags >> 12 & 3))
            mask |= FL_IF;
        if (!return_to(c, &saved, (uint16_t)cs, pc, size, 0, true))
            return false;
    }
    if (size == 2)
        mask &= 0xffff;
    x86_rflags_write(c, flags, mask);
    c->nmi_blocked = false;
    x86_check_interrupts(c);
    virtual_pending(c);
    return true;
}

/* ---- task switch (SDM volume 3, 8.3): 32-bit and 16-bit TSS ---------------------------------------- */

static bool tss_busy(X86Cpu *c, uint16_t selector, bool busy)
{
    uint64_t at = c->gdt_base + (selector & ~7u) + 5, v;
    if (!x86_sys_load(c, at, 1, &v))
        return false;
    return x86_sys_store(c, at, busy ? v | 2 : v & ~2ull, 1);
}

bool x86_task_switch(X86Cpu *c, uint16_t selector, unsigned reason, bool has_error, uint32_t error)
{
    unsigned vector = reason == TASK_IRET || reason == TASK_INT ? EXC_TS : EXC_GP;
    uint64_t d[2], at;
    if (selector & 4)
        return x86_raise_error(c, vector, selector & ~3u);
    if (!x86_descriptor(c, selector, vector, d, &at))
        return false;
    uint16_t ar = x86_desc_ar(d[0]);
    unsigned type = AR_TYPE(ar), wanted = reason == TASK_IRET ? 2 : 0;
    if ((ar & AR_S) || (type & 7) != (1 | wanted))
        return x86_raise_error(c, vector, selector & ~3u);
    if (!(ar & AR_P))
        return x86_raise_error(c, EXC_NP, selector & ~3u);
    bool wide = type & 8;
    uint64_t base = x86_desc_base(d[0]);
    uint32_t limit = x86_desc_limit(d[0]);
    if (limit < (wide ? 0x67u : 0x2bu))
        return x86_raise_error(c, EXC_TS, selector & ~3u);

    /* read the whole new task first: nothing has changed if that faults */
    uint64_t v[26];
    unsigned items = wide ? 26 : 22;
    for (unsigned i = 0; i < items; i++)
        if (!x86_sys_load(c, base + i * (wide ? 4 : 2), wide ? 4 : 2, &v[i]))
            return false;

    /* save the old one */
    bool old_wide = AR_TYPE(c->tr.ar) & 8;
    unsigned step = old_wide ? 4 : 2, first = old_wide ? 8 : 7;
    uint64_t flags = x86_rflags(c);
    if (reason == TASK_IRET)
        flags &= ~(uint64_t)FL_NT;
    uint64_t pc = reason == TASK_INT ? c->r[REG_PC] : c->next_pc;
    uint64_t out[16];
    out[0] = pc;
    out[1] = flags;
    for (unsigned i = 0; i < 8; i++)
        out[2 + i] = c->r[i];
    for (unsigned i = 0; i < 16 && i < 10; i++)
        if (!x86_sys_store(c, c->tr_base + (first + i) * step, out[i], step))
            return false;
    for (unsigned i = 0; i < (old_wide ? 6u : 4u); i++)
        if (!x86_sys_store(c, c->tr_base + (first + 10 + i) * step, c->seg[i].sel, 2))
            return false;
    if (reason == TASK_JUMP || reason == TASK_IRET)
        if (!tss_busy(c, c->tr.sel, false))
            return false;
    uint16_t old_tr = c->tr.sel;
    if (reason == TASK_CALL || reason == TASK_INT)
        if (!x86_sys_store(c, base, old_tr, 2))
            return false;
    if (reason != TASK_IRET && !tss_busy(c, selector, true))
        return false;

    /* commit */
    unsigned f = wide ? 8 : 7;
    c->tr = (X86Seg){.limit = limit, .sel = selector, .ar = (uint16_t)(ar | 2)};
    c->tr_base = base;
    c->cr0 |= CR0_TS;
    if (wide && (c->cr0 & CR0_PG)) {
        if (x86_pae_paging(c) && !x86_pdptes_load(c, v[7], true)) {
            return false; /* #GP(0), of the new task in all but this */
        }
        c->cr3 = v[7];
        interp_tlb_flush(&c->ic);
    }
    uint64_t new_flags = v[f + 1] | FL_1;
    if (reason == TASK_CALL || reason == TASK_INT)
        new_flags |= FL_NT;
    x86_flags_settle(c);
    c->eflags = (uint32_t)new_flags & 0x3f7fd5;
    for (unsigned i = 0; i < 8; i++)
        c->r[i] = wide ? (uint32_t)v[f + 2 + i] : 0xffff0000u | (uint16_t)v[f + 2 + i];
    c->r[REG_PC] = v[f];
    c->dr[7] &= ~0x155ull;
    x86_debug_update(c);
    uint16_t sel[6] = {0};
    for (unsigned i = 0; i < (wide ? 6u : 4u); i++)
        sel[i] = (uint16_t)v[f + 10 + i];
    for (unsigned i = 0; i < 6; i++) {
        c->seg[i].sel = sel[i];
        c->seg[i].unusable = true;
    }
    uint16_t ldt = (uint16_t)v[f + 10 + (wide ? 6 : 4)];
    c->ldtr = (X86Seg){.sel = ldt, .unusable = true};

    /* from here on, faults are of the new task */
    if (c->eflags & FL_VM) {
        c->cpl = 3;
        for (unsigned i = 0; i < 6; i++)
            x86_seg_set_real(c, i, sel[i]);
        x86_mode_update(c);
    } else {
        c->cpl = sel[VMR_X86_CS] & 3;
        x86_mode_update(c);
        if (ldt & ~3u) {
            if ((ldt & 4) || !x86_descriptor(c, ldt, EXC_TS, d, &at))
                return c->exc_pending ? false : x86_raise_error(c, EXC_TS, ldt & ~3u);
            if ((x86_desc_ar(d[0]) & 0x1f) != SYS_LDT || !(x86_desc_ar(d[0]) & AR_P))
                return x86_raise_error(c, EXC_TS, ldt & ~3u);
            c->ldtr = (X86Seg){.limit = x86_desc_limit(d[0]), .sel = ldt, .ar = x86_desc_ar(d[0])};
            c->ldtr_base = x86_desc_base(d[0]);
        }
        if (!(sel[VMR_X86_CS] & ~3u) || !x86_descriptor(c, sel[VMR_X86_CS], EXC_TS, d, &at))
            return c->exc_pending ? false : x86_raise_error(c, EXC_TS, 0);
        uint16_t car = x86_desc_ar(d[0]);
        if (!(car & AR_S) || !(car & AR_CODE) ||
            (car & AR_CONFORMING ? AR_DPL(car) > c->cpl : AR_DPL(car) != c->cpl))
            return x86_raise_error(c, EXC_TS, sel[VMR_X86_CS] & ~3u);
        if (!(car & AR_P))
            return x86_raise_error(c, EXC_NP, sel[VMR_X86_CS] & ~3u);
        seg_set(c, VMR_X86_CS, sel[VMR_X86_CS], d[0]);
        if (!stack_load(c, sel[VMR_X86_SS], c->cpl, EXC_TS))
            return false;
        x86_mode_update(c);
        static const uint8_t data[4] = {VMR_X86_ES, VMR_X86_DS, VMR_X86_FS, VMR_X86_GS};
        for (unsigned i = 0; i < 4; i++)
            if (!x86_seg_load(c, data[i], sel[data[i]])) {
                if (c->exc_vector == EXC_GP)
                    c->exc_vector = EXC_TS;
                return false;
            }
    }
    x86_mode_update(c);
    if (has_error && !x86_push(c, error, wide ? 4 : 2))
        return false;
    if (c->r[REG_PC] > c->seg[VMR_X86_CS].limit)
        return x86_gp(c, 0);
    x86_check_interrupts(c);
    if (wide && (v[25] & 1)) /* the T bit of the TSS */
        x86_debug_trap(c, DR6_BT);
    return true;
}
