/*
 * Modes of the processor and the ways between them; unreal mode; address line 20.
 */
#include "lib.h"

/* ---- the same sum in each mode: operand and address sizes, stack ---- */

#define SUM_BODY "mov $0x1234, %ax\n push %ax\n add $0x1111, %ax\n pop %bx\n"
SNIPPET(sum16, 16,
        SUM_BODY
        "movl $0x12345678, %ecx\n addr32 leal 0x11111111(%ecx), %edx\n mov $-1, %esi\n inc %si");
SNIPPET(sum32, 32,
        SUM_BODY "movl $0x12345678, %ecx\n leal 0x11111111(%ecx), %edx\n mov $-1, %esi\n inc %si");
SNIPPET(sum64, 64,
        SUM_BODY "movl $0x12345678, %ecx\n leal 0x11111111(%rcx), %edx\n mov $-1, %esi\n inc %si");

static void sums(void)
{
    for (unsigned k = 0; k < VM_KINDS; k++) {
        vm_setup(k);
        u64 sp = vm.r[RSP], ss = vm.ss;
        if (k == VM_REAL || k == VM_PROT16 || k == VM_V86)
            vm_load(sum16, sum16_end);
        else if (k == VM_LONG || k == VM_LONG_R3)
            vm_load(sum64, sum64_end);
        else
            vm_load(sum32, sum32_end);
        vm_go();
        const char *m = vm_names[k];
        check(vm.vector, VEC_DONE, "%s: vector (error %lx, RIP %lx)", m, vm.error, vm.rip);
        check(vm.r[RAX], 0x2345, "%s: AX", m);
        check(vm.r[RBX], 0x1234, "%s: BX", m);
        check(vm.r[RDX], 0x23456789, "%s: EDX", m);
        check(vm.r[RSI], 0xffff0000, "%s: ESI", m);
        check(vm.r[RSP], sp, "%s: SP", m);
        check(vm.ss, ss, "%s: SS", m);
    }
}

/* ---- 16-bit code in a protected mode with a 16-bit stack; wrap of SP ---- */

SNIPPET(stack_wrap, 16, "mov $2, %sp\n pushw $0x1111\n pushw $0x2222\n movzwl %sp, %eax\n"
                        "movw %ss:0, %bx\n movw %ss:0xfffe, %cx\n mov $0xfff0, %sp");

static void wraps(void)
{
    for (unsigned i = 0; i < 2; i++) {
        vm_run(i ? VM_V86 : VM_REAL, stack_wrap);
        check(vm.vector, VEC_DONE, "stack wrap: vector");
        check(vm.r[RAX], 0xfffe, "stack wrap: SP");
        check(vm.r[RBX] & 0xffff, 0x1111, "stack wrap: first");
        check(vm.r[RCX] & 0xffff, 0x2222, "stack wrap: second");
    }
}

/* ---- real to protected to unreal ---- */

/* 0x1000:0x8000 has a GDT; data selector 8 is flat with 4 GiB. */
SNIPPET(unreal, 16,
        "cli\n lgdtl %cs:0x8000\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n jmp 1f\n"
        "1: mov $8, %bx\n mov %bx, %ds\n mov %bx, %es\n and $0xfe, %al\n mov %eax, %cr0\n jmp 1f\n"
        "1: xor %bx, %bx\n mov %bx, %ds\n"
        /* above 64 KiB through a segment register loaded in real mode, limit still 4 GiB */
        "mov $0x400000, %esi\n movl $0xcafe1234, (%esi)\n movl (%esi), %edx\n"
        "mov $0x1000, %bx\n mov %bx, %ds\n movl 0x3f0000(%esi), %ecx\n smsw %bp");

