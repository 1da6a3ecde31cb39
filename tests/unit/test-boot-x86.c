/*
 * tests/unit/test-boot-x86.c - plugins/boot-x86: what it puts into RAM and how it enters.
 *
 * Images are made here, byte by byte.  The hostile ones are these with every
 * field of their headers replaced in turn: they must be refused or be loaded
 * within RAM, which the fake host's DMA and the sanitizer builds watch.
 */
#include "fakehost.h"

#include <glib/gstdio.h>
#include <string.h>

#define RAM_SIZE (32u << 20)
#define MIB (1u << 20)

typedef struct Fixture {
    FakeHost *h;
    VmrDevice *dev;
    char *dir, *kernel, *initrd;
    GError *error;
} Fixture;

static void setup(Fixture *f, const void *unused)
{
    f->dir = g_dir_make_tmp("boot-x86-XXXXXX", NULL);
    g_assert_nonnull(f->dir);
    f->kernel = g_build_filename(f->dir, "kernel", NULL);
    f->initrd = g_build_filename(f->dir, "initrd", NULL);
    f->h = fake_host_new(RAM_SIZE, 1);
}

static void teardown(Fixture *f, const void *unused)
{
    fake_host_free(f->h);
    g_clear_error(&f->error);
    g_unlink(f->kernel);
    g_unlink(f->initrd);
    g_rmdir(f->dir);
    g_free(f->kernel);
    g_free(f->initrd);
    g_free(f->dir);
}

static void fresh_host(Fixture *f)
{
    fake_host_free(f->h);
    f->h = fake_host_new(RAM_SIZE, 1);
    g_clear_error(&f->error);
}

static void boot_value(Fixture *f, const char *key, const char *value)
{
    fake_machine_value(f->h, "boot", key, value);
}

static void write_kernel(Fixture *f, const void *image, size_t size)
{
    g_unlink(f->kernel);
    g_assert_true(g_file_set_contents_full(f->kernel, image, (gssize)size, G_FILE_SET_CONTENTS_NONE,
                                           0600, NULL)); /* thousands of times: no fsync */
}

static bool try_image(Fixture *f, const void *image, size_t size)
{
    write_kernel(f, image, size);
    boot_value(f, "kernel", f->kernel);
    f->dev = fake_device_try(f->h, "boot-x86", "boot", "", &f->error);
    g_assert_true(!f->dev == !!f->error);
    return f->dev != NULL;
}

static void load_image(Fixture *f, const void *image, size_t size)
{
    try_image(f, image, size);
    g_assert_no_error(f->error);
    fake_reset(f->h, VMR_RESET_COLD);
    VmrRequest request;
    g_assert_false(fake_last_request(f->h, &request, NULL));
}

static void expect_error(Fixture *f, const void *image, size_t size, const char *part)
{
    if (try_image(f, image, size))
        g_error("accepted, though \"%s\" was expected", part);
    if (!strstr(f->error->message, part))
        g_error("said \"%s\", not \"%s\"", f->error->message, part);
    fresh_host(f);
}

static const VmrX86State *state(Fixture *f)
{
    return &fake_cpu(f->h, 0)->state;
}

