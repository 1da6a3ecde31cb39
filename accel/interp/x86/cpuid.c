/*
 * The CPU model (accel/x86/model.h) and model-specific registers: SDM volume 4.
 *
 * What CPUID shows is what the decoder accepts and what behaves: all read the same words.
 */
#include "cpu.h"
#include "core/config.h"
#include "core/runtime.h"

#define B(n) (1u << (n))

bool x86_model_apply(X86Cpu *c, const char *spec, GError **error)
{
    const char *comma = spec ? strchr(spec, ',') : NULL;
    char *name = comma ? g_strndup(spec, (gsize)(comma - spec)) : g_strdup(spec);
    uint32_t have[VMR_X86_WORDS], *words = c->cpuid.words;
    const VmrX86Model *m = vmr_x86_model_find(name, VMR_X86_INTERP, error);
    g_free(name);
    if (!m)
        return false;
    vmr_x86_interp_words(have);
    vmr_x86_cpuid_init(&c->cpuid, m, true);
    if (g_str_equal(m->name, "max"))
        memcpy(words, have, sizeof have);
    /* who waits by MWAIT spins where another CPU may be the one to wake it */
    if (g_str_equal(m->name, "max") && c->ic.vm->cpu_count > 1)
        words[VMR_X86_1_ECX] &= ~B(3);
    if (!vmr_x86_cpuid_change(&c->cpuid, comma, have, error))
        return false;
    if (!c->lapic_ops) { /* the platform has none */
        words[VMR_X86_1_EDX] &= ~B(9);
        words[VMR_X86_1_ECX] &= ~(B(21) | B(24));
    }
    c->cpuid.brand = "vmrun interpreter";
    c->cpuid.apic_id = c->ic.index;
    c->cpuid.cpu_count = c->ic.vm->cpu_count;
    const char *text = vmr_machine_value_text(c->ic.vm->machine, "machine", "tsc-frequency");
    guint64 tsc_hz = 0;
    if (text && !vmr_parse_number(text, &tsc_hz))
        tsc_hz = 0; /* the table in core/options.c has checked it */
    c->cpuid.tsc_hz = tsc_hz ? MAX(tsc_hz, X86_TSC_HZ_MIN) : X86_TSC_HZ;
    c->cpuid_1_edx = words[VMR_X86_1_EDX];
    c->cpuid_1_ecx = words[VMR_X86_1_ECX];
    c->cpuid_7_ebx = words[VMR_X86_7_EBX];
    c->cpuid_7_ecx = words[VMR_X86_7_ECX];
    c->cpuid_7_edx = words[VMR_X86_7_EDX];
    c->cpuid_81_ecx = words[VMR_X86_81_ECX];
    c->cpuid_81_edx = words[VMR_X86_81_EDX];
    c->cpuid_d1_eax = words[VMR_X86_D1_EAX];
    return true;
}

const char *const *x86_model_list(void) { return vmr_x86_model_list(VMR_X86_INTERP); }

char *x86_model_describe(const char *name) { return vmr_x86_model_describe(name, VMR_X86_INTERP); }

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
    case X86_FEAT_GFNI: return c->cpuid_7_ecx & B(8);
    default: return false;
    }
}

void x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    c->cpuid.osxsave = c->cr4 & CR4_OSXSAVE;
    c->cpuid.ospke = c->cr4 & CR4_PKE;
    c->cpuid.xcr0 = c->xcr0;
    vmr_x86_cpuid(&c->cpuid, leaf, sub, out);
}

/* ---- MSRs ---------------------------------------------------------------------------------------- */

