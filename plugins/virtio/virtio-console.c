/*
 * virtio-console - a virtio console with one port, on a character back end.
 *
 * After VIRTIO 1.2, 5.3: the first port's receive and transmit queues, the size, and
 * the emergency write.  Leaves out further ports and the control queues.
 */
#include "virtio.h"

#include <vmrun/plugin.h>

enum {
    RECEIVE = 0,
    TRANSMIT = 1,

    F_SIZE = 1 << 0,
    F_EMERG_WRITE = 1 << 2,

    COLUMNS = 0,
    ROWS = 2,
    MAX_PORTS = 4,
    EMERG_WRITE = 8,
    CONFIG_SIZE = 12,
};

typedef struct VirtioConsole {
    VirtioDevice v;
    /* properties */
    VmrChardev *chardev;
    uint32_t columns, rows;

    VirtioChain *sending; /* the back end has taken a part of it only */
    uint64_t sent;        /* how much; saved */
} VirtioConsole;

/* ---- output ----------------------------------------------------------- */

/* False: the back end takes no more for now. */
static bool send_chain(VirtioConsole *n, VirtioChain *c)
{
    while (n->sent < c->out_length) {
        uint8_t bytes[1024];
        size_t got = virtio_read(&n->v, c, n->sent, bytes, sizeof(bytes));
        if (!got)
            return true; /* not in memory: the device is broken now */
        unsigned taken = vmr_chardev_write(&n->v.dev, n->chardev, bytes, (unsigned)got);
        n->sent += taken;
        if (taken < got)
            return false;
    }
    return true;
}

static void transmit(VirtioConsole *n)
{
    bool any = false;
    for (;;) {
        VirtioChain *c = n->sending ? n->sending : virtio_pop(&n->v, TRANSMIT);
        n->sending = NULL;
        if (!c)
            break;
        if (!send_chain(n, c)) {
            n->sending = c;
            break;
        }
        n->sent = 0;
        virtio_push(&n->v, c, 0);
        any = true;
    }
    if (any)
        virtio_signal(&n->v, TRANSMIT);
}

/* ---- input ------------------------------------------------------------ */

static unsigned can_receive(VmrDevice *dev)
{
    VirtioConsole *n = (VirtioConsole *)dev;
    VirtioChain *c = virtio_pop(&n->v, RECEIVE);
    unsigned room = c ? (unsigned)MIN(c->in_length, (uint64_t)4096) : 0;
    if (c && !room) {
        virtio_broken(&n->v, "an empty receive buffer");
        virtio_drop(&n->v, c);
    } else if (c) {
        virtio_unpop(&n->v, c);
    }
    return room;
}

static void receive(VmrDevice *dev, const uint8_t *data, unsigned len)
{
    VirtioConsole *n = (VirtioConsole *)dev;
    VirtioChain *c;
    while (len && (c = virtio_pop(&n->v, RECEIVE))) {
        unsigned take = (unsigned)MIN(c->in_length, (uint64_t)len);
        size_t put = virtio_write(&n->v, c, 0, data, take);
        virtio_push(&n->v, c, (uint32_t)put);
        data += take;
        len -= take;
        if (!take)
            break;
    }
    virtio_signal(&n->v, RECEIVE);
}

static void writable(VmrDevice *dev)
{
    transmit((VirtioConsole *)dev);
}

static const VmrChardevHandler console_chardev = {
    .size = sizeof(VmrChardevHandler),
    .can_receive = can_receive,
    .receive = receive,
    .writable = writable,
};

/* ---- the device ------------------------------------------------------- */

static void console_notify(VirtioDevice *v, unsigned queue)
{
    VirtioConsole *n = (VirtioConsole *)v;
    if (queue == TRANSMIT)
        transmit(n);
    else if (queue == RECEIVE)
        vmr_chardev_accept_input(&v->dev, n->chardev);
}

static void fill_config(VirtioConsole *n)
{
    virtio_put16(n->v.config + COLUMNS, (uint16_t)n->columns);
    virtio_put16(n->v.config + ROWS, (uint16_t)n->rows);
    virtio_put32(n->v.config + MAX_PORTS, 1);
    virtio_put32(n->v.config + EMERG_WRITE, 0);
}

