/*
 * Cases: random and corner operands for a form, and its bytes.
 */
#include "oracle.h"

/* ---- random numbers: splitmix64 ---------------------------------------------------------- */

typedef struct Gen {
    uint64_t x;
    Case *c;
    uint16_t pinned; /* registers whose values are settled */
    uint8_t *out;
    bool sequence;
} Gen;

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static uint64_t rnd(Gen *g)
{
    return mix(g->x += 0x9e3779b97f4a7c15ull);
}

static unsigned below(Gen *g, unsigned n) { return (unsigned)((rnd(g) >> 33) % n); }
static bool chance(Gen *g, unsigned percent) { return below(g, 100) < percent; }

/* ---- values ---------------------------------------------------------------------------------- */

static uint64_t any_int(Gen *g)
{
    static const uint64_t corners[] = {
        0, 1, 2, ~0ull, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
        0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0x5555555555555555,
        0xaaaaaaaaaaaaaaaa, 0xffffffff80000000, 0x8000800080008000, 0x7fff7fff7fff7fff,
        0x8080808080808080, 0x0f0f0f0f0f0f0f0f};
    uint64_t r = rnd(g);
    switch (below(g, 10)) {
    case 0: return r % 20;
    case 1: return 0 - r % 20;
    case 2: case 3: return corners[below(g, G_N_ELEMENTS(corners))];
    case 4: return corners[below(g, G_N_ELEMENTS(corners))] + r % 5 - 2;
    case 5: return 1ull << (r & 63);
    case 6: return (uint32_t)r;
    default: return r;
    }
}

static uint32_t any_f32(Gen *g)
{
    static const uint32_t corners[] = {
        0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x80800000, 0x3f800000, 0xbf800000,
        0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xffbfffff,
        0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0xdf000000, 0x3f000000, 0x3fc00000, 0x40200000,
        0x4b000000, 0x3effffff, 0x34000000};
    uint32_t r = (uint32_t)rnd(g);
    switch (below(g, 6)) {
    case 0: case 1: return corners[below(g, G_N_ELEMENTS(corners))];
    case 2: return (r & 0x807fffff) | (uint32_t)(110 + below(g, 34)) << 23;  /* near 1 */
    case 3: return (r & 0x807fffff) | (uint32_t)below(g, 4) << 23;           /* tiny */
    case 4: return (r & 0x80780000) | (uint32_t)(120 + below(g, 40)) << 23;  /* few bits */
    default: return r;
    }
}

static uint64_t any_f64(Gen *g)
{
    static const uint64_t corners[] = {
        0, 0x8000000000000000, 1, 0x8000000000000001, 0x000fffffffffffff, 0x0010000000000000,
        0x8010000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7fefffffffffffff,
        0xffefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000,
        0xfff8000000000000, 0x7ff0000000000001, 0xfff7ffffffffffff, 0x41dfffffffc00000,
        0x41e0000000000000, 0xc1e0000000000000, 0xc1e0000000200000, 0x43e0000000000000,
        0xc3e0000000000000, 0x43dfffffffffffff, 0x3fe0000000000000, 0x3ff8000000000000,
        0x4330000000000000, 0x47efffffe0000000, 0x47f0000000000000, 0x3810000000000000,
        0x380fffffffffffff, 0x36a0000000000000, 0x3690000000000000};
    uint64_t r = rnd(g);
    switch (below(g, 6)) {
    case 0: case 1: return corners[below(g, G_N_ELEMENTS(corners))];
    case 2: return (r & 0x800fffffffffffff) | (uint64_t)(1000 + below(g, 50)) << 52;
    case 3: return (r & 0x800fffffffffffff) | (uint64_t)below(g, 4) << 52;
    case 4: return (r & 0x8000ffffe0000000) | (uint64_t)(890 + below(g, 270)) << 52;
    default: return r;
    }
}

