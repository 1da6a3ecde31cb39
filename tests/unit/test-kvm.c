/* KVM: the architectural state of a vCPU goes in and out unchanged, and from one accelerator to
   the other while a guest runs; kicks.  Skipped without a usable KVM. */
#include "core/machine.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <vmrun/x86.h>

typedef struct M {
    VmrMachine *m;
    const VmrX86CpuInterface *x86;
} M;

static const VmrAccelClass *accel(const char *name)
{
    for (unsigned i = 0; vmr_accels[i]; i++)
        if (g_str_equal(vmr_accels[i]->name, name))
            return vmr_accels[i];
    return NULL;
}

static char *why_not(void)
{
    const VmrAccelClass *kvm = accel("kvm");
    GError *error = NULL;
    if (!kvm)
        return g_strdup("KVM is not built in");
    if (kvm->probe(&error))
        return NULL;
    char *text = g_strdup(error->message);
    g_error_free(error);
    return text;
}

static bool limited(void)
{
    char *text = accel("kvm")->limits();
    g_free(text);
    return text != NULL;
}

static M machine_on(const char *name, unsigned cpus)
{
    M r = {.m = g_new0(VmrMachine, 1)};
    GError *error = NULL;
    r.m->accel = accel(name);
    r.m->cpu_count = cpus;
    r.m->cpu_model = g_strdup("x86-64-v2");
    g_assert_true(vmr_machine_init_runtime(r.m, 4 << 20, &error));
    g_assert_true(vmr_machine_add_ram(r.m, 0, 4 << 20, &error));
    vmr_space_commit(r.m->memory);
    g_assert_true(vmr_machine_create_cpus(r.m, &error));
    g_assert_no_error(error);
    for (unsigned i = 0; i < cpus; i++)
        r.m->accel->cpu_reset(r.m->cpus[i].acpu, VMR_RESET_COLD);
    r.x86 = r.m->accel->cpu_interface(r.m->cpus[0].acpu, VMR_X86_CPU);
    g_assert_nonnull(r.x86);
    return r;
}

static void set(M *m, const VmrX86State *s)
{
    GError *error = NULL;
    VmrX86State *copy = g_memdup2(s, sizeof *s);
    copy->tsc_hz = m->x86->tsc_hz(&m->m->cpus[0]); /* KVM's cannot be changed */
    m->x86->set_state(&m->m->cpus[0], copy, &error);
    g_assert_no_error(error);
    g_free(copy);
}

static VmrX86State *get(M *m)
{
    VmrX86State *s = g_new0(VmrX86State, 1);
    m->x86->get_state(&m->m->cpus[0], s);
    g_assert_cmpuint(s->size, ==, sizeof *s);
    return s;
}

static VmrExit run(M *m)
{
    vmr_reader_enter(m->m);
    VmrExit e = m->m->accel->cpu_run(m->m->cpus[0].acpu);
    vmr_reader_leave(m->m);
    return e;
}

/* ---- comparison ----------------------------------------------------------------------------- */

static unsigned differences;

static void differ(const char *what, uint64_t a, uint64_t b)
{
    if (a == b)
        return;
    g_test_message("%s: 0x%" G_GINT64_MODIFIER "x and 0x%" G_GINT64_MODIFIER "x", what, a, b);
    differences++;
}

static void segments(const char *what, const VmrX86Segment *a, const VmrX86Segment *b)
{
    char name[64];
#define F(f) (g_snprintf(name, sizeof name, "%s." #f, what), differ(name, a->f, b->f))
    F(base), F(selector), F(unusable);
    if (a->unusable)
        return; /* the rest has no meaning */
    /* Not G, which AMD's KVM makes of the limit. */
    F(limit), F(type), F(s), F(dpl), F(present), F(l), F(db);
#undef F
}

