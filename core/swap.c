/*
 * core/swap.c - the accelerator is exchanged under a machine that goes on.
 *
 * The machine is paused, each CPU's architectural state is read from the old VM and
 * written into a new one, and the levels of the CPUs' pins are told again.  Devices,
 * memory and the clock stay as they are.
 */
#include "swap.h"

#include "config.h"
#include "debug.h"
#include "monitor.h"
#include "runtime.h"
#include "symbols.h"

#include <string.h>
#include <vmrun/x86.h>

/* ---- the exchange ----------------------------------------------------- */

static const VmrX86CpuInterface *x86_of(const VmrAccelClass *accel, void *acpu)
{
    return accel->cpu_interface ? accel->cpu_interface(acpu, VMR_X86_CPU) : NULL;
}

static const VmrAccelClass *target_of(VmrMachine *m, const char *name, GError **error)
{
    for (unsigned i = 0; vmr_accels[i]; i++) {
        const VmrAccelClass *a = vmr_accels[i];
        if (name ? strcmp(a->name, name) != 0 : a == m->accel)
            continue;
        if (!a->probe || a->probe(name ? error : NULL))
            return a;
        if (name)
            return NULL;
    }
    if (!name)
        return m->accel;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "no accelerator is named '%s'", name);
    return NULL;
}

typedef struct Side {
    const VmrAccelClass *accel;
    void *vm, **acpus;
} Side;

static void side_free(Side *s, unsigned cpus)
{
    for (unsigned i = 0; i < cpus; i++)
        if (s->acpus[i])
            s->accel->cpu_free(s->acpus[i]);
    if (s->vm)
        s->accel->vm_free(s->vm);
    g_free(s->acpus);
}

static void take_side(VmrMachine *m, const Side *s)
{
    m->accel = s->accel;
    m->vm = s->vm;
    for (unsigned i = 0; i < m->cpu_count; i++)
        m->cpus[i].acpu = s->acpus[i];
}

static bool make_side(VmrMachine *m, Side *s, GError **error)
{
    s->vm = s->accel->vm_new(m, error);
    for (unsigned i = 0; s->vm && i < m->cpu_count; i++) {
        s->acpus[i] = s->accel->cpu_new(s->vm, &m->cpus[i], i, m->cpu_model, error);
        if (!s->acpus[i])
            return false;
    }
    return s->vm;
}

static bool set_states(VmrMachine *m, const VmrX86State *states, GError **error)
{
    for (unsigned i = 0; i < m->cpu_count; i++) {
        const VmrX86CpuInterface *x86 = x86_of(m->accel, m->cpus[i].acpu);
        m->accel->cpu_reset(m->cpus[i].acpu, VMR_RESET_COLD);
        if (!x86->set_state(&m->cpus[i], &states[i], error)) {
            g_prefix_error(error, "CPU %u: ", i);
            return false;
        }
    }
    return true;
}

/* Whoever drives a pin says again what its level is. */
static void tell_pins(VmrMachine *m)
{
    vmr_irq_settle(m);
    VmrDevice *intc = m->intc;
    GError *error = NULL;
    if (intc && intc->klass->post_load &&
        !intc->klass->post_load(intc, intc->klass->state_version, &error)) {
        vmr_core_log(VMR_LOG_WARNING, "%s: %s", intc->name, error ? error->message : "?");
        g_clear_error(&error);
    }
}

static bool exchange(VmrMachine *m, const VmrAccelClass *to, GError **error)
{
    Side old = {m->accel, m->vm, g_new0(void *, m->cpu_count)};
    Side new = {to, NULL, g_new0(void *, m->cpu_count)};
    VmrX86State *states = g_new0(VmrX86State, m->cpu_count);
    bool ok = true;
    for (unsigned i = 0; i < m->cpu_count; i++) {
        old.acpus[i] = m->cpus[i].acpu;
        const VmrX86CpuInterface *x86 = x86_of(old.accel, old.acpus[i]);
        states[i].size = sizeof states[i];
        ok = ok && x86;
        if (x86)
            x86->get_state(&m->cpus[i], &states[i]);
    }
    if (!ok) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS, "%s does not give the state of its CPUs",
                    m->accel->name);
    } else {
        ok = make_side(m, &new, error) && vmr_debug_fits(m, to, new.vm, error);
        if (ok) {
            take_side(m, &new);
            if (m->accel->map_changed)
                m->accel->map_changed(m->vm);
            ok = set_states(m, states, error);
        }
        if (!ok)
            take_side(m, &old);
    }
    for (unsigned i = 0; ok && i < m->cpu_count; i++) {
        VmrCpuStats s = {0};
        if (old.accel->cpu_stats)
            old.accel->cpu_stats(old.acpus[i], &s);
        vmr_stats_add(&m->priv->past_stats[i], &s);
        vmr_cpu_wake(&m->cpus[i]);
    }
    if (ok)
        vmr_debug_renewed(m);
    side_free(ok ? &old : &new, m->cpu_count);
    /* When the other one has let go of the devices. */
    tell_pins(m);
    if (ok)
        g_free(new.acpus);
    else
        g_free(old.acpus);
    g_free(states);
    return ok;
}

