/*
 * core/tsan.h - tells ThreadSanitizer of GLib's locks, which are futexes that it does not see.
 *
 * Included before everything else in builds with -Db_sanitize=thread (meson.build), so that
 * what it then reports is real.
 */
#ifndef VMR_CORE_TSAN_H
#define VMR_CORE_TSAN_H
#ifndef __ASSEMBLER__

#include <glib.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

static inline gboolean vmr_tsan_acquired(gboolean held, void *lock)
{
    if (held)
        __tsan_acquire(lock);
    return held;
}

#define g_mutex_lock(m) ((g_mutex_lock)(m), __tsan_acquire(m))
#define g_mutex_trylock(m) vmr_tsan_acquired((g_mutex_trylock)(m), (m))
#define g_mutex_unlock(m) (__tsan_release(m), (g_mutex_unlock)(m))
#define g_rec_mutex_lock(m) ((g_rec_mutex_lock)(m), __tsan_acquire(m))
#define g_rec_mutex_trylock(m) vmr_tsan_acquired((g_rec_mutex_trylock)(m), (m))
#define g_rec_mutex_unlock(m) (__tsan_release(m), (g_rec_mutex_unlock)(m))
#define g_cond_wait(c, m) (__tsan_release(m), (g_cond_wait)((c), (m)), __tsan_acquire(m))
#define g_cond_wait_until(c, m, t) vmr_tsan_waited((c), (m), (t))

static inline gboolean vmr_tsan_waited(GCond *cond, GMutex *mutex, gint64 until)
{
    __tsan_release(mutex);
    gboolean signalled = (g_cond_wait_until)(cond, mutex, until);
    __tsan_acquire(mutex);
    return signalled;
}

#endif /* not an assembler */
#endif

