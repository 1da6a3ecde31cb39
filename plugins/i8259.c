/*
 * plugins/i8259.c - the two 8259A interrupt controllers of a PC, cascaded on IR2,
 * after the 8259A data sheet (Intel, 231468), and the ELCR of the PIIX3.
 *
 * All initialisation and operation words, edge and level, rotation, special mask,
 * special fully nested and polled mode, automatic EOI, spurious IR7 and IR15.
 * A request that goes away before it is acknowledged is withdrawn, in edge mode
 * too: that is where a spurious interrupt comes from.
 *
 * Left out: MCS-80/85 mode, buffered mode, slaves elsewhere than on IR2.
 */
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>
#include <vmrun/x86.h>

enum { MASTER, SLAVE, CHIPS };
enum { CASCADE = 2, SPURIOUS = 7 };

enum {
    ICW1_IC4 = 0x01,
    ICW1_SNGL = 0x02,
    ICW1_LTIM = 0x08,
    ICW1 = 0x10, /* tells it from OCW2 and OCW3 */

    ICW4_UPM = 0x01,
    ICW4_AEOI = 0x02,
    ICW4_SFNM = 0x10,

    OCW3 = 0x08, /* tells it from OCW2 */
    OCW3_RIS = 0x01,
    OCW3_RR = 0x02,
    OCW3_P = 0x04,
    OCW3_SMM = 0x20,
    OCW3_ESMM = 0x40,
};

/* What the next write to A0 = 1 is. */
enum { EXPECT_OCW1, EXPECT_ICW2, EXPECT_ICW3, EXPECT_ICW4 };

/* IRQ 0, 1, 2, 8 and 13 are always edge triggered. */
static const uint8_t elcr_mask[CHIPS] = {0xf8, 0xde};

typedef struct Pic {
    VmrDevice dev;
    VmrIrq irq;
    /* An accelerator does the work (VMR_X86_PIC_OFFLOAD): the pins' levels go there. */
    VmrX86SetPin *offload_pin;
    void *offload;

    uint8_t irr[CHIPS], isr[CHIPS], imr[CHIPS];
    uint8_t input[CHIPS]; /* levels of the IR pins */
    uint8_t elcr[CHIPS];
    uint8_t icw1[CHIPS], icw2[CHIPS], icw4[CHIPS];
    uint8_t expect[CHIPS];
    uint8_t lowest[CHIPS]; /* the level of the lowest priority */
    bool ready[CHIPS];     /* initialised: may assert INT */
    bool special_mask[CHIPS], read_isr[CHIPS], poll[CHIPS], rotate_on_aeoi[CHIPS];
} Pic;

/* ---- the chip ---- */

static uint8_t level_triggered(const Pic *p, unsigned c)
{
    return p->icw1[c] & ICW1_LTIM ? 0xff : p->elcr[c];
}

/* The rank of the highest priority in a set, 0..7, or 8 if it is empty. */
static unsigned top_rank(const Pic *p, unsigned c, uint8_t set)
{
    unsigned rank = 0;
    while (rank < 8 && !(set & (1u << ((p->lowest[c] + 1 + rank) & 7))))
        rank++;
    return rank;
}

static unsigned rank_to_level(const Pic *p, unsigned c, unsigned rank)
{
    return (p->lowest[c] + 1 + rank) & 7;
}

/* The request that makes the chip assert INT, or -1. */
static int pending(const Pic *p, unsigned c)
{
    if (!p->ready[c])
        return -1;
    uint8_t in_service = p->isr[c];
    if (p->special_mask[c])
        in_service &= ~p->imr[c];
    /* Special fully nested: the slave may interrupt its own handler. */
    if (c == MASTER && (p->icw4[c] & ICW4_SFNM))
        in_service &= ~(1u << CASCADE);
    unsigned request = top_rank(p, c, p->irr[c] & ~p->imr[c]);
    return request < top_rank(p, c, in_service) ? (int)rank_to_level(p, c, request) : -1;
}

static void set_input(Pic *p, unsigned c, unsigned n, bool level)
{
    uint8_t bit = 1u << n;
    if (level) {
        if (!(p->input[c] & bit))
            p->irr[c] |= bit;
        p->input[c] |= bit;
    } else {
        p->input[c] &= ~bit;
        p->irr[c] &= ~bit;
    }
}

static void update(Pic *p)
{
    if (p->offload_pin) {
        vmr_irq_set(&p->dev, p->irq, false);
        return;
    }
    set_input(p, MASTER, CASCADE, pending(p, SLAVE) >= 0);
    vmr_irq_set(&p->dev, p->irq, pending(p, MASTER) >= 0);
}

