/*
 * acpi-tables - the ACPI tables of a PC, written into guest memory at each reset.
 *
 * After the ACPI specification 6.5, chapter 5: RSDP, RSDT, XSDT, FADT, FACS, MADT,
 * DSDT, after the IA-PC HPET specification 1.0a: HPET, and after the PCI firmware
 * specification 3.3: MCFG.  All is derived from what the
 * devices of the machine describe (vmrun/describe.h); there is no list of devices here.
 * A machine in which nobody describes ACPI's fixed hardware is "hardware-reduced".
 *
 * Leaves out SRAT, SLIT, SPCR and others: a device that needs them cannot say so yet.
 */
#include "aml.h"
#include "dsdt.h"
#include <vmrun/plugin.h>
#include <vmrun/x86.h>

enum {
    RSDP_SIZE = 36,
    HEADER_SIZE = 36,
    FADT_SIZE = 276, /* revision 6 */
    FACS_SIZE = 64,
    MAX_TABLES = 8,

    /* FADT flags */
    WBINVD = 1 << 0,
    PROC_C1 = 1 << 2,
    PWR_BUTTON = 1 << 4, /* 1: no fixed power button */
    SLP_BUTTON = 1 << 5, /* 1: no fixed sleep button */
    FIX_RTC = 1 << 6,    /* 1: no RTC wake in the fixed registers */
    TMR_VAL_EXT = 1 << 8,
    RESET_REG_SUP = 1 << 10,
    HW_REDUCED_ACPI = 1 << 20,

    PROFILE_DESKTOP = 1,

    /* MADT */
    PCAT_COMPAT = 1 << 0,
    MPS_INTI_LOW_LEVEL = 0x0f, /* active low, level-triggered */
    LINT_NMI = 1,
};

typedef struct AcpiTables {
    VmrDevice dev;
    uint64_t base, size; /* properties */
} AcpiTables;

/* The tables while they are made. */
typedef struct Writer {
    VmrDevice *dev;
    GByteArray *image; /* what goes to `base` */
    uint64_t base;
    size_t limit;
    uint32_t tables[MAX_TABLES]; /* addresses, for RSDT and XSDT */
    unsigned table_count;
    bool full;
} Writer;

/* ---- bytes ---- */

static void put(GByteArray *table, unsigned offset, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        table->data[offset + i] = value >> (8 * i);
}

static uint8_t checksum(const uint8_t *bytes, size_t count)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += bytes[i];
    return -sum;
}

/* A zeroed table of `size` bytes. */
static GByteArray *new_bytes(unsigned size)
{
    GByteArray *table = g_byte_array_new();

    g_byte_array_set_size(table, size);
    memset(table->data, 0, size);
    return table;
}

static GByteArray *new_table(const char *signature, uint8_t revision, unsigned size)
{
    GByteArray *table = new_bytes(size);

    memcpy(table->data, signature, 4);
    table->data[8] = revision;
    memcpy(table->data + 10, "VMRUN VMRUNPC ", 14); /* OEM ID, OEM table ID */
    put(table, 24, 1, 4);
    memcpy(table->data + 28, "VMRN", 4);
    put(table, 32, 1, 4);
    return table;
}

/* The address that place() will give next. */
static uint64_t next_address(const Writer *w, unsigned align)
{
    return w->base + (w->image->len + align - 1) / align * align;
}

/* Put bytes into the image: their address, or 0 if they do not fit. */
static uint32_t place(Writer *w, const GByteArray *bytes, unsigned align)
{
    uint64_t address = next_address(w, align);
    uint64_t end = address - w->base + bytes->len;
    unsigned old = w->image->len;

    if (end > w->limit) {
        w->full = true;
        return 0;
    }
    g_byte_array_set_size(w->image, end);
    memset(w->image->data + old, 0, end - old);
    memcpy(w->image->data + (address - w->base), bytes->data, bytes->len);
    return address;
}

/* Finish a table's header, place it, free it, and list it unless told not to. */
static uint32_t place_table(Writer *w, GByteArray *table, bool listed)
{
    put(table, 4, table->len, 4);
    table->data[9] = 0;
    table->data[9] = checksum(table->data, table->len);
    uint32_t address = place(w, table, 16);
    g_byte_array_unref(table);
    if (address && listed && w->table_count < MAX_TABLES)
        w->tables[w->table_count++] = address;
    return address;
}

