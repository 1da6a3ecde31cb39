/*
 * bus.h - one PCI bus: its functions and their configuration spaces.
 *
 * Shared by the devices that have a bus behind them.
 */
#ifndef PCI_BUS_H
#define PCI_BUS_H

#include <vmrun/msi.h>
#include <vmrun/pci.h>

enum { PCI_FUNCTIONS = 256, PCI_BAR_ROM = VMR_PCI_BARS, PCI_BAR_COUNT };

/* A function on the bus. */
typedef struct PciSlot {
    VmrDevice *dev;
    const VmrPciFunctionInterface *fn;
    VmrPciState *state;
    uint8_t initial[VMR_PCI_CONFIG_SIZE];  /* after a reset */
    uint8_t writable[VMR_PCI_CONFIG_SIZE]; /* bits that a write sets */
    uint8_t clearing[VMR_PCI_CONFIG_SIZE]; /* bits that a write of 1 clears */
    uint64_t bar_size[PCI_BAR_COUNT];      /* a power of two; 0: none */
    bool driving;                          /* its pin is asserted */
} PciSlot;

typedef struct PciBus {
    VmrDevice *owner;
    VmrIrq *intx;          /* 4 lines */
    const VmrLink *msi;    /* VMR_MSI_SINK; without one there are no messages */
    PciSlot *slots[PCI_FUNCTIONS]; /* by device << 3 | function */
    unsigned asserting[4]; /* functions that drive each line */
} PciBus;

/* Windows for BARs, filled from below. */
typedef struct PciWindows {
    uint64_t io, io_end, memory, memory_end, memory64, memory64_end;
} PciWindows;

bool pci_bus_attach(PciBus *b, VmrDevice *function, const char *slot, GError **error);
void pci_bus_detach(PciBus *b, VmrDevice *function);
void pci_bus_reset(PciBus *b); /* phase ENTER */
void pci_bus_hold(PciBus *b);  /* phase HOLD */
/* Give each BAR a place and let it decode, as firmware does; `line`: for Interrupt Line, by
   the bus's 4 lines. */
void pci_bus_assign(PciBus *b, PciWindows *w, const uint8_t line[4]);

/* size 1, 2 or 4, within one doubleword. */
uint32_t pci_bus_read(PciBus *b, unsigned devfn, unsigned offset, unsigned size);
void pci_bus_write(PciBus *b, unsigned devfn, unsigned offset, uint32_t value, unsigned size);

void pci_bus_intx_set(PciBus *b, VmrDevice *function, bool level);
void pci_bus_msi_send(PciBus *b, VmrDevice *function, unsigned vector);
void pci_bus_msix_send(PciBus *b, VmrDevice *function, unsigned vector);
uint64_t pci_bus_msix_read(PciBus *b, VmrDevice *function, uint64_t offset, unsigned size);
void pci_bus_msix_write(PciBus *b, VmrDevice *function, uint64_t offset, uint64_t value,
                        unsigned size);
void pci_bus_restored(PciBus *b, VmrDevice *function);

#endif
