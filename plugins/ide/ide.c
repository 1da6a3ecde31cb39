/*
 * ide - an IDE controller as in Intel's PIIX3: two channels of two disks or CD-ROM drives.
 *
 * After the 82371SB (PIIX3) datasheet, function 1, and ATA/ATAPI-6.  The channels are at the
 * legacy ports and ISA interrupts.  On a PCI bus it is a function with a bus master for DMA;
 * without one it is an ISA controller, by PIO only.
 *
 * Leaves out: timing registers (all modes are as quick as the host), native mode, hot plug.
 * The parts: channel.c, disk.c, atapi.c, dma.c; this file is the glue.
 */
#include "ide.h"

#include <vmrun/describe.h>
#include <vmrun/plugin.h>

/* ---- what the core asks for -------------------------------------------- */

void ide_set_irq(IdeChannel *c)
{
    Ide *s = c->ide;
    vmr_irq_set(&s->dev, s->irq[c - s->channel], c->intrq && !(c->control & CONTROL_NIEN));
}

bool ide_has_dma(const IdeChannel *c)
{
    return c->ide->bus.device != NULL;
}

static void request_done(VmrDevice *dev, VmrDriveRequest *request, int error)
{
    Ide *s = (Ide *)dev;
    IdeChannel *c = &s->channel[request == &s->channel[1].request];
    c->in_flight = false;
    ide_drive_done(c, error);
}

/* The request of the chunk; while the machine is paused resume() does it. */
void ide_submit(IdeChannel *c, VmrDriveOp op)
{
    Ide *s = c->ide;
    IdeUnit *u = ide_unit(c);
    if (s->paused || c->in_flight)
        return;
    bool data = op != VMR_DRIVE_FLUSH;
    c->buffer = (VmrBuffer){c->buf, c->len};
    c->request = (VmrDriveRequest){
        .op = op,
        .offset = data ? c->offset : 0,
        .length = data ? c->len : 0,
        .buffers = &c->buffer,
        .buffer_count = data ? 1 : 0,
        .done = request_done,
    };
    c->in_flight = true;
    vmr_drive_submit(&s->dev, u->drive, &c->request);
}

/* ---- ports ------------------------------------------------------------- */

static uint64_t read_block(IdeChannel *c, unsigned offset, unsigned size)
{
    uint64_t value = 0;
    if (offset == IDE_DATA)
        return ide_data_read(c, size);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)ide_read(c, offset + i) << (8 * i);
    return value;
}

static void write_block(IdeChannel *c, unsigned offset, uint32_t value, unsigned size)
{
    if (offset == IDE_DATA) {
        ide_data_write(c, value, size);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        ide_write(c, offset + i, (uint8_t)(value >> (8 * i)));
}

static uint64_t primary_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return read_block(&((Ide *)dev)->channel[0], (unsigned)offset, size);
}

static void primary_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    write_block(&((Ide *)dev)->channel[0], (unsigned)offset, (uint32_t)value, size);
}

static uint64_t secondary_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return read_block(&((Ide *)dev)->channel[1], (unsigned)offset, size);
}

static void secondary_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    write_block(&((Ide *)dev)->channel[1], (unsigned)offset, (uint32_t)value, size);
}

static uint64_t primary_control_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ide_alt_status(&((Ide *)dev)->channel[0]);
}

static void primary_control_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    ide_control(&((Ide *)dev)->channel[0], (uint8_t)value);
}

static uint64_t secondary_control_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ide_alt_status(&((Ide *)dev)->channel[1]);
}

static void secondary_control_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    ide_control(&((Ide *)dev)->channel[1], (uint8_t)value);
}

static uint64_t bm_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ide_bm_read(&((Ide *)dev)->channel[offset >> 3], offset & 7);
}

static void bm_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    ide_bm_write(&((Ide *)dev)->channel[offset >> 3], offset & 7, (uint8_t)value);
}

/* ---- PCI --------------------------------------------------------------- */

