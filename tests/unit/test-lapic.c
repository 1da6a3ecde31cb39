/* tests/unit/test-lapic.c - the local APICs of four fake CPUs, after the SDM. */
#include "fakehost.h"

enum { CPUS = 4, MASKED = 1 << 16, LEVEL = 1 << 15, REMOTE_IRR = 1 << 14, ASSERT = 1 << 14,
       LOGICAL = 1 << 11, PERIODIC = 1 << 17, TSC_DEADLINE = 2 << 17, EXTINT = 7 << 8 };

enum { ID = 0x20, VER = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0,
       SVR = 0xf0, ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR_HI = 0x310,
       LVT_TIMER = 0x320, LVT_THERMAL = 0x330, LVT_PERF = 0x340, LVT_LINT0 = 0x350,
       LVT_LINT1 = 0x360, LVT_ERROR = 0x370, TIMER_INIT = 0x380, TIMER_COUNT = 0x390,
       TIMER_DIV = 0x3e0 };

#define BASE 0xfee00000ull
#define EN (1ull << 11)
#define EXTD (1ull << 10)
#define BSP (1ull << 8)

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *d, *pic;
    const VmrX86IntcInterface *intc;
    const VmrX86LapicInterface *lapic;
    const VmrMsiSinkInterface *msi;
} Fixture;

static uint32_t get(Fixture *f, int cpu, unsigned reg)
{
    fake_set_initiator(f->h, cpu);
    return fake_read(f->d, "regs", reg, 4);
}

static void put(Fixture *f, int cpu, unsigned reg, uint32_t value)
{
    fake_set_initiator(f->h, cpu);
    fake_write(f->d, "regs", reg, value, 4);
}

static int ack(Fixture *f, unsigned cpu)
{
    return f->intc->acknowledge(f->d, cpu);
}

static bool intr(Fixture *f, unsigned cpu)
{
    return fake_cpu(f->h, cpu)->intr;
}

static void eoi(Fixture *f, int cpu)
{
    put(f, cpu, EOI, 0);
}

static void ipi(Fixture *f, int cpu, uint8_t dest, uint32_t low)
{
    put(f, cpu, ICR_HI, (uint32_t)dest << 24);
    put(f, cpu, ICR, low);
}

static void msi(Fixture *f, uint8_t dest, unsigned address_bits, uint32_t data)
{
    f->msi->send(f->d, BASE | (uint64_t)dest << 12 | address_bits, data);
}

static bool rdmsr(Fixture *f, unsigned cpu, uint32_t msr, uint64_t *value)
{
    return f->lapic->read_msr(f->d, cpu, msr, value);
}

static uint64_t msr(Fixture *f, unsigned cpu, uint32_t index)
{
    uint64_t value = 0;
    g_assert_true(rdmsr(f, cpu, index, &value));
    return value;
}

static bool wrmsr(Fixture *f, unsigned cpu, uint32_t index, uint64_t value)
{
    return f->lapic->write_msr(f->d, cpu, index, value);
}

static void to_x2apic(Fixture *f, unsigned cpu)
{
    g_assert_true(wrmsr(f, cpu, 0x1b, msr(f, cpu, 0x1b) | EXTD));
}

/* The CPUs that take `vector`, as a bit mask; each one acknowledges and ends it. */
static unsigned takers(Fixture *f, int vector)
{
    unsigned mask = 0;
    for (unsigned c = 0; c < CPUS; c++) {
        int got = ack(f, c);
        if (got < 0)
            continue;
        g_assert_cmphex(got, ==, vector);
        mask |= 1u << c;
        uint64_t base = msr(f, c, 0x1b);
        if (base & EXTD)
            g_assert_true(wrmsr(f, c, 0x80b, 0));
        else
            eoi(f, c);
    }
    return mask;
}

static void set_up_with(Fixture *f, const char *properties)
{
    f->h = fake_host_new(0, CPUS);
    f->pic = fake_device_new(f->h, "i8259", "pic0", NULL);
    f->d = fake_device_new(f->h, "lapic", "lapic0", properties);
    f->intc = vmr_device_interface(f->d, VMR_X86_INTC);
    f->lapic = vmr_device_interface(f->d, VMR_X86_LAPIC);
    f->msi = vmr_device_interface(f->d, VMR_MSI_SINK);
    fake_reset(f->h, VMR_RESET_COLD);
}

/* All APICs enabled, LINT masked. */
static void set_up(Fixture *f, gconstpointer data)
{
    set_up_with(f, "extint=@pic0;virtual-wire=off");
    for (int c = 0; c < CPUS; c++)
        put(f, c, SVR, 0x1ff);
}

static void set_up_wire(Fixture *f, gconstpointer data)
{
    set_up_with(f, "extint=@pic0");
}

static void tear_down(Fixture *f, gconstpointer data)
{
    fake_host_free(f->h);
}

/* The 8259 as a PC sets it up; its output leads to LINT0. */
static void pic_sync(Fixture *f)
{
    fake_line_set(f->d, "lint0", 0, fake_irq_level(f->pic, "irq", 0));
}

static void pic_init(Fixture *f)
{
    static const uint8_t master[] = {0x20, 0x04, 0x01, 0x00}, slave[] = {0x28, 0x02, 0x01, 0x00};
    fake_write(f->pic, "master", 0, 0x11, 1);
    fake_write(f->pic, "slave", 0, 0x11, 1);
    for (int i = 0; i < 4; i++) {
        fake_write(f->pic, "master", 1, master[i], 1);
        fake_write(f->pic, "slave", 1, slave[i], 1);
    }
}

/* ---- registers ---------------------------------------------------------- */

static void test_reset_values(Fixture *f, gconstpointer data)
{
    fake_reset(f->h, VMR_RESET_COLD);
    for (int c = 0; c < CPUS; c++) {
        g_assert_cmphex(get(f, c, ID), ==, (uint32_t)c << 24);
        g_assert_cmphex(get(f, c, VER), ==, 0x01050014);
        g_assert_cmphex(get(f, c, SVR), ==, 0xff);
        g_assert_cmphex(get(f, c, DFR), ==, 0xffffffff);
        g_assert_cmphex(get(f, c, LDR), ==, 0);
        for (unsigned reg = LVT_TIMER; reg <= LVT_ERROR; reg += 0x10)
            g_assert_cmphex(get(f, c, reg), ==, MASKED);
        g_assert_cmphex(msr(f, c, 0x1b), ==, (BASE | EN | (c == 0 ? BSP : 0)));
    }
}

