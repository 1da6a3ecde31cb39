/*
 * Ways into the kernel and back: SYSCALL and SYSRET, SYSENTER and SYSEXIT, INT 80, SWAPGS.
 */
#include "lib.h"

enum { STAR = 0xc0000081, LSTAR, CSTAR, FMASK, FS_BASE = 0xc0000100, GS_BASE, KERNEL_GS };

/* Where SYSCALL goes: at SNIPPET_AT + 0x400.  Kernel and user code share the snippet's page. */
SNIPPET(call_64, 64,
        "mov $0x1234, %ebx\n pushf\n orl $0x0cd5, (%rsp)\n popf\n syscall\n"
        "1: mov %rcx, %r8\n pushf\n pop %r9\n mov %cs, %r12d\n mov %ss, %r13d\n int $0xf0\n"
        ".org call_64 + 0x400\n"
        "mov %rcx, %r14\n mov %r11, %r15\n pushf\n pop %r10\n mov %cs, %esi\n mov %ss, %edi\n "
        "sysretq\n");
SNIPPET(sysret_32, 64,
        "mov $0x10400, %ecx\n mov $0x202, %r11d\n sysretl\n .org sysret_32 + 0x400\n"
        "mov %cs, %esi\n mov %ss, %edi\n .byte 0x40\n"); /* INC EAX there: 32-bit code */
SNIPPET(sysret_bad, 64, "mov $0x800000000000, %rcx\n mov $0x2, %r11d\n sysretq");
SNIPPET(compat_syscall, 32, "syscall");
SNIPPET(enter_64, 64, "mov $0x77, %ebp\n sysenter");
SNIPPET(enter_kernel, 64,
        "mov %rsp, %r14\n mov %cs, %esi\n mov %ss, %edi\n pushf\n pop %r10\n int $0xf0");
SNIPPET(exit_64, 64, "mov $0x10100, %edx\n mov $0x2fff0, %ecx\n sysexitq\n .org exit_64 + 0x100\n"
                     "mov %cs, %esi\n mov %ss, %edi\n push %rsi\n");
SNIPPET(exit_32, 64, "mov $0x10100, %edx\n mov $0x2fff0, %ecx\n sysexitl\n .org exit_32 + 0x100\n"
                     "mov %cs, %esi\n mov %ss, %edi\n .byte 0x40\n");
SNIPPET(enter_32, 32, "mov $0x77, %ebp\n sysenter");
SNIPPET(exit_prot, 32,
        "mov $0x10100, %edx\n mov $0x2fff0, %ecx\n sysexit\n .org exit_prot + 0x100\n"
        "mov %cs, %esi\n mov %ss, %edi\n push %esi");
SNIPPET(nothing, 64, "nop");
SNIPPET(nothing32, 32, "nop");

