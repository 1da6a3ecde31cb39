/*
 * Paging: 32-bit, 32-bit with large pages, PAE, 4-level.  All combinations of permissions
 * on both levels against an access by ring 0 and 3, with WP, NX, SMEP, SMAP; error codes, CR2,
 * accessed and dirty bits, reserved bits, INVLPG, reload of CR3, global pages.
 */
#include "lib.h"

enum { P = 1, RW = 2, US = 4, PWT = 8, PCD = 16, A = 32, D = 64, PS = 128, G = 256 };
#define NX (1ull << 63)
#define WINDOW 0x40000000u /* the page under test: 1 GiB */
#define FRAME 0x700000u    /* behind it */
#define LARGE_FRAME 0x800000u

/* Tables of the test: low 4 MiB by small user pages, so that snippets of ring 3 run; the image
   and the monitor are there, too.  SMEP and SMAP tests make the low part supervisor's. */
static u32 dir32[1024] __attribute__((aligned(4096)));
static u32 low32[1024] __attribute__((aligned(4096)));
static u32 win32[1024] __attribute__((aligned(4096)));
static u64 pdpt_pae[4] __attribute__((aligned(4096)));
static u64 pml4[512] __attribute__((aligned(4096)));
static u64 pdpt[512] __attribute__((aligned(4096)));
static u64 dir_low[512] __attribute__((aligned(4096)));
static u64 dir_win[512] __attribute__((aligned(4096)));
static u64 table_low[512] __attribute__((aligned(4096)));
static u64 table_win[512] __attribute__((aligned(4096)));

typedef enum Paging { PG32, PG32_PSE, PGPAE, PGPAE_2M, PG64, PG64_2M, PAGINGS } Paging;
static const char *const paging_names[PAGINGS] = {"32-bit", "32-bit 4M", "PAE",
                                                  "PAE 2M", "4-level",   "4-level 2M"};

/* Low memory: one to one; user only where snippets are if split. */
static void build_low(bool user_code, bool user_data)
{
    for (unsigned i = 0; i < 1024; i++) {
        u32 page = i << 12, us = 0;
        if (page >= 0x10000 && page < 0x20000)
            us = user_code ? US : 0;
        else if (page >= 0x20000 && page < 0x30000)
            us = user_data ? US : 0;
        low32[i] = page | P | RW | us;
        if (i < 512)
            table_low[i] = page | P | RW | us;
    }
    memset(dir32, 0, sizeof dir32);
    memset(dir_low, 0, sizeof dir_low);
    memset(dir_win, 0, sizeof dir_win);
    memset(pdpt, 0, sizeof pdpt);
    dir32[0] = (u32)(u64)low32 | P | RW | US;
    dir_low[0] = (u64)table_low | P | RW | US;
    for (unsigned i = 1; i < 8; i++)
        dir_low[i] = (u64)i << 21 | P | RW | PS;
    pdpt_pae[0] = (u64)dir_low | P;
    pdpt_pae[1] = (u64)dir_win | P;
    pdpt[0] = (u64)dir_low | P | RW | US;
    pdpt[1] = (u64)dir_win | P | RW | US;
    pml4[0] = (u64)pdpt | P | RW | US;
}

/* The window's entries: upper and leaf permission bits. */
static void map_window(Paging k, u64 upper, u64 leaf)
{
    switch (k) {
    case PG32:
        dir32[WINDOW >> 22] = (u32)((u64)win32 | upper);
        win32[0] = (u32)(FRAME | leaf);
        break;
    case PG32_PSE:
        dir32[WINDOW >> 22] = (u32)(LARGE_FRAME | PS | leaf);
        break;
    case PGPAE: case PG64:
        dir_win[0] = (u64)table_win | upper;
        table_win[0] = FRAME | leaf;
        break;
    default:
        dir_win[0] = LARGE_FRAME | PS | leaf;
    }
}

static u64 leaf_entry(Paging k)
{
    switch (k) {
    case PG32: return win32[0];
    case PG32_PSE: return dir32[WINDOW >> 22];
    case PGPAE: case PG64: return table_win[0];
    default: return dir_win[0];
    }
}

static void setup(Paging k, bool user, u64 cr0, u64 cr4, bool nxe)
{
    if (k >= PG64) {
        vm_setup(user ? VM_LONG_R3 : VM_LONG);
        vm.cr3 = (u64)pml4;
    } else {
        vm_setup(user ? VM_PROT32_R3 : VM_PROT32);
        vm.cr3 = k >= PGPAE ? (u64)pdpt_pae : (u64)dir32;
        vm.cr4 = k >= PGPAE ? CR4_PAE : k == PG32_PSE ? CR4_PSE : 0;
    }
    vm.r[RSP] = 0x30000;
    vm.cr0 |= CR0_PG | cr0;
    vm.cr4 |= cr4;
    vm.efer = (vm.efer & ~(u64)EFER_NXE) | (nxe ? EFER_NXE : 0);
}

