/*
 * What the Intel SDM (volume 2, and volume 1 appendix A) and the AMD manual
 * (volume 3) leave undefined, instruction by instruction.  Only what is listed
 * here is not compared, and only under the condition that stands there.
 */
#include "oracle.h"

#include <cpuid.h>
#include <stdio.h>

enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, ALL = CF | PF | AF | ZF | SF | OF };

typedef enum When {
    ALWAYS,
    COUNT_ANY,      /* masked count is not 0 */
    COUNT_MANY,     /* masked count is above 1 */
    COUNT_WIDE,     /* masked count is at least the operand's bits */
    COUNT_OVER,     /* masked count is above the operand's bits */
} When;

static const char *const when_text[] = {
    "always", "count is not 0", "count is above 1", "count is not less than the operand's bits",
    "count is above the operand's bits",
};

struct Undef {
    const char *names; /* mnemonics */
    When when;
    uint32_t flags;
    bool result;       /* the destination as well */
    const char *note;
};

static const Undef table[] = {
    {"and or xor test", ALWAYS, AF, false, NULL},
    {"shl shr sar sal", COUNT_MANY, OF, false, NULL},
    {"shl shr sar sal", COUNT_ANY, AF, false, NULL},
    {"shl shr sal", COUNT_WIDE, CF, false, "of 8 and 16 bits"},
    {"rol ror rcl rcr", COUNT_MANY, OF, false, NULL},
    {"shld shrd", COUNT_MANY, OF, false, NULL},
    {"shld shrd", COUNT_ANY, AF, false, NULL},
    {"shld shrd", COUNT_OVER, ALL, true, "of 16 bits"},
    {"mul imul", ALWAYS, SF | ZF | AF | PF, false, NULL},
    {"div idiv", ALWAYS, ALL, false, NULL},
    {"bsf bsr", ALWAYS, CF | OF | SF | AF | PF, false,
     "the destination for a source of zero, undefined by Intel's word, is compared: all silicon leaves it"},
    {"bt bts btr btc", ALWAYS, OF | SF | AF | PF, false, NULL},
    {"tzcnt lzcnt", ALWAYS, OF | SF | AF | PF, false, NULL},
    {"bextr", ALWAYS, AF | SF | PF, false, NULL},
    {"blsi blsmsk blsr bzhi", ALWAYS, AF | PF, false, NULL},
    {"andn", ALWAYS, AF | PF, false, NULL},
    {"maskmovq maskmovdqu", ALWAYS, 0, false, "whether it faults when the mask is all zeros"},
};

const Undef *undef_find(const char *mnemonic)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        g_auto(GStrv) names = g_strsplit(table[i].names, " ", -1);
        if (g_strv_contains((const gchar *const *)names, mnemonic))
            return &table[i];
    }
    return NULL;
}

static bool holds(const Undef *u, const Case *c, const Form *f)
{
    unsigned count = f->imm ? c->imm : f->special == SP_SHIFT ? c->in.gpr[1] & 0xff : 1;
    unsigned bits = 8u << f->size;
    count &= f->size == 3 ? 63 : 31;
    switch (u->when) {
    case ALWAYS: return true;
    case COUNT_ANY: return count != 0;
    case COUNT_MANY: return count > 1;
    case COUNT_WIDE: return count >= bits;
    case COUNT_OVER: return count > bits;
    }
    return false;
}

/* All rows of the same instruction follow one another. */
static bool same(const Undef *a, const Undef *b)
{
    return b < table + G_N_ELEMENTS(table) &&
           strncmp(a->names, b->names, strcspn(a->names, " ")) == 0;
}

uint32_t undef_flags(const Undef *u, const Case *c, const Form *f)
{
    uint32_t flags = 0;
    if (!u)
        return 0;
    for (const Undef *r = u; same(u, r); r++)
        if ((r != table + 3 || !strstr(f->name, "sar")) && holds(r, c, f))
            flags |= r->flags;
    return flags;
}

bool undef_result(const Undef *u, const Case *c, const Form *f)
{
    if (!u)
        return false;
    for (const Undef *r = u; same(u, r); r++)
        if (r->result && holds(r, c, f))
            return true;
    return false;
}

/*
 * Where silicon of the two vendors differs, and which one the interpreter, a GenuineIntel, follows.
 * What says "adapted" is compared on the other vendor's CPUs, too: vendor_adapt() makes of their
 * result, checked to be theirs, what it would be.
 */
