/*
 * core.h - between the parts of the virtio library: what transports and rings share.
 */
#ifndef VIRTIO_CORE_H
#define VIRTIO_CORE_H

#include "virtio.h"

#include <string.h>

/* ---- virtio.c, for transports ---- */

uint32_t virtio_offered_half(const VirtioDevice *v, uint32_t half);
uint32_t virtio_wanted_half(const VirtioDevice *v, uint32_t half);
void virtio_want(VirtioDevice *v, uint32_t half, uint32_t bits);
uint8_t virtio_status(const VirtioDevice *v);
void virtio_set_status(VirtioDevice *v, uint8_t status);
/* The queue that is selected, or -1. */
int virtio_selected(const VirtioDevice *v);
void virtio_set_queue_size(VirtioDevice *v, unsigned queue, uint32_t size);
void virtio_set_queue_ready(VirtioDevice *v, unsigned queue, bool ready);
/* Half of one of the three addresses of a queue. */
void virtio_set_address(VirtioDevice *v, uint64_t *address, bool high, uint32_t value);
void virtio_notified(VirtioDevice *v, unsigned queue);
uint64_t virtio_config_get(VirtioDevice *v, uint64_t offset, unsigned size);
void virtio_config_put(VirtioDevice *v, uint64_t offset, uint64_t value, unsigned size);
/* May it read and write memory? */
bool virtio_may_dma(const VirtioDevice *v);

extern const VirtioTransport virtio_pci_transport, virtio_mmio_transport;
bool virtio_pci_realize(VirtioDevice *v, GError **error);

/* ---- queue.c, for the two kinds of rings ---- */

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_SIZE = 16 };

/* A chain while it is collected. */
typedef struct Walk {
    VirtioDevice *v;
    unsigned queue, count, out_count;
    uint64_t out_length, in_length;
    VirtioSegment segments[VIRTIO_SEGMENTS_MAX];
} Walk;

/* Add a segment; false: the chain breaks the rules. */
bool virtio_walk_add(Walk *w, uint64_t address, uint32_t length, bool write);
/* An indirect table: a sequence if `packed`, else chained by index. */
bool virtio_walk_indirect(Walk *w, uint64_t table, uint32_t length, bool packed);
bool virtio_dma_get(VirtioDevice *v, uint64_t address, void *buf, size_t len);
bool virtio_dma_put(VirtioDevice *v, uint64_t address, const void *buf, size_t len);

/* split.c, packed.c: true and *id, *slots: a chain was walked; q_avail is moved on. */
bool virtio_split_pop(Walk *w, uint16_t *id, uint16_t *slots);
/* Several at once: the driver sees all of them or none. */
void virtio_split_push(VirtioDevice *v, VirtioChain *const *chains, const uint32_t *written,
                       unsigned count);
bool virtio_split_wants_signal(VirtioDevice *v, unsigned queue);
bool virtio_packed_pop(Walk *w, uint16_t *id, uint16_t *slots);
void virtio_packed_push(VirtioDevice *v, VirtioChain *const *chains, const uint32_t *written,
                        unsigned count);
bool virtio_packed_wants_signal(VirtioDevice *v, unsigned queue);

#endif
