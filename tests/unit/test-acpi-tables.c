/*
 * tests/unit/test-acpi-tables.c - the ACPI tables of a PC made of real plugins, read back from
 * guest memory as a guest does, and checked with iasl if it is installed.
 */
#include "fakehost.h"
#include <glib/gstdio.h>
#include <string.h>

#define DESCRIBED "../tests/unit/described"

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *tables;
} Fixture;

/* data: properties of the table writer */
static void set_up(Fixture *f, gconstpointer data)
{
    FakeHost *h = f->h = fake_host_new(2 << 20, 3);

    /* in front of all others, as a machine file may have it */
    f->tables = fake_device_new(h, "acpi-tables", "acpi0", data);
    fake_device_new(h, "lapic", "lapic0", "regs=0xfee00000");
    fake_device_new(h, "ioapic", "ioapic0", "apic=@lapic0;apic-id=3;regs=0xfec00000");
    fake_device_new(h, "i8259", "pic0", "irq=@lapic0:lint0:0;master=0x20;slave=0xa0");
    fake_device_new(h, "pc-gsi", "isa",
                    "pic=@pic0:0,@pic0:1;ioapic=@ioapic0:0,@ioapic0:1,@ioapic0:2");
    fake_device_new(h, "serial16550", "com1", "regs=0x3f8;irq=@isa:4");
    fake_device_new(h, "serial16550", "com2", "regs=0x2f8;irq=@isa:3");
    /* in another order than the class has it */
    fake_device_new(h, "i8042", "kbc",
                    "command=0x64;data=0x60;aux-irq=@isa:12;kbd-irq=@isa:1;a20=machine:a20");
    fake_device_new(h, "acpi-pm", "pm", "pm=0x600;reset=0xcf9;sci=@isa:9");
    fake_device_new(h, "pvpanic", "panic", "port=0x505");
    fake_device_new(h, "debug-exit", "exit0", "port=0x501");
    fake_device_new(h, "hpet", "hpet0", "regs=0xfed00000;legacy=@isa:0,@isa:8");
    fake_device_new(h, "i8254", "pit0", "regs=0x40;speaker=0x61;irq=@hpet0:legacy-in:0");
    fake_device_new(h, "mc146818", "rtc0", "regs=0x70;irq=@hpet0:legacy-in:1");
}

static void tear_down(Fixture *f, gconstpointer data)
{
    fake_host_free(f->h);
}

/* ---- as a guest reads them ---- */

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

static const uint8_t *rsdp(Fixture *f)
{
    for (unsigned at = 0xe0000; at < 0x100000; at += 16)
        if (memcmp(fake_ram(f->h) + at, "RSD PTR ", 8) == 0)
            return fake_ram(f->h) + at;
    return NULL;
}

/* A table at an address: checked, and inside of what the writer may use. */
static const uint8_t *table_at(Fixture *f, uint64_t address)
{
    g_assert_cmphex(address, >=, 0xe0000);
    g_assert_cmphex(address, <=, 0xf0000 - 36);
    g_assert_cmphex(address % 8, ==, 0);
    const uint8_t *t = fake_ram(f->h) + address;
    g_assert_cmphex(get(t, 4, 4), <=, 0xf0000 - address);
    if (memcmp(t, "FACS", 4) != 0)
        g_assert_cmphex(sum(t, get(t, 4, 4)), ==, 0);
    return t;
}

static const uint8_t *root(Fixture *f)
{
    const uint8_t *r = rsdp(f);

    g_assert_nonnull(r);
    g_assert_cmphex(r[15], ==, 2);
    g_assert_cmphex(sum(r, 20), ==, 0);
    g_assert_cmpuint(get(r, 20, 4), ==, 36);
    g_assert_cmphex(sum(r, 36), ==, 0);
    const uint8_t *rsdt = table_at(f, get(r, 16, 4)), *xsdt = table_at(f, get(r, 24, 8));
    g_assert_cmpint(memcmp(rsdt, "RSDT", 4), ==, 0);
    g_assert_cmpint(memcmp(xsdt, "XSDT", 4), ==, 0);
    /* both list the same */
    unsigned n = (get(xsdt, 4, 4) - 36) / 8;
    g_assert_cmpuint(n, ==, (get(rsdt, 4, 4) - 36) / 4);
    for (unsigned i = 0; i < n; i++)
        g_assert_cmphex(get(xsdt, 36 + 8 * i, 8), ==, get(rsdt, 36 + 4 * i, 4));
    return xsdt;
}

