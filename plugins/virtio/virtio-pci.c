/*
 * virtio-pci.c - virtio over PCI, as a modern device.
 *
 * After VIRTIO 1.2, 4.1: the common configuration structure (4.1.4.3), notification
 * (4.1.4.4), ISR status (4.1.4.5), the device's configuration (4.1.4.6), and access to
 * all of it through configuration space (4.1.4.9).
 *
 * Leaves out the legacy interface and transitional device IDs, shared memory, queue
 * reset and administration queues.
 */
#include "core.h"

enum {
    VENDOR = 0x1af4,
    DEVICE_BASE = 0x1040,

    CAP_COMMON = 1,
    CAP_NOTIFY = 2,
    CAP_ISR = 3,
    CAP_DEVICE = 4,
    CAP_PCI = 5,

    BAR_CONFIG = 0,
    BAR_NOTIFY = 2,
    BAR_MSIX = 4,
    ISR_OFFSET = 0x1000,
    DEVICE_OFFSET = 0x2000,
    NOTIFY_MULTIPLIER = 4,

    /* common configuration */
    DEVICE_FEATURE_SELECT = 0x00,
    DEVICE_FEATURE = 0x04,
    DRIVER_FEATURE_SELECT = 0x08,
    DRIVER_FEATURE = 0x0c,
    CONFIG_MSIX_VECTOR = 0x10,
    NUM_QUEUES = 0x12,
    DEVICE_STATUS = 0x14,
    CONFIG_GENERATION = 0x15,
    QUEUE_SELECT = 0x16,
    QUEUE_SIZE = 0x18,
    QUEUE_MSIX_VECTOR = 0x1a,
    QUEUE_ENABLE = 0x1c,
    QUEUE_NOTIFY_OFF = 0x1e,
    QUEUE_DESC = 0x20,
    QUEUE_DRIVER = 0x28,
    QUEUE_DEVICE = 0x30,
    QUEUE_NOTIFY_DATA = 0x38,
    COMMON_SIZE = 0x40,

    PCI_CFG = 4, /* index of that capability */
    CFG_BAR = 4, /* offsets in it */
    CFG_OFFSET = 8,
    CFG_LENGTH = 12,
    CFG_DATA = 16,
};

/* ---- interrupts ------------------------------------------------------- */

static void update(VirtioDevice *v)
{
    if (v->pci.bus_iface)
        v->pci.bus_iface->intx_set(v->pci.bus, &v->dev,
                                   v->isr && !vmr_pci_msix_enabled(&v->pci));
}

static void signal_vector(VirtioDevice *v, uint16_t vector)
{
    if (vmr_pci_msix_enabled(&v->pci)) {
        if (vector != VIRTIO_NO_VECTOR)
            v->pci.bus_iface->msix_send(v->pci.bus, &v->dev, vector);
    } else {
        update(v);
    }
}

static void signal_queue(VirtioDevice *v, unsigned queue)
{
    signal_vector(v, v->q_vector[queue]);
}

static void signal_config(VirtioDevice *v)
{
    signal_vector(v, v->config_vector);
}

const VirtioTransport virtio_pci_transport = {signal_queue, signal_config, update};

/* ---- common configuration --------------------------------------------- */

/* 32 bits at a multiple of 4. */
static uint32_t common_word(VirtioDevice *v, unsigned offset)
{
    int q = virtio_selected(v);
    const uint64_t *address = offset < QUEUE_DRIVER   ? v->q_desc
                              : offset < QUEUE_DEVICE ? v->q_driver
                                                      : v->q_device;
    switch (offset) {
    case DEVICE_FEATURE_SELECT:
        return v->device_select;
    case DEVICE_FEATURE:
        return virtio_offered_half(v, v->device_select);
    case DRIVER_FEATURE_SELECT:
        return v->driver_select;
    case DRIVER_FEATURE:
        return virtio_wanted_half(v, v->driver_select);
    case CONFIG_MSIX_VECTOR:
        return v->config_vector | v->queue_count << 16;
    case DEVICE_STATUS:
        return virtio_status(v) | v->generation << 8 | (uint32_t)v->queue_select << 16;
    case QUEUE_SIZE: /* 0: there is no such queue */
        return q < 0 ? (uint32_t)VIRTIO_NO_VECTOR << 16
                     : v->q_size[q] | (uint32_t)v->q_vector[q] << 16;
    case QUEUE_ENABLE: /* and where it is notified */
        return q < 0 ? 0 : v->q_ready[q] | (uint32_t)q << 16;
    case QUEUE_DESC:
    case QUEUE_DRIVER:
    case QUEUE_DEVICE:
        return q < 0 ? 0 : (uint32_t)address[q];
    case QUEUE_DESC + 4:
    case QUEUE_DRIVER + 4:
    case QUEUE_DEVICE + 4:
        return q < 0 ? 0 : address[q] >> 32;
    case QUEUE_NOTIFY_DATA:
        return q < 0 ? 0 : (uint32_t)q;
    default:
        return 0;
    }
}

