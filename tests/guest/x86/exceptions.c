/*
 * Exceptions: each with its vector, error code, address, and the state that it leaves: a fault
 * in the middle of an instruction has changed nothing.
 */
#include "lib.h"

#define HOLE 0x4000000000 /* nothing is mapped there */

/* X(name, bits, set-up, the instruction, vector, error code, CR2); ends by itself if it can. */
#define LONG_CASES(X)                                                                              \
    X(idiv_0, 64, "xor %ecx, %ecx\n mov $7, %eax\n cltd", "idiv %ecx", DE, 0, 0)                   \
    X(div_big, 64, "mov $1, %edx\n mov $1, %ecx\n xor %eax, %eax", "div %rcx", DE, 0, 0)           \
    X(idiv_min, 64, "mov $0x80000000, %eax\n cltd\n mov $-1, %ecx", "idiv %ecx", DE, 0, 0)         \
    X(div8, 64, "mov $0x1000, %eax\n mov $2, %cl", "div %cl", DE, 0, 0)                            \
    X(int3_, 64, "", "int3", BP, 0, 0)                                                             \
    X(int_3, 64, "", "int $3", BP, 0, 0)                                                           \
    X(int_42, 64, "", "int $0x42", 0x42, 0, 0)                                                     \
    X(icebp, 64, "", ".byte 0xf1", DB, 0, 0)                                                       \
    X(ud2_, 64, "", "ud2", UD, 0, 0)                                                               \
    X(lock_mov, 64, "", ".byte 0xf0, 0x89, 0xc0", UD, 0, 0)                                        \
    X(lock_add_reg, 64, "", ".byte 0xf0, 0x01, 0xc0", UD, 0, 0)                                    \
    X(lock_cmp_mem, 64, "mov $0x30000, %ebx", ".byte 0xf0, 0x39, 0x03", UD, 0, 0)                  \
    X(push_cs, 64, "", ".byte 0x0e", UD, 0, 0)                                                     \
    X(aaa_, 64, "", ".byte 0x37", UD, 0, 0)                                                        \
    X(into_, 64, "", ".byte 0xce", UD, 0, 0)                                                       \
    X(pusha_, 64, "", ".byte 0x60", UD, 0, 0)                                                      \
    X(ljmp_ptr, 64, "", ".byte 0xea, 0, 0, 0, 0, 0, 0", UD, 0, 0)                                  \
    X(lea_reg, 64, "", ".byte 0x8d, 0xc0", UD, 0, 0)                                               \
    X(mov_cs, 64, "mov $0x10, %eax", ".byte 0x8e, 0xc8", UD, 0, 0)                                 \
    X(mov_cr1, 64, "", ".byte 0x0f, 0x20, 0xc8", UD, 0, 0)                                         \
    X(gp_read, 64, "mov $0x8000000000000000, %rbx", "mov (%rbx), %eax", GP, 0, 0)                  \
    X(gp_write, 64, "mov $0x800000000000, %rbx", "mov %eax, (%rbx)", GP, 0, 0)                     \
    X(gp_low_top, 64, "mov $0xffff7fffffffffff, %rbx", "mov %al, (%rbx)", GP, 0, 0)                \
    X(ss_rbp, 64, "mov $0x8000000000000000, %rbp", "mov (%rbp), %eax", SS, 0, 0)                   \
    X(ss_push, 64, "mov $0x800000001000, %rsp", "push %rax", SS, 0, 0)                             \
    X(gp_ds_hole, 64, "mov $0x1238, %eax", "mov %eax, %ds", GP, 0x1238, 0)                         \
    X(gp_es_code, 64, "mov $0xfff8, %eax", "mov %eax, %es", GP, 0xfff8, 0)                         \
    X(gp_ss_rpl, 64, "mov $0x3b, %eax", "mov %eax, %ss", GP, 0x38, 0)                              \
    X(gp_ss_code, 64, "mov $0x18, %eax", "mov %eax, %ss", GP, 0x18, 0)                             \
    X(gp_ds_tss, 64, "mov $0x90, %eax", "mov %eax, %ds", GP, 0x90, 0)                              \
    X(gp_ldt_null, 64, "xor %eax, %eax\n lldt %ax\n mov $0x0c, %eax", "mov %eax, %ds", GP, 0xc, 0) \
    X(gp_lcall, 64, "sub $16, %rsp\n movl $0x10, 4(%rsp)\n movl $0x1000, (%rsp)", "lcall *(%rsp)", \
      GP, 0x10, 0)                                                                                 \
    X(gp_lcall_null, 64, "pushq $0\n pushq $0", "lcall *(%rsp)", GP, 0, 0)                         \
    X(gp_rdmsr, 64, "mov $0xdead, %ecx", "rdmsr", GP, 0, 0)                                        \
    X(gp_idt_limit, 64, "lidtq 0x28000", "int $0x80", GP, 0x402, 0)                                \
    X(gp_ltr_null, 64, "xor %eax, %eax", "ltr %ax", GP, 0, 0)                                      \
    X(gp_ltr_busy, 64, "mov $0x100, %eax", "ltr %ax", GP, 0x100, 0)                                \
    X(pf_read, 64, "mov $0x4000000000, %rbx", "mov (%rbx), %eax", PFV, 0, HOLE)                    \
    X(pf_write, 64, "mov $0x4000000008, %rbx", "mov %eax, (%rbx)", PFV, 2, HOLE + 8)               \
    X(pf_rmw, 64, "mov $0x4000000010, %rbx", "addl $1, (%rbx)", PFV, 2, HOLE + 16)                 \
    X(pf_fetch, 64, "mov $0x4000000020, %rbx\n jmp *%rbx", "nop", PFV, 0x10, HOLE + 32)            \
    X(pf_call, 64, "mov $0x4000001000, %rsp", "call . + 5", PFV, 2, HOLE + 0xff8)                  \
    X(pf_push, 64, "mov $0x4000001000, %rsp", "push $1", PFV, 2, HOLE + 0xff8)                     \
    X(pf_pushm, 64, "mov $0x4000001000, %rsp", "push 0x28000", PFV, 2, HOLE + 0xff8)               \
    X(pf_pushf, 64, "mov $0x4000001000, %rsp", "pushf", PFV, 2, HOLE + 0xff8)                      \
    X(pf_pop, 64, "mov $0x4000001000, %rsp", "pop %rax", PFV, 0, HOLE + 0x1000)                    \
    X(pf_popm, 64, "mov $0x4000001000, %rbx", "popq (%rbx)", PFV, 2, HOLE + 0x1000)                \
    X(pf_popf, 64, "mov $0x4000001000, %rsp", "popf", PFV, 0, HOLE + 0x1000)                       \
    X(pf_ret, 64, "mov $0x4000001000, %rsp", "ret $16", PFV, 0, HOLE + 0x1000)                     \
    X(pf_iret, 64, "mov $0x4000001000, %rsp", "iretq", PFV, 0, HOLE + 0x1000)                      \
    X(pf_lret, 64, "mov $0x4000001000, %rsp", "lretq", PFV, 0, HOLE + 0x1000)                      \
    X(pf_leave, 64, "mov $0x4000001000, %rbp", "leave", PFV, 0, HOLE + 0x1000)                     \
    X(pf_enter, 64, "mov $0x4000001000, %rsp\n mov $77, %ebp", "enter $16, $0", PFV, 2,            \
      HOLE + 0xff8)                                                                                \
    X(pf_xchg, 64, "mov $0x4000001000, %rbx\n mov $77, %ebp", "xchg %rbp, (%rbx)", PFV, 2,         \
      HOLE + 0x1000)                                                                               \
    X(pf_cmpxchg, 64, "mov $0x4000001000, %rbx", "lock cmpxchg %rbp, (%rbx)", PFV, 2,              \
      HOLE + 0x1000)                                                                               \
    X(pf_cmov, 64, "mov $0x4000001000, %rbx\n test %ebx, %ebx", "cmovs (%rbx), %eax", PFV, 0,      \
      HOLE + 0x1000)                                                                               \
    X(pf_movzx, 64, "mov $0x4000001000, %rbx", "movzbl (%rbx), %ebx", PFV, 0, HOLE + 0x1000)       \
    X(pf_div, 64, "mov $0x4000001000, %rbx", "divl (%rbx)", PFV, 0, HOLE + 0x1000)                 \
    X(pf_bts, 64, "mov $0x4000001000, %rbx\n mov $64, %ecx", "bts %rcx, (%rbx)", PFV, 2,           \
      HOLE + 0x1008)                                                                               \
    X(pf_jmp_mem, 64, "mov $0x4000001000, %rbx", "jmp *(%rbx)", PFV, 0, HOLE + 0x1000)             \
    X(pf_lgdt, 64, "mov $0x4000001000, %rbx", "lgdt (%rbx)", PFV, 0, HOLE + 0x1000)                \
    X(long_15, 64, "", ".fill 14, 1, 0x66\n nop", VEC_DONE, 0, 0)                                  \
    X(long_16, 64, "", ".fill 15, 1, 0x66\n nop", GP, 0, 0)                                        \
    X(ac_off, 64, "mov $0x30001, %ebx", "mov (%rbx), %eax", VEC_DONE, 0, 0)