static void put(uint8_t *p, uint64_t v, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static uint64_t ram(Fixture *f, uint64_t address, unsigned size)
{
    g_assert_cmphex(address, <=, RAM_SIZE - size);
    return get(fake_ram(f->h) + address, size);
}

/* ---- entry states ------------------------------------------------------ */

static void check_descriptor(Fixture *f, const VmrX86Segment *s, const char *name)
{
    uint64_t d = ram(f, state(f)->gdt_base + (s->selector & ~7u), 8);
    g_assert_cmpuint(s->selector | 7, <=, state(f)->gdt_limit);
    g_assert_cmphex((d >> 16 & 0xffffff) | (d >> 56) << 24, ==, s->base);
    g_assert_cmphex(((d & 0xffff) | (d >> 48 & 0xf) << 16) << 12 | 0xfff, ==, s->limit);
    if ((d >> 40 & 0xf) != s->type)
        g_error("%s: descriptor 0x%" G_GINT64_MODIFIER "x, but type %u", name, d, s->type);
    g_assert_cmphex(d >> 44 & 1, ==, s->s);
    g_assert_cmphex(d >> 45 & 3, ==, s->dpl);
    g_assert_cmphex(d >> 47 & 1, ==, s->present);
    g_assert_cmphex(d >> 53 & 1, ==, s->l);
    g_assert_cmphex(d >> 54 & 1, ==, s->db);
    g_assert_cmphex(d >> 55 & 1, ==, s->g);
}

static void check_flat(Fixture *f, bool is_long)
{
    const VmrX86State *s = state(f);
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    for (unsigned i = 0; i < 6; i++) {
        g_assert_cmphex(s->seg[i].selector, ==, i == VMR_X86_CS ? 0x10 : 0x18);
        g_assert_cmphex(s->seg[i].base, ==, 0);
        g_assert_cmphex(s->seg[i].limit, ==, UINT32_MAX);
        check_descriptor(f, &s->seg[i], names[i]);
    }
    g_assert_cmpuint(s->seg[VMR_X86_CS].l, ==, is_long);
    g_assert_cmpuint(s->seg[VMR_X86_CS].db, ==, !is_long);
    g_assert_cmpuint(s->tr.type, ==, 0xb);
    g_assert_cmpuint(s->tr.present, ==, 1);
    g_assert_cmphex(s->rflags, ==, 2);
    g_assert_cmphex(s->cr0, ==, is_long ? 0x80000031 : 0x31);
    g_assert_cmphex(s->cr4, ==, is_long ? 0x20 : 0);
    g_assert_cmphex(s->efer, ==, is_long ? 0x500 : 0);
    g_assert_cmpuint(s->mp_state, ==, 0);
    if (!is_long)
        return;
    /* Walk the tables for addresses all over the 4 GiB, the edges included. */
    for (uint64_t a = 0; a < UINT64_C(1) << 32; a += 0x1ff000) {
        uint64_t e = ram(f, (s->cr3 & ~0xfffull) + 8 * (a >> 39 & 511), 8);
        g_assert_cmphex(e & 0x83, ==, 3);
        e = ram(f, (e & 0xfffffffff000) + 8 * (a >> 30 & 511), 8);
        g_assert_cmphex(e & 0x83, ==, 3);
        e = ram(f, (e & 0xfffffffff000) + 8 * (a >> 21 & 511), 8);
        g_assert_cmphex(e & 0x83, ==, 0x83);
        g_assert_cmphex((e & 0xfffffffff000) | (a & 0x1fffff), ==, a);
    }
}

/* ---- Linux ------------------------------------------------------------- */

enum { BZ_SETUP = 0xa00, BZ_PAYLOAD = 0x3000, BZ_SIZE = BZ_SETUP + BZ_PAYLOAD };

/* A bzImage of boot protocol 2.15 that wants to run at 16 MiB. */
static void make_bzimage(uint8_t *k)
{
    memset(k, 0x90, BZ_SIZE);
    memset(k, 0, BZ_SETUP);
    k[0x1f1] = BZ_SETUP / 512 - 1;
    put(k + 0x1f4, BZ_PAYLOAD / 16, 4);
    put(k + 0x1fa, 0x1234, 2);
    put(k + 0x1fe, 0xaa55, 2);
    put(k + 0x200, 0x6aeb, 2);
    memcpy(k + 0x202, "HdrS", 4);
    put(k + 0x206, 0x20f, 2);
    k[0x211] = 1;
    put(k + 0x214, 0x100000, 4);
    put(k + 0x22c, 0x7fffffff, 4);
    put(k + 0x230, 0x200000, 4);
    k[0x234] = 1;
    k[0x235] = 21;
    put(k + 0x236, 0x3f, 2);
    put(k + 0x238, 2047, 4);
    put(k + 0x250, 0xdeadbeef, 8);
    put(k + 0x258, 16 * MIB, 8);
    put(k + 0x260, 4 * MIB, 4);
    put(k + 0x264, 0x190, 4);
    memcpy(k + BZ_SETUP, "PAYLOAD", 8);
}

static void test_linux_64(Fixture *f, const void *unused)
{
    uint8_t k[BZ_SIZE];
    make_bzimage(k);
    char initrd[5000];
    memset(initrd, 'i', sizeof(initrd));
    g_assert_true(g_file_set_contents(f->initrd, initrd, sizeof(initrd), NULL));
    boot_value(f, "initrd", f->initrd);
    boot_value(f, "cmdline", "console=ttyS0 quiet");
    load_image(f, k, sizeof(k));
    const VmrX86State *s = state(f);
    check_flat(f, true);
    g_assert_cmphex(s->rip, ==, 16 * MIB + 0x200);
    g_assert_cmpmem(fake_ram(f->h) + 16 * MIB, BZ_PAYLOAD, k + BZ_SETUP, BZ_PAYLOAD);

    uint64_t bp = s->gpr[6];
    g_assert_cmphex(bp & 0xfff, ==, 0);
    g_assert_cmphex(ram(f, bp + 0x202, 4), ==, 0x53726448);
    g_assert_cmphex(ram(f, bp + 0x206, 2), ==, 0x20f);
    g_assert_cmphex(ram(f, bp + 0x1ef, 1), ==, 0); /* sentinel */
    g_assert_cmphex(ram(f, bp + 0x1fa, 2), ==, 0xffff);
    g_assert_cmphex(ram(f, bp + 0x210, 1), ==, 0xff);
    g_assert_cmphex(ram(f, bp + 0x250, 8), ==, 0);
    g_assert_cmphex(ram(f, bp + 0x260, 4), ==, 4 * MIB);
    g_assert_cmpstr((char *)fake_ram(f->h) + ram(f, bp + 0x228, 4), ==, "console=ttyS0 quiet");

    uint64_t at = ram(f, bp + 0x218, 4);
    g_assert_cmphex(at, ==, RAM_SIZE - 0x2000);
    g_assert_cmphex(ram(f, bp + 0x21c, 4), ==, sizeof(initrd));
    g_assert_cmpmem(fake_ram(f->h) + at, sizeof(initrd), initrd, sizeof(initrd));

    static const uint64_t map[][3] = {
        {0, 0x9fc00, 1}, {0x9fc00, 0x60400, 2}, {MIB, RAM_SIZE - MIB, 1}};
    g_assert_cmpuint(ram(f, bp + 0x1e8, 1), ==, G_N_ELEMENTS(map));
    for (unsigned i = 0; i < G_N_ELEMENTS(map); i++) {
        g_assert_cmphex(ram(f, bp + 0x2d0 + 20 * i, 8), ==, map[i][0]);
        g_assert_cmphex(ram(f, bp + 0x2d0 + 20 * i + 8, 8), ==, map[i][1]);
        g_assert_cmphex(ram(f, bp + 0x2d0 + 20 * i + 16, 4), ==, map[i][2]);
    }

    /* A warm reset loads all again. */
    memset(fake_ram(f->h), 0xcc, RAM_SIZE);
    fake_reset(f->h, VMR_RESET_WARM);
    check_flat(f, true);
    g_assert_cmpmem(fake_ram(f->h) + 16 * MIB, BZ_PAYLOAD, k + BZ_SETUP, BZ_PAYLOAD);
    g_assert_cmphex(ram(f, bp + 0x202, 4), ==, 0x53726448);
    g_assert_cmphex(ram(f, bp, 8), ==, 0);
}

static void test_linux_32(Fixture *f, const void *unused)
{
    uint8_t k[BZ_SIZE];
    make_bzimage(k);
    boot_value(f, "entry", "32");
    load_image(f, k, sizeof(k));
    check_flat(f, false);
    g_assert_cmphex(state(f)->rip, ==, 16 * MIB);
    g_assert_cmphex(state(f)->gpr[3] | state(f)->gpr[5] | state(f)->gpr[7], ==, 0);

    fresh_host(f);
    k[0x236] = 0x3e; /* no 64-bit entry */
    load_image(f, k, sizeof(k));
    check_flat(f, false);

    fresh_host(f);
    boot_value(f, "entry", "64");
    expect_error(f, k, sizeof(k), "no 64-bit entry");

    put(k + 0x206, 0x209, 2); /* no pref_address yet: 1 MiB, aligned */
    load_image(f, k, sizeof(k));
    g_assert_cmphex(state(f)->rip, ==, 2 * MIB);
    fresh_host(f);
    put(k + 0x206, 0x204, 2);
    load_image(f, k, sizeof(k));
    g_assert_cmphex(state(f)->rip, ==, MIB);
}

/* A hole below 4 GiB and RAM above it: the map shows both, nothing is loaded above. */
static void test_memory_map(Fixture *f, const void *unused)
{
    static const VmrMemoryRange ranges[] = {
        {0, 24 * MIB}, {24 * MIB, 8 * MIB}, {UINT64_C(1) << 32, UINT64_C(5) << 30}};
    uint8_t k[BZ_SIZE];
    make_bzimage(k);
    put(k + 0x260, 12 * MIB, 4); /* crosses from the first range into the second */
    put(k + 0x22c, 30 * MIB - 1, 4);
    g_assert_true(g_file_set_contents(f->initrd, "x", 1, NULL));
    boot_value(f, "initrd", f->initrd);
    fake_set_ram_ranges(f->h, ranges, 3);
    load_image(f, k, sizeof(k));
    uint64_t bp = state(f)->gpr[6];
    g_assert_cmphex(ram(f, bp + 0x218, 4), ==, 30 * MIB - 0x1000);
    g_assert_cmpuint(ram(f, bp + 0x1e8, 1), ==, 4);
    g_assert_cmphex(ram(f, bp + 0x2d0 + 60, 8), ==, UINT64_C(1) << 32);
    g_assert_cmphex(ram(f, bp + 0x2d0 + 68, 8), ==, UINT64_C(5) << 30);
    g_assert_cmphex(ram(f, bp + 0x2d0 + 76, 4), ==, 1);

    /* The initrd goes below the kernel if there is no room above it. */
    fresh_host(f);
    boot_value(f, "initrd", f->initrd);
    put(k + 0x22c, 28 * MIB - 1, 4);
    load_image(f, k, sizeof(k));
    g_assert_cmphex(ram(f, state(f)->gpr[6] + 0x218, 4), ==, 16 * MIB - 0x1000);
}

static void test_linux_errors(Fixture *f, const void *unused)
{
    uint8_t k[BZ_SIZE];
    make_bzimage(k);
    expect_error(f, k, sizeof(k) - 100, "truncated");
    expect_error(f, k, BZ_SETUP, "truncated");
    expect_error(f, k, 0x230, "truncated");
    k[0x211] = 0;
    expect_error(f, k, sizeof(k), "zImage");
    make_bzimage(k);
    put(k + 0x206, 0x201, 2);
    expect_error(f, k, sizeof(k), "too old");
    make_bzimage(k);
    put(k + 0x260, 0x7fffffff, 4);
    expect_error(f, k, sizeof(k), "not within the machine's RAM");
    make_bzimage(k);
    put(k + 0x258, UINT64_MAX - 10, 8);
    expect_error(f, k, sizeof(k), "between 1 MiB and 4 GiB");
    make_bzimage(k);
    put(k + 0x230, 3, 4);
    expect_error(f, k, sizeof(k), "power of two");
    make_bzimage(k);
    put(k + 0x238, 10, 4);
    boot_value(f, "cmdline", "eleven char");
    expect_error(f, k, sizeof(k), "command line of 10 bytes");
    make_bzimage(k);
    put(k + 0x22c, 0x100fff, 4);
    char initrd[5000] = "";
    g_assert_true(g_file_set_contents(f->initrd, initrd, sizeof(initrd), NULL));
    boot_value(f, "initrd", f->initrd);
    expect_error(f, k, sizeof(k), "no room in RAM");
    boot_value(f, "initrd", "/nonexistent/initrd");
    expect_error(f, k, sizeof(k), "/nonexistent/initrd: cannot be opened");
    boot_value(f, "initrd", "/dev/zero");
    expect_error(f, k, sizeof(k), "/dev/zero: is not a regular file");
    g_assert_true(g_file_set_contents(f->initrd, "", 0, NULL));
    boot_value(f, "initrd", f->initrd);
    expect_error(f, k, sizeof(k), "is empty");
    boot_value(f, "type", "linuks");
    expect_error(f, k, sizeof(k), "none of auto, linux");
    boot_value(f, "type", "elf");
    expect_error(f, k, sizeof(k), "not an ELF image");
}

/* ---- ELF --------------------------------------------------------------- */

enum { ELF_SIZE = 0x2000, ELF_TEXT = 0x1000, ELF_NOTE = 0x800 };

/* A PT_LOAD at 2 MiB (file 0x1000 bytes, memory 0x3000), and a PVH note if `pvh`. */
static size_t make_elf(uint8_t *e, bool is64, bool pvh)
{
    memset(e, 0, ELF_SIZE);
    memcpy(e, "\177ELF", 4);
    e[4] = is64 ? 2 : 1;
    e[5] = e[6] = 1;
    put(e + 16, 2, 2);
    put(e + 18, is64 ? 62 : 3, 2);
    put(e + 20, 1, 4);
    unsigned w = is64 ? 8 : 4, ph = is64 ? 64 : 52, phsize = is64 ? 56 : 32;
    put(e + 24, 0x200010, w);
    put(e + 24 + w, ph, w);
    put(e + (is64 ? 54 : 42), phsize, 2);
    put(e + (is64 ? 56 : 44), pvh ? 2 : 1, 2);
    const uint64_t load[] = {ELF_TEXT, 0xffffffff80200000, 0x200000, 0x1000, 0x3000, 0x1000};
    const uint64_t note[] = {ELF_NOTE, 0, 0, 64, 64, 4};
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *p = e + ph + i * phsize;
        const uint64_t *v = i ? note : load;
        put(p, i ? 4 : 1, 4);
        for (unsigned j = 0; j < 6; j++)
            put(p + w + (j < 5 || is64 ? j * w : 24), v[j], w);
    }
    uint8_t *n = e + ELF_NOTE; /* another note first */
    put(n, 3, 4);
    put(n + 4, 5, 4);
    put(n + 8, 1, 4);
    memcpy(n + 12, "xx", 3);
    put(n + 24, 4, 4);
    put(n + 28, w, 4);
    put(n + 32, 18, 4);
    memcpy(n + 36, "Xen", 4);
    put(n + 40, 0x200040, w);
    memset(e + ELF_TEXT, 0xf4, 0x1000);
    return ELF_SIZE;
}

