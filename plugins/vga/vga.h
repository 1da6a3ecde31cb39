/*
 * vga.h - what the parts of the VGA share.
 *
 * A pure core: registers, memory and picture know nothing of the host.  Register names are
 * those of IBM's VGA documentation: SR sequencer, GR graphics controller, CR CRT controller,
 * AR attribute controller, each with its index in hexadecimal.
 */
#ifndef VGA_H
#define VGA_H

#include <stdbool.h>
#include <stdint.h>

enum {
    VGA_SR_COUNT = 5,
    VGA_GR_COUNT = 9,
    VGA_CR_COUNT = 25,
    VGA_AR_COUNT = 21,

    VGA_PLANE_SIZE = 0x10000,
    VGA_WINDOW_SIZE = 0x20000, /* 0xa0000..0xbffff */

    VGA_FONT_HEIGHT = 16,
    VGA_FONT_SLOT = 32, /* bytes of a character in plane 2 */

    /* ports, from 0x3c0 */
    VGA_AR_INDEX = 0x00,
    VGA_AR_READ = 0x01,
    VGA_MISC_WRITE = 0x02, /* read: input status 0 */
    VGA_SR_INDEX = 0x04,
    VGA_SR_DATA = 0x05,
    VGA_PEL_MASK = 0x06,
    VGA_PEL_READ = 0x07, /* read: DAC state */
    VGA_PEL_WRITE = 0x08,
    VGA_PEL_DATA = 0x09,
    VGA_FEATURE_READ = 0x0a,
    VGA_MISC_READ = 0x0c,
    VGA_GR_INDEX = 0x0e,
    VGA_GR_DATA = 0x0f,
    VGA_CR_INDEX = 0x14, /* 0x04 of the ports from 0x3b0 */
    VGA_CR_DATA = 0x15,
    VGA_STATUS1 = 0x1a, /* write: feature control */

    MISC_COLOUR = 1 << 0, /* CRTC and status 1 at 0x3dX, else 0x3bX */
    MISC_RAM = 1 << 1,    /* the CPU reaches the memory */

    STATUS1_DISABLED = 1 << 0, /* no picture is drawn now: border or retrace */
    STATUS1_RETRACE = 1 << 3,  /* vertical retrace */
};

typedef struct Vga {
    uint8_t misc, feature;
    uint8_t sr_index, sr[VGA_SR_COUNT];
    uint8_t gr_index, gr[VGA_GR_COUNT];
    uint8_t cr_index, cr[VGA_CR_COUNT];
    uint8_t ar_index, ar[VGA_AR_COUNT];
    bool ar_data;  /* the next write to VGA_AR_INDEX is data */
    bool ar_video; /* index bit 5: the picture is on */
    uint8_t pel_mask, pel_read, pel_write, pel_part; /* part: 0 red, 1 green, 2 blue */
    bool pel_reading;
    uint8_t pel_held[2];
    uint8_t pel[256 * 3]; /* 6 bits each */
    uint8_t latch[4];
    uint8_t vram[VGA_PLANE_SIZE * 4]; /* byte a of plane p is at 4 * a + p */
} Vga;

typedef struct VgaText {
    unsigned columns, rows, height; /* height of a character, scan lines */
    unsigned start, pitch;          /* in characters */
    unsigned shift;                 /* address in a plane: character << shift */
} VgaText;

/* vga-core.c */
void vga_reset(Vga *v); /* 80x25, as a video BIOS leaves it */
uint8_t vga_port_read(Vga *v, unsigned port, int64_t now);
void vga_port_write(Vga *v, unsigned port, uint8_t value);
uint8_t vga_memory_read(Vga *v, uint32_t offset);
void vga_memory_write(Vga *v, uint32_t offset, uint8_t value);
void vga_check(Vga *v); /* after loading */

/* picture.c */
bool vga_is_text(const Vga *v);
void vga_text_layout(const Vga *v, VgaText *t);
uint16_t vga_text_cell(const Vga *v, const VgaText *t, unsigned column, unsigned row);
bool vga_cursor(const Vga *v, const VgaText *t, unsigned *column, unsigned *row);
void vga_extent(const Vga *v, uint32_t *width, uint32_t *height);
void vga_draw(const Vga *v, uint32_t *pixels, uint32_t width, uint32_t height);

/* font.c */
void vga_font_glyph(uint8_t code, uint8_t rows[VGA_FONT_HEIGHT]);

#endif
