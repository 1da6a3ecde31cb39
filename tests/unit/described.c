/*
 * described - a test plugin: a device that describes what its properties say, for tests of the
 * writers of firmware tables.  It has no registers.
 */
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

typedef struct Described {
    VmrDevice dev;
    const char *hid, *hid2, *cid, *timer_block, *controller;
    uint64_t uid;
    bool level;
    VmrIrq irq[4];
} Described;

static void described_describe(VmrDevice *dev, VmrDescription *d)
{
    Described *s = (Described *)dev;

    if (s->hid)
        vmr_describe_string(d, "acpi-hid", s->hid);
    if (s->hid2)
        vmr_describe_string(d, "acpi-hid", s->hid2);
    if (s->cid)
        vmr_describe_string(d, "acpi-cid", s->cid);
    if (s->uid)
        vmr_describe_number(d, "acpi-uid", s->uid);
    if (s->level)
        vmr_describe_number(d, "irq-level", 1);
    if (s->timer_block) {
        vmr_describe_string(d, "timer-block", s->timer_block);
        vmr_describe_number(d, "hpet-id", 0x8086a201);
    }
    if (s->controller)
        vmr_describe_string(d, "interrupt-controller", s->controller);
}

static const VmrProperty described_properties[] = {
    {.name = "hid", .type = VMR_PROP_STRING, .offset = offsetof(Described, hid)},
    {.name = "hid2", .type = VMR_PROP_STRING, .offset = offsetof(Described, hid2)},
    {.name = "cid", .type = VMR_PROP_STRING, .offset = offsetof(Described, cid)},
    {.name = "uid", .type = VMR_PROP_U64, .offset = offsetof(Described, uid)},
    {.name = "level", .type = VMR_PROP_BOOL, .offset = offsetof(Described, level)},
    {.name = "timer-block", .type = VMR_PROP_STRING, .offset = offsetof(Described, timer_block)},
    {.name = "controller", .type = VMR_PROP_STRING, .offset = offsetof(Described, controller)},
    {0},
};

static const VmrRegion described_regions[] = {
    {.name = "first", .kind = VMR_REGION_PIO, .flags = VMR_REGION_OPTIONAL, .size = 1},
    {.name = "second", .kind = VMR_REGION_PIO, .flags = VMR_REGION_OPTIONAL, .size = 2},
    {.name = "large", .kind = VMR_REGION_PIO, .flags = VMR_REGION_OPTIONAL, .size = 0x400},
    {.name = "memory", .kind = VMR_REGION_MMIO, .flags = VMR_REGION_OPTIONAL, .size = 0x1000},
    {0},
};

static const VmrLine described_lines[] = {
    {.name = "irq", .direction = VMR_LINE_OUT, .count = 4, .offset = offsetof(Described, irq)},
    {0},
};

static const VmrDeviceClass described_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "described",
    .summary = "describes what its properties say",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(Described),
    .properties = described_properties,
    .regions = described_regions,
    .lines = described_lines,
    .describe = described_describe,
};

VMR_PLUGIN_DEVICE("described", "1.0", &described_class);
