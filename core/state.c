/*
 * core/state.c - records: values by name, type and count, as snapshots hold them.
 *
 *     item := type u8, 0 u8, length of name u16, count u32, name with NUL, values
 *
 * A timer's value is two: 1 if it is set (u64), its deadline in ns (i64).
 * Whatever a record holds may be hostile: nothing of it is believed unchecked.
 */
#include "state.h"

#include <string.h>

enum { ITEM_HEADER = 8 };

/* The numbers of the types are part of the format. */
_Static_assert(VMR_FIELD_BOOL == 0 && VMR_FIELD_U8 == 1 && VMR_FIELD_U16 == 2 &&
               VMR_FIELD_U32 == 3 && VMR_FIELD_U64 == 4 && VMR_FIELD_I64 == 5 &&
               VMR_FIELD_TIMER == 6, "snapshots name types by these numbers");

static const char *const type_names[] = {"bool", "u8", "u16", "u32", "u64", "i64", "timer"};

static const char *type_name(unsigned type)
{
    return type < G_N_ELEMENTS(type_names) ? type_names[type]
           : type == VMR_ITEM_TEXT         ? "text"
                                           : "unknown";
}

/* Bytes of an element in a record; 0: no such type. */
static size_t stored_size(unsigned type)
{
    switch (type) {
    case VMR_FIELD_BOOL:
    case VMR_FIELD_U8:
    case VMR_ITEM_TEXT: return 1;
    case VMR_FIELD_U16: return 2;
    case VMR_FIELD_U32: return 4;
    case VMR_FIELD_U64:
    case VMR_FIELD_I64: return 8;
    case VMR_FIELD_TIMER: return 16;
    }
    return 0;
}

static uint32_t count_of(const VmrField *f)
{
    return f->count ? f->count : 1;
}

/* ---- writing ---------------------------------------------------------- */

static void add_header(GByteArray *to, unsigned type, const char *name, uint32_t count)
{
    size_t length = strlen(name) + 1;
    uint8_t header[ITEM_HEADER] = {(uint8_t)type, 0, (uint8_t)length, (uint8_t)(length >> 8)};
    uint32_t n = GUINT32_TO_LE(count);
    memcpy(header + 4, &n, 4);
    g_byte_array_append(to, header, sizeof header);
    g_byte_array_append(to, (const guint8 *)name, (guint)length);
}

static void add_64(GByteArray *to, uint64_t v)
{
    v = GUINT64_TO_LE(v);
    g_byte_array_append(to, (const guint8 *)&v, 8);
}

static void add_element(GByteArray *to, VmrFieldType type, const uint8_t *at)
{
    switch (type) {
    case VMR_FIELD_BOOL: {
        uint8_t v = *(const bool *)at;
        g_byte_array_append(to, &v, 1);
        break;
    }
    case VMR_FIELD_U8:
        g_byte_array_append(to, at, 1);
        break;
    case VMR_FIELD_U16: {
        uint16_t v = GUINT16_TO_LE(*(const uint16_t *)(const void *)at);
        g_byte_array_append(to, (const guint8 *)&v, 2);
        break;
    }
    case VMR_FIELD_U32: {
        uint32_t v = GUINT32_TO_LE(*(const uint32_t *)(const void *)at);
        g_byte_array_append(to, (const guint8 *)&v, 4);
        break;
    }
    case VMR_FIELD_U64:
    case VMR_FIELD_I64:
        add_64(to, *(const uint64_t *)(const void *)at);
        break;
    case VMR_FIELD_TIMER: {
        VmrTimer *timer = *(VmrTimer *const *)(const void *)at;
        int64_t deadline = 0;
        bool set = timer && vmr_host_table()->timer_pending(timer, &deadline);
        add_64(to, set);
        add_64(to, set ? (uint64_t)deadline : 0);
        break;
    }
    }
}

/* Bytes from one element to the next in an instance. */
static size_t instance_size(VmrFieldType type)
{
    return type == VMR_FIELD_TIMER ? sizeof(VmrTimer *) : stored_size(type);
}

