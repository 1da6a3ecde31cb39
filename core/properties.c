/*
 * core/properties.c - values of a section to the members that a property table names.
 */
#include "core/properties.h"

#include <inttypes.h>
#include <string.h>

size_t vmr_property_size(VmrPropertyType type)
{
    switch (type) {
    case VMR_PROP_BOOL:
        return sizeof(bool);
    case VMR_PROP_U32:
    case VMR_PROP_ENUM:
        return sizeof(uint32_t);
    case VMR_PROP_U64:
    case VMR_PROP_SIZE:
        return sizeof(uint64_t);
    case VMR_PROP_STRING:
    case VMR_PROP_PATH:
    case VMR_PROP_CHARDEV:
    case VMR_PROP_DRIVE:
    case VMR_PROP_NET:
    case VMR_PROP_DISPLAY:
        return sizeof(void *);
    case VMR_PROP_LINK:
        return sizeof(VmrLink);
    }
    return 0;
}

const char *vmr_property_type_name(VmrPropertyType type)
{
    static const char *const names[] = {
        [VMR_PROP_BOOL] = "bool",   [VMR_PROP_U32] = "u32",       [VMR_PROP_U64] = "u64",
        [VMR_PROP_SIZE] = "size",   [VMR_PROP_STRING] = "string", [VMR_PROP_PATH] = "path",
        [VMR_PROP_ENUM] = "enum",   [VMR_PROP_LINK] = "link",     [VMR_PROP_CHARDEV] = "chardev",
        [VMR_PROP_DRIVE] = "drive", [VMR_PROP_NET] = "net",       [VMR_PROP_DISPLAY] = "display",
    };
    return type < G_N_ELEMENTS(names) ? names[type] : "unknown";
}

/* Bounds in the way that the type is written. */
static void append_range(GString *s, const VmrProperty *p)
{
    if (!p->min && !p->max)
        return;
    const char *text[2];
    char *made[2];
    uint64_t bound[2] = {p->min, p->max};
    for (unsigned i = 0; i < 2; i++) {
        static const char suffix[] = "TGMK";
        made[i] = NULL;
        for (unsigned j = 0; p->type == VMR_PROP_SIZE && j < 4 && !made[i]; j++) {
            unsigned shift = 40 - 10 * j;
            if (bound[i] && !(bound[i] & (((uint64_t)1 << shift) - 1)))
                made[i] = g_strdup_printf("%" PRIu64 "%c", bound[i] >> shift, suffix[j]);
        }
        if (!made[i])
            made[i] = g_strdup_printf("%" PRIu64, bound[i]);
        text[i] = made[i];
    }
    g_string_append_printf(s, ", %s..%s", text[0], text[1]);
    g_free(made[0]);
    g_free(made[1]);
}

char *vmr_property_wanted(const VmrProperty *p)
{
    GString *s = g_string_new(NULL);
    switch (p->type) {
    case VMR_PROP_BOOL:
        g_string_append(s, "on or off");
        break;
    case VMR_PROP_U32:
    case VMR_PROP_U64:
        g_string_append(s, "a number");
        append_range(s, p);
        break;
    case VMR_PROP_SIZE:
        g_string_append(s, "a size (64K, 512M, 2G)");
        append_range(s, p);
        break;
    case VMR_PROP_STRING:
        g_string_append(s, "a text");
        break;
    case VMR_PROP_PATH:
        g_string_append(s, "a path");
        break;
    case VMR_PROP_ENUM:
        g_string_append(s, "one of");
        for (unsigned i = 0; p->names && p->names[i]; i++)
            g_string_append_printf(s, "%s %s", i ? "," : "", p->names[i]);
        break;
    case VMR_PROP_LINK:
        g_string_append_printf(s, "a device that offers %s", p->interface);
        break;
    default:
        g_string_append_printf(s, "the name of a [%s]", vmr_property_type_name(p->type));
        break;
    }
    if (p->unit && p->type != VMR_PROP_SIZE)
        g_string_append_printf(s, ", %s", p->unit);
    return g_string_free(s, FALSE);
}

