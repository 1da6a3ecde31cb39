/*
 * core/monitor-info.c - what the monitor shows: state of the machine, registers, memory.
 *
 * The machine is paused for a moment where CPUs are looked at.  Memory is RAM and
 * ROM only: reading a device's registers would change it.
 */
#include "monitor.h"

#include "config.h"
#include "debug.h"
#include "runtime.h"
#include "state.h"
#include "symbols.h"

#include <string.h>
#include <vmrun/x86.h>

/* ---- CPUs ------------------------------------------------------------- */

static bool x86_state(VmrMachine *m, unsigned n, VmrX86State *s)
{
    VmrCpu *cpu = &m->cpus[n];
    const VmrX86CpuInterface *x86 = NULL;
    if (cpu->acpu && m->accel->cpu_interface)
        x86 = m->accel->cpu_interface(cpu->acpu, VMR_X86_CPU);
    if (!x86 || !vmr_machine_pause(m))
        return false;
    memset(s, 0, sizeof *s);
    s->size = sizeof *s;
    vmr_domain_lock_urgent(m->domain);
    x86->get_state(cpu, s);
    vmr_domain_unlock(m->domain);
    vmr_machine_resume(m);
    return true;
}

static const char *const gpr_names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};

static void registers(VmrMachine *m, GString *to)
{
    static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    static const char *const states[] = {"running", "halted", "waiting for SIPI"};
    VmrX86State s;
    if (!x86_state(m, m->priv->monitor_cpu, &s)) {
        g_string_append(to, "error: the registers cannot be had\n");
        return;
    }
    g_string_append_printf(to, "cpu%u: %s\n", m->priv->monitor_cpu,
                           s.mp_state < 3 ? states[s.mp_state] : "?");
    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(to, "%-3s %016" PRIx64 "%s", gpr_names[i], s.gpr[i],
                               i % 4 == 3 ? "\n" : "  ");
    char *name = vmr_symbols_name(m, s.rip + (s.efer >> 10 & s.seg[VMR_X86_CS].l ? 0 : s.seg[VMR_X86_CS].base));
    g_string_append_printf(to, "rip %016" PRIx64 "  rflags %08" PRIx64 "%s%s\n", s.rip, s.rflags, name ? "  " : "",
                           name ? name : "");
    g_free(name);
    for (unsigned i = 0; i < 8; i++) {
        const VmrX86Segment *g = i < 6 ? &s.seg[i] : i == 6 ? &s.ldtr : &s.tr;
        g_string_append_printf(to, "%-4s %04x  base %016" PRIx64 "  limit %08x  type %x s%u dpl%u "
                               "p%u l%u db%u g%u%s\n", i < 6 ? segments[i] : i == 6 ? "ldtr" : "tr",
                               g->selector, g->base, g->limit, g->type, g->s, g->dpl, g->present,
                               g->l, g->db, g->g, g->unusable ? " unusable" : "");
    }
    g_string_append_printf(to, "gdt  %016" PRIx64 "+%04x  idt %016" PRIx64 "+%04x\n", s.gdt_base,
                           s.gdt_limit, s.idt_base, s.idt_limit);
    g_string_append_printf(to, "cr0 %" PRIx64 "  cr2 %" PRIx64 "  cr3 %" PRIx64 "  cr4 %" PRIx64
                           "  efer %" PRIx64 "  tsc %" PRIu64 "\n", s.cr0, s.cr2, s.cr3, s.cr4,
                           s.efer, s.tsc);
}

static void cpus(VmrMachine *m, GString *to)
{
    for (unsigned i = 0; i < m->cpu_count; i++) {
        VmrX86State s;
        bool ok = x86_state(m, i, &s);
        g_string_append_printf(to, "%s cpu%u: %s at %04x:%016" PRIx64 "\n",
                               i == m->priv->monitor_cpu ? "*" : " ", i,
                               !ok              ? "unknown"
                               : s.mp_state == 0 ? "running"
                               : s.mp_state == 1 ? "halted"
                                                 : "waiting for SIPI",
                               ok ? s.seg[VMR_X86_CS].selector : 0, ok ? s.rip : 0);
    }
}

/* ---- the machine ------------------------------------------------------ */