bool vmr_machine_swap(VmrMachine *m, const char *name, GError **error)
{
    const VmrAccelClass *to = target_of(m, name, error);
    if (!to)
        return false;
    if (!vmr_machine_pause(m)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "the machine does not stop");
        return false;
    }
    if (!m->priv->past_stats)
        m->priv->past_stats = g_new0(VmrCpuStats, m->cpu_count);
    vmr_workers_drain(m->priv->workers);
    vmr_domain_lock_urgent(m->domain);
    bool ok = exchange(m, to, error);
    vmr_domain_unlock(m->domain);
    vmr_machine_resume(m);
    if (ok)
        vmr_monitor_event(m, VMR_EVENT_SWAP, false);
    else
        g_prefix_error(error, "%s does not take over: ", to->name);
    return ok;
}

/* ---- events ----------------------------------------------------------- */

typedef enum Kind { AT_IO, AT_MMIO, AT_IRQ, AT_TIME, AT_PC } Kind;

typedef struct Event {
    Kind kind;
    uint64_t at;   /* port, address, member of the input, or ms */
    char *device;  /* AT_IRQ */
    char *accel;
    char *text;
} Event;

struct VmrSwaps {
    GArray *events;  /* Event */
    unsigned next;   /* atomic: the one that is waited for */
    bool come;       /* atomic: it has come */
    GSource *timer;
};

bool vmr_swap_armed;

static void event_clear(gpointer data)
{
    Event *e = data;
    g_free(e->device);
    g_free(e->accel);
    g_free(e->text);
}

static bool parse_event(VmrMachine *m, const char *name, const char *value, Event *e, GError **error)
{
    guint64 n = 0;
    if (!strcmp(name, "time")) {
        char *end;
        double seconds = g_ascii_strtod(value, &end);
        e->kind = AT_TIME;
        e->at = seconds >= 0 && seconds < 1e6 ? (uint64_t)(seconds * 1000) : 0;
        return end != value && !*end && seconds >= 0 && seconds < 1e6;
    }
    if (!strcmp(name, "irq")) {
        const char *colon = strrchr(value, ':');
        e->kind = AT_IRQ;
        if (!colon || colon == value || !vmr_parse_number(colon + 1, &n))
            return false;
        e->device = g_strndup(value, (gsize)(colon - value));
        e->at = n;
        return true;
    }
    if (!strcmp(name, "pc")) {
        e->kind = AT_PC;
        return vmr_symbols_address(m, value, &e->at, error);
    }
    e->kind = !strcmp(name, "io") ? AT_IO : AT_MMIO;
    if ((e->kind == AT_MMIO && strcmp(name, "mmio")) || !vmr_parse_number(value, &n))
        return false;
    e->at = n;
    return e->kind == AT_MMIO || n <= 0xffff;
}

bool vmr_swap_add(VmrMachine *m, const char *spec, GError **error)
{
    const char *equals = strchr(spec, '='), *colon = strrchr(spec, ':');
    Event e = {.text = g_strdup(spec)};
    char *name = equals ? g_strndup(spec, (gsize)(equals - spec)) : NULL;
    char *value = equals && colon > equals ? g_strndup(equals + 1, (gsize)(colon - equals - 1)) : NULL;
    GError *why = NULL;
    bool ok = value && parse_event(m, name, value, &e, &why);
    if (why)
        g_propagate_prefixed_error(error, why, "--swap %s: ", spec);
    else if (!ok)
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--swap: '%s' is not EVENT:ACCEL with an event pc=ADDRESS, pc=SYMBOL, io=PORT, "
                    "mmio=ADDRESS, irq=DEVICE:N or time=SECONDS", spec);
    if (ok) {
        e.accel = g_strdup(colon + 1);
        ok = target_of(m, e.accel, error) != NULL;
        if (!ok)
            g_prefix_error(error, "--swap %s: ", spec);
    }
    if (ok && e.kind == AT_IRQ) {
        bool found = false;
        for (unsigned i = 0; i < m->devices->len; i++)
            found |= !strcmp(((VmrDeviceHandle *)m->devices->pdata[i])->name, e.device);
        ok = found;
        if (!ok)
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        "--swap %s: there is no device '%s'", spec, e.device);
    }
    g_free(name);
    g_free(value);
    if (!ok) {
        event_clear(&e);
        return false;
    }
    if (!m->priv->swaps) {
        m->priv->swaps = g_new0(struct VmrSwaps, 1);
        m->priv->swaps->events = g_array_new(FALSE, FALSE, sizeof(Event));
        g_array_set_clear_func(m->priv->swaps->events, event_clear);
    }
    g_array_append_val(m->priv->swaps->events, e);
    return true;
}