enum {
    MSR_P5_MC_ADDR = 0, MSR_P5_MC_TYPE = 1, MSR_TSC = 0x10, MSR_PLATFORM_ID = 0x17, MSR_APIC_BASE = 0x1b,
    MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48, MSR_PRED_CMD = 0x49, MSR_BIOS_SIGN = 0x8b, MSR_MTRRCAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
    MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_MISC_ENABLE = 0x1a0, MSR_POWER_CTL = 0x1fc,
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

/* Does the model have this MSR at all? */
static bool model_has(const X86Cpu *c, uint32_t msr)
{
    if (msr >= MSR_X2APIC && msr <= MSR_X2APIC_LAST)
        return X86_FEATURE(c, 1_ECX, 21);
    if (fixed_mtrr(msr) >= 0 || (msr >= MSR_MTRR_VAR && msr <= MSR_MTRR_VAR_LAST))
        return X86_FEATURE(c, 1_EDX, 12);
    bool lm = X86_FEATURE(c, 81_EDX, 29), family6 = c->cpuid.model->family >= 6;
    switch (msr) {
    case MSR_P5_MC_ADDR: case MSR_P5_MC_TYPE: return X86_FEATURE(c, 1_EDX, 7);
    case MSR_TSC: return X86_FEATURE(c, 1_EDX, 4);
    case MSR_APIC_BASE: return X86_FEATURE(c, 1_EDX, 9) && family6;
    case MSR_TSC_DEADLINE: return X86_FEATURE(c, 1_ECX, 24);
    case MSR_TSC_ADJUST: return X86_FEATURE(c, 7_EBX, 1);
    case MSR_SPEC_CTRL: case MSR_PRED_CMD: return X86_FEATURE(c, 7_EDX, 26);
    case MSR_ARCH_CAPABILITIES: return X86_FEATURE(c, 7_EDX, 29);
    case MSR_MTRRCAP: case MSR_MTRR_DEF: return X86_FEATURE(c, 1_EDX, 12);
    case MSR_SYSENTER_CS: case MSR_SYSENTER_ESP: case MSR_SYSENTER_EIP: return X86_FEATURE(c, 1_EDX, 11);
    case MSR_MCG_CAP: case MSR_MCG_STATUS: return X86_FEATURE(c, 1_EDX, 14);
    case MSR_PAT: return X86_FEATURE(c, 1_EDX, 16);
    case MSR_FEATURE_CONTROL: return lm;
    case MSR_PLATFORM_ID: case MSR_BIOS_SIGN: case MSR_MISC_ENABLE: return family6;
    case MSR_POWER_CTL: return X86_FEATURE(c, 1_ECX, 3); /* who has MWAIT, has C1E */
    case 0xc0000080: return lm || X86_FEATURE(c, 81_EDX, 20) || X86_FEATURE(c, 81_EDX, 11);
    case 0xc0000081: case 0xc0000082: case 0xc0000083: case 0xc0000084: return X86_FEATURE(c, 81_EDX, 11);
    case 0xc0000100: case 0xc0000101: case 0xc0000102: return lm;
    case 0xc0000103: return X86_FEATURE(c, 81_EDX, 27) || X86_FEATURE(c, 7_ECX, 22);
    }
    return true;
}

static bool canonical(const X86Cpu *c, uint64_t v) { return x86_canonical_base(c, v); }

/* What the types of memory may be: UC, WC, WT, WP, WB. */
static bool memory_type(uint64_t t) { return t < 7 && t != 2 && t != 3; }

bool x86_msr_read(X86Cpu *c, uint32_t msr, uint64_t *v)
{
    *v = 0;
    if (!model_has(c, msr))
        return false;
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
    case MSR_P5_MC_ADDR: case MSR_P5_MC_TYPE: return true;
    case MSR_TSC: *v = x86_tsc(c); return true;
    case MSR_TSC_ADJUST: *v = c->tsc_adjust; return true;
    case 0x9e: *v = c->smbase; return c->smm; /* IA32_SMBASE */
    case MSR_FEATURE_CONTROL: *v = 1; return true; /* locked, nothing enabled */
    case MSR_SPEC_CTRL: *v = c->spec_ctrl; return true;
    case MSR_BIOS_SIGN: *v = 1ull << 32; return true;
    case MSR_PLATFORM_ID: return true;
    case MSR_POWER_CTL: return true; /* C1E is off */
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
    if (!model_has(c, msr))
        return false;
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
        for (unsigned i = 0; i < 8; i++)
            if (!memory_type(v >> (8 * i) & 0xff))
                return false;
        c->mtrr_fixed[fixed] = v;
        return true;
    }
    if (msr >= MSR_MTRR_VAR && msr <= MSR_MTRR_VAR_LAST) {
        bool mask = msr & 1;
        uint64_t reserved = ~((1ull << x86_phys_bits(c)) - 1) | (mask ? 0x7ff : 0xf00);
        if ((v & reserved) || (!mask && !memory_type(v & 0xff)))
            return false;
        c->mtrr_var[msr - MSR_MTRR_VAR] = v;
        return true;
    }
    switch (msr) {
    case MSR_P5_MC_ADDR: case MSR_P5_MC_TYPE: return true;
    case MSR_TSC: {
        uint64_t by = v - x86_tsc(c);
        c->tsc_offset += (int64_t)by;
        c->tsc_adjust += by;
        return true;
    }
    case MSR_TSC_ADJUST:
        c->tsc_offset += (int64_t)(v - c->tsc_adjust);
        c->tsc_adjust = v;
        return true;
    case MSR_SPEC_CTRL:
        if (v & ~7ull)
            return false;
        c->spec_ctrl = v;
        return true;
    case MSR_PRED_CMD: return !(v & ~1ull);
    case MSR_BIOS_SIGN: return true;
    case MSR_POWER_CTL: return true; /* and stays off */
    case MSR_SYSENTER_CS: c->sysenter_cs = (uint32_t)v; return true;
    case MSR_SYSENTER_ESP: case MSR_SYSENTER_EIP:
        if (!canonical(c, v))
            return false;
        *(msr == MSR_SYSENTER_ESP ? &c->sysenter_esp : &c->sysenter_eip) = v;
        return true;
    case MSR_MCG_STATUS:
        if (v)
            return false; /* software may only clear it */
        c->mcg_status = v;
        return true;
    case MSR_MISC_ENABLE: c->misc_enable = v; return true;
    case MSR_PAT:
        for (unsigned i = 0; i < 8; i++) {
            unsigned t = v >> (8 * i) & 0xff;
            if (t > 7 || t == 2 || t == 3)
                return false;
        }
        c->pat = v;
        return true;
    case MSR_MTRR_DEF:
        if ((v & ~0xcffull) || !memory_type(v & 0xff))
            return false;
        c->mtrr_def_type = v;
        return true;
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
        if (!canonical(c, v))
            return false;
        c->lstar = v;
        return true;
    case 0xc0000083:
        if (!canonical(c, v))
            return false;
        c->cstar = v;
        return true;
    case 0xc0000084:
        if (v >> 32)
            return false;
        c->sfmask = v;
        return true;
    case 0xc0000100:
        if (!canonical(c, v))
            return false;
        c->r[REG_BASE_FS] = v;
        return true;
    case 0xc0000101:
        if (!canonical(c, v))
            return false;
        c->r[REG_BASE_GS] = v;
        return true;
    case 0xc0000102:
        if (!canonical(c, v))
            return false;
        c->kernel_gs_base = v;
        return true;
    case 0xc0000103:
        if (v >> 32)
            return false;
        c->tsc_aux = v;
        return true;
    }
    return false;
}
