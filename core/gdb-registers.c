/*
 * core/gdb-registers.c - x86-64 registers by GDB's numbers, and the target description that says so.
 *
 * After gdb/features/i386 of GDB: core, sse, avx, segments; system registers besides.  Those of
 * x87, SSE and AVX come from the XSAVE image (SDM volume 1, section 13.4).
 */
#include "gdb-registers.h"

#include <string.h>

typedef enum Where { IN_STATE, SELECTOR, ST, X87, XMM, MXCSR, YMM, MSR } Where;

typedef struct Reg {
    const char *name, *type;
    uint8_t bytes;
    Where where;
    uint16_t at; /* offset in the state, number, or offset in the XSAVE image */
    bool readonly;
} Reg;

#define S(name_, type_, bytes_, member_) {name_, type_, bytes_, IN_STATE, offsetof(VmrX86State, member_), false}
#define R(name_, n_) S(name_, "int64", 8, gpr[n_])
#define SEG(name_, n_) {name_, "int32", 4, SELECTOR, n_, true}
#define STN(n_) {"st" #n_, "i387_ext", 10, ST, n_, false}
#define FPU(name_, n_) {name_, "int", 4, X87, n_, true}
#define X(n_) {"xmm" #n_, "vec128", 16, XMM, n_, false}
#define Y(n_) {"ymm" #n_ "h", "uint128", 16, YMM, n_, false}
#define SYS(name_, member_) {name_, "int64", 8, IN_STATE, offsetof(VmrX86State, member_), true}

static const Reg core[] = {
    R("rax", 0), R("rbx", 3), R("rcx", 1), R("rdx", 2), R("rsi", 6), R("rdi", 7),
    S("rbp", "data_ptr", 8, gpr[5]), S("rsp", "data_ptr", 8, gpr[4]),
    R("r8", 8), R("r9", 9), R("r10", 10), R("r11", 11), R("r12", 12), R("r13", 13), R("r14", 14), R("r15", 15),
    S("rip", "code_ptr", 8, rip), S("eflags", "i386_eflags", 4, rflags),
    SEG("cs", VMR_X86_CS), SEG("ss", VMR_X86_SS), SEG("ds", VMR_X86_DS), SEG("es", VMR_X86_ES),
    SEG("fs", VMR_X86_FS), SEG("gs", VMR_X86_GS),
    STN(0), STN(1), STN(2), STN(3), STN(4), STN(5), STN(6), STN(7),
    FPU("fctrl", 0), FPU("fstat", 1), FPU("ftag", 2), FPU("fiseg", 3), FPU("fioff", 4), FPU("foseg", 5),
    FPU("fooff", 6), FPU("fop", 7), {0}};
static const Reg sse[] = {
    X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15),
    {"mxcsr", "i386_mxcsr", 4, MXCSR, 24, false}, {0}};
static const Reg avx[] = {
    Y(0), Y(1), Y(2), Y(3), Y(4), Y(5), Y(6), Y(7), Y(8), Y(9), Y(10), Y(11), Y(12), Y(13), Y(14), Y(15), {0}};
static const Reg segments[] = {
    S("fs_base", "int64", 8, seg[VMR_X86_FS].base), S("gs_base", "int64", 8, seg[VMR_X86_GS].base), {0}};
static const Reg system_registers[] = {
    {"k_gs_base", "int64", 8, MSR, 0, true}, SYS("cr0", cr0), SYS("cr2", cr2), SYS("cr3", cr3), SYS("cr4", cr4),
    SYS("efer", efer), SYS("xcr0", xcr0), SYS("tsc", tsc), {0}};
enum { MSR_KERNEL_GS_BASE = 0xc0000102 };

static const struct {
    const char *feature, *types;
    const Reg *regs;
} features[] = {
    {"org.gnu.gdb.i386.core",
     "<flags id=\"i386_eflags\" size=\"4\">"
     "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
     "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
     "<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
     "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
     "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
     "<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
     "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
     "<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"
     "<field name=\"ID\" start=\"21\" end=\"21\"/></flags>", core},
    {"org.gnu.gdb.i386.sse",
     "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
     "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
     "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
     "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
     "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
     "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
     "<field name=\"uint128\" type=\"uint128\"/></union>"
     "<flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/>"
     "<field name=\"DE\" start=\"1\" end=\"1\"/><field name=\"ZE\" start=\"2\" end=\"2\"/>"
     "<field name=\"OE\" start=\"3\" end=\"3\"/><field name=\"UE\" start=\"4\" end=\"4\"/>"
     "<field name=\"PE\" start=\"5\" end=\"5\"/><field name=\"DAZ\" start=\"6\" end=\"6\"/>"
     "<field name=\"FZ\" start=\"15\" end=\"15\"/></flags>", sse},
    {"org.gnu.gdb.i386.avx", "", avx},
    {"org.gnu.gdb.i386.segments", "", segments},
    {"org.vmrun.x86.system", "", system_registers},
};

