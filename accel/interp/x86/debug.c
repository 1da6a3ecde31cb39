/*
 * Debug registers: SDM volume 3, chapter 19; and the debugger outside the guest.
 *
 * While DR7 enables anything the loop runs instruction by instruction, and pages with data
 * breakpoints are watched; else there is no cost.  Leaves out: branch records, DEBUGCTL.
 *
 * A debugger's breakpoints cost something in their pages only, where the loop goes instruction by
 * instruction; its watchpoints as much as the guest's.
 */
#include "cpu.h"

enum { RW_EXEC, RW_WRITE, RW_IO, RW_ANY };

static unsigned kind_of(const X86Cpu *c, unsigned i) { return c->dr[7] >> (16 + 4 * i) & 3; }

static unsigned length_of(const X86Cpu *c, unsigned i)
{
    static const uint8_t bytes[4] = {1, 2, 8, 4};
    return bytes[c->dr[7] >> (18 + 4 * i) & 3];
}

static bool is_enabled(const X86Cpu *c, unsigned i) { return c->dr[7] >> (2 * i) & 3; }

void x86_debug_update(X86Cpu *c)
{
    bool on = (c->dr[7] & 0xff) || c->debugger_data;
    if (on || c->debug_on) {
        interp_tlb_flush(&c->ic); /* which pages are watched has changed */
        atomic_store(&c->ic.limit, 0);
    }
    c->debug_on = on;
}

bool x86_debug_fetch(X86Cpu *c)
{
    uint64_t at = x86_linear_pc(c);
    unsigned hits = 0;
    for (unsigned i = 0; i < 4; i++)
        if (is_enabled(c, i) && kind_of(c, i) == RW_EXEC && c->dr[i] == at)
            hits |= 1u << i;
    if (!hits)
        return true;
    c->dr[6] = (c->dr[6] & ~15ull) | hits;
    return x86_raise(c, EXC_DB);
}

/* Do the bytes at `at` and those of breakpoint i meet?  Its low address bits are ignored. */
static bool meets(const X86Cpu *c, unsigned i, uint64_t at, unsigned size)
{
    uint64_t n = length_of(c, i), first = c->dr[i] & ~(n - 1);
    return at - first < n || first - at < size;
}

void x86_debug_data(X86Cpu *c, uint64_t linear, unsigned size, bool write)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = kind_of(c, i);
        if (is_enabled(c, i) && (kind == RW_ANY || (write && kind == RW_WRITE)) &&
            meets(c, i, linear, size))
            c->dr6_hits |= (uint8_t)(1u << i);
    }
    for (unsigned i = 0; c->debugger_data && i < c->debugger->count; i++) {
        const VmrPoint *p = &c->debugger->points[i];
        if ((p->kind == VMR_POINT_ACCESS || (write && p->kind == VMR_POINT_WRITE)) &&
            (linear - p->address < p->size || p->address - linear < size)) {
            c->watch_hit = true;
            c->watch_point = p;
        }
    }
}

void x86_debug_io(X86Cpu *c, unsigned port, unsigned size)
{
    for (unsigned i = 0; i < 4; i++)
        if (is_enabled(c, i) && kind_of(c, i) == RW_IO && (c->cr4 & CR4_DE) && meets(c, i, port, size))
            c->dr6_hits |= (uint8_t)(1u << i);
}

void x86_debug_trap(X86Cpu *c, uint32_t dr6)
{
    c->dr[6] = (c->dr[6] & ~15ull) | dr6;
    x86_raise(c, EXC_DB);
    atomic_store(&c->ic.limit, 0); /* the loop delivers it before the next block */
}

/* ---- a debugger outside the guest ------------------------------------------------------------- */

void x86_debugger_set(X86Cpu *c, const VmrDebug *debug)
{
    bool none = !debug->step && !debug->count;
    g_free(c->debugger);
    c->debugger = none ? NULL : g_memdup2(debug, sizeof *debug);
    c->debugger_data = c->stepped = c->watch_hit = false;
    for (unsigned i = 0; i < debug->count; i++)
        c->debugger_data |= debug->points[i].kind != VMR_POINT_EXEC;
    interp_blocks_flush(&c->ic); /* links into pages that have breakpoints now */
    x86_debug_update(c);
}

bool x86_debugger_page(const X86Cpu *c, uint64_t linear)
{
    for (unsigned i = 0; i < c->debugger->count; i++) {
        const VmrPoint *p = &c->debugger->points[i];
        if (p->kind == VMR_POINT_EXEC && ((p->address ^ linear) & INTERP_PAGE_MASK) == 0)
            return true;
    }
    return false;
}

X86DebuggerWants x86_debugger_look(X86Cpu *c)
{
    const VmrDebug *d = c->debugger;
    VmrDebugHit *hit = &c->ic.core->debug_hit;
    uint64_t at = x86_linear_pc(c);
    if (c->watch_hit) {
        *hit = (VmrDebugHit){.kind = c->watch_point->kind, .address = c->watch_point->address};
        c->watch_hit = c->stepped = false;
        return DEBUGGER_STOP;
    }
    if (d->step && c->stepped) {
        *hit = (VmrDebugHit){.step = true, .address = at};
        c->stepped = false;
        return DEBUGGER_STOP;
    }
    for (unsigned i = 0; i < d->count; i++) {
        if (d->points[i].kind == VMR_POINT_EXEC && d->points[i].address == at) {
            *hit = (VmrDebugHit){.kind = VMR_POINT_EXEC, .address = at};
            return DEBUGGER_STOP;
        }
    }
    return d->step || c->debugger_data || x86_debugger_page(c, at) ? DEBUGGER_STEP : DEBUGGER_RUN;
}
