/*
 * Tests the interpreter's x87, MMX and SSE library against the processor it runs on: every opcode
 * that a lookup knows is put into an executable page, run on random and corner operands, and the
 * result, the flags and the exceptions are compared.  Skipped on other hosts than x86-64, and for
 * instructions that the host does not have.
 */
#include <glib.h>
#include <string.h>

#include "accel/interp/x86/fpu.h"

#if defined(__x86_64__)

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

/* What run_host() loads before and stores after; its offsets are known to the assembly. */
typedef struct HostContext {
    X86Xmm xmm[3];           /* 0 */
    uint64_t mm[3];          /* 48 */
    uint64_t rax, rcx, rdx;  /* 72 */
    uint64_t rflags;         /* 96 */
    uint32_t mxcsr, pad;     /* 104 */
    void *fx;                /* 112: x87 only, 512 bytes for FXRSTOR and FXSAVE */
} HostContext;

void run_host_sse(HostContext *c, const void *code);
void run_host_x87(HostContext *c, const void *code);

__asm__(".text\n"
        "run_host_sse:\n"
        "push %rbx\n"
        "mov %rdi, %rbx\n"
        "movq 48(%rbx), %mm0\n"
        "movq 56(%rbx), %mm1\n"
        "movq 64(%rbx), %mm2\n"
        "movdqa (%rbx), %xmm0\n"
        "movdqa 16(%rbx), %xmm1\n"
        "movdqa 32(%rbx), %xmm2\n"
        "mov 72(%rbx), %rax\n"
        "mov 80(%rbx), %rcx\n"
        "mov 88(%rbx), %rdx\n"
        "ldmxcsr 104(%rbx)\n"
        "call *%rsi\n"
        "stmxcsr 104(%rbx)\n"
        "pushfq\n"
        "popq 96(%rbx)\n"
        "movl $0x1f80, 108(%rbx)\n"
        "ldmxcsr 108(%rbx)\n"
        "movq %mm0, 48(%rbx)\n"
        "movq %mm1, 56(%rbx)\n"
        "movq %mm2, 64(%rbx)\n"
        "emms\n"
        "movdqa %xmm0, (%rbx)\n"
        "movdqa %xmm1, 16(%rbx)\n"
        "movdqa %xmm2, 32(%rbx)\n"
        "mov %rax, 72(%rbx)\n"
        "mov %rcx, 80(%rbx)\n"
        "mov %rdx, 88(%rbx)\n"
        "pop %rbx\n"
        "ret\n"
        "run_host_x87:\n"
        "push %rbx\n"
        "mov %rdi, %rbx\n"
        "mov 112(%rbx), %rdx\n"
        "fxrstor64 (%rdx)\n"
        "mov 72(%rbx), %rax\n"
        "mov 88(%rbx), %rdx\n"
        "push 96(%rbx)\n"
        "popfq\n"
        "call *%rsi\n"
        "pushfq\n"
        "popq 96(%rbx)\n"
        "cld\n"
        "mov %rax, 72(%rbx)\n"
        "mov 112(%rbx), %rdx\n"
        "fxsave64 (%rdx)\n"
        "fninit\n"
        "pop %rbx\n"
        "ret\n");

static uint8_t *code_page;
static sigjmp_buf on_fault;
static volatile uint32_t fault_mxcsr;
static GRand *rnd;

static void fault(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    fault_mxcsr = uc->uc_mcontext.fpregs->mxcsr;
    siglongjmp(on_fault, 1);
}

static bool set_up(void)
{
    if (!code_page) {
        code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct sigaction sa = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO };
        sigaction(SIGFPE, &sa, NULL);
    }
    if (rnd)
        g_rand_free(rnd);
    rnd = g_rand_new_with_seed(20240607);
    return code_page != MAP_FAILED;
}

static uint32_t r32(void)
{
    return g_rand_int(rnd);
}

static uint64_t r64(void)
{
    return (uint64_t)r32() << 32 | r32();
}