static void check_start_info(Fixture *f, uint64_t si, bool module)
{
    g_assert_cmphex(ram(f, si, 4), ==, 0x336ec578);
    g_assert_cmpuint(ram(f, si + 4, 4), ==, 1);
    g_assert_cmpstr((char *)fake_ram(f->h) + ram(f, si + 24, 8), ==, "hello");
    g_assert_cmpuint(ram(f, si + 12, 4), ==, module);
    if (module) {
        uint64_t list = ram(f, si + 16, 8);
        g_assert_cmphex(ram(f, list, 8), ==, RAM_SIZE - 0x1000);
        g_assert_cmphex(ram(f, list + 8, 8), ==, 6);
        g_assert_cmpmem(fake_ram(f->h) + RAM_SIZE - 0x1000, 6, "module", 6);
    }
    uint64_t map = ram(f, si + 40, 8);
    g_assert_cmpuint(ram(f, si + 48, 4), ==, 3);
    g_assert_cmphex(ram(f, map + 24, 8), ==, 0x9fc00);
    g_assert_cmphex(ram(f, map + 24 + 16, 4), ==, 2);
    g_assert_cmphex(ram(f, map + 48 + 8, 8), ==, RAM_SIZE - MIB);
}

static void test_elf(Fixture *f, const void *unused)
{
    uint8_t e[ELF_SIZE];
    g_assert_true(g_file_set_contents(f->initrd, "module", 6, NULL));
    for (unsigned i = 0; i < 4; i++) {
        bool is64 = i & 1, pvh = i & 2;
        g_test_message("ELF%u%s", is64 ? 64 : 32, pvh ? ", PVH" : "");
        fresh_host(f);
        boot_value(f, "cmdline", "hello");
        boot_value(f, "initrd", f->initrd);
        memset(fake_ram(f->h) + 0x200000, 0xee, 0x4000);
        size_t size = make_elf(e, is64, pvh);
        load_image(f, e, size);
        check_flat(f, is64 && !pvh);
        const VmrX86State *s = state(f);
        g_assert_cmphex(s->rip, ==, pvh ? 0x200040 : 0x200010);
        check_start_info(f, s->gpr[3], true);
        if (!pvh) {
            g_assert_cmphex(s->gpr[6], ==, s->gpr[3]);
            g_assert_cmphex(s->gpr[7], ==, s->gpr[3]);
            g_assert_cmphex(s->gpr[4], ==, 0x9fc00);
        }
        g_assert_cmphex(ram(f, 0x200ff8, 8), ==, 0xf4f4f4f4f4f4f4f4);
        g_assert_cmphex(ram(f, 0x201000, 8), ==, 0);
        g_assert_cmphex(ram(f, 0x202ff8, 8), ==, 0);
        g_assert_cmphex(ram(f, 0x203000, 8), ==, 0xeeeeeeeeeeeeeeee);
    }
    /* A virtual entry is translated. */
    fresh_host(f);
    make_elf(e, true, false);
    put(e + 24, 0xffffffff80200020, 8);
    load_image(f, e, sizeof(e));
    g_assert_cmphex(state(f)->rip, ==, 0x200020);
}

