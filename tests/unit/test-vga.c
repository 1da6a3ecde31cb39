/* tests/unit/test-vga.c - the VGA: registers, memory, what is shown. */
#include "fakehost.h"

#include <vmrun/display.h>

enum { AR = 0x00, SR = 0x04, PEL_READ = 0x07, PEL_WRITE = 0x08, PEL = 0x09, GR = 0x0e, CR = 0x14,
       STATUS1 = 0x1a, TEXT = 0x18000 };

static VmrDevice *make(FakeHost *h, const char *name)
{
    VmrDevice *d = fake_device_new(h, "vga", name, "display=fake");
    fake_reset(h, VMR_RESET_COLD);
    return d;
}

static void set(VmrDevice *d, unsigned port, unsigned index, unsigned value)
{
    fake_write(d, "regs", port, index | value << 8, 2); /* as guests do: index and data at once */
}

static unsigned get(VmrDevice *d, unsigned port, unsigned index)
{
    fake_write(d, "regs", port, index, 1);
    return (unsigned)fake_read(d, "regs", port + 1, 1);
}

static void test_text(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "v");
    VmrTextScreen *s = g_new0(VmrTextScreen, 1);

    g_assert_true(fake_display(d)->text(d, s));
    g_assert_cmpuint(s->columns, ==, 80);
    g_assert_cmpuint(s->rows, ==, 25);
    g_assert_cmphex(s->cells[0], ==, 0x0720);
    g_assert_true(s->cursor);
    g_assert_cmpuint(s->cursor_row, ==, 0);
    fake_write(d, "window", TEXT + 2 * (80 * 3 + 5), 0x1f41, 2);
    g_assert_cmphex(fake_read(d, "window", TEXT + 2 * (80 * 3 + 5), 2), ==, 0x1f41);
    set(d, CR, 0x0e, (80 * 3 + 6) >> 8);
    set(d, CR, 0x0f, (80 * 3 + 6) & 0xff);
    g_assert_true(fake_display(d)->text(d, s));
    g_assert_cmphex(s->cells[80 * 3 + 5], ==, 0x1f41);
    g_assert_cmpuint(s->cursor_row, ==, 3);
    g_assert_cmpuint(s->cursor_column, ==, 6);
    /* Scrolling by the start address. */
    set(d, CR, 0x0d, 80);
    g_assert_true(fake_display(d)->text(d, s));
    g_assert_cmphex(s->cells[80 * 2 + 5], ==, 0x1f41);
    set(d, CR, 0x0a, 0x20); /* no cursor */
    g_assert_true(fake_display(d)->text(d, s));
    g_assert_false(s->cursor);
    /* The window at 0xb8000 only. */
    g_assert_cmphex(fake_read(d, "window", 0, 1), ==, 0xff);
    g_free(s);
    fake_host_free(h);
}

static void test_picture(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "v");
    uint32_t w, ht, lit = 0;

    fake_display(d)->extent(d, &w, &ht);
    g_assert_cmpuint(w, ==, 720);
    g_assert_cmpuint(ht, ==, 400);
    uint32_t *p = g_new0(uint32_t, w * ht);
    set(d, CR, 0x0a, 0x20);
    fake_write(d, "window", TEXT, 0x1edb, 2); /* a full block, yellow on blue */
    fake_write(d, "window", TEXT + 2, 0x4120, 2); /* a blank on red */
    fake_write(d, "window", TEXT + 160, 0x0741, 2); /* A */
    fake_display(d)->draw(d, p, w, ht);
    g_assert_cmphex(p[0], ==, 0xffff55);
    g_assert_cmphex(p[8], ==, 0xffff55); /* a line drawing goes on in the ninth dot */
    g_assert_cmphex(p[9], ==, 0xaa0000);
    for (unsigned y = 16; y < 32; y++)
        for (unsigned x = 0; x < 9; x++) {
            g_assert_true(p[y * w + x] == 0 || p[y * w + x] == 0xaaaaaa);
            lit += p[y * w + x] != 0;
        }
    g_assert_cmpuint(lit, >, 15);
    g_assert_cmpuint(lit, <, 40);
    /* Off. */
    fake_read(d, "regs", STATUS1, 1);
    fake_write(d, "regs", AR, 0x00, 1);
    fake_display(d)->extent(d, &w, &ht);
    g_assert_cmpuint(w, ==, 0);
    g_free(p);
    fake_host_free(h);
}

static void test_registers(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "v");

    /* CR00..07 are protected by CR11 bit 7, but for the line compare bit. */
    g_assert_cmphex(get(d, CR, 0x01), ==, 0x4f);
    set(d, CR, 0x01, 0x27);
    g_assert_cmphex(get(d, CR, 0x01), ==, 0x4f);
    set(d, CR, 0x07, 0x0f);
    g_assert_cmphex(get(d, CR, 0x07), ==, 0x0f);
    set(d, CR, 0x11, 0x0e);
    set(d, CR, 0x01, 0x27);
    g_assert_cmphex(get(d, CR, 0x01), ==, 0x27);
    /* Attributes: index and data by turns; status 1 begins anew. */
    fake_read(d, "regs", STATUS1, 1);
    fake_write(d, "regs", AR, 0x21, 1);
    fake_write(d, "regs", AR, 0x3e, 1);
    fake_write(d, "regs", AR, 0x22, 1);
    fake_read(d, "regs", STATUS1, 1);
    fake_write(d, "regs", AR, 0x21, 1);
    g_assert_cmphex(fake_read(d, "regs", AR + 1, 1), ==, 0x3e);
    /* DAC. */
    fake_write(d, "regs", PEL_WRITE, 10, 1);
    for (unsigned i = 1; i <= 6; i++)
        fake_write(d, "regs", PEL, i, 1);
    fake_write(d, "regs", PEL_READ, 10, 1);
    g_assert_cmpuint(fake_read(d, "regs", PEL_READ, 1), ==, 3);
    for (unsigned i = 1; i <= 6; i++)
        g_assert_cmpuint(fake_read(d, "regs", PEL, 1), ==, i);
    g_assert_cmpuint(fake_read(d, "regs", PEL_WRITE, 1), ==, 12);
    /* The CRT controller moves to 0x3bX in monochrome modes. */
    fake_write(d, "regs", 0x02, 0x66, 1);
    fake_write(d, "mono", 0x04, 0x01, 1);
    g_assert_cmphex(fake_read(d, "mono", 0x05, 1), ==, 0x27);
    g_assert_cmphex(fake_read(d, "regs", CR + 1, 1), ==, 0xff);
    fake_host_free(h);
}

