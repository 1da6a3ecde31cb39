/*
 * core/dirs.c - where plugins and machine files are sought.
 *
 * In this order: an environment variable (a colon list), beside the program as
 * the build tree has it, and where `meson install` put them, also if the whole
 * prefix was moved.
 */
#include "core/loader.h"

/* From meson: relative to the prefix, unless the builder gave an absolute one. */
#ifndef VMR_PLUGIN_INSTALL_DIR
#define VMR_PLUGIN_INSTALL_DIR "lib/vmrun/plugins"
#endif
#ifndef VMR_MACHINE_INSTALL_DIR
#define VMR_MACHINE_INSTALL_DIR "share/vmrun/machines"
#endif
#ifndef VMR_PREFIX
#define VMR_PREFIX "/usr/local"
#endif

static void add_dir(GPtrArray *dirs, char *dir)
{
    char *clean = g_canonicalize_filename(dir, NULL);
    bool known = g_ptr_array_find_with_equal_func(dirs, clean, g_str_equal, NULL);
    if (!known && g_file_test(clean, G_FILE_TEST_IS_DIR))
        g_ptr_array_add(dirs, clean);
    else
        g_free(clean);
    g_free(dir);
}

static char **search_dirs(const char *variable, const char *leaf, const char *installed)
{
    GPtrArray *dirs = g_ptr_array_new();
    const char *list = g_getenv(variable);
    char **given = g_strsplit(list ? list : "", ":", 0);
    char *self = g_file_read_link("/proc/self/exe", NULL);

    for (unsigned i = 0; given[i]; i++)
        if (*given[i])
            add_dir(dirs, g_strdup(given[i]));
    g_strfreev(given);
    if (self) {
        char *beside = g_path_get_dirname(self);
        add_dir(dirs, g_build_filename(beside, leaf, NULL));
        add_dir(dirs, g_build_filename(beside, "..", leaf, NULL));
        char *prefix = g_path_get_dirname(beside);
        add_dir(dirs, g_canonicalize_filename(installed, prefix));
        g_free(prefix);
        g_free(beside);
        g_free(self);
    }
    add_dir(dirs, g_canonicalize_filename(installed, VMR_PREFIX));
    g_ptr_array_add(dirs, NULL);
    return (char **)g_ptr_array_free(dirs, FALSE);
}

char **vmr_plugin_dirs(void)
{
    return search_dirs("VMRUN_PLUGIN_DIR", "plugins", VMR_PLUGIN_INSTALL_DIR);
}

char **vmr_machine_dirs(void)
{
    return search_dirs("VMRUN_MACHINE_DIR", "machines", VMR_MACHINE_INSTALL_DIR);
}
