/*
 * System management mode: SDM volume 3, chapter 32, with the state save map of 32-bit CPUs and
 * the one that AMD64 defined for CPUs with long mode.
 *
 * Leaves out: SMRAM that is hidden outside of SMM (a chipset's), I/O instruction restart, and the
 * hidden parts of segments where the 32-bit map has no place for them in silicon either.
 */
#include "helpers.h"

enum {
    MAP_SIZE = 0x200, MAP_AT = 0xfe00, /* of SMBASE */
    ENTRY = 0x8000,
    /* both */
    HALT_RESTART = 0x7f02, /* in the 32-bit map; 0x7ec9 in the other */
    REVISION = 0x7efc,
    RELOCATE = 1 << 17,
};

typedef struct Map {
    uint8_t bytes[MAP_SIZE];
} Map;

/* Offsets as manuals give them: from SMBASE + 0x8000. */
static void put(Map *m, unsigned at, uint64_t v, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        m->bytes[at - 0x7e00 + i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get(const Map *m, unsigned at, unsigned size)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)m->bytes[at - 0x7e00 + i] << (8 * i);
    return v;
}

static bool wide_map(const X86Cpu *c) { return X86_FEATURE(c, 81_EDX, 29); }

/* ---- 64 bits: selector, attributes, limit and base together ----------------------------------- */

static uint16_t attributes(const X86Seg *s)
{
    /* bits 15:12 of ours are 11:8 here; a segment that cannot be used is not present */
    unsigned ar = s->unusable ? s->ar & ~(unsigned)AR_P : s->ar;
    return (uint16_t)((ar & 0xff) | (ar >> 4 & 0xf00));
}

static X86Seg segment(uint16_t selector, uint16_t attr, uint32_t limit, bool null_is_unusable)
{
    X86Seg s = {.sel = selector, .limit = limit, .ar = (uint16_t)((attr & 0xff) | (attr & 0xf00) << 4)};
    s.unusable = null_is_unusable && !(s.ar & AR_P);
    return s;
}

static void put_wide(Map *m, unsigned at, const X86Seg *s, uint64_t base)
{
    put(m, at, s->sel, 2);
    put(m, at + 2, attributes(s), 2);
    put(m, at + 4, s->limit, 4);
    put(m, at + 8, base, 8);
}

static X86Seg get_wide(const Map *m, unsigned at, uint64_t *base)
{
    *base = get(m, at + 8, 8);
    return segment((uint16_t)get(m, at, 2), (uint16_t)get(m, at + 2, 2), (uint32_t)get(m, at + 4, 4), true);
}

static void save_wide(X86Cpu *c, Map *m)
{
    for (unsigned i = 0; i < 6; i++)
        put_wide(m, 0x7e00 + 16 * i, &c->seg[i], c->r[REG_BASE_ES + i]);
    put(m, 0x7e64, c->gdt_limit, 2);
    put(m, 0x7e68, c->gdt_base, 8);
    put_wide(m, 0x7e70, &c->ldtr, c->ldtr_base);
    put(m, 0x7e84, c->idt_limit, 2);
    put(m, 0x7e88, c->idt_base, 8);
    put_wide(m, 0x7e90, &c->tr, c->tr_base);
    put(m, 0x7ec9, c->halted, 1);
    put(m, 0x7ed0, c->efer, 8);
    put(m, REVISION, 0x20064, 4);
    put(m, 0x7f00, c->smbase, 4);
    put(m, 0x7f48, c->cr4, 8);
    put(m, 0x7f50, c->cr3, 8);
    put(m, 0x7f58, c->cr0, 8);
    put(m, 0x7f60, c->dr[7], 8);
    put(m, 0x7f68, c->dr[6], 8);
    put(m, 0x7f70, x86_rflags(c), 8);
    put(m, 0x7f78, c->r[REG_PC], 8);
    for (unsigned i = 0; i < 16; i++)
        put(m, 0x7ff8 - 8 * i, c->r[i], 8);
}

/* ---- 32 bits ----------------------------------------------------------------------------------- */

static unsigned narrow_at(unsigned i) { return i < 3 ? 0x7f84 + 12 * i : 0x7f2c + 12 * (i - 3); }

static void put_narrow(Map *m, unsigned at, const X86Seg *s, uint64_t base)
{
    put(m, at, (uint32_t)attributes(s) << 8 & 0xfff00, 4);
    put(m, at + 4, s->limit, 4);
    put(m, at + 8, base, 4);
}

