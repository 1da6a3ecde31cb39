/*
 * ioapic - an I/O APIC: interrupt lines in, messages to the local APICs out.
 *
 * Models the Intel 82093AA (I/O Advanced Programmable Interrupt Controller
 * datasheet, 1996) with the additions of version 0x20: the EOI register, and
 * delivery as messages on the system bus rather than on the serial APIC bus.
 *
 * Messages go out in the format of an MSI (SDM volume 3, "Message Signalled
 * Interrupts") through the link `apic`.  A level-triggered pin sets Remote IRR
 * when it sends, and may send again after an EOI of its vector: broadcast by the
 * local APICs, or written to the EOI register.
 *
 * Lines here are logical levels (asserted or not), so the polarity bit (INTPOL)
 * is stored and otherwise ignored.  Edges on a masked pin are lost, as in the
 * datasheet.  SMI, NMI, INIT and ExtINT are always treated as edge-triggered.
 * Leaves out: arbitration, delivery status (always idle), a refused delivery
 * (the message counts as accepted), extended destination IDs.
 */
#include <glib.h>
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>
#include <vmrun/x86.h>

enum { MAX_PINS = 64 };

/* Memory-mapped registers */
enum { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40 };

/* Registers behind IOREGSEL/IOWIN */
enum { IOAPICID = 0x00, IOAPICVER = 0x01, IOAPICARB = 0x02, IOREDTBL = 0x10 };

enum { VERSION = 0x20, ID_SHIFT = 24, ID_MASK = 0xf };

#define RED_VECTOR 0xffull
#define RED_DELMOD_SHIFT 8
#define RED_DELMOD (7ull << RED_DELMOD_SHIFT)
#define RED_DESTMOD (1ull << 11)
#define RED_REMOTE_IRR (1ull << 14)
#define RED_TRIGGER (1ull << 15)
#define RED_MASK (1ull << 16)
#define RED_DEST_SHIFT 56
/* INTVEC, DELMOD, DESTMOD, INTPOL, trigger, mask, destination; the rest is reserved or read-only */
#define RED_WRITABLE (0x1afffull | 0xff00000000000000ull)

enum { DELMOD_FIXED = 0, DELMOD_LOWEST = 1 };

typedef struct IoApic {
    VmrDevice dev;
    uint32_t apic_id_prop, gsi_base, pins;
    VmrLink apic;
    /* An accelerator does the work (VMR_X86_IOAPIC_OFFLOAD): the inputs' levels go there. */
    VmrX86SetPin *offload_pin;
    void *offload;

    uint64_t redtbl[MAX_PINS];
    uint64_t lines; /* levels of the inputs; not touched by a reset */
    uint32_t id;    /* bits 3:0 of the APIC ID */
    uint8_t regsel;
} IoApic;

/* ---- delivery ---------------------------------------------------------- */

static bool red_is_level(uint64_t red)
{
    unsigned mode = (red & RED_DELMOD) >> RED_DELMOD_SHIFT;
    return (red & RED_TRIGGER) && (mode == DELMOD_FIXED || mode == DELMOD_LOWEST);
}

static void ioapic_send(IoApic *s, uint64_t red)
{
    const VmrMsiSinkInterface *sink = s->apic.iface;
    uint64_t address = 0xfee00000u | (red >> RED_DEST_SHIFT) << 12;
    uint32_t data = red & (RED_VECTOR | RED_DELMOD);

    if (!sink)
        return;
    if (red & RED_DESTMOD)
        address |= 1u << 2;
    if (red_is_level(red))
        data |= 1u << 15 | 1u << 14; /* level, assert */
    sink->send(s->apic.device, address, data);
}

/* A level-triggered pin sends as long as it is asserted, once an EOI. */
static void ioapic_service_level(IoApic *s, unsigned pin)
{
    uint64_t red = s->redtbl[pin];

    if (s->offload_pin || !(s->lines >> pin & 1) || !red_is_level(red) || (red & (RED_MASK | RED_REMOTE_IRR)))
        return;
    s->redtbl[pin] |= RED_REMOTE_IRR;
    ioapic_send(s, red);
}

static void ioapic_in_changed(VmrDevice *dev, unsigned pin, bool level)
{
    IoApic *s = (IoApic *)dev;

    if (pin >= s->pins || (s->lines >> pin & 1) == level)
        return;
    s->lines ^= 1ull << pin;
    if (s->offload_pin)
        s->offload_pin(s->offload, pin, level);
    if (s->offload_pin || !level)
        return;
    uint64_t red = s->redtbl[pin];
    if (red_is_level(red))
        ioapic_service_level(s, pin);
    else if (!(red & RED_MASK))
        ioapic_send(s, red);
}

