/*
 * core/machine.c - the life of a machine: its parts, the main loop, and how it ends.
 *
 * The main thread runs the loop.  Whoever wants the machine reset or ended says
 * so with vmr_machine_request(); the vCPUs then wait, and the main loop does it.
 * Exit statuses: contract.md; an end by signal N gives 128 + N.
 */
#include "chardev.h"
#include "debug.h"
#include "display.h"
#include "drive.h"
#include "gdb.h"
#include "monitor.h"
#include "net.h"
#include "runtime.h"
#include "state.h"
#include "swap.h"
#include "symbols.h"

#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Room in the RAM file for ROMs and memory of devices; costs nothing until touched. */
static const uint64_t DEVICE_MEMORY = (uint64_t)256 << 20;
enum { FLUSH_MS = 2000 };

/* ---- parts ------------------------------------------------------------ */

/* [machine] key is `yes`; the table in core/options.c knows what else it may be. */
static bool is_set_to(VmrMachine *m, const char *key, const char *yes)
{
    const char *text = vmr_machine_value_text(m, "machine", key);
    return text && !strcmp(text, yes);
}

bool vmr_machine_init_runtime(VmrMachine *m, uint64_t memory_bytes, GError **error)
{
    struct VmrMachinePrivate *p = m->priv = g_new0(struct VmrMachinePrivate, 1);
    p->context = g_main_context_ref(g_main_context_default());
    p->main_thread = g_thread_self();
    p->park = true;
    p->pause_depth = 1;
    g_mutex_init(&p->request_lock);
    p->irq_inputs = g_ptr_array_new_with_free_func(g_free);
    p->irq_sinks = g_ptr_array_new_with_free_func(g_free);
    p->chardevs = g_ptr_array_new();
    p->displays = g_ptr_array_new();
    p->drives = g_ptr_array_new();
    p->nets = g_ptr_array_new();
    p->values = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    m->ram.fd = -1;
    m->domain = vmr_domain_new("devices", p->context);
    m->memory = vmr_space_new(m, "mem", 64);
    m->io = vmr_space_new(m, "io", 16);
    if (!m->devices)
        m->devices = g_ptr_array_new();
    if (!m->realize_order)
        m->realize_order = g_ptr_array_new();
    if (!m->ram_ranges)
        m->ram_ranges = g_array_new(FALSE, FALSE, sizeof(VmrMemoryRange));
    m->cpus = g_new0(VmrCpu, MAX(m->cpu_count, 1));
    for (unsigned i = 0; i < m->cpu_count; i++) {
        m->cpus[i].machine = m;
        m->cpus[i].index = i;
        g_mutex_init(&m->cpus[i].lock);
        g_cond_init(&m->cpus[i].cond);
    }
    vmr_pins_init(m);
    p->workers = vmr_workers_new(m);
    p->timers = vmr_timers_new(m, p->context, error);
    if (!p->timers)
        return false;
    if (memory_bytes > UINT64_MAX - DEVICE_MEMORY)
        memory_bytes = UINT64_MAX - DEVICE_MEMORY; /* vmr_ram_init says no */
    if (!vmr_ram_init(&m->ram, memory_bytes + DEVICE_MEMORY, error))
        return false;
    p->exit_on_reset = is_set_to(m, "on-reset", "exit");
    p->reset_on_crash = is_set_to(m, "on-crash", "reset");
    return true;
}

bool vmr_machine_add_ram(VmrMachine *m, uint64_t base, uint64_t size, GError **error)
{
    uint64_t offset = vmr_ram_take(&m->ram, size);
    if (offset == UINT64_MAX) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC, "no 0x%" PRIx64 " bytes of RAM left",
                    size);
        return false;
    }
    VmrPlacement p = {.label = "ram", .base = base, .size = size,
                      .range = {.kind = VMR_RANGE_RAM, .host = m->ram.base + offset,
                                .ram_offset = offset}};
    if (!vmr_space_place(m->memory, &p, error))
        return false;
    VmrMemoryRange range = {base, size};
    g_array_append_val(m->ram_ranges, range);
    return true;
}

