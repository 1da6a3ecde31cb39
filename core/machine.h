/*
 * core/machine.h - a machine: what a machine file describes, made.
 *
 * Life: vmr_machine_new (from a checked VmrConfig) -> vmr_machine_realize ->
 * vmr_machine_reset -> vmr_machine_run -> vmr_machine_free.  All [main].
 */
#ifndef VMR_CORE_MACHINE_H
#define VMR_CORE_MACHINE_H

#include "accel.h"
#include "fabric.h"
#include <vmrun/describe.h>
#include <vmrun/plugin.h>

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
    GArray *routes;          /* VmrRoutedLine */
    VmrDescription *description;
    uint64_t guest_errors;   /* atomic */
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
    bool a20;                /* the machine line "a20": address line 20 is not masked */
    /* ... clocks, requests, back ends: core/machine.c and its neighbours */
    struct VmrMachinePrivate *priv;
};

VmrMachine *vmr_machine_new(const VmrConfig *config, GError **error);
bool vmr_machine_realize(VmrMachine *machine, GError **error);
/* Run until a request ends it: the process's exit status (contract.md). */
int vmr_machine_run(VmrMachine *machine);
void vmr_machine_free(VmrMachine *machine);

/* Ask for a change of the whole machine; carried out by the main loop.  [any] */
void vmr_machine_request(VmrMachine *machine, VmrRequest request, uint32_t code);

/* Guest-virtual time, ns: stands still while the machine is paused.  [any] */
int64_t vmr_machine_time(VmrMachine *machine);

/* Make a halted vCPU's thread look again.  Sticky.  [any] */
void vmr_cpu_wake(VmrCpu *cpu);

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
};
extern unsigned vmr_trace_mask; /* set before the vCPUs start */
G_GNUC_PRINTF(2, 3) void vmr_core_trace(const char *who, const char *format, ...);

#endif
