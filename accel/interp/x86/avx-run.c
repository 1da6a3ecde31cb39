/*
 * Executes VEX-encoded vector instructions: operands, lanes, and the accesses to
 * memory that mask or gather.  avx.h says how an SSE instruction becomes one.
 *
 * An OP_AVX op: d is ModRM.reg and vvvv << 4, s is ModRM.rm and the bits below, x the
 * imm8 (of a gather the index register), scale the address's scale and the class << 2.
 */
#include "avx.h"
#include "helpers.h"

#include "sse-ops.h"

static X86Ymm ymm(const X86Fpu *f, unsigned n)
{
    return (X86Ymm){.h = {f->xmm[n], f->ymmh[n]}};
}

/* `bytes` of 16 clear the upper half. */
static void set_ymm(X86Fpu *f, unsigned n, const X86Ymm *v, unsigned bytes)
{
    static const X86Xmm zero;
    f->xmm[n] = v->h[0];
    f->ymmh[n] = bytes == 32 ? v->h[1] : zero;
}

static bool load(X86Cpu *c, uint64_t ea, X86Ymm *to, unsigned bytes)
{
    memset(to, 0, sizeof *to);
    const InterpTlbEntry *e = interp_tlb_entry(c->ic.tlb, ea);
    if (likely(((ea + bytes - 1) & INTERP_PAGE_MASK) == e->tag_r && (ea & INTERP_PAGE_MASK) == e->tag_r)) {
        memcpy(to, (const void *)(uintptr_t)(ea + e->addend), bytes);
        return true;
    }
    return x86_load_block(c, ea, to, bytes);
}

static bool store(X86Cpu *c, uint64_t ea, const X86Ymm *from, unsigned bytes)
{
    const InterpTlbEntry *e = interp_tlb_entry(c->ic.tlb, ea);
    if (likely(((ea + bytes - 1) & INTERP_PAGE_MASK) == e->tag_w && (ea & INTERP_PAGE_MASK) == e->tag_w)) {
        memcpy((void *)(uintptr_t)(ea + e->addend), from, bytes);
        return true;
    }
    return x86_store_block(c, ea, from, bytes);
}

static bool xm(X86Cpu *c)
{
    return x86_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
}

/* Immediates with other bits for the second lane. */
static unsigned lane_imm(const X86SseInsn *in, unsigned imm, unsigned lane)
{
    if (!lane)
        return imm;
    return in->fn == x86_blendps_x ? imm >> 4
           : in->fn == x86_blendpd_x || in->fn == x86_shufpd ? imm >> 2
           : in->fn == x86_mpsadbw_x ? imm >> 3 : imm;
}

static unsigned memory_bytes(const X86SseInsn *in, unsigned kind, unsigned bytes, bool w)
{
    switch (kind) {
    case AVX_LOW: return (in->flags & X86_SSE_REXW) && w ? 8 : in->mem_size;
    case AVX_LANES: return bytes == 32 ? 32 : in->mem_size;
    case AVX_EXPAND: return (unsigned)in->mem_size * (bytes / 16);
    case AVX_COUNT: return 16;
    default: return bytes;
    }
}

static bool run_low(X86Cpu *c, const X86SseInsn *in, const InterpOp *op, uint64_t ea, bool nds)
{
    X86Fpu *f = &c->fpu;
    unsigned reg = op->d & 15, v = op->d >> 4, rm = op->s & 15;
    bool mem = op->s & AVX_OP_MEM, w = op->s & AVX_OP_W, to_rm = in->flags & X86_SSE_STORE;
    unsigned bytes = memory_bytes(in, AVX_LOW, 16, w), imm = op->x | (w ? X86_SSE_IMM_REXW : 0);
    X86Ymm m, out;
    const void *src;
    memset(&out, 0, sizeof out);
    if (to_rm)
        src = &f->xmm[reg];
    else if (mem) {
        if (!load(c, ea, &m, bytes))
            return false;
        src = &m;
    } else {
        src = in->rm == X86_OPK_GPR ? (const void *)&c->r[rm] : &f->xmm[rm];
    }
    unsigned dst_kind = to_rm ? (mem ? X86_OPK_NONE : in->rm) : in->reg, dst = to_rm ? rm : reg;
    void *to = dst_kind == X86_OPK_GPR ? (void *)&c->r[dst] : (void *)&out;
    if (nds)
        out.h[0] = f->xmm[v];
    else if (dst_kind == X86_OPK_XMM)
        out.h[0] = f->xmm[dst]; /* comparisons read it */
    if (in->flags & X86_SSE_PCMPSTR) {
        f->arg_ax = c->r[RAX];
        f->arg_dx = c->r[RDX];
    }
    uint32_t r = in->fn(f, to, src, imm);
    if (r & X86_SSE_XM)
        return xm(c);
    if (in->flags & X86_SSE_EFLAGS)
        x86_flags_set(c, r);
    if (in->flags & X86_SSE_PCMPSTR) {
        static const X86Xmm zero;
        if (in->flags & X86_SSE_RES_CX)
            c->r[RCX] = f->res_cx;
        else
            f->ymmh[0] = zero; /* the result is in XMM0 */
        return true;
    }
    if (to_rm && mem)
        return store(c, ea, &out, bytes);
    if (dst_kind == X86_OPK_XMM && !(in->flags & X86_SSE_EFLAGS))
        set_ymm(f, dst, &out, 16);
    return true;
}