static void any_f80(Gen *g, uint64_t *mant, uint16_t *se)
{
    static const struct { uint16_t se; uint64_t mant; } corners[] = {
        {0, 0}, {0x8000, 0}, {0x3fff, 1ull << 63}, {0xbfff, 1ull << 63}, {0x7fff, 1ull << 63},
        {0xffff, 1ull << 63}, {0x7fff, 3ull << 62}, {0xffff, 3ull << 62}, {0x7fff, 1ull << 63 | 1},
        {0xffff, 0xbfffffffffffffff}, {0, 1}, {0x8000, 0x7fffffffffffffff}, {0, 1ull << 63},
        {1, 1ull << 63}, {0x7ffe, ~0ull}, {0xfffe, ~0ull}, {0x7fff, 0}, {0x7fff, 1}, {0x4000, 1},
        {0x3fff, 0}, {0x400e, 0x8000000000000000}, {0x401e, 0x8000000000000000},
        {0x403e, 0x8000000000000000}, {0xc03e, 0x8000000000000000}, {0x403d, ~0ull},
        {0x3ffe, 1ull << 63}, {0x4000, 0xc90fdaa22168c235}, {0x3ffe, 0xc90fdaa22168c235},
        {0x4039, 0xde0b6b3a763ffff0}, {0x403a, 0xde0b6b3a76400000}};
    uint64_t r = rnd(g), m = rnd(g);
    unsigned sign = (unsigned)(r & 1) << 15;
    switch (below(g, 6)) {
    case 0: case 1: {
        unsigned i = below(g, G_N_ELEMENTS(corners));
        *se = corners[i].se;
        *mant = corners[i].mant;
        return;
    }
    case 2: *se = (uint16_t)(sign | (0x3ff0 + below(g, 0x60))); break;
    case 3: *se = (uint16_t)(sign | (0x3fff + below(g, 64))), m &= ~0ull << below(g, 64); break;
    case 4: *se = (uint16_t)(sign | (chance(g, 50) ? 0x3c00 + below(g, 8) : 0x3f80 + below(g, 8))); break;
    default: *se = (uint16_t)r;
    }
    *mant = m | (chance(g, 90) ? 1ull << 63 : 0);
}

/* Bytes of a window, or a vector register: integers, or floats of one width. */
static void fill(Gen *g, void *to, unsigned bytes, bool fp)
{
    uint64_t *p = to;
    unsigned kind = fp ? 1 + below(g, 2) : below(g, 4) ? 0 : 1 + below(g, 2);
    for (unsigned i = 0; i < bytes / 8; i++)
        p[i] = kind == 0 ? any_int(g) : kind == 1 ? any_f32(g) | (uint64_t)any_f32(g) << 32 : any_f64(g);
}

/* A window of memory: a random third, repeated, which is enough and quick. */
static void fill_window(Gen *g, uint8_t *to, unsigned bytes, bool fp)
{
    uint8_t piece[256];
    fill(g, piece, sizeof piece, fp);
    for (unsigned i = 0; i < bytes; i += sizeof piece)
        memcpy(to + i, piece, sizeof piece);
}

static void any_fx(Gen *g, FxImage *fx, bool x87, bool fp)
{
    memset(fx, 0, sizeof *fx);
    fx->cw = 0x37f;
    if (chance(g, 50))
        fx->cw = (uint16_t)((fx->cw & ~0xf00) | below(g, 4) << 10 | (unsigned[]){0, 2, 3, 3}[below(g, 4)] << 8);
    if (x87 && chance(g, 30))
        fx->cw &= (uint16_t)~(rnd(g) & 0x3f);
    fx->sw = (uint16_t)(rnd(g) & (chance(g, 30) ? 0x7f7f : 0x7f00));
    if (fx->sw & 0x3f & ~fx->cw) {
        if (x87 && chance(g, 40))
            fx->sw |= 0x8080; /* pending */
        else
            fx->sw &= (uint16_t)(~0x3f | fx->cw);
    }
    if (!(fx->sw & 1))
        fx->sw &= (uint16_t)~0x40; /* SF comes with IE */
    fx->tag = (uint8_t)(chance(g, 70) ? 0xff : rnd(g));
    fx->fop = (uint16_t)(rnd(g) & 0x7ff);
    fx->fip = rnd(g) & 0x7fffffffffff;
    fx->fdp = rnd(g) & 0x7fffffffffff;
    /* Without a pending exception AMD's kernels and CPUs lose the pointers at any time. */
    if (!(fx->sw & 0x80))
        fx->fop = 0, fx->fip = fx->fdp = 0;
    fx->mxcsr_mask = 0xffff;
    fx->mxcsr = 0x1f80;
    if (chance(g, 50))
        fx->mxcsr |= (uint32_t)(rnd(g) & 0xe07f); /* RC, FZ, DAZ, flags */
    else if (chance(g, 30))
        fx->mxcsr |= (uint32_t)(rnd(g) & 0x3f);
    if (chance(g, fp ? 25 : 5))
        fx->mxcsr &= ~(uint32_t)(rnd(g) & 0x1f80);
    for (unsigned i = 0; i < 8; i++)
        any_f80(g, &fx->st[i].mant, &fx->st[i].se);
    for (unsigned i = 0; i < 16; i++)
        fill(g, fx->xmm[i], 16, fp);
}