bool vmr_machine_create_cpus(VmrMachine *m, GError **error)
{
    m->vm = m->accel->vm_new(m, error);
    if (!m->vm)
        return false;
    for (unsigned i = 0; i < m->cpu_count; i++) {
        m->cpus[i].acpu = m->accel->cpu_new(m->vm, &m->cpus[i], i, m->cpu_model, error);
        if (!m->cpus[i].acpu)
            return false;
    }
    return true;
}

void vmr_machine_free(VmrMachine *m)
{
    if (!m)
        return;
    struct VmrMachinePrivate *p = m->priv;
    if (p) {
        vmr_cpus_join(m);
        vmr_io_thread_end(m);
        vmr_monitor_close(m);
        vmr_monitor_terminal_free(m);
        vmr_swap_free(m);
        vmr_gdb_close(m, 0);
        vmr_debug_free(m);
        vmr_symbols_free(m);
        vmr_workers_drain(p->workers);
    }
    for (unsigned i = m->realize_order ? m->realize_order->len : 0; i-- > 0;) {
        VmrDeviceHandle *h = m->realize_order->pdata[i];
        if (h->realized && h->klass->unrealize)
            h->klass->unrealize(h->device);
        h->realized = false;
    }
    if (p) {
        vmr_workers_drain(p->workers);
        vmr_chardevs_close(m, 0);
        vmr_chardevs_free(m);
        vmr_displays_free(m);
        vmr_drives_free(m);
        vmr_nets_free(m);
    }
    for (unsigned i = 0; m->cpus && i < m->cpu_count; i++) {
        if (m->cpus[i].acpu)
            m->accel->cpu_free(m->cpus[i].acpu);
        g_mutex_clear(&m->cpus[i].lock);
        g_cond_clear(&m->cpus[i].cond);
    }
    if (m->vm)
        m->accel->vm_free(m->vm);
    m->vm = NULL;
    g_clear_pointer(&m->realize_order, g_ptr_array_unref);
    g_clear_pointer(&m->devices, g_ptr_array_unref);
    g_clear_pointer(&m->ram_ranges, g_array_unref);
    vmr_space_free(m->memory);
    vmr_space_free(m->io);
    if (m->ram.base)
        vmr_ram_destroy(&m->ram);
    if (p) {
        vmr_irq_free_all(m);
        vmr_timers_free(p->timers);
        vmr_workers_free(p->workers);
        vmr_domain_free(m->domain);
        g_hash_table_unref(p->values);
        g_clear_pointer(&p->io_context, g_main_context_unref);
        g_main_context_unref(p->context);
        g_mutex_clear(&p->request_lock);
        g_free(p->end_message);
        g_free(p->save_path);
        g_free(p->past_stats);
        vmr_snapshot_free(p->restore);
        g_free(p->pin_levels);
        g_free(p);
    }
    g_free(m->cpus);
    g_free(m->cpu_model);
    g_free(m->accel_note);
    g_free(m);
}

/* ---- stopping and going on -------------------------------------------- */

static void call_devices(VmrMachine *m, bool resume)
{
    vmr_domain_lock_urgent(m->domain);
    for (unsigned i = 0; i < m->devices->len; i++) {
        VmrDeviceHandle *h = m->devices->pdata[i];
        void (*fn)(VmrDevice *) = resume ? h->klass->resume : h->klass->pause;
        if (h->realized && fn)
            fn(h->device);
    }
    vmr_domain_unlock(m->domain);
}

bool vmr_machine_pause(VmrMachine *m)
{
    if (m->priv->pause_depth++)
        return true;
    if (!vmr_cpus_park(m)) {
        m->priv->pause_depth = 0;
        return false;
    }
    vmr_clock_stop(m);
    call_devices(m, false);
    return true;
}

