/*
 * core/watch.c - a device's file descriptors in the main loop.
 */
#include "runtime.h"

#include <glib-unix.h>

struct VmrWatch {
    unsigned refs; /* atomic: the device's and the source's */
    VmrDevice *device;
    VmrDomain *domain;
    VmrWatchReady *ready; /* NULL once freed; under the domain lock */
    GSource *source;
};

static void drop(gpointer data)
{
    VmrWatch *w = data;
    if (__atomic_sub_fetch(&w->refs, 1, __ATOMIC_ACQ_REL) == 0)
        g_free(w);
}

static gboolean ready(int fd, GIOCondition condition, gpointer data)
{
    VmrWatch *w = data;
    vmr_domain_lock_urgent(w->domain);
    /* A vCPU may have freed it while this thread waited for the lock. */
    bool alive = w->ready;
    if (alive)
        w->ready(w->device, fd, condition);
    alive = alive && w->ready;
    vmr_domain_unlock(w->domain);
    return alive;
}

VmrWatch *vmr_host_watch_new(VmrDevice *dev, int fd, unsigned cond, VmrWatchReady *fn)
{
    VmrMachine *m = dev->handle->machine;
    VmrWatch *w = g_new0(VmrWatch, 1);
    *w = (VmrWatch){.refs = 2, .device = dev, .domain = m->domain, .ready = fn};
    w->source = g_unix_fd_source_new(fd, (GIOCondition)cond);
    g_source_set_callback(w->source, G_SOURCE_FUNC(ready), w, drop);
    g_source_attach(w->source, m->priv->context);
    return w;
}

void vmr_host_watch_free(VmrWatch *w)
{
    vmr_domain_lock(w->domain);
    w->ready = NULL;
    VmrDomain *domain = w->domain;
    g_source_destroy(w->source);
    g_source_unref(w->source);
    drop(w);
    vmr_domain_unlock(domain);
}
