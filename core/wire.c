/*
 * core/wire.c - from the sections of a machine file to a machine.
 *
 * vmr_machine_wire() makes all devices, sets their properties, resolves links,
 * connects lines and plans the regions, and tells everything that is wrong with
 * the file in one go; no device's realize() has run by then.
 * vmr_machine_realize() (realize.c) then only meets what a file cannot show: a host that
 * refuses something, a region whose size its device finds out.
 */
#include "core/wire.h"

#include "core/chardev.h"
#include "core/display.h"
#include "core/drive.h"
#include "core/loader.h"
#include "core/net.h"
#include "core/options.h"
#include "core/properties.h"
#include "core/runtime.h"
#include <vmrun/x86.h>

#include <inttypes.h>
#include <string.h>

#define DEVICES_MAX 1024

/* A device while it is wired. */
typedef struct Part {
    VmrDeviceHandle *handle;
    const VmrSection *section;
    GPtrArray *links; /* Part *: realized before this one */
    enum { PART_NEW, PART_OPEN, PART_DONE } order;
} Part;

/* A region whose size the class knows. */
typedef struct Planned {
    const Part *part;
    const VmrRegion *region;
    VmrPlace place;
    bool io, overlay;
    uint64_t base, last;
} Planned;

typedef struct Builder {
    VmrMachine *machine;
    const VmrConfig *config;
    VmrErrors *errors;
    VmrMachineOptions options;
    GPtrArray *parts;
    GArray *planned;
    GHashTable *chardevs; /* name -> VmrChardev * */
    GHashTable *displays; /* name -> VmrDisplay * */
    GHashTable *drives;   /* name -> VmrDrive * */
    GHashTable *nets;     /* name -> VmrNet * */
    GHashTable *back_end_users; /* a back end -> Part * */
} Builder;

/* ---- [machine] and [boot] --------------------------------------------- */

static bool is_built_in(const char *accel)
{
    for (unsigned i = 0; vmr_accels[i]; i++)
        if (strcmp(vmr_accels[i]->name, accel) == 0)
            return true;
    return false;
}

static void check_accel_names(Builder *b, const VmrSection *section)
{
    char **names = g_strsplit(b->options.accel, ",", 0);
    for (unsigned i = 0; names[i]; i++) {
        const char *name = g_strstrip(names[i]);
        if (g_strv_contains(vmr_accel_names, name) || is_built_in(name))
            continue;
        char *hint = vmr_nearest_hint(name, vmr_accel_names);
        vmr_errors_add(b->errors, vmr_section_place(section, "accel"), "machine", "accel",
                       "unknown accelerator '%s'%s", name, hint);
        g_free(hint);
    }
    g_strfreev(names);
}

/* The models are "name\tdoc"; what follows a comma in [machine] cpu is the accelerator's. */
static void check_cpu_model(Builder *b, const VmrSection *section)
{
    const VmrAccelClass *accel = b->machine->accel;
    const char *wanted = b->options.cpu;
    const char *const *models = accel && accel->cpu_models ? accel->cpu_models() : NULL;
    if (!models || !models[0])
        return;
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; models[i]; i++)
        g_ptr_array_add(names, g_strndup(models[i], strcspn(models[i], "\t")));
    g_ptr_array_add(names, NULL);
    if (!wanted) {
        g_free(b->machine->cpu_model);
        b->machine->cpu_model = g_strdup(g_ptr_array_index(names, 0));
    } else {
        char *name = g_strndup(wanted, strcspn(wanted, ","));
        if (!g_strv_contains((const char *const *)names->pdata, name)) {
            char *hint = vmr_nearest_hint(name, (const char *const *)names->pdata);
            vmr_errors_add(b->errors, vmr_section_place(section, "cpu"), "machine", "cpu",
                           "%s has no CPU model '%s'%s", accel->name, name, hint);
            g_free(hint);
        }
        g_free(name);
    }
    g_ptr_array_unref(names);
}

static void add_names(GPtrArray *names, const VmrProperty *table)
{
    for (; table && table->name; table++)
        g_ptr_array_add(names, (gpointer)table->name);
}

static void check_table_keys(const VmrSection *section, const VmrProperty *table, VmrErrors *errors)
{
    GPtrArray *known = g_ptr_array_new();
    add_names(known, table);
    g_ptr_array_add(known, NULL);
    vmr_section_check_keys(section, (const char *const *)known->pdata, errors);
    g_ptr_array_unref(known);
}

