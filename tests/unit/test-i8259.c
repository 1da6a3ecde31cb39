/* tests/unit/test-i8259.c - the 8259A pair, case by case after its data sheet. */
#include "fakehost.h"

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *d;
    const VmrX86IntcInterface *intc;
} Fixture;

static void out(Fixture *f, const char *chip, unsigned a0, uint8_t value)
{
    fake_write(f->d, chip, a0, value, 1);
}

static uint8_t in(Fixture *f, const char *chip, unsigned a0)
{
    return fake_read(f->d, chip, a0, 1);
}

/* As a PC does it: vectors 0x20 and 0x28; icw1 and icw4 may differ. */
static void init(Fixture *f, uint8_t icw1, uint8_t icw4)
{
    out(f, "master", 0, icw1);
    out(f, "slave", 0, icw1);
    out(f, "master", 1, 0x20);
    out(f, "slave", 1, 0x28);
    out(f, "master", 1, 0x04);
    out(f, "slave", 1, 0x02);
    out(f, "master", 1, icw4);
    out(f, "slave", 1, icw4 & ~0x10);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->h = fake_host_new(0, 1);
    f->d = fake_device_new(f->h, "i8259", "pic0", "irq=cpu0:intr");
    f->intc = vmr_device_interface(f->d, VMR_X86_INTC);
    g_assert_nonnull(f->intc);
    fake_reset(f->h, VMR_RESET_COLD);
    init(f, 0x11, 0x01);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    fake_host_free(f->h);
}

static void line(Fixture *f, unsigned n, bool level)
{
    fake_line_set(f->d, "in", n, level);
}

static bool intr(Fixture *f)
{
    return fake_cpu(f->h, 0)->intr;
}

static int ack(Fixture *f)
{
    return f->intc->acknowledge(f->d, 0);
}

static uint8_t isr(Fixture *f, const char *chip)
{
    out(f, chip, 0, 0x0b);
    uint8_t v = in(f, chip, 0);
    out(f, chip, 0, 0x0a);
    return v;
}

static void test_basic(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(in(f, "master", 1), ==, 0);
    line(f, 3, true);
    g_assert_true(intr(f));
    g_assert_cmphex(in(f, "master", 0), ==, 0x08);
    g_assert_cmphex(ack(f), ==, 0x23);
    g_assert_false(intr(f));
    g_assert_cmphex(in(f, "master", 0), ==, 0x00);
    g_assert_cmphex(isr(f, "master"), ==, 0x08);
    line(f, 5, true); /* lower priority waits */
    g_assert_false(intr(f));
    line(f, 1, true); /* higher nests */
    g_assert_true(intr(f));
    g_assert_cmphex(ack(f), ==, 0x21);
    g_assert_cmphex(isr(f, "master"), ==, 0x0a);
    out(f, "master", 0, 0x20);
    g_assert_cmphex(isr(f, "master"), ==, 0x08);
    g_assert_false(intr(f));
    out(f, "master", 0, 0x63); /* specific EOI */
    g_assert_true(intr(f));
    g_assert_cmphex(ack(f), ==, 0x25);
    out(f, "master", 0, 0x20);
    g_assert_false(intr(f)); /* the levels are still high, but there was no edge */
    line(f, 3, false);
    line(f, 3, true);
    g_assert_true(intr(f));
}

static void test_mask(Fixture *f, gconstpointer data)
{
    out(f, "master", 1, 0x10);
    line(f, 4, true);
    g_assert_false(intr(f));
    g_assert_cmphex(in(f, "master", 0), ==, 0x10);
    out(f, "master", 1, 0x00);
    g_assert_true(intr(f));
    out(f, "master", 1, 0xff);
    g_assert_false(intr(f));
    g_assert_cmphex(in(f, "master", 1), ==, 0xff);
}

static void test_cascade(Fixture *f, gconstpointer data)
{
    line(f, 12, true);
    g_assert_true(intr(f));
    g_assert_cmphex(ack(f), ==, 0x2c);
    g_assert_cmphex(isr(f, "master"), ==, 0x04);
    g_assert_cmphex(isr(f, "slave"), ==, 0x10);
    line(f, 8, true); /* higher in the slave, but the master serves IR2 already */
    g_assert_false(intr(f));
    out(f, "master", 0, 0x20);
    g_assert_true(intr(f));
    g_assert_cmphex(ack(f), ==, 0x28);
    out(f, "slave", 0, 0x20);
    out(f, "master", 0, 0x20);
    g_assert_cmphex(isr(f, "slave"), ==, 0x10);
    out(f, "slave", 0, 0x20);
    g_assert_cmphex(isr(f, "slave"), ==, 0);
    line(f, 2, true);
    g_assert_false(intr(f));
}

