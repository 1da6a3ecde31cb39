/* core/ram.c: one sparse file, handed out in pages. */
#include "core/fabric.h"
#include <string.h>

static void test_take(void)
{
    VmrRam ram;
    GError *error = NULL;
    g_assert_true(vmr_ram_init(&ram, 10000, &error));
    g_assert_cmpuint(ram.size, ==, 12288);
    g_assert_cmpuint(vmr_ram_take(&ram, 1), ==, 0);
    g_assert_cmpuint(vmr_ram_take(&ram, 4096), ==, 4096);
    g_assert_cmpuint(vmr_ram_take(&ram, 4097), ==, UINT64_MAX);
    g_assert_cmpuint(vmr_ram_take(&ram, UINT64_MAX), ==, UINT64_MAX);
    g_assert_cmpuint(vmr_ram_take(&ram, 0), ==, UINT64_MAX);
    g_assert_cmpuint(vmr_ram_take(&ram, 4096), ==, 8192);
    g_assert_cmpuint(vmr_ram_take(&ram, 1), ==, UINT64_MAX);
    ram.base[12287] = 0x5a;
    g_assert_cmpuint(ram.base[0], ==, 0);
    vmr_ram_destroy(&ram);
}

static void test_large(void)
{
    /* More than this machine has: only touched pages count. */
    VmrRam ram;
    GError *error = NULL;
    g_assert_true(vmr_ram_init(&ram, (uint64_t)1 << 40, &error));
    g_assert_no_error(error);
    ram.base[((uint64_t)1 << 40) - 1] = 1;
    vmr_ram_destroy(&ram);
    g_assert_false(vmr_ram_init(&ram, UINT64_MAX, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    vmr_ram_destroy(&ram);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ram/take", test_take);
    g_test_add_func("/ram/large", test_large);
    return g_test_run();
}