static void test_elf_errors(Fixture *f, const void *unused)
{
    uint8_t e[ELF_SIZE];
    make_elf(e, true, false);
    expect_error(f, e, ELF_SIZE - 1, "truncated");
    expect_error(f, e, 100, "truncated");
    put(e + 24, 0x1000, 8);
    expect_error(f, e, ELF_SIZE, "in none of its segments");
    make_elf(e, true, false);
    put(e + 18, 183, 2);
    expect_error(f, e, ELF_SIZE, "another architecture");
    make_elf(e, true, false);
    put(e + 56, 0, 2);
    expect_error(f, e, ELF_SIZE, "nothing to load");
    make_elf(e, true, false);
    put(e + 24, 0x90010, 8);
    put(e + 64 + 24, 0x90000, 8);
    expect_error(f, e, ELF_SIZE, "overlaps");
    make_elf(e, true, false);
    put(e + 64 + 40, 0x800, 8); /* memsz < filesz */
    expect_error(f, e, ELF_SIZE, "size that cannot be");
}

/* ---- Multiboot --------------------------------------------------------- */

static void multiboot_header(uint8_t *h, uint32_t flags)
{
    put(h, 0x1badb002, 4);
    put(h + 4, flags, 4);
    put(h + 8, 0u - 0x1badb002u - flags, 4);
}

