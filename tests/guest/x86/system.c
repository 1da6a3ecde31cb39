/*
 * The system side: debug registers, virtual-8086 and protected mode virtual interrupts, UMIP,
 * protection keys, PCID, 5-level paging, reserved bits of control registers and MSRs, SMM.
 * For cpu = max; what CPUID does not offer is left out.
 */
#include "lib.h"

static u32 cpuid_7_ecx, cpuid_d1_eax;
#define HAS_VME HAS(cpuid_1_edx, 1)
#define HAS_UMIP HAS(cpuid_7_ecx, 2)
#define HAS_PKU HAS(cpuid_7_ecx, 3)
#define HAS_LA57 HAS(cpuid_7_ecx, 16)
#define HAS_XSAVE HAS(cpuid_1_ecx, 26)
#define HAS_XSAVEC (cpuid_d1_eax >> 1 & 1)
#define HAS_XGETBV1 (cpuid_d1_eax >> 2 & 1)
#define HAS_INVPCID HAS(cpuid_7_ebx, 10)
#define HAS_MONITOR HAS(cpuid_1_ecx, 3)
#define CR4_PVI 2u
#define CR4_UMIP 0x800u
#define CR4_LA57 0x1000u
#define CR4_PCIDE 0x20000u
#define CR4_OSXSAVE 0x40000u
#define CR4_PKE 0x400000u
#define VIP 0x100000u

/* ---- debug registers ------------------------------------------------------------------------- */

typedef struct Hit {
    u64 rip, dr6, dr7, flags;
} Hit;
static Hit hits[16];
static u32 hit_count;
static bool set_rf;

static u64 read_dr6(void)
{
    u64 v;
    asm volatile("mov %%dr6, %0" : "=r"(v));
    return v;
}
static void write_dr6(u64 v) { asm volatile("mov %0, %%dr6" : : "r"(v)); }
static u64 read_dr7(void)
{
    u64 v;
    asm volatile("mov %%dr7, %0" : "=r"(v));
    return v;
}
static void write_dr7(u64 v) { asm volatile("mov %0, %%dr7" : : "r"(v) : "memory"); }
static void write_dr0(u64 v) { asm volatile("mov %0, %%dr0" : : "r"(v)); }
static void write_dr1(u64 v) { asm volatile("mov %0, %%dr1" : : "r"(v)); }

static void on_db(Trap *t)
{
    if (hit_count < COUNT(hits))
        hits[hit_count] = (Hit){t->rip, read_dr6(), read_dr7(), t->rflags};
    if (++hit_count >= COUNT(hits))
        write_dr7(0x400); /* over and over: enough */
    write_dr6(0xffff0ff0);
    if (set_rf)
        t->rflags |= RF;
}

enum { EXEC, WRITE, IO, ANY };
static void arm(unsigned kind, unsigned length, u64 address)
{
    static const u8 code[9] = {0, 0, 1, 0, 3, 0, 0, 0, 2};
    write_dr0(address);
    hit_count = 0;
    write_dr7(0x400 | 2 | kind << 16 | (u32)code[length] << 18);
}

static u8 field[64] __attribute__((aligned(64)));

typedef struct Access {
    const char *name;
    unsigned kind, length, at, size;
    bool write;
    u32 want;
} Access;

static void data_breakpoints(void)
{
    static const Access cases[] = {
        {"write 1, byte before", WRITE, 1, 15, 1, true, 0},
        {"write 1, byte", WRITE, 1, 16, 1, true, 1},
        {"write 1, byte behind", WRITE, 1, 17, 1, true, 0},
        {"write 1, read", WRITE, 1, 16, 1, false, 0},
        {"any 1, read", ANY, 1, 16, 1, false, 1},
        {"any 1, write", ANY, 1, 16, 1, true, 1},
        {"write 4, word that ends in it", WRITE, 4, 15, 2, true, 1},
        {"write 4, long that begins in it", WRITE, 4, 19, 4, true, 1},
        {"write 4, long behind", WRITE, 4, 20, 4, true, 0},
        {"write 8, quad below", WRITE, 8, 8, 8, true, 0},
        {"write 8, its last byte", WRITE, 8, 23, 1, true, 1},
        {"write 2, quad over it", WRITE, 2, 12, 8, true, 1},
        {"any 8, quad over its end", ANY, 8, 22, 8, false, 1},
        {"write 8, across its start", WRITE, 8, 13, 4, true, 1},
    };
    for (unsigned i = 0; i < COUNT(cases); i++) {
        const Access *a = &cases[i];
        volatile u8 *p = field + a->at;
        arm(a->kind, a->length, (u64)field + 16);
        switch (a->size) {
#define DO(n, type)                                                                                \
    case n:                                                                                        \
        if (a->write)                                                                              \
            *(volatile type *)p = 1;                                                               \
        else                                                                                       \
            (void)*(volatile type *)p;                                                             \
        break;
            DO(1, u8)
            DO(2, u16)
            DO(4, u32)
            DO(8, u64)
        }
        write_dr7(0x400);
        check(hit_count, a->want, "data breakpoint: %s: hits", a->name);
        if (a->want && hit_count)
            check(hits[0].dr6 & 0xe00f, 1, "data breakpoint: %s: DR6", a->name);
    }
    /* the trap is behind the instruction, which has been done */
    u64 at;
    arm(WRITE, 4, (u64)field);
    asm volatile("lea 1f(%%rip), %0\n movl $77, %1\n1: nop" : "=&r"(at), "=m"(*(u32 *)field));
    write_dr7(0x400);
    check(hits[0].rip, at, "data breakpoint: RIP");
    check(*(volatile u32 *)field, 77, "data breakpoint: the write was done");
    /* REP: after the round that meets it */
    void *di = field;
    u64 n = 32;
    arm(WRITE, 1, (u64)field + 5);
    asm volatile("lea 1f(%%rip), %2\n1: rep stosb" : "+D"(di), "+c"(n), "=&r"(at) : "a"(1) : "memory");
    write_dr7(0x400);
    check(hit_count, 1, "data breakpoint, REP: hits");
    check_not_tcg(hits[0].rip, at, "data breakpoint, REP: RIP");
    check(field[31], 1, "data breakpoint, REP: went on to its end");
    /* MOV SS puts it off for an instruction */
    u16 ss = SEL_DATA;
    u16 *where = (u16 *)field;
    *where = ss;
    arm(ANY, 2, (u64)where);
    asm volatile("lea 1f(%%rip), %0\n mov %1, %%ss\n nop\n1: nop" : "=&r"(at) : "m"(*where));
    write_dr7(0x400);
    check(hit_count, 1, "data breakpoint, MOV SS: hits");
    check_not_tcg(hits[0].rip, at, "data breakpoint, MOV SS: one instruction later");
    /* locked, and a read-modify-write */
    arm(WRITE, 4, (u64)field);
    asm volatile("lock incl %0" : "+m"(*(u32 *)field));
    asm volatile("addl $1, %0" : "+m"(*(u32 *)field));
    write_dr7(0x400);
    check(hit_count, 2, "data breakpoint: LOCK INC and ADD");
    /* a disabled one */
    write_dr7(0x400 | 1 << 16);
    hit_count = 0;
    *(volatile u8 *)field = 1;
    check(hit_count, 0, "data breakpoint, disabled");
}

