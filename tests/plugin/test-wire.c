/*
 * tests/plugin/test-wire.c - devices with one of everything, for the tests of the machine builder.
 */
#include <vmrun/host.h>
#include <vmrun/plugin.h>

#define TEST_BUS "test.bus/1"

typedef struct Chip {
    VmrDevice dev;
    uint32_t number, mode;
    bool fail, late_fail;
    uint64_t room;
    const char *text, *file;
    VmrLink bus;
    VmrChardev *chardev;
    VmrIrq irq;
    VmrIrq out[4];
    uint32_t inputs; /* levels of `in` */
    bool ping;
} Chip;

static void in_changed(VmrDevice *dev, unsigned n, bool level)
{
    Chip *c = (Chip *)dev;
    c->inputs = level ? c->inputs | 1u << n : c->inputs & ~(1u << n);
}

static void ping_changed(VmrDevice *dev, unsigned n, bool level)
{
    ((Chip *)dev)->ping = level;
}

static bool chip_realize(VmrDevice *dev, GError **error)
{
    Chip *c = (Chip *)dev;
    if (c->fail) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "told to fail");
        return false;
    }
    return true;
}

static uint64_t regs_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ((Chip *)dev)->inputs;
}

/* Writing n pulses output n; 4 is irq. */
static void regs_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Chip *c = (Chip *)dev;
    vmr_irq_set(dev, value < 4 ? c->out[value] : c->irq, offset != 0);
}

static void chip_describe(VmrDevice *dev, VmrDescription *d)
{
}

static const void *bus_interface(VmrDevice *dev, const char *id)
{
    static const uint32_t table[] = {sizeof(uint32_t)};
    return g_str_equal(id, TEST_BUS) ? table : NULL;
}

static const char *const modes[] = {"slow", "fast", NULL};

static const VmrProperty properties[] = {
    {.name = "number", .type = VMR_PROP_U32, .offset = offsetof(Chip, number), .default_text = "3",
     .min = 1, .max = 9, .unit = "Hz", .doc = "A number"},
    {.name = "mode", .type = VMR_PROP_ENUM, .offset = offsetof(Chip, mode), .default_text = "fast",
     .names = modes, .doc = "How fast"},
    {.name = "fail", .type = VMR_PROP_BOOL, .offset = offsetof(Chip, fail),
     .doc = "Fail to realize"},
    {.name = "room", .type = VMR_PROP_SIZE, .offset = offsetof(Chip, room), .default_text = "4K",
     .unit = "bytes", .doc = "Size of the window"},
    {.name = "text", .type = VMR_PROP_STRING, .offset = offsetof(Chip, text), .doc = "A text"},
    {.name = "file", .type = VMR_PROP_PATH, .offset = offsetof(Chip, file), .doc = "A file"},
    {.name = "bus", .type = VMR_PROP_LINK, .flags = VMR_PROP_REQUIRED,
     .offset = offsetof(Chip, bus),
     .interface = TEST_BUS, .doc = "The bus it sits on"},
    {.name = "chardev", .type = VMR_PROP_CHARDEV, .offset = offsetof(Chip, chardev),
     .doc = "Where it talks to"},
    {0},
};

static const VmrRegion regions[] = {
    {.name = "regs", .kind = VMR_REGION_PIO, .size = 8, .read = regs_read, .write = regs_write,
     .doc = "Registers"},
    {.name = "window", .kind = VMR_REGION_MMIO, .flags = VMR_REGION_OPTIONAL,
     .size_offset = offsetof(Chip, room), .read = regs_read, .doc = "A window"},
    {.name = "ram", .kind = VMR_REGION_RAM, .flags = VMR_REGION_OPTIONAL, .size = 8192,
     .doc = "Memory of its own"},
    {0},
};

static const VmrLine lines[] = {
    {.name = "irq", .direction = VMR_LINE_OUT, .count = 1, .offset = offsetof(Chip, irq),
     .doc = "Interrupt"},
    {.name = "out", .direction = VMR_LINE_OUT, .count = 4, .offset = offsetof(Chip, out),
     .doc = "Outputs"},
    {.name = "in", .direction = VMR_LINE_IN, .count = 8, .changed = in_changed, .doc = "Inputs"},
    {.name = "ping", .direction = VMR_LINE_IN, .count = 1, .changed = ping_changed,
     .doc = "Another"},
    {0},
};

static const VmrField fields[] = {
    VMR_FIELD(U32, Chip, inputs),
    {0},
};

static const VmrDeviceClass chip_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "test-chip",
    .summary = "one of everything",
    .doc = "A first paragraph.\n\nA second one.",
    .instance_size = sizeof(Chip),
    .properties = properties,
    .regions = regions,
    .lines = lines,
    .fields = fields,
    .realize = chip_realize,
    .describe = chip_describe,
};

typedef struct Bus {
    VmrDevice dev;
    VmrLink parent;
} Bus;

static const VmrProperty bus_properties[] = {
    {.name = "parent", .type = VMR_PROP_LINK, .offset = offsetof(Bus, parent),
     .interface = TEST_BUS,
     .doc = "The bus above"},
    {0},
};

static const VmrDeviceClass bus_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "test-bus",
    .summary = "offers test.bus/1",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(Bus),
    .properties = bus_properties,
    .get_interface = bus_interface,
};

VMR_PLUGIN_DEVICES2("test-wire", "1.0", &chip_class, &bus_class);
