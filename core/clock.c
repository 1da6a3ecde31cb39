/*
 * core/clock.c - guest-virtual time: the host's monotonic clock while the guest runs.
 *
 * Read by any thread, often (a guest's TSC), so it is a seqlock: the main thread
 * writes when the machine starts and stops.
 */
#include "runtime.h"

#include <time.h>

static int64_t ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

typedef struct Sample {
    int64_t virtual, host;
    bool running;
} Sample;

static Sample sample(VmrMachine *m)
{
    struct VmrMachinePrivate *p = m->priv;
    for (;;) {
        unsigned before = __atomic_load_n(&p->clock_seq, __ATOMIC_ACQUIRE);
        Sample s = {
            .virtual = __atomic_load_n(&p->clock_virtual, __ATOMIC_RELAXED),
            .host = __atomic_load_n(&p->clock_host, __ATOMIC_RELAXED),
            .running = __atomic_load_n(&p->clock_running, __ATOMIC_RELAXED),
        };
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && __atomic_load_n(&p->clock_seq, __ATOMIC_RELAXED) == before)
            return s;
    }
}

static void set(VmrMachine *m, int64_t virtual, int64_t host, bool running)
{
    struct VmrMachinePrivate *p = m->priv;
    __atomic_store_n(&p->clock_seq, p->clock_seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&p->clock_virtual, virtual, __ATOMIC_RELAXED);
    __atomic_store_n(&p->clock_host, host, __ATOMIC_RELAXED);
    __atomic_store_n(&p->clock_running, running, __ATOMIC_RELAXED);
    __atomic_store_n(&p->clock_seq, p->clock_seq + 1, __ATOMIC_RELEASE);
}

int64_t vmr_machine_time(VmrMachine *m)
{
    Sample s = sample(m);
    return s.running ? s.virtual + (ns(CLOCK_MONOTONIC) - s.host) : s.virtual;
}

void vmr_clock_start(VmrMachine *m)
{
    if (m->priv->clock_running)
        return;
    set(m, m->priv->clock_virtual, ns(CLOCK_MONOTONIC), true);
    vmr_timers_clock_changed(m->priv->timers);
}

void vmr_clock_stop(VmrMachine *m)
{
    if (!m->priv->clock_running)
        return;
    set(m, vmr_machine_time(m), 0, false);
    vmr_timers_clock_changed(m->priv->timers);
}

void vmr_clock_set(VmrMachine *m, int64_t t)
{
    if (m->priv->clock_running)
        return;
    set(m, t, 0, false);
    vmr_timers_clock_changed(m->priv->timers);
}

int64_t vmr_clock_wall(void)
{
    return ns(CLOCK_REALTIME);
}

int64_t vmr_clock_host_deadline(VmrMachine *m, int64_t t)
{
    Sample s = sample(m);
    if (!s.running)
        return INT64_MAX;
    int64_t wait, deadline;
    if (__builtin_sub_overflow(t, s.virtual, &wait))
        return t < 0 ? 1 : INT64_MAX;
    if (__builtin_add_overflow(s.host, wait, &deadline))
        return wait < 0 ? 1 : INT64_MAX;
    return MAX(deadline, 1);
}
