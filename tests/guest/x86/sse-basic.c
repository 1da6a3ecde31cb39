/*
 * The state and the exceptions of x87 and SSE: #NM, #UD, alignment, FXSAVE, MXCSR, #MF, #XM;
 * a few results.  Arithmetic in full is the unit tests' (test-x86-fpu).
 */
#include "lib.h"

static u8 area[512 + 64] __attribute__((aligned(64)));
static u8 data[64] __attribute__((aligned(64)));

#define INSN(name, text)                                                                           \
    static void name(void *p) { asm volatile(text : : "r"(p) : "memory", "cc", "rax"); }
INSN(do_movaps_load, "movaps (%0), %%xmm0")
INSN(do_movaps_store, "movaps %%xmm0, (%0)")
INSN(do_movups, "movups (%0), %%xmm0")
INSN(do_addps, "addps (%0), %%xmm0")
INSN(do_pxor, "pxor (%0), %%xmm1")
INSN(do_movsd, "movsd (%0), %%xmm0")
INSN(do_movd, "movd (%0), %%xmm0")
INSN(do_movnti, "movnti %%eax, (%0)")
INSN(do_movntps, "movntps %%xmm0, (%0)")
INSN(do_fxsave, "fxsave (%0)")
INSN(do_fxrstor, "fxrstor (%0)")
INSN(do_ldmxcsr, "ldmxcsr (%0)")
INSN(do_stmxcsr, "stmxcsr (%0)")
INSN(do_fld, "fldl (%0)\n fstp %%st")
INSN(do_fnop, "fnop # %0")
INSN(do_fwait, "fwait # %0")
INSN(do_mmx, "movq (%0), %%mm0\n emms")
INSN(do_prefetch, "prefetcht0 (%0)")
INSN(do_sfence, "sfence # %0")

#define HOLE ((void *)0x4000000000)

static u64 vector_of(void (*fn)(void *), void *p)
{
    Caught c;
    guarded(fn, p, &c);
    return c.vector;
}

static void availability(void)
{
    u64 cr0 = read_cr0() & ~(u64)(CR0_EM | CR0_TS | CR0_MP),
        cr4 = read_cr4() & ~(u64)(CR4_OSFXSR | CR4_OSXMMEXCPT);
    static const struct {
        void (*fn)(void *);
        const char *name;
        u32 plain, ts, ts_mp, em, no_osfxsr;
    } t[] = {
        {do_movaps_load, "MOVAPS", NO_TRAP, NM, NM, UD, UD},
        {do_pxor, "PXOR", NO_TRAP, NM, NM, UD, UD},
        {do_ldmxcsr, "LDMXCSR", NO_TRAP, NM, NM, UD, UD},
        {do_mmx, "MOVQ MM0", NO_TRAP, NM, NM, UD, NO_TRAP},
        {do_fnop, "FNOP", NO_TRAP, NM, NM, NM, NO_TRAP},
        {do_fld, "FLD", NO_TRAP, NM, NM, NM, NO_TRAP},
        {do_fwait, "FWAIT", NO_TRAP, NO_TRAP, NM, NO_TRAP, NO_TRAP},
        {do_fxsave, "FXSAVE", NO_TRAP, NM, NM, NM, NO_TRAP},
        {do_movnti, "MOVNTI", NO_TRAP, NO_TRAP, NO_TRAP, NO_TRAP, NO_TRAP},
        {do_prefetch, "PREFETCHT0", NO_TRAP, NO_TRAP, NO_TRAP, NO_TRAP, NO_TRAP},
        {do_sfence, "SFENCE", NO_TRAP, NO_TRAP, NO_TRAP, NO_TRAP, NO_TRAP},
    };
    for (unsigned i = 0; i < COUNT(t); i++) {
        void *p = t[i].fn == do_fxsave ? area : data;
        *(u32 *)data = 0x1f80;
        write_cr0(cr0);
        write_cr4(cr4 | CR4_OSFXSR);
        check(vector_of(t[i].fn, p), t[i].plain, "%s", t[i].name);
        write_cr0(cr0 | CR0_TS);
        check(vector_of(t[i].fn, p), t[i].ts, "%s with TS", t[i].name);
        write_cr0(cr0 | CR0_TS | CR0_MP);
        check(vector_of(t[i].fn, p), t[i].ts_mp, "%s with TS, MP", t[i].name);
        if (t[i].fn != do_mmx) { /* TCG ignores EM for MMX */
            write_cr0(cr0 | CR0_EM);
            check_not_tcg(vector_of(t[i].fn, p), t[i].em, "%s with EM", t[i].name);
        }
        write_cr0(cr0);
        write_cr4(cr4);
        check(vector_of(t[i].fn, p), t[i].no_osfxsr, "%s without OSFXSR", t[i].name);
        asm volatile("clts");
    }
    write_cr0(cr0 | CR0_MP | CR0_NE);
    write_cr4(cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT);
}

