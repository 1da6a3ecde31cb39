/*
 * test-virtio-net - frames both ways, mergeable buffers, offloads, the control queue, and what a
 * hostile driver may write.
 */
#include "virtiofixture.h"

enum {
    DATA = 0x20000,
    RX = 0,
    TX = 1,
    CONTROL = 2,
    QUEUES = 5, /* with two pairs */
    HEADER = 12,
};

#define F_CSUM (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_HOST_TSO4 (1ull << 11)
#define F_MRG_RXBUF (1ull << 15)
#define F_VLAN (1ull << 19)
#define F_ANNOUNCE (1ull << 21)
#define F_MQ (1ull << 22)
#define F_IN_ORDER (1ull << 35)
#define F_CTRL (1ull << 17 | 1ull << 18 | 1ull << 20 | 1ull << 23)

typedef struct Card {
    Driver d;
    unsigned control; /* queue */
} Card;

static uint32_t used_length(Driver *d, unsigned q, unsigned n)
{
    uint32_t value;
    memcpy(&value, fake_ram(d->h) + RING + (3 * q + 2) * PAGE + 4 + 8 * (n % SIZE) + 4, 4);
    return value;
}

static void begin(Card *c, uint64_t features)
{
    c->control = features & F_MQ ? QUEUES - 1 : CONTROL;
    start(&c->d, features, features & F_MQ ? QUEUES : 3);
}

static Card card(const char *net, uint64_t features)
{
    char *text = g_strdup_printf("event-idx=off;mac=52:54:00:00:00:01;net=%s", net);
    Card c = {.d = driver("virtio-net", text)};
    g_free(text);
    begin(&c, features);
    return c;
}

/* Offer a chain of one or two segments, and tell.  length2: of a second one, that is written. */
static void offer(Card *c, unsigned q, uint64_t at, uint32_t length, uint64_t at2, uint32_t length2)
{
    unsigned n = c->d.avail[q] * 2 % SIZE;
    bool control = q == c->control, receive = !control && q % 2 == RX;
    describe(&c->d, q, n, at, length, (receive ? WRITE : 0) | (length2 ? NEXT : 0), n + 1);
    describe(&c->d, q, n + 1, at2, length2, receive || control ? WRITE : 0, 0);
    make_available(&c->d, q, n);
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
    return fake_net_input(c->d.dev, &f);
}

#define ME "\x52\x54\0\0\0\x01"
#define OTHER "\x52\x54\0\0\0\x02"
#define GROUP "\x33\x33\0\0\0\x01"
#define ALL "\xff\xff\xff\xff\xff\xff"

static void test_send(void)
{
    Card c = card("fake", 0);
    memset(fake_ram(c.d.h) + DATA, 0, HEADER);
    memset(fake_ram(c.d.h) + DATA + HEADER, 'x', 60);
    offer(&c, TX, DATA, HEADER, DATA + HEADER, 60);
    offer(&c, TX, DATA, HEADER + 60, 0, 0);
    g_assert_cmpuint(fake_net_sent(c.d.dev), ==, 2);
    g_assert_cmpuint(used(&c.d, TX), ==, 2);
    g_assert_cmpmem(fake_net_last(c.d.dev, NULL)->data, fake_net_last(c.d.dev, NULL)->len,
                    fake_ram(c.d.h) + DATA + HEADER, 60);
    /* No room: it stays in the ring, and is sent once. */
    fake_net_room(c.d.dev, false);
    offer(&c, TX, DATA, HEADER + 60, 0, 0);
    offer(&c, TX, DATA, HEADER + 61, 0, 0);
    g_assert_cmpuint(used(&c.d, TX), ==, 2);
    fake_net_room(c.d.dev, true);
    g_assert_cmpuint(used(&c.d, TX), ==, 4);
    g_assert_cmpuint(fake_net_sent(c.d.dev), ==, 4);
    g_assert_cmpuint(fake_net_last(c.d.dev, NULL)->len, ==, 61);
    g_assert_cmpuint(fake_guest_errors(c.d.dev), ==, 0);
    fake_host_free(c.d.h);
}

