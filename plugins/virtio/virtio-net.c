/*
 * virtio-net - a virtio network card on a network back end.
 *
 * After VIRTIO 1.2, 5.1: mergeable receive buffers, checksums and TCP segments left
 * to the back end where it can, link status, several queue pairs, and a control queue
 * for the receive filter, the MAC address, VLANs, queue pairs and what the driver takes.
 *
 * Frames are sent straight from guest memory.  A frame that there are no buffers for
 * is left with the back end.  A flow is received where the driver last sent for it
 * (automatic receive steering, 5.1.6.5.5).
 * Leaves out RSS and notification coalescing.
 */
#include "virtio.h"

#include <string.h>
#include <vmrun/plugin.h>

#define BIT(n_) (1ull << (n_))

enum {
    PAIRS_MAX = (VIRTIO_QUEUES_MAX - 1) / 2,
    FLOWS = 256, /* hashes of flows that are told apart */

    /* configuration */
    MAC = 0,
    STATUS = 6,
    MAX_PAIRS = 8,
    MTU = 10,
    CONFIG_SIZE = 12,
    S_LINK_UP = 1,
    S_ANNOUNCE = 2,

    /* The header before each frame. */
    H_FLAGS = 0,
    H_GSO_TYPE = 1,
    H_HDR_LEN = 2,
    H_GSO_SIZE = 4,
    H_CSUM_START = 6,
    H_CSUM_OFFSET = 8,
    H_NUM_BUFFERS = 10,
    HEADER = 12,

    FLAG_NEEDS_CSUM = 1,
    FLAG_DATA_VALID = 2,
    GSO_NONE = 0,
    GSO_TCPV4 = 1,
    GSO_TCPV6 = 4,
    GSO_ECN = 0x80,

    /* control commands */
    CTRL_RX = 0,
    CTRL_RX_PROMISC = 0,
    CTRL_RX_ALLMULTI = 1,
    CTRL_RX_ALLUNI = 2,
    CTRL_RX_NOMULTI = 3,
    CTRL_RX_NOUNI = 4,
    CTRL_RX_NOBCAST = 5,
    CTRL_MAC = 1,
    CTRL_MAC_TABLE_SET = 0,
    CTRL_MAC_ADDR_SET = 1,
    CTRL_VLAN = 2,
    CTRL_VLAN_ADD = 0,
    CTRL_VLAN_DEL = 1,
    CTRL_ANNOUNCE = 3,
    CTRL_ANNOUNCE_ACK = 0,
    CTRL_MQ = 4,
    CTRL_MQ_VQ_PAIRS_SET = 0,
    CTRL_GUEST_OFFLOADS = 5,
    CTRL_OK = 0,
    CTRL_ERR = 1,

    ADDRESS = 6,
    ADDRESSES_MAX = 64, /* in each of the filter's two tables */
    CHAINS_MAX = 256,   /* that one frame may be spread over */
    BUFFERS_MAX = 256,  /* that one frame may be sent from */
    VLANS = 4096,

    /* Ethernet, IPv4 (RFC 791), IPv6 (RFC 8200) */
    FRAME_TYPE = 12,
    FRAME_TAG = 14,
    FRAME_START = 64, /* as much of a frame as its flow can be told from */
    TYPE_VLAN = 0x8100,
    TYPE_IPV4 = 0x0800,
    TYPE_IPV6 = 0x86dd,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
};

#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_CTRL_GUEST_OFFLOADS BIT(2)
#define F_MTU BIT(3)
#define F_MAC BIT(5)
#define F_GUEST_TSO4 BIT(7)
#define F_GUEST_TSO6 BIT(8)
#define F_GUEST_ECN BIT(9)
#define F_HOST_TSO4 BIT(11)
#define F_HOST_TSO6 BIT(12)
#define F_HOST_ECN BIT(13)
#define F_MRG_RXBUF BIT(15)
#define F_STATUS BIT(16)
#define F_CTRL_VQ BIT(17)
#define F_CTRL_RX BIT(18)
#define F_CTRL_VLAN BIT(19)
#define F_CTRL_RX_EXTRA BIT(20)
#define F_GUEST_ANNOUNCE BIT(21)
#define F_MQ BIT(22)
#define F_CTRL_MAC_ADDR BIT(23)
#define GUEST_OFFLOADS (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN)

