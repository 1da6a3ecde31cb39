/*
 * CPU models by name, [machine] cpu, and CPUID, for all accelerators.
 *
 * Leaves out: performance counters, thermal and power leaves.
 */
#include "model.h"

#include "core/config.h"

#include <string.h>
#include <vmrun/x86.h>

#define B(n) (1u << (n))

/* ---- models -------------------------------------------------------------------------------------- */

#define HOST_DOC "the host's CPU as KVM offers it; not to be moved elsewhere"
#define V1_PLATFORM "x2apic tsc_deadline_timer hypervisor spec_ctrl arch_capabilities "
static VmrX86Model models[] = {
    {"x86-64-v3", "v2 with AVX2, BMI1, BMI2, FMA, F16C, MOVBE, LZCNT", "x86-64-v2",
     "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave xsaveopt", 6, 60, 3, 0x16, 8, {0}},
    {"x86-64-v2", "v1 with SSE3 to SSE4.2, POPCNT, CMPXCHG16B", "x86-64-v1",
     "pni cx16 ssse3 sse4_1 sse4_2 popcnt lahf_lm fsgsbase smep smap", 6, 26, 3, 0x16, 8, {0}},
    {"x86-64-v1", "the baseline of x86-64: SSE2, CMPXCHG8B, NX", "pentium3",
     V1_PLATFORM "sse2 clflush lm nx syscall rdtscp", 6, 15, 1, 0x16, 8, {0}},
    {"pentium3", "the i686 of Linux distributions: PAE, CMOV, SSE", "pentium",
     "pae sep mtrr pge mca cmov pat pse36 mmx fxsr sse", 6, 8, 3, 2, 0, {0}},
    {"pentium", "TSC, MSRs, CMPXCHG8B, a local APIC", "486", "de tsc msr mce cx8 apic", 5, 2, 12, 1, 0,
     {0}},
    {"486", "the first with CPUID: x87, VME, PSE", NULL, "fpu vme pse", 4, 8, 0, 1, 0, {0}},
    {"max", "all that the accelerator has", "x86-64-v2", "", 6, 60, 3, 0x16, 8, {0}},
};

static const VmrX86Feature *feature_find(const char *name)
{
    for (unsigned i = 0; i < vmr_x86_feature_count; i++)
        if (g_str_equal(vmr_x86_features[i].name, name))
            return &vmr_x86_features[i];
    return NULL;
}

static bool has(const uint32_t words[VMR_X86_WORDS], const VmrX86Feature *f)
{
    return words[f->word] >> f->bit & 1;
}

/* Call fn for each feature of a list of names. */
static void each_name(const char *list, void (*fn)(const VmrX86Feature *f, void *data), void *data)
{
    char **names = g_strsplit(list, " ", 0);
    for (unsigned i = 0; names[i]; i++) {
        const VmrX86Feature *f = *names[i] ? feature_find(names[i]) : NULL;
        if (f)
            fn(f, data);
        else if (*names[i])
            g_error("CPU model: no feature %s", names[i]);
    }
    g_strfreev(names);
}

static void set_bit(const VmrX86Feature *f, void *words) { ((uint32_t *)words)[f->word] |= B(f->bit); }

void vmr_x86_interp_words(uint32_t words[VMR_X86_WORDS])
{
    memset(words, 0, VMR_X86_WORDS * sizeof *words);
    for (unsigned i = 0; i < vmr_x86_feature_count; i++)
        if (vmr_x86_features[i].interp)
            set_bit(&vmr_x86_features[i], words);
}

static VmrX86Model *find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if (g_str_equal(models[i].name, name))
            return &models[i];
    return NULL;
}

/* The words of all models, once. */
static const char *setup(void)
{
    static gsize done;
    static const char *preferred;
    if (g_once_init_enter(&done)) {
        uint32_t interp[VMR_X86_WORDS];
        vmr_x86_interp_words(interp);
        for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
            for (const VmrX86Model *m = &models[i]; m; m = m->base ? find(m->base) : NULL)
                each_name(m->features, set_bit, models[i].words);
        /* the same whatever the accelerator: a machine may move between them */
        preferred = "x86-64-v3";
        const VmrX86Model *v3 = find(preferred);
        for (unsigned w = 0; w < VMR_X86_WORDS; w++)
            if (v3->words[w] & ~interp[w])
                preferred = "x86-64-v2";
        g_once_init_leave(&done, 1);
    }
    return preferred;
}

