/*
 * The C side of vm.S: states from which snippets of other modes start.
 */
#include "lib.h"

void vm_enter(void); /* vm.S */

const char *const vm_names[VM_KINDS] = {
    "real",   "16-bit",        "32-bit", "32-bit ring 3", "v86",
    "compat", "compat ring 3", "64-bit", "64-bit ring 3",
};

void vm_setup(VmKind kind)
{
    bool r3 = kind == VM_PROT32_R3 || kind == VM_COMPAT32_R3 || kind == VM_LONG_R3;
    vm = (struct vm){.rflags = 2, .rip = SNIPPET_AT, .cr0 = CR0_PE | CR0_ET | CR0_NE,
                     .mode = MODE_PROT};
    vm.ss = vm.ds = vm.es = vm.fs = vm.gs = r3 ? SEL_UDATA : SEL_DATA;
    vm.r[RSP] = USER_STACK;
    switch (kind) {
    case VM_REAL:
    case VM_V86:
        vm.mode = kind == VM_REAL ? MODE_REAL : MODE_PROT;
        vm.cs = SNIPPET_AT >> 4;
        vm.rip = 0;
        vm.ds = vm.es = vm.fs = vm.gs = 0;
        vm.ss = REAL_STACK;
        vm.r[RSP] = 0xfff0;
        if (kind == VM_V86)
            vm.rflags |= VM | IOPL3;
        break;
    case VM_PROT16:
        SLOT(SEL_TEST + 72) = descriptor(SNIPPET_AT, 0xffff, 0x9b, 0);
        vm.cs = SEL_TEST + 72;
        vm.rip = 0;
        break;
    case VM_PROT32:
    case VM_PROT32_R3:
        vm.cs = r3 ? SEL_UCODE32 : SEL_CODE32;
        break;
    default:
        vm.mode = MODE_LONG;
        vm.cr0 |= CR0_PG;
        vm.cr4 = CR4_PAE;
        vm.cr3 = r3 ? (u64)pml4_user : (u64)pml4_host;
        vm.efer = rdmsr(MSR_EFER);
        if (kind == VM_COMPAT32 || kind == VM_COMPAT32_R3)
            vm.cs = r3 ? SEL_UCODE32 : SEL_CODE32;
        else
            vm.cs = r3 ? SEL_UCODE64 : SEL_CODE64;
    }
}

void vm_load(const void *code, const void *end)
{
    memcpy((void *)SNIPPET_AT, code, (size_t)((const u8 *)end - (const u8 *)code));
}

void vm_go(void)
{
    SLOT(SEL_TSSDF) = SLOT(SEL_TSSDF) & ~(2ull << 40);
    tss_df.cr3 = (u32)vm.cr3;
    asm volatile("" : : : "memory");
    vm_enter();
    asm volatile("" : : : "memory");
    u64 *s[] = {&vm.cs, &vm.ss, &vm.ds, &vm.es, &vm.fs, &vm.gs};
    for (unsigned i = 0; i < COUNT(s); i++)
        *s[i] &= 0xffff;
    if (vm.mode != MODE_LONG)
        for (unsigned i = 0; i < 16; i++)
            vm.r[i] = (u32)vm.r[i];
    if (vm.mode == MODE_REAL)
        vm.rip &= 0xffff;
}

bool vm_done(void) { return vm.vector == VEC_DONE; }
