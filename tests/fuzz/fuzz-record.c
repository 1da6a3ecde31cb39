/*
 * fuzz-record - records of saved state: parsed, looked through, and loaded into a device that has a
 * field of each type.
 */
#include "core/state.h"
#include "fuzz.h"

typedef struct Device {
    VmrDevice dev;
    bool flag;
    uint8_t u8[4];
    uint16_t u16;
    uint32_t u32[2];
    uint64_t u64;
    int64_t i64;
} Device;

static const VmrField fields[] = {
    VMR_FIELD(BOOL, Device, flag),    VMR_FIELD_N(U8, Device, u8, 4), VMR_FIELD(U16, Device, u16),
    VMR_FIELD_N(U32, Device, u32, 2), VMR_FIELD(U64, Device, u64),    VMR_FIELD(I64, Device, i64),
    {.name = NULL},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GError *error = NULL;
    VmrRecord *record = vmr_record_parse(data, size, &error);
    if (!record) {
        if (!error)
            g_error("no record, and no error");
        g_clear_error(&error);
        return 0;
    }
    const VmrItem *item;
    for (unsigned n = 0; (item = vmr_record_nth(record, n)); n++) {
        const char *text;
        uint64_t value;
        if (!vmr_record_text(record, item->name, &text, NULL))
            vmr_record_u64(record, item->name, &value, NULL);
        else if (strlen(text) + 1 > size)
            g_error("a text is longer than its record");
    }
    if (vmr_record_check_fields(record, fields, 1, &error)) {
        Device d = {0};
        vmr_record_load_fields(record, fields, &d);
        GByteArray *again = g_byte_array_new();
        vmr_record_add_fields(again, fields, &d);
        g_byte_array_unref(again);
    }
    g_clear_error(&error);
    vmr_cpu_state_check(record, &error);
    g_clear_error(&error);
    vmr_record_free(record);
    return 0;
}
