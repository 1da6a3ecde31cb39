/*
 * The other integer instructions: bits, conditions, exchanges, conversions, BCD, control flow,
 * stack; against what the SDM says of each, computed in C.
 */
#include "refmath.h"

static u8 code[64] __attribute__((aligned(64)));
static u64 memory[64] __attribute__((aligned(64)));
static const unsigned sizes[4] = {8, 16, 32, 64};
static const u64 values[] = {
    0, 1, 2, 0xf, 0x10, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
    0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
    0x123456789abcdef0, 0x5555aaaa3333cccc,
};
enum { VALUES = COUNT(values) };
static const char *const cc_names[16] = {"O", "NO", "B", "AE", "E", "NE", "BE", "A",
                                         "S", "NS", "P", "NP", "L", "GE", "LE", "G"};

static void put(const char *bytes, unsigned n)
{
    memcpy(code, bytes, n);
    code[n] = 0xc3;
}
static u8 *prefix(u8 *p, unsigned bits)
{
    if (bits == 16)
        *p++ = 0x66;
    if (bits == 64)
        *p++ = 0x48;
    return p;
}
static u64 merged(u64 old, u64 v, unsigned bits)
{
    return bits == 64 ? v : bits == 32 ? (u32)v : (old & ~size_mask(bits)) | (v & size_mask(bits));
}

/* ---- BT BTS BTR BTC ---- */

static void bits_of(void)
{
    static const char *const names[4] = {"BT", "BTS", "BTR", "BTC"};
    static const int64_t offsets[] = {0,  1,  7,   8,    15, 16, 31,  32,  33,   63,
                                      64, 65, 127, 1000, -1, -8, -64, -65, -1000};
    for (unsigned op = 0; op < 4; op++)
        for (unsigned s = 1; s < 4; s++)
            for (unsigned form = 0; form < 4; form++) { /* reg,reg reg,imm mem,reg mem,imm */
                unsigned bits = sizes[s];
                for (unsigned k = 0; k < COUNT(offsets); k++)
                    for (unsigned v = 0; v < 2; v++) {
                        int64_t off = offsets[k];
                        bool imm = form & 1, mem = form & 2;
                        u8 *p = prefix(code, bits);
                        *p++ = 0x0f;
                        *p++ = imm ? 0xba : (u8)(0xa3 + 8 * op);
                        *p++ = (u8)((mem ? 0x03 : 0xc0) | (imm ? (4 + op) << 3 : 1 << 3));
                        if (imm)
                            *p++ = (u8)off;
                        *p = 0xc3;
                        memset(memory, v ? 0xff : 0, sizeof memory);
                        u64 a = v ? ~0ull : 0;
                        Regs r = {
                            .rax = a, .rcx = (u64)off, .rbx = (u64)&memory[32], .flags = ARITH | 2};
                        int64_t bit = mem && !imm ? (bits == 64   ? off
                                                     : bits == 32 ? (int32_t)off
                                                                  : (int16_t)off)
                                                  : (off & (bits - 1));
                        run_thunk(&r, code);
                        bool one = op == 0 ? v : op == 1 ? 1 : op == 2 ? 0 : !v;
                        check(r.flags & CF, v, "%s %u form %u: CF at %ld", names[op], bits, form,
                              off);
                        check(r.flags & ZF, ZF, "%s %u form %u: ZF is kept", names[op], bits, form);
                        u64 want = merged(a, a, bits);
                        if (!mem) {
                            want = one ? a | 1ull << bit : a & ~(1ull << bit);
                            if (bits == 32 && op)
                                want = (u32)want;
                            check(r.rax, want, "%s %u form %u: at %ld", names[op], bits, form, off);
                        } else {
                            for (unsigned i = 0; i < 64; i++) {
                                u64 w = a;
                                int64_t at = bit - ((int64_t)i - 32) * 64;
                                if (at >= 0 && at < 64)
                                    w = one ? a | 1ull << at : a & ~(1ull << at);
                                if (memory[i] != w)
                                    check(memory[i], w, "%s %u form %u: at %ld, word %u", names[op],
                                          bits, form, off, i);
                            }
                        }
                    }
            }
    /* BSF, BSR: a source of 0 leaves the destination alone (all that we know of) */
    for (unsigned op = 0; op < 2; op++)
        for (unsigned s = 1; s < 4; s++) {
            unsigned n = sizes[s];
            u8 *p = prefix(code, n);
            *p++ = 0x0f;
            *p++ = (u8)(0xbc + op);
            *p++ = 0xc1; /* RAX, RCX */
            *p = 0xc3;
            for (unsigned i = 0; i < VALUES; i++) {
                u64 v = values[i] & size_mask(n), was = 0x1122334455667788;
                Regs r = {.rax = was, .rcx = values[i], .flags = 2};
                run_thunk(&r, code);
                check(r.flags & ZF, v ? 0 : ZF, "%s %u of %lx: ZF", op ? "BSR" : "BSF", n,
                      values[i]);
                if (!v) {
                    if (n != 32) /* its upper half may go or stay */
                        check(r.rax, was, "%s %u of 0", op ? "BSR" : "BSF", n);
                    continue;
                }
                unsigned at = op ? 63 : 0;
                while (!(v >> at & 1))
                    at = op ? at - 1 : at + 1;
                check(r.rax, merged(was, at, n), "%s %u of %lx", op ? "BSR" : "BSF", n, values[i]);
            }
        }
}

