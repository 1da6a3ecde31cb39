/*
 * accel/kvm/x86/irqchip.c - KVM's own I/O APIC and 8259s (KVM_CREATE_IRQCHIP), beside its local
 * APICs (split.c): the guest's accesses to them are no exits, nor are its EOIs.
 *
 * The machine's I/O APIC and 8259s hand their work over (VMR_X86_IOAPIC_OFFLOAD,
 * VMR_X86_PIC_OFFLOAD), tell the levels of their inputs, and keep the state while the vCPUs are
 * stopped.  They are those at 0xfec00000 and 0x20, where KVM has its own.
 *
 * Leaves out: KVM's 8254 (KVM_CREATE_PIT2), whose output would not pass through the HPET's
 * replacement of it; the I/O APIC's EOI register, which KVM's older version has not got.
 */
#include "x86.h"

#include <errno.h>
#include <string.h>

enum {
    PIC_PINS = 16, CASCADE = 2, PIC_PORT = 0x20,
    IOAPIC_GSI = PIC_PINS, /* its pin 0's; an 8259's pins are the GSIs below */
    ICW4_UPM = 0x01, ICW4_AEOI = 0x02, ICW4_SFNM = 0x10,
};
#define IOAPIC_BASE 0xfec00000ull
#define RED_MASK (1ull << 16)
#define RED_LEVEL (1ull << 15)

/* ---- inputs -------------------------------------------------------------------------------- */

static void set_gsi(KvmVm *vm, unsigned gsi, bool level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = level};
    if (kvm_ioctl(vm->fd, KVM_IRQ_LINE, &line) < 0)
        vmr_core_log(VMR_LOG_ERROR, "KVM_IRQ_LINE %u: %s", gsi, g_strerror(errno));
}

static void set_pic_pin(void *vm, unsigned pin, bool level)
{
    set_gsi(vm, pin, level);
}

static void set_ioapic_pin(void *vm, unsigned pin, bool level)
{
    set_gsi(vm, IOAPIC_GSI + pin, level);
}

static bool set_routes(KvmVm *vm, GError **error)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entries[PIC_PINS + VMR_X86_IOAPIC_PINS];
    } r = {0};
    for (unsigned i = 0; i < G_N_ELEMENTS(r.entries); i++) {
        bool pic = i < PIC_PINS;
        struct kvm_irq_routing_entry e = {.gsi = i, .type = KVM_IRQ_ROUTING_IRQCHIP};
        e.u.irqchip.irqchip = !pic ? KVM_IRQCHIP_IOAPIC : i < 8 ? KVM_IRQCHIP_PIC_MASTER
                                                                : KVM_IRQCHIP_PIC_SLAVE;
        e.u.irqchip.pin = pic ? i & 7 : i - IOAPIC_GSI;
        if (i != CASCADE)
            r.entries[r.head.nr++] = e;
    }
    return kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, &r) == 0 || kvm_failed(error, "KVM_SET_GSI_ROUTING");
}

/* ---- state --------------------------------------------------------------------------------- */

static bool ioapic_push(KvmVm *vm)
{
    KvmArchVm *a = vm->arch;
    VmrX86IoapicRegisters r;
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    struct kvm_ioapic_state *s = &chip.chip.ioapic;
    a->ioapic_ops->get(a->ioapic, &r);
    s->base_address = IOAPIC_BASE;
    s->ioregsel = r.regsel;
    s->id = r.id;
    /* The levels are told while all is masked, for a line that is high is no new edge. */
    for (unsigned i = 0; i < VMR_X86_IOAPIC_PINS; i++)
        s->redirtbl[i].bits = RED_MASK;
    bool ok = kvm_ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) == 0;
    for (unsigned i = 0; i < VMR_X86_IOAPIC_PINS; i++) {
        set_ioapic_pin(vm, i, r.lines >> i & 1);
        s->redirtbl[i].bits = r.redtbl[i];
        if ((r.lines >> i & 1) && (r.redtbl[i] & RED_LEVEL))
            s->irr |= 1u << i;
    }
    return ok && kvm_ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) == 0;
}

static bool ioapic_pull(KvmVm *vm)
{
    KvmArchVm *a = vm->arch;
    VmrX86IoapicRegisters r = {0};
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    const struct kvm_ioapic_state *s = &chip.chip.ioapic;
    if (kvm_ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) < 0)
        return false;
    for (unsigned i = 0; i < VMR_X86_IOAPIC_PINS; i++)
        r.redtbl[i] = s->redirtbl[i].bits;
    r.id = (uint8_t)s->id;
    r.regsel = (uint8_t)s->ioregsel;
    a->ioapic_ops->set(a->ioapic, &r);
    return true;
}

