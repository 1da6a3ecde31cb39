/*
 * pci-host - a PCI host bridge: configuration mechanism 1, ECAM, bus 0 and function 00:00.0.
 *
 * After PCI Local Bus 3.0, 3.2.2.3.2 (CONFIG_ADDRESS at I/O port 0xcf8, CONFIG_DATA at
 * 0xcfc) and the PCI Express base specification's enhanced configuration access
 * mechanism.  There may be no firmware, so that at a reset it gives the BARs of all
 * functions their places as well.
 *
 * Leaves out buses behind PCI-to-PCI bridges, extended configuration space (reads as
 * zeros), and error reporting.
 */
#include "bus.h"

#include <vmrun/describe.h>
#include <vmrun/plugin.h>

#define CONFIG_ENABLE 0x80000000u
#define NO_LINE 0xff

typedef struct PciHost {
    VmrDevice dev;
    /* properties */
    VmrLink msi;
    bool assign;
    uint32_t buses;
    uint64_t io_base, io_size, memory_base, memory_size, memory64_base, memory64_size;

    PciBus bus;
    VmrIrq intx[4];
    uint64_t ecam_size;
    uint32_t config_address;
    VmrPciState pci; /* of 00:00.0 */
} PciHost;

/* ---- configuration space ---------------------------------------------- */

static uint32_t config_read(PciHost *h, unsigned bus, unsigned devfn, unsigned offset,
                            unsigned size)
{
    return bus == 0 ? pci_bus_read(&h->bus, devfn, offset, size) : UINT32_MAX;
}

static void config_write(PciHost *h, unsigned bus, unsigned devfn, unsigned offset, uint32_t value,
                         unsigned size)
{
    if (bus == 0)
        pci_bus_write(&h->bus, devfn, offset, value, size);
}

static uint64_t address_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ((PciHost *)dev)->config_address;
}

static void address_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    ((PciHost *)dev)->config_address = (uint32_t)value & 0x80fffffc;
}

static uint64_t data_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    PciHost *h = (PciHost *)dev;
    uint32_t a = h->config_address;
    if (!(a & CONFIG_ENABLE))
        return UINT32_MAX;
    return config_read(h, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + (unsigned)offset, size);
}

static void data_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    PciHost *h = (PciHost *)dev;
    uint32_t a = h->config_address;
    if (a & CONFIG_ENABLE)
        config_write(h, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + (unsigned)offset,
                     (uint32_t)value, size);
}

static uint64_t ecam_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return config_read((PciHost *)dev, offset >> 20 & 0xff, offset >> 12 & 0xff, offset & 0xfff,
                       size);
}

static void ecam_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    config_write((PciHost *)dev, offset >> 20 & 0xff, offset >> 12 & 0xff, offset & 0xfff,
                 (uint32_t)value, size);
}

/* ---- what functions ask of the bus ------------------------------------ */

static bool host_attach(VmrDevice *bus, VmrDevice *function, const char *slot, GError **error)
{
    return pci_bus_attach(&((PciHost *)bus)->bus, function, slot, error);
}

static void host_detach(VmrDevice *bus, VmrDevice *function)
{
    pci_bus_detach(&((PciHost *)bus)->bus, function);
}

static void host_intx_set(VmrDevice *bus, VmrDevice *function, bool level)
{
    pci_bus_intx_set(&((PciHost *)bus)->bus, function, level);
}

static void host_msi_send(VmrDevice *bus, VmrDevice *function, unsigned vector)
{
    pci_bus_msi_send(&((PciHost *)bus)->bus, function, vector);
}

static void host_msix_send(VmrDevice *bus, VmrDevice *function, unsigned vector)
{
    pci_bus_msix_send(&((PciHost *)bus)->bus, function, vector);
}

static uint64_t host_msix_read(VmrDevice *bus, VmrDevice *function, uint64_t offset, unsigned size)
{
    return pci_bus_msix_read(&((PciHost *)bus)->bus, function, offset, size);
}

static void host_msix_write(VmrDevice *bus, VmrDevice *function, uint64_t offset, uint64_t value,
                            unsigned size)
{
    pci_bus_msix_write(&((PciHost *)bus)->bus, function, offset, value, size);
}

static void host_restored(VmrDevice *bus, VmrDevice *function)
{
    pci_bus_restored(&((PciHost *)bus)->bus, function);
}

static const VmrPciBusInterface pci_host_bus = {
    .size = sizeof(VmrPciBusInterface),
    .attach = host_attach,
    .detach = host_detach,
    .intx_set = host_intx_set,
    .msi_send = host_msi_send,
    .msix_send = host_msix_send,
    .msix_read = host_msix_read,
    .msix_write = host_msix_write,
    .restored = host_restored,
};

