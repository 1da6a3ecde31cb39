/* tests/unit/test-port92.c - system control port A. */
#include "fakehost.h"

static void test_a20(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "port92", "p", "a20-at-reset=off");

    fake_reset(h, VMR_RESET_COLD);
    g_assert_false(fake_irq_level(d, "a20", 0));
    fake_write(d, "port", 0, 0x02, 1);
    g_assert_true(fake_irq_level(d, "a20", 0));
    g_assert_cmphex(fake_read(d, "port", 0, 1), ==, 0x02);
    fake_write(d, "port", 0, 0x00, 1);
    g_assert_false(fake_irq_level(d, "a20", 0));
    g_assert_cmpuint(fake_irq_edges(d, "reset", 0), ==, 0);
    fake_host_free(h);

    h = fake_host_new(0, 1);
    d = fake_device_new(h, "port92", "p", "");
    fake_reset(h, VMR_RESET_COLD);
    g_assert_true(fake_irq_level(d, "a20", 0));
    fake_write(d, "port", 0, 0x00, 1);
    g_assert_false(fake_irq_level(d, "a20", 0));
    fake_reset(h, VMR_RESET_WARM);
    g_assert_true(fake_irq_level(d, "a20", 0));
    fake_host_free(h);
}

static void test_fast_reset(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "port92", "p", "");

    fake_reset(h, VMR_RESET_COLD);
    fake_write(d, "port", 0, 0x03, 1);
    g_assert_cmpuint(fake_irq_edges(d, "reset", 0), ==, 1);
    g_assert_false(fake_irq_level(d, "reset", 0)); /* a pulse */
    fake_write(d, "port", 0, 0x03, 1);             /* no edge: no second one */
    g_assert_cmpuint(fake_irq_edges(d, "reset", 0), ==, 1);
    fake_write(d, "port", 0, 0x02, 1);
    fake_write(d, "port", 0, 0x03, 1);
    g_assert_cmpuint(fake_irq_edges(d, "reset", 0), ==, 2);
    fake_reset(h, VMR_RESET_WARM);
    g_assert_cmphex(fake_read(d, "port", 0, 1), ==, 0x02);
    fake_host_free(h);
}

static void test_save_load(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *a = fake_device_new(h, "port92", "a", "");
    VmrDevice *b = fake_device_new(h, "port92", "b", "");

    fake_reset(h, VMR_RESET_COLD);
    fake_write(a, "port", 0, 0x08, 1);
    fake_save_load(a, b);
    g_assert_cmphex(fake_read(b, "port", 0, 1), ==, 0x08);
    g_assert_false(fake_irq_level(b, "a20", 0));
    fake_field_set(b, "value", 0, 0xff);
    g_assert_true(fake_post_load(b, NULL));
    g_assert_cmphex(fake_read(b, "port", 0, 1), ==, 0x0b);
    fake_host_free(h);
}

static void test_fuzz(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "port92", "p", "");
    unsigned resets = 0;
    bool init = false;

    fake_reset(h, VMR_RESET_COLD);
    for (unsigned i = 0; i < 10000; i++) {
        uint8_t value = fake_random(h, 256);
        resets += (value & 1) && !init;
        init = value & 1;
        fake_write(d, "port", 0, value, 1);
        g_assert_cmphex(fake_read(d, "port", 0, 1), ==, value & 0x0b);
        g_assert_cmpint(fake_irq_level(d, "a20", 0), ==, !!(value & 2));
        g_assert_cmpuint(fake_irq_edges(d, "reset", 0), ==, resets);
    }
    fake_host_free(h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/port92/a20", test_a20);
    g_test_add_func("/port92/fast-reset", test_fast_reset);
    g_test_add_func("/port92/save-load", test_save_load);
    g_test_add_func("/port92/fuzz", test_fuzz);
    return g_test_run();
}