static void ioapic_eoi(VmrDevice *dev, uint8_t vector)
{
    IoApic *s = (IoApic *)dev;

    for (unsigned pin = 0; pin < s->pins; pin++) {
        if ((s->redtbl[pin] & RED_VECTOR) != vector || !(s->redtbl[pin] & RED_REMOTE_IRR))
            continue;
        s->redtbl[pin] &= ~RED_REMOTE_IRR;
        ioapic_service_level(s, pin);
    }
}

/* ---- registers --------------------------------------------------------- */

static uint32_t ioapic_window_read(IoApic *s)
{
    switch (s->regsel) {
    case IOAPICID:
    case IOAPICARB:
        return s->id << ID_SHIFT;
    case IOAPICVER:
        return (s->pins - 1) << 16 | VERSION;
    default:
        if (s->regsel >= IOREDTBL && s->regsel < IOREDTBL + 2 * s->pins) {
            uint64_t red = s->redtbl[(s->regsel - IOREDTBL) / 2];
            return s->regsel & 1 ? red >> 32 : (uint32_t)red;
        }
        vmr_guest_error(&s->dev, "read of register 0x%02x, which does not exist", s->regsel);
        return 0;
    }
}

static void ioapic_redtbl_write(IoApic *s, unsigned pin, bool high, uint32_t value)
{
    uint64_t old = s->redtbl[pin];
    uint64_t red = high ? (old & 0xffffffffu) | (uint64_t)value << 32
                        : (old & ~0xffffffffull) | value;

    red = (red & RED_WRITABLE) | (old & RED_REMOTE_IRR);
    /* Software clears a stuck Remote IRR by a moment of edge mode. */
    if (!red_is_level(red))
        red &= ~RED_REMOTE_IRR;
    s->redtbl[pin] = red;
    ioapic_service_level(s, pin);
}

static void ioapic_window_write(IoApic *s, uint32_t value)
{
    if (s->regsel == IOAPICID)
        s->id = value >> ID_SHIFT & ID_MASK;
    else if (s->regsel >= IOREDTBL && s->regsel < IOREDTBL + 2 * s->pins)
        ioapic_redtbl_write(s, (s->regsel - IOREDTBL) / 2, s->regsel & 1, value);
    else
        vmr_guest_error(&s->dev, "write of 0x%x to register 0x%02x, which is read-only", value,
                        s->regsel);
}

static uint64_t ioapic_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    IoApic *s = (IoApic *)dev;

    switch (offset) {
    case IOREGSEL:
        return s->regsel;
    case IOWIN:
        return ioapic_window_read(s);
    default:
        vmr_guest_error(dev, "read at 0x%x: no register there", (unsigned)offset);
        return 0;
    }
}

static void ioapic_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    IoApic *s = (IoApic *)dev;

    switch (offset) {
    case IOREGSEL:
        s->regsel = value;
        break;
    case IOWIN:
        ioapic_window_write(s, value);
        break;
    case IOEOI:
        ioapic_eoi(dev, value);
        break;
    default:
        vmr_guest_error(dev, "write at 0x%x: no register there", (unsigned)offset);
    }
}

/* ---- life -------------------------------------------------------------- */

static bool ioapic_realize(VmrDevice *dev, GError **error)
{
    IoApic *s = (IoApic *)dev;
    const VmrX86LapicInterface *lapic = vmr_device_interface(s->apic.device, VMR_X86_LAPIC);

    if (lapic)
        lapic->add_eoi_listener(s->apic.device, ioapic_eoi, dev);
    return true;
}

static void ioapic_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    IoApic *s = (IoApic *)dev;

    if (phase != VMR_RESET_ENTER)
        return;
    s->id = s->apic_id_prop;
    s->regsel = 0;
    for (unsigned pin = 0; pin < MAX_PINS; pin++)
        s->redtbl[pin] = RED_MASK;
}

static bool ioapic_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    IoApic *s = (IoApic *)dev;

    s->id &= ID_MASK;
    if (s->pins < MAX_PINS)
        s->lines &= (1ull << s->pins) - 1;
    for (unsigned pin = 0; pin < MAX_PINS; pin++) {
        s->redtbl[pin] &= RED_WRITABLE | RED_REMOTE_IRR;
        if (!red_is_level(s->redtbl[pin]))
            s->redtbl[pin] &= ~RED_REMOTE_IRR;
    }
    return true;
}

/* ---- another does the work ---------------------------------------------- */

static bool ioapic_offload_take(VmrDevice *dev, VmrX86SetPin *set_pin, void *opaque)
{
    IoApic *s = (IoApic *)dev;

    if (s->pins != VMR_X86_IOAPIC_PINS)
        return false;
    s->offload_pin = set_pin;
    s->offload = opaque;
    for (unsigned pin = 0; pin < s->pins; pin++)
        ioapic_service_level(s, pin);
    return true;
}