static uint32_t random_f32(void)
{
    static const uint32_t corners[] = {
        0,          1,          0x7fffff,   0x800000,   0x800001,   0x3f800000, 0x3f800001,
        0x3f7fffff, 0x3f000000, 0x40200000, 0x40600000, 0x4b000001, 0x4f000000, 0x4effffff,
        0x5f000000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fc12345,
        0x400000,   0x1f000000, 0x20000000, 0x00ffffff,
    };
    if (r32() & 1)
        return corners[r32() % G_N_ELEMENTS(corners)] | (r32() & 0x80000000);
    return r32() & 1 ? r32() : (r32() & 0x807fffff) | (0x78 + r32() % 0x28) << 23;
}

static uint64_t random_f64(void)
{
    static const uint64_t corners[] = {
        0, 1, 0xfffffffffffff, 0x10000000000000, 0x10000000000001, 0x3ff0000000000000,
        0x3ff0000000000001, 0x3fefffffffffffff, 0x3fe0000000000000, 0x4004000000000000,
        0x400c000000000000, 0x4330000000000001, 0x41e0000000000000, 0x41dfffffffc00000,
        0x43e0000000000000, 0x7fefffffffffffff, 0x7ff0000000000000, 0x7ff0000000000001,
        0x7ff7ffffffffffff, 0x7ff8000000000000, 0x7ff8123456789abc, 0x47efffffe0000000,
        0x47effffff0000000, 0x36a0000000000000, 0x3690000000000000, 0x380fffffffffffff,
    };
    if (r32() & 1)
        return corners[r32() % G_N_ELEMENTS(corners)] | (r64() & 1ull << 63);
    return r32() & 1 ? r64()
                     : (r64() & 0x800fffffffffffff) | (uint64_t)(0x3f0 + r32() % 0x50) << 52;
}

static void random_xmm(X86Xmm *x)
{
    unsigned how = r32() % 6;
    for (unsigned i = 0; i < 4; i++) {
        if (how < 2)
            x->d[i] = random_f32();
        else if (how == 2)
            x->d[i] = r32();
    }
    for (unsigned i = 0; i < 2 && (how == 3 || how == 4); i++)
        x->q[i] = random_f64();
    for (unsigned i = 0; i < 16 && how == 5; i++)
        x->b[i] = (uint8_t)(r32() % 5);
    if (how == 2 && r32() % 4 == 0) { /* a count for the shifts */
        x->q[0] = r32() % 70;
    }
}

static bool host_has(unsigned feature)
{
    switch ((X86SseFeature)feature) {
    case X86_FEAT_SSE3:
        return __builtin_cpu_supports("sse3");
    case X86_FEAT_SSSE3:
        return __builtin_cpu_supports("ssse3");
    case X86_FEAT_SSE41:
        return __builtin_cpu_supports("sse4.1");
    case X86_FEAT_SSE42:
        return __builtin_cpu_supports("sse4.2");
    case X86_FEAT_PCLMUL:
        return __builtin_cpu_supports("pclmul");
    case X86_FEAT_AES:
        return __builtin_cpu_supports("aes");
    case X86_FEAT_SHA:
    case X86_FEAT_GFNI: {
        uint32_t a = 7, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        return feature == X86_FEAT_SHA ? b >> 29 & 1 : c >> 8 & 1;
    }
    case X86_FEAT_MMX:
    case X86_FEAT_SSE:
    case X86_FEAT_SSE2:
        return true;
    }
    return false;
}

typedef struct Encoding {
    unsigned map, prefix, opcode, modrm, imm;
    bool rexw;
} Encoding;

static void emit(const X86SseInsn *insn, const Encoding *e)
{
    static const uint8_t prefixes[4] = { 0, 0x66, 0xf3, 0xf2 };
    uint8_t *p = code_page;
    if (e->prefix)
        *p++ = prefixes[e->prefix];
    if (e->rexw)
        *p++ = 0x48;
    *p++ = 0x0f;
    if (e->map)
        *p++ = e->map == 1 ? 0x38 : 0x3a;
    *p++ = (uint8_t)e->opcode;
    if (e->map || e->opcode != 0x77)
        *p++ = (uint8_t)e->modrm;
    if (insn->flags & X86_SSE_IMM8)
        *p++ = (uint8_t)e->imm;
    *p++ = 0xc3;
}

