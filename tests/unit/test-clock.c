/* core/clock.c, timer.c, watch.c, work.c: what the main loop calls, when and where. */
#include "runtimefixture.h"
#include "core/runtime.h"
#include <unistd.h>

typedef struct Ticker {
    VmrDevice base;
    VmrTimer *timer[4];
    unsigned fired[4];
    int64_t at[4];
    unsigned sequence[8], count;
    bool again, outside;
    VmrTimer *cancels;
    VmrWatch *watch;
    unsigned ready, works, dones;
} Ticker;

#define FIRED(n_)                                                                                  \
    static void fired##n_(VmrDevice *dev)                                                          \
    {                                                                                              \
        Ticker *t = (Ticker *)dev;                                                                 \
        t->fired[n_]++;                                                                            \
        t->at[n_] = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);                                         \
        t->outside |= !vmr_domain_owned(dev->handle->machine->domain);                             \
        if (t->count < 8)                                                                          \
            t->sequence[t->count++] = n_;                                                          \
        if (n_ == 0 && t->again)                                                                   \
            vmr_timer_set(dev, t->timer[0], 0);                                                    \
        if (t->cancels)                                                                            \
            vmr_timer_cancel(dev, t->cancels);                                                     \
    }
FIRED(0)
FIRED(1)
FIRED(2)
FIRED(3)

static const VmrDeviceClass ticker_class = {.size = sizeof(VmrDeviceClass), .id = "ticker",
                                            .instance_size = sizeof(Ticker)};

static Ticker *ticker(Fixture *f)
{
    static VmrTimerFired *const fns[] = {fired0, fired1, fired2, fired3};
    Ticker *t = fixture_device(f, &ticker_class, "ticker");
    for (unsigned i = 0; i < 4; i++)
        t->timer[i] = vmr_timer_new(&t->base, VMR_CLOCK_VIRTUAL, fns[i]);
    return t;
}

static void ticker_free(Ticker *t, Fixture *f)
{
    for (unsigned i = 0; i < 4; i++)
        vmr_timer_free(&t->base, t->timer[i]);
    fixture_free(f);
}

static void loop_until(const unsigned *count, unsigned want)
{
    while (*count < want)
        g_main_context_iteration(NULL, TRUE);
}

static void test_clock(void)
{
    Fixture *f = fixture_new(1);
    g_assert_cmpint(vmr_machine_time(f->m), ==, 0);
    vmr_clock_start(f->m);
    int64_t a = vmr_machine_time(f->m), b;
    while ((b = vmr_machine_time(f->m)) == a)
        ;
    g_assert_cmpint(b, >, a);
    vmr_clock_stop(f->m);
    a = vmr_machine_time(f->m);
    g_assert_cmpint(a, >=, b);
    g_assert_cmpint(vmr_machine_time(f->m), ==, a);
    vmr_clock_start(f->m);
    b = vmr_machine_time(f->m);
    g_assert_cmpint(b, >=, a);
    g_assert_cmpint(b - a, <, 1000000000);
    fixture_free(f);
}

static void test_order(void)
{
    Fixture *f = fixture_new(1);
    Ticker *t = ticker(f);
    vmr_timer_set(&t->base, t->timer[0], 300000);
    vmr_timer_set(&t->base, t->timer[1], 100000);
    vmr_timer_set(&t->base, t->timer[2], 200000);
    vmr_timer_set(&t->base, t->timer[3], 200000);
    int64_t deadline;
    g_assert_true(vmr_timer_pending(&t->base, t->timer[0], &deadline));
    g_assert_cmpint(deadline, ==, 300000);
    g_main_context_iteration(NULL, FALSE);
    g_assert_cmpuint(t->count, ==, 0); /* the clock stands */
    vmr_clock_start(f->m);
    loop_until(&t->count, 4);
    g_assert_cmpuint(t->sequence[0], ==, 1);
    g_assert_cmpuint(t->sequence[1], ==, 2);
    g_assert_cmpuint(t->sequence[2], ==, 3);
    g_assert_cmpuint(t->sequence[3], ==, 0);
    g_assert_cmpint(t->at[1], >=, 100000);
    g_assert_false(t->outside);
    g_assert_false(vmr_timer_pending(&t->base, t->timer[0], NULL));
    ticker_free(t, f);
}

