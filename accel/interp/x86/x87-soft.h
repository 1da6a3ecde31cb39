/*
 * x87 arithmetic in software, for hosts without an x87: the same functions as x87-host.h.  Exact:
 * add, subtract, multiply, divide, square root, rounding, compares, conversions, FPREM, FSCALE,
 * FXTRACT, constants.  Not exact: the transcendental functions, which are those of the C library
 * for long double and always raise precision; FPREM's partial steps are of another size than the
 * host's.
 */
#ifndef VMRUN_INTERP_X86_X87_SOFT_H
#define VMRUN_INTERP_X86_X87_SOFT_H

#include <math.h>
#include <string.h>

#include "fpu.h"
#include "soft-float.h"

enum H87Kind { H87_F32, H87_I32, H87_F64, H87_I16, H87_I64, H87_BCD, H87_T16, H87_T32, H87_T64 };

enum { SOFT_C0 = 0x100, SOFT_C1 = 0x200, SOFT_C2 = 0x400, SOFT_C3 = 0x4000 };

static SfEnv soft_env(uint16_t cw)
{
    return (SfEnv){ .rc = cw >> 10 & 3, .masks = cw & 0x3f, .x87 = true };
}

static SfFormat soft_precision(uint16_t cw)
{
    SfFormat fmt = SF_F80;
    unsigned pc = cw >> 8 & 3;
    fmt.prec = pc == 0 ? 24 : pc == 2 ? 53 : 64;
    return fmt;
}

/* An exception found before the operation keeps those from after it away. */
static uint16_t soft_status(const SfEnv *e)
{
    if (e->flags & ~e->masks & 7)
        return e->flags & 7;
    return (uint16_t)(e->flags | (e->up ? SOFT_C1 : 0));
}

static Sf soft_unpack(const X86FpReg *r)
{
    Sf v = { .sign = r->se >> 15 };
    int32_t exp = r->se & 0x7fff;
    if (!exp && !r->mant)
        return v;
    if (exp && !(r->mant >> 63)) {
        v.cls = SF_BAD;
    } else if (exp == 0x7fff) {
        v.cls = r->mant << 1 ? SF_NAN : SF_INF;
        v.snan = v.cls == SF_NAN && !(r->mant >> 62 & 1);
        v.mant = r->mant;
    } else {
        unsigned k = (unsigned)__builtin_clzll(r->mant);
        v.cls = SF_FINITE;
        v.denormal = !exp;
        v.exp = (exp ? exp : 1) - 16383 - (int32_t)k;
        v.mant = r->mant << k;
    }
    return v;
}

static X86FpReg soft_pack(Sf v)
{
    uint16_t sign = (uint16_t)(v.sign << 15);
    if (v.cls == SF_ZERO)
        return (X86FpReg){ 0, sign };
    if (v.cls == SF_FINITE && v.exp >= -16382)
        return (X86FpReg){ v.mant, (uint16_t)(sign | (v.exp + 16383)) };
    if (v.cls == SF_FINITE)
        return (X86FpReg){ v.exp < -16382 - 63 ? 0 : v.mant >> (-16382 - v.exp), sign };
    return (X86FpReg){ v.cls == SF_INF ? 1ull << 63 : v.mant, sign | 0x7fff };
}

static Sf soft_load(enum H87Kind kind, const void *mem)
{
    uint64_t v = 0;
    const uint8_t *p = mem;
    switch (kind) {
    case H87_F32:
        memcpy(&v, mem, 4);
        return sf_unpack(v, 23, 127);
    case H87_F64:
        memcpy(&v, mem, 8);
        return sf_unpack(v, 52, 1023);
    case H87_I16:
        memcpy(&v, mem, 2);
        return sf_from_int((int16_t)v);
    case H87_I32:
        memcpy(&v, mem, 4);
        return sf_from_int((int32_t)v);
    case H87_BCD:
        for (unsigned i = 9; i-- > 0;)
            v = v * 100 + (p[i] >> 4) * 10u + (p[i] & 15);
        Sf r = sf_from_int((int64_t)v);
        r.sign = p[9] >> 7;
        return r;
    default:
        memcpy(&v, mem, 8);
        return sf_from_int((int64_t)v);
    }
}

static Sf soft_operate(SfEnv *e, unsigned op, Sf a, Sf b, SfFormat fmt)
{
    switch (op) {
    case 0: return sf_arith(e, '+', a, b, fmt);
    case 1: return sf_arith(e, '*', a, b, fmt);
    case 4: return sf_arith(e, '-', a, b, fmt);
    case 5: return sf_arith(e, '-', b, a, fmt);
    case 6: return sf_arith(e, '/', a, b, fmt);
    default: return sf_arith(e, '/', b, a, fmt);
    }
}