static bool nan_bits(uint64_t v, bool wide)
{
    return wide ? (v & ~(1ull << 63)) > 0x7ffull << 52 : (v & 0x7fffffff) > 0x7f800000;
}

/* Of several NaNs DPPS and DPPD give the one that comes first in their sum: the library has Intel's order. */
static void same_nans(const X86SseInsn *insn, X86Xmm *host, const X86Xmm *ours)
{
    if (!g_str_has_prefix(insn->name, "dpp") || __builtin_cpu_is("intel"))
        return;
    for (unsigned i = 0; i < 4; i++) {
        if (insn->name[3] == 'd' && nan_bits(host->q[i / 2], true) && nan_bits(ours->q[i / 2], true))
            host->q[i / 2] = ours->q[i / 2];
        if (insn->name[3] == 's' && nan_bits(host->d[i], false) && nan_bits(ours->d[i], false))
            host->d[i] = ours->d[i];
    }
}

/* Register 1 in ModRM.reg; register 2 or the memory at rDX in ModRM.rm. */
static void check_sse(const X86SseInsn *insn, Encoding *e)
{
    bool memory = (e->modrm & 0xc0) != 0xc0;
    uint64_t gpr[3];
    X86Fpu f;
    X86Xmm mem, mem_before, buffer;
    HostContext c = { 0 };

    x86_fpu_reset(&f);
    for (unsigned i = 0; i < 3; i++) {
        random_xmm(&c.xmm[i]);
        if (i && r32() % 8 == 0)
            c.xmm[i] = c.xmm[i - 1];
        X86Xmm t;
        random_xmm(&t);
        c.mm[i] = t.q[0];
        gpr[i] = r32() % 3 ? r64() : (uint64_t)((int64_t)(r32() % 40) - 20);
        f.xmm[i] = c.xmm[i];
        f.r[i].mant = c.mm[i];
    }
    random_xmm(&mem);
    mem_before = mem;
    /* A load must not look past its operand: what lies there is something else for us. */
    memset(&buffer, 0xa5, sizeof(buffer));
    e->imm = r32() & 0xff;
    e->rexw = (insn->flags & (X86_SSE_REXW | X86_SSE_PCMPSTR) || insn->reg == X86_OPK_GPR ||
               insn->rm == X86_OPK_GPR) && r32() & 1;
    c.mxcsr = 0x1f80 | (r32() & 0xe040) | (r32() % 2 ? r32() & 0x3f : 0);
    if (r32() % 2)
        c.mxcsr &= ~0x8040u;
    if (r32() % 4 == 0)
        c.mxcsr &= ~(r32() & 0x1f80) & ~0x3fu;
    uint32_t mxcsr_before = f.mxcsr = c.mxcsr;
    if (insn->flags & X86_SSE_PCMPSTR && !e->rexw && r32() & 1)
        gpr[2] = 0x80000000u;
    c.rax = f.arg_ax = gpr[0];
    c.rcx = gpr[1];
    c.rdx = f.arg_dx = gpr[2];
    unsigned size = insn->mem_size;
    if (insn->flags & X86_SSE_REXW && e->rexw)
        size = 8;
    if (memory) {
        c.rdx = (uintptr_t)&mem;
        if (insn->flags & X86_SSE_PCMPSTR)
            f.arg_dx = c.rdx;
        memcpy(&buffer, &mem, insn->flags & X86_SSE_STORE ? 0 : size);
    }
    HostContext before = c;
    emit(insn, e);
    uint32_t expect_xm = 0;
    if (sigsetjmp(on_fault, 1) == 0) {
        run_host_sse(&c, code_page);
    } else {
        __asm__ volatile("emms");
        c = before;
        mem = mem_before;
        c.mxcsr = fault_mxcsr;
        expect_xm = X86_SSE_XM;
    }

    void *reg = insn->reg == X86_OPK_GPR ? &gpr[1]
                : insn->reg              ? x86_sse_reg(&f, insn->reg, 1)
                                         : NULL;
    void *rm = memory                    ? &buffer
               : insn->rm == X86_OPK_GPR ? (void *)&gpr[2]
                                         : x86_sse_reg(&f, insn->rm, 2);
    bool store = insn->flags & X86_SSE_STORE;
    uint32_t res = insn->fn(&f, store ? rm : reg, store ? reg : rm,
                            e->imm | (e->rexw ? X86_SSE_IMM_REXW : 0));
    if (insn->flags & X86_SSE_RES_CX)
        gpr[1] = f.res_cx;
    same_nans(insn, &c.xmm[1], &f.xmm[1]);

    char *what = g_strdup_printf("%s map %u prefix %u %02x/%02x imm %02x w %d mxcsr %x: xmm1 "
                                 "%016lx%016lx xmm2 %016lx%016lx mm1 %lx mm2 %lx mem %016lx%016lx",
                                 insn->name, e->map, e->prefix, e->opcode, e->modrm, e->imm,
                                 e->rexw, mxcsr_before, before.xmm[1].q[1], before.xmm[1].q[0],
                                 before.xmm[2].q[1], before.xmm[2].q[0], before.mm[1], before.mm[2],
                                 mem_before.q[1], mem_before.q[0]);
    /* Left out by the library: whether an unmasked over- or underflow is inexact without bounds. */
    uint32_t ignore = expect_xm && c.mxcsr & ~(c.mxcsr >> 7) & 0x18 ? 0x20 : 0;
    bool ok = (res & X86_SSE_XM) == expect_xm && !((f.mxcsr ^ c.mxcsr) & ~ignore);
    if (insn->flags & X86_SSE_EFLAGS && !expect_xm)
        ok &= res == (c.rflags & 0x8d5);
    for (unsigned i = 0; i < 3; i++)
        ok &= !memcmp(&f.xmm[i], &c.xmm[i], 16) && f.r[i].mant == c.mm[i];
    ok &= gpr[1] == c.rcx && (memory || gpr[2] == c.rdx);
    if (memory && store && !expect_xm)
        ok &= !memcmp(&buffer, &mem, size) && !memcmp(mem.b + size, mem_before.b + size, 16 - size);
    if (!ok) {
        g_test_message("%s", what);
        g_test_message("host xm %d mxcsr %x fl %lx xmm0 %016lx%016lx xmm1 %016lx%016lx xmm2 "
                       "%016lx%016lx mm1 %lx mm2 %lx rcx %lx rdx %lx mem %016lx",
                       !!expect_xm, c.mxcsr, c.rflags & 0x8d5, c.xmm[0].q[1], c.xmm[0].q[0],
                       c.xmm[1].q[1], c.xmm[1].q[0], c.xmm[2].q[1], c.xmm[2].q[0], c.mm[1], c.mm[2],
                       c.rcx, c.rdx, mem.q[0]);
        g_test_message("ours res %x mxcsr %x xmm0 %016lx%016lx xmm1 %016lx%016lx xmm2 %016lx%016lx "
                       "mm1 %lx mm2 %lx rcx %lx rdx %lx mem %016lx",
                       res, f.mxcsr, f.xmm[0].q[1], f.xmm[0].q[0], f.xmm[1].q[1], f.xmm[1].q[0],
                       f.xmm[2].q[1], f.xmm[2].q[0], f.r[1].mant, f.r[2].mant, gpr[1], gpr[2],
                       buffer.q[0]);
        g_test_fail();
    }
    g_free(what);
}

