/*
 * bus.c - configuration spaces of the functions on one PCI bus.
 *
 * After PCI Local Bus 3.0, chapter 6: type 0 headers (6.1), the command and status
 * registers (6.2), base address registers (6.2.5), capabilities (6.7), MSI with
 * per-vector masks and MSI-X (6.8).
 *
 * A function's configuration space is bytes with two masks: what a write sets,
 * and what a write of 1 clears.  What a change causes is done after the write.
 * Leaves out parity and system errors, fast back-to-back, VPD and power states.
 */
#include "bus.h"
#include "messages.h"

#include <string.h>

#define PCI_ERROR g_quark_from_static_string("pci")

enum {
    STATUS_INTERRUPT = 1 << 3,
    STATUS_CAPABILITIES = 1 << 4,
    MULTI_FUNCTION = 0x80,
    COMMAND_WRITABLE = VMR_PCI_COMMAND_IO | VMR_PCI_COMMAND_MEMORY | VMR_PCI_COMMAND_MASTER |
                       1 << 6 /* parity */ | 1 << 8 /* SERR# */ | VMR_PCI_COMMAND_INTX_DISABLE,
    BAR_IO = 1,
    BAR_MEM64 = 4,
    BAR_PREFETCHABLE = 8,
    ROM_ENABLE = 1,
    FIRST_CAPABILITY = 0x40,
};

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = v & 0xff;
    p[1] = v >> 8;
}

static uint32_t get32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v & 0xffff);
    put16(p + 2, v >> 16);
}

static PciSlot *slot_of(const VmrPciFunctionInterface *fn, VmrDevice *function)
{
    return fn ? vmr_pci_state(function, fn)->slot : NULL;
}

PciSlot *pci_slot(VmrDevice *function)
{
    return slot_of(vmr_device_interface(function, VMR_PCI_FUNCTION), function);
}

/* ---- interrupts pins -------------------------------------------------- */

static void update_pin(PciBus *b, PciSlot *s)
{
    unsigned pin = s->fn->interrupt_pin;
    if (pin < 1 || pin > 4)
        return;
    unsigned line = ((s->state->devfn >> 3) + pin - 1) % 4;
    bool level = s->state->intx &&
                 !(vmr_pci_word(s->state, VMR_PCI_COMMAND) & VMR_PCI_COMMAND_INTX_DISABLE) &&
                 !vmr_pci_msix_enabled(s->state) && !vmr_pci_msi_enabled(s->state);
    if (level == s->driving)
        return;
    s->driving = level;
    b->asserting[line] += level ? 1 : -1;
    vmr_irq_set(b->owner, b->intx[line], b->asserting[line] > 0);
}

void pci_bus_intx_set(PciBus *b, VmrDevice *function, bool level)
{
    PciSlot *s = pci_slot(function);
    if (!s)
        return;
    s->state->intx = level;
    update_pin(b, s);
}

/* ---- base address registers ------------------------------------------- */

static const VmrPciBar *bar_of(const PciSlot *s, unsigned n)
{
    return n == PCI_BAR_ROM ? &s->fn->rom : &s->fn->bars[n];
}

static unsigned bar_offset(unsigned n)
{
    return n == PCI_BAR_ROM ? VMR_PCI_ROM : VMR_PCI_BAR0 + 4 * n;
}

static const VmrRegion *region_of(const VmrDeviceClass *klass, uint32_t index)
{
    const VmrRegion *r = klass->regions;
    for (; r && r->name; r++)
        if (index-- == 0)
            return r;
    return NULL;
}

static uint64_t region_size(const PciSlot *s, uint32_t index)
{
    const VmrRegion *r = region_of(s->dev->klass, index);
    uint64_t size = r ? r->size : 0;
    if (r && !size)
        memcpy(&size, (uint8_t *)s->dev + r->size_offset, sizeof(size));
    return size;
}

static uint64_t bar_address(const PciSlot *s, unsigned n)
{
    const VmrPciBar *bar = bar_of(s, n);
    uint64_t value = get32(s->state->config + bar_offset(n));
    if (bar->type == VMR_PCI_BAR_MEM64)
        value |= (uint64_t)get32(s->state->config + bar_offset(n) + 4) << 32;
    return value & ~(s->bar_size[n] - 1);
}