static X86Seg get_narrow(const Map *m, unsigned at, unsigned selector_at, uint64_t *base)
{
    *base = get(m, at + 8, 4);
    return segment((uint16_t)get(m, selector_at, 2), (uint16_t)(get(m, at, 4) >> 8),
                   (uint32_t)get(m, at + 4, 4), true);
}

static void save_narrow(X86Cpu *c, Map *m)
{
    put(m, 0x7ffc, c->cr0, 4);
    put(m, 0x7ff8, c->cr3, 4);
    put(m, 0x7ff4, x86_rflags(c), 4);
    put(m, 0x7ff0, c->r[REG_PC], 4);
    for (unsigned i = 0; i < 8; i++)
        put(m, 0x7fd0 + 4 * i, c->r[i], 4);
    put(m, 0x7fcc, c->dr[6], 4);
    put(m, 0x7fc8, c->dr[7], 4);
    put(m, 0x7fc4, c->tr.sel, 4);
    put(m, 0x7fc0, c->ldtr.sel, 4);
    for (unsigned i = 0; i < 6; i++) {
        put(m, 0x7fa8 + 4 * i, c->seg[i].sel, 4);
        put_narrow(m, narrow_at(i), &c->seg[i], c->r[REG_BASE_ES + i]);
    }
    put_narrow(m, 0x7f78, &c->ldtr, c->ldtr_base);
    put(m, 0x7f74, c->gdt_base, 4);
    put(m, 0x7f70, c->gdt_limit, 4);
    put_narrow(m, 0x7f5c, &c->tr, c->tr_base);
    put(m, 0x7f58, c->idt_base, 4);
    put(m, 0x7f54, c->idt_limit, 4);
    put(m, 0x7f14, c->cr4, 4);
    put(m, HALT_RESTART, c->halted, 2);
    put(m, REVISION, 0x20000, 4);
    put(m, 0x7ef8, c->smbase, 4);
}

/* ---- SMI and RSM --------------------------------------------------------------------------------- */

