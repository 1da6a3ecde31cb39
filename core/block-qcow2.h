/*
 * core/block-qcow2.h - what the files of the qcow2 format share.
 *
 * Terms are those of QEMU's docs/interop/qcow2.txt: guest clusters are found by L1 and L2
 * tables, host clusters are counted by refcount blocks.
 */
#ifndef VMR_CORE_BLOCK_QCOW2_H
#define VMR_CORE_BLOCK_QCOW2_H

#include "block-file.h"

#define QCOW2_OFFSET UINT64_C(0x00fffffffffffe00) /* of L1, L2 and refcount table entries */
#define QCOW2_COPIED (UINT64_C(1) << 63)
#define QCOW2_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ZERO UINT64_C(1)

typedef struct Qcow2Table Qcow2Table;

typedef struct Qcow2 {
    VmrBlock b;
    VmrFile file;
    VmrBlock *backing; /* or NULL */
    unsigned version, cluster_bits;
    uint64_t cluster; /* bytes of one */
    bool zstd;        /* how clusters are compressed */

    GMutex meta;  /* L1, the cache of tables */
    uint64_t *l1; /* in the host's byte order */
    uint32_t l1_size;
    GHashTable *tables; /* offset in the file: Qcow2Table * */
    GQueue lru;         /* the same, the last used first */
    unsigned tables_max;
    bool damaged; /* atomic: said already */

    GMutex unpacked_lock; /* the last compressed cluster that was read */
    uint64_t unpacked_entry;
    uint8_t *unpacked;
} Qcow2;

typedef enum Qcow2Kind {
    QCOW2_UNALLOCATED, /* the backing file's, or zeros */
    QCOW2_ZEROS,
    QCOW2_DATA,
    QCOW2_PACKED, /* compressed */
} Qcow2Kind;

typedef struct Qcow2Extent {
    Qcow2Kind kind;
    uint64_t entry;  /* of L2, the first cluster's */
    uint64_t host;   /* DATA: where its first byte is in the file */
    uint64_t length; /* bytes from there on that are alike; of PACKED, within one cluster */
} Qcow2Extent;

/* What is at `offset`, up to `length` bytes of it.  0 or an errno; under `meta`. */
int qcow2_map(Qcow2 *q, uint64_t offset, uint64_t length, Qcow2Extent *extent);
void qcow2_tables_free(Qcow2 *q);

/* A compressed cluster whole, into q->unpacked; under unpacked_lock. */
int qcow2_unpack(Qcow2 *q, uint64_t entry);

/* Say, once, that the image is wrong; EIO. */
G_GNUC_PRINTF(2, 3)
int qcow2_damaged(Qcow2 *q, const char *format, ...);

#endif
