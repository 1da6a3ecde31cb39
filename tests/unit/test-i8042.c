/* tests/unit/test-i8042.c - the PS/2 controller, its keyboard and its mouse. */
#include "fakehost.h"
#include <vmrun/input.h>

enum { OBF = 0x01, SYS = 0x04, CMD = 0x08, INH = 0x10, AUX = 0x20, GTO = 0x40 };

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *d;
    const VmrKeyboardInterface *keyboard;
    const VmrMouseInterface *mouse;
} Fixture;

static void set_up(Fixture *f, gconstpointer properties)
{
    f->h = fake_host_new(0, 1);
    f->d = fake_device_new(f->h, "i8042", "kbc", properties);
    f->keyboard = vmr_device_interface(f->d, VMR_KEYBOARD);
    f->mouse = vmr_device_interface(f->d, VMR_MOUSE);
    fake_reset(f->h, VMR_RESET_COLD);
}

static void tear_down(Fixture *f, gconstpointer properties)
{
    fake_host_free(f->h);
}

static uint8_t status(Fixture *f)
{
    return fake_read(f->d, "command", 0, 1);
}

static uint8_t data(Fixture *f)
{
    return fake_read(f->d, "data", 0, 1);
}

static void command(Fixture *f, uint8_t value)
{
    fake_write(f->d, "command", 0, value, 1);
}

static void write_data(Fixture *f, uint8_t value)
{
    fake_write(f->d, "data", 0, value, 1);
}

static void command_with(Fixture *f, uint8_t value, uint8_t parameter)
{
    command(f, value);
    write_data(f, parameter);
}

static void set_ctr(Fixture *f, uint8_t value)
{
    command_with(f, 0x60, value);
}

static bool kbd_irq(Fixture *f)
{
    return fake_irq_level(f->d, "kbd-irq", 0);
}

static bool aux_irq(Fixture *f)
{
    return fake_irq_level(f->d, "aux-irq", 0);
}

/* All that is there to read, as hexadecimal text; bytes of the mouse with a star. */
static const char *drain(Fixture *f)
{
    static char text[4096];
    unsigned n = 0;

    text[0] = 0;
    for (unsigned i = 0; i < 512 && (status(f) & OBF); i++) {
        bool aux = status(f) & AUX;
        n += g_snprintf(text + n, sizeof(text) - n, "%s%02x%s", n ? " " : "", data(f),
                        aux ? "*" : "");
    }
    g_assert_cmphex(status(f) & OBF, ==, 0);
    return text;
}

#define EXPECT(f_, text_) g_assert_cmpstr(drain(f_), ==, text_)

/* ---- controller ---- */

static void test_reset_values(Fixture *f, gconstpointer properties)
{
    g_assert_cmphex(status(f), ==, SYS | INH);
    command(f, 0x20);
    EXPECT(f, "65");
    command(f, 0xd0);
    EXPECT(f, "cf");
    g_assert_true(fake_irq_level(f->d, "a20", 0));
    g_assert_false(kbd_irq(f));
}

static void test_raw_reset(Fixture *f, gconstpointer properties)
{
    g_assert_cmphex(status(f), ==, INH);
    command(f, 0x20);
    EXPECT(f, "30");
    command(f, 0xaa);
    EXPECT(f, "55");
    g_assert_cmphex(status(f), ==, INH | SYS | CMD);
}

