/* tests/unit/test-display.c - displays: text in UTF-8, pictures, keys out of what a terminal sends. */
#include "core/display-private.h"

#include <string.h>

static void test_text(void)
{
    VmrTextScreen *s = g_new0(VmrTextScreen, 1);
    GString *text = g_string_new(NULL);
    static const uint8_t row[10] = {'A', ' ', 0xc9, 0xcd, 0xbb, ' ', 0xf8, 0x01, ' ', 0};

    s->columns = 10;
    s->rows = 2;
    for (unsigned i = 0; i < 10; i++)
        s->cells[i] = 0x0700 | row[i];
    vmr_text_append(text, s);
    g_assert_cmpstr(text->str, ==, "A ╔═╗ °☺\n\n");
    for (unsigned i = 0; i < 256; i++)
        g_assert_true(g_unichar_isdefined(vmr_text_unicode((uint8_t)i)));
    g_assert_cmphex(vmr_text_unicode(0x7f), ==, 0x2302);
    g_assert_cmphex(vmr_text_unicode(0xff), ==, 0x20);
    g_string_free(text, TRUE);
    g_free(s);
}

static void expect_keys(const char *typed, const uint16_t *wanted, unsigned count)
{
    VmrKeyTyper t = {.events = g_array_new(FALSE, FALSE, sizeof(uint16_t))};
    vmr_keys_type(&t, (const uint8_t *)typed, strlen(typed));
    vmr_keys_flush(&t);
    g_assert_cmpmem(t.events->data, t.events->len * sizeof(uint16_t), wanted,
                    count * sizeof(uint16_t));
    g_array_unref(t.events);
}

static void test_keys(void)
{
    enum { UP = 0x8000, SHIFT = 42, CTRL = 29 };
    expect_keys("a", (uint16_t[]){30, 30 | UP}, 2);
    expect_keys("A", (uint16_t[]){SHIFT, 30, 30 | UP, SHIFT | UP}, 4);
    expect_keys("|", (uint16_t[]){SHIFT, 43, 43 | UP, SHIFT | UP}, 4);
    expect_keys("\r", (uint16_t[]){28, 28 | UP}, 2);
    expect_keys("\004", (uint16_t[]){CTRL, 32, 32 | UP, CTRL | UP}, 4);
    expect_keys("\033[A", (uint16_t[]){103, 103 | UP}, 2);
    expect_keys("\033[15~", (uint16_t[]){63, 63 | UP}, 2);
    expect_keys("\033", (uint16_t[]){1, 1 | UP}, 2);
    expect_keys("\033[Zq", (uint16_t[]){1, 1 | UP, 26, 26 | UP, SHIFT, 44, 44 | UP, SHIFT | UP, 16,
                                        16 | UP}, 10);
    expect_keys("\200\377", NULL, 0);
}

static void test_image(void)
{
    static const uint32_t pixels[4] = {0x112233, 0xff0000, 0x00ff00, 0x0000ff};
    char *data = NULL;
    size_t length = 0;
    GError *error = NULL;
    FILE *to = open_memstream(&data, &length);

    g_assert_true(vmr_image_write(to, "x.ppm", pixels, 2, 2, &error));
    fclose(to);
    g_assert_cmpmem(data, length, "P6\n2 2\n255\n\x11\x22\x33\xff\0\0\0\xff\0\0\0\xff", 23);
    free(data);
    g_assert_true(vmr_image_is_path("a/b.png"));
    g_assert_false(vmr_image_is_path("a/b.txt"));
    to = open_memstream(&data, &length);
    bool ok = vmr_image_write(to, "x.png", pixels, 2, 2, &error);
    fclose(to);
    if (ok)
        g_assert_cmpmem(data, 8, "\x89PNG\r\n\x1a\n", 8);
    else
        g_assert_nonnull(error); /* built without libpng */
    g_clear_error(&error);
    free(data);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/display/text", test_text);
    g_test_add_func("/display/keys", test_keys);
    g_test_add_func("/display/image", test_image);
    return g_test_run();
}
