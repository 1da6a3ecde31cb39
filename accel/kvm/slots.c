/*
 * accel/kvm/slots.c - KVM's memory slots, from the machine's address map.
 *
 * RAM and ROM of whole pages become slots, neighbours merged; all else is an exit, whose
 * handler asks the same map.  So a byte range that no slot can hold still works, but code
 * does not run from it.
 *
 * Leaves out: the A20 gate beyond the second megabyte, which is all that real mode reaches.
 */
#include "kvm.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static void add(GArray *slots, uint64_t base, uint64_t size, uint64_t ram_offset, bool readonly)
{
    if (slots->len) {
        KvmSlot *s = &g_array_index(slots, KvmSlot, slots->len - 1);
        if (s->base + s->size == base && s->ram_offset + s->size == ram_offset &&
            s->readonly == readonly) {
            s->size += size;
            return;
        }
    }
    KvmSlot slot = {base, size, ram_offset, readonly, 0};
    g_array_append_val(slots, slot);
}

/* The part of [base, last] within [from, to). */
static void add_part(GArray *slots, const VmrRange *r, uint64_t base, uint64_t end, uint64_t from,
                     uint64_t to, int64_t shift)
{
    base = MAX(base, from);
    end = MIN(end, to);
    if (base < end)
        add(slots, base + (uint64_t)shift, end - base, r->ram_offset + (base - r->base),
            r->kind == VMR_RANGE_ROM);
}

static GArray *wanted(KvmVm *vm)
{
    VmrMachine *m = vm->machine;
    const uint64_t page = 4096;
    bool a20 = __atomic_load_n(&m->a20, __ATOMIC_ACQUIRE);
    GArray *slots = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    vmr_reader_enter(m);
    const VmrMap *map = vmr_space_map(m->memory);
    /* With address line 20 masked, the second megabyte is the first. */
    for (int pass = 0; pass < (a20 ? 1 : 3); pass++) {
        for (unsigned i = 0; i < map->count; i++) {
            const VmrRange *r = &map->ranges[i];
            if (r->kind == VMR_RANGE_IO || r->last - r->base < page - 1)
                continue;
            uint64_t base = (r->base + page - 1) & ~(page - 1), end = (r->last + 1) & ~(page - 1);
            /* Host and guest must agree within the page. */
            if ((r->ram_offset - r->base) % page || base >= end)
                continue;
            if (a20)
                add(slots, base, end - base, r->ram_offset + (base - r->base),
                    r->kind == VMR_RANGE_ROM);
            else if (pass < 2)
                add_part(slots, r, base, end, 0, MIB, pass * MIB);
            else
                add_part(slots, r, base, end, 2 * MIB, UINT64_MAX, 0);
        }
    }
    vmr_reader_leave(m);
    return slots;
}

static bool same(const KvmSlot *a, const KvmSlot *b)
{
    return a->base == b->base && a->size == b->size && a->ram_offset == b->ram_offset &&
           a->readonly == b->readonly;
}

static const KvmSlot *find(const GArray *slots, const KvmSlot *slot)
{
    for (unsigned i = 0; i < slots->len; i++)
        if (same(&g_array_index(slots, KvmSlot, i), slot))
            return &g_array_index(slots, KvmSlot, i);
    return NULL;
}

static bool set(KvmVm *vm, const KvmSlot *s, bool there)
{
    struct kvm_userspace_memory_region r = {
        .slot = s->number, .flags = s->readonly ? KVM_MEM_READONLY : 0, .guest_phys_addr = s->base,
        .memory_size = there ? s->size : 0,
        .userspace_addr = (uintptr_t)(vm->machine->ram.base + s->ram_offset)};
    return kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) == 0;
}

static uint32_t free_number(const GArray *a, const GArray *b, unsigned b_count)
{
    for (uint32_t n = 0;; n++) {
        bool used = false;
        for (unsigned i = 0; !used && i < a->len; i++)
            used = g_array_index(a, KvmSlot, i).number == n;
        for (unsigned i = 0; !used && i < b_count; i++)
            used = g_array_index(b, KvmSlot, i).number == n;
        if (!used)
            return n;
    }
}

/* vCPUs are out of the guest: for a moment, memory is missing. */
static bool change(KvmVm *vm, GArray *next, GError **error)
{
    GArray *kept = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    bool ok = true;
    for (unsigned i = 0; i < vm->slots->len; i++) {
        const KvmSlot *old = &g_array_index(vm->slots, KvmSlot, i);
        if (find(next, old))
            g_array_append_val(kept, *old);
        else
            (void)set(vm, old, false);
    }
    for (unsigned i = 0; ok && i < next->len; i++) {
        KvmSlot *s = &g_array_index(next, KvmSlot, i);
        const KvmSlot *old = find(kept, s);
        if (old) {
            s->number = old->number;
            continue;
        }
        s->number = free_number(kept, next, i);
        ok = s->number < vm->most_slots && set(vm, s, true);
        if (!ok) {
            kvm_failed(error, "a memory slot is refused");
            g_prefix_error(error, "%" PRIu64 " bytes at 0x%" PRIx64 ": ", s->size, s->base);
        }
    }
    g_array_unref(kept);
    return ok;
}

bool kvm_slots_sync(KvmVm *vm, GError **error)
{
    g_mutex_lock(&vm->slots_lock);
    GArray *next = wanted(vm);
    bool equal = next->len == vm->slots->len, ok = true;
    for (unsigned i = 0; equal && i < next->len; i++)
        equal = same(&g_array_index(next, KvmSlot, i), &g_array_index(vm->slots, KvmSlot, i));
    if (equal) {
        g_array_unref(next);
    } else {
        kvm_hold(vm);
        ok = change(vm, next, error);
        kvm_release(vm);
        g_array_unref(vm->slots);
        vm->slots = next;
    }
    g_mutex_unlock(&vm->slots_lock);
    return ok;
}
