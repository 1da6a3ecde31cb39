/*
 * core/symbols.h - names of a guest's addresses, for people: from an ELF file's symbol table, or from a
 * System.map or /proc/kallsyms.
 */
#ifndef VMR_CORE_SYMBOLS_H
#define VMR_CORE_SYMBOLS_H

#include "machine.h"

/* --symbols FILE[:OFFSET], which may be repeated: OFFSET is added to all its addresses.  [main] */
bool vmr_symbols_load(VmrMachine *machine, const char *spec, GError **error);
/* NAME, NAME+N, or a number.  A name that stands for several addresses is refused.  [any] */
bool vmr_symbols_address(VmrMachine *machine, const char *text, uint64_t *address, GError **error);
/* "name" or "name+0x1f", if the address is near behind one; else NULL.  Caller frees.  [any] */
char *vmr_symbols_name(VmrMachine *machine, uint64_t address);
void vmr_symbols_free(VmrMachine *machine);

#endif
