/*
 * test-net - TCP segments that become one frame: which ones, and that nothing is lost on the way.
 */
#include "core/net.h"

#include <string.h>

enum { HEADER = 14 + 20 + 20, MSS = 1460, STREAM = 200000 };

typedef struct Got {
    VmrNetFrame frame;
    size_t length;
    uint8_t bytes[VMR_NET_FRAME_MAX];
} Got;

static GPtrArray *got; /* Got: what the device was given */
static bool has_room;

static bool take(VmrDevice *dev, const VmrNetFrame *frame)
{
    if (!has_room)
        return false;
    Got *g = g_new(Got, 1);
    g->frame = *frame;
    g->length = vmr_net_length(frame);
    vmr_net_flatten(frame, g->bytes);
    g_ptr_array_add(got, g);
    return true;
}

static const VmrNetHandler handler = {.size = sizeof(handler), .receive = take};

static const Got *frame(unsigned i)
{
    g_assert_cmpuint(i, <, got->len);
    return got->pdata[i];
}

static VmrNet *net_new(uint32_t wanted)
{
    VmrNet *n = g_new0(VmrNet, 1);
    n->link = true;
    n->gives = VMR_NET_CHECKSUM | VMR_NET_TCP4;
    n->wanted = wanted;
    n->handler = &handler;
    g_queue_init(&n->waiting);
    got = g_ptr_array_new_with_free_func(g_free);
    has_room = true;
    return n;
}

static void net_free(VmrNet *n)
{
    g_queue_clear_full(&n->waiting, g_free);
    g_free(n);
    g_ptr_array_unref(got);
}

static void put16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static unsigned sum(const uint8_t *p, size_t length)
{
    unsigned all = 0;
    for (size_t i = 0; i < length; i++)
        all += i & 1 ? p[i] : (unsigned)p[i] << 8;
    while (all >> 16)
        all = (all & 0xffff) + (all >> 16);
    return all;
}

static uint8_t byte_at(uint32_t at)
{
    return (uint8_t)(at * 7 + (at >> 8));
}

/* A segment of the stream, with the number `at` of its first byte. */
static size_t segment(uint8_t *f, uint32_t at, size_t length, uint8_t flags)
{
    static const uint8_t start[HEADER] = {
        0x52, 0x54, 0, 1, 2, 3, 0x52, 0x55, 10, 0, 2, 2, 0x08, 0x00,               /* Ethernet */
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15,         /* IPv4 */
        0x12, 0x34, 0, 80, 0, 0, 0, 0, 1, 2, 3, 4, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0 /* TCP */
    };
    memcpy(f, start, HEADER);
    put16(f + 16, (unsigned)(40 + length));
    put16(f + 18, at / MSS); /* the identification goes on counting */
    put16(f + 24, ~sum(f + 14, 20) & 0xffff);
    put16(f + 38, at >> 16);
    put16(f + 40, at & 0xffff);
    f[47] = flags;
    for (size_t i = 0; i < length; i++)
        f[HEADER + i] = byte_at(at + (uint32_t)i);
    return HEADER + length;
}

static void send_segment(VmrNetMerge *m, uint32_t at, size_t length, uint8_t flags)
{
    uint8_t f[HEADER + MSS];
    vmr_net_merge(m, f, segment(f, at, length, flags));
}

/* Frame i is whole: that part of the stream, and its sums are right. */
static void check_frame(unsigned i, uint32_t at, size_t length, unsigned segments)
{
    const Got *g = frame(i);
    g_assert_cmpuint(g->length, ==, HEADER + length);
    g_assert_cmpuint(get16(g->bytes + 16), ==, 40 + length);
    g_assert_cmphex(sum(g->bytes + 14, 20), ==, 0xffff);
    g_assert_cmpuint((uint32_t)get16(g->bytes + 38) << 16 | get16(g->bytes + 40), ==, at);
    for (size_t k = 0; k < length; k++)
        if (g->bytes[HEADER + k] != byte_at(at + (uint32_t)k))
            g_error("frame %u: byte %zu is 0x%02x", i, k, g->bytes[HEADER + k]);
    if (segments == 1) {
        g_assert_cmpuint(g->frame.segments, ==, VMR_NET_WHOLE);
        g_assert_cmphex(g->frame.flags, ==, VMR_NET_CHECKED);
        return;
    }
    g_assert_cmpuint(g->frame.segments, ==, VMR_NET_SEGMENT_TCP4);
    g_assert_cmphex(g->frame.flags, ==, VMR_NET_NEEDS_CHECKSUM);
    g_assert_cmpuint((length + g->frame.segment_size - 1) / g->frame.segment_size, ==, segments);
    g_assert_cmpuint(g->frame.header_length, ==, HEADER);
    g_assert_cmpuint(g->frame.checksum_start, ==, 34);
    g_assert_cmpuint(g->frame.checksum_offset, ==, 16);
    /* Of the pseudo header: addresses, protocol, length. */
    uint8_t pseudo[12] = {10, 0, 2, 2, 10, 0, 2, 15, 0, 6};
    put16(pseudo + 10, (unsigned)(20 + length));
    g_assert_cmphex(get16(g->bytes + 50), ==, sum(pseudo, sizeof(pseudo)));
}