static const Event *waited_for(VmrMachine *m)
{
    struct VmrSwaps *s = m->priv->swaps;
    if (!s || __atomic_load_n(&s->come, __ATOMIC_ACQUIRE))
        return NULL;
    unsigned n = __atomic_load_n(&s->next, __ATOMIC_ACQUIRE);
    return n < s->events->len ? &g_array_index(s->events, Event, n) : NULL;
}

static void has_come(VmrMachine *m)
{
    if (!__atomic_exchange_n(&m->priv->swaps->come, true, __ATOMIC_ACQ_REL))
        vmr_machine_look(m);
}

void vmr_swap_access(VmrMachine *m, bool io, uint64_t address, unsigned size)
{
    const Event *e = waited_for(m);
    if (e && e->kind == (io ? AT_IO : AT_MMIO) && e->at - address < size)
        has_come(m);
}

void vmr_swap_irq(VmrMachine *m, VmrDevice *device, unsigned n)
{
    const Event *e = waited_for(m);
    if (e && e->kind == AT_IRQ && e->at == n && !strcmp(e->device, device->name))
        has_come(m);
}

bool vmr_swap_pc(VmrMachine *m, uint64_t address)
{
    const Event *e = waited_for(m);
    if (!e || e->kind != AT_PC || e->at != address)
        return false;
    /* Of two CPUs that come at once one is the event. */
    bool first = !__atomic_exchange_n(&m->priv->swaps->come, true, __ATOMIC_ACQ_REL);
    vmr_machine_look(m);
    return first;
}

static gboolean time_is_up(gpointer data)
{
    VmrMachine *m = data;
    struct VmrSwaps *s = m->priv->swaps;
    g_source_unref(g_steal_pointer(&s->timer));
    has_come(m);
    return G_SOURCE_REMOVE;
}

static VmrPoint point_of(const Event *e)
{
    return (VmrPoint){.address = e->at, .kind = VMR_POINT_EXEC, .size = 1};
}

static void arm(VmrMachine *m)
{
    struct VmrSwaps *s = m->priv->swaps;
    const Event *e = waited_for(m);
    bool fabric = e && e->kind != AT_TIME && e->kind != AT_PC;
    __atomic_store_n(&vmr_swap_armed, fabric, __ATOMIC_RELEASE);
    if (e && e->kind == AT_PC) {
        GError *error = NULL;
        VmrPoint p = point_of(e);
        if (!vmr_debug_add(m, &p, &error)) {
            vmr_machine_end(m, 1, "--swap %s: %s", e->text, error->message);
            g_error_free(error);
        }
    }
    if (!e || e->kind != AT_TIME)
        return;
    s->timer = g_timeout_source_new((guint)e->at);
    g_source_set_callback(s->timer, time_is_up, m, NULL);
    g_source_attach(s->timer, m->priv->context);
}

void vmr_swap_start(VmrMachine *m)
{
    if (m->priv->swaps)
        arm(m);
}

void vmr_swap_carry_out(VmrMachine *m)
{
    struct VmrSwaps *s = m->priv->swaps;
    if (!s || !__atomic_load_n(&s->come, __ATOMIC_ACQUIRE))
        return;
    const Event *e = &g_array_index(s->events, Event, s->next);
    GError *error = NULL;
    if (e->kind == AT_PC) {
        VmrPoint p = point_of(e);
        vmr_debug_remove(m, &p);
    }
    if (vmr_machine_swap(m, e->accel, &error))
        vmr_core_log(VMR_LOG_INFO, "--swap %s: the machine runs on %s", e->text, m->accel->name);
    else
        vmr_core_log(VMR_LOG_ERROR, "--swap %s: %s", e->text, error->message);
    g_clear_error(&error);
    s->next++;
    __atomic_store_n(&s->come, false, __ATOMIC_RELEASE);
    arm(m);
}

void vmr_swap_free(VmrMachine *m)
{
    struct VmrSwaps *s = m->priv->swaps;
    if (!s)
        return;
    if (s->timer) {
        g_source_destroy(s->timer);
        g_source_unref(s->timer);
    }
    vmr_swap_armed = false;
    g_array_unref(s->events);
    g_free(s);
    m->priv->swaps = NULL;
}
