/*
 * The silicon as oracle: random cases of every instruction form, on the host's
 * CPU and in the interpreter, compared bit by bit.  See oracle.h.
 */
#include "oracle.h"

#include "accel/x86/model.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed = 1;
static int64_t count = 40000;
static char *only, *model, *one;
static gboolean list, coverage, undef, strict, tap, quiet;
static int show = 3;

static const GOptionEntry options[] = {
    {"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "seed of the random cases (1)", "N"},
    {"count", 0, 0, G_OPTION_ARG_INT64, &count, "how many cases over all forms (40000)", "N"},
    {"form", 0, 0, G_OPTION_ARG_STRING, &only, "only forms (or groups) whose name matches", "REGEX"},
    {"case", 0, 0, G_OPTION_ARG_STRING, &one, "one case, as a difference names it", "FORM:INDEX"},
    {"model", 0, 0, G_OPTION_ARG_STRING, &model, "CPU model of the interpreter (max, without what the host lacks)", "NAME"},
    {"show", 0, 0, G_OPTION_ARG_INT, &show, "differences shown in full, a form (3)", "N"},
    {"list", 0, 0, G_OPTION_ARG_NONE, &list, "list the forms", NULL},
    {"coverage", 0, 0, G_OPTION_ARG_NONE, &coverage, "coverage by opcode map, and what is left out", NULL},
    {"undefined", 0, 0, G_OPTION_ARG_NONE, &undef, "what is undefined, and so not compared", NULL},
    {"strict", 0, 0, G_OPTION_ARG_NONE, &strict, "compare what is undefined, too", NULL},
    {"tap", 0, 0, G_OPTION_ARG_NONE, &tap, "test anything protocol", NULL},
    {"quiet", 0, 0, G_OPTION_ARG_NONE, &quiet, "no list of forms that differ", NULL},
    {NULL, 0, 0, 0, NULL, NULL, NULL},
};

typedef struct Tally {
    uint64_t cases, differ, faults;
} Tally;

static Tally *tallies; /* by form; the last is of sequences */

/* ---- the model ----------------------------------------------------------------------------------- */

/*
 * "max" without the instructions that this host does not have, so that both say #UD.
 * lacks: their names, "" if there are none.  The caller owns both.
 */
static char *host_model(char **lacks)
{
    static const char *const instructions[] = {
        "pni", "pclmulqdq", "ssse3", "fma", "sse4_1", "sse4_2", "movbe", "popcnt", "aes", "avx", "f16c",
        "bmi1", "avx2", "bmi2", "adx", "clflushopt", "clwb", "sha_ni", "gfni", "rdpid", "abm"};
    GString *name = g_string_new("max"), *without = g_string_new(NULL);
    for (unsigned i = 0; i < vmr_x86_feature_count; i++) {
        const VmrX86Feature *f = &vmr_x86_features[i];
        const VmrX86WordPlace *at = &vmr_x86_word_places[f->word];
        bool looked = false;
        uint32_t r[4] = {0};
        for (unsigned k = 0; k < G_N_ELEMENTS(instructions); k++)
            looked |= g_str_equal(f->name, instructions[k]);
        if (!looked)
            continue;
        if (__get_cpuid_count(at->leaf, at->sub, &r[0], &r[1], &r[2], &r[3]) && r[at->reg] >> f->bit & 1)
            continue;
        g_string_append_printf(name, ",-%s", f->name);
        g_string_append_printf(without, " %s", f->name);
    }
    *lacks = g_string_free(without, FALSE);
    return g_string_free(name, FALSE);
}

/* ---- comparison --------------------------------------------------------------------------------- */

#define FLAGS_SEEN 0xcd5u /* CF PF AF ZF SF DF OF; IF is always set, RF is the image's */

typedef struct Diff {
    GString *text; /* NULL: only say whether */
    bool any;
} Diff;

static void differ(Diff *d, const char *what, uint64_t host, uint64_t guest)
{
    d->any = true;
    if (d->text)
        g_string_append_printf(d->text, "#   %-10s host %016" G_GINT64_MODIFIER "x  vmrun %016"
                               G_GINT64_MODIFIER "x\n", what, host, guest);
}

static void differ_bytes(Diff *d, const char *what, uint64_t at, const uint8_t *a, const uint8_t *b,
                         unsigned n)
{
    char name[32];
    if (memcmp(a, b, n) == 0)
        return;
    for (unsigned i = 0, shown = 0; i < n && shown < 4; i += 8) {
        uint64_t x, y;
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x == y)
            continue;
        g_snprintf(name, sizeof name, "%s %x", what, (unsigned)(at + i));
        differ(d, name, x, y);
        shown++;
    }
}