extern const u8 break_here[];

static void code_breakpoints(void)
{
    u64 count;
    set_rf = true;
    arm(EXEC, 1, (u64)break_here);
    asm volatile("xor %%eax, %%eax\n mov $3, %%ecx\n1: nop\nbreak_here: inc %%rax\n loop 1b"
                 : "=a"(count)
                 :
                 : "rcx", "cc");
    u64 dr7 = read_dr7();
    write_dr7(0x400);
    check(hit_count, 3, "instruction breakpoint: hits");
    check(count, 3, "instruction breakpoint: each round done once");
    check(hits[0].rip, (u64)break_here, "instruction breakpoint: RIP of it");
    check(hits[0].dr6 & 0xe00f, 1, "instruction breakpoint: DR6");
    check(hits[0].flags & RF, 0, "instruction breakpoint: RF in the flags pushed");
    check(dr7, 0x402, "DR7 stays");
    /* with a single step: both bits at the instruction behind */
    set_rf = false;
    /* after MOV SS there is none */
    extern const u8 break_ss[];
    arm(EXEC, 1, (u64)break_ss);
    u64 ss = SEL_DATA;
    asm volatile("mov %0, %%ss\nbreak_ss: nop" : : "r"(ss));
    write_dr7(0x400);
    check_not_tcg(hit_count, 0, "instruction breakpoint behind MOV SS");
    /* REP counts once if the handler sets RF */
    set_rf = true;
    extern const u8 break_rep[];
    void *di = field;
    u64 n = 16;
    arm(EXEC, 1, (u64)break_rep);
    asm volatile("break_rep: rep stosb" : "+D"(di), "+c"(n) : "a"(9) : "memory");
    write_dr7(0x400);
    check_not_tcg(hit_count, 1, "instruction breakpoint, REP: hits");
    check(field[15], 9, "instruction breakpoint, REP: done");
    set_rf = false;
}

static void touch_dr(void *arg __attribute__((unused))) { asm volatile("mov %%dr0, %%rax" : : : "rax"); }
static void touch_dr4(void *arg __attribute__((unused))) { asm volatile("mov %%dr4, %%rax" : : : "rax"); }

static void io_breakpoints(void)
{
    write_cr4(read_cr4() | CR4_DE);
    Caught c;
    guarded(touch_dr4, NULL, &c);
    check(c.vector, UD, "DR4 under CR4.DE");
    arm(IO, 1, 0x80);
    outb(0x80, 1);
    outb(0x81, 1);
    (void)inb(0x80);
    write_dr7(0x400);
    check(hit_count, 2, "I/O breakpoint: hits");
    arm(IO, 4, 0x80);
    outb(0x83, 1);
    outb(0x84, 1);
    write_dr7(0x400);
    check(hit_count, 1, "I/O breakpoint of 4 ports");
    write_cr4(read_cr4() & ~(u64)CR4_DE);
    /* two at once */
    write_dr1((u64)field);
    arm(WRITE, 4, (u64)field);
    write_dr7(0x400 | 2 | 8 | 0xdu << 16 | 0xdu << 20);
    *(volatile u32 *)field = 5;
    write_dr7(0x400);
    check_not_tcg(hits[0].dr6 & 0xe00f, 3, "two breakpoints: DR6");
    /* GD */
    hit_count = 0;
    write_dr7(0x400 | 1 << 13);
    touch_dr(NULL);
    check_not_tcg(hit_count, 1, "GD: hits");
    check_not_tcg(hits[0].dr6 & 0x2000, 0x2000, "GD: DR6.BD");
    check(hits[0].dr7 & 0x2000, 0, "GD: clear in the handler");
    write_dr7(0x400);
    write_dr6(0xffffffff);
    check_not_tcg(read_dr6(), 0xffffefff, "DR6: fixed bits, all ones");
    write_dr6(0);
    check(read_dr6() | 1 << 16 | 1 << 11, 0xffff0ff0, "DR6: fixed bits, all zeros");
    write_dr6(0xffff0ff0);
}

