/*
 * tests/plugin/test-good.c - a plugin without fault, whose constructor leaves a trace:
 * a copy that the loader refuses must not have run it.
 */
#include <stdlib.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

__attribute__((constructor)) static void constructed(void)
{
    setenv("VMRUN_TEST_CONSTRUCTED", "1", 1);
}

static const VmrDeviceClass good_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "test-good",
    .summary = "nothing",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(VmrDevice),
};

VMR_PLUGIN_DEVICE("test-good", "1.0", &good_class);
