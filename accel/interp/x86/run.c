/*
 * The loop around the executor, block look-up, events, reset, architectural
 * state, and the accelerator's table.
 */
#include "core/symbols.h"
#include "helpers.h"
#include "mix.h"
#include "ops.h"

const void *const *x86_op_handlers; /* set once, before any vCPU runs */

typedef struct X86Vm {
    InterpVm ivm;
} X86Vm;

/* ---- blocks -------------------------------------------------------------------------------- */

static InterpJump *jump_slot(X86Cpu *c, uint64_t pc)
{
    return &c->ic.jumps[(pc ^ pc >> INTERP_JUMP_BITS) & ((1u << INTERP_JUMP_BITS) - 1)];
}

/* Bytes at `linear` from two pages, or from what is not RAM: a block of one instruction. */
static InterpBlock *odd_block(X86Cpu *c, uint64_t linear, uint64_t ram, uint64_t phys, unsigned limit,
                              uint32_t key)
{
    uint8_t bytes[16];
    unsigned room = (unsigned)(INTERP_PAGE - (linear & (INTERP_PAGE - 1)));
    unsigned first = MIN(room, sizeof bytes);
    VmrMachine *m = c->ic.vm->machine;
    InterpBlock *b;
    uint64_t ram2 = UINT64_MAX;

    if (ram != UINT64_MAX) {
        interp_code_mark(&c->ic, ram, first);
        memcpy(bytes, m->ram.base + ram, first);
    } else {
        vmr_space_copy_from(m->memory, phys, bytes, first);
    }
    unsigned avail = first;
    if (first < sizeof bytes && first < limit) {
        uint64_t phys2;
        if (!x86_fetch_translate(c, linear + first, &ram2, &phys2)) {
            c->exc_cr2 = (linear + first) & INTERP_PAGE_MASK;
            return NULL;
        }
        if (ram2 != UINT64_MAX) {
            interp_code_mark(&c->ic, ram2, (unsigned)sizeof bytes - first);
            memcpy(bytes + first, m->ram.base + ram2, sizeof bytes - first);
        } else {
            vmr_space_copy_from(m->memory, phys2, bytes + first, sizeof bytes - first);
        }
        avail = sizeof bytes;
    }
    avail = MIN(avail, limit);
    bool keep = ram != UINT64_MAX && (ram2 != UINT64_MAX || avail == first);
    b = keep ? interp_block_new(&c->ic) : c->scratch;
    if (!keep) {
        memset(b, 0, sizeof *b);
        b->dead = true; /* not to be linked to or remembered */
    }
    unsigned ops = x86_decode_block(c, b, bytes, avail, 1, true);
    if (!ops) {
        x86_gp(c, 0); /* the segment ends within the instruction, or it is too long */
        return NULL;
    }
    b->ram = ram;
    b->key = key;
    if (keep) {
        b->ram2 = b->bytes > first ? ram2 : UINT64_MAX;
        interp_block_add(&c->ic, b, ops);
    }
    return b;
}