static void test_sse(gconstpointer data)
{
    unsigned map = GPOINTER_TO_UINT(data), known = 0;
    if (!set_up()) {
        g_test_skip("no executable memory");
        return;
    }
    for (unsigned key = 0; key < 4 * 256 * 8 * 2; key++) {
        unsigned ext = key >> 1 & 7;
        Encoding e = { .map = map, .prefix = key >> 12, .opcode = key >> 4 & 0xff };
        bool group = !map && e.opcode >= 0x71 && e.opcode <= 0x73;
        if (!group && ext != 1)
            continue;
        e.modrm = (key & 1 ? 0xc2 : 0x02) | ext << 3;
        const X86SseInsn *insn = x86_sse_lookup(map, e.prefix, (uint8_t)e.opcode, e.modrm);
        if (!insn || insn->flags & X86_SSE_MASKMOV || !host_has(insn->feature))
            continue;
        if (!strcmp(insn->name, "emms"))
            continue;
#ifdef X86_FP_SOFT /* the software's approximations are others than the host's */
        if (g_str_has_prefix(insn->name, "rcp") || g_str_has_prefix(insn->name, "rsqrt"))
            continue;
#endif
        known++;
        unsigned count = g_test_slow() ? 20000 : insn->flags & X86_SSE_FP ? 600 : 150;
        for (unsigned i = 0; i < count && !g_test_failed(); i++)
            check_sse(insn, &e);
    }
    g_test_message("%u instruction forms", known);
    g_assert_cmpuint(known, >, map == 2 ? 30 : 60);
}

