/*
 * I/O APIC and local APIC: edge and level, masks, EOI, priorities, self-IPI, LVT, x2APIC.
 */
#include "lib.h"

static u32 io_read(u8 reg)
{
    *(volatile u32 *)0xfec00000ul = reg;
    return *(volatile u32 *)0xfec00010ul;
}
static void io_write(u8 reg, u32 v)
{
    *(volatile u32 *)0xfec00000ul = reg;
    *(volatile u32 *)0xfec00010ul = v;
}
static void route(unsigned pin, u32 low)
{
    io_write((u8)(0x11 + 2 * pin), this_cpu()->apic_id << 24);
    io_write((u8)(0x10 + 2 * pin), low);
}
enum { MASKED = 0x10000, LEVEL = 0x8000, REMOTE_IRR = 0x4000 };
enum { SERIAL = 4, PIT_PIN = 2 };

static volatile u32 count[256], order[32], ordered;
static bool no_eoi;

static void on_irq(Trap *t)
{
    count[t->vector]++;
    if (ordered < COUNT(order))
        order[ordered++] = (u32)t->vector;
    if (!no_eoi)
        lapic_eoi();
}
static void on_serial(Trap *t)
{
    outb(0x3f9, 0); /* the line falls */
    on_irq(t);
}
static void settle(void)
{
    sti();
    for (unsigned i = 0; i < 100; i++)
        pause();
    cli();
}
static void clear(void)
{
    memset((void *)count, 0, sizeof count);
    ordered = 0;
}

static void registers(void)
{
    check(io_read(1) >> 16 & 0xff, 23, "I/O APIC: pins");
    route(SERIAL, MASKED | 0x40);
    check(io_read(0x10 + 2 * SERIAL), MASKED | 0x40, "redirection entry reads back");
    u32 v = lapic_read(LAPIC_VERSION);
    check((v >> 16 & 0xff) >= 3, true, "local APIC: LVT entries %x", v);
    check(lapic_read(LAPIC_SVR) & 0x1ff, 0x1ff, "SVR");
    lapic_write(LAPIC_TPR, 0x25);
    check(lapic_read(LAPIC_TPR), 0x25, "TPR");
    u64 cr8;
    asm volatile("mov %%cr8, %0" : "=r"(cr8));
    check(cr8, 2, "CR8 is TPR's class");
    asm volatile("mov %0, %%cr8" : : "r"(9ul));
    check(lapic_read(LAPIC_TPR), 0x90, "TPR by CR8");
    check(lapic_read(LAPIC_PPR), 0x90, "PPR");
    lapic_write(LAPIC_TPR, 0);
}

static void ipis(void)
{
    clear();
    lapic_write(LAPIC_ICR, 0x44050); /* self, fixed */
    check(lapic_bit(LAPIC_IRR, 0x50), 1, "self-IPI: requested");
    settle();
    check(count[0x50], 1, "self-IPI");
    check(lapic_bit(LAPIC_IRR, 0x50), 0, "self-IPI: request gone");
    check(lapic_bit(LAPIC_ISR, 0x50), 0, "self-IPI: not in service after EOI");
    lapic_ipi(this_cpu()->apic_id, 0x4050);
    settle();
    check(count[0x50], 2, "IPI to the own physical address");
    lapic_write(LAPIC_DFR, 0xffffffff);
    lapic_write(LAPIC_LDR, 0x01000000);
    lapic_ipi(1, 0x4850);
    settle();
    check(count[0x50], 3, "IPI to the own logical address");
    lapic_ipi(2, 0x4850);
    settle();
    check(count[0x50], 3, "IPI to another logical address");

    /* Several at once: the highest vector first */
    clear();
    static const u8 v[] = {0x51, 0x91, 0x61, 0xe1, 0x62};
    for (unsigned i = 0; i < COUNT(v); i++)
        lapic_write(LAPIC_ICR, 0x44000u | v[i]);
    settle();
    static const u8 want[] = {0xe1, 0x91, 0x62, 0x61, 0x51};
    for (unsigned i = 0; i < COUNT(want); i++)
        check(order[i], want[i], "order %u", i);
    /* The same vector twice while pending is one interrupt. */
    clear();
    lapic_write(LAPIC_ICR, 0x44050);
    lapic_write(LAPIC_ICR, 0x44050);
    settle();
    check(count[0x50], 1, "one request bit a vector");

    /* TPR holds back what is not of a higher class. */
    clear();
    lapic_write(LAPIC_TPR, 0x60);
    lapic_write(LAPIC_ICR, 0x44051);
    lapic_write(LAPIC_ICR, 0x44062);
    lapic_write(LAPIC_ICR, 0x44071);
    settle();
    check(count[0x51] + count[0x62], 0, "TPR: held back");
    check(count[0x71], 1, "TPR: higher class");
    lapic_write(LAPIC_TPR, 0x50);
    settle();
    check(count[0x62], 1, "TPR lowered: class 6");
    check(count[0x51], 0, "TPR lowered: class 5 is still held back");
    lapic_write(LAPIC_TPR, 0);
    settle();
    check(count[0x51], 1, "TPR 0");

    /* In service without EOI: same class waits, higher class nests. */
    clear();
    no_eoi = true;
    lapic_write(LAPIC_ICR, 0x44081);
    settle();
    check(lapic_bit(LAPIC_ISR, 0x81), 1, "in service");
    check(lapic_read(LAPIC_PPR), 0x80, "PPR is the class in service");
    lapic_write(LAPIC_ICR, 0x44085);
    settle();
    check(count[0x85], 0, "same class waits");
    lapic_write(LAPIC_ICR, 0x44091);
    settle();
    check(count[0x91], 1, "higher class nests");
    no_eoi = false;
    lapic_eoi(); /* of 0x91 */
    check(lapic_bit(LAPIC_ISR, 0x91), 0, "EOI ends the highest");
    check(lapic_bit(LAPIC_ISR, 0x81), 1, "and no other");
    lapic_eoi();
    settle();
    check(count[0x85], 1, "after EOI: the one that waited");
    check(lapic_read(LAPIC_ISR + 0x40), 0, "nothing in service");

    /* An illegal vector is an error. */
    clear();
    if (on_tcg)
        return; /* delivers it */
    lapic_write(LAPIC_ESR, 0);
    lapic_write(LAPIC_ICR, 0x44005);
    lapic_write(LAPIC_ESR, 0);
    check(lapic_read(LAPIC_ESR) & 0x60, 0x20, "ESR: illegal vector sent");
}