static void test_commands(Fixture *f, gconstpointer properties)
{
    command(f, 0xaa);
    EXPECT(f, "55");
    command(f, 0xab);
    EXPECT(f, "00");
    command(f, 0xa9);
    EXPECT(f, "00");
    command(f, 0xa4);
    EXPECT(f, "f1");
    command(f, 0xc0);
    EXPECT(f, "80");
    command(f, 0xe0);
    EXPECT(f, "00");
    command(f, 0xa8);
    command(f, 0x20);
    EXPECT(f, "45");
    command(f, 0xa7);
    command(f, 0xad);
    command(f, 0x20);
    EXPECT(f, "75");
    command(f, 0xae);
    command(f, 0x20);
    EXPECT(f, "65");
    g_assert_cmphex(status(f) & CMD, ==, CMD);
    set_ctr(f, 0xff); /* two bits do not exist */
    g_assert_cmphex(status(f) & CMD, ==, 0);
    command(f, 0x20);
    EXPECT(f, "77");
    set_ctr(f, 0x00);
    g_assert_cmphex(status(f) & SYS, ==, 0);
    command_with(f, 0x7f, 0x5a); /* plain RAM */
    command(f, 0x3f);
    EXPECT(f, "5a");
    command(f, 0x00); /* unknown: nothing */
    EXPECT(f, "");
}

static void test_output_port(Fixture *f, gconstpointer properties)
{
    command_with(f, 0xd1, 0xdd);
    g_assert_false(fake_irq_level(f->d, "a20", 0));
    command_with(f, 0xd1, 0xdf);
    g_assert_true(fake_irq_level(f->d, "a20", 0));
    command(f, 0xdd);
    g_assert_false(fake_irq_level(f->d, "a20", 0));
    command(f, 0xd0);
    EXPECT(f, "cd");
    command(f, 0xdf);
    g_assert_true(fake_irq_level(f->d, "a20", 0));
    g_assert_cmpuint(fake_irq_edges(f->d, "reset", 0), ==, 0);
    command(f, 0xff); /* pulses nothing */
    command(f, 0xf1);
    g_assert_cmpuint(fake_irq_edges(f->d, "reset", 0), ==, 0);
    command(f, 0xfe);
    g_assert_cmpuint(fake_irq_edges(f->d, "reset", 0), ==, 1);
    command(f, 0xf0);
    g_assert_cmpuint(fake_irq_edges(f->d, "reset", 0), ==, 2);
    command_with(f, 0xd1, 0x02);
    g_assert_cmpuint(fake_irq_edges(f->d, "reset", 0), ==, 3);
    g_assert_false(fake_irq_level(f->d, "reset", 0));
}

static void test_buffers(Fixture *f, gconstpointer properties)
{
    set_ctr(f, 0x47);
    command_with(f, 0xd2, 0x12); /* as if the keyboard had sent it, not translated */
    g_assert_true(kbd_irq(f));
    g_assert_false(aux_irq(f));
    g_assert_cmphex(status(f) & (OBF | AUX), ==, OBF);
    g_assert_cmphex(data(f), ==, 0x12);
    g_assert_false(kbd_irq(f));
    command_with(f, 0xd3, 0xa5); /* how Linux looks for an AUX port and its interrupt */
    g_assert_true(aux_irq(f));
    g_assert_false(kbd_irq(f));
    g_assert_cmphex(status(f) & (OBF | AUX), ==, OBF | AUX);
    g_assert_cmphex(data(f), ==, 0xa5);
    g_assert_false(aux_irq(f));
    g_assert_cmphex(data(f), ==, 0xa5); /* empty: the last byte again */
    set_ctr(f, 0x44);
    command_with(f, 0xd2, 0x12);
    g_assert_false(kbd_irq(f));
    EXPECT(f, "12");
}

/* ---- keyboard ---- */

