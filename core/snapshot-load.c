/*
 * core/snapshot-load.c - reading the file of a machine, and putting it into one.
 *
 * vmr_snapshot_open() believes nothing: sums, lengths, the order of sections, the
 * identity of the machine, and the name, type and number of each value.  What is
 * left to vmr_snapshot_apply() is what only a device or a CPU can judge.
 */
#include "runtime.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#ifdef VMR_HAVE_ZSTD
#include <zstd.h>
#endif

typedef struct Section {
    uint32_t tag;
    const char *name;
    const uint8_t *data;
    size_t len;
    VmrRecord *record; /* NULL: RAM */
} Section;

struct VmrSnapshot {
    char *path;
    GMappedFile *file;
    const uint8_t *data;
    size_t len;
    GArray *sections; /* Section */
    int64_t clock;
};

enum { CHUNK_HEADER = 16, BITMAP = VMR_SNAPSHOT_CHUNK / VMR_SNAPSHOT_PAGE / 8 };

static uint32_t get_32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return GUINT32_FROM_LE(v);
}

static uint64_t get_64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return GUINT64_FROM_LE(v);
}

G_GNUC_PRINTF(2, 3) static bool refuse(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error)
        *error = g_error_new_valist(G_FILE_ERROR, G_FILE_ERROR_INVAL, format, args);
    va_end(args);
    return false;
}

/* ---- the file --------------------------------------------------------- */

static bool check_header(const VmrSnapshot *s, GError **error)
{
    if (s->len < VMR_SNAPSHOT_HEADER || memcmp(s->data, VMR_SNAPSHOT_MAGIC, 8))
        return refuse(error, "it is not a snapshot of vmrun");
    if (get_32(s->data + 28) != vmr_crc32(0, s->data, 28))
        return refuse(error, "it is damaged: its header has a wrong checksum");
    if (get_32(s->data + 8) != VMR_SNAPSHOT_FORMAT ||
        get_32(s->data + 12) != VMR_SNAPSHOT_HEADER)
        return refuse(error, "it is of format %u; this vmrun reads format %u", get_32(s->data + 8),
                      (unsigned)VMR_SNAPSHOT_FORMAT);
    return true;
}

static bool read_section(VmrSnapshot *s, size_t *at, bool *end, GError **error)
{
    const uint8_t *h = s->data + *at;
    unsigned index = s->sections->len;
    if (s->len - *at < VMR_SNAPSHOT_SECTION_HEADER)
        return refuse(error, "it is truncated: section %u is missing", index);
    size_t left = s->len - *at - VMR_SNAPSHOT_SECTION_HEADER;
    uint32_t name_length = get_32(h + 4);
    uint64_t length = get_64(h + 8);
    if (name_length < 1 || name_length > left)
        return refuse(error, "it is damaged or truncated: section %u has no name", index);
    const char *name = (const char *)h + VMR_SNAPSHOT_SECTION_HEADER;
    if (get_32(h + 28) != vmr_crc32(vmr_crc32(0, h, 28), name, name_length) ||
        get_32(h + 20) != index || memchr(name, 0, name_length) != name + name_length - 1 ||
        get_32(h + 24))
        return refuse(error, "it is damaged: the header of section %u has a wrong checksum", index);
    if (length > left - name_length)
        return refuse(error, "it is truncated: section %u (%.4s %s) is not complete", index,
                      (const char *)h, name);
    Section section = {.tag = get_32(h), .name = name, .data = (const uint8_t *)name + name_length,
                       .len = (size_t)length};
    if (get_32(h + 16) != vmr_crc32(0, section.data, section.len))
        return refuse(error, "it is damaged: section %u (%.4s %s) has a wrong checksum", index,
                      (const char *)h, name);
    *at += VMR_SNAPSHOT_SECTION_HEADER + name_length + section.len;
    *end = section.tag == VMR_SECTION_END;
    if (*end)
        return (section.len == 16 && get_32(section.data) == index &&
                get_64(section.data + 8) == s->len && *at == s->len) ||
               refuse(error, "it is damaged: its end is not where it should be");
    g_array_append_val(s->sections, section);
    return true;
}

