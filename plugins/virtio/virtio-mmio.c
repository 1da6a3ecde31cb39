/*
 * virtio-mmio.c - virtio as memory-mapped registers, version 2.
 *
 * After VIRTIO 1.2, 4.2.  Leaves out the legacy interface, shared memory and queue
 * reset.
 */
#include "core.h"

enum {
    MAGIC_VALUE = 0x000,
    VERSION = 0x004,
    DEVICE_ID = 0x008,
    VENDOR_ID = 0x00c,
    DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SEL = 0x014,
    DRIVER_FEATURES = 0x020,
    DRIVER_FEATURES_SEL = 0x024,
    QUEUE_SEL = 0x030,
    QUEUE_NUM_MAX = 0x034,
    QUEUE_NUM = 0x038,
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064,
    STATUS = 0x070,
    QUEUE_DESC_LOW = 0x080,
    QUEUE_DESC_HIGH = 0x084,
    QUEUE_DRIVER_LOW = 0x090,
    QUEUE_DRIVER_HIGH = 0x094,
    QUEUE_DEVICE_LOW = 0x0a0,
    QUEUE_DEVICE_HIGH = 0x0a4,
    SHM_LEN_LOW = 0x0b0,
    SHM_BASE_HIGH = 0x0bc,
    CONFIG_GENERATION = 0x0fc,
    CONFIG = 0x100,
};

static void update(VirtioDevice *v)
{
    vmr_irq_set(&v->dev, v->irq, v->isr != 0);
}

static void signal_queue(VirtioDevice *v, unsigned queue)
{
    update(v);
}

const VirtioTransport virtio_mmio_transport = {signal_queue, update, update};

uint64_t virtio_mmio_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    int q = virtio_selected(v);

    if (offset >= CONFIG)
        return virtio_config_get(v, offset - CONFIG, size);
    if (size != 4) {
        vmr_guest_error(dev, "read of %u bytes at 0x%x", size, (unsigned)offset);
        return 0;
    }
    switch (offset) {
    case MAGIC_VALUE:
        return 0x74726976; /* "virt" */
    case VERSION:
        return 2;
    case DEVICE_ID:
        return v->type->id;
    case VENDOR_ID:
        return 0x524d5656; /* "VVMR" */
    case DEVICE_FEATURES:
        return virtio_offered_half(v, v->device_select);
    case QUEUE_NUM_MAX:
        return q < 0 ? 0 : v->queue_size;
    case QUEUE_READY:
        return q < 0 ? 0 : v->q_ready[q];
    case INTERRUPT_STATUS:
        return v->isr;
    case STATUS:
        return virtio_status(v);
    case SHM_LEN_LOW ... SHM_BASE_HIGH: /* there is no shared memory */
        return UINT32_MAX;
    case CONFIG_GENERATION:
        return v->generation;
    default:
        return 0;
    }
}

void virtio_mmio_write(VmrDevice *dev, uint64_t offset, uint64_t value64, unsigned size)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    uint32_t value = (uint32_t)value64;
    int q = virtio_selected(v);

    if (offset >= CONFIG) {
        virtio_config_put(v, offset - CONFIG, value64, size);
        return;
    }
    if (size != 4) {
        vmr_guest_error(dev, "write of %u bytes at 0x%x", size, (unsigned)offset);
        return;
    }
    switch (offset) {
    case DEVICE_FEATURES_SEL:
        v->device_select = value;
        break;
    case DRIVER_FEATURES:
        virtio_want(v, v->driver_select, value);
        break;
    case DRIVER_FEATURES_SEL:
        v->driver_select = value;
        break;
    case QUEUE_SEL:
        v->queue_select = value > UINT16_MAX ? UINT16_MAX : (uint16_t)value;
        break;
    case QUEUE_NUM:
        if (q >= 0)
            virtio_set_queue_size(v, (unsigned)q, value);
        break;
    case QUEUE_READY:
        if (q >= 0)
            virtio_set_queue_ready(v, (unsigned)q, value & 1);
        break;
    case QUEUE_NOTIFY: /* with NOTIFICATION_DATA more is above */
        virtio_notified(v, value & 0xffff);
        break;
    case INTERRUPT_ACK:
        v->isr &= (uint8_t)~value;
        update(v);
        break;
    case STATUS:
        virtio_set_status(v, (uint8_t)value);
        break;
    case QUEUE_DESC_LOW:
    case QUEUE_DESC_HIGH:
        virtio_set_address(v, v->q_desc, offset == QUEUE_DESC_HIGH, value);
        break;
    case QUEUE_DRIVER_LOW:
    case QUEUE_DRIVER_HIGH:
        virtio_set_address(v, v->q_driver, offset == QUEUE_DRIVER_HIGH, value);
        break;
    case QUEUE_DEVICE_LOW:
    case QUEUE_DEVICE_HIGH:
        virtio_set_address(v, v->q_device, offset == QUEUE_DEVICE_HIGH, value);
        break;
    default:
        break;
    }
}