static void ioapic_offload_get(VmrDevice *dev, VmrX86IoapicRegisters *r)
{
    IoApic *s = (IoApic *)dev;

    for (unsigned pin = 0; pin < VMR_X86_IOAPIC_PINS; pin++)
        r->redtbl[pin] = s->redtbl[pin];
    r->lines = (uint32_t)s->lines;
    r->id = s->id;
    r->regsel = s->regsel;
}

static void ioapic_offload_set(VmrDevice *dev, const VmrX86IoapicRegisters *r)
{
    IoApic *s = (IoApic *)dev;

    for (unsigned pin = 0; pin < VMR_X86_IOAPIC_PINS; pin++) {
        s->redtbl[pin] = r->redtbl[pin] & (RED_WRITABLE | RED_REMOTE_IRR);
        if (!red_is_level(s->redtbl[pin]))
            s->redtbl[pin] &= ~RED_REMOTE_IRR;
    }
    s->id = r->id & ID_MASK;
    s->regsel = r->regsel;
}

static const void *ioapic_get_interface(VmrDevice *dev, const char *id)
{
    static const VmrX86IoapicOffloadInterface offload = {
        sizeof offload, ioapic_offload_take, ioapic_offload_get, ioapic_offload_set};

    return g_str_equal(id, VMR_X86_IOAPIC_OFFLOAD) ? &offload : NULL;
}

static void ioapic_describe(VmrDevice *dev, VmrDescription *d)
{
    IoApic *s = (IoApic *)dev;

    vmr_describe_string(d, "interrupt-controller", "x86-ioapic");
    vmr_describe_number(d, "apic-id", s->apic_id_prop);
    vmr_describe_number(d, "gsi-base", s->gsi_base);
    vmr_describe_number(d, "gsi-count", s->pins);
}

static const VmrProperty ioapic_properties[] = {
    {.name = "apic", .type = VMR_PROP_LINK, .flags = VMR_PROP_REQUIRED,
     .offset = offsetof(IoApic, apic), .interface = VMR_MSI_SINK,
     .doc = "the local APICs: takes the messages, and tells of EOIs"},
    {.name = "pins", .type = VMR_PROP_U32, .offset = offsetof(IoApic, pins), .default_text = "24",
     .min = 1, .max = MAX_PINS, .doc = "number of interrupt inputs"},
    {.name = "apic-id", .type = VMR_PROP_U32, .offset = offsetof(IoApic, apic_id_prop),
     .default_text = "0", .min = 0, .max = ID_MASK, .doc = "APIC ID after reset"},
    {.name = "gsi-base", .type = VMR_PROP_U32, .offset = offsetof(IoApic, gsi_base),
     .default_text = "0", .min = 0, .max = 1024,
     .doc = "global system interrupt number of pin 0, as firmware tells it"},
    {0},
};

static const VmrRegion ioapic_regions[] = {
    {.name = "regs", .kind = VMR_REGION_MMIO, .size = 0x1000, .impl_min = 4, .impl_max = 4,
     .read = ioapic_read, .write = ioapic_write,
     .doc = "IOREGSEL at 0, IOWIN at 0x10, EOI at 0x40"},
    {0},
};

static const VmrLine ioapic_lines[] = {
    {"in", VMR_LINE_IN, MAX_PINS, 0, ioapic_in_changed, "interrupt inputs; the first `pins` count"},
    {0},
};

static const VmrField ioapic_fields[] = {
    VMR_FIELD_N(U64, IoApic, redtbl, MAX_PINS),
    VMR_FIELD(U64, IoApic, lines),
    VMR_FIELD(U32, IoApic, id),
    VMR_FIELD(U8, IoApic, regsel),
    {0},
};

static const VmrDeviceClass ioapic_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "ioapic",
    .summary = "I/O APIC: Intel 82093AA with the EOI register of version 0x20",
    .doc = "Turns interrupt lines into messages to the local APICs by its redirection table.\n"
           "Lines are logical levels: the polarity bit of an entry is stored and ignored.",
    .instance_size = sizeof(IoApic),
    .properties = ioapic_properties,
    .regions = ioapic_regions,
    .lines = ioapic_lines,
    .fields = ioapic_fields,
    .realize = ioapic_realize,
    .reset = ioapic_reset,
    .post_load = ioapic_post_load,
    .describe = ioapic_describe,
    .get_interface = ioapic_get_interface,
};

VMR_PLUGIN_DEVICE("ioapic", "1.0", &ioapic_class);