static void syscalls(void)
{
    u64 efer = rdmsr(MSR_EFER);
    vm_run(VM_LONG, nothing);
    SNIPPET(plain, 64, "syscall");
    vm_run(VM_LONG_R3, plain);
    check(vm.vector, UD, "SYSCALL with SCE clear");
    wrmsr(MSR_EFER, efer | EFER_SCE);
    wrmsr(STAR, (u64)(SEL_UCODE32 | 3) << 48 | (u64)SEL_CODE64 << 32);
    wrmsr(LSTAR, SNIPPET_AT + 0x400);
    wrmsr(CSTAR, SNIPPET_AT + 0x500);
    wrmsr(FMASK, IF | DF | AC | CF | ZF);
    vm_run(VM_LONG_R3, call_64);
    u64 sent = ARITH | DF | 2; /* 0xcd5 and bit 1 */
    check(vm.vector, VEC_DONE, "SYSCALL: vector (RIP %lx, error %lx)", vm.rip, vm.error);
    u64 back = SNIPPET_AT + 5 + 1 + 7 + 1 + 2;
    check(vm.r[14], back, "SYSCALL: RCX is the address behind");
    check(vm.r[15], sent, "SYSCALL: R11 is the flags");
    check_not_tcg(vm.r[10], sent & ~(u64)(IF | DF | AC | CF | ZF), "SYSCALL: flags are masked");
    check(vm.r[RSI], SEL_CODE64, "SYSCALL: CS");
    check(vm.r[RDI], SEL_DATA, "SYSCALL: SS");
    check(vm.r[9], sent, "SYSRET: flags from R11");
    check(vm.r[12], SEL_UCODE64, "SYSRET: CS");
    check(vm.r[13], SEL_UDATA, "SYSRET: SS");
    check(vm.r[RSP], USER_STACK, "SYSCALL leaves RSP alone");
    check(vm.cs, SEL_UCODE64, "SYSRET: ring 3");

    vm_setup(VM_LONG);
    vm.cr3 = (u64)pml4_user;
    vm_load(sysret_32, sysret_32_end);
    vm.r[RAX] = 5;
    vm_go();
    check(vm.vector, VEC_DONE, "SYSRET to 32 bits: vector (RIP %lx, error %lx)", vm.rip, vm.error);
    check(vm.r[RSI], SEL_UCODE32, "SYSRET to 32 bits: CS");
    check(vm.r[RAX], 6, "SYSRET to 32 bits: 32-bit code");
    check(vm.rflags & IF, IF, "SYSRET to 32 bits: IF");
    if (is_intel()) {
        vm_setup(VM_LONG);
        vm.cr3 = (u64)pml4_user;
        vm_load(sysret_bad, sysret_bad_end);
        vm_go();
        check_not_tcg(vm.vector, GP, "SYSRET to a non-canonical address: vector");
        check_not_tcg(vm.cs, SEL_CODE64, "SYSRET to a non-canonical address: in ring 0");
    }
    /* From compatibility mode: #UD with Intel, through CSTAR with AMD */
    vm_setup(VM_COMPAT32_R3);
    memset((void *)(SNIPPET_AT + 0x500), 0x90, 16);
    *(volatile u16 *)(SNIPPET_AT + 0x510) = VEC_DONE << 8 | 0xcd;
    vm_load(compat_syscall, compat_syscall_end);
    vm_go();
    if (is_intel())
        check_not_tcg(vm.vector, UD, "SYSCALL in compatibility mode, Intel");
    else
        check(vm.rip, SNIPPET_AT + 0x512, "SYSCALL in compatibility mode goes to CSTAR");
    vm_run(VM_LONG_R3, sysret_bad);
    check(vm.vector, GP, "SYSRET in ring 3");
    wrmsr(MSR_EFER, efer);
}

static void sysenter(void)
{
    memcpy((void *)(SNIPPET_AT + 0x800), enter_kernel, (u64)(enter_kernel_end - enter_kernel));
    wrmsr(0x174, 0);
    bool amd = !is_intel(); /* there it is #UD in long mode */
    vm_run(VM_LONG_R3, enter_64);
    check(vm.vector, amd ? UD : GP, "SYSENTER with CS 0");
    if (!amd) {
        wrmsr(0x174, SEL_SYSENTER);
        wrmsr(0x175, 0x2e000);
        wrmsr(0x176, SNIPPET_AT + 0x800);
        vm_setup(VM_LONG_R3);
        vm.rflags |= IF;
        vm_load(enter_64, enter_64_end);
        vm_go();
        check(vm.vector, VEC_DONE, "SYSENTER: vector (RIP %lx)", vm.rip);
        check(vm.r[14], 0x2e000, "SYSENTER: RSP");
        check(vm.r[RSI], SEL_SYSENTER, "SYSENTER: CS");
        check(vm.r[RDI], SEL_SYSENTER + 8, "SYSENTER: SS");
        check(vm.r[10] & (IF | VM), 0, "SYSENTER: IF");
        check(vm.r[RBP], 0x77, "SYSENTER: RBP");
        for (unsigned wide = 0; wide < 2; wide++) {
            vm_setup(VM_LONG);
            vm.cr3 = (u64)pml4_user;
            vm.r[RAX] = 5;
            vm_load(wide ? exit_64 : exit_32, wide ? exit_64_end : exit_32_end);
            vm_go();
            check(vm.vector, VEC_DONE, "SYSEXIT %u: vector (RIP %lx, error %lx)", wide, vm.rip,
                  vm.error);
            check(vm.r[RSI], (wide ? SEL_SYSENTER + 32 : SEL_SYSENTER + 16) | 3u, "SYSEXIT %u: CS",
                  wide);
            check(vm.r[RDI], (wide ? SEL_SYSENTER + 40 : SEL_SYSENTER + 24) | 3u, "SYSEXIT %u: SS",
                  wide);
            check(vm.r[RSP], wide ? 0x2ffe8 : 0x2fff0, "SYSEXIT %u: RSP", wide);
            check(vm.r[RAX], wide ? 5 : 6, "SYSEXIT %u: width of the code", wide);
        }
        vm_run(VM_LONG_R3, exit_64);
        check(vm.vector, GP, "SYSEXIT in ring 3");
    }
    /* 32-bit protected mode */
    SNIPPET(kernel32, 32, "mov %esp, %ebx\n mov %cs, %esi\n mov %ss, %edi");
    memcpy((void *)(SNIPPET_AT + 0x800), kernel32, (u64)(kernel32_end - kernel32));
    wrmsr(0x174, SEL_CODE32);
    wrmsr(0x175, 0x2e000);
    wrmsr(0x176, SNIPPET_AT + 0x800);

    vm_run(VM_PROT32_R3, enter_32);
    check(vm.vector, VEC_DONE, "32-bit SYSENTER: vector");
    check(vm.r[RBX], 0x2e000, "32-bit SYSENTER: ESP");
    check(vm.r[RSI], SEL_CODE32, "32-bit SYSENTER: CS");
    check(vm.r[RDI], SEL_CODE32 + 8, "32-bit SYSENTER: SS");
    wrmsr(0x174, SEL_SYSENTER);
    vm_run(VM_PROT32, exit_prot);
    check(vm.vector, VEC_DONE, "32-bit SYSEXIT: vector (EIP %lx)", vm.rip);
    check(vm.r[RSI], SEL_SYSENTER + 16 + 3, "32-bit SYSEXIT: CS");
    check(vm.r[RDI], SEL_SYSENTER + 24 + 3, "32-bit SYSEXIT: SS");
    check(vm.r[RSP], 0x2ffec, "32-bit SYSEXIT: ESP");
    wrmsr(0x174, 0);
}

