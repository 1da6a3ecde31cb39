/*
 * tests/unit/runtimefixture.h - a machine without a machine file, for tests of the runtime.
 *
 * Its accelerator is fake: cpu_run() calls a function of the test until that says
 * something else than GO_ON, or until it is kicked.
 */
#ifndef RUNTIMEFIXTURE_H
#define RUNTIMEFIXTURE_H

#include "core/machine.h"
#include <string.h>

enum { GO_ON = -1 };

typedef struct FixtureCpu {
    VmrCpu *cpu;
    bool kicked; /* atomic */
    unsigned resets;
} FixtureCpu;

typedef struct Fixture {
    VmrMachine *m;
    int (*run)(FixtureCpu *cpu, void *data); /* a VmrExit, or GO_ON */
    void *data;
    unsigned map_changes; /* atomic, as the next */
    uint64_t ram_written, ram_written_at;
} Fixture;

static Fixture *fixture_now;

static void *fixture_vm_new(VmrMachine *machine, GError **error)
{
    return fixture_now;
}

static void fixture_vm_free(void *vm)
{
}

static void *fixture_cpu_new(void *vm, VmrCpu *cpu, unsigned index, const char *model,
                             GError **error)
{
    FixtureCpu *c = g_new0(FixtureCpu, 1);
    c->cpu = cpu;
    return c;
}

static void fixture_cpu_reset(void *acpu, VmrResetKind kind)
{
    ((FixtureCpu *)acpu)->resets++;
}

static VmrExit fixture_cpu_run(void *acpu)
{
    FixtureCpu *c = acpu;
    while (!__atomic_exchange_n(&c->kicked, false, __ATOMIC_SEQ_CST)) {
        int why = fixture_now->run ? fixture_now->run(c, fixture_now->data) : VMR_EXIT_HALTED;
        if (why != GO_ON)
            return (VmrExit)why;
    }
    return VMR_EXIT_KICKED;
}

static void fixture_cpu_kick(void *acpu)
{
    __atomic_store_n(&((FixtureCpu *)acpu)->kicked, true, __ATOMIC_SEQ_CST);
}

static void fixture_map_changed(void *vm)
{
    __atomic_add_fetch(&((Fixture *)vm)->map_changes, 1, __ATOMIC_SEQ_CST);
}

static void fixture_ram_written(void *vm, uint64_t offset, uint64_t len)
{
    __atomic_store_n(&((Fixture *)vm)->ram_written_at, offset, __ATOMIC_RELAXED);
    __atomic_add_fetch(&((Fixture *)vm)->ram_written, len, __ATOMIC_RELAXED);
}

static const VmrAccelClass fixture_accel = {
    .size = sizeof(VmrAccelClass),
    .name = "fixture",
    .vm_new = fixture_vm_new,
    .vm_free = fixture_vm_free,
    .cpu_new = fixture_cpu_new,
    .cpu_free = g_free,
    .cpu_reset = fixture_cpu_reset,
    .cpu_run = fixture_cpu_run,
    .cpu_kick = fixture_cpu_kick,
    .map_changed = fixture_map_changed,
    .ram_written = fixture_ram_written,
};

static void fixture_handle_free(gpointer data)
{
    VmrDeviceHandle *h = data;
    g_free(h->device);
    g_free(h->name);
    g_free(h);
}

/* 1 MiB of RAM at 0, and so many vCPUs. */
static inline Fixture *fixture_new(unsigned cpus)
{
    GError *error = NULL;
    Fixture *f = fixture_now = g_new0(Fixture, 1);
    f->m = g_new0(VmrMachine, 1);
    f->m->accel = &fixture_accel;
    f->m->cpu_count = cpus;
    f->m->devices = g_ptr_array_new_with_free_func(fixture_handle_free);
    vmr_machine_init_runtime(f->m, 1 << 20, &error);
    g_assert_no_error(error);
    vmr_machine_add_ram(f->m, 0, 1 << 20, &error);
    g_assert_no_error(error);
    vmr_machine_create_cpus(f->m, &error);
    g_assert_no_error(error);
    vmr_space_commit(f->m->memory);
    return f;
}

static inline void fixture_free(Fixture *f)
{
    vmr_machine_free(f->m);
    g_free(f);
}

static inline void *fixture_device(Fixture *f, const VmrDeviceClass *klass, const char *name)
{
    VmrDeviceHandle *h = g_new0(VmrDeviceHandle, 1);
    VmrDevice *d = g_malloc0(klass->instance_size);
    *h = (VmrDeviceHandle){.machine = f->m, .device = d, .klass = klass, .domain = f->m->domain,
                           .name = g_strdup(name), .realized = true};
    *d = (VmrDevice){vmr_host_table(), h, klass, h->name};
    g_ptr_array_add(f->m->devices, h);
    g_ptr_array_add(f->m->realize_order, h);
    return d;
}

/* Place region `n` of a device; overlays get priority 2. */
static inline unsigned fixture_place(Fixture *f, VmrSpace *space, void *device, unsigned n,
                                     uint64_t base, GError **error)
{
    VmrDevice *d = device;
    const VmrRegion *r = &d->klass->regions[n];
    VmrPlacement p = {.label = r->name, .base = base, .size = r->size,
                      .priority = r->flags & VMR_REGION_OVERLAY ? 2 : 1,
                      .range = {.kind = VMR_RANGE_IO, .device = d, .region = r,
                                .domain = r->flags & VMR_REGION_CONCURRENT ? NULL : f->m->domain}};
    return vmr_space_place(space, &p, error);
}

#endif