static bool read_sections(VmrSnapshot *s, GError **error)
{
    size_t at = VMR_SNAPSHOT_HEADER;
    bool end = false;
    while (!end)
        if (!read_section(s, &at, &end, error))
            return false;
    return true;
}

static Section *find(const VmrSnapshot *s, uint32_t tag, const char *name)
{
    for (unsigned i = 0; i < s->sections->len; i++) {
        Section *section = &g_array_index(s->sections, Section, i);
        if (section->tag == tag && !strcmp(section->name, name))
            return section;
    }
    return NULL;
}

static bool parse_records(VmrSnapshot *s, GError **error)
{
    static const uint32_t known[] = {VMR_SECTION_MACHINE, VMR_SECTION_DEVICE, VMR_SECTION_FIELDS,
                                     VMR_SECTION_LINES, VMR_SECTION_CPU};
    for (unsigned i = 0; i < s->sections->len; i++) {
        Section *section = &g_array_index(s->sections, Section, i);
        if (section->tag == VMR_SECTION_RAM)
            continue;
        unsigned k = 0;
        while (k < G_N_ELEMENTS(known) && known[k] != section->tag)
            k++;
        if (k == G_N_ELEMENTS(known))
            return refuse(error, "section %u is of a kind that this vmrun does not know", i);
        if (find(s, section->tag, section->name) != section)
            return refuse(error, "section %u (%s) is there twice", i, section->name);
        section->record = vmr_record_parse(section->data, section->len, error);
        if (!section->record) {
            g_prefix_error(error, "section %u (%s): ", i, section->name);
            return false;
        }
    }
    return true;
}

/* ---- does it fit this machine? ---------------------------------------- */

static char *item_text(const VmrItem *item)
{
    if (!item)
        return g_strdup("not there");
    if (item->type == VMR_ITEM_TEXT)
        return g_strdup_printf("'%s'", (const char *)item->data);
    return item->type == VMR_FIELD_U64 ? g_strdup_printf("%" PRIu64, get_64(item->data))
                                       : g_strdup("something else");
}

static bool same(const VmrItem *a, const VmrItem *b)
{
    if (!a || !b)
        return false;
    size_t element = a->type == VMR_FIELD_U64 ? 8 : 1;
    return a->type == b->type && a->count == b->count && !memcmp(a->data, b->data, a->count * element);
}

static bool differs(GError **error, const char *name, const VmrItem *file, const VmrItem *ours)
{
    char *a = item_text(file), *b = item_text(ours);
    refuse(error, "it is of another machine: %s is %s in the snapshot and %s here", name, a, b);
    g_free(a);
    g_free(b);
    return false;
}

/* A property that the file does not know is new, and has its default. */
static bool check_identity(const VmrRecord *file, const GByteArray *bytes, GError **error)
{
    VmrRecord *ours = vmr_record_parse(bytes->data, bytes->len, error);
    const VmrItem *item;
    bool ok = ours != NULL;
    for (unsigned i = 0; ok && (item = vmr_record_nth(file, i)); i++) {
        const VmrItem *here = vmr_record_item(ours, item->name);
        if (!strcmp(item->name, "state version"))
            continue;
        if (!same(item, here))
            ok = differs(error, item->name, item, here);
    }
    for (unsigned i = 0; ok && (item = vmr_record_nth(ours, i)); i++)
        if (!vmr_record_item(file, item->name) && !g_str_has_prefix(item->name, "property "))
            ok = differs(error, item->name, NULL, item);
    vmr_record_free(ours);
    return ok;
}

static bool check_lines(const VmrRecord *r, const VmrDeviceClass *k, GError **error)
{
    for (const VmrLine *l = k->lines; l && l->name; l++) {
        const VmrItem *item = vmr_record_item(r, l->name);
        if (l->direction != VMR_LINE_OUT)
            continue;
        if (!item || item->type != VMR_FIELD_BOOL || item->count != MAX(l->count, 1))
            return refuse(error, "the levels of line '%s' are missing", l->name);
        for (uint32_t i = 0; i < item->count; i++)
            if (item->data[i] > 1)
                return refuse(error, "line '%s' has a level that is none", l->name);
    }
    return true;
}

