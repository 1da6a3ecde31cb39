/*
 * vga-core.c - the VGA's registers, and how the CPU reaches the four planes.
 *
 * After IBM's PS/2 Hardware Interface Technical Reference, Video Subsystem.
 */
#include "vga.h"

#include <string.h>

/* ---- reset ------------------------------------------------------------- */

/* Mode 3: 80x25 characters of 9x16, colour. */
static const uint8_t mode3_sr[VGA_SR_COUNT] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t mode3_gr[VGA_GR_COUNT] = {0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff};
static const uint8_t mode3_cr[VGA_CR_COUNT] = {
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
    0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
static const uint8_t mode3_ar[VGA_AR_COUNT] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14,
                                               0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
                                               0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};

void vga_reset(Vga *v)
{
    memset(v, 0, sizeof(*v));
    v->misc = 0x67;
    memcpy(v->sr, mode3_sr, sizeof(v->sr));
    memcpy(v->gr, mode3_gr, sizeof(v->gr));
    memcpy(v->cr, mode3_cr, sizeof(v->cr));
    memcpy(v->ar, mode3_ar, sizeof(v->ar));
    v->ar_video = true;
    v->pel_mask = 0xff;
    /* The 64 colours of the EGA, of which AR00..AR0F choose 16; then greys. */
    for (unsigned i = 0; i < 256; i++) {
        for (unsigned c = 0; c < 3; c++) {
            unsigned bit = 2 - c;
            v->pel[3 * i + c] =
                i < 64 ? (i >> bit & 1) * 0x2a + (i >> (bit + 3) & 1) * 0x15 : (i - 64) / 3;
        }
    }
    for (unsigned i = 0; i < VGA_PLANE_SIZE / 2; i += 2) {
        v->vram[4 * i] = ' ';
        v->vram[4 * i + 1] = 0x07;
    }
    for (unsigned code = 0; code < 256; code++) {
        uint8_t rows[VGA_FONT_HEIGHT];
        vga_font_glyph(code, rows);
        for (unsigned r = 0; r < VGA_FONT_HEIGHT; r++)
            v->vram[4 * (code * VGA_FONT_SLOT + r) + 2] = rows[r];
    }
}

void vga_check(Vga *v)
{
    v->pel_part %= 3;
    for (unsigned i = 0; i < sizeof(v->pel); i++)
        v->pel[i] &= 0x3f;
}

/* ---- ports ------------------------------------------------------------- */

/* Where the beam is: 449 lines of 31.8 us make 70 pictures a second. */
static uint8_t status1(int64_t now)
{
    enum { LINE_NS = 31778, LINES = 449, SHOWN = 400, RETRACE = 412, SHOWN_NS = 25422 };
    int64_t in_frame = now % ((int64_t)LINE_NS * LINES);
    unsigned line = (unsigned)(in_frame / LINE_NS);
    uint8_t s = 0;
    if (line >= SHOWN || in_frame % LINE_NS >= SHOWN_NS)
        s |= STATUS1_DISABLED;
    if (line >= RETRACE && line < RETRACE + 2)
        s |= STATUS1_RETRACE;
    return s;
}

static uint8_t pel_data_read(Vga *v)
{
    uint8_t value = v->pel[3 * v->pel_read + v->pel_part];
    if (++v->pel_part == 3) {
        v->pel_part = 0;
        v->pel_read++;
    }
    return value;
}

/* A colour changes as a whole, with its third part. */
static void pel_data_write(Vga *v, uint8_t value)
{
    if (v->pel_part < 2) {
        v->pel_held[v->pel_part++] = value & 0x3f;
        return;
    }
    uint8_t *c = v->pel + 3 * v->pel_write++;
    c[0] = v->pel_held[0];
    c[1] = v->pel_held[1];
    c[2] = value & 0x3f;
    v->pel_part = 0;
}

uint8_t vga_port_read(Vga *v, unsigned port, int64_t now)
{
    switch (port) {
    case VGA_AR_INDEX:
        return v->ar_index | (v->ar_video ? 0x20 : 0);
    case VGA_AR_READ:
        return v->ar_index < VGA_AR_COUNT ? v->ar[v->ar_index] : 0;
    case VGA_MISC_WRITE:
        return 0x10; /* a colour monitor answers the switch sense */
    case VGA_SR_INDEX:
        return v->sr_index;
    case VGA_SR_DATA:
        return v->sr_index < VGA_SR_COUNT ? v->sr[v->sr_index] : 0;
    case VGA_PEL_MASK:
        return v->pel_mask;
    case VGA_PEL_READ:
        return v->pel_reading ? 3 : 0;
    case VGA_PEL_WRITE:
        return v->pel_write;
    case VGA_PEL_DATA:
        return pel_data_read(v);
    case VGA_FEATURE_READ:
        return v->feature;
    case VGA_MISC_READ:
        return v->misc;
    case VGA_GR_INDEX:
        return v->gr_index;
    case VGA_GR_DATA:
        return v->gr_index < VGA_GR_COUNT ? v->gr[v->gr_index] : 0;
    case VGA_CR_INDEX:
        return v->cr_index;
    case VGA_CR_DATA:
        return v->cr_index < VGA_CR_COUNT ? v->cr[v->cr_index] : 0;
    case VGA_STATUS1:
        v->ar_data = false;
        return status1(now);
    default:
        return 0xff;
    }
}

