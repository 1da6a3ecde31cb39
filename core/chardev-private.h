/*
 * core/chardev-private.h - what chardev.c and the types share.
 */
#ifndef VMR_CORE_CHARDEV_PRIVATE_H
#define VMR_CORE_CHARDEV_PRIVATE_H

#include "chardev.h"

#include <glib-unix.h>

enum { VMR_CHARDEV_IN = 4096, VMR_CHARDEV_OUT = 65536 };

/* All under the machine's domain lock. */
struct VmrChardev {
    const VmrChardevClass *klass;
    VmrMachine *machine;
    char *name;
    VmrChardevOptions options; /* strings owned */
    VmrDevice *device;
    const VmrChardevHandler *handler;
    bool opened;

    int in_fd, out_fd;     /* -1: none; may be the same; owned by the stream */
    GSource *in_source, *out_source;
    uint8_t in[VMR_CHARDEV_IN];
    unsigned in_len;
    bool reading; /* in_fd has not come to its end */
    bool delivering, owes_writable;
    GByteArray *out;

    /* What the type does with input first: returns how much of it is left, at `data`. */
    unsigned (*filter)(VmrChardev *c, uint8_t *data, unsigned len);
    bool drop_input; /* read on when nobody takes it: filter() must see all */
    void (*hangup)(VmrChardev *c); /* EOF or an error of in_fd, or of out_fd; may be NULL */
};

/* Start to read in_fd and write out_fd, both non-blocking (or plain files). */
void vmr_chardev_stream(VmrChardev *c, int in_fd, int out_fd);
/* Stop and close them; what is unwritten is lost. */
void vmr_chardev_stream_end(VmrChardev *c);
void vmr_chardev_event(VmrChardev *c, VmrChardevEvent event);
/* A source in the machine's loop whose callback the caller locks; destroy with ..._source_end. */
GSource *vmr_chardev_source(VmrChardev *c, int fd, GIOCondition condition, GUnixFDSourceFunc fn);
void vmr_chardev_source_end(GSource **source);

/* chardev-stdio.c: standard input or output as a descriptor of our own that does not block, or -1;
   and, once all of them are closed, the flags as they were before. */
int vmr_stdio_own(int fd);
void vmr_stdio_give_back(void);

/* terminal.c */
void vmr_terminal_raw(int fd);
void vmr_terminal_release(void); /* restored for good */

extern const VmrChardevClass vmr_chardev_stdio, vmr_chardev_file, vmr_chardev_unix, vmr_chardev_pty,
    vmr_chardev_null;

#endif
