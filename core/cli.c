/*
 * core/cli.c - the table of options, --help, and where machine files are found.
 */
#include "core/cli.h"

#include "core/config.h"
#include "core/loader.h"

#include <string.h>

const char vmr_version[] = VMR_VERSION;

const VmrOption vmr_options[] = {
    {"machine", VMR_OPT_MACHINE, "FILE", "the machine file, or the name of one that is shipped"},
    {"accel", VMR_OPT_ACCEL, "NAME[,NAME]", "the first one that works; overrides the machine file"},
    {"set", VMR_OPT_SET, "SECTION.KEY=VALUE", "override one key of the machine file; repeatable"},
    {"kernel", VMR_OPT_KERNEL, "FILE", "short for --set boot.kernel=FILE"},
    {"initrd", VMR_OPT_INITRD, "FILE", "short for --set boot.initrd=FILE"},
    {"append", VMR_OPT_APPEND, "TEXT", "short for --set boot.cmdline=TEXT"},
    {"check", VMR_OPT_CHECK, NULL, "read and wire the whole machine, start nothing"},
    {"list", VMR_OPT_LIST, "[KIND]",
     "what there is, one a line: plugins, accels, cpus, machines, backends"},
    {"describe", VMR_OPT_DESCRIBE, "NAME",
     "all about a plugin (properties, regions, lines, state), a back end, 'machine' or 'boot'"},
    {"json", VMR_OPT_JSON, NULL, "--list and --describe for programs"},
    {"trace", VMR_OPT_TRACE, "CATS[:FILE]",
     "log io, irq, dma, exit, insn, memory, device, guest-error, unassigned, exception; 'all' is all but "
     "insn and memory; @NAME limits it to a device"},
    {"monitor", VMR_OPT_MONITOR, "unix:PATH",
     "serve QMP, QEMU's monitor protocol, on a UNIX socket; Ctrl-A c in the terminal is for people"},
    {"gdb", VMR_OPT_GDB, "ADDR",
     "serve GDB's remote protocol at unix:PATH, HOST:PORT or :PORT (of this host)"},
    {"wait", VMR_OPT_WAIT, NULL, "with --gdb: the guest begins when GDB lets it"},
    {"swap", VMR_OPT_SWAP, "EVENT:ACCEL",
     "run on with another accelerator at pc=ADDRESS, pc=SYMBOL, io=PORT, mmio=ADDRESS, irq=DEVICE:N or "
     "time=SECONDS; repeatable: each waits for the one before"},
    {"symbols", VMR_OPT_SYMBOLS, "FILE[:OFFSET]",
     "names of the guest's addresses: an ELF file, a System.map or /proc/kallsyms; OFFSET is added; "
     "repeatable"},
    {"save", VMR_OPT_SAVE, "FILE",
     "save the whole machine there when the run is ended from outside: by Ctrl-A x, a signal, the "
     "monitor's quit, or --time-limit"},
    {"restore", VMR_OPT_RESTORE, "FILE", "go on with a machine that was saved, instead of a reset"},
    {"time-limit", VMR_OPT_TIME_LIMIT, "SECONDS", "stop after so much host time, with status 124"},
    {"stats", VMR_OPT_STATS, NULL, "at the end, on standard error: instructions, exits, time"},
    {"version", VMR_OPT_VERSION, NULL, "print the version"},
    {"help", VMR_OPT_HELP, NULL, "print this"},
    {"man", VMR_OPT_MAN, NULL, NULL},
    {0},
};

/* A text in lines of `width`, each after the first indented. */
static void print_wrapped(FILE *to, const char *text, unsigned indent, unsigned width)
{
    char **words = g_strsplit(text, " ", 0);
    unsigned column = indent;
    for (unsigned i = 0; words[i]; i++) {
        unsigned length = (unsigned)strlen(words[i]);
        if (i && column + 1 + length > width) {
            fprintf(to, "\n%*s", (int)indent, "");
            column = indent;
        } else if (i) {
            fputc(' ', to);
            column++;
        }
        fputs(words[i], to);
        column += length;
    }
    fputc('\n', to);
    g_strfreev(words);
}

void vmr_print_help(FILE *to)
{
    fputs("Usage: vmrun --machine FILE [options]\n"
          "\n"
          "Make the machine that FILE describes and run it.\n"
          "\n",
          to);
    for (const VmrOption *o = vmr_options; o->name; o++) {
        if (!o->doc)
            continue;
        char *left = g_strdup_printf("  --%s %s", o->name, o->argument ? o->argument : "");
        fprintf(to, "%-30s", left);
        if (strlen(left) >= 30)
            fprintf(to, "\n%30s", "");
        print_wrapped(to, o->doc, 30, 90);
        g_free(left);
    }
    fputs("\n"
          "Exit status: 0 the guest powered off; its own through the debug-exit device; 1 a host\n"
          "error; 2 a usage, machine-file or plugin error; 3 the guest crashed; 124 the time "
          "limit.\n",
          to);
}

char *vmr_machine_file(const char *name)
{
    if (strchr(name, '/') || g_file_test(name, G_FILE_TEST_IS_REGULAR))
        return g_strdup(name);

    char **dirs = vmr_machine_dirs();
    char *found = NULL;
    GPtrArray *known = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; dirs[i] && !found; i++) {
        const char *suffix = g_str_has_suffix(name, ".conf") ? "" : ".conf";
        char *leaf = g_strconcat(name, suffix, NULL);
        found = g_build_filename(dirs[i], leaf, NULL);
        if (!g_file_test(found, G_FILE_TEST_IS_REGULAR))
            g_clear_pointer(&found, g_free);
        g_free(leaf);
        GDir *d = g_dir_open(dirs[i], 0, NULL);
        for (const char *entry; d && (entry = g_dir_read_name(d));)
            if (g_str_has_suffix(entry, ".conf"))
                g_ptr_array_add(known, g_strndup(entry, strlen(entry) - 5));
        if (d)
            g_dir_close(d);
    }
    if (!found && g_file_test(name, G_FILE_TEST_EXISTS)) {
        found = g_strdup(name); /* a folder or a pipe: reading it tells */
    } else if (!found) {
        g_ptr_array_add(known, NULL);
        char *hint = vmr_nearest_hint(name, (const char *const *)known->pdata);
        char *where = g_strjoinv(", ", dirs);
        fprintf(stderr, "vmrun: there is no machine file '%s', neither here nor in %s%s\n", name,
                *where ? where : "a folder of machines", hint);
        g_free(where);
        g_free(hint);
    }
    g_ptr_array_unref(known);
    g_strfreev(dirs);
    return found;
}