static const struct { const char *what, *who; } vendors[] = {
    {"CALL, JMP, RET, Jcc near with 66: Intel ignores it, AMD has 16-bit operands", "Intel; not generated"},
    {"MOVSXD r16, m: Intel reads 16 bits, AMD 32", "Intel; register form only"},
    {"SHA with a memory operand that is not aligned: #GP by Intel's manual, Zen does it", "Intel; aligned only"},
    {"MXCSR bit 17 (misaligned SSE): AMD only", "Intel: #GP; not generated"},
    {"FIP, FDP, FOP: AMD saves them only with a pending exception", "Intel; compared when pending"},
    {"BSF, BSR r32 of zero: AMD leaves all 64 bits, some Intel clear the upper half", "AMD"},
    {"CVTPI2PS from memory: the SDM says it switches to MMX, silicon does not", "silicon"},
    {"FLDENV, 16-bit: FOP is cleared by AMD", "AMD"},
    {"REP with 32-bit addresses: Intel clears the upper half of RCX, MOVS's RSI and RDI, STOS's RDI, even if "
     "no step is done; AMD with the first step", "Intel; AMD's adapted"},
    {"REP CMPS, SCAS that fault: Intel restores the flags (SDM, REP), AMD's are the last comparison's",
     "Intel; AMD's adapted"},
    {"VGATHER that faults: Intel widens what is left of the mask (SDM), and clears above the operand; AMD does not",
     "Intel; AMD's adapted"},
    {"VCVTPS2PH to memory: with Intel #XM goes before #PF and #GP, which leave MXCSR's flags set",
     "Intel; AMD's adapted"},
    {"DPPS, DPPD of several NaNs: the order of the additions chooses which", "Intel; AMD's any NaN"},
    {"MMX store that faults: Intel may have TOP 0 or all tags valid already, AMD in MASKMOVQ",
     "neither: a fault changes nothing; adapted"},
    {"Store of x87 whose unmasked exception stores nothing: AMD raises #PF of its page, Intel does not",
     "Intel; AMD's adapted"},
    {"Store of 10 bytes by x87 that faults in its second page: Intel has written to the first",
     "AMD: a fault changes nothing; Intel's adapted"},
    {"CALL to an address that is not canonical: Intel has pushed, though RSP is as before",
     "AMD, and the manuals: nothing is written; Intel's adapted"},
    {"VCVTPS2PH of denormals with an unmasked underflow: Intel says inexact, too", "Intel; AMD's adapted"},
    {"CR2 of an operand longer than a register, or under a mask: its first byte, its last, or that of a part",
     "neither: any byte of it will do"},
};

static bool intel(void)
{
    static int known = -1;
    unsigned a, b, c, d;
    if (known < 0)
        known = __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx;
    return known;
}

const char *vendor_name(void) { return intel() ? "Intel" : "AMD or alike"; }

static bool nan32(uint64_t v) { return (v & 0x7fffffff) > 0x7f800000; }
static bool nan64(uint64_t v) { return (v & ~(1ull << 63)) > 0x7ffull << 52; }

/* Two vectors' halves: NaNs may be others where both are. */
static void any_nan(uint64_t *h, uint64_t g, bool single)
{
    if (!single) {
        if (nan64(*h) && nan64(g))
            *h = g;
        return;
    }
    for (unsigned shift = 0; shift < 64; shift += 32)
        if (nan32(*h >> shift) && nan32(g >> shift))
            *h = (*h & ~(0xffffffffull << shift)) | (g & 0xffffffffull << shift);
}

static void adapt_mmx_store(const Case *c, Result *h)
{
    unsigned top = c->in.fx.sw >> 11 & 7;
    if (h->s.fx.tag == 0xff)
        h->s.fx.tag = c->in.fx.tag;
    if (h->s.fx.sw >> 11 & 7)
        return;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(&h->s.fx.st[(i + top) & 7], &c->in.fx.st[i], 10))
            return;
    memcpy(h->s.fx.st, c->in.fx.st, sizeof h->s.fx.st);
    h->s.fx.sw |= (uint16_t)(top << 11);
}

/* A faulting store has written the first of its two parts: as before. */
static void unwrite(uint8_t *window, const uint8_t *before, uint64_t window_at, uint64_t at, unsigned bytes,
                    unsigned window_bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        if (at + i - window_at < window_bytes)
            window[at + i - window_at] = before[at + i - window_at];
}

/* What is left of a mask, as wide as the elements. */
static void adapt_gather(const Case *c, const Form *f, Result *h)
{
    unsigned at = 0; /* of C4, behind prefixes */
    while (at < CODE_MAX - 3 && c->code[at] != 0xc4)
        at++;
    unsigned v = ~(unsigned)c->code[at + 2] >> 3 & 15, size = f->vex_w ? 8 : 4, bytes = f->vex_l ? 32 : 16;
    uint8_t mask[32], was[32];
    memcpy(mask, h->s.fx.xmm[v], 16);
    memcpy(mask + 16, h->s.ymmh[v], 16);
    memcpy(was, c->in.fx.xmm[v], 16);
    memcpy(was + 16, c->in.ymmh[v], 16);
    bool begun = false;
    for (unsigned i = 0; i < sizeof mask; i += size) {
        begun |= i < bytes && was[i + size - 1] >> 7 && memcmp(mask + i, was + i, size);
        memset(mask + i, i < bytes && mask[i + size - 1] >> 7 ? 0xff : 0, size);
    }
    memcpy(h->s.fx.xmm[v], mask, 16);
    memcpy(h->s.ymmh[v], mask + 16, 16);
    unsigned reg = (c->modrm >> 3 & 7) | (c->code[at + 1] & 0x80 ? 0 : 8);
    if (begun && bytes == 16)
        memset(h->s.ymmh[reg], 0, 16);
}