typedef struct VirtioNet {
    VirtioDevice v;
    /* properties */
    VmrNet *net;
    const char *mac_text;
    uint32_t mtu, queues;

    VmrNetInfo info;
    uint8_t mac[ADDRESS];
    bool paused;
    bool sending;
    bool announce;            /* the driver is to tell the network where it is */
    uint8_t flow_pair[FLOWS]; /* by hash: the queue pair that the driver last sent on */

    /* saved */
    uint64_t offloads; /* of GUEST_OFFLOADS: what the driver takes now */
    uint8_t promisc, allmulti, alluni, nomulti, nouni, nobcast;
    uint8_t current_mac[ADDRESS];
    uint8_t unicast_count, multicast_count;
    uint8_t unicast[ADDRESSES_MAX * ADDRESS], multicast[ADDRESSES_MAX * ADDRESS];
    uint8_t pairs;            /* in use */
    uint8_t vlans[VLANS / 8]; /* that pass */
} VirtioNet;

static unsigned rx_queue(unsigned pair)
{
    return 2 * pair;
}

static unsigned tx_queue(unsigned pair)
{
    return 2 * pair + 1;
}

/* Behind all pairs that there could be, or behind the first one. */
static unsigned control_queue(const VirtioNet *n)
{
    return virtio_has(&n->v, F_MQ) ? 2 * n->queues : 2;
}

/* ---- flows ------------------------------------------------------------ */

static unsigned get_be16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t mix(uint32_t hash, const uint8_t *a, const uint8_t *b, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        hash = (hash ^ (a[i] ^ b[i])) * 0x01000193; /* FNV-1a */
    return hash;
}

/* The same for both directions of a flow; what is no IP packet is all one flow. */
static unsigned flow_hash(const uint8_t *f, size_t length)
{
    size_t ip = FRAME_TYPE + 2, ports;
    unsigned address, protocol, size;
    if (length < ip + 4)
        return 0;
    unsigned type = get_be16(f + FRAME_TYPE);
    if (type == TYPE_VLAN) {
        ip += 4;
        type = get_be16(f + ip - 2);
    }
    if (type == TYPE_IPV4 && length >= ip + 20) {
        address = 12;
        size = 4;
        protocol = f[ip + 9];
        /* Only the first fragment has ports: fragments go by address. */
        ports = get_be16(f + ip + 6) & 0x3fff ? length : ip + 4 * (f[ip] & 0xf);
    } else if (type == TYPE_IPV6 && length >= ip + 40) {
        address = 8;
        size = 16;
        protocol = f[ip + 6];
        ports = ip + 40;
    } else {
        return 0;
    }
    const uint8_t *from = f + ip + address;
    uint32_t hash = mix(0x811c9dc5, from, from + size, size);
    if ((protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP) && ports + 4 <= length)
        hash = mix(hash, f + ports, f + ports + 2, 2);
    return (hash ^ hash >> 8 ^ hash >> 16) % FLOWS;
}

/* ---- to the guest ----------------------------------------------------- */

static bool is_listed(const uint8_t *table, unsigned count, const uint8_t *address)
{
    for (unsigned i = 0; i < count; i++)
        if (!memcmp(table + i * ADDRESS, address, ADDRESS))
            return true;
    return false;
}

/* Does the driver want a frame that begins with `to`, its destination? */
static bool is_wanted(const VirtioNet *n, const uint8_t *to, size_t length)
{
    static const uint8_t broadcast[ADDRESS] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (n->promisc)
        return true;
    if (length >= FRAME_TAG + 2 && get_be16(to + FRAME_TYPE) == TYPE_VLAN &&
        virtio_has(&n->v, F_CTRL_VLAN)) {
        unsigned id = get_be16(to + FRAME_TAG) & (VLANS - 1);
        if (!(n->vlans[id / 8] >> id % 8 & 1))
            return false;
    }
    if (!memcmp(to, broadcast, ADDRESS))
        return !n->nobcast;
    if (to[0] & 1)
        return !n->nomulti &&
               (n->allmulti || is_listed(n->multicast, n->multicast_count, to));
    return !n->nouni && (n->alluni || !memcmp(to, n->current_mac, ADDRESS) ||
                         is_listed(n->unicast, n->unicast_count, to));
}

