/*
 * Glue between the executor and the floating-point library (fpu.h): memory
 * operands, faults, FXSAVE and XSAVE.
 */
#include "helpers.h"

#define T0 c->r[REG_T0]

bool x86_sse_run(X86Cpu *c, const X86SseInsn *insn, const InterpOp *op, X86Xmm *mem)
{
    X86Fpu *f = &c->fpu;
    unsigned flags = insn->flags;
    unsigned imm = op->x | (op->d & 0x80 ? X86_SSE_IMM_REXW : 0);
    unsigned reg = op->d & 15, rm = op->s;

    if (flags & X86_SSE_MMX) {
        if (x86_x87_pending(f))
            return x86_raise(c, EXC_MF);
        x86_mmx_enter(f);
    }
    void *reg_p = insn->reg == X86_OPK_GPR ? (void *)&c->r[reg]
                  : insn->reg == X86_OPK_NONE ? NULL : x86_sse_reg(f, insn->reg, reg);
    void *rm_p = mem ? (void *)mem
                 : insn->rm == X86_OPK_GPR ? (void *)&c->r[rm]
                 : insn->rm == X86_OPK_NONE ? NULL : x86_sse_reg(f, insn->rm, rm);
    bool store = flags & X86_SSE_STORE;
    void *dst = store ? rm_p : reg_p;
    const void *src = store ? reg_p : rm_p;
    if (flags & X86_SSE_PCMPSTR) {
        f->arg_ax = c->r[RAX];
        f->arg_dx = c->r[RDX];
    }
    uint32_t result = insn->fn(f, dst, src, imm);
    if (unlikely(result & X86_SSE_XM))
        return x86_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
    if (flags & X86_SSE_EFLAGS)
        x86_flags_set(c, result);
    if (flags & X86_SSE_RES_CX)
        c->r[RCX] = f->res_cx;
    if (flags & X86_SSE_MMX) {
        if (!store && insn->reg == X86_OPK_MMX)
            x86_mmx_written(f, reg);
        else if (!mem && insn->rm == X86_OPK_MMX && (store || insn->reg == X86_OPK_NONE))
            x86_mmx_written(f, rm);
    }
    return true;
}

bool x86_h_fwait(X86Cpu *c, const InterpOp *op)
{
    if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        return x86_raise(c, EXC_NM);
    return !x86_x87_pending(&c->fpu) || x86_raise(c, EXC_MF);
}

bool x86_h_x87(X86Cpu *c, const InterpOp *op)
{
    X86Fpu *f = &c->fpu;
    unsigned mode = (op->x >= 2 ? X86_X87_OP32 : 0) | (x86_protected(c) ? X86_X87_PROT : 0);
    const X86X87Insn *insn = x86_x87_lookup(op->d, op->s, mode);
    uint8_t buffer[X86_X87_MEM_MAX + 8] = {0};
    if ((insn->flags & X86_X87_WAIT) && x86_x87_pending(f))
        return x86_raise(c, EXC_MF);
    if (insn->flags & X86_X87_LOAD && !x86_load_block(c, T0, buffer, insn->mem_size))
        return false;
    if (insn->flags & X86_X87_STORE && !x86_probe(c, T0, insn->mem_size, true)) {
        /* an unmasked exception stores nothing, and Intel's CPUs then do not look at the page */
        X86Fpu copy = *f;
        if (!(x86_x87_execute(&copy, op->d, op->s, buffer, mode, 0) & X86_X87_NO_STORE))
            return false;
        c->exc_pending = false;
    }
    if (insn->flags & X86_X87_NOTE) {
        x86_x87_note(f, op->d, op->s, c->seg[VMR_X86_CS].sel, c->insn_pc);
        if (op->scale)
            x86_x87_note_data(f, c->seg[op->b].sel, T0 - *(uint64_t *)((char *)c->r + op->i));
    }
    uint32_t result = x86_x87_execute(f, op->d, op->s, buffer, mode, x86_cc_flags(c));
    if (insn->flags & X86_X87_STORE && !(result & X86_X87_NO_STORE) &&
        !x86_store_block(c, T0, buffer, insn->mem_size))
        return false;
    if (insn->flags & X86_X87_EFLAGS) {
        uint32_t three = FL_ZF | FL_PF | FL_CF;
        x86_flags_set(c, result & three);
    }
    if (insn->flags & X86_X87_AX)
        *(uint16_t *)&c->r[RAX] = (uint16_t)(buffer[0] | buffer[1] << 8);
    return true;
}

