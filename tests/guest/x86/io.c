/*
 * Port I/O: sizes, string instructions, ports that nobody answers, IOPL and the permission
 * bitmap, in 64-bit and 32-bit mode.
 */
#include "lib.h"

enum { EMPTY = 0x2f0, SCRATCH = 0x3ff }; /* the serial port's scratch register */

static u8 buffer[64] __attribute__((aligned(16)));

static void sizes(void)
{
    check(inb(EMPTY), 0xff, "unassigned port, byte");
    check(inw(EMPTY), 0xffff, "unassigned port, word");
    check(inl(EMPTY), 0xffffffff, "unassigned port, double word");
    outb(EMPTY, 1);
    outw(EMPTY, 1);
    outl(EMPTY, 1);
    for (unsigned v = 0; v < 256; v += 17) {
        outb(SCRATCH, (u8)v);
        check(inb(SCRATCH), v, "scratch register");
    }
    /* IN changes what it should of RAX and no flags */
    u64 rax, flags;
    outb(SCRATCH, 0x5a);
    asm volatile("mov $0x1111111111111111, %%rax\n stc\n inb %%dx, %%al\n pushf\n pop %1"
                 : "=&a"(rax), "=r"(flags)
                 : "d"(SCRATCH));
    check(rax, 0x111111111111115a, "IN AL keeps the rest of RAX");
    check(flags & CF, CF, "IN keeps the flags");
    asm volatile("mov $0x1111111111111111, %%rax\n inw %%dx, %%ax" : "=&a"(rax) : "d"(EMPTY));
    check(rax, 0x111111111111ffff, "IN AX keeps the rest of RAX");
    asm volatile("mov $0x1111111111111111, %%rax\n inl %%dx, %%eax" : "=&a"(rax) : "d"(EMPTY));
    check(rax, 0xffffffff, "IN EAX clears the upper half");
    asm volatile("mov $0, %%eax\n inb $0x80, %%al\n outb %%al, $0x80" : "=&a"(rax));
    /* a word over two byte ports: both are asked */
    outb(SCRATCH, 0xa7);
    check(inw(0x3fe) >> 8, 0xa7, "word over two registers");
    outw(0x3fe, 0x3c00);
    check(inb(SCRATCH), 0x3c, "word to two registers");
}

static void strings(void)
{
    void *p = buffer;
    u64 n = 5;
    outb(SCRATCH, 0x66);
    memset(buffer, 0, sizeof buffer);
    asm volatile("cld\n rep insb" : "+D"(p), "+c"(n) : "d"(SCRATCH) : "memory");
    check(n, 0, "REP INSB: RCX");
    check((u64)p, (u64)buffer + 5, "REP INSB: RDI");
    for (unsigned i = 0; i < 8; i++)
        check(buffer[i], i < 5 ? 0x66 : 0, "REP INSB: byte %u", i);
    p = buffer + 32;
    n = 3;
    asm volatile("std\n rep insl\n cld" : "+D"(p), "+c"(n) : "d"(EMPTY) : "memory");
    check((u64)p, (u64)buffer + 20, "REP INSL down: RDI");
    check(*(u32 *)(buffer + 24), 0xffffffff, "REP INSL down: last");
    check(*(u32 *)(buffer + 20), 0, "REP INSL down: no more");
    const void *q = buffer + 1;
    n = 3;
    memcpy(buffer, "\1\2\3\4\5", 5);
    asm volatile("rep outsb" : "+S"(q), "+c"(n) : "d"(SCRATCH) : "memory");
    check(inb(SCRATCH), 4, "REP OUTSB: the last byte");
    check((u64)q, (u64)buffer + 4, "REP OUTSB: RSI");
    n = 0;
    p = buffer;
    asm volatile("rep insb" : "+D"(p), "+c"(n) : "d"(SCRATCH) : "memory");
    check((u64)p, (u64)buffer, "REP INSB x 0");
    p = buffer;
    asm volatile("insb" : "+D"(p) : "d"(SCRATCH) : "memory");
    check((u64)p, (u64)buffer + 1, "INSB: RDI");
    /* 16-bit: INSW in real mode */
    SNIPPET(insw16, 16,
            "mov $0x2800, %ax\n mov %ax, %es\n mov $16, %di\n mov $4, %cx\n mov $0x2f0, %dx\n "
            "cld\n rep insw");
    memset((void *)0x28000, 0, 64);
    vm_run(VM_REAL, insw16);
    check(vm.r[RDI] & 0xffff, 24, "real mode REP INSW: DI");
    check(*(u64 *)0x28010, ~0ull, "real mode REP INSW: data");
    check(*(u64 *)0x28018, 0, "real mode REP INSW: no more");
}

/* ---- a fault while a string goes to memory ---- */