char *vmr_property_parse(const VmrProperty *p, const char *text, VmrPropertyValue *value)
{
    guint64 number = 0;
    bool ok = true;

    switch (p->type) {
    case VMR_PROP_BOOL:
        ok = vmr_parse_bool(text, &value->flag);
        break;
    case VMR_PROP_U32:
    case VMR_PROP_U64:
    case VMR_PROP_SIZE:
        ok = p->type == VMR_PROP_SIZE ? vmr_parse_size(text, &number)
                                      : vmr_parse_number(text, &number);
        if (p->min || p->max)
            ok = ok && number >= p->min && number <= p->max;
        if (p->type == VMR_PROP_U32)
            ok = ok && number <= UINT32_MAX;
        value->number = number;
        break;
    case VMR_PROP_ENUM:
        ok = false;
        for (unsigned i = 0; p->names[i] && !ok; i++) {
            ok = strcmp(p->names[i], text) == 0;
            value->number = i;
        }
        break;
    default:
        break;
    }
    if (ok)
        return NULL;
    char *wanted = vmr_property_wanted(p);
    char *hint = vmr_nearest_hint(text, p->type == VMR_PROP_ENUM ? p->names : NULL);
    char *message = g_strdup_printf("%s is wanted%s", wanted, hint);
    g_free(wanted);
    g_free(hint);
    return message;
}

/* Links and back ends are names: an empty one is none, so that a file can undo its include. */
static bool is_reference(const VmrProperty *p)
{
    return p->type >= VMR_PROP_LINK;
}

const char *vmr_property_text(const VmrProperty *p, const VmrSection *section, VmrPlace *place)
{
    const VmrValue *v = section ? vmr_section_value(section, p->name) : NULL;
    const char *text = v ? v->text : p->default_text;
    if (v)
        *place = v->place;
    if ((v && v->broken) || !text || !*text || (is_reference(p) && strcmp(text, "none") == 0))
        return NULL;
    return text;
}

static void apply_one(const VmrProperty *p, uint8_t *base, const VmrSection *section,
                      VmrPlace place, VmrErrors *errors)
{
    const VmrValue *v = section ? vmr_section_value(section, p->name) : NULL;
    const char *text = v ? v->text : p->default_text;
    const char *title = section ? section->title : NULL;
    uint8_t *to = base + p->offset;
    VmrPropertyValue value = {.number = 0};

    if (v && v->broken)
        return;
    if (is_reference(p)) {
        text = vmr_property_text(p, section, &place);
        if (!text && (p->flags & VMR_PROP_REQUIRED))
            vmr_errors_add(errors, v ? v->place : place, title, p->name,
                           "it must be set: %s", p->doc ? p->doc : "");
        return;
    }
    if (!text) {
        if (p->flags & VMR_PROP_REQUIRED)
            vmr_errors_add(errors, place, title, p->name, "it must be set: %s",
                           p->doc ? p->doc : "");
        return;
    }
    char *message = vmr_property_parse(p, text, &value);
    if (message) {
        vmr_errors_add(errors, v ? v->place : place, title, p->name, "'%s': %s", text, message);
        g_free(message);
        return;
    }
    switch (p->type) {
    case VMR_PROP_BOOL:
        memcpy(to, &value.flag, sizeof(bool));
        break;
    case VMR_PROP_U32:
    case VMR_PROP_ENUM: {
        uint32_t n = (uint32_t)value.number;
        memcpy(to, &n, sizeof(n));
        break;
    }
    case VMR_PROP_U64:
    case VMR_PROP_SIZE:
        memcpy(to, &value.number, sizeof(uint64_t));
        break;
    case VMR_PROP_PATH:
        if (v)
            text = *text ? vmr_value_path_kept(v) : NULL;
        memcpy(to, &text, sizeof(text));
        break;
    default:
        memcpy(to, &text, sizeof(text));
        break;
    }
}

void vmr_properties_apply(const VmrProperty *table, void *base, const VmrSection *section,
                          VmrPlace place, VmrErrors *errors)
{
    for (; table && table->name; table++)
        apply_one(table, base, section, place, errors);
}

void vmr_section_check_keys(const VmrSection *section, const char *const *known, VmrErrors *errors)
{
    for (unsigned i = 0; i < section->values->len; i++) {
        const VmrValue *v = g_ptr_array_index(section->values, i);
        if (v->used)
            continue;
        char *hint = vmr_nearest_hint(v->key, known);
        vmr_errors_add(errors, v->place, section->title, v->key, "unknown key%s", hint);
        g_free(hint);
    }
}