/* ---- SETcc, CMOVcc, Jcc on all flags ---- */

static void conditions(void)
{
    for (unsigned cc = 0; cc < 16; cc++)
        for (unsigned n = 0; n < 32; n++) {
            u32 f = (n & 1 ? CF : 0) | (n & 2 ? PF : 0) | (n & 4 ? ZF : 0) | (n & 8 ? SF : 0) |
                    (n & 16 ? OF : 0);
            bool want = ref_condition(cc, f);
            char set[] = {0x0f, (char)(0x90 + cc), (char)0xc0};
            put(set, 3);
            Regs r = {.rax = 0x1234567890abcdef, .flags = f | 2};
            run_thunk(&r, code);
            check(r.rax, 0x1234567890abcd00 | want, "SET%s with %x", cc_names[cc], f);
            check(r.flags & ARITH, f, "SET%s: flags", cc_names[cc]);
            for (unsigned s = 1; s < 4; s++) {
                u8 *p = prefix(code, sizes[s]);
                *p++ = 0x0f;
                *p++ = (u8)(0x40 + cc);
                *p++ = 0xc1;
                *p = 0xc3;
                r = (Regs){.rax = 0x1111111111111111, .rcx = 0x2222222222222222, .flags = f | 2};
                run_thunk(&r, code);
                check(r.rax,
                      merged(0x1111111111111111, want ? 0x2222222222222222 : 0x1111111111111111,
                             sizes[s]),
                      "CMOV%s %u with %x", cc_names[cc], sizes[s], f);
            }
            /* short and near jump over MOV EAX, 1 */
            char js[] = {(char)(0x70 + cc), 5, (char)0xba, 1, 0, 0, 0};
            put(js, sizeof js);
            r = (Regs){.rdx = 7, .flags = f | 2};
            run_thunk(&r, code);
            check(r.rdx, want ? 7 : 1, "J%s with %x", cc_names[cc], f);
            char jn[] = {0x0f, (char)(0x80 + cc), 5, 0, 0, 0, (char)0xba, 1, 0, 0, 0};
            put(jn, sizeof jn);
            r = (Regs){.rdx = 7, .flags = f | 2};
            run_thunk(&r, code);
            check(r.rdx, want ? 7 : 1, "J%s near with %x", cc_names[cc], f);
        }
    /* after real operations: CMP then SETcc, which lazy flags may fuse */
    for (unsigned cc = 0; cc < 16; cc++)
        for (unsigned s = 0; s < 4; s++)
            for (unsigned op = 0; op < 4; op++) { /* CMP TEST SUB DEC */
                u8 *p = prefix(code, sizes[s]);
                static const u8 ops[3] = {0x38, 0x84, 0x28};
                if (op < 3) {
                    *p++ = (u8)(ops[op] | (s ? 1 : 0));
                    *p++ = 0xc8;
                } else {
                    *p++ = s ? 0xff : 0xfe;
                    *p++ = 0xc8;
                }
                *p++ = (u8)(0x70 + cc);
                *p++ = 5;
                *p++ = 0xba;
                memset(p, 0, 4);
                p[4] = 0xc3;
                for (unsigned i = 0; i < VALUES; i++)
                    for (unsigned j = i % 3; j < VALUES; j += 3) {
                        u64 a = values[i], b = values[j];
                        Regs r = {.rax = a, .rcx = b, .rdx = 7, .flags = 2 | (j & 1)};
                        Ref f = op == 1 ? ref_logic(a & b, sizes[s])
                                        : ref_add(a, op == 3 ? 1 : b, 0, sizes[s], true);
                        if (op == 3)
                            f.flags = (f.flags & ~CF) | (j & 1);
                        run_thunk(&r, code);
                        check(r.rdx, ref_condition(cc, f.flags) ? 7 : 0,
                              "J%s %u after op %u of %lx, %lx", cc_names[cc], sizes[s], op, a, b);
                    }
            }
}

