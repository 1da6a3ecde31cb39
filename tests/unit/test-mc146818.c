/* tests/unit/test-mc146818.c - the real-time clock, case by case after its data sheet. */
#include "fakehost.h"

#define S 1000000000ll
#define MS 1000000ll
#define US 1000ll
/* 2024-02-29 12:59:58 UTC, a Thursday */
#define START 1709211598ll

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *d;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->h = fake_host_new(0, 1);
    fake_set_wall(f->h, START * S);
    f->d = fake_device_new(f->h, "mc146818", "rtc0", data);
    fake_reset(f->h, VMR_RESET_COLD);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    fake_host_free(f->h);
}

static uint8_t in(Fixture *f, uint8_t n)
{
    fake_write(f->d, "regs", 0, n, 1);
    return fake_read(f->d, "regs", 1, 1);
}

static void out(Fixture *f, uint8_t n, uint8_t value)
{
    fake_write(f->d, "regs", 0, n, 1);
    fake_write(f->d, "regs", 1, value, 1);
}

static bool irq(Fixture *f)
{
    return fake_irq_level(f->d, "irq", 0);
}

static unsigned edges(Fixture *f)
{
    return fake_irq_edges(f->d, "irq", 0);
}

/* century year month day weekday hour minute second, as the registers have them */
static char *now(Fixture *f)
{
    return g_strdup_printf("%02x%02x-%02x-%02x %02x %02x:%02x:%02x", in(f, 0x32), in(f, 9),
                           in(f, 8), in(f, 7), in(f, 6), in(f, 4), in(f, 2), in(f, 0));
}

#define ASSERT_NOW(want_)                                                                          \
    do {                                                                                           \
        char *now_ = now(f);                                                                       \
        g_assert_cmpstr(now_, ==, want_);                                                          \
        g_free(now_);                                                                              \
    } while (0)

static void test_time(Fixture *f, gconstpointer data)
{
    ASSERT_NOW("2024-02-29 05 12:59:58");
    fake_advance(f->h, 2 * S);
    ASSERT_NOW("2024-02-29 05 13:00:00");
    fake_advance(f->h, 11 * 3600 * S);
    ASSERT_NOW("2024-03-01 06 00:00:00");
    out(f, 0x0b, 0x06); /* binary */
    ASSERT_NOW("1418-03-01 06 00:00:00");
    out(f, 0x0b, 0x00); /* BCD, 12 hours */
    g_assert_cmphex(in(f, 4), ==, 0x12);
    fake_advance(f->h, 12 * 3600 * S);
    g_assert_cmphex(in(f, 4), ==, 0x92);
    fake_advance(f->h, 3600 * S);
    g_assert_cmphex(in(f, 4), ==, 0x81);
    out(f, 0x0b, 0x04);
    g_assert_cmphex(in(f, 4), ==, 0x81);
    g_assert_cmphex(in(f, 0x0d), ==, 0x80);
    g_assert_cmphex(in(f, 0x0a), ==, 0x26);
}

static void test_set(Fixture *f, gconstpointer data)
{
    /* as Linux does: SET, hold the chain, write, release both */
    out(f, 0x0b, 0x82);
    out(f, 0x0a, 0x76);
    static const uint8_t values[][2] = {{9, 0x99}, {8, 0x12}, {7, 0x31}, {4, 0x23},
                                        {2, 0x59}, {0, 0x59}, {0x32, 0x19}, {6, 0x06}};
    for (unsigned i = 0; i < G_N_ELEMENTS(values); i++)
        out(f, values[i][0], values[i][1]);
    fake_advance(f->h, 10 * S);
    ASSERT_NOW("1999-12-31 06 23:59:59"); /* stands still */
    out(f, 0x0b, 0x02);
    fake_advance(f->h, 10 * S);
    out(f, 0x0a, 0x26);
    fake_advance(f->h, 499 * MS);
    ASSERT_NOW("1999-12-31 06 23:59:59");
    fake_advance(f->h, 2 * MS);
    ASSERT_NOW("2000-01-01 07 00:00:00");
    /* one register of the running clock */
    out(f, 7, 0x15);
    ASSERT_NOW("2000-01-15 07 00:00:00"); /* Saturdays both */
    out(f, 6, 0x01);
    fake_advance(f->h, 86400 * S);
    ASSERT_NOW("2000-01-16 02 00:00:00");
    fake_reset(f->h, VMR_RESET_WARM); /* the battery keeps it */
    ASSERT_NOW("2000-01-16 02 00:00:00");
    /* SET alone keeps the phase of the seconds */
    out(f, 0x0b, 0x82);
    out(f, 0, 0x30);
    out(f, 4, 0x21);
    out(f, 0x0b, 0x02);
    fake_advance(f->h, 998 * MS);
    g_assert_cmphex(in(f, 0), ==, 0x30);
    fake_advance(f->h, 2 * MS);
    g_assert_cmphex(in(f, 0), ==, 0x31);
    g_assert_cmphex(in(f, 4), ==, 0x21);
    /* 12 hours */
    out(f, 0x0b, 0x80);
    out(f, 4, 0x92);
    out(f, 0x0b, 0x00);
    out(f, 0x0b, 0x02);
    g_assert_cmphex(in(f, 4), ==, 0x12);
}

