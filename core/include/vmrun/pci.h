/*
 * vmrun/pci.h - PCI functions and the buses that they sit on.
 *
 * A device is a PCI function by offering VMR_PCI_FUNCTION: a table that says
 * what its configuration space holds, and which of its class's regions its
 * BARs show.  Those regions are OPTIONAL, since a bus places them at run time.
 * The device has a property that links to a bus and one that names its slot:
 *
 *     [device disk0]
 *     plugin = virtio-blk
 *     bus = pci0
 *     slot = 3            # or 3.1; without it the first slot that is free
 *
 * and calls attach() of the bus in its realize and detach() in its unrealize.
 * The bus serves the configuration space: sizing and moving of BARs, the
 * command register, capabilities, and MSI and MSI-X with masks and pending bits.
 *
 * After PCI Local Bus 3.0, chapter 6.
 */
#ifndef VMRUN_PCI_H
#define VMRUN_PCI_H

#include <vmrun/host.h>

enum {
    VMR_PCI_CONFIG_SIZE = 256,
    VMR_PCI_BARS = 6,
    VMR_PCI_MSIX_MAX = 128, /* vectors of one function; the specification has 2048 */
    VMR_PCI_CAPABILITIES_MAX = 16,

    /* configuration space, type 0 header */
    VMR_PCI_VENDOR_ID = 0x00,
    VMR_PCI_DEVICE_ID = 0x02,
    VMR_PCI_COMMAND = 0x04,
    VMR_PCI_STATUS = 0x06,
    VMR_PCI_REVISION = 0x08,
    VMR_PCI_CLASS = 0x09, /* interface, subclass, base class */
    VMR_PCI_HEADER_TYPE = 0x0e,
    VMR_PCI_BAR0 = 0x10,
    VMR_PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    VMR_PCI_SUBSYSTEM_ID = 0x2e,
    VMR_PCI_ROM = 0x30,
    VMR_PCI_CAPABILITIES = 0x34,
    VMR_PCI_INTERRUPT_LINE = 0x3c,
    VMR_PCI_INTERRUPT_PIN = 0x3d,

    VMR_PCI_COMMAND_IO = 1 << 0,
    VMR_PCI_COMMAND_MEMORY = 1 << 1,
    VMR_PCI_COMMAND_MASTER = 1 << 2,
    VMR_PCI_COMMAND_INTX_DISABLE = 1 << 10,

    VMR_PCI_CAP_MSI = 0x05,
    VMR_PCI_CAP_VENDOR = 0x09,
    VMR_PCI_CAP_MSIX = 0x11,
};

/* ---- what a function says of itself ----------------------------------- */

typedef enum VmrPciBarType {
    VMR_PCI_BAR_NONE,
    VMR_PCI_BAR_IO,
    VMR_PCI_BAR_MEM32,
    VMR_PCI_BAR_MEM64, /* takes this BAR and the next, which must be NONE */
} VmrPciBarType;

typedef struct VmrPciBar {
    VmrPciBarType type;
    bool prefetchable; /* reads have no side effects; MEM32, MEM64 */
    uint32_t region;   /* index into the class's regions.  The size that the BAR tells is the
                          region's, rounded up to a power of two */
} VmrPciBar;

/* A capability; the bus gives it its place. */
typedef struct VmrPciCapability {
    uint8_t id;
    uint8_t length;          /* bytes, with the two of the header; at least 2 */
    const uint8_t *bytes;    /* length - 2 bytes: what follows the header after a reset */
    const uint8_t *writable; /* the same number: 1 bits may be written; NULL: none */
} VmrPciCapability;

#define VMR_PCI_FUNCTION "vmr.pci-function/1"
typedef struct VmrPciFunctionInterface {
    uint32_t size; /* sizeof(VmrPciFunctionInterface) */
    uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
    uint32_t class_code; /* 24 bits: base class, subclass, interface */
    uint8_t revision;
    uint8_t interrupt_pin; /* 0: none; 1: INTA# ... 4: INTD# */
    uint8_t msi_vectors;   /* 0, or a power of two up to 32 */
    uint8_t msix_bar;      /* whose region calls msix_read() and msix_write() of the bus */
    uint16_t msix_vectors; /* 0..VMR_PCI_MSIX_MAX: the table is at offset 0 of the BAR, the
                              pending bits at VMR_PCI_MSIX_PBA */
    VmrPciBar bars[VMR_PCI_BARS];
    VmrPciBar rom; /* expansion ROM: type MEM32 or NONE */
    const VmrPciCapability *capabilities;
    uint32_t capability_count;
    size_t state; /* offset of the VmrPciState in the instance */
    /* Configuration space bytes are about to be read, or were written: may change
       vmr_pci_state()->config beyond the header.  NULL: of no interest.  [io] */
    void (*config_read)(VmrDevice *dev, unsigned offset, unsigned size);
    void (*config_written)(VmrDevice *dev, unsigned offset, unsigned size);
    /* The command register may have changed: bus mastering and decoding.  NULL-able.  [io] */
    void (*command_changed)(VmrDevice *dev, uint16_t command);
} VmrPciFunctionInterface;

