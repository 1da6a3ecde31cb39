/*
 * The x87 opcode map and the memory images of its environment: Intel SDM volume 2, appendix A.5,
 * and volume 1, section 8.1.10.
 */
#include <string.h>

#include "x87.h"

#define L (X86_X87_LOAD | X86_X87_WAIT | X86_X87_NOTE)
#define S (X86_X87_STORE | X86_X87_WAIT | X86_X87_NOTE)
#define LC (X86_X87_LOAD | X86_X87_WAIT) /* control instructions */
#define SC X86_X87_STORE

#define ARITH(size, p)                                                                             \
    { { p "add", size, L }, { p "mul", size, L }, { p "com", size, L }, { p "comp", size, L },     \
      { p "sub", size, L }, { p "subr", size, L }, { p "div", size, L }, { p "divr", size, L } }

/* By opcode - D8 and ModRM.reg, with the sizes of the 16-bit environment. */
static const X86X87Insn mem_forms[8][8] = {
    ARITH(4, "f"),
    { { "fld", 4, L },
      { 0 },
      { "fst", 4, S },
      { "fstp", 4, S },
      { "fldenv", 14, LC },
      { "fldcw", 2, LC },
      { "fnstenv", 14, SC },
      { "fnstcw", 2, SC } },
    ARITH(4, "fi"),
    { { "fild", 4, L },
      { "fisttp", 4, S | X86_X87_SSE3 },
      { "fist", 4, S },
      { "fistp", 4, S },
      { 0 },
      { "fld", 10, L },
      { 0 },
      { "fstp", 10, S } },
    ARITH(8, "f"),
    { { "fld", 8, L },
      { "fisttp", 8, S | X86_X87_SSE3 },
      { "fst", 8, S },
      { "fstp", 8, S },
      { "frstor", 94, LC },
      { 0 },
      { "fnsave", 94, SC },
      { "fnstsw", 2, SC } },
    ARITH(2, "fi"),
    { { "fild", 2, L },
      { "fisttp", 2, S | X86_X87_SSE3 },
      { "fist", 2, S },
      { "fistp", 2, S },
      { "fbld", 10, L },
      { "fild", 8, L },
      { "fbstp", 10, S },
      { "fistp", 8, S } },
};

static const X86X87Insn env32[4] = {
    { "fldenv", 28, LC }, { "fnstenv", 28, SC }, { "frstor", 108, LC }, { "fnsave", 108, SC },
};

#define R(name) { name, 0, X86_X87_WAIT | X86_X87_NOTE }
#define RF(name) { name, 0, X86_X87_WAIT | X86_X87_NOTE | X86_X87_EFLAGS | X86_X87_CMOV }
#define RM(name) { name, 0, X86_X87_WAIT | X86_X87_NOTE | X86_X87_CMOV }
#define RC(name) { name, 0, 0 }

/* Where all eight ModRM.rm are ST(i). */
static const X86X87Insn reg_forms[8][8] = {
    { R("fadd"), R("fmul"), R("fcom"), R("fcomp"), R("fsub"), R("fsubr"), R("fdiv"), R("fdivr") },
    { R("fld"), R("fxch"), { 0 }, R("fstp"), { 0 }, { 0 }, { 0 }, { 0 } },
    { RM("fcmovb"), RM("fcmove"), RM("fcmovbe"), RM("fcmovu"), { 0 }, { 0 }, { 0 }, { 0 } },
    { RM("fcmovnb"), RM("fcmovne"), RM("fcmovnbe"), RM("fcmovnu"), { 0 }, RF("fucomi"), RF("fcomi"),
      { 0 } },
    { R("fadd"), R("fmul"), R("fcom"), R("fcomp"), R("fsubr"), R("fsub"), R("fdivr"), R("fdiv") },
    { R("ffree"), R("fxch"), R("fst"), R("fstp"), R("fucom"), R("fucomp"), { 0 }, { 0 } },
    { R("faddp"), R("fmulp"), R("fcomp"), { 0 }, R("fsubrp"), R("fsubp"), R("fdivrp"), R("fdivp") },
    { R("ffreep"), R("fxch"), R("fstp"), R("fstp"), { 0 }, RF("fucomip"), RF("fcomip"), { 0 } },
};

static const X86X87Insn d9_forms[32] = {
    /* D9 E0..FF */
    R("fchs"),    R("fabs"),    { 0 },        { 0 },       R("ftst"),    R("fxam"),   { 0 },
    { 0 },        R("fld1"),    R("fldl2t"),  R("fldl2e"), R("fldpi"),   R("fldlg2"), R("fldln2"),
    R("fldz"),    { 0 },        R("f2xm1"),   R("fyl2x"),  R("fptan"),   R("fpatan"), R("fxtract"),
    R("fprem1"),  R("fdecstp"), R("fincstp"), R("fprem"),  R("fyl2xp1"), R("fsqrt"),  R("fsincos"),
    R("frndint"), R("fscale"),  R("fsin"),    R("fcos"),
};

static const struct {
    uint8_t opcode, modrm;
    X86X87Insn insn;
} single_forms[] = {
    { 0xd9, 0xd0, R("fnop") },
    { 0xda, 0xe9, R("fucompp") },
    { 0xdb, 0xe0, RC("fneni") },
    { 0xdb, 0xe1, RC("fndisi") },
    { 0xdb, 0xe2, RC("fnclex") },
    { 0xdb, 0xe3, RC("fninit") },
    { 0xdb, 0xe4, RC("fnsetpm") },
    { 0xde, 0xd9, R("fcompp") },
    { 0xdf, 0xe0, { "fnstsw", 0, X86_X87_AX } },
};

