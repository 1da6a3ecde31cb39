/*
 * vmrun/display.h - how a device shows its screen: what a [display NAME] back end pulls.
 *
 * A back end asks when it wants a picture or a text; nothing is pushed.  A device
 * has a property of type VMR_PROP_DISPLAY and calls vmr_display_attach() in realize.
 */
#ifndef VMRUN_DISPLAY_H
#define VMRUN_DISPLAY_H

#include <vmrun/device.h>

enum {
    VMR_TEXT_COLUMNS_MAX = 160,
    VMR_TEXT_ROWS_MAX = 100,
    VMR_DISPLAY_WIDTH_MAX = 8192, /* pixels; a larger picture is not asked for */
    VMR_DISPLAY_HEIGHT_MAX = 8192,
};

typedef struct VmrTextScreen {
    uint32_t columns, rows;
    bool cursor; /* it is shown, at: */
    uint32_t cursor_column, cursor_row;
    /* rows * columns.  Bits 7:0 are a character of code page 437, 11:8 the foreground, 14:12
       the background, in the PC's order of colours (1 is blue, 4 is red); 15: as the device
       says, brighter or blinking. */
    uint16_t cells[VMR_TEXT_COLUMNS_MAX * VMR_TEXT_ROWS_MAX];
} VmrTextScreen;

/* All [io].  The tables are constant over the device's life. */
typedef struct VmrDisplaySource {
    uint32_t size; /* sizeof(VmrDisplaySource) */
    /* The picture in pixels; 0 by 0 while nothing is shown. */
    void (*extent)(VmrDevice *dev, uint32_t *width, uint32_t *height);
    /* Into width * height pixels of 0x00RRGGBB, as extent() has said just before. */
    void (*draw)(VmrDevice *dev, uint32_t *pixels, uint32_t width, uint32_t height);
    /* False: there are pixels only.  NULL: always so. */
    bool (*text)(VmrDevice *dev, VmrTextScreen *screen);
} VmrDisplaySource;

#endif
