/*
 * accel/kvm/kvm.c - the VM, its vCPUs' files, and getting vCPUs out of the guest.
 *
 * A kick sets kvm_run.immediate_exit, then signals the thread if it is in KVM_RUN: whichever
 * of the two comes first to look sees what the other wrote, so a kick is never lost.  The
 * signal's handler does nothing, and other system calls of the thread are restarted.
 */
#include "kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KVM_DEVICE "/dev/kvm"
enum { KICK_SIGNAL = SIGUSR1 };

int kvm_ioctl(int fd, unsigned long request, const void *arg)
{
    int r;
    do
        r = ioctl(fd, request, arg);
    while (r < 0 && errno == EINTR);
    return r;
}

int kvm_check(const KvmVm *vm, int capability)
{
    int r = ioctl(vm->fd, KVM_CHECK_EXTENSION, capability);
    return r < 0 ? 0 : r;
}

bool kvm_failed(GError **error, const char *what)
{
    int e = errno;
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(e), "KVM: %s: %s", what, g_strerror(e));
    return false;
}

/* ---- probe -------------------------------------------------------------------------------------- */

/* What to type, for a user whom the file's mode keeps out.  Free with g_free(). */
static char *let_in(void)
{
    struct stat st;
    if (stat(KVM_DEVICE, &st) < 0)
        return g_strdup("");
    const struct group *group = getgrgid(st.st_gid);
    const char *name = group ? group->gr_name : "?";
    if (!group || !st.st_gid || (st.st_mode & 060) != 060)
        return g_strdup_printf(" (mode %03o of group %s lets in nobody but its owner: `sudo chgrp kvm " KVM_DEVICE
                               " && sudo chmod 660 " KVM_DEVICE " && sudo usermod -aG kvm $USER`, then log in "
                               "again)", st.st_mode & 0777, name);
    return g_strdup_printf(" (it is for group %s: `sudo usermod -aG %s $USER`, then log in again)", name, name);
}

static int device_open(GError **error)
{
    int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    int e = errno;
    const char *advice = "";
    char *who = NULL;
    if (e == ENOENT)
        advice = " (no hardware virtualisation here: not switched on in the firmware, or this is a "
                 "virtual machine or container without it; or the modules kvm_intel / kvm_amd "
                 "are not loaded)";
    else if (e == EACCES || e == EPERM)
        advice = who = let_in();
    else if (e == ENODEV || e == ENXIO)
        advice = " (the module kvm_intel or kvm_amd is not loaded)";
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(e), KVM_DEVICE ": %s%s", g_strerror(e),
                advice);
    g_free(who);
    return -1;
}

static bool probe(GError **error)
{
    int fd = device_open(error);
    if (fd < 0)
        return false;
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    static const struct { int cap; const char *what; } needed[] = {
        {KVM_CAP_USER_MEMORY, "user memory"}, {KVM_CAP_IMMEDIATE_EXIT, "immediate exits"},
        {KVM_CAP_READONLY_MEM, "read-only memory"},
#ifdef __x86_64__
        {KVM_CAP_XSAVE, "XSAVE state"}, {KVM_CAP_VCPU_EVENTS, "vCPU events"},
        {KVM_CAP_X86_USER_SPACE_MSR, "MSR exits"}, {KVM_CAP_X86_MSR_FILTER, "an MSR filter"},
#endif
    };
    bool ok = version == KVM_API_VERSION;
    if (!ok)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, KVM_DEVICE ": not KVM's interface 12");
    for (unsigned i = 0; ok && i < G_N_ELEMENTS(needed); i++) {
        ok = ioctl(fd, KVM_CHECK_EXTENSION, needed[i].cap) > 0;
        if (!ok)
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "this KVM has no %s (Linux 5.10 is the oldest that will do)", needed[i].what);
    }
    close(fd);
    return ok;
}

static char *limits(void)
{
    int fd = device_open(NULL);
    if (fd < 0)
        return NULL;
    char *text = kvm_arch_limits(fd);
    close(fd);
    return text;
}

