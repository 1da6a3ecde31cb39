/*
 * core/facts.c - the description of a device: what it says of itself, and where it was put.
 */
#include "core/wire.h"

#include <string.h>

/* What a device may say: a loop in describe() must not eat the host's memory. */
#define FACTS_MAX 256
#define VALUES_MAX 4096

typedef struct Facts {
    VmrDescription d;
    GArray *facts; /* VmrFact; arrays and strings owned */
} Facts;

static VmrFact *fact_of(Facts *f, const char *key, VmrFactType type)
{
    for (unsigned i = 0; i < f->facts->len; i++) {
        VmrFact *fact = &g_array_index(f->facts, VmrFact, i);
        if (strcmp(fact->key, key) == 0)
            return fact->type == type && fact->count < VALUES_MAX ? fact : NULL;
    }
    if (f->facts->len == FACTS_MAX)
        return NULL;
    VmrFact fresh = {.key = g_strdup(key), .type = type};
    g_array_append_val(f->facts, fresh);
    return &g_array_index(f->facts, VmrFact, f->facts->len - 1);
}

static void sync_facts(Facts *f)
{
    f->d.facts = (const VmrFact *)(void *)f->facts->data;
    f->d.fact_count = f->facts->len;
}

static void add_string(VmrDescription *d, const char *key, const char *value)
{
    Facts *f = (Facts *)d;
    VmrFact *fact = key && value ? fact_of(f, key, VMR_FACT_STRING) : NULL;
    if (fact) {
        char **strings = g_renew(char *, (char **)fact->strings, fact->count + 1);
        strings[fact->count++] = g_strdup(value);
        fact->strings = (const char *const *)strings;
    }
    sync_facts(f);
}

static void add_numbers(VmrDescription *d, const char *key, const uint64_t *values, uint32_t count)
{
    Facts *f = (Facts *)d;
    VmrFact *fact = key ? fact_of(f, key, VMR_FACT_NUMBERS) : NULL;
    if (fact && count <= VALUES_MAX) {
        uint64_t *numbers = g_renew(uint64_t, (uint64_t *)fact->numbers, fact->count + count);
        memcpy(numbers + fact->count, values, count * sizeof(*values));
        fact->numbers = numbers;
        fact->count += count;
    }
    sync_facts(f);
}

VmrDescription *vmr_description_new(VmrDeviceHandle *h)
{
    Facts *f = g_new0(Facts, 1);
    f->facts = g_array_new(FALSE, TRUE, sizeof(VmrFact));
    f->d.device = h->device;
    f->d.add_string = add_string;
    f->d.add_numbers = add_numbers;
    f->d.regions = (const VmrPlacedRegion *)(void *)h->placements->data;
    f->d.region_count = h->placements->len;
    f->d.lines = (const VmrRoutedLine *)(void *)h->routes->data;
    f->d.line_count = h->routes->len;
    if (h->klass->describe)
        h->klass->describe(h->device, &f->d);
    return &f->d;
}

void vmr_description_free(VmrDescription *d)
{
    Facts *f = (Facts *)d;
    if (!f)
        return;
    for (unsigned i = 0; i < f->facts->len; i++) {
        VmrFact *fact = &g_array_index(f->facts, VmrFact, i);
        for (uint32_t j = 0; fact->type == VMR_FACT_STRING && j < fact->count; j++)
            g_free((char *)fact->strings[j]);
        g_free((gpointer)fact->strings);
        g_free((gpointer)fact->numbers);
        g_free((gpointer)fact->key);
    }
    g_array_unref(f->facts);
    g_free(f);
}
