/*
 * test-pci-host - configuration space, BARs, interrupt pins and messages, with a virtio-blk as
 * the function in slot 3.
 */
#include "fakehost.h"

#include <string.h>
#include <vmrun/pci.h>

enum { SLOT = 3, DISK = SLOT << 3, COMMAND = 4, BAR0 = 0x10, BAR2 = 0x18, BAR4 = 0x20 };

typedef struct Setup {
    FakeHost *h;
    VmrDevice *sink, *pci, *disk;
} Setup;

static Setup setup(const char *more)
{
    Setup s = {.h = fake_host_new(1 << 20, 1)};
    char *text = g_strdup_printf("msi=@sink;%s", more);
    s.sink = fake_device_new(s.h, "../tests/unit/msisink", "sink", "");
    s.pci = fake_device_new(s.h, "pci-host", "pci0", text);
    s.disk = fake_device_new(s.h, "virtio-blk", "disk", "bus=@pci0;slot=3;drive=fake:64K");
    g_free(text);
    fake_reset(s.h, VMR_RESET_COLD);
    return s;
}

static uint32_t get(Setup *s, unsigned devfn, unsigned offset, unsigned size)
{
    fake_write(s->pci, "address", 0, 0x80000000u | devfn << 8 | (offset & 0xfc), 4);
    return (uint32_t)fake_read(s->pci, "data", offset & 3, size);
}

static void set(Setup *s, unsigned devfn, unsigned offset, uint32_t value, unsigned size)
{
    fake_write(s->pci, "address", 0, 0x80000000u | devfn << 8 | (offset & 0xfc), 4);
    fake_write(s->pci, "data", offset & 3, value, size);
}

/* The offset of a capability; 0: there is none. */
static unsigned find_cap(Setup *s, unsigned devfn, uint8_t id)
{
    unsigned at = get(s, devfn, 0x34, 1);
    for (unsigned i = 0; at && i < 48; i++) {
        if (get(s, devfn, at, 1) == id)
            return at;
        at = get(s, devfn, at + 1, 1);
    }
    return 0;
}

static void test_identity(void)
{
    Setup s = setup("");
    g_assert_cmphex(get(&s, 0, 0, 4), ==, 0x12378086);
    g_assert_cmphex(get(&s, 0, 8, 4), ==, 0x06000002);
    g_assert_cmphex(get(&s, DISK, 0, 4), ==, 0x10421af4);
    g_assert_cmphex(get(&s, DISK, 2, 2), ==, 0x1042);
    g_assert_cmphex(get(&s, DISK, 3, 1), ==, 0x10);
    g_assert_cmphex(get(&s, DISK, 0x3d, 1), ==, 1);
    /* Nobody there: ones; and without the enable bit. */
    g_assert_cmphex(get(&s, 4 << 3, 0, 4), ==, 0xffffffff);
    g_assert_cmphex(get(&s, DISK | 1, 0, 4), ==, 0xffffffff);
    fake_write(s.pci, "address", 0, DISK << 8, 4);
    g_assert_cmphex(fake_read(s.pci, "data", 0, 4), ==, 0xffffffff);
    fake_write(s.pci, "address", 0, 0x80010000u, 4); /* bus 1 */
    g_assert_cmphex(fake_read(s.pci, "data", 0, 4), ==, 0xffffffff);
    /* ECAM shows the same; beyond 256 bytes there are no capabilities. */
    g_assert_cmphex(fake_read(s.pci, "ecam", DISK << 12, 4), ==, 0x10421af4);
    g_assert_cmphex(fake_read(s.pci, "ecam", (DISK << 12) + 0x100, 4), ==, 0);
    g_assert_cmphex(fake_read(s.pci, "ecam", 5 << 15, 2), ==, 0xffff);
    /* What is read-only stays. */
    set(&s, DISK, 0, 0, 4);
    set(&s, DISK, 8, 0, 4);
    g_assert_cmphex(get(&s, DISK, 0, 4), ==, 0x10421af4);
    g_assert_cmphex(get(&s, DISK, 8, 4), ==, 0x01000001);
    /* Only 32-bit writes reach CONFIG_ADDRESS. */
    fake_write(s.pci, "address", 0, 0x80001234, 4);
    fake_write(s.pci, "address", 1, 0xff, 1);
    g_assert_cmphex(fake_read(s.pci, "address", 0, 4), ==, 0x80001234);
    fake_host_free(s.h);
}

