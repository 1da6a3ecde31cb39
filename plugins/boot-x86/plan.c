/*
 * plugins/boot-x86/plan.c - files, and where in guest RAM things go.
 *
 * Every chunk lies within one range of RAM and overlaps no other chunk; that is
 * checked here and nowhere else.
 */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* An image larger than this is a mistake: it fits below 4 GiB in no machine. */
#define BOOT_FILE_MAX (UINT64_C(3) << 30)

bool boot_fail(GError **error, const BootFile *file, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    GQuark domain = g_quark_from_static_string("vmr-boot-x86");
    if (file && file->path)
        g_set_error(error, domain, 0, "%s: %s", file->path, text);
    else
        g_set_error(error, domain, 0, "%s", text);
    return false;
}

/*
 * Read rather than mapped: a file that shrinks while the machine runs must not
 * end it with SIGBUS at the next reset.
 */
bool boot_file_read(BootFile *file, const char *path, GError **error)
{
    file->path = path;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        boot_fail(error, file, "cannot be opened: %s", g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool ok = false;
    if (!S_ISREG(st.st_mode)) {
        boot_fail(error, file, "is not a regular file");
    } else if (st.st_size <= 0) {
        boot_fail(error, file, "is empty");
    } else if ((uint64_t)st.st_size > BOOT_FILE_MAX) {
        boot_fail(error, file, "has %" G_GUINT64_FORMAT " bytes, more than an image may have",
                  (uint64_t)st.st_size);
    } else if (!(file->data = g_try_malloc((size_t)st.st_size))) {
        boot_fail(error, file, "does not fit in the host's memory");
    } else {
        ok = true;
        for (uint64_t done = 0; ok && done < (uint64_t)st.st_size;) {
            ssize_t n = read(fd, file->data + done, (size_t)((uint64_t)st.st_size - done));
            if (n > 0)
                done += (uint64_t)n;
            else if (n == 0)
                ok = boot_fail(error, file, "ends early: it shrank while it was read");
            else if (errno != EINTR)
                ok = boot_fail(error, file, "cannot be read: %s", g_strerror(errno));
        }
        file->size = (uint64_t)st.st_size;
    }
    close(fd);
    if (!ok)
        boot_file_clear(file);
    return ok;
}

void boot_file_clear(BootFile *file)
{
    g_free(file->data);
    *file = (BootFile){0};
}

static bool in_ram(const BootPlan *p, uint64_t address, uint64_t size)
{
    for (unsigned i = 0; i < p->ram_count; i++)
        if (address >= p->ram[i].base && size <= p->ram[i].size &&
            address - p->ram[i].base <= p->ram[i].size - size)
            return true;
    return false;
}

/* A chunk that shares a byte with the range, which does not wrap; or NULL. */
static const BootChunk *overlap(const BootPlan *p, uint64_t address, uint64_t size)
{
    for (unsigned i = 0; i < p->chunk_count; i++) {
        const BootChunk *c = &p->chunks[i];
        if (address < c->address + c->size && c->address < address + size)
            return c;
    }
    return NULL;
}

bool boot_plan_add(BootPlan *p, const BootFile *file, const char *what, uint64_t address,
                   uint64_t size, const uint8_t *data, uint64_t data_size, GError **error)
{
    if (size == 0 || data_size > size)
        return boot_fail(error, file, "%s has a size that cannot be", what);
    if (p->chunk_count == BOOT_MAX_CHUNKS)
        return boot_fail(error, file, "has more than %d parts to load", BOOT_MAX_CHUNKS);
    if (address > UINT64_MAX - size || !in_ram(p, address, size))
        return boot_fail(error, file,
                         "%s at 0x%" G_GINT64_MODIFIER "x, 0x%" G_GINT64_MODIFIER
                         "x bytes, is not within the machine's RAM (see [machine] memory)",
                         what, address, size);
    const BootChunk *other = overlap(p, address, size);
    if (other)
        return boot_fail(error, file,
                         "%s at 0x%" G_GINT64_MODIFIER "x, 0x%" G_GINT64_MODIFIER
                         "x bytes, overlaps %s at 0x%" G_GINT64_MODIFIER "x",
                         what, address, size, other->what, other->address);
    p->chunks[p->chunk_count++] = (BootChunk){what, address, size, data, data_size};
    return true;
}

bool boot_plan_add_high(BootPlan *p, const BootFile *file, const char *what, uint64_t limit,
                        uint64_t *address, GError **error)
{
    const uint64_t page = 4096;
    uint64_t best = 0;
    for (unsigned i = 0; i < p->ram_count; i++) {
        uint64_t base = MAX(p->ram[i].base, BOOT_1M);
        uint64_t end = MIN(p->ram[i].base + p->ram[i].size, limit);
        /* Each turn steps below one chunk, so this ends after all of them. */
        while (end > base && end - base >= file->size) {
            uint64_t at = (end - file->size) & ~(page - 1);
            if (at < base)
                break;
            const BootChunk *c = overlap(p, at, file->size);
            if (!c) {
                best = MAX(best, at);
                break;
            }
            end = c->address;
        }
    }
    if (!best)
        return boot_fail(error, file,
                         "%s of 0x%" G_GINT64_MODIFIER "x bytes has no room in RAM below 0x%"
                         G_GINT64_MODIFIER "x beside the kernel (see [machine] memory)",
                         what, file->size, limit);
    *address = best;
    return boot_plan_add(p, file, what, best, file->size, file->data, file->size, error);
}

bool boot_plan_add_low(BootPlan *p, GError **error)
{
    return boot_plan_add(p, NULL, "the boot loader's low RAM", BOOT_LOW, BOOT_EBDA - BOOT_LOW,
                         p->low, BOOT_LOW_SIZE, error);
}

/* The command line, if it is no longer than the image takes, to BOOT_CMDLINE. */
bool boot_plan_cmdline(BootPlan *p, uint64_t max_length, GError **error)
{
    size_t length = strlen(p->set.cmdline);
    max_length = MIN(max_length, BOOT_CMDLINE_MAX - 1);
    if (length > max_length)
        return boot_fail(error, &p->kernel,
                         "takes a command line of %" G_GUINT64_FORMAT
                         " bytes, but [boot] cmdline has %" G_GSIZE_FORMAT,
                         max_length, length);
    memcpy(boot_low(p, BOOT_CMDLINE), p->set.cmdline, length + 1);
    return true;
}

static unsigned map_add(BootMapEntry *map, unsigned n, uint64_t base, uint64_t end, uint32_t type)
{
    if (base < end)
        map[n++] = (BootMapEntry){base, end - base, type};
    return n;
}

/* The e820 map, ascending: RAM, without the EBDA and all up to 1 MiB (firmware tables). */
unsigned boot_memory_map(const BootPlan *p, BootMapEntry map[BOOT_MAX_MAP])
{
    unsigned n = 0;
    bool reserved = false;
    for (unsigned i = 0; i < p->ram_count; i++) {
        uint64_t base = p->ram[i].base, end = base + p->ram[i].size;
        n = map_add(map, n, base, MIN(end, BOOT_EBDA), 1);
        if (!reserved && base < BOOT_1M && end > BOOT_EBDA) {
            n = map_add(map, n, BOOT_EBDA, BOOT_1M, 2);
            reserved = true;
        }
        n = map_add(map, n, MAX(base, BOOT_1M), end, 1);
    }
    return n;
}
