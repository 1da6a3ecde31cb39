/*
 * accel/kvm/x86/split.c - KVM's own local APICs under the machine's I/O APIC and 8259
 * (KVM_CAP_SPLIT_IRQCHIP): timers, interprocessor interrupts and HLT without an exit.
 *
 * The machine's local APIC device hands its work over (VMR_X86_LAPIC_OFFLOAD) and keeps the
 * state while the vCPUs are stopped.  Messages of the I/O APIC and of PCI functions go to KVM.
 * KVM tells of the EOI of a level-triggered interrupt only if a route of an I/O APIC's pin has
 * its vector: such routes are made of the level-triggered messages as they come.
 *
 * Leaves out: LINT1 other than as an NMI of CPU 0.
 */
#include "x86.h"

#include "core/runtime.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { MSR_TSC_DEADLINE = 0x6e0, MSI_LEVEL = 1 << 15 };

/* ---- messages --------------------------------------------------------------------------------- */

static void routes_set(KvmVm *vm)
{
    KvmArchVm *a = vm->arch;
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entries[KVM_X86_ROUTES];
    } r = {.head.nr = a->route_count};
    for (unsigned i = 0; i < a->route_count; i++)
        r.entries[i] = (struct kvm_irq_routing_entry){
            .gsi = i, .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = {.address_lo = a->routes[i].address_lo, .address_hi = a->routes[i].address_hi,
                      .data = a->routes[i].data}};
    if (kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, &r) < 0)
        vmr_core_log(VMR_LOG_ERROR, "KVM_SET_GSI_ROUTING: %s", g_strerror(errno));
}

static void learn_level(KvmVm *vm, const struct kvm_msi *msi)
{
    KvmArchVm *a = vm->arch;
    g_mutex_lock(&a->routes_lock);
    bool known = false;
    for (unsigned i = 0; !known && i < a->route_count; i++)
        known = a->routes[i].address_lo == msi->address_lo && a->routes[i].data == msi->data;
    if (!known) {
        unsigned at = a->route_count < KVM_X86_ROUTES ? a->route_count++ : a->route_next++ % KVM_X86_ROUTES;
        a->routes[at] = *msi;
        routes_set(vm);
    }
    g_mutex_unlock(&a->routes_lock);
}

static void message(void *opaque, uint64_t address, uint32_t data)
{
    KvmVm *vm = opaque;
    struct kvm_msi msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32),
                          .data = data};
    if ((data & MSI_LEVEL) && !vm->arch->kernel)
        learn_level(vm, &msi);
    /* 0: the guest has it masked, or nobody is addressed; as on a bus, nobody notices. */
    if (kvm_ioctl(vm->fd, KVM_SIGNAL_MSI, &msi) < 0 && (vmr_trace_mask & VMR_TRACE_IRQ))
        vmr_core_trace("kvm", "irq: message 0x%" PRIx64 " 0x%x: %s", address, data, g_strerror(errno));
}

void kvm_x86_eoi(X86Cpu *c, uint8_t vector)
{
    vmr_domain_lock(c->intc->handle->domain);
    x86_vm(c)->split->eoi(c->intc, vector);
    vmr_domain_unlock(c->intc->handle->domain);
}

/* ---- state ------------------------------------------------------------------------------------- */

uint64_t kvm_x86_apic_base(X86Cpu *c)
{
    VmrX86LapicRegisters r;
    x86_vm(c)->split->get(c->intc, c->k.index, &r);
    return r.apic_base;
}

bool kvm_x86_lapic_push(X86Cpu *c, GError **error)
{
    VmrX86LapicRegisters r;
    struct kvm_lapic_state page = {0};
    x86_vm(c)->split->get(c->intc, c->k.index, &r);
    G_STATIC_ASSERT(sizeof page.regs == 64 * 16);
    for (unsigned i = 0; i < 64; i++)
        memcpy(page.regs + 16 * i, &r.reg[i], 4);
    if (kvm_ioctl(c->k.fd, KVM_SET_LAPIC, &page) < 0)
        return kvm_failed(error, "KVM_SET_LAPIC");
    kvm_x86_msr_set(c, MSR_TSC_DEADLINE, r.tsc_deadline); /* refused in another timer mode */
    return true;
}

void kvm_x86_lapic_pull(X86Cpu *c)
{
    VmrX86LapicRegisters r;
    struct kvm_lapic_state page = {0};
    struct kvm_sregs sregs = {0};
    if (kvm_ioctl(c->k.fd, KVM_GET_LAPIC, &page) < 0 || kvm_ioctl(c->k.fd, KVM_GET_SREGS, &sregs) < 0) {
        vmr_core_log(VMR_LOG_ERROR, "cpu%u: KVM_GET_LAPIC: %s", c->k.index, g_strerror(errno));
        return;
    }
    for (unsigned i = 0; i < 64; i++)
        memcpy(&r.reg[i], page.regs + 16 * i, 4);
    r.apic_base = sregs.apic_base;
    kvm_x86_msr_get(c, MSR_TSC_DEADLINE, &r.tsc_deadline);
    vmr_domain_lock(c->intc->handle->domain);
    x86_vm(c)->split->set(c->intc, c->k.index, &r);
    vmr_domain_unlock(c->intc->handle->domain);
}

bool kvm_x86_split_init(KvmVm *vm, GError **error)
{
    VmrMachine *m = vm->machine;
    const char *wanted = vmr_machine_value_text(m, "machine", "irqchip");
    bool kernel = !g_strcmp0(wanted, "kernel");
    if (!kernel && g_strcmp0(wanted, "split"))
        return true;
    const VmrX86LapicOffloadInterface *o =
        m->intc ? vmr_device_interface(m->intc, VMR_X86_LAPIC_OFFLOAD) : NULL;
    if (!o) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "irqchip = %s: the machine's interrupt controller cannot hand its work over", wanted);
        return false;
    }
    if (kernel && !kvm_x86_irqchip_init(vm, error))
        return false;
    struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {KVM_X86_ROUTES}};
    if (!kernel &&
        (kvm_check(vm, KVM_CAP_SPLIT_IRQCHIP) <= 0 || kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0))
        return kvm_failed(error, "irqchip = split");
    vm->arch->split = o;
    vmr_domain_lock(m->domain);
    o->take(m->intc, message, vm);
    vmr_domain_unlock(m->domain);
    return true;
}

void kvm_x86_split_clear(KvmVm *vm)
{
    VmrDevice *lapic = vm->machine->intc;
    /* At the end of the machine the device is gone already; at a change of accelerator not. */
    if (!vm->arch->split || !lapic->handle->realized)
        return;
    vmr_domain_lock(vm->machine->domain);
    vm->arch->split->take(lapic, NULL, NULL);
    if (vm->arch->kernel)
        kvm_x86_irqchip_clear(vm);
    vmr_domain_unlock(vm->machine->domain);
}
