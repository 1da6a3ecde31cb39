/* tests/unit/test-pc-gsi.c - where each interrupt source of a PC leads to. */
#include "fakehost.h"

static void test_routes(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "pc-gsi", "isa", NULL);

    fake_reset(h, VMR_RESET_COLD);
    for (unsigned n = 0; n < 24; n++) {
        int pin = n == 0 ? 2 : n == 2 ? -1 : (int)n;

        fake_line_set(d, "in", n, true);
        for (unsigned i = 0; i < 16; i++)
            g_assert_cmpint(fake_irq_level(d, "pic", i), ==, i == n);
        for (int i = 0; i < 24; i++)
            g_assert_cmpint(fake_irq_level(d, "ioapic", i), ==, i == pin);
        fake_line_set(d, "in", n, false);
        for (unsigned i = 0; i < 24; i++)
            g_assert_false(fake_irq_level(d, "ioapic", i));
    }
    fake_host_free(h);
}

static void test_describe(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *dev = fake_device_new(h, "pc-gsi", "isa", NULL);
    const VmrDescription *d = fake_description(dev);

    g_assert_cmpstr(vmr_fact_string(d, "interrupt-controller"), ==, "x86-gsi");
    g_assert_cmpuint(vmr_fact_number(d, "gsi-base", 99), ==, 0);
    g_assert_cmpuint(vmr_fact_number(d, "gsi-count", 99), ==, 24);
    const VmrFact *f = vmr_fact(d, "gsi-override");
    g_assert_nonnull(f);
    g_assert_cmpuint(f->count, ==, 2);
    g_assert_cmpuint(f->numbers[0], ==, 0);
    g_assert_cmpuint(f->numbers[1], ==, 2);
    fake_host_free(h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pc-gsi/routes", test_routes);
    g_test_add_func("/pc-gsi/describe", test_describe);
    return g_test_run();
}
