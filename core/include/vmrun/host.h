/*
 * vmrun/host.h - what a device may ask of its host.
 *
 * The host is a vtable, not symbols to link: vmrun, the validator, unit tests
 * and fuzzers are all hosts.  The inline wrappers below make it read like a
 * library.  A wrapper of a function that was added in a later minor checks the
 * table's size first.
 */
#ifndef VMRUN_HOST_H
#define VMRUN_HOST_H

#include <stdarg.h>
#include <vmrun/device.h>
#include <vmrun/display.h>

typedef struct VmrTimer VmrTimer;
typedef struct VmrWatch VmrWatch;
typedef struct VmrDrive VmrDrive; /* a block back end, opaque */
typedef struct VmrNet VmrNet; /* a network back end, opaque */
typedef struct VmrDisplay VmrDisplay; /* where a screen is shown, opaque */
typedef struct VmrCpu VmrCpu; /* a vCPU, opaque; interfaces in vmrun/x86.h and its like */

typedef enum VmrResult {
    VMR_OK = 0,
    VMR_ERR_UNASSIGNED, /* nothing answers at (part of) the range */
    VMR_ERR_ACCESS,     /* it answers, but not to this kind of access */
    VMR_ERR_BOUNDS,     /* wraps, or is larger than the host's bound */
} VmrResult;

typedef enum VmrClock {
    VMR_CLOCK_VIRTUAL, /* ns since the machine was made; stands still while the guest does */
    VMR_CLOCK_WALL,    /* ns since 1970-01-01T00:00:00Z, as the host has it */
} VmrClock;

typedef enum VmrLogLevel {
    VMR_LOG_ERROR, /* the host's fault: shown to the user */
    VMR_LOG_WARNING,
    VMR_LOG_INFO,
    VMR_LOG_GUEST_ERROR, /* the guest did what the specification forbids: counted and traced */
    VMR_LOG_UNIMPLEMENTED, /* the guest used what the device leaves out: counted and traced */
} VmrLogLevel;

typedef enum VmrRequest {
    VMR_REQUEST_POWEROFF, /* orderly end, exit status 0 */
    VMR_REQUEST_RESET,    /* a warm reset of the whole machine */
    VMR_REQUEST_EXIT,     /* end with `code` as exit status */
    VMR_REQUEST_CRASHED,  /* the guest said that it panicked: exit status 3 */
} VmrRequest;

typedef void VmrTimerFired(VmrDevice *dev);                       /* [io] */
typedef void VmrWatchReady(VmrDevice *dev, int fd, unsigned cond); /* [io]; cond: G_IO_* */
typedef void VmrWork(void *data);                                 /* on a pool thread, no lock */
typedef void VmrWorkDone(VmrDevice *dev, void *data);             /* [io] */

typedef enum VmrChardevEvent { VMR_CHARDEV_OPENED, VMR_CHARDEV_CLOSED, VMR_CHARDEV_BREAK } VmrChardevEvent;

/* How a device takes input from a character back end.  All [io]. */
typedef struct VmrChardevHandler {
    uint32_t size; /* sizeof(VmrChardevHandler) */
    /* How many bytes the device can take now; 0 holds the back end back until
       vmr_chardev_accept_input(). */
    unsigned (*can_receive)(VmrDevice *dev);
    void (*receive)(VmrDevice *dev, const uint8_t *data, unsigned len);
    void (*event)(VmrDevice *dev, VmrChardevEvent event); /* may be NULL */
    void (*writable)(VmrDevice *dev); /* after a short write; may be NULL */
} VmrChardevHandler;

typedef struct VmrMemoryRange {
    uint64_t base, size; /* bytes */
} VmrMemoryRange;

typedef enum VmrSpaceId { VMR_SPACE_MEMORY, VMR_SPACE_IO } VmrSpaceId;

/* ---- drives (ABI minor 1) ---- */

typedef struct VmrDriveInfo {
    uint32_t size;           /* sizeof(VmrDriveInfo), set by the caller */
    uint32_t logical_block;  /* bytes: offsets and lengths are multiples of it */
    uint64_t bytes;          /* capacity, a multiple of logical_block */
    uint32_t physical_block; /* bytes: what is written without a read before */
    bool read_only;
    bool volatile_cache;     /* what is written is safe only after a FLUSH */
    bool discard;            /* DISCARD gives room back */
    uint8_t reserved;
    const char *name;        /* the NAME of [drive NAME] */
    const char *serial;      /* at most 20 characters, or NULL */
} VmrDriveInfo;