/* ---- bytes --------------------------------------------------------------------------------------- */

static void put(Gen *g, uint64_t v, unsigned bytes)
{
    memcpy(g->out, &v, bytes);
    g->out += bytes;
}

static bool pinned(const Gen *g, unsigned reg) { return g->pinned >> reg & 1; }

static void pin(Gen *g, unsigned reg, uint64_t v)
{
    g->c->in.gpr[reg] = v;
    g->pinned |= (uint16_t)(1u << reg);
}

static unsigned window_offset(const Case *c)
{
    return (unsigned)(c->operand_at - c->data_at);
}

/* Where the memory operand lies: mostly well inside, sometimes at edges and in holes. */
static void choose_operand(Gen *g, const Form *f)
{
    Case *c = g->c;
    unsigned bytes = f->special == SP_FXSAVE || f->special == SP_FXRSTOR ? 512 : f->bytes;
    unsigned align = f->special == SP_ALIGN16 || f->special == SP_FXSAVE || f->special == SP_FXRSTOR ? 16
                     : bytes >= 16 ? 16 : bytes >= 8 ? 8 : bytes >= 4 ? 4 : bytes;
    unsigned kind = g->sequence ? 0 : below(g, 100);
    uint64_t at;
    if (kind < 3) /* across the two pages */
        at = DATA_AT + PAGE - below(g, bytes + 1);
    else if (kind < 5) /* across the end */
        at = DATA_AT + DATA_BYTES - below(g, bytes + 1);
    else if (kind < 6) /* before the beginning */
        at = DATA_AT - below(g, bytes + 1);
    else if (kind < 7)
        at = RO_AT + 64 + below(g, 256);
    else if (kind < 8)
        at = HOLE_AT + below(g, PAGE);
    else if (kind < 9)
        at = 0x0000800000000000ull << below(g, 16) | below(g, 4096); /* not canonical, or kernel */
    else
        at = DATA_AT + 1024 + below(g, 480);
    if (f->special == SP_ALIGNED)
        at &= ~15ull;
    else if (chance(g, 80))
        at &= ~(uint64_t)(align - 1);
    c->operand_at = at;
    uint64_t base = at & ~15ull;
    if (base < DATA_AT + 512)
        base = DATA_AT + 512;
    if (base > DATA_AT + DATA_BYTES - 512)
        base = DATA_AT + DATA_BYTES - 512;
    c->data_at = at >= RO_AT || at < DATA_AT - 512 ? DATA_AT : base - 512;
}

/* The bytes of ModRM, SIB and displacement for c->operand_at; RIP-relative ones need what follows. */
typedef struct Address {
    uint8_t modrm, sib, rex;
    bool has_sib, riprel, gs, a32;
    unsigned disp_bytes;
    int64_t disp;
} Address;