static uint16_t h87_arith(uint16_t cw, unsigned op, X86FpReg *res, const X86FpReg *a,
                          const X86FpReg *b)
{
    SfEnv e = soft_env(cw);
    *res = soft_pack(soft_operate(&e, op, soft_unpack(a), soft_unpack(b), soft_precision(cw)));
    return soft_status(&e);
}

static uint16_t soft_compare(uint16_t cw, bool quiet, Sf a, Sf b)
{
    SfEnv e = soft_env(cw);
    int r = sf_compare(&e, a, b, quiet);
    unsigned cc = r == 2 ? SOFT_C3 | SOFT_C2 | SOFT_C0 : r == 0 ? SOFT_C3 : r == -1 ? SOFT_C0 : 0;
    return (uint16_t)(e.flags | cc);
}

static uint16_t h87_compare(uint16_t cw, bool quiet, const X86FpReg *a, const X86FpReg *b)
{
    return soft_compare(cw, quiet, soft_unpack(a), soft_unpack(b));
}

static uint16_t h87_arith_mem(uint16_t cw, unsigned op, enum H87Kind kind, X86FpReg *res,
                              const X86FpReg *a, const void *mem)
{
    SfEnv e = soft_env(cw);
    if (op == 2)
        return soft_compare(cw, false, soft_unpack(a), soft_load(kind, mem));
    *res =
        soft_pack(soft_operate(&e, op, soft_unpack(a), soft_load(kind, mem), soft_precision(cw)));
    return soft_status(&e);
}

static uint16_t h87_load(uint16_t cw, enum H87Kind kind, X86FpReg *res, const void *mem)
{
    SfEnv e = soft_env(cw);
    *res = soft_pack(sf_convert(&e, soft_load(kind, mem), SF_F80));
    return soft_status(&e);
}

static void soft_store_bcd(SfEnv *e, uint8_t *p, Sf a)
{
    uint64_t v;
    unsigned flags = e->flags;
    if (!sf_integer(e, a, &v) || v > 999999999999999999) {
        static const uint8_t bad[10] = { 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff };
        memcpy(p, bad, 10);
        e->flags = flags | SF_IE;
        e->up = false;
        return;
    }
    for (unsigned i = 0; i < 9; i++, v /= 100)
        p[i] = (uint8_t)(v / 10 % 10 << 4 | v % 10);
    p[9] = a.sign ? 0x80 : 0;
}

/* mem has 16 bytes. */
static uint16_t h87_store(uint16_t cw, enum H87Kind kind, void *mem, const X86FpReg *r)
{
    SfEnv e = soft_env(cw);
    Sf a = soft_unpack(r);
    uint64_t v = 0;
    a.denormal = false; /* no denormal exception in stores */
    if (kind >= H87_T16)
        e.rc = SF_CHOP;
    switch (kind) {
    case H87_F32:
        v = sf_pack(sf_convert(&e, a, SF_F32), 23, 127);
        break;
    case H87_F64:
        v = sf_pack(sf_convert(&e, a, SF_F64), 52, 1023);
        break;
    case H87_I16:
    case H87_T16:
        v = sf_to_int(&e, a, 16);
        break;
    case H87_I32:
    case H87_T32:
        v = sf_to_int(&e, a, 32);
        break;
    case H87_I64:
    case H87_T64:
        v = sf_to_int(&e, a, 64);
        break;
    case H87_BCD:
        soft_store_bcd(&e, mem, a);
        return soft_status(&e);
    }
    memcpy(mem, &v, 8);
    if (e.flags & ~e.masks & (SF_OE | SF_UE)) { /* nothing is stored, so nothing is inexact */
        e.flags &= ~(unsigned)SF_PE;
        e.up = false;
    }
    return soft_status(&e);
}

/* ------------------------------------------------------- the rest */

static long double soft_to_host(Sf a)
{
    long double v = a.cls == SF_ZERO ? 0 : a.cls == SF_INF ? INFINITY
        : ldexpl((long double)a.mant, a.exp - 63);
    return a.sign ? -v : v;
}