static void test_writable_bits(Fixture *f, gconstpointer data)
{
    static const struct { unsigned reg; uint32_t want; } t[] = {
        {ID, 1u << 24}, {VER, 0x01050014}, {TPR, 0xff}, {PPR, 0xff}, {LDR, 0xff000000},
        {DFR, 0xffffffff}, {SVR, 0x13ff}, {LVT_THERMAL, 0x107ff}, {LVT_PERF, 0x107ff},
        {LVT_LINT0, 0x1a7ff}, {LVT_LINT1, 0x1a7ff}, {LVT_ERROR, 0x100ff}, {LVT_TIMER, 0x700ff},
        {TIMER_DIV, 0xb}, {ICR_HI, 0xff000000}, {ISR, 0}, {IRR, 0}, {TMR, 0},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        put(f, 1, t[i].reg, 0xffffffff);
        g_test_message("register 0x%x", t[i].reg);
        g_assert_cmphex(get(f, 1, t[i].reg), ==, t[i].want);
    }
    put(f, 1, DFR, 0);
    g_assert_cmphex(get(f, 1, DFR), ==, 0x0fffffff);
    g_assert_cmphex(get(f, 1, ID + 4), ==, 0);
}

static void test_software_disable(Fixture *f, gconstpointer data)
{
    put(f, 0, LVT_TIMER, 0x40);
    msi(f, 0, 0, 0x60);
    put(f, 0, SVR, 0xff);
    g_assert_cmphex(get(f, 0, LVT_TIMER), ==, (MASKED | 0x40));
    put(f, 0, LVT_TIMER, 0x40); /* stays masked */
    g_assert_cmphex(get(f, 0, LVT_TIMER), ==, (MASKED | 0x40));
    msi(f, 0, 0, 0x70); /* not taken */
    g_assert_cmpint(ack(f, 0), ==, 0x60); /* what was pending is held */
    eoi(f, 0);
    g_assert_cmpint(ack(f, 0), ==, -1);
    ipi(f, 1, 0, 4 << 8); /* NMI, INIT, SIPI still are */
    g_assert_cmpuint(fake_cpu(f->h, 0)->nmis, ==, 1);
}

/* ---- priorities ----------------------------------------------------------- */

static void test_priorities(Fixture *f, gconstpointer data)
{
    msi(f, 0, 0, 0x41);
    msi(f, 0, 0, 0x52);
    msi(f, 0, 0, 0x55);
    g_assert_cmphex(get(f, 0, IRR + 0x20), ==, (1u << 1 | 1u << 18 | 1u << 21));
    g_assert_cmpint(ack(f, 0), ==, 0x55);
    g_assert_cmphex(get(f, 0, PPR), ==, 0x50);
    g_assert_false(intr(f, 0)); /* 0x52 is of the same class */
    g_assert_cmpint(ack(f, 0), ==, -1);
    msi(f, 0, 0, 0x61); /* nests */
    g_assert_true(intr(f, 0));
    g_assert_cmpint(ack(f, 0), ==, 0x61);
    g_assert_cmphex(get(f, 0, ISR + 0x20), ==, 1u << 21);
    g_assert_cmphex(get(f, 0, ISR + 0x30), ==, 1u << 1);
    eoi(f, 0);
    g_assert_cmphex(get(f, 0, PPR), ==, 0x50);
    eoi(f, 0);
    g_assert_true(intr(f, 0));
    g_assert_cmpint(ack(f, 0), ==, 0x52);
    eoi(f, 0);
    g_assert_cmpint(ack(f, 0), ==, 0x41);
    eoi(f, 0);
    eoi(f, 0); /* one too many: harmless */
    g_assert_cmphex(get(f, 0, PPR), ==, 0);
    msi(f, 0, 0, 0xff);
    msi(f, 0, 0, 0x10);
    g_assert_cmpint(ack(f, 0), ==, 0xff);
    eoi(f, 0);
    g_assert_cmpint(ack(f, 0), ==, 0x10);
}

static void test_tpr(Fixture *f, gconstpointer data)
{
    put(f, 0, TPR, 0x53);
    g_assert_cmphex(get(f, 0, PPR), ==, 0x53);
    g_assert_cmphex(f->lapic->get_cr8(f->d, 0), ==, 5);
    msi(f, 0, 0, 0x5f);
    g_assert_false(intr(f, 0));
    f->lapic->set_cr8(f->d, 0, 4);
    g_assert_cmphex(get(f, 0, TPR), ==, 0x40);
    g_assert_true(intr(f, 0));
    f->lapic->set_cr8(f->d, 0, 15); /* raised before the CPU took it */
    g_assert_false(intr(f, 0));
    g_assert_cmpint(ack(f, 0), ==, -1);
    f->lapic->set_cr8(f->d, 0, 0);
    g_assert_cmpint(ack(f, 0), ==, 0x5f);
    put(f, 0, TPR, 0x20); /* below what is in service */
    g_assert_cmphex(get(f, 0, PPR), ==, 0x50);
}

static unsigned eois;
static uint8_t last_eoi;

static void count_eoi(VmrDevice *listener, uint8_t vector)
{
    eois++;
    last_eoi = vector;
}

static void test_eoi_broadcast(Fixture *f, gconstpointer data)
{
    f->lapic->add_eoi_listener(f->d, count_eoi, f->pic);
    eois = 0;
    msi(f, 0, 0, 0x61); /* an edge: none */
    g_assert_cmpint(ack(f, 0), ==, 0x61);
    eoi(f, 0);
    g_assert_cmpuint(eois, ==, 0);
    msi(f, 0, 0, 0x62 | LEVEL | ASSERT);
    g_assert_cmphex(get(f, 0, TMR + 0x30), ==, 1u << 2);
    g_assert_cmpint(ack(f, 0), ==, 0x62);
    eoi(f, 0);
    g_assert_cmpuint(eois, ==, 1);
    g_assert_cmphex(last_eoi, ==, 0x62);
    put(f, 0, SVR, 0x11ff); /* suppressed */
    msi(f, 0, 0, 0x62 | LEVEL | ASSERT);
    g_assert_cmpint(ack(f, 0), ==, 0x62);
    eoi(f, 0);
    g_assert_cmpuint(eois, ==, 1);
    msi(f, 0, 0, 0x62 | LEVEL); /* a deassert message */
    g_assert_cmpint(ack(f, 0), ==, -1);
    msi(f, 0, 0, 0x62); /* an edge of the same vector clears TMR */
    g_assert_cmphex(get(f, 0, TMR + 0x30), ==, 0);
}

/* ---- interprocessor interrupts ------------------------------------------- */

