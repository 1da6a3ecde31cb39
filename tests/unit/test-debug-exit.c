/* tests/unit/test-debug-exit.c - the debug-exit port. */
#include "fakehost.h"

static void test_exit_status(void)
{
    static const struct {
        uint64_t offset, value;
        unsigned size;
        uint32_t code;
    } cases[] = {
        {0, 0, 1, 0},      {0, 7, 1, 7},     {0, 0xff, 1, 0xff}, {0, 0x1234, 2, 0x34},
        {0, 0x100, 4, 0},  {3, 9, 1, 9},     {2, 0x2105, 2, 5},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        FakeHost *h = fake_host_new(0, 1);
        VmrDevice *d = fake_device_new(h, "debug-exit", "exit0", "port=0x501");
        VmrRequest request;
        uint32_t code;

        fake_reset(h, VMR_RESET_COLD);
        g_assert_false(fake_last_request(h, &request, &code));
        fake_write(d, "port", cases[i].offset, cases[i].value, cases[i].size);
        g_assert_true(fake_last_request(h, &request, &code));
        g_assert_cmpint(request, ==, VMR_REQUEST_EXIT);
        g_assert_cmpuint(code, ==, cases[i].code);
        fake_host_free(h);
    }
}

static void test_reads(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(h, "debug-exit", "exit0", "");

    g_assert_cmphex(fake_read(d, "port", 0, 1), ==, 0xff);
    g_assert_cmphex(fake_read(d, "port", 0, 4), ==, 0xffffffff);
    g_assert_false(fake_last_request(h, NULL, NULL));
    fake_host_free(h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/debug-exit/exit-status", test_exit_status);
    g_test_add_func("/debug-exit/reads", test_reads);
    return g_test_run();
}
