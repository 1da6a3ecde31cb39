/*
 * core/man.c - the manual page, made from the tables: troff with the man macros.
 */
#include "core/chardev.h"
#include "core/display.h"
#include "core/cli.h"
#include "core/drive.h"
#include "core/net.h"
#include "core/options.h"
#include "core/properties.h"

#include <string.h>

/* Text in which troff sees nothing of its own. */
static void put(FILE *to, const char *text)
{
    bool line_start = true;
    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", to);
        line_start = *text == '\n';
        if (*text == '\\')
            fputs("\\e", to);
        else if (*text == '-')
            fputs("\\-", to);
        else
            fputc(*text, to);
    }
}

static void heading(FILE *to, const char *title)
{
    fprintf(to, ".SH %s\n", title);
}

static void item(FILE *to, const char *name, const char *argument, const char *doc)
{
    fputs(".TP\n.B ", to);
    put(to, name);
    if (argument) {
        fputs(" \\fI", to);
        put(to, argument);
        fputs("\\fR", to);
    }
    fputc('\n', to);
    put(to, doc);
    fputc('\n', to);
}

static void keys(FILE *to, const char *title, const char *intro, const VmrProperty *p)
{
    fprintf(to, ".SS %s\n", title);
    put(to, intro);
    fputc('\n', to);
    for (; p && p->name; p++) {
        char *wanted = vmr_property_wanted(p);
        char *doc = g_strdup_printf("%s. Wanted: %s%s%s.", p->doc, wanted,
                                    p->flags & VMR_PROP_REQUIRED ? "; it must be set"
                                    : p->default_text            ? "; default "
                                                                 : "",
                                    p->default_text ? p->default_text : "");
        item(to, p->name, NULL, doc);
        g_free(doc);
        g_free(wanted);
    }
}

void vmr_print_man(FILE *to)
{
    fprintf(to, ".TH VMRUN 1 \"\" \"vmrun %s\" \"User Commands\"\n", vmr_version);
    heading(to, "NAME");
    fputs("vmrun \\- make the machine that a file describes and run it\n", to);
    heading(to, "SYNOPSIS");
    fputs(".B vmrun \\-\\-machine\n.I FILE\n[options]\n", to);
    heading(to, "OPTIONS");
    for (const VmrOption *o = vmr_options; o->name; o++) {
        if (!o->doc)
            continue;
        char *name = g_strconcat("--", o->name, NULL);
        item(to, name, o->argument, o->doc);
        g_free(name);
    }

    heading(to, "MACHINE FILES");
    put(to,
        "A machine file is a GLib key file: [SECTION] titles, KEY = VALUE lines, # comments.\n"
        "[machine] says what the machine is, [boot] what it starts, [vars] sets variables,\n"
        "and each [device NAME] is one device, made by the plugin that its key plugin names.\n"
        "Its other keys are the plugin's properties, the addresses of its regions, and what its\n"
        "output lines lead to: vmrun --describe PLUGIN lists them.\n");
    fputs(".PP\n", to);
    put(to,
        "include = FILE, in [machine] or before all sections, puts this file over another one.\n"
        "${NAME} is a variable of [vars] or of the environment, $$ is a dollar. Sizes take\n"
        "K, M, G and T. Relative paths start at the file that they stand in.\n");
    fputs(".PP\n", to);
    put(to,
        "An output line is wired by LINE = INPUT, where INPUT is DEVICE:N, DEVICE:GROUP,\n"
        "DEVICE:GROUP:N, cpuN:PIN or machine:LINE; !INPUT inverts, A + B leads to both; commas\n"
        "separate the members of a group of outputs, DEVICE:N-N stands for as many of them,\n"
        "and none leaves one out.\n");
    keys(to, "[machine]", "What the machine is.", vmr_machine_properties);
    keys(to, "[boot]", "What it starts.", vmr_boot_properties);
    for (unsigned i = 0; vmr_chardev_classes[i]; i++) {
        const VmrChardevClass *c = vmr_chardev_classes[i];
        char *title = g_strdup_printf("[chardev NAME], type = %s", c->type);
        keys(to, title, c->doc ? c->doc : c->summary, c->properties);
        g_free(title);
    }

    keys(to, "[display NAME]",
         "Where a screen is shown. Files are written at the end, and when SIGUSR2 comes.",
         vmr_display_properties);
    keys(to, "[drive NAME]", "A disk image, for a device that has a disk.", vmr_drive_properties);
    for (unsigned i = 0; vmr_net_classes[i]; i++) {
        const VmrNetClass *c = vmr_net_classes[i];
        char *title = g_strdup_printf("[net NAME], type = %s", c->type);
        keys(to, title, c->doc ? c->doc : c->summary, c->properties);
        g_free(title);
    }

    heading(to, "EXIT STATUS");
    item(to, "0", NULL,
         "The guest powered off. Or the guest's own, through the debug-exit device.");
    item(to, "1", NULL, "A host error while running.");
    item(to, "2", NULL,
         "A usage, machine-file or plugin error; all errors of a file are told at once.");
    item(to, "3", NULL, "The guest crashed, and no reset was asked for.");
    item(to, "124", NULL, "The time limit.");
    heading(to, "ENVIRONMENT");
    item(to, "VMRUN_PLUGIN_DIR", NULL,
         "Folders of plugins, with colons between, before the usual ones.");
    item(to, "VMRUN_MACHINE_DIR", NULL, "The same for machine files.");
}