static const uint8_t *find(Fixture *f, const char *signature)
{
    const uint8_t *xsdt = root(f), *found = NULL;

    for (unsigned at = 36; at < get(xsdt, 4, 4); at += 8) {
        const uint8_t *t = table_at(f, get(xsdt, at, 8));
        if (memcmp(t, signature, 4) == 0) {
            g_assert_null(found);
            found = t;
        }
    }
    if (strcmp(signature, "DSDT") == 0)
        found = table_at(f, get(find(f, "FACP"), 140, 8));
    if (strcmp(signature, "FACS") == 0)
        found = table_at(f, get(find(f, "FACP"), 36, 4));
    return found;
}

/* ---- iasl ---- */

/* The DSDT as iasl disassembles it, after it has been compiled again without errors; NULL
   without iasl. */
static char *disassemble(Fixture *f)
{
    static const char *const names[] = {"FACP", "APIC", "HPET", "FACS", "DSDT", "MCFG"};
    g_autofree char *iasl = g_find_program_in_path("iasl");
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    if (!iasl) {
        g_test_message("LOUD: iasl (package acpica-tools) is missing: the AML is not checked");
        return NULL;
    }
    g_autofree char *dir = g_dir_make_tmp("vmrun-acpi-XXXXXX", &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        const uint8_t *t = find(f, names[i]);
        if (!t)
            continue;
        for (unsigned step = 0; step < (i == 4 ? 2 : 1); step++) {
            g_autofree char *file = g_strdup_printf("%s.%s", names[i], step ? "dsl" : "dat");
            const char *argv[] = {iasl, step ? "-we" : "-d", file, NULL};
            g_autofree char *out = NULL, *err = NULL, *path = g_build_filename(dir, file, NULL);
            int wait_status;

            if (step == 0)
                g_assert_true(g_file_set_contents(path, (const char *)t, get(t, 4, 4), NULL));
            g_assert_true(g_spawn_sync(dir, (char **)argv, NULL, 0, NULL, NULL, &out, &err,
                                       &wait_status, &error));
            if (wait_status != 0 || strstr(err, "rror") || strstr(out, "Invalid"))
                g_error("iasl: %s: status %d\n%s\n%s", file, wait_status, out, err);
            if (step == 1 && !strstr(out, "0 Errors, 0 Warnings"))
                g_error("iasl: %s\n%s\n%s", file, out, err);
        }
    }
    g_autofree char *dsl = g_build_filename(dir, "DSDT.dsl", NULL);
    g_assert_true(g_file_get_contents(dsl, &text, NULL, &error));
    GDir *listing = g_dir_open(dir, 0, NULL);
    for (const char *name; (name = g_dir_read_name(listing));) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_unlink(path);
    }
    g_dir_close(listing);
    g_rmdir(dir);
    if (g_test_verbose())
        g_test_message("%s", text);
    return text;
}

/* `want` occurs in the Device with `hid`; blanks do not count. */
static void assert_device(const char *text, const char *hid, const char *want)
{
    g_autofree char *start = g_strdup_printf("\"%s\"", hid);
    const char *from = strstr(text, start);

    g_assert_nonnull(from);
    const char *to = strstr(from, "Device (");
    g_autofree char *body = to ? g_strndup(from, to - from) : g_strdup(from);
    g_autoptr(GString) packed = g_string_new(NULL);
    for (const char *p = body; *p; p++) {
        if (p[0] == '/' && p[1] == '/')
            p += strcspn(p, "\n") - 1;
        else if (!g_ascii_isspace(*p))
            g_string_append_c(packed, *p);
    }
    if (!strstr(packed->str, want))
        g_error("%s is not in %s", want, packed->str);
}

