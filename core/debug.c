/*
 * core/debug.c - where CPUs stop for somebody outside.  See debug.h.
 *
 * A CPU that stands at a breakpoint passes it by a single step without any point: no
 * accelerator need know how to ignore one once.
 */
#include "debug.h"

#include "gdb.h"
#include "runtime.h"
#include "swap.h"

#include <string.h>

struct VmrDebugState {
    GMutex lock;   /* of: */
    GArray *points; /* VmrPoint, each as often as it was set */
    unsigned gen;  /* counts changes, from 1; atomic */
};

static bool same(const VmrPoint *a, const VmrPoint *b)
{
    return a->address == b->address && a->kind == b->kind && a->size == b->size;
}

static int find(const struct VmrDebugState *d, const VmrPoint *point, unsigned before)
{
    for (unsigned i = 0; i < before; i++)
        if (same(&g_array_index(d->points, VmrPoint, i), point))
            return (int)i;
    return -1;
}

/* Under the lock: each point once. */
static unsigned collect(const struct VmrDebugState *d, VmrPoint *to)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->points->len; i++) {
        const VmrPoint *p = &g_array_index(d->points, VmrPoint, i);
        if (find(d, p, i) >= 0)
            continue;
        if (to && n < VMR_POINTS)
            to[n] = *p;
        n++;
    }
    return n;
}

static bool fits(unsigned count, const VmrAccelClass *accel, void *vm, GError **error)
{
    unsigned most = accel->debug_points ? MIN(accel->debug_points(vm), (unsigned)VMR_POINTS) : 0;
    if (count <= most)
        return true;
    if (most)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC, "%s has %u breakpoints and watchpoints, not %u",
                    accel->name, most, count);
    else
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS, "%s has no breakpoints here", accel->name);
    return false;
}

bool vmr_debug_fits(VmrMachine *m, const VmrAccelClass *accel, void *vm, GError **error)
{
    struct VmrDebugState *d = m->priv->debug;
    if (!d)
        return true;
    g_mutex_lock(&d->lock);
    unsigned n = collect(d, NULL);
    g_mutex_unlock(&d->lock);
    return n == 0 || fits(n, accel, vm, error);
}

static void changed(VmrMachine *m)
{
    __atomic_add_fetch(&m->priv->debug->gen, 1, __ATOMIC_SEQ_CST);
    vmr_cpus_kick(m);
}

static struct VmrDebugState *state(VmrMachine *m)
{
    struct VmrDebugState *d = m->priv->debug;
    if (!d) {
        d = g_new0(struct VmrDebugState, 1);
        g_mutex_init(&d->lock);
        d->points = g_array_new(FALSE, FALSE, sizeof(VmrPoint));
        d->gen = 1;
        __atomic_store_n(&m->priv->debug, d, __ATOMIC_RELEASE);
    }
    return d;
}

void vmr_debug_changed(VmrMachine *m)
{
    (void)state(m);
    changed(m);
}

bool vmr_debug_add(VmrMachine *m, const VmrPoint *point, GError **error)
{
    struct VmrDebugState *d = state(m);
    g_mutex_lock(&d->lock);
    bool ok = find(d, point, d->points->len) >= 0 || fits(collect(d, NULL) + 1, m->accel, m->vm, error);
    if (ok)
        g_array_append_val(d->points, *point);
    g_mutex_unlock(&d->lock);
    if (ok)
        changed(m);
    return ok;
}

void vmr_debug_remove(VmrMachine *m, const VmrPoint *point)
{
    struct VmrDebugState *d = m->priv->debug;
    g_mutex_lock(&d->lock);
    int i = find(d, point, d->points->len);
    if (i >= 0)
        g_array_remove_index(d->points, (guint)i);
    g_mutex_unlock(&d->lock);
    changed(m);
}

void vmr_debug_renewed(VmrMachine *m)
{
    for (unsigned i = 0; i < m->cpu_count; i++)
        m->cpus[i].debug_gen = 0;
}

void vmr_debug_free(VmrMachine *m)
{
    struct VmrDebugState *d = m->priv->debug;
    if (!d)
        return;
    g_array_unref(d->points);
    g_mutex_clear(&d->lock);
    g_free(d);
    m->priv->debug = NULL;
}

/* ---- on a vCPU's thread ----------------------------------------------- */

static void tell(VmrCpu *cpu, struct VmrDebugState *d, bool alone)
{
    VmrDebug *debug = g_new0(VmrDebug, 1);
    g_mutex_lock(&d->lock);
    cpu->debug_gen = __atomic_load_n(&d->gen, __ATOMIC_SEQ_CST);
    cpu->debug_alone = alone;
    debug->step = alone || cpu->debug_step;
    if (!alone)
        debug->count = MIN(collect(d, debug->points), (unsigned)VMR_POINTS);
    g_mutex_unlock(&d->lock);
    cpu->machine->accel->cpu_debug(cpu->acpu, debug);
    g_free(debug);
}

void vmr_debug_prepare(VmrCpu *cpu)
{
    struct VmrDebugState *d = __atomic_load_n(&cpu->machine->priv->debug, __ATOMIC_ACQUIRE);
    if (G_UNLIKELY(d) && cpu->machine->accel->cpu_debug &&
        (cpu->debug_gen != __atomic_load_n(&d->gen, __ATOMIC_SEQ_CST) || cpu->debug_alone != cpu->debug_over))
        tell(cpu, d, cpu->debug_over);
}

void vmr_debug_stopped(VmrCpu *cpu)
{
    const VmrDebugHit *hit = &cpu->debug_hit;
    if (cpu->debug_over) {
        cpu->debug_over = false;
        if (!cpu->debug_step)
            return;
    }
    bool point = !hit->step && hit->kind == VMR_POINT_EXEC;
    bool taken = (point && vmr_swap_pc(cpu->machine, hit->address)) || vmr_gdb_stopped(cpu);
    /* If nobody takes it, it comes again while the point is set. */
    cpu->debug_over = point && taken;
}
