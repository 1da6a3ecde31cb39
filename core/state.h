/*
 * core/state.h - state as bytes: records of named values, and what of a machine is saved.
 *
 * A record is a sequence of items, each with a name, a type, a count and its
 * values, little endian and without padding; so it can be read without the
 * table that it was written from.  docs/snapshots.md describes the format.
 */
#ifndef VMR_CORE_STATE_H
#define VMR_CORE_STATE_H

#include "machine.h"

/* Types of items in a file: VmrFieldType as it stands, and text. */
enum { VMR_ITEM_TEXT = 255 };

typedef struct VmrItem {
    const char *name; /* points into the record */
    uint8_t type;
    uint32_t count;   /* elements; of a text, bytes with the NUL at the end */
    const uint8_t *data;
} VmrItem;

/* ---- writing ---------------------------------------------------------- */

void vmr_record_add_fields(GByteArray *to, const VmrField *fields, const void *instance);
void vmr_record_add_text(GByteArray *to, const char *name, const char *text);
void vmr_record_add_u64(GByteArray *to, const char *name, uint64_t value);
void vmr_record_add_i64(GByteArray *to, const char *name, int64_t value);
void vmr_record_add_bools(GByteArray *to, const char *name, const bool *values, uint32_t count);

/* ---- reading ---------------------------------------------------------- */

/* A record that lives as long as `data`.  NULL if it is not one. */
typedef struct VmrRecord VmrRecord;
VmrRecord *vmr_record_parse(const uint8_t *data, size_t len, GError **error);
void vmr_record_free(VmrRecord *record);
const VmrItem *vmr_record_item(const VmrRecord *record, const char *name);
/* In the order of the record; NULL: the end. */
const VmrItem *vmr_record_nth(const VmrRecord *record, unsigned n);
/* False with an error if there is no such item of that type. */
bool vmr_record_text(const VmrRecord *record, const char *name, const char **text, GError **error);
bool vmr_record_u64(const VmrRecord *record, const char *name, uint64_t *value, GError **error);
bool vmr_record_i64(const VmrRecord *record, const char *name, int64_t *value, GError **error);

/* Do the record's values fit the table, as it was in `version`?  Touches nothing. */
bool vmr_record_check_fields(const VmrRecord *record, const VmrField *fields, uint32_t version,
                             GError **error);
/* Load what vmr_record_check_fields() found right.  `instance` may have timers: their clock is
   set by then. */
void vmr_record_load_fields(const VmrRecord *record, const VmrField *fields, void *instance);

uint32_t vmr_crc32(uint32_t crc, const void *data, size_t len); /* IEEE 802.3; begin with 0 */

/* ---- vCPUs (state-cpu.c) ---------------------------------------------- */

/* The architectural state of a vCPU as a record, and back.  Stopped.  [io] */
bool vmr_cpu_state_save(VmrCpu *cpu, GByteArray *to, GError **error);
bool vmr_cpu_state_check(const VmrRecord *record, GError **error);
bool vmr_cpu_state_load(VmrCpu *cpu, const VmrRecord *record, GError **error);

/* ---- the whole machine (snapshot.c, snapshot-load.c) ------------------ */

/* Write the machine, which is paused, to a file.  An older file of that name stays as it is
   unless all went well.  [main] */
bool vmr_snapshot_save(VmrMachine *machine, const char *path, GError **error);

/* A file that was read and found to fit the machine, in all but what only devices can tell. */
typedef struct VmrSnapshot VmrSnapshot;
VmrSnapshot *vmr_snapshot_open(VmrMachine *machine, const char *path, GError **error);
/* Put it into the machine, which is paused, in place of what it is.  After an error the machine
   is good for nothing but vmr_machine_free().  [main] */
bool vmr_snapshot_apply(VmrSnapshot *snapshot, VmrMachine *machine, GError **error);
void vmr_snapshot_free(VmrSnapshot *snapshot);

/* What says that the file fits the machine: [machine] and the devices, as records. */
void vmr_identity_machine(VmrMachine *machine, GByteArray *to);
void vmr_identity_device(const VmrDeviceHandle *device, GByteArray *to);

/* ---- the file --------------------------------------------------------- */

#define VMR_SNAPSHOT_MAGIC "VMRSNAP\x1a"
enum {
    VMR_SNAPSHOT_FORMAT = 1,
    VMR_SNAPSHOT_HEADER = 32,         /* bytes, of the file */
    VMR_SNAPSHOT_SECTION_HEADER = 32, /* and of a section */
    VMR_SNAPSHOT_CHUNK = 2 << 20,     /* bytes of RAM that a section holds, at most */
    VMR_SNAPSHOT_PAGE = 4096,
};
#define VMR_SECTION(a, b, c, d)                                                                    \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define VMR_SECTION_MACHINE VMR_SECTION('M', 'A', 'C', 'H')
#define VMR_SECTION_DEVICE VMR_SECTION('D', 'E', 'V', 'I') /* what it is: identity */
#define VMR_SECTION_FIELDS VMR_SECTION('F', 'L', 'D', 'S') /* its state */
#define VMR_SECTION_LINES VMR_SECTION('L', 'I', 'N', 'E')  /* levels of its outputs */
#define VMR_SECTION_CPU VMR_SECTION('C', 'P', 'U', ' ')
#define VMR_SECTION_RAM VMR_SECTION('R', 'A', 'M', ' ')
#define VMR_SECTION_END VMR_SECTION('E', 'N', 'D', ' ')

/* How the pages of a chunk are stored. */
enum { VMR_CHUNK_RAW, VMR_CHUNK_ZSTD };

#endif