typedef enum VmrDriveOp {
    VMR_DRIVE_READ,
    VMR_DRIVE_WRITE,
    VMR_DRIVE_FLUSH,        /* all that was done before is safe when this is done */
    VMR_DRIVE_DISCARD,      /* the range's content no longer matters */
    VMR_DRIVE_WRITE_ZEROES, /* the range reads as zeros then */
} VmrDriveOp;

enum {
    VMR_DRIVE_UNMAP = 1u << 0, /* WRITE_ZEROES: may give the room back */
};

typedef struct VmrBuffer {
    void *base;
    size_t len; /* bytes */
} VmrBuffer;

typedef struct VmrDriveRequest VmrDriveRequest;
/* error: 0, or an errno: EIO, ENOSPC, EROFS, EINVAL (out of the drive's bounds).  [io] */
typedef void VmrDriveDone(VmrDevice *dev, VmrDriveRequest *request, int error);

/* Owned by the device, with its buffers, until done() is called. */
struct VmrDriveRequest {
    VmrDriveOp op;
    uint32_t flags;
    uint64_t offset, length;  /* bytes; READ and WRITE: length is what the buffers hold */
    const VmrBuffer *buffers; /* READ, WRITE; may be guest memory of dma_map */
    uint32_t buffer_count;
    int error;                /* the host's */
    VmrDriveDone *done;
    void *host[4];            /* the host's */
};

/* ---- networks (ABI minor 1) ---- */

/* What a side can take in the frames that it is given. */
enum {
    VMR_NET_CHECKSUM = 1u << 0, /* VMR_NET_NEEDS_CHECKSUM and VMR_NET_CHECKED */
    VMR_NET_TCP4 = 1u << 1,     /* TCP over IPv4 that is still to be cut into segments */
    VMR_NET_TCP6 = 1u << 2,
    VMR_NET_ECN = 1u << 3, /* such segments with ECN bits */
};

enum {
    VMR_NET_NEEDS_CHECKSUM = 1u << 0, /* from checksum_start on, to be stored checksum_offset on */
    VMR_NET_CHECKED = 1u << 1,        /* the checksums are known to be right */
    VMR_NET_HAS_ECN = 1u << 2,
};

typedef enum VmrNetSegments { VMR_NET_WHOLE, VMR_NET_SEGMENT_TCP4, VMR_NET_SEGMENT_TCP6 } VmrNetSegments;

enum { VMR_NET_FRAME_MAX = 65536 + 64 }; /* bytes, Ethernet header included, no FCS */

/* An Ethernet frame, and what is still to be done to it. */
typedef struct VmrNetFrame {
    const VmrBuffer *buffers;
    uint32_t buffer_count;
    uint8_t flags;    /* VMR_NET_NEEDS_CHECKSUM, ... */
    uint8_t segments; /* VmrNetSegments */
    uint16_t header_length;   /* bytes before the data; a hint */
    uint16_t segment_size;    /* bytes of data in each segment */
    uint16_t checksum_start;  /* bytes from the frame's start */
    uint16_t checksum_offset; /* bytes from checksum_start */
} VmrNetFrame;

typedef struct VmrNetInfo {
    uint32_t size;     /* sizeof(VmrNetInfo), set by the caller */
    uint32_t takes;    /* VMR_NET_CHECKSUM, ...: in frames that are sent to it */
    uint32_t gives;    /* ...: what it could deliver, once vmr_net_offloads() asks for it */
    bool link;         /* the cable is in */
    uint8_t reserved[3];
    const char *name;  /* the NAME of [net NAME] */
} VmrNetInfo;

/* How a device takes frames from a network.  All [io]. */
typedef struct VmrNetHandler {
    uint32_t size; /* sizeof(VmrNetHandler) */
    /* A frame has come.  false: there is no room, and it will be delivered again after
       vmr_net_accept().  May be called within vmr_net_send(). */
    bool (*receive)(VmrDevice *dev, const VmrNetFrame *frame);
    void (*writable)(VmrDevice *dev);         /* after vmr_net_send() said false */
    void (*link)(VmrDevice *dev, bool up);    /* may be NULL */
} VmrNetHandler;

