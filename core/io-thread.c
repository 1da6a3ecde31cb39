/*
 * core/io-thread.c - a thread beside the main loop, for what guests wait for while that is busy.
 */
#include "runtime.h"

static void *serve(void *data)
{
    VmrMachine *m = data;
    while (!__atomic_load_n(&m->priv->io_end, __ATOMIC_ACQUIRE))
        g_main_context_iteration(m->priv->io_context, TRUE);
    return NULL;
}

GMainContext *vmr_io_context(VmrMachine *m)
{
    struct VmrMachinePrivate *p = m->priv;
    if (!p->io_thread) {
        p->io_context = g_main_context_new();
        p->io_thread = g_thread_new("io", serve, m);
    }
    return p->io_context;
}

void vmr_io_thread_end(VmrMachine *m)
{
    struct VmrMachinePrivate *p = m->priv;
    if (!p->io_thread)
        return;
    __atomic_store_n(&p->io_end, true, __ATOMIC_RELEASE);
    g_main_context_wakeup(p->io_context);
    g_thread_join(g_steal_pointer(&p->io_thread));
}
