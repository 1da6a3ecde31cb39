/*
 * vmrun/x86.h - interfaces between x86 vCPUs, interrupt controllers and boot,
 * and the architectural state of an x86 vCPU.
 *
 * The state belongs to the architecture, never to an accelerator: it is what
 * moves between KVM and the interpreter and what a snapshot holds.
 * Names follow the Intel SDM, volumes 1 and 3.
 */
#ifndef VMRUN_X86_H
#define VMRUN_X86_H

#include <vmrun/host.h>
#include <vmrun/msi.h>

/* ---- a controller that gives a vCPU its vectors ----------------------- */

/*
 * Offered by the local APIC, and by an 8259 in a machine without one.  The
 * machine file names it: [machine] interrupt-controller = lapic0.
 * The controller drives the vCPU's INTR pin (VmrX86CpuInterface.set_intr); the
 * vCPU calls acknowledge() once interrupts are enabled.  [io]
 */
#define VMR_X86_INTC "vmr.x86-intc/1"
typedef struct VmrX86IntcInterface {
    uint32_t size;
    /* INTA: the vector, 0..255, or -1 if there is none any more. */
    int (*acknowledge)(VmrDevice *dev, unsigned cpu);
} VmrX86IntcInterface;

/* Offered by the local APIC beside VMR_X86_INTC.  [io] unless said otherwise. */
#define VMR_X86_LAPIC "vmr.x86-lapic/1"
typedef struct VmrX86LapicInterface {
    uint32_t size;
    /* CR8, 0..15: bits 7:4 of the task priority register. */
    uint8_t (*get_cr8)(VmrDevice *dev, unsigned cpu);
    void (*set_cr8)(VmrDevice *dev, unsigned cpu, uint8_t cr8);
    /* IA32_APIC_BASE (0x1b), x2APIC (0x800..0x8ff), IA32_TSC_DEADLINE (0x6e0).
       false: #GP(0). */
    bool (*read_msr)(VmrDevice *dev, unsigned cpu, uint32_t msr, uint64_t *value);
    bool (*write_msr)(VmrDevice *dev, unsigned cpu, uint32_t msr, uint64_t value);
    /* INIT: all but the APIC ID and IA32_APIC_BASE.  */
    void (*init)(VmrDevice *dev, unsigned cpu);
    /* Tell `fn` of every EOI of a level-triggered vector (broadcast to I/O APICs).  [main] */
    void (*add_eoi_listener)(VmrDevice *dev, void (*fn)(VmrDevice *listener, uint8_t vector),
                             VmrDevice *listener);
} VmrX86LapicInterface;

/*
 * Offered by the local APIC beside VMR_X86_LAPIC: an accelerator that has local APICs of its own
 * does their work.  The state stays this device's schema: the accelerator asks for it before
 * the vCPUs run and gives it back when they have stopped.  Its VMR_X86_INTC is then the 8259's
 * alone: the INTR pin of CPU 0 says that the 8259 wants an interrupt.  [io]
 */
#define VMR_X86_LAPIC_OFFLOAD "vmr.x86-lapic-offload/1"
typedef struct VmrX86LapicRegisters {
    uint32_t reg[64]; /* by MMIO offset >> 4, as in xAPIC mode; the ID in bits 31:24 in any mode */
    uint64_t apic_base, tsc_deadline; /* MSRs 0x1b, 0x6e0 */
} VmrX86LapicRegisters;

typedef struct VmrX86LapicOffloadInterface {
    uint32_t size;
    /* Messages go to `send` from now on, [any]; NULL: the device is itself again.  */
    void (*take)(VmrDevice *dev, void (*send)(void *opaque, uint64_t address, uint32_t data),
                 void *opaque);
    void (*get)(VmrDevice *dev, unsigned cpu, VmrX86LapicRegisters *registers);
    void (*set)(VmrDevice *dev, unsigned cpu, const VmrX86LapicRegisters *registers);
    /* The guest has ended a level-triggered interrupt: tell the listeners. */
    void (*eoi)(VmrDevice *dev, uint8_t vector);
} VmrX86LapicOffloadInterface;

/*
 * Offered by an I/O APIC and by a pair of 8259s: an accelerator that has both does their work, and
 * the guest's accesses do not come to the device.  As with the local APICs, the device keeps the
 * state while the vCPUs are stopped.  An accelerator takes both or none.  [io]
 */
typedef void VmrX86SetPin(void *opaque, unsigned pin, bool level); /* [any] */

#define VMR_X86_IOAPIC_OFFLOAD "vmr.x86-ioapic-offload/1"
enum { VMR_X86_IOAPIC_PINS = 24 };
typedef struct VmrX86IoapicRegisters {
    uint64_t redtbl[VMR_X86_IOAPIC_PINS];
    uint32_t lines; /* levels of the inputs, by pin */
    uint8_t id, regsel;
} VmrX86IoapicRegisters;

