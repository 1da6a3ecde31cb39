/*
 * core/options.c - what [machine] and [boot] may say, as tables.
 */
#include "core/options.h"

const char *const vmr_archs[] = {"x86_64", "riscv64", "aarch64", NULL};
const char *const vmr_accel_names[] = {"kvm", "interp", NULL};

static const char *const irqchips[] = {"user", "split", "kernel", NULL};
static const char *const on_reset[] = {"reset", "exit", NULL};
static const char *const on_crash[] = {"exit", "reset", NULL};

#define M(member_) offsetof(VmrMachineOptions, member_)
#define B(member_) offsetof(VmrBootOptions, member_)

const VmrProperty vmr_machine_properties[] = {
    {.name = "summary", .type = VMR_PROP_STRING, .offset = M(summary),
     .doc = "One line for --list machines"},
    {.name = "arch", .type = VMR_PROP_ENUM, .offset = M(arch), .default_text = "x86_64",
     .names = vmr_archs, .doc = "Architecture of the CPUs"},
    {.name = "accel", .type = VMR_PROP_STRING, .offset = M(accel), .default_text = "kvm,interp",
     .doc = "Accelerators; the first that works is taken"},
    {.name = "cpu", .type = VMR_PROP_STRING, .offset = M(cpu), .doc = "CPU model (--list cpus)"},
    {.name = "cpus", .type = VMR_PROP_U32, .offset = M(cpus), .default_text = "1", .min = 1,
     .max = 64, .doc = "Number of CPUs"},
    {.name = "memory", .type = VMR_PROP_SIZE, .offset = M(memory), .default_text = "256M",
     .min = 64 * 1024, .max = (uint64_t)1 << 40, .unit = "bytes", .doc = "Amount of RAM"},
    {.name = "memory-map", .type = VMR_PROP_STRING, .offset = M(memory_map),
     .doc = "Where RAM goes, filled in order: FIRST-LAST, ..., the last may be FIRST-; "
            "a default by arch"},
    {.name = "interrupt-controller", .type = VMR_PROP_STRING, .offset = M(interrupt_controller),
     .doc = "The device that gives the CPUs their interrupt vectors"},
    {.name = "tsc-frequency", .type = VMR_PROP_U64, .offset = M(tsc_frequency),
     .default_text = "0", .max = 100000000000, .unit = "Hz",
     .doc = "At what the interpreter's TSC counts, for a guest that is to move to KVM later; 0: 1 "
            "GHz"},
    {.name = "power-button", .type = VMR_PROP_STRING, .offset = M(power_button),
     .doc = "The input that the monitor's system_powerdown presses: DEVICE:GROUP"},
    {.name = "irqchip", .type = VMR_PROP_ENUM, .offset = M(irqchip), .default_text = "user",
     .names = irqchips,
     .doc = "KVM on x86: the interrupt controllers are the devices (user), but for KVM's own local "
            "APICs (split), or all are KVM's own (kernel)"},
    {.name = "on-reset", .type = VMR_PROP_ENUM, .offset = M(on_reset), .default_text = "reset",
     .names = on_reset, .doc = "What a reset that the guest asks for does"},
    {.name = "on-crash", .type = VMR_PROP_ENUM, .offset = M(on_crash), .default_text = "exit",
     .names = on_crash,
     .doc = "What a triple fault or a panic does: exit with status 3, or a reset"},
    {0},
};

const VmrProperty vmr_boot_properties[] = {
    {.name = "kernel", .type = VMR_PROP_PATH, .offset = B(kernel), .doc = "Kernel image"},
    {.name = "initrd", .type = VMR_PROP_PATH, .offset = B(initrd), .doc = "Initial RAM disk"},
    {.name = "cmdline", .type = VMR_PROP_STRING, .offset = B(cmdline),
     .doc = "Kernel command line"},
    {.name = "firmware", .type = VMR_PROP_PATH, .offset = B(firmware), .doc = "Firmware image"},
    {.name = "dtb", .type = VMR_PROP_PATH, .offset = B(dtb),
     .doc = "Device tree, instead of the made one"},
    {.name = "disk", .type = VMR_PROP_STRING, .offset = B(disk),
     .doc = "The NAME of the [drive NAME] to boot from, where there is no kernel"},
    {.name = "type", .type = VMR_PROP_STRING, .offset = B(type),
     .doc = "Format of the kernel, where its content does not tell (--describe boot-x86)"},
    {.name = "entry", .type = VMR_PROP_STRING, .offset = B(entry),
     .doc = "Which of the kernel's entries (--describe boot-x86)"},
    {.name = "mode", .type = VMR_PROP_STRING, .offset = B(mode),
     .doc = "CPU mode in which a flat image is entered (--describe boot-x86)"},
    {.name = "load-address", .type = VMR_PROP_STRING, .offset = B(load_address),
     .doc = "Where a flat image is loaded and entered"},
    {0},
};
