/*
 * virtio.h - what every virtio device shares: state, queues, and both transports.
 *
 * After OASIS Virtual I/O Device (VIRTIO) 1.2.  A device embeds a VirtioDevice as
 * the first member of its instance, lists VIRTIO_PROPERTIES, VIRTIO_REGIONS (first
 * in its table), VIRTIO_LINES and VIRTIO_FIELDS, and points its class's functions
 * to those below or calls them from its own.  It sits on a PCI bus if the machine
 * file says bus = pci0, and is memory-mapped if it says regs = ADDRESS, irq = LINE.
 *
 * How buffers go: queue_notify(v, q) is called when the driver may have added
 * some; the device pops chains until there is none, and gives each back with
 * virtio_push(), at once or later; then virtio_signal() tells the driver.
 *
 * Everything here is [io] unless said otherwise.
 */
#ifndef VIRTIO_H
#define VIRTIO_H

#include <vmrun/describe.h>
#include <vmrun/pci.h>

enum {
    VIRTIO_QUEUES_MAX = 64,
    VIRTIO_QUEUE_SIZE_MAX = 1024,
    VIRTIO_SEGMENTS_MAX = 1024, /* of one chain, indirect ones included */
    VIRTIO_CONFIG_MAX = 256,    /* bytes of device configuration */
    VIRTIO_NO_VECTOR = 0xffff,

    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_NEEDS_RESET = 0x40,
    VIRTIO_STATUS_FAILED = 0x80,
};

#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)
#define VIRTIO_F_RING_PACKED (1ull << 34)
#define VIRTIO_F_IN_ORDER (1ull << 35)
#define VIRTIO_F_NOTIFICATION_DATA (1ull << 38)

typedef struct VirtioDevice VirtioDevice;

/* What kind of device it is. */
typedef struct VirtioType {
    uint16_t id;         /* 1 network, 2 block, ... */
    uint32_t pci_class;  /* 24 bits */
    uint32_t config_size;
    /* The driver may have added buffers to a queue; also after a pause. */
    void (*queue_notify)(VirtioDevice *v, unsigned queue);
    /* The driver has written to v->config[offset..]; NULL: it is read-only. */
    void (*config_written)(VirtioDevice *v, unsigned offset, unsigned size);
    /* Drop all chains that are held (virtio_drop) and forget what the driver has set. */
    void (*reset)(VirtioDevice *v);
    /* The features are agreed on.  NULL-able. */
    void (*features_ok)(VirtioDevice *v);
} VirtioType;

typedef struct VirtioTransport {
    void (*signal_queue)(VirtioDevice *v, unsigned queue);
    void (*signal_config)(VirtioDevice *v);
    void (*update)(VirtioDevice *v); /* the interrupt status has changed */
} VirtioTransport;

struct VirtioDevice {
    VmrDevice dev;
    /* properties */
    VmrLink bus;
    const char *slot;
    bool packed, event_idx, indirect;
    uint32_t queue_size;
    VmrIrq irq; /* memory-mapped */

    /* set by the device: before virtio_realize() `offered`; `config` at any time, followed by
       virtio_config_changed() if the driver may have read it */
    uint64_t offered; /* its own feature bits; the common ones are added */
    uint8_t config[VIRTIO_CONFIG_MAX];

    /* internal */
    const VirtioType *type;
    const VirtioTransport *transport;
    unsigned queue_count;
    unsigned in_flight, stale; /* chains that the device holds: of now, of before a reset */
    unsigned epoch;            /* resets so far */
    int budget;                /* chains that one notification may still take; -1: any number */
    VmrTimer *again;           /* it was used up: look at the queues again soon */
    VmrPciFunctionInterface function;
    VmrPciCapability capabilities[5];
    uint8_t capability_bytes[5][18];
    VmrPciState pci;

    /* saved */
    uint64_t features; /* what the driver wants */
    uint8_t status, isr, generation;
    uint32_t device_select, driver_select; /* halves of the feature bits */
    uint16_t queue_select, config_vector;
    uint64_t q_desc[VIRTIO_QUEUES_MAX], q_driver[VIRTIO_QUEUES_MAX], q_device[VIRTIO_QUEUES_MAX];
    uint16_t q_size[VIRTIO_QUEUES_MAX], q_vector[VIRTIO_QUEUES_MAX];
    bool q_ready[VIRTIO_QUEUES_MAX];
    /* Split: indices that run freely.  Packed: index, and the wrap counter in bit 15. */
    uint16_t q_avail[VIRTIO_QUEUES_MAX], q_used[VIRTIO_QUEUES_MAX];
    uint16_t q_told[VIRTIO_QUEUES_MAX]; /* q_used when the driver was last asked if it wants to know */
};

/* ---- chains ----------------------------------------------------------- */

typedef struct VirtioSegment {
    uint64_t address;
    uint32_t length;
} VirtioSegment;