static Address address(Gen *g, const Form *f, unsigned skew)
{
    Case *c = g->c;
    Address a = {0};
    uint64_t at = c->operand_at - skew;
    bool low = at < 0x7fffffff;
    a.a32 = f->special == SP_GATHER ? false : f->as32 || (!g->sequence && low && chance(g, 6));
    a.gs = !g->sequence && low && chance(g, 5);
    if (a.gs)
        at -= GS_BASE;
    unsigned kind = g->sequence ? below(g, 2) : below(g, 10);
    if (!low || f->special == SP_GATHER)
        kind = 2;
    if (kind == 0) { /* RIP-relative */
        a.riprel = true;
        a.modrm = 5;
        a.disp = (int64_t)at;
        a.disp_bytes = 4;
        return a;
    }
    if (kind == 1) { /* absolute */
        a.modrm = 4;
        a.has_sib = true;
        a.sib = 0x25;
        a.disp = (int64_t)at;
        a.disp_bytes = 4;
        return a;
    }
    if (f->special == SP_GATHER) {
        unsigned vb = below(g, 16), vi = below(g, 16);
        bool qword = f->opcode & 1;
        for (unsigned i = 0; i < 8; i++) {
            int64_t off = (int)below(g, 60) - 30;
            uint64_t *lane = i < 4 ? &c->in.fx.xmm[vi][i / 2] : &c->in.ymmh[vi][i / 2 - 2];
            if (qword)
                *lane = (uint64_t)off;
            else if (i & 1)
                *lane = (*lane & 0xffffffff) | (uint64_t)off << 32;
            else
                *lane = (*lane & ~0xffffffffull) | (uint32_t)off;
        }
        a.a32 = false;
        a.has_sib = true;
        a.modrm = 0x84;
        a.disp = (int8_t)rnd(g);
        a.disp_bytes = 4;
        if (!pinned(g, vb))
            pin(g, vb, at - (uint64_t)a.disp);
        else
            a.disp = (int64_t)(at - c->in.gpr[vb]);
        a.sib = (uint8_t)(below(g, 4) << 6 | (vi & 7) << 3 | (vb & 7));
        a.rex = (uint8_t)((vi & 8) >> 2 | vb >> 3);
        return a;
    }
    uint64_t mask = a.a32 ? 0xffffffff : ~0ull;
    bool index_only = low && kind == 9, use_index = index_only || kind >= 6;
    unsigned base = below(g, 16), index = below(g, 16), scale = below(g, 4);
    for (unsigned i = 0; i < 8 && !low && pinned(g, base); i++)
        base = below(g, 16);
    if (use_index && (index == 4 || index == base))
        use_index = false, index_only = false;
    uint64_t rest = at;
    if (use_index) {
        if (!pinned(g, index))
            pin(g, index, index_only ? (uint64_t)below(g, 0x1000000) : any_int(g));
        rest -= c->in.gpr[index] << scale;
    }
    if (index_only || (base != 4 && pinned(g, base) && use_index && false)) {
        a.disp = (int64_t)(rest & mask);
    } else if (pinned(g, base)) {
        a.disp = (int64_t)(rest - c->in.gpr[base]);
    } else {
        a.disp = chance(g, 30) ? 0 : chance(g, 50) ? (int8_t)rnd(g) : (int32_t)rnd(g);
        uint64_t v = rest - (uint64_t)a.disp;
        if (a.a32)
            v = (v & mask) | (rnd(g) & ~mask);
        pin(g, base, v);
    }
    if (a.a32)
        a.disp = (int32_t)a.disp;
    if (a.disp != (int32_t)a.disp) { /* pinned registers far away: give up on registers */
        Address plain = {.modrm = 4, .has_sib = true, .sib = 0x25, .disp_bytes = 4, .a32 = a.a32, .gs = a.gs,
                         .disp = (int64_t)at};
        return plain;
    }
    unsigned mod = index_only ? 0 : a.disp == 0 && (base & 7) != 5 ? 0 : a.disp == (int8_t)a.disp ? 1 : 2;
    a.disp_bytes = index_only ? 4 : mod == 0 ? 0 : mod == 1 ? 1 : 4;
    a.has_sib = use_index || (base & 7) == 4 || chance(g, 10);
    if (index_only)
        base = 5;
    if (a.has_sib) {
        a.modrm = (uint8_t)(mod << 6 | 4);
        if (!use_index)
            index = 4;
        a.sib = (uint8_t)(scale << 6 | (index & 7) << 3 | (base & 7));
        a.rex = (uint8_t)((index & 8) >> 2 | base >> 3);
    } else {
        a.modrm = (uint8_t)(mod << 6 | (base & 7));
        a.rex = (uint8_t)(base >> 3);
    }
    return a;
}

