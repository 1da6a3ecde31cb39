/*
 * core/identity.c - what makes two machines the same for a snapshot, as records.
 *
 * Of a device: its class, where its regions and lines go, and each property that
 * is not about the host (back ends and paths may differ).
 */
#include "state.h"

#include "config.h"

#include <inttypes.h>

void vmr_identity_machine(VmrMachine *m, GByteArray *to)
{
    GString *map = g_string_new(NULL);
    for (unsigned i = 0; i < m->ram_ranges->len; i++) {
        const VmrMemoryRange *r = &g_array_index(m->ram_ranges, VmrMemoryRange, i);
        g_string_append_printf(map, "%s0x%" PRIx64 "+0x%" PRIx64, i ? ", " : "", r->base, r->size);
    }
    vmr_record_add_text(to, "architecture", "x86_64");
    vmr_record_add_text(to, "memory map", map->str);
    vmr_record_add_text(to, "CPU model", m->cpu_model ? m->cpu_model : "");
    vmr_record_add_u64(to, "number of CPUs", m->cpu_count);
    vmr_record_add_u64(to, "memory in bytes", m->ram.used);
    g_string_free(map, TRUE);
}

static char *property_text(const VmrProperty *p, const VmrDevice *device)
{
    const uint8_t *at = (const uint8_t *)device + p->offset;
    switch (p->type) {
    case VMR_PROP_BOOL:
        return g_strdup(*(const bool *)at ? "on" : "off");
    case VMR_PROP_U32:
        return g_strdup_printf("%" PRIu32, *(const uint32_t *)(const void *)at);
    case VMR_PROP_U64:
    case VMR_PROP_SIZE:
        return g_strdup_printf("%" PRIu64, *(const uint64_t *)(const void *)at);
    case VMR_PROP_ENUM: {
        uint32_t n = *(const uint32_t *)(const void *)at;
        for (uint32_t i = 0; p->names && p->names[i]; i++)
            if (i == n)
                return g_strdup(p->names[i]);
        return NULL;
    }
    case VMR_PROP_STRING: {
        const char *text = *(const char *const *)(const void *)at;
        return g_strdup(text ? text : "");
    }
    case VMR_PROP_LINK: {
        const VmrLink *link = (const void *)at;
        return g_strdup(link->device ? link->device->name : "none");
    }
    default:
        return NULL;
    }
}

static void add(GByteArray *to, const char *kind, const char *name, char *text)
{
    if (!text)
        return;
    char *key = g_strdup_printf("%s %s", kind, name);
    vmr_record_add_text(to, key, text);
    g_free(key);
    g_free(text);
}

static char *line_text(const VmrDeviceHandle *h, const VmrLine *line)
{
    GString *s = g_string_new(NULL);
    for (unsigned i = 0; h->routes && i < h->routes->len; i++) {
        const VmrRoutedLine *r = &g_array_index(h->routes, VmrRoutedLine, i);
        if (r->name != line->name)
            continue;
        g_string_append_printf(s, "%s%u-%s%s:%s:%u", s->len ? ", " : "", r->index,
                               r->inverted ? "!" : "", r->to ? r->to->name : "core", r->to_line,
                               r->to_index);
    }
    return g_string_free(s, FALSE);
}

void vmr_identity_device(const VmrDeviceHandle *h, GByteArray *to)
{
    const VmrDeviceClass *k = h->klass;
    vmr_record_add_text(to, "plugin", k->id);
    vmr_record_add_u64(to, "state version", k->state_version);
    for (const VmrProperty *p = k->properties; p && p->name; p++)
        add(to, "property", p->name, property_text(p, h->device));
    for (unsigned i = 0; h->placements && i < h->placements->len; i++) {
        const VmrPlacedRegion *r = &g_array_index(h->placements, VmrPlacedRegion, i);
        add(to, "region", r->name,
            g_strdup_printf("%s:0x%" PRIx64 "+0x%" PRIx64, r->io ? "io" : "mem", r->base, r->size));
    }
    for (const VmrLine *l = k->lines; l && l->name; l++)
        if (l->direction == VMR_LINE_OUT)
            add(to, "line", l->name, line_text(h, l));
}
