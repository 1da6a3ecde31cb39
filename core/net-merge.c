/*
 * core/net-merge.c - TCP segments that follow one another go to the guest as one frame.
 *
 * What a network card calls receive offload: the guest's stack then runs once for up to
 * 64 KiB.  Only segments of a connection that differ in nothing but their place in the
 * stream are merged (RFC 9293, RFC 791), only while the device takes TCP over IPv4 that
 * is still to be cut, and only the checksum of the pseudo header is filled in.
 * Leaves out IPv6, and IPv4 with options.
 */
#include "net.h"

#include <string.h>

enum {
    ETHERNET = 14,
    IP = ETHERNET,
    IP_LENGTH = IP + 2,
    IP_ID = IP + 4,
    IP_FRAGMENT = IP + 6,
    IP_PROTOCOL = IP + 9,
    IP_CHECKSUM = IP + 10,
    IP_FROM = IP + 12,
    TCP = IP + 20,
    TCP_SEQUENCE = TCP + 4,
    TCP_ACKNOWLEDGED = TCP + 8,
    TCP_OFFSET = TCP + 12,
    TCP_FLAGS = TCP + 13,
    TCP_WINDOW = TCP + 14,
    TCP_CHECKSUM = TCP + 16,
    TCP_URGENT = TCP + 18,

    FLAG_PSH = 0x08,
    FLAG_ACK = 0x10,
    PROTOCOL_TCP = 6,
};

struct VmrNetMerge {
    VmrNet *net;
    unsigned segments; /* held: 0 is none */
    size_t length, header_length, segment_size;
    uint8_t bytes[VMR_NET_FRAME_MAX];
};

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, size_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static uint32_t sum(const uint8_t *p, unsigned length)
{
    uint32_t all = 0;
    for (unsigned i = 0; i < length; i += 2)
        all += get16(p + i);
    return all;
}

static uint16_t fold(uint32_t all)
{
    while (all >> 16)
        all = (all & 0xffff) + (all >> 16);
    return (uint16_t)all;
}

/* The bytes before the data, if it is a segment that may be merged; else 0. */
static size_t header_of(const uint8_t *f, size_t length)
{
    if (length < TCP + 20 || get16(f + ETHERNET - 2) != 0x0800 || f[IP] != 0x45 ||
        get16(f + IP_LENGTH) != length - IP || (get16(f + IP_FRAGMENT) & 0xbfff) ||
        f[IP_PROTOCOL] != PROTOCOL_TCP || (f[TCP_FLAGS] & ~FLAG_PSH) != FLAG_ACK)
        return 0;
    size_t header = TCP + (f[TCP_OFFSET] >> 4) * 4u;
    return header >= TCP + 20 && header < length ? header : 0;
}

static bool same(const uint8_t *a, const uint8_t *b, size_t from, size_t to)
{
    return !memcmp(a + from, b + from, to - from);
}

/* Does the segment go on where the held ones end? */
static bool follows(const VmrNetMerge *m, const uint8_t *f, size_t length, size_t header)
{
    const uint8_t *h = m->bytes;
    uint32_t next = get32(h + TCP_SEQUENCE) + (uint32_t)(m->length - m->header_length);
    return m->segments && header == m->header_length && length - header <= m->segment_size &&
           m->length + length - header <= UINT16_MAX && get32(f + TCP_SEQUENCE) == next &&
           same(f, h, 0, IP_LENGTH) && same(f, h, IP_FRAGMENT, IP_CHECKSUM) &&
           same(f, h, IP_FROM, TCP_SEQUENCE) && same(f, h, TCP_ACKNOWLEDGED, TCP_FLAGS) &&
           same(f, h, TCP_WINDOW, TCP_CHECKSUM) && same(f, h, TCP_URGENT, header);
}

VmrNetMerge *vmr_net_merge_new(VmrNet *n)
{
    VmrNetMerge *m = g_new0(VmrNetMerge, 1);
    m->net = n;
    return m;
}

void vmr_net_merge_end(VmrNetMerge *m)
{
    unsigned segments = m->segments;
    uint8_t *h = m->bytes;
    m->segments = 0;
    if (segments == 1)
        vmr_net_deliver_bytes(m->net, h, m->length);
    if (segments <= 1)
        return;
    put16(h + IP_LENGTH, m->length - IP);
    put16(h + IP_CHECKSUM, 0);
    put16(h + IP_CHECKSUM, (uint16_t)~fold(sum(h + IP, TCP - IP)));
    put16(h + TCP_CHECKSUM,
          fold(sum(h + IP_FROM, TCP - IP_FROM) + PROTOCOL_TCP + (uint32_t)(m->length - TCP)));
    VmrBuffer buffer = {h, m->length};
    vmr_net_deliver(m->net, &(VmrNetFrame){
                                .buffers = &buffer,
                                .buffer_count = 1,
                                .flags = VMR_NET_NEEDS_CHECKSUM,
                                .segments = VMR_NET_SEGMENT_TCP4,
                                .header_length = (uint16_t)m->header_length,
                                .segment_size = (uint16_t)m->segment_size,
                                .checksum_start = TCP,
                                .checksum_offset = TCP_CHECKSUM - TCP,
                            });
}

void vmr_net_merge(VmrNetMerge *m, const uint8_t *data, size_t length)
{
    const uint32_t needs = VMR_NET_CHECKSUM | VMR_NET_TCP4;
    size_t header = (m->net->wanted & needs) == needs ? header_of(data, length) : 0;
    if (header && follows(m, data, length, header)) {
        memcpy(m->bytes + m->length, data + header, length - header);
        m->length += length - header;
        m->segments++;
        m->bytes[TCP_FLAGS] |= data[TCP_FLAGS];
    } else {
        vmr_net_merge_end(m);
        if (!header || length > UINT16_MAX) {
            vmr_net_deliver_bytes(m->net, data, length);
            return;
        }
        memcpy(m->bytes, data, length);
        m->segments = 1;
        m->length = length;
        m->header_length = header;
        m->segment_size = length - header;
    }
    /* What the sender pushes is not to wait, and only the last segment may be short. */
    if ((data[TCP_FLAGS] & FLAG_PSH) || length - header < m->segment_size)
        vmr_net_merge_end(m);
}
