/*
 * core/classcheck.c - is a device class what vmrun/device.h says?  All of its faults at once.
 *
 * The tables are read by everything (machine files, --describe, save and load),
 * so that a fault is told when the plugin is opened, not when it is hit.
 */
#include "core/loader.h"
#include "core/properties.h"

#include <inttypes.h>
#include <string.h>

#define TABLE_MAX 1024                     /* a longer table has lost its end */
#define INSTANCE_MAX (256u * 1024 * 1024) /* bytes */
#define LINE_COUNT_MAX 4096

typedef struct Check {
    const VmrDeviceClass *klass;
    GPtrArray *problems;
    GHashTable *keys; /* names of properties, regions and lines */
    const char *table;
    unsigned faults;
} Check;

G_GNUC_PRINTF(3, 4)
static void fault(Check *c, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    if (name)
        vmr_problem_add(c->problems, "class %s: %s %s: %s", c->klass->id, c->table, name, text);
    else
        vmr_problem_add(c->problems, "class %s: %s", c->klass->id, text);
    g_free(text);
    c->faults++;
}

bool vmr_name_is_kebab(const char *name)
{
    if (!name || !g_ascii_islower(*name))
        return false;
    for (const char *p = name; *p; p++) {
        if (*p == '-' ? !g_ascii_isalnum(p[1]) : !g_ascii_islower(*p) && !g_ascii_isdigit(*p))
            return false;
    }
    return true;
}

static bool power_of_2(uint64_t v)
{
    return v && !(v & (v - 1));
}

/* Is there room for `count` elements of `size` at `offset`, behind the VmrDevice? */
static void check_room(Check *c, const char *name, size_t offset, uint64_t size, uint64_t count)
{
    uint32_t whole = c->klass->instance_size;
    if (offset < sizeof(VmrDevice))
        fault(c, name, "offset %zu lies within the VmrDevice", offset);
    else if (offset > whole || size * count > whole - offset)
        fault(c, name, "offset %zu + %" PRIu64 " bytes lie beyond instance_size %u", offset,
              size * count, whole);
    else if (offset % MIN(size, 8))
        fault(c, name, "offset %zu is not aligned", offset);
}

/* A key of the machine file: kebab-case, and nothing else's. */
static void check_key(Check *c, const char *name)
{
    if (!vmr_name_is_kebab(name))
        fault(c, name, "the name is not kebab-case");
    if (strcmp(name, "plugin") == 0)
        fault(c, name, "the name is reserved");
    else if (!g_hash_table_add(c->keys, (gpointer)name))
        fault(c, name, "the name is used twice");
}

static void check_doc(Check *c, const char *name, const char *doc)
{
    if (!doc || !*doc)
        fault(c, name, "doc is missing");
    else if (strchr(doc, '\n'))
        fault(c, name, "doc is more than one line");
}

static void check_property(Check *c, const VmrProperty *p)
{
    size_t size = vmr_property_size(p->type);
    bool number =
        p->type == VMR_PROP_U32 || p->type == VMR_PROP_U64 || p->type == VMR_PROP_SIZE;
    check_key(c, p->name);
    check_doc(c, p->name, p->doc);
    if (!size) {
        fault(c, p->name, "type %u is unknown", (unsigned)p->type);
        return;
    }
    check_room(c, p->name, p->offset, p->type == VMR_PROP_LINK ? 8 : size,
               p->type == VMR_PROP_LINK ? size / 8 : 1);
    if (p->flags & ~(uint32_t)VMR_PROP_REQUIRED)
        fault(c, p->name, "flags 0x%x are unknown", p->flags);
    if ((p->type == VMR_PROP_ENUM) != (p->names && p->names[0]))
        fault(c, p->name, "an ENUM has names, and nothing else does");
    if ((p->type == VMR_PROP_LINK) != (p->interface != NULL))
        fault(c, p->name, "a LINK has an interface, and nothing else does");
    if ((p->min || p->max) && (!number || p->min > p->max))
        fault(c, p->name, "min and max make no range of a number");
    if (p->type == VMR_PROP_U32 && p->max > UINT32_MAX)
        fault(c, p->name, "max does not fit a U32");
    if ((p->flags & VMR_PROP_REQUIRED) && p->default_text)
        fault(c, p->name, "REQUIRED and a default contradict each other");
    if (p->default_text && p->type < VMR_PROP_LINK && !(p->type == VMR_PROP_ENUM && !p->names)) {
        VmrPropertyValue value;
        char *wanted = vmr_property_parse(p, p->default_text, &value);
        if (wanted)
            fault(c, p->name, "the default '%s' is wrong: %s", p->default_text, wanted);
        g_free(wanted);
    }
}

static void check_access(Check *c, const VmrRegion *r, const char *what, unsigned min, unsigned max)
{
    min = min ? min : 1;
    max = max ? max : 8;
    if (!power_of_2(min) || !power_of_2(max) || max > 8 || min > max)
        fault(c, r->name, "%s %u..%u: access sizes are 1, 2, 4 or 8, ascending", what, min, max);
}