static size_t frame_start(const VmrNetFrame *f, uint8_t *to, size_t length)
{
    size_t done = 0;
    for (unsigned i = 0; i < f->buffer_count && done < length; i++) {
        size_t part = MIN(f->buffers[i].len, length - done);
        memcpy(to + done, f->buffers[i].base, part);
        done += part;
    }
    return done;
}

static void fill_header(const VirtioNet *n, const VmrNetFrame *f, uint8_t *h)
{
    memset(h, 0, HEADER);
    if ((f->flags & VMR_NET_NEEDS_CHECKSUM) && (n->offloads & F_GUEST_CSUM)) {
        h[H_FLAGS] = FLAG_NEEDS_CSUM;
        virtio_put16(h + H_CSUM_START, f->checksum_start);
        virtio_put16(h + H_CSUM_OFFSET, f->checksum_offset);
    } else if ((f->flags & VMR_NET_CHECKED) && (n->offloads & F_GUEST_CSUM)) {
        h[H_FLAGS] = FLAG_DATA_VALID;
    }
    if (f->segments) {
        h[H_GSO_TYPE] = f->segments == VMR_NET_SEGMENT_TCP4 ? GSO_TCPV4 : GSO_TCPV6;
        if (f->flags & VMR_NET_HAS_ECN)
            h[H_GSO_TYPE] |= GSO_ECN;
        virtio_put16(h + H_HDR_LEN, f->header_length);
        virtio_put16(h + H_GSO_SIZE, f->segment_size);
    }
}

/* Copy a frame, behind its header, to the chains. */
static void scatter(VirtioNet *n, const VmrNetFrame *f, VirtioChain *const *chains, unsigned count,
                    uint32_t *written)
{
    unsigned chain = 0;
    uint64_t at = HEADER; /* in the chain; the header is whole in the first one */
    memset(written, 0, count * sizeof(*written));
    written[0] = HEADER;
    for (unsigned i = 0; i < f->buffer_count; i++) {
        const uint8_t *from = f->buffers[i].base;
        size_t left = f->buffers[i].len;
        while (left && chain < count) {
            size_t part = (size_t)MIN((uint64_t)left, chains[chain]->in_length - at);
            if (part && virtio_write(&n->v, chains[chain], at, from, part) != part)
                return; /* not in memory: the device is broken now */
            from += part;
            left -= part;
            at += part;
            written[chain] = (uint32_t)at;
            if (left) {
                chain++;
                at = 0;
            }
        }
    }
}

/* How many chains of queue `q` for `need` bytes; 0: there are too few, or the ring is bad. */
static unsigned gather(VirtioNet *n, unsigned q, uint64_t need, VirtioChain **chains)
{
    unsigned max = virtio_has(&n->v, F_MRG_RXBUF) ? CHAINS_MAX : 1, count = 0;
    uint64_t room = 0;
    while (room < need && count < max) {
        VirtioChain *c = virtio_pop(&n->v, q);
        if (!c)
            break;
        chains[count++] = c;
        room += c->in_length;
        if (c->in_length < (count == 1 ? HEADER : 1)) {
            virtio_broken(&n->v, "a receive buffer of %u bytes", (unsigned)c->in_length);
            break;
        }
    }
    if (room >= need)
        return count;
    bool too_small = count == max;
    for (unsigned i = count; i-- > 0;)
        virtio_unpop(&n->v, chains[i]);
    if (too_small)
        virtio_broken(&n->v, "receive buffers too small for a frame of %u bytes",
                      (unsigned)(need - HEADER));
    return 0;
}

static bool net_receive(VmrDevice *dev, const VmrNetFrame *f)
{
    VirtioNet *n = (VirtioNet *)dev;
    VirtioChain *chains[CHAINS_MAX];
    uint32_t written[CHAINS_MAX];
    uint8_t header[HEADER], start[FRAME_START];
    uint64_t length = HEADER;

    if (n->paused)
        return false;
    size_t have = frame_start(f, start, FRAME_START);
    unsigned q = rx_queue(n->pairs > 1 ? n->flow_pair[flow_hash(start, have)] % n->pairs : 0);
    if (!virtio_queue_live(&n->v, q))
        q = rx_queue(0);
    if (!virtio_queue_live(&n->v, q))
        return true; /* nobody listens */
    if (have < ADDRESS || !is_wanted(n, start, have))
        return true;
    for (unsigned i = 0; i < f->buffer_count; i++)
        length += f->buffers[i].len;
    unsigned count = gather(n, q, length, chains);
    if (!count)
        return !virtio_queue_live(&n->v, q);
    fill_header(n, f, header);
    virtio_put16(header + H_NUM_BUFFERS, (uint16_t)count);
    virtio_write(&n->v, chains[0], 0, header, HEADER);
    scatter(n, f, chains, count, written);
    virtio_push_all(&n->v, chains, written, count);
    virtio_signal(&n->v, q);
    return true;
}