/* Show the regions where the BARs say, as far as the command register lets them. */
static void update_bars(PciSlot *s)
{
    uint16_t command = vmr_pci_word(s->state, VMR_PCI_COMMAND);
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        const VmrPciBar *bar = bar_of(s, n);
        if (!s->bar_size[n])
            continue;
        bool io = bar->type == VMR_PCI_BAR_IO;
        uint64_t base = bar_address(s, n);
        bool on = command & (io ? VMR_PCI_COMMAND_IO : VMR_PCI_COMMAND_MEMORY);
        if (n == PCI_BAR_ROM)
            on = on && (s->state->config[VMR_PCI_ROM] & ROM_ENABLE);
        /* 0 is a BAR that nobody has set yet; all ones, one whose size is being asked for. */
        on = on && base != 0 && base + s->bar_size[n] > base;
        if (bar->type != VMR_PCI_BAR_MEM64)
            on = on && base + s->bar_size[n] <= UINT32_MAX;
        vmr_region_map(s->dev, bar->region, io ? VMR_SPACE_IO : VMR_SPACE_MEMORY, base, on);
    }
}

static bool lay_out_bar(PciSlot *s, unsigned n, GError **error)
{
    const VmrPciBar *bar = bar_of(s, n);
    unsigned at = bar_offset(n);
    if (bar->type == VMR_PCI_BAR_NONE)
        return true;
    uint64_t size = region_size(s, bar->region), whole = bar->type == VMR_PCI_BAR_IO ? 4 : 16;
    if (n == PCI_BAR_ROM)
        whole = 2048;
    while (whole < size && whole < (uint64_t)1 << 48)
        whole *= 2;
    if (!size || size > whole || (n == VMR_PCI_BARS - 1 && bar->type == VMR_PCI_BAR_MEM64) ||
        (bar->type != VMR_PCI_BAR_MEM64 && whole > 1u << 31)) {
        g_set_error(error, PCI_ERROR, 0, "BAR %u: a region of %" G_GUINT64_FORMAT " bytes is "
                    "not possible", n, size);
        return false;
    }
    s->bar_size[n] = whole;
    put32(s->writable + at, ~(uint32_t)(whole - 1));
    if (bar->type == VMR_PCI_BAR_IO)
        s->initial[at] = BAR_IO;
    else if (n == PCI_BAR_ROM)
        s->writable[at] |= ROM_ENABLE;
    else
        s->initial[at] = (bar->type == VMR_PCI_BAR_MEM64 ? BAR_MEM64 : 0) |
                         (bar->prefetchable ? BAR_PREFETCHABLE : 0);
    if (bar->type == VMR_PCI_BAR_MEM64)
        put32(s->writable + at + 4, (uint32_t)(~(whole - 1) >> 32));
    return true;
}

/* ---- capabilities ----------------------------------------------------- */

typedef struct Layout {
    unsigned next; /* free offset */
    unsigned link; /* where the next capability's offset goes */
} Layout;

/* Room for a capability of `length` bytes: its offset, or 0. */
static unsigned add_capability(PciSlot *s, Layout *l, uint8_t id, unsigned length)
{
    unsigned at = l->next;
    if (length < 2 || at + length > VMR_PCI_CONFIG_SIZE)
        return 0;
    s->initial[at] = id;
    s->initial[l->link] = (uint8_t)at;
    l->link = at + 1;
    l->next = (at + length + 3) & ~3u;
    return at;
}