static void test_keyboard_commands(Fixture *f, gconstpointer properties)
{
    set_ctr(f, 0x05); /* no translation */
    write_data(f, 0xff);
    EXPECT(f, "fa aa");
    write_data(f, 0xf2);
    EXPECT(f, "fa ab 83");
    write_data(f, 0xee);
    EXPECT(f, "ee");
    write_data(f, 0xfe);
    EXPECT(f, "ee");
    write_data(f, 0xed);
    EXPECT(f, "fa");
    write_data(f, 0x06);
    EXPECT(f, "fa");
    g_assert_cmpuint(f->keyboard->leds(f->d), ==, VMR_LED_NUM | VMR_LED_CAPS);
    write_data(f, 0xf3);
    write_data(f, 0x20);
    EXPECT(f, "fa fa");
    write_data(f, 0xf0);
    write_data(f, 0x00);
    EXPECT(f, "fa fa 02");
    write_data(f, 0xf0);
    write_data(f, 0x03);
    write_data(f, 0xf0);
    write_data(f, 0x00);
    EXPECT(f, "fa fa fa fa 03");
    write_data(f, 0xf0);
    write_data(f, 0x04);
    EXPECT(f, "fa fe");
    write_data(f, 0xf6);
    write_data(f, 0xf0);
    write_data(f, 0x00);
    EXPECT(f, "fa fa fa 02");
    write_data(f, 0xed); /* a command instead of the parameter */
    write_data(f, 0xf4);
    EXPECT(f, "fa fa");
    g_assert_cmpuint(f->keyboard->leds(f->d), ==, VMR_LED_NUM | VMR_LED_CAPS);
    write_data(f, 0x10);
    EXPECT(f, "fe");
    write_data(f, 0xf8);
    write_data(f, 0xfc);
    write_data(f, 0x1c);
    write_data(f, 0x1b);
    write_data(f, 0xf4);
    EXPECT(f, "fa fa fa fa fa");
    set_ctr(f, 0x45);
    write_data(f, 0xf2); /* translation mangles the ID, as in real machines */
    EXPECT(f, "fa ab 41");
}

static const struct {
    uint16_t code;
    bool down;
    const char *translated, *set1, *set2, *set3;
} keys[] = {
    {30, true, "1e", "1e", "1c", "1c"},                 /* A */
    {30, false, "9e", "9e", "f0 1c", "f0 1c"},
    {1, true, "01", "01", "76", "08"},                  /* Esc */
    {28, false, "9c", "9c", "f0 5a", "f0 5a"},          /* Enter */
    {65, true, "41", "41", "83", "37"},                 /* F7: above 0x7f in set 2 */
    {65, false, "c1", "c1", "f0 83", "f0 37"},
    {86, true, "56", "56", "61", "13"},                 /* the key left of Z */
    {97, true, "e0 1d", "e0 1d", "e0 14", "58"},        /* right Ctrl */
    {97, false, "e0 9d", "e0 9d", "e0 f0 14", "f0 58"},
    {103, true, "e0 48", "e0 48", "e0 75", "63"},       /* up */
    {111, false, "e0 d3", "e0 d3", "e0 f0 71", "f0 64"}, /* Delete */
    {99, true, "e0 2a e0 37", "e0 2a e0 37", "e0 12 e0 7c", "57"}, /* Print Screen */
    {99, false, "e0 b7 e0 aa", "e0 b7 e0 aa", "e0 f0 7c e0 f0 12", "f0 57"},
    {119, true, "e1 1d 45 e1 9d c5", "e1 1d 45 e1 9d c5", "e1 14 77 e1 f0 14 f0 77", "62"},
    {119, false, "", "", "", "f0 62"},                  /* Pause */
};

static void test_scan_codes(Fixture *f, gconstpointer properties)
{
    for (unsigned set = 0; set <= 3; set++) {
        set_ctr(f, set == 0 ? 0x45 : 0x05);
        write_data(f, 0xf0);
        write_data(f, set == 0 ? 2 : set);
        drain(f);
        for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
            const char *const want[] = {keys[i].translated, keys[i].set1, keys[i].set2,
                                        keys[i].set3};
            g_assert_true(f->keyboard->key(f->d, keys[i].code, keys[i].down));
            EXPECT(f, want[set]);
        }
    }
    g_assert_false(f->keyboard->key(f->d, 0, true));
    g_assert_false(f->keyboard->key(f->d, 84, true));
    g_assert_false(f->keyboard->key(f->d, 0xffff, true));
    EXPECT(f, "");
}

