/*
 * test-virtio - rings, status and requests, with virtio-blk on its memory-mapped transport, and
 * rings that are wrong or rewritten while they are read.
 */
#include "fakehost.h"

#include <errno.h>
#include <string.h>

enum {
    SIZE = 16, /* of the queue */
    DESC = 0x1000,
    AVAIL = 0x2000,
    USED = 0x3000,
    TABLE = 0x4000, /* indirect */
    HEADER = 0x5000,
    STATUS = 0x5100,
    DATA = 0x6000,
    RAM = 1 << 20,

    R_FEATURES = 0x10,
    R_FEATURES_SEL = 0x14,
    R_DRIVER_FEATURES = 0x20,
    R_DRIVER_SEL = 0x24,
    R_QUEUE_SEL = 0x30,
    R_QUEUE_NUM = 0x38,
    R_QUEUE_READY = 0x44,
    R_NOTIFY = 0x50,
    R_ISR = 0x60,
    R_ACK = 0x64,
    R_STATUS = 0x70,

    NEXT = 1,
    WRITE = 2,
    INDIRECT = 4,

    T_IN = 0,
    T_OUT = 1,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_WRITE_ZEROES = 13,
};

#define F_INDIRECT (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_PACKED (1ull << 34)
#define F_FLUSH (1ull << 9)
#define F_DISCARD (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

typedef struct Driver {
    FakeHost *h;
    VmrDevice *dev;
    uint64_t features;
    uint16_t avail, used; /* split: indices; packed: position */
    bool wrap, used_wrap;
} Driver;

static void reg(Driver *d, unsigned offset, uint32_t value)
{
    fake_write(d->dev, "regs", offset, value, 4);
}

static uint32_t get(Driver *d, unsigned offset)
{
    return (uint32_t)fake_read(d->dev, "regs", offset, 4);
}

static void put(Driver *d, uint64_t at, uint64_t value, unsigned size)
{
    memcpy(fake_ram(d->h) + at, &value, size);
}

static uint64_t peek(Driver *d, uint64_t at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, fake_ram(d->h) + at, size);
    return value;
}

static void start(Driver *d, uint64_t features)
{
    reg(d, R_STATUS, 0);
    memset(fake_ram(d->h), 0, 0x5000);
    reg(d, R_STATUS, 1);
    reg(d, R_STATUS, 3);
    for (unsigned i = 0; i < 2; i++) {
        reg(d, R_DRIVER_SEL, i);
        reg(d, R_DRIVER_FEATURES, (uint32_t)(features >> (32 * i)));
    }
    reg(d, R_STATUS, 0xb);
    g_assert_cmphex(get(d, R_STATUS), ==, 0xb);
    reg(d, R_QUEUE_SEL, 0);
    reg(d, R_QUEUE_NUM, SIZE);
    reg(d, 0x80, DESC);
    reg(d, 0x90, AVAIL);
    reg(d, 0xa0, USED);
    reg(d, R_QUEUE_READY, 1);
    g_assert_cmpuint(get(d, R_QUEUE_READY), ==, 1);
    reg(d, R_STATUS, 0xf);
    d->features = features;
    d->avail = d->used = 0;
    d->wrap = d->used_wrap = true;
}

static Driver driver(const char *properties, uint64_t features)
{
    Driver d = {.h = fake_host_new(RAM, 1)};
    char *text = g_strdup_printf("regs=0x10000000;%s", properties);
    d.dev = fake_device_new(d.h, "virtio-blk", "disk", text);
    g_free(text);
    fake_reset(d.h, VMR_RESET_COLD);
    if (features)
        start(&d, features);
    return d;
}

static void descriptor(Driver *d, uint64_t table, unsigned n, uint64_t address, uint32_t length,
                       uint16_t flags, uint16_t next)
{
    uint64_t at = table + 16 * n;
    put(d, at, address, 8);
    put(d, at + 8, length, 4);
    put(d, at + 12, d->features & F_PACKED ? next : flags, 2);
    put(d, at + 14, d->features & F_PACKED ? flags : next, 2);
}

/* Offer the chain that begins at descriptor `head`: the device has not been told yet. */
static void offer(Driver *d, uint16_t head)
{
    put(d, AVAIL + 4 + 2 * (d->avail % SIZE), head, 2);
    put(d, AVAIL + 2, ++d->avail, 2);
}

