/*
 * core/irqwire.c - the wiring of an output: irq = pic0:4, !cpu0:nmi + ioapic0:in:2, ...
 *
 *     outputs := member { "," member }      one for each member of the group
 *     member  := "none" | input { "+" input }
 *     input   := ["!"] DEVICE [":" GROUP] [":" (N | N "-" N)]
 *
 * Without GROUP the device's first input group is meant, without N its only
 * member.  N-N stands for as many outputs, one to each, and stands alone.
 * DEVICE may also be cpuN (GROUP is a pin) and machine (GROUP is a line).
 */
#include "core/wire.h"

#include <string.h>

typedef struct Wiring {
    VmrMachine *machine;
    VmrDeviceHandle *from;
    const VmrLine *line;
    const VmrSection *section;
    const VmrValue *value;
    VmrErrors *errors;
} Wiring;

/* An input as written, resolved; count > 1: N-N. */
typedef struct Target {
    VmrIrqInput input;
    VmrRoutedLine route;
    uint32_t count;
    bool downwards;
} Target;

G_GNUC_PRINTF(2, 3) static bool wrong(const Wiring *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vmr_errors_add(w->errors, w->value->place, w->section->title, w->line->name, "%s", text);
    g_free(text);
    return false;
}

/* N or N-N; false: neither. */
static bool parse_index(const char *text, uint64_t *first, uint64_t *last)
{
    char **ends = g_strsplit(text, "-", 3);
    unsigned n = g_strv_length(ends);
    bool ok = n >= 1 && n <= 2;
    for (unsigned i = 0; ok && i < n; i++) {
        guint64 v;
        ok = vmr_parse_number(g_strstrip(ends[i]), &v);
        if (ok && i == 0)
            *first = v;
        if (ok)
            *last = v;
    }
    g_strfreev(ends);
    return ok;
}

static bool is_core_name(const char *name)
{
    return strcmp(name, "machine") == 0 ||
           (g_str_has_prefix(name, "cpu") && name[3] &&
            strspn(name + 3, "0123456789") == strlen(name + 3));
}

static bool resolve_core(const Wiring *w, char **part, unsigned parts, Target *t)
{
    bool machine = strcmp(part[0], "machine") == 0;
    const char *const *pins = machine ? vmr_machine_lines : vmr_cpu_pins;
    guint64 cpu = 0;

    if (!machine && (!vmr_parse_number(part[0] + 3, &cpu) || cpu >= w->machine->cpu_count))
        return wrong(w, "there is no %s: [machine] cpus is %u", part[0], w->machine->cpu_count);
    if (parts != 2 || !vmr_machine_pin(w->machine, part[0], part[1], &t->input)) {
        char *all = g_strjoinv(", ", (char **)pins);
        char *hint = vmr_nearest_hint(parts > 1 ? part[1] : "", pins);
        wrong(w, "of %s, one of %s is wanted%s", part[0], all, hint);
        g_free(hint);
        g_free(all);
        return false;
    }
    t->route.to_index = (uint32_t)cpu;
    for (unsigned i = 0; pins[i]; i++)
        if (strcmp(pins[i], part[1]) == 0)
            t->route.to_line = pins[i];
    return true;
}

static bool unknown_device(const Wiring *w, const char *name)
{
    if (vmr_config_section(w->machine->config, "device", name))
        return false; /* its own error is already said */
    GPtrArray *names = vmr_config_device_names(w->machine->config);
    g_ptr_array_insert(names, 0, (gpointer)"machine");
    g_ptr_array_insert(names, 0, (gpointer)"cpu0");
    char *hint = vmr_nearest_hint(name, (const char *const *)names->pdata);
    wrong(w, "there is no device '%s'%s", name, hint);
    g_free(hint);
    g_ptr_array_unref(names);
    return false;
}

static bool unknown_group(const Wiring *w, const VmrDeviceHandle *to, const char *name)
{
    GPtrArray *names = g_ptr_array_new();
    for (const VmrLine *l = to->klass->lines; l && l->name; l++)
        if (l->direction == VMR_LINE_IN)
            g_ptr_array_add(names, (gpointer)l->name);
    g_ptr_array_add(names, NULL);
    char *hint = vmr_nearest_hint(name, (const char *const *)names->pdata);
    wrong(w, "%s (%s) has no input '%s'%s", to->name, to->klass->id, name, hint);
    g_free(hint);
    g_ptr_array_unref(names);
    return false;
}