const VmrX86Model *vmr_x86_model_find(const char *name, unsigned accel, GError **error)
{
    const char *preferred = setup();
    if (!name || !*name || g_str_equal(name, "x86-64") || g_str_equal(name, "default"))
        name = preferred;
    const VmrX86Model *m = find(name);
    if (!m)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "unknown CPU model \"%s\"", name);
    return m;
}

const char *const *vmr_x86_model_list(unsigned accel)
{
    static gsize done;
    static const char *lists[2][G_N_ELEMENTS(models) + 3];
    const char *preferred = setup();
    if (g_once_init_enter(&done)) {
        for (unsigned k = 0; k < 2; k++) {
            unsigned n = 0;
            const VmrX86Model *first = find(preferred);
            lists[k][n++] = g_strdup_printf("%s\t%s; the default", first->name, first->doc);
            lists[k][n++] = g_strdup_printf("x86-64\t%s", preferred);
            for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
                if (&models[i] != first)
                    lists[k][n++] = g_strdup_printf("%s\t%s", models[i].name, models[i].doc);
            if (k == 1)
                lists[k][n++] = "host\t" HOST_DOC;
        }
        g_once_init_leave(&done, 1);
    }
    return lists[accel == VMR_X86_INTERP ? 0 : 1];
}

char *vmr_x86_words_names(const uint32_t words[VMR_X86_WORDS])
{
    GString *s = g_string_new(NULL);
    for (unsigned i = 0; i < vmr_x86_feature_count; i++)
        if (has(words, &vmr_x86_features[i]))
            g_string_append_printf(s, "%s%s", s->len ? " " : "", vmr_x86_features[i].name);
    return g_string_free(s, FALSE);
}

static void append_features(GString *s, const uint32_t words[VMR_X86_WORDS])
{
    for (unsigned i = 0; i < vmr_x86_feature_count; i++)
        if (has(words, &vmr_x86_features[i]))
            g_string_append_printf(s, "  %-20s %s\n", vmr_x86_features[i].name, vmr_x86_features[i].doc);
}

char *vmr_x86_model_describe(const char *name, unsigned accel)
{
    if (accel == VMR_X86_KVM && g_str_equal(name, "host"))
        return g_strdup("host - a CPU model: " HOST_DOC "\n\nIts features are those that KVM has here, "
                        "and so differ from host to host.\n");
    const char *preferred = setup();
    const VmrX86Model *m = find(g_str_equal(name, "x86-64") ? preferred : name);
    if (!m)
        return NULL;
    uint32_t words[VMR_X86_WORDS], interp[VMR_X86_WORDS], lacks[VMR_X86_WORDS];
    bool max = g_str_equal(name, "max"), lacking = false;
    vmr_x86_interp_words(interp);
    for (unsigned w = 0; w < VMR_X86_WORDS; w++) {
        words[w] = max ? interp[w] : m->words[w];
        lacks[w] = accel == VMR_X86_INTERP ? words[w] & ~interp[w] : 0;
        lacking |= lacks[w] != 0;
    }
    GString *s = g_string_new(NULL);
    g_string_append_printf(s,
                           "%s - a CPU model: %s\n\nGenuineIntel, family %u, model %u, stepping %u.  "
                           "[machine] cpu = %s,+FEATURE,-FEATURE changes it.\n\nFeatures:\n",
                           m->name, m->doc, m->family, m->model, m->stepping, m->name);
    append_features(s, words);
    if (lacking) {
        g_string_append(s, "\nThe interpreter cannot be this model, for it lacks:\n");
        append_features(s, lacks);
    }
    return g_string_free(s, FALSE);
}

