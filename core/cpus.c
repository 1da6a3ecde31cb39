/*
 * core/cpus.c - a thread per vCPU, and stopping all of them.
 *
 * A thread is either in cpu_run() or waits on its condition with `parked` set;
 * it leaves the wait only after having looked, under its lock, whether all are
 * to be parked.  So whoever sets `park` and then sees `parked` has it stopped.
 */
#include "debug.h"
#include "runtime.h"

#include <unistd.h>

enum { PARK_SECONDS = 10 };

static bool flag(const bool *b)
{
    return __atomic_load_n(b, __ATOMIC_ACQUIRE);
}

/* Until it may run; false: the thread is to end. */
static bool wait_to_run(VmrCpu *cpu, bool halted)
{
    struct VmrMachinePrivate *p = cpu->machine->priv;
    g_mutex_lock(&cpu->lock);
    bool quit;
    for (;;) {
        quit = flag(&p->cpus_quit);
        bool hold = flag(&p->park) || flag(&p->request_pending) || flag(&cpu->debug_hold) ||
                    cpu->stopped;
        if (quit || (!hold && (!halted || cpu->wake)))
            break;
        if (!cpu->parked) {
            cpu->parked = true;
            g_cond_broadcast(&cpu->cond);
        }
        g_cond_wait(&cpu->cond, &cpu->lock);
    }
    /* Taken before it runs: a wake that comes now is seen at the next halt. */
    cpu->wake = false;
    cpu->parked = quit;
    g_cond_broadcast(&cpu->cond);
    g_mutex_unlock(&cpu->lock);
    return !quit;
}

static void stop_here(VmrCpu *cpu)
{
    g_mutex_lock(&cpu->lock);
    cpu->stopped = true;
    g_mutex_unlock(&cpu->lock);
}

static void crashed(VmrCpu *cpu)
{
    VmrMachine *m = cpu->machine;
    stop_here(cpu);
    if (m->priv->reset_on_crash)
        vmr_machine_request(m, VMR_REQUEST_RESET, 0);
    else
        vmr_machine_end(m, 3, "CPU %u: triple fault: the guest crashed", cpu->index);
}

static void *cpu_thread(void *data)
{
    VmrCpu *cpu = data;
    VmrMachine *m = cpu->machine;
    static const char *const names[] = {[VMR_EXIT_KICKED] = "kicked", [VMR_EXIT_HALTED] = "halted",
                                        [VMR_EXIT_SHUTDOWN] = "shutdown",
                                        [VMR_EXIT_DEBUG] = "debug", [VMR_EXIT_ERROR] = "error"};
    char who[16];
    g_snprintf(who, sizeof who, "cpu%u", cpu->index);
    cpu->tid = (int)gettid();
    bool halted = false;
    while (wait_to_run(cpu, halted)) {
        vmr_debug_prepare(cpu);
        vmr_reader_enter(m);
        VmrExit why = m->accel->cpu_run(cpu->acpu);
        vmr_reader_leave(m);
        if (vmr_tracing(VMR_TRACE_EXIT))
            vmr_core_trace(who, "exit: %s", (unsigned)why < G_N_ELEMENTS(names) ? names[why] : "?");
        halted = why == VMR_EXIT_HALTED;
        if (why == VMR_EXIT_DEBUG) {
            vmr_debug_stopped(cpu);
        } else if (why == VMR_EXIT_SHUTDOWN) {
            crashed(cpu);
        } else if (why == VMR_EXIT_ERROR) {
            stop_here(cpu);
            vmr_machine_end(m, 1, "CPU %u: the accelerator %s cannot go on", cpu->index,
                            m->accel->name);
        }
    }
    return NULL;
}

bool vmr_cpus_start(VmrMachine *m, GError **error)
{
    m->priv->cpus_started = true;
    for (unsigned i = 0; i < m->cpu_count; i++) {
        char name[16];
        g_snprintf(name, sizeof name, "cpu%u", i);
        m->cpus[i].thread = g_thread_try_new(name, cpu_thread, &m->cpus[i], error);
        if (!m->cpus[i].thread)
            return false;
    }
    return true;
}

void vmr_cpus_look_again(VmrMachine *m)
{
    for (unsigned i = 0; i < m->cpu_count; i++) {
        VmrCpu *cpu = &m->cpus[i];
        g_mutex_lock(&cpu->lock);
        g_cond_broadcast(&cpu->cond);
        g_mutex_unlock(&cpu->lock);
    }
}

void vmr_cpus_kick(VmrMachine *m)
{
    for (unsigned i = 0; i < m->cpu_count; i++)
        if (m->cpus[i].acpu)
            m->accel->cpu_kick(m->cpus[i].acpu);
}

bool vmr_cpus_park(VmrMachine *m)
{
    __atomic_store_n(&m->priv->park, true, __ATOMIC_SEQ_CST);
    vmr_cpus_kick(m);
    int64_t until = g_get_monotonic_time() + PARK_SECONDS * G_USEC_PER_SEC;
    bool all = true;
    for (unsigned i = 0; i < m->cpu_count; i++) {
        VmrCpu *cpu = &m->cpus[i];
        if (!cpu->thread)
            continue;
        g_mutex_lock(&cpu->lock);
        while (!cpu->parked && g_cond_wait_until(&cpu->cond, &cpu->lock, until))
            ;
        if (!cpu->parked) {
            vmr_core_log(VMR_LOG_ERROR, "CPU %u does not stop", i);
            all = false;
        }
        g_mutex_unlock(&cpu->lock);
    }
    return all;
}

void vmr_cpus_unpark(VmrMachine *m)
{
    __atomic_store_n(&m->priv->park, false, __ATOMIC_SEQ_CST);
    vmr_cpus_look_again(m);
}

void vmr_cpus_join(VmrMachine *m)
{
    if (!m->priv->cpus_started)
        return;
    __atomic_store_n(&m->priv->cpus_quit, true, __ATOMIC_SEQ_CST);
    vmr_cpus_kick(m);
    vmr_cpus_look_again(m);
    for (unsigned i = 0; i < m->cpu_count; i++)
        if (m->cpus[i].thread)
            g_thread_join(g_steal_pointer(&m->cpus[i].thread));
    m->priv->cpus_started = false;
}

void vmr_cpu_wake(VmrCpu *cpu)
{
    g_mutex_lock(&cpu->lock);
    cpu->wake = true;
    g_cond_broadcast(&cpu->cond);
    g_mutex_unlock(&cpu->lock);
}