/* ---- CMPXCHG XADD XCHG BSWAP, widening, flags ---- */

static void exchanges(void)
{
    for (unsigned s = 0; s < 4; s++)
        for (unsigned mem = 0; mem < 3; mem++) /* register, memory, LOCK memory */
            for (unsigned i = 0; i < VALUES; i++)
                for (unsigned j = 0; j < VALUES; j += 2) {
                    unsigned n = sizes[s];
                    u64 a = values[i], d = values[j], new = 0xa1a2a3a4a5a6a7a8;
                    u8 *p = code;
                    if (mem == 2)
                        *p++ = 0xf0;
                    p = prefix(p, n);
                    *p++ = 0x0f;
                    *p++ = s ? 0xb1 : 0xb0;
                    *p++ = mem ? 0x0b : 0xca; /* [RBX] or RDX, RCX */
                    *p = 0xc3;
                    memory[0] = d;
                    Regs r = {.rax = a, .rdx = d, .rcx = new, .rbx = (u64)memory, .flags = 2};
                    Ref f = ref_add(a, d, 0, n, true);
                    run_thunk(&r, code);
                    bool equal = !((a ^ d) & size_mask(n));
                    check(r.flags & ARITH, f.flags, "CMPXCHG %u: flags of %lx, %lx", n, a, d);
                    u64 want_d = equal ? (mem && n == 32 ? (d & ~0xffffffffull) | (u32) new
                                                         : merged(d, new, n))
                                       : d;
                    if (!mem && n == 32 && !equal)
                        want_d = (u32)d;
                    /* an unequal 32-bit one writes the destination back: the upper half of a
                       register is cleared on silicon; QEMU keeps it */
                    if (!mem && n == 32 && !equal)
                        check_optional(r.rdx, want_d, "CMPXCHG 32: upper half of %lx, unequal", d);
                    else
                        check(mem ? memory[0] : r.rdx, want_d, "CMPXCHG %u form %u: of %lx, %lx", n,
                              mem, a, d);
                    if (equal && n == 32)
                        continue; /* RAX: upper half kept or cleared by model */
                    check(r.rax, equal ? a : merged(a, d, n), "CMPXCHG %u form %u: RAX of %lx, %lx",
                          n, mem, a, d);

                    p = code;
                    if (mem == 2)
                        *p++ = 0xf0;
                    p = prefix(p, n);
                    *p++ = 0x0f;
                    *p++ = s ? 0xc1 : 0xc0;
                    *p++ = mem ? 0x03 : 0xc2; /* [RBX] or RDX, RAX */
                    *p = 0xc3;
                    memory[0] = d;
                    r = (Regs){.rax = a, .rdx = d, .rbx = (u64)memory, .flags = 2};
                    f = ref_add(a, d, 0, n, false);
                    run_thunk(&r, code);
                    check(r.flags & ARITH, f.flags, "XADD %u: flags of %lx, %lx", n, a, d);
                    check(r.rax, merged(a, d, n), "XADD %u: RAX of %lx, %lx", n, a, d);
                    check(mem ? memory[0] : r.rdx,
                          mem && n == 32 ? (d & ~0xffffffffull) | f.value : merged(d, f.value, n),
                          "XADD %u form %u of %lx, %lx", n, mem, a, d);
                }
    Regs r = {.rax = 0x1122334455667788, .flags = 2};
    put("\x48\x0f\xc8", 3);
    run_thunk(&r, code);
    check(r.rax, 0x8877665544332211, "BSWAP 64");
    put("\x0f\xc8", 2);
    run_thunk(&r, code);
    check(r.rax, 0x11223344, "BSWAP 32");
    /* XADD of a register with itself */
    r = (Regs){.rax = 5, .flags = 2};
    put("\x48\x0f\xc1\xc0", 4);
    run_thunk(&r, code);
    check(r.rax, 10, "XADD RAX, RAX");
    static const struct {
        const char *bytes;
        u8 n;
        u64 rax, rdx, flags, want_rax, want_rdx, want_flags;
        const char *name;
    } t[] = {
        {"\x66\x98", 2, 0x11223344556677f8, 0, 2, 0x112233445566fff8, 0, 2, "CBW"},
        {"\x98", 1, 0x112233445566f788, 0, 2, 0xfffff788, 0, 2, "CWDE"},
        {"\x48\x98", 2, 0x11223344f5667788, 0, 2, 0xfffffffff5667788, 0, 2, "CDQE"},
        {"\x66\x99", 2, 0x8000, 0x1111111111111111, 2, 0x8000, 0x111111111111ffff, 2, "CWD"},
        {"\x99", 1, 0x80000000, 0x1111111111111111, 2, 0x80000000, 0xffffffff, 2, "CDQ"},
        {"\x48\x99", 2, 1ull << 63, 1, 2, 1ull << 63, ~0ull, 2, "CQO"},
        {"\x9e", 1, 0xd500, 0, 2, 0xd500, 0, 2 | CF | PF | AF | ZF | SF, "SAHF all"},
        {"\x9e", 1, 0, 0, ARITH | 2, 0, 0, 2 | OF, "SAHF none"},
        {"\x9f", 1, 0, 0, 2 | CF | ZF, 0x4300, 0, 2 | CF | ZF, "LAHF"},
        {"\xf5", 1, 0, 0, 2, 0, 0, 2 | CF, "CMC"},
        {"\xf8", 1, 0, 0, ARITH | 2, 0, 0, (ARITH | 2) & ~CF, "CLC"},
        {"\xf9", 1, 0, 0, 2, 0, 0, 2 | CF, "STC"},
        {"\x86\xe0", 2, 0x1234, 0, 2, 0x3412, 0, 2, "XCHG AL, AH"},
        {"\x00\xe0", 2, 0x12f4, 0, 2, 0x1206, 0, 2 | CF | PF, "ADD AL, AH"},
        {"\x00\xc4", 2, 0xf014, 0, 2, 0x0414, 0, 2 | CF, "ADD AH, AL"},
        {"\x0f\xb6\xc4", 3, 0xfe80, 0, 2, 0xfe, 0, 2, "MOVZX EAX, AH"},
        {"\x48\x0f\xbe\xc0", 4, 0xfe80, 0, 2, 0xffffffffffffff80, 0, 2, "MOVSX RAX, AL"},
        {"\x48\x63\xc2", 3, 1, 0x1180000000, 2, 0xffffffff80000000, 0x1180000000, 2, "MOVSXD"},
        {"\x89\xd2", 2, 0, 0xffffffff12345678, 2, 0, 0x12345678, 2,
         "MOV EDX, EDX clears the upper half"},
        {"\x90", 1, ~0ull, 0, 2, ~0ull, 0, 2, "NOP keeps RAX"},
        {"\x87\xc0", 2, ~0ull, 0, 2, 0xffffffff, 0, 2, "XCHG EAX, EAX in its long form"},
        {"\x66\xb8\x34\x12", 4, ~0ull, 0, 2, 0xffffffffffff1234, 0, 2, "MOV AX"},
        {"\x40\xb4\x12", 3, 0x1111, 0, 2, 0x1111, 0, 2, "MOV SPL with REX: AH is kept"},
        {"\x48\xc7\xc0\xff\xff\xff\xff", 7, 0, 0, 2, ~0ull, 0, 2, "MOV RAX, imm32"},
        {"\x67\x48\x8d\x42\xff", 5, 0, 0, 2, 0xffffffff, 0, 2, "LEA with 32-bit addresses"},
        {"\x66\x8d\x42\xff", 4, 0x1111111111111111, 0, 2, 0x111111111111ffff, 0, 2, "LEA AX"},
        {"\xd0\xe0\x14\x00", 4, 0x81, 0, 2, 3, 0, 2 | PF, "SHL, ADC"},
    };
    for (unsigned i = 0; i < COUNT(t); i++) {
        if (i == 22) /* it would change RSP */
            continue;
        put(t[i].bytes, t[i].n);
        r = (Regs){.rax = t[i].rax, .rdx = t[i].rdx, .flags = t[i].flags};
        run_thunk(&r, code);
        check(r.rax, t[i].want_rax, "%s: RAX", t[i].name);
        check(r.rdx, t[i].want_rdx, "%s: RDX", t[i].name);
        check(r.flags & (ARITH | 2), t[i].want_flags, "%s: flags", t[i].name);
    }
}

