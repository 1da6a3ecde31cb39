/*
 * virtio.c - the state of a virtio device: features, status, queues' places, configuration.
 *
 * After VIRTIO 1.2, chapter 2 and 3.1 (initialisation), as both transports have it.
 *
 * A reset while the device holds chains: they are of an earlier epoch from then on
 * and are only freed.  Since work in flight may still write to the driver's buffers,
 * the status reads as NEEDS_RESET rather than 0 until it has ended.
 */
#include "core.h"

#define VIRTIO_ERROR g_quark_from_static_string("virtio")

bool virtio_may_dma(const VirtioDevice *v)
{
    return v->transport == &virtio_mmio_transport || vmr_pci_bus_master(&v->pci);
}

/* ---- features --------------------------------------------------------- */

static uint64_t all_offered(const VirtioDevice *v)
{
    return v->offered | VIRTIO_F_VERSION_1 | (v->packed ? VIRTIO_F_RING_PACKED : 0) |
           (v->event_idx ? VIRTIO_F_EVENT_IDX : 0) | (v->indirect ? VIRTIO_F_INDIRECT_DESC : 0) |
           VIRTIO_F_NOTIFICATION_DATA;
}

uint32_t virtio_offered_half(const VirtioDevice *v, uint32_t half)
{
    return half < 2 ? (uint32_t)(all_offered(v) >> (32 * half)) : 0;
}

uint32_t virtio_wanted_half(const VirtioDevice *v, uint32_t half)
{
    return half < 2 ? (uint32_t)(v->features >> (32 * half)) : 0;
}

void virtio_want(VirtioDevice *v, uint32_t half, uint32_t bits)
{
    if (half >= 2 || (v->status & VIRTIO_STATUS_FEATURES_OK))
        return;
    v->features = half ? (v->features & UINT32_MAX) | (uint64_t)bits << 32
                       : (v->features & ~(uint64_t)UINT32_MAX) | bits;
}

/* ---- status ----------------------------------------------------------- */

static void reset_now(VirtioDevice *v)
{
    v->stale += v->in_flight;
    v->in_flight = 0;
    v->epoch++;
    v->features = 0;
    v->status = v->isr = 0;
    v->device_select = v->driver_select = 0;
    v->queue_select = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        v->q_desc[i] = v->q_driver[i] = v->q_device[i] = 0;
        v->q_size[i] = (uint16_t)v->queue_size;
        v->q_vector[i] = VIRTIO_NO_VECTOR;
        v->q_ready[i] = false;
        v->q_avail[i] = v->q_used[i] = v->q_told[i] = 0;
    }
    if (v->type->reset)
        v->type->reset(v);
    v->transport->update(v);
}

uint8_t virtio_status(const VirtioDevice *v)
{
    return v->status || !v->stale ? v->status : VIRTIO_STATUS_NEEDS_RESET;
}

static void notify_all(VirtioDevice *v)
{
    for (unsigned i = 0; i < v->queue_count; i++)
        virtio_notified(v, i);
}

void virtio_set_status(VirtioDevice *v, uint8_t status)
{
    uint8_t old = v->status;
    if (!status) {
        reset_now(v);
        return;
    }
    /* Bits are only ever added, and NEEDS_RESET is the device's. */
    status = (status & ~VIRTIO_STATUS_NEEDS_RESET) | old;
    if (status & ~old & VIRTIO_STATUS_FEATURES_OK) {
        if ((v->features & ~all_offered(v)) || !(v->features & VIRTIO_F_VERSION_1)) {
            vmr_guest_error(&v->dev, "features 0x%" G_GINT64_MODIFIER "x of 0x%"
                            G_GINT64_MODIFIER "x are refused", v->features, all_offered(v));
            status &= ~VIRTIO_STATUS_FEATURES_OK;
        } else if (v->type->features_ok) {
            v->type->features_ok(v);
        }
    }
    if ((status & VIRTIO_STATUS_DRIVER_OK) && !(status & VIRTIO_STATUS_FEATURES_OK)) {
        vmr_guest_error(&v->dev, "DRIVER_OK without FEATURES_OK");
        status &= ~VIRTIO_STATUS_DRIVER_OK;
    }
    v->status = status;
    if (status & ~old & VIRTIO_STATUS_DRIVER_OK)
        notify_all(v);
}

void virtio_broken(VirtioDevice *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vmr_guest_error(&v->dev, "%s", text);
    g_free(text);
    if (v->status & VIRTIO_STATUS_NEEDS_RESET)
        return;
    v->status |= VIRTIO_STATUS_NEEDS_RESET;
    if (v->status & VIRTIO_STATUS_DRIVER_OK)
        virtio_config_changed(v);
}

void virtio_config_changed(VirtioDevice *v)
{
    v->generation++;
    if (!(v->status & VIRTIO_STATUS_DRIVER_OK))
        return;
    v->isr |= 2;
    v->transport->signal_config(v);
}

/* ---- queues ----------------------------------------------------------- */

int virtio_selected(const VirtioDevice *v)
{
    return v->queue_select < v->queue_count ? v->queue_select : -1;
}

void virtio_set_queue_size(VirtioDevice *v, unsigned q, uint32_t size)
{
    bool packed = virtio_has(v, VIRTIO_F_RING_PACKED);
    if (v->q_ready[q] || !size || size > v->queue_size || (!packed && (size & (size - 1))))
        vmr_guest_error(&v->dev, "queue %u: size %u is not possible", q, size);
    else
        v->q_size[q] = (uint16_t)size;
}