enum { REGION_BUS_MASTER = 4, IDETIM = 0x40, IDE_DECODE = 0x80 };

static void command_changed(VmrDevice *dev, uint16_t command)
{
    for (unsigned i = 0; i < 2; i++)
        ide_dma_try(&((Ide *)dev)->channel[i]);
}

static const VmrPciFunctionInterface ide_function = {
    .size = sizeof(VmrPciFunctionInterface),
    .vendor_id = 0x8086,
    .device_id = 0x7010,
    .class_code = 0x010180, /* IDE, bus master, both channels in compatibility mode */
    .bars = {[4] = {.type = VMR_PCI_BAR_IO, .region = REGION_BUS_MASTER}},
    .state = offsetof(Ide, pci),
    .command_changed = command_changed,
};

static const VmrPciBusInterface *bus(const Ide *s)
{
    return s->bus.iface;
}

/* ---- life -------------------------------------------------------------- */

static bool attach_drives(Ide *s, GError **error)
{
    for (unsigned i = 0; i < 4; i++) {
        IdeUnit *u = &s->channel[i / 2].unit[i % 2];
        uint64_t block = ide_is_cd(u) ? IDE_CD_BLOCK : IDE_SECTOR;
        if (!u->drive)
            continue;
        if (!vmr_drive_attach(&s->dev, u->drive, &u->info, error))
            return false;
        if (u->info.logical_block > block || block % MAX(u->info.logical_block, 1)) {
            g_set_error(error, g_quark_from_static_string("ide"), 0,
                        "drive%u: blocks of %u bytes do not suit it", i, u->info.logical_block);
            return false;
        }
        u->size = u->info.bytes & ~(block - 1);
        if (!u->size || u->size / IDE_SECTOR >= UINT64_C(1) << 48) {
            g_set_error(error, g_quark_from_static_string("ide"), 0,
                        "drive%u: an image of %" G_GUINT64_FORMAT " bytes does not suit it", i,
                        u->info.bytes);
            return false;
        }
    }
    return true;
}

static bool ide_realize(VmrDevice *dev, GError **error)
{
    Ide *s = (Ide *)dev;
    if (!attach_drives(s, error))
        return false;
    if (s->bus.device && !bus(s)->attach(s->bus.device, dev, s->slot, error))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        s->channel[i].ide = s;
        ide_channel_reset(&s->channel[i]);
    }
    return true;
}

/* Wait until nothing is in flight. */
static void drain(Ide *s)
{
    for (unsigned i = 0; i < 2; i++) {
        IdeChannel *c = &s->channel[i];
        for (unsigned j = 0; j < 2 && c->in_flight; j++)
            vmr_drive_drain(&s->dev, c->unit[j].drive);
    }
}

static void ide_pause(VmrDevice *dev)
{
    Ide *s = (Ide *)dev;
    s->paused = true;
    drain(s);
}

static void ide_resume(VmrDevice *dev)
{
    Ide *s = (Ide *)dev;
    s->paused = false;
    for (unsigned i = 0; i < 2; i++) {
        IdeChannel *c = &s->channel[i];
        if (c->phase == IDE_DRIVE && !c->in_flight)
            ide_submit(c, c->op);
    }
}

static void ide_unrealize(VmrDevice *dev)
{
    Ide *s = (Ide *)dev;
    ide_pause(dev);
    if (s->bus.device)
        bus(s)->detach(s->bus.device, dev);
}

static void ide_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Ide *s = (Ide *)dev;
    if (phase == VMR_RESET_ENTER) {
        bool paused = s->paused;
        ide_pause(dev);
        for (unsigned i = 0; i < 2; i++)
            ide_channel_reset(&s->channel[i]);
        s->paused = paused;
    } else if (phase == VMR_RESET_HOLD) {
        for (unsigned i = 0; i < 2; i++) {
            s->pci.config[IDETIM + 2 * i + 1] = IDE_DECODE;
            ide_set_irq(&s->channel[i]);
        }
    }
}

