/*
 * vmrun/input.h - interfaces by which a user's input reaches a device.
 *
 * Offered by input devices through get_interface(), used by displays, the
 * monitor and tests.  Devices may add none, one or both.
 */
#ifndef VMRUN_INPUT_H
#define VMRUN_INPUT_H

#include <vmrun/device.h>

#define VMR_KEYBOARD "vmr.keyboard/1"

enum {
    VMR_LED_SCROLL = 1 << 0,
    VMR_LED_NUM = 1 << 1,
    VMR_LED_CAPS = 1 << 2,
};

typedef struct VmrKeyboardInterface {
    uint32_t size; /* sizeof(VmrKeyboardInterface) */
    /* A key goes down or up.  `code` is Linux's key code (evdev: KEY_ESC = 1, KEY_A = 30), which
       names the key's place rather than its letter.  A key that goes down again is a repeat.
       False: the device has no such key, does not listen, or its buffer is full.  [io] */
    bool (*key)(VmrDevice *dev, uint16_t code, bool down);
    /* VMR_LED_*, as the guest has set them.  [io] */
    unsigned (*leds)(VmrDevice *dev);
} VmrKeyboardInterface;

#define VMR_MOUSE "vmr.mouse/1"

enum {
    VMR_BUTTON_LEFT = 1 << 0,
    VMR_BUTTON_RIGHT = 1 << 1,
    VMR_BUTTON_MIDDLE = 1 << 2,
};

typedef struct VmrMouseInterface {
    uint32_t size; /* sizeof(VmrMouseInterface) */
    /* Moved by dx to the right and dy down, with these VMR_BUTTON_* held.  [io] */
    void (*move)(VmrDevice *dev, int dx, int dy, unsigned buttons);
} VmrMouseInterface;

#endif