static void unreal_mode(void)
{
    vm_setup(VM_REAL);
    vm_load(unreal, unreal_end);
    volatile u16 *p = (volatile u16 *)(SNIPPET_AT + 0x8000);
    p[0] = 15;
    *(volatile u32 *)(p + 1) = SNIPPET_AT + 0x8010;
    *(volatile u64 *)(SNIPPET_AT + 0x8018) = descriptor(0, 0xfffff, 0x93, 8);
    *(volatile u32 *)0x400000 = 0;
    *(volatile u32 *)0x800000 = 0x600d600d;
    vm_go();
    check(vm.vector, VEC_DONE, "unreal: vector");
    check(vm.r[RDX], 0xcafe1234, "unreal: read above 1 MiB");
    check(*(volatile u32 *)0x400000, 0xcafe1234, "unreal: written above 1 MiB");
    check(vm.r[RCX], 0x600d600d, "unreal: base 0x10000 + 0x7f0000");
    check(vm.r[RBP] & 1, 0, "unreal: CR0.PE in the machine status word");
}

/* A limit violation in true real mode is vector 13 (or 12 for the stack). */
SNIPPET(real_limit, 16, "mov $0x10000, %esi\n addr32 movb (%esi), %al");
SNIPPET(real_word, 16, "mov $0xffff, %si\n movw (%si), %ax");
SNIPPET(real_stack, 16, "mov $0xffff, %bp\n movw (%bp), %ax");

static void real_limits(void)
{
    for (unsigned i = 0; i < 2; i++) {
        VmKind k = i ? VM_V86 : VM_REAL;
        vm_run(k, real_limit);
        check_not_tcg(vm.vector, GP, "%s: byte at 0x10000", vm_names[k]);
        vm_run(k, real_word);
        check_not_tcg(vm.vector, GP, "%s: word at 0xffff", vm_names[k]);
        vm_run(k, real_stack);
        check_not_tcg(vm.vector, SS, "%s: word at SS:0xffff", vm_names[k]);
    }
}

/* ---- software interrupts, flags ---- */

SNIPPET(real_int, 16, "mov $0, %ax\n mov %ax, %ds\n stc\n pushf\n popw %cx\n int $0x42");
SNIPPET(real_flags, 16,
        "pushw $0x7ed7\n popf\n pushf\n popw %ax\n pushw $2\n popf\n"
        "movl $0xfffe7ed7, %ecx\n andl $0x44000, %ecx\n orl $2, %ecx\n pushl %ecx\n popfl\n"
        "pushfl\n popl %ebx\n pushw $2\n popf");

static void interrupts(void)
{
    vm_run(VM_REAL, real_int);
    check(vm.vector, 0x42, "real: INT 42");
    check(vm.r[RCX] & 0xffff, 3, "real: PUSHF");
    check(vm.rip, (u64)(real_int_end - real_int - 2), "real: IP after INT");
    vm_run(VM_REAL, real_flags);
    check(vm.vector, VEC_DONE, "real: flags: vector");
    check(vm.r[RAX] & ~0x100ull, 0x7ed7, "real: POPF, PUSHF");
    check(vm.r[RBX] & 0xffffff, 0x44002, "real: POPFL, PUSHFL");
}

/* ---- virtual-8086: IOPL 0 makes CLI, PUSHF, INT, IN faults ---- */

SNIPPET(v86_cli, 16, "cli");
SNIPPET(v86_pushf, 16, "pushf");
SNIPPET(v86_popf, 16, "popf");
SNIPPET(v86_int, 16, "int $0x42");
SNIPPET(v86_int3, 16, "int3");
SNIPPET(v86_hlt, 16, "hlt");
SNIPPET(v86_cr0, 16, "mov %cr0, %eax");
SNIPPET(v86_lar, 16, "lar %ax, %bx");
SNIPPET(v86_smsw, 16, "smsw %ax");
SNIPPET(v86_in, 16, "inb $0x80, %al");
SNIPPET(v86_seg, 16,
        "mov $0x1000, %ax\n mov %ax, %ds\n movb 0, %bl\n mov $0xffff, %ax\n mov %ax, %es\n"
        "ljmp $0x1001, $1f - v86_seg - 16\n1: movw %cs, %dx");

