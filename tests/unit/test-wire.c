/*
 * tests/unit/test-wire.c - the machine builder: what it makes, and what it says of wrong files.
 */
#include "core/config.h"
#include "core/machine.h"
#include "core/wire.h"

#include <glib/gstdio.h>
#include <string.h>

static char *dir;

#define MACHINE "[machine]\naccel = interp\nmemory = 1M\n"                 /* lines 1 to 3 */
#define BUS "[device bus0]\nplugin = test-bus\n"                             /* 4 and 5 */
#define CHIP(name_) "[device " name_ "]\nplugin = test-chip\nbus = bus0\n"   /* three more */

static VmrConfig *load(const char *text, VmrErrors *errors)
{
    char *path = g_build_filename(dir, "m.conf", NULL);
    g_unlink(path); /* GLib 2.74 does not truncate an old file */
    g_assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    VmrConfig *config = vmr_config_load(path, NULL, errors);
    g_assert_nonnull(config);
    g_free(path);
    return config;
}

static char *without_dir(char *text)
{
    char *prefix = g_strconcat(dir, "/", NULL);
    GString *s = g_string_new(text);
    g_string_replace(s, prefix, "", 0);
    g_string_replace(s, g_getenv("VMRUN_TEST_PLUGINS"), "PLUGINS", 0);
    g_free(prefix);
    g_free(text);
    return g_string_free(s, FALSE);
}

static void expect_errors(const char *text, const char *wanted)
{
    VmrErrors *errors = vmr_errors_new();
    VmrConfig *config = load(text, errors);
    VmrMachine *m = vmr_machine_wire(config, errors);
    char *seen = without_dir(vmr_errors_text(errors));
    g_assert_cmpstr(seen, ==, wanted);
    g_assert_true((m == NULL) == (*wanted != '\0'));
    vmr_machine_free(m);
    vmr_config_free(config);
    vmr_errors_free(errors);
    g_free(seen);
}

static VmrMachine *make(const char *text, VmrConfig **config)
{
    VmrErrors *errors = vmr_errors_new();
    *config = load(text, errors);
    VmrMachine *m = vmr_machine_wire(*config, errors);
    char *seen = vmr_errors_text(errors);
    g_assert_cmpstr(seen, ==, "");
    g_assert_nonnull(m);
    g_free(seen);
    vmr_errors_free(errors);
    return m;
}

/* ---- what is made ----------------------------------------------------- */

static void test_made(void)
{
    VmrConfig *config;
    VmrMachine *m =
        make(MACHINE "[device a]\nplugin = test-chip\nbus = bus0\nregs = 0x100\nmode = slow\n"
                     "number = 0x9\nfile = x/y\ntext = hello\nchardev = c0\n"
                     "irq = !b:1 + b:ping + cpu0:nmi\nout = b:in:7-4\n"
                     "[device b]\nplugin = test-chip\nbus = bus0\nregs = 0x108\n"
                     "out = none, a:2, , machine:reset\nram = 0x10000000\nchardev = none\n" BUS
                     "[chardev c0]\ntype = null\n",
             &config);
    g_assert_cmpuint(m->devices->len, ==, 3);
    g_assert_cmpuint(m->realize_order->len, ==, 3);
    const VmrDeviceHandle *first = g_ptr_array_index(m->realize_order, 0);
    g_assert_cmpstr(first->name, ==, "bus0");
    VmrDeviceHandle *a = vmr_machine_device(m, "a"), *b = vmr_machine_device(m, "b");
    g_assert_cmpstr(a->device->name, ==, "a");
    g_assert_cmpuint(a->routes->len, ==, 7);
    static const struct {
        const char *name, *to;
        unsigned index;
        const char *to_line;
        unsigned to_index;
        bool inverted;
    } routes[] = {
        {"irq", "b", 0, "in", 1, true},    {"irq", "b", 0, "ping", 0, false},
        {"irq", NULL, 0, "nmi", 0, false}, {"out", "b", 0, "in", 7, false},
        {"out", "b", 1, "in", 6, false},   {"out", "b", 2, "in", 5, false},
        {"out", "b", 3, "in", 4, false},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(routes); i++) {
        const VmrRoutedLine *r = &g_array_index(a->routes, VmrRoutedLine, i);
        g_assert_cmpstr(r->name, ==, routes[i].name);
        g_assert_cmpuint(r->index, ==, routes[i].index);
        g_assert_cmpstr(r->to ? r->to->name : NULL, ==, routes[i].to);
        g_assert_cmpstr(r->to_line, ==, routes[i].to_line);
        g_assert_cmpuint(r->to_index, ==, routes[i].to_index);
        g_assert_cmpint(r->inverted, ==, routes[i].inverted);
    }
    g_assert_cmpuint(b->routes->len, ==, 2);
    g_assert_cmpuint(g_array_index(b->routes, VmrRoutedLine, 1).index, ==, 3);
    g_assert_cmpuint(b->placements->len, ==, 2);
    vmr_machine_free(m);
    vmr_config_free(config);
}

