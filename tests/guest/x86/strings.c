/*
 * MOVS STOS LODS CMPS SCAS with and without REP: sizes, both directions, overlap, page
 * boundaries, address sizes, and a fault in the middle from which the instruction goes on.
 */
#include "refmath.h"

enum { BUF = 3 * PAGE };
static u8 a[BUF] __attribute__((aligned(4096))), b[BUF] __attribute__((aligned(4096)));
static u8 ra[BUF] __attribute__((aligned(8))),
    rb[BUF] __attribute__((aligned(8))); /* the same, by the reference */
static u8 code[16] __attribute__((aligned(16)));
static u64 got_rax, got_rcx, got_rsi, got_rdi, got_flags;

static void fill(void)
{
    u64 r = 0;
    for (unsigned i = 0; i < BUF; i++) {
        if (!(i & 7))
            r = random64();
        ra[i] = a[i] = (u8)(r >> (8 * (i & 7)));
        rb[i] = b[i] = (u8)(i * 13);
    }
}

static void run(u64 rax, u64 rcx, u64 rsi, u64 rdi, bool down, u32 flags)
{
    Regs r = {.rax = rax, .rcx = rcx, .rsi = rsi, .rdi = rdi, .flags = 2 | flags | (down ? DF : 0)};
    run_thunk(&r, code);
    got_rax = r.rax;
    got_rcx = r.rcx;
    got_rsi = r.rsi;
    got_rdi = r.rdi;
    got_flags = r.flags;
}

static void emit(u8 rep, unsigned size, u8 opcode)
{
    u8 *p = code;
    if (rep)
        *p++ = rep;
    if (size == 2)
        *p++ = 0x66;
    if (size == 8)
        *p++ = 0x48;
    *p++ = size == 1 ? opcode : opcode | 1;
    *p = 0xc3;
}

static u64 ref_load(const u8 *p, unsigned size)
{
    u64 v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (u64)p[i] << (8 * i);
    return v;
}
static void ref_store(u8 *p, u64 v, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        p[i] = (u8)(v >> (8 * i));
}

static bool same(const char *name, unsigned size, unsigned n)
{
    bool equal = true;
    for (unsigned i = 0; i < BUF / 8; i++)
        equal &= ((u64 *)a)[i] == ((u64 *)ra)[i] && ((u64 *)b)[i] == ((u64 *)rb)[i];
    for (unsigned i = 0; !equal && i < BUF; i++) {
        if (a[i] != ra[i])
            return check(a[i], ra[i], "%s %u x %u: a[%x]", name, size, n, i);
        if (b[i] != rb[i])
            return check(b[i], rb[i], "%s %u x %u: b[%x]", name, size, n, i);
    }
    return true;
}

static const u16 lengths[] = {0, 1, 2, 3, 7, 15, 33, 100, 600};
static const u16 starts[] = {0, 1, 5, PAGE - 64, PAGE - 3, PAGE - 1};