static bool lay_out_capabilities(PciBus *b, PciSlot *s)
{
    const VmrPciFunctionInterface *fn = s->fn;
    VmrPciState *state = s->state;
    Layout l = {FIRST_CAPABILITY, VMR_PCI_CAPABILITIES};
    bool messages = b->msi->device != NULL;

    if (messages && fn->msix_vectors) {
        unsigned at = add_capability(s, &l, VMR_PCI_CAP_MSIX, 12);
        put16(s->initial + at + 2, fn->msix_vectors - 1);
        s->writable[at + 3] = 0xc0; /* enable, function mask */
        put32(s->initial + at + 4, fn->msix_bar);
        put32(s->initial + at + 8, VMR_PCI_MSIX_PBA | fn->msix_bar);
        state->msix = (uint8_t)at;
    }
    if (messages && fn->msi_vectors) {
        unsigned at = add_capability(s, &l, VMR_PCI_CAP_MSI, 24);
        unsigned log2 = 0;
        while (1u << (log2 + 1) <= fn->msi_vectors)
            log2++;
        s->initial[at + 2] = (uint8_t)(log2 << 1 | 0x80); /* 64-bit address */
        s->initial[at + 3] = 1;                           /* masks */
        s->writable[at + 2] = 0x71;                       /* enable, multiple message enable */
        put32(s->writable + at + 4, ~3u);
        put32(s->writable + at + 8, UINT32_MAX);
        put16(s->writable + at + 12, UINT16_MAX);
        put32(s->writable + at + 16, log2 == 5 ? UINT32_MAX : (1u << (1u << log2)) - 1);
        state->msi = (uint8_t)at;
    }
    for (unsigned i = 0; i < fn->capability_count; i++) {
        const VmrPciCapability *c = &fn->capabilities[i];
        unsigned at = add_capability(s, &l, c->id, c->length);
        if (!at)
            return false;
        memcpy(s->initial + at + 2, c->bytes, c->length - 2);
        if (c->writable)
            memcpy(s->writable + at + 2, c->writable, c->length - 2);
        state->capability[i] = (uint8_t)at;
    }
    if (s->initial[VMR_PCI_CAPABILITIES])
        s->initial[VMR_PCI_STATUS] |= STATUS_CAPABILITIES;
    return true;
}

static bool lay_out(PciBus *b, PciSlot *s, GError **error)
{
    const VmrPciFunctionInterface *fn = s->fn;
    uint8_t *c = s->initial;

    put16(c + VMR_PCI_VENDOR_ID, fn->vendor_id);
    put16(c + VMR_PCI_DEVICE_ID, fn->device_id);
    c[VMR_PCI_REVISION] = fn->revision;
    c[VMR_PCI_CLASS] = fn->class_code & 0xff;
    put16(c + VMR_PCI_CLASS + 1, fn->class_code >> 8 & 0xffff);
    put16(c + VMR_PCI_SUBSYSTEM_VENDOR_ID, fn->subsystem_vendor_id);
    put16(c + VMR_PCI_SUBSYSTEM_ID, fn->subsystem_id);
    c[VMR_PCI_INTERRUPT_PIN] = fn->interrupt_pin;
    s->writable[VMR_PCI_INTERRUPT_LINE] = 0xff;
    s->writable[0x0c] = 0xff; /* cache line size, latency: kept, without meaning */
    s->writable[0x0d] = 0xf8;
    put16(s->writable + VMR_PCI_COMMAND, COMMAND_WRITABLE);
    s->clearing[VMR_PCI_STATUS + 1] = 0xf9;
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++)
        if (!lay_out_bar(s, n, error))
            return false;
    if (fn->msix_vectors > VMR_PCI_MSIX_MAX || fn->interrupt_pin > 4 || fn->msi_vectors > 32 ||
        fn->capability_count > VMR_PCI_CAPABILITIES_MAX || !lay_out_capabilities(b, s)) {
        g_set_error(error, PCI_ERROR, 0, "the table of its PCI function is wrong");
        return false;
    }
    return true;
}

/* ---- on and off the bus ----------------------------------------------- */

static void reset_slot(PciSlot *s)
{
    VmrPciState *state = s->state;
    memcpy(state->config, s->initial, sizeof(state->config));
    state->intx = false;
    state->msi_pending = 0;
    memset(state->msix_pending, 0, sizeof(state->msix_pending));
    memset(state->msix_table, 0, sizeof(state->msix_table));
    for (unsigned i = 0; i < VMR_PCI_MSIX_MAX; i++)
        state->msix_table[4 * i + 3] = 1; /* masked */
}

/* "3", "3.1", "0x1f.7"; false: neither. */
static bool parse_slot(const char *text, unsigned *devfn)
{
    char *end;
    guint64 device = g_ascii_strtoull(text, &end, 0), function = 0;
    if (end == text)
        return false;
    if (*end == '.') {
        const char *from = end + 1;
        function = g_ascii_strtoull(from, &end, 0);
        if (end == from)
            return false;
    }
    *devfn = (unsigned)(device << 3 | function);
    return !*end && device < 32 && function < 8;
}

