/*
 * core/block.c - what all layers share.
 */
#include "block.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

const char *vmr_block_magic(const uint8_t *head, size_t length)
{
    static const struct {
        const char *name;
        unsigned length;
        const char *magic;
    } known[] = {{"qcow2", 4, "QFI\xfb"}, {"vmdk", 4, "KDMV"}, {"vhdx", 8, "vhdxfile"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
        if (length >= known[i].length && !memcmp(head, known[i].magic, known[i].length))
            return known[i].name;
    return NULL;
}

/* What a file looks like, if it is not raw; NULL otherwise. */
static const char *looks_like(const char *path)
{
    uint8_t head[8] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    ssize_t n = pread(fd, head, sizeof(head), 0);
    close(fd);
    return n > 0 ? vmr_block_magic(head, (size_t)n) : NULL;
}

VmrBlock *vmr_block_open(const char *path, const VmrBlockOptions *how, GError **error)
{
    const char *like = how->format == VMR_FORMAT_AUTO || how->format == VMR_FORMAT_RAW_FOR_SURE
                           ? looks_like(path) : NULL;
    if (how->format == VMR_FORMAT_QCOW2 || (how->format == VMR_FORMAT_AUTO && !g_strcmp0(like, "qcow2")))
        return vmr_block_qcow2_open(path, how, error);
    if (!like) {
        VmrBlock *b = vmr_block_raw_open(path, how->read_only, how->lock, how->cache, error);
        if (b)
            b->guessed = how->format == VMR_FORMAT_AUTO;
        return b;
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                how->format == VMR_FORMAT_AUTO
                    ? "%s: it looks like %s, which is not supported (format = raw takes it as it is)"
                    : "%s: it looks like %s, but what it is was not recorded (qemu-img rebase -u -F FORMAT -b)",
                path, like);
    return NULL;
}

void vmr_block_close(VmrBlock *b)
{
    if (b)
        b->klass->close(b);
}

unsigned vmr_buffers_slice(const VmrBuffer *from, unsigned count, uint64_t skip, uint64_t length,
                           VmrBuffer *to)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count && length; i++) {
        if (skip >= from[i].len) {
            skip -= from[i].len;
            continue;
        }
        size_t len = (size_t)MIN((uint64_t)(from[i].len - skip), length);
        to[n++] = (VmrBuffer){(uint8_t *)from[i].base + skip, len};
        length -= len;
        skip = 0;
    }
    return n;
}
