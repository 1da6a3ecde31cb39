/*
 * core/ram.c - guest memory: one memfd, mapped once.
 *
 * Shared and file-backed, so that another process (vhost-user) can map the same
 * pages.  Left out: explicit huge page pools; transparent ones are asked for.
 */
#include "fabric.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

bool vmr_ram_init(VmrRam *ram, uint64_t size, GError **error)
{
    *ram = (VmrRam){.fd = -1};
    if (size > (uint64_t)1 << 46) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%" PRIu64 " bytes of memory are too many", size);
        return false;
    }
    size = (size + 4095) & ~(uint64_t)4095;
    if (size == 0)
        size = 4096;
    int fd = memfd_create("vmrun-ram", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        goto fail;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        goto fail;
    /* Advice only: a kernel without huge pages for shared memory refuses it, and that is fine. */
    (void)madvise(p, size, MADV_HUGEPAGE);
    (void)madvise(p, size, MADV_DONTDUMP);
    *ram = (VmrRam){.fd = fd, .base = p, .size = size};
    return true;
fail:
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                "cannot have %" PRIu64 " MiB of guest memory: %s", size >> 20, g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return false;
}

void vmr_ram_destroy(VmrRam *ram)
{
    if (ram->base) {
        munmap(ram->base, ram->size);
        close(ram->fd);
    }
    *ram = (VmrRam){.fd = -1};
}

uint64_t vmr_ram_take(VmrRam *ram, uint64_t size)
{
    uint64_t left = ram->size - ram->used;
    if (size == 0 || size > left)
        return UINT64_MAX;
    size = (size + 4095) & ~(uint64_t)4095; /* left is a multiple of 4096, so this fits too */
    uint64_t offset = ram->used;
    ram->used += size;
    return offset;
}

bool vmr_ram_discard(VmrRam *ram, uint64_t offset, uint64_t length)
{
    return fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)length) == 0;
}