static bool find_place(const PciBus *b, const char *slot, unsigned *devfn, GError **error)
{
    if (slot) {
        if (!parse_slot(slot, devfn)) {
            g_set_error(error, PCI_ERROR, 0,
                        "slot '%s': a number from 0 to 31 is wanted, or as in 3.1, one and a "
                        "function from 0 to 7", slot);
            return false;
        }
        if (b->slots[*devfn]) {
            g_set_error(error, PCI_ERROR, 0, "slot %s is taken by %s", slot,
                        b->slots[*devfn]->dev->name);
            return false;
        }
        return true;
    }
    for (*devfn = 8; *devfn < PCI_FUNCTIONS; *devfn += 8) {
        bool empty = true;
        for (unsigned f = 0; f < 8; f++)
            empty = empty && !b->slots[*devfn + f];
        if (empty)
            return true;
    }
    g_set_error(error, PCI_ERROR, 0, "no slot is free");
    return false;
}

bool pci_bus_attach(PciBus *b, VmrDevice *function, const char *slot, GError **error)
{
    const VmrPciFunctionInterface *fn = vmr_device_interface(function, VMR_PCI_FUNCTION);
    unsigned devfn;
    if (!fn || fn->size < sizeof(*fn)) {
        g_set_error(error, PCI_ERROR, 0, "%s is no PCI function", function->klass->id);
        return false;
    }
    if (!find_place(b, slot, &devfn, error))
        return false;
    PciSlot *s = g_new0(PciSlot, 1);
    s->dev = function;
    s->fn = fn;
    s->state = vmr_pci_state(function, fn);
    s->state->devfn = (uint16_t)devfn;
    if (!lay_out(b, s, error)) {
        g_free(s);
        return false;
    }
    s->state->slot = s;
    s->state->bus = b->owner;
    s->state->bus_iface = vmr_device_interface(b->owner, VMR_PCI_BUS);
    b->slots[devfn] = s;
    reset_slot(s);
    return true;
}

void pci_bus_detach(PciBus *b, VmrDevice *function)
{
    PciSlot *s = pci_slot(function);
    if (!s || b->slots[s->state->devfn] != s)
        return;
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++)
        if (s->bar_size[n])
            vmr_region_map(s->dev, bar_of(s, n)->region, VMR_SPACE_MEMORY, 0, false);
    pci_bus_intx_set(b, function, false);
    b->slots[s->state->devfn] = NULL;
    s->state->slot = NULL;
    s->state->bus = NULL;
    s->state->bus_iface = NULL;
    g_free(s);
}

#define FOR_EACH_SLOT(b_, s_)                                                                      \
    for (unsigned i_ = 0; i_ < PCI_FUNCTIONS; i_++)                                                \
        for (PciSlot *s_ = (b_)->slots[i_]; s_; s_ = NULL)

void pci_bus_reset(PciBus *b)
{
    FOR_EACH_SLOT(b, s) {
        reset_slot(s);
        update_bars(s);
    }
}

void pci_bus_hold(PciBus *b)
{
    FOR_EACH_SLOT(b, s)
        s->driving = false;
    for (unsigned i = 0; i < 4; i++) {
        b->asserting[i] = 0;
        vmr_irq_set(b->owner, b->intx[i], false);
    }
}

void pci_bus_restored(PciBus *b, VmrDevice *function)
{
    PciSlot *s = pci_slot(function);
    if (!s)
        return;
    uint8_t *config = s->state->config;
    for (unsigned i = 0; i < VMR_PCI_CONFIG_SIZE; i++) {
        uint8_t loaded = s->writable[i] | s->clearing[i];
        config[i] = (uint8_t)((s->initial[i] & ~loaded) | (config[i] & loaded));
    }
    for (unsigned i = 0; i < VMR_PCI_MSIX_MAX; i++)
        s->state->msix_table[4 * i + 3] &= 1;
    update_bars(s);
    update_pin(b, s);
    pci_messages_update(b, s);
}

/* ---- what firmware does ----------------------------------------------- */

static uint64_t take(uint64_t *next, uint64_t end, uint64_t size)
{
    uint64_t base = (*next + size - 1) & ~(size - 1);
    if (base < *next || end < base || end - base < size)
        return 0;
    *next = base + size;
    return base;
}