/* Registers and memory that an instruction wants in some way. */
static void prepare(Gen *g, const Form *f)
{
    Case *c = g->c;
    uint64_t *r = c->in.gpr;
    uint64_t stack = c->stack_at + STACK_WINDOW / 2 + below(g, 16) * 8;
    uint64_t target = CODE_AT + 256 + below(g, 900);
    if (chance(g, 4))
        target = chance(g, 50) ? HOLE_AT + 5 : 0x0000800000001000ull;
    switch (f->special) {
    case SP_STACK: case SP_POPF: case SP_ENTER: case SP_JUMP: case SP_JUMP_IND: case SP_RET:
        if (f->special != SP_ENTER && chance(g, 3))
            stack = chance(g, 50) ? HOLE_AT + 512 : 0x0000800000001000ull;
        else if (chance(g, 5))
            stack = (stack & ~7ull) + below(g, 8);
        pin(g, 4, stack);
        break;
    default: break;
    }
    uint8_t *top = stack - c->stack_at < STACK_WINDOW - 8 ? c->stack + (stack - c->stack_at) : NULL;
    switch (f->special) {
    case SP_POPF:
        if (top) {
            uint64_t v = rnd(g) & 0xffffffffffffffff;
            v &= ~(uint64_t)(1u << 8 | 1u << 14 | 1u << 18 | 1u << 21); /* TF NT AC ID */
            memcpy(top, &v, 8);
        }
        break;
    case SP_RET:
        if (top)
            memcpy(top, &target, 8);
        break;
    case SP_ENTER: {
        uint64_t bp = c->stack_at + 128 + below(g, 8) * 8;
        pin(g, 5, bp);
        break;
    }
    case SP_LEAVE:
        pin(g, 5, chance(g, 5) ? HOLE_AT : stack);
        break;
    case SP_STRING: {
        bool edge = chance(g, 10);
        for (unsigned reg = 6; reg <= 7; reg++) {
            uint64_t at = DATA_AT + 1024 - 256 + below(g, 512);
            if (edge && chance(g, 50))
                at = chance(g, 20) ? RO_AT + 16 : DATA_AT + DATA_BYTES - below(g, 40);
            if (f->as32)
                at |= rnd(g) << 32;
            pin(g, reg, at);
        }
        c->data_at = edge ? DATA_AT + DATA_BYTES - DATA_WINDOW : DATA_AT + 512;
        uint64_t n = below(g, 12);
        pin(g, 1, f->as32 ? n | rnd(g) << 32 : n);
        if (chance(g, 50)) { /* comparisons that go on for a while */
            uint64_t v = chance(g, 50) ? 0 : rnd(g);
            for (unsigned i = 0; i < DATA_WINDOW; i += 8)
                memcpy(c->data + i, &v, 8);
            c->data[below(g, DATA_WINDOW)] ^= 1;
            if (chance(g, 70))
                pin(g, 0, v);
        }
        break;
    }
    case SP_SHIFT:
        if (!pinned(g, 1))
            pin(g, 1, (rnd(g) & ~0xffull) | (chance(g, 70) ? below(g, 66) : below(g, 256)));
        break;
    case SP_DIV:
        if (chance(g, 60)) {
            if (f->size == 0)
                r[0] = (r[0] & ~0xffffull) | (uint16_t)(int8_t)below(g, 256);
            else
                r[2] = chance(g, 50) ? 0 : chance(g, 50) ? ~0ull : rnd(g) >> (40 + below(g, 24));
        }
        break;
    case SP_XLAT:
        choose_operand(g, f);
        pin(g, 3, (c->operand_at - (r[0] & 0xff)) | (f->as32 ? rnd(g) << 32 : 0));
        break;
    case SP_MASKMOV:
        choose_operand(g, f);
        pin(g, 7, c->operand_at);
        break;
    case SP_MOFFS:
        choose_operand(g, f);
        break;
    case SP_LOOP:
        if (chance(g, 70))
            pin(g, 1, below(g, 4) | (chance(g, 50) ? rnd(g) << 32 : 0));
        break;
    case SP_PCMPSTR:
        if (chance(g, 80)) {
            r[0] = (uint64_t)(int64_t)((int)below(g, 40) - 20);
            r[2] = (uint64_t)(int64_t)((int)below(g, 40) - 20);
        }
        for (unsigned i = 0; i < 16; i++) /* few symbols, so that there is something to find */
            if (chance(g, 70)) {
                uint64_t few = 0x0303030303030303ull;
                c->in.fx.xmm[i][0] = rnd(g) & few & (chance(g, 50) ? ~0ull : 0x00ff00ff00ff00ffull);
                c->in.fx.xmm[i][1] = rnd(g) & few & (chance(g, 50) ? ~0ull : 0x00ff00ff00ff00ffull);
            }
        break;
    default: break;
    }
}

