/*
 * Helpers of the x86 executor: instructions that are functions.
 *
 * The decoder gives a helper: x the operand size (log2 of bytes), d the G
 * register's byte offset, s the E register's (or where a loaded operand is),
 * scale 1 if E is memory with its linear address in REG_T0, disp an immediate.
 */
#ifndef VMR_INTERP_X86_HELPERS_H
#define VMR_INTERP_X86_HELPERS_H

#include "cpu.h"

/* For CALL2: a value from two registers; may set flags, cannot fail. */
typedef uint64_t X86Op2(X86Cpu *c, uint64_t a, uint64_t b, const InterpOp *op);

extern const void *const *x86_op_handlers; /* the threaded executor's labels */

/* Improve a decoded block; returns how many ops it has then.  peephole.c */
unsigned x86_peephole(InterpBlock *b, unsigned count);
void x86_link(X86Cpu *c, InterpBlock *from, unsigned k, InterpBlock *to, const InterpOp *op);

/* LOCK_RMW: d is the size (log2), x the operation, s the source register unless
   LOCK_IMM, then imm. */
enum {
    LOCK_ALU = 0, /* + 0..6 as in the opcode: ADD OR ADC SBB AND SUB XOR */
    LOCK_INC = 8, LOCK_DEC, LOCK_NEG, LOCK_NOT, LOCK_BTS, LOCK_BTR, LOCK_BTC,
    LOCK_XADD, LOCK_CMPXCHG, LOCK_XCHG,
    LOCK_IMM = 0x80,
};
bool x86_lock_rmw(X86Cpu *c, const InterpOp *op, uint64_t addr);

/* SSE ops: d the ModRM.reg number (bit 7: REX.W), s ModRM.rm, x the imm8. */
static inline unsigned x86_sse_mem_size(const X86SseInsn *insn, const InterpOp *op)
{
    return (insn->flags & X86_SSE_REXW) && (op->d & 0x80) ? 8 : insn->mem_size;
}
/* OP_AVX: bits of s, above ModRM.rm (avx-run.c). */
enum { AVX_OP_L = 0x10, AVX_OP_W = 0x20, AVX_OP_MEM = 0x40 };
enum { AVX_OP_ALIGN = 0x40 }; /* and a bit of scale: memory must be aligned */
bool x86_avx_run(X86Cpu *c, const InterpOp *op, uint64_t ea);
bool x86_sse_run(X86Cpu *c, const X86SseInsn *insn, const InterpOp *op, X86Xmm *mem);

#define X86_OP2S(X)                                                                                \
    X(rol) X(ror) X(rcl) X(rcr) X(shld) X(shrd) X(bt) X(bts) X(btr) X(btc)                         \
    X(bsf) X(bsr) X(tzcnt) X(lzcnt) X(popcnt) X(movbe) X(crc32) X(adcx) X(adox) X(lahf) X(rdpid) X(salc)  \
    X(andn) X(blsr) X(blsmsk) X(blsi) X(bzhi) X(pext) X(pdep) X(bextr) X(shlx) X(sarx) X(shrx) X(rorx)
#define X(n) X86Op2 x86_op2_##n;
X86_OP2S(X)
#undef X

#define X86_HELPERS(X)                                                                             \
    /* helpers.c */                                                                                \
    X(ud) X(nm) X(gp0) X(mul) X(imul1) X(div) X(idiv) X(push) X(pop) X(pop_e) X(pusha) X(popa)     \
    X(enter) X(leave) X(pushf) X(popf) X(sahf) X(daa) X(das) X(aaa) X(aas) X(aam) X(aad) X(bound)  \
    X(arpl) X(bt_mem) X(cmpxchg8b) X(xlat) X(jmp_near) X(jcc_far) X(call_near) X(ret_near)         \
    X(loop) X(jcxz) X(cli) X(sti) X(int3) X(int1) X(int_n) X(into) X(iret) X(hlt) X(pause)                 \
    X(mov_to_seg) X(mov_from_seg) X(push_seg) X(pop_seg) X(load_far) X(far_jump) X(far_call)       \
    X(far_return) X(far_jump_mem) X(far_call_mem) X(rdrand) X(fence) X(xadd_cmpxchg) X(fwait) X(x87) X(fxsave) X(fxrstor)   \
    X(ldmxcsr) X(stmxcsr) X(xsave) X(xsavec) X(xrstor) X(maskmov) X(mulx) X(monitor) X(mwait) X(clflush)                  \
    /* string.c */                                                                                 \
    X(movs) X(cmps) X(stos) X(lods) X(scas) X(ins) X(outs) X(in) X(out)                            \
    /* system.c */                                                                                 \
    X(cpuid) X(rdmsr) X(wrmsr) X(rdtsc) X(rdtscp) X(rdpmc) X(mov_from_cr) X(mov_to_cr)             \
    X(mov_from_dr) X(mov_to_dr) X(clts) X(lmsw) X(smsw) X(lgdt) X(lidt) X(sgdt) X(sidt) X(lldt)    \
    X(ltr) X(sldt) X(str) X(lar) X(lsl) X(verr) X(verw) X(invlpg) X(invpcid) X(wbinvd) X(swapgs)   \
    X(syscall) X(sysret) X(sysenter) X(sysexit) X(xgetbv) X(xsetbv) X(clac) X(stac) X(fsgsbase)    \
    X(rsm) X(pkru)
#define X(n) X86Helper x86_h_##n;
X86_HELPERS(X)
#undef X

#endif
