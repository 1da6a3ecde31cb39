/*
 * vga - an IBM VGA: text modes, 16 and 256 colours, on the ISA bus.
 *
 * After IBM's PS/2 Hardware Interface Technical Reference, Video Subsystem.  There is no
 * video BIOS: a reset leaves mode 3 (80x25 text) with its font and colours, as one would.
 * Leaves out the vertical interrupt, CGA's interleaved modes, panning, split screens, and
 * Super VGA.  The parts: vga-core.c registers and memory, picture.c, font.c.
 */
#include "vga.h"

#include <string.h>

#include <vmrun/describe.h>
#include <vmrun/display.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

typedef struct VgaDevice {
    VmrDevice dev;
    VmrDisplay *display; /* property */
    Vga vga;
} VgaDevice;

static Vga *core(VmrDevice *dev)
{
    return &((VgaDevice *)dev)->vga;
}

/* ---- glue -------------------------------------------------------------- */

/* The CRT controller and status 1 are at 0x3dX or at 0x3bX, as MISC_COLOUR says. */
static bool is_moved(unsigned port)
{
    return port == VGA_CR_INDEX || port == VGA_CR_DATA || port == VGA_STATUS1;
}

static uint64_t regs_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    Vga *v = core(dev);
    if (is_moved((unsigned)offset) && !(v->misc & MISC_COLOUR))
        return 0xff;
    return vga_port_read(v, (unsigned)offset, vmr_clock_now(dev, VMR_CLOCK_VIRTUAL));
}

static void regs_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Vga *v = core(dev);
    if (!is_moved((unsigned)offset) || (v->misc & MISC_COLOUR))
        vga_port_write(v, (unsigned)offset, (uint8_t)value);
}

static uint64_t mono_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    Vga *v = core(dev);
    unsigned port = (unsigned)offset + 0x10;
    if (!is_moved(port) || (v->misc & MISC_COLOUR))
        return 0xff;
    return vga_port_read(v, port, vmr_clock_now(dev, VMR_CLOCK_VIRTUAL));
}

static void mono_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Vga *v = core(dev);
    unsigned port = (unsigned)offset + 0x10;
    if (is_moved(port) && !(v->misc & MISC_COLOUR))
        vga_port_write(v, port, (uint8_t)value);
}

static uint64_t window_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return vga_memory_read(core(dev), (uint32_t)offset);
}

static void window_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    vga_memory_write(core(dev), (uint32_t)offset, (uint8_t)value);
}

/* ---- display ----------------------------------------------------------- */

static void show_extent(VmrDevice *dev, uint32_t *width, uint32_t *height)
{
    vga_extent(core(dev), width, height);
}

static void show_draw(VmrDevice *dev, uint32_t *pixels, uint32_t width, uint32_t height)
{
    uint32_t w, h;
    vga_extent(core(dev), &w, &h);
    if (w == width && h == height)
        vga_draw(core(dev), pixels, width, height);
}

static bool show_text(VmrDevice *dev, VmrTextScreen *screen)
{
    const Vga *v = core(dev);
    uint32_t w, h;
    VgaText t;
    vga_extent(v, &w, &h);
    if (!w || !vga_is_text(v))
        return false;
    vga_text_layout(v, &t);
    screen->columns = MIN(t.columns, VMR_TEXT_COLUMNS_MAX);
    screen->rows = MIN(t.rows, VMR_TEXT_ROWS_MAX);
    for (unsigned row = 0; row < screen->rows; row++)
        for (unsigned column = 0; column < screen->columns; column++)
            screen->cells[row * screen->columns + column] = vga_text_cell(v, &t, column, row);
    screen->cursor_column = screen->cursor_row = 0;
    screen->cursor = vga_cursor(v, &t, &screen->cursor_column, &screen->cursor_row) &&
                     screen->cursor_column < screen->columns && screen->cursor_row < screen->rows;
    return true;
}

static const VmrDisplaySource vga_source = {
    .size = sizeof(VmrDisplaySource),
    .extent = show_extent,
    .draw = show_draw,
    .text = show_text,
};

/* ---- life -------------------------------------------------------------- */

static bool vga_realize(VmrDevice *dev, GError **error)
{
    vga_reset(core(dev));
    vmr_display_attach(dev, ((VgaDevice *)dev)->display, &vga_source);
    return true;
}