/* The INTA cycle, or the read that stands for it in polled mode. */
static void acknowledge_level(Pic *p, unsigned c, unsigned n)
{
    uint8_t bit = 1u << n;
    if (!(level_triggered(p, c) & bit))
        p->irr[c] &= ~bit;
    if (!(p->icw4[c] & ICW4_AEOI))
        p->isr[c] |= bit;
    else if (p->rotate_on_aeoi[c])
        p->lowest[c] = n;
    /* INT falls for a moment, so that the master sees an edge if there is more. */
    if (c == SLAVE)
        set_input(p, MASTER, CASCADE, false);
}

static int acknowledge(Pic *p)
{
    if (!p->ready[MASTER])
        return -1;
    int n = pending(p, MASTER), c = MASTER;
    if (n >= 0)
        acknowledge_level(p, MASTER, n);
    else
        n = SPURIOUS;
    if (n == CASCADE && !(p->icw1[MASTER] & ICW1_SNGL)) {
        c = SLAVE;
        n = pending(p, SLAVE);
        if (n >= 0)
            acknowledge_level(p, SLAVE, n);
        else
            n = SPURIOUS;
    }
    update(p);
    return p->icw2[c] | n;
}

static uint8_t read_poll(Pic *p, unsigned c)
{
    p->poll[c] = false;
    int n = pending(p, c);
    if (n < 0)
        return 0;
    acknowledge_level(p, c, n);
    update(p);
    return 0x80 | n;
}

static void write_icw1(Pic *p, unsigned c, uint8_t value)
{
    p->icw1[c] = value;
    /* The edge sense is reset: a pin that is high must fall and rise again. */
    p->irr[c] = p->input[c] & level_triggered(p, c);
    p->isr[c] = p->imr[c] = p->icw4[c] = 0;
    p->lowest[c] = 7;
    p->ready[c] = p->special_mask[c] = p->read_isr[c] = p->poll[c] = p->rotate_on_aeoi[c] = false;
    p->expect[c] = EXPECT_ICW2;
}

static void write_ocw2(Pic *p, unsigned c, uint8_t value)
{
    unsigned n = value & 7;
    bool rotate = value & 0x80, specific = value & 0x40, eoi = value & 0x20;
    if (eoi && !specific) {
        /* In special mask mode a masked level stays in service. */
        unsigned rank = top_rank(p, c, p->isr[c] & (p->special_mask[c] ? ~p->imr[c] : 0xff));
        if (rank == 8)
            return;
        n = rank_to_level(p, c, rank);
    }
    if (eoi)
        p->isr[c] &= ~(1u << n);
    if (rotate && (eoi || specific))
        p->lowest[c] = n;
    else if (!eoi && !specific)
        p->rotate_on_aeoi[c] = rotate;
}

static void write_ocw3(Pic *p, unsigned c, uint8_t value)
{
    if (value & OCW3_ESMM)
        p->special_mask[c] = value & OCW3_SMM;
    if (value & OCW3_P)
        p->poll[c] = true;
    else if (value & OCW3_RR)
        p->read_isr[c] = value & OCW3_RIS;
}

static void write_icw4(Pic *p, unsigned c, uint8_t value)
{
    p->icw4[c] = value;
    if (!(value & ICW4_UPM))
        vmr_log(&p->dev, VMR_LOG_UNIMPLEMENTED, "ICW4: MCS-80/85 mode");
}

static void end_of_init(Pic *p, unsigned c)
{
    p->expect[c] = EXPECT_OCW1;
    p->ready[c] = true;
}

static void write_odd(Pic *p, unsigned c, uint8_t value)
{
    switch (p->expect[c]) {
    case EXPECT_OCW1:
        p->imr[c] = value;
        break;
    case EXPECT_ICW2:
        p->icw2[c] = value & 0xf8;
        if (!(p->icw1[c] & ICW1_SNGL))
            p->expect[c] = EXPECT_ICW3;
        else if (p->icw1[c] & ICW1_IC4)
            p->expect[c] = EXPECT_ICW4;
        else
            end_of_init(p, c);
        break;
    case EXPECT_ICW3: /* the wiring is what it is */
        if (value != (c == MASTER ? 1u << CASCADE : CASCADE))
            vmr_guest_error(&p->dev, "ICW3: 0x%02x is not how the chips are wired", value);
        if (p->icw1[c] & ICW1_IC4)
            p->expect[c] = EXPECT_ICW4;
        else
            end_of_init(p, c);
        break;
    default:
        write_icw4(p, c, value);
        end_of_init(p, c);
        break;
    }
}

