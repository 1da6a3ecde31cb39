/*
 * The runtime of the guests: output, checks, traps, other modes, CPUs.
 */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "defs.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define PAGE 4096u

/* ---- output and checks ---- */

/* %s %c %d %u %x, with l for 64 bits, with a width and leading zeros */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Counts; prints what, got and expected where they differ.  Returns whether they are equal. */
bool check(u64 got, u64 want, const char *what, ...) __attribute__((format(printf, 3, 4)));
/* The same for what QEMU's TCG is known not to do as silicon does. */
bool check_not_tcg(u64 got, u64 want, const char *what, ...) __attribute__((format(printf, 3, 4)));
/* The same for what vmrun's interpreter leaves out on purpose, and TCG too. */
bool check_optional(u64 got, u64 want, const char *what, ...) __attribute__((format(printf, 3, 4)));
extern bool on_tcg, on_interp;
void finish(void) __attribute__((noreturn)); /* the end of the guest: pass or fail */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void guest_main(void); /* each guest's own */

void *memset(void *to, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* A repeatable sequence */
u64 random64(void);

/* ---- instructions ---- */

static inline void outb(u16 port, u8 v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void outw(u16 port, u16 v) { asm volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline void outl(u16 port, u32 v) { asm volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
static inline u8 inb(u16 port)
{
    u8 v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u16 inw(u16 port)
{
    u16 v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u32 inl(u16 port)
{
    u32 v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 v)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
    u32 lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (u64)hi << 32 | lo;
}
static inline void cpuid(u32 leaf, u32 sub, u32 out[4])
{
    asm volatile("cpuid"
                 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                 : "a"(leaf), "c"(sub)
                 : "memory");
}
#define CONTROL_REGISTER(n)                                                                        \
    static inline u64 read_cr##n(void)                                                             \
    {                                                                                              \
        u64 v;                                                                                     \
        asm volatile("mov %%cr" #n ", %0" : "=r"(v) : : "memory");                                 \
        return v;                                                                                  \
    }                                                                                              \
    static inline void write_cr##n(u64 v) { asm volatile("mov %0, %%cr" #n : : "r"(v) : "memory"); }
CONTROL_REGISTER(0)
CONTROL_REGISTER(2)
CONTROL_REGISTER(3)
CONTROL_REGISTER(4)
static inline void invlpg(const volatile void *p)
{
    asm volatile("invlpg (%0)" : : "r"(p) : "memory");
}
static inline void pause(void) { asm volatile("pause" : : : "memory"); }
static inline void sti(void) { asm volatile("sti" : : : "memory"); }
static inline void cli(void) { asm volatile("cli" : : : "memory"); }
static inline void serialise(void)
{
    u32 r[4];
    cpuid(0, 0, r);
}

/* ---- CPUID ---- */
extern u32 cpuid_1_ecx, cpuid_1_edx, cpuid_7_ebx, cpuid_81_edx, cpuid_81_ecx;
#define HAS(word, bit) ((word) >> (bit) & 1)
#define HAS_PCID HAS(cpuid_1_ecx, 17)
#define HAS_X2APIC HAS(cpuid_1_ecx, 21)
#define HAS_TSC_DEADLINE HAS(cpuid_1_ecx, 24)
#define HAS_CX16 HAS(cpuid_1_ecx, 13)
#define HAS_SMEP HAS(cpuid_7_ebx, 7)
#define HAS_SMAP HAS(cpuid_7_ebx, 20)
#define HAS_NX HAS(cpuid_81_edx, 20)
#define HAS_1G HAS(cpuid_81_edx, 26)
bool is_intel(void);

/* ---- flags ---- */
enum {
    CF = 1,
    PF = 4,
    AF = 0x10,
    ZF = 0x40,
    SF = 0x80,
    TF = 0x100,
    IF = 0x200,
    DF = 0x400,
    OF = 0x800,
    IOPL3 = 0x3000,
    NT = 0x4000,
    RF = 0x10000,
    VM = 0x20000,
    AC = 0x40000,
    VIF = 0x80000,
    ID = 0x200000,
    ARITH = CF | PF | AF | ZF | SF | OF,
};
enum { DE, DB, NMI, BP, OFV, BR, UD, NM, DFV, CSO, TS, NP, SS, GP, PFV, MF = 16, AC_V, MC, XM };
#define CR0_PE 1u
#define CR0_MP 2u
#define CR0_EM 4u
#define CR0_TS 8u
#define CR0_ET 0x10u
#define CR0_NE 0x20u
#define CR0_WP 0x10000u
#define CR0_AM 0x40000u
#define CR0_PG 0x80000000u
#define CR4_VME 1u
#define CR4_TSD 4u
#define CR4_DE 8u
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_PGE 0x80u
#define CR4_OSFXSR 0x200u
#define CR4_OSXMMEXCPT 0x400u
#define CR4_SMEP 0x100000u
#define CR4_SMAP 0x200000u
#define MSR_EFER 0xc0000080u
#define EFER_SCE 1u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u
#define EFER_NXE 0x800u

/* ---- descriptors ---- */
extern u64 gdt[], idt[], vm_idt32[], vm_idt64[];
extern u64 pml4_host[], pml4_user[], pdpt_host[], pdpt_user[], pd_host[], pd_user[];
/* access: P DPL S TYPE; flags: G D/B L AVL */
u64 descriptor(u32 base, u32 limit, u8 access, u8 flags);
#define SLOT(selector) gdt[(selector) >> 3]
u64 gate32(u16 selector, u32 offset, u8 access, u8 parameters);

typedef struct __attribute__((packed)) Tss64 {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, iomap;
    u8 bitmap[8192 + 1];
} Tss64;
typedef struct Tss32 {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi,
        edi, es, cs, ss, ds, fs, gs, ldt;
    u16 trap, iomap;
    u8 bitmap[8192 + 33];
} Tss32;
extern Tss64 tss64[CPUS_MAX];
extern Tss32 tss32, tss32b, tss_df;

/* ---- traps of 64-bit mode ---- */
typedef struct Trap {
    u64 r[16], vector, error, rip, cs, rflags, rsp, ss;
} Trap;
typedef void TrapHandler(Trap *t);
extern TrapHandler *trap_handlers[256];

typedef struct Caught {
    u64 vector, error, cr2, rip;
} Caught;
#define NO_TRAP 0x1000
/* Calls fn(arg); a trap without a handler ends it and is told in *c (vector NO_TRAP: none). */
bool guarded(void (*fn)(void *), void *arg, Caught *c);
bool guarded_call(void (*fn)(void *), void *arg, u64 *save_rsp);
void guarded_return(void);

/* ---- one instruction on chosen registers ---- */
typedef struct Regs {
    u64 rax, rcx, rdx, rbx, rsp_unused, rbp, rsi, rdi, r8, r9, flags;
} Regs;
void run_thunk(Regs *r, const void *code);
void run_thunk32(Regs *r, const void *code);

/* ---- other modes ---- */
struct vm {
    u64 r[16], rip, rflags, cs, ss, ds, es, fs, gs, cr0, cr3, cr4, efer, mode, vector, error, cr2,
        dr6;
};
extern struct vm vm;
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 };
typedef enum VmKind {
    VM_REAL,       /* CS = 0x1000, other segments 0, SS:SP = REAL_STACK:0xfff0 */
    VM_PROT16,     /* 16-bit code segment at base SNIPPET_AT, flat data, paging off */
    VM_PROT32,     /* flat, paging off, ring 0 */
    VM_PROT32_R3,  /* flat, paging off, ring 3 */
    VM_V86,        /* IOPL 3, as real; paging off */
    VM_COMPAT32,   /* under 64-bit mode */
    VM_COMPAT32_R3,
    VM_LONG,
    VM_LONG_R3,
    VM_KINDS,
} VmKind;
extern const char *const vm_names[VM_KINDS];
/* Sets up the registers of `vm`; they can be changed before vm_go(). */
void vm_setup(VmKind kind);
/* Copies code to SNIPPET_AT. */
void vm_load(const void *code, const void *end);
void vm_go(void);
bool vm_done(void); /* the last one ended by INT VEC_DONE */
#define vm_run(kind, snippet)                                                                      \
    do {                                                                                           \
        vm_setup(kind);                                                                            \
        vm_load(snippet, snippet##_end);                                                           \
        vm_go();                                                                                   \
    } while (0)
/* Code for vm_load(): SNIPPET(name, 16, "insn\n ...") ends by itself with INT VEC_DONE.  The
   code is moved: jumps have to be relative; SNIPPET_AT + (label - name) is an address. */
#define SNIPPET(name, bits, text)                                                                  \
    extern const u8 name[], name##_end[];                                                          \
    asm(".pushsection .rodata.snippets\n.code" #bits "\n" #name ":\n" text                         \
        "\nint $0xf0\n" #name "_end:\n.code64\n.popsection\n")

/* ---- CPUs ---- */
typedef struct Cpu {
    struct Cpu *self;
    u32 index, apic_id;
    Caught *guard; /* of guarded() */
    u64 guard_rsp;
    void (*volatile work)(void *);
    void *volatile arg;
} Cpu;
extern Cpu cpus[CPUS_MAX];
extern volatile u32 cpu_count; /* that have started */
static inline Cpu *this_cpu(void)
{
    Cpu *c;
    asm volatile("mov %%gs:0, %0" : "=r"(c));
    return c;
}
void cpus_start(void); /* starts all of them; cpu_count says how many there are */
void cpu_run(u32 index, void (*fn)(void *), void *arg); /* not on oneself */
void cpu_wait(u32 index);
void cpu_init(u32 index); /* from start.S, vm.S */
void ap_main(u32 index);

/* ---- local APIC, in xAPIC mode ---- */
enum {
    LAPIC_ID = 0x20, LAPIC_VERSION = 0x30, LAPIC_TPR = 0x80, LAPIC_PPR = 0xa0, LAPIC_EOI = 0xb0,
    LAPIC_LDR = 0xd0, LAPIC_DFR = 0xe0, LAPIC_SVR = 0xf0, LAPIC_ISR = 0x100, LAPIC_TMR = 0x180,
    LAPIC_IRR = 0x200, LAPIC_ESR = 0x280, LAPIC_ICR = 0x300, LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320, LAPIC_LINT0 = 0x350, LAPIC_LINT1 = 0x360, LAPIC_LVT_ERROR = 0x370,
    LAPIC_TIMER_INIT = 0x380, LAPIC_TIMER_NOW = 0x390, LAPIC_TIMER_DIVIDE = 0x3e0,
};
static inline u32 lapic_read(u32 reg) { return *(volatile u32 *)(0xfee00000ul + reg); }
static inline void lapic_write(u32 reg, u32 v) { *(volatile u32 *)(0xfee00000ul + reg) = v; }
void lapic_enable(void); /* SVR with vector 0xff */
void lapic_eoi(void);
void lapic_ipi(u32 apic_id, u32 command);
bool lapic_bit(u32 reg, u8 vector); /* of ISR, TMR, IRR */

/* Waits, interrupts as they are, until *what == want; false after very long. */
bool wait_for(volatile u32 *what, u32 want);
/* The same with interrupts on during the wait. */
bool wait_irq(volatile u32 *what, u32 want);

/* ---- 8259 and 8254 ---- */
void pic_init(u8 master, u8 slave); /* bases; all masked */
void pit_mode(unsigned channel, u8 mode, u16 count);
u16 pit_count(unsigned channel); /* latched */

#endif
