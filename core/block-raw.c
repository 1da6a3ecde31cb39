/*
 * core/block-raw.c - a file or block device whose bytes are the disk's.
 *
 * The lock is an open-file-description lock on the whole file: shared by readers,
 * exclusive for a writer, gone with the process.  A file whose size is no multiple
 * of 512 reads as if zeros followed, and grows when they are written.
 * Leaves out asynchronous I/O of the host's kernel: callers are pool threads.
 */
#include "block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DIRECT_ALIGN = 4096, IOV_PIECE = 64, ZERO_PIECE = 1 << 20 };

typedef struct Raw {
    VmrBlock b;
    int fd;
    bool device;   /* a block device */
    bool direct;   /* O_DIRECT */
    bool no_flush; /* cache = unsafe */
} Raw;

/* ---- transfers -------------------------------------------------------- */

/* Up to IOV_PIECE of the buffers, less `skip` bytes at their start. */
static int make_iov(struct iovec *iov, const VmrBuffer *buffers, unsigned count, size_t skip)
{
    int n = 0;
    for (unsigned i = 0; i < count && n < IOV_PIECE; i++, n++) {
        iov[n].iov_base = (uint8_t *)buffers[i].base + skip;
        iov[n].iov_len = buffers[i].len - skip;
        skip = 0;
    }
    return n;
}

static void zero_rest(const VmrBuffer *buffers, unsigned count, size_t skip)
{
    for (unsigned i = 0; i < count; i++) {
        memset((uint8_t *)buffers[i].base + skip, 0, buffers[i].len - skip);
        skip = 0;
    }
}

static int transfer(Raw *r, uint64_t offset, const VmrBuffer *buffers, unsigned count, bool write)
{
    size_t skip = 0; /* done of buffers[0] */
    while (count) {
        struct iovec iov[IOV_PIECE];
        int n = make_iov(iov, buffers, count, skip);
        ssize_t done = write ? pwritev(r->fd, iov, n, (off_t)offset)
                             : preadv(r->fd, iov, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno;
        if (done == 0 && write)
            return EIO;
        if (done == 0) {
            zero_rest(buffers, count, skip);
            return 0;
        }
        offset += (uint64_t)done;
        skip += (size_t)done;
        while (count && skip >= buffers->len) {
            skip -= buffers->len;
            buffers++;
            count--;
        }
    }
    return 0;
}

static bool aligned(const Raw *r, const VmrBuffer *buffers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if ((uintptr_t)buffers[i].base % r->b.alignment || buffers[i].len % r->b.alignment)
            return false;
    return true;
}

/* O_DIRECT with buffers that it does not take: by way of one that it does, piece by piece. */
static int bounce(Raw *r, uint64_t offset, uint64_t length, const VmrBuffer *buffers,
                  unsigned count, bool write)
{
    size_t size = (size_t)MIN(length, (uint64_t)ZERO_PIECE);
    void *p;
    if (posix_memalign(&p, DIRECT_ALIGN, size))
        return ENOMEM;
    VmrBuffer *slice = g_new(VmrBuffer, count);
    int error = 0;
    for (uint64_t at = 0; at < length && !error; at += size) {
        VmrBuffer whole = {p, (size_t)MIN(length - at, (uint64_t)size)};
        unsigned n = vmr_buffers_slice(buffers, count, at, whole.len, slice);
        uint8_t *q = p;
        for (unsigned i = 0; write && i < n; q += slice[i++].len)
            memcpy(q, slice[i].base, slice[i].len);
        error = transfer(r, offset + at, &whole, 1, write);
        for (unsigned i = 0; !write && i < n; q += slice[i++].len)
            memcpy(slice[i].base, q, slice[i].len);
    }
    g_free(slice);
    free(p);
    return error;
}

static int raw_read(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *to,
                    unsigned count)
{
    Raw *r = (Raw *)b;
    if (r->direct && !aligned(r, to, count))
        return bounce(r, offset, length, to, count, false);
    return transfer(r, offset, to, count, false);
}

static int raw_write(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *from,
                     unsigned count)
{
    Raw *r = (Raw *)b;
    if (r->direct && !aligned(r, from, count))
        return bounce(r, offset, length, from, count, true);
    return transfer(r, offset, from, count, true);
}

static int raw_flush(VmrBlock *b)
{
    Raw *r = (Raw *)b;
    while (!r->no_flush && fdatasync(r->fd) < 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

/* ---- holes ------------------------------------------------------------ */

static int raw_discard(VmrBlock *b, uint64_t offset, uint64_t length)
{
    Raw *r = (Raw *)b;
    uint64_t range[2] = {offset, length};
    int ok = r->device ? ioctl(r->fd, BLKDISCARD, range)
                       : fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   (off_t)offset, (off_t)length);
    /* It is a hint: where it is not possible, nothing is lost. */
    return ok < 0 && errno != EOPNOTSUPP && errno != ENOTTY && errno != EINVAL ? errno : 0;
}

static int write_zeros(Raw *r, uint64_t offset, uint64_t length)
{
    void *p;
    size_t size = (size_t)MIN(length, (uint64_t)ZERO_PIECE);
    if (posix_memalign(&p, DIRECT_ALIGN, size))
        return ENOMEM;
    memset(p, 0, size);
    int error = 0;
    for (uint64_t at = 0; at < length && !error; at += size) {
        VmrBuffer piece = {p, (size_t)MIN(length - at, (uint64_t)size)};
        error = transfer(r, offset + at, &piece, 1, true);
    }
    free(p);
    return error;
}

static int raw_zero(VmrBlock *b, uint64_t offset, uint64_t length, bool unmap)
{
    Raw *r = (Raw *)b;
    if (!r->device && unmap &&
        fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)length) == 0)
        return 0;
    if (!r->device && fallocate(r->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                                (off_t)length) == 0)
        return 0;
    uint64_t range[2] = {offset, length};
    if (r->device && ioctl(r->fd, BLKZEROOUT, range) == 0)
        return 0;
    return write_zeros(r, offset, length);
}

