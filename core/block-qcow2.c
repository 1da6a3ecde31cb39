/*
 * core/block-qcow2.c - images of the qcow2 format, versions 2 and 3: their headers, backing files,
 * and what a guest reads.  block-qcow2-write.c has what it writes.
 *
 * After QEMU's docs/interop/qcow2.txt.  An image is hostile input: what it says is checked before
 * it is used, and what makes no sense is an I/O error.
 * Leaves out encryption, external data files, extended L2 entries, and taking or returning to
 * internal snapshots; those that an image has stay as they are.
 */
#include "block-qcow2.h"
#include "machine.h"

#include <errno.h>
#include <string.h>

enum {
    HEADER_V2 = 72,
    HEADER_V3 = 104,
    /* offsets in it */
    H_VERSION = 4,
    H_BACKING_OFFSET = 8,
    H_BACKING_SIZE = 16,
    H_CLUSTER_BITS = 20,
    H_SIZE = 24,
    H_CRYPT = 32,
    H_L1_SIZE = 36,
    H_L1_OFFSET = 40,
    H_INCOMPATIBLE = 72,
    H_AUTOCLEAR = 88,
    H_REFCOUNT_ORDER = 96,
    H_LENGTH = 100,
    H_COMPRESSION = 104,

    /* incompatible features */
    F_DIRTY = 1 << 0,
    F_CORRUPT = 1 << 1,
    F_DATA_FILE = 1 << 2,
    F_COMPRESSION = 1 << 3,
    F_EXTENDED_L2 = 1 << 4,

    REFCOUNT_ORDER = 4, /* 2^4 bits: of all that are written */
    CLUSTER_BITS_MIN = 9,
    CLUSTER_BITS_MAX = 21,
    L1_BYTES_MAX = 32 << 20,   /* as QEMU has it */
    BACKING_NAME_MAX = 1023,
    CHAIN_MAX = 32,
    CACHE_BYTES = 16 << 20, /* of L2 tables, but at least CACHE_TABLES */
    CACHE_TABLES = 4,
    HEAD = 4096, /* read at once: the header, its extensions */
};

#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES 0x6803f857u

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

int qcow2_damaged(Qcow2 *q, const char *format, ...)
{
    bool no = false;
    if (!__atomic_compare_exchange_n(&q->damaged, &no, true, false, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED))
        return EIO;
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vmr_core_log(VMR_LOG_WARNING, "%s: the image is damaged: %s", q->file.path, text);
    g_free(text);
    return EIO;
}

/* ---- what a guest reads ------------------------------------------------ */

static void zero_buffers(const VmrBuffer *buffers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        memset(buffers[i].base, 0, buffers[i].len);
}

/* From the backing file, which may be shorter. */
static int read_backing(Qcow2 *q, uint64_t offset, uint64_t length, const VmrBuffer *to,
                        unsigned count)
{
    VmrBlock *base = q->backing;
    uint64_t there = base && offset < base->size ? MIN(length, base->size - offset) : 0;
    if (there == length)
        return base->klass->read(base, offset, length, to, count);
    VmrBuffer *slice = g_new(VmrBuffer, count);
    unsigned n = vmr_buffers_slice(to, count, there, length - there, slice);
    zero_buffers(slice, n);
    n = vmr_buffers_slice(to, count, 0, there, slice);
    int error = there ? base->klass->read(base, offset, there, slice, n) : 0;
    g_free(slice);
    return error;
}

static int read_packed(Qcow2 *q, uint64_t entry, uint64_t in_cluster, const VmrBuffer *to,
                       unsigned count)
{
    g_mutex_lock(&q->unpacked_lock);
    int error = qcow2_unpack(q, entry);
    for (unsigned i = 0; !error && i < count; in_cluster += to[i++].len)
        memcpy(to[i].base, q->unpacked + in_cluster, to[i].len);
    g_mutex_unlock(&q->unpacked_lock);
    return error;
}

