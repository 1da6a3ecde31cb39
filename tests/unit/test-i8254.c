/* tests/unit/test-i8254.c - the timer, case by case after the 82C54 data sheet. */
#include "fakehost.h"

#define HZ 1193182

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *d;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->h = fake_host_new(0, 1);
    f->d = fake_device_new(f->h, "i8254", "pit0", NULL);
    fake_reset(f->h, VMR_RESET_COLD);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    fake_host_free(f->h);
}

static void out(Fixture *f, unsigned reg, uint8_t value)
{
    fake_write(f->d, "regs", reg, value, 1);
}

static uint8_t in(Fixture *f, unsigned reg)
{
    return fake_read(f->d, "regs", reg, 1);
}

static void port61(Fixture *f, uint8_t value)
{
    fake_write(f->d, "speaker", 0, value, 1);
}

static bool out2(Fixture *f)
{
    return fake_read(f->d, "speaker", 0, 1) & 0x20;
}

/* Advance to the middle of the tick that lies `ticks` after this one's. */
static void ticks(Fixture *f, uint64_t n)
{
    int64_t now = fake_now(f->h);
    uint64_t t = (uint64_t)((unsigned __int128)now * HZ / 1000000000) + n;
    int64_t to = (int64_t)(((unsigned __int128)t * 1000000000 + HZ - 1) / HZ) + 400;
    if (to > now)
        fake_advance(f->h, to - now);
}

/* The count of a counter, by the latch command. */
static uint16_t count(Fixture *f, unsigned c)
{
    out(f, 3, c << 6);
    uint16_t v = in(f, c);
    return v | in(f, c) << 8;
}

static uint8_t status(Fixture *f, unsigned c)
{
    out(f, 3, 0xe0 | 2u << c);
    return in(f, c);
}

static void start(Fixture *f, unsigned c, unsigned mode, uint16_t n)
{
    out(f, 3, c << 6 | 0x30 | mode << 1);
    out(f, c, n & 0xff);
    out(f, c, n >> 8);
}

static bool irq(Fixture *f)
{
    return fake_irq_level(f->d, "irq", 0);
}

static unsigned edges(Fixture *f)
{
    return fake_irq_edges(f->d, "irq", 0);
}

static void test_mode0(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    out(f, 3, 0x30);
    g_assert_cmphex(status(f, 0), ==, 0x70);
    out(f, 0, 10);
    out(f, 0, 0);
    g_assert_cmphex(status(f, 0), ==, 0x70); /* the count is loaded by the next tick */
    ticks(f, 1);
    g_assert_cmphex(status(f, 0), ==, 0x30);
    g_assert_cmpuint(count(f, 0), ==, 10);
    ticks(f, 9);
    g_assert_cmpuint(count(f, 0), ==, 1);
    g_assert_false(irq(f));
    ticks(f, 1);
    g_assert_cmpuint(count(f, 0), ==, 0);
    g_assert_true(irq(f));
    g_assert_cmphex(status(f, 0), ==, 0xb0);
    ticks(f, 1);
    g_assert_cmphex(count(f, 0), ==, 0xffff);
    g_assert_cmpuint(edges(f), ==, 1);
    out(f, 0, 100); /* the first byte stops it and lowers OUT */
    g_assert_false(irq(f));
    ticks(f, 1000);
    g_assert_false(irq(f));
    out(f, 0, 0);
    ticks(f, 101);
    g_assert_true(irq(f));
}

static void test_mode0_gate(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    port61(f, 1);
    start(f, 2, 0, 1000);
    ticks(f, 101);
    port61(f, 0);
    ticks(f, 5000);
    g_assert_cmpuint(count(f, 2), ==, 900);
    g_assert_false(out2(f));
    port61(f, 1);
    ticks(f, 899);
    g_assert_false(out2(f));
    ticks(f, 1);
    g_assert_true(out2(f)); /* how Linux times the TSC */
}

static void test_mode1(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    start(f, 2, 1, 50);
    g_assert_true(out2(f));
    ticks(f, 100);
    g_assert_cmphex(status(f, 2), ==, 0xf2); /* null count: not triggered */
    port61(f, 1);
    ticks(f, 1);
    g_assert_false(out2(f));
    g_assert_cmphex(status(f, 2), ==, 0x32);
    ticks(f, 30);
    port61(f, 0);
    port61(f, 1); /* again */
    ticks(f, 50);
    g_assert_false(out2(f));
    ticks(f, 1);
    g_assert_true(out2(f));
    ticks(f, 70000);
    g_assert_true(out2(f));
}

