/* tests/unit/test-acpi-pm.c - ACPI fixed hardware. */
#include "fakehost.h"

enum { STS = 0, EN = 2, CNT = 4, TMR = 8, GPE_STS = 0x20, GPE_EN = 0x24 };
#define HZ 3579545ull
#define SECOND 1000000000ll

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *d;
} Fixture;

static void set_up(Fixture *f, gconstpointer properties)
{
    f->h = fake_host_new(0, 1);
    f->d = fake_device_new(f->h, "acpi-pm", "pm", properties);
    fake_reset(f->h, VMR_RESET_COLD);
}

static void tear_down(Fixture *f, gconstpointer properties)
{
    fake_host_free(f->h);
}

static uint32_t in(Fixture *f, unsigned offset, unsigned size)
{
    return fake_read(f->d, "pm", offset, size);
}

static void out(Fixture *f, unsigned offset, uint32_t value, unsigned size)
{
    fake_write(f->d, "pm", offset, value, size);
}

static bool sci(Fixture *f)
{
    return fake_irq_level(f->d, "sci", 0);
}

static void test_reset_values(Fixture *f, gconstpointer properties)
{
    g_assert_cmphex(in(f, STS, 2), ==, 0);
    g_assert_cmphex(in(f, EN, 2), ==, 0);
    g_assert_cmphex(in(f, CNT, 2), ==, 1); /* SCI_EN */
    g_assert_cmphex(in(f, TMR, 4), ==, 0);
    g_assert_cmphex(in(f, GPE_STS, 4), ==, 0);
    g_assert_cmphex(in(f, GPE_EN, 4), ==, 0);
    g_assert_false(sci(f));
}

static void test_timer(Fixture *f, gconstpointer properties)
{
    fake_advance(f->h, SECOND);
    g_assert_cmpuint(in(f, TMR, 4), ==, HZ);
    g_assert_cmpuint(in(f, TMR, 1) | in(f, TMR + 1, 1) << 8 | in(f, TMR + 2, 2) << 16, ==, HZ);
    fake_advance(f->h, 280); /* one tick is 279.365 ns */
    g_assert_cmpuint(in(f, TMR, 4), ==, HZ + 1);
    out(f, TMR, 0, 4); /* read-only */
    g_assert_cmpuint(in(f, TMR, 4), ==, HZ + 1);
    fake_advance(f->h, 100000 * SECOND - fake_now(f->h));
    g_assert_cmpuint(in(f, TMR, 4), ==, (uint32_t)(100000 * HZ));
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_cmpuint(in(f, TMR, 4), ==, 0);
}

static void test_timer_24(Fixture *f, gconstpointer properties)
{
    fake_advance(f->h, 10 * SECOND);
    g_assert_cmpuint(in(f, TMR, 4), ==, 10 * HZ & 0xffffff);
}

/* TMR_STS at each change of the highest bit, both ways; `properties` says how wide. */
static void test_overflow(Fixture *f, gconstpointer properties)
{
    unsigned bits = strstr(properties, "24") ? 24 : 32;
    uint64_t half = 1ull << (bits - 1);
    int64_t ns = (half * SECOND + HZ - 1) / HZ;

    /* not enabled: seen when read */
    fake_advance(f->h, ns - 1);
    g_assert_cmphex(in(f, STS, 2), ==, 0);
    fake_advance(f->h, 1);
    g_assert_cmpuint(in(f, TMR, 4), ==, half);
    g_assert_cmphex(in(f, STS, 2), ==, 1);
    g_assert_false(sci(f));
    /* enabling what is set raises the SCI at once; a status bit is cleared by writing 1 */
    out(f, EN, 1, 2);
    g_assert_true(sci(f));
    out(f, STS, 0xfffe, 2);
    g_assert_true(sci(f));
    out(f, STS, 1, 2);
    g_assert_false(sci(f));
    g_assert_cmphex(in(f, STS, 2), ==, 0);
    /* enabled: on time, without a read; here the bit goes from 1 to 0 */
    unsigned edges = fake_irq_edges(f->d, "sci", 0);
    int64_t wrap = (2 * half * SECOND + HZ - 1) / HZ;
    fake_advance(f->h, wrap - fake_now(f->h) - 1);
    g_assert_false(sci(f));
    fake_advance(f->h, 1);
    g_assert_true(sci(f));
    g_assert_cmpuint(fake_irq_edges(f->d, "sci", 0), ==, edges + 1);
    g_assert_cmpuint(in(f, TMR, 4), ==, 0);
    /* not cleared: stays, and no timer runs */
    fake_advance(f->h, wrap);
    g_assert_cmpuint(fake_irq_edges(f->d, "sci", 0), ==, edges + 1);
    out(f, EN, 0, 2);
    g_assert_false(sci(f));
}