static bool ide_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Ide *s = (Ide *)dev;
    for (unsigned i = 0; i < 2; i++) {
        IdeChannel *c = &s->channel[i];
        if (!ide_channel_check(c)) {
            ide_channel_reset(c);
            g_set_error(error, g_quark_from_static_string("ide"), 0,
                        "channel %u has a state that cannot be", i);
            return false;
        }
        ide_set_irq(c);
    }
    if (s->bus.device)
        bus(s)->restored(s->bus.device, dev);
    /* A request that was held back by the pause begins at resume(). */
    if (!s->paused)
        ide_resume(dev);
    return true;
}

static void ide_describe(VmrDevice *dev, VmrDescription *d)
{
    const Ide *s = (const Ide *)dev;
    for (unsigned i = 0; i < 4; i++) {
        const IdeUnit *u = &s->channel[i / 2].unit[i % 2];
        vmr_describe_string(d, "ata-drives", u->drive && !ide_is_cd(u) ? u->info.name : "");
    }
}

static const void *ide_get_interface(VmrDevice *dev, const char *id)
{
    return strcmp(id, VMR_PCI_FUNCTION) == 0 ? &ide_function : NULL;
}

/* ---- tables ------------------------------------------------------------ */

static const char *const kinds[] = {"disk", "cdrom", NULL};

#define DRIVE(n_, where_)                                                                          \
    {.name = "drive" #n_, .type = VMR_PROP_DRIVE,                                                  \
     .offset = offsetof(Ide, channel[n_ / 2].unit[n_ % 2].drive),                                  \
     .doc = "the " where_ ": the NAME of a [drive NAME]"},                                         \
    {                                                                                              \
        .name = "kind" #n_, .type = VMR_PROP_ENUM, .default_text = "disk", .names = kinds,         \
        .offset = offsetof(Ide, channel[n_ / 2].unit[n_ % 2].kind), .doc = "what drive" #n_ " is"  \
    }

static const VmrProperty ide_properties[] = {
    DRIVE(0, "primary master"),
    DRIVE(1, "primary slave"),
    DRIVE(2, "secondary master"),
    DRIVE(3, "secondary slave"),
    {.name = "bus", .type = VMR_PROP_LINK, .offset = offsetof(Ide, bus), .interface = VMR_PCI_BUS,
     .doc = "the PCI bus that it sits on, with a bus master; without it, an ISA controller"},
    {.name = "slot", .type = VMR_PROP_STRING, .offset = offsetof(Ide, slot),
     .doc = "where on the bus, as 1.1; the first that is free without it"},
    {0},
};

static const VmrRegion ide_regions[] = {
    {.name = "primary", .kind = VMR_REGION_PIO, .size = 8, .impl_min = 1, .impl_max = 4,
     .read = primary_read, .write = primary_write,
     .doc = "command block of the primary channel, at 0x1f0 of a PC"},
    {.name = "primary-control", .kind = VMR_REGION_PIO, .size = 1, .impl_min = 1, .impl_max = 1,
     .read = primary_control_read, .write = primary_control_write,
     .doc = "device control and alternate status, at 0x3f6 of a PC"},
    {.name = "secondary", .kind = VMR_REGION_PIO, .flags = VMR_REGION_OPTIONAL, .size = 8,
     .impl_min = 1, .impl_max = 4, .read = secondary_read, .write = secondary_write,
     .doc = "command block of the secondary channel, at 0x170 of a PC"},
    {.name = "secondary-control", .kind = VMR_REGION_PIO, .flags = VMR_REGION_OPTIONAL, .size = 1,
     .impl_min = 1, .impl_max = 1, .read = secondary_control_read,
     .write = secondary_control_write, .doc = "its control register, at 0x376 of a PC"},
    [REGION_BUS_MASTER] =
    {.name = "bus-master", .kind = VMR_REGION_PIO, .flags = VMR_REGION_OPTIONAL, .size = 16,
     .impl_min = 1, .impl_max = 1, .read = bm_read, .write = bm_write,
     .doc = "the bus masters of both channels, placed by BAR 4"},
    {0},
};

