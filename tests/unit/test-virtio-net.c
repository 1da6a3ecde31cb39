/*
 * test-virtio-net - frames both ways, mergeable buffers, offloads, the control queue, and what a
 * hostile driver may write.
 */
#include "fakehost.h"

#include <string.h>

enum {
    SIZE = 16, /* of a queue */
    RING = 0x1000,
    PAGE = 0x1000,
    DATA = 0x20000,
    NEXT = 1,
    WRITE = 2,
    RX = 0,
    TX = 1,
    CONTROL = 2,
    HEADER = 12,
};

#define F_CSUM (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_HOST_TSO4 (1ull << 11)
#define F_MRG_RXBUF (1ull << 15)
#define F_CTRL (1ull << 17 | 1ull << 18 | 1ull << 20 | 1ull << 23)
#define F_VERSION_1 (1ull << 32)

typedef struct Card {
    FakeHost *h;
    VmrDevice *dev;
    uint16_t avail[3];
    unsigned next; /* descriptor */
} Card;

static void reg(Card *c, unsigned offset, uint32_t value)
{
    fake_write(c->dev, "regs", offset, value, 4);
}

static void put(Card *c, uint64_t at, uint64_t value, unsigned size)
{
    memcpy(fake_ram(c->h) + at, &value, size);
}

static uint32_t used(Card *c, unsigned q)
{
    uint16_t value;
    memcpy(&value, fake_ram(c->h) + RING + (3 * q + 2) * PAGE + 2, 2);
    return value;
}

static uint32_t used_length(Card *c, unsigned q, unsigned n)
{
    uint32_t value;
    memcpy(&value, fake_ram(c->h) + RING + (3 * q + 2) * PAGE + 4 + 8 * (n % SIZE) + 4, 4);
    return value;
}

static uint8_t status(Card *c)
{
    return (uint8_t)fake_read(c->dev, "regs", 0x70, 4);
}

static void start(Card *c, uint64_t features)
{
    memset(fake_ram(c->h) + RING, 0, 9 * PAGE);
    memset(c->avail, 0, sizeof(c->avail));
    reg(c, 0x70, 0);
    reg(c, 0x70, 3);
    for (unsigned half = 0; half < 2; half++) {
        reg(c, 0x24, half);
        reg(c, 0x20, (uint32_t)((features | F_VERSION_1) >> (32 * half)));
    }
    reg(c, 0x70, 0xb);
    g_assert_cmphex(status(c), ==, 0xb);
    for (unsigned q = 0; q < 3; q++) {
        reg(c, 0x30, q);
        reg(c, 0x38, SIZE);
        for (unsigned i = 0; i < 3; i++)
            reg(c, 0x80 + 0x10 * i, RING + (3 * q + i) * PAGE);
        reg(c, 0x44, 1);
    }
    reg(c, 0x70, 0xf);
}

static Card card(const char *net, uint64_t features)
{
    Card c = {.h = fake_host_new(1 << 20, 1)};
    char *text = g_strdup_printf("regs=0x10000000;event-idx=off;mac=52:54:00:00:00:01;net=%s", net);
    c.dev = fake_device_new(c.h, "virtio-net", "eth0", text);
    g_free(text);
    fake_reset(c.h, VMR_RESET_COLD);
    start(&c, features);
    return c;
}

/* Offer a chain of one or two segments, and tell.  length2: of a second one, that is written. */
static void offer(Card *c, unsigned q, uint64_t at, uint32_t length, uint64_t at2, uint32_t length2)
{
    unsigned n = c->avail[q] * 2 % SIZE;
    uint64_t d = RING + 3 * q * PAGE + 16 * n;
    put(c, d, at, 8);
    put(c, d + 8, length, 4);
    put(c, d + 12, (q == RX ? WRITE : 0) | (length2 ? NEXT : 0), 2);
    put(c, d + 14, n + 1, 2);
    put(c, d + 16, at2, 8);
    put(c, d + 24, length2, 4);
    put(c, d + 28, q == TX ? 0 : WRITE, 2);
    put(c, RING + (3 * q + 1) * PAGE + 4 + 2 * (c->avail[q] % SIZE), n, 2);
    put(c, RING + (3 * q + 1) * PAGE + 2, ++c->avail[q], 2);
    reg(c, 0x50, q);
}

