/*
 * CPU models without long mode: CPUID against instructions, CR4 and MSRs, and SMM with the
 * 32-bit state save map.  In 32-bit protected mode, on its own: no runtime of the other guests.
 */
#include <stdbool.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* PVH entry; a trap goes on at `resume` with the vector in trap_vector. */
asm(".pushsection .note.pvh, \"a\", @note\n .balign 4\n .long 4, 4, 18\n .asciz \"Xen\"\n .long start\n"
    ".popsection\n"
    ".pushsection .text.start, \"ax\"\n .globl start\nstart: mov $stack + 8192, %esp\n lgdt gdt_pointer\n"
    " ljmp $8, $1f\n1: mov $16, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n mov %eax, %fs\n"
    " mov %eax, %gs\n call main\n"
    "trap_6: movl $6, trap_vector\n jmp trap\ntrap_13: movl $13, trap_vector\n"
    "trap: mov resume_esp, %esp\n ret\n"
    /* run(code): 0, or the vector */
    ".globl run\nrun: push %ebx\n push %esi\n push %edi\n push %ebp\n movl $0, trap_vector\n"
    " mov 20(%esp), %eax\n push $2f\n mov %esp, resume_esp\n mov $area, %ebx\n xor %ecx, %ecx\n xor %edx, %edx\n"
    " call *%eax\n ret\n"
    "2: mov trap_vector, %eax\n pop %ebp\n pop %edi\n pop %esi\n pop %ebx\n ret\n.popsection");
extern const u8 trap_6[], trap_13[];
u32 run(const void *code);
u32 trap_vector, resume_esp;
u8 area[1024] __attribute__((aligned(64))), stack[8192];
static u64 gdt[3] __attribute__((aligned(8))) __attribute__((used)) = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
struct __attribute__((packed)) Pointer {
    uint16_t limit;
    void *base;
} gdt_pointer = {23, gdt};
static u64 idt[32];

static inline void outb(uint16_t port, u8 v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static void put(const char *s)
{
    for (; *s; s++)
        outb(0x3f8, (u8)*s);
}
static unsigned failures, checks;
static void check(bool ok, const char *what, const char *name)
{
    checks++;
    if (ok)
        return;
    failures++;
    put("FAIL ");
    put(what);
    put(" ");
    put(name);
    put("\n");
}

static void cpuid(u32 leaf, u32 out[4])
{
    asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(0));
}

static const struct {
    const char *name;
    int bit; /* of CPUID.1:EDX; -1: never there, -2: of family 6 on */
    u8 bytes[8];
} insns[] = {
    {"rdtsc", 4, {0x0f, 0x31}},       {"rdmsr", 5, {0xb1, 0x10, 0x0f, 0x32}},
    {"cmpxchg8b", 8, {0x0f, 0xc7, 0x0b}}, {"sysenter", 11, {0x0f, 0x34}},
    {"cmov", 15, {0x0f, 0x44, 0xc1}}, {"fcmov", 15, {0xda, 0xc9}},
    {"fcomi", 15, {0xdb, 0xf0}},      {"fucomip", 15, {0xdf, 0xe8}},
    {"clflush", 19, {0x0f, 0xae, 0x3b}}, {"movd", 23, {0x0f, 0x6e, 0xc0}},
    {"fxsave", 24, {0x0f, 0xae, 0x03}}, {"xorps", 25, {0x0f, 0x57, 0xc0}},
    {"sfence", 25, {0x0f, 0xae, 0xf8}}, {"xorpd", 26, {0x66, 0x0f, 0x57, 0xc0}},
    {"mfence", 26, {0x0f, 0xae, 0xf0}}, {"syscall", -1, {0x0f, 0x05}},
    {"popcnt", -1, {0xf3, 0x0f, 0xb8, 0xc1}}, {"crc32", -1, {0xf2, 0x0f, 0x38, 0xf0, 0xc1}},
    {"xsave", -1, {0x0f, 0xae, 0x23}}, {"rdtscp", -1, {0x0f, 0x01, 0xf9}},
    {"rdrand", -1, {0x0f, 0xc7, 0xf0}}, {"rsm", -1, {0x0f, 0xaa}},
    {"nopl", -2, {0x0f, 0x1f, 0xc0}}, {"rdpmc", -2, {0x0f, 0x33}},
};

static u8 code[32];
static void load(const u8 *bytes, unsigned n)
{
    for (unsigned i = 0; i < sizeof code - 1; i++)
        code[i] = i < n ? bytes[i] : 0x90;
    code[sizeof code - 1] = 0xc3;
}

static void instructions(u32 edx, unsigned family)
{
    for (unsigned i = 0; i < COUNT(insns); i++) {
        unsigned n = sizeof insns[i].bytes;
        while (!insns[i].bytes[n - 1])
            n--;
        load(insns[i].bytes, n);
        bool there = insns[i].bit == -2 ? family >= 6 : insns[i].bit >= 0 && (edx >> insns[i].bit & 1);
        check((run(code) != 6) == there, "instruction", insns[i].name);
    }
}

