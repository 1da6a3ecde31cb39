/*
 * core/display-private.h - what the display files share.
 */
#ifndef VMR_CORE_DISPLAY_PRIVATE_H
#define VMR_CORE_DISPLAY_PRIVATE_H

#include "display.h"

typedef enum VmrDisplayType {
    VMR_DISPLAY_PNG,
    VMR_DISPLAY_TEXT,
    VMR_DISPLAY_TERMINAL,
} VmrDisplayType;

typedef struct VmrDisplayTerminal VmrDisplayTerminal;

struct VmrDisplay {
    VmrMachine *machine;
    const VmrSection *section;
    struct {
        uint32_t type;
        const char *file, *keyboard;
        uint32_t refresh;
    } options;
    VmrDevice *device;
    const VmrDisplaySource *source; /* NULL: nothing is attached */
    VmrDisplayTerminal *terminal;
};

/* display-image.c: width * height pixels of 0x00RRGGBB. */
bool vmr_image_write(FILE *to, const char *path, const uint32_t *pixels, uint32_t width,
                     uint32_t height, GError **error);
bool vmr_image_is_path(const char *path); /* does the name end as a picture's? */

/* display-text.c */
void vmr_text_append(GString *to, const VmrTextScreen *screen); /* lines in UTF-8 */
gunichar vmr_text_unicode(uint8_t code);                        /* of code page 437 */
/* The screen now; false: there is no text.  Takes the domain lock. */
bool vmr_display_take_text(VmrDisplay *d, VmrTextScreen *screen);

/* display-terminal.c */
bool vmr_display_terminal_open(VmrDisplay *d, GError **error);
void vmr_display_terminal_close(VmrDisplay *d);

/* display-keys.c: keys of a PC's keyboard (Linux's codes), typed for characters. */
typedef struct VmrKeyTyper {
    uint8_t escape[8]; /* an escape sequence so far */
    unsigned escape_len;
    GArray *events;    /* uint16_t: key code, 0x8000 = up */
} VmrKeyTyper;
void vmr_keys_type(VmrKeyTyper *t, const uint8_t *bytes, size_t len);
void vmr_keys_flush(VmrKeyTyper *t); /* no more bytes for now: a lone ESC is the key */

#endif