/* One lane of the kinds that may raise #XM. */
static uint32_t one_lane(X86Fpu *f, const X86SseInsn *in, unsigned kind, const X86Ymm *src, X86Ymm *out,
                         unsigned i, unsigned imm, bool no_source)
{
    X86Xmm t = src->h[i], part = {.q = {0, 0}};
    uint32_t r;
    switch (kind) {
    case AVX_EXPAND:
        memcpy(&part, src->b + i * in->mem_size, in->mem_size);
        return in->fn(f, &out->h[i], &part, imm);
    case AVX_NARROW:
        r = in->fn(f, &part, &t, imm);
        if (!(r & X86_SSE_XM))
            out->q[i] = part.q[0];
        return r;
    case AVX_COUNT:
        t = src->h[0];
        return in->fn(f, &out->h[i], &t, imm);
    default:
        return in->fn(f, &out->h[i], no_source ? NULL : (const void *)&t, imm);
    }
}

/* An unmasked exception in one lane: if any lane has one that is found before the computation
   (invalid, denormal, divide by zero), none of the two shows those found after it. */
static void both_lanes_flags(X86Fpu *f, const X86SseInsn *in, unsigned kind, const X86Ymm *src,
                             const X86Ymm *first, uint32_t mxcsr, unsigned imm)
{
    uint32_t flags = 0, before = 7;
    for (unsigned i = 0; i < 2; i++) {
        X86Ymm out = *first;
        f->mxcsr = mxcsr & ~0x3fu;
        one_lane(f, in, kind, src, &out, i, lane_imm(in, imm, i), false);
        flags |= f->mxcsr & 0x3f;
    }
    f->mxcsr = mxcsr | (flags & before & ~(mxcsr >> 7) ? flags & before : flags);
}

static bool run_lanes(X86Cpu *c, const X86SseInsn *in, const InterpOp *op, uint64_t ea, unsigned class)
{
    X86Fpu *f = &c->fpu;
    unsigned kind = class & AVX_KIND, bytes = op->s & AVX_OP_L ? 32 : 16, lanes = bytes / 16;
    unsigned reg = op->d & 15, v = op->d >> 4, rm = op->s & 15;
    bool mem = op->s & AVX_OP_MEM, to_rm = in->flags & X86_SSE_STORE, ndd = class & AVX_NDD;
    unsigned msize = memory_bytes(in, kind, bytes, false);
    X86Ymm src, out;
    if (mem && (class & AVX_ALIGN) && (ea & (msize - 1)))
        return x86_gp(c, 0);
    if (to_rm && !ndd)
        src = ymm(f, reg);
    else if (!mem)
        src = ymm(f, rm);
    else if (!load(c, ea, &src, msize))
        return false;
    out = ndd ? src : class & AVX_NDS ? ymm(f, v) : ymm(f, reg);
    uint32_t r = 0, all = ~0u;
    uint64_t bits = 0;
    uint32_t mxcsr = f->mxcsr;
    X86Ymm first = out;
    for (unsigned i = 0; i < lanes; i++) {
        unsigned imm = lane_imm(in, op->x, i);
        if (kind == AVX_MASK) {
            uint64_t part = 0;
            unsigned n = in->fn == x86_movmskps ? 4 : in->fn == x86_movmskpd ? 2 : 16;
            in->fn(f, &part, &src.h[i], imm);
            bits |= part << n * i;
        } else if (kind == AVX_TEST) {
            all &= in->fn(f, &out.h[i], &src.h[i], imm);
        } else {
            r |= one_lane(f, in, kind, &src, &out, i, imm, ndd);
        }
    }
    if (r & X86_SSE_XM) {
        if (lanes == 2)
            both_lanes_flags(f, in, kind, &src, &first, mxcsr, op->x);
        return xm(c);
    }
    switch (kind) {
    case AVX_MASK: c->r[reg] = bits; return true;
    case AVX_TEST: x86_flags_set(c, all); return true;
    case AVX_NARROW:
        if (lanes == 1)
            out.q[1] = 0;
        set_ymm(f, reg, &out, 16);
        return true;
    }
    if (to_rm && !ndd && mem)
        return store(c, ea, &out, bytes);
    set_ymm(f, ndd ? v : to_rm ? rm : reg, &out, bytes);
    return true;
}

