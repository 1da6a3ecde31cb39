/*
 * core/loader.h - plugins: found by name or path, checked, opened.
 *
 * A plugin stays open until the process ends; asking twice gives the same.
 * Every way to fail adds texts to `problems` (char *, g_free), which may be NULL.
 * All [main].
 */
#ifndef VMR_CORE_LOADER_H
#define VMR_CORE_LOADER_H

#include <vmrun/host.h>
#include <vmrun/plugin.h>

typedef struct VmrPluginFile {
    char *path;
    const VmrPlugin *plugin; /* NULL: refused */
    GPtrArray *classes;      /* const VmrDeviceClass *, checked */
} VmrPluginFile;

/* Is this a plugin that may be opened?  Reads the file only: no code of it runs. */
bool vmr_plugin_check_file(const char *path, GPtrArray *problems);
/* Check and open; NULL if refused. */
const VmrPluginFile *vmr_plugin_open(const char *path, GPtrArray *problems);

/* The class that `plugin = SPEC` means.  SPEC is a class's id, or with a slash a file, relative
   to `dir`; FILE:ID picks one of several classes. */
const VmrDeviceClass *vmr_device_class_find(const char *spec, const char *dir,
                                            GPtrArray *problems);
/* All plugins in the search folders: VmrPluginFile *, by name.  Those that are refused go to
   problems.  Free with g_ptr_array_unref. */
GPtrArray *vmr_plugin_open_all(GPtrArray *problems);

/* Where plugins (and machine files) are sought; those that exist, in order.  g_strfreev. */
char **vmr_plugin_dirs(void);
char **vmr_machine_dirs(void);

/* Everything that is wrong with a class's tables goes to problems; true if nothing is. */
bool vmr_device_class_check(const VmrDeviceClass *klass, GPtrArray *problems);
bool vmr_name_is_kebab(const char *name);

G_GNUC_PRINTF(2, 3) void vmr_problem_add(GPtrArray *problems, const char *format, ...);

#endif
