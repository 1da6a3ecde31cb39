/*
 * Binary floating point in integer arithmetic, for hosts whose own is not an x86's: IEEE 754
 * formats and the x87's 80 bits, with the x86's flags (tininess after rounding, denormal operand).
 * The host must be little-endian and have 128-bit integers.  Included by the SSE and by the x87
 * fallback.
 */
#ifndef VMRUN_INTERP_X86_SOFT_FLOAT_H
#define VMRUN_INTERP_X86_SOFT_FLOAT_H

#include <stdbool.h>
#include <stdint.h>

typedef unsigned __int128 SfWide;

enum { SF_IE = 1, SF_DE = 2, SF_ZE = 4, SF_OE = 8, SF_UE = 16, SF_PE = 32 };
enum { SF_NEAREST, SF_DOWN, SF_UP, SF_CHOP };

typedef enum SfClass { SF_ZERO, SF_FINITE, SF_INF, SF_NAN, SF_BAD /* x87: unsupported */ } SfClass;

typedef struct Sf { /* mant / 2^63 * 2^exp, bit 63 of mant set if finite; a NaN's payload in mant */
    SfClass cls;
    bool sign, snan, denormal;
    int32_t exp;
    uint64_t mant;
} Sf;

typedef struct SfFormat {
    unsigned prec; /* with the leading bit */
    int32_t emin, emax;
} SfFormat;

typedef struct SfEnv {
    unsigned rc, flags;
    unsigned masks; /* of UE and OE, where the result depends on them */
    bool daz, ftz;
    bool x87;       /* the x87's choice of NaN, and wrapped exponents */
    bool up;        /* the last rounding was away from zero */
} SfEnv;

#define SF_F32 ((SfFormat){ 24, -126, 127 })
#define SF_F64 ((SfFormat){ 53, -1022, 1023 })
#define SF_F80 ((SfFormat){ 64, -16382, 16383 })
#define SF_WRAP 24576
#define SF_INDEFINITE ((Sf){ .cls = SF_NAN, .sign = true, .mant = 0xc000000000000000 })

static inline SfWide sf_bit(unsigned n)
{
    return (SfWide)1 << n;
}

static inline SfWide sf_shift_right(SfWide m, int64_t n, bool *sticky)
{
    if (n <= 0)
        return m;
    if (n >= 128) {
        *sticky |= m != 0;
        return 0;
    }
    *sticky |= (m & (sf_bit((unsigned)n) - 1)) != 0;
    return m >> n;
}

static inline unsigned sf_clz(SfWide m)
{
    uint64_t hi = (uint64_t)(m >> 64);
    return hi ? (unsigned)__builtin_clzll(hi) : 64 + (unsigned)__builtin_clzll((uint64_t)m);
}

/* Clears what is below the top `keep` bits.  Returns whether it was inexact. */
static inline bool sf_round_bits(SfEnv *e, SfWide *m, unsigned keep, bool sticky, bool sign,
                                 bool *carry)
{
    SfWide rest = *m & (sf_bit(128 - keep) - 1), half = sf_bit(127 - keep);
    bool inexact = rest || sticky, odd = *m >> (128 - keep) & 1;
    bool up = e->rc == SF_NEAREST ? rest > half || (rest == half && (sticky || odd))
        : e->rc == SF_DOWN ? sign && inexact : e->rc == SF_UP ? !sign && inexact : false;
    *m -= rest;
    *carry = false;
    if (up) {
        *m += 2 * half;
        *carry = *m == 0;
    }
    e->up = up;
    return inexact;
}