static void v86(void)
{
    static const struct {
        const u8 *code, *end;
        const char *name;
        u32 vector[2], error; /* at IOPL 0 and 3 */
    } t[] = {
        {v86_cli, v86_cli_end, "CLI", {GP, VEC_DONE}, 0},
        {v86_pushf, v86_pushf_end, "PUSHF", {GP, VEC_DONE}, 0},
        {v86_popf, v86_popf_end, "POPF", {GP, VEC_DONE}, 0},
        {v86_int, v86_int_end, "INT", {GP, 0x42}, 0},
        {v86_int3, v86_int3_end, "INT3", {BP, BP}, 0},
        {v86_hlt, v86_hlt_end, "HLT", {GP, GP}, 0},
        {v86_cr0, v86_cr0_end, "MOV CR0", {GP, GP}, 0},
        {v86_lar, v86_lar_end, "LAR", {UD, UD}, 0},
        {v86_smsw, v86_smsw_end, "SMSW", {GP, VEC_DONE}, 0},
        {v86_in, v86_in_end, "IN", {GP, GP}, 0},
        {v86_seg, v86_seg_end, "segments", {GP, VEC_DONE}, 0},
    };
    for (unsigned i = 0; i < COUNT(t); i++) {
        for (unsigned iopl = 0; iopl < 2; iopl++) {
            vm_setup(VM_V86);
            if (!iopl)
                vm.rflags &= ~(u64)IOPL3;
            *(volatile u16 *)(REAL_STACK * 16 + 0xfff0) = 2;
            vm_load(t[i].code, t[i].end);
            vm_go();
            const char *n = t[i].name;
            check(vm.vector, t[i].vector[iopl], "v86: %s at IOPL %u", n, iopl * 3);
            check(vm.error & 0xffff, 0, "v86: %s at IOPL %u: error code", n, iopl * 3);
            check(vm.rflags & VM, VM, "v86: %s: VM in the flags pushed", n);
            check(vm.cs, t[i].code == v86_seg ? 0x1001 : 0x1000, "v86: %s: CS", n);
            if (vm.vector == VEC_DONE && t[i].code == v86_seg) {
                check(vm.r[RBX] & 0xff, v86_seg[0], "v86: read through DS");
                check(vm.es, 0xffff, "v86: ES in the frame");
                check(vm.ds, 0x1000, "v86: DS in the frame");
                check(vm.r[RDX] & 0xffff, 0x1001, "v86: CS after the far jump");
            }
        }
    }
}

/* ---- registers through mode switches ---- */

SNIPPET(high_clear, 32, "mov $1, %eax\n xor %edx, %edx\n dec %edx");
SNIPPET(to_long, 32,
        "mov %cr0, %eax\n and $0x7fffffff, %eax\n mov %eax, %cr0\n" /* paging was on */
        "mov $0xc0000080, %ecx\n rdmsr\n mov %eax, %esi\n"
        "mov $0x12345678, %ebx\n");

static void transitions(void)
{
    /* From compatibility mode, turning paging off leaves long mode: EFER.LMA goes, LME stays.
       (The return path of vm.S copes: it loads all of CR0, CR3, CR4 and EFER.) */
    vm_setup(VM_PROT32);
    vm_load(to_long, to_long_end);
    vm_go();
    check(vm.vector, VEC_DONE, "32-bit: EFER: vector");
    check(vm.r[RSI] & EFER_LMA, 0, "32-bit: EFER.LMA");
    for (unsigned i = 0; i < 50; i++) {
        vm_run(VM_PROT32, high_clear);
        vm_run(VM_REAL, sum16);
        vm_run(VM_LONG, sum64);
        check(vm.r[RDX], 0x23456789, "round %u", i);
    }
    check(rdmsr(MSR_EFER) & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA, "EFER after all");
}

/* Inconsistent requests are #GP. */
static void set_cr0(void *v) { write_cr0((u64)v); }
static void set_cr4(void *v) { write_cr4((u64)v); }
static void set_efer(void *v) { wrmsr(MSR_EFER, (u64)v); }