static void test_fully_nested(Fixture *f, gconstpointer data)
{
    init(f, 0x11, 0x11);
    line(f, 12, true);
    g_assert_cmphex(ack(f), ==, 0x2c);
    line(f, 8, true);
    g_assert_true(intr(f));
    g_assert_cmphex(ack(f), ==, 0x28);
    line(f, 15, true);
    g_assert_false(intr(f));
}

static void test_spurious(Fixture *f, gconstpointer data)
{
    line(f, 3, true);
    line(f, 3, false);
    g_assert_false(intr(f));
    g_assert_cmphex(ack(f), ==, 0x27);
    g_assert_cmphex(isr(f, "master"), ==, 0);
    /* the slave's goes away while the master has it: vector 15, and the master wants an EOI */
    fake_field_set(f->d, "irr", 0, 0x04);
    g_assert_cmphex(ack(f), ==, 0x2f);
    g_assert_cmphex(isr(f, "master"), ==, 0x04);
    g_assert_cmphex(isr(f, "slave"), ==, 0);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_cmpint(ack(f), ==, -1);
}

static void test_level(Fixture *f, gconstpointer data)
{
    fake_write(f->d, "elcr", 0, 0xffff, 2);
    g_assert_cmphex(fake_read(f->d, "elcr", 0, 2), ==, 0xdef8);
    line(f, 11, true);
    g_assert_cmphex(ack(f), ==, 0x2b);
    g_assert_cmphex(in(f, "slave", 0), ==, 0x08); /* still requests */
    g_assert_false(intr(f));
    out(f, "slave", 0, 0x20);
    out(f, "master", 0, 0x20);
    g_assert_true(intr(f)); /* again */
    line(f, 11, false);
    g_assert_false(intr(f));
    init(f, 0x19, 0x01); /* LTIM: all of them */
    line(f, 1, true);
    g_assert_cmphex(ack(f), ==, 0x21);
    out(f, "master", 0, 0x20);
    g_assert_true(intr(f));
}

static void test_icw1_resets(Fixture *f, gconstpointer data)
{
    line(f, 4, true);
    ack(f);
    line(f, 1, true);
    out(f, "master", 1, 0xa5);
    out(f, "master", 0, 0xc3); /* priorities */
    init(f, 0x11, 0x01);
    g_assert_cmphex(in(f, "master", 0), ==, 0); /* the edges are forgotten */
    g_assert_cmphex(in(f, "master", 1), ==, 0);
    g_assert_cmphex(isr(f, "master"), ==, 0);
    g_assert_false(intr(f));
    line(f, 1, false);
    out(f, "master", 0, 0x12); /* single, no ICW4: ICW2 ends it; not ready until then */
    line(f, 1, true);
    g_assert_false(intr(f));
    out(f, "master", 1, 0x47);
    g_assert_true(intr(f));
    out(f, "master", 1, 0x55);
    g_assert_cmphex(in(f, "master", 1), ==, 0x55);
    g_assert_cmphex(ack(f), ==, 0x41);
}

static void test_rotation(Fixture *f, gconstpointer data)
{
    out(f, "master", 0, 0xc4); /* 4 is lowest, 5 highest */
    line(f, 0, true);
    line(f, 4, true);
    line(f, 6, true);
    g_assert_cmphex(ack(f), ==, 0x26);
    out(f, "master", 0, 0xa0); /* rotate on non-specific EOI: 6 becomes lowest */
    g_assert_cmpuint(fake_field_get(f->d, "lowest", 0), ==, 6);
    line(f, 6, false);
    line(f, 6, true);
    g_assert_cmphex(ack(f), ==, 0x20);
    out(f, "master", 0, 0xe0); /* rotate on specific EOI of 0 */
    g_assert_cmpuint(fake_field_get(f->d, "lowest", 0), ==, 0);
    g_assert_cmphex(ack(f), ==, 0x24);
    out(f, "master", 0, 0x64);
    g_assert_cmphex(ack(f), ==, 0x26);
    out(f, "master", 0, 0x40); /* no operation */
    g_assert_cmphex(isr(f, "master"), ==, 0x40);
}

