/*
 * Instructions as functions: what is too rare, or too long, for an inline op.
 * SDM volume 2.  Conventions of the arguments: helpers.h.
 */
#include "helpers.h"

#include <sys/random.h>

#define REG64(off) (*(uint64_t *)((char *)c->r + (off)))
#define T0 c->r[REG_T0]

static uint64_t size_mask(unsigned size)
{
    return size == 3 ? ~0ull : (1ull << (8u << size)) - 1;
}

static uint64_t sign_extend(uint64_t v, unsigned size)
{
    switch (size) {
    case 0: return (uint64_t)(int8_t)v;
    case 1: return (uint64_t)(int16_t)v;
    case 2: return (uint64_t)(int32_t)v;
    default: return v;
    }
}

/* Read a register of a size at a byte offset (AH and the like included). */
static uint64_t reg_read(const X86Cpu *c, unsigned off, unsigned size)
{
    const char *p = (const char *)c->r + off;
    switch (size) {
    case 0: return *(const uint8_t *)p;
    case 1: return *(const uint16_t *)p;
    case 2: return *(const uint32_t *)p;
    default: return *(const uint64_t *)p;
    }
}

static void reg_write(X86Cpu *c, unsigned off, unsigned size, uint64_t v)
{
    char *p = (char *)c->r + off;
    switch (size) {
    case 0: *(uint8_t *)p = (uint8_t)v; break;
    case 1: *(uint16_t *)p = (uint16_t)v; break;
    case 2: *(uint64_t *)p = (uint32_t)v; break;
    default: *(uint64_t *)p = v; break;
    }
}

static bool load_e(X86Cpu *c, const InterpOp *op, unsigned size, uint64_t *v)
{
    if (op->scale)
        return x86_load(c, T0, 1u << size, v);
    *v = reg_read(c, op->s, size);
    return true;
}

static bool store_e(X86Cpu *c, const InterpOp *op, unsigned size, uint64_t v)
{
    if (op->scale)
        return x86_store_slow(c, T0, v, 1u << size);
    reg_write(c, op->s, size, v);
    return true;
}

static uint32_t szp(uint64_t result, unsigned size)
{
    uint64_t v = sign_extend(result, size);
    return (v == 0 ? FL_ZF : 0) | ((int64_t)v < 0 ? FL_SF : 0) |
           (!__builtin_parity(v & 0xff) ? FL_PF : 0);
}

bool x86_h_ud(X86Cpu *c, const InterpOp *op) { return x86_ud(c); }
bool x86_h_gp0(X86Cpu *c, const InterpOp *op) { return x86_gp(c, 0); }

bool x86_h_nm(X86Cpu *c, const InterpOp *op)
{
    /* x: x87 (and MMX); EM makes SSE #UD but x87 #NM */
    if (!op->x && ((c->cr0 & CR0_EM) || !(c->cr4 & CR4_OSFXSR)))
        return x86_ud(c);
    return x86_raise(c, EXC_NM);
}

/* ---- CALL2: values ------------------------------------------------------------------------ */

static unsigned count_of(X86Cpu *c, const InterpOp *op)
{
    unsigned n = op->disp >= 0 ? (unsigned)op->disp : (unsigned)c->r[RCX];
    return n & (op->x == 3 ? 63 : 31);
}

/* The destination's value: AH and its like sit a byte up. */
static uint64_t operand_of(uint64_t a, const InterpOp *op)
{
    return (a >> ((op->d & 7) * 8)) & size_mask(op->x);
}

static void set_cf_of(X86Cpu *c, bool cf, bool of)
{
    uint32_t f = x86_cc_flags(c) & ~(uint32_t)(FL_CF | FL_OF);
    x86_flags_set(c, f | (cf ? FL_CF : 0) | (of ? FL_OF : 0));
}

uint64_t x86_op2_rol(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned bits = 8u << op->x, n = count_of(c, op);
    a = operand_of(a, op);
    if (!n)
        return a;
    unsigned k = n & (bits - 1);
    uint64_t v = k ? (a << k | a >> (bits - k)) & size_mask(op->x) : a;
    set_cf_of(c, v & 1, (v & 1) ^ (v >> (bits - 1)));
    return v;
}

uint64_t x86_op2_ror(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned bits = 8u << op->x, n = count_of(c, op);
    a = operand_of(a, op);
    if (!n)
        return a;
    unsigned k = n & (bits - 1);
    uint64_t v = k ? (a >> k | a << (bits - k)) & size_mask(op->x) : a;
    set_cf_of(c, v >> (bits - 1), (v >> (bits - 1) ^ v >> (bits - 2)) & 1);
    return v;
}

uint64_t x86_op2_rcl(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned bits = 8u << op->x, n = count_of(c, op) % (bits + 1);
    a = operand_of(a, op);
    if (!n)
        return a;
    bool cf = x86_cf(c);
    for (; n; n--) {
        bool out = a >> (bits - 1) & 1;
        a = (a << 1 | cf) & size_mask(op->x);
        cf = out;
    }
    set_cf_of(c, cf, cf ^ (a >> (bits - 1)));
    return a;
}

uint64_t x86_op2_rcr(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned bits = 8u << op->x, n = count_of(c, op) % (bits + 1);
    a = operand_of(a, op);
    if (!n)
        return a;
    bool cf = x86_cf(c);
    for (; n; n--) {
        bool out = a & 1;
        a = a >> 1 | (uint64_t)cf << (bits - 1);
        cf = out;
    }
    set_cf_of(c, cf, (a >> (bits - 1) ^ a >> (bits - 2)) & 1);
    return a;
}

/* Double shifts.  A count above 16 with 16-bit operands is undefined; as silicon, go on through
   source and destination again. */
uint64_t x86_op2_shld(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned bits = 8u << op->x, n = count_of(c, op);
    a &= size_mask(op->x);
    b &= size_mask(op->x);
    if (!n)
        return a;
    uint64_t v;
    bool cf;
    if (n <= bits) {
        v = n == bits ? b : a << n | b >> (bits - n);
        cf = a >> (bits - n) & 1;
    } else {
        v = b << (n - bits) | a >> (2 * bits - n);
        cf = b >> (2 * bits - n) & 1;
    }
    v &= size_mask(op->x);
    x86_flags_set(c, szp(v, op->x) | cf | (((v ^ a) >> (bits - 1) & 1) ? FL_OF : 0));
    return v;
}

