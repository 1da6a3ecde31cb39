/*
 * Debug registers: SDM volume 3, chapter 19.
 *
 * While DR7 enables anything the loop runs instruction by instruction, and pages with data
 * breakpoints are watched; else there is no cost.  Leaves out: branch records, DEBUGCTL.
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
    bool on = c->dr[7] & 0xff;
    if (on || c->debug_on) {
        interp_tlb_flush(&c->ic); /* which pages are watched has changed */
        atomic_store(&c->ic.limit, 0);
    }
    c->debug_on = on;
}

bool x86_debug_fetch(X86Cpu *c)
{
    uint64_t at = c->r[REG_PC];
    if (!x86_code64(c))
        at = (uint32_t)(at + c->r[REG_BASE_CS]);
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