static void pins(void)
{
    /* edge: the 8254 */
    clear();
    route(PIT_PIN, 0x55);
    pit_mode(0, 0, 100);
    check(wait_irq(&count[0x55], 1), true, "edge: 8254 through pin 2");
    check(lapic_bit(LAPIC_TMR, 0x55), 0, "edge: TMR");
    /* masked edges are lost */
    route(PIT_PIN, 0x55 | MASKED);
    pit_mode(0, 0, 10);
    for (u32 i = 0; i < 200000; i++) {
        outb(0x43, 0xe2); /* read-back: status of counter 0 */
        if (inb(0x40) & 0x80)
            break;
    }
    route(PIT_PIN, 0x55);
    settle();
    check_not_tcg(count[0x55], 1, "edge while masked is lost");
    route(PIT_PIN, 0x55 | MASKED);

    /* level: the serial port's transmitter */
    clear();
    route(SERIAL, 0x56 | LEVEL);
    outb(0x3fc, 0x0b);
    trap_handlers[0x56] = on_serial;
    outb(0x3f9, 2);
    check(wait_irq(&count[0x56], 1), true, "level: serial port");
    settle();
    check(count[0x56], 1, "level: once, as the line fell before EOI");
    check(io_read(0x10 + 2 * SERIAL) & REMOTE_IRR, 0, "level: remote IRR after EOI");

    /* The line stays high: another one after each EOI. */
    clear();
    trap_handlers[0x56] = on_irq;
    no_eoi = true;
    route(SERIAL, 0x56 | LEVEL);
    outb(0x3f9, 2);
    wait_irq(&count[0x56], 1);
    settle();
    check(count[0x56], 1, "level without EOI: once");
    check(io_read(0x10 + 2 * SERIAL) & REMOTE_IRR, REMOTE_IRR, "level without EOI: remote IRR");
    check(lapic_bit(LAPIC_TMR, 0x56), 1, "level: TMR");
    lapic_eoi();
    settle();
    check(count[0x56], 2, "level: again after EOI");
    outb(0x3f9, 0);
    lapic_eoi();
    no_eoi = false;
    settle();
    check(count[0x56], 2, "level: low, no more");
    /* masked while high, then let through: delivered, as a level is not lost */
    clear();
    route(SERIAL, 0x57 | LEVEL | MASKED);
    trap_handlers[0x57] = on_serial;
    outb(0x3f9, 2);
    settle();
    check(count[0x57], 0, "level while masked");
    route(SERIAL, 0x57 | LEVEL);
    check(wait_irq(&count[0x57], 1), true, "level, unmasked");
    route(SERIAL, MASKED);
    trap_handlers[0x57] = on_irq;
    trap_handlers[0x56] = on_irq;
}

static void masked_lvt(void)
{
    /* APIC disabled by software masks its LVT and takes no fixed interrupts. */
    clear();
    lapic_write(LAPIC_LVT_TIMER, 0x58);
    lapic_write(LAPIC_SVR, 0xff);
    check_not_tcg(lapic_read(LAPIC_LVT_TIMER) & MASKED, MASKED, "software disable masks the LVT");
    lapic_write(LAPIC_SVR, 0x1ff);
    check_not_tcg(lapic_read(LAPIC_LVT_TIMER) & MASKED, MASKED,
                  "software enable does not unmask it");
    lapic_write(LAPIC_LVT_TIMER, 0x58);
    check(lapic_read(LAPIC_LVT_TIMER) & MASKED, 0, "unmasked");
    lapic_write(LAPIC_LVT_TIMER, MASKED);
}

static void on_x2(Trap *t)
{
    count[t->vector]++;
    wrmsr(0x80b, 0);
}

void guest_main(void)
{
    for (unsigned i = 0x40; i < 0xff; i++)
        trap_handlers[i] = on_irq;
    lapic_enable();
    registers();
    ipis();
    pins();
    masked_lvt();
    if (HAS_X2APIC) {
        u32 id = lapic_read(LAPIC_ID) >> 24;
        clear();
        trap_handlers[0x59] = on_x2;
        wrmsr(0x1b, rdmsr(0x1b) | 0xc00);
        check(rdmsr(0x802), id, "x2APIC: ID");
        check(rdmsr(0x80f) & 0x1ff, 0x1ff, "x2APIC: SVR stays");
        wrmsr(0x83f, 0x59);
        settle();
        check(count[0x59], 1, "x2APIC: SELF IPI");
        wrmsr(0x830, (u64)id << 32 | 0x4059);
        settle();
        check(count[0x59], 2, "x2APIC: IPI in one write");
        check(rdmsr(0x80d), (u64)(id >> 4) << 16 | 1u << (id & 15), "x2APIC: logical ID");
    } else {
        print("no x2APIC: not tested\n");
    }
    finish();
}
