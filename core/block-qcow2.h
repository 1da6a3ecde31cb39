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

/* An L2 table or a refcount block, of a cluster's size. */
typedef struct Qcow2Table {
    uint64_t offset; /* in the file; the key */
    GList link;      /* in lru */
    uint64_t *entries; /* big-endian; a refcount block is an array of uint16_t */
    bool refcounts;
    bool dirty; /* to be written by a flush, and kept until then */
} Qcow2Table;

/* Host clusters. */
typedef struct Qcow2Range {
    uint64_t first, count;
} Qcow2Range;

typedef struct Qcow2 {
    VmrBlock b;
    VmrFile file;
    VmrBlock *backing; /* or NULL */
    unsigned version, cluster_bits;
    uint64_t cluster; /* bytes of one */
    bool zstd;        /* how clusters are compressed */

    GMutex meta;  /* L1, the cache of tables, refcounts */
    uint64_t *l1; /* in the host's byte order */
    uint32_t l1_size; /* entries that the disk has */
    uint64_t l1_offset, l1_bytes; /* in the file, with what is behind those */
    GHashTable *tables; /* offset in the file: Qcow2Table * */
    GQueue lru;         /* the same, the last used first */
    unsigned tables_max, tables_dirty;
    bool damaged; /* atomic: said already */

    /* Of an image that is written to: */
    bool writethrough;
    GMutex writers;    /* one at a time; taken before `meta` */
    GRWLock users;     /* a reader has it for reading; no host cluster becomes free meanwhile */
    bool l1_dirty, refs_dirty;
    uint64_t *refs;    /* the refcount table, in the host's byte order */
    uint64_t refs_offset, refs_count;
    uint64_t free_from; /* no cluster before this one is free */
    uint64_t end;       /* nor is one in use from here on */
    GArray *freed;      /* Qcow2Range: no longer referred to, once the tables are in the file */

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

/* What is at `offset`, up to `length` bytes of it.  0 or an errno; takes `meta`. */
int qcow2_map(Qcow2 *q, uint64_t offset, uint64_t length, Qcow2Extent *extent);
/*
 * A table, from the file or, if it is new, all zeros.  It is good until the next call, and for as
 * long as it is dirty.  0 or an errno; under `meta`.
 */
int qcow2_table(Qcow2 *q, uint64_t offset, bool fresh, Qcow2Table **table);
/* It is to be written. */
void qcow2_table_changed(Qcow2 *q, Qcow2Table *table);
/* Forget a table whose cluster is free now. */
void qcow2_table_drop(Qcow2 *q, uint64_t offset);
/* Write those that are dirty and of one kind; false if there were none. 0 or an errno in *error. */
bool qcow2_tables_write(Qcow2 *q, bool refcounts, int *error);
void qcow2_tables_free(Qcow2 *q);

/* Refcounts, block-qcow2-refcount.c.  All but the first under `meta`; 0 or an errno. */
bool qcow2_refs_open(Qcow2 *q, const uint8_t *head, GError **error);
/* A cluster that is free, and used from now on. */
int qcow2_alloc(Qcow2 *q, uint64_t *offset);
/* One reference less to each of these. */
int qcow2_unref(Qcow2 *q, Qcow2Range range);
/* Write a table of numbers to the file, where they are big-endian: L1, the refcount table. */
int qcow2_write_numbers(Qcow2 *q, uint64_t offset, const uint64_t *numbers, uint64_t bytes);

/* block-qcow2-write.c: as in VmrBlockClass. */
int qcow2_write(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *from, unsigned count);
int qcow2_flush(VmrBlock *b);
int qcow2_discard(VmrBlock *b, uint64_t offset, uint64_t length);
int qcow2_zero(VmrBlock *b, uint64_t offset, uint64_t length, bool unmap);
/* block-qcow2.c */
int qcow2_read(VmrBlock *b, uint64_t offset, uint64_t length, const VmrBuffer *to, unsigned count);

/* A compressed cluster whole, into q->unpacked; under unpacked_lock. */
int qcow2_unpack(Qcow2 *q, uint64_t entry);

/* Say, once, that the image is wrong; EIO. */
G_GNUC_PRINTF(2, 3)
int qcow2_damaged(Qcow2 *q, const char *format, ...);

#endif
