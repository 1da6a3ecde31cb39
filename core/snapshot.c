/*
 * core/snapshot.c - writing a machine into a file.  docs/snapshots.md has the format.
 *
 * The file grows under a temporary name in the same folder, is flushed to the
 * disk, and takes its name only then.  Pages of zeros are left out; the others of
 * a chunk are stored together, compressed if vmrun was built with zstd.
 */
#include "runtime.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef VMR_HAVE_ZSTD
#include <zstd.h>
#endif

typedef struct Writer {
    int fd;
    GByteArray *out;   /* not yet written */
    uint64_t written;  /* bytes, with those in `out` */
    uint32_t sections;
    int failed;        /* errno of the first failure */
} Writer;

enum { FLUSH_AT = 4 << 20 };

static void flush(Writer *w)
{
    size_t done = 0;
    while (!w->failed && done < w->out->len) {
        ssize_t n = write(w->fd, w->out->data + done, w->out->len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            w->failed = n == 0 ? EIO : errno;
    }
    g_byte_array_set_size(w->out, 0);
}

static void put(Writer *w, const void *data, size_t len)
{
    g_byte_array_append(w->out, data, (guint)len);
    w->written += len;
    if (w->out->len >= FLUSH_AT)
        flush(w);
}

static void put_32(uint8_t *at, uint32_t v)
{
    v = GUINT32_TO_LE(v);
    memcpy(at, &v, 4);
}

static void put_64(uint8_t *at, uint64_t v)
{
    v = GUINT64_TO_LE(v);
    memcpy(at, &v, 8);
}

static void put_file_header(Writer *w)
{
    uint8_t h[VMR_SNAPSHOT_HEADER] = VMR_SNAPSHOT_MAGIC;
    put_32(h + 8, VMR_SNAPSHOT_FORMAT);
    put_32(h + 12, VMR_SNAPSHOT_HEADER);
    put_32(h + 28, vmr_crc32(0, h, 28));
    put(w, h, sizeof h);
}

static void put_section(Writer *w, uint32_t tag, const char *name, const uint8_t *data, size_t len)
{
    uint8_t h[VMR_SNAPSHOT_SECTION_HEADER] = {0};
    size_t name_length = strlen(name) + 1;
    put_32(h, tag);
    put_32(h + 4, (uint32_t)name_length);
    put_64(h + 8, len);
    put_32(h + 16, vmr_crc32(0, data, len));
    put_32(h + 20, w->sections++);
    put_32(h + 28, vmr_crc32(vmr_crc32(0, h, 28), name, name_length));
    put(w, h, sizeof h);
    put(w, name, name_length);
    put(w, data, len);
}

static void put_record(Writer *w, uint32_t tag, const char *name, GByteArray *record)
{
    put_section(w, tag, name, record->data, record->len);
    g_byte_array_set_size(record, 0);
}

/* ---- devices and vCPUs ------------------------------------------------ */

static void add_lines(const VmrDeviceHandle *h, GByteArray *to)
{
    for (const VmrLine *l = h->klass->lines; l && l->name; l++) {
        if (l->direction != VMR_LINE_OUT)
            continue;
        const VmrIrq *irq = (const VmrIrq *)(const void *)((const uint8_t *)h->device + l->offset);
        uint32_t count = MAX(l->count, 1);
        bool *levels = g_new0(bool, count);
        for (uint32_t i = 0; i < count; i++)
            levels[i] = vmr_irq_level(irq[i]);
        vmr_record_add_bools(to, l->name, levels, count);
        g_free(levels);
    }
}

static void put_machine(Writer *w, VmrMachine *m, GByteArray *record)
{
    vmr_identity_machine(m, record);
    put_record(w, VMR_SECTION_MACHINE, "identity", record);
    vmr_record_add_text(record, "vmrun", VMR_VERSION);
    vmr_record_add_text(record, "accelerator", m->accel->name);
    vmr_record_add_i64(record, "clock", vmr_machine_time(m));
    vmr_record_add_i64(record, "wall clock", vmr_clock_wall());
    put_record(w, VMR_SECTION_MACHINE, "run", record);
    for (unsigned i = 0; i < m->devices->len; i++) {
        const VmrDeviceHandle *h = m->devices->pdata[i];
        vmr_identity_device(h, record);
        put_record(w, VMR_SECTION_DEVICE, h->name, record);
        vmr_record_add_fields(record, h->klass->fields, h->device);
        put_record(w, VMR_SECTION_FIELDS, h->name, record);
        add_lines(h, record);
        put_record(w, VMR_SECTION_LINES, h->name, record);
    }
}

static bool put_cpus(Writer *w, VmrMachine *m, GByteArray *record, GError **error)
{
    for (unsigned i = 0; i < m->cpu_count; i++) {
        char name[16];
        g_snprintf(name, sizeof name, "%u", i);
        if (!vmr_cpu_state_save(&m->cpus[i], record, error))
            return false;
        put_record(w, VMR_SECTION_CPU, name, record);
    }
    return true;
}

/* ---- RAM -------------------------------------------------------------- */

static bool is_zero(const uint8_t *page)
{
    const uint64_t *p = (const uint64_t *)(const void *)page;
    for (unsigned i = 0; i < VMR_SNAPSHOT_PAGE / 8; i += 8)
        if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] | p[i + 5] | p[i + 6] | p[i + 7])
            return false;
    return true;
}

typedef struct Packer {
    uint8_t *pages, *out;
    size_t out_size;
#ifdef VMR_HAVE_ZSTD
    ZSTD_CCtx *zstd;
#endif
} Packer;

enum { CHUNK_HEADER = 16, BITMAP = VMR_SNAPSHOT_CHUNK / VMR_SNAPSHOT_PAGE / 8 };

