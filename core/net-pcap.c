/*
 * core/net-pcap.c - frames into a capture file, as Wireshark and tcpdump read it.
 *
 * The classic libpcap format with nanoseconds, of Ethernet frames; times are the
 * host's.  Each frame is written at once, so that the file is whole at any moment.
 */
#include "net.h"
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PARTS_MAX = 64 };

struct VmrPcap {
    int fd; /* -1: writing has failed */
    char *path;
};

static bool put(VmrPcap *p, const struct iovec *parts, int count, size_t length)
{
    ssize_t n;
    do
        n = writev(p->fd, parts, count);
    while (n < 0 && errno == EINTR);
    if (n >= 0 && (size_t)n == length)
        return true;
    vmr_core_log(VMR_LOG_WARNING, "%s: the capture ends here: %s", p->path,
                 n < 0 ? g_strerror(errno) : "a short write");
    close(p->fd);
    p->fd = -1;
    return false;
}

VmrPcap *vmr_pcap_new(const char *path, GError **error)
{
    /* Native byte order: readers tell by the magic. */
    static const struct {
        uint32_t magic;
        uint16_t major, minor;
        uint32_t zone, accuracy, length_max, link_type;
    } header = {0xa1b23c4d, 2, 4, 0, 0, 262144, 1 /* Ethernet */};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", path,
                    g_strerror(errno));
        return NULL;
    }
    VmrPcap *p = g_new0(VmrPcap, 1);
    p->fd = fd;
    p->path = g_strdup(path);
    struct iovec part = {(void *)&header, sizeof(header)};
    put(p, &part, 1, sizeof(header));
    return p;
}

void vmr_pcap_frame(VmrPcap *p, const VmrNetFrame *frame)
{
    if (!p || p->fd < 0 || frame->buffer_count >= PARTS_MAX)
        return;
    size_t length = vmr_net_length(frame);
    int64_t now = vmr_clock_wall();
    uint32_t header[4] = {(uint32_t)(now / 1000000000), (uint32_t)(now % 1000000000),
                          (uint32_t)length, (uint32_t)length};
    struct iovec parts[PARTS_MAX] = {{header, sizeof(header)}};
    for (unsigned i = 0; i < frame->buffer_count; i++)
        parts[i + 1] = (struct iovec){frame->buffers[i].base, frame->buffers[i].len};
    put(p, parts, (int)frame->buffer_count + 1, sizeof(header) + length);
}

void vmr_pcap_free(VmrPcap *p)
{
    if (!p)
        return;
    if (p->fd >= 0)
        close(p->fd);
    g_free(p->path);
    g_free(p);
}