/* A buffer of the driver's: first what the device reads, then what it writes. */
typedef struct VirtioChain {
    uint16_t queue, id;
    uint16_t slots; /* packed: descriptors of the ring that it takes */
    unsigned epoch;
    unsigned out_count, in_count;   /* segments */
    uint64_t out_length, in_length; /* bytes */
    VirtioSegment segments[];       /* out, then in */
} VirtioChain;

/* The next chain of a queue; NULL: there is none (now).  Bad rings give none, and the device
   then needs a reset. */
VirtioChain *virtio_pop(VirtioDevice *v, unsigned queue);
/* Give it back, `written` bytes of its in part filled, and free it.  After a reset it is only
   freed. */
void virtio_push(VirtioDevice *v, VirtioChain *chain, uint32_t written);
/* The same with several of one queue, which the driver then sees at once. */
void virtio_push_all(VirtioDevice *v, VirtioChain *const *chains, const uint32_t *written,
                     unsigned count);
/* Free it without giving it back (in reset). */
void virtio_drop(VirtioDevice *v, VirtioChain *chain);
/* Put it back, to be popped again: only the chain that was popped last. */
void virtio_unpop(VirtioDevice *v, VirtioChain *chain);
/* Interrupt the driver, if it wants to know of what was pushed. */
void virtio_signal(VirtioDevice *v, unsigned queue);
/* Does the queue work?  Then notifications are worth something. */
bool virtio_queue_live(const VirtioDevice *v, unsigned queue);

/* Copy from the out part / to the in part, from `offset`: how many bytes there were. */
size_t virtio_read(VirtioDevice *v, const VirtioChain *c, uint64_t offset, void *buf, size_t len);
size_t virtio_write(VirtioDevice *v, const VirtioChain *c, uint64_t offset, const void *buf,
                    size_t len);
/* Borrow `length` bytes of the in or out part, all RAM: how many buffers, at most `max`; 0: it
   is not possible.  Give them back with how many bytes from the start were written. */
unsigned virtio_map(VirtioDevice *v, const VirtioChain *c, bool in, uint64_t offset,
                    uint64_t length, VmrBuffer *buffers, unsigned max);
void virtio_unmap(VirtioDevice *v, const VmrBuffer *buffers, unsigned count, uint64_t written);

/* ---- devices ---------------------------------------------------------- */

/* Choose the transport, attach to the bus.  [main] */
bool virtio_realize(VirtioDevice *v, const VirtioType *type, unsigned queues, GError **error);
void virtio_unrealize(VirtioDevice *v);
void virtio_device_reset(VirtioDevice *v, VmrResetPhase phase);
/* Once the machine goes on: look at all queues. */
void virtio_resume(VirtioDevice *v);
bool virtio_post_load(VirtioDevice *v, GError **error);
void virtio_describe(VirtioDevice *v, VmrDescription *d);
const void *virtio_get_interface(VmrDevice *dev, const char *id);

/* The device's configuration has changed: tell the driver. */
void virtio_config_changed(VirtioDevice *v);
/* The driver broke the rules: count it, and work no more until it resets the device. */
G_GNUC_PRINTF(2, 3) void virtio_broken(VirtioDevice *v, const char *format, ...);

static inline bool virtio_has(const VirtioDevice *v, uint64_t feature)
{
    return v->features & feature;
}

/* Little-endian members of v->config. */
static inline void virtio_put16(uint8_t *p, uint16_t x)
{
    p[0] = x & 0xff;
    p[1] = x >> 8;
}

static inline void virtio_put32(uint8_t *p, uint32_t x)
{
    virtio_put16(p, x & 0xffff);
    virtio_put16(p + 2, x >> 16);
}

static inline void virtio_put64(uint8_t *p, uint64_t x)
{
    virtio_put32(p, (uint32_t)x);
    virtio_put32(p + 4, x >> 32);
}

static inline uint16_t virtio_get16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

static inline uint32_t virtio_get32(const uint8_t *p)
{
    return virtio_get16(p) | (uint32_t)virtio_get16(p + 2) << 16;
}

static inline uint64_t virtio_get64(const uint8_t *p)
{
    return virtio_get32(p) | (uint64_t)virtio_get32(p + 4) << 32;
}

/* ---- tables ----------------------------------------------------------- */

/* Handlers of the regions. */
uint64_t virtio_mmio_read(VmrDevice *dev, uint64_t offset, unsigned size);
void virtio_mmio_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size);
uint64_t virtio_pci_config_read(VmrDevice *dev, uint64_t offset, unsigned size);
void virtio_pci_config_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size);
void virtio_pci_notify_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size);
uint64_t virtio_pci_msix_read(VmrDevice *dev, uint64_t offset, unsigned size);
void virtio_pci_msix_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size);

/* Their places in the class's table. */
enum { VIRTIO_REGION_REGS, VIRTIO_REGION_CONFIG, VIRTIO_REGION_NOTIFY, VIRTIO_REGION_MSIX };
enum {
    VIRTIO_MMIO_SIZE = 0x200,
    VIRTIO_PCI_CONFIG_SIZE = 0x4000,
    VIRTIO_PCI_NOTIFY_SIZE = 0x1000,
};

