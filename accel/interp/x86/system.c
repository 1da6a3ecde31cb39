/*
 * System instructions: control and debug registers, descriptor tables, fast
 * system calls, time stamps.  SDM volume 3, chapters 2 and 5.
 */
#include "helpers.h"

#define T0 c->r[REG_T0]

static uint64_t reg_read(const X86Cpu *c, unsigned off, unsigned size)
{
    uint64_t v = *(const uint64_t *)((const char *)c->r + off);
    return size == 1 ? (uint16_t)v : size == 2 ? (uint32_t)v : v;
}

static void reg_write(X86Cpu *c, unsigned off, unsigned size, uint64_t v)
{
    char *p = (char *)c->r + off;
    if (size == 1)
        *(uint16_t *)p = (uint16_t)v;
    else
        *(uint64_t *)p = size == 2 ? (uint32_t)v : v;
}

static bool ring0(X86Cpu *c) { return c->cpl == 0 || x86_gp(c, 0); }

/* ---- mode ------------------------------------------------------------------------------------ */

static bool flat_segment(const X86Cpu *c, unsigned seg)
{
    const X86Seg *s = &c->seg[seg];
    return c->r[REG_BASE_ES + seg] == 0 && s->limit == 0xffffffff && !s->unusable &&
           !(s->ar & AR_CODE) && (s->ar & AR_RW) && !(s->ar & AR_EXPAND_DOWN) && (s->ar & AR_DB);
}

void x86_mode_update(X86Cpu *c)
{
    const X86Seg *cs = &c->seg[VMR_X86_CS];
    uint32_t key;
    if (x86_long(c) && (cs->ar & AR_L)) {
        key = KEY_CODE64 | KEY_CSFLAT | KEY_FLAT | KEY_SS32;
        c->pc_mask = ~0ull;
    } else {
        bool wide = cs->ar & AR_DB && !(c->eflags & FL_VM);
        key = wide ? KEY_CODE32 : KEY_CODE16;
        c->pc_mask = wide ? 0xffffffff : 0xffff;
        if (!(c->cr0 & CR0_PE) || (c->eflags & FL_VM)) {
            key = KEY_CODE16; /* a big code segment left from protected mode still counts */
            if (wide)
                key = KEY_CODE32, c->pc_mask = 0xffffffff;
        } else if (flat_segment(c, VMR_X86_DS) && flat_segment(c, VMR_X86_ES) &&
                   flat_segment(c, VMR_X86_SS)) {
            key |= KEY_FLAT;
        }
        if (c->seg[VMR_X86_SS].ar & AR_DB && !(c->eflags & FL_VM))
            key |= KEY_SS32;
        if (wide && c->r[REG_BASE_CS] == 0 && cs->limit == 0xffffffff)
            key |= KEY_CSFLAT;
    }
    if (x86_protected(c))
        key |= KEY_PROT;
    if (c->cr0 & (CR0_TS | CR0_EM))
        key |= KEY_NM;
    if (!(c->cr4 & CR4_OSFXSR))
        key |= KEY_NOSSE;
    if (!(c->cr4 & CR4_OSXSAVE) || (c->xcr0 & 6) != 6)
        key |= KEY_NOAVX;
    c->key = key;
    unsigned tlb = c->cpl == 3 ? 0 : (c->cr4 & CR4_SMAP) && !(c->eflags & FL_AC) ? 1 : 2;
    if (tlb == 0 && (c->eflags & FL_AC) && (c->cr0 & CR0_AM))
        tlb = 3;
    c->ic.tlb = &c->ic.tlbs[tlb];
}

