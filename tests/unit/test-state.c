/* core/state.c, snapshot.c, snapshot-load.c: a PC that was poked at, saved, restored, damaged. */
#include "core/config.h"
#include "core/runtime.h"
#include "core/state.h"
#include "core/wire.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vmrun/x86.h>

typedef struct Pc {
    VmrConfig *config;
    VmrMachine *m;
} Pc;

static Pc pc_new(const char *set)
{
    const char *sets[] = {"machine.accel=interp", "machine.memory=2M", "com1.chardev=none",
                          "machine.cpus=2", set, NULL};
    char *path = g_build_filename(g_getenv("VMRUN_SOURCE_DIR"), "machines", "pc.conf", NULL);
    VmrErrors *errors = vmr_errors_new();
    GError *error = NULL;
    Pc pc = {.config = vmr_config_load(path, sets, errors)};
    pc.m = vmr_machine_wire(pc.config, errors);
    char *text = vmr_errors_text(errors);
    g_assert_cmpstr(text, ==, "");
    vmr_machine_realize(pc.m, &error);
    g_assert_no_error(error);
    g_free(text);
    vmr_errors_free(errors);
    g_free(path);
    return pc;
}

static void pc_free(Pc *pc)
{
    vmr_machine_free(pc->m);
    vmr_config_free(pc->config);
}

/* Ports and registers of all devices but those that end or reset the machine. */
static void poke(VmrMachine *m, GRand *rand)
{
    static const uint16_t ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43,
                                     0x61, 0x70, 0x71, 0x60, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc,
                                     0x3ff, 0x600, 0x602, 0x620};
    vmr_domain_lock(m->domain);
    for (unsigned i = 0; i < 4000; i++) {
        uint64_t v;
        uint16_t port = ports[g_rand_int_range(rand, 0, G_N_ELEMENTS(ports))];
        if (g_rand_boolean(rand))
            vmr_space_write(m->io, port, g_rand_int_range(rand, 0, 256), 1, 0);
        else
            vmr_space_read(m->io, port, &v, 1, 0);
        vmr_space_write(m->memory, 0xfed00000 + g_rand_int_range(rand, 0, 0x180) / 4 * 4,
                        g_rand_int(rand), 4, 0);
        vmr_space_write(m->memory, 0xfee00000 + g_rand_int_range(rand, 0, 0x40) * 16,
                        g_rand_int(rand), 4, g_rand_int_range(rand, 0, 2));
        vmr_space_write(m->memory, 0xfec00000, g_rand_int_range(rand, 0, 0x40), 4, 0);
        vmr_space_write(m->memory, 0xfec00010, g_rand_int(rand), 4, 0);
        if (i % 16 == 0)
            vmr_clock_set(m, vmr_machine_time(m) + g_rand_int_range(rand, 0, 50000000));
    }
    for (unsigned i = 0; i < 300; i++)
        vmr_space_write(m->memory, (uint64_t)g_rand_int_range(rand, 0, 1 << 18) * 8,
                        (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand), 8, 0);
    /* A timer that is due and has not fired yet would do so in post_load(). */
    for (unsigned c = 0; c < 3; c++) {
        vmr_space_write(m->io, 0x43, 0x30 | c << 6, 1, 0);
        vmr_space_write(m->io, 0x40 + c, 0xff, 1, 0);
        vmr_space_write(m->io, 0x40 + c, g_rand_int_range(rand, 100, 256), 1, 0);
    }
    vmr_domain_unlock(m->domain);
}

static void set_cpu(VmrMachine *m, unsigned n, GRand *rand)
{
    const VmrX86CpuInterface *x86 = m->accel->cpu_interface(m->cpus[n].acpu, VMR_X86_CPU);
    VmrX86State *s = g_new0(VmrX86State, 1);
    GError *error = NULL;
    s->size = sizeof *s;
    x86->get_state(&m->cpus[n], s);
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
    s->rip = 0xfff0 + n;
    s->mp_state = n;
    s->nmi_blocked = 1;
    s->cr2 = 0x1234567890;
    s->tsc += 0x123456789;
    for (unsigned i = 0; i < 16; i++)
        s->xsave[160 + i] = (uint8_t)g_rand_int(rand); /* XMM0 */
    s->xsave[512] |= 2;
    x86->set_state(&m->cpus[n], s, &error);
    g_assert_no_error(error);
    g_free(s);
}