const char *vmr_x86_feature_name(VmrX86Word word, unsigned bit)
{
    for (unsigned i = 0; i < vmr_x86_feature_count; i++)
        if (vmr_x86_features[i].word == word && vmr_x86_features[i].bit == bit)
            return vmr_x86_features[i].name;
    return NULL;
}

/* ---- [machine] cpu ------------------------------------------------------------------------------- */

void vmr_x86_cpuid_init(VmrX86Cpuid *c, const VmrX86Model *model, bool lapic)
{
    c->model = model;
    memcpy(c->words, model->words, sizeof c->words);
    if (!lapic) {
        c->words[VMR_X86_1_EDX] &= ~B(9);
        c->words[VMR_X86_1_ECX] &= ~(B(21) | B(24));
    }
}

static void add_with_needs(const VmrX86Feature *f, void *words)
{
    set_bit(f, words);
    if (f->needs)
        each_name(f->needs, add_with_needs, words);
}

static bool names_one(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == ' '))
            return true;
    return false;
}

static void remove_with_dependants(uint32_t words[VMR_X86_WORDS], const VmrX86Feature *f)
{
    words[f->word] &= ~B(f->bit);
    for (unsigned i = 0; i < vmr_x86_feature_count; i++) {
        const VmrX86Feature *o = &vmr_x86_features[i];
        if (has(words, o) && o->needs && names_one(o->needs, f->name))
            remove_with_dependants(words, o);
    }
}

/* " (did you mean ...?)" or so; free it. */
static char *hint(const char *name)
{
    /* names of the manuals that /proc/cpuinfo has otherwise */
    static const char *const aliases[][2] = {
        {"sse3", "pni"}, {"lzcnt", "abm"}, {"sha", "sha_ni"}, {"pclmul", "pclmulqdq"},
        {"sse4.1", "sse4_1"}, {"sse4.2", "sse4_2"}, {"prefetchw", "3dnowprefetch"}};
    for (unsigned i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (g_str_equal(aliases[i][0], name))
            name = aliases[i][1];
    const char **names = g_new0(const char *, vmr_x86_feature_count + 1);
    for (unsigned i = 0; i < vmr_x86_feature_count; i++)
        names[i] = vmr_x86_features[i].name;
    char *text = vmr_nearest_hint(name, names);
    g_free(names);
    return text;
}

bool vmr_x86_cpuid_change(VmrX86Cpuid *c, const char *changes, const uint32_t have[VMR_X86_WORDS],
                          GError **error)
{
    char **items = g_strsplit(changes ? changes : "", ",", 0);
    bool ok = true;
    for (unsigned i = 0; ok && items[i]; i++) {
        const char *item = g_strstrip(items[i]);
        if (!*item)
            continue;
        const VmrX86Feature *f = feature_find(item + 1);
        if (*item != '+' && *item != '-') {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "CPU feature \"%s\": write +%s or -%s", item, item, item);
            ok = false;
        } else if (!f) {
            char *text = hint(item + 1);
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "unknown CPU feature '%s'%s", item + 1,
                        text);
            g_free(text);
            ok = false;
        } else if (*item == '-') {
            remove_with_dependants(c->words, f);
        } else {
            add_with_needs(f, c->words);
        }
    }
    g_strfreev(items);
    uint32_t lacks[VMR_X86_WORDS];
    bool lacking = false;
    for (unsigned w = 0; w < VMR_X86_WORDS; w++) {
        lacks[w] = c->words[w] & ~have[w];
        lacking |= lacks[w] != 0;
    }
    if (ok && lacking) {
        char *names = vmr_x86_words_names(lacks);
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "CPU model %s: this accelerator lacks %s", c->model->name, names);
        g_free(names);
        ok = false;
    }
    return ok;
}

/* ---- CPUID --------------------------------------------------------------------------------------- */

uint64_t vmr_x86_xcr0_all(const uint32_t words[VMR_X86_WORDS])
{
    if (!(words[VMR_X86_1_ECX] & B(26)))
        return 0;
    return 3 | (words[VMR_X86_1_ECX] & B(28) ? 4 : 0) | (words[VMR_X86_7_ECX] & B(3) ? B(9) : 0);
}