/* FIRST-LAST or, if it is the last one, FIRST-. */
static const char *parse_memory_range(char *text, uint64_t at_least, uint64_t *first,
                                      uint64_t *last)
{
    char *dash = strchr(text, '-');
    guint64 a, z = (1ull << VMR_ADDRESS_BITS) - 1;
    if (!dash)
        return "FIRST-LAST is wanted";
    *dash = '\0';
    char *end = g_strstrip(dash + 1);
    if (!vmr_parse_size(g_strstrip(text), &a) || (*end && !vmr_parse_size(end, &z)))
        return "an address is a number, as 0x100000 or 4G";
    if (z < a || z >= 1ull << VMR_ADDRESS_BITS)
        return "the range ends before it starts, or beyond 52 bits";
    if (a % VMR_PAGE || (z + 1) % VMR_PAGE)
        return "a range is made of whole 4 KiB pages";
    if (a < at_least)
        return "ranges are ascending and do not overlap";
    *first = a;
    *last = z;
    return NULL;
}

/* Fill machine->ram_ranges from memory and memory-map. */
static void plan_memory(Builder *b, const VmrSection *section)
{
    static const char *const defaults[] = {"0x0-0xbfffffff, 0x100000000-", "0x80000000-",
                                           "0x40000000-"};
    const char *map = b->options.memory_map;
    uint64_t left = b->options.memory, at_least = 0;
    bool ok = true;

    if (left % VMR_PAGE)
        vmr_errors_add(b->errors, vmr_section_place(section, "memory"), "machine", "memory",
                       "RAM is made of whole 4 KiB pages");
    left &= ~(uint64_t)(VMR_PAGE - 1);
    char **ranges = g_strsplit(map && *map ? map : defaults[b->options.arch], ",", 0);
    for (unsigned i = 0; ranges[i] && ok; i++) {
        uint64_t first = 0, last = 0;
        char *shown = g_strdup(g_strstrip(ranges[i]));
        const char *fault = parse_memory_range(ranges[i], at_least, &first, &last);
        if (fault) {
            vmr_errors_add(b->errors, vmr_section_place(section, "memory-map"), "machine",
                           "memory-map", "'%s': %s", shown, fault);
            ok = false;
        } else if (left) {
            VmrMemoryRange range = {first, MIN(left, last - first + 1)};
            g_array_append_val(b->machine->ram_ranges, range);
            left -= range.size;
        }
        at_least = last + 1;
        g_free(shown);
    }
    g_strfreev(ranges);
    if (ok && left)
        vmr_errors_add(b->errors, vmr_section_place(section, "memory"), "machine", "memory",
                       "%" PRIu64 " bytes do not fit into memory-map", left);
}

static bool begin(Builder *b)
{
    VmrMachine *m = b->machine;
    const VmrSection *section = vmr_config_section(b->config, "machine", "");
    const VmrSection *boot = vmr_config_section(b->config, "boot", "");
    VmrPlace nowhere = section ? section->place : (VmrPlace){NULL, 0};
    VmrBootOptions boot_options = {0};
    GError *error = NULL;

    if (!section)
        vmr_errors_add(b->errors, nowhere, NULL, NULL, "the machine file has no [machine] section");
    vmr_properties_apply(vmr_machine_properties, &b->options, section, nowhere, b->errors);
    vmr_properties_apply(vmr_boot_properties, &boot_options, boot, nowhere, b->errors);
    if (section)
        check_table_keys(section, vmr_machine_properties, b->errors);
    if (boot)
        check_table_keys(boot, vmr_boot_properties, b->errors);

    /* Where a value was wrong the rest is still checked, as for the smallest machine. */
    m->cpu_count = MAX(b->options.cpus, 1);
    if (!b->options.memory)
        b->options.memory = 16 * 1024 * 1024;
    if (!b->options.accel)
        b->options.accel = "";
    check_accel_names(b, section);
    m->accel = vmr_accel_choose(b->options.accel, &m->accel_note, NULL);
    m->cpu_model = g_strdup(b->options.cpu ? b->options.cpu : "");
    check_cpu_model(b, section);
    if (!vmr_machine_init_runtime(m, b->options.memory, &error)) {
        vmr_errors_add(b->errors, vmr_section_place(section, "memory"), "machine", NULL, "%s",
                       error ? error->message : "cannot be made");
        g_clear_error(&error);
        return false;
    }
    /* vmr_machine_add_ram() notes the ranges in ram_ranges again, when it makes them. */
    plan_memory(b, section);
    return true;
}

