/* tests/unit/test-serial16550.c - the UART, case by case after the PC16550D data sheet. */
#include "fakehost.h"

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *d;
} Fixture;

static void set_up(Fixture *f, gconstpointer properties)
{
    f->h = fake_host_new(0, 1);
    f->d = fake_device_new(f->h, "serial16550", "com1", properties ? properties : "chardev=fake");
    fake_reset(f->h, VMR_RESET_COLD);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    fake_host_free(f->h);
}

static uint8_t in(Fixture *f, unsigned reg)
{
    return fake_read(f->d, "regs", reg, 1);
}

static void out(Fixture *f, unsigned reg, uint8_t value)
{
    fake_write(f->d, "regs", reg, value, 1);
}

static bool irq(Fixture *f)
{
    return fake_irq_level(f->d, "irq", 0);
}

static void test_reset_values(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(in(f, 1), ==, 0);
    g_assert_cmphex(in(f, 2), ==, 0x01);
    g_assert_cmphex(in(f, 3), ==, 0);
    g_assert_cmphex(in(f, 4), ==, 0);
    g_assert_cmphex(in(f, 5), ==, 0x60);
    g_assert_cmphex(in(f, 6), ==, 0xb0);
    g_assert_false(irq(f));
    out(f, 7, 0x5a);
    out(f, 3, 0x83);
    out(f, 0, 1);
    out(f, 1, 2);
    g_assert_cmphex(in(f, 0), ==, 1);
    g_assert_cmphex(in(f, 1), ==, 2);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_cmphex(in(f, 3), ==, 0);
    g_assert_cmphex(in(f, 7), ==, 0x5a);
}

static void test_transmit(Fixture *f, gconstpointer data)
{
    for (const char *p = "hello"; *p; p++) {
        g_assert_cmphex(in(f, 5) & 0x60, ==, 0x60);
        out(f, 0, *p);
    }
    g_assert_cmpstr(fake_chardev_output(f->d)->str, ==, "hello");
    /* a full back end: 16 wait in the FIFO, THRE tells, and nothing is lost */
    out(f, 2, 0x01);
    out(f, 1, 0x02);
    g_assert_cmphex(in(f, 2), ==, 0xc2);
    fake_chardev_limit(f->d, 3);
    for (unsigned i = 0; i < 19; i++)
        out(f, 0, 'a' + i);
    g_assert_cmphex(in(f, 5) & 0x60, ==, 0);
    g_assert_false(irq(f));
    out(f, 0, '!');
    g_assert_cmpuint(fake_guest_errors(f->d), ==, 1);
    fake_chardev_limit(f->d, 10);
    g_assert_cmphex(in(f, 5) & 0x60, ==, 0);
    fake_chardev_limit(f->d, G_MAXUINT);
    g_assert_cmphex(in(f, 5) & 0x60, ==, 0x60);
    g_assert_true(irq(f));
    g_assert_cmpstr(fake_chardev_output(f->d)->str, ==, "helloabcdefghijklmnopqrs");
}

static void test_thre_interrupt(Fixture *f, gconstpointer data)
{
    out(f, 1, 0x02); /* empty when enabled: at once */
    g_assert_true(irq(f));
    g_assert_cmphex(in(f, 2), ==, 0x02);
    g_assert_false(irq(f)); /* reading IIR cleared it */
    g_assert_cmphex(in(f, 2), ==, 0x01);
    out(f, 0, 'x'); /* goes out, empty again */
    g_assert_true(irq(f));
    out(f, 1, 0x00);
    g_assert_false(irq(f));
    in(f, 2); /* not the source: stays */
    out(f, 1, 0x02);
    g_assert_true(irq(f));
    /* a higher source hides it, and reading IIR then does not clear it */
    out(f, 1, 0x03);
    fake_chardev_input(f->d, "y", 1);
    g_assert_cmphex(in(f, 2), ==, 0x04);
    g_assert_cmphex(in(f, 0), ==, 'y');
    g_assert_cmphex(in(f, 2), ==, 0x02);
}

static void test_receive_fifo(Fixture *f, gconstpointer data)
{
    out(f, 3, 0x83);
    out(f, 0, 1); /* 115200: 10 bits of 8680 ns */
    out(f, 3, 0x03);
    out(f, 2, 0x81); /* trigger 8 */
    out(f, 1, 0x05);
    fake_chardev_input(f->d, "1234567", 7);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 5), ==, 0x61);
    fake_chardev_input(f->d, "8", 1);
    g_assert_true(irq(f));
    g_assert_cmphex(in(f, 2), ==, 0xc4);
    g_assert_cmphex(in(f, 0), ==, '1');
    g_assert_false(irq(f));
    /* the rest by the time-out, four characters after the last access */
    fake_advance(f->h, 340000);
    g_assert_false(irq(f));
    fake_advance(f->h, 10000);
    g_assert_true(irq(f));
    g_assert_cmphex(in(f, 2), ==, 0xcc);
    g_assert_cmphex(in(f, 2), ==, 0xcc);
    g_assert_cmphex(in(f, 0), ==, '2');
    g_assert_false(irq(f));
    for (char c = '3'; c <= '8'; c++)
        g_assert_cmphex(in(f, 0), ==, c);
    g_assert_cmphex(in(f, 5), ==, 0x60);
    fake_advance(f->h, 1000000);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 0), ==, '8'); /* empty: the last one */
}