static bool check_device(VmrSnapshot *s, VmrDeviceHandle *h, GByteArray *bytes, GError **error)
{
    Section *identity = find(s, VMR_SECTION_DEVICE, h->name);
    Section *fields = find(s, VMR_SECTION_FIELDS, h->name);
    Section *lines = find(s, VMR_SECTION_LINES, h->name);
    uint64_t version;
    if (!identity || !fields || !lines)
        return refuse(error, "it is of another machine: there was no such device");
    vmr_identity_device(h, bytes);
    if (!check_identity(identity->record, bytes, error) ||
        !vmr_record_u64(identity->record, "state version", &version, error))
        return false;
    if (version > h->klass->state_version)
        return refuse(error, "its state is of version %" PRIu64 ", made by a newer %s than this one, "
                      "which knows %u", version, h->klass->id, h->klass->state_version);
    return vmr_record_check_fields(fields->record, h->klass->fields, (uint32_t)version, error) &&
           check_lines(lines->record, h->klass, error);
}

static bool check_devices(VmrSnapshot *s, VmrMachine *m, GError **error)
{
    GByteArray *bytes = g_byte_array_new();
    bool ok = true;
    for (unsigned i = 0; ok && i < m->devices->len; i++) {
        VmrDeviceHandle *h = m->devices->pdata[i];
        g_byte_array_set_size(bytes, 0);
        ok = check_device(s, h, bytes, error);
        if (!ok)
            g_prefix_error(error, "[device %s]: ", h->name);
    }
    g_byte_array_unref(bytes);
    for (unsigned i = 0; ok && i < s->sections->len; i++) {
        const Section *section = &g_array_index(s->sections, Section, i);
        bool found = section->tag != VMR_SECTION_DEVICE && section->tag != VMR_SECTION_FIELDS &&
                     section->tag != VMR_SECTION_LINES;
        for (unsigned k = 0; !found && k < m->devices->len; k++)
            found = !strcmp(((VmrDeviceHandle *)m->devices->pdata[k])->name, section->name);
        if (!found)
            ok = refuse(error, "it is of another machine: this one has no [device %s]",
                        section->name);
    }
    return ok;
}

static bool check_cpus(VmrSnapshot *s, VmrMachine *m, GError **error)
{
    unsigned sections = 0;
    for (unsigned i = 0; i < s->sections->len; i++)
        sections += g_array_index(s->sections, Section, i).tag == VMR_SECTION_CPU;
    for (unsigned i = 0; i < m->cpu_count; i++) {
        char name[16];
        g_snprintf(name, sizeof name, "%u", i);
        Section *cpu = find(s, VMR_SECTION_CPU, name);
        if (!cpu || sections != m->cpu_count)
            return refuse(error, "it has %u CPUs, and the machine has %u", sections, m->cpu_count);
        if (!vmr_cpu_state_check(cpu->record, error)) {
            g_prefix_error(error, "CPU %u: ", i);
            return false;
        }
    }
    return true;
}

static unsigned pages_in(const uint8_t *bitmap)
{
    unsigned n = 0;
    for (unsigned i = 0; i < BITMAP; i++)
        n += (unsigned)__builtin_popcount(bitmap[i]);
    return n;
}

