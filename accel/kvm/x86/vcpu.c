/*
 * accel/kvm/x86/vcpu.c - the loop around KVM_RUN, interrupts, and the vCPU's interface.
 *
 * The INTR pin is the interrupt controller's.  Its vector is asked for when KVM says that the
 * guest takes an interrupt now; if it does not, KVM is asked to say when it does.
 * HLT, INIT and SIPI are done here: KVM knows no local APIC, so to it every vCPU runs.
 *
 * Leaves out: SMI (logged once).
 */
#include "x86.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <unistd.h>

static _Thread_local X86Cpu *self; /* whose thread this is */

static X86Cpu *of(VmrCpu *cpu) { return cpu->acpu; }

/* ---- interrupts ---------------------------------------------------------------------------------- */

static int acknowledge(X86Cpu *c)
{
    if (!c->intc)
        return -1;
    vmr_domain_lock(c->intc->handle->domain);
    int vector = c->intc_ops->acknowledge(c->intc, c->k.index);
    vmr_domain_unlock(c->intc->handle->domain);
    return vector;
}

/* Before the guest is entered: give it an interrupt, or ask for when it takes one. */
static void inject(X86Cpu *c)
{
    struct kvm_run *run = c->k.run;
    bool stepping = G_UNLIKELY(c->debug) && c->debug->step; /* no interrupt comes in between */
    if (G_LIKELY(!atomic_load_explicit(&c->intr, memory_order_relaxed)) || stepping) {
        run->request_interrupt_window = 0;
        return;
    }
    if (run->ready_for_interrupt_injection && run->if_flag) {
        int vector = acknowledge(c);
        if (vector >= 0) {
            struct kvm_interrupt irq = {.irq = (unsigned)vector};
            if (kvm_ioctl(c->k.fd, KVM_INTERRUPT, &irq) < 0)
                vmr_core_log(VMR_LOG_ERROR, "cpu%u: KVM refuses interrupt %d: %s", c->k.index,
                             vector, g_strerror(errno));
            run->ready_for_interrupt_injection = 0; /* until KVM says so again */
            c->k.stats.interrupts++;
            if (vmr_trace_mask & VMR_TRACE_EXCEPTION)
                vmr_core_trace_cpu(c->k.index, "interrupt 0x%02x", (unsigned)vector);
        }
    }
    run->request_interrupt_window = atomic_load(&c->intr);
}

/* CR8 is the local APIC's task priority, which it may change by other ways. */
static void cr8_to_kvm(X86Cpu *c)
{
    c->cr8_stale = false;
    if (!c->lapic_ops || x86_vm(c)->split)
        return;
    vmr_domain_lock(c->intc->handle->domain);
    c->cr8 = c->lapic_ops->get_cr8(c->intc, c->k.index) & 15;
    vmr_domain_unlock(c->intc->handle->domain);
    c->k.run->cr8 = c->cr8;
}

static void cr8_from_kvm(X86Cpu *c)
{
    c->cr8 = c->k.run->cr8;
    if (!c->lapic_ops || x86_vm(c)->split)
        return;
    vmr_domain_lock(c->intc->handle->domain);
    c->lapic_ops->set_cr8(c->intc, c->k.index, c->cr8 & 15);
    vmr_domain_unlock(c->intc->handle->domain);
}

/* ---- the loop --------------------------------------------------------------------------------------- */

enum { GO_ON = -1 };

