/*
 * dsdt.c - the DSDT: \_S5, processors, a Device for each acpi-hid that some device of
 * the machine describes, with the resources that the host has placed, and PCI host
 * bridges with their windows and interrupt routing.
 *
 * Leaves out power resources, interrupt link devices and all control methods.
 */
#include "dsdt.h"
#include "aml.h"

enum {
    MAX_PROCESSORS = 4096, /* as many as names of three hexadecimal digits */
    MAX_DEVICES = 4096,
    MAX_LINES = 64, /* interrupts of one device */
    MAX_HOPS = 3,   /* devices that a line passes through */
    PCI_SLOTS = 32,
};

/* `line`, or what it becomes behind devices that only pass it on: at most `hops` of them. */
static bool follow(VmrDevice *dev, const VmrRoutedLine *line, unsigned hops, uint32_t *gsi)
{
    if (!line->to)
        return false;
    const VmrDescription *to = vmr_description(dev, line->to);
    uint64_t base = vmr_fact_number(to, "gsi-base", UINT64_MAX);
    if (base <= UINT32_MAX && line->to_index <= UINT32_MAX - base) {
        *gsi = base + line->to_index;
        return true;
    }
    const VmrFact *through = vmr_fact(to, "line-through");
    if (hops == 0 || !through || through->type != VMR_FACT_STRING)
        return false;
    for (uint32_t i = 0; i + 1 < through->count; i += 2)
        for (uint32_t j = 0; j < to->line_count; j++)
            if (g_strcmp0(through->strings[i], line->to_line) == 0 &&
                g_strcmp0(through->strings[i + 1], to->lines[j].name) == 0 &&
                to->lines[j].index == line->to_index && follow(dev, &to->lines[j], hops - 1, gsi))
                return true;
    return false;
}

bool acpi_line_gsi(VmrDevice *dev, const VmrRoutedLine *line, uint32_t *gsi)
{
    return follow(dev, line, MAX_HOPS, gsi);
}

/* Regions and lines count in the order of the class, whatever the machine file's is: drivers
   find "the second port" by it. */
const VmrPlacedRegion *acpi_region(const VmrDescription *d, unsigned n)
{
    const VmrRegion *regions = d->device->klass->regions;

    for (uint32_t i = 0; regions && regions[n].name && i < d->region_count; i++)
        if (g_strcmp0(d->regions[i].name, regions[n].name) == 0)
            return &d->regions[i];
    return NULL;
}

/* The GSI of one output; with a fan-out, the first. */
static bool output_gsi(VmrDevice *dev, const VmrDescription *d, const char *name, unsigned index,
                       uint32_t *gsi)
{
    for (uint32_t i = 0; i < d->line_count; i++)
        if (d->lines[i].index == index && g_strcmp0(d->lines[i].name, name) == 0 &&
            acpi_line_gsi(dev, &d->lines[i], gsi))
            return true;
    return false;
}

/* The GSIs of a device's lines, in order; a line that fans out counts once. */
static unsigned collect_gsis(VmrDevice *dev, const VmrDescription *d, uint32_t *gsis)
{
    const VmrLine *line = d->device->klass->lines;
    unsigned n = 0;

    /* Which of an HPET's lines is used, and where it leads, is the guest's choice. */
    if (vmr_fact(d, "timer-block"))
        return 0;
    for (; line && line->name; line++)
        for (uint32_t i = 0; line->direction == VMR_LINE_OUT && i < line->count; i++)
            if (n < MAX_LINES && output_gsi(dev, d, line->name, i, &gsis[n]))
                n++;
    return n;
}

static void put_regions(GByteArray *out, const VmrDescription *d)
{
    const VmrRegion *regions = d->device->klass->regions;

    for (unsigned i = 0; regions && regions[i].name; i++) {
        const VmrPlacedRegion *r = acpi_region(d, i);
        if (!r || r->size == 0)
            continue;
        if (!r->io)
            aml_res_memory(out, r->base, r->size);
        else if (r->base <= UINT16_MAX && r->size <= UINT16_MAX)
            aml_res_io(out, r->base, r->size);
    }
}

/* What a Device says: its IDs and, unless `resources` is empty, its _CRS. */
static void put_device(GByteArray *out, unsigned number, const char *hid, const char *cid,
                       uint64_t uid, GByteArray *resources)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    char name[8];

    aml_name(body, "_HID");
    aml_hid(body, hid);
    if (cid) {
        aml_name(body, "_CID");
        aml_hid(body, cid);
    }
    aml_name(body, "_UID");
    aml_integer(body, uid);
    if (resources->len > 0) {
        aml_res_end(resources);
        aml_name(body, "_CRS");
        aml_buffer(body, resources);
    }
    g_snprintf(name, sizeof(name), "D%03X", number & 0xfff);
    aml_device(out, name, body);
}

