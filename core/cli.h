/*
 * core/cli.h - the command line: one table of options, and what is printed rather than run.
 */
#ifndef VMR_CORE_CLI_H
#define VMR_CORE_CLI_H

#include <stdbool.h>
#include <stdio.h>

typedef enum VmrOptionId {
    VMR_OPT_MACHINE,
    VMR_OPT_ACCEL,
    VMR_OPT_SET,
    VMR_OPT_KERNEL,
    VMR_OPT_INITRD,
    VMR_OPT_APPEND,
    VMR_OPT_CHECK,
    VMR_OPT_LIST,
    VMR_OPT_JSON,
    VMR_OPT_DESCRIBE,
    VMR_OPT_TRACE,
    VMR_OPT_MONITOR,
    VMR_OPT_GDB,
    VMR_OPT_WAIT,
    VMR_OPT_SWAP,
    VMR_OPT_SYMBOLS,
    VMR_OPT_SAVE,
    VMR_OPT_RESTORE,
    VMR_OPT_TIME_LIMIT,
    VMR_OPT_STATS,
    VMR_OPT_VERSION,
    VMR_OPT_HELP,
    VMR_OPT_MAN,
} VmrOptionId;

typedef struct VmrOption {
    const char *name; /* without --; NULL ends the table */
    VmrOptionId id;
    const char *argument; /* its name; NULL: none; with [ ]: it may be left out */
    const char *doc;      /* NULL: not shown */
} VmrOption;

extern const VmrOption vmr_options[];
extern const char vmr_version[];

void vmr_print_help(FILE *to);
/* The manual page, as troff. */
void vmr_print_man(FILE *to);

/* What there is: plugins, accels, cpus, machines, backends; NULL: all.  Exit status. */
int vmr_list(const char *what, bool json, FILE *to);
/* All of a device class, of [machine] or [boot], or of a back end.  Exit status. */
int vmr_describe(const char *name, bool json, FILE *to);

/* The file that --machine NAME means, or NULL after a message.  Caller frees. */
char *vmr_machine_file(const char *name);

#endif