bool x86_h_fxsave(X86Cpu *c, const InterpOp *op)
{
    uint8_t buffer[X86_FXSAVE_SIZE];
    bool m64 = x86_code64(c);
    unsigned bytes = m64 ? 416 : 288;
    if (T0 & 15)
        return x86_misaligned(c, T0);
    if (!x86_probe(c, T0, sizeof buffer, true)) /* of the whole area, though less is written */
        return false;
    memset(buffer, 0, sizeof buffer);
    x86_fxsave(&c->fpu, buffer, op->x == 3, m64);
    return x86_store_block(c, T0, buffer, bytes);
}

bool x86_h_fxrstor(X86Cpu *c, const InterpOp *op)
{
    uint8_t buffer[X86_FXSAVE_SIZE];
    if (T0 & 15)
        return x86_misaligned(c, T0);
    if (!x86_load_block(c, T0, buffer, sizeof buffer))
        return false;
    return x86_fxrstor(&c->fpu, buffer, op->x == 3, x86_code64(c)) || x86_gp(c, 0);
}

bool x86_h_ldmxcsr(X86Cpu *c, const InterpOp *op)
{
    uint64_t v;
    if (!x86_load(c, T0, 4, &v))
        return false;
    if (!x86_mxcsr_valid(&c->fpu, (uint32_t)v))
        return x86_gp(c, 0);
    c->fpu.mxcsr = (uint32_t)v;
    return true;
}

bool x86_h_stmxcsr(X86Cpu *c, const InterpOp *op)
{
    return x86_store_slow(c, T0, c->fpu.mxcsr, 4);
}

/* Protection keys are a component of their own, which x86_xsave() knows nothing of. */
enum { XCR0_PKRU = 1 << 9, PKRU_OFFSET = 2688 };

/* XSAVE and XSAVEOPT (which may write as much as XSAVE). */
bool x86_h_xsave(X86Cpu *c, const InterpOp *op)
{
    uint8_t buffer[X86_XSAVE_SIZE];
    if (!(c->cr4 & CR4_OSXSAVE))
        return x86_ud(c);
    if (T0 & 63)
        return x86_misaligned(c, T0);
    uint64_t rfbm = ((uint32_t)c->r[RAX] | c->r[RDX] << 32) & c->xcr0;
    unsigned bytes = rfbm & X86_XC_AVX ? X86_XSAVE_SIZE : X86_XSAVE_LEGACY;
    if (!x86_load_block(c, T0, buffer, bytes))
        return false;
    x86_xsave(&c->fpu, buffer, rfbm, op->x == 3, x86_code64(c));
    if (rfbm & XCR0_PKRU) {
        /* in its own place; XSTATE_BV tells whether it is not as after reset */
        uint8_t bit = XCR0_PKRU >> 8;
        buffer[513] = (uint8_t)((buffer[513] & ~bit) | (c->pkru ? bit : 0));
        if (!x86_probe(c, T0, PKRU_OFFSET + 8, true) || !x86_store_slow(c, T0 + PKRU_OFFSET, c->pkru, 8))
            return false;
    }
    return x86_store_block(c, T0, buffer, bytes);
}

uint64_t x86_xinuse(const X86Cpu *c)
{
    return (x86_fpu_in_use(&c->fpu) | (c->pkru ? XCR0_PKRU : 0)) & c->xcr0;
}

/* Where the compacted format has the protection keys. */
static unsigned compacted_pkru(uint64_t layout)
{
    return layout & X86_XC_AVX ? X86_XSAVE_SIZE : X86_XSAVE_LEGACY;
}