static void test_ipi_physical(Fixture *f, gconstpointer data)
{
    ipi(f, 0, 2, 0x80);
    g_assert_true(intr(f, 2));
    g_assert_cmphex(get(f, 0, ICR), ==, 0x80); /* idle */
    g_assert_cmphex(takers(f, 0x80), ==, 1 << 2);
    ipi(f, 0, 0, 0x80);
    g_assert_cmphex(takers(f, 0x80), ==, 1 << 0);
    ipi(f, 1, 0xff, 0x81);
    g_assert_cmphex(takers(f, 0x81), ==, 0xf);
    ipi(f, 1, 9, 0x81); /* nobody */
    g_assert_cmphex(takers(f, 0x81), ==, 0);
    put(f, 2, SVR, 0xff);
    ipi(f, 1, 0xff, 0x81);
    g_assert_cmphex(takers(f, 0x81), ==, 0xb);
}

static void test_ipi_shorthand(Fixture *f, gconstpointer data)
{
    ipi(f, 1, 3, 0x90 | 1 << 18);
    g_assert_cmphex(takers(f, 0x90), ==, 0x2);
    ipi(f, 1, 3, 0x90 | 2 << 18);
    g_assert_cmphex(takers(f, 0x90), ==, 0xf);
    ipi(f, 1, 3, 0x90 | 3 << 18);
    g_assert_cmphex(takers(f, 0x90), ==, 0xd);
    ipi(f, 1, 0, 4 << 8 | 3 << 18);
    for (unsigned c = 0; c < CPUS; c++)
        g_assert_cmpuint(fake_cpu(f->h, c)->nmis, ==, c != 1);
    ipi(f, 1, 0, 2 << 8 | 3 << 18);
    g_assert_cmpuint(fake_cpu(f->h, 0)->smis, ==, 1);
}

static void test_ipi_logical(Fixture *f, gconstpointer data)
{
    for (int c = 0; c < CPUS; c++)
        put(f, c, LDR, 1u << (24 + c));
    ipi(f, 0, 0x0a, 0xa0 | LOGICAL);
    g_assert_cmphex(takers(f, 0xa0), ==, 0xa);
    ipi(f, 0, 0xf0, 0xa0 | LOGICAL);
    g_assert_cmphex(takers(f, 0xa0), ==, 0);
    ipi(f, 0, 0xff, 0xa0 | LOGICAL);
    g_assert_cmphex(takers(f, 0xa0), ==, 0xf);
    /* Cluster: CPUs 0 and 1 in cluster 1, 2 and 3 in cluster 2. */
    for (int c = 0; c < CPUS; c++) {
        put(f, c, DFR, 0);
        put(f, c, LDR, (c < 2 ? 0x10u : 0x20u) << 24 | 1u << (24 + (c & 1)));
    }
    ipi(f, 0, 0x13, 0xa1 | LOGICAL);
    g_assert_cmphex(takers(f, 0xa1), ==, 0x3);
    ipi(f, 0, 0x22, 0xa1 | LOGICAL);
    g_assert_cmphex(takers(f, 0xa1), ==, 0x8);
    ipi(f, 0, 0x2c, 0xa1 | LOGICAL);
    g_assert_cmphex(takers(f, 0xa1), ==, 0);
    ipi(f, 0, 0xff, 0xa1 | LOGICAL);
    g_assert_cmphex(takers(f, 0xa1), ==, 0xf);
}

static void test_lowest_priority(Fixture *f, gconstpointer data)
{
    for (int c = 0; c < CPUS; c++) {
        put(f, c, LDR, 1u << (24 + c));
        put(f, c, TPR, c == 2 ? 0x10 : 0x30);
    }
    ipi(f, 0, 0x0f, 0x80 | LOGICAL | 1 << 8);
    g_assert_cmpint(ack(f, 2), ==, 0x80); /* and now its priority is 0x80 */
    ipi(f, 0, 0x0e, 0x90 | LOGICAL | 1 << 8);
    g_assert_cmphex(takers(f, 0x90), ==, 1 << 1);
    msi(f, 0x0c, 1 << 2 | 1 << 3, 0x91); /* MSI with redirection hint: 3, for 2 is busy */
    g_assert_cmphex(takers(f, 0x91), ==, 1 << 3);
    put(f, 1, SVR, 0xff);
    ipi(f, 0, 0x02, 0x90 | LOGICAL | 1 << 8); /* the only one is disabled */
    g_assert_cmphex(takers(f, 0x90), ==, 0);
}

static void test_init_sipi(Fixture *f, gconstpointer data)
{
    msi(f, 1, 0, 0x50);
    put(f, 1, LVT_TIMER, 0x40 | PERIODIC);
    put(f, 1, TIMER_INIT, 100000);
    ipi(f, 0, 1, 5 << 8 | LEVEL | ASSERT);
    g_assert_cmpuint(fake_cpu(f->h, 1)->inits, ==, 1);
    g_assert_false(intr(f, 1));
    g_assert_cmphex(get(f, 1, SVR), ==, 0xff);
    g_assert_cmphex(get(f, 1, LVT_TIMER), ==, MASKED);
    g_assert_cmphex(get(f, 1, IRR + 0x20), ==, 0);
    g_assert_cmphex(get(f, 1, ID), ==, 1u << 24);
    g_assert_cmpuint(get(f, 1, TIMER_COUNT), ==, 0);
    ipi(f, 0, 1, 5 << 8 | LEVEL); /* de-assert */
    g_assert_cmpuint(fake_cpu(f->h, 1)->inits, ==, 1);
    ipi(f, 0, 1, 6 << 8 | 0x9f);
    ipi(f, 0, 1, 6 << 8 | 0x9f);
    g_assert_cmpuint(fake_cpu(f->h, 1)->sipis, ==, 2);
    g_assert_cmphex(fake_cpu(f->h, 1)->sipi_vector, ==, 0x9f);
    ipi(f, 0, 0, 5 << 8 | ASSERT | 3 << 18); /* all others, edge */
    for (unsigned c = 0; c < CPUS; c++)
        g_assert_cmpuint(fake_cpu(f->h, c)->inits, ==, c == 0 ? 0 : c == 1 ? 2 : 1);
    /* The vCPU may call for it as well. */
    put(f, 0, LVT_ERROR, 0x33);
    f->lapic->init(f->d, 0);
    g_assert_cmphex(get(f, 0, LVT_ERROR), ==, MASKED);
    g_assert_cmphex(msr(f, 0, 0x1b), ==, (BASE | EN | BSP));
}

