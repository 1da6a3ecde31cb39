/*
 * The local APIC's timer: one-shot, periodic, TSC deadline; dividers, counts, mask, HLT.
 */
#include "lib.h"

static volatile u32 count;
static volatile u64 last_tsc;
static void on_timer(Trap *t)
{
    (void)t;
    last_tsc = rdtsc();
    count++;
    lapic_eoi();
}
enum { VEC = 0x60, MASKED = 0x10000, PERIODIC = 0x20000, DEADLINE = 0x40000 };

static void one_shot(void)
{
    static const u8 dividers[] = {0xb, 0, 1, 2, 3, 8, 9, 0xa};
    for (unsigned i = 0; i < COUNT(dividers); i++) {
        u32 before = count;
        lapic_write(LAPIC_TIMER_DIVIDE, dividers[i]);
        lapic_write(LAPIC_LVT_TIMER, VEC);
        lapic_write(LAPIC_TIMER_INIT, 1000);
        check(wait_irq(&count, before + 1), true, "one-shot, divider %x", dividers[i]);
        check_not_tcg(lapic_read(LAPIC_TIMER_NOW), 0, "one-shot: count after the end");
    }
    /* no second interrupt */
    u32 before = count;
    sti();
    for (u32 i = 0; i < 2000; i++)
        pause();
    cli();
    check_not_tcg(count, before, "one-shot: no more");
    /* counts down, never up */
    lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
    lapic_write(LAPIC_LVT_TIMER, VEC | MASKED);
    lapic_write(LAPIC_TIMER_INIT, 0xffffffff);
    u32 prev = 0xffffffff;
    for (unsigned i = 0; i < 1000; i++) {
        u32 now = lapic_read(LAPIC_TIMER_NOW);
        if (now > prev) {
            check(now, prev, "the count rose");
            break;
        }
        prev = now;
    }
    check(prev < 0xffffffff, true, "the count falls");
    /* 0 stops it */
    lapic_write(LAPIC_TIMER_INIT, 0);
    check(lapic_read(LAPIC_TIMER_NOW), 0, "stopped");
    /* masked: no interrupt, even when unmasked later */
    before = count;
    lapic_write(LAPIC_LVT_TIMER, VEC | MASKED);
    lapic_write(LAPIC_TIMER_INIT, 10);
    for (u32 i = 0; i < 100000000 && lapic_read(LAPIC_TIMER_NOW); i++)
        pause();
    lapic_write(LAPIC_LVT_TIMER, VEC);
    sti();
    for (u32 i = 0; i < 1000; i++)
        pause();
    cli();
    check(count, before, "masked at its end: lost");
    /* HLT */
    lapic_write(LAPIC_TIMER_INIT, 100000);
    asm volatile("sti\n hlt\n cli" : : : "memory");
    check(count, before + 1, "HLT until the timer");
}

static void periodic(void)
{
    u32 before = count;
    lapic_write(LAPIC_TIMER_DIVIDE, 3);
    lapic_write(LAPIC_LVT_TIMER, VEC | PERIODIC);
    lapic_write(LAPIC_TIMER_INIT, 50000);
    sti();
    for (u32 i = 0; i < 200000000 && count < before + 10; i++)
        pause();
    cli();
    check(count >= before + 10, true, "periodic: ten");
    lapic_write(LAPIC_TIMER_INIT, 0);
    sti();
    for (u32 i = 0; i < 100; i++)
        pause();
    cli();
    before = count;
    sti();
    for (u32 i = 0; i < 2000; i++)
        pause();
    cli();
    check(count, before, "periodic: stopped");
    lapic_write(LAPIC_LVT_TIMER, VEC | MASKED);
}

static void deadline(void)
{
    if (!HAS_TSC_DEADLINE) {
        print("no TSC deadline: not tested\n");
        return;
    }
    lapic_write(LAPIC_LVT_TIMER, VEC | DEADLINE);
    asm volatile("mfence" : : : "memory");
    for (unsigned i = 0; i < 10; i++) {
        u32 before = count;
        u64 at = rdtsc() + 20000 * (i + 1);
        wrmsr(0x6e0, at);
        check(wait_irq(&count, before + 1), true, "deadline %u", i);
        check(last_tsc >= at, true, "deadline %u: not before its time", i);
        check(rdmsr(0x6e0), 0, "deadline %u: disarmed", i);
    }
    u32 before = count;
    wrmsr(0x6e0, 1); /* long past: at once */
    check(wait_irq(&count, before + 1), true, "deadline in the past");
    before = count;
    wrmsr(0x6e0, rdtsc() + (1ull << 50));
    check(rdmsr(0x6e0) != 0, true, "armed");
    wrmsr(0x6e0, 0);
    sti();
    for (u32 i = 0; i < 1000; i++)
        pause();
    cli();
    check(count, before, "disarmed");
    /* the count registers are not used in this mode */
    lapic_write(LAPIC_TIMER_INIT, 10);
    check(lapic_read(LAPIC_TIMER_NOW), 0, "initial count is ignored in deadline mode");
    /* one in the past in HLT: must not sleep for ever */
    wrmsr(0x6e0, rdtsc() + 1000);
    asm volatile("sti\n hlt\n cli" : : : "memory");
    check(count, before + 1, "HLT until the deadline");
    lapic_write(LAPIC_LVT_TIMER, VEC | MASKED);
    /* Outside its mode the MSR reads 0 and takes nothing. */
    wrmsr(0x6e0, rdtsc());
    check(rdmsr(0x6e0), 0, "MSR outside deadline mode");
}

void guest_main(void)
{
    trap_handlers[VEC] = on_timer;
    lapic_enable();
    one_shot();
    periodic();
    deadline();
    finish();
}