bool vendor_adapt(const Case *c, Result *h, const Result *g)
{
    const Form *f = c->form < forms->len ? forms->pdata[c->form] : NULL;
    bool fault = h->s.rip == c->in.rip && h->vector >= 12 && h->vector <= 17 && h->vector != 16;
    if (!f)
        return true;
    if (intel()) {
        if (fault && f->map == 1 && !f->vex && !f->prefix && g_str_equal(f->group, "vector-0f"))
            adapt_mmx_store(c, h);
        if (fault && g_str_equal(f->group, "x87") && f->bytes == 10 && h->cr2 != c->operand_at)
            unwrite(h->data, c->data, c->data_at, c->operand_at, PAGE - (c->operand_at & (PAGE - 1)), DATA_WINDOW);
        uint64_t back = c->in.rip + c->length, slot = c->in.gpr[4] - 8, pushed = 0;
        if (fault && h->vector == 13 && f->special == SP_JUMP_IND && f->ext == 2) {
            if (slot - c->stack_at <= STACK_WINDOW - 8)
                memcpy(&pushed, h->stack + (slot - c->stack_at), 8);
            if (pushed == back)
                unwrite(h->stack, c->stack, c->stack_at, slot, 8, STACK_WINDOW);
        }
        return true;
    }
    if (fault && f->map == 1 && !f->vex && !f->prefix && f->opcode == 0xf7)
        adapt_mmx_store(c, h);
    if (fault && g_str_equal(f->group, "x87") && g->s.fx.sw & 0x80 && g->s.rip != c->in.rip)
        return false;
    if (f->special == SP_STRING && f->rep && f->as32) {
        unsigned op = f->opcode & 0xfe;
        h->s.gpr[1] &= 0xffffffff;
        if (op == 0xa4)
            h->s.gpr[6] &= 0xffffffff;
        if (op == 0xa4 || op == 0xaa)
            h->s.gpr[7] &= 0xffffffff;
    }
    if (f->special == SP_STRING && f->rep && fault && ((f->opcode & 0xfe) == 0xa6 || (f->opcode & 0xfe) == 0xae))
        h->s.rflags = (h->s.rflags & ~(uint64_t)ALL) | (c->in.rflags & ALL);
    if (f->special == SP_GATHER && fault)
        adapt_gather(c, f, h);
    if (f->vex && f->map == 3 && f->opcode == 0x1d && f->operand == OPERAND_MEM && fault) {
        if (g->vector == 19)
            return false;
        if (h->s.fx.mxcsr == c->in.fx.mxcsr)
            h->s.fx.mxcsr = (g->s.fx.mxcsr & 0x3f) | (h->s.fx.mxcsr & ~0x3fu);
    }
    if (f->vex && f->map == 3 && f->opcode == 0x1d && h->vector == 19 && (h->s.fx.mxcsr & 0x12) == 0x12)
        h->s.fx.mxcsr |= g->s.fx.mxcsr & 0x20;
    if (f->map == 3 && (f->opcode == 0x40 || f->opcode == 0x41) && f->prefix == 0x66)
        for (unsigned i = 0; i < 32; i++) {
            any_nan(&h->s.fx.xmm[i / 2][i & 1], g->s.fx.xmm[i / 2][i & 1], f->opcode == 0x40);
            any_nan(&h->s.ymmh[i / 2][i & 1], g->s.ymmh[i / 2][i & 1], f->opcode == 0x40);
        }
    return true;
}

/* What the interpreter is known not to do as silicon does. */
static const char *const known[] = {
    "VDPPS of 32 bytes with an unmasked exception: the two lanes' flags are not combined stage by stage",
};

bool known_deviation(const Case *c, const Result *h, const Result *g)
{
    uint32_t mx = h->s.fx.mxcsr;
    const Form *f = c->form < forms->len ? forms->pdata[c->form] : NULL;
    if (h->vector != 19 || g->vector != 19)
        return false;
    return f && f->vex_l && f->map == 3 && f->opcode == 0x40 && !((mx ^ g->s.fx.mxcsr) & ~0x3fu);
}

void undef_print(void)
{
    printf("What is undefined by the manuals and therefore not compared:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        static const struct { uint32_t bit; const char *name; } names[] = {
            {CF, "CF"}, {PF, "PF"}, {AF, "AF"}, {ZF, "ZF"}, {SF, "SF"}, {OF, "OF"}};
        printf("  %-24s", table[i].names);
        for (unsigned k = 0; k < G_N_ELEMENTS(names); k++)
            if (table[i].flags & names[k].bit)
                printf(" %s", names[k].name);
        printf("%s: %s", table[i].result ? " destination" : "", when_text[table[i].when]);
        printf(table[i].note ? " (%s)\n" : "\n", table[i].note);
    }
    printf("\nWhere the vendors differ (this host's CPU: %s):\n", vendor_name());
    for (unsigned i = 0; i < G_N_ELEMENTS(vendors); i++)
        printf("  %s\n    followed: %s\n", vendors[i].what, vendors[i].who);
    printf("\nKnown deviations of the interpreter, allowed for where exactly this happens:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
        printf("  %s\n", known[i]);
}
