/*
 * core/describe.c - vmrun --describe: the tables of a plugin, of [machine], of a back end.
 */
#include "core/accel.h"
#include "core/chardev.h"
#include "core/display.h"
#include "core/cli.h"
#include "core/drive.h"
#include "core/json.h"
#include "core/loader.h"
#include "core/net.h"
#include "core/options.h"
#include "core/properties.h"

#include <inttypes.h>
#include <string.h>

static const char *const region_kinds[] = {"mmio", "pio", "ram", "rom"};
static const char *const field_types[] = {"bool", "u8", "u16", "u32", "u64", "i64", "timer"};

static const struct {
    uint32_t flag;
    const char *name;
} region_flags[] = {
    {VMR_REGION_OPTIONAL, "optional"}, {VMR_REGION_CONCURRENT, "concurrent"},
    {VMR_REGION_DOORBELL, "doorbell"}, {VMR_REGION_COALESCE, "coalesce"},
    {VMR_REGION_OVERLAY, "overlay"},
};

/* ---- JSON ------------------------------------------------------------- */

static void json_properties(VmrJson *j, const VmrProperty *p)
{
    vmr_json_open(j, "properties", '[');
    for (; p && p->name; p++) {
        vmr_json_open(j, NULL, '{');
        vmr_json_string(j, "name", p->name);
        vmr_json_string(j, "type", vmr_property_type_name(p->type));
        vmr_json_bool(j, "required", p->flags & VMR_PROP_REQUIRED);
        vmr_json_string(j, "default", p->default_text);
        if (p->min || p->max) {
            vmr_json_number(j, "min", p->min);
            vmr_json_number(j, "max", p->max);
        }
        if (p->names) {
            vmr_json_open(j, "names", '[');
            for (unsigned i = 0; p->names[i]; i++)
                vmr_json_string(j, NULL, p->names[i]);
            vmr_json_close(j, ']');
        }
        if (p->interface)
            vmr_json_string(j, "interface", p->interface);
        if (p->unit)
            vmr_json_string(j, "unit", p->unit);
        vmr_json_string(j, "doc", p->doc);
        vmr_json_close(j, '}');
    }
    vmr_json_close(j, ']');
}

static void json_sizes(VmrJson *j, const char *key, unsigned min, unsigned max)
{
    vmr_json_open(j, key, '[');
    vmr_json_number(j, NULL, min ? min : 1);
    vmr_json_number(j, NULL, max ? max : 8);
    vmr_json_close(j, ']');
}

static void json_device(VmrJson *j, const VmrDeviceClass *k)
{
    vmr_json_open(j, NULL, '{');
    vmr_json_string(j, "kind", "plugin");
    vmr_json_string(j, "name", k->id);
    vmr_json_string(j, "summary", k->summary);
    vmr_json_string(j, "doc", k->doc);
    json_properties(j, k->properties);
    vmr_json_open(j, "regions", '[');
    for (const VmrRegion *r = k->regions; r && r->name; r++) {
        vmr_json_open(j, NULL, '{');
        vmr_json_string(j, "name", r->name);
        vmr_json_string(j, "kind", region_kinds[r->kind]);
        if (r->size)
            vmr_json_number(j, "size", r->size);
        else
            vmr_json_string(j, "size", NULL);
        vmr_json_open(j, "flags", '[');
        for (unsigned i = 0; i < G_N_ELEMENTS(region_flags); i++)
            if (r->flags & region_flags[i].flag)
                vmr_json_string(j, NULL, region_flags[i].name);
        vmr_json_close(j, ']');
        json_sizes(j, "valid", r->valid_min, r->valid_max);
        json_sizes(j, "implemented", r->impl_min, r->impl_max);
        vmr_json_string(j, "doc", r->doc);
        vmr_json_close(j, '}');
    }
    vmr_json_close(j, ']');
    vmr_json_open(j, "lines", '[');
    for (const VmrLine *l = k->lines; l && l->name; l++) {
        vmr_json_open(j, NULL, '{');
        vmr_json_string(j, "name", l->name);
        vmr_json_string(j, "direction", l->direction == VMR_LINE_OUT ? "out" : "in");
        vmr_json_number(j, "count", l->count);
        vmr_json_string(j, "doc", l->doc);
        vmr_json_close(j, '}');
    }
    vmr_json_close(j, ']');
    vmr_json_number(j, "state-version", k->state_version);
    vmr_json_open(j, "fields", '[');
    for (const VmrField *f = k->fields; f && f->name; f++) {
        vmr_json_open(j, NULL, '{');
        vmr_json_string(j, "name", f->name);
        vmr_json_string(j, "type", field_types[f->type]);
        vmr_json_number(j, "count", MAX(f->count, 1));
        vmr_json_number(j, "since", MAX(f->since, 1));
        vmr_json_close(j, '}');
    }
    vmr_json_close(j, ']');
    vmr_json_close(j, '}');
}

static void json_table(VmrJson *j, const char *kind, const char *name, const char *summary,
                       const char *doc, const VmrProperty *table)
{
    vmr_json_open(j, NULL, '{');
    vmr_json_string(j, "kind", kind);
    vmr_json_string(j, "name", name);
    vmr_json_string(j, "summary", summary);
    vmr_json_string(j, "doc", doc);
    json_properties(j, table);
    vmr_json_close(j, '}');
}

/* ---- text ------------------------------------------------------------- */

static void text_head(FILE *to, const char *name, const char *summary, const char *doc)
{
    fprintf(to, "%s - %s\n", name, summary);
    if (doc && *doc)
        fprintf(to, "\n%s%s", doc, g_str_has_suffix(doc, "\n") ? "" : "\n");
}