/* A device that says no UID is numbered among those of its HID. */
static uint64_t next_uid(GHashTable *uids, const char *hid, const VmrDescription *d)
{
    unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(uids, hid));

    g_hash_table_insert(uids, (gpointer)hid, GUINT_TO_POINTER(n + 1));
    return vmr_fact_number(d, "acpi-uid", n);
}

/* All Devices of one device of the machine: how many were added to `out`. */
static unsigned put_described(VmrDevice *dev, GByteArray *out, unsigned number, GHashTable *uids,
                              const VmrDescription *d)
{
    const VmrFact *hids = vmr_fact(d, "acpi-hid");
    bool level = vmr_fact_number(d, "irq-level", 0);
    uint32_t gsis[MAX_LINES];
    unsigned n;

    if (!hids || hids->type != VMR_FACT_STRING)
        return 0;
    unsigned lines = collect_gsis(dev, d, gsis);
    for (n = 0; n < hids->count && number + n < MAX_DEVICES; n++) {
        g_autoptr(GByteArray) resources = g_byte_array_new();
        if (n == 0)
            put_regions(resources, d);
        for (unsigned i = 0; i < lines; i++)
            if (hids->count == 1 || i == n)
                aml_res_irq(resources, gsis[i], level);
        put_device(out, number + n, hids->strings[n],
                   n == 0 ? vmr_fact_string(d, "acpi-cid") : NULL,
                   next_uid(uids, hids->strings[n], d), resources);
    }
    return n;
}

/* Append unless that would go beyond the limit. */
static bool append(GByteArray *out, const GByteArray *more, size_t limit)
{
    if (more->len > limit || out->len > limit - more->len)
        return false;
    g_byte_array_append(out, more->data, more->len);
    return true;
}

static unsigned put_processors(VmrDevice *dev, GByteArray *sb, size_t limit)
{
    unsigned count = vmr_cpu_count(dev), i;

    for (i = 0; i < count && i < MAX_PROCESSORS; i++) {
        g_autoptr(GByteArray) body = g_byte_array_new();
        g_autoptr(GByteArray) processor = g_byte_array_new();
        char name[8];

        aml_name(body, "_HID");
        aml_hid(body, "ACPI0007");
        aml_name(body, "_UID"); /* as in the MADT */
        aml_integer(body, i);
        g_snprintf(name, sizeof(name), "C%03X", i);
        aml_device(processor, name, body);
        if (!append(sb, processor, limit))
            break;
    }
    return count - i;
}

static unsigned put_devices(VmrDevice *dev, GByteArray *sb, size_t limit)
{
    g_autoptr(GHashTable) uids = g_hash_table_new(g_str_hash, g_str_equal);
    unsigned number = 0, missing = 0;

    for (VmrDevice *of = vmr_device_next(dev, NULL); of; of = vmr_device_next(dev, of)) {
        const VmrDescription *d = vmr_description(dev, of);
        g_autoptr(GByteArray) one = g_byte_array_new();

        if (!d || !vmr_fact_string(d, "acpi-hid") || vmr_fact_number(d, "pci-root", 0))
            continue;
        unsigned n = put_described(dev, one, number, uids, d);
        if (n > 0 && append(sb, one, limit))
            number += n;
        else
            missing++;
    }
    return missing;
}

/* ---- PCI host bridges ---- */

const VmrPlacedRegion *acpi_ecam(const VmrDescription *d)
{
    const char *name = vmr_fact_string(d, "pci-ecam");

    for (uint32_t i = 0; name && i < d->region_count; i++)
        if (g_str_equal(d->regions[i].name, name) && !d->regions[i].io)
            return &d->regions[i];
    return NULL;
}

/* The windows, and the ports of the bridge itself. */
static void put_windows(GByteArray *out, const VmrDescription *d)
{
    const VmrFact *buses = vmr_fact(d, "pci-buses");
    const VmrFact *io = vmr_fact(d, "pci-windows-io");
    const VmrFact *memory = vmr_fact(d, "pci-windows-memory");

    if (buses && buses->type == VMR_FACT_NUMBERS && buses->count == 2)
        aml_res_window_bus(out, buses->numbers[0], buses->numbers[1]);
    for (uint32_t i = 0; i < d->region_count; i++)
        if (d->regions[i].io)
            aml_res_io(out, d->regions[i].base, d->regions[i].size);
    for (uint32_t i = 0; io && io->type == VMR_FACT_NUMBERS && i + 1 < io->count; i += 2)
        aml_res_window_io(out, io->numbers[i], io->numbers[i + 1]);
    for (uint32_t i = 0; memory && memory->type == VMR_FACT_NUMBERS && i + 1 < memory->count;
         i += 2)
        aml_res_window_memory(out, memory->numbers[i], memory->numbers[i + 1]);
    aml_res_end(out);
}

