/*
 * vmrun/device.h - what a device is: one const VmrDeviceClass and its tables.
 *
 * The tables are the single truth: the machine-file reader, `vmrun --describe`,
 * the man pages, save/load, tracing and the validator all read them.
 *
 * Thread tags used in all public headers:
 *   [main]  the thread that builds and ends the machine; no vCPU runs
 *   [io]    inside the device's domain (its lock is held): region handlers,
 *           line handlers, timers, watches, chardev callbacks, reset
 *   [any]   any thread, at any time between realize and unrealize
 * Debug builds check them.
 *
 * Guest input is hostile: no function of a device may assert, abort, block, or
 * loop without a bound on anything that a guest can write.
 */
#ifndef VMRUN_DEVICE_H
#define VMRUN_DEVICE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VmrHost VmrHost;               /* vmrun/host.h */
typedef struct VmrDeviceHandle VmrDeviceHandle; /* the host's side of a device, opaque */
typedef struct VmrDescription VmrDescription; /* vmrun/describe.h */
typedef struct VmrChardev VmrChardev;         /* a character back end, opaque */
typedef struct VmrDeviceClass VmrDeviceClass;

/* The first member of every device's instance structure.  Set by the host. */
typedef struct VmrDevice {
    const VmrHost *host;
    VmrDeviceHandle *handle;
    const VmrDeviceClass *klass;
    const char *name; /* the NAME of [device NAME]; owned by the host */
} VmrDevice;

/* ---- properties ------------------------------------------------------- */

typedef enum VmrPropertyType {
    VMR_PROP_BOOL,    /* bool;      on/off, true/false, yes/no, 1/0 */
    VMR_PROP_U32,     /* uint32_t */
    VMR_PROP_U64,     /* uint64_t */
    VMR_PROP_SIZE,    /* uint64_t;  bytes, with K, M, G, T suffix */
    VMR_PROP_STRING,  /* const char *, NULL if unset; owned by the host */
    VMR_PROP_PATH,    /* const char *, relative to the machine file; owned by the host */
    VMR_PROP_ENUM,    /* uint32_t index into `names` */
    VMR_PROP_LINK,    /* VmrLink to a device that offers `interface` */
    VMR_PROP_CHARDEV, /* VmrChardev *, NULL if unset */
    VMR_PROP_DRIVE,   /* VmrDrive *, NULL if unset (reserved for block back ends) */
    VMR_PROP_NET,     /* VmrNet *, NULL if unset */
    VMR_PROP_DISPLAY, /* VmrDisplay *, NULL if unset (reserved for displays) */
} VmrPropertyType;

enum {
    VMR_PROP_REQUIRED = 1u << 0, /* the machine file must set it */
};

/* A link to another device, resolved and checked before realize. */
typedef struct VmrLink {
    VmrDevice *device; /* NULL if the property is unset */
    const void *iface; /* the table that `interface` names */
} VmrLink;

typedef struct VmrProperty {
    const char *name; /* kebab-case; NULL ends the table */
    VmrPropertyType type;
    uint32_t flags;
    size_t offset;               /* into the instance */
    const char *default_text;    /* parsed like the machine file's text; NULL: zero/unset */
    uint64_t min, max;           /* for numbers and sizes; both 0: no bound */
    const char *const *names;    /* VMR_PROP_ENUM: NULL-terminated */
    const char *interface;       /* VMR_PROP_LINK: the interface id that is needed */
    const char *unit;            /* "Hz", "bytes", ...; or NULL */
    const char *doc;             /* one line */
} VmrProperty;

/* ---- regions ---------------------------------------------------------- */

typedef enum VmrRegionKind {
    VMR_REGION_MMIO, /* placed in the memory space unless the machine file says io: */
    VMR_REGION_PIO,  /* placed in the I/O space unless the machine file says mem: */
    VMR_REGION_RAM,  /* backed by host memory, guest may write */
    VMR_REGION_ROM,  /* backed by host memory, guest writes are ignored and traced */
} VmrRegionKind;

enum {
    VMR_REGION_OPTIONAL = 1u << 0,   /* may be left unplaced by the machine file */
    VMR_REGION_CONCURRENT = 1u << 1, /* handlers are called without the domain lock [any] */
    VMR_REGION_DOORBELL = 1u << 2,   /* a write only notifies, by its offset: value and size mean
                                        nothing, and two may count as one; served by an eventfd */
    VMR_REGION_COALESCE = 1u << 3,   /* writes may be batched by an accelerator */
    VMR_REGION_OVERLAY = 1u << 4,    /* wins over a region that is not an overlay */
};

/*
 * Region handlers.  [io], or [any] with VMR_REGION_CONCURRENT.
 * `offset` is relative to the region and below its size; `size` is 1, 2, 4 or
 * 8 and within impl_min..impl_max: the fabric splits, widens and aligns the
 * guest's accesses.  Values are little endian, zero-extended.
 */
typedef uint64_t VmrRegionRead(VmrDevice *dev, uint64_t offset, unsigned size);
typedef void VmrRegionWrite(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size);

typedef struct VmrRegion {
    const char *name; /* key in the machine file, e.g. regs = 0x3f8; NULL ends the table */
    VmrRegionKind kind;
    uint32_t flags;
    uint64_t size;      /* bytes; 0: taken from the uint64_t at size_offset after realize */
    size_t size_offset; /* into the instance; used when size is 0 */
    uint8_t valid_min, valid_max; /* what a guest may do, bytes; 0: 1 and 8 */
    uint8_t impl_min, impl_max;   /* what the handlers take, bytes; 0: 1 and 8.  A narrower
                                     access is widened (read) or read-modified (write: the
                                     handler gets impl_min bytes, zero-extended), a wider
                                     one is split in ascending order */
    VmrRegionRead *read;   /* NULL: reads give all ones */
    VmrRegionWrite *write; /* NULL: writes are dropped and traced */
    const char *doc;
} VmrRegion;

