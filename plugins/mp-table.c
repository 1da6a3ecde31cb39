/*
 * mp-table - the MultiProcessor tables of a PC, written into guest memory at each reset.
 *
 * After the Intel MultiProcessor Specification 1.4, chapter 4: the floating pointer
 * structure and one configuration table of processors, a PCI and an ISA bus, I/O APICs,
 * the interrupts of both buses and the local ones, from what the devices of the machine describe.
 * For guests that do not read ACPI.
 *
 * Leaves out further PCI host bridges and extended entries.  Without a local APIC or an I/O APIC
 * in the machine, nothing is written.
 */
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>
#include <vmrun/x86.h>

enum {
    POINTER_SIZE = 16,
    HEADER_SIZE = 44,

    ENTRY_PROCESSOR = 0,
    ENTRY_BUS = 1,
    ENTRY_IOAPIC = 2,
    ENTRY_IO_INT = 3,
    ENTRY_LOCAL_INT = 4,

    CPU_ENABLED = 1 << 0,
    CPU_BOOT = 1 << 1,
    CPU_SIGNATURE = 0x600, /* family 6: guests ask CPUID for more */
    CPU_FEATURES = 0x201,  /* FPU, APIC */
    APIC_VERSION = 0x14,
    IOAPIC_VERSION = 0x11,
    IOAPIC_ENABLED = 1 << 0,

    INT = 0, /* interrupt types */
    NMI = 1,
    EXT_INT = 3,
    CONFORMS = 0, /* polarity and trigger as on the bus */

    LOW_LEVEL = 0x0f, /* active low, level-triggered */

    PCI_SLOTS = 32,
    ISA_IRQS = 16,
    CASCADE = 2, /* the ISA IRQ that no device has */
    ALL_APICS = 0xff,
    MAX_IOAPICS = 8,
};

typedef struct MpTable {
    VmrDevice dev;
    uint64_t base; /* property */
} MpTable;

typedef struct IoApic {
    uint8_t id;
    uint32_t address;
    uint64_t gsi_base, gsi_count;
} IoApic;

/* What the descriptions say. */
typedef struct Topology {
    bool has_lapic;
    uint32_t lapic_address;
    IoApic ioapics[MAX_IOAPICS];
    unsigned ioapic_count;
    uint64_t gsi_of[ISA_IRQS];
    unsigned isa_bus; /* its number: buses of PCI have theirs */
    bool has_pci;
    uint64_t pci_gsi[4]; /* by line */
} Topology;

/* Where the four interrupt lines of a PCI host bridge lead.  False: it has none, or not to GSIs. */
static bool read_pci(VmrDevice *dev, const VmrDescription *d, Topology *t)
{
    const char *group = vmr_fact_string(d, "pci-intx");
    unsigned found = 0;

    for (uint32_t i = 0; group && i < d->line_count; i++) {
        const VmrRoutedLine *l = &d->lines[i];
        uint64_t base = l->to ? vmr_fact_number(vmr_description(dev, l->to), "gsi-base", UINT64_MAX)
                              : UINT64_MAX;
        if (!g_str_equal(l->name, group) || l->index >= 4 || base == UINT64_MAX ||
            (found >> l->index & 1))
            continue;
        t->pci_gsi[l->index] = base + l->to_index;
        found |= 1u << l->index;
    }
    return found == 0xf;
}

static void read_topology(VmrDevice *dev, Topology *t)
{
    memset(t, 0, sizeof(*t));
    for (unsigned i = 0; i < ISA_IRQS; i++)
        t->gsi_of[i] = i;
    for (VmrDevice *of = vmr_device_next(dev, NULL); of; of = vmr_device_next(dev, of)) {
        const VmrDescription *d = vmr_description(dev, of);
        const char *kind = vmr_fact_string(d, "interrupt-controller");
        const VmrFact *f = vmr_fact(d, "gsi-override");

        for (uint32_t i = 0; f && f->type == VMR_FACT_NUMBERS && i + 1 < f->count; i += 2)
            if (f->numbers[i] < ISA_IRQS)
                t->gsi_of[f->numbers[i]] = f->numbers[i + 1];
        if (!t->has_pci && vmr_fact_number(d, "pci-root", 0) && read_pci(dev, d, t)) {
            t->has_pci = true;
            t->isa_bus = 1;
        }
        if (g_strcmp0(kind, "x86-lapic") == 0 && !t->has_lapic) {
            t->has_lapic = true;
            t->lapic_address = d->region_count > 0 ? d->regions[0].base : 0xfee00000;
        } else if (g_strcmp0(kind, "x86-ioapic") == 0 && d->region_count > 0 &&
                   t->ioapic_count < MAX_IOAPICS) {
            t->ioapics[t->ioapic_count++] = (IoApic){
                .id = vmr_fact_number(d, "apic-id", 0),
                .address = d->regions[0].base,
                .gsi_base = vmr_fact_number(d, "gsi-base", 0),
                .gsi_count = vmr_fact_number(d, "gsi-count", 24),
            };
        }
    }
}

