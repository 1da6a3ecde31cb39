/*
 * accel/x86/model.h - CPU models, their features by name, CPUID, and which MSRs make a vCPU's
 * state: what all accelerators say of the same CPU.
 *
 * After the Intel SDM volume 2 (CPUID) and volume 4 (MSRs); features are named as Linux's
 * /proc/cpuinfo names them.  A model is feature words; an accelerator says which it can do.
 */
#ifndef VMR_X86_MODEL_H
#define VMR_X86_MODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The words of CPUID that say what there is. */
typedef enum VmrX86Word {
    VMR_X86_1_ECX, VMR_X86_1_EDX, VMR_X86_7_EBX, VMR_X86_7_ECX, VMR_X86_7_EDX, VMR_X86_81_ECX,
    VMR_X86_81_EDX, VMR_X86_D1_EAX, VMR_X86_WORDS,
} VmrX86Word;

/* Where CPUID has a word: leaf, sub-leaf, and 0..3 for EAX, EBX, ECX, EDX. */
typedef struct VmrX86WordPlace {
    uint32_t leaf, sub;
    unsigned reg;
} VmrX86WordPlace;
extern const VmrX86WordPlace vmr_x86_word_places[VMR_X86_WORDS];

enum { VMR_X86_INTERP = 1, VMR_X86_KVM = 2 }; /* accelerators */

typedef struct VmrX86Feature {
    const char *name, *doc;
    VmrX86Word word;
    unsigned bit;
    bool interp;       /* the interpreter has it */
    const char *needs; /* names of others without which it makes no sense, or NULL */
} VmrX86Feature;
extern const VmrX86Feature vmr_x86_features[];
extern const unsigned vmr_x86_feature_count;

typedef struct VmrX86Model {
    const char *name, *doc, *base, *features; /* those of the base, and these */
    unsigned family, model, stepping;
    uint32_t leaf_max, ext_max; /* the highest leaves; ext_max without 0x80000000, 0: none */
    uint32_t words[VMR_X86_WORDS];
} VmrX86Model;

/* The model's name alone.  NULL, "", "x86-64" and "default" are the default. */
const VmrX86Model *vmr_x86_model_find(const char *name, unsigned accel, GError **error);
/* As VmrAccelClass.cpu_models gives them; the default first. */
const char *const *vmr_x86_model_list(unsigned accel);
/* For --describe: the model's features and what the accelerator lacks; NULL: no such model. */
char *vmr_x86_model_describe(const char *name, unsigned accel);
/* The name of a feature bit, or NULL. */
const char *vmr_x86_feature_name(VmrX86Word word, unsigned bit);
/* What the interpreter has. */
void vmr_x86_interp_words(uint32_t words[VMR_X86_WORDS]);
/* The names in the words, separated by spaces. */
char *vmr_x86_words_names(const uint32_t words[VMR_X86_WORDS]);

/* What CPUID tells, of one vCPU. */
typedef struct VmrX86Cpuid {
    const VmrX86Model *model;
    const char *brand;  /* "vmrun ..." and the model's name */
    uint32_t words[VMR_X86_WORDS];
    unsigned apic_id, cpu_count;
    uint64_t tsc_hz;
    bool osxsave;       /* CR4.OSXSAVE */
    bool ospke;         /* CR4.PKE */
    uint64_t xcr0;      /* for the size of leaf 0xd; 0: as after reset */
} VmrX86Cpuid;

/* The words: the model's, and what the platform gives. */
void vmr_x86_cpuid_init(VmrX86Cpuid *c, const VmrX86Model *model, bool lapic);
/*
 * The changes of [machine] cpu, "+name,-name" (what follows the model's name and a comma; may be
 * NULL).  What a feature needs comes with it, and what needs it goes with it.  have: what the
 * accelerator can do.  false: unknown, or not to be had.
 */
bool vmr_x86_cpuid_change(VmrX86Cpuid *c, const char *changes, const uint32_t have[VMR_X86_WORDS],
                          GError **error);
/* out: EAX, EBX, ECX, EDX */
void vmr_x86_cpuid(const VmrX86Cpuid *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);
enum { VMR_X86_LEAF_MAX = 0x16, VMR_X86_LEAF_EXT_MAX = 8 };

/* XSAVE components that the words bring: bits as in XCR0, all of them. */
uint64_t vmr_x86_xcr0_all(const uint32_t words[VMR_X86_WORDS]);
/* Bytes of a standard-format XSAVE area for these components. */
uint32_t vmr_x86_xsave_size(uint64_t components);

/* The MSRs of VmrX86State.msr; an accelerator leaves out those that its model lacks. */
extern const uint32_t vmr_x86_state_msrs[];
extern const unsigned vmr_x86_state_msr_count;

#endif