/* ---- what is wrong ---------------------------------------------------- */

static void test_all_at_once(void)
{
    expect_errors(
        "[machine]\naccel = interp,kmv\nmemry = 1M\ncpus = 65\n"
        "[device bus0]\nplugin = test-buss\n"
        "[device a]\nplugin = test-chip\nbus = bus1\nregs = 0x100\nnumber = 10\nmode = fst\n"
        "room = 4Q\ntxt = x\nirq = b:1\nchardev = c1\n"
        "[device b]\nplugin = test-chip\nregs = 0x104\nout = a:8, a:9\n"
        "[drive d]\ntype = qcow2\n[chardev c0]\ntype = nul\npath = /x\n[boot]\nkernl = x\n",
        "m.conf:4: [machine] cpus: '65': a number, 1..64 is wanted\n"
        "m.conf:3: [machine] memry: unknown key; did you mean 'memory'?\n"
        "m.conf:27: [boot] kernl: unknown key; did you mean 'kernel'?\n"
        "m.conf:2: [machine] accel: unknown accelerator 'kmv'; did you mean 'kvm'?\n"
        "m.conf:24: [chardev c0] type: no type \"nul\"; did you mean \"null\"?\n"
        "m.conf:21: [drive d] file: it must be set: The image: a file, or a block device\n"
        "m.conf:22: [drive d] type: unknown key\n"
        "m.conf:6: [device bus0] plugin: no plugin 'test-buss' in PLUGINS; did you mean "
        "'test-bus'?\n"
        "m.conf:11: [device a] number: '10': a number, 1..9, Hz is wanted\n"
        "m.conf:12: [device a] mode: 'fst': one of slow, fast is wanted; did you mean "
        "'fast'?\n"
        "m.conf:13: [device a] room: '4Q': a size (64K, 512M, 2G) is wanted\n"
        "m.conf:9: [device a] bus: there is no [device bus1]; did you mean 'bus0'?\n"
        "m.conf:16: [device a] chardev: there is no [chardev c1]; did you mean 'c0'?\n"
        "m.conf:14: [device a] txt: unknown key; did you mean 'text'?\n"
        "m.conf:17: [device b] bus: it must be set: The bus it sits on\n"
        "m.conf:20: [device b] out: input in of a has members 0..7, not 8\n"
        "m.conf:20: [device b] out: input in of a has members 0..7, not 9\n"
        "m.conf:19: [device b] regs: 0x104..0x10b overlaps a.regs at 0x100..0x107\n");
}

static void test_machine_keys(void)
{
    expect_errors("[device bus0]\nplugin = test-bus\n",
                  "vmrun: the machine file has no [machine] section\n");
    expect_errors("[machine]\nmemory = 1000000\n",
                  "m.conf:2: [machine] memory: RAM is made of whole 4 KiB pages\n");
    expect_errors("[machine]\nmemory = 2M\nmemory-map = 0-0xfffff\n",
                  "m.conf:2: [machine] memory: 1048576 bytes do not fit into memory-map\n");
    expect_errors(
        "[machine]\nmemory-map = 0x100000-0x1fffff, 0-0xfffff\n",
        "m.conf:2: [machine] memory-map: '0-0xfffff': ranges are ascending and do not overlap\n");
    expect_errors(
        "[machine]\nmemory-map = 0-, 4G-\n",
        "m.conf:2: [machine] memory-map: '4G-': ranges are ascending and do not overlap\n");
    expect_errors("[machine]\nmemory-map = 0-5\n",
                  "m.conf:2: [machine] memory-map: '0-5': a range is made of whole 4 KiB pages\n");
    expect_errors("[machine]\nmemory-map = 5\n",
                  "m.conf:2: [machine] memory-map: '5': FIRST-LAST is wanted\n");
    expect_errors(
        "[machine]\non-reset = explode\narch = x86-64\n",
        "m.conf:3: [machine] arch: 'x86-64': one of x86_64, riscv64, aarch64 is wanted; did "
        "you mean 'x86_64'?\n"
        "m.conf:2: [machine] on-reset: 'explode': one of reset, exit is wanted\n");
    expect_errors(
        "[machine]\ninterrupt-controller = bus1\n" BUS,
        "m.conf:2: [machine] interrupt-controller: there is no [device bus1]; did you mean "
        "'bus0'?\n");
    expect_errors("[machine]\ninterrupt-controller = bus0\n" BUS,
                  "m.conf:2: [machine] interrupt-controller: bus0 (test-bus) does not offer "
                  "vmr.x86-intc/1\n");
    expect_errors(
        "[machine]\ncpus = ${VMRUN_NO_SUCH_VARIABLE_AT_ALL}\n[device a]\nplugin = ${no}\n",
        "m.conf:2: [machine] cpus: ${VMRUN_NO_SUCH_VARIABLE_AT_ALL} is neither in [vars] nor "
        "in the environment\n"
        "m.conf:4: [device a] plugin: ${no} is neither in [vars] nor in the environment\n");
}