/* In ring 3 of 64-bit mode */
#define USER_CASES(X)                                                                              \
    X(u_hlt, 64, "", "hlt", GP, 0, 0)                                                              \
    X(u_cli, 64, "", "cli", GP, 0, 0)                                                              \
    X(u_in, 64, "", "inb $0x80, %al", GP, 0, 0)                                                    \
    X(u_cr0, 64, "", "mov %cr0, %rax", GP, 0, 0)                                                   \
    X(u_dr7, 64, "", "mov %dr7, %rax", GP, 0, 0)                                                   \
    X(u_lgdt, 64, "", "lgdtq 0x28000", GP, 0, 0)                                                   \
    X(u_lidt, 64, "", "lidtq 0x28000", GP, 0, 0)                                                   \
    X(u_invlpg, 64, "", "invlpg 0x28000", GP, 0, 0)                                                \
    X(u_wbinvd, 64, "", "wbinvd", GP, 0, 0)                                                        \
    X(u_rdmsr, 64, "mov $0x10, %ecx", "rdmsr", GP, 0, 0)                                           \
    X(u_clts, 64, "", "clts", GP, 0, 0)                                                            \
    X(u_lmsw, 64, "", "lmsw %ax", GP, 0, 0)                                                        \
    X(u_ltr, 64, "", "ltr %ax", GP, 0, 0)                                                          \
    X(u_swapgs, 64, "", "swapgs", GP, 0, 0)                                                        \
    X(u_sysret, 64, "", "sysretq", UD, 0, 0) /* EFER.SCE clear */                                  \
    X(u_ds_kernel, 64, "mov $0x10, %eax", "mov %eax, %ds", GP, 0x10, 0)                            \
    X(u_ss_null, 64, "xor %eax, %eax", "mov %eax, %ss", GP, 0, 0)                                  \
    X(u_iret_up, 64, "mov %rsp, %rax\n push $0x10\n push %rax\n pushf\n push $8\n push $0x10000",  \
      "iretq", GP, 8, 0)                                                                           \
    X(u_ac, 64, "pushf\n orl $0x40000, (%rsp)\n popf\n mov $0x28001, %ebx", "mov (%rbx), %eax",    \
      AC_V, 0, 0)                                                                                  \
    X(u_ac_byte, 64, "pushf\n orl $0x40000, (%rsp)\n popf\n mov $0x28001, %ebx",                   \
      "mov (%rbx), %al", VEC_DONE, 0, 0)                                                           \
    X(u_popf_if, 64, "pushf\n orl $0x3200, (%rsp)\n popf\n pushf\n pop %rax\n and $0x3200, %eax",  \
      "nop", VEC_DONE, 0, 0)

