/*
 * CPU models and CPUID, for both accelerators.
 *
 * Leaves out: leaf 2 (cache descriptors), performance counters, thermal and power leaves.
 */
#include "model.h"

#include <string.h>
#include <vmrun/x86.h>

#define B(n) (1u << (n))

enum {
    /* CPUID.1:EDX */
    E1_V1 = B(0) | B(2) | B(3) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(11) | B(12) | B(13) | B(14) |
            B(15) | B(16) | B(19) | B(23) | B(24) | B(25) | B(26),
    E1_APIC = B(9),
    /* CPUID.1:ECX */
    C1_PLATFORM = B(21) | B(24), /* x2APIC, TSC deadline */
    C1_V2 = B(0) | B(9) | B(13) | B(19) | B(20) | B(23), /* SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT */
    C1_V3 = C1_V2 | B(12) | B(22) | B(26) | B(28) | B(29), /* FMA MOVBE XSAVE AVX F16C */
    /* CPUID.80000001H */
    E81_V1 = B(11) | B(20) | B(27) | B(29), /* SYSCALL NX RDTSCP LM */
    C81_LAHF = B(0),
    C81_LZCNT = B(5),
    /* CPUID.7:EBX: FSGSBASE SMEP SMAP */
    B7_PROT = B(0) | B(7) | B(20),
    B7_V3 = B7_PROT | B(3) | B(5) | B(8), /* BMI1 AVX2 BMI2 */
};
#define C1_HYPERVISOR B(31)

#define INTERP_MAX "all that the interpreter has"
#define KVM_MAX "all that KVM has of what can be named"

static const VmrX86Model models[] = {
    {"x86-64-v2", "v1 with SSE3 to SSE4.2, POPCNT, CMPXCHG16B; the default, also as x86-64",
     VMR_X86_INTERP | VMR_X86_KVM, 6, 26, 3,
     {C1_V2, E1_V1, B7_PROT, 0, 0, C81_LAHF, E81_V1}},
    {"x86-64-v1", "the baseline of x86-64: SSE2, CMPXCHG8B, NX", VMR_X86_INTERP | VMR_X86_KVM, 6, 15, 1,
     {0, E1_V1, 0, 0, 0, C81_LAHF, E81_V1}},
    {"x86-64-v3", "v2 with AVX2, BMI1, BMI2, FMA, F16C, MOVBE, LZCNT", VMR_X86_KVM, 6, 60, 3,
     {C1_V3, E1_V1, B7_V3, 0, 0, C81_LAHF | C81_LZCNT, E81_V1}},
    {"max", INTERP_MAX, VMR_X86_INTERP, 6, 60, 3,
     {C1_V2 | B(1) | B(22) | B(25) | B(30), E1_V1, B7_PROT | B(18) | B(19) | B(29), B(2), 0,
      C81_LAHF | C81_LZCNT, E81_V1}},
};

const VmrX86Model *vmr_x86_model_find(const char *name, unsigned accel, GError **error)
{
    if (!name || !*name || g_str_equal(name, "x86-64") || g_str_equal(name, "default"))
        name = "x86-64-v2";
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if ((models[i].accels & accel) && g_str_equal(models[i].name, name))
            return &models[i];
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "unknown CPU model \"%s\"", name);
    return NULL;
}

const char *const *vmr_x86_model_list(unsigned accel)
{
#define ALIAS "x86-64\tx86-64-v2"
    static const char *const interp[] = {
        "x86-64-v2\tv1 with SSE3 to SSE4.2, POPCNT, CMPXCHG16B; the default",
        ALIAS,
        "x86-64-v1\tthe baseline of x86-64: SSE2, CMPXCHG8B, NX",
        "max\t" INTERP_MAX, NULL};
    static const char *const kvm[] = {
        "x86-64-v2\tv1 with SSE3 to SSE4.2, POPCNT, CMPXCHG16B; the default",
        ALIAS,
        "x86-64-v1\tthe baseline of x86-64: SSE2, CMPXCHG8B, NX",
        "x86-64-v3\tv2 with AVX2, BMI1, BMI2, FMA, F16C, MOVBE, LZCNT",
        "max\tall that KVM has, on a CPU of the same make as the models",
        "host\tthe host's CPU as KVM offers it; not to be moved elsewhere", NULL};
    return accel == VMR_X86_INTERP ? interp : kvm;
}

