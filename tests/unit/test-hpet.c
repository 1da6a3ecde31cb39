/* tests/unit/test-hpet.c - the HPET, register by register, and its comparators in all modes. */
#include "fakehost.h"

enum { CAP = 0, CONF = 0x10, STA = 0x20, CNT = 0xf0 };
enum { LEVEL = 1 << 1, ENB = 1 << 2, PERIODIC = 1 << 3, VAL_SET = 1 << 6, MODE_32 = 1 << 8 };

#define ROUTE(pin_) ((uint64_t)(pin_) << 9)
#define CAPS(n_) (0x100 + 0x20 * (n_))
#define COMP(n_) (0x108 + 0x20 * (n_))
#define FSB(n_) (0x110 + 0x20 * (n_))

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *d;
} Fixture;

static uint64_t get(Fixture *f, unsigned reg)
{
    return fake_read(f->d, "regs", reg, 8);
}

static void put(Fixture *f, unsigned reg, uint64_t value)
{
    fake_write(f->d, "regs", reg, value, 8);
}

static void put32(Fixture *f, unsigned reg, uint32_t value)
{
    fake_write(f->d, "regs", reg, value, 4);
}

static unsigned edges(Fixture *f, unsigned pin)
{
    return fake_irq_edges(f->d, "out", pin);
}

static bool level(Fixture *f, unsigned pin)
{
    return fake_irq_level(f->d, "out", pin);
}

static void ticks(Fixture *f, int64_t n)
{
    fake_advance(f->h, n * 10);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->h = fake_host_new(0, 1);
    f->d = fake_device_new(f->h, "hpet", "hpet0", NULL);
    fake_reset(f->h, VMR_RESET_COLD);
    fake_advance(f->h, 123456);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    fake_host_free(f->h);
}

static void test_registers(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(get(f, CAP), ==, 0x009896808086a201);
    put(f, CAP, 0);
    g_assert_cmphex(get(f, CAP), ==, 0x009896808086a201);
    g_assert_cmphex(fake_read(f->d, "regs", CAP + 4, 4), ==, 10000000);
    for (unsigned n = 0; n < 3; n++) {
        g_assert_cmphex(get(f, CAPS(n)), ==, 0x00f0000000000030);
        g_assert_cmphex(get(f, COMP(n)), ==, ~0ull);
        put(f, CAPS(n), ~0ull);
        g_assert_cmphex(get(f, CAPS(n)), ==, 0x00f0000000003f7e);
        put(f, CAPS(n), 0);
        put(f, FSB(n), ~0ull);
        g_assert_cmphex(get(f, FSB(n)), ==, 0);
    }
    put(f, CAPS(3), ~0ull); /* there is no fourth */
    g_assert_cmphex(get(f, CAPS(3)), ==, 0);
    put(f, CONF, ~3ull);
    g_assert_cmphex(get(f, CONF), ==, 0);
    const VmrDescription *d = fake_description(f->d);
    g_assert_cmphex(vmr_fact_number(d, "hpet-id", 0), ==, 0x8086a201);
    g_assert_cmpstr(vmr_fact_string(d, "timer-block"), ==, "hpet");
    g_assert_cmpstr(vmr_fact_string(d, "acpi-hid"), ==, "PNP0103");
}

static void test_counter(Fixture *f, gconstpointer data)
{
    g_assert_cmpuint(get(f, CNT), ==, 0);
    put(f, CNT, 0x123456789abcdef0);
    put32(f, CNT, 0x80000000);
    g_assert_cmphex(get(f, CNT), ==, 0x1234567880000000);
    put32(f, CNT + 4, 0);
    put32(f, CNT, 100);
    fake_advance(f->h, 1000);
    g_assert_cmpuint(get(f, CNT), ==, 100);
    put(f, CONF, 1);
    fake_advance(f->h, 1009);
    g_assert_cmpuint(get(f, CNT), ==, 200);
    fake_advance(f->h, 1);
    g_assert_cmpuint(get(f, CNT), ==, 201);
    put(f, CNT, 0); /* not while it runs */
    g_assert_cmpuint(get(f, CNT), ==, 201);
    g_assert_cmpuint(fake_guest_errors(f->d), ==, 1);
    put(f, CONF, 0);
    fake_advance(f->h, 1000);
    g_assert_cmpuint(get(f, CNT), ==, 201);
    put(f, CNT, ~0ull);
    put(f, CONF, 1);
    ticks(f, 2);
    g_assert_cmpuint(get(f, CNT), ==, 1);
}