static bool pic_push(KvmVm *vm)
{
    KvmArchVm *a = vm->arch;
    VmrX86PicRegisters r[2];
    a->pic_ops->get(a->pic, r);
    for (unsigned i = 0; i < PIC_PINS; i++)
        if (i != CASCADE)
            set_pic_pin(vm, i, r[i >> 3].input >> (i & 7) & 1);
    bool ok = true;
    for (unsigned c = 0; c < 2; c++) {
        struct kvm_irqchip chip = {.chip_id = c ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER};
        chip.chip.pic = (struct kvm_pic_state){
            .last_irr = r[c].input, .irr = r[c].irr, .imr = r[c].imr, .isr = r[c].isr,
            .priority_add = (r[c].lowest + 1) & 7, .irq_base = r[c].icw2,
            .read_reg_select = r[c].read_isr, .poll = r[c].poll, .special_mask = r[c].special_mask,
            .init_state = r[c].expect, .auto_eoi = !!(r[c].icw4 & ICW4_AEOI),
            .rotate_on_auto_eoi = r[c].rotate_on_aeoi,
            .special_fully_nested_mode = !!(r[c].icw4 & ICW4_SFNM), .init4 = r[c].icw1_ic4,
            .elcr = r[c].elcr, .elcr_mask = c ? 0xde : 0xf8};
        ok = ok && kvm_ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) == 0;
    }
    return ok;
}

static bool pic_pull(KvmVm *vm)
{
    KvmArchVm *a = vm->arch;
    VmrX86PicRegisters r[2], old[2];
    a->pic_ops->get(a->pic, old);
    for (unsigned c = 0; c < 2; c++) {
        struct kvm_irqchip chip = {.chip_id = c ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER};
        const struct kvm_pic_state *s = &chip.chip.pic;
        if (kvm_ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) < 0)
            return false;
        r[c] = (VmrX86PicRegisters){
            .irr = s->irr, .isr = s->isr, .imr = s->imr, .elcr = s->elcr, .icw2 = s->irq_base,
            .icw4 = (uint8_t)(ICW4_UPM | (s->auto_eoi ? ICW4_AEOI : 0) |
                              (s->special_fully_nested_mode ? ICW4_SFNM : 0)),
            .icw1_ic4 = s->init4, .expect = s->init_state, .lowest = (s->priority_add + 7) & 7,
            /* KVM does not tell; but one that was never initialised has no vectors. */
            .ready = !s->init_state && (s->irq_base || old[c].ready),
            .special_mask = s->special_mask, .read_isr = s->read_reg_select, .poll = s->poll,
            .rotate_on_aeoi = s->rotate_on_auto_eoi};
    }
    a->pic_ops->set(a->pic, r);
    return true;
}

bool kvm_x86_irqchip_push(KvmVm *vm, GError **error)
{
    return (pic_push(vm) && ioapic_push(vm)) || kvm_failed(error, "KVM_SET_IRQCHIP");
}

void kvm_x86_irqchip_pull(KvmVm *vm)
{
    vmr_domain_lock(vm->machine->domain);
    if (!pic_pull(vm) || !ioapic_pull(vm))
        vmr_core_log(VMR_LOG_ERROR, "KVM_GET_IRQCHIP: %s", g_strerror(errno));
    vmr_domain_unlock(vm->machine->domain);
}

/* ---- life ---------------------------------------------------------------------------------- */

static VmrDevice *device_at(VmrMachine *m, VmrSpace *space, uint64_t address)
{
    vmr_reader_enter(m);
    const VmrRange *r = vmr_space_find(space, address);
    VmrDevice *dev = r && r->kind == VMR_RANGE_IO ? r->device : NULL;
    vmr_reader_leave(m);
    return dev;
}

bool kvm_x86_irqchip_init(KvmVm *vm, GError **error)
{
    KvmArchVm *a = vm->arch;
    VmrMachine *m = vm->machine;
    a->ioapic = device_at(m, m->memory, IOAPIC_BASE);
    a->pic = device_at(m, m->io, PIC_PORT);
    a->ioapic_ops = a->ioapic ? vmr_device_interface(a->ioapic, VMR_X86_IOAPIC_OFFLOAD) : NULL;
    a->pic_ops = a->pic ? vmr_device_interface(a->pic, VMR_X86_PIC_OFFLOAD) : NULL;
    if (!a->ioapic_ops || !a->pic_ops) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "irqchip = kernel: KVM has an I/O APIC at 0xfec00000 and an 8259 at port 0x20, and "
                    "the machine has no %s there that can hand its work over",
                    a->ioapic_ops ? "8259" : "I/O APIC");
        return false;
    }
    if (kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, NULL) < 0)
        return kvm_failed(error, "irqchip = kernel");
    if (!set_routes(vm, error))
        return false;
    vmr_domain_lock(m->domain);
    a->kernel = a->ioapic_ops->take(a->ioapic, set_ioapic_pin, vm);
    if (a->kernel)
        (void)a->pic_ops->take(a->pic, set_pic_pin, vm);
    else
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "irqchip = kernel: KVM's I/O APIC has %d pins, and %s another number",
                    VMR_X86_IOAPIC_PINS, a->ioapic->name);
    vmr_domain_unlock(m->domain);
    return a->kernel;
}

void kvm_x86_irqchip_clear(KvmVm *vm)
{
    KvmArchVm *a = vm->arch;
    (void)a->pic_ops->take(a->pic, NULL, NULL);
    (void)a->ioapic_ops->take(a->ioapic, NULL, NULL);
}