/* What the memory operand holds, once its place is known. */
static void prepare_memory(Gen *g, const Form *f)
{
    Case *c = g->c;
    unsigned at = window_offset(c);
    if (at > DATA_WINDOW - (f->special == SP_JUMP_IND ? 8 : 16))
        return;
    uint8_t *p = c->data + at;
    switch (f->special) {
    case SP_JUMP_IND: {
        uint64_t to = chance(g, 96) ? CODE_AT + 256 + below(g, 900)
                      : chance(g, 50) ? HOLE_AT + 7 : 0x0000800000001000ull;
        memcpy(p, &to, 8);
        break;
    }
    case SP_CMPXCHG:
        if (f->bytes == 8 && f->opcode == 0xc7) {
            if (chance(g, 50) && !pinned(g, 0) && !pinned(g, 2)) {
                memcpy(&c->in.gpr[0], p, 4);
                memcpy(&c->in.gpr[2], p + 4, 4);
            }
        } else if (f->bytes == 16) {
            if (chance(g, 50) && !pinned(g, 0) && !pinned(g, 2)) {
                memcpy(&c->in.gpr[0], p, 8);
                memcpy(&c->in.gpr[2], p + 8, 8);
            }
        } else if (chance(g, 50)) {
            memcpy(p, &c->in.gpr[0], 1u << f->size);
        }
        break;
    case SP_LDMXCSR: {
        uint32_t v = (uint32_t)rnd(g) & (chance(g, 90) ? 0xffff : ~(1u << 17)); /* MM of AMD */
        memcpy(p, &v, 4);
        break;
    }
    case SP_FXRSTOR:
        if (at <= DATA_WINDOW - 512) {
            FxImage fx;
            any_fx(g, &fx, true, true);
            memcpy(fx.rest, p + 416, sizeof fx.rest);
            if (chance(g, 5))
                fx.mxcsr |= 1u << (18 + below(g, 14));
            memcpy(p, &fx, sizeof fx);
        }
        break;
    case SP_FLDENV:
        if (at <= DATA_WINDOW - 108) {
            for (unsigned i = 0; i < 108; i += 4) {
                uint32_t v = (uint32_t)rnd(g);
                memcpy(p + i, &v, 4);
            }
            if (f->opcode == 0xd9 && f->ext == 5) {
                uint16_t cw = (uint16_t)rnd(g);
                memcpy(p, &cw, 2);
            }
        }
        break;
    case SP_X87:
        if (f->bytes == 10) {
            uint64_t m;
            uint16_t se;
            if (f->opcode == 0xdb && f->ext == 5) {
                any_f80(g, &m, &se);
                memcpy(p, &m, 8);
                memcpy(p + 8, &se, 2);
            } else if (f->opcode == 0xdf && f->ext == 4 && chance(g, 80)) { /* packed decimal */
                for (unsigned i = 0; i < 9; i++)
                    p[i] = (uint8_t)(below(g, 10) | below(g, 10) << 4);
                p[9] = (uint8_t)(rnd(g) & 0x80);
            } else if (f->opcode == 0xd8 || f->opcode == 0xd9) {
                uint32_t v = any_f32(g);
                memcpy(p, &v, 4);
            } else if (f->opcode == 0xdc || f->opcode == 0xdd) {
                m = any_f64(g);
                memcpy(p, &m, 8);
            }
        }
        break;
    default: break;
    }
}

