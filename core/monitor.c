/*
 * core/monitor.c - what the monitor's commands do to the machine, whoever gives them.
 */
#include "monitor.h"

#include "display.h"
#include "runtime.h"
#include "state.h"

#include <string.h>
#include <vmrun/input.h>

static bool fail(GError **error, const char *text)
{
    g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, text);
    return false;
}

/* The first device that offers an interface, or NULL. */
static VmrDevice *first_with(VmrMachine *m, const char *interface)
{
    for (unsigned i = 0; i < m->devices->len; i++) {
        VmrDevice *d = ((VmrDeviceHandle *)m->devices->pdata[i])->device;
        if (vmr_device_interface(d, interface))
            return d;
    }
    return NULL;
}

void vmr_monitor_event(VmrMachine *m, VmrEvent event, bool guest)
{
    if (m->priv->qmp)
        vmr_qmp_event(m, event, guest);
}

bool vmr_machine_is_stopped(const VmrMachine *m)
{
    return m->priv->user_stopped;
}

bool vmr_machine_stop(VmrMachine *m, GError **error)
{
    if (m->priv->user_stopped)
        return true;
    if (!vmr_machine_pause(m))
        return fail(error, "the machine does not stop");
    m->priv->user_stopped = true;
    vmr_monitor_event(m, VMR_EVENT_STOP, false);
    return true;
}

void vmr_machine_cont(VmrMachine *m)
{
    if (!m->priv->user_stopped)
        return;
    m->priv->user_stopped = false;
    vmr_machine_resume(m);
    vmr_monitor_event(m, VMR_EVENT_RESUME, false);
}

bool vmr_machine_powerdown(VmrMachine *m, GError **error)
{
    if (!m->priv->power_button.sink)
        return fail(error, "the machine has no power button: [machine] power-button names none");
    vmr_irq_drive(m->priv->power_button, true);
    vmr_irq_drive(m->priv->power_button, false);
    vmr_monitor_event(m, VMR_EVENT_POWERDOWN, false);
    return true;
}

bool vmr_machine_savevm(VmrMachine *m, const char *path, GError **error)
{
    if (!vmr_machine_pause(m))
        return fail(error, "the machine does not stop");
    bool ok = vmr_snapshot_save(m, path, error);
    vmr_machine_resume(m);
    return ok;
}

bool vmr_machine_screendump(VmrMachine *m, const char *path, GError **error)
{
    if (!m->priv->displays->len)
        return fail(error, "the machine has no [display NAME]");
    return vmr_display_screendump(m->priv->displays->pdata[0], path, error);
}

/* ---- keys ------------------------------------------------------------- */

/* QMP's names of keys, and Linux's numbers (input-event-codes.h). */
static const char key_names[] =
    "esc 1 1 2 2 3 3 4 4 5 5 6 6 7 7 8 8 9 9 10 0 11 minus 12 equal 13 backspace 14 tab 15 q 16 "
    "w 17 e 18 r 19 t 20 y 21 u 22 i 23 o 24 p 25 bracket_left 26 bracket_right 27 ret 28 ctrl 29 "
    "a 30 s 31 d 32 f 33 g 34 h 35 j 36 k 37 l 38 semicolon 39 apostrophe 40 grave_accent 41 "
    "shift 42 backslash 43 z 44 x 45 c 46 v 47 b 48 n 49 m 50 comma 51 dot 52 slash 53 shift_r 54 "
    "asterisk 55 kp_multiply 55 alt 56 spc 57 caps_lock 58 f1 59 f2 60 f3 61 f4 62 f5 63 f6 64 "
    "f7 65 f8 66 f9 67 f10 68 num_lock 69 scroll_lock 70 kp_7 71 kp_8 72 kp_9 73 kp_subtract 74 "
    "kp_4 75 kp_5 76 kp_6 77 kp_add 78 kp_1 79 kp_2 80 kp_3 81 kp_0 82 kp_decimal 83 less 86 "
    "f11 87 f12 88 kp_enter 96 ctrl_r 97 kp_divide 98 print 99 sysrq 99 alt_r 100 home 102 up 103 "
    "pgup 104 left 105 right 106 end 107 down 108 pgdn 109 insert 110 delete 111 pause 119 "
    "meta_l 125 meta_r 126 menu 127 compose 127 ";