/* Three descriptors from `n` on, as a request: header, data, status. */
static void request(Driver *d, unsigned n, uint32_t type, uint64_t sector, uint64_t data,
                    uint32_t length)
{
    uint64_t header = HEADER + 16 * n, status = STATUS + n;
    bool in = type == T_IN || type == T_GET_ID;
    put(d, header, type, 8);
    put(d, header + 8, sector, 8);
    put(d, status, 0xee, 1);
    if (d->features & F_PACKED) {
        uint16_t flags = d->wrap ? 0x80 : 0x8000;
        unsigned at = d->avail, count = length ? 3 : 2;
        for (unsigned i = 0; i < count; i++) {
            bool last = i == count - 1;
            uint64_t address = i == 0 ? header : last ? status : data;
            uint32_t len = i == 0 ? 16 : last ? 1 : length;
            uint16_t f = flags | (last ? WRITE : NEXT) | (i == 1 && !last && in ? WRITE : 0);
            descriptor(d, DESC, at, address, len, f, (uint16_t)(100 + n));
            if (++at == SIZE) {
                at = 0;
                d->wrap = !d->wrap;
                flags ^= 0x8080;
            }
        }
        d->avail = (uint16_t)at;
        return;
    }
    descriptor(d, DESC, n, header, 16, NEXT, (uint16_t)(length ? n + 1 : n + 2));
    descriptor(d, DESC, n + 1, data, length, NEXT | (in ? WRITE : 0), (uint16_t)(n + 2));
    descriptor(d, DESC, n + 2, status, 1, WRITE, 0);
    offer(d, (uint16_t)n);
}

static void kick(Driver *d)
{
    reg(d, R_NOTIFY, 0);
    fake_advance(d->h, 0);
}

/* One request, at descriptor 0: its status. */
static uint8_t ask(Driver *d, uint32_t type, uint64_t sector, uint64_t data, uint32_t length)
{
    request(d, 0, type, sector, data, length);
    kick(d);
    return (uint8_t)peek(d, STATUS, 1);
}

#define BASIC (F_VERSION_1 | F_FLUSH | F_DISCARD | F_WRITE_ZEROES)

static void test_status(void)
{
    Driver d = driver("drive=fake:64K", 0);
    g_assert_cmphex(get(&d, 0), ==, 0x74726976);
    g_assert_cmpuint(get(&d, 4), ==, 2);
    g_assert_cmpuint(get(&d, 8), ==, 2);
    g_assert_cmpuint(get(&d, 0x100), ==, 128); /* sectors */
    reg(&d, R_FEATURES_SEL, 1);
    g_assert_cmphex(get(&d, R_FEATURES) & 1, ==, 1);
    /* Features that were not offered, and a driver of before 1.0. */
    reg(&d, R_STATUS, 3);
    reg(&d, R_DRIVER_SEL, 1);
    reg(&d, R_DRIVER_FEATURES, 0x80000001);
    reg(&d, R_STATUS, 0xb);
    g_assert_cmphex(get(&d, R_STATUS), ==, 3);
    reg(&d, R_DRIVER_FEATURES, 0);
    reg(&d, R_STATUS, 0xb);
    g_assert_cmphex(get(&d, R_STATUS), ==, 3);
    reg(&d, R_STATUS, 7); /* DRIVER_OK without FEATURES_OK */
    g_assert_cmphex(get(&d, R_STATUS), ==, 3);
    /* Sizes and places of queues */
    reg(&d, R_QUEUE_NUM, 3);
    reg(&d, R_QUEUE_NUM, 0);
    reg(&d, R_QUEUE_NUM, 65536);
    reg(&d, 0x80, 0x1008);
    reg(&d, R_QUEUE_READY, 1);
    g_assert_cmpuint(get(&d, R_QUEUE_READY), ==, 0);
    reg(&d, R_QUEUE_SEL, 5);
    g_assert_cmpuint(get(&d, 0x34), ==, 0);
    reg(&d, R_QUEUE_READY, 1);
    reg(&d, R_NOTIFY, 5);
    reg(&d, R_NOTIFY, 0xffffffff);
    fake_host_free(d.h);
}

