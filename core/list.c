/*
 * core/list.c - vmrun --list: what there is.
 */
#include "core/accel.h"
#include "core/chardev.h"
#include "core/cli.h"
#include "core/json.h"
#include "core/loader.h"
#include "core/net.h"

#include <string.h>

typedef struct List {
    FILE *to;
    VmrJson *json; /* NULL: text */
    bool kinds;    /* text: begin lines with the kind */
} List;

/* One entry; `extra` names a further text, for JSON only. */
static void entry(const List *l, const char *kind, const char *name, const char *summary,
                  const char *extra, const char *text)
{
    if (l->json) {
        vmr_json_open(l->json, NULL, '{');
        vmr_json_string(l->json, "kind", kind);
        vmr_json_string(l->json, "name", name);
        vmr_json_string(l->json, "summary", summary);
        if (extra)
            vmr_json_string(l->json, extra, text);
        vmr_json_close(l->json, '}');
        return;
    }
    if (l->kinds)
        fprintf(l->to, "%-9s", kind);
    if (summary && *summary)
        fprintf(l->to, "%-15s %s\n", name, summary);
    else
        fprintf(l->to, "%s\n", name);
}

static void list_plugins(const List *l)
{
    GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
    GPtrArray *all = vmr_plugin_open_all(problems);
    for (unsigned i = 0; i < all->len; i++) {
        const VmrPluginFile *f = g_ptr_array_index(all, i);
        for (unsigned j = 0; j < f->classes->len; j++) {
            const VmrDeviceClass *klass = g_ptr_array_index(f->classes, j);
            entry(l, "plugin", klass->id, klass->summary, "file", f->path);
        }
    }
    for (unsigned i = 0; i < problems->len; i++)
        fprintf(stderr, "vmrun: %s\n", (const char *)g_ptr_array_index(problems, i));
    g_ptr_array_unref(all);
    g_ptr_array_unref(problems);
}

static void list_accels(const List *l)
{
    for (unsigned i = 0; vmr_accels[i]; i++) {
        const VmrAccelClass *a = vmr_accels[i];
        GError *error = NULL;
        bool works = !a->probe || a->probe(&error);
        const char *reason = works ? NULL : error ? error->message : "does not work here";
        if (l->json || works) {
            entry(l, "accel", a->name, a->summary, "unusable", reason);
        } else {
            char *summary = g_strdup_printf("%s (not here: %s)", a->summary, reason);
            entry(l, "accel", a->name, summary, NULL, NULL);
            g_free(summary);
        }
        g_clear_error(&error);
    }
}

/* Each model once for people, and once an accelerator for programs. */
static void list_cpus(const List *l)
{
    GHashTable *seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (unsigned i = 0; vmr_accels[i]; i++) {
        const char *const *models = vmr_accels[i]->cpu_models ? vmr_accels[i]->cpu_models() : NULL;
        for (; models && *models; models++) {
            char **parts = g_strsplit(*models, "\t", 2);
            if (parts[0] && (g_hash_table_add(seen, g_strdup(parts[0])) || l->json))
                entry(l, "cpu", parts[0], parts[1], "accel", vmr_accels[i]->name);
            g_strfreev(parts);
        }
    }
    g_hash_table_unref(seen);
}

/* [machine] summary, else the file's first comment. */
static char *machine_summary(const char *path)
{
    VmrErrors *errors = vmr_errors_new();
    VmrConfig *config = vmr_config_load(path, NULL, errors);
    const VmrSection *s = config ? vmr_config_section(config, "machine", "") : NULL;
    const VmrValue *v = s ? vmr_section_value(s, "summary") : NULL;
    char *summary = v ? g_strdup(v->text) : NULL, *text = NULL;
    vmr_config_free(config);
    vmr_errors_free(errors);
    if (!summary && g_file_get_contents(path, &text, NULL, NULL) && *text == '#') {
        text[strcspn(text, "\n")] = '\0';
        summary = g_strdup(g_strstrip(text + 1));
        if (g_str_has_suffix(summary, ":"))
            summary[strlen(summary) - 1] = '\0';
    }
    g_free(text);
    return summary;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void list_machines(const List *l)
{
    GHashTable *seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    char **dirs = vmr_machine_dirs();
    for (unsigned i = 0; dirs[i]; i++) {
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
        GDir *d = g_dir_open(dirs[i], 0, NULL);
        for (const char *name; d && (name = g_dir_read_name(d));)
            if (g_str_has_suffix(name, ".conf"))
                g_ptr_array_add(names, g_strdup(name));
        if (d)
            g_dir_close(d);
        g_ptr_array_sort(names, compare_names);
        for (unsigned j = 0; j < names->len; j++) {
            const char *name = g_ptr_array_index(names, j);
            if (!g_hash_table_add(seen, g_strdup(name)))
                continue;
            char *path = g_build_filename(dirs[i], name, NULL);
            char *bare = g_strndup(name, strlen(name) - 5);
            char *summary = machine_summary(path);
            entry(l, "machine", bare, summary, "file", path);
            g_free(summary);
            g_free(bare);
            g_free(path);
        }
        g_ptr_array_unref(names);
    }
    g_strfreev(dirs);
    g_hash_table_unref(seen);
}

static void list_backends(const List *l)
{
    for (unsigned i = 0; vmr_chardev_classes[i]; i++)
        entry(l, "backend", vmr_chardev_classes[i]->type, vmr_chardev_classes[i]->summary,
              "section", "chardev");
    entry(l, "backend", "display", "where a screen is shown: a picture, a text or the terminal",
          "section", "display");
    entry(l, "backend", "drive", "a disk image: a file or a block device", "section", "drive");
    for (unsigned i = 0; vmr_net_classes[i]; i++)
        entry(l, "backend", vmr_net_classes[i]->type, vmr_net_classes[i]->summary, "section",
              "net");
}

int vmr_list(const char *what, bool json, FILE *to)
{
    static const char *const names[] = {"plugins", "accels", "cpus", "machines", "backends", NULL};
    static void (*const lists[])(const List *) = {list_plugins, list_accels, list_cpus,
                                                  list_machines, list_backends};
    if (what && !g_strv_contains(names, what)) {
        char *hint = vmr_nearest_hint(what, names);
        fprintf(stderr,
                "vmrun: --list takes plugins, accels, cpus, machines or backends, not '%s'%s\n",
                what, hint);
        g_free(hint);
        return 2;
    }
    VmrJson j = {.to = to};
    List l = {to, json ? &j : NULL, what == NULL};
    if (json)
        vmr_json_open(&j, NULL, '[');
    for (unsigned i = 0; names[i]; i++)
        if (!what || strcmp(what, names[i]) == 0)
            lists[i](&l);
    if (json)
        vmr_json_close(&j, ']');
    return 0;
}
