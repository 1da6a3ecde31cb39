/*
 * Cases in the interpreter: a machine without devices, one vCPU in 64-bit user
 * mode, page tables that map the pages of oracle.h.  No exception is ever
 * delivered: the executor stops with it pending.
 */
#include "oracle.h"

#include "accel/interp/x86/avx.h"
#include "accel/interp/x86/cpu.h"

extern const VmrAccelClass vmr_interp_accel;

/* Guest-physical. */
enum {
    PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000,
    P_CODE = 0x10000, P_DATA = 0x20000, P_RO = 0x30000, P_STACK = 0x40000,
};

static VmrMachine *machine;
static X86Cpu *cpu;

static void put64(uint64_t at, uint64_t v)
{
    memcpy(machine->ram.base + at, &v, 8);
}

static void map(uint64_t virt, uint64_t phys, unsigned bytes, unsigned bits)
{
    for (unsigned i = 0; i < bytes; i += PAGE)
        put64(PT + (((virt + i) >> 12) & 511) * 8, (phys + i) | bits);
}

static void set_seg(unsigned n, uint16_t sel, uint16_t ar)
{
    cpu->seg[n] = (X86Seg){.limit = 0xffffffff, .sel = sel, .ar = ar, .unusable = !ar};
    cpu->r[REG_BASE_ES + n] = 0;
}

bool guest_start(const char *model)
{
    GError *error = NULL;
    machine = g_new0(VmrMachine, 1);
    machine->accel = &vmr_interp_accel;
    machine->cpu_count = 1;
    machine->cpu_model = g_strdup(model);
    machine->devices = g_ptr_array_new();
    machine->a20 = true;
    if (!vmr_machine_init_runtime(machine, 1 << 20, &error) ||
        !vmr_machine_add_ram(machine, 0, 1 << 20, &error) ||
        !vmr_machine_create_cpus(machine, &error))
        g_error("oracle: %s", error->message);
    vmr_space_commit(machine->memory);
    vmr_reader_enter(machine);
    cpu = machine->cpus[0].acpu;
    machine->accel->map_changed(machine->vm);
    interp_cpu_handle_events(&cpu->ic);

    put64(PML4, PDPT | 7);
    put64(PDPT, PD | 7);
    put64(PD + ((CODE_AT >> 21) & 511) * 8, PT | 7);
    map(CODE_AT, P_CODE, CODE_BYTES, 7);
    map(DATA_AT, P_DATA, DATA_BYTES, 7);
    map(RO_AT, P_RO, RO_BYTES, 5);
    map(STACK_AT, P_STACK, STACK_BYTES, 7);
    memset(machine->ram.base + P_CODE, 0xf4, CODE_BYTES);
    memset(machine->ram.base + P_RO, 0x5a, RO_BYTES);

    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    cpu->cr3 = PML4;
    cpu->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_TSD * 0 | CR4_FSGSBASE |
               CR4_OSXSAVE | CR4_UMIP;
    cpu->xcr0 = 7;
    cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    for (unsigned i = 0; i < 6; i++)
        set_seg(i, 0, 0);
    set_seg(VMR_X86_CS, 0x33, AR_P | AR_S | 3 << 5 | AR_CODE | AR_RW | AR_ACCESSED | AR_L | AR_G);
    set_seg(VMR_X86_SS, 0x2b, AR_P | AR_S | 3 << 5 | AR_RW | AR_ACCESSED | AR_DB | AR_G);
    cpu->r[REG_BASE_GS] = GS_BASE;
    cpu->tr.limit = 0x66; /* no I/O permission bitmap */
    cpu->idt_limit = 0;
    cpu->gdt_limit = 0;
    cpu->cpl = 3;
    interp_tlb_flush(&cpu->ic);
    x86_mode_update(cpu);
    return true;
}

static uint8_t *host(uint64_t at)
{
    uint64_t phys = at < DATA_AT ? at - CODE_AT + P_CODE : at < RO_AT ? at - DATA_AT + P_DATA
                    : at < STACK_AT ? at - RO_AT + P_RO : at - STACK_AT + P_STACK;
    return machine->ram.base + phys;
}

static void put_code(uint64_t at, const uint8_t *bytes, unsigned n)
{
    uint8_t *p = host(at);
    memset(p, 0xf4, CODE_MAX);
    if (n)
        memcpy(p, bytes, n);
    interp_code_written(&*cpu->ic.vm, &cpu->ic, (uint64_t)(p - machine->ram.base), CODE_MAX);
}