InterpBlock *x86_block(X86Cpu *c, uint32_t extra_key)
{
    uint32_t key = c->key | extra_key;
    bool m64 = x86_code64(c);
    uint64_t pc = c->r[REG_PC], linear = pc + (m64 ? 0 : c->r[REG_BASE_CS]), ram, phys;
    unsigned limit = 4096;
    if (!m64) {
        linear = (uint32_t)linear;
        const X86Seg *cs = &c->seg[VMR_X86_CS];
        if (pc > cs->limit) {
            x86_gp(c, 0);
            return NULL;
        }
        limit = (unsigned)MIN((uint64_t)cs->limit - pc + 1, 4096);
    }
    if (!x86_fetch_translate(c, linear, &ram, &phys))
        return NULL;
    bool stop = unlikely(c->debugger) && x86_debugger_page(c, linear);
    if (stop && !(extra_key & KEY_SINGLE))
        atomic_store(&c->ic.limit, 0); /* the loop goes through this page */
    if (ram == UINT64_MAX)
        return odd_block(c, linear, ram, phys, limit, key);
    InterpBlock *b = interp_block_find(&c->ic, ram, key);
    if (b && b->ram2 != UINT64_MAX) {
        /* it continues in a second page: is that one still there? */
        uint64_t ram2, phys2;
        if (!x86_fetch_translate(c, (linear | (INTERP_PAGE - 1)) + 1, &ram2, &phys2))
            return NULL;
        return b->ram2 == ram2 ? b : odd_block(c, linear, ram, phys, limit, key);
    }
    if (!b) {
        unsigned room = (unsigned)(INTERP_PAGE - (ram & (INTERP_PAGE - 1)));
        unsigned avail = MIN(room, limit);
        b = interp_block_new(&c->ic);
        /* noticed from now on: mark before reading; the block has at most 15 bytes an instruction */
        unsigned most = extra_key & KEY_SINGLE ? 1 : INTERP_BLOCK_INSNS;
        unsigned bytes = MIN(avail, most * 15);
        interp_code_mark(&c->ic, ram, MIN(bytes, 64u));
        unsigned window = MIN(bytes, 64u);
        unsigned ops = 0;
        for (;;) {
            /* a longer block only where it turns out to be one: fewer lines are watched */
            ops = x86_decode_block(c, b, c->ic.vm->machine->ram.base + ram, window, most, false);
            if (window == bytes || (ops && b->ops[ops - 1].code != OP_END) || b->insns == most)
                break;
            window = MIN(bytes, window * 2);
            interp_code_mark(&c->ic, ram, window);
        }
        if (!ops)
            return odd_block(c, linear, ram, phys, limit, key);
        b->ram = ram;
        b->key = key;
        interp_block_add(&c->ic, b, ops);
    }
    if (stop)
        return b;
    InterpJump *j = jump_slot(c, linear);
    j->pc = linear;
    j->gen = c->ic.map_gen;
    j->key = key;
    j->block = b;
    return b;
}

void x86_link(X86Cpu *c, InterpBlock *from, unsigned k, InterpBlock *to, const InterpOp *op)
{
    if (unlikely(c->debugger) && x86_debugger_page(c, c->r[REG_PC]))
        return;
    if (from->dead || to->dead || to->ram2 != UINT64_MAX || !(to->key & KEY_CSFLAT) || to->key != from->key)
        return;
    /* Within a page of the virtual map the link lasts; it is one if the distance is that in RAM. */
    uint64_t distance = op->code == OP_JMP || op->code == OP_CALL64 || op->code == OP_CALL32 ? op->imm
                        : k ? (uint64_t)(int64_t)op->disp
                        : op->code == OP_END ? op->pc : (uint64_t)(op->b | op->i << 8);
    bool same = (from->ram ^ to->ram) < INTERP_PAGE && to->ram - from->ram == distance &&
                from->ram2 == UINT64_MAX;
    from->next[k] = to;
    from->link_gen[k] = same ? UINT64_MAX : c->ic.map_gen;
}

/* ---- events -------------------------------------------------------------------------------------- */

void x86_check_interrupts(X86Cpu *c)
{
    if ((atomic_load(&c->intr) && (c->eflags & FL_IF)) || (c->nmi_pending && !c->nmi_blocked) ||
        (c->eflags & (FL_TF | FL_RF)) || c->debug_on || (c->smi_pending && !c->smm))
        atomic_store(&c->ic.limit, 0);
}

static int acknowledge(X86Cpu *c)
{
    if (!c->intc)
        return -1;
    vmr_domain_lock(c->intc->handle->domain);
    int vector = c->intc_ops->acknowledge(c->intc, c->ic.index);
    vmr_domain_unlock(c->intc->handle->domain);
    return vector;
}

static void start_up(X86Cpu *c, uint8_t vector)
{
    c->wait_sipi = false;
    c->halted = false;
    c->seg[VMR_X86_CS].sel = (uint16_t)(vector << 8);
    c->r[REG_BASE_CS] = (uint64_t)vector << 12;
    c->r[REG_PC] = 0;
    x86_mode_update(c);
}

static void front_events(X86Cpu *c, uint32_t events)
{
    if ((events & EV_INIT) && !c->smm) { /* in SMM it waits */
        interp_cpu_ack(&c->ic, EV_INIT);
        x86_reset(c, true);
    }
    if (events & EV_SIPI) {
        interp_cpu_ack(&c->ic, EV_SIPI);
        if (c->wait_sipi)
            start_up(c, (uint8_t)atomic_load(&c->sipi_vector));
    }
    if (events & EV_NMI) {
        interp_cpu_ack(&c->ic, EV_NMI);
        c->nmi_pending = true;
    }
    if (events & EV_SMI) {
        interp_cpu_ack(&c->ic, EV_SMI);
        c->smi_pending = true;
    }
    if (events & EV_INTR)
        interp_cpu_ack(&c->ic, EV_INTR); /* the pin itself is looked at */
}