static void test_uip(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(in(f, 0x0a), ==, 0x26);
    fake_advance(f->h, S - 2229 * US);
    g_assert_cmphex(in(f, 0x0a), ==, 0x26);
    fake_advance(f->h, 2 * US);
    g_assert_cmphex(in(f, 0x0a), ==, 0xa6);
    g_assert_cmphex(in(f, 0), ==, 0x58);
    out(f, 0x0b, 0x82); /* SET ends the update */
    g_assert_cmphex(in(f, 0x0a), ==, 0x26);
    out(f, 0x0b, 0x02);
    fake_advance(f->h, 2227 * US);
    g_assert_cmphex(in(f, 0x0a), ==, 0x26);
    g_assert_cmphex(in(f, 0), ==, 0x59);
}

static void test_update_interrupt(Fixture *f, gconstpointer data)
{
    fake_advance(f->h, 3 * S);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 0x0c) & 0x90, ==, 0x10); /* the flag without an interrupt */
    g_assert_cmphex(in(f, 0x0c) & 0x90, ==, 0x00);
    fake_advance(f->h, 300 * MS);
    out(f, 0x0b, 0x12);
    fake_advance(f->h, 699 * MS);
    g_assert_false(irq(f));
    fake_advance(f->h, 2 * MS);
    g_assert_true(irq(f));
    fake_advance(f->h, 5 * S);
    g_assert_cmpuint(edges(f), ==, 1);
    g_assert_cmphex(in(f, 0x0c) & 0xb0, ==, 0x90);
    g_assert_false(irq(f));
    for (unsigned i = 0; i < 10; i++) {
        fake_advance(f->h, S);
        g_assert_cmphex(in(f, 0x0c) & 0xb0, ==, 0x90);
    }
    g_assert_cmpuint(edges(f), ==, 11);
    out(f, 0x0b, 0x92); /* SET clears UIE */
    g_assert_cmphex(in(f, 0x0b), ==, 0x82);
    fake_advance(f->h, 5 * S);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 0x0c) & 0x30, ==, 0x00);
}

static void test_alarm(Fixture *f, gconstpointer data)
{
    out(f, 1, 0x05);
    out(f, 3, 0x00);
    out(f, 5, 0x13);
    out(f, 0x0b, 0x22);
    fake_advance(f->h, 6999 * MS);
    g_assert_false(irq(f));
    fake_advance(f->h, 2 * MS);
    g_assert_true(irq(f));
    g_assert_cmphex(in(f, 0x0c) & 0xb0, ==, 0xb0);
    out(f, 3, 0xc0); /* every minute */
    out(f, 5, 0xff);
    fake_advance(f->h, 60 * S);
    g_assert_true(irq(f));
    g_assert_cmpuint(edges(f), ==, 2);
    in(f, 0x0c);
    out(f, 0x0b, 0x02); /* the flag by itself, found afterwards */
    fake_advance(f->h, 59 * S);
    g_assert_cmphex(in(f, 0x0c) & 0xa0, ==, 0x00);
    fake_advance(f->h, S);
    g_assert_cmphex(in(f, 0x0c) & 0xa0, ==, 0x20);
    out(f, 5, 0x12); /* never in the next 22 hours, then once */
    fake_advance(f->h, 22 * 3600 * S);
    g_assert_cmphex(in(f, 0x0c) & 0xa0, ==, 0x00);
    fake_advance(f->h, (int64_t)400 * 86400 * S);
    g_assert_cmphex(in(f, 0x0c) & 0xa0, ==, 0x20);
}

