/*
 * tests/plugin/test-faulty.c - a plugin whose tables are wrong: all of it is told at once.
 */
#include <vmrun/host.h>
#include <vmrun/plugin.h>

typedef struct Faulty {
    VmrDevice dev;
    uint32_t number;
} Faulty;

static const VmrProperty properties[] = {
    {.name = "Number", .type = VMR_PROP_U32, .offset = offsetof(Faulty, number), .doc = "x"},
    {.name = "far", .type = VMR_PROP_U32, .offset = 4096, .doc = "x"},
    {0},
};

static const VmrDeviceClass no_size_class = {
    .id = "test-no-size",
    .summary = "nothing",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(VmrDevice),
};

static const VmrDeviceClass wrong_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "test-wrong",
    .summary = "nothing",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(Faulty),
    .properties = properties,
};

static const VmrDeviceClass once_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "test-once",
    .summary = "nothing",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(VmrDevice),
};

static const VmrFactory no_id = {NULL, &once_class};
static const VmrFactory no_size = {VMR_FACTORY_DEVICE, &no_size_class};
static const VmrFactory wrong = {VMR_FACTORY_DEVICE, &wrong_class};
static const VmrFactory once = {VMR_FACTORY_DEVICE, &once_class};
static const VmrFactory unknown = {"vmr.unknown/7", &once_class};
static const VmrFactory *const factories[] = {&no_id, &no_size, &wrong, &once,
                                              &once,  &unknown, NULL};

VMR_PLUGIN_DEFINE_("test-faulty", "1.0", factories);