/* VMASKMOV, VPMASKMOV: elements whose mask is clear are not touched, and do not fault. */
static bool run_masked(X86Cpu *c, const X86AvxInsn *in, const InterpOp *op, uint64_t ea)
{
    X86Fpu *f = &c->fpu;
    unsigned bytes = op->s & AVX_OP_L ? 32 : 16, size = in->mem, reg = op->d & 15;
    X86Ymm mask = ymm(f, op->d >> 4), data = ymm(f, reg), out;
    bool st = in->flags & AVI_STORE;
    memset(&out, 0, sizeof out);
    for (unsigned pass = st ? 0 : 1; pass < 2; pass++) {
        for (unsigned i = 0; i < bytes; i += size) {
            uint64_t v = 0;
            if (!(mask.b[i + size - 1] >> 7))
                continue;
            if (!pass) {
                if (!x86_probe(c, ea + i, size, true))
                    return false;
            } else if (st) {
                memcpy(&v, &data.b[i], size);
                if (!x86_store_slow(c, ea + i, v, size))
                    return false;
            } else {
                if (!x86_load(c, ea + i, size, &v))
                    return false;
                memcpy(&out.b[i], &v, size);
            }
        }
    }
    if (!st)
        set_ymm(f, reg, &out, bytes);
    return true;
}

/*
 * Elements that were loaded stay so if a later one faults.  What is left of the mask is then as wide
 * as the elements: Intel's manual extends their signs before the first load.
 */
static bool run_gather(X86Cpu *c, const X86AvxInsn *in, const InterpOp *op, uint64_t base)
{
    X86Fpu *f = &c->fpu;
    unsigned bytes = op->s & AVX_OP_L ? 32 : 16, size = op->s & AVX_OP_W ? 8 : 4, reg = op->d & 15;
    unsigned v = op->d >> 4, isize = in->opcode & 1 ? 8 : 4, n = bytes / MAX(size, isize);
    X86Ymm index = ymm(f, op->x), mask = ymm(f, v), out = ymm(f, reg);
    bool ok = true;
    for (unsigned i = 0; i < sizeof mask; i += size)
        memset(&mask.b[i], i < bytes && mask.b[i + size - 1] >> 7 ? 0xff : 0, size);
    for (unsigned i = 0; ok && i < n; i++) {
        uint64_t value, off = isize == 8 ? index.q[i] : (uint64_t)(int32_t)index.d[i];
        if (mask.b[i * size]) {
            ok = x86_load(c, base + (off << (op->scale & 3)), size, &value);
            if (!ok)
                break;
            memcpy(&out.b[i * size], &value, size);
            memset(&out.b[bytes], 0, sizeof out - bytes);
        }
        memset(&mask.b[i * size], 0, size);
    }
    if (ok) {
        memset(&mask, 0, sizeof mask);
        memset(&out.b[n * size], 0, sizeof out - n * size);
    }
    f->xmm[reg] = out.h[0];
    f->ymmh[reg] = out.h[1];
    f->xmm[v] = mask.h[0];
    f->ymmh[v] = mask.h[1];
    return ok;
}

static bool run_special(X86Cpu *c, const X86AvxInsn *in, const InterpOp *op, uint64_t ea)
{
    X86Fpu *f = &c->fpu;
    unsigned bytes = op->s & AVX_OP_L ? 32 : 16, reg = op->d & 15, rm = op->s & 15;
    bool mem = op->s & AVX_OP_MEM, to_rm = in->flags & AVI_STORE;
    if (in->flags & AVI_MASKED)
        return run_masked(c, in, op, ea);
    if (in->flags & AVI_GATHER)
        return run_gather(c, in, op, ea);
    if (!in->map && in->opcode == 0x77) {
        in->fn(f, NULL, NULL, NULL, 0, bytes);
        return true;
    }
    X86Ymm a = ymm(f, op->d >> 4), b, out = ymm(f, reg);
    if (to_rm)
        b = ymm(f, reg);
    else if (!mem)
        b = ymm(f, rm);
    else if (!load(c, ea, &b, in->mem ? in->mem : bytes / (in->flags & AVI_HALF ? 2 : 1)))
        return false;
    unsigned imm = in->flags & AVI_FMA ? in->opcode | (op->s & AVX_OP_W ? 0x100u : 0) : op->x;
    /* before the store is tried: Intel's CPUs raise #XM first, and keep MXCSR's flags if it faults */
    uint32_t r = in->fn(f, &out, &a, &b, imm, bytes);
    if (r & X86_SSE_XM)
        return xm(c);
    if (in->flags & AVI_EFLAGS)
        x86_flags_set(c, r);
    else if (to_rm && mem)
        return store(c, ea, &out, in->flags & AVI_HALF ? bytes / 2 : 16);
    else if (to_rm)
        set_ymm(f, rm, &out, 16);
    else
        set_ymm(f, reg, &out, in->flags & AVI_LIG ? 16 : bytes);
    return true;
}

bool x86_avx_run(X86Cpu *c, const InterpOp *op, uint64_t ea)
{
    unsigned class = op->scale >> 2;
    if (class == AVX_SPECIAL)
        return run_special(c, op->fn, op, ea);
    /* ALIGN and NDD are stored two bits lower than they are: see the decoder */
    class = (class & 15) | (class & 0x30) << 2;
    if ((class & AVX_KIND) == AVX_LOW)
        return run_low(c, op->fn, op, ea, class & AVX_NDS);
    return run_lanes(c, op->fn, op, ea, class);
}
