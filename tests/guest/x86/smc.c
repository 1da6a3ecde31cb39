/*
 * Code that is written while it runs: in the same block, the next instruction, the same page,
 * another page, over a page boundary, through an alias; and by another CPU.
 */
#include "lib.h"

static u8 code_page[3 * PAGE] __attribute__((aligned(4096)));
typedef u64 Fn(u64, u64);

/* MOV EAX, imm32; RET */
static u8 *put_mov(u8 *p, u32 v)
{
    *p++ = 0xb8;
    memcpy(p, &v, 4);
    p[4] = 0xc3;
    return p + 5;
}

static u64 call(const volatile void *p)
{
    u64 r;
    asm volatile("call *%1"
                 : "=a"(r)
                 : "r"(p)
                 : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
    return r;
}

/* ---- written from outside, then run again ---- */

static void rewrite(void)
{
    static const unsigned offsets[] = {0,        1,        63,       64,
                                       100,      PAGE - 6, PAGE - 5, PAGE - 4,
                                       PAGE - 3, PAGE - 2, PAGE - 1, 2 * PAGE - 3};
    for (unsigned i = 0; i < COUNT(offsets); i++) {
        u8 *p = code_page + offsets[i];
        for (u32 n = 0; n < 20; n++) {
            put_mov(p, n * 0x01010101);
            check(call(p), n * 0x01010101, "offset %u: whole instruction, round %u", offsets[i], n);
        }
        for (unsigned b = 1; b < 5; b++) {
            ((volatile u8 *)p)[b] ^= 0xff;
            u32 want;
            memcpy(&want, p + 1, 4);
            check(call(p), want, "offset %u: byte %u of the immediate", offsets[i], b);
        }
        /* the opcode: MOV ECX */
        put_mov(p, 0x1234);
        call(p);
        *(volatile u8 *)p = 0xb9;
        u64 r;
        asm volatile("xor %%eax, %%eax\n call *%1" : "=&a"(r) : "r"(p) : "rcx", "memory");
        check(r, 0, "offset %u: opcode", offsets[i]);
    }
    /* all kinds of writers */
    u8 *p = code_page + 256;
    put_mov(p, 1);
    check(call(p), 1, "writers: start");
    asm volatile("movb $2, 1(%0)" : : "r"(p) : "memory");
    check(call(p), 2, "MOV");
    asm volatile("lock incb 1(%0)" : : "r"(p) : "memory");
    check(call(p), 3, "LOCK INC");
    asm volatile("xchg %%al, 1(%0)" : : "r"(p), "a"(4) : "memory");
    check(call(p), 4, "XCHG");
    u32 v = 5;
    void *d = p + 1;
    u64 n = 1;
    asm volatile("rep movsb" : "+D"(d), "+c"(n) : "S"(&v) : "memory");
    check(call(p), 5, "REP MOVSB");
    d = p + 1;
    n = 1;
    asm volatile("rep stosl" : "+D"(d), "+c"(n) : "a"(6) : "memory");
    check(call(p), 6, "REP STOSL");
    asm volatile("mov %%rsp, %%r8\n lea 9(%0), %%rsp\n push %1\n mov %%r8, %%rsp"
                 :
                 : "r"(p), "r"(0xc3c30000000007ul)
                 : "r8", "memory");
    check(call(p) & 0xff, 7, "PUSH");
    put_mov(p, 7);
    asm volatile("btsl $3, 1(%0)" : : "r"(p) : "memory");
    check(call(p), 15, "BTS");
    asm volatile("lock cmpxchgl %2, 1(%0)" : : "r"(p), "a"(15), "r"(16) : "memory");
    check(call(p), 16, "CMPXCHG");
    asm volatile("lock cmpxchg8b (%0)"
                 :
                 : "r"(p), "a"(*(u32 *)p), "d"(((u32 *)p)[1]), "b"(0x000011b8), "c"(((u32 *)p)[1])
                 : "memory");
    check(call(p), 17, "CMPXCHG8B");
    asm volatile("call 1f\n1: popq 8(%0)" : : "r"(code_page + 400) : "memory");
    asm volatile("sets 1(%0)" : : "r"(p) : "memory");
    check(call(p) & ~1ull, 0, "SETcc");
}

/* ---- code that changes itself ---- */

extern u8 self_next[], self_block[], self_loop[], self_back[], self_rep[], self_cross[];
asm(".pushsection .smc, \"awx\"\n.balign 64\n"
    /* the very next instruction */
    "self_next: movl $0x22222222, 1f + 1(%rip)\n1: mov $0x11111111, %eax\n ret\n"
    /* a later instruction of the same block, and an earlier one, in a loop */
    ".balign 64\n"
    "self_block: xor %edx, %edx\n mov $1, %ecx\n nop\n movb $5, 2f + 1(%rip)\n add $7, %edx\n lea "
    "(%rdx, %rcx), %edx\n"
    "2: mov $3, %esi\n add %esi, %edx\n mov %edx, %eax\n ret\n"
    ".balign 64\n"
    "self_loop: xor %eax, %eax\n mov $10, %ecx\n3: add $1, %eax\n incb 3b + 2(%rip)\n loop 3b\n "
    "ret\n"
    /* a jump's displacement is changed, then taken */
    ".balign 64\n"
    "self_back: movb $7, 4f + 1(%rip)\n4: jmp 5f\n5: mov $1, %eax\n ret\n.byte 0x90\n mov $2, "
    "%eax\n ret\n"
    /* REP STOSB over the instruction that follows it */
    ".balign 64\n"
    "self_rep: mov $0x90, %al\n lea 6f(%rip), %rdi\n mov $5, %ecx\n rep stosb\n"
    "6: mov $0x12345678, %eax\n movzbl %al, %eax\n ret\n"
    ".popsection");

static void itself(void)
{
    check(call(self_next), 0x22222222, "the next instruction");
    *(volatile u32 *)(self_next + 11) = 0x11111111;
    check(call(self_next), 0x22222222, "the next instruction, again");
    check(call(self_block), 13, "a later instruction of the block");
    check(call(self_block), 13, "a later instruction of the block, again");
    check(call(self_loop), 55, "a loop that changes its addend");
    check(call(self_back), 2, "a jump's displacement");
    check(call(self_rep), 0x90, "REP STOSB over what follows");
}

/* ---- through an alias ---- */

static volatile u64 alias_dir[512] __attribute__((aligned(4096)));
static volatile u64 alias_table[512] __attribute__((aligned(4096)));
#define ALIAS 0x200000000ul

static void alias(void)
{
    pdpt_host[ALIAS >> 30] = (u64)alias_dir | 3;
    alias_dir[0] = (u64)alias_table | 3;
    for (unsigned i = 0; i < 3; i++)
        alias_table[i] = ((u64)code_page + i * PAGE) | 3;
    write_cr3(read_cr3());
    u8 *p = code_page + 128, *q = (u8 *)ALIAS + 128;
    for (u32 n = 0; n < 20; n++) {
        put_mov(n & 1 ? q : p, n);
        check(call(p), n, "written through %s, run directly", n & 1 ? "the alias" : "itself");
        put_mov(n & 2 ? q : p, n + 100);
        check(call(q), n + 100, "run through the alias");
    }
    /* over a page boundary whose second half lies elsewhere for the alias */
    alias_table[1] = ((u64)code_page + 2 * PAGE) | 3;
    invlpg((void *)(ALIAS + PAGE));
    put_mov(code_page + PAGE - 3, 0x11223344);
    u8 *second = code_page + 2 * PAGE;
    second[0] = 0x55;
    second[1] = 0x66;
    second[2] = 0xc3;
    check(call(code_page + PAGE - 3), 0x11223344, "over a boundary, directly");
    check(call((u8 *)ALIAS + PAGE - 3), 0x66553344, "over a boundary, other second page");
    second[0] = 0x77;
    check(call((u8 *)ALIAS + PAGE - 3), 0x66773344, "over a boundary, second page written");
    /* The mapping changes under the code. */
    put_mov(code_page, 1);
    put_mov(code_page + PAGE, 2);
    alias_table[4] = (u64)code_page | 3;
    check(call((u8 *)ALIAS + 4 * PAGE), 1, "first frame");
    alias_table[4] = ((u64)code_page + PAGE) | 3;
    invlpg((void *)(ALIAS + 4 * PAGE));
    check(call((u8 *)ALIAS + 4 * PAGE), 2, "second frame");
    alias_table[4] = (u64)code_page | 3;
    write_cr3(read_cr3());
    check(call((u8 *)ALIAS + 4 * PAGE), 1, "first frame again");
    /* The same, the page before it jumping there */
    code_page[2 * PAGE - 2] = 0xeb; /* JMP +0 */
    code_page[2 * PAGE - 1] = 0;
    put_mov(code_page + 2 * PAGE, 77);
    alias_table[8] = ((u64)code_page + PAGE) | 3;
    alias_table[9] = ((u64)code_page + 2 * PAGE) | 3;
    for (unsigned i = 0; i < 10; i++)
        check(call((u8 *)ALIAS + 9 * PAGE - 2), 77, "jump to the next page");
    alias_table[9] = (u64)code_page | 3;
    invlpg((void *)(ALIAS + 9 * PAGE));
    check(call((u8 *)ALIAS + 9 * PAGE - 2), 1, "jump to the next page, which is another now");
    pdpt_host[ALIAS >> 30] = 0;
    write_cr3(read_cr3());
}

/* ---- many versions, so that any cache of translations fills ---- */

static u8 many[256 * 1024] __attribute__((aligned(4096)));

static void flood(void)
{
    u64 sum = 0, want = 0;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < sizeof many; i += 16) {
            put_mov(many + i, i * 3 + round);
            want += i * 3 + round;
        }
        for (unsigned i = 0; i < sizeof many; i += 16)
            sum += call(many + i);
    }
    check(sum, want, "flood");
}