/* ---- open and close --------------------------------------------------- */

static void raw_close(VmrBlock *b)
{
    Raw *r = (Raw *)b;
    if (r->fd >= 0)
        close(r->fd); /* the lock goes with it */
    g_free(r);
}

static const VmrBlockClass raw_class = {
    "raw", raw_read, raw_write, raw_flush, raw_discard, raw_zero, raw_close,
};

static bool failed(GError **error, const char *path, const char *what)
{
    int e = errno;
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(e), "%s: %s%s", path, what,
                g_strerror(e));
    return false;
}

static bool take_lock(Raw *r, const char *path, GError **error)
{
    struct flock lock = {.l_type = r->b.read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(r->fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES))
        return true; /* a file system without locks is none of ours */
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_ACCES,
                "%s: in use: another machine has it open%s (lock = off to take it nevertheless)",
                path, r->b.read_only ? " for writing" : "");
    return false;
}

/* O_DIRECT: does it take 512 bytes? */
static void find_alignment(Raw *r)
{
    void *p;
    r->b.alignment = 512;
    if (!r->direct || posix_memalign(&p, DIRECT_ALIGN, DIRECT_ALIGN))
        return;
    if (pread(r->fd, (uint8_t *)p + 512, 512, 512) < 0 && errno == EINVAL)
        r->b.alignment = DIRECT_ALIGN;
    free(p);
}

static bool look(Raw *r, const char *path, GError **error)
{
    struct stat st;
    uint64_t bytes;
    if (fstat(r->fd, &st) < 0)
        return failed(error, path, "");
    r->device = S_ISBLK(st.st_mode);
    if (!r->device && !S_ISREG(st.st_mode)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s: neither a file nor a block device", path);
        return false;
    }
    bytes = (uint64_t)st.st_size;
    if (r->device && ioctl(r->fd, BLKGETSIZE64, &bytes) < 0)
        return failed(error, path, "its size: ");
    find_alignment(r);
    r->b.physical_block = r->b.alignment > 4096 ? r->b.alignment : 4096;
    if (bytes > (uint64_t)INT64_MAX - r->b.alignment || !bytes) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s: its size is %s", path,
                    bytes ? "too large" : "0");
        return false;
    }
    r->b.size = (bytes + r->b.alignment - 1) / r->b.alignment * r->b.alignment;
    return true;
}

VmrBlock *vmr_block_raw_open(const char *path, bool read_only, bool lock, VmrCacheMode cache,
                             GError **error)
{
    Raw *r = g_new0(Raw, 1);
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK;
    if (cache == VMR_CACHE_WRITETHROUGH)
        flags |= O_DSYNC;
    if (cache == VMR_CACHE_NONE)
        flags |= O_DIRECT;
    r->b.klass = &raw_class;
    r->b.read_only = read_only;
    r->b.discards = !read_only;
    r->b.volatile_cache = cache != VMR_CACHE_WRITETHROUGH;
    r->direct = cache == VMR_CACHE_NONE;
    r->no_flush = cache == VMR_CACHE_UNSAFE;
    r->fd = open(path, flags);
    if (r->fd < 0)
        failed(error, path, cache == VMR_CACHE_NONE && errno == EINVAL
                                ? "cache = none is not possible there: " : "");
    if (r->fd < 0 || !look(r, path, error) || (lock && !take_lock(r, path, error))) {
        raw_close(&r->b);
        return NULL;
    }
    return &r->b;
}