static uint8_t chip_read(Pic *p, unsigned c, unsigned a0)
{
    if (p->poll[c])
        return read_poll(p, c);
    if (a0)
        return p->imr[c];
    return p->read_isr[c] ? p->isr[c] : p->irr[c];
}

static void chip_write(Pic *p, unsigned c, unsigned a0, uint8_t value)
{
    if (a0)
        write_odd(p, c, value);
    else if (value & ICW1)
        write_icw1(p, c, value);
    else if (value & OCW3)
        write_ocw3(p, c, value);
    else
        write_ocw2(p, c, value);
    update(p);
}

/* ---- glue ---- */

static uint64_t master_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return chip_read((Pic *)dev, MASTER, offset & 1);
}

static void master_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    chip_write((Pic *)dev, MASTER, offset & 1, (uint8_t)value);
}

static uint64_t slave_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return chip_read((Pic *)dev, SLAVE, offset & 1);
}

static void slave_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    chip_write((Pic *)dev, SLAVE, offset & 1, (uint8_t)value);
}

static uint64_t elcr_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ((Pic *)dev)->elcr[offset & 1];
}

static void elcr_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Pic *p = (Pic *)dev;
    unsigned c = offset & 1;
    uint8_t before = level_triggered(p, c);
    p->elcr[c] = (uint8_t)value & elcr_mask[c];
    uint8_t now = level_triggered(p, c);
    p->irr[c] |= p->input[c] & now & ~before;
    update(p);
}

static void in_changed(VmrDevice *dev, unsigned n, bool level)
{
    Pic *p = (Pic *)dev;
    if (n == CASCADE) /* no pin: the slave is there */
        return;
    set_input(p, n >> 3, n & 7, level);
    if (p->offload_pin)
        p->offload_pin(p->offload, n, level);
    update(p);
}

static int pic_acknowledge(VmrDevice *dev, unsigned cpu)
{
    return acknowledge((Pic *)dev);
}

static const VmrX86IntcInterface pic_intc = {
    .size = sizeof(VmrX86IntcInterface),
    .acknowledge = pic_acknowledge,
};

/* ---- another does the work ---- */

static bool offload_take(VmrDevice *dev, VmrX86SetPin *set_pin, void *opaque)
{
    Pic *p = (Pic *)dev;
    p->offload_pin = set_pin;
    p->offload = opaque;
    update(p);
    return true;
}

static void offload_get(VmrDevice *dev, VmrX86PicRegisters r[2])
{
    const Pic *p = (Pic *)dev;
    for (unsigned c = 0; c < CHIPS; c++)
        r[c] = (VmrX86PicRegisters){
            .irr = p->irr[c], .isr = p->isr[c], .imr = p->imr[c], .input = p->input[c],
            .elcr = p->elcr[c], .icw2 = p->icw2[c], .icw4 = p->icw4[c],
            .icw1_ic4 = p->icw1[c] & ICW1_IC4, .expect = p->expect[c], .lowest = p->lowest[c],
            .ready = p->ready[c], .special_mask = p->special_mask[c], .read_isr = p->read_isr[c],
            .poll = p->poll[c], .rotate_on_aeoi = p->rotate_on_aeoi[c]};
}

static void offload_set(VmrDevice *dev, const VmrX86PicRegisters r[2])
{
    Pic *p = (Pic *)dev;
    p->input[MASTER] &= ~(1u << CASCADE); /* update() asks the slave */
    for (unsigned c = 0; c < CHIPS; c++) {
        p->elcr[c] = r[c].elcr & elcr_mask[c];
        p->icw1[c] = (p->icw1[c] & ~ICW1_IC4) | (r[c].icw1_ic4 ? ICW1_IC4 : 0);
        p->icw2[c] = r[c].icw2 & 0xf8;
        p->icw4[c] = r[c].icw4;
        p->isr[c] = r[c].isr;
        p->imr[c] = r[c].imr;
        /* A request that has gone away is withdrawn here. */
        p->irr[c] = r[c].irr & p->input[c];
        p->expect[c] = r[c].expect & EXPECT_ICW4;
        p->lowest[c] = r[c].lowest & 7;
        p->ready[c] = r[c].ready;
        p->special_mask[c] = r[c].special_mask;
        p->read_isr[c] = r[c].read_isr;
        p->poll[c] = r[c].poll;
        p->rotate_on_aeoi[c] = r[c].rotate_on_aeoi;
    }
}

static const void *pic_get_interface(VmrDevice *dev, const char *id)
{
    static const VmrX86PicOffloadInterface offload = {sizeof offload, offload_take, offload_get,
                                                      offload_set};
    if (g_str_equal(id, VMR_X86_PIC_OFFLOAD))
        return &offload;
    return g_str_equal(id, VMR_X86_INTC) ? &pic_intc : NULL;
}