static void alignment(void)
{
    static const struct {
        void (*fn)(void *);
        const char *name;
        u32 aligned, by8, by1, hole;
    } t[] = {
        {do_movaps_load, "MOVAPS load", NO_TRAP, GP, GP, PFV},
        {do_movaps_store, "MOVAPS store", NO_TRAP, GP, GP, PFV},
        {do_movntps, "MOVNTPS", NO_TRAP, GP, GP, PFV},
        {do_movups, "MOVUPS", NO_TRAP, NO_TRAP, NO_TRAP, PFV},
        {do_addps, "ADDPS", NO_TRAP, GP, GP, PFV},
        {do_pxor, "PXOR", NO_TRAP, GP, GP, PFV},
        {do_movsd, "MOVSD", NO_TRAP, NO_TRAP, NO_TRAP, PFV},
        {do_movd, "MOVD", NO_TRAP, NO_TRAP, NO_TRAP, PFV},
        {do_fld, "FLD", NO_TRAP, NO_TRAP, NO_TRAP, PFV},
        {do_fxsave, "FXSAVE", NO_TRAP, GP, GP, PFV},
        {do_fxrstor, "FXRSTOR", NO_TRAP, GP, GP, PFV},
    };
    for (unsigned i = 0; i < COUNT(t); i++) {
        do_fxsave(area);
        memset(data, 0, sizeof data);
        bool image = t[i].fn == do_fxsave || t[i].fn == do_fxrstor;
        u8 *p = image ? area : data;
        check(vector_of(t[i].fn, p), t[i].aligned, "%s", t[i].name);
        check_not_tcg(vector_of(t[i].fn, p + 8), t[i].by8, "%s, address + 8", t[i].name);
        check_not_tcg(vector_of(t[i].fn, p + 1), t[i].by1, "%s, address + 1", t[i].name);
        check(vector_of(t[i].fn, HOLE), t[i].hole, "%s, no page", t[i].name);
    }
}

