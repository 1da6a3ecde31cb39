/* messages.h - between bus.c and messages.c. */
#ifndef PCI_MESSAGES_H
#define PCI_MESSAGES_H

#include "bus.h"

/* The slot of a function that is attached, or NULL. */
PciSlot *pci_slot(VmrDevice *function);
/* Masks, enables or bus mastering may have changed: send what is pending. */
void pci_messages_update(PciBus *b, PciSlot *s);

#endif
