/*
 * i8042 - the PS/2 keyboard and mouse controller of a PC (an 8042 with IBM's program).
 *
 * After the IBM PS/2 hardware interface technical reference (keyboard and auxiliary
 * device controller).  The keyboard and the mouse are in keyboard.c and mouse.c.
 *
 * Leaves out the timing: a byte is there as soon as there is room for it, and the
 * input buffer is never full.  Also the password, the diagnostic dump, the keylock,
 * and the PS/1-style input port commands.
 */
#include "ps2.h"
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/input.h>
#include <vmrun/plugin.h>

enum {
    /* status register */
    ST_OBF = 1 << 0,     /* output buffer full */
    ST_SYS = 1 << 2,     /* system flag: self-test passed */
    ST_CMD = 1 << 3,     /* the last write went to the command port */
    ST_INH = 1 << 4,     /* keyboard is not locked */
    ST_AUX_OBF = 1 << 5, /* with ST_OBF: the byte is from the auxiliary device */
    ST_GTO = 1 << 6,     /* the device did not answer */

    /* controller command byte: RAM location 0 */
    CTR_KBD_INT = 1 << 0,
    CTR_AUX_INT = 1 << 1,
    CTR_SYS = 1 << 2,
    CTR_KBD_DIS = 1 << 4,
    CTR_AUX_DIS = 1 << 5,
    CTR_XLATE = 1 << 6,
    CTR_BITS = 0x77,

    /* output port */
    OUT_RESET = 1 << 0, /* 0: the processor is held in reset */
    OUT_A20 = 1 << 1,
    OUT_KBD_OBF = 1 << 4, /* the interrupt lines, read only */
    OUT_AUX_OBF = 1 << 5,
    OUT_ONES = 0xcc,
    OUT_KEPT = OUT_RESET | OUT_A20,

    IN_UNLOCKED = 0x80, /* input port */

    CMD_READ_RAM = 0x20,  /* .. 0x3f */
    CMD_WRITE_RAM = 0x60, /* .. 0x7f */
    CMD_PASSWORD = 0xa4,
    CMD_AUX_DISABLE = 0xa7,
    CMD_AUX_ENABLE = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_DISABLE = 0xad,
    CMD_KBD_ENABLE = 0xae,
    CMD_READ_IN = 0xc0,
    CMD_READ_OUT = 0xd0,
    CMD_WRITE_OUT = 0xd1,
    CMD_WRITE_KBD_OBF = 0xd2,
    CMD_WRITE_AUX_OBF = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_READ_TEST = 0xe0,
    CMD_PULSE = 0xf0, /* .. 0xff */

    RAM_SIZE = 32,
};

typedef struct I8042 {
    VmrDevice dev;
    bool firmware_done, mouse_present; /* properties */
    uint8_t status;
    uint8_t output;        /* output buffer */
    uint8_t ram[RAM_SIZE]; /* [0] is the command byte */
    uint8_t out_port;
    uint8_t pending;      /* the command whose data comes next, or 0 */
    bool reply_valid;     /* the controller's own next byte ... */
    uint8_t reply;
    uint8_t reply_status; /* ... and ST_AUX_OBF, ST_GTO of it */
    Ps2Keyboard kbd;
    Ps2Mouse mouse;
    VmrIrq kbd_irq, aux_irq, a20, reset;
} I8042;

/* ---- the output buffer ---- */

/* The next byte of the keyboard as the guest gets it. */
static bool kbd_next(I8042 *s, uint8_t *byte)
{
    uint8_t up = 0;

    while (ps2_keyboard_get(&s->kbd, byte)) { /* at most what its queues hold */
        if (!(s->ram[0] & CTR_XLATE))
            return true;
        if (*byte == 0xf0) {
            up = 0x80;
            continue;
        }
        *byte = ps2_translate(*byte) | up;
        return true;
    }
    return false;
}

static void fill_output(I8042 *s)
{
    uint8_t byte, flags = 0;

    if (s->status & ST_OBF)
        return;
    if (s->reply_valid) {
        s->reply_valid = false;
        byte = s->reply;
        flags = s->reply_status;
    } else if (!(s->ram[0] & CTR_KBD_DIS) && kbd_next(s, &byte)) {
        flags = 0;
    } else if (s->mouse_present && !(s->ram[0] & CTR_AUX_DIS) && ps2_mouse_get(&s->mouse, &byte)) {
        flags = ST_AUX_OBF;
    } else {
        return;
    }
    s->output = byte;
    s->status = (s->status & ~(ST_AUX_OBF | ST_GTO)) | ST_OBF | flags;
}

