/*
 * core/display-terminal.c - the text screen in the terminal, by ANSI sequences (ECMA-48).
 *
 * The screen is looked at a few times a second, and lines that changed are drawn
 * again.  Keys go to a device that offers VMR_KEYBOARD, as fast as it takes them.
 * Ctrl-A x leaves; Ctrl-A Ctrl-A sends Ctrl-A.
 */
#include "chardev-private.h"
#include "display-private.h"
#include "runtime.h"
#include <vmrun/input.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { ESCAPE = 'A' - '@', EVENTS_MAX = 4096 };

struct VmrDisplayTerminal {
    VmrDisplay *display;
    int in, out;
    GSource *tick, *readable;
    VmrTextScreen now, shown;
    bool drawn; /* `shown` is on the terminal */
    bool escaped, is_tty;
    GString *pending; /* not written yet */
    VmrDevice *keyboard;
    const VmrKeyboardInterface *keys;
    VmrKeyTyper typer;
};

/* ---- drawing ---------------------------------------------------------- */

/* The PC's order of colours to ANSI's. */
static unsigned ansi(unsigned colour)
{
    static const uint8_t order[8] = {0, 4, 2, 6, 1, 5, 3, 7};
    return order[colour & 7];
}

static void draw_row(VmrDisplayTerminal *t, uint32_t row)
{
    const VmrTextScreen *s = &t->now;
    int attribute = -1;
    g_string_append_printf(t->pending, "\033[%u;1H", row + 1);
    for (uint32_t column = 0; column < s->columns; column++) {
        uint16_t c = s->cells[row * s->columns + column];
        if (c >> 8 != attribute) {
            attribute = c >> 8;
            g_string_append_printf(t->pending, "\033[0;%u;%um",
                                   (attribute & 8 ? 90 : 30) + ansi(attribute & 7),
                                   40 + ansi(attribute >> 4 & 7));
        }
        g_string_append_unichar(t->pending, vmr_text_unicode((uint8_t)c));
    }
    g_string_append(t->pending, "\033[0m");
}

static void draw(VmrDisplayTerminal *t)
{
    VmrTextScreen *s = &t->now;
    if (!vmr_display_take_text(t->display, s)) {
        if (t->drawn)
            g_string_append(t->pending, "\033[2J\033[H(graphics)");
        t->drawn = false;
        return;
    }
    bool same_size = t->drawn && s->columns == t->shown.columns && s->rows == t->shown.rows;
    size_t line = s->columns * sizeof(s->cells[0]);
    bool changed = !same_size;
    if (!same_size)
        g_string_append(t->pending, "\033[0m\033[2J");
    for (uint32_t row = 0; row < s->rows; row++) {
        if (same_size && !memcmp(s->cells + row * s->columns, t->shown.cells + row * s->columns,
                                 line))
            continue;
        draw_row(t, row);
        changed = true;
    }
    if (changed || s->cursor != t->shown.cursor || s->cursor_row != t->shown.cursor_row ||
        s->cursor_column != t->shown.cursor_column) {
        if (s->cursor)
            g_string_append_printf(t->pending, "\033[%u;%uH\033[?25h", s->cursor_row + 1,
                                   s->cursor_column + 1);
        else
            g_string_append(t->pending, "\033[?25l");
    }
    t->shown = *s;
    t->drawn = true;
}