static void moves(void)
{
    for (unsigned ls = 0; ls < 4; ls++) {
        unsigned size = 1u << ls;
        for (unsigned down = 0; down < 2; down++)
            for (unsigned li = 0; li < COUNT(lengths); li++)
                for (unsigned si = 0; si < COUNT(starts); si++) {
                    unsigned n = lengths[li], from = starts[si],
                             to = starts[(si * 5 + li) % COUNT(starts)];
                    u64 bytes = (u64)n * size;
                    if (down) {
                        from += PAGE;
                        to += PAGE;
                    }
                    int64_t step = down ? -(int64_t)size : (int64_t)size;
                    if (from + bytes + 8 > BUF || to + bytes + 8 > BUF ||
                        (down && (bytes > from || bytes > to)))
                        continue;
                    /* MOVS between buffers, then within one (overlap, both ways) */
                    for (unsigned overlap = 0; overlap < 3; overlap++) {
                        fill();
                        u8 *src = a + from,
                           *dst = overlap ? a + from + (overlap == 1 ? size : 1) : b + to;
                        u8 *rs = ra + from,
                           *rd = overlap ? ra + from + (overlap == 1 ? size : 1) : rb + to;
                        if (overlap == 2 && n % 2)
                            dst -= 2, rd -= 2;
                        if (overlap && (dst < a || dst + bytes > a + BUF))
                            continue;
                        emit(0xf3, size, 0xa4);
                        run(0, n, (u64)src, (u64)dst, down, 0);
                        for (unsigned i = 0; i < n; i++)
                            ref_store(rd + (int64_t)i * step,
                                      ref_load(rs + (int64_t)i * step, size), size);
                        same(down ? "REP MOVS down" : "REP MOVS", size, n);
                        check(got_rcx, 0, "REP MOVS: RCX");
                        check(got_rsi, (u64)src + (u64)(n * step), "REP MOVS: RSI");
                        check(got_rdi, (u64)dst + (u64)(n * step), "REP MOVS: RDI");
                    }
                    fill();
                    u64 v = random64();
                    emit(0xf3, size, 0xaa);
                    run(v, n, 0x77, (u64)b + to, down, ARITH);
                    for (unsigned i = 0; i < n; i++)
                        ref_store(rb + to + (int64_t)i * step, v, size);
                    same("REP STOS", size, n);
                    check(got_rcx, 0, "REP STOS: RCX");
                    check(got_rdi, (u64)b + to + (u64)(n * step), "REP STOS: RDI");
                    check(got_rsi, 0x77, "REP STOS: RSI");
                    check(got_flags & ARITH, ARITH, "REP STOS: flags");
                    emit(0xf3, size, 0xac);
                    run(0x1122334455667788, n, (u64)a + from, 0x99, down, 0);
                    u64 want = 0x1122334455667788;
                    if (n) {
                        u64 last = ref_load(a + from + (int64_t)(n - 1) * step, size);
                        want = size == 8   ? last
                               : size == 4 ? last
                                           : (want & ~size_mask(8 * size)) | last;
                    }
                    check(got_rax, want, "REP LODS %u x %u", size, n);
                    check(got_rsi, (u64)a + from + (u64)(n * step), "REP LODS: RSI");
                }
        /* without REP: RCX is left alone */
        fill();
        emit(0, size, 0xa4);
        run(0, 5, (u64)a + PAGE - 3, (u64)b + PAGE - 1, false, 0);
        ref_store(rb + PAGE - 1, ref_load(ra + PAGE - 3, size), size);
        same("MOVS", size, 1);
        check(got_rcx, 5, "MOVS: RCX");
        check(got_rdi, (u64)b + PAGE - 1 + size, "MOVS: RDI");
    }
}

static void compares(void)
{
    for (unsigned ls = 0; ls < 4; ls++) {
        unsigned size = 1u << ls;
        for (unsigned down = 0; down < 2; down++)
            for (unsigned ne = 0; ne < 2; ne++)
                for (unsigned li = 0; li < COUNT(lengths); li++)
                    for (unsigned d = 0; d < 3; d++) { /* the difference: first, middle, none */
                        unsigned n = lengths[li], at = d == 0 ? 0 : d == 1 ? n / 2 : n;
                        int64_t step = down ? -(int64_t)size : (int64_t)size;
                        u8 *src = a + (down ? BUF - 16 - 8 * 0 : 3),
                           *dst = b + (down ? BUF - 24 : 5);
                        if ((u64)n * size + 64 > BUF)
                            continue;
                        memset(a, 0x41, BUF);
                        memset(b, ne ? 0x42 : 0x41, BUF);
                        if (at < n) {
                            src[(int64_t)at * step] = ne ? 0x42 : 0x40;
                            if (ne)
                                for (unsigned i = 0; i < size; i++)
                                    (src + (int64_t)at * step)[i] = 0x42;
                        }
                        emit(ne ? 0xf2 : 0xf3, size, 0xa6);
                        run(0, n, (u64)src, (u64)dst, down, n ? 0 : ARITH);
                        unsigned done = at < n ? at + 1 : n;
                        check(got_rcx, n - done, "REP%s CMPS %u x %u, at %u: RCX", ne ? "NE" : "E",
                              size, n, at);
                        check(got_rsi, (u64)src + (u64)(done * step), "REP CMPS: RSI");
                        check(got_rdi, (u64)dst + (u64)(done * step), "REP CMPS: RDI");
                        u32 want = ARITH;
                        if (n)
                            want = ref_add(ref_load(src + (int64_t)(done - 1) * step, size),
                                           ref_load(dst + (int64_t)(done - 1) * step, size), 0,
                                           8 * size, true)
                                       .flags;
                        check(got_flags & ARITH, want, "REP%s CMPS %u x %u, at %u: flags",
                              ne ? "NE" : "E", size, n, at);

                        /* SCAS for RAX in b */
                        u64 key = 0x4141414141414141;
                        memset(b, ne ? 0x30 : 0x41, BUF);
                        if (at < n)
                            for (unsigned i = 0; i < size; i++)
                                (dst + (int64_t)at * step)[i] = ne ? 0x41 : 0x55;
                        emit(ne ? 0xf2 : 0xf3, size, 0xae);
                        run(key, n, 0, (u64)dst, down, n ? 0 : ARITH);
                        check(got_rcx, n - done, "REP%s SCAS %u x %u, at %u: RCX", ne ? "NE" : "E",
                              size, n, at);
                        check(got_rdi, (u64)dst + (u64)(done * step), "REP SCAS: RDI");
                        if (n)
                            want = ref_add(key, ref_load(dst + (int64_t)(done - 1) * step, size), 0,
                                           8 * size, true)
                                       .flags;
                        check(got_flags & ARITH, want, "REP%s SCAS %u x %u, at %u: flags",
                              ne ? "NE" : "E", size, n, at);
                    }
    }
}

