/*
 * core/drive.h - [drive NAME]: block back ends as machine files and devices see them.
 *
 * A drive is opened when the machine is realized, so that --check touches no
 * image.  Requests run on the work pool (core/block.h) and end in the device's domain.
 */
#ifndef VMR_CORE_DRIVE_H
#define VMR_CORE_DRIVE_H

#include "block.h"
#include "config.h"
#include "machine.h"

/* What a section may say; for --describe drive and the man page. */
extern const VmrProperty vmr_drive_properties[];

/* From a section; NULL with errors noted.  The machine owns it.  [main] */
VmrDrive *vmr_drive_new(VmrMachine *machine, const VmrSection *section, VmrErrors *errors);
/* All of a machine's. */
bool vmr_drives_open(VmrMachine *machine, GError **error);
void vmr_drives_free(VmrMachine *machine);

/* VmrHost's. */
bool vmr_drive_host_attach(VmrDevice *dev, VmrDrive *drive, VmrDriveInfo *info, GError **error);
void vmr_drive_host_submit(VmrDevice *dev, VmrDrive *drive, VmrDriveRequest *request);
void vmr_drive_host_drain(VmrDevice *dev, VmrDrive *drive);

#endif
