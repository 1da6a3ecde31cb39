/*
 * CPU models, CPUID and model-specific registers: SDM volume 2, CPUID; volume 4.
 *
 * What CPUID shows is what the decoder accepts: both read the feature words of
 * X86Cpu, which a model sets.
 */
#include "cpu.h"

typedef struct X86Model {
    const char *name, *doc;
    unsigned family, model, stepping;
    uint32_t edx1, ecx1, ebx7, ecx7, edx7, ecx81, edx81;
} X86Model;

#define B(n) (1u << (n))

enum {
    /* CPUID.1:EDX */
    E1_486 = B(0),
    E1_V1 = B(0) | B(2) | B(3) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(11) | B(12) | B(13) | B(14) | B(15) |
            B(16) | B(19) | B(23) | B(24) | B(25) | B(26),
    /* CPUID.1:ECX */
    C1_HYPERVISOR = (int)B(31),
    C1_PLATFORM = B(21) | B(24), /* x2APIC, TSC deadline */
    C1_V2 = B(0) | B(9) | B(13) | B(19) | B(20) | B(23), /* SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT */
    /* CPUID.80000001H */
    E81_V1 = B(11) | B(20) | B(27) | B(29), /* SYSCALL NX RDTSCP LM */
    C81_LAHF = B(0),
    C81_LZCNT = B(5),
    /* CPUID.7:EBX: FSGSBASE SMEP SMAP */
    B7_PROT = B(0) | B(7) | B(20),
};

static const X86Model models[] = {
    {"x86-64-v1", "the baseline of x86-64: SSE2, CMPXCHG8B, NX", 6, 15, 1, E1_V1, 0, 0, 0, 0, C81_LAHF,
     E81_V1},
    {"x86-64-v2", "v1 with SSE3 to SSE4.2, POPCNT, CMPXCHG16B", 6, 26, 3, E1_V1, C1_V2, B7_PROT, 0, 0,
     C81_LAHF, E81_V1},
    {"max", "all that the interpreter has", 6, 60, 3, E1_V1, C1_V2 | (int)(B(1) | B(22) | B(25) | B(30)),
     B7_PROT | B(18) | B(19) | B(29), B(2), 0, C81_LAHF | C81_LZCNT, E81_V1},
};

bool x86_model_apply(X86Cpu *c, const char *name, GError **error)
{
    if (!name || !*name || g_str_equal(name, "x86-64") || g_str_equal(name, "default"))
        name = "x86-64-v2";
    const X86Model *m = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++)
        if (g_str_equal(models[i].name, name))
            m = &models[i];
    if (!m) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "unknown CPU model \"%s\"", name);
        return false;
    }
    c->model = m;
    c->cpuid_1_edx = m->edx1;
    c->cpuid_1_ecx = m->ecx1 | (uint32_t)C1_HYPERVISOR | (c->lapic_ops ? C1_PLATFORM : 0);
    c->cpuid_7_ebx = m->ebx7;
    c->cpuid_7_ecx = m->ecx7;
    /* IBRS and ARCH_CAPABILITIES, which says that nothing needs a mitigation */
    c->cpuid_7_edx = m->edx7 | B(26) | B(29);
    c->cpuid_81_ecx = m->ecx81;
    c->cpuid_81_edx = m->edx81;
    if (!c->lapic_ops)
        c->cpuid_1_edx &= ~B(9);
    return true;
}

const char *const *x86_model_list(void)
{
    static const char *const list[] = {
        /* the first is the default */
        "x86-64-v2\tv1 with SSE3 to SSE4.2, POPCNT, CMPXCHG16B; the default, also as x86-64",
        "x86-64-v1\tthe baseline of x86-64: SSE2, CMPXCHG8B, NX",
        "max\tall that the interpreter has", NULL};
    return list;
}