const X86X87Insn *x86_x87_lookup(uint8_t opcode, uint8_t modrm, unsigned mode)
{
    if (opcode < 0xd8 || opcode > 0xdf)
        return NULL;
    unsigned row = opcode - 0xd8, reg = modrm >> 3 & 7;
    const X86X87Insn *insn;
    if (modrm < 0xc0) {
        insn = &mem_forms[row][reg];
        if (mode & X86_X87_OP32 && (row == 1 || row == 5) && (reg == 4 || reg == 6) && insn->name)
            insn = &env32[(row == 5 ? 2 : 0) + (reg == 6)];
    } else if (opcode == 0xd9 && modrm >= 0xe0) {
        insn = &d9_forms[modrm - 0xe0];
    } else {
        insn = &reg_forms[row][reg];
        for (size_t i = 0; !insn->name && i < sizeof(single_forms) / sizeof(single_forms[0]); i++) {
            if (single_forms[i].opcode == opcode && single_forms[i].modrm == modrm)
                insn = &single_forms[i].insn;
        }
    }
    return insn->name ? insn : NULL;
}

/* ------------------------------------------------------- memory images */

static void put(uint8_t *p, size_t at, uint32_t v, size_t size)
{
    for (size_t i = 0; i < size; i++)
        p[at + i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get(const uint8_t *p, size_t at, size_t size)
{
    uint32_t v = 0;
    for (size_t i = 0; i < size; i++)
        v |= (uint32_t)p[at + i] << 8 * i;
    return v;
}

/* Two bits per physical register: 0 valid, 1 zero, 2 special, 3 empty. */
static uint16_t full_tag(const X86Fpu *f)
{
    unsigned tag = 0;
    for (unsigned i = 0; i < 8; i++) {
        const X86FpReg *r = &f->r[i];
        unsigned exp = r->se & 0x7fff, t = 0;
        if (!(f->tag >> i & 1))
            t = 3;
        else if (!exp && !r->mant)
            t = 1;
        else if (!exp || exp == 0x7fff || !(r->mant >> 63))
            t = 2;
        tag |= t << 2 * i;
    }
    return (uint16_t)tag;
}

void x87_store_env(const X86Fpu *f, void *mem, unsigned mode)
{
    uint8_t *p = mem;
    /* The reserved upper halves of the 32-bit layout read as ones. */
    bool wide = mode & X86_X87_OP32;
    size_t step = wide ? 4 : 2;
    uint32_t pad = wide ? 0xffff0000 : 0;
    put(p, 0, f->cw | pad, step);
    put(p, step, f->sw | pad, step);
    put(p, 2 * step, full_tag(f) | pad, step);
    if (mode & X86_X87_PROT) {
        put(p, 3 * step, (uint32_t)f->fip, step);
        put(p, 4 * step, f->fcs | (uint32_t)f->fop << 16, step);
        put(p, 5 * step, (uint32_t)f->fdp, step);
        put(p, 6 * step, f->fds | pad, step);
        return;
    }
    /* Real mode: linear addresses, of which the upper bits share a word with the opcode. */
    uint32_t ip = (uint32_t)f->fip + ((uint32_t)f->fcs << 4);
    uint32_t dp = (uint32_t)f->fdp + ((uint32_t)f->fds << 4);
    put(p, 3 * step, (ip & 0xffff) | pad, step);
    put(p, 4 * step, (ip >> 16 << 12) | f->fop, step);
    put(p, 5 * step, (dp & 0xffff) | pad, step);
    put(p, 6 * step, dp >> 16 << 12, step);
}

/* The caller recomputes ES. */
void x87_load_env(X86Fpu *f, const void *mem, unsigned mode)
{
    const uint8_t *p = mem;
    size_t step = mode & X86_X87_OP32 ? 4 : 2;
    f->cw = (get(p, 0, 2) & 0x1f7f) | 0x40;
    f->sw = (uint16_t)get(p, step, 2);
    uint32_t tag = get(p, 2 * step, 2);
    f->tag = 0;
    for (unsigned i = 0; i < 8; i++)
        f->tag |= (uint16_t)(((tag >> 2 * i & 3) != 3) << i);
    f->fip = get(p, 3 * step, step);
    f->fdp = get(p, 5 * step, step);
    uint32_t cs = get(p, 4 * step, step), ds = get(p, 6 * step, step);
    if (mode & X86_X87_PROT) {
        f->fcs = (uint16_t)cs;
        f->fds = (uint16_t)ds;
        f->fop = mode & X86_X87_OP32 ? cs >> 16 & 0x7ff : 0;
    } else {
        f->fip = (f->fip & 0xffff) | (uint64_t)(cs >> 12 & 0xffff) << 16;
        f->fdp = (f->fdp & 0xffff) | (uint64_t)(ds >> 12 & 0xffff) << 16;
        f->fop = cs & 0x7ff;
        f->fcs = f->fds = 0;
    }
}

void x87_store_all(const X86Fpu *f, void *mem, unsigned mode)
{
    uint8_t *p = (uint8_t *)mem + (mode & X86_X87_OP32 ? 28 : 14);
    x87_store_env(f, mem, mode);
    for (unsigned i = 0; i < 8; i++, p += 10) {
        const X86FpReg *r = &f->r[((f->sw >> 11) + i) & 7];
        memcpy(p, &r->mant, 8);
        memcpy(p + 8, &r->se, 2);
    }
}

void x87_load_all(X86Fpu *f, const void *mem, unsigned mode)
{
    const uint8_t *p = (const uint8_t *)mem + (mode & X86_X87_OP32 ? 28 : 14);
    x87_load_env(f, mem, mode);
    for (unsigned i = 0; i < 8; i++, p += 10) {
        X86FpReg *r = &f->r[((f->sw >> 11) + i) & 7];
        memcpy(&r->mant, p, 8);
        memcpy(&r->se, p + 8, 2);
    }
}