static const char *exit_name(uint32_t reason)
{
    static const char *const names[] = {
        [KVM_EXIT_UNKNOWN] = "unknown", [KVM_EXIT_EXCEPTION] = "exception", [KVM_EXIT_IO] = "pio",
        [KVM_EXIT_DEBUG] = "debug", [KVM_EXIT_HLT] = "hlt", [KVM_EXIT_MMIO] = "mmio",
        [KVM_EXIT_IRQ_WINDOW_OPEN] = "irq window", [KVM_EXIT_SHUTDOWN] = "shutdown",
        [KVM_EXIT_FAIL_ENTRY] = "failed entry", [KVM_EXIT_INTR] = "signal",
        [KVM_EXIT_SET_TPR] = "cr8", [KVM_EXIT_INTERNAL_ERROR] = "internal error",
        [KVM_EXIT_X86_RDMSR] = "rdmsr", [KVM_EXIT_X86_WRMSR] = "wrmsr"};
    return reason < G_N_ELEMENTS(names) && names[reason] ? names[reason] : "other";
}

/* Enter the guest and do what it then wants: a VmrExit, or GO_ON. */
static int enter(X86Cpu *c, bool finish)
{
    KvmCpu *k = &c->k;
    struct kvm_run *run = k->run;
    int r = kvm_cpu_enter(k, finish);
    kvm_ring_look(k);
    if (G_UNLIKELY(run->cr8 != c->cr8))
        cr8_from_kvm(c);
    if (r < 0) {
        c->incomplete = false;
        if (r == -EINTR || r == -EAGAIN)
            return GO_ON;
        char why[128];
        g_snprintf(why, sizeof why, "KVM_RUN: %s", g_strerror(-r));
        kvm_x86_dump(c, why);
        return VMR_EXIT_ERROR;
    }
    if (G_UNLIKELY(vmr_trace_mask & VMR_TRACE_EXIT))
        vmr_core_trace_cpu(k->index, "exit: kvm %s", exit_name(run->exit_reason));
    c->incomplete = false;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        c->incomplete = true;
        kvm_x86_pio(c);
        return GO_ON;
    case KVM_EXIT_MMIO:
        c->incomplete = true;
        kvm_x86_mmio(c);
        return GO_ON;
    case KVM_EXIT_X86_RDMSR:
        c->incomplete = true;
        kvm_x86_msr_read(c);
        return GO_ON;
    case KVM_EXIT_X86_WRMSR:
        c->incomplete = true;
        kvm_x86_msr_write(c);
        return GO_ON;
    case KVM_EXIT_HLT:
        c->halted = true;
        return GO_ON;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
    case KVM_EXIT_SET_TPR:
        return GO_ON;
    case KVM_EXIT_IOAPIC_EOI:
        kvm_x86_eoi(c, run->eoi.vector);
        return GO_ON;
    case KVM_EXIT_SHUTDOWN:
        return VMR_EXIT_SHUTDOWN;
    case KVM_EXIT_DEBUG:
        return kvm_x86_debug_exit(c) ? VMR_EXIT_DEBUG : GO_ON;
    default:
        kvm_x86_dump(c, exit_name(run->exit_reason));
        return VMR_EXIT_ERROR;
    }
}

static void take_events(X86Cpu *c, uint32_t events)
{
    atomic_fetch_and(&c->k.events, ~(events & ~(uint32_t)KVM_EV_KICK));
    vmr_reader_quiescent(c->k.vm->machine);
    if (events & EV_INIT)
        kvm_x86_reset(c, true);
    if ((events & EV_SIPI) && c->wait_sipi)
        kvm_x86_start_up(c, (uint8_t)atomic_load(&c->sipi_vector));
    if (events & EV_NMI) {
        bool masked = c->halted && kvm_x86_nmi_masked(c);
        if (kvm_ioctl(c->k.fd, KVM_NMI, NULL) < 0)
            vmr_core_log(VMR_LOG_ERROR, "cpu%u: KVM refuses an NMI: %s", c->k.index, g_strerror(errno));
        c->halted &= masked;
    }
}

