/*
 * What the Intel SDM (volume 2, and volume 1 appendix A) and the AMD manual
 * (volume 3) leave undefined, instruction by instruction.  Only what is listed
 * here is not compared, and only under the condition that stands there.
 */
#include "oracle.h"

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

/* Where silicon of the two vendors differs, and which one the interpreter, a GenuineIntel, follows. */
static const struct { const char *what, *who; } vendors[] = {
    {"CALL, JMP, RET, Jcc near with 66: Intel ignores it, AMD has 16-bit operands", "Intel; not generated"},
    {"MOVSXD r16, m: Intel reads 16 bits, AMD 32", "Intel; register form only"},
    {"SHA with a memory operand that is not aligned: #GP by Intel's manual, Zen does it", "Intel; aligned only"},
    {"MXCSR bit 17 (misaligned SSE): AMD only", "Intel: #GP; not generated"},
    {"FIP, FDP, FOP: AMD saves them only with a pending exception", "Intel; compared when pending"},
    {"BSF, BSR r32 of zero: AMD leaves all 64 bits, some Intel clear the upper half", "AMD"},
    {"CVTPI2PS from memory: the SDM says it switches to MMX, silicon does not", "AMD"},
    {"VGATHER that faults: Intel's manual widens what is left of the mask, AMD leaves it", "AMD"},
    {"FLDENV, 16-bit: FOP is cleared by AMD", "AMD"},
    {"CR2 of an operand longer than a register: AMD says its last byte", "neither: any byte of it will do"},
};

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
    printf("\nWhere the vendors differ:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(vendors); i++)
        printf("  %s\n    followed: %s\n", vendors[i].what, vendors[i].who);
    printf("\nKnown deviations of the interpreter, allowed for where exactly this happens:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
        printf("  %s\n", known[i]);
}