/* ---------------------------------------------------------------- x87 */

static X86FpReg random_f80(void)
{
    static const X86FpReg corners[] = {
        { 0, 0 },
        { 1, 0 },
        { 0x7fffffffffffffff, 0 },
        { 0x8000000000000000, 0 },
        { 0x8000000000000001, 0 },
        { 0x8000000000000000, 1 },
        { 0xffffffffffffffff, 1 },
        { 0x8000000000000000, 0x3fff },
        { 0x8000000000000001, 0x3fff },
        { 0xffffffffffffffff, 0x3ffe },
        { 0x8000000000000000, 0x3ffe },
        { 0x8000000000000000, 0x4000 },
        { 0xa000000000000000, 0x4000 },
        { 0xffffffffffffffff, 0x7ffe },
        { 0x8000000000000000, 0x7fff },
        { 0x8000000000000001, 0x7fff },
        { 0xbfffffffffffffff, 0x7fff },
        { 0xc000000000000000, 0x7fff },
        { 0xc123456789abcdef, 0x7fff },
        { 0, 0x7fff },
        { 1, 0x7fff },
        { 0x4000000000000000, 0x4000 },
        { 0, 1 },
        { 0, 0x4010 },
        { 0xfffffffffffffffe, 0x403d },
        { 0x8000000000000000, 0x403e },
        { 0xde0b6b3a763ffff0, 0x403a },
        { 0xde0b6b3a76400000, 0x403a },
        { 0xc90fdaa22168c235, 0x3ffe },
        { 0x8000000000000000, 0x407e },
        { 0xfffff80000000000, 0x407e },
        { 0xffffff0000000000, 0x407e },
        { 0xffffff7fffffffff, 0x407e },
        { 0xfffffffffffffc00, 0x43fe },
        { 0xfffffffffffffbff, 0x43fe },
        { 0xffffffffffffffff, 0x3c00 },
        { 0x8000000000000000, 0x3f80 },
        { 0x8000000000000000, 0x3f6a },
        { 0x8000000000000000, 0x3bcd },
    };
    unsigned how = r32() % 8;
    X86FpReg v = { r64(), (uint16_t)r32() };
    if (how < 3)
        v = corners[r32() % G_N_ELEMENTS(corners)];
    else if (how < 5)
        v.mant |= 1ull << 63, v.se = (uint16_t)(0x3fff + r32() % 70 - 3);
    else if (how == 5)
        v.mant |= 1ull << 63, v.se = (uint16_t)(0x3fff + r32() % 2200 - 1100);
    else if (how == 6)
        v.mant = (v.mant | 1ull << 63) & ~0ull << (20 + r32() % 43),
        v.se = (uint16_t)(0x3fff + r32() % 12);
    if (r32() & 1)
        v.se ^= 0x8000;
    return v;
}

