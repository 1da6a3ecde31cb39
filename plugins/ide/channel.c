/*
 * channel.c - one IDE channel: registers, interrupt, and the way of data through the buffer.
 *
 * After ATA/ATAPI-6, chapters 7 and 9.
 */
#include "ide.h"

/* ---- interrupt and the end of commands --------------------------------- */

void ide_raise(IdeChannel *c)
{
    c->intrq = true;
    if (!(c->control & CONTROL_NIEN))
        c->bm_status |= BM_INTERRUPT;
    ide_set_irq(c);
}

static void set_reason(IdeChannel *c, uint8_t reason)
{
    IdeUnit *u = ide_unit(c);
    if (c->packet)
        u->regs[IDE_COUNT][0] = reason;
}

void ide_finish(IdeChannel *c)
{
    IdeUnit *u = ide_unit(c);
    c->phase = IDE_IDLE;
    u->status = STATUS_DRDY | STATUS_DSC;
    u->error = 0;
    set_reason(c, REASON_CD | REASON_IO);
    ide_raise(c);
}

void ide_fail(IdeChannel *c, uint8_t error)
{
    IdeUnit *u = ide_unit(c);
    c->phase = IDE_IDLE;
    u->status = STATUS_DRDY | STATUS_DSC | STATUS_ERR;
    u->error = error;
    set_reason(c, REASON_CD | REASON_IO);
    ide_raise(c);
}

/* ---- reset ------------------------------------------------------------- */

/* What a unit says of itself after a reset. */
static void set_signature(IdeUnit *u)
{
    memset(u->regs, 0, sizeof(u->regs));
    u->regs[IDE_COUNT][0] = u->regs[IDE_LBA0][0] = 1;
    if (ide_is_cd(u)) {
        u->regs[IDE_LBA1][0] = 0x14;
        u->regs[IDE_LBA2][0] = 0xeb;
    }
    u->error = 1; /* no fault found */
    u->status = ide_is_cd(u) ? 0 : STATUS_DRDY | STATUS_DSC;
}

static void end_reset(IdeChannel *c)
{
    c->phase = IDE_IDLE;
    c->device = 0;
    for (unsigned i = 0; i < 2; i++)
        set_signature(&c->unit[i]);
}

static void soft_reset(IdeChannel *c)
{
    c->intrq = false;
    ide_set_irq(c);
    c->bm_status &= ~BM_ACTIVE;
    c->bm_command &= ~BM_START;
    for (unsigned i = 0; i < 2; i++) {
        c->unit[i].status = STATUS_BSY;
        c->unit[i].multiple = 0;
    }
    c->phase = IDE_RESET;
}

void ide_channel_reset(IdeChannel *c)
{
    c->control = 0;
    c->intrq = false;
    c->bm_command = c->bm_status = 0;
    c->prdt = c->prd_at = c->prd_base = c->prd_left = c->prd_count = 0;
    c->prd_last = c->write = c->dma = c->fua = c->packet = false;
    c->offset = c->left = 0;
    c->pos = c->drq_end = c->len = c->block = 0;
    c->op = VMR_DRIVE_READ;
    memset(c->buf, 0, sizeof(c->buf));
    for (unsigned i = 0; i < 2; i++) {
        IdeUnit *u = &c->unit[i];
        u->multiple = u->mwdma = u->udma = 0;
        u->heads = IDE_HEADS;
        u->spt = IDE_SPT;
        u->write_cache = true;
        u->sense_key = u->sense_code = 0;
        u->attention = true;
    }
    end_reset(c);
}

static bool is_hostile_state(const IdeChannel *c)
{
    const IdeUnit *u = &c->unit[c->device & DEVICE_DEV ? 1 : 0];
    bool moves = c->phase != IDE_IDLE && c->phase != IDE_RESET;
    bool counted = c->phase == IDE_DRIVE ? c->op != VMR_DRIVE_FLUSH : moves && c->write;
    return c->phase >= IDE_PHASES || c->len > IDE_BUFFER || c->drq_end > c->len ||
           c->pos > c->drq_end || c->op > VMR_DRIVE_FLUSH || (moves && !u->drive) ||
           (c->phase == IDE_IN && c->pos == c->drq_end) ||
           ((c->phase == IDE_OUT || c->phase == IDE_PACKET_OUT) && c->pos == c->drq_end) ||
           (moves && c->block == 0) || c->offset > u->size || c->left > u->size - c->offset ||
           (counted && c->len > c->left) ||
           (c->phase == IDE_PACKET_OUT && c->len != IDE_PACKET) ||
           (c->phase == IDE_PACKET_OUT && !ide_is_cd(u));
}

