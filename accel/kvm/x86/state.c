/*
 * accel/kvm/x86/state.c - the architectural state of a vCPU, between KVM and VmrX86State;
 * reset, INIT and SIPI (SDM volume 3, table 9-1).
 *
 * All of it is called while the vCPU is out of KVM_RUN and no access is left incomplete.
 *
 * Leaves out: system-management mode, nested virtualisation, XSAVE state beyond 4 KiB (AMX).
 */
#include "x86.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { EXT_INTERRUPT = 0, NMI = 2, EXCEPTION = 3, SOFT_INTERRUPT = 4 }; /* as VMX numbers them */
enum { MSR_PAT = 0x277, MSR_MISC_ENABLE = 0x1a0, MSR_MTRR_DEF = 0x2ff, MSR_TSC_ADJUST = 0x3b };
#define APIC_BASE 0xfee00800ull /* enabled: KVM shows CPUID's APIC bit then, and does no more */
#define CR0_ET 0x10ull
#define CR0_CACHE 0x60000000ull /* CD, NW */

/* ---- MSRs ----------------------------------------------------------------------------------- */

typedef struct OneMsr {
    struct kvm_msrs head;
    struct kvm_msr_entry entry;
} OneMsr;

bool kvm_x86_msr_get(X86Cpu *c, uint32_t msr, uint64_t *value)
{
    OneMsr m = {.head.nmsrs = 1, .entry.index = msr};
    bool ok = kvm_ioctl(c->k.fd, KVM_GET_MSRS, &m) == 1;
    *value = ok ? m.entry.data : 0;
    return ok;
}

bool kvm_x86_msr_set(X86Cpu *c, uint32_t msr, uint64_t value)
{
    OneMsr m = {.head.nmsrs = 1, .entry = {.index = msr, .data = value}};
    return kvm_ioctl(c->k.fd, KVM_SET_MSRS, &m) == 1;
}

void kvm_x86_find_msrs(X86Cpu *c)
{
    struct kvm_msrs *list = g_malloc0(sizeof *list + vmr_x86_state_msr_count * sizeof(list->entries[0]));
    for (unsigned i = 0; i < vmr_x86_state_msr_count; i++) {
        uint64_t value;
        /* What it can read but not write is not state. */
        if (kvm_x86_msr_get(c, vmr_x86_state_msrs[i], &value) &&
            kvm_x86_msr_set(c, vmr_x86_state_msrs[i], value))
            list->entries[list->nmsrs++].index = vmr_x86_state_msrs[i];
    }
    x86_vm(c)->msrs = list;
}

/* ---- segments ------------------------------------------------------------------------------- */

static VmrX86Segment segment_get(const struct kvm_segment *s)
{
    return (VmrX86Segment){.base = s->base, .limit = s->limit, .selector = s->selector,
                           .type = s->type, .s = s->s, .dpl = s->dpl, .present = s->present,
                           .avl = s->avl, .l = s->l, .db = s->db, .g = s->g,
                           .unusable = s->unusable};
}

static struct kvm_segment segment_set(const VmrX86Segment *s)
{
    return (struct kvm_segment){.base = s->base, .limit = s->limit, .selector = s->selector,
                                .type = s->type & 15, .s = s->s & 1, .dpl = s->dpl & 3,
                                .present = s->present & 1, .avl = s->avl & 1, .l = s->l & 1,
                                .db = s->db & 1, .g = s->g & 1, .unusable = s->unusable & 1};
}

/* ---- get -------------------------------------------------------------------------------------- */

/* Guest registers have another order in KVM. */
static __u64 *gpr(struct kvm_regs *r, unsigned i)
{
    __u64 *const low[8] = {&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi, &r->rdi};
    return i < 8 ? low[i] : &r->r8 + (i - 8);
}