/* Where the standard format has the components that are not in the legacy area. */
static bool component(unsigned n, uint32_t *size, uint32_t *offset)
{
    *size = n == 2 ? 256 : n == 9 ? 8 : 0;
    *offset = n == 2 ? 576 : n == 9 ? 2688 : 0;
    return *size != 0;
}

uint32_t vmr_x86_xsave_size(uint64_t components)
{
    uint32_t total = 576, size, offset;
    for (unsigned n = 2; n < 63; n++)
        if ((components >> n & 1) && component(n, &size, &offset))
            total = MAX(total, offset + size);
    return total;
}

/* The same in the compacted format. */
static uint32_t compacted_size(uint64_t components)
{
    uint32_t total = 576, size, offset;
    for (unsigned n = 2; n < 63; n++)
        if ((components >> n & 1) && component(n, &size, &offset))
            total += size;
    return total;
}

static void topology(const VmrX86Cpuid *c, uint32_t sub, uint32_t out[4])
{
    unsigned n = c->cpu_count, shift = 0;
    while (1u << shift < n)
        shift++;
    out[3] = c->apic_id;
    out[2] = sub;
    if (sub == 0) { /* one thread a core */
        out[0] = 0;
        out[1] = 1;
        out[2] |= 1 << 8;
    } else if (sub == 1) {
        out[0] = shift;
        out[1] = n;
        out[2] |= 2 << 8;
    } else {
        out[0] = out[1] = 0;
    }
}

/*
 * TSC = crystal * ebx / eax, and the APIC timer runs at the crystal's rate, 1 GHz.  Guests
 * multiply kHz by EBX in 32 bits: so the best fraction whose numerator is small enough.
 */
static void tsc_ratio(uint64_t hz, uint32_t *numerator, uint32_t *denominator)
{
    enum { MOST = 4294 };
    uint64_t a = hz, b = 1000000000, p0 = 0, q0 = 1, p1 = 1, q1 = 0;
    while (b) { /* the convergents of its continued fraction */
        uint64_t n = a / b, p2 = n * p1 + p0, q2 = n * q1 + q0, rest = a % b;
        if (p2 > MOST || q2 > MOST)
            break;
        p0 = p1, q0 = q1, p1 = p2, q1 = q2;
        a = b;
        b = rest;
    }
    *numerator = (uint32_t)p1;
    *denominator = (uint32_t)q1;
}

static unsigned physical_bits(const VmrX86Cpuid *c)
{
    return c->words[VMR_X86_81_EDX] & B(29) ? 40 : c->words[VMR_X86_1_EDX] & (B(6) | B(17)) ? 36 : 32;
}

