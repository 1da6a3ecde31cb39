/*
 * packed.c - packed virtqueues: one ring of descriptors that both sides write.
 *
 * After VIRTIO 1.2, 2.8.  q_desc is the ring, q_driver and q_device the event
 * suppression structures.  A position is an index with the wrap counter in bit 15.
 * Driver notifications are never suppressed.
 */
#include "core.h"

enum {
    DESC_AVAIL = 1 << 7,
    DESC_USED = 1 << 15,
    WRAP = 0x8000,

    EVENTS_ENABLE = 0,
    EVENTS_DISABLE = 1,
    EVENTS_DESC = 2,
};

static uint16_t advance(uint16_t position, unsigned by, unsigned size)
{
    unsigned index = (position & 0x7fff) + by;
    uint16_t wrap = position & WRAP;
    if (index >= size) {
        index -= size;
        wrap ^= WRAP;
    }
    return (uint16_t)(index | wrap);
}

/* Is the descriptor with these flags the device's, at a position? */
static bool is_available(uint16_t flags, uint16_t position)
{
    bool wrap = position & WRAP;
    return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

bool virtio_packed_pop(Walk *w, uint16_t *id, uint16_t *slots)
{
    VirtioDevice *v = w->v;
    unsigned q = w->queue, size = v->q_size[q];
    uint16_t at = v->q_avail[q];

    for (unsigned n = 0;; n++) {
        uint64_t address = v->q_desc[q] + (at & 0x7fff) * (uint64_t)DESC_SIZE;
        uint8_t d[DESC_SIZE], f[2];
        /* The flags first: they say that the rest is there. */
        if (n == size || !virtio_dma_get(v, address + 14, f, 2)) {
            virtio_broken(v, "queue %u: a chain of more than the ring, or no memory", q);
            return false;
        }
        if (n == 0 && !is_available(virtio_get16(f), at))
            return false;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!virtio_dma_get(v, address, d, sizeof(d))) {
            virtio_broken(v, "queue %u: the ring is not in memory", q);
            return false;
        }
        uint16_t flags = virtio_get16(f);
        at = advance(at, 1, size);
        *id = virtio_get16(d + 12); /* the last one counts */
        if (flags & DESC_INDIRECT) {
            if (flags & DESC_NEXT) {
                virtio_broken(v, "queue %u: a descriptor after an indirect one", q);
                return false;
            }
            if (!virtio_walk_indirect(w, virtio_get64(d), virtio_get32(d + 8), true))
                return false;
        } else if (!virtio_walk_add(w, virtio_get64(d), virtio_get32(d + 8), flags & DESC_WRITE)) {
            return false;
        }
        if (!(flags & DESC_NEXT)) {
            *slots = (uint16_t)(n + 1);
            v->q_avail[q] = at;
            return true;
        }
    }
}

/* All of it but the flags, which are given. */
static bool put_used(VirtioDevice *v, const VirtioChain *c, uint16_t at, uint32_t written,
                     uint8_t *flags)
{
    uint8_t d[6];
    virtio_put32(d, written);
    virtio_put16(d + 4, c->id);
    virtio_put16(flags, (at & WRAP ? DESC_AVAIL | DESC_USED : 0) | (written ? DESC_WRITE : 0));
    return virtio_dma_put(v, v->q_desc[c->queue] + (at & 0x7fff) * (uint64_t)DESC_SIZE + 8, d,
                          sizeof(d));
}

/* The driver takes them in order, so it sees none before the first one's flags are there. */
void virtio_packed_push(VirtioDevice *v, VirtioChain *const *chains, const uint32_t *written,
                        unsigned count)
{
    unsigned q = chains[0]->queue, size = v->q_size[q];
    uint64_t ring = v->q_desc[q] + 14; /* of the flags */
    uint16_t first = v->q_used[q], at = first;
    uint8_t first_flags[2], f[2];
    bool ok = put_used(v, chains[0], at, written[0], first_flags);

    for (unsigned i = 1; ok && i < count; i++) {
        at = advance(at, chains[i - 1]->slots, size);
        ok = put_used(v, chains[i], at, written[i], f) &&
             virtio_dma_put(v, ring + (at & 0x7fff) * (uint64_t)DESC_SIZE, f, 2);
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (!ok || !virtio_dma_put(v, ring + (first & 0x7fff) * (uint64_t)DESC_SIZE, first_flags, 2)) {
        virtio_broken(v, "queue %u: the ring is not in memory", q);
        return;
    }
    v->q_used[q] = advance(at, chains[count - 1]->slots, size);
}

bool virtio_packed_wants_signal(VirtioDevice *v, unsigned q)
{
    uint16_t old = v->q_told[q], now = v->q_used[q], size = v->q_size[q];
    uint8_t e[4];

    if (old == now)
        return false;
    v->q_told[q] = now;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!virtio_dma_get(v, v->q_driver[q], e, 4)) {
        virtio_broken(v, "queue %u: no event suppression structure", q);
        return false;
    }
    unsigned flags = virtio_get16(e + 2) & 3;
    if (flags != EVENTS_DESC || !virtio_has(v, VIRTIO_F_EVENT_IDX))
        return flags != EVENTS_DISABLE;
    /* Positions on one scale, the event's turned to the lap that `now` is in. */
    uint16_t event = virtio_get16(e);
    int end = now & 0x7fff, wanted = event & 0x7fff, begin = old & 0x7fff;
    if ((event & WRAP) != (now & WRAP))
        wanted -= size;
    if ((old & WRAP) != (now & WRAP))
        begin -= size;
    return begin <= wanted && wanted < end;
}
