/*
 * pvpanic - by which a guest kernel says that it has panicked.
 *
 * The paravirtual panic device in its ISA form: one port, found by guests through
 * ACPI as QEMU0001.  Reading gives the events that it understands, writing
 * reports one.  Leaves out the PCI form and the orderly-shutdown event (bit 2).
 */
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

enum {
    PANICKED = 1 << 0,     /* the guest is dead */
    CRASH_LOADED = 1 << 1, /* the guest panicked, and now runs its own crash kernel */
};

typedef struct PvPanic {
    VmrDevice dev;
    uint32_t events; /* property: which are offered */
} PvPanic;

static uint64_t port_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ((PvPanic *)dev)->events;
}

static void port_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    PvPanic *p = (PvPanic *)dev;

    if (value & ~(uint64_t)p->events)
        vmr_guest_error(dev, "event 0x%02x is not offered", (unsigned)value);
    value &= p->events;
    if (value & PANICKED) {
        vmr_log(dev, VMR_LOG_INFO, "the guest panicked");
        vmr_request(dev, VMR_REQUEST_CRASHED, 0);
    } else if (value & CRASH_LOADED) {
        vmr_log(dev, VMR_LOG_INFO, "the guest panicked and starts its crash kernel");
    }
}

static void pvpanic_describe(VmrDevice *dev, VmrDescription *d)
{
    vmr_describe_string(d, "acpi-hid", "QEMU0001");
    vmr_describe_string(d, "compatible", "qemu,pvpanic-mmio");
}

static const VmrProperty pvpanic_properties[] = {
    {
        .name = "events",
        .type = VMR_PROP_U32,
        .offset = offsetof(PvPanic, events),
        .default_text = "3",
        .max = PANICKED | CRASH_LOADED,
        .doc = "what the guest may report: bit 0 panicked, bit 1 crash kernel loaded",
    },
    {0},
};

static const VmrRegion pvpanic_regions[] = {
    {
        .name = "port",
        .kind = VMR_REGION_PIO,
        .size = 1,
        .impl_min = 1,
        .impl_max = 1,
        .read = port_read,
        .write = port_write,
        .doc = "read: the events offered; write: an event",
    },
    {0},
};

static const VmrDeviceClass pvpanic_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "pvpanic",
    .summary = "panic notification from the guest's kernel",
    .doc = "At I/O port 0x505 of a PC. A guest that reports a panic ends vmrun with exit status\n"
           "3; one that says that it starts its crash kernel is only logged.",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(PvPanic),
    .properties = pvpanic_properties,
    .regions = pvpanic_regions,
    .describe = pvpanic_describe,
};

VMR_PLUGIN_DEVICE("pvpanic", "1.0", &pvpanic_class);
