/*
 * core/properties.h - values of a section to the members that a property table names.
 *
 * Devices, [machine], [boot] and back ends all have such tables.  All [main].
 */
#ifndef VMR_CORE_PROPERTIES_H
#define VMR_CORE_PROPERTIES_H

#include "core/config.h"
#include <vmrun/device.h>

typedef union VmrPropertyValue {
    bool flag;
    uint64_t number; /* U32, U64, SIZE, ENUM */
} VmrPropertyValue;

/* Bytes that a property takes in the instance; 0: there is no such type. */
size_t vmr_property_size(VmrPropertyType type);
/* A BOOL, a number, a SIZE or an ENUM from text; other types are not looked at.  NULL if it is
   right, else what is wanted instead.  Caller frees. */
char *vmr_property_parse(const VmrProperty *property, const char *text, VmrPropertyValue *value);
/* "number, 1..8, Hz", "one of x, y", ...  Caller frees. */
char *vmr_property_wanted(const VmrProperty *property);
/* "bool", "u32", ...: the type's short name. */
const char *vmr_property_type_name(VmrPropertyType type);

/* Set each property of `table` (NULL: none) from the section (NULL: defaults only).  Links and
   back ends are left to the caller, who finds them with vmr_property_text(); that REQUIRED ones
   are there is checked.  Texts point into the config or the table. */
void vmr_properties_apply(const VmrProperty *table, void *base, const VmrSection *section,
                          VmrPlace place, VmrErrors *errors);
/* The text of a link or back end: from the section or the default; NULL: unset.  *place: where. */
const char *vmr_property_text(const VmrProperty *property, const VmrSection *section,
                              VmrPlace *place);

/* Every key that nobody has asked for is an error that names the nearest of `known`. */
void vmr_section_check_keys(const VmrSection *section, const char *const *known, VmrErrors *errors);

#endif