static void test_power_button(Fixture *f, gconstpointer properties)
{
    fake_line_set(f->d, "power-button", 0, true);
    g_assert_cmphex(in(f, STS, 2), ==, 0x100);
    g_assert_false(sci(f));
    out(f, EN + 1, 0x01, 1);
    g_assert_true(sci(f));
    out(f, STS + 1, 0x01, 1); /* held down: no second event */
    g_assert_false(sci(f));
    g_assert_cmphex(in(f, STS, 2), ==, 0);
    fake_line_set(f->d, "power-button", 0, false);
    g_assert_false(sci(f));
    fake_line_set(f->d, "power-button", 0, true);
    g_assert_true(sci(f));
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_false(sci(f));
    g_assert_cmphex(in(f, EN, 2), ==, 0);
}

static void test_gpe(Fixture *f, gconstpointer properties)
{
    fake_line_set(f->d, "gpe", 17, true);
    g_assert_cmphex(in(f, GPE_STS, 4), ==, 1u << 17);
    g_assert_false(sci(f));
    out(f, GPE_EN + 2, 0x02, 1);
    g_assert_cmphex(in(f, GPE_EN, 4), ==, 1u << 17);
    g_assert_true(sci(f));
    out(f, GPE_STS + 2, 0x02, 1);
    g_assert_false(sci(f));
    fake_line_set(f->d, "gpe", 31, true);
    out(f, GPE_EN, 0x80000000, 4);
    g_assert_true(sci(f));
    out(f, GPE_EN, 0, 4);
    g_assert_false(sci(f));
}

static void test_sleep(Fixture *f, gconstpointer properties)
{
    VmrRequest request;

    out(f, CNT, 5 << 10 | 1 << 13, 2); /* not S5 */
    g_assert_false(fake_last_request(f->h, NULL, NULL));
    out(f, CNT, 7 << 10, 2); /* S5, but no SLP_EN */
    g_assert_false(fake_last_request(f->h, NULL, NULL));
    g_assert_cmphex(in(f, CNT, 2), ==, 7 << 10 | 1);
    out(f, CNT, 7 << 10 | 1 << 13, 2);
    g_assert_true(fake_last_request(f->h, &request, NULL));
    g_assert_cmpint(request, ==, VMR_REQUEST_POWEROFF);
    g_assert_cmphex(in(f, CNT, 2), ==, 7 << 10 | 1); /* SLP_EN reads as 0 */
}

static void test_reset_register(Fixture *f, gconstpointer properties)
{
    VmrRequest request;

    fake_write(f->d, "reset", 0, 0x02, 1); /* PCI's way: the kind first ... */
    g_assert_cmphex(fake_read(f->d, "reset", 0, 1), ==, 0x02);
    g_assert_false(fake_last_request(f->h, NULL, NULL));
    fake_write(f->d, "reset", 0, 0x06, 1); /* ... then RST_CPU.  ACPI writes 6 only. */
    g_assert_true(fake_last_request(f->h, &request, NULL));
    g_assert_cmpint(request, ==, VMR_REQUEST_RESET);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_cmphex(fake_read(f->d, "reset", 0, 1), ==, 0);
}

