/*
 * The whole of pc.conf but its CPUs and what boots it, under random accesses.
 *
 * Two fake vCPUs write and read ports and registers of all devices, reset the
 * machine now and then, and in the end ask for an exit status.  What is tested is
 * that nothing crashes, hangs or is leaked; most of its worth is under sanitizers.
 */
#include "runtimefixture.h"
#include "core/wire.h"

#include <stdlib.h>
#include <unistd.h>

enum { ROUNDS = 6, ACCESSES = 100000, STATUS = 77 };

static VmrMachine *machine;
static uint64_t seed, done; /* done: atomic */

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x * 0x2545f4914f6cdd1d;
}

/* Not where an access ends the machine in another way: debug-exit, pvpanic, the PM1 block. */
static bool ends_it(uint64_t port, unsigned size)
{
    return port + size > 0x500 && port < 0x608;
}

static void access_one(uint64_t *x, int cpu)
{
    static const uint64_t places[] = {0xfee00000, 0xfec00000, 0xfed00000, 0, 0xfff00, 0xe0000};
    uint64_t r = next(x), value = next(x);
    unsigned size = 1u << (r & 3);
    bool io = r >> 2 & 1, write = r >> 3 & 1;
    if (r >> 4 & 1)
        value &= 0xff;
    uint64_t at = r >> 20;
    if (io) {
        size = MIN(size, 4);
        at = (r >> 5 & 63) ? at % 0x800 : 0xcf9;
        if (ends_it(at, size))
            at = 0x3f8;
    } else {
        at = places[at % G_N_ELEMENTS(places)] + (r >> 40 & 0xfff);
    }
    VmrSpace *space = io ? machine->io : machine->memory;
    if (write)
        vmr_space_write(space, at, value, size, cpu);
    else
        vmr_space_read(space, at, &value, size, cpu);
}

static int storm(FixtureCpu *cpu, void *data)
{
    static _Thread_local uint64_t x;
    if (!x)
        x = (seed + 1) * 0x9e3779b97f4a7c15 + cpu->cpu->index + 1;
    for (unsigned i = 0; i < 100; i++)
        access_one(&x, (int)cpu->cpu->index);
    if (__atomic_add_fetch(&done, 100, __ATOMIC_SEQ_CST) >= ACCESSES)
        vmr_machine_request(machine, VMR_REQUEST_EXIT, STATUS);
    return GO_ON;
}

/* pc.conf without its boot device and on a null console. */
static char *machine_text(void)
{
    char *path = g_build_filename(g_getenv("VMRUN_SOURCE_DIR"), "machines", "pc.conf", NULL), *text;
    GError *error = NULL;
    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    char **lines = g_strsplit(text, "\n", -1);
    GString *out = g_string_new(NULL);
    bool skip = false, chardev = false;
    for (unsigned i = 0; lines[i]; i++) {
        if (lines[i][0] == '[') {
            skip = g_str_has_prefix(lines[i], "[device boot");
            chardev = g_str_has_prefix(lines[i], "[chardev");
        }
        if (chardev && g_str_has_prefix(lines[i], "type"))
            g_string_append(out, "type = null\n");
        else if (!skip)
            g_string_append_printf(out, "%s\n", lines[i]);
    }
    g_strfreev(lines);
    g_free(text);
    g_free(path);
    return g_string_free(out, FALSE);
}

static void test_storm(void)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("vmrun-XXXXXX", NULL), *path = g_build_filename(dir, "m.conf", NULL);
    char *text = machine_text();
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    static const char *const sets[] = {"machine.cpus=2", NULL};
    for (seed = 0; seed < ROUNDS; seed++) {
        VmrErrors *errors = vmr_errors_new();
        VmrConfig *config = vmr_config_load(path, sets, errors);
        machine = vmr_machine_wire(config, errors);
        vmr_errors_print(errors, stderr);
        g_assert_nonnull(machine);
        Fixture f = {.m = machine, .run = storm};
        fixture_now = &f;
        done = 0;
        machine->accel = &fixture_accel;
        vmr_machine_realize(machine, &error);
        g_assert_no_error(error);
        g_assert_cmpint(vmr_machine_run(machine), ==, STATUS);
        g_assert_cmpuint(done, >=, ACCESSES);
        vmr_machine_free(machine);
        vmr_config_free(config);
        vmr_errors_free(errors);
    }
    unlink(path);
    rmdir(dir);
    g_free(text);
    g_free(path);
    g_free(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/storm/pc", test_storm);
    return g_test_run();
}