struct VmrHost {
    uint32_t size; /* sizeof(VmrHost) of the host */
    uint16_t abi_major, abi_minor;

    /* IRQ lines */
    void (*irq_set)(VmrIrq irq, bool level);

    /* DMA, as the device's bus allows it */
    VmrResult (*dma_read)(VmrDevice *dev, uint64_t address, void *buf, size_t len);
    VmrResult (*dma_write)(VmrDevice *dev, uint64_t address, const void *buf, size_t len);
    void *(*dma_map)(VmrDevice *dev, uint64_t address, size_t *len, bool for_write);
    void (*dma_unmap)(VmrDevice *dev, void *p, size_t len, size_t written);

    /* Clocks and timers */
    int64_t (*clock_now)(VmrDevice *dev, VmrClock clock);
    VmrTimer *(*timer_new)(VmrDevice *dev, VmrClock clock, VmrTimerFired *fired);
    void (*timer_set)(VmrTimer *timer, int64_t deadline_ns);
    void (*timer_cancel)(VmrTimer *timer);
    bool (*timer_pending)(VmrTimer *timer, int64_t *deadline_ns);
    void (*timer_free)(VmrTimer *timer);

    /* Event loop and work pool */
    VmrWatch *(*watch_new)(VmrDevice *dev, int fd, unsigned cond, VmrWatchReady *ready);
    void (*watch_free)(VmrWatch *watch);
    void (*work_submit)(VmrDevice *dev, VmrWork *work, VmrWorkDone *done, void *data);

    /* Character back ends */
    void (*chardev_attach)(VmrDevice *dev, VmrChardev *chardev, const VmrChardevHandler *handler);
    unsigned (*chardev_write)(VmrChardev *chardev, const uint8_t *data, unsigned len);
    void (*chardev_accept_input)(VmrChardev *chardev);

    /* The machine */
    void (*request)(VmrDevice *dev, VmrRequest request, uint32_t code);
    unsigned (*cpu_count)(VmrDevice *dev);
    VmrCpu *(*cpu)(VmrDevice *dev, unsigned index);
    const void *(*cpu_interface)(VmrCpu *cpu, const char *id);
    int (*initiator)(VmrDevice *dev);
    unsigned (*ram_ranges)(VmrDevice *dev, VmrMemoryRange *ranges, unsigned max);
    const char *(*machine_value)(VmrDevice *dev, const char *section, const char *key);

    /* Other devices */
    VmrDevice *(*device_next)(VmrDevice *dev, VmrDevice *after);
    const VmrDescription *(*description)(VmrDevice *dev, VmrDevice *of);

    /* Logging and tracing */
    void (*log)(VmrDevice *dev, VmrLogLevel level, const char *format, va_list args);
    bool (*trace_enabled)(VmrDevice *dev);
    void (*trace)(VmrDevice *dev, const char *format, va_list args);

    /* ---- ABI minor 1 ---- */

    /* Regions that a bus places at run time (PCI BARs) */
    VmrResult (*region_map)(VmrDevice *dev, uint32_t region, VmrSpaceId space, uint64_t base,
                            bool enabled);
    bool (*region_placed)(VmrDevice *dev, uint32_t region);

    /* Drives */
    bool (*drive_attach)(VmrDevice *dev, VmrDrive *drive, VmrDriveInfo *info, GError **error);
    void (*drive_submit)(VmrDevice *dev, VmrDrive *drive, VmrDriveRequest *request);
    void (*drive_drain)(VmrDevice *dev, VmrDrive *drive);

    /* Displays */
    void (*display_attach)(VmrDevice *dev, VmrDisplay *display, const VmrDisplaySource *source);

    /* Networks */
    bool (*net_attach)(VmrDevice *dev, VmrNet *net, const VmrNetHandler *handler, VmrNetInfo *info,
                       GError **error);
    void (*net_offloads)(VmrDevice *dev, VmrNet *net, uint32_t wanted);
    bool (*net_send)(VmrDevice *dev, VmrNet *net, const VmrNetFrame *frame);
    void (*net_accept)(VmrDevice *dev, VmrNet *net);