static void console_config_written(VirtioDevice *v, unsigned offset, unsigned size)
{
    VirtioConsole *n = (VirtioConsole *)v;
    if (offset <= EMERG_WRITE && EMERG_WRITE < offset + size)
        vmr_chardev_write(&v->dev, n->chardev, v->config + EMERG_WRITE, 1);
    fill_config(n);
}

static void console_virtio_reset(VirtioDevice *v)
{
    VirtioConsole *n = (VirtioConsole *)v;
    virtio_drop(v, n->sending);
    n->sending = NULL;
    n->sent = 0;
    fill_config(n);
}

static const VirtioType console_type = {
    .id = 3,
    .pci_class = 0x078000,
    .config_size = CONFIG_SIZE,
    .queue_notify = console_notify,
    .config_written = console_config_written,
    .reset = console_virtio_reset,
};

static bool console_realize(VmrDevice *dev, GError **error)
{
    VirtioConsole *n = (VirtioConsole *)dev;
    n->v.offered = F_EMERG_WRITE | (n->columns && n->rows ? F_SIZE : 0);
    if (!virtio_realize(&n->v, &console_type, 2, error))
        return false;
    vmr_chardev_attach(dev, n->chardev, &console_chardev);
    return true;
}

static void console_unrealize(VmrDevice *dev)
{
    VirtioConsole *n = (VirtioConsole *)dev;
    vmr_chardev_attach(dev, n->chardev, NULL);
    virtio_drop(&n->v, n->sending);
    virtio_unrealize(&n->v);
}

static void console_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    virtio_device_reset((VirtioDevice *)dev, phase);
}

/* What is half sent goes back to the ring, since only the ring is saved. */
static void console_pause(VmrDevice *dev)
{
    VirtioConsole *n = (VirtioConsole *)dev;
    if (n->sending)
        virtio_unpop(&n->v, n->sending);
    n->sending = NULL;
}

static void console_resume(VmrDevice *dev)
{
    virtio_resume((VirtioDevice *)dev);
}

static bool console_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    VirtioConsole *n = (VirtioConsole *)dev;
    n->sending = NULL;
    return virtio_post_load(&n->v, error);
}

static void console_describe(VmrDevice *dev, VmrDescription *d)
{
    virtio_describe((VirtioDevice *)dev, d);
}

static const VmrProperty console_properties[] = {
    {.name = "chardev", .type = VMR_PROP_CHARDEV, .offset = offsetof(VirtioConsole, chardev),
     .doc = "the [chardev NAME] that it talks to"},
    {.name = "columns", .type = VMR_PROP_U32, .offset = offsetof(VirtioConsole, columns),
     .default_text = "0", .max = 65535, .doc = "width that the driver is told; 0: none"},
    {.name = "rows", .type = VMR_PROP_U32, .offset = offsetof(VirtioConsole, rows),
     .default_text = "0", .max = 65535, .doc = "height that the driver is told; 0: none"},
    VIRTIO_PROPERTIES,
    {.name = NULL},
};
static const VmrRegion console_regions[] = {VIRTIO_REGIONS, {.name = NULL}};
static const VmrLine console_lines[] = {VIRTIO_LINES, {.name = NULL}};
static const VmrField console_fields[] = {
    VIRTIO_FIELDS,
    VMR_FIELD(U64, VirtioConsole, sent),
    {.name = NULL},
};

static const VmrDeviceClass console_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "virtio-console",
    .summary = "virtio console, one port",
    .doc = "The guest's /dev/hvc0. On PCI with bus = pci0, or memory-mapped with regs = ADDRESS "
           "and irq = LINE.",
    .instance_size = sizeof(VirtioConsole),
    .properties = console_properties,
    .regions = console_regions,
    .lines = console_lines,
    .fields = console_fields,
    .realize = console_realize,
    .unrealize = console_unrealize,
    .reset = console_reset,
    .pause = console_pause,
    .resume = console_resume,
    .post_load = console_post_load,
    .describe = console_describe,
    .get_interface = virtio_get_interface,
};

VMR_PLUGIN_DEVICE("virtio-console", "1.0", &console_class);