static void test_periodic(Fixture *f, gconstpointer data)
{
    out(f, 0x0b, 0x42); /* 1024 Hz */
    unsigned n = 0;
    for (unsigned i = 0; i < 10000; i++) {
        fake_advance(f->h, 100 * US);
        if (irq(f)) {
            g_assert_cmphex(in(f, 0x0c) & 0xc0, ==, 0xc0);
            n++;
        }
    }
    g_assert_cmpuint(n, ==, 1024);
    static const struct { uint8_t rs; unsigned hz; } rates[] = {
        {1, 256}, {2, 128}, {3, 8192}, {8, 256}, {15, 2}, {0, 0}};
    for (unsigned i = 0; i < G_N_ELEMENTS(rates); i++) {
        out(f, 0x0a, 0x20 | rates[i].rs);
        in(f, 0x0c);
        n = 0;
        for (unsigned j = 0; j < 20000; j++) {
            fake_advance(f->h, 50 * US);
            n += in(f, 0x0c) >> 7;
        }
        g_assert_cmpuint(n, ==, rates[i].hz);
    }
    out(f, 0x0a, 0x76); /* the chain is held */
    fake_advance(f->h, S);
    g_assert_false(irq(f));
    out(f, 0x0a, 0x26);
    out(f, 0x0b, 0x02);
    fake_advance(f->h, 2 * MS);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 0x0c) & 0xc0, ==, 0x40);
    out(f, 0x0b, 0x42);
    fake_advance(f->h, 10 * MS); /* nobody answers: one edge, no storm */
    unsigned before = edges(f);
    fake_advance(f->h, 10 * S);
    g_assert_cmpuint(edges(f), ==, before);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_false(irq(f));
    g_assert_cmphex(in(f, 0x0b), ==, 0x02);
}

static void test_cmos(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0x0e; i < 128; i++)
        if (i != 0x32)
            out(f, i, i ^ 0x5a);
    for (unsigned i = 0x0e; i < 128; i++)
        if (i != 0x32)
            g_assert_cmphex(in(f, i), ==, i ^ 0x5a);
    fake_write(f->d, "regs", 0, 0xc0, 1);
    g_assert_true(fake_irq_level(f->d, "nmi-mask", 0));
    g_assert_cmphex(fake_read(f->d, "regs", 1, 1), ==, 0x40 ^ 0x5a);
    fake_write(f->d, "regs", 0, 0x40, 1);
    g_assert_false(fake_irq_level(f->d, "nmi-mask", 0));
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_cmphex(in(f, 0x40), ==, 0x40 ^ 0x5a);
    fake_reset(f->h, VMR_RESET_COLD);
    g_assert_cmphex(in(f, 0x40), ==, 0);
}

static uint32_t bytes(Fixture *f, uint8_t low, uint8_t high)
{
    return in(f, low) | in(f, high) << 8;
}

static void test_memory(Fixture *f, gconstpointer data)
{
    static const VmrMemoryRange small[] = {{0, 32 << 20}};
    fake_set_ram_ranges(f->h, small, 1);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_cmpuint(bytes(f, 0x15, 0x16), ==, 640);
    g_assert_cmpuint(bytes(f, 0x17, 0x18), ==, 31 * 1024);
    g_assert_cmpuint(bytes(f, 0x30, 0x31), ==, 31 * 1024);
    g_assert_cmpuint(bytes(f, 0x34, 0x35), ==, 256);
    g_assert_cmpuint(bytes(f, 0x5b, 0x5c), ==, 0);
    static const VmrMemoryRange large[] = {{0, 0xc0000000}, {0x100000000, 0x1800000000}};
    fake_set_ram_ranges(f->h, large, 2);
    fake_reset(f->h, VMR_RESET_COLD);
    g_assert_cmpuint(bytes(f, 0x17, 0x18), ==, 0xffff);
    g_assert_cmpuint(bytes(f, 0x34, 0x35), ==, (0xc0000000 - 0x1000000) >> 16);
    g_assert_cmpuint(bytes(f, 0x5b, 0x5c) | in(f, 0x5d) << 16, ==, 0x180000);
    static const VmrMemoryRange odd[] = {{0x80000000, UINT64_MAX}};
    fake_set_ram_ranges(f->h, odd, 1);
    fake_reset(f->h, VMR_RESET_COLD);
    g_assert_cmpuint(bytes(f, 0x15, 0x16), ==, 0);
}

