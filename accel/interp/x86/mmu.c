/*
 * Paging and the slow paths of memory accesses: SDM volume 3, chapter 4.
 *
 * Left out: supervisor protection keys.  Process-context identifiers are honoured by flushing all.
 */
#include "cpu.h"

enum {
    PTE_P = 1u << 0, PTE_RW = 1u << 1, PTE_US = 1u << 2, PTE_A = 1u << 5, PTE_D = 1u << 6,
    PTE_PS = 1u << 7, PTE_G = 1u << 8,
};
#define PTE_NX (1ull << 63)
#define PHYS_MASK (((1ull << 52) - 1) & INTERP_PAGE_MASK) /* bits above the CPU's are reserved */

enum { ACC_READ = 1, ACC_WRITE = 2, ACC_EXEC = 4 };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16, PF_PK = 32 };

/* index into tlbs[]; all data pages of TLB_USER_AC are watched, which sends accesses here */
enum { TLB_USER, TLB_SUPER, TLB_SUPER_USER, TLB_USER_AC };

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

/* Is a data breakpoint in the page of addr? */
static bool watched(const X86Cpu *c, uint64_t addr)
{
    for (unsigned i = 0; i < 4; i++) {
        /* 8 bytes at most, aligned: never in two pages */
        if ((c->dr[7] >> (2 * i) & 3) && (c->dr[7] >> (16 + 4 * i) & 1) &&
            ((c->dr[i] ^ addr) & INTERP_PAGE_MASK) == 0)
            return true;
    }
    for (unsigned i = 0; c->debugger_data && i < c->debugger->count; i++)
        if (c->debugger->points[i].kind != VMR_POINT_EXEC &&
            ((c->debugger->points[i].address ^ addr) & INTERP_PAGE_MASK) == 0)
            return true;
    return false;
}

static void fill(X86Cpu *c, unsigned index, uint64_t addr, uint64_t phys, unsigned prot, uint64_t size)
{
    interp_tlb_fill(&c->ic, &c->ic.tlbs[index], addr, phys, prot, size);
    if (index == TLB_USER_AC || unlikely(c->trace_memory) || (unlikely(c->debug_on) && watched(c, addr))) {
        InterpTlbEntry *e = interp_tlb_entry(&c->ic.tlbs[index], addr);
        e->tag_r |= TLB_WATCH;
        e->tag_w |= TLB_WATCH;
    }
}

/*
 * Walk the tables for one access and fill the TLB; false: #PF is pending.
 * index: which TLB, which says the kind of access.
 */