static void check_multiboot(Fixture *f, uint64_t entry)
{
    const VmrX86State *s = state(f);
    check_flat(f, false);
    g_assert_cmphex(s->rip, ==, entry);
    g_assert_cmphex(s->gpr[0], ==, 0x2badb002);
    uint64_t mbi = s->gpr[3];
    g_assert_cmphex(ram(f, mbi, 4) & 0x4d, ==, 0x4d);
    g_assert_cmpuint(ram(f, mbi + 4, 4), ==, 639);
    g_assert_cmpuint(ram(f, mbi + 8, 4), ==, RAM_SIZE / 1024 - 1024);
    g_assert_cmpstr((char *)fake_ram(f->h) + ram(f, mbi + 16, 4), ==, "hello");
    g_assert_cmpuint(ram(f, mbi + 20, 4), ==, 1);
    uint64_t mods = ram(f, mbi + 24, 4);
    g_assert_cmphex(ram(f, mods, 4), ==, RAM_SIZE - 0x1000);
    g_assert_cmphex(ram(f, mods + 4, 4), ==, RAM_SIZE - 0x1000 + 6);
    g_assert_cmpuint(ram(f, mbi + 44, 4), ==, 72);
    uint64_t map = ram(f, mbi + 48, 4);
    g_assert_cmpuint(ram(f, map + 48, 4), ==, 20);
    g_assert_cmphex(ram(f, map + 52, 8), ==, MIB);
    g_assert_cmpuint(ram(f, map + 68, 4), ==, 1);
}

