/*
 * core/region.c - regions that a bus places, moves and takes out at run time: PCI BARs.
 *
 * A guest may put them anywhere.  So they give way to all that the machine file
 * places, and overlaps among them are allowed.
 */
#include "runtime.h"
#include "wire.h"

#include <string.h>

/* A region that was in a space at least once. */
typedef struct Mapped {
    const VmrRegion *region;
    VmrSpace *space;
    unsigned id; /* of its placement */
    uint64_t base;
    bool enabled;
} Mapped;

static const VmrRegion *region_at(const VmrDeviceClass *klass, uint32_t index)
{
    uint32_t i = 0;
    for (const VmrRegion *r = klass->regions; r && r->name; r++)
        if (i++ == index)
            return r;
    return NULL;
}

static bool is_placed(const VmrDeviceHandle *h, const VmrRegion *r)
{
    for (unsigned i = 0; i < h->placements->len; i++)
        if (strcmp(g_array_index(h->placements, VmrPlacedRegion, i).name, r->name) == 0)
            return true;
    return false;
}

bool vmr_host_region_placed(VmrDevice *dev, uint32_t region)
{
    const VmrRegion *r = region_at(dev->klass, region);
    return r && is_placed(dev->handle, r);
}

/* What is known of a region in a space; made, not enabled, if it was never there. */
static Mapped *mapped(VmrDeviceHandle *h, const VmrRegion *r, VmrSpace *space, bool io)
{
    if (!h->mapped)
        h->mapped = g_array_new(FALSE, TRUE, sizeof(Mapped));
    for (unsigned i = 0; i < h->mapped->len; i++) {
        Mapped *m = &g_array_index(h->mapped, Mapped, i);
        if (m->region == r && m->space == space)
            return m;
    }
    VmrPlacement p;
    uint64_t size;
    if (!vmr_region_prepare(h, r, io, 0, &size, &p, NULL))
        return NULL;
    char *label = g_strdup_printf("%s.%s", h->name, r->name);
    p.label = label;
    p.priority = -1;
    Mapped fresh = {.region = r, .space = space, .id = vmr_space_place(space, &p, NULL)};
    g_free(label);
    if (!fresh.id)
        return NULL;
    vmr_space_enable(space, fresh.id, false);
    g_array_append_val(h->mapped, fresh);
    return &g_array_index(h->mapped, Mapped, h->mapped->len - 1);
}

static void take_out(Mapped *m)
{
    if (!m->enabled)
        return;
    m->enabled = false;
    vmr_space_enable(m->space, m->id, false);
    vmr_space_commit(m->space);
}

static VmrResult map(VmrDeviceHandle *h, const VmrRegion *r, bool io, uint64_t base, bool enabled)
{
    VmrMachine *machine = h->machine;

    /* It is in one space at a time. */
    for (unsigned i = 0; h->mapped && i < h->mapped->len; i++) {
        Mapped *m = &g_array_index(h->mapped, Mapped, i);
        if (m->region == r && (!enabled || m->space != (io ? machine->io : machine->memory)))
            take_out(m);
    }
    if (!enabled)
        return VMR_OK;
    Mapped *m = mapped(h, r, io ? machine->io : machine->memory, io);
    if (!m)
        return VMR_ERR_BOUNDS;
    if (vmr_region_misplaced(r, io, base, vmr_region_size(h, r)) ||
        (m->base != base && !vmr_space_move(m->space, m->id, base, NULL))) {
        take_out(m);
        return VMR_ERR_BOUNDS;
    }
    bool changed = !m->enabled || m->base != base;
    m->base = base;
    m->enabled = true;
    if (changed) {
        vmr_space_enable(m->space, m->id, true);
        vmr_space_commit(m->space);
    }
    return VMR_OK;
}

VmrResult vmr_host_region_map(VmrDevice *dev, uint32_t index, VmrSpaceId space, uint64_t base,
                              bool enabled)
{
    VmrDeviceHandle *h = dev->handle;
    const VmrRegion *r = region_at(dev->klass, index);
    bool io = space == VMR_SPACE_IO;

    if (!r || is_placed(h, r) || (io && vmr_region_is_memory(r)))
        return VMR_ERR_ACCESS;
    vmr_domain_lock(h->domain); /* unrealize() has it not */
    VmrResult result = map(h, r, io, base, enabled);
    vmr_domain_unlock(h->domain);
    return result;
}