static void trace_insn(X86Cpu *c)
{
    char *name = vmr_symbols_name(c->ic.vm->machine, x86_linear_pc(c));
    vmr_core_trace_cpu(c->ic.index, "insn: %04x:%016" G_GINT64_MODIFIER "x%s%s", c->seg[VMR_X86_CS].sel,
                       c->r[REG_PC], name ? "  " : "", name ? name : "");
    g_free(name);
}

/* One instruction, then back here. */
static void step(X86Cpu *c)
{
    bool trap = c->eflags & FL_TF, resume = c->eflags & FL_RF, shadow = c->ss_shadow;
    c->inhibit = c->no_step = c->ss_shadow = c->rep_again = false;
    if (!shadow)
        c->dr6_hits = 0; /* else those of MOV SS are still to come */
    if (c->debug_on && !resume && !shadow && !x86_debug_fetch(c))
        return;
    InterpBlock *b = x86_block(c, KEY_SINGLE);
    if (!b)
        return;
    if (unlikely(vmr_trace_mask & VMR_TRACE_INSN))
        trace_insn(c);
    /* the next block is one too many; a kick meanwhile (limit 0) stays */
    uint64_t open = UINT64_MAX;
    if (!atomic_compare_exchange_strong(&c->ic.limit, &open, c->ic.icount + 2))
        return;
    uint64_t before = c->ic.icount;
    c->stepped = true;
    /* RF is for one instruction; what that loads into RF stays */
    c->eflags &= ~(uint32_t)FL_RF;
    x86_exec(c, b);
    if (c->exc_pending || c->ic.icount == before) {
        c->eflags |= resume ? FL_RF : 0;
        c->dr6_hits = 0;
        return;
    }
    if (c->rep_again && c->debug_on)
        c->eflags |= FL_RF; /* an instruction breakpoint is met once, not each round */
    uint32_t met = c->ss_shadow ? 0 : c->dr6_hits;
    if (trap && !c->no_step)
        met |= DR6_BS;
    if (met)
        x86_debug_trap(c, met);
}

static VmrExit run(X86Cpu *c)
{
    InterpCpu *ic = &c->ic;
    for (;;) {
        atomic_store(&ic->limit, UINT64_MAX);
        uint32_t events = atomic_load(&ic->events);
        if (events) {
            interp_cpu_handle_events(ic);
            front_events(c, events);
            vmr_reader_quiescent(ic->vm->machine);
            if (events & INTERP_EV_KICK) {
                interp_cpu_ack(ic, INTERP_EV_KICK);
                return VMR_EXIT_KICKED;
            }
        }
        if (c->wait_sipi) {
            ic->stats.exits_halt++;
            return VMR_EXIT_HALTED;
        }
        if (c->exc_pending) {
            c->halted = false;
            c->stepped = true;
            x86_exception_deliver(c);
            if (c->shutdown)
                return VMR_EXIT_SHUTDOWN;
        }
        if (unlikely(c->smi_pending && !c->smm) && !c->inhibit) {
            x86_smi(c);
            continue;
        }
        if (c->smm && unlikely(c->shutdown))
            return VMR_EXIT_SHUTDOWN;
        if (!c->inhibit && (!x86_debugger_steps(c) || c->halted)) {
            if (c->nmi_pending && !c->nmi_blocked) {
                c->nmi_pending = false;
                c->nmi_blocked = true;
                c->halted = false;
                x86_interrupt(c, EXC_NMI, false, false, 0, c->r[REG_PC]);
                if (c->exc_pending)
                    continue;
            }
            if (c->mwait && atomic_load(&c->intr))
                c->halted = c->mwait = false; /* an interrupt ends MWAIT even if it is masked */
            if (atomic_load(&c->intr) && (c->eflags & FL_IF)) {
                int vector = acknowledge(c);
                if (vector >= 0) {
                    c->stepped |= c->halted;
                    c->halted = false;
                    ic->stats.interrupts++;
                    x86_interrupt(c, (unsigned)vector, false, false, 0, c->r[REG_PC]);
                    if (c->exc_pending)
                        continue;
                }
            }
        }
        if (c->halted) {
            ic->stats.exits_halt++;
            return VMR_EXIT_HALTED;
        }
        bool single = c->inhibit || c->debug_on || (c->eflags & (FL_TF | FL_RF)) || (vmr_trace_mask & VMR_TRACE_INSN);
        if (unlikely(c->debugger)) {
            X86DebuggerWants wants = x86_debugger_look(c);
            if (wants == DEBUGGER_STOP)
                return VMR_EXIT_DEBUG;
            single |= wants == DEBUGGER_STEP;
        }
        if (unlikely(single)) {
            step(c);
            continue;
        }
        InterpBlock *b = x86_block(c, 0);
        if (b)
            x86_exec(c, b);
    }
}