static void events_get(const struct kvm_vcpu_events *e, VmrX86State *s)
{
    s->nmi_blocked = e->nmi.masked;
    s->nmi_pending = e->nmi.pending != 0;
    /* AMD's CPUs do not say which it is: KVM sets both bits. */
    s->sti_shadow = e->interrupt.shadow == KVM_X86_SHADOW_INT_MOV_SS ? 2 : e->interrupt.shadow != 0;
    s->smm = e->smi.smm;
    if (e->exception.injected || e->exception.pending) {
        s->event_pending = 1;
        s->event_type = EXCEPTION;
        s->event_vector = e->exception.nr;
        s->event_has_error = e->exception.has_error_code;
        s->event_error = e->exception.error_code;
    } else if (e->interrupt.injected) {
        s->event_pending = 1;
        s->event_type = e->interrupt.soft ? SOFT_INTERRUPT : EXT_INTERRUPT;
        s->event_vector = e->interrupt.nr;
    } else if (e->nmi.injected) {
        s->event_pending = 1;
        s->event_type = NMI;
        s->event_vector = 2;
    }
}

/* Only a KVM with local APICs knows other states than running. */
static uint32_t mp_state_get(X86Cpu *c)
{
    struct kvm_mp_state mp = {0};
    if (!x86_vm(c)->split)
        return c->wait_sipi ? 2 : c->halted ? 1 : 0;
    if (kvm_ioctl(c->k.fd, KVM_GET_MP_STATE, &mp) < 0 || mp.mp_state == KVM_MP_STATE_RUNNABLE)
        return 0;
    return mp.mp_state == KVM_MP_STATE_HALTED ? 1 : 2;
}

void kvm_x86_get_state(X86Cpu *c, VmrX86State *s)
{
    int fd = c->k.fd;
    struct kvm_regs regs = {0};
    struct kvm_sregs sregs = {0};
    struct kvm_vcpu_events events = {0};
    struct kvm_debugregs debug = {0};
    struct kvm_xcrs xcrs = {0};
    struct kvm_xsave xsave = {0};
    bool ok = kvm_ioctl(fd, KVM_GET_REGS, &regs) == 0 && kvm_ioctl(fd, KVM_GET_SREGS, &sregs) == 0 &&
              kvm_ioctl(fd, KVM_GET_VCPU_EVENTS, &events) == 0 &&
              kvm_ioctl(fd, KVM_GET_DEBUGREGS, &debug) == 0 &&
              kvm_ioctl(fd, KVM_GET_XSAVE, &xsave) == 0;
    if (!ok)
        vmr_core_log(VMR_LOG_ERROR, "cpu%u: KVM does not tell its state: %s", c->k.index,
                     g_strerror(errno));
    memset(s, 0, sizeof *s);
    s->size = sizeof *s;
    s->mp_state = mp_state_get(c);
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = *gpr(&regs, i);
    s->rip = regs.rip;
    s->rflags = regs.rflags;
    const struct kvm_segment *const segments[6] = {&sregs.es, &sregs.cs, &sregs.ss, &sregs.ds,
                                                   &sregs.fs, &sregs.gs};
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = segment_get(segments[i]);
    s->ldtr = segment_get(&sregs.ldt);
    s->tr = segment_get(&sregs.tr);
    s->gdt_base = sregs.gdt.base;
    s->gdt_limit = sregs.gdt.limit;
    s->idt_base = sregs.idt.base;
    s->idt_limit = sregs.idt.limit;
    s->cr0 = sregs.cr0;
    s->cr2 = sregs.cr2;
    s->cr3 = sregs.cr3;
    s->cr4 = sregs.cr4;
    s->efer = sregs.efer;
    s->xcr0 = kvm_ioctl(fd, KVM_GET_XCRS, &xcrs) == 0 && xcrs.nr_xcrs ? xcrs.xcrs[0].value : 1;
    memcpy(s->dr, debug.db, sizeof debug.db);
    s->dr[6] = debug.dr6;
    s->dr[7] = debug.dr7;
    s->tsc = kvm_x86_tsc(c);
    s->tsc_hz = x86_vm(c)->tsc_hz;
    events_get(&events, s);
    struct kvm_msrs *list = x86_vm(c)->msrs;
    size_t bytes = sizeof *list + list->nmsrs * sizeof list->entries[0];
    struct kvm_msrs *msrs = g_memdup2(list, bytes);
    int n = kvm_ioctl(fd, KVM_GET_MSRS, msrs);
    for (int i = 0; i < n; i++)
        s->msr[s->msr_count++] = (VmrX86Msr){msrs->entries[i].index, 0, msrs->entries[i].data};
    g_free(msrs);
    G_STATIC_ASSERT(sizeof s->xsave == sizeof xsave.region);
    memcpy(s->xsave, xsave.region, sizeof s->xsave);
}

