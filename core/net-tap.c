/*
 * core/net-tap.c - type = tap: a network interface of the host.
 *
 * After Linux's Documentation/networking/tuntap.rst.  Frames carry a virtio header,
 * so that checksums and TCP segments may be left to the host's kernel.
 * Leaves out several queues and vhost-net; bringing the interface up and giving it
 * addresses is the administrator's.
 */
#include "net.h"
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PARTS_MAX = 256 };

typedef struct Tap {
    VmrNet n;
    const char *ifname; /* property */
    uint8_t *frame;     /* VMR_NET_FRAME_MAX */
} Tap;

static const VmrProperty properties[] = {
    VMR_NET_PROPERTIES,
    {.name = "ifname", .type = VMR_PROP_STRING, .flags = VMR_PROP_REQUIRED,
     .offset = offsetof(Tap, ifname),
     .doc = "The interface. It is made if it is not there, which takes the right to; one made "
            "before by `ip tuntap add NAME mode tap user USER` takes none"},
    {0},
};

static void tap_check(VmrNet *n, const VmrSection *section, VmrErrors *errors)
{
    const char *name = ((Tap *)n)->ifname;
    if (name && (strlen(name) >= IFNAMSIZ || strpbrk(name, "/% \t")))
        vmr_errors_add(errors, vmr_section_place(section, "ifname"), section->title, "ifname",
                       "'%s': an interface's name of at most %d characters is wanted", name,
                       IFNAMSIZ - 1);
}

static bool fail(const Tap *t, const char *what, GError **error)
{
    int code = errno;
    const char *hint = "";
    if (code == EPERM || code == EACCES)
        hint = "; as root: ip tuntap add NAME mode tap user USER";
    else if (code == EBUSY)
        hint = "; somebody else has it";
    else if (code == ENOENT || code == ENODEV)
        hint = "; as root: modprobe tun";
    else if (code == EINVAL)
        hint = "; is there an interface of this name that is no tap?";
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(code), "tap %s: %s: %s%s", t->ifname,
                what, g_strerror(code), hint);
    return false;
}

static bool tap_open(VmrNet *n, GError **error)
{
    Tap *t = (Tap *)n;
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int header = sizeof(struct virtio_net_hdr), little = 1;
    n->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (n->fd < 0)
        return fail(t, "/dev/net/tun", error);
    g_strlcpy(request.ifr_name, t->ifname, sizeof(request.ifr_name));
    if (ioctl(n->fd, TUNSETIFF, &request) < 0)
        return fail(t, "TUNSETIFF", error);
    if (ioctl(n->fd, TUNSETVNETHDRSZ, &header) < 0 || ioctl(n->fd, TUNSETVNETLE, &little) < 0)
        return fail(t, "TUNSETVNETHDRSZ", error);
    ioctl(n->fd, TUNSETOFFLOAD, 0);
    t->frame = g_malloc(VMR_NET_FRAME_MAX);
    vmr_net_read(n);
    return true;
}

static void tap_close(VmrNet *n)
{
    vmr_net_end(n);
    g_clear_pointer(&((Tap *)n)->frame, g_free);
}

static void tap_offloads(VmrNet *n, uint32_t wanted)
{
    unsigned flags = 0;
    if (wanted & VMR_NET_CHECKSUM) {
        flags = TUN_F_CSUM;
        flags |= wanted & VMR_NET_TCP4 ? TUN_F_TSO4 : 0;
        flags |= wanted & VMR_NET_TCP6 ? TUN_F_TSO6 : 0;
        if (flags != TUN_F_CSUM && (wanted & VMR_NET_ECN))
            flags |= TUN_F_TSO_ECN;
    }
    if (n->fd >= 0 && ioctl(n->fd, TUNSETOFFLOAD, flags) < 0)
        vmr_core_log(VMR_LOG_WARNING, "[%s]: TUNSETOFFLOAD: %s", n->section->title,
                     g_strerror(errno));
}

static bool tap_send(VmrNet *n, const VmrNetFrame *f)
{
    struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
    struct iovec parts[PARTS_MAX + 1] = {{&h, sizeof(h)}};
    if (f->buffer_count > PARTS_MAX)
        return true;
    if (f->flags & VMR_NET_NEEDS_CHECKSUM) {
        h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        h.csum_start = GUINT16_TO_LE(f->checksum_start);
        h.csum_offset = GUINT16_TO_LE(f->checksum_offset);
    }
    if (f->segments) {
        h.gso_type = f->segments == VMR_NET_SEGMENT_TCP4 ? VIRTIO_NET_HDR_GSO_TCPV4
                                                         : VIRTIO_NET_HDR_GSO_TCPV6;
        if (f->flags & VMR_NET_HAS_ECN)
            h.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
        h.hdr_len = GUINT16_TO_LE(f->header_length);
        h.gso_size = GUINT16_TO_LE(f->segment_size);
    }
    for (unsigned i = 0; i < f->buffer_count; i++)
        parts[i + 1] = (struct iovec){f->buffers[i].base, f->buffers[i].len};
    ssize_t sent;
    do
        sent = writev(n->fd, parts, (int)f->buffer_count + 1);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return true;
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        vmr_net_want_writable(n);
        return false;
    }
    n->dropped++; /* the interface is down, or the kernel has found the header wrong */
    return true;
}

static bool tap_receive(VmrNet *n)
{
    Tap *t = (Tap *)n;
    struct virtio_net_hdr h;
    struct iovec parts[] = {{&h, sizeof(h)}, {t->frame, VMR_NET_FRAME_MAX}};
    ssize_t length = readv(n->fd, parts, 2);
    if (length < 0)
        return errno == EINTR;
    if ((size_t)length <= sizeof(h))
        return true;
    VmrBuffer buffer = {t->frame, (size_t)length - sizeof(h)};
    VmrNetFrame f = {.buffers = &buffer, .buffer_count = 1};
    if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        f.flags |= VMR_NET_NEEDS_CHECKSUM;
        f.checksum_start = GUINT16_FROM_LE(h.csum_start);
        f.checksum_offset = GUINT16_FROM_LE(h.csum_offset);
    } else if (h.flags & VIRTIO_NET_HDR_F_DATA_VALID) {
        f.flags |= VMR_NET_CHECKED;
    }
    switch (h.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        break;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        f.segments = VMR_NET_SEGMENT_TCP4;
        break;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        f.segments = VMR_NET_SEGMENT_TCP6;
        break;
    default: /* not asked for */
        n->dropped++;
        return true;
    }
    if (f.segments && (h.gso_type & VIRTIO_NET_HDR_GSO_ECN))
        f.flags |= VMR_NET_HAS_ECN;
    f.header_length = GUINT16_FROM_LE(h.hdr_len);
    f.segment_size = GUINT16_FROM_LE(h.gso_size);
    vmr_net_deliver(n, &f);
    return true;
}

const VmrNetClass vmr_net_tap = {
    .type = "tap",
    .summary = "a network interface of the host",
    .doc = "The guest is on the host's network as the administrator connects them, by routes, a bridge "
           "or a network namespace. Checksums and TCP segments are left to the host.",
    .properties = properties,
    .instance_size = sizeof(Tap),
    .takes = VMR_NET_CHECKSUM | VMR_NET_TCP4 | VMR_NET_TCP6 | VMR_NET_ECN,
    .gives = VMR_NET_CHECKSUM | VMR_NET_TCP4 | VMR_NET_TCP6 | VMR_NET_ECN,
    .check = tap_check,
    .open = tap_open,
    .close = tap_close,
    .offloads = tap_offloads,
    .send = tap_send,
    .receive = tap_receive,
};