static bool check_ram(const VmrSnapshot *s, const VmrMachine *m, GError **error)
{
    uint64_t next = 0;
    for (unsigned i = 0; i < s->sections->len; i++) {
        const Section *section = &g_array_index(s->sections, Section, i);
        if (section->tag != VMR_SECTION_RAM)
            continue;
        const uint8_t *d = section->data;
        if (section->len < CHUNK_HEADER + BITMAP)
            return refuse(error, "section %u: a piece of RAM is too short", i);
        uint64_t offset = get_64(d), len = get_32(d + 8);
        unsigned method = get_32(d + 12), pages = pages_in(d + CHUNK_HEADER);
        if (offset % VMR_SNAPSHOT_PAGE || len % VMR_SNAPSHOT_PAGE || len > VMR_SNAPSHOT_CHUNK ||
            offset < next || offset > m->ram.used || len > m->ram.used - offset)
            return refuse(error, "section %u: a piece of RAM is not where RAM is", i);
        next = offset + len;
        for (uint64_t p = len / VMR_SNAPSHOT_PAGE; p < BITMAP * 8; p++)
            if (d[CHUNK_HEADER + p / 8] >> p % 8 & 1)
                return refuse(error, "section %u: a piece of RAM has too many pages", i);
        if (method == VMR_CHUNK_RAW) {
            if (section->len - CHUNK_HEADER - BITMAP != (size_t)pages * VMR_SNAPSHOT_PAGE)
                return refuse(error, "section %u: a piece of RAM is of a wrong size", i);
#ifdef VMR_HAVE_ZSTD
        } else if (method == VMR_CHUNK_ZSTD) {
            unsigned long long size = ZSTD_getFrameContentSize(d + CHUNK_HEADER + BITMAP,
                                                               section->len - CHUNK_HEADER - BITMAP);
            if (size != (unsigned long long)pages * VMR_SNAPSHOT_PAGE)
                return refuse(error, "section %u: a piece of RAM is of a wrong size", i);
#else
        } else if (method == VMR_CHUNK_ZSTD) {
            return refuse(error, "it is compressed with zstd, and this vmrun was built without");
#endif
        } else {
            return refuse(error, "section %u: its compression is not known", i);
        }
    }
    return true;
}

static bool check(VmrSnapshot *s, VmrMachine *m, GError **error)
{
    if (!check_header(s, error) || !read_sections(s, error) || !parse_records(s, error))
        return false;
    Section *identity = find(s, VMR_SECTION_MACHINE, "identity");
    Section *run = find(s, VMR_SECTION_MACHINE, "run");
    if (!identity || !run)
        return refuse(error, "it does not say what machine it is of");
    GByteArray *bytes = g_byte_array_new();
    vmr_identity_machine(m, bytes);
    bool ok = check_identity(identity->record, bytes, error) &&
              vmr_record_i64(run->record, "clock", &s->clock, error);
    g_byte_array_unref(bytes);
    if (ok && (s->clock < 0 || s->clock > INT64_MAX / 4))
        ok = refuse(error, "its clock is impossible");
    return ok && check_devices(s, m, error) && check_cpus(s, m, error) && check_ram(s, m, error);
}

VmrSnapshot *vmr_snapshot_open(VmrMachine *m, const char *path, GError **error)
{
    GMappedFile *file = g_mapped_file_new(path, FALSE, error);
    if (!file)
        return NULL;
    VmrSnapshot *s = g_new0(VmrSnapshot, 1);
    s->path = g_strdup(path);
    s->file = file;
    s->data = (const uint8_t *)g_mapped_file_get_contents(file);
    s->len = g_mapped_file_get_length(file);
    s->sections = g_array_new(FALSE, FALSE, sizeof(Section));
    if (!check(s, m, error)) {
        g_prefix_error(error, "%s: ", path);
        vmr_snapshot_free(s);
        return NULL;
    }
    return s;
}

void vmr_snapshot_free(VmrSnapshot *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->sections->len; i++)
        vmr_record_free(g_array_index(s->sections, Section, i).record);
    g_array_unref(s->sections);
    g_mapped_file_unref(s->file);
    g_free(s->path);
    g_free(s);
}

/* ---- into the machine ------------------------------------------------- */

/* The pages of a chunk: where they stand in the file, or unpacked into `to`. */
static const uint8_t *unpack(const Section *section, size_t want, uint8_t *to, GError **error)
{
    const uint8_t *from = section->data + CHUNK_HEADER + BITMAP;
    if (get_32(section->data + 12) == VMR_CHUNK_RAW)
        return from;
#ifdef VMR_HAVE_ZSTD
    size_t n = ZSTD_decompress(to, VMR_SNAPSHOT_CHUNK, from,
                               section->len - CHUNK_HEADER - BITMAP);
    if (!ZSTD_isError(n) && n == want)
        return to;
#endif
    refuse(error, "a piece of RAM cannot be unpacked");
    return NULL;
}