static void test_links(void)
{
    expect_errors(
        MACHINE BUS CHIP("a") "regs = 0x10\n[device b]\nplugin = test-chip\nregs = 0x20\nbus = a\n",
        "m.conf:13: [device b] bus: a (test-chip) does not offer test.bus/1\n");
    expect_errors(MACHINE "[device b0]\nplugin = test-bus\nparent = b1\n"
                          "[device b1]\nplugin = test-bus\nparent = b2\n"
                          "[device b2]\nplugin = test-bus\nparent = b1\n",
                  "m.conf:7: [device b1]: links go in a circle: b1 -> b2 -> b1\n");
    expect_errors(MACHINE "[device b0]\nplugin = test-bus\nparent = b0\n",
                  "m.conf:4: [device b0]: links go in a circle: b0 -> b0\n");
    expect_errors(MACHINE BUS CHIP("a") "regs = 0x10\nchardev = c\n" CHIP(
                      "b") "regs = 0x20\nchardev = c\n"
                           "[chardev c]\ntype = null\nxyz = 1\n",
                  "m.conf:18: [chardev c] xyz: unknown key\n"
                  "m.conf:15: [device b] chardev: c is taken by a\n");
    expect_errors(MACHINE "[device a]\nregs = 1\n",
                  "m.conf:4: [device a] plugin: it must be set\n");
    expect_errors(MACHINE "[device b0]\nplugin = test-bus\nparent =\n", "");
}

static void test_regions(void)
{
#define WITH(regions_) MACHINE BUS CHIP("a") regions_
    expect_errors(WITH(""), "m.conf:6: [device a] regs: the region must be placed: Registers\n");
    expect_errors(WITH("regs = none\n"),
                  "m.conf:9: [device a] regs: the region must be placed: Registers\n");
    expect_errors(WITH("regs = 0xfff9\n"),
                  "m.conf:9: [device a] regs: 0xfff9: it ends beyond I/O port 0xffff\n");
    expect_errors(
        WITH("regs = 0xffffffffffffffff\n"),
        "m.conf:9: [device a] regs: 0xffffffffffffffff: it ends beyond I/O port 0xffff\n");
    expect_errors(WITH("regs = mem:0xfffffffffffffff8\n"),
                  "m.conf:9: [device a] regs: mem:0xfffffffffffffff8: it ends beyond 52 bits of "
                  "address\n");
    expect_errors(
        WITH("regs = port 3\n"),
        "m.conf:9: [device a] regs: 'port 3': an address is wanted, as 0x3f8, io:0x3f8 or "
        "mem:0xfee00000\n");
    expect_errors(WITH("regs = io:0xfff8\nwindow = 4G\nram = io:0\n"),
                  "m.conf:11: [device a] ram: io:0: memory cannot be in the I/O space\n");
    expect_errors(WITH("regs = 1\nram = 0x10000800\n"),
                  "m.conf:10: [device a] ram: 0x10000800: memory starts at a multiple of 4 KiB\n");
    /* The same number in two spaces is two places. */
    expect_errors(WITH("regs = 0x2000\nwindow = 0x2000\n"), "");
}