/* ---- entries ---- */

static void put(GByteArray *out, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t byte = value >> (8 * i);
        g_byte_array_append(out, &byte, 1);
    }
}

static unsigned put_processors(VmrDevice *dev, GByteArray *out)
{
    unsigned entries = 0;

    for (unsigned i = 0; i < vmr_cpu_count(dev); i++) {
        VmrCpu *cpu = vmr_cpu(dev, i);
        const VmrX86CpuInterface *x86 = vmr_cpu_interface(dev, cpu, VMR_X86_CPU);
        uint32_t id = x86 ? x86->apic_id(cpu) : i;

        if (id >= ALL_APICS) /* the table cannot say it; ACPI can */
            continue;
        put(out, ENTRY_PROCESSOR, 1);
        put(out, id, 1);
        put(out, APIC_VERSION, 1);
        put(out, CPU_ENABLED | (i == 0 ? CPU_BOOT : 0), 1);
        put(out, CPU_SIGNATURE, 4);
        put(out, CPU_FEATURES, 4);
        put(out, 0, 8);
        entries++;
    }
    return entries;
}

static void put_bus(GByteArray *out, unsigned number, const char *type)
{
    put(out, ENTRY_BUS, 1);
    put(out, number, 1);
    g_byte_array_append(out, (const uint8_t *)type, 6);
}

static void put_ioapic(GByteArray *out, const IoApic *io)
{
    put(out, ENTRY_IOAPIC, 1);
    put(out, io->id, 1);
    put(out, IOAPIC_VERSION, 1);
    put(out, IOAPIC_ENABLED, 1);
    put(out, io->address, 4);
}

static void put_interrupt(GByteArray *out, unsigned entry, unsigned type, unsigned flags,
                          unsigned bus, unsigned irq, unsigned apic, unsigned pin)
{
    put(out, entry, 1);
    put(out, type, 1);
    put(out, flags, 2);
    put(out, bus, 1);
    put(out, irq, 1);
    put(out, apic, 1);
    put(out, pin, 1);
}

static unsigned put_isa_interrupts(GByteArray *out, const Topology *t)
{
    unsigned entries = 0;

    for (unsigned irq = 0; irq < ISA_IRQS; irq++) {
        for (unsigned i = 0; i < t->ioapic_count; i++) {
            const IoApic *io = &t->ioapics[i];
            uint64_t gsi = t->gsi_of[irq];
            if (irq == CASCADE || gsi < io->gsi_base || gsi - io->gsi_base >= io->gsi_count)
                continue;
            put_interrupt(out, ENTRY_IO_INT, INT, CONFORMS, t->isa_bus, irq, io->id,
                          gsi - io->gsi_base);
            entries++;
        }
    }
    return entries;
}

/* Of each slot and pin; the bus is number 0. */
static unsigned put_pci_interrupts(GByteArray *out, const Topology *t)
{
    unsigned entries = 0;

    for (unsigned source = 0; t->has_pci && source < 4 * PCI_SLOTS; source++) {
        uint64_t gsi = t->pci_gsi[(source / 4 + source % 4) % 4];
        for (unsigned i = 0; i < t->ioapic_count; i++) {
            const IoApic *io = &t->ioapics[i];
            if (gsi < io->gsi_base || gsi - io->gsi_base >= io->gsi_count)
                continue;
            put_interrupt(out, ENTRY_IO_INT, INT, LOW_LEVEL, 0, source, io->id,
                          gsi - io->gsi_base);
            entries++;
        }
    }
    return entries;
}

