/*
 * core/errors.c - the errors of a machine file, kept until all are found.
 *
 * One line an error, in the order they were found:
 *     FILE:LINE: [section] key: message
 * where each part that is not known is left out.
 */
#include "core/config.h"

#include <string.h>

/* A broken file should not bury its reader: the rest is counted. */
#define ERRORS_SHOWN 100

struct VmrErrors {
    GPtrArray *lines; /* char * */
};

VmrErrors *vmr_errors_new(void)
{
    VmrErrors *errors = g_new0(VmrErrors, 1);
    errors->lines = g_ptr_array_new_with_free_func(g_free);
    return errors;
}

void vmr_errors_free(VmrErrors *errors)
{
    if (!errors)
        return;
    g_ptr_array_unref(errors->lines);
    g_free(errors);
}

/* Texts come from files that nobody has checked: no control character and no
   broken UTF-8 may reach the terminal. */
static char *printable(const char *text)
{
    char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);
    for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            g_string_append_printf(out, "\\x%02x", (unsigned)c);
        else
            g_string_append_unichar(out, c);
    }
    g_free(valid);
    return g_string_free(out, FALSE);
}

void vmr_errors_add(VmrErrors *errors, VmrPlace place, const char *section, const char *key,
                    const char *format, ...)
{
    GString *line = g_string_new(NULL);
    if (place.file && place.line)
        g_string_append_printf(line, "%s:%u: ", place.file, place.line);
    else if (place.file)
        g_string_append_printf(line, "%s: ", place.file);
    else
        g_string_append(line, "vmrun: ");
    if (section)
        g_string_append_printf(line, "[%s]%s", section, key ? " " : ": ");
    if (key)
        g_string_append_printf(line, "%s: ", key);
    va_list args;
    va_start(args, format);
    g_string_append_vprintf(line, format, args);
    va_end(args);
    g_ptr_array_add(errors->lines, printable(line->str));
    g_string_free(line, TRUE);
}

unsigned vmr_errors_count(const VmrErrors *errors)
{
    return errors->lines->len;
}

char *vmr_errors_text(const VmrErrors *errors)
{
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; i < errors->lines->len && i < ERRORS_SHOWN; i++)
        g_string_append_printf(text, "%s\n", (const char *)g_ptr_array_index(errors->lines, i));
    if (errors->lines->len > ERRORS_SHOWN)
        g_string_append_printf(text, "... and %u errors more\n", errors->lines->len - ERRORS_SHOWN);
    return g_string_free(text, FALSE);
}

void vmr_errors_print(const VmrErrors *errors, FILE *to)
{
    char *text = vmr_errors_text(errors);
    fputs(text, to);
    g_free(text);
}
