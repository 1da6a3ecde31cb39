/*
 * CPU models: an instruction works if CPUID says so and is #UD if not; a control register's bit
 * or an MSR is refused if not.  Run with many values of [machine] cpu.
 */
#include "lib.h"

enum { W1_ECX, W1_EDX, W7_EBX, W7_ECX, W7_EDX, W81_ECX, W81_EDX, WD1_EAX, WORDS };
static u32 words[WORDS];

static u8 area[4096] __attribute__((aligned(64)));

typedef struct Insn {
    const char *name;
    unsigned word, bit;
    u8 bytes[12]; /* RBX is the address of `area`, RCX and RDX 0 */
} Insn;

static const Insn insns[] = {
    {"rdtsc", W1_EDX, 4, {0x0f, 0x31}},
    {"rdmsr", W1_EDX, 5, {0xb1, 0x1b, 0x0f, 0x32}},
    {"cmpxchg8b", W1_EDX, 8, {0x0f, 0xc7, 0x0b}},
    {"cmov", W1_EDX, 15, {0x0f, 0x44, 0xc1}},
    {"fcmove", W1_EDX, 15, {0xda, 0xc9}},
    {"fcomi", W1_EDX, 15, {0xdb, 0xf0}},
    {"clflush", W1_EDX, 19, {0x0f, 0xae, 0x3b}},
    {"movd mm", W1_EDX, 23, {0x0f, 0x6e, 0xc0}},
    {"fxsave", W1_EDX, 24, {0x0f, 0xae, 0x03}},
    {"addps", W1_EDX, 25, {0x0f, 0x58, 0xc1}},
    {"stmxcsr", W1_EDX, 25, {0x0f, 0xae, 0x1b}},
    {"sfence", W1_EDX, 25, {0x0f, 0xae, 0xf8}},
    {"addpd", W1_EDX, 26, {0x66, 0x0f, 0x58, 0xc1}},
    {"movnti", W1_EDX, 26, {0x0f, 0xc3, 0x03}},
    {"lfence", W1_EDX, 26, {0x0f, 0xae, 0xe8}},
    {"mfence", W1_EDX, 26, {0x0f, 0xae, 0xf0}},
    {"haddps", W1_ECX, 0, {0xf2, 0x0f, 0x7c, 0xc1}},
    {"pclmulqdq", W1_ECX, 1, {0x66, 0x0f, 0x3a, 0x44, 0xc1, 0}},
    {"monitor", W1_ECX, 3, {0x89, 0xd8, 0x0f, 0x01, 0xc8}},
    {"pshufb", W1_ECX, 9, {0x66, 0x0f, 0x38, 0x00, 0xc1}},
    {"cmpxchg16b", W1_ECX, 13, {0x48, 0x0f, 0xc7, 0x0b}},
    {"pminsb", W1_ECX, 19, {0x66, 0x0f, 0x38, 0x38, 0xc1}},
    {"crc32", W1_ECX, 20, {0xf2, 0x0f, 0x38, 0xf0, 0xc1}},
    {"pcmpgtq", W1_ECX, 20, {0x66, 0x0f, 0x38, 0x37, 0xc1}},
    {"movbe", W1_ECX, 22, {0x0f, 0x38, 0xf0, 0x03}},
    {"popcnt", W1_ECX, 23, {0xf3, 0x0f, 0xb8, 0xc1}},
    {"aesenc", W1_ECX, 25, {0x66, 0x0f, 0x38, 0xdc, 0xc1}},
    {"xsave", W1_ECX, 26, {0x0f, 0xae, 0x23}},
    {"xgetbv", W1_ECX, 26, {0x0f, 0x01, 0xd0}},
    {"vaddps", W1_ECX, 28, {0xc5, 0xfc, 0x58, 0xc1}},
    {"vfmadd231ps", W1_ECX, 12, {0xc4, 0xe2, 0x75, 0xb8, 0xc2}},
    {"vcvtph2ps", W1_ECX, 29, {0xc4, 0xe2, 0x7d, 0x13, 0xc1}},
    {"vpaddd ymm", W7_EBX, 5, {0xc5, 0xfd, 0xfe, 0xc1}},
    {"rdrand", W1_ECX, 30, {0x0f, 0xc7, 0xf0}},
    {"rdfsbase", W7_EBX, 0, {0xf3, 0x0f, 0xae, 0xc0}},
    {"andn", W7_EBX, 3, {0xc4, 0xe2, 0x78, 0xf2, 0xc1}},
    {"pdep", W7_EBX, 8, {0xc4, 0xe2, 0x7b, 0xf5, 0xc1}},
    {"invpcid", W7_EBX, 10, {0xb8, 2, 0, 0, 0, 0x66, 0x0f, 0x38, 0x82, 0x03}},
    {"rdseed", W7_EBX, 18, {0x0f, 0xc7, 0xf8}},
    {"adcx", W7_EBX, 19, {0x66, 0x0f, 0x38, 0xf6, 0xc1}},
    {"clac", W7_EBX, 20, {0x0f, 0x01, 0xca}},
    {"clflushopt", W7_EBX, 23, {0x66, 0x0f, 0xae, 0x3b}},
    {"clwb", W7_EBX, 24, {0x66, 0x0f, 0xae, 0x33}},
    {"sha1nexte", W7_EBX, 29, {0x0f, 0x38, 0xc8, 0xc1}},
    {"rdpkru", W7_ECX, 3, {0x0f, 0x01, 0xee}},
    {"rdpid", W7_ECX, 22, {0xf3, 0x0f, 0xc7, 0xf8}},
    {"xsaveopt", WD1_EAX, 0, {0x0f, 0xae, 0x33}},
    {"xsavec", WD1_EAX, 1, {0x0f, 0xc7, 0x23}},
    {"rdtscp", W81_EDX, 27, {0x0f, 0x01, 0xf9}},
    {"lahf", W81_ECX, 0, {0x9f}},
    {"sysenter", W1_EDX, 11, {0x0f, 0x34}}, /* #GP: the MSR is 0 */
};