/* In set 2 with translation, each key gives the same bytes as in set 1 without. */
static void test_translation(Fixture *f, gconstpointer properties)
{
    for (unsigned code = 0; code < 140; code++) {
        for (unsigned down = 0; down < 2; down++) {
            set_ctr(f, 0x45);
            write_data(f, 0xf6);
            drain(f);
            bool known = f->keyboard->key(f->d, code, down);
            g_autofree char *translated = g_strdup(drain(f));
            set_ctr(f, 0x05);
            write_data(f, 0xf0);
            write_data(f, 0x01);
            drain(f);
            g_assert_cmpint(f->keyboard->key(f->d, code, down), ==, known);
            EXPECT(f, translated);
        }
    }
}

static void test_interrupts(Fixture *f, gconstpointer properties)
{
    unsigned edges = fake_irq_edges(f->d, "kbd-irq", 0);

    f->keyboard->key(f->d, 97, true); /* two bytes: two edges */
    g_assert_true(kbd_irq(f));
    g_assert_cmpuint(fake_irq_edges(f->d, "kbd-irq", 0), ==, edges + 1);
    g_assert_cmphex(data(f), ==, 0xe0);
    g_assert_true(kbd_irq(f));
    g_assert_cmpuint(fake_irq_edges(f->d, "kbd-irq", 0), ==, edges + 2);
    g_assert_cmphex(data(f), ==, 0x1d);
    g_assert_false(kbd_irq(f));

    command(f, 0xad); /* held back, not lost */
    f->keyboard->key(f->d, 30, true);
    g_assert_cmphex(status(f) & OBF, ==, 0);
    command(f, 0xae);
    EXPECT(f, "1e");
    command(f, 0xad);
    write_data(f, 0xee); /* writing to the keyboard turns its port on */
    EXPECT(f, "ee");
    write_data(f, 0xf5);
    EXPECT(f, "fa");
    g_assert_false(f->keyboard->key(f->d, 30, true));
    write_data(f, 0xf4);
    EXPECT(f, "fa");
    g_assert_true(f->keyboard->key(f->d, 30, true));
    write_data(f, 0xed); /* the reply goes before keys that wait, and does not drop them */
    f->keyboard->key(f->d, 31, true);
    EXPECT(f, "1e fa 1f");
    write_data(f, 0x00);
    EXPECT(f, "fa");
}

static void test_overrun(Fixture *f, gconstpointer properties)
{
    unsigned taken = 0;

    for (unsigned i = 0; i < 1000; i++)
        taken += f->keyboard->key(f->d, 30, true);
    g_assert_cmpuint(taken, >=, 16);
    g_assert_cmpuint(taken, <=, 64);
    for (unsigned i = 0; i < taken; i++)
        g_assert_cmphex(data(f), ==, 0x1e);
    g_assert_cmphex(data(f), ==, 0xff); /* overrun, in set 1's terms */
    g_assert_cmphex(status(f) & OBF, ==, 0);
    g_assert_true(f->keyboard->key(f->d, 30, false));
    EXPECT(f, "9e");
}

/* ---- mouse ---- */

static void to_mouse(Fixture *f, uint8_t byte)
{
    command_with(f, 0xd4, byte);
}

static void test_mouse_commands(Fixture *f, gconstpointer properties)
{
    set_ctr(f, 0x47);
    to_mouse(f, 0xff);
    g_assert_true(aux_irq(f));
    g_assert_false(kbd_irq(f));
    EXPECT(f, "fa* aa* 00*");
    to_mouse(f, 0xf2);
    EXPECT(f, "fa* 00*");
    to_mouse(f, 0xe9);
    EXPECT(f, "fa* 00* 02* 64*");
    to_mouse(f, 0xe8);
    to_mouse(f, 0x03);
    to_mouse(f, 0xf3);
    to_mouse(f, 0x28);
    to_mouse(f, 0xe7);
    to_mouse(f, 0xf4);
    EXPECT(f, "fa* fa* fa* fa* fa* fa*");
    to_mouse(f, 0xe9);
    EXPECT(f, "fa* 30* 03* 28*");
    to_mouse(f, 0xee); /* wrap mode */
    to_mouse(f, 0xf4);
    to_mouse(f, 0xec);
    EXPECT(f, "fa* f4* fa*");
    to_mouse(f, 0x55);
    EXPECT(f, "fe*");
    to_mouse(f, 0xf0);
    f->mouse->move(f->d, 3, 4, VMR_BUTTON_RIGHT);
    EXPECT(f, "fa*"); /* remote: only when asked */
    to_mouse(f, 0xeb);
    EXPECT(f, "fa* 2a* 03* fc*");
    to_mouse(f, 0xf6);
    to_mouse(f, 0xe9);
    EXPECT(f, "fa* fa* 01* 02* 64*");
}

