/*
 * core/net.h - [net NAME]: network back ends as machine files and devices see them.
 *
 * Opened when the machine is realized, so that --check touches nothing.  From then
 * on all of it runs under the machine's domain lock.
 */
#ifndef VMR_CORE_NET_H
#define VMR_CORE_NET_H

#include "config.h"
#include "machine.h"

typedef struct VmrNetClass {
    const char *type; /* `type =` of the section */
    const char *summary;
    const char *doc;
    const char *missing; /* why this vmrun cannot have it; NULL: it can */
    const VmrProperty *properties; /* VMR_NET_PROPERTIES first; offsets into the instance */
    uint32_t instance_size;
    uint32_t takes, gives; /* VmrNetInfo's; open() may change those of the instance */
    /* What a file may have wrong beyond the table; NULL-able. */
    void (*check)(VmrNet *n, const VmrSection *section, VmrErrors *errors);
    bool (*open)(VmrNet *n, GError **error);
    void (*close)(VmrNet *n); /* gives back all that open took, even half of it */
    /* false: no room; it calls vmr_net_writable() then. */
    bool (*send)(VmrNet *n, const VmrNetFrame *frame);
    void (*offloads)(VmrNet *n, uint32_t wanted); /* NULL-able */
    /* One frame of n->fd to vmr_net_deliver(); false: there is none. */
    bool (*receive)(VmrNet *n);
    void (*accepted)(VmrNet *n); /* no frame waits for the device any more; NULL-able */
    void (*free)(VmrNet *n); /* what check() took; NULL-able */
} VmrNetClass;

/* NULL-terminated: --list backends, --describe. */
extern const VmrNetClass *const vmr_net_classes[];
const VmrNetClass *vmr_net_class(const char *type); /* or NULL */

/* From a section; NULL with errors noted.  The machine owns it.  [main] */
VmrNet *vmr_net_new(VmrMachine *machine, const VmrSection *section, VmrErrors *errors);
/* All of a machine's. */
bool vmr_nets_open(VmrMachine *machine, GError **error);
void vmr_nets_free(VmrMachine *machine);

/* VmrHost's. */
bool vmr_net_host_attach(VmrDevice *dev, VmrNet *net, const VmrNetHandler *handler,
                         VmrNetInfo *info, GError **error);
void vmr_net_host_offloads(VmrDevice *dev, VmrNet *net, uint32_t wanted);
bool vmr_net_host_send(VmrDevice *dev, VmrNet *net, const VmrNetFrame *frame);
void vmr_net_host_accept(VmrDevice *dev, VmrNet *net);

/* ---- for the types ---------------------------------------------------- */

typedef struct VmrPcap VmrPcap; /* net-pcap.c */

struct VmrNet {
    const VmrNetClass *klass;
    VmrMachine *machine;
    const VmrSection *section;
    /* properties */
    const char *type, *pcap_file;
    bool link;

    uint32_t takes, gives;
    uint32_t wanted; /* of gives: what the device takes now */
    bool opened;
    VmrDevice *device;
    const VmrNetHandler *handler;
    GQueue waiting; /* frames that the device had no room for */
    bool delivering;
    bool owes_writable;
    bool captured; /* the frame that there was no room for */
    uint64_t dropped;
    VmrPcap *pcap;

    int fd; /* -1: none */
    GSource *reader, *writer;
};

#define VMR_NET_PROPERTIES                                                                         \
    {.name = "type", .type = VMR_PROP_STRING, .flags = VMR_PROP_REQUIRED,                          \
     .offset = offsetof(VmrNet, type), .doc = "Which kind of network it is"},                      \
    {.name = "pcap", .type = VMR_PROP_PATH, .offset = offsetof(VmrNet, pcap_file),                 \
     .doc = "Write all frames into this file, for Wireshark and tcpdump"},                         \
    {.name = "link", .type = VMR_PROP_BOOL, .offset = offsetof(VmrNet, link),                      \
     .default_text = "on", .doc = "The cable is in; off: no frame goes either way"}

/* A frame for the guest.  Kept if the device has no room, dropped if too many are kept. */
void vmr_net_deliver(VmrNet *n, const VmrNetFrame *frame);
void vmr_net_deliver_bytes(VmrNet *n, const void *data, size_t length);

typedef struct VmrNetMerge VmrNetMerge; /* net-merge.c */

/* As vmr_net_deliver_bytes(), but TCP segments may be held, to become one frame with those that
   follow, until vmr_net_merge_end().  For a back end that gives VMR_NET_CHECKSUM, and VMR_NET_TCP4. */
VmrNetMerge *vmr_net_merge_new(VmrNet *n); /* g_free() */
void vmr_net_merge(VmrNetMerge *m, const uint8_t *data, size_t length);
void vmr_net_merge_end(VmrNetMerge *m);

/* Do frames wait for the device?  Better fetch no more, then. */
bool vmr_net_waits(const VmrNet *n);
/* Read n->fd from now on, whenever the device has room; tell the device when it is writable. */
void vmr_net_read(VmrNet *n);
void vmr_net_want_writable(VmrNet *n);
void vmr_net_writable(VmrNet *n);
/* Close n->fd and its sources. */
void vmr_net_end(VmrNet *n);
size_t vmr_net_length(const VmrNetFrame *frame);
/* The frame's bytes in one piece of vmr_net_length() bytes. */
void vmr_net_flatten(const VmrNetFrame *frame, uint8_t *to);

/* A capture; NULL with an error.  Frames of any thread that holds the domain lock. */
VmrPcap *vmr_pcap_new(const char *path, GError **error);
void vmr_pcap_frame(VmrPcap *p, const VmrNetFrame *frame); /* NULL-safe */
void vmr_pcap_free(VmrPcap *p);

extern const VmrNetClass vmr_net_user, vmr_net_socket, vmr_net_tap;

#endif
