/*
 * accel/kvm/kvm.h - Linux' KVM as an accelerator: what its files share.
 *
 * After Documentation/virt/kvm/api.rst of Linux.  Files of this folder:
 *   kvm.c     probe, the VM, kicks, the accelerator's table
 *   slots.c   guest memory from the address map
 *   bells.c   writes that need no exit: doorbells, coalesced writes
 *   x86/      the x86 vCPU: vcpu.c the loop, exits.c what the guest wants then,
 *             state.c architectural state and reset, cpuid.c CPU models,
 *             debug.c breakpoints
 *
 * Interrupt controllers are the machine's plugins, in user space: KVM is given vectors
 * (KVM_INTERRUPT) and asked for a moment to give them.
 */
#ifndef VMR_KVM_H
#define VMR_KVM_H

#include "core/machine.h"

#include <linux/kvm.h>
#include <stdatomic.h>
#include <sys/types.h>

typedef struct KvmCpu KvmCpu;

typedef struct KvmSlot {
    uint64_t base, size, ram_offset;
    bool readonly;
    uint32_t number;
} KvmSlot;

typedef struct KvmZone {
    uint64_t base;
    uint32_t size, io;
} KvmZone;

typedef struct KvmVm {
    VmrMachine *machine;
    int kvm, fd;           /* /dev/kvm; the VM */
    size_t run_size;       /* of a vCPU's struct kvm_run */
    unsigned cpu_count;
    KvmCpu **cpus;         /* atomic: NULL until made */

    /* slots.c */
    GMutex slots_lock;     /* one change at a time */
    GArray *slots;         /* KvmSlot, ascending */
    unsigned most_slots;

    /* bells.c, under the domain lock */
    GPtrArray *bells;
    GArray *zones; /* KvmZone */
    struct kvm_coalesced_mmio_ring *ring; /* NULL: no zones */

    /* While set, no vCPU may be in KVM_RUN. */
    _Atomic bool hold;
    GMutex hold_lock;
    GCond hold_cond;

    struct KvmArchVm *arch;
} KvmVm;

enum {
    KVM_EV_KICK = 1u << 0,
    KVM_EV_MAP = 1u << 1, /* the thread may hold an old map */
    KVM_EV_ARCH = 1u << 8, /* from here on: the architecture's */
};

/* The part of a vCPU that is the same everywhere; an architecture's begins with it. */
struct KvmCpu {
    KvmVm *vm;
    VmrCpu *core;
    unsigned index;
    int fd;
    struct kvm_run *run;
    _Atomic uint32_t events; /* KVM_EV_* */
    _Atomic bool in_run;     /* in KVM_RUN, or about to be */
    _Atomic pid_t tid;       /* its thread, once it has run */
    VmrCpuStats stats;
};

/* ---- kvm.c ------------------------------------------------------------------------------------ */

/* ioctl() that is taken up again after a signal. */
int kvm_ioctl(int fd, unsigned long request, const void *arg);
int kvm_check(const KvmVm *vm, int capability);
/* GError from errno: "KVM: WHAT: why". */
bool kvm_failed(GError **error, const char *what);
bool kvm_cpu_open(KvmCpu *cpu, KvmVm *vm, VmrCpu *core, unsigned index, GError **error);
void kvm_cpu_close(KvmCpu *cpu);
/* Have the vCPU look at `events`, which are added; it is not woken from a halt.  [any] */
void kvm_cpu_event(KvmCpu *cpu, uint32_t events);
/* KVM_RUN: 0, or -errno.  `finish`: only complete the access of the last exit (-EINTR). */
int kvm_cpu_enter(KvmCpu *cpu, bool finish);
/* No vCPU is in KVM_RUN between these two.  Not from within KVM_RUN; may hold any lock. */
void kvm_hold(KvmVm *vm);
void kvm_release(KvmVm *vm);

/* ---- slots.c ---------------------------------------------------------------------------------- */

/* Make KVM's memory slots what the map says.  [any] */
bool kvm_slots_sync(KvmVm *vm, GError **error);

/* ---- bells.c ---------------------------------------------------------------------------------- */

/* A write to `address`, a region's that is a DOORBELL, came as an exit.  On a vCPU's thread. */
void kvm_bell_learn(KvmVm *vm, bool io, uint64_t address);
/* Serve those that have rung: before the machine counts as stopped. */
void kvm_bells_drain(KvmVm *vm);
void kvm_bells_sync(KvmVm *vm); /* the map has changed */
void kvm_bells_clear(KvmVm *vm);
/* Serve what was coalesced. */
void kvm_ring_empty(KvmCpu *cpu);

static inline void kvm_ring_look(KvmCpu *cpu)
{
    struct kvm_coalesced_mmio_ring *ring = cpu->vm->ring;
    if (ring && G_UNLIKELY(ring->first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)))
        kvm_ring_empty(cpu);
}

/* ---- the architecture's ------------------------------------------------------------------------- */

bool kvm_arch_vm_init(KvmVm *vm, GError **error);
void kvm_arch_vm_clear(KvmVm *vm);
/* Why this KVM, which works, will not do for any guest; NULL: it will. */
char *kvm_arch_limits(int kvm);
/* Members of the accelerator's table. */
void *kvm_arch_cpu_new(void *vm, VmrCpu *core, unsigned index, const char *model, GError **error);
void kvm_arch_cpu_free(void *acpu);
void kvm_arch_cpu_reset(void *acpu, VmrResetKind kind);
VmrExit kvm_arch_cpu_run(void *acpu);
const void *kvm_arch_cpu_interface(void *acpu, const char *id);
const char *const *kvm_arch_cpu_models(void);
char *kvm_arch_cpu_describe(const char *model);
unsigned kvm_arch_debug_points(void *vm);
void kvm_arch_cpu_debug(void *acpu, const VmrDebug *debug);

#endif
