/*
 * mouse.c - a three-button PS/2 mouse without a wheel.
 *
 * After the IBM PS/2 hardware interface technical reference (mouse).  Leaves out
 * 2:1 scaling of what is reported (the setting itself is kept), the report rate's
 * pacing, and the wheel extensions.
 */
#include "ps2.h"

enum {
    CMD_SCALING_1 = 0xe6,
    CMD_SCALING_2 = 0xe7,
    CMD_RESOLUTION = 0xe8,
    CMD_STATUS = 0xe9,
    CMD_STREAM = 0xea,
    CMD_READ = 0xeb,
    CMD_WRAP_OFF = 0xec,
    CMD_WRAP_ON = 0xee,
    CMD_REMOTE = 0xf0,
    CMD_IDENTIFY = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,

    LEFT = 1 << 0,
    RIGHT = 1 << 1,
    MIDDLE = 1 << 2,
    BUTTONS = LEFT | RIGHT | MIDDLE,

    FAR = 4096, /* movement that is kept while nobody reads */
};

static int64_t clamp(int64_t value, int64_t limit)
{
    return value > limit ? limit : value < -limit ? -limit : value;
}

static void set_defaults(Ps2Mouse *m)
{
    m->reporting = m->remote = m->wrap = m->scaling = m->changed = false;
    m->resolution = 2; /* 4 counts a mm */
    m->rate = 100;
    m->dx = m->dy = 0;
    ps2_queue_clear(&m->packets);
}

void ps2_mouse_reset(Ps2Mouse *m)
{
    set_defaults(m);
    ps2_queue_clear(&m->replies);
    m->pending = 0;
    m->last = 0;
}

/* One report of up to 255 counts; the rest stays for the next. */
static void put_packet(Ps2Mouse *m, Ps2Queue *q)
{
    int64_t dx = clamp(m->dx, 255), dy = clamp(m->dy, 255);

    m->dx -= dx;
    m->dy -= dy;
    m->changed = m->dx != 0 || m->dy != 0;
    ps2_queue_put(q, m->buttons | 1 << 3 | (dx < 0) << 4 | (dy < 0) << 5);
    ps2_queue_put(q, dx & 0xff);
    ps2_queue_put(q, dy & 0xff);
}

static void put_status(Ps2Mouse *m)
{
    uint8_t status = m->remote << 6 | m->reporting << 5 | m->scaling << 4;

    /* here left is bit 2 and right bit 0, unlike in a report */
    status |= (m->buttons & LEFT) << 2 | (m->buttons & MIDDLE) >> 1 | (m->buttons & RIGHT) >> 1;
    ps2_queue_put(&m->replies, status);
    ps2_queue_put(&m->replies, m->resolution);
    ps2_queue_put(&m->replies, m->rate);
}

static void write_parameter(Ps2Mouse *m, uint8_t command, uint8_t byte)
{
    if (command == CMD_RATE)
        m->rate = byte;
    else
        m->resolution = byte & 3;
    ps2_queue_put(&m->replies, PS2_ACK);
}

static void write_command(Ps2Mouse *m, uint8_t byte)
{
    uint8_t reply = PS2_ACK;

    switch (byte) {
    case CMD_RESEND:
        reply = m->last;
        break;
    case CMD_RESET:
        ps2_mouse_reset(m);
        break;
    case CMD_DEFAULTS:
        set_defaults(m);
        break;
    case CMD_SCALING_1:
    case CMD_SCALING_2:
        m->scaling = byte == CMD_SCALING_2;
        break;
    case CMD_RESOLUTION:
    case CMD_RATE:
        m->pending = byte;
        break;
    case CMD_STREAM:
    case CMD_REMOTE:
        m->remote = byte == CMD_REMOTE;
        break;
    case CMD_WRAP_ON:
    case CMD_WRAP_OFF:
        m->wrap = byte == CMD_WRAP_ON;
        break;
    case CMD_ENABLE:
    case CMD_DISABLE:
        m->reporting = byte == CMD_ENABLE;
        m->dx = m->dy = 0;
        m->changed = false;
        ps2_queue_clear(&m->packets);
        break;
    case CMD_STATUS:
    case CMD_READ:
    case CMD_IDENTIFY:
        break;
    default:
        reply = PS2_RESEND;
        break;
    }
    ps2_queue_put(&m->replies, reply);
    switch (byte) {
    case CMD_RESET:
        ps2_queue_put(&m->replies, PS2_BAT_OK);
        ps2_queue_put(&m->replies, 0x00); /* its ID: a standard mouse */
        break;
    case CMD_IDENTIFY:
        ps2_queue_put(&m->replies, 0x00);
        break;
    case CMD_STATUS:
        put_status(m);
        break;
    case CMD_READ:
        put_packet(m, &m->replies);
        break;
    }
}

void ps2_mouse_write(Ps2Mouse *m, uint8_t byte)
{
    uint8_t command = m->pending;

    m->pending = 0;
    if (m->wrap && byte != CMD_WRAP_OFF && byte != CMD_RESET)
        ps2_queue_put(&m->replies, byte);
    else if (command && byte < CMD_SCALING_1)
        write_parameter(m, command, byte);
    else
        write_command(m, byte);
}

bool ps2_mouse_get(Ps2Mouse *m, uint8_t *byte)
{
    if (!ps2_queue_get(&m->replies, byte)) {
        if (m->packets.count == 0 && m->changed && m->reporting && !m->remote)
            put_packet(m, &m->packets);
        if (!ps2_queue_get(&m->packets, byte))
            return false;
    }
    m->last = *byte;
    return true;
}

void ps2_mouse_move(Ps2Mouse *m, int dx, int dy, unsigned buttons)
{
    /* A click shorter than the guest's next read is still a click. */
    if ((buttons & BUTTONS) != m->buttons && m->changed && m->reporting && !m->remote &&
        ps2_queue_room(&m->packets) >= 3)
        put_packet(m, &m->packets);
    m->dx = clamp(m->dx + dx, FAR);
    m->dy = clamp(m->dy - (int64_t)dy, FAR);
    if (dx != 0 || dy != 0 || (buttons & BUTTONS) != m->buttons)
        m->changed = true;
    m->buttons = buttons & BUTTONS;
}

void ps2_mouse_check(Ps2Mouse *m)
{
    ps2_queue_check(&m->replies);
    ps2_queue_check(&m->packets);
    m->dx = clamp(m->dx, FAR);
    m->dy = clamp(m->dy, FAR);
    m->buttons &= BUTTONS;
    m->resolution &= 3;
    if (m->pending != CMD_RATE && m->pending != CMD_RESOLUTION)
        m->pending = 0;
}
