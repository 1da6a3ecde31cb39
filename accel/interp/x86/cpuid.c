/*
 * The CPU model (accel/x86/model.h) and model-specific registers: SDM volume 4.
 *
 * What CPUID shows is what the decoder accepts: it reads the same feature words.
 */
#include "cpu.h"

#define B(n) (1u << (n))

bool x86_model_apply(X86Cpu *c, const char *name, GError **error)
{
    const VmrX86Model *m = vmr_x86_model_find(name, VMR_X86_INTERP, error);
    if (!m)
        return false;
    vmr_x86_cpuid_init(&c->cpuid, m, c->lapic_ops != NULL);
    c->cpuid.brand = "vmrun interpreter";
    c->cpuid.apic_id = c->ic.index;
    c->cpuid.cpu_count = c->ic.vm->cpu_count;
    c->cpuid.tsc_hz = X86_TSC_HZ;
    c->cpuid_1_edx = c->cpuid.words[VMR_X86_1_EDX];
    c->cpuid_1_ecx = c->cpuid.words[VMR_X86_1_ECX];
    c->cpuid_7_ebx = c->cpuid.words[VMR_X86_7_EBX];
    c->cpuid_7_ecx = c->cpuid.words[VMR_X86_7_ECX];
    c->cpuid_7_edx = c->cpuid.words[VMR_X86_7_EDX];
    c->cpuid_81_ecx = c->cpuid.words[VMR_X86_81_ECX];
    c->cpuid_81_edx = c->cpuid.words[VMR_X86_81_EDX];
    return true;
}

const char *const *x86_model_list(void)
{
    return vmr_x86_model_list(VMR_X86_INTERP);
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

void x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    c->cpuid.osxsave = c->cr4 & CR4_OSXSAVE;
    vmr_x86_cpuid(&c->cpuid, leaf, sub, out);
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