static void test_offloads(void)
{
    Card c = card("fake:offloads", F_CSUM | F_HOST_TSO4 | F_GUEST_CSUM);
    VmrNetFrame f;
    g_assert_cmphex(fake_net_offloads(c.d.dev), ==, VMR_NET_CHECKSUM);
    const uint8_t header[HEADER] = {1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0};
    memcpy(fake_ram(c.d.h) + DATA, header, HEADER);
    offer(&c, TX, DATA, HEADER + 3000, 0, 0);
    g_assert_cmpuint(fake_net_last(c.d.dev, &f)->len, ==, 3000);
    g_assert_cmphex(f.flags, ==, VMR_NET_NEEDS_CHECKSUM);
    g_assert_cmpuint(f.segments, ==, VMR_NET_SEGMENT_TCP4);
    g_assert_cmpuint(f.segment_size, ==, 1448);
    g_assert_cmpuint(f.checksum_start, ==, 34);
    g_assert_cmpuint(f.checksum_offset, ==, 16);
    /* What was not agreed on is dropped: TCP over IPv6, ECN, UDP. */
    for (unsigned i = 0; i < 3; i++) {
        put(&c.d, DATA + 1, ((const uint8_t[]){4, 0x81, 3})[i], 1);
        offer(&c, TX, DATA, HEADER + 3000, 0, 0);
        g_assert_cmpuint(fake_net_sent(c.d.dev), ==, 1);
        g_assert_cmpuint(fake_guest_errors(c.d.dev), ==, i + 1);
        g_assert_cmpuint(used(&c.d, TX), ==, i + 2);
    }
    offer(&c, RX, DATA + 0x1000, 2048, 0, 0);
    g_assert_true(input(&c, ME, 100, VMR_NET_NEEDS_CHECKSUM, 0));
    g_assert_cmpmem(fake_ram(c.d.h) + DATA + 0x1000, HEADER, "\1\0\0\0\0\0\x22\0\x10\0\1\0", HEADER);
    fake_host_free(c.d.h);
}

static void test_receive(void)
{
    Card c = card("fake", F_MRG_RXBUF);
    uint8_t *at = fake_ram(c.d.h) + DATA;
    g_assert_false(input(&c, ME, 100, 0, 0)); /* waits for a buffer */
    offer(&c, RX, DATA, 1024, 0, 0);
    g_assert_cmpuint(used(&c.d, RX), ==, 1);
    g_assert_cmpuint(used_length(&c.d, RX, 0), ==, HEADER + 100);
    g_assert_true(fake_irq_level(c.d.dev, "irq", 0));
    g_assert_cmpuint(at[10], ==, 1);
    g_assert_cmpmem(at + HEADER, 6, ME, 6);
    g_assert_cmpuint(at[HEADER + 99], ==, (uint8_t)(99 * 7));
    /* Spread over three, of which there are two at first: none is used before. */
    offer(&c, RX, DATA, 100, 0, 0);
    offer(&c, RX, DATA + 100, 60, DATA + 160, 40);
    g_assert_false(input(&c, ME, 250, 0, 0));
    g_assert_cmpuint(used(&c.d, RX), ==, 1);
    offer(&c, RX, DATA + 200, 100, 0, 0);
    g_assert_cmpuint(used(&c.d, RX), ==, 4);
    g_assert_cmpuint(at[10], ==, 3);
    g_assert_cmpuint(used_length(&c.d, RX, 1), ==, 100);
    g_assert_cmpuint(used_length(&c.d, RX, 2), ==, 100);
    g_assert_cmpuint(used_length(&c.d, RX, 3), ==, 62);
    for (unsigned i = 6; i < 250; i++)
        g_assert_cmpuint(at[HEADER + i], ==, (uint8_t)(i * 7));
    /* A pause holds frames back. */
    c.d.dev->klass->pause(c.d.dev);
    offer(&c, RX, DATA, 1024, 0, 0);
    g_assert_false(input(&c, ME, 100, 0, 0));
    c.d.dev->klass->resume(c.d.dev);
    g_assert_cmpuint(used(&c.d, RX), ==, 5);
    /* The cable */
    g_assert_cmpuint(fake_read(c.d.dev, "regs", 0x106, 2), ==, 1);
    fake_net_handler(c.d.dev)->link(c.d.dev, false);
    g_assert_cmpuint(fake_read(c.d.dev, "regs", 0x106, 2), ==, 0);
    g_assert_cmpuint(fake_guest_errors(c.d.dev), ==, 0);
    fake_host_free(c.d.h);
}

/* A control command: its answer. */
static uint8_t ask(Card *c, const void *data, uint32_t length)
{
    memcpy(fake_ram(c->d.h) + DATA + 0x8000, data, length);
    put(&c->d, DATA + 0x9000, 0xee, 1);
    offer(c, c->control, DATA + 0x8000, length, DATA + 0x9000, 1);
    return fake_ram(c->d.h)[DATA + 0x9000];
}

static bool passes(Card *c, const char *to)
{
    unsigned before = used(&c->d, RX);
    g_assert_true(input(c, to, 100, 0, 0));
    if (used(&c->d, RX) == before)
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
    VmrDevice *to = fake_device_new(c.d.h, "virtio-net", "eth1",
                                    "regs=0x10001000;event-idx=off;mac=52:54:00:00:00:01;net=fake");
    fake_save_load(c.d.dev, to);
    fake_host_free(c.d.h);
}