static void test_lines(void)
{
#define WIRED(lines_) MACHINE BUS CHIP("a") "regs = 0x10\n" lines_
    expect_errors(WIRED("irq = a:in:3\nout = a:0, a:1, a:2, a:3\n"), "");
    expect_errors(WIRED("irq = \nout = none, none\n"), "");
    expect_errors(WIRED("irq = c:1\n"), "m.conf:10: [device a] irq: there is no device 'c'\n");
    expect_errors(WIRED("irq = bus:1\n"),
                  "m.conf:10: [device a] irq: there is no device 'bus'; did you mean 'bus0'?\n");
    expect_errors(WIRED("irq = bus0:1\n"),
                  "m.conf:10: [device a] irq: bus0 (test-bus) has no inputs\n");
    expect_errors(
        WIRED("irq = a:pong\n"),
        "m.conf:10: [device a] irq: a (test-chip) has no input 'pong'; did you mean 'ping'?\n");
    expect_errors(
        WIRED("irq = a:irq\n"),
        "m.conf:10: [device a] irq: a (test-chip) has no input 'irq'; did you mean 'in'?\n");
    expect_errors(WIRED("irq = a\n"),
                  "m.conf:10: [device a] irq: input in of a has 8 members: write a:in:N\n");
    expect_errors(WIRED("irq = a:in:x\n"),
                  "m.conf:10: [device a] irq: 'x' is no number of an input\n");
    expect_errors(WIRED("irq = a:99999999999999999999\n"),
                  "m.conf:10: [device a] irq: '99999999999999999999' is no number of an input\n");
    expect_errors(
        WIRED("irq = a:in:1:2\n"),
        "m.conf:10: [device a] irq: 'a:in:1:2' is no input: DEVICE:N or DEVICE:GROUP:N is "
        "wanted\n");
    expect_errors(
        WIRED("irq = !\n"),
        "m.conf:10: [device a] irq: '!' is no input: DEVICE:N or DEVICE:GROUP:N is wanted\n");
    expect_errors(WIRED("irq = a:1, a:2\n"),
                  "m.conf:10: [device a] irq: it wires 2 outputs; irq of test-chip has 1\n");
    expect_errors(WIRED("out = a:0-4\n"),
                  "m.conf:10: [device a] out: it wires 5 outputs; out of test-chip has 4\n");
    expect_errors(WIRED("out = a:0-1 + a:2\n"),
                  "m.conf:10: [device a] out: 'a:0-1 + a:2': a range of inputs stands alone\n");
    expect_errors(WIRED("irq = cpu1:nmi\n"),
                  "m.conf:10: [device a] irq: there is no cpu1: [machine] cpus is 1\n");
    expect_errors(
        WIRED("irq = cpu0:nmx\n"),
        "m.conf:10: [device a] irq: of cpu0, one of intr, nmi, smi, init is wanted; did you "
        "mean 'nmi'?\n");
    expect_errors(WIRED("irq = machine\n"),
                  "m.conf:10: [device a] irq: of machine, one of a20, reset, poweroff is wanted\n");
    expect_errors(WIRED("in = a:1\n"),
                  "m.conf:10: [device a] in: it is an input: what drives it names it, as in irq = "
                  "a:in:0\n");
}

/* ---- realize ---------------------------------------------------------- */

static void *fake_vm_new(VmrMachine *machine, GError **error)
{
    return machine;
}

static void fake_free(void *p)
{
}

static void *fake_cpu_new(void *vm, VmrCpu *cpu, unsigned index, const char *model, GError **error)
{
    return cpu;
}

static const VmrAccelClass fake = {
    .size = sizeof(VmrAccelClass),
    .name = "fake",
    .summary = "runs nothing",
    .vm_new = fake_vm_new,
    .vm_free = fake_free,
    .cpu_new = fake_cpu_new,
    .cpu_free = fake_free,
};