/* ---- tests ---- */

static void test_checksums(Fixture *f, gconstpointer data)
{
    fake_reset(f->h, VMR_RESET_COLD);
    g_assert_true(rsdp(f) == fake_ram(f->h) + 0xe0000);
    static const char *const names[] = {"FACP", "APIC", "HPET", "DSDT", "FACS"};
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        g_assert_nonnull(find(f, names[i]));
    const uint8_t *facs = find(f, "FACS");
    g_assert_cmpuint((facs - fake_ram(f->h)) % 64, ==, 0);
    g_assert_cmpuint(get(facs, 4, 4), ==, 64);
    /* nothing outside */
    for (unsigned i = 0; i < 0xe0000; i++)
        g_assert_cmphex(fake_ram(f->h)[i], ==, 0);
    for (unsigned i = 0xf0000; i < 2 << 20; i++)
        g_assert_cmphex(fake_ram(f->h)[i], ==, 0);
}

static void test_fadt(Fixture *f, gconstpointer data)
{
    fake_reset(f->h, VMR_RESET_COLD);
    const uint8_t *t = find(f, "FACP");

    g_assert_cmpuint(get(t, 4, 4), ==, 276);
    g_assert_cmpuint(t[8], ==, 6);
    g_assert_cmphex(get(t, 40, 4), ==, get(t, 140, 8));
    g_assert_cmpuint(get(t, 46, 2), ==, 9);    /* SCI_INT */
    g_assert_cmphex(get(t, 48, 4), ==, 0);     /* SMI_CMD */
    g_assert_cmphex(get(t, 56, 4), ==, 0x600); /* PM1a_EVT_BLK */
    g_assert_cmphex(get(t, 64, 4), ==, 0x604);
    g_assert_cmphex(get(t, 76, 4), ==, 0x608);
    g_assert_cmphex(get(t, 80, 4), ==, 0x620);
    g_assert_cmphex(get(t, 88, 4), ==, 0x04000204);
    g_assert_cmphex(get(t, 92, 2), ==, 8);
    g_assert_cmphex(t[108], ==, 0x32);                           /* CENTURY */
    g_assert_cmphex(get(t, 109, 2) & 2, ==, 2);                  /* 8042 */
    g_assert_cmphex(get(t, 112, 4), ==, 0x565);
    g_assert_cmphex(get(t, 116, 4), ==, 0x01000801);
    g_assert_cmphex(get(t, 120, 8), ==, 0xcf9);
    g_assert_cmphex(t[128], ==, 6);
    g_assert_cmphex(get(t, 148, 4), ==, 0x02002001);
    g_assert_cmphex(get(t, 152, 8), ==, 0x600);
    g_assert_cmphex(get(t, 172, 4), ==, 0x02001001);
    g_assert_cmphex(get(t, 176, 8), ==, 0x604);
    g_assert_cmphex(get(t, 208, 4), ==, 0x03002001);
    g_assert_cmphex(get(t, 212, 8), ==, 0x608);
    g_assert_cmphex(get(t, 220, 4), ==, 0x01004001);
    g_assert_cmphex(get(t, 224, 8), ==, 0x620);
}

static void test_madt(Fixture *f, gconstpointer data)
{
    static const uint8_t want[] = {
        0, 8,  0, 0, 1, 0, 0, 0,                /* processors */
        0, 8,  1, 1, 1, 0, 0, 0,
        0, 8,  2, 2, 1, 0, 0, 0,
        4, 6,  0xff, 0, 0, 1,                   /* NMI on LINT1 */
        1, 12, 3, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0,
        2, 10, 0, 0, 2, 0, 0, 0, 0, 0,          /* IRQ 0 is GSI 2 */
        2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0,       /* SCI: level, active low */
    };

    fake_reset(f->h, VMR_RESET_COLD);
    const uint8_t *t = find(f, "APIC");
    g_assert_cmphex(get(t, 36, 4), ==, 0xfee00000);
    g_assert_cmphex(get(t, 40, 4), ==, 1); /* PCAT_COMPAT */
    g_assert_cmpmem(t + 44, get(t, 4, 4) - 44, want, sizeof(want));
}

