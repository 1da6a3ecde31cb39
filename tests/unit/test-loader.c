/*
 * tests/unit/test-loader.c - plugins that are refused, why, and before any of their code ran.
 */
#include "core/loader.h"

#include <elf.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *dir;

typedef struct Copy {
    uint8_t *bytes;
    gsize size;
} Copy;

static void put(const char *path, const void *bytes, gsize size)
{
    g_unlink(path); /* GLib 2.74 does not truncate an old file */
    g_assert_true(
        g_file_set_contents_full(path, bytes, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

static Copy copy_of(const char *name)
{
    Copy c;
    char *path = g_build_filename(g_getenv("VMRUN_TEST_PLUGINS"), name, NULL);
    g_assert_true(g_file_get_contents(path, (char **)&c.bytes, &c.size, NULL));
    g_free(path);
    return c;
}

/* The plugin table in the file: found by its magic number and its size. */
static VmrPlugin *table_of(const Copy *c)
{
    VmrPlugin head = {.magic = VMR_PLUGIN_MAGIC, .abi_major = VMR_ABI_MAJOR,
                      .abi_minor = VMR_ABI_MINOR, .size = sizeof(VmrPlugin)};
    uint8_t *p = memmem(c->bytes, c->size, &head, offsetof(VmrPlugin, name));
    g_assert_nonnull(p);
    return (VmrPlugin *)p;
}

/* What opening these bytes says, without the path; it must be refused. */
static char *refusal(Copy *c, gsize size)
{
    static unsigned number;
    char *name = g_strdup_printf("p%u.so", number++);
    char *path = g_build_filename(dir, name, NULL);
    GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
    put(path, c->bytes, size);
    g_unsetenv("VMRUN_TEST_CONSTRUCTED");
    g_assert_null(vmr_plugin_open(path, problems));
    g_assert_null(g_getenv("VMRUN_TEST_CONSTRUCTED"));
    g_assert_cmpuint(problems->len, >=, 1);
    char *text = g_strdup(g_ptr_array_index(problems, 0));
    g_assert_true(g_str_has_prefix(text, path));
    memmove(text, text + strlen(path) + 2, strlen(text) - strlen(path) - 1);
    /* Asked again, it says the same. */
    g_assert_null(vmr_plugin_open(path, problems));
    g_assert_cmpuint(problems->len % 2, ==, 0);
    g_ptr_array_unref(problems);
    g_free(path);
    g_free(name);
    return text;
}

static void expect_refusal(Copy *c, gsize size, const char *wanted)
{
    char *seen = refusal(c, size);
    g_assert_cmpstr(seen, ==, wanted);
    g_free(seen);
}

static void test_good(void)
{
    GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
    char *path = g_build_filename(g_getenv("VMRUN_TEST_PLUGINS"), "test-good.so", NULL);
    const VmrPluginFile *f = vmr_plugin_open(path, problems);
    g_assert_cmpuint(problems->len, ==, 0);
    g_assert_nonnull(f);
    g_assert_cmpstr(f->plugin->name, ==, "test-good");
    g_assert_cmpuint(f->classes->len, ==, 1);
    g_assert_true(vmr_plugin_open(path, problems) == f);

    g_assert_nonnull(vmr_device_class_find("test-good", NULL, problems));
    g_assert_nonnull(
        vmr_device_class_find("./test-good.so", g_getenv("VMRUN_TEST_PLUGINS"), problems));
    /* A class in a file of another name. */
    const VmrDeviceClass *bus = vmr_device_class_find("test-bus", NULL, problems);
    g_assert_nonnull(bus);
    g_assert_true(bus == vmr_device_class_find("./test-wire.so:test-bus",
                                               g_getenv("VMRUN_TEST_PLUGINS"), problems));
    g_assert_cmpuint(problems->len, ==, 0);
    g_free(path);
    g_ptr_array_unref(problems);
}

static void test_not_found(void)
{
    static const struct {
        const char *spec, *part;
    } cases[] = {
        {"test-god", "did you mean 'test-good'?"},
        {"entirely-else", "no plugin 'entirely-else' in "},
        {"./absent.so", "No such file or directory"},
        {"./test-wire.so",
         "has several devices: write ./test-wire.so:ID with one of test-chip, test-bus"},
        {"./test-wire.so:x", "test-wire.so has no class 'x'"},
        {"./", "not a plugin: not a file"},
        {"", "no plugin '' in "},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
        g_assert_null(
            vmr_device_class_find(cases[i].spec, g_getenv("VMRUN_TEST_PLUGINS"), problems));
        g_assert_cmpuint(problems->len, ==, 1);
        g_test_message("%s", (char *)g_ptr_array_index(problems, 0));
        g_assert_nonnull(strstr(g_ptr_array_index(problems, 0), cases[i].part));
        g_ptr_array_unref(problems);
    }
}

static void test_not_elf(void)
{
    Copy c = {(uint8_t *)"#!/bin/sh\n", 10};
    expect_refusal(&c, 10, "not a plugin: not an ELF file");
    expect_refusal(&c, 0, "not a plugin: not an ELF file");
    Copy none = copy_of("test-nosymbol.so");
    expect_refusal(&none, none.size, "not a plugin: it does not export the symbol vmr_plugin");
    g_free(none.bytes);
    Copy self;
    g_assert_true(g_file_get_contents("/proc/self/exe", (char **)&self.bytes, &self.size, NULL));
    char *seen = refusal(&self, self.size);
    g_assert_true(g_str_has_prefix(seen, "not a plugin: "));
    g_free(seen);
    g_free(self.bytes);
}

static void test_wrong_machine(void)
{
    Copy c = copy_of("test-good.so");
    Elf64_Ehdr *eh = (Elf64_Ehdr *)c.bytes;
    unsigned machine = eh->e_machine;
    eh->e_machine = EM_S390;
    char *seen = refusal(&c, c.size);
    g_assert_true(
        g_str_has_prefix(seen, "built for another architecture: s390, 64 bits (this is "));
    g_free(seen);
    eh->e_machine = (Elf64_Half)machine;
    eh->e_ident[EI_CLASS] = ELFCLASS32;
    seen = refusal(&c, c.size);
    g_assert_nonnull(strstr(seen, ", 32 bits (this is "));
    g_free(seen);
    eh->e_ident[EI_CLASS] = ELFCLASS64;
    eh->e_type = ET_REL;
    expect_refusal(&c, c.size, "not a plugin: not a shared object");
    g_free(c.bytes);
}

static void test_wrong_table(void)
{
    Copy c = copy_of("test-good.so");
    VmrPlugin *t = table_of(&c);
    t->abi_major = VMR_ABI_MAJOR + 1;
    char *wanted = g_strdup_printf("built for plugin ABI %u.%u; this vmrun has ABI %u.%u",
                                   VMR_ABI_MAJOR + 1, VMR_ABI_MINOR, VMR_ABI_MAJOR, VMR_ABI_MINOR);
    expect_refusal(&c, c.size, wanted);
    g_free(wanted);
    t->abi_major = VMR_ABI_MAJOR;
    t->abi_minor = VMR_ABI_MINOR + 1;
    wanted = g_strdup_printf("needs plugin ABI %u.%u, which is newer than this vmrun's %u.%u",
                             VMR_ABI_MAJOR, VMR_ABI_MINOR + 1, VMR_ABI_MAJOR, VMR_ABI_MINOR);
    expect_refusal(&c, c.size, wanted);
    g_free(wanted);
    t->abi_minor = VMR_ABI_MINOR;
    t->size = 16;
    expect_refusal(&c, c.size, "the table vmr_plugin is truncated");
    t->size = 4096;
    expect_refusal(&c, c.size, "the table vmr_plugin is truncated");
    t->size = sizeof(VmrPlugin);
    t->magic = 0;
    expect_refusal(&c, c.size, "not a plugin: the table vmr_plugin has no magic number");
    g_free(c.bytes);
}

/* Every length, and every byte of the headers wrong in turn: refused or opened, never a crash.
   (Only checked, not opened: a byte that matters to nobody but the dynamic loader is its own.) */
static void test_hostile_bytes(void)
{
    Copy c = copy_of("test-good.so");
    int fd = memfd_create("hostile.so", MFD_CLOEXEC); /* no disk for thousands of files */
    char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    GRand *rand = g_rand_new_with_seed(7);

    g_assert_cmpint(fd, >=, 0);
    for (gsize n = 0; n < c.size; n += n < 1024 ? 1 : 97) {
        g_assert_cmpint(ftruncate(fd, (off_t)n), ==, 0);
        g_assert_cmpint(pwrite(fd, c.bytes, n, 0), ==, (gssize)n);
        bool ok = vmr_plugin_check_file(path, NULL);
        if (n < 4096)
            g_assert_false(ok);
    }
    g_assert_cmpint(pwrite(fd, c.bytes, c.size, 0), ==, (gssize)c.size);
    g_assert_true(vmr_plugin_check_file(path, NULL));
    for (unsigned round = 0; round < 4000; round++) {
        gsize where[4];
        for (unsigned i = 0; i < 4; i++) {
            uint8_t byte = (uint8_t)(g_rand_boolean(rand) ? 0xff : g_rand_int(rand));
            where[i] = (gsize)g_rand_int_range(rand, 4, i < 2 ? 1024 : (gint32)c.size);
            g_assert_cmpint(pwrite(fd, &byte, 1, (off_t)where[i]), ==, 1);
        }
        vmr_plugin_check_file(path, NULL);
        for (unsigned i = 0; i < 4; i++)
            g_assert_cmpint(pwrite(fd, c.bytes + where[i], 1, (off_t)where[i]), ==, 1);
    }
    g_assert_true(vmr_plugin_check_file(path, NULL));
    g_rand_free(rand);
    close(fd);
    g_free(path);
    g_free(c.bytes);
}

static void test_faulty(void)
{
    static const char *const wanted[] = {
        "factory 0 has no id",
        "a device class has size 0; at least ",
        "class test-wrong: property Number: the name is not kebab-case",
        "class test-wrong: property far: offset 4096 + 4 bytes lie beyond instance_size ",
        "two classes have the id test-once",
    };
    GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
    char *path = g_build_filename(g_getenv("VMRUN_TEST_PLUGINS"), "test-faulty.so", NULL);
    g_assert_null(vmr_plugin_open(path, problems));
    g_assert_cmpuint(problems->len, ==, G_N_ELEMENTS(wanted));
    for (unsigned i = 0; i < problems->len; i++) {
        g_test_message("%s", (char *)g_ptr_array_index(problems, i));
        g_assert_nonnull(strstr(g_ptr_array_index(problems, i), wanted[i]));
    }
    g_ptr_array_unref(problems);
    g_free(path);
}

/* ---- tables of a class ------------------------------------------------ */

typedef struct Thing {
    VmrDevice dev;
    uint32_t a, b;
    uint64_t size;
    VmrLink link;
    VmrIrq irq[2];
    uint8_t bytes[3];
} Thing;

static void changed(VmrDevice *dev, unsigned n, bool level)
{
}

static uint64_t read_none(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return 0;
}

static void expect_faults(const VmrDeviceClass *klass, const char *const *wanted, unsigned count)
{
    GPtrArray *problems = g_ptr_array_new_with_free_func(g_free);
    g_assert_cmpint(vmr_device_class_check(klass, problems), ==, count == 0);
    for (unsigned i = 0; i < problems->len; i++) {
        g_test_message("%s", (char *)g_ptr_array_index(problems, i));
        g_assert_cmpuint(i, <, count);
        g_assert_nonnull(strstr(g_ptr_array_index(problems, i), wanted[i]));
    }
    g_assert_cmpuint(problems->len, ==, count);
    g_ptr_array_unref(problems);
}

static void test_class_tables(void)
{
    static const char *const names[] = {"x", "y", NULL};
    const VmrProperty properties[] = {
        {.name = "a",
         .type = VMR_PROP_U32,
         .offset = offsetof(Thing, a),
         .default_text = "12",
         .min = 1,
         .max = 8,
         .doc = "x"},
        {.name = "b",
         .type = VMR_PROP_ENUM,
         .offset = offsetof(Thing, a),
         .names = names,
         .doc = "x"},
        {.name = "c", .type = VMR_PROP_LINK, .offset = offsetof(Thing, link), .doc = "x"},
        {.name = "plugin",
         .type = VMR_PROP_U64,
         .offset = offsetof(Thing, size),
         .flags = VMR_PROP_REQUIRED,
         .default_text = "1",
         .doc = "x"},
        {.name = "d", .type = (VmrPropertyType)77, .offset = offsetof(Thing, b), .doc = "x"},
        {0},
    };
    const VmrRegion regions[] = {
        {.name = "a", .kind = VMR_REGION_MMIO, .size = 4, .valid_max = 3, .doc = "x"},
        {.name = "r", .kind = VMR_REGION_PIO, .size = 65537, .impl_min = 4, .impl_max = 2},
        {.name = "s", .kind = VMR_REGION_RAM, .read = read_none, .doc = "x",
         .size_offset = offsetof(Thing, size) + 4},
        {0},
    };
    const VmrLine lines[] = {
        {.name = "irq",
         .direction = VMR_LINE_OUT,
         .count = 3,
         .offset = offsetof(Thing, irq),
         .doc = "x"},
        {.name = "in", .direction = VMR_LINE_IN, .count = 0, .changed = changed, .doc = "x"},
        {.name = "in2", .direction = VMR_LINE_IN, .count = 1, .doc = "x"},
        {0},
    };
    const VmrField fields[] = {
        VMR_FIELD(U32, Thing, a),
        {"bytes", VMR_FIELD_U8, 1000, offsetof(Thing, bytes), 1},
        {"b", VMR_FIELD_U32, 1, offsetof(Thing, b), 3},
        {"b", (VmrFieldType)99, 1, offsetof(Thing, b), 1},
        {0},
    };
    VmrDeviceClass klass = {
        .size = sizeof(VmrDeviceClass),
        .state_version = 2,
        .id = "thing",
        .summary = "x",
        .instance_size = sizeof(Thing),
        .properties = properties,
        .regions = regions,
        .lines = lines,
        .fields = fields,
    };
    static const char *const wanted[] = {
        "property a: the default '12' is wrong: a number, 1..8 is wanted",
        "property c: a LINK has an interface, and nothing else does",
        "property plugin: the name is reserved",
        "property plugin: REQUIRED and a default contradict each other",
        "property d: type 77 is unknown",
        "property b: it is stored over property a",
        "region a: the name is used twice",
        "region a: valid_min..valid_max 1..3: access sizes are 1, 2, 4 or 8, ascending",
        "region r: doc is missing",
        "region r: the I/O space has 65536 ports",
        "region r: impl_min..impl_max 4..2: access sizes are 1, 2, 4 or 8, ascending",
        "region s: offset ",
        "region s: RAM and ROM have no handlers",
        "line irq: offset ",
        "line in: a group has 1 to 4096 members",
        "line in2: an input needs changed()",
        "field bytes: offset ",
        "field b: since 3 is newer than state_version 2",
        "field b: the name is used twice",
        "field b: type 99 is unknown",
    };
    expect_faults(&klass, wanted, G_N_ELEMENTS(wanted));

    static const char *const head[] = {
        "the id is not kebab-case",
        "summary is missing",
        "instance_size 8",
        "flags 0x80 are unknown",
        "neither fields with a state_version nor VMR_DEVICE_NO_STATE",
    };
    VmrDeviceClass bare = {.size = sizeof(VmrDeviceClass), .id = "A thing", .flags = 0x80,
                           .instance_size = 8};
    expect_faults(&bare, head, G_N_ELEMENTS(head));
}

static void test_kebab(void)
{
    g_assert_true(vmr_name_is_kebab("a"));
    g_assert_true(vmr_name_is_kebab("interrupt-controller2"));
    g_assert_false(vmr_name_is_kebab(""));
    g_assert_false(vmr_name_is_kebab("2a"));
    g_assert_false(vmr_name_is_kebab("a-"));
    g_assert_false(vmr_name_is_kebab("a--b"));
    g_assert_false(vmr_name_is_kebab("a_b"));
    g_assert_false(vmr_name_is_kebab("aB"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_setenv("VMRUN_PLUGIN_DIR", g_getenv("VMRUN_TEST_PLUGINS"), TRUE);
    dir = g_dir_make_tmp("vmrun-loader-XXXXXX", NULL);
    g_test_add_func("/loader/not-elf", test_not_elf);
    g_test_add_func("/loader/wrong-machine", test_wrong_machine);
    g_test_add_func("/loader/wrong-table", test_wrong_table);
    g_test_add_func("/loader/hostile-bytes", test_hostile_bytes);
    g_test_add_func("/loader/faulty", test_faulty);
    g_test_add_func("/loader/good", test_good);
    g_test_add_func("/loader/not-found", test_not_found);
    g_test_add_func("/loader/class-tables", test_class_tables);
    g_test_add_func("/loader/kebab", test_kebab);
    int status = g_test_run();
    char *command[] = {"rm", "-rf", dir, NULL};
    g_spawn_sync(NULL, command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(dir);
    return status;
}