uint64_t x86_cr4_known(const X86Cpu *c)
{
    /* a bit is reserved if CPUID does not offer what it turns on */
    static const struct {
        uint8_t word, bit;
        uint32_t cr4;
    } bits[] = {
        {VMR_X86_1_EDX, 1, CR4_VME | CR4_PVI}, {VMR_X86_1_EDX, 2, CR4_DE},
        {VMR_X86_1_EDX, 3, CR4_PSE},           {VMR_X86_1_EDX, 4, CR4_TSD},
        {VMR_X86_1_EDX, 6, CR4_PAE},           {VMR_X86_1_EDX, 7, CR4_MCE},
        {VMR_X86_1_EDX, 13, CR4_PGE},          {VMR_X86_1_EDX, 24, CR4_OSFXSR},
        {VMR_X86_1_EDX, 25, CR4_OSXMMEXCPT},   {VMR_X86_1_ECX, 17, CR4_PCIDE},
        {VMR_X86_1_ECX, 26, CR4_OSXSAVE},      {VMR_X86_7_EBX, 0, CR4_FSGSBASE},
        {VMR_X86_7_EBX, 7, CR4_SMEP},          {VMR_X86_7_EBX, 20, CR4_SMAP},
        {VMR_X86_7_ECX, 2, CR4_UMIP},          {VMR_X86_7_ECX, 3, CR4_PKE},
        {VMR_X86_7_ECX, 16, CR4_LA57},
    };
    uint64_t known = c->cpuid.model->family >= 6 ? CR4_PCE : 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++)
        if (c->cpuid.words[bits[i].word] >> bits[i].bit & 1)
            known |= bits[i].cr4;
    return known;
}

bool x86_cr_write(X86Cpu *c, unsigned cr, uint64_t v)
{
    switch (cr) {
    case 0: {
        uint64_t old = c->cr0;
        v = (v & 0xe005003full) | CR0_ET;
        if (((v & CR0_PG) && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD)))
            return x86_gp(c, 0);
        if ((v & CR0_PG) && !(old & CR0_PG) && (c->efer & EFER_LME)) {
            if (!(c->cr4 & CR4_PAE) || (c->seg[VMR_X86_CS].ar & AR_L) || AR_TYPE(c->tr.ar) <= 3)
                return x86_gp(c, 0);
            c->efer |= EFER_LMA;
        } else if (!(v & CR0_PG) && (old & CR0_PG)) {
            if (x86_code64(c) || (c->cr4 & CR4_PCIDE))
                return x86_gp(c, 0);
            c->efer &= ~(uint64_t)EFER_LMA;
        }
        if ((v & CR0_PG) && (c->cr4 & CR4_PAE) && !x86_long(c) &&
            ((old ^ v) & (CR0_CD | CR0_NW | CR0_PG)) && !x86_pdptes_load(c, c->cr3, true))
            return false;
        c->cr0 = v;
        if ((old ^ v) & (CR0_PG | CR0_WP | CR0_PE))
            interp_tlb_flush(&c->ic);
        x86_mode_update(c);
        return true;
    }
    case 3:
        if (x86_long(c)) {
            if (c->cr4 & CR4_PCIDE)
                v &= ~(1ull << 63); /* "do not flush": only a hint */
            if (v >> x86_phys_bits(c))
                return x86_gp(c, 0);
        } else {
            v = (uint32_t)v;
            if (x86_pae_paging(c) && !x86_pdptes_load(c, v, true))
                return false;
        }
        c->cr3 = v;
        interp_tlb_flush(&c->ic);
        return true;
    case 4: {
        uint64_t old = c->cr4, changed = old ^ v;
        if (v & ~x86_cr4_known(c) || (x86_long(c) && (!(v & CR4_PAE) || (changed & CR4_LA57))))
            return x86_gp(c, 0);
        if ((v & changed & CR4_PCIDE) && (!x86_long(c) || (c->cr3 & 0xfff)))
            return x86_gp(c, 0);
        if ((c->cr0 & CR0_PG) && (v & CR4_PAE) && !x86_long(c) &&
            (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && !x86_pdptes_load(c, c->cr3, true))
            return false;
        c->cr4 = v;
        if (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_LA57 | CR4_PCIDE))
            interp_tlb_flush(&c->ic);
        if (changed & CR4_DE)
            x86_debug_update(c);
        x86_mode_update(c);
        return true;
    }
    case 8:
        if (v & ~15ull)
            return x86_gp(c, 0);
        if (c->lapic_ops) {
            vmr_domain_lock(c->intc->handle->domain);
            c->lapic_ops->set_cr8(c->intc, c->ic.index, (uint8_t)v);
            vmr_domain_unlock(c->intc->handle->domain);
            x86_check_interrupts(c);
        }
        return true;
    }
    return x86_ud(c);
}