/* SDM volume 1, 13.10: what is not in use is not written. */
bool x86_h_xsavec(X86Cpu *c, const InterpOp *op)
{
    uint8_t buffer[X86_XSAVE_SIZE + 8];
    if (!(c->cr4 & CR4_OSXSAVE))
        return x86_ud(c);
    if (T0 & 63)
        return x86_misaligned(c, T0);
    uint64_t rfbm = ((uint32_t)c->r[RAX] | c->r[RDX] << 32) & c->xcr0, used = rfbm & x86_xinuse(c);
    uint64_t layout = rfbm | X86_XC_COMPACTED;
    unsigned bytes = compacted_pkru(rfbm) + (rfbm & XCR0_PKRU ? 8 : 0);
    if (!x86_load_block(c, T0, buffer, bytes))
        return false;
    x86_xsave(&c->fpu, buffer, used, op->x == 3, x86_code64(c));
    memcpy(buffer + 512, &used, 8);
    memcpy(buffer + 520, &layout, 8);
    if (used & XCR0_PKRU)
        memcpy(buffer + compacted_pkru(rfbm), &(uint64_t){c->pkru}, 8);
    return x86_store_block(c, T0, buffer, bytes);
}

bool x86_h_xrstor(X86Cpu *c, const InterpOp *op)
{
    uint8_t buffer[X86_XSAVE_SIZE];
    if (!(c->cr4 & CR4_OSXSAVE))
        return x86_ud(c);
    if (T0 & 63)
        return x86_misaligned(c, T0);
    uint64_t rfbm = ((uint32_t)c->r[RAX] | c->r[RDX] << 32) & c->xcr0;
    if (!x86_load_block(c, T0, buffer, X86_XSAVE_LEGACY))
        return false;
    uint64_t bv, layout, pkru = 0;
    memcpy(&bv, buffer + 512, 8);
    memcpy(&layout, buffer + 520, 8);
    bool compacted = layout & X86_XC_COMPACTED;
    if (compacted && !X86_FEATURE(c, D1_EAX, 1))
        return x86_gp(c, 0);
    if ((compacted ? rfbm & bv : rfbm) & X86_XC_AVX &&
        !x86_load_block(c, T0 + X86_XSAVE_LEGACY, buffer + X86_XSAVE_LEGACY, X86_XSAVE_SIZE - X86_XSAVE_LEGACY))
        return false;
    if (rfbm & bv & XCR0_PKRU && !x86_load(c, T0 + (compacted ? compacted_pkru(layout) : PKRU_OFFSET), 8, &pkru))
        return false;
    if (!x86_xrstor(&c->fpu, buffer, rfbm, c->xcr0, op->x == 3, x86_code64(c)))
        return x86_gp(c, 0);
    if (rfbm & XCR0_PKRU)
        x86_pkru_set(c, (uint32_t)pkru);
    return true;
}

bool x86_h_maskmov(X86Cpu *c, const InterpOp *op)
{
    X86Fpu *f = &c->fpu;
    bool mmx = op->i;
    unsigned n = op->x;
    const uint8_t *data = x86_sse_reg(f, mmx ? X86_OPK_MMX : X86_OPK_XMM, op->d);
    const uint8_t *mask = x86_sse_reg(f, mmx ? X86_OPK_MMX : X86_OPK_XMM, op->s);
    if (mmx && x86_x87_pending(f))
        return x86_raise(c, EXC_MF);
    uint64_t at = c->r[RDI];
    if (op->scale < 3)
        at &= op->scale == 2 ? 0xffffffff : 0xffff;
    if (!x86_seg_linear(c, op->b, at, n, true, &at))
        return false;
    bool any = false;
    for (unsigned i = 0; i < n; i++)
        any |= mask[i] >> 7;
    if (any && !x86_probe(c, at, n, true))
        return false;
    if (mmx)
        x86_mmx_enter(f);
    for (unsigned i = 0; i < n; i++)
        if (mask[i] & 0x80 && !x86_store_slow(c, at + i, data[i], 1))
            return false;
    return true;
}