enum { MB_SIZE = 0x800, MB_AT = 0x100 };

static void make_multiboot(uint8_t *k)
{
    memset(k, 0x11, MB_SIZE);
    multiboot_header(k + MB_AT, 0x10003);
    const uint32_t fields[] = {0x200000 + MB_AT - 0x80, 0x200000, 0, 0x205000, 0x200040};
    for (unsigned i = 0; i < 5; i++)
        put(k + MB_AT + 12 + 4 * i, fields[i], 4);
}

static void test_multiboot(Fixture *f, const void *unused)
{
    uint8_t e[ELF_SIZE], k[MB_SIZE];
    g_assert_true(g_file_set_contents(f->initrd, "module", 6, NULL));
    for (unsigned i = 0; i < 2; i++) {
        fresh_host(f);
        boot_value(f, "cmdline", "hello");
        boot_value(f, "initrd", f->initrd);
        if (i) {
            make_multiboot(k);
            load_image(f, k, sizeof(k));
            /* load_addr is at file offset 0x80 */
            g_assert_cmpmem(fake_ram(f->h) + 0x200000, MB_SIZE - 0x80, k + 0x80, MB_SIZE - 0x80);
            g_assert_cmphex(ram(f, 0x200000 + MB_SIZE - 0x80, 8), ==, 0);
        } else {
            make_elf(e, false, false);
            multiboot_header(e + ELF_TEXT, 3);
            load_image(f, e, sizeof(e));
        }
        check_multiboot(f, i ? 0x200040 : 0x200010);
    }
    /* With a PVH note too, PVH wins, unless told otherwise. */
    fresh_host(f);
    make_elf(e, false, true);
    multiboot_header(e + ELF_TEXT, 3);
    load_image(f, e, sizeof(e));
    g_assert_cmphex(state(f)->rip, ==, 0x200040);
    fresh_host(f);
    boot_value(f, "type", "multiboot");
    load_image(f, e, sizeof(e));
    g_assert_cmphex(state(f)->rip, ==, 0x200010);
    fresh_host(f);
    make_elf(e, false, false);
    multiboot_header(e + ELF_TEXT, 0x8003);
    expect_error(f, e, sizeof(e), "unknown features 0x8000");
}