static void control(u32 edx, unsigned family)
{
    static const struct {
        const char *name;
        int bit;
        u32 cr4;
    } bits[] = {{"VME", 1, 1}, {"PVI", 1, 2}, {"TSD", 4, 4}, {"DE", 2, 8}, {"PSE", 3, 16}, {"PAE", 6, 32},
                {"MCE", 7, 64}, {"PGE", 13, 128}, {"OSFXSR", 24, 512}, {"OSXMMEXCPT", 25, 1024},
                {"UMIP", -1, 1 << 11}, {"LA57", -1, 1 << 12}, {"OSXSAVE", -1, 1 << 18}, {"SMEP", -1, 1 << 20}};
    static const u8 mov[] = {0x0f, 0x22, 0xe6}; /* mov %esi, %cr4 */
    for (unsigned i = 0; i < COUNT(bits); i++) {
        u8 bytes[16] = {0x0f, 0x20, 0xe6, 0x81, 0xce}; /* mov %cr4, %esi; or $n, %esi */
        for (unsigned k = 0; k < 4; k++)
            bytes[5 + k] = (u8)(bits[i].cr4 >> 8 * k);
        for (unsigned k = 0; k < 3; k++)
            bytes[9 + k] = mov[k];
        load(bytes, 12);
        bool there = bits[i].bit >= 0 && (edx >> bits[i].bit & 1);
        check((run(code) == 0) == there, "CR4", bits[i].name);
    }
    /* EFER: no such MSR without NX, SYSCALL or long mode */
    if (edx >> 5 & 1) {
        static const u8 efer[] = {0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32};
        load(efer, sizeof efer);
        check(run(code) == 13, "MSR", "EFER");
        static const u8 platform_id[] = {0xb9, 0x17, 0, 0, 0, 0x0f, 0x32};
        load(platform_id, sizeof platform_id);
        check((run(code) != 13) == (family >= 6), "MSR", "PLATFORM_ID");
    }
}

/* At SMBASE + 0x8000: counts, changes ECX in the map and SMBASE. */
asm(".pushsection .rodata\n.code16\nhandler: incl %cs:0x9000\n mov %cs:0xfefc, %eax\n mov %eax, %cs:0x9004\n"
    " movl $0x1234abcd, %cs:0xffd4\n movl $0x60000, %cs:0xfef8\n rsm\nhandler_end:\n.code32\n.popsection");
extern const u8 handler[], handler_end[];

static void smm(void)
{
    for (unsigned i = 0; i < 2; i++) {
        volatile u8 *to = (u8 *)(i ? 0x68000 : 0x38000);
        for (const u8 *p = handler; p < handler_end; p++)
            *to++ = *p;
        *(volatile u32 *)(i ? 0x69000 : 0x39000) = 0;
    }
    *(volatile u32 *)0xfee000f0 = 0x1ff; /* the APIC's software enable */
    for (unsigned i = 0; i < 2; i++) {
        u32 ecx = 77, esp = 0, esp2 = 0;
        asm volatile("mov %%esp, %1\n movl $0x44200, 0xfee00300\n jmp 1f\n1: nop\n jmp 2f\n2: mov %%esp, %2"
                     : "+c"(ecx), "=&r"(esp), "=&r"(esp2)
                     :
                     : "eax", "memory");
        volatile u32 *told = (u32 *)(i ? 0x69000 : 0x39000);
        check(told[0] == 1, "SMM", i ? "second handler ran" : "handler ran");
        check((told[1] & 0xffff) == 0, "SMM", "revision");
        check(ecx == 0x1234abcd, "SMM", "ECX as the handler left it");
        check(esp == esp2, "SMM", "ESP kept");
    }
}

__attribute__((used)) void main(void)
{
    for (unsigned i = 0; i < COUNT(idt); i++) {
        u32 to = (u32)(i == 6 ? trap_6 : trap_13);
        idt[i] = (to & 0xffff) | 8 << 16 | (u64)0x8e00 << 32 | (u64)(to >> 16) << 48;
    }
    struct Pointer pointer = {sizeof idt - 1, idt};
    asm volatile("lidt %0" : : "m"(pointer));
    u32 r[4];
    cpuid(1, r);
    unsigned family = r[0] >> 8 & 15;
    check(r[2] == 0, "CPUID.1", "ECX");
    if (r[3] >> 24 & 1)
        asm volatile("mov %%cr4, %%eax\n or $0x200, %%eax\n mov %%eax, %%cr4" : : : "eax");
    instructions(r[3], family);
    control(r[3], family);
    if (r[3] >> 9 & 1)
        smm();
    u32 leaf[4];
    cpuid(0x80000000, leaf);
    check(leaf[0] >> 16 != 0x8000, "CPUID", "extended leaves");
    put(failures ? "FAIL\n" : "PASS: models32\n");
    outb(0x501, failures != 0);
    for (;;)
        ;
}