#define FIELD(name, x) if (h->x != g->x) differ(d, name, (uint64_t)h->x, (uint64_t)g->x)

static void compare(Diff *d, const Case *c, const Result *h, const Result *g)
{
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
    const Form *f = c->form < forms->len ? forms->pdata[c->form] : NULL;
    bool result_open = f && !strict && undef_result(f->undef, c, f);
    char name[16];
    FIELD("vector", vector);
    if (h->vector == 255)
        return; /* for ever, or died */
    /* Linux tells nobody what is mapped above user space: always P, there */
    uint32_t hidden = h->vector == 14 && h->cr2 >= 0x7ffffffff000 ? 1 : 0;
    if ((h->error ^ g->error) & ~hidden)
        differ(d, "error", h->error, g->error);
    /* Of an operand longer than a register, silicon says any byte of it. */
    bool within = f && f->bytes > 64 && h->cr2 - c->operand_at < 512 && g->cr2 - c->operand_at < 512;
    if (f && strstr(f->name, "maskmov"))
        within = h->cr2 - c->operand_at < 32 && (h->cr2 ^ g->cr2) < PAGE;
    if (h->cr2 != g->cr2 && !within)
        differ(d, "cr2", h->cr2, g->cr2);
    FIELD("rip", s.rip);
    for (unsigned i = 0; i < 16; i++)
        if (h->s.gpr[i] != g->s.gpr[i] && !result_open)
            differ(d, names[i], h->s.gpr[i], g->s.gpr[i]);
    uint64_t flags = FLAGS_SEEN & ~(uint64_t)(f && !strict ? undef_flags(f->undef, c, f) : 0);
    if ((h->s.rflags ^ g->s.rflags) & flags)
        differ(d, "rflags", h->s.rflags & 0xfff, g->s.rflags & 0xfff);
    if (strict || !known_deviation(c, h, g))
        FIELD("mxcsr", s.fx.mxcsr);
    FIELD("fcw", s.fx.cw);
    FIELD("fsw", s.fx.sw);
    FIELD("ftw", s.fx.tag);
    /* AMD's CPUs save and restore the three pointers only with a pending exception. */
    if (h->s.fx.sw & 0x80) {
        FIELD("fop", s.fx.fop);
        FIELD("fip", s.fx.fip);
        FIELD("fdp", s.fx.fdp);
    }
    for (unsigned i = 0; i < 8; i++) {
        g_snprintf(name, sizeof name, "st%u", i);
        FIELD(name, s.fx.st[i].mant);
        g_snprintf(name, sizeof name, "st%u.se", i);
        FIELD(name, s.fx.st[i].se);
    }
    for (unsigned i = 0; i < 32; i++) {
        g_snprintf(name, sizeof name, "xmm%u.%u", i / 2, i & 1);
        FIELD(name, s.fx.xmm[i / 2][i & 1]);
        g_snprintf(name, sizeof name, "ymm%u.%u", i / 2, 2 + (i & 1));
        FIELD(name, s.ymmh[i / 2][i & 1]);
    }
    uint64_t at = c->operand_at - c->data_at;
    if (f && f->special == SP_FXSAVE && at <= DATA_WINDOW - 512) /* the mask of MXCSR's bits */
        memcpy(((Result *)h)->data + at + 28, g->data + at + 28, 4);
    if (!result_open)
        differ_bytes(d, "data", c->data_at, h->data, g->data, DATA_WINDOW);
    differ_bytes(d, "stack", c->stack_at, h->stack, g->stack, STACK_WINDOW);
}