static void random_x87_memory(uint8_t *p, const char *name)
{
    X86FpReg v = random_f80();
    memset(p, 0, 128);
    switch (r32() % 5) {
    case 0:
        for (unsigned i = 0; i < 10; i++)
            p[i] = (uint8_t)(r32() % 10 | r32() % 10 << 4);
        break;
    case 1: {
        uint32_t s = random_f32();
        memcpy(p, &s, 4);
        break;
    }
    case 2: {
        uint64_t d = random_f64();
        memcpy(p, &d, 8);
        break;
    }
    case 3: {
        int64_t i = (int64_t)r64() >> r32() % 64;
        memcpy(p, &i, 8);
        break;
    }
    default:
        memcpy(p, &v.mant, 8);
        memcpy(p + 8, &v.se, 2);
        break;
    }
    if (!strcmp(name, "fldcw")) {
        p[0] = (uint8_t)r32();
        p[1] = (uint8_t)r32();
    } else if (!strcmp(name, "fldenv") || !strcmp(name, "frstor")) {
        for (unsigned i = 0; i < 128; i++)
            p[i] = (uint8_t)r32();
    }
}

static bool check_x87(const X86X87Insn *insn, unsigned opcode, unsigned modrm, bool op16)
{
    X86Fpu f, before;
    uint8_t image[512] __attribute__((aligned(16))) = { 0 }, mem[128] = { 0 }, ours[128];
    X86Fpu host;
    HostContext c = { .fx = image };

    x86_fpu_reset(&f);
    f.cw = (uint16_t)(0x37f & ~(r32() & 0xf00));
    f.cw |= (uint16_t)(r32() & 0xc00);
    if (r32() % 4 == 0)
        f.cw &= (uint16_t)~(r32() & 0x3f);
    f.sw = (uint16_t)(r32() & 0x7f7f & ~(~f.cw & 0x3f));
    f.tag = r32() % 2 ? 0x7fu << (f.sw >> 11 & 7) : r32();
    f.tag = (f.tag | f.tag >> 8) & 0xff; /* mostly ST0..6 in use, ST7 free */
    for (unsigned i = 0; i < 8; i++)
        f.r[i] = random_f80();
    random_x87_memory(mem, insn->name);
    memcpy(ours, mem, sizeof(ours));
    before = f;
    x86_fxsave(&f, image, true, true);
    c.rax = r64();
    c.rdx = (uintptr_t)mem;
    uint32_t eflags = 0x202 | (r32() & 0x8d5);
    c.rflags = eflags;
    uint64_t rax = c.rax;
    uint8_t *p = code_page;
    if (op16)
        *p++ = 0x66;
    *p++ = (uint8_t)opcode;
    *p++ = (uint8_t)modrm;
    *p++ = 0xc3;
    run_host_x87(&c, code_page);

    x86_fpu_reset(&host);
    x86_fxrstor(&host, image, true, true);
    memcpy(&host.sw, image + 2, 2); /* ES as the host has it */
    memcpy(&host.cw, image, 2);
    void *arg = insn->flags & X86_X87_AX ? (void *)&rax : modrm < 0xc0 ? ours : NULL;
    uint32_t res = x86_x87_execute(&f, (uint8_t)opcode, (uint8_t)modrm, arg,
                                   X86_X87_PROT | (op16 ? 0 : X86_X87_OP32), eflags);

    bool ok = f.cw == host.cw && f.sw == host.sw && f.tag == host.tag && rax == c.rax;
    for (unsigned i = 0; i < 8; i++) {
        if (f.tag >> i & 1)
            ok &= f.r[i].mant == host.r[i].mant && f.r[i].se == host.r[i].se;
    }
    if (insn->flags & X86_X87_EFLAGS)
        ok &= (res & 0x8d5) == (c.rflags & 0x8d5);
    if (insn->flags & X86_X87_STORE) {
        size_t step = op16 ? 2 : 4;
        if (insn->mem_size >= 14) {
            /* Not the instruction and data pointers: those are the executor's. */
            memcpy(ours + 3 * step, mem + 3 * step, 4 * step);
        }
        ok &= !memcmp(ours, mem, sizeof(ours));
    }
    if (ok)
        return true;
    g_test_message(
        "%s %02x %02x 16-bit %d: cw %04x sw %04x tag %02x st0 %04x.%016lx st1 %04x.%016lx sti "
        "%04x.%016lx mem %02x%02x.%016lx",
        insn->name, opcode, modrm, op16, before.cw, before.sw, before.tag,
        before.r[before.sw >> 11 & 7].se, before.r[before.sw >> 11 & 7].mant,
        before.r[((before.sw >> 11) + 1) & 7].se, before.r[((before.sw >> 11) + 1) & 7].mant,
        before.r[((before.sw >> 11) + modrm) & 7].se,
        before.r[((before.sw >> 11) + modrm) & 7].mant, mem[9], mem[8], *(uint64_t *)mem);
    for (unsigned k = 0; k < 2; k++) {
        const X86Fpu *x = k ? &f : &host;
        unsigned t = x->sw >> 11;
        g_test_message("%s cw %04x sw %04x tag %02x st0 %04x.%016lx st1 %04x.%016lx sti "
                       "%04x.%016lx fl %lx mem %016lx",
                       k ? "ours" : "host", x->cw, x->sw, x->tag, x->r[t & 7].se, x->r[t & 7].mant,
                       x->r[(t + 1) & 7].se, x->r[(t + 1) & 7].mant, x->r[(t + modrm) & 7].se,
                       x->r[(t + modrm) & 7].mant, k ? res : c.rflags & 0x45,
                       *(uint64_t *)(k ? ours : mem));
    }
    g_test_fail();
    return false;
}

