/*
 * core/machine.h - a machine: what a machine file describes, made.
 *
 * Life: vmr_machine_new (from a checked VmrConfig) -> vmr_machine_realize ->
 * vmr_machine_run (opens the back ends, resets, starts) -> vmr_machine_free.
 * All [main].
 */
#ifndef VMR_CORE_MACHINE_H
#define VMR_CORE_MACHINE_H

#include "accel.h"
#include "fabric.h"
#include <vmrun/describe.h>
#include <vmrun/plugin.h>
#include <stdio.h>

typedef struct VmrConfig VmrConfig; /* core/config.h */

/* A vCPU as the core sees it. */
struct VmrCpu {
    VmrMachine *machine;
    unsigned index;
    void *acpu; /* the accelerator's */
    GThread *thread;
    GMutex lock;
    GCond cond;
    bool wake;    /* sticky: set by vmr_cpu_wake, taken by the waiting thread */
    bool parked;  /* the thread waits outside cpu_run, for vmr_machine_pause */
    int tid;      /* of the thread; 0: not started */
    bool stopped; /* shut down or failed: does not run until a reset */
    /* core/debug.c, on its thread or while it is parked */
    VmrDebugHit debug_hit; /* the accelerator's, with VMR_EXIT_DEBUG */
    bool debug_step;       /* stop behind the next instruction */
    bool debug_hold;       /* it is not to run: atomic */
    bool debug_over;       /* it stands at a point, and is to pass it first */
    unsigned debug_gen;    /* what the accelerator was last told: VmrDebugState.gen, 0 nothing */
    bool debug_alone;      /* it was told of no point, for debug_over */
};

/* The host's side of a device. */
struct VmrDeviceHandle {
    VmrMachine *machine;
    VmrDevice *device;       /* the instance, owned */
    const VmrDeviceClass *klass;
    VmrDomain *domain;
    char *name;
    bool realized;
    GArray *placements;      /* VmrPlacedRegion */
    GArray *mapped;          /* core/region.c: regions that a bus places; or NULL */
    GArray *routes;          /* VmrRoutedLine */
    VmrDescription *description;
    uint64_t guest_errors;   /* atomic */
    uint64_t accesses, access_ns; /* with vmr_stats_enabled; under the domain lock */
    int64_t log_window;      /* core/log.c: rate limit */
    unsigned log_count;
};

struct VmrMachine {
    const VmrConfig *config;
    const VmrAccelClass *accel;
    void *vm;
    VmrRam ram;
    VmrSpace *memory, *io;
    VmrDomain *domain;       /* the one domain of all devices, for now */
    GPtrArray *devices;      /* VmrDeviceHandle *, in file order */
    GPtrArray *realize_order;
    VmrCpu *cpus;
    unsigned cpu_count;
    VmrDevice *intc;         /* [machine] interrupt-controller, or NULL */
    GArray *ram_ranges;      /* VmrMemoryRange */
    char *cpu_model;
    char *accel_note;        /* why it is not the first that was named, or NULL */
    bool a20;                /* the machine line "a20": address line 20 is not masked */
    /* ... clocks, requests, back ends: core/machine.c and its neighbours */
    struct VmrMachinePrivate *priv;
};

VmrMachine *vmr_machine_new(const VmrConfig *config, GError **error);
bool vmr_machine_realize(VmrMachine *machine, GError **error);

/*
 * Pieces of the two above that belong to the runtime (core/machine.c).
 * init_runtime: accel, cpu_count and cpu_model are set.  Makes ram (with room for ROMs),
 * both spaces, the domain, `cpus` (without accelerator), clock, timers, and the empty arrays
 * that are still NULL; sets priv.  After it, vmr_machine_free() works, whatever fails later.
 * The arrays' free functions are their maker's: free() only unrefs them.
 */
bool vmr_machine_init_runtime(VmrMachine *machine, uint64_t memory_bytes, GError **error);
/* Take RAM, place it at `base` and note it in ram_ranges. */
bool vmr_machine_add_ram(VmrMachine *machine, uint64_t base, uint64_t size, GError **error);
/* The accelerator's VM and vCPUs: the end of vmr_machine_realize, after all is committed. */
bool vmr_machine_create_cpus(VmrMachine *machine, GError **error);
/* The input behind "cpuN:PIN" (intr, nmi, smi, init) or "machine:LINE" (a20, reset, poweroff),
   for vmr_irq_connect(); false: there is none such. */
