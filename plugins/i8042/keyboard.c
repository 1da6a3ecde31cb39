/*
 * keyboard.c - an IBM enhanced keyboard (101/102 keys) on a PS/2 port.
 *
 * After the IBM PS/2 hardware interface technical reference (keyboard) and
 * Microsoft's keyboard scan code specification.  All three scan code sets.
 *
 * Leaves out typematic repeat (who injects keys repeats them), the per-key
 * make/break modes of set 3 (all keys are make/break), and the shift states that
 * the navigation keys of an enhanced keyboard fake around their codes.
 */
#include "ps2.h"

enum {
    CMD_SET_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SCAN_SET = 0xf0,
    CMD_IDENTIFY = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_ALL_FIRST = 0xf7, /* set 3: modes of all keys */
    CMD_ALL_LAST = 0xfa,
    CMD_KEY_FIRST = 0xfb, /* set 3: modes of the keys that follow */
    CMD_KEY_LAST = 0xfd,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,

    DEFAULT_RATE = 0x2b, /* 10.9 a second after 500 ms */

    BREAK = 0xf0, /* sets 2 and 3: the next code is a key going up */
    EXT = 0xe000, /* sets 1 and 2: the code has an 0xe0 prefix */

    KEY_SYSRQ = 99,
    KEY_PAUSE = 119,
};

/* The 8042's translation of sets: index set 2, value set 1. */
static const uint8_t set1_of_set2[0x85] = {
    /* 00 */ 0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58,
    /* 08 */ 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    /* 10 */ 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a,
    /* 18 */ 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    /* 20 */ 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c,
    /* 28 */ 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    /* 30 */ 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e,
    /* 38 */ 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    /* 40 */ 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60,
    /* 48 */ 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    /* 50 */ 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e,
    /* 58 */ 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    /* 60 */ 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b,
    /* 68 */ 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    /* 70 */ 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
    /* 78 */ 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
    /* 80 */ 0x80, 0x81, 0x82, 0x41, 0x54,
};

uint8_t ps2_translate(uint8_t set2)
{
    return set2 < sizeof(set1_of_set2) ? set1_of_set2[set2] : set2;
}

static uint8_t set2_of_set1(uint8_t set1)
{
    /* F7 and Alt+SysRq lie above 0x7f, and have an alias below that is no key. */
    for (unsigned i = sizeof(set1_of_set2); i-- > 0;)
        if (set1_of_set2[i] == set1)
            return i;
    return 0;
}

/* By Linux's key code: codes in sets 1 (EXT: prefixed) and 3; 0: no such key.  Set 2 follows from
   set 1 by the translation. */
