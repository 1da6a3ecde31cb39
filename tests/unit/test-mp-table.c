/* tests/unit/test-mp-table.c - MultiProcessor tables, read back from guest memory. */
#include "fakehost.h"
#include <string.h>

static FakeHost *new_machine(unsigned cpus, const char *properties)
{
    FakeHost *h = fake_host_new(1 << 20, cpus);

    fake_device_new(h, "mp-table", "mp0", properties);
    fake_device_new(h, "lapic", "lapic0", "regs=0xfee00000");
    fake_device_new(h, "ioapic", "ioapic0", "apic=@lapic0;apic-id=3;regs=0xfec00000");
    fake_device_new(h, "pc-gsi", "isa", "ioapic=@ioapic0:0,@ioapic0:1,@ioapic0:2");
    fake_reset(h, VMR_RESET_COLD);
    return h;
}

static uint64_t get(const uint8_t *p, unsigned offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)p[offset + i] << (8 * i);
    return value;
}

static uint8_t sum(const uint8_t *p, size_t count)
{
    uint8_t s = 0;

    while (count--)
        s += *p++;
    return s;
}

static const uint8_t *pointer(FakeHost *h)
{
    for (unsigned at = 0xf0000; at < 0x100000; at += 16)
        if (memcmp(fake_ram(h) + at, "_MP_", 4) == 0)
            return fake_ram(h) + at;
    return NULL;
}

static const uint8_t *table(FakeHost *h)
{
    const uint8_t *p = pointer(h);

    g_assert_nonnull(p);
    g_assert_cmpuint(p[8], ==, 1);
    g_assert_cmpuint(p[9], ==, 4);
    g_assert_cmphex(sum(p, 16), ==, 0);
    g_assert_cmphex(get(p, 11, 5), ==, 0);
    const uint8_t *t = fake_ram(h) + get(p, 4, 4);
    g_assert_cmpint(memcmp(t, "PCMP", 4), ==, 0);
    g_assert_cmphex(sum(t, get(t, 4, 2)), ==, 0);
    g_assert_cmpuint(t[6], ==, 4);
    return t;
}

static void test_entries(void)
{
    static const uint8_t want[] = {
        1, 0, 'I', 'S', 'A', ' ', ' ', ' ',
        2, 3, 0x11, 1, 0, 0, 0xc0, 0xfe,
        3, 0, 0, 0, 0, 0,  3, 2, /* the PIT is at pin 2 */
        3, 0, 0, 0, 0, 1,  3, 1,
        3, 0, 0, 0, 0, 3,  3, 3,
        3, 0, 0, 0, 0, 4,  3, 4,
        3, 0, 0, 0, 0, 5,  3, 5,
        3, 0, 0, 0, 0, 6,  3, 6,
        3, 0, 0, 0, 0, 7,  3, 7,
        3, 0, 0, 0, 0, 8,  3, 8,
        3, 0, 0, 0, 0, 9,  3, 9,
        3, 0, 0, 0, 0, 10, 3, 10,
        3, 0, 0, 0, 0, 11, 3, 11,
        3, 0, 0, 0, 0, 12, 3, 12,
        3, 0, 0, 0, 0, 13, 3, 13,
        3, 0, 0, 0, 0, 14, 3, 14,
        3, 0, 0, 0, 0, 15, 3, 15,
        4, 3, 0, 0, 0, 0, 0xff, 0, /* ExtINT on LINT0 */
        4, 1, 0, 0, 0, 0, 0xff, 1, /* NMI on LINT1 */
    };
    FakeHost *h = new_machine(2, "");
    const uint8_t *t = table(h), *e = t + 44;

    g_assert_cmphex(get(t, 36, 4), ==, 0xfee00000);
    g_assert_cmpuint(get(t, 4, 2), ==, 44 + 2 * 20 + sizeof(want));
    g_assert_cmpuint(get(t, 34, 2), ==, 2 + sizeof(want) / 8);
    for (unsigned cpu = 0; cpu < 2; cpu++, e += 20) {
        g_assert_cmpuint(e[0], ==, 0);
        g_assert_cmpuint(e[1], ==, cpu);
        g_assert_cmphex(e[3], ==, cpu == 0 ? 3 : 1); /* enabled; the first boots */
        g_assert_cmphex(get(e, 8, 4) & 0x201, ==, 0x201);
    }
    g_assert_cmpmem(e, sizeof(want), want, sizeof(want));
    /* the same again after a reset */
    g_autofree uint8_t *before = g_memdup2(fake_ram(h), 1 << 20);
    fake_reset(h, VMR_RESET_WARM);
    g_assert_cmpmem(fake_ram(h), 1 << 20, before, 1 << 20);
    fake_host_free(h);
}

