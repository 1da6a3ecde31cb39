/*
 * Segmentation of 32-bit protected mode: limits, types, null selectors, LAR, LSL, VERR, VERW,
 * call gates, returns to outer rings, conforming code, the LDT, task switches.
 * QEMU's TCG checks neither limits nor types of segments on access: not counted there.
 */
#include "lib.h"

enum { T0 = 0xb0, T1 = 0xb8, T2 = 0xc0, T3 = 0xc8, T4 = 0xd0, T5 = 0xd8, T6 = 0xe0, T7 = 0xe8 };
/* access bytes */
enum {
    DATA_RO = 0x90,
    DATA_RW = 0x92,
    DATA_DOWN = 0x96,
    CODE_XO = 0x98,
    CODE_XR = 0x9a,
    CODE_CONF = 0x9e,
    D3 = 0x60
};
#define DATA_AT 0x28000u

/* ---- limits: EBX is the offset, DS the segment ---- */

SNIPPET(rd1, 32, "mov (%ebx), %al");
SNIPPET(rd2, 32, "mov (%ebx), %ax");
SNIPPET(rd4, 32, "mov (%ebx), %eax");
SNIPPET(wr1, 32, "mov %al, (%ebx)");
SNIPPET(wr2, 32, "mov %ax, (%ebx)");
SNIPPET(wr4, 32, "mov %eax, (%ebx)");
SNIPPET(fs4, 32, "mov %fs:(%ebx), %eax");
SNIPPET(cs4, 32, "mov %cs:(%ebx), %eax");
SNIPPET(csw, 32, "mov %eax, %cs:(%ebx)");
SNIPPET(ss4, 32, "mov %ss:(%ebx), %eax");

static const struct {
    const u8 *code, *end;
    u32 size;
    bool write;
} accesses[] = {
    {rd1, rd1_end, 1, false}, {rd2, rd2_end, 2, false}, {rd4, rd4_end, 4, false},
    {wr1, wr1_end, 1, true}, {wr2, wr2_end, 2, true}, {wr4, wr4_end, 4, true},
};