static void test_cancel(void)
{
    Fixture *f = fixture_new(1);
    Ticker *t = ticker(f);
    vmr_clock_start(f->m);
    t->cancels = t->timer[1];
    vmr_timer_set(&t->base, t->timer[0], 0);
    vmr_timer_set(&t->base, t->timer[1], 0);
    vmr_timer_set(&t->base, t->timer[2], 0);
    vmr_timer_set(&t->base, t->timer[3], INT64_MAX);
    g_assert_cmpuint(t->count, ==, 0); /* never within the call */
    loop_until(&t->fired[2], 1);
    g_assert_cmpuint(t->fired[0], ==, 1);
    g_assert_cmpuint(t->fired[1], ==, 0);
    g_assert_cmpuint(t->fired[3], ==, 0);
    vmr_timer_set(&t->base, t->timer[3], INT64_MIN);
    loop_until(&t->fired[3], 1);
    ticker_free(t, f);
}

/* A timer that always sets itself into the past starves neither others nor the loop. */
static void test_hostile(void)
{
    Fixture *f = fixture_new(1);
    Ticker *t = ticker(f);
    vmr_clock_start(f->m);
    t->again = true;
    vmr_timer_set(&t->base, t->timer[0], INT64_MIN);
    vmr_timer_set(&t->base, t->timer[1], 2000000);
    loop_until(&t->fired[1], 1);
    g_assert_cmpuint(t->fired[0], >, 10);
    ticker_free(t, f);
}

/* Sub-millisecond: ten timers of 100 us do not take 10 ms, in the best of many rounds. */
static void test_fine(void)
{
    Fixture *f = fixture_new(1);
    Ticker *t = ticker(f);
    vmr_clock_start(f->m);
    int64_t best = INT64_MAX;
    for (unsigned round = 0; round < 50; round++) {
        int64_t start = vmr_machine_time(f->m);
        for (unsigned i = 0; i < 10; i++) {
            unsigned want = t->fired[2] + 1;
            vmr_timer_set(&t->base, t->timer[2], vmr_machine_time(f->m) + 100000);
            loop_until(&t->fired[2], want);
        }
        best = MIN(best, vmr_machine_time(f->m) - start);
    }
    g_test_message("10 timers of 100 us: %" PRId64 " ns", best);
    g_assert_cmpint(best, >=, 1000000);
    g_assert_cmpint(best, <, 6000000);
    ticker_free(t, f);
}

static void on_ready(VmrDevice *dev, int fd, unsigned cond)
{
    Ticker *t = (Ticker *)dev;
    char c;
    g_assert_cmpint(read(fd, &c, 1), ==, 1);
    t->outside |= !vmr_domain_owned(dev->handle->machine->domain);
    if (++t->ready == 2) {
        vmr_watch_free(dev, t->watch);
        t->watch = NULL;
    }
}

static void test_watch(void)
{
    Fixture *f = fixture_new(1);
    Ticker *t = ticker(f);
    int p[2];
    g_assert_cmpint(pipe(p), ==, 0);
    t->watch = vmr_watch_new(&t->base, p[0], G_IO_IN, on_ready);
    g_assert_cmpint(write(p[1], "abc", 3), ==, 3);
    loop_until(&t->ready, 2);
    g_main_context_iteration(NULL, FALSE);
    g_assert_cmpuint(t->ready, ==, 2);
    g_assert_false(t->outside);
    close(p[0]);
    close(p[1]);
    ticker_free(t, f);
}

static void work(void *data)
{
    __atomic_add_fetch(&((Ticker *)data)->works, 1, __ATOMIC_SEQ_CST);
}

static void work_done(VmrDevice *dev, void *data)
{
    Ticker *t = (Ticker *)dev;
    t->dones++;
    t->outside |= !vmr_domain_owned(dev->handle->machine->domain);
}

static void test_work(void)
{
    Fixture *f = fixture_new(1);
    Ticker *t = ticker(f);
    for (unsigned i = 0; i < 200; i++)
        vmr_work_submit(&t->base, work, work_done, t);
    loop_until(&t->dones, 100);
    vmr_workers_drain(f->m->priv->workers);
    g_assert_cmpuint(t->works, ==, 200);
    g_assert_cmpuint(t->dones, ==, 200);
    g_assert_false(t->outside);
    ticker_free(t, f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clock/clock", test_clock);
    g_test_add_func("/clock/order", test_order);
    g_test_add_func("/clock/cancel", test_cancel);
    g_test_add_func("/clock/hostile", test_hostile);
    g_test_add_func("/clock/fine", test_fine);
    g_test_add_func("/clock/watch", test_watch);
    g_test_add_func("/clock/work", test_work);
    return g_test_run();
}
