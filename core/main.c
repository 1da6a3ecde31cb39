/*
 * core/main.c - the command line of vmrun.
 *
 * Options are long ones, `--name value` or `--name=value`, in full: what may be
 * shortened today would become ambiguous with the next option.
 */
#include "core/chardev.h"
#include "core/cli.h"
#include "core/config.h"
#include "core/gdb.h"
#include "core/machine.h"
#include "core/monitor.h"
#include "core/swap.h"
#include "core/symbols.h"
#include "core/wire.h"

#include <math.h>
#include <signal.h>
#include <string.h>

enum { STATUS_OK = 0, STATUS_USAGE = 2 };

typedef struct Arguments {
    const char *machine, *list, *describe, *trace, *save, *restore, *monitor, *gdb;
    bool wait, do_list, check, json, stats, version, help, man;
    double time_limit; /* 0: none */
    GPtrArray *sets;   /* char *, owned */
    GPtrArray *swaps, *symbols; /* const char * */
} Arguments;

G_GNUC_PRINTF(1, 2) static bool usage(const char *format, ...)
{
    va_list args;
    fputs("vmrun: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry 'vmrun --help'.\n", stderr);
    return false;
}

static bool unknown_option(const char *name)
{
    GPtrArray *known = g_ptr_array_new();
    for (const VmrOption *o = vmr_options; o->name; o++)
        if (o->doc)
            g_ptr_array_add(known, (gpointer)o->name);
    g_ptr_array_add(known, NULL);
    const char *near = vmr_nearest(name, (const char *const *)known->pdata);
    if (near)
        usage("unknown option '--%s'; did you mean '--%s'?", name, near);
    else
        usage("unknown option '--%s'", name);
    g_ptr_array_unref(known);
    return false;
}

static void add_set(Arguments *a, const char *prefix, const char *value)
{
    g_ptr_array_add(a->sets, g_strconcat(prefix, value, NULL));
}

static bool apply(Arguments *a, VmrOptionId id, const char *value)
{
    switch (id) {
    case VMR_OPT_MACHINE:
        if (a->machine)
            return usage("--machine is given twice");
        a->machine = value;
        break;
    case VMR_OPT_ACCEL:
        add_set(a, "machine.accel=", value);
        break;
    case VMR_OPT_SET:
        add_set(a, "", value);
        break;
    case VMR_OPT_KERNEL:
        add_set(a, "boot.kernel=", value);
        break;
    case VMR_OPT_INITRD:
        add_set(a, "boot.initrd=", value);
        break;
    case VMR_OPT_APPEND:
        add_set(a, "boot.cmdline=", value);
        break;
    case VMR_OPT_CHECK:
        a->check = true;
        break;
    case VMR_OPT_LIST:
        a->do_list = true;
        a->list = value;
        break;
    case VMR_OPT_JSON:
        a->json = true;
        break;
    case VMR_OPT_DESCRIBE:
        a->describe = value;
        break;
    case VMR_OPT_TRACE:
        a->trace = value;
        break;
    case VMR_OPT_MONITOR:
        a->monitor = value;
        break;
    case VMR_OPT_GDB:
        a->gdb = value;
        break;
    case VMR_OPT_WAIT:
        a->wait = true;
        break;
    case VMR_OPT_SWAP:
        g_ptr_array_add(a->swaps, (gpointer)value);
        break;
    case VMR_OPT_SYMBOLS:
        g_ptr_array_add(a->symbols, (gpointer)value);
        break;
    case VMR_OPT_SAVE:
        a->save = value;
        break;
    case VMR_OPT_RESTORE:
        a->restore = value;
        break;
    case VMR_OPT_TIME_LIMIT: {
        char *end;
        a->time_limit = g_ascii_strtod(value, &end);
        if (end == value || *end || !isfinite(a->time_limit) || a->time_limit <= 0)
            return usage("--time-limit: '%s' is not a number of seconds above 0", value);
        break;
    }
    case VMR_OPT_STATS:
        a->stats = true;
        break;
    case VMR_OPT_VERSION:
        a->version = true;
        break;
    case VMR_OPT_HELP:
        a->help = true;
        break;
    case VMR_OPT_MAN:
        a->man = true;
        break;
    }
    return true;
}