/* Whatever comes from the C library counts as inexact. */
static Sf soft_from_host(SfEnv *e, long double v)
{
    Sf r = { .cls = SF_ZERO, .sign = signbit(v) };
    int exp;
    if (isnan(v))
        return sf_invalid(e);
    if (isinf(v)) {
        r.cls = SF_INF;
    } else if (v != 0) {
        long double frac = frexpl(fabsl(v), &exp);
        e->flags |= SF_PE;
        return sf_round(e, r.sign, exp - 1, (SfWide)(uint64_t)ldexpl(frac, 64) << 64, false,
                        SF_F80);
    }
    return r;
}

static Sf soft_round_int(SfEnv *e, Sf a)
{
    uint64_t v;
    if (a.denormal)
        e->flags |= SF_DE;
    if (a.cls != SF_FINITE || a.exp >= 63)
        return a;
    sf_integer(e, a, &v);
    Sf r = sf_from_int((int64_t)v);
    r.sign = a.sign;
    return r;
}

static uint16_t h87_unary(uint16_t cw, unsigned op, X86FpReg *res, const X86FpReg *r)
{
    SfEnv e = soft_env(cw);
    Sf a = soft_unpack(r), v;
    if (op == 0xe4)
        return soft_compare(cw, false, a, (Sf){ .cls = SF_ZERO });
    if (op == 0xfa) {
        v = sf_sqrt(&e, a, soft_precision(cw));
    } else if (a.cls == SF_BAD || (a.cls == SF_INF && (op == 0xfe || op == 0xff))) {
        v = sf_invalid(&e);
    } else if (a.cls == SF_NAN) {
        v = sf_nan(&e, a, a);
    } else if (op == 0xfc) {
        v = soft_round_int(&e, a);
    } else if ((op == 0xfe || op == 0xff) && a.cls == SF_FINITE && a.exp >= 63) {
        *res = *r;
        return SOFT_C2;
    } else {
        long double x = soft_to_host(a);
        e.flags |= a.denormal ? SF_DE : 0;
        v = soft_from_host(&e, op == 0xf0 ? expm1l(x * 0.693147180559945309417232121458176568L)
                                          : op == 0xfe ? sinl(x) : cosl(x));
    }
    *res = soft_pack(v);
    return soft_status(&e);
}

static Sf soft_scale(SfEnv *e, Sf a, Sf b)
{
    uint64_t n;
    SfEnv chop = { .rc = SF_CHOP };
    if (b.cls == SF_INF) {
        if (a.cls == (b.sign ? SF_INF : SF_ZERO))
            return sf_invalid(e);
        return (Sf){ .cls = b.sign ? SF_ZERO : SF_INF, .sign = a.sign };
    }
    if (a.cls != SF_FINITE)
        return a;
    if (!sf_integer(&chop, b, &n) || n > 70000)
        n = 70000;
    return sf_round(e, a.sign, a.exp + (b.sign ? -(int32_t)n : (int32_t)n), (SfWide)a.mant << 64,
                    false, SF_F80);
}

/* Truncating (FPREM) or to nearest (FPREM1); at most 63 bits of the quotient at a time. */
static Sf soft_remainder(SfEnv *e, Sf a, Sf b, bool nearest, unsigned *cc)
{
    int32_t d = a.exp - b.exp;
    uint64_t q = 0;
    bool sign = a.sign;
    if (a.cls == SF_INF || b.cls == SF_ZERO)
        return sf_invalid(e);
    if (a.cls == SF_ZERO || b.cls == SF_INF || d < -1 || (d < 0 && !nearest))
        return a.cls == SF_ZERO ? a
                                : sf_round(e, a.sign, a.exp, (SfWide)a.mant << 64, false, SF_F80);
    bool partial = d > 63;
    int32_t steps = partial ? 32 + (d & 31) : d, exp = a.exp - (steps < 0 ? 0 : steps);
    SfWide r = a.mant, m = b.mant;
    if (d < 0) {
        m <<= 1; /* both in units of the dividend */
    } else {
        for (int32_t i = 0;; i++) {
            q <<= 1;
            if (r >= m) {
                r -= m;
                q |= 1;
            }
            if (i == steps)
                break;
            r <<= 1;
        }
    }
    if (partial) {
        *cc = SOFT_C2;
    } else {
        if (nearest && (2 * r > m || (2 * r == m && q & 1))) {
            r = m - r;
            sign = !sign;
            q++;
        }
        *cc = (q & 4 ? SOFT_C0 : 0) | (q & 2 ? SOFT_C3 : 0) | (q & 1 ? SOFT_C1 : 0);
    }
    if (!r)
        return (Sf){ .cls = SF_ZERO, .sign = a.sign };
    return sf_normalize_round(e, sign, exp + 64, r, false, SF_F80);
}