static bool input(Card *c, const char *to, unsigned length, uint8_t flags, uint8_t segments)
{
    uint8_t bytes[4096];
    for (unsigned i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 7);
    memcpy(bytes, to, 6);
    VmrBuffer parts[] = {{bytes, 5}, {bytes + 5, length - 5}};
    VmrNetFrame f = {.buffers = parts, .buffer_count = 2, .flags = flags, .segments = segments,
                     .segment_size = segments ? 1448 : 0, .checksum_start = 34,
                     .checksum_offset = 16};
    return fake_net_input(c->dev, &f);
}

#define ME "\x52\x54\0\0\0\x01"
#define OTHER "\x52\x54\0\0\0\x02"
#define GROUP "\x33\x33\0\0\0\x01"
#define ALL "\xff\xff\xff\xff\xff\xff"

static void test_send(void)
{
    Card c = card("fake", 0);
    memset(fake_ram(c.h) + DATA, 0, HEADER);
    memset(fake_ram(c.h) + DATA + HEADER, 'x', 60);
    offer(&c, TX, DATA, HEADER, DATA + HEADER, 60);
    offer(&c, TX, DATA, HEADER + 60, 0, 0);
    g_assert_cmpuint(fake_net_sent(c.dev), ==, 2);
    g_assert_cmpuint(used(&c, TX), ==, 2);
    g_assert_cmpmem(fake_net_last(c.dev, NULL)->data, fake_net_last(c.dev, NULL)->len,
                    fake_ram(c.h) + DATA + HEADER, 60);
    /* No room: it stays in the ring, and is sent once. */
    fake_net_room(c.dev, false);
    offer(&c, TX, DATA, HEADER + 60, 0, 0);
    offer(&c, TX, DATA, HEADER + 61, 0, 0);
    g_assert_cmpuint(used(&c, TX), ==, 2);
    fake_net_room(c.dev, true);
    g_assert_cmpuint(used(&c, TX), ==, 4);
    g_assert_cmpuint(fake_net_sent(c.dev), ==, 4);
    g_assert_cmpuint(fake_net_last(c.dev, NULL)->len, ==, 61);
    g_assert_cmpuint(fake_guest_errors(c.dev), ==, 0);
    fake_host_free(c.h);
}

static void test_offloads(void)
{
    Card c = card("fake:offloads", F_CSUM | F_HOST_TSO4 | F_GUEST_CSUM);
    VmrNetFrame f;
    g_assert_cmphex(fake_net_offloads(c.dev), ==, VMR_NET_CHECKSUM);
    const uint8_t header[HEADER] = {1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0};
    memcpy(fake_ram(c.h) + DATA, header, HEADER);
    offer(&c, TX, DATA, HEADER + 3000, 0, 0);
    g_assert_cmpuint(fake_net_last(c.dev, &f)->len, ==, 3000);
    g_assert_cmphex(f.flags, ==, VMR_NET_NEEDS_CHECKSUM);
    g_assert_cmpuint(f.segments, ==, VMR_NET_SEGMENT_TCP4);
    g_assert_cmpuint(f.segment_size, ==, 1448);
    g_assert_cmpuint(f.checksum_start, ==, 34);
    g_assert_cmpuint(f.checksum_offset, ==, 16);
    /* What was not agreed on is dropped: TCP over IPv6, ECN, UDP. */
    for (unsigned i = 0; i < 3; i++) {
        put(&c, DATA + 1, ((const uint8_t[]){4, 0x81, 3})[i], 1);
        offer(&c, TX, DATA, HEADER + 3000, 0, 0);
        g_assert_cmpuint(fake_net_sent(c.dev), ==, 1);
        g_assert_cmpuint(fake_guest_errors(c.dev), ==, i + 1);
        g_assert_cmpuint(used(&c, TX), ==, i + 2);
    }
    offer(&c, RX, DATA + 0x1000, 2048, 0, 0);
    g_assert_true(input(&c, ME, 100, VMR_NET_NEEDS_CHECKSUM, 0));
    g_assert_cmpmem(fake_ram(c.h) + DATA + 0x1000, HEADER, "\1\0\0\0\0\0\x22\0\x10\0\1\0", HEADER);
    fake_host_free(c.h);
}