/* ---- LOOP, JRCXZ, ENTER, LEAVE, XLAT, PUSH and POP ---- */

static void control(void)
{
    static const struct {
        const char *bytes;
        u8 n;
        u64 rcx, rax;
        u32 flags;
        u64 want_rax, want_rcx;
        const char *name;
    } t[] = {
        {"\xff\xc0\xe2\xfc", 4, 10, 0, 2, 10, 0, "LOOP"},
        {"\xff\xc0\x67\xe2\xfb", 5, 0x500000003, 0, 2, 3, 0, "LOOP by ECX"},
        {"\xe1\x02\xff\xc0", 4, 2, 0, 2 | ZF, 0, 1, "LOOPE, equal"},
        {"\xe1\x02\xff\xc0", 4, 2, 0, 2, 1, 1, "LOOPE, not equal"},
        {"\xe0\x02\xff\xc0", 4, 2, 0, 2, 0, 1, "LOOPNE, not equal"},
        {"\xe0\x02\xff\xc0", 4, 1, 0, 2, 1, 0, "LOOPNE, at the end"},
        {"\xe3\x02\xff\xc0", 4, 0, 0, 2, 0, 0, "JRCXZ, zero"},
        {"\xe3\x02\xff\xc0", 4, 1ull << 32, 0, 2, 1, 1ull << 32, "JRCXZ, upper half"},
        {"\x67\xe3\x02\xff\xc0", 5, 1ull << 32, 0, 2, 0, 1ull << 32, "JECXZ, upper half"},
        {"\x6a\xff\x58", 3, 0, 0, 2, ~0ull, 0, "PUSH imm8"},
        {"\x68\x00\x00\x00\x80\x58", 6, 0, 0, 2, 0xffffffff80000000, 0, "PUSH imm32"},
        {"\x66\x51\x66\x58", 4, 0xabcd1234, 0x111111, 2, 0x111234, 0xabcd1234, "PUSH CX, POP AX"},
        {"\x54\x58\x48\x29\xe0", 5, 0, 0, 2, 0, 0, "PUSH RSP pushes the old value"},
        {"\x51\x5c\x90", 0, 0, 0, 2, 0, 0, ""},
        {"\x48\x89\xe1\xc8\x10\x00\x00\x48\x29\xe1\xc9\x48\x89\xc8\x31\xc9", 16, 0, 0, 2, 24, 0,
         "ENTER, LEAVE"},
        {"\x9c\x58\x25\xd5\x08\x00\x00", 7, 0, 0, 2 | CF | ZF, 0x41, 0, "PUSHF"},
        {"\xeb\x02\xff\xc0\xff\xc0", 6, 0, 0, 2, 1, 0, "JMP short"},
        {"\xe8\x00\x00\x00\x00\x58\x59\x51\x31\xc9\x31\xc0", 0, 0, 0, 2, 0, 0, ""},
    };
    for (unsigned i = 0; i < COUNT(t); i++) {
        if (!t[i].n)
            continue;
        put(t[i].bytes, t[i].n);
        Regs r = {.rax = t[i].rax, .rcx = t[i].rcx, .rbp = 0x5555, .flags = t[i].flags};
        run_thunk(&r, code);
        check(r.rax, t[i].want_rax, "%s: RAX", t[i].name);
        check(r.rcx, t[i].want_rcx, "%s: RCX", t[i].name);
        check(r.rbp, 0x5555, "%s: RBP", t[i].name);
    }
    u8 table[256];
    for (unsigned i = 0; i < 256; i++)
        table[i] = (u8)(i ^ 0x5a);
    put("\xd7", 1);
    for (unsigned i = 0; i < 256; i += 51) {
        Regs r = {.rax = 0x7700 | i, .rbx = (u64)table, .flags = 2};
        run_thunk(&r, code);
        check(r.rax, 0x7700 | (i ^ 0x5a), "XLAT of %u", i);
    }
    /* all registers of the extended set, and addressing with index and scale */
    u64 r8, x = 0x1000;
    asm volatile(
        "mov %1, %%r12\n lea 8(%%r12), %%r13\n mov $3, %%r9\n lea -1(%%r13, %%r9, 8), %%r15\n"
        "lea (%%r12), %%r14\n add %%r14, %%r15\n lea 4(, %%r9, 4), %%r10\n add %%r10, %%r15\n mov "
        "%%r15, %0"
        : "=r"(r8)
        : "r"(x)
        : "r9", "r10", "r12", "r13", "r14", "r15");
    check(r8, 0x1000 + 8 + 24 - 1 + 0x1000 + 16, "addresses of extended registers");
}