/* m / 2^127 * 2^exp, m normalised or 0 with sticky clear. */
static inline Sf sf_round(SfEnv *e, bool sign, int32_t exp, SfWide m, bool sticky, SfFormat fmt)
{
    Sf r = { .cls = SF_FINITE, .sign = sign };
    SfWide m1 = m;
    bool carry, inexact = sf_round_bits(e, &m1, fmt.prec, sticky, sign, &carry);
    int32_t exp1 = exp + carry;
    m1 = carry ? sf_bit(127) : m1;
    if (exp1 < fmt.emin && !(e->masks & SF_UE)) {
        e->flags |= SF_UE | (inexact ? SF_PE : 0);
        exp1 += SF_WRAP;
        if (exp1 < SF_F80.emin) { /* FSCALE gets that far */
            e->flags |= SF_PE;
            e->up = false;
            return (Sf){ .cls = SF_ZERO, .sign = sign };
        }
    } else if (exp1 < fmt.emin && e->ftz) {
        e->flags |= SF_UE | SF_PE;
        return (Sf){ .cls = SF_ZERO, .sign = sign };
    } else if (exp1 < fmt.emin) {
        m = sf_shift_right(m, (int64_t)fmt.emin - exp, &sticky);
        if (sf_round_bits(e, &m, fmt.prec, sticky, sign, &carry))
            e->flags |= SF_UE | SF_PE;
        if (!m)
            return (Sf){ .cls = SF_ZERO, .sign = sign };
        unsigned k = sf_clz(m);
        r.exp = fmt.emin - (int32_t)k;
        r.mant = (uint64_t)((m << k) >> 64);
        return r;
    } else if (exp1 > fmt.emax && e->masks & SF_OE) {
        e->flags |= SF_OE | SF_PE;
        e->up = e->rc == SF_NEAREST || e->rc == (sign ? SF_DOWN : SF_UP);
        if (e->up)
            return (Sf){ .cls = SF_INF, .sign = sign };
        r.exp = fmt.emax;
        r.mant = ~0ull << (64 - fmt.prec);
        return r;
    } else if (exp1 > fmt.emax) {
        e->flags |= SF_OE | (inexact ? SF_PE : 0);
        exp1 -= SF_WRAP;
        if (exp1 > SF_F80.emax) {
            e->flags |= SF_PE;
            e->up = true;
            return (Sf){ .cls = SF_INF, .sign = sign };
        }
    } else if (inexact) {
        e->flags |= SF_PE;
    }
    r.exp = exp1;
    r.mant = (uint64_t)(m1 >> 64);
    return r;
}

static inline Sf sf_normalize_round(SfEnv *e, bool sign, int32_t exp, SfWide m, bool sticky,
                                    SfFormat fmt)
{
    unsigned k = sf_clz(m);
    return sf_round(e, sign, exp - (int32_t)k, m << k, sticky, fmt);
}

static inline Sf sf_unpack(uint64_t v, unsigned frac_bits, int32_t bias)
{
    Sf r = { .sign = v >> (frac_bits == 23 ? 31 : 63) & 1 };
    uint64_t frac = v & ((1ull << frac_bits) - 1);
    int32_t exp = (int32_t)(v >> frac_bits) & (2 * bias + 1);
    if (exp == 2 * bias + 1) {
        r.cls = frac ? SF_NAN : SF_INF;
        r.mant = 1ull << 63 | frac << (63 - frac_bits);
        r.snan = frac && !(frac >> (frac_bits - 1));
    } else if (exp) {
        r.cls = SF_FINITE;
        r.exp = exp - bias;
        r.mant = 1ull << 63 | frac << (63 - frac_bits);
    } else if (frac) {
        unsigned k = (unsigned)__builtin_clzll(frac);
        r.cls = SF_FINITE;
        r.denormal = true;
        r.exp = 1 - bias - (int32_t)(k - (63 - frac_bits));
        r.mant = frac << k;
    }
    return r;
}

/* Of a value that sf_round() made for this format. */
static inline uint64_t sf_pack(Sf a, unsigned frac_bits, int32_t bias)
{
    uint64_t sign = (uint64_t)a.sign << (frac_bits == 23 ? 31 : 63), top = (uint64_t)(2 * bias + 1)
                                                                           << frac_bits;
    uint64_t frac = (a.mant << 1) >> (64 - frac_bits);
    switch (a.cls) {
    case SF_ZERO:
        return sign;
    case SF_INF:
        return sign | top;
    case SF_FINITE:
        if (a.exp >= 1 - bias)
            return sign | (uint64_t)(a.exp + bias) << frac_bits | frac;
        /* Wrapped exponents (not stored) come here, too: keep the shift in range. */
        return a.exp < 1 - bias - 63 ? sign
            : sign | a.mant >> (63 - frac_bits) >> (1 - bias - a.exp);
    default:
        return sign | top | frac;
    }
}

static inline Sf sf_quiet(Sf a)
{
    a.mant |= 1ull << 62;
    a.snan = false;
    return a;
}

static inline Sf sf_invalid(SfEnv *e)
{
    e->flags |= SF_IE;
    return SF_INDEFINITE;
}

