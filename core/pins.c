/*
 * core/pins.c - line inputs that are no device's: pins of vCPUs and lines of the machine.
 *
 * All under the domain lock.  Pins that act on an edge remember their level, for
 * a reset tells every input its level again.
 */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>
#include <vmrun/x86.h>

enum { INTR, NMI, SMI, INIT, PINS };
enum { A20, RESET, POWEROFF, LINES };

const char *const vmr_cpu_pins[] = {"intr", "nmi", "smi", "init", NULL};
const char *const vmr_machine_lines[] = {"a20", "reset", "poweroff", NULL};

void vmr_pins_init(VmrMachine *m)
{
    m->a20 = true;
    m->priv->pin_levels = g_new0(uint8_t, LINES + PINS * m->cpu_count);
}

static bool rises(uint8_t *before, bool level)
{
    bool edge = level && !*before;
    *before = level;
    return edge;
}

static void trace(const char *who, const char *pin, bool level)
{
    vmr_core_trace(who, "irq: %s %s", pin, level ? "asserted" : "deasserted");
}

static void cpu_pin(void *opaque, unsigned pin, bool level)
{
    VmrCpu *cpu = opaque;
    VmrMachine *m = cpu->machine;
    if (vmr_tracing(VMR_TRACE_IRQ)) {
        char who[16];
        g_snprintf(who, sizeof who, "cpu%u", cpu->index);
        trace(who, vmr_cpu_pins[pin], level);
    }
    bool edge = rises(&m->priv->pin_levels[LINES + PINS * cpu->index + pin], level);
    const VmrX86CpuInterface *x86 = NULL;
    if (cpu->acpu && m->accel->cpu_interface)
        x86 = m->accel->cpu_interface(cpu->acpu, VMR_X86_CPU);
    if (!x86)
        return;
    if (pin == INTR)
        x86->set_intr(cpu, level);
    else if (pin == NMI && edge)
        x86->nmi(cpu);
    else if (pin == SMI && edge)
        x86->smi(cpu);
    else if (pin == INIT && edge)
        x86->init(cpu);
}

static void machine_line(void *opaque, unsigned line, bool level)
{
    VmrMachine *m = opaque;
    if (vmr_tracing(VMR_TRACE_IRQ))
        trace("machine", vmr_machine_lines[line], level);
    bool edge = rises(&m->priv->pin_levels[line], level);
    if (line == A20 && m->a20 != level) {
        __atomic_store_n(&m->a20, level, __ATOMIC_RELEASE);
        if (m->vm && m->accel->map_changed)
            m->accel->map_changed(m->vm);
    } else if (line == RESET && edge) {
        vmr_machine_request(m, VMR_REQUEST_RESET, 0);
    } else if (line == POWEROFF && edge) {
        vmr_machine_request(m, VMR_REQUEST_POWEROFF, 0);
    }
}

/* As a change, but nothing that happens on an edge. */
void vmr_pin_preset(const VmrIrqInput *to, bool level)
{
    if (to->core_changed == machine_line) {
        VmrMachine *m = to->opaque;
        m->priv->pin_levels[to->n] = level;
    } else {
        VmrCpu *cpu = to->opaque;
        cpu->machine->priv->pin_levels[LINES + PINS * cpu->index + to->n] = level;
    }
    to->core_changed(to->opaque, to->n, level);
}

static bool index_of(const char *const *names, const char *name, uint32_t *n)
{
    for (*n = 0; names[*n]; ++*n)
        if (!strcmp(names[*n], name))
            return true;
    return false;
}

bool vmr_machine_pin(VmrMachine *m, const char *device, const char *pin, VmrIrqInput *input)
{
    *input = (VmrIrqInput){0};
    if (!strcmp(device, "machine")) {
        input->opaque = m;
        input->core_changed = machine_line;
        return index_of(vmr_machine_lines, pin, &input->n);
    }
    if (strncmp(device, "cpu", 3) || !g_ascii_isdigit(device[3]))
        return false;
    char *end;
    unsigned long index = strtoul(device + 3, &end, 10);
    if (*end || index >= m->cpu_count)
        return false;
    input->opaque = &m->cpus[index];
    input->core_changed = cpu_pin;
    return index_of(vmr_cpu_pins, pin, &input->n);
}