static void assign_bar(PciBus *b, PciSlot *s, unsigned n, PciWindows *w)
{
    const VmrPciBar *bar = bar_of(s, n);
    uint64_t size = s->bar_size[n], base = 0;
    unsigned at = bar_offset(n);
    if (!size)
        return;
    if (bar->type == VMR_PCI_BAR_IO)
        base = take(&w->io, w->io_end, size);
    else
        base = take(&w->memory, w->memory_end, MAX(size, 4096));
    if (!base && bar->type == VMR_PCI_BAR_MEM64)
        base = take(&w->memory64, w->memory64_end, size);
    if (!base)
        vmr_log(b->owner, VMR_LOG_WARNING, "%s: there is no room for BAR %u", s->dev->name, n);
    put32(s->state->config + at, (uint32_t)base | (s->initial[at] & 0xf));
    if (bar->type == VMR_PCI_BAR_MEM64)
        put32(s->state->config + at + 4, base >> 32);
}

void pci_bus_assign(PciBus *b, PciWindows *w, const uint8_t line[4])
{
    FOR_EACH_SLOT(b, s) {
        uint8_t decode = 0;
        for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
            assign_bar(b, s, n, w);
            if (s->bar_size[n] && n != PCI_BAR_ROM)
                decode |= bar_of(s, n)->type == VMR_PCI_BAR_IO ? VMR_PCI_COMMAND_IO
                                                               : VMR_PCI_COMMAND_MEMORY;
        }
        s->state->config[VMR_PCI_COMMAND] |= decode;
        if (s->fn->interrupt_pin)
            s->state->config[VMR_PCI_INTERRUPT_LINE] =
                line[((s->state->devfn >> 3) + s->fn->interrupt_pin - 1) % 4];
        update_bars(s);
    }
}

/* ---- accesses --------------------------------------------------------- */

static uint8_t byte_at(const PciBus *b, const PciSlot *s, unsigned offset)
{
    uint8_t v = s->state->config[offset];
    if (offset == VMR_PCI_STATUS && s->state->intx)
        v |= STATUS_INTERRUPT;
    if (offset == VMR_PCI_HEADER_TYPE && !(s->state->devfn & 7))
        for (unsigned f = 1; f < 8; f++)
            if (b->slots[s->state->devfn + f])
                v |= MULTI_FUNCTION;
    if (s->state->msi && offset >= s->state->msi + 20u && offset < s->state->msi + 24u)
        v = (uint8_t)(s->state->msi_pending >> (8 * (offset - s->state->msi - 20)));
    return v;
}

uint32_t pci_bus_read(PciBus *b, unsigned devfn, unsigned offset, unsigned size)
{
    PciSlot *s = devfn < PCI_FUNCTIONS ? b->slots[devfn] : NULL;
    uint32_t value = 0;
    if (!s)
        return UINT32_MAX;
    if (offset + size > VMR_PCI_CONFIG_SIZE) /* no extended capabilities */
        return 0;
    if (s->fn->config_read)
        s->fn->config_read(s->dev, offset, size);
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)byte_at(b, s, offset + i) << (8 * i);
    return value;
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned count)
{
    return offset < first + count && first < offset + size;
}

void pci_bus_write(PciBus *b, unsigned devfn, unsigned offset, uint32_t value, unsigned size)
{
    PciSlot *s = devfn < PCI_FUNCTIONS ? b->slots[devfn] : NULL;
    if (!s || offset + size > VMR_PCI_CONFIG_SIZE)
        return;
    uint8_t *config = s->state->config;
    for (unsigned i = 0; i < size; i++) {
        uint8_t v = (uint8_t)(value >> (8 * i)), w = s->writable[offset + i];
        uint8_t *at = &config[offset + i];
        *at = (uint8_t)((*at & ~w) | (v & w));
        *at &= (uint8_t) ~(v & s->clearing[offset + i]);
    }
    bool command = touches(offset, size, VMR_PCI_COMMAND, 2);
    if (command || touches(offset, size, VMR_PCI_BAR0, 4 * VMR_PCI_BARS) ||
        touches(offset, size, VMR_PCI_ROM, 4))
        update_bars(s);
    if (command || (s->state->msix && touches(offset, size, s->state->msix + 2u, 2)) ||
        (s->state->msi && touches(offset, size, s->state->msi + 2u, 22))) {
        update_pin(b, s);
        pci_messages_update(b, s);
    }
    if (command && s->fn->command_changed)
        s->fn->command_changed(s->dev, vmr_pci_word(s->state, VMR_PCI_COMMAND));
    if (s->fn->config_written)
        s->fn->config_written(s->dev, offset, size);
}