/* ---- back ends -------------------------------------------------------- */

static void check_chardev_keys(Builder *b, const VmrSection *section, const char *type)
{
    for (unsigned i = 0; vmr_chardev_classes[i]; i++) {
        if (strcmp(vmr_chardev_classes[i]->type, type) != 0)
            continue;
        GPtrArray *known = g_ptr_array_new();
        g_ptr_array_add(known, (gpointer)"type");
        add_names(known, vmr_chardev_classes[i]->properties);
        g_ptr_array_add(known, NULL);
        vmr_section_check_keys(section, (const char *const *)known->pdata, b->errors);
        g_ptr_array_unref(known);
    }
}

static void make_back_ends(Builder *b)
{
    for (const VmrSection *s = NULL; (s = vmr_config_next(b->config, "chardev", s));) {
        const VmrValue *type = vmr_section_value(s, "type");
        if (type && type->broken)
            continue;
        VmrChardev *c = vmr_chardev_new(b->machine, s, b->errors);
        if (c)
            g_hash_table_insert(b->chardevs, (gpointer)s->name, c);
        if (type)
            check_chardev_keys(b, s, type->text);
    }
    for (const VmrSection *s = NULL; (s = vmr_config_next(b->config, "display", s));) {
        VmrDisplay *d = vmr_display_new(b->machine, s, b->errors);
        g_hash_table_insert(b->displays, (gpointer)s->name, d);
        check_table_keys(s, vmr_display_properties, b->errors);
    }
    for (const VmrSection *s = NULL; (s = vmr_config_next(b->config, "drive", s));) {
        VmrDrive *d = vmr_drive_new(b->machine, s, b->errors);
        g_hash_table_insert(b->drives, (gpointer)s->name, d);
        check_table_keys(s, vmr_drive_properties, b->errors);
    }
    for (const VmrSection *s = NULL; (s = vmr_config_next(b->config, "net", s));) {
        const VmrValue *type = vmr_section_value(s, "type");
        if (type && type->broken)
            continue;
        VmrNet *n = vmr_net_new(b->machine, s, b->errors);
        if (!n)
            continue;
        g_hash_table_insert(b->nets, (gpointer)s->name, n);
        check_table_keys(s, vmr_net_class(type->text)->properties, b->errors);
    }
}

/* ---- devices ---------------------------------------------------------- */

static void handle_free(gpointer p)
{
    VmrDeviceHandle *h = p;
    vmr_description_free(h->description);
    g_array_unref(h->placements);
    if (h->mapped)
        g_array_unref(h->mapped);
    g_array_unref(h->routes);
    g_free(h->device);
    g_free(h->name);
    g_free(h);
}

static void part_free(gpointer p)
{
    Part *part = p;
    g_ptr_array_unref(part->links);
    g_free(part);
}

VmrDeviceHandle *vmr_machine_device(VmrMachine *machine, const char *name)
{
    for (unsigned i = 0; i < machine->devices->len; i++) {
        VmrDeviceHandle *h = g_ptr_array_index(machine->devices, i);
        if (strcmp(h->name, name) == 0)
            return h;
    }
    return NULL;
}

GPtrArray *vmr_config_device_names(const VmrConfig *config)
{
    GPtrArray *names = g_ptr_array_new();
    for (const VmrSection *s = NULL; (s = vmr_config_next(config, "device", s));)
        g_ptr_array_add(names, (gpointer)s->name);
    g_ptr_array_add(names, NULL);
    return names;
}

static Part *part_named(const Builder *b, const char *name)
{
    for (unsigned i = 0; i < b->parts->len; i++) {
        Part *part = g_ptr_array_index(b->parts, i);
        if (strcmp(part->section->name, name) == 0)
            return part;
    }
    return NULL;
}

/* There is no such name in sections of this kind, unless there is one that had an error. */
static void no_such_name(Builder *b, const Part *part, const char *key, VmrPlace place,
                         const char *kind, const char *name)
{
    if (vmr_config_section(b->config, kind, name))
        return;
    GPtrArray *names = g_ptr_array_new();
    for (const VmrSection *s = NULL; (s = vmr_config_next(b->config, kind, s));)
        g_ptr_array_add(names, (gpointer)s->name);
    g_ptr_array_add(names, NULL);
    char *hint = vmr_nearest_hint(name, (const char *const *)names->pdata);
    vmr_errors_add(b->errors, place, part ? part->section->title : "machine", key,
                   "there is no [%s %s]%s", kind, name, hint);
    g_free(hint);
    g_ptr_array_unref(names);
}