/* ---- set -------------------------------------------------------------------------------------- */

static bool set(X86Cpu *c, unsigned long request, const void *arg, const char *what, GError **error)
{
    if (kvm_ioctl(c->k.fd, request, arg) >= 0)
        return true;
    kvm_failed(error, what);
    g_prefix_error(error, "CPU %u: ", c->k.index);
    return false;
}

static bool sregs_set(X86Cpu *c, const VmrX86State *s, GError **error)
{
    struct kvm_sregs r = {
        .es = segment_set(&s->seg[VMR_X86_ES]), .cs = segment_set(&s->seg[VMR_X86_CS]),
        .ss = segment_set(&s->seg[VMR_X86_SS]), .ds = segment_set(&s->seg[VMR_X86_DS]),
        .fs = segment_set(&s->seg[VMR_X86_FS]), .gs = segment_set(&s->seg[VMR_X86_GS]),
        .ldt = segment_set(&s->ldtr), .tr = segment_set(&s->tr),
        .gdt = {.base = s->gdt_base, .limit = s->gdt_limit},
        .idt = {.base = s->idt_base, .limit = s->idt_limit},
        .cr0 = s->cr0 | CR0_ET, .cr2 = s->cr2, .cr3 = s->cr3, .cr4 = s->cr4, .cr8 = c->cr8,
        .efer = s->efer,
        .apic_base = x86_vm(c)->split ? kvm_x86_apic_base(c) : APIC_BASE | (c->k.index ? 0 : 0x100),
    };
    /* Intel's VM entry wants a busy TSS, even where there is none. */
    if (!r.tr.present || r.tr.unusable || (r.tr.type != 11 && r.tr.type != 3)) {
        r.tr.type = 11;
        r.tr.present = 1;
        r.tr.unusable = r.tr.s = 0;
    }
    return set(c, KVM_SET_SREGS, &r, "KVM_SET_SREGS", error);
}

static bool events_set(X86Cpu *c, const VmrX86State *s, GError **error)
{
    struct kvm_vcpu_events e = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW};
    e.nmi.masked = s->nmi_blocked & 1;
    e.nmi.pending = s->nmi_pending & 1;
    e.interrupt.shadow = s->sti_shadow == 2 ? KVM_X86_SHADOW_INT_MOV_SS
                         : s->sti_shadow ? KVM_X86_SHADOW_INT_STI : 0;
    if (s->event_pending && s->event_type == EXCEPTION) {
        e.exception.injected = 1;
        e.exception.nr = s->event_vector;
        e.exception.has_error_code = s->event_has_error & 1;
        e.exception.error_code = s->event_error;
    } else if (s->event_pending && s->event_type == NMI) {
        e.nmi.injected = 1;
    } else if (s->event_pending) {
        e.interrupt.injected = 1;
        e.interrupt.nr = s->event_vector;
        e.interrupt.soft = s->event_type == SOFT_INTERRUPT;
    }
    return set(c, KVM_SET_VCPU_EVENTS, &e, "KVM_SET_VCPU_EVENTS", error);
}

static bool msrs_set(X86Cpu *c, const VmrX86State *s, GError **error)
{
    const struct kvm_msrs *list = x86_vm(c)->msrs;
    struct kvm_msrs *msrs = g_malloc0(sizeof *msrs + s->msr_count * sizeof msrs->entries[0]);
    for (unsigned i = 0; i < s->msr_count; i++) {
        /* One that this KVM has not got can only be one that the guest does not use. */
        bool known = false;
        for (unsigned j = 0; !known && j < list->nmsrs; j++)
            known = list->entries[j].index == s->msr[i].index;
        if (known)
            msrs->entries[msrs->nmsrs++] =
                (struct kvm_msr_entry){.index = s->msr[i].index, .data = s->msr[i].value};
    }
    int n = kvm_ioctl(c->k.fd, KVM_SET_MSRS, msrs);
    bool ok = n == (int)msrs->nmsrs;
    if (!ok)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "CPU %u: KVM refuses MSR 0x%x = 0x%" PRIx64, c->k.index,
                    n >= 0 ? msrs->entries[n].index : 0, n >= 0 ? (uint64_t)msrs->entries[n].data : 0);
    g_free(msrs);
    return ok;
}