static void drive_irqs(I8042 *s)
{
    bool full = s->status & ST_OBF, aux = s->status & ST_AUX_OBF;

    vmr_irq_set(&s->dev, s->kbd_irq, full && !aux && (s->ram[0] & CTR_KBD_INT));
    vmr_irq_set(&s->dev, s->aux_irq, full && aux && (s->ram[0] & CTR_AUX_INT));
}

static void update(I8042 *s)
{
    fill_output(s);
    drive_irqs(s);
}

static void reply(I8042 *s, uint8_t byte, uint8_t flags)
{
    s->reply = byte;
    s->reply_status = flags;
    s->reply_valid = true;
}

/* ---- the output port ---- */

static void pulse_reset(I8042 *s)
{
    vmr_irq_set(&s->dev, s->reset, true);
    vmr_irq_set(&s->dev, s->reset, false);
}

static void write_out_port(I8042 *s, uint8_t value)
{
    s->out_port = (value & OUT_KEPT) | OUT_RESET; /* a reset ends by itself */
    vmr_irq_set(&s->dev, s->a20, s->out_port & OUT_A20);
    if (!(value & OUT_RESET))
        pulse_reset(s);
}

static uint8_t read_out_port(const I8042 *s)
{
    uint8_t value = s->out_port | OUT_ONES;

    if (s->status & ST_OBF)
        value |= s->status & ST_AUX_OBF ? OUT_AUX_OBF : OUT_KBD_OBF;
    return value;
}

/* ---- registers ---- */

static uint64_t data_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    I8042 *s = (I8042 *)dev;
    uint8_t value = s->output;

    /* Lower the lines first, so that a next byte makes an edge of its own. */
    s->status &= ~ST_OBF;
    drive_irqs(s);
    update(s);
    return value;
}

static void write_ram(I8042 *s, unsigned index, uint8_t value)
{
    if (index == 0) {
        value &= CTR_BITS;
        s->status = (s->status & ~ST_SYS) | (value & CTR_SYS);
    }
    s->ram[index] = value;
}

static void data_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    I8042 *s = (I8042 *)dev;
    uint8_t command = s->pending;

    s->pending = 0;
    s->status &= ~ST_CMD;
    switch (command) {
    case 0: /* to the keyboard, whose port this turns on */
        s->ram[0] &= ~CTR_KBD_DIS;
        ps2_keyboard_write(&s->kbd, value);
        break;
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + RAM_SIZE - 1:
        write_ram(s, command - CMD_WRITE_RAM, value);
        break;
    case CMD_WRITE_OUT:
        write_out_port(s, value);
        break;
    case CMD_WRITE_KBD_OBF:
        reply(s, value, 0);
        break;
    case CMD_WRITE_AUX_OBF:
        reply(s, value, ST_AUX_OBF);
        break;
    case CMD_WRITE_AUX:
        s->ram[0] &= ~CTR_AUX_DIS;
        if (s->mouse_present)
            ps2_mouse_write(&s->mouse, value);
        else
            reply(s, PS2_RESEND, ST_AUX_OBF | ST_GTO);
        break;
    }
    update(s);
}

static uint64_t status_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    I8042 *s = (I8042 *)dev;

    return s->status | ST_INH;
}

static void command_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    I8042 *s = (I8042 *)dev;
    uint8_t command = value;

    s->pending = 0;
    s->status |= ST_CMD;
    switch (command) {
    case CMD_READ_RAM ... CMD_READ_RAM + RAM_SIZE - 1:
        reply(s, s->ram[command - CMD_READ_RAM], 0);
        break;
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + RAM_SIZE - 1:
    case CMD_WRITE_OUT:
    case CMD_WRITE_KBD_OBF:
    case CMD_WRITE_AUX_OBF:
    case CMD_WRITE_AUX:
        s->pending = command;
        break;
    case CMD_PASSWORD:
        reply(s, 0xf1, 0); /* none is installed */
        break;
    case CMD_AUX_DISABLE:
        s->ram[0] |= CTR_AUX_DIS;
        break;
    case CMD_AUX_ENABLE:
        s->ram[0] &= ~CTR_AUX_DIS;
        break;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST:
        reply(s, 0x00, 0); /* clock and data lines are in order */
        break;
    case CMD_SELF_TEST:
        s->status |= ST_SYS;
        s->ram[0] |= CTR_SYS;
        reply(s, 0x55, 0);
        break;
    case CMD_KBD_DISABLE:
        s->ram[0] |= CTR_KBD_DIS;
        break;
    case CMD_KBD_ENABLE:
        s->ram[0] &= ~CTR_KBD_DIS;
        break;
    case CMD_READ_IN:
        reply(s, IN_UNLOCKED, 0);
        break;
    case CMD_READ_OUT:
        reply(s, read_out_port(s), 0);
        break;
    case CMD_A20_OFF:
        write_out_port(s, (s->out_port & ~OUT_A20) | OUT_RESET);
        break;
    case CMD_A20_ON:
        write_out_port(s, s->out_port | OUT_A20 | OUT_RESET);
        break;
    case CMD_READ_TEST:
        reply(s, 0x00, 0);
        break;
    case CMD_PULSE ... CMD_PULSE + 0xf: /* zeroes say which bits of the output port pulse low */
        if (!(command & OUT_RESET))
            pulse_reset(s);
        break;
    default:
        vmr_log(dev, VMR_LOG_UNIMPLEMENTED, "controller command 0x%02x", command);
        break;
    }
    update(s);
}