static Pc pc_poked(uint32_t seed)
{
    GRand *rand = g_rand_new_with_seed(seed);
    Pc pc = pc_new(NULL);
    vmr_machine_reset(pc.m, VMR_RESET_COLD);
    poke(pc.m, rand);
    set_cpu(pc.m, 0, rand);
    set_cpu(pc.m, 1, rand);
    g_rand_free(rand);
    return pc;
}

static char *file_name(const char *leaf)
{
    static char *dir;
    if (!dir)
        dir = g_dir_make_tmp("vmrun-state-XXXXXX", NULL);
    g_assert_nonnull(dir);
    return g_build_filename(dir, leaf, NULL);
}

static void save(VmrMachine *m, const char *path)
{
    GError *error = NULL;
    vmr_snapshot_save(m, path, &error);
    g_assert_no_error(error);
}

static bool restore(VmrMachine *m, const char *path, GError **error)
{
    VmrSnapshot *s = vmr_snapshot_open(m, path, error);
    bool ok = s && vmr_snapshot_apply(s, m, error);
    vmr_snapshot_free(s);
    return ok;
}

static uint32_t get_32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_LE(v);
    memcpy(p, &v, 4);
}

static size_t section_size(const uint8_t *h)
{
    return VMR_SNAPSHOT_SECTION_HEADER + get_32(h + 4) + get_32(h + 8);
}

static void read_file(const char *path, uint8_t **data, size_t *len)
{
    GError *error = NULL;
    g_file_get_contents(path, (char **)data, len, &error);
    g_assert_no_error(error);
}

/* Where in a record do two differ? */
static void show_difference(const uint8_t *a, const uint8_t *b, size_t len)
{
    VmrRecord *x = vmr_record_parse(a, len, NULL), *y = vmr_record_parse(b, len, NULL);
    for (unsigned i = 0; x && y && vmr_record_nth(x, i) && vmr_record_nth(y, i); i++) {
        const VmrItem *p = vmr_record_nth(x, i), *q = vmr_record_nth(y, i);
        for (uint32_t k = 0; k < p->count && p->type < 2; k++)
            if (p->data[k] != q->data[k])
                g_test_message("%s[%u]: %u, then %u", p->name, k, p->data[k], q->data[k]);
        for (uint32_t k = 0; k < 8 && p->type > 2; k++)
            if (p->data[k] != q->data[k])
                g_test_message("%s: byte %u: %u, then %u", p->name, k, p->data[k], q->data[k]);
    }
    vmr_record_free(x);
    vmr_record_free(y);
}

/* All but when and by whom it was written. */
static void assert_same_files(const char *a, const char *b)
{
    uint8_t *x, *y;
    size_t nx, ny;
    read_file(a, &x, &nx);
    read_file(b, &y, &ny);
    g_assert_cmpuint(nx, ==, ny);
    g_assert_cmpmem(x, VMR_SNAPSHOT_HEADER, y, VMR_SNAPSHOT_HEADER);
    for (size_t at = VMR_SNAPSHOT_HEADER; at < nx; at += section_size(x + at)) {
        const char *name = (const char *)x + at + VMR_SNAPSHOT_SECTION_HEADER;
        g_assert_cmpmem(x + at, 16, y + at, 16);
        g_assert_cmpstr(name, ==, (const char *)y + at + VMR_SNAPSHOT_SECTION_HEADER);
        if (!strcmp(name, "run"))
            continue;
        if (memcmp(x + at, y + at, section_size(x + at))) {
            size_t skip = VMR_SNAPSHOT_SECTION_HEADER + get_32(x + at + 4);
            g_test_message("section %.4s %s:", (const char *)x + at, name);
            show_difference(x + at + skip, y + at + skip, get_32(x + at + 8));
            g_test_fail();
        }
    }
    g_free(x);
    g_free(y);
}

static void test_round_trip(void)
{
    for (uint32_t seed = 1; seed <= 12; seed++) {
        char *first = file_name("first"), *second = file_name("second");
        GError *error = NULL;
        Pc a = pc_poked(seed), b = pc_new(NULL);
        save(a.m, first);
        restore(b.m, first, &error);
        g_assert_no_error(error);
        g_assert_cmpint(vmr_machine_time(a.m), ==, vmr_machine_time(b.m));
        save(b.m, second);
        g_test_message("seed %u", seed);
        assert_same_files(first, second);
        /* And over a machine that is another already. */
        Pc c = pc_poked(seed + 100);
        restore(c.m, first, &error);
        g_assert_no_error(error);
        save(c.m, second);
        assert_same_files(first, second);
        pc_free(&a);
        pc_free(&b);
        pc_free(&c);
        g_free(first);
        g_free(second);
    }
}

