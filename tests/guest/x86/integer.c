/*
 * Integer instructions in 64-bit mode: results and flags of all operand sizes and forms,
 * against refmath.h.  integer2.c has the rest.
 */
#include "refmath.h"

static u8 code[64] __attribute__((aligned(64)));
static u64 memory[8] __attribute__((aligned(64)));
static const unsigned sizes[4] = {8, 16, 32, 64};

static const u64 values[] = {
    0, 1, 2, 0xf, 0x10, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
    0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
    0x123456789abcdef0, 0x5555aaaa3333cccc,
};
enum { VALUES = COUNT(values) };

/* Emits [66] [REX] opcode...; byte forms have an even opcode. */
static u8 *emit_op(u8 *p, unsigned bits, unsigned map, u8 opcode)
{
    if (bits == 16)
        *p++ = 0x66;
    if (bits == 64)
        *p++ = 0x48;
    if (map)
        *p++ = 0x0f;
    *p++ = bits == 8 ? opcode & 0xfe : opcode;
    return p;
}

static void finish_code(u8 *p) { *p = 0xc3; }

/* What a register holds after a write of that size. */
static u64 merged(u64 old, u64 v, unsigned bits)
{
    return bits == 64 ? v : bits == 32 ? (u32)v : (old & ~size_mask(bits)) | (v & size_mask(bits));
}

static const u64 flag_inits[2] = {2, ARITH | 2};

static bool check_flags(const Regs *r, Ref want, const char *name, unsigned bits, u64 a, u64 b)
{
    u32 m = ARITH & ~want.undefined;
    return check(r->flags & m, want.flags & m, "%s %u: flags of %lx, %lx", name, bits, a, b);
}

/* ---- ADD OR ADC SBB AND SUB XOR CMP, and TEST ---- */

static const char *const alu_names[9] = {"ADD", "OR",  "ADC", "SBB", "AND",
                                         "SUB", "XOR", "CMP", "TEST"};
enum { RM_R, R_RM, M_R, R_M, IMM, IMM8, M_IMM, ACC, FORMS };

static Ref alu_ref(unsigned op, u64 a, u64 b, u32 flags, unsigned bits)
{
    switch (op) {
    case 0: return ref_add(a, b, 0, bits, false);
    case 1: return ref_logic(a | b, bits);
    case 2: return ref_add(a, b, flags & CF, bits, false);
    case 3: return ref_add(a, b, flags & CF, bits, true);
    case 4: case 8: return ref_logic(a & b, bits);
    case 6: return ref_logic(a ^ b, bits);
    default: return ref_add(a, b, 0, bits, true);
    }
}

static void alu_case(unsigned op, unsigned bits, unsigned form, u64 a, u64 b, unsigned f)
{
    bool keeps = op >= 7;
    u32 flags = (u32)flag_inits[f];
    u64 other = 0xa5a5a5a5a5a5a5a5;
    Regs r = {.rax = a, .rcx = b, .rbx = (u64)memory, .rdx = other, .flags = flags};
    u64 want_rax = a, want_mem = other;
    memory[0] = other;
    switch (form) {
    case M_R: r.rax = other; want_rax = other; memory[0] = want_mem = a; break;
    case R_M: r.rcx = other; memory[0] = want_mem = b; break;
    case M_IMM: memory[0] = want_mem = a; r.rax = want_rax = other; break;
    default: break;
    }
    if (form == IMM8)
        b = sign_extend(b, 8);
    else if (form == IMM || form == M_IMM || form == ACC)
        b = sign_extend(b, 32);
    Ref want = alu_ref(op, a & size_mask(bits), b & size_mask(bits), flags, bits);
    run_thunk(&r, code);
    if (!keeps) {
        if (form == M_R || form == M_IMM)
            want_mem = bits == 32 ? (a & ~0xffffffffull) | want.value : merged(a, want.value, bits);
        else
            want_rax = merged(a, want.value, bits);
    }
    const char *n = alu_names[op];
    check_flags(&r, want, n, bits, a, b);
    check(r.rax, want_rax, "%s %u form %u: RAX of %lx, %lx", n, bits, form, a, b);
    check(memory[0], want_mem, "%s %u form %u: memory of %lx, %lx", n, bits, form, a, b);
}

