/*
 * accel/kvm/x86/exits.c - what the guest wants at an exit: ports, memory, MSRs; and the
 * report when KVM cannot go on.
 *
 * MSRs of the local APIC, the time-stamp counter and the machine-check banks (of which there
 * are none) come here by a filter.  x2APIC's cannot be filtered; without a local APIC of its
 * own KVM takes them for invalid, and invalid accesses come here as well, for their #GP.
 */
#include "x86.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    MSR_TSC = 0x10, MSR_APIC_BASE = 0x1b, MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b,
    MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
};

bool kvm_x86_msr_filter(KvmVm *vm, GError **error)
{
    static const uint8_t none = 0;
    static const struct { uint32_t base, count, how; } ours[] = {
        {MSR_TSC, 1, KVM_MSR_FILTER_WRITE},
        {MSR_APIC_BASE, 1, KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE},
        {MSR_TSC_ADJUST, 1, KVM_MSR_FILTER_WRITE},
        {MSR_MCG_CAP, 2, KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE},
        {MSR_TSC_DEADLINE, 1, KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE},
    };
    struct kvm_msr_filter f = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
    for (unsigned i = 0, n = 0; i < G_N_ELEMENTS(ours); i++) {
        if (vm->arch->split && (ours[i].base == MSR_APIC_BASE || ours[i].base == MSR_TSC_DEADLINE))
            continue;
        f.ranges[n++] = (struct kvm_msr_filter_range){.flags = ours[i].how, .nmsrs = ours[i].count,
                                                      .base = ours[i].base, .bitmap = (uint8_t *)&none};
    }
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_X86_USER_SPACE_MSR,
        .args = {KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER}};
    if (kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0)
        return kvm_failed(error, "MSR exits");
    if (kvm_ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &f) < 0)
        return kvm_failed(error, "KVM_X86_SET_MSR_FILTER");
    return true;
}

static bool is_lapic_msr(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
           (msr >= MSR_X2APIC && msr <= MSR_X2APIC_LAST);
}

/* false: #GP(0). */
static bool msr_read(X86Cpu *c, uint32_t msr, uint64_t *value)
{
    if (is_lapic_msr(msr)) {
        if (!c->lapic_ops || x86_vm(c)->split)
            return false;
        vmr_domain_lock(c->intc->handle->domain);
        bool ok = c->lapic_ops->read_msr(c->intc, c->k.index, msr, value);
        vmr_domain_unlock(c->intc->handle->domain);
        return ok;
    }
    switch (msr) {
    case MSR_FEATURE_CONTROL: *value = 1; return true; /* locked, nothing enabled */
    case MSR_MCG_CAP: case MSR_MCG_STATUS: *value = 0; return true;
    default: return false;
    }
}

static bool msr_write(X86Cpu *c, uint32_t msr, uint64_t value)
{
    if (is_lapic_msr(msr)) {
        if (!c->lapic_ops || x86_vm(c)->split)
            return false;
        vmr_domain_lock(c->intc->handle->domain);
        bool ok = c->lapic_ops->write_msr(c->intc, c->k.index, msr, value);
        vmr_domain_unlock(c->intc->handle->domain);
        c->cr8_stale = true;
        return ok;
    }
    switch (msr) {
    case MSR_TSC: kvm_x86_tsc_write(c, value); return true;
    case MSR_TSC_ADJUST: return kvm_x86_tsc_adjust_write(c, value);
    case MSR_MCG_STATUS: return true;
    default: return false;
    }
}

void kvm_x86_msr_read(X86Cpu *c)
{
    struct kvm_run *run = c->k.run;
    uint64_t value = 0;
    run->msr.error = !msr_read(c, run->msr.index, &value);
    run->msr.data = value;
    if (run->msr.error && (vmr_trace_mask & VMR_TRACE_GUEST_ERROR))
        vmr_core_trace_cpu(c->k.index, "guest-error: read of MSR 0x%x", run->msr.index);
}

void kvm_x86_msr_write(X86Cpu *c)
{
    struct kvm_run *run = c->k.run;
    run->msr.error = !msr_write(c, run->msr.index, run->msr.data);
    if (run->msr.error && (vmr_trace_mask & VMR_TRACE_GUEST_ERROR))
        vmr_core_trace_cpu(c->k.index, "guest-error: write of MSR 0x%x = 0x%" PRIx64,
                       run->msr.index, (uint64_t)run->msr.data);
}

/* ---- ports and memory ------------------------------------------------------------------------ */

