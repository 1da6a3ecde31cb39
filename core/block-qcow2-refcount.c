/*
 * core/block-qcow2-refcount.c - which host clusters of a qcow2 image are in use: refcounts of 16
 * bits, in blocks that the refcount table leads to.
 */
#include "block-qcow2.h"

#include <errno.h>
#include <string.h>

enum {
    H_REFS_OFFSET = 48,
    H_REFS_CLUSTERS = 56,
    REFS_BYTES_MAX = 8 << 20, /* of the refcount table, as QEMU has it */
};

static uint64_t per_block(const Qcow2 *q) { return q->cluster / 2; }

static uint64_t clusters(const Qcow2 *q, uint64_t bytes)
{
    return (bytes + q->cluster - 1) >> q->cluster_bits;
}

int qcow2_write_numbers(Qcow2 *q, uint64_t offset, const uint64_t *numbers, uint64_t bytes)
{
    VmrBuffer all = {g_malloc(bytes), bytes};
    for (uint64_t i = 0; i < bytes / 8; i++)
        ((uint64_t *)all.base)[i] = GUINT64_TO_BE(numbers[i]);
    int error = vmr_file_write(&q->file, offset, bytes, &all, 1);
    g_free(all.base);
    return error;
}

bool qcow2_refs_open(Qcow2 *q, const uint8_t *head, GError **error)
{
    uint64_t offset;
    uint32_t n;
    memcpy(&offset, head + H_REFS_OFFSET, 8);
    memcpy(&n, head + H_REFS_CLUSTERS, 4);
    offset = GUINT64_FROM_BE(offset);
    uint64_t bytes = (uint64_t)GUINT32_FROM_BE(n) << q->cluster_bits;
    int e = EINVAL;
    if (offset && !(offset & (q->cluster - 1)) && bytes && bytes <= REFS_BYTES_MAX &&
        offset <= q->file.bytes && bytes <= clusters(q, q->file.bytes - offset) << q->cluster_bits) {
        q->refs = g_malloc(bytes);
        VmrBuffer all = {q->refs, bytes};
        e = vmr_file_read(&q->file, offset, bytes, &all, 1);
    }
    if (e) {
        g_clear_pointer(&q->refs, g_free);
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s: its refcount table: %s", q->file.path,
                    e == EINVAL ? "it is not within the file" : g_strerror(e));
        return false;
    }
    q->refs_offset = offset;
    q->refs_count = bytes / 8;
    for (uint64_t i = 0; i < q->refs_count; i++)
        q->refs[i] = GUINT64_FROM_BE(q->refs[i]) & QCOW2_OFFSET;
    q->end = clusters(q, q->file.bytes);
    return true;
}

/* Is it where the header or a table is that refcounts of a damaged image could give away? */
static bool reserved(const Qcow2 *q, uint64_t cluster)
{
    uint64_t offset = cluster << q->cluster_bits;
    return cluster == 0 || offset - q->l1_offset < q->l1_bytes || offset - q->refs_offset < q->refs_count * 8 ||
           g_hash_table_contains(q->tables, &offset);
}

/* The refcounts that a cluster's is among; NULL: all of those are 0. */
static int block_of(Qcow2 *q, uint64_t cluster, uint16_t **counts, Qcow2Table **table)
{
    uint64_t at = cluster / per_block(q), offset = at < q->refs_count ? q->refs[at] : 0;
    *counts = NULL;
    if (!offset)
        return 0;
    if (offset & (q->cluster - 1))
        return qcow2_damaged(q, "refcount table entry %" G_GUINT64_FORMAT " is not aligned", at);
    int error = qcow2_table(q, offset, false, table);
    if (error)
        return error;
    if (!(*table)->refcounts && (*table)->dirty)
        return qcow2_damaged(q, "an L2 table is a refcount block, too");
    (*table)->refcounts = true;
    *counts = (uint16_t *)(void *)(*table)->entries;
    return 0;
}

/* A block for the clusters from `first` on, none of which is in use: in the first of them. */
static int add_block(Qcow2 *q, uint64_t first)
{
    Qcow2Table *t;
    if (reserved(q, first))
        return qcow2_damaged(q, "cluster %" G_GUINT64_FORMAT " has a table and no refcount", first);
    int error = qcow2_table(q, first << q->cluster_bits, true, &t);
    if (error)
        return error;
    t->refcounts = true;
    qcow2_table_changed(q, t);
    *(uint16_t *)(void *)t->entries = GUINT16_TO_BE(1);
    q->refs[first / per_block(q)] = first << q->cluster_bits;
    q->refs_dirty = true;
    q->end = MAX(q->end, first + 1);
    return 0;
}