static void refused(void)
{
    u64 cr0 = read_cr0(), cr4 = read_cr4(), efer = rdmsr(MSR_EFER);
    const struct {
        void (*fn)(void *);
        u64 v;
        const char *name;
    } t[] = {
        {set_cr0, cr0 & ~(u64)CR0_PE, "CR0: PG without PE"},
        {set_cr0, (cr0 & ~0x40000000ull) | 0x20000000, "CR0: NW without CD"},
        {set_cr0, cr0 | 1ull << 32, "CR0: upper half"},
        {set_cr0, cr0 & ~(u64)CR0_PG, "CR0: PG cleared in 64-bit code"},
        {set_cr4, cr4 & ~(u64)CR4_PAE, "CR4: PAE cleared in long mode"},
        {set_cr4, cr4 | 1ull << 31, "CR4: reserved bit"},
        {set_efer, efer & ~(u64)EFER_LME, "EFER: LME cleared while paging"},
        {set_efer, efer | 1ull << 20, "EFER: reserved bit"},
    };
    for (unsigned i = 0; i < COUNT(t); i++) {
        Caught c;
        if (on_tcg)
            break; /* it clears reserved bits and takes the rest */
        guarded(t[i].fn, (void *)t[i].v, &c);
        check(c.vector, GP, "%s", t[i].name);
        check(c.error, 0, "%s: error code", t[i].name);
    }
    check(read_cr0(), cr0, "CR0 unchanged");
    check(read_cr4(), cr4, "CR4 unchanged");
    check(rdmsr(MSR_EFER), efer, "EFER unchanged");
}

/* ---- address line 20 ---- */

/* The keyboard controller and port 92 drive the line together: off needs both.
   Reaches 0x150000 in unreal mode, by the GDT of the runtime (0x10 is flat data). */
SNIPPET(a20_code, 16,
        "cli\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n jmp 1f\n"
        "1: mov $0x10, %bx\n mov %bx, %ds\n and $0xfe, %al\n mov %eax, %cr0\n jmp 1f\n"
        "1: xor %bx, %bx\n mov %bx, %ds\n mov $0x150000, %esi\n"
        "mov $0xdd, %al\n outb %al, $0x64\n inb $0x92, %al\n and $0xfc, %al\n outb %al, $0x92\n"
        "addr32 movl (%esi), %ebx\n addr32 movl $0x30303030, (%esi)\n"
        "inb $0x92, %al\n and $0xfe, %al\n or $2, %al\n outb %al, $0x92\n"
        "mov $0xdf, %al\n outb %al, $0x64\n"
        "addr32 movl (%esi), %edx");

static void a20(void)
{
    u8 was = inb(0x92);
    if (was == 0xff) {
        print("no port 92: address line 20 not tested\n");
        return;
    }
    volatile u32 *low = (volatile u32 *)0x50000, *high = (volatile u32 *)0x150000;
    u32 saved = *high;
    *low = 0x10101010;
    *high = 0x20202020;
    check(*low, 0x10101010, "A20 on: low");
    /* The image is at 1 MiB: code and stack have to lie at addresses with bit 20 clear
       while the line is off.  So a snippet in low memory does it, in real mode. */
    vm_setup(VM_REAL);
    vm_load(a20_code, a20_code_end);
    vm_go();
    check(vm.vector, VEC_DONE, "A20: vector");
    check(vm.r[RBX], 0x10101010, "A20 off: 0x150000 is 0x50000");
    check(vm.r[RDX], 0x20202020, "A20 on again: 0x150000");
    check(*low, 0x30303030, "A20 off: written through the alias");
    check(*high, 0x20202020, "A20 off: not written above");
    *high = saved;
    outb(0x92, was);
}
void guest_main(void)
{
    sums();
    wraps();
    unreal_mode();
    real_limits();
    interrupts();
    v86();
    transitions();
    refused();
    a20();
    finish();
}