static void cr_write(Vga *v, uint8_t value)
{
    if (v->cr_index >= VGA_CR_COUNT)
        return;
    if ((v->cr[0x11] & 0x80) && v->cr_index <= 7) { /* protected, all but the line compare bit */
        if (v->cr_index == 7)
            v->cr[7] = (v->cr[7] & ~0x10) | (value & 0x10);
        return;
    }
    v->cr[v->cr_index] = value;
}

static void ar_write(Vga *v, uint8_t value)
{
    v->ar_data = !v->ar_data;
    if (v->ar_data) {
        v->ar_index = value & 0x1f;
        v->ar_video = value & 0x20;
    } else if (v->ar_index < VGA_AR_COUNT) {
        v->ar[v->ar_index] = value & (v->ar_index < 0x10 ? 0x3f : 0xff);
    }
}

void vga_port_write(Vga *v, unsigned port, uint8_t value)
{
    switch (port) {
    case VGA_AR_INDEX:
        ar_write(v, value);
        break;
    case VGA_MISC_WRITE:
        v->misc = value;
        break;
    case VGA_SR_INDEX:
        v->sr_index = value & 0x07;
        break;
    case VGA_SR_DATA:
        if (v->sr_index < VGA_SR_COUNT)
            v->sr[v->sr_index] = value;
        break;
    case VGA_PEL_MASK:
        v->pel_mask = value;
        break;
    case VGA_PEL_READ:
        v->pel_read = value;
        v->pel_part = 0;
        v->pel_reading = true;
        break;
    case VGA_PEL_WRITE:
        v->pel_write = value;
        v->pel_part = 0;
        v->pel_reading = false;
        break;
    case VGA_PEL_DATA:
        pel_data_write(v, value);
        break;
    case VGA_GR_INDEX:
        v->gr_index = value & 0x0f;
        break;
    case VGA_GR_DATA:
        if (v->gr_index < VGA_GR_COUNT)
            v->gr[v->gr_index] = value;
        break;
    case VGA_CR_INDEX:
        v->cr_index = value & 0x3f;
        break;
    case VGA_CR_DATA:
        cr_write(v, value);
        break;
    case VGA_STATUS1:
        v->feature = value;
        break;
    }
}

/* ---- memory ------------------------------------------------------------ */

/* How an access meets the planes: its address in them, and which it may reach. */
typedef struct Reach {
    uint32_t address;
    uint8_t planes, first;
} Reach;

/* False: the window does not show this address. */
static bool reach(const Vga *v, uint32_t offset, bool write, Reach *r)
{
    static const struct {
        uint32_t base, size;
    } windows[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned w = v->gr[0x06] >> 2 & 3;
    if (!(v->misc & MISC_RAM) || offset - windows[w].base >= windows[w].size)
        return false;
    uint32_t a = offset - windows[w].base;
    if (v->sr[0x04] & 0x08) { /* chain 4: the address says the plane */
        r->first = a & 3;
        r->planes = 1 << (a & 3);
        r->address = a & 0xfffc;
    } else if (write ? !(v->sr[0x04] & 0x04) : v->gr[0x05] >> 4 & 1) { /* odd and even */
        r->first = (v->gr[0x04] & 2) | (a & 1);
        r->planes = a & 1 ? 0x0a : 0x05;
        /* Bit 0 has said the plane; of 128 KiB, bit 16 takes its place. */
        r->address = (a & 0xfffe) | (a >> 16 & 1);
    } else {
        r->first = v->gr[0x04] & 3;
        r->planes = 0x0f;
        r->address = a & 0xffff;
    }
    return true;
}

uint8_t vga_memory_read(Vga *v, uint32_t offset)
{
    Reach r;
    if (!reach(v, offset, false, &r))
        return 0xff;
    memcpy(v->latch, v->vram + 4 * r.address, 4);
    if (!(v->gr[0x05] & 0x08))
        return v->latch[r.first];
    uint8_t differs = 0; /* read mode 1: which pixels have the colour of GR02 */
    for (unsigned p = 0; p < 4; p++)
        if (v->gr[0x07] >> p & 1)
            differs |= v->latch[p] ^ (v->gr[0x02] >> p & 1 ? 0xff : 0x00);
    return ~differs;
}

static uint8_t combine(unsigned function, uint8_t value, uint8_t latch)
{
    switch (function) {
    case 1:
        return value & latch;
    case 2:
        return value | latch;
    case 3:
        return value ^ latch;
    default:
        return value;
    }
}

void vga_memory_write(Vga *v, uint32_t offset, uint8_t value)
{
    Reach r;
    if (!reach(v, offset, true, &r))
        return;
    unsigned mode = v->gr[0x05] & 3, count = v->gr[0x03] & 7, function = v->gr[0x03] >> 3 & 3;
    uint8_t rotated = (uint8_t)(value >> count | value << (8 - count)), mask = v->gr[0x08];
    uint8_t planes = r.planes & v->sr[0x02];
    if (mode == 3)
        mask &= rotated;
    for (unsigned p = 0; p < 4; p++) {
        uint8_t *at = v->vram + 4 * r.address + p;
        uint8_t set = v->gr[0x00] >> p & 1 ? 0xff : 0x00, b = rotated;
        if (!(planes >> p & 1))
            continue;
        if (mode == 1) {
            *at = v->latch[p];
            continue;
        }
        if (mode == 2)
            b = value >> p & 1 ? 0xff : 0x00;
        else if (mode == 3 || (v->gr[0x01] >> p & 1))
            b = set;
        b = combine(function, b, v->latch[p]);
        *at = (b & mask) | (v->latch[p] & ~mask);
    }
}
