/*
 * core/block-qcow2-tables.c - where the clusters of a qcow2 image are: L1, and a cache of L2 tables.
 */
#include "block-qcow2.h"

#include <errno.h>

static void table_free(Qcow2 *q, Qcow2Table *t)
{
    q->tables_dirty -= t->dirty;
    g_queue_unlink(&q->lru, &t->link);
    g_hash_table_remove(q->tables, &t->offset);
    g_free(t->entries);
    g_free(t);
}

void qcow2_tables_free(Qcow2 *q)
{
    while (q->lru.tail)
        table_free(q, q->lru.tail->data);
    g_clear_pointer(&q->tables, g_hash_table_unref);
}

void qcow2_table_changed(Qcow2 *q, Qcow2Table *t)
{
    q->tables_dirty += !t->dirty;
    t->dirty = true;
}

void qcow2_table_drop(Qcow2 *q, uint64_t offset)
{
    Qcow2Table *t = g_hash_table_lookup(q->tables, &offset);
    if (t)
        table_free(q, t);
}

/* Make room, among those that are not to be written. */
static void evict(Qcow2 *q)
{
    for (GList *l = q->lru.tail, *before; l && q->lru.length >= q->tables_max; l = before) {
        Qcow2Table *t = l->data;
        before = l->prev;
        if (!t->dirty)
            table_free(q, t);
    }
}

int qcow2_table(Qcow2 *q, uint64_t offset, bool fresh, Qcow2Table **table)
{
    Qcow2Table *t = g_hash_table_lookup(q->tables, &offset);
    if (t) {
        g_queue_unlink(&q->lru, &t->link);
        g_queue_push_head_link(&q->lru, &t->link);
        *table = t;
        return 0;
    }
    VmrBuffer all = {g_malloc0(q->cluster), q->cluster};
    int error = fresh ? 0 : vmr_file_read(&q->file, offset, q->cluster, &all, 1);
    if (error) {
        g_free(all.base);
        return error;
    }
    evict(q);
    t = g_new0(Qcow2Table, 1);
    t->offset = offset;
    t->entries = all.base;
    t->link.data = t;
    g_hash_table_insert(q->tables, &t->offset, t);
    g_queue_push_head_link(&q->lru, &t->link);
    *table = t;
    return 0;
}

/* An L2 entry's kind, and for DATA the host cluster; EIO if it makes no sense. */
static int classify(Qcow2 *q, uint64_t entry, Qcow2Kind *kind, uint64_t *host)
{
    *host = entry & QCOW2_OFFSET;
    if (entry & QCOW2_COMPRESSED) {
        *kind = QCOW2_PACKED;
        return 0;
    }
    if (*host & (q->cluster - 1))
        return qcow2_damaged(q, "L2 entry 0x%" G_GINT64_MODIFIER "x is not aligned", entry);
    if (entry & QCOW2_ZERO && q->version < 3)
        return qcow2_damaged(q, "L2 entry 0x%" G_GINT64_MODIFIER "x has reserved bits set", entry);
    *kind = entry & QCOW2_ZERO ? QCOW2_ZEROS : *host ? QCOW2_DATA : QCOW2_UNALLOCATED;
    return 0;
}

static int map(Qcow2 *q, uint64_t offset, uint64_t length, Qcow2Extent *x)
{
    uint64_t per_table = q->cluster / 8, in_cluster = offset & (q->cluster - 1);
    uint64_t cluster = offset >> q->cluster_bits, first = cluster % per_table;
    uint64_t reach = (per_table - first) * q->cluster - in_cluster; /* of this L2 table */
    uint64_t l2 = cluster / per_table < q->l1_size ? q->l1[cluster / per_table] & QCOW2_OFFSET : 0;
    Qcow2Table *t;
    *x = (Qcow2Extent){.kind = QCOW2_UNALLOCATED, .length = MIN(length, reach)};
    if (!l2)
        return 0;
    if (l2 & (q->cluster - 1))
        return qcow2_damaged(q, "L1 entry %" G_GUINT64_FORMAT " is not aligned", cluster / per_table);
    int error = qcow2_table(q, l2, false, &t);
    uint64_t host = 0;
    x->entry = error ? 0 : GUINT64_FROM_BE(t->entries[first]);
    error = error ? error : classify(q, x->entry, &x->kind, &host);
    if (error)
        return error;
    x->host = host + in_cluster;
    uint64_t n = 1, end = (in_cluster + x->length + q->cluster - 1) >> q->cluster_bits;
    for (; n < end && x->kind != QCOW2_PACKED; n++) {
        Qcow2Kind kind;
        uint64_t next;
        /* What is wrong there is found when it is its turn. */
        uint64_t entry = GUINT64_FROM_BE(t->entries[first + n]);
        if (entry & QCOW2_COMPRESSED || (entry & QCOW2_OFFSET & (q->cluster - 1)) ||
            classify(q, entry, &kind, &next) || kind != x->kind || ((entry ^ x->entry) & QCOW2_COPIED) ||
            (kind == QCOW2_DATA && next != host + n * q->cluster))
            break;
    }
    x->length = MIN(x->length, n * q->cluster - in_cluster);
    return 0;
}

int qcow2_map(Qcow2 *q, uint64_t offset, uint64_t length, Qcow2Extent *x)
{
    g_mutex_lock(&q->meta);
    int error = map(q, offset, length, x);
    g_mutex_unlock(&q->meta);
    return error;
}

bool qcow2_tables_write(Qcow2 *q, bool refcounts, int *error)
{
    bool any = false;
    for (GList *l = q->lru.head; l && !*error; l = l->next) {
        Qcow2Table *t = l->data;
        if (!t->dirty || t->refcounts != refcounts)
            continue;
        VmrBuffer all = {t->entries, q->cluster};
        *error = vmr_file_write(&q->file, t->offset, q->cluster, &all, 1);
        if (*error)
            continue;
        t->dirty = false;
        q->tables_dirty--;
        any = true;
    }
    return any;
}