VmrExit kvm_arch_cpu_run(void *acpu)
{
    X86Cpu *c = acpu;
    struct kvm_run *run = c->k.run;
    if (self != c || !atomic_load_explicit(&c->k.tid, memory_order_relaxed)) { /* one may be where another was */
        self = c;
        atomic_store(&c->k.tid, gettid());
    }
    kvm_x86_tsc_resume(c);
    for (;;) {
        __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        uint32_t events = atomic_load(&c->k.events);
        if (G_UNLIKELY(events)) {
            if (c->incomplete) {
                /* No state is touched, or shown, in the middle of an instruction. */
                int r = enter(c, true);
                if (r != GO_ON)
                    return (VmrExit)r;
                continue;
            }
            take_events(c, events);
            if (events & KVM_EV_KICK) {
                atomic_fetch_and(&c->k.events, ~(uint32_t)KVM_EV_KICK);
                kvm_bells_drain(c->k.vm);
                return VMR_EXIT_KICKED;
            }
        }
        if (G_UNLIKELY(c->wait_sipi)) {
            c->k.stats.exits_halt++;
            return VMR_EXIT_HALTED;
        }
        if (c->cr8_stale)
            cr8_to_kvm(c);
        if (G_UNLIKELY(c->halted)) {
            if (!atomic_load(&c->intr) || !run->if_flag) {
                c->k.stats.exits_halt++;
                return VMR_EXIT_HALTED;
            }
            c->halted = false;
        }
        inject(c);
        int r = enter(c, false);
        if (r != GO_ON)
            return (VmrExit)r;
    }
}

/* ---- the vCPU's interface (vmrun/x86.h) ------------------------------------------------------------ */

static void signal_event(VmrCpu *cpu, uint32_t event)
{
    X86Cpu *c = of(cpu);
    kvm_cpu_event(&c->k, event);
    if (self != c)
        vmr_cpu_wake(cpu);
}

static uint32_t if_apic_id(VmrCpu *cpu) { return cpu->index; }

static void if_set_intr(VmrCpu *cpu, bool level)
{
    X86Cpu *c = of(cpu);
    atomic_store(&c->intr, level);
    if (level && self != c)
        signal_event(cpu, EV_INTR);
}

static void if_nmi(VmrCpu *cpu) { signal_event(cpu, EV_NMI); }
static void if_init(VmrCpu *cpu) { signal_event(cpu, EV_INIT); }

static void if_smi(VmrCpu *cpu)
{
    KvmArchVm *vm = x86_vm(of(cpu));
    if (!vm->smi_told)
        vmr_core_log(VMR_LOG_UNIMPLEMENTED, "cpu%u: SMIs are ignored", cpu->index);
    vm->smi_told = true;
}

static void if_sipi(VmrCpu *cpu, uint8_t vector)
{
    atomic_store(&of(cpu)->sipi_vector, vector);
    signal_event(cpu, EV_SIPI);
}

static void if_get_state(VmrCpu *cpu, VmrX86State *s)
{
    if (x86_vm(of(cpu))->split)
        kvm_x86_lapic_pull(of(cpu));
    if (x86_vm(of(cpu))->kernel && cpu->index == 0)
        kvm_x86_irqchip_pull(of(cpu)->k.vm);
    kvm_x86_get_state(of(cpu), s);
}

static bool if_set_state(VmrCpu *cpu, const VmrX86State *s, GError **error)
{
    return kvm_x86_set_state(of(cpu), s, error);
}

static uint64_t if_tsc_hz(VmrCpu *cpu) { return x86_vm(of(cpu))->tsc_hz; }
static uint64_t if_tsc_now(VmrCpu *cpu) { return kvm_x86_tsc(of(cpu)); }

const void *kvm_arch_cpu_interface(void *acpu, const char *id)
{
    static const VmrX86CpuInterface table = {
        .size = sizeof(VmrX86CpuInterface), .apic_id = if_apic_id, .set_intr = if_set_intr,
        .nmi = if_nmi, .smi = if_smi, .init = if_init, .sipi = if_sipi,
        .get_state = if_get_state, .set_state = if_set_state, .tsc_hz = if_tsc_hz,
        .tsc_now = if_tsc_now,
    };
    return g_str_equal(id, VMR_X86_CPU) ? &table : NULL;
}