static void debug(void)
{
    trap_handlers[DB] = on_db;
    data_breakpoints();
    code_breakpoints();
    io_breakpoints();
    trap_handlers[DB] = NULL;
}

/* ---- VME and PVI ------------------------------------------------------------------------------- */

SNIPPET(v_cli, 16, "cli\n int3");
SNIPPET(v_sti, 16, "sti\n int3");
SNIPPET(v_pushf, 16, "pushf\n pop %ax\n int3");
SNIPPET(v_pushfl, 16, "pushfl\n pop %eax\n int3");
SNIPPET(v_popf, 16, "push %ax\n popf\n int3");
SNIPPET(v_iret, 16, "push %ax\n push %cs\n call 1f\n1: pop %cx\n add $(2f - 1b), %cx\n push %cx\n iret\n"
                    "2: int3");
SNIPPET(v_int, 16, "int $0x40\n int3\n nop\n nop\n nop\n nop\n nop\n nop\n");
SNIPPET(v_handler, 16, "mov %sp, %bp\n mov 4(%bp), %dx\n pushf\n pop %bx\n int3");

typedef struct VmeCase {
    const char *name;
    const u8 *code, *end;
    u32 flags_in, ax;
    u32 cr4;
    unsigned vector;
    u32 mask, flags_out;
} VmeCase;

#define C(snippet) snippet, snippet##_end
static const VmeCase vme_cases[] = {
    {"CLI without VME", C(v_cli), VIF, 0, 0, GP, VIF, VIF},
    {"CLI", C(v_cli), VIF | IF, 0, CR4_VME, BP, VIF | IF, IF},
    {"STI", C(v_sti), 0, 0, CR4_VME, BP, VIF | IF, VIF},
    {"STI with VIP", C(v_sti), VIP, 0, CR4_VME, GP, VIF | VIP, VIP},
    {"POPF with IF", C(v_popf), 0, IF, CR4_VME, BP, VIF | IF, VIF},
    {"POPF without IF", C(v_popf), VIF | IF, 0, CR4_VME, BP, VIF | IF, IF},
    {"POPF with TF", C(v_popf), 0, TF, CR4_VME, GP, VIF, 0},
    {"POPF with IF and VIP", C(v_popf), VIP, IF, CR4_VME, GP, VIF, 0},
    {"POPF leaves IOPL", C(v_popf), 0, IOPL3, CR4_VME, BP, IOPL3, 0},
    {"POPF without VME", C(v_popf), 0, 0, 0, GP, 0, 0},
    {"PUSHFD", C(v_pushfl), 0, 0, CR4_VME, GP, 0, 0},
    {"IRET with IF", C(v_iret), 0, IF, CR4_VME, BP, VIF | IF, VIF},
    {"IRET with TF", C(v_iret), 0, TF, CR4_VME, GP, VIF, 0},
    {"IRET with IF and VIP", C(v_iret), VIP, IF, CR4_VME, GP, VIF, 0},
    {"IRET without VME", C(v_iret), 0, 0, 0, GP, 0, 0},
};