static void limits(void)
{
    static const struct {
        u32 limit;
        u8 access, flags; /* G D - - */
        const char *name;
    } seg[] = {
        {0xfff, DATA_RW, 4, "4 KiB"},
        {0, DATA_RW, 4, "1 byte"},
        {1, DATA_RW, 12, "two pages"},
        {0xfff, DATA_RO, 4, "read only"},
        {0xfff, CODE_XR, 4, "code, readable"},
        {0xfff, DATA_DOWN, 4, "expand down, 32-bit"},
        {0xfff, DATA_DOWN, 0, "expand down, 16-bit"},
        {0, DATA_DOWN, 12, "expand down, pages"},
    };
    static const u32 offsets[] = {0,      1,      0xffc,   0xffd,     0xffe,  0xfff,
                                  0x1000, 0x1001, 0x1ffc,  0x1fff,    0x2000, 0xfffc,
                                  0xfffe, 0xffff, 0x10000, 0xffffd000};
    for (unsigned i = 0; i < COUNT(seg); i++)
        for (unsigned o = 0; o < COUNT(offsets); o++)
            for (unsigned a = 0; a < COUNT(accesses); a++) {
                SLOT(T0) = descriptor(DATA_AT, seg[i].limit, seg[i].access, seg[i].flags);
                vm_setup(VM_PROT32);
                vm.ds = T0;
                vm.r[RBX] = offsets[o];
                vm.r[RAX] = 0x11;
                vm_load(accesses[a].code, accesses[a].end);
                vm_go();
                u64 limit = seg[i].flags & 8 ? (u64)seg[i].limit << 12 | 0xfff : seg[i].limit;
                u64 last = (u64)offsets[o] + accesses[a].size - 1;
                bool ok;
                if ((seg[i].access & 0x0c) == 4) /* expand down */
                    ok = offsets[o] > limit && last <= (seg[i].flags & 4 ? 0xffffffff : 0xffff);
                else
                    ok = last <= limit;
                if (accesses[a].write && (seg[i].access & 0x0a) != 2)
                    ok = false;
                check_not_tcg(vm.vector, ok ? VEC_DONE : GP, "%s: %s of %u bytes at %x",
                              seg[i].name, accesses[a].write ? "write" : "read", accesses[a].size,
                              offsets[o]);
                if (vm.vector == GP)
                    check(vm.error, 0, "%s: error code", seg[i].name);
            }
    /* FS, SS, CS */
    SLOT(T1) = descriptor(DATA_AT, 0xf, DATA_RW, 4);
    vm_setup(VM_PROT32);
    vm.fs = T1;
    vm.r[RBX] = 0xd;
    vm_load(fs4, fs4_end);
    vm_go();
    check_not_tcg(vm.vector, GP, "FS: limit");
    vm_setup(VM_PROT32);
    vm.fs = 3; /* null */
    vm_load(fs4, fs4_end);
    vm_go();
    check_not_tcg(vm.vector, GP, "null FS");
    SLOT(T1) = descriptor(0, 0x2ffff, DATA_RW, 4);
    vm_setup(VM_PROT32);
    vm.ss = T1;
    vm.r[RBX] = 0x2fffd;
    vm_load(ss4, ss4_end);
    vm_go();
    check_not_tcg(vm.vector, SS, "SS: limit");
    check_not_tcg(vm.error, 0, "SS: limit: error code");
    vm_run(VM_PROT32, csw);
    check_not_tcg(vm.vector, GP, "write to CS");
    SLOT(T2) = descriptor(0, 0xfffff, CODE_XO, 12);
    vm_setup(VM_PROT32);
    vm.cs = T2;
    vm.r[RBX] = DATA_AT;
    vm_load(cs4, cs4_end);
    vm_go();
    check_not_tcg(vm.vector, GP, "read of execute-only CS");
    /* the limit of CS: the instruction that lies across it */
    SLOT(T2) = descriptor(0, SNIPPET_AT + 2, CODE_XR, 4);
    vm_setup(VM_PROT32);
    vm.cs = T2;
    SNIPPET(two_insns, 32, "nop\n nop\n mov $1, %eax");
    vm_load(two_insns, two_insns_end);
    vm_go();
    check_not_tcg(vm.vector, GP, "CS: limit");
    check_not_tcg(vm.rip, SNIPPET_AT + 2, "CS: limit: EIP");
    /* bases: base + offset wraps at 4 GiB */
    SLOT(T0) = descriptor(0xffff0000, 0xfffff, DATA_RW, 12);
    *(volatile u32 *)(u64)DATA_AT = 0x600df00d;
    vm_setup(VM_PROT32);
    vm.ds = T0;
    vm.r[RBX] = DATA_AT + 0x10000;
    vm_load(rd4, rd4_end);
    vm_go();
    check(vm.r[RAX], 0x600df00d, "base plus offset wraps");
    check(SLOT(T0) >> 40 & 1, 1, "accessed bit is set");
}

/* ---- LAR LSL VERR VERW ---- */

SNIPPET(
    look, 32,
    "xor %edi, %edi\n mov $0x77, %ecx\n mov $0x88, %edx\n lar %eax, %ecx\n jnz 1f\n or $1, %edi\n"
    "1: lsl %eax, %edx\n jnz 1f\n or $2, %edi\n 1: verr %ax\n jnz 1f\n or $4, %edi\n"
    "1: verw %ax\n jnz 1f\n or $8, %edi\n 1:");

