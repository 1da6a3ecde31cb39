/*
 * Reference arithmetic of the integer tests: results and flags bit by bit, from the
 * definitions of carry, overflow and parity, with nothing of the processor's own flags.
 */
#ifndef GUEST_REFMATH_H
#define GUEST_REFMATH_H

#include "lib.h"

typedef struct Ref {
    u64 value;
    u32 flags, undefined; /* of ARITH */
} Ref;

static inline u64 size_mask(unsigned bits) { return bits == 64 ? ~0ull : (1ull << bits) - 1; }

static inline u32 ref_szp(u64 v, unsigned bits)
{
    unsigned ones = 0;
    for (unsigned i = 0; i < 8; i++)
        ones += v >> i & 1;
    return (v & size_mask(bits) ? 0 : ZF) | (v >> (bits - 1) & 1 ? SF : 0) | (ones & 1 ? 0 : PF);
}

/* Full adder; a subtraction adds the complement and inverts the carries. */
static inline Ref ref_add(u64 a, u64 b, unsigned carry, unsigned bits, bool subtract)
{
    Ref r = {0};
    unsigned c = subtract ? !carry : carry, into = 0, half = 0;
    if (subtract)
        b = ~b;
    for (unsigned i = 0; i < bits; i++) {
        unsigned x = a >> i & 1, y = b >> i & 1;
        into = c;
        r.value |= (u64)(x ^ y ^ c) << i;
        c = (x & y) | (x & c) | (y & c);
        if (i == 3)
            half = c;
    }
    r.flags = ref_szp(r.value, bits) | (into != c ? OF : 0) | ((subtract ? !c : c) ? CF : 0) |
              ((subtract ? !half : half) ? AF : 0);
    return r;
}

static inline Ref ref_logic(u64 v, unsigned bits)
{
    v &= size_mask(bits);
    return (Ref){v, ref_szp(v, bits), AF};
}

enum { ROL, ROR, RCL, RCR, SHL, SHR, SAL, SAR };

/* One bit at a time. */
static inline Ref ref_shift(unsigned op, u64 v, unsigned count, unsigned bits, u32 flags)
{
    u64 m = size_mask(bits), top = 1ull << (bits - 1), first = v;
    Ref r = {v & m, flags & ARITH, 0};
    count &= bits == 64 ? 63 : 31;
    if (!count)
        return r;
    unsigned c = flags & CF ? 1 : 0;
    v &= m;
    for (unsigned i = 0; i < count; i++) {
        unsigned high = v & top ? 1 : 0, low = v & 1;
        switch (op) {
        case ROL: v = (v << 1 | high) & m; c = high; break;
        case ROR: v = v >> 1 | (low ? top : 0); c = low; break;
        case RCL: v = (v << 1 | c) & m; c = high; break;
        case RCR: v = v >> 1 | (c ? top : 0); c = low; break;
        case SHL: case SAL: v = v << 1 & m; c = high; break;
        case SHR: v >>= 1; c = low; break;
        default: v = v >> 1 | (high ? top : 0); c = low; break;
        }
    }
    unsigned high = v & top ? 1 : 0, next = v & top >> 1 ? 1 : 0, of = 0;
    switch (op) {
    case ROL: case RCL: case SHL: case SAL: of = high ^ c; break;
    case ROR: case RCR: of = high ^ next; break;
    case SHR: of = first & top ? 1 : 0; break;
    default: of = 0;
    }
    r.value = v;
    r.undefined = count == 1 ? 0 : OF;
    if (op <= RCR) {
        r.flags = (flags & (ZF | SF | PF | AF)) | (c ? CF : 0) | (of ? OF : 0);
    } else {
        r.flags = ref_szp(v, bits) | (c ? CF : 0) | (of ? OF : 0);
        r.undefined |= AF;
        if (op != SAR && count > bits - (count > bits) && count >= bits && bits < 32)
            r.undefined |= CF; /* more than all bits of it gone: SDM says undefined */
    }
    return r;
}

static inline Ref ref_double_shift(bool left, u64 v, u64 in, unsigned count, unsigned bits,
                                   u32 flags)
{
    u64 m = size_mask(bits), top = 1ull << (bits - 1);
    count &= bits == 64 ? 63 : 31;
    Ref r = {v & m, flags & ARITH, 0};
    if (!count)
        return r;
    if (count > bits) {
        r.undefined = ~0u; /* the result is undefined, too */
        return r;
    }
    unsigned c = 0;
    u64 was = v &= m;
    in &= m;
    for (unsigned i = 0; i < count; i++) {
        if (left) {
            c = v & top ? 1 : 0;
            v = (v << 1 | (in & top ? 1 : 0)) & m;
            in = in << 1 & m;
        } else {
            c = v & 1;
            v = v >> 1 | (in & 1 ? top : 0);
            in >>= 1;
        }
    }
    r.value = v;
    r.flags = ref_szp(v, bits) | (c ? CF : 0) | ((v ^ was) & top ? OF : 0);
    r.undefined = AF | (count == 1 ? 0 : OF);
    return r;
}

/* Schoolbook product of magnitudes: high and low half. */
static inline void ref_product(u64 a, u64 b, u64 out[2])
{
    out[0] = out[1] = 0;
    for (unsigned i = 0; i < 64; i++) {
        if (!(b >> i & 1))
            continue;
        u64 low = a << i, high = i ? a >> (64 - i) : 0;
        out[0] += low;
        out[1] += high + (out[0] < low);
    }
}

static inline u64 sign_extend(u64 v, unsigned bits)
{
    v &= size_mask(bits);
    return v >> (bits - 1) & 1 ? v | ~size_mask(bits) : v;
}

static inline bool ref_condition(unsigned cc, u32 f)
{
    bool c = f & CF, z = f & ZF, s = f & SF, o = f & OF, p = f & PF, r;
    switch (cc >> 1) {
    case 0: r = o; break;
    case 1: r = c; break;
    case 2: r = z; break;
    case 3: r = c || z; break;
    case 4: r = s; break;
    case 5: r = p; break;
    case 6: r = s != o; break;
    default: r = z || s != o;
    }
    return r != (cc & 1);
}

#endif