static void test_msi(Fixture *f, gconstpointer data)
{
    fake_set_initiator(f->h, -1);
    fake_write(f->d, "regs", 3 << 12, 0x77, 4); /* a device's write is a message */
    g_assert_cmphex(takers(f, 0x77), ==, 1 << 3);
    fake_set_initiator(f->h, -1);
    fake_write(f->d, "regs", 0, 0x77, 4);
    g_assert_cmphex(takers(f, 0x77), ==, 1 << 0);
    put(f, 0, 3 << 12, 0x77); /* a CPU's is not */
    g_assert_cmphex(takers(f, 0x77), ==, 0);
    g_assert_cmphex(get(f, 0, 0x3000), ==, 0xffffffff);
    f->msi->send(f->d, 0xfed00000, 0x77);
    f->msi->send(f->d, 0x1fee00000, 0x77);
    g_assert_cmphex(takers(f, 0x77), ==, 0);
    msi(f, 2, 0, 4 << 8);
    g_assert_cmpuint(fake_cpu(f->h, 2)->nmis, ==, 1);
    msi(f, 2, 0, 6 << 8);
    g_assert_cmpuint(fake_cpu(f->h, 2)->sipis, ==, 0);
}

/* ---- errors ----------------------------------------------------------------- */

static void test_errors(Fixture *f, gconstpointer data)
{
    put(f, 0, LVT_ERROR, 0xfe);
    ipi(f, 0, 1, 0x0f);
    g_assert_cmphex(get(f, 0, ESR), ==, 0); /* latched by a write */
    put(f, 0, ESR, 0);
    g_assert_cmphex(get(f, 0, ESR), ==, 0x20);
    g_assert_cmpint(ack(f, 0), ==, 0xfe);
    eoi(f, 0);
    msi(f, 0, 0, 0x05);
    put(f, 0, ESR, 0);
    g_assert_cmphex(get(f, 0, ESR), ==, 0x40);
    g_assert_cmpint(ack(f, 0), ==, 0xfe);
    eoi(f, 0);
    get(f, 0, 0x40);
    put(f, 0, 0x2f0, 0); /* CMCI is not there */
    put(f, 0, ESR, 0);
    g_assert_cmphex(get(f, 0, ESR), ==, 0x80);
    put(f, 0, ESR, 0);
    g_assert_cmphex(get(f, 0, ESR), ==, 0);
    takers(f, 0xfe);
    put(f, 0, LVT_ERROR, 0x05); /* an illegal vector for errors: no recursion */
    msi(f, 0, 0, 0x05);
    put(f, 0, ESR, 0);
    g_assert_cmphex(get(f, 0, ESR), ==, 0x40);
    g_assert_cmpint(ack(f, 0), ==, -1);
    fake_set_initiator(f->h, -1); /* a debugger's look changes nothing */
    fake_read(f->d, "regs", 0x40, 4);
    put(f, 0, ESR, 0);
    g_assert_cmphex(get(f, 0, ESR), ==, 0);
}

/* ---- LINT0, LINT1, ExtINT ----------------------------------------------------- */

static void test_virtual_wire(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(get(f, 0, SVR), ==, 0x1ff);
    g_assert_cmphex(get(f, 0, LVT_LINT0), ==, EXTINT);
    g_assert_cmphex(get(f, 0, LVT_LINT1), ==, 4 << 8);
    g_assert_cmphex(get(f, 1, LVT_LINT0), ==, MASKED);
    pic_init(f);
    fake_line_set(f->pic, "in", 4, true);
    pic_sync(f);
    g_assert_true(intr(f, 0));
    g_assert_false(intr(f, 1));
    f->lapic->set_cr8(f->d, 0, 15); /* has no say in ExtINT */
    g_assert_true(intr(f, 0));
    g_assert_cmpint(ack(f, 0), ==, 0x24);
    pic_sync(f);
    g_assert_false(intr(f, 0));
    fake_line_set(f->d, "lint1", 0, true);
    g_assert_cmpuint(fake_cpu(f->h, 0)->nmis, ==, 1);
    g_assert_cmpuint(fake_cpu(f->h, 1)->nmis, ==, 0);
    fake_line_set(f->d, "lint1", 0, false);
    g_assert_cmpuint(fake_cpu(f->h, 0)->nmis, ==, 1);
    /* Masked, and unmasked with the line up. */
    fake_write(f->pic, "master", 0, 0x20, 1);
    put(f, 0, LVT_LINT0, EXTINT | MASKED);
    fake_line_set(f->pic, "in", 5, true);
    pic_sync(f);
    g_assert_false(intr(f, 0));
    g_assert_cmpint(ack(f, 0), ==, -1);
    put(f, 0, LVT_LINT0, EXTINT);
    g_assert_true(intr(f, 0));
    g_assert_cmpint(ack(f, 0), ==, 0x25);
}

static void test_globally_disabled(Fixture *f, gconstpointer data)
{
    pic_init(f);
    msi(f, 0, 0, 0x55);
    g_assert_true(wrmsr(f, 0, 0x1b, BASE | BSP));
    g_assert_false(intr(f, 0));
    g_assert_cmphex(get(f, 0, SVR), ==, 0xffffffff);
    put(f, 0, SVR, 0x1ff);
    fake_line_set(f->pic, "in", 1, true);
    pic_sync(f);
    g_assert_true(intr(f, 0)); /* LINT0 is INTR */
    g_assert_cmpint(ack(f, 0), ==, 0x21);
    pic_sync(f);
    fake_line_set(f->d, "lint1", 0, true); /* LINT1 is NMI */
    g_assert_cmpuint(fake_cpu(f->h, 0)->nmis, ==, 1);
    msi(f, 0, 0, 0x55);
    ipi(f, 1, 0, 4 << 8);
    g_assert_cmpint(ack(f, 0), ==, -1);
    g_assert_cmpuint(fake_cpu(f->h, 0)->nmis, ==, 1);
    g_assert_true(wrmsr(f, 0, 0x1b, BASE | BSP | EN));
    g_assert_cmphex(get(f, 0, SVR), ==, 0xff);
}

static void test_lint_modes(Fixture *f, gconstpointer data)
{
    put(f, 0, LVT_LINT0, 0x44);
    put(f, 2, LVT_LINT0, 0x45);
    fake_line_set(f->d, "lint0", 0, true); /* fixed, edge */
    g_assert_cmpint(ack(f, 0), ==, 0x44);
    g_assert_cmpint(ack(f, 1), ==, -1);
    g_assert_cmpint(ack(f, 2), ==, 0x45);
    eoi(f, 0);
    eoi(f, 2);
    g_assert_cmpint(ack(f, 0), ==, -1);
    put(f, 0, LVT_LINT0, 0x44 | LEVEL); /* level, and the line is up */
    g_assert_cmphex(get(f, 0, LVT_LINT0), ==, (0x44 | LEVEL | REMOTE_IRR));
    g_assert_cmpint(ack(f, 0), ==, 0x44);
    eoi(f, 0);
    g_assert_cmpint(ack(f, 0), ==, 0x44); /* again */
    fake_line_set(f->d, "lint0", 0, false);
    eoi(f, 0);
    g_assert_cmphex(get(f, 0, LVT_LINT0), ==, (0x44 | LEVEL));
    g_assert_cmpint(ack(f, 0), ==, -1);
    put(f, 0, LVT_LINT1, 2 << 8);
    fake_line_set(f->d, "lint1", 0, true);
    g_assert_cmpuint(fake_cpu(f->h, 0)->smis, ==, 1);
    fake_line_set(f->d, "lint1", 0, false);
    put(f, 0, LVT_LINT1, 0x46 | LEVEL); /* edges only */
    fake_line_set(f->d, "lint1", 0, true);
    g_assert_cmpint(ack(f, 0), ==, 0x46);
    eoi(f, 0);
    g_assert_cmpint(ack(f, 0), ==, -1);
}

