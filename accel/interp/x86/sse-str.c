/*
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM of SSE4.2: Intel SDM volume 2, section 4.1.
 * imm8: 0 words, 1 signed, 3..2 aggregation, 5..4 polarity, 6 last index or byte/word mask.
 */
#include "sse-ops.h"

typedef struct Strings {
    int32_t v[2][16]; /* [0] the first operand (xmm1), [1] the second (xmm2/m128) */
    unsigned len[2];
    unsigned count; /* elements in a register */
} Strings;

static void load_string(Strings *s, unsigned which, const void *p, unsigned imm)
{
    X86Xmm x;
    memcpy(&x, p, 16);
    s->count = imm & 1 ? 8 : 16;
    for (unsigned i = 0; i < s->count; i++) {
        if (imm & 1)
            s->v[which][i] = imm & 2 ? (int16_t)x.w[i] : x.w[i];
        else
            s->v[which][i] = imm & 2 ? (int8_t)x.b[i] : x.b[i];
    }
}

static unsigned implicit_length(const Strings *s, unsigned which)
{
    unsigned n = 0;
    while (n < s->count && s->v[which][n])
        n++;
    return n;
}

static unsigned explicit_length(uint64_t reg, unsigned imm, unsigned count)
{
    int64_t v = imm & X86_SSE_IMM_REXW ? (int64_t)reg : (int32_t)reg;
    if (v > (int64_t)count || v < -(int64_t)count)
        return count;
    return (unsigned)(v < 0 ? -v : v);
}

/* One bit per element of the second operand. */
static unsigned aggregate(const Strings *s, unsigned imm)
{
    const int32_t *a = s->v[0], *b = s->v[1];
    unsigned la = s->len[0], lb = s->len[1], res = 0;
    for (unsigned j = 0; j < s->count; j++) {
        bool hit = false;
        switch (imm >> 2 & 3) {
        case 0: /* equal any */
            for (unsigned i = 0; i < la && j < lb; i++)
                hit |= a[i] == b[j];
            break;
        case 1: /* ranges: a pair that the end of the string cuts does not count */
            for (unsigned i = 0; i + 1 < la && j < lb; i += 2)
                hit |= a[i] <= b[j] && b[j] <= a[i + 1];
            break;
        case 2: /* equal each: past both ends is equal */
            hit = j < la && j < lb ? a[j] == b[j] : j >= la && j >= lb;
            break;
        case 3: /* equal ordered: a substring may run out of the register, not out of the string */
            hit = true;
            for (unsigned i = 0; i < la && i + j < s->count; i++)
                hit &= i + j < lb && a[i] == b[i + j];
            break;
        }
        res |= (unsigned)hit << j;
    }
    return res;
}

static uint32_t compare(Strings *s, unsigned imm, unsigned *result)
{
    unsigned res = aggregate(s, imm), all = (1u << s->count) - 1;
    if ((imm >> 4 & 3) == 1)
        res ^= all;
    else if ((imm >> 4 & 3) == 3)
        res ^= (1u << s->len[1]) - 1;
    *result = res;
    return (res ? 1u : 0) | (s->len[1] < s->count ? 0x40u : 0) |
           (s->len[0] < s->count ? 0x80u : 0) | (res & 1 ? 0x800u : 0);
}

static uint32_t put_index(X86Fpu *f, Strings *s, unsigned imm)
{
    unsigned res;
    uint32_t flags = compare(s, imm, &res);
    if (!res)
        f->res_cx = s->count;
    else if (imm & 0x40)
        f->res_cx = 31 - (unsigned)__builtin_clz(res);
    else
        f->res_cx = (unsigned)__builtin_ctz(res);
    return flags;
}

static uint32_t put_mask(X86Fpu *f, Strings *s, unsigned imm)
{
    unsigned res;
    uint32_t flags = compare(s, imm, &res);
    X86Xmm m = { .q = { imm & 0x40 ? 0 : res, 0 } };
    if (imm & 0x40) {
        for (unsigned i = 0; i < s->count; i++) {
            if (imm & 1)
                m.w[i] = res >> i & 1 ? 0xffff : 0;
            else
                m.b[i] = res >> i & 1 ? 0xff : 0;
        }
    }
    memcpy(&f->xmm[0], &m, 16);
    return flags;
}

static void load_implicit(Strings *s, const void *dst, const void *src, unsigned imm)
{
    load_string(s, 0, dst, imm);
    load_string(s, 1, src, imm);
    s->len[0] = implicit_length(s, 0);
    s->len[1] = implicit_length(s, 1);
}

static void load_explicit(const X86Fpu *f, Strings *s, const void *dst, const void *src,
                          unsigned imm)
{
    load_string(s, 0, dst, imm);
    load_string(s, 1, src, imm);
    s->len[0] = explicit_length(f->arg_ax, imm, s->count);
    s->len[1] = explicit_length(f->arg_dx, imm, s->count);
}

uint32_t x86_pcmpestrm(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    Strings s;
    load_explicit(f, &s, dst, src, imm);
    return put_mask(f, &s, imm);
}

uint32_t x86_pcmpestri(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    Strings s;
    load_explicit(f, &s, dst, src, imm);
    return put_index(f, &s, imm);
}

uint32_t x86_pcmpistrm(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    Strings s;
    load_implicit(&s, dst, src, imm);
    return put_mask(f, &s, imm);
}

uint32_t x86_pcmpistri(X86Fpu *f, void *dst, const void *src, unsigned imm)
{
    Strings s;
    load_implicit(&s, dst, src, imm);
    return put_index(f, &s, imm);
}