static void test_mouse_reports(Fixture *f, gconstpointer properties)
{
    set_ctr(f, 0x47);
    f->mouse->move(f->d, 1, 1, 0); /* not enabled yet */
    EXPECT(f, "");
    to_mouse(f, 0xf4);
    EXPECT(f, "fa*");
    f->mouse->move(f->d, 1, -2, VMR_BUTTON_LEFT | VMR_BUTTON_MIDDLE);
    EXPECT(f, "0d* 01* 02*");
    f->mouse->move(f->d, 0, 0, VMR_BUTTON_LEFT | VMR_BUTTON_MIDDLE);
    EXPECT(f, "");
    f->mouse->move(f->d, 300, 0, 0); /* in two reports */
    EXPECT(f, "08* ff* 00* 08* 2d* 00*");
    f->mouse->move(f->d, -5, 5, 0);
    EXPECT(f, "38* fb* fb*");
    /* a click while nobody reads */
    f->mouse->move(f->d, 0, 0, VMR_BUTTON_LEFT);
    f->mouse->move(f->d, 0, 0, 0);
    EXPECT(f, "09* 00* 00* 08* 00* 00*");
    f->mouse->move(f->d, INT32_MIN, INT32_MAX, 0);
    drain(f);
    command(f, 0xa7);
    f->mouse->move(f->d, 1, 0, 0);
    EXPECT(f, "");
    command(f, 0xa8);
    EXPECT(f, "08* 01* 00*");
}

static void test_no_mouse(Fixture *f, gconstpointer properties)
{
    g_assert_null(f->mouse);
    set_ctr(f, 0x47);
    to_mouse(f, 0xf2);
    g_assert_cmphex(status(f) & (OBF | AUX | GTO), ==, OBF | AUX | GTO);
    EXPECT(f, "fe*");
    write_data(f, 0xee);
    g_assert_cmphex(status(f) & (OBF | AUX | GTO), ==, OBF);
    EXPECT(f, "ee");
    command_with(f, 0xd3, 0x5a); /* the port itself is there */
    EXPECT(f, "5a*");
    g_assert_cmpuint(vmr_fact(fake_description(f->d), "acpi-hid")->count, ==, 1);
}

/* ---- all ---- */

static void test_describe(Fixture *f, gconstpointer properties)
{
    const VmrDescription *d = fake_description(f->d);

    g_assert_cmpstr(vmr_fact_string(d, "acpi-hid"), ==, "PNP0303");
    g_assert_cmpstr(vmr_fact(d, "acpi-hid")->strings[1], ==, "PNP0F13");
    g_assert_cmphex(vmr_fact_number(d, "iapc-boot-arch", 0), ==, 2);
}

static void test_reset(Fixture *f, gconstpointer properties)
{
    command_with(f, 0xd1, 0x01);
    set_ctr(f, 0x03);
    to_mouse(f, 0xf4);
    f->keyboard->key(f->d, 30, true);
    command(f, 0xd1);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_false(kbd_irq(f));
    g_assert_false(aux_irq(f));
    g_assert_cmphex(status(f), ==, SYS | INH);
    g_assert_true(fake_irq_level(f->d, "a20", 0));
    EXPECT(f, "");
    write_data(f, 0xee); /* the 0xd1 is forgotten */
    EXPECT(f, "ee");
}

