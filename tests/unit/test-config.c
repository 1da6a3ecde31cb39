/*
 * tests/unit/test-config.c - machine files: syntax, includes, variables, --set, parsers.
 */
#include "core/config.h"

#include <glib/gstdio.h>
#include <string.h>

static char *dir; /* a folder of this run's own */

static char *put_bytes(const char *name, const char *text, gssize length)
{
    char *path = g_build_filename(dir, name, NULL);
    g_unlink(path); /* GLib 2.74 does not truncate an old file */
    g_assert_true(
        g_file_set_contents_full(path, text, length, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    return path;
}

static char *put(const char *name, const char *text)
{
    return put_bytes(name, text, -1);
}

/* Load; the errors' text with the folder's name taken out goes to *text. */
static VmrConfig *load_sets(const char *path, const char *const *sets, char **text)
{
    VmrErrors *errors = vmr_errors_new();
    VmrConfig *config = vmr_config_load(path, sets, errors);
    char *all = vmr_errors_text(errors);
    char *prefix = g_strconcat(dir, "/", NULL);
    char **parts = g_strsplit(all, prefix, 0);
    *text = g_strjoinv("", parts);
    g_strfreev(parts);
    g_free(prefix);
    g_free(all);
    vmr_errors_free(errors);
    return config;
}

static void expect_errors(const char *text, gssize length, const char *wanted)
{
    char *seen;
    char *path = put_bytes("e.conf", text, length);
    VmrConfig *config = load_sets(path, NULL, &seen);
    g_assert_nonnull(config);
    g_assert_cmpstr(seen, ==, wanted);
    vmr_config_free(config);
    g_free(path);
    g_free(seen);
}

static VmrConfig *load_clean(const char *path, const char *const *sets)
{
    char *seen;
    VmrConfig *config = load_sets(path, sets, &seen);
    g_assert_cmpstr(seen, ==, "");
    g_assert_nonnull(config);
    g_free(seen);
    return config;
}

static const char *get(const VmrConfig *config, const char *kind, const char *name, const char *key)
{
    const VmrSection *s = vmr_config_section(config, kind, name);
    const VmrValue *v = s ? vmr_section_value(s, key) : NULL;
    return v ? v->text : NULL;
}

static void test_plain(void)
{
    char *path = put("a.conf", "# a comment\n"
                               "\n"
                               "  [machine]  \r\n"
                               "arch=x86_64\n"
                               "  memory\t=  256M \t\r\n"
                               "   # indented comment\n"
                               "[device  com1]\n"
                               "text = \\sa\\tb\\\\c = d # kept\n"
                               "empty =\n"
                               "[chardev con0]\n"
                               "kind = stdio"); /* no newline at the end */
    VmrConfig *config = load_clean(path, NULL);
    const VmrSection *s;
    const VmrValue *v;

    g_assert_cmpstr(get(config, "machine", "", "arch"), ==, "x86_64");
    g_assert_cmpstr(get(config, "machine", "", "memory"), ==, "256M");
    g_assert_cmpstr(get(config, "device", "com1", "text"), ==, " a\tb\\c = d # kept");
    g_assert_cmpstr(get(config, "device", "com1", "empty"), ==, "");
    g_assert_cmpstr(get(config, "chardev", "con0", "kind"), ==, "stdio");
    g_assert_null(get(config, "device", "com2", "empty"));
    g_assert_null(get(config, "device", "com1", "none"));

    s = vmr_config_next(config, "device", NULL);
    g_assert_cmpstr(s->title, ==, "device com1");
    g_assert_cmpuint(s->place.line, ==, 7);
    g_assert_null(vmr_config_next(config, "device", s));
    v = vmr_section_value(s, "empty");
    g_assert_cmpuint(v->place.line, ==, 9);
    g_assert_true(v->used);
    g_assert_cmpstr(vmr_config_next(config, NULL, s)->title, ==, "chardev con0");
    vmr_config_free(config);
    g_free(path);
}

static void test_five_errors(void)
{
    expect_errors(
        "[machine]\n"
        "arch = x86_64\n"
        "nonsense\n"
        "arch = riscv64\n"
        "[devcie com1]\n"
        "plugin = serial16550\n"
        "[device]\n"
        "[device a:b]\n"
        "[boot]\n"
        "= 5\n",
        -1,
        "e.conf:3: [machine]: neither [SECTION] nor KEY = VALUE nor # comment: 'nonsense'\n"
        "e.conf:4: [machine] arch: set twice: the first is in line 2\n"
        "e.conf:5: [devcie com1]: unknown kind of section 'devcie'; did you mean 'device'?\n"
        "e.conf:7: [device]: a name is missing: [device NAME]\n"
        "e.conf:8: [device a:b]: a name starts with a letter and has only letters, digits, "
        "'-' and '_'\n"
        "e.conf:10: [boot]: a key is missing before '='\n");
}

static void test_malformed(void)
{
    expect_errors("", 0, "");
    expect_errors("[", -1, "e.conf:1: a section is [TITLE] on a line of its own\n");
    expect_errors("[]", -1, "e.conf:1: a section needs a title: [machine]\n");
    expect_errors("[machine", -1, "e.conf:1: a section is [TITLE] on a line of its own\n");
    expect_errors("[machine] x", -1, "e.conf:1: a section is [TITLE] on a line of its own\n");
    expect_errors("[machine]]", -1, "e.conf:1: a section is [TITLE] on a line of its own\n");
    expect_errors("[machine pc]", -1,
                  "e.conf:1: [machine pc]: a [machine] section takes no name\n");
    expect_errors("[device a b]", -1,
                  "e.conf:1: [device a b]: one name is wanted: [device NAME]\n");
    expect_errors("[device cpu0]", -1, "e.conf:1: [device cpu0]: the name 'cpu0' is reserved\n");
    expect_errors("[net machine]", -1, "e.conf:1: [net machine]: the name 'machine' is reserved\n");
    expect_errors("a = b", -1,
                  "e.conf:1: a: before the first section there can only be include = FILE\n");
    expect_errors(
        "[boot]\na b = c", -1,
        "e.conf:2: [boot]: 'a b' is no key: letters, digits, '-', '_' and '.' make one\n");
    expect_errors("[boot]\nk\0 = c\nkernel = \n", 24, "e.conf:2: the line has a NUL byte\n");
    expect_errors("[boot]\nk = \xff\xfe\nx = 1\n", -1, "e.conf:2: the line is not UTF-8\n");
    expect_errors("[boot]\nk = $x\nl = ${y\nm = a\\qb\n", -1,
                  "e.conf:2: [boot] k: a '$' alone: write ${NAME}, or $$ for a dollar\n"
                  "e.conf:3: [boot] l: a '$' alone: write ${NAME}, or $$ for a dollar\n"
                  "e.conf:4: [boot] m: a backslash goes before s, n, t, r or a backslash\n");
    expect_errors("[boot]\nk = \\", -1,
                  "e.conf:2: [boot] k: a backslash goes before s, n, t, r or a backslash\n");
    expect_errors("[device a]\n[chardev a]\n", -1,
                  "e.conf:2: [chardev a]: the name is taken by [device a] in e.conf:1\n");
    /* What is shown of a hostile file does not reach the terminal as it is. */
    expect_errors(
        "[boot]\n\033[2J\n", -1,
        "e.conf:2: [boot]: neither [SECTION] nor KEY = VALUE nor # comment: '\\x1b[2J'\n");
}

static void test_bounds(void)
{
    GString *s = g_string_new("[boot]\nk = ");
    for (unsigned i = 0; i < 70000; i++)
        g_string_append_c(s, 'x');
    g_string_append(s, "\nl = 1\nbad\n");
    expect_errors(s->str, -1,
                  "e.conf:2: the line is longer than 65536 bytes\n"
                  "e.conf:4: [boot]: neither [SECTION] nor KEY = VALUE nor # comment: 'bad'\n");
    while (s->len <= 1024 * 1024)
        g_string_append(s, "# more and more and more\n");
    char *path = put("big.conf", s->str), *seen;
    g_assert_null(load_sets(path, NULL, &seen));
    g_assert_cmpstr(seen, ==,
                    "big.conf: cannot read the machine file: it is larger than 1048576 bytes\n");
    g_free(seen);
    g_free(path);
    g_string_free(s, TRUE);

    g_assert_null(load_sets(dir, NULL, &seen));
    g_assert_nonnull(strstr(seen, "cannot read the machine file: it is a directory"));
    g_free(seen);
    /* Much of everything: told, and soon. */
    s = g_string_new("[vars]\nb = ");
    for (unsigned i = 0; i < 60000; i++)
        g_string_append_c(s, 'x');
    for (unsigned i = 0; i < 60000; i++)
        g_string_append_printf(s, "\nk%u=${b}", i);
    for (unsigned i = 0; i < 5000; i++)
        g_string_append_printf(s, "\n[net n%u]", i);
    path = put("many.conf", s->str);
    vmr_config_free(load_sets(path, NULL, &seen));
    g_assert_nonnull(strstr(seen, "many.conf:4098: [vars] k4095: more than 4096 keys\n"));
    g_free(seen);
    g_free(path);
    g_string_free(s, TRUE);

    path = g_build_filename(dir, "absent.conf", NULL);
    g_assert_null(load_sets(path, NULL, &seen));
    g_assert_cmpstr(seen, ==,
                    "absent.conf: cannot read the machine file: No such file or directory\n");
    g_free(seen);
    g_free(path);
}

static void test_includes(void)
{
    char *sub = g_build_filename(dir, "sub", NULL), *expected, *path;
    g_mkdir_with_parents(sub, 0700);
    g_free(
        put("sub/base.conf", "[machine]\nmemory = 1M\ncpus = 1\n[device a]\nrom = r.bin\nx = 1\n"));
    g_free(put("second.conf", "[machine]\ncpus = 2\narch = riscv64\n[device b]\n"));
    char *top = put("top.conf", "include = sub/base.conf\n"
                                "[machine]\n"
                                "arch = x86_64\n"
                                "include = ${two}.conf\n"
                                "include = second.conf\n"
                                "[vars]\ntwo = second\n"
                                "[device a]\nx = 2\n[device c]\nimage = ../i\n");
    VmrConfig *config = load_clean(top, NULL);
    g_assert_cmpstr(get(config, "machine", "", "memory"), ==, "1M");
    g_assert_cmpstr(get(config, "machine", "", "cpus"), ==, "2");
    g_assert_cmpstr(get(config, "machine", "", "arch"), ==, "x86_64");
    g_assert_cmpstr(get(config, "device", "a", "x"), ==, "2");
    const VmrSection *a = vmr_config_next(config, "device", NULL);
    const VmrSection *b = vmr_config_next(config, "device", a);
    const VmrSection *c = vmr_config_next(config, "device", b);
    g_assert_cmpstr(a->name, ==, "a");
    g_assert_cmpstr(b->name, ==, "b");
    g_assert_cmpstr(c->name, ==, "c");
    path = vmr_value_path(vmr_section_value(a, "rom"));
    char *real = realpath(dir, NULL);
    expected = g_build_filename(real, "sub", "r.bin", NULL);
    g_assert_cmpstr(path, ==, expected);
    g_assert_true(g_str_has_suffix(vmr_section_value(a, "rom")->place.file, "sub/base.conf"));
    g_assert_cmpuint(vmr_section_value(a, "rom")->place.line, ==, 5);
    free(real);
    g_free(expected);
    g_free(path);
    vmr_config_free(config);
    g_free(top);
    g_free(sub);

    char *seen;
    g_free(put("l2.conf", "[machine]\ninclude = l1.conf\n"));
    path = put("l1.conf", "include = l2.conf\ninclude = absent.conf\ninclude =\n");
    config = load_sets(path, NULL, &seen);
    g_assert_cmpstr(seen, ==,
                    "l2.conf:2: include: cannot read l1.conf: it includes itself\n"
                    "l1.conf:2: include: cannot read absent.conf: No such file or directory\n"
                    "l1.conf:3: include: a file is wanted\n");
    vmr_config_free(config);
    g_free(path);
    g_free(seen);

    for (unsigned i = 0; i < 20; i++) {
        char *name = g_strdup_printf("d%u.conf", i);
        char *text = g_strdup_printf("include = d%u.conf\ninclude = d%u.conf\n", i + 1, i + 1);
        g_free(put(name, text));
        g_free(name);
        g_free(text);
    }
    path = g_build_filename(dir, "d0.conf", NULL);
    config = load_sets(path, NULL, &seen);
    g_assert_nonnull(strstr(seen, "includes go deeper than 16 files"));
    g_assert_nonnull(strstr(seen, "errors more"));
    vmr_config_free(config);
    g_free(path);
    g_free(seen);
}

static void test_vars(void)
{
    g_setenv("VMRUN_TEST_ENV", "from env", TRUE);
    char *path = put("v.conf", "[vars]\nconsole = ttyS0\nboth = ${console},${console}\nl1 = ${l2}\n"
                               "l2 = ${l1}\n"
                               "[boot]\n"
                               "cmdline = console=${both} $$x ${VMRUN_TEST_ENV}\n"
                               "kernel = ${consol}\n"
                               "initrd = ${l1}\n");
    char *seen;
    VmrConfig *config = load_sets(path, NULL, &seen);
    g_assert_cmpstr(get(config, "boot", "", "cmdline"), ==, "console=ttyS0,ttyS0 $x from env");
    g_assert_nonnull(strstr(seen, "v.conf:8: [boot] kernel: ${consol} is neither in [vars] nor in "
                                  "the environment; did you mean 'console'?\n"));
    g_assert_nonnull(strstr(seen, "v.conf:9: [boot] initrd: ${l"));
    g_assert_true(vmr_section_value(vmr_config_section(config, "boot", ""), "kernel")->broken);
    vmr_config_free(config);
    g_free(seen);
    g_free(path);

    /* Many empty variables in each other: ends soon. */
    GString *s = g_string_new("[vars]\nv0 =\n");
    for (unsigned i = 1; i < 12; i++) {
        g_string_append_printf(s, "v%u = ", i);
        for (unsigned j = 0; j < 100; j++)
            g_string_append_printf(s, "${v%u}", i - 1);
        g_string_append_c(s, '\n');
    }
    path = put("laughs.conf", s->str);
    config = load_sets(path, NULL, &seen);
    g_assert_nonnull(strstr(seen, "too many variables"));
    vmr_config_free(config);
    g_free(seen);
    g_free(path);
    g_string_free(s, TRUE);
}

static void test_set(void)
{
    const char *sets[] = {"boot.cmdline=a ${b} $c = \\d", "com1.baud=9600", "vars.v=set",
                          "machine.cpus=4", "machine.cpus=5", "boot.kernel=", NULL};
    char *path = put("s.conf", "[vars]\nv = file\nw = ${v}\n[machine]\ncpus = 1\nname = ${w}\n"
                               "[device com1]\nbaud = 1\n[drive d]\npath = ${v}/x\n");
    VmrConfig *config = load_clean(path, sets);
    g_assert_cmpstr(get(config, "boot", "", "cmdline"), ==, "a ${b} $c = \\d");
    g_assert_cmpstr(get(config, "boot", "", "kernel"), ==, "");
    g_assert_cmpstr(get(config, "device", "com1", "baud"), ==, "9600");
    g_assert_cmpstr(get(config, "machine", "", "cpus"), ==, "5");
    g_assert_cmpstr(get(config, "machine", "", "name"), ==, "set");
    g_assert_null(vmr_section_value(vmr_config_section(config, "machine", ""), "cpus")->place.file);
    /* A path from the command line starts where the command is given. */
    char *cwd = g_get_current_dir();
    char *expected = g_build_filename(cwd, "set", "x", NULL);
    char *seen =
        vmr_value_path(vmr_section_value(vmr_config_section(config, "drive", "d"), "path"));
    g_assert_cmpstr(seen, ==, expected);
    g_free(expected);
    g_free(cwd);
    g_free(seen);
    vmr_config_free(config);

    const char *bad[] = {"cpus=1", "com2.baud=1", ".x=1", "machine.=1", "x", "\xff.a=1", NULL};
    config = load_sets(path, bad, &seen);
    g_assert_cmpstr(seen, ==,
                    "vmrun: --set: 'cpus=1' is not SECTION.KEY=VALUE\n"
                    "vmrun: --set: com2.baud=1: no section is named 'com2'; did you mean 'com1'?\n"
                    "vmrun: --set: '.x=1' is not SECTION.KEY=VALUE\n"
                    "vmrun: --set: 'machine.=1' is not SECTION.KEY=VALUE\n"
                    "vmrun: --set: 'x' is not SECTION.KEY=VALUE\n"
                    "vmrun: --set: the text is not UTF-8\n");
    vmr_config_free(config);
    g_free(seen);
    g_free(path);
}

static void check_size(const char *text, bool ok, guint64 value)
{
    guint64 seen = 0;
    g_test_message("size '%s'", text);
    g_assert_cmpint(vmr_parse_size(text, &seen), ==, ok);
    g_assert_cmpuint(seen, ==, ok ? value : 0);
}

static void check_number(const char *text, bool ok, guint64 value)
{
    guint64 seen = 0;
    g_test_message("number '%s'", text);
    g_assert_cmpint(vmr_parse_number(text, &seen), ==, ok);
    g_assert_cmpuint(seen, ==, ok ? value : 0);
}

static void test_parsers(void)
{
    check_size("0", true, 0);
    check_size("512M", true, 512u << 20);
    check_size("0x1000", true, 0x1000);
    check_size("64k", true, 65536);
    check_size("3G", true, 3ull << 30);
    check_size("2T", true, 2ull << 40);
    check_size("16777215T", true, 16777215ull << 40);
    check_size("16777216T", false, 0);
    check_size("18446744073709551615", true, G_MAXUINT64);
    check_size("18446744073709551616", false, 0);
    check_size("", false, 0);
    check_size("M", false, 0);
    check_size("1 M", false, 0);
    check_size("1MB", false, 0);
    check_size("-1", false, 0);
    check_number("10", true, 10);
    check_number("0x10", true, 16);
    check_number("0b101", true, 5);
    check_number("0b2", false, 0);
    check_number("0x", false, 0);
    check_number("10K", false, 0);
    check_number("+1", false, 0);
    check_number("0x10000000000000000", false, 0);

    bool b = false;
    g_assert_true(vmr_parse_bool("on", &b) && b);
    g_assert_true(vmr_parse_bool("no", &b) && !b);
    g_assert_false(vmr_parse_bool("maybe", &b));
}

static void test_nearest(void)
{
    static const char *const known[] = {"memory", "cpus", "interrupt-controller",
                                        "irq",    "io",   NULL};
    g_assert_cmpstr(vmr_nearest("memroy", known), ==, "memory");
    g_assert_cmpstr(vmr_nearest("Memory", known), ==, "memory");
    g_assert_cmpstr(vmr_nearest("cpu", known), ==, "cpus");
    g_assert_cmpstr(vmr_nearest("interupt-controler", known), ==, "interrupt-controller");
    g_assert_cmpstr(vmr_nearest("rq", known), ==, "irq");
    g_assert_null(vmr_nearest("x", known));
    g_assert_null(vmr_nearest("", known));
    g_assert_null(vmr_nearest("entirely-else", known));
    g_assert_null(vmr_nearest("irq", NULL));
    char *longest = g_strnfill(100000, 'i');
    g_assert_null(vmr_nearest(longest, known));
    g_free(longest);
}

/* What GKeyFile makes of a file is what we make of it. */
static void test_as_glib(void)
{
    static const char text[] =
        "# comment\n\n[machine]\na=1\nb = two words\n  c  =\t three # not a comment\n"
        "d = \\sspace\\ttab\\\\back\\nline\nempty=\nutf = gr\xc3\xbc\xc3\x9f\n"
        "equals = a=b=c\n \t \n[boot] \t\nx-y_z.9 = 1\n[machine]\nlater = 2\n"
        "brackets = [x]\nsemi = a;b;c\n   # comment\ncrlf = 1\r\n";
    char *path = put("glib.conf", text);
    GKeyFile *theirs = g_key_file_new();
    g_assert_true(g_key_file_load_from_file(theirs, path, G_KEY_FILE_NONE, NULL));
    VmrConfig *ours = load_clean(path, NULL);
    char **groups = g_key_file_get_groups(theirs, NULL);
    unsigned values = 0;
    for (unsigned i = 0; groups[i]; i++) {
        char **keys = g_key_file_get_keys(theirs, groups[i], NULL, NULL);
        for (unsigned j = 0; keys[j]; j++, values++) {
            char *wanted = g_key_file_get_string(theirs, groups[i], keys[j], NULL);
            g_test_message("%s.%s", groups[i], keys[j]);
            g_assert_cmpstr(get(ours, groups[i], "", keys[j]), ==, wanted);
            g_free(wanted);
        }
        g_strfreev(keys);
    }
    g_assert_cmpuint(values, ==, 12);
    g_strfreev(groups);
    g_key_file_free(theirs);
    vmr_config_free(ours);
    g_free(path);
}

/* Any bytes at all: no crash, and every call returns. */
static void test_noise(void)
{
    static const char alphabet[] = "[]=#$\\{} \t\n\r\"a.0-\xc3\xa9";
    GRand *rand = g_rand_new_with_seed(1);
    for (unsigned round = 0; round < 300; round++) {
        char bytes[400];
        unsigned n = (unsigned)g_rand_int_range(rand, 0, sizeof(bytes));
        for (unsigned i = 0; i < n; i++)
            bytes[i] = g_rand_int_range(rand, 0, 50) == 0
                           ? (char)g_rand_int_range(rand, 0, 256)
                           : alphabet[g_rand_int_range(rand, 0, sizeof(alphabet) - 1)];
        char *text = g_strdup_printf("[machine]\n"), *seen;
        GString *all = g_string_new(text);
        g_string_append_len(all, bytes, n);
        char *path = put_bytes("noise.conf", all->str, (gssize)all->len);
        VmrConfig *config = load_sets(path, NULL, &seen);
        g_assert_nonnull(config);
        vmr_config_free(config);
        g_string_free(all, TRUE);
        g_free(text);
        g_free(seen);
        g_free(path);
    }
    g_rand_free(rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vmrun-config-XXXXXX", NULL);
    g_test_add_func("/config/plain", test_plain);
    g_test_add_func("/config/five-errors", test_five_errors);
    g_test_add_func("/config/malformed", test_malformed);
    g_test_add_func("/config/bounds", test_bounds);
    g_test_add_func("/config/includes", test_includes);
    g_test_add_func("/config/vars", test_vars);
    g_test_add_func("/config/set", test_set);
    g_test_add_func("/config/parsers", test_parsers);
    g_test_add_func("/config/nearest", test_nearest);
    g_test_add_func("/config/as-glib", test_as_glib);
    g_test_add_func("/config/noise", test_noise);
    int status = g_test_run();
    char *command[] = {"rm", "-rf", dir, NULL};
    g_spawn_sync(NULL, command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(dir);
    return status;
}
