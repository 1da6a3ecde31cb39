/*
 * core/realize.c - from a wired machine to one that can run: realize, place, describe, vCPUs.
 *
 * Only what a machine file cannot show fails here: a host that refuses something,
 * a region whose size its device finds out.  What was realized is unrealized in
 * reverse, then.
 */
#include "core/drive.h"
#include "core/net.h"
#include "core/wire.h"

#include <string.h>

#define IO_SPACE 0x10000u

/* ---- the accelerator -------------------------------------------------- */

static const VmrAccelClass *accel_named(const char *name)
{
    for (unsigned i = 0; vmr_accels[i]; i++)
        if (strcmp(vmr_accels[i]->name, name) == 0)
            return vmr_accels[i];
    return NULL;
}

/* Does it work, and in full?  Else why not is added to `why`. */
static const VmrAccelClass *try_accel(const char *name, GString *why, bool *limited)
{
    const VmrAccelClass *accel = accel_named(name);
    GError *error = NULL;
    bool works = accel && (!accel->probe || accel->probe(&error));
    char *limits = works && accel->limits ? accel->limits() : NULL;
    if (!works || limits)
        g_string_append_printf(why, "%s%s: %s", why->len ? "; " : "", name,
                               limits  ? limits
                               : error ? error->message
                               : accel ? "does not work here"
                                       : "not built in");
    *limited = limits != NULL;
    g_free(limits);
    g_clear_error(&error);
    return works ? accel : NULL;
}

const VmrAccelClass *vmr_accel_choose(const char *list, char **note, GError **error)
{
    const VmrAccelClass *chosen = NULL, *second = NULL;
    GString *why = g_string_new(NULL);
    char **names = g_strsplit(list, ",", 0);
    for (unsigned i = 0; names[i] && !chosen; i++) {
        bool limited = false;
        const VmrAccelClass *accel = try_accel(g_strstrip(names[i]), why, &limited);
        if (!limited)
            chosen = accel;
        else if (!second)
            second = accel;
    }
    if (!chosen)
        chosen = second;
    if (!chosen)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NODEV, "no accelerator works: %s",
                    why->len ? why->str : "none is named");
    g_clear_pointer(note, g_free);
    if (chosen && why->len)
        *note = g_strdup_printf("running on %s; %s", chosen->name, why->str);
    g_strfreev(names);
    g_string_free(why, TRUE);
    return chosen;
}

/* ---- regions ---------------------------------------------------------- */

bool vmr_region_is_memory(const VmrRegion *r)
{
    return r->kind == VMR_REGION_RAM || r->kind == VMR_REGION_ROM;
}

const char *vmr_region_misplaced(const VmrRegion *r, bool io, uint64_t base, uint64_t size)
{
    if (io && vmr_region_is_memory(r))
        return "memory cannot be in the I/O space";
    if (!size)
        return "its size is 0";
    if (io && (base >= IO_SPACE || size > IO_SPACE - base))
        return "it ends beyond I/O port 0xffff";
    if (base >= 1ull << VMR_ADDRESS_BITS || size > (1ull << VMR_ADDRESS_BITS) - base)
        return "it ends beyond 52 bits of address";
    if (vmr_region_is_memory(r) && base % VMR_PAGE)
        return "memory starts at a multiple of 4 KiB";
    return NULL;
}

static const VmrRegion *region_named(const VmrDeviceClass *klass, const char *name)
{
    for (const VmrRegion *r = klass->regions; r && r->name; r++)
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

uint64_t vmr_region_size(const VmrDeviceHandle *h, const VmrRegion *r)
{
    uint64_t size = r->size;
    if (!size)
        memcpy(&size, (const uint8_t *)h->device + r->size_offset, sizeof(size));
    return size;
}

bool vmr_region_prepare(VmrDeviceHandle *h, const VmrRegion *r, bool io, uint64_t base,
                        uint64_t *size, VmrPlacement *p, GError **error)
{
    VmrMachine *m = h->machine;
    *size = vmr_region_size(h, r);
    const char *fault = vmr_region_misplaced(r, io, base, *size);
    if (fault) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s", fault);
        return false;
    }
    *p = (VmrPlacement){
        .base = base,
        .size = *size,
        .priority = r->flags & VMR_REGION_OVERLAY ? 2 : 1,
        .range = {.base = base, .last = base + *size - 1,
                  .device = h->device, .region = r,
                  .domain = r->flags & VMR_REGION_CONCURRENT ? NULL : h->domain},
    };
    if (vmr_region_is_memory(r)) {
        p->size = *size = (*size + VMR_PAGE - 1) & ~(uint64_t)(VMR_PAGE - 1);
        uint64_t offset = vmr_ram_take(&m->ram, p->size);
        if (offset == UINT64_MAX) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM, "there is no memory left for it");
            return false;
        }
        p->range.kind = r->kind == VMR_REGION_RAM ? VMR_RANGE_RAM : VMR_RANGE_ROM;
        p->range.ram_offset = offset;
        p->range.host = m->ram.base + offset;
        p->range.last = p->base + p->size - 1;
    }
    return true;
}

