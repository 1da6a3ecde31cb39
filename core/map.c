/*
 * core/map.c - from placements to a map: pieces that do not overlap, ascending.
 *
 * Rebuilt as a whole on each change: a machine has some dozens of placements,
 * and changes are rare beside accesses.
 */
#include "runtime.h"

static int compare_points(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The placement that answers at `address`. */
static const VmrPlaced *winner(const GArray *placed, uint64_t address)
{
    const VmrPlaced *best = NULL;
    for (unsigned i = 0; i < placed->len; i++) {
        const VmrPlaced *p = &g_array_index(placed, VmrPlaced, i);
        if (!p->enabled || address < p->p.base || address - p->p.base >= p->p.size)
            continue;
        if (!best || p->p.priority > best->p.priority ||
            (p->p.priority == best->p.priority && p->id > best->id))
            best = p;
    }
    return best;
}

static VmrRange piece(const VmrPlaced *p, uint64_t base, uint64_t last)
{
    VmrRange r = p->p.range;
    uint64_t delta = base - p->p.base;
    r.base = base;
    r.last = last;
    if (r.host)
        r.host += delta;
    r.ram_offset += delta;
    r.region_offset += delta;
    return r;
}

VmrMap *vmr_map_build(const GArray *placed, unsigned address_bits)
{
    /* Between two neighbouring points, who answers does not change. */
    GArray *points = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    for (unsigned i = 0; i < placed->len; i++) {
        const VmrPlaced *p = &g_array_index(placed, VmrPlaced, i);
        if (!p->enabled)
            continue;
        uint64_t end = p->p.base + p->p.size; /* 0: the end of a 64-bit space */
        g_array_append_val(points, p->p.base);
        if (end)
            g_array_append_val(points, end);
    }
    g_array_sort(points, compare_points);

    VmrMap *map = g_malloc0(sizeof *map + points->len * sizeof(VmrRange));
    const VmrPlaced *previous = NULL;
    for (unsigned i = 0; i < points->len; i++) {
        uint64_t base = g_array_index(points, uint64_t, i);
        if (i + 1 < points->len && g_array_index(points, uint64_t, i + 1) == base)
            continue;
        const VmrPlaced *p = winner(placed, base);
        uint64_t last = i + 1 < points->len ? g_array_index(points, uint64_t, i + 1) - 1
                                            : UINT64_MAX;
        if (p && p == previous)
            map->ranges[map->count - 1].last = last;
        else if (p)
            map->ranges[map->count++] = piece(p, base, last);
        previous = p;
    }
    g_array_unref(points);

    if (address_bits == 16) {
        map->index = g_new0(uint16_t, 0x10000);
        for (unsigned i = 0; i < map->count; i++)
            for (uint64_t a = map->ranges[i].base; a <= map->ranges[i].last && a < 0x10000; a++)
                map->index[a] = (uint16_t)(i + 1);
    }
    return map;
}

void vmr_map_free(VmrMap *map)
{
    if (map)
        g_free(map->index);
    g_free(map);
}

const VmrRange *vmr_map_find(const VmrMap *map, uint64_t address)
{
    if (map->index) {
        unsigned i = address < 0x10000 ? map->index[address] : 0;
        return i ? &map->ranges[i - 1] : NULL;
    }
    /* A map's address may be used again after it is freed, so the hint is checked in full. */
    static _Thread_local struct {
        const VmrMap *map;
        unsigned at;
    } hint;
    if (hint.map == map && hint.at < map->count) {
        const VmrRange *r = &map->ranges[hint.at];
        if (address >= r->base && address <= r->last)
            return r;
    }
    unsigned low = 0, high = map->count;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (map->ranges[mid].last < address)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == map->count || address < map->ranges[low].base)
        return NULL;
    hint.map = map;
    hint.at = low;
    return &map->ranges[low];
}