static void test_x87(void)
{
    unsigned known = 0;
    if (!set_up()) {
        g_test_skip("no executable memory");
        return;
    }
    for (unsigned key = 0; key < 8 * 256 * 2; key++) {
        unsigned opcode = 0xd8 + (key >> 9), modrm = key >> 1 & 0xff;
        bool op16 = key & 1;
        if (modrm < 0xc0 && ((modrm & 0xc7) != 2))
            continue;
        if (op16 && modrm >= 0xc0)
            continue;
        const X86X87Insn *insn =
            x86_x87_lookup((uint8_t)opcode, (uint8_t)modrm, op16 ? 0 : X86_X87_OP32);
        if (!insn || (insn->flags & X86_X87_SSE3 && !host_has(X86_FEAT_SSE3)))
            continue;
#ifdef X86_FP_SOFT /* not exact in software */
        static const uint8_t inexact[] = { 0xf0, 0xf1, 0xf2, 0xf3, 0xf5,
                                           0xf8, 0xf9, 0xfb, 0xfe, 0xff };
        if (opcode == 0xd9 && memchr(inexact, (int)modrm, sizeof(inexact)))
            continue;
#endif
        known++;
        unsigned count = g_test_slow()                                      ? 10000
                         : modrm < 0xc0 || (opcode == 0xd9 && modrm > 0xe0) ? 500
                                                                            : 100;
        for (unsigned i = 0; i < count && check_x87(insn, opcode, modrm, op16); i++)
            ;
    }
    g_test_message("%u instruction forms", known);
    g_assert_cmpuint(known, >, 300);
}

/* ---------------------------------------------------------------- images */