/* ---- 32-bit addresses in 64-bit mode: ECX, ESI, EDI; upper halves are cleared if anything moved
 * ---- */

static void address_sizes(void)
{
    fill();
    memcpy(code, "\x67\xf3\xa4\xc3", 4);
    run(0, 0xffffffff00000010, 0xffffffff00000000 | (u64)a, 0xffffffff00000000 | (u64)b, false, 0);
    memcpy(rb, ra, 16);
    same("REP MOVSB, 32-bit addresses", 1, 16);
    check((u32)got_rcx, 0, "32-bit addresses: ECX");
    check(got_rsi, (u64)a + 16, "32-bit addresses: RSI");
    check(got_rdi, (u64)b + 16, "32-bit addresses: RDI");
    /* a wrap of a 16-bit pointer, in real mode */
    SNIPPET(wrap16, 16,
            "mov $0x2800, %ax\n mov %ax, %ds\n mov %ax, %es\n mov $0xfffe, %si\n mov $0x100, %di\n"
            "mov $4, %cx\n cld\n rep movsb\n mov $0xfffd, %di\n mov $6, %cx\n mov $0x77, %al\n rep "
            "stosb");
    u8 *seg = (u8 *)0x28000;
    memset(seg, 0, 0x10000);
    seg[0xfffe] = 1;
    seg[0xffff] = 2;
    seg[0] = 3;
    seg[1] = 4;
    vm_run(VM_REAL, wrap16);
    check(vm.vector, VEC_DONE, "16-bit pointers: vector");
    check(*(u32 *)(seg + 0x100), 0x04030201, "16-bit pointers: SI wraps");
    check(vm.r[RSI] & 0xffff, 2, "16-bit pointers: SI");
    check(vm.r[RDI] & 0xffff, 3, "16-bit pointers: DI");
    check(seg[0xffff] + seg[0] + seg[2], 3 * 0x77, "16-bit pointers: DI wraps");
    check(seg[3] + *(u8 *)0x38000, 0, "16-bit pointers: no more");
}

/* ---- a fault in the middle: registers tell how far it came; after the repair it goes on ---- */

#define FAR 0x200000000ul
static volatile u64 dir[512] __attribute__((aligned(4096)));
static volatile u64 table[512] __attribute__((aligned(4096)));
static u64 faults, fault_cr2, fault_rcx, fault_rsi, fault_rdi, fault_rip;

static void on_fault(Trap *t)
{
    u64 cr2 = read_cr2();
    if (cr2 < FAR || cr2 >= FAR + 4 * PAGE)
        die("fault at %lx, RIP %lx", cr2, t->rip);
    faults++;
    fault_cr2 = cr2;
    fault_rcx = t->r[1];
    fault_rsi = t->r[6];
    fault_rdi = t->r[7];
    fault_rip = t->rip;
    table[(cr2 - FAR) / PAGE] |= 3;
}

