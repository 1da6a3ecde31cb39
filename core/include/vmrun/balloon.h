/*
 * vmrun/balloon.h - how the monitor makes a guest give memory back, or lets it have it again.
 *
 * Offered by balloon devices through get_interface().
 */
#ifndef VMRUN_BALLOON_H
#define VMRUN_BALLOON_H

#include <vmrun/device.h>

#define VMR_BALLOON "vmr.balloon/1"

/* What the guest tells of its memory; values are bytes or events, all ones: not known. */
typedef struct VmrBalloonStat {
    const char *name; /* kebab-case */
    uint64_t value;
} VmrBalloonStat;

typedef struct VmrBalloonInterface {
    uint32_t size; /* sizeof(VmrBalloonInterface) */
    /* The guest is to have this many bytes, rounded to pages of 4 KiB, of the machine's RAM; more
       than there is: all.  It follows in its own time, if it has a driver.  [io] */
    void (*set_memory)(VmrDevice *dev, uint64_t bytes);
    /* Bytes that the guest has now, as it says.  [io] */
    uint64_t (*memory)(VmrDevice *dev);
    /* The statistics that came last, and ask for new ones: how many there are, at most `max` of
       them in `stats`; their names are constant.  [io] */
    unsigned (*stats)(VmrDevice *dev, VmrBalloonStat *stats, unsigned max);
} VmrBalloonInterface;

#endif