/* ---- the VM ---------------------------------------------------------------------------------------- */

static void vm_free(void *data)
{
    KvmVm *vm = data;
    kvm_bells_clear(vm);
    kvm_arch_vm_clear(vm);
    if (vm->fd >= 0)
        close(vm->fd);
    if (vm->kvm >= 0)
        close(vm->kvm);
    g_array_unref(vm->slots);
    g_ptr_array_unref(vm->bells);
    g_array_unref(vm->zones);
    g_mutex_clear(&vm->slots_lock);
    g_mutex_clear(&vm->hold_lock);
    g_cond_clear(&vm->hold_cond);
    g_free(vm->cpus);
    g_free(vm);
}

static void kicked(int signal) {}

static void *vm_new(VmrMachine *machine, GError **error)
{
    KvmVm *vm = g_new0(KvmVm, 1);
    vm->machine = machine;
    vm->fd = -1;
    vm->cpu_count = machine->cpu_count;
    vm->cpus = g_new0(KvmCpu *, vm->cpu_count);
    vm->slots = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    vm->bells = g_ptr_array_new();
    vm->zones = g_array_new(FALSE, TRUE, sizeof(KvmZone));
    g_mutex_init(&vm->slots_lock);
    g_mutex_init(&vm->hold_lock);
    g_cond_init(&vm->hold_cond);
    sigaction(KICK_SIGNAL, &(struct sigaction){.sa_handler = kicked, .sa_flags = SA_RESTART}, NULL);

    vm->kvm = device_open(error);
    if (vm->kvm < 0)
        goto fail;
    vm->fd = kvm_ioctl(vm->kvm, KVM_CREATE_VM, NULL);
    if (vm->fd < 0) {
        kvm_failed(error, "a VM cannot be made");
        goto fail;
    }
    int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run)) {
        kvm_failed(error, "KVM_GET_VCPU_MMAP_SIZE");
        goto fail;
    }
    vm->run_size = (size_t)size;
    int most = kvm_check(vm, KVM_CAP_MAX_VCPUS);
    if (most > 0 && vm->cpu_count > (unsigned)most) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "KVM takes %d CPUs at most", most);
        goto fail;
    }
    vm->most_slots = (unsigned)MAX(kvm_check(vm, KVM_CAP_NR_MEMSLOTS), 32);
    if (!kvm_arch_vm_init(vm, error) || !kvm_slots_sync(vm, error))
        goto fail;
    kvm_bells_sync(vm);
    return vm;
fail:
    vm_free(vm);
    return NULL;
}

static void map_changed(void *data)
{
    KvmVm *vm = data;
    GError *error = NULL;
    if (!kvm_slots_sync(vm, &error)) {
        vmr_machine_request(vm->machine, VMR_REQUEST_EXIT, 1);
        vmr_core_log(VMR_LOG_ERROR, "%s", error->message);
        g_error_free(error);
    }
    kvm_bells_sync(vm);
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        KvmCpu *cpu = __atomic_load_n(&vm->cpus[i], __ATOMIC_ACQUIRE);
        if (cpu) /* no signal: a thread in KVM_RUN uses no map */
            atomic_fetch_or(&cpu->events, KVM_EV_MAP);
    }
}

static void ram_written(void *vm, uint64_t ram_offset, uint64_t len) {}

/* ---- vCPUs ------------------------------------------------------------------------------------------- */

bool kvm_cpu_open(KvmCpu *cpu, KvmVm *vm, VmrCpu *core, unsigned index, GError **error)
{
    cpu->vm = vm;
    cpu->core = core;
    cpu->index = index;
    cpu->run = NULL;
    cpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
    if (cpu->fd < 0)
        return kvm_failed(error, "a vCPU cannot be made");
    void *run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (run == MAP_FAILED)
        return kvm_failed(error, "a vCPU's page cannot be mapped");
    cpu->run = run;
    int ring = kvm_check(vm, KVM_CAP_COALESCED_MMIO);
    if (index == 0 && ring > 0 && (size_t)(ring + 1) * 4096 <= vm->run_size)
        vm->ring = (void *)((uint8_t *)run + (size_t)ring * 4096);
    __atomic_store_n(&vm->cpus[index], cpu, __ATOMIC_RELEASE);
    return true;
}

