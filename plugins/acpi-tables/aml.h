/*
 * aml.h - a small builder of ACPI machine language.
 *
 * All functions append to a GByteArray.  What encloses other objects takes them
 * as a finished array, since their length comes first in the encoding.
 */
#ifndef AML_H
#define AML_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* `count` bytes of `value`, little endian: for tables as well. */
void aml_number(GByteArray *out, uint64_t value, unsigned count);

/* Data objects. */
void aml_integer(GByteArray *out, uint64_t value);
void aml_string(GByteArray *out, const char *text);      /* what is not ASCII becomes '?' */
void aml_hid(GByteArray *out, const char *id);           /* "PNP0303": EISA ID; else a string */
void aml_buffer(GByteArray *out, const GByteArray *bytes);
void aml_package(GByteArray *out, uint8_t count, const GByteArray *elements);

/* Named objects; `name` is one segment of four characters, with a '\' before it if absolute. */
void aml_name(GByteArray *out, const char *name); /* the object must follow */
void aml_scope(GByteArray *out, const char *name, const GByteArray *body);
void aml_device(GByteArray *out, const char *name, const GByteArray *body);

/* Resource descriptors, the contents of a _CRS buffer. */
void aml_res_io(GByteArray *out, uint16_t base, uint32_t size);
void aml_res_memory(GByteArray *out, uint64_t base, uint64_t size);
void aml_res_irq(GByteArray *out, uint32_t gsi, bool level);
/* Windows of a bridge: what it passes on. */
void aml_res_window_bus(GByteArray *out, uint8_t first, uint8_t last);
void aml_res_window_io(GByteArray *out, uint16_t base, uint32_t size);
void aml_res_window_memory(GByteArray *out, uint64_t base, uint64_t size);
void aml_res_end(GByteArray *out);

#endif