static void print_case(const Case *c, const Result *h, const char *text)
{
    const Form *f = c->form < forms->len ? forms->pdata[c->form] : NULL;
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
    printf("# difference: %s, --case %d:%u, bytes", f ? f->name : "a sequence", (int)c->form, c->index);
    for (unsigned i = 0; i < c->length; i++)
        printf(" %02x", c->code[i]);
    printf("\n#   before:");
    for (unsigned i = 0; i < 16; i++)
        printf(" %s %" G_GINT64_MODIFIER "x", names[i], c->in.gpr[i]);
    printf("\n#   rip %" G_GINT64_MODIFIER "x rflags %x mxcsr %x fcw %x fsw %x ftw %x operand at %" G_GINT64_MODIFIER
           "x", c->in.rip, (unsigned)c->in.rflags, c->in.fx.mxcsr, c->in.fx.cw, c->in.fx.sw,
           c->in.fx.tag, c->operand_at);
    uint64_t at = c->operand_at - c->data_at;
    if (at < DATA_WINDOW - 16) {
        uint64_t q[2];
        memcpy(q, c->data + at, 16);
        printf(" (%016" G_GINT64_MODIFIER "x_%016" G_GINT64_MODIFIER "x)", q[1], q[0]);
    }
    if (f && (strncmp(f->group, "ve", 2) == 0 || g_str_equal(f->group, "avx"))) {
        unsigned a = c->modrm >> 3 & 7, b = c->modrm & 7;
        for (unsigned k = 0; k < 4; k++) {
            unsigned n = (k & 1 ? b : a) + (k & 2 ? 8 : 0);
            printf("\n#   xmm%u %016" G_GINT64_MODIFIER "x_%016" G_GINT64_MODIFIER "x", n,
                   c->in.fx.xmm[n][1], c->in.fx.xmm[n][0]);
        }
    }
    if (f && g_str_equal(f->group, "x87")) {
        printf("\n#  ");
        for (unsigned i = 0; i < 8; i++)
            printf(" st%u %04x:%016" G_GINT64_MODIFIER "x", i, c->in.fx.st[i].se, c->in.fx.st[i].mant);
    }
    printf("\n#   ended on the host with vector %u error %x\n%s", h->vector, h->error, text);
}

/* ---- running ------------------------------------------------------------------------------------------ */

static Case *batch;
static Result *host_results;
static unsigned filled;
static bool broken;

static void judge(const Case *c, Result *h)
{
    Result g;
    unsigned slot = c->form < forms->len ? c->form : forms->len;
    Tally *t = &tallies[slot];
    guest_run(c, &g);
    t->cases++;
    t->faults += h->s.rip == c->in.rip;
    if (!strict && !vendor_adapt(c, h, &g))
        return;
    Diff d = {0};
    compare(&d, c, h, &g);
    if (!d.any)
        return;
    t->differ++;
    if (t->differ <= (uint64_t)show) {
        d.text = g_string_new(NULL);
        compare(&d, c, h, &g);
        print_case(c, h, d.text->str);
        g_string_free(d.text, TRUE);
    }
}

static void flush(void)
{
    unsigned from = 0, bad = 0;
    while (from < filled) {
        bool ok = native_run(batch + from, host_results + from, filled - from, &bad);
        unsigned done = ok ? filled - from : bad;
        for (unsigned i = 0; i < done; i++)
            judge(&batch[from + i], &host_results[from + i]);
        if (!ok) {
            if (from + bad < filled) {
                Result none = {.vector = 255};
                print_case(&batch[from + bad], &none, "#   the host's child died of it\n");
            }
            broken = true;
            done = bad + 1;
        }
        from += done;
    }
    filled = 0;
}

static Case *next_case(void)
{
    if (filled == ORACLE_BATCH)
        flush();
    return &batch[filled++];
}

static bool group_of(const Form *f, const char *group)
{
    return g_str_equal(f->group, group);
}