bool ide_channel_check(IdeChannel *c)
{
    if (is_hostile_state(c))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        IdeUnit *u = &c->unit[i];
        u->multiple = MIN(u->multiple, IDE_MULTIPLE_MAX);
        u->heads = MAX(u->heads, 1);
        u->spt = MAX(u->spt, 1);
    }
    c->bm_status &= 0x67;
    c->prdt &= ~3u;
    return true;
}

/* ---- data -------------------------------------------------------------- */

/* The next block of buf goes to or comes from the guest. */
static void open_block(IdeChannel *c)
{
    IdeUnit *u = ide_unit(c);
    c->drq_end = MIN(c->pos + c->block, c->len);
    u->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
    u->error = 0;
    if (c->packet) {
        uint32_t bytes = c->drq_end - c->pos;
        u->regs[IDE_LBA1][0] = (uint8_t)bytes;
        u->regs[IDE_LBA2][0] = (uint8_t)(bytes >> 8);
        set_reason(c, c->phase == IDE_IN ? REASON_IO : 0);
    }
}

static void await_drive(IdeChannel *c, VmrDriveOp op)
{
    c->phase = IDE_DRIVE;
    c->op = op;
    ide_unit(c)->status = STATUS_BSY;
    ide_submit(c, op);
}

static void await_dma(IdeChannel *c)
{
    c->phase = IDE_DMA;
    ide_unit(c)->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
    ide_dma_try(c);
}

static void next_chunk(IdeChannel *c)
{
    c->len = (uint32_t)MIN(c->left, IDE_BUFFER);
    c->pos = c->drq_end = 0;
    if (!c->write) {
        await_drive(c, VMR_DRIVE_READ);
    } else if (c->dma) {
        await_dma(c);
    } else {
        c->phase = IDE_OUT;
        open_block(c);
    }
}

/* The range was checked. */
void ide_begin(IdeChannel *c, bool write, uint64_t offset, uint64_t length)
{
    c->write = write;
    c->offset = offset;
    c->left = length;
    next_chunk(c);
}

void ide_reply(IdeChannel *c, uint32_t len)
{
    c->write = false;
    c->left = 0;
    c->len = len;
    c->pos = c->drq_end = 0;
    if (c->dma) {
        await_dma(c);
        return;
    }
    c->phase = IDE_IN;
    open_block(c);
    ide_raise(c);
}

void ide_drive_done(IdeChannel *c, int error)
{
    if (c->phase == IDE_RESET) {
        if (!(c->control & CONTROL_SRST))
            end_reset(c);
        return;
    }
    if (c->phase != IDE_DRIVE)
        return;
    if (error) {
        if (c->packet)
            ide_cd_fail(c, 3, 0x11); /* medium error, unrecovered read */
        else
            ide_fail(c, error == EROFS ? ERROR_ABRT : c->op == VMR_DRIVE_READ ? ERROR_UNC
                                                                               : ERROR_ABRT);
        return;
    }
    if (c->op == VMR_DRIVE_FLUSH) {
        ide_finish(c);
        return;
    }
    c->offset += c->len;
    c->left -= c->len;
    if (c->op == VMR_DRIVE_WRITE) {
        if (c->left) {
            next_chunk(c);
            if (!c->dma)
                ide_raise(c);
        } else if (c->fua || !ide_unit(c)->write_cache) {
            await_drive(c, VMR_DRIVE_FLUSH);
        } else {
            ide_finish(c);
        }
    } else if (c->dma) {
        await_dma(c);
    } else {
        c->phase = IDE_IN;
        open_block(c);
        ide_raise(c);
    }
}

void ide_moved(IdeChannel *c)
{
    if (c->write)
        await_drive(c, VMR_DRIVE_WRITE);
    else if (c->left)
        next_chunk(c);
    else
        ide_finish(c);
}

static void end_block(IdeChannel *c)
{
    if (c->phase == IDE_PACKET_OUT) {
        ide_cd_packet(c);
    } else if (c->pos < c->len) {
        open_block(c);
        ide_raise(c);
    } else if (c->phase == IDE_OUT) {
        await_drive(c, VMR_DRIVE_WRITE);
    } else if (c->left) {
        next_chunk(c);
    } else if (c->packet) {
        ide_finish(c);
    } else { /* the last block of a disk ends without an interrupt */
        c->phase = IDE_IDLE;
        ide_unit(c)->status = STATUS_DRDY | STATUS_DSC;
    }
}

uint32_t ide_data_read(IdeChannel *c, unsigned size)
{
    uint32_t value = 0;
    if (c->phase != IDE_IN)
        return UINT32_MAX;
    for (unsigned i = 0; i < size && c->pos < c->drq_end; i++)
        value |= (uint32_t)c->buf[c->pos++] << (8 * i);
    if (c->pos == c->drq_end)
        end_block(c);
    return value;
}

