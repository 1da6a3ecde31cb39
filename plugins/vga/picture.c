/*
 * picture.c - what the VGA shows: text, 16 colours in four planes, 256 colours.
 *
 * After IBM's VGA documentation.  Left out: the CGA's interleaved modes, panning, split screens,
 * the blinking itself (what blinks is shown), underlining.
 */
#include "vga.h"

#include <string.h>

static unsigned lines_shown(const Vga *v)
{
    return (v->cr[0x12] | (v->cr[0x07] & 0x02) << 7 | (v->cr[0x07] & 0x40) << 3) + 1;
}

/* How far an address of the CRT controller is shifted: bytes, words, double words. */
static unsigned address_shift(const Vga *v)
{
    return v->cr[0x14] & 0x40 ? 2 : v->cr[0x17] & 0x40 ? 0 : 1;
}

bool vga_is_text(const Vga *v)
{
    return !(v->gr[0x06] & 1);
}

static bool is_on(const Vga *v)
{
    return v->ar_video && !(v->sr[0x01] & 0x20) && (v->cr[0x17] & 0x80);
}

/* ---- text -------------------------------------------------------------- */

void vga_text_layout(const Vga *v, VgaText *t)
{
    t->columns = v->cr[0x01] + 1u;
    t->height = (v->cr[0x09] & 0x1f) + 1u;
    unsigned lines = lines_shown(v) >> (v->cr[0x09] >> 7);
    t->rows = (lines + t->height - 1) / t->height;
    t->start = v->cr[0x0c] << 8 | v->cr[0x0d];
    t->pitch = v->cr[0x13] * 2u;
    t->shift = address_shift(v);
}

static const uint8_t *cell(const Vga *v, const VgaText *t, unsigned column, unsigned row)
{
    unsigned address = (t->start + row * t->pitch + column) << t->shift;
    return v->vram + 4 * (address % VGA_PLANE_SIZE);
}

uint16_t vga_text_cell(const Vga *v, const VgaText *t, unsigned column, unsigned row)
{
    const uint8_t *c = cell(v, t, column, row);
    return (uint16_t)(c[0] | c[1] << 8);
}

bool vga_cursor(const Vga *v, const VgaText *t, unsigned *column, unsigned *row)
{
    unsigned at = v->cr[0x0e] << 8 | v->cr[0x0f];
    if ((v->cr[0x0a] & 0x20) || at < t->start || t->pitch == 0)
        return false;
    if ((v->cr[0x0a] & 0x1f) > (v->cr[0x0b] & 0x1f))
        return false;
    *row = (at - t->start) / t->pitch;
    *column = (at - t->start) % t->pitch;
    return *row < t->rows && *column < t->columns;
}

/* ---- colours ----------------------------------------------------------- */

static uint32_t dac(const Vga *v, unsigned index)
{
    const uint8_t *c = v->pel + 3 * (index & v->pel_mask);
    uint32_t rgb = 0;
    for (unsigned i = 0; i < 3; i++)
        rgb = rgb << 8 | (c[i] & 0x3fu) << 2 | (c[i] & 0x3fu) >> 4;
    return rgb;
}

/* What the attribute controller and the DAC make of its 16 colours. */
static void palette(const Vga *v, uint32_t colours[16])
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned index = v->ar[i] & 0x3f;
        if (v->ar[0x10] & 0x80)
            index = (index & 0x0f) | (v->ar[0x14] & 0x03) << 4;
        colours[i] = dac(v, index | (v->ar[0x14] & 0x0c) << 4);
    }
}

/* ---- drawing ----------------------------------------------------------- */

static unsigned character_width(const Vga *v)
{
    return v->sr[0x01] & 1 ? 8 : 9;
}

