/*
 * accel/kvm/x86/debug.c - breakpoints, watchpoints and single steps for somebody outside, by
 * KVM_SET_GUEST_DEBUG: the debug registers, which the guest's own are then kept apart from.
 *
 * While any is set, KVM shows every #DB here: the guest's own (its TF) is given back to it.
 *
 * Leaves out: breakpoints by INT3; PUSHF that is stepped shows the guest the trap flag.
 */
#include "x86.h"

#include <errno.h>

enum { DR_COUNT = 4, VECTOR_DB = 1 };
enum { DR6_BS = 1 << 14, DR6_ALL = 0xe00f, DR7_FIXED = 0x400 };

unsigned kvm_arch_debug_points(void *data)
{
    KvmVm *vm = data;
    return kvm_check(vm, KVM_CAP_SET_GUEST_DEBUG) > 0 ? DR_COUNT : 0;
}

/* SDM volume 3, section 18.2.4: enabled globally, kind and length in the upper half. */
static uint64_t dr7_of(const VmrDebug *d)
{
    static const uint8_t kinds[] = {[VMR_POINT_EXEC] = 0, [VMR_POINT_WRITE] = 1, [VMR_POINT_ACCESS] = 3};
    uint64_t dr7 = DR7_FIXED;
    for (unsigned i = 0; i < MIN(d->count, (unsigned)DR_COUNT); i++) {
        unsigned n = d->points[i].size, length = n == 8 ? 2 : n == 4 ? 3 : n - 1;
        dr7 |= (uint64_t)2 << (2 * i) | (uint64_t)(length << 2 | kinds[d->points[i].kind]) << (16 + 4 * i);
    }
    return dr7;
}

static void set(X86Cpu *c, bool give_back)
{
    const VmrDebug *d = c->debug;
    struct kvm_guest_debug g = {0};
    if (d) {
        g.control = KVM_GUESTDBG_ENABLE | (d->step ? KVM_GUESTDBG_SINGLESTEP : 0) |
                    (d->count ? KVM_GUESTDBG_USE_HW_BP : 0) | (give_back ? KVM_GUESTDBG_INJECT_DB : 0);
        for (unsigned i = 0; i < MIN(d->count, (unsigned)DR_COUNT); i++)
            g.arch.debugreg[i] = d->points[i].address;
        g.arch.debugreg[7] = dr7_of(d);
#ifdef KVM_GUESTDBG_BLOCKIRQ
        /* The local APICs are KVM's: else none is injected by inject(). */
        if (d->step && x86_vm(c)->split &&
            (kvm_check(c->k.vm, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ))
            g.control |= KVM_GUESTDBG_BLOCKIRQ;
#endif
    }
    if (kvm_ioctl(c->k.fd, KVM_SET_GUEST_DEBUG, &g) < 0)
        vmr_core_log(VMR_LOG_ERROR, "cpu%u: KVM refuses its breakpoints: %s", c->k.index,
                     g_strerror(errno));
}

void kvm_arch_cpu_debug(void *acpu, const VmrDebug *debug)
{
    X86Cpu *c = acpu;
    bool none = !debug->step && !debug->count;
    if (none && !c->debug)
        return;
    g_free(c->debug);
    c->debug = none ? NULL : g_memdup2(debug, sizeof *debug);
    set(c, false);
}

bool kvm_x86_debug_exit(X86Cpu *c)
{
    const struct kvm_debug_exit_arch *e = &c->k.run->debug.arch;
    VmrDebugHit *hit = &c->k.core->debug_hit;
    const VmrDebug *d = c->debug;
    if (d && e->exception == VECTOR_DB) {
        for (unsigned i = 0; i < MIN(d->count, (unsigned)DR_COUNT); i++) {
            if (!(e->dr6 >> i & 1))
                continue;
            *hit = (VmrDebugHit){.kind = d->points[i].kind, .address = d->points[i].address};
            return true;
        }
        if (d->step && (e->dr6 & DR6_BS)) {
            *hit = (VmrDebugHit){.step = true, .address = e->pc};
            return true;
        }
    }
    if (e->exception != VECTOR_DB)
        return false;
    struct kvm_debugregs regs = {0};
    if (kvm_ioctl(c->k.fd, KVM_GET_DEBUGREGS, &regs) == 0) {
        regs.dr6 = (regs.dr6 & ~15ull) | (e->dr6 & DR6_ALL);
        (void)kvm_ioctl(c->k.fd, KVM_SET_DEBUGREGS, &regs);
    }
    if (d)
        set(c, true);
    return false;
}