static void emit_alu(unsigned op, unsigned bits, unsigned form, u64 imm)
{
    u8 *p = code;
    bool is_test = op == 8;
    u8 o = (u8)(op << 3);
    switch (form) {
    case RM_R: p = emit_op(p, bits, 0, is_test ? 0x85 : o | 1); *p++ = 0xc8; break; /* RAX, RCX */
    case R_RM: p = emit_op(p, bits, 0, o | 3); *p++ = 0xc1; break;
    case M_R: /* the operand A in memory: [RBX], RCX */
        p = emit_op(p, bits, 0, is_test ? 0x85 : o | 1); *p++ = 0x0b; break;
    case R_M: p = emit_op(p, bits, 0, o | 3); *p++ = 0x03; break;
    case IMM8: p = emit_op(p, bits == 8 ? 16 : bits, 0, 0x83);
        if (bits == 8) { p = code; *p++ = 0x80; }
        *p++ = (u8)(0xc0 | op << 3); *p++ = (u8)imm; break;
    default:
        if (form == ACC) {
            p = emit_op(p, bits, 0, is_test ? 0xa9 : o | 5);
        } else {
            p = emit_op(p, bits, 0, is_test ? 0xf7 : 0x81);
            *p++ = (u8)((form == IMM ? 0xc0 : 0x03) | (is_test ? 0 : op << 3));
        }
        for (unsigned i = 0; i < (bits > 32 ? 32 : bits) / 8; i++)
            *p++ = (u8)(imm >> (8 * i));
    }
    finish_code(p);
}

static void alu(void)
{
    for (unsigned op = 0; op < 9; op++)
        for (unsigned s = 0; s < 4; s++)
            for (unsigned form = 0; form < FORMS; form++) {
                if (op == 8 && (form == R_RM || form == R_M || form == IMM8))
                    continue;
                bool has_imm = form >= IMM;
                if (!has_imm)
                    emit_alu(op, sizes[s], form, 0);
                /* All pairs in the first form, fewer in the others */
                unsigned step = form == RM_R ? 1 : 5;
                for (unsigned j = 0; j < VALUES; j += has_imm ? 3 : 1) {
                    if (has_imm)
                        emit_alu(op, sizes[s], form, values[j]);
                    for (unsigned i = j % step; i < VALUES; i += step)
                        for (unsigned f = 0; f < 2; f++)
                            alu_case(op, sizes[s], form, values[i], values[j], f);
                }
            }
}

/* ---- INC DEC NOT NEG ---- */

static void unary(void)
{
    static const char *const names[4] = {"INC", "DEC", "NOT", "NEG"};
    for (unsigned op = 0; op < 4; op++)
        for (unsigned s = 0; s < 4; s++)
            for (unsigned mem = 0; mem < 2; mem++) {
                unsigned bits = sizes[s];
                u8 *p = emit_op(code, bits, 0, op < 2 ? 0xff : 0xf7);
                *p++ = (u8)((mem ? 0x03 : 0xc0) | op << 3);
                finish_code(p);
                for (unsigned i = 0; i < VALUES; i++)
                    for (unsigned f = 0; f < 2; f++) {
                        u64 a = values[i];
                        u32 flags = (u32)flag_inits[f];
                        Regs r = {.rax = a, .rbx = (u64)memory, .flags = flags};
                        memory[0] = a;
                        Ref want;
                        switch (op) {
                        case 0: case 1:
                            want = ref_add(a, 1, 0, bits, op == 1);
                            want.flags = (want.flags & ~CF) | (flags & CF);
                            break;
                        case 2: want = (Ref){~a & size_mask(bits), flags & ARITH, 0}; break;
                        default: want = ref_add(0, a, 0, bits, true);
                        }
                        run_thunk(&r, code);
                        check_flags(&r, want, names[op], bits, a, mem);
                        u64 w = mem && bits == 32 ? (a & ~0xffffffffull) | want.value
                                                  : merged(a, want.value, bits);
                        check(mem ? memory[0] : r.rax, w, "%s %u of %lx", names[op], bits, a);
                    }
            }
}