/* ---- from the guest --------------------------------------------------- */

/* What the header claims, as far as it was agreed on; false: it is nonsense. */
static bool read_header(const VirtioNet *n, const uint8_t *h, VmrNetFrame *f)
{
    if (h[H_FLAGS] & FLAG_NEEDS_CSUM) {
        if (!virtio_has(&n->v, F_CSUM))
            return false;
        f->flags |= VMR_NET_NEEDS_CHECKSUM;
        f->checksum_start = virtio_get16(h + H_CSUM_START);
        f->checksum_offset = virtio_get16(h + H_CSUM_OFFSET);
    }
    switch (h[H_GSO_TYPE] & ~GSO_ECN) {
    case GSO_NONE:
        return true;
    case GSO_TCPV4:
        f->segments = VMR_NET_SEGMENT_TCP4;
        if (!virtio_has(&n->v, F_HOST_TSO4))
            return false;
        break;
    case GSO_TCPV6:
        f->segments = VMR_NET_SEGMENT_TCP6;
        if (!virtio_has(&n->v, F_HOST_TSO6))
            return false;
        break;
    default:
        return false;
    }
    if (h[H_GSO_TYPE] & GSO_ECN) {
        if (!virtio_has(&n->v, F_HOST_ECN))
            return false;
        f->flags |= VMR_NET_HAS_ECN;
    }
    f->header_length = virtio_get16(h + H_HDR_LEN);
    f->segment_size = virtio_get16(h + H_GSO_SIZE);
    return f->segment_size && (f->flags & VMR_NET_NEEDS_CHECKSUM);
}

/* false: the back end has no room. */
static bool transmit(VirtioNet *n, VirtioChain *c)
{
    uint8_t header[HEADER];
    VmrBuffer buffers[BUFFERS_MAX];
    VmrNetFrame f = {.buffers = buffers};
    uint64_t length = c->out_length - HEADER;
    if (c->out_length < HEADER || length > VMR_NET_FRAME_MAX) {
        vmr_guest_error(&n->v.dev, "a frame of %" G_GINT64_MODIFIER "u bytes, header included",
                        c->out_length);
        return true;
    }
    if (virtio_read(&n->v, c, 0, header, HEADER) != HEADER)
        return true;
    if (!read_header(n, header, &f)) {
        vmr_guest_error(&n->v.dev, "a frame with flags 0x%x and GSO type 0x%x", header[H_FLAGS],
                        header[H_GSO_TYPE]);
        return true;
    }
    if (!length)
        return true;
    f.buffer_count = virtio_map(&n->v, c, false, HEADER, length, buffers, BUFFERS_MAX);
    if (!f.buffer_count) {
        vmr_guest_error(&n->v.dev, "a frame is not in memory, or in too many pieces");
        return true;
    }
    if (n->pairs > 1) {
        uint8_t start[FRAME_START];
        size_t have = frame_start(&f, start, FRAME_START);
        n->flow_pair[flow_hash(start, have)] = (uint8_t)(c->queue / 2);
    }
    bool sent = vmr_net_send(&n->v.dev, n->net, &f);
    virtio_unmap(&n->v, buffers, f.buffer_count, 0);
    return sent;
}

static void transmit_all(VirtioNet *n, unsigned q)
{
    VirtioChain *c;
    if (n->paused || n->sending)
        return;
    n->sending = true;
    while ((c = virtio_pop(&n->v, q))) {
        if (!transmit(n, c)) {
            virtio_unpop(&n->v, c);
            break;
        }
        virtio_push(&n->v, c, 0);
    }
    n->sending = false;
    virtio_signal(&n->v, q);
}

static void net_writable(VmrDevice *dev)
{
    virtio_resume((VirtioDevice *)dev);
}

/* ---- control ---------------------------------------------------------- */