/* In 32-bit protected mode */
#define PROT_CASES(X)                                                                              \
    X(p_into, 32, "mov $0x7f, %al\n add $1, %al", "into", OFV, 0, 0)                               \
    X(p_into_not, 32, "xor %eax, %eax", "into", VEC_DONE, 0, 0)                                    \
    X(p_bound_low, 32, "mov $-1, %eax", "boundl %eax, 0x28010", BR, 0, 0)                          \
    X(p_bound_in, 32, "mov $10, %eax", "boundl %eax, 0x28010", VEC_DONE, 0, 0)                     \
    X(p_bound_high, 32, "mov $11, %eax", "boundl %eax, 0x28010", BR, 0, 0)                         \
    X(p_bound_w, 32, "mov $0x7fff0001, %eax", "boundw %ax, 0x28018", BR, 0, 0)                     \
    X(p_bound_reg, 32, "", ".byte 0x62, 0xc0", UD, 0, 0)                                           \
    X(p_aam0, 32, "", "aam $0", DE, 0, 0)                                                          \
    X(p_arpl, 32, "", "arpl %ax, %bx", VEC_DONE, 0, 0)                                             \
    X(p_np_ds, 32, "mov $0xb0, %eax", "mov %eax, %ds", NP, 0xb0, 0)                                \
    X(p_np_ss, 32, "mov $0xb0, %eax", "mov %eax, %ss", SS, 0xb0, 0)                                \
    X(p_gp_ss_ro, 32, "mov $0xb8, %eax", "mov %eax, %ss", GP, 0xb8, 0)                             \
    X(p_gp_ds_xo, 32, "mov $0xc0, %eax", "mov %eax, %ds", GP, 0xc0, 0)                             \
    X(p_gp_null, 32, "xor %eax, %eax\n mov %eax, %ds", "mov %ds:0, %eax", GP, 0, 0)                \
    X(p_gp_jmp, 32, "", "ljmp $0x10, $0", GP, 0x10, 0)                                             \
    X(p_np_jmp, 32, "", "ljmp $0xc8, $0", NP, 0xc8, 0)                                             \
    X(p_int_ext, 32, "lidt 0x28000", "int $0x1f", GP, 0xfa, 0)