typedef struct VmrX86IoapicOffloadInterface {
    uint32_t size;
    /* Levels of the inputs go to `set_pin` from now on; NULL: the device is itself again.
       false: this one has not VMR_X86_IOAPIC_PINS pins. */
    bool (*take)(VmrDevice *dev, VmrX86SetPin *set_pin, void *opaque);
    void (*get)(VmrDevice *dev, VmrX86IoapicRegisters *registers);
    void (*set)(VmrDevice *dev, const VmrX86IoapicRegisters *registers); /* not `lines` */
} VmrX86IoapicOffloadInterface;

#define VMR_X86_PIC_OFFLOAD "vmr.x86-pic-offload/1"
typedef struct VmrX86PicRegisters { /* of one chip */
    uint8_t irr, isr, imr, input, elcr;
    uint8_t icw2, icw4;
    bool icw1_ic4;  /* there is an ICW4 */
    uint8_t expect; /* what the next write to A0 = 1 is: OCW1, ICW2, ICW3, ICW4 */
    uint8_t lowest; /* the level of the lowest priority */
    bool ready;     /* it was initialised since its reset */
    bool special_mask, read_isr, poll, rotate_on_aeoi;
} VmrX86PicRegisters;

typedef struct VmrX86PicOffloadInterface {
    uint32_t size;
    /* As above.  `set_pin` is not called for pin 2, the cascade. */
    bool (*take)(VmrDevice *dev, VmrX86SetPin *set_pin, void *opaque);
    void (*get)(VmrDevice *dev, VmrX86PicRegisters registers[2]); /* the master, the slave */
    void (*set)(VmrDevice *dev, const VmrX86PicRegisters registers[2]);
} VmrX86PicOffloadInterface;

/* ---- what a vCPU offers ----------------------------------------------- */

/* Segment register with its hidden part, as VMX and KVM name it. */
typedef struct VmrX86Segment {
    uint64_t base;
    uint32_t limit;    /* bytes, after granularity */
    uint16_t selector;
    uint8_t type;      /* 4 bits */
    uint8_t s, dpl, present, avl, l, db, g;
    uint8_t unusable;  /* a null selector was loaded */
} VmrX86Segment;

enum { VMR_X86_ES, VMR_X86_CS, VMR_X86_SS, VMR_X86_DS, VMR_X86_FS, VMR_X86_GS };

typedef struct VmrX86Msr {
    uint32_t index, reserved;
    uint64_t value;
} VmrX86Msr;

typedef struct VmrX86State {
    uint32_t size; /* sizeof(VmrX86State) */
    uint32_t mp_state; /* 0 running, 1 halted, 2 waiting for SIPI */
    uint64_t gpr[16];  /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
    uint64_t rip, rflags;
    VmrX86Segment seg[6]; /* by VMR_X86_ES... */
    VmrX86Segment ldtr, tr;
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
    uint64_t cr0, cr2, cr3, cr4, xcr0, efer;
    uint64_t dr[8];
    uint64_t tsc;           /* the guest's time-stamp counter now */
    uint8_t nmi_blocked;    /* between an NMI and its IRET */
    uint8_t nmi_pending;
    uint8_t sti_shadow;     /* 1: STI, 2: MOV SS / POP SS */
    uint8_t smm;
    uint8_t event_pending;  /* an exception or interrupt is being delivered: vector valid */
    uint8_t event_vector, event_type, event_has_error;
    uint32_t event_error;
    uint32_t msr_count;
    VmrX86Msr msr[64];      /* all others that the CPU model has */
    uint8_t xsave[4096];    /* standard (non-compacted) XSAVE format */
    uint64_t tsc_hz;        /* at which the guest's TSC counts; 0: as the vCPU has it */
} VmrX86State;

#define VMR_X86_CPU "vmr.x86-cpu/1"
typedef struct VmrX86CpuInterface {
    uint32_t size;
    uint32_t (*apic_id)(VmrCpu *cpu);
    void (*set_intr)(VmrCpu *cpu, bool level); /* the INTR pin [any] */
    void (*nmi)(VmrCpu *cpu);                  /* edge [any] */
    void (*smi)(VmrCpu *cpu);                  /* edge [any] */
    void (*init)(VmrCpu *cpu);                 /* INIT: to wait-for-SIPI on an AP [any] */
    void (*sipi)(VmrCpu *cpu, uint8_t vector); /* ignored unless waiting [any] */
    /* The state; the vCPU must be stopped (reset phase EXIT, or a paused machine).  [io] */
    void (*get_state)(VmrCpu *cpu, VmrX86State *state);
    bool (*set_state)(VmrCpu *cpu, const VmrX86State *state, GError **error);
    /* Frequency of the guest's TSC, Hz, and its value now.  [any] */
    uint64_t (*tsc_hz)(VmrCpu *cpu);
    uint64_t (*tsc_now)(VmrCpu *cpu);
} VmrX86CpuInterface;

#endif
