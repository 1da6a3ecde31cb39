/*
 * core/json.h - writing JSON (RFC 8259), indented, with nothing to get wrong.
 *
 * key is NULL within an array.
 */
#ifndef VMR_CORE_JSON_H
#define VMR_CORE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct VmrJson {
    FILE *to;
    unsigned depth;
    bool filled; /* there is something before, in this object or array */
} VmrJson;

void vmr_json_open(VmrJson *j, const char *key, char bracket);
void vmr_json_close(VmrJson *j, char bracket);
void vmr_json_string(VmrJson *j, const char *key, const char *value); /* NULL: null */
void vmr_json_number(VmrJson *j, const char *key, uint64_t value);
void vmr_json_bool(VmrJson *j, const char *key, bool value);

#endif