/* The result of an operation of which one operand at least is a NaN. */
static inline Sf sf_nan(SfEnv *e, Sf a, Sf b)
{
    if (a.snan || b.snan)
        e->flags |= SF_IE;
    if (!e->x87 || b.cls != SF_NAN || a.cls != SF_NAN)
        return sf_quiet(a.cls == SF_NAN ? a : b);
    if (a.snan != b.snan)
        return sf_quiet(a.snan ? b : a);
    /* The larger significand, as it was; of equal ones the positive. */
    if (a.mant != b.mant)
        return sf_quiet(a.mant > b.mant ? a : b);
    return sf_quiet(a.sign ? b : a);
}

static inline Sf sf_daz(const SfEnv *e, Sf a)
{
    if (e->daz && a.denormal)
        return (Sf){ .cls = SF_ZERO, .sign = a.sign };
    return a;
}

static inline Sf sf_add(SfEnv *e, Sf a, Sf b, SfFormat fmt)
{
    if (a.cls == SF_INF)
        return a;
    if (b.cls == SF_INF)
        return b;
    if (a.cls == SF_ZERO && b.cls == SF_ZERO)
        return (Sf){ .cls = SF_ZERO, .sign = a.sign == b.sign ? a.sign : e->rc == SF_DOWN };
    if (a.cls == SF_ZERO || b.cls == SF_ZERO) {
        Sf v = a.cls == SF_ZERO ? b : a;
        return sf_round(e, v.sign, v.exp, (SfWide)v.mant << 64, false, fmt);
    }
    if (a.exp < b.exp || (a.exp == b.exp && a.mant < b.mant)) {
        Sf t = a;
        a = b;
        b = t;
    }
    bool sticky = false;
    SfWide x = (SfWide)a.mant << 63;
    SfWide y = sf_shift_right((SfWide)b.mant << 63, (int64_t)a.exp - b.exp, &sticky);
    /* What was shifted out makes the difference smaller, by less than one bit. */
    x = a.sign == b.sign ? x + y : x - y - sticky;
    if (!x && !sticky)
        return (Sf){ .cls = SF_ZERO, .sign = e->rc == SF_DOWN };
    return sf_normalize_round(e, a.sign, a.exp + 1, x, sticky, fmt);
}

static inline Sf sf_divide(SfEnv *e, bool sign, Sf a, Sf b, SfFormat fmt)
{
    SfWide n = (SfWide)a.mant << 64, q = n / b.mant, r = n % b.mant;
    SfWide n2 = r << 63, q2 = n2 / b.mant;
    return sf_normalize_round(e, sign, a.exp - b.exp, q << 63 | q2, n2 % b.mant != 0, fmt);
}

/* op: '+', '-', '*', '/' */
static inline Sf sf_arith(SfEnv *e, char op, Sf a, Sf b, SfFormat fmt)
{
    a = sf_daz(e, a);
    b = sf_daz(e, b);
    bool sign = a.sign != b.sign;
    if (a.cls == SF_BAD || b.cls == SF_BAD)
        return sf_invalid(e);
    if (a.cls == SF_NAN || b.cls == SF_NAN)
        return sf_nan(e, a, b);
    if (op == '-')
        b.sign = !b.sign;
    bool both_inf = a.cls == SF_INF && b.cls == SF_INF;
    if ((op == '+' || op == '-') && both_inf && a.sign != b.sign)
        return sf_invalid(e);
    if (op == '*' &&
        ((a.cls == SF_INF && b.cls == SF_ZERO) || (a.cls == SF_ZERO && b.cls == SF_INF)))
        return sf_invalid(e);
    if (op == '/' && (both_inf || (a.cls == SF_ZERO && b.cls == SF_ZERO)))
        return sf_invalid(e);
    bool by_zero = op == '/' && b.cls == SF_ZERO && a.cls == SF_FINITE;
    if ((a.denormal || b.denormal) && !by_zero)
        e->flags |= SF_DE;
    if (op == '+' || op == '-')
        return sf_add(e, a, b, fmt);
    if (by_zero)
        e->flags |= SF_ZE;
    if (a.cls == SF_INF || by_zero || (op == '*' && b.cls == SF_INF) ||
        (op == '/' && b.cls == SF_ZERO))
        return (Sf){ .cls = SF_INF, .sign = sign };
    if (a.cls == SF_ZERO || b.cls == SF_ZERO || b.cls == SF_INF)
        return (Sf){ .cls = SF_ZERO, .sign = sign };
    if (op == '*')
        return sf_normalize_round(e, sign, a.exp + b.exp + 1, (SfWide)a.mant * b.mant, false, fmt);
    return sf_divide(e, sign, a, b, fmt);
}