static bool parse_one(Arguments *a, char **argv, int argc, int *i)
{
    const char *word = argv[*i];
    if (strcmp(word, "-h") == 0)
        word = "--help";
    if (!g_str_has_prefix(word, "--") || !word[2])
        return usage("'%s' is not an option; a machine file is given with --machine", word);
    char *name = g_strndup(word + 2, strcspn(word + 2, "="));
    const char *value = strchr(word, '=') ? strchr(word, '=') + 1 : NULL;
    const VmrOption *o = vmr_options;
    bool ok;

    while (o->name && strcmp(o->name, name) != 0)
        o++;
    if (!o->name) {
        ok = unknown_option(name);
    } else if (!o->argument && value) {
        ok = usage("--%s takes no value", name);
    } else {
        bool optional = o->argument && *o->argument == '[';
        if (o->argument && !value && *i + 1 < argc && !(optional && *argv[*i + 1] == '-'))
            value = argv[++*i];
        ok = o->argument && !optional && !value ? usage("--%s needs a value: %s", name, o->argument)
                                                : apply(a, o->id, value);
    }
    g_free(name);
    return ok;
}

/* What needs the whole machine, before it runs. */
static bool prepare(const Arguments *a, VmrMachine *machine, GError **error)
{
    if (a->restore && !vmr_machine_set_restore(machine, a->restore, error))
        return false;
    for (unsigned i = 0; i < a->symbols->len; i++)
        if (!vmr_symbols_load(machine, a->symbols->pdata[i], error))
            return false;
    for (unsigned i = 0; i < a->swaps->len; i++)
        if (!vmr_swap_add(machine, a->swaps->pdata[i], error))
            return false;
    if (a->gdb && !vmr_gdb_listen(machine, a->gdb, a->wait, error))
        return false;
    return !a->monitor || vmr_monitor_listen(machine, a->monitor, error);
}

static int run(const Arguments *a, const VmrConfig *config, const char *file, VmrErrors *errors)
{
    GError *error = NULL;
    VmrMachine *machine = vmr_machine_wire(config, errors);
    int status = STATUS_USAGE;

    if (!machine) {
        vmr_errors_print(errors, stderr);
        return STATUS_USAGE;
    }
    if (a->check) {
        printf("%s: no errors; devices: %u\n", file, machine->devices->len);
        vmr_machine_free(machine);
        return STATUS_OK;
    }
    vmr_stats_enabled = a->stats;
    if ((a->trace && !vmr_trace_setup(a->trace, &error)) || !vmr_machine_realize(machine, &error) ||
        !prepare(a, machine, &error)) {
        fprintf(stderr, "%s%s\n", strstr(error->message, ": [") ? "" : "vmrun: ", error->message);
        g_clear_error(&error);
    } else {
        if (a->time_limit > 0)
            vmr_machine_set_time_limit(machine, a->time_limit);
        if (a->save)
            vmr_machine_set_save(machine, a->save);
        status = vmr_machine_run(machine);
        if (a->stats)
            vmr_machine_print_stats(machine, stderr);
    }
    vmr_machine_free(machine);
    vmr_trace_finish();
    return status;
}

static int load_and_run(Arguments *a)
{
    char *file = vmr_machine_file(a->machine);
    if (!file)
        return STATUS_USAGE;
    VmrErrors *errors = vmr_errors_new();
    g_ptr_array_add(a->sets, NULL);
    VmrConfig *config = vmr_config_load(file, (const char *const *)a->sets->pdata, errors);
    int status = STATUS_USAGE;
    if (config)
        status = run(a, config, file, errors);
    else
        vmr_errors_print(errors, stderr);
    vmr_config_free(config);
    vmr_errors_free(errors);
    g_free(file);
    return status;
}

int main(int argc, char **argv)
{
    Arguments a = {.sets = g_ptr_array_new_with_free_func(g_free), .swaps = g_ptr_array_new(),
                   .symbols = g_ptr_array_new()};
    int status = STATUS_OK;

    signal(SIGPIPE, SIG_IGN); /* a back end's peer may go away */
    for (int i = 1; i < argc; i++) {
        if (!parse_one(&a, argv, argc, &i)) {
            g_ptr_array_unref(a.sets);
            g_ptr_array_unref(a.swaps);
            g_ptr_array_unref(a.symbols);
            return STATUS_USAGE;
        }
    }
    if (a.help) {
        vmr_print_help(stdout);
    } else if (a.version) {
        printf("vmrun %s\n", vmr_version);
    } else if (a.man) {
        vmr_print_man(stdout);
    } else if (a.do_list) {
        status = vmr_list(a.list, a.json, stdout);
    } else if (a.describe) {
        status = vmr_describe(a.describe, a.json, stdout);
    } else if (!a.machine) {
        usage("--machine FILE is missing");
        status = STATUS_USAGE;
    } else if (a.wait && !a.gdb) {
        usage("--wait is for --gdb");
        status = STATUS_USAGE;
    } else {
        status = load_and_run(&a);
    }
    g_ptr_array_unref(a.sets);
    g_ptr_array_unref(a.swaps);
    g_ptr_array_unref(a.symbols);
    return status;
}
