/*
 * core/tsan.c - only in builds with the thread sanitizer: makes it see GLib's locks.
 *
 * GLib takes its mutexes by futex and is not instrumented, so that what they order looks
 * like a race.  These wrappers stand before GLib's functions and tell the sanitizer.
 * GLib's own use of its locks stays unseen.
 */
#include <dlfcn.h>
#include <glib.h>

void __tsan_acquire(void *p);
void __tsan_release(void *p);

#define EXPORT __attribute__((visibility("default")))

/* The function behind the wrapper.  Looked up each time: a static would need a lock. */
#define REAL(name_) ((__typeof__(&name_))dlsym(RTLD_NEXT, #name_))

#define LOCKS(type_, prefix_)                                                                      \
    EXPORT void prefix_##_lock(type_ *m)                                                           \
    {                                                                                              \
        REAL(prefix_##_lock)(m);                                                                   \
        __tsan_acquire(m);                                                                         \
    }                                                                                              \
    EXPORT gboolean prefix_##_trylock(type_ *m)                                                    \
    {                                                                                              \
        gboolean taken = REAL(prefix_##_trylock)(m);                                               \
        if (taken)                                                                                 \
            __tsan_acquire(m);                                                                     \
        return taken;                                                                              \
    }                                                                                              \
    EXPORT void prefix_##_unlock(type_ *m)                                                         \
    {                                                                                              \
        __tsan_release(m);                                                                         \
        REAL(prefix_##_unlock)(m);                                                                 \
    }

LOCKS(GMutex, g_mutex)
LOCKS(GRecMutex, g_rec_mutex)

EXPORT void g_cond_wait(GCond *c, GMutex *m)
{
    __tsan_release(m);
    REAL(g_cond_wait)(c, m);
    __tsan_acquire(m);
}

EXPORT gboolean g_cond_wait_until(GCond *c, GMutex *m, gint64 end)
{
    __tsan_release(m);
    gboolean in_time = REAL(g_cond_wait_until)(c, m, end);
    __tsan_acquire(m);
    return in_time;
}
