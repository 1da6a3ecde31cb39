/*
 * Exceptions and interrupts: SDM volume 3, chapter 6.
 */
#include "cpu.h"
#include "ops.h"

bool x86_raise_error(X86Cpu *c, unsigned vector, uint32_t error)
{
    c->exc_pending = true;
    c->exc_vector = (uint8_t)vector;
    c->exc_has_error = true;
    c->exc_canonical = false;
    c->exc_error = error;
    return false;
}

bool x86_raise(X86Cpu *c, unsigned vector)
{
    x86_raise_error(c, vector, 0);
    c->exc_has_error = false;
    return false;
}

static bool is_stack_op(unsigned code)
{
    return (code >= OP_PUSH64_R && code <= OP_LEAVE64) || code == OP_CALL64 || code == OP_CALL64_R ||
           code == OP_RET64;
}

void x86_exception_segment(X86Cpu *c, const InterpBlock *b, const InterpOp *op)
{
    c->exc_canonical = false;
    if (c->exc_vector != EXC_GP)
        return;
    const unsigned zero = REG_ZERO * 8, pc = op->pc;
    bool stack = is_stack_op(op->code);
    if (!stack) {
        bool helper = op->code == OP_HELPER || op->code == OP_HELPER_END;
        bool flat = op->i < REG_BASE_ES * 8; /* else it adds the base of FS or GS */
        if (helper || op->b == REG_T0 * 8) {
            /* an op before made the address */
            do {
                if (op == b->ops || (--op)->pc != pc)
                    return;
            } while (op->code != OP_AGEN && op->code != OP_AGEN32);
            flat = op->s == zero && op->i < REG_BASE_ES * 8;
        }
        stack = flat && (op->b == RSP * 8 || op->b == RBP * 8);
    }
    if (stack)
        c->exc_vector = EXC_SS;
}

static void trace_event(X86Cpu *c, const char *what, unsigned vector, uint32_t error)
{
    vmr_core_trace_cpu(c->ic.index, "%s %u error 0x%x at %04x:%016" G_GINT64_MODIFIER "x sp %016"
                       G_GINT64_MODIFIER "x cr2 %016" G_GINT64_MODIFIER "x", what, vector, error,
                       c->seg[VMR_X86_CS].sel, c->r[REG_PC], c->r[RSP], c->cr2);
}

/* Real mode: a vector table of far pointers. */
static bool deliver_real(X86Cpu *c, unsigned vector, uint64_t return_pc)
{
    uint64_t entry, sp = c->r[RSP];
    if (vector * 4 + 3 > c->idt_limit)
        return x86_gp(c, vector * 8 + 2);
    if (!x86_sys_load(c, c->idt_base + vector * 4, 4, &entry))
        return false;
    if (!x86_push(c, x86_rflags(c) & 0xffff, 2) || !x86_push(c, c->seg[VMR_X86_CS].sel, 2) ||
        !x86_push(c, return_pc, 2)) {
        c->r[RSP] = sp;
        return false;
    }
    c->eflags &= ~(uint32_t)(FL_IF | FL_TF | FL_RF | FL_AC);
    x86_seg_set_real(c, VMR_X86_CS, (uint16_t)(entry >> 16));
    x86_mode_update(c);
    c->r[REG_PC] = entry & 0xffff;
    return true;
}

typedef struct Saved {
    X86Seg seg[6];
    uint64_t base[6], sp, pc;
    uint8_t cpl;
    uint32_t eflags;
} Saved;

static bool undo(X86Cpu *c, const Saved *s)
{
    memcpy(c->seg, s->seg, sizeof c->seg);
    memcpy(&c->r[REG_BASE_ES], s->base, sizeof s->base);
    c->r[RSP] = s->sp;
    c->r[REG_PC] = s->pc;
    c->cpl = s->cpl;
    c->eflags = s->eflags;
    x86_mode_update(c);
    return false;
}

