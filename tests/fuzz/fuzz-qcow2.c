/*
 * fuzz-qcow2 - headers, tables and compressed clusters of qcow2 images.
 *
 * An input is an image.  All of it is read, of a large one the beginning and the end; then the same
 * is written to.
 */
#include "core/block.h"
#include "file.h"
#include "fuzz.h"

#include <string.h>

enum { PIECE = 64 << 10, PIECES = 16 };

static void read_all(VmrBlock *b)
{
    uint8_t *bytes = g_malloc(PIECE);
    for (unsigned i = 0; i < PIECES; i++) {
        uint64_t at = (uint64_t)i * PIECE, length;
        if (i >= PIECES / 2 && b->size > PIECES * PIECE)
            at = (b->size - (uint64_t)(PIECES - i) * PIECE) & ~UINT64_C(4095);
        if (at >= b->size)
            break;
        length = MIN(b->size - at, (uint64_t)PIECE);
        VmrBuffer all = {bytes, length};
        b->klass->read(b, at, length, &all, 1);
    }
    g_free(bytes);
}

static void write_some(VmrBlock *b)
{
    VmrBuffer all = {g_malloc(PIECE), PIECE};
    memset(all.base, 0x5a, PIECE);
    for (unsigned i = 0; i < 2 * PIECES; i++) {
        uint64_t sectors = b->size / 512, at = i % 2 ? sectors - MIN(sectors, i * 37 + 1) : MIN(sectors, i * 61);
        uint64_t length = MIN(sectors - at, i % 3 ? 1 : PIECE / 512) * 512;
        all.len = length;
        if (i % 5 == 4)
            b->klass->zero(b, at * 512, length, true);
        else if (length)
            b->klass->write(b, at * 512, length, &all, 1);
        if (i % 7 == 6)
            b->klass->flush(b);
    }
    g_free(all.base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzFile file = fuzz_file_new(data, size);
    for (unsigned writing = 0; writing < 2; writing++) {
        VmrBlockOptions how = {.format = VMR_FORMAT_QCOW2, .read_only = !writing};
        GError *error = NULL;
        VmrBlock *b = vmr_block_open(file.path, &how, &error);
        if (!b && !error)
            g_error("no image, and no error");
        g_clear_error(&error);
        if (b)
            (writing ? write_some : read_all)(b);
        vmr_block_close(b);
    }
    fuzz_file_free(&file);
    return 0;
}