void x86_smi(X86Cpu *c)
{
    Map map = {{0}};
    x86_flags_settle(c);
    if (wide_map(c))
        save_wide(c, &map);
    else
        save_narrow(c, &map);
    vmr_space_copy_to(c->ic.vm->machine->memory, (c->smbase + (uint64_t)MAP_AT) & c->ic.vm->a20_mask,
                      map.bytes, sizeof map.bytes);
    c->smi_pending = false;
    c->smm = true;
    c->smm_nmi_blocked = c->nmi_blocked;
    c->nmi_blocked = true;
    c->halted = c->mwait = c->inhibit = c->ss_shadow = false;
    c->cr0 &= ~(uint64_t)(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
    c->cr4 = c->efer = 0;
    c->dr[7] = 0x400;
    c->cc_op = CC_FLAGS;
    c->eflags = FL_1;
    c->cpl = 0;
    for (unsigned i = 0; i < 6; i++) {
        c->seg[i] = (X86Seg){.limit = 0xffffffff, .ar = AR_G | AR_P | AR_S | AR_RW | AR_ACCESSED};
        c->r[REG_BASE_ES + i] = 0;
    }
    c->seg[VMR_X86_CS].sel = (uint16_t)(c->smbase >> 4);
    c->r[REG_BASE_CS] = c->smbase;
    c->r[REG_PC] = ENTRY;
    interp_tlb_flush(&c->ic);
    x86_debug_update(c);
    x86_mode_update(c);
}

/* Bits that the CPU could not have had are not taken: what RSM would shut down for. */
static bool valid(const X86Cpu *c, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    if (((cr0 & CR0_PG) && !(cr0 & CR0_PE)) || ((cr0 & CR0_NW) && !(cr0 & CR0_CD)))
        return false;
    uint64_t lma = efer & EFER_LMA;
    if (lma && (!wide_map(c) || !(efer & EFER_LME) || !(cr0 & CR0_PG) || !(cr4 & CR4_PAE)))
        return false;
    return lma || !((efer & EFER_LME) && (cr0 & CR0_PG));
}

bool x86_h_rsm(X86Cpu *c, const InterpOp *op)
{
    Map map;
    const Map *m = &map;
    if (!c->smm)
        return x86_ud(c);
    vmr_space_copy_from(c->ic.vm->machine->memory, (c->smbase + (uint64_t)MAP_AT) & c->ic.vm->a20_mask,
                        map.bytes, sizeof map.bytes);
    bool wide = wide_map(c);
    uint64_t cr0 = wide ? get(m, 0x7f58, 8) : get(m, 0x7ffc, 4);
    uint64_t cr3 = wide ? get(m, 0x7f50, 8) : get(m, 0x7ff8, 4);
    uint64_t cr4 = wide ? get(m, 0x7f48, 8) : get(m, 0x7f14, 4);
    uint64_t efer = wide ? get(m, 0x7ed0, 8) : 0;
    if (!valid(c, cr0, cr4, efer) || cr3 >> x86_phys_bits(c) || (cr4 & ~x86_cr4_known(c))) {
        c->shutdown = true;
        atomic_store(&c->ic.limit, 0);
        return true;
    }
    uint64_t flags, pc;
    bool halted;
    if (wide) {
        for (unsigned i = 0; i < 6; i++)
            c->seg[i] = get_wide(m, 0x7e00 + 16 * i, &c->r[REG_BASE_ES + i]);
        c->gdt_limit = (uint16_t)get(m, 0x7e64, 2);
        c->gdt_base = get(m, 0x7e68, 8);
        c->ldtr = get_wide(m, 0x7e70, &c->ldtr_base);
        c->idt_limit = (uint16_t)get(m, 0x7e84, 2);
        c->idt_base = get(m, 0x7e88, 8);
        c->tr = get_wide(m, 0x7e90, &c->tr_base);
        halted = get(m, 0x7ec9, 1) & 1;
        c->dr[7] = (get(m, 0x7f60, 4) & 0xffff2bff) | 0x400;
        c->dr[6] = (get(m, 0x7f68, 4) & 0xe00f) | 0xffff0ff0;
        flags = get(m, 0x7f70, 4);
        pc = get(m, 0x7f78, 8);
        for (unsigned i = 0; i < 16; i++)
            c->r[i] = get(m, 0x7ff8 - 8 * i, 8);
        if (get(m, REVISION, 4) & RELOCATE)
            c->smbase = (uint32_t)get(m, 0x7f00, 4);
    } else {
        flags = get(m, 0x7ff4, 4);
        pc = get(m, 0x7ff0, 4);
        for (unsigned i = 0; i < 8; i++)
            c->r[i] = get(m, 0x7fd0 + 4 * i, 4);
        c->dr[6] = (get(m, 0x7fcc, 4) & 0xe00f) | 0xffff0ff0;
        c->dr[7] = (get(m, 0x7fc8, 4) & 0xffff2bff) | 0x400;
        for (unsigned i = 0; i < 6; i++)
            c->seg[i] = get_narrow(m, narrow_at(i), 0x7fa8 + 4 * i, &c->r[REG_BASE_ES + i]);
        c->ldtr = get_narrow(m, 0x7f78, 0x7fc0, &c->ldtr_base);
        c->gdt_base = get(m, 0x7f74, 4);
        c->gdt_limit = (uint16_t)get(m, 0x7f70, 4);
        c->tr = get_narrow(m, 0x7f5c, 0x7fc4, &c->tr_base);
        c->idt_base = get(m, 0x7f58, 4);
        c->idt_limit = (uint16_t)get(m, 0x7f54, 4);
        halted = get(m, HALT_RESTART, 2) & 1;
        if (get(m, REVISION, 4) & RELOCATE)
            c->smbase = (uint32_t)get(m, 0x7ef8, 4);
    }
    c->cr0 = cr0 | CR0_ET;
    c->cr3 = cr3;
    c->cr4 = cr4;
    c->efer = efer & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    c->cc_op = CC_FLAGS;
    c->eflags = ((uint32_t)flags & 0x3f7fd5) | FL_1;
    if (!(cr0 & CR0_PE) || x86_long(c))
        c->eflags &= ~(uint32_t)FL_VM;
    /* in real mode CPL is 0; else that of SS */
    c->cpl = !(cr0 & CR0_PE) ? 0 : c->eflags & FL_VM ? 3 : (uint8_t)AR_DPL(c->seg[VMR_X86_SS].ar);
    c->smm = false;
    c->nmi_blocked = c->smm_nmi_blocked;
    c->halted = halted;
    if (x86_pae_paging(c))
        x86_pdptes_load(c, c->cr3, false);
    interp_tlb_flush(&c->ic);
    x86_debug_update(c);
    x86_mode_update(c);
    c->r[REG_PC] = pc & c->pc_mask;
    atomic_store(&c->ic.limit, 0); /* events that waited */
    return true;
}