/* ---- BCD, 32-bit code ---- */

static void bcd(void)
{
    static const char *const names[] = {"DAA", "DAS", "AAA", "AAS", "AAM", "AAD"};
    for (unsigned op = 0; op < 6; op++) {
        static const char *const bytes[] = {"\x27", "\x2f", "\x37", "\x3f", "\xd4\x0a", "\xd5\x0a"};
        put(bytes[op], op < 4 ? 1 : 2);
        for (unsigned v = 0; v < 256; v++)
            for (unsigned f = 0; f < 4; f++) {
                u32 flags = (f & 1 ? CF : 0) | (f & 2 ? AF : 0);
                u32 ah = (v * 7) & 0xff, ax = ah << 8 | v, want = ax, wf, undef = OF;
                u8 al = (u8)v;
                bool cf = flags & CF, af = flags & AF;
                switch (op) {
                case 0: { /* DAA */
                    u8 old = al;
                    bool old_cf = cf;
                    cf = false;
                    if ((al & 15) > 9 || af) {
                        cf = old_cf || al > 0xf9;
                        al = (u8)(al + 6);
                        af = true;
                    } else {
                        af = false;
                    }
                    if (old > 0x99 || old_cf) {
                        al = (u8)(al + 0x60);
                        cf = true;
                    } else {
                        cf = false;
                    }
                    want = ah << 8 | al;
                    break;
                }
                case 1: { /* DAS */
                    u8 old = al;
                    bool old_cf = cf;
                    cf = false;
                    if ((al & 15) > 9 || af) {
                        cf = old_cf || al < 6;
                        al = (u8)(al - 6);
                        af = true;
                    } else {
                        af = false;
                    }
                    if (old > 0x99 || old_cf) {
                        al = (u8)(al - 0x60);
                        cf = true;
                    }
                    want = ah << 8 | al;
                    break;
                }
                case 2: case 3:
                    if ((al & 15) > 9 || af) {
                        want = op == 2 ? ax + 0x106 : ax - 6 - 0x100;
                        cf = af = true;
                    } else {
                        cf = af = false;
                    }
                    want = (want & 0xff00) | (want & 15);
                    undef |= SF | ZF | PF;
                    break;
                case 4:
                    want = (u32)(al / 10) << 8 | al % 10;
                    undef |= CF | AF;
                    break;
                default:
                    want = (u8)(al + ah * 10);
                    undef |= CF | AF;
                }
                wf = ref_szp(want & 0xff, 8) | (cf ? CF : 0) | (af ? AF : 0);
                Regs r = {.rax = 0xabcd0000 | ax, .flags = flags | 2};
                run_thunk32(&r, code);
                check((u32)r.rax, 0xabcd0000 | (want & 0xffff), "%s of %x, flags %x", names[op], ax,
                      flags);
                check(r.flags & ARITH & ~undef, wf & ~undef, "%s of %x, flags %x: flags", names[op],
                      ax, flags);
            }
    }
    static const struct {
        const char *bytes;
        u8 n;
        u64 rax, want;
        const char *name;
    } t[] = {
        {"\x60\xb8\x01\x00\x00\x00\x61", 7, 0x12345678, 0x12345678, "PUSHA, POPA"},
        {"\x66\x60\x66\x61", 4, 0x12345678, 0x12345678, "PUSHAW, POPAW"},
        {"\x40\x40\x48", 3, 5, 6, "INC, DEC in one byte"},
        {"\x82\xc0\x05", 3, 0xfe, 3, "ADD in its alias 82"},
        {"\xd6", 1, 0, 0, "SALC"},
        {"\x8d\x80\x00\x00\x00\x80", 6, 0x80000001, 1, "LEA wraps"},
        {"\x67\x8d\x40\x01", 4, 0, 0x1001, "LEA, 16-bit address BX+SI+1"},
    };
    for (unsigned i = 0; i < COUNT(t); i++) {
        put(t[i].bytes, t[i].n);
        Regs r = {.rax = t[i].rax, .rbx = 0x12340ff0, .rsi = 0x56780010, .flags = 2};
        run_thunk32(&r, code);
        check((u32)r.rax, t[i].want, "32-bit: %s", t[i].name);
        check((u32)r.rbx, 0x12340ff0, "32-bit: %s: EBX", t[i].name);
    }
}