/* A doorbell's next write will cause no exit. */
static void learn(X86Cpu *c, VmrSpace *space, uint64_t address)
{
    const VmrRange *r = vmr_space_find(space, address);
    if (r && r->kind == VMR_RANGE_IO && G_UNLIKELY(r->region->flags & VMR_REGION_DOORBELL))
        kvm_bell_learn(c->k.vm, space == c->k.vm->machine->io, address);
}

void kvm_x86_pio(X86Cpu *c)
{
    struct kvm_run *run = c->k.run;
    VmrSpace *io = c->k.vm->machine->io;
    unsigned size = run->io.size, port = run->io.port;
    uint64_t offset = run->io.data_offset, count = run->io.count;
    c->k.stats.exits_pio++;
    if ((size != 1 && size != 2 && size != 4) || offset > c->k.vm->run_size ||
        count * size > c->k.vm->run_size - offset)
        return; /* KVM does no such thing */
    uint8_t *data = (uint8_t *)run + offset;
    for (; count; count--, data += size) {
        uint64_t value = 0;
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            memcpy(&value, data, size);
            vmr_space_write(io, port, value, size, (int)c->k.index);
            learn(c, io, port);
        } else {
            vmr_space_read(io, port, &value, size, (int)c->k.index);
            memcpy(data, &value, size);
        }
    }
}

void kvm_x86_mmio(X86Cpu *c)
{
    struct kvm_run *run = c->k.run;
    VmrSpace *memory = c->k.vm->machine->memory;
    unsigned len = MIN(run->mmio.len, 8);
    uint64_t value = 0, address = run->mmio.phys_addr;
    c->k.stats.exits_mmio++;
    /* A length that is no power of two is the part of an access up to the end of a page. */
    if (len & (len - 1)) {
        if (run->mmio.is_write)
            vmr_space_copy_to(memory, address, run->mmio.data, len);
        else
            vmr_space_copy_from(memory, address, run->mmio.data, len);
        return;
    }
    if (run->mmio.is_write) {
        memcpy(&value, run->mmio.data, len);
        vmr_space_write(memory, address, value, len, (int)c->k.index);
        learn(c, memory, address);
        c->cr8_stale = true; /* it may have been the local APIC */
    } else {
        vmr_space_read(memory, address, &value, len, (int)c->k.index);
        memcpy(run->mmio.data, &value, sizeof value);
    }
}

/* ---- the report ------------------------------------------------------------------------------- */

static void describe_internal(const struct kvm_run *run, GString *text)
{
    static const char *const kinds[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "an instruction that KVM cannot emulate",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "an exception within the delivery of another",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit within the delivery of an event",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit that KVM does not know"};
    unsigned kind = run->internal.suberror;
    g_string_append_printf(text, ": %s",
                           kind < G_N_ELEMENTS(kinds) && kinds[kind] ? kinds[kind] : "unknown");
    if (kind == KVM_INTERNAL_ERROR_EMULATION && run->emulation_failure.ndata >= 3 &&
        (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
        g_string_append(text, "; instruction");
        for (unsigned i = 0; i < MIN(run->emulation_failure.insn_size, 15u); i++)
            g_string_append_printf(text, " %02x", run->emulation_failure.insn_bytes[i]);
    }
}

void kvm_x86_dump(X86Cpu *c, const char *why)
{
    struct kvm_run *run = c->k.run;
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "cpu%u: KVM stopped: %s", c->k.index, why);
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        describe_internal(run, text);
    else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY)
        g_string_append_printf(text, ": hardware reason 0x%" PRIx64,
                               (uint64_t)run->fail_entry.hardware_entry_failure_reason);
    struct kvm_regs r = {0};
    struct kvm_sregs s = {0};
    if (kvm_ioctl(c->k.fd, KVM_GET_REGS, &r) == 0 && kvm_ioctl(c->k.fd, KVM_GET_SREGS, &s) == 0)
        g_string_append_printf(
            text,
            "\n  RIP %04x:%016llx RFLAGS %08llx RSP %04x:%016llx"
            "\n  RAX %016llx RCX %016llx RDX %016llx RBX %016llx"
            "\n  RBP %016llx RSI %016llx RDI %016llx R8  %016llx"
            "\n  CR0 %08llx CR2 %016llx CR3 %016llx CR4 %08llx EFER %04llx",
            s.cs.selector, r.rip, r.rflags, s.ss.selector, r.rsp, r.rax, r.rcx, r.rdx, r.rbx, r.rbp,
            r.rsi, r.rdi, r.r8, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
    char *limits = kvm_arch_limits(c->k.vm->kvm);
    if (limits)
        g_string_append_printf(text, "\n  %s; try --accel interp", limits);
    g_free(limits);
    vmr_core_log(VMR_LOG_ERROR, "%s", text->str);
    g_string_free(text, TRUE);
}