void vmr_x86_cpuid_init(VmrX86Cpuid *c, const VmrX86Model *model, bool lapic)
{
    c->model = model;
    memcpy(c->words, model->words, sizeof c->words);
    c->words[VMR_X86_1_ECX] |= C1_HYPERVISOR | (lapic ? C1_PLATFORM : 0);
    /* IBRS and ARCH_CAPABILITIES, which says what needs no mitigation */
    c->words[VMR_X86_7_EDX] |= B(26) | B(29);
    if (!lapic)
        c->words[VMR_X86_1_EDX] &= ~(uint32_t)E1_APIC;
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

void vmr_x86_cpuid(const VmrX86Cpuid *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const VmrX86Model *m = c->model;
    memset(out, 0, 4 * sizeof *out);
    if (leaf > VMR_X86_LEAF_MAX && leaf < 0x40000000)
        leaf = VMR_X86_LEAF_MAX; /* as silicon: the highest basic leaf */
    if (leaf > 0x40000000 && leaf < 0x80000000)
        leaf = VMR_X86_LEAF_MAX;
    switch (leaf) {
    case 0:
        out[0] = VMR_X86_LEAF_MAX;
        memcpy(&out[1], "Genu", 4);
        memcpy(&out[3], "ineI", 4);
        memcpy(&out[2], "ntel", 4);
        break;
    case 1:
        out[0] = m->stepping | (m->model & 15) << 4 | m->family << 8 | (m->model >> 4) << 16;
        out[1] = c->apic_id << 24 | MIN(c->cpu_count, 255u) << 16 | 8 << 8;
        out[2] = c->words[VMR_X86_1_ECX] | (c->osxsave ? B(27) : 0);
        out[3] = c->words[VMR_X86_1_EDX] | (c->cpu_count > 1 ? B(28) : 0);
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
    case 7:
        if (sub == 0) {
            out[1] = c->words[VMR_X86_7_EBX];
            out[2] = c->words[VMR_X86_7_ECX];
            out[3] = c->words[VMR_X86_7_EDX];
        }
        break;
    case 0xb:
        topology(c, sub, out);
        break;
    case 0xd:
        if (!(c->words[VMR_X86_1_ECX] & B(26)))
            break;
        if (sub == 0) {
            out[0] = 3;
            out[1] = out[2] = 576;
        }
        break;
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
        out[0] = 0x80000000 + VMR_X86_LEAF_EXT_MAX;
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
        out[0] = 48 << 8 | 40;
        break;
    }
}

/* ---- names ----------------------------------------------------------------------------------- */

static const char *const feature_names[VMR_X86_WORDS][32] = {
    [VMR_X86_1_ECX] = {[0] = "pni", [1] = "pclmulqdq", [9] = "ssse3", [12] = "fma", [13] = "cx16",
                       [17] = "pcid", [19] = "sse4_1", [20] = "sse4_2", [21] = "x2apic",
                       [22] = "movbe", [23] = "popcnt", [24] = "tsc_deadline_timer", [25] = "aes",
                       [26] = "xsave", [28] = "avx", [29] = "f16c", [30] = "rdrand"},
    [VMR_X86_1_EDX] = {[0] = "fpu", [2] = "de", [3] = "pse", [4] = "tsc", [5] = "msr", [6] = "pae",
                       [7] = "mce", [8] = "cx8", [9] = "apic", [11] = "sep", [12] = "mtrr", [13] = "pge", [14] = "mca",
                       [15] = "cmov", [16] = "pat", [19] = "clflush", [23] = "mmx", [24] = "fxsr",
                       [25] = "sse", [26] = "sse2"},
    [VMR_X86_7_EBX] = {[0] = "fsgsbase", [3] = "bmi1", [5] = "avx2", [7] = "smep", [8] = "bmi2",
                       [9] = "erms", [10] = "invpcid", [18] = "rdseed", [19] = "adx", [20] = "smap",
                       [29] = "sha_ni"},
    [VMR_X86_7_ECX] = {[2] = "umip"},
    [VMR_X86_7_EDX] = {[26] = "spec_ctrl", [29] = "arch_capabilities"},
    [VMR_X86_81_ECX] = {[0] = "lahf_lm", [5] = "abm"},
    [VMR_X86_81_EDX] = {[11] = "syscall", [20] = "nx", [26] = "pdpe1gb", [27] = "rdtscp", [29] = "lm"},
};

const char *vmr_x86_feature_name(VmrX86Word word, unsigned bit)
{
    return word < VMR_X86_WORDS && bit < 32 ? feature_names[word][bit] : NULL;
}

/* ---- state ----------------------------------------------------------------------------------- */

const uint32_t vmr_x86_state_msrs[] = {
    0x174, 0x175, 0x176, 0x277, 0x1a0, 0x2ff, 0x48, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
    0xc0000102, 0xc0000103, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
    0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d,
    0x20e, 0x20f,
};
const unsigned vmr_x86_state_msr_count = G_N_ELEMENTS(vmr_x86_state_msrs);
_Static_assert(G_N_ELEMENTS(vmr_x86_state_msrs) <= G_N_ELEMENTS(((VmrX86State *)0)->msr),
               "room for all MSRs");
