/*
 * core/chardev-options.c - a [chardev NAME] section to a back end.
 */
#include "chardev.h"

#include <string.h>

static const VmrChardevClass *find_class(const char *type)
{
    for (unsigned i = 0; vmr_chardev_classes[i]; i++)
        if (!strcmp(vmr_chardev_classes[i]->type, type))
            return vmr_chardev_classes[i];
    return NULL;
}

static void no_class(const VmrSection *section, const VmrValue *v, VmrErrors *errors)
{
    const char *names[16] = {NULL};
    GString *all = g_string_new(NULL);
    for (unsigned i = 0; vmr_chardev_classes[i] && i + 1 < G_N_ELEMENTS(names); i++) {
        names[i] = vmr_chardev_classes[i]->type;
        g_string_append_printf(all, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = vmr_nearest(v->text, names);
    if (near)
        vmr_errors_add(errors, v->place, section->title, "type",
                       "no type \"%s\"; did you mean \"%s\"?", v->text, near);
    else
        vmr_errors_add(errors, v->place, section->title, "type", "no type \"%s\"; there are %s",
                       v->text, all->str);
    g_string_free(all, TRUE);
}

/* The text of one option into its place; strings are the caller's to free. */
static bool take(const VmrProperty *p, const VmrSection *section, VmrChardevOptions *options,
                 VmrErrors *errors)
{
    char *at = (char *)options + p->offset;
    const VmrValue *v = vmr_section_value(section, p->name);
    if (!v && (p->flags & VMR_PROP_REQUIRED)) {
        vmr_errors_add(errors, section->place, section->title, p->name, "is needed: %s", p->doc);
        return false;
    }
    const char *text = v ? v->text : p->default_text;
    if (p->type == VMR_PROP_PATH) {
        *(char **)at = v ? vmr_value_path(v) : g_strdup(text);
    } else if (text && !vmr_parse_bool(text, (bool *)at)) {
        vmr_errors_add(errors, v ? v->place : section->place, section->title, p->name,
                       "\"%s\" is neither on nor off", text);
        return false;
    }
    return true;
}

VmrChardev *vmr_chardev_new(VmrMachine *m, const VmrSection *section, VmrErrors *errors)
{
    const VmrValue *type = vmr_section_value(section, "type");
    if (!type) {
        vmr_errors_add(errors, section->place, section->title, "type", "is needed");
        return NULL;
    }
    const VmrChardevClass *klass = find_class(type->text);
    if (!klass) {
        no_class(section, type, errors);
        return NULL;
    }
    VmrChardevOptions options = {0};
    bool ok = true;
    for (const VmrProperty *p = klass->properties; p && p->name; p++)
        ok = take(p, section, &options, errors) && ok;
    VmrChardev *c = ok ? vmr_chardev_make(m, section->name, klass, &options) : NULL;
    g_free((char *)options.path);
    g_free((char *)options.input);
    return c;
}
