/*
 * core/swap.h - another accelerator takes over while the guest runs.
 */
#ifndef VMR_CORE_SWAP_H
#define VMR_CORE_SWAP_H

#include "machine.h"

/* Run on with the accelerator of that name; NULL: the next one that works, or the same anew.
   After an error the machine runs on as before.  [main], without the domain lock */
bool vmr_machine_swap(VmrMachine *machine, const char *name, GError **error);

/* --swap EVENT:ACCEL, in order: each waits until the one before has come.  [main] */
bool vmr_swap_add(VmrMachine *machine, const char *spec, GError **error);
/* The run begins: the first may come. */
void vmr_swap_start(VmrMachine *machine);
void vmr_swap_free(VmrMachine *machine);
/* The main loop: carry out what has come. */
void vmr_swap_carry_out(VmrMachine *machine);

/* Something is waited for; then the fabric tells of what it does.  [any] */
extern bool vmr_swap_armed;
void vmr_swap_access(VmrMachine *machine, bool io, uint64_t address, unsigned size);
/* A CPU has come to this breakpoint: is it what was waited for?  [any] */
bool vmr_swap_pc(VmrMachine *machine, uint64_t address);
void vmr_swap_irq(VmrMachine *machine, VmrDevice *device, unsigned n);

#endif