static void vme(void)
{
    for (unsigned i = 0; i < COUNT(vme_cases); i++) {
        const VmeCase *v = &vme_cases[i];
        vm_setup(VM_V86);
        vm.rflags = 2 | VM | v->flags_in;
        vm.cr4 = v->cr4;
        vm.r[RAX] = v->ax;
        vm_load(v->code, v->end);
        vm_go();
        check(vm.vector, v->vector, "VME: %s: vector", v->name);
        check(vm.rflags & v->mask, v->flags_out, "VME: %s: flags", v->name);
    }
    /* PUSHF shows VIF as IF, and IOPL 3 */
    for (unsigned on = 0; on < 2; on++) {
        vm_setup(VM_V86);
        vm.rflags = 2 | VM | (on ? VIF : IF);
        vm.cr4 = CR4_VME;
        vm_load(v_pushf, v_pushf_end);
        vm_go();
        check(vm.r[RAX] & (IF | IOPL3), IOPL3 | (on ? IF : 0), "VME: PUSHF, VIF %u", on);
    }
    /* INT n by the redirection bitmap */
    u16 iomap = tss32.iomap;
    u32 vector40 = *(volatile u32 *)(0x40 * 4);
    tss32.iomap = offsetof(Tss32, bitmap) + 32;
    *(volatile u32 *)(0x40 * 4) = (SNIPPET_AT >> 4) << 16 | 0x100;
    for (unsigned iopl = 0; iopl < 4; iopl += 3)
        for (unsigned monitor = 0; monitor < 2; monitor++)
            for (unsigned virtual_if = 0; virtual_if < 2; virtual_if++) {
                memset(tss32.bitmap, 0, 32);
                tss32.bitmap[0x40 / 8] = monitor ? 1 : 0;
                vm_setup(VM_V86);
                vm.rflags = 2 | VM | iopl << 12 | (virtual_if ? VIF | IF : 0);
                vm.cr4 = CR4_VME;
                vm_load(v_int, v_int_end);
                memcpy((void *)(SNIPPET_AT + 0x100), v_handler, (size_t)(v_handler_end - v_handler));
                vm_go();
                const char *format = "VME: INT, IOPL %u, bitmap %u, VIF %u: %s";
                if (monitor) {
                    check(vm.vector, iopl == 3 ? 0x40 : GP, format, iopl, monitor, virtual_if, "vector");
                    continue;
                }
                check(vm.vector, BP, format, iopl, monitor, virtual_if, "vector");
                check(vm.rip, 0x100 + (u32)(v_handler_end - v_handler) - 2, format, iopl, monitor,
                      virtual_if, "IP");
                check(vm.r[RDX] & (IF | IOPL3), IOPL3 | (virtual_if ? IF : 0), format, iopl, monitor,
                      virtual_if, "flags pushed");
                check(vm.r[RBX] & IF, 0, format, iopl, monitor, virtual_if, "flags in the handler");
            }
    *(volatile u32 *)(0x40 * 4) = vector40;
    tss32.iomap = iomap;
    memset(tss32.bitmap, 0, 32);
    /* PVI: CLI and STI of ring 3 */
    SNIPPET(p_cli, 32, "cli\n nop");
    SNIPPET(p_sti, 32, "sti\n nop");
    vm_setup(VM_PROT32_R3);
    vm.rflags = 2 | VIF;
    vm.cr4 = CR4_PVI;
    vm_load(p_cli, p_cli_end);
    vm_go();
    check_not_tcg(vm.vector, VEC_DONE, "PVI: CLI: vector");
    check_not_tcg(vm.rflags & (VIF | IF), 0, "PVI: CLI: flags");
    vm_setup(VM_PROT32_R3);
    vm.cr4 = CR4_PVI;
    vm_load(p_sti, p_sti_end);
    vm_go();
    check_not_tcg(vm.vector, VEC_DONE, "PVI: STI: vector");
    check_not_tcg(vm.rflags & (VIF | IF), VIF, "PVI: STI: flags");
    vm_setup(VM_PROT32_R3);
    vm.rflags = 2 | VIP;
    vm.cr4 = CR4_PVI;
    vm_load(p_sti, p_sti_end);
    vm_go();
    check(vm.vector, GP, "PVI: STI with VIP: vector");
    vm_setup(VM_PROT32_R3);
    vm_load(p_sti, p_sti_end);
    vm_go();
    check(vm.vector, GP, "STI of ring 3 without PVI");
    /* both: the monitor is told at once */
    SNIPPET(p_nop, 32, "nop");
    vm_setup(VM_PROT32_R3);
    vm.rflags = 2 | VIP | VIF;
    vm.cr4 = CR4_PVI;
    vm_load(p_nop, p_nop_end);
    vm_go();
    check_not_tcg(vm.vector, GP, "PVI: VIF and VIP: vector");
    check_not_tcg(vm.rip, SNIPPET_AT, "PVI: VIF and VIP: before the first instruction");
}

/* ---- UMIP ---------------------------------------------------------------------------------------- */

SNIPPET(u_sgdt, 64, "sgdt 0x28000");
SNIPPET(u_sidt, 64, "sidt 0x28000");
SNIPPET(u_sldt, 64, "sldt %eax");
SNIPPET(u_str, 64, "str %eax");
SNIPPET(u_smsw, 64, "smsw %eax");
SNIPPET(u_sldt_mem, 64, "sldt 0x28000");

static void umip(void)
{
    static const struct {
        const char *name;
        const u8 *code, *end;
    } cases[] = {{"SGDT", C(u_sgdt)}, {"SIDT", C(u_sidt)}, {"SLDT", C(u_sldt)},
                 {"STR", C(u_str)},   {"SMSW", C(u_smsw)}, {"SLDT memory", C(u_sldt_mem)}};
    for (unsigned i = 0; i < COUNT(cases); i++)
        for (unsigned how = 0; how < 3; how++) { /* ring 3 without, ring 3 with, ring 0 with */
            vm_setup(how == 2 ? VM_LONG : VM_LONG_R3);
            vm.cr4 |= how ? CR4_UMIP : 0;
            vm_load(cases[i].code, cases[i].end);
            vm_go();
            check(vm.vector, how == 1 ? GP : VEC_DONE, "UMIP: %s, case %u", cases[i].name, how);
            check(vm.error, 0, "UMIP: %s, case %u: error code", cases[i].name, how);
        }
}

/* ---- reserved bits -------------------------------------------------------------------------------- */

typedef struct Write {
    u32 reg;
    u64 value;
} Write;

static void do_write(void *arg)
{
    const Write *w = arg;
    switch (w->reg) {
    case 0: write_cr0(w->value); break;
    case 3: write_cr3(w->value); break;
    case 4: write_cr4(w->value); break;
    case 7: write_dr7(w->value); break;
    case 6: write_dr6(w->value); break;
    case 8: asm volatile("mov %0, %%cr8" : : "r"(w->value)); break;
    case 9:
        asm volatile("xsetbv" : : "c"((u32)(w->value >> 32)), "a"((u32)w->value), "d"(0));
        break;
    case 10: asm volatile("xsetbv" : : "c"(0), "a"((u32)w->value), "d"((u32)(w->value >> 32))); break;
    default: wrmsr(w->reg, w->value);
    }
}

static u64 write_fault(u32 reg, u64 value)
{
    Caught c;
    Write w = {reg, value};
    guarded(do_write, &w, &c);
    return c.vector == NO_TRAP ? NO_TRAP : c.vector << 16 | c.error;
}
#define REFUSED(reg, value, name) check_not_tcg(write_fault(reg, value), GP << 16, name " is refused")
#define TAKEN(reg, value, name) check(write_fault(reg, value), NO_TRAP, name " is taken")