/* ---- from another CPU ---- */

static volatile u32 version, seen, stop_at, ipis;

static void on_ipi(Trap *t)
{
    (void)t;
    ipis++;
    serialise();
    lapic_eoi();
}

/* Runs the code again and again; each version is acknowledged by what it returns. */
static void runner(void *arg)
{
    sti();
    for (u32 n = 0; seen != stop_at && n < 2000000000; n++)
        seen = (u32)call(arg);
}

static void cross(void)
{
    cpus_start();
    if (cpu_count < 2) {
        print("one CPU: code written by another is not tested\n");
        return;
    }
    trap_handlers[0x61] = on_ipi;
    for (unsigned with_ipi = on_tcg; with_ipi < 2; with_ipi++) { /* TCG may miss it without */
        u8 *p = code_page + 512;
        put_mov(p, 0);
        seen = 0;
        stop_at = 200;
        cpu_run(1, runner, p);
        for (u32 n = 1; n <= 200; n++) {
            /* an aligned store of the immediate's low byte: one version or the other is run */
            ((volatile u8 *)p)[1] = (u8)n;
            if (with_ipi) {
                u32 before = ipis;
                lapic_ipi(cpus[1].apic_id, 0x4061);
                if (!wait_for(&ipis, before + 1))
                    die("no interrupt between CPUs");
            }
            if (!wait_for(&seen, n))
                die("CPU 1 does not see version %u: it runs %u", n, seen);
        }
        cpu_wait(1);
        check(seen, 200, "versions seen by CPU 1");
    }
    trap_handlers[0x61] = NULL;
}

void guest_main(void)
{
    rewrite();
    itself();
    alias();
    flood();
    cross();
    finish();
}
