/* The counts of -Dinterp_mix=true: mix.h. */
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

#include "mix.h"
#include "ops.h"

enum { SHOWN = 60 };

static const char *const names[] = {
#define OP_NAME(n) #n,
    X86_OPS(OP_NAME)
#undef OP_NAME
};
static uint64_t single[OP_COUNT], pair[OP_COUNT][OP_COUNT], total;
static unsigned last;

void x86_mix_count(unsigned code, bool first)
{
    total++;
    single[code]++;
    if (!first)
        pair[last][code]++;
    last = code;
}

/* The most frequent of n, in percent of all ops executed. */
static void print(const char *title, const uint64_t *counts, unsigned n, bool pairs)
{
    fprintf(stderr, "%s\n", title);
    uint64_t below = UINT64_MAX;
    for (unsigned shown = 0; shown < SHOWN && below;) {
        uint64_t next = 0;
        for (unsigned i = 0; i < n; i++)
            if (counts[i] < below && counts[i] > next)
                next = counts[i];
        for (unsigned i = 0; next && i < n; i++) {
            if (counts[i] != next)
                continue;
            double percent = 100.0 * (double)next / (double)total;
            if (pairs)
                fprintf(stderr, "%6.2f %%  %s %s\n", percent, names[i / OP_COUNT], names[i % OP_COUNT]);
            else
                fprintf(stderr, "%6.2f %%  %s\n", percent, names[i]);
            shown++;
        }
        below = next;
    }
}

void x86_mix_print(void)
{
    fprintf(stderr, "%" G_GUINT64_FORMAT " ops\n", total);
    print("ops:", single, OP_COUNT, false);
    print("pairs:", pair[0], OP_COUNT * OP_COUNT, true);
}