    /* Memory that the guest does not use */
    void (*ram_release)(VmrDevice *dev, uint64_t address, uint64_t length);
};

/* Does the host's table have this member? */
#define VMR_HOST_HAS(dev_, member_)                                                                \
    ((dev_)->host->size >= offsetof(VmrHost, member_) + sizeof((dev_)->host->member_) &&           \
     (dev_)->host->member_)

/* Set the level of an output line.  A zeroed VmrIrq is allowed.  [any] */
static inline void vmr_irq_set(VmrDevice *dev, VmrIrq irq, bool level)
{
    if (irq.sink)
        dev->host->irq_set(irq, level);
}

/*
 * Copy from / to guest physical memory, as this device's bus sees it.
 * Nothing outside the range is touched; on an error an unspecified part of
 * it is.  Writing invalidates translated code and marks pages dirty.  [any]
 */
static inline VmrResult vmr_dma_read(VmrDevice *dev, uint64_t address, void *buf, size_t len)
{
    return dev->host->dma_read(dev, address, buf, len);
}

static inline VmrResult vmr_dma_write(VmrDevice *dev, uint64_t address, const void *buf, size_t len)
{
    return dev->host->dma_write(dev, address, buf, len);
}

/*
 * Borrow guest RAM.  *len is what is wanted and becomes what is contiguous
 * there (at least 1); NULL if the address is not RAM.  The guest may change
 * the bytes at any time: read each once.  Unmap with how many bytes from the
 * start were written.  [any]
 */
static inline void *vmr_dma_map(VmrDevice *dev, uint64_t address, size_t *len, bool for_write)
{
    return dev->host->dma_map(dev, address, len, for_write);
}

static inline void vmr_dma_unmap(VmrDevice *dev, void *p, size_t len, size_t written)
{
    dev->host->dma_unmap(dev, p, len, written);
}

/* The time on a clock, in ns.  [any] */
static inline int64_t vmr_clock_now(VmrDevice *dev, VmrClock clock)
{
    return dev->host->clock_now(dev, clock);
}

/* A timer that is not set.  Owned by the caller: vmr_timer_free().  [main] */
static inline VmrTimer *vmr_timer_new(VmrDevice *dev, VmrClock clock, VmrTimerFired *fired)
{
    return dev->host->timer_new(dev, clock, fired);
}

/* Fire once at `deadline_ns` of the timer's clock; a past deadline fires at once,
   but never within this call.  Replaces an earlier deadline.  [any] */
static inline void vmr_timer_set(VmrDevice *dev, VmrTimer *timer, int64_t deadline_ns)
{
    dev->host->timer_set(timer, deadline_ns);
}

/* After this returns, called [io], the timer does not fire.  [any] */
static inline void vmr_timer_cancel(VmrDevice *dev, VmrTimer *timer)
{
    dev->host->timer_cancel(timer);
}

static inline bool vmr_timer_pending(VmrDevice *dev, VmrTimer *timer, int64_t *deadline_ns)
{
    return dev->host->timer_pending(timer, deadline_ns);
}

static inline void vmr_timer_free(VmrDevice *dev, VmrTimer *timer)
{
    if (timer)
        dev->host->timer_free(timer);
}

/* Call `ready` in the device's domain while `fd` has `cond` (G_IO_IN...).
   The fd stays the caller's.  [main] or [io] */
static inline VmrWatch *vmr_watch_new(VmrDevice *dev, int fd, unsigned cond, VmrWatchReady *ready)
{
    return dev->host->watch_new(dev, fd, cond, ready);
}

static inline void vmr_watch_free(VmrDevice *dev, VmrWatch *watch)
{
    if (watch)
        dev->host->watch_free(watch);
}

/* Run `work` on a pool thread, then `done` in the device's domain.  [any] */
static inline void vmr_work_submit(VmrDevice *dev, VmrWork *work, VmrWorkDone *done, void *data)
{
    dev->host->work_submit(dev, work, done, data);
}

