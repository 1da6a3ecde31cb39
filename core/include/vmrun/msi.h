/*
 * vmrun/msi.h - where message-signalled interrupts go.
 */
#ifndef VMRUN_MSI_H
#define VMRUN_MSI_H

#include <vmrun/device.h>

/* Takes message-signalled interrupts: (address, data) as a PCI function writes them.  [io] */
#define VMR_MSI_SINK "vmr.msi-sink/1"
typedef struct VmrMsiSinkInterface {
    uint32_t size;
    void (*send)(VmrDevice *dev, uint64_t address, uint32_t data);
} VmrMsiSinkInterface;

#endif
