/*
 * core/space.c - an address space: placements, their published map, and accesses.
 *
 * Size fix-up of an access to a device: first `valid_min..valid_max` is checked
 * against the guest's whole access (VMR_ERR_ACCESS; reads give ones).  Then it
 * is cut into naturally aligned pieces of at most impl_max bytes, ascending.  A
 * piece narrower than impl_min becomes the aligned impl_min bytes around it: a
 * read takes its bytes out of them; a write has zeros in the other byte lanes.
 */
#include "runtime.h"
#include "swap.h"

#include <string.h>
#include <time.h>

/* What one outermost access may cause by handlers that do DMA to devices. */
enum { MAX_DEPTH = 8, MAX_CALLS = 65536 };
/* Of a block copy, bytes that are not RAM or ROM. */
enum { MAX_COPY_IO = 65536 };

struct VmrSpace {
    VmrMachine *machine;
    char *name;
    unsigned bits;
    uint64_t limit;  /* the last address */
    GMutex edit;     /* placements */
    GArray *placed;  /* VmrPlaced */
    unsigned next_id;
    VmrMap *map;     /* atomic */
};

_Thread_local int vmr_current_initiator = -1;
bool vmr_stats_enabled;

static _Thread_local unsigned access_depth, handler_depth, calls_left;

static void begin(void)
{
    vmr_reader_pin();
    if (access_depth++ == 0)
        calls_left = MAX_CALLS;
}

static void end(void)
{
    access_depth--;
    vmr_reader_unpin();
}

/* ---- placements ------------------------------------------------------- */

VmrSpace *vmr_space_new(VmrMachine *machine, const char *name, unsigned address_bits)
{
    VmrSpace *s = g_new0(VmrSpace, 1);
    s->machine = machine;
    s->name = g_strdup(name);
    s->bits = address_bits;
    s->limit = address_bits >= 64 ? UINT64_MAX : ((uint64_t)1 << address_bits) - 1;
    g_mutex_init(&s->edit);
    s->placed = g_array_new(FALSE, FALSE, sizeof(VmrPlaced));
    s->map = vmr_map_build(s->placed, address_bits);
    return s;
}

void vmr_space_free(VmrSpace *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->placed->len; i++)
        g_free((char *)g_array_index(s->placed, VmrPlaced, i).p.label);
    g_array_unref(s->placed);
    vmr_reader_retire(s->map);
    g_mutex_clear(&s->edit);
    g_free(s->name);
    g_free(s);
}

static VmrPlaced *by_id(VmrSpace *s, unsigned id)
{
    for (unsigned i = 0; i < s->placed->len; i++)
        if (g_array_index(s->placed, VmrPlaced, i).id == id)
            return &g_array_index(s->placed, VmrPlaced, i);
    return NULL;
}

/* Why `p` cannot be at `base`; `self` is itself if it is placed already. */
static bool check(const VmrSpace *s, const VmrPlacement *p, uint64_t base, unsigned self,
                  GError **error)
{
    uint64_t last = base + p->size - 1;
    if (p->size == 0 || last < base || last > s->limit) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s (%s:0x%" PRIx64 ", 0x%" PRIx64 " bytes) does not fit in the %s space",
                    p->label, s->name, base, p->size, s->name);
        return false;
    }
    for (unsigned i = 0; i < s->placed->len; i++) {
        const VmrPlaced *o = &g_array_index(s->placed, VmrPlaced, i);
        if (!o->enabled || o->id == self || o->p.priority != p->priority || p->priority >= 2 ||
            p->priority < 0)
            continue;
        uint64_t olast = o->p.base + o->p.size - 1;
        if (last < o->p.base || base > olast)
            continue;
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "%s (%s:0x%" PRIx64 "-0x%" PRIx64 ") overlaps %s (%s:0x%" PRIx64
                    "-0x%" PRIx64 ")",
                    p->label, s->name, base, last, o->p.label, s->name, o->p.base, olast);
        return false;
    }
    return true;
}

unsigned vmr_space_place(VmrSpace *s, const VmrPlacement *p, GError **error)
{
    unsigned id = 0;
    g_mutex_lock(&s->edit);
    if (check(s, p, p->base, 0, error)) {
        VmrPlaced placed = {.id = ++s->next_id, .p = *p, .enabled = true};
        placed.p.label = g_strdup(p->label);
        g_array_append_val(s->placed, placed);
        id = placed.id;
    }
    g_mutex_unlock(&s->edit);
    return id;
}