static bool walk(X86Cpu *c, unsigned index, uint64_t addr, unsigned access)
{
    bool user = index == TLB_USER || index == TLB_USER_AC;
    uint32_t error = (access == ACC_WRITE ? PF_W : 0) | (user ? PF_U : 0);
    bool nx_on = (c->efer & EFER_NXE) && (c->cr4 & CR4_PAE);
    if (access == ACC_EXEC && (nx_on || (c->cr4 & CR4_SMEP)))
        error |= PF_I;

    if (!(c->cr0 & CR0_PG)) {
        fill(c, index, addr, addr & 0xffffffff, 7, INTERP_PAGE);
        return true;
    }

    bool pae = c->cr4 & CR4_PAE;
    unsigned size = pae ? 8 : 4, bits = pae ? 9 : 10;
    int level;
    uint64_t table, beyond = ((1ull << 52) - 1) & ~((1ull << x86_phys_bits(c)) - 1);
    if (x86_long(c)) {
        if (!x86_canonical(c, addr)) {
            x86_gp(c, 0);
            c->exc_canonical = true;
            return false;
        }
        level = c->cr4 & CR4_LA57 ? 5 : 4;
        table = c->cr3 & PHYS_MASK;
    } else if (pae) {
        /* the four top entries were read, and checked, when CR3 was written */
        addr &= 0xffffffff;
        uint64_t top = c->pdpte[addr >> 30];
        if (!(top & PTE_P))
            return page_fault(c, addr, error);
        level = 2;
        table = top & PHYS_MASK;
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
        uint64_t at = t + ((addr >> shift) & ((1u << bits) - 1)) * size;
        void *p = entry_ptr(c, at);
        pte = entry_read(c, p, at, size);
        if (!(pte & PTE_P))
            return page_fault(c, addr, error);
        if (pae) {
            uint64_t reserved = beyond | (level == 2 ? 0x7ffull << 52 : 0);
            bool big = l > 3 || (l == 3 && !X86_FEATURE(c, 81_EDX, 26));
            if ((pte & reserved) || (!nx_on && (pte & PTE_NX)) || (big && (pte & PTE_PS)))
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
            /* PSE-36 has bits 39:32 of the address in 20:13 */
            uint64_t low = pae ? ((1ull << shift) - 1) & ~0x1fffull
                           : 1u << 21 | (X86_FEATURE(c, 1_EDX, 17) ? (beyond >> 32 & 0xff) << 13 : 0x1fe000);
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
        bool key_read = true, key_write = true;
        if ((c->cr4 & CR4_PKE) && level > 3 && user_ok) {
            unsigned key = c->pkru >> (pte >> 59 & 15) * 2 & 3;
            key_read = !(key & 1);
            key_write = !(key & 1) && (!(key & 2) || !wp);
        }
        if (!ok)
            return page_fault(c, addr, error | PF_P);
        if (access == ACC_READ ? !key_read : access == ACC_WRITE && !key_write)
            return page_fault(c, addr, error | PF_P | PF_PK);
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
        if (!smap_denies && (!user || user_ok) && key_read) {
            prot |= 1;
            if (may_write && key_write && ((pte & PTE_D) || access == ACC_WRITE))
                prot |= 2;
        }
        if (executable && (user ? user_ok : !(user_ok && (c->cr4 & CR4_SMEP))))
            prot |= 4;
        fill(c, index, addr, phys, prot, page);
        return true;
    }
}

/* The four entries of PAE paging at CR3 (SDM volume 3, 4.4.1); false: #GP(0), nothing changed. */
bool x86_pdptes_load(X86Cpu *c, uint64_t cr3, bool check)
{
    uint64_t v[4], reserved = 0x1e6 | ~((1ull << x86_phys_bits(c)) - 1);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t at = (cr3 & 0xffffffe0) + i * 8;
        v[i] = entry_read(c, entry_ptr(c, at), at, 8);
        if (check && (v[i] & PTE_P) && (v[i] & reserved))
            return x86_gp(c, 0);
    }
    memcpy(c->pdpte, v, sizeof v);
    return true;
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

/* An access to a watched page: data breakpoints are noted, #AC raised. */
static bool watch(X86Cpu *c, unsigned index, uint64_t addr, unsigned size, bool write)
{
    if (index == TLB_USER_AC && (addr & (size - 1)))
        return x86_raise_error(c, EXC_AC, 0);
    if (c->debug_on)
        x86_debug_data(c, addr, size, write);
    return true;
}

static void trace(const X86Cpu *c, const char *what, uint64_t addr, unsigned size, uint64_t value)
{
    uint64_t mask = size >= 8 ? ~0ull : (1ull << (8 * size)) - 1;
    vmr_core_trace_cpu(c->ic.index, "memory: %s %016" G_GINT64_MODIFIER "x size %u = 0x%" G_GINT64_MODIFIER "x",
                       what, addr, size, value & mask);
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
    if (!e || (unlikely(tag_of(e, access) & TLB_WATCH) && !watch(c, index, addr, size, false)))
        return false;
    if (first == size) {
        load_in_page(c, index, e, addr, size, value);
        if (unlikely(c->trace_memory))
            trace(c, "read", addr, size, *value);
        return true;
    }
    uint64_t second = linear(c, addr + first);
    InterpTlbEntry *e2 = translate(c, index, second, access);
    if (!e2)
        return false;
    if (unlikely(c->debug_on))
        x86_debug_data(c, addr, size, false);
    uint64_t v = 0, b;
    for (unsigned i = 0; i < size; i++) {
        if (i < first)
            load_in_page(c, index, e, addr + i, 1, &b);
        else
            load_in_page(c, index, e2, second + i - first, 1, &b);
        v |= (b & 0xff) << (8 * i);
    }
    *value = v;
    if (unlikely(c->trace_memory))
        trace(c, "read", addr, size, v);
    return true;
}

static bool store_any(X86Cpu *c, unsigned index, uint64_t addr, uint64_t value, unsigned size)
{
    addr = linear(c, addr);
    unsigned first = first_part(addr, size);
    InterpTlbEntry *e = translate(c, index, addr, ACC_WRITE);
    if (!e || (unlikely(e->tag_w & TLB_WATCH) && !watch(c, index, addr, size, true)))
        return false;
    if (first == size) {
        store_in_page(c, index, e, addr, value, size);
        if (unlikely(c->trace_memory))
            trace(c, "write", addr, size, value);
        return true;
    }
    uint64_t second = linear(c, addr + first);
    InterpTlbEntry *e2 = translate(c, index, second, ACC_WRITE);
    if (!e2)
        return false;
    if (unlikely(c->debug_on))
        x86_debug_data(c, addr, size, true);
    for (unsigned i = 0; i < size; i++) {
        uint8_t b = (uint8_t)(value >> (8 * i));
        if (i < first)
            store_in_page(c, index, e, addr + i, b, 1);
        else
            store_in_page(c, index, e2, second + i - first, b, 1);
    }
    if (unlikely(c->trace_memory))
        trace(c, "write", addr, size, value);
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
    if (!e || (tag_of(e, write ? ACC_WRITE : ACC_READ) & (TLB_MMIO | TLB_WATCH)))
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