uint64_t x86_op2_shrd(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned bits = 8u << op->x, n = count_of(c, op);
    a &= size_mask(op->x);
    b &= size_mask(op->x);
    if (!n)
        return a;
    uint64_t v;
    bool cf;
    if (n <= bits) {
        v = n == bits ? b : a >> n | b << (bits - n);
        cf = a >> (n - 1) & 1;
    } else {
        v = b >> (n - bits) | a << (2 * bits - n);
        cf = b >> (n - bits - 1) & 1;
    }
    v &= size_mask(op->x);
    x86_flags_set(c, szp(v, op->x) | cf | (((v ^ a) >> (bits - 1) & 1) ? FL_OF : 0));
    return v;
}

static unsigned bit_of(uint64_t b, const InterpOp *op)
{
    return (unsigned)(op->disp >= 0 ? (uint64_t)op->disp : b) & ((8u << op->x) - 1);
}

static void set_cf(X86Cpu *c, bool cf)
{
    x86_flags_set(c, (x86_cc_flags(c) & ~(uint32_t)FL_CF) | cf);
}

uint64_t x86_op2_bt(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    set_cf(c, a >> bit_of(b, op) & 1);
    return a;
}

uint64_t x86_op2_bts(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    set_cf(c, a >> bit_of(b, op) & 1);
    return a | 1ull << bit_of(b, op);
}

uint64_t x86_op2_btr(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    set_cf(c, a >> bit_of(b, op) & 1);
    return a & ~(1ull << bit_of(b, op));
}

uint64_t x86_op2_btc(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    set_cf(c, a >> bit_of(b, op) & 1);
    return a ^ 1ull << bit_of(b, op);
}

uint64_t x86_op2_bsf(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    b &= size_mask((unsigned)op->disp);
    x86_flags_set(c, b ? szp(1, 0) & ~(uint32_t)FL_ZF : FL_ZF | FL_PF);
    return b ? (uint64_t)__builtin_ctzll(b) : a;
}

uint64_t x86_op2_bsr(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    b &= size_mask((unsigned)op->disp);
    x86_flags_set(c, b ? szp(1, 0) & ~(uint32_t)FL_ZF : FL_ZF | FL_PF);
    return b ? 63u - (unsigned)__builtin_clzll(b) : a;
}

uint64_t x86_op2_tzcnt(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    b &= size_mask(op->x);
    uint64_t v = b ? (uint64_t)__builtin_ctzll(b) : 8u << op->x;
    x86_flags_set(c, (v == 0 ? FL_ZF : 0) | (b == 0 ? FL_CF : 0));
    return v;
}

uint64_t x86_op2_lzcnt(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    b &= size_mask(op->x);
    unsigned bits = 8u << op->x;
    uint64_t v = b ? (uint64_t)__builtin_clzll(b) - (64 - bits) : bits;
    x86_flags_set(c, (v == 0 ? FL_ZF : 0) | (b == 0 ? FL_CF : 0));
    return v;
}

uint64_t x86_op2_popcnt(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    b &= size_mask(op->x);
    x86_flags_set(c, b ? 0 : FL_ZF);
    return (uint64_t)__builtin_popcountll(b);
}

uint64_t x86_op2_movbe(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    return op->x == 3 ? __builtin_bswap64(b)
                      : op->x == 2 ? __builtin_bswap32((uint32_t)b) : __builtin_bswap16((uint16_t)b);
}

