/*
 * Paging and the slow paths of memory accesses: SDM volume 3, chapter 4.
 *
 * Left out: 5-level paging, protection keys (CPUID does not offer them).
 */
#include "cpu.h"

enum {
    PTE_P = 1u << 0, PTE_RW = 1u << 1, PTE_US = 1u << 2, PTE_A = 1u << 5, PTE_D = 1u << 6,
    PTE_PS = 1u << 7, PTE_G = 1u << 8,
};
#define PTE_NX (1ull << 63)
#define PHYS_BITS 40
#define PHYS_MASK (((1ull << PHYS_BITS) - 1) & INTERP_PAGE_MASK)
#define PHYS_RESERVED (((1ull << 52) - 1) & ~((1ull << PHYS_BITS) - 1))

enum { ACC_READ = 1, ACC_WRITE = 2, ACC_EXEC = 4 };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

enum { TLB_USER, TLB_SUPER, TLB_SUPER_USER }; /* index into tlbs[] */

static bool page_fault(X86Cpu *c, uint64_t addr, uint32_t error)
{
    c->exc_cr2 = addr;
    return x86_raise_error(c, EXC_PF, error);
}

/* A page-table entry in RAM, for atomic updates; NULL: not RAM. */
static void *entry_ptr(X86Cpu *c, uint64_t phys)
{
    phys &= c->ic.vm->a20_mask;
    const VmrRange *r = vmr_space_find(c->ic.vm->machine->memory, phys);
    if (!r || r->kind == VMR_RANGE_IO || r->last - phys < 7)
        return NULL;
    return r->host + (phys - r->base);
}

static uint64_t entry_read(X86Cpu *c, void *p, uint64_t phys, unsigned size)
{
    uint64_t v = 0;
    if (!p) {
        vmr_space_read(c->ic.vm->machine->memory, phys, &v, size, (int)c->ic.index);
        return v;
    }
    return size == 8 ? __atomic_load_n((uint64_t *)p, __ATOMIC_ACQUIRE)
                     : __atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE);
}

