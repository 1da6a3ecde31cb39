/*
 * disk.c - the commands of an ATA disk, and what IDENTIFY says.
 *
 * After ATA/ATAPI-6, chapter 8.  Leaves out SMART, security, host protected areas, TRIM.
 */
#include "ide.h"

/* ---- IDENTIFY ---------------------------------------------------------- */

static void put(uint8_t *out, unsigned word, uint64_t value, unsigned words)
{
    for (unsigned i = 0; i < 2 * words; i++)
        out[2 * word + i] = (uint8_t)(value >> (8 * i));
}

/* Strings have their first character in the upper half of a word. */
static void put_text(uint8_t *out, unsigned word, const char *text, unsigned words)
{
    size_t length = strlen(text);
    for (unsigned i = 0; i < 2 * words; i++)
        out[2 * word + (i ^ 1)] = i < length && text[i] >= ' ' && text[i] < 0x7f ? text[i] : ' ';
}

static void identify_disk(const IdeUnit *u, uint8_t *out)
{
    uint64_t sectors = u->size / IDE_SECTOR, cylinders = sectors / (IDE_HEADS * IDE_SPT);
    cylinders = CLAMP(cylinders, 1, 16383);
    put(out, 0, 0x0040, 1);
    put(out, 1, cylinders, 1);
    put(out, 3, IDE_HEADS, 1);
    put(out, 6, IDE_SPT, 1);
    put(out, 47, 0x8000 | IDE_MULTIPLE_MAX, 1);
    uint64_t current = MIN(sectors / (u->heads * u->spt), 65535);
    put(out, 54, current, 1);
    put(out, 55, u->heads, 1);
    put(out, 56, u->spt, 1);
    put(out, 57, current * u->heads * u->spt, 2);
    put(out, 59, u->multiple ? 0x0100u | u->multiple : 0, 1);
    put(out, 60, MIN(sectors, 0x0fffffff), 2);
    put(out, 82, 0x0020, 1); /* write cache */
    put(out, 83, 0x7400, 1); /* 48 bits, FLUSH CACHE, FLUSH CACHE EXT */
    put(out, 84, 0x4040, 1); /* forced unit access */
    put(out, 85, u->write_cache ? 0x0020 : 0, 1);
    put(out, 86, 0x3400, 1);
    put(out, 87, 0x4040, 1);
    put(out, 100, sectors, 4);
    unsigned log = 0;
    while (log < 7 && (IDE_SECTOR << (log + 1)) <= (int64_t)u->info.physical_block)
        log++;
    if (log)
        put(out, 106, 0x6000 | log, 1);
}

void ide_identify(const IdeChannel *c, const IdeUnit *u, uint8_t out[IDE_SECTOR])
{
    bool dma = ide_has_dma(c);
    g_autofree char *serial = g_strdup(u->info.serial ? u->info.serial : u->info.name);
    memset(out, 0, IDE_SECTOR);
    put_text(out, 10, serial ? serial : "", 10);
    put_text(out, 23, "1.0", 4);
    put_text(out, 27, ide_is_cd(u) ? "vmrun CD-ROM" : "vmrun disk", 20);
    put(out, 49, dma ? 0x0f00 : 0x0e00, 1); /* LBA, IORDY, DMA */
    put(out, 50, 0x4000, 1);
    put(out, 53, 0x0007, 1);
    put(out, 64, 0x0003, 1); /* PIO 3 and 4 */
    for (unsigned i = 65; i <= 68; i++)
        put(out, i, 120, 1);
    if (dma) {
        put(out, 63, 0x07 | (u->mwdma ? 0x100u << (u->mwdma - 1) : 0), 1);
        put(out, 88, 0x3f | (u->udma ? 0x100u << (u->udma - 1) : 0), 1);
    }
    put(out, 80, 0x0078, 1); /* ATA-3 to ATA/ATAPI-6 */
    put(out, 93, 0x6001, 1); /* a cable of 80 conductors */
    if (ide_is_cd(u))
        put(out, 0, 0x85c0, 1); /* CD-ROM, removable, packets of 12 bytes */
    else
        identify_disk(u, out);
}