static void test_hpet(Fixture *f, gconstpointer data)
{
    fake_reset(f->h, VMR_RESET_COLD);
    const uint8_t *t = find(f, "HPET");
    g_assert_cmpuint(get(t, 4, 4), ==, 56);
    g_assert_cmphex(get(t, 36, 2), ==, 0xa201); /* revision, 3 timers, 64 bits, legacy */
    g_assert_cmphex(t[40], ==, 0);
    g_assert_cmphex(get(t, 44, 8), ==, 0xfed00000);
}

static void test_dsdt(Fixture *f, gconstpointer data)
{
    fake_device_new(f->h, DESCRIBED ":described", "mem0",
                    "hid=LNRO0005;cid=PNP0C02;uid=77;level=on;memory=0xd0000000;"
                    "irq=@isa:20,@isa:5+@pic0:5");
    fake_device_new(f->h, DESCRIBED ":described", "high0",
                    "hid=VMR0001;memory=0x100000000;large=0xc000;irq=@ioapic0:17,cpu0:nmi");
    fake_reset(f->h, VMR_RESET_COLD);
    g_autofree char *text = disassemble(f);
    if (!text) {
        g_test_skip("no iasl");
        return;
    }
    g_assert_nonnull(strstr(text, "Name (\\_S5, Package (0x04)"));
    assert_device(text, "ACPI0007", "Name(_UID,Zero)");
    assert_device(text, "PNP0501",
                  "Name(_UID,Zero)Name(_CRS,ResourceTemplate(){"
                  "IO(Decode16,0x03F8,0x03F8,0x01,0x08,)IRQNoFlags(){4}})");
    assert_device(text, "PNP0303",
                  "{IO(Decode16,0x0060,0x0060,0x01,0x01,)IO(Decode16,0x0064,0x0064,0x01,0x01,)"
                  "IRQNoFlags(){1}}");
    assert_device(text, "PNP0F13", "Name(_CRS,ResourceTemplate(){IRQNoFlags(){12}})");
    assert_device(text, "QEMU0001", "{IO(Decode16,0x0505,0x0505,0x01,0x01,)}");
    assert_device(text, "PNP0103", "{Memory32Fixed(ReadWrite,0xFED00000,0x00001000,)}");
    assert_device(text, "PNP0100", "IO(Decode16,0x0061,0x0061,0x01,0x01,)IRQNoFlags(){0}})");
    assert_device(text, "PNP0B00", "{IO(Decode16,0x0070,0x0070,0x01,0x02,)IRQNoFlags(){8}})");
    assert_device(text, "PNP0000", "IO(Decode16,0x00A0,0x00A0,0x01,0x02,)");
    assert_device(text, "LNRO0005",
                  "Name(_UID,0x4D)Name(_CRS,ResourceTemplate(){"
                  "Memory32Fixed(ReadWrite,0xD0000000,0x00001000,)"
                  "Interrupt(ResourceConsumer,Level,ActiveLow,Shared,,,){0x00000014,}"
                  "Interrupt(ResourceConsumer,Level,ActiveLow,Shared,,,){0x00000005,}})");
    assert_device(text, "VMR0001", "0xC000,0xC3FF,0x0000,0x0400,");
    assert_device(text, "VMR0001", "0x0000000100000000,0x0000000100000FFF,");
    assert_device(text, "VMR0001",
                  "Interrupt(ResourceConsumer,Edge,ActiveHigh,Exclusive,,,){0x00000011,}})");
}

/* A second run over the same memory gives the same; what a guest scribbled is gone. */
static void test_warm_reset(Fixture *f, gconstpointer data)
{
    fake_reset(f->h, VMR_RESET_COLD);
    g_autofree uint8_t *before = g_memdup2(fake_ram(f->h) + 0xe0000, 0x20000);
    unsigned used = find(f, "DSDT") + get(find(f, "DSDT"), 4, 4) - (fake_ram(f->h) + 0xe0000);
    memset(fake_ram(f->h) + 0xe0000, 0xa5, used);
    fake_reset(f->h, VMR_RESET_WARM);
    g_assert_cmpmem(fake_ram(f->h) + 0xe0000, 0x20000, before, 0x20000);
}