uint64_t x86_op2_crc32(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    uint32_t crc = (uint32_t)a;
    b = reg_read(c, op->b, (unsigned)op->disp);
    for (unsigned i = 0; i < 1u << op->disp; i++) {
        crc ^= (uint8_t)(b >> (8 * i));
        for (unsigned k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return crc;
}

uint64_t x86_op2_adcx(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    a &= size_mask(op->x);
    b &= size_mask(op->x);
    unsigned __int128 v = (unsigned __int128)a + b + x86_cf(c);
    set_cf(c, v >> (8u << op->x));
    return (uint64_t)v;
}

uint64_t x86_op2_adox(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    a &= size_mask(op->x);
    b &= size_mask(op->x);
    unsigned __int128 v = (unsigned __int128)a + b + x86_of(c);
    x86_flags_set(c, (x86_cc_flags(c) & ~(uint32_t)FL_OF) | (v >> (8u << op->x) ? FL_OF : 0));
    return (uint64_t)v;
}

uint64_t x86_op2_lahf(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    return x86_rflags(c) & 0xff;
}

uint64_t x86_op2_rdpid(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op) { return c->tsc_aux; }

uint64_t x86_op2_salc(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    return x86_cf(c) ? 0xff : 0;
}

/* ---- BMI1, BMI2.  b is the operand in s, the other register is at op->b.  AF and PF, which the
   SDM leaves undefined, become 0. ---- */

static uint32_t zs(uint64_t v, unsigned size) { return szp(v, size) & (FL_ZF | FL_SF); }
static uint64_t other(const X86Cpu *c, const InterpOp *op) { return reg_read(c, op->b, op->x); }

uint64_t x86_op2_andn(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    uint64_t v = ~other(c, op) & b & size_mask(op->x);
    x86_flags_set(c, zs(v, op->x));
    return v;
}

uint64_t x86_op2_blsr(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    b &= size_mask(op->x);
    uint64_t v = b & (b - 1);
    x86_flags_set(c, zs(v, op->x) | (b ? 0 : FL_CF));
    return v;
}

uint64_t x86_op2_blsmsk(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    b &= size_mask(op->x);
    uint64_t v = (b ^ (b - 1)) & size_mask(op->x);
    x86_flags_set(c, zs(v, op->x) | (b ? 0 : FL_CF));
    return v;
}

uint64_t x86_op2_blsi(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    b &= size_mask(op->x);
    uint64_t v = b & (0 - b);
    x86_flags_set(c, zs(v, op->x) | (b ? FL_CF : 0));
    return v;
}

/* b: the index (vvvv); the other: the value. */
uint64_t x86_op2_bzhi(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned n = b & 0xff, bits = 8u << op->x;
    uint64_t v = other(c, op);
    if (n < bits)
        v &= (1ull << n) - 1;
    x86_flags_set(c, zs(v, op->x) | (n >= bits ? FL_CF : 0));
    return v;
}

uint64_t x86_op2_pext(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    uint64_t v = other(c, op), out = 0;
    b &= size_mask(op->x);
    for (unsigned n = 0; b; b &= b - 1, n++)
        out |= (v >> __builtin_ctzll(b) & 1) << n;
    return out;
}

uint64_t x86_op2_pdep(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    uint64_t v = other(c, op), out = 0;
    b &= size_mask(op->x);
    for (; b; b &= b - 1, v >>= 1)
        out |= (v & 1) << __builtin_ctzll(b);
    return out;
}

uint64_t x86_op2_bextr(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned control = (unsigned)other(c, op), start = control & 0xff, n = control >> 8 & 0xff;
    uint64_t v = start < 64 ? (b & size_mask(op->x)) >> start : 0;
    if (n < 64)
        v &= (1ull << n) - 1;
    x86_flags_set(c, v ? 0 : FL_ZF);
    return v;
}

static unsigned shift_count(const X86Cpu *c, const InterpOp *op)
{
    return (unsigned)other(c, op) & (op->x == 3 ? 63 : 31);
}

uint64_t x86_op2_shlx(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    return b << shift_count(c, op);
}

uint64_t x86_op2_sarx(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    return (uint64_t)((int64_t)sign_extend(b, op->x) >> shift_count(c, op));
}

uint64_t x86_op2_shrx(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    return (b & size_mask(op->x)) >> shift_count(c, op);
}

uint64_t x86_op2_rorx(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op)
{
    unsigned bits = 8u << op->x, n = (unsigned)op->disp & (bits - 1);
    b &= size_mask(op->x);
    return n ? b >> n | b << (bits - n) : b;
}

bool x86_h_mulx(X86Cpu *c, const InterpOp *op)
{
    unsigned size = op->x;
    unsigned __int128 p = (unsigned __int128)reg_read(c, RDX * 8, size) * reg_read(c, op->s, size);
    reg_write(c, op->b, size, (uint64_t)p);
    reg_write(c, op->d, size, (uint64_t)(p >> (8u << size))); /* the same register: the upper half */
    return true;
}

/* ---- multiply, divide ------------------------------------------------------------------------ */

static void mul_result(X86Cpu *c, unsigned size, uint64_t low, uint64_t high, bool over)
{
    if (size == 0) {
        reg_write(c, RAX * 8, 1, (high << 8 | (low & 0xff)));
    } else {
        reg_write(c, RAX * 8, size, low);
        reg_write(c, RDX * 8, size, high);
    }
    c->cc_op = CC_BITS;
    c->cc_dst = sign_extend(low, size);
    c->cc_src = over ? FL_CF | FL_OF : 0;
}

bool x86_h_mul(X86Cpu *c, const InterpOp *op)
{
    unsigned size = op->x, bits = 8u << size;
    unsigned __int128 p = (unsigned __int128)reg_read(c, RAX * 8, size) * reg_read(c, op->s, size);
    uint64_t high = (uint64_t)(p >> bits) & size_mask(size);
    mul_result(c, size, (uint64_t)p, high, high != 0);
    return true;
}

bool x86_h_imul1(X86Cpu *c, const InterpOp *op)
{
    unsigned size = op->x, bits = 8u << size;
    __int128 p = (__int128)(int64_t)sign_extend(reg_read(c, RAX * 8, size), size) *
                 (int64_t)sign_extend(reg_read(c, op->s, size), size);
    mul_result(c, size, (uint64_t)p, (uint64_t)(p >> bits) & size_mask(size),
               p != (int64_t)sign_extend((uint64_t)p, size));
    return true;
}

bool x86_h_div(X86Cpu *c, const InterpOp *op)
{
    unsigned size = op->x, bits = 8u << size;
    uint64_t d = reg_read(c, op->s, size);
    if (!d)
        return x86_raise(c, EXC_DE);
    if (size == 0) {
        unsigned n = (uint16_t)c->r[RAX], q = n / (unsigned)d;
        if (q > 0xff)
            return x86_raise(c, EXC_DE);
        reg_write(c, RAX * 8, 1, (n % d) << 8 | q);
        return true;
    }
    uint64_t low = reg_read(c, RAX * 8, size), high = reg_read(c, RDX * 8, size);
    if (high >= d)
        return x86_raise(c, EXC_DE);
    if (size == 3) {
        unsigned __int128 n = (unsigned __int128)high << 64 | low;
        c->r[RAX] = high ? (uint64_t)(n / d) : low / d;
        c->r[RDX] = high ? (uint64_t)(n % d) : low % d;
    } else {
        uint64_t n = high << bits | low;
        reg_write(c, RAX * 8, size, n / d);
        reg_write(c, RDX * 8, size, n % d);
    }
    return true;
}

bool x86_h_idiv(X86Cpu *c, const InterpOp *op)
{
    unsigned size = op->x, bits = 8u << size;
    int64_t d = (int64_t)sign_extend(reg_read(c, op->s, size), size);
    if (!d)
        return x86_raise(c, EXC_DE);
    __int128 n;
    if (size == 0)
        n = (int16_t)c->r[RAX];
    else if (size == 3)
        n = (__int128)((unsigned __int128)c->r[RDX] << 64 | c->r[RAX]);
    else {
        uint64_t v = reg_read(c, RDX * 8, size) << bits | reg_read(c, RAX * 8, size);
        n = size == 2 ? (int64_t)v : (int32_t)v;
    }
    if (n == (__int128)((unsigned __int128)1 << 127) && d == -1)
        return x86_raise(c, EXC_DE);
    __int128 q = n / d, rem = n % d;
    if (q != (int64_t)sign_extend((uint64_t)q, size))
        return x86_raise(c, EXC_DE);
    if (size == 0) {
        reg_write(c, RAX * 8, 1, ((uint64_t)rem & 0xff) << 8 | ((uint64_t)q & 0xff));
    } else {
        reg_write(c, RAX * 8, size, (uint64_t)q);
        reg_write(c, RDX * 8, size, (uint64_t)rem);
    }
    return true;
}

/* ---- decimal ------------------------------------------------------------------------------------ */

bool x86_h_daa(X86Cpu *c, const InterpOp *op)
{
    uint32_t f = x86_cc_flags(c);
    uint8_t old = (uint8_t)c->r[RAX], al = old;
    bool cf = f & FL_CF, af = (old & 15) > 9 || (f & FL_AF), out = false;
    if (af) {
        out = cf || al > 0xf9;
        al = (uint8_t)(al + 6);
    }
    if (old > 0x99 || cf) {
        al = (uint8_t)(al + 0x60);
        out = true;
    }
    reg_write(c, RAX * 8, 0, al);
    x86_flags_set(c, szp(al, 0) | (out ? FL_CF : 0) | (af ? FL_AF : 0));
    return true;
}

bool x86_h_das(X86Cpu *c, const InterpOp *op)
{
    uint32_t f = x86_cc_flags(c);
    uint8_t old = (uint8_t)c->r[RAX], al = old;
    bool cf = f & FL_CF, af = (old & 15) > 9 || (f & FL_AF), out = false;
    if (af) {
        out = cf || al < 6;
        al = (uint8_t)(al - 6);
    }
    if (old > 0x99 || cf) {
        al = (uint8_t)(al - 0x60);
        out = true;
    }
    reg_write(c, RAX * 8, 0, al);
    x86_flags_set(c, szp(al, 0) | (out ? FL_CF : 0) | (af ? FL_AF : 0));
    return true;
}

static bool ascii_adjust(X86Cpu *c, int sign)
{
    uint16_t ax = (uint16_t)c->r[RAX];
    bool adjust = (ax & 15) > 9 || (x86_cc_flags(c) & FL_AF);
    if (adjust)
        ax = (uint16_t)(ax + sign * 0x106);
    ax &= 0xff0f;
    reg_write(c, RAX * 8, 1, ax);
    x86_flags_set(c, szp(ax & 0xff, 0) | (adjust ? FL_CF | FL_AF : 0));
    return true;
}

bool x86_h_aaa(X86Cpu *c, const InterpOp *op) { return ascii_adjust(c, 1); }
bool x86_h_aas(X86Cpu *c, const InterpOp *op) { return ascii_adjust(c, -1); }

bool x86_h_aam(X86Cpu *c, const InterpOp *op)
{
    unsigned base = (uint8_t)op->disp, al = (uint8_t)c->r[RAX];
    if (!base)
        return x86_raise(c, EXC_DE);
    reg_write(c, RAX * 8, 1, (al / base) << 8 | (al % base));
    x86_flags_set(c, szp(al % base, 0));
    return true;
}

bool x86_h_aad(X86Cpu *c, const InterpOp *op)
{
    uint8_t v = (uint8_t)((uint8_t)c->r[RAX] + (uint8_t)(c->r[RAX] >> 8) * (uint8_t)op->disp);
    reg_write(c, RAX * 8, 1, v);
    x86_flags_set(c, szp(v, 0));
    return true;
}

/* ---- stack ------------------------------------------------------------------------------------------ */

bool x86_h_push(X86Cpu *c, const InterpOp *op)
{
    return x86_push(c, reg_read(c, op->s, op->x), 1u << op->x);
}

bool x86_h_pop(X86Cpu *c, const InterpOp *op)
{
    uint64_t v;
    if (!x86_pop(c, &v, 1u << op->x))
        return false;
    reg_write(c, op->d, op->x, v);
    return true;
}

bool x86_h_pop_e(X86Cpu *c, const InterpOp *op)
{
    uint64_t sp = c->r[RSP], v;
    if (!x86_pop(c, &v, 1u << op->x))
        return false;
    if (x86_store_slow(c, T0, v, 1u << op->x))
        return true;
    c->r[RSP] = sp;
    return false;
}

bool x86_h_pusha(X86Cpu *c, const InterpOp *op)
{
    unsigned bytes = 1u << op->x;
    uint64_t sp = c->r[RSP];
    for (unsigned i = 0; i < 8; i++) {
        uint64_t v = i == RSP ? sp : c->r[i];
        if (!x86_push(c, v & size_mask(op->x), bytes)) {
            c->r[RSP] = sp;
            return false;
        }
    }
    return true;
}

bool x86_h_popa(X86Cpu *c, const InterpOp *op)
{
    uint64_t v[8], sp = c->r[RSP];
    for (unsigned i = 8; i-- > 0;) {
        if (!x86_pop(c, &v[i], 1u << op->x)) {
            c->r[RSP] = sp;
            return false;
        }
    }
    for (unsigned i = 0; i < 8; i++)
        if (i != RSP)
            reg_write(c, i * 8, op->x, v[i]);
    return true;
}

bool x86_h_enter(X86Cpu *c, const InterpOp *op)
{
    unsigned bytes = 1u << op->x, level = op->d & 31;
    uint64_t sp = c->r[RSP], mask = x86_stack_mask(c), frame;
    if (!x86_push(c, reg_read(c, RBP * 8, op->x), bytes))
        return false;
    frame = c->r[RSP];
    uint64_t bp = c->r[RBP];
    for (unsigned i = 1; i < level; i++) {
        uint64_t v, at;
        bp = (bp & ~mask) | ((bp - bytes) & mask);
        if (!x86_seg_linear(c, VMR_X86_SS, bp & mask, bytes, false, &at) || !x86_load(c, at, bytes, &v) ||
            !x86_push(c, v, bytes))
            goto fail;
    }
    if (level && !x86_push(c, frame & size_mask(op->x), bytes))
        goto fail;
    uint64_t low = (c->r[RSP] - (uint16_t)op->disp) & mask, at;
    /* the new top must be writable */
    if (!x86_seg_linear(c, VMR_X86_SS, low, 1, true, &at) || !x86_probe(c, at, 1, true))
        goto fail;
    c->r[RSP] = (c->r[RSP] & ~mask) | low;
    reg_write(c, RBP * 8, op->x, frame);
    return true;
fail:
    c->r[RSP] = sp;
    return false;
}

bool x86_h_leave(X86Cpu *c, const InterpOp *op)
{
    uint64_t sp = c->r[RSP], mask = x86_stack_mask(c), v;
    c->r[RSP] = (sp & ~mask) | (c->r[RBP] & mask);
    if (!x86_pop(c, &v, 1u << op->x)) {
        c->r[RSP] = sp;
        return false;
    }
    reg_write(c, RBP * 8, op->x, v);
    return true;
}

static unsigned iopl(const X86Cpu *c) { return c->eflags >> 12 & 3; }

bool x86_h_pushf(X86Cpu *c, const InterpOp *op)
{
    uint64_t flags = x86_rflags(c) & ~(uint64_t)(FL_VM | FL_RF);
    if ((c->eflags & FL_VM) && iopl(c) < 3) {
        if (!(c->cr4 & CR4_VME) || op->x != 1)
            return x86_gp(c, 0);
        flags = (flags & ~(uint64_t)FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
    }
    return x86_push(c, flags, 1u << op->x);
}

bool x86_h_popf(X86Cpu *c, const InterpOp *op)
{
    bool virtual = (c->eflags & FL_VM) && iopl(c) < 3;
    if (virtual && (!(c->cr4 & CR4_VME) || op->x != 1))
        return x86_gp(c, 0);
    uint64_t v, sp = c->r[RSP];
    if (!x86_pop(c, &v, 1u << op->x))
        return false;
    if (virtual && ((v & FL_TF) || ((v & FL_IF) && (c->eflags & FL_VIP)))) {
        c->r[RSP] = sp;
        return x86_gp(c, 0);
    }
    if (virtual)
        c->eflags = (c->eflags & ~(uint32_t)FL_VIF) | (v & FL_IF ? FL_VIF : 0);
    uint32_t mask = FL_CC | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID | FL_RF;
    if (c->cpl == 0)
        mask |= FL_IOPL;
    if (c->cpl <= iopl(c))
        mask |= FL_IF;
    if (op->x == 1)
        mask &= 0xffff;
    x86_rflags_write(c, v & ~(uint64_t)FL_RF, mask);
    return true;
}

bool x86_h_sahf(X86Cpu *c, const InterpOp *op)
{
    uint32_t of = x86_of(c) ? FL_OF : 0;
    x86_flags_set(c, ((uint32_t)(c->r[RAX] >> 8) & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) | of);
    return true;
}

/* ---- branches that are not inline -------------------------------------------------------------------- */

static bool branch(X86Cpu *c, uint64_t to, unsigned size)
{
    if (size == 1)
        to &= 0xffff;
    else if (size == 2)
        to &= 0xffffffff;
    if (!x86_code64(c) && to > c->seg[VMR_X86_CS].limit)
        return x86_gp(c, 0);
    c->r[REG_PC] = to;
    return true;
}

static unsigned branch_size(X86Cpu *c, unsigned size) { return x86_code64(c) ? 3 : size; }

bool x86_h_jmp_near(X86Cpu *c, const InterpOp *op)
{
    return branch(c, c->next_pc + (uint64_t)(int64_t)op->disp, branch_size(c, op->x));
}

bool x86_h_jcc_far(X86Cpu *c, const InterpOp *op)
{
    return !x86_cond(c, op->d) || x86_h_jmp_near(c, op);
}

bool x86_h_call_near(X86Cpu *c, const InterpOp *op)
{
    unsigned size = branch_size(c, op->x);
    uint64_t to = op->scale ? reg_read(c, op->s, size) : c->next_pc + (uint64_t)(int64_t)op->disp;
    uint64_t sp = c->r[RSP];
    if (!x86_push(c, c->next_pc, 1u << size))
        return false;
    if (branch(c, to, size))
        return true;
    c->r[RSP] = sp;
    return false;
}

bool x86_h_ret_near(X86Cpu *c, const InterpOp *op)
{
    uint64_t sp = c->r[RSP], mask = x86_stack_mask(c), to;
    if (!x86_pop(c, &to, 1u << op->x))
        return false;
    if (!branch(c, to, op->x)) {
        c->r[RSP] = sp;
        return false;
    }
    c->r[RSP] = (c->r[RSP] & ~mask) | ((c->r[RSP] + (uint16_t)op->disp) & mask);
    return true;
}

static uint64_t address_mask(unsigned as) { return as == 3 ? ~0ull : as == 2 ? 0xffffffff : 0xffff; }

bool x86_h_loop(X86Cpu *c, const InterpOp *op)
{
    uint64_t mask = address_mask(op->s), count = (c->r[RCX] - 1) & mask;
    bool take = count != 0 && (op->d == 2 || x86_zf(c) == (op->d == 1));
    if (take && !x86_h_jmp_near(c, op))
        return false;
    reg_write(c, RCX * 8, op->s, count);
    return true;
}

bool x86_h_jcxz(X86Cpu *c, const InterpOp *op)
{
    return (c->r[RCX] & address_mask(op->s)) || x86_h_jmp_near(c, op);
}

/* ---- far transfers, segments --------------------------------------------------------------------------- */

static uint16_t selector_of(const InterpOp *op) { return (uint16_t)(op->b | op->i << 8); }

bool x86_h_far_jump(X86Cpu *c, const InterpOp *op)
{
    return x86_far_jump(c, selector_of(op), (uint32_t)op->disp);
}

bool x86_h_far_call(X86Cpu *c, const InterpOp *op)
{
    return x86_far_call(c, selector_of(op), (uint32_t)op->disp, 1u << op->x);
}

static bool far_pointer(X86Cpu *c, const InterpOp *op, uint64_t *offset, uint64_t *selector)
{
    return x86_load(c, T0, 1u << op->x, offset) && x86_load(c, T0 + (1u << op->x), 2, selector);
}

bool x86_h_far_jump_mem(X86Cpu *c, const InterpOp *op)
{
    uint64_t offset, selector;
    return far_pointer(c, op, &offset, &selector) && x86_far_jump(c, (uint16_t)selector, offset);
}

bool x86_h_far_call_mem(X86Cpu *c, const InterpOp *op)
{
    uint64_t offset, selector;
    return far_pointer(c, op, &offset, &selector) &&
           x86_far_call(c, (uint16_t)selector, offset, 1u << op->x);
}

bool x86_h_far_return(X86Cpu *c, const InterpOp *op)
{
    return x86_far_return(c, 1u << op->x, (unsigned)op->disp);
}

bool x86_h_iret(X86Cpu *c, const InterpOp *op) { return x86_iret(c, 1u << op->x); }

bool x86_h_load_far(X86Cpu *c, const InterpOp *op)
{
    uint64_t offset, selector;
    if (!far_pointer(c, op, &offset, &selector) ||
        !x86_seg_load(c, (unsigned)op->disp, (uint16_t)selector))
        return false;
    reg_write(c, op->d, op->x, offset);
    return true;
}

bool x86_h_mov_to_seg(X86Cpu *c, const InterpOp *op)
{
    uint64_t v;
    if (!load_e(c, op, 1, &v) || !x86_seg_load(c, op->d, (uint16_t)v))
        return false;
    if (op->d == VMR_X86_SS) {
        c->inhibit = c->no_step = c->ss_shadow = true;
        atomic_store(&c->ic.limit, 0);
    }
    return true;
}

bool x86_h_mov_from_seg(X86Cpu *c, const InterpOp *op)
{
    return store_e(c, op, op->scale ? 1 : op->x, c->seg[op->d].sel);
}

bool x86_h_push_seg(X86Cpu *c, const InterpOp *op)
{
    return x86_push(c, c->seg[op->d].sel, 1u << op->x);
}

bool x86_h_pop_seg(X86Cpu *c, const InterpOp *op)
{
    uint64_t sp = c->r[RSP], v;
    if (!x86_pop(c, &v, 1u << op->x))
        return false;
    /* loading SS may change the stack's width: the pop was of the old */
    if (!x86_seg_load(c, op->d, (uint16_t)v)) {
        c->r[RSP] = sp;
        return false;
    }
    if (op->d == VMR_X86_SS) {
        c->inhibit = c->no_step = c->ss_shadow = true;
        atomic_store(&c->ic.limit, 0);
    }
    return true;
}

bool x86_h_bound(X86Cpu *c, const InterpOp *op)
{
    uint64_t low, high;
    unsigned bytes = 1u << op->x;
    if (!x86_load(c, T0, bytes, &low) || !x86_load(c, T0 + bytes, bytes, &high))
        return false;
    int64_t v = (int64_t)sign_extend(reg_read(c, op->d, op->x), op->x);
    if (v < (int64_t)sign_extend(low, op->x) || v > (int64_t)sign_extend(high, op->x))
        return x86_raise(c, EXC_BR);
    return true;
}

bool x86_h_arpl(X86Cpu *c, const InterpOp *op)
{
    uint64_t v;
    if (!load_e(c, op, 1, &v))
        return false;
    unsigned rpl = reg_read(c, op->d, 1) & 3;
    bool lower = (v & 3) < rpl;
    if (lower && !store_e(c, op, 1, (v & ~3ull) | rpl))
        return false;
    x86_flags_set(c, (x86_cc_flags(c) & ~(uint32_t)FL_ZF) | (lower ? FL_ZF : 0));
    return true;
}

bool x86_h_xlat(X86Cpu *c, const InterpOp *op)
{
    uint64_t at = (c->r[RBX] + (uint8_t)c->r[RAX]) & address_mask(op->x), v;
    if (!x86_seg_linear(c, op->d, at, 1, false, &at) || !x86_load(c, at, 1, &v))
        return false;
    reg_write(c, RAX * 8, 0, v);
    return true;
}

/* ---- interrupts by instruction ----------------------------------------------------------------------------- */

/* Do CLI and STI, at too low a privilege, change VIF? */
static bool virtual_if(const X86Cpu *c)
{
    return c->eflags & FL_VM ? c->cr4 & CR4_VME : c->cpl == 3 && (c->cr4 & CR4_PVI);
}

bool x86_h_cli(X86Cpu *c, const InterpOp *op)
{
    if (c->cpl > iopl(c)) {
        if (!virtual_if(c))
            return x86_gp(c, 0);
        c->eflags &= ~(uint32_t)FL_VIF;
        return true;
    }
    c->eflags &= ~(uint32_t)FL_IF;
    return true;
}

bool x86_h_sti(X86Cpu *c, const InterpOp *op)
{
    if (c->cpl > iopl(c)) {
        if (!virtual_if(c) || (c->eflags & FL_VIP))
            return x86_gp(c, 0);
        c->eflags |= FL_VIF;
        return true;
    }
    if (!(c->eflags & FL_IF)) {
        c->eflags |= FL_IF;
        c->inhibit = true; /* until the next instruction is done */
        atomic_store(&c->ic.limit, 0);
    }
    return true;
}

bool x86_h_int3(X86Cpu *c, const InterpOp *op)
{
    return x86_interrupt(c, EXC_BP, true, false, 0, c->next_pc);
}

bool x86_h_int1(X86Cpu *c, const InterpOp *op)
{
    c->dr[7] &= ~(uint64_t)DR7_GD;
    return x86_interrupt(c, EXC_DB, false, false, 0, c->next_pc);
}

bool x86_h_int_n(X86Cpu *c, const InterpOp *op)
{
    if (c->eflags & FL_VM) {
        bool done = false;
        if ((c->cr4 & CR4_VME) && (!x86_vme_int(c, (uint8_t)op->disp, &done) || done))
            return done;
        if (iopl(c) < 3)
            return x86_gp(c, 0);
    }
    return x86_interrupt(c, (uint8_t)op->disp, true, false, 0, c->next_pc);
}

bool x86_h_into(X86Cpu *c, const InterpOp *op)
{
    return !x86_of(c) || x86_interrupt(c, EXC_OF, true, false, 0, c->next_pc);
}

bool x86_h_hlt(X86Cpu *c, const InterpOp *op)
{
    if (c->cpl)
        return x86_gp(c, 0);
    c->halted = true;
    atomic_store(&c->ic.limit, 0);
    return true;
}

bool x86_h_pause(X86Cpu *c, const InterpOp *op)
{
    if (c->ic.vm->cpu_count > 1)
        g_thread_yield(); /* who spins waits for another vCPU, perhaps on this host core */
    return true;
}

bool x86_h_fence(X86Cpu *c, const InterpOp *op)
{
    atomic_thread_fence(memory_order_seq_cst);
    return true;
}

bool x86_h_clflush(X86Cpu *c, const InterpOp *op) { return x86_probe(c, T0, 1, false); }

bool x86_h_rdrand(X86Cpu *c, const InterpOp *op)
{
    /* d: RDSEED rather than RDRAND */
    bool there = op->d ? c->cpuid_7_ebx & 1u << 18 : c->cpuid_1_ecx & 1u << 30;
    if (!there)
        return x86_ud(c);
    uint64_t v = 0;
    bool ok = getrandom(&v, sizeof v, 0) == sizeof v;
    reg_write(c, op->s, op->x, ok ? v : 0);
    x86_flags_set(c, ok ? FL_CF : 0);
    return true;
}

/* ---- read, modify, write ------------------------------------------------------------------------------------- */

/* What an operation makes of a; flags are set by the caller through the same kinds as inline. */
static uint64_t rmw_value(unsigned kind, uint64_t a, uint64_t b, bool carry, unsigned size)
{
    uint64_t bit = 1ull << (b & ((8u << size) - 1));
    switch (kind) {
    case 0: return a + b;
    case 1: return a | b;
    case 2: return a + b + carry;
    case 3: return a - b - carry;
    case 4: return a & b;
    case 5: return a - b;
    case 6: return a ^ b;
    case LOCK_INC: return a + 1;
    case LOCK_DEC: return a - 1;
    case LOCK_NEG: return 0 - a;
    case LOCK_NOT: return ~a;
    case LOCK_BTS: return a | bit;
    case LOCK_BTR: return a & ~bit;
    case LOCK_BTC: return a ^ bit;
    case LOCK_XADD: return a + b;
    default: return b;
    }
}

static void rmw_flags(X86Cpu *c, unsigned kind, uint64_t a, uint64_t b, bool carry, unsigned size)
{
    uint64_t res = sign_extend(rmw_value(kind, a, b, carry, size), size);
    uint64_t bits;
    switch (kind) {
    case LOCK_NOT: case LOCK_XCHG:
        return;
    case LOCK_BTS: case LOCK_BTR: case LOCK_BTC:
        set_cf(c, a >> (b & ((8u << size) - 1)) & 1);
        return;
    case LOCK_INC: case LOCK_DEC: {
        uint64_t low = 1ull << ((8u << size) - 1);
        bool dec = kind == LOCK_DEC;
        bits = (x86_cf(c) ? FL_CF : 0) | ((res & 15) == (dec ? 15 : 0) ? FL_AF : 0) |
               ((res & size_mask(size)) == (dec ? low - 1 : low) ? FL_OF : 0);
        c->cc_op = CC_BITS;
        c->cc_src = bits;
        break;
    }
    case 0: case LOCK_XADD: c->cc_op = CC_ADD8 + size; c->cc_src = sign_extend(b, size); break;
    case 2: c->cc_op = (carry ? CC_ADC8 : CC_ADD8) + size; c->cc_src = sign_extend(b, size); break;
    case 3: c->cc_op = (carry ? CC_SBB8 : CC_SUB8) + size; c->cc_src = sign_extend(b, size); break;
    case 5: c->cc_op = CC_SUB8 + size; c->cc_src = sign_extend(b, size); break;
    case LOCK_NEG: c->cc_op = CC_SUB8 + size; c->cc_src = sign_extend(a, size); break;
    default: c->cc_op = CC_LOGIC; c->cc_src = 0; break;
    }
    c->cc_dst = res;
}

static void compare_flags(X86Cpu *c, uint64_t a, uint64_t b, unsigned size)
{
    c->cc_op = CC_SUB8 + size;
    c->cc_dst = sign_extend(a - b, size);
    c->cc_src = sign_extend(b, size);
}

/* Atomic exchange of `old` for `new` in host memory; *old is what was there. */
INTERP_RAM_ACCESS bool host_cas(void *p, uint64_t *old, uint64_t new, unsigned size)
{
    bool ok;
    switch (size) {
    case 0: {
        uint8_t o = (uint8_t)*old;
        ok = __atomic_compare_exchange_n((uint8_t *)p, &o, (uint8_t)new, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST);
        *old = o;
        break;
    }
    case 1: {
        uint16_t o = (uint16_t)*old;
        ok = __atomic_compare_exchange_n((uint16_t *)p, &o, (uint16_t)new, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST);
        *old = o;
        break;
    }
    case 2: {
        uint32_t o = (uint32_t)*old;
        ok = __atomic_compare_exchange_n((uint32_t *)p, &o, (uint32_t)new, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST);
        *old = o;
        break;
    }
    default:
        ok = __atomic_compare_exchange_n((uint64_t *)p, old, new, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST);
    }
    return ok;
}

static uint64_t host_load(const void *p, unsigned size)
{
    return size == 0 ? interp_ram_ld8(p) : size == 1 ? interp_ram_ld16(p)
                                       : size == 2 ? interp_ram_ld32(p) : interp_ram_ld64(p);
}

/* 16 bytes at once; false: this host cannot. */
static bool host_cas16(void *p, const uint64_t want[2], const uint64_t new[2], uint64_t old[2])
{
#if defined(__x86_64__)
    old[0] = want[0];
    old[1] = want[1];
    __asm__ volatile("lock cmpxchg16b %0"
                     : "+m"(*(unsigned __int128 *)p), "+a"(old[0]), "+d"(old[1])
                     : "b"(new[0]), "c"(new[1])
                     : "cc", "memory");
    return true;
#else
    return false;
#endif
}

bool x86_lock_rmw(X86Cpu *c, const InterpOp *op, uint64_t addr)
{
    unsigned size = op->d, bytes = 1u << size, kind = op->x & ~(unsigned)LOCK_IMM;
    uint64_t b = (op->x & LOCK_IMM ? op->imm : reg_read(c, op->s, size)) & size_mask(size);
    bool carry = (kind == 2 || kind == 3) && x86_cf(c);
    uint64_t acc = reg_read(c, RAX * 8, size), a;

    void *p = addr & (bytes - 1) ? NULL : x86_host_ptr(c, addr, bytes, true);
    if (p) {
        a = host_load(p, size);
        for (;;) {
            uint64_t seen = a;
            if (kind == LOCK_CMPXCHG) {
                /* a failed comparison writes back what was there */
                if (host_cas(p, &seen, a == acc ? b : a, size))
                    break;
            } else if (host_cas(p, &seen, rmw_value(kind, a, b, carry, size), size)) {
                break;
            }
            a = seen;
        }
    } else {
        if (c->exc_pending)
            return false;
        /* Unaligned, or not RAM: everybody else stands still meanwhile. */
        if (!x86_probe(c, addr, bytes, true))
            return false;
        interp_exclusive_begin(&c->ic);
        bool ok = x86_load(c, addr, bytes, &a);
        uint64_t v = kind == LOCK_CMPXCHG ? (a == acc ? b : a) : rmw_value(kind, a, b, carry, size);
        ok = ok && x86_store_slow(c, addr, v & size_mask(size), bytes);
        interp_exclusive_end(&c->ic);
        if (!ok)
            return false;
    }
    if (kind == LOCK_CMPXCHG) {
        compare_flags(c, acc, a, size);
        if (a != acc)
            reg_write(c, RAX * 8, size, a);
        return true;
    }
    rmw_flags(c, kind, a, b, carry, size);
    if (kind == LOCK_XADD || kind == LOCK_XCHG)
        reg_write(c, op->s, size, a);
    return true;
}

/* The register forms of XADD (scale) and CMPXCHG. */
bool x86_h_xadd_cmpxchg(X86Cpu *c, const InterpOp *op)
{
    unsigned size = op->x;
    uint64_t a = reg_read(c, op->d, size), b = reg_read(c, op->s, size);
    if (op->scale) {
        rmw_flags(c, LOCK_XADD, a, b, false, size);
        reg_write(c, op->s, size, a);
        reg_write(c, op->d, size, a + b);
        return true;
    }
    uint64_t acc = reg_read(c, RAX * 8, size);
    compare_flags(c, acc, a, size);
    if (a == acc)
        reg_write(c, op->d, size, b);
    else
        reg_write(c, RAX * 8, size, a);
    return true;
}

bool x86_h_bt_mem(X86Cpu *c, const InterpOp *op)
{
    /* d: BT, BTS, BTR, BTC; the offset is signed and may reach anywhere */
    unsigned size = op->x, bits = 8u << size;
    int64_t offset = (int64_t)sign_extend(reg_read(c, op->s, size), size);
    uint64_t addr = T0 + ((uint64_t)(offset >> (3 + size)) << size);
    if (!x86_code64(c))
        addr = (uint32_t)addr;
    InterpOp lock = {.d = (uint8_t)size, .x = LOCK_IMM, .imm = (uint64_t)offset & (bits - 1)};
    if (op->d) {
        lock.x |= (uint8_t)(LOCK_BTS + op->d - 1);
        return x86_lock_rmw(c, &lock, addr);
    }
    uint64_t v;
    if (!x86_load(c, addr, 1u << size, &v))
        return false;
    set_cf(c, v >> ((uint64_t)offset & (bits - 1)) & 1);
    return true;
}

bool x86_h_cmpxchg8b(X86Cpu *c, const InterpOp *op)
{
    bool wide = op->x == 3;
    uint64_t addr = T0, old[2], want[2], new[2];
    if (wide && !(c->cpuid_1_ecx & 1u << 13))
        return x86_ud(c);
    if (wide && (addr & 15))
        return x86_gp(c, 0);
    if (wide) {
        want[0] = c->r[RAX];
        want[1] = c->r[RDX];
        new[0] = c->r[RBX];
        new[1] = c->r[RCX];
    } else {
        want[0] = (uint32_t)c->r[RAX] | c->r[RDX] << 32;
        new[0] = (uint32_t)c->r[RBX] | c->r[RCX] << 32;
        want[1] = new[1] = 0;
    }
    if (!x86_probe(c, addr, wide ? 16 : 8, true))
        return false;
    bool same;
    void *p = !(addr & 7) ? x86_host_ptr(c, addr, wide ? 16 : 8, true) : NULL;
    if (p && wide && host_cas16(p, want, new, old)) {
        same = old[0] == want[0] && old[1] == want[1];
    } else if (p && !wide) {
        old[0] = interp_ram_ld64(p);
        for (;;) {
            uint64_t seen = old[0];
            if (host_cas(p, &seen, old[0] == want[0] ? new[0] : old[0], 3))
                break;
            old[0] = seen;
        }
        same = old[0] == want[0];
    } else {
        interp_exclusive_begin(&c->ic);
        bool ok = x86_load(c, addr, 8, &old[0]);
        if (wide)
            ok = ok && x86_load(c, addr + 8, 8, &old[1]);
        else
            old[1] = 0;
        same = ok && old[0] == want[0] && old[1] == want[1];
        if (same) {
            x86_store_slow(c, addr, new[0], 8);
            if (wide)
                x86_store_slow(c, addr + 8, new[1], 8);
        }
        interp_exclusive_end(&c->ic);
        if (!ok)
            return false;
    }
    if (!same) {
        reg_write(c, RAX * 8, wide ? 3 : 2, old[0]);
        reg_write(c, RDX * 8, wide ? 3 : 2, wide ? old[1] : old[0] >> 32);
    }
    x86_flags_set(c, (x86_cc_flags(c) & ~(uint32_t)FL_ZF) | (same ? FL_ZF : 0));
    return true;
}