static void test_extint_message(Fixture *f, gconstpointer data)
{
    pic_init(f);
    fake_line_set(f->pic, "in", 3, true);
    msi(f, 1, 0, EXTINT); /* from an I/O APIC, say */
    g_assert_true(intr(f, 1));
    g_assert_cmpint(ack(f, 1), ==, 0x23);
    g_assert_false(intr(f, 1));
    g_assert_cmpint(ack(f, 1), ==, -1);
}

/* ---- the timer ------------------------------------------------------------------ */

static void test_timer_one_shot(Fixture *f, gconstpointer data)
{
    put(f, 1, LVT_TIMER, 0x40);
    put(f, 1, TIMER_DIV, 0xb); /* by 1 */
    fake_advance(f->h, 12345);
    put(f, 1, TIMER_INIT, 1000000);
    g_assert_cmpuint(get(f, 1, TIMER_COUNT), ==, 1000000);
    fake_advance(f->h, 400000);
    g_assert_cmpuint(get(f, 1, TIMER_COUNT), ==, 600000);
    fake_advance(f->h, 599999);
    g_assert_cmpuint(get(f, 1, TIMER_COUNT), ==, 1);
    g_assert_false(intr(f, 1));
    fake_advance(f->h, 1);
    g_assert_true(intr(f, 1));
    g_assert_cmpuint(get(f, 1, TIMER_COUNT), ==, 0);
    g_assert_cmpuint(get(f, 1, TIMER_INIT), ==, 1000000);
    g_assert_cmpint(ack(f, 1), ==, 0x40);
    eoi(f, 1);
    fake_advance(f->h, 10000000);
    g_assert_cmpint(ack(f, 1), ==, -1);
    put(f, 1, TIMER_INIT, 1000); /* stopped by 0 */
    put(f, 1, TIMER_INIT, 0);
    fake_advance(f->h, 10000);
    g_assert_cmpint(ack(f, 1), ==, -1);
    put(f, 1, LVT_TIMER, 0x40 | MASKED); /* masked: runs down silently */
    put(f, 1, TIMER_INIT, 1000);
    fake_advance(f->h, 1000);
    g_assert_cmpuint(get(f, 1, TIMER_COUNT), ==, 0);
    put(f, 1, LVT_TIMER, 0x40);
    g_assert_cmpint(ack(f, 1), ==, -1);
    put(f, 1, TIMER_INIT, 0xffffffff);
    fake_advance(f->h, 0xfffffffe);
    g_assert_cmpint(ack(f, 1), ==, -1);
    fake_advance(f->h, 1);
    g_assert_cmpint(ack(f, 1), ==, 0x40);
}

static void test_timer_divide(Fixture *f, gconstpointer data)
{
    static const struct { uint8_t value; unsigned by; } t[] = {
        {0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1},
    };
    put(f, 0, LVT_TIMER, 0x40);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        put(f, 0, TIMER_DIV, t[i].value);
        put(f, 0, TIMER_INIT, 1000);
        fake_advance(f->h, 100 * t[i].by - 1);
        g_assert_cmpuint(get(f, 0, TIMER_COUNT), ==, 901);
        fake_advance(f->h, 1);
        g_assert_cmpuint(get(f, 0, TIMER_COUNT), ==, 900);
        fake_advance(f->h, 900 * t[i].by - 1);
        g_assert_cmpint(ack(f, 0), ==, -1);
        fake_advance(f->h, 1);
        g_assert_cmpint(ack(f, 0), ==, 0x40);
        eoi(f, 0);
    }
    /* Another rate while it runs: the count goes on. */
    put(f, 0, TIMER_DIV, 11);
    put(f, 0, TIMER_INIT, 1000);
    fake_advance(f->h, 400);
    put(f, 0, TIMER_DIV, 0);
    g_assert_cmpuint(get(f, 0, TIMER_COUNT), ==, 600);
    fake_advance(f->h, 1199);
    g_assert_cmpint(ack(f, 0), ==, -1);
    fake_advance(f->h, 1);
    g_assert_cmpint(ack(f, 0), ==, 0x40);
}

static void test_timer_periodic(Fixture *f, gconstpointer data)
{
    put(f, 0, TIMER_DIV, 11);
    put(f, 0, LVT_TIMER, 0x40 | PERIODIC);
    put(f, 0, TIMER_INIT, 1000000);
    for (unsigned i = 0; i < 10; i++) {
        fake_advance(f->h, 250000);
        g_assert_cmpuint(get(f, 0, TIMER_COUNT), ==, 750000);
        g_assert_cmpint(ack(f, 0), ==, -1);
        fake_advance(f->h, 750000);
        g_assert_cmpint(ack(f, 0), ==, 0x40);
        eoi(f, 0);
    }
    /* To one-shot: the present period is the last one. */
    fake_advance(f->h, 250000);
    put(f, 0, LVT_TIMER, 0x40);
    g_assert_cmpuint(get(f, 0, TIMER_COUNT), ==, 750000);
    fake_advance(f->h, 750000);
    g_assert_cmpint(ack(f, 0), ==, 0x40);
    eoi(f, 0);
    fake_advance(f->h, 5000000);
    g_assert_cmpint(ack(f, 0), ==, -1);
}

static void test_timer_tiny(Fixture *f, gconstpointer data)
{
    unsigned count = 0;

    for (int c = 0; c < CPUS; c++) {
        put(f, c, TIMER_DIV, 11);
        put(f, c, LVT_TIMER, 0x40 | PERIODIC);
        put(f, c, TIMER_INIT, 1 + c);
    }
    for (unsigned i = 0; i < 1000; i++) {
        fake_advance(f->h, 1000);
        if (ack(f, 0) == 0x40) {
            count++;
            eoi(f, 0);
        }
    }
    g_assert_cmpuint(count, >, 20);
    g_assert_cmpuint(count, <=, 51); /* 1 ms: every 20 us at most */
    g_assert_cmpuint(get(f, 2, TIMER_COUNT), <=, 3);
}