/* Append the instruction to the case. */
static void emit(Gen *g, const Form *f)
{
    Case *c = g->c;
    uint8_t *start = g->out;
    bool mem = f->operand == OPERAND_MEM;
    Address a = {0};
    uint8_t rex = f->size == 3 && !f->vex ? 8 : 0;
    unsigned reg = f->ext >= 0 ? (unsigned)f->ext : below(g, 16), rm = below(g, 16);
    if (f->modrm >= 0)
        reg = f->modrm >> 3 & 7, rm = f->modrm & 7;

    prepare(g, f);
    if (mem) {
        choose_operand(g, f);
        unsigned skew = 0;
        a = address(g, f, skew);
        prepare_memory(g, f);
        if (f->special == SP_BT && f->ext < 0) {
            for (reg = below(g, 16); pinned(g, reg);)
                reg = (reg + 1) & 15;
            if (!pinned(g, reg) && !g->sequence)
                pin(g, reg, (uint64_t)(int64_t)((int)below(g, 4096) - 2048) ^ (f->size < 3 ? rnd(g) << 32 : 0));
            if (f->size == 1)
                c->in.gpr[reg] ^= (rnd(g) & 0xffff) << 16;
        }
    } else if (f->special == SP_JUMP_IND) {
        uint64_t to = chance(g, 96) ? CODE_AT + 256 + below(g, 900)
                      : chance(g, 50) ? HOLE_AT + 7 : 0x0000800000001000ull;
        if (rm == 4)
            rm = 0;
        pin(g, rm, to);
    } else if (f->special == SP_CMPXCHG && chance(g, 50)) {
        c->in.gpr[0] = c->in.gpr[rm];
    }

    if (f->special == SP_MASKMOV) {
        /* Whether a mask of zeros faults is the implementation's choice. */
        const uint64_t *m = f->prefix ? c->in.fx.xmm[rm] : &c->in.fx.st[(rm - (c->in.fx.sw >> 11)) & 7].mant;
        uint64_t sign = 0x8080808080808080ull;
        if (!((m[0] | (f->prefix ? m[1] : 0)) & sign)) {
            c->operand_at = c->data_at + 512;
            pin(g, 7, c->operand_at);
        }
    }
    if (!f->vex && chance(g, 3) && !a.gs) {
        static const uint8_t ignored[] = {0x2e, 0x36, 0x3e, 0x26};
        *g->out++ = ignored[below(g, 4)];
    }
    if (a.gs)
        *g->out++ = 0x65;
    if (a.a32 || (f->as32 && !mem))
        *g->out++ = 0x67;
    if (f->lock)
        *g->out++ = 0xf0;
    if (!f->vex) {
        if (f->size == 1 && f->prefix != 0x66)
            *g->out++ = 0x66;
        if (f->rep)
            *g->out++ = f->rep;
        if (f->prefix)
            *g->out++ = f->prefix;
    }
    uint8_t modrm = 0;
    bool has_modrm = f->operand == OPERAND_REG || mem;
    if (has_modrm) {
        if (f->modrm >= 0)
            modrm = (uint8_t)f->modrm;
        else
            modrm = (uint8_t)((reg & 7) << 3 | (mem ? a.modrm : 0xc0 | (rm & 7)));
        rex |= (uint8_t)((reg >> 3) << 2 | (mem ? a.rex : rm >> 3));
        if (f->ext >= 0 && !mem && f->modrm < 0)
            rex |= 0;
    } else if (f->operand == OPERAND_OPREG) {
        rex |= (uint8_t)(rm >> 3);
    }
    unsigned opcode = f->opcode + (f->operand == OPERAND_OPREG ? rm & 7 : 0);
    if (opcode == 0x90 && f->map == 0 && f->prefix == 0 && (rex & 8) == 0 && f->operand == OPERAND_OPREG &&
        !(rex & 1))
        rex |= 0; /* NOP: fine */
    if (f->vex) {
        unsigned v = f->vex_v || chance(g, 1) ? below(g, 16) : 0;
        if (f->special == SP_SMALLV && !pinned(g, v) && chance(g, 70))
            c->in.gpr[v] = (rnd(g) & ~0xffffull) | below(g, 70) | below(g, 70) << 8;
        unsigned pp = f->prefix == 0x66 ? 1 : f->prefix == 0xf3 ? 2 : f->prefix == 0xf2 ? 3 : 0;
        unsigned tail = (~v & 15) << 3 | (f->vex_l ? 4 : 0) | pp;
        if (f->map == 1 && !f->vex_w && !(rex & 3) && chance(g, 50)) {
            *g->out++ = 0xc5;
            *g->out++ = (uint8_t)((rex & 4 ? 0 : 0x80) | tail);
        } else {
            *g->out++ = 0xc4;
            *g->out++ = (uint8_t)((~rex & 7) << 5 | f->map);
            *g->out++ = (uint8_t)((f->vex_w ? 0x80 : 0) | tail);
        }
    } else {
        if (rex || chance(g, 10))
            *g->out++ = 0x40 | rex;
        if (f->map)
            *g->out++ = 0x0f;
        if (f->map >= 2)
            *g->out++ = f->map == 2 ? 0x38 : 0x3a;
    }
    *g->out++ = (uint8_t)opcode;
    if (has_modrm) {
        c->modrm = modrm;
        *g->out++ = modrm;
        if (mem) {
            if (a.has_sib)
                *g->out++ = a.sib;
            if (a.riprel) {
                uint64_t next = c->in.rip + (uint64_t)(g->out + 4 - c->code) + f->imm;
                put(g, (uint64_t)a.disp - next, 4);
            } else {
                put(g, (uint64_t)a.disp, a.disp_bytes);
            }
        }
    }
    uint64_t imm = any_int(g);
    if (f->special == SP_MOFFS) {
        imm = c->operand_at;
        if (f->as32)
            imm &= 0xffffffff;
    } else if (f->special == SP_ENTER) {
        imm = below(g, 64) | (chance(g, 60) ? 0 : below(g, 4) | below(g, 8) << 5) << 16;
    } else if (f->special == SP_JUMP || f->special == SP_LOOP) {
        unsigned far = f->imm == 4 ? 60 + below(g, 900) : 60 + below(g, 60);
        imm = g->sequence || chance(g, 60) ? below(g, 100) : 0 - (uint64_t)far;
        if (f->imm == 4 && chance(g, 30))
            imm = far;
    } else if (f->special == SP_RET) {
        imm = below(g, 128);
    } else if (f->imm == 1 && chance(g, 60)) {
        imm = rnd(g);
    }
    c->imm = (uint8_t)imm;
    put(g, imm, f->imm);
    if (g->out - start > 15) /* cannot be: the longest here are 1+1+1+1+1+3+1+1+4+4 */
        g->out = start + 15;
}