static void tell_offloads(VirtioNet *n)
{
    uint32_t wanted = 0;
    if (n->offloads & F_GUEST_CSUM) {
        wanted = VMR_NET_CHECKSUM;
        wanted |= n->offloads & F_GUEST_TSO4 ? VMR_NET_TCP4 : 0;
        wanted |= n->offloads & F_GUEST_TSO6 ? VMR_NET_TCP6 : 0;
        wanted |= n->offloads & F_GUEST_ECN ? VMR_NET_ECN : 0;
    }
    vmr_net_offloads(&n->v.dev, n->net, wanted);
}

static bool set_switch(VirtioNet *n, uint8_t command, uint8_t value)
{
    uint8_t *const switches[] = {
        [CTRL_RX_PROMISC] = &n->promisc, [CTRL_RX_ALLMULTI] = &n->allmulti,
        [CTRL_RX_ALLUNI] = &n->alluni,   [CTRL_RX_NOMULTI] = &n->nomulti,
        [CTRL_RX_NOUNI] = &n->nouni,     [CTRL_RX_NOBCAST] = &n->nobcast,
    };
    if (command >= G_N_ELEMENTS(switches) || value > 1 ||
        (command >= CTRL_RX_ALLUNI && !virtio_has(&n->v, F_CTRL_RX_EXTRA)))
        return false;
    *switches[command] = value;
    return true;
}

/* One of the two tables of a command, at *at: false if it is not all there. */
static bool read_table(VirtioNet *n, VirtioChain *c, uint64_t *at, uint8_t *table, uint32_t *count)
{
    uint8_t b[4];
    if (virtio_read(&n->v, c, *at, b, 4) != 4)
        return false;
    *count = virtio_get32(b);
    *at += 4;
    uint64_t length = (uint64_t)*count * ADDRESS;
    if (length > c->out_length - *at)
        return false;
    size_t kept = (size_t)MIN(length, (uint64_t)(ADDRESSES_MAX * ADDRESS));
    if (virtio_read(&n->v, c, *at, table, kept) != kept)
        return false;
    *at += length;
    return true;
}

static bool set_tables(VirtioNet *n, VirtioChain *c)
{
    uint8_t unicast[ADDRESSES_MAX * ADDRESS] = {0}, multicast[ADDRESSES_MAX * ADDRESS] = {0};
    uint32_t unicasts, multicasts;
    uint64_t at = 2;
    if (!read_table(n, c, &at, unicast, &unicasts) || !read_table(n, c, &at, multicast, &multicasts) ||
        at != c->out_length)
        return false;
    /* More than there is room for: then all of that kind. */
    n->alluni = unicasts > ADDRESSES_MAX;
    if (multicasts > ADDRESSES_MAX)
        n->allmulti = true;
    n->unicast_count = (uint8_t)MIN(unicasts, (uint32_t)ADDRESSES_MAX);
    n->multicast_count = (uint8_t)MIN(multicasts, (uint32_t)ADDRESSES_MAX);
    memcpy(n->unicast, unicast, sizeof(unicast));
    memcpy(n->multicast, multicast, sizeof(multicast));
    return true;
}

static bool set_vlan(VirtioNet *n, uint8_t command, uint16_t id)
{
    if (id >= VLANS || command > CTRL_VLAN_DEL)
        return false;
    if (command == CTRL_VLAN_ADD)
        n->vlans[id / 8] |= (uint8_t)(1u << id % 8);
    else
        n->vlans[id / 8] &= (uint8_t) ~(1u << id % 8);
    return true;
}

static bool set_pairs(VirtioNet *n, uint16_t pairs)
{
    if (!pairs || pairs > n->queues)
        return false;
    n->pairs = (uint8_t)pairs;
    /* Until the driver sends, flows are spread. */
    for (unsigned i = 0; i < FLOWS; i++)
        n->flow_pair[i] = (uint8_t)(i % pairs);
    return true;
}

static void set_status(VirtioNet *n)
{
    virtio_put16(n->v.config + STATUS,
                 (n->info.link ? S_LINK_UP : 0) | (n->announce ? S_ANNOUNCE : 0));
}