static bool place_region(VmrDeviceHandle *h, VmrPlacedRegion *placed, GError **error)
{
    VmrMachine *m = h->machine;
    const VmrRegion *r = region_named(h->klass, placed->name);
    VmrPlacement p;
    if (!vmr_region_prepare(h, r, placed->io, placed->base, &placed->size, &p, error))
        return false;
    char *label = g_strdup_printf("%s.%s", h->name, r->name);
    p.label = label;
    vmr_domain_lock(h->domain);
    unsigned id = vmr_space_place(placed->io ? m->io : m->memory, &p, error);
    vmr_domain_unlock(h->domain);
    g_free(label);
    return id != 0;
}

static void prefix_place(GError **error, const VmrConfig *config, const VmrDeviceHandle *h,
                         const char *key)
{
    const VmrSection *s = vmr_config_section(config, "device", h->name);
    VmrPlace place = key ? vmr_section_place(s, key) : s->place;
    if (place.file)
        g_prefix_error(error, "%s:%u: [%s]%s%s: ", place.file, place.line, s->title, key ? " " : "",
                       key ? key : "");
    else
        g_prefix_error(error, "[%s]%s%s: ", s->title, key ? " " : "", key ? key : "");
}

static bool realize_devices(VmrMachine *m, GError **error)
{
    for (unsigned i = 0; i < m->realize_order->len; i++) {
        VmrDeviceHandle *h = g_ptr_array_index(m->realize_order, i);
        if (h->klass->realize && !h->klass->realize(h->device, error)) {
            if (error && !*error)
                g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "it cannot be realized");
            prefix_place(error, m->config, h, NULL);
            return false;
        }
        h->realized = true;
    }
    for (unsigned i = 0; i < m->devices->len; i++) {
        VmrDeviceHandle *h = g_ptr_array_index(m->devices, i);
        for (unsigned j = 0; j < h->placements->len; j++) {
            VmrPlacedRegion *placed = &g_array_index(h->placements, VmrPlacedRegion, j);
            if (!place_region(h, placed, error)) {
                prefix_place(error, m->config, h, placed->name);
                return false;
            }
        }
    }
    return true;
}

static void unrealize_devices(VmrMachine *m)
{
    for (unsigned i = m->realize_order->len; i-- > 0;) {
        VmrDeviceHandle *h = g_ptr_array_index(m->realize_order, i);
        if (h->realized && h->klass->unrealize)
            h->klass->unrealize(h->device);
        h->realized = false;
    }
}

static bool add_ram(VmrMachine *m, GError **error)
{
    GArray *planned = m->ram_ranges;
    bool ok = true;
    m->ram_ranges = g_array_new(FALSE, TRUE, sizeof(VmrMemoryRange));
    for (unsigned i = 0; ok && i < planned->len; i++) {
        const VmrMemoryRange *r = &g_array_index(planned, VmrMemoryRange, i);
        ok = vmr_machine_add_ram(m, r->base, r->size, error);
    }
    g_array_unref(planned);
    return ok;
}

bool vmr_machine_realize(VmrMachine *m, GError **error)
{
    if (!m->accel) {
        const VmrSection *section = vmr_config_section(m->config, "machine", "");
        const VmrValue *accel = section ? vmr_section_value(section, "accel") : NULL;
        m->accel = vmr_accel_choose(accel ? accel->text : "kvm,interp", &m->accel_note, error);
        if (!m->accel)
            return false;
    }
    if (m->accel_note)
        vmr_core_log(VMR_LOG_INFO, "%s", m->accel_note);
    if (!vmr_drives_open(m, error) || !vmr_nets_open(m, error) || !add_ram(m, error))
        return false;
    if (!realize_devices(m, error)) {
        unrealize_devices(m);
        return false;
    }
    vmr_domain_lock(m->domain);
    vmr_space_commit(m->memory);
    vmr_space_commit(m->io);
    vmr_domain_unlock(m->domain);
    for (unsigned i = 0; i < m->devices->len; i++) {
        VmrDeviceHandle *h = g_ptr_array_index(m->devices, i);
        h->description = vmr_description_new(h);
    }
    if (!vmr_machine_create_cpus(m, error)) {
        unrealize_devices(m);
        return false;
    }
    return true;
}
