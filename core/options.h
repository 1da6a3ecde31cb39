/*
 * core/options.h - what [machine] and [boot] may say, as tables: for reading them, for
 * `vmrun --describe machine` and for the man page.
 */
#ifndef VMR_CORE_OPTIONS_H
#define VMR_CORE_OPTIONS_H

#include <vmrun/device.h>

enum { VMR_ARCH_X86_64, VMR_ARCH_RISCV64, VMR_ARCH_AARCH64 };

typedef struct VmrMachineOptions {
    uint32_t arch; /* VMR_ARCH_* */
    uint32_t cpus;
    uint64_t memory; /* bytes */
    uint64_t tsc_frequency; /* Hz; read by the interpreter */
    uint32_t irqchip; /* for the accelerator */
    uint32_t on_reset, on_crash; /* for vmr_machine_init_runtime() */
    const char *summary, *accel, *cpu, *memory_map, *interrupt_controller, *power_button;
} VmrMachineOptions;

typedef struct VmrBootOptions {
    const char *kernel, *initrd, *cmdline, *firmware, *dtb, *disk;
    const char *type, *entry, *mode, *load_address; /* for the device that loads: it checks them */
} VmrBootOptions;

extern const char *const vmr_archs[];       /* by VMR_ARCH_*; NULL-terminated */
extern const char *const vmr_accel_names[]; /* that exist at all; NULL-terminated */
extern const VmrProperty vmr_machine_properties[];
/* The core only checks these; the boot plugins ask for them with vmr_machine_value(). */
extern const VmrProperty vmr_boot_properties[];

#endif
