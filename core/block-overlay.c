/*
 * core/block-overlay.c - snapshot = on: what is written goes to a file that vanishes.
 *
 * A cluster is either wholly in the overlay or wholly in the base.  The file is
 * sparse and has no name; a bit for each cluster says where it is.
 */
#include "block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CLUSTER ((uint64_t)64 << 10)

typedef struct Overlay {
    VmrBlock b;
    VmrBlock *base;
    int fd;
    GMutex lock;    /* writers, and the bits */
    uint64_t *here; /* bit n: cluster n is in the overlay */
} Overlay;

static bool is_here(const Overlay *o, uint64_t cluster)
{
    return o->here[cluster / 64] >> (cluster % 64) & 1;
}

static int move_bytes(int fd, uint64_t offset, const VmrBuffer *buffers, unsigned count, bool write)
{
    for (unsigned i = 0; i < count; i++) {
        size_t done = 0;
        while (done < buffers[i].len) {
            uint8_t *p = (uint8_t *)buffers[i].base + done;
            ssize_t n = write ? pwrite(fd, p, buffers[i].len - done, (off_t)(offset + done))
                              : pread(fd, p, buffers[i].len - done, (off_t)(offset + done));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 ? errno : EIO;
            done += (size_t)n;
        }
        offset += buffers[i].len;
    }
    return 0;
}

static int overlay_read(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *to,
                        unsigned count)
{
    Overlay *o = (Overlay *)b;
    VmrBuffer *slice = g_new(VmrBuffer, count);
    int error = 0;
    for (uint64_t at = 0; at < length && !error;) {
        /* As far as all clusters are in the same place. */
        uint64_t cluster = (offset + at) / CLUSTER, end = cluster + 1;
        g_mutex_lock(&o->lock);
        bool here = is_here(o, cluster);
        while (end * CLUSTER < offset + length && is_here(o, end) == here)
            end++;
        g_mutex_unlock(&o->lock);
        uint64_t n = MIN(end * CLUSTER - (offset + at), length - at);
        unsigned parts = vmr_buffers_slice(to, count, at, n, slice);
        error = here ? move_bytes(o->fd, offset + at, slice, parts, false)
                     : o->base->klass->read(o->base, offset + at, n, slice, parts);
        at += n;
    }
    g_free(slice);
    return error;
}

/* Bring a cluster over whose content will partly stay. */
static int bring(Overlay *o, uint64_t cluster)
{
    uint64_t offset = cluster * CLUSTER;
    uint64_t length = MIN(CLUSTER, o->b.size - offset);
    VmrBuffer whole = {g_malloc(length), length};
    int error = o->base->klass->read(o->base, offset, length, &whole, 1);
    if (!error)
        error = move_bytes(o->fd, offset, &whole, 1, true);
    g_free(whole.base);
    if (!error)
        o->here[cluster / 64] |= (uint64_t)1 << (cluster % 64);
    return error;
}

/* Before a write: clusters that it covers in part.  After it, the others are here too. */
static int bring_ends(Overlay *o, uint64_t offset, uint64_t length)
{
    uint64_t first = offset / CLUSTER, last = (offset + length - 1) / CLUSTER;
    int error = 0;
    if (offset % CLUSTER && !is_here(o, first))
        error = bring(o, first);
    if (!error && (offset + length) % CLUSTER && offset + length != o->b.size && !is_here(o, last))
        error = bring(o, last);
    return error;
}

static void mark(Overlay *o, uint64_t offset, uint64_t length)
{
    for (uint64_t c = offset / CLUSTER; c <= (offset + length - 1) / CLUSTER; c++)
        o->here[c / 64] |= (uint64_t)1 << (c % 64);
}

static int overlay_write(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *from,
                         unsigned count)
{
    Overlay *o = (Overlay *)b;
    if (!length)
        return 0;
    g_mutex_lock(&o->lock);
    int error = bring_ends(o, offset, length);
    if (!error)
        error = move_bytes(o->fd, offset, from, count, true);
    if (!error)
        mark(o, offset, length);
    g_mutex_unlock(&o->lock);
    return error;
}

static int overlay_zero(VmrBlock *b, uint64_t offset, uint64_t length, bool unmap)
{
    Overlay *o = (Overlay *)b;
    if (!length)
        return 0;
    g_mutex_lock(&o->lock);
    int error = bring_ends(o, offset, length);
    if (!error && fallocate(o->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                            (off_t)length) < 0)
        error = errno;
    if (!error)
        mark(o, offset, length);
    g_mutex_unlock(&o->lock);
    return error;
}

static int overlay_discard(VmrBlock *b, uint64_t offset, uint64_t length)
{
    return overlay_zero(b, offset, length, true);
}

static int overlay_flush(VmrBlock *b)
{
    return 0; /* nothing of it is to survive */
}

static void overlay_close(VmrBlock *b)
{
    Overlay *o = (Overlay *)b;
    vmr_block_close(o->base);
    if (o->fd >= 0)
        close(o->fd);
    g_mutex_clear(&o->lock);
    g_free(o->here);
    g_free(o);
}

static const VmrBlockClass overlay_class = {
    "overlay", overlay_read, overlay_write, overlay_flush,
    overlay_discard, overlay_zero, overlay_close,
};

VmrBlock *vmr_block_overlay_new(VmrBlock *base, GError **error)
{
    Overlay *o = g_new0(Overlay, 1);
    o->b = *base;
    o->b.klass = &overlay_class;
    o->b.read_only = false;
    o->b.discards = true;
    o->b.volatile_cache = true;
    o->b.alignment = base->alignment;
    o->base = base;
    g_mutex_init(&o->lock);
    o->here = g_new0(uint64_t, base->size / CLUSTER / 64 + 1);
    o->fd = open(g_get_tmp_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (o->fd < 0)
        o->fd = memfd_create("vmrun-overlay", MFD_CLOEXEC);
    if (o->fd < 0 || ftruncate(o->fd, (off_t)base->size) < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "a temporary file for snapshot = on: %s", g_strerror(errno));
        overlay_close(&o->b);
        return NULL;
    }
    return &o->b;
}
