/*
 * split.c - split virtqueues: a table of descriptors, an available and a used ring.
 *
 * After VIRTIO 1.2, 2.7.  q_desc is the table, q_driver the available ring
 * (flags, idx, ring[size], used_event), q_device the used one (flags, idx,
 * ring[size] of id and length, avail_event).
 */
#include "core.h"

enum { AVAIL_NO_INTERRUPT = 1 };

static bool get16(VirtioDevice *v, uint64_t address, uint16_t *value)
{
    uint8_t b[2];
    if (!virtio_dma_get(v, address, b, 2)) {
        virtio_broken(v, "a ring at 0x%" G_GINT64_MODIFIER "x is not in memory", address);
        return false;
    }
    *value = virtio_get16(b);
    return true;
}

static bool put(VirtioDevice *v, uint64_t address, const void *buf, size_t len)
{
    if (virtio_dma_put(v, address, buf, len))
        return true;
    virtio_broken(v, "a ring at 0x%" G_GINT64_MODIFIER "x is not in memory", address);
    return false;
}

/* How many chains the driver has made available. */
static unsigned available(VirtioDevice *v, unsigned q)
{
    uint16_t idx;
    if (!get16(v, v->q_driver[q] + 2, &idx))
        return 0;
    uint16_t n = (uint16_t)(idx - v->q_avail[q]);
    if (n > v->q_size[q]) {
        virtio_broken(v, "queue %u: the available index goes from %u to %u", q, v->q_avail[q],
                      idx);
        return 0;
    }
    return n;
}

bool virtio_split_pop(Walk *w, uint16_t *id, uint16_t *slots)
{
    VirtioDevice *v = w->v;
    unsigned q = w->queue, size = v->q_size[q];

    if (!available(v, q)) {
        if (!virtio_has(v, VIRTIO_F_EVENT_IDX) || (v->status & VIRTIO_STATUS_NEEDS_RESET))
            return false;
        /* From here on the driver is to tell; it may have added one just before. */
        uint8_t event[2];
        virtio_put16(event, v->q_avail[q]);
        if (!put(v, v->q_device[q] + 4 + 8 * (uint64_t)size, event, 2))
            return false;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!available(v, q))
            return false;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);

    uint16_t next;
    if (!get16(v, v->q_driver[q] + 4 + 2 * (uint64_t)(v->q_avail[q] & (size - 1)), &next))
        return false;
    *id = next;
    *slots = 1;
    for (unsigned steps = 0;; steps++) {
        uint8_t d[DESC_SIZE];
        if (next >= size || steps == size ||
            !virtio_dma_get(v, v->q_desc[q] + next * (uint64_t)DESC_SIZE, d, sizeof(d))) {
            virtio_broken(v, "queue %u: descriptor %u after %u others", q, next, steps);
            return false;
        }
        uint16_t flags = virtio_get16(d + 12);
        if (flags & DESC_INDIRECT) {
            if (flags & DESC_NEXT) {
                virtio_broken(v, "queue %u: a descriptor after an indirect one", q);
                return false;
            }
            if (!virtio_walk_indirect(w, virtio_get64(d), virtio_get32(d + 8), false))
                return false;
            break;
        }
        if (!virtio_walk_add(w, virtio_get64(d), virtio_get32(d + 8), flags & DESC_WRITE))
            return false;
        if (!(flags & DESC_NEXT))
            break;
        next = virtio_get16(d + 14);
    }
    v->q_avail[q]++;
    return true;
}

void virtio_split_push(VirtioDevice *v, VirtioChain *const *chains, const uint32_t *written,
                       unsigned count)
{
    unsigned q = chains[0]->queue, size = v->q_size[q];
    uint8_t element[8], idx[2];

    for (unsigned i = 0; i < count; i++) {
        uint16_t at = (uint16_t)((v->q_used[q] + i) & (size - 1));
        virtio_put32(element, chains[i]->id);
        virtio_put32(element + 4, written[i]);
        if (!put(v, v->q_device[q] + 4 + 8 * (uint64_t)at, element, 8))
            return;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    v->q_used[q] = (uint16_t)(v->q_used[q] + count);
    virtio_put16(idx, v->q_used[q]);
    put(v, v->q_device[q] + 2, idx, 2);
}

bool virtio_split_wants_signal(VirtioDevice *v, unsigned q)
{
    uint16_t old = v->q_told[q], now = v->q_used[q], value;

    if (old == now)
        return false;
    v->q_told[q] = now;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!virtio_has(v, VIRTIO_F_EVENT_IDX))
        return get16(v, v->q_driver[q], &value) && !(value & AVAIL_NO_INTERRUPT);
    /* Has the used index passed used_event since the last time? */
    return get16(v, v->q_driver[q] + 4 + 2 * (uint64_t)v->q_size[q], &value) &&
           (uint16_t)(now - value - 1) < (uint16_t)(now - old);
}