/* Become the reader of a character back end; one device a back end.  NULL-safe.  [main] */
static inline void vmr_chardev_attach(VmrDevice *dev, VmrChardev *c, const VmrChardevHandler *h)
{
    if (c)
        dev->host->chardev_attach(dev, c, h);
}

/* Write without blocking: how many bytes were taken.  A missing back end takes all.  [io] */
static inline unsigned vmr_chardev_write(VmrDevice *dev, VmrChardev *c, const uint8_t *data,
                                         unsigned len)
{
    return c ? dev->host->chardev_write(c, data, len) : len;
}

/* can_receive() may have grown.  NULL-safe.  [io] */
static inline void vmr_chardev_accept_input(VmrDevice *dev, VmrChardev *c)
{
    if (c)
        dev->host->chardev_accept_input(c);
}

/* Ask for power-off, reset, exit: carried out soon, after the current access.  [any] */
static inline void vmr_request(VmrDevice *dev, VmrRequest request, uint32_t code)
{
    dev->host->request(dev, request, code);
}

static inline unsigned vmr_cpu_count(VmrDevice *dev)
{
    return dev->host->cpu_count(dev);
}

/* vCPU `index`, or NULL.  Valid from realize to unrealize.  [any] */
static inline VmrCpu *vmr_cpu(VmrDevice *dev, unsigned index)
{
    return dev->host->cpu(dev, index);
}

/* The table of a vCPU for an interface id (vmrun/x86.h), or NULL.  [any] */
static inline const void *vmr_cpu_interface(VmrDevice *dev, VmrCpu *cpu, const char *id)
{
    return dev->host->cpu_interface(cpu, id);
}

/* Within a region handler: the index of the vCPU that makes the access, or -1
   if a device or the debugger does.  [io] */
static inline int vmr_initiator(VmrDevice *dev)
{
    return dev->host->initiator(dev);
}

/* The guest's RAM, ascending: how many ranges there are; at most `max` are stored.  [any] */
static inline unsigned vmr_ram_ranges(VmrDevice *dev, VmrMemoryRange *ranges, unsigned max)
{
    return dev->host->ram_ranges(dev, ranges, max);
}

/* A value of the machine file's [machine] or [boot], after --set; paths are
   absolute; NULL if unset.  Owned by the host.  [any] */
static inline const char *vmr_machine_value(VmrDevice *dev, const char *section, const char *key)
{
    return dev->host->machine_value(dev, section, key);
}

/* All devices in the order of the machine file: NULL gives the first; NULL ends.  [any] */
static inline VmrDevice *vmr_device_next(VmrDevice *dev, VmrDevice *after)
{
    return dev->host->device_next(dev, after);
}

/* What `of` describes (vmrun/describe.h); complete from the first reset on.
   Owned by the host.  [io] */
static inline const VmrDescription *vmr_description(VmrDevice *dev, VmrDevice *of)
{
    return dev->host->description(dev, of);
}

/*
 * Place region `region` (an index into the class's table) of `dev` in a space, move it, or with
 * `enabled` false take it out.  For buses that place the regions of their functions: the machine
 * file must not place it too.  Such a region gives way to everything that the machine file
 * places, RAM included, and of two the later placed one wins.  It may be called within a
 * handler of the same region.  VMR_ERR_BOUNDS: it does not fit there, and is in no space now;
 * VMR_ERR_ACCESS: there is no such region, it is not to be moved, or the host cannot.  [io]
 */
static inline VmrResult vmr_region_map(VmrDevice *dev, uint32_t region, VmrSpaceId space,
                                       uint64_t base, bool enabled)
{
    return VMR_HOST_HAS(dev, region_map) ? dev->host->region_map(dev, region, space, base, enabled)
                                         : VMR_ERR_ACCESS;
}

/* Does the machine file place this region?  From realize on.  [any] */
static inline bool vmr_region_placed(VmrDevice *dev, uint32_t region)
{
    return VMR_HOST_HAS(dev, region_placed) && dev->host->region_placed(dev, region);
}

/* Become the user of a drive, in realize: what it is like.  One device a drive.  [main] */
static inline bool vmr_drive_attach(VmrDevice *dev, VmrDrive *drive, VmrDriveInfo *info,
                                    GError **error)
{
    info->size = sizeof(*info);
    if (VMR_HOST_HAS(dev, drive_attach))
        return dev->host->drive_attach(dev, drive, info, error);
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS, "this host has no drives");
    return false;
}