/* ---- shifts and rotates ---- */

static void shifts(void)
{
    static const char *const names[8] = {"ROL", "ROR", "RCL", "RCR", "SHL", "SHR", "SAL", "SAR"};
    static const u8 counts[] = {0,  1,  2,  3,  4,  7,  8,  9,  15, 16, 17,
                                18, 24, 27, 31, 32, 33, 34, 63, 64, 65, 255};
    static const u64 vals[] = {0, 1, 0x80, 0x8001, 0x7fffffff, 0x80000000, 0x8000000000000001,
                               0x4000000000000000, 0x123456789abcdef0, ~0ull};
    for (unsigned op = 0; op < 8; op++)
        for (unsigned s = 0; s < 4; s++)
            /* by CL, by an immediate, by 1; memory by CL */
            for (unsigned form = 0; form < 4; form++)
                for (unsigned k = 0; k < COUNT(counts); k++) {
                    unsigned bits = sizes[s], count = form == 2 ? 1 : counts[k];
                    if ((form == 2 && k) || (form == 3 && k % 3))
                        continue;
                    if (k == 0 || form == 1) {
                        u8 *p = emit_op(code, bits, 0, form == 1 ? 0xc1 : form == 2 ? 0xd1 : 0xd3);
                        *p++ = (u8)((form == 3 ? 0x03 : 0xc0) | op << 3);
                        if (form == 1)
                            *p++ = (u8)count;
                        finish_code(p);
                    }
                    for (unsigned i = 0; i < COUNT(vals); i++)
                        for (unsigned f = 0; f < 2; f++) {
                            u64 a = vals[i];
                            u32 flags = (u32)flag_inits[f];
                            Regs r = {.rax = a, .rcx = count, .rbx = (u64)memory, .flags = flags};
                            memory[0] = a;
                            Ref want = ref_shift(op, a, count, bits, flags);
                            run_thunk(&r, code);
                            check_flags(&r, want, names[op], bits, a, count);
                            u64 w = form == 3 && bits == 32 ? (a & ~0xffffffffull) | want.value
                                                            : merged(a, want.value, bits);
                            check(form == 3 ? memory[0] : r.rax, w, "%s %u form %u of %lx by %u",
                                  names[op], bits, form, a, count);
                        }
                }
}

static void double_shifts(void)
{
    static const u8 counts[] = {0, 1, 2, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65};
    for (unsigned left = 0; left < 2; left++)
        for (unsigned s = 1; s < 4; s++)
            for (unsigned form = 0; form < 3; form++) /* CL, immediate, memory CL */
                for (unsigned k = 0; k < COUNT(counts); k++) {
                    unsigned bits = sizes[s], count = counts[k];
                    u8 *p = emit_op(code, bits, 1, (u8)((left ? 0xa4 : 0xac) + (form != 1)));
                    *p++ = form == 2 ? 0x13 : 0xd0; /* RAX or [RBX], RDX */
                    if (form == 1)
                        *p++ = (u8)count;
                    finish_code(p);
                    for (unsigned i = 0; i < VALUES; i++)
                        for (unsigned f = 0; f < 2; f++) {
                            u64 a = values[i], in = values[(i * 7 + 5) % VALUES];
                            u32 flags = (u32)flag_inits[f];
                            Regs r = {.rax = a,
                                      .rdx = in,
                                      .rcx = count,
                                      .rbx = (u64)memory,
                                      .flags = flags};
                            memory[0] = a;
                            Ref want = ref_double_shift(left, a, in, count, bits, flags);
                            run_thunk(&r, code);
                            if (want.undefined == ~0u)
                                continue;
                            const char *n = left ? "SHLD" : "SHRD";
                            check_flags(&r, want, n, bits, a, count);
                            u64 w = form == 2 && bits == 32 ? (a & ~0xffffffffull) | want.value
                                                            : merged(a, want.value, bits);
                            check(form == 2 ? memory[0] : r.rax, w,
                                  "%s %u form %u of %lx, %lx by %u", n, bits, form, a, in, count);
                        }
                }
}

