/*
 * tests/fuzz/accels.c - the accelerators of a core that runs nothing: one that machine files may
 * name, and that is never asked for a VM.
 */
#include "core/accel.h"

static const VmrAccelClass interp = {.size = sizeof(VmrAccelClass), .name = "interp"};
const VmrAccelClass *const vmr_accels[] = {&interp, NULL};