static void vga_unrealize(VmrDevice *dev)
{
    vmr_display_attach(dev, ((VgaDevice *)dev)->display, NULL);
}

static void vga_device_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    if (phase == VMR_RESET_ENTER)
        vga_reset(core(dev));
}

static bool vga_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    vga_check(core(dev));
    return true;
}

static const VmrProperty vga_properties[] = {
    {
        .name = "display",
        .type = VMR_PROP_DISPLAY,
        .offset = offsetof(VgaDevice, display),
        .doc = "where the screen is shown: the NAME of a [display NAME]",
    },
    {0},
};

static const VmrRegion vga_regions[] = {
    {
        .name = "regs",
        .kind = VMR_REGION_PIO,
        .size = 0x20,
        .impl_min = 1,
        .impl_max = 1,
        .read = regs_read,
        .write = regs_write,
        .doc = "all registers, at 0x3c0 of a PC",
    },
    {
        .name = "mono",
        .kind = VMR_REGION_PIO,
        .flags = VMR_REGION_OPTIONAL,
        .size = 0x0c,
        .impl_min = 1,
        .impl_max = 1,
        .read = mono_read,
        .write = mono_write,
        .doc = "at 0x3b0 of a PC: CRT controller and status 1 in monochrome modes",
    },
    {
        .name = "window",
        .kind = VMR_REGION_MMIO,
        .size = VGA_WINDOW_SIZE,
        .impl_min = 1,
        .impl_max = 1,
        .read = window_read,
        .write = window_write,
        .doc = "the memory, at 0xa0000 of a PC; text is 0x18000 into it",
    },
    {0},
};

static const VmrField vga_fields[] = {
    VMR_FIELD(U8, VgaDevice, vga.misc),
    VMR_FIELD(U8, VgaDevice, vga.feature),
    VMR_FIELD(U8, VgaDevice, vga.sr_index),
    VMR_FIELD_N(U8, VgaDevice, vga.sr, VGA_SR_COUNT),
    VMR_FIELD(U8, VgaDevice, vga.gr_index),
    VMR_FIELD_N(U8, VgaDevice, vga.gr, VGA_GR_COUNT),
    VMR_FIELD(U8, VgaDevice, vga.cr_index),
    VMR_FIELD_N(U8, VgaDevice, vga.cr, VGA_CR_COUNT),
    VMR_FIELD(U8, VgaDevice, vga.ar_index),
    VMR_FIELD_N(U8, VgaDevice, vga.ar, VGA_AR_COUNT),
    VMR_FIELD(BOOL, VgaDevice, vga.ar_data),
    VMR_FIELD(BOOL, VgaDevice, vga.ar_video),
    VMR_FIELD(U8, VgaDevice, vga.pel_mask),
    VMR_FIELD(U8, VgaDevice, vga.pel_read),
    VMR_FIELD(U8, VgaDevice, vga.pel_write),
    VMR_FIELD(U8, VgaDevice, vga.pel_part),
    VMR_FIELD(BOOL, VgaDevice, vga.pel_reading),
    VMR_FIELD_N(U8, VgaDevice, vga.pel_held, 2),
    VMR_FIELD_N(U8, VgaDevice, vga.pel, 256 * 3),
    VMR_FIELD_N(U8, VgaDevice, vga.latch, 4),
    VMR_FIELD_N(U8, VgaDevice, vga.vram, VGA_PLANE_SIZE * 4),
    {0},
};

static const VmrDeviceClass vga_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "vga",
    .summary = "VGA: text screen, 16 and 256 colours",
    .doc = "A reset leaves 80x25 text at 0xb8000 with a font and colours, as a video BIOS would.\n"
           "What it shows goes to a [display NAME], whenever that asks.  The font is vmrun's own:\n"
           "ASCII and the line drawings of code page 437; a guest may load another.",
    .instance_size = sizeof(VgaDevice),
    .properties = vga_properties,
    .regions = vga_regions,
    .fields = vga_fields,
    .realize = vga_realize,
    .unrealize = vga_unrealize,
    .reset = vga_device_reset,
    .post_load = vga_post_load,
};

VMR_PLUGIN_DEVICE("vga", "1.0", &vga_class);