static const char *const groups[] = {"alu", "muldiv", "shift", "bit", "move", "stack", "branch", "string",
                                     "misc", "privileged", "x87", "vector-0f", "vector-0f38",
                                     "vector-0f3a", "vex", "avx", "undefined", "sequence"};

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("- compare the interpreter with the host's CPU");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "oracle: %s\n", error->message);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    g_autofree char *lacks = NULL, *of_host = host_model(&lacks);
    guest_start(model ? model : of_host);
    forms_make();
    if (undef) {
        undef_print();
        return 0;
    }
    if (coverage) {
        coverage_print();
        return 0;
    }
    g_autoptr(GRegex) regex = only ? g_regex_new(only, 0, 0, &error) : NULL;
    if (error) {
        fprintf(stderr, "oracle: %s\n", error->message);
        return 2;
    }
    g_autofree bool *chosen = g_new0(bool, forms->len + 1);
    unsigned n = 0;
    for (unsigned i = 0; i < forms->len; i++) {
        const Form *f = forms->pdata[i];
        chosen[i] = !regex || g_regex_match(regex, f->name, 0, NULL) || g_regex_match(regex, f->group, 0, NULL);
        n += chosen[i];
        if (list && chosen[i])
            printf("%5u %-12s %s\n", i, f->group, f->name);
    }
    chosen[forms->len] = !regex || g_regex_match(regex, "sequence", 0, NULL);
    if (list) {
        printf("%u forms\n", n);
        return 0;
    }
    if (!model && *lacks)
        printf("# this host's CPU cannot judge what it does not have, but that it raises #UD:%s\n", lacks);
    batch = g_new0(Case, ORACLE_BATCH);
    host_results = g_new0(Result, ORACLE_BATCH);
    tallies = g_new0(Tally, forms->len + 1);
    if (one) {
        int form;
        unsigned index;
        if (sscanf(one, "%d:%u", &form, &index) != 2)
            return 2;
        if (form < 0)
            sequence_make(next_case(), index, seed);
        else
            case_make(next_case(), MIN((unsigned)form, forms->len - 1), index, seed);
    } else {
        /* sequences get a tenth */
        int64_t sequences = chosen[forms->len] ? (n ? count / 10 : count) : 0;
        unsigned weight = 0; /* #UD is soon shown */
        for (unsigned i = 0; i < forms->len; i++)
            weight += chosen[i] ? ((Form *)forms->pdata[i])->undefined ? 1 : 10 : 0;
        for (unsigned i = 0; i < forms->len; i++) {
            int64_t each = MAX((count - sequences) * (((Form *)forms->pdata[i])->undefined ? 1 : 10) /
                               MAX(weight, 1), 1);
            for (int64_t k = 0; chosen[i] && k < each; k++)
                case_make(next_case(), i, (uint32_t)k, seed);
        }
        for (int64_t k = 0; k < sequences; k++)
            sequence_make(next_case(), (uint32_t)k, seed);
    }
    flush();
    native_stop();

    uint64_t cases = 0, differs = 0;
    unsigned bad_forms = 0, tests = 0, failed = 0;
    for (unsigned i = 0; i <= forms->len; i++) {
        const Form *f = i < forms->len ? forms->pdata[i] : NULL;
        cases += tallies[i].cases;
        differs += tallies[i].differ;
        bad_forms += tallies[i].differ != 0;
        if (tallies[i].differ && !quiet)
            printf("# %6" G_GINT64_MODIFIER "u of %6" G_GINT64_MODIFIER "u differ: %s\n", tallies[i].differ,
                   tallies[i].cases, f ? f->name : "sequences");
    }
    for (unsigned k = 0; k < G_N_ELEMENTS(groups); k++) {
        uint64_t group_cases = 0, group_differ = 0;
        unsigned group_forms = 0;
        for (unsigned i = 0; i <= forms->len; i++) {
            const Form *f = i < forms->len ? forms->pdata[i] : NULL;
            if (f ? !group_of(f, groups[k]) : !g_str_equal(groups[k], "sequence"))
                continue;
            group_cases += tallies[i].cases;
            group_differ += tallies[i].differ;
            group_forms += tallies[i].cases != 0;
        }
        if (!group_cases)
            continue;
        failed += group_differ != 0;
        printf("%s %u - %s: %u forms, %" G_GINT64_MODIFIER "u cases, %" G_GINT64_MODIFIER "u differ\n",
               group_differ ? "not ok" : "ok", ++tests, groups[k], group_forms, group_cases, group_differ);
    }
    if (broken) {
        printf("not ok %u - the host's child lives\n", ++tests);
        failed++;
    }
    printf("# %u forms, %" G_GINT64_MODIFIER "u cases, %" G_GINT64_MODIFIER "u differences in %u forms, seed %"
           G_GINT64_MODIFIER "u, judged by %s\n1..%u\n", n, cases, differs, bad_forms, seed, vendor_name(), tests);
    return failed ? 1 : 0;
}