static void state_make(Gen *g, bool x87, bool fp)
{
    Case *c = g->c;
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < 16; i++)
        c->in.gpr[i] = any_int(g);
    any_fx(g, &c->in.fx, x87, fp);
    for (unsigned i = 0; i < 16; i++)
        fill(g, c->in.ymmh[i], 16, fp);
    uint32_t cc = 0x8d5; /* the six */
    c->in.rflags = 0x202 | (rnd(g) & cc) | (chance(g, 20) ? 0x400 : 0);
    c->code_at = CODE_AT + 1200 + below(g, 64);
    if (chance(g, 3)) /* across the pages */
        c->code_at = CODE_AT + PAGE - 1 - below(g, 10);
    c->in.rip = c->code_at;
    c->data_at = DATA_AT + 512;
    c->operand_at = DATA_AT + 1024;
    c->stack_at = STACK_AT + 1536;
    fill_window(g, c->data, DATA_WINDOW, fp);
    fill_window(g, c->stack, STACK_WINDOW, false);
    g->out = c->code;
    g->pinned = 0;
}

void case_make(Case *c, unsigned form, uint32_t index, uint64_t seed)
{
    const Form *f = forms->pdata[form];
    Gen g = {.x = mix(seed ^ mix(((uint64_t)form << 32 | index) + 0x1234567)), .c = c};
    state_make(&g, f->special == SP_X87 || f->special == SP_FLDENV || chance(&g, 3), f->fp);
    c->form = form;
    c->index = index;
    c->count = 1;
    emit(&g, f);
    c->length = (uint32_t)(g.out - c->code);
}

void sequence_make(Case *c, uint32_t index, uint64_t seed)
{
    Gen g = {.x = mix(seed ^ mix(0x5e90000000000000ull | index)), .c = c, .sequence = true};
    state_make(&g, false, false);
    c->index = index;
    c->form = UINT32_MAX;
    unsigned want = 2 + below(&g, 4);
    for (unsigned tries = 0; c->count < want && g.out - c->code < CODE_MAX - 16 && tries < 200; tries++) {
        unsigned n = below(&g, forms->len);
        const Form *f = forms->pdata[n];
        bool integer = f->group && (g_str_equal(f->group, "alu") || g_str_equal(f->group, "shift") ||
                                    g_str_equal(f->group, "move") || g_str_equal(f->group, "bit") ||
                                    g_str_equal(f->group, "muldiv") || f->jump);
        if (!integer || f->undef || f->as32 || (f->special && !f->jump) ||
            (f->special && f->special != SP_JUMP) || f->opcode == 0xe8)
            continue;
        if (f->jump && c->count + 1u < want)
            continue;
        uint8_t imm = c->imm;
        emit(&g, f);
        c->imm = imm;
        c->count++;
    }
    c->length = (uint32_t)(g.out - c->code);
}
