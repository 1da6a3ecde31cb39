/*
 * messages.c - MSI and MSI-X of the functions on a PCI bus.
 *
 * After PCI Local Bus 3.0, 6.8: a message is a write of data to an address.  While
 * its vector is masked, or the function is no bus master, it stays pending.
 */
#include "messages.h"

enum {
    MSI_CONTROL = 2,
    MSI_ADDRESS = 4,
    MSI_DATA = 12,
    MSI_MASK = 16,
    MSIX_CONTROL_HIGH = 3,
    MSIX_FUNCTION_MASK = 0x40,
    VECTOR_MASK = 1,
};

static uint32_t config32(const PciSlot *s, unsigned at)
{
    return vmr_pci_word(s->state, at) | (uint32_t)vmr_pci_word(s->state, at + 2) << 16;
}

static void send(PciBus *b, uint64_t address, uint32_t data)
{
    const VmrMsiSinkInterface *sink = b->msi->iface;
    if (sink)
        sink->send(b->msi->device, address, data);
}

/* ---- MSI -------------------------------------------------------------- */

static bool msi_masked(const PciSlot *s, unsigned vector)
{
    return !vmr_pci_bus_master(s->state) ||
           (config32(s, s->state->msi + MSI_MASK) >> vector & 1);
}

static void msi_now(PciBus *b, PciSlot *s, unsigned vector)
{
    unsigned at = s->state->msi;
    uint64_t address = config32(s, at + MSI_ADDRESS) |
                       (uint64_t)config32(s, at + MSI_ADDRESS + 4) << 32;
    s->state->msi_pending &= ~(1u << vector);
    send(b, address, vmr_pci_word(s->state, at + MSI_DATA) | vector);
}

void pci_bus_msi_send(PciBus *b, VmrDevice *function, unsigned vector)
{
    PciSlot *s = pci_slot(function);
    if (!s || !vmr_pci_msi_enabled(s->state))
        return;
    unsigned log2 = s->state->config[s->state->msi + MSI_CONTROL] >> 4 & 7;
    unsigned offered = s->state->config[s->state->msi + MSI_CONTROL] >> 1 & 7;
    vector &= (1u << MIN(log2, offered)) - 1; /* as many as the guest has allowed */
    if (msi_masked(s, vector))
        s->state->msi_pending |= 1u << vector;
    else
        msi_now(b, s, vector);
}

/* ---- MSI-X ------------------------------------------------------------ */

static bool msix_masked(const PciSlot *s, unsigned vector)
{
    const VmrPciState *state = s->state;
    return !vmr_pci_bus_master(state) ||
           (state->config[state->msix + MSIX_CONTROL_HIGH] & MSIX_FUNCTION_MASK) ||
           (state->msix_table[4 * vector + 3] & VECTOR_MASK);
}

static void msix_now(PciBus *b, PciSlot *s, unsigned vector)
{
    const uint32_t *e = &s->state->msix_table[4 * vector];
    s->state->msix_pending[vector / 32] &= ~(1u << vector % 32);
    send(b, e[0] | (uint64_t)e[1] << 32, e[2]);
}

void pci_bus_msix_send(PciBus *b, VmrDevice *function, unsigned vector)
{
    PciSlot *s = pci_slot(function);
    if (!s || vector >= s->fn->msix_vectors || !vmr_pci_msix_enabled(s->state))
        return;
    if (msix_masked(s, vector))
        s->state->msix_pending[vector / 32] |= 1u << vector % 32;
    else
        msix_now(b, s, vector);
}

static bool is_pending(const PciSlot *s, unsigned vector)
{
    return s->state->msix_pending[vector / 32] >> vector % 32 & 1;
}

void pci_messages_update(PciBus *b, PciSlot *s)
{
    if (vmr_pci_msix_enabled(s->state))
        for (unsigned v = 0; v < s->fn->msix_vectors; v++)
            if (is_pending(s, v) && !msix_masked(s, v))
                msix_now(b, s, v);
    if (vmr_pci_msi_enabled(s->state) && s->state->msi_pending)
        for (unsigned v = 0; v < s->fn->msi_vectors; v++)
            if ((s->state->msi_pending >> v & 1) && !msi_masked(s, v))
                msi_now(b, s, v);
}

/* ---- the table -------------------------------------------------------- */

static uint32_t msix_word(const PciSlot *s, uint64_t offset)
{
    if (offset < 16u * s->fn->msix_vectors)
        return s->state->msix_table[offset / 4];
    if (offset >= VMR_PCI_MSIX_PBA && (offset - VMR_PCI_MSIX_PBA) / 4 < VMR_PCI_MSIX_MAX / 32)
        return s->state->msix_pending[(offset - VMR_PCI_MSIX_PBA) / 4];
    return 0;
}

uint64_t pci_bus_msix_read(PciBus *b, VmrDevice *function, uint64_t offset, unsigned size)
{
    PciSlot *s = pci_slot(function);
    if (!s)
        return UINT64_MAX;
    uint64_t value = msix_word(s, offset) >> (8 * (offset % 4));
    if (size == 8)
        value |= (uint64_t)msix_word(s, offset + 4) << 32;
    return value;
}

static void msix_write_word(PciBus *b, PciSlot *s, uint64_t offset, uint32_t value)
{
    if (offset >= 16u * s->fn->msix_vectors)
        return;
    unsigned vector = (unsigned)(offset / 16);
    if (offset % 16 == 12)
        value &= VECTOR_MASK;
    else if (offset % 16 == 0)
        value &= ~3u;
    s->state->msix_table[offset / 4] = value;
    if (is_pending(s, vector) && vmr_pci_msix_enabled(s->state) && !msix_masked(s, vector))
        msix_now(b, s, vector);
}

/* The specification allows doublewords and quadwords only. */
void pci_bus_msix_write(PciBus *b, VmrDevice *function, uint64_t offset, uint64_t value,
                        unsigned size)
{
    PciSlot *s = pci_slot(function);
    if (!s || size < 4)
        return;
    msix_write_word(b, s, offset, (uint32_t)value);
    if (size == 8)
        msix_write_word(b, s, offset + 4, value >> 32);
}