static void reserved(void)
{
    u64 cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4(), efer = rdmsr(MSR_EFER);
    /* TCG takes what follows, and is lost */
    if (on_tcg)
        return;
    REFUSED(0, cr0 | 1ull << 32, "CR0, bit 32");
    REFUSED(0, cr0 & ~1ull, "CR0: PG without PE");
    REFUSED(0, (cr0 | 1ull << 29) & ~(1ull << 30), "CR0: NW without CD");
    REFUSED(0, cr0 & ~(u64)CR0_PG, "CR0: PG clear in 64-bit mode");
    check_not_tcg(read_cr0(), cr0, "CR0 after the refused writes");
    REFUSED(3, cr3 | 1ull << 52, "CR3, bit 52");
    REFUSED(3, cr3 | 1ull << 60, "CR3, bit 60");
    check_not_tcg(write_fault(3, cr3 | 1ull << 63), GP << 16, "CR3, bit 63 without PCIDE is refused");
    REFUSED(4, cr4 | 1ull << 63, "CR4, bit 63");
    REFUSED(4, cr4 | 1ull << 15, "CR4, bit 15");
    REFUSED(4, cr4 & ~(u64)CR4_PAE, "CR4: PAE clear in long mode");
    if (HAS_LA57)
        check(write_fault(4, cr4 ^ CR4_LA57), GP << 16, "CR4: LA57 changed in long mode is refused");
    if (!HAS_PCID)
        REFUSED(4, cr4 | CR4_PCIDE, "CR4: PCIDE that CPUID lacks");
    check_not_tcg(read_cr4(), cr4, "CR4 after the refused writes");
    REFUSED(8, 16, "CR8 = 16");
    TAKEN(8, 0, "CR8 = 0");
    REFUSED(6, 1ull << 32, "DR6, bit 32");
    REFUSED(7, 1ull << 32, "DR7, bit 32");
    REFUSED(MSR_EFER, efer | 2, "EFER, bit 1");
    REFUSED(MSR_EFER, efer | 1ull << 40, "EFER, bit 40");
    REFUSED(MSR_EFER, efer & ~(u64)EFER_LME, "EFER: LME clear while paging");
    check_not_tcg(rdmsr(MSR_EFER), efer, "EFER after the refused writes");
    static const u32 canonical[] = {0x175, 0x176, 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000102};
    for (unsigned i = 0; i < COUNT(canonical); i++) {
        u32 msr = canonical[i];
        u64 old = rdmsr(msr);
        check_not_tcg(write_fault(msr, 1ull << 62), GP << 16, "MSR %x: not canonical", msr);
        check_not_tcg(rdmsr(msr), old, "MSR %x: not written", msr);
        if (HAS_LA57)
            check_not_tcg(write_fault(msr, 1ull << 50), NO_TRAP, "MSR %x: canonical with LA57", msr);
        wrmsr(msr, old);
    }
    check_not_tcg(write_fault(0x277, 2), GP << 16, "PAT: type 2 is refused");
    check_not_tcg(write_fault(0xc0000084, 1ull << 32), GP << 16, "SFMASK, bit 32 is refused");
    REFUSED(0x12345678, 0, "an MSR that is not there");
    u64 tsc = rdmsr(0x10);
    check(rdmsr(0x10) >= tsc, 1, "TSC by MSR");
    if (HAS_XSAVE) {
        check(write_fault(10, 3), UD << 16, "XSETBV without OSXSAVE");
        write_cr4(cr4 | CR4_OSXSAVE);
        TAKEN(10, 3, "XCR0 = 3");
        REFUSED(10, 2, "XCR0 without x87");
        REFUSED(10, 5, "XCR0: AVX without SSE");
        REFUSED(10, 3 | 1ull << 40, "XCR0, bit 40");
        REFUSED(9, 1ull << 32 | 3, "XCR1");
        write_cr4(cr4);
    }
}

/* ---- PCID, INVPCID --------------------------------------------------------------------------------- */

static struct {
    u64 pcid, address;
} inv __attribute__((aligned(16)));
static void do_invpcid(void *arg) { asm volatile("invpcid %0, %1" : : "m"(inv), "r"(arg) : "memory"); }

static void pcid(void)
{
    u64 cr3 = read_cr3(), cr4 = read_cr4();
    Caught c;
    if (HAS_INVPCID) {
        static const struct {
            const char *name;
            u64 type, pcid, address;
            unsigned vector;
            bool tcg;
        } cases[] = {
            {"type 0", 0, 0, 0x1000, NO_TRAP, true},   {"type 1", 1, 0, 0, NO_TRAP, true},
            {"type 2", 2, 0, 0, NO_TRAP, true},        {"type 3", 3, 0, 0, NO_TRAP, true},
            {"type 4", 4, 0, 0, GP, true},             {"type 0, PCID without PCIDE", 0, 5, 0, GP, false},
            {"type 1, PCID without PCIDE", 1, 5, 0, GP, false}, {"reserved bits", 2, 1ull << 12, 0, GP, false},
            {"not canonical", 0, 0, 1ull << 60, GP, false}, {"type 2, any address", 2, 0, 1ull << 60, NO_TRAP, true},
        };
        for (unsigned i = 0; i < COUNT(cases); i++) {
            inv.pcid = cases[i].pcid;
            inv.address = cases[i].address;
            guarded(do_invpcid, (void *)cases[i].type, &c);
            if (cases[i].tcg)
                check(c.vector, cases[i].vector, "INVPCID %s", cases[i].name);
            else
                check_not_tcg(c.vector, cases[i].vector, "INVPCID %s", cases[i].name);
        }
    }
    if (!HAS_PCID)
        return;
    write_cr3(cr3 | 8);
    check_not_tcg(write_fault(4, cr4 | CR4_PCIDE), GP << 16, "PCIDE with CR3's low bits set");
    write_cr3(cr3);
    TAKEN(4, cr4 | CR4_PCIDE, "PCIDE");
    TAKEN(3, cr3 | 7, "CR3 with a PCID");
    check(read_cr3(), cr3 | 7, "CR3 with a PCID");
    check(write_fault(3, cr3 | 1ull << 63), NO_TRAP, "CR3, bit 63 with PCIDE");
    check(read_cr3(), cr3, "CR3: bit 63 reads as 0");
    if (HAS_INVPCID) {
        inv.pcid = 5;
        guarded(do_invpcid, (void *)1, &c);
        check(c.vector, NO_TRAP, "INVPCID of a PCID");
    }
    write_cr3(cr3);
    write_cr4(cr4);
}