void virtio_set_queue_ready(VirtioDevice *v, unsigned q, bool ready)
{
    if (v->q_ready[q] == ready)
        return;
    if (ready && (v->q_desc[q] % 16 || v->q_driver[q] % 2 || v->q_device[q] % 4)) {
        vmr_guest_error(&v->dev, "queue %u: its addresses are not aligned", q);
        return;
    }
    v->q_ready[q] = ready;
    /* Packed rings begin with both wrap counters at 1. */
    v->q_avail[q] = v->q_used[q] = v->q_told[q] =
        virtio_has(v, VIRTIO_F_RING_PACKED) ? 0x8000 : 0;
}

void virtio_set_address(VirtioDevice *v, uint64_t *address, bool high, uint32_t value)
{
    int q = virtio_selected(v);
    if (q < 0 || v->q_ready[q])
        return;
    address[q] = high ? (address[q] & UINT32_MAX) | (uint64_t)value << 32
                      : (address[q] & ~(uint64_t)UINT32_MAX) | value;
}

bool virtio_queue_live(const VirtioDevice *v, unsigned q)
{
    return q < v->queue_count && v->q_ready[q] && (v->status & VIRTIO_STATUS_DRIVER_OK) &&
           !(v->status & VIRTIO_STATUS_NEEDS_RESET) && virtio_may_dma(v);
}

/* A driver may add buffers as fast as they are used: the lock is given up in between. */
void virtio_notified(VirtioDevice *v, unsigned q)
{
    if (!virtio_queue_live(v, q))
        return;
    int outer = v->budget;
    v->budget = v->q_size[q];
    v->type->queue_notify(v, q);
    if (v->budget == 0)
        vmr_timer_set(&v->dev, v->again, vmr_clock_now(&v->dev, VMR_CLOCK_VIRTUAL));
    v->budget = outer;
}

static void look_again(VmrDevice *dev)
{
    virtio_resume((VirtioDevice *)dev);
}

/* ---- configuration ---------------------------------------------------- */

uint64_t virtio_config_get(VirtioDevice *v, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        if (offset + i < v->type->config_size)
            value |= (uint64_t)v->config[offset + i] << (8 * i);
    return value;
}

void virtio_config_put(VirtioDevice *v, uint64_t offset, uint64_t value, unsigned size)
{
    if (!v->type->config_written || offset >= v->type->config_size ||
        size > v->type->config_size - offset)
        return;
    for (unsigned i = 0; i < size; i++)
        v->config[offset + i] = (uint8_t)(value >> (8 * i));
    v->type->config_written(v, (unsigned)offset, size);
}

/* ---- life ------------------------------------------------------------- */

bool virtio_realize(VirtioDevice *v, const VirtioType *type, unsigned queues, GError **error)
{
    bool regs = vmr_region_placed(&v->dev, VIRTIO_REGION_REGS);
    v->type = type;
    v->queue_count = queues;
    if (regs == (v->bus.device != NULL)) {
        g_set_error(error, VIRTIO_ERROR, 0, "it needs either bus (PCI) or regs and irq%s",
                    regs ? ", not both" : "");
        return false;
    }
    if (queues > VIRTIO_QUEUES_MAX || type->config_size > VIRTIO_CONFIG_MAX ||
        (v->queue_size & (v->queue_size - 1))) {
        g_set_error(error, VIRTIO_ERROR, 0, "queue-size must be a power of two");
        return false;
    }
    v->transport = regs ? &virtio_mmio_transport : &virtio_pci_transport;
    if (!regs && !virtio_pci_realize(v, error))
        return false;
    v->budget = -1;
    v->again = vmr_timer_new(&v->dev, VMR_CLOCK_VIRTUAL, look_again);
    reset_now(v);
    return true;
}

void virtio_unrealize(VirtioDevice *v)
{
    vmr_timer_free(&v->dev, v->again);
    if (v->pci.bus_iface)
        v->pci.bus_iface->detach(v->bus.device, &v->dev);
}

void virtio_device_reset(VirtioDevice *v, VmrResetPhase phase)
{
    if (phase == VMR_RESET_ENTER)
        reset_now(v);
    else if (phase == VMR_RESET_HOLD)
        v->transport->update(v);
}

void virtio_resume(VirtioDevice *v)
{
    notify_all(v);
}

bool virtio_post_load(VirtioDevice *v, GError **error)
{
    v->stale += v->in_flight;
    v->in_flight = 0;
    v->epoch++;
    v->features &= all_offered(v);
    bool packed = virtio_has(v, VIRTIO_F_RING_PACKED);
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        uint16_t size = v->q_size[i];
        bool good = size && size <= v->queue_size && (packed || !(size & (size - 1))) &&
                    v->q_desc[i] % 16 == 0 && v->q_driver[i] % 2 == 0 && v->q_device[i] % 4 == 0;
        if (packed)
            good = good && (v->q_avail[i] & 0x7fff) < size && (v->q_used[i] & 0x7fff) < size &&
                   (v->q_told[i] & 0x7fff) < size;
        if (good)
            continue;
        v->q_size[i] = (uint16_t)v->queue_size;
        v->q_ready[i] = false;
        v->q_avail[i] = v->q_used[i] = v->q_told[i] = 0;
    }
    if (v->pci.bus_iface)
        v->pci.bus_iface->restored(v->bus.device, &v->dev);
    v->transport->update(v);
    return true;
}

void virtio_describe(VirtioDevice *v, VmrDescription *d)
{
    if (v->transport != &virtio_mmio_transport)
        return; /* PCI functions are found on their bus */
    vmr_describe_string(d, "compatible", "virtio,mmio");
    vmr_describe_string(d, "acpi-hid", "LNRO0005");
    vmr_describe_number(d, "irq-level", 1);
}

const void *virtio_get_interface(VmrDevice *dev, const char *id)
{
    VirtioDevice *v = (VirtioDevice *)dev;
    return g_str_equal(id, VMR_PCI_FUNCTION) && v->function.size ? &v->function : NULL;
}