static void test_aeoi(Fixture *f, gconstpointer data)
{
    init(f, 0x11, 0x03);
    line(f, 9, true);
    line(f, 10, true);
    g_assert_cmphex(ack(f), ==, 0x29);
    g_assert_cmphex(isr(f, "master"), ==, 0);
    g_assert_true(intr(f)); /* the slave makes a new edge */
    g_assert_cmphex(ack(f), ==, 0x2a);
    g_assert_false(intr(f));
    out(f, "master", 0, 0x80);
    line(f, 3, true);
    line(f, 4, true);
    g_assert_cmphex(ack(f), ==, 0x23);
    g_assert_cmpuint(fake_field_get(f->d, "lowest", 0), ==, 3);
    out(f, "master", 0, 0x00);
    g_assert_cmphex(ack(f), ==, 0x24);
    g_assert_cmpuint(fake_field_get(f->d, "lowest", 0), ==, 3);
}

static void test_special_mask(Fixture *f, gconstpointer data)
{
    line(f, 1, true);
    g_assert_cmphex(ack(f), ==, 0x21);
    line(f, 6, true);
    g_assert_false(intr(f));
    out(f, "master", 1, 0x02);
    g_assert_false(intr(f));
    out(f, "master", 0, 0x68);
    g_assert_true(intr(f)); /* lower ones pass while 1 is masked */
    g_assert_cmphex(ack(f), ==, 0x26);
    out(f, "master", 0, 0x20); /* not the masked one */
    g_assert_cmphex(isr(f, "master"), ==, 0x02);
    out(f, "master", 0, 0x20);
    g_assert_cmphex(isr(f, "master"), ==, 0x02);
    out(f, "master", 0, 0x48);
    out(f, "master", 0, 0x20);
    g_assert_cmphex(isr(f, "master"), ==, 0);
}

static void test_poll(Fixture *f, gconstpointer data)
{
    out(f, "master", 0, 0x0c);
    g_assert_cmphex(in(f, "master", 0), ==, 0);
    line(f, 13, true);
    out(f, "master", 0, 0x0c);
    g_assert_cmphex(in(f, "master", 0), ==, 0x82);
    g_assert_cmphex(isr(f, "master"), ==, 0x04);
    out(f, "slave", 0, 0x0c);
    g_assert_cmphex(in(f, "slave", 1), ==, 0x85);
    g_assert_cmphex(isr(f, "slave"), ==, 0x20);
    g_assert_false(intr(f));
    g_assert_cmphex(in(f, "slave", 1), ==, 0x00); /* IMR again */
}

static void test_describe(Fixture *f, gconstpointer data)
{
    const VmrDescription *d = fake_description(f->d);
    g_assert_cmpstr(vmr_fact_string(d, "acpi-hid"), ==, "PNP0000");
    g_assert_cmpstr(vmr_fact_string(d, "interrupt-controller"), ==, "x86-8259");
    g_assert_cmpuint(d->line_count, ==, 1);
}

static void test_fuzz(Fixture *f, gconstpointer data)
{
    static const char *const regions[] = {"master", "slave", "elcr"};
    VmrDevice *other = fake_device_new(f->h, "i8259", "pic1", NULL);
    for (unsigned i = 0; i < 20000; i++) {
        const char *region = regions[fake_random(f->h, 3)];
        switch (fake_random(f->h, 4)) {
        case 0:
            line(f, fake_random(f->h, 16), fake_random(f->h, 2));
            break;
        case 1:
            fake_read(f->d, region, fake_random(f->h, 2), 1);
            break;
        case 2:
            g_assert_cmpint(ack(f), <, 256);
            break;
        default:
            out(f, region, fake_random(f->h, 2), fake_random(f->h, 256));
        }
        if (i % 50 == 0) {
            fake_save_load(f->d, other);
            g_assert_cmpuint(fake_irq_level(other, "irq", 0), ==, intr(f));
        }
        if (i % 500 == 0)
            init(f, 0x11, 0x01);
    }
    fake_field_set(f->d, "lowest", 1, 255);
    fake_field_set(f->d, "expect", 0, 77);
    g_assert_true(fake_post_load(f->d, NULL));
    line(f, 9, true);
    ack(f);
    out(f, "master", 1, 0);
    fake_reset(f->h, VMR_RESET_COLD);
    g_assert_false(intr(f));
}

#define CASE(name_, fn_)                                                                           \
    g_test_add("/i8259/" name_, Fixture, NULL, set_up, fn_, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    CASE("basic", test_basic);
    CASE("mask", test_mask);
    CASE("cascade", test_cascade);
    CASE("fully-nested", test_fully_nested);
    CASE("spurious", test_spurious);
    CASE("level", test_level);
    CASE("icw1-resets", test_icw1_resets);
    CASE("rotation", test_rotation);
    CASE("aeoi", test_aeoi);
    CASE("special-mask", test_special_mask);
    CASE("poll", test_poll);
    CASE("describe", test_describe);
    CASE("fuzz", test_fuzz);
    return g_test_run();
}