/* ---- MUL IMUL DIV IDIV ---- */

/* The product of signed or unsigned operands of a size: low and high half of that size. */
static bool product(u64 a, u64 b, unsigned bits, bool is_signed, u64 *low, u64 *high)
{
    u64 m = size_mask(bits), p[2];
    bool minus = false;
    a &= m;
    b &= m;
    if (is_signed) {
        if (a >> (bits - 1)) { a = -a & m; minus = !minus; }
        if (b >> (bits - 1)) { b = -b & m; minus = !minus; }
    }
    ref_product(a, b, p);
    if (minus) {
        p[0] = -p[0];
        p[1] = ~p[1] + (p[0] == 0);
    }
    *low = p[0] & m;
    *high = bits == 64 ? p[1] : p[0] >> bits & m;
    return is_signed ? *high == (*low >> (bits - 1) ? m : 0) : *high == 0;
}

static void multiply(void)
{
    for (unsigned is_signed = 0; is_signed < 2; is_signed++)
        for (unsigned s = 0; s < 4; s++) {
            unsigned bits = sizes[s];
            u8 *p = emit_op(code, bits, 0, 0xf7);
            *p++ = (u8)(0xe1 | is_signed << 3);
            finish_code(p);
            for (unsigned i = 0; i < VALUES; i++)
                for (unsigned j = 0; j < VALUES; j++) {
                    u64 a = values[i], b = values[j], low, high, d = 0x1122334455667788;
                    Regs r = {.rax = a, .rcx = b, .rdx = d, .flags = 2};
                    bool fits = product(a, b, bits, is_signed, &low, &high);
                    run_thunk(&r, code);
                    const char *n = is_signed ? "IMUL" : "MUL";
                    check(r.flags & (CF | OF), fits ? 0 : CF | OF, "%s %u: flags of %lx, %lx", n,
                          bits, a, b);
                    check(r.rax, bits == 8 ? merged(a, low | high << 8, 16) : merged(a, low, bits),
                          "%s %u: RAX of %lx, %lx", n, bits, a, b);
                    check(r.rdx, bits == 8 ? d : merged(d, high, bits), "%s %u: RDX of %lx, %lx", n,
                          bits, a, b);
                }
        }
    /* two and three operands */
    for (unsigned s = 1; s < 4; s++)
        for (unsigned form = 0; form < 3; form++) {
            unsigned bits = sizes[s];
            for (unsigned j = 0; j < VALUES; j++) {
                u64 b = values[j];
                u8 *p = code;
                if (form == 0) {
                    p = emit_op(p, bits, 1, 0xaf);
                    *p++ = 0xc1; /* RAX, RCX */
                } else {
                    p = emit_op(p, bits, 0, form == 1 ? 0x69 : 0x6b);
                    *p++ = 0xc1; /* RAX = RCX * immediate */
                    for (unsigned i = 0; i < (form == 2 ? 1 : bits == 16 ? 2u : 4u); i++)
                        *p++ = (u8)(b >> (8 * i));
                    b = sign_extend(b, form == 2 ? 8 : bits == 16 ? 16 : 32);
                }
                finish_code(p);
                for (unsigned i = 0; i < VALUES; i++) {
                    u64 a = values[i], low, high;
                    Regs r = {.rax = form ? 0x7777777777777777 : a,
                              .rcx = form ? a : b,
                              .flags = ARITH | 2};
                    bool fits = product(a, b, bits, true, &low, &high);
                    u64 was = r.rax;
                    run_thunk(&r, code);
                    check(r.flags & (CF | OF), fits ? 0 : CF | OF,
                          "IMUL %u form %u: flags of %lx, %lx", bits, form, a, b);
                    check(r.rax, merged(was, low, bits), "IMUL %u form %u of %lx, %lx", bits, form,
                          a, b);
                }
            }
        }
}

