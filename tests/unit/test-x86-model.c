/* CPU models: names, +feature,-feature, CPUID. */
#include "accel/x86/model.h"

#include <string.h>

static VmrX86Cpuid made(const char *name, const char *changes, GError **error)
{
    VmrX86Cpuid c = {.brand = "test", .cpu_count = 1, .tsc_hz = 1000000000};
    uint32_t have[VMR_X86_WORDS];
    vmr_x86_interp_words(have);
    const VmrX86Model *m = vmr_x86_model_find(name, VMR_X86_INTERP, error);
    if (m) {
        vmr_x86_cpuid_init(&c, m, true);
        vmr_x86_cpuid_change(&c, changes, have, error);
    }
    return c;
}

static bool has(const VmrX86Cpuid *c, const char *name)
{
    for (unsigned i = 0; i < vmr_x86_feature_count; i++) {
        const VmrX86Feature *f = &vmr_x86_features[i];
        if (strcmp(f->name, name) == 0)
            return c->words[f->word] >> f->bit & 1;
    }
    g_error("no feature %s", name);
}

static void test_table(void)
{
    /* no place and no name twice; what is needed is there */
    for (unsigned i = 0; i < vmr_x86_feature_count; i++) {
        const VmrX86Feature *f = &vmr_x86_features[i];
        g_assert_cmpstr(vmr_x86_feature_name(f->word, f->bit), ==, f->name);
        for (unsigned j = 0; j < i; j++)
            g_assert_cmpstr(f->name, !=, vmr_x86_features[j].name);
        char **needs = g_strsplit(f->needs ? f->needs : "", " ", 0);
        for (unsigned k = 0; needs[k]; k++) {
            VmrX86Cpuid c = made("max", NULL, NULL);
            has(&c, needs[k]);
        }
        g_strfreev(needs);
    }
}

static void expect(const char *name, const char *changes, const char *message)
{
    GError *error = NULL;
    made(name, changes, &error);
    if (!message) {
        g_assert_no_error(error);
        return;
    }
    g_assert_nonnull(error);
    if (!strstr(error->message, message))
        g_error("%s,%s: \"%s\" does not say \"%s\"", name, changes, error->message, message);
    g_error_free(error);
}

static void test_changes(void)
{
    expect("486", NULL, NULL);
    expect("pentium3", "+sse2,-pge", NULL);
    expect("nonesuch", NULL, "unknown CPU model");
    expect("max", "+sse4_3", "did you mean 'sse4_1'");
    expect("max", "+lzcnt", "abm");
    expect("max", "sse2", "write +sse2 or -sse2");
    expect("486", "+xsaves", "lacks");
    VmrX86Cpuid c = made("486", "+sse2", NULL);
    g_assert_true(has(&c, "sse") && has(&c, "fxsr") && has(&c, "sse2"));
    c = made("x86-64-v2", "-pni", NULL);
    g_assert_true(has(&c, "sse2") && !has(&c, "sse4_2") && !has(&c, "ssse3"));
    c = made("x86-64-v1", ",,-lm,", NULL);
    g_assert_true(!has(&c, "lahf_lm") && !has(&c, "lm") && has(&c, "pae"));
}

static void test_cpuid(void)
{
    static const struct {
        const char *name;
        uint32_t signature, leaf_max;
        bool extended;
    } models[] = {{"486", 0x480, 1, false}, {"pentium", 0x52c, 1, false}, {"pentium3", 0x683, 2, false},
                  {"x86-64-v1", 0x6f1, 0x16, true}, {"x86-64-v2", 0x106a3, 0x16, true}};
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        VmrX86Cpuid c = made(models[i].name, NULL, NULL);
        uint32_t out[4], basic[4];
        vmr_x86_cpuid(&c, 0, 0, out);
        g_assert_cmpuint(out[0], ==, models[i].leaf_max);
        g_assert_cmpmem(&out[1], 4, "Genu", 4);
        vmr_x86_cpuid(&c, 1, 0, out);
        g_assert_cmphex(out[0], ==, models[i].signature);
        vmr_x86_cpuid(&c, models[i].leaf_max, 0, basic);
        vmr_x86_cpuid(&c, models[i].leaf_max + 1, 0, out);
        g_assert_cmpmem(out, sizeof out, basic, sizeof basic);
        vmr_x86_cpuid(&c, 0x80000000, 0, out);
        g_assert_cmpint(out[0] >> 16 == 0x8000, ==, models[i].extended);
    }
    VmrX86Cpuid c = made("x86-64-v2", "+xsave,+pku", NULL);
    uint32_t out[4];
    c.xcr0 = 3;
    vmr_x86_cpuid(&c, 0xd, 0, out);
    g_assert_cmpuint(out[1], ==, 576);
    g_assert_cmpuint(out[2], ==, vmr_x86_xsave_size(vmr_x86_xcr0_all(c.words)));
    g_assert_cmpuint(vmr_x86_xsave_size(0x207), ==, 2696);
    g_assert_cmpuint(vmr_x86_xsave_size(7), ==, 832);
}

static void test_lists(void)
{
    const char *const *list = vmr_x86_model_list(VMR_X86_INTERP);
    g_assert_nonnull(strstr(list[0], "the default"));
    for (unsigned i = 0; list[i]; i++) {
        char *name = g_strndup(list[i], strcspn(list[i], "\t"));
        g_assert_nonnull(vmr_x86_model_find(name, VMR_X86_INTERP, NULL));
        char *text = vmr_x86_model_describe(name, VMR_X86_INTERP);
        g_assert_true(text || strcmp(name, "x86-64") == 0);
        g_free(text);
        g_free(name);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86-model/table", test_table);
    g_test_add_func("/x86-model/changes", test_changes);
    g_test_add_func("/x86-model/cpuid", test_cpuid);
    g_test_add_func("/x86-model/lists", test_lists);
    return g_test_run();
}
