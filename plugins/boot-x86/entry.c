/*
 * plugins/boot-x86/entry.c - the state in which vCPU 0 enters an image.
 *
 * After the Intel SDM volume 3 (segments, 4-level paging) and what the boot
 * protocols ask for: flat segments with the selectors of the Linux boot
 * protocol, interrupts off, in long mode an identity map of the first 4 GiB.
 */
#include "boot.h"

enum {
    CR0_PE = 1u << 0, CR0_ET = 1u << 4, CR0_NE = 1u << 5, CR4_PAE = 1u << 5,
    EFER_LME = 1u << 8, EFER_LMA = 1u << 10,
    PTE_P = 1u << 0, PTE_RW = 1u << 1, PTE_PS = 1u << 7,
    TYPE_DATA = 0x3, TYPE_CODE = 0xb, TYPE_TSS_BUSY = 0xb, /* all accessed, writable / readable */
};
#define CR0_PG UINT64_C(0x80000000)

/* GDT descriptors: flat, present, ring 0, 4 KiB granularity. */
#define GDT_CODE32 UINT64_C(0x00cf9b000000ffff)
#define GDT_CODE64 UINT64_C(0x00af9b000000ffff)
#define GDT_DATA UINT64_C(0x00cf93000000ffff)
enum { GDT_BYTES = 4 * 8 };

void boot_entry_tables(BootPlan *p)
{
    put64(boot_low(p, BOOT_GDT + BOOT_CS), p->mode == BOOT_LONG ? GDT_CODE64 : GDT_CODE32);
    put64(boot_low(p, BOOT_GDT + BOOT_DS), GDT_DATA);
    if (p->mode != BOOT_LONG)
        return;
    put64(boot_low(p, BOOT_PML4), BOOT_PDPT | PTE_P | PTE_RW);
    for (unsigned i = 0; i < 4; i++)
        put64(boot_low(p, BOOT_PDPT + 8 * i), (BOOT_PD + 0x1000 * i) | PTE_P | PTE_RW);
    for (uint64_t i = 0; i < 4 * 512; i++)
        put64(boot_low(p, BOOT_PD + 8 * i), i << 21 | PTE_P | PTE_RW | PTE_PS);
}

static VmrX86Segment segment_flat(uint16_t selector, uint8_t type, bool l)
{
    return (VmrX86Segment){.selector = selector, .limit = UINT32_MAX, .type = type, .s = 1,
                           .present = 1, .g = 1, .l = l, .db = !l};
}

static VmrX86Segment segment_real(uint16_t selector, uint8_t type)
{
    return (VmrX86Segment){.selector = selector, .base = (uint64_t)selector << 4, .limit = 0xffff,
                           .type = type, .s = 1, .present = 1};
}

/*
 * Changes what an entry defines and leaves the rest (FPU, MSRs, TSC) as reset
 * left it.  In real mode an entry below 64 KiB gets CS 0 and the last 64 KiB
 * below 1 MiB get CS f000, as a BIOS does it; any other gets the nearest
 * paragraph.
 */
void boot_entry_state(const BootPlan *p, VmrX86State *s)
{
    memset(s->gpr, 0, sizeof(s->gpr));
    for (unsigned i = 0; i < G_N_ELEMENTS(p->gpr); i++)
        s->gpr[i] = p->gpr[i];
    s->rflags = 2;
    s->mp_state = 0;
    s->cr0 = CR0_ET;
    s->cr2 = s->cr3 = s->cr4 = s->efer = 0;
    s->event_pending = s->nmi_pending = s->nmi_blocked = s->sti_shadow = 0;
    s->ldtr = (VmrX86Segment){.limit = 0xffff, .type = 2, .present = 1};
    s->tr = (VmrX86Segment){.limit = 0xffff, .type = TYPE_TSS_BUSY, .present = 1};
    s->idt_base = 0;

    if (p->mode == BOOT_REAL) {
        uint16_t cs = p->entry < 0x10000 ? 0 : (uint16_t)(p->entry >> 4);
        if (p->entry >= 0xf0000)
            cs = 0xf000;
        s->seg[VMR_X86_CS] = segment_real(cs, TYPE_CODE);
        s->rip = p->entry - ((uint64_t)cs << 4);
        for (unsigned i = 0; i < 6; i++)
            if (i != VMR_X86_CS)
                s->seg[i] = segment_real(0, TYPE_DATA);
        s->gdt_base = 0;
        s->gdt_limit = 0xffff;
        s->idt_limit = 0x3ff;
        return;
    }

    bool l = p->mode == BOOT_LONG;
    s->rip = p->entry;
    s->cr0 |= CR0_PE | CR0_NE;
    if (l) {
        s->cr0 |= CR0_PG;
        s->cr3 = BOOT_PML4;
        s->cr4 = CR4_PAE;
        s->efer = EFER_LME | EFER_LMA;
    }
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = segment_flat(BOOT_DS, TYPE_DATA, false);
    s->seg[VMR_X86_CS] = segment_flat(BOOT_CS, TYPE_CODE, l);
    s->gdt_base = BOOT_GDT;
    s->gdt_limit = GDT_BYTES - 1;
    s->idt_limit = 0;
}
