/*
 * core/gdb.h - GDB's remote protocol: `target remote`.  docs/debugging.md
 */
#ifndef VMR_CORE_GDB_H
#define VMR_CORE_GDB_H

#include "machine.h"

/* --gdb ADDR: unix:PATH, tcp:HOST:PORT, HOST:PORT or :PORT (of this host alone).  `wait`: the guest does not
   begin before a client lets it.  Before vmr_machine_run().  [main] */
bool vmr_gdb_listen(VmrMachine *machine, const char *address, bool wait, GError **error);
/* The run begins: is it to wait?  Then the machine is paused, and resumed by a client.  [main] */
bool vmr_gdb_waits(const VmrMachine *machine);
/* A CPU has stopped as VmrCpu.debug_hit says: is it the client who wants that?  On its thread. */
bool vmr_gdb_stopped(VmrCpu *cpu);
/* The main loop: tell the client of it. */
void vmr_gdb_carry_out(VmrMachine *machine);
/* The machine has ended. */
void vmr_gdb_close(VmrMachine *machine, int status);

#endif
