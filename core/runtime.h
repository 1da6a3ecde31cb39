/*
 * core/runtime.h - what the files of the runtime share, and nobody else needs.
 */
#ifndef VMR_CORE_RUNTIME_H
#define VMR_CORE_RUNTIME_H

#include "machine.h"

#include <inttypes.h>

/* ---- maps (map.c) and readers (reader.c) ------------------------------ */

typedef struct VmrPlaced {
    unsigned id;
    VmrPlacement p; /* label owned */
    bool enabled;
} VmrPlaced;

/* The pieces of the enabled placements: where two overlap, the higher priority
   wins, and of equals the later one. */
VmrMap *vmr_map_build(const GArray *placed, unsigned address_bits);
void vmr_map_free(VmrMap *map);
const VmrRange *vmr_map_find(const VmrMap *map, uint64_t address);

/* Around each use of a map; cheap when nested. */
void vmr_reader_pin(void);
void vmr_reader_unpin(void);
/* Free `map` once no reader can hold it: how many such maps wait. */
unsigned vmr_reader_retire(VmrMap *map);

/* ---- IRQ lines -------------------------------------------------------- */

void vmr_irq_free_all(VmrMachine *machine);
/* For loading a state: the level of an output; set it without a word to anybody; and when all
   are set, tell the pins of vCPUs and the machine's lines.  Devices hear nothing: they have the
   levels of their inputs in their own state.  [io] */
bool vmr_irq_level(VmrIrq irq);
void vmr_irq_preset(VmrIrq irq, bool level);
void vmr_irq_settle(VmrMachine *machine);
void vmr_pin_preset(const VmrIrqInput *to, bool level);

/* ---- clock and timers ------------------------------------------------- */

typedef struct VmrTimers VmrTimers;

void vmr_clock_start(VmrMachine *machine);
void vmr_clock_stop(VmrMachine *machine);
void vmr_clock_set(VmrMachine *machine, int64_t t); /* while it stands */
int64_t vmr_clock_wall(void);
/* The host's CLOCK_MONOTONIC at which guest-virtual time `t` is reached; INT64_MAX: never. */
int64_t vmr_clock_host_deadline(VmrMachine *machine, int64_t t);

VmrTimers *vmr_timers_new(VmrMachine *machine, GMainContext *context, GError **error);
void vmr_timers_free(VmrTimers *timers);
void vmr_timers_clock_changed(VmrTimers *timers); /* started or stopped */

VmrTimer *vmr_host_timer_new(VmrDevice *dev, VmrClock clock, VmrTimerFired *fired);
void vmr_host_timer_set(VmrTimer *timer, int64_t deadline_ns);
void vmr_host_timer_cancel(VmrTimer *timer);
bool vmr_host_timer_pending(VmrTimer *timer, int64_t *deadline_ns);
void vmr_host_timer_free(VmrTimer *timer);

/* ---- regions that a bus places (region.c) ----------------------------- */

VmrResult vmr_host_region_map(VmrDevice *dev, uint32_t region, VmrSpaceId space, uint64_t base,
                              bool enabled);
bool vmr_host_region_placed(VmrDevice *dev, uint32_t region);

/* ---- watches and work ------------------------------------------------- */

VmrWatch *vmr_host_watch_new(VmrDevice *dev, int fd, unsigned cond, VmrWatchReady *ready);
void vmr_host_watch_free(VmrWatch *watch);

typedef struct VmrWorkers VmrWorkers;
VmrWorkers *vmr_workers_new(VmrMachine *machine);
void vmr_workers_drain(VmrWorkers *workers); /* all done() have been called.  [main] */
void vmr_workers_free(VmrWorkers *workers);
void vmr_host_work_submit(VmrDevice *dev, VmrWork *work, VmrWorkDone *done, void *data);

/* ---- vCPU threads ----------------------------------------------------- */

bool vmr_cpus_start(VmrMachine *machine, GError **error); /* parked, as the machine is paused */
void vmr_cpus_join(VmrMachine *machine);
/* Wait until all are parked; false after ten seconds. */
bool vmr_cpus_park(VmrMachine *machine);
void vmr_cpus_unpark(VmrMachine *machine);
/* Have those that wait see what has changed. */
void vmr_cpus_look_again(VmrMachine *machine);
void vmr_cpus_kick(VmrMachine *machine);