static void test_receive_flow(Fixture *f, gconstpointer data)
{
    char text[40];
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = 'A' + i;
    fake_chardev_input(f->d, text, sizeof(text)); /* no FIFO: one at a time */
    g_assert_cmphex(in(f, 5), ==, 0x61);
    g_assert_cmphex(in(f, 0), ==, 'A');
    g_assert_cmphex(in(f, 0), ==, 'B');
    out(f, 2, 0x01); /* throws away the character in RBR, then the FIFO fills */
    for (unsigned i = 3; i < sizeof(text); i++)
        g_assert_cmphex(in(f, 0), ==, 'A' + i);
    g_assert_cmphex(in(f, 5), ==, 0x60);
}

static void test_fcr(Fixture *f, gconstpointer data)
{
    out(f, 2, 0xc0); /* bit 0 clear: the others are not written */
    g_assert_cmphex(in(f, 2), ==, 0x01);
    out(f, 2, 0xc1);
    out(f, 1, 0x01);
    fake_chardev_input(f->d, "abc", 3);
    out(f, 2, 0xc3);
    g_assert_cmphex(in(f, 5), ==, 0x60);
    fake_chardev_input(f->d, "0123456789abcd", 14);
    g_assert_true(irq(f));
    out(f, 2, 0x00);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 2), ==, 0x01);
}

static void test_break(Fixture *f, gconstpointer data)
{
    out(f, 2, 0x41);
    out(f, 1, 0x05);
    fake_chardev_input(f->d, "a", 1);
    fake_chardev_event(f->d, VMR_CHARDEV_BREAK);
    g_assert_cmphex(in(f, 5), ==, 0xe1); /* an error in the FIFO, not at its top */
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 0), ==, 'a');
    g_assert_true(irq(f));
    g_assert_cmphex(in(f, 2), ==, 0xc6);
    g_assert_cmphex(in(f, 5), ==, 0xf9); /* BI, FE and bit 7; reading clears them */
    g_assert_cmphex(in(f, 5), ==, 0x61);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 0), ==, 0);
}

static void test_loopback(Fixture *f, gconstpointer data)
{
    out(f, 4, 0x1a); /* Linux: RTS and OUT2 come back as CTS and DCD */
    g_assert_cmphex(in(f, 6) & 0xf0, ==, 0x90);
    out(f, 4, 0x14);
    in(f, 6);
    g_assert_cmphex(in(f, 6), ==, 0x40);
    out(f, 1, 0x08);
    out(f, 4, 0x10); /* RI ends: TERI */
    g_assert_true(irq(f));
    g_assert_cmphex(in(f, 2), ==, 0x00);
    g_assert_cmphex(in(f, 6), ==, 0x04);
    g_assert_false(irq(f));
    out(f, 4, 0x14); /* RI begins: no TERI */
    g_assert_false(irq(f));
    out(f, 1, 0x05);
    out(f, 0, 'p');
    g_assert_cmphex(in(f, 5), ==, 0x61);
    out(f, 0, 'q'); /* no FIFO: the new one wins, OE */
    g_assert_cmphex(in(f, 2), ==, 0x06);
    g_assert_cmphex(in(f, 5), ==, 0x63);
    g_assert_cmphex(in(f, 5), ==, 0x61);
    g_assert_cmphex(in(f, 0), ==, 'q');
    g_assert_cmpuint(fake_chardev_output(f->d)->len, ==, 0);
    out(f, 2, 0x01);
    for (unsigned i = 0; i < 17; i++)
        out(f, 0, i);
    g_assert_cmphex(in(f, 5), ==, 0x63);
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmphex(in(f, 0), ==, i);
    g_assert_cmphex(in(f, 5), ==, 0x60);
    /* the line is cut meanwhile */
    fake_chardev_input(f->d, "z", 1);
    g_assert_cmphex(in(f, 5), ==, 0x60);
    out(f, 4, 0);
    g_assert_cmphex(in(f, 5), ==, 0x61);
    g_assert_cmphex(in(f, 0), ==, 'z');
}

static void test_out2(Fixture *f, gconstpointer data)
{
    out(f, 1, 0x02);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 2), ==, 0x02);
    out(f, 0, 'x');
    out(f, 4, 0x08);
    g_assert_true(irq(f));
    out(f, 4, 0x00);
    g_assert_false(irq(f));
}

