/*
 * pc-gsi - the wiring between a PC's interrupt sources and its two controllers.
 *
 * Models the board traces of a PC with an 8259 pair and an I/O APIC: each
 * source (ISA IRQ, or global system interrupt) leads to both controllers, and
 * the guest chooses one by masking the other.  ISA IRQ 0 (the PIT) arrives at
 * I/O APIC pin 2, as firmware says in an ACPI interrupt source override
 * (ACPI 6.4, 5.2.12.5) or in the MP table.  Input 2 is the cascade of the
 * 8259 pair, and has no pin of the I/O APIC; pin 0 is not connected.
 *
 * Leaves out: edge/level control (ELCR belongs to the 8259), PCI link routing.
 */
#include <glib.h>
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

enum { GSI_COUNT = 24, PIC_COUNT = 16, TIMER_IRQ = 0, CASCADE_IRQ = 2 };

typedef struct PcGsi {
    VmrDevice dev;
    VmrIrq pic[PIC_COUNT];
    VmrIrq ioapic[GSI_COUNT];
} PcGsi;

static void pc_gsi_in_changed(VmrDevice *dev, unsigned n, bool level)
{
    PcGsi *g = (PcGsi *)dev;

    if (n >= GSI_COUNT)
        return;
    if (n < PIC_COUNT)
        vmr_irq_set(dev, g->pic[n], level);
    if (n != CASCADE_IRQ)
        vmr_irq_set(dev, g->ioapic[n == TIMER_IRQ ? CASCADE_IRQ : n], level);
}

static void pc_gsi_describe(VmrDevice *dev, VmrDescription *d)
{
    vmr_describe_string(d, "interrupt-controller", "x86-gsi");
    vmr_describe_number(d, "gsi-base", 0);
    vmr_describe_number(d, "gsi-count", GSI_COUNT);
    vmr_describe_number(d, "gsi-override", TIMER_IRQ);
    vmr_describe_number(d, "gsi-override", CASCADE_IRQ);
}

static const VmrLine pc_gsi_lines[] = {
    {"in", VMR_LINE_IN, GSI_COUNT, 0, pc_gsi_in_changed,
     "ISA IRQ 0..15, global system interrupts 16..23"},
    {"pic", VMR_LINE_OUT, PIC_COUNT, offsetof(PcGsi, pic), NULL, "to the 8259 pair, by ISA IRQ"},
    {"ioapic", VMR_LINE_OUT, GSI_COUNT, offsetof(PcGsi, ioapic), NULL,
     "to the I/O APIC, by pin; input 0 leads to pin 2"},
    {0},
};

static const VmrDeviceClass pc_gsi_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "pc-gsi",
    .summary = "interrupt wiring of a PC: each source to the 8259 pair and to the I/O APIC",
    .doc = "Devices are wired to this one, e.g. irq = isa:4, and it to both controllers:\n"
           "pic = pic0:0, pic0:1, ... and ioapic = ioapic0:0, ioapic0:1, ...\n"
           "ISA IRQ 0 arrives at I/O APIC pin 2; input 2 (the cascade) has no pin there.",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(PcGsi),
    .lines = pc_gsi_lines,
    .describe = pc_gsi_describe,
};

VMR_PLUGIN_DEVICE("pc-gsi", "1.0", &pc_gsi_class);