/* Devices beyond what fits are left out, whole. */
static void test_too_many(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 300; i++) {
        g_autofree char *name = g_strdup_printf("more%u", i);
        g_autofree char *properties = g_strdup_printf("regs=%u;irq=@isa:5", 0x1000 + 8 * i);
        fake_device_new(f->h, "serial16550", name, properties);
    }
    fake_reset(f->h, VMR_RESET_COLD);
    for (unsigned i = 0xe1000; i < 2 << 20; i++)
        g_assert_cmphex(fake_ram(f->h)[i], ==, 0);
    const uint8_t *t = find(f, "DSDT");
    g_assert_cmpuint(get(t, 4, 4), >, 2500);
    g_autofree char *text = disassemble(f);
    if (!text)
        g_test_skip("no iasl");
}

/* A machine that describes next to nothing. */
static void test_small(void)
{
    Fixture f = {.h = fake_host_new(1 << 20, 1)};

    f.tables = fake_device_new(f.h, "acpi-tables", "acpi0", "");
    fake_device_new(f.h, "serial16550", "com1", "regs=0x3f8");
    fake_reset(f.h, VMR_RESET_COLD);
    g_assert_null(find(&f, "APIC"));
    g_assert_null(find(&f, "HPET"));
    g_assert_cmphex(get(find(&f, "FACP"), 112, 4) & 1 << 20, ==, 1 << 20); /* hardware-reduced */
    g_autofree char *text = disassemble(&f);
    if (text)
        g_assert_null(strstr(text, "_S5"));
    fake_host_free(f.h);
}

static void test_no_memory(void)
{
    Fixture f = {.h = fake_host_new(0x10000, 1)};

    fake_device_new(f.h, "acpi-tables", "acpi0", "");
    fake_reset(f.h, VMR_RESET_COLD); /* says so, and lives */
    g_assert_null(fake_device_try(f.h, "acpi-tables", "acpi1", "base=0xe0010", NULL));
    fake_host_free(f.h);
}

/* More processors than 8-bit APIC IDs. */
static void test_x2apic(void)
{
    Fixture f = {.h = fake_host_new(1 << 20, 300)};
    unsigned lapics = 0, x2apics = 0, nmis = 0;

    fake_device_new(f.h, "acpi-tables", "acpi0", "");
    fake_device_new(f.h, DESCRIBED ":described", "lapic0",
                    "controller=x86-lapic;memory=0xfee00000");
    fake_reset(f.h, VMR_RESET_COLD);
    const uint8_t *t = find(&f, "APIC");
    for (unsigned at = 44; at < get(t, 4, 4); at += t[at + 1]) {
        g_assert_cmpuint(t[at + 1], >=, 6);
        lapics += t[at] == 0;
        x2apics += t[at] == 9;
        nmis += t[at] == 4 || t[at] == 10;
        if (t[at] == 9)
            g_assert_cmpuint(get(t, at + 4, 4), ==, get(t, at + 12, 4));
    }
    g_assert_cmpuint(lapics, ==, 255);
    g_assert_cmpuint(x2apics, ==, 45);
    g_assert_cmpuint(nmis, ==, 2);
    g_autofree char *text = disassemble(&f);
    fake_host_free(f.h);
}

