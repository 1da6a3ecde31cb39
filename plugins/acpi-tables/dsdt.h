/* dsdt.h - the namespace of devices, made from their descriptions. */
#ifndef DSDT_H
#define DSDT_H

#include <vmrun/describe.h>
#include <vmrun/host.h>

/* The GSI that an output line leads to.  False: to none. */
bool acpi_line_gsi(VmrDevice *dev, const VmrRoutedLine *line, uint32_t *gsi);

/* The place of the n-th region of a device's class, or NULL if it has none. */
const VmrPlacedRegion *acpi_region(const VmrDescription *d, unsigned n);

/* Where a PCI host bridge's configuration space is mapped, or NULL. */
const VmrPlacedRegion *acpi_ecam(const VmrDescription *d);

/* The AML of the DSDT, at most `limit` bytes; devices that do not fit are left out and logged. */
GByteArray *acpi_dsdt_aml(VmrDevice *dev, size_t limit);

#endif