static void test_stream(void)
{
    /* It wraps at 2^32. */
    const uint32_t from = UINT32_MAX - STREAM / 2;
    VmrNet *n = net_new(VMR_NET_CHECKSUM | VMR_NET_TCP4);
    VmrNetMerge *m = vmr_net_merge_new(n);
    unsigned sent = 0;
    for (uint32_t at = 0; at < STREAM; sent++) {
        size_t length = MIN(MSS, STREAM - at);
        send_segment(m, from + at, length, 0x10);
        at += (uint32_t)length;
    }
    vmr_net_merge_end(m);
    uint32_t at = 0;
    for (unsigned i = 0; i < got->len; i++) {
        size_t length = frame(i)->length - HEADER, full = (65535 - HEADER) / MSS * MSS;
        check_frame(i, from + at, length, (unsigned)((length + MSS - 1) / MSS));
        g_assert_cmpuint(length, ==, MIN(full, STREAM - at));
        at += (uint32_t)length;
    }
    g_assert_cmpuint(at, ==, STREAM);
    g_assert_cmpuint(got->len, ==, 4);
    g_assert_cmpuint(sent, >, got->len);
    vmr_net_merge_end(m); /* nothing is held */
    g_assert_cmpuint(got->len, ==, 4);
    g_free(m);
    net_free(n);
}

static void test_ends(void)
{
    VmrNet *n = net_new(VMR_NET_CHECKSUM | VMR_NET_TCP4);
    VmrNetMerge *m = vmr_net_merge_new(n);
    send_segment(m, 0, 100, 0x10);
    send_segment(m, 100, 100, 0x18); /* pushed: goes at once */
    check_frame(0, 0, 200, 2);
    g_assert_cmphex(frame(0)->bytes[47], ==, 0x18);
    send_segment(m, 200, 100, 0x10);
    send_segment(m, 300, 60, 0x10); /* short: nothing may follow it */
    check_frame(1, 200, 160, 2);
    send_segment(m, 360, 50, 0x10);
    send_segment(m, 410, 51, 0x10); /* longer than the first */
    check_frame(2, 360, 50, 1);
    vmr_net_merge_end(m);
    check_frame(3, 410, 51, 1);
    send_segment(m, 500, 50, 0x18); /* one alone does not wait */
    check_frame(4, 500, 50, 1);
    g_assert_cmpuint(got->len, ==, 5);
    g_free(m);
    net_free(n);
}

/* After a segment that is held comes one that goes on, but differs in one byte: both come as
   they were, and in order. */
static void test_different(void)
{
    static const struct {
        unsigned at;
        uint8_t value;
    } changes[] = {
        {5, 9},     {11, 9},    {12, 0x86}, {14, 0x46}, {15, 1},    {17, 39},  {20, 0x20}, {21, 1},
        {22, 63},   {23, 17},   {29, 3},    {33, 16},   {35, 0x35}, {37, 81},  {41, 101},  {41, 99},
        {45, 5},    {46, 0x40}, {46, 0xf0}, {46, 0x60}, {47, 0x11}, {47, 0x12}, {47, 0x14}, {47, 0x30},
        {47, 0x50}, {47, 0x90}, {47, 0x00}, {49, 1},    {53, 1},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(changes); i++) {
        uint8_t first[HEADER + MSS], second[HEADER + MSS];
        VmrNet *n = net_new(VMR_NET_CHECKSUM | VMR_NET_TCP4);
        VmrNetMerge *m = vmr_net_merge_new(n);
        size_t a = segment(first, 0, 100, 0x10), b = segment(second, 100, 100, 0x10);
        second[changes[i].at] = changes[i].value;
        vmr_net_merge(m, first, a);
        vmr_net_merge(m, second, b);
        vmr_net_merge_end(m);
        if (got->len != 2)
            g_error("byte %u as 0x%02x: %u frames", changes[i].at, changes[i].value, got->len);
        check_frame(0, 0, 100, 1);
        g_assert_cmpmem(frame(1)->bytes, frame(1)->length, second, b);
        g_assert_cmpuint(frame(1)->frame.segments, ==, VMR_NET_WHOLE);
        g_free(m);
        net_free(n);
    }
}

/* A frame of any length that ends anywhere is passed on as it is. */
static void test_short(void)
{
    uint8_t f[HEADER + MSS];
    VmrNet *n = net_new(VMR_NET_CHECKSUM | VMR_NET_TCP4);
    VmrNetMerge *m = vmr_net_merge_new(n);
    segment(f, 0, 100, 0x10);
    for (size_t length = 14; length < HEADER + 100; length++) {
        vmr_net_merge(m, f, length);
        g_assert_cmpuint(got->len, ==, length - 13);
        g_assert_cmpmem(frame(got->len - 1)->bytes, frame(got->len - 1)->length, f, length);
    }
    g_free(m);
    net_free(n);
}

/* What the device does not take is not made; what it has no room for waits. */
static void test_device(void)
{
    VmrNet *n = net_new(VMR_NET_CHECKSUM);
    VmrNetMerge *m = vmr_net_merge_new(n);
    send_segment(m, 0, 100, 0x10);
    send_segment(m, 100, 100, 0x10);
    check_frame(0, 0, 100, 1);
    check_frame(1, 100, 100, 1);
    n->wanted |= VMR_NET_TCP4;
    has_room = false;
    send_segment(m, 200, 100, 0x10);
    send_segment(m, 300, 100, 0x10);
    vmr_net_merge_end(m);
    g_assert_cmpuint(got->len, ==, 2);
    g_assert_true(vmr_net_waits(n));
    g_assert_cmpuint(n->dropped, ==, 0);
    g_free(m);
    net_free(n);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net/merge/stream", test_stream);
    g_test_add_func("/net/merge/ends", test_ends);
    g_test_add_func("/net/merge/different", test_different);
    g_test_add_func("/net/merge/short", test_short);
    g_test_add_func("/net/merge/device", test_device);
    return g_test_run();
}
