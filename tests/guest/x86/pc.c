/*
 * Local APIC, 8259, 8254 and the start of further CPUs.
 */
#include "lib.h"

volatile u32 cpu_count = 1;

/* A bound on waits, in rounds: minutes under any emulator, so that nothing depends on it. */
enum { ROUNDS = 400000000 };

bool wait_for(volatile u32 *what, u32 want)
{
    for (u32 i = 0; i < ROUNDS; i++) {
        if (*what == want)
            return true;
        pause();
    }
    return *what == want;
}

bool wait_irq(volatile u32 *what, u32 want)
{
    sti();
    bool ok = wait_for(what, want);
    cli();
    return ok;
}

void lapic_enable(void)
{
    wrmsr(0x1b, rdmsr(0x1b) | 0x800);
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_SVR, 0x1ff);
}

void lapic_eoi(void) { lapic_write(LAPIC_EOI, 0); }

void lapic_ipi(u32 apic_id, u32 command)
{
    lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
    lapic_write(LAPIC_ICR, command);
    for (u32 i = 0; i < ROUNDS && (lapic_read(LAPIC_ICR) & 0x1000); i++)
        pause();
}

bool lapic_bit(u32 reg, u8 vector)
{
    return lapic_read(reg + (vector >> 5) * 0x10u) >> (vector & 31) & 1;
}

/* ---- further CPUs ---- */

void ap_main(u32 index)
{
    lapic_enable();
    __atomic_add_fetch(&cpu_count, 1, __ATOMIC_SEQ_CST);
    Cpu *c = &cpus[index];
    for (;;) {
        void (*fn)(void *) = __atomic_load_n(&c->work, __ATOMIC_ACQUIRE);
        if (fn) {
            fn(c->arg);
            cli();
            __atomic_store_n(&c->work, NULL, __ATOMIC_RELEASE);
        }
        pause();
    }
}

void cpus_start(void)
{
    u32 r[4];
    cpuid(1, 0, r);
    u32 want = HAS(r[3], 28) ? r[1] >> 16 & 255 : 1;
    if (want > CPUS_MAX)
        want = CPUS_MAX;
    if (want < 2)
        return;
    lapic_enable();
    lapic_write(LAPIC_ICR, 0xc4500); /* INIT to all but this one */
    u64 t = rdtsc();
    for (u32 i = 0; i < 200000 && rdtsc() - t < 20000000; i++)
        pause();
    lapic_write(LAPIC_ICR, 0xc4600 | AP_VECTOR);
    if (!wait_for(&cpu_count, want))
        die("%u of %u CPUs have started", cpu_count, want);
}

void cpu_run(u32 index, void (*fn)(void *), void *arg)
{
    cpus[index].arg = arg;
    __atomic_store_n(&cpus[index].work, fn, __ATOMIC_RELEASE);
}

void cpu_wait(u32 index)
{
    for (u32 i = 0; i < ROUNDS; i++) {
        if (!__atomic_load_n(&cpus[index].work, __ATOMIC_ACQUIRE))
            return;
        pause();
    }
    die("CPU %u did not end its work", index);
}

/* ---- 8259, 8254 ---- */

void pic_init(u8 master, u8 slave)
{
    outb(0x20, 0x11);
    outb(0x21, master);
    outb(0x21, 4);
    outb(0x21, 1);
    outb(0xa0, 0x11);
    outb(0xa1, slave);
    outb(0xa1, 2);
    outb(0xa1, 1);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

void pit_mode(unsigned channel, u8 mode, u16 count)
{
    outb(0x43, (u8)(channel << 6 | 0x30 | mode << 1));
    outb((u16)(0x40 + channel), (u8)count);
    outb((u16)(0x40 + channel), (u8)(count >> 8));
}

u16 pit_count(unsigned channel)
{
    outb(0x43, (u8)(channel << 6));
    u8 low = inb((u16)(0x40 + channel));
    return (u16)(low | inb((u16)(0x40 + channel)) << 8);
}