bool x86_h_mov_to_cr(X86Cpu *c, const InterpOp *op)
{
    if (op->d != 0 && op->d != 2 && op->d != 3 && op->d != 4 && op->d != 8)
        return x86_ud(c);
    if (!ring0(c))
        return false;
    uint64_t v = reg_read(c, op->s, op->x);
    if (op->d == 0 && op->x == 3 && v >> 32)
        return x86_gp(c, 0);
    if (op->d == 2) {
        c->cr2 = v;
        return true;
    }
    return x86_cr_write(c, op->d, v);
}

bool x86_h_mov_from_cr(X86Cpu *c, const InterpOp *op)
{
    uint64_t v = 0;
    switch (op->d) {
    case 0: v = c->cr0; break;
    case 2: v = c->cr2; break;
    case 3: v = c->cr3; break;
    case 4: v = c->cr4; break;
    case 8:
        if (!ring0(c))
            return false;
        if (c->lapic_ops) {
            vmr_domain_lock(c->intc->handle->domain);
            v = c->lapic_ops->get_cr8(c->intc, c->ic.index);
            vmr_domain_unlock(c->intc->handle->domain);
        }
        break;
    default: return x86_ud(c);
    }
    if (!ring0(c))
        return false;
    reg_write(c, op->s, op->x, v);
    return true;
}

static bool debug_register(X86Cpu *c, unsigned *n)
{
    if (*n > 7)
        return x86_ud(c);
    if (!ring0(c))
        return false;
    if (*n == 4 || *n == 5) {
        if (c->cr4 & CR4_DE)
            return x86_ud(c);
        *n += 2;
    }
    if (c->dr[7] & DR7_GD) {
        c->dr[6] = (c->dr[6] & ~15ull) | DR6_BD;
        c->gd_fault = true;
        return x86_raise(c, EXC_DB);
    }
    return true;
}

bool x86_h_mov_to_dr(X86Cpu *c, const InterpOp *op)
{
    unsigned n = op->d;
    if (!debug_register(c, &n))
        return false;
    uint64_t v = reg_read(c, op->s, op->x);
    if (n >= 6 && v >> 32)
        return x86_gp(c, 0);
    if (n == 6)
        v = (v & 0xe00f) | 0xffff0ff0;
    else if (n == 7)
        v = (v & 0xffff2bff) | 0x400;
    c->dr[n] = v;
    if (n != 6)
        x86_debug_update(c);
    return true;
}

bool x86_h_mov_from_dr(X86Cpu *c, const InterpOp *op)
{
    unsigned n = op->d;
    if (!debug_register(c, &n))
        return false;
    reg_write(c, op->s, op->x, c->dr[n]);
    return true;
}

bool x86_h_clts(X86Cpu *c, const InterpOp *op)
{
    if (!ring0(c))
        return false;
    c->cr0 &= ~(uint64_t)CR0_TS;
    x86_mode_update(c);
    return true;
}

static bool umip(X86Cpu *c) { return !(c->cr4 & CR4_UMIP) || c->cpl == 0 || x86_gp(c, 0); }

static bool operand(X86Cpu *c, const InterpOp *op, uint64_t *v)
{
    if (op->scale)
        return x86_load(c, T0, 2, v);
    *v = reg_read(c, op->s, 1);
    return true;
}

static bool result(X86Cpu *c, const InterpOp *op, uint64_t v)
{
    if (op->scale)
        return x86_store_slow(c, T0, v, 2);
    reg_write(c, op->s, op->x, v);
    return true;
}

bool x86_h_lmsw(X86Cpu *c, const InterpOp *op)
{
    uint64_t v;
    if (!ring0(c) || !operand(c, op, &v))
        return false;
    return x86_cr_write(c, 0, (c->cr0 & ~0xeull) | (v & 0xf) | (c->cr0 & CR0_PE));
}