static bool command(VirtioNet *n, VirtioChain *c)
{
    uint8_t head[2], data[8];
    uint64_t length = c->out_length - 2;
    if (virtio_read(&n->v, c, 0, head, 2) != 2)
        return false;
    switch (head[0]) {
    case CTRL_RX:
        return virtio_has(&n->v, F_CTRL_RX) && length == 1 &&
               virtio_read(&n->v, c, 2, data, 1) == 1 && set_switch(n, head[1], data[0]);
    case CTRL_MAC:
        if (head[1] == CTRL_MAC_TABLE_SET)
            return virtio_has(&n->v, F_CTRL_RX) && set_tables(n, c);
        if (head[1] != CTRL_MAC_ADDR_SET || !virtio_has(&n->v, F_CTRL_MAC_ADDR) ||
            length != ADDRESS || virtio_read(&n->v, c, 2, data, ADDRESS) != ADDRESS)
            return false;
        memcpy(n->current_mac, data, ADDRESS);
        memcpy(n->v.config + MAC, data, ADDRESS);
        return true;
    case CTRL_VLAN:
        return virtio_has(&n->v, F_CTRL_VLAN) && length == 2 &&
               virtio_read(&n->v, c, 2, data, 2) == 2 &&
               set_vlan(n, head[1], virtio_get16(data));
    case CTRL_ANNOUNCE:
        if (!virtio_has(&n->v, F_GUEST_ANNOUNCE) || head[1] != CTRL_ANNOUNCE_ACK || length)
            return false;
        n->announce = false;
        set_status(n);
        return true;
    case CTRL_MQ:
        return virtio_has(&n->v, F_MQ) && head[1] == CTRL_MQ_VQ_PAIRS_SET && length == 2 &&
               virtio_read(&n->v, c, 2, data, 2) == 2 && set_pairs(n, virtio_get16(data));
    case CTRL_GUEST_OFFLOADS:
        if (!virtio_has(&n->v, F_CTRL_GUEST_OFFLOADS) || head[1] != 0 || length != 8 ||
            virtio_read(&n->v, c, 2, data, 8) != 8 ||
            (virtio_get64(data) & ~(n->v.features & GUEST_OFFLOADS)))
            return false;
        n->offloads = virtio_get64(data);
        tell_offloads(n);
        return true;
    default:
        return false;
    }
}

static void control(VirtioNet *n, unsigned q)
{
    VirtioChain *c;
    while ((c = virtio_pop(&n->v, q))) {
        if (c->out_length < 2 || c->in_length < 1) {
            virtio_broken(&n->v, "a control command without a head or an answer");
            virtio_drop(&n->v, c);
            return;
        }
        uint8_t answer = command(n, c) ? CTRL_OK : CTRL_ERR;
        virtio_write(&n->v, c, c->in_length - 1, &answer, 1);
        virtio_push(&n->v, c, (uint32_t)MIN(c->in_length, (uint64_t)UINT32_MAX));
    }
    virtio_signal(&n->v, q);
}

/* ---- configuration and life ------------------------------------------- */

static void net_notify(VirtioDevice *v, unsigned queue)
{
    VirtioNet *n = (VirtioNet *)v;
    if (n->paused || queue > control_queue(n))
        return;
    if (queue == control_queue(n))
        control(n, queue);
    else if (queue % 2 == tx_queue(0))
        transmit_all(n, queue);
    else
        vmr_net_accept(&v->dev, n->net);
}

static void net_link(VmrDevice *dev, bool up)
{
    VirtioNet *n = (VirtioNet *)dev;
    n->info.link = up;
    set_status(n);
    virtio_config_changed(&n->v);
}

static void fill_config(VirtioNet *n)
{
    memset(n->v.config, 0, CONFIG_SIZE);
    memcpy(n->v.config + MAC, n->current_mac, ADDRESS);
    set_status(n);
    virtio_put16(n->v.config + MAX_PAIRS, (uint16_t)n->queues);
    virtio_put16(n->v.config + MTU, (uint16_t)n->mtu);
}

static void net_reset(VirtioDevice *v)
{
    VirtioNet *n = (VirtioNet *)v;
    n->promisc = true; /* until the driver has said what it wants */
    n->allmulti = n->alluni = n->nomulti = n->nouni = n->nobcast = false;
    n->unicast_count = n->multicast_count = 0;
    memset(n->unicast, 0, sizeof(n->unicast));
    memset(n->multicast, 0, sizeof(n->multicast));
    memcpy(n->current_mac, n->mac, ADDRESS);
    memset(n->vlans, 0, sizeof(n->vlans));
    set_pairs(n, 1);
    n->announce = false;
    n->offloads = 0;
    tell_offloads(n);
    fill_config(n);
}