#define DECLARE(n, bits, setup, insn, vector, error, cr2)                                          \
    extern const u8 n[], n##_at[], n##_after[], n##_end[];                                         \
    asm(".pushsection .rodata.snippets\n.code" #bits "\n" #n ":\n" setup "\n" #n "_at:\n" insn     \
        "\n" #n "_after:\nint $0xf0\n" #n "_end:\n.code64\n.popsection\n");
#define ENTRY(n, bits, setup, insn, vector, error, cr2)                                            \
    {n, n##_at, n##_after, n##_end, #n, vector, error, cr2},

LONG_CASES(DECLARE)
USER_CASES(DECLARE)
PROT_CASES(DECLARE)

typedef struct Case {
    const u8 *code, *at, *after, *end;
    const char *name;
    u32 vector, error;
    u64 cr2;
} Case;

static const Case long_cases[] = {LONG_CASES(ENTRY)};
static const Case user_cases[] = {USER_CASES(ENTRY)};
static const Case prot_cases[] = {PROT_CASES(ENTRY)};

/* What QEMU's TCG does differently, or dies of; the interpreter leaves out #AC and breakpoints by
   debug registers. */
static bool skipped(const Case *t)
{
    const u8 *const not_tcg[] = {icebp,       lock_mov,    ss_rbp, ss_push,      gp_rdmsr,
                                 gp_ltr_null, p_bound_reg, u_ac,   gp_idt_limit, pf_rmw,
                                 pf_xchg,     pf_cmpxchg,  pf_bts, p_gp_null};
    if (on_interp && t->code == u_ac)
        return true;
    for (unsigned i = 0; on_tcg && i < COUNT(not_tcg); i++)
        if (t->code == not_tcg[i])
            return true;
    return false;
}

static void run_case(VmKind kind, const Case *t)
{
    volatile u32 *data = (volatile u32 *)0x28000;
    /* A pseudo-descriptor for LIDT and LGDT: an IDT too short for vector 0x80. */
    data[0] = kind == VM_PROT32 ? 0x00f7 | (u32)(u64)vm_idt32 << 16
                                : 0x07ff | (u32)(u64)vm_idt64 << 16;
    data[1] = (u32)(kind == VM_PROT32 ? (u64)vm_idt32 : (u64)vm_idt64) >> 16;
    data[2] = 0;
    data[4] = 0;
    data[5] = 10;
    data[6] = (u32)-5 << 16 | (u16)-9; /* words: -9 to -5 */
    SLOT(0xb0) = descriptor(0, 0xfffff, 0x13, 12); /* not present */
    SLOT(0xb8) = descriptor(0, 0xfffff, 0x91, 12); /* read only */
    SLOT(0xc0) = descriptor(0, 0xfffff, 0x99, 12); /* execute only */
    SLOT(0xc8) = descriptor(0, 0xfffff, 0x1b, 12); /* code, not present */

    /* First with INT in place of the instruction: the state that must be found after a fault */
    struct vm before = {0};
    if (skipped(t))
        return;
    for (unsigned round = 0; round < 2; round++) {
        vm_setup(kind);
        for (unsigned i = 0; i < 16; i++)
            if (i != RSP)
                vm.r[i] = 0x0101010101010101 * i;
        vm.cr0 |= CR0_AM;
        vm_load(t->code, t->end);
        if (round == 0) {
            u8 *p = (u8 *)SNIPPET_AT + (t->at - t->code);
            p[0] = 0xcd;
            p[1] = VEC_DONE;
        }
        /* Fetched from where nothing is: the set-up is the instruction. */
        if (round == 0 && t->code == pf_fetch)
            continue;
        vm_go();
        if (round == 0)
            before = vm;
    }
    check(vm.vector, t->vector, "%s: vector (error %lx, RIP %lx)", t->name, vm.error, vm.rip);
    check(vm.error, t->error, "%s: error code", t->name);
    if (vm.vector != t->vector)
        return;
    if (t->vector == PFV)
        check(vm.cr2, t->cr2, "%s: CR2", t->name);
    if (t->code == pf_fetch) {
        check(vm.rip, HOLE + 32, "%s: RIP", t->name);
        return;
    }
    if (t->vector == VEC_DONE)
        return;
    bool is_trap = t->vector == BP || t->vector == OFV || t->vector == DB || t->vector == 0x42;
    check(vm.rip, SNIPPET_AT + (u64)((is_trap ? t->after : t->at) - t->code), "%s: RIP", t->name);
    for (unsigned i = 0; i < (kind == VM_PROT32 ? 8 : 16); i++)
        check(vm.r[i], before.r[i], "%s: register %u", t->name, i);
    check(vm.rflags & ARITH, before.rflags & ARITH, "%s: flags", t->name);
    check(vm.ss, before.ss, "%s: SS", t->name);
    check(vm.ds, before.ds, "%s: DS", t->name);
}

/* ---- double fault ---- */

SNIPPET(push_on_nothing, 32, "mov $0x50000000, %esp\n mov $0xb0, %eax\n xor %ecx, %ecx\n div %ecx");
SNIPPET(np_gate, 64, "int $0x81");
SNIPPET(gp_in_gp, 64, "mov $0x1238, %eax\n mov %eax, %ds");
SNIPPET(pf_in_pf, 64, "mov $0x4000000000, %rbx\n mov (%rbx), %eax");

static void double_faults(void)
{
    /* A gate that is not present: #NP with IDT in the error code. */
    u64 saved[4] = {vm_idt64[2 * 0x81], vm_idt64[2 * GP], vm_idt64[2 * NP], vm_idt64[2 * PFV]};
    vm_idt64[2 * 0x81] &= ~(0x8000ull << 32);
    vm_run(VM_LONG, np_gate);
    check(vm.vector, NP, "gate not present: vector");
    check_not_tcg(vm.error, 0x81 * 8 + 2, "gate not present: error code");
    vm_idt64[2 * 0x81] = saved[0] & ~(0x6000ull << 32);
    vm_run(VM_LONG_R3, np_gate);
    check(vm.vector, GP, "gate with DPL 0 from ring 3: vector");
    check_not_tcg(vm.error, 0x81 * 8 + 2, "gate with DPL 0 from ring 3: error code");
    vm_idt64[2 * 0x81] = saved[0];

    /* #GP whose gate is not present: #NP while delivering #GP is #DF. */
    vm_idt64[2 * GP] &= ~(0x8000ull << 32);
    vm_run(VM_LONG, gp_in_gp);
    check(vm.vector, DFV, "#NP during #GP: vector");
    check(vm.error, 0, "#NP during #GP: error code");
    check(vm.rip, SNIPPET_AT + 5, "#NP during #GP: RIP");
    vm_idt64[2 * GP] = saved[1];
    /* #PF whose gate is not present: #NP during #PF is #DF too. */
    vm_idt64[2 * PFV] &= ~(0x8000ull << 32);
    vm_run(VM_LONG, pf_in_pf);
    check(vm.vector, DFV, "#NP during #PF: vector");
    check(vm.error, 0, "#NP during #PF: error code");
    check(vm.cr2, HOLE, "#NP during #PF: CR2");
    vm_idt64[2 * PFV] = saved[3];

    /* In ring 3, with a handler's stack at a hole: #PF during #GP is #DF. */
    u64 ist1 = tss64[0].ist[1];
    tss64[0].ist[1] = 0x4000001000;
    vm_idt64[2 * GP] = (saved[1] & ~(7ull << 32)) | 2ull << 32;
    vm_run(VM_LONG_R3, gp_in_gp);
    /* #GP is contributory, then #PF: served one after the other */
    check(vm.vector, PFV, "#PF during #GP: vector");
    check(vm.error, 2, "#PF during #GP: error code");
    check(vm.cr2, 0x4000000ff8, "#PF during #GP: CR2");
    check(vm.rip, SNIPPET_AT + 5, "#PF during #GP: RIP");
    vm_idt64[2 * GP] = saved[1];
    vm_idt64[2 * PFV] = (saved[3] & ~(7ull << 32)) | 2ull << 32;
    vm_run(VM_LONG_R3, pf_in_pf);
    check(vm.vector, DFV, "#PF during #PF: vector");
    check(vm.error, 0, "#PF during #PF: error code");
    check(vm.cr2, 0x4000000ff8, "#PF during #PF: CR2");
    vm_idt64[2 * PFV] = saved[3];
    tss64[0].ist[1] = ist1;

    /* 32 bits: the handler of #DE finds no stack (not present segment): #DF by a task gate. */
    u64 gate = vm_idt32[DE];
    vm_idt32[DE] = gate32(0xc8, 0, 0x8e, 0); /* its code segment is not present */
    SLOT(0xc8) = descriptor(0, 0xfffff, 0x1b, 12);
    vm_run(VM_PROT32, push_on_nothing);
    check(vm.vector, 0x108, "#NP during #DE: task of the double fault");
    check(vm.error, 0, "#NP during #DE: error code");
    check(tss32.eip, SNIPPET_AT + 12, "#NP during #DE: EIP in the TSS");
    check(tss32.esp, 0x50000000, "#NP during #DE: ESP in the TSS");
    check(tss_df.link, SEL_TSS32, "#NP during #DE: back link");
    vm_idt32[DE] = gate;
}

/* ---- #DB: single step, and the shadow of MOV SS ---- */

SNIPPET(step_on, 64, "pushf\n orl $0x100, (%rsp)\n popf\n nop\n nop");
SNIPPET(step_ss, 64,
        "mov $0x10, %ecx\n pushf\n orl $0x100, (%rsp)\n popf\n mov %ecx, %ss\n nop\n nop");
SNIPPET(step_rep, 64,
        "mov $5, %ecx\n mov $0x28000, %edi\n pushf\n orl $0x100, (%rsp)\n popf\n rep stosb\n nop");
SNIPPET(step_int, 64, "pushf\n orl $0x100, (%rsp)\n popf\n int $0x42");

static u32 steps;
static u64 step_rip[32];
static void on_step(Trap *t)
{
    if (steps < COUNT(step_rip))
        step_rip[steps] = t->rip;
    steps++;
    asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ul));
}

