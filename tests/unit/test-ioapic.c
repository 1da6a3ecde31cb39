/* tests/unit/test-ioapic.c - the I/O APIC, against the local APICs of four fake CPUs. */
#include "fakehost.h"

enum { MASKED = 1 << 16, LEVEL = 1 << 15, REMOTE_IRR = 1 << 14, LOGICAL = 1 << 11, NMI = 4 << 8 };

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *lapic, *d;
    const VmrX86IntcInterface *intc;
} Fixture;

static void lapic_write(Fixture *f, int cpu, unsigned offset, uint32_t value)
{
    fake_set_initiator(f->h, cpu);
    fake_write(f->lapic, "regs", offset, value, 4);
}

static void eoi(Fixture *f, int cpu)
{
    lapic_write(f, cpu, 0xb0, 0);
}

static uint32_t get(Fixture *f, uint8_t reg)
{
    fake_write(f->d, "regs", 0, reg, 4);
    return fake_read(f->d, "regs", 0x10, 4);
}

static void put(Fixture *f, uint8_t reg, uint32_t value)
{
    fake_write(f->d, "regs", 0, reg, 4);
    fake_write(f->d, "regs", 0x10, value, 4);
}

static void entry(Fixture *f, unsigned pin, uint8_t dest, uint32_t low)
{
    put(f, 0x10 + 2 * pin, MASKED);
    put(f, 0x11 + 2 * pin, (uint32_t)dest << 24);
    put(f, 0x10 + 2 * pin, low);
}

static void line(Fixture *f, unsigned pin, bool level)
{
    fake_line_set(f->d, "in", pin, level);
}

static void pulse(Fixture *f, unsigned pin)
{
    line(f, pin, true);
    line(f, pin, false);
}

static int ack(Fixture *f, unsigned cpu)
{
    return f->intc->acknowledge(f->lapic, cpu);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->h = fake_host_new(0, 4);
    f->lapic = fake_device_new(f->h, "lapic", "lapic0", "virtual-wire=off");
    f->d = fake_device_new(f->h, "ioapic", "ioapic0", "apic=@lapic0;apic-id=5");
    f->intc = vmr_device_interface(f->lapic, VMR_X86_INTC);
    fake_reset(f->h, VMR_RESET_COLD);
    for (int c = 0; c < 4; c++) {
        lapic_write(f, c, 0xf0, 0x1ff);
        lapic_write(f, c, 0xd0, 1u << (24 + c));
    }
}

static void tear_down(Fixture *f, gconstpointer data)
{
    fake_host_free(f->h);
}

static void test_registers(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(get(f, 0), ==, 5u << 24);
    g_assert_cmphex(get(f, 1), ==, 0x170020);
    g_assert_cmphex(get(f, 2), ==, 5u << 24);
    put(f, 0, 0xffffffff);
    g_assert_cmphex(get(f, 0), ==, 0x0f000000);
    put(f, 1, 0);
    g_assert_cmphex(get(f, 1), ==, 0x170020);
    g_assert_cmphex(fake_read(f->d, "regs", 0, 4), ==, 1);
    for (unsigned pin = 0; pin < 24; pin++) {
        g_assert_cmphex(get(f, 0x10 + 2 * pin), ==, MASKED);
        g_assert_cmphex(get(f, 0x11 + 2 * pin), ==, 0);
    }
    put(f, 0x10, 0xffffffff);
    put(f, 0x11, 0xffffffff);
    g_assert_cmphex(get(f, 0x10), ==, 0x1afff);
    g_assert_cmphex(get(f, 0x11), ==, 0xff000000);
    g_assert_cmphex(get(f, 0x40), ==, 0);
    put(f, 0xff, 0x55);
    g_assert_cmphex(get(f, 0xff), ==, 0);
    g_assert_cmpuint(fake_guest_errors(f->d), >, 0);
}

static void test_edge(Fixture *f, gconstpointer data)
{
    pulse(f, 4);
    g_assert_cmpint(ack(f, 0), ==, -1);
    entry(f, 4, 0, 0x54);
    g_assert_cmpint(ack(f, 0), ==, -1); /* an edge on a masked pin is lost */
    line(f, 4, true);
    g_assert_true(fake_cpu(f->h, 0)->intr);
    g_assert_cmpint(ack(f, 0), ==, 0x54);
    eoi(f, 0);
    g_assert_cmpint(ack(f, 0), ==, -1); /* one edge, one interrupt */
    line(f, 4, true);
    g_assert_cmpint(ack(f, 0), ==, -1);
    line(f, 4, false);
    line(f, 4, true);
    g_assert_cmpint(ack(f, 0), ==, 0x54);
    g_assert_cmphex(get(f, 0x18), ==, 0x54); /* no Remote IRR */
}

