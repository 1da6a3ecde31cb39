/*
 * core/accel.h - the seam between the machine and what runs its CPUs.
 *
 * An accelerator (the interpreter, KVM) implements one table.  It sees the
 * machine only through core/machine.h and core/fabric.h, and no device sees it.
 *
 * A vCPU has one thread, owned by core/cpus.c, which calls cpu_run() in a loop.
 * All else of a vCPU's state may be touched only while its thread is not in
 * cpu_run(), except through the functions tagged [any].
 */
#ifndef VMR_CORE_ACCEL_H
#define VMR_CORE_ACCEL_H

#include <vmrun/host.h>

typedef struct VmrMachine VmrMachine;

typedef enum VmrExit {
    VMR_EXIT_KICKED,   /* vmr kick: look at requests, then run on */
    VMR_EXIT_HALTED,   /* nothing to do until vmr_cpu_wake() */
    VMR_EXIT_SHUTDOWN, /* x86: triple fault */
    VMR_EXIT_DEBUG,    /* breakpoint, watchpoint, single step */
    VMR_EXIT_ERROR,    /* the accelerator cannot go on: it has logged why */
} VmrExit;

/* What a debugger stops a vCPU for.  Addresses are linear; a breakpoint's size is 1. */
typedef enum VmrPointKind { VMR_POINT_EXEC, VMR_POINT_WRITE, VMR_POINT_ACCESS } VmrPointKind;
enum { VMR_POINTS = 64 }; /* at most, any accelerator */

typedef struct VmrPoint {
    uint64_t address;
    VmrPointKind kind;
    uint8_t size; /* bytes: 1, 2, 4 or 8, aligned */
} VmrPoint;

typedef struct VmrDebug {
    bool step; /* one instruction, in which no interrupt is taken but by a CPU that is halted */
    unsigned count;
    VmrPoint points[VMR_POINTS];
} VmrDebug;

/* Why cpu_run() returned VMR_EXIT_DEBUG: before the instruction at a breakpoint, behind one that did
   an access that is watched, or behind the one that was to be stepped. */
typedef struct VmrDebugHit {
    bool step; /* else: */
    VmrPointKind kind;
    uint64_t address; /* where it is, or what is watched */
} VmrDebugHit;

typedef struct VmrCpuStats {
    uint64_t instructions; /* 0 if the accelerator cannot count */
    uint64_t exits_mmio, exits_pio, exits_halt, interrupts, exceptions;
    uint64_t blocks_translated, flushes; /* interpreter */
} VmrCpuStats;

typedef struct VmrAccelClass {
    uint32_t size; /* sizeof(VmrAccelClass) */
    const char *name;
    const char *summary;
    /* Can it run here?  Cheap, no side effect.  [main] */
    bool (*probe)(GError **error);
    /* After all devices are realized and placed.  The machine outlives the VM.  [main] */
    void *(*vm_new)(VmrMachine *machine, GError **error);
    void (*vm_free)(void *vm);
    /* One vCPU; `model` is [machine] cpu, already expanded.  [main] */
    void *(*cpu_new)(void *vm, VmrCpu *cpu, unsigned index, const char *model, GError **error);
    void (*cpu_free)(void *acpu);
    /* Power-on / warm reset state: an AP waits for SIPI.  [main], stopped */
    void (*cpu_reset)(void *acpu, VmrResetKind kind);
    /* Run until something of VmrExit.  On the vCPU's thread, without any lock. */
    VmrExit (*cpu_run)(void *acpu);
    /* Make cpu_run() return soon, or its next call return at once.  [any] */
    void (*cpu_kick)(void *acpu);
    /* Interfaces of the architecture, e.g. VMR_X86_CPU.  [any] */
    const void *(*cpu_interface)(void *acpu, const char *id);
    void (*cpu_stats)(void *acpu, VmrCpuStats *stats); /* stopped */
    /* The memory or I/O map was republished: forget cached translations before
       the next access.  [any] */
    void (*map_changed)(void *vm);
    /* RAM was written by DMA or the debugger: drop translated code of it.
       Offsets into the machine's RAM.  [any] */
    void (*ram_written)(void *vm, uint64_t ram_offset, uint64_t len);
    /* The list of CPU models as "name\tdoc" lines, NULL-terminated. */
    const char *const *(*cpu_models)(void);
    /* It works, but for what this text says: then one that works in full is preferred if the
       machine file names any.  NULL: no limits.  Free with g_free().  May be NULL.  [main] */
    char *(*limits)(void);
    /* Text for --describe of a CPU model; NULL: not one of this accelerator.  Free with g_free().
       May be NULL. */
    char *(*cpu_describe)(const char *model);
    /* How many points a vCPU can have; 0, or NULL: there is no debugging.  [any] */
    unsigned (*debug_points)(void *vm);
    /* From the next cpu_run() on, stop for these, at most debug_points().  The vCPU's own debug
       registers are not touched.  A hit goes to VmrCpu.debug_hit.  On the vCPU's thread. */
    void (*cpu_debug)(void *acpu, const VmrDebug *debug);
} VmrAccelClass;

/* The built-in ones; NULL-terminated (accel/accels.c). */
extern const VmrAccelClass *const vmr_accels[];

#endif