static void check_region(Check *c, const VmrRegion *r)
{
    const uint32_t known = VMR_REGION_OPTIONAL | VMR_REGION_CONCURRENT | VMR_REGION_DOORBELL |
                           VMR_REGION_COALESCE | VMR_REGION_OVERLAY;
    check_key(c, r->name);
    check_doc(c, r->name, r->doc);
    if (r->kind > VMR_REGION_ROM)
        fault(c, r->name, "kind %u is unknown", (unsigned)r->kind);
    if (r->flags & ~known)
        fault(c, r->name, "flags 0x%x are unknown", r->flags);
    if (!r->size)
        check_room(c, r->name, r->size_offset, sizeof(uint64_t), 1);
    else if (r->kind == VMR_REGION_PIO && r->size > 65536)
        fault(c, r->name, "the I/O space has 65536 ports");
    check_access(c, r, "valid_min..valid_max", r->valid_min, r->valid_max);
    check_access(c, r, "impl_min..impl_max", r->impl_min, r->impl_max);
    if ((r->kind == VMR_REGION_RAM || r->kind == VMR_REGION_ROM) && (r->read || r->write))
        fault(c, r->name, "RAM and ROM have no handlers");
}

static void check_line(Check *c, const VmrLine *l)
{
    check_key(c, l->name);
    check_doc(c, l->name, l->doc);
    if (l->direction > VMR_LINE_IN)
        fault(c, l->name, "direction %u is unknown", (unsigned)l->direction);
    if (l->count < 1 || l->count > LINE_COUNT_MAX)
        fault(c, l->name, "a group has 1 to %u members", LINE_COUNT_MAX);
    else if (l->direction == VMR_LINE_OUT)
        check_room(c, l->name, l->offset, 8, (uint64_t)l->count * (sizeof(VmrIrq) / 8));
    if (l->direction == VMR_LINE_IN && !l->changed)
        fault(c, l->name, "an input needs changed()");
}

static void check_field(Check *c, const VmrField *f, GHashTable *names)
{
    static const uint8_t sizes[] = {
        [VMR_FIELD_BOOL] = sizeof(bool), [VMR_FIELD_U8] = 1,  [VMR_FIELD_U16] = 2,
        [VMR_FIELD_U32] = 4,             [VMR_FIELD_U64] = 8, [VMR_FIELD_I64] = 8,
        [VMR_FIELD_TIMER] = sizeof(void *),
    };
    if (!g_hash_table_add(names, (gpointer)f->name))
        fault(c, f->name, "the name is used twice");
    if (f->type >= G_N_ELEMENTS(sizes))
        fault(c, f->name, "type %u is unknown", (unsigned)f->type);
    else
        check_room(c, f->name, f->offset, sizes[f->type], MAX(f->count, 1));
    if (f->since > MAX(c->klass->state_version, 1))
        fault(c, f->name, "since %u is newer than state_version %u", f->since,
              c->klass->state_version);
}

static bool table_in_bound(Check *c, unsigned i)
{
    if (i == TABLE_MAX)
        fault(c, NULL, "the table of each %s has no end", c->table);
    return i < TABLE_MAX;
}

static void check_overlap(Check *c)
{
    const VmrProperty *p = c->klass->properties;
    for (unsigned i = 0; p && i < TABLE_MAX && p[i].name; i++)
        for (unsigned j = 0; j < i; j++)
            if (p[i].offset < p[j].offset + vmr_property_size(p[j].type) &&
                p[j].offset < p[i].offset + vmr_property_size(p[i].type))
                fault(c, p[i].name, "it is stored over property %s", p[j].name);
}

bool vmr_device_class_check(const VmrDeviceClass *klass, GPtrArray *problems)
{
    Check c = {klass, problems, NULL, "class", 0};

    if (klass->size < sizeof(VmrDeviceClass)) {
        vmr_problem_add(problems, "a device class has size %u; at least %zu is wanted", klass->size,
                        sizeof(VmrDeviceClass));
        return false;
    }
    if (!klass->id) {
        vmr_problem_add(problems, "a device class has no id");
        return false;
    }
    c.keys = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTable *fields = g_hash_table_new(g_str_hash, g_str_equal);
    if (!vmr_name_is_kebab(klass->id))
        fault(&c, NULL, "the id is not kebab-case");
    if (!klass->summary || !*klass->summary)
        fault(&c, NULL, "summary is missing");
    if (klass->instance_size < sizeof(VmrDevice) || klass->instance_size > INSTANCE_MAX)
        fault(&c, NULL, "instance_size %u: %zu to %u is wanted", klass->instance_size,
              sizeof(VmrDevice), INSTANCE_MAX);
    if (klass->flags & ~(uint32_t)VMR_DEVICE_NO_STATE)
        fault(&c, NULL, "flags 0x%x are unknown", klass->flags);
    bool has_fields = klass->fields && klass->fields[0].name;
    if ((klass->flags & VMR_DEVICE_NO_STATE) && (has_fields || klass->state_version))
        fault(&c, NULL, "VMR_DEVICE_NO_STATE, yet there are fields or a state_version");
    if (!(klass->flags & VMR_DEVICE_NO_STATE) && (!has_fields || !klass->state_version))
        fault(&c, NULL, "neither fields with a state_version nor VMR_DEVICE_NO_STATE");

    c.table = "property";
    for (unsigned i = 0; klass->properties && klass->properties[i].name && table_in_bound(&c, i);
         i++)
        check_property(&c, &klass->properties[i]);
    check_overlap(&c);
    c.table = "region";
    for (unsigned i = 0; klass->regions && klass->regions[i].name && table_in_bound(&c, i); i++)
        check_region(&c, &klass->regions[i]);
    c.table = "line";
    for (unsigned i = 0; klass->lines && klass->lines[i].name && table_in_bound(&c, i); i++)
        check_line(&c, &klass->lines[i]);
    c.table = "field";
    for (unsigned i = 0; klass->fields && klass->fields[i].name && table_in_bound(&c, i); i++)
        check_field(&c, &klass->fields[i], fields);
    g_hash_table_unref(fields);
    g_hash_table_unref(c.keys);
    return c.faults == 0;
}