static void test_fxsave(void)
{
    X86Fpu f, g;
    uint8_t image[512] __attribute__((aligned(16))), back[512] __attribute__((aligned(16)));
    set_up();
    for (unsigned n = 0; n < 200; n++) {
        x86_fpu_reset(&f);
        for (unsigned i = 0; i < 16; i++)
            random_xmm(&f.xmm[i]);
        for (unsigned i = 0; i < 8; i++)
            f.r[i] = random_f80();
        f.sw = (uint16_t)(r32() & 0x7f00);
        f.cw = (uint16_t)(0x37f & ~(r32() & 0xf3f));
        f.tag = (uint16_t)(r32() & 0xff);
        f.mxcsr = 0x1f80 | (r32() & 0xe07f);
        memset(image, 0, sizeof(image));
        memset(back, 0, sizeof(back));
        x86_fxsave(&f, image, true, true);
        /* What the host makes of our image, and we of the host's. */
        __asm__ volatile("fxrstor64 %1\n\tfxsave64 %0\n\tfninit\n\tldmxcsr %2"
                         : "=m"(back) : "m"(image), "m"((const uint32_t){ 0x1f80 })
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                           "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
        g_assert_cmpmem(back + 24, 4, image + 24, 4);
        g_assert_cmpmem(back, 5, image, 5);
        g_assert_cmpmem(back + 32, 384, image + 32, 384);
        x86_fpu_reset(&g);
        g_assert_true(x86_fxrstor(&g, back, true, true));
        g_assert_cmpuint(g.cw, ==, f.cw);
        g_assert_cmpuint(g.sw, ==, f.sw);
        g_assert_cmpuint(g.tag, ==, f.tag);
        g_assert_cmpmem(g.xmm, sizeof(g.xmm), f.xmm, sizeof(f.xmm));
        for (unsigned i = 0; i < 8; i++)
            g_assert_true(g.r[i].mant == f.r[i].mant && g.r[i].se == f.r[i].se);
    }
    image[26] = 1; /* a reserved bit of MXCSR */
    x86_fpu_reset(&g);
    g_assert_false(x86_fxrstor(&g, image, true, true));
    g_assert_cmpuint(g.mxcsr, ==, 0x1f80);
}

static void test_xsave(void)
{
    X86Fpu f, g;
    uint8_t area[X86_XSAVE_SIZE] = { 0 };
    set_up();
    x86_fpu_reset(&f);
    random_xmm(&f.xmm[3]);
    f.r[2] = random_f80();
    f.tag = 4;
    x86_xsave(&f, area, X86_XC_SSE, true, true);
    g_assert_cmpuint(area[512], ==, X86_XC_SSE);
    x86_fpu_reset(&g);
    g.tag = 0xff;
    g_assert_true(x86_xrstor(&g, area, 3, 3, true, true));
    g_assert_cmpmem(g.xmm, sizeof(g.xmm), f.xmm, sizeof(f.xmm));
    g_assert_cmpuint(g.tag, ==, 0); /* x87 in its initial state */
    x86_xsave(&f, area, 3, true, true);
    g_assert_true(x86_xrstor(&g, area, X86_XC_X87, 3, true, true));
    g_assert_cmpuint(g.tag, ==, 4);
    g_assert_cmpuint(g.r[2].mant, ==, f.r[2].mant);
    area[512] = 7; /* a component that XCR0 does not enable */
    g_assert_false(x86_xrstor(&g, area, 3, 3, true, true));
    area[512] = 3;
    area[527] = 0x80; /* the compacted format */
    g_assert_false(x86_xrstor(&g, area, 3, 3, true, true));
}

static void test_mmx(void)
{
    X86Fpu f;
    const X86SseInsn *insn = x86_sse_lookup(0, 0, 0xfe, 0xca); /* PADDD MM1, MM2 */
    x86_fpu_reset(&f);
    f.sw = 0x2800;
    f.r[1].mant = 0x00000001ffffffff;
    f.r[2].mant = 0x0000000200000001;
    g_assert_nonnull(insn);
    g_assert_cmpuint(insn->flags & X86_SSE_MMX, !=, 0);
    x86_mmx_enter(&f);
    insn->fn(&f, x86_sse_reg(&f, insn->reg, 1), x86_sse_reg(&f, insn->rm, 2), 0);
    x86_mmx_written(&f, 1);
    g_assert_cmphex(f.r[1].mant, ==, 0x0000000300000000);
    g_assert_cmphex(f.r[1].se, ==, 0xffff);
    g_assert_cmphex(f.tag, ==, 0xff);
    g_assert_cmphex(f.sw, ==, 0);
    insn = x86_sse_lookup(0, 0, 0x77, 0xc0);
    g_assert_nonnull(insn);
    insn->fn(&f, NULL, NULL, 0);
    g_assert_cmphex(f.tag, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/x86/sse/0f", GUINT_TO_POINTER(0), test_sse);
    g_test_add_data_func("/x86/sse/0f38", GUINT_TO_POINTER(1), test_sse);
    g_test_add_data_func("/x86/sse/0f3a", GUINT_TO_POINTER(2), test_sse);
    g_test_add_func("/x86/x87", test_x87);
    g_test_add_func("/x86/fxsave", test_fxsave);
    g_test_add_func("/x86/xsave", test_xsave);
    g_test_add_func("/x86/mmx", test_mmx);
    return g_test_run();
}

#else

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    return g_test_run();
}

#endif