int qcow2_read(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *to, unsigned count)
{
    Qcow2 *q = (Qcow2 *)b;
    VmrBuffer *slice = g_new(VmrBuffer, MAX(count, 1));
    int error = 0;
    g_rw_lock_reader_lock(&q->users);
    for (uint64_t at = 0; at < length && !error;) {
        Qcow2Extent x;
        error = qcow2_map(q, offset + at, length - at, &x);
        if (error)
            break;
        unsigned n = vmr_buffers_slice(to, count, at, x.length, slice);
        switch (x.kind) {
        case QCOW2_UNALLOCATED:
            error = read_backing(q, offset + at, x.length, slice, n);
            break;
        case QCOW2_ZEROS:
            zero_buffers(slice, n);
            break;
        case QCOW2_DATA:
            error = vmr_file_read(&q->file, x.host, x.length, slice, n);
            break;
        case QCOW2_PACKED:
            error = read_packed(q, x.entry, (offset + at) & (q->cluster - 1), slice, n);
            break;
        }
        at += x.length;
    }
    g_rw_lock_reader_unlock(&q->users);
    g_free(slice);
    return error;
}

static void qcow2_close(VmrBlock *b)
{
    Qcow2 *q = (Qcow2 *)b;
    /* the second one has the refcounts of what the first one has freed */
    if (q->refs && (qcow2_flush(b) || qcow2_flush(b)))
        vmr_core_log(VMR_LOG_WARNING, "%s: what was written last is lost", q->file.path);
    vmr_block_close(q->backing);
    vmr_file_close(&q->file);
    qcow2_tables_free(q);
    g_mutex_clear(&q->meta);
    g_mutex_clear(&q->unpacked_lock);
    g_mutex_clear(&q->writers);
    g_rw_lock_clear(&q->users);
    g_array_unref(q->freed);
    g_free(q->unpacked);
    g_free(q->refs);
    g_free(q->l1);
    g_free(q);
}

static const VmrBlockClass qcow2_class = {
    "qcow2", qcow2_read, qcow2_write, qcow2_flush, qcow2_discard, qcow2_zero, qcow2_close,
};

/* ---- open -------------------------------------------------------------- */

G_GNUC_PRINTF(3, 4)
static bool refuse(const Qcow2 *q, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s: %s", q->file.path, text);
    g_free(text);
    return false;
}

/* The first header extension of a type, from HEAD bytes; NULL: there is none. */
static const uint8_t *find_extension(const uint8_t *head, uint32_t from, uint32_t type,
                                     uint32_t *length)
{
    while (from <= HEAD - 8 && get32(head + from)) {
        uint32_t n = get32(head + from + 4);
        if (n > HEAD - 8 - from)
            return NULL;
        *length = n;
        if (get32(head + from) == type)
            return head + from + 8;
        from += 8 + (n + 7) / 8 * 8;
    }
    return NULL;
}

static bool check_features(const Qcow2 *q, const uint8_t *head, GError **error)
{
    uint64_t features = get64(head + H_INCOMPATIBLE);
    uint32_t length = 0;
    const uint8_t *names = find_extension(head, get32(head + H_LENGTH), EXTENSION_FEATURE_NAMES, &length);
    if (features & F_DATA_FILE)
        return refuse(q, error, "its data is in an external file, which is not supported");
    if (features & F_EXTENDED_L2)
        return refuse(q, error, "it has extended L2 entries, which are not supported");
    features &= ~(uint64_t)(F_DIRTY | F_CORRUPT | F_COMPRESSION);
    if (!features)
        return true;
    GString *unknown = g_string_new(NULL);
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(features >> bit & 1))
            continue;
        const char *name = NULL;
        for (uint32_t i = 0; names && !name && i + 48 <= length; i += 48)
            if (names[i] == 0 && names[i + 1] == bit)
                name = (const char *)names + i + 2;
        char *text = name ? g_strndup(name, 46) : g_strdup("unknown");
        char *printable = g_strescape(text, NULL);
        g_string_append_printf(unknown, "%s%s (bit %u)", unknown->len ? ", " : "", printable, bit);
        g_free(printable);
        g_free(text);
    }
    refuse(q, error, "it needs features that are not supported: %s", unknown->str);
    g_string_free(unknown, TRUE);
    return false;
}