/* Odd identifiers and places, at random. */
static void test_fuzz(void)
{
    static const char *const hids[] = {"PNP0501", "", "X", "pnp0501", "PNP05G1", "VMR\"\\x",
                                       "A_VERY_LONG_IDENTIFIER_THAT_IS_NOT_ONE_BUT_A_STRING"};

    for (unsigned round = 0; round < 20; round++) {
        Fixture f = {.h = fake_host_new(1 << 20, 2)};
        fake_device_new(f.h, "acpi-tables", "acpi0", "size=8192");
        fake_device_new(f.h, "pc-gsi", "isa", "");
        for (unsigned i = 0; i < round * 8; i++) {
            g_autofree char *name = g_strdup_printf("d%u", i);
            g_autoptr(GString) p = g_string_new(NULL);
            g_string_printf(p, "hid=%s;uid=%u;level=%u", hids[fake_random(f.h, 7)],
                            fake_random(f.h, 0), fake_random(f.h, 2));
            if (fake_random(f.h, 2))
                g_string_append_printf(p, ";hid2=%s", hids[fake_random(f.h, 7)]);
            if (fake_random(f.h, 2))
                g_string_append_printf(p, ";memory=0x%x%08x", fake_random(f.h, 0),
                                       fake_random(f.h, 0) & ~0xfffu);
            if (fake_random(f.h, 2))
                g_string_append_printf(p, ";large=%u", fake_random(f.h, 0xfc00));
            if (fake_random(f.h, 2))
                g_string_append_printf(p, ";irq=@isa:%u+cpu0:nmi,@isa:%u", fake_random(f.h, 24),
                                       fake_random(f.h, 24));
            fake_device_new(f.h, DESCRIBED ":described", name, p->str);
        }
        fake_reset(f.h, VMR_RESET_COLD);
        g_assert_nonnull(find(&f, "FACP"));
        g_assert_nonnull(find(&f, "DSDT"));
        for (unsigned i = 0xe2000; i < 1 << 20; i++)
            g_assert_cmphex(fake_ram(f.h)[i], ==, 0);
        fake_host_free(f.h);
    }
}

static void test_pci(Fixture *f, gconstpointer data)
{
    fake_device_new(f->h, "pci-host", "pci0",
                    "address=0xcf8;data=0xcfc;ecam=0xe0000000;buses=2;"
                    "intx=@isa:16,@isa:17,@isa:18,@isa:19");
    fake_device_new(f->h, "virtio-rng", "rng0", "regs=0xfeb00000;irq=@isa:20");
    fake_reset(f->h, VMR_RESET_COLD);
    const uint8_t *mcfg = find(f, "MCFG");
    g_assert_nonnull(mcfg);
    g_assert_cmpuint(get(mcfg, 4, 4), ==, 44 + 16);
    g_assert_cmphex(get(mcfg, 44, 8), ==, 0xe0000000);
    g_assert_cmphex(get(mcfg, 52, 4), ==, 0x01000000); /* segment 0, buses 0 and 1 */
    g_autofree char *text = disassemble(f);
    if (!text) {
        g_test_skip("no iasl");
        return;
    }
    assert_device(text, "PNP0A03", "WordBusNumber(ResourceProducer,MinFixed,MaxFixed,PosDecode,"
                                   "0x0000,0x0000,0x0001,0x0000,0x0002,,,)");
    assert_device(text, "PNP0A03", "0x00000000,0xC0000000,0xDFFFFFFF,0x00000000,0x20000000");
    assert_device(text, "PNP0A03", "Name(_PRT,Package(0x80)");
    /* INTB# of slot 3 is line 0. */
    assert_device(text, "PNP0A03", "Package(0x04){0x0003FFFF,One,Zero,0x10}");
    assert_device(text, "LNRO0005", "Memory32Fixed(ReadWrite,0xFEB00000,0x00000200,)"
                                    "Interrupt(ResourceConsumer,Level,ActiveLow,Shared,,,)"
                                    "{0x00000014,}");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name_, properties_, function_)                                                        \
    g_test_add("/acpi-tables/" name_, Fixture, properties_, set_up, function_, tear_down)
    TEST("checksums", "", test_checksums);
    TEST("fadt", "", test_fadt);
    TEST("madt", "", test_madt);
    TEST("hpet", "", test_hpet);
    TEST("dsdt", "", test_dsdt);
    TEST("pci", "", test_pci);
    TEST("warm-reset", "", test_warm_reset);
    TEST("too-many", "size=4096", test_too_many);
    g_test_add_func("/acpi-tables/small", test_small);
    g_test_add_func("/acpi-tables/no-memory", test_no_memory);
    g_test_add_func("/acpi-tables/x2apic", test_x2apic);
    g_test_add_func("/acpi-tables/fuzz", test_fuzz);
    return g_test_run();
}