/* ---- IRQ lines -------------------------------------------------------- */

typedef struct VmrIrqSink VmrIrqSink; /* opaque, the host's */

/*
 * A small value: one output of a device.  Copyable.  A zeroed VmrIrq is
 * connected to nothing and may be set.  Levels: true is asserted.  Several
 * outputs on one input are ORed; a machine file may fan out and invert.
 */
typedef struct VmrIrq {
    VmrIrqSink *sink;
    uint32_t n;
} VmrIrq;

typedef enum VmrLineDirection { VMR_LINE_OUT, VMR_LINE_IN } VmrLineDirection;

/* The level of input `n` of a group has changed to `level`.  [io] */
typedef void VmrLineChanged(VmrDevice *dev, unsigned n, bool level);

/*
 * Machine file: an output `irq` is wired by `irq = pic0:4` (input 4 of pic0's
 * first input group) or `irq = cpu0:nmi` / `irq = pic0:in:4` (by group name).
 * `a + b` fans out, `!a` inverts, and for an output group commas separate the
 * members.
 */
typedef struct VmrLine {
    const char *name; /* NULL ends the table */
    VmrLineDirection direction;
    uint32_t count;          /* members of the group, at least 1 */
    size_t offset;           /* OUT: VmrIrq[count] in the instance */
    VmrLineChanged *changed; /* IN */
    const char *doc;
} VmrLine;

/* ---- state ------------------------------------------------------------ */

typedef enum VmrFieldType {
    VMR_FIELD_BOOL,
    VMR_FIELD_U8,
    VMR_FIELD_U16,
    VMR_FIELD_U32,
    VMR_FIELD_U64,
    VMR_FIELD_I64,
    VMR_FIELD_TIMER, /* VmrTimer *: its deadline, or "not set" */
} VmrFieldType;

/* A field of a device's state: saved by name, so that order and layout may change. */
typedef struct VmrField {
    const char *name; /* NULL ends the table */
    VmrFieldType type;
    uint32_t count;    /* elements; 0 counts as 1 */
    size_t offset;     /* into the instance */
    uint32_t since;    /* first state version that has it; 0 counts as 1 */
} VmrField;

/* Shorthand for the tables: VMR_FIELD(U8, Serial, lcr), VMR_FIELD_N(U8, Serial, fifo, 16). */
#define VMR_FIELD(type_, struct_, member_)                                                         \
    {#member_, VMR_FIELD_##type_, 1, offsetof(struct_, member_), 1}
#define VMR_FIELD_N(type_, struct_, member_, n_)                                                   \
    {#member_, VMR_FIELD_##type_, n_, offsetof(struct_, member_), 1}

/* ---- the class -------------------------------------------------------- */

/*
 * Three phases, each over all devices before the next:
 *   ENTER  forget: bring own state to its reset values, touch no one else
 *   HOLD   drive the output lines to their reset levels
 *   EXIT   start: may read and write guest memory (tables, kernels)
 */
typedef enum VmrResetPhase { VMR_RESET_ENTER, VMR_RESET_HOLD, VMR_RESET_EXIT } VmrResetPhase;
typedef enum VmrResetKind {
    VMR_RESET_COLD, /* power-on */
    VMR_RESET_WARM, /* the machine's reset line: what a battery keeps stays */
} VmrResetKind;

enum {
    VMR_DEVICE_NO_STATE = 1u << 0, /* said aloud: there is nothing to save */
};

struct VmrDeviceClass {
    uint32_t size;          /* sizeof(VmrDeviceClass) */
    uint32_t state_version; /* of the fields table, from 1; 0 with VMR_DEVICE_NO_STATE */
    const char *id;         /* the `plugin =` name, kebab-case */
    const char *summary;    /* one line: what it models */
    const char *doc;        /* paragraphs, for --describe and the man page; or NULL */
    uint32_t flags;
    uint32_t instance_size; /* the host allocates it, zeroed, VmrDevice first */
    const VmrProperty *properties; /* tables end with a NULL name; NULL: none */
    const VmrRegion *regions;
    const VmrLine *lines;
    const VmrField *fields;

    /* Properties, links and IRQ outputs are set.  Take what can fail here.  [main] */
    bool (*realize)(VmrDevice *dev, GError **error);
    /* Give back what realize took.  Called only after a successful realize.  [main] */
    void (*unrealize)(VmrDevice *dev);
    /* [io], all vCPUs stopped */
    void (*reset)(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind);
    /* The guest stops / goes on: finish or hold back work in flight.  [io] */
    void (*pause)(VmrDevice *dev);
    void (*resume)(VmrDevice *dev);
    /* The fields are loaded; rebuild what is derived, check what is hostile.  [io] */
    bool (*post_load)(VmrDevice *dev, uint32_t version, GError **error);
    /* State once what firmware must know of this device (vmrun/describe.h).  [main] */
    void (*describe)(VmrDevice *dev, VmrDescription *d);
    /* A const table for an interface id, or NULL.  Constant over the device's life.  [any] */
    const void *(*get_interface)(VmrDevice *dev, const char *id);
};

#endif
