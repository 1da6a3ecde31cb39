/*
 * accel/kvm/x86/x86.h - an x86 vCPU under KVM.
 */
#ifndef VMR_KVM_X86_H
#define VMR_KVM_X86_H

#include "../kvm.h"
#include "accel/x86/model.h"

#include <vmrun/x86.h>

enum { KVM_X86_ROUTES = 24 };

typedef struct KvmArchVm {
    struct kvm_cpuid2 *supported;
    uint64_t tsc_hz;
    bool tsc_attr;         /* offsets of TSCs can be set exactly */
    GMutex tsc_lock;       /* of these two: */
    int64_t clock_base;    /* host time of virtual time 0, since the machine last went on */
    int64_t host_tsc0;     /* the host's TSC then */
    const VmrX86LapicOffloadInterface *split; /* KVM has the local APICs; NULL: the device has */
    bool kernel;           /* and the I/O APIC and the 8259s, which are: */
    VmrDevice *ioapic, *pic;
    const VmrX86IoapicOffloadInterface *ioapic_ops;
    const VmrX86PicOffloadInterface *pic_ops;
    GMutex routes_lock;    /* of these: level-triggered messages, so that KVM tells of their EOI */
    struct kvm_msi routes[KVM_X86_ROUTES];
    unsigned route_count, route_next;
    struct kvm_msrs *msrs; /* those of vmr_x86_state_msrs that this KVM has */
    bool missing_told, smi_told; /* log once */
} KvmArchVm;

enum {
    EV_INTR = KVM_EV_ARCH, /* the pin may have risen */
    EV_NMI = KVM_EV_ARCH << 1,
    EV_INIT = KVM_EV_ARCH << 2,
    EV_SIPI = KVM_EV_ARCH << 3,
};

typedef struct X86Cpu {
    KvmCpu k;
    VmrDevice *intc; /* NULL: interrupts are not served */
    const VmrX86IntcInterface *intc_ops;
    const VmrX86LapicInterface *lapic_ops;
    VmrX86Cpuid cpuid;

    _Atomic bool intr; /* the INTR pin */
    _Atomic uint32_t sipi_vector;

    /* Of the vCPU's thread, or of whoever has it stopped. */
    bool halted, wait_sipi;
    bool incomplete; /* the access of the last exit is finished by the next KVM_RUN */
    bool cr8_stale;  /* the task priority may have been changed by other means than CR8 */
    uint64_t cr8;    /* as KVM last knew it */
    _Atomic int64_t tsc_offset; /* guest's TSC - host's */
    int64_t clock_base; /* KvmArchVm.clock_base when it last ran */
    bool tsc_frozen;    /* the TSC is to go on from tsc_value, as of virtual time tsc_time */
    uint64_t tsc_value;
    int64_t tsc_time;
    VmrDebug *debug;    /* what somebody outside stops it for, or NULL */
} X86Cpu;

static inline KvmArchVm *x86_vm(X86Cpu *c) { return c->k.vm->arch; }

/* ---- split.c --------------------------------------------------------------------------------- */

/* If the machine file says irqchip = split, or kernel. */
bool kvm_x86_split_init(KvmVm *vm, GError **error);
void kvm_x86_split_clear(KvmVm *vm);
/* KVM's local APIC from the device, and back; the vCPU is stopped. */
bool kvm_x86_lapic_push(X86Cpu *c, GError **error);
void kvm_x86_lapic_pull(X86Cpu *c);
uint64_t kvm_x86_apic_base(X86Cpu *c); /* the device's */
void kvm_x86_eoi(X86Cpu *c, uint8_t vector);

/* ---- irqchip.c ------------------------------------------------------------------------------- */

bool kvm_x86_irqchip_init(KvmVm *vm, GError **error);
void kvm_x86_irqchip_clear(KvmVm *vm); /* [io] */
/* KVM's I/O APIC and 8259s from the devices, when all local APICs are; and back.  vCPUs stopped. */
bool kvm_x86_irqchip_push(KvmVm *vm, GError **error);
void kvm_x86_irqchip_pull(KvmVm *vm);

/* ---- cpuid.c --------------------------------------------------------------------------------- */

bool kvm_x86_cpuid_set(X86Cpu *c, const char *model, GError **error);

/* ---- state.c --------------------------------------------------------------------------------- */

void kvm_x86_get_state(X86Cpu *c, VmrX86State *state);
bool kvm_x86_set_state(X86Cpu *c, const VmrX86State *state, GError **error);
void kvm_x86_reset(X86Cpu *c, bool init);
void kvm_x86_start_up(X86Cpu *c, uint8_t vector); /* SIPI */
bool kvm_x86_nmi_masked(X86Cpu *c);
void kvm_x86_find_msrs(X86Cpu *c); /* KvmArchVm.msrs, by the first vCPU */

bool kvm_x86_msr_get(X86Cpu *c, uint32_t msr, uint64_t *value);
bool kvm_x86_msr_set(X86Cpu *c, uint32_t msr, uint64_t value);

/* ---- tsc.c ----------------------------------------------------------------------------------- */

void kvm_x86_tsc_init(X86Cpu *c);
uint64_t kvm_x86_tsc(X86Cpu *c); /* the guest's, now.  [any] */
/* The vCPU is stopped: its TSC is to go on from `value` when the machine does. */
void kvm_x86_tsc_freeze(X86Cpu *c, uint64_t value);
/* On the vCPU's thread, before it runs. */
void kvm_x86_tsc_resume(X86Cpu *c);
/* The guest writes IA32_TSC or IA32_TSC_ADJUST; on its thread. */
void kvm_x86_tsc_write(X86Cpu *c, uint64_t value);
bool kvm_x86_tsc_adjust_write(X86Cpu *c, uint64_t value);

/* ---- debug.c --------------------------------------------------------------------------------- */

/* KVM_EXIT_DEBUG: true, and VmrCpu.debug_hit says why; false: it was the guest's own, and is. */
bool kvm_x86_debug_exit(X86Cpu *c);

/* ---- exits.c --------------------------------------------------------------------------------- */

void kvm_x86_pio(X86Cpu *c);
void kvm_x86_mmio(X86Cpu *c);
void kvm_x86_msr_read(X86Cpu *c);
void kvm_x86_msr_write(X86Cpu *c);
/* Log what stopped it, with registers. */
void kvm_x86_dump(X86Cpu *c, const char *why);
/* Once a VM: MSRs of which user space is asked. */
bool kvm_x86_msr_filter(KvmVm *vm, GError **error);

#endif