/* ---- flat images ------------------------------------------------------- */

static void test_flat(Fixture *f, const void *unused)
{
    uint8_t k[1000];
    memset(k, 0x77, sizeof(k));
    expect_error(f, k, sizeof(k), "known format");

    boot_value(f, "load-address", "0x300000");
    load_image(f, k, sizeof(k));
    check_flat(f, false);
    g_assert_cmphex(state(f)->rip, ==, 0x300000);
    g_assert_cmpmem(fake_ram(f->h) + 0x300000, sizeof(k), k, sizeof(k));

    fresh_host(f);
    boot_value(f, "type", "flat");
    boot_value(f, "mode", "long");
    load_image(f, k, sizeof(k));
    check_flat(f, true);
    g_assert_cmphex(state(f)->rip, ==, MIB);

    fresh_host(f);
    boot_value(f, "mode", "real");
    boot_value(f, "load-address", "0x12344");
    load_image(f, k, sizeof(k));
    g_assert_cmphex(state(f)->cr0 & 0x80000001, ==, 0);
    g_assert_cmphex(state(f)->seg[VMR_X86_CS].selector, ==, 0x1234);
    g_assert_cmphex(state(f)->seg[VMR_X86_CS].base, ==, 0x12340);
    g_assert_cmphex(state(f)->rip, ==, 4);

    static const char *const bad[] = {"0x1fffff8", "0x2000000", "0x100000000",
                                      "18446744073709551615"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        fresh_host(f);
        boot_value(f, "load-address", bad[i]);
        g_assert_false(try_image(f, k, sizeof(k)));
    }
    fresh_host(f);
    boot_value(f, "load-address", "12x");
    expect_error(f, k, sizeof(k), "'12x' is not a number");
}

static void test_sector(Fixture *f, const void *unused)
{
    uint8_t k[1024];
    memset(k, 0x90, sizeof(k));
    put(k + 510, 0xaa55, 2);
    load_image(f, k, sizeof(k));
    const VmrX86State *s = state(f);
    g_assert_cmphex(s->seg[VMR_X86_CS].base + s->rip, ==, 0xffff0); /* through the mini BIOS */
    g_assert_cmphex(ram(f, 0xffff0, 1), ==, 0xea);
    g_assert_cmphex(s->cr0, ==, 0x10);
    g_assert_cmphex(s->efer | s->cr3 | s->cr4, ==, 0);
    for (unsigned i = 0; i < 6; i++) {
        g_assert_cmphex(s->seg[i].selector, ==, i == VMR_X86_CS ? 0xf000 : 0);
        g_assert_cmphex(s->seg[i].base, ==, s->seg[i].selector << 4);
        g_assert_cmphex(s->seg[i].limit, ==, 0xffff);
    }
    g_assert_cmpmem(fake_ram(f->h) + 0x7c00, 512, k, 512);
    g_assert_cmphex(ram(f, 0x7e00, 8), ==, 0);
}

static void test_firmware(Fixture *f, const void *unused)
{
    uint8_t k[65536];
    memset(k, 0x90, sizeof(k));
    g_assert_true(g_file_set_contents(f->kernel, (char *)k, sizeof(k), NULL));
    boot_value(f, "firmware", f->kernel);
    f->dev = fake_device_try(f->h, "boot-x86", "boot", "", &f->error);
    g_assert_no_error(f->error);
    fake_reset(f->h, VMR_RESET_COLD);
    g_assert_cmphex(state(f)->seg[VMR_X86_CS].selector, ==, 0xf000);
    g_assert_cmphex(state(f)->rip, ==, 0xfff0);
    g_assert_cmpmem(fake_ram(f->h) + 0xf0000, sizeof(k), k, sizeof(k));
}

static void test_nothing(Fixture *f, const void *unused)
{
    f->dev = fake_device_try(f->h, "boot-x86", "boot", "", &f->error);
    g_assert_no_error(f->error);
    fake_reset(f->h, VMR_RESET_COLD);
    VmrRequest request;
    uint32_t code;
    g_assert_true(fake_last_request(f->h, &request, &code));
    g_assert_cmpuint(request, ==, VMR_REQUEST_EXIT);
    g_assert_cmpuint(code, ==, 2);
}

/* ---- hostile images ---------------------------------------------------- */

/* The device with another image: through its class, as thousands of hosts would take long. */
static bool retry_image(Fixture *f, const void *image, size_t size)
{
    f->dev->klass->unrealize(f->dev);
    write_kernel(f, image, size);
    g_clear_error(&f->error);
    bool ok = f->dev->klass->realize(f->dev, &f->error);
    g_assert_true(ok == !f->error);
    return ok;
}