static void test_save_load(Fixture *f, gconstpointer properties)
{
    VmrDevice *b = fake_device_new(f->h, "i8042", "b", properties);
    Fixture g = {f->h, b, f->keyboard, f->mouse};

    set_ctr(f, 0x47);
    to_mouse(f, 0xf4);
    f->mouse->move(f->d, 700, 3, 1);
    f->keyboard->key(f->d, 97, true);
    f->keyboard->key(f->d, 119, true);
    command(f, 0xdd);
    write_data(f, 0xed);
    command(f, 0x60);
    fake_save_load(f->d, b);
    g_assert_cmpint(fake_irq_level(b, "kbd-irq", 0), ==, kbd_irq(f));
    g_assert_cmpint(fake_irq_level(b, "aux-irq", 0), ==, aux_irq(f));
    g_assert_false(fake_irq_level(b, "a20", 0));
    write_data(f, 0x47);
    write_data(&g, 0x47);
    g_autofree char *want = g_strdup(drain(f));
    g_assert_cmpuint(strlen(want), >, 40);
    EXPECT(&g, want);
}

static void test_fuzz(Fixture *f, gconstpointer properties)
{
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t value = fake_random(f->h, 256);
        switch (fake_random(f->h, 8)) {
        case 0 ... 1:
            command(f, value);
            break;
        case 2 ... 3:
            write_data(f, value);
            break;
        case 4:
            f->keyboard->key(f->d, value & 0x7f, fake_random(f->h, 2));
            break;
        case 5:
            f->mouse->move(f->d, (int32_t)fake_random(f->h, 0), (int32_t)fake_random(f->h, 0),
                           value);
            break;
        default:
            data(f);
            break;
        }
        g_assert_true(status(f) & INH);
        g_assert_false(kbd_irq(f) && aux_irq(f));
        if (i % 1000 == 0)
            drain(f);
    }
}

static void test_hostile_load(Fixture *f, gconstpointer properties)
{
    for (unsigned round = 0; round < 500; round++) {
        for (const VmrField *field = f->d->klass->fields; field->name; field++)
            for (unsigned i = 0; i < field->count; i++) {
                uint64_t value = fake_random(f->h, 0) * 0x100000001ull;
                bool flag = field->type == VMR_FIELD_BOOL;
                fake_field_set(f->d, field->name, i, flag ? value & 1 : value);
            }
        g_assert_true(fake_post_load(f->d, NULL));
        for (unsigned i = 0; i < 50; i++) {
            write_data(f, fake_random(f->h, 256));
            f->keyboard->key(f->d, fake_random(f->h, 128), true);
            f->mouse->move(f->d, 1, 1, fake_random(f->h, 8));
            data(f);
        }
        drain(f);
    }
}

int main(int argc, char **argv)
{
    static const char all[] = "data=0x60;command=0x64";

    g_test_init(&argc, &argv, NULL);
#define TEST(name_, properties_, function_)                                                        \
    g_test_add("/i8042/" name_, Fixture, properties_, set_up, function_, tear_down)
    TEST("reset-values", all, test_reset_values);
    TEST("raw-reset", "firmware-done=off", test_raw_reset);
    TEST("commands", all, test_commands);
    TEST("output-port", all, test_output_port);
    TEST("buffers", all, test_buffers);
    TEST("keyboard-commands", all, test_keyboard_commands);
    TEST("scan-codes", all, test_scan_codes);
    TEST("translation", all, test_translation);
    TEST("interrupts", all, test_interrupts);
    TEST("overrun", all, test_overrun);
    TEST("mouse-commands", all, test_mouse_commands);
    TEST("mouse-reports", all, test_mouse_reports);
    TEST("no-mouse", "mouse=off", test_no_mouse);
    TEST("describe", all, test_describe);
    TEST("reset", all, test_reset);
    TEST("save-load", all, test_save_load);
    TEST("fuzz", all, test_fuzz);
    TEST("hostile-load", all, test_hostile_load);
    return g_test_run();
}