static void test_shift(Fixture *f, gconstpointer data)
{
    fake_write(f->d, "regs", 7 << 2, 0x12345678, 4);
    g_assert_cmphex(fake_read(f->d, "regs", 7 << 2, 4), ==, 0x78);
    g_assert_cmphex(fake_read(f->d, "regs", (7 << 2) + 1, 1), ==, 0);
    g_assert_cmphex(fake_read(f->d, "regs", 5 << 2, 4), ==, 0x60);
    const VmrDescription *d = fake_description(f->d);
    g_assert_cmpstr(vmr_fact_string(d, "compatible"), ==, "ns16550a");
    g_assert_cmpuint(vmr_fact_number(d, "clock-frequency", 0), ==, 3686400);
    g_assert_cmpuint(vmr_fact_number(d, "reg-shift", 0), ==, 2);
    GError *error = NULL;
    g_assert_null(fake_device_try(f->h, "serial16550", "bad", "reg-shift=1;reg-width=4", &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_assert_null(fake_device_try(f->h, "serial16550", "bad", "clock-frequency=0", &error));
    g_clear_error(&error);
}

static void fuzz(Fixture *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        switch (fake_random(f->h, 12)) {
        case 0:
            fake_advance(f->h, fake_random(f->h, 1000000));
            break;
        case 1:
            fake_chardev_input(f->d, "0123456789", fake_random(f->h, 10));
            break;
        case 2:
            fake_chardev_limit(f->d, fake_random(f->h, 20));
            break;
        case 3:
            fake_chardev_event(f->d, VMR_CHARDEV_BREAK);
            break;
        case 4: case 5: case 6:
            fake_read(f->d, "regs", fake_random(f->h, 8), 1 << fake_random(f->h, 4));
            break;
        default:
            fake_write(f->d, "regs", fake_random(f->h, 8), fake_random(f->h, 0),
                       1 << fake_random(f->h, 4));
        }
        g_assert_cmpuint(fake_field_get(f->d, "rx_count", 0), <=, 16);
        g_assert_cmpuint(fake_field_get(f->d, "tx_count", 0), <=, 16);
    }
}

static void test_fuzz(Fixture *f, gconstpointer data)
{
    VmrDevice *other = fake_device_new(f->h, "serial16550", "com2", "chardev=fake");
    fake_reset(f->h, VMR_RESET_COLD);
    for (unsigned i = 0; i < 100; i++) {
        fuzz(f, 200);
        fake_save_load(f->d, other);
        g_assert_cmpuint(fake_irq_level(other, "irq", 0), ==, irq(f));
    }
    fake_reset(f->h, VMR_RESET_COLD);
    g_assert_cmphex(in(f, 2), ==, 0x01);
    g_assert_false(irq(f));
}

static void test_hostile_state(Fixture *f, gconstpointer data)
{
    fake_field_set(f->d, "rx_head", 0, 255);
    fake_field_set(f->d, "rx_count", 0, 200);
    fake_field_set(f->d, "tx_head", 0, 99);
    fake_field_set(f->d, "tx_count", 0, 255);
    fake_field_set(f->d, "fcr", 0, 0xff);
    g_assert_true(fake_post_load(f->d, NULL));
    fuzz(f, 2000);
}

static void test_save_load(Fixture *f, gconstpointer data)
{
    out(f, 2, 0x81);
    out(f, 1, 0x01);
    fake_chardev_input(f->d, "abc", 3);
    FakeHost *h2 = fake_host_new(0, 1);
    Fixture g = {h2, fake_device_new(h2, "serial16550", "com1", "chardev=fake")};
    fake_reset(h2, VMR_RESET_COLD);
    fake_save_load(f->d, g.d);
    g_assert_false(irq(&g));
    fake_advance(h2, 100000000); /* the time-out moved along */
    g_assert_true(irq(&g));
    g_assert_cmphex(in(&g, 0), ==, 'a');
    g_assert_cmphex(in(&g, 0), ==, 'b');
    fake_host_free(h2);
}

#define CASE(name_, fn_, properties_)                                                              \
    g_test_add("/serial16550/" name_, Fixture, properties_, set_up, fn_, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    CASE("reset-values", test_reset_values, NULL);
    CASE("transmit", test_transmit, NULL);
    CASE("thre-interrupt", test_thre_interrupt, NULL);
    CASE("receive-fifo", test_receive_fifo, NULL);
    CASE("receive-flow", test_receive_flow, NULL);
    CASE("fcr", test_fcr, NULL);
    CASE("break", test_break, NULL);
    CASE("loopback", test_loopback, NULL);
    CASE("out2", test_out2, "chardev=fake;out2-gates-irq=on");
    CASE("shift", test_shift, "chardev=fake;reg-shift=2;reg-width=4;clock-frequency=3686400");
    CASE("save-load", test_save_load, NULL);
    CASE("hostile-state", test_hostile_state, NULL);
    CASE("fuzz", test_fuzz, NULL);
    return g_test_run();
}