static uint16_t checked_vector(const VirtioDevice *v, uint64_t vector)
{
    return vector < v->function.msix_vectors ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

static void common_write(VirtioDevice *v, unsigned offset, uint32_t value, unsigned size)
{
    int q = virtio_selected(v);
    switch (offset) {
    case DEVICE_FEATURE_SELECT:
        v->device_select = value;
        break;
    case DRIVER_FEATURE_SELECT:
        v->driver_select = value;
        break;
    case DRIVER_FEATURE:
        virtio_want(v, v->driver_select, value);
        break;
    case CONFIG_MSIX_VECTOR:
        v->config_vector = checked_vector(v, value);
        break;
    case DEVICE_STATUS:
        virtio_set_status(v, (uint8_t)value);
        break;
    case QUEUE_SELECT:
        v->queue_select = (uint16_t)value;
        break;
    case QUEUE_SIZE:
        if (q >= 0)
            virtio_set_queue_size(v, (unsigned)q, value);
        break;
    case QUEUE_MSIX_VECTOR:
        if (q >= 0)
            v->q_vector[q] = checked_vector(v, value);
        break;
    case QUEUE_ENABLE:
        if (q >= 0 && value == 1)
            virtio_set_queue_ready(v, (unsigned)q, true);
        break;
    case QUEUE_DESC:
    case QUEUE_DESC + 4:
        virtio_set_address(v, v->q_desc, offset & 4, value);
        break;
    case QUEUE_DRIVER:
    case QUEUE_DRIVER + 4:
        virtio_set_address(v, v->q_driver, offset & 4, value);
        break;
    case QUEUE_DEVICE:
    case QUEUE_DEVICE + 4:
        virtio_set_address(v, v->q_device, offset & 4, value);
        break;
    default:
        vmr_guest_error(&v->dev, "write of %u bytes at 0x%x of the common configuration", size,
                        offset);
    }
}

/* ---- regions ---------------------------------------------------------- */

uint64_t virtio_pci_config_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    if (offset < COMMON_SIZE)
        return common_word(v, offset & ~3u) >> (8 * (offset & 3));
    if (offset == ISR_OFFSET) {
        uint8_t isr = v->isr;
        v->isr = 0;
        update(v);
        return isr;
    }
    if (offset >= DEVICE_OFFSET)
        return virtio_config_get(v, offset - DEVICE_OFFSET, size);
    return 0;
}

void virtio_pci_config_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    if (offset < COMMON_SIZE)
        common_write(v, (unsigned)offset, (uint32_t)value, size);
    else if (offset >= DEVICE_OFFSET)
        virtio_config_put(v, offset - DEVICE_OFFSET, value, size);
}

void virtio_pci_notify_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    virtio_notified((VirtioDevice *)dev, (unsigned)(offset / NOTIFY_MULTIPLIER));
}

uint64_t virtio_pci_msix_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    return v->pci.bus_iface ? v->pci.bus_iface->msix_read(v->pci.bus, dev, offset, size) : 0;
}

void virtio_pci_msix_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    if (v->pci.bus_iface)
        v->pci.bus_iface->msix_write(v->pci.bus, dev, offset, value, size);
}

/* ---- by way of configuration space ------------------------------------ */

static void through_config(VirtioDevice *v, bool write)
{
    uint8_t *c = v->pci.config + v->pci.capability[PCI_CFG];
    uint32_t offset = virtio_get32(c + CFG_OFFSET), length = virtio_get32(c + CFG_LENGTH);
    uint8_t *data = c + CFG_DATA;

    if ((length != 1 && length != 2 && length != 4) || offset % length)
        return;
    if (c[CFG_BAR] == BAR_CONFIG && offset < VIRTIO_PCI_CONFIG_SIZE) {
        if (write)
            virtio_pci_config_write(&v->dev, offset,
                                    virtio_get32(data) & (UINT32_MAX >> (32 - 8 * length)), length);
        else
            virtio_put32(data, (uint32_t)virtio_pci_config_read(&v->dev, offset, length));
    } else if (c[CFG_BAR] == BAR_NOTIFY && write && offset < VIRTIO_PCI_NOTIFY_SIZE) {
        virtio_pci_notify_write(&v->dev, offset, virtio_get32(data), length);
    }
}