static void exchange(Driver *d)
{
    uint8_t *disk = fake_drive_data(d->dev, "drive");
    for (unsigned i = 0; i < 2 * SIZE + 3; i++) { /* around the ring */
        memset(fake_ram(d->h) + DATA, (int)i + 1, 1024);
        g_assert_cmpuint(ask(d, T_OUT, i, DATA, 1024), ==, 0);
        g_assert_cmpuint(disk[512 * i], ==, i + 1);
        g_assert_cmpuint(disk[512 * i + 1023], ==, i + 1);
        disk[512 * i + 5] = 0x55;
        g_assert_cmpuint(ask(d, T_IN, i, DATA + 1024, 512), ==, 0);
        g_assert_cmpuint(peek(d, DATA + 1024 + 5, 1), ==, 0x55);
        g_assert_true(fake_irq_level(d->dev, "irq", 0));
        g_assert_cmphex(get(d, R_ISR), ==, 1);
        reg(d, R_ACK, 1);
        g_assert_false(fake_irq_level(d->dev, "irq", 0));
    }
    g_assert_cmpuint(ask(d, T_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpuint(ask(d, T_GET_ID, 0, DATA, 20), ==, 0);
    g_assert_cmpstr((char *)fake_ram(d->h) + DATA, ==, "FAKE-0001");
    g_assert_cmpuint(fake_guest_errors(d->dev), ==, 0);
}

static void test_split(void)
{
    Driver d = driver("drive=fake:64K", BASIC);
    exchange(&d);
    g_assert_cmpuint(peek(&d, USED + 2, 2), ==, d.avail);
    g_assert_cmpuint(peek(&d, USED + 4 + 4, 4), >=, 1);
    fake_host_free(d.h);
}

static void test_packed(void)
{
    Driver d = driver("drive=fake:64K;packed=on", BASIC | F_PACKED);
    exchange(&d);
    /* No interrupts wanted */
    reg(&d, R_ACK, 1);
    put(&d, AVAIL + 2, 1, 2);
    g_assert_cmpuint(ask(&d, T_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmphex(get(&d, R_ISR), ==, 0);
    fake_host_free(d.h);
}

static void test_event_idx(void)
{
    Driver d = driver("drive=fake:64K", BASIC | F_EVENT_IDX);
    put(&d, AVAIL + 4 + 2 * SIZE, 0, 2); /* used_event: after the first */
    g_assert_cmpuint(ask(&d, T_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmphex(get(&d, R_ISR), ==, 1);
    g_assert_cmpuint(peek(&d, USED + 4 + 8 * SIZE, 2), ==, 1); /* avail_event */
    reg(&d, R_ACK, 1);
    put(&d, AVAIL + 4 + 2 * SIZE, 3, 2);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(get(&d, R_ISR), ==, 0);
        g_assert_cmpuint(ask(&d, T_FLUSH, 0, 0, 0), ==, 0);
    }
    g_assert_cmphex(get(&d, R_ISR), ==, 1);
    fake_host_free(d.h);
}

static void test_indirect(void)
{
    Driver d = driver("drive=fake:64K", BASIC | F_INDIRECT);
    /* Header direct, the rest in a table of four. */
    put(&d, HEADER, T_OUT, 8);
    put(&d, HEADER + 8, 3, 8);
    memset(fake_ram(d.h) + DATA, 0x77, 1024);
    descriptor(&d, DESC, 0, HEADER, 16, NEXT, 1);
    descriptor(&d, DESC, 1, TABLE, 3 * 16, INDIRECT, 0);
    descriptor(&d, TABLE, 0, DATA, 512, NEXT, 2);
    descriptor(&d, TABLE, 2, DATA + 512, 512, NEXT, 1);
    descriptor(&d, TABLE, 1, STATUS, 1, WRITE, 0);
    put(&d, STATUS, 0xee, 1);
    offer(&d, 0);
    kick(&d);
    g_assert_cmpuint(peek(&d, STATUS, 1), ==, 0);
    g_assert_cmphex(fake_drive_data(d.dev, "drive")[512 * 4 + 511], ==, 0x77);
    fake_host_free(d.h);
}

static void test_blk(void)
{
    Driver d = driver("drive=fake:64K", BASIC);
    uint8_t *disk = fake_drive_data(d.dev, "drive");
    memset(disk, 0x11, 65536);
    put(&d, DATA, 2, 8); /* sector, sectors, flags */
    put(&d, DATA + 8, 4, 4);
    put(&d, DATA + 12, 1, 4);
    g_assert_cmpuint(ask(&d, T_WRITE_ZEROES, 0, DATA, 16), ==, 0);
    g_assert_cmphex(disk[1023], ==, 0x11);
    g_assert_cmphex(disk[1024], ==, 0);
    g_assert_cmphex(disk[1024 + 2047], ==, 0);
    g_assert_cmphex(disk[1024 + 2048], ==, 0x11);
    put(&d, DATA + 12, 0, 4);
    g_assert_cmpuint(ask(&d, T_DISCARD, 0, DATA, 16), ==, 0);
    put(&d, DATA + 12, 1, 4); /* a flag that a discard has not */
    g_assert_cmpuint(ask(&d, T_DISCARD, 0, DATA, 16), ==, 2);
    put(&d, DATA + 12, 0, 4);
    put(&d, DATA, 127, 8); /* beyond the end */
    g_assert_cmpuint(ask(&d, T_DISCARD, 0, DATA, 16), ==, 1);
    g_assert_cmpuint(ask(&d, T_DISCARD, 0, DATA, 15), ==, 1);
    /* Bounds of reads and writes; wraps; no whole sectors */
    g_assert_cmpuint(ask(&d, T_IN, 127, DATA, 512), ==, 0);
    g_assert_cmpuint(ask(&d, T_IN, 127, DATA, 1024), ==, 1);
    g_assert_cmpuint(ask(&d, T_IN, UINT64_MAX, DATA, 512), ==, 1);
    g_assert_cmpuint(ask(&d, T_OUT, UINT64_MAX / 512 + 1, DATA, 512), ==, 1);
    g_assert_cmpuint(ask(&d, T_IN, 0, DATA, 511), ==, 1);
    g_assert_cmpuint(ask(&d, T_IN, 0, RAM - 256, 512), ==, 1); /* half in memory */
    g_assert_cmpuint(ask(&d, 77, 0, DATA, 512), ==, 2);
    /* The drive fails. */
    fake_drive_fail(d.dev, "drive", EIO);
    g_assert_cmpuint(ask(&d, T_IN, 0, DATA, 512), ==, 1);
    g_assert_cmpuint(ask(&d, T_FLUSH, 0, 0, 0), ==, 1);
    fake_drive_fail(d.dev, "drive", 0);
    g_assert_cmphex(get(&d, R_STATUS), ==, 0xf);
    fake_host_free(d.h);

    d = driver("drive=fake:64K:ro", F_VERSION_1);
    g_assert_cmpuint(ask(&d, T_OUT, 0, DATA, 512), ==, 1);
    g_assert_cmpuint(ask(&d, T_IN, 0, DATA, 512), ==, 0);
    fake_host_free(d.h);

    /* A driver that knows no flush: each write is followed by one. */
    d = driver("drive=fake:64K", F_VERSION_1);
    g_assert_cmpuint(get(&d, 0x100 + 32) & 0xff, ==, 0); /* writeback */
    request(&d, 0, T_OUT, 0, DATA, 512);
    kick(&d);
    fake_advance(d.h, 0);
    g_assert_cmpuint(peek(&d, STATUS, 1), ==, 0);
    g_assert_cmpuint(fake_drive_requests(d.dev, "drive"), ==, 2);
    fake_host_free(d.h);
}

/* A reset while a request is in flight: nothing of it comes back. */
static void test_reset(void)
{
    Driver d = driver("drive=fake:64K", BASIC);
    request(&d, 0, T_IN, 0, DATA, 512);
    reg(&d, R_NOTIFY, 0);
    reg(&d, R_STATUS, 0);
    g_assert_cmphex(get(&d, R_STATUS), ==, 0x40); /* not yet done */
    fake_advance(d.h, 0);
    g_assert_cmphex(get(&d, R_STATUS), ==, 0);
    g_assert_cmphex(peek(&d, STATUS, 1), ==, 0xee);
    g_assert_cmpuint(peek(&d, USED + 2, 2), ==, 0);
    g_assert_false(fake_irq_level(d.dev, "irq", 0));
    /* Started again at once: the old one does not disturb. */
    start(&d, BASIC);
    request(&d, 0, T_IN, 0, DATA, 512);
    reg(&d, R_NOTIFY, 0);
    start(&d, BASIC);
    g_assert_cmpuint(ask(&d, T_IN, 0, DATA, 512), ==, 0);
    g_assert_cmpuint(peek(&d, USED + 2, 2), ==, 1);
    fake_host_free(d.h);
}

static void expect_broken(Driver *d, const char *what)
{
    kick(d);
    if (!(get(d, R_STATUS) & 0x40))
        g_error("%s: the device does not need a reset", what);
    g_assert_cmpuint(fake_guest_errors(d->dev), >, 0);
    g_assert_cmphex(get(d, R_ISR) & 2, ==, 2);
    /* It does nothing more, until it is reset. */
    unsigned before = fake_drive_requests(d->dev, "drive");
    kick(d);
    g_assert_cmpuint(fake_drive_requests(d->dev, "drive"), ==, before);
    start(d, d->features);
    g_assert_cmpuint(ask(d, T_IN, 0, DATA, 512), ==, 0);
    start(d, d->features);
}

static void test_hostile_split(void)
{
    Driver d = driver("drive=fake:64K", BASIC | F_INDIRECT);
    d.avail = SIZE;
    offer(&d, 0);
    expect_broken(&d, "index too far");
    offer(&d, SIZE);
    expect_broken(&d, "no such head");
    descriptor(&d, DESC, 0, HEADER, 16, NEXT, 1);
    descriptor(&d, DESC, 1, HEADER, 16, NEXT, 0);
    offer(&d, 0);
    expect_broken(&d, "a loop");
    descriptor(&d, DESC, 0, HEADER, 16, NEXT, SIZE);
    offer(&d, 0);
    expect_broken(&d, "no such next");
    descriptor(&d, DESC, 0, STATUS, 1, WRITE | NEXT, 1);
    descriptor(&d, DESC, 1, HEADER, 16, 0, 0);
    offer(&d, 0);
    expect_broken(&d, "readable after writable");
    static const uint32_t lengths[] = {0, 15, 17, 0xffffffff};
    for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
        descriptor(&d, DESC, 0, TABLE, lengths[i], INDIRECT, 0);
        offer(&d, 0);
        expect_broken(&d, "length of a table");
    }
    descriptor(&d, DESC, 0, TABLE, 32, INDIRECT | NEXT, 1);
    offer(&d, 0);
    expect_broken(&d, "indirect and next");
    descriptor(&d, DESC, 0, TABLE, 32, INDIRECT, 0);
    descriptor(&d, TABLE, 0, TABLE, 32, INDIRECT, 0);
    offer(&d, 0);
    expect_broken(&d, "a table in a table");
    descriptor(&d, DESC, 0, TABLE, 32, INDIRECT, 0);
    descriptor(&d, TABLE, 0, HEADER, 16, NEXT, 0);
    offer(&d, 0);
    expect_broken(&d, "a loop in a table");
    descriptor(&d, DESC, 0, UINT64_MAX - 7, 64, INDIRECT, 0);
    offer(&d, 0);
    expect_broken(&d, "a table at the end of all memory");
    descriptor(&d, DESC, 0, HEADER, 16, 0, 0);
    offer(&d, 0);
    expect_broken(&d, "no status");
    descriptor(&d, DESC, 0, RAM, 16, NEXT, 1);
    descriptor(&d, DESC, 1, STATUS, 1, WRITE, 0);
    offer(&d, 0);
    expect_broken(&d, "header not in memory");
    fake_host_free(d.h);
}

static void test_hostile_packed(void)
{
    Driver d = driver("drive=fake:64K;packed=on", BASIC | F_INDIRECT | F_PACKED);
    for (unsigned i = 0; i < SIZE; i++)
        descriptor(&d, DESC, i, HEADER, 16, NEXT | 0x80, 0);
    expect_broken(&d, "a chain without end");
    descriptor(&d, DESC, 0, TABLE, 17, INDIRECT | 0x80, 0);
    expect_broken(&d, "length of a table");
    descriptor(&d, DESC, 0, TABLE, 0x40000000, INDIRECT | 0x80, 0);
    expect_broken(&d, "a table larger than memory");
    descriptor(&d, DESC, 0, STATUS, 1, WRITE | NEXT | 0x80, 0);
    descriptor(&d, DESC, 1, HEADER, 16, 0x80, 0);
    expect_broken(&d, "readable after writable");
    fake_host_free(d.h);
}

static void scribble(FakeHost *h, void *data)
{
    if (fake_random(h, 4))
        return;
    unsigned at = DESC + fake_random(h, 0x4200);
    fake_ram(h)[at] = (uint8_t)fake_random(h, 0);
}

/* Random rings, and bytes that change under each read. */
static void storm(const char *properties, uint64_t features)
{
    Driver d = driver(properties, features);
    for (unsigned i = 0; i < 6000; i++) {
        fake_dma_hook(d.h, NULL, NULL);
        if (!fake_random(d.h, 4) || (get(&d, R_STATUS) & 0x40))
            start(&d, features);
        for (unsigned n = 0; n < SIZE; n++) {
            static const uint64_t places[] = {HEADER, STATUS, DATA, TABLE, DESC, USED, RAM - 8};
            uint16_t flags = (uint16_t)(fake_random(d.h, 8) | (fake_random(d.h, 2) ? 0x80 : 0x8000));
            uint32_t length = fake_random(d.h, 4) ? fake_random(d.h, 64) * 16 : fake_random(d.h, 0);
            descriptor(&d, fake_random(d.h, 3) ? DESC : TABLE, n,
                       places[fake_random(d.h, G_N_ELEMENTS(places))], length, flags,
                       (uint16_t)fake_random(d.h, SIZE + 1));
        }
        put(&d, HEADER, fake_random(d.h, 16), 4);
        put(&d, HEADER + 8, fake_random(d.h, 130), 8);
        if (!(features & F_PACKED))
            for (unsigned n = fake_random(d.h, 4); n; n--)
                offer(&d, (uint16_t)fake_random(d.h, SIZE + 1));
        if (fake_random(d.h, 2))
            fake_dma_hook(d.h, scribble, NULL);
        kick(&d);
        if (!fake_random(d.h, 3))
            fake_write(d.dev, "regs", fake_random(d.h, 128) * 4, fake_random(d.h, 0), 4);
    }
    fake_dma_hook(d.h, NULL, NULL);
    start(&d, features);
    g_assert_cmpuint(ask(&d, T_IN, 0, DATA, 512), ==, 0);
    fake_host_free(d.h);
}

static void test_storm_split(void)
{
    storm("drive=fake:64K", BASIC | F_INDIRECT | F_EVENT_IDX);
}

static void test_storm_packed(void)
{
    storm("drive=fake:64K;packed=on", BASIC | F_INDIRECT | F_EVENT_IDX | F_PACKED);
}

/* A driver that adds buffers as fast as they are used does not keep the device for ever. */
static void refill(FakeHost *h, void *data)
{
    Driver *d = data;
    put(d, AVAIL + 2, ++d->avail, 2);
}

static void test_endless(void)
{
    Driver d = driver("drive=fake:64K", BASIC);
    put(&d, HEADER, T_GET_ID, 8);
    descriptor(&d, DESC, 0, HEADER, 16, NEXT, 1);
    descriptor(&d, DESC, 1, STATUS, 1, WRITE, 0);
    fake_dma_hook(d.h, refill, &d);
    reg(&d, R_NOTIFY, 0); /* comes back */
    fake_dma_hook(d.h, NULL, NULL);
    fake_host_free(d.h);
}

static void test_save(void)
{
    Driver d = driver("drive=fake:64K", BASIC);
    g_assert_cmpuint(ask(&d, T_IN, 0, DATA, 512), ==, 0);
    Driver to = d;
    to.dev = fake_device_new(d.h, "virtio-blk", "to", "regs=0x10001000;drive=fake:64K");
    fake_save_load(d.dev, to.dev);
    g_assert_cmpuint(ask(&to, T_IN, 0, DATA, 512), ==, 0);
    g_assert_cmpuint(peek(&to, USED + 2, 2), ==, 2);
    /* Hostile snapshots */
    for (unsigned i = 0; i < 64; i++) {
        fake_field_set(to.dev, "q_size", i, 0x7ff);
        fake_field_set(to.dev, "q_desc", i, 5);
    }
    g_assert_true(fake_post_load(to.dev, NULL));
    reg(&to, R_NOTIFY, 0);
    g_assert_cmpuint(get(&to, R_QUEUE_READY), ==, 0);
    fake_host_free(d.h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio/status", test_status);
    g_test_add_func("/virtio/split", test_split);
    g_test_add_func("/virtio/packed", test_packed);
    g_test_add_func("/virtio/event-idx", test_event_idx);
    g_test_add_func("/virtio/indirect", test_indirect);
    g_test_add_func("/virtio/blk", test_blk);
    g_test_add_func("/virtio/reset", test_reset);
    g_test_add_func("/virtio/hostile-split", test_hostile_split);
    g_test_add_func("/virtio/hostile-packed", test_hostile_packed);
    g_test_add_func("/virtio/storm-split", test_storm_split);
    g_test_add_func("/virtio/storm-packed", test_storm_packed);
    g_test_add_func("/virtio/endless", test_endless);
    g_test_add_func("/virtio/save", test_save);
    return g_test_run();
}
