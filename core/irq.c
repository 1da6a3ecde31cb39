/*
 * core/irq.c - IRQ lines: outputs with a level each, inputs that are the OR of them.
 *
 * An input is told of changes only, in its domain.  A change may be driven from
 * any thread, and with no machine running.
 */
#include "runtime.h"
#include "swap.h"

/* A ring of wires in a machine file must not become a recursion without end. */
enum { MAX_CHAIN = 32 };

typedef struct Input {
    VmrMachine *machine;
    VmrIrqInput to;
    unsigned asserted; /* how many of its drivers assert it */
    bool level;        /* as last told */
} Input;

typedef struct Target {
    Input *input;
    bool inverted;
} Target;

struct VmrIrqSink {
    VmrMachine *machine;
    bool level; /* atomic; written under the domain lock */
    unsigned count;
    Target targets[];
};

static _Thread_local unsigned chain;

static void tell(Input *in, bool level)
{
    in->level = level;
    if (G_UNLIKELY(vmr_swap_armed) && level && in->to.device)
        vmr_swap_irq(in->machine, in->to.device, in->to.n);
    if (vmr_tracing(VMR_TRACE_IRQ) && in->to.device)
        vmr_core_trace(in->to.device->name, "irq: input %u %s", in->to.n,
                       level ? "asserted" : "deasserted");
    if (in->to.device)
        in->to.changed(in->to.device, in->to.n, level);
    else
        in->to.core_changed(in->to.opaque, in->to.n, level);
}

void vmr_irq_drive(VmrIrq irq, bool level)
{
    VmrIrqSink *sink = irq.sink;
    if (!sink || __atomic_load_n(&sink->level, __ATOMIC_RELAXED) == level)
        return;
    VmrDomain *domain = sink->machine->domain;
    if (domain)
        vmr_domain_lock(domain);
    if (sink->level != level && chain >= MAX_CHAIN) {
        vmr_core_log(VMR_LOG_WARNING, "IRQ lines lead back to themselves: a change is dropped");
    } else if (sink->level != level) {
        __atomic_store_n(&sink->level, level, __ATOMIC_RELAXED);
        chain++;
        /* All counts first, so that a handler that looks around sees one instant. */
        for (unsigned i = 0; i < sink->count; i++) {
            bool up = level != sink->targets[i].inverted;
            sink->targets[i].input->asserted += up ? 1u : -1u;
        }
        for (unsigned i = 0; i < sink->count; i++) {
            Input *in = sink->targets[i].input;
            bool now = in->asserted > 0;
            if (now != in->level)
                tell(in, now);
        }
        chain--;
    }
    if (domain)
        vmr_domain_unlock(domain);
}

static Input *input_of(VmrMachine *m, const VmrIrqInput *to)
{
    for (unsigned i = 0; i < m->priv->irq_inputs->len; i++) {
        Input *in = m->priv->irq_inputs->pdata[i];
        if (in->to.device == to->device && in->to.changed == to->changed &&
            in->to.core_changed == to->core_changed && in->to.opaque == to->opaque &&
            in->to.n == to->n)
            return in;
    }
    Input *in = g_new0(Input, 1);
    in->machine = m;
    in->to = *to;
    g_ptr_array_add(m->priv->irq_inputs, in);
    return in;
}

VmrIrq vmr_irq_connect(VmrMachine *m, const VmrIrqInput *inputs, unsigned count)
{
    if (!count)
        return (VmrIrq){0};
    VmrIrqSink *sink = g_malloc0(sizeof *sink + count * sizeof(Target));
    sink->machine = m;
    sink->count = count;
    for (unsigned i = 0; i < count; i++) {
        sink->targets[i] = (Target){input_of(m, &inputs[i]), inputs[i].inverted};
        /* The output is low.  The input learns of an inverted one at the first reset. */
        sink->targets[i].input->asserted += inputs[i].inverted;
    }
    g_ptr_array_add(m->priv->irq_sinks, sink);
    return (VmrIrq){.sink = sink};
}

void vmr_irq_redrive(VmrMachine *m)
{
    for (unsigned i = 0; i < m->priv->irq_inputs->len; i++) {
        Input *in = m->priv->irq_inputs->pdata[i];
        tell(in, in->asserted > 0);
    }
}

bool vmr_irq_level(VmrIrq irq)
{
    return irq.sink && __atomic_load_n(&irq.sink->level, __ATOMIC_RELAXED);
}

void vmr_irq_preset(VmrIrq irq, bool level)
{
    if (irq.sink)
        __atomic_store_n(&irq.sink->level, level, __ATOMIC_RELAXED);
}

void vmr_irq_settle(VmrMachine *m)
{
    for (unsigned i = 0; i < m->priv->irq_inputs->len; i++)
        ((Input *)m->priv->irq_inputs->pdata[i])->asserted = 0;
    for (unsigned i = 0; i < m->priv->irq_sinks->len; i++) {
        const VmrIrqSink *sink = m->priv->irq_sinks->pdata[i];
        for (unsigned k = 0; k < sink->count; k++)
            sink->targets[k].input->asserted += sink->level != sink->targets[k].inverted;
    }
    for (unsigned i = 0; i < m->priv->irq_inputs->len; i++) {
        Input *in = m->priv->irq_inputs->pdata[i];
        in->level = in->asserted > 0;
        if (!in->to.device)
            vmr_pin_preset(&in->to, in->level);
    }
}

void vmr_irq_free_all(VmrMachine *m)
{
    g_clear_pointer(&m->priv->irq_inputs, g_ptr_array_unref);
    g_clear_pointer(&m->priv->irq_sinks, g_ptr_array_unref);
}