static void net_features_ok(VirtioDevice *v)
{
    VirtioNet *n = (VirtioNet *)v;
    n->offloads = v->features & GUEST_OFFLOADS;
    tell_offloads(n);
}

static const VirtioType net_type = {
    .id = 1,
    .pci_class = 0x020000, /* network, Ethernet */
    .config_size = CONFIG_SIZE,
    .queue_notify = net_notify,
    .reset = net_reset,
    .features_ok = net_features_ok,
};

static const VmrNetHandler net_handler = {
    .size = sizeof(VmrNetHandler),
    .receive = net_receive,
    .writable = net_writable,
    .link = net_link,
};

/* From the text, or one of the locally administered ones, always the same for a name. */
static bool choose_mac(VirtioNet *n, GError **error)
{
    const char *text = n->mac_text;
    if (!text) {
        uint32_t hash = g_str_hash(n->v.dev.name);
        const uint8_t made[ADDRESS] = {0x52, 0x54, 0, hash >> 16, hash >> 8, hash};
        memcpy(n->mac, made, ADDRESS);
        return true;
    }
    bool ok = strlen(text) == 3 * ADDRESS - 1;
    for (unsigned i = 0; ok && i < ADDRESS; i++) {
        ok = g_ascii_isxdigit(text[3 * i]) && g_ascii_isxdigit(text[3 * i + 1]) &&
             (i == ADDRESS - 1 || text[3 * i + 2] == ':');
        n->mac[i] = (uint8_t)(g_ascii_xdigit_value(text[3 * i]) << 4 |
                              g_ascii_xdigit_value(text[3 * i + 1]));
    }
    if (ok && !(n->mac[0] & 1))
        return true;
    g_set_error(error, g_quark_from_static_string("virtio"), 0,
                "mac: '%s': 52:54:00:12:34:56 or the like is wanted%s", text,
                ok ? "; this is a multicast address" : "");
    return false;
}

static uint64_t offered(const VirtioNet *n)
{
    uint64_t f = F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_RX_EXTRA |
                 F_CTRL_MAC_ADDR | F_CTRL_VLAN | F_GUEST_ANNOUNCE |
                 VIRTIO_F_IN_ORDER; /* no chain is held while a later one is given back */
    if (n->queues > 1)
        f |= F_MQ;
    if (n->mtu)
        f |= F_MTU;
    if (n->info.takes & VMR_NET_CHECKSUM) {
        f |= F_CSUM;
        f |= n->info.takes & VMR_NET_TCP4 ? F_HOST_TSO4 : 0;
        f |= n->info.takes & VMR_NET_TCP6 ? F_HOST_TSO6 : 0;
        f |= n->info.takes & VMR_NET_ECN ? F_HOST_ECN : 0;
    }
    if (n->info.gives & VMR_NET_CHECKSUM) {
        f |= F_GUEST_CSUM | F_CTRL_GUEST_OFFLOADS;
        f |= n->info.gives & VMR_NET_TCP4 ? F_GUEST_TSO4 : 0;
        f |= n->info.gives & VMR_NET_TCP6 ? F_GUEST_TSO6 : 0;
        f |= n->info.gives & VMR_NET_ECN ? F_GUEST_ECN : 0;
    }
    return f;
}

static bool net_realize(VmrDevice *dev, GError **error)
{
    VirtioNet *n = (VirtioNet *)dev;
    if (!choose_mac(n, error) ||
        !vmr_net_attach(dev, n->net, &net_handler, &n->info, error))
        return false;
    n->v.offered = offered(n);
    if (virtio_realize(&n->v, &net_type, 2 * n->queues + 1, error))
        return true;
    vmr_net_detach(dev, n->net);
    return false;
}

static void net_unrealize(VmrDevice *dev)
{
    vmr_net_detach(dev, ((VirtioNet *)dev)->net);
    virtio_unrealize((VirtioDevice *)dev);
}

static void net_device_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    virtio_device_reset((VirtioDevice *)dev, phase);
}

static void net_pause(VmrDevice *dev)
{
    ((VirtioNet *)dev)->paused = true;
}