/* ---- protection keys --------------------------------------------------------------------------------- */

SNIPPET(k_read, 64, "mov 0x28000, %eax");
SNIPPET(k_write, 64, "mov %eax, 0x28000");
static u64 pdk[512] __attribute__((aligned(4096))), ptk[512] __attribute__((aligned(4096)));

static void wrpkru(u32 v) { asm volatile("wrpkru" : : "a"(v), "c"(0), "d"(0) : "memory"); }
static u32 rdpkru(void)
{
    u32 v, d;
    asm volatile("rdpkru" : "=a"(v), "=d"(d) : "c"(0));
    return v;
}
static void bad_rdpkru(void *arg __attribute__((unused)))
{
    u32 v, d;
    asm volatile("rdpkru" : "=a"(v), "=d"(d) : "c"(1));
}
static void good_rdpkru(void *arg __attribute__((unused))) { (void)rdpkru(); }

static void keys(void)
{
    u64 cr4 = read_cr4();
    Caught c;
    guarded(good_rdpkru, NULL, &c);
    check(c.vector, UD, "RDPKRU without CR4.PKE");
    write_cr4(cr4 | CR4_PKE);
    guarded(bad_rdpkru, NULL, &c);
    check(c.vector, GP, "RDPKRU with ECX");
    wrpkru(0x1234);
    check(rdpkru(), 0x1234, "PKRU");
    wrpkru(0);
    u32 out[4];
    cpuid(7, 0, out);
    check(out[2] >> 4 & 1, 1, "CPUID: OSPKE");
    /* the user's tables: page 0x28000 with key 3 */
    u64 old = pd_user[0];
    for (unsigned i = 0; i < 512; i++)
        ptk[i] = (u64)i << 12 | 7;
    ptk[0x28] |= 3ull << 59;
    (void)pdk;
    pd_user[0] = (u64)ptk | 7;
    for (unsigned rights = 0; rights < 4; rights++)
        for (unsigned write = 0; write < 2; write++)
            for (unsigned user = 0; user < 2; user++)
                for (unsigned wp = 0; wp < 2; wp++) {
                    vm_setup(user ? VM_LONG_R3 : VM_LONG);
                    vm.cr3 = (u64)pml4_user;
                    vm.cr4 |= CR4_PKE;
                    vm.cr0 |= wp ? CR0_WP : 0;
                    wrpkru(rights << 6);
                    if (write)
                        vm_load(k_write, k_write_end);
                    else
                        vm_load(k_read, k_read_end);
                    vm_go();
                    bool fault = (rights & 1) || (write && (rights & 2) && (user || wp));
                    check(vm.vector, fault ? PFV : VEC_DONE, "key: rights %u, write %u, user %u, WP %u: vector",
                          rights, write, user, wp);
                    if (fault)
                        check(vm.error, 0x21 | write << 1 | user << 2,
                              "key: rights %u, write %u, user %u, WP %u: error code", rights, write, user, wp);
                }
    wrpkru(0);
    pd_user[0] = old;
    write_cr3(read_cr3());
    if (HAS_XSAVE) {
        static u8 area[4096] __attribute__((aligned(64)));
        write_cr4(read_cr4() | CR4_OSXSAVE);
        asm volatile("xsetbv" : : "c"(0), "a"(0x203), "d"(0));
        u32 l[4];
        cpuid(0xd, 9, l);
        check(l[0], 8, "CPUID 0xd, 9: size of PKRU");
        wrpkru(0x5550);
        memset(area, 0, sizeof area);
        asm volatile("xsave %0" : "+m"(area) : "a"(0x200), "d"(0));
        check(*(u32 *)(area + l[1]), 0x5550, "XSAVE: PKRU");
        check(*(u64 *)(area + 512), 0x200, "XSAVE: XSTATE_BV");
        wrpkru(0);
        asm volatile("xrstor %0" : : "m"(area), "a"(0x200), "d"(0) : "memory");
        check(rdpkru(), 0x5550, "XRSTOR: PKRU");
        *(u64 *)(area + 512) = 0;
        asm volatile("xrstor %0" : : "m"(area), "a"(0x200), "d"(0) : "memory");
        check(rdpkru(), 0, "XRSTOR: PKRU as after reset");
        asm volatile("xsetbv" : : "c"(0), "a"(3), "d"(0));
    }
    write_cr4(cr4);
}

