/*
 * test-virtio-balloon - pages that go back, the target and what the guest has, statistics, free page
 * reporting.
 */
#include "virtiofixture.h"

#include <vmrun/balloon.h>

enum { DATA = 0x20000, FREE = 0x80000, RAM = 1 << 20 };
enum { INFLATE, DEFLATE, STATS, REPORTING, QUEUES = 5 };

#define F_STATS_VQ (1u << 1)
#define F_DEFLATE_ON_OOM (1u << 2)
#define F_PAGE_REPORTING (1u << 5)

/* Offer a buffer of one segment, and tell. */
static void offer(Driver *d, unsigned q, uint64_t at, uint32_t length, uint16_t flags)
{
    unsigned n = d->avail[q] % SIZE;
    describe(d, q, n, at, length, flags, 0);
    make_available(d, q, n);
}

static const VmrBalloonInterface *iface(Driver *d)
{
    const VmrBalloonInterface *i = vmr_device_interface(d->dev, VMR_BALLOON);
    g_assert_nonnull(i);
    return i;
}

static Driver balloon(const char *more, uint32_t features)
{
    Driver d = driver("virtio-balloon", more);
    start(&d, features, QUEUES);
    memset(fake_ram(d.h) + FREE, 0x55, RAM - FREE);
    return d;
}

static void expect_released(Driver *b, uint64_t bytes, unsigned calls)
{
    unsigned n;
    uint64_t all = fake_released(b->h, &n);
    g_assert_cmpuint(all, ==, bytes);
    g_assert_cmpuint(n, ==, calls);
}

static void test_inflate(void)
{
    Driver b = balloon("", 0);
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
    Driver b = balloon("", F_PAGE_REPORTING);
    static const uint32_t pages[] = {RAM / PAGE, 0xffffffff, 0, 0xfffffffe};
    memcpy(fake_ram(b.h) + DATA, pages, sizeof(pages));
    offer(&b, INFLATE, DATA, sizeof(pages), 0);
    offer(&b, INFLATE, DATA, 3, 0); /* no whole number */
    g_assert_cmpuint(used(&b, INFLATE), ==, 2);
    expect_released(&b, PAGE, 1); /* page 0 is RAM */
    offer(&b, INFLATE, RAM - PAGE / 2, 0x40000000, 0); /* numbers beyond the memory */
    g_assert_cmphex(fake_read(b.dev, "regs", 0x70, 4) & 0x40, ==, 0x40);
    /* Reports of what is no memory, and less than a page of it. */
    start(&b, F_PAGE_REPORTING, QUEUES);
    offer(&b, STATS, UINT64_MAX - PAGE + 1, PAGE, WRITE);
    offer(&b, STATS, FREE + 1, PAGE, WRITE);
    offer(&b, STATS, FREE, PAGE, 0); /* the device may not write it: no report */
    g_assert_cmpuint(used(&b, STATS), ==, 3);
    g_assert_cmphex(fake_ram(b.h)[FREE], ==, 0x55);
    fake_host_free(b.h);
}

static void test_target(void)
{
    Driver b = balloon("deflate-on-oom=on", F_DEFLATE_ON_OOM);
    g_assert_cmpuint(iface(&b)->memory(b.dev), ==, RAM);
    iface(&b)->set_memory(b.dev, RAM - 10 * PAGE - 1);
    g_assert_cmpuint(fake_read(b.dev, "regs", 0x100, 4), ==, 10);
    g_assert_cmphex(fake_read(b.dev, "regs", 0x60, 4), ==, 2); /* the configuration has changed */
    reg(&b, 0x104, 4);
    g_assert_cmpuint(iface(&b)->memory(b.dev), ==, RAM - 4 * PAGE);
    reg(&b, 0x100, 77); /* not the driver's to say */
    g_assert_cmpuint(fake_read(b.dev, "regs", 0x100, 4), ==, 10);
    reg(&b, 0x104, 0xffffffff);
    g_assert_cmpuint(iface(&b)->memory(b.dev), ==, 0);
    reg(&b, 0x104, 4);
    Driver to = b;
    to.dev = fake_device_new(b.h, "virtio-balloon", "to", "regs=0x10001000;deflate-on-oom=on");
    fake_save_load(b.dev, to.dev);
    g_assert_cmpuint(fake_read(to.dev, "regs", 0x100, 4), ==, 10);
    g_assert_cmpuint(iface(&b)->memory(to.dev), ==, RAM - 4 * PAGE);
    iface(&b)->set_memory(b.dev, UINT64_MAX);
    g_assert_cmpuint(fake_read(b.dev, "regs", 0x100, 4), ==, 0);
    /* A reset lets the pages go: the target stays. */
    iface(&b)->set_memory(b.dev, RAM / 2);
    start(&b, 0, QUEUES);
    g_assert_cmpuint(iface(&b)->memory(b.dev), ==, RAM);
    g_assert_cmpuint(fake_read(b.dev, "regs", 0x100, 4), ==, RAM / 2 / PAGE);
    fake_host_free(b.h);
}

static void stat(Driver *b, unsigned n, uint16_t tag, uint64_t value)
{
    put(b, DATA + 10 * n, tag, 2);
    put(b, DATA + 10 * n + 2, value, 8);
}

static void test_stats(void)
{
    Driver b = balloon("", F_STATS_VQ | F_PAGE_REPORTING);
    VmrBalloonStat stats[16];
    stat(&b, 0, 4, 1234);
    stat(&b, 1, 77, 5); /* unknown */
    stat(&b, 2, 5, RAM);
    offer(&b, STATS, DATA, 30, 0);
    g_assert_cmpuint(used(&b, STATS), ==, 0); /* it is kept until new ones are wanted */
    unsigned count = iface(&b)->stats(b.dev, stats, G_N_ELEMENTS(stats));
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
    iface(&b)->stats(b.dev, stats, 5);
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
    start(&b, F_STATS_VQ, QUEUES);
    iface(&b)->stats(b.dev, stats, G_N_ELEMENTS(stats));
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