static bool touches_data(const VirtioDevice *v, unsigned offset, unsigned size)
{
    unsigned at = v->pci.capability[PCI_CFG];
    return at && offset < at + CFG_DATA + 4u && at + CFG_DATA < offset + size;
}

static void config_read(VmrDevice *dev, unsigned offset, unsigned size)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    if (touches_data(v, offset, size))
        through_config(v, false);
}

static void config_written(VmrDevice *dev, unsigned offset, unsigned size)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    if (touches_data(v, offset, size))
        through_config(v, true);
    else if (v->pci.msix && offset < v->pci.msix + 4u && v->pci.msix < offset + size)
        update(v); /* MSI-X goes on or off */
}

static void command_changed(VmrDevice *dev, uint16_t command)
{
    if (command & VMR_PCI_COMMAND_MASTER)
        virtio_resume((VirtioDevice *)dev);
}

/* ---- life ------------------------------------------------------------- */

static void set_capability(VirtioDevice *v, unsigned n, unsigned type, unsigned bar,
                           uint32_t offset, uint32_t length)
{
    static const uint8_t cfg_writable[18] = {
        0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t *b = v->capability_bytes[n];
    bool more = type == CAP_NOTIFY || type == CAP_PCI;
    b[0] = more ? 20 : 16;
    b[1] = (uint8_t)type;
    b[2] = (uint8_t)bar;
    virtio_put32(b + 6, offset);
    virtio_put32(b + 10, length);
    if (type == CAP_NOTIFY)
        virtio_put32(b + 14, NOTIFY_MULTIPLIER);
    v->capabilities[n] = (VmrPciCapability){
        .id = VMR_PCI_CAP_VENDOR,
        .length = b[0],
        .bytes = b,
        .writable = type == CAP_PCI ? cfg_writable : NULL,
    };
}

bool virtio_pci_realize(VirtioDevice *v, GError **error)
{
    const VmrPciBusInterface *bus = v->bus.iface;
    uint16_t vectors = (uint16_t)MIN(v->queue_count + 1, (unsigned)VMR_PCI_MSIX_MAX);

    set_capability(v, 0, CAP_COMMON, BAR_CONFIG, 0, COMMON_SIZE - 4);
    set_capability(v, 1, CAP_ISR, BAR_CONFIG, ISR_OFFSET, 1);
    set_capability(v, 2, CAP_DEVICE, BAR_CONFIG, DEVICE_OFFSET, MAX(v->type->config_size, 4));
    set_capability(v, 3, CAP_NOTIFY, BAR_NOTIFY, 0, VIRTIO_PCI_NOTIFY_SIZE);
    set_capability(v, PCI_CFG, CAP_PCI, 0, 0, 0);
    v->function = (VmrPciFunctionInterface){
        .size = sizeof(VmrPciFunctionInterface),
        .vendor_id = VENDOR,
        .device_id = DEVICE_BASE + v->type->id,
        .subsystem_vendor_id = VENDOR,
        .subsystem_id = DEVICE_BASE + v->type->id,
        .class_code = v->type->pci_class,
        .revision = 1, /* not transitional */
        .interrupt_pin = 1,
        .msix_vectors = vectors,
        .msix_bar = BAR_MSIX,
        .bars[BAR_CONFIG] = {VMR_PCI_BAR_MEM64, false, VIRTIO_REGION_CONFIG},
        .bars[BAR_NOTIFY] = {VMR_PCI_BAR_MEM64, false, VIRTIO_REGION_NOTIFY},
        .bars[BAR_MSIX] = {VMR_PCI_BAR_MEM32, false, VIRTIO_REGION_MSIX},
        .capabilities = v->capabilities,
        .capability_count = G_N_ELEMENTS(v->capabilities),
        .state = offsetof(VirtioDevice, pci),
        .config_read = config_read,
        .config_written = config_written,
        .command_changed = command_changed,
    };
    return bus->attach(v->bus.device, &v->dev, v->slot, error);
}