static void test_mode2(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    start(f, 0, 2, 100);
    unsigned before = edges(f);
    g_assert_true(irq(f));
    ticks(f, 1);
    g_assert_cmpuint(count(f, 0), ==, 100);
    ticks(f, 99);
    g_assert_cmpuint(count(f, 0), ==, 1);
    g_assert_cmphex(status(f, 0) & 0x80, ==, 0);
    g_assert_cmpuint(edges(f) - before, ==, 0);
    ticks(f, 1);
    g_assert_cmpuint(count(f, 0), ==, 100);
    g_assert_cmpuint(edges(f) - before, ==, 1);
    ticks(f, 50);
    out(f, 0, 200); /* after this period */
    out(f, 0, 0);
    g_assert_cmphex(status(f, 0), ==, 0xf4);
    g_assert_cmpuint(count(f, 0), ==, 50);
    ticks(f, 50);
    g_assert_cmphex(status(f, 0), ==, 0xb4);
    g_assert_cmpuint(count(f, 0), ==, 200);
    g_assert_cmpuint(edges(f) - before, ==, 2);
    ticks(f, 199);
    g_assert_cmpuint(edges(f) - before, ==, 2);
    ticks(f, 1);
    g_assert_cmpuint(edges(f) - before, ==, 3);
}

static void test_no_drift(Fixture *f, gconstpointer data)
{
    start(f, 0, 2, 11932);
    unsigned before = edges(f);
    fake_advance(f->h, 1000000000000); /* 1000 s: floor((1193182000 - 1) / 11932) */
    g_assert_cmpuint(edges(f) - before, ==, 99998);
    g_assert_cmpuint(count(f, 0), ==, 11932 - (1193182000ull - 1) % 11932);
}

static void test_mode3(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    start(f, 0, 3, 1000);
    unsigned before = edges(f);
    ticks(f, 1);
    g_assert_cmpuint(count(f, 0), ==, 1000);
    ticks(f, 10);
    g_assert_cmpuint(count(f, 0), ==, 980);
    g_assert_true(irq(f));
    ticks(f, 490);
    g_assert_false(irq(f));
    g_assert_cmpuint(count(f, 0), ==, 1000);
    ticks(f, 500);
    g_assert_true(irq(f));
    g_assert_cmpuint(edges(f) - before, ==, 1);
    ticks(f, 100000);
    g_assert_cmpuint(edges(f) - before, ==, 101);
    /* odd: high for one tick longer */
    start(f, 2, 3, 5);
    port61(f, 1);
    ticks(f, 1);
    static const uint8_t want[][2] = {{4, 1}, {2, 1}, {0, 1}, {4, 0}, {2, 0}};
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpuint(count(f, 2), ==, want[i % 5][0]);
        g_assert_cmpuint(out2(f), ==, want[i % 5][1]);
        ticks(f, 1);
    }
    port61(f, 0); /* a low gate raises OUT, its edge starts a period */
    ticks(f, 777);
    g_assert_true(out2(f));
    port61(f, 1);
    ticks(f, 1);
    g_assert_cmpuint(count(f, 2), ==, 4);
    start(f, 0, 3, 0); /* 65536, as firmware leaves it */
    ticks(f, 1);
    before = edges(f);
    g_assert_cmpuint(count(f, 0), ==, 0);
    ticks(f, 65536 * 18);
    g_assert_cmpuint(edges(f) - before, ==, 18);
}

static void test_mode4_5(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    start(f, 0, 4, 100);
    g_assert_true(irq(f));
    unsigned before = edges(f);
    ticks(f, 101);
    g_assert_cmphex(status(f, 0) & 0x80, ==, 0);
    g_assert_cmpuint(edges(f) - before, ==, 0);
    ticks(f, 1);
    g_assert_cmphex(status(f, 0) & 0x80, ==, 0x80);
    g_assert_cmpuint(edges(f) - before, ==, 1);
    ticks(f, 200000);
    g_assert_cmpuint(edges(f) - before, ==, 1);
    start(f, 2, 5, 10);
    ticks(f, 100);
    g_assert_true(out2(f));
    port61(f, 1);
    ticks(f, 10);
    g_assert_true(out2(f));
    ticks(f, 1);
    g_assert_false(out2(f));
    ticks(f, 1);
    g_assert_true(out2(f));
}

static void test_bytes(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    out(f, 3, 0x14); /* LSB only */
    out(f, 0, 50);
    ticks(f, 1);
    g_assert_cmpuint(in(f, 0), ==, 50);
    g_assert_cmpuint(in(f, 0), ==, 50);
    out(f, 3, 0x24); /* MSB only */
    out(f, 0, 2);
    ticks(f, 1);
    g_assert_cmpuint(in(f, 0), ==, 2);
    ticks(f, 1);
    g_assert_cmpuint(in(f, 0), ==, 1);
    out(f, 3, 0x00);
    ticks(f, 400);
    g_assert_cmpuint(in(f, 0), ==, 1); /* latched */
    g_assert_cmpuint(in(f, 0), ==, 0);
}

