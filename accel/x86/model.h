/*
 * accel/x86/model.h - CPU models, CPUID, and which MSRs make a vCPU's state: what both
 * accelerators say of the same CPU.
 *
 * After the Intel SDM volume 2 (CPUID) and volume 4 (MSRs).  A model is feature words;
 * an accelerator takes from them what it cannot do.
 */
#ifndef VMR_X86_MODEL_H
#define VMR_X86_MODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The words of CPUID that say what there is. */
typedef enum VmrX86Word {
    VMR_X86_1_ECX, VMR_X86_1_EDX, VMR_X86_7_EBX, VMR_X86_7_ECX, VMR_X86_7_EDX, VMR_X86_81_ECX,
    VMR_X86_81_EDX, VMR_X86_WORDS,
} VmrX86Word;

enum { VMR_X86_INTERP = 1, VMR_X86_KVM = 2 }; /* which accelerators have a model */

typedef struct VmrX86Model {
    const char *name, *doc;
    unsigned accels, family, model, stepping;
    uint32_t words[VMR_X86_WORDS];
} VmrX86Model;

/* "", "x86-64" and "default" are x86-64-v2.  Models of `accel` only. */
const VmrX86Model *vmr_x86_model_find(const char *name, unsigned accel, GError **error);
/* As VmrAccelClass.cpu_models gives them; the default first. */
const char *const *vmr_x86_model_list(unsigned accel);
/* The name of a feature bit as /proc/cpuinfo has it, or NULL. */
const char *vmr_x86_feature_name(VmrX86Word word, unsigned bit);

/* What CPUID tells, of one vCPU. */
typedef struct VmrX86Cpuid {
    const VmrX86Model *model;
    const char *brand;  /* "vmrun ..." and the model's name */
    uint32_t words[VMR_X86_WORDS];
    unsigned apic_id, cpu_count;
    uint64_t tsc_hz;
    bool osxsave;       /* CR4.OSXSAVE */
} VmrX86Cpuid;

/* The words: the model's, and what the platform gives. */
void vmr_x86_cpuid_init(VmrX86Cpuid *c, const VmrX86Model *model, bool lapic);
/* out: EAX, EBX, ECX, EDX */
void vmr_x86_cpuid(const VmrX86Cpuid *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);
enum { VMR_X86_LEAF_MAX = 0x16, VMR_X86_LEAF_EXT_MAX = 8 };

/* The MSRs of VmrX86State.msr; an accelerator leaves out those that its model lacks. */
extern const uint32_t vmr_x86_state_msrs[];
extern const unsigned vmr_x86_state_msr_count;

#endif