/* ---- the compacted format of XSAVE ------------------------------------------------------------------ */

static u8 compacted_area[4096] __attribute__((aligned(64)));
enum { XSTATE_BV = 512, XCOMP_BV = 520 };

static void xrstor_all(void *arg)
{
    (void)arg;
    asm volatile("xrstor %0" : : "m"(compacted_area), "a"(7), "d"(0) : "memory");
}

/* Of the header with one byte changed. */
static void header_refused(u32 at, u8 value, const char *what)
{
    Caught c;
    u8 old = compacted_area[at];
    compacted_area[at] = value;
    guarded(xrstor_all, NULL, &c);
    check(c.vector, GP, "XRSTOR, compacted: %s", what);
    compacted_area[at] = old;
}

static void compacted(void)
{
    static const u64 pattern[4] = {0x1111222233334444, 0x5555666677778888, 0x99990000aaaabbbb, 0xccccddddeeeeffff};
    static u64 back[4];
    u8 *a = compacted_area;
    u64 cr4 = read_cr4();
    u32 l[4];
    write_cr4(cr4 | CR4_OSXSAVE | CR4_OSFXSR);
    asm volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
    cpuid(0xd, 1, l);
    check(l[1], 832, "CPUID 0xd, 1: size of x87, SSE and AVX compacted");
    asm volatile("fninit; vzeroall; ldmxcsr %0" : : "m"(*(u32[]){0x1f80}));
    if (HAS_XGETBV1) {
        u32 low, high;
        asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
        check(low & ~7u, 0, "XGETBV, ECX 1: no more than XCR0");
    }
    asm volatile("vmovdqu %0, %%ymm1" : : "m"(pattern));
    if (HAS_XGETBV1) {
        u32 low, high;
        asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
        check(low & 6, 6, "XGETBV, ECX 1: SSE and AVX are in use");
    }
    memset(a, 0xcc, sizeof compacted_area);
    asm volatile("xsavec %0" : "+m"(compacted_area) : "a"(7), "d"(0));
    check(*(u64 *)(a + XSTATE_BV) & ~1ull, 6, "XSAVEC: XSTATE_BV");
    check(*(u64 *)(a + XCOMP_BV), 1ull << 63 | 7, "XSAVEC: XCOMP_BV");
    check(memcmp(a + 160 + 16, pattern, 16), 0, "XSAVEC: XMM1");
    check(memcmp(a + 576 + 16, pattern + 2, 16), 0, "XSAVEC: upper half of YMM1");
    check(a[528], 0xcc, "XSAVEC leaves the rest of the header alone");
    check(a[832], 0xcc, "XSAVEC ends there");
    memset(a + 528, 0, 48);
    asm volatile("vzeroall" : : : "memory");
    xrstor_all(NULL);
    asm volatile("vmovdqu %%ymm1, %0" : "=m"(back));
    check(memcmp(back, pattern, sizeof back), 0, "XRSTOR, compacted: YMM1");
    header_refused(XCOMP_BV + 2, 1, "XCOMP_BV with a bit that XCR0 has not");
    header_refused(XCOMP_BV, 3, "XSTATE_BV with a bit that XCOMP_BV has not");
    header_refused(575, 1, "the last byte of the header");
    *(u64 *)(a + XSTATE_BV) = 0;
    asm volatile("ldmxcsr %0" : : "m"(*(u32[]){0x1fa0}));
    xrstor_all(NULL);
    u32 mxcsr;
    asm volatile("stmxcsr %0; vmovdqu %%ymm1, %1" : "=m"(mxcsr), "=m"(back));
    check(mxcsr, 0x1f80, "XRSTOR, compacted: MXCSR as after reset");
    check(back[0] | back[1] | back[2] | back[3], 0, "XRSTOR, compacted: YMM1 as after reset");
    /* SSE alone: what is in use and not asked for is not there */
    asm volatile("vmovdqu %0, %%ymm1" : : "m"(pattern));
    asm volatile("xsavec %0" : "+m"(compacted_area) : "a"(2), "d"(0));
    check(*(u64 *)(a + XSTATE_BV), 2, "XSAVEC of SSE: XSTATE_BV");
    check(*(u64 *)(a + XCOMP_BV), 1ull << 63 | 2, "XSAVEC of SSE: XCOMP_BV");
    asm volatile("vzeroall");
    asm volatile("xsetbv" : : "c"(0), "a"(1), "d"(0));
    write_cr4(cr4);
}

/* ---- 5-level paging --------------------------------------------------------------------------------- */

static u64 pml5[512] __attribute__((aligned(4096)));
SNIPPET(la57, 32,
        "mov %cr4, %eax\n or $0x1020, %eax\n mov %eax, %cr4\n mov %ebx, %cr3\n"
        "mov $0xc0000080, %ecx\n rdmsr\n or $0x100, %eax\n wrmsr\n"
        "mov %cr0, %eax\n or $0x80000000, %eax\n mov %eax, %cr0\n"
        "ljmp $8, $0x10000 + 1f - la57\n"
        ".code64\n"
        "1: mov $0x28000, %edi\n movl $0x600df00d, (%rdi)\n"
        "movabs $0x0003000000028000, %rsi\n mov (%rsi), %ebp\n" /* entry 3 of the PML5 */
        "mov %rsi, %r8\n shr $32, %r8\n"
        "sgdt (%rdi)\n"
        "push $0x18\n push $0x10000 + 2f - la57\n lretq\n"
        ".code32\n"
        "2: mov %cr0, %eax\n and $0x7fffffff, %eax\n mov %eax, %cr0\n"
        "mov $0xc0000080, %ecx\n rdmsr\n and $0xfffffeff, %eax\n wrmsr\n"
        "mov %cr4, %eax\n and $0xffffefff, %eax\n mov %eax, %cr4");

