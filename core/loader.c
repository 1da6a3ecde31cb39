/*
 * core/loader.c - plugins: found by name or path, checked, opened.
 *
 * The file is checked before dlopen (elfcheck.c), the classes' tables after it
 * (classcheck.c): they have pointers, which only the dynamic loader can set.
 * A plugin is bound at once and privately, so that a missing symbol is told
 * here and two plugins cannot see each other's.
 */
#include "core/loader.h"
#include "core/config.h"

#include <gmodule.h>
#include <string.h>

#define FACTORIES_MAX 64

void vmr_problem_add(GPtrArray *problems, const char *format, ...)
{
    if (!problems)
        return;
    va_list args;
    va_start(args, format);
    g_ptr_array_add(problems, g_strdup_vprintf(format, args));
    va_end(args);
}

/* All that were ever asked for, by path: VmrPluginFile * with what was wrong with it. */
typedef struct Opened {
    VmrPluginFile file;
    GPtrArray *problems;
} Opened;

static GHashTable *opened; /* [main] */

static const VmrDeviceClass *class_of(const VmrPluginFile *f, const char *id)
{
    for (unsigned i = 0; i < f->classes->len; i++) {
        const VmrDeviceClass *klass = g_ptr_array_index(f->classes, i);
        if (strcmp(klass->id, id) == 0)
            return klass;
    }
    return NULL;
}

static void take_factories(Opened *o, const VmrPlugin *plugin)
{
    unsigned n = 0;
    bool good = true;
    for (const VmrFactory *const *f = plugin->factories; f && *f; f++, n++) {
        if (n == FACTORIES_MAX) {
            vmr_problem_add(o->problems, "%s: the list of factories has no end", o->file.path);
            good = false;
            break;
        }
        if (!(*f)->id || !(*f)->object) {
            vmr_problem_add(o->problems, "%s: factory %u has no %s", o->file.path, n,
                            (*f)->id ? "object" : "id");
            good = false;
            continue;
        }
        if (strcmp((*f)->id, VMR_FACTORY_DEVICE) != 0)
            continue;
        const VmrDeviceClass *klass = (*f)->object;
        GPtrArray *faults = g_ptr_array_new_with_free_func(g_free);
        if (!vmr_device_class_check(klass, faults)) {
            for (unsigned i = 0; i < faults->len; i++)
                vmr_problem_add(o->problems, "%s: %s", o->file.path,
                                (const char *)g_ptr_array_index(faults, i));
            good = false;
        } else if (class_of(&o->file, klass->id)) {
            vmr_problem_add(o->problems, "%s: two classes have the id %s", o->file.path, klass->id);
            good = false;
        } else {
            g_ptr_array_add(o->file.classes, (gpointer)klass);
        }
        g_ptr_array_unref(faults);
    }
    if (!n) {
        vmr_problem_add(o->problems, "%s: the plugin has no factories", o->file.path);
        good = false;
    }
    if (good)
        o->file.plugin = plugin;
}

static void open_file(Opened *o)
{
    const VmrPlugin *plugin = NULL;
    if (!vmr_plugin_check_file(o->file.path, o->problems))
        return;
    GModule *module = g_module_open(o->file.path, G_MODULE_BIND_LOCAL);
    if (!module || !g_module_symbol(module, VMR_PLUGIN_SYMBOL, (gpointer *)&plugin) || !plugin) {
        vmr_problem_add(o->problems, "%s: cannot be opened: %s", o->file.path, g_module_error());
        return;
    }
    /* Classes and code of it may be pointed to from anywhere from now on. */
    g_module_make_resident(module);
    if (plugin->magic != VMR_PLUGIN_MAGIC || plugin->abi_major != VMR_ABI_MAJOR) {
        vmr_problem_add(o->problems, "%s: the file changed while it was opened", o->file.path);
        return;
    }
    if (!plugin->name || !plugin->version || !plugin->factories) {
        vmr_problem_add(o->problems, "%s: the plugin has no %s", o->file.path,
                        !plugin->name ? "name" : !plugin->version ? "version" : "factories");
        return;
    }
    take_factories(o, plugin);
}

const VmrPluginFile *vmr_plugin_open(const char *path, GPtrArray *problems)
{
    char *real = realpath(path, NULL);
    char *key = g_canonicalize_filename(real ? real : path, NULL);
    free(real);
    if (!opened)
        opened = g_hash_table_new(g_str_hash, g_str_equal);
    Opened *o = g_hash_table_lookup(opened, key);
    if (!o) {
        o = g_new0(Opened, 1);
        o->file.path = key;
        o->file.classes = g_ptr_array_new();
        o->problems = g_ptr_array_new_with_free_func(g_free);
        g_hash_table_insert(opened, o->file.path, o);
        open_file(o);
    } else {
        g_free(key);
    }
    for (unsigned i = 0; i < o->problems->len; i++)
        vmr_problem_add(problems, "%s", (const char *)g_ptr_array_index(o->problems, i));
    return o->file.plugin ? &o->file : NULL;
}

