/*
 * core/config.h - machine files: text to checked sections, with every error kept.
 *
 * A VmrConfig is the merged text of a machine file, its includes and --set,
 * with the place (file and line) of each value.  It knows nothing of devices:
 * core/wire.c turns it into a machine.  All [main].
 */
#ifndef VMR_CORE_CONFIG_H
#define VMR_CORE_CONFIG_H

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

/* Where something was said; file NULL: on the command line. */
typedef struct VmrPlace {
    const char *file; /* owned by the config */
    unsigned line;    /* from 1 */
} VmrPlace;

/* All errors of a machine, in order; printed as FILE:LINE: [section] key: message. */
typedef struct VmrErrors VmrErrors;
VmrErrors *vmr_errors_new(void);
void vmr_errors_free(VmrErrors *errors);
/* section and key may be NULL. */
G_GNUC_PRINTF(5, 6)
void vmr_errors_add(VmrErrors *errors, VmrPlace place, const char *section, const char *key,
                    const char *format, ...);
unsigned vmr_errors_count(const VmrErrors *errors);
void vmr_errors_print(const VmrErrors *errors, FILE *to);
/* What vmr_errors_print() prints.  Caller frees. */
char *vmr_errors_text(const VmrErrors *errors);

typedef struct VmrValue {
    const char *key;
    const char *text;    /* expanded, trimmed */
    VmrPlace place;
    const char *dir;     /* relative paths of this value start here */
    bool broken;         /* its variables are wrong, which is already said: text is "" */
    bool used;           /* somebody asked for it; what is left over is an unknown key */
} VmrValue;

typedef struct VmrSection {
    const char *kind;  /* "machine", "boot", "vars", "device", "chardev", "drive", "net",
                          "display" */
    const char *name;  /* of [device NAME]; "" for [machine] */
    const char *title; /* as written: "device com1" */
    VmrPlace place;
    GPtrArray *values; /* VmrValue *, in order */
} VmrSection;

typedef struct VmrConfig VmrConfig;

/* Read `path`, its includes, and then `sets` ("SECTION.KEY=VALUE", NULL-terminated, may be
   NULL; SECTION is machine, boot, vars, or the NAME of a device or back end).  Returns a config
   even if there are errors; NULL only if the file itself cannot be read (also an error). */
VmrConfig *vmr_config_load(const char *path, const char *const *sets, VmrErrors *errors);
void vmr_config_free(VmrConfig *config);

/* Sections in the order of the file; kind NULL: all. */
const VmrSection *vmr_config_section(const VmrConfig *config, const char *kind, const char *name);
const VmrSection *vmr_config_next(const VmrConfig *config, const char *kind,
                                  const VmrSection *after);
/* A value, marked used; NULL if unset. */
const VmrValue *vmr_section_value(const VmrSection *section, const char *key);
/* Where a key was set, else where the section begins; section NULL: nowhere. */
VmrPlace vmr_section_place(const VmrSection *section, const char *key);
/* The absolute path that a value names.  Caller frees. */
char *vmr_value_path(const VmrValue *value);
/* The same, kept by the config. */
const char *vmr_value_path_kept(const VmrValue *value);

/* The known name nearest to `name`, or NULL if none is near: edit distance at most 2 or a third. */
const char *vmr_nearest(const char *name, const char *const *known);
/* "; did you mean 'X'?" or "".  Caller frees. */
char *vmr_nearest_hint(const char *name, const char *const *known);

/* Texts to values; false with no message: the caller says what was wanted.  */
bool vmr_parse_size(const char *text, guint64 *value);   /* 512M, 0x1000, 64K */
bool vmr_parse_number(const char *text, guint64 *value); /* 10, 0x10, 0b1 */
bool vmr_parse_bool(const char *text, bool *value);

#endif
