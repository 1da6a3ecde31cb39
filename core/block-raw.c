/*
 * core/block-raw.c - a file or block device whose bytes are the disk's.
 *
 * A file whose size is no multiple of 512 reads as if zeros followed, and grows when they are
 * written.
 *
 * A guest that wrote the header of an image to its disk would be given, next time, the files that
 * the header names.  Where the format was guessed, such a write fails with EPERM.
 */
#include "block-file.h"

#include <errno.h>
#include <string.h>

typedef struct Raw {
    VmrBlock b;
    VmrFile file;
} Raw;

static int raw_read(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *to,
                    unsigned count)
{
    return vmr_file_read(&((Raw *)b)->file, offset, length, to, count);
}

/* The first sector, from a copy: the guest must not change it between the look and the write. */
static int write_first(Raw *r, uint64_t length, const VmrBuffer *from, unsigned count)
{
    g_autofree uint8_t *head = g_malloc((size_t)length);
    size_t done = 0;
    for (unsigned i = 0; i < count && done < length; i++) {
        size_t n = MIN(from[i].len, (size_t)length - done);
        memcpy(head + done, from[i].base, n);
        done += n;
    }
    if (vmr_block_magic(head, done))
        return EPERM;
    return vmr_file_write(&r->file, 0, done, &(VmrBuffer){head, done}, 1);
}

static int raw_write(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *from,
                     unsigned count)
{
    Raw *r = (Raw *)b;
    uint64_t first = MIN(length, b->alignment);
    if (!b->guessed || offset)
        return vmr_file_write(&r->file, offset, length, from, count);
    int status = write_first(r, first, from, count);
    if (status || first == length)
        return status;
    g_autofree VmrBuffer *rest = g_new(VmrBuffer, count);
    unsigned n = vmr_buffers_slice(from, count, first, length - first, rest);
    return vmr_file_write(&r->file, first, length - first, rest, n);
}

static int raw_flush(VmrBlock *b)
{
    return vmr_file_sync(&((Raw *)b)->file);
}

static int raw_discard(VmrBlock *b, uint64_t offset, uint64_t length)
{
    return vmr_file_punch(&((Raw *)b)->file, offset, length);
}

static int raw_zero(VmrBlock *b, uint64_t offset, uint64_t length, bool unmap)
{
    return vmr_file_zero(&((Raw *)b)->file, offset, length, unmap);
}

static void raw_close(VmrBlock *b)
{
    Raw *r = (Raw *)b;
    vmr_file_close(&r->file);
    g_free(r);
}

static const VmrBlockClass raw_class = {
    "raw", raw_read, raw_write, raw_flush, raw_discard, raw_zero, raw_close,
};

VmrBlock *vmr_block_raw_open(const char *path, bool read_only, bool lock, VmrCacheMode cache,
                             GError **error)
{
    Raw *r = g_new0(Raw, 1);
    if (!vmr_file_open(&r->file, path, read_only, lock, cache, error)) {
        raw_close(&r->b);
        return NULL;
    }
    uint32_t alignment = r->file.alignment;
    r->b = (VmrBlock){
        .klass = &raw_class,
        .size = (r->file.bytes + alignment - 1) / alignment * alignment,
        .alignment = alignment,
        .physical_block = MAX(alignment, 4096),
        .read_only = read_only,
        .discards = !read_only,
        .volatile_cache = cache != VMR_CACHE_WRITETHROUGH,
    };
    return &r->b;
}
