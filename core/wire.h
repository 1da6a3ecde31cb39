/*
 * core/wire.h - from the sections of a machine file to a machine.
 */
#ifndef VMR_CORE_WIRE_H
#define VMR_CORE_WIRE_H

#include "core/config.h"
#include "core/machine.h"

/* vmr_machine_new() with all errors, each with its place: everything that can be told without
   realizing a device.  NULL if there are any, those that reading the file gave included.  [main] */
VmrMachine *vmr_machine_wire(const VmrConfig *config, VmrErrors *errors);

/* The first of [machine] accel that works, one without limits before one with; NULL with an
   error that says why each does not.  *note: why it is not the first, or what its limits are. */
const VmrAccelClass *vmr_accel_choose(const char *list, char **note, GError **error);

/* ---- between wire.c, irqwire.c and realize.c -------------------------- */

#define VMR_PAGE 4096u
/* Physical addresses: what the widest of our CPUs has. */
#define VMR_ADDRESS_BITS 52

bool vmr_region_is_memory(const VmrRegion *region);
/* NULL, or why a region of `size` bytes cannot be there. */
const char *vmr_region_misplaced(const VmrRegion *region, bool io, uint64_t base, uint64_t size);

/* What vmr_space_place() needs for a region at `base`; memory gets its RAM.  *size: as the class
   or the device says, rounded up to pages for memory.  The label is the caller's to set. */
bool vmr_region_prepare(VmrDeviceHandle *handle, const VmrRegion *region, bool io, uint64_t base,
                        uint64_t *size, VmrPlacement *placement, GError **error);
uint64_t vmr_region_size(const VmrDeviceHandle *handle, const VmrRegion *region);

VmrDeviceHandle *vmr_machine_device(VmrMachine *machine, const char *name);
/* Names of all [device] sections, for vmr_nearest(); NULL-terminated. */
GPtrArray *vmr_config_device_names(const VmrConfig *config);
/* Connect the members of an output as the text says. */
bool vmr_wire_machine_line(VmrMachine *machine, const VmrSection *section, const VmrValue *value,
                           VmrIrq *irq, VmrErrors *errors);
void vmr_wire_line(VmrMachine *machine, VmrDeviceHandle *from, const VmrLine *line,
                   const VmrSection *section, const VmrValue *value, VmrErrors *errors);

/* What a device's class, wiring and describe() say of it.  After placing.  [main] */
VmrDescription *vmr_description_new(VmrDeviceHandle *handle);
void vmr_description_free(VmrDescription *description);

#endif