bool x86_has(const X86Cpu *c, unsigned feature)
{
    switch (feature) {
    case X86_FEAT_MMX: return c->cpuid_1_edx & B(23);
    case X86_FEAT_SSE: return c->cpuid_1_edx & B(25);
    case X86_FEAT_SSE2: return c->cpuid_1_edx & B(26);
    case X86_FEAT_SSE3: return c->cpuid_1_ecx & B(0);
    case X86_FEAT_SSSE3: return c->cpuid_1_ecx & B(9);
    case X86_FEAT_SSE41: return c->cpuid_1_ecx & B(19);
    case X86_FEAT_SSE42: return c->cpuid_1_ecx & B(20);
    case X86_FEAT_PCLMUL: return c->cpuid_1_ecx & B(1);
    case X86_FEAT_AES: return c->cpuid_1_ecx & B(25);
    case X86_FEAT_SHA: return c->cpuid_7_ebx & B(29);
    default: return false;
    }
}

static unsigned apic_id(const X86Cpu *c) { return c->ic.index; }

static void topology(X86Cpu *c, uint32_t sub, uint32_t out[4])
{
    unsigned n = c->ic.vm->cpu_count, shift = 0;
    while (1u << shift < n)
        shift++;
    out[3] = apic_id(c);
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

void x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const X86Model *m = c->model;
    memset(out, 0, 4 * sizeof *out);
    if (leaf > 0x16 && leaf < 0x40000000)
        leaf = 0x16; /* as silicon: the highest basic leaf */
    if (leaf > 0x40000000 && leaf < 0x80000000)
        leaf = 0x16;
    switch (leaf) {
    case 0:
        out[0] = 0x16;
        memcpy(&out[1], "Genu", 4);
        memcpy(&out[3], "ineI", 4);
        memcpy(&out[2], "ntel", 4);
        break;
    case 1:
        out[0] = m->stepping | (m->model & 15) << 4 | m->family << 8 | (m->model >> 4) << 16;
        out[1] = apic_id(c) << 24 | MIN(c->ic.vm->cpu_count, 255u) << 16 | 8 << 8;
        out[2] = c->cpuid_1_ecx | (c->cr4 & CR4_OSXSAVE ? B(27) : 0);
        out[3] = c->cpuid_1_edx | (c->ic.vm->cpu_count > 1 ? B(28) : 0);
        break;
    case 4: { /* caches: L1d, L1i, L2, as a small core's */
        static const uint32_t sizes[3][3] = {{0x121, 0x01c0003f, 63}, {0x122, 0x01c0003f, 63},
                                             {0x143, 0x03c0003f, 1023}};
        if (sub < 3) {
            out[0] = sizes[sub][0] | (MIN(c->ic.vm->cpu_count, 64u) - 1) << 26;
            out[1] = sizes[sub][1];
            out[2] = sizes[sub][2];
        }
        break;
    }
    case 7:
        if (sub == 0) {
            out[1] = c->cpuid_7_ebx;
            out[2] = c->cpuid_7_ecx;
            out[3] = c->cpuid_7_edx;
        }
        break;
    case 0xb:
        topology(c, sub, out);
        break;
    case 0xd:
        if (!(c->cpuid_1_ecx & B(26)))
            break;
        if (sub == 0) {
            out[0] = 3;
            out[1] = out[2] = 576;
        }
        break;
    case 0x15: /* TSC = crystal * ebx / eax; the APIC timer runs at the crystal's rate */
        out[0] = 1;
        out[1] = 1;
        out[2] = X86_TSC_HZ;
        break;
    case 0x16:
        out[0] = out[1] = X86_TSC_HZ / 1000000;
        out[2] = 100;
        break;
    case 0x40000000:
        out[0] = 0x40000000;
        memcpy(&out[1], "vmrunvmrunvm", 12);
        break;
    case 0x80000000:
        out[0] = 0x80000008;
        break;
    case 0x80000001:
        out[2] = c->cpuid_81_ecx;
        out[3] = c->cpuid_81_edx;
        break;
    case 0x80000002: case 0x80000003: case 0x80000004: {
        char brand[48] = {0};
        g_snprintf(brand, sizeof brand, "vmrun interpreter, %s", m->name);
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

/* ---- MSRs ---------------------------------------------------------------------------------------- */

enum {
    MSR_TSC = 0x10, MSR_APIC_BASE = 0x1b, MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48, MSR_PRED_CMD = 0x49, MSR_BIOS_SIGN = 0x8b, MSR_MTRRCAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
    MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_MISC_ENABLE = 0x1a0,
    MSR_MTRR_VAR = 0x200, MSR_MTRR_VAR_LAST = 0x20f, MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258, MSR_MTRR_FIX4K = 0x268, MSR_MTRR_FIX4K_LAST = 0x26f, MSR_PAT = 0x277,
    MSR_MTRR_DEF = 0x2ff, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800, MSR_X2APIC_LAST = 0x8ff,
};

static int fixed_mtrr(uint32_t msr)
{
    if (msr == MSR_MTRR_FIX64K)
        return 0;
    if (msr == MSR_MTRR_FIX16K || msr == MSR_MTRR_FIX16K + 1)
        return 1 + (int)(msr - MSR_MTRR_FIX16K);
    if (msr >= MSR_MTRR_FIX4K && msr <= MSR_MTRR_FIX4K_LAST)
        return 3 + (int)(msr - MSR_MTRR_FIX4K);
    return -1;
}

static bool lapic_msr(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
           (msr >= MSR_X2APIC && msr <= MSR_X2APIC_LAST);
}

static bool canonical(uint64_t v) { return (int64_t)v >> 47 == 0 || (int64_t)v >> 47 == -1; }

bool x86_msr_read(X86Cpu *c, uint32_t msr, uint64_t *v)
{
    *v = 0;
    if (lapic_msr(msr)) {
        if (!c->lapic_ops)
            return false;
        vmr_domain_lock(c->intc->handle->domain);
        bool ok = c->lapic_ops->read_msr(c->intc, c->ic.index, msr, v);
        vmr_domain_unlock(c->intc->handle->domain);
        return ok;
    }
    int fixed = fixed_mtrr(msr);
    if (fixed >= 0) {
        *v = c->mtrr_fixed[fixed];
        return true;
    }
    if (msr >= MSR_MTRR_VAR && msr <= MSR_MTRR_VAR_LAST) {
        *v = c->mtrr_var[msr - MSR_MTRR_VAR];
        return true;
    }
    switch (msr) {
    case MSR_TSC: *v = x86_tsc(c); return true;
    case MSR_FEATURE_CONTROL: *v = 1; return true; /* locked, nothing enabled */
    case MSR_SPEC_CTRL: *v = c->spec_ctrl; return true;
    case MSR_BIOS_SIGN: *v = 1ull << 32; return true;
    case MSR_MTRRCAP: *v = 8 | 1 << 8 | 1 << 10; return true;
    /* RDCL_NO IBRS_ALL RSBA- SKIP_L1DFL SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO
       FBSDP_NO PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO */
    case MSR_ARCH_CAPABILITIES:
        *v = B(0) | B(1) | B(3) | B(4) | B(5) | B(6) | B(8) | B(13) | B(14) | B(15) | B(20) | B(24) |
             B(26) | B(27);
        return true;
    case MSR_SYSENTER_CS: *v = c->sysenter_cs; return true;
    case MSR_SYSENTER_ESP: *v = c->sysenter_esp; return true;
    case MSR_SYSENTER_EIP: *v = c->sysenter_eip; return true;
    case MSR_MCG_CAP: return true; /* no banks */
    case MSR_MCG_STATUS: *v = c->mcg_status; return true;
    case MSR_MISC_ENABLE: *v = c->misc_enable; return true;
    case MSR_PAT: *v = c->pat; return true;
    case MSR_MTRR_DEF: *v = c->mtrr_def_type; return true;
    case 0xc0000080: *v = c->efer; return true;
    case 0xc0000081: *v = c->star; return true;
    case 0xc0000082: *v = c->lstar; return true;
    case 0xc0000083: *v = c->cstar; return true;
    case 0xc0000084: *v = c->sfmask; return true;
    case 0xc0000100: *v = c->r[REG_BASE_FS]; return true;
    case 0xc0000101: *v = c->r[REG_BASE_GS]; return true;
    case 0xc0000102: *v = c->kernel_gs_base; return true;
    case 0xc0000103: *v = c->tsc_aux; return true;
    }
    return false;
}

bool x86_msr_write(X86Cpu *c, uint32_t msr, uint64_t v)
{
    if (lapic_msr(msr)) {
        if (!c->lapic_ops)
            return false;
        vmr_domain_lock(c->intc->handle->domain);
        bool ok = c->lapic_ops->write_msr(c->intc, c->ic.index, msr, v);
        vmr_domain_unlock(c->intc->handle->domain);
        return ok;
    }
    int fixed = fixed_mtrr(msr);
    if (fixed >= 0) {
        c->mtrr_fixed[fixed] = v;
        return true;
    }
    if (msr >= MSR_MTRR_VAR && msr <= MSR_MTRR_VAR_LAST) {
        c->mtrr_var[msr - MSR_MTRR_VAR] = v;
        return true;
    }
    switch (msr) {
    case MSR_TSC: c->tsc_offset += (int64_t)(v - x86_tsc(c)); return true;
    case MSR_SPEC_CTRL:
        if (v & ~7ull)
            return false;
        c->spec_ctrl = v;
        return true;
    case MSR_PRED_CMD: return !(v & ~1ull);
    case MSR_BIOS_SIGN: return true;
    case MSR_SYSENTER_CS: c->sysenter_cs = v; return true;
    case MSR_SYSENTER_ESP: c->sysenter_esp = v; return canonical(v);
    case MSR_SYSENTER_EIP: c->sysenter_eip = v; return canonical(v);
    case MSR_MCG_STATUS: c->mcg_status = v; return true;
    case MSR_MISC_ENABLE: c->misc_enable = v; return true;
    case MSR_PAT:
        for (unsigned i = 0; i < 8; i++) {
            unsigned t = v >> (8 * i) & 0xff;
            if (t > 7 || t == 2 || t == 3)
                return false;
        }
        c->pat = v;
        return true;
    case MSR_MTRR_DEF: c->mtrr_def_type = v & 0xcff; return true;
    case 0xc0000080: {
        uint64_t known = 0;
        if (c->cpuid_81_edx & B(11))
            known |= EFER_SCE;
        if (c->cpuid_81_edx & B(20))
            known |= EFER_NXE;
        if (c->cpuid_81_edx & B(29))
            known |= EFER_LME;
        if (v & ~(known | EFER_LMA))
            return false;
        if ((v ^ c->efer) & EFER_LME && (c->cr0 & CR0_PG))
            return false;
        if ((v ^ c->efer) & EFER_NXE)
            interp_tlb_flush(&c->ic);
        c->efer = (v & known) | (c->efer & EFER_LMA);
        return true;
    }
    case 0xc0000081: c->star = v; return true;
    case 0xc0000082:
        if (!canonical(v))
            return false;
        c->lstar = v;
        return true;
    case 0xc0000083:
        if (!canonical(v))
            return false;
        c->cstar = v;
        return true;
    case 0xc0000084: c->sfmask = (uint32_t)v; return true;
    case 0xc0000100:
        if (!canonical(v))
            return false;
        c->r[REG_BASE_FS] = v;
        return true;
    case 0xc0000101:
        if (!canonical(v))
            return false;
        c->r[REG_BASE_GS] = v;
        return true;
    case 0xc0000102:
        if (!canonical(v))
            return false;
        c->kernel_gs_base = v;
        return true;
    case 0xc0000103: c->tsc_aux = (uint32_t)v; return true;
    }
    return false;
}
