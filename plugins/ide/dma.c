/*
 * dma.c - the bus master of a channel: buf to and from guest memory by a table of descriptors.
 *
 * After Intel's Programming Interface for Bus Master IDE Controller, revision 1.0.  A
 * descriptor is an address, a length (0: 64 KiB) and, in bit 31, "the last one".
 */
#include "ide.h"

static bool next_descriptor(IdeChannel *c)
{
    uint8_t raw[8];
    if (c->prd_last || c->prd_count >= IDE_PRD_MAX ||
        vmr_dma_read(&c->ide->dev, c->prd_at, raw, sizeof(raw)) != VMR_OK)
        return false;
    uint32_t base = 0, length = 0;
    for (unsigned i = 0; i < 4; i++) {
        base |= (uint32_t)raw[i] << (8 * i);
        length |= (uint32_t)raw[4 + i] << (8 * i);
    }
    c->prd_base = base & ~1u;
    c->prd_left = length & 0xfffe ? length & 0xfffe : 0x10000;
    c->prd_last = length >> 31;
    c->prd_at += sizeof(raw);
    c->prd_count++;
    return true;
}

/* All of buf; false: the table ended or led nowhere. */
static bool move(IdeChannel *c)
{
    VmrDevice *dev = &c->ide->dev;
    while (c->pos < c->len) {
        if (!c->prd_left && !next_descriptor(c))
            return false;
        uint32_t n = MIN(c->prd_left, c->len - c->pos);
        VmrResult r = c->write ? vmr_dma_read(dev, c->prd_base, c->buf + c->pos, n)
                               : vmr_dma_write(dev, c->prd_base, c->buf + c->pos, n);
        if (r != VMR_OK)
            return false;
        c->prd_base += n;
        c->prd_left -= n;
        c->pos += n;
    }
    return true;
}

void ide_dma_try(IdeChannel *c)
{
    if (c->phase != IDE_DMA || !(c->bm_status & BM_ACTIVE) || !(c->bm_command & BM_START) ||
        !ide_has_dma(c) || !vmr_pci_bus_master(&c->ide->pci))
        return;
    bool to_memory = c->bm_command & BM_TO_MEMORY;
    if (to_memory == c->write || !move(c)) {
        c->bm_status = (c->bm_status & ~BM_ACTIVE) | BM_ERROR;
        if (c->packet)
            ide_cd_fail(c, 4, 0x47); /* hardware error, on the bus */
        else
            ide_fail(c, ERROR_ABRT);
        return;
    }
    c->drq_end = c->pos;
    bool last = c->prd_last && !c->prd_left;
    bool done = !c->left || (c->write && c->left == c->len);
    ide_moved(c);
    if (done && last)
        c->bm_status &= ~BM_ACTIVE; /* else the table was longer than the transfer */
}

uint8_t ide_bm_read(IdeChannel *c, unsigned reg)
{
    if (reg == BM_COMMAND)
        return c->bm_command;
    if (reg == BM_STATUS)
        return c->bm_status;
    return reg >= BM_PRDT ? (uint8_t)(c->prdt >> (8 * (reg - BM_PRDT))) : 0;
}

void ide_bm_write(IdeChannel *c, unsigned reg, uint8_t value)
{
    bool was = c->bm_command & BM_START;
    if (reg == BM_COMMAND) {
        c->bm_command = value & (BM_START | BM_TO_MEMORY);
        if (!(value & BM_START)) {
            c->bm_status &= ~BM_ACTIVE;
        } else if (!was) {
            c->bm_status |= BM_ACTIVE;
            c->prd_at = c->prdt;
            c->prd_left = c->prd_count = 0;
            c->prd_last = false;
            ide_dma_try(c);
        }
    } else if (reg == BM_STATUS) { /* error and interrupt are cleared by ones */
        c->bm_status = (c->bm_status & ~BM_DRIVES & ~(value & (BM_ERROR | BM_INTERRUPT))) |
                       (value & BM_DRIVES);
    } else if (reg >= BM_PRDT) {
        unsigned shift = 8 * (reg - BM_PRDT);
        c->prdt = ((c->prdt & ~(0xffu << shift)) | (uint32_t)value << shift) & ~3u;
    }
}