/* ---- input ---- */

static bool i8042_key(VmrDevice *dev, uint16_t code, bool down)
{
    I8042 *s = (I8042 *)dev;
    bool taken = ps2_keyboard_key(&s->kbd, code, down);

    update(s);
    return taken;
}

static unsigned i8042_leds(VmrDevice *dev)
{
    return ((I8042 *)dev)->kbd.leds; /* PS/2 has them in the places of VMR_LED_* */
}

static void i8042_move(VmrDevice *dev, int dx, int dy, unsigned buttons)
{
    I8042 *s = (I8042 *)dev;

    ps2_mouse_move(&s->mouse, dx, dy, buttons);
    update(s);
}

static const VmrKeyboardInterface i8042_keyboard = {
    .size = sizeof(VmrKeyboardInterface),
    .key = i8042_key,
    .leds = i8042_leds,
};

static const VmrMouseInterface i8042_mouse = {
    .size = sizeof(VmrMouseInterface),
    .move = i8042_move,
};

static const void *i8042_get_interface(VmrDevice *dev, const char *id)
{
    if (g_str_equal(id, VMR_KEYBOARD))
        return &i8042_keyboard;
    if (g_str_equal(id, VMR_MOUSE) && ((I8042 *)dev)->mouse_present)
        return &i8042_mouse;
    return NULL;
}

/* ---- life ---- */

static void i8042_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    I8042 *s = (I8042 *)dev;

    if (phase == VMR_RESET_ENTER) {
        memset(s->ram, 0, sizeof(s->ram));
        s->ram[0] = s->firmware_done ? CTR_KBD_INT | CTR_SYS | CTR_AUX_DIS | CTR_XLATE
                                     : CTR_KBD_DIS | CTR_AUX_DIS;
        s->status = s->ram[0] & CTR_SYS;
        s->output = 0;
        s->out_port = OUT_RESET | OUT_A20;
        s->pending = 0;
        s->reply_valid = false;
        s->reply = s->reply_status = 0;
        ps2_keyboard_reset(&s->kbd);
        ps2_mouse_reset(&s->mouse);
    } else if (phase == VMR_RESET_HOLD) {
        drive_irqs(s);
        vmr_irq_set(dev, s->reset, false);
        vmr_irq_set(dev, s->a20, s->out_port & OUT_A20);
    }
}

static bool i8042_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    I8042 *s = (I8042 *)dev;

    s->status &= ST_OBF | ST_SYS | ST_CMD | ST_AUX_OBF | ST_GTO;
    s->ram[0] &= CTR_BITS;
    s->out_port = (s->out_port & OUT_KEPT) | OUT_RESET;
    s->reply_status &= ST_AUX_OBF | ST_GTO;
    ps2_keyboard_check(&s->kbd);
    ps2_mouse_check(&s->mouse);
    drive_irqs(s);
    vmr_irq_set(dev, s->a20, s->out_port & OUT_A20);
    return true;
}

static void i8042_describe(VmrDevice *dev, VmrDescription *d)
{
    vmr_describe_string(d, "acpi-hid", "PNP0303");
    if (((I8042 *)dev)->mouse_present)
        vmr_describe_string(d, "acpi-hid", "PNP0F13");
    vmr_describe_number(d, "iapc-boot-arch", 1 << 1);
}

static const VmrProperty i8042_properties[] = {
    {
        .name = "firmware-done",
        .type = VMR_PROP_BOOL,
        .offset = offsetof(I8042, firmware_done),
        .default_text = "on",
        .doc = "after reset it is as a PC's firmware leaves it: keyboard and translation on",
    },
    {
        .name = "mouse",
        .type = VMR_PROP_BOOL,
        .offset = offsetof(I8042, mouse_present),
        .default_text = "on",
        .doc = "a mouse is plugged into the auxiliary port",
    },
    {0},
};