static void test_receive(void)
{
    Card c = card("fake", F_MRG_RXBUF);
    uint8_t *at = fake_ram(c.h) + DATA;
    g_assert_false(input(&c, ME, 100, 0, 0)); /* waits for a buffer */
    offer(&c, RX, DATA, 1024, 0, 0);
    g_assert_cmpuint(used(&c, RX), ==, 1);
    g_assert_cmpuint(used_length(&c, RX, 0), ==, HEADER + 100);
    g_assert_true(fake_irq_level(c.dev, "irq", 0));
    g_assert_cmpuint(at[10], ==, 1);
    g_assert_cmpmem(at + HEADER, 6, ME, 6);
    g_assert_cmpuint(at[HEADER + 99], ==, (uint8_t)(99 * 7));
    /* Spread over three, of which there are two at first: none is used before. */
    offer(&c, RX, DATA, 100, 0, 0);
    offer(&c, RX, DATA + 100, 60, DATA + 160, 40);
    g_assert_false(input(&c, ME, 250, 0, 0));
    g_assert_cmpuint(used(&c, RX), ==, 1);
    offer(&c, RX, DATA + 200, 100, 0, 0);
    g_assert_cmpuint(used(&c, RX), ==, 4);
    g_assert_cmpuint(at[10], ==, 3);
    g_assert_cmpuint(used_length(&c, RX, 1), ==, 100);
    g_assert_cmpuint(used_length(&c, RX, 2), ==, 100);
    g_assert_cmpuint(used_length(&c, RX, 3), ==, 62);
    for (unsigned i = 6; i < 250; i++)
        g_assert_cmpuint(at[HEADER + i], ==, (uint8_t)(i * 7));
    /* A pause holds frames back. */
    c.dev->klass->pause(c.dev);
    offer(&c, RX, DATA, 1024, 0, 0);
    g_assert_false(input(&c, ME, 100, 0, 0));
    c.dev->klass->resume(c.dev);
    g_assert_cmpuint(used(&c, RX), ==, 5);
    /* The cable */
    g_assert_cmpuint(fake_read(c.dev, "regs", 0x106, 2), ==, 1);
    fake_net_handler(c.dev)->link(c.dev, false);
    g_assert_cmpuint(fake_read(c.dev, "regs", 0x106, 2), ==, 0);
    g_assert_cmpuint(fake_guest_errors(c.dev), ==, 0);
    fake_host_free(c.h);
}

/* A control command: its answer. */
static uint8_t ask(Card *c, const void *data, uint32_t length)
{
    memcpy(fake_ram(c->h) + DATA + 0x8000, data, length);
    put(c, DATA + 0x9000, 0xee, 1);
    offer(c, CONTROL, DATA + 0x8000, length, DATA + 0x9000, 1);
    return fake_ram(c->h)[DATA + 0x9000];
}

static bool passes(Card *c, const char *to)
{
    unsigned before = used(c, RX);
    g_assert_true(input(c, to, 100, 0, 0));
    if (used(c, RX) == before)
        return false;
    offer(c, RX, DATA, 1024, 0, 0);
    return true;
}

static void test_control(void)
{
    Card c = card("fake", F_CTRL);
    offer(&c, RX, DATA, 1024, 0, 0);
    g_assert_true(passes(&c, OTHER)); /* before the driver has said anything */
    g_assert_cmpuint(ask(&c, "\0\0\0", 3), ==, 0);
    g_assert_false(passes(&c, OTHER));
    g_assert_false(passes(&c, GROUP));
    g_assert_true(passes(&c, ME));
    g_assert_true(passes(&c, ALL));
    g_assert_cmpuint(ask(&c, "\1\0\1\0\0\0" OTHER "\1\0\0\0" GROUP, 22), ==, 0);
    g_assert_true(passes(&c, OTHER));
    g_assert_true(passes(&c, GROUP));
    g_assert_cmpuint(ask(&c, "\1\0\0\0\0\0\0\0\0\0", 10), ==, 0);
    g_assert_false(passes(&c, OTHER));
    g_assert_cmpuint(ask(&c, "\1\1" OTHER, 8), ==, 0);
    g_assert_true(passes(&c, OTHER));
    g_assert_false(passes(&c, ME));
    g_assert_cmpuint(ask(&c, "\0\5\1", 3), ==, 0); /* no broadcasts */
    g_assert_false(passes(&c, ALL));
    /* What is wrong is refused. */
    g_assert_cmpuint(ask(&c, "\0\6\1", 3), ==, 1);
    g_assert_cmpuint(ask(&c, "\0\0\2", 3), ==, 1);
    g_assert_cmpuint(ask(&c, "\1\0\xff\xff\xff\xff\0\0", 8), ==, 1);
    g_assert_cmpuint(ask(&c, "\1\1\0", 3), ==, 1);
    g_assert_cmpuint(ask(&c, "\4\0\1\0", 4), ==, 1);
    VmrDevice *to = fake_device_new(c.h, "virtio-net", "eth1",
                                    "regs=0x10001000;event-idx=off;mac=52:54:00:00:00:01;net=fake");
    fake_save_load(c.dev, to);
    fake_host_free(c.h);
}