static u8 code[32];

static void run(void *arg)
{
    (void)arg;
    asm volatile("call *%0" : : "r"(code), "b"(area), "c"(0), "d"(0) : "rax", "cc", "memory", "rsi", "rdi");
}

static void instructions(void)
{
    for (unsigned i = 0; i < COUNT(insns); i++) {
        const Insn *n = &insns[i];
        unsigned length = sizeof n->bytes;
        while (!n->bytes[length - 1])
            length--;
        memset(code, 0x90, sizeof code);
        memcpy(code, n->bytes, length);
        code[sizeof code - 1] = 0xc3;
        serialise();
        Caught c;
        guarded(run, NULL, &c);
        bool there = words[n->word] >> n->bit & 1;
        check_not_tcg(c.vector == UD, !there, "%s, CPUID %u: #UD", n->name, there);
    }
}

/* TZCNT and LZCNT are BSF and BSR without their bits: told apart by an operand of 0. */
static void counts(void)
{
    u64 v, zero = 0;
    asm volatile("mov $77, %0\n rep bsf %1, %0" : "=&r"(v) : "r"(zero) : "cc");
    check(v == 64, words[W7_EBX] >> 3 & 1, "TZCNT of 0 is 64");
    asm volatile("mov $77, %0\n rep bsr %1, %0" : "=&r"(v) : "r"(zero) : "cc");
    check(v == 64, words[W81_ECX] >> 5 & 1, "LZCNT of 0 is 64");
}

typedef struct Bit {
    const char *name;
    unsigned word, bit, number; /* of CR4, or an MSR */
} Bit;

static void write_msr_or_cr4(void *arg)
{
    u64 *v = arg;
    if (v[0] == 4)
        write_cr4(v[1]);
    else
        wrmsr((u32)v[0], rdmsr((u32)v[0]));
}

static void read_msr(void *arg)
{
    u64 *v = arg;
    v[1] = rdmsr((u32)v[0]);
}

/* What Linux reads of a CPU of Intel's without asking CPUID: to load microcode, and before it waits by MWAIT. */
static void unasked(void)
{
    u32 eax, ebx, ecx, edx;
    asm volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(1), "c"(0));
    u64 v[2] = {0x17, 1};
    Caught c;
    guarded(read_msr, v, &c);
    check(c.vector, (eax >> 8 & 15) >= 6 ? NO_TRAP : GP, "MSR PLATFORM_ID");
    if (words[W1_ECX] >> 3 & 1) {
        v[0] = 0x1fc;
        guarded(write_msr_or_cr4, v, &c);
        check_not_tcg(c.vector, NO_TRAP, "MSR POWER_CTL, with MWAIT");
    }
}