static void net_resume(VmrDevice *dev)
{
    VirtioNet *n = (VirtioNet *)dev;
    n->paused = false;
    if (n->announce)
        virtio_config_changed(&n->v);
    virtio_resume(&n->v);
}

static bool net_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    VirtioNet *n = (VirtioNet *)dev;
    n->unicast_count = MIN(n->unicast_count, ADDRESSES_MAX);
    n->multicast_count = MIN(n->multicast_count, ADDRESSES_MAX);
    uint8_t pairs = n->pairs;
    if (!set_pairs(n, pairs))
        set_pairs(n, 1);
    if (!virtio_post_load(&n->v, error))
        return false;
    /* It may be elsewhere on the network now (5.1.6.5.4). */
    n->announce = virtio_has(&n->v, F_GUEST_ANNOUNCE);
    fill_config(n);
    n->offloads &= n->v.features & GUEST_OFFLOADS;
    tell_offloads(n);
    return true;
}

static void net_describe(VmrDevice *dev, VmrDescription *d)
{
    virtio_describe((VirtioDevice *)dev, d);
}

static const VmrProperty net_properties[] = {
    {.name = "net", .type = VMR_PROP_NET, .flags = VMR_PROP_REQUIRED,
     .offset = offsetof(VirtioNet, net), .doc = "the [net NAME] that the cable leads to"},
    {.name = "mac", .type = VMR_PROP_STRING, .offset = offsetof(VirtioNet, mac_text),
     .doc = "its address, as 52:54:00:12:34:56; made from the device's name if unset, so machines "
            "on the same network need one each"},
    {.name = "mtu", .type = VMR_PROP_U32, .offset = offsetof(VirtioNet, mtu), .default_text = "0",
     .max = 65535, .unit = "bytes",
     .doc = "what the driver is told of the largest packet; 0: nothing"},
    {.name = "queues", .type = VMR_PROP_U32, .offset = offsetof(VirtioNet, queues),
     .default_text = "1", .min = 1, .max = PAIRS_MAX,
     .doc = "pairs of a receive and a transmit queue; one for each CPU is best"},
    VIRTIO_PROPERTIES,
    {.name = NULL},
};

static const VmrRegion net_regions[] = {VIRTIO_REGIONS, {.name = NULL}};

static const VmrLine net_lines[] = {VIRTIO_LINES, {.name = NULL}};

static const VmrField net_fields[] = {
    VIRTIO_FIELDS,
    VMR_FIELD(U64, VirtioNet, offloads),
    VMR_FIELD(U8, VirtioNet, promisc),
    VMR_FIELD(U8, VirtioNet, allmulti),
    VMR_FIELD(U8, VirtioNet, alluni),
    VMR_FIELD(U8, VirtioNet, nomulti),
    VMR_FIELD(U8, VirtioNet, nouni),
    VMR_FIELD(U8, VirtioNet, nobcast),
    VMR_FIELD_N(U8, VirtioNet, current_mac, ADDRESS),
    VMR_FIELD(U8, VirtioNet, unicast_count),
    VMR_FIELD(U8, VirtioNet, multicast_count),
    VMR_FIELD_N(U8, VirtioNet, unicast, ADDRESSES_MAX * ADDRESS),
    VMR_FIELD_N(U8, VirtioNet, multicast, ADDRESSES_MAX * ADDRESS),
    {"pairs", VMR_FIELD_U8, 1, offsetof(VirtioNet, pairs), 2},
    {"vlans", VMR_FIELD_U8, VLANS / 8, offsetof(VirtioNet, vlans), 2},
    {.name = NULL},
};

static const VmrDeviceClass net_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 2,
    .id = "virtio-net",
    .summary = "virtio network card",
    .doc = "On PCI with bus = pci0, or memory-mapped with regs = ADDRESS and irq = LINE. Where its "
           "frames go is said by a [net NAME].",
    .instance_size = sizeof(VirtioNet),
    .properties = net_properties,
    .regions = net_regions,
    .lines = net_lines,
    .fields = net_fields,
    .realize = net_realize,
    .unrealize = net_unrealize,
    .reset = net_device_reset,
    .pause = net_pause,
    .resume = net_resume,
    .post_load = net_post_load,
    .describe = net_describe,
    .get_interface = virtio_get_interface,
};

VMR_PLUGIN_DEVICE("virtio-net", "1.0", &net_class);
