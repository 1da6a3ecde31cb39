/*
 * core/block-file.h - a file or block device of the host that an image is in: open, locked,
 * read and written in the way of a cache mode.
 */
#ifndef VMR_CORE_BLOCK_FILE_H
#define VMR_CORE_BLOCK_FILE_H

#include "block.h"

typedef struct VmrFile {
    int fd; /* -1: not open */
    char *path;
    uint64_t bytes;     /* its size when it was opened */
    uint32_t alignment; /* of offsets and lengths of writes: 512, or what O_DIRECT takes */
    bool device;        /* a block device */
    bool direct;        /* O_DIRECT */
    bool no_flush;      /* cache = unsafe */
} VmrFile;

/*
 * Open and lock.  The locks are open-file-description locks, gone with the process, on the bytes
 * that QEMU locks, so that the two keep off each other too: one may write, or several read.
 * false with an error that names the file; close it in either case.  [main]
 */
bool vmr_file_open(VmrFile *f, const char *path, bool read_only, bool lock, VmrCacheMode cache,
                   GError **error);
void vmr_file_close(VmrFile *f);

/*
 * All give 0 or an errno, from any thread.  What is beyond the end reads as zeros.  A read may
 * begin and end anywhere, a write where the alignment allows; memory need not be aligned.
 */
int vmr_file_read(VmrFile *f, uint64_t offset, uint64_t length, const VmrBuffer *to, unsigned count);
int vmr_file_write(VmrFile *f, uint64_t offset, uint64_t length, const VmrBuffer *from,
                   unsigned count);
int vmr_file_sync(VmrFile *f);
/* A hint: the range's content no longer matters. */
int vmr_file_punch(VmrFile *f, uint64_t offset, uint64_t length);
int vmr_file_zero(VmrFile *f, uint64_t offset, uint64_t length, bool unmap);

#endif
