/*
 * fuzz-regions - the regions of all devices, their lines, clocks, input and saved fields.
 *
 * An input: which of the boards, and then accesses of any size at any offset of any region of its devices,
 * levels of their inputs, bytes of memory, time that passes, resets, keys, characters and frames that
 * come in, and at the end a snapshot with any values in it.
 */
#include "fuzz.h"
#include "tests/unit/fakehost.h"

#include <vmrun/input.h>

enum { RAM = 0x10000, DEVICES_MAX = 12 };

typedef struct Part {
    const char *plugin, *name, *properties;
} Part;

#define PICS {"i8259", "pic0", "irq=cpu0:intr"}
#define APICS {"lapic", "lapic0", "extint=@pic0"}, {"ioapic", "ioapic0", "apic=@lapic0"}
#define ISA {"pc-gsi", "isa", "pic=pic0:0,pic0:1,pic0:2,pic0:3;ioapic=ioapic0:0,ioapic0:1"}
#define PCI {"pci-host", "pci0", "msi=@lapic0;intx=isa:0,isa:1,isa:2,isa:3"}

static const Part boards[][DEVICES_MAX] = {
    {{"serial16550", "com1", "chardev=fake"}},
    {PICS, {"i8254", "pit0", "irq=pic0:0"}, {"mc146818", "rtc0", "irq=pic0:8"}},
    {PICS, APICS},
    {PICS, APICS, {"hpet", "hpet0", "legacy=pic0:0,pic0:8;out=ioapic0:0,ioapic0:1,ioapic0:2"}},
    {{"acpi-pm", "pm0", "pm=0x600;reset=0xcf9"}, {"port92", "port92", ""}, {"pvpanic", "panic0", ""},
     {"debug-exit", "exit0", ""}},
    {PICS, {"i8042", "kbd0", "kbd-irq=pic0:1;aux-irq=pic0:12"}},
    {{"vga", "vga0", "display=fake"}},
    {PICS, {"ide", "ide0", "drive0=fake:1M;drive1=fake:64K:ro;kind1=cdrom"}},
    {PICS, APICS, ISA, PCI, {"ide", "ide0", "bus=@pci0;drive0=fake:1M"}},
    {PICS, APICS, ISA, PCI, {"virtio-rng", "rng0", "bus=@pci0"}, {"virtio-blk", "vda", "bus=@pci0;drive=fake:64K"}},
    {PICS, APICS, ISA, PCI, {"virtio-net", "eth0", "bus=@pci0;net=fake:offloads"},
     {"virtio-console", "con0", "bus=@pci0;chardev=fake"}},
    {PICS, APICS, ISA, PCI, {"virtio-balloon", "balloon0", "bus=@pci0"}},
};

typedef struct Board {
    FakeHost *h;
    VmrDevice *dev[DEVICES_MAX];
    const Part *part;
    unsigned count;
} Board;

static Board board_new(const Part *parts)
{
    Board b = {.h = fake_host_new(RAM, 2), .part = parts};
    for (; b.count < DEVICES_MAX && parts[b.count].plugin; b.count++)
        b.dev[b.count] = fake_device_new(b.h, parts[b.count].plugin, parts[b.count].name,
                                         parts[b.count].properties);
    fake_reset(b.h, VMR_RESET_COLD);
    return b;
}

/* An entry of a table that ends with a NULL name, its first member; NULL: there is no table. */
static const void *pick(FuzzInput *in, const void *table, size_t entry)
{
    unsigned count = 0, n = (unsigned)fuzz_take(in, 1);
    while (table && *(const char *const *)((const uint8_t *)table + count * entry))
        count++;
    return count ? (const uint8_t *)table + n % count * entry : NULL;
}

static void access_region(Board *b, VmrDevice *dev, FuzzInput *in, bool write)
{
    const VmrRegion *r = pick(in, dev->klass->regions, sizeof(*r));
    if (!r)
        return;
    unsigned size = 1u << fuzz_take(in, 1) % 4;
    uint64_t all = r->size ? r->size : *(uint64_t *)((uint8_t *)dev + r->size_offset);
    uint64_t offset = fuzz_take(in, all <= 0x100 ? 1 : all <= 0x10000 ? 2 : 4) % MAX(all, 1);
    fake_set_initiator(b->h, (int)(offset >> 1 & 1));
    if (write)
        fake_write(dev, r->name, offset, fuzz_take(in, size), size);
    else
        fake_read(dev, r->name, offset, size);
}

