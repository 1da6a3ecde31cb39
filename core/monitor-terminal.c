/*
 * core/monitor-terminal.c - the monitor in the terminal: Ctrl-A c, a prompt, a line.
 *
 * Keys come under the domain lock, in which no vCPU can be stopped; so they are
 * kept, and looked at when the main loop comes round.  The guest's output goes on.
 */
#include "monitor.h"

#include "runtime.h"

#include <stdio.h>

enum { LINE_MAX_BYTES = 1024, BACKSPACE = 0x7f, CTRL_H = 8, CTRL_C = 3, CTRL_D = 4, CTRL_U = 21 };

struct VmrTerminalMonitor {
    bool on;
    GByteArray *keys; /* not yet looked at */
    GQueue *orders;   /* char *: lines to carry out */
    GString *line;
    char *last;       /* line before, for Ctrl-P and the arrow up */
    unsigned escape;  /* bytes of an escape sequence so far */
    GSource *source;  /* will look */
};

static const char prompt[] = "(vmrun) ";

static void carry_out(VmrMachine *m, const char *line)
{
    char *text = vmr_monitor_human(m, line);
    fputs(text, stderr);
    g_free(text);
}

static void show_line(const char *text)
{
    fprintf(stderr, "\r\033[K%s%s", prompt, text);
}

static void recall(struct VmrTerminalMonitor *t)
{
    g_string_assign(t->line, t->last ? t->last : "");
    show_line(t->line->str);
}

static void enter(VmrMachine *m, struct VmrTerminalMonitor *t)
{
    fputc('\n', stderr);
    if (t->line->len) {
        g_free(t->last);
        t->last = g_strdup(t->line->str);
    }
    carry_out(m, t->line->str);
    g_string_truncate(t->line, 0);
    if (t->on)
        fputs(prompt, stderr);
}

static void key(VmrMachine *m, struct VmrTerminalMonitor *t, uint8_t k)
{
    if (t->escape) {
        t->escape = t->escape == 1 && k == '[' ? 2 : 0;
        if (k == 'A')
            recall(t);
    } else if (k == 033) {
        t->escape = 1;
    } else if (k == '\r' || k == '\n') {
        enter(m, t);
    } else if ((k == BACKSPACE || k == CTRL_H) && t->line->len) {
        g_string_truncate(t->line, t->line->len - 1);
        fputs("\b \b", stderr);
    } else if (k == CTRL_C || k == CTRL_U) {
        g_string_truncate(t->line, 0);
        show_line("");
    } else if (k == CTRL_D && !t->line->len) {
        t->on = false;
        fputs("\nvmrun: the keys are the guest's again\n", stderr);
    } else if (k == 'P' - '@') {
        recall(t);
    } else if (k >= ' ' && k < BACKSPACE && t->line->len < LINE_MAX_BYTES) {
        g_string_append_c(t->line, (char)k);
        fputc(k, stderr);
    }
}

static gboolean look(gpointer data)
{
    VmrMachine *m = data;
    struct VmrTerminalMonitor *t = m->priv->terminal;
    vmr_domain_lock_urgent(m->domain);
    GByteArray *keys = t->keys;
    GQueue *orders = t->orders;
    t->keys = g_byte_array_new();
    t->orders = g_queue_new();
    g_source_unref(g_steal_pointer(&t->source));
    vmr_domain_unlock(m->domain);
    for (char *line; (line = g_queue_pop_head(orders)); g_free(line))
        carry_out(m, line);
    for (unsigned i = 0; i < keys->len; i++)
        key(m, t, keys->data[i]);
    fflush(stderr);
    g_queue_free(orders);
    g_byte_array_unref(keys);
    return G_SOURCE_REMOVE;
}

static struct VmrTerminalMonitor *terminal_of(VmrMachine *m)
{
    struct VmrTerminalMonitor *t = m->priv->terminal;
    if (t)
        return t;
    t = m->priv->terminal = g_new0(struct VmrTerminalMonitor, 1);
    t->keys = g_byte_array_new();
    t->orders = g_queue_new();
    t->line = g_string_new(NULL);
    return t;
}

static void look_soon(VmrMachine *m, struct VmrTerminalMonitor *t)
{
    if (t->source)
        return;
    t->source = g_idle_source_new();
    g_source_set_priority(t->source, G_PRIORITY_DEFAULT);
    g_source_set_callback(t->source, look, m, NULL);
    g_source_attach(t->source, m->priv->context);
}

void vmr_monitor_terminal_key(VmrMachine *m, uint8_t k)
{
    struct VmrTerminalMonitor *t = terminal_of(m);
    g_byte_array_append(t->keys, &k, 1);
    look_soon(m, t);
}

void vmr_monitor_terminal_line(VmrMachine *m, const char *line)
{
    struct VmrTerminalMonitor *t = terminal_of(m);
    g_queue_push_tail(t->orders, g_strdup(line));
    look_soon(m, t);
}

void vmr_monitor_terminal_toggle(VmrMachine *m)
{
    struct VmrTerminalMonitor *t = terminal_of(m);
    t->on = !t->on;
    g_string_truncate(t->line, 0);
    if (t->on)
        fprintf(stderr, "\nvmrun: the monitor; Ctrl-A c leaves it, help lists its commands\n%s",
                prompt);
    else
        fputs("\nvmrun: the keys are the guest's again\n", stderr);
}

bool vmr_monitor_terminal_on(const VmrMachine *m)
{
    return m->priv->terminal && m->priv->terminal->on;
}

void vmr_monitor_terminal_free(VmrMachine *m)
{
    struct VmrTerminalMonitor *t = m->priv->terminal;
    if (!t)
        return;
    if (t->source) {
        g_source_destroy(t->source);
        g_source_unref(t->source);
    }
    g_byte_array_unref(t->keys);
    g_queue_free_full(t->orders, g_free);
    g_string_free(t->line, TRUE);
    g_free(t->last);
    g_free(t);
    m->priv->terminal = NULL;
}
