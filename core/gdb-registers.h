/*
 * core/gdb-registers.h - x86-64 registers by GDB's numbers.
 */
#ifndef VMR_CORE_GDB_REGISTERS_H
#define VMR_CORE_GDB_REGISTERS_H

#include <glib.h>
#include <vmrun/x86.h>

enum { VMR_GDB_REGISTER_BYTES = 16 }; /* at most, one */

/* The target description (target.xml).  Caller frees. */
char *vmr_gdb_target_xml(void);
/* How many bytes register n has; 0: there is none. */
unsigned vmr_gdb_register_size(unsigned n);
/* Its bytes, little endian; the number of them.  Writes of selectors, control registers and of the x87's
   control words are ignored. */
unsigned vmr_gdb_register_read(VmrX86State *state, unsigned n, uint8_t *to);
unsigned vmr_gdb_register_write(VmrX86State *state, unsigned n, const uint8_t *from);

#endif