static void test_localtime(Fixture *f, gconstpointer data)
{
    ASSERT_NOW("2024-02-29 05 18:29:58"); /* main() sets TZ */
}

static void test_describe(Fixture *f, gconstpointer data)
{
    const VmrDescription *d = fake_description(f->d);
    g_assert_cmpstr(vmr_fact_string(d, "acpi-hid"), ==, "PNP0B00");
    g_assert_cmpuint(vmr_fact_number(d, "century", 0), ==, 0x32);
}

static void random_step(Fixture *f)
{
    switch (fake_random(f->h, 5)) {
    case 0:
        fake_advance(f->h, fake_random(f->h, 2000000000));
        break;
    case 1: case 2:
        in(f, fake_random(f->h, 16));
        break;
    case 3:
        fake_set_wall(f->h, (int64_t)fake_random(f->h, 0) * S);
        break;
    default:
        out(f, fake_random(f->h, 8) ? fake_random(f->h, 16) : fake_random(f->h, 256),
            fake_random(f->h, 256));
    }
}

static void test_fuzz(Fixture *f, gconstpointer data)
{
    FakeHost *h2 = fake_host_new(0, 1);
    Fixture g = {h2, fake_device_new(h2, "mc146818", "rtc0", NULL)};
    fake_reset(h2, VMR_RESET_COLD);
    for (unsigned i = 0; i < 5000; i++) {
        random_step(f);
        if (i % 10 == 0) {
            fake_save_load(f->d, g.d);
            g_assert_cmpuint(irq(&g), ==, irq(f));
            for (unsigned n = 0; n < 14; n++)
                g_assert_cmphex(in(&g, n), ==, in(f, n));
        }
    }
    fake_host_free(h2);
    fake_set_wall(f->h, START * S);
    fake_reset(f->h, VMR_RESET_COLD);
    ASSERT_NOW("2024-02-29 05 12:59:58");
    g_assert_false(irq(f));
}

static void test_hostile_state(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 300; i++) {
        for (unsigned n = 0; n < 14; n++)
            fake_field_set(f->d, "cmos", n, fake_random(f->h, 256));
        fake_field_set(f->d, "index", 0, fake_random(f->h, 256));
        fake_field_set(f->d, "weekday_delta", 0, fake_random(f->h, 256));
        fake_field_set(f->d, "offset_s", 0, (uint64_t)fake_random(f->h, 0) << 32);
        fake_field_set(f->d, "phase_ns", 0, (uint64_t)fake_random(f->h, 0) << 32);
        fake_field_set(f->d, "last_update", 0, (uint64_t)fake_random(f->h, 0) << 32);
        fake_field_set(f->d, "last_period", 0, (uint64_t)fake_random(f->h, 0) << 32);
        g_assert_true(fake_post_load(f->d, NULL));
        for (unsigned j = 0; j < 20; j++)
            random_step(f);
    }
}

#define CASE(name_, fn_, properties_)                                                              \
    g_test_add("/mc146818/" name_, Fixture, properties_, set_up, fn_, tear_down)

int main(int argc, char **argv)
{
    g_setenv("TZ", "XST-05:30", TRUE);
    g_test_init(&argc, &argv, NULL);
    CASE("time", test_time, NULL);
    CASE("set", test_set, NULL);
    CASE("uip", test_uip, NULL);
    CASE("update-interrupt", test_update_interrupt, NULL);
    CASE("alarm", test_alarm, NULL);
    CASE("periodic", test_periodic, NULL);
    CASE("cmos", test_cmos, NULL);
    CASE("memory", test_memory, NULL);
    CASE("localtime", test_localtime, "base=localtime");
    CASE("describe", test_describe, NULL);
    CASE("fuzz", test_fuzz, NULL);
    CASE("hostile-state", test_hostile_state, NULL);
    return g_test_run();
}