static bool key_code(const char *name, uint16_t *code)
{
    guint64 n;
    if (g_str_has_prefix(name, "0x")) {
        if (!g_ascii_string_to_unsigned(name + 2, 16, 1, 0x2ff, &n, NULL))
            return false;
        *code = (uint16_t)n;
        return true;
    }
    char **words = g_strsplit(key_names, " ", 0);
    bool found = false;
    for (unsigned i = 0; words[i] && words[i + 1] && !found; i += 2) {
        found = !strcmp(words[i], name);
        if (found)
            *code = (uint16_t)g_ascii_strtoull(words[i + 1], NULL, 10);
    }
    g_strfreev(words);
    return found;
}

static VmrDevice *keyboard(VmrMachine *m, const VmrKeyboardInterface **iface)
{
    VmrDevice *d = first_with(m, VMR_KEYBOARD);
    *iface = d ? vmr_device_interface(d, VMR_KEYBOARD) : NULL;
    return d;
}

typedef struct Held {
    VmrMachine *machine;
    GArray *codes; /* uint16_t */
} Held;

static void held_free(gpointer data)
{
    Held *h = data;
    g_array_unref(h->codes);
    g_free(h);
}

static gboolean release(gpointer data)
{
    Held *h = data;
    const VmrKeyboardInterface *iface;
    VmrDevice *d = keyboard(h->machine, &iface);
    vmr_domain_lock_urgent(h->machine->domain);
    for (unsigned i = h->codes->len; d && i-- > 0;)
        iface->key(d, g_array_index(h->codes, uint16_t, i), false);
    vmr_domain_unlock(h->machine->domain);
    return G_SOURCE_REMOVE;
}

bool vmr_machine_send_keys(VmrMachine *m, const char *const *names, unsigned hold_ms,
                           GError **error)
{
    const VmrKeyboardInterface *iface;
    VmrDevice *d = keyboard(m, &iface);
    GArray *codes = g_array_new(FALSE, FALSE, sizeof(uint16_t));
    bool ok = d || fail(error, "the machine has no keyboard");
    for (unsigned i = 0; ok && names[i]; i++) {
        uint16_t code = 0;
        ok = key_code(names[i], &code);
        if (!ok)
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "no key is named '%s'", names[i]);
        g_array_append_val(codes, code);
    }
    vmr_domain_lock_urgent(m->domain);
    for (unsigned i = 0; ok && i < codes->len; i++)
        if (!iface->key(d, g_array_index(codes, uint16_t, i), true))
            ok = fail(error, "the keyboard does not take the key");
    vmr_domain_unlock(m->domain);
    if (!ok) {
        g_array_unref(codes);
        return false;
    }
    Held *h = g_new(Held, 1);
    *h = (Held){m, codes};
    GSource *s = g_timeout_source_new(hold_ms);
    g_source_set_callback(s, release, h, held_free);
    g_source_attach(s, m->priv->context);
    g_source_unref(s);
    return true;
}

/* ---- balloon ---------------------------------------------------------- */

static VmrDevice *balloon(VmrMachine *m, const VmrBalloonInterface **iface, GError **error)
{
    VmrDevice *d = first_with(m, VMR_BALLOON);
    *iface = d ? vmr_device_interface(d, VMR_BALLOON) : NULL;
    if (!d)
        fail(error, "the machine has no balloon");
    return d;
}

bool vmr_machine_balloon(VmrMachine *m, uint64_t bytes, GError **error)
{
    const VmrBalloonInterface *iface;
    VmrDevice *d = balloon(m, &iface, error);
    if (!d)
        return false;
    vmr_domain_lock_urgent(m->domain);
    iface->set_memory(d, bytes);
    vmr_domain_unlock(m->domain);
    return true;
}

bool vmr_machine_balloon_memory(VmrMachine *m, uint64_t *bytes, GError **error)
{
    const VmrBalloonInterface *iface;
    VmrDevice *d = balloon(m, &iface, error);
    if (!d)
        return false;
    vmr_domain_lock_urgent(m->domain);
    *bytes = iface->memory(d);
    vmr_domain_unlock(m->domain);
    return true;
}

unsigned vmr_machine_balloon_stats(VmrMachine *m, VmrBalloonStat *stats, unsigned max)
{
    const VmrBalloonInterface *iface;
    VmrDevice *d = balloon(m, &iface, NULL);
    if (!d)
        return 0;
    vmr_domain_lock_urgent(m->domain);
    unsigned count = iface->stats(d, stats, max);
    vmr_domain_unlock(m->domain);
    return MIN(count, max);
}
