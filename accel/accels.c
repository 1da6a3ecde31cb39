/* The accelerators that are built in, the preferred ones first. */
#include "core/accel.h"

extern const VmrAccelClass vmr_interp_accel;

const VmrAccelClass *const vmr_accels[] = {&vmr_interp_accel, NULL};
