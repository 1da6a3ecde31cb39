/*
 * core/block-qcow2-write.c - what a guest writes to a qcow2 image.
 *
 * A cluster that the image does not have for itself alone is written anew: data first, then, in
 * memory, the refcount and the L2 entry.  A flush brings these to the file in an order in which
 * each step refers only to what is there already: data and refcounts, then L2 tables, then L1.
 * What they no longer refer to is free after that, and not before.  So whenever the process or the
 * host ends, what was flushed is there, and the worst that `qemu-img check` finds is a leak.
 */
#include "block-qcow2.h"

#include <errno.h>
#include <string.h>

/* ---- flush ------------------------------------------------------------- */

/* Refcounts of 0 for what is not referred to any more; nobody reads it meanwhile. */
static int release(Qcow2 *q)
{
    int error = 0;
    g_rw_lock_writer_lock(&q->users);
    g_mutex_lock(&q->meta);
    GArray *freed = q->freed;
    q->freed = g_array_new(FALSE, FALSE, sizeof(Qcow2Range));
    for (guint i = 0; i < freed->len && !error; i++)
        error = qcow2_unref(q, g_array_index(freed, Qcow2Range, i));
    g_mutex_unlock(&q->meta);
    g_rw_lock_writer_unlock(&q->users);
    g_array_unref(freed);
    return error;
}

/* Under `writers`.  Readers wait while tables are written. */
static int flush(Qcow2 *q)
{
    int error = 0;
    g_mutex_lock(&q->meta);
    qcow2_tables_write(q, true, &error);
    if (q->refs_dirty && !error) {
        error = vmr_file_sync(&q->file);
        error = error ? error : qcow2_write_numbers(q, q->refs_offset, q->refs, q->refs_count * 8);
        q->refs_dirty = error != 0;
    }
    error = error ? error : vmr_file_sync(&q->file);
    bool written = qcow2_tables_write(q, false, &error);
    if (q->l1_dirty && !error) {
        error = vmr_file_sync(&q->file);
        error = error ? error : qcow2_write_numbers(q, q->l1_offset, q->l1, q->l1_bytes);
        q->l1_dirty = error != 0;
        written = true;
    }
    if (written && !error)
        error = vmr_file_sync(&q->file);
    g_mutex_unlock(&q->meta);
    return error || !q->freed->len ? error : release(q);
}

int qcow2_flush(VmrBlock *b)
{
    Qcow2 *q = (Qcow2 *)b;
    if (!q->refs)
        return 0; /* read only */
    g_mutex_lock(&q->writers);
    int error = flush(q);
    g_mutex_unlock(&q->writers);
    return error;
}

/* ---- L2 entries.  Under `writers` and `meta` ---------------------------- */

static void put_free(Qcow2 *q, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> q->cluster_bits;
    Qcow2Range r = {first, ((offset + bytes - 1) >> q->cluster_bits) - first + 1};
    g_array_append_val(q->freed, r);
}

/* What an entry that is replaced referred to. */
static void put_free_entry(Qcow2 *q, uint64_t entry)
{
    if (entry & QCOW2_COMPRESSED) {
        unsigned shift = 62 - (q->cluster_bits - 8);
        uint64_t offset = entry & ((UINT64_C(1) << shift) - 1);
        uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> shift;
        put_free(q, offset, (sectors + 1) * 512 - offset % 512);
    } else if (entry & QCOW2_OFFSET) {
        put_free(q, entry & QCOW2_OFFSET, q->cluster);
    }
}

/* The L2 table of a guest cluster, to be changed: made, or copied if a snapshot has it too. */
static int writable_l2(Qcow2 *q, uint64_t cluster, Qcow2Table **table)
{
    uint64_t at = cluster / (q->cluster / 8), offset, old = at < q->l1_size ? q->l1[at] & QCOW2_OFFSET : 0;
    if (at >= q->l1_size)
        return EIO;
    if (old & (q->cluster - 1))
        return qcow2_damaged(q, "L1 entry %" G_GUINT64_FORMAT " is not aligned", at);
    if (old && (q->l1[at] & QCOW2_COPIED)) {
        int error = qcow2_table(q, old, false, table);
        return !error && (*table)->refcounts ? qcow2_damaged(q, "a refcount block is an L2 table, too") : error;
    }
    uint64_t *copy = NULL;
    int error = qcow2_alloc(q, &offset);
    if (!error && old) {
        error = qcow2_table(q, old, false, table);
        copy = error ? NULL : g_memdup2((*table)->entries, q->cluster);
    }
    error = error ? error : qcow2_table(q, offset, true, table);
    if (!error) {
        for (uint64_t i = 0; copy && i < q->cluster / 8; i++) /* all of them are in both */
            (*table)->entries[i] = copy[i] & ~GUINT64_TO_BE(QCOW2_COPIED);
        qcow2_table_changed(q, *table);
        q->l1[at] = offset | QCOW2_COPIED;
        q->l1_dirty = true;
        if (old)
            put_free(q, old, q->cluster);
    }
    g_free(copy);
    return error;
}

static int set_entry(Qcow2 *q, uint64_t cluster, uint64_t entry)
{
    Qcow2Table *t;
    int error = writable_l2(q, cluster, &t);
    if (error)
        return error;
    uint64_t *at = &t->entries[cluster % (q->cluster / 8)], old = GUINT64_FROM_BE(*at);
    *at = GUINT64_TO_BE(entry);
    qcow2_table_changed(q, t);
    put_free_entry(q, old);
    return 0;
}

/* ---- write, discard, zero.  Under `writers` ------------------------------ */

