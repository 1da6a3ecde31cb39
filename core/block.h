/*
 * core/block.h - what a drive's bytes are in: layers, each a table of blocking functions.
 *
 * Called by threads of the work pool, several at a time, without any lock.  All
 * give 0 or an errno.  Ranges are within the size and whole multiples of 512 bytes.
 */
#ifndef VMR_CORE_BLOCK_H
#define VMR_CORE_BLOCK_H

#include <vmrun/host.h>

typedef struct VmrBlock VmrBlock;

typedef struct VmrBlockClass {
    const char *name;
    int (*read)(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *to, unsigned count);
    int (*write)(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *from,
                 unsigned count);
    int (*flush)(VmrBlock *b);
    int (*discard)(VmrBlock *b, uint64_t offset, uint64_t length);
    int (*zero)(VmrBlock *b, uint64_t offset, uint64_t length, bool unmap);
    void (*close)(VmrBlock *b); /* and free */
} VmrBlockClass;

struct VmrBlock {
    const VmrBlockClass *klass;
    uint64_t size;           /* bytes, a multiple of `alignment` */
    uint32_t alignment;      /* bytes: 512 or 4096 */
    uint32_t physical_block; /* bytes */
    bool read_only, discards, volatile_cache;
    bool guessed; /* raw only by its looks: no write may make it look like anything else */
};

typedef enum VmrCacheMode {
    VMR_CACHE_WRITEBACK,
    VMR_CACHE_WRITETHROUGH,
    VMR_CACHE_NONE,
    VMR_CACHE_UNSAFE,
} VmrCacheMode;

typedef enum VmrBlockFormat {
    VMR_FORMAT_AUTO, /* what it looks like */
    VMR_FORMAT_RAW,
    VMR_FORMAT_QCOW2,
    VMR_FORMAT_RAW_FOR_SURE, /* raw, and an error if it looks like anything else */
} VmrBlockFormat;

typedef struct VmrBlockOptions {
    VmrBlockFormat format;
    VmrCacheMode cache;
    bool read_only, lock;
    unsigned depth; /* backing files that led to it */
} VmrBlockOptions;

/* The format whose magic number a file begins with, or NULL. */
const char *vmr_block_magic(const uint8_t *head, size_t length);
/* An image of any format, with its backing files.  NULL with an error.  [main] */
VmrBlock *vmr_block_open(const char *path, const VmrBlockOptions *how, GError **error);

/* A file or block device; the lock keeps other vmruns off it.  NULL with an error.  [main] */
VmrBlock *vmr_block_raw_open(const char *path, bool read_only, bool lock, VmrCacheMode cache,
                             GError **error);
/* An image of the qcow2 format.  For a fuzzer: `how` with read_only and cache = writeback, then the
   table's functions within the size. */
VmrBlock *vmr_block_qcow2_open(const char *path, const VmrBlockOptions *how, GError **error);
/* What is written goes to a temporary file, `base` stays as it is; takes `base` over. */
VmrBlock *vmr_block_overlay_new(VmrBlock *base, GError **error);

void vmr_block_close(VmrBlock *b); /* NULL-safe */

/* The part of `from` that begins after `skip` bytes and has `length`, into `to`, which has room
   for `count` buffers: how many they are. */
unsigned vmr_buffers_slice(const VmrBuffer *from, unsigned count, uint64_t skip, uint64_t length,
                           VmrBuffer *to);

#endif