bool x86_h_smsw(X86Cpu *c, const InterpOp *op) { return umip(c) && result(c, op, c->cr0); }

/* ---- descriptor tables ---------------------------------------------------------------------------- */

static bool table_load(X86Cpu *c, const InterpOp *op, uint64_t *base, uint16_t *limit)
{
    uint64_t l, b;
    bool m64 = x86_code64(c);
    if (!ring0(c) || !x86_load(c, T0, 2, &l) || !x86_load(c, T0 + 2, m64 ? 8 : 4, &b))
        return false;
    if (m64 && !x86_canonical_base(c, b))
        return x86_gp(c, 0);
    *base = !m64 && op->x == 1 ? b & 0xffffff : b;
    *limit = (uint16_t)l;
    return true;
}

static bool table_store(X86Cpu *c, uint64_t base, uint16_t limit)
{
    unsigned n = x86_code64(c) ? 8 : 4;
    return umip(c) && x86_probe(c, T0, n + 2, true) && x86_store_slow(c, T0, limit, 2) &&
           x86_store_slow(c, T0 + 2, base, n);
}

bool x86_h_lgdt(X86Cpu *c, const InterpOp *op) { return table_load(c, op, &c->gdt_base, &c->gdt_limit); }
bool x86_h_lidt(X86Cpu *c, const InterpOp *op) { return table_load(c, op, &c->idt_base, &c->idt_limit); }
bool x86_h_sgdt(X86Cpu *c, const InterpOp *op) { return table_store(c, c->gdt_base, c->gdt_limit); }
bool x86_h_sidt(X86Cpu *c, const InterpOp *op) { return table_store(c, c->idt_base, c->idt_limit); }

/* LDT and TSS descriptors: of 16 bytes in long mode. */
static uint64_t system_base(X86Cpu *c, const uint64_t d[2])
{
    return x86_desc_base(d[0]) | (x86_long(c) ? d[1] << 32 : 0);
}

bool x86_h_lldt(X86Cpu *c, const InterpOp *op)
{
    uint64_t v, d[2], at;
    if (!ring0(c) || !operand(c, op, &v))
        return false;
    if (!(v & ~3ull)) {
        c->ldtr = (X86Seg){.sel = (uint16_t)v, .unusable = true};
        return true;
    }
    if (v & 4)
        return x86_gp(c, v & ~3u);
    if (!x86_descriptor(c, (uint16_t)v, EXC_GP, d, &at))
        return false;
    uint16_t ar = x86_desc_ar(d[0]);
    if ((ar & 0x1f) != 2)
        return x86_gp(c, v & ~3u);
    if (!(ar & AR_P))
        return x86_raise_error(c, EXC_NP, v & ~3u);
    if (!x86_canonical_base(c, system_base(c, d)))
        return x86_gp(c, v & ~3u);
    c->ldtr = (X86Seg){.sel = (uint16_t)v, .limit = x86_desc_limit(d[0]), .ar = ar};
    c->ldtr_base = system_base(c, d);
    return true;
}

bool x86_h_ltr(X86Cpu *c, const InterpOp *op)
{
    uint64_t v, d[2], at;
    if (!ring0(c) || !operand(c, op, &v))
        return false;
    if (!(v & ~3ull) || (v & 4))
        return x86_gp(c, v & ~3u);
    if (!x86_descriptor(c, (uint16_t)v, EXC_GP, d, &at))
        return false;
    uint16_t ar = x86_desc_ar(d[0]);
    if ((ar & 0x1f) != 9 && ((ar & 0x1f) != 1 || x86_long(c)))
        return x86_gp(c, v & ~3u);
    if (!(ar & AR_P))
        return x86_raise_error(c, EXC_NP, v & ~3u);
    if (!x86_canonical_base(c, system_base(c, d)))
        return x86_gp(c, v & ~3u);
    if (!x86_sys_store(c, at + 5, (d[0] >> 40 & 0xff) | 2, 1))
        return false;
    c->tr = (X86Seg){.sel = (uint16_t)v, .limit = x86_desc_limit(d[0]), .ar = (uint16_t)(ar | 2)};
    c->tr_base = system_base(c, d);
    return true;
}