static void test_timer_tsc_deadline(Fixture *f, gconstpointer data)
{
    g_assert_true(wrmsr(f, 0, 0x6e0, 5000)); /* ignored in another mode */
    g_assert_cmpuint(msr(f, 0, 0x6e0), ==, 0);
    put(f, 0, TIMER_INIT, 10000);
    put(f, 0, LVT_TIMER, 0x40 | TSC_DEADLINE); /* stops the counting */
    g_assert_cmpuint(get(f, 0, TIMER_COUNT), ==, 0);
    fake_advance(f->h, 50000);
    g_assert_cmpint(ack(f, 0), ==, -1);
    put(f, 0, TIMER_INIT, 10000); /* ignored */
    g_assert_cmpuint(get(f, 0, TIMER_INIT), ==, 0);
    g_assert_true(wrmsr(f, 0, 0x6e0, 80000));
    g_assert_cmpuint(msr(f, 0, 0x6e0), ==, 80000);
    fake_advance(f->h, 29999);
    g_assert_cmpint(ack(f, 0), ==, -1);
    fake_advance(f->h, 1);
    g_assert_cmpuint(msr(f, 0, 0x6e0), ==, 0);
    g_assert_cmpint(ack(f, 0), ==, 0x40);
    eoi(f, 0);
    g_assert_true(wrmsr(f, 0, 0x6e0, 1)); /* past: at once */
    g_assert_cmpint(ack(f, 0), ==, 0x40);
    eoi(f, 0);
    g_assert_true(wrmsr(f, 0, 0x6e0, 90000));
    g_assert_true(wrmsr(f, 0, 0x6e0, 0)); /* disarmed */
    fake_advance(f->h, 50000);
    g_assert_cmpint(ack(f, 0), ==, -1);
    g_assert_true(wrmsr(f, 0, 0x6e0, ~0ull)); /* far off */
    fake_advance(f->h, 1000000000000);
    g_assert_cmpint(ack(f, 0), ==, -1);
    put(f, 0, LVT_TIMER, 0x40); /* leaving the mode disarms */
    g_assert_cmpuint(msr(f, 0, 0x6e0), ==, 0);
}

/* ---- x2APIC ------------------------------------------------------------------------ */

static void test_apic_base(Fixture *f, gconstpointer data)
{
    uint64_t xapic = BASE | EN, x2apic = BASE | EN | EXTD, off = BASE;

    g_assert_false(wrmsr(f, 1, 0x1b, BASE | EXTD));
    g_assert_false(wrmsr(f, 1, 0x1b, xapic | 1));
    g_assert_false(wrmsr(f, 1, 0x1b, xapic | 1 << 9));
    g_assert_false(wrmsr(f, 1, 0x1b, xapic | 1ull << 52));
    g_assert_true(wrmsr(f, 1, 0x1b, xapic));
    g_assert_true(wrmsr(f, 1, 0x1b, x2apic));
    g_assert_true(wrmsr(f, 1, 0x1b, x2apic));
    g_assert_false(wrmsr(f, 1, 0x1b, xapic)); /* only through disabled */
    g_assert_cmphex(msr(f, 1, 0x1b), ==, x2apic);
    g_assert_true(wrmsr(f, 1, 0x1b, off));
    g_assert_false(wrmsr(f, 1, 0x1b, x2apic));
    g_assert_true(wrmsr(f, 1, 0x1b, xapic));
    unsigned errors = fake_guest_errors(f->d);
    g_assert_true(wrmsr(f, 1, 0x1b, 0x12345000 | EN)); /* does not move */
    g_assert_cmphex(msr(f, 1, 0x1b), ==, xapic);
    g_assert_cmpuint(fake_guest_errors(f->d), >, errors);
    uint64_t value;
    g_assert_false(rdmsr(f, 1, 0x802, &value));
    g_assert_false(wrmsr(f, 1, 0x808, 0));
    g_assert_false(rdmsr(f, CPUS, 0x1b, &value)); /* no such CPU */
    g_assert_false(rdmsr(f, 0, 0x10, &value));
    g_assert_false(wrmsr(f, 0, 0x10, 0));
}

static void test_x2apic_off(void)
{
    Fixture f;
    set_up_with(&f, "x2apic=off");
    g_assert_false(wrmsr(&f, 0, 0x1b, BASE | EN | EXTD | BSP));
    tear_down(&f, NULL);
}

static void test_x2apic_gp(Fixture *f, gconstpointer data)
{
    static const struct { uint16_t msr; bool read; uint64_t good, bad; } t[] = {
        {0x808, true, 0xff, 0x100}, {0x80b, false, 0, 1}, {0x80f, true, 0x1ff, 0x400},
        {0x828, true, 0, 1}, {0x830, true, 0x000c40f0, 1 << 13}, {0x832, true, 0x700ff, 1 << 8},
        {0x833, true, 0x107ff, 1 << 17}, {0x834, true, 0x107ff, 1 << 15},
        {0x835, true, 0x1a7ff, 1 << 11}, {0x836, true, 0x1a7ff, 1 << 17},
        {0x837, true, 0x100ff, 1 << 10}, {0x838, true, 0xffffffff, 1ull << 32},
        {0x83e, true, 0xb, 4}, {0x83f, false, 0xff, 0x100},
    };
    static const uint16_t read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x817, 0x818, 0x81f,
                                         0x820, 0x827, 0x839};
    static const uint16_t absent[] = {0x800, 0x804, 0x809, 0x80c, 0x80e, 0x82f, 0x831, 0x83a,
                                      0x840, 0x8ff};
    uint64_t value;

    to_x2apic(f, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_test_message("MSR 0x%x", t[i].msr);
        g_assert_cmpint(rdmsr(f, 1, t[i].msr, &value), ==, t[i].read);
        g_assert_false(wrmsr(f, 1, t[i].msr, t[i].bad));
        g_assert_true(wrmsr(f, 1, t[i].msr, t[i].good));
        if (t[i].read)
            g_assert_cmphex(msr(f, 1, t[i].msr), ==, t[i].good);
        if (t[i].msr != 0x830)
            g_assert_false(wrmsr(f, 1, t[i].msr, t[i].good | 1ull << 32));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(read_only); i++) {
        g_assert_true(rdmsr(f, 1, read_only[i], &value));
        g_assert_false(wrmsr(f, 1, read_only[i], 0));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        g_test_message("MSR 0x%x", absent[i]);
        g_assert_false(rdmsr(f, 1, absent[i], &value));
        g_assert_false(wrmsr(f, 1, absent[i], 0));
    }
    g_assert_false(wrmsr(f, 1, 0x830, 1 << 20));
    g_assert_false(wrmsr(f, 1, 0x830, 1 << 16));
    g_assert_cmphex(get(f, 1, SVR), ==, 0xffffffff); /* no MMIO in this mode */
    put(f, 1, TPR, 0x20);
    g_assert_cmphex(msr(f, 1, 0x808), ==, 0xff);
}

