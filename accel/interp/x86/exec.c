/*
 * The executor of the x86 front end: runs op arrays.  Semantics are written once;
 * compiled with computed goto, or as a switch with -DINTERP_SWITCH (sanitizers,
 * other compilers).
 *
 * All checks of an instruction come before all its architectural writes; a
 * fault leaves by `exception`, where RIP and the instruction count are worked
 * out from the op.
 */
#include "cpu.h"
#include "helpers.h"
#include "mix.h"
#include "ops.h"
#include "sse-fast.h"

#define R64(o) (*(uint64_t *)((char *)r + (o)))
#define R32(o) (*(uint32_t *)((char *)r + (o)))
#define R16(o) (*(uint16_t *)((char *)r + (o)))
#define R8(o) (*(uint8_t *)((char *)r + (o)))
#define REG(n) r[n]

/* Write a register as x86 does: 32 bits clear the upper half, 8 and 16 keep the rest. */
#define W8(o, v) (R8(o) = (uint8_t)(v))
#define W16(o, v) (R16(o) = (uint16_t)(v))
#define W32(o, v) (R64(o) = (uint32_t)(v))
#define W64(o, v) (R64(o) = (uint64_t)(v))

/* OP_AVX keeps more than the scale there. */
#define AVX_EA() (R64(op->b) + (R64(op->i) << (op->scale & 3)) + (uint64_t)(int64_t)op->disp)
#define EA() (R64(op->b) + (R64(op->i) << op->scale) + (uint64_t)(int64_t)op->disp)

/* Low bits of the last byte's address do not matter: an access within the page hits. */
#define TLB_HIT(tag, addr, bytes) ((((addr) + (bytes)-1) & INTERP_PAGE_MASK) == (tag))

#define LOAD(bits, addr, var)                                                                      \
    do {                                                                                           \
        uint64_t a_ = (addr);                                                                      \
        const InterpTlbEntry *e_ = interp_tlb_entry(c->ic.tlb, a_);                                \
        if (likely(TLB_HIT(e_->tag_r, a_, bits / 8)))                                              \
            (var) = interp_ram_ld##bits((void *)(uintptr_t)(a_ + e_->addend));                     \
        else if (x86_load_slow(c, a_, bits / 8))                                                   \
            (var) = c->ic.value;                                                                   \
        else                                                                                       \
            goto exception;                                                                        \
    } while (0)

#define LOAD_RMW(bits, addr, var)                                                                  \
    do {                                                                                           \
        uint64_t a_ = (addr);                                                                      \
        const InterpTlbEntry *e_ = interp_tlb_entry(c->ic.tlb, a_);                                \
        if (likely(TLB_HIT(e_->tag_w, a_, bits / 8)))                                              \
            (var) = interp_ram_ld##bits((void *)(uintptr_t)(a_ + e_->addend));                     \
        else if (x86_load_rmw_slow(c, a_, bits / 8))                                               \
            (var) = c->ic.value;                                                                   \
        else                                                                                       \
            goto exception;                                                                        \
    } while (0)

#define STORE(bits, addr, v)                                                                       \
    do {                                                                                           \
        uint64_t a_ = (addr);                                                                      \
        const InterpTlbEntry *e_ = interp_tlb_entry(c->ic.tlb, a_);                                \
        if (likely(TLB_HIT(e_->tag_w, a_, bits / 8)))                                              \
            interp_ram_st##bits((void *)(uintptr_t)(a_ + e_->addend), (v));                        \
        else if (unlikely(!x86_store_slow(c, a_, (v), bits / 8)))                                  \
            goto exception;                                                                        \
    } while (0)

/* A store may have hit code of this very block: then leave it behind this instruction. */
#define STORED()                                                                                   \
    do {                                                                                           \
        if (unlikely(c->ic.code_hit))                                                              \
            goto code_changed;                                                                     \
    } while (0)

#define SX(bits, v) ((uint64_t)(int##bits##_t)(v))
#define CC(kind, dst, src) (c->cc_op = (kind), c->cc_dst = (dst), c->cc_src = (src))

#if defined(INTERP_SWITCH)
#define OP(n) case OP_##n:
#define DISPATCH() goto dispatch
#else
#define OP(n) L_##n:
#define DISPATCH() goto *op->handler
#endif
#define NEXT()                                                                                     \
    do {                                                                                           \
        op++;                                                                                      \
        x86_mix_count(op->code, false);                                                            \
        DISPATCH();                                                                                \
    } while (0)

/* ---- ALU: one macro an operation and size gives all forms ------------------------------- */

#define DO_ADD(bits) res = (uint##bits##_t)(a + b)
#define CC_OF_ADD(bits) CC(CC_ADD##bits, SX(bits, res), SX(bits, b))
#define DO_SUB(bits) res = (uint##bits##_t)(a - b)
#define CC_OF_SUB(bits) CC(CC_SUB##bits, SX(bits, res), SX(bits, b))
#define DO_ADC(bits) res = (uint##bits##_t)(a + b + (carry = x86_cf(c)))
#define CC_OF_ADC(bits) CC(carry ? CC_ADC##bits : CC_ADD##bits, SX(bits, res), SX(bits, b))
#define DO_SBB(bits) res = (uint##bits##_t)(a - b - (carry = x86_cf(c)))
#define CC_OF_SBB(bits) CC(carry ? CC_SBB##bits : CC_SUB##bits, SX(bits, res), SX(bits, b))
#define DO_AND(bits) res = a & b
#define DO_OR(bits) res = a | b
#define DO_XOR(bits) res = a ^ b
#define CC_OF_AND(bits) CC(CC_LOGIC, SX(bits, res), 0)
#define CC_OF_OR(bits) CC(CC_LOGIC, SX(bits, res), 0)
#define CC_OF_XOR(bits) CC(CC_LOGIC, SX(bits, res), 0)