static void looks(void)
{
    static const struct {
        u8 access, flags;
        u32 limit;
        u32 r0, r3; /* bits: LAR LSL VERR VERW, at CPL 0 and 3, RPL of the CPL */
        const char *name;
    } t[] = {
        {DATA_RW, 4, 0x123, 15, 0, "data, DPL 0"},
        {DATA_RW | D3, 12, 0x12, 15, 15, "data, DPL 3"},
        {DATA_RO | D3, 4, 0x123, 7, 7, "read only"},
        {CODE_XO | D3, 4, 0x123, 3, 3, "execute only"},
        {CODE_XR, 4, 0x123, 7, 0, "code"},
        {CODE_CONF, 4, 0x123, 7, 7, "conforming"},
        {0x92 & 0x7f, 4, 0x123, 15, 0, "not present"},
        {0x82 | D3, 0, 0x67, 3, 3, "LDT"},
        {0x89 | D3, 0, 0x67, 3, 3, "TSS"},
        {0x8c | D3, 0, 0, 1, 1, "call gate"},
        {0x85 | D3, 0, 0, 1, 1, "task gate"},
        {0x8e | D3, 0, 0, 0, 0, "interrupt gate"},
        {0x80 | D3, 0, 0, 0, 0, "type 0"},
        {0x88 | D3, 0, 0, 0, 0, "type 8"},
    };
    for (unsigned i = 0; i < COUNT(t); i++)
        for (unsigned r3 = 0; r3 < 2; r3++) {
            SLOT(T0) = descriptor(0x12345678, t[i].limit, t[i].access, t[i].flags);
            vm_setup(r3 ? VM_PROT32_R3 : VM_PROT32);
            vm.r[RAX] = T0 | (r3 ? 3 : 0);
            vm_load(look, look_end);
            vm_go();
            u32 want = r3 ? t[i].r3 : t[i].r0;
            check(vm.vector, VEC_DONE, "%s: vector", t[i].name);
            check(vm.r[RDI], want, "%s, CPL %u: LAR LSL VERR VERW", t[i].name, r3 * 3);
            u32 high = (u32)(SLOT(T0) >> 32) & 0x00f0ff00;
            /* a gate's limit field is its parameter count and offset: undefined in LAR's upper part
             */
            check(vm.r[RCX] & (t[i].access & 0x10 ? ~0xf0000u : 0xff00u),
                  (want & 1 ? high : 0x77) & (t[i].access & 0x10 ? ~0xf0000u : 0xff00u), "%s: LAR",
                  t[i].name);
            check(vm.r[RDX],
                  want & 2 ? (t[i].flags & 8 ? t[i].limit << 12 | 0xfff : t[i].limit) : 0x88,
                  "%s: LSL", t[i].name);
        }
    vm_setup(VM_PROT32);
    vm_load(look, look_end);
    vm.r[RAX] = 0;
    vm_go();
    check(vm.r[RDI], 0, "null selector: LAR LSL VERR VERW");
    vm_setup(VM_PROT32);
    vm_load(look, look_end);
    vm.r[RAX] = 0x7ff8;
    vm_go();
    check(vm.r[RDI], 0, "beyond the table: LAR LSL VERR VERW");
}

/* ---- calls through gates, returns ---- */

/* kernel part at +0x200: looks at its stack; then LRET with 8 bytes of parameters */
SNIPPET(gate_call, 32,
        "push $0x1111\n push $0x2222\n lcall $0xb3, $0\n mov %cs, %edx\n mov %ss, %edi\n"
        "mov %esp, %ecx\n int $0xf0\n"
        ".org gate_call + 0x200\n mov %cs, %esi\n mov %esp, %ebp\n mov 8(%esp), %eax\n mov "
        "12(%esp), %ebx\n"
        "pushl %ss\n popl 0x28100\n pushl 16(%esp)\n popl 0x28104\n pushl 20(%esp)\n popl 0x28108\n"
        "lret $8\n");
SNIPPET(outer_ret, 32,
        "mov $0x10, %eax\n mov %eax, %fs\n mov $0x3b, %eax\n mov %eax, %es\n push $0x3b\n push "
        "$0x2f000\n push $0x33\n push $0x10100\n lret\n"
        ".org outer_ret + 0x100\n mov %cs, %esi\n mov %ss, %edi\n mov %esp, %ebx\n mov %fs, %ecx\n "
        "mov %es, %edx\n");
SNIPPET(conf_jump, 32, "ljmp $0xbb, $0x10100\n .org conf_jump + 0x100\n mov %cs, %esi\n");
SNIPPET(conf_call, 32,
        "lcall $0xbb, $0x10100\n mov %cs, %edi\n int $0xf0\n .org conf_call + 0x100\n mov %cs, "
        "%esi\n lret\n");
SNIPPET(ldt_use, 32,
        "mov $0xa8, %eax\n lldt %ax\n mov $4, %eax\n mov %eax, %fs\n mov %fs:0, %ebx\n sldt %ecx\n"
        "mov $0xc, %eax\n mov %eax, %gs");