static void test_level(Fixture *f, gconstpointer data)
{
    line(f, 20, true);
    entry(f, 20, 2, 0x61 | LEVEL); /* asserted when it is unmasked */
    g_assert_cmpint(ack(f, 2), ==, 0x61);
    g_assert_cmphex(get(f, 0x10 + 40), ==, (0x61 | LEVEL | REMOTE_IRR));
    line(f, 20, false);
    line(f, 20, true);
    g_assert_cmpint(ack(f, 2), ==, -1); /* not again before the EOI */
    eoi(f, 2);
    g_assert_cmpint(ack(f, 2), ==, 0x61); /* still asserted: again */
    line(f, 20, false);
    eoi(f, 2);
    g_assert_cmpint(ack(f, 2), ==, -1);
    g_assert_cmphex(get(f, 0x10 + 40), ==, (0x61 | LEVEL));
    /* Masked before the EOI: held back until unmasked. */
    line(f, 20, true);
    g_assert_cmpint(ack(f, 2), ==, 0x61);
    put(f, 0x10 + 40, 0x61 | LEVEL | MASKED);
    eoi(f, 2);
    g_assert_cmpint(ack(f, 2), ==, -1);
    put(f, 0x10 + 40, 0x61 | LEVEL);
    g_assert_cmpint(ack(f, 2), ==, 0x61);
}

static void test_eoi_register(Fixture *f, gconstpointer data)
{
    entry(f, 20, 0, 0x61 | LEVEL);
    lapic_write(f, 0, 0xf0, 0x11ff); /* no broadcasts */
    line(f, 20, true);
    g_assert_cmpint(ack(f, 0), ==, 0x61);
    eoi(f, 0);
    g_assert_cmpint(ack(f, 0), ==, -1);
    g_assert_cmphex(get(f, 0x10 + 40) & REMOTE_IRR, ==, REMOTE_IRR);
    fake_write(f->d, "regs", 0x40, 0x60, 4); /* another vector */
    g_assert_cmpint(ack(f, 0), ==, -1);
    fake_write(f->d, "regs", 0x40, 0x61, 4);
    g_assert_cmpint(ack(f, 0), ==, 0x61);
    /* The way of version 0x11: a moment of edge mode clears Remote IRR. */
    put(f, 0x10 + 40, 0x61 | MASKED);
    g_assert_cmphex(get(f, 0x10 + 40), ==, (0x61 | MASKED));
}

static void test_shared_vector(Fixture *f, gconstpointer data)
{
    entry(f, 10, 1, 0x70 | LEVEL);
    entry(f, 11, 1, 0x70 | LEVEL);
    line(f, 10, true);
    line(f, 11, true);
    g_assert_cmpint(ack(f, 1), ==, 0x70);
    line(f, 10, false);
    eoi(f, 1); /* clears both; 11 is still asserted */
    g_assert_cmphex(get(f, 0x10 + 20) & REMOTE_IRR, ==, 0);
    g_assert_cmphex(get(f, 0x10 + 22) & REMOTE_IRR, ==, REMOTE_IRR);
    g_assert_cmpint(ack(f, 1), ==, 0x70);
}

static void test_modes(Fixture *f, gconstpointer data)
{
    entry(f, 1, 0x0c, 0x81 | LOGICAL); /* CPUs 2 and 3 */
    pulse(f, 1);
    g_assert_cmpint(ack(f, 0), ==, -1);
    g_assert_cmpint(ack(f, 1), ==, -1);
    g_assert_cmpint(ack(f, 2), ==, 0x81);
    g_assert_cmpint(ack(f, 3), ==, 0x81);
    /* Lowest priority: one of them; 2 is busy with 0x81 no more, 3 is. */
    eoi(f, 2);
    entry(f, 1, 0x0c, 0x91 | LOGICAL | 1 << 8);
    pulse(f, 1);
    g_assert_cmpint(ack(f, 3), ==, -1);
    g_assert_cmpint(ack(f, 2), ==, 0x91);
    entry(f, 5, 3, NMI | LEVEL); /* NMI is an edge, whatever the trigger bit */
    line(f, 5, true);
    g_assert_cmpuint(fake_cpu(f->h, 3)->nmis, ==, 1);
    g_assert_cmphex(get(f, 0x1a) & REMOTE_IRR, ==, 0);
    put(f, 0x1a, NMI | LEVEL);
    g_assert_cmpuint(fake_cpu(f->h, 3)->nmis, ==, 1);
    entry(f, 6, 1, 2 << 8);
    pulse(f, 6);
    g_assert_cmpuint(fake_cpu(f->h, 1)->smis, ==, 1);
    entry(f, 6, 1, 5 << 8);
    pulse(f, 6);
    g_assert_cmpuint(fake_cpu(f->h, 1)->inits, ==, 1);
    entry(f, 6, 0xff, 0x44); /* broadcast: CPU 1's APIC was disabled by the INIT */
    pulse(f, 6);
    g_assert_cmpint(ack(f, 0), ==, 0x44);
    g_assert_cmpint(ack(f, 1), ==, -1);
}

static void test_reset(Fixture *f, gconstpointer data)
{
    entry(f, 20, 0, 0x61 | LEVEL);
    line(f, 20, true);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_cmphex(get(f, 0x10 + 40), ==, MASKED);
    g_assert_false(fake_cpu(f->h, 0)->intr);
    /* The line is as it was: whoever drives it drives it. */
    lapic_write(f, 0, 0xf0, 0x1ff);
    entry(f, 20, 0, 0x62 | LEVEL);
    g_assert_cmpint(ack(f, 0), ==, 0x62);
}