void vmr_machine_resume(VmrMachine *m)
{
    if (m->priv->pause_depth != 1) {
        m->priv->pause_depth -= m->priv->pause_depth > 0;
        return;
    }
    call_devices(m, true);
    m->priv->pause_depth = 0;
    vmr_clock_start(m);
    vmr_cpus_unpark(m);
}

/* ---- requests --------------------------------------------------------- */

static void tell_main_loop(VmrMachine *m)
{
    __atomic_store_n(&m->priv->request_pending, true, __ATOMIC_SEQ_CST);
    vmr_cpus_kick(m);
    g_main_context_wakeup(m->priv->context);
}

void vmr_machine_look(VmrMachine *m)
{
    tell_main_loop(m);
}

static void end(VmrMachine *m, int status, bool by_user, char *message)
{
    struct VmrMachinePrivate *p = m->priv;
    g_mutex_lock(&p->request_lock);
    if (!p->end_wanted) {
        p->end_wanted = true;
        p->end_by_user = by_user;
        p->end_status = status;
        p->end_message = g_steal_pointer(&message);
    }
    g_mutex_unlock(&p->request_lock);
    g_free(message);
    tell_main_loop(m);
}

void vmr_machine_end(VmrMachine *m, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end(m, status, false, format ? g_strdup_vprintf(format, args) : NULL);
    va_end(args);
}

void vmr_machine_leave(VmrMachine *m, int status, const char *message)
{
    end(m, status, true, g_strdup(message));
}

void vmr_machine_request(VmrMachine *m, VmrRequest request, uint32_t code)
{
    if (request == VMR_REQUEST_POWEROFF) {
        vmr_machine_end(m, 0, NULL);
    } else if (request == VMR_REQUEST_EXIT) {
        vmr_machine_end(m, (int)(code & 0xff), NULL);
    } else if (request == VMR_REQUEST_CRASHED && !m->priv->reset_on_crash) {
        vmr_machine_end(m, 3, "the guest says that it crashed");
    } else if (m->priv->exit_on_reset) {
        vmr_machine_end(m, 0, "the guest asked for a reset, and on-reset = exit");
    } else {
        g_mutex_lock(&m->priv->request_lock);
        m->priv->reset_wanted = true;
        g_mutex_unlock(&m->priv->request_lock);
        tell_main_loop(m);
    }
}

/* Carry out what is wanted; true: the machine is to end. */
static bool carry_out(VmrMachine *m)
{
    struct VmrMachinePrivate *p = m->priv;
    if (!__atomic_load_n(&p->request_pending, __ATOMIC_ACQUIRE))
        return false;
    g_mutex_lock(&p->request_lock);
    bool end = p->end_wanted, reset = p->reset_wanted;
    p->reset_wanted = false;
    g_mutex_unlock(&p->request_lock);
    if (end)
        return true;
    if (reset) {
        if (!vmr_machine_pause(m)) {
            vmr_machine_end(m, 1, NULL);
            return true;
        }
        vmr_machine_reset(m, VMR_RESET_WARM);
        vmr_monitor_event(m, VMR_EVENT_RESET, !p->reset_by_user);
        p->reset_by_user = false;
    }
    vmr_swap_carry_out(m);
    vmr_gdb_carry_out(m);
    /* A request that came meanwhile keeps the vCPUs waiting. */
    g_mutex_lock(&p->request_lock);
    if (!p->end_wanted && !p->reset_wanted)
        __atomic_store_n(&p->request_pending, false, __ATOMIC_SEQ_CST);
    g_mutex_unlock(&p->request_lock);
    if (reset)
        vmr_machine_resume(m);
    else
        vmr_cpus_look_again(m);
    return false;
}

/* ---- running ---------------------------------------------------------- */

typedef struct EndSource {
    VmrMachine *machine;
    int status;
    const char *message;
} EndSource;

static gboolean end_now(gpointer data)
{
    EndSource *e = data;
    vmr_machine_leave(e->machine, e->status, e->message);
    return G_SOURCE_CONTINUE;
}