static bool xcr0_set(X86Cpu *c, uint64_t xcr0, GError **error)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = xcr0 | 1}}};
    if (xcr0 <= 1 && kvm_check(c->k.vm, KVM_CAP_XCRS) <= 0)
        return true;
    return set(c, KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS", error);
}

bool kvm_x86_set_state(X86Cpu *c, const VmrX86State *s, GError **error)
{
    if (s->size != sizeof *s || s->msr_count > G_N_ELEMENTS(s->msr)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "the CPU state is of another version");
        return false;
    }
    uint64_t hz = x86_vm(c)->tsc_hz;
    /* Guests tell a clock that is off by more than 500 ppm from another frequency. */
    if (s->tsc_hz && MAX(s->tsc_hz, hz) - MIN(s->tsc_hz, hz) > hz / 2000) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "the guest's TSC counts at %" G_GUINT64_FORMAT " Hz and this KVM's at %"
                    G_GUINT64_FORMAT ": start it with [machine] tsc-frequency = %" G_GUINT64_FORMAT,
                    s->tsc_hz, hz, hz);
        return false;
    }
    struct kvm_regs regs = {.rip = s->rip, .rflags = s->rflags | 2};
    for (unsigned i = 0; i < 16; i++)
        *gpr(&regs, i) = s->gpr[i];
    struct kvm_debugregs debug = {.dr6 = s->dr[6], .dr7 = s->dr[7]};
    memcpy(debug.db, s->dr, sizeof debug.db);
    struct kvm_xsave xsave = {0};
    memcpy(xsave.region, s->xsave, sizeof s->xsave);
    /* XCR0 before the registers that it enables; special registers before the general ones,
       which are checked against them. */
    bool ok = sregs_set(c, s, error) && xcr0_set(c, s->xcr0, error) &&
              set(c, KVM_SET_XSAVE, &xsave, "KVM_SET_XSAVE", error) &&
              set(c, KVM_SET_REGS, &regs, "KVM_SET_REGS", error) && msrs_set(c, s, error) &&
              events_set(c, s, error) && set(c, KVM_SET_DEBUGREGS, &debug, "KVM_SET_DEBUGREGS", error);
    if (!ok)
        return false;
    if (x86_vm(c)->split) {
        struct kvm_mp_state mp = {.mp_state = s->mp_state == 2   ? KVM_MP_STATE_UNINITIALIZED
                                              : s->mp_state == 1 ? KVM_MP_STATE_HALTED
                                                                 : KVM_MP_STATE_RUNNABLE};
        if (!kvm_x86_lapic_push(c, error) || !set(c, KVM_SET_MP_STATE, &mp, "KVM_SET_MP_STATE", error))
            return false;
        /* An interrupt that this raises must not be lost with a local APIC that is yet to be set. */
        bool last = c->k.index == c->k.vm->cpu_count - 1;
        if (last && x86_vm(c)->kernel && !kvm_x86_irqchip_push(c->k.vm, error))
            return false;
    } else {
        c->wait_sipi = s->mp_state == 2;
        c->halted = s->mp_state == 1;
    }
    c->cr8_stale = true;
    c->k.run->if_flag = regs.rflags >> 9 & 1;
    c->k.run->ready_for_interrupt_injection = 0;
    kvm_x86_tsc_freeze(c, s->tsc);
    return true;
}

/* ---- reset ------------------------------------------------------------------------------------ */