static Sf soft_log(SfEnv *e, Sf a, Sf b, bool plus_one)
{
    long double x = soft_to_host(a), y = soft_to_host(b);
    if (!plus_one && a.cls == SF_ZERO) {
        if (b.cls == SF_ZERO)
            return sf_invalid(e);
        e->flags |= b.cls == SF_FINITE ? SF_ZE : 0;
        return (Sf){ .cls = SF_INF, .sign = !b.sign };
    }
    return soft_from_host(
        e, y * (plus_one ? log1pl(x) * 1.442695040888963407359924681001892137L : log2l(x)));
}

/* res = OP(ST0 = a, ST1 = b) */
static uint16_t h87_binary(uint16_t cw, unsigned op, X86FpReg *res, const X86FpReg *st0,
                           const X86FpReg *st1)
{
    SfEnv e = soft_env(cw);
    Sf a = soft_unpack(st0), b = soft_unpack(st1), v;
    unsigned cc = 0;
    bool is_remainder = op == 0xf5 || op == 0xf8;
    if (a.cls == SF_BAD || b.cls == SF_BAD) {
        v = sf_invalid(&e);
    } else if (a.cls == SF_NAN || b.cls == SF_NAN) {
        v = sf_nan(&e, a, b);
    } else {
        v = is_remainder ? soft_remainder(&e, a, b, op == 0xf5, &cc)
            : op == 0xfd ? soft_scale(&e, a, b)
            : op == 0xf3 ? soft_from_host(&e, atan2l(soft_to_host(b), soft_to_host(a)))
                         : soft_log(&e, a, b, op == 0xf9);
        if ((a.denormal || b.denormal) && !(e.flags & SF_IE))
            e.flags |= SF_DE;
    }
    *res = soft_pack(v);
    uint16_t sw = soft_status(&e);
    return is_remainder ? (uint16_t)((sw & ~SOFT_C1) | cc) : sw;
}

/* Operations that push: top and next are ST0 and ST1 afterwards (next is void if C2 is set). */
static uint16_t h87_two(uint16_t cw, unsigned op, X86FpReg *top, X86FpReg *next, const X86FpReg *r)
{
    SfEnv e = soft_env(cw);
    Sf a = soft_unpack(r), x, y;
    if (a.cls == SF_BAD || (a.cls == SF_INF && op != 0xf4)) {
        x = y = sf_invalid(&e);
    } else if (a.cls == SF_NAN) {
        x = y = sf_nan(&e, a, a);
    } else if (op == 0xf4) { /* FXTRACT */
        x = y = a;
        if (a.cls == SF_FINITE) {
            e.flags |= a.denormal ? SF_DE : 0;
            y = sf_from_int(a.exp);
            x.exp = 0;
        } else {
            e.flags |= a.cls == SF_ZERO ? SF_ZE : 0;
            y = (Sf){ .cls = SF_INF, .sign = a.cls == SF_ZERO };
        }
        /* x, the significand, ends on top of the exponent. */
        Sf t = x;
        x = y;
        y = t;
    } else if (a.cls == SF_FINITE && a.exp >= 63) {
        *top = *r;
        return SOFT_C2;
    } else {
        long double v = soft_to_host(a);
        e.flags |= a.denormal ? SF_DE : 0;
        x = soft_from_host(&e, op == 0xf2 ? tanl(v) : sinl(v));
        y = op == 0xf2 ? sf_from_int(1) : soft_from_host(&e, cosl(v));
    }
    *next = soft_pack(x);
    *top = soft_pack(y);
    return soft_status(&e);
}

static uint16_t h87_const(uint16_t cw, unsigned op, X86FpReg *res)
{
    /* Chopped, and whether the rest is more than half. */
    static const struct {
        uint64_t mant;
        uint16_t se;
        uint8_t more;
    } values[7] = {
        { 0x8000000000000000, 0x3fff, 2 }, { 0xd49a784bcd1b8afe, 0x4000, 0 },
        { 0xb8aa3b295c17f0bb, 0x3fff, 1 }, { 0xc90fdaa22168c234, 0x4000, 1 },
        { 0x9a209a84fbcff798, 0x3ffd, 1 }, { 0xb17217f7d1cf79ab, 0x3ffe, 1 }, { 0, 0, 2 },
    };
    unsigned i = op - 0xe8, rc = cw >> 10 & 3;
    bool up = values[i].more != 2 && (rc == SF_UP || (rc == SF_NEAREST && values[i].more));
    *res = (X86FpReg){ values[i].mant + up, values[i].se };
    return 0;
}

#endif