bool vmr_space_move(VmrSpace *s, unsigned id, uint64_t base, GError **error)
{
    g_mutex_lock(&s->edit);
    VmrPlaced *placed = by_id(s, id);
    bool ok = placed && check(s, &placed->p, base, id, error);
    if (ok)
        placed->p.base = base;
    else if (!placed)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "no placement %u in %s", id, s->name);
    g_mutex_unlock(&s->edit);
    return ok;
}

void vmr_space_enable(VmrSpace *s, unsigned id, bool enabled)
{
    g_mutex_lock(&s->edit);
    VmrPlaced *placed = by_id(s, id);
    if (placed)
        placed->enabled = enabled;
    g_mutex_unlock(&s->edit);
}

void vmr_space_commit(VmrSpace *s)
{
    g_mutex_lock(&s->edit);
    VmrMap *map = vmr_map_build(s->placed, s->bits);
    VmrMap *old = __atomic_exchange_n(&s->map, map, __ATOMIC_SEQ_CST);
    unsigned waiting = vmr_reader_retire(old);
    g_mutex_unlock(&s->edit);

    VmrMachine *m = s->machine;
    if (m && m->vm && m->accel->map_changed)
        m->accel->map_changed(m->vm);
    /* A guest that remaps without end: have the vCPUs pass a quiescent point. */
    if (m && m->priv && waiting > 16)
        vmr_cpus_kick(m);
}

static const VmrMap *current(VmrSpace *s)
{
    return __atomic_load_n(&s->map, __ATOMIC_SEQ_CST);
}

const VmrMap *vmr_space_map(VmrSpace *s)
{
    return current(s);
}

const VmrRange *vmr_space_find(VmrSpace *s, uint64_t address)
{
    return vmr_map_find(current(s), address);
}

/* ---- handlers --------------------------------------------------------- */

static const char *who(const VmrRange *r)
{
    return r->device ? r->device->name : "ram";
}

static void trace_io(const VmrRange *r, bool write, uint64_t offset, uint64_t value, unsigned size)
{
    vmr_core_trace(who(r), "io: %s %s+0x%" PRIx64 " size %u = 0x%" PRIx64 " by %s%d",
                   write ? "write" : "read", r->region->name, offset, size, value,
                   vmr_current_initiator < 0 ? "device" : "cpu", vmr_current_initiator);
}

static uint64_t ones(unsigned bytes)
{
    return bytes >= 8 ? UINT64_MAX : ((uint64_t)1 << (bytes * 8)) - 1;
}

static int64_t host_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* One call of a handler: `size` is what it takes. */
static void call(const VmrRange *r, uint64_t offset, uint64_t *value, unsigned size, bool write)
{
    const VmrRegion *g = r->region;
    if (!write) {
        *value = g->read ? g->read(r->device, offset, size) & ones(size) : ones(size);
    } else if (g->write) {
        g->write(r->device, offset, *value, size);
    } else if (vmr_tracing(VMR_TRACE_GUEST_ERROR)) {
        vmr_core_trace(who(r), "guest-error: write to read-only %s+0x%" PRIx64, g->name, offset);
    }
}

