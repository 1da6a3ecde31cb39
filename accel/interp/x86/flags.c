/* Lazy flags made real: see CC_* in cpu.h.  SDM volume 1, 3.4.3. */
#include "cpu.h"

bool x86_of(const X86Cpu *c)
{
    uint64_t a;
    switch (c->cc_op) {
    case CC_FLAGS:
        return c->eflags & FL_OF;
    case CC_ADD8: case CC_ADD16: case CC_ADD32: case CC_ADD64:
    case CC_ADC8: case CC_ADC16: case CC_ADC32: case CC_ADC64: {
        /* a = dst - src (- 1), truncated: its sign bit decides, so extend from the width */
        uint64_t carry = c->cc_op >= CC_ADC8;
        a = c->cc_dst - c->cc_src - carry;
        switch ((c->cc_op - CC_ADD8) & 3) {
        case 0: a = (uint64_t)(int8_t)a; break;
        case 1: a = (uint64_t)(int16_t)a; break;
        case 2: a = (uint64_t)(int32_t)a; break;
        }
        return (int64_t)((a ^ c->cc_dst) & (c->cc_src ^ c->cc_dst)) < 0;
    }
    case CC_SUB8: case CC_SUB16: case CC_SUB32: case CC_SUB64:
        a = x86_cc_minuend(c, 0);
        return (int64_t)((a ^ c->cc_src) & (a ^ c->cc_dst)) < 0;
    case CC_SBB8: case CC_SBB16: case CC_SBB32: case CC_SBB64:
        a = x86_cc_minuend(c, 1);
        return (int64_t)((a ^ c->cc_src) & (a ^ c->cc_dst)) < 0;
    case CC_BITS:
        return c->cc_src & FL_OF;
    default:
        return false;
    }
}

static bool x86_af(const X86Cpu *c)
{
    uint64_t a;
    if (c->cc_op <= CC_ADC64)
        a = c->cc_dst - c->cc_src - (c->cc_op >= CC_ADC8);
    else if (c->cc_op <= CC_SBB64)
        a = c->cc_dst + c->cc_src + (c->cc_op >= CC_SBB8);
    else
        return c->cc_op == CC_BITS && (c->cc_src & FL_AF);
    return (a ^ c->cc_src ^ c->cc_dst) & 0x10;
}

uint32_t x86_cc_flags(const X86Cpu *c)
{
    if (c->cc_op == CC_FLAGS)
        return c->eflags & FL_CC;
    return (x86_cf(c) ? FL_CF : 0) | (x86_pf(c) ? FL_PF : 0) | (x86_af(c) ? FL_AF : 0) |
           (x86_zf(c) ? FL_ZF : 0) | (x86_sf(c) ? FL_SF : 0) | (x86_of(c) ? FL_OF : 0);
}

void x86_flags_settle(X86Cpu *c)
{
    if (c->cc_op != CC_FLAGS)
        x86_flags_set(c, x86_cc_flags(c));
}

void x86_rflags_write(X86Cpu *c, uint64_t value, uint32_t mask)
{
    x86_flags_settle(c);
    uint32_t old = c->eflags;
    c->eflags = (old & ~mask) | ((uint32_t)value & mask) | FL_1;
    if (!c->debug_on)
        c->eflags &= ~(uint32_t)FL_RF; /* nothing to suppress */
    if ((old ^ c->eflags) & (FL_VM | FL_AC))
        x86_mode_update(c);
    if ((old ^ c->eflags) & (FL_IF | FL_TF | FL_RF))
        x86_check_interrupts(c);
}

bool x86_cond(const X86Cpu *c, unsigned cond)
{
    bool v;
    switch (cond >> 1) {
    case 0: v = x86_of(c); break;
    case 1: v = x86_cf(c); break;
    case 2: v = x86_zf(c); break;
    case 3: v = x86_cf(c) || x86_zf(c); break;
    case 4: v = x86_sf(c); break;
    case 5: v = x86_pf(c); break;
    case 6: v = x86_sf(c) != x86_of(c); break;
    default: v = x86_zf(c) || x86_sf(c) != x86_of(c); break;
    }
    return v != (cond & 1);
}