static void refused(VmrMachine *m, const char *path, const char *why)
{
    GError *error = NULL;
    g_assert_null(vmr_snapshot_open(m, path, &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, why))
        g_test_message("wanted '%s', got '%s'", why, error->message);
    g_assert_nonnull(strstr(error->message, why));
    g_error_free(error);
}

static void test_foreign(void)
{
    static const struct {
        const char *set, *why;
    } machines[] = {
        {"machine.cpus=1", "number of CPUs is 2 in the snapshot and 1 here"},
        {"machine.memory=3M", "another machine: memory map"},
        {"com1.regs=0x2f8", "[device com1]: it is of another machine: region regs"},
        {"com1.irq=isa:3", "line irq is"},
        {"pm0.timer-bits=24", "property timer-bits"},
    };
    char *path = file_name("foreign");
    Pc a = pc_poked(1);
    save(a.m, path);
    for (unsigned i = 0; i < G_N_ELEMENTS(machines); i++) {
        Pc b = pc_new(machines[i].set);
        GError *error = NULL;
        VmrSnapshot *s = vmr_snapshot_open(b.m, path, &error);
        g_assert_null(s);
        if (!strstr(error->message, machines[i].why)) {
            g_test_message("wanted '%s', got '%s'", machines[i].why, error->message);
            g_test_fail();
        }
        g_error_free(error);
        pc_free(&b);
    }
    refused(a.m, "/nonexistent/file", "/nonexistent/file");
    refused(a.m, "/", "/");
    g_file_set_contents(path, "", 0, NULL);
    refused(a.m, path, "not a snapshot");
    g_file_set_contents(path, "VMRSNAP\x1a", 8, NULL);
    refused(a.m, path, "not a snapshot");
    pc_free(&a);
    g_free(path);
}

/* Every byte is covered: a change of any is told, and so is the end at any. */
static void test_damaged(void)
{
    char *path = file_name("damaged");
    Pc a = pc_poked(3);
    uint8_t *data;
    size_t len;
    save(a.m, path);
    read_file(path, &data, &len);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_test_message("%zu bytes", len);
    for (size_t i = 0; i < len; i++) {
        uint8_t bad = data[i] ^ (uint8_t)(1u << i % 8);
        GError *error = NULL;
        g_assert_cmpint(pwrite(fd, &bad, 1, (off_t)i), ==, 1);
        VmrSnapshot *s = vmr_snapshot_open(a.m, path, &error);
        g_assert_cmpint(pwrite(fd, &data[i], 1, (off_t)i), ==, 1);
        if (s)
            g_test_message("byte %zu", i);
        g_assert_null(s);
        g_assert_nonnull(error);
        g_error_free(error);
    }
    for (size_t n = len; n-- > 0;) {
        if (n > 3000 && n < len - 3000 && n % 97)
            continue;
        g_assert_cmpint(ftruncate(fd, (off_t)n), ==, 0);
        GError *error = NULL;
        g_assert_null(vmr_snapshot_open(a.m, path, &error));
        g_assert_nonnull(error);
        g_error_free(error);
    }
    close(fd);
    /* And one byte more. */
    data = g_realloc(data, len + 1);
    data[len] = 0;
    g_file_set_contents(path, (char *)data, (gssize)len + 1, NULL);
    refused(a.m, path, "end is not where");
    g_free(data);
    pc_free(&a);
    g_free(path);
}

/* Make the sums right again. */
static void reseal(uint8_t *data, size_t len)
{
    put_32(data + 28, vmr_crc32(0, data, 28));
    for (size_t at = VMR_SNAPSHOT_HEADER; at + VMR_SNAPSHOT_SECTION_HEADER <= len;) {
        uint8_t *h = data + at;
        uint32_t name = get_32(h + 4), payload = get_32(h + 8);
        size_t left = len - at - VMR_SNAPSHOT_SECTION_HEADER;
        if (name > left || payload > left - name)
            break;
        put_32(h + 16, vmr_crc32(0, h + VMR_SNAPSHOT_SECTION_HEADER + name, payload));
        put_32(h + 28, vmr_crc32(vmr_crc32(0, h, 28), h + VMR_SNAPSHOT_SECTION_HEADER, name));
        at += VMR_SNAPSHOT_SECTION_HEADER + name + payload;
    }
}