static void single_step(void)
{
    vm_run(VM_LONG, step_on);
    check(vm.vector, DB, "TF: vector");
    check(vm.rip, SNIPPET_AT + 10, "TF: after the instruction that follows POPF");
    check(vm.dr6 & 0x4000, 0x4000, "TF: DR6.BS");
    check(vm.rflags & TF, TF, "TF: in the flags pushed");
    vm_run(VM_LONG, step_ss);
    check(vm.vector, DB, "TF, MOV SS: vector");
    check(vm.rip, SNIPPET_AT + 5 + 9 + 2 + 1, "TF, MOV SS: one instruction later");
    vm_run(VM_LONG, step_rep);
    check(vm.vector, DB, "TF, REP: vector");
    check(vm.r[RCX], 4, "TF, REP: after one round");
    check(vm.rip, SNIPPET_AT + 10 + 9, "TF, REP: RIP at the instruction");
    vm_run(VM_LONG, step_int);
    check(vm.vector, 0x42, "TF, INT: vector");

    /* Steps over a known piece of code, from within: 1 + 3 + 1 instructions and a branch. */
    trap_handlers[DB] = on_step;
    steps = 0;
    u64 from, flags;
    asm volatile(
        "pushf\n pop %1\n mov %1, %%rax\n or $0x100, %%rax\n push %%rax\n lea 1f(%%rip), %0\n"
        "popf\n1: nop\n jmp 2f\n nop\n2: mov $3, %%ecx\n3: loop 3b\n cpuid\n push %1\n popf\n nop"
        : "=&S"(from), "=&D"(flags)
        :
        : "rax", "rbx", "rcx", "rdx", "memory", "cc");
    trap_handlers[DB] = NULL;
    /* nop, jmp, mov, loop x 3, cpuid, push, popf */
    static const u8 want[] = {1, 4, 9, 9, 9, 11, 13, 14, 15};
    check(steps, COUNT(want), "steps");
    for (unsigned i = 0; i < COUNT(want) && i < steps; i++)
        check(step_rip[i] - from, want[i], "step %u", i);
}