/* `n` bytes (1..8) that all lie in `r`, which is of kind IO; no more than the guest's access. */
static VmrResult access_device(const VmrRange *r, uint64_t address, uint64_t *value, unsigned n,
                               bool write, unsigned whole, int initiator)
{
    const VmrRegion *g = r->region;
    unsigned valid_min = g->valid_min ? g->valid_min : 1;
    unsigned valid_max = g->valid_max ? g->valid_max : 8;
    unsigned impl_min = g->impl_min ? g->impl_min : 1, impl_max = g->impl_max ? g->impl_max : 8;
    uint64_t offset = r->region_offset + (address - r->base);
    if (whole < valid_min || whole > valid_max || handler_depth >= MAX_DEPTH) {
        if (vmr_tracing(VMR_TRACE_GUEST_ERROR))
            vmr_core_trace(who(r), "guest-error: %s %s+0x%" PRIx64 " size %u: %s",
                           write ? "write" : "read", g->name, offset, whole,
                           handler_depth >= MAX_DEPTH ? "devices call each other too deeply"
                                                      : "not a valid size");
        if (!write)
            *value = ones(n);
        return VMR_ERR_ACCESS;
    }

    VmrResult result = VMR_OK;
    int outer = vmr_current_initiator;
    int64_t start = 0;
    if (r->domain)
        vmr_domain_lock(r->domain);
    vmr_current_initiator = initiator;
    handler_depth++;
    if (G_UNLIKELY(vmr_stats_enabled))
        start = host_ns();

    uint64_t in = *value, out = 0;
    for (unsigned done = 0; done < n;) {
        uint64_t o = offset + done;
        unsigned size = 1;
        while (size < impl_max && size * 2 <= n - done && o % (size * 2) == 0)
            size *= 2;
        unsigned lane = 0, take = size, call_size = size;
        if (size < impl_min) {
            call_size = impl_min;
            lane = (unsigned)(o % impl_min);
            take = MIN(n - done, impl_min - lane);
        }
        uint64_t v = ones(call_size);
        if (calls_left == 0) {
            result = VMR_ERR_BOUNDS;
        } else {
            calls_left--;
            if (write)
                v = ((in >> (done * 8)) & ones(take)) << (lane * 8);
            call(r, o - lane, &v, call_size, write);
        }
        if (!write)
            out |= ((v >> (lane * 8)) & ones(take)) << (done * 8);
        done += take;
    }
    if (!write)
        *value = out;

    if (G_UNLIKELY(vmr_stats_enabled) && r->device->handle) {
        r->device->handle->accesses++;
        r->device->handle->access_ns += (uint64_t)(host_ns() - start);
    }
    if (vmr_tracing(VMR_TRACE_IO))
        trace_io(r, write, offset, *value, n);
    handler_depth--;
    vmr_current_initiator = outer;
    if (r->domain)
        vmr_domain_unlock(r->domain);
    return result;
}

/* ---- RAM -------------------------------------------------------------- */