SNIPPET(far_same, 32,
        "lcall $0x18, $0x10100\n mov %esp, %edi\n int $0xf0\n .org far_same + 0x100\n mov %esp, "
        "%esi\n mov (%esp), %eax\n mov 4(%esp), %ebx\n lret");

static void gates(void)
{
    /* from ring 3 to ring 0 with two parameters */
    SLOT(T0) = gate32(SEL_CODE32, SNIPPET_AT + 0x200, 0xec, 2);
    vm_run(VM_PROT32_R3, gate_call);
    volatile u32 *d = (volatile u32 *)0x28100;
    check(vm.vector, VEC_DONE, "call gate: vector (error %lx, EIP %lx)", vm.error, vm.rip);
    check(vm.r[RSI], SEL_CODE32, "call gate: CS in the kernel");
    check(d[0], SEL_DATA, "call gate: SS in the kernel");
    check(vm.r[RBP], (u32)tss32.esp0 - 24, "call gate: ESP in the kernel");
    check(vm.r[RAX], 0x2222, "call gate: first parameter");
    check(vm.r[RBX], 0x1111, "call gate: second parameter");
    check(d[1], USER_STACK - 8, "call gate: ESP of the caller");
    check(d[2], SEL_UDATA, "call gate: SS of the caller");
    check(vm.r[RDX], SEL_UCODE32, "call gate: CS after the return");
    check(vm.r[RDI], SEL_UDATA, "call gate: SS after the return");
    check(vm.r[RCX], USER_STACK, "call gate: ESP after the return: parameters are gone");
    /* its privilege is checked */
    SLOT(T0) = gate32(SEL_CODE32, SNIPPET_AT + 0x200, 0x8c, 2);
    vm_run(VM_PROT32_R3, gate_call);
    check(vm.vector, GP, "call gate with DPL 0 from ring 3: vector");
    check(vm.error, T0, "call gate with DPL 0 from ring 3: error code");
    SLOT(T0) = gate32(SEL_CODE32, SNIPPET_AT + 0x200, 0x6c, 2);
    vm_run(VM_PROT32_R3, gate_call);
    check(vm.vector, NP, "call gate not present: vector");
    SLOT(T0) = gate32(SEL_DATA, SNIPPET_AT + 0x200, 0xec, 2);
    vm_run(VM_PROT32_R3, gate_call);
    check(vm.vector, GP, "call gate to data: vector");
    check(vm.error, SEL_DATA, "call gate to data: error code");
    /* the stack of the TSS is no good: #TS */
    SLOT(T0) = gate32(SEL_CODE32, SNIPPET_AT + 0x200, 0xec, 2);

    vm_run(VM_PROT32, outer_ret);
    check(vm.vector, VEC_DONE, "LRET to ring 3: vector (error %lx)", vm.error);
    check(vm.r[RSI], SEL_UCODE32, "LRET to ring 3: CS");
    check(vm.r[RDI], SEL_UDATA, "LRET to ring 3: SS");
    check(vm.r[RBX], 0x2f000, "LRET to ring 3: ESP");
    check(vm.r[RCX], 0, "LRET to ring 3: FS of ring 0 becomes null");
    check(vm.r[RDX], SEL_UDATA, "LRET to ring 3: ES of ring 3 stays");

    /* conforming code of DPL 0 runs at the caller's ring */
    SLOT(T1) = descriptor(0, 0xfffff, CODE_CONF, 12);
    vm_run(VM_PROT32_R3, conf_jump);
    check(vm.vector, VEC_DONE, "conforming, JMP: vector");
    check(vm.r[RSI], T1 | 3, "conforming, JMP: CS has RPL 3");
    vm_run(VM_PROT32_R3, conf_call);
    check(vm.vector, VEC_DONE, "conforming, CALL: vector (error %lx, EIP %lx)", vm.error, vm.rip);
    check(vm.r[RSI], T1 | 3, "conforming, CALL: CS");
    check(vm.r[RDI], SEL_UCODE32, "conforming, CALL: CS after the return");
    SLOT(T1) = descriptor(0, 0xfffff, CODE_XR, 12);
    vm_run(VM_PROT32_R3, conf_jump);
    check(vm.vector, GP, "not conforming, DPL 0, from ring 3");
    check(vm.error, T1, "not conforming: error code");
    vm_run(VM_PROT32, far_same);
    check(vm.vector, VEC_DONE, "far call: vector");
    check(vm.r[RAX], SNIPPET_AT + 7, "far call: EIP pushed");
    check(vm.r[RBX] & 0xffff, SEL_CODE32, "far call: CS pushed");
    check(vm.r[RSI], USER_STACK - 8, "far call: ESP");
    check(vm.r[RDI], USER_STACK, "far call: ESP after the return");

    /* LDT */
    static u64 ldt[1];
    ldt[0] = descriptor(DATA_AT, 0xfff, DATA_RW, 4);
    SLOT(SEL_LDT) = descriptor((u32)(u64)ldt, sizeof ldt - 1, 0x82, 0);
    *(volatile u32 *)(u64)DATA_AT = 0x1d71d71d;
    vm_run(VM_PROT32, ldt_use);
    check(vm.vector, GP, "LDT: second selector is beyond its limit: vector");
    check(vm.error, 0xc, "LDT: error code has TI");
    check(vm.r[RBX], 0x1d71d71d, "LDT: read through FS");
    check(vm.r[RCX], SEL_LDT, "SLDT");
}