static bool read_header(Qcow2 *q, const uint8_t *head, GError **error)
{
    q->version = get32(head + H_VERSION);
    q->cluster_bits = get32(head + H_CLUSTER_BITS);
    if (memcmp(head, "QFI\xfb", 4) || (q->version != 2 && q->version != 3))
        return refuse(q, error, "it is no qcow2 image of version 2 or 3");
    if (q->cluster_bits < CLUSTER_BITS_MIN || q->cluster_bits > CLUSTER_BITS_MAX)
        return refuse(q, error, "clusters of 2^%u bytes are not possible", q->cluster_bits);
    q->cluster = UINT64_C(1) << q->cluster_bits;
    if (get32(head + H_CRYPT))
        return refuse(q, error, "it is encrypted, which is not supported");
    if (q->version == 2)
        return true;
    uint32_t length = get32(head + H_LENGTH);
    if (length < HEADER_V3 || length > q->cluster || length > HEAD)
        return refuse(q, error, "a header of %u bytes is not possible", length);
    if (get32(head + H_REFCOUNT_ORDER) > 6)
        return refuse(q, error, "refcounts of 2^%u bits are not possible", get32(head + H_REFCOUNT_ORDER));
    if (!check_features(q, head, error))
        return false;
    if (get64(head + H_INCOMPATIBLE) & F_COMPRESSION && length > H_COMPRESSION) {
        if (head[H_COMPRESSION] > 1)
            return refuse(q, error, "compression type %u is not supported", head[H_COMPRESSION]);
        q->zstd = head[H_COMPRESSION] == 1;
    }
#ifndef VMR_HAVE_ZSTD
    if (q->zstd)
        return refuse(q, error, "its clusters are compressed with zstd, and this vmrun was built without");
#endif
    return true;
}

static bool read_l1(Qcow2 *q, const uint8_t *head, GError **error)
{
    uint64_t size = get64(head + H_SIZE), offset = get64(head + H_L1_OFFSET);
    uint32_t entries = get32(head + H_L1_SIZE);
    uint64_t covered = q->cluster / 8 * q->cluster; /* by an entry */
    if (!size || size > INT64_MAX - q->cluster)
        return refuse(q, error, "a disk of %" G_GUINT64_FORMAT " bytes is not possible", size);
    if ((size - 1) / covered + 1 > entries || entries > L1_BYTES_MAX / 8)
        return refuse(q, error, "an L1 table of %u entries is not possible for its size", entries);
    uint64_t bytes = (uint64_t)entries * 8;
    if (offset & (q->cluster - 1) || !offset || offset > q->file.bytes || bytes > q->file.bytes - offset)
        return refuse(q, error, "its L1 table is not within the file");
    q->l1_size = (uint32_t)((size - 1) / covered + 1); /* what is behind is for VM states */
    q->l1_offset = offset;
    q->l1_bytes = (bytes + q->file.alignment - 1) / q->file.alignment * q->file.alignment;
    q->l1 = g_malloc(q->l1_bytes);
    VmrBuffer all = {q->l1, q->l1_bytes};
    int e = vmr_file_read(&q->file, offset, all.len, &all, 1);
    if (e)
        return refuse(q, error, "its L1 table: %s", g_strerror(e));
    for (uint64_t i = 0; i < q->l1_bytes / 8; i++)
        q->l1[i] = GUINT64_FROM_BE(q->l1[i]);
    q->b.size = size;
    return true;
}

/* The backing file's path, or NULL with an error. */
static char *backing_path(Qcow2 *q, const uint8_t *head, GError **error)
{
    uint64_t offset = get64(head + H_BACKING_OFFSET);
    uint32_t length = get32(head + H_BACKING_SIZE);
    if (!length || length > BACKING_NAME_MAX || offset > HEAD || length > HEAD - offset) {
        refuse(q, error, "the name of its backing file is not where it can be");
        return NULL;
    }
    char *name = g_strndup((const char *)head + offset, length), *path = NULL;
    const char *plain = g_str_has_prefix(name, "file:") ? name + 5 : name;
    const char *colon = strchr(plain, ':'), *slash = strchr(plain, '/');
    if (plain == name && colon && (!slash || colon < slash)) {
        char *printable = g_strescape(name, NULL);
        refuse(q, error, "its backing file is no plain file, which is not supported: %s", printable);
        g_free(printable);
    } else {
        char *folder = g_path_get_dirname(q->file.path);
        path = g_canonicalize_filename(plain, folder);
        if (!g_path_is_absolute(plain) && !g_path_is_absolute(folder)) {
            g_free(path);
            path = g_build_filename(folder, plain, NULL);
        }
        g_free(folder);
    }
    g_free(name);
    return path;
}