static void give(const Part *part, VmrDevice *dev, FuzzInput *in)
{
    uint8_t bytes[256];
    size_t n = fuzz_copy(in, bytes, (size_t)fuzz_take(in, 1));
    VmrBuffer all = {bytes, n};
    VmrNetFrame frame = {.buffers = &all, .buffer_count = 1};
    if (strstr(part->properties, "chardev=fake"))
        fake_chardev_input(dev, bytes, (unsigned)n);
    else if (strstr(part->properties, "net=fake") && n >= 14)
        fake_net_input(dev, &frame);
}

static void set_line(VmrDevice *dev, FuzzInput *in)
{
    const VmrLine *l = pick(in, dev->klass->lines, sizeof(*l));
    if (!l || l->direction != VMR_LINE_IN)
        return;
    unsigned n = (unsigned)fuzz_take(in, 1);
    fake_line_set(dev, l->name, (n >> 1) % l->count, n & 1);
}

/* What the screen shows, in both ways. */
static void show(VmrDevice *dev)
{
    static VmrTextScreen screen;
    const VmrDisplaySource *s = fake_display(dev);
    uint32_t width, height;
    if (!s)
        return;
    if (s->text)
        s->text(dev, &screen);
    s->extent(dev, &width, &height);
    if (width > VMR_DISPLAY_WIDTH_MAX || height > VMR_DISPLAY_HEIGHT_MAX)
        return;
    uint32_t *pixels = g_new(uint32_t, (size_t)width * height);
    s->draw(dev, pixels, width, height);
    g_free(pixels);
}

static void press(VmrDevice *dev, FuzzInput *in)
{
    const VmrKeyboardInterface *keys = vmr_device_interface(dev, VMR_KEYBOARD);
    const VmrMouseInterface *mouse = vmr_device_interface(dev, VMR_MOUSE);
    uint16_t code = (uint16_t)fuzz_take(in, 2);
    int dx = (int16_t)fuzz_take(in, 2), dy = (int16_t)fuzz_take(in, 2);
    if (keys)
        keys->key(dev, code & 0x3ff, code >> 15);
    if (mouse)
        mouse->move(dev, dx, dy, code & 7);
}

static void step(Board *b, FuzzInput *in)
{
    unsigned op = (unsigned)fuzz_take(in, 1), n = op / 16 % b->count;
    VmrDevice *dev = b->dev[n];
    uint64_t at;
    switch (op % 16) {
    case 8:
        give(&b->part[n], dev, in);
        break;
    case 9:
        set_line(dev, in);
        break;
    case 10:
        fake_advance(b->h, (int64_t)fuzz_take(in, 2) * 16);
        break;
    case 11:
        fake_set_wall(b->h, (int64_t)fuzz_take(in, 8));
        break;
    case 12:
        fake_reset(b->h, VMR_RESET_WARM);
        break;
    case 13:
        at = fuzz_take(in, 2);
        n = 1 + (unsigned)fuzz_take(in, 1) % 32;
        fuzz_copy(in, fake_ram(b->h) + at % (RAM - n), n);
        break;
    case 14:
        show(dev);
        break;
    case 15:
        press(dev, in);
        break;
    default:
        access_region(b, dev, in, op % 2);
        break;
    }
}

/* Any value into any field but timers, and what a load makes of it.  True: it is taken. */
static bool load(VmrDevice *dev, FuzzInput *in)
{
    for (unsigned n = (unsigned)fuzz_take(in, 1) % 8; n; n--) {
        const VmrField *f = pick(in, dev->klass->fields, sizeof(*f));
        uint64_t element = fuzz_take(in, 1), value = fuzz_take(in, 8);
        if (f && f->type != VMR_FIELD_TIMER)
            fake_field_set(dev, f->name, (unsigned)(element % MAX(f->count, 1)),
                           f->type == VMR_FIELD_BOOL ? value & 1 : value);
    }
    GError *error = NULL;
    bool taken = fake_post_load(dev, &error);
    g_clear_error(&error);
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool kept; /* one of each board, so that the plugins stay loaded */
    for (unsigned i = 0; !kept && i < G_N_ELEMENTS(boards); i++)
        board_new(boards[i]);
    kept = true;

    FuzzInput in = {data, size};
    unsigned which = (unsigned)fuzz_take(&in, 1), hostile = (unsigned)fuzz_take(&in, 1);
    Board b = board_new(boards[which % G_N_ELEMENTS(boards)]);
    VmrDevice *dev = b.dev[hostile % b.count];
    while (in.left > 64)
        step(&b, &in);
    if (hostile < 0x80 || load(dev, &in))
        while (in.left)
            step(&b, &in);
    fake_advance(b.h, 0);
    fake_host_free(b.h);
    return 0;
}
