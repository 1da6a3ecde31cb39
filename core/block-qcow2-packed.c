/*
 * core/block-qcow2-packed.c - compressed clusters of qcow2 images: deflate and Zstandard.
 */
#include "block-qcow2.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>
#ifdef VMR_HAVE_ZSTD
#include <zstd.h>
#endif

/* Raw deflate with a window of 4 KiB.  What follows the end of the stream does not matter. */
static bool inflate_all(const uint8_t *from, size_t length, uint8_t *to, size_t size)
{
    z_stream z = {.next_in = (uint8_t *)from, .avail_in = (uInt)length, .next_out = to,
                  .avail_out = (uInt)size};
    if (inflateInit2(&z, -12) != Z_OK)
        return false;
    int end = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return (end == Z_STREAM_END || end == Z_BUF_ERROR) && z.avail_out == 0;
}

static bool unzstd_all(const uint8_t *from, size_t length, uint8_t *to, size_t size)
{
#ifdef VMR_HAVE_ZSTD
    ZSTD_DCtx *z = ZSTD_createDCtx();
    ZSTD_inBuffer in = {from, length, 0};
    ZSTD_outBuffer out = {to, size, 0};
    bool ok = z && !ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 24));
    while (ok && out.pos < size) {
        size_t before = in.pos + out.pos;
        ok = !ZSTD_isError(ZSTD_decompressStream(z, &out, &in)) && in.pos + out.pos > before;
    }
    ZSTD_freeDCtx(z);
    return ok;
#else
    return false; /* refused when it was opened */
#endif
}

int qcow2_unpack(Qcow2 *q, uint64_t entry)
{
    if (q->unpacked_entry == entry)
        return 0;
    unsigned shift = 62 - (q->cluster_bits - 8);
    uint64_t offset = entry & ((UINT64_C(1) << shift) - 1);
    uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> shift;
    uint64_t length = (sectors + 1) * 512 - offset % 512; /* at most two clusters */
    VmrBuffer packed = {g_malloc(length), length};
    if (!q->unpacked)
        q->unpacked = g_malloc(q->cluster);
    q->unpacked_entry = 0;
    int error = vmr_file_read(&q->file, offset, length, &packed, 1);
    if (!error && !(q->zstd ? unzstd_all : inflate_all)(packed.base, length, q->unpacked, q->cluster))
        error = qcow2_damaged(q, "the compressed cluster at 0x%" G_GINT64_MODIFIER
                              "x cannot be decompressed", offset);
    if (!error)
        q->unpacked_entry = entry;
    g_free(packed.base);
    return error;
}