static const VmrLine ide_lines[] = {
    {.name = "irq", .direction = VMR_LINE_OUT, .count = 2, .offset = offsetof(Ide, irq),
     .doc = "the channels' interrupts: ISA IRQ 14 and 15 of a PC"},
    {0},
};

#define UNIT(c_, u_)                                                                               \
    VMR_FIELD_N(U8, Ide, channel[c_].unit[u_].regs, 16),                                           \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].status),                                           \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].error),                                            \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].multiple),                                         \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].heads),                                            \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].spt),                                              \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].mwdma),                                            \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].udma),                                             \
        VMR_FIELD(BOOL, Ide, channel[c_].unit[u_].write_cache),                                    \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].sense_key),                                        \
        VMR_FIELD(U8, Ide, channel[c_].unit[u_].sense_code),                                       \
        VMR_FIELD(BOOL, Ide, channel[c_].unit[u_].attention)

#define CHANNEL(c_)                                                                                \
    UNIT(c_, 0), UNIT(c_, 1), VMR_FIELD(U8, Ide, channel[c_].device),                              \
        VMR_FIELD(U8, Ide, channel[c_].control), VMR_FIELD(BOOL, Ide, channel[c_].intrq),          \
        VMR_FIELD(U8, Ide, channel[c_].phase), VMR_FIELD(U8, Ide, channel[c_].op),                 \
        VMR_FIELD(BOOL, Ide, channel[c_].write), VMR_FIELD(BOOL, Ide, channel[c_].dma),            \
        VMR_FIELD(BOOL, Ide, channel[c_].fua), VMR_FIELD(BOOL, Ide, channel[c_].packet),           \
        VMR_FIELD(U64, Ide, channel[c_].offset), VMR_FIELD(U64, Ide, channel[c_].left),            \
        VMR_FIELD(U32, Ide, channel[c_].pos), VMR_FIELD(U32, Ide, channel[c_].drq_end),            \
        VMR_FIELD(U32, Ide, channel[c_].len), VMR_FIELD(U32, Ide, channel[c_].block),              \
        VMR_FIELD(U8, Ide, channel[c_].bm_command), VMR_FIELD(U8, Ide, channel[c_].bm_status),     \
        VMR_FIELD(U32, Ide, channel[c_].prdt), VMR_FIELD(U32, Ide, channel[c_].prd_at),            \
        VMR_FIELD(U32, Ide, channel[c_].prd_base), VMR_FIELD(U32, Ide, channel[c_].prd_left),      \
        VMR_FIELD(U32, Ide, channel[c_].prd_count), VMR_FIELD(BOOL, Ide, channel[c_].prd_last),    \
        VMR_FIELD_N(U8, Ide, channel[c_].buf, IDE_BUFFER)

static const VmrField ide_fields[] = {
    CHANNEL(0),
    CHANNEL(1),
    VMR_PCI_FIELDS(Ide, pci),
    {0},
};

static const VmrDeviceClass ide_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "ide",
    .summary = "PIIX3 IDE controller: four disks or CD-ROM drives, PIO and DMA",
    .doc = "Two channels at the legacy ports and interrupts, each with a master and a slave.\n"
           "Disks take 48-bit addresses, multiple sectors, the write cache and its flush; a CD-ROM\n"
           "drive is ATAPI.  With `bus` it is a PCI function whose bus master does DMA.",
    .instance_size = sizeof(Ide),
    .properties = ide_properties,
    .regions = ide_regions,
    .lines = ide_lines,
    .fields = ide_fields,
    .realize = ide_realize,
    .unrealize = ide_unrealize,
    .reset = ide_reset,
    .pause = ide_pause,
    .resume = ide_resume,
    .post_load = ide_post_load,
    .describe = ide_describe,
    .get_interface = ide_get_interface,
};

VMR_PLUGIN_DEVICE("ide", "1.0", &ide_class);