/* RBX has the address.  The same bytes in 32-bit and 64-bit code. */
SNIPPET(do_read, 32, "movl (%ebx), %eax");
SNIPPET(do_write, 32, "movl %eax, (%ebx)");
SNIPPET(do_rmw, 32, "addl $1, (%ebx)");
SNIPPET(do_fetch, 32, "call *%ebx");

enum { READ, WRITE, RMW, FETCH, ACCESSES };
static const struct {
    const u8 *code, *end;
    const char *name;
} accesses[ACCESSES] = {
    {do_read, do_read_end, "read"},
    {do_write, do_write_end, "write"},
    {do_rmw, do_rmw_end, "rmw"},
    {do_fetch, do_fetch_end, "fetch"},
};

static void one(Paging k, u64 upper, u64 leaf, unsigned access, bool user, bool wp, bool smep,
                bool smap, bool ac, bool nxe)
{
    bool two = k == PG32 || k == PGPAE || k == PG64;
    if (!two)
        upper = P | RW | US;
    build_low(user, user);
    map_window(k, upper, leaf);
    volatile u8 *frame = (volatile u8 *)(u64)(two ? FRAME : LARGE_FRAME);
    *(volatile u32 *)frame = 0xc3c3c3c3; /* RET */
    setup(k, user, wp ? CR0_WP : 0, (smep ? CR4_SMEP : 0) | (smap ? CR4_SMAP : 0), nxe);
    vm.r[RBX] = WINDOW;
    vm.r[RAX] = 0xc3c3c3c3;
    if (ac)
        vm.rflags |= AC;
    vm_load(accesses[access].code, accesses[access].end);
    vm_go();

    /* What the manual says */
    bool present = (upper & P) && (leaf & P);
    bool is_user = (upper & US) && (leaf & US), writable = (upper & RW) && (leaf & RW);
    bool nx = ((upper | leaf) & NX) && nxe;
    bool write = access == WRITE || access == RMW, fetch = access == FETCH;
    bool reserved = present && !nxe && ((upper | leaf) & NX);
    bool fault = !present || reserved;
    if (!fault) {
        if (user)
            fault = !is_user || (write && !writable) || (fetch && nx);
        else if (fetch)
            fault = nx || (smep && is_user);
        else
            fault = (smap && is_user && !ac) || (write && !writable && wp);
    }
    u32 error = (present ? 1 : 0) | (write ? 2 : 0) | (user ? 4 : 0) | (reserved ? 8 : 0) |
                (fetch && (nxe || smep) ? 16 : 0);
    if (!present && (upper & P) == P && !nxe && (upper & NX))
        error |= 9; /* the reserved bit of the upper level is met first */
    if (!check(vm.vector, fault ? PFV : VEC_DONE,
               "%s: %s by ring %u of %lx/%lx WP %u NXE %u SMEP %u SMAP %u AC %u", paging_names[k],
               accesses[access].name, user ? 3 : 0, upper, leaf, wp, nxe, smep, smap, ac))
        return;
    if (fault) {
        u64 got = vm.error;
        if (access == RMW && on_tcg)
            error = (error & ~2u) | (got & 2);
        if (reserved && on_tcg)
            error = (error & ~1u) | (got & 1);
        check(got, error, "%s: %s by ring %u of %lx/%lx WP %u NXE %u: error code", paging_names[k],
              accesses[access].name, user ? 3 : 0, upper, leaf, wp, nxe);
        check(vm.cr2, WINDOW, "%s: %s: CR2", paging_names[k], accesses[access].name);
        check(vm.rip, fetch ? WINDOW : SNIPPET_AT, "%s: %s: RIP", paging_names[k],
              accesses[access].name);
        check(leaf_entry(k) & D, 0, "%s: %s by ring %u of %lx/%lx: D after a fault",
              paging_names[k], accesses[access].name, user ? 3 : 0, upper, leaf);
    } else {
        check(leaf_entry(k) & (A | D), A | (write ? D : 0), "%s: %s of %lx/%lx: A, D",
              paging_names[k], accesses[access].name, upper, leaf);
    }
}