static void restarts(void)
{
    pdpt_host[FAR >> 30] = (u64)dir | 3;
    dir[0] = (u64)table | 3;
    trap_handlers[PFV] = on_fault;
    static const u16 offsets[] = {8, 7, 5, 1, 100};
    for (unsigned op = 0; op < 3; op++)          /* MOVS to, MOVS from, STOS */
        for (unsigned ls = 0; ls < 4; ls++)
            for (unsigned down = 0; down < 2; down++)
                for (unsigned oi = 0; oi < COUNT(offsets); oi++) {
                    unsigned size = 1u << ls, n = 200, off = offsets[oi];
                    for (unsigned i = 0; i < 3; i++)
                        table[i] = (u64)b + i * PAGE;
                    table[1] |= 3; /* the middle page is there */
                    write_cr3(read_cr3());
                    fill();
                    int64_t step = down ? -(int64_t)size : (int64_t)size;
                    /* starts in the middle page, reaches the next */
                    u64 first =
                        down ? PAGE + (u64)size * 50 + off : 2 * PAGE - (u64)size * 50 - off;
                    u64 w = FAR + first;
                    faults = 0;
                    emit(0xf3, size, op == 2 ? 0xaa : 0xa4);
                    u64 v = 0x0102030405060708, other = (u64)a + (down ? 2 * PAGE + 512 : 64);
                    run(v, n, op == 1 ? w : other, op == 1 ? other : w, down, 0);
                    for (unsigned i = 0; i < n; i++) {
                        u8 *rw = rb + first + (int64_t)i * step,
                           *ro = ra + (other - (u64)a) + (int64_t)i * step;
                        if (op == 2)
                            ref_store(rw, v, size);
                        else if (op == 0)
                            ref_store(rw, ref_load(ro, size), size);
                        else
                            ref_store(ro, ref_load(rw, size), size);
                    }
                    same("REP with a fault", size, n);
                    check(faults, 1, "REP with a fault: faults, op %u", op);
                    check(got_rcx, 0, "REP with a fault: RCX at the end");
                    u64 at = op == 1 ? fault_rsi : fault_rdi, done = n - fault_rcx;
                    check(at, w + done * (u64)step,
                          "REP with a fault: pointer agrees with RCX (op %u size %u)", op, size);
                    check(fault_rip, (u64)code, "REP with a fault: RIP at the prefix");
                    /* the element that faulted touches the page that was away */
                    u64 lo = down ? FAR : FAR + 2 * PAGE;
                    check(at + size > lo && at < lo + PAGE, true,
                          "REP with a fault: element at %lx", at);
                    check(fault_cr2 >= lo && fault_cr2 < lo + PAGE, true,
                          "REP with a fault: CR2 %lx", fault_cr2);
                }
    trap_handlers[PFV] = NULL;
    pdpt_host[FAR >> 30] = 0;
    write_cr3(read_cr3());
}

/* A large one is interrupted and goes on. */
static volatile u32 ticks;
static u64 tick_rcx;
static u8 *const big = (u8 *)0x800000;
static void on_tick(Trap *t)
{
    ticks++;
    if (t->r[1] && t->rip == (u64)code)
        tick_rcx = t->r[1];
    lapic_eoi();
}

static void interrupted(void)
{
    trap_handlers[0x60] = on_tick;
    lapic_enable();
    lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
    lapic_write(LAPIC_LVT_TIMER, 0x20060);
    lapic_write(LAPIC_TIMER_INIT, 20000);
    emit(0xf3, 1, 0xac); /* LODSB: slow, harmless */
    sti();
    run(0, 0x400000, (u64)big, 0, false, IF);
    cli();
    lapic_write(LAPIC_TIMER_INIT, 0);
    check(got_rcx, 0, "interrupted: RCX");
    check(got_rsi, (u64)big + 0x400000, "interrupted: RSI");
    check(ticks > 0, true, "interrupted: by the timer");
    sti();
    for (u32 i = 0; i < 100; i++)
        pause();
    cli();
}

void guest_main(void)
{
    moves();
    compares();
    address_sizes();
    restarts();
    interrupted();
    finish();
}