static void packer_init(Packer *p)
{
    p->out_size = CHUNK_HEADER + BITMAP + VMR_SNAPSHOT_CHUNK;
#ifdef VMR_HAVE_ZSTD
    p->zstd = ZSTD_createCCtx();
    p->out_size = CHUNK_HEADER + BITMAP + ZSTD_compressBound(VMR_SNAPSHOT_CHUNK);
#endif
    p->pages = g_malloc(VMR_SNAPSHOT_CHUNK);
    p->out = g_malloc(p->out_size);
}

static void packer_clear(Packer *p)
{
#ifdef VMR_HAVE_ZSTD
    ZSTD_freeCCtx(p->zstd);
#endif
    g_free(p->pages);
    g_free(p->out);
}

/* Pages that hold something, gathered; the bitmap says which. */
static size_t gather(Packer *p, const uint8_t *ram, size_t len, uint8_t *bitmap)
{
    size_t n = 0;
    memset(bitmap, 0, BITMAP);
    for (size_t i = 0; i < len / VMR_SNAPSHOT_PAGE; i++) {
        const uint8_t *page = ram + i * VMR_SNAPSHOT_PAGE;
        if (is_zero(page))
            continue;
        bitmap[i / 8] |= (uint8_t)(1u << i % 8);
        memcpy(p->pages + n, page, VMR_SNAPSHOT_PAGE);
        n += VMR_SNAPSHOT_PAGE;
    }
    return n;
}

static void put_chunk(Writer *w, Packer *p, const VmrRam *ram, uint64_t offset, size_t len)
{
    uint8_t *to = p->out + CHUNK_HEADER + BITMAP;
    size_t n = gather(p, ram->base + offset, len, p->out + CHUNK_HEADER), stored = n;
    uint32_t method = VMR_CHUNK_RAW;
    if (!n)
        return;
#ifdef VMR_HAVE_ZSTD
    size_t packed = ZSTD_compressCCtx(p->zstd, to, ZSTD_compressBound(VMR_SNAPSHOT_CHUNK), p->pages,
                                      n, 1);
    if (!ZSTD_isError(packed) && packed < n) {
        stored = packed;
        method = VMR_CHUNK_ZSTD;
    }
#endif
    if (method == VMR_CHUNK_RAW)
        memcpy(to, p->pages, n);
    put_64(p->out, offset);
    put_32(p->out + 8, (uint32_t)len);
    put_32(p->out + 12, method);
    put_section(w, VMR_SECTION_RAM, "main", p->out, CHUNK_HEADER + BITMAP + stored);
}

static void put_ram(Writer *w, const VmrRam *ram)
{
    Packer p = {0};
    packer_init(&p);
    for (uint64_t at = 0; at < ram->used && !w->failed; at += VMR_SNAPSHOT_CHUNK) {
        /* Looking at a page that was never touched would make it. */
        off_t data = lseek(ram->fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        if (data > 0)
            at = (uint64_t)data / VMR_SNAPSHOT_CHUNK * VMR_SNAPSHOT_CHUNK;
        if (at < ram->used)
            put_chunk(w, &p, ram, at, (size_t)MIN(ram->used - at, VMR_SNAPSHOT_CHUNK));
    }
    packer_clear(&p);
}

/* ---- the file --------------------------------------------------------- */

static void put_end(Writer *w)
{
    uint8_t end[16] = {0};
    uint32_t sections = w->sections;
    put_32(end, sections);
    /* The length of the whole file. */
    put_64(end + 8, w->written + VMR_SNAPSHOT_SECTION_HEADER + 1 + sizeof end);
    put_section(w, VMR_SECTION_END, "", end, sizeof end);
}

/* The new name is on the disk, too. */
static void sync_folder(const char *path)
{
    char *folder = g_path_get_dirname(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    g_free(folder);
}

static bool write_all(Writer *w, VmrMachine *m, GError **error)
{
    GByteArray *record = g_byte_array_new();
    vmr_workers_drain(m->priv->workers);
    vmr_domain_lock_urgent(m->domain);
    put_file_header(w);
    /* The CPUs first: an accelerator may give a device its state back by that. */
    bool ok = put_cpus(w, m, record, error);
    if (ok) {
        put_machine(w, m, record);
        put_ram(w, &m->ram);
    }
    vmr_domain_unlock(m->domain);
    g_byte_array_unref(record);
    if (!ok)
        return false;
    put_end(w);
    flush(w);
    if (!w->failed && fsync(w->fd) < 0)
        w->failed = errno;
    return true;
}

bool vmr_snapshot_save(VmrMachine *m, const char *path, GError **error)
{
    char *temporary = g_strconcat(path, ".XXXXXX", NULL);
    Writer w = {.fd = g_mkstemp_full(temporary, O_RDWR | O_CLOEXEC, 0600),
                .out = g_byte_array_new()};
    GError *why = NULL;
    bool ok = w.fd >= 0;
    if (!ok)
        w.failed = errno;
    else
        ok = write_all(&w, m, &why) && !w.failed;
    if (w.fd >= 0 && close(w.fd) < 0 && !w.failed)
        w.failed = errno;
    ok = ok && !w.failed;
    if (ok && rename(temporary, path) < 0) {
        w.failed = errno;
        ok = false;
    }
    if (ok)
        sync_folder(path);
    else if (w.fd >= 0)
        unlink(temporary);
    if (!ok)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "%s: the machine is not saved: %s",
                    path, why ? why->message : g_strerror(w.failed));
    g_clear_error(&why);
    g_byte_array_unref(w.out);
    g_free(temporary);
    return ok;
}