#define VIRTIO_PROPERTIES                                                                          \
    {.name = "bus", .type = VMR_PROP_LINK, .offset = offsetof(VirtioDevice, bus),                  \
     .interface = VMR_PCI_BUS, .doc = "the PCI bus that it sits on; or give regs and irq"},        \
    {.name = "slot", .type = VMR_PROP_STRING, .offset = offsetof(VirtioDevice, slot),              \
     .doc = "where on the bus, as 3 or 3.1; the first free slot if unset"},                        \
    {.name = "packed", .type = VMR_PROP_BOOL, .offset = offsetof(VirtioDevice, packed),            \
     .default_text = "off", .doc = "offer packed rings"},                                          \
    {.name = "event-idx", .type = VMR_PROP_BOOL, .offset = offsetof(VirtioDevice, event_idx),      \
     .default_text = "on", .doc = "offer event indices, which save notifications"},                \
    {.name = "indirect", .type = VMR_PROP_BOOL, .offset = offsetof(VirtioDevice, indirect),        \
     .default_text = "on", .doc = "offer indirect descriptors"},                                   \
    {.name = "queue-size", .type = VMR_PROP_U32, .offset = offsetof(VirtioDevice, queue_size),     \
     .default_text = "256", .min = 2, .max = VIRTIO_QUEUE_SIZE_MAX,                                \
     .doc = "descriptors of a queue at most, a power of two"}

#define VIRTIO_REGIONS                                                                             \
    {.name = "regs", .kind = VMR_REGION_MMIO, .flags = VMR_REGION_OPTIONAL,                        \
     .size = VIRTIO_MMIO_SIZE, .impl_min = 1, .impl_max = 4, .read = virtio_mmio_read,             \
     .write = virtio_mmio_write, .doc = "the registers of a memory-mapped device"},                \
    {.name = "config", .kind = VMR_REGION_MMIO, .flags = VMR_REGION_OPTIONAL,                      \
     .size = VIRTIO_PCI_CONFIG_SIZE, .impl_min = 1, .impl_max = 4,                                 \
     .read = virtio_pci_config_read, .write = virtio_pci_config_write,                             \
     .doc = "PCI, BAR 0: common configuration, ISR status at 0x1000, device's at 0x2000; placed "  \
            "by the bus"},                                                                         \
    {.name = "notify", .kind = VMR_REGION_MMIO,                                                    \
     .flags = VMR_REGION_OPTIONAL | VMR_REGION_DOORBELL, .size = VIRTIO_PCI_NOTIFY_SIZE,           \
     .impl_min = 2, .impl_max = 4, .write = virtio_pci_notify_write,                               \
     .doc = "PCI, BAR 2: a write at 4 * N notifies queue N; placed by the bus"},                   \
    {.name = "msix", .kind = VMR_REGION_MMIO, .flags = VMR_REGION_OPTIONAL,                        \
     .size = VMR_PCI_MSIX_REGION, .valid_min = 4, .impl_min = 4, .impl_max = 8,                    \
     .read = virtio_pci_msix_read, .write = virtio_pci_msix_write,                                 \
     .doc = "PCI, BAR 4: MSI-X table and pending bits; placed by the bus"}

#define VIRTIO_LINES                                                                               \
    {.name = "irq", .direction = VMR_LINE_OUT, .count = 1, .offset = offsetof(VirtioDevice, irq),  \
     .doc = "interrupt of a memory-mapped device, a level; on PCI the bus has it"}

#define VIRTIO_FIELD_(type_, member_)                                                              \
    {#member_, VMR_FIELD_##type_, 1, offsetof(VirtioDevice, member_), 1}
#define VIRTIO_FIELD_Q_(type_, member_)                                                            \
    {#member_, VMR_FIELD_##type_, VIRTIO_QUEUES_MAX, offsetof(VirtioDevice, member_), 1}

#define VIRTIO_FIELDS                                                                              \
    VIRTIO_FIELD_(U64, features), VIRTIO_FIELD_(U8, status), VIRTIO_FIELD_(U8, isr),               \
        VIRTIO_FIELD_(U8, generation), VIRTIO_FIELD_(U32, device_select),                          \
        VIRTIO_FIELD_(U32, driver_select), VIRTIO_FIELD_(U16, queue_select),                       \
        VIRTIO_FIELD_(U16, config_vector), VIRTIO_FIELD_Q_(U64, q_desc),                           \
        VIRTIO_FIELD_Q_(U64, q_driver), VIRTIO_FIELD_Q_(U64, q_device),                            \
        VIRTIO_FIELD_Q_(U16, q_size), VIRTIO_FIELD_Q_(U16, q_vector),                              \
        VIRTIO_FIELD_Q_(BOOL, q_ready), VIRTIO_FIELD_Q_(U16, q_avail),                             \
        VIRTIO_FIELD_Q_(U16, q_used), VIRTIO_FIELD_Q_(U16, q_told),                                \
        VMR_PCI_FIELDS(VirtioDevice, pci)

#endif
