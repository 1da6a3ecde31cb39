/*
 * accel/kvm/bells.c - writes that need no exit to user space: doorbells and coalesced writes.
 *
 * A region that is a DOORBELL is only notified by a write, whatever its value.  The first write
 * to an address of one exits as any other; from then on KVM turns it into a signal on an
 * eventfd, and the I/O thread calls the region's handler.  So only those that a guest uses take
 * anything, and a bound holds for the guest that uses them all.
 *
 * Writes to a COALESCE region are put into a ring, which is emptied at the next exit of any vCPU,
 * before that is served.
 */
#include "kvm.h"

#include "core/runtime.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MOST_BELLS = 256, MOST_ZONES = 64 };

typedef struct Bell {
    KvmVm *vm;
    VmrDevice *device;
    uint64_t address;
    bool io;
    int fd;
    GSource *source; /* NULL: gone; under the domain lock */
} Bell;

static VmrSpace *space(const KvmVm *vm, bool io)
{
    return io ? vm->machine->io : vm->machine->memory;
}

/* ---- doorbells --------------------------------------------------------------------------------- */

static bool set(const Bell *b, bool there)
{
    struct kvm_ioeventfd e = {.addr = b->address, .len = 0, .fd = b->fd,
                              .flags = (b->io ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                                       (there ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN)};
    return kvm_ioctl(b->vm->fd, KVM_IOEVENTFD, &e) == 0;
}

/* Under the domain lock. */
static void serve(Bell *b)
{
    uint64_t count;
    if (b->source && read(b->fd, &count, sizeof count) == sizeof count)
        vmr_space_write(space(b->vm, b->io), b->address, 0, 4, -1);
}

static gboolean rung(int fd, GIOCondition condition, gpointer data)
{
    Bell *b = data;
    VmrDomain *domain = b->vm->machine->domain;
    vmr_domain_lock_urgent(domain);
    serve(b);
    bool alive = b->source != NULL;
    vmr_domain_unlock(domain);
    return alive;
}

static void bell_free(gpointer data)
{
    Bell *b = data;
    close(b->fd);
    g_free(b);
}

static void bell_remove(Bell *b)
{
    (void)set(b, false);
    GSource *source = g_steal_pointer(&b->source);
    g_source_destroy(source);
    g_source_unref(source);
}

void kvm_bell_learn(KvmVm *vm, bool io, uint64_t address)
{
    vmr_domain_lock(vm->machine->domain);
    const VmrRange *r = vmr_space_find(space(vm, io), address);
    bool wanted = r && r->kind == VMR_RANGE_IO && (r->region->flags & VMR_REGION_DOORBELL) &&
                  vm->bells->len < MOST_BELLS;
    for (unsigned i = 0; wanted && i < vm->bells->len; i++) {
        const Bell *old = vm->bells->pdata[i];
        wanted = old->address != address || old->io != io;
    }
    int fd = wanted ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
    if (fd >= 0) {
        Bell *b = g_new(Bell, 1);
        *b = (Bell){.vm = vm, .device = r->device, .address = address, .io = io, .fd = fd};
        if (set(b, true)) {
            b->source = g_unix_fd_source_new(fd, G_IO_IN);
            g_source_set_callback(b->source, G_SOURCE_FUNC(rung), b, bell_free);
            g_source_attach(b->source, vmr_io_context(vm->machine));
            g_ptr_array_add(vm->bells, b);
        } else {
            bell_free(b); /* the guest goes on by exits */
        }
    }
    vmr_domain_unlock(vm->machine->domain);
}

void kvm_bells_drain(KvmVm *vm)
{
    if (!vm->bells->len)
        return;
    vmr_domain_lock(vm->machine->domain);
    for (unsigned i = 0; i < vm->bells->len; i++)
        serve(vm->bells->pdata[i]);
    vmr_domain_unlock(vm->machine->domain);
}

/* Those that are no longer where they were. */
static void bells_sync(KvmVm *vm, bool all)
{
    vmr_domain_lock(vm->machine->domain);
    vmr_reader_enter(vm->machine);
    for (unsigned i = 0; i < vm->bells->len;) {
        Bell *b = vm->bells->pdata[i];
        const VmrRange *r = all ? NULL : vmr_space_find(space(vm, b->io), b->address);
        if (r && r->kind == VMR_RANGE_IO && r->device == b->device &&
            (r->region->flags & VMR_REGION_DOORBELL)) {
            i++;
            continue;
        }
        bell_remove(b);
        g_ptr_array_remove_index_fast(vm->bells, i);
    }
    vmr_reader_leave(vm->machine);
    vmr_domain_unlock(vm->machine->domain);
}

/* ---- coalesced writes ---------------------------------------------------------------------------- */

static bool zone_set(KvmVm *vm, const KvmZone *z, bool there)
{
    struct kvm_coalesced_mmio_zone k = {.addr = z->base, .size = z->size, .pio = z->io};
    return kvm_ioctl(vm->fd, there ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &k) == 0;
}

static void zones_of(KvmVm *vm, bool io, GArray *zones)
{
    const VmrMap *map = vmr_space_map(space(vm, io));
    for (unsigned i = 0; i < map->count && zones->len < MOST_ZONES; i++) {
        const VmrRange *r = &map->ranges[i];
        if (r->kind != VMR_RANGE_IO || !(r->region->flags & VMR_REGION_COALESCE) ||
            r->last - r->base >= UINT32_MAX)
            continue;
        KvmZone z = {.base = r->base, .size = (uint32_t)(r->last - r->base) + 1, .io = io};
        g_array_append_val(zones, z);
    }
}

static void zones_sync(KvmVm *vm)
{
    GArray *next = g_array_new(FALSE, FALSE, sizeof(KvmZone));
    if (kvm_check(vm, KVM_CAP_COALESCED_MMIO) > 0) {
        vmr_reader_enter(vm->machine);
        zones_of(vm, false, next);
        if (kvm_check(vm, KVM_CAP_COALESCED_PIO) > 0)
            zones_of(vm, true, next);
        vmr_reader_leave(vm->machine);
    }
    bool equal = next->len == vm->zones->len &&
                 (!next->len || !memcmp(next->data, vm->zones->data, next->len * sizeof(KvmZone)));
    if (!equal) {
        for (unsigned i = 0; i < vm->zones->len; i++)
            (void)zone_set(vm, &g_array_index(vm->zones, KvmZone, i), false);
        for (unsigned i = 0; i < next->len; i++)
            (void)zone_set(vm, &g_array_index(next, KvmZone, i), true); /* refused: by exits */
        g_array_set_size(vm->zones, 0);
        if (next->len)
            g_array_append_vals(vm->zones, next->data, next->len);
    }
    g_array_unref(next);
}

/* The ring is one for the VM, in a page that each vCPU's mapping has. */
void kvm_ring_empty(KvmCpu *cpu)
{
    KvmVm *vm = cpu->vm;
    struct kvm_coalesced_mmio_ring *ring = vm->ring;
    const uint32_t most = (4096 - sizeof *ring) / sizeof ring->coalesced_mmio[0];
    vmr_domain_lock(vm->machine->domain);
    /* KVM adds while we take: no more than a ring full at once. */
    for (uint32_t n = 0; n < most; n++) {
        uint32_t first = ring->first;
        if (first == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) || first >= most)
            break;
        struct kvm_coalesced_mmio e = ring->coalesced_mmio[first];
        __atomic_store_n(&ring->first, (first + 1) % most, __ATOMIC_RELEASE);
        uint64_t value = 0;
        unsigned len = MIN(e.len, 8);
        memcpy(&value, e.data, len);
        vmr_space_write(space(vm, e.pio), e.phys_addr, value, len, (int)cpu->index);
    }
    vmr_domain_unlock(vm->machine->domain);
}

void kvm_bells_sync(KvmVm *vm)
{
    bells_sync(vm, false);
    zones_sync(vm);
}

void kvm_bells_clear(KvmVm *vm)
{
    bells_sync(vm, true);
}