/* A frame of TCP over IPv4 between two ports, back to front with `back`. */
static void tcp_frame(uint8_t *f, unsigned port, bool back)
{
    memset(f, 0, 60);
    memcpy(f, ME, 6);
    f[12] = 8; /* IPv4 */
    f[14] = 0x45;
    f[23] = 6; /* TCP */
    f[26 + (back ? 7 : 3)] = 15;
    f[26 + (back ? 3 : 7)] = 2;
    f[34 + (back ? 3 : 1)] = (uint8_t)port;
    f[34 + (back ? 1 : 3)] = 80;
}

static bool input_bytes(Card *c, uint8_t *bytes, unsigned length)
{
    VmrBuffer part = {bytes, length};
    VmrNetFrame f = {.buffers = &part, .buffer_count = 1};
    return fake_net_input(c->d.dev, &f);
}

static void test_pairs(void)
{
    Card c = card("fake;queues=2", F_CTRL | F_MQ | F_IN_ORDER);
    uint8_t frame[60];
    g_assert_cmpuint(fake_read(c.d.dev, "regs", 0x108, 2), ==, 2);
    for (unsigned q = 0; q < 4; q += 2)
        for (unsigned i = 0; i < 8; i++)
            offer(&c, q, DATA + 0x1000 * q + 0x100 * i, 0x100, 0, 0);
    /* One pair until the driver says otherwise. */
    for (unsigned port = 1; port <= 4; port++) {
        tcp_frame(frame, port, true);
        g_assert_true(input_bytes(&c, frame, sizeof(frame)));
    }
    g_assert_cmpuint(used(&c.d, 0), ==, 4);
    g_assert_cmpuint(used(&c.d, 2), ==, 0);
    g_assert_cmpuint(ask(&c, "\4\0\0\0", 4), ==, 1);
    g_assert_cmpuint(ask(&c, "\4\0\3\0", 4), ==, 1);
    g_assert_cmpuint(ask(&c, "\4\1\2\0", 4), ==, 1);
    g_assert_cmpuint(ask(&c, "\4\0\2\0", 4), ==, 0);
    /* A flow comes in on the pair that it went out on, and follows it. */
    for (unsigned i = 0; i < 2; i++) {
        unsigned tx = i ? 1 : 3, rx = tx - 1, before = used(&c.d, rx);
        memset(fake_ram(c.d.h) + DATA + 0x6000, 0, HEADER);
        tcp_frame(fake_ram(c.d.h) + DATA + 0x6000 + HEADER, 7, false);
        offer(&c, tx, DATA + 0x6000, HEADER + 60, 0, 0);
        g_assert_cmpuint(used(&c.d, tx), ==, 1);
        tcp_frame(frame, 7, true);
        g_assert_true(input_bytes(&c, frame, sizeof(frame)));
        g_assert_cmpuint(used(&c.d, rx), ==, before + 1);
    }
    g_assert_cmpuint(fake_net_sent(c.d.dev), ==, 2);
    /* Back to one: the other pair is at rest. */
    g_assert_cmpuint(ask(&c, "\4\0\1\0", 4), ==, 0);
    unsigned before = used(&c.d, 2);
    for (unsigned port = 1; port <= 3; port++) {
        tcp_frame(frame, port, true);
        g_assert_true(input_bytes(&c, frame, sizeof(frame)));
    }
    g_assert_cmpuint(used(&c.d, 2), ==, before);
    g_assert_cmpuint(fake_guest_errors(c.d.dev), ==, 0);
    fake_host_free(c.d.h);
    /* Not agreed on: queue 2 is the control queue, and there is nothing to set. */
    c = card("fake;queues=2", F_CTRL);
    g_assert_cmpuint(ask(&c, "\0\0\0", 3), ==, 0);
    g_assert_cmpuint(ask(&c, "\4\0\2\0", 4), ==, 1);
    fake_host_free(c.d.h);
}

