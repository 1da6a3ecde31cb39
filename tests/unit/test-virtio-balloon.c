/*
 * test-virtio-balloon - pages that go back, the target and what the guest has, statistics, free page
 * reporting.
 */
#include "fakehost.h"

#include <string.h>
#include <vmrun/balloon.h>

enum { SIZE = 8, RING = 0x1000, PAGE = 0x1000, DATA = 0x20000, FREE = 0x80000, RAM = 1 << 20, WRITE = 2 };
enum { INFLATE, DEFLATE, STATS, REPORTING, QUEUES = 5 };

#define F_STATS_VQ (1u << 1)
#define F_DEFLATE_ON_OOM (1u << 2)
#define F_PAGE_REPORTING (1u << 5)

typedef struct Balloon {
    FakeHost *h;
    VmrDevice *dev;
    const VmrBalloonInterface *iface;
    uint16_t avail[QUEUES];
} Balloon;

static void reg(Balloon *b, unsigned offset, uint32_t value)
{
    fake_write(b->dev, "regs", offset, value, 4);
}

static void put(Balloon *b, uint64_t at, uint64_t value, unsigned size)
{
    memcpy(fake_ram(b->h) + at, &value, size);
}

static unsigned used(Balloon *b, unsigned q)
{
    uint16_t value;
    memcpy(&value, fake_ram(b->h) + RING + (3 * q + 2) * PAGE + 2, 2);
    return value;
}

static void start(Balloon *b, uint32_t features)
{
    memset(fake_ram(b->h) + RING, 0, 3 * QUEUES * PAGE);
    reg(b, 0x70, 0);
    reg(b, 0x70, 3);
    reg(b, 0x24, 0);
    reg(b, 0x20, features);
    reg(b, 0x24, 1);
    reg(b, 0x20, 1);
    reg(b, 0x70, 0xb);
    for (unsigned q = 0; q < QUEUES; q++) {
        reg(b, 0x30, q);
        reg(b, 0x38, SIZE);
        for (unsigned i = 0; i < 3; i++)
            reg(b, 0x80 + 0x10 * i, RING + (3 * q + i) * PAGE);
        reg(b, 0x44, 1);
        b->avail[q] = 0;
    }
    reg(b, 0x70, 0xf);
    g_assert_cmphex(fake_read(b->dev, "regs", 0x70, 4), ==, 0xf);
}

/* Offer a buffer of one segment, and tell. */
static void offer(Balloon *b, unsigned q, uint64_t at, uint32_t length, uint16_t flags)
{
    unsigned n = b->avail[q] % SIZE;
    uint64_t ring = RING + 3 * q * PAGE;
    put(b, ring + 16 * n, at, 8);
    put(b, ring + 16 * n + 8, length, 4);
    put(b, ring + 16 * n + 12, flags, 2);
    put(b, ring + PAGE + 4 + 2 * n, n, 2);
    put(b, ring + PAGE + 2, ++b->avail[q], 2);
    reg(b, 0x50, q);
}

static Balloon balloon(const char *more, uint32_t features)
{
    Balloon b = {.h = fake_host_new(RAM, 1)};
    char *text = g_strdup_printf("regs=0x10000000;%s", more);
    b.dev = fake_device_new(b.h, "virtio-balloon", "dev", text);
    g_free(text);
    b.iface = vmr_device_interface(b.dev, VMR_BALLOON);
    g_assert_nonnull(b.iface);
    fake_reset(b.h, VMR_RESET_COLD);
    start(&b, features);
    memset(fake_ram(b.h) + FREE, 0x55, RAM - FREE);
    return b;
}

static void expect_released(Balloon *b, uint64_t bytes, unsigned calls)
{
    unsigned n;
    uint64_t all = fake_released(b->h, &n);
    g_assert_cmpuint(all, ==, bytes);
    g_assert_cmpuint(n, ==, calls);
}

static void test_inflate(void)
{
    Balloon b = balloon("", 0);
    /* Up, down, and one alone: three pieces. */
    static const uint32_t pages[] = {0x80, 0x81, 0x82, 0x92, 0x91, 0x90, 0xa0};
    memcpy(fake_ram(b.h) + DATA, pages, sizeof(pages));
    offer(&b, INFLATE, DATA, sizeof(pages), 0);
    g_assert_cmpuint(used(&b, INFLATE), ==, 1);
    expect_released(&b, 7 * PAGE, 3);
    for (unsigned i = 0x80; i < 0xb0; i++) {
        bool gone = (i >= 0x80 && i <= 0x82) || (i >= 0x90 && i <= 0x92) || i == 0xa0;
        g_assert_cmphex(fake_ram(b.h)[i * PAGE], ==, gone ? 0 : 0x55);
        g_assert_cmphex(fake_ram(b.h)[i * PAGE + PAGE - 1], ==, gone ? 0 : 0x55);
    }
    offer(&b, DEFLATE, DATA, sizeof(pages), 0);
    g_assert_cmpuint(used(&b, DEFLATE), ==, 1);
    expect_released(&b, 7 * PAGE, 3);
    g_assert_cmpuint(fake_guest_errors(b.dev), ==, 0);
    fake_host_free(b.h);
}

