/*
 * core/reset.c - a reset of the whole machine, in the three phases of device.h.
 *
 * The vCPUs are reset before HOLD, so that what the lines do to their pins
 * stays; and before EXIT, so that what boots the machine may set their state.
 */
#include "runtime.h"

static void phase(VmrMachine *m, VmrResetPhase p, VmrResetKind kind)
{
    for (unsigned i = 0; m->devices && i < m->devices->len; i++) {
        VmrDeviceHandle *h = m->devices->pdata[i];
        if (h->realized && h->klass->reset)
            h->klass->reset(h->device, p, kind);
    }
}

static void enter_and_hold(VmrMachine *m, VmrResetKind kind)
{
    phase(m, VMR_RESET_ENTER, kind);
    for (unsigned i = 0; i < m->cpu_count; i++) {
        VmrCpu *cpu = &m->cpus[i];
        if (cpu->acpu)
            m->accel->cpu_reset(cpu->acpu, kind);
        g_mutex_lock(&cpu->lock);
        cpu->stopped = false;
        cpu->wake = true;
        g_cond_broadcast(&cpu->cond);
        g_mutex_unlock(&cpu->lock);
    }
    phase(m, VMR_RESET_HOLD, kind);
    vmr_irq_redrive(m);
}

void vmr_machine_reset_for_load(VmrMachine *m)
{
    enter_and_hold(m, VMR_RESET_COLD);
}

void vmr_machine_reset(VmrMachine *m, VmrResetKind kind)
{
    vmr_domain_lock_urgent(m->domain);
    enter_and_hold(m, kind);
    phase(m, VMR_RESET_EXIT, kind);
    vmr_domain_unlock(m->domain);
}
