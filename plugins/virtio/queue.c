/*
 * queue.c - chains of buffers: taken from a ring, read, written, given back.
 *
 * After VIRTIO 1.2, 2.6 to 2.8.  The driver may rewrite a ring at any time: each
 * descriptor is read once, and no walk takes more than VIRTIO_SEGMENTS_MAX of them.
 */
#include "core.h"

bool virtio_dma_get(VirtioDevice *v, uint64_t address, void *buf, size_t len)
{
    return vmr_dma_read(&v->dev, address, buf, len) == VMR_OK;
}

bool virtio_dma_put(VirtioDevice *v, uint64_t address, const void *buf, size_t len)
{
    return vmr_dma_write(&v->dev, address, buf, len) == VMR_OK;
}

/* ---- walking ---------------------------------------------------------- */

bool virtio_walk_add(Walk *w, uint64_t address, uint32_t length, bool write)
{
    if (w->count == VIRTIO_SEGMENTS_MAX) {
        virtio_broken(w->v, "queue %u: a chain of more than %d descriptors", w->queue,
                      VIRTIO_SEGMENTS_MAX);
        return false;
    }
    if (!write && w->out_count != w->count) {
        virtio_broken(w->v, "queue %u: a readable descriptor after a writable one", w->queue);
        return false;
    }
    w->segments[w->count++] = (VirtioSegment){address, length};
    if (write) {
        w->in_length += length;
    } else {
        w->out_count++;
        w->out_length += length;
    }
    return true;
}

bool virtio_walk_indirect(Walk *w, uint64_t table, uint32_t length, bool packed)
{
    VirtioDevice *v = w->v;
    unsigned entries = length / DESC_SIZE, next = 0;
    if (!virtio_has(v, VIRTIO_F_INDIRECT_DESC) || length % DESC_SIZE || !entries) {
        virtio_broken(v, "queue %u: an indirect table of %u bytes", w->queue, length);
        return false;
    }
    for (;;) {
        uint8_t d[DESC_SIZE];
        if (next >= entries || !virtio_dma_get(v, table + next * (uint64_t)DESC_SIZE, d, sizeof(d))) {
            virtio_broken(v, "queue %u: no indirect descriptor %u", w->queue, next);
            return false;
        }
        uint16_t flags = virtio_get16(d + (packed ? 14 : 12));
        if (!packed && (flags & DESC_INDIRECT)) {
            virtio_broken(v, "queue %u: an indirect table within one", w->queue);
            return false;
        }
        if (!virtio_walk_add(w, virtio_get64(d), virtio_get32(d + 8), flags & DESC_WRITE))
            return false;
        if (packed) {
            if (++next == entries)
                return true;
        } else {
            if (!(flags & DESC_NEXT))
                return true;
            next = virtio_get16(d + 14);
        }
    }
}

VirtioChain *virtio_pop(VirtioDevice *v, unsigned queue)
{
    if (!virtio_queue_live(v, queue) || v->budget == 0)
        return NULL;
    Walk w; /* 16 KiB, and not to be cleared */
    w.v = v;
    w.queue = queue;
    w.count = w.out_count = 0;
    w.out_length = w.in_length = 0;
    uint16_t id, slots;
    bool got = virtio_has(v, VIRTIO_F_RING_PACKED) ? virtio_packed_pop(&w, &id, &slots)
                                                   : virtio_split_pop(&w, &id, &slots);
    if (!got)
        return NULL;
    VirtioChain *c = g_malloc(sizeof(*c) + w.count * sizeof(VirtioSegment));
    *c = (VirtioChain){
        .queue = (uint16_t)queue,
        .id = id,
        .slots = slots,
        .epoch = v->epoch,
        .out_count = w.out_count,
        .in_count = w.count - w.out_count,
        .out_length = w.out_length,
        .in_length = w.in_length,
    };
    memcpy(c->segments, w.segments, w.count * sizeof(VirtioSegment));
    v->in_flight++;
    if (v->budget > 0)
        v->budget--;
    return c;
}

/* It is held no longer: does it still mean something? */
static bool release(VirtioDevice *v, const VirtioChain *c)
{
    if (c->epoch == v->epoch) {
        v->in_flight--;
        return true;
    }
    v->stale--;
    return false;
}

void virtio_push_all(VirtioDevice *v, VirtioChain *const *chains, const uint32_t *written,
                     unsigned count)
{
    bool current = true;
    for (unsigned i = 0; i < count; i++)
        current &= release(v, chains[i]);
    if (count && current && virtio_queue_live(v, chains[0]->queue)) {
        if (virtio_has(v, VIRTIO_F_RING_PACKED))
            virtio_packed_push(v, chains, written, count);
        else
            virtio_split_push(v, chains, written, count);
    }
    for (unsigned i = 0; i < count; i++)
        g_free(chains[i]);
}