/* Long division, bit by bit: false when the quotient does not fit. */
static bool divide(u64 high, u64 low, u64 by, unsigned bits, bool is_signed, u64 *q, u64 *rem)
{
    u64 m = size_mask(bits), top = 1ull << (bits - 1);
    bool minus = false, minus_q;
    by &= m;
    if (!by)
        return false;
    if (is_signed && (high & top)) {
        low = -low & m;
        high = (~high + (low == 0)) & m;
        minus = true;
    }
    minus_q = minus;
    if (is_signed && (by & top)) {
        by = -by & m;
        minus_q = !minus_q;
    }
    if (high >= by)
        return false;
    u64 r = high, quotient = 0;
    for (unsigned i = bits; i-- > 0;) {
        bool over = r & top;
        r = (r << 1 | (low >> i & 1)) & m;
        if (over || r >= by) {
            r = (r - by) & m;
            quotient |= 1ull << i;
        }
    }
    if (is_signed && (minus_q ? quotient > top : quotient >= top))
        return false;
    *q = (minus_q ? -quotient : quotient) & m;
    *rem = (minus ? -r : r) & m;
    return true;
}

static void run_code(void *r) { run_thunk(r, code); }

static void division(void)
{
    for (unsigned is_signed = 0; is_signed < 2; is_signed++)
        for (unsigned s = 0; s < 4; s++) {
            unsigned bits = sizes[s];
            u8 *p = emit_op(code, bits, 0, 0xf7);
            *p++ = (u8)(0xf1 | is_signed << 3);
            finish_code(p);
            for (unsigned n = 0; n < VALUES * VALUES * 3; n++) {
                u64 low = values[n % VALUES], by = values[n / VALUES % VALUES], q = 0, rem = 0;
                u64 m = size_mask(bits), high;
                switch (n / VALUES / VALUES) {
                case 0: high = 0; break;
                case 1: high = is_signed ? sign_extend(low, bits) >> 63 ? ~0ull : 0 : by - 1; break;
                default: high = values[(n * 7) % VALUES];
                }
                high &= m;
                Regs r = {.rax = bits == 8 ? (high << 8 | (low & 0xff)) : low,
                          .rdx = high,
                          .rcx = by,
                          .flags = 2};
                Regs was = r;
                Caught c;
                bool ok = divide(high, low & m, by, bits, is_signed, &q, &rem);
                const char *name = is_signed ? "IDIV" : "DIV";
                if (ok)
                    run_thunk(&r, code), c.vector = NO_TRAP;
                else
                    guarded(run_code, &r, &c);
                if (!check(c.vector, ok ? NO_TRAP : DE, "%s %u: trap of %lx:%lx / %lx", name, bits,
                           high, low, by) ||
                    !ok)
                    continue;
                check(r.rax,
                      bits == 8 ? merged(was.rax, q | rem << 8, 16) : merged(was.rax, q, bits),
                      "%s %u: RAX of %lx:%lx / %lx", name, bits, high, low, by);
                if (bits != 8)
                    check(r.rdx, merged(was.rdx, rem, bits), "%s %u: RDX of %lx:%lx / %lx", name,
                          bits, high, low, by);
            }
        }
}

void guest_main(void)
{
    alu();
    unary();
    shifts();
    double_shifts();
    multiply();
    division();
    finish();
}