static VmrExit cpu_run(void *acpu)
{
    X86Cpu *c = acpu;
    interp_cpu_enter(&c->ic);
    bool trace_memory = vmr_trace_mask & VMR_TRACE_MEMORY;
    if (trace_memory != c->trace_memory) {
        c->trace_memory = trace_memory;
        interp_tlb_flush(&c->ic);
    }
    VmrExit e = run(c);
    interp_cpu_leave(&c->ic);
    return e;
}

/* ---- reset (SDM volume 3, table 9-1) ---------------------------------------------------------------- */

void x86_reset(X86Cpu *c, bool init)
{
    memset(c->r, 0, REG_BASE_ES * sizeof *c->r);
    c->r[RDX] = 0x600;
    c->cc_op = CC_FLAGS;
    c->eflags = FL_1;
    for (unsigned i = 0; i < 6; i++) {
        c->seg[i] = (X86Seg){.limit = 0xffff, .ar = AR_P | AR_S | AR_RW | AR_ACCESSED};
        c->r[REG_BASE_ES + i] = 0;
    }
    c->seg[VMR_X86_CS].sel = 0xf000;
    c->seg[VMR_X86_CS].ar |= AR_CODE;
    c->r[REG_BASE_CS] = 0xffff0000;
    c->r[REG_PC] = 0xfff0;
    c->ldtr = (X86Seg){.limit = 0xffff, .ar = AR_P | 2};
    c->tr = (X86Seg){.limit = 0xffff, .ar = AR_P | 11};
    c->ldtr_base = c->tr_base = c->gdt_base = c->idt_base = 0;
    c->gdt_limit = c->idt_limit = 0xffff;
    c->cr0 = init ? (c->cr0 & (CR0_CD | CR0_NW)) | CR0_ET : CR0_CD | CR0_NW | CR0_ET;
    c->cr2 = c->cr3 = c->cr4 = c->efer = 0;
    memset(c->dr, 0, sizeof c->dr);
    c->dr[6] = 0xffff0ff0;
    c->dr[7] = 0x400;
    x86_debug_update(c);
    memset(c->pdpte, 0, sizeof c->pdpte);
    c->pkru = 0;
    c->ss_shadow = c->gd_fault = c->rep_again = c->mwait = false;
    c->dr6_hits = 0;
    c->cpl = 0;
    c->halted = c->inhibit = c->nmi_blocked = c->nmi_pending = c->exc_pending = c->shutdown = false;
    c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = 0;
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    c->spec_ctrl = 0;
    if (!init) {
        c->pat = 0x0007040600070406ull;
        c->misc_enable = 1; /* fast strings */
        c->mtrr_def_type = 0xc06;
        memset(c->mtrr_fixed, 0, sizeof c->mtrr_fixed);
        memset(c->mtrr_var, 0, sizeof c->mtrr_var);
        c->tsc_aux = 0;
        c->mcg_status = 0;
        c->tsc_offset = 0;
        c->tsc_adjust = 0;
        c->xcr0 = 1;
        c->smbase = 0x30000; /* SMBASE_RESET */
        c->smm = c->smi_pending = false;
        x86_fpu_reset(&c->fpu);
        atomic_store(&c->ic.events, 0);
        atomic_store(&c->intr, false);
    }
    c->wait_sipi = c->ic.index != 0;
    interp_tlb_flush(&c->ic);
    x86_mode_update(c);
}

static void cpu_reset(void *acpu, VmrResetKind kind)
{
    x86_reset(acpu, false);
}

/* ---- the vCPU's interface (vmrun/x86.h) ---------------------------------------------------------------- */

static X86Cpu *of(VmrCpu *cpu) { return cpu->acpu; }

static void signal_event(VmrCpu *cpu, uint32_t event)
{
    interp_cpu_event(&of(cpu)->ic, event);
    vmr_cpu_wake(cpu);
}