static GSource *end_source(VmrMachine *m, GSource *source, int status, const char *message)
{
    EndSource *e = g_new(EndSource, 1);
    *e = (EndSource){m, status, message};
    g_source_set_callback(source, end_now, e, g_free);
    g_source_attach(source, m->priv->context);
    return source;
}

void vmr_machine_set_time_limit(VmrMachine *m, double seconds)
{
    m->priv->time_limit = seconds;
}

void vmr_machine_set_save(VmrMachine *m, const char *path)
{
    g_free(m->priv->save_path);
    m->priv->save_path = g_strdup(path);
}

bool vmr_machine_set_restore(VmrMachine *m, const char *path, GError **error)
{
    m->priv->restore = vmr_snapshot_open(m, path, error);
    return m->priv->restore;
}

/* Power-on, or what a file has; false: the machine is told to end. */
static bool begin(VmrMachine *m)
{
    struct VmrMachinePrivate *p = m->priv;
    GError *error = NULL;
    if (!p->restore) {
        vmr_machine_reset(m, VMR_RESET_COLD);
        return true;
    }
    call_devices(m, false); /* as they were when it was saved */
    bool ok = vmr_snapshot_apply(p->restore, m, &error);
    g_clear_pointer(&p->restore, vmr_snapshot_free);
    if (!ok) {
        vmr_machine_end(m, 1, "%s", error->message);
        g_error_free(error);
        return false;
    }
    p->resume_devices = true;
    return true;
}

/* What the user ended is not lost, if he said where to put it.  The machine is paused. */
static void save_at_end(VmrMachine *m)
{
    struct VmrMachinePrivate *p = m->priv;
    GError *error = NULL;
    if (!p->save_path || !p->end_by_user)
        return;
    if (vmr_snapshot_save(m, p->save_path, &error)) {
        vmr_core_log(VMR_LOG_INFO, "the machine is saved in %s", p->save_path);
        return;
    }
    vmr_core_log(VMR_LOG_ERROR, "%s", error->message);
    g_error_free(error);
    p->end_status = 1;
}

static void source_end(gpointer source)
{
    g_source_destroy(source);
    g_source_unref(source);
}

static gboolean dump_now(gpointer data)
{
    vmr_displays_dump(data);
    return G_SOURCE_CONTINUE;
}

/* What ends the machine from outside, or asks for its screen. */
static GPtrArray *end_sources(VmrMachine *m)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    GPtrArray *sources = g_ptr_array_new_with_free_func(source_end);
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        g_ptr_array_add(sources, end_source(m, g_unix_signal_source_new(signals[i]),
                                            128 + signals[i], NULL));
    GSource *dump = g_unix_signal_source_new(SIGUSR2);
    g_source_set_callback(dump, dump_now, m, NULL);
    g_source_attach(dump, m->priv->context);
    g_ptr_array_add(sources, dump);
    if (m->priv->time_limit > 0) {
        double ms = MIN(m->priv->time_limit * 1000, (double)G_MAXINT);
        g_ptr_array_add(sources, end_source(m, g_timeout_source_new((guint)ms), 124,
                                            "the time limit is reached"));
    }
    return sources;
}