static void images(void)
{
    /* x87 and MXCSR and XMM0 to 15, out and back */
    u64 in[32], out[32];
    for (unsigned i = 0; i < 32; i++)
        in[i] = random64();
    asm volatile("fninit");
    u32 mxcsr = 0x1fa0;
    do_ldmxcsr(&mxcsr);
#define X(n, op) asm volatile(op : : "r"((char *)(n < 100 ? in : out) + 16 * (n % 100)) : "memory")
    X(0, "movups (%0), %%xmm0"); X(1, "movups (%0), %%xmm1"); X(2, "movups (%0), %%xmm2");
    X(3, "movups (%0), %%xmm3"); X(7, "movups (%0), %%xmm7"); X(8, "movups (%0), %%xmm8");
    X(15, "movups (%0), %%xmm15");
    asm volatile("fld1\n fldpi\n fldz\n fchs");
    memset(area, 0xcc, sizeof area);
    do_fxsave(area);
    check(*(u16 *)area, 0x37f, "FXSAVE: FCW");
    check(*(u16 *)(area + 2) >> 11 & 7, 5, "FXSAVE: TOP");
    check(area[4], 0xe0, "FXSAVE: abridged tag word");
    check(*(u32 *)(area + 24), 0x1fa0, "FXSAVE: MXCSR");
    check(*(u32 *)(area + 28) & 0xffbf, 0xffbf, "FXSAVE: MXCSR mask");
    check(*(u64 *)(area + 32), 0, "FXSAVE: ST0 is -0");
    check(*(u16 *)(area + 40), 0x8000, "FXSAVE: ST0's sign");
    check(*(u64 *)(area + 48), 0xc90fdaa22168c235, "FXSAVE: ST1 is pi");
    check(*(u64 *)(area + 64), 1ull << 63, "FXSAVE: ST2 is 1");
    for (unsigned i = 0; i < 16; i++)
        if (i < 4 || i == 7 || i == 8 || i == 15)
            check(memcmp(area + 160 + 16 * i, in + 2 * i, 16), 0, "FXSAVE: XMM%u", i);
    check(area[511], 0xcc, "FXSAVE leaves the rest alone");
    /* clobber all, restore */
    asm volatile("fninit\n xorps %%xmm0, %%xmm0\n xorps %%xmm7, %%xmm7\n xorps %%xmm8, %%xmm8\n "
                 "xorps %%xmm15, %%xmm15"
                 :
                 :
                 : "memory");
    mxcsr = 0x1f80;
    do_ldmxcsr(&mxcsr);
    do_fxrstor(area);
    X(100, "movups %%xmm0, (%0)"); X(107, "movups %%xmm7, (%0)"); X(108, "movups %%xmm8, (%0)");
    X(115, "movups %%xmm15, (%0)");
    check(memcmp(out, in, 16), 0, "FXRSTOR: XMM0");
    check(memcmp(out + 14, in + 14, 16), 0, "FXRSTOR: XMM7");
    check(memcmp(out + 16, in + 16, 16), 0, "FXRSTOR: XMM8");
    check(memcmp(out + 30, in + 30, 16), 0, "FXRSTOR: XMM15");
    do_stmxcsr(&mxcsr);
    check(mxcsr, 0x1fa0, "FXRSTOR: MXCSR");
    u64 d = 0;
    asm volatile("fstp %%st\n fstpl %0" : "=m"(d) : : "memory");
    check(d, 0x400921fb54442d18, "FXRSTOR: ST1");
    /* reserved bits of MXCSR */
    mxcsr = 0x11f80;
    check_not_tcg(vector_of(do_ldmxcsr, &mxcsr), GP, "LDMXCSR: reserved bit");
    *(u32 *)(area + 24) = 0x80001f80;
    check_not_tcg(vector_of(do_fxrstor, area), GP, "FXRSTOR: reserved bit of MXCSR");
    do_stmxcsr(&mxcsr);
    check_not_tcg(mxcsr, 0x1fa0, "MXCSR is unchanged after both");
    mxcsr = 0x1f80;
    do_ldmxcsr(&mxcsr);
    asm volatile("fninit");
}

/* ---- unmasked floating-point exceptions ---- */

static void sse_divide(void *p) { asm volatile("divps (%0), %%xmm0" : : "r"(p) : "memory"); }
static void x87_divide(void *p)
{
    asm volatile("fninit\n movw $0x37b, (%0)\n fldcw (%0)\n fldz\n fld1\n fdivp\n fwait"
                 :
                 : "r"(p)
                 : "memory");
}
static void x87_plain(void *p)
{
    asm volatile(
        "fninit\n movw $0x37b, (%0)\n fldcw (%0)\n fldz\n fld1\n fdivp\n fnstsw %%ax\n fnclex"
        :
        : "r"(p)
        : "memory", "rax");
}

