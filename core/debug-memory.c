/*
 * core/debug-memory.c - a guest's memory as a debugger sees it: RAM and ROM only, since reading a
 * device's registers would change it; virtual addresses by the tables of a CPU, without
 * permissions (SDM volume 3, chapter 4).
 */
#include "debug.h"

#include "runtime.h"

#include <string.h>

enum { P = 1, PS = 1 << 7 };
static const uint64_t FRAME = 0x000ffffffffff000ull;

static bool access_physical(VmrMachine *m, uint64_t address, void *buf, size_t len, bool write)
{
    uint8_t *b = buf;
    bool ok = true;
    vmr_reader_pin();
    for (size_t done = 0; ok && done < len;) {
        const VmrRange *r = vmr_space_find(m->memory, address + done);
        ok = r && r->kind != VMR_RANGE_IO;
        if (!ok)
            break;
        uint64_t at = address + done - r->base;
        size_t n = (size_t)MIN((uint64_t)(len - done - 1), r->last - (address + done)) + 1;
        if (write) {
            memcpy(r->host + at, b + done, n);
            if (m->accel->ram_written)
                m->accel->ram_written(m->vm, r->ram_offset + at, n);
        } else {
            memcpy(b + done, r->host + at, n);
        }
        done += n;
    }
    vmr_reader_unpin();
    return ok;
}

bool vmr_debug_read_physical(VmrMachine *m, uint64_t address, void *buf, size_t len)
{
    return access_physical(m, address, buf, len, false);
}

bool vmr_debug_translate(VmrMachine *m, const VmrX86State *s, uint64_t v, uint64_t *p)
{
    if (!(s->cr0 >> 31 & 1)) {
        *p = v;
        return true;
    }
    bool pae = s->cr4 >> 5 & 1, lng = s->efer >> 10 & 1;
    unsigned levels = lng ? (s->cr4 >> 12 & 1 ? 5 : 4) : pae ? 3 : 2;
    unsigned bits = pae ? 9 : 10, size = pae ? 8 : 4;
    uint64_t table = s->cr3 & (lng ? FRAME : pae ? 0xffffffe0u : 0xfffff000u);
    if (!lng)
        v = (uint32_t)v;
    for (unsigned level = levels; level-- > 0;) {
        unsigned shift = 12 + level * bits;
        uint64_t e = 0;
        unsigned index = (unsigned)(v >> shift) & ((1u << bits) - 1);
        if (!vmr_debug_read_physical(m, table + index * size, &e, size) || !(e & P))
            return false;
        bool large = level && (e & PS) && (pae ? level <= 2 && !(levels == 3 && level == 2)
                                               : s->cr4 >> 4 & 1);
        if (level == 0 || large) {
            uint64_t mask = ((uint64_t)1 << shift) - 1;
            *p = (e & FRAME & ~mask) | (v & mask);
            if (!pae && large)
                *p = (e & 0xffc00000u) | (e >> 13 & 0xff) << 32 | (v & mask);
            return true;
        }
        table = e & FRAME;
    }
    return false;
}

size_t vmr_debug_memory(VmrMachine *m, const VmrX86State *s, uint64_t address, void *buf, size_t len, bool write)
{
    size_t done = 0;
    while (done < len) {
        uint64_t p;
        size_t n = MIN(len - done, 4096 - ((address + done) & 4095));
        if (!vmr_debug_translate(m, s, address + done, &p))
            break;
        if (!access_physical(m, p, (uint8_t *)buf + done, n, write))
            break;
        done += n;
    }
    return done;
}