void kvm_cpu_close(KvmCpu *cpu)
{
    __atomic_store_n(&cpu->vm->cpus[cpu->index], NULL, __ATOMIC_RELEASE);
    if (cpu->index == 0)
        cpu->vm->ring = NULL;
    if (cpu->run)
        munmap(cpu->run, cpu->vm->run_size);
    if (cpu->fd >= 0)
        close(cpu->fd);
}

static void out_of_run(KvmCpu *cpu)
{
    __atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&cpu->in_run))
        (void)tgkill(getpid(), atomic_load(&cpu->tid), KICK_SIGNAL);
}

void kvm_cpu_event(KvmCpu *cpu, uint32_t events)
{
    atomic_fetch_or(&cpu->events, events);
    out_of_run(cpu);
}

static void left_run(KvmVm *vm)
{
    if (!atomic_load(&vm->hold))
        return;
    g_mutex_lock(&vm->hold_lock);
    g_cond_broadcast(&vm->hold_cond);
    g_mutex_unlock(&vm->hold_lock);
}

int kvm_cpu_enter(KvmCpu *cpu, bool finish)
{
    KvmVm *vm = cpu->vm;
    for (;;) {
        atomic_store(&cpu->in_run, true);
        if (G_LIKELY(!atomic_load(&vm->hold)))
            break;
        atomic_store(&cpu->in_run, false);
        g_mutex_lock(&vm->hold_lock);
        g_cond_broadcast(&vm->hold_cond);
        while (atomic_load(&vm->hold))
            g_cond_wait(&vm->hold_cond, &vm->hold_lock);
        g_mutex_unlock(&vm->hold_lock);
    }
    if (finish)
        __atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    int r = ioctl(cpu->fd, KVM_RUN, 0) < 0 ? -errno : 0;
    atomic_store_explicit(&cpu->in_run, false, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    left_run(vm);
    return r;
}

void kvm_hold(KvmVm *vm)
{
    atomic_store(&vm->hold, true);
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        KvmCpu *cpu = __atomic_load_n(&vm->cpus[i], __ATOMIC_ACQUIRE);
        if (!cpu)
            continue;
        g_mutex_lock(&vm->hold_lock);
        while (atomic_load(&cpu->in_run)) {
            out_of_run(cpu);
            g_cond_wait(&vm->hold_cond, &vm->hold_lock);
        }
        g_mutex_unlock(&vm->hold_lock);
    }
}

void kvm_release(KvmVm *vm)
{
    g_mutex_lock(&vm->hold_lock);
    atomic_store(&vm->hold, false);
    g_cond_broadcast(&vm->hold_cond);
    g_mutex_unlock(&vm->hold_lock);
}

static void cpu_kick(void *acpu)
{
    kvm_cpu_event(acpu, KVM_EV_KICK);
}

static void cpu_stats(void *acpu, VmrCpuStats *stats)
{
    *stats = ((KvmCpu *)acpu)->stats;
}

const VmrAccelClass vmr_kvm_accel = {
    .size = sizeof(VmrAccelClass), .name = "kvm",
    .summary = "Linux' KVM: the host's CPU runs the guest",
    .probe = probe, .vm_new = vm_new, .vm_free = vm_free, .cpu_new = kvm_arch_cpu_new,
    .cpu_free = kvm_arch_cpu_free, .cpu_reset = kvm_arch_cpu_reset, .cpu_run = kvm_arch_cpu_run,
    .cpu_kick = cpu_kick, .cpu_interface = kvm_arch_cpu_interface, .cpu_stats = cpu_stats,
    .map_changed = map_changed, .ram_written = ram_written, .cpu_models = kvm_arch_cpu_models,
    .cpu_describe = kvm_arch_cpu_describe,
    .limits = limits, .debug_points = kvm_arch_debug_points, .cpu_debug = kvm_arch_cpu_debug,
};
