/*
 * core/json.c - writing JSON (RFC 8259), indented.
 */
#include "core/json.h"

#include <glib.h>
#include <inttypes.h>

static void put_text(VmrJson *j, const char *text)
{
    char *valid = g_utf8_make_valid(text, -1);
    fputc('"', j->to);
    for (const unsigned char *p = (const unsigned char *)valid; *p; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(j->to, "\\%c", *p);
        else if (*p == '\n')
            fputs("\\n", j->to);
        else if (*p < 0x20)
            fprintf(j->to, "\\u%04x", *p);
        else
            fputc(*p, j->to);
    }
    fputc('"', j->to);
    g_free(valid);
}

static void begin(VmrJson *j, const char *key)
{
    if (j->filled)
        fputc(',', j->to);
    if (j->depth)
        fprintf(j->to, "\n%*s", (int)j->depth * 2, "");
    j->filled = true;
    if (key) {
        put_text(j, key);
        fputs(": ", j->to);
    }
}

void vmr_json_open(VmrJson *j, const char *key, char bracket)
{
    begin(j, key);
    fputc(bracket, j->to);
    j->depth++;
    j->filled = false;
}

void vmr_json_close(VmrJson *j, char bracket)
{
    j->depth--;
    if (j->filled)
        fprintf(j->to, "\n%*s", (int)j->depth * 2, "");
    fputc(bracket, j->to);
    j->filled = true;
    if (!j->depth)
        fputc('\n', j->to);
}

void vmr_json_string(VmrJson *j, const char *key, const char *value)
{
    begin(j, key);
    if (value)
        put_text(j, value);
    else
        fputs("null", j->to);
}

void vmr_json_number(VmrJson *j, const char *key, uint64_t value)
{
    begin(j, key);
    fprintf(j->to, "%" PRIu64, value);
}

void vmr_json_bool(VmrJson *j, const char *key, bool value)
{
    begin(j, key);
    fputs(value ? "true" : "false", j->to);
}