static void make_device(Builder *b, const VmrSection *section)
{
    VmrMachine *m = b->machine;
    const VmrValue *plugin = vmr_section_value(section, "plugin");
    if (!plugin) {
        vmr_errors_add(b->errors, section->place, section->title, "plugin", "it must be set");
        return;
    }
    if (plugin->broken)
        return;
    GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
    const VmrDeviceClass *klass = vmr_device_class_find(plugin->text, plugin->dir, problems);
    for (unsigned i = 0; !klass && i < problems->len; i++)
        vmr_errors_add(b->errors, plugin->place, section->title, "plugin", "%s",
                       (const char *)g_ptr_array_index(problems, i));
    g_ptr_array_unref(problems);
    if (!klass)
        return;

    VmrDeviceHandle *h = g_new0(VmrDeviceHandle, 1);
    h->machine = m;
    h->klass = klass;
    h->domain = m->domain;
    h->name = g_strdup(section->name);
    h->placements = g_array_new(FALSE, TRUE, sizeof(VmrPlacedRegion));
    h->routes = g_array_new(FALSE, TRUE, sizeof(VmrRoutedLine));
    h->device = g_malloc0(klass->instance_size);
    h->device->host = vmr_host_table();
    h->device->handle = h;
    h->device->klass = klass;
    h->device->name = h->name;
    g_ptr_array_add(m->devices, h);

    Part *part = g_new0(Part, 1);
    part->handle = h;
    part->section = section;
    part->links = g_ptr_array_new();
    g_ptr_array_add(b->parts, part);
}

static void set_link(Builder *b, Part *part, const VmrProperty *p, const char *name, VmrPlace place)
{
    Part *to = part_named(b, name);
    VmrLink link;
    if (!to) {
        no_such_name(b, part, p->name, place, "device", name);
        return;
    }
    link.device = to->handle->device;
    link.iface = vmr_device_interface(link.device, p->interface);
    if (!link.iface) {
        vmr_errors_add(b->errors, place, part->section->title, p->name,
                       "%s (%s) does not offer %s", name, to->handle->klass->id, p->interface);
        return;
    }
    memcpy((uint8_t *)part->handle->device + p->offset, &link, sizeof(link));
    g_ptr_array_add(part->links, to);
}

/* A back end of the kind that `p` takes, out of those that there are by name. */
static void set_back_end(Builder *b, Part *part, const VmrProperty *p, GHashTable *made,
                         const char *name, VmrPlace place)
{
    void *c = g_hash_table_lookup(made, name);
    if (!c) {
        no_such_name(b, part, p->name, place, vmr_property_type_name(p->type), name);
        return;
    }
    const Part *user = g_hash_table_lookup(b->back_end_users, c);
    if (user) {
        vmr_errors_add(b->errors, place, part->section->title, p->name, "%s is taken by %s", name,
                       user->section->name);
        return;
    }
    g_hash_table_insert(b->back_end_users, c, part);
    memcpy((uint8_t *)part->handle->device + p->offset, &c, sizeof(c));
}

static void set_references(Builder *b, Part *part)
{
    for (const VmrProperty *p = part->handle->klass->properties; p && p->name; p++) {
        VmrPlace place = part->section->place;
        const char *name;
        if (p->type < VMR_PROP_LINK ||
            !(name = vmr_property_text(p, part->section, &place)))
            continue;
        if (p->type == VMR_PROP_LINK)
            set_link(b, part, p, name, place);
        else if (p->type == VMR_PROP_CHARDEV)
            set_back_end(b, part, p, b->chardevs, name, place);
        else if (p->type == VMR_PROP_DISPLAY)
            set_back_end(b, part, p, b->displays, name, place);
        else if (p->type == VMR_PROP_DRIVE)
            set_back_end(b, part, p, b->drives, name, place);
        else
            set_back_end(b, part, p, b->nets, name, place);
    }
}

static void wire_lines(Builder *b, Part *part)
{
    for (const VmrLine *l = part->handle->klass->lines; l && l->name; l++) {
        const VmrValue *v = vmr_section_value(part->section, l->name);
        if (v && l->direction == VMR_LINE_IN)
            vmr_errors_add(b->errors, v->place, part->section->title, l->name,
                           "it is an input: what drives it names it, as in irq = %s:%s:0",
                           part->section->name, l->name);
        else if (v)
            vmr_wire_line(b->machine, part->handle, l, part->section, v, b->errors);
    }
}