void virtio_push(VirtioDevice *v, VirtioChain *c, uint32_t written)
{
    virtio_push_all(v, &c, &written, 1);
}

void virtio_drop(VirtioDevice *v, VirtioChain *c)
{
    if (!c)
        return;
    release(v, c);
    g_free(c);
}

void virtio_unpop(VirtioDevice *v, VirtioChain *c)
{
    if (release(v, c)) {
        if (v->budget >= 0)
            v->budget++;
        uint16_t *at = &v->q_avail[c->queue];
        if (!virtio_has(v, VIRTIO_F_RING_PACKED))
            --*at;
        else if ((*at & 0x7fff) >= c->slots)
            *at -= c->slots;
        else
            *at = (uint16_t)(((*at & 0x7fff) + v->q_size[c->queue] - c->slots) |
                             (~*at & 0x8000));
    }
    g_free(c);
}

void virtio_signal(VirtioDevice *v, unsigned queue)
{
    if (!virtio_queue_live(v, queue))
        return;
    bool wanted = virtio_has(v, VIRTIO_F_RING_PACKED) ? virtio_packed_wants_signal(v, queue)
                                                      : virtio_split_wants_signal(v, queue);
    if (!wanted)
        return;
    v->isr |= 1;
    v->transport->signal_queue(v, queue);
}

/* ---- bytes ------------------------------------------------------------ */

typedef struct Part {
    const VirtioSegment *segment;
    unsigned count;
} Part;

static Part part_of(const VirtioChain *c, bool in)
{
    return in ? (Part){c->segments + c->out_count, c->in_count} : (Part){c->segments, c->out_count};
}

static size_t copy(VirtioDevice *v, const VirtioChain *c, bool in, uint64_t offset, void *buf,
                   size_t len)
{
    Part p = part_of(c, in);
    size_t done = 0;
    if (c->epoch != v->epoch)
        return 0;
    for (unsigned i = 0; i < p.count && done < len; i++) {
        const VirtioSegment *s = &p.segment[i];
        if (offset >= s->length) {
            offset -= s->length;
            continue;
        }
        size_t n = (size_t)MIN((uint64_t)(len - done), s->length - offset);
        uint8_t *at = (uint8_t *)buf + done;
        bool ok = in ? virtio_dma_put(v, s->address + offset, at, n)
                     : virtio_dma_get(v, s->address + offset, at, n);
        if (!ok) {
            virtio_broken(v, "queue %u: a buffer at 0x%" G_GINT64_MODIFIER "x is not in memory",
                          c->queue, s->address);
            break;
        }
        done += n;
        offset = 0;
    }
    return done;
}

size_t virtio_read(VirtioDevice *v, const VirtioChain *c, uint64_t offset, void *buf, size_t len)
{
    return copy(v, c, false, offset, buf, len);
}

size_t virtio_write(VirtioDevice *v, const VirtioChain *c, uint64_t offset, const void *buf,
                    size_t len)
{
    return copy(v, c, true, offset, (void *)buf, len); /* only read when writing */
}

unsigned virtio_map(VirtioDevice *v, const VirtioChain *c, bool in, uint64_t offset,
                    uint64_t length, VmrBuffer *buffers, unsigned max)
{
    Part p = part_of(c, in);
    unsigned n = 0;
    for (unsigned i = 0; i < p.count && length; i++) {
        uint64_t address = p.segment[i].address + offset, left = p.segment[i].length;
        if (offset >= left) {
            offset -= left;
            continue;
        }
        left = MIN(left - offset, length);
        offset = 0;
        length -= left;
        while (left) {
            size_t len = (size_t)left;
            void *base = n < max ? vmr_dma_map(&v->dev, address, &len, in) : NULL;
            if (!base) {
                virtio_unmap(v, buffers, n, 0);
                return 0;
            }
            buffers[n++] = (VmrBuffer){base, len};
            address += len;
            left -= len;
        }
    }
    if (!length)
        return n;
    virtio_unmap(v, buffers, n, 0);
    return 0;
}

void virtio_unmap(VirtioDevice *v, const VmrBuffer *buffers, unsigned count, uint64_t written)
{
    for (unsigned i = 0; i < count; i++) {
        size_t n = (size_t)MIN(written, (uint64_t)buffers[i].len);
        vmr_dma_unmap(&v->dev, buffers[i].base, buffers[i].len, n);
        written -= n;
    }
}
