/*
 * aml.c - ACPI machine language and resource descriptors.
 *
 * After the ACPI specification 6.5, chapter 20 (AML encoding) and 6.4 (resource
 * data types).  Only what describes devices: no methods, no fields.
 */
#include "aml.h"

enum {
    ZERO_OP = 0x00,
    ONE_OP = 0x01,
    NAME_OP = 0x08,
    BYTE_PREFIX = 0x0a,
    WORD_PREFIX = 0x0b,
    DWORD_PREFIX = 0x0c,
    STRING_PREFIX = 0x0d,
    QWORD_PREFIX = 0x0e,
    SCOPE_OP = 0x10,
    BUFFER_OP = 0x11,
    PACKAGE_OP = 0x12,
    EXT_OP_PREFIX = 0x5b,
    DEVICE_OP = 0x82,

    /* address space descriptors */
    SPACE_MEMORY = 0,
    SPACE_IO = 1,
    SPACE_BUS = 2,
    SPACE_WINDOW = 0x0c,     /* producer, minimum and maximum fixed */
    SPACE_FIXED = 0x0d,      /* consumer, the same */
    MEMORY_READ_WRITE = 0x01,
    IO_ENTIRE_RANGE = 0x03,

    /* extended interrupt descriptor */
    IRQ_CONSUMER = 1 << 0,
    IRQ_EDGE = 1 << 1,
    IRQ_ACTIVE_LOW = 1 << 2,
    IRQ_SHARED = 1 << 3,
};

void aml_number(GByteArray *out, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t byte = value >> (8 * i);
        g_byte_array_append(out, &byte, 1);
    }
}

static void put_name(GByteArray *out, const char *name)
{
    if (*name == '\\')
        aml_number(out, *name++, 1);
    for (unsigned i = 0; i < 4; i++)
        aml_number(out, *name ? *name++ : '_', 1);
}

/* PkgLength: counts itself.  In 1 byte 6 bits, else 4 bits and a byte for each 8 more. */
static void put_package_length(GByteArray *out, uint32_t body)
{
    unsigned extra = body + 1 < 0x40 ? 0 : body + 2 < 0x1000 ? 1 : body + 3 < 0x100000 ? 2 : 3;
    uint32_t length = body + 1 + extra;

    if (extra == 0) {
        aml_number(out, length, 1);
    } else {
        aml_number(out, extra << 6 | (length & 0xf), 1);
        aml_number(out, length >> 4, extra);
    }
}

static void put_bytes(GByteArray *out, const GByteArray *bytes)
{
    g_byte_array_append(out, bytes->data, bytes->len);
}

void aml_integer(GByteArray *out, uint64_t value)
{
    if (value <= 1) {
        aml_number(out, value ? ONE_OP : ZERO_OP, 1);
    } else if (value <= UINT8_MAX) {
        aml_number(out, BYTE_PREFIX, 1);
        aml_number(out, value, 1);
    } else if (value <= UINT16_MAX) {
        aml_number(out, WORD_PREFIX, 1);
        aml_number(out, value, 2);
    } else if (value <= UINT32_MAX) {
        aml_number(out, DWORD_PREFIX, 1);
        aml_number(out, value, 4);
    } else {
        aml_number(out, QWORD_PREFIX, 1);
        aml_number(out, value, 8);
    }
}

void aml_string(GByteArray *out, const char *text)
{
    aml_number(out, STRING_PREFIX, 1);
    for (; *text; text++)
        aml_number(out, g_ascii_isprint(*text) ? *text : '?', 1);
    aml_number(out, 0, 1);
}

void aml_hid(GByteArray *out, const char *id)
{
    bool eisa = strlen(id) == 7;

    for (unsigned i = 0; eisa && i < 7; i++)
        eisa = i < 3 ? g_ascii_isupper(id[i]) : g_ascii_isxdigit(id[i]);
    if (!eisa) {
        aml_string(out, id);
        return;
    }
    /* Three letters of 5 bits and four digits, big endian, as ISA cards told them. */
    uint32_t letters = (id[0] - '@') << 10 | (id[1] - '@') << 5 | (id[2] - '@');
    uint32_t product = g_ascii_strtoull(id + 3, NULL, 16);
    aml_number(out, DWORD_PREFIX, 1);
    aml_number(out, GUINT32_SWAP_LE_BE(letters << 16 | product), 4);
}

