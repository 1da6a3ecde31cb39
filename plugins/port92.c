/*
 * port92 - system control port A of PS/2 and later PCs, I/O port 0x92.
 *
 * After the register of that name in Intel's I/O controller hub datasheets and
 * the IBM PS/2 hardware reference: INIT_NOW (bit 0) and ALT_A20_GATE (bit 1).
 * The remaining bits (security lock, watchdog status, fixed-disk lights of the
 * PS/2) are plain storage: bits 2 and 4 to 7 read as zero, bit 3 is kept.
 */
#include <vmrun/host.h>
#include <vmrun/plugin.h>

enum {
    INIT_NOW = 1 << 0,     /* 0 -> 1: reset */
    ALT_A20_GATE = 1 << 1, /* 1: address line 20 is not masked */
    WRITABLE = 0x0b,
};

typedef struct Port92 {
    VmrDevice dev;
    bool a20_at_reset;
    uint8_t value;
    VmrIrq a20, reset;
} Port92;

static uint64_t port_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ((Port92 *)dev)->value;
}

static void port_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Port92 *p = (Port92 *)dev;
    uint8_t old = p->value;

    p->value = value & WRITABLE;
    vmr_irq_set(dev, p->a20, p->value & ALT_A20_GATE);
    if (!(old & INIT_NOW) && (p->value & INIT_NOW)) {
        /* A pulse: the machine's reset input looks at the rising edge. */
        vmr_irq_set(dev, p->reset, true);
        vmr_irq_set(dev, p->reset, false);
    }
}

static void port92_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Port92 *p = (Port92 *)dev;

    if (phase == VMR_RESET_ENTER) {
        p->value = p->a20_at_reset ? ALT_A20_GATE : 0;
    } else if (phase == VMR_RESET_HOLD) {
        vmr_irq_set(dev, p->reset, false);
        vmr_irq_set(dev, p->a20, p->value & ALT_A20_GATE);
    }
}

static bool port92_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Port92 *p = (Port92 *)dev;

    p->value &= WRITABLE;
    vmr_irq_set(dev, p->a20, p->value & ALT_A20_GATE);
    return true;
}

static const VmrProperty port92_properties[] = {
    {
        .name = "a20-at-reset",
        .type = VMR_PROP_BOOL,
        .offset = offsetof(Port92, a20_at_reset),
        .default_text = "on",
        .doc = "address line 20 is enabled from reset on, as a PC's firmware leaves it",
    },
    {0},
};

static const VmrRegion port92_regions[] = {
    {
        .name = "port",
        .kind = VMR_REGION_PIO,
        .size = 1,
        .impl_min = 1,
        .impl_max = 1,
        .read = port_read,
        .write = port_write,
        .doc = "bit 0: reset when it goes from 0 to 1; bit 1: address line 20 enabled",
    },
    {0},
};

static const VmrLine port92_lines[] = {
    {
        .name = "a20",
        .direction = VMR_LINE_OUT,
        .count = 1,
        .offset = offsetof(Port92, a20),
        .doc = "address line 20 enabled (machine:a20)",
    },
    {
        .name = "reset",
        .direction = VMR_LINE_OUT,
        .count = 1,
        .offset = offsetof(Port92, reset),
        .doc = "fast reset, a pulse (machine:reset)",
    },
    {0},
};

static const VmrField port92_fields[] = {
    VMR_FIELD(U8, Port92, value),
    {0},
};

static const VmrDeviceClass port92_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "port92",
    .summary = "system control port A: fast reset and A20 gate",
    .doc = "At I/O port 0x92 of a PC. With an i8042 in the same machine both drive machine:a20,\n"
           "and the line is enabled while either enables it, as on the mainboard.",
    .instance_size = sizeof(Port92),
    .properties = port92_properties,
    .regions = port92_regions,
    .lines = port92_lines,
    .fields = port92_fields,
    .reset = port92_reset,
    .post_load = port92_post_load,
};

VMR_PLUGIN_DEVICE("port92", "1.0", &port92_class);