static void test_read_back(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    start(f, 0, 2, 1000);
    start(f, 1, 3, 2000);
    ticks(f, 1);
    out(f, 3, 0xc6); /* count and status of 0 and 1 */
    ticks(f, 100);
    out(f, 3, 0xd6); /* the first latch holds */
    g_assert_cmphex(in(f, 0), ==, 0xb4);
    g_assert_cmpuint(in(f, 0), ==, 1000 & 0xff);
    g_assert_cmpuint(in(f, 0), ==, 1000 >> 8);
    g_assert_cmphex(in(f, 1), ==, 0xb6);
    g_assert_cmpuint(in(f, 1), ==, 2000 & 0xff);
    g_assert_cmpuint(in(f, 1), ==, 2000 >> 8);
    g_assert_cmpuint(count(f, 0), ==, 900);
}

static void test_bcd(Fixture *f, gconstpointer data)
{
    ticks(f, 1);
    out(f, 3, 0x31);
    out(f, 0, 0x34);
    out(f, 0, 0x12);
    ticks(f, 1);
    g_assert_cmphex(count(f, 0), ==, 0x1234);
    ticks(f, 235);
    g_assert_cmphex(count(f, 0), ==, 0x0999);
    ticks(f, 1000);
    g_assert_cmphex(count(f, 0), ==, 0x9999);
    out(f, 3, 0x35);
    out(f, 0, 0);
    out(f, 0, 0);
    ticks(f, 2);
    g_assert_cmphex(count(f, 0), ==, 0x9999);
    out(f, 0, 0xff); /* no decimal digits: some count, no harm */
    out(f, 0, 0xff);
    ticks(f, 30000);
    count(f, 0);
}

/* A hostile period costs the host at most 50000 timers a second. */
static void test_storm(Fixture *f, gconstpointer data)
{
    for (unsigned mode = 2; mode <= 3; mode++)
        for (unsigned n = 1; n <= 3; n++) {
            start(f, 0, mode, n);
            unsigned before = edges(f);
            fake_advance(f->h, 1000000000);
            unsigned seen = edges(f) - before;
            g_assert_cmpuint(seen, <=, 50001);
            g_assert_cmpuint(seen, >=, 10000);
        }
    start(f, 0, 2, 2);
    ticks(f, 2);
    g_assert_cmpuint(count(f, 0), ==, 1);
    ticks(f, 10001);
    g_assert_cmpuint(count(f, 0), ==, 2);
}

/* The host was away for long: some are made up for, not all at once. */
static void test_late(Fixture *f, gconstpointer data)
{
    fake_advance(f->h, 1000000000);
    start(f, 0, 2, 1193);
    fake_advance(f->h, 10000000);
    /* as if the timer fired ten periods late */
    FakeHost *late = fake_host_new(0, 1);
    VmrDevice *d = fake_device_new(late, "i8254", "pit0", NULL);
    fake_reset(late, VMR_RESET_COLD);
    fake_save_load(f->d, d);
    fake_field_set(d, "event", 0, fake_field_get(d, "event", 0) - 10 * 1193);
    fake_field_set(d, "start", 0, fake_field_get(d, "start", 0) - 10 * 1193);
    unsigned before = fake_irq_edges(d, "irq", 0);
    fake_advance(late, 1000000);
    g_assert_cmpuint(fake_irq_edges(d, "irq", 0) - before, <=, 3);
    fake_advance(late, 100000000);
    g_assert_cmpuint(fake_irq_edges(d, "irq", 0) - before, >=, 101 + 8 - 1);
    g_assert_cmpuint(fake_irq_edges(d, "irq", 0) - before, <=, 101 + 8 + 2);
    fake_host_free(late);
}

static void test_port61(Fixture *f, gconstpointer data)
{
    port61(f, 0xff);
    g_assert_cmphex(fake_read(f->d, "speaker", 0, 1) & 0xcf, ==, 0x0f);
    unsigned toggles = 0;
    uint8_t last = fake_read(f->d, "speaker", 0, 1);
    for (unsigned i = 0; i < 1000; i++) {
        fake_advance(f->h, 1000);
        uint8_t v = fake_read(f->d, "speaker", 0, 1);
        toggles += (v ^ last) >> 4 & 1;
        last = v;
    }
    g_assert_cmpuint(toggles, ==, 66);
}

