/*
 * core/work.c - a pool of threads for what would block a device.
 */
#include "runtime.h"

struct VmrWorkers {
    VmrMachine *machine;
    GThreadPool *pool;
    GMutex lock;
    GCond idle;
    unsigned pending; /* not yet done */
    GQueue finished;  /* Job *: done() is due */
    GSource *source;
};

typedef struct Job {
    VmrDevice *device;
    VmrWork *work;
    VmrWorkDone *done;
    void *data;
} Job;

static void run(gpointer data, gpointer user)
{
    Job *job = data;
    VmrWorkers *w = user;
    job->work(job->data);
    g_mutex_lock(&w->lock);
    g_queue_push_tail(&w->finished, job);
    g_source_set_ready_time(w->source, 0);
    g_cond_signal(&w->idle);
    g_mutex_unlock(&w->lock);
}

static void finish_some(VmrWorkers *w)
{
    for (unsigned i = 0; i < 64; i++) {
        g_mutex_lock(&w->lock);
        Job *job = g_queue_pop_head(&w->finished);
        g_mutex_unlock(&w->lock);
        if (!job)
            return;
        if (job->done) {
            vmr_domain_lock_urgent(w->machine->domain);
            job->done(job->device, job->data);
            vmr_domain_unlock(w->machine->domain);
        }
        g_free(job);
        g_mutex_lock(&w->lock);
        w->pending--;
        g_mutex_unlock(&w->lock);
    }
}

static gboolean dispatch(gpointer data)
{
    VmrWorkers *w = data;
    finish_some(w);
    g_mutex_lock(&w->lock);
    g_source_set_ready_time(w->source, w->finished.length ? 0 : -1);
    g_mutex_unlock(&w->lock);
    return G_SOURCE_CONTINUE;
}

static gboolean dispatch_source(GSource *source, GSourceFunc callback, gpointer data)
{
    return callback(data);
}

static GSourceFuncs source_funcs = {.dispatch = dispatch_source};

VmrWorkers *vmr_workers_new(VmrMachine *m)
{
    VmrWorkers *w = g_new0(VmrWorkers, 1);
    w->machine = m;
    g_mutex_init(&w->lock);
    g_cond_init(&w->idle);
    w->source = g_source_new(&source_funcs, sizeof(GSource));
    g_source_set_callback(w->source, dispatch, w, NULL);
    g_source_set_ready_time(w->source, -1);
    g_source_attach(w->source, m->priv->context);
    return w;
}

void vmr_workers_drain(VmrWorkers *w)
{
    if (!w)
        return;
    for (;;) {
        g_mutex_lock(&w->lock);
        while (w->pending && !w->finished.length)
            g_cond_wait(&w->idle, &w->lock);
        bool none = !w->pending;
        g_mutex_unlock(&w->lock);
        if (none)
            return;
        finish_some(w);
    }
}

void vmr_workers_free(VmrWorkers *w)
{
    if (!w)
        return;
    if (w->pool)
        g_thread_pool_free(w->pool, FALSE, TRUE);
    g_source_destroy(w->source);
    g_source_unref(w->source);
    g_mutex_clear(&w->lock);
    g_cond_clear(&w->idle);
    g_free(w);
}

void vmr_host_work_submit(VmrDevice *dev, VmrWork *work, VmrWorkDone *done, void *data)
{
    VmrWorkers *w = dev->handle->machine->priv->workers;
    Job *job = g_new(Job, 1);
    *job = (Job){dev, work, done, data};
    g_mutex_lock(&w->lock);
    if (!w->pool)
        w->pool = g_thread_pool_new(run, w, 4, FALSE, NULL);
    w->pending++;
    g_thread_pool_push(w->pool, job, NULL);
    g_mutex_unlock(&w->lock);
}