static void unmasked(void)
{
    u32 mxcsr = 0x1f80 & ~0x200u; /* divide by zero is not masked */
    memset(data, 0, 16);
    asm volatile("mov $0x3f800000, %%eax\n movd %%eax, %%xmm0\n shufps $0, %%xmm0, %%xmm0"
                 :
                 :
                 : "rax");
    do_ldmxcsr(&mxcsr);
    check_not_tcg(vector_of(sse_divide, data), XM, "DIVPS by zero, not masked");
    u32 v[4];
    asm volatile("movups %%xmm0, (%0)" : : "r"(v) : "memory");
    check_not_tcg(v[0], 0x3f800000, "DIVPS by zero, not masked: no result");
    write_cr4(read_cr4() & ~(u64)CR4_OSXMMEXCPT);
    check_not_tcg(vector_of(sse_divide, data), UD, "the same without OSXMMEXCPT");
    write_cr4(read_cr4() | CR4_OSXMMEXCPT);
    mxcsr = 0x1f80;
    do_ldmxcsr(&mxcsr);
    asm volatile("mov $0x3f800000, %%eax\n movd %%eax, %%xmm0\n shufps $0, %%xmm0, %%xmm0"
                 :
                 :
                 : "rax");
    check(vector_of(sse_divide, data), NO_TRAP, "DIVPS by zero, masked");
    do_stmxcsr(&mxcsr);
    check(mxcsr, 0x1f84, "DIVPS by zero: flag");
    mxcsr = 0x1f80;
    do_ldmxcsr(&mxcsr);
    /* x87: the exception comes with the next waiting instruction, and not with FNSTSW, FNCLEX */
    check(vector_of(x87_divide, data), MF, "FDIV by zero, not masked");
    asm volatile("fnclex\n fninit");
    check(vector_of(x87_plain, data), NO_TRAP,
          "FDIV by zero, cleared before a waiting instruction");
    asm volatile("fninit");
}

static void results(void)
{
    u64 d;
    asm volatile("mov $2, %%eax\n cvtsi2sd %%eax, %%xmm0\n sqrtsd %%xmm0, %%xmm0\n movq %%xmm0, %0"
                 : "=r"(d)
                 :
                 : "rax");
    check(d, 0x3ff6a09e667f3bcd, "SQRTSD of 2");
    asm volatile("fld1\n fld1\n faddp\n fsqrt\n fstpl %0" : "=m"(d));
    check(d, 0x3ff6a09e667f3bcd, "FSQRT of 2");
    u64 a[2] = {0x8000000000000001, 0x00ff00ff00ff00ff},
        b[2] = {0x7fffffffffffffff, 0x0101010101010101}, r[2];
    asm volatile(
        "movups (%0), %%xmm1\n movups (%1), %%xmm2\n paddq %%xmm2, %%xmm1\n movups %%xmm1, (%2)"
        :
        : "r"(a), "r"(b), "r"(r)
        : "memory");
    check(r[0], 0, "PADDQ: low");
    check(r[1], 0x0200020002000200, "PADDQ: high");
    asm volatile("movups (%0), %%xmm1\n movups (%1), %%xmm2\n pcmpeqb %%xmm2, %%xmm1\n pmovmskb "
                 "%%xmm1, %%eax\n mov %%rax, %2"
                 :
                 : "r"(a), "r"(a), "m"(d)
                 : "memory", "rax");
    check(d & 0xffff, 0xffff, "PCMPEQB, PMOVMSKB");
    /* an SSE access over two pages, the second away: nothing is changed */
    asm volatile("comisd %%xmm0, %%xmm0\n pushf\n pop %0" : "=r"(d));
    check(d & ARITH, ZF, "COMISD, equal");
}

void guest_main(void)
{
    availability();
    alignment();
    images();
    unmasked();
    results();
    finish();
}