static void test_x2apic_ipi(Fixture *f, gconstpointer data)
{
    for (unsigned c = 0; c < CPUS; c++)
        to_x2apic(f, c);
    g_assert_cmphex(msr(f, 3, 0x802), ==, 3);
    g_assert_cmphex(msr(f, 3, 0x80d), ==, 1 << 3);
    g_assert_true(wrmsr(f, 0, 0x830, 2ull << 32 | 0x80));
    g_assert_cmphex(takers(f, 0x80), ==, 1 << 2);
    g_assert_true(wrmsr(f, 0, 0x830, 0xdull << 32 | LOGICAL | 0x80));
    g_assert_cmphex(takers(f, 0x80), ==, 0xd);
    g_assert_true(wrmsr(f, 0, 0x830, 0x1000dull << 32 | LOGICAL | 0x80)); /* another cluster */
    g_assert_cmphex(takers(f, 0x80), ==, 0);
    g_assert_true(wrmsr(f, 0, 0x830, 0xffffffffull << 32 | 0x80));
    g_assert_cmphex(takers(f, 0x80), ==, 0xf);
    g_assert_true(wrmsr(f, 0, 0x830, 0xffull << 32 | 0x80)); /* no broadcast here */
    g_assert_cmphex(takers(f, 0x80), ==, 0);
    g_assert_true(wrmsr(f, 0, 0x830, 3 << 18 | 0x80));
    g_assert_cmphex(takers(f, 0x80), ==, 0xe);
    g_assert_true(wrmsr(f, 2, 0x83f, 0x91)); /* self IPI */
    g_assert_cmphex(takers(f, 0x91), ==, 1 << 2);
    g_assert_true(wrmsr(f, 2, 0x83f, 0x05));
    g_assert_true(wrmsr(f, 2, 0x828, 0));
    g_assert_cmphex(msr(f, 2, 0x828), ==, 0x20);
    msi(f, 0xff, 0, 0x92);
    g_assert_cmphex(takers(f, 0x92), ==, 0xf);
    msi(f, 0x06, 1 << 2, 0x92);
    g_assert_cmphex(takers(f, 0x92), ==, 0x6);
    g_assert_true(wrmsr(f, 0, 0x830, 1ull << 32 | 5 << 8 | ASSERT)); /* INIT keeps the mode */
    g_assert_cmphex(msr(f, 1, 0x1b), ==, (BASE | EN | EXTD));
    g_assert_cmphex(msr(f, 1, 0x80d), ==, 1 << 1);
    g_assert_cmphex(msr(f, 1, 0x80f), ==, 0xff);
}

/* ---- life ----------------------------------------------------------------------------- */

static void test_reset(Fixture *f, gconstpointer data)
{
    to_x2apic(f, 2);
    msi(f, 0xff, 0, 0x60);
    put(f, 1, LVT_TIMER, 0x40 | PERIODIC);
    put(f, 1, TIMER_INIT, 100000);
    for (unsigned c = 0; c < CPUS; c++)
        g_assert_true(intr(f, c));
    fake_reset(f->h, VMR_RESET_WARM);
    test_reset_values(f, NULL);
    fake_advance(f->h, 10000000);
    for (unsigned c = 0; c < CPUS; c++) {
        g_assert_false(intr(f, c));
        g_assert_cmpint(ack(f, c), ==, -1);
    }
}

static void test_save_load(Fixture *f, gconstpointer data)
{
    FakeHost *h2 = fake_host_new(0, CPUS);
    Fixture g = {h2, NULL, fake_device_new(h2, "i8259", "pic0", NULL), f->intc, f->lapic, f->msi};

    g.d = fake_device_new(h2, "lapic", "lapic0", "extint=@pic0;virtual-wire=off");
    fake_reset(h2, VMR_RESET_COLD);
    fake_advance(f->h, 777);
    msi(f, 1, 0, 0x60);
    msi(f, 1, 0, 0x70);
    g_assert_cmpint(ack(f, 1), ==, 0x70);
    msi(f, 1, 0, 0x90 | LEVEL | ASSERT);
    put(f, 0, TIMER_DIV, 11);
    put(f, 0, LVT_TIMER, 0x40 | PERIODIC);
    put(f, 0, TIMER_INIT, 100000);
    put(f, 3, LVT_TIMER, 0x41 | TSC_DEADLINE);
    g_assert_true(wrmsr(f, 3, 0x6e0, 150777));
    to_x2apic(f, 2);
    g_assert_true(wrmsr(f, 2, 0x808, 0x30));
    fake_advance(f->h, 30000);
    fake_save_load(f->d, g.d);
    g_assert_true(intr(&g, 1));
    g_assert_cmpint(ack(&g, 1), ==, 0x90);
    eoi(&g, 1);
    eoi(&g, 1);
    g_assert_cmpint(ack(&g, 1), ==, 0x60);
    g_assert_cmpuint(get(&g, 0, TIMER_COUNT), ==, 70000);
    g_assert_cmphex(msr(&g, 2, 0x808), ==, 0x30);
    g_assert_cmphex(msr(&g, 2, 0x802), ==, 2);
    fake_advance(h2, 70000);
    g_assert_cmpint(ack(&g, 0), ==, 0x40);
    fake_advance(h2, 49999);
    g_assert_cmpint(ack(&g, 3), ==, -1);
    fake_advance(h2, 1);
    g_assert_cmpint(ack(&g, 3), ==, 0x41);
    /* State that cannot be. */
    GError *error = NULL;
    fake_field_set(g.d, "apic_base", 1, BASE | EXTD);
    g_assert_false(fake_post_load(g.d, &error));
    g_clear_error(&error);
    fake_field_set(g.d, "apic_base", 1, BASE | EN);
    fake_field_set(g.d, "timer_start", 1, (uint64_t)INT64_MIN);
    g_assert_false(fake_post_load(g.d, &error));
    g_clear_error(&error);
    fake_host_free(h2);
}

static void test_describe(Fixture *f, gconstpointer data)
{
    const VmrDescription *d = fake_description(f->d);
    g_assert_cmpstr(vmr_fact_string(d, "interrupt-controller"), ==, "x86-lapic");
    g_assert_cmpuint(vmr_fact_number(d, "cpu-local", 0), ==, 1);
}