/* Every offset of the headers, every width, values at the edges: nothing crashes, nothing is
   written outside of RAM, and what is accepted can be started. */
static void fuzz(Fixture *f, const uint8_t *image, size_t size, unsigned from, unsigned to)
{
    static const uint64_t values[] = {
        0, 1, 0x7f, 0xff, 0x1000, 0x90000, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffffffff000,
        0x7fffffffffffffff, 0x8000000000000000, UINT64_MAX};
    unsigned accepted = 0, refused = 0;
    g_autofree uint8_t *copy = g_malloc(size);
    g_assert_true(g_file_set_contents(f->initrd, "module", 6, NULL));
    fresh_host(f);
    boot_value(f, "cmdline", "hello");
    boot_value(f, "initrd", f->initrd);
    load_image(f, image, size);
    for (unsigned at = from; at < to; at++) {
        for (unsigned w = 1; w <= 8 && at + w <= to; w *= 2) {
            if (at % w && w > 1)
                continue;
            for (unsigned v = 0; v < G_N_ELEMENTS(values); v++) {
                if (w < 8 && v && (values[v] & ((UINT64_C(1) << 8 * w) - 1)) ==
                                      (values[v - 1] & ((UINT64_C(1) << 8 * w) - 1)))
                    continue;
                memcpy(copy, image, size);
                put(copy + at, values[v], w);
                if (!retry_image(f, copy, size)) {
                    g_assert_nonnull(strstr(f->error->message, "kernel"));
                    refused++;
                    continue;
                }
                fake_reset(f->h, VMR_RESET_COLD);
                VmrRequest request;
                if (fake_last_request(f->h, &request, NULL))
                    g_error("offset 0x%x, value 0x%" G_GINT64_MODIFIER "x: planned, not started", at,
                            values[v]);
                accepted++;
            }
        }
    }
    g_assert_true(retry_image(f, image, size)); /* the host unrealizes it once more */
    g_test_message("%u accepted, %u refused", accepted, refused);
    g_assert_cmpuint(accepted, >, 0);
    g_assert_cmpuint(refused, >, 0);
}

static void truncate_all(Fixture *f, const uint8_t *image, size_t size, size_t step)
{
    fresh_host(f);
    load_image(f, image, size);
    for (size_t n = 1; n < size; n += n < 0x300 ? 1 : step)
        if (retry_image(f, image, n))
            fake_reset(f->h, VMR_RESET_COLD);
    g_assert_true(retry_image(f, image, size));
}

static void test_hostile_linux(Fixture *f, const void *unused)
{
    uint8_t k[BZ_SIZE];
    make_bzimage(k);
    fuzz(f, k, sizeof(k), 0x1f1, 0x268);
    truncate_all(f, k, sizeof(k), 97);
}

static void test_hostile_elf(Fixture *f, const void *unused)
{
    uint8_t e[ELF_SIZE];
    for (unsigned is64 = 0; is64 < 2; is64++) {
        make_elf(e, is64, true);
        fuzz(f, e, sizeof(e), 0, is64 ? 64 + 2 * 56 : 52 + 2 * 32);
        fuzz(f, e, sizeof(e), ELF_NOTE, ELF_NOTE + 48);
        truncate_all(f, e, sizeof(e), 97);
    }
}

static void test_hostile_multiboot(Fixture *f, const void *unused)
{
    uint8_t k[MB_SIZE];
    make_multiboot(k);
    fuzz(f, k, sizeof(k), MB_AT, MB_AT + 32);
    truncate_all(f, k, sizeof(k), 97);
}

#define ADD(path_, fn_) g_test_add("/boot-x86/" path_, Fixture, NULL, setup, fn_, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("linux/64", test_linux_64);
    ADD("linux/32", test_linux_32);
    ADD("linux/memory-map", test_memory_map);
    ADD("linux/errors", test_linux_errors);
    ADD("elf", test_elf);
    ADD("elf/errors", test_elf_errors);
    ADD("multiboot", test_multiboot);
    ADD("flat", test_flat);
    ADD("sector", test_sector);
    ADD("firmware", test_firmware);
    ADD("nothing", test_nothing);
    ADD("hostile/linux", test_hostile_linux);
    ADD("hostile/elf", test_hostile_elf);
    ADD("hostile/multiboot", test_hostile_multiboot);
    return g_test_run();
}