static const Reg *find(unsigned n)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(features); f++)
        for (const Reg *r = features[f].regs; r->name; r++)
            if (n-- == 0)
                return r;
    return NULL;
}

char *vmr_gdb_target_xml(void)
{
    GString *x = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                              "<target version=\"1.0\"><architecture>i386:x86-64</architecture>");
    for (unsigned f = 0; f < G_N_ELEMENTS(features); f++) {
        g_string_append_printf(x, "<feature name=\"%s\">%s", features[f].feature, features[f].types);
        for (const Reg *r = features[f].regs; r->name; r++)
            g_string_append_printf(x, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", r->name, r->bytes * 8u, r->type);
        g_string_append(x, "</feature>");
    }
    g_string_append(x, "</target>");
    return g_string_free(x, FALSE);
}

/* What XSTATE_BV says is as after a reset is made so in the image. */
static void spread(VmrX86State *s)
{
    uint8_t *x = s->xsave;
    if (!(x[512] & 1)) {
        memset(x, 0, 24);
        memset(x + 32, 0, 128);
        x[0] = 0x7f;
        x[1] = 3;
    }
    if (!(x[512] & 2))
        memset(x + 160, 0, 256);
    if (!(x[512] & 4))
        memset(x + 576, 0, 256);
    x[512] |= 3 | (s->xcr0 & 4);
}

static uint32_t x87(const uint8_t *x, unsigned n)
{
    uint16_t words[4]; /* FCW, FSW, FTW, FOP */
    memcpy(words, x, sizeof words);
    uint32_t tags = 0;
    switch (n) {
    case 0: return words[0];
    case 1: return words[1];
    case 2: /* empty, or not */
        for (unsigned i = 0; i < 8; i++)
            tags |= words[2] >> i & 1 ? 0 : 3u << (2 * i);
        return tags;
    case 4: memcpy(&tags, x + 8, 4); return tags;
    case 6: memcpy(&tags, x + 16, 4); return tags;
    case 7: return words[3];
    default: return 0; /* the segments are not there in 64-bit mode */
    }
}

static uint64_t kernel_gs(const VmrX86State *s)
{
    for (unsigned i = 0; i < s->msr_count; i++)
        if (s->msr[i].index == MSR_KERNEL_GS_BASE)
            return s->msr[i].value;
    return 0;
}

/* Where it stands as it is, or NULL. */
static void *place(VmrX86State *s, const Reg *r)
{
    switch (r->where) {
    case IN_STATE: return (uint8_t *)s + r->at;
    case ST: return s->xsave + 32 + 16 * r->at;
    case XMM: return s->xsave + 160 + 16 * r->at;
    case YMM: return s->xsave + 576 + 16 * r->at;
    case MXCSR: return s->xsave + r->at;
    default: return NULL;
    }
}

unsigned vmr_gdb_register_read(VmrX86State *s, unsigned n, uint8_t *to)
{
    const Reg *r = find(n);
    if (!r)
        return 0;
    spread(s);
    uint64_t v = 0;
    const void *from = place(s, r);
    if (!from) {
        v = r->where == SELECTOR ? s->seg[r->at].selector : r->where == MSR ? kernel_gs(s) : x87(s->xsave, r->at);
        from = &v;
    }
    memcpy(to, from, r->bytes);
    return r->bytes;
}

unsigned vmr_gdb_register_write(VmrX86State *s, unsigned n, const uint8_t *from)
{
    const Reg *r = find(n);
    if (!r)
        return 0;
    spread(s);
    void *to = place(s, r);
    if (to && !r->readonly)
        memcpy(to, from, r->bytes);
    return r->bytes;
}

unsigned vmr_gdb_register_size(unsigned n)
{
    const Reg *r = find(n);
    return r ? r->bytes : 0;
}