static inline Sf sf_sqrt(SfEnv *e, Sf a, SfFormat fmt)
{
    a = sf_daz(e, a);
    if (a.cls == SF_NAN)
        return sf_nan(e, a, a);
    if (a.cls == SF_BAD || (a.sign && a.cls != SF_ZERO))
        return sf_invalid(e);
    if (a.denormal)
        e->flags |= SF_DE;
    if (a.cls != SF_FINITE)
        return a;
    int32_t odd = a.exp & 1;
    SfWide x = (SfWide)a.mant << (63 + odd), rem = 0, root = 0;
    for (unsigned i = 0; i < 66; i++) { /* two bits of x make one of the root */
        rem = rem << 2 | x >> 126;
        x <<= 2;
        root <<= 1;
        if (rem > root << 1) {
            rem -= root << 1 | 1;
            root |= 1;
        }
    }
    return sf_round(e, false, (a.exp - odd) / 2, root << 62, rem != 0, fmt);
}

/* To another format.  NaNs keep what fits of the payload. */
static inline Sf sf_convert(SfEnv *e, Sf a, SfFormat fmt)
{
    a = sf_daz(e, a);
    if (a.cls == SF_BAD)
        return sf_invalid(e);
    if (a.cls == SF_NAN)
        return sf_nan(e, a, a);
    if (a.denormal)
        e->flags |= SF_DE;
    if (a.cls != SF_FINITE)
        return a;
    return sf_round(e, a.sign, a.exp, (SfWide)a.mant << 64, false, fmt);
}

/* -1 less, 0 equal, 1 greater, 2 unordered */
static inline int sf_compare(SfEnv *e, Sf a, Sf b, bool quiet)
{
    a = sf_daz(e, a);
    b = sf_daz(e, b);
    if (a.cls >= SF_NAN || b.cls >= SF_NAN) {
        if (a.snan || b.snan || a.cls == SF_BAD || b.cls == SF_BAD || !quiet)
            e->flags |= SF_IE;
        return 2;
    }
    if (a.denormal || b.denormal)
        e->flags |= SF_DE;
    if (a.cls == SF_ZERO && b.cls == SF_ZERO)
        return 0;
    if (a.cls == SF_ZERO)
        return b.sign ? 1 : -1;
    if (b.cls == SF_ZERO || a.sign != b.sign)
        return a.sign ? -1 : 1;
    int r = a.cls != b.cls     ? (a.cls == SF_INF ? 1 : -1)
            : a.cls == SF_INF  ? 0
            : a.exp != b.exp   ? (a.exp > b.exp ? 1 : -1)
            : a.mant != b.mant ? (a.mant > b.mant ? 1 : -1)
                               : 0;
    return a.sign ? -r : r;
}

/* The magnitude rounded to an integer; false if it has more than 64 bits. */
static inline bool sf_integer(SfEnv *e, Sf a, uint64_t *v)
{
    bool sticky = false, carry, inexact;
    if (a.cls == SF_ZERO) {
        *v = 0;
        return true;
    }
    if (a.cls != SF_FINITE || a.exp > 63)
        return false;
    SfWide m = a.exp >= 0 ? (SfWide)a.mant << (a.exp + 1)
                          : sf_shift_right(a.mant, -(int64_t)a.exp - 1, &sticky);
    inexact = sf_round_bits(e, &m, 64, sticky, a.sign, &carry);
    *v = (uint64_t)(m >> 64);
    if (carry)
        return false;
    if (inexact)
        e->flags |= SF_PE;
    return true;
}

/* Out of range, NaN: invalid, and the most negative number. */
static inline uint64_t sf_to_int(SfEnv *e, Sf a, unsigned bits)
{
    uint64_t v, limit = 1ull << (bits - 1);
    unsigned flags = e->flags;
    a = sf_daz(e, a);
    if (!sf_integer(e, a, &v) || v > limit - !a.sign) {
        e->flags = flags | SF_IE;
        e->up = false;
        return limit;
    }
    return a.sign ? -v : v;
}

static inline Sf sf_from_int(int64_t v)
{
    Sf r = { .cls = v ? SF_FINITE : SF_ZERO, .sign = v < 0 };
    if (v) {
        uint64_t m = v < 0 ? -(uint64_t)v : (uint64_t)v;
        unsigned k = (unsigned)__builtin_clzll(m);
        r.exp = 63 - (int32_t)k;
        r.mant = m << k;
    }
    return r;
}

#endif