static uint32_t if_apic_id(VmrCpu *cpu) { return cpu->index; }

static void if_set_intr(VmrCpu *cpu, bool level)
{
    atomic_store(&of(cpu)->intr, level);
    if (level)
        signal_event(cpu, EV_INTR);
}

static void if_nmi(VmrCpu *cpu) { signal_event(cpu, EV_NMI); }
static void if_smi(VmrCpu *cpu) { signal_event(cpu, EV_SMI); }
static void if_init(VmrCpu *cpu) { signal_event(cpu, EV_INIT); }

static void if_sipi(VmrCpu *cpu, uint8_t vector)
{
    atomic_store(&of(cpu)->sipi_vector, vector);
    signal_event(cpu, EV_SIPI);
}

static VmrX86Segment segment_get(const X86Seg *s, uint64_t base)
{
    return (VmrX86Segment){.base = base, .limit = s->limit, .selector = s->sel,
                           .type = AR_TYPE(s->ar), .s = s->ar >> 4 & 1, .dpl = AR_DPL(s->ar),
                           .present = s->ar >> 7 & 1, .avl = s->ar >> 12 & 1, .l = s->ar >> 13 & 1,
                           .db = s->ar >> 14 & 1, .g = s->ar >> 15 & 1, .unusable = s->unusable};
}

static X86Seg segment_set(const VmrX86Segment *s)
{
    return (X86Seg){.limit = s->limit, .sel = s->selector, .unusable = s->unusable & 1,
                    .ar = (uint16_t)((s->type & 15) | (s->s & 1) << 4 | (s->dpl & 3) << 5 |
                                     (s->present & 1) << 7 | (s->avl & 1) << 12 | (s->l & 1) << 13 |
                                     (s->db & 1) << 14 | (s->g & 1) << 15)};
}

enum { MSR_SMBASE = 0x9e, SMBASE_RESET = 0x30000 };

static void if_get_state(VmrCpu *cpu, VmrX86State *s)
{
    X86Cpu *c = of(cpu);
    /* What was signalled since it stopped is part of its state. */
    front_events(c, atomic_load(&c->ic.events));
    memset(s, 0, sizeof *s);
    s->size = sizeof *s;
    s->mp_state = c->wait_sipi ? 2 : c->halted ? 1 : 0;
    memcpy(s->gpr, c->r, sizeof s->gpr);
    s->rip = c->r[REG_PC];
    s->rflags = x86_rflags(c);
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = segment_get(&c->seg[i], c->r[REG_BASE_ES + i]);
    s->ldtr = segment_get(&c->ldtr, c->ldtr_base);
    s->tr = segment_get(&c->tr, c->tr_base);
    s->gdt_base = c->gdt_base;
    s->idt_base = c->idt_base;
    s->gdt_limit = c->gdt_limit;
    s->idt_limit = c->idt_limit;
    s->cr0 = c->cr0;
    s->cr2 = c->cr2;
    s->cr3 = c->cr3;
    s->cr4 = c->cr4;
    s->xcr0 = c->xcr0;
    s->efer = c->efer;
    memcpy(s->dr, c->dr, sizeof s->dr);
    s->tsc = x86_tsc(c);
    s->tsc_hz = c->cpuid.tsc_hz;
    s->nmi_blocked = c->nmi_blocked;
    s->nmi_pending = c->nmi_pending;
    s->sti_shadow = c->inhibit ? c->ss_shadow ? 2 : 1 : 0;
    s->smm = c->smm;
    if (c->exc_pending) {
        s->event_pending = 1;
        s->event_vector = c->exc_vector;
        s->event_has_error = c->exc_has_error;
        s->event_error = c->exc_error;
        s->event_type = 3; /* hardware exception, as VMX numbers them */
        if (c->exc_vector == EXC_PF)
            s->cr2 = c->exc_cr2;
    }
    for (unsigned i = 0; i < vmr_x86_state_msr_count; i++)
        if (x86_msr_read(c, vmr_x86_state_msrs[i], &s->msr[s->msr_count].value))
            s->msr[s->msr_count++].index = vmr_x86_state_msrs[i];
    if (c->smbase != SMBASE_RESET)
        s->msr[s->msr_count++] = (VmrX86Msr){.index = MSR_SMBASE, .value = c->smbase};
    x86_xsave(&c->fpu, s->xsave, 7, true, true);
    memcpy(s->xsave + 2688, &c->pkru, sizeof c->pkru); /* component 9 */
    s->xsave[513] |= c->pkru ? 2 : 0;
}