SNIPPET(int80, 64, "mov $42, %eax\n stc\n int $0x80");
SNIPPET(iret_user, 64,
        "push $0x3b\n push $0x2f000\n push $0x246\n push $0x43\n push $0x10100\n iretq\n"
        ".org iret_user + 0x100\n mov %cs, %esi\n pushf\n pop %rdi\n");

static void others(void)
{
    vm_run(VM_LONG_R3, int80);
    check(vm.vector, 0x80, "INT 80 of ring 3");
    check(vm.rip, SNIPPET_AT + 8, "INT 80: RIP behind it");
    check(vm.cs, SEL_UCODE64, "INT 80: CS");
    check(vm.ss, SEL_UDATA, "INT 80: SS");
    check(vm.rflags & (CF | IF), CF, "INT 80: flags");
    check(vm.r[RSP], USER_STACK, "INT 80: RSP");
    vm_run(VM_COMPAT32_R3, nothing32);
    check(vm.vector, VEC_DONE, "compatibility mode, ring 3");
    check(vm.cs, SEL_UCODE32, "compatibility mode, ring 3: CS");
    static u64 one[2] = {0x1111, 0x1112}, two[2] = {0x2222, 0x2223};
    /* vm_enter() loads null selectors, which may clear the bases: set them within. */
    SNIPPET(set_bases, 64,
            "mov %r8, %rax\n mov %r8, %rdx\n shr $32, %rdx\n mov $0xc0000101, %ecx\n wrmsr\n"
            "mov %r9, %rax\n mov %r9, %rdx\n shr $32, %rdx\n mov $0xc0000102, %ecx\n wrmsr\n"
            "mov $0xc0000100, %ecx\n wrmsr\n"
            "swapgs\n mov %gs:0, %rax\n swapgs\n mov %gs:0, %rbx\n mov %fs:8, %rdx\n");
    vm_setup(VM_LONG);
    vm.r[8] = (u64)one;
    vm.r[9] = (u64)two;
    vm_load(set_bases, set_bases_end);
    vm_go();
    check(vm.vector, VEC_DONE, "SWAPGS: vector");
    check(vm.r[RAX], 0x2222, "SWAPGS: kernel's base");
    check(vm.r[RBX], 0x1111, "SWAPGS: and back");
    check(vm.r[RDX], 0x2223, "FS base");
    vm_setup(VM_LONG);
    vm.cr3 = (u64)pml4_user;
    vm_load(iret_user, iret_user_end);
    vm_go();
    check(vm.vector, VEC_DONE, "IRET to ring 3: vector (error %lx)", vm.error);
    check(vm.r[RSI], SEL_UCODE64, "IRET to ring 3: CS");
    check(vm.r[RDI], 0x246, "IRET to ring 3: flags");
    check(vm.r[RSP], 0x2f000, "IRET to ring 3: RSP");
}

void guest_main(void)
{
    syscalls();
    if (HAS(cpuid_1_edx, 11))
        sysenter();
    others();
    finish();
}
