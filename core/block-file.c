/*
 * core/block-file.c - files and block devices of the host that images are in.
 *
 * Leaves out asynchronous I/O of the host's kernel: callers are pool threads.
 */
#include "block-file.h"

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

enum { DIRECT_ALIGN = 4096, IOV_PIECE = 64, PIECE = 1 << 20 };

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

static int transfer(VmrFile *f, uint64_t offset, const VmrBuffer *buffers, unsigned count, bool write)
{
    size_t skip = 0; /* done of buffers[0] */
    while (count) {
        struct iovec iov[IOV_PIECE];
        int n = make_iov(iov, buffers, count, skip);
        ssize_t done = write ? pwritev(f->fd, iov, n, (off_t)offset)
                             : preadv(f->fd, iov, n, (off_t)offset);
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

static bool aligned(const VmrFile *f, uint64_t offset, const VmrBuffer *buffers, unsigned count)
{
    bool yes = offset % f->alignment == 0;
    for (unsigned i = 0; i < count; i++)
        yes &= (uintptr_t)buffers[i].base % f->alignment == 0 && buffers[i].len % f->alignment == 0;
    return yes;
}

/* O_DIRECT with what it does not take: by way of a buffer that it does, piece by piece. */
static int bounce(VmrFile *f, uint64_t offset, uint64_t length, const VmrBuffer *buffers,
                  unsigned count, bool write)
{
    uint64_t lead = offset % f->alignment;
    uint64_t end = (lead + length + f->alignment - 1) / f->alignment * f->alignment;
    size_t size = (size_t)MIN(end, (uint64_t)PIECE);
    void *p;
    if (write && (lead || end != length))
        return EINVAL;
    if (posix_memalign(&p, DIRECT_ALIGN, size))
        return ENOMEM;
    VmrBuffer *slice = g_new(VmrBuffer, count);
    int error = 0;
    for (uint64_t at = 0, done = 0; done < length && !error; at += size, lead = 0) {
        VmrBuffer whole = {p, (size_t)MIN(end - at, (uint64_t)size)};
        uint64_t want = MIN(whole.len - lead, length - done);
        unsigned n = vmr_buffers_slice(buffers, count, done, want, slice);
        uint8_t *q = (uint8_t *)p + lead;
        for (unsigned i = 0; write && i < n; q += slice[i++].len)
            memcpy(q, slice[i].base, slice[i].len);
        error = transfer(f, offset / f->alignment * f->alignment + at, &whole, 1, write);
        for (unsigned i = 0; !write && !error && i < n; q += slice[i++].len)
            memcpy(slice[i].base, q, slice[i].len);
        done += want;
    }
    g_free(slice);
    free(p);
    return error;
}

int vmr_file_read(VmrFile *f, uint64_t offset, uint64_t length, const VmrBuffer *to, unsigned count)
{
    if (f->direct && !aligned(f, offset, to, count))
        return bounce(f, offset, length, to, count, false);
    return transfer(f, offset, to, count, false);
}

int vmr_file_write(VmrFile *f, uint64_t offset, uint64_t length, const VmrBuffer *from,
                   unsigned count)
{
    if (f->direct && !aligned(f, offset, from, count))
        return bounce(f, offset, length, from, count, true);
    return transfer(f, offset, from, count, true);
}

int vmr_file_sync(VmrFile *f)
{
    while (!f->no_flush && fdatasync(f->fd) < 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

/* ---- holes ------------------------------------------------------------ */

int vmr_file_punch(VmrFile *f, uint64_t offset, uint64_t length)
{
    uint64_t range[2] = {offset, length};
    int ok = f->device ? ioctl(f->fd, BLKDISCARD, range)
                       : fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   (off_t)offset, (off_t)length);
    /* Where it is not possible, nothing is lost. */
    return ok < 0 && errno != EOPNOTSUPP && errno != ENOTTY && errno != EINVAL ? errno : 0;
}

static int write_zeros(VmrFile *f, uint64_t offset, uint64_t length)
{
    void *p;
    size_t size = (size_t)MIN(length, (uint64_t)PIECE);
    if (posix_memalign(&p, DIRECT_ALIGN, size))
        return ENOMEM;
    memset(p, 0, size);
    int error = 0;
    for (uint64_t at = 0; at < length && !error; at += size) {
        VmrBuffer piece = {p, (size_t)MIN(length - at, (uint64_t)size)};
        error = transfer(f, offset + at, &piece, 1, true);
    }
    free(p);
    return error;
}

int vmr_file_zero(VmrFile *f, uint64_t offset, uint64_t length, bool unmap)
{
    if (!f->device && unmap &&
        fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)length) == 0)
        return 0;
    if (!f->device && fallocate(f->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                                (off_t)length) == 0)
        return 0;
    uint64_t range[2] = {offset, length};
    if (f->device && ioctl(f->fd, BLKZEROOUT, range) == 0)
        return 0;
    return write_zeros(f, offset, length);
}

/* ---- open and close --------------------------------------------------- */

static bool failed(GError **error, const char *path, const char *what)
{
    int e = errno;
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(e), "%s: %s%s", path, what,
                g_strerror(e));
    return false;
}