/* A naturally aligned access is single-copy atomic, as guests expect of their memory. */
static void copy_ram(void *to, const void *from, size_t n)
{
    uintptr_t both = (uintptr_t)to | (uintptr_t)from;
    if (n == 8 && both % 8 == 0)
        __atomic_store_n((uint64_t *)to, __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    else if (n == 4 && both % 4 == 0)
        __atomic_store_n((uint32_t *)to, __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    else if (n == 2 && both % 2 == 0)
        __atomic_store_n((uint16_t *)to, __atomic_load_n((const uint16_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    else
        memcpy(to, from, n);
}

static void ram_written(VmrSpace *s, const VmrRange *r, uint64_t address, uint64_t len)
{
    VmrMachine *m = s->machine;
    if (m && m->vm && m->accel->ram_written)
        m->accel->ram_written(m->vm, r->ram_offset + (address - r->base), len);
}

static void rom_dropped(const VmrRange *r, uint64_t address, uint64_t len)
{
    if (vmr_tracing(VMR_TRACE_GUEST_ERROR))
        vmr_core_trace(who(r), "guest-error: write of %" PRIu64 " bytes to ROM at 0x%" PRIx64
                       " is dropped", len, address);
}

/* ---- single accesses -------------------------------------------------- */

static VmrResult unassigned(VmrSpace *s, uint64_t address, unsigned n, bool write, int initiator)
{
    if (vmr_tracing(VMR_TRACE_UNASSIGNED)) {
        char by[16] = "device";
        if (initiator >= 0)
            g_snprintf(by, sizeof by, "cpu%d", initiator);
        vmr_core_trace(by, "unassigned: %s %s:0x%" PRIx64 " size %u", write ? "write" : "read",
                       s->name, address, n);
    }
    return VMR_ERR_UNASSIGNED;
}

/* Does the region of `r` take an access of `size` bytes from `address` on whole or not at all,
   and is `size` not too much for it? */
static bool takes_whole(const VmrRange *r, uint64_t address, unsigned size)
{
    const VmrRegion *g = r->region;
    return r->kind == VMR_RANGE_IO && g->valid_min == size && g->size &&
           r->region_offset + (address - r->base) + size <= g->size;
}

/* `n` bytes of an access that all lie in `r`. */
static VmrResult access_range(VmrSpace *s, const VmrRange *r, uint64_t address, uint64_t *value,
                              unsigned n, bool write, unsigned whole, int initiator)
{
    if (r->kind == VMR_RANGE_IO)
        return access_device(r, address, value, n, write, whole, initiator);
    uint8_t *host = r->host + (address - r->base);
    uint64_t v = *value;
    if (!write) {
        v = 0;
        copy_ram(&v, host, n); /* little-endian hosts only */
        *value = v;
    } else if (r->kind == VMR_RANGE_RAM) {
        copy_ram(host, &v, n);
        ram_written(s, r, address, n);
    } else {
        rom_dropped(r, address, n);
    }
    return VMR_OK;
}

static VmrResult access_space(VmrSpace *s, uint64_t address, uint64_t *value, unsigned size,
                              bool write, int initiator)
{
    VmrResult result = VMR_OK;
    if (G_UNLIKELY(vmr_swap_armed) && s->machine && initiator >= 0)
        vmr_swap_access(s->machine, s == s->machine->io, address, size);
    begin();
    const VmrMap *map = current(s);
    uint64_t out = 0, in = *value;
    for (unsigned done = 0; done < size;) {
        uint64_t a = address + done;
        bool outside = a < address || a > s->limit; /* wrapped: nothing is there */
        const VmrRange *r = outside ? NULL : vmr_map_find(map, a);
        unsigned n = r ? (unsigned)MIN((uint64_t)(size - done - 1), r->last - a) + 1 : 1;
        if (n < size && done == 0 && r && takes_whole(r, a, size))
            n = size;
        uint64_t v = r ? in >> (done * 8) & ones(n) : ones(n);
        VmrResult one;
        if (r)
            one = access_range(s, r, a, &v, n, write, size, initiator);
        else
            one = unassigned(s, a, n, write, initiator);
        if (result == VMR_OK)
            result = one;
        out |= v << (done * 8);
        done += n;
    }
    end();
    if (!write)
        *value = out;
    return result;
}

VmrResult vmr_space_read(VmrSpace *s, uint64_t address, uint64_t *value, unsigned size,
                         int initiator)
{
    *value = 0;
    return access_space(s, address, value, MIN(size, 8), false, initiator);
}

VmrResult vmr_space_write(VmrSpace *s, uint64_t address, uint64_t value, unsigned size,
                          int initiator)
{
    return access_space(s, address, &value, MIN(size, 8), true, initiator);
}

/* ---- blocks ----------------------------------------------------------- */

/* The largest access that a device takes here, as part of a block. */
static unsigned block_step(const VmrRange *r, uint64_t address, size_t left)
{
    unsigned max = r->region->valid_max ? MIN(r->region->valid_max, 8) : 8;
    uint64_t offset = r->region_offset + (address - r->base);
    unsigned n = 1;
    while (n * 2 <= max && n * 2 <= left && offset % (n * 2) == 0)
        n *= 2;
    return n;
}

static VmrResult copy(VmrSpace *s, uint64_t address, uint8_t *buf, size_t len, bool write)
{
    if (len == 0)
        return VMR_OK;
    if (address + (len - 1) < address || address + (len - 1) > s->limit)
        return VMR_ERR_BOUNDS;
    VmrResult result = VMR_OK;
    size_t io = 0;
    begin();
    const VmrMap *map = current(s);
    while (len && result != VMR_ERR_BOUNDS) {
        const VmrRange *r = vmr_map_find(map, address);
        size_t n = r ? (size_t)MIN((uint64_t)(len - 1), r->last - address) + 1 : 1;
        VmrResult one = VMR_OK;
        if (r && r->kind != VMR_RANGE_IO) {
            uint8_t *host = r->host + (address - r->base);
            if (!write) {
                copy_ram(buf, host, n);
            } else if (r->kind == VMR_RANGE_RAM) {
                copy_ram(host, buf, n);
                ram_written(s, r, address, n);
            } else {
                rom_dropped(r, address, n);
            }
        } else {
            n = r ? block_step(r, address, n) : 1;
            io += n;
            uint64_t v = ones((unsigned)n);
            if (write && r)
                memcpy(&v, buf, n);
            if (io > MAX_COPY_IO)
                one = VMR_ERR_BOUNDS;
            else if (r)
                one = access_device(r, address, &v, (unsigned)n, write, (unsigned)n, -1);
            else
                one = unassigned(s, address, 1, write, -1);
            if (!write)
                memcpy(buf, &v, n);
        }
        if (result == VMR_OK || one == VMR_ERR_BOUNDS)
            result = one;
        address += n;
        buf += n;
        len -= n;
    }
    end();
    return result;
}

VmrResult vmr_space_copy_from(VmrSpace *s, uint64_t address, void *buf, size_t len)
{
    return copy(s, address, buf, len, false);
}

VmrResult vmr_space_copy_to(VmrSpace *s, uint64_t address, const void *buf, size_t len)
{
    return copy(s, address, (uint8_t *)buf, len, true); /* only read when writing */
}