#define ALU_SIZE(name, bits)                                                                       \
    OP(name##_RR##bits)                                                                            \
    {                                                                                              \
        uint##bits##_t a = R##bits(op->b), b = R##bits(op->s), res;                                \
        DO_##name(bits);                                                                           \
        W##bits(op->d, res);                                                                       \
        CC_OF_##name(bits);                                                                        \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(name##_RI##bits)                                                                            \
    {                                                                                              \
        uint##bits##_t a = R##bits(op->b), b = (uint##bits##_t)op->imm, res;                       \
        DO_##name(bits);                                                                           \
        W##bits(op->d, res);                                                                       \
        CC_OF_##name(bits);                                                                        \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(name##_RM##bits)                                                                            \
    {                                                                                              \
        uint##bits##_t a, b, res;                                                                  \
        LOAD(bits, EA(), b);                                                                       \
        a = R##bits(op->d);                                                                        \
        DO_##name(bits);                                                                           \
        W##bits(op->d, res);                                                                       \
        CC_OF_##name(bits);                                                                        \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(name##_MR##bits)                                                                            \
    {                                                                                              \
        uint##bits##_t a, b = R##bits(op->s), res;                                                 \
        uint64_t ea = EA();                                                                        \
        LOAD_RMW(bits, ea, a);                                                                     \
        DO_##name(bits);                                                                           \
        STORE(bits, ea, res);                                                                      \
        CC_OF_##name(bits);                                                                        \
        STORED();                                                                                  \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(name##_MI##bits)                                                                            \
    {                                                                                              \
        uint##bits##_t a, b = (uint##bits##_t)op->imm, res;                                        \
        uint64_t ea = EA();                                                                        \
        LOAD_RMW(bits, ea, a);                                                                     \
        DO_##name(bits);                                                                           \
        STORE(bits, ea, res);                                                                      \
        CC_OF_##name(bits);                                                                        \
        STORED();                                                                                  \
        NEXT();                                                                                    \
    }
#define ALU_QUIET_SIZE(name, bits)                                                                 \
    OP(name##_RRQ##bits)                                                                           \
    {                                                                                              \
        uint##bits##_t a = R##bits(op->b), b = R##bits(op->s), res;                                \
        DO_##name(bits);                                                                           \
        W##bits(op->d, res);                                                                       \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(name##_RIQ##bits)                                                                           \
    {                                                                                              \
        uint##bits##_t a = R##bits(op->b), b = (uint##bits##_t)op->imm, res;                       \
        DO_##name(bits);                                                                           \
        W##bits(op->d, res);                                                                       \
        NEXT();                                                                                    \
    }
#define ALL_SIZES(M, name) M(name, 8) M(name, 16) M(name, 32) M(name, 64)

/* CMP: SUB without the result. */
#define CMP_SIZE(unused, bits)                                                                     \
    OP(CMP_RR##bits)                                                                               \
    {                                                                                              \
        uint##bits##_t b = R##bits(op->s), res = (uint##bits##_t)(R##bits(op->d) - b);             \
        CC_OF_SUB(bits);                                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(CMP_RI##bits)                                                                               \
    {                                                                                              \
        uint##bits##_t b = (uint##bits##_t)op->imm, res = (uint##bits##_t)(R##bits(op->d) - b);    \
        CC_OF_SUB(bits);                                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(CMP_RM##bits)                                                                               \
    {                                                                                              \
        uint##bits##_t b, res;                                                                     \
        LOAD(bits, EA(), b);                                                                       \
        res = (uint##bits##_t)(R##bits(op->d) - b);                                                \
        CC_OF_SUB(bits);                                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(CMP_MR##bits)                                                                               \
    {                                                                                              \
        uint##bits##_t a, b = R##bits(op->s), res;                                                 \
        LOAD(bits, EA(), a);                                                                       \
        res = (uint##bits##_t)(a - b);                                                             \
        CC_OF_SUB(bits);                                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(CMP_MI##bits)                                                                               \
    {                                                                                              \
        uint##bits##_t a, b = (uint##bits##_t)op->imm, res;                                        \
        LOAD(bits, EA(), a);                                                                       \
        res = (uint##bits##_t)(a - b);                                                             \
        CC_OF_SUB(bits);                                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(TEST_RR##bits)                                                                              \
    {                                                                                              \
        CC(CC_LOGIC, SX(bits, R##bits(op->d) & R##bits(op->s)), 0);                                \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(TEST_RI##bits)                                                                              \
    {                                                                                              \
        CC(CC_LOGIC, SX(bits, R##bits(op->d) & op->imm), 0);                                       \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(TEST_MR##bits)                                                                              \
    {                                                                                              \
        uint##bits##_t a;                                                                          \
        LOAD(bits, EA(), a);                                                                       \
        CC(CC_LOGIC, SX(bits, a & R##bits(op->s)), 0);                                             \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(TEST_MI##bits)                                                                              \
    {                                                                                              \
        uint##bits##_t a;                                                                          \
        LOAD(bits, EA(), a);                                                                       \
        CC(CC_LOGIC, SX(bits, a & op->imm), 0);                                                    \
        NEXT();                                                                                    \
    }

/* Unary operations, shifts, moves. */
#define UNARY_SIZE(unused, bits)                                                                   \
    OP(INC##bits)                                                                                  \
    {                                                                                              \
        uint##bits##_t res = (uint##bits##_t)(R##bits(op->b) + 1);                                 \
        uint64_t bits_ = x86_cf(c) | ((res & 15) == 0 ? FL_AF : 0) |                               \
                         (res == (uint##bits##_t)(1ull << (bits - 1)) ? FL_OF : 0);                \
        W##bits(op->d, res);                                                                       \
        CC(CC_BITS, SX(bits, res), bits_);                                                         \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(DEC##bits)                                                                                  \
    {                                                                                              \
        uint##bits##_t res = (uint##bits##_t)(R##bits(op->b) - 1);                                 \
        uint64_t bits_ = x86_cf(c) | ((res & 15) == 15 ? FL_AF : 0) |                              \
                         (res == (uint##bits##_t)((1ull << (bits - 1)) - 1) ? FL_OF : 0);          \
        W##bits(op->d, res);                                                                       \
        CC(CC_BITS, SX(bits, res), bits_);                                                         \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(NEG##bits)                                                                                  \
    {                                                                                              \
        uint##bits##_t b = R##bits(op->b), res = (uint##bits##_t)(0 - b);                          \
        W##bits(op->d, res);                                                                       \
        CC_OF_SUB(bits);                                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(NOT##bits)                                                                                  \
    {                                                                                              \
        W##bits(op->d, ~R##bits(op->b));                                                           \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(SHL_I##bits)                                                                                \
    {                                                                                              \
        n = (unsigned)op->imm;                                                                     \
        goto shl##bits;                                                                            \
    }                                                                                              \
    OP(SHL_C##bits)                                                                                \
    {                                                                                              \
        n = REG(RCX) & (bits == 64 ? 63 : 31);                                                     \
        if (n == 0) {                                                                              \
            W##bits(op->d, R##bits(op->b));                                                        \
            NEXT();                                                                                \
        }                                                                                          \
    }                                                                                              \
    shl##bits:                                                                                     \
    {                                                                                              \
        uint64_t a = R##bits(op->b);                                                               \
        uint##bits##_t res = (uint##bits##_t)(a << n);                                             \
        bool cf = n <= bits && (a >> (bits - n)) & 1;                                              \
        uint64_t bits_ = (uint64_t)cf | (((uint64_t)(res >> (bits - 1)) ^ cf) ? FL_OF : 0);        \
        W##bits(op->d, res);                                                                       \
        CC(CC_BITS, SX(bits, res), bits_);                                                         \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(SHR_I##bits)                                                                                \
    {                                                                                              \
        n = (unsigned)op->imm;                                                                     \
        goto shr##bits;                                                                            \
    }                                                                                              \
    OP(SHR_C##bits)                                                                                \
    {                                                                                              \
        n = REG(RCX) & (bits == 64 ? 63 : 31);                                                     \
        if (n == 0) {                                                                              \
            W##bits(op->d, R##bits(op->b));                                                        \
            NEXT();                                                                                \
        }                                                                                          \
    }                                                                                              \
    shr##bits:                                                                                     \
    {                                                                                              \
        uint64_t a = R##bits(op->b);                                                               \
        uint##bits##_t res = (uint##bits##_t)(a >> n);                                             \
        uint64_t bits_ = ((a >> (n - 1)) & 1) | (a >> (bits - 1) ? FL_OF : 0);                     \
        W##bits(op->d, res);                                                                       \
        CC(CC_BITS, SX(bits, res), bits_);                                                         \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(SAR_I##bits)                                                                                \
    {                                                                                              \
        n = (unsigned)op->imm;                                                                     \
        goto sar##bits;                                                                            \
    }                                                                                              \
    OP(SAR_C##bits)                                                                                \
    {                                                                                              \
        n = REG(RCX) & (bits == 64 ? 63 : 31);                                                     \
        if (n == 0) {                                                                              \
            W##bits(op->d, R##bits(op->b));                                                        \
            NEXT();                                                                                \
        }                                                                                          \
    }                                                                                              \
    sar##bits:                                                                                     \
    {                                                                                              \
        int64_t a = (int##bits##_t)R##bits(op->b);                                                 \
        uint##bits##_t res = (uint##bits##_t)(a >> n);                                             \
        uint64_t bits_ = (uint64_t)(a >> (n - 1)) & 1;                                             \
        W##bits(op->d, res);                                                                       \
        CC(CC_BITS, SX(bits, res), bits_);                                                         \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(MOV_RR##bits)                                                                               \
    {                                                                                              \
        W##bits(op->d, R##bits(op->s));                                                            \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(MOV_RI##bits)                                                                               \
    {                                                                                              \
        W##bits(op->d, op->imm);                                                                   \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(LD##bits)                                                                                   \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        LOAD(bits, EA(), v);                                                                       \
        W##bits(op->d, v);                                                                         \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(LDW##bits)                                                                                  \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        LOAD_RMW(bits, EA(), v);                                                                   \
        R64(op->d) = v;                                                                            \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(ST##bits)                                                                                   \
    {                                                                                              \
        STORE(bits, EA(), R##bits(op->s));                                                         \
        STORED();                                                                                  \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(ST_I##bits)                                                                                 \
    {                                                                                              \
        STORE(bits, EA(), (uint##bits##_t)op->imm);                                                \
        STORED();                                                                                  \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(XCHG_RR##bits)                                                                              \
    {                                                                                              \
        uint##bits##_t a = R##bits(op->d), b = R##bits(op->s);                                     \
        W##bits(op->d, b);                                                                         \
        W##bits(op->s, a);                                                                         \
        NEXT();                                                                                    \
    }

#define WIDEN(name, from, to, sign)                                                                \
    OP(MOV##name)                                                                                  \
    {                                                                                              \
        W##to(op->d, (sign##from##_t)R##from(op->s));                                              \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(LD##name)                                                                                   \
    {                                                                                              \
        uint##from##_t v;                                                                          \
        LOAD(from, EA(), v);                                                                       \
        W##to(op->d, (sign##from##_t)v);                                                           \
        NEXT();                                                                                    \
    }

#define IMUL_SIZE(bits, wide)                                                                      \
    OP(IMUL_RR##bits)                                                                              \
    {                                                                                              \
        wide p = (wide)(int##bits##_t)R##bits(op->b) * (int##bits##_t)R##bits(op->s);              \
        uint64_t over = p != (int##bits##_t)p ? FL_CF | FL_OF : 0;                                 \
        W##bits(op->d, (uint##bits##_t)p);                                                         \
        CC(CC_BITS, SX(bits, p), over);                                                            \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(IMUL_RI##bits)                                                                              \
    {                                                                                              \
        wide p = (wide)(int##bits##_t)R##bits(op->s) * (int##bits##_t)op->imm;                     \
        uint64_t over = p != (int##bits##_t)p ? FL_CF | FL_OF : 0;                                 \
        W##bits(op->d, (uint##bits##_t)p);                                                         \
        CC(CC_BITS, SX(bits, p), over);                                                            \
        NEXT();                                                                                    \
    }

/* Without flags, of 32 and 64 bits. */
#define QUIET_WIDE(unused, bits)                                                                   \
    OP(SHL_IQ##bits) { W##bits(op->d, R##bits(op->b) << op->imm); NEXT(); }                        \
    OP(SHR_IQ##bits) { W##bits(op->d, R##bits(op->b) >> op->imm); NEXT(); }                        \
    OP(SAR_IQ##bits) { W##bits(op->d, (int##bits##_t)R##bits(op->b) >> op->imm); NEXT(); }         \
    OP(ROL_IQ##bits)                                                                               \
    {                                                                                              \
        uint##bits##_t a = R##bits(op->b);                                                         \
        W##bits(op->d, a << op->imm | a >> (-op->imm & (bits - 1)));                               \
        NEXT();                                                                                    \
    }                                                                                              \
    OP(IMUL_RRQ##bits) { W##bits(op->d, R##bits(op->b) * R##bits(op->s)); NEXT(); }                \
    OP(IMUL_RIQ##bits) { W##bits(op->d, R##bits(op->s) * (uint##bits##_t)op->imm); NEXT(); }
#define BOTH_WIDE(M, name) M(name, 32) M(name, 64)

/* ---- conditions ------------------------------------------------------------------------------- */

/* X(arguments, condition, whether it holds): after any op, ... */
#define ANY_TESTS(X, ...)                                                                          \
    X(__VA_ARGS__, O, x86_of(c))                                                                   \
    X(__VA_ARGS__, NO, !x86_of(c))                                                                 \
    X(__VA_ARGS__, B, x86_cf(c))                                                                   \
    X(__VA_ARGS__, AE, !x86_cf(c))                                                                 \
    X(__VA_ARGS__, E, x86_zf(c))                                                                   \
    X(__VA_ARGS__, NE, !x86_zf(c))                                                                 \
    X(__VA_ARGS__, BE, x86_cf(c) || x86_zf(c))                                                     \
    X(__VA_ARGS__, A, !(x86_cf(c) || x86_zf(c)))                                                   \
    X(__VA_ARGS__, S, x86_sf(c))                                                                   \
    X(__VA_ARGS__, NS, !x86_sf(c))                                                                 \
    X(__VA_ARGS__, P, x86_pf(c))                                                                   \
    X(__VA_ARGS__, NP, !x86_pf(c))                                                                 \
    X(__VA_ARGS__, L, x86_sf(c) != x86_of(c))                                                      \
    X(__VA_ARGS__, GE, x86_sf(c) == x86_of(c))                                                     \
    X(__VA_ARGS__, LE, x86_zf(c) || x86_sf(c) != x86_of(c))                                        \
    X(__VA_ARGS__, G, !(x86_zf(c) || x86_sf(c) != x86_of(c)))
/* ... after res = a - b (sa, sb and sres: signed), ... */
#define SUB_TESTS(X, ...)                                                                          \
    X(__VA_ARGS__, O, x86_of(c))                                                                   \
    X(__VA_ARGS__, NO, !x86_of(c))                                                                 \
    X(__VA_ARGS__, B, a < b)                                                                       \
    X(__VA_ARGS__, AE, a >= b)                                                                     \
    X(__VA_ARGS__, E, a == b)                                                                      \
    X(__VA_ARGS__, NE, a != b)                                                                     \
    X(__VA_ARGS__, BE, a <= b)                                                                     \
    X(__VA_ARGS__, A, a > b)                                                                       \
    X(__VA_ARGS__, S, sres < 0)                                                                    \
    X(__VA_ARGS__, NS, sres >= 0)                                                                  \
    X(__VA_ARGS__, P, x86_pf(c))                                                                   \
    X(__VA_ARGS__, NP, !x86_pf(c))                                                                 \
    X(__VA_ARGS__, L, sa < sb)                                                                     \
    X(__VA_ARGS__, GE, sa >= sb)                                                                   \
    X(__VA_ARGS__, LE, sa <= sb)                                                                   \
    X(__VA_ARGS__, G, sa > sb)
/* ... after res = a & b, ... */
#define LOGIC_TESTS(X, ...)                                                                        \
    X(__VA_ARGS__, O, false)                                                                       \
    X(__VA_ARGS__, NO, true)                                                                       \
    X(__VA_ARGS__, B, false)                                                                       \
    X(__VA_ARGS__, AE, true)                                                                       \
    X(__VA_ARGS__, E, res == 0)                                                                    \
    X(__VA_ARGS__, NE, res != 0)                                                                   \
    X(__VA_ARGS__, BE, res == 0)                                                                   \
    X(__VA_ARGS__, A, res != 0)                                                                    \
    X(__VA_ARGS__, S, sres < 0)                                                                    \
    X(__VA_ARGS__, NS, sres >= 0)                                                                  \
    X(__VA_ARGS__, P, x86_pf(c))                                                                   \
    X(__VA_ARGS__, NP, !x86_pf(c))                                                                 \
    X(__VA_ARGS__, L, sres < 0)                                                                    \
    X(__VA_ARGS__, GE, sres >= 0)                                                                  \
    X(__VA_ARGS__, LE, sres <= 0)                                                                  \
    X(__VA_ARGS__, G, sres > 0)
/* ... and after DEC, which leaves CF alone. */
#define DEC_TESTS(X, ...)                                                                          \
    X(__VA_ARGS__, O, x86_of(c))                                                                   \
    X(__VA_ARGS__, NO, !x86_of(c))                                                                 \
    X(__VA_ARGS__, B, carry)                                                                       \
    X(__VA_ARGS__, AE, !carry)                                                                     \
    X(__VA_ARGS__, E, res == 0)                                                                    \
    X(__VA_ARGS__, NE, res != 0)                                                                   \
    X(__VA_ARGS__, BE, carry || res == 0)                                                          \
    X(__VA_ARGS__, A, !carry && res != 0)                                                          \
    X(__VA_ARGS__, S, sres < 0)                                                                    \
    X(__VA_ARGS__, NS, sres >= 0)                                                                  \
    X(__VA_ARGS__, P, x86_pf(c))                                                                   \
    X(__VA_ARGS__, NP, !x86_pf(c))                                                                 \
    X(__VA_ARGS__, L, x86_sf(c) != x86_of(c))                                                      \
    X(__VA_ARGS__, GE, x86_sf(c) == x86_of(c))                                                     \
    X(__VA_ARGS__, LE, x86_zf(c) || x86_sf(c) != x86_of(c))                                        \
    X(__VA_ARGS__, G, !(x86_zf(c) || x86_sf(c) != x86_of(c)))

/* A branch within the block's op: taken goes to disp, else to the 16-bit offset in b and i. */
#define BRANCH(cond)                                                                               \
    do {                                                                                           \
        if (cond)                                                                                  \
            goto taken;                                                                            \
        goto not_taken;                                                                            \
    } while (0)

#define JCC_ONE(name, cond, test) OP(name##_##cond) BRANCH(test);
#define SET_ONE(name, cond, test) OP(name##_##cond) { W8(op->d, test); NEXT(); }
#define CMOV_ONE(bits, cond, test)                                                                 \
    OP(CMOV##bits##_##cond)                                                                        \
    {                                                                                              \
        W##bits(op->d, (test) ? R##bits(op->s) : R##bits(op->d));                                  \
        NEXT();                                                                                    \
    }

/* Work that a branch depends on, with that branch; the flags live on. */
#define FUSED_ONE(name, bits, work, cond, test)                                                    \
    OP(name##bits##_##cond)                                                                        \
    {                                                                                              \
        uint##bits##_t a, b, res;                                                                  \
        work(bits);                                                                                \
        int##bits##_t sa = (int##bits##_t)a, sb = (int##bits##_t)b, sres = (int##bits##_t)res;     \
        (void)sa, (void)sb, (void)sres;                                                            \
        BRANCH(test);                                                                              \
    }
#define WORK_CMP(bits, left, right)                                                                \
    do {                                                                                           \
        a = (left);                                                                                \
        b = (uint##bits##_t)(right);                                                               \
        res = (uint##bits##_t)(a - b);                                                             \
        CC_OF_SUB(bits);                                                                           \
    } while (0)
#define WORK_TEST(bits, left, right)                                                               \
    do {                                                                                           \
        a = (left);                                                                                \
        b = (uint##bits##_t)(right);                                                               \
        res = a & b;                                                                               \
        CC(CC_LOGIC, SX(bits, res), 0);                                                            \
    } while (0)
/* The two in one op. */
#define WORK_CMP_RR(bits) WORK_CMP(bits, R##bits(op->d), R##bits(op->s))
#define WORK_CMP_RI(bits) WORK_CMP(bits, R##bits(op->d), op->imm)
#define WORK_TEST_RR(bits) WORK_TEST(bits, R##bits(op->d), R##bits(op->s))
/* And those where the branch is the next op. */
#define AND_STEP(statement)                                                                        \
    do {                                                                                           \
        statement;                                                                                 \
        op++;                                                                                      \
    } while (0)
#define WORK_SUB_RR(bits)                                                                          \
    AND_STEP(WORK_CMP(bits, R##bits(op->b), R##bits(op->s)); W##bits(op->d, res))
#define WORK_SUB_RI(bits) AND_STEP(WORK_CMP(bits, R##bits(op->b), op->imm); W##bits(op->d, res))
#define WORK_AND_RR(bits)                                                                          \
    AND_STEP(WORK_TEST(bits, R##bits(op->b), R##bits(op->s)); W##bits(op->d, res))
#define WORK_AND_RI(bits) AND_STEP(WORK_TEST(bits, R##bits(op->b), op->imm); W##bits(op->d, res))
#define WORK_DEC(bits)                                                                             \
    AND_STEP(a = R##bits(op->b); b = 1; res = (uint##bits##_t)(a - 1); carry = x86_cf(c);          \
             CC(CC_BITS, SX(bits, res),                                                            \
                (carry ? FL_CF : 0) | ((res & 15) == 15 ? FL_AF : 0) |                             \
                    (res == (uint##bits##_t)((1ull << (bits - 1)) - 1) ? FL_OF : 0));              \
             W##bits(op->d, res))
#define WORK_CMP_RM(bits) AND_STEP(LOAD(bits, EA(), b); WORK_CMP(bits, R##bits(op->d), b))
#define WORK_CMP_MR(bits) AND_STEP(LOAD(bits, EA(), a); WORK_CMP(bits, a, R##bits(op->s)))
#define WORK_CMP_MI(bits) AND_STEP(LOAD(bits, EA(), a); WORK_CMP(bits, a, op->imm))
#define WORK_TEST_RI(bits) AND_STEP(WORK_TEST(bits, R##bits(op->d), op->imm))
#define WORK_TEST_MI(bits) AND_STEP(LOAD(bits, EA(), a); WORK_TEST(bits, a, op->imm))

#define FUSED(tests, name, bits, work) tests(FUSED_ONE, name, bits, work)
#define FUSED_WIDE(tests, name, work) FUSED(tests, name, 32, work) FUSED(tests, name, 64, work)
#define FUSED_ALL(tests, name, work)                                                               \
    FUSED(tests, name, 8, work) FUSED(tests, name, 16, work) FUSED_WIDE(tests, name, work)

/* The target of a near branch; another one is #GP before anything is written. */
#define CHECK_TARGET(v)                                                                            \
    do {                                                                                           \
        if (unlikely((int64_t)((v) << 16) >> 16 != (int64_t)(v))) {                                \
            x86_gp(c, 0);                                                                          \
            goto exception;                                                                        \
        }                                                                                          \
    } while (0)

#define INSN_PC() (REG(REG_PC) + op->pc)

#if defined(__GNUC__) && !defined(__clang__)
/* Keep one indirect jump an op, and do not merge their tails. */
__attribute__((optimize("no-gcse", "no-crossjumping")))
#endif
void
x86_exec(X86Cpu *c, InterpBlock *blk)
{
#if !defined(INTERP_SWITCH)
    static const void *const handlers[] = {
#define OP_LABEL(n) &&L_##n,
        X86_OPS(OP_LABEL)
#undef OP_LABEL
    };
    if (unlikely(!blk)) {
        x86_op_handlers = handlers;
        return;
    }
#else
    if (!blk)
        return;
#endif
    uint64_t *const r = c->r;
    const InterpOp *op;
    unsigned n, k;
    bool carry;

enter:
    c->ic.icount += blk->insns;
    if (unlikely(c->ic.icount >= atomic_load_explicit(&c->ic.limit, memory_order_acquire))) {
        c->ic.icount -= blk->insns;
        return;
    }
    op = blk->ops;
    x86_mix_count(op->code, true);
#if defined(INTERP_SWITCH)
dispatch:
    switch (op->code) {
#else
    DISPATCH();
#endif

    OP(DEAD) goto lookup;
    OP(END)
    {
        k = 0;
        REG(REG_PC) = (REG(REG_PC) + op->pc) & c->pc_mask;
        goto follow;
    }
    OP(NOP) NEXT();

    ALL_SIZES(ALU_SIZE, ADD)
    ALL_SIZES(ALU_SIZE, OR)
    ALL_SIZES(ALU_SIZE, ADC)
    ALL_SIZES(ALU_SIZE, SBB)
    ALL_SIZES(ALU_SIZE, AND)
    ALL_SIZES(ALU_SIZE, SUB)
    ALL_SIZES(ALU_SIZE, XOR)
    ALL_SIZES(ALU_QUIET_SIZE, ADD)
    ALL_SIZES(ALU_QUIET_SIZE, OR)
    ALL_SIZES(ALU_QUIET_SIZE, AND)
    ALL_SIZES(ALU_QUIET_SIZE, SUB)
    ALL_SIZES(ALU_QUIET_SIZE, XOR)
    ALL_SIZES(CMP_SIZE, )
    ALL_SIZES(UNARY_SIZE, )
    BOTH_WIDE(QUIET_WIDE, )

    WIDEN(ZX_8_16, 8, 16, uint)
    WIDEN(ZX_8_32, 8, 32, uint)
    WIDEN(ZX_16_32, 16, 32, uint)
    WIDEN(SX_8_16, 8, 16, int)
    WIDEN(SX_8_32, 8, 32, int)
    WIDEN(SX_8_64, 8, 64, int)
    WIDEN(SX_16_32, 16, 32, int)
    WIDEN(SX_16_64, 16, 64, int)
    WIDEN(SX_32_64, 32, 64, int)

    OP(LEA16) { W16(op->d, EA()); NEXT(); }
    OP(LEA32) { W32(op->d, EA()); NEXT(); }
    OP(LEA64) { W64(op->d, EA()); NEXT(); }
    /* s: a segment base or REG_ZERO */
    OP(AGEN) { REG(REG_T0) = EA() + R64(op->s); NEXT(); }
    OP(AGEN32) { REG(REG_T0) = (uint32_t)EA() + R64(op->s); NEXT(); }
    OP(AGEN_SEG)
    {
        uint64_t offset = EA() & (op->imm >> 16);
        uint64_t linear;
        if (!x86_seg_linear(c, op->x, offset, op->imm & 0xff, op->imm >> 8 & 1, &linear))
            goto exception;
        REG(REG_T0) = linear;
        NEXT();
    }

    IMUL_SIZE(16, int32_t)
    IMUL_SIZE(32, int64_t)
    IMUL_SIZE(64, __int128)

    OP(CMOV16)
    {
        if (x86_cond(c, op->x))
            W16(op->d, R16(op->s));
        NEXT();
    }
    ANY_TESTS(CMOV_ONE, 32)
    ANY_TESTS(CMOV_ONE, 64)
    ANY_TESTS(SET_ONE, SET)
    OP(CALL2)
    {
        uint64_t v = ((X86Op2 *)op->fn)(c, R64(op->d & ~7u), R64(op->s & ~7u), op);
        switch (op->x) {
        case 0: W8(op->d, v); break;
        case 1: W16(op->d, v); break;
        case 2: W32(op->d, v); break;
        case 3: W64(op->d, v); break;
        }
        NEXT();
    }
    OP(CBW) { W16(RAX * 8, (int8_t)R8(RAX * 8)); NEXT(); }
    OP(CWDE) { W32(RAX * 8, (int16_t)R16(RAX * 8)); NEXT(); }
    OP(CDQE) { W64(RAX * 8, (int32_t)R32(RAX * 8)); NEXT(); }
    OP(CWD) { W16(RDX * 8, (int16_t)R16(RAX * 8) >> 15); NEXT(); }
    OP(CDQ) { W32(RDX * 8, (int32_t)R32(RAX * 8) >> 31); NEXT(); }
    OP(CQO) { W64(RDX * 8, (int64_t)R64(RAX * 8) >> 63); NEXT(); }
    OP(BSWAP32) { W32(op->d, __builtin_bswap32(R32(op->d))); NEXT(); }
    OP(BSWAP64) { W64(op->d, __builtin_bswap64(R64(op->d))); NEXT(); }
    OP(CLD) { c->eflags &= ~(uint32_t)FL_DF; NEXT(); }
    OP(STD) { c->eflags |= FL_DF; NEXT(); }
    OP(CLC) { x86_flags_set(c, x86_cc_flags(c) & ~(uint32_t)FL_CF); NEXT(); }
    OP(STC) { x86_flags_set(c, x86_cc_flags(c) | FL_CF); NEXT(); }
    OP(CMC) { x86_flags_set(c, x86_cc_flags(c) ^ FL_CF); NEXT(); }

    /* Stack, where it is flat. */
    OP(PUSH64_R)
    push64:
    {
        STORE(64, REG(RSP) - 8, R64(op->s));
        REG(RSP) -= 8;
        STORED();
        NEXT();
    }
    OP(PUSH64_I)
    {
        STORE(64, REG(RSP) - 8, op->imm);
        REG(RSP) -= 8;
        STORED();
        NEXT();
    }
    OP(POP64_R)
    pop64:
    {
        uint64_t v;
        LOAD(64, REG(RSP), v);
        REG(RSP) += 8;
        R64(op->d) = v;
        NEXT();
    }
    /* All at once where the stack's page is in the TLB, else one by one. */
    OP(PUSH64_RUN)
    {
        uint64_t sp = REG(RSP) - 8 * op->x;
        const InterpTlbEntry *e = interp_tlb_entry(c->ic.tlb, sp);
        if (unlikely(!TLB_HIT(e->tag_w, sp, 8 * op->x)))
            goto push64;
        char *p = (char *)(uintptr_t)(sp + e->addend);
        REG(RSP) = sp;
        for (n = op->x, p += 8 * n; n; n--, op++)
            interp_ram_st64(p -= 8, R64(op->s));
        op--;
        NEXT();
    }
    OP(POP64_RUN)
    {
        uint64_t sp = REG(RSP);
        const InterpTlbEntry *e = interp_tlb_entry(c->ic.tlb, sp);
        if (unlikely(!TLB_HIT(e->tag_r, sp, 8 * op->x)))
            goto pop64;
        const char *p = (const char *)(uintptr_t)(sp + e->addend);
        REG(RSP) = sp + 8 * op->x;
        for (n = op->x; n; n--, op++, p += 8)
            R64(op->d) = interp_ram_ld64(p);
        op--;
        NEXT();
    }
    OP(PUSH32_R)
    {
        uint32_t sp = R32(RSP * 8) - 4;
        STORE(32, sp, R32(op->s));
        REG(RSP) = sp;
        STORED();
        NEXT();
    }
    OP(PUSH32_I)
    {
        uint32_t sp = R32(RSP * 8) - 4;
        STORE(32, sp, (uint32_t)op->imm);
        REG(RSP) = sp;
        STORED();
        NEXT();
    }
    OP(POP32_R)
    {
        uint32_t v;
        LOAD(32, R32(RSP * 8), v);
        REG(RSP) = (uint32_t)(REG(RSP) + 4);
        R64(op->d) = v;
        NEXT();
    }
    OP(LEAVE64)
    {
        uint64_t v, bp = REG(RBP);
        LOAD(64, bp, v);
        REG(RSP) = bp + 8;
        REG(RBP) = v;
        NEXT();
    }

    OP(HELPER)
    {
        c->insn_pc = INSN_PC();
        c->next_pc = (c->insn_pc + op->length) & c->pc_mask;
        if (unlikely(!((X86Helper *)op->fn)(c, op)))
            goto exception;
        STORED();
        NEXT();
    }
    OP(HELPER_END)
    {
        uint64_t start = REG(REG_PC);
        c->insn_pc = INSN_PC();
        c->next_pc = (c->insn_pc + op->length) & c->pc_mask;
        REG(REG_PC) = c->next_pc;
        if (unlikely(!((X86Helper *)op->fn)(c, op))) {
            REG(REG_PC) = start;
            goto exception;
        }
        c->ic.code_hit = false;
        goto lookup;
    }
    OP(LOCK_RMW)
    {
        if (unlikely(!x86_lock_rmw(c, op, EA())))
            goto exception;
        STORED();
        NEXT();
    }
    OP(SSE_RR)
    sse_rr:
    {
        const X86SseInsn *insn = op->fn;
        c->insn_pc = INSN_PC();
        if (unlikely(!x86_sse_run(c, insn, op, NULL)))
            goto exception;
        NEXT();
    }
    OP(SSE_RM)
    sse_rm:
    {
        const X86SseInsn *insn = op->fn;
        X86Xmm m;
        uint64_t ea = EA();
        if (unlikely((insn->flags & X86_SSE_MMX) && x86_x87_pending(&c->fpu))) {
            x86_raise(c, EXC_MF); /* goes before faults of the operand */
            goto exception;
        }
        if (unlikely((insn->flags & X86_SSE_ALIGN16) && (ea & 15))) {
            x86_gp(c, 0); /* goes before an address that is not canonical */
            goto exception;
        }
        switch (x86_sse_mem_size(insn, op)) {
        case 1: LOAD(8, ea, m.q[0]); break;
        case 2: LOAD(16, ea, m.q[0]); break;
        case 4: LOAD(32, ea, m.q[0]); break;
        case 8: LOAD(64, ea, m.q[0]); break;
        default: {
            const InterpTlbEntry *e = interp_tlb_entry(c->ic.tlb, ea);
            if (likely(TLB_HIT(e->tag_r, ea, 16))) {
                const void *p = (const void *)(uintptr_t)(ea + e->addend);
                m.q[0] = interp_ram_ld64(p);
                m.q[1] = interp_ram_ld64((const char *)p + 8);
            } else if (unlikely(!x86_load_block(c, ea, &m, 16))) {
                goto exception;
            }
        }
        }
        c->insn_pc = INSN_PC();
        if (unlikely(!x86_sse_run(c, insn, op, &m)))
            goto exception;
        NEXT();
    }
    OP(SSE_MR)
    sse_mr:
    {
        const X86SseInsn *insn = op->fn;
        X86Xmm m;
        uint64_t ea = EA();
        if (unlikely((insn->flags & X86_SSE_ALIGN16) && (ea & 15))) {
            x86_gp(c, 0); /* goes before an address that is not canonical */
            goto exception;
        }
        c->insn_pc = INSN_PC();
        /* the switch to MMX must not happen if the store faults */
        if (unlikely((insn->flags & X86_SSE_MMX) && !x86_x87_pending(&c->fpu) &&
                     !x86_probe(c, ea, x86_sse_mem_size(insn, op), true)))
            goto exception;
        if (unlikely(!x86_sse_run(c, insn, op, &m)))
            goto exception;
        switch (x86_sse_mem_size(insn, op)) {
        case 1: STORE(8, ea, m.b[0]); break;
        case 2: STORE(16, ea, m.w[0]); break;
        case 4: STORE(32, ea, m.d[0]); break;
        case 8: STORE(64, ea, m.q[0]); break;
        default: {
            const InterpTlbEntry *e = interp_tlb_entry(c->ic.tlb, ea);
            if (likely(TLB_HIT(e->tag_w, ea, 16))) {
                void *p = (void *)(uintptr_t)(ea + e->addend);
                interp_ram_st64(p, m.q[0]);
                interp_ram_st64((char *)p + 8, m.q[1]);
            } else if (unlikely(!x86_store_block(c, ea, &m, 16))) {
                goto exception;
            }
        }
        }
        STORED();
        NEXT();
    }

    OP(AVX)
    avx:
    {
        c->insn_pc = INSN_PC();
        if (unlikely(!x86_avx_run(c, op, AVX_EA())))
            goto exception;
        STORED();
        NEXT();
    }

#include "exec-sse.inc"

    OP(JMP)
    {
        k = 1;
        REG(REG_PC) = (REG(REG_PC) + op->imm) & c->pc_mask;
        goto follow;
    }
    OP(JMP_R)
    {
        uint64_t to = R64(op->s) & c->pc_mask;
        CHECK_TARGET(to);
        REG(REG_PC) = to;
        goto lookup;
    }
    OP(CALL64)
    {
        STORE(64, REG(RSP) - 8, INSN_PC() + op->length);
        REG(RSP) -= 8;
        c->ic.code_hit = false;
        k = 1;
        REG(REG_PC) += op->imm;
        goto follow;
    }
    OP(CALL64_R)
    {
        uint64_t to = R64(op->s);
        if (unlikely((int64_t)(to << 16) >> 16 != (int64_t)to)) { /* after the push, which is not done */
            if (x86_probe(c, REG(RSP) - 8, 8, true))
                x86_gp(c, 0);
            goto exception;
        }
        STORE(64, REG(RSP) - 8, INSN_PC() + op->length);
        REG(RSP) -= 8;
        c->ic.code_hit = false;
        REG(REG_PC) = to;
        goto lookup;
    }
    OP(CALL32)
    {
        uint32_t sp = R32(RSP * 8) - 4;
        STORE(32, sp, (uint32_t)(INSN_PC() + op->length));
        REG(RSP) = sp;
        c->ic.code_hit = false;
        k = 1;
        REG(REG_PC) = (uint32_t)(REG(REG_PC) + op->imm);
        goto follow;
    }
    OP(CALL32_R)
    {
        uint32_t sp = R32(RSP * 8) - 4, to = R32(op->s);
        STORE(32, sp, (uint32_t)(INSN_PC() + op->length));
        REG(RSP) = sp;
        c->ic.code_hit = false;
        REG(REG_PC) = to;
        goto lookup;
    }
    OP(RET64)
    {
        uint64_t v;
        LOAD(64, REG(RSP), v);
        CHECK_TARGET(v);
        REG(RSP) += 8 + op->imm;
        REG(REG_PC) = v;
        goto lookup;
    }
    OP(RET32)
    {
        uint32_t v;
        LOAD(32, R32(RSP * 8), v);
        REG(RSP) = (uint32_t)(REG(RSP) + 4 + op->imm);
        REG(REG_PC) = v;
        goto lookup;
    }

    ANY_TESTS(JCC_ONE, JCC)
    FUSED_ALL(SUB_TESTS, CMPJ_RR, WORK_CMP_RR)
    FUSED_ALL(SUB_TESTS, CMPJ_RI, WORK_CMP_RI)
    FUSED_ALL(LOGIC_TESTS, TESTJ_RR, WORK_TEST_RR)
    FUSED_WIDE(SUB_TESTS, SUBJ_RR, WORK_SUB_RR)
    FUSED_WIDE(SUB_TESTS, SUBJ_RI, WORK_SUB_RI)
    FUSED_WIDE(DEC_TESTS, DECJ, WORK_DEC)
    FUSED_WIDE(LOGIC_TESTS, ANDJ_RR, WORK_AND_RR)
    FUSED_WIDE(LOGIC_TESTS, ANDJ_RI, WORK_AND_RI)
    FUSED_WIDE(SUB_TESTS, CMPJ_RM, WORK_CMP_RM)
    FUSED_WIDE(SUB_TESTS, CMPJ_MR, WORK_CMP_MR)
    FUSED_ALL(SUB_TESTS, CMPJ_MI, WORK_CMP_MI)
    FUSED_ALL(LOGIC_TESTS, TESTJ_RI, WORK_TEST_RI)
    FUSED_ALL(LOGIC_TESTS, TESTJ_MI, WORK_TEST_MI)

#if defined(INTERP_SWITCH)
    }
#endif

taken:
    k = 1;
    REG(REG_PC) = (REG(REG_PC) + (uint64_t)(int64_t)op->disp) & c->pc_mask;
    goto follow;
not_taken:
    k = 0;
    REG(REG_PC) = (REG(REG_PC) + (unsigned)(op->b | op->i << 8)) & c->pc_mask;
follow:
    if (likely(blk->link_gen[k] >= c->ic.map_gen)) {
        blk = blk->next[k];
        goto enter;
    }
    {
        InterpBlock *from = blk;
        uint64_t pool_gen = c->ic.pool_gen;
        blk = x86_block(c, 0);
        if (unlikely(!blk))
            return;
        if (pool_gen == c->ic.pool_gen)
            x86_link(c, from, k, blk, op);
        goto enter;
    }

lookup: {
    uint64_t pc = REG(REG_PC) + ((c->key & KEY_CODE_MASK) == KEY_CODE64 ? 0 : REG(REG_BASE_CS));
    const InterpJump *j = &c->ic.jumps[(pc ^ pc >> INTERP_JUMP_BITS) & ((1u << INTERP_JUMP_BITS) - 1)];
    if (likely(j->pc == pc && j->gen == c->ic.map_gen && j->key == c->key && !j->block->dead)) {
        blk = j->block;
        goto enter;
    }
    blk = x86_block(c, 0);
    if (unlikely(!blk))
        return;
    goto enter;
}

code_changed:
    /* The op wrote to translated code: go on behind this instruction, freshly decoded.  What
       follows of a multi-op instruction is never after its store. */
    c->ic.code_hit = false;
    c->ic.icount -= (uint64_t)(blk->insns - op->index - 1);
    REG(REG_PC) = (INSN_PC() + op->length) & c->pc_mask;
    goto lookup;

exception:
    if (unlikely(c->exc_canonical))
        x86_exception_segment(c, blk, op);
    /* RIP of the faulting instruction; those before it were executed. */
    c->ic.icount -= (uint64_t)(blk->insns - op->index);
    REG(REG_PC) = INSN_PC() & c->pc_mask;
    c->ic.code_hit = false;
}