void guest_run(const Case *c, Result *r)
{
    static uint64_t last_code;
    X86Cpu *k = cpu;
    memset(r, 0, sizeof *r);
    if (last_code)
        put_code(last_code, NULL, 0);
    last_code = c->code_at;
    put_code(c->code_at, c->code, c->length);
    memcpy(host(c->data_at), c->data, DATA_WINDOW);
    memcpy(host(c->stack_at), c->stack, STACK_WINDOW);

    memcpy(k->r, c->in.gpr, sizeof c->in.gpr);
    k->r[REG_PC] = c->in.rip;
    k->cc_op = CC_FLAGS;
    k->eflags = (uint32_t)c->in.rflags;
    x86_mode_update(k);
    if (!x86_fxrstor(&k->fpu, &c->in.fx, true, true))
        g_error("oracle: the generator made a wrong MXCSR");
#ifdef X86_XC_AVX
    memcpy(k->fpu.ymmh, c->in.ymmh, sizeof k->fpu.ymmh);
#endif
    k->exc_pending = false;
    k->ic.code_hit = false;
    for (unsigned i = 0; i < 64 && !k->exc_pending; i++) {
        atomic_store(&k->ic.limit, k->ic.icount + 4096);
        InterpBlock *b = x86_block(k, 0);
        if (b)
            x86_exec(k, b);
    }
    memcpy(r->s.gpr, k->r, sizeof r->s.gpr);
    r->s.rip = k->r[REG_PC];
    r->s.rflags = x86_rflags(k);
    x86_fxsave(&k->fpu, &r->s.fx, true, true);
    memset(r->s.fx.rest, 0, sizeof r->s.fx.rest);
#ifdef X86_XC_AVX
    memcpy(r->s.ymmh, k->fpu.ymmh, sizeof k->fpu.ymmh);
#else
    memcpy(r->s.ymmh, c->in.ymmh, sizeof r->s.ymmh);
#endif
    r->vector = k->exc_pending ? k->exc_vector : 255;
    r->error = k->exc_pending && k->exc_has_error ? k->exc_error : 0;
    r->cr2 = r->vector == EXC_PF ? k->exc_cr2 : 0;
    memcpy(r->data, host(c->data_at), DATA_WINDOW);
    memcpy(r->stack, host(c->stack_at), STACK_WINDOW);
    k->exc_pending = false;
    /* what a case may have changed of the machine */
    k->r[REG_BASE_GS] = GS_BASE;
    k->r[REG_BASE_FS] = 0;
}

const char *guest_vector_name(unsigned map_, unsigned prefix, uint8_t opcode, unsigned modrm,
                              unsigned *mem_size, bool *aligned, bool *fp, unsigned *imm)
{
    unsigned p = prefix == 0x66 ? 1 : prefix == 0xf3 ? 2 : prefix == 0xf2 ? 3 : 0;
    const X86SseInsn *insn = x86_sse_lookup(map_ - 1, p, opcode, modrm);
    if (!insn)
        return NULL;
    *mem_size = insn->mem_size;
    *aligned = insn->flags & X86_SSE_ALIGN16;
    *fp = insn->flags & X86_SSE_FP;
    *imm = insn->flags & X86_SSE_IMM8 ? 1 : 0;
    return insn->name;
}

const char *guest_avx_name(unsigned map_, unsigned prefix, uint8_t opcode, unsigned modrm, bool l, bool w,
                           unsigned *mem_size, bool *aligned, bool *fp, unsigned *imm, bool *nds,
                           bool *gather)
{
    unsigned p = prefix == 0x66 ? 1 : prefix == 0xf3 ? 2 : prefix == 0xf2 ? 3 : 0;
    const X86AvxInsn *s = x86_avx_lookup(map_ - 1, p, opcode, w);
    *mem_size = l ? 32 : 16;
    *aligned = *gather = false;
    if (s) {
        if (((s->flags & AVI_L1) && !l) || ((s->flags & AVI_MEM) && modrm >= 0xc0))
            return NULL;
        *fp = s->flags & AVI_FP || s->map != 1 || opcode < 0x36;
        *imm = s->flags & AVI_IMM8 ? 1 : 0;
        *nds = s->flags & AVI_NDS;
        *gather = s->flags & AVI_GATHER;
        if (s->mem)
            *mem_size = s->mem;
        if (s->flags & AVI_HALF)
            *mem_size /= 2;
        return s->name;
    }
    const X86SseInsn *insn = x86_sse_lookup(map_ - 1, p, opcode, modrm);
    unsigned class = insn ? x86_avx_class(map_ - 1, p, opcode, insn) : 0xffff;
    if (class == 0xffff || ((class & AVX_KIND) == AVX_LOW && !(class & AVX_LIG) && l))
        return NULL;
    *aligned = class & AVX_ALIGN;
    *fp = insn->flags & X86_SSE_FP;
    *imm = insn->flags & X86_SSE_IMM8 ? 1 : 0;
    *nds = (class & (AVX_NDS | AVX_NDD)) && !(modrm < 0xc0 && (insn->flags & X86_SSE_STORE));
    if ((class & AVX_KIND) == AVX_LOW)
        *mem_size = (insn->flags & X86_SSE_REXW) && w ? 8 : insn->mem_size;
    else if (!l)
        *mem_size = insn->mem_size;
    return insn->name;
}
