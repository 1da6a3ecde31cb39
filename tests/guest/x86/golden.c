/*
 * State all over the machine, then a wait in the midst of it for a byte from the serial port: to be
 * saved there, and to check in another process that all of it came back.  tests/golden/run
 */
#include "lib.h"

enum { BASE = 0x20, COM1 = 0x3f8, VECTOR_TIMER = 0x41 };

static volatile u32 ticks, lapic_ticks;
static u64 pattern[64];

static void on_pit(Trap *t)
{
    (void)t;
    ticks++;
    outb(0x20, 0x20);
}

static void on_lapic(Trap *t)
{
    (void)t;
    lapic_ticks++;
    lapic_eoi();
}

static u8 cmos(u8 index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void set_up(void)
{
    for (unsigned i = 0; i < COUNT(pattern); i++)
        pattern[i] = random64();
    outb(0x70, 0x40); /* NVRAM */
    outb(0x71, 0xa5);
    outb(COM1 + 7, 0x3c); /* scratch */
    pic_init(BASE, BASE + 8);
    trap_handlers[BASE] = on_pit;
    trap_handlers[VECTOR_TIMER] = on_lapic;
    pit_mode(0, 2, 11932); /* 100 Hz */
    pit_mode(2, 3, 0x1234);
    outb(0x21, 0xfe);
    outb(0xa1, 0xdf);
    lapic_enable();
    lapic_write(LAPIC_LVT_ERROR, 0x100e5);
    lapic_write(LAPIC_TIMER_DIVIDE, 3);
    lapic_write(LAPIC_LVT_TIMER, 0x20000 | VECTOR_TIMER); /* periodic */
    lapic_write(LAPIC_TIMER_INIT, 1000000);
    *(volatile u32 *)0xfec00000 = 0x10 + 2 * 9; /* the I/O APIC's entry 9, masked */
    *(volatile u32 *)0xfec00010 = 0x1a077;
    asm volatile("mov %0, %%dr0\n mov %1, %%dr1" : : "r"(0x123456789aull), "r"(0x55ull));
    wrmsr(0xc0000081, 0x0023001000000000);
    wrmsr(0xc0000082, 0xffffffff81000000);
    wrmsr(0x277, 0x0007010600070106); /* PAT */
}

static void check_all(u64 fpu, u64 low, u64 high)
{
    u64 dr0, dr1;
    asm volatile("mov %%dr0, %0\n mov %%dr1, %1" : "=r"(dr0), "=r"(dr1));
    check(fpu, 0x400921fb54442d18, "the FPU's top, as a double");
    check(low, 0x1122334455667788, "XMM7, low");
    check(high, 0x99aabbccddeeff00, "XMM7, high");
    check(dr0, 0x123456789a, "DR0");
    check(dr1, 0x55, "DR1");
    check(rdmsr(0xc0000081), 0x0023001000000000, "STAR");
    check(rdmsr(0xc0000082), 0xffffffff81000000, "LSTAR");
    check(rdmsr(0x277), 0x0007010600070106, "PAT");
    check(cmos(0x40), 0xa5, "NVRAM");
    check(inb(COM1 + 7), 0x3c, "the UART's scratch register");
    check(inb(0x21), 0xfe, "the master 8259's mask");
    check(inb(0xa1), 0xdf, "the slave 8259's mask");
    check(lapic_read(LAPIC_LVT_ERROR), 0x100e5, "the local APIC's LVT error");
    check(lapic_read(LAPIC_TIMER_DIVIDE), 3, "its timer's divider");
    check(lapic_read(LAPIC_TIMER_INIT), 1000000, "its timer's count");
    *(volatile u32 *)0xfec00000 = 0x10 + 2 * 9;
    check(*(volatile u32 *)0xfec00010 & 0x1a0ff, 0x1a077, "the I/O APIC's entry 9");
    check(pit_count(2) <= 0x1234, true, "the 8254's channel 2");
}

void guest_main(void)
{
    set_up();
    u64 fpu, low, high;
    u32 seen, seen_lapic;
    write_cr0((read_cr0() & ~(u64)(CR0_TS | CR0_EM)) | CR0_MP);
    write_cr4(read_cr4() | CR4_OSFXSR);
    asm volatile("fninit\n fldpi\n"
                 "movq %0, %%xmm7\n movq %1, %%xmm6\n punpcklqdq %%xmm6, %%xmm7"
                 : : "r"(0x1122334455667788), "r"(0x99aabbccddeeff00) : "memory");
    sti();
    while (ticks < 3)
        asm volatile("hlt");
    print("READY\n");
    while (!(inb(COM1 + 5) & 1)) /* interrupts go on, and end the HLT */
        asm volatile("hlt");
    u8 key = inb(COM1);
    seen = ticks;
    seen_lapic = lapic_ticks;
    asm volatile("fstpl %0\n movq %%xmm7, %1\n punpckhqdq %%xmm7, %%xmm7\n movq %%xmm7, %2"
                 : "=m"(fpu), "=r"(low), "=r"(high));
    check(key, 'g', "the byte from outside");
    check_all(fpu, low, high);
    for (u32 i = 0; i < 100000 && (ticks < seen + 3 || lapic_ticks < seen_lapic + 3); i++)
        asm volatile("hlt");
    cli();
    check(ticks >= seen + 3 && lapic_ticks >= seen_lapic + 3, true, "both timers go on");
    random64();
    u64 sum = 0;
    for (unsigned i = 0; i < COUNT(pattern); i++)
        sum = sum * 31 + pattern[i];
    print("SUM %lx\n", sum);
    finish();
}