static void test_save_load(Fixture *f, gconstpointer properties)
{
    VmrDevice *b = fake_device_new(f->h, "acpi-pm", "b", properties);

    fake_reset(f->h, VMR_RESET_COLD);
    out(f, EN, 0x101, 2);
    out(f, CNT, 6 << 10 | 2, 2);
    out(f, GPE_EN, 0x1234, 4);
    fake_line_set(f->d, "gpe", 4, true);
    fake_advance(f->h, 5 * SECOND);
    fake_save_load(f->d, b);
    g_assert_true(fake_irq_level(b, "sci", 0));
    for (unsigned i = 0; i < 0x40; i++)
        g_assert_cmphex(fake_read(b, "pm", i, 1), ==, in(f, i, 1));
    /* the timer goes on in both */
    out(f, GPE_STS, ~0u, 4);
    fake_write(b, "pm", GPE_STS, ~0u, 4);
    out(f, STS, 0xffff, 2);
    fake_write(b, "pm", STS, 0xffff, 2);
    g_assert_false(sci(f));
    g_assert_false(fake_irq_level(b, "sci", 0));
    fake_advance(f->h, 600 * SECOND);
    g_assert_true(sci(f));
    g_assert_true(fake_irq_level(b, "sci", 0));
}

static void test_hostile_load(Fixture *f, gconstpointer properties)
{
    static const uint64_t values[] = {0, 1, INT64_MAX, 1ull << 63, UINT64_MAX, 1ull << 62};

    for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
        fake_field_set(f->d, "tmr_start", 0, values[i]);
        fake_field_set(f->d, "tmr_half", 0, values[G_N_ELEMENTS(values) - 1 - i]);
        fake_field_set(f->d, "pm1_sts", 0, 0xffff);
        fake_field_set(f->d, "pm1_en", 0, 0xffff);
        fake_field_set(f->d, "pm1_cnt", 0, 0xffff);
        g_assert_true(fake_post_load(f->d, NULL));
        g_assert_cmphex(in(f, EN, 2) & ~0x521, ==, 0);
        out(f, STS, 0xffff, 2);
        fake_advance(f->h, SECOND);
        in(f, TMR, 4);
    }
    g_assert_false(fake_last_request(f->h, NULL, NULL));
}

static void test_fuzz(Fixture *f, gconstpointer properties)
{
    for (unsigned i = 0; i < 50000; i++) {
        unsigned size = 1u << fake_random(f->h, 3), offset = fake_random(f->h, 0x40);
        switch (fake_random(f->h, 5)) {
        case 0:
            in(f, offset, size);
            break;
        case 1:
            fake_line_set(f->d, "gpe", fake_random(f->h, 32), fake_random(f->h, 2));
            break;
        case 2:
            fake_advance(f->h, fake_random(f->h, 2000000000));
            break;
        default:
            out(f, offset, fake_random(f->h, 0), size);
            break;
        }
        uint32_t sts = in(f, STS, 2), gpe = in(f, GPE_STS, 4);
        g_assert_cmphex(in(f, CNT, 2) & ~0x1c03, ==, 0);
        g_assert_cmpint(sci(f), ==, (sts & in(f, EN, 2)) || (gpe & in(f, GPE_EN, 4)));
    }
}

static void test_properties(void)
{
    FakeHost *h = fake_host_new(0, 1);

    g_assert_null(fake_device_try(h, "acpi-pm", "pm", "timer-bits=28", NULL));
    fake_host_free(h);
}

int main(int argc, char **argv)
{
    static const char wide[] = "pm=0x600;reset=0xcf9", narrow[] = "pm=0x600;timer-bits=24";

    g_test_init(&argc, &argv, NULL);
#define TEST(name_, properties_, function_)                                                        \
    g_test_add("/acpi-pm/" name_, Fixture, properties_, set_up, function_, tear_down)
    TEST("reset-values", wide, test_reset_values);
    TEST("timer", wide, test_timer);
    TEST("timer-24", narrow, test_timer_24);
    TEST("overflow", wide, test_overflow);
    TEST("overflow-24", narrow, test_overflow);
    TEST("power-button", wide, test_power_button);
    TEST("gpe", wide, test_gpe);
    TEST("sleep", wide, test_sleep);
    TEST("reset-register", wide, test_reset_register);
    TEST("save-load", wide, test_save_load);
    TEST("hostile-load", wide, test_hostile_load);
    TEST("fuzz", narrow, test_fuzz);
    g_test_add_func("/acpi-pm/properties", test_properties);
    return g_test_run();
}