bool vmr_machine_pin(VmrMachine *machine, const char *device, const char *pin, VmrIrqInput *input);
extern const char *const vmr_cpu_pins[], *const vmr_machine_lines[]; /* NULL-terminated */

/* Three phases over all devices, and the vCPUs.  vCPUs stopped. */
void vmr_machine_reset(VmrMachine *machine, VmrResetKind kind);
/* All vCPUs parked, the clock stands, devices paused; and go on.  They nest. */
bool vmr_machine_pause(VmrMachine *machine);
void vmr_machine_resume(VmrMachine *machine);
/* Before vmr_machine_run: end with 124 after so many seconds of host time. */
void vmr_machine_set_time_limit(VmrMachine *machine, double seconds);
/* Before vmr_machine_run: when the user ends the run, write the machine to this file. */
void vmr_machine_set_save(VmrMachine *machine, const char *path);
/* Before vmr_machine_run, after vmr_machine_realize: start from this file instead of a reset.  It is
   read and checked at once. */
bool vmr_machine_set_restore(VmrMachine *machine, const char *path, GError **error);
/* Count time per device; set before the vCPUs start. */
extern bool vmr_stats_enabled;
/* After vmr_machine_run. */
void vmr_machine_print_stats(VmrMachine *machine, FILE *to);
/* Run until a request ends it: the process's exit status (contract.md). */
int vmr_machine_run(VmrMachine *machine);
void vmr_machine_free(VmrMachine *machine);

/* Ask for a change of the whole machine; carried out by the main loop.  [any] */
void vmr_machine_request(VmrMachine *machine, VmrRequest request, uint32_t code);

/* Guest-virtual time, ns: stands still while the machine is paused.  [any] */
int64_t vmr_machine_time(VmrMachine *machine);

/* Make a halted vCPU's thread look again.  Sticky.  [any] */
void vmr_cpu_wake(VmrCpu *cpu);

/* The host table of all devices.  [any] */
const VmrHost *vmr_host_table(void);

/* The vCPU index that this thread is running an access for, or -1. */
extern _Thread_local int vmr_current_initiator;

/* Logging and tracing of the core (core/log.c).  [any] */
G_GNUC_PRINTF(2, 3) void vmr_core_log(VmrLogLevel level, const char *format, ...);
enum {
    VMR_TRACE_IO = 1u << 0,     /* "io": region accesses */
    VMR_TRACE_IRQ = 1u << 1,    /* "irq" */
    VMR_TRACE_DMA = 1u << 2,    /* "dma" */
    VMR_TRACE_EXIT = 1u << 3,   /* "exit": accelerator exits */
    VMR_TRACE_INSN = 1u << 4,   /* "insn": instructions (interpreter) */
    VMR_TRACE_DEVICE = 1u << 5, /* "device": vmr_trace() */
    VMR_TRACE_GUEST_ERROR = 1u << 6, /* "guest-error" */
    VMR_TRACE_UNASSIGNED = 1u << 7,  /* "unassigned" */
    VMR_TRACE_EXCEPTION = 1u << 8,   /* "exception": guest exceptions and interrupts */
    VMR_TRACE_MEMORY = 1u << 9,      /* "memory": loads and stores (interpreter) */
};
extern unsigned vmr_trace_mask; /* set before the vCPUs start */
G_GNUC_PRINTF(2, 3) void vmr_core_trace(const char *who, const char *format, ...);
G_GNUC_PRINTF(2, 3) void vmr_core_trace_cpu(unsigned index, const char *format, ...);
/* --trace CATS[:FILE]: categories with commas ("all" is all but insn and memory); "@NAME" limits it to
   what concerns that device (or "cpu0").  [main] */
bool vmr_trace_setup(const char *spec, GError **error);
/* Flush and close the trace file.  [main] */
void vmr_trace_finish(void);

#endif