/* Wired as in a PC: every edge is one interrupt, in each mode that has them. */
static void test_wired(Fixture *f, gconstpointer data)
{
    VmrDevice *pic = fake_device_new(f->h, "i8259", "pic0", "irq=cpu0:intr");
    VmrDevice *pit = fake_device_new(f->h, "i8254", "pit1", "irq=@pic0:0");
    const VmrX86IntcInterface *intc = vmr_device_interface(pic, VMR_X86_INTC);
    static const uint8_t icw[] = {0x20, 0x04, 0x01};
    fake_reset(f->h, VMR_RESET_COLD);
    fake_write(pic, "master", 0, 0x11, 1);
    for (unsigned i = 0; i < 3; i++)
        fake_write(pic, "master", 1, icw[i], 1);
    f->d = pit;
    for (unsigned mode = 2; mode <= 3; mode++) {
        start(f, 0, mode, 11932);
        if (fake_cpu(f->h, 0)->intr) { /* OUT rose when the mode was set */
            g_assert_cmphex(intc->acknowledge(pic, 0), ==, 0x20);
            fake_write(pic, "master", 0, 0x20, 1);
        }
        unsigned n = 0;
        for (unsigned i = 0; i < 10010; i++) {
            fake_advance(f->h, 100000);
            if (!fake_cpu(f->h, 0)->intr)
                continue;
            g_assert_cmphex(intc->acknowledge(pic, 0), ==, 0x20);
            fake_write(pic, "master", 0, 0x20, 1);
            g_assert_false(fake_cpu(f->h, 0)->intr);
            n++;
        }
        g_assert_cmpuint(n, ==, 100);
    }
}

static void test_describe(Fixture *f, gconstpointer data)
{
    g_assert_cmpstr(vmr_fact_string(fake_description(f->d), "acpi-hid"), ==, "PNP0100");
}

static void random_step(Fixture *f)
{
    switch (fake_random(f->h, 8)) {
    case 0:
        fake_advance(f->h, fake_random(f->h, 300000));
        break;
    case 1:
        port61(f, fake_random(f->h, 256));
        break;
    case 2:
        out2(f);
        break;
    case 3: case 4:
        in(f, fake_random(f->h, 4));
        break;
    default:
        out(f, fake_random(f->h, 4), fake_random(f->h, 256));
    }
}

static void test_fuzz(Fixture *f, gconstpointer data)
{
    FakeHost *h2 = fake_host_new(0, 1);
    VmrDevice *other = fake_device_new(h2, "i8254", "pit0", NULL);
    fake_reset(h2, VMR_RESET_COLD);
    for (unsigned i = 0; i < 40000; i++) {
        random_step(f);
        if (i % 40 == 0) {
            fake_save_load(f->d, other);
            for (unsigned c = 0; c < 3; c++)
                g_assert_cmphex(fake_read(other, "regs", c, 1), ==, in(f, c));
        }
    }
    fake_host_free(h2);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_false(irq(f));
    unsigned before = edges(f);
    fake_advance(f->h, 1000000000);
    g_assert_cmpuint(edges(f), ==, before);
}

static void test_hostile_state(Fixture *f, gconstpointer data)
{
    static const char *const fields[] = {"mode", "rw", "initial", "start", "frozen", "elapsed",
                                         "armed", "reload_due", "reload_at", "reload", "bcd"};
    for (unsigned i = 0; i < 2000; i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(fields); j++)
            for (unsigned c = 0; c < 3; c++)
                fake_field_set(f->d, fields[j], c,
                               fake_random(f->h, 2) ? (uint64_t)fake_random(f->h, 0) << 33 | 1 : 0);
        fake_field_set(f->d, "event", 0, (uint64_t)fake_random(f->h, 0) << 32);
        g_assert_true(fake_post_load(f->d, NULL));
        for (unsigned j = 0; j < 20; j++)
            random_step(f);
    }
}

#define CASE(name_, fn_) g_test_add("/i8254/" name_, Fixture, NULL, set_up, fn_, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    CASE("mode0", test_mode0);
    CASE("mode0-gate", test_mode0_gate);
    CASE("mode1", test_mode1);
    CASE("mode2", test_mode2);
    CASE("no-drift", test_no_drift);
    CASE("mode3", test_mode3);
    CASE("mode4-5", test_mode4_5);
    CASE("bytes", test_bytes);
    CASE("read-back", test_read_back);
    CASE("bcd", test_bcd);
    CASE("storm", test_storm);
    CASE("late", test_late);
    CASE("port61", test_port61);
    CASE("wired", test_wired);
    CASE("describe", test_describe);
    CASE("fuzz", test_fuzz);
    CASE("hostile-state", test_hostile_state);
    return g_test_run();
}