/* ---- optional ones ---- */

static void optional(void)
{
    for (unsigned i = 0; i < VALUES; i++) {
        u64 v = values[i];
        unsigned ones = 0;
        for (unsigned b = 0; b < 64; b++)
            ones += v >> b & 1;
        if (HAS(cpuid_1_ecx, 23)) {
            put("\xf3\x48\x0f\xb8\xc1", 5);
            Regs r = {.rcx = v, .flags = ARITH | 2};
            run_thunk(&r, code);
            check(r.rax, ones, "POPCNT of %lx", v);
            check(r.flags & ARITH, v ? 0 : ZF, "POPCNT of %lx: flags", v);
        }
        if (HAS(cpuid_1_ecx, 20)) {
            put("\xf2\x48\x0f\x38\xf1\xc1", 6);
            Regs r = {.rax = 0x12345678, .rcx = v, .flags = 2};
            run_thunk(&r, code);
            u32 crc = 0x12345678;
            for (unsigned b = 0; b < 64; b++)
                crc = crc >> 1 ^ (((crc ^ (u32)(v >> b)) & 1) ? 0x82f63b78 : 0);
            check(r.rax, crc, "CRC32 of %lx", v);
        }
        if (HAS(cpuid_81_ecx, 5) && v) {
            put("\xf3\x48\x0f\xbd\xc1", 5);
            Regs r = {.rcx = v, .flags = 2};
            run_thunk(&r, code);
            unsigned z = 0;
            while (!(v >> (63 - z) & 1))
                z++;
            check(r.rax, z, "LZCNT of %lx", v);
        }
    }
}

void guest_main(void)
{
    bits_of();
    conditions();
    exchanges();
    control();
    bcd();
    optional();
    finish();
}