static bool load_ram(const VmrSnapshot *s, VmrMachine *m, GError **error)
{
    uint8_t *buffer = g_malloc(VMR_SNAPSHOT_CHUNK);
    bool ok = true;
    if (fallocate(m->ram.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)m->ram.size) < 0)
        memset(m->ram.base, 0, m->ram.used);
    for (unsigned i = 0; ok && i < s->sections->len; i++) {
        const Section *section = &g_array_index(s->sections, Section, i);
        if (section->tag != VMR_SECTION_RAM)
            continue;
        const uint8_t *bitmap = section->data + CHUNK_HEADER;
        const uint8_t *page = unpack(section, (size_t)pages_in(bitmap) * VMR_SNAPSHOT_PAGE, buffer,
                                     error);
        uint8_t *to = m->ram.base + get_64(section->data);
        ok = page != NULL;
        for (unsigned p = 0; ok && p < BITMAP * 8; p++) {
            if (!(bitmap[p / 8] >> p % 8 & 1))
                continue;
            memcpy(to + (size_t)p * VMR_SNAPSHOT_PAGE, page, VMR_SNAPSHOT_PAGE);
            page += VMR_SNAPSHOT_PAGE;
        }
    }
    if (m->vm && m->accel->ram_written)
        m->accel->ram_written(m->vm, 0, m->ram.used);
    g_free(buffer);
    return ok;
}

static void load_lines(const VmrRecord *r, VmrDeviceHandle *h)
{
    for (const VmrLine *l = h->klass->lines; l && l->name; l++) {
        if (l->direction != VMR_LINE_OUT)
            continue;
        const VmrIrq *irq = (const VmrIrq *)(const void *)((const uint8_t *)h->device + l->offset);
        const VmrItem *item = vmr_record_item(r, l->name);
        for (uint32_t i = 0; i < item->count; i++)
            vmr_irq_preset(irq[i], item->data[i]);
    }
}

static bool load_cpus(const VmrSnapshot *s, VmrMachine *m, GError **error)
{
    for (unsigned i = 0; i < m->cpu_count; i++) {
        char name[16];
        g_snprintf(name, sizeof name, "%u", i);
        if (!vmr_cpu_state_load(&m->cpus[i], find(s, VMR_SECTION_CPU, name)->record, error)) {
            g_prefix_error(error, "CPU %u: ", i);
            return false;
        }
    }
    return true;
}

static bool post_load(const VmrSnapshot *s, VmrMachine *m, GError **error)
{
    for (unsigned i = 0; i < m->devices->len; i++) {
        VmrDeviceHandle *h = m->devices->pdata[i];
        uint64_t version = 0;
        vmr_record_u64(find(s, VMR_SECTION_DEVICE, h->name)->record, "state version", &version, NULL);
        GError *why = NULL;
        if (!h->klass->post_load || h->klass->post_load(h->device, (uint32_t)version, &why))
            continue;
        refuse(error, "[device %s]: %s", h->name, why ? why->message : "its state is not possible");
        g_clear_error(&why);
        return false;
    }
    return true;
}

bool vmr_snapshot_apply(VmrSnapshot *s, VmrMachine *m, GError **error)
{
    vmr_domain_lock_urgent(m->domain);
    /* What a device does not save is as after a reset. */
    vmr_machine_reset_for_load(m);
    bool ok = load_ram(s, m, error);
    vmr_clock_set(m, s->clock);
    /* All fields, then all levels, then whoever derives something from them: so no device hears
       of a line before it and the other side are what they were. */
    for (unsigned i = 0; ok && i < m->devices->len; i++) {
        VmrDeviceHandle *h = m->devices->pdata[i];
        vmr_record_load_fields(find(s, VMR_SECTION_FIELDS, h->name)->record, h->klass->fields,
                               h->device);
        load_lines(find(s, VMR_SECTION_LINES, h->name)->record, h);
    }
    ok = ok && load_cpus(s, m, error);
    if (ok)
        vmr_irq_settle(m);
    ok = ok && post_load(s, m, error);
    vmr_domain_unlock(m->domain);
    if (!ok)
        g_prefix_error(error, "%s: ", s->path);
    return ok;
}