static void pic_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Pic *p = (Pic *)dev;
    if (phase == VMR_RESET_ENTER) {
        for (unsigned c = 0; c < CHIPS; c++) {
            p->elcr[c] = 0;
            write_icw1(p, c, ICW1); /* the pins keep their levels */
            p->icw2[c] = 0;
            p->expect[c] = EXPECT_OCW1;
        }
        p->input[MASTER] &= ~(1u << CASCADE);
    } else if (phase == VMR_RESET_HOLD) {
        update(p);
    }
}

static bool pic_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Pic *p = (Pic *)dev;
    for (unsigned c = 0; c < CHIPS; c++) {
        p->lowest[c] &= 7;
        p->icw2[c] &= 0xf8;
        p->elcr[c] &= elcr_mask[c];
    }
    update(p);
    return true;
}

static void pic_describe(VmrDevice *dev, VmrDescription *d)
{
    vmr_describe_string(d, "compatible", "intel,i8259");
    vmr_describe_string(d, "acpi-hid", "PNP0000");
    vmr_describe_string(d, "interrupt-controller", "x86-8259");
}

static const VmrRegion pic_regions[] = {
    {.name = "master",
     .kind = VMR_REGION_PIO,
     .size = 2,
     .impl_min = 1,
     .impl_max = 1,
     .read = master_read,
     .write = master_write,
     .doc = "the master: ICW1, OCW2, OCW3, IRR, ISR; ICW2 to ICW4, OCW1.  On a PC at 0x20"},
    {.name = "slave",
     .kind = VMR_REGION_PIO,
     .size = 2,
     .impl_min = 1,
     .impl_max = 1,
     .read = slave_read,
     .write = slave_write,
     .doc = "the slave, likewise.  On a PC at 0xa0"},
    {.name = "elcr",
     .kind = VMR_REGION_PIO,
     .flags = VMR_REGION_OPTIONAL,
     .size = 2,
     .impl_min = 1,
     .impl_max = 1,
     .read = elcr_read,
     .write = elcr_write,
     .doc = "edge/level control, a bit per IRQ, 1: level.  On a PC at 0x4d0"},
    {.name = NULL},
};

static const VmrLine pic_lines[] = {
    {.name = "in",
     .direction = VMR_LINE_IN,
     .count = 16,
     .changed = in_changed,
     .doc = "IRQ 0 to 15; 2 is taken by the cascade and goes nowhere"},
    {.name = "irq",
     .direction = VMR_LINE_OUT,
     .count = 1,
     .offset = offsetof(Pic, irq),
     .doc = "INT of the master"},
    {.name = NULL},
};

static const VmrField pic_fields[] = {
    VMR_FIELD_N(U8, Pic, irr, CHIPS),
    VMR_FIELD_N(U8, Pic, isr, CHIPS),
    VMR_FIELD_N(U8, Pic, imr, CHIPS),
    VMR_FIELD_N(U8, Pic, input, CHIPS),
    VMR_FIELD_N(U8, Pic, elcr, CHIPS),
    VMR_FIELD_N(U8, Pic, icw1, CHIPS),
    VMR_FIELD_N(U8, Pic, icw2, CHIPS),
    VMR_FIELD_N(U8, Pic, icw4, CHIPS),
    VMR_FIELD_N(U8, Pic, expect, CHIPS),
    VMR_FIELD_N(U8, Pic, lowest, CHIPS),
    VMR_FIELD_N(BOOL, Pic, ready, CHIPS),
    VMR_FIELD_N(BOOL, Pic, special_mask, CHIPS),
    VMR_FIELD_N(BOOL, Pic, read_isr, CHIPS),
    VMR_FIELD_N(BOOL, Pic, poll, CHIPS),
    VMR_FIELD_N(BOOL, Pic, rotate_on_aeoi, CHIPS),
    {.name = NULL},
};

static const VmrDeviceClass pic_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "i8259",
    .summary = "pair of 8259A interrupt controllers",
    .doc = "The interrupt controllers of the PC/AT. The output goes to the CPU's INTR or, with "
           "a local APIC, to its LINT0; whoever acknowledges asks for the vector by "
           "vmr.x86-intc/1. An input must stay asserted until it is acknowledged.",
    .instance_size = sizeof(Pic),
    .regions = pic_regions,
    .lines = pic_lines,
    .fields = pic_fields,
    .reset = pic_reset,
    .post_load = pic_post_load,
    .describe = pic_describe,
    .get_interface = pic_get_interface,
};

VMR_PLUGIN_DEVICE("i8259", "1.0", &pic_class);