static void permissions(void)
{
    for (unsigned k = 0; k < PAGINGS; k++)
        for (unsigned upper = 0; upper < 8; upper++) {
            bool two = k == PG32 || k == PGPAE || k == PG64;
            if (!two && upper)
                continue;
            for (unsigned leaf = 0; leaf < 8; leaf++)
                for (unsigned access = 0; access < ACCESSES; access++)
                    for (unsigned who = 0; who < 3; who++) /* ring 3; ring 0 without and with WP */
                        one(k, upper, leaf, access, who == 0, who == 2, false, false, false, false);
        }
    if (HAS_NX)
        for (unsigned k = PGPAE; k < PAGINGS; k++)
            for (unsigned n = 1; n < 4; n++)
                for (unsigned access = 0; access < ACCESSES; access++)
                    for (unsigned who = 0; who < 4; who++)
                        one(k, P | RW | US | (n & 1 ? NX : 0), P | RW | US | (n & 2 ? NX : 0),
                            access, who & 1, true, false, false, false, who & 2);
    for (unsigned k = 0; k < PAGINGS; k++)
        for (unsigned leaf = 1; leaf < 8; leaf += 2)
            for (unsigned access = 0; access < ACCESSES; access++)
                for (unsigned n = 0; n < 8; n++) {
                    bool smep = n & 1, smap = n & 2, ac = n & 4;
                    if ((smep && !HAS_SMEP) || (smap && !HAS_SMAP))
                        continue;
                    one(k, P | RW | US, leaf, access, false, true, smep, smap, ac, false);
                    if (!ac)
                        one(k, P | RW | US, leaf, access, true, true, smep, smap, ac, false);
                }
}

/* ---- reserved bits ---- */

static void reserved_bits(void)
{
    static const struct {
        Paging k;
        u64 upper, leaf;
        const char *name;
    } t[] = {
        {PGPAE, P | RW | US, P | RW | US | 1ull << 61, "PAE: bit 61 of an entry"},
        {PGPAE_2M, P | RW | US, P | RW | US | 1ull << 13, "PAE 2M: bit 13 of the frame"},
        {PG64_2M, P | RW | US, P | RW | US | 1ull << 14, "4-level 2M: bit 14 of the frame"},
        {PG64, P | RW | US | 1ull << 51, P | RW | US, "4-level: bit 51 of the directory entry"},
    };
    for (unsigned i = 0; i < COUNT(t); i++) {
        build_low(false, false);
        map_window(t[i].k, t[i].upper, t[i].leaf);
        setup(t[i].k, false, 0, 0, true);
        vm.r[RBX] = WINDOW;
        vm_load(do_write, do_write_end);
        vm_go();
        check(vm.vector, PFV, "%s: vector", t[i].name);
        check_not_tcg(vm.error, 0xb, "%s: error code", t[i].name);
    }
    /* PS in the PML4 entry */
    build_low(false, false);
    map_window(PG64, P | RW | US, P | RW | US);
    pml4[1] = (u64)pdpt | P | RW | PS;
    setup(PG64, false, 0, 0, true);
    vm.r[RBX] = WINDOW;
    vm_load(do_read, do_read_end);
    vm_go();
    check(vm.vector, VEC_DONE, "4-level: other PML4 entry: vector");
    SNIPPET(read_far, 64, "mov $0x8000000000, %rbx\n mov (%rbx), %eax");
    setup(PG64, false, 0, 0, true);
    vm_load(read_far, read_far_end);
    vm_go();
    check(vm.vector, PFV, "PS in a PML4 entry: vector");
    check_not_tcg(vm.error, 9, "PS in a PML4 entry: error code");
    pml4[1] = 0;
}

/* ---- an access over two pages: which one is named, and nothing is written ---- */

