/*
 * core/config-vars.c - values of a machine file: escapes, ${NAME} and $$.
 *
 * Bounds keep a hostile file from growing without end: on depth, which also ends
 * circles, on length, and on the number of variables, for empty ones have no length.
 */
#include "core/config-private.h"

#include <string.h>

#define EXPAND_DEPTH 16
#define EXPAND_MAX (256 * 1024)
#define EXPAND_STEPS 20000              /* of a whole machine file */
#define EXPAND_TOTAL (16 * 1024 * 1024) /* bytes, of a whole machine file */

static void expand_error(const VmrExpander *e, const char *message, const char *detail)
{
    vmr_errors_add(e->loader->errors, e->value->place, e->section ? e->section->title : NULL,
                   e->value->key, message, detail);
}

static void unknown_variable(const VmrExpander *e, const char *name)
{
    GPtrArray *known = g_ptr_array_new();
    for (unsigned i = 0; e->vars && i < e->vars->values->len; i++)
        g_ptr_array_add(known,
                        (gpointer)((VmrConfigValue *)g_ptr_array_index(e->vars->values, i))->v.key);
    char **environment = g_listenv();
    for (unsigned i = 0; environment[i]; i++)
        g_ptr_array_add(known, environment[i]);
    g_ptr_array_add(known, NULL);
    char *hint = vmr_nearest_hint(name, (const char *const *)known->pdata);
    char *detail =
        g_strdup_printf("${%s} is neither in [vars] nor in the environment%s", name, hint);
    expand_error(e, "%s", detail);
    g_free(detail);
    g_free(hint);
    g_ptr_array_unref(known);
    g_strfreev(environment);
}

static bool expand_into(VmrExpander *e, GString *out, const char *raw, unsigned depth);

static bool expand_variable(VmrExpander *e, GString *out, const char *name, unsigned depth)
{
    const VmrConfigValue *var = vmr_config_find_value(e->vars, name);
    const char *environment = var ? NULL : g_getenv(name);
    if (++e->loader->steps > EXPAND_STEPS || e->loader->expanded > EXPAND_TOTAL) {
        expand_error(e, "${%s}: too many variables", name);
        return false;
    }
    if (out->len == 0)
        e->dir = var ? var->v.dir : e->loader->cwd;
    if (var && var->literal) {
        g_string_append(out, var->raw);
        return true;
    }
    if (var) {
        if (depth == EXPAND_DEPTH) {
            expand_error(e, "${%s}: variables go in a circle, or too deep", name);
            return false;
        }
        return expand_into(e, out, var->raw, depth + 1);
    }
    if (!environment) {
        unknown_variable(e, name);
        return false;
    }
    if (!g_utf8_validate(environment, -1, NULL)) {
        expand_error(e, "${%s}: the environment's value is not UTF-8", name);
        return false;
    }
    g_string_append(out, environment);
    return true;
}

/* Escapes and variables of `raw`, appended to `out`; false after one error. */
static bool expand_into(VmrExpander *e, GString *out, const char *raw, unsigned depth)
{
    static const char escape_names[] = "sntr\\", escape_values[] = " \n\t\r\\";

    for (const char *p = raw; *p;) {
        if (out->len > EXPAND_MAX) {
            expand_error(e, "the value becomes too long%s", "");
            return false;
        }
        if (*p == '\\') {
            const char *at = p[1] ? strchr(escape_names, p[1]) : NULL;
            if (!at) {
                expand_error(e, "a backslash goes before s, n, t, r or a backslash%s", "");
                return false;
            }
            g_string_append_c(out, escape_values[at - escape_names]);
            p += 2;
        } else if (*p == '$' && p[1] == '$') {
            g_string_append_c(out, '$');
            p += 2;
        } else if (*p == '$') {
            const char *close = p[1] == '{' ? strchr(p, '}') : NULL;
            if (!close) {
                expand_error(e, "a '$' alone: write ${NAME}, or $$ for a dollar%s", "");
                return false;
            }
            char *name = g_strndup(p + 2, (size_t)(close - p - 2));
            bool ok = expand_variable(e, out, name, depth);
            g_free(name);
            if (!ok)
                return false;
            p = close + 1;
        } else {
            g_string_append_c(out, *p++);
        }
    }
    return true;
}

bool vmr_config_expand(VmrExpander *e, GString *out, const char *raw)
{
    return expand_into(e, out, raw, 0);
}

void vmr_config_expand_all(VmrConfigLoader *l)
{
    VmrConfig *config = l->config;
    const VmrSection *vars = vmr_config_find_section(config->sections, "vars", "");
    for (unsigned i = 0; i < config->sections->len; i++) {
        const VmrSection *section = g_ptr_array_index(config->sections, i);
        for (unsigned j = 0; j < section->values->len; j++) {
            VmrConfigValue *v = g_ptr_array_index(section->values, j);
            if (v->literal) {
                v->v.text = v->raw;
                continue;
            }
            VmrExpander e = {.loader = l, .vars = vars, .section = section, .value = &v->v};
            GString *out = g_string_new(NULL);
            if (!expand_into(&e, out, v->raw, 0)) {
                g_string_truncate(out, 0);
                v->v.broken = true;
            }
            l->expanded += out->len;
            v->v.text = g_string_chunk_insert(config->strings, out->str);
            if (e.dir)
                v->v.dir = e.dir;
            g_string_free(out, TRUE);
        }
    }
}
