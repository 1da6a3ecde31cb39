/*
 * core/machine-value.c - what a device may know of [machine] and [boot].
 */
#include "config.h"
#include "runtime.h"

#include <string.h>

/* Keys of [boot] that name files. */
static const char *const path_keys[] = {"kernel", "initrd", "firmware", "dtb", NULL};

const char *vmr_machine_value_text(VmrMachine *m, const char *section, const char *key)
{
    bool boot = !strcmp(section, "boot");
    if (!m->config || (!boot && strcmp(section, "machine")))
        return NULL;
    const VmrSection *s = vmr_config_section(m->config, section, "");
    const VmrValue *v = s ? vmr_section_value(s, key) : NULL;
    if (!v)
        return NULL;
    if (!boot || !g_strv_contains(path_keys, key))
        return v->text;
    char *name = g_strdup_printf("%s.%s", section, key);
    vmr_domain_lock(m->domain); /* [any], and the table is shared */
    const char *path = g_hash_table_lookup(m->priv->values, name);
    if (!path) {
        char *made = vmr_value_path(v);
        path = made;
        g_hash_table_insert(m->priv->values, g_strdup(name), made);
    }
    vmr_domain_unlock(m->domain);
    g_free(name);
    return path;
}