static void compare(const VmrX86State *a, const VmrX86State *b)
{
    char name[64];
    differences = 0;
    differ("mp_state", a->mp_state, b->mp_state);
    for (unsigned i = 0; i < 16; i++) {
        g_snprintf(name, sizeof name, "gpr %u", i);
        differ(name, a->gpr[i], b->gpr[i]);
    }
#define F(f) differ(#f, a->f, b->f)
    F(rip), F(rflags), F(gdt_base), F(idt_base), F(gdt_limit), F(idt_limit), F(cr0), F(cr2), F(cr3),
        F(cr4), F(xcr0), F(efer), F(nmi_blocked), F(nmi_pending), F(sti_shadow), F(event_pending);
    if (a->event_pending)
        F(event_vector), F(event_type), F(event_has_error), F(event_error);
#undef F
    static const char *const names[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    for (unsigned i = 0; i < 6; i++)
        segments(names[i], &a->seg[i], &b->seg[i]);
    segments("ldtr", &a->ldtr, &b->ldtr);
    segments("tr", &a->tr, &b->tr);
    for (unsigned i = 0; i < 8; i++) {
        g_snprintf(name, sizeof name, "dr%u", i);
        if (i != 4 && i != 5)
            differ(name, a->dr[i], b->dr[i]);
    }
    /* Those that both have. */
    for (unsigned i = 0; i < a->msr_count; i++)
        for (unsigned j = 0; j < b->msr_count; j++)
            if (a->msr[i].index == b->msr[j].index) {
                g_snprintf(name, sizeof name, "MSR 0x%x", a->msr[i].index);
                differ(name, a->msr[i].value, b->msr[j].value);
            }
    for (unsigned i = 0; i < 416; i++) {
        g_snprintf(name, sizeof name, "xsave[%u]", i);
        if (i < 6 || i >= 24) /* the last instruction's address: AMD does not keep it */
            if (i < 28 || i >= 32) /* MXCSR_MASK is the CPU's */
                differ(name, a->xsave[i], b->xsave[i]);
    }
    g_assert_cmpuint(differences, ==, 0);
}

/* ---- states --------------------------------------------------------------------------------- */

static void fill(VmrX86State *s, unsigned seed)
{
    GRand *r = g_rand_new_with_seed(seed);
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = (uint64_t)g_rand_int(r) << 32 | g_rand_int(r);
    s->rflags = 0x2 | (g_rand_int(r) & 0xcd5);
    s->cr2 = g_rand_int(r);
    s->gdt_base = g_rand_int(r);
    s->idt_base = g_rand_int(r);
    s->gdt_limit = (uint16_t)g_rand_int(r);
    s->idt_limit = (uint16_t)g_rand_int(r);
    for (unsigned i = 0; i < 4; i++)
        s->dr[i] = g_rand_int(r);
    s->dr[6] = 0xffff0ff0 | (g_rand_int(r) & 0xf);
    s->nmi_blocked = g_rand_int(r) & 1;
    for (unsigned i = 0; i < s->msr_count; i++)
        switch (s->msr[i].index) {
        case 0xc0000081: case 0xc0000084: case 0xc0000103: case 0x174:
            s->msr[i].value = g_rand_int(r);
            break;
        case 0x175: case 0x176: case 0xc0000082: case 0xc0000083: case 0xc0000102:
            s->msr[i].value = g_rand_int(r) & 0x7fffffff;
            break;
        case 0x277:
            s->msr[i].value = 0x0007010600070106;
            break;
        }
    s->xsave[512] = 3;
    s->xsave[0] = 0x7f, s->xsave[1] = 0xf; /* FCW */
    s->xsave[24] = 0xa0, s->xsave[25] = 0x1f; /* MXCSR */
    s->xsave[4] = 0xff;
    for (unsigned i = 0; i < 8; i++)
        for (unsigned j = 0; j < 10; j++)
            s->xsave[32 + 16 * i + j] = (uint8_t)(g_rand_int(r) | (j == 7 ? 0x80 : 0));
    for (unsigned i = 160; i < 416; i++)
        s->xsave[i] = (uint8_t)g_rand_int(r);
    g_rand_free(r);
}

static void real_mode(VmrX86State *s, uint16_t cs)
{
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = (VmrX86Segment){.limit = 0xffff, .type = 3, .s = 1, .present = 1};
    s->seg[VMR_X86_CS].type = 11;
    s->seg[VMR_X86_CS].selector = cs;
    s->seg[VMR_X86_CS].base = (uint64_t)cs << 4;
    s->cr0 = 0x10;
    s->cr3 = s->cr4 = s->efer = 0;
}

/* Flat, with paging of 1 GiB by one page directory pointer table entry at 0x3000. */
static void long_mode(VmrX86State *s)
{
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = (VmrX86Segment){.selector = 16, .limit = UINT32_MAX, .type = 3, .s = 1, .present = 1,
                                    .g = 1, .db = 1};
    s->seg[VMR_X86_CS] = (VmrX86Segment){.selector = 8, .limit = UINT32_MAX, .type = 11, .s = 1,
                                         .present = 1, .g = 1, .l = 1};
    s->seg[VMR_X86_FS].base = 0x7fff12345678;
    s->tr = (VmrX86Segment){.selector = 24, .base = 0x5000, .limit = 0x67, .type = 11, .present = 1};
    s->ldtr = (VmrX86Segment){.unusable = 1};
    s->cr0 = 0x80000033;
    s->cr3 = 0x2000;
    s->cr4 = 0x620;
    s->efer = 0xd01;
    s->rip = 0x10000;
}

static void page_tables(M *m)
{
    uint8_t *ram = m->m->ram.base;
    uint64_t pml4 = 0x3003, pdpt = 0x4003;
    memcpy(ram + 0x2000, &pml4, 8);
    memcpy(ram + 0x3000, &pdpt, 8);
    for (uint64_t i = 0; i < 512; i++) {
        uint64_t pd = i << 21 | 0x83;
        memcpy(ram + 0x4000 + 8 * i, &pd, 8);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_reset(void)
{
    M kvm = machine_on("kvm", 2), interp = machine_on("interp", 2);
    VmrX86State *a = get(&kvm), *b = get(&interp);
    compare(a, b);
    g_free(a);
    a = g_new0(VmrX86State, 1);
    kvm.x86->get_state(&kvm.m->cpus[1], a);
    g_assert_cmpuint(a->mp_state, ==, 2);
    g_free(a);
    g_free(b);
    vmr_machine_free(kvm.m);
    vmr_machine_free(interp.m);
}

static void test_round_trip(void)
{
    M kvm = machine_on("kvm", 1), interp = machine_on("interp", 1);
    page_tables(&kvm);
    page_tables(&interp);
    for (unsigned i = 0; i < 20; i++) {
        VmrX86State *s = get(i & 1 ? &kvm : &interp);
        fill(s, i);
        if (i & 2)
            long_mode(s);
        else
            real_mode(s, (uint16_t)(i * 0x111));
        if (i & 4)
            s->sti_shadow = 1;
        if (i & 8)
            s->event_pending = 1, s->event_vector = 13, s->event_type = 3, s->event_has_error = 1,
            s->event_error = 0x1230;
        set(&kvm, s);
        VmrX86State *a = get(&kvm);
        compare(s, a);
        set(&interp, a);
        VmrX86State *b = get(&interp);
        compare(s, b);
        set(&kvm, b);
        VmrX86State *c = get(&kvm);
        compare(s, c);
        g_free(a), g_free(b), g_free(c), g_free(s);
    }
    vmr_machine_free(kvm.m);
    vmr_machine_free(interp.m);
}

static void test_refused(void)
{
    M kvm = machine_on("kvm", 1);
    VmrX86State *s = get(&kvm);
    GError *error = NULL;
    s->msr_count = 1000;
    g_assert_false(kvm.x86->set_state(&kvm.m->cpus[0], s, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    s->msr_count = 0;
    s->size--;
    g_assert_false(kvm.x86->set_state(&kvm.m->cpus[0], s, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    s->size++;
    s->cr0 = 0x80000001;
    s->efer = 0x500; /* long mode without PAE */
    g_assert_false(kvm.x86->set_state(&kvm.m->cpus[0], s, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_free(s);
    vmr_machine_free(kvm.m);
}

/* xorshift of RBX, its sum in RCX, and in XMM0 unless the KVM cannot; HLT after each. */
static const uint8_t mover[] = {
    0x48, 0x89, 0xd8,             /* 1: mov %rbx, %rax */
    0x48, 0xc1, 0xe0, 0x0d,       /* shl $13, %rax */
    0x48, 0x31, 0xc3,             /* xor %rax, %rbx */
    0x48, 0x89, 0xd8,             /* mov %rbx, %rax */
    0x48, 0xc1, 0xe8, 0x07,       /* shr $7, %rax */
    0x48, 0x31, 0xc3,             /* xor %rax, %rbx */
    0x48, 0x01, 0xd9,             /* add %rbx, %rcx */
    0x84, 0xd2,                   /* test %dl, %dl */
    0x75, 0x09,                   /* jnz 2f */
    0x66, 0x48, 0x0f, 0x6e, 0xcb, /* movq %rbx, %xmm1 */
    0x66, 0x0f, 0xd4, 0xc1,       /* paddq %xmm1, %xmm0 */
    0xf4,                         /* 2: hlt */
    0xeb, 0xd9,                   /* jmp 1b */
};

static void test_moves(void)
{
    M on[2] = {machine_on("kvm", 1), machine_on("interp", 1)};
    bool no_sse = limited();
    VmrX86State *s = get(&on[0]);
    for (unsigned i = 0; i < 2; i++) {
        page_tables(&on[i]);
        memcpy(on[i].m->ram.base + 0x10000, mover, sizeof mover);
    }
    long_mode(s);
    s->gpr[3] = 88172645463325252ull;
    s->gpr[1] = 0;
    s->gpr[2] = no_sse;
    s->xsave[512] |= 2;
    memset(s->xsave + 160, 0, 256);
    uint64_t x = s->gpr[3], sum = 0;
    for (unsigned i = 0; i < 300; i++) {
        M *m = &on[i % 3 == 0]; /* twice on KVM, once on the interpreter */
        set(m, s);
        g_free(s);
        g_assert_cmpint(run(m), ==, VMR_EXIT_HALTED);
        s = get(m);
        g_assert_cmpuint(s->mp_state, ==, 1);
        s->mp_state = 0;
        x ^= x << 13;
        x ^= x >> 7;
        sum += x;
        g_assert_cmphex(s->gpr[3], ==, x);
        g_assert_cmphex(s->gpr[1], ==, sum);
    }
    uint64_t low;
    memcpy(&low, s->xsave + 160, 8);
    if (no_sse)
        g_test_message("this KVM has no SSE at CPL 0: without it");
    else
        g_assert_cmphex(low, ==, sum);
    g_free(s);
    vmr_machine_free(on[0].m);
    vmr_machine_free(on[1].m);
}

static int kicks_end; /* atomic */

/* Kicks that come together are one: it goes on until there were enough. */
static void *kicker(void *data)
{
    M *m = data;
    for (unsigned i = 0; !g_atomic_int_get(&kicks_end); i++) {
        m->m->accel->cpu_kick(m->m->cpus[0].acpu);
        g_usleep(i * 7 % 100);
    }
    return NULL;
}

/* Linux 5.19 and later can be asked for it. */
static bool can_fault_monitor(void)
{
#ifdef KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int quirks = fd < 0 ? 0 : ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_DISABLE_QUIRKS2);
    if (fd >= 0)
        close(fd);
    return quirks > 0 && (quirks & KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS);
#else
    return false;
#endif
}

/* MONITOR, which CPU model x86-64-v2 has not got: #UD, and without an IDT a triple fault. */
static void test_monitor(void)
{
    if (limited() || !can_fault_monitor()) {
        g_test_skip(limited() ? "this KVM does not emulate MONITOR" : "this KVM never faults MONITOR");
        return;
    }
    M m = machine_on("kvm", 1);
    VmrX86State *s = get(&m);
    page_tables(&m);
    memcpy(m.m->ram.base + 0x10000, "\x0f\x01\xc8\xf4", 4); /* monitor; hlt */
    long_mode(s);
    s->gpr[0] = 0x8000, s->gpr[1] = s->gpr[2] = 0;
    s->idt_base = s->idt_limit = 0;
    set(&m, s);
    g_assert_cmpint(run(&m), ==, VMR_EXIT_SHUTDOWN);
    g_free(s);
    vmr_machine_free(m.m);
}

static void test_kick(void)
{
    M m = machine_on("kvm", 1);
    VmrX86State *s = get(&m);
    page_tables(&m);
    memcpy(m.m->ram.base + 0x10000, "\xeb\xfe", 2); /* jmp . */
    long_mode(s);
    set(&m, s);
    /* One before it runs is not lost. */
    m.m->accel->cpu_kick(m.m->cpus[0].acpu);
    g_assert_cmpint(run(&m), ==, VMR_EXIT_KICKED);
    GThread *t = g_thread_new("kicker", kicker, &m);
    unsigned n = 0;
    for (; n < 20; n++)
        g_assert_cmpint(run(&m), ==, VMR_EXIT_KICKED);
    g_atomic_int_set(&kicks_end, 1);
    g_thread_join(t);
    g_free(s);
    vmr_machine_free(m.m);
}

/* A map that changes under a running guest: RAM comes and goes.  Each change stops the vCPU, too. */
static int map_end;

static void *mapper(void *data)
{
    M *m = data;
    GError *error = NULL;
    uint64_t offset = vmr_ram_take(&m->m->ram, 0x200000);
    VmrPlacement p = {.label = "more", .base = 0x40000000, .size = 0x200000,
                      .range = {.kind = VMR_RANGE_RAM, .host = m->m->ram.base + offset,
                                .ram_offset = offset}};
    unsigned id = vmr_space_place(m->m->memory, &p, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 50; i++) {
        vmr_space_enable(m->m->memory, id, !(i & 1));
        vmr_space_commit(m->m->memory);
    }
    /* The guest may not have run at all until now. */
    while (!__atomic_load_n((uint32_t *)(void *)(m->m->ram.base + 0x8000), __ATOMIC_RELAXED))
        g_usleep(100);
    g_atomic_int_set(&map_end, 1);
    m->m->accel->cpu_kick(m->m->cpus[0].acpu);
    return NULL;
}

static void test_map(void)
{
    M m = machine_on("kvm", 1);
    VmrX86State *s = get(&m);
    page_tables(&m);
    memcpy(m.m->ram.base + 0x10000, "\xff\x00\xeb\xfc", 4); /* 1: incl (%rax); jmp 1b */
    long_mode(s);
    s->gpr[0] = 0x8000;
    set(&m, s);
    GThread *t = g_thread_new("mapper", mapper, &m);
    do
        g_assert_cmpint(run(&m), ==, VMR_EXIT_KICKED);
    while (!g_atomic_int_get(&map_end));
    g_thread_join(t);
    uint32_t count;
    memcpy(&count, m.m->ram.base + 0x8000, 4);
    g_assert_cmpuint(count, >, 0);
    g_free(s);
    vmr_machine_free(m.m);
}

/* Doorbells and coalesced writes: what reaches the handler, and that little of it is an exit. */
typedef struct Dev {
    VmrDevice dev;
    unsigned writes;
    uint64_t sum;
    GMutex lock; /* of all */
    GCond written;
    GThread *by; /* the last write's */
} Dev;

static void dev_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Dev *d = (Dev *)dev;
    g_mutex_lock(&d->lock);
    d->writes++;
    d->sum += value + offset;
    d->by = g_thread_self();
    g_cond_broadcast(&d->written);
    g_mutex_unlock(&d->lock);
}

/* Until there have been so many; the last one's thread. */
static GThread *wait_for_writes(Dev *d, unsigned writes)
{
    g_mutex_lock(&d->lock);
    while (d->writes < writes)
        g_cond_wait(&d->written, &d->lock);
    g_assert_cmpuint(d->writes, ==, writes);
    GThread *by = d->by;
    g_mutex_unlock(&d->lock);
    return by;
}

static const VmrRegion bell_region = {.name = "bell", .kind = VMR_REGION_MMIO, .size = 0x1000,
                                      .flags = VMR_REGION_DOORBELL, .write = dev_write},
                       ring_region = {.name = "ring", .kind = VMR_REGION_MMIO, .size = 0x1000,
                                      .flags = VMR_REGION_COALESCE, .write = dev_write};

static void place(M *m, Dev *d, const VmrRegion *region, uint64_t base)
{
    GError *error = NULL;
    VmrPlacement p = {.label = region->name, .base = base, .size = region->size, .priority = 1,
                      .range = {.kind = VMR_RANGE_IO, .device = &d->dev, .region = region,
                                .domain = m->m->domain}};
    vmr_domain_lock(m->m->domain);
    vmr_space_place(m->m->memory, &p, &error);
    g_assert_no_error(error);
    vmr_space_commit(m->m->memory);
    vmr_domain_unlock(m->m->domain);
}

static void test_writes(void)
{
    static const uint8_t code[] = {
        0x89, 0x08, 0xff, 0xc9, 0x75, 0xfa, /* 1: mov %ecx, (%rax); dec %ecx; jnz 1b */
        0xf4,
    };
    M m = machine_on("kvm", 1);
    Dev bell = {.dev.name = "bell"}, ring = {.dev.name = "ring"};
    VmrCpuStats stats;
    page_tables(&m);
    memcpy(m.m->ram.base + 0x10000, code, sizeof code);
    place(&m, &bell, &bell_region, 0x30000000);
    place(&m, &ring, &ring_region, 0x30001000);
    VmrX86State *s = get(&m);
    long_mode(s);
    /* The first write is an exit, and on the vCPU's thread.  No other is. */
    s->gpr[0] = 0x30000008;
    s->gpr[1] = 1;
    set(&m, s);
    g_assert_cmpint(run(&m), ==, VMR_EXIT_HALTED);
    g_assert_true(wait_for_writes(&bell, 1) == g_thread_self());
    for (unsigned i = 0; i < 100; i++) {
        set(&m, s);
        g_assert_cmpint(run(&m), ==, VMR_EXIT_HALTED);
        g_assert_true(wait_for_writes(&bell, 2 + i) != g_thread_self());
    }
    m.m->accel->cpu_stats(m.m->cpus[0].acpu, &stats);
    g_test_message("101 doorbells: %" G_GUINT64_FORMAT " exits", stats.exits_mmio);
    g_assert_cmpuint(stats.exits_mmio, ==, 1);
    /* What has rung is served before the vCPU counts as stopped, by whoever is first. */
    s->gpr[1] = 5;
    set(&m, s);
    g_assert_cmpint(run(&m), ==, VMR_EXIT_HALTED);
    m.m->accel->cpu_kick(m.m->cpus[0].acpu);
    g_assert_cmpint(run(&m), ==, VMR_EXIT_KICKED);
    unsigned now = bell.writes;
    g_assert_cmpuint(now, >=, 102); /* those that ring faster than they are served are one */
    g_assert_cmpuint(now, <=, 106);

    s->gpr[0] = 0x30001000;
    s->gpr[1] = 100;
    set(&m, s);
    g_assert_cmpint(run(&m), ==, VMR_EXIT_HALTED);
    m.m->accel->cpu_stats(m.m->cpus[0].acpu, &stats);
    g_assert_cmpuint(stats.exits_mmio, <=, 1 + 1); /* older kernels think once that it is full */
    g_assert_cmpuint(ring.writes, ==, 100);
    g_assert_cmpuint(ring.sum, ==, 5050);
    /* More than the ring holds: the rest by exits, in order. */
    s->gpr[1] = 1000;
    set(&m, s);
    g_assert_cmpint(run(&m), ==, VMR_EXIT_HALTED);
    g_assert_cmpuint(ring.writes, ==, 1100);
    g_assert_cmpuint(ring.sum, ==, 5050 + 500500);
    g_free(s);
    vmr_machine_free(m.m);
    g_assert_cmpuint(bell.writes, ==, now);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    char *reason = why_not();
    if (reason) {
        g_print("1..0 # SKIP no KVM: %s\n", reason);
        g_free(reason);
        return 0;
    }
    g_test_add_func("/kvm/state/reset", test_reset);
    g_test_add_func("/kvm/state/round-trip", test_round_trip);
    g_test_add_func("/kvm/state/refused", test_refused);
    g_test_add_func("/kvm/state/moves", test_moves);
    g_test_add_func("/kvm/monitor", test_monitor);
    g_test_add_func("/kvm/kick", test_kick);
    g_test_add_func("/kvm/map", test_map);
    g_test_add_func("/kvm/writes", test_writes);
    return g_test_run();
}