void aml_buffer(GByteArray *out, const GByteArray *bytes)
{
    g_autoptr(GByteArray) body = g_byte_array_new();

    aml_integer(body, bytes->len);
    put_bytes(body, bytes);
    aml_number(out, BUFFER_OP, 1);
    put_package_length(out, body->len);
    put_bytes(out, body);
}

void aml_package(GByteArray *out, uint8_t count, const GByteArray *elements)
{
    aml_number(out, PACKAGE_OP, 1);
    put_package_length(out, elements->len + 1);
    aml_number(out, count, 1);
    put_bytes(out, elements);
}

void aml_name(GByteArray *out, const char *name)
{
    aml_number(out, NAME_OP, 1);
    put_name(out, name);
}

static void put_named(GByteArray *out, const char *name, const GByteArray *body)
{
    put_package_length(out, body->len + (*name == '\\' ? 5 : 4));
    put_name(out, name);
    put_bytes(out, body);
}

void aml_scope(GByteArray *out, const char *name, const GByteArray *body)
{
    aml_number(out, SCOPE_OP, 1);
    put_named(out, name, body);
}

void aml_device(GByteArray *out, const char *name, const GByteArray *body)
{
    aml_number(out, EXT_OP_PREFIX, 1);
    aml_number(out, DEVICE_OP, 1);
    put_named(out, name, body);
}

/* An address space descriptor whose numbers have `width` bytes. */
static void put_space(GByteArray *out, uint8_t tag, unsigned width, uint8_t type, uint8_t flags,
                      uint8_t type_flags, uint64_t base, uint64_t size)
{
    aml_number(out, tag, 1);
    aml_number(out, 3 + 5 * width, 2);
    aml_number(out, type, 1);
    aml_number(out, flags, 1);
    aml_number(out, type_flags, 1);
    aml_number(out, 0, width); /* granularity */
    aml_number(out, base, width);
    aml_number(out, base + (size - 1), width);
    aml_number(out, 0, width); /* translation */
    aml_number(out, size, width);
}

void aml_res_io(GByteArray *out, uint16_t base, uint32_t size)
{
    if (size > UINT8_MAX) {
        put_space(out, 0x88, 2, SPACE_IO, SPACE_FIXED, IO_ENTIRE_RANGE, base, size);
        return;
    }
    aml_number(out, 0x47, 1);
    aml_number(out, 1, 1); /* decodes 16 bits */
    aml_number(out, base, 2);
    aml_number(out, base, 2);
    aml_number(out, 1, 1); /* alignment */
    aml_number(out, size, 1);
}

void aml_res_memory(GByteArray *out, uint64_t base, uint64_t size)
{
    if (base > UINT32_MAX || size > UINT32_MAX || base + size - 1 > UINT32_MAX) {
        put_space(out, 0x8a, 8, SPACE_MEMORY, SPACE_FIXED, MEMORY_READ_WRITE, base, size);
        return;
    }
    aml_number(out, 0x86, 1);
    aml_number(out, 9, 2);
    aml_number(out, MEMORY_READ_WRITE, 1);
    aml_number(out, base, 4);
    aml_number(out, size, 4);
}

void aml_res_window_bus(GByteArray *out, uint8_t first, uint8_t last)
{
    put_space(out, 0x88, 2, SPACE_BUS, SPACE_WINDOW, 0, first, last - first + 1);
}

void aml_res_window_io(GByteArray *out, uint16_t base, uint32_t size)
{
    put_space(out, 0x88, 2, SPACE_IO, SPACE_WINDOW, IO_ENTIRE_RANGE, base, size);
}

void aml_res_window_memory(GByteArray *out, uint64_t base, uint64_t size)
{
    bool wide = base + (size - 1) > UINT32_MAX;
    put_space(out, wide ? 0x8a : 0x87, wide ? 8 : 4, SPACE_MEMORY, SPACE_WINDOW, MEMORY_READ_WRITE,
              base, size);
}

void aml_res_irq(GByteArray *out, uint32_t gsi, bool level)
{
    if (gsi < 16 && !level) { /* IRQNoFlags: as the ISA bus has it */
        aml_number(out, 0x22, 1);
        aml_number(out, 1u << gsi, 2);
        return;
    }
    aml_number(out, 0x89, 1);
    aml_number(out, 6, 2);
    aml_number(out, IRQ_CONSUMER | (level ? IRQ_ACTIVE_LOW | IRQ_SHARED : IRQ_EDGE), 1);
    aml_number(out, 1, 1);
    aml_number(out, gsi, 4);
}

void aml_res_end(GByteArray *out)
{
    aml_number(out, 0x79, 1);
    aml_number(out, 0, 1); /* no checksum */
}