static void test_one_shot(Fixture *f, gconstpointer data)
{
    put(f, CAPS(2), ENB | ROUTE(20));
    put(f, COMP(2), 100000);
    ticks(f, 200000);
    g_assert_cmpuint(edges(f, 20), ==, 0); /* it stands */
    put(f, CONF, 1);
    ticks(f, 99999);
    g_assert_cmpuint(edges(f, 20), ==, 0);
    ticks(f, 1);
    g_assert_cmpuint(edges(f, 20), ==, 1);
    g_assert_cmpuint(get(f, STA), ==, 0); /* an edge has no status */
    ticks(f, 10000000);
    g_assert_cmpuint(edges(f, 20), ==, 1);
    put(f, COMP(2), get(f, CNT) + 5);
    ticks(f, 5);
    g_assert_cmpuint(edges(f, 20), ==, 2);
    put(f, COMP(2), get(f, CNT) - 5); /* past: not before the counter comes round */
    ticks(f, 1000000000);
    g_assert_cmpuint(edges(f, 20), ==, 2);
    put(f, CAPS(2), ROUTE(20)); /* not enabled: no interrupt */
    g_assert_false(level(f, 20));
    put(f, COMP(2), get(f, CNT) + 5);
    ticks(f, 5);
    g_assert_cmpuint(edges(f, 20), ==, 2);
    put(f, CAPS(2), ENB | ROUTE(3)); /* a pin that it cannot be routed to */
    put(f, COMP(2), get(f, CNT) + 5);
    ticks(f, 5);
    g_assert_cmpuint(edges(f, 3), ==, 0);
}

static void test_32bit(Fixture *f, gconstpointer data)
{
    put(f, CNT, 0x7fffffff0);
    put(f, CAPS(1), ENB | MODE_32 | ROUTE(21));
    g_assert_cmphex(get(f, COMP(1)), ==, 0xffffffff);
    put(f, COMP(1), 0x100000020);
    g_assert_cmphex(get(f, COMP(1)), ==, 0x20);
    put32(f, COMP(1) + 4, 5);
    g_assert_cmphex(get(f, COMP(1)), ==, 0x20);
    put(f, CONF, 1);
    ticks(f, 0x2f);
    g_assert_cmpuint(edges(f, 21), ==, 0);
    ticks(f, 1);
    g_assert_cmpuint(edges(f, 21), ==, 1);
    ticks(f, 0xffffffff);
    g_assert_cmpuint(edges(f, 21), ==, 1);
    ticks(f, 1); /* once around */
    g_assert_cmpuint(edges(f, 21), ==, 2);
}

/* As operating systems set it up: comparator, then increment. */
static void test_periodic(Fixture *f, gconstpointer data)
{
    put(f, CONF, 1);
    put(f, CAPS(0), ENB | PERIODIC | VAL_SET | MODE_32 | ROUTE(20));
    put32(f, COMP(0), 150000);
    g_assert_cmphex((uint32_t)get(f, CAPS(0)) & VAL_SET, ==, 0);
    put32(f, COMP(0), 100000);
    g_assert_cmpuint(get(f, COMP(0)), ==, 150000);
    ticks(f, 149999);
    g_assert_cmpuint(edges(f, 20), ==, 0);
    ticks(f, 1);
    g_assert_cmpuint(edges(f, 20), ==, 1);
    g_assert_cmpuint(get(f, COMP(0)), ==, 250000);
    for (unsigned i = 1; i <= 10; i++) {
        ticks(f, 99999);
        g_assert_cmpuint(edges(f, 20), ==, i);
        ticks(f, 1);
        g_assert_cmpuint(edges(f, 20), ==, 1 + i);
    }
    put(f, CONF, 0); /* stop and go */
    g_assert_false(level(f, 20));
    ticks(f, 1000000);
    put(f, CONF, 1);
    ticks(f, 99999);
    g_assert_cmpuint(edges(f, 20), ==, 11);
    ticks(f, 1);
    g_assert_cmpuint(edges(f, 20), ==, 12);
    /* Over the end of 32 bits. */
    put(f, CONF, 0);
    put(f, CNT, 0xffffff00);
    put(f, CAPS(0), ENB | PERIODIC | VAL_SET | MODE_32 | ROUTE(20));
    put32(f, COMP(0), 0xfffffff0);
    put32(f, COMP(0), 100000);
    put(f, CONF, 1);
    ticks(f, 0xf0);
    g_assert_cmpuint(edges(f, 20), ==, 13);
    g_assert_cmphex(get(f, COMP(0)), ==, 100000 - 0x10);
    ticks(f, 100000);
    g_assert_cmpuint(edges(f, 20), ==, 14);
}

