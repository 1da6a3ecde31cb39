/*
 * core/reader.c - when may a retired map be freed?
 *
 * Epochs: each retirement opens a new one.  A thread that reads maps notes the
 * epoch it began in; a map retired at epoch E is free once every such thread
 * has begun at E or later.  The noting costs two plain stores per outermost
 * access and nothing on a vCPU thread between its quiescent points.
 * The list is the process's, not a machine's: a thread has one record.
 */
#include "runtime.h"

typedef struct Reader {
    uint64_t epoch; /* atomic; 0: holds no map */
    unsigned depth; /* of this thread alone */
} Reader;

typedef struct Retired {
    VmrMap *map;
    uint64_t epoch;
} Retired;

static GMutex lock; /* leaf: the two lists */
static GPtrArray *readers, *retired;
static uint64_t now_epoch = 1; /* atomic */
static unsigned retired_count; /* atomic */

static void collect_locked(void)
{
    uint64_t oldest = UINT64_MAX;
    for (unsigned i = 0; readers && i < readers->len; i++) {
        Reader *r = readers->pdata[i];
        uint64_t e = __atomic_load_n(&r->epoch, __ATOMIC_SEQ_CST);
        if (e && e < oldest)
            oldest = e;
    }
    for (unsigned i = 0; retired && i < retired->len;) {
        Retired *r = retired->pdata[i];
        if (r->epoch > oldest) {
            i++;
            continue;
        }
        vmr_map_free(r->map);
        g_free(r);
        g_ptr_array_remove_index_fast(retired, i);
    }
    if (retired && !retired->len)
        g_clear_pointer(&retired, g_ptr_array_unref);
    __atomic_store_n(&retired_count, retired ? retired->len : 0, __ATOMIC_RELAXED);
}

static void collect(void)
{
    if (!__atomic_load_n(&retired_count, __ATOMIC_RELAXED))
        return;
    g_mutex_lock(&lock);
    collect_locked();
    g_mutex_unlock(&lock);
}

static void reader_gone(void *data)
{
    Reader *r = data;
    g_mutex_lock(&lock);
    g_ptr_array_remove_fast(readers, r);
    if (!readers->len)
        g_clear_pointer(&readers, g_ptr_array_unref);
    collect_locked();
    g_mutex_unlock(&lock);
    g_free(r);
}

static GPrivate at_thread_end = G_PRIVATE_INIT(reader_gone);
static _Thread_local Reader *self;

static Reader *reader(void)
{
    if (G_LIKELY(self))
        return self;
    self = g_new0(Reader, 1);
    g_private_set(&at_thread_end, self);
    g_mutex_lock(&lock);
    if (!readers)
        readers = g_ptr_array_new();
    g_ptr_array_add(readers, self);
    g_mutex_unlock(&lock);
    return self;
}

/* Sequentially consistent: the note is visible before the map is loaded. */
static void note(Reader *r)
{
    __atomic_store_n(&r->epoch, __atomic_load_n(&now_epoch, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
}

void vmr_reader_pin(void)
{
    Reader *r = reader();
    if (r->depth++ == 0)
        note(r);
}

void vmr_reader_unpin(void)
{
    if (--self->depth == 0)
        __atomic_store_n(&self->epoch, 0, __ATOMIC_RELEASE);
}

void vmr_reader_enter(VmrMachine *machine)
{
    vmr_reader_pin();
}

void vmr_reader_leave(VmrMachine *machine)
{
    vmr_reader_unpin();
    collect();
}

void vmr_reader_quiescent(VmrMachine *machine)
{
    Reader *r = reader();
    if (r->depth == 1) /* deeper: within an access, where a map is in use */
        note(r);
    collect();
}

unsigned vmr_reader_retire(VmrMap *map)
{
    if (!map)
        return 0;
    Retired *r = g_new(Retired, 1);
    g_mutex_lock(&lock);
    *r = (Retired){map, __atomic_add_fetch(&now_epoch, 1, __ATOMIC_SEQ_CST)};
    if (!retired)
        retired = g_ptr_array_new();
    g_ptr_array_add(retired, r);
    collect_locked();
    unsigned left = retired ? retired->len : 0;
    g_mutex_unlock(&lock);
    return left;
}