/* For each slot and pin, the GSI. */
static bool put_routing(VmrDevice *dev, GByteArray *out, const VmrDescription *d)
{
    const char *lines = vmr_fact_string(d, "pci-intx");
    g_autoptr(GByteArray) routes = g_byte_array_new();
    uint32_t gsi[4];

    for (unsigned i = 0; i < 4; i++)
        if (!lines || !output_gsi(dev, d, lines, i, &gsi[i]))
            return false;
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            g_autoptr(GByteArray) route = g_byte_array_new();
            aml_integer(route, slot << 16 | 0xffff);
            aml_integer(route, pin);
            aml_integer(route, 0); /* no link device: the next is a GSI */
            aml_integer(route, gsi[(slot + pin) % 4]);
            aml_package(routes, 4, route);
        }
    }
    aml_package(out, 4 * PCI_SLOTS, routes);
    return true;
}

static void put_pci_root(VmrDevice *dev, GByteArray *out, unsigned number, const VmrDescription *d)
{
    const VmrFact *buses = vmr_fact(d, "pci-buses");
    const VmrPlacedRegion *ecam = acpi_ecam(d);
    g_autoptr(GByteArray) body = g_byte_array_new();
    g_autoptr(GByteArray) windows = g_byte_array_new();
    g_autoptr(GByteArray) routing = g_byte_array_new();
    char name[8];

    aml_name(body, "_HID");
    aml_hid(body, vmr_fact_string(d, "acpi-hid"));
    aml_name(body, "_UID");
    aml_integer(body, number);
    aml_name(body, "_BBN");
    aml_integer(body, buses && buses->type == VMR_FACT_NUMBERS ? buses->numbers[0] : 0);
    put_windows(windows, d);
    aml_name(body, "_CRS");
    aml_buffer(body, windows);
    if (put_routing(dev, routing, d)) {
        aml_name(body, "_PRT");
        g_byte_array_append(body, routing->data, routing->len);
    }
    g_snprintf(name, sizeof(name), "PCI%X", number & 0xf);
    aml_device(out, name, body);

    /* Guests want to see that the mapped configuration space is nobody's memory. */
    if (ecam) {
        g_autoptr(GByteArray) resources = g_byte_array_new();
        g_autoptr(GByteArray) reserved = g_byte_array_new();
        aml_name(reserved, "_HID");
        aml_hid(reserved, "PNP0C02");
        aml_name(reserved, "_UID");
        aml_integer(reserved, 0x100 + number); /* apart from those that devices describe */
        aml_res_memory(resources, ecam->base, ecam->size);
        aml_res_end(resources);
        aml_name(reserved, "_CRS");
        aml_buffer(reserved, resources);
        g_snprintf(name, sizeof(name), "ECM%X", number & 0xf);
        aml_device(out, name, reserved);
    }
}

static unsigned put_pci_roots(VmrDevice *dev, GByteArray *sb, size_t limit)
{
    unsigned number = 0, missing = 0;

    for (VmrDevice *of = vmr_device_next(dev, NULL); of; of = vmr_device_next(dev, of)) {
        const VmrDescription *d = vmr_description(dev, of);
        g_autoptr(GByteArray) one = g_byte_array_new();
        if (!d || !vmr_fact_number(d, "pci-root", 0) || !vmr_fact_string(d, "acpi-hid"))
            continue;
        put_pci_root(dev, one, number, d);
        if (number < 16 && append(sb, one, limit))
            number++;
        else
            missing++;
    }
    return missing;
}

static void put_s5(VmrDevice *dev, GByteArray *out)
{
    for (VmrDevice *of = vmr_device_next(dev, NULL); of; of = vmr_device_next(dev, of)) {
        const VmrFact *s5 = vmr_fact(vmr_description(dev, of), "sleep-s5");
        if (!s5 || s5->type != VMR_FACT_NUMBERS || s5->count == 0)
            continue;
        g_autoptr(GByteArray) elements = g_byte_array_new();
        aml_integer(elements, s5->numbers[0] & 7);
        aml_integer(elements, s5->count > 1 ? s5->numbers[1] & 7 : 0);
        aml_integer(elements, 0);
        aml_integer(elements, 0);
        aml_name(out, "\\_S5_");
        aml_package(out, 4, elements);
        return;
    }
}

GByteArray *acpi_dsdt_aml(VmrDevice *dev, size_t limit)
{
    GByteArray *out = g_byte_array_new();
    g_autoptr(GByteArray) sb = g_byte_array_new();
    const size_t scope = 16; /* more than what encloses the Devices */

    put_s5(dev, out);
    limit = limit > out->len + scope ? limit - out->len - scope : 0;
    unsigned processors = put_processors(dev, sb, limit);
    unsigned devices = put_pci_roots(dev, sb, limit) + put_devices(dev, sb, limit);
    if (processors > 0 || devices > 0)
        vmr_log(dev, VMR_LOG_ERROR,
                "no room in the ACPI tables: left out %u processors, %u devices", processors,
                devices);
    if (sb->len > 0)
        aml_scope(out, "\\_SB_", sb);
    return out;
}
