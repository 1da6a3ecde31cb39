/*
 * core/display-keys.c - which keys a person would press for what a terminal sends.
 *
 * For a US keyboard, as Linux numbers the keys (input-event-codes.h).  Leaves out what
 * terminals cannot tell: keys that go down alone, Alt beyond ESC, other layouts.
 */
#include "display-private.h"

#include <string.h>

enum {
    KEY_ESC = 1,
    KEY_BACKSPACE = 14,
    KEY_TAB = 15,
    KEY_ENTER = 28,
    KEY_LEFTCTRL = 29,
    KEY_LEFTSHIFT = 42,
    KEY_SPACE = 57,
    UP = 0x8000,
};

/* Rows of keys from their first code on, without and with shift. */
static const struct {
    uint8_t first;
    const char *plain, *shifted;
} rows[] = {
    {2, "1234567890-=", "!@#$%^&*()_+"},
    {16, "qwertyuiop[]", "QWERTYUIOP{}"},
    {30, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
    {43, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
};

static const struct {
    const char *sequence;
    uint8_t key;
} sequences[] = {
    {"\033[A", 103}, {"\033[B", 108}, {"\033[C", 106}, {"\033[D", 105}, {"\033[H", 102},
    {"\033[F", 107}, {"\033OA", 103}, {"\033OB", 108}, {"\033OC", 106}, {"\033OD", 105},
    {"\033OH", 102}, {"\033OF", 107}, {"\033OP", 59},  {"\033OQ", 60},  {"\033OR", 61},
    {"\033OS", 62},  {"\033[1~", 102}, {"\033[2~", 110}, {"\033[3~", 111}, {"\033[4~", 107},
    {"\033[5~", 104}, {"\033[6~", 109}, {"\033[15~", 63}, {"\033[17~", 64}, {"\033[18~", 65},
    {"\033[19~", 66}, {"\033[20~", 67}, {"\033[21~", 68}, {"\033[23~", 87}, {"\033[24~", 88},
};

static void event(VmrKeyTyper *t, uint16_t code)
{
    g_array_append_val(t->events, code);
}

static void press(VmrKeyTyper *t, uint16_t key, uint16_t modifier)
{
    if (modifier)
        event(t, modifier);
    event(t, key);
    event(t, key | UP);
    if (modifier)
        event(t, modifier | UP);
}

static void type_plain(VmrKeyTyper *t, uint8_t byte)
{
    uint16_t modifier = 0;
    if (byte == '\r' || byte == '\n') {
        press(t, KEY_ENTER, 0);
        return;
    }
    if (byte == '\t' || byte == ' ' || byte == 033 || byte == 0x7f || byte == '\b') {
        press(t, byte == '\t'   ? KEY_TAB
                 : byte == ' '  ? KEY_SPACE
                 : byte == 033 ? KEY_ESC
                                : KEY_BACKSPACE, 0);
        return;
    }
    if (byte >= 1 && byte <= 26) {
        modifier = KEY_LEFTCTRL;
        byte += 'a' - 1;
    }
    for (unsigned i = 0; byte && i < G_N_ELEMENTS(rows); i++) {
        const char *plain = strchr(rows[i].plain, byte), *shifted = strchr(rows[i].shifted, byte);
        if (plain)
            press(t, (uint16_t)(rows[i].first + (plain - rows[i].plain)), modifier);
        else if (shifted)
            press(t, (uint16_t)(rows[i].first + (shifted - rows[i].shifted)), KEY_LEFTSHIFT);
        else
            continue;
        return;
    }
}

/* Does a sequence begin with what has come?  Its key, if it is whole; 0: not yet; -1: none. */
static int match(const VmrKeyTyper *t)
{
    int found = -1;
    for (unsigned i = 0; i < G_N_ELEMENTS(sequences); i++) {
        if (strncmp(sequences[i].sequence, (const char *)t->escape, t->escape_len) != 0)
            continue;
        if (strlen(sequences[i].sequence) == t->escape_len)
            return sequences[i].key;
        found = 0;
    }
    return found;
}

void vmr_keys_flush(VmrKeyTyper *t)
{
    for (unsigned i = 0; i < t->escape_len; i++)
        type_plain(t, t->escape[i]);
    t->escape_len = 0;
}

void vmr_keys_type(VmrKeyTyper *t, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (t->escape_len == 0 && bytes[i] != 033) {
            type_plain(t, bytes[i]);
            continue;
        }
        t->escape[t->escape_len++] = bytes[i];
        int key = match(t);
        if (key > 0) {
            press(t, (uint16_t)key, 0);
            t->escape_len = 0;
        } else if (key < 0 || t->escape_len == sizeof(t->escape)) {
            vmr_keys_flush(t);
        }
    }
}
