/*
 * Output, checks, traps, descriptors: see lib.h.
 */
#include <stdarg.h>

#include "lib.h"

enum { COM1 = 0x3f8, EXIT_PORT = 0x501, FAILURES_SHOWN = 60 };

extern const char trap_stubs[], long_stubs[], prot_stubs[], real_stubs[];
extern u8 trap_stack_top[], vm_stack_top[], df_task[];
extern u8 idt_pointer[], gdt_pointer[];

bool on_tcg, on_interp;
u32 cpuid_1_ecx, cpuid_1_edx, cpuid_7_ebx, cpuid_81_edx, cpuid_81_ecx;
Tss64 tss64[CPUS_MAX];
Tss32 tss32, tss32b, tss_df;
TrapHandler *trap_handlers[256];
Cpu cpus[CPUS_MAX];

static u32 checks, failures, known;
static volatile u32 print_lock;

/* ---- output ---- */

static void put(char c)
{
    if (c == '\n')
        put('\r');
    for (u32 i = 0; i < 1000000 && !(inb(COM1 + 5) & 0x20); i++)
        pause();
    outb(COM1, (u8)c);
}

static void print_number(u64 v, unsigned base, unsigned width, char pad)
{
    char digits[24];
    unsigned n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    for (unsigned i = n; i < width; i++)
        put(pad);
    while (n)
        put(digits[--n]);
}

static void vprint(const char *f, va_list ap)
{
    for (; *f; f++) {
        if (*f != '%') {
            put(*f);
            continue;
        }
        char pad = ' ';
        unsigned width = 0;
        bool wide = false;
        f++;
        if (*f == '0')
            pad = '0';
        for (; *f >= '0' && *f <= '9'; f++)
            width = width * 10 + (unsigned)(*f - '0');
        for (; *f == 'l'; f++)
            wide = true;
        switch (*f) {
        case 's':
            for (const char *s = va_arg(ap, const char *); *s; s++)
                put(*s);
            break;
        case 'c':
            put((char)va_arg(ap, int));
            break;
        case 'd': {
            long v = wide ? va_arg(ap, long) : va_arg(ap, int);
            if (v < 0)
                put('-');
            print_number((u64)(v < 0 ? -v : v), 10, width, pad);
            break;
        }
        case 'u':
        case 'x':
            print_number(wide ? va_arg(ap, u64) : va_arg(ap, u32), *f == 'x' ? 16 : 10, width, pad);
            break;
        default:
            put(*f);
        }
    }
}

static void lock_print(void)
{
    for (u32 i = 0; i < 100000000 && __atomic_exchange_n(&print_lock, 1, __ATOMIC_ACQUIRE); i++)
        pause();
}

static void unlock_print(void) { __atomic_store_n(&print_lock, 0, __ATOMIC_RELEASE); }

void print(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    lock_print();
    vprint(format, ap);
    unlock_print();
    va_end(ap);
}

static bool vcheck(u64 got, u64 want, bool is_known, const char *what, va_list ap)
{
    __atomic_add_fetch(&checks, 1, __ATOMIC_RELAXED);
    if (got == want)
        return true;
    if (is_known) {
        __atomic_add_fetch(&known, 1, __ATOMIC_RELAXED);
        return false;
    }
    if (__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED) <= FAILURES_SHOWN) {
        lock_print();
        vprint("FAIL ", ap);
        vprint(what, ap);
        unlock_print();
        print(": got %lx, expected %lx\n", got, want);
    }
    return false;
}

bool check(u64 got, u64 want, const char *what, ...)
{
    va_list ap;
    va_start(ap, what);
    bool ok = vcheck(got, want, false, what, ap);
    va_end(ap);
    return ok;
}

bool check_not_tcg(u64 got, u64 want, const char *what, ...)
{
    va_list ap;
    va_start(ap, what);
    bool ok = vcheck(got, want, on_tcg, what, ap);
    va_end(ap);
    return ok;
}

bool check_optional(u64 got, u64 want, const char *what, ...)
{
    va_list ap;
    va_start(ap, what);
    bool ok = vcheck(got, want, on_tcg || on_interp, what, ap);
    va_end(ap);
    return ok;
}

static void leave(bool ok)
{
    for (;;)
        outb(EXIT_PORT, ok ? 0 : 1);
}

void finish(void)
{
    cli();
    if (known)
        print("%u known differences of this emulator\n", known);
    print("%s: %u checks, %u failures\n", failures ? "FAIL" : "PASS", checks, failures);
    leave(!failures);
    __builtin_unreachable();
}

void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    print_lock = 0;
    vprint("FAIL (end): ", ap);
    vprint(format, ap);
    vprint("\n", ap);
    va_end(ap);
    leave(false);
    __builtin_unreachable();
}

void *memset(void *to, int c, size_t n)
{
    void *d = to;
    asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *d = to;
    asm volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;
    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

u64 random64(void)
{
    static u64 s = 0x9e3779b97f4a7c15;
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return s;
}

bool is_intel(void)
{
    u32 r[4];
    cpuid(0, 0, r);
    return r[1] == 0x756e6547;
}

/* ---- descriptors ---- */

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags)
{
    return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
           (u64)(limit >> 16 & 15) << 48 | (u64)(flags & 15) << 52 | (u64)(base >> 24) << 56;
}