/* From here on the devices are there: accesses reach them, and their lines the others. */
static void test_realized(void)
{
    GError *error = NULL;
    VmrConfig *config;
    uint64_t value = 0;
    VmrMachine *m = make("[machine]\nmemory = 2M\nmemory-map = 0-0xfffff, 4G-\n" BUS
                             CHIP("a") "regs = 0x100\nirq = b:7\nout = b:0-3\n" CHIP(
                                 "b") "regs = 0x108\n"
                                      "window = 0xd0000000\nroom = 64\nram = 0xe0000000\n",
                         &config);
    m->accel = &fake;
    g_assert_true(vmr_machine_realize(m, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(m->ram_ranges->len, ==, 2);
    g_assert_cmpuint(g_array_index(m->ram_ranges, VmrMemoryRange, 1).base, ==, 1ull << 32);
    g_assert_cmpuint(g_array_index(m->ram_ranges, VmrMemoryRange, 1).size, ==, 1 << 20);

    g_assert_cmpint(vmr_space_write(m->io, 0x101, 2, 1, -1), ==, VMR_OK);
    g_assert_cmpint(vmr_space_write(m->io, 0x101, 4, 1, -1), ==, VMR_OK);
    g_assert_cmpint(vmr_space_read(m->io, 0x108, &value, 4, -1), ==, VMR_OK);
    g_assert_cmphex(value, ==, 0x84);
    g_assert_cmpint(vmr_space_read(m->memory, 0xd000003c, &value, 4, -1), ==, VMR_OK);
    g_assert_cmphex(value, ==, 0x84);
    g_assert_cmpint(vmr_space_read(m->memory, 0xd0000040, &value, 4, -1), ==, VMR_ERR_UNASSIGNED);
    g_assert_cmpint(vmr_space_write(m->memory, 0xe0001ff8, 0x1234, 8, -1), ==, VMR_OK);
    g_assert_cmpint(vmr_space_read(m->memory, 0xe0001ff8, &value, 8, -1), ==, VMR_OK);
    g_assert_cmphex(value, ==, 0x1234);

    const VmrDescription *d = vmr_machine_device(m, "b")->description;
    g_assert_nonnull(d);
    g_assert_cmpuint(d->region_count, ==, 3);
    g_assert_cmpstr(d->regions[1].name, ==, "window");
    g_assert_cmpuint(d->regions[1].size, ==, 64);
    g_assert_false(d->regions[1].io);
    vmr_machine_free(m);
    vmr_config_free(config);
}

static void expect_unrealized(const char *text, const char *wanted)
{
    GError *error = NULL;
    VmrConfig *config;
    VmrMachine *m = make(text, &config);
    m->accel = &fake;
    g_assert_false(vmr_machine_realize(m, &error));
    g_assert_nonnull(error);
    char *seen = without_dir(g_strdup(error->message));
    g_assert_cmpstr(seen, ==, wanted);
    for (unsigned i = 0; i < m->devices->len; i++)
        g_assert_false(((VmrDeviceHandle *)g_ptr_array_index(m->devices, i))->realized);
    g_free(seen);
    g_clear_error(&error);
    vmr_machine_free(m);
    vmr_config_free(config);
}

static void test_not_realized(void)
{
    expect_unrealized(MACHINE BUS CHIP("a") "regs = 0\n" CHIP("b") "regs = 8\nfail = on\n",
                      "m.conf:10: [device b]: told to fail");
    expect_unrealized(MACHINE BUS CHIP("a") "regs = 0\nwindow = 4G\nroom = 0\n",
                      "m.conf:10: [device a] window: its size is 0");
    expect_unrealized(MACHINE BUS CHIP("a") "regs = 0\nwindow = 4G\nroom = 4096T\n",
                      "m.conf:10: [device a] window: it ends beyond 52 bits of address");

    GError *error = NULL;
    VmrConfig *config;
    VmrMachine *m = make("[machine]\naccel = kvm\n", &config);
    m->accel = NULL;
    if (!vmr_machine_realize(m, &error)) {
        g_assert_true(g_str_has_prefix(error->message, "no accelerator works: kvm: "));
        g_clear_error(&error);
    }
    vmr_machine_free(m);
    vmr_config_free(config);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_setenv("VMRUN_PLUGIN_DIR", g_getenv("VMRUN_TEST_PLUGINS"), TRUE);
    dir = g_dir_make_tmp("vmrun-wire-XXXXXX", NULL);
    g_test_add_func("/wire/made", test_made);
    g_test_add_func("/wire/all-at-once", test_all_at_once);
    g_test_add_func("/wire/machine-keys", test_machine_keys);
    g_test_add_func("/wire/links", test_links);
    g_test_add_func("/wire/regions", test_regions);
    g_test_add_func("/wire/lines", test_lines);
    g_test_add_func("/wire/realized", test_realized);
    g_test_add_func("/wire/not-realized", test_not_realized);
    int status = g_test_run();
    char *command[] = {"rm", "-rf", dir, NULL};
    g_spawn_sync(NULL, command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(dir);
    return status;
}