/* A cluster's content as it is, but for `n` bytes at `in`; into `to`, a cluster. */
static int merge(Qcow2 *q, uint64_t start, uint64_t in, uint64_t n, const VmrBuffer *from, unsigned count,
                 uint8_t *to)
{
    uint64_t there = MIN(q->cluster, q->b.size - start);
    VmrBuffer before = {to, in}, after = {to + in + n, in + n < there ? there - in - n : 0};
    int error = in ? qcow2_read(&q->b, start, in, &before, 1) : 0;
    if (!error && after.len)
        error = qcow2_read(&q->b, start + in + n, after.len, &after, 1);
    for (unsigned i = 0; i < count; in += from[i++].len)
        memcpy(to + in, from[i].base, from[i].len);
    return error;
}

/* A part of one guest cluster, to a host cluster of its own. */
static int write_anew(Qcow2 *q, uint64_t offset, uint64_t n, const VmrBuffer *from, unsigned count)
{
    uint64_t in = offset & (q->cluster - 1), start = offset - in, host;
    g_mutex_lock(&q->meta);
    int error = qcow2_alloc(q, &host);
    g_mutex_unlock(&q->meta);
    if (error)
        return error;
    if (n == q->cluster) {
        error = vmr_file_write(&q->file, host, n, from, count);
    } else {
        VmrBuffer whole = {g_malloc0(q->cluster), q->cluster};
        error = merge(q, start, in, n, from, count, whole.base);
        error = error ? error : vmr_file_write(&q->file, host, q->cluster, &whole, 1);
        g_free(whole.base);
    }
    g_mutex_lock(&q->meta);
    error = error ? error : set_entry(q, start >> q->cluster_bits, host | QCOW2_COPIED);
    if (error)
        put_free(q, host, q->cluster);
    g_mutex_unlock(&q->meta);
    return error;
}

static int write_range(Qcow2 *q, uint64_t offset, uint64_t length, const VmrBuffer *from, unsigned count)
{
    VmrBuffer *slice = g_new(VmrBuffer, MAX(count, 1));
    int error = 0;
    for (uint64_t at = 0; at < length && !error;) {
        Qcow2Extent x;
        error = qcow2_map(q, offset + at, length - at, &x);
        if (error)
            break;
        bool own = x.kind == QCOW2_DATA && (x.entry & QCOW2_COPIED);
        uint64_t n = own ? x.length : MIN(q->cluster - ((offset + at) & (q->cluster - 1)), length - at);
        unsigned parts = vmr_buffers_slice(from, count, at, n, slice);
        error = own ? vmr_file_write(&q->file, x.host, n, slice, parts)
                    : write_anew(q, offset + at, n, slice, parts);
        at += n;
    }
    g_free(slice);
    return error;
}

static int write_zeros(Qcow2 *q, uint64_t offset, uint64_t length)
{
    VmrBuffer zeros = {g_malloc0(length), length};
    int error = write_range(q, offset, length, &zeros, 1);
    g_free(zeros.base);
    return error;
}

/* A whole guest cluster that reads as zeros from now on. */
static int zero_cluster(Qcow2 *q, uint64_t offset, uint64_t length, const Qcow2Extent *x)
{
    if ((x->kind == QCOW2_UNALLOCATED && !q->backing) || (x->kind == QCOW2_ZEROS && !(x->entry & QCOW2_OFFSET)))
        return 0;
    if (q->version < 3 && q->backing) /* it has no way to say so */
        return write_zeros(q, offset, length);
    g_mutex_lock(&q->meta);
    int error = set_entry(q, offset >> q->cluster_bits, q->version < 3 ? 0 : QCOW2_ZERO);
    g_mutex_unlock(&q->meta);
    return error;
}

static int zero_range(Qcow2 *q, uint64_t offset, uint64_t length, bool parts)
{
    int error = 0;
    for (uint64_t at = offset, end = offset + length; at < end && !error;) {
        Qcow2Extent x;
        uint64_t in = at & (q->cluster - 1), n = MIN(q->cluster - in, end - at);
        bool whole = !in && (n == q->cluster || at + n == q->b.size);
        error = whole ? qcow2_map(q, at, n, &x) : 0;
        if (whole && !error)
            error = zero_cluster(q, at, n, &x);
        else if (parts && !error)
            error = write_zeros(q, at, n);
        at += n;
    }
    return error;
}

/* The end of each of these: tables that are to be written must not pile up. */
static int end(Qcow2 *q, int error)
{
    g_mutex_lock(&q->meta);
    bool full = q->tables_dirty >= q->tables_max / 2;
    g_mutex_unlock(&q->meta);
    if (!error && (q->writethrough || full))
        error = flush(q);
    g_mutex_unlock(&q->writers);
    return error;
}

int qcow2_write(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *from, unsigned count)
{
    Qcow2 *q = (Qcow2 *)b;
    if (b->read_only)
        return EROFS;
    g_mutex_lock(&q->writers);
    return end(q, write_range(q, offset, length, from, count));
}

int qcow2_discard(VmrBlock *b, uint64_t offset, uint64_t length)
{
    Qcow2 *q = (Qcow2 *)b;
    if (b->read_only)
        return EROFS;
    g_mutex_lock(&q->writers);
    return end(q, zero_range(q, offset, length, false));
}

int qcow2_zero(VmrBlock *b, uint64_t offset, uint64_t length, bool unmap)
{
    Qcow2 *q = (Qcow2 *)b;
    if (b->read_only)
        return EROFS;
    g_mutex_lock(&q->writers);
    return end(q, zero_range(q, offset, length, true));
}
