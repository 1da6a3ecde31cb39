/*
 * core/debug.h - where CPUs stop for somebody outside: breakpoints, watchpoints, single steps.
 *
 * The points are the machine's: each vCPU is told of them by its own thread, before it runs, and
 * whichever accelerator runs it.  Those who set points: core/swap.c, core/gdb.c.
 */
#ifndef VMR_CORE_DEBUG_H
#define VMR_CORE_DEBUG_H

#include "machine.h"

#include <vmrun/x86.h>

/* Every CPU stops there from now on, until it is taken away as often as it was set.  Refused if
   the accelerator has no more.  [main] */
bool vmr_debug_add(VmrMachine *machine, const VmrPoint *point, GError **error);
void vmr_debug_remove(VmrMachine *machine, const VmrPoint *point);
/* Can this accelerator, with this VM, stop for all that is set?  [main] */
bool vmr_debug_fits(VmrMachine *machine, const VmrAccelClass *accel, void *vm, GError **error);
/* The vCPUs are new: they know of nothing.  Parked.  [main] */
void vmr_debug_renewed(VmrMachine *machine);
/* The CPUs' debug_step has changed.  Parked.  [main] */
void vmr_debug_changed(VmrMachine *machine);
void vmr_debug_free(VmrMachine *machine);

/* On a vCPU's thread, around cpu_run(). */
void vmr_debug_prepare(VmrCpu *cpu);
void vmr_debug_stopped(VmrCpu *cpu);

/* ---- memory (debug-memory.c): RAM and ROM.  Paused --------------------------------------------- */

bool vmr_debug_read_physical(VmrMachine *machine, uint64_t address, void *buf, size_t len);
bool vmr_debug_translate(VmrMachine *machine, const VmrX86State *state, uint64_t address, uint64_t *physical);
/* At a virtual address of the CPU with this state: how many bytes were there. */
size_t vmr_debug_memory(VmrMachine *machine, const VmrX86State *state, uint64_t address, void *buf, size_t len,
                        bool write);

#endif
