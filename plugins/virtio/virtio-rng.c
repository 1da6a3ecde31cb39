/*
 * virtio-rng - a virtio entropy device.
 *
 * After VIRTIO 1.2, 5.4.  The host's getrandom() fills what the driver offers, at
 * most 64 KiB of a buffer.
 */
#include "virtio.h"

#include <sys/random.h>
#include <vmrun/plugin.h>

enum { FILL_MAX = 65536, PIECE = 256 }; /* getrandom() gives that much without a stop */

static void rng_notify(VirtioDevice *v, unsigned queue)
{
    VirtioChain *c;
    bool any = false;
    while ((c = virtio_pop(v, queue))) {
        uint64_t wanted = MIN(c->in_length, (uint64_t)FILL_MAX), done = 0;
        while (done < wanted) {
            uint8_t bytes[PIECE];
            size_t n = (size_t)MIN(wanted - done, (uint64_t)PIECE);
            if (getrandom(bytes, n, GRND_NONBLOCK) != (ssize_t)n ||
                virtio_write(v, c, done, bytes, n) != n)
                break;
            done += n;
        }
        virtio_push(v, c, (uint32_t)done);
        any = true;
    }
    if (any)
        virtio_signal(v, queue);
}

static const VirtioType rng_type = {
    .id = 4,
    .pci_class = 0x00ff00,
    .queue_notify = rng_notify,
};

static bool rng_realize(VmrDevice *dev, GError **error)
{
    return virtio_realize((VirtioDevice *)dev, &rng_type, 1, error);
}

static void rng_unrealize(VmrDevice *dev)
{
    virtio_unrealize((VirtioDevice *)dev);
}

static void rng_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    virtio_device_reset((VirtioDevice *)dev, phase);
}

static void rng_resume(VmrDevice *dev)
{
    virtio_resume((VirtioDevice *)dev);
}

static bool rng_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    return virtio_post_load((VirtioDevice *)dev, error);
}

static void rng_describe(VmrDevice *dev, VmrDescription *d)
{
    virtio_describe((VirtioDevice *)dev, d);
}

static const VmrProperty rng_properties[] = {VIRTIO_PROPERTIES, {.name = NULL}};
static const VmrRegion rng_regions[] = {VIRTIO_REGIONS, {.name = NULL}};
static const VmrLine rng_lines[] = {VIRTIO_LINES, {.name = NULL}};
static const VmrField rng_fields[] = {VIRTIO_FIELDS, {.name = NULL}};

static const VmrDeviceClass rng_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "virtio-rng",
    .summary = "virtio entropy source",
    .doc = "On PCI with bus = pci0, or memory-mapped with regs = ADDRESS and irq = LINE.",
    .instance_size = sizeof(VirtioDevice),
    .properties = rng_properties,
    .regions = rng_regions,
    .lines = rng_lines,
    .fields = rng_fields,
    .realize = rng_realize,
    .unrealize = rng_unrealize,
    .reset = rng_reset,
    .resume = rng_resume,
    .post_load = rng_post_load,
    .describe = rng_describe,
    .get_interface = virtio_get_interface,
};

VMR_PLUGIN_DEVICE("virtio-rng", "1.0", &rng_class);