static bool open_backing(Qcow2 *q, const uint8_t *head, const VmrBlockOptions *how, GError **error)
{
    if (!get64(head + H_BACKING_OFFSET))
        return true;
    VmrBlockOptions base = *how;
    uint32_t length = 0;
    const uint8_t *format = find_extension(head, q->version == 2 ? HEADER_V2 : get32(head + H_LENGTH),
                                           EXTENSION_BACKING_FORMAT, &length);
    base.depth++;
    base.read_only = true;
    if (how->depth >= CHAIN_MAX)
        return refuse(q, error, "a chain of more than %d backing files", CHAIN_MAX);
    if (!format)
        /* It may be a disk that a guest has written: what it looks like says nothing. */
        base.format = VMR_FORMAT_RAW_FOR_SURE;
    else if (length == 3 && !memcmp(format, "raw", 3))
        base.format = VMR_FORMAT_RAW;
    else if (length == 5 && !memcmp(format, "qcow2", 5))
        base.format = VMR_FORMAT_QCOW2;
    else
        return refuse(q, error, "its backing file is neither raw nor qcow2, which is not supported");
    char *path = backing_path(q, head, error);
    if (!path)
        return false;
    q->backing = vmr_block_open(path, &base, error);
    g_free(path);
    if (!q->backing && !how->depth)
        g_prefix_error(error, "%s: its backing file: ", q->file.path);
    return q->backing != NULL;
}

/* What a writer must not do is refused now; what it leaves behind is said in the header. */
static bool open_for_writing(Qcow2 *q, uint8_t *head, GError **error)
{
    uint64_t features = q->version >= 3 ? get64(head + H_INCOMPATIBLE) : 0;
    if (features & (F_DIRTY | F_CORRUPT))
        return refuse(q, error, "it was not closed in order: qemu-img check -r all repairs it, readonly = on "
                                "takes it as it is");
    if (q->version >= 3 && get32(head + H_REFCOUNT_ORDER) != REFCOUNT_ORDER)
        return refuse(q, error, "its refcounts have not 16 bits, so that it can only be read: readonly = on, or "
                                "snapshot = on");
    if (q->cluster < q->file.alignment)
        return refuse(q, error, "its clusters are smaller than the blocks of the file under cache = none");
    if (!qcow2_refs_open(q, head, error))
        return false;
    /* Nothing that we do not know of is kept up to date. */
    if (q->version >= 3 && get64(head + H_AUTOCLEAR)) {
        memset(head + H_AUTOCLEAR, 0, 8);
        VmrBuffer first = {head, q->file.alignment};
        int e = vmr_file_write(&q->file, 0, first.len, &first, 1);
        if (e)
            return refuse(q, error, "%s", g_strerror(e));
    }
    return true;
}

VmrBlock *vmr_block_qcow2_open(const char *path, const VmrBlockOptions *how, GError **error)
{
    Qcow2 *q = g_new0(Qcow2, 1);
    uint8_t *head = g_malloc0(HEAD);
    VmrBuffer buffer = {head, HEAD};
    g_mutex_init(&q->meta);
    g_mutex_init(&q->unpacked_lock);
    g_mutex_init(&q->writers);
    g_rw_lock_init(&q->users);
    q->freed = g_array_new(FALSE, FALSE, sizeof(Qcow2Range));
    q->tables = g_hash_table_new(g_int64_hash, g_int64_equal);
    bool ok = vmr_file_open(&q->file, path, how->read_only, how->lock, how->cache, error);
    int e = ok ? vmr_file_read(&q->file, 0, HEAD, &buffer, 1) : 0;
    if (e)
        ok = refuse(q, error, "%s", g_strerror(e));
    if (ok && read_header(q, head, error) && read_l1(q, head, error) && open_backing(q, head, how, error) &&
        (how->read_only || open_for_writing(q, head, error))) {
        q->tables_max = MAX((unsigned)(CACHE_BYTES >> q->cluster_bits), (unsigned)CACHE_TABLES);
        q->b.klass = &qcow2_class;
        q->b.alignment = MAX(q->file.alignment, q->backing ? q->backing->alignment : 0);
        q->b.size = (q->b.size + q->b.alignment - 1) / q->b.alignment * q->b.alignment;
        q->b.physical_block = 4096;
        q->b.read_only = how->read_only;
        q->b.discards = !how->read_only;
        q->writethrough = how->cache == VMR_CACHE_WRITETHROUGH;
        q->b.volatile_cache = !q->writethrough;
        g_free(head);
        return &q->b;
    }
    g_free(head);
    qcow2_close(&q->b);
    return NULL;
}
