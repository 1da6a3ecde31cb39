/*
 * ps2.h - the two devices behind the PS/2 controller, as pure chip cores.
 *
 * Each takes bytes that the guest sends and gives bytes when the controller asks.
 * Neither knows of the controller, of lines or of the host.
 */
#ifndef PS2_H
#define PS2_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PS2_ACK = 0xfa,
    PS2_RESEND = 0xfe,
    PS2_BAT_OK = 0xaa, /* basic assurance test passed */

    PS2_QUEUE = 32, /* bytes; a power of two */
};

typedef struct Ps2Queue {
    uint8_t data[PS2_QUEUE];
    uint8_t head, count;
} Ps2Queue;

static inline void ps2_queue_clear(Ps2Queue *q)
{
    q->head = q->count = 0;
}

static inline unsigned ps2_queue_room(const Ps2Queue *q)
{
    return PS2_QUEUE - q->count;
}

/* A full queue drops the byte. */
static inline void ps2_queue_put(Ps2Queue *q, uint8_t byte)
{
    if (q->count < PS2_QUEUE)
        q->data[(q->head + q->count++) % PS2_QUEUE] = byte;
}

static inline bool ps2_queue_get(Ps2Queue *q, uint8_t *byte)
{
    if (q->count == 0)
        return false;
    *byte = q->data[q->head];
    q->head = (q->head + 1) % PS2_QUEUE;
    q->count--;
    return true;
}

/* After loading: nothing that a snapshot says may lead outside of the array. */
static inline void ps2_queue_check(Ps2Queue *q)
{
    q->head %= PS2_QUEUE;
    if (q->count > PS2_QUEUE)
        q->count = PS2_QUEUE;
}

typedef struct Ps2Keyboard {
    Ps2Queue replies; /* to commands; sent first */
    Ps2Queue keys;
    bool scanning;
    uint8_t set;     /* scan code set, 1 to 3 */
    uint8_t leds;
    uint8_t rate;    /* typematic; kept only, since hosts repeat keys */
    uint8_t pending; /* the command whose parameter comes next, or 0 */
    uint8_t last;    /* byte sent last, for RESEND */
} Ps2Keyboard;

void ps2_keyboard_reset(Ps2Keyboard *k);
void ps2_keyboard_write(Ps2Keyboard *k, uint8_t byte);
bool ps2_keyboard_get(Ps2Keyboard *k, uint8_t *byte);
/* As VmrKeyboardInterface.key. */
bool ps2_keyboard_key(Ps2Keyboard *k, uint16_t code, bool down);
void ps2_keyboard_check(Ps2Keyboard *k);

/* What the controller makes of a byte in set 2 (0xf0 prefixes are the controller's own matter). */
uint8_t ps2_translate(uint8_t set2);

typedef struct Ps2Mouse {
    Ps2Queue replies;
    Ps2Queue packets;
    bool reporting, remote, wrap, scaling;
    uint8_t resolution, rate;
    uint8_t pending; /* the command whose parameter comes next, or 0 */
    uint8_t last;
    uint8_t buttons;
    bool changed;   /* something to report */
    int64_t dx, dy; /* not yet reported; dy upwards */
} Ps2Mouse;

void ps2_mouse_reset(Ps2Mouse *m);
void ps2_mouse_write(Ps2Mouse *m, uint8_t byte);
bool ps2_mouse_get(Ps2Mouse *m, uint8_t *byte);
/* As VmrMouseInterface.move. */
void ps2_mouse_move(Ps2Mouse *m, int dx, int dy, unsigned buttons);
void ps2_mouse_check(Ps2Mouse *m);

#endif
