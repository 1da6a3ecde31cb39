/*
 * core/state-cpu.c - the architectural state of a vCPU (vmrun/x86.h) as a record, by name.
 *
 * Names are those of the SDM.  MSRs are two arrays, as many as the CPU has.
 * Of an architecture that is not there yet, saving says so.
 */
#include "state.h"

#include <string.h>
#include <vmrun/x86.h>

#define S(type_, name_, member_) {name_, VMR_FIELD_##type_, 1, offsetof(VmrX86State, member_), 1}
#define N(type_, name_, member_, n_) {name_, VMR_FIELD_##type_, n_, offsetof(VmrX86State, member_), 1}
#define SEGMENT(name_, member_)                                                                    \
    S(U16, name_ ".selector", member_.selector), S(U64, name_ ".base", member_.base),              \
        S(U32, name_ ".limit", member_.limit), S(U8, name_ ".type", member_.type),                 \
        S(U8, name_ ".s", member_.s), S(U8, name_ ".dpl", member_.dpl),                            \
        S(U8, name_ ".p", member_.present), S(U8, name_ ".avl", member_.avl),                      \
        S(U8, name_ ".l", member_.l), S(U8, name_ ".db", member_.db),                              \
        S(U8, name_ ".g", member_.g), S(U8, name_ ".unusable", member_.unusable)

static const VmrField x86_fields[] = {
    S(U32, "mp-state", mp_state),
    S(U64, "rax", gpr[0]), S(U64, "rcx", gpr[1]), S(U64, "rdx", gpr[2]), S(U64, "rbx", gpr[3]),
    S(U64, "rsp", gpr[4]), S(U64, "rbp", gpr[5]), S(U64, "rsi", gpr[6]), S(U64, "rdi", gpr[7]),
    S(U64, "r8", gpr[8]), S(U64, "r9", gpr[9]), S(U64, "r10", gpr[10]), S(U64, "r11", gpr[11]),
    S(U64, "r12", gpr[12]), S(U64, "r13", gpr[13]), S(U64, "r14", gpr[14]), S(U64, "r15", gpr[15]),
    S(U64, "rip", rip), S(U64, "rflags", rflags),
    SEGMENT("es", seg[VMR_X86_ES]), SEGMENT("cs", seg[VMR_X86_CS]), SEGMENT("ss", seg[VMR_X86_SS]),
    SEGMENT("ds", seg[VMR_X86_DS]), SEGMENT("fs", seg[VMR_X86_FS]), SEGMENT("gs", seg[VMR_X86_GS]),
    SEGMENT("ldtr", ldtr), SEGMENT("tr", tr),
    S(U64, "gdt.base", gdt_base), S(U16, "gdt.limit", gdt_limit),
    S(U64, "idt.base", idt_base), S(U16, "idt.limit", idt_limit),
    S(U64, "cr0", cr0), S(U64, "cr2", cr2), S(U64, "cr3", cr3), S(U64, "cr4", cr4),
    S(U64, "xcr0", xcr0), S(U64, "efer", efer),
    N(U64, "dr", dr, 8),
    S(U64, "tsc", tsc), S(U64, "tsc-hz", tsc_hz),
    S(U8, "nmi-blocked", nmi_blocked), S(U8, "nmi-pending", nmi_pending),
    S(U8, "sti-shadow", sti_shadow), S(U8, "smm", smm),
    S(U8, "event-pending", event_pending), S(U8, "event-vector", event_vector),
    S(U8, "event-type", event_type), S(U8, "event-has-error", event_has_error),
    S(U32, "event-error", event_error),
    N(U8, "xsave", xsave, sizeof(((VmrX86State *)0)->xsave)),
    {0},
};

static const VmrX86CpuInterface *x86_of(const VmrCpu *cpu)
{
    const VmrAccelClass *a = cpu->machine->accel;
    return cpu->acpu && a->cpu_interface ? a->cpu_interface(cpu->acpu, VMR_X86_CPU) : NULL;
}

static bool no_state(const VmrCpu *cpu, GError **error)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                "the accelerator %s does not give the state of its CPUs", cpu->machine->accel->name);
    return false;
}

bool vmr_cpu_state_save(VmrCpu *cpu, GByteArray *to, GError **error)
{
    const VmrX86CpuInterface *x86 = x86_of(cpu);
    if (!x86)
        return no_state(cpu, error);
    VmrX86State *s = g_new0(VmrX86State, 1);
    s->size = sizeof *s;
    x86->get_state(cpu, s);
    vmr_record_add_text(to, "architecture", "x86_64");
    vmr_record_add_fields(to, x86_fields, s);
    for (uint32_t i = 0; i < s->msr_count && i < G_N_ELEMENTS(s->msr); i++) {
        char name[32];
        g_snprintf(name, sizeof name, "msr.0x%x", s->msr[i].index);
        vmr_record_add_u64(to, name, s->msr[i].value);
    }
    g_free(s);
    return true;
}

/* The record as a state; false: it is none. */
static bool state_of(const VmrRecord *r, VmrX86State *s, GError **error)
{
    const char *architecture;
    if (!vmr_record_text(r, "architecture", &architecture, error))
        return false;
    if (strcmp(architecture, "x86_64")) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "it is of a CPU of the kind %s",
                    architecture);
        return false;
    }
    const VmrItem *item;
    unsigned others = 1;
    s->size = sizeof *s;
    for (unsigned i = 0; (item = vmr_record_nth(r, i)); i++) {
        if (!g_str_has_prefix(item->name, "msr."))
            continue;
        guint64 index;
        uint64_t value;
        if (s->msr_count == G_N_ELEMENTS(s->msr) ||
            !g_ascii_string_to_unsigned(item->name + 4 + (item->name[4] == '0' ? 2 : 0), 16, 0,
                                        UINT32_MAX, &index, NULL) ||
            !vmr_record_u64(r, item->name, &value, NULL)) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "'%s' is not known", item->name);
            return false;
        }
        s->msr[s->msr_count++] = (VmrX86Msr){.index = (uint32_t)index, .value = value};
        others++;
    }
    /* All else must be in the table. */
    unsigned count = 0, known = 0;
    while (vmr_record_nth(r, count))
        count++;
    for (const VmrField *f = x86_fields; f->name; f++) {
        const VmrItem *have = vmr_record_item(r, f->name);
        if (!have || have->type != f->type || have->count != f->count) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "'%s' is %s", f->name,
                        have ? "of another type" : "missing");
            return false;
        }
        known++;
    }
    if (known + others != count) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "it has registers that are not known");
        return false;
    }
    vmr_record_load_fields(r, x86_fields, s);
    return true;
}

bool vmr_cpu_state_check(const VmrRecord *r, GError **error)
{
    VmrX86State *s = g_new0(VmrX86State, 1);
    bool ok = state_of(r, s, error);
    g_free(s);
    return ok;
}

bool vmr_cpu_state_load(VmrCpu *cpu, const VmrRecord *r, GError **error)
{
    const VmrX86CpuInterface *x86 = x86_of(cpu);
    if (!x86)
        return no_state(cpu, error);
    VmrX86State *s = g_new0(VmrX86State, 1);
    bool ok = state_of(r, s, error) && x86->set_state(cpu, s, error);
    g_free(s);
    return ok;
}