static const VmrRegion i8042_regions[] = {
    {
        .name = "data",
        .kind = VMR_REGION_PIO,
        .size = 1,
        .impl_min = 1,
        .impl_max = 1,
        .read = data_read,
        .write = data_write,
        .doc = "output and input buffer (0x60)",
    },
    {
        .name = "command",
        .kind = VMR_REGION_PIO,
        .size = 1,
        .impl_min = 1,
        .impl_max = 1,
        .read = status_read,
        .write = command_write,
        .doc = "read: status; write: controller command (0x64)",
    },
    {0},
};

static const VmrLine i8042_lines[] = {
    {
        .name = "kbd-irq",
        .direction = VMR_LINE_OUT,
        .count = 1,
        .offset = offsetof(I8042, kbd_irq),
        .doc = "a byte of the keyboard or the controller is there (IRQ 1)",
    },
    {
        .name = "aux-irq",
        .direction = VMR_LINE_OUT,
        .count = 1,
        .offset = offsetof(I8042, aux_irq),
        .doc = "a byte of the mouse is there (IRQ 12)",
    },
    {
        .name = "a20",
        .direction = VMR_LINE_OUT,
        .count = 1,
        .offset = offsetof(I8042, a20),
        .doc = "address line 20 enabled (machine:a20); asserted from reset on",
    },
    {
        .name = "reset",
        .direction = VMR_LINE_OUT,
        .count = 1,
        .offset = offsetof(I8042, reset),
        .doc = "processor reset, a pulse (machine:reset)",
    },
    {0},
};

#define FIELD(name_, type_, member_) {name_, VMR_FIELD_##type_, 1, offsetof(I8042, member_), 1}
#define QUEUE(name_, member_)                                                                      \
    {name_ "_data", VMR_FIELD_U8, PS2_QUEUE, offsetof(I8042, member_.data), 1},                    \
        FIELD(name_ "_head", U8, member_.head), FIELD(name_ "_count", U8, member_.count)

static const VmrField i8042_fields[] = {
    VMR_FIELD(U8, I8042, status),
    VMR_FIELD(U8, I8042, output),
    VMR_FIELD_N(U8, I8042, ram, RAM_SIZE),
    VMR_FIELD(U8, I8042, out_port),
    VMR_FIELD(U8, I8042, pending),
    VMR_FIELD(BOOL, I8042, reply_valid),
    VMR_FIELD(U8, I8042, reply),
    VMR_FIELD(U8, I8042, reply_status),
    QUEUE("kbd_replies", kbd.replies),
    QUEUE("kbd_keys", kbd.keys),
    FIELD("kbd_scanning", BOOL, kbd.scanning),
    FIELD("kbd_set", U8, kbd.set),
    FIELD("kbd_leds", U8, kbd.leds),
    FIELD("kbd_rate", U8, kbd.rate),
    FIELD("kbd_pending", U8, kbd.pending),
    FIELD("kbd_last", U8, kbd.last),
    QUEUE("mouse_replies", mouse.replies),
    QUEUE("mouse_packets", mouse.packets),
    FIELD("mouse_reporting", BOOL, mouse.reporting),
    FIELD("mouse_remote", BOOL, mouse.remote),
    FIELD("mouse_wrap", BOOL, mouse.wrap),
    FIELD("mouse_scaling", BOOL, mouse.scaling),
    FIELD("mouse_resolution", U8, mouse.resolution),
    FIELD("mouse_rate", U8, mouse.rate),
    FIELD("mouse_pending", U8, mouse.pending),
    FIELD("mouse_last", U8, mouse.last),
    FIELD("mouse_buttons", U8, mouse.buttons),
    FIELD("mouse_changed", BOOL, mouse.changed),
    FIELD("mouse_dx", I64, mouse.dx),
    FIELD("mouse_dy", I64, mouse.dy),
    {0},
};

static const VmrDeviceClass i8042_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "i8042",
    .summary = "PS/2 controller with a keyboard and a mouse",
    .doc = "The keyboard controller of a PC at I/O ports 0x60 and 0x64, with an enhanced keyboard\n"
           "(scan code sets 1, 2 and 3, and the controller's translation) and a three-button\n"
           "mouse. Keys and movements come in through the interfaces of vmrun/input.h.",
    .instance_size = sizeof(I8042),
    .properties = i8042_properties,
    .regions = i8042_regions,
    .lines = i8042_lines,
    .fields = i8042_fields,
    .reset = i8042_reset,
    .post_load = i8042_post_load,
    .describe = i8042_describe,
    .get_interface = i8042_get_interface,
};

VMR_PLUGIN_DEVICE("i8042", "1.0", &i8042_class);