/* The bridge as a function of its own bus: Intel's 82441FX, which guests know. */
static const VmrPciFunctionInterface pci_host_function = {
    .size = sizeof(VmrPciFunctionInterface),
    .vendor_id = 0x8086,
    .device_id = 0x1237,
    .subsystem_vendor_id = 0x1af4,
    .subsystem_id = 0x1100,
    .class_code = 0x060000,
    .revision = 2,
    .state = offsetof(PciHost, pci),
};

static const void *pci_host_get_interface(VmrDevice *dev, const char *id)
{
    if (g_str_equal(id, VMR_PCI_BUS))
        return &pci_host_bus;
    return g_str_equal(id, VMR_PCI_FUNCTION) ? &pci_host_function : NULL;
}

/* ---- life ------------------------------------------------------------- */

static bool check_window(const char *name, uint64_t base, uint64_t size, uint64_t align,
                         uint64_t limit, GError **error)
{
    if (!size || (base % align == 0 && size % align == 0 && base && base < limit &&
                  size <= limit - base))
        return true;
    g_set_error(error, g_quark_from_static_string("pci-host"), 0,
                "%s-base and %s-size make no window", name, name);
    return false;
}

static bool pci_host_realize(VmrDevice *dev, GError **error)
{
    PciHost *h = (PciHost *)dev;

    if (!check_window("io", h->io_base, h->io_size, 16, 0x10000, error) ||
        !check_window("memory", h->memory_base, h->memory_size, 4096, 1ull << 32, error) ||
        !check_window("memory64", h->memory64_base, h->memory64_size, 4096, 1ull << 52, error))
        return false;
    h->ecam_size = (uint64_t)h->buses << 20;
    h->bus = (PciBus){.owner = dev, .intx = h->intx, .msi = &h->msi};
    return pci_bus_attach(&h->bus, dev, "0", error);
}

static void pci_host_unrealize(VmrDevice *dev)
{
    pci_bus_detach(&((PciHost *)dev)->bus, dev);
}

/* The ISA interrupt that line `n` leads to, for guests that use no APIC. */
static uint8_t isa_line(VmrDevice *dev, unsigned n)
{
    const VmrDescription *d = vmr_description(dev, dev);
    for (uint32_t i = 0; d && i < d->line_count; i++) {
        const VmrRoutedLine *l = &d->lines[i];
        const VmrDescription *to = l->to ? vmr_description(dev, l->to) : NULL;
        if (g_str_equal(l->name, "intx") && l->index == n && l->to_index < 16 &&
            g_strcmp0(vmr_fact_string(to, "interrupt-controller"), "x86-gsi") == 0)
            return (uint8_t)l->to_index;
    }
    return NO_LINE;
}

static void pci_host_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    PciHost *h = (PciHost *)dev;

    if (phase == VMR_RESET_ENTER) {
        h->config_address = 0;
        pci_bus_reset(&h->bus);
    } else if (phase == VMR_RESET_HOLD) {
        pci_bus_hold(&h->bus);
    } else if (h->assign) {
        PciWindows w = {h->io_base,       h->io_base + h->io_size,
                        h->memory_base,   h->memory_base + h->memory_size,
                        h->memory64_base, h->memory64_base + h->memory64_size};
        uint8_t line[4];
        for (unsigned i = 0; i < 4; i++)
            line[i] = isa_line(dev, i);
        pci_bus_assign(&h->bus, &w, line);
    }
}

static bool pci_host_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    PciHost *h = (PciHost *)dev;

    h->config_address &= 0x80fffffc;
    pci_bus_restored(&h->bus, dev);
    return true;
}

static void describe_window(VmrDescription *d, const char *key, uint64_t base, uint64_t size)
{
    if (!size)
        return;
    vmr_describe_number(d, key, base);
    vmr_describe_number(d, key, size);
}

static void pci_host_describe(VmrDevice *dev, VmrDescription *d)
{
    PciHost *h = (PciHost *)dev;

    vmr_describe_string(d, "compatible", "pci-host-ecam-generic");
    vmr_describe_string(d, "acpi-hid", "PNP0A03");
    vmr_describe_number(d, "pci-root", 1);
    vmr_describe_number(d, "pci-buses", 0);
    vmr_describe_number(d, "pci-buses", h->buses - 1);
    vmr_describe_string(d, "pci-ecam", "ecam");
    vmr_describe_string(d, "pci-intx", "intx");
    /* The ports of old are passed on as well: an IDE controller on the bus has some of them. */
    describe_window(d, "pci-windows-io", 0, 0xcf8);
    describe_window(d, "pci-windows-io", h->io_base, h->io_size);
    describe_window(d, "pci-windows-memory", h->memory_base, h->memory_size);
    describe_window(d, "pci-windows-memory", h->memory64_base, h->memory64_size);
}