/* ---- addresses --------------------------------------------------------- */

static uint64_t sector_count(const IdeUnit *u, bool ext)
{
    uint32_t n = u->regs[IDE_COUNT][0];
    if (ext)
        n |= (uint32_t)u->regs[IDE_COUNT][1] << 8;
    return n ? n : ext ? 65536 : 256;
}

/* UINT64_MAX: no such address. */
static uint64_t first_sector(const IdeChannel *c, const IdeUnit *u, bool ext)
{
    const uint8_t (*r)[2] = u->regs;
    uint64_t low = r[IDE_LBA0][0] | r[IDE_LBA1][0] << 8 | (uint64_t)r[IDE_LBA2][0] << 16;
    if (ext)
        return low | (uint64_t)r[IDE_LBA0][1] << 24 | (uint64_t)r[IDE_LBA1][1] << 32 |
               (uint64_t)r[IDE_LBA2][1] << 40;
    if (c->device & DEVICE_LBA)
        return low | (uint64_t)(c->device & 0x0f) << 24;
    uint64_t cylinder = r[IDE_LBA1][0] | r[IDE_LBA2][0] << 8, head = c->device & 0x0f;
    if (r[IDE_LBA0][0] == 0 || r[IDE_LBA0][0] > u->spt || head >= u->heads)
        return UINT64_MAX;
    return (cylinder * u->heads + head) * u->spt + r[IDE_LBA0][0] - 1;
}

/* The range that the registers name, in bytes; false: the command has failed. */
static bool range(IdeChannel *c, bool ext, uint64_t *offset, uint64_t *length)
{
    const IdeUnit *u = ide_unit(c);
    uint64_t first = first_sector(c, u, ext), count = sector_count(u, ext);
    uint64_t sectors = u->size / IDE_SECTOR;
    if (first >= sectors || count > sectors - first) {
        ide_fail(c, ERROR_IDNF);
        return false;
    }
    *offset = first * IDE_SECTOR;
    *length = count * IDE_SECTOR;
    return true;
}

/* ---- commands ---------------------------------------------------------- */

enum { EXT = 1 << 0, WRITE = 1 << 1, MULTIPLE = 1 << 2, DMA = 1 << 3, FUA = 1 << 4 };

static void transfer(IdeChannel *c, unsigned how)
{
    IdeUnit *u = ide_unit(c);
    uint64_t offset, length;
    if (((how & MULTIPLE) && !u->multiple) || ((how & DMA) && !ide_has_dma(c)) ||
        ((how & WRITE) && u->info.read_only)) {
        ide_fail(c, ERROR_ABRT);
        return;
    }
    if (!range(c, how & EXT, &offset, &length))
        return;
    c->dma = how & DMA;
    c->fua = how & FUA;
    c->block = how & MULTIPLE ? u->multiple * IDE_SECTOR : IDE_SECTOR;
    ide_begin(c, how & WRITE, offset, length);
}

static void verify(IdeChannel *c, bool ext)
{
    uint64_t offset, length;
    if (range(c, ext, &offset, &length))
        ide_finish(c);
}

static void set_multiple(IdeChannel *c)
{
    IdeUnit *u = ide_unit(c);
    uint8_t n = u->regs[IDE_COUNT][0];
    if (n > IDE_MULTIPLE_MAX || (n & (n - 1))) {
        ide_fail(c, ERROR_ABRT);
        return;
    }
    u->multiple = n;
    ide_finish(c);
}

static bool set_transfer_mode(IdeChannel *c, IdeUnit *u, uint8_t mode)
{
    if (mode <= 0x0c)
        return true; /* PIO */
    if (!ide_has_dma(c))
        return false;
    if (mode >= 0x20 && mode <= 0x22) {
        u->mwdma = mode - 0x20 + 1;
        u->udma = 0;
        return true;
    }
    if (mode >= 0x40 && mode <= 0x45) {
        u->udma = mode - 0x40 + 1;
        u->mwdma = 0;
        return true;
    }
    return false;
}