static void map_of(VmrSpace *space, const char *name, GString *to)
{
    vmr_reader_pin();
    const VmrMap *map = vmr_space_map(space);
    g_string_append_printf(to, "%s:\n", name);
    for (unsigned i = 0; i < map->count; i++) {
        const VmrRange *r = &map->ranges[i];
        g_string_append_printf(to, "  %016" PRIx64 "-%016" PRIx64 " %s %s%s%s", r->base, r->last,
                               r->kind == VMR_RANGE_IO   ? "io "
                               : r->kind == VMR_RANGE_RAM ? "ram"
                                                          : "rom",
                               r->device ? r->device->name : "ram", r->region ? "." : "",
                               r->region ? r->region->name : "");
        if (r->region_offset)
            g_string_append_printf(to, " +0x%" PRIx64, r->region_offset);
        g_string_append_c(to, '\n');
    }
    vmr_reader_unpin();
}

static void lines(VmrMachine *m, GString *to)
{
    for (unsigned i = 0; i < m->devices->len; i++) {
        const VmrDeviceHandle *h = m->devices->pdata[i];
        for (unsigned k = 0; h->routes && k < h->routes->len; k++) {
            const VmrRoutedLine *r = &g_array_index(h->routes, VmrRoutedLine, k);
            for (const VmrLine *l = h->klass->lines; l && l->name; l++) {
                if (l->direction != VMR_LINE_OUT || strcmp(l->name, r->name) || r->index >= MAX(l->count, 1))
                    continue;
                const VmrIrq *irq = (const void *)((const uint8_t *)h->device + l->offset);
                char *target = r->to ? g_strdup_printf("%s:%s:%u", r->to->name, r->to_line, r->to_index)
                                     : g_strdup(r->to_line ? r->to_line : "core");
                g_string_append_printf(to, "%c %s.%s:%u -> %s%s\n",
                                       vmr_irq_level(irq[r->index]) ? '1' : '0', h->name, l->name,
                                       r->index, r->inverted ? "!" : "", target);
                g_free(target);
            }
        }
    }
}

static void devices(VmrMachine *m, GString *to)
{
    for (unsigned i = 0; i < m->devices->len; i++) {
        const VmrDeviceHandle *h = m->devices->pdata[i];
        g_string_append_printf(to, "%-10s %-12s %s", h->name, h->klass->id, h->klass->summary);
        if (h->guest_errors)
            g_string_append_printf(to, " (%" PRIu64 " guest errors)", h->guest_errors);
        g_string_append_c(to, '\n');
    }
}

static void balloon(VmrMachine *m, GString *to)
{
    VmrBalloonStat stats[16];
    uint64_t bytes;
    GError *error = NULL;
    if (!vmr_machine_balloon_memory(m, &bytes, &error)) {
        g_string_append_printf(to, "error: %s\n", error->message);
        g_error_free(error);
        return;
    }
    g_string_append_printf(to, "balloon: actual=%" PRIu64 "\n", bytes >> 20);
    unsigned count = vmr_machine_balloon_stats(m, stats, G_N_ELEMENTS(stats));
    for (unsigned i = 0; i < count; i++)
        if (stats[i].value != UINT64_MAX)
            g_string_append_printf(to, "%s %" PRIu64 "\n", stats[i].name, stats[i].value);
}

bool vmr_monitor_info(VmrMachine *m, const char *what, GString *to)
{
    if (!strcmp(what, "status")) {
        g_string_append_printf(to, "%s, on %s, %.3f s of the guest's time\n",
                               vmr_machine_is_stopped(m) ? "stopped" : "running", m->accel->name,
                               (double)vmr_machine_time(m) / 1e9);
    } else if (!strcmp(what, "version")) {
        g_string_append(to, "vmrun " VMR_VERSION "\n");
    } else if (!strcmp(what, "cpus")) {
        cpus(m, to);
    } else if (!strcmp(what, "registers")) {
        registers(m, to);
    } else if (!strcmp(what, "mtree")) {
        map_of(m->memory, "memory", to);
        map_of(m->io, "io", to);
    } else if (!strcmp(what, "irq")) {
        lines(m, to);
    } else if (!strcmp(what, "devices")) {
        devices(m, to);
    } else if (!strcmp(what, "balloon")) {
        balloon(m, to);
    } else {
        return false;
    }
    return true;
}

