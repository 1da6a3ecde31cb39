/*
 * core/symbols.c - names of a guest's addresses.  See symbols.h.
 *
 * ELF: functions and objects of .symtab, little endian, 32 and 64 bits.  Text: lines "ADDRESS TYPE NAME",
 * as nm, System.map and /proc/kallsyms have them.  Loaded before the machine runs, only read then.
 */
#include "symbols.h"

#include "config.h"
#include "runtime.h"

#include <elf.h>
#include <string.h>

typedef struct Symbol {
    uint64_t address, size; /* size 0: not known */
    const char *name;
} Symbol;

struct VmrSymbols {
    GArray *by_address;    /* Symbol */
    GHashTable *by_name;   /* name -> address + 1 as a pointer; NULL: several */
    GStringChunk *names;
};

/* A name is not given to an address further behind it than this. */
static const uint64_t FAR = 1 << 20;

static void add(struct VmrSymbols *s, uint64_t address, uint64_t size, const char *name, size_t length)
{
    if (!length || !address)
        return;
    Symbol y = {address, size, g_string_chunk_insert_len(s->names, name, (gssize)length)};
    g_array_append_val(s->by_address, y);
}

/* ---- ELF ---------------------------------------------------------------------------------------- */

static bool within(size_t whole, uint64_t offset, uint64_t length)
{
    return offset <= whole && length <= whole - offset;
}