static void test_slots(void)
{
    FakeHost *h = fake_host_new(4096, 1);
    GError *error = NULL;
    fake_device_new(h, "pci-host", "pci0", "");
    fake_device_new(h, "virtio-rng", "a", "bus=@pci0");
    VmrDevice *b = fake_device_new(h, "virtio-rng", "b", "bus=@pci0;slot=2.1");
    fake_device_new(h, "virtio-rng", "c", "bus=@pci0"); /* slot 3: 2 is not empty */
    static const char *const wrong[] = {"slot=1", "slot=32", "slot=2.8", "slot=x", "slot=1.",
                                        "slot=0"};
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        char *text = g_strdup_printf("bus=@pci0;%s", wrong[i]);
        g_assert_null(fake_device_try(h, "virtio-rng", "d", text, &error));
        g_assert_nonnull(error);
        g_clear_error(&error);
        g_free(text);
    }
    /* Neither transport, and both. */
    g_assert_null(fake_device_try(h, "virtio-rng", "d", "", &error));
    g_clear_error(&error);
    g_assert_null(fake_device_try(h, "virtio-rng", "d", "bus=@pci0;regs=0x1000", &error));
    g_clear_error(&error);
    g_assert_nonnull(b);
    fake_reset(h, VMR_RESET_COLD);
    fake_host_free(h);
}

static void expect_at(VmrDevice *dev, const char *region, uint64_t base)
{
    VmrSpaceId space = VMR_SPACE_IO;
    uint64_t at = 0;
    g_assert_true(fake_mapped(dev, region, &space, &at));
    g_assert_cmpuint(space, ==, VMR_SPACE_MEMORY);
    g_assert_cmphex(at, ==, base);
}

static bool is_mapped(VmrDevice *dev, const char *region)
{
    VmrSpaceId space;
    uint64_t at;
    return fake_mapped(dev, region, &space, &at);
}

static void test_bars(void)
{
    Setup s = setup("assign=off");
    g_assert_false(is_mapped(s.disk, "config"));
    /* Sizes: BAR 0 is of 64 bits and 16 KiB, BAR 4 of 32 bits and 4 KiB. */
    set(&s, DISK, BAR0, 0xffffffff, 4);
    set(&s, DISK, BAR0 + 4, 0xffffffff, 4);
    set(&s, DISK, BAR4, 0xffffffff, 4);
    g_assert_cmphex(get(&s, DISK, BAR0, 4), ==, 0xffffc004);
    g_assert_cmphex(get(&s, DISK, BAR0 + 4, 4), ==, 0xffffffff);
    g_assert_cmphex(get(&s, DISK, BAR4, 4), ==, 0xfffff000);
    set(&s, DISK, BAR4 + 4, 0xffffffff, 4); /* there is no BAR 5 */
    g_assert_cmphex(get(&s, DISK, BAR4 + 4, 4), ==, 0);
    /* Decoding on while they are being sized shows nothing. */
    set(&s, DISK, COMMAND, VMR_PCI_COMMAND_MEMORY, 2);
    g_assert_false(is_mapped(s.disk, "config"));
    g_assert_false(is_mapped(s.disk, "msix"));
    /* Above 4 GiB, and moved while it decodes, half by half. */
    set(&s, DISK, BAR0, 0x00010000, 4);
    set(&s, DISK, BAR0 + 4, 0x8, 4);
    expect_at(s.disk, "config", 0x800010000);
    set(&s, DISK, BAR0, 0xc0004000, 4);
    expect_at(s.disk, "config", 0x8c0004000);
    set(&s, DISK, BAR0 + 4, 0, 4);
    expect_at(s.disk, "config", 0xc0004000);
    set(&s, DISK, BAR0 + 1, 0x80, 1); /* bytes as well */
    expect_at(s.disk, "config", 0xc0008000);
    set(&s, DISK, BAR4, 0xd0000000, 4);
    expect_at(s.disk, "msix", 0xd0000000);
    /* Off, and at 0 */
    set(&s, DISK, COMMAND, 0, 2);
    g_assert_false(is_mapped(s.disk, "config"));
    set(&s, DISK, COMMAND, VMR_PCI_COMMAND_MEMORY, 2);
    expect_at(s.disk, "config", 0xc0008000);
    set(&s, DISK, BAR0, 0, 4);
    g_assert_false(is_mapped(s.disk, "config"));
    /* A reset takes all out. */
    fake_reset(s.h, VMR_RESET_WARM);
    g_assert_false(is_mapped(s.disk, "msix"));
    g_assert_cmphex(get(&s, DISK, BAR4, 4), ==, 0);
    fake_host_free(s.h);
}

