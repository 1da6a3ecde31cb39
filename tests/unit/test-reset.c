/* core/reset.c, machine.c, cpus.c: phases, requests, ends, parking. */
#include "runtimefixture.h"
#include "core/runtime.h"
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct Chip {
    VmrDevice base;
    VmrIrq out;
    GString *log;
    unsigned pauses, resumes, resets;
    bool level;
} Chip;

static GString *story;

static void reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Chip *c = (Chip *)dev;
    FixtureCpu *cpu = dev->handle->machine->cpus[0].acpu;
    g_string_append_printf(story, "%s%u%c ", dev->name, phase, cpu->resets ? 'r' : '-');
    if (phase == VMR_RESET_HOLD)
        vmr_irq_set(dev, c->out, c->level);
    c->resets += phase == VMR_RESET_EXIT;
}

static void line_changed(VmrDevice *dev, unsigned n, bool level)
{
    g_string_append_printf(story, "%s=%d ", dev->name, level);
}

static void on_pause(VmrDevice *dev)
{
    ((Chip *)dev)->pauses++;
}

static void on_resume(VmrDevice *dev)
{
    ((Chip *)dev)->resumes++;
}

static const VmrDeviceClass chip_class = {.size = sizeof(VmrDeviceClass), .id = "chip",
                                          .instance_size = sizeof(Chip), .reset = reset,
                                          .pause = on_pause, .resume = on_resume};

static void test_phases(void)
{
    Fixture *f = fixture_new(1);
    story = g_string_new(NULL);
    Chip *a = fixture_device(f, &chip_class, "a"), *b = fixture_device(f, &chip_class, "b");
    VmrIrqInput in = {.device = &b->base, .changed = line_changed};
    a->out = vmr_irq_connect(f->m, &in, 1);
    a->level = true;
    vmr_machine_reset(f->m, VMR_RESET_COLD);
    g_assert_cmpstr(story->str, ==, "a0- b0- a1r b=1 b1r b=1 a2r b2r ");
    /* The level stays, and the input hears of it again. */
    g_string_truncate(story, 0);
    vmr_machine_reset(f->m, VMR_RESET_WARM);
    g_assert_cmpstr(story->str, ==, "a0r b0r a1r b1r b=1 a2r b2r ");
    g_string_free(story, TRUE);
    fixture_free(f);
}

/* ---- whole runs ------------------------------------------------------- */

typedef struct Run {
    Chip *chip;
    unsigned calls; /* atomic: of cpu_run's function, all vCPUs */
    unsigned after; /* of them, after the request */
    VmrRequest request;
    uint32_t code;
    unsigned want_resets;
} Run;

static int ask(FixtureCpu *cpu, void *data)
{
    Run *r = data;
    if (cpu->cpu->index)
        return VMR_EXIT_HALTED;
    if (__atomic_add_fetch(&r->calls, 1, __ATOMIC_SEQ_CST) % 10 == 0)
        vmr_request(&r->chip->base,
                    r->chip->resets <= r->want_resets ? VMR_REQUEST_RESET : r->request, r->code);
    return GO_ON;
}

static int run(Fixture *f, Run *r, int (*fn)(FixtureCpu *, void *))
{
    story = g_string_new(NULL);
    r->chip = fixture_device(f, &chip_class, "chip");
    f->run = fn;
    f->data = r;
    int status = vmr_machine_run(f->m);
    g_string_free(story, TRUE);
    return status;
}

static void test_requests(void)
{
    static const struct {
        VmrRequest request;
        uint32_t code;
        int status;
    } cases[] = {{VMR_REQUEST_POWEROFF, 7, 0}, {VMR_REQUEST_EXIT, 0x145, 0x45},
                 {VMR_REQUEST_EXIT, 0, 0}, {VMR_REQUEST_CRASHED, 0, 3}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Fixture *f = fixture_new(3);
        Run r = {.request = cases[i].request, .code = cases[i].code, .want_resets = 1};
        g_assert_cmpint(run(f, &r, ask), ==, cases[i].status);
        /* power-on, and one that was asked for */
        g_assert_cmpuint(r.chip->resets, ==, 2);
        g_assert_cmpuint(((FixtureCpu *)f->m->cpus[2].acpu)->resets, ==, 2);
        g_assert_cmpuint(r.chip->pauses, ==, 2); /* for the reset, and at the end */
        g_assert_cmpuint(r.chip->resumes, ==, 1);
        fixture_free(f);
    }
}

static int triple_fault(FixtureCpu *cpu, void *data)
{
    return cpu->cpu->index == 1 ? VMR_EXIT_SHUTDOWN : VMR_EXIT_HALTED;
}

static int broken(FixtureCpu *cpu, void *data)
{
    return VMR_EXIT_ERROR;
}

static void test_crashes(void)
{
    Fixture *f = fixture_new(2);
    Run r = {0};
    g_assert_cmpint(run(f, &r, triple_fault), ==, 3);
    fixture_free(f);
    f = fixture_new(2);
    g_assert_cmpint(run(f, &r, broken), ==, 1);
    fixture_free(f);
}