/* ---- what the machine has ---- */

static const VmrDescription *next_description(const Writer *w, VmrDevice **of)
{
    while ((*of = vmr_device_next(w->dev, *of))) {
        const VmrDescription *d = vmr_description(w->dev, *of);
        if (d)
            return d;
    }
    return NULL;
}

#define FOR_EACH_DESCRIPTION(w_, d_)                                                               \
    VmrDevice *of_##d_ = NULL;                                                                     \
    for (const VmrDescription *d_; (d_ = next_description(w_, &of_##d_));)

/* The first device that has a fact. */
static const VmrDescription *find_fact(const Writer *w, const char *key)
{
    FOR_EACH_DESCRIPTION(w, d) {
        if (vmr_fact(d, key))
            return d;
    }
    return NULL;
}

static bool is_controller(const VmrDescription *d, const char *kind)
{
    return g_strcmp0(vmr_fact_string(d, "interrupt-controller"), kind) == 0;
}

/* Where the SCI leads.  False: there is none. */
static bool find_sci(const Writer *w, uint32_t *gsi)
{
    const VmrDescription *pm = find_fact(w, "acpi-pm");
    const char *name = vmr_fact_string(pm, "sci-line");

    for (uint32_t i = 0; pm && i < pm->line_count; i++)
        if ((!name || g_str_equal(name, pm->lines[i].name)) &&
            acpi_line_gsi(w->dev, &pm->lines[i], gsi))
            return true;
    return false;
}

/* ---- FADT ---- */

typedef struct Block {
    const char *key;
    unsigned address, x_address, length_at; /* offsets in the FADT */
    unsigned length;
    unsigned access; /* of a generic address: 1 byte, 2 word, 3 dword */
} Block;

static void put_address(GByteArray *t, unsigned offset, bool io, uint64_t address, unsigned bytes,
                        unsigned access)
{
    put(t, offset, io ? 1 : 0, 1);
    put(t, offset + 1, 8 * bytes, 1);
    put(t, offset + 2, 0, 1);
    put(t, offset + 3, access, 1);
    put(t, offset + 4, address, 8);
}

static void put_blocks(GByteArray *t, const VmrDescription *pm)
{
    const Block blocks[] = {
        {"pm1a-evt", 56, 148, 88, 4, 2},
        {"pm1a-cnt", 64, 172, 89, 2, 2},
        {"pm-timer", 76, 208, 91, 4, 3},
        {"gpe0", 80, 220, 92, vmr_fact_number(pm, "gpe0-length", 8) & 0x1e, 1},
    };
    const VmrPlacedRegion *region = acpi_region(pm, 0);

    if (!region)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(blocks); i++) {
        const Block *b = &blocks[i];
        uint64_t offset = vmr_fact_number(pm, b->key, UINT64_MAX);
        if (offset >= region->size)
            continue;
        uint64_t address = region->base + offset;
        if (region->io)
            put(t, b->address, address, 4);
        put_address(t, b->x_address, region->io, address, b->length, b->access);
        put(t, b->length_at, b->length, 1);
    }
}

/* The reset register of the first device that has one.  False: none. */
static bool put_reset(const Writer *w, GByteArray *t)
{
    FOR_EACH_DESCRIPTION(w, d) {
        const char *name = vmr_fact_string(d, "reset-region");
        uint64_t port = vmr_fact_number(d, "reset-register", UINT64_MAX);
        bool io = true;

        for (uint32_t i = 0; name && i < d->region_count; i++) {
            if (g_str_equal(d->regions[i].name, name)) {
                port = d->regions[i].base;
                io = d->regions[i].io;
            }
        }
        if (port == UINT64_MAX)
            continue;
        put_address(t, 116, io, port, 1, 1);
        put(t, 128, vmr_fact_number(d, "reset-value", 0), 1);
        return true;
    }
    return false;
}

static void write_fadt(Writer *w, uint32_t facs, uint32_t dsdt)
{
    GByteArray *t = new_table("FACP", 6, FADT_SIZE);
    const VmrDescription *pm = find_fact(w, "acpi-pm");
    uint32_t flags = WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | FIX_RTC;
    uint32_t sci = 0;
    uint16_t boot_arch = 0;
    uint8_t century = 0;

    FOR_EACH_DESCRIPTION(w, d) {
        const VmrFact *arch = vmr_fact(d, "iapc-boot-arch");
        for (uint32_t i = 0; arch && arch->type == VMR_FACT_NUMBERS && i < arch->count; i++)
            boot_arch |= arch->numbers[i];
        if (century == 0)
            century = vmr_fact_number(d, "century", 0);
    }
    if (pm) {
        put_blocks(t, pm);
        find_sci(w, &sci);
        if (vmr_fact_number(pm, "power-button", 0))
            flags &= ~PWR_BUTTON;
        if (vmr_fact_number(pm, "pm-timer-bits", 24) == 32)
            flags |= TMR_VAL_EXT;
    } else {
        flags |= HW_REDUCED_ACPI;
    }
    if (put_reset(w, t))
        flags |= RESET_REG_SUP;

    /* X_FIRMWARE_CTRL stays 0: only one of the two may be set. */
    put(t, 36, facs, 4);
    put(t, 40, dsdt, 4);
    put(t, 45, PROFILE_DESKTOP, 1);
    put(t, 46, sci, 2);
    put(t, 96, 0xfff, 2); /* no C2 */
    put(t, 98, 0xfff, 2); /* no C3 */
    put(t, 108, century, 1);
    put(t, 109, boot_arch, 2);
    put(t, 112, flags, 4);
    put(t, 131, 5, 1); /* minor version: 6.5 */
    put(t, 140, dsdt, 8);
    memcpy(t->data + 268, "vmrun", 5); /* hypervisor vendor */
    place_table(w, t, true);
}

/* ---- MADT ---- */

static void put_lapics(Writer *w, GByteArray *t)
{
    bool x2apic = false;

    for (unsigned i = 0; i < vmr_cpu_count(w->dev); i++) {
        VmrCpu *cpu = vmr_cpu(w->dev, i);
        const VmrX86CpuInterface *x86 = vmr_cpu_interface(w->dev, cpu, VMR_X86_CPU);
        uint32_t id = x86 ? x86->apic_id(cpu) : i;

        if (t->len + 64 > w->limit) {
            w->full = true;
            break;
        }
        if (id < 255 && i < 255) {
            aml_number(t, 0, 1);
            aml_number(t, 8, 1);
            aml_number(t, i, 1); /* processor UID, as in the DSDT */
            aml_number(t, id, 1);
            aml_number(t, 1, 4); /* enabled */
        } else {
            aml_number(t, 9, 1);
            aml_number(t, 16, 1);
            aml_number(t, 0, 2);
            aml_number(t, id, 4);
            aml_number(t, 1, 4);
            aml_number(t, i, 4);
            x2apic = true;
        }
    }
    aml_number(t, 4, 1); /* NMI of all processors */
    aml_number(t, 6, 1);
    aml_number(t, 0xff, 1);
    aml_number(t, 0, 2);
    aml_number(t, LINT_NMI, 1);
    if (x2apic) {
        aml_number(t, 10, 1);
        aml_number(t, 12, 1);
        aml_number(t, 0, 2);
        aml_number(t, UINT32_MAX, 4);
        aml_number(t, LINT_NMI, 1);
        aml_number(t, 0, 3);
    }
}

static void put_override(GByteArray *t, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    aml_number(t, 2, 1);
    aml_number(t, 10, 1);
    aml_number(t, 0, 1); /* ISA */
    aml_number(t, irq, 1);
    aml_number(t, gsi, 4);
    aml_number(t, flags, 2);
}

/* One override for each ISA IRQ that goes elsewhere, or that is the SCI: a level, active low. */
static void put_overrides(Writer *w, GByteArray *t)
{
    uint32_t gsi_of[16], sci;
    bool has_sci = find_sci(w, &sci);

    for (unsigned i = 0; i < 16; i++)
        gsi_of[i] = i;
    FOR_EACH_DESCRIPTION(w, d) {
        const VmrFact *f = vmr_fact(d, "gsi-override");
        for (uint32_t i = 0; f && f->type == VMR_FACT_NUMBERS && i + 1 < f->count; i += 2)
            if (f->numbers[i] < 16)
                gsi_of[f->numbers[i]] = f->numbers[i + 1];
    }
    for (unsigned i = 0; i < 16; i++) {
        bool is_sci = has_sci && sci == i;
        if (gsi_of[i] != i || is_sci)
            put_override(t, i, gsi_of[i], is_sci ? MPS_INTI_LOW_LEVEL : 0);
    }
}

static void write_madt(Writer *w)
{
    const VmrDescription *lapic = NULL;
    GByteArray *t = new_table("APIC", 5, HEADER_SIZE + 8);

    put_lapics(w, t);
    FOR_EACH_DESCRIPTION(w, d) {
        if (is_controller(d, "x86-lapic") && !lapic)
            lapic = d;
        if (is_controller(d, "x86-8259"))
            put(t, HEADER_SIZE + 4, PCAT_COMPAT, 4);
        if (is_controller(d, "x86-ioapic") && d->region_count > 0) {
            aml_number(t, 1, 1);
            aml_number(t, 12, 1);
            aml_number(t, vmr_fact_number(d, "apic-id", 0), 1);
            aml_number(t, 0, 1);
            aml_number(t, d->regions[0].base, 4);
            aml_number(t, vmr_fact_number(d, "gsi-base", 0), 4);
        }
    }
    put_overrides(w, t);
    if (!lapic) { /* a machine with 8259s only */
        g_byte_array_unref(t);
        return;
    }
    put(t, HEADER_SIZE, lapic->region_count > 0 ? lapic->regions[0].base : 0xfee00000, 4);
    place_table(w, t, true);
}

/* ---- the others ---- */

static void write_hpets(Writer *w)
{
    unsigned number = 0;

    FOR_EACH_DESCRIPTION(w, d) {
        if (g_strcmp0(vmr_fact_string(d, "timer-block"), "hpet") != 0 || d->region_count == 0)
            continue;
        if (w->table_count + 1 >= MAX_TABLES) {
            vmr_log(w->dev, VMR_LOG_ERROR, "too many HPETs for the ACPI tables");
            return;
        }
        GByteArray *t = new_table("HPET", 1, HEADER_SIZE + 20);
        put(t, 36, vmr_fact_number(d, "hpet-id", 0x8086a201), 4);
        put_address(t, 40, d->regions[0].io, d->regions[0].base, 8, 0);
        put(t, 52, number++, 1);
        put(t, 53, vmr_fact_number(d, "hpet-min-tick", 0x80), 2);
        place_table(w, t, true);
    }
}

static void write_mcfg(Writer *w)
{
    GByteArray *t = new_table("MCFG", 1, HEADER_SIZE + 8);
    unsigned segment = 0;

    FOR_EACH_DESCRIPTION(w, d) {
        const VmrPlacedRegion *ecam = acpi_ecam(d);
        const VmrFact *buses = vmr_fact(d, "pci-buses");
        if (!ecam || !buses || buses->type != VMR_FACT_NUMBERS || buses->count != 2)
            continue;
        aml_number(t, ecam->base - (buses->numbers[0] << 20), 8);
        aml_number(t, segment++, 2);
        aml_number(t, buses->numbers[0], 1);
        aml_number(t, buses->numbers[1], 1);
        aml_number(t, 0, 4);
    }
    if (segment)
        place_table(w, t, true);
    else
        g_byte_array_unref(t);
}

static uint32_t write_facs(Writer *w)
{
    g_autoptr(GByteArray) t = new_bytes(FACS_SIZE);

    memcpy(t->data, "FACS", 4);
    put(t, 4, FACS_SIZE, 4);
    put(t, 32, 2, 1); /* version; the waking vectors are the guest's to set */
    return place(w, t, 64);
}

static uint32_t write_list(Writer *w, const char *signature, unsigned width)
{
    GByteArray *t = new_table(signature, 1, HEADER_SIZE);

    for (unsigned i = 0; i < w->table_count; i++)
        aml_number(t, w->tables[i], width);
    return place_table(w, t, false);
}

static void write_rsdp(Writer *w, uint32_t rsdt, uint32_t xsdt)
{
    uint8_t *p = w->image->data;

    memset(p, 0, RSDP_SIZE);
    memcpy(p, "RSD PTR ", 8);
    memcpy(p + 9, "VMRUN ", 6);
    p[15] = 2;
    put(w->image, 16, rsdt, 4);
    put(w->image, 20, RSDP_SIZE, 4);
    put(w->image, 24, xsdt, 8);
    p[8] = checksum(p, 20); /* what ACPI 1.0 knew of it */
    p[32] = checksum(p, RSDP_SIZE);
}

static void write_dsdt(Writer *w)
{
    uint64_t used = next_address(w, 16) - w->base + HEADER_SIZE;
    size_t room = used < w->limit ? w->limit - used : 0;
    GByteArray *t = new_table("DSDT", 2, HEADER_SIZE);
    g_autoptr(GByteArray) aml = acpi_dsdt_aml(w->dev, room);

    g_byte_array_append(t, aml->data, aml->len);
    place_table(w, t, false);
}

static void write_all(AcpiTables *a)
{
    g_autoptr(GByteArray) image = new_bytes(64); /* the RSDP, filled last */
    Writer w = {.dev = &a->dev, .image = image, .base = a->base, .limit = a->size};

    uint32_t facs = write_facs(&w);
    /* The FADT is small: the DSDT, last and as large as it may be, is found by placing the
       others twice.  Their sizes do not depend on its address. */
    for (unsigned pass = 0, start = image->len, dsdt = 0; pass < 2; pass++) {
        g_byte_array_set_size(image, start);
        w.table_count = 0;
        write_fadt(&w, facs, dsdt);
        write_madt(&w);
        write_mcfg(&w);
        write_hpets(&w);
        uint32_t rsdt = write_list(&w, "RSDT", 4);
        uint32_t xsdt = write_list(&w, "XSDT", 8);
        write_rsdp(&w, rsdt, xsdt);
        dsdt = next_address(&w, 16);
    }
    write_dsdt(&w);
    if (w.full)
        vmr_log(&a->dev, VMR_LOG_ERROR,
                "the ACPI tables do not fit into %" G_GUINT64_FORMAT " bytes", a->size);
    if (vmr_dma_write(&a->dev, a->base, image->data, image->len) != VMR_OK)
        vmr_log(&a->dev, VMR_LOG_ERROR, "no RAM for the ACPI tables at 0x%" G_GINT64_MODIFIER "x",
                a->base);
}

static void acpi_tables_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    if (phase == VMR_RESET_EXIT)
        write_all((AcpiTables *)dev);
}

static const VmrProperty acpi_tables_properties[] = {
    {
        .name = "base",
        .type = VMR_PROP_U64,
        .offset = offsetof(AcpiTables, base),
        .default_text = "0xe0000",
        .min = 0x10,
        .max = 0xfff00000,
        .doc = "where the tables begin, with the RSDP; guests look for it from 0xe0000 to 0xfffff",
    },
    {
        .name = "size",
        .type = VMR_PROP_SIZE,
        .offset = offsetof(AcpiTables, size),
        .default_text = "64K",
        .min = 4096,
        .max = 0x100000,
        .unit = "bytes",
        .doc = "what the tables may take; devices that do not fit are left out, with an error",
    },
    {0},
};

static bool acpi_tables_realize(VmrDevice *dev, GError **error)
{
    AcpiTables *a = (AcpiTables *)dev;

    if (a->base % 64 == 0) /* the FACS wants 64, and offsets are aligned */
        return true;
    g_set_error(error, g_quark_from_static_string("acpi-tables"), 0,
                "base must be a multiple of 64");
    return false;
}

static const VmrDeviceClass acpi_tables_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "acpi-tables",
    .summary = "writes ACPI tables that describe the machine",
    .doc = "At each reset: RSDP, RSDT, XSDT, FADT, FACS, MADT, MCFG, HPET and DSDT, from what the\n"
           "devices of the machine say of themselves.",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(AcpiTables),
    .properties = acpi_tables_properties,
    .realize = acpi_tables_realize,
    .reset = acpi_tables_reset,
};

VMR_PLUGIN_DEVICE("acpi-tables", "1.0", &acpi_tables_class);