/* ---- debug registers ---- */

static void debug_registers(void)
{
    static volatile u32 watched[4];
    trap_handlers[DB] = on_step;
    u64 address = (u64)&watched[1];
    asm volatile("mov %0, %%dr0" : : "r"(address));
    asm volatile("mov %0, %%dr7" : : "r"(0x400ul | 1 << 0 | 0xdul << 16)); /* write, 4 bytes */
    steps = 0;
    watched[0] = 1;
    watched[2] = 1;
    check_not_tcg(steps, 0, "DR0: other writes");
    watched[1] = 1;
    u32 written = steps;
    (void)watched[1];
    u32 read = steps;
    asm volatile("mov %0, %%dr7" : : "r"(0x400ul));
    watched[1] = 2;
    check(written, 1, "DR0: write");
    check(read, 1, "DR0: read is not watched");
    check(steps, 1, "DR7 cleared");
    trap_handlers[DB] = NULL;
}

/* MOV DR4 is DR6 unless CR4.DE; DR7.GD makes an access #DB. */
static void dr_access(void *arg)
{
    if (arg)
        asm volatile("mov %%dr4, %%rax" : : : "rax");
    else
        asm volatile("mov %0, %%dr7" : : "r"(1ul << 32));
}

static void debug_access(void)
{
    Caught c;
    guarded(dr_access, (void *)1, &c);
    check(c.vector, NO_TRAP, "DR4 without CR4.DE");
    write_cr4(read_cr4() | CR4_DE);
    guarded(dr_access, (void *)1, &c);
    check(c.vector, UD, "DR4 with CR4.DE");
    write_cr4(read_cr4() & ~(u64)CR4_DE);
    guarded(dr_access, NULL, &c);
    check_not_tcg(c.vector, GP, "DR7: upper half");
}

/* ---- RF, IRET's flags, NMI window are not visible here; RF in the frame of a fault is ---- */

static void resume_flag(void)
{
    vm_run(VM_LONG, pf_in_pf);
    check_not_tcg(vm.rflags & RF, RF, "RF in the flags of a fault");
    vm_run(VM_LONG, step_int);
    check(vm.rflags & RF, 0, "RF in the flags of INT");
}

void guest_main(void)
{
    for (unsigned i = 0; i < COUNT(long_cases); i++)
        run_case(VM_LONG, &long_cases[i]);
    for (unsigned i = 0; i < COUNT(user_cases); i++)
        run_case(VM_LONG_R3, &user_cases[i]);
    check(vm.r[RAX], 0, "POPF of ring 3 does not change IF and IOPL");
    for (unsigned i = 0; i < COUNT(prot_cases); i++)
        run_case(VM_PROT32, &prot_cases[i]);
    double_faults();
    single_step();
    debug_registers();
    debug_access();
    resume_flag();
    finish();
}
