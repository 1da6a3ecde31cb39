/*
 * The clocks of a PC against the time stamp counter: they move, they never go back, their
 * rates agree roughly.  Bounds are wide: a host that is busy must not fail this.
 */
#include "lib.h"

static bool has_hpet, has_rtc, has_pm;

static u64 hpet_read(u32 reg) { return *(volatile u64 *)(0xfed00000ul + reg); }
static void hpet_write(u32 reg, u64 v) { *(volatile u64 *)(0xfed00000ul + reg) = v; }
static u8 rtc(u8 reg)
{
    outb(0x70, reg);
    return inb(0x71);
}

/* Time by the 8254 in ticks of 1193182 Hz, as long as it is asked often. */
static u64 pit_total;
static u16 pit_last;
static u64 pit_now(void)
{
    u16 now = pit_count(0);
    pit_total += (u16)(pit_last - now);
    pit_last = now;
    return pit_total;
}

static void compare(void)
{
    pit_mode(0, 2, 0);
    pit_last = pit_count(0);
    pit_total = 0;
    u64 tsc0 = rdtsc(), hpet0 = 0, hpet_period = 0;
    u32 pm0 = 0;
    if (has_hpet) {
        hpet_period = hpet_read(0) >> 32;
        hpet_write(0x10, 0);
        hpet_write(0xf0, 0);
        hpet_write(0x10, 1);
        hpet0 = hpet_read(0xf0);
    }
    if (has_pm)
        pm0 = inl(0x608) & 0xffffff;
    u64 last_tsc = tsc0, last_hpet = hpet0;
    /* until the 8254 has counted 20 ms */
    u32 rounds = 0;
    while (pit_now() < 23864 && rounds++ < 50000000) {
        u64 t = rdtsc();
        if (t < last_tsc)
            check(t, last_tsc, "TSC went back");
        last_tsc = t;
        if (has_hpet) {
            u64 h = hpet_read(0xf0);
            if (h < last_hpet)
                check(h, last_hpet, "HPET went back");
            last_hpet = h;
        }
    }
    u64 tsc = rdtsc() - tsc0, pit_ns = pit_now() * 1000000000 / 1193182;
    check(pit_ns >= 20000000 && pit_ns < 2000000000, true, "8254: 20 ms in %lu ns", pit_ns);
    check(tsc > 0, true, "TSC moves");
    print("TSC %lu in %lu us by the 8254\n", tsc, pit_ns / 1000);
    u32 r[4];
    cpuid(0, 0, r);
    if (r[0] >= 0x15) {
        cpuid(0x15, 0, r);
        if (r[0] && r[1] && r[2]) {
            u64 hz = (u64)r[2] * r[1] / r[0];
            u64 ns = tsc * 1000 / (hz / 1000000);
            check(ns > pit_ns / 2 && ns < pit_ns * 2, true, "TSC by CPUID: %lu ns, 8254: %lu ns",
                  ns, pit_ns);
        }
    }
    if (has_hpet) {
        u64 ns = (hpet_read(0xf0) - hpet0) * hpet_period / 1000000;
        check(ns > pit_ns / 2 && ns < pit_ns * 2, true, "HPET: %lu ns, 8254: %lu ns", ns, pit_ns);
    }
    if (has_pm) {
        u64 ns = ((inl(0x608) - pm0) & 0xffffff) * 1000000000ull / 3579545;
        check(ns > pit_ns / 2 && ns < pit_ns * 2, true, "PM timer: %lu ns, 8254: %lu ns", ns,
              pit_ns);
    }
    /* local APIC timer against the 8254 */
    lapic_enable();
    lapic_write(LAPIC_LVT_TIMER, 0x10000 | 0x60);
    lapic_write(LAPIC_TIMER_DIVIDE, 3);
    u64 p0 = pit_now();
    lapic_write(LAPIC_TIMER_INIT, 0xffffffff);
    rounds = 0;
    while (pit_now() < p0 + 6000 && rounds++ < 50000000)
        pause();
    check(lapic_read(LAPIC_TIMER_NOW) < 0xffffffff, true, "local APIC timer moves");
    lapic_write(LAPIC_TIMER_INIT, 0);
}

