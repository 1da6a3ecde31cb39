/* Internal to the x87: the images of FNSTENV and FNSAVE, see x87-table.c. */
#ifndef VMRUN_INTERP_X86_X87_H
#define VMRUN_INTERP_X86_X87_H

#include "fpu.h"

void x87_load_env(X86Fpu *f, const void *mem, unsigned mode);
void x87_store_env(const X86Fpu *f, void *mem, unsigned mode);
void x87_load_all(X86Fpu *f, const void *mem, unsigned mode);
void x87_store_all(const X86Fpu *f, void *mem, unsigned mode);

#endif