bool x86_h_sldt(X86Cpu *c, const InterpOp *op) { return umip(c) && result(c, op, c->ldtr.sel); }
bool x86_h_str(X86Cpu *c, const InterpOp *op) { return umip(c) && result(c, op, c->tr.sel); }

static void set_zf(X86Cpu *c, bool zf)
{
    x86_flags_set(c, (x86_cc_flags(c) & ~(uint32_t)FL_ZF) | (zf ? FL_ZF : 0));
}

/* A descriptor for LAR, LSL, VERR, VERW: no fault if there is none, but page faults stay. */
static bool peek(X86Cpu *c, uint16_t selector, uint64_t d[2], bool *found)
{
    uint64_t at;
    *found = false;
    if (!(selector & ~3u))
        return true;
    if (!x86_descriptor(c, selector, EXC_GP, d, &at)) {
        if (c->exc_vector != EXC_GP)
            return false;
        c->exc_pending = false;
        return true;
    }
    uint16_t ar = x86_desc_ar(d[0]);
    bool conforming = (ar & AR_S) && (ar & AR_CODE) && (ar & AR_CONFORMING);
    *found = conforming || (AR_DPL(ar) >= c->cpl && AR_DPL(ar) >= (selector & 3u));
    return true;
}

bool x86_h_lar(X86Cpu *c, const InterpOp *op)
{
    uint64_t v, d[2];
    bool found;
    if (!operand(c, op, &v) || !peek(c, (uint16_t)v, d, &found))
        return false;
    uint16_t ar = found ? x86_desc_ar(d[0]) : 0;
    if (found && !(ar & AR_S)) {
        unsigned types = x86_long(c) ? 0x1a04u : 0x1a3eu; /* 2, 9, 11, 12; and 1..5 */
        found = types >> AR_TYPE(ar) & 1;
    }
    if (found)
        reg_write(c, op->d, op->x, d[0] >> 32 & (op->x == 1 ? 0xff00 : 0x00f0ff00));
    set_zf(c, found);
    return true;
}

bool x86_h_lsl(X86Cpu *c, const InterpOp *op)
{
    uint64_t v, d[2];
    bool found;
    if (!operand(c, op, &v) || !peek(c, (uint16_t)v, d, &found))
        return false;
    uint16_t ar = found ? x86_desc_ar(d[0]) : 0;
    if (found && !(ar & AR_S)) {
        unsigned types = x86_long(c) ? 0x0a04u : 0x0a0eu; /* 2, 9, 11; and 1, 3 */
        found = types >> AR_TYPE(ar) & 1;
    }
    if (found)
        reg_write(c, op->d, op->x, x86_desc_limit(d[0]));
    set_zf(c, found);
    return true;
}

static bool verify(X86Cpu *c, const InterpOp *op, bool write)
{
    uint64_t v, d[2];
    bool found;
    if (!operand(c, op, &v) || !peek(c, (uint16_t)v, d, &found))
        return false;
    if (found) {
        uint16_t ar = x86_desc_ar(d[0]);
        found = (ar & AR_S) && (write ? !(ar & AR_CODE) && (ar & AR_RW) : !(ar & AR_CODE) || (ar & AR_RW));
    }
    set_zf(c, found);
    return true;
}

bool x86_h_verr(X86Cpu *c, const InterpOp *op) { return verify(c, op, false); }
bool x86_h_verw(X86Cpu *c, const InterpOp *op) { return verify(c, op, true); }

/* ---- TLB and caches ------------------------------------------------------------------------------------ */

bool x86_h_invlpg(X86Cpu *c, const InterpOp *op)
{
    if (!ring0(c))
        return false;
    interp_tlb_flush_page(&c->ic, T0);
    return true;
}