static void test_retrace(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "v");
    unsigned retraces = 0;
    bool before = false;

    for (unsigned i = 0; i < 50000; i++) { /* half a second */
        bool now = fake_read(d, "regs", STATUS1, 1) & 0x08;
        retraces += now && !before;
        before = now;
        fake_advance(h, 10000);
    }
    g_assert_cmpuint(retraces, ==, 35);
    fake_host_free(h);
}

static void test_planes(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "v");

    set(d, SR, 0x04, 0x06); /* no odd/even, no chain 4 */
    set(d, GR, 0x05, 0x00);
    set(d, GR, 0x06, 0x05); /* graphics at 0xa0000 */
    set(d, SR, 0x02, 0x0f);
    set(d, GR, 0x00, 0x05); /* set/reset: planes 0 and 2 */
    set(d, GR, 0x01, 0x0f);
    set(d, GR, 0x08, 0xf0);
    fake_read(d, "window", 100, 1);
    fake_write(d, "window", 100, 0, 1);
    for (unsigned p = 0; p < 4; p++) {
        set(d, GR, 0x04, p);
        g_assert_cmphex(fake_read(d, "window", 100, 1) & 0xf0, ==, p & 1 ? 0x00 : 0xf0);
    }
    set(d, GR, 0x05, 0x08); /* read mode 1: which pixels are colour 5 */
    set(d, GR, 0x02, 0x05);
    set(d, GR, 0x07, 0x0f);
    g_assert_cmphex(fake_read(d, "window", 100, 1) & 0xf0, ==, 0xf0);
    set(d, GR, 0x05, 0x01); /* write mode 1: the latches */
    fake_read(d, "window", 100, 1);
    fake_write(d, "window", 200, 0xff, 1);
    set(d, GR, 0x05, 0x00);
    set(d, GR, 0x04, 2);
    g_assert_cmphex(fake_read(d, "window", 200, 1), ==, fake_read(d, "window", 100, 1));
    set(d, SR, 0x04, 0x0e); /* chain 4 */
    set(d, GR, 0x01, 0);
    set(d, GR, 0x08, 0xff);
    for (unsigned i = 0; i < 16; i++)
        fake_write(d, "window", 0x100 + i, i + 1, 1);
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpuint(fake_read(d, "window", 0x100 + i, 1), ==, i + 1);
    fake_host_free(h);
}

static void test_hostile(void)
{
    static const char *const regions[] = {"regs", "mono", "window"};
    static const uint32_t sizes[] = {0x20, 0x0c, 0x20000};
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "a"), *b = fake_device_new(h, "vga", "b", "");
    VmrTextScreen *s = g_new0(VmrTextScreen, 1);

    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < 200; i++) {
            unsigned r = fake_random(h, 8), size = 1u << fake_random(h, 3);
            r = r < 5 ? 0 : r - 5;
            uint64_t at = fake_random(h, sizes[r] - size + 1);
            if (fake_random(h, 3))
                fake_write(d, regions[r], at, fake_random(h, 0), size);
            else
                fake_read(d, regions[r], at, size);
        }
        uint32_t w, ht;
        fake_display(d)->text(d, s);
        g_assert_cmpuint(s->columns, <=, VMR_TEXT_COLUMNS_MAX);
        g_assert_cmpuint(s->rows, <=, VMR_TEXT_ROWS_MAX);
        fake_display(d)->extent(d, &w, &ht);
        g_assert_cmpuint(w, <=, 256 * 9);
        g_assert_cmpuint(ht, <=, 1024);
        uint32_t *p = g_new0(uint32_t, (size_t)w * ht + 1);
        if (w)
            fake_display(d)->draw(d, p, w, ht);
        g_free(p);
    }
    fake_save_load(d, b);
    for (unsigned i = 0; i < 64; i++) { /* a hostile snapshot */
        fake_field_set(b, "vga.pel_part", 0, fake_random(h, 256));
        fake_field_set(b, "vga.ar_index", 0, fake_random(h, 256));
        fake_field_set(b, "vga.cr_index", 0, fake_random(h, 256));
        fake_field_set(b, "vga.pel_write", 0, 0xff);
        fake_field_set(b, "vga.pel", fake_random(h, 768), 0xff);
        g_assert_true(fake_post_load(b, NULL));
        for (unsigned at = 0; at < 0x20; at++) {
            fake_read(b, "regs", at, 1);
            fake_write(b, "regs", at, 0xff, 1);
        }
    }
    g_free(s);
    fake_host_free(h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vga/text", test_text);
    g_test_add_func("/vga/picture", test_picture);
    g_test_add_func("/vga/registers", test_registers);
    g_test_add_func("/vga/retrace", test_retrace);
    g_test_add_func("/vga/planes", test_planes);
    g_test_add_func("/vga/hostile", test_hostile);
    return g_test_run();
}