static void check_device_keys(Builder *b, const Part *part)
{
    const VmrDeviceClass *klass = part->handle->klass;
    GPtrArray *known = g_ptr_array_new();
    g_ptr_array_add(known, (gpointer)"plugin");
    add_names(known, klass->properties);
    for (const VmrRegion *r = klass->regions; r && r->name; r++)
        g_ptr_array_add(known, (gpointer)r->name);
    for (const VmrLine *l = klass->lines; l && l->name; l++)
        if (l->direction == VMR_LINE_OUT)
            g_ptr_array_add(known, (gpointer)l->name);
    g_ptr_array_add(known, NULL);
    vmr_section_check_keys(part->section, (const char *const *)known->pdata, b->errors);
    g_ptr_array_unref(known);
}

/* ---- regions ---------------------------------------------------------- */

static void plan_region(Builder *b, Part *part, const VmrRegion *r)
{
    const VmrValue *v = vmr_section_value(part->section, r->name);
    const char *title = part->section->title;
    bool io = r->kind == VMR_REGION_PIO;
    guint64 base;

    if (v && v->broken)
        return;
    if (!v || !*v->text || strcmp(v->text, "none") == 0) {
        if (!(r->flags & VMR_REGION_OPTIONAL))
            vmr_errors_add(b->errors, v ? v->place : part->section->place, title, r->name,
                           "the region must be placed: %s", r->doc);
        return;
    }
    const char *text = v->text;
    if (g_str_has_prefix(text, "io:") || g_str_has_prefix(text, "mem:")) {
        io = text[0] == 'i';
        text = strchr(text, ':') + 1;
        while (*text == ' ' || *text == '\t')
            text++;
    }
    if (!vmr_parse_size(text, &base)) {
        vmr_errors_add(b->errors, v->place, title, r->name,
                       "'%s': an address is wanted, as 0x3f8, io:0x3f8 or mem:0xfee00000", v->text);
        return;
    }
    const char *fault = vmr_region_misplaced(r, io, base, r->size ? r->size : 1);
    if (fault) {
        vmr_errors_add(b->errors, v->place, title, r->name, "%s: %s", v->text, fault);
        return;
    }
    VmrPlacedRegion placed = {r->name, io, base, r->size};
    g_array_append_val(part->handle->placements, placed);
    if (r->size) {
        Planned planned = {part, r, v->place, io, (r->flags & VMR_REGION_OVERLAY) != 0, base,
                           base + r->size - 1};
        g_array_append_val(b->planned, planned);
    }
}

static void check_overlaps(Builder *b)
{
    for (unsigned i = 0; i < b->planned->len; i++) {
        const Planned *p = &g_array_index(b->planned, Planned, i);
        for (unsigned j = 0; j < i; j++) {
            const Planned *q = &g_array_index(b->planned, Planned, j);
            if (p->io != q->io || p->overlay || q->overlay || p->base > q->last ||
                q->base > p->last)
                continue;
            vmr_errors_add(
                b->errors, p->place, p->part->section->title, p->region->name,
                "0x%" PRIx64 "..0x%" PRIx64 " overlaps %s.%s at 0x%" PRIx64 "..0x%" PRIx64, p->base,
                p->last, q->part->section->name, q->region->name, q->base, q->last);
        }
    }
}

/* ---- order ------------------------------------------------------------ */

/* Depth first; false if a circle was met, which is told once. */
static bool visit(Builder *b, Part *part, GPtrArray *path)
{
    if (part->order == PART_DONE)
        return true;
    g_ptr_array_add(path, part);
    if (part->order == PART_OPEN) {
        GString *names = g_string_new(NULL);
        bool within = false;
        for (unsigned i = 0; i < path->len; i++) {
            const Part *p = g_ptr_array_index(path, i);
            within |= p == part;
            if (within)
                g_string_append_printf(names, "%s%s", names->len ? " -> " : "", p->section->name);
        }
        vmr_errors_add(b->errors, part->section->place, part->section->title, NULL,
                       "links go in a circle: %s", names->str);
        g_string_free(names, TRUE);
        g_ptr_array_set_size(path, (int)path->len - 1);
        return false;
    }
    part->order = PART_OPEN;
    bool ok = true;
    for (unsigned i = 0; i < part->links->len; i++)
        ok &= visit(b, g_ptr_array_index(part->links, i), path);
    part->order = PART_DONE;
    g_ptr_array_set_size(path, (int)path->len - 1);
    g_ptr_array_add(b->machine->realize_order, part->handle);
    return ok;
}