static void test_tiny_period(Fixture *f, gconstpointer data)
{
    put(f, CONF, 1);
    for (unsigned n = 0; n < 3; n++) {
        put(f, CAPS(n), ENB | PERIODIC | VAL_SET | ROUTE(20 + n));
        put(f, COMP(n), 7);
        put(f, COMP(n), 1 + n);
    }
    ticks(f, 100000); /* 1 ms */
    for (unsigned n = 0; n < 3; n++) {
        g_assert_cmpuint(edges(f, 20 + n), >=, 45);
        g_assert_cmpuint(edges(f, 20 + n), <=, 51);
    }
    uint64_t ahead = get(f, COMP(2)) - get(f, CNT); /* what is read is exact */
    g_assert_cmpuint(ahead, <=, 3);
    put(f, COMP(1), 0); /* no increment at all */
    unsigned before = edges(f, 21);
    ticks(f, 1000000);
    g_assert_cmpuint(edges(f, 21), <=, before + 1);
}

static void test_level(Fixture *f, gconstpointer data)
{
    put(f, CAPS(1), ENB | LEVEL | PERIODIC | VAL_SET | ROUTE(22));
    put(f, COMP(1), 10000);
    put(f, CONF, 1);
    ticks(f, 10000);
    g_assert_true(level(f, 22));
    g_assert_cmphex(get(f, STA), ==, 2);
    put(f, STA, 5); /* others */
    g_assert_true(level(f, 22));
    ticks(f, 10000);
    g_assert_cmpuint(edges(f, 22), ==, 1);
    put(f, STA, 2);
    g_assert_false(level(f, 22));
    g_assert_cmphex(get(f, STA), ==, 0);
    ticks(f, 10000);
    g_assert_cmpuint(edges(f, 22), ==, 2);
    put(f, CAPS(1), LEVEL | PERIODIC | ROUTE(22)); /* not enabled: the line falls, the bit stays */
    g_assert_false(level(f, 22));
    g_assert_cmphex(get(f, STA), ==, 2);
    put(f, CAPS(1), ENB | LEVEL | PERIODIC | ROUTE(23)); /* another route */
    g_assert_true(level(f, 23));
    put32(f, STA, 2);
    g_assert_false(level(f, 23));
    put(f, CAPS(2), ENB | LEVEL | ROUTE(23)); /* shared */
    put(f, COMP(2), get(f, CNT) + 10000);
    ticks(f, 10000);
    g_assert_cmphex(get(f, STA), ==, 6);
    put(f, STA, 2);
    g_assert_true(level(f, 23));
    put(f, STA, 4);
    g_assert_false(level(f, 23));
}

static void test_legacy(Fixture *f, gconstpointer data)
{
    fake_line_set(f->d, "legacy-in", 0, true); /* without it, PIT and RTC pass */
    g_assert_true(fake_irq_level(f->d, "legacy", 0));
    fake_line_set(f->d, "legacy-in", 0, false);
    g_assert_false(fake_irq_level(f->d, "legacy", 0));
    fake_line_set(f->d, "legacy-in", 1, true);
    g_assert_true(fake_irq_level(f->d, "legacy", 1));
    put(f, CONF, 3);
    g_assert_false(fake_irq_level(f->d, "legacy", 1));
    fake_line_set(f->d, "legacy-in", 0, true);
    g_assert_false(fake_irq_level(f->d, "legacy", 0));
    for (unsigned n = 0; n < 3; n++) {
        put(f, CAPS(n), ENB | ROUTE(20)); /* the route of 0 and 1 counts for nothing */
        put(f, COMP(n), 1000 * (n + 1));
    }
    unsigned before = fake_irq_edges(f->d, "legacy", 0);
    ticks(f, 1000);
    g_assert_cmpuint(fake_irq_edges(f->d, "legacy", 0), ==, before + 1);
    before = fake_irq_edges(f->d, "legacy", 1);
    ticks(f, 1000);
    g_assert_cmpuint(fake_irq_edges(f->d, "legacy", 1), ==, before + 1);
    g_assert_cmpuint(edges(f, 20), ==, 0);
    ticks(f, 1000);
    g_assert_cmpuint(edges(f, 20), ==, 1);
    put(f, CONF, 1);
    g_assert_true(fake_irq_level(f->d, "legacy", 0)); /* the PIT's level again */
    fake_line_set(f->d, "legacy-in", 0, false);
    g_assert_false(fake_irq_level(f->d, "legacy", 0));
}