/* The PCI bus is number 0, as guests want it, and ISA the next. */
static void test_pci(void)
{
    FakeHost *h = fake_host_new(1 << 20, 1);

    fake_device_new(h, "mp-table", "mp0", "");
    fake_device_new(h, "lapic", "lapic0", "regs=0xfee00000");
    fake_device_new(h, "ioapic", "ioapic0", "apic=@lapic0;apic-id=3;regs=0xfec00000");
    fake_device_new(h, "pc-gsi", "isa", "");
    fake_device_new(h, "pci-host", "pci0", "intx=@isa:16,@isa:17,@isa:18,@isa:19");
    fake_reset(h, VMR_RESET_COLD);
    const uint8_t *t = table(h), *e = t + 44 + 20;
    g_assert_cmpmem(e, 8, "\1\0PCI   ", 8);
    g_assert_cmpmem(e + 8, 8, "\1\1ISA   ", 8);
    e += 24;
    for (unsigned i = 0; i < 128; i++, e += 8) {
        const uint8_t want[] = {3, 0, 0x0f, 0, 0, i, 3, 16 + (i / 4 + i % 4) % 4};
        g_assert_cmpmem(e, 8, want, 8);
    }
    g_assert_cmpuint(e[4], ==, 1); /* ISA interrupts follow */
    g_assert_cmpuint(get(t, 34, 2), ==, 1 + 2 + 1 + 128 + 15 + 2);
    fake_host_free(h);
}

static void test_many_processors(void)
{
    FakeHost *h = fake_host_new(1 << 20, 300);

    fake_device_new(h, "mp-table", "mp0", "");
    fake_device_new(h, "../tests/unit/described:described", "lapic0", "controller=x86-lapic");
    fake_device_new(h, "../tests/unit/described:described", "ioapic0",
                    "controller=x86-ioapic;memory=0xfec00000");
    fake_reset(h, VMR_RESET_COLD);
    const uint8_t *t = table(h);
    unsigned processors = 0;
    for (unsigned at = 44; at < get(t, 4, 2); at += t[at] == 0 ? 20 : 8)
        processors += t[at] == 0;
    g_assert_cmpuint(processors, ==, 255); /* those that have an ID of 8 bits */
    fake_host_free(h);
}

static void test_none(void)
{
    FakeHost *h = fake_host_new(1 << 20, 1);

    fake_device_new(h, "mp-table", "mp0", "");
    fake_reset(h, VMR_RESET_COLD);
    g_assert_null(pointer(h));
    g_assert_null(fake_device_try(h, "mp-table", "mp1", "base=0xf0008", NULL));
    fake_host_free(h);
    h = fake_host_new(0x1000, 1); /* no RAM there: says so, and lives */
    fake_device_new(h, "mp-table", "mp0", "");
    fake_device_new(h, "lapic", "lapic0", "regs=0xfee00000");
    fake_device_new(h, "ioapic", "ioapic0", "apic=@lapic0;regs=0xfec00000");
    fake_reset(h, VMR_RESET_COLD);
    fake_host_free(h);
}

static void test_base(void)
{
    FakeHost *h = new_machine(1, "base=0xf8000");

    g_assert_true(pointer(h) == fake_ram(h) + 0xf8000);
    table(h);
    fake_host_free(h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mp-table/entries", test_entries);
    g_test_add_func("/mp-table/many-processors", test_many_processors);
    g_test_add_func("/mp-table/pci", test_pci);
    g_test_add_func("/mp-table/none", test_none);
    g_test_add_func("/mp-table/base", test_base);
    return g_test_run();
}
