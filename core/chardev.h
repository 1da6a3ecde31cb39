/*
 * core/chardev.h - character back ends: [chardev NAME].
 *
 * A back end takes the bytes that a device writes and gives it those that come
 * in.  All state is under the machine's domain lock; nothing here blocks.
 * Nothing is opened before vmr_chardevs_open(), so that --check and --describe
 * touch neither files nor the terminal.
 */
#ifndef VMR_CORE_CHARDEV_H
#define VMR_CORE_CHARDEV_H

#include "config.h"
#include "machine.h"

/* What a machine file may say of a back end; each type uses some. */
typedef struct VmrChardevOptions {
    const char *path;   /* file, unix */
    const char *input;  /* file */
    bool append;        /* file */
    bool listen;        /* unix */
    bool escape;        /* stdio */
} VmrChardevOptions;

typedef struct VmrChardevClass {
    const char *type; /* `type =` of the section */
    const char *summary;
    const char *doc;
    const VmrProperty *properties; /* offsets into VmrChardevOptions; beside "type" */
    uint32_t instance_size;
    bool (*open)(VmrChardev *c, GError **error);
    void (*close)(VmrChardev *c); /* gives back all that open took; may be called without it */
} VmrChardevClass;

/* NULL-terminated: --list backends, --describe. */
extern const VmrChardevClass *const vmr_chardev_classes[];

/* From a [chardev NAME] section; NULL with errors noted.  The machine owns it.  [main] */
VmrChardev *vmr_chardev_new(VmrMachine *machine, const VmrSection *section, VmrErrors *errors);
/* The same from options, whose strings are copied. */
VmrChardev *vmr_chardev_make(VmrMachine *machine, const char *name, const VmrChardevClass *klass,
                             const VmrChardevOptions *options);
const char *vmr_chardev_name(const VmrChardev *c);
/* The device that reads it, or NULL. */
VmrDevice *vmr_chardev_device(const VmrChardev *c);

/* Of all of a machine's back ends.  close: waits at most `flush_ms` for what is unwritten. */
bool vmr_chardevs_open(VmrMachine *machine, GError **error);
void vmr_chardevs_close(VmrMachine *machine, unsigned flush_ms);
void vmr_chardevs_free(VmrMachine *machine);

/* VmrHost's. */
void vmr_chardev_host_attach(VmrDevice *dev, VmrChardev *c, const VmrChardevHandler *handler);
unsigned vmr_chardev_host_write(VmrChardev *c, const uint8_t *data, unsigned len);
void vmr_chardev_host_accept_input(VmrChardev *c);

/* The terminal as it was before stdio took it; safe in a signal handler, safe to repeat. */
void vmr_terminal_restore(void);

#endif