static void test_hostile(void)
{
    Balloon b = balloon("", F_PAGE_REPORTING);
    static const uint32_t pages[] = {RAM / PAGE, 0xffffffff, 0, 0xfffffffe};
    memcpy(fake_ram(b.h) + DATA, pages, sizeof(pages));
    offer(&b, INFLATE, DATA, sizeof(pages), 0);
    offer(&b, INFLATE, DATA, 3, 0); /* no whole number */
    g_assert_cmpuint(used(&b, INFLATE), ==, 2);
    expect_released(&b, PAGE, 1); /* page 0 is RAM */
    offer(&b, INFLATE, RAM - PAGE / 2, 0x40000000, 0); /* numbers beyond the memory */
    g_assert_cmphex(fake_read(b.dev, "regs", 0x70, 4) & 0x40, ==, 0x40);
    /* Reports of what is no memory, and less than a page of it. */
    start(&b, F_PAGE_REPORTING);
    offer(&b, STATS, UINT64_MAX - PAGE + 1, PAGE, WRITE);
    offer(&b, STATS, FREE + 1, PAGE, WRITE);
    offer(&b, STATS, FREE, PAGE, 0); /* the device may not write it: no report */
    g_assert_cmpuint(used(&b, STATS), ==, 3);
    g_assert_cmphex(fake_ram(b.h)[FREE], ==, 0x55);
    fake_host_free(b.h);
}

static void test_target(void)
{
    Balloon b = balloon("deflate-on-oom=on", F_DEFLATE_ON_OOM);
    g_assert_cmpuint(b.iface->memory(b.dev), ==, RAM);
    b.iface->set_memory(b.dev, RAM - 10 * PAGE - 1);
    g_assert_cmpuint(fake_read(b.dev, "regs", 0x100, 4), ==, 10);
    g_assert_cmphex(fake_read(b.dev, "regs", 0x60, 4), ==, 2); /* the configuration has changed */
    reg(&b, 0x104, 4);
    g_assert_cmpuint(b.iface->memory(b.dev), ==, RAM - 4 * PAGE);
    reg(&b, 0x100, 77); /* not the driver's to say */
    g_assert_cmpuint(fake_read(b.dev, "regs", 0x100, 4), ==, 10);
    reg(&b, 0x104, 0xffffffff);
    g_assert_cmpuint(b.iface->memory(b.dev), ==, 0);
    reg(&b, 0x104, 4);
    Balloon to = b;
    to.dev = fake_device_new(b.h, "virtio-balloon", "to", "regs=0x10001000;deflate-on-oom=on");
    fake_save_load(b.dev, to.dev);
    g_assert_cmpuint(fake_read(to.dev, "regs", 0x100, 4), ==, 10);
    g_assert_cmpuint(b.iface->memory(to.dev), ==, RAM - 4 * PAGE);
    b.iface->set_memory(b.dev, UINT64_MAX);
    g_assert_cmpuint(fake_read(b.dev, "regs", 0x100, 4), ==, 0);
    /* A reset lets the pages go: the target stays. */
    b.iface->set_memory(b.dev, RAM / 2);
    start(&b, 0);
    g_assert_cmpuint(b.iface->memory(b.dev), ==, RAM);
    g_assert_cmpuint(fake_read(b.dev, "regs", 0x100, 4), ==, RAM / 2 / PAGE);
    fake_host_free(b.h);
}

static void stat(Balloon *b, unsigned n, uint16_t tag, uint64_t value)
{
    put(b, DATA + 10 * n, tag, 2);
    put(b, DATA + 10 * n + 2, value, 8);
}

static void test_stats(void)
{
    Balloon b = balloon("", F_STATS_VQ | F_PAGE_REPORTING);
    VmrBalloonStat stats[16];
    stat(&b, 0, 4, 1234);
    stat(&b, 1, 77, 5); /* unknown */
    stat(&b, 2, 5, RAM);
    offer(&b, STATS, DATA, 30, 0);
    g_assert_cmpuint(used(&b, STATS), ==, 0); /* it is kept until new ones are wanted */
    unsigned count = b.iface->stats(b.dev, stats, G_N_ELEMENTS(stats));
    g_assert_cmpuint(count, ==, 10);
    g_assert_cmpstr(stats[4].name, ==, "free-memory");
    g_assert_cmpuint(stats[4].value, ==, 1234);
    g_assert_cmpuint(stats[5].value, ==, RAM);
    g_assert_cmphex(stats[0].value, ==, UINT64_MAX);
    g_assert_cmpuint(used(&b, STATS), ==, 1);
    /* A pause puts the buffer back, and it is taken again. */
    offer(&b, STATS, DATA, 30, 0);
    b.dev->klass->pause(b.dev);
    stat(&b, 0, 4, 99);
    b.dev->klass->resume(b.dev);
    b.iface->stats(b.dev, stats, 5);
    g_assert_cmpuint(stats[4].value, ==, 99);
    g_assert_cmpuint(used(&b, STATS), ==, 2);
    /* Reports come after the statistics, or at 4. */
    offer(&b, REPORTING, FREE, 2 * PAGE, WRITE);
    offer(&b, REPORTING + 1, FREE + 4 * PAGE, PAGE, WRITE);
    g_assert_cmpuint(used(&b, REPORTING), ==, 1);
    g_assert_cmpuint(used(&b, REPORTING + 1), ==, 1);
    expect_released(&b, 3 * PAGE, 2);
    g_assert_cmphex(fake_ram(b.h)[FREE + 2 * PAGE - 1], ==, 0);
    g_assert_cmphex(fake_ram(b.h)[FREE + 2 * PAGE], ==, 0x55);
    /* Gone with a reset in the middle. */
    offer(&b, STATS, DATA, 30, 0);
    start(&b, F_STATS_VQ);
    b.iface->stats(b.dev, stats, G_N_ELEMENTS(stats));
    g_assert_cmphex(stats[4].value, ==, UINT64_MAX);
    g_assert_cmpuint(used(&b, STATS), ==, 0);
    fake_host_free(b.h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-balloon/inflate", test_inflate);
    g_test_add_func("/virtio-balloon/hostile", test_hostile);
    g_test_add_func("/virtio-balloon/target", test_target);
    g_test_add_func("/virtio-balloon/stats", test_stats);
    return g_test_run();
}