static void test_vlan(void)
{
    Card c = card("fake", F_CTRL | F_VLAN);
    uint8_t frame[60] = {0x52, 0x54, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x81, 0, 0x60, 5, 8, 0};
    for (unsigned i = 0; i < 4; i++)
        offer(&c, RX, DATA, 1024, 0, 0);
    g_assert_cmpuint(ask(&c, "\0\0\0", 3), ==, 0);
    g_assert_true(input_bytes(&c, frame, sizeof(frame)));
    g_assert_cmpuint(used(&c.d, RX), ==, 0); /* not in the table */
    g_assert_cmpuint(ask(&c, "\2\0\5\0", 4), ==, 0);
    g_assert_true(input_bytes(&c, frame, sizeof(frame))); /* whatever its priority */
    g_assert_cmpuint(used(&c.d, RX), ==, 1);
    g_assert_cmpuint(ask(&c, "\2\1\5\0", 4), ==, 0);
    g_assert_true(input_bytes(&c, frame, sizeof(frame)));
    g_assert_cmpuint(used(&c.d, RX), ==, 1);
    g_assert_cmpuint(ask(&c, "\2\0\0\x10", 4), ==, 1);
    g_assert_cmpuint(ask(&c, "\2\2\5\0", 4), ==, 1);
    g_assert_cmpuint(ask(&c, "\2\0\5", 3), ==, 1);
    g_assert_cmpuint(ask(&c, "\0\0\1", 3), ==, 0); /* promiscuous: all */
    g_assert_true(input_bytes(&c, frame, sizeof(frame)));
    g_assert_cmpuint(used(&c.d, RX), ==, 2);
    fake_host_free(c.d.h);
}

/* Restored, maybe elsewhere: the driver is asked to announce itself, until it says that it has. */
static void test_announce(void)
{
    Card c = card("fake", F_CTRL | F_ANNOUNCE);
    g_assert_cmphex(fake_read(c.d.dev, "regs", 0x106, 2), ==, 1);
    g_assert_true(fake_post_load(c.d.dev, NULL));
    g_assert_cmphex(fake_read(c.d.dev, "regs", 0x106, 2), ==, 3);
    reg(&c.d, 0x64, 3);
    c.d.dev->klass->resume(c.d.dev);
    g_assert_cmphex(fake_read(c.d.dev, "regs", 0x60, 4) & 2, ==, 2);
    g_assert_cmpuint(ask(&c, "\3\1", 2), ==, 1);
    g_assert_cmphex(fake_read(c.d.dev, "regs", 0x106, 2), ==, 3);
    g_assert_cmpuint(ask(&c, "\3\0", 2), ==, 0);
    g_assert_cmphex(fake_read(c.d.dev, "regs", 0x106, 2), ==, 1);
    fake_host_free(c.d.h);
}

static void test_hostile(void)
{
    Card c = card("fake", F_MRG_RXBUF | F_CTRL);
    /* Too short, too long, and not in memory: dropped, the buffers come back. */
    offer(&c, TX, DATA, HEADER - 1, 0, 0);
    offer(&c, TX, DATA, HEADER, DATA, 0xffffffff);
    offer(&c, TX, DATA, HEADER, 1ull << 40, 100);
    offer(&c, TX, DATA, HEADER, 0, 0);
    g_assert_cmpuint(fake_net_sent(c.d.dev), ==, 0);
    g_assert_cmpuint(used(&c.d, TX), ==, 4);
    /* Receive buffers that hold no header break it, as does a command without an answer. */
    offer(&c, RX, DATA, HEADER - 1, 0, 0);
    input(&c, ME, 100, 0, 0);
    g_assert_cmphex(status(&c.d) & 0x40, ==, 0x40);
    begin(&c, F_MRG_RXBUF | F_CTRL);
    offer(&c, CONTROL, DATA, 2, 0, 0);
    g_assert_cmphex(status(&c.d) & 0x40, ==, 0x40);
    begin(&c, F_MRG_RXBUF);
    offer(&c, RX, 1ull << 40, 4096, 0, 0);
    input(&c, ME, 100, 0, 0);
    g_assert_cmphex(status(&c.d) & 0x40, ==, 0x40);
    begin(&c, 0);
    offer(&c, RX, DATA, 64, 0, 0); /* one buffer is all that a frame gets */
    input(&c, ME, 100, 0, 0);
    g_assert_cmphex(status(&c.d) & 0x40, ==, 0x40);
    /* Anything in the rings and the buffers. */
    for (unsigned round = 0; round < 2000; round++) {
        if (round % 50 == 0)
            begin(&c, round % 100 ? F_MRG_RXBUF | F_CTRL : F_CTRL);
        for (unsigned i = 0; i < 8; i++)
            put(&c.d, RING + fake_random(c.d.h, 9 * PAGE - 8), fake_random(c.d.h, 0), 1 + i % 4);
        offer(&c, round % 3, DATA + fake_random(c.d.h, 4096), fake_random(c.d.h, 3000),
              DATA + fake_random(c.d.h, 4096), fake_random(c.d.h, 3000));
        input(&c, ME, 60 + fake_random(c.d.h, 1500), 0, 0);
    }
    fake_host_free(c.d.h);
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
    g_test_add_func("/virtio-net/pairs", test_pairs);
    g_test_add_func("/virtio-net/vlan", test_vlan);
    g_test_add_func("/virtio-net/announce", test_announce);
    g_test_add_func("/virtio-net/hostile", test_hostile);
    g_test_add_func("/virtio-net/refused", test_refused);
    return g_test_run();
}