/* ---- memory ----------------------------------------------------------- */

/* A number, a register, or either + or - a number. */
static bool address_of(VmrMachine *m, const VmrX86State *s, const char *text, uint64_t *address)
{
    char *copy = g_strdup(text);
    size_t length = strcspn(copy + 1, "+-") + 1;
    char sign = copy[0] ? copy[length] : 0;
    guint64 number = 0, offset = 0;
    bool ok = copy[0];
    if (ok && sign) {
        copy[length] = 0;
        ok = vmr_parse_number(copy + length + 1, &offset);
    }
    if (ok && *copy == '$') {
        bool found = !strcmp(copy, "$rip");
        number = s->rip;
        for (unsigned i = 0; i < 16 && !found; i++) {
            found = !strcmp(copy + 1, gpr_names[i]);
            number = s->gpr[i];
        }
        ok = found;
    } else if (ok) {
        ok = vmr_parse_number(copy, &number);
    }
    *address = sign == '-' ? number - offset : number + offset;
    g_free(copy);
    return ok;
}

typedef struct Format {
    unsigned count, size;
    char kind;
} Format;

static bool parse_format(const char *text, Format *f)
{
    *f = (Format){.count = 1, .size = 4, .kind = 'x'};
    if (g_ascii_isdigit(*text)) {
        char *end;
        guint64 n = g_ascii_strtoull(text, &end, 10);
        f->count = (unsigned)CLAMP(n, 1, 4096);
        text = end;
    }
    for (; *text; text++) {
        if (strchr("xduoc", *text)) {
            f->kind = *text;
            if (*text == 'c')
                f->size = 1;
        } else if (strchr("bhwg", *text)) {
            f->size = *text == 'b' ? 1 : *text == 'h' ? 2 : *text == 'w' ? 4 : 8;
        } else {
            return false;
        }
    }
    return true;
}

static void print_value(const Format *f, uint64_t v, GString *to)
{
    int64_t s = f->size == 8 ? (int64_t)v : (int64_t)(v << (64 - f->size * 8)) >> (64 - f->size * 8);
    switch (f->kind) {
    case 'd': g_string_append_printf(to, " %" PRId64, s); break;
    case 'u': g_string_append_printf(to, " %" PRIu64, v); break;
    case 'o': g_string_append_printf(to, " 0%" PRIo64, v); break;
    case 'c': g_string_append_printf(to, " %c", g_ascii_isprint((char)v) ? (char)v : '.'); break;
    default: g_string_append_printf(to, " 0x%0*" PRIx64, (int)f->size * 2, v); break;
    }
}

void vmr_monitor_dump(VmrMachine *m, const char *format, const char *text, bool physical,
                      GString *to)
{
    VmrX86State *s = g_new0(VmrX86State, 1);
    Format f;
    uint64_t address;
    bool have = x86_state(m, m->priv->monitor_cpu, s);
    if (!parse_format(format, &f)) {
        g_string_append_printf(to, "error: '/%s' is no format\n", format);
    } else if (!address_of(m, s, text, &address) || (!have && !physical)) {
        g_string_append_printf(to, "error: '%s' is no address\n", text);
    } else {
        unsigned row = f.kind == 'c' ? 16 : 16 / f.size;
        for (unsigned i = 0; i < f.count; i++, address += f.size) {
            if (i % row == 0)
                g_string_append_printf(to, "%s%016" PRIx64 ":", i ? "\n" : "", address);
            uint64_t v = 0;
            bool ok = true;
            for (unsigned b = 0; ok && b < f.size; b++) {
                uint64_t p = address + b;
                uint8_t byte = 0;
                ok = (physical || vmr_debug_translate(m, s, p, &p)) && vmr_debug_read_physical(m, p, &byte, 1);
                v |= (uint64_t)byte << (b * 8);
            }
            if (!ok) {
                g_string_append(to, " no memory is there");
                break;
            }
            print_value(&f, v, to);
        }
        g_string_append_c(to, '\n');
    }
    g_free(s);
}
