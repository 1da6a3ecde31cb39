/*
 * tests/unit/msisink.c - a device that notes the messages (MSI) it is sent; loaded as
 * ../tests/unit/msisink.
 */
#include <vmrun/host.h>
#include <vmrun/msi.h>
#include <vmrun/plugin.h>

typedef struct MsiSink {
    VmrDevice dev;
    uint64_t address;
    uint32_t data, count;
} MsiSink;

static void sink_send(VmrDevice *dev, uint64_t address, uint32_t data)
{
    MsiSink *s = (MsiSink *)dev;
    s->address = address;
    s->data = data;
    s->count++;
}

static const VmrMsiSinkInterface sink_interface = {sizeof(VmrMsiSinkInterface), sink_send};

static const void *sink_get_interface(VmrDevice *dev, const char *id)
{
    return g_str_equal(id, VMR_MSI_SINK) ? &sink_interface : NULL;
}

static const VmrField sink_fields[] = {
    VMR_FIELD(U64, MsiSink, address),
    VMR_FIELD(U32, MsiSink, data),
    VMR_FIELD(U32, MsiSink, count),
    {0},
};

static const VmrDeviceClass sink_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "msisink",
    .summary = "notes messages, for tests",
    .instance_size = sizeof(MsiSink),
    .fields = sink_fields,
    .get_interface = sink_get_interface,
};

VMR_PLUGIN_DEVICE("msisink", "1.0", &sink_class);