static void crossing(void)
{
    for (unsigned k = PG32; k <= PG64; k += 2)
        for (unsigned access = 0; access < RMW + 1; access++)
            for (unsigned first = 0; first < 2; first++)
                for (unsigned off = 1; off < 4; off++) {
                    build_low(false, false);
                    map_window(k, P | RW, P | RW);
                    if (k == PG32)
                        win32[1] = (FRAME + PAGE) | P | RW;
                    else
                        table_win[1] = (FRAME + PAGE) | P | RW;
                    /* one of the two away */
                    if (k == PG32)
                        win32[!first] &= ~1u;
                    else
                        table_win[!first] &= ~1ull;
                    *(volatile u32 *)(u64)(FRAME + PAGE - 4) = 0x11111111;
                    *(volatile u32 *)(u64)(FRAME + PAGE) = 0x22222222;
                    setup(k, false, 0, 0, false);
                    vm.r[RBX] = WINDOW + PAGE - off;
                    vm.r[RAX] = 0xdeadbeef;
                    vm_load(accesses[access].code, accesses[access].end);
                    vm_go();
                    const char *n = accesses[access].name;
                    check(vm.vector, PFV, "%s: %s over two pages: vector", paging_names[k], n);
                    if (!on_tcg || access != RMW)
                        check(vm.error, access ? 2 : 0, "%s: %s over two pages: error",
                              paging_names[k], n);
                    check(vm.cr2, first ? WINDOW + PAGE - off : WINDOW + PAGE,
                          "%s: %s over two pages: CR2", paging_names[k], n);
                    check(*(volatile u32 *)(u64)(FRAME + PAGE - 4), 0x11111111,
                          "%s: %s over two pages: first page is not written", paging_names[k], n);
                    check(*(volatile u32 *)(u64)(FRAME + PAGE), 0x22222222,
                          "%s: %s over two pages: second page is not written", paging_names[k], n);
                    check(vm.r[RAX], 0xdeadbeef, "%s: %s over two pages: EAX", paging_names[k], n);
                }
    /* An instruction over two pages, the second away */
    build_low(false, false);
    map_window(PG64, P | RW, P | RW);
    table_win[1] = 0;
    u8 *p = (u8 *)(u64)(FRAME + PAGE - 2);
    p[0] = 0xb8; /* MOV EAX, imm32 */
    p[1] = 0x11;
    setup(PG64, false, 0, 0, true);
    vm.r[RBX] = WINDOW + PAGE - 2;
    SNIPPET(jump_rbx, 64, "jmp *%rbx");
    vm_load(jump_rbx, jump_rbx_end);
    vm_go();
    check(vm.vector, PFV, "instruction over two pages: vector");
    check(vm.error, 16, "instruction over two pages: error code");
    check(vm.cr2, WINDOW + PAGE, "instruction over two pages: CR2");
    check(vm.rip, WINDOW + PAGE - 2, "instruction over two pages: RIP");
}

/* ---- what the TLB may keep, and what it must not ---- */

#define FAR 0x200000000ul /* 8 GiB */
static volatile u64 far_dir[512] __attribute__((aligned(4096)));
static volatile u64 far_table[512] __attribute__((aligned(4096)));
static volatile u32 page_a[1024] __attribute__((aligned(4096)));
static volatile u32 page_b[1024] __attribute__((aligned(4096)));

static void touch(void *p) { (*(volatile u32 *)p)++; }
static void look(void *p) { (void)*(volatile u32 *)p; }