static void reset_state(VmrX86State *s, bool init)
{
    uint64_t caching = s->cr0 & CR0_CACHE;
    memset(s->gpr, 0, sizeof s->gpr);
    s->gpr[2] = 0x600; /* RDX: the family, as a model that CPUID need not agree with */
    s->rip = 0xfff0;
    s->rflags = 2;
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = (VmrX86Segment){.limit = 0xffff, .type = 3, .s = 1, .present = 1};
    s->seg[VMR_X86_CS].selector = 0xf000;
    s->seg[VMR_X86_CS].base = 0xffff0000;
    s->seg[VMR_X86_CS].type = 11;
    s->ldtr = (VmrX86Segment){.limit = 0xffff, .type = 2, .present = 1};
    s->tr = (VmrX86Segment){.limit = 0xffff, .type = 11, .present = 1};
    s->gdt_base = s->idt_base = 0;
    s->gdt_limit = s->idt_limit = 0xffff;
    s->cr0 = (init ? caching : CR0_CACHE) | CR0_ET;
    s->cr2 = s->cr3 = s->cr4 = s->efer = 0;
    memset(s->dr, 0, sizeof s->dr);
    s->dr[6] = 0xffff0ff0;
    s->dr[7] = 0x400;
    s->nmi_blocked = s->nmi_pending = s->sti_shadow = s->smm = s->event_pending = 0;
    for (unsigned i = 0; i < s->msr_count; i++) {
        switch (s->msr[i].index) {
        case MSR_PAT: s->msr[i].value = init ? s->msr[i].value : 0x0007040600070406; break;
        case MSR_MISC_ENABLE: s->msr[i].value = init ? s->msr[i].value : 1; break;
        case MSR_MTRR_DEF: s->msr[i].value = init ? s->msr[i].value : 0xc06; break;
        case 0x200 ... 0x26f: /* MTRRs */
        case 0xc0000103:      /* TSC_AUX */
            s->msr[i].value = init ? s->msr[i].value : 0;
            break;
        default: /* SYSENTER, SYSCALL, GS base, speculation control */
            s->msr[i].value = 0;
        }
    }
    if (init)
        return;
    s->tsc = 0;
    s->xcr0 = 1;
    memset(s->xsave, 0, sizeof s->xsave);
    s->xsave[0] = 0x7f, s->xsave[1] = 3; /* FCW, as FNINIT leaves it */
    s->xsave[24] = 0x80, s->xsave[25] = 0x1f; /* MXCSR */
    s->xsave[512] = 3; /* XSTATE_BV: x87, SSE */
}

void kvm_x86_reset(X86Cpu *c, bool init)
{
    VmrX86State *s = g_new(VmrX86State, 1);
    GError *error = NULL;
    kvm_x86_get_state(c, s);
    reset_state(s, init);
    s->mp_state = c->k.index ? 2 : 0;
    if (!init) {
        c->cr8 = c->k.run->cr8 = 0;
        c->incomplete = false;
        atomic_store(&c->k.events, 0);
        atomic_store(&c->intr, false);
        kvm_x86_msr_set(c, MSR_TSC_ADJUST, 0);
    }
    bool frozen = c->tsc_frozen;
    if (!kvm_x86_set_state(c, s, &error)) {
        vmr_core_log(VMR_LOG_ERROR, "reset: %s", error->message);
        g_error_free(error);
    }
    if (init)
        c->tsc_frozen = frozen; /* the TSC goes on */
    g_free(s);
}

void kvm_x86_start_up(X86Cpu *c, uint8_t vector)
{
    struct kvm_sregs sregs = {0};
    struct kvm_regs regs = {0};
    if (kvm_ioctl(c->k.fd, KVM_GET_SREGS, &sregs) < 0 || kvm_ioctl(c->k.fd, KVM_GET_REGS, &regs) < 0)
        return;
    sregs.cs.selector = (uint16_t)(vector << 8);
    sregs.cs.base = (uint64_t)vector << 12;
    regs.rip = 0;
    if (kvm_ioctl(c->k.fd, KVM_SET_SREGS, &sregs) < 0 || kvm_ioctl(c->k.fd, KVM_SET_REGS, &regs) < 0)
        return;
    c->wait_sipi = false;
    c->halted = false;
}

bool kvm_x86_nmi_masked(X86Cpu *c)
{
    struct kvm_vcpu_events e = {0};
    return kvm_ioctl(c->k.fd, KVM_GET_VCPU_EVENTS, &e) == 0 && e.nmi.masked;
}
