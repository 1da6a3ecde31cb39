/*
 * core/timer.c - the timers of a machine: a heap and a timerfd per clock.
 *
 * Deadlines are in ns and a poll() in ms would be too coarse for guests, hence
 * timerfd.  Timers fire on the main thread under their device's domain lock, at
 * most MAX_FIRINGS in a row, and only those that were due when the row began: a
 * timer that sets itself into the past comes again, but lets others live.
 */
#include "runtime.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MAX_FIRINGS = 64, CLOCKS = 2 };

struct VmrTimer {
    VmrTimers *owner;
    VmrDevice *device;
    VmrClock clock;
    VmrTimerFired *fired;
    int64_t deadline;
    int64_t key;    /* where it stands in the heap: a past deadline queues as "now" */
    uint64_t order; /* of equals, the one set first fires first */
    int at;         /* in the heap; -1: not set */
};

typedef struct Heap {
    VmrTimers *owner;
    VmrClock clock;
    GPtrArray *timers; /* a binary heap */
    int fd;
    int64_t armed; /* on the host's clock; INT64_MAX: not armed */
    GSource *source;
} Heap;

struct VmrTimers {
    VmrMachine *machine;
    GMutex lock; /* leaf: the heaps */
    uint64_t next_order;
    Heap heaps[CLOCKS];
};

/* ---- the heap --------------------------------------------------------- */