/* The region that holds the MSI-X table and pending bits has this size. */
#define VMR_PCI_MSIX_PBA 0x800
#define VMR_PCI_MSIX_REGION 0x1000

/*
 * A function's state, within its instance, kept by the bus.  The device lists
 * VMR_PCI_FIELDS in its fields table, and calls restored() in its post_load.
 */
typedef struct VmrPciState {
    VmrDevice *bus; /* NULL: not attached */
    const struct VmrPciBusInterface *bus_iface;
    void *slot; /* the bus's */
    uint16_t devfn;
    uint8_t msi, msix; /* offsets of these capabilities; 0: none */
    uint8_t capability[VMR_PCI_CAPABILITIES_MAX]; /* offsets of the table's capabilities */
    /* saved */
    uint8_t config[VMR_PCI_CONFIG_SIZE];
    bool intx; /* the level that the function wants */
    uint32_t msi_pending;
    uint32_t msix_table[4 * VMR_PCI_MSIX_MAX];
    uint32_t msix_pending[VMR_PCI_MSIX_MAX / 32];
} VmrPciState;

#define VMR_PCI_FIELDS(struct_, member_)                                                           \
    {"pci_config", VMR_FIELD_U8, VMR_PCI_CONFIG_SIZE, offsetof(struct_, member_.config), 1},       \
        {"pci_intx", VMR_FIELD_BOOL, 1, offsetof(struct_, member_.intx), 1},                       \
        {"pci_msi_pending", VMR_FIELD_U32, 1, offsetof(struct_, member_.msi_pending), 1},          \
        {"pci_msix_table", VMR_FIELD_U32, 4 * VMR_PCI_MSIX_MAX,                                    \
         offsetof(struct_, member_.msix_table), 1},                                                \
    {                                                                                              \
        "pci_msix_pending", VMR_FIELD_U32, VMR_PCI_MSIX_MAX / 32,                                  \
            offsetof(struct_, member_.msix_pending), 1                                             \
    }

/* ---- what a bus offers ------------------------------------------------ */

#define VMR_PCI_BUS "vmr.pci-bus/1"
typedef struct VmrPciBusInterface {
    uint32_t size; /* sizeof(VmrPciBusInterface) */
    /* Put a function on the bus, at a reset state.  slot: "3", "3.1", or NULL.  [main] */
    bool (*attach)(VmrDevice *bus, VmrDevice *function, const char *slot, GError **error);
    void (*detach)(VmrDevice *bus, VmrDevice *function);
    /* The level of the function's interrupt pin; Interrupt Disable is seen to.  [io] */
    void (*intx_set)(VmrDevice *bus, VmrDevice *function, bool level);
    /* Send message `vector`, or note it as pending while it is masked; nothing if the
       capability is not enabled.  [io] */
    void (*msi_send)(VmrDevice *bus, VmrDevice *function, unsigned vector);
    void (*msix_send)(VmrDevice *bus, VmrDevice *function, unsigned vector);
    /* The handlers of the region of the MSI-X BAR.  [io] */
    uint64_t (*msix_read)(VmrDevice *bus, VmrDevice *function, uint64_t offset, unsigned size);
    void (*msix_write)(VmrDevice *bus, VmrDevice *function, uint64_t offset, uint64_t value,
                       unsigned size);
    /* The function's state was loaded: place its BARs, drive its pin.  [io] */
    void (*restored)(VmrDevice *bus, VmrDevice *function);
} VmrPciBusInterface;

/* ---- for functions ---------------------------------------------------- */

/* The state of a device that offers VMR_PCI_FUNCTION. */
static inline VmrPciState *vmr_pci_state(VmrDevice *dev, const VmrPciFunctionInterface *function)
{
    return (VmrPciState *)((uint8_t *)dev + function->state);
}

static inline uint16_t vmr_pci_word(const VmrPciState *s, unsigned offset)
{
    return s->config[offset] | s->config[offset + 1] << 8;
}

/* May the function read and write memory? */
static inline bool vmr_pci_bus_master(const VmrPciState *s)
{
    return s->config[VMR_PCI_COMMAND] & VMR_PCI_COMMAND_MASTER;
}

static inline bool vmr_pci_msix_enabled(const VmrPciState *s)
{
    return s->msix && (s->config[s->msix + 3] & 0x80);
}

static inline bool vmr_pci_msi_enabled(const VmrPciState *s)
{
    return s->msi && (s->config[s->msi + 2] & 1);
}

/* vmr_dma_read and vmr_dma_write, refused while the function is no bus master. */
static inline VmrResult vmr_pci_dma_read(VmrDevice *dev, const VmrPciState *s, uint64_t address,
                                         void *buf, size_t len)
{
    return vmr_pci_bus_master(s) ? vmr_dma_read(dev, address, buf, len) : VMR_ERR_ACCESS;
}

static inline VmrResult vmr_pci_dma_write(VmrDevice *dev, const VmrPciState *s, uint64_t address,
                                          const void *buf, size_t len)
{
    return vmr_pci_bus_master(s) ? vmr_dma_write(dev, address, buf, len) : VMR_ERR_ACCESS;
}

#endif