static void set_features(IdeChannel *c)
{
    IdeUnit *u = ide_unit(c);
    bool ok = true;
    switch (u->regs[IDE_ERROR][0]) {
    case 0x02: /* write cache */
        u->write_cache = true;
        break;
    case 0x82:
        u->write_cache = false;
        break;
    case 0x03:
        ok = set_transfer_mode(c, u, u->regs[IDE_COUNT][0]);
        break;
    case 0x55: /* read look-ahead, reverting to defaults */
    case 0x66:
    case 0xaa:
    case 0xcc:
        break;
    default:
        ok = false;
    }
    if (ok)
        ide_finish(c);
    else
        ide_fail(c, ERROR_ABRT);
}

static void set_geometry(IdeChannel *c)
{
    IdeUnit *u = ide_unit(c);
    uint8_t spt = u->regs[IDE_COUNT][0];
    if (spt == 0) {
        ide_fail(c, ERROR_ABRT);
        return;
    }
    u->spt = spt;
    u->heads = (c->device & 0x0f) + 1;
    ide_finish(c);
}

static void native_max(IdeChannel *c, bool ext)
{
    IdeUnit *u = ide_unit(c);
    uint64_t last = u->size / IDE_SECTOR - 1;
    if (!ext)
        last = MIN(last, 0x0ffffffe);
    for (unsigned i = 0; i < 3; i++) {
        u->regs[IDE_LBA0 + i][0] = (uint8_t)(last >> (8 * i));
        u->regs[IDE_LBA0 + i][1] = (uint8_t)(last >> (8 * i + 24));
    }
    if (!ext)
        c->device = (c->device & 0xf0) | (last >> 24 & 0x0f);
    ide_finish(c);
}

static void flush(IdeChannel *c)
{
    c->phase = IDE_DRIVE;
    c->op = VMR_DRIVE_FLUSH;
    c->pos = c->drq_end = c->len = 0;
    ide_unit(c)->status = STATUS_BSY;
    ide_submit(c, VMR_DRIVE_FLUSH);
}

void ide_disk_command(IdeChannel *c, uint8_t command)
{
    static const struct {
        uint8_t command, how;
    } transfers[] = {
        {0x20, 0},               {0x21, 0},                     {0x24, EXT},
        {0x25, EXT | DMA},       {0x29, EXT | MULTIPLE},        {0x30, WRITE},
        {0x31, WRITE},           {0x34, EXT | WRITE},           {0x35, EXT | WRITE | DMA},
        {0x39, EXT | WRITE | MULTIPLE},      {0x3d, EXT | WRITE | DMA | FUA},
        {0xc4, MULTIPLE},        {0xc5, WRITE | MULTIPLE},      {0xc8, DMA},
        {0xc9, DMA},             {0xca, WRITE | DMA},           {0xcb, WRITE | DMA},
        {0xce, EXT | WRITE | MULTIPLE | FUA}};
    IdeUnit *u = ide_unit(c);
    for (unsigned i = 0; i < G_N_ELEMENTS(transfers); i++) {
        if (transfers[i].command == command) {
            transfer(c, transfers[i].how);
            return;
        }
    }
    switch (command) {
    case 0x10 ... 0x1f: /* RECALIBRATE */
    case 0xe0 ... 0xe3: /* STANDBY, IDLE */
    case 0xe6:          /* SLEEP */
        ide_finish(c);
        break;
    case 0xe5: /* CHECK POWER MODE: active */
        u->regs[IDE_COUNT][0] = 0xff;
        ide_finish(c);
        break;
    case 0x40: /* READ VERIFY SECTORS, SEEK */
    case 0x41:
    case 0x70:
        verify(c, false);
        break;
    case 0x42:
        verify(c, true);
        break;
    case 0x91:
        set_geometry(c);
        break;
    case 0xc6:
        set_multiple(c);
        break;
    case 0xe7:
    case 0xea:
        flush(c);
        break;
    case 0xec:
        ide_identify(c, u, c->buf);
        ide_reply(c, IDE_SECTOR);
        break;
    case 0xef:
        set_features(c);
        break;
    case 0xf8:
        native_max(c, false);
        break;
    case 0x27:
        native_max(c, true);
        break;
    default:
        ide_fail(c, ERROR_ABRT);
        break;
    }
}
