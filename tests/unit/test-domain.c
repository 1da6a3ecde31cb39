/* core/domain.c: recursion, ownership, and that the main loop is not kept out. */
#include "runtimefixture.h"

static void test_recursive(void)
{
    VmrDomain *d = vmr_domain_new("test", NULL);
    g_assert_false(vmr_domain_owned(d));
    vmr_domain_lock(d);
    vmr_domain_lock_urgent(d);
    g_assert_true(vmr_domain_owned(d));
    vmr_domain_unlock(d);
    g_assert_true(vmr_domain_owned(d));
    vmr_domain_check(d, "test");
    vmr_domain_unlock(d);
    g_assert_false(vmr_domain_owned(d));
    vmr_domain_free(d);
}

typedef struct Share {
    VmrDomain *domain;
    bool stop;
    unsigned count; /* not atomic: the lock protects it */
    unsigned loops;
} Share;

static void *hammer(void *data)
{
    Share *s = data;
    unsigned n = 0;
    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        vmr_domain_lock(s->domain);
        vmr_domain_lock(s->domain);
        s->count++;
        vmr_domain_unlock(s->domain);
        vmr_domain_unlock(s->domain);
        n++;
    }
    __atomic_add_fetch(&s->loops, n, __ATOMIC_RELAXED);
    return NULL;
}

static void test_contended(void)
{
    Share s = {.domain = vmr_domain_new("test", NULL)};
    GThread *a = g_thread_new("a", hammer, &s), *b = g_thread_new("b", hammer, &s);
    for (unsigned i = 0; i < 2000; i++) {
        vmr_domain_lock_urgent(s.domain);
        s.count++;
        vmr_domain_unlock(s.domain);
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
    g_thread_join(a);
    g_thread_join(b);
    g_assert_cmpuint(s.count, ==, s.loops + 2000);
    vmr_domain_free(s.domain);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/domain/recursive", test_recursive);
    g_test_add_func("/domain/contended", test_contended);
    return g_test_run();
}