static void test_save_load(Fixture *f, gconstpointer data)
{
    VmrDevice *other = fake_device_new(f->h, "ioapic", "ioapic1", "apic=@lapic0");

    entry(f, 20, 0, 0x61 | LEVEL);
    entry(f, 3, 1, 0x33);
    line(f, 20, true);
    put(f, 0, 7u << 24);
    fake_save_load(f->d, other);
    g_assert_cmpint(ack(f, 0), ==, 0x61);
    fake_write(other, "regs", 0, 0x38, 4);
    g_assert_cmphex(fake_read(other, "regs", 0x10, 4), ==, (0x61 | LEVEL | REMOTE_IRR));
    fake_line_set(other, "in", 3, true);
    g_assert_cmpint(ack(f, 1), ==, 0x33);
}

static void test_pins(Fixture *f, gconstpointer data)
{
    VmrDevice *other =
        fake_device_new(f->h, "ioapic", "ioapic1", "apic=@lapic0;pins=8;gsi-base=24");
    const VmrDescription *d = fake_description(other);

    fake_reset(f->h, VMR_RESET_COLD);
    fake_write(other, "regs", 0, 1, 4);
    g_assert_cmphex(fake_read(other, "regs", 0x10, 4), ==, 0x070020);
    fake_write(other, "regs", 0, 0x20, 4);
    g_assert_cmphex(fake_read(other, "regs", 0x10, 4), ==, 0);
    fake_line_set(other, "in", 8, true);
    g_assert_cmpuint(vmr_fact_number(d, "gsi-base", 99), ==, 24);
    g_assert_cmpuint(vmr_fact_number(d, "gsi-count", 99), ==, 8);
    g_assert_cmpuint(vmr_fact_number(fake_description(f->d), "apic-id", 99), ==, 5);
    g_assert_cmpstr(vmr_fact_string(d, "interrupt-controller"), ==, "x86-ioapic");
}

/* As a PC is wired: HPET -> pc-gsi -> I/O APIC pin 2 -> local APIC, and back by the EOI. */
static void test_wired(Fixture *f, gconstpointer data)
{
    fake_device_new(f->h, "pc-gsi", "isa",
                    "ioapic=@ioapic0:0,@ioapic0:1,@ioapic0:2,@ioapic0:3,@ioapic0:4");
    VmrDevice *hpet = fake_device_new(f->h, "hpet", "hpet0",
                                      "legacy=@isa:0;out=,,,,,,,,,,,,,,,,,,,,@ioapic0:20");

    fake_reset(f->h, VMR_RESET_COLD);
    lapic_write(f, 1, 0xf0, 0x1ff);
    entry(f, 2, 1, 0x30);
    entry(f, 20, 1, 0x40 | LEVEL);
    fake_write(hpet, "regs", 0x100, 1 << 2 | 1 << 3 | 1 << 6, 8); /* timer 0: periodic, edge */
    fake_write(hpet, "regs", 0x108, 100000, 8);
    fake_write(hpet, "regs", 0x140, 20 << 9 | 1 << 2 | 1 << 1, 8); /* timer 2: level, pin 20 */
    fake_write(hpet, "regs", 0x148, 300000, 8);
    fake_write(hpet, "regs", 0x010, 3, 8);
    for (unsigned i = 0; i < 5; i++) {
        fake_advance(f->h, 999999);
        g_assert_cmpint(ack(f, 1), ==, -1);
        fake_advance(f->h, 1);
        if (i == 2) {
            g_assert_cmpint(ack(f, 1), ==, 0x40);
            fake_write(hpet, "regs", 0x020, 4, 8);
            eoi(f, 1);
        }
        g_assert_cmpint(ack(f, 1), ==, 0x30);
        eoi(f, 1);
    }
    g_assert_cmphex(get(f, 0x10 + 40), ==, (0x40 | LEVEL));
}

static void test_fuzz(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 200000; i++) {
        uint32_t r = fake_random(f->h, 0);
        unsigned size = 1u << (r & 3);
        uint64_t offset = (r & 0x40 ? fake_random(f->h, 0x1000) : fake_random(f->h, 0x50)) & -size;

        switch (r >> 8 & 3) {
        case 0:
            fake_read(f->d, "regs", offset, size);
            break;
        case 1:
            fake_write(f->d, "regs", offset, fake_random(f->h, 0), size);
            break;
        case 2:
            line(f, fake_random(f->h, 24), r >> 16 & 1);
            break;
        case 3:
            ack(f, r >> 16 & 3);
            eoi(f, r >> 16 & 3);
            break;
        }
    }
}

#define TEST(name_) g_test_add("/ioapic/" #name_, Fixture, NULL, set_up, test_##name_, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST(registers);
    TEST(edge);
    TEST(level);
    TEST(eoi_register);
    TEST(shared_vector);
    TEST(modes);
    TEST(reset);
    TEST(save_load);
    TEST(pins);
    TEST(wired);
    TEST(fuzz);
    return g_test_run();
}
