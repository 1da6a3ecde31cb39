/*
 * core/config-private.h - what config.c and config-vars.c share.
 */
#ifndef VMR_CORE_CONFIG_PRIVATE_H
#define VMR_CORE_CONFIG_PRIVATE_H

#include "core/config.h"

/* What is kept of a value beyond what others see. */
typedef struct VmrConfigValue {
    VmrValue v;
    GStringChunk *strings; /* the config's */
    const char *raw; /* before expansion */
    bool literal;    /* from --set: neither escapes nor variables */
} VmrConfigValue;

struct VmrConfig {
    GStringChunk *strings;
    GPtrArray *sections; /* VmrSection * */
};

typedef struct VmrConfigLoader {
    VmrConfig *config;
    VmrErrors *errors;
    const char *const *sets;
    const char *cwd;
    unsigned files;
    unsigned steps;   /* variables expanded so far */
    size_t expanded;  /* bytes that they made */
} VmrConfigLoader;

typedef struct VmrExpander {
    VmrConfigLoader *loader;
    const VmrSection *vars; /* or NULL */
    const VmrSection *section; /* whose value it is, for errors */
    const VmrValue *value;
    const char *dir; /* of the variable that the value starts with; else NULL */
} VmrExpander;

/* kind and, unless NULL, name; sections of VmrSection *. */
VmrSection *vmr_config_find_section(GPtrArray *sections, const char *kind, const char *name);
VmrConfigValue *vmr_config_find_value(const VmrSection *section, const char *key);
/* Escapes and variables of `raw`, appended to `out`; false after one error. */
bool vmr_config_expand(VmrExpander *e, GString *out, const char *raw);
/* The text of every value from its raw one. */
void vmr_config_expand_all(VmrConfigLoader *l);

#endif
