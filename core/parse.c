/*
 * core/parse.c - texts of a machine file to values, and the nearest known name.
 */
#include "core/config.h"

#include <string.h>

/* Digits of `base` from *p on; false if there are none or they overflow. */
static bool parse_digits(const char **p, unsigned base, guint64 *value)
{
    guint64 v = 0;
    const char *s = *p;
    int digit;
    while ((digit = g_ascii_xdigit_value(*s)) >= 0 && (unsigned)digit < base) {
        if (__builtin_mul_overflow(v, (guint64)base, &v) ||
            __builtin_add_overflow(v, (guint64)digit, &v))
            return false;
        s++;
    }
    if (s == *p)
        return false;
    *p = s;
    *value = v;
    return true;
}

static bool parse_prefixed(const char **p, guint64 *value)
{
    unsigned base = 10;
    if ((*p)[0] == '0' && ((*p)[1] == 'x' || (*p)[1] == 'X'))
        base = 16;
    else if ((*p)[0] == '0' && ((*p)[1] == 'b' || (*p)[1] == 'B'))
        base = 2;
    if (base != 10)
        *p += 2;
    return parse_digits(p, base, value);
}

bool vmr_parse_number(const char *text, guint64 *value)
{
    guint64 v;
    if (!parse_prefixed(&text, &v) || *text)
        return false;
    *value = v;
    return true;
}

bool vmr_parse_size(const char *text, guint64 *value)
{
    guint64 v;
    unsigned shift = 0;
    if (!parse_prefixed(&text, &v))
        return false;
    switch (g_ascii_toupper(*text)) {
    case 'T':
        shift += 10;
        G_GNUC_FALLTHROUGH;
    case 'G':
        shift += 10;
        G_GNUC_FALLTHROUGH;
    case 'M':
        shift += 10;
        G_GNUC_FALLTHROUGH;
    case 'K':
        shift += 10;
        text++;
        break;
    default:
        break;
    }
    if (*text || (shift && v >> (64 - shift)))
        return false;
    *value = v << shift;
    return true;
}

bool vmr_parse_bool(const char *text, bool *value)
{
    static const char *const yes[] = {"on", "true", "yes", "1", NULL};
    static const char *const no[] = {"off", "false", "no", "0", NULL};
    if (g_strv_contains(yes, text))
        *value = true;
    else if (g_strv_contains(no, text))
        *value = false;
    else
        return false;
    return true;
}

#define NEAREST_MAX 64

/* Edit distance where a swap of neighbours counts once; letters' case does not count. */
static unsigned edit_distance(const char *a, unsigned la, const char *b, unsigned lb)
{
    unsigned rows[3][NEAREST_MAX + 1];
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    for (unsigned j = 0; j <= lb; j++)
        last[j] = before[j] = j;
    for (unsigned i = 1; i <= la; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            bool same = g_ascii_tolower(a[i - 1]) == g_ascii_tolower(b[j - 1]);
            unsigned d = MIN(last[j - 1] + !same, MIN(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && g_ascii_tolower(a[i - 1]) == g_ascii_tolower(b[j - 2]) &&
                g_ascii_tolower(a[i - 2]) == g_ascii_tolower(b[j - 1]))
                d = MIN(d, before[j - 2] + 1);
            row[j] = d;
        }
        unsigned *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[lb];
}

const char *vmr_nearest(const char *name, const char *const *known)
{
    const char *best = NULL;
    size_t length = strlen(name);
    if (length == 0 || length > NEAREST_MAX)
        return NULL;
    /* More edits than letters would make everything near to a short name. */
    unsigned limit = MIN(MAX(2, (unsigned)length / 3), (unsigned)length - 1);
    unsigned best_distance = limit + 1;
    for (; known && *known; known++) {
        size_t l = strlen(*known);
        if (l > NEAREST_MAX)
            continue;
        unsigned d = edit_distance(name, (unsigned)length, *known, (unsigned)l);
        if (d < best_distance) {
            best = *known;
            best_distance = d;
        }
    }
    return best;
}

char *vmr_nearest_hint(const char *name, const char *const *known)
{
    const char *near = vmr_nearest(name, known);
    return near ? g_strdup_printf("; did you mean '%s'?", near) : g_strdup("");
}