static void control(void)
{
    static const Bit bits[] = {
        {"VME", W1_EDX, 1, 0},     {"PVI", W1_EDX, 1, 1},      {"TSD", W1_EDX, 4, 2},
        {"DE", W1_EDX, 2, 3},      {"PSE", W1_EDX, 3, 4},      {"MCE", W1_EDX, 7, 6},
        {"PGE", W1_EDX, 13, 7},    {"OSFXSR", W1_EDX, 24, 9},  {"OSXMMEXCPT", W1_EDX, 25, 10},
        {"UMIP", W7_ECX, 2, 11},   {"FSGSBASE", W7_EBX, 0, 16}, {"PCIDE", W1_ECX, 17, 17},
        {"OSXSAVE", W1_ECX, 26, 18}, {"SMEP", W7_EBX, 7, 20},  {"SMAP", W7_EBX, 20, 21},
        {"PKE", W7_ECX, 3, 22},
    };
    static const Bit msrs[] = {
        {"TSC", W1_EDX, 4, 0x10},          {"MTRRcap", W1_EDX, 12, 0x2ff},  {"PAT", W1_EDX, 16, 0x277},
        {"SYSENTER_CS", W1_EDX, 11, 0x174}, {"STAR", W81_EDX, 11, 0xc0000081},
        {"TSC_ADJUST", W7_EBX, 1, 0x3b},   {"SPEC_CTRL", W7_EDX, 26, 0x48},
        {"MCG_STATUS", W1_EDX, 14, 0x17a}, {"FS_BASE", W81_EDX, 29, 0xc0000100},
    };
    u64 cr4 = read_cr4();
    for (unsigned i = 0; i < COUNT(bits); i++) {
        u64 v[2] = {4, cr4 ^ 1ull << bits[i].number};
        Caught c;
        guarded(write_msr_or_cr4, v, &c);
        check_not_tcg(c.vector, words[bits[i].word] >> bits[i].bit & 1 ? NO_TRAP : GP, "CR4.%s", bits[i].name);
        write_cr4(cr4);
    }
    for (unsigned i = 0; i < COUNT(msrs); i++) {
        u64 v[2] = {msrs[i].number, 0};
        Caught c;
        guarded(write_msr_or_cr4, v, &c);
        check_not_tcg(c.vector, words[msrs[i].word] >> msrs[i].bit & 1 ? NO_TRAP : GP, "MSR %s", msrs[i].name);
    }
}

static u64 efer_value;
static void put_efer(void *arg)
{
    (void)arg;
    wrmsr(MSR_EFER, efer_value);
}

static void efer(void)
{
    static const Bit bits[] = {{"SCE", W81_EDX, 11, 0}, {"NXE", W81_EDX, 20, 11}};
    u64 old = rdmsr(MSR_EFER);
    for (unsigned i = 0; i < COUNT(bits); i++) {
        Caught c;
        efer_value = old | 1ull << bits[i].number;
        guarded(put_efer, NULL, &c);
        check(c.vector, words[bits[i].word] >> bits[i].bit & 1 ? NO_TRAP : GP, "EFER.%s", bits[i].name);
        wrmsr(MSR_EFER, old);
    }
}

void guest_main(void)
{
    u32 r[4];
    cpuid(1, 0, r);
    words[W1_ECX] = r[2];
    words[W1_EDX] = r[3];
    check_not_tcg(r[0] >> 8 & 15, 6, "family");
    cpuid(7, 0, r);
    words[W7_EBX] = r[1];
    words[W7_ECX] = r[2];
    words[W7_EDX] = r[3];
    cpuid(0xd, 1, r);
    words[WD1_EAX] = r[0];
    cpuid(0x80000001, 0, r);
    words[W81_ECX] = r[2];
    words[W81_EDX] = r[3];
    control();
    unasked();
    efer();
    counts();
    u64 on = CR4_OSFXSR | CR4_OSXMMEXCPT, cr4 = read_cr4();
    if (!(words[W1_EDX] >> 24 & 1))
        on = 0;
    else if (!(words[W1_EDX] >> 25 & 1))
        on = CR4_OSFXSR;
    if (words[W1_ECX] >> 26 & 1)
        on |= 1u << 18;
    if (words[W7_EBX] & 1)
        on |= 1u << 16;
    if (words[W7_ECX] >> 3 & 1)
        on |= 1u << 22;
    write_cr4(cr4 | on);
    if (words[W1_ECX] >> 28 & 1)
        asm volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
    instructions();
    finish();
}