/* ---- logging ---------------------------------------------------------- */

void vmr_host_log(VmrDevice *dev, VmrLogLevel level, const char *format, va_list args);
bool vmr_host_trace_enabled(VmrDevice *dev);
void vmr_host_trace(VmrDevice *dev, const char *format, va_list args);
#define vmr_tracing(category) G_UNLIKELY(vmr_trace_mask &(category))

/* A value of [machine] or [boot]; see VmrHost.machine_value (machine-value.c). */
const char *vmr_machine_value_text(VmrMachine *machine, const char *section, const char *key);

/* ---- the machine ------------------------------------------------------ */

void vmr_pins_init(VmrMachine *machine);
/* What is attached to it is served by a thread of its own, which begins with the first call; with the
   domain's lock, as anywhere.  The machine's.  [io] */
GMainContext *vmr_io_context(VmrMachine *machine);
/* Nothing of it is served any more.  Without the domain's lock.  [main] */
void vmr_io_thread_end(VmrMachine *machine);
/* Phases ENTER and HOLD of a cold reset: what comes next is loaded.  [io] */
void vmr_machine_reset_for_load(VmrMachine *machine);

struct VmrMachinePrivate {
    GMainContext *context;
    GThread *main_thread;

    /* clock.c: a seqlock, written by the main thread */
    unsigned clock_seq;
    int64_t clock_virtual, clock_host; /* virtual time at host time; frozen if not running */
    bool clock_running;

    VmrTimers *timers;
    VmrWorkers *workers;
    GMainContext *io_context; /* io-thread.c; NULL: nobody has asked for it */
    GThread *io_thread;
    bool io_end; /* atomic */
    GPtrArray *chardevs;
    GPtrArray *displays;
    GPtrArray *drives;
    GPtrArray *nets;
    GPtrArray *irq_inputs; /* irq.c */
    GPtrArray *irq_sinks;
    GHashTable *values; /* machine-value.c */

    /* vCPU threads */
    bool cpus_started;
    bool cpus_quit; /* atomic, as the next */
    bool park;      /* the threads are to wait outside cpu_run */
    unsigned pause_depth;
    int64_t run_start, run_time; /* us of host time, for the statistics */

    /* requests */
    GMutex request_lock;
    bool request_pending; /* atomic: vCPUs wait for the main loop */
    bool reset_wanted, end_wanted;
    bool end_by_user; /* rather than by the guest or an error */
    int end_status;
    char *end_message;

    char *save_path;             /* --save, or NULL */
    struct VmrSnapshot *restore; /* --restore, until the run begins */
    bool resume_devices;         /* at the start: the machine comes from a file */

    /* monitor, swap */
    bool user_stopped, reset_by_user;
    VmrIrq power_button;         /* [machine] power-button */
    void *qmp;                   /* monitor-qmp.c */
    struct VmrTerminalMonitor *terminal;
    unsigned monitor_cpu;        /* what `info registers` is about */
    struct VmrSwaps *swaps;      /* --swap */
    struct VmrGdb *gdb;          /* --gdb */
    struct VmrSymbols *symbols;  /* --symbols */
    struct VmrDebugState *debug; /* debug.c; NULL: nothing stops anything */
    VmrCpuStats *past_stats;     /* a vCPU each: of the accelerators before this one; or NULL */

    bool exit_on_reset, reset_on_crash; /* [machine] on-reset, on-crash */

    double time_limit;

    uint8_t *pin_levels; /* pins.c: as last told; of the machine, then 4 a vCPU */
};

/* End with this exit status, as the first who wants an end says.  [any] */
G_GNUC_PRINTF(3, 4)
void vmr_machine_end(VmrMachine *machine, int status, const char *format, ...);
/* Have the main loop look for what is wanted; the vCPUs wait meanwhile.  [any] */
void vmr_machine_look(VmrMachine *machine);
void vmr_stats_add(VmrCpuStats *to, const VmrCpuStats *more);
void vmr_monitor_terminal_free(VmrMachine *machine);
/* The same, by the user: a machine with --save is saved.  message may be NULL.  [any] */
void vmr_machine_leave(VmrMachine *machine, int status, const char *message);

#endif
