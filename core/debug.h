/*
 * core/debug.h - where CPUs stop for somebody outside: breakpoints, watchpoints, single steps.
 *
 * The points are the machine's: each vCPU is told of them by its own thread, before it runs, and
 * whichever accelerator runs it.  Those who set points: core/swap.c.
 */
#ifndef VMR_CORE_DEBUG_H
#define VMR_CORE_DEBUG_H

#include "machine.h"

/* Every CPU stops there from now on, until it is taken away as often as it was set.  Refused if
   the accelerator has no more.  [main] */
bool vmr_debug_add(VmrMachine *machine, const VmrPoint *point, GError **error);
void vmr_debug_remove(VmrMachine *machine, const VmrPoint *point);
/* Can this accelerator, with this VM, stop for all that is set?  [main] */
bool vmr_debug_fits(VmrMachine *machine, const VmrAccelClass *accel, void *vm, GError **error);
/* The vCPUs are new: they know of nothing.  Parked.  [main] */
void vmr_debug_renewed(VmrMachine *machine);
void vmr_debug_free(VmrMachine *machine);

/* On a vCPU's thread, around cpu_run(). */
void vmr_debug_prepare(VmrCpu *cpu);
void vmr_debug_stopped(VmrCpu *cpu);

#endif