void vmr_record_add_fields(GByteArray *to, const VmrField *fields, const void *instance)
{
    for (const VmrField *f = fields; f && f->name; f++) {
        add_header(to, f->type, f->name, count_of(f));
        for (uint32_t i = 0; i < count_of(f); i++)
            add_element(to, f->type,
                        (const uint8_t *)instance + f->offset + i * instance_size(f->type));
    }
}

void vmr_record_add_text(GByteArray *to, const char *name, const char *text)
{
    uint32_t length = (uint32_t)strlen(text) + 1;
    add_header(to, VMR_ITEM_TEXT, name, length);
    g_byte_array_append(to, (const guint8 *)text, length);
}

void vmr_record_add_u64(GByteArray *to, const char *name, uint64_t value)
{
    add_header(to, VMR_FIELD_U64, name, 1);
    add_64(to, value);
}

void vmr_record_add_i64(GByteArray *to, const char *name, int64_t value)
{
    add_header(to, VMR_FIELD_I64, name, 1);
    add_64(to, (uint64_t)value);
}

void vmr_record_add_bools(GByteArray *to, const char *name, const bool *values, uint32_t count)
{
    add_header(to, VMR_FIELD_BOOL, name, count);
    for (uint32_t i = 0; i < count; i++)
        add_element(to, VMR_FIELD_BOOL, (const uint8_t *)&values[i]);
}

/* ---- reading ---------------------------------------------------------- */

struct VmrRecord {
    GArray *items; /* VmrItem */
    GHashTable *by_name; /* name -> index + 1 */
};

static uint64_t get_64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return GUINT64_FROM_LE(v);
}

static bool malformed(GError **error, const char *what)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s", what);
    return false;
}

/* The item at data[*at]; moves on. */
static bool parse_item(const uint8_t *data, size_t len, size_t *at, VmrItem *item, GError **error)
{
    if (len - *at < ITEM_HEADER)
        return malformed(error, "a record ends within an item");
    const uint8_t *p = data + *at;
    size_t name_length = p[2] | (size_t)p[3] << 8;
    uint32_t count;
    memcpy(&count, p + 4, 4);
    item->type = p[0];
    item->count = GUINT32_FROM_LE(count);
    *at += ITEM_HEADER;
    if (p[1] || !stored_size(item->type))
        return malformed(error, "a record has an item of an unknown type");
    if (name_length < 2 || name_length > len - *at)
        return malformed(error, "a record ends within a name");
    item->name = (const char *)data + *at;
    if (memchr(item->name, 0, name_length) != item->name + name_length - 1)
        return malformed(error, "a record has a name that is none");
    *at += name_length;
    if (!item->count || item->count > (len - *at) / stored_size(item->type))
        return malformed(error, "a record ends within its values");
    item->data = data + *at;
    *at += item->count * stored_size(item->type);
    if (item->type == VMR_ITEM_TEXT &&
        memchr(item->data, 0, item->count) != item->data + item->count - 1)
        return malformed(error, "a record has a text without an end");
    return true;
}

VmrRecord *vmr_record_parse(const uint8_t *data, size_t len, GError **error)
{
    VmrRecord *r = g_new0(VmrRecord, 1);
    r->items = g_array_new(FALSE, FALSE, sizeof(VmrItem));
    r->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    for (size_t at = 0; at < len;) {
        VmrItem item;
        bool ok = parse_item(data, len, &at, &item, error);
        if (ok && g_hash_table_contains(r->by_name, item.name))
            ok = malformed(error, "a record has the same name twice");
        if (!ok) {
            vmr_record_free(r);
            return NULL;
        }
        g_array_append_val(r->items, item);
        g_hash_table_insert(r->by_name, (gpointer)item.name, GUINT_TO_POINTER(r->items->len));
    }
    return r;
}

void vmr_record_free(VmrRecord *r)
{
    if (!r)
        return;
    g_hash_table_unref(r->by_name);
    g_array_unref(r->items);
    g_free(r);
}

const VmrItem *vmr_record_nth(const VmrRecord *r, unsigned n)
{
    return n < r->items->len ? &g_array_index(r->items, VmrItem, n) : NULL;
}

