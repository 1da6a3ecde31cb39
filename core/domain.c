/*
 * core/domain.c - a domain: the lock under which its devices are serialised.
 *
 * Recursive: a handler may write to a line or to memory that leads back to its
 * own domain.  Lock order: fabric.h.
 */
#include "fabric.h"

#include <stdio.h>

struct VmrDomain {
    char *name;
    GMainContext *context;
    GRecMutex lock;
    GMutex gate;      /* held by an urgent one while it waits */
    unsigned urgent;  /* atomic: how many wait at the gate */
    const void *owner; /* atomic: the owner's thread mark; NULL: unlocked */
    unsigned depth;   /* under the lock */
    unsigned complaints;
};

static _Thread_local char thread_mark; /* its address names the thread */

VmrDomain *vmr_domain_new(const char *name, GMainContext *context)
{
    VmrDomain *d = g_new0(VmrDomain, 1);
    d->name = g_strdup(name);
    d->context = context ? g_main_context_ref(context) : NULL;
    g_rec_mutex_init(&d->lock);
    g_mutex_init(&d->gate);
    return d;
}

void vmr_domain_free(VmrDomain *d)
{
    if (!d)
        return;
    if (d->context)
        g_main_context_unref(d->context);
    g_rec_mutex_clear(&d->lock);
    g_mutex_clear(&d->gate);
    g_free(d->name);
    g_free(d);
}

bool vmr_domain_owned(const VmrDomain *d)
{
    return __atomic_load_n(&d->owner, __ATOMIC_RELAXED) == &thread_mark;
}

static void locked(VmrDomain *d)
{
    if (d->depth++ == 0)
        __atomic_store_n(&d->owner, &thread_mark, __ATOMIC_RELAXED);
}

void vmr_domain_lock(VmrDomain *d)
{
    /* The mutex is not fair: a vCPU that spins on a device would take it again
       before the main loop has woken up.  So it queues behind the gate then. */
    if (G_UNLIKELY(__atomic_load_n(&d->urgent, __ATOMIC_RELAXED)) && !vmr_domain_owned(d)) {
        g_mutex_lock(&d->gate);
        g_mutex_unlock(&d->gate);
    }
    g_rec_mutex_lock(&d->lock);
    locked(d);
}

void vmr_domain_lock_urgent(VmrDomain *d)
{
    if (!vmr_domain_owned(d)) {
        __atomic_add_fetch(&d->urgent, 1, __ATOMIC_RELAXED);
        g_mutex_lock(&d->gate);
        g_rec_mutex_lock(&d->lock);
        g_mutex_unlock(&d->gate);
        __atomic_sub_fetch(&d->urgent, 1, __ATOMIC_RELAXED);
    } else {
        g_rec_mutex_lock(&d->lock);
    }
    locked(d);
}

void vmr_domain_unlock(VmrDomain *d)
{
    if (--d->depth == 0)
        __atomic_store_n(&d->owner, NULL, __ATOMIC_RELAXED);
    g_rec_mutex_unlock(&d->lock);
}

void vmr_domain_check(const VmrDomain *d, const char *what)
{
#ifndef NDEBUG
    if (G_LIKELY(!d || vmr_domain_owned(d)))
        return;
    unsigned *complaints = (unsigned *)&d->complaints;
    if (__atomic_fetch_add(complaints, 1, __ATOMIC_RELAXED) < 20)
        fprintf(stderr, "vmrun: bug: %s is called outside domain %s\n", what, d->name);
#endif
}