bool x86_h_invpcid(X86Cpu *c, const InterpOp *op)
{
    uint64_t pcid, address, type = *(uint64_t *)((char *)c->r + op->d);
    if (!x86_code64(c))
        type = (uint32_t)type;
    if (!ring0(c))
        return false;
    if (type > 3)
        return x86_gp(c, 0);
    if (!x86_load(c, T0, 8, &pcid) || !x86_load(c, T0 + 8, 8, &address))
        return false;
    if (pcid >> 12 || (type < 2 && !(c->cr4 & CR4_PCIDE) && pcid) ||
        (type == 0 && !x86_canonical(c, address)))
        return x86_gp(c, 0);
    if (type == 0)
        interp_tlb_flush_page(&c->ic, address);
    else
        interp_tlb_flush(&c->ic);
    return true;
}

bool x86_h_wbinvd(X86Cpu *c, const InterpOp *op) { return ring0(c); }

/* ---- fast system calls ------------------------------------------------------------------------------------ */

static void flat_code(X86Cpu *c, uint16_t selector, unsigned cpl, bool m64)
{
    c->seg[VMR_X86_CS] = (X86Seg){.sel = (uint16_t)((selector & ~3u) | cpl), .limit = 0xffffffff,
                                  .ar = (uint16_t)(AR_G | AR_P | AR_S | 11 | cpl << 5 |
                                                   (m64 ? AR_L : AR_DB))};
    c->r[REG_BASE_CS] = 0;
    c->cpl = (uint8_t)cpl;
}

static void flat_stack(X86Cpu *c, uint16_t selector, unsigned cpl)
{
    c->seg[VMR_X86_SS] = (X86Seg){.sel = (uint16_t)((selector & ~3u) | cpl), .limit = 0xffffffff,
                                  .ar = (uint16_t)(AR_G | AR_DB | AR_P | AR_S | 3 | cpl << 5)};
    c->r[REG_BASE_SS] = 0;
}

bool x86_h_syscall(X86Cpu *c, const InterpOp *op)
{
    /* Intel: in 64-bit mode only */
    if (!(c->efer & EFER_SCE) || !x86_code64(c))
        return x86_ud(c);
    uint64_t flags = x86_rflags(c);
    c->r[RCX] = c->next_pc;
    c->r[11] = flags & ~(uint64_t)FL_RF;
    x86_flags_set(c, x86_cc_flags(c));
    c->eflags = (uint32_t)((flags & ~(uint64_t)FL_RF) & ~c->sfmask) | FL_1;
    uint16_t selector = (uint16_t)(c->star >> 32) & 0xfffc;
    flat_code(c, selector, 0, true);
    flat_stack(c, (uint16_t)(selector + 8), 0);
    x86_mode_update(c);
    c->r[REG_PC] = c->lstar;
    return true;
}

bool x86_h_sysret(X86Cpu *c, const InterpOp *op)
{
    if (!(c->efer & EFER_SCE) || !x86_code64(c))
        return x86_ud(c);
    if (c->cpl || !(c->cr0 & CR0_PE))
        return x86_gp(c, 0);
    bool m64 = op->x == 3;
    uint64_t to = m64 ? c->r[RCX] : (uint32_t)c->r[RCX];
    if (!x86_canonical(c, to))
        return x86_gp(c, 0);
    uint16_t selector = (uint16_t)(c->star >> 48);
    x86_flags_settle(c);
    c->eflags = ((uint32_t)c->r[11] & 0x3c7fd7) | FL_1;
    flat_code(c, (uint16_t)(selector + (m64 ? 16 : 0)), 3, m64);
    flat_stack(c, (uint16_t)(selector + 8), 3);
    x86_mode_update(c);
    c->r[REG_PC] = to;
    x86_check_interrupts(c);
    return true;
}

bool x86_h_sysenter(X86Cpu *c, const InterpOp *op)
{
    if (!(c->cr0 & CR0_PE) || !(c->sysenter_cs & 0xfffc))
        return x86_gp(c, 0);
    x86_flags_settle(c);
    c->eflags &= ~(uint32_t)(FL_VM | FL_IF | FL_RF);
    bool m64 = x86_long(c);
    flat_code(c, (uint16_t)c->sysenter_cs, 0, m64);
    flat_stack(c, (uint16_t)(c->sysenter_cs + 8), 0);
    c->r[RSP] = m64 ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
    x86_mode_update(c);
    c->r[REG_PC] = m64 ? c->sysenter_eip : (uint32_t)c->sysenter_eip;
    return true;
}