/*
 * QEMU's scheme: a shared lock on byte 100 + n for each permission n that is held, and on 200 + n
 * for each that others may not have; then nobody may have a lock that contradicts.
 */
enum {
    LOCK_HELD = 100,
    LOCK_DENIED = 200,
    MAY_READ = 1 << 0,
    MAY_WRITE = 1 << 1,
    MAY_RESIZE = 1 << 3,
    PERMISSIONS = 4,
};

/* false: somebody else has it.  A file system without locks is none of ours. */
static bool lock_byte(int fd, off_t byte)
{
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &l) == 0 || (errno != EAGAIN && errno != EACCES);
}

static bool somebody_has(int fd, off_t byte)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

static bool take_lock(const VmrFile *f, bool read_only, GError **error)
{
    unsigned held = MAY_READ | (read_only ? 0 : MAY_WRITE | MAY_RESIZE);
    unsigned denied = MAY_WRITE | MAY_RESIZE;
    bool ok = true;
    for (unsigned n = 0; n < PERMISSIONS; n++) {
        ok = ok && (!(held >> n & 1) || lock_byte(f->fd, LOCK_HELD + n));
        ok = ok && (!(denied >> n & 1) || lock_byte(f->fd, LOCK_DENIED + n));
    }
    for (unsigned n = 0; n < PERMISSIONS; n++) {
        ok = ok && !(held >> n & 1 && somebody_has(f->fd, LOCK_DENIED + n));
        ok = ok && !(denied >> n & 1 && somebody_has(f->fd, LOCK_HELD + n));
    }
    if (!ok)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_ACCES,
                    "%s: in use: another machine has it open%s (lock = off to take it nevertheless)",
                    f->path, read_only ? " for writing" : "");
    return ok;
}

/* O_DIRECT: does it take 512 bytes? */
static void find_alignment(VmrFile *f)
{
    void *p;
    f->alignment = 512;
    if (!f->direct || posix_memalign(&p, DIRECT_ALIGN, DIRECT_ALIGN))
        return;
    if (pread(f->fd, (uint8_t *)p + 512, 512, 512) < 0 && errno == EINVAL)
        f->alignment = DIRECT_ALIGN;
    free(p);
}

static bool look(VmrFile *f, GError **error)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return failed(error, f->path, "");
    f->device = S_ISBLK(st.st_mode);
    if (!f->device && !S_ISREG(st.st_mode)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s: neither a file nor a block device", f->path);
        return false;
    }
    f->bytes = (uint64_t)st.st_size;
    if (f->device && ioctl(f->fd, BLKGETSIZE64, &f->bytes) < 0)
        return failed(error, f->path, "its size: ");
    find_alignment(f);
    if (f->bytes > (uint64_t)INT64_MAX - f->alignment || !f->bytes) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s: its size is %s", f->path,
                    f->bytes ? "too large" : "0");
        return false;
    }
    return true;
}

bool vmr_file_open(VmrFile *f, const char *path, bool read_only, bool lock, VmrCacheMode cache,
                   GError **error)
{
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK;
    if (cache == VMR_CACHE_WRITETHROUGH)
        flags |= O_DSYNC;
    if (cache == VMR_CACHE_NONE)
        flags |= O_DIRECT;
    *f = (VmrFile){
        .path = g_strdup(path),
        .direct = cache == VMR_CACHE_NONE,
        .no_flush = cache == VMR_CACHE_UNSAFE,
    };
    f->fd = open(path, flags);
    if (f->fd < 0)
        return failed(error, path, cache == VMR_CACHE_NONE && errno == EINVAL
                                       ? "cache = none is not possible there: " : "");
    return look(f, error) && (!lock || take_lock(f, read_only, error));
}

void vmr_file_close(VmrFile *f)
{
    if (f->fd >= 0)
        close(f->fd); /* the locks go with it */
    f->fd = -1;
    g_clear_pointer(&f->path, g_free);
}
