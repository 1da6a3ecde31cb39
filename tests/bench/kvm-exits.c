/*
 * What an exit from the guest costs: port and memory-mapped reads a second, in a bare KVM loop
 * of some twenty lines and in vmrun.
 *
 *     kvm-exits [-n COUNT] [VMRUN MACHINE]
 *
 * The guest, the same for both, is 32-bit code without paging that reads a register of the
 * first serial port, or of the I/O APIC, COUNT times, then ends the machine by port 0x501.
 * vmrun's start is taken off: it runs with half as many reads, too.
 */
#include <fcntl.h>
#include <glib.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LOAD = 0x100000, MEMORY = 0x200000, EXIT_PORT = 0x501, ROUNDS = 3 };

static const char *const kinds[] = {"pio", "mmio"};

static unsigned make_guest(uint8_t *to, bool mmio, uint32_t count)
{
    static const uint8_t pio_code[] = {
        0xb9, 0, 0, 0, 0,             /* mov $count, %ecx */
        0x66, 0xba, 0xff, 0x03,       /* mov $0x3ff, %dx */
        0xec, 0x49, 0x75, 0xfc,       /* 1: in %dx, %al; dec %ecx; jnz 1b */
        0x66, 0xba, 0x01, 0x05,       /* mov $0x501, %dx */
        0xb0, 0x00, 0xee, 0xf4,       /* mov $0, %al; out %al, %dx; hlt */
    }, mmio_code[] = {
        0xb9, 0, 0, 0, 0,             /* mov $count, %ecx */
        0xbe, 0x00, 0x00, 0xc0, 0xfe, /* mov $0xfec00000, %esi */
        0x8b, 0x06, 0x49, 0x75, 0xfb, /* 1: mov (%esi), %eax; dec %ecx; jnz 1b */
        0x66, 0xba, 0x01, 0x05, 0xb0, 0x00, 0xee, 0xf4,
    };
    memcpy(to, mmio ? mmio_code : pio_code, mmio ? sizeof mmio_code : sizeof pio_code);
    memcpy(to + 1, &count, 4);
    return mmio ? sizeof mmio_code : sizeof pio_code;
}

static int check(int r, const char *what)
{
    if (r < 0) {
        perror(what);
        exit(77);
    }
    return r;
}

/* The bare loop: seconds for `count` exits. */
static double bare(bool mmio, uint32_t count)
{
    int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "SKIP: /dev/kvm");
    int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    uint8_t *ram = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    make_guest(ram + LOAD, mmio, count);
    struct kvm_userspace_memory_region slot = {.memory_size = MEMORY, .userspace_addr = (uintptr_t)ram};
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
    int cpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    struct kvm_run *run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
                               PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    struct kvm_sregs s;
    check(ioctl(cpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    struct kvm_segment data = {.limit = UINT32_MAX, .selector = 16, .type = 3, .s = 1, .present = 1,
                               .db = 1, .g = 1}, code = data;
    code.selector = 8;
    code.type = 11;
    s.cs = code;
    s.ds = s.es = s.ss = s.fs = s.gs = data;
    s.cr0 |= 1;
    check(ioctl(cpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    struct kvm_regs r = {.rip = LOAD, .rflags = 2};
    check(ioctl(cpu, KVM_SET_REGS, &r), "KVM_SET_REGS");
    gint64 start = g_get_monotonic_time();
    for (;;) {
        check(ioctl(cpu, KVM_RUN, 0), "KVM_RUN");
        if (run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_IN)
            *((uint8_t *)run + run->io.data_offset) = 0;
        else if (run->exit_reason == KVM_EXIT_MMIO)
            memset(run->mmio.data, 0, sizeof run->mmio.data);
        else
            break;
    }
    double seconds = (double)(g_get_monotonic_time() - start) / 1e6;
    if (run->exit_reason != KVM_EXIT_IO || run->io.port != EXIT_PORT) {
        fprintf(stderr, "unexpected exit %u\n", run->exit_reason);
        exit(1);
    }
    close(cpu);
    close(vm);
    close(kvm);
    return seconds;
}

static double vmrun_once(const char *vmrun, const char *machine, bool mmio, uint32_t count)
{
    uint8_t image[64];
    unsigned size = make_guest(image, mmio, count);
    char *file = g_build_filename(g_get_tmp_dir(), "kvm-exits.bin", NULL);
    g_file_set_contents(file, (char *)image, (gssize)size, NULL);
    char *argv[] = {(char *)vmrun, "--machine", (char *)machine, "--accel", "kvm", "--kernel", file,
                    "--set", "boot.type=flat", "--set", "boot.mode=protected", "--set",
                    "boot.load-address=0x100000", "--set", "con0.type=null", NULL};
    int status = 0;
    GError *error = NULL;
    gint64 start = g_get_monotonic_time();
    bool ok = g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL,
                           &status, &error);
    double seconds = (double)(g_get_monotonic_time() - start) / 1e6;
    unlink(file);
    g_free(file);
    if (!ok || status) {
        fprintf(stderr, "%s: %s, status 0x%x\n", vmrun, error ? error->message : "it failed", status);
        exit(1);
    }
    return seconds;
}

int main(int argc, char **argv)
{
    uint32_t count = 200000;
    for (int c; (c = getopt(argc, argv, "n:")) != -1;) {
        if (c != 'n')
            return 2;
        count = (uint32_t)strtoul(optarg, NULL, 0);
    }
    const char *vmrun = argc - optind >= 2 ? argv[optind] : NULL;
    for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++) {
        double best = 1e9, ours = 1e9;
        for (unsigned i = 0; i < ROUNDS; i++) {
            best = MIN(best, bare(k, count));
            if (vmrun) {
                double whole = vmrun_once(vmrun, argv[optind + 1], k, count);
                double half = vmrun_once(vmrun, argv[optind + 1], k, count / 2);
                ours = MIN(ours, (whole - half) * 2);
            }
        }
        printf("%-4s  bare loop %8.0f exits/s (%5.0f ns)", kinds[k], count / best, best / count * 1e9);
        if (vmrun)
            printf("   vmrun %8.0f exits/s (%5.0f ns)   %.0f %% of the bare loop", count / ours,
                   ours / count * 1e9, best / ours * 100);
        printf("\n");
    }
    return 0;
}