bool x86_h_sysexit(X86Cpu *c, const InterpOp *op)
{
    if (!(c->sysenter_cs & 0xfffc) || c->cpl || !(c->cr0 & CR0_PE))
        return x86_gp(c, 0);
    bool m64 = op->x == 3;
    uint64_t pc = m64 ? c->r[RDX] : (uint32_t)c->r[RDX], sp = m64 ? c->r[RCX] : (uint32_t)c->r[RCX];
    if (m64 && (!x86_canonical(c, pc) || !x86_canonical(c, sp)))
        return x86_gp(c, 0);
    flat_code(c, (uint16_t)(c->sysenter_cs + (m64 ? 32 : 16)), 3, m64);
    flat_stack(c, (uint16_t)(c->sysenter_cs + (m64 ? 40 : 24)), 3);
    c->r[RSP] = sp;
    x86_mode_update(c);
    c->r[REG_PC] = pc;
    return true;
}

bool x86_h_swapgs(X86Cpu *c, const InterpOp *op)
{
    if (!ring0(c))
        return false;
    uint64_t v = c->r[REG_BASE_GS];
    c->r[REG_BASE_GS] = c->kernel_gs_base;
    c->kernel_gs_base = v;
    return true;
}

bool x86_h_fsgsbase(X86Cpu *c, const InterpOp *op)
{
    /* d: RDFSBASE RDGSBASE WRFSBASE WRGSBASE */
    if (!(c->cr4 & CR4_FSGSBASE))
        return x86_ud(c);
    uint64_t *base = &c->r[op->d & 1 ? REG_BASE_GS : REG_BASE_FS];
    if (op->d < 2) {
        reg_write(c, op->s, op->x, *base);
        return true;
    }
    uint64_t v = reg_read(c, op->s, op->x);
    if (!x86_canonical_base(c, v))
        return x86_gp(c, 0);
    *base = v;
    return true;
}

/* ---- the rest --------------------------------------------------------------------------------------------------- */

bool x86_h_cpuid(X86Cpu *c, const InterpOp *op)
{
    uint32_t out[4];
    x86_cpuid(c, (uint32_t)c->r[RAX], (uint32_t)c->r[RCX], out);
    c->r[RAX] = out[0];
    c->r[RBX] = out[1];
    c->r[RCX] = out[2];
    c->r[RDX] = out[3];
    return true;
}

bool x86_h_rdmsr(X86Cpu *c, const InterpOp *op)
{
    uint64_t v;
    if (!ring0(c))
        return false;
    if (!x86_msr_read(c, (uint32_t)c->r[RCX], &v))
        return x86_gp(c, 0);
    c->r[RAX] = (uint32_t)v;
    c->r[RDX] = v >> 32;
    return true;
}

bool x86_h_wrmsr(X86Cpu *c, const InterpOp *op)
{
    if (!ring0(c))
        return false;
    uint64_t v = (uint32_t)c->r[RAX] | c->r[RDX] << 32;
    if (!x86_msr_write(c, (uint32_t)c->r[RCX], v))
        return x86_gp(c, 0);
    x86_check_interrupts(c);
    return true;
}

uint64_t x86_tsc(X86Cpu *c)
{
    int64_t ns = vmr_machine_time(c->ic.vm->machine);
    if (c->cpuid.tsc_hz != X86_TSC_HZ) /* 1 GHz: a tick is a nanosecond of guest-virtual time */
        ns = (int64_t)((__int128)ns * (int64_t)c->cpuid.tsc_hz / 1000000000);
    return (uint64_t)ns + (uint64_t)c->tsc_offset;
}

bool x86_h_rdtsc(X86Cpu *c, const InterpOp *op)
{
    if ((c->cr4 & CR4_TSD) && c->cpl)
        return x86_gp(c, 0);
    uint64_t t = x86_tsc(c);
    c->r[RAX] = (uint32_t)t;
    c->r[RDX] = t >> 32;
    return true;
}