/* A file that somebody made up: an error, or a machine; and that one can be saved and reset. */
static void test_hostile(void)
{
    char *path = file_name("hostile"), *again = file_name("again");
    GRand *rand = g_rand_new_with_seed(7);
    Pc a = pc_poked(5), b = pc_new(NULL);
    uint8_t *data;
    size_t len;
    unsigned taken = 0, refusals = 0;
    save(a.m, path);
    read_file(path, &data, &len);
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t *bad = g_memdup2(data, len);
        for (unsigned k = g_rand_int_range(rand, 1, 4); k > 0; k--) {
            size_t at = (size_t)g_rand_int_range(rand, 0, (int)len);
            bad[at] = g_rand_boolean(rand) ? (uint8_t)g_rand_int(rand) : g_rand_boolean(rand) ? 0xff : 0x80;
        }
        reseal(bad, len);
        FILE *f = g_fopen(path, "wb");
        g_assert_cmpuint(fwrite(bad, 1, len, f), ==, len);
        fclose(f);
        g_free(bad);
        GError *error = NULL;
        if (restore(b.m, path, &error)) {
            taken++;
            if (i % 50 == 0)
                save(b.m, again);
        } else {
            refusals++;
            g_assert_nonnull(error);
        }
        g_clear_error(&error);
        /* Timers that are due now. */
        vmr_clock_set(b.m, MAX(vmr_machine_time(b.m), 0) + 1);
        while (g_main_context_iteration(NULL, FALSE))
            ;
    }
    g_test_message("%u taken, %u refused", taken, refusals);
    g_assert_cmpuint(taken, >, 0);
    g_assert_cmpuint(refusals, >, 0);
    vmr_machine_reset(b.m, VMR_RESET_COLD);
    g_free(data);
    pc_free(&a);
    pc_free(&b);
    g_rand_free(rand);
    g_free(path);
    g_free(again);
}

/* A save that cannot be finished leaves the older file as it was, and nothing beside it. */
static void test_keeps_older(void)
{
    char *path = file_name("older"), *folder = g_path_get_dirname(path);
    GError *error = NULL;
    Pc a = pc_new(NULL);
    vmr_machine_reset(a.m, VMR_RESET_COLD);
    save(a.m, path);
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 077, ==, 0);
    g_assert_false(vmr_snapshot_save(a.m, "/nonexistent/file", &error));
    g_assert_nonnull(strstr(error->message, "/nonexistent/file: the machine is not saved"));
    g_clear_error(&error);
    /* A folder is in the way of the name. */
    char *taken = g_build_filename(folder, "folder", NULL), *in = g_build_filename(taken, "x", NULL);
    g_mkdir(taken, 0700);
    g_file_set_contents(in, "x", 1, NULL);
    g_assert_false(vmr_snapshot_save(a.m, taken, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    GDir *d = g_dir_open(folder, 0, NULL);
    for (const char *name; (name = g_dir_read_name(d));)
        g_assert_null(strstr(name, "folder."));
    g_dir_close(d);
    g_unlink(in);
    g_rmdir(taken);
    g_free(in);
    g_free(taken);
    g_free(folder);
    g_free(path);
    pc_free(&a);
}

static void test_crc(void)
{
    g_assert_cmphex(vmr_crc32(0, "123456789", 9), ==, 0xcbf43926);
    g_assert_cmphex(vmr_crc32(vmr_crc32(0, "1234", 4), "56789", 5), ==, 0xcbf43926);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/state/crc", test_crc);
    g_test_add_func("/state/round-trip", test_round_trip);
    g_test_add_func("/state/foreign", test_foreign);
    g_test_add_func("/state/damaged", test_damaged);
    g_test_add_func("/state/hostile", test_hostile);
    g_test_add_func("/state/keeps-older", test_keeps_older);
    int status = g_test_run();
    char *file = file_name("x"), *dir = g_path_get_dirname(file);
    GDir *d = g_dir_open(dir, 0, NULL);
    for (const char *name; d && (name = g_dir_read_name(d));) {
        char *path = g_build_filename(dir, name, NULL);
        g_unlink(path);
        g_free(path);
    }
    g_dir_close(d);
    g_rmdir(dir);
    g_free(dir);
    g_free(file);
    return status;
}