/* ---- by name ---------------------------------------------------------- */

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The plugin files of a folder, in order of their names; a missing folder has none. */
static GPtrArray *files_of(const char *dir)
{
    GPtrArray *files = g_ptr_array_new_with_free_func(g_free);
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;
    while (d && (name = g_dir_read_name(d)))
        if (g_str_has_suffix(name, "." G_MODULE_SUFFIX))
            g_ptr_array_add(files, g_build_filename(dir, name, NULL));
    if (d)
        g_dir_close(d);
    g_ptr_array_sort(files, compare_names);
    return files;
}

GPtrArray *vmr_plugin_open_all(GPtrArray *problems)
{
    GPtrArray *all = g_ptr_array_new();
    GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    char **dirs = vmr_plugin_dirs();
    for (unsigned i = 0; dirs[i]; i++) {
        GPtrArray *files = files_of(dirs[i]);
        for (unsigned j = 0; j < files->len; j++) {
            const char *path = g_ptr_array_index(files, j);
            /* An earlier folder's file hides a later one's, as for `plugin =`. */
            if (!g_hash_table_add(names, g_path_get_basename(path)))
                continue;
            const VmrPluginFile *f = vmr_plugin_open(path, problems);
            if (f)
                g_ptr_array_add(all, (gpointer)f);
        }
        g_ptr_array_unref(files);
    }
    g_strfreev(dirs);
    g_hash_table_unref(names);
    return all;
}

static const VmrDeviceClass *find_by_path(const char *spec, const char *dir, GPtrArray *problems)
{
    const char *colon = strrchr(spec, ':');
    if (colon && strchr(colon, '/'))
        colon = NULL;
    char *name = colon ? g_strndup(spec, (size_t)(colon - spec)) : g_strdup(spec);
    char *path = g_canonicalize_filename(name, dir);
    const VmrPluginFile *f = vmr_plugin_open(path, problems);
    const VmrDeviceClass *klass = NULL;

    if (f && colon) {
        klass = class_of(f, colon + 1);
        if (!klass)
            vmr_problem_add(problems, "%s has no class '%s'", path, colon + 1);
    } else if (f && f->classes->len == 1) {
        klass = g_ptr_array_index(f->classes, 0);
    } else if (f && f->classes->len == 0) {
        vmr_problem_add(problems, "%s has no device", path);
    } else if (f) {
        GString *ids = g_string_new(NULL);
        for (unsigned i = 0; i < f->classes->len; i++) {
            const VmrDeviceClass *c = g_ptr_array_index(f->classes, i);
            g_string_append_printf(ids, "%s%s", i ? ", " : "", c->id);
        }
        vmr_problem_add(problems, "%s has several devices: write %s:ID with one of %s", path, spec,
                        ids->str);
        g_string_free(ids, TRUE);
    }
    g_free(path);
    g_free(name);
    return klass;
}

static void unknown_plugin(const char *spec, const GPtrArray *all, GPtrArray *problems)
{
    GPtrArray *known = g_ptr_array_new();
    for (unsigned i = 0; i < all->len; i++) {
        const VmrPluginFile *f = g_ptr_array_index(all, i);
        for (unsigned j = 0; j < f->classes->len; j++)
            g_ptr_array_add(
                known, (gpointer)((const VmrDeviceClass *)g_ptr_array_index(f->classes, j))->id);
    }
    g_ptr_array_add(known, NULL);
    char *hint = vmr_nearest_hint(spec, (const char *const *)known->pdata);
    char **dirs = vmr_plugin_dirs();
    char *where = g_strjoinv(", ", dirs);
    vmr_problem_add(problems, "no plugin '%s' in %s%s", spec, *where ? where : "any folder", hint);
    g_free(where);
    g_strfreev(dirs);
    g_free(hint);
    g_ptr_array_unref(known);
}

const VmrDeviceClass *vmr_device_class_find(const char *spec, const char *dir, GPtrArray *problems)
{
    if (strchr(spec, '/'))
        return find_by_path(spec, dir, problems);

    const VmrDeviceClass *klass = NULL;
    char **dirs = vmr_plugin_dirs();
    char *file = g_strconcat(spec, "." G_MODULE_SUFFIX, NULL);
    bool refused = false;
    for (unsigned i = 0; dirs[i] && !klass && !refused; i++) {
        char *path = g_build_filename(dirs[i], file, NULL);
        if (g_file_test(path, G_FILE_TEST_EXISTS)) {
            const VmrPluginFile *f = vmr_plugin_open(path, problems);
            refused = f == NULL;
            klass = f ? class_of(f, spec) : NULL;
        }
        g_free(path);
    }
    g_free(file);
    g_strfreev(dirs);
    if (klass || refused)
        return klass;
    /* A class in a file of another name. */
    GPtrArray *all = vmr_plugin_open_all(NULL);
    for (unsigned i = 0; i < all->len && !klass; i++)
        klass = class_of(g_ptr_array_index(all, i), spec);
    if (!klass)
        unknown_plugin(spec, all, problems);
    g_ptr_array_unref(all);
    return klass;
}