static void test_assign(void)
{
    Setup s = setup("memory-base=0xd0000000;memory-size=1M");
    g_assert_cmphex(get(&s, DISK, COMMAND, 2), ==, VMR_PCI_COMMAND_MEMORY);
    expect_at(s.disk, "config", 0xd0000000);
    expect_at(s.disk, "notify", 0xd0004000);
    expect_at(s.disk, "msix", 0xd0005000);
    fake_host_free(s.h);
    s = setup("memory-size=0"); /* only what is of 64 bits finds room */
    expect_at(s.disk, "config", 0x800000000);
    g_assert_false(is_mapped(s.disk, "msix"));
    fake_host_free(s.h);
}

static void test_capabilities(void)
{
    Setup s = setup("");
    unsigned count = 0, at = get(&s, DISK, 0x34, 1);
    g_assert_cmphex(get(&s, DISK, 6, 2) & 0x10, ==, 0x10);
    for (; at && count < 48; count++) {
        g_assert_cmphex(at & 3, ==, 0);
        at = get(&s, DISK, at + 1, 1);
    }
    g_assert_cmpuint(count, ==, 6); /* MSI-X and five of virtio's */
    unsigned msix = find_cap(&s, DISK, 0x11);
    g_assert_cmphex(get(&s, DISK, msix + 2, 2), ==, 1); /* 2 vectors */
    g_assert_cmphex(get(&s, DISK, msix + 4, 4), ==, 4);
    g_assert_cmphex(get(&s, DISK, msix + 8, 4), ==, 0x804);
    fake_host_free(s.h);
    /* Nobody takes messages: no such capability. */
    FakeHost *h = fake_host_new(4096, 1);
    s.h = h;
    s.pci = fake_device_new(h, "pci-host", "pci0", "");
    s.disk = fake_device_new(h, "virtio-rng", "rng", "bus=@pci0;slot=3");
    fake_reset(h, VMR_RESET_COLD);
    g_assert_cmpuint(find_cap(&s, DISK, 0x11), ==, 0);
    fake_host_free(h);
}

static const VmrPciBusInterface *bus_of(Setup *s)
{
    return vmr_device_interface(s->pci, VMR_PCI_BUS);
}

static void test_pins(void)
{
    Setup s = setup("");
    VmrDevice *other = fake_device_new(s.h, "virtio-rng", "rng", "bus=@pci0;slot=7");
    const VmrPciBusInterface *bus = bus_of(&s);
    /* INTA# of slots 3 and 7 share line 3. */
    bus->intx_set(s.pci, s.disk, true);
    g_assert_true(fake_irq_level(s.pci, "intx", 3));
    g_assert_cmphex(get(&s, DISK, 6, 2) & 8, ==, 8);
    bus->intx_set(s.pci, other, true);
    bus->intx_set(s.pci, s.disk, false);
    g_assert_true(fake_irq_level(s.pci, "intx", 3));
    bus->intx_set(s.pci, other, false);
    g_assert_false(fake_irq_level(s.pci, "intx", 3));
    /* Interrupt Disable holds the line, not the status. */
    bus->intx_set(s.pci, s.disk, true);
    set(&s, DISK, COMMAND, VMR_PCI_COMMAND_INTX_DISABLE, 2);
    g_assert_false(fake_irq_level(s.pci, "intx", 3));
    g_assert_cmphex(get(&s, DISK, 6, 2) & 8, ==, 8);
    set(&s, DISK, COMMAND, 0, 2);
    g_assert_true(fake_irq_level(s.pci, "intx", 3));
    /* MSI-X takes the pin's place. */
    set(&s, DISK, find_cap(&s, DISK, 0x11) + 2, 0x8000, 2);
    g_assert_false(fake_irq_level(s.pci, "intx", 3));
    fake_reset(s.h, VMR_RESET_WARM);
    g_assert_false(fake_irq_level(s.pci, "intx", 3));
    fake_host_free(s.h);
}