static const struct {
    uint16_t set1;
    uint8_t set3;
} keys[128] = {
    [1] = {0x01, 0x08},       [2] = {0x02, 0x16},       [3] = {0x03, 0x1e},
    [4] = {0x04, 0x26},       [5] = {0x05, 0x25},       [6] = {0x06, 0x2e},
    [7] = {0x07, 0x36},       [8] = {0x08, 0x3d},       [9] = {0x09, 0x3e},
    [10] = {0x0a, 0x46},      [11] = {0x0b, 0x45},      [12] = {0x0c, 0x4e},
    [13] = {0x0d, 0x55},      [14] = {0x0e, 0x66},      [15] = {0x0f, 0x0d},
    [16] = {0x10, 0x15},      [17] = {0x11, 0x1d},      [18] = {0x12, 0x24},
    [19] = {0x13, 0x2d},      [20] = {0x14, 0x2c},      [21] = {0x15, 0x35},
    [22] = {0x16, 0x3c},      [23] = {0x17, 0x43},      [24] = {0x18, 0x44},
    [25] = {0x19, 0x4d},      [26] = {0x1a, 0x54},      [27] = {0x1b, 0x5b},
    [28] = {0x1c, 0x5a},      [29] = {0x1d, 0x11},      [30] = {0x1e, 0x1c},
    [31] = {0x1f, 0x1b},      [32] = {0x20, 0x23},      [33] = {0x21, 0x2b},
    [34] = {0x22, 0x34},      [35] = {0x23, 0x33},      [36] = {0x24, 0x3b},
    [37] = {0x25, 0x42},      [38] = {0x26, 0x4b},      [39] = {0x27, 0x4c},
    [40] = {0x28, 0x52},      [41] = {0x29, 0x0e},      [42] = {0x2a, 0x12},
    [43] = {0x2b, 0x5c},      [44] = {0x2c, 0x1a},      [45] = {0x2d, 0x22},
    [46] = {0x2e, 0x21},      [47] = {0x2f, 0x2a},      [48] = {0x30, 0x32},
    [49] = {0x31, 0x31},      [50] = {0x32, 0x3a},      [51] = {0x33, 0x41},
    [52] = {0x34, 0x49},      [53] = {0x35, 0x4a},      [54] = {0x36, 0x59},
    [55] = {0x37, 0x7e},      [56] = {0x38, 0x19},      [57] = {0x39, 0x29},
    [58] = {0x3a, 0x14},      [59] = {0x3b, 0x07},      [60] = {0x3c, 0x0f},
    [61] = {0x3d, 0x17},      [62] = {0x3e, 0x1f},      [63] = {0x3f, 0x27},
    [64] = {0x40, 0x2f},      [65] = {0x41, 0x37},      [66] = {0x42, 0x3f},
    [67] = {0x43, 0x47},      [68] = {0x44, 0x4f},      [69] = {0x45, 0x76},
    [70] = {0x46, 0x5f},      [71] = {0x47, 0x6c},      [72] = {0x48, 0x75},
    [73] = {0x49, 0x7d},      [74] = {0x4a, 0x84},      [75] = {0x4b, 0x6b},
    [76] = {0x4c, 0x73},      [77] = {0x4d, 0x74},      [78] = {0x4e, 0x7c},
    [79] = {0x4f, 0x69},      [80] = {0x50, 0x72},      [81] = {0x51, 0x7a},
    [82] = {0x52, 0x70},      [83] = {0x53, 0x71},      [86] = {0x56, 0x13},
    [87] = {0x57, 0x56},      [88] = {0x58, 0x5e},      [96] = {EXT | 0x1c, 0x79},
    [97] = {EXT | 0x1d, 0x58},  [98] = {EXT | 0x35, 0x77},  [99] = {EXT | 0x37, 0x57},
    [100] = {EXT | 0x38, 0x39}, [102] = {EXT | 0x47, 0x6e}, [103] = {EXT | 0x48, 0x63},
    [104] = {EXT | 0x49, 0x6f}, [105] = {EXT | 0x4b, 0x61}, [106] = {EXT | 0x4d, 0x6a},
    [107] = {EXT | 0x4f, 0x65}, [108] = {EXT | 0x50, 0x60}, [109] = {EXT | 0x51, 0x6d},
    [110] = {EXT | 0x52, 0x67}, [111] = {EXT | 0x53, 0x64}, [119] = {0x45, 0x62},
    [125] = {EXT | 0x5b, 0x8b}, [126] = {EXT | 0x5c, 0x8c}, [127] = {EXT | 0x5d, 0x8d},
};

/* ---- commands ---- */

static void set_defaults(Ps2Keyboard *k)
{
    k->set = 2;
    k->rate = DEFAULT_RATE;
    ps2_queue_clear(&k->keys);
}

void ps2_keyboard_reset(Ps2Keyboard *k)
{
    set_defaults(k);
    ps2_queue_clear(&k->replies);
    k->scanning = true;
    k->leds = 0;
    k->pending = 0;
    k->last = 0;
}

static void write_parameter(Ps2Keyboard *k, uint8_t command, uint8_t byte)
{
    switch (command) {
    case CMD_SET_LEDS:
        k->leds = byte & 7;
        ps2_queue_put(&k->replies, PS2_ACK);
        break;
    case CMD_RATE:
        k->rate = byte & 0x7f;
        ps2_queue_put(&k->replies, PS2_ACK);
        break;
    case CMD_SCAN_SET:
        if (byte > 3) {
            ps2_queue_put(&k->replies, PS2_RESEND);
            break;
        }
        ps2_queue_put(&k->replies, PS2_ACK);
        if (byte == 0) {
            ps2_queue_put(&k->replies, k->set);
        } else {
            k->set = byte;
            ps2_queue_clear(&k->keys);
        }
        break;
    default: /* modes of single keys: a list that the next command ends */
        k->pending = command;
        ps2_queue_put(&k->replies, PS2_ACK);
        break;
    }
}