u64 gate32(u16 selector, u32 offset, u8 access, u8 parameters)
{
    return (offset & 0xffff) | (u64)selector << 16 | (u64)parameters << 32 | (u64)access << 40 |
           (u64)(offset >> 16) << 48;
}

static void set_gate64(u64 *table, unsigned n, u64 offset, u8 ist, u8 access)
{
    table[2 * n] = (offset & 0xffff) | SEL_CODE64 << 16 | (u64)ist << 32 | (u64)access << 40 |
                   (offset >> 16 & 0xffff) << 48;
    table[2 * n + 1] = offset >> 32;
}

static void init_tables(void)
{
    for (unsigned i = 0; i < 256; i++) {
        set_gate64(idt, i, (u64)trap_stubs + 16 * i, 0, 0x8e);
        set_gate64(vm_idt64, i, (u64)long_stubs + 16 * i, 1, 0xee);
        vm_idt32[i] = gate32(SEL_CODE32, (u32)(u64)prot_stubs + 16 * i, 0xee, 0);
        ((volatile u32 *)8)[(int)i - 2] = (u32)(u64)real_stubs + 8 * i;
    }
    vm_idt32[DFV] = gate32(SEL_TSSDF, 0, 0x85, 0);
    tss32.ss0 = tss32.ss1 = SEL_DATA;
    tss32.esp0 = (u32)(u64)vm_stack_top;
    tss32.iomap = offsetof(Tss32, bitmap) + sizeof tss32.bitmap; /* none */
    tss_df = (Tss32){.esp = (u32)(u64)vm_stack_top,
                     .eip = (u32)(u64)df_task,
                     .eflags = 2,
                     .cs = SEL_CODE32,
                     .ss = SEL_DATA,
                     .ds = SEL_DATA,
                     .es = SEL_DATA,
                     .fs = SEL_DATA,
                     .gs = SEL_DATA,
                     .iomap = sizeof(Tss32)};
    SLOT(SEL_TSS32) = descriptor((u32)(u64)&tss32, sizeof tss32 - 1, 0x89, 0);
    SLOT(SEL_TSS32B) = descriptor((u32)(u64)&tss32b, sizeof tss32b - 1, 0x89, 0);
    SLOT(SEL_TSSDF) = descriptor((u32)(u64)&tss_df, 103, 0x89, 0);
}

void cpu_init(u32 index)
{
    Cpu *c = &cpus[index];
    if (index == 0) {
        u32 r[4];
        init_tables();
        cpuid(1, 0, r);
        cpuid_1_ecx = r[2];
        cpuid_1_edx = r[3];
        cpuid(0, 0, r);
        if (r[0] >= 7) {
            cpuid(7, 0, r);
            cpuid_7_ebx = r[1];
        }
        cpuid(0x80000001, 0, r);
        cpuid_81_ecx = r[2];
        cpuid_81_edx = r[3];
        if (HAS(cpuid_1_ecx, 31)) {
            cpuid(0x40000000, 0, r);
            on_tcg = r[1] == 0x54474354; /* "TCGT" */
            on_interp = r[1] == 0x75726d76; /* "vmru" */
        }
        outb(0x21, 0xff);
        outb(0xa1, 0xff);
        outb(COM1 + 1, 0);
        outb(COM1 + 3, 0x80);
        outb(COM1, 1);
        outb(COM1 + 1, 0);
        outb(COM1 + 3, 3);
    }
    asm volatile("lgdt gdt_pointer; lidt idt_pointer");
    *c = (Cpu){.self = c, .index = index, .apic_id = 0};
    Tss64 *t = &tss64[index];
    t->ist[0] = (u64)trap_stack_top;
    t->iomap = sizeof(Tss64);
    u16 sel = (u16)(SEL_TSS64 + 16 * index);
    SLOT(sel) = descriptor((u32)(u64)t, sizeof *t - 1, 0x89, 0);
    SLOT(sel + 8) = (u64)t >> 32;
    asm volatile("ltr %0" : : "r"(sel));
    wrmsr(0xc0000101, (u64)c);
    if (HAS_NX)
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    c->apic_id = lapic_read(LAPIC_ID) >> 24;
}

/* ---- traps ---- */

void trap(Trap *t); /* from start.S */

void trap(Trap *t)
{
    Cpu *c = this_cpu();
    TrapHandler *h = trap_handlers[t->vector & 255];
    if (h) {
        h(t);
        return;
    }
    if (t->vector < 32 && c->guard) {
        *c->guard = (Caught){t->vector, t->error, t->vector == PFV ? read_cr2() : 0, t->rip};
        c->guard = NULL;
        t->rip = (u64)guarded_return;
        t->rsp = c->guard_rsp;
        t->cs = SEL_CODE64;
        t->ss = SEL_DATA;
        t->rflags &= ~(u64)(TF | RF | NT | AC);
        return;
    }
    die("CPU %u: unexpected trap %lx, error %lx, RIP %lx:%lx, CR2 %lx, RSP %lx", c->index,
        t->vector, t->error, t->cs, t->rip, read_cr2(), t->rsp);
}

bool guarded(void (*fn)(void *), void *arg, Caught *out)
{
    Cpu *c = this_cpu();
    *out = (Caught){.vector = NO_TRAP};
    c->guard = out;
    bool ok = guarded_call(fn, arg, &c->guard_rsp);
    c->guard = NULL;
    return ok;
}