int vmr_machine_run(VmrMachine *m)
{
    struct VmrMachinePrivate *p = m->priv;
    GError *error = NULL;
    signal(SIGPIPE, SIG_IGN);
    if (!vmr_chardevs_open(m, &error) || !vmr_displays_open(m, &error)) {
        vmr_core_log(VMR_LOG_ERROR, "%s", error->message);
        g_error_free(error);
        vmr_displays_close(m);
        vmr_chardevs_close(m, 0);
        return 1;
    }
    bool good = begin(m);
    if (good && !vmr_cpus_start(m, &error)) {
        vmr_machine_end(m, 1, "%s", error->message);
        g_error_free(error);
    }
    p->run_start = g_get_monotonic_time();
    vmr_swap_start(m);
    if (p->resume_devices && vmr_gdb_waits(m)) {
        /* it stays paused, as it was when it was saved */
    } else if (p->resume_devices) {
        vmr_machine_resume(m); /* it was paused when it was saved */
    } else {
        p->pause_depth = 0; /* no resume(): no device was told to pause */
        if (!vmr_gdb_waits(m)) {
            vmr_clock_start(m);
            vmr_cpus_unpark(m);
        } else {
            (void)vmr_machine_pause(m);
        }
    }
    GPtrArray *sources = end_sources(m);
    while (!carry_out(m))
        g_main_context_iteration(p->context, TRUE);
    bool stopped = vmr_machine_pause(m);
    if (stopped && good)
        save_at_end(m);
    if (p->end_status == 3 && !p->end_by_user)
        vmr_monitor_event(m, VMR_EVENT_PANICKED, true);
    vmr_monitor_event(m, VMR_EVENT_SHUTDOWN, !p->end_by_user);
    vmr_monitor_close(m);
    vmr_gdb_close(m, p->end_status);
    p->run_time = g_get_monotonic_time() - p->run_start;
    vmr_displays_close(m);
    vmr_displays_dump(m);
    vmr_chardevs_close(m, FLUSH_MS);
    /* Only now may a signal kill us: the terminal is as it was. */
    g_ptr_array_unref(sources);
    if (p->end_message)
        vmr_core_log(p->end_status == 1 ? VMR_LOG_ERROR : VMR_LOG_INFO, "%s", p->end_message);
    if (!stopped) {
        /* Nothing can be freed under the feet of a running vCPU. */
        vmr_trace_finish();
        _exit(p->end_status ? p->end_status : 1);
    }
    return p->end_status;
}

/* ---- statistics ------------------------------------------------------- */

void vmr_stats_add(VmrCpuStats *to, const VmrCpuStats *more)
{
    to->instructions += more->instructions;
    to->exits_mmio += more->exits_mmio;
    to->exits_pio += more->exits_pio;
    to->exits_halt += more->exits_halt;
    to->interrupts += more->interrupts;
    to->exceptions += more->exceptions;
    to->blocks_translated += more->blocks_translated;
    to->flushes += more->flushes;
}

void vmr_machine_print_stats(VmrMachine *m, FILE *to)
{
    VmrCpuStats all = {0};
    double seconds = (double)m->priv->run_time / G_USEC_PER_SEC;
    for (unsigned i = 0; i < m->cpu_count; i++) {
        VmrCpuStats s = {0};
        if (m->cpus[i].acpu && m->accel->cpu_stats)
            m->accel->cpu_stats(m->cpus[i].acpu, &s);
        if (m->priv->past_stats)
            vmr_stats_add(&s, &m->priv->past_stats[i]);
        vmr_stats_add(&all, &s);
        fprintf(to, "cpu%u: %" PRIu64 " instructions, %" PRIu64 " interrupts, %" PRIu64
                " exceptions; exits: %" PRIu64 " mmio, %" PRIu64 " pio, %" PRIu64 " halt\n",
                i, s.instructions, s.interrupts, s.exceptions, s.exits_mmio, s.exits_pio,
                s.exits_halt);
    }
    fprintf(to, "total: %.3f s, %" PRIu64 " instructions, %.1f MIPS, %" PRIu64
            " exits, %" PRIu64 " blocks translated, %" PRIu64 " flushes\n", seconds,
            all.instructions, seconds > 0 ? (double)all.instructions / seconds / 1e6 : 0.0,
            all.exits_mmio + all.exits_pio + all.exits_halt, all.blocks_translated, all.flushes);
    for (unsigned i = 0; i < m->devices->len; i++) {
        VmrDeviceHandle *h = m->devices->pdata[i];
        if (h->accesses || h->guest_errors)
            fprintf(to, "%s: %" PRIu64 " accesses, %.3f ms, %" PRIu64 " guest errors\n", h->name,
                    h->accesses, (double)h->access_ns / 1e6, h->guest_errors);
    }
}