bool x86_h_rdtscp(X86Cpu *c, const InterpOp *op)
{
    if (!(c->cpuid_81_edx & 1u << 27))
        return x86_ud(c);
    if (!x86_h_rdtsc(c, op))
        return false;
    c->r[RCX] = (uint32_t)c->tsc_aux;
    return true;
}

bool x86_h_rdpmc(X86Cpu *c, const InterpOp *op) { return x86_gp(c, 0); }

bool x86_h_xgetbv(X86Cpu *c, const InterpOp *op)
{
    if (!(c->cr4 & CR4_OSXSAVE))
        return x86_ud(c);
    uint32_t which = (uint32_t)c->r[RCX];
    if (which > (X86_FEATURE(c, D1_EAX, 2) ? 1 : 0))
        return x86_gp(c, 0);
    uint64_t v = which ? x86_xinuse(c) : c->xcr0;
    c->r[RAX] = (uint32_t)v;
    c->r[RDX] = v >> 32;
    return true;
}

bool x86_h_xsetbv(X86Cpu *c, const InterpOp *op)
{
    if (!(c->cr4 & CR4_OSXSAVE))
        return x86_ud(c);
    uint64_t v = (uint32_t)c->r[RAX] | c->r[RDX] << 32;
    if (c->cpl || (uint32_t)c->r[RCX] || !(v & 1) || (v & ~vmr_x86_xcr0_all(c->cpuid.words)) ||
        (v & 6) == 4)
        return x86_gp(c, 0);
    c->xcr0 = v;
    x86_mode_update(c);
    return true;
}

static bool set_ac(X86Cpu *c, uint32_t value)
{
    if (!(c->cpuid_7_ebx & 1u << 20) || c->cpl)
        return x86_ud(c);
    c->eflags = (c->eflags & ~(uint32_t)FL_AC) | value;
    x86_mode_update(c);
    return true;
}

bool x86_h_clac(X86Cpu *c, const InterpOp *op) { return set_ac(c, 0); }
bool x86_h_stac(X86Cpu *c, const InterpOp *op) { return set_ac(c, FL_AC); }
/* PKRU: by the CPU, not by XCR0.  d: WRPKRU */
bool x86_h_pkru(X86Cpu *c, const InterpOp *op)
{
    if (!(c->cr4 & CR4_PKE))
        return x86_ud(c);
    if ((uint32_t)c->r[RCX] || (op->d && (uint32_t)c->r[RDX]))
        return x86_gp(c, 0);
    if (op->d) {
        x86_pkru_set(c, (uint32_t)c->r[RAX]);
    } else {
        c->r[RAX] = c->pkru;
        c->r[RDX] = 0;
    }
    return true;
}

void x86_pkru_set(X86Cpu *c, uint32_t v)
{
    if (v != c->pkru)
        interp_tlb_flush(&c->ic);
    c->pkru = v;
}

/* Nothing is watched: MWAIT of the only CPU waits for an interrupt, of others ends at once. */
bool x86_h_monitor(X86Cpu *c, const InterpOp *op)
{
    uint64_t at, mask = op->x == 3 ? ~0ull : op->x == 2 ? 0xffffffff : 0xffff;
    if (!X86_FEATURE(c, 1_ECX, 3) || c->cpl)
        return x86_ud(c);
    if ((uint32_t)c->r[RCX])
        return x86_gp(c, 0);
    return x86_seg_linear(c, op->d, c->r[RAX] & mask, 1, false, &at) && x86_probe(c, at, 1, false);
}

bool x86_h_mwait(X86Cpu *c, const InterpOp *op)
{
    if (!X86_FEATURE(c, 1_ECX, 3) || c->cpl)
        return x86_ud(c);
    if ((uint32_t)c->r[RCX] & ~1u)
        return x86_gp(c, 0);
    if (c->ic.vm->cpu_count > 1) {
        g_thread_yield();
        return true;
    }
    c->halted = true;
    c->mwait = c->r[RCX] & 1;
    atomic_store(&c->ic.limit, 0);
    return true;
}