const VmrItem *vmr_record_item(const VmrRecord *r, const char *name)
{
    unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(r->by_name, name));
    return n ? vmr_record_nth(r, n - 1) : NULL;
}

static const VmrItem *single(const VmrRecord *r, const char *name, unsigned type, GError **error)
{
    const VmrItem *item = vmr_record_item(r, name);
    if (item && item->type == type && (item->count == 1 || type == VMR_ITEM_TEXT))
        return item;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "it lacks '%s' (%s)", name,
                type_name(type));
    return NULL;
}

bool vmr_record_text(const VmrRecord *r, const char *name, const char **text, GError **error)
{
    const VmrItem *item = single(r, name, VMR_ITEM_TEXT, error);
    if (item)
        *text = (const char *)item->data;
    return item;
}

bool vmr_record_u64(const VmrRecord *r, const char *name, uint64_t *value, GError **error)
{
    const VmrItem *item = single(r, name, VMR_FIELD_U64, error);
    if (item)
        *value = get_64(item->data);
    return item;
}

bool vmr_record_i64(const VmrRecord *r, const char *name, int64_t *value, GError **error)
{
    const VmrItem *item = single(r, name, VMR_FIELD_I64, error);
    if (item)
        *value = (int64_t)get_64(item->data);
    return item;
}

static bool check_values(const VmrItem *item, GError **error)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < item->count; i++) {
        if (item->type == VMR_FIELD_BOOL)
            ok = item->data[i] <= 1;
        else if (item->type == VMR_FIELD_TIMER)
            ok = get_64(item->data + i * 16) <= 1;
    }
    if (!ok)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "'%s' is neither true nor false",
                    item->name);
    return ok;
}

bool vmr_record_check_fields(const VmrRecord *r, const VmrField *fields, uint32_t version,
                             GError **error)
{
    unsigned known = 0;
    for (const VmrField *f = fields; f && f->name; f++) {
        const VmrItem *item = vmr_record_item(r, f->name);
        known += item != NULL;
        if (!item && MAX(f->since, 1) > version)
            continue;
        if (!item || item->type != f->type || item->count != count_of(f)) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "'%s' is to be %u values of type %s, and %s", f->name, count_of(f),
                        type_name(f->type), item ? "is something else" : "is missing");
            return false;
        }
        if (!check_values(item, error))
            return false;
    }
    for (unsigned i = 0; known < r->items->len && i < r->items->len; i++) {
        const VmrItem *item = vmr_record_nth(r, i);
        const VmrField *f = fields;
        while (f && f->name && strcmp(f->name, item->name))
            f++;
        if (!f || !f->name) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "'%s' is not known", item->name);
            return false;
        }
    }
    return true;
}

static void load_element(uint8_t *to, VmrFieldType type, const uint8_t *from)
{
    switch (type) {
    case VMR_FIELD_BOOL:
        *(bool *)to = *from != 0;
        break;
    case VMR_FIELD_U8:
        *to = *from;
        break;
    case VMR_FIELD_U16:
        *(uint16_t *)(void *)to = (uint16_t)(from[0] | from[1] << 8);
        break;
    case VMR_FIELD_U32: {
        uint32_t v;
        memcpy(&v, from, 4);
        *(uint32_t *)(void *)to = GUINT32_FROM_LE(v);
        break;
    }
    case VMR_FIELD_U64:
    case VMR_FIELD_I64:
        *(uint64_t *)(void *)to = get_64(from);
        break;
    case VMR_FIELD_TIMER: {
        VmrTimer *timer = *(VmrTimer **)(void *)to;
        if (timer && get_64(from))
            vmr_host_table()->timer_set(timer, (int64_t)get_64(from + 8));
        else if (timer)
            vmr_host_table()->timer_cancel(timer);
        break;
    }
    }
}

void vmr_record_load_fields(const VmrRecord *r, const VmrField *fields, void *instance)
{
    for (const VmrField *f = fields; f && f->name; f++) {
        const VmrItem *item = vmr_record_item(r, f->name);
        for (uint32_t i = 0; item && i < item->count; i++)
            load_element((uint8_t *)instance + f->offset + i * instance_size(f->type), f->type,
                         item->data + i * stored_size(f->type));
    }
}
