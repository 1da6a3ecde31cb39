/* tests/unit/test-pvpanic.c - panic notification. */
#include "fakehost.h"

static void test_events(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "pvpanic", "p", "port=0x505");
    VmrRequest request;
    uint32_t code;

    fake_reset(h, VMR_RESET_COLD);
    g_assert_cmphex(fake_read(d, "port", 0, 1), ==, 0x03);
    fake_write(d, "port", 0, 0x02, 1); /* a crash kernel takes over: goes on */
    g_assert_false(fake_last_request(h, &request, &code));
    g_assert_cmpuint(fake_guest_errors(d), ==, 0);
    fake_write(d, "port", 0, 0x80, 1);
    g_assert_false(fake_last_request(h, &request, &code));
    g_assert_cmpuint(fake_guest_errors(d), ==, 1);
    fake_write(d, "port", 0, 0x01, 1);
    g_assert_true(fake_last_request(h, &request, &code));
    g_assert_cmpint(request, ==, VMR_REQUEST_CRASHED);
    fake_host_free(h);
}

static void test_mask(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "pvpanic", "p", "events=2");

    fake_reset(h, VMR_RESET_COLD);
    g_assert_cmphex(fake_read(d, "port", 0, 1), ==, 0x02);
    fake_write(d, "port", 0, 0x01, 1); /* not offered */
    g_assert_false(fake_last_request(h, NULL, NULL));
    g_assert_cmpuint(fake_guest_errors(d), ==, 1);
    fake_host_free(h);
}

static void test_describe(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "pvpanic", "p", "port=0x505");

    g_assert_cmpstr(vmr_fact_string(fake_description(d), "acpi-hid"), ==, "QEMU0001");
    fake_host_free(h);
}

static void test_fuzz(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "pvpanic", "p", "");

    fake_reset(h, VMR_RESET_COLD);
    for (unsigned i = 0; i < 1000; i++) {
        fake_write(d, "port", 0, fake_random(h, 256), 1);
        g_assert_cmphex(fake_read(d, "port", 0, 1), ==, 0x03);
    }
    fake_host_free(h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pvpanic/events", test_events);
    g_test_add_func("/pvpanic/mask", test_mask);
    g_test_add_func("/pvpanic/describe", test_describe);
    g_test_add_func("/pvpanic/fuzz", test_fuzz);
    return g_test_run();
}