static void test_hostile(void)
{
    Card c = card("fake", F_MRG_RXBUF | F_CTRL);
    /* Too short, too long, and not in memory: dropped, the buffers come back. */
    offer(&c, TX, DATA, HEADER - 1, 0, 0);
    offer(&c, TX, DATA, HEADER, DATA, 0xffffffff);
    offer(&c, TX, DATA, HEADER, 1ull << 40, 100);
    offer(&c, TX, DATA, HEADER, 0, 0);
    g_assert_cmpuint(fake_net_sent(c.dev), ==, 0);
    g_assert_cmpuint(used(&c, TX), ==, 4);
    /* Receive buffers that hold no header break it, as does a command without an answer. */
    offer(&c, RX, DATA, HEADER - 1, 0, 0);
    input(&c, ME, 100, 0, 0);
    g_assert_cmphex(status(&c) & 0x40, ==, 0x40);
    start(&c, F_MRG_RXBUF | F_CTRL);
    offer(&c, CONTROL, DATA, 2, 0, 0);
    g_assert_cmphex(status(&c) & 0x40, ==, 0x40);
    start(&c, F_MRG_RXBUF);
    offer(&c, RX, 1ull << 40, 4096, 0, 0);
    input(&c, ME, 100, 0, 0);
    g_assert_cmphex(status(&c) & 0x40, ==, 0x40);
    start(&c, 0);
    offer(&c, RX, DATA, 64, 0, 0); /* one buffer is all that a frame gets */
    input(&c, ME, 100, 0, 0);
    g_assert_cmphex(status(&c) & 0x40, ==, 0x40);
    /* Anything in the rings and the buffers. */
    for (unsigned round = 0; round < 2000; round++) {
        if (round % 50 == 0)
            start(&c, round % 100 ? F_MRG_RXBUF | F_CTRL : F_CTRL);
        for (unsigned i = 0; i < 8; i++)
            put(&c, RING + fake_random(c.h, 9 * PAGE - 8), fake_random(c.h, 0), 1 + i % 4);
        offer(&c, round % 3, DATA + fake_random(c.h, 4096), fake_random(c.h, 3000),
              DATA + fake_random(c.h, 4096), fake_random(c.h, 3000));
        input(&c, ME, 60 + fake_random(c.h, 1500), 0, 0);
    }
    fake_host_free(c.h);
}

static void test_refused(void)
{
    static const char *const bad[] = {"52:54:00:00:00", "52-54-00-00-00-01", "53:54:00:00:00:01"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        FakeHost *h = fake_host_new(1 << 16, 1);
        GError *error = NULL;
        char *text = g_strdup_printf("regs=0x10000000;net=fake;mac=%s", bad[i]);
        g_assert_null(fake_device_try(h, "virtio-net", "eth0", text, &error));
        g_assert_nonnull(strstr(error->message, bad[i]));
        g_clear_error(&error);
        g_free(text);
        fake_host_free(h);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-net/send", test_send);
    g_test_add_func("/virtio-net/offloads", test_offloads);
    g_test_add_func("/virtio-net/receive", test_receive);
    g_test_add_func("/virtio-net/control", test_control);
    g_test_add_func("/virtio-net/hostile", test_hostile);
    g_test_add_func("/virtio-net/refused", test_refused);
    return g_test_run();
}