static bool before(const VmrTimer *a, const VmrTimer *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void put(Heap *h, int at, VmrTimer *t)
{
    h->timers->pdata[at] = t;
    t->at = at;
}

static void sift(Heap *h, int at)
{
    VmrTimer *t = h->timers->pdata[at];
    while (at > 0 && before(t, h->timers->pdata[(at - 1) / 2])) {
        put(h, at, h->timers->pdata[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        int child = at * 2 + 1, n = (int)h->timers->len;
        if (child >= n)
            break;
        if (child + 1 < n && before(h->timers->pdata[child + 1], h->timers->pdata[child]))
            child++;
        if (!before(h->timers->pdata[child], t))
            break;
        put(h, at, h->timers->pdata[child]);
        at = child;
    }
    put(h, at, t);
}

static void take_out(Heap *h, VmrTimer *t)
{
    int at = t->at;
    if (at < 0)
        return;
    t->at = -1;
    VmrTimer *last = h->timers->pdata[h->timers->len - 1];
    g_ptr_array_set_size(h->timers, (int)h->timers->len - 1);
    if (last != t) {
        put(h, at, last);
        sift(h, at);
    }
}

/* ---- arming ----------------------------------------------------------- */

static int64_t host_deadline(const Heap *h)
{
    if (!h->timers->len)
        return INT64_MAX;
    const VmrTimer *t = h->timers->pdata[0];
    if (h->clock == VMR_CLOCK_WALL)
        return MAX(t->key, 1);
    return vmr_clock_host_deadline(h->owner->machine, t->key);
}

/* Too early is harmless (it looks and arms again), so a later deadline costs no system call. */
static void arm(Heap *h, bool exactly)
{
    int64_t deadline = host_deadline(h);
    if (deadline == h->armed || (!exactly && deadline > h->armed))
        return;
    h->armed = deadline;
    struct itimerspec spec = {0};
    if (deadline != INT64_MAX) {
        spec.it_value.tv_sec = deadline / 1000000000;
        spec.it_value.tv_nsec = deadline % 1000000000;
    }
    int flags = TFD_TIMER_ABSTIME | (h->clock == VMR_CLOCK_WALL ? TFD_TIMER_CANCEL_ON_SET : 0);
    timerfd_settime(h->fd, flags, &spec, NULL);
}

static int64_t now(const Heap *h)
{
    return h->clock == VMR_CLOCK_WALL ? vmr_clock_wall() : vmr_machine_time(h->owner->machine);
}

static gboolean fire(int fd, GIOCondition condition, gpointer data)
{
    Heap *h = data;
    VmrTimers *ts = h->owner;
    VmrDomain *domain = ts->machine->domain;
    uint64_t expirations;
    /* EAGAIN, or ECANCELED when the wall clock was set: either way, look. */
    ssize_t ignored = read(fd, &expirations, sizeof expirations);
    (void)ignored;
    g_mutex_lock(&ts->lock);
    h->armed = INT64_MAX;
    uint64_t newest = ts->next_order;
    g_mutex_unlock(&ts->lock);
    int64_t until = now(h);
    for (unsigned i = 0; i < MAX_FIRINGS; i++) {
        /* Taken out under the domain lock, so that a cancel in the domain is final. */
        vmr_domain_lock_urgent(domain);
        g_mutex_lock(&ts->lock);
        VmrTimer *t = h->timers->len ? h->timers->pdata[0] : NULL;
        bool due = t && t->key <= until && t->order < newest &&
                   (h->clock == VMR_CLOCK_WALL || ts->machine->priv->clock_running);
        if (due)
            take_out(h, t);
        g_mutex_unlock(&ts->lock);
        if (due)
            t->fired(t->device);
        vmr_domain_unlock(domain);
        if (!due)
            break;
    }
    g_mutex_lock(&ts->lock);
    arm(h, true);
    g_mutex_unlock(&ts->lock);
    return G_SOURCE_CONTINUE;
}

/* ---- the host's functions --------------------------------------------- */

VmrTimer *vmr_host_timer_new(VmrDevice *dev, VmrClock clock, VmrTimerFired *fired)
{
    VmrTimer *t = g_new0(VmrTimer, 1);
    t->owner = dev->handle->machine->priv->timers;
    t->device = dev;
    t->clock = clock == VMR_CLOCK_WALL ? VMR_CLOCK_WALL : VMR_CLOCK_VIRTUAL;
    t->fired = fired;
    t->at = -1;
    return t;
}

void vmr_host_timer_set(VmrTimer *t, int64_t deadline_ns)
{
    Heap *h = &t->owner->heaps[t->clock];
    g_mutex_lock(&t->owner->lock);
    t->deadline = deadline_ns;
    t->key = MAX(deadline_ns, now(h));
    t->order = t->owner->next_order++;
    if (t->at < 0) {
        g_ptr_array_add(h->timers, t);
        t->at = (int)h->timers->len - 1;
    }
    sift(h, t->at);
    arm(h, false);
    g_mutex_unlock(&t->owner->lock);
}

void vmr_host_timer_cancel(VmrTimer *t)
{
    g_mutex_lock(&t->owner->lock);
    take_out(&t->owner->heaps[t->clock], t);
    g_mutex_unlock(&t->owner->lock);
}

bool vmr_host_timer_pending(VmrTimer *t, int64_t *deadline_ns)
{
    g_mutex_lock(&t->owner->lock);
    bool pending = t->at >= 0;
    if (pending && deadline_ns)
        *deadline_ns = t->deadline;
    g_mutex_unlock(&t->owner->lock);
    return pending;
}

void vmr_host_timer_free(VmrTimer *t)
{
    vmr_host_timer_cancel(t);
    g_free(t);
}

/* ---- life ------------------------------------------------------------- */

VmrTimers *vmr_timers_new(VmrMachine *m, GMainContext *context, GError **error)
{
    static const clockid_t ids[CLOCKS] = {[VMR_CLOCK_VIRTUAL] = CLOCK_MONOTONIC,
                                          [VMR_CLOCK_WALL] = CLOCK_REALTIME};
    VmrTimers *ts = g_new0(VmrTimers, 1);
    ts->machine = m;
    g_mutex_init(&ts->lock);
    for (unsigned i = 0; i < CLOCKS; i++) {
        Heap *h = &ts->heaps[i];
        *h = (Heap){.owner = ts, .clock = (VmrClock)i, .timers = g_ptr_array_new(), .fd = -1,
                    .armed = INT64_MAX};
    }
    for (unsigned i = 0; i < CLOCKS; i++) {
        Heap *h = &ts->heaps[i];
        h->fd = timerfd_create(ids[i], TFD_CLOEXEC | TFD_NONBLOCK);
        if (h->fd < 0) {
            g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "timerfd: %s",
                        g_strerror(errno));
            vmr_timers_free(ts);
            return NULL;
        }
        h->source = g_unix_fd_source_new(h->fd, G_IO_IN);
        g_source_set_callback(h->source, G_SOURCE_FUNC(fire), h, NULL);
        g_source_set_priority(h->source, G_PRIORITY_DEFAULT); /* as all others: none starves */
        g_source_attach(h->source, context);
    }
    return ts;
}

void vmr_timers_free(VmrTimers *ts)
{
    if (!ts)
        return;
    for (unsigned i = 0; i < CLOCKS; i++) {
        Heap *h = &ts->heaps[i];
        if (h->source) {
            g_source_destroy(h->source);
            g_source_unref(h->source);
        }
        if (h->fd >= 0)
            close(h->fd);
        for (unsigned k = 0; k < h->timers->len; k++)
            ((VmrTimer *)h->timers->pdata[k])->at = -1;
        g_ptr_array_unref(h->timers);
    }
    g_mutex_clear(&ts->lock);
    g_free(ts);
}

void vmr_timers_clock_changed(VmrTimers *ts)
{
    if (!ts)
        return;
    g_mutex_lock(&ts->lock);
    arm(&ts->heaps[VMR_CLOCK_VIRTUAL], true);
    g_mutex_unlock(&ts->lock);
}