void vmr_x86_cpuid(const VmrX86Cpuid *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const VmrX86Model *m = c->model;
    bool hypervisor = c->words[VMR_X86_1_ECX] & B(31);
    memset(out, 0, 4 * sizeof *out);
    /* as silicon: what is not there answers as the highest basic leaf */
    if ((leaf > m->leaf_max && leaf < 0x40000000) || (leaf > 0x40000000 && leaf < 0x80000000) ||
        (leaf == 0x40000000 && !hypervisor) || (leaf >= 0x80000000 && !m->ext_max))
        leaf = m->leaf_max;
    switch (leaf) {
    case 0:
        out[0] = m->leaf_max;
        memcpy(&out[1], "Genu", 4);
        memcpy(&out[3], "ineI", 4);
        memcpy(&out[2], "ntel", 4);
        break;
    case 1:
        out[0] = m->stepping | (m->model & 15) << 4 | m->family << 8 | (m->model >> 4) << 16;
        if (m->family >= 6)
            out[1] = c->apic_id << 24 | MIN(c->cpu_count, 255u) << 16 |
                     (c->words[VMR_X86_1_EDX] & B(19) ? 8 << 8 : 0);
        out[2] = c->words[VMR_X86_1_ECX] | (c->osxsave ? B(27) : 0);
        out[3] = c->words[VMR_X86_1_EDX] | (c->cpu_count > 1 && m->family >= 6 ? B(28) : 0);
        break;
    case 2: /* caches and TLBs as of a Pentium III; later: see leaf 4 */
        out[0] = m->leaf_max >= 4 ? 0x00ff01 : 0x03020101;
        out[3] = m->leaf_max >= 4 ? 0 : 0x0c040843;
        break;
    case 4: { /* caches: L1d, L1i, L2, as a small core's */
        static const uint32_t sizes[3][3] = {{0x121, 0x01c0003f, 63}, {0x122, 0x01c0003f, 63},
                                             {0x143, 0x03c0003f, 1023}};
        if (sub < 3) {
            out[0] = sizes[sub][0] | (MIN(c->cpu_count, 64u) - 1) << 26;
            out[1] = sizes[sub][1];
            out[2] = sizes[sub][2];
        }
        break;
    }
    case 5:
        if (c->words[VMR_X86_1_ECX] & B(3)) {
            out[0] = out[1] = 64; /* monitored lines */
            out[2] = 3;           /* sub-states are told; interrupts break even if masked */
            out[3] = 0x20;        /* C1: two */
        }
        break;
    case 6:
        out[0] = B(2); /* the APIC timer runs always */
        break;
    case 7:
        if (sub == 0) {
            out[1] = c->words[VMR_X86_7_EBX];
            out[2] = c->words[VMR_X86_7_ECX] | (c->ospke ? B(4) : 0);
            out[3] = c->words[VMR_X86_7_EDX];
        }
        break;
    case 0xb:
        topology(c, sub, out);
        break;
    case 0xd: {
        uint64_t all = vmr_x86_xcr0_all(c->words);
        if (!all)
            break;
        if (sub == 0) {
            out[0] = (uint32_t)all;
            out[1] = vmr_x86_xsave_size(c->xcr0);
            out[2] = vmr_x86_xsave_size(all);
        } else if (sub == 1) {
            out[0] = c->words[VMR_X86_D1_EAX];
            out[1] = out[0] & B(1) ? compacted_size(c->xcr0) : 0;
        } else if (sub < 63 && (all >> sub & 1)) {
            component(sub, &out[0], &out[1]);
        }
        break;
    }
    case 0x15:
        tsc_ratio(c->tsc_hz, &out[1], &out[0]);
        out[2] = 1000000000;
        break;
    case 0x16:
        out[0] = out[1] = (uint32_t)(c->tsc_hz / 1000000);
        out[2] = 100;
        break;
    case 0x40000000:
        out[0] = 0x40000000;
        memcpy(&out[1], "vmrunvmrunvm", 12);
        break;
    case 0x80000000:
        out[0] = 0x80000000 + m->ext_max;
        break;
    case 0x80000001:
        out[2] = c->words[VMR_X86_81_ECX];
        out[3] = c->words[VMR_X86_81_EDX];
        break;
    case 0x80000002: case 0x80000003: case 0x80000004: {
        char brand[48] = {0};
        g_snprintf(brand, sizeof brand, "%s, %s", c->brand, m->name);
        memcpy(out, brand + 16 * (leaf - 0x80000002), 16);
        break;
    }
    case 0x80000006:
        out[2] = 1024 << 16 | 8 << 12 | 64;
        break;
    case 0x80000007:
        out[3] = B(8); /* invariant TSC */
        break;
    case 0x80000008:
        out[0] = (c->words[VMR_X86_7_ECX] & B(16) ? 57 : 48) << 8 | physical_bits(c);
        break;
    }
}

/* ---- state --------------------------------------------------------------------------------------- */

const uint32_t vmr_x86_state_msrs[] = {
    0x174, 0x175, 0x176, 0x277, 0x1a0, 0x2ff, 0x48, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
    0xc0000102, 0xc0000103, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
    0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d,
    0x20e, 0x20f, 0x3b,
};
const unsigned vmr_x86_state_msr_count = G_N_ELEMENTS(vmr_x86_state_msrs);
_Static_assert(G_N_ELEMENTS(vmr_x86_state_msrs) <= G_N_ELEMENTS(((VmrX86State *)0)->msr),
               "room for all MSRs");