static void write_some(VmrDisplayTerminal *t)
{
    ssize_t n = t->pending->len ? write(t->out, t->pending->str, t->pending->len) : 0;
    if (n > 0)
        g_string_erase(t->pending, 0, n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        g_string_truncate(t->pending, 0);
}

/* ---- keys ------------------------------------------------------------- */

static void feed(VmrDisplayTerminal *t)
{
    GArray *events = t->typer.events;
    unsigned done = 0;
    vmr_domain_lock_urgent(t->display->machine->domain);
    while (done < events->len && t->keys) {
        uint16_t e = g_array_index(events, uint16_t, done);
        if (!t->keys->key(t->keyboard, e & 0x7fff, !(e & 0x8000)))
            break;
        done++;
    }
    vmr_domain_unlock(t->display->machine->domain);
    if (done)
        g_array_remove_range(events, 0, done);
}

static gboolean tick(gpointer data)
{
    VmrDisplayTerminal *t = data;
    feed(t);
    if (!t->pending->len)
        draw(t);
    write_some(t);
    return G_SOURCE_CONTINUE;
}

static gboolean readable(int fd, GIOCondition condition, gpointer data)
{
    VmrDisplayTerminal *t = data;
    uint8_t in[256];
    ssize_t n = read(fd, in, sizeof(in));
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return G_SOURCE_REMOVE;
    for (ssize_t i = 0; i < n; i++) {
        if (t->is_tty && !t->escaped && in[i] == ESCAPE) {
            t->escaped = true;
            continue;
        }
        bool escaped = t->escaped;
        t->escaped = false;
        if (escaped && in[i] == 'x')
            vmr_machine_end(t->display->machine, 0, NULL);
        else if ((!escaped || in[i] == ESCAPE) && t->typer.events->len < EVENTS_MAX)
            vmr_keys_type(&t->typer, in + i, 1);
    }
    vmr_keys_flush(&t->typer);
    feed(t);
    return G_SOURCE_CONTINUE;
}

static bool find_keyboard(VmrDisplayTerminal *t, GError **error)
{
    const VmrMachine *m = t->display->machine;
    const char *name = t->display->options.keyboard;
    for (unsigned i = 0; i < m->devices->len && !t->keys; i++) {
        VmrDeviceHandle *h = m->devices->pdata[i];
        if (name && strcmp(name, h->name) != 0)
            continue;
        t->keys = vmr_device_interface(h->device, VMR_KEYBOARD);
        t->keyboard = h->device;
    }
    if (name && !t->keys)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "'%s' is no keyboard", name);
    return t->keys || !name;
}

/* ---- life ------------------------------------------------------------- */

bool vmr_display_terminal_open(VmrDisplay *d, GError **error)
{
    const GPtrArray *chardevs = d->machine->priv->chardevs;
    for (unsigned i = 0; i < chardevs->len; i++) {
        const VmrChardev *c = chardevs->pdata[i];
        if (c->klass == &vmr_chardev_stdio && c->opened) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                        "[chardev %s] has the terminal already", c->name);
            return false;
        }
    }
    VmrDisplayTerminal *t = d->terminal = g_new0(VmrDisplayTerminal, 1);
    t->display = d;
    t->pending = g_string_new(NULL);
    t->typer.events = g_array_new(FALSE, FALSE, sizeof(uint16_t));
    fflush(stdout);
    t->in = vmr_stdio_own(STDIN_FILENO);
    t->out = vmr_stdio_own(STDOUT_FILENO);
    if (!find_keyboard(t, error))
        return false;
    t->is_tty = isatty(STDIN_FILENO);
    if (t->is_tty)
        vmr_terminal_raw(STDIN_FILENO);
    t->tick = g_timeout_source_new(d->options.refresh);
    g_source_set_callback(t->tick, tick, t, NULL);
    g_source_attach(t->tick, d->machine->priv->context);
    if (t->in >= 0) {
        t->readable = g_unix_fd_source_new(t->in, G_IO_IN);
        g_source_set_callback(t->readable, G_SOURCE_FUNC(readable), t, NULL);
        g_source_attach(t->readable, d->machine->priv->context);
    }
    return true;
}

static void end_source(GSource *source)
{
    if (source) {
        g_source_destroy(source);
        g_source_unref(source);
    }
}

void vmr_display_terminal_close(VmrDisplay *d)
{
    VmrDisplayTerminal *t = d->terminal;
    if (!t)
        return;
    d->terminal = NULL;
    end_source(t->tick);
    end_source(t->readable);
    draw(t);
    g_string_append_printf(t->pending, "\033[0m\033[%u;1H\033[?25h\n", t->shown.rows);
    for (unsigned tries = 0; t->pending->len && tries < 20; tries++) {
        write_some(t);
        if (t->pending->len)
            g_usleep(10000);
    }
    if (t->in >= 0)
        close(t->in);
    if (t->out >= 0)
        close(t->out);
    vmr_stdio_give_back();
    if (t->is_tty)
        vmr_terminal_release();
    g_array_unref(t->typer.events);
    g_string_free(t->pending, TRUE);
    g_free(t);
}