/* ---- tables ----------------------------------------------------------- */

#define P(member_) offsetof(PciHost, member_)

static const VmrProperty pci_host_properties[] = {
    {.name = "msi", .type = VMR_PROP_LINK, .offset = P(msi), .interface = VMR_MSI_SINK,
     .doc = "who takes messages (MSI, MSI-X), as lapic0; without it functions have none"},
    {.name = "assign", .type = VMR_PROP_BOOL, .offset = P(assign), .default_text = "on",
     .doc = "at a reset, give BARs their places, as firmware does"},
    {.name = "buses", .type = VMR_PROP_U32, .offset = P(buses), .default_text = "1", .min = 1,
     .max = 256, .doc = "bus numbers; each takes 1 MiB of the ecam region"},
    {.name = "io-base", .type = VMR_PROP_U64, .offset = P(io_base), .default_text = "0x1000",
     .doc = "window for BARs in the I/O space"},
    {.name = "io-size", .type = VMR_PROP_U64, .offset = P(io_size), .default_text = "0xf000",
     .unit = "bytes", .doc = "its size; 0: none"},
    {.name = "memory-base", .type = VMR_PROP_U64, .offset = P(memory_base),
     .default_text = "0xc0000000", .doc = "window for BARs below 4 GiB"},
    {.name = "memory-size", .type = VMR_PROP_SIZE, .offset = P(memory_size),
     .default_text = "512M", .doc = "its size; 0: none"},
    {.name = "memory64-base", .type = VMR_PROP_U64, .offset = P(memory64_base),
     .default_text = "0x800000000", .doc = "window for BARs of 64 bits"},
    {.name = "memory64-size", .type = VMR_PROP_SIZE, .offset = P(memory64_size),
     .default_text = "32G", .doc = "its size; 0: none"},
    {.name = NULL},
};

static const VmrRegion pci_host_regions[] = {
    {
        .name = "address",
        .kind = VMR_REGION_PIO,
        .flags = VMR_REGION_OPTIONAL,
        .size = 4,
        .valid_min = 4,
        .valid_max = 4,
        .impl_min = 4,
        .impl_max = 4,
        .read = address_read,
        .write = address_write,
        .doc = "CONFIG_ADDRESS (0xcf8): 32 bits at once; other accesses are not for it",
    },
    {
        .name = "data",
        .kind = VMR_REGION_PIO,
        .flags = VMR_REGION_OPTIONAL,
        .size = 4,
        .valid_min = 1,
        .valid_max = 4,
        .impl_min = 1,
        .impl_max = 4,
        .read = data_read,
        .write = data_write,
        .doc = "CONFIG_DATA (0xcfc): the configuration space that CONFIG_ADDRESS names",
    },
    {
        .name = "ecam",
        .kind = VMR_REGION_MMIO,
        .flags = VMR_REGION_OPTIONAL,
        .size_offset = offsetof(PciHost, ecam_size),
        .valid_min = 1,
        .valid_max = 4,
        .impl_min = 1,
        .impl_max = 4,
        .read = ecam_read,
        .write = ecam_write,
        .doc = "configuration space as memory: 1 MiB a bus, 4 KiB a function",
    },
    {.name = NULL},
};

static const VmrLine pci_host_lines[] = {
    {.name = "intx",
     .direction = VMR_LINE_OUT,
     .count = 4,
     .offset = offsetof(PciHost, intx),
     .doc = "interrupt lines: INTA# of slot 0, 4, 8, ... is member 0, that of slot 1 member 1; "
            "levels"},
    {.name = NULL},
};

static const VmrField pci_host_fields[] = {
    VMR_FIELD(U32, PciHost, config_address),
    VMR_PCI_FIELDS(PciHost, pci),
    {.name = NULL},
};

static const VmrDeviceClass pci_host_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "pci-host",
    .summary = "PCI host bridge with configuration mechanism 1 and ECAM",
    .doc = "Devices with a property `bus` sit on it: bus = pci0, and slot = 3 if it matters. "
           "Firmware tables describe its windows and interrupt lines.",
    .instance_size = sizeof(PciHost),
    .properties = pci_host_properties,
    .regions = pci_host_regions,
    .lines = pci_host_lines,
    .fields = pci_host_fields,
    .realize = pci_host_realize,
    .unrealize = pci_host_unrealize,
    .reset = pci_host_reset,
    .post_load = pci_host_post_load,
    .describe = pci_host_describe,
    .get_interface = pci_host_get_interface,
};

VMR_PLUGIN_DEVICE("pci-host", "1.0", &pci_host_class);
