/*
 * core/fabric.h - address spaces, RAM and IRQ lines.
 *
 * A space holds placed regions; its *map* is an immutable sorted array,
 * published atomically.  An access does a last-hit check, then a binary
 * search, with no lock and no refcount taken.  The I/O space has an index by
 * port instead.  Changing a region's place builds a new map and swaps it; the
 * old one is freed once every vCPU has passed a quiescent point.
 *
 * Lock order: (1) a domain lock, (2) the space's edit lock, (3) leaf locks.
 * A handler is called with at most its own domain lock held.
 */
#ifndef VMR_CORE_FABRIC_H
#define VMR_CORE_FABRIC_H

#include <vmrun/host.h>

typedef struct VmrMachine VmrMachine;
typedef struct VmrSpace VmrSpace;
typedef struct VmrDomain VmrDomain;

/* ---- RAM: one memfd --------------------------------------------------- */

typedef struct VmrRam {
    int fd;
    uint8_t *base; /* host address of offset 0 */
    uint64_t size; /* bytes, a multiple of 4096; RAM, ROM and RAM regions of devices */
    uint64_t used; /* bytes handed out */
} VmrRam;

/* Reserve address space for `size` bytes; pages appear on touch.  [main] */
bool vmr_ram_init(VmrRam *ram, uint64_t size, GError **error);
void vmr_ram_destroy(VmrRam *ram);
/* Take `size` bytes (rounded up to 4 KiB) for a range: its offset, or UINT64_MAX.  [main] */
uint64_t vmr_ram_take(VmrRam *ram, uint64_t size);
/* Give pages back to the host: they read as zeros from now on.  Both are multiples of 4096, within what
   was taken.  false: it is not possible, and they are as before.  [any] */
bool vmr_ram_discard(VmrRam *ram, uint64_t offset, uint64_t length);

/* ---- address spaces --------------------------------------------------- */

typedef enum VmrRangeKind {
    VMR_RANGE_IO,  /* handlers */
    VMR_RANGE_RAM, /* `host` is valid; read and write */
    VMR_RANGE_ROM, /* `host` is valid; writes are dropped and traced */
} VmrRangeKind;

/* One piece of a map: no two overlap. */
typedef struct VmrRange {
    uint64_t base, last; /* inclusive */
    VmrRangeKind kind;
    uint8_t *host;          /* RAM, ROM: host address of `base` */
    uint64_t ram_offset;    /* RAM, ROM: offset of `base` in the machine's RAM */
    VmrDevice *device;      /* IO: whose handlers; NULL for plain RAM */
    const VmrRegion *region;
    uint64_t region_offset; /* of `base` within the region */
    VmrDomain *domain;      /* IO: lock to take; NULL if CONCURRENT */
} VmrRange;

typedef struct VmrMap {
    unsigned count;
    uint16_t *index;   /* a space of 16 bits: by address, 1 + index of the piece, 0: none */
    VmrRange ranges[]; /* ascending */
} VmrMap;

VmrSpace *vmr_space_new(VmrMachine *machine, const char *name, unsigned address_bits);
void vmr_space_free(VmrSpace *space);

/* Place a region (or RAM: region NULL, host/ram_offset given).  An overlap of two of the
   same priority is an error, except that of two overlays, or two that a bus has placed, the
   later one wins.  The map is
   republished by vmr_space_commit().  Returns a placement id, or 0 with an error.  [io] */
typedef struct VmrPlacement {
    const char *label; /* for errors and --draw: "ram", "com1.regs" */
    uint64_t base, size;
    int priority; /* higher wins: -1 placed by a bus, 0 RAM, 1 device, 2 overlay */
    VmrRange range; /* kind, host, ram_offset, device, region, domain */
} VmrPlacement;
unsigned vmr_space_place(VmrSpace *space, const VmrPlacement *placement, GError **error);
bool vmr_space_move(VmrSpace *space, unsigned id, uint64_t base, GError **error);
void vmr_space_enable(VmrSpace *space, unsigned id, bool enabled);
void vmr_space_commit(VmrSpace *space);

/* The current map.  Valid until this thread's next quiescent point.  [any] */
const VmrMap *vmr_space_map(VmrSpace *space);
/* The piece that holds `address`, or NULL.  [any] */
const VmrRange *vmr_space_find(VmrSpace *space, uint64_t address);

/*
 * An access by a vCPU (`initiator` its index) or a device / the debugger (-1).
 * size 1, 2, 4 or 8; any alignment, may cross pieces: the fabric fixes it up.  A region
 * that takes nothing narrower than `size` gets it whole, even if an overlay covers its end
 * (I/O port 0xcf8 is 32 bits wide, and 0xcf9 is another register).
 * Unassigned bytes read as ones, are traced, and give VMR_ERR_UNASSIGNED; the
 * other bytes are still accessed.  [any], no domain lock needed
 */
VmrResult vmr_space_read(VmrSpace *space, uint64_t address, uint64_t *value, unsigned size,
                         int initiator);
VmrResult vmr_space_write(VmrSpace *space, uint64_t address, uint64_t value, unsigned size,
                          int initiator);
/* Blocks: RAM and ROM are copied, devices get accesses of up to 8 bytes.  A
   write to RAM calls the accelerator's ram_written.  [any] */
VmrResult vmr_space_copy_from(VmrSpace *space, uint64_t address, void *buf, size_t len);
VmrResult vmr_space_copy_to(VmrSpace *space, uint64_t address, const void *buf, size_t len);

/* This thread reads maps from now on / no longer; and: it holds no map now.  A thread that
   has not entered may call all of the above except vmr_space_map and vmr_space_find.  A vCPU
   thread is entered by core/cpus.c, but not while it waits; an accelerator that stays long in
   cpu_run calls vmr_reader_quiescent() when it has dropped what map_changed told of. */
void vmr_reader_enter(VmrMachine *machine);
void vmr_reader_leave(VmrMachine *machine);
void vmr_reader_quiescent(VmrMachine *machine);

/* ---- domains ---------------------------------------------------------- */

/* A recursive lock and a GMainContext; devices of a domain are serialised. */
VmrDomain *vmr_domain_new(const char *name, GMainContext *context);
void vmr_domain_free(VmrDomain *domain);
void vmr_domain_lock(VmrDomain *domain);
void vmr_domain_unlock(VmrDomain *domain);
/* For the main loop: vCPUs that hammer on a device do not keep it out. */
void vmr_domain_lock_urgent(VmrDomain *domain);
/* Does this thread hold the lock? */
bool vmr_domain_owned(const VmrDomain *domain);
/* [io] is claimed by `what`: debug builds say so on standard error if it is not true. */
void vmr_domain_check(const VmrDomain *domain, const char *what);

/* ---- IRQ lines -------------------------------------------------------- */

/* Connect member `n` of an output group to one or more inputs.  Each output has
   its own level, an input is the OR of what drives it.  [main] */
typedef struct VmrIrqInput {
    VmrDevice *device;      /* or NULL: a function of the core (CPU pin, machine line) */
    VmrLineChanged *changed;
    void (*core_changed)(void *opaque, unsigned n, bool level);
    void *opaque;
    uint32_t n;
    bool inverted;
} VmrIrqInput;
VmrIrq vmr_irq_connect(VmrMachine *machine, const VmrIrqInput *inputs, unsigned count);
void vmr_irq_drive(VmrIrq irq, bool level); /* [any] */
/* The end of reset phase HOLD: tell every input its level, changed or not.  [io] */
void vmr_irq_redrive(VmrMachine *machine);

#endif
