/* The accelerators that are built in, the preferred ones first. */
#include "core/accel.h"

extern const VmrAccelClass vmr_interp_accel, vmr_kvm_accel;

const VmrAccelClass *const vmr_accels[] = {
#ifdef VMR_HAVE_KVM
    &vmr_kvm_accel,
#endif
    &vmr_interp_accel, NULL,
};