/* ---- tasks ---- */

SNIPPET(task_code, 32,
        "mov $0x1234, %eax\n lcall $0x98, $0\n mov %eax, %esi\n str %edi\n pushfl\n pop %ecx\n mov "
        "%cr0, %edx\n int $0xf0\n"
        ".org task_code + 0x100\n mov %eax, %ebx\n str %ecx\n mov %ecx, 0x28200\n pushfl\n popl "
        "0x28204\n"
        "mov %esp, 0x28208\n incl %eax\n mov %ss, 0x28210\n iret\n movl $0x99, 0x2820c\n iret\n");

static void tasks(void)
{
    volatile u32 *d = (volatile u32 *)0x28200;
    memset((void *)d, 0, 32);
    tss32b = (Tss32){.eip = SNIPPET_AT + 0x100,
                     .eflags = 2,
                     .eax = 0x777,
                     .esp = 0x2e000,
                     .cs = SEL_CODE32,
                     .ss = SEL_DATA,
                     .ds = SEL_DATA,
                     .es = SEL_DATA,
                     .fs = SEL_DATA,
                     .gs = SEL_DATA,
                     .iomap = sizeof(Tss32)};
    SLOT(SEL_TSS32B) = descriptor((u32)(u64)&tss32b, sizeof tss32b - 1, 0x89, 0);
    vm_run(VM_PROT32, task_code);
    check(vm.vector, VEC_DONE, "task: vector (error %lx, EIP %lx)", vm.error, vm.rip);
    check(d[0], SEL_TSS32B, "task: TR in the new one");
    check(d[1] & NT, NT, "task: NT in the new one");
    check(d[2], 0x2e000, "task: ESP of the new one");
    check(d[4], SEL_DATA, "task: SS of the new one");
    check(tss32b.link, SEL_TSS32, "task: back link");
    check(tss32b.eax, 0x778, "task: EAX is saved at its IRET");
    check(tss32.eax, 0x1234, "task: EAX of the caller is saved");
    check(tss32.eip, SNIPPET_AT + 12, "task: EIP of the caller");
    check(vm.r[RSI], 0x1234, "task: EAX of the caller after the return");
    check(vm.r[RDI], SEL_TSS32, "task: TR after the return");
    check(vm.r[RCX] & NT, 0, "task: NT after the return");
    check(vm.r[RDX] & CR0_TS, CR0_TS, "task: CR0.TS");
    check(SLOT(SEL_TSS32B) >> 40 & 0xff, 0x89, "task: not busy after IRET");
    check(SLOT(SEL_TSS32) >> 40 & 0xff, 0x8b, "task: the caller is busy");
}

void guest_main(void)
{
    limits();
    looks();
    gates();
    tasks();
    finish();
}
