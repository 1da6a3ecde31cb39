/*
 * core/monitor-human.c - the monitor's commands for people.
 */
#include "monitor.h"

#include "runtime.h"
#include "swap.h"

#include <string.h>

typedef struct Command {
    const char *name, *arguments;
    unsigned min, max; /* how many arguments */
    void (*run)(VmrMachine *m, char **words, GString *to);
    const char *doc;
} Command;

static const Command commands[];

static void say(GString *to, bool ok, GError *error)
{
    if (!ok)
        g_string_append_printf(to, "error: %s\n", error->message);
    g_clear_error(&error);
}

static void help(VmrMachine *m, char **words, GString *to)
{
    for (const Command *c = commands; c->name; c++) {
        char *left = g_strdup_printf("%s %s", c->name, c->arguments);
        g_string_append_printf(to, "%-28s %s\n", left, c->doc);
        g_free(left);
    }
}

static void info(VmrMachine *m, char **words, GString *to)
{
    if (!vmr_monitor_info(m, words[1], to))
        g_string_append_printf(to, "error: no info about '%s': there are status, version, cpus, "
                               "registers, mtree, irq, devices, balloon\n", words[1]);
}

static void stop(VmrMachine *m, char **words, GString *to)
{
    GError *error = NULL;
    say(to, vmr_machine_stop(m, &error), error);
}

static void cont(VmrMachine *m, char **words, GString *to)
{
    vmr_machine_cont(m);
}

static void quit(VmrMachine *m, char **words, GString *to)
{
    vmr_machine_leave(m, 0, NULL);
}

static void system_reset(VmrMachine *m, char **words, GString *to)
{
    m->priv->reset_by_user = true;
    vmr_machine_request(m, VMR_REQUEST_RESET, 0);
}

static void system_powerdown(VmrMachine *m, char **words, GString *to)
{
    GError *error = NULL;
    say(to, vmr_machine_powerdown(m, &error), error);
}

static void savevm(VmrMachine *m, char **words, GString *to)
{
    GError *error = NULL;
    say(to, vmr_machine_savevm(m, words[1], &error), error);
}

static void screendump(VmrMachine *m, char **words, GString *to)
{
    GError *error = NULL;
    say(to, vmr_machine_screendump(m, words[1], &error), error);
}

static void sendkey(VmrMachine *m, char **words, GString *to)
{
    GError *error = NULL;
    char **keys = g_strsplit(words[1], "-", 0);
    say(to, vmr_machine_send_keys(m, (const char *const *)keys, 100, &error), error);
    g_strfreev(keys);
}

static void balloon(VmrMachine *m, char **words, GString *to)
{
    GError *error = NULL;
    guint64 mib;
    if (!g_ascii_string_to_unsigned(words[1], 10, 1, G_MAXUINT32, &mib, NULL))
        g_string_append(to, "error: balloon MIB: how much memory the guest is to have\n");
    else
        say(to, vmr_machine_balloon(m, mib << 20, &error), error);
}

static void dump(VmrMachine *m, char **words, GString *to)
{
    bool physical = !strcmp(words[0], "xp"), format = *words[1] == '/';
    if (format == !words[2])
        g_string_append_printf(to, "error: %s [/COUNT FORMAT SIZE] ADDRESS, as in %s /8xw $rsp\n",
                               words[0], words[0]);
    else
        vmr_monitor_dump(m, format ? words[1] + 1 : "", words[format ? 2 : 1], physical, to);
}

static void cpu(VmrMachine *m, char **words, GString *to)
{
    guint64 n;
    if (g_ascii_string_to_unsigned(words[1], 0, 0, m->cpu_count - 1, &n, NULL))
        m->priv->monitor_cpu = (unsigned)n;
    else
        g_string_append_printf(to, "error: there are CPUs 0 to %u\n", m->cpu_count - 1);
}

static void trace(VmrMachine *m, char **words, GString *to)
{
    GError *error = NULL;
    bool on = !strcmp(words[1], "on"), ok = true;
    if (!on && strcmp(words[1], "off")) {
        g_string_append(to, "error: trace on [CATS[:FILE]], or trace off\n");
        return;
    }
    /* The CPUs look at it when they start to run. */
    if (!vmr_machine_pause(m)) {
        g_string_append(to, "error: the machine does not stop\n");
        return;
    }
    if (on)
        ok = vmr_trace_setup(words[2] ? words[2] : "all", &error);
    else
        vmr_trace_mask = 0;
    vmr_machine_resume(m);
    say(to, ok, error);
}

static void swap_accel(VmrMachine *m, char **words, GString *to)
{
    GError *error = NULL;
    bool ok = vmr_machine_swap(m, words[1], &error);
    if (ok)
        g_string_append_printf(to, "the machine runs on %s\n", m->accel->name);
    say(to, ok, error);
}

static const Command commands[] = {
    {"help", "", 0, 0, help, "these commands"},
    {"info", "WHAT", 1, 1, info, "status, version, cpus, registers, mtree, irq, devices, balloon"},
    {"stop", "", 0, 0, stop, "stop the guest"},
    {"cont", "", 0, 0, cont, "let it go on"},
    {"quit", "", 0, 0, quit, "end vmrun (and save, if --save says so)"},
    {"system_reset", "", 0, 0, system_reset, "reset the machine"},
    {"system_powerdown", "", 0, 0, system_powerdown, "press the ACPI power button"},
    {"savevm", "FILE", 1, 1, savevm, "save the whole machine; it runs on"},
    {"cpu", "N", 1, 1, cpu, "the CPU that registers and x are about"},
    {"x", "[/FMT] ADDR", 1, 2, dump, "memory at a virtual address; FMT: count, x d u o c, b h w g"},
    {"xp", "[/FMT] ADDR", 1, 2, dump, "memory at a physical address"},
    {"trace", "on [CATS]|off", 1, 2, trace, "as --trace, from now on"},
    {"swap-accel", "[NAME]", 0, 1, swap_accel, "run on with this accelerator, or the other one"},
    {"sendkey", "KEYS", 1, 1, sendkey, "press keys together, as in ctrl-alt-delete"},
    {"balloon", "MIB", 1, 1, balloon, "how much memory the guest is to have"},
    {"screendump", "FILE", 1, 1, screendump, "the screen as .png, .ppm or text"},
    {0},
};

static const Command *command_named(const char *name)
{
    for (const Command *c = commands; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    if (!strcmp(name, "q"))
        return command_named("quit");
    if (!strcmp(name, "c"))
        return command_named("cont");
    if (!strcmp(name, "?"))
        return command_named("help");
    return NULL;
}

char *vmr_monitor_human(VmrMachine *m, const char *line)
{
    GString *to = g_string_new(NULL);
    char **words = NULL;
    int count = 0;
    GError *error = NULL;
    if (!g_shell_parse_argv(line, &count, &words, &error)) {
        if (!g_error_matches(error, G_SHELL_ERROR, G_SHELL_ERROR_EMPTY_STRING))
            g_string_append_printf(to, "error: %s\n", error->message);
        g_error_free(error);
        return g_string_free(to, FALSE);
    }
    const Command *c = command_named(words[0]);
    if (!c)
        g_string_append_printf(to, "error: no command '%s': help lists them\n", words[0]);
    else if ((unsigned)count - 1 < c->min || (unsigned)count - 1 > c->max)
        g_string_append_printf(to, "error: %s %s\n", c->name, c->arguments);
    else
        c->run(m, words, to);
    g_strfreev(words);
    return g_string_free(to, FALSE);
}
