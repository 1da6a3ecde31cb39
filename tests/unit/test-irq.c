/* core/irq.c and pins.c: OR, inversion, fan-out, reset, rings, CPU pins and machine lines. */
#include "runtimefixture.h"
#include <vmrun/x86.h>

typedef struct Board {
    VmrDevice base;
    VmrIrq out[4];
    bool level[8];
    unsigned changes[8];
    bool outside; /* told without the domain lock */
    bool echo;    /* input 0 drives output 0 */
} Board;

static void changed(VmrDevice *dev, unsigned n, bool level)
{
    Board *b = (Board *)dev;
    b->level[n] = level;
    b->changes[n]++;
    b->outside |= !vmr_domain_owned(dev->handle->machine->domain);
    if (b->echo && n == 0)
        vmr_irq_set(dev, b->out[0], level);
}

static const VmrDeviceClass board_class = {.size = sizeof(VmrDeviceClass), .id = "board",
                                           .instance_size = sizeof(Board)};

static VmrIrqInput in(Board *b, unsigned n, bool inverted)
{
    return (VmrIrqInput){.device = &b->base, .changed = changed, .n = n, .inverted = inverted};
}

static void test_or(void)
{
    Fixture *f = fixture_new(1);
    Board *b = fixture_device(f, &board_class, "b");
    VmrIrqInput one = in(b, 3, false), both[2] = {in(b, 3, false), in(b, 4, false)};
    b->out[0] = vmr_irq_connect(f->m, &one, 1);
    b->out[1] = vmr_irq_connect(f->m, both, 2);
    vmr_irq_set(&b->base, b->out[0], true);
    g_assert_cmpuint(b->changes[3], ==, 1);
    vmr_irq_set(&b->base, b->out[0], true);
    vmr_irq_set(&b->base, b->out[1], true);
    g_assert_cmpuint(b->changes[3], ==, 1);
    g_assert_true(b->level[4]);
    vmr_irq_set(&b->base, b->out[0], false);
    g_assert_true(b->level[3]);
    vmr_irq_set(&b->base, b->out[1], false);
    g_assert_false(b->level[3]);
    g_assert_false(b->level[4]);
    g_assert_cmpuint(b->changes[3], ==, 2);
    g_assert_false(b->outside);
    vmr_irq_set(&b->base, (VmrIrq){0}, true);
    g_assert_null(vmr_irq_connect(f->m, NULL, 0).sink);
    fixture_free(f);
}

static void test_inverted(void)
{
    Fixture *f = fixture_new(1);
    Board *b = fixture_device(f, &board_class, "b");
    VmrIrqInput plain = in(b, 1, false), not = in(b, 1, true);
    b->out[0] = vmr_irq_connect(f->m, &not, 1);
    b->out[1] = vmr_irq_connect(f->m, &plain, 1);
    g_assert_cmpuint(b->changes[1], ==, 0); /* nobody is called before the reset */
    vmr_machine_reset(f->m, VMR_RESET_COLD);
    g_assert_true(b->level[1]);
    vmr_irq_set(&b->base, b->out[1], true);
    vmr_irq_set(&b->base, b->out[0], true);
    g_assert_true(b->level[1]);
    vmr_irq_set(&b->base, b->out[1], false);
    g_assert_false(b->level[1]);
    fixture_free(f);
}

static void test_ring(void)
{
    Fixture *f = fixture_new(1);
    Board *b = fixture_device(f, &board_class, "b");
    b->echo = true;
    VmrIrqInput not = in(b, 0, true);
    b->out[0] = vmr_irq_connect(f->m, &not, 1);
    changed(&b->base, 0, true);
    g_assert_cmpuint(b->changes[0], <, 100);
    fixture_free(f);
}

static void *drive(void *data)
{
    Board *b = data;
    for (unsigned i = 0; i < 20000; i++)
        vmr_irq_set(&b->base, b->out[1], i % 2 == 0);
    return NULL;
}

static void test_threads(void)
{
    Fixture *f = fixture_new(1);
    Board *b = fixture_device(f, &board_class, "b");
    VmrIrqInput one = in(b, 2, false);
    b->out[0] = vmr_irq_connect(f->m, &one, 1);
    b->out[1] = vmr_irq_connect(f->m, &one, 1);
    GThread *t = g_thread_new("t", drive, b);
    for (unsigned i = 0; i < 20000; i++)
        vmr_irq_set(&b->base, b->out[0], i % 2 == 0);
    g_thread_join(t);
    g_assert_false(b->level[2]);
    g_assert_cmpuint(b->changes[2] % 2, ==, 0);
    g_assert_false(b->outside);
    fixture_free(f);
}

static void test_lines(void)
{
    Fixture *f = fixture_new(2);
    Board *b = fixture_device(f, &board_class, "b");
    VmrIrqInput to;
    g_assert_false(vmr_machine_pin(f->m, "cpu2", "nmi", &to));
    g_assert_false(vmr_machine_pin(f->m, "cpu0", "nim", &to));
    g_assert_false(vmr_machine_pin(f->m, "cpux", "nmi", &to));
    g_assert_true(vmr_machine_pin(f->m, "cpu1", "nmi", &to));
    b->out[0] = vmr_irq_connect(f->m, &to, 1);
    vmr_irq_set(&b->base, b->out[0], true); /* the fake has no pins: nothing happens */
    g_assert_true(f->m->a20);
    g_assert_true(vmr_machine_pin(f->m, "machine", "a20", &to));
    b->out[1] = vmr_irq_connect(f->m, &to, 1);
    g_assert_true(f->m->a20);
    vmr_machine_reset(f->m, VMR_RESET_COLD);
    g_assert_false(f->m->a20); /* connected now, and low */
    g_assert_cmpuint(f->map_changes, ==, 2); /* the fixture's commit, and this */
    vmr_irq_set(&b->base, b->out[1], true);
    g_assert_true(f->m->a20);
    g_assert_cmpuint(f->map_changes, ==, 3);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/irq/or", test_or);
    g_test_add_func("/irq/inverted", test_inverted);
    g_test_add_func("/irq/ring", test_ring);
    g_test_add_func("/irq/threads", test_threads);
    g_test_add_func("/irq/lines", test_lines);
    return g_test_run();
}
