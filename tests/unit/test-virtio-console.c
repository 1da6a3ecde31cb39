/*
 * test-virtio-console - input and output of the port, short writes, reset; virtio-rng beside it.
 */
#include "virtiofixture.h"

enum { DATA = 0x10000 };

/* Offer a buffer of one segment, and tell. */
static void offer(Driver *d, unsigned q, uint64_t at, uint32_t length)
{
    unsigned n = d->avail[q] % SIZE;
    describe(d, q, n, at, length, q == 0 ? WRITE : 0, 0);
    make_available(d, q, n);
}

static Driver port(const char *plugin, const char *more, unsigned queues)
{
    Driver d = driver(plugin, more);
    start(&d, 0, queues);
    return d;
}

static void test_output(void)
{
    Driver p = port("virtio-console", "chardev=fake", 2);
    memcpy(fake_ram(p.h) + DATA, "hello, world", 12);
    offer(&p, 1, DATA, 12);
    g_assert_cmpstr(fake_chardev_output(p.dev)->str, ==, "hello, world");
    g_assert_cmpuint(used(&p, 1), ==, 1);
    /* The back end is full in the middle; what comes after waits too. */
    fake_chardev_limit(p.dev, 5);
    offer(&p, 1, DATA, 12);
    offer(&p, 1, DATA, 1);
    g_assert_cmpuint(used(&p, 1), ==, 1);
    g_assert_cmpstr(fake_chardev_output(p.dev)->str, ==, "hello, worldhello");
    fake_chardev_limit(p.dev, G_MAXUINT);
    g_assert_cmpstr(fake_chardev_output(p.dev)->str, ==, "hello, worldhello, worldh");
    g_assert_cmpuint(used(&p, 1), ==, 3);
    /* A pause in the middle puts it back into the ring, and nothing is said twice. */
    fake_chardev_limit(p.dev, 2);
    offer(&p, 1, DATA, 12);
    p.dev->klass->pause(p.dev);
    fake_chardev_limit(p.dev, G_MAXUINT);
    p.dev->klass->resume(p.dev);
    g_assert_cmpstr(fake_chardev_output(p.dev)->str + 25, ==, "hello, world");
    /* A reset in the middle */
    fake_chardev_limit(p.dev, 2);
    offer(&p, 1, DATA, 12);
    start(&p, 0, 2);
    fake_chardev_limit(p.dev, G_MAXUINT);
    offer(&p, 1, DATA, 5);
    g_assert_cmpstr(fake_chardev_output(p.dev)->str + 37, ==, "hehello");
    fake_write(p.dev, "regs", 0x108, '!', 4); /* emergency write */
    g_assert_true(g_str_has_suffix(fake_chardev_output(p.dev)->str, "hello!"));
    g_assert_cmpuint(fake_guest_errors(p.dev), ==, 0);
    fake_host_free(p.h);
}

static void test_input(void)
{
    Driver p = port("virtio-console", "chardev=fake", 2);
    fake_chardev_input(p.dev, "abc", 3); /* waits for a buffer */
    g_assert_cmpuint(used(&p, 0), ==, 0);
    offer(&p, 0, DATA, 2);
    g_assert_cmpuint(used(&p, 0), ==, 1);
    g_assert_true(fake_irq_level(p.dev, "irq", 0));
    offer(&p, 0, DATA + 2, 64);
    g_assert_cmpuint(used(&p, 0), ==, 2);
    g_assert_cmpmem(fake_ram(p.h) + DATA, 3, "abc", 3);
    offer(&p, 0, DATA, 64);
    g_assert_cmpuint(used(&p, 0), ==, 2);
    fake_chardev_input(p.dev, "xyz", 3);
    g_assert_cmpmem(fake_ram(p.h) + DATA, 3, "xyz", 3);
    offer(&p, 0, DATA, 0); /* a buffer without room */
    fake_chardev_input(p.dev, "q", 1);
    g_assert_cmphex(fake_read(p.dev, "regs", 0x70, 4) & 0x40, ==, 0x40);
    fake_host_free(p.h);
}

static void test_rng(void)
{
    Driver p = port("virtio-rng", "", 1);
    static const uint8_t zeros[64];
    offer(&p, 0, DATA, 4096);
    g_assert_cmpuint(used(&p, 0), ==, 1);
    g_assert_true(memcmp(fake_ram(p.h) + DATA + 4032, zeros, 64) != 0);
    g_assert_cmpmem(fake_ram(p.h) + DATA + 4096, 64, zeros, 64);
    offer(&p, 0, (1 << 20) - 512, 0xffffffff); /* more than there is */
    g_assert_cmphex(fake_read(p.dev, "regs", 0x70, 4) & 0x40, ==, 0x40);
    fake_host_free(p.h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-console/output", test_output);
    g_test_add_func("/virtio-console/input", test_input);
    g_test_add_func("/virtio-rng/fill", test_rng);
    return g_test_run();
}
