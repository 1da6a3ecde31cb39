/*
 * The two 8259s and the 8254: vectors, masks, priorities, EOI, spurious interrupts, HLT.
 */
#include "lib.h"

enum { BASE = 0x20, BASE2 = 0x28 };
static volatile u32 count[16], order[32], ordered;
static bool no_eoi;

static void on_irq(Trap *t)
{
    unsigned n = (unsigned)t->vector - BASE;
    count[n]++;
    if (ordered < COUNT(order))
        order[ordered++] = n;
    if (no_eoi)
        return;
    if (n >= 8)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

static u8 pic_read(u16 port, u8 ocw3)
{
    outb(port, ocw3);
    return inb(port);
}
#define IRR(port) pic_read(port, 0x0a)
#define ISR(port) pic_read(port, 0x0b)

static void pulse_pit(void) { pit_mode(0, 0, 10); } /* output low, then high for good */

static void settle(void)
{
    /* The 8254 ends its count in about 10 us of the guest's time. */
    for (u32 i = 0; i < 2000000 && !(IRR(0x20) & 1); i++)
        pause();
}

static void counts(void)
{
    /* masked: requested, not delivered */
    memset((void *)count, 0, sizeof count);
    pulse_pit();
    settle();
    check(IRR(0x20) & 1, 1, "masked: requested");
    sti();
    asm volatile("nop");
    cli();
    check(count[0], 0, "masked: not delivered");
    /* unmasked, IF clear */
    outb(0x21, 0xfe);
    asm volatile("nop");
    check(count[0], 0, "IF clear: not delivered");
    check(wait_irq(&count[0], 1), true, "IF set: delivered");
    check(IRR(0x20) & 1, 0, "request gone (edge)");
    check(ISR(0x20), 0, "EOI: nothing in service");
    check(inb(0x21), 0xfe, "mask reads back");

    /* STI; HLT wakes and the handler runs with the return address behind HLT. */
    pit_mode(0, 0, 1000);
    asm volatile("sti\n hlt\n cli" : : : "memory");
    check(count[0], 2, "STI, HLT");

    /* a rate: ten interrupts, in the 8254's modes 2 and 3 */
    for (u8 mode = 2; mode < 4; mode++) {
        u32 target = count[0] + 10;
        pit_mode(0, mode, 1000);
        sti();
        for (u32 i = 0; i < 200000000 && count[0] < target; i++)
            pause();
        cli();
        check(count[0] >= target, true, "mode %u: ten interrupts", mode);
    }
    pit_mode(0, 0, 0xffff);
    outb(0x21, 0xff);
    sti();
    asm volatile("nop");
    cli();
}

static void service(void)
{
    /* Without EOI the same and lower ones wait; IRR and ISR show it. */
    pic_init(BASE, BASE2);
    memset((void *)count, 0, sizeof count);
    no_eoi = true;
    outb(0x21, 0xfe);
    pulse_pit();
    check(wait_irq(&count[0], 1), true, "no EOI: first");
    check(ISR(0x20), 1, "no EOI: in service");
    pulse_pit();
    settle();
    check(IRR(0x20) & 1, 1, "no EOI: second is requested");
    sti();
    asm volatile("nop\n nop");
    cli();
    check(count[0], 1, "no EOI: second is not delivered");
    outb(0x20, 0x60); /* specific EOI of 0 */
    check(ISR(0x20), 0, "specific EOI");
    no_eoi = false;
    check(wait_irq(&count[0], 2), true, "after EOI: second");

    /* Spurious: the request is gone before it is acknowledged: vector 7, nothing in service. */
    memset((void *)count, 0, sizeof count);
    outb(0x21, 0xff);
    pulse_pit();
    settle();
    /* Poll mode takes a request as an acknowledge would. */
    outb(0x21, 0xfe);
    outb(0x20, 0x0c);
    u8 poll = inb(0x20);
    check(poll, 0x80, "poll: request 0");
    check(ISR(0x20), 1, "poll: in service");
    outb(0x20, 0x20);
    outb(0x20, 0x0c);
    check(inb(0x20) & 0x80, 0, "poll: none");
    outb(0x21, 0xff);
}

/* The serial port's transmitter interrupt: IRQ 4, a level that the 8259 sees as edges. */
static void serial(void)
{
    pic_init(BASE, BASE2);
    memset((void *)count, 0, sizeof count);
    outb(0x21, 0xef);
    outb(0x3fc, 0x0b); /* OUT2 */
    outb(0x3f9, 2);    /* transmitter empty */
    check(wait_irq(&count[4], 1), true, "serial port: IRQ 4");
    check(inb(0x3fa) & 0x0f, 2, "serial port: identification");
    outb(0x3f9, 0);
    outb(0x21, 0xff);
}

/* Slave: the real-time clock's periodic interrupt is IRQ 8. */
static void slave(void)
{
    outb(0x70, 0x8d);
    if (inb(0x71) != 0x80) {
        print("no real-time clock: IRQ 8 is not tested\n");
        return;
    }
    pic_init(BASE, BASE2);
    memset((void *)count, 0, sizeof count);
    ordered = 0;
    outb(0x70, 0x8a);
    outb(0x71, 0x26); /* 1024 Hz */
    outb(0x70, 0x8b);
    u8 b = inb(0x71);
    outb(0x70, 0x8c);
    inb(0x71);
    outb(0xa1, 0xfe);
    outb(0x21, 0xfb);
    outb(0x70, 0x8b);
    outb(0x71, b | 0x40);
    check(wait_irq(&count[8], 1), true, "real-time clock: IRQ 8");
    outb(0x70, 0x8c);
    check(inb(0x71) & 0xc0, 0xc0, "real-time clock: register C");
    check(wait_irq(&count[8], 2), true, "real-time clock: again after register C was read");
    outb(0x70, 0x8b);
    outb(0x71, b);
    outb(0x70, 0x8c);
    inb(0x71);

    /* Priorities: both pending; 0 comes before 8 when both are let through. */
    outb(0x21, 0xff);
    memset((void *)count, 0, sizeof count);
    outb(0x70, 0x8b);
    outb(0x71, b | 0x40);
    pulse_pit();
    settle();
    for (u32 i = 0; i < 20000000 && !(IRR(0x20) & 4); i++)
        pause();
    check(IRR(0x20) & 5, 5, "both requested");
    ordered = 0;
    outb(0x21, 0xfa);
    check(wait_irq(&count[8], 1), true, "IRQ 8 after IRQ 0");
    check(order[0], 0, "first");
    check(order[1], 8, "second");
    outb(0x70, 0x8b);
    outb(0x71, b);
    outb(0x70, 0x8c);
    inb(0x71);
    outb(0x70, 0x0d);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

void guest_main(void)
{
    for (unsigned i = 0; i < 16; i++)
        trap_handlers[BASE + i] = on_irq;
    /* As a PC starts: LINT0 takes the 8259's interrupts as ExtINT. */
    lapic_enable();
    lapic_write(LAPIC_LINT0, 0x700);
    pic_init(BASE, BASE2);
    counts();
    service();
    serial();
    slave();
    finish();
}