static bool if_set_state(VmrCpu *cpu, const VmrX86State *s, GError **error)
{
    X86Cpu *c = of(cpu);
    if (s->size != sizeof *s || s->msr_count > G_N_ELEMENTS(s->msr)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "the CPU state is of another version");
        return false;
    }
    if (s->tsc_hz && (s->tsc_hz < X86_TSC_HZ_MIN || s->tsc_hz > X86_TSC_HZ_MAX)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "the CPU state's TSC frequency is impossible");
        return false;
    }
    if (!x86_xrstor(&c->fpu, s->xsave, 7, 0x207, true, true)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "the CPU state's XSAVE image is invalid");
        return false;
    }
    c->pkru = 0;
    if (s->xsave[513] & 2)
        memcpy(&c->pkru, s->xsave + 2688, sizeof c->pkru);
    c->wait_sipi = s->mp_state == 2;
    c->halted = s->mp_state == 1;
    c->smbase = SMBASE_RESET;
    c->smi_pending = false;
    memcpy(c->r, s->gpr, sizeof s->gpr);
    c->r[REG_PC] = s->rip;
    c->cc_op = CC_FLAGS;
    c->eflags = (uint32_t)s->rflags | FL_1;
    for (unsigned i = 0; i < 6; i++) {
        c->seg[i] = segment_set(&s->seg[i]);
        c->r[REG_BASE_ES + i] = s->seg[i].base;
    }
    c->cpl = s->cr0 & CR0_PE ? (c->eflags & FL_VM ? 3 : s->seg[VMR_X86_SS].dpl & 3) : 0;
    c->ldtr = segment_set(&s->ldtr);
    c->ldtr_base = s->ldtr.base;
    c->tr = segment_set(&s->tr);
    c->tr_base = s->tr.base;
    c->gdt_base = s->gdt_base;
    c->idt_base = s->idt_base;
    c->gdt_limit = s->gdt_limit;
    c->idt_limit = s->idt_limit;
    c->cr0 = s->cr0 | CR0_ET;
    c->cr2 = s->cr2;
    c->cr3 = s->cr3;
    c->cr4 = s->cr4;
    c->xcr0 = s->xcr0 | 1;
    c->efer = s->efer;
    memcpy(c->dr, s->dr, sizeof c->dr);
    x86_debug_update(c);
    if (x86_pae_paging(c))
        x86_pdptes_load(c, c->cr3, false);
    if (s->tsc_hz)
        c->cpuid.tsc_hz = s->tsc_hz;
    c->tsc_offset = (int64_t)((uint64_t)c->tsc_offset + (s->tsc - x86_tsc(c)));
    c->nmi_blocked = s->nmi_blocked;
    c->nmi_pending = s->nmi_pending;
    c->inhibit = s->sti_shadow;
    c->ss_shadow = s->sti_shadow == 2;
    c->smm = s->smm;
    c->exc_pending = s->event_pending;
    c->exc_vector = s->event_vector;
    c->exc_has_error = s->event_has_error;
    c->exc_error = s->event_error;
    c->exc_cr2 = s->cr2;
    c->shutdown = false;
    for (unsigned i = 0; i < s->msr_count; i++) {
        if (s->msr[i].index == 0x3b) { /* IA32_TSC_ADJUST: the TSC has its value already */
            c->tsc_adjust = s->msr[i].value;
            continue;
        }
        if (s->msr[i].index == MSR_SMBASE) {
            c->smbase = (uint32_t)s->msr[i].value;
            continue;
        }
        /* one that this model lacks may come along while it is 0 */
        if (!x86_msr_write(c, s->msr[i].index, s->msr[i].value) && s->msr[i].value) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "the CPU state's MSR 0x%x is invalid",
                        s->msr[i].index);
            return false;
        }
    }
    interp_tlb_flush(&c->ic);
    x86_mode_update(c);
    return true;
}

static uint64_t if_tsc_hz(VmrCpu *cpu) { return of(cpu)->cpuid.tsc_hz; }
static uint64_t if_tsc_now(VmrCpu *cpu) { return x86_tsc(of(cpu)); }