static void test_many_cpus(void)
{
    GError *error = NULL;
    FakeHost *h = fake_host_new(0, 64);
    VmrDevice *d = fake_device_new(h, "lapic", "lapic0", NULL);
    const VmrX86IntcInterface *intc = vmr_device_interface(d, VMR_X86_INTC);

    fake_reset(h, VMR_RESET_COLD);
    for (int c = 0; c < 64; c++) {
        fake_set_initiator(h, c);
        fake_write(d, "regs", SVR, 0x1ff, 4);
    }
    fake_write(d, "regs", ICR, 0x55 | 3 << 18, 4); /* from CPU 63 to all others */
    for (unsigned c = 0; c < 64; c++)
        g_assert_cmpint(intc->acknowledge(d, c), ==, c < 63 ? 0x55 : -1);
    fake_host_free(h);
    h = fake_host_new(0, 65);
    g_assert_null(fake_device_try(h, "lapic", "lapic0", NULL, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    fake_host_free(h);
}

static void test_fuzz(Fixture *f, gconstpointer data)
{
    uint64_t value;

    pic_init(f);
    for (unsigned i = 0; i < 400000; i++) {
        uint32_t r = fake_random(f->h, 0), v = fake_random(f->h, 0);
        unsigned size = 1u << (r & 3), cpu = r >> 4 & 3;
        uint64_t offset = r & 0x40 ? fake_random(f->h, 0x100000) & -(uint64_t)size
                                   : fake_random(f->h, 0x40) << 4;

        if (r & 0x80)
            v &= 0x7ffff;
        fake_set_initiator(f->h, (int)cpu - (v % 17 == 0 ? 4 : 0));
        switch (r >> 8 & 15) {
        case 0 ... 1:
            fake_read(f->d, "regs", offset, size);
            break;
        case 2 ... 6:
            fake_write(f->d, "regs", offset, v, size);
            break;
        case 7:
            rdmsr(f, cpu, 0x800 + fake_random(f->h, 0x100), &value);
            break;
        case 8 ... 9:
            wrmsr(f, cpu, 0x800 + fake_random(f->h, 0x40), v);
            break;
        case 10:
            wrmsr(f, cpu, 0x1b, BASE | (v & 0xd00));
            break;
        case 11:
            wrmsr(f, cpu, 0x6e0, fake_now(f->h) + (int64_t)(v >> 8) - 1000);
            break;
        case 12:
            f->msi->send(f->d, BASE | (v >> 4 & 0xfffff), v);
            break;
        case 13:
            fake_line_set(f->d, r & 0x10000 ? "lint0" : "lint1", 0, r >> 17 & 1);
            break;
        case 14:
            ack(f, cpu);
            break;
        case 15:
            fake_advance(f->h, v & 0xffff);
            break;
        }
    }
    for (unsigned c = 0; c < CPUS; c++) {
        for (unsigned i = 0; i < 300 && ack(f, c) >= 0; i++)
            continue;
    }
    fake_reset(f->h, VMR_RESET_WARM);
    for (unsigned c = 0; c < CPUS; c++)
        g_assert_cmphex(msr(f, c, 0x1b), ==, (BASE | EN | (c == 0 ? BSP : 0)));
}

/* Another does the work: messages go there; the registers go out and come back. */
typedef struct Sent {
    unsigned count;
    uint64_t address;
    uint32_t data;
} Sent;

static void sent(void *opaque, uint64_t address, uint32_t data)
{
    Sent *s = opaque;
    s->count++;
    s->address = address;
    s->data = data;
}

static void test_offload(Fixture *f, gconstpointer data)
{
    const VmrX86LapicOffloadInterface *o = vmr_device_interface(f->d, VMR_X86_LAPIC_OFFLOAD);
    VmrX86LapicRegisters a, b;
    Sent s = {0};
    put(f, 1, TPR, 0x30);
    put(f, 1, LVT_TIMER, 0x61 | PERIODIC);
    put(f, 1, TIMER_DIV, 3);
    put(f, 1, TIMER_INIT, 1000000);
    msi(f, 1, 0, 0x51);
    o->take(f->d, sent, &s);
    msi(f, 2, 0, 0x52 | LEVEL | ASSERT);
    g_assert_cmpuint(s.count, ==, 1);
    g_assert_cmphex(s.address, ==, BASE | 2 << 12);
    g_assert_cmphex(s.data, ==, 0x52 | LEVEL | ASSERT);
    g_assert_false(intr(f, 2));
    o->get(f->d, 1, &a);
    g_assert_cmphex(a.reg[TPR >> 4], ==, 0x30);
    g_assert_cmphex(a.reg[(IRR >> 4) + 2], ==, 1u << 0x11);
    g_assert_cmphex(a.reg[TIMER_INIT >> 4], ==, 1000000);
    g_assert_cmphex(a.apic_base, ==, BASE | EN);
    o->set(f->d, 3, &a); /* as if it came from there */
    o->get(f->d, 3, &b);
    a.reg[ID >> 4] = b.reg[ID >> 4];
    g_assert_cmpmem(&a, sizeof a, &b, sizeof b);
    g_assert_false(intr(f, 3));
    o->take(f->d, NULL, NULL);
    g_assert_true(intr(f, 3));
    g_assert_cmpint(ack(f, 3), ==, 0x51);
    msi(f, 2, 0, 0x52);
    g_assert_cmpuint(s.count, ==, 1);
    g_assert_true(intr(f, 2));
    fake_advance(f->h, 16000000);
    eoi(f, 3);
    g_assert_cmpint(ack(f, 3), ==, 0x61); /* its timer runs here again */
}

#define TEST_WITH(name_, set_up_)                                                                  \
    g_test_add("/lapic/" #name_, Fixture, NULL, set_up_, test_##name_, tear_down)
#define TEST(name_) TEST_WITH(name_, set_up)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST(reset_values);
    TEST(writable_bits);
    TEST(offload);
    TEST(software_disable);
    TEST(priorities);
    TEST(tpr);
    TEST(eoi_broadcast);
    TEST(ipi_physical);
    TEST(ipi_shorthand);
    TEST(ipi_logical);
    TEST(lowest_priority);
    TEST(init_sipi);
    TEST(msi);
    TEST(errors);
    TEST_WITH(virtual_wire, set_up_wire);
    TEST_WITH(globally_disabled, set_up_wire);
    TEST(lint_modes);
    TEST(extint_message);
    TEST(timer_one_shot);
    TEST(timer_divide);
    TEST(timer_periodic);
    TEST(timer_tiny);
    TEST(timer_tsc_deadline);
    TEST(apic_base);
    g_test_add_func("/lapic/x2apic_off", test_x2apic_off);
    TEST(x2apic_gp);
    TEST(x2apic_ipi);
    TEST(reset);
    TEST(save_load);
    TEST(describe);
    g_test_add_func("/lapic/many_cpus", test_many_cpus);
    TEST(fuzz);
    return g_test_run();
}
