/*
 * vmrun/describe.h - what firmware must know of a device, said once.
 *
 * A device's describe() adds facts; the host adds what only it knows: where
 * the regions were placed and where the output lines lead.  ACPI, MP table and
 * device tree are writers over these descriptions and have no device list.
 *
 * The struct is filled by the host and read by the writers; describe() uses
 * the functions that it points to.
 */
#ifndef VMRUN_DESCRIBE_H
#define VMRUN_DESCRIBE_H

#include <vmrun/device.h>

/*
 * Keys in use.  A writer skips what it does not know.
 *   compatible            strings, most specific first (device tree)
 *   acpi-hid, acpi-cid    string; several acpi-hid make several ACPI devices: the first has all
 *                         regions and the first output line that leads to a GSI, the next one
 *                         the next such line, and so on.  With one acpi-hid it has all lines
 *   acpi-uid              number
 *   clock-frequency       number, Hz
 *   cpu-local             number: 1 = the device is one per CPU (local APIC)
 *   interrupt-controller  string: "x86-lapic", "x86-ioapic", "x86-8259", "x86-gsi"
 *   gsi-base, gsi-count   number: inputs n of this device are GSI gsi-base + n
 *   gsi-override          numbers, pairs: ISA IRQ, GSI (ISA IRQs that are not their own GSI)
 *   line-through          strings, pairs: an input group and an output group of this device; what
 *                         comes in at member n goes out at member n (as far as firmware cares)
 *   apic-id               number: of an I/O APIC
 *   acpi-pm               string naming a block: "pm1a-evt", "pm1a-cnt", "pm-timer", ... as
 *                         "<block>" = number, an offset into the first region
 *   gpe0-length           number: bytes of the gpe0 block, status and enable registers
 *   pm-timer-bits         number: 24 or 32
 *   sci-line              string: the output line that is the SCI
 *   power-button          number: 1 = PM1 has a (fixed) power button
 *   reset-register        number: an I/O port; reset-value: number
 *   reset-region          string: the region whose first byte is the reset register, for a device
 *                         that does not know its port
 *   irq-level             number: 1 = the output lines are level-triggered, active low in ACPI's
 *                         terms (as PCI's); without it they are edges, active high (as ISA's)
 *   sleep-s5              numbers: SLP_TYPa, SLP_TYPb of S5
 *   timer-block           string: "hpet"; hpet-id: number, the HPET's event timer block ID
 *   iapc-boot-arch        number: bits of the FADT's IAPC_BOOT_ARCH that this device sets
 *   pci-root              number: 1 = the device is a PCI host bridge, with acpi-hid; its regions are
 *                         its own, the windows are what it passes on
 *   pci-buses             numbers: first and last bus number
 *   pci-ecam              string: the region that maps configuration space (ECAM), if it is placed
 *   pci-windows-io, pci-windows-memory  numbers, pairs: base and size
 *   pci-intx              string: the group of 4 output lines; pin p (0 is INTA#) of slot s is
 *                         member (s + p) mod 4
 *   ata-drives            strings: the [drive NAME] of the primary master and slave, the secondary
 *                         master and slave; "" where there is no disk.  The first two regions are
 *                         command block and control of the primary channel, the next two those
 *                         of the secondary one
 *   century               number: the CMOS register of the century (FADT)
 */
typedef enum VmrFactType { VMR_FACT_STRING, VMR_FACT_NUMBERS } VmrFactType;

typedef struct VmrFact {
    const char *key;
    VmrFactType type;
    uint32_t count;
    const char *const *strings; /* VMR_FACT_STRING */
    const uint64_t *numbers;    /* VMR_FACT_NUMBERS */
} VmrFact;

typedef struct VmrPlacedRegion {
    const char *name;
    bool io;             /* in the I/O space rather than the memory space */
    uint64_t base, size; /* bytes */
} VmrPlacedRegion;

typedef struct VmrRoutedLine {
    const char *name;    /* the output line, as in the class */
    uint32_t index;      /* member of the group */
    VmrDevice *to;       /* whose input; NULL for a CPU or the machine */
    const char *to_line; /* input group */
    uint32_t to_index;
    bool inverted;
} VmrRoutedLine;

struct VmrDescription {
    VmrDevice *device;
    const VmrFact *facts;
    uint32_t fact_count;
    const VmrPlacedRegion *regions;
    uint32_t region_count;
    const VmrRoutedLine *lines;
    uint32_t line_count;
    /* for describe() only; values are copied */
    void (*add_string)(VmrDescription *d, const char *key, const char *value);
    void (*add_numbers)(VmrDescription *d, const char *key, const uint64_t *values, uint32_t count);
};

/* Append a string to `key`; several make a list.  Within describe().  [main] */
static inline void vmr_describe_string(VmrDescription *d, const char *key, const char *value)
{
    d->add_string(d, key, value);
}

/* Append a number to `key`.  Within describe().  [main] */
static inline void vmr_describe_number(VmrDescription *d, const char *key, uint64_t value)
{
    d->add_numbers(d, key, &value, 1);
}

static inline const VmrFact *vmr_fact(const VmrDescription *d, const char *key)
{
    for (uint32_t i = 0; d && i < d->fact_count; i++)
        if (g_strcmp0(d->facts[i].key, key) == 0)
            return &d->facts[i];
    return NULL;
}

/* The first string of a key, or NULL. */
static inline const char *vmr_fact_string(const VmrDescription *d, const char *key)
{
    const VmrFact *f = vmr_fact(d, key);
    return f && f->type == VMR_FACT_STRING && f->count ? f->strings[0] : NULL;
}

/* The first number of a key, or `fallback`. */
static inline uint64_t vmr_fact_number(const VmrDescription *d, const char *key, uint64_t fallback)
{
    const VmrFact *f = vmr_fact(d, key);
    return f && f->type == VMR_FACT_NUMBERS && f->count ? f->numbers[0] : fallback;
}

#endif