static const VmrX86CpuInterface cpu_interface_table = {
    .size = sizeof(VmrX86CpuInterface), .apic_id = if_apic_id, .set_intr = if_set_intr,
    .nmi = if_nmi, .smi = if_smi, .init = if_init, .sipi = if_sipi, .get_state = if_get_state,
    .set_state = if_set_state, .tsc_hz = if_tsc_hz, .tsc_now = if_tsc_now,
};

/* ---- the accelerator ------------------------------------------------------------------------------------ */

static bool probe(GError **error) { return true; }

static void *vm_new(VmrMachine *machine, GError **error)
{
    X86Vm *vm = g_new0(X86Vm, 1);
    interp_vm_init(&vm->ivm, machine);
    vm->ivm.a20_mask = machine->a20 ? ~0ull : ~(1ull << 20);
    x86_exec(NULL, NULL); /* tells x86_op_handlers */
    return vm;
}

static void vm_free(void *data)
{
    X86Vm *vm = data;
    x86_mix_print();
    interp_vm_clear(&vm->ivm);
    g_free(vm);
}

static void *cpu_new(void *data, VmrCpu *core, unsigned index, const char *model, GError **error)
{
    X86Vm *vm = data;
    VmrMachine *m = vm->ivm.machine;
    X86Cpu *c = g_aligned_alloc0(1, sizeof *c, 64);
    if (!interp_cpu_init(&c->ic, &vm->ivm, core, index, error)) {
        g_aligned_free(c);
        return NULL;
    }
    c->scratch = g_aligned_alloc0(1, sizeof(InterpBlock) + 32 * sizeof(InterpOp), 64);
    c->ic.dead_code = OP_DEAD;
    c->ic.dead_handler = x86_op_handlers ? x86_op_handlers[OP_DEAD] : NULL;
    c->intc = m->intc;
    if (c->intc) {
        c->intc_ops = vmr_device_interface(c->intc, VMR_X86_INTC);
        c->lapic_ops = vmr_device_interface(c->intc, VMR_X86_LAPIC);
        if (!c->intc_ops)
            c->intc = NULL;
    }
    if (!x86_model_apply(c, model, error)) {
        interp_cpu_clear(&c->ic);
        g_aligned_free(c->scratch);
        g_aligned_free(c);
        return NULL;
    }
    x86_reset(c, false);
    return c;
}

static void cpu_free(void *acpu)
{
    X86Cpu *c = acpu;
    interp_cpu_clear(&c->ic);
    g_aligned_free(c->scratch);
    g_free(c->debugger);
    g_aligned_free(c);
}

static unsigned debug_points(void *vm) { return VMR_POINTS; }
static void cpu_debug(void *acpu, const VmrDebug *debug) { x86_debugger_set(acpu, debug); }

static void cpu_kick(void *acpu) { interp_cpu_event(&X86(acpu)->ic, INTERP_EV_KICK); }

static const void *cpu_interface(void *acpu, const char *id)
{
    return g_str_equal(id, VMR_X86_CPU) ? &cpu_interface_table : NULL;
}

static void cpu_stats(void *acpu, VmrCpuStats *stats)
{
    X86Cpu *c = acpu;
    *stats = c->ic.stats;
    stats->instructions = c->ic.icount;
}

static void map_changed(void *data)
{
    X86Vm *vm = data;
    vm->ivm.a20_mask = vm->ivm.machine->a20 ? ~0ull : ~(1ull << 20);
    for (unsigned i = 0; i < vm->ivm.cpu_count; i++)
        if (vm->ivm.cpus[i])
            interp_cpu_event(vm->ivm.cpus[i], INTERP_EV_FLUSH);
}

static void ram_written(void *data, uint64_t ram_offset, uint64_t len)
{
    X86Vm *vm = data;
    interp_code_written(&vm->ivm, NULL, ram_offset, len);
}

const VmrAccelClass vmr_interp_accel = {
    .size = sizeof(VmrAccelClass), .name = "interp",
    .summary = "the built-in interpreter: runs everywhere, sees everything",
    .probe = probe, .vm_new = vm_new, .vm_free = vm_free, .cpu_new = cpu_new, .cpu_free = cpu_free,
    .cpu_reset = cpu_reset, .cpu_run = cpu_run, .cpu_kick = cpu_kick, .cpu_interface = cpu_interface,
    .cpu_stats = cpu_stats, .map_changed = map_changed, .ram_written = ram_written,
    .cpu_models = x86_model_list, .cpu_describe = x86_model_describe, .debug_points = debug_points,
    .cpu_debug = cpu_debug,
};