/* ---- the tables ---- */

static uint8_t checksum(const uint8_t *bytes, size_t count)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += bytes[i];
    return -sum;
}

static void put_pointer(GByteArray *out, uint32_t table)
{
    g_byte_array_append(out, (const uint8_t *)"_MP_", 4);
    put(out, table, 4);
    put(out, 1, 1); /* length, in 16 bytes */
    put(out, 4, 1); /* specification 1.4 */
    put(out, 0, 1); /* checksum */
    put(out, 0, 5); /* a table is there; virtual wire mode */
    out->data[10] = checksum(out->data, POINTER_SIZE);
}

static void put_header(GByteArray *out, const GByteArray *body, unsigned entries, uint32_t lapic)
{
    unsigned start = out->len;

    g_byte_array_append(out, (const uint8_t *)"PCMP", 4);
    put(out, HEADER_SIZE + body->len, 2);
    put(out, 4, 1);
    put(out, 0, 1); /* checksum */
    g_byte_array_append(out, (const uint8_t *)"VMRUN   PC          ", 20); /* OEM, product */
    put(out, 0, 4); /* OEM table */
    put(out, 0, 2);
    put(out, entries, 2);
    put(out, lapic, 4);
    put(out, 0, 4); /* no extended table */
    /* The checksum of both parts is the sum of their checksums. */
    out->data[start + 7] =
        checksum(out->data + start, HEADER_SIZE) + checksum(body->data, body->len);
}

static void write_all(MpTable *m)
{
    VmrDevice *dev = &m->dev;
    g_autoptr(GByteArray) body = g_byte_array_new();
    g_autoptr(GByteArray) image = g_byte_array_new();
    unsigned entries = 0;
    Topology t;

    read_topology(dev, &t);
    if (!t.has_lapic || t.ioapic_count == 0)
        return;
    entries += put_processors(dev, body);
    if (t.has_pci) {
        put_bus(body, 0, "PCI   ");
        entries++;
    }
    put_bus(body, t.isa_bus, "ISA   ");
    entries++;
    for (unsigned i = 0; i < t.ioapic_count; i++, entries++)
        put_ioapic(body, &t.ioapics[i]);
    entries += put_pci_interrupts(body, &t);
    entries += put_isa_interrupts(body, &t);
    put_interrupt(body, ENTRY_LOCAL_INT, EXT_INT, CONFORMS, t.isa_bus, 0, ALL_APICS, 0);
    put_interrupt(body, ENTRY_LOCAL_INT, NMI, CONFORMS, t.isa_bus, 0, ALL_APICS, 1);
    entries += 2;
    put_pointer(image, m->base + POINTER_SIZE);
    put_header(image, body, entries, t.lapic_address);
    g_byte_array_append(image, body->data, body->len);
    if (vmr_dma_write(dev, m->base, image->data, image->len) != VMR_OK)
        vmr_log(dev, VMR_LOG_ERROR, "no RAM for the MP tables at 0x%" G_GINT64_MODIFIER "x",
                m->base);
}

static void mp_table_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    if (phase == VMR_RESET_EXIT)
        write_all((MpTable *)dev);
}

static bool mp_table_realize(VmrDevice *dev, GError **error)
{
    if (((MpTable *)dev)->base % POINTER_SIZE == 0)
        return true;
    g_set_error(error, g_quark_from_static_string("mp-table"), 0, "base must be a multiple of 16");
    return false;
}

static const VmrProperty mp_table_properties[] = {
    {
        .name = "base",
        .type = VMR_PROP_U64,
        .offset = offsetof(MpTable, base),
        .default_text = "0xf0000",
        .min = 0x10,
        .max = 0xfffff000,
        .doc = "where the floating pointer is put; guests look for it from 0xf0000 to 0xfffff",
    },
    {0},
};

static const VmrDeviceClass mp_table_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "mp-table",
    .summary = "writes MultiProcessor 1.4 tables that describe the machine",
    .doc = "At each reset, from what the devices of the machine say of themselves. For guests\n"
           "that do not read ACPI.",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(MpTable),
    .properties = mp_table_properties,
    .realize = mp_table_realize,
    .reset = mp_table_reset,
};

VMR_PLUGIN_DEVICE("mp-table", "1.0", &mp_table_class);