static void ins_to_hole(void *arg)
{
    u64 n = 4;
    asm volatile("rep insb" : "+D"(arg), "+c"(n) : "d"(SCRATCH) : "memory");
}

static void faults(void)
{
    Caught c;
    guarded(ins_to_hole, (void *)0x4000000000, &c);
    check(c.vector, PFV, "INSB to a hole: vector");
    check(c.error, 2, "INSB to a hole: error code");
    check(c.cr2, 0x4000000000, "INSB to a hole: CR2");
}

/* ---- permissions of ring 3 ---- */

SNIPPET(in8_64, 64, "inb %dx, %al");
SNIPPET(in16_64, 64, "inw %dx, %ax");
SNIPPET(in32_64, 64, "inl %dx, %eax");
SNIPPET(out8_64, 64, "outb %al, %dx");
SNIPPET(ins_64, 64, "mov $1, %ecx\n mov $0x28000, %edi\n rep insb");
SNIPPET(in8_16, 16, "inb %dx, %al");
SNIPPET(in16_16, 16, "inw %dx, %ax");
SNIPPET(in32_16, 16, "inl %dx, %eax");
SNIPPET(out8_16, 16, "outb %al, %dx");
SNIPPET(ins_16, 16, "mov $1, %cx\n mov $0x2800, %di\n mov %di, %es\n xor %di, %di\n rep insb");

static void permissions(void)
{
    static const struct {
        const u8 *code, *end, *code16, *end16;
        u32 bytes;
        const char *name;
    } t[] = {
        {in8_64, in8_64_end, in8_16, in8_16_end, 1, "IN AL"},
        {in16_64, in16_64_end, in16_16, in16_16_end, 2, "IN AX"},
        {in32_64, in32_64_end, in32_16, in32_16_end, 4, "IN EAX"},
        {out8_64, out8_64_end, out8_16, out8_16_end, 1, "OUT AL"},
        {ins_64, ins_64_end, ins_16, ins_16_end, 1, "INSB"},
    };
    /* ports 0x2f0 to 0x2ff are free, but 0x2f6 */
    static const u16 ports[] = {0x2f0, 0x2f3, 0x2f4, 0x2f5, 0x2f6, 0x2f7,
                                0x2ef, 0x2fd, 0x2fe, 0x2ff, 0x80};
    Tss64 *s64 = &tss64[0];
    for (unsigned k = 0; k < 3; k++) {
        static const VmKind kinds[] = {VM_LONG_R3, VM_PROT32_R3, VM_V86};
        u8 *map = k ? tss32.bitmap : s64->bitmap;
        memset(map, 0xff, 8192);
        map[0x2f0 / 8] = 0x40;
        map[0x2f8 / 8] = 0;
        for (unsigned with_map = 0; with_map < 2; with_map++) {
            /* without: its offset lies beyond the segment's limit */
            s64->iomap = with_map ? offsetof(Tss64, bitmap) : sizeof(Tss64);
            tss32.iomap = with_map ? offsetof(Tss32, bitmap) : sizeof(Tss32);
            for (unsigned i = 0; i < COUNT(t); i++)
                for (unsigned p = 0; p < COUNT(ports); p++)
                    for (unsigned iopl = 0; iopl < 4; iopl += 3) {
                        vm_setup(kinds[k]);
                        vm.rflags = (vm.rflags & ~(u64)IOPL3) | iopl << 12;
                        vm.r[RDX] = ports[p];
                        if (kinds[k] == VM_V86)
                            vm_load(t[i].code16, t[i].end16);
                        else
                            vm_load(t[i].code, t[i].end);
                        vm_go();
                        bool allowed = with_map;
                        for (u32 b = 0; b < t[i].bytes; b++) {
                            u32 port = ports[p] + b;
                            if (port < 0x2f0 || port > 0x2ff || port == 0x2f6)
                                allowed = false;
                        }
                        if (k < 2 && iopl == 3)
                            allowed = true; /* virtual-8086 mode asks the map whatever IOPL is */
                        const char *m = vm_names[kinds[k]];
                        if (allowed && kinds[k] == VM_V86 && iopl != 3) {
                            /* it ends by INT, which is refused */
                            check(vm.vector, GP, "%s: %s", m, t[i].name);
                            check(vm.rip != 0, true, "%s: %s of %x: done", m, t[i].name, ports[p]);
                            continue;
                        }
                        check(vm.vector, allowed ? VEC_DONE : GP, "%s: %s of %x, IOPL %u, map %u",
                              m, t[i].name, ports[p], iopl, with_map);
                        if (!allowed)
                            check(vm.error, 0, "%s: %s of %x: error code", m, t[i].name, ports[p]);
                    }
        }
        s64->iomap = sizeof(Tss64);
        tss32.iomap = sizeof(Tss32);
    }
}

void guest_main(void)
{
    sizes();
    strings();
    faults();
    permissions();
    finish();
}