static void test_msix(void)
{
    Setup s = setup("");
    const VmrPciBusInterface *bus = bus_of(&s);
    unsigned control = find_cap(&s, DISK, 0x11) + 2;
    for (unsigned v = 0; v < 2; v++) {
        g_assert_cmphex(fake_read(s.disk, "msix", 16 * v + 12, 4), ==, 1); /* masked */
        fake_write(s.disk, "msix", 16 * v, 0xfee00003 + (v << 12), 4); /* low bits are dropped */
        fake_write(s.disk, "msix", 16 * v + 4, 0, 4);
        fake_write(s.disk, "msix", 16 * v + 8, 0x4000 + v, 4);
    }
#define COUNT fake_field_get(s.sink, "count", 0)
    set(&s, DISK, COMMAND, VMR_PCI_COMMAND_MEMORY | VMR_PCI_COMMAND_MASTER, 2);
    bus->msix_send(s.pci, s.disk, 0); /* not enabled: nothing, not even pending */
    g_assert_cmphex(fake_read(s.disk, "msix", 0x800, 4), ==, 0);
    set(&s, DISK, control, 0x8000, 2);
    bus->msix_send(s.pci, s.disk, 1); /* masked: pending */
    bus->msix_send(s.pci, s.disk, 2); /* there is none */
    g_assert_cmphex(fake_read(s.disk, "msix", 0x800, 8), ==, 2);
    g_assert_cmpuint(COUNT, ==, 0);
    fake_write(s.disk, "msix", 16 + 12, 0, 4);
    g_assert_cmpuint(COUNT, ==, 1);
    g_assert_cmphex(fake_field_get(s.sink, "address", 0), ==, 0xfee01000);
    g_assert_cmphex(fake_field_get(s.sink, "data", 0), ==, 0x4001);
    g_assert_cmphex(fake_read(s.disk, "msix", 0x800, 4), ==, 0);
    /* The function's mask */
    set(&s, DISK, control, 0xc000, 2);
    bus->msix_send(s.pci, s.disk, 1);
    g_assert_cmpuint(COUNT, ==, 1);
    set(&s, DISK, control, 0x8000, 2);
    g_assert_cmpuint(COUNT, ==, 2);
    /* No bus master, no message yet. */
    set(&s, DISK, COMMAND, VMR_PCI_COMMAND_MEMORY, 2);
    bus->msix_send(s.pci, s.disk, 1);
    g_assert_cmpuint(COUNT, ==, 2);
    set(&s, DISK, COMMAND, VMR_PCI_COMMAND_MEMORY | VMR_PCI_COMMAND_MASTER, 2);
    g_assert_cmpuint(COUNT, ==, 3);
    /* Pending bits are the bus's. */
    fake_write(s.disk, "msix", 0x800, 0xff, 4);
    g_assert_cmphex(fake_read(s.disk, "msix", 0x800, 4), ==, 0);
    fake_host_free(s.h);
}

static void test_save(void)
{
    Setup s = setup("");
    VmrDevice *to = fake_device_new(s.h, "virtio-blk", "to", "bus=@pci0;slot=5;drive=fake:64K");
    set(&s, DISK, BAR0, 0xc8000000, 4);
    set(&s, DISK, COMMAND, VMR_PCI_COMMAND_MEMORY, 2);
    fake_write(s.disk, "msix", 8, 0x1234, 4);
    fake_save_load(s.disk, to);
    expect_at(to, "config", 0xc8000000);
    g_assert_cmphex(fake_read(to, "msix", 8, 4), ==, 0x1234);
    /* What a snapshot says of read-only bytes is not believed. */
    for (unsigned i = 0; i < 256; i++)
        fake_field_set(to, "pci_config", i, 0xff);
    g_assert_true(fake_post_load(to, NULL));
    g_assert_cmphex(get(&s, 5 << 3, 0, 4), ==, 0x10421af4);
    g_assert_cmphex(get(&s, 5 << 3, 0x34, 1), ==, 0x40);
    fake_host_free(s.h);
}

static void test_random(void)
{
    Setup s = setup("");
    static const unsigned sizes[] = {1, 2, 4};
    for (unsigned i = 0; i < 200000; i++) {
        unsigned size = sizes[fake_random(s.h, 3)];
        unsigned devfn = fake_random(s.h, 2) ? DISK : 0;
        uint64_t at = (uint64_t)devfn << 12 | fake_random(s.h, 256 / size) * size;
        if (fake_random(s.h, 3))
            fake_write(s.pci, "ecam", at, fake_random(s.h, 0), size);
        else
            fake_read(s.pci, "ecam", at, size);
        if (!fake_random(s.h, 8))
            fake_write(s.disk, "msix", fake_random(s.h, 1024) * 4, fake_random(s.h, 0), 4);
        if (!fake_random(s.h, 8))
            bus_of(&s)->msix_send(s.pci, s.disk, fake_random(s.h, 4));
    }
    g_assert_cmphex(get(&s, DISK, 0, 4), ==, 0x10421af4);
    fake_host_free(s.h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-host/identity", test_identity);
    g_test_add_func("/pci-host/slots", test_slots);
    g_test_add_func("/pci-host/bars", test_bars);
    g_test_add_func("/pci-host/assign", test_assign);
    g_test_add_func("/pci-host/capabilities", test_capabilities);
    g_test_add_func("/pci-host/pins", test_pins);
    g_test_add_func("/pci-host/msix", test_msix);
    g_test_add_func("/pci-host/save", test_save);
    g_test_add_func("/pci-host/random", test_random);
    return g_test_run();
}