static void find_order(Builder *b)
{
    GPtrArray *path = g_ptr_array_new();
    for (unsigned i = 0; i < b->parts->len; i++)
        visit(b, g_ptr_array_index(b->parts, i), path);
    g_ptr_array_unref(path);
}

static void find_interrupt_controller(Builder *b)
{
    const char *name = b->options.interrupt_controller;
    const VmrSection *section = vmr_config_section(b->config, "machine", "");
    if (!name || !*name || strcmp(name, "none") == 0)
        return;
    const Part *part = part_named(b, name);
    VmrPlace place = vmr_section_place(section, "interrupt-controller");
    if (!part)
        no_such_name(b, NULL, "interrupt-controller", place, "device", name);
    else if (b->options.arch == VMR_ARCH_X86_64 &&
             !vmr_device_interface(part->handle->device, VMR_X86_INTC))
        vmr_errors_add(b->errors, place, "machine", "interrupt-controller",
                       "%s (%s) does not offer %s", name, part->handle->klass->id, VMR_X86_INTC);
    else
        b->machine->intc = part->handle->device;
}

/* ---- the whole -------------------------------------------------------- */

static void make_devices(Builder *b)
{
    unsigned count = 0;
    for (const VmrSection *s = NULL; (s = vmr_config_next(b->config, "device", s));) {
        if (++count > DEVICES_MAX) {
            vmr_errors_add(b->errors, s->place, s->title, NULL, "more than %u devices",
                           DEVICES_MAX);
            return;
        }
        make_device(b, s);
    }
    for (unsigned i = 0; i < b->parts->len; i++) {
        Part *part = g_ptr_array_index(b->parts, i);
        vmr_properties_apply(part->handle->klass->properties, part->handle->device, part->section,
                             part->section->place, b->errors);
        set_references(b, part);
        for (const VmrRegion *r = part->handle->klass->regions; r && r->name; r++)
            plan_region(b, part, r);
        wire_lines(b, part);
        check_device_keys(b, part);
    }
    check_overlaps(b);
    find_order(b);
    find_interrupt_controller(b);
    const VmrSection *machine = vmr_config_section(b->config, "machine", "");
    const VmrValue *button = machine ? vmr_section_value(machine, "power-button") : NULL;
    if (button)
        vmr_wire_machine_line(b->machine, machine, button, &b->machine->priv->power_button,
                              b->errors);
}

VmrMachine *vmr_machine_wire(const VmrConfig *config, VmrErrors *errors)
{
    VmrMachine *m = g_new0(VmrMachine, 1);
    Builder b = {.machine = m, .config = config, .errors = errors};

    m->config = config;
    m->devices = g_ptr_array_new_with_free_func(handle_free);
    m->realize_order = g_ptr_array_new();
    m->ram_ranges = g_array_new(FALSE, TRUE, sizeof(VmrMemoryRange));
    b.parts = g_ptr_array_new_with_free_func(part_free);
    b.planned = g_array_new(FALSE, TRUE, sizeof(Planned));
    b.chardevs = g_hash_table_new(g_str_hash, g_str_equal);
    b.displays = g_hash_table_new(g_str_hash, g_str_equal);
    b.drives = g_hash_table_new(g_str_hash, g_str_equal);
    b.nets = g_hash_table_new(g_str_hash, g_str_equal);
    b.back_end_users = g_hash_table_new(NULL, NULL);

    if (begin(&b)) {
        make_back_ends(&b);
        make_devices(&b);
    }
    g_hash_table_unref(b.back_end_users);
    g_hash_table_unref(b.displays);
    g_hash_table_unref(b.drives);
    g_hash_table_unref(b.nets);
    g_hash_table_unref(b.chardevs);
    g_array_unref(b.planned);
    g_ptr_array_unref(b.parts);
    if (!vmr_errors_count(errors))
        return m;
    vmr_machine_free(m);
    return NULL;
}

VmrMachine *vmr_machine_new(const VmrConfig *config, GError **error)
{
    VmrErrors *errors = vmr_errors_new();
    VmrMachine *machine = vmr_machine_wire(config, errors);
    if (!machine) {
        char *text = vmr_errors_text(errors);
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s", g_strchomp(text));
        g_free(text);
    }
    vmr_errors_free(errors);
    return machine;
}