/* 32 and 64 bits differ in the types only. */
#define DEFINE_ELF(bits)                                                                           \
    static bool elf##bits(struct VmrSymbols *s, const uint8_t *data, size_t length, uint64_t shift) \
    {                                                                                              \
        Elf##bits##_Ehdr h;                                                                        \
        if (length < sizeof h)                                                                     \
            return false;                                                                          \
        memcpy(&h, data, sizeof h);                                                                \
        if (h.e_shentsize != sizeof(Elf##bits##_Shdr) ||                                           \
            !within(length, h.e_shoff, (uint64_t)h.e_shnum * sizeof(Elf##bits##_Shdr)))            \
            return false;                                                                          \
        for (unsigned i = 0; i < h.e_shnum; i++) {                                                 \
            Elf##bits##_Shdr table, text;                                                          \
            memcpy(&table, data + h.e_shoff + i * sizeof table, sizeof table);                     \
            if (table.sh_type != SHT_SYMTAB || table.sh_link >= h.e_shnum)                         \
                continue;                                                                          \
            memcpy(&text, data + h.e_shoff + table.sh_link * sizeof text, sizeof text);            \
            if (!within(length, table.sh_offset, table.sh_size) ||                                 \
                !within(length, text.sh_offset, text.sh_size))                                     \
                return false;                                                                      \
            for (uint64_t k = 0; k < table.sh_size / sizeof(Elf##bits##_Sym); k++) {               \
                Elf##bits##_Sym y;                                                                 \
                memcpy(&y, data + table.sh_offset + k * sizeof y, sizeof y);                       \
                unsigned type = ELF64_ST_TYPE(y.st_info);                                          \
                if (type > STT_FUNC || y.st_shndx == SHN_UNDEF || y.st_name >= text.sh_size)       \
                    continue;                                                                      \
                const char *name = (const char *)data + text.sh_offset + y.st_name;                \
                add(s, y.st_value + shift, y.st_size, name, strnlen(name, text.sh_size - y.st_name)); \
            }                                                                                      \
        }                                                                                          \
        return true;                                                                               \
    }
DEFINE_ELF(32)
DEFINE_ELF(64)

/* ---- text --------------------------------------------------------------------------------------- */

static bool text_lines(struct VmrSymbols *s, const char *data, size_t length, uint64_t shift)
{
    const char *end = data + length;
    while (data < end) {
        const char *line = data, *stop = memchr(data, '\n', (size_t)(end - data));
        stop = stop ? stop : end;
        data = stop + 1;
        uint64_t address = 0;
        const char *p = line;
        for (; p < stop && g_ascii_isxdigit(*p); p++)
            address = address << 4 | (unsigned)g_ascii_xdigit_value(*p);
        if (p == line || stop - p < 4 || p[0] != ' ' || p[2] != ' ')
            return false;
        bool wanted = !strchr("Uu", p[1]); /* undefined; a module's name may follow */
        p += 3;
        size_t n = 0;
        while (p + n < stop && p[n] != ' ' && p[n] != '\t' && p[n] != '\r')
            n++;
        if (wanted && address)
            add(s, address + shift, 0, p, n);
    }
    return true;
}

/* ---- the table ---------------------------------------------------------------------------------- */

static gint compare(gconstpointer a, gconstpointer b)
{
    const Symbol *x = a, *y = b;
    return x->address < y->address ? -1 : x->address > y->address;
}

static void note_names(struct VmrSymbols *s, unsigned from)
{
    for (unsigned i = from; i < s->by_address->len; i++) {
        const Symbol *y = &g_array_index(s->by_address, Symbol, i);
        gpointer old, here = GSIZE_TO_POINTER(y->address + 1);
        if (g_hash_table_lookup_extended(s->by_name, y->name, NULL, &old) && old != here)
            here = NULL;
        g_hash_table_insert(s->by_name, (gpointer)y->name, here);
    }
}

bool vmr_symbols_load(VmrMachine *m, const char *spec, GError **error)
{
    char *path = g_strdup(spec), *colon = strrchr(path, ':');
    guint64 shift = 0;
    if (colon && vmr_parse_number(colon + 1, &shift))
        *colon = 0;
    GMappedFile *file = g_mapped_file_new(path, FALSE, error);
    if (!file) {
        g_prefix_error(error, "--symbols: ");
        g_free(path);
        return false;
    }
    struct VmrSymbols *s = m->priv->symbols;
    if (!s) {
        s = m->priv->symbols = g_new0(struct VmrSymbols, 1);
        s->by_address = g_array_new(FALSE, FALSE, sizeof(Symbol));
        s->by_name = g_hash_table_new(g_str_hash, g_str_equal);
        s->names = g_string_chunk_new(4096);
    }
    const char *data = g_mapped_file_get_contents(file);
    size_t length = g_mapped_file_get_length(file);
    unsigned before = s->by_address->len;
    bool ok;
    if (length > EI_DATA && !memcmp(data, ELFMAG, SELFMAG))
        ok = data[EI_DATA] == ELFDATA2LSB &&
             (data[EI_CLASS] == ELFCLASS64 ? elf64 : elf32)(s, (const uint8_t *)data, length, shift);
    else
        ok = text_lines(s, data, length, shift);
    g_mapped_file_unref(file);
    if (!ok || s->by_address->len == before) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "--symbols: %s: %s", path,
                    ok ? "there are no symbols in it"
                       : "neither an ELF file with a symbol table nor lines ADDRESS TYPE NAME");
        ok = false;
    } else {
        note_names(s, before);
        g_array_sort(s->by_address, compare);
    }
    g_free(path);
    return ok;
}

bool vmr_symbols_address(VmrMachine *m, const char *text, uint64_t *address, GError **error)
{
    struct VmrSymbols *s = m->priv->symbols;
    guint64 number, offset = 0;
    if (vmr_parse_number(text, &number)) {
        *address = number;
        return true;
    }
    const char *plus = strrchr(text, '+');
    if (plus && !vmr_parse_number(plus + 1, &offset))
        plus = NULL;
    char *name = plus ? g_strndup(text, (gsize)(plus - text)) : g_strdup(text);
    gpointer found;
    bool there = s && g_hash_table_lookup_extended(s->by_name, name, NULL, &found);
    bool ok = there && found;
    if (ok)
        *address = GPOINTER_TO_SIZE(found) - 1 + offset;
    else if (there)
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "'%s' is there more than once: give the address", name);
    else
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, s ? "no symbol is named '%s'"
                    : "'%s' is no address, and there are no --symbols", name);
    g_free(name);
    return ok;
}

char *vmr_symbols_name(VmrMachine *m, uint64_t address)
{
    struct VmrSymbols *s = m->priv->symbols;
    unsigned low = 0, high = s ? s->by_address->len : 0;
    while (low < high) { /* the first one behind it */
        unsigned mid = low + (high - low) / 2;
        if (g_array_index(s->by_address, Symbol, mid).address <= address)
            low = mid + 1;
        else
            high = mid;
    }
    if (!low)
        return NULL;
    const Symbol *y = &g_array_index(s->by_address, Symbol, low - 1);
    uint64_t n = address - y->address;
    if (n >= (y->size ? y->size : FAR))
        return NULL;
    return n ? g_strdup_printf("%s+0x%" PRIx64, y->name, n) : g_strdup(y->name);
}

void vmr_symbols_free(VmrMachine *m)
{
    struct VmrSymbols *s = m->priv->symbols;
    if (!s)
        return;
    g_array_unref(s->by_address);
    g_hash_table_unref(s->by_name);
    g_string_chunk_free(s->names);
    g_free(s);
    m->priv->symbols = NULL;
}