static void tlb(void)
{
    volatile u32 *w = (volatile u32 *)FAR;
    Caught c;
    pdpt_host[FAR >> 30] = (u64)far_dir | P | RW;
    far_dir[0] = (u64)far_table | P | RW;
    page_a[0] = 0xaaaa;
    page_b[0] = 0xbbbb;
    far_table[0] = (u64)page_a | P | RW;
    check(*w, 0xaaaa, "TLB: first page");
    far_table[0] = (u64)page_b | P | RW;
    invlpg(w);
    check(*w, 0xbbbb, "TLB: after INVLPG");
    far_table[0] = (u64)page_a | P | RW;
    write_cr3(read_cr3());
    check(*w, 0xaaaa, "TLB: after a reload of CR3");
    far_table[0] = 0;
    invlpg((const volatile u8 *)w + 0xfff); /* any address of the page */
    guarded(look, (void *)w, &c);
    check(c.vector, PFV, "TLB: entry taken away: vector");
    check(c.cr2, FAR, "TLB: entry taken away: CR2");
    /* Not present to present needs no flush, and read-only to writable after a fault neither. */
    far_table[0] = (u64)page_b | P;
    check(*w, 0xbbbb, "TLB: entry put in place without a flush");
    write_cr0(read_cr0() | CR0_WP);
    guarded(touch, (void *)w, &c);
    check(c.vector, PFV, "TLB: write with WP: vector");
    check(c.error, 3, "TLB: write with WP: error code");
    far_table[0] |= RW;
    guarded(touch, (void *)w, &c);
    check(c.vector, NO_TRAP, "TLB: made writable, no flush");
    check(page_b[0], 0xbbbc, "TLB: written");
    check(far_table[0] & (A | D), A | D, "TLB: A and D");
    /* WP itself */
    far_table[0] &= ~(u64)RW;
    invlpg(w);
    write_cr0(read_cr0() & ~(u64)CR0_WP);
    guarded(touch, (void *)w, &c);
    check(c.vector, NO_TRAP, "WP clear: write to a read-only page");
    write_cr0(read_cr0() | CR0_WP);
    guarded(touch, (void *)w, &c);
    check(c.vector, PFV, "WP set again: write to a read-only page");
    write_cr0(read_cr0() & ~(u64)CR0_WP);

    /* D is set by the first write, also when a read has filled the TLB before. */
    far_table[0] = (u64)page_a | P | RW;
    invlpg(w);
    look((void *)w);
    check(far_table[0] & (A | D), A, "A by a read");
    touch((void *)w);
    check(far_table[0] & (A | D), A | D, "D by a write after a read");

    /* Global pages stay over a reload of CR3, and go with INVLPG and with CR4.PGE. */
    write_cr4(read_cr4() | CR4_PGE);
    far_table[0] = (u64)page_a | P | RW | G;
    invlpg(w);
    page_a[0] = 0xaaaa;
    look((void *)w);
    far_table[0] = (u64)page_b | P | RW | G;
    invlpg(w);
    page_b[0] = 0xbbbb;
    check(*w, 0xbbbb, "global page: INVLPG");
    far_table[0] = (u64)page_a | P | RW | G;
    write_cr4(read_cr4() & ~(u64)CR4_PGE);
    check(*w, 0xaaaa, "global page: CR4.PGE");

    /* A change of an upper level: INVLPG drops what was cached of it. */
    far_dir[0] = (u64)page_a | P | RW | PS; /* wrong alignment is no matter: bits 12.. of 2M */
    far_dir[0] = 0x600000 | P | RW | PS;
    *(volatile u32 *)0x600000 = 0x2222;
    invlpg(w);
    check(*w, 0x2222, "a table became a large page");
    far_dir[0] = (u64)far_table | P | RW;
    far_table[0] = (u64)page_b | P | RW;
    invlpg(w);
    check(*w, 0xbbbb, "a large page became a table");

    /* Two addresses of one page */
    far_table[1] = (u64)page_b | P | RW;
    w[1] = 0x1234;
    check(w[1025], 0x1234, "two addresses of one page");
    w[1025] = 0x4321;
    check(page_b[1], 0x4321, "two addresses of one page, one to one");

    /* The tables themselves, changed through an alias that is the page they map */
    far_table[2] = (u64)far_table | P | RW;
    volatile u64 *self = (volatile u64 *)(FAR + 2 * PAGE);
    self[3] = (u64)page_a | P | RW;
    page_a[0] = 0x7777;
    check(*(volatile u32 *)(FAR + 3 * PAGE), 0x7777, "entry written through a self-map");

    /* 1 GiB pages */
    if (HAS_1G) {
        pdpt_host[FAR >> 30] = 0 | P | RW | PS;
        write_cr3(read_cr3());
        check(*(volatile u32 *)(FAR + (u64)page_a), 0x7777, "1 GiB page");
    }
    pdpt_host[FAR >> 30] = 0;
    write_cr3(read_cr3());
    guarded(look, (void *)w, &c);
    check(c.vector, PFV, "all away");
}

/* PAE: the four entries are loaded with CR3, and only then (Intel; emulators walk them). */
SNIPPET(
    pdpte, 32,
    "mov (%ebx), %eax\n mov (%esi), %edi\n mov %edx, (%esi)\n invlpg (%ebx)\n mov (%ebx), %ecx\n"
    "mov %cr3, %edx\n mov %edx, %cr3\n mov (%ebx), %edx");

static void pdptes(void)
{
    build_low(false, false);
    map_window(PGPAE, P | RW, P | RW);
    *(volatile u32 *)(u64)FRAME = 0x5ca1ab1e;
    setup(PGPAE, false, 0, 0, false);
    vm.r[RBX] = WINDOW;
    vm.r[RSI] = (u64)&pdpt_pae[1];
    vm.r[RDX] = 0;
    vm_load(pdpte, pdpte_end);
    vm_go();
    check(vm.vector, PFV, "PAE: entry of the table of four cleared, CR3 loaded: vector");
    check(vm.r[RAX], 0x5ca1ab1e, "PAE: read before");
    check_not_tcg(vm.r[RCX], 0x5ca1ab1e,
                   "PAE: read after INVLPG: the table of four is not read again");
    /* Reserved bits there are #GP at the load. */
    SNIPPET(load_cr3, 32, "movl $0x80000000, 4(%esi)\n mov %cr3, %edx\n mov %edx, %cr3");
    build_low(false, false);
    setup(PGPAE, false, 0, 0, false);
    vm.r[RSI] = (u64)&pdpt_pae[1];
    vm_load(load_cr3, load_cr3_end);
    vm_go();
    check_not_tcg(vm.vector, GP, "PAE: reserved bits in the table of four: vector");
}

void guest_main(void)
{
    permissions();
    reserved_bits();
    crossing();
    tlb();
    pdptes();
    finish();
}
