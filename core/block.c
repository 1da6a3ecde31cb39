/*
 * core/block.c - what all layers share.
 */
#include "block.h"

void vmr_block_close(VmrBlock *b)
{
    if (b)
        b->klass->close(b);
}

unsigned vmr_buffers_slice(const VmrBuffer *from, unsigned count, uint64_t skip, uint64_t length,
                           VmrBuffer *to)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count && length; i++) {
        if (skip >= from[i].len) {
            skip -= from[i].len;
            continue;
        }
        size_t len = (size_t)MIN((uint64_t)(from[i].len - skip), length);
        to[n++] = (VmrBuffer){(uint8_t *)from[i].base + skip, len};
        length -= len;
        skip = 0;
    }
    return n;
}