/* Counter 2 with its gate and output at port 0x61 */
static void speaker(void)
{
    outb(0x61, (u8)((inb(0x61) & ~3) | 0));
    pit_mode(2, 0, 1000);
    u16 a = pit_count(2), b = pit_count(2);
    check_not_tcg(a, b, "counter 2 with its gate low stands still");
    outb(0x61, (u8)((inb(0x61) & ~3) | 1));
    u32 i = 0;
    while (!(inb(0x61) & 0x20) && i++ < 50000000)
        pause();
    check(inb(0x61) & 0x20, 0x20, "counter 2: output at the end of its count");
    outb(0x61, (u8)(inb(0x61) & ~3));
    /* modes and formats read back */
    pit_mode(2, 2, 500);
    outb(0x43, 0xe8);
    check(inb(0x42) & 0x3f, 0x34, "read-back: mode 2, both bytes");
}

static volatile u32 fired;
static void on_irq(Trap *t)
{
    (void)t;
    fired++;
    lapic_eoi();
}

static void hpet(void)
{
    if (!has_hpet) {
        print("no HPET: not tested\n");
        return;
    }
    u64 caps = hpet_read(0);
    check((caps >> 8 & 0x1f) + 1 >= 3, true, "HPET: timers");
    hpet_write(0x10, 0);
    hpet_write(0xf0, 0x12345678);
    check(hpet_read(0xf0), 0x12345678, "HPET: counter is written while it stands");
    check(hpet_read(0xf0), 0x12345678, "HPET: and stands");
    hpet_write(0x10, 1);
    u32 i = 0;
    while (hpet_read(0xf0) == 0x12345678 && i++ < 1000000)
        pause();
    check(hpet_read(0xf0) > 0x12345678, true, "HPET: runs");
    /* timer 0 through the I/O APIC, any pin that it offers */
    trap_handlers[0x60] = on_irq;
    u32 pins = (u32)(hpet_read(0x100) >> 32), pin = 0;
    while (pin < 24 && !(pins >> pin & 1))
        pin++;
    if (!check(pin < 24, true, "HPET: timer 0 has a pin (%x)", pins))
        return;
    *(volatile u32 *)0xfec00000ul = 0x11 + 2 * pin;
    *(volatile u32 *)0xfec00010ul = this_cpu()->apic_id << 24;
    *(volatile u32 *)0xfec00000ul = 0x10 + 2 * pin;
    *(volatile u32 *)0xfec00010ul = 0x60;
    for (unsigned n = 0; n < 5; n++) {
        u32 before = fired;
        hpet_write(0x100, pin << 9 | 4); /* edge, enabled */
        hpet_write(0x108, hpet_read(0xf0) + 100000);
        check(wait_irq(&fired, before + 1), true, "HPET: one-shot %u", n);
    }
    hpet_write(0x100, 0);
    hpet_write(0x10, 0);
}

static void clock(void)
{
    if (!has_rtc) {
        print("no real-time clock: not tested\n");
        return;
    }
    check(rtc(0x0d) & 0x80, 0x80, "RTC: battery");
    u8 b = rtc(0x0b);
    check(b & 2, 2, "RTC: 24 hours");
    u8 s = rtc(0), m = rtc(2), h = rtc(4), day = rtc(7), month = rtc(8);
    if (!(b & 4)) {
        s = (u8)((s >> 4) * 10 + (s & 15));
        m = (u8)((m >> 4) * 10 + (m & 15));
        h = (u8)((h >> 4) * 10 + (h & 15));
        day = (u8)((day >> 4) * 10 + (day & 15));
        month = (u8)((month >> 4) * 10 + (month & 15));
    }
    check(s < 60 && m < 60 && h < 24 && day >= 1 && day <= 31 && month >= 1 && month <= 12, true,
          "RTC: %u:%u:%u, %u.%u.", h, m, s, day, month);
    /* CMOS bytes keep what is written */
    outb(0x70, 0x7f);
    u8 old = inb(0x71);
    outb(0x71, 0xa5);
    check(rtc(0x7f), 0xa5, "CMOS: byte 0x7f");
    outb(0x71, old);
    /* SET stops the time: it can be written and read */
    outb(0x70, 0x0b);
    outb(0x71, b | 0x80);
    outb(0x70, 2);
    outb(0x71, 0x15);
    check(rtc(2), 0x15, "RTC: minutes written");
    outb(0x70, 2);
    outb(0x71, b & 4 ? m : (u8)(m / 10 << 4 | m % 10));
    outb(0x70, 0x0b);
    outb(0x71, b);
}

void guest_main(void)
{
    u32 id = (u32)hpet_read(0);
    has_hpet = id != 0 && id != 0xffffffff;
    has_rtc = rtc(0x0d) == 0x80;
    has_pm = !on_tcg && inl(0x608) != 0xffffffff;
    compare();
    speaker();
    hpet();
    clock();
    finish();
}