/* ---- life --------------------------------------------------------------------------------------------- */

/* Without MONITOR in its CPUID a guest's MONITOR and MWAIT raise #UD, which KVM has to be asked for. */
static void mwait_as_cpuid_says(KvmVm *vm)
{
#ifdef KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS
    struct kvm_enable_cap cap = {.cap = KVM_CAP_DISABLE_QUIRKS2,
                                 .args = {KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS}};
    if (kvm_check(vm, KVM_CAP_DISABLE_QUIRKS2) & KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS)
        (void)kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
#endif
}

bool kvm_arch_vm_init(KvmVm *vm, GError **error)
{
    vm->arch = g_new0(KvmArchVm, 1);
    g_mutex_init(&vm->arch->tsc_lock);
    g_mutex_init(&vm->arch->routes_lock);
    /* Three pages and one page that Intel's KVM needs, where a PC has nothing. */
    uint64_t identity = 0xfeffc000;
    if (kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
        return kvm_failed(error, "KVM_SET_IDENTITY_MAP_ADDR");
    if (ioctl(vm->fd, KVM_SET_TSS_ADDR, identity + 0x1000) < 0)
        return kvm_failed(error, "KVM_SET_TSS_ADDR");
    for (unsigned n = 256;; n *= 2) {
        struct kvm_cpuid2 *s = g_malloc0(sizeof *s + n * sizeof s->entries[0]);
        s->nent = n;
        if (kvm_ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, s) == 0) {
            vm->arch->supported = s;
            break;
        }
        int e = errno;
        g_free(s);
        errno = e;
        if (e != E2BIG || n > 4096)
            return kvm_failed(error, "KVM_GET_SUPPORTED_CPUID");
    }
    mwait_as_cpuid_says(vm);
    return kvm_x86_split_init(vm, error) && kvm_x86_msr_filter(vm, error);
}

void kvm_arch_vm_clear(KvmVm *vm)
{
    if (vm->arch) {
        kvm_x86_split_clear(vm);
        g_mutex_clear(&vm->arch->routes_lock);
        g_mutex_clear(&vm->arch->tsc_lock);
        g_free(vm->arch->supported);
        g_free(vm->arch->msrs);
    }
    g_free(vm->arch);
}

void *kvm_arch_cpu_new(void *data, VmrCpu *core, unsigned index, const char *model, GError **error)
{
    KvmVm *vm = data;
    X86Cpu *c = g_new0(X86Cpu, 1);
    c->k.fd = -1;
    c->intc = vm->machine->intc;
    if (c->intc) {
        c->intc_ops = vmr_device_interface(c->intc, VMR_X86_INTC);
        c->lapic_ops = vmr_device_interface(c->intc, VMR_X86_LAPIC);
        if (!c->intc_ops)
            c->intc = NULL;
    }
    if (!kvm_cpu_open(&c->k, vm, core, index, error))
        goto fail;
    kvm_x86_tsc_init(c);
    if (!kvm_x86_cpuid_set(c, model, error))
        goto fail;
    if (!vm->arch->msrs)
        kvm_x86_find_msrs(c);
    kvm_x86_reset(c, false);
    return c;
fail:
    kvm_arch_cpu_free(c);
    return NULL;
}

void kvm_arch_cpu_free(void *acpu)
{
    X86Cpu *c = acpu;
    if (c->k.vm)
        kvm_cpu_close(&c->k);
    g_free(c->debug);
    g_free(c);
}

void kvm_arch_cpu_reset(void *acpu, VmrResetKind kind)
{
    kvm_x86_reset(acpu, false);
}

const char *const *kvm_arch_cpu_models(void)
{
    return vmr_x86_model_list(VMR_X86_KVM);
}

char *kvm_arch_cpu_describe(const char *model)
{
    return vmr_x86_model_describe(model, VMR_X86_KVM);
}