/* Begin a request; done() is called later, never within this call.  Requests in flight may be
   done in any order.  [io] */
static inline void vmr_drive_submit(VmrDevice *dev, VmrDrive *drive, VmrDriveRequest *request)
{
    dev->host->drive_submit(dev, drive, request);
}

/* Wait until all requests are done(): for pause and unrealize.  NULL-safe.  [main] */
static inline void vmr_drive_drain(VmrDevice *dev, VmrDrive *drive)
{
    if (drive && VMR_HOST_HAS(dev, drive_drain))
        dev->host->drive_drain(dev, drive);
}

/* Show `source` on a display, from now on; NULL: nothing more.  NULL-safe.  [main] */
static inline void vmr_display_attach(VmrDevice *dev, VmrDisplay *display,
                                      const VmrDisplaySource *source)
{
    if (display && VMR_HOST_HAS(dev, display_attach))
        dev->host->display_attach(dev, display, source);
}

/* Become the user of a network, in realize: what it is like.  One device a network.  [main] */
static inline bool vmr_net_attach(VmrDevice *dev, VmrNet *net, const VmrNetHandler *handler,
                                  VmrNetInfo *info, GError **error)
{
    info->size = sizeof(*info);
    if (VMR_HOST_HAS(dev, net_attach))
        return dev->host->net_attach(dev, net, handler, info, error);
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS, "this host has no networks");
    return false;
}

/* No frames from now on: for unrealize.  NULL-safe.  [main] */
static inline void vmr_net_detach(VmrDevice *dev, VmrNet *net)
{
    if (net && VMR_HOST_HAS(dev, net_attach))
        dev->host->net_attach(dev, net, NULL, NULL, NULL);
}

/* What frames may be delivered with, out of info->gives; at first nothing.  [io] */
static inline void vmr_net_offloads(VmrDevice *dev, VmrNet *net, uint32_t wanted)
{
    dev->host->net_offloads(dev, net, wanted);
}

/* Send a frame; its bytes are the caller's again afterwards.  false: there is no room, and
   writable() will be called.  What the frame claims may be nonsense: it is dropped then.  [io] */
static inline bool vmr_net_send(VmrDevice *dev, VmrNet *net, const VmrNetFrame *frame)
{
    return dev->host->net_send(dev, net, frame);
}

/* There is room for frames again: receive() is called for those that wait.  [io] */
static inline void vmr_net_accept(VmrDevice *dev, VmrNet *net)
{
    dev->host->net_accept(dev, net);
}

/* The guest does not need what is in this range of its memory, bytes: the whole pages of 4 KiB in it, up
   to the first that is not RAM, go back to the host, and read as zeros when they are touched again
   (or as before).  No range is wrong.  [io] */
static inline void vmr_ram_release(VmrDevice *dev, uint64_t address, uint64_t length)
{
    if (VMR_HOST_HAS(dev, ram_release))
        dev->host->ram_release(dev, address, length);
}

/* The table of another device for an interface id, or NULL.  [any] */
static inline const void *vmr_device_interface(VmrDevice *of, const char *id)
{
    return of->klass->get_interface ? of->klass->get_interface(of, id) : NULL;
}

/* One line, without a newline.  Guest errors are counted, and shown only when traced.  [any] */
G_GNUC_PRINTF(3, 4)
static inline void vmr_log(VmrDevice *dev, VmrLogLevel level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    dev->host->log(dev, level, format, args);
    va_end(args);
}

G_GNUC_PRINTF(2, 3)
static inline void vmr_guest_error(VmrDevice *dev, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    dev->host->log(dev, VMR_LOG_GUEST_ERROR, format, args);
    va_end(args);
}

/* A line in the trace, category "device".  Costs one call when off.  [any] */
G_GNUC_PRINTF(2, 3)
static inline void vmr_trace(VmrDevice *dev, const char *format, ...)
{
    if (!dev->host->trace_enabled(dev))
        return;
    va_list args;
    va_start(args, format);
    dev->host->trace(dev, format, args);
    va_end(args);
}

#endif