static void five_levels(void)
{
    memset(pml5, 0, sizeof pml5);
    pml5[0] = pml5[3] = (u64)pml4_host | 7;
    vm_setup(VM_PROT32);
    vm.r[RBX] = (u64)pml5;
    vm_load(la57, la57_end);
    vm_go();
    check(vm.vector, VEC_DONE, "5-level paging: vector");
    check(vm.r[RBP], 0x600df00d, "5-level paging: read by an address of 50 bits");
    check(pml5[3] & 0x20, 0x20, "5-level paging: accessed bit of the fifth level");
}

/* ---- SMM -------------------------------------------------------------------------------------------- */

#define SMI_DONE 0x39000u
SNIPPET(smm_handler, 16,
        "incl %cs:0x9000\n" /* 0x39000 of the first, 0x59000 of the second */
        "mov %cr0, %eax\n mov %eax, %cs:0x9004\n mov %cs:0xfff8, %eax\n mov %eax, %cs:0x9008\n"
        "movl $0x55aa1234, %cs:0xfff8\n" /* RAX's place in the map */
        "movl $0x50000, %cs:0xff00\n"
        "mov %cs:0xfefc, %eax\n mov %eax, %cs:0x900c\n"
        "rsm");

static void smm(void)
{
    Caught c;
    static const u8 rsm[] = {0x0f, 0xaa, 0xc3};
    guarded((void (*)(void *))(u64)rsm, NULL, &c);
    check(c.vector, UD, "RSM outside of SMM");
    for (unsigned i = 0; i < 2; i++) {
        memset((void *)(0x39000ul + i * 0x20000), 0, 16);
        memcpy((void *)(0x38000ul + i * 0x20000), smm_handler, (size_t)(smm_handler_end - smm_handler));
    }
    lapic_enable();
    for (unsigned i = 0; i < 3; i++) {
        u64 rax = 0xabcdef0012345678, flags, flags2;
        volatile u32 *icr = (volatile u32 *)(0xfee00000ul + LAPIC_ICR);
        u64 code = 0x44200 | 0; /* SMI to self */
        asm volatile("pushf\n pop %1\n mov %3, (%4)\n jmp 1f\n1: nop\n jmp 2f\n2: pushf\n pop %2"
                     : "+a"(rax), "=&r"(flags), "=&r"(flags2)
                     : "r"((u32)code), "r"(icr)
                     : "memory");
        u32 *told = (u32 *)(i ? 0x59000ul : 0x39000ul);
        u32 want = i ? i : 1;
        if (told[0] != want) {
            check_not_tcg(told[0], want, "SMI %u: the handler ran", i);
            return;
        }
        check(told[1] & 0x8000000d, 0, "SMI %u: CR0 in the handler", i);
        check(told[2], 0x12345678, "SMI %u: RAX in the map", i);
        check(told[3] & 0xffff, 0x64, "SMI %u: revision", i);
        check(rax, 0xabcdef0055aa1234, "SMI %u: RAX as the handler left it", i);
        check(flags2, flags, "SMI %u: flags after RSM", i);
        check(rdmsr(MSR_EFER) & EFER_LMA, EFER_LMA, "SMI %u: long mode after RSM", i);
    }
}

/* ---- MONITOR and MWAIT -------------------------------------------------------------------------------- */

static void do_monitor(void *arg)
{
    asm volatile("monitor" : : "a"(field), "c"((u32)(u64)arg), "d"(0));
}
static u32 timer_ticks;
static void on_timer(Trap *t __attribute__((unused)))
{
    timer_ticks++;
    lapic_eoi();
}

static void monitor(void)
{
    Caught c;
    guarded(do_monitor, (void *)1, &c);
    check(c.vector, GP, "MONITOR with ECX");
    guarded(do_monitor, NULL, &c);
    check(c.vector, NO_TRAP, "MONITOR");
    /* an interrupt ends MWAIT, with interrupts off too if ECX says so */
    trap_handlers[0x60] = on_timer;
    lapic_enable();
    lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
    lapic_write(LAPIC_LVT_TIMER, 0x60);
    cli();
    lapic_write(LAPIC_TIMER_INIT, 100000);
    do_monitor(NULL);
    asm volatile("mwait" : : "a"(0), "c"(1));
    check(timer_ticks, 0, "MWAIT: the interrupt is not taken while IF is clear");
    timer_ticks = 0;
    sti();
    for (unsigned i = 0; i < 100000000 && !timer_ticks; i++)
        pause();
    cli();
    check(timer_ticks, 1, "MWAIT: then it is");
    trap_handlers[0x60] = NULL;
}

void guest_main(void)
{
    u32 out[4];
    cpuid(7, 0, out);
    cpuid_7_ecx = out[2];
    if (HAS_XSAVE) {
        cpuid(0xd, 1, out);
        cpuid_d1_eax = out[0];
    }
    debug();
    if (HAS_VME)
        vme();
    if (HAS_UMIP)
        umip();
    reserved();
    pcid();
    if (HAS_PKU)
        keys();
    if (HAS_XSAVEC)
        compacted();
    if (HAS_LA57)
        five_levels();
    if (HAS_MONITOR && !on_tcg) /* no ECX there */
        monitor();
    if (on_interp)
        smm();
    finish();
}