void vga_extent(const Vga *v, uint32_t *width, uint32_t *height)
{
    unsigned columns = v->cr[0x01] + 1u;
    *width = *height = 0;
    if (!is_on(v))
        return;
    if (vga_is_text(v)) {
        *width = columns * character_width(v);
        *height = lines_shown(v) >> (v->cr[0x09] >> 7);
    } else {
        unsigned repeat = ((v->cr[0x09] & 0x1f) + 1u) << (v->cr[0x09] >> 7);
        *width = columns * (v->gr[0x05] & 0x40 ? 4 : 8);
        *height = (lines_shown(v) + repeat - 1) / repeat;
    }
}

/* Where the font of a cell starts in plane 2; with two fonts attribute bit 3 chooses. */
static unsigned font_base(const Vga *v, uint8_t attribute)
{
    unsigned s = v->sr[0x03];
    unsigned map = attribute & 0x08 ? (s >> 2 & 3) | (s >> 3 & 4) : (s & 3) | (s >> 2 & 4);
    return (map & 3) * 0x4000 + (map >> 2) * 0x2000;
}

static void draw_text(const Vga *v, uint32_t *pixels, uint32_t width, uint32_t height)
{
    VgaText t;
    uint32_t colours[16];
    unsigned dots = character_width(v), cursor_column = 0, cursor_row = 0;
    vga_text_layout(v, &t);
    palette(v, colours);
    bool cursor = vga_cursor(v, &t, &cursor_column, &cursor_row);
    for (uint32_t y = 0; y < height; y++) {
        unsigned row = y / t.height, line = y % t.height;
        for (unsigned column = 0; column < t.columns; column++) {
            const uint8_t *c = cell(v, &t, column, row);
            uint8_t code = c[0], attribute = c[1];
            uint8_t blink = v->ar[0x10] & 0x08 ? 0x80 : 0;
            uint32_t front = colours[attribute & 0x0f], back = colours[(attribute & ~blink) >> 4];
            unsigned glyph = font_base(v, attribute) + code * VGA_FONT_SLOT + line;
            unsigned bits = v->vram[4 * (glyph % VGA_PLANE_SIZE) + 2] << 1;
            if (code >= 0xc0 && code <= 0xdf && (v->ar[0x10] & 0x04))
                bits |= bits >> 1 & 1; /* lines go on in the ninth dot */
            if (cursor && row == cursor_row && column == cursor_column &&
                line >= (v->cr[0x0a] & 0x1fu) && line <= (v->cr[0x0b] & 0x1fu))
                bits = 0x1ff;
            uint32_t *to = pixels + (size_t)y * width + column * dots;
            for (unsigned x = 0; x < dots; x++)
                to[x] = bits & (0x100u >> x) ? front : back;
        }
    }
}

static void draw_planes(const Vga *v, uint32_t *pixels, uint32_t width, uint32_t height)
{
    uint32_t colours[16];
    palette(v, colours);
    unsigned start = v->cr[0x0c] << 8 | v->cr[0x0d], shift = address_shift(v);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            unsigned address = (start + y * v->cr[0x13] * 2u + x / 8) << shift;
            const uint8_t *b = v->vram + 4 * (address % VGA_PLANE_SIZE);
            unsigned index = 0;
            for (unsigned p = 0; p < 4; p++)
                index |= (b[p] >> (7 - x % 8) & 1u) << p;
            *pixels++ = colours[index & v->ar[0x12] & 0x0f];
        }
    }
}

static void draw_bytes(const Vga *v, uint32_t *pixels, uint32_t width, uint32_t height)
{
    unsigned start = v->cr[0x0c] << 8 | v->cr[0x0d], shift = address_shift(v);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            unsigned address = (start + y * v->cr[0x13] * 2u + x / 4) << shift;
            *pixels++ = dac(v, v->vram[4 * (address % VGA_PLANE_SIZE) + x % 4]);
        }
    }
}

void vga_draw(const Vga *v, uint32_t *pixels, uint32_t width, uint32_t height)
{
    if (vga_is_text(v))
        draw_text(v, pixels, width, height);
    else if (v->gr[0x05] & 0x40)
        draw_bytes(v, pixels, width, height);
    else
        draw_planes(v, pixels, width, height);
}
