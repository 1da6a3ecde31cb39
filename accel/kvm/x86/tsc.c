/*
 * accel/kvm/x86/tsc.c - the guest's time-stamp counter: the host's plus an offset.
 *
 * It stands still while the machine is paused, as all clocks of the guest do.  What must
 * hold between vCPUs is computed once for all of them: they get the same offset to the tick.
 * Guest writes of IA32_TSC and IA32_TSC_ADJUST come here, so that the offset is always known:
 * the local APIC's TSC-deadline timer asks for the TSC from any thread.
 *
 * Leaves out: another frequency than the host's.
 */
#include "x86.h"

#include "core/runtime.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <time.h>
#include <x86intrin.h>

enum { MSR_TSC = 0x10, MSR_TSC_ADJUST = 0x3b, MSR_TSC_DEADLINE = 0x6e0 };

static int64_t monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t ticks(const X86Cpu *c, int64_t ns)
{
    return (int64_t)((__int128)ns * (int64_t)c->k.vm->arch->tsc_hz / 1000000000);
}

static void set_offset(X86Cpu *c, int64_t offset)
{
    uint64_t value = (uint64_t)offset;
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
                                   .addr = (uintptr_t)&value};
    if (!x86_vm(c)->tsc_attr || kvm_ioctl(c->k.fd, KVM_SET_DEVICE_ATTR, &attr) < 0)
        kvm_x86_msr_set(c, MSR_TSC, __rdtsc() + value);
    atomic_store(&c->tsc_offset, offset);
}

void kvm_x86_tsc_init(X86Cpu *c)
{
    KvmArchVm *vm = x86_vm(c);
    if (vm->tsc_hz)
        return;
    int khz = ioctl(c->k.fd, KVM_GET_TSC_KHZ, 0);
    vm->tsc_hz = khz > 0 ? (uint64_t)khz * 1000 : 1000000000;
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET};
    vm->tsc_attr = ioctl(c->k.fd, KVM_HAS_DEVICE_ATTR, &attr) == 0;
}

uint64_t kvm_x86_tsc(X86Cpu *c)
{
    VmrMachine *m = c->k.vm->machine;
    KvmArchVm *vm = x86_vm(c);
    if (c->tsc_frozen)
        return c->tsc_value;
    if (vmr_clock_host_deadline(m, 0) == INT64_MAX) {
        g_mutex_lock(&vm->tsc_lock);
        int64_t host = vm->host_tsc0 + ticks(c, vmr_machine_time(m));
        g_mutex_unlock(&vm->tsc_lock);
        return (uint64_t)(host + atomic_load(&c->tsc_offset));
    }
    return __rdtsc() + (uint64_t)atomic_load(&c->tsc_offset);
}

void kvm_x86_tsc_freeze(X86Cpu *c, uint64_t value)
{
    c->tsc_value = value;
    c->tsc_time = vmr_machine_time(c->k.vm->machine);
    c->tsc_frozen = true;
}

void kvm_x86_tsc_resume(X86Cpu *c)
{
    KvmArchVm *vm = x86_vm(c);
    int64_t base = vmr_clock_host_deadline(c->k.vm->machine, 0);
    if (base == INT64_MAX || (base == c->clock_base && !c->tsc_frozen))
        return; /* the former: it is about to be paused again */
    g_mutex_lock(&vm->tsc_lock);
    if (vm->clock_base != base) {
        int64_t before = monotonic(), tsc = (int64_t)__rdtsc(), after = monotonic();
        vm->host_tsc0 = tsc - ticks(c, before + (after - before) / 2 - base);
        vm->clock_base = base;
    }
    int64_t host_tsc0 = vm->host_tsc0;
    g_mutex_unlock(&vm->tsc_lock);
    bool moved = c->tsc_frozen || c->clock_base;
    if (c->tsc_frozen)
        set_offset(c, (int64_t)c->tsc_value - host_tsc0 - ticks(c, c->tsc_time));
    else if (c->clock_base)
        set_offset(c, atomic_load(&c->tsc_offset) - ticks(c, base - c->clock_base));
    c->tsc_frozen = false;
    c->clock_base = base;
    /* KVM's own timer is for a moment of the host's TSC: have it reckon again. */
    uint64_t deadline;
    if (moved && vm->split && kvm_x86_msr_get(c, MSR_TSC_DEADLINE, &deadline) && deadline)
        kvm_x86_msr_set(c, MSR_TSC_DEADLINE, deadline);
}

void kvm_x86_tsc_write(X86Cpu *c, uint64_t value)
{
    int64_t offset = (int64_t)(value - __rdtsc());
    uint64_t adjust = 0;
    /* SDM volume 3, "IA32_TSC_ADJUST": it follows a write of the TSC. */
    if (kvm_x86_msr_get(c, MSR_TSC_ADJUST, &adjust))
        kvm_x86_msr_set(c, MSR_TSC_ADJUST, adjust + (uint64_t)(offset - atomic_load(&c->tsc_offset)));
    set_offset(c, offset);
}

bool kvm_x86_tsc_adjust_write(X86Cpu *c, uint64_t value)
{
    uint64_t adjust;
    if (!kvm_x86_msr_get(c, MSR_TSC_ADJUST, &adjust))
        return false;
    int64_t offset = atomic_load(&c->tsc_offset) + (int64_t)(value - adjust);
    if (!kvm_x86_msr_set(c, MSR_TSC_ADJUST, value))
        return false;
    set_offset(c, offset);
    return true;
}