static void text_properties(FILE *to, const char *title, const VmrProperty *p)
{
    if (!p || !p->name)
        return;
    fprintf(to, "\n%s:\n", title);
    for (; p->name; p++) {
        char *wanted = vmr_property_wanted(p);
        fprintf(to, "  %s = %s", p->name, wanted);
        if (p->flags & VMR_PROP_REQUIRED)
            fputs("; required", to);
        else if (p->default_text)
            fprintf(to, "; default %s", p->default_text);
        fprintf(to, "\n      %s\n", p->doc);
        g_free(wanted);
    }
}

static void text_device(FILE *to, const VmrDeviceClass *k)
{
    text_head(to, k->id, k->summary, k->doc);
    text_properties(to, "Properties", k->properties);
    if (k->regions && k->regions->name)
        fputs("\nRegions (NAME = ADDRESS):\n", to);
    for (const VmrRegion *r = k->regions; r && r->name; r++) {
        fprintf(to, "  %s: %s, ", r->name, region_kinds[r->kind]);
        if (r->size)
            fprintf(to, "%" PRIu64 " bytes", r->size);
        else
            fputs("size set by the device", to);
        if (r->read || r->write)
            fprintf(to, ", accesses of %u to %u bytes", r->valid_min ? r->valid_min : 1,
                    r->valid_max ? r->valid_max : 8);
        for (unsigned i = 0; i < G_N_ELEMENTS(region_flags); i++)
            if (r->flags & region_flags[i].flag)
                fprintf(to, ", %s", region_flags[i].name);
        fprintf(to, "\n      %s\n", r->doc);
    }
    for (unsigned direction = VMR_LINE_OUT; direction <= VMR_LINE_IN; direction++) {
        bool any = false;
        for (const VmrLine *l = k->lines; l && l->name; l++) {
            if (l->direction != direction)
                continue;
            if (!any)
                fputs(direction == VMR_LINE_OUT ? "\nOutput lines (NAME = DEVICE:INPUT):\n"
                                                : "\nInput lines:\n",
                      to);
            any = true;
            fprintf(to, "  %s", l->name);
            if (l->count > 1)
                fprintf(to, "[%u]", l->count);
            fprintf(to, "\n      %s\n", l->doc);
        }
    }
    if (k->fields && k->fields->name)
        fprintf(to, "\nState, version %u:\n", k->state_version);
    for (const VmrField *f = k->fields; f && f->name; f++) {
        fprintf(to, "  %s: %s", f->name, field_types[f->type]);
        if (f->count > 1)
            fprintf(to, "[%u]", f->count);
        if (f->since > 1)
            fprintf(to, ", since version %u", f->since);
        fputc('\n', to);
    }
}

/* ---- by name ---------------------------------------------------------- */

static void table(const char *kind, const char *name, const char *summary, const char *doc,
                  const VmrProperty *properties, bool json, FILE *to)
{
    VmrJson j = {.to = to};
    if (json) {
        json_table(&j, kind, name, summary, doc, properties);
    } else {
        text_head(to, name, summary, doc);
        text_properties(to, "Keys", properties);
    }
}

int vmr_describe(const char *name, bool json, FILE *to)
{
    if (strcmp(name, "machine") == 0 || strcmp(name, "boot") == 0) {
        bool boot = *name == 'b';
        table("section", name, boot ? "what the machine starts: [boot]" : "the machine: [machine]",
              boot ? "Plugins read these; --kernel, --initrd and --append set them." : NULL,
              boot ? vmr_boot_properties : vmr_machine_properties, json, to);
        return 0;
    }
    if (strcmp(name, "display") == 0) {
        table("backend", name, "where a screen is shown: [display NAME]", NULL,
              vmr_display_properties, json, to);
        return 0;
    }
    if (strcmp(name, "drive") == 0) {
        table("backend", name, "a disk image: [drive NAME]", NULL, vmr_drive_properties, json, to);
        return 0;
    }
    for (unsigned i = 0; vmr_chardev_classes[i]; i++) {
        const VmrChardevClass *c = vmr_chardev_classes[i];
        if (strcmp(name, c->type) == 0) {
            table("backend", name, c->summary, c->doc, c->properties, json, to);
            return 0;
        }
    }
    const VmrNetClass *net = vmr_net_class(name);
    if (net) {
        table("backend", name, net->summary, net->doc, net->properties, json, to);
        return 0;
    }
    for (unsigned i = 0; vmr_accels[i]; i++) {
        char *text = vmr_accels[i]->cpu_describe ? vmr_accels[i]->cpu_describe(name) : NULL;
        if (!text)
            continue;
        if (json) {
            VmrJson j = {.to = to};
            vmr_json_open(&j, NULL, '{');
            vmr_json_string(&j, "kind", "cpu");
            vmr_json_string(&j, "name", name);
            vmr_json_string(&j, "doc", text);
            vmr_json_close(&j, '}');
        } else {
            fputs(text, to);
        }
        g_free(text);
        return 0;
    }
    GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
    char *cwd = g_get_current_dir();
    const VmrDeviceClass *klass = vmr_device_class_find(name, cwd, problems);
    if (klass && json) {
        VmrJson j = {.to = to};
        json_device(&j, klass);
    } else if (klass) {
        text_device(to, klass);
    }
    for (unsigned i = 0; !klass && i < problems->len; i++)
        fprintf(stderr, "vmrun: --describe: %s\n", (const char *)g_ptr_array_index(problems, i));
    g_free(cwd);
    g_ptr_array_unref(problems);
    return klass ? 0 : 2;
}