static void write_command(Ps2Keyboard *k, uint8_t byte)
{
    switch (byte) {
    case CMD_SET_LEDS:
    case CMD_SCAN_SET:
    case CMD_RATE:
    case CMD_KEY_FIRST ... CMD_KEY_LAST:
        k->pending = byte;
        ps2_queue_put(&k->replies, PS2_ACK);
        break;
    case CMD_ECHO:
        ps2_queue_put(&k->replies, CMD_ECHO);
        break;
    case CMD_IDENTIFY:
        ps2_queue_put(&k->replies, PS2_ACK);
        ps2_queue_put(&k->replies, 0xab);
        ps2_queue_put(&k->replies, 0x83);
        break;
    case CMD_ENABLE:
        ps2_queue_clear(&k->keys);
        k->scanning = true;
        ps2_queue_put(&k->replies, PS2_ACK);
        break;
    case CMD_DISABLE:
        set_defaults(k);
        k->scanning = false;
        ps2_queue_put(&k->replies, PS2_ACK);
        break;
    case CMD_DEFAULTS:
        set_defaults(k);
        k->scanning = true;
        ps2_queue_put(&k->replies, PS2_ACK);
        break;
    case CMD_ALL_FIRST ... CMD_ALL_LAST:
        ps2_queue_put(&k->replies, PS2_ACK);
        break;
    case CMD_RESEND:
        ps2_queue_put(&k->replies, k->last);
        break;
    case CMD_RESET:
        ps2_keyboard_reset(k);
        ps2_queue_put(&k->replies, PS2_ACK);
        ps2_queue_put(&k->replies, PS2_BAT_OK);
        break;
    default:
        ps2_queue_put(&k->replies, PS2_RESEND);
        break;
    }
}

void ps2_keyboard_write(Ps2Keyboard *k, uint8_t byte)
{
    uint8_t command = k->pending;

    k->pending = 0;
    /* A command where a parameter is due ends the old command and is obeyed. */
    if (command && byte < CMD_SET_LEDS)
        write_parameter(k, command, byte);
    else
        write_command(k, byte);
}

bool ps2_keyboard_get(Ps2Keyboard *k, uint8_t *byte)
{
    if (!ps2_queue_get(&k->replies, byte) && !ps2_queue_get(&k->keys, byte))
        return false;
    k->last = *byte;
    return true;
}

/* ---- keys ---- */

/* The bytes of a key: at most 8. */
static unsigned encode(uint8_t set, uint16_t code, bool down, uint8_t *out)
{
    uint16_t set1 = keys[code].set1;
    uint8_t low = set1 & 0xff;
    unsigned n = 0;

    if (set == 3) {
        if (!down)
            out[n++] = BREAK;
        out[n++] = keys[code].set3;
    } else if (code == KEY_PAUSE) { /* has no break code: sends both at once */
        static const uint8_t one[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
        static const uint8_t two[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};
        const uint8_t *bytes = set == 1 ? one : two;
        unsigned length = set == 1 ? sizeof(one) : sizeof(two);
        for (; down && n < length; n++)
            out[n] = bytes[n];
    } else if (code == KEY_SYSRQ) { /* wrapped into a shift of its own */
        for (unsigned i = 0; i < 2; i++) {
            uint8_t part = (i == 0) == down ? 0x2a : 0x37;
            out[n++] = 0xe0;
            if (set == 2 && !down)
                out[n++] = BREAK;
            out[n++] = set == 2 ? set2_of_set1(part) : down ? part : part | 0x80;
        }
    } else {
        if (set1 & EXT)
            out[n++] = 0xe0;
        if (set == 2 && !down)
            out[n++] = BREAK;
        out[n++] = set == 2 ? set2_of_set1(low) : down ? low : low | 0x80;
    }
    return n;
}

bool ps2_keyboard_key(Ps2Keyboard *k, uint16_t code, bool down)
{
    uint8_t bytes[8];

    if (code >= sizeof(keys) / sizeof(keys[0]) || keys[code].set1 == 0 || !k->scanning)
        return false;
    unsigned n = encode(k->set, code, down, bytes);
    /* A key goes in whole or not at all.  The last place is for the code of an overrun. */
    if (ps2_queue_room(&k->keys) <= n) {
        if (ps2_queue_room(&k->keys) > 0) {
            while (ps2_queue_room(&k->keys) > 0)
                ps2_queue_put(&k->keys, k->set == 1 ? 0xff : 0x00);
        }
        return false;
    }
    for (unsigned i = 0; i < n; i++)
        ps2_queue_put(&k->keys, bytes[i]);
    return true;
}

void ps2_keyboard_check(Ps2Keyboard *k)
{
    ps2_queue_check(&k->replies);
    ps2_queue_check(&k->keys);
    if (k->set < 1 || k->set > 3)
        k->set = 2;
    k->leds &= 7;
    if (k->pending < CMD_SET_LEDS)
        k->pending = 0;
}