static void test_reset(Fixture *f, gconstpointer data)
{
    put(f, CAPS(0), ENB | PERIODIC | LEVEL | VAL_SET | ROUTE(20));
    put(f, COMP(0), 10000);
    put(f, CONF, 1);
    ticks(f, 10000);
    g_assert_true(level(f, 20));
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_false(level(f, 20));
    g_assert_cmphex(get(f, CNT), ==, 0);
    g_assert_cmphex(get(f, CAPS(0)), ==, 0x00f0000000000030);
    ticks(f, 1000000);
    g_assert_cmpuint(edges(f, 20), ==, 1);
    test_registers(f, NULL);
}

static void test_save_load(Fixture *f, gconstpointer data)
{
    FakeHost *h2 = fake_host_new(0, 1);
    Fixture g = {h2, fake_device_new(h2, "hpet", "hpet0", NULL)};

    fake_reset(h2, VMR_RESET_COLD);
    put(f, CONF, 1);
    put(f, CAPS(0), ENB | PERIODIC | VAL_SET | ROUTE(20));
    put(f, COMP(0), 10000);
    put(f, CAPS(1), ENB | LEVEL | ROUTE(21));
    put(f, COMP(1), 12000);
    ticks(f, 15000);
    fake_save_load(f->d, g.d);
    g_assert_true(level(&g, 21));
    g_assert_true(level(&g, 20));
    g_assert_cmpuint(get(&g, CNT), ==, 15000);
    ticks(&g, 4999);
    g_assert_cmpuint(edges(&g, 20), ==, 1);
    ticks(&g, 1);
    g_assert_cmpuint(edges(&g, 20), ==, 2);
    put(&g, STA, 2);
    g_assert_false(level(&g, 21));
    fake_field_set(g.d, "match", 0, (uint64_t)INT64_MIN); /* made up: found again */
    g_assert_true(fake_post_load(g.d, NULL));
    g_assert_cmpint((int64_t)fake_field_get(g.d, "match", 0), >, 0);
    fake_field_set(g.d, "counter_time", 0, (uint64_t)INT64_MIN);
    GError *error = NULL;
    g_assert_false(fake_post_load(g.d, &error));
    g_clear_error(&error);
    fake_host_free(h2);
}

static void test_32_timers(void)
{
    FakeHost *h = fake_host_new(0, 1);
    Fixture f = {h, fake_device_new(h, "hpet", "hpet0", "timers=32;routes=0xffffff")};

    fake_reset(h, VMR_RESET_COLD);
    g_assert_cmphex((uint32_t)get(&f, CAP), ==, 0x8086bf01);
    put(&f, CONF, 1);
    for (unsigned n = 0; n < 32; n++) {
        put(&f, CAPS(n), ENB | ROUTE(n)); /* 24 and up lead nowhere */
        put(&f, COMP(n), 100 + n);
    }
    ticks(&f, 1000);
    for (unsigned n = 0; n < 24; n++)
        g_assert_cmpuint(edges(&f, n), ==, 1);
    fake_host_free(h);
}

static void test_fuzz(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 300000; i++) {
        uint32_t r = fake_random(f->h, 0);
        unsigned size = 1u << (r & 3);
        uint64_t offset = (r & 0x40 ? fake_random(f->h, 0x1000) : fake_random(f->h, 0x180)) & -size;
        uint64_t value = r & 0x80 ? fake_random(f->h, 0x400)
                                  : (uint64_t)fake_random(f->h, 0) << 32 | fake_random(f->h, 0);

        switch (r >> 8 & 7) {
        case 0:
            fake_read(f->d, "regs", offset, size);
            break;
        case 1 ... 4:
            fake_write(f->d, "regs", offset, value, size);
            break;
        case 5:
            put(f, CONF, r >> 16 & 3);
            break;
        case 6:
            fake_line_set(f->d, "legacy-in", r >> 16 & 1, r >> 17 & 1);
            break;
        case 7:
            fake_advance(f->h, r >> 16);
            break;
        }
    }
}

#define TEST(name_) g_test_add("/hpet/" #name_, Fixture, NULL, set_up, test_##name_, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST(registers);
    TEST(counter);
    TEST(one_shot);
    TEST(32bit);
    TEST(periodic);
    TEST(tiny_period);
    TEST(level);
    TEST(legacy);
    TEST(reset);
    TEST(save_load);
    g_test_add_func("/hpet/32_timers", test_32_timers);
    TEST(fuzz);
    return g_test_run();
}