/* The header's words about the refcount table, at once. */
static int point_header(Qcow2 *q, uint64_t offset, uint64_t table_clusters)
{
    uint8_t *head = g_malloc(q->file.alignment);
    VmrBuffer first = {head, q->file.alignment};
    int error = vmr_file_read(&q->file, 0, first.len, &first, 1);
    uint64_t o = GUINT64_TO_BE(offset);
    uint32_t n = GUINT32_TO_BE((uint32_t)table_clusters);
    memcpy(head + H_REFS_OFFSET, &o, 8);
    memcpy(head + H_REFS_CLUSTERS, &n, 4);
    error = error ? error : vmr_file_write(&q->file, 0, first.len, &first, 1);
    g_free(head);
    return error ? error : vmr_file_sync(&q->file);
}

/*
 * A larger refcount table, behind all that the present one covers, and the blocks for the clusters
 * that it and they take; all of it is in the file before the header says so.
 */
static int grow(Qcow2 *q)
{
    uint64_t start = q->refs_count * per_block(q), count = q->refs_count * 2, blocks = 1;
    uint64_t table_clusters = count * 8 >> q->cluster_bits;
    while (blocks + table_clusters > blocks * per_block(q))
        blocks++;
    if (count * 8 > REFS_BYTES_MAX || q->refs_count + blocks > count || q->end > start)
        return EFBIG;
    uint64_t used = blocks + table_clusters, offset = (start + blocks) << q->cluster_bits;
    uint64_t *refs = g_new0(uint64_t, count);
    uint16_t *counts = g_malloc(q->cluster);
    int error = 0;
    qcow2_tables_write(q, true, &error); /* those that the new table leads to */
    memcpy(refs, q->refs, q->refs_count * 8);
    for (uint64_t i = 0; i < blocks && !error; i++) {
        VmrBuffer all = {counts, q->cluster};
        for (uint64_t k = 0; k < per_block(q); k++)
            counts[k] = GUINT16_TO_BE(i * per_block(q) + k < used);
        refs[q->refs_count + i] = (start + i) << q->cluster_bits;
        error = vmr_file_write(&q->file, (start + i) << q->cluster_bits, q->cluster, &all, 1);
    }
    error = error ? error : qcow2_write_numbers(q, offset, refs, count * 8);
    error = error ? error : vmr_file_sync(&q->file);
    error = error ? error : point_header(q, offset, table_clusters);
    g_free(counts);
    if (error) {
        g_free(refs);
        return error;
    }
    Qcow2Range old = {q->refs_offset >> q->cluster_bits, q->refs_count * 8 >> q->cluster_bits};
    g_array_append_val(q->freed, old);
    g_free(q->refs);
    q->refs = refs;
    q->refs_count = count;
    q->refs_offset = offset;
    q->refs_dirty = false;
    q->end = start + used;
    return 0;
}

int qcow2_alloc(Qcow2 *q, uint64_t *offset)
{
    for (uint64_t c = q->free_from;; c++) {
        Qcow2Table *t;
        uint16_t *counts;
        if (c > (uint64_t)(INT64_MAX >> q->cluster_bits) - 1 ||
            (q->file.device && (c + 1) << q->cluster_bits > q->file.bytes))
            return ENOSPC;
        int error = c / per_block(q) >= q->refs_count ? grow(q) : 0;
        error = error ? error : block_of(q, c, &counts, &t);
        if (!error && !counts) {
            error = add_block(q, c / per_block(q) * per_block(q));
            error = error ? error : block_of(q, c, &counts, &t);
        }
        if (error)
            return error;
        uint16_t *count = &counts[c % per_block(q)];
        q->free_from = c + 1;
        q->end = MAX(q->end, c + 1); /* what a crash has left there is leaked */
        if (*count)
            continue;
        if (reserved(q, c))
            return qcow2_damaged(q, "cluster %" G_GUINT64_FORMAT " has a table and no refcount", c);
        *count = GUINT16_TO_BE(1);
        qcow2_table_changed(q, t);
        *offset = c << q->cluster_bits;
        return 0;
    }
}

int qcow2_unref(Qcow2 *q, Qcow2Range range)
{
    for (uint64_t c = range.first; c < range.first + range.count; c++) {
        Qcow2Table *t;
        uint16_t *counts;
        int error = block_of(q, c, &counts, &t);
        if (error)
            return error;
        uint16_t *count = counts ? &counts[c % per_block(q)] : NULL;
        if (!count || !*count)
            return qcow2_damaged(q, "cluster %" G_GUINT64_FORMAT " is referred to and has no refcount", c);
        *count = GUINT16_TO_BE(GUINT16_FROM_BE(*count) - 1);
        qcow2_table_changed(q, t);
        if (*count)
            continue;
        q->free_from = MIN(q->free_from, c);
        if (t->offset != c << q->cluster_bits)
            qcow2_table_drop(q, c << q->cluster_bits);
    }
    return 0;
}