void ide_data_write(IdeChannel *c, uint32_t value, unsigned size)
{
    if (c->phase != IDE_OUT && c->phase != IDE_PACKET_OUT)
        return;
    for (unsigned i = 0; i < size && c->pos < c->drq_end; i++)
        c->buf[c->pos++] = (uint8_t)(value >> (8 * i));
    if (c->pos == c->drq_end)
        end_block(c);
}

/* ---- registers --------------------------------------------------------- */

static bool is_empty(const IdeChannel *c)
{
    return !c->unit[0].drive && !c->unit[1].drive;
}

uint8_t ide_alt_status(IdeChannel *c)
{
    const IdeUnit *u = ide_unit(c);
    if (is_empty(c))
        return 0xff;
    return u->drive ? u->status : 0;
}

uint8_t ide_read(IdeChannel *c, unsigned reg)
{
    const IdeUnit *u = ide_unit(c);
    if (is_empty(c))
        return 0xff;
    if (reg == IDE_STATUS) {
        c->intrq = false;
        ide_set_irq(c);
        return ide_alt_status(c);
    }
    if (!u->drive)
        return reg == IDE_DEVICE ? c->device : 0;
    if (reg == IDE_ERROR)
        return u->error;
    if (reg == IDE_DEVICE)
        return c->device | 0xa0;
    return u->regs[reg & 7][c->control & CONTROL_HOB ? 1 : 0];
}

static void diagnose(IdeChannel *c)
{
    end_reset(c);
    ide_raise(c);
}

static void packet_command(IdeChannel *c)
{
    IdeUnit *u = ide_unit(c);
    c->packet = true;
    c->dma = u->regs[IDE_ERROR][0] & 1;
    c->write = c->fua = false;
    c->offset = c->left = 0;
    if (c->dma && !ide_has_dma(c)) {
        c->dma = false;
        ide_fail(c, ERROR_ABRT);
        return;
    }
    c->phase = IDE_PACKET_OUT;
    c->pos = 0;
    c->len = c->drq_end = c->block = IDE_PACKET;
    u->status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
    u->error = 0;
    set_reason(c, REASON_CD);
}

static void cd_command(IdeChannel *c, uint8_t command)
{
    IdeUnit *u = ide_unit(c);
    switch (command) {
    case 0x08: /* DEVICE RESET */
        set_signature(u);
        c->phase = IDE_IDLE;
        break;
    case 0xa0:
        packet_command(c);
        break;
    case 0xa1:
        ide_identify(c, u, c->buf);
        ide_reply(c, IDE_SECTOR);
        break;
    case 0xef: /* SET FEATURES */
    case 0xe0 ... 0xe3:
    case 0xe5:
        ide_disk_command(c, command);
        break;
    case 0xec: /* IDENTIFY DEVICE: how a guest tells the two kinds apart */
    case 0x20:
        set_signature(u);
        ide_fail(c, ERROR_ABRT);
        break;
    default:
        ide_fail(c, ERROR_ABRT);
        break;
    }
}

static void command(IdeChannel *c, uint8_t value)
{
    IdeUnit *u = ide_unit(c);
    c->intrq = false;
    ide_set_irq(c);
    if (value == 0x90) {
        diagnose(c);
        return;
    }
    if (!u->drive)
        return;
    c->packet = c->dma = c->fua = c->write = false;
    c->offset = c->left = 0;
    c->block = IDE_SECTOR;
    if (ide_is_cd(u))
        cd_command(c, value);
    else
        ide_disk_command(c, value);
}

void ide_write(IdeChannel *c, unsigned reg, uint8_t value)
{
    /* A busy channel takes nothing but a reset. */
    if (is_empty(c) || c->phase == IDE_DRIVE || c->phase == IDE_RESET)
        return;
    c->control &= ~CONTROL_HOB;
    if (reg == IDE_STATUS) {
        command(c, value);
        return;
    }
    if (reg == IDE_DEVICE) {
        if (c->phase == IDE_IDLE)
            c->device = value;
        else /* a transfer belongs to its unit */
            c->device = (value & ~DEVICE_DEV) | (c->device & DEVICE_DEV);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        IdeUnit *u = &c->unit[i];
        u->regs[reg & 7][1] = u->regs[reg & 7][0];
        u->regs[reg & 7][0] = value;
    }
}

void ide_control(IdeChannel *c, uint8_t value)
{
    bool was = c->control & CONTROL_SRST;
    c->control = value;
    ide_set_irq(c);
    if (is_empty(c))
        return;
    if ((value & CONTROL_SRST) && !was)
        soft_reset(c);
    else if (!(value & CONTROL_SRST) && was && c->phase == IDE_RESET && !c->in_flight)
        end_reset(c);
}
