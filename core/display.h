/*
 * core/display.h - [display NAME]: where a device's screen is shown.
 *
 *   png       a picture, written when it is asked for: at the end, by SIGUSR2, by the monitor
 *   text      the same as text
 *   terminal  the text screen in the terminal, whose keys go to the machine's keyboard
 *
 * A display pulls from its device (vmrun/display.h), under the machine's domain lock.
 */
#ifndef VMR_CORE_DISPLAY_H
#define VMR_CORE_DISPLAY_H

#include "config.h"
#include "machine.h"
#include <vmrun/display.h>

/* What a section may say; for --describe display and the man page. */
extern const VmrProperty vmr_display_properties[];

/* From a section; NULL with errors noted.  The machine owns it.  [main] */
VmrDisplay *vmr_display_new(VmrMachine *machine, const VmrSection *section, VmrErrors *errors);
const char *vmr_display_name(const VmrDisplay *d);
/* Of all of a machine's displays.  [main], without the domain lock */
bool vmr_displays_open(VmrMachine *machine, GError **error);
/* Is there one that shows in the terminal? */
bool vmr_displays_take_terminal(const VmrMachine *machine);
void vmr_displays_dump(VmrMachine *machine); /* to the files that they name */
void vmr_displays_close(VmrMachine *machine);
void vmr_displays_free(VmrMachine *machine);

/* The screen into a file: .png or .ppm as a picture, all else as text ("-": to standard output).
   The file appears when it is whole.  [main] */
bool vmr_display_screendump(VmrDisplay *d, const char *path, GError **error);

/* VmrHost's. */
void vmr_display_host_attach(VmrDevice *dev, VmrDisplay *d, const VmrDisplaySource *source);

#endif