/* SDM volume 3, 21.3: the bitmap of 256 bits before the I/O bitmap says who handles INT n. */
bool x86_vme_int(X86Cpu *c, unsigned vector, bool *done)
{
    uint64_t io, bits, entry;
    *done = false;
    if (c->tr.unusable || !(AR_TYPE(c->tr.ar) & 8) || c->tr.limit < 0x67)
        return x86_gp(c, 0);
    if (!x86_sys_load(c, c->tr_base + 0x66, 2, &io))
        return false;
    uint64_t at = io - 32 + vector / 8;
    if (io < 32 || at > c->tr.limit)
        return x86_gp(c, 0);
    if (!x86_sys_load(c, c->tr_base + at, 1, &bits))
        return false;
    if (bits >> (vector & 7) & 1)
        return true;
    /* as in real mode, at the privilege of virtual-8086 mode */
    uint64_t sp = c->r[RSP], flags = x86_rflags(c);
    bool virtual = (c->eflags >> 12 & 3) < 3;
    if (virtual)
        flags = (flags & ~(uint64_t)FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
    if (!x86_load(c, vector * 4, 4, &entry) || !x86_push(c, flags & 0xffff, 2) ||
        !x86_push(c, c->seg[VMR_X86_CS].sel, 2) || !x86_push(c, c->next_pc, 2)) {
        c->r[RSP] = sp;
        return false;
    }
    c->eflags &= ~(uint32_t)(FL_TF | FL_RF | FL_AC | (virtual ? FL_VIF : FL_IF));
    x86_seg_set_real(c, VMR_X86_CS, (uint16_t)(entry >> 16));
    x86_mode_update(c);
    c->r[REG_PC] = entry & 0xffff;
    c->no_step = true;
    *done = true;
    return true;
}

/* Through the IDT of protected and long mode.  ext: bit 0 of error codes. */
static bool deliver_protected(X86Cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error,
                              uint64_t return_pc)
{
    bool lm = x86_long(c);
    unsigned entry_size = lm ? 16 : 8, ext = soft ? 0 : 1;
    uint32_t code = vector * 8 + 2 + ext;
    uint64_t d[2] = {0, 0}, cd[2], at;
    if (vector * entry_size + entry_size - 1 > c->idt_limit)
        return x86_gp(c, code);
    if (!x86_sys_load(c, c->idt_base + vector * entry_size, 8, &d[0]) ||
        (lm && !x86_sys_load(c, c->idt_base + vector * entry_size + 8, 8, &d[1])))
        return false;
    uint16_t ar = x86_desc_ar(d[0]);
    unsigned type = ar & 0x1f;
    bool ok = type == 14 || type == 15 || (!lm && (type == 5 || type == 6 || type == 7));
    if (!ok || (soft && AR_DPL(ar) < c->cpl))
        return x86_gp(c, code);
    if (!(ar & AR_P))
        return x86_raise_error(c, EXC_NP, code);
    if (type == 5)
        return x86_task_switch(c, (uint16_t)(d[0] >> 16), TASK_INT, has_error, error);

    uint16_t selector = (uint16_t)(d[0] >> 16);
    uint64_t offset = (d[0] & 0xffff) | (d[0] >> 32 & 0xffff0000);
    unsigned size = lm ? 8 : type & 8 ? 4 : 2;
    if (size == 2)
        offset &= 0xffff;
    if (lm)
        offset |= d[1] << 32;
    if (!(selector & ~3u))
        return x86_gp(c, ext);
    if (!x86_descriptor(c, selector, EXC_GP, cd, &at)) {
        if (c->exc_vector == EXC_GP)
            c->exc_error |= ext;
        return false;
    }
    uint16_t car = x86_desc_ar(cd[0]);
    if (!(car & AR_S) || !(car & AR_CODE) || AR_DPL(car) > c->cpl ||
        (lm && (!(car & AR_L) || (car & AR_DB))))
        return x86_gp(c, (selector & ~3u) | ext);
    if (!(car & AR_P))
        return x86_raise_error(c, EXC_NP, (selector & ~3u) | ext);

    bool vm = c->eflags & FL_VM;
    unsigned cpl = car & AR_CONFORMING ? c->cpl : AR_DPL(car);
    bool inner = cpl < c->cpl;
    if (vm && cpl != 0)
        return x86_gp(c, (selector & ~3u) | ext);
    unsigned ist = lm ? d[0] >> 32 & 7 : 0;

    Saved saved = {.sp = c->r[RSP], .pc = c->r[REG_PC], .cpl = c->cpl, .eflags = c->eflags};
    memcpy(saved.seg, c->seg, sizeof saved.seg);
    memcpy(saved.base, &c->r[REG_BASE_ES], sizeof saved.base);
    uint64_t flags = x86_rflags(c);
    uint16_t old_ss = c->seg[VMR_X86_SS].sel, old_cs = c->seg[VMR_X86_CS].sel;
    uint64_t old_sp = c->r[RSP];

    if (inner || ist) {
        uint64_t sp, ss = 0;
        if (lm) {
            unsigned where = ist ? 0x24 + (ist - 1) * 8 : 4 + cpl * 8;
            if (where + 7 > c->tr.limit)
                return x86_raise_error(c, EXC_TS, (c->tr.sel & ~3u) | ext);
            if (!x86_sys_load(c, c->tr_base + where, 8, &sp))
                return false;
        } else {
            bool wide = AR_TYPE(c->tr.ar) & 8;
            unsigned where = wide ? 4 + 8 * cpl : 2 + 4 * cpl, n = wide ? 4 : 2;
            if (where + n + 1 > c->tr.limit)
                return x86_raise_error(c, EXC_TS, (c->tr.sel & ~3u) | ext);
            if (!x86_sys_load(c, c->tr_base + where, n, &sp) ||
                !x86_sys_load(c, c->tr_base + where + n, 2, &ss))
                return false;
        }
        if (lm) {
            c->cpl = (uint8_t)cpl;
            if (inner) {
                X86Seg *s = &c->seg[VMR_X86_SS];
                *s = (X86Seg){.sel = (uint16_t)cpl, .unusable = true, .ar = (uint16_t)(cpl << 5)};
                c->r[REG_BASE_SS] = 0;
            }
        } else {
            uint64_t sd[2], sat;
            if (!(ss & ~3ull))
                return x86_raise_error(c, EXC_TS, ext);
            if (!x86_descriptor(c, (uint16_t)ss, EXC_TS, sd, &sat))
                return false;
            uint16_t sar = x86_desc_ar(sd[0]);
            if ((ss & 3) != cpl || AR_DPL(sar) != cpl || !(sar & AR_S) || (sar & AR_CODE) ||
                !(sar & AR_RW))
                return x86_raise_error(c, EXC_TS, (ss & ~3u) | ext);
            if (!(sar & AR_P))
                return x86_raise_error(c, EXC_SS, (ss & ~3u) | ext);
            c->eflags &= ~(uint32_t)FL_VM;
            c->cpl = (uint8_t)cpl;
            c->seg[VMR_X86_SS] = (X86Seg){.sel = (uint16_t)ss, .limit = x86_desc_limit(sd[0]), .ar = sar};
            c->r[REG_BASE_SS] = x86_desc_base(sd[0]);
        }
        c->r[RSP] = sp;
    }
    if (lm) {
        /* the frame is pushed with 64-bit rules whatever ran before */
        c->seg[VMR_X86_CS].ar |= AR_L;
        c->seg[VMR_X86_CS].ar &= (uint16_t)~AR_DB;
        c->r[RSP] &= ~15ull;
    }
    x86_mode_update(c);
    if (vm) {
        if (!x86_push(c, c->seg[VMR_X86_GS].sel, size) || !x86_push(c, c->seg[VMR_X86_FS].sel, size) ||
            !x86_push(c, c->seg[VMR_X86_DS].sel, size) || !x86_push(c, c->seg[VMR_X86_ES].sel, size))
            return undo(c, &saved);
    }
    if (lm || inner)
        if (!x86_push(c, old_ss, size) || !x86_push(c, old_sp, size))
            return undo(c, &saved);
    if (!x86_push(c, flags, size) || !x86_push(c, old_cs, size) || !x86_push(c, return_pc, size) ||
        (has_error && !x86_push(c, error, size)))
        return undo(c, &saved);
    if (vm) {
        static const uint8_t data[4] = {VMR_X86_ES, VMR_X86_DS, VMR_X86_FS, VMR_X86_GS};
        for (unsigned i = 0; i < 4; i++) {
            c->seg[data[i]] = (X86Seg){.unusable = true};
            c->r[REG_BASE_ES + data[i]] = 0;
        }
    }
    x86_flags_settle(c);
    c->eflags &= ~(uint32_t)(FL_TF | FL_NT | FL_VM | FL_RF);
    if (!(type & 1)) /* interrupt gate */
        c->eflags &= ~(uint32_t)FL_IF;
    c->seg[VMR_X86_CS] = (X86Seg){.sel = (uint16_t)((selector & ~3u) | cpl),
                                  .limit = x86_desc_limit(cd[0]),
                                  .ar = (uint16_t)(car | AR_ACCESSED)};
    c->r[REG_BASE_CS] = x86_desc_base(cd[0]);
    c->cpl = (uint8_t)cpl;
    x86_mode_update(c);
    c->r[REG_PC] = offset & c->pc_mask;
    return true;
}

bool x86_interrupt(X86Cpu *c, unsigned vector, bool soft, bool has_error, uint32_t error,
                   uint64_t return_pc)
{
    if (unlikely(vmr_trace_mask & VMR_TRACE_EXCEPTION))
        trace_event(c, soft ? "software interrupt" : "interrupt", vector, error);
    x86_flags_settle(c);
    c->no_step = true;
    if (!(c->cr0 & CR0_PE))
        return deliver_real(c, vector, return_pc);
    return deliver_protected(c, vector, soft, has_error, error, return_pc);
}

/* SDM table 6-5: which pairs make a double fault. */
static bool contributory(unsigned v)
{
    return v == EXC_DE || (v >= EXC_TS && v <= EXC_GP);
}

void x86_exception_deliver(X86Cpu *c)
{
    int first = -1;
    for (unsigned tries = 0; c->exc_pending; tries++) {
        unsigned vector = c->exc_vector;
        bool has_error = c->exc_has_error;
        uint32_t error = c->exc_error;
        c->exc_pending = false;
        c->ic.stats.exceptions++;
        if (vector == EXC_PF) /* also if it becomes a double fault */
            c->cr2 = c->exc_cr2;
        if (first == EXC_DF) {
            c->shutdown = true; /* a fault while a double fault is delivered */
            return;
        }
        if (first >= 0 && ((contributory((unsigned)first) && contributory(vector)) ||
                           (first == EXC_PF && (contributory(vector) || vector == EXC_PF)))) {
            vector = EXC_DF;
            has_error = true;
            error = 0;
        }
        first = (int)vector;
        if (unlikely(vmr_trace_mask & VMR_TRACE_EXCEPTION))
            trace_event(c, "exception", vector, error);
        x86_flags_settle(c);
        /* faults set RF in the saved flags, so that the instruction is not trapped again */
        uint32_t rf = vector != EXC_DB || c->gd_fault ? FL_RF : 0;
        c->gd_fault = false;
        if (vector == EXC_DB)
            c->dr[7] &= ~(uint64_t)DR7_GD;
        uint32_t flags = c->eflags;
        c->eflags |= rf;
        bool protected = c->cr0 & CR0_PE;
        bool ok = protected ? deliver_protected(c, vector, false, has_error, error, c->r[REG_PC])
                            : deliver_real(c, vector, c->r[REG_PC]);
        if (!ok)
            c->eflags = flags;
    }
}
