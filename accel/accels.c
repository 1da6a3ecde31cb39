/* The accelerators that are built in, the preferred ones first. */
#include "core/accel.h"

const VmrAccelClass *const vmr_accels[] = {NULL};