static bool resolve_device(const Wiring *w, char **part, unsigned parts, Target *t)
{
    VmrDeviceHandle *to = vmr_machine_device(w->machine, part[0]);
    const VmrLine *group = NULL;
    const char *index = NULL;
    uint64_t first = 0, last = 0;

    if (!to)
        return unknown_device(w, part[0]);
    if (parts == 3 || (parts == 2 && g_ascii_isdigit(*part[1])))
        index = part[parts - 1];
    const char *name = parts == 3 || (parts == 2 && !index) ? part[1] : NULL;
    for (const VmrLine *l = to->klass->lines; l && l->name && !group; l++)
        if (l->direction == VMR_LINE_IN && (!name || strcmp(name, l->name) == 0))
            group = l;
    if (!group && !name)
        return wrong(w, "%s (%s) has no inputs", to->name, to->klass->id);
    if (!group)
        return unknown_group(w, to, name);
    if (!index && group->count > 1)
        return wrong(w, "input %s of %s has %u members: write %s:%s:N", group->name, to->name,
                     group->count, to->name, group->name);
    if (index && !parse_index(index, &first, &last))
        return wrong(w, "'%s' is no number of an input", index);
    if (first >= group->count || last >= group->count)
        return wrong(w, "input %s of %s has members 0..%u, not %s", group->name, to->name,
                     group->count - 1, index);
    t->downwards = last < first;
    t->count = (uint32_t)(t->downwards ? first - last : last - first) + 1;
    t->input.device = to->device;
    t->input.changed = group->changed;
    t->input.n = (uint32_t)first;
    t->route.to = to->device;
    t->route.to_line = group->name;
    t->route.to_index = (uint32_t)first;
    return true;
}

static bool resolve(const Wiring *w, const char *text, Target *t)
{
    memset(t, 0, sizeof(*t));
    t->count = 1;
    char *copy = g_strdup(text), *p = g_strstrip(copy);
    bool inverted = *p == '!', ok;
    if (inverted)
        p = g_strchug(p + 1);
    char **part = g_strsplit(p, ":", 0);
    unsigned parts = g_strv_length(part);
    for (unsigned i = 0; i < parts; i++)
        g_strstrip(part[i]);
    if (parts < 1 || parts > 3 || !*part[0])
        ok = wrong(w, "'%s' is no input: DEVICE:N or DEVICE:GROUP:N is wanted", text);
    else if (is_core_name(part[0]))
        ok = resolve_core(w, part, parts, t);
    else
        ok = resolve_device(w, part, parts, t);
    t->input.inverted = t->route.inverted = inverted;
    t->route.name = w->line->name;
    g_strfreev(part);
    g_free(copy);
    return ok;
}

static void connect_one(const Wiring *w, uint32_t member, const GArray *targets)
{
    GArray *inputs = g_array_new(FALSE, FALSE, sizeof(VmrIrqInput));
    for (unsigned i = 0; i < targets->len; i++) {
        const Target *t = &g_array_index(targets, Target, i);
        VmrRoutedLine route = t->route;
        route.index = member;
        g_array_append_val(inputs, t->input);
        g_array_append_val(w->from->routes, route);
    }
    VmrIrq irq =
        vmr_irq_connect(w->machine, (const VmrIrqInput *)(void *)inputs->data, inputs->len);
    uint8_t *to = (uint8_t *)w->from->device + w->line->offset + member * sizeof(VmrIrq);
    memcpy(to, &irq, sizeof(irq));
    g_array_unref(inputs);
}

/* One member as written; *next: the output it is for, moved on. */
static void wire_member(const Wiring *w, const char *text, uint64_t *next)
{
    GArray *targets = g_array_new(FALSE, FALSE, sizeof(Target));
    char *copy = g_strdup(text);
    char **words = g_strsplit(g_strstrip(copy), "+", 0);
    bool ok = true, many = false;
    uint32_t members = 1;

    if (strcmp(copy, "none") != 0 && *copy) {
        for (unsigned i = 0; words[i]; i++) {
            Target t;
            if (!resolve(w, words[i], &t)) {
                ok = false;
                continue;
            }
            many |= t.count > 1;
            members = MAX(members, t.count);
            g_array_append_val(targets, t);
        }
    }
    if (ok && many && targets->len > 1)
        ok = wrong(w, "'%s': a range of inputs stands alone", text);
    for (uint32_t i = 0; i < members; i++, ++*next) {
        if (!ok || !targets->len || *next >= w->line->count)
            continue;
        connect_one(w, (uint32_t)*next, targets);
        Target *t = &g_array_index(targets, Target, 0);
        if (i + 1 < members) {
            t->input.n += t->downwards ? UINT32_MAX : 1;
            t->route.to_index = t->input.n;
        }
    }
    g_strfreev(words);
    g_free(copy);
    g_array_unref(targets);
}

void vmr_wire_line(VmrMachine *machine, VmrDeviceHandle *from, const VmrLine *line,
                   const VmrSection *section, const VmrValue *value, VmrErrors *errors)
{
    Wiring w = {machine, from, line, section, value, errors};
    uint64_t next = 0;
    if (value->broken || !*value->text)
        return;
    char **members = g_strsplit(value->text, ",", 0);
    for (unsigned i = 0; members[i]; i++)
        wire_member(&w, members[i], &next);
    g_strfreev(members);
    if (next > line->count)
        wrong(&w, "it wires %" G_GUINT64_FORMAT " outputs; %s of %s has %u", (guint64)next,
              line->name, from->klass->id, line->count);
}

bool vmr_wire_machine_line(VmrMachine *machine, const VmrSection *section, const VmrValue *value,
                           VmrIrq *irq, VmrErrors *errors)
{
    const VmrLine line = {.name = value->key, .direction = VMR_LINE_OUT, .count = 1};
    Wiring w = {machine, NULL, &line, section, value, errors};
    Target t;
    if (value->broken || !*value->text || strcmp(value->text, "none") == 0)
        return true;
    if (!resolve(&w, value->text, &t))
        return false;
    *irq = vmr_irq_connect(machine, &t.input, 1);
    return true;
}
