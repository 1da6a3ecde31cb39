/*
 * Reset values and memory images of the x87 and SSE state: FXSAVE, and XSAVE's standard format for
 * the components x87, SSE and AVX.  Intel SDM volume 1, sections 10.5 and 13.4 to 13.8.
 * Left out: the compacted format (XSAVEC, XSAVES), the init and modified optimisations.
 */
#include <string.h>

#include "fpu.h"

void x86_fpu_fninit(X86Fpu *f)
{
    f->cw = 0x37f;
    f->sw = 0;
    f->tag = 0;
    f->fop = 0;
    f->fip = f->fdp = 0;
    f->fcs = f->fds = 0;
}

void x86_fpu_reset(X86Fpu *f)
{
    memset(f, 0, sizeof(*f));
    x86_fpu_fninit(f);
    f->mxcsr = 0x1f80;
    f->mxcsr_mask = 0xffff;
}

static void put(uint8_t *p, size_t at, uint64_t v, size_t size)
{
    for (size_t i = 0; i < size; i++)
        p[at + i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *p, size_t at, size_t size)
{
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        v |= (uint64_t)p[at + i] << 8 * i;
    return v;
}

enum { AT_MXCSR = 24, AT_ST = 32, AT_XMM = 160, AT_HEADER = 512, AT_AVX = 576 };

static void save_x87(const X86Fpu *f, uint8_t *p, bool wide)
{
    put(p, 0, f->cw, 2);
    put(p, 2, f->sw, 2);
    put(p, 4, f->tag & 0xff, 2);
    put(p, 6, f->fop, 2);
    if (wide) {
        put(p, 8, f->fip, 8);
        put(p, 16, f->fdp, 8);
    } else {
        put(p, 8, f->fip, 4);
        put(p, 12, f->fcs, 4);
        put(p, 16, f->fdp, 4);
        put(p, 20, f->fds, 4);
    }
    /* In the image the registers are in stack order, the tags in physical order. */
    for (unsigned i = 0; i < 8; i++) {
        const X86FpReg *r = &f->r[((f->sw >> 11) + i) & 7];
        put(p, AT_ST + 16 * i, r->mant, 8);
        put(p, AT_ST + 16 * i + 8, r->se, 8);
    }
}

static void load_x87(X86Fpu *f, const uint8_t *p, bool wide)
{
    f->cw = (uint16_t)get(p, 0, 2) | 0x40;
    f->sw = (uint16_t)get(p, 2, 2);
    f->tag = p[4];
    f->fop = get(p, 6, 2) & 0x7ff;
    f->fip = get(p, 8, wide ? 8 : 4);
    f->fcs = wide ? 0 : (uint16_t)get(p, 12, 2);
    f->fdp = get(p, 16, wide ? 8 : 4);
    f->fds = wide ? 0 : (uint16_t)get(p, 20, 2);
    for (unsigned i = 0; i < 8; i++) {
        X86FpReg *r = &f->r[((f->sw >> 11) + i) & 7];
        r->mant = get(p, AT_ST + 16 * i, 8);
        r->se = (uint16_t)get(p, AT_ST + 16 * i + 8, 2);
    }
    /* ES and B say whether something is pending, whatever the image says. */
    f->sw &= (uint16_t)~0x8080;
    if (f->sw & ~f->cw & 0x3f)
        f->sw |= 0x8080;
}

static void save_sse(const X86Fpu *f, uint8_t *p, bool long_mode)
{
    memcpy(p + AT_XMM, f->xmm, long_mode ? 256 : 128);
}

static void load_sse(X86Fpu *f, const uint8_t *p, bool long_mode)
{
    memcpy(f->xmm, p + AT_XMM, long_mode ? 256 : 128);
}

void x86_fxsave(const X86Fpu *f, void *buf, bool wide, bool long_mode)
{
    save_x87(f, buf, wide);
    put(buf, AT_MXCSR, f->mxcsr, 4);
    put(buf, AT_MXCSR + 4, f->mxcsr_mask, 4);
    save_sse(f, buf, long_mode);
}

bool x86_fxrstor(X86Fpu *f, const void *buf, bool wide, bool long_mode)
{
    uint32_t mxcsr = (uint32_t)get(buf, AT_MXCSR, 4);
    if (!x86_mxcsr_valid(f, mxcsr))
        return false;
    f->mxcsr = mxcsr;
    load_x87(f, buf, wide);
    load_sse(f, buf, long_mode);
    return true;
}

void x86_xsave(const X86Fpu *f, void *buf, uint64_t rfbm, bool wide, bool long_mode)
{
    uint8_t *p = buf;
    if (rfbm & X86_XC_X87)
        save_x87(f, p, wide);
    if (rfbm & X86_XC_SSE) {
        put(p, AT_MXCSR, f->mxcsr, 4);
        put(p, AT_MXCSR + 4, f->mxcsr_mask, 4);
        save_sse(f, p, long_mode);
    }
    if (rfbm & X86_XC_AVX)
        memcpy(p + AT_AVX, f->ymmh, long_mode ? 256 : 128);
    uint64_t known = rfbm & (X86_XC_X87 | X86_XC_SSE | X86_XC_AVX);
    put(p, AT_HEADER, (get(p, AT_HEADER, 8) & ~known) | known, 8);
}

uint64_t x86_fpu_in_use(const X86Fpu *f)
{
    static const X86Xmm zero[16];
    static const X86FpReg empty[8];
    bool x87 = f->cw != 0x37f || f->sw || f->tag || f->fop || f->fip || f->fdp || f->fcs || f->fds;
    for (unsigned i = 0; i < 8; i++)
        x87 |= f->r[i].mant != empty[i].mant || f->r[i].se != empty[i].se;
    return (x87 ? X86_XC_X87 : 0) | (f->mxcsr != 0x1f80 || memcmp(f->xmm, zero, sizeof zero) ? X86_XC_SSE : 0) |
           (memcmp(f->ymmh, zero, sizeof zero) ? X86_XC_AVX : 0);
}

bool x86_xrstor(X86Fpu *f, const void *buf, uint64_t rfbm, uint64_t xcr0, bool wide, bool long_mode)
{
    const uint8_t *p = buf;
    uint64_t bv = get(p, AT_HEADER, 8), layout = get(p, AT_HEADER + 8, 8);
    bool compacted = layout & X86_XC_COMPACTED;
    if (compacted ? (layout & ~X86_XC_COMPACTED & ~xcr0) || (bv & ~layout) : layout || (bv & ~xcr0))
        return false;
    /* the rest of the header must be zero, as far as this format looks at it */
    for (size_t i = 16; i < (compacted ? 64 : 24); i++) {
        if (p[AT_HEADER + i])
            return false;
    }
    /* MXCSR is loaded whatever XSTATE_BV says; of the compacted format it is part of SSE's state */
    if (rfbm & (compacted ? X86_XC_SSE : X86_XC_SSE | X86_XC_AVX)) {
        uint32_t mxcsr = compacted && !(bv & X86_XC_SSE) ? 0x1f80 : (uint32_t)get(p, AT_MXCSR, 4);
        if (!x86_mxcsr_valid(f, mxcsr))
            return false;
        f->mxcsr = mxcsr;
    }
    if (rfbm & X86_XC_AVX) {
        if (bv & X86_XC_AVX)
            memcpy(f->ymmh, p + AT_AVX, long_mode ? 256 : 128);
        else
            memset(f->ymmh, 0, long_mode ? 256 : 128);
    }
    if (rfbm & X86_XC_SSE) {
        if (bv & X86_XC_SSE)
            load_sse(f, p, long_mode);
        else
            memset(f->xmm, 0, long_mode ? 256 : 128);
    }
    if (rfbm & X86_XC_X87) {
        if (bv & X86_XC_X87) {
            load_x87(f, p, wide);
        } else {
            x86_fpu_fninit(f);
            memset(f->r, 0, sizeof(f->r));
        }
    }
    return true;
}
