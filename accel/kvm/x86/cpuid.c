/*
 * accel/kvm/x86/cpuid.c - the guest's CPUID: a model of accel/x86/model.h, less what this KVM
 * lacks, which is named; or the host's own ("host").
 *
 * What our local APIC gives (x2APIC mode, the TSC-deadline timer) needs nothing of KVM.
 */
#include "x86.h"

#include <errno.h>
#include <string.h>

#define B(n) (1u << (n))

enum { MOST_ENTRIES = 96 };

typedef struct Cpuid {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[MOST_ENTRIES];
} Cpuid;

static const struct kvm_cpuid_entry2 *supported(const KvmVm *vm, uint32_t leaf, uint32_t sub)
{
    const struct kvm_cpuid2 *s = vm->arch->supported;
    for (unsigned i = 0; i < s->nent; i++)
        if (s->entries[i].function == leaf &&
            (!(s->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || s->entries[i].index == sub))
            return &s->entries[i];
    return NULL;
}

static uint32_t supported_word(const KvmVm *vm, VmrX86Word word)
{
    const VmrX86WordPlace *p = &vmr_x86_word_places[word];
    const struct kvm_cpuid_entry2 *e = supported(vm, p->leaf, p->sub);
    uint32_t bits = !e ? 0 : p->reg == 0 ? e->eax : p->reg == 1 ? e->ebx : p->reg == 2 ? e->ecx : e->edx;
    if (word == VMR_X86_1_ECX)
        bits |= B(21) | B(24) | B(31); /* x2APIC, TSC deadline: the local APIC's; hypervisor */
    if (word == VMR_X86_1_EDX)
        bits |= B(9);
    return bits;
}

static void append_names(GString *text, VmrX86Word word, uint32_t bits)
{
    for (unsigned i = 0; i < 32; i++) {
        if (!(bits >> i & 1))
            continue;
        const char *name = vmr_x86_feature_name(word, i);
        if (name)
            g_string_append_printf(text, "%s%s", text->len ? " " : "", name);
        else
            g_string_append_printf(text, "%sword %d bit %u", text->len ? " " : "", word, i);
    }
}

static void filter(X86Cpu *c)
{
    KvmArchVm *vm = x86_vm(c);
    GString *missing = g_string_new(NULL);
    for (VmrX86Word w = 0; w < VMR_X86_WORDS; w++) {
        uint32_t has = supported_word(c->k.vm, w);
        append_names(missing, w, c->cpuid.model->words[w] & ~has);
        c->cpuid.words[w] &= has;
    }
    if (missing->len && !vm->missing_told) {
        vm->missing_told = true;
        vmr_core_log(VMR_LOG_WARNING, "KVM cannot give the guest all of CPU model %s; missing: %s",
                     c->cpuid.model->name, missing->str);
    }
    g_string_free(missing, TRUE);
}

/* "max": all features that have a name. */
static void maximise(X86Cpu *c)
{
    for (VmrX86Word w = 0; w < VMR_X86_WORDS; w++) {
        uint32_t has = supported_word(c->k.vm, w);
        for (unsigned i = 0; i < 32; i++)
            if (vmr_x86_feature_name(w, i) && (has >> i & 1) && !(w == VMR_X86_1_ECX && i == 24))
                c->cpuid.words[w] |= B(i);
    }
}

static struct kvm_cpuid_entry2 *add(Cpuid *t, uint32_t leaf, uint32_t sub, bool indexed)
{
    if (t->head.nent == MOST_ENTRIES)
        return &t->entries[MOST_ENTRIES - 1];
    struct kvm_cpuid_entry2 *e = &t->entries[t->head.nent++];
    *e = (struct kvm_cpuid_entry2){.function = leaf, .index = sub,
                                   .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0};
    return e;
}

static void add_ours(Cpuid *t, const X86Cpu *c, uint32_t leaf, uint32_t sub, bool indexed)
{
    uint32_t out[4];
    vmr_x86_cpuid(&c->cpuid, leaf, sub, out);
    struct kvm_cpuid_entry2 *e = add(t, leaf, sub, indexed);
    e->eax = out[0];
    e->ebx = out[1];
    e->ecx = out[2];
    e->edx = out[3];
}

/* XSAVE: what KVM has of the components that the feature bits bring; EBX follows XCR0 by itself. */
static void add_xsave(Cpuid *t, const X86Cpu *c)
{
    if (!(c->cpuid.words[VMR_X86_1_ECX] & B(26)))
        return;
    const struct kvm_cpuid_entry2 *s = supported(c->k.vm, 0xd, 0);
    uint32_t components = (uint32_t)vmr_x86_xcr0_all(c->cpuid.words);
    if (s)
        components &= s->eax;
    uint32_t size = 576;
    for (uint32_t i = 2; i < 32; i++) {
        const struct kvm_cpuid_entry2 *part = components >> i & 1 ? supported(c->k.vm, 0xd, i) : NULL;
        if (!part)
            continue;
        *add(t, 0xd, i, true) = *part;
        size = MAX(size, part->eax + part->ebx);
    }
    struct kvm_cpuid_entry2 *e = add(t, 0xd, 0, true);
    e->eax = components;
    e->ebx = e->ecx = size;
    add(t, 0xd, 1, true)->eax = c->cpuid.words[VMR_X86_D1_EAX];
}

static void model_table(Cpuid *t, const X86Cpu *c)
{
    for (uint32_t leaf = 0; leaf <= c->cpuid.model->leaf_max; leaf++) {
        if (leaf == 4) {
            for (uint32_t sub = 0; sub < 4; sub++)
                add_ours(t, c, leaf, sub, true);
        } else if (leaf == 0xb) {
            for (uint32_t sub = 0; sub < 3; sub++)
                add_ours(t, c, leaf, sub, true);
        } else if (leaf == 0xd) {
            add_xsave(t, c);
        } else {
            add_ours(t, c, leaf, 0, leaf == 7);
        }
    }
    if (c->cpuid.words[VMR_X86_1_ECX] & B(31))
        add_ours(t, c, 0x40000000, 0, false);
    for (uint32_t leaf = 0; c->cpuid.model->ext_max && leaf <= c->cpuid.model->ext_max; leaf++)
        add_ours(t, c, 0x80000000 + leaf, 0, false);
}

/* The host's, with our number of CPUs and our local APIC. */
static void host_table(Cpuid *t, const X86Cpu *c)
{
    const struct kvm_cpuid2 *s = x86_vm((X86Cpu *)c)->supported;
    uint32_t apic_id = c->cpuid.apic_id, cpus = c->cpuid.cpu_count;
    for (unsigned i = 0; i < s->nent && t->head.nent < MOST_ENTRIES; i++) {
        struct kvm_cpuid_entry2 e = s->entries[i];
        /* Topology, clocks and the hypervisor's leaves are ours; nested virtualisation,
           performance counters and AMX are left out. */
        if (e.function == 4 || e.function == 0xa || e.function == 0xb || e.function == 0x15 ||
            e.function == 0x16 || e.function == 0x1d || e.function == 0x1e || e.function == 0x1f ||
            e.function == 0x8000000a || e.function == 0x8000001d || e.function == 0x8000001e ||
            (e.function >= 0x40000000 && e.function < 0x80000000))
            continue;
        if (e.function == 1) {
            e.ebx = (e.ebx & 0xff00) | apic_id << 24 | MIN(cpus, 255u) << 16;
            e.ecx = (e.ecx & ~(uint32_t)(B(5) | B(27))) | B(31) | (c->lapic_ops ? B(21) | B(24) : 0);
            e.edx = (e.edx & ~(uint32_t)B(28)) | (cpus > 1 ? B(28) : 0);
        } else if (e.function == 7 && e.index == 0) {
            e.edx &= ~(uint32_t)(B(22) | B(24) | B(25));
        } else if (e.function == 0xd && e.index == 0) {
            e.eax &= ~(uint32_t)(B(17) | B(18));
        } else if (e.function == 0xd && e.index >= 17) {
            continue;
        } else if (e.function == 0x80000001) {
            e.ecx &= ~(uint32_t)(B(2) | B(22) | B(23) | B(24)); /* SVM, topology, counters */
        } else if (e.function == 0x80000008) {
            e.ecx = cpus > 1 ? cpus - 1 : 0;
        }
        t->entries[t->head.nent++] = e;
    }
    for (uint32_t sub = 0; sub < 4; sub++)
        add_ours(t, c, 4, sub, true);
    for (uint32_t sub = 0; sub < 3; sub++)
        add_ours(t, c, 0xb, sub, true);
    add_ours(t, c, 0x15, 0, false);
    add_ours(t, c, 0x16, 0, false);
    add_ours(t, c, 0x40000000, 0, false);
    add_ours(t, c, 0x80000007, 0, false);
}

bool kvm_x86_cpuid_set(X86Cpu *c, const char *model, GError **error)
{
    KvmVm *vm = c->k.vm;
    const char *changes = model ? strchr(model, ',') : NULL;
    char *name = changes ? g_strndup(model, (gsize)(changes - model)) : g_strdup(model);
    bool host = name && g_str_equal(name, "host"), max = name && g_str_equal(name, "max");
    const VmrX86Model *m = vmr_x86_model_find(host ? "max" : name, VMR_X86_KVM, error);
    g_free(name);
    if (!m)
        return false;
    vmr_x86_cpuid_init(&c->cpuid, m, c->lapic_ops != NULL);
    c->cpuid.brand = "vmrun";
    c->cpuid.apic_id = c->k.index;
    c->cpuid.cpu_count = vm->cpu_count;
    c->cpuid.tsc_hz = vm->arch->tsc_hz;
    if (max) {
        maximise(c);
        for (VmrX86Word w = 0; w < VMR_X86_WORDS; w++)
            c->cpuid.words[w] &= supported_word(vm, w);
    } else if (!host) {
        filter(c);
    }
    uint32_t have[VMR_X86_WORDS];
    for (VmrX86Word w = 0; w < VMR_X86_WORDS; w++)
        have[w] = supported_word(vm, w);
    if (!host && !vmr_x86_cpuid_change(&c->cpuid, changes, have, error))
        return false;
    Cpuid *t = g_new0(Cpuid, 1);
    if (host)
        host_table(t, c);
    else
        model_table(t, c);
    bool ok = kvm_ioctl(c->k.fd, KVM_SET_CPUID2, t) == 0;
    g_free(t);
    return ok || kvm_failed(error, "KVM_SET_CPUID2");
}

char *kvm_arch_limits(int kvm)
{
    /* Only the modules of real virtualisation are known to run any instruction. */
    if (g_file_test("/sys/module/kvm_intel", G_FILE_TEST_IS_DIR) ||
        g_file_test("/sys/module/kvm_amd", G_FILE_TEST_IS_DIR) ||
        !g_file_test("/sys/module/kvm_pvm", G_FILE_TEST_IS_DIR))
        return NULL;
    return g_strdup("this KVM emulates the guest's instructions and lacks some of them: small "
                    "guests run, stock kernels do not");
}