/* Set accessed / dirty bits if the entry is still `old`. */
static bool entry_update(void *p, uint64_t old, uint64_t bits, unsigned size)
{
    if (!p || (old & bits) == bits)
        return true;
    if (size == 8)
        return __atomic_compare_exchange_n((uint64_t *)p, &old, old | bits, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_ACQUIRE);
    uint32_t old32 = (uint32_t)old;
    return __atomic_compare_exchange_n((uint32_t *)p, &old32, old32 | (uint32_t)bits, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/*
 * Walk the tables for one access and fill the TLB; false: #PF is pending.
 * index: which TLB, which says the kind of access.
 */
static bool walk(X86Cpu *c, unsigned index, uint64_t addr, unsigned access)
{
    InterpCpu *ic = &c->ic;
    bool user = index == TLB_USER;
    uint32_t error = (access == ACC_WRITE ? PF_W : 0) | (user ? PF_U : 0);
    bool nx_on = c->efer & EFER_NXE;
    if (access == ACC_EXEC && (nx_on || (c->cr4 & CR4_SMEP)))
        error |= PF_I;

    if (!(c->cr0 & CR0_PG)) {
        interp_tlb_fill(ic, &ic->tlbs[index], addr, addr & 0xffffffff, 7, INTERP_PAGE);
        return true;
    }

    bool pae = c->cr4 & CR4_PAE;
    unsigned size = pae ? 8 : 4, bits = pae ? 9 : 10;
    int level;
    uint64_t table;
    if (x86_long(c)) {
        int64_t top = (int64_t)addr >> 47;
        if (top != 0 && top != -1) {
            x86_gp(c, 0);
            c->exc_canonical = true;
            return false;
        }
        level = 4;
        table = c->cr3 & PHYS_MASK;
    } else if (pae) {
        level = 3;
        table = c->cr3 & 0xffffffe0;
        addr &= 0xffffffff;
    } else {
        level = 2;
        table = c->cr3 & 0xfffff000;
        addr &= 0xffffffff;
    }

again:;
    uint64_t t = table, pte = 0;
    bool writable = true, user_ok = true, executable = true;
    unsigned shift = 0;
    for (int l = level;; l--) {
        shift = 12 + (unsigned)(l - 1) * bits;
        uint64_t at = t + ((addr >> shift) & (l == 3 && level == 3 ? 3 : (1u << bits) - 1)) * size;
        void *p = entry_ptr(c, at);
        pte = entry_read(c, p, at, size);
        if (!(pte & PTE_P))
            return page_fault(c, addr, error);
        if (level == 3 && l == 3) { /* PDPTE: only P, PWT, PCD and the address */
            t = pte & PHYS_MASK;
            continue;
        }
        if (pae) {
            uint64_t reserved = PHYS_RESERVED | (level == 3 ? 0x7ffull << 52 : 0);
            if ((pte & reserved) || (!nx_on && (pte & PTE_NX)) || (l == 4 && (pte & PTE_PS)))
                return page_fault(c, addr, error | PF_P | PF_RSVD);
            if (pte & PTE_NX)
                executable = false;
        }
        writable &= (pte & PTE_RW) != 0;
        user_ok &= (pte & PTE_US) != 0;
        bool leaf = l == 1 || (l < 4 && (pte & PTE_PS) && (pae || (c->cr4 & CR4_PSE)));
        if (!leaf) {
            if (!entry_update(p, pte, PTE_A, size))
                goto again;
            t = pae ? pte & PHYS_MASK : pte & 0xfffff000;
            continue;
        }
        if (l > 1) {
            uint64_t low = pae ? ((1ull << shift) - 1) & ~0x1fffull : 0;
            if (pte & low)
                return page_fault(c, addr, error | PF_P | PF_RSVD);
        }
        /* permissions */
        bool ok;
        bool wp = user || (c->cr0 & CR0_WP);
        bool may_write = writable || !wp;
        if (user)
            ok = user_ok;
        else if (access == ACC_EXEC)
            ok = !(user_ok && (c->cr4 & CR4_SMEP));
        else
            ok = !(user_ok && index == TLB_SUPER && (c->cr4 & CR4_SMAP));
        if (access == ACC_WRITE)
            ok &= may_write;
        if (access == ACC_EXEC)
            ok &= executable;
        if (!ok)
            return page_fault(c, addr, error | PF_P);
        if (!entry_update(p, pte, access == ACC_WRITE ? PTE_A | PTE_D : PTE_A, size))
            goto again;

        uint64_t page = 1ull << shift, phys;
        if (pae)
            phys = (pte & PHYS_MASK & ~(page - 1));
        else if (l == 2) /* PSE-36 */
            phys = (pte & 0xffc00000) | ((pte >> 13 & 0xff) << 32);
        else
            phys = pte & 0xfffff000;
        phys |= addr & (page - 1) & INTERP_PAGE_MASK;
        unsigned prot = 0;
        bool smap_denies = !user && user_ok && index == TLB_SUPER && (c->cr4 & CR4_SMAP);
        if (!smap_denies && (!user || user_ok)) {
            prot |= 1;
            if (may_write && ((pte & PTE_D) || access == ACC_WRITE))
                prot |= 2;
        }
        if (executable && (user ? user_ok : !(user_ok && (c->cr4 & CR4_SMEP))))
            prot |= 4;
        interp_tlb_fill(ic, &ic->tlbs[index], addr, phys, prot, page);
        return true;
    }
}

static uint64_t tag_of(const InterpTlbEntry *e, unsigned access)
{
    return access == ACC_READ ? e->tag_r : access == ACC_WRITE ? e->tag_w : e->tag_x;
}

/* The entry for one page, after a walk if need be; NULL: a fault is pending. */
static InterpTlbEntry *translate(X86Cpu *c, unsigned index, uint64_t addr, unsigned access)
{
    InterpTlbEntry *e = interp_tlb_entry(&c->ic.tlbs[index], addr);
    uint64_t tag = tag_of(e, access);
    if ((tag & INTERP_PAGE_MASK) != (addr & INTERP_PAGE_MASK) || tag == ~0ull) {
        if (!walk(c, index, addr, access))
            return NULL;
    }
    return e;
}

static unsigned current_tlb(const X86Cpu *c)
{
    return (unsigned)(c->ic.tlb - c->ic.tlbs);
}

/* Linear addresses have 32 bits outside 64-bit mode (the top of the fast path sees them raw). */
static uint64_t linear(const X86Cpu *c, uint64_t addr)
{
    return x86_long(c) ? addr : (uint32_t)addr;
}

/* One access within a page.  Writes to RAM go through here when the page has code. */
static void load_in_page(X86Cpu *c, unsigned index, const InterpTlbEntry *e, uint64_t addr,
                         unsigned size, uint64_t *value)
{
    if (e->tag_r & TLB_MMIO || e->tag_r == ~0ull) {
        const InterpTlbInfo *info = interp_tlb_info(&c->ic.tlbs[index], addr);
        if (info->ram == UINT64_MAX) {
            c->ic.stats.exits_mmio++;
            *value = 0;
            vmr_space_read(c->ic.vm->machine->memory, info->phys | (addr & (INTERP_PAGE - 1)), value,
                           size, (int)c->ic.index);
            return;
        }
    }
    const void *p = (const void *)(uintptr_t)(addr + e->addend);
    switch (size) {
    case 1: *value = interp_ram_ld8(p); break;
    case 2: *value = interp_ram_ld16(p); break;
    case 4: *value = interp_ram_ld32(p); break;
    default: *value = interp_ram_ld64(p); break;
    }
}

/* RAM that may hold code is about to be written; afterwards the entry is as fast as it can be. */
static void note_write(X86Cpu *c, unsigned index, InterpTlbEntry *e, uint64_t addr, unsigned size)
{
    if (!(e->tag_w & TLB_CODE))
        return;
    uint64_t ram = interp_tlb_info(&c->ic.tlbs[index], addr)->ram + (addr & (INTERP_PAGE - 1));
    if (interp_code_written(c->ic.vm, &c->ic, ram, size))
        c->ic.code_hit = true;
    if (atomic_load_explicit(&c->ic.vm->code_lines[ram >> INTERP_PAGE_BITS], memory_order_acquire) == 0)
        e->tag_w &= ~(uint64_t)TLB_CODE;
}

static void store_in_page(X86Cpu *c, unsigned index, InterpTlbEntry *e, uint64_t addr,
                          uint64_t value, unsigned size)
{
    if (e->tag_w & TLB_MMIO) {
        const InterpTlbInfo *info = interp_tlb_info(&c->ic.tlbs[index], addr);
        c->ic.stats.exits_mmio++;
        vmr_space_write(c->ic.vm->machine->memory, info->phys | (addr & (INTERP_PAGE - 1)), value, size,
                        (int)c->ic.index);
        return;
    }
    note_write(c, index, e, addr, size);
    void *p = (void *)(uintptr_t)(addr + e->addend);
    switch (size) {
    case 1: interp_ram_st8(p, value); break;
    case 2: interp_ram_st16(p, value); break;
    case 4: interp_ram_st32(p, value); break;
    default: interp_ram_st64(p, value); break;
    }
}

static unsigned first_part(uint64_t addr, unsigned size)
{
    unsigned room = (unsigned)(INTERP_PAGE - (addr & (INTERP_PAGE - 1)));
    return MIN(room, size);
}

static bool load_any(X86Cpu *c, unsigned index, uint64_t addr, unsigned size, unsigned access,
                     uint64_t *value)
{
    addr = linear(c, addr);
    unsigned first = first_part(addr, size);
    InterpTlbEntry *e = translate(c, index, addr, access);
    if (!e)
        return false;
    if (first == size) {
        load_in_page(c, index, e, addr, size, value);
        return true;
    }
    uint64_t second = linear(c, addr + first);
    InterpTlbEntry *e2 = translate(c, index, second, access);
    if (!e2)
        return false;
    uint64_t v = 0, b;
    for (unsigned i = 0; i < size; i++) {
        if (i < first)
            load_in_page(c, index, e, addr + i, 1, &b);
        else
            load_in_page(c, index, e2, second + i - first, 1, &b);
        v |= (b & 0xff) << (8 * i);
    }
    *value = v;
    return true;
}

static bool store_any(X86Cpu *c, unsigned index, uint64_t addr, uint64_t value, unsigned size)
{
    addr = linear(c, addr);
    unsigned first = first_part(addr, size);
    InterpTlbEntry *e = translate(c, index, addr, ACC_WRITE);
    if (!e)
        return false;
    if (first == size) {
        store_in_page(c, index, e, addr, value, size);
        return true;
    }
    uint64_t second = linear(c, addr + first);
    InterpTlbEntry *e2 = translate(c, index, second, ACC_WRITE);
    if (!e2)
        return false;
    for (unsigned i = 0; i < size; i++) {
        uint8_t b = (uint8_t)(value >> (8 * i));
        if (i < first)
            store_in_page(c, index, e, addr + i, b, 1);
        else
            store_in_page(c, index, e2, second + i - first, b, 1);
    }
    return true;
}

bool x86_load_slow(X86Cpu *c, uint64_t addr, unsigned size)
{
    return load_any(c, current_tlb(c), addr, size, ACC_READ, &c->ic.value);
}

bool x86_load_rmw_slow(X86Cpu *c, uint64_t addr, unsigned size)
{
    return x86_probe(c, addr, size, true) &&
           load_any(c, current_tlb(c), addr, size, ACC_WRITE, &c->ic.value);
}

bool x86_store_slow(X86Cpu *c, uint64_t addr, uint64_t value, unsigned size)
{
    return store_any(c, current_tlb(c), addr, value, size);
}

bool x86_sys_load(X86Cpu *c, uint64_t addr, unsigned size, uint64_t *value)
{
    return load_any(c, TLB_SUPER, addr, size, ACC_READ, value);
}

bool x86_sys_store(X86Cpu *c, uint64_t addr, uint64_t value, unsigned size)
{
    return store_any(c, TLB_SUPER, addr, value, size);
}

bool x86_probe(X86Cpu *c, uint64_t addr, unsigned size, bool write)
{
    unsigned index = current_tlb(c);
    for (uint64_t done = 0; done < size;) {
        uint64_t a = linear(c, addr + done);
        if (!translate(c, index, a, write ? ACC_WRITE : ACC_READ))
            return false;
        done += INTERP_PAGE - (a & (INTERP_PAGE - 1));
    }
    return true;
}

void *x86_host_ptr(X86Cpu *c, uint64_t addr, unsigned size, bool write)
{
    addr = linear(c, addr);
    if (first_part(addr, size) != size)
        return NULL;
    unsigned index = current_tlb(c);
    InterpTlbEntry *e = translate(c, index, addr, write ? ACC_WRITE : ACC_READ);
    if (!e || (tag_of(e, write ? ACC_WRITE : ACC_READ) & TLB_MMIO))
        return NULL;
    if (write)
        note_write(c, index, e, addr, size);
    return (void *)(uintptr_t)(addr + e->addend);
}

bool x86_load_block(X86Cpu *c, uint64_t addr, void *buf, unsigned size)
{
    if (!x86_probe(c, addr, size, false))
        return false;
    uint8_t *out = buf;
    while (size) {
        unsigned n = size >= 8 ? 8 : size >= 4 ? 4 : 1;
        uint64_t v;
        if (!x86_load(c, addr, n, &v))
            return false;
        memcpy(out, &v, n);
        out += n;
        addr += n;
        size -= n;
    }
    return true;
}

bool x86_store_block(X86Cpu *c, uint64_t addr, const void *buf, unsigned size)
{
    if (!x86_probe(c, addr, size, true))
        return false;
    const uint8_t *in = buf;
    while (size) {
        unsigned n = size >= 8 ? 8 : size >= 4 ? 4 : 1;
        uint64_t v = 0;
        memcpy(&v, in, n);
        if (!x86_store_slow(c, addr, v, n))
            return false;
        in += n;
        addr += n;
        size -= n;
    }
    return true;
}

bool x86_fetch_translate(X86Cpu *c, uint64_t addr, uint64_t *ram, uint64_t *phys)
{
    /* SMAP does not apply to fetches: the supervisor's two TLBs agree on tag_x */
    unsigned index = current_tlb(c);
    addr = linear(c, addr);
    InterpTlbEntry *e = translate(c, index, addr, ACC_EXEC);
    if (!e)
        return false;
    const InterpTlbInfo *info = interp_tlb_info(&c->ic.tlbs[index], addr);
    uint64_t offset = addr & (INTERP_PAGE - 1);
    *ram = info->ram == UINT64_MAX ? UINT64_MAX : info->ram + offset;
    *phys = info->phys + offset;
    return true;
}