static void test_time_limit(void)
{
    Fixture *f = fixture_new(2);
    Run r = {0};
    vmr_machine_set_time_limit(f->m, 0.3);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    g_assert_cmpint(run(f, &r, NULL), ==, 124); /* halted from the start */
    getrusage(RUSAGE_SELF, &after);
    int64_t us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec +
                  after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
                 after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
                 before.ru_stime.tv_usec;
    g_test_message("idle for 0.3 s: %" PRId64 " us of CPU time", us);
    g_assert_cmpint(us, <, 30000);
    fixture_free(f);
}

static int raise_term(FixtureCpu *cpu, void *data)
{
    if (__atomic_add_fetch(&((Run *)data)->calls, 1, __ATOMIC_SEQ_CST) == 1)
        kill(getpid(), SIGTERM);
    return GO_ON;
}

static void test_signal(void)
{
    Fixture *f = fixture_new(1);
    Run r = {0};
    g_assert_cmpint(run(f, &r, raise_term), ==, 128 + SIGTERM);
    fixture_free(f);
}

static int never(FixtureCpu *cpu, void *data)
{
    __atomic_add_fetch(&((Run *)data)->calls, 1, __ATOMIC_SEQ_CST);
    return GO_ON;
}

typedef struct Pauser {
    VmrMachine *m;
    Run *run;
    unsigned rounds, moved;
} Pauser;

static gboolean pause_now(gpointer data)
{
    Pauser *p = data;
    g_assert_true(vmr_machine_pause(p->m));
    g_assert_true(vmr_machine_pause(p->m)); /* they nest */
    unsigned calls = __atomic_load_n(&p->run->calls, __ATOMIC_SEQ_CST);
    int64_t t = vmr_machine_time(p->m);
    for (unsigned i = 0; i < 100; i++)
        g_thread_yield();
    p->moved += calls != __atomic_load_n(&p->run->calls, __ATOMIC_SEQ_CST);
    p->moved += t != vmr_machine_time(p->m);
    vmr_machine_resume(p->m);
    p->moved += t != vmr_machine_time(p->m);
    vmr_machine_resume(p->m);
    if (++p->rounds < 200)
        return G_SOURCE_CONTINUE;
    vmr_machine_request(p->m, VMR_REQUEST_EXIT, 9);
    return G_SOURCE_REMOVE;
}

static void test_pause(void)
{
    Fixture *f = fixture_new(3);
    Run r = {0};
    Pauser p = {.m = f->m, .run = &r};
    g_idle_add(pause_now, &p);
    g_assert_cmpint(run(f, &r, never), ==, 9);
    g_assert_cmpuint(p.moved, ==, 0);
    g_assert_cmpuint(r.chip->pauses, ==, 201);
    g_assert_cmpuint(r.chip->resumes, ==, 200);
    fixture_free(f);
}

/* A vCPU that halts and is woken at once, many times: no wake is lost. */
static int ping(FixtureCpu *cpu, void *data)
{
    Run *r = data;
    VmrMachine *m = cpu->cpu->machine;
    unsigned n = __atomic_load_n(&r->calls, __ATOMIC_SEQ_CST);
    if (n % 2 == cpu->cpu->index) {
        if (n == 20000)
            vmr_request(&r->chip->base, VMR_REQUEST_EXIT, 5);
        __atomic_add_fetch(&r->calls, 1, __ATOMIC_SEQ_CST);
        vmr_cpu_wake(&m->cpus[1 - cpu->cpu->index]);
    }
    return VMR_EXIT_HALTED;
}

static void test_wake(void)
{
    Fixture *f = fixture_new(2);
    Run r = {0};
    g_assert_cmpint(run(f, &r, ping), ==, 5);
    fixture_free(f);
}

static void test_trace(void)
{
    GError *error = NULL;
    g_assert_false(vmr_trace_setup("io,irk", &error));
    g_assert_nonnull(strstr(error->message, "irk"));
    g_clear_error(&error);
    g_assert_cmpuint(vmr_trace_mask, ==, 0);
    g_assert_true(vmr_trace_setup("io,guest-error,@com1:/dev/null", &error));
    g_assert_cmpuint(vmr_trace_mask, ==, VMR_TRACE_IO | VMR_TRACE_GUEST_ERROR);
    vmr_core_trace("com1", "text");
    vmr_trace_finish();
    vmr_trace_mask = 0;
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reset/phases", test_phases);
    g_test_add_func("/reset/requests", test_requests);
    g_test_add_func("/reset/crashes", test_crashes);
    g_test_add_func("/reset/time-limit", test_time_limit);
    g_test_add_func("/reset/signal", test_signal);
    g_test_add_func("/reset/pause", test_pause);
    g_test_add_func("/reset/wake", test_wake);
    g_test_add_func("/reset/trace", test_trace);
    return g_test_run();
}
