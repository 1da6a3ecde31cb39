/*
 * lapic - the local APICs of all CPUs of a machine.
 *
 * Models the xAPIC and x2APIC of Intel's Software Developer's Manual, volume 3,
 * chapter "Advanced Programmable Interrupt Controller": registers, priorities,
 * interprocessor interrupts, the timer in its three modes, LINT0/LINT1 with
 * ExtINT from an 8259, and message-signalled interrupts.
 *
 * One device holds all of them, as arrays by CPU index, so that an interprocessor
 * interrupt is a loop and one timer serves all.  The region `regs` is the whole
 * MSI window, 1 MiB: a CPU sees its own registers in the first page; a write by
 * anything else, anywhere in it, is a message.
 *
 * The timer counts virtual nanoseconds (an input clock of 1 GHz), and its current
 * count is exact.  A periodic timer does not interrupt more often than every
 * MIN_PERIOD_NS, however short the period; ticks in between coalesce.
 *
 * Leaves out: moving the registers by IA32_APIC_BASE (ignored), CMCI, remote
 * read, the serial APIC bus and its arbitration, changing the APIC ID.
 * Thermal and performance LVT entries hold their value; nothing raises them.
 */
#include <glib.h>
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>
#include <vmrun/x86.h>

enum { MAX_CPUS = 64, VECTOR_WORDS = 8, LVT_COUNT = 6 };

#define NEVER G_MAXINT64
#define MIN_PERIOD_NS 20000
#define NS_PER_S 1000000000u
#define MSI_BASE 0xfee00000u

/* Registers: MMIO offset >> 4, or x2APIC MSR - 0x800 */
enum {
    REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a,
    REG_EOI = 0x0b, REG_RRD = 0x0c, REG_LDR = 0x0d, REG_DFR = 0x0e, REG_SVR = 0x0f,
    REG_ISR = 0x10, REG_TMR = 0x18, REG_IRR = 0x20, REG_ESR = 0x28, REG_ICR = 0x30,
    REG_ICR_HI = 0x31, REG_LVT = 0x32, REG_INITIAL_COUNT = 0x38, REG_CURRENT_COUNT = 0x39,
    REG_DIVIDE = 0x3e, REG_SELF_IPI = 0x3f,
};

/* Local vector table, in register order */
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR };

enum {
    LVT_VECTOR = 0xff,
    LVT_STATUS = 1 << 12,
    LVT_REMOTE_IRR = 1 << 14,
    LVT_LEVEL = 1 << 15,
    LVT_MASKED = 1 << 16,
    TIMER_MODE = 3 << 17,
    TIMER_ONE_SHOT = 0,
    TIMER_PERIODIC = 1 << 17,
    TIMER_TSC_DEADLINE = 2 << 17,
};

/* Bits that exist in each LVT entry; the others are reserved */
static const uint32_t lvt_valid[LVT_COUNT] = {0x710ff, 0x117ff, 0x117ff, 0x1f7ff, 0x1f7ff, 0x110ff};

enum { MODE_FIXED, MODE_LOWEST, MODE_SMI, MODE_REMOTE_READ, MODE_NMI, MODE_INIT, MODE_SIPI,
       MODE_EXTINT };

enum { SVR_ENABLE = 1 << 8, SVR_NO_EOI_BROADCAST = 1 << 12, SVR_VALID = 0x13ff };

enum { ESR_SEND_ILLEGAL = 1 << 5, ESR_RECEIVE_ILLEGAL = 1 << 6, ESR_ILLEGAL_REGISTER = 1 << 7 };

/* Version 0x14 (integrated), LVT_COUNT entries, EOI broadcast can be suppressed */
enum { VERSION = 0x14 | (LVT_COUNT - 1) << 16 | 1 << 24 };

enum {
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_VALID = 0xccfff,        /* xAPIC: what is kept */
    ICR_X2APIC_VALID = 0xcdfff, /* x2APIC: else #GP; the old delivery status is tolerated */
    ICR_STATUS = 1 << 12,
};

enum {
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
};

#define BASE_BSP (1ull << 8)
#define BASE_EXTD (1ull << 10) /* x2APIC mode */
#define BASE_EN (1ull << 11)
#define BASE_MODE (BASE_EN | BASE_EXTD)
#define BASE_ADDRESS 0x000ffffffffff000ull
#define BASE_RESERVED (~(BASE_ADDRESS | BASE_BSP | BASE_MODE))

typedef struct EoiListener {
    void (*fn)(VmrDevice *listener, uint8_t vector);
    VmrDevice *listener;
} EoiListener;

typedef struct Lapic {
    VmrDevice dev;
    VmrLink extint;
    bool virtual_wire, x2apic;

    unsigned cpus;
    VmrCpu *cpu[MAX_CPUS]; /* made after the devices: looked up when first needed */
    const VmrX86CpuInterface *cpu_iface[MAX_CPUS];
    uint32_t apic_id[MAX_CPUS];
    GArray *eoi_listeners;
    VmrTimer *timer;     /* for the earliest of timer_next, or earlier */
    int64_t timer_armed; /* its deadline, NEVER if it is not set */
    bool intr[MAX_CPUS]; /* what the INTR pins were set to */
    /* An accelerator does the work (VMR_X86_LAPIC_OFFLOAD): messages go there. */
    void (*offload_send)(void *opaque, uint64_t address, uint32_t data);
    void *offload;

    /* State, by CPU */
    uint64_t apic_base[MAX_CPUS];
    uint32_t ldr[MAX_CPUS], dfr[MAX_CPUS], svr[MAX_CPUS];
    uint32_t esr[MAX_CPUS], esr_pending[MAX_CPUS];
    uint64_t icr[MAX_CPUS]; /* destination in bits 63:32, as x2APIC has it; xAPIC: 63:56 */
    uint32_t lvt[MAX_CPUS][LVT_COUNT];
    uint32_t isr[MAX_CPUS][VECTOR_WORDS];
    uint32_t tmr[MAX_CPUS][VECTOR_WORDS];
    uint32_t irr[MAX_CPUS][VECTOR_WORDS];
    uint8_t tpr[MAX_CPUS];
    bool extint_latched[MAX_CPUS]; /* an ExtINT message came */
    uint32_t initial_count[MAX_CPUS];
    uint8_t divide[MAX_CPUS];
    int64_t timer_start[MAX_CPUS]; /* virtual time at which the count was initial_count */
    int64_t timer_next[MAX_CPUS];  /* virtual time of the next expiry, NEVER if stopped */
    uint64_t tsc_deadline[MAX_CPUS];
    bool lint[2]; /* levels of the input lines; not touched by a reset */
} Lapic;

/* ---- the vCPUs --------------------------------------------------------- */

/* NULL: there is no such vCPU (yet). */
static const VmrX86CpuInterface *cpu_iface(Lapic *l, unsigned c)
{
    if (!l->cpu_iface[c]) {
        l->cpu[c] = vmr_cpu(&l->dev, c);
        if (l->cpu[c])
            l->cpu_iface[c] = vmr_cpu_interface(&l->dev, l->cpu[c], VMR_X86_CPU);
    }
    return l->cpu_iface[c];
}

static void find_apic_ids(Lapic *l)
{
    for (unsigned c = 0; c < l->cpus; c++) {
        const VmrX86CpuInterface *iface = cpu_iface(l, c);
        l->apic_id[c] = iface ? iface->apic_id(l->cpu[c]) : c;
    }
}

static bool is_enabled(const Lapic *l, unsigned c)
{
    return l->apic_base[c] & BASE_EN;
}

static bool is_x2apic(const Lapic *l, unsigned c)
{
    return l->apic_base[c] & BASE_EXTD;
}

/* ---- vectors and priorities -------------------------------------------- */

static int highest_vector(const uint32_t *words)
{
    for (int i = VECTOR_WORDS - 1; i >= 0; i--) {
        if (words[i])
            return i * 32 + 31 - __builtin_clz(words[i]);
    }
    return -1;
}

static void vector_set(uint32_t *words, uint8_t vector, bool value)
{
    uint32_t bit = 1u << (vector & 31);
    words[vector >> 5] = value ? words[vector >> 5] | bit : words[vector >> 5] & ~bit;
}

static bool vector_test(const uint32_t *words, uint8_t vector)
{
    return words[vector >> 5] >> (vector & 31) & 1;
}

static uint8_t processor_priority(const Lapic *l, unsigned c)
{
    int in_service = highest_vector(l->isr[c]);
    uint8_t class = in_service < 0 ? 0 : in_service & 0xf0;
    return (l->tpr[c] & 0xf0) >= class ? l->tpr[c] : class;
}

/* The vector to be delivered now, or -1. */
static int deliverable_vector(const Lapic *l, unsigned c)
{
    int vector = highest_vector(l->irr[c]);
    if (vector < 0 || (vector & 0xf0) <= (processor_priority(l, c) & 0xf0))
        return -1;
    return vector;
}

static bool lvt_is_extint(uint32_t lvt)
{
    return !(lvt & LVT_MASKED) && (lvt >> 8 & 7) == MODE_EXTINT;
}

static bool extint_pending(const Lapic *l, unsigned c)
{
    if (!l->extint.iface)
        return false;
    if (!is_enabled(l, c))
        return l->lint[0]; /* the pin is INTR then */
    return l->extint_latched[c] || (l->lint[0] && lvt_is_extint(l->lvt[c][LVT_LINT0])) ||
           (l->lint[1] && lvt_is_extint(l->lvt[c][LVT_LINT1]));
}

/* To be called after any change to IRR, ISR, TPR or what makes an ExtINT. */
static void update_intr(Lapic *l, unsigned c)
{
    bool level = l->offload_send ? c == 0 && l->lint[0] && l->extint.iface
                                 : extint_pending(l, c) || deliverable_vector(l, c) >= 0;

    if (level == l->intr[c])
        return;
    l->intr[c] = level;
    const VmrX86CpuInterface *iface = cpu_iface(l, c);
    if (iface)
        iface->set_intr(l->cpu[c], level);
}

static int lapic_acknowledge(VmrDevice *dev, unsigned c)
{
    Lapic *l = (Lapic *)dev;

    if (c >= l->cpus)
        return -1;
    if (l->offload_send) {
        const VmrX86IntcInterface *pic = l->extint.iface;
        return pic && l->lint[0] ? pic->acknowledge(l->extint.device, c) : -1;
    }
    if (extint_pending(l, c)) {
        const VmrX86IntcInterface *pic = l->extint.iface;
        l->extint_latched[c] = false;
        int vector = pic->acknowledge(l->extint.device, c);
        update_intr(l, c);
        if (vector >= 0)
            return vector;
    }
    int vector = deliverable_vector(l, c);
    if (vector >= 0) {
        vector_set(l->irr[c], vector, false);
        vector_set(l->isr[c], vector, true);
        update_intr(l, c);
    }
    return vector;
}

/* ---- accepting interrupts ---------------------------------------------- */

static void accept_vector(Lapic *l, unsigned c, uint8_t vector, bool level);

static void raise_error(Lapic *l, unsigned c, uint32_t bit)
{
    uint32_t lvt = l->lvt[c][LVT_ERROR];
    uint8_t vector = lvt & LVT_VECTOR;

    vmr_guest_error(&l->dev, "CPU %u: APIC error, ESR bit 0x%x", c, bit);
    l->esr_pending[c] |= bit;
    if (lvt & LVT_MASKED)
        return;
    /* An illegal error vector must not raise an error in turn, without end. */
    if (vector < 16)
        l->esr_pending[c] |= ESR_RECEIVE_ILLEGAL;
    else
        accept_vector(l, c, vector, false);
}

static void accept_vector(Lapic *l, unsigned c, uint8_t vector, bool level)
{
    if (!is_enabled(l, c) || !(l->svr[c] & SVR_ENABLE))
        return;
    if (vector < 16) {
        raise_error(l, c, ESR_RECEIVE_ILLEGAL);
        return;
    }
    vector_set(l->irr[c], vector, true);
    vector_set(l->tmr[c], vector, level);
    update_intr(l, c);
}

static void init_cpu(Lapic *l, unsigned c);

static void accept_interrupt(Lapic *l, unsigned c, unsigned mode, uint8_t vector, bool level)
{
    const VmrX86CpuInterface *iface = cpu_iface(l, c);

    if (!iface)
        return;
    switch (mode) {
    case MODE_FIXED:
    case MODE_LOWEST:
        accept_vector(l, c, vector, level);
        break;
    case MODE_SMI:
        iface->smi(l->cpu[c]);
        break;
    case MODE_NMI:
        iface->nmi(l->cpu[c]);
        break;
    case MODE_INIT:
        init_cpu(l, c);
        iface->init(l->cpu[c]);
        break;
    case MODE_SIPI:
        iface->sipi(l->cpu[c], vector);
        break;
    case MODE_EXTINT:
        l->extint_latched[c] = true;
        update_intr(l, c);
        break;
    default:
        vmr_guest_error(&l->dev, "CPU %u: delivery mode %u", c, mode);
    }
}

/* A local source has an event (an edge). */
static void lvt_event(Lapic *l, unsigned c, unsigned entry)
{
    uint32_t lvt = l->lvt[c][entry];
    unsigned mode = lvt >> 8 & 7;

    if (lvt & LVT_MASKED)
        return;
    if (entry == LVT_TIMER)
        mode = MODE_FIXED;
    else if (mode == MODE_SIPI || mode == MODE_LOWEST || mode == MODE_REMOTE_READ)
        return; /* not for a local source */
    accept_interrupt(l, c, mode, lvt & LVT_VECTOR, false);
}

/* ---- LINT0 and LINT1 ---------------------------------------------------- */

/* LINT1 takes edges only. */
static bool lint0_is_level(const Lapic *l, unsigned c)
{
    uint32_t lvt = l->lvt[c][LVT_LINT0];
    return (lvt & LVT_LEVEL) && (lvt >> 8 & 7) == MODE_FIXED;
}

static void lint0_service_level(Lapic *l, unsigned c)
{
    uint32_t lvt = l->lvt[c][LVT_LINT0];

    if (!l->lint[0] || !is_enabled(l, c) || !lint0_is_level(l, c) ||
        (lvt & (LVT_MASKED | LVT_REMOTE_IRR)))
        return;
    l->lvt[c][LVT_LINT0] |= LVT_REMOTE_IRR;
    accept_vector(l, c, lvt & LVT_VECTOR, true);
}

static void lint_changed(Lapic *l, unsigned pin, bool level)
{
    if (l->lint[pin] == level)
        return;
    l->lint[pin] = level;
    if (l->offload_send) {
        if (pin == 1 && level && cpu_iface(l, 0))
            cpu_iface(l, 0)->nmi(l->cpu[0]);
        update_intr(l, 0);
        return;
    }
    for (unsigned c = 0; c < l->cpus; c++) {
        uint32_t lvt = l->lvt[c][LVT_LINT0 + pin];
        const VmrX86CpuInterface *iface = cpu_iface(l, c);

        if (!is_enabled(l, c)) {
            /* The pins are INTR and NMI of the CPU then. */
            if (pin == 1 && level && iface)
                iface->nmi(l->cpu[c]);
            update_intr(l, c);
        } else if ((lvt >> 8 & 7) == MODE_EXTINT) {
            update_intr(l, c);
        } else if (pin == 0 && lint0_is_level(l, c)) {
            lint0_service_level(l, c);
        } else if (level) {
            lvt_event(l, c, LVT_LINT0 + pin);
        }
    }
}

static void lapic_lint0_changed(VmrDevice *dev, unsigned n, bool level)
{
    lint_changed((Lapic *)dev, 0, level);
}

static void lapic_lint1_changed(VmrDevice *dev, unsigned n, bool level)
{
    lint_changed((Lapic *)dev, 1, level);
}

/* ---- messages: IPIs and MSIs -------------------------------------------- */

/*
 * The CPUs that a destination names, as a bit mask.  `wide`: from an x2APIC,
 * 32 bits; otherwise 8 bits, from an xAPIC or an MSI.
 */
static uint64_t find_targets(Lapic *l, uint32_t dest, bool logical, bool wide)
{
    bool broadcast = dest == (wide ? 0xffffffffu : 0xffu);
    uint64_t targets = 0;

    for (unsigned c = 0; c < l->cpus; c++) {
        bool match;

        if (!is_enabled(l, c))
            continue;
        if (broadcast)
            match = true;
        else if (!logical)
            match = dest == l->apic_id[c];
        else if (is_x2apic(l, c))
            match = dest >> 16 == l->ldr[c] >> 16 && (dest & l->ldr[c] & 0xffff);
        else if (dest > 0xff)
            match = false;
        else if (l->dfr[c] >> 28 == 0xf) /* flat */
            match = dest & l->ldr[c] >> 24;
        else /* cluster */
            match = dest >> 4 == l->ldr[c] >> 28 && (dest & l->ldr[c] >> 24 & 0xf);
        if (match)
            targets |= 1ull << c;
    }
    return targets;
}

/* Of several, the one of lowest priority that takes interrupts. */
static uint64_t arbitrate(Lapic *l, uint64_t targets)
{
    int best = -1, best_priority = 0;

    for (unsigned c = 0; c < l->cpus; c++) {
        if (!(targets >> c & 1) || !(l->svr[c] & SVR_ENABLE))
            continue;
        int priority = processor_priority(l, c);
        if (best < 0 || priority < best_priority) {
            best = c;
            best_priority = priority;
        }
    }
    return best < 0 ? 0 : 1ull << best;
}

static void deliver(Lapic *l, uint64_t targets, unsigned mode, uint8_t vector, bool level)
{
    for (; targets; targets &= targets - 1)
        accept_interrupt(l, __builtin_ctzll(targets), mode, vector, level);
}

static void lapic_msi_send(VmrDevice *dev, uint64_t address, uint32_t data)
{
    Lapic *l = (Lapic *)dev;
    bool logical = address >> 2 & 1, redirect = address >> 3 & 1;
    unsigned mode = data >> 8 & 7;
    bool level = data >> 15 & 1, assert = data >> 14 & 1;

    if ((address & ~0xfffffull) != MSI_BASE) {
        vmr_guest_error(dev, "message to 0x%" G_GINT64_MODIFIER "x: not an MSI address", address);
        return;
    }
    if (l->offload_send) {
        l->offload_send(l->offload, address, data);
        return;
    }
    if (level && !assert)
        return; /* a deassert message does nothing */
    if (mode == MODE_SIPI || mode == MODE_REMOTE_READ) {
        vmr_guest_error(dev, "message of reserved delivery mode %u", mode);
        return;
    }
    uint64_t targets = find_targets(l, address >> 12 & 0xff, logical, false);
    if (mode == MODE_LOWEST || (mode == MODE_FIXED && redirect && logical))
        targets = arbitrate(l, targets);
    deliver(l, targets, mode, data & 0xff, level);
}

static void send_ipi(Lapic *l, unsigned c)
{
    uint64_t icr = l->icr[c];
    unsigned mode = icr >> 8 & 7;
    uint8_t vector = icr & 0xff;
    uint64_t all = l->cpus < 64 ? (1ull << l->cpus) - 1 : ~0ull, self = 1ull << c;
    uint64_t targets = 0;

    if (mode == MODE_REMOTE_READ || mode == MODE_EXTINT) {
        vmr_guest_error(&l->dev, "CPU %u: IPI of reserved delivery mode %u", c, mode);
        return;
    }
    if (mode == MODE_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
        return; /* INIT level de-assert: only set arbitration IDs, once */
    if ((mode == MODE_FIXED || mode == MODE_LOWEST) && vector < 16) {
        raise_error(l, c, ESR_SEND_ILLEGAL);
        return;
    }
    switch (icr >> 18 & 3) {
    case 0:
        if (is_x2apic(l, c))
            targets = find_targets(l, icr >> 32, icr & ICR_LOGICAL, true);
        else
            targets = find_targets(l, icr >> 56, icr & ICR_LOGICAL, false);
        break;
    case 1:
        targets = self;
        break;
    case 2:
        targets = all;
        break;
    case 3:
        targets = all & ~self;
        break;
    }
    if (mode == MODE_LOWEST)
        targets = arbitrate(l, targets);
    /* Those that an APIC sends are edges, whatever the trigger bit says. */
    for (; targets; targets &= targets - 1) {
        unsigned to = __builtin_ctzll(targets);
        if (is_enabled(l, to))
            accept_interrupt(l, to, mode, vector, false);
    }
}

static void tell_eoi(Lapic *l, uint8_t vector)
{
    for (guint i = 0; i < l->eoi_listeners->len; i++) {
        EoiListener *e = &g_array_index(l->eoi_listeners, EoiListener, i);
        e->fn(e->listener, vector);
    }
}

static void end_of_interrupt(Lapic *l, unsigned c)
{
    int vector = highest_vector(l->isr[c]);

    if (vector < 0)
        return; /* allowed: a spurious interrupt needs none */
    vector_set(l->isr[c], vector, false);
    if (vector_test(l->tmr[c], vector)) {
        if ((l->lvt[c][LVT_LINT0] & LVT_REMOTE_IRR) &&
            (int)(l->lvt[c][LVT_LINT0] & LVT_VECTOR) == vector) {
            l->lvt[c][LVT_LINT0] &= ~LVT_REMOTE_IRR;
            lint0_service_level(l, c);
        }
        if (!(l->svr[c] & SVR_NO_EOI_BROADCAST))
            tell_eoi(l, vector);
    }
    update_intr(l, c);
}

/* ---- the timer ----------------------------------------------------------- */

static unsigned timer_mode(const Lapic *l, unsigned c)
{
    return l->lvt[c][LVT_TIMER] & TIMER_MODE;
}

/* The divide configuration as a shift: 0 (by 1) to 7 (by 128). */
static unsigned timer_shift(const Lapic *l, unsigned c)
{
    return (((l->divide[c] >> 1 & 4) | (l->divide[c] & 3)) + 1) & 7;
}

static int64_t timer_period(const Lapic *l, unsigned c)
{
    return (int64_t)l->initial_count[c] << timer_shift(l, c);
}

/* Note when CPU `c` expires next.  A later deadline leaves the host's timer as
   it is: it fires early, and is then set to the earliest. */
static void timer_schedule(Lapic *l, unsigned c, int64_t next)
{
    l->timer_next[c] = next;
    if (next < l->timer_armed) {
        l->timer_armed = next;
        vmr_timer_set(&l->dev, l->timer, next);
    }
}

static void timer_rearm(Lapic *l)
{
    int64_t next = NEVER;

    for (unsigned c = 0; c < l->cpus; c++)
        next = MIN(next, l->timer_next[c]);
    if (l->offload_send)
        next = NEVER;
    l->timer_armed = next;
    if (next == NEVER)
        vmr_timer_cancel(&l->dev, l->timer);
    else
        vmr_timer_set(&l->dev, l->timer, next);
}

static uint32_t timer_current_count(Lapic *l, unsigned c)
{
    if (l->timer_next[c] == NEVER || timer_mode(l, c) == TIMER_TSC_DEADLINE)
        return 0;
    int64_t elapsed = vmr_clock_now(&l->dev, VMR_CLOCK_VIRTUAL) - l->timer_start[c];
    int64_t period = timer_period(l, c);
    if (elapsed < 0 || period == 0)
        return l->initial_count[c];
    if (timer_mode(l, c) == TIMER_PERIODIC)
        elapsed %= period;
    else if (elapsed >= period)
        return 0;
    return l->initial_count[c] - (elapsed >> timer_shift(l, c));
}

/* A value of the initial-count register starts the timer; 0 stops it. */
static void timer_start(Lapic *l, unsigned c, uint32_t count)
{
    if (timer_mode(l, c) == TIMER_TSC_DEADLINE)
        return;
    l->initial_count[c] = count;
    l->timer_start[c] = vmr_clock_now(&l->dev, VMR_CLOCK_VIRTUAL);
    timer_schedule(l, c, count ? l->timer_start[c] + timer_period(l, c) : NEVER);
}

/* Another rate: the current count goes on from where it is. */
static void timer_set_divide(Lapic *l, unsigned c, uint32_t value)
{
    uint32_t count = timer_current_count(l, c);

    l->divide[c] = value & 0xb;
    if (l->timer_next[c] == NEVER || timer_mode(l, c) == TIMER_TSC_DEADLINE)
        return;
    int64_t done = (int64_t)(l->initial_count[c] - count) << timer_shift(l, c);
    l->timer_start[c] = vmr_clock_now(&l->dev, VMR_CLOCK_VIRTUAL) - done;
    timer_schedule(l, c, l->timer_start[c] + timer_period(l, c));
}

static void timer_set_mode(Lapic *l, unsigned c, uint32_t old)
{
    uint32_t mode = timer_mode(l, c);

    old &= TIMER_MODE;
    if (mode == old)
        return;
    if (mode == TIMER_TSC_DEADLINE || old == TIMER_TSC_DEADLINE) {
        /* Between TSC-deadline and counting, the timer is disarmed. */
        l->initial_count[c] = 0;
        l->tsc_deadline[c] = 0;
        timer_schedule(l, c, NEVER);
    } else if (l->timer_next[c] != NEVER && timer_period(l, c)) {
        /* Between one-shot and periodic, the current count goes on. */
        int64_t now = vmr_clock_now(&l->dev, VMR_CLOCK_VIRTUAL), period = timer_period(l, c);
        if (now > l->timer_start[c])
            l->timer_start[c] = now - (now - l->timer_start[c]) % period;
        timer_schedule(l, c, l->timer_start[c] + period);
    }
}

/* Nanoseconds until the guest's TSC is `deadline`, rounded up; 0 if it is past. */
static int64_t tsc_delay(Lapic *l, unsigned c)
{
    const VmrX86CpuInterface *iface = cpu_iface(l, c);
    uint64_t hz = iface ? iface->tsc_hz(l->cpu[c]) : 0;
    uint64_t now = iface ? iface->tsc_now(l->cpu[c]) : 0;

    if (l->tsc_deadline[c] <= now || hz == 0)
        return 0;
    unsigned __int128 ns = (unsigned __int128)(l->tsc_deadline[c] - now) * NS_PER_S;
    ns = (ns + hz - 1) / hz;
    return ns > G_MAXINT64 / 4 ? G_MAXINT64 / 4 : (int64_t)ns;
}

static void timer_expire(Lapic *l, unsigned c, int64_t now)
{
    switch (timer_mode(l, c)) {
    case TIMER_TSC_DEADLINE: {
        /* The guest may have moved its TSC, or the clocks differ in the last place. */
        int64_t delay = tsc_delay(l, c);
        if (delay > 0) {
            l->timer_next[c] = now + MAX(delay, 1000);
            return;
        }
        l->tsc_deadline[c] = 0;
        l->timer_next[c] = NEVER;
        break;
    }
    case TIMER_PERIODIC: {
        int64_t period = timer_period(l, c), start = l->timer_start[c];
        if (period == 0) {
            l->timer_next[c] = NEVER;
            return;
        }
        /* The next multiple of the period that is late enough. */
        int64_t earliest = now + 1;
        if (period < MIN_PERIOD_NS)
            earliest = MAX(earliest, l->timer_next[c] + MIN_PERIOD_NS);
        l->timer_next[c] = start + (earliest - start + period - 1) / period * period;
        break;
    }
    default:
        l->timer_next[c] = NEVER;
    }
    lvt_event(l, c, LVT_TIMER);
}

/* The host's timer may be late: what expired before the guest looks or writes has expired. */
static void timer_settle(Lapic *l, unsigned c)
{
    int64_t now = vmr_clock_now(&l->dev, VMR_CLOCK_VIRTUAL);
    if (l->timer_next[c] <= now)
        timer_expire(l, c, now);
}

static void lapic_timer_fired(VmrDevice *dev)
{
    Lapic *l = (Lapic *)dev;
    int64_t now = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);

    for (unsigned c = 0; c < l->cpus; c++) {
        if (l->timer_next[c] <= now)
            timer_expire(l, c, now);
    }
    timer_rearm(l);
}

static void tsc_deadline_write(Lapic *l, unsigned c, uint64_t value)
{
    if (timer_mode(l, c) != TIMER_TSC_DEADLINE)
        return;
    l->tsc_deadline[c] = value;
    if (value == 0) {
        timer_schedule(l, c, NEVER);
        return;
    }
    int64_t now = vmr_clock_now(&l->dev, VMR_CLOCK_VIRTUAL);
    int64_t delay = tsc_delay(l, c);
    if (delay > 0)
        timer_schedule(l, c, now + delay);
    else
        timer_expire(l, c, now);
}

/* ---- registers, common to xAPIC and x2APIC ------------------------------- */

static void lvt_write(Lapic *l, unsigned c, unsigned entry, uint32_t value)
{
    if (entry == LVT_TIMER)
        timer_settle(l, c);
    uint32_t old = l->lvt[c][entry];

    value &= lvt_valid[entry] & ~(LVT_STATUS | LVT_REMOTE_IRR);
    if (!(l->svr[c] & SVR_ENABLE))
        value |= LVT_MASKED;
    l->lvt[c][entry] = value;
    switch (entry) {
    case LVT_TIMER:
        timer_set_mode(l, c, old);
        break;
    case LVT_LINT0:
        if (lint0_is_level(l, c))
            l->lvt[c][entry] |= old & LVT_REMOTE_IRR;
        lint0_service_level(l, c);
        update_intr(l, c);
        break;
    case LVT_LINT1:
        update_intr(l, c);
        break;
    }
}

static void svr_write(Lapic *l, unsigned c, uint32_t value)
{
    l->svr[c] = value & SVR_VALID;
    if (!(value & SVR_ENABLE)) {
        for (unsigned i = 0; i < LVT_COUNT; i++)
            l->lvt[c][i] |= LVT_MASKED;
    }
    update_intr(l, c);
}

static void tpr_write(Lapic *l, unsigned c, uint8_t value)
{
    l->tpr[c] = value;
    update_intr(l, c);
}

/* false: there is no such register to read. */
static bool register_read(Lapic *l, unsigned c, unsigned reg, uint32_t *value)
{
    switch (reg) {
    case REG_ID:
        *value = is_x2apic(l, c) ? l->apic_id[c] : l->apic_id[c] << 24;
        return true;
    case REG_VERSION:
        *value = VERSION;
        return true;
    case REG_TPR:
        *value = l->tpr[c];
        return true;
    case REG_PPR:
        *value = processor_priority(l, c);
        return true;
    case REG_LDR:
        *value = l->ldr[c];
        return true;
    case REG_SVR:
        *value = l->svr[c];
        return true;
    case REG_ISR ... REG_ISR + VECTOR_WORDS - 1:
        *value = l->isr[c][reg - REG_ISR];
        return true;
    case REG_TMR ... REG_TMR + VECTOR_WORDS - 1:
        *value = l->tmr[c][reg - REG_TMR];
        return true;
    case REG_IRR ... REG_IRR + VECTOR_WORDS - 1:
        *value = l->irr[c][reg - REG_IRR];
        return true;
    case REG_ESR:
        *value = l->esr[c];
        return true;
    case REG_LVT ... REG_LVT + LVT_COUNT - 1:
        *value = l->lvt[c][reg - REG_LVT];
        return true;
    case REG_INITIAL_COUNT:
        *value = l->initial_count[c];
        return true;
    case REG_CURRENT_COUNT:
        timer_settle(l, c);
        *value = timer_current_count(l, c);
        return true;
    case REG_DIVIDE:
        *value = l->divide[c];
        return true;
    default:
        return false;
    }
}

/* false: there is no such register to write.  Reserved bits are ignored here. */
static bool register_write(Lapic *l, unsigned c, unsigned reg, uint32_t value)
{
    switch (reg) {
    case REG_TPR:
        tpr_write(l, c, value);
        return true;
    case REG_EOI:
        end_of_interrupt(l, c);
        return true;
    case REG_SVR:
        svr_write(l, c, value);
        return true;
    case REG_ESR:
        l->esr[c] = l->esr_pending[c];
        l->esr_pending[c] = 0;
        return true;
    case REG_LVT ... REG_LVT + LVT_COUNT - 1:
        lvt_write(l, c, reg - REG_LVT, value);
        return true;
    case REG_INITIAL_COUNT:
        timer_start(l, c, value);
        return true;
    case REG_DIVIDE:
        timer_set_divide(l, c, value);
        return true;
    default:
        return false;
    }
}

/* ---- xAPIC: memory-mapped registers -------------------------------------- */

/* Whose registers are at `offset`, or -1.  A debugger's read shows those of CPU 0. */
static int xapic_cpu(Lapic *l, uint64_t offset)
{
    int c = MAX(vmr_initiator(&l->dev), 0);

    if ((unsigned)c >= l->cpus || offset >= 0x1000 || !is_enabled(l, c) || is_x2apic(l, c)) {
        vmr_guest_error(&l->dev, "CPU %d: access at +0x%x, where it has no registers", c,
                        (unsigned)offset);
        return -1;
    }
    return c;
}

static uint64_t lapic_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    Lapic *l = (Lapic *)dev;
    int c = xapic_cpu(l, offset);
    uint32_t value = 0;

    if (c < 0)
        return 0xffffffffu;
    if (offset & 0xf)
        return 0; /* each register is at a multiple of 16; the rest is undefined */
    switch (offset >> 4) {
    case REG_APR:
    case REG_RRD:
    case REG_EOI:
        break;
    case REG_DFR:
        value = l->dfr[c];
        break;
    case REG_ICR:
        value = l->icr[c];
        break;
    case REG_ICR_HI:
        value = l->icr[c] >> 32;
        break;
    default:
        /* A debugger's look must not change anything. */
        if (!register_read(l, c, offset >> 4, &value) && vmr_initiator(dev) >= 0)
            raise_error(l, c, ESR_ILLEGAL_REGISTER);
    }
    return value;
}

static void lapic_write(VmrDevice *dev, uint64_t offset, uint64_t value64, unsigned size)
{
    Lapic *l = (Lapic *)dev;
    uint32_t value = value64;

    if (vmr_initiator(dev) < 0) {
        lapic_msi_send(dev, MSI_BASE + offset, value);
        return;
    }
    int c = xapic_cpu(l, offset);
    if (c < 0 || (offset & 0xf))
        return;
    switch (offset >> 4) {
    case REG_LDR:
        l->ldr[c] = value & 0xff000000u;
        break;
    case REG_DFR:
        l->dfr[c] = value | 0x0fffffffu;
        break;
    case REG_ICR:
        l->icr[c] = (l->icr[c] & 0xff00000000000000ull) | (value & ICR_VALID);
        send_ipi(l, c);
        break;
    case REG_ICR_HI:
        l->icr[c] = (uint64_t)(value & 0xff000000u) << 32 | (uint32_t)l->icr[c];
        break;
    default:
        if (register_write(l, c, offset >> 4, value))
            break;
        uint32_t dummy;
        if (offset >> 4 == REG_APR || offset >> 4 == REG_RRD ||
            register_read(l, c, offset >> 4, &dummy))
            vmr_guest_error(dev, "CPU %d: write to read-only register +0x%x", c, (unsigned)offset);
        else
            raise_error(l, c, ESR_ILLEGAL_REGISTER);
    }
}

/* ---- MSRs ---------------------------------------------------------------- */

static bool x2apic_write(Lapic *l, unsigned c, unsigned reg, uint64_t value)
{
    if (reg == REG_ICR) {
        if ((uint32_t)value & ~ICR_X2APIC_VALID)
            return false;
        l->icr[c] = value & ~(uint64_t)ICR_STATUS;
        send_ipi(l, c);
        return true;
    }
    uint64_t valid;
    switch (reg) {
    case REG_TPR:
    case REG_SELF_IPI:
        valid = 0xff;
        break;
    case REG_EOI:
    case REG_ESR:
        valid = 0;
        break;
    case REG_SVR:
        valid = SVR_VALID;
        break;
    case REG_LVT ... REG_LVT + LVT_COUNT - 1:
        valid = lvt_valid[reg - REG_LVT];
        break;
    case REG_INITIAL_COUNT:
        valid = 0xffffffffu;
        break;
    case REG_DIVIDE:
        valid = 0xb;
        break;
    default:
        return false; /* read-only, or not there */
    }
    if (value & ~valid)
        return false;
    if (reg != REG_SELF_IPI)
        return register_write(l, c, reg, value);
    if (value < 16)
        raise_error(l, c, ESR_SEND_ILLEGAL);
    else
        accept_vector(l, c, value, false);
    return true;
}

static bool apic_base_write(Lapic *l, unsigned c, uint64_t value)
{
    uint64_t old = l->apic_base[c];
    uint64_t old_mode = old & BASE_MODE, mode = value & BASE_MODE;

    if (value & BASE_RESERVED)
        return false;
    if (mode == BASE_EXTD || (mode == BASE_MODE && !l->x2apic))
        return false;
    /* From x2APIC mode only to disabled, and from disabled only to xAPIC mode. */
    if ((old_mode == BASE_MODE && mode == BASE_EN) || (old_mode == 0 && mode == BASE_MODE))
        return false;
    if ((value ^ old) & BASE_ADDRESS)
        vmr_guest_error(&l->dev, "CPU %u: moving the local APIC is not supported", c);
    l->apic_base[c] = (old & BASE_ADDRESS) | (value & ~BASE_ADDRESS);
    if (mode == old_mode)
        return true;
    if (mode == BASE_MODE) {
        l->ldr[c] = (l->apic_id[c] >> 4) << 16 | 1u << (l->apic_id[c] & 0xf);
        l->icr[c] = (uint32_t)l->icr[c];
    } else {
        init_cpu(l, c); /* disabling forgets all; enabling starts as after a reset */
    }
    update_intr(l, c);
    return true;
}

static bool lapic_read_msr(VmrDevice *dev, unsigned c, uint32_t msr, uint64_t *value)
{
    Lapic *l = (Lapic *)dev;
    uint32_t word;

    if (c >= l->cpus)
        return false;
    if (msr == MSR_APIC_BASE) {
        *value = l->apic_base[c];
        return true;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *value = timer_mode(l, c) == TIMER_TSC_DEADLINE ? l->tsc_deadline[c] : 0;
        return true;
    }
    if (msr < MSR_X2APIC || msr > MSR_X2APIC_LAST || !is_x2apic(l, c))
        return false;
    if (msr == MSR_X2APIC + REG_ICR) {
        *value = l->icr[c];
        return true;
    }
    if (!register_read(l, c, msr - MSR_X2APIC, &word))
        return false;
    *value = word;
    return true;
}

static bool lapic_write_msr(VmrDevice *dev, unsigned c, uint32_t msr, uint64_t value)
{
    Lapic *l = (Lapic *)dev;

    if (c >= l->cpus)
        return false;
    if (msr == MSR_APIC_BASE)
        return apic_base_write(l, c, value);
    if (msr == MSR_TSC_DEADLINE) {
        tsc_deadline_write(l, c, value);
        return true;
    }
    if (msr < MSR_X2APIC || msr > MSR_X2APIC_LAST || !is_x2apic(l, c))
        return false;
    return x2apic_write(l, c, msr - MSR_X2APIC, value);
}

static uint8_t lapic_get_cr8(VmrDevice *dev, unsigned c)
{
    Lapic *l = (Lapic *)dev;
    return c < l->cpus ? l->tpr[c] >> 4 : 0;
}

static void lapic_set_cr8(VmrDevice *dev, unsigned c, uint8_t cr8)
{
    Lapic *l = (Lapic *)dev;
    if (c < l->cpus)
        tpr_write(l, c, (cr8 & 0xf) << 4);
}

/* ---- another does the work ------------------------------------------------- */

static void lapic_offload_take(VmrDevice *dev, void (*send)(void *, uint64_t, uint32_t), void *opaque)
{
    Lapic *l = (Lapic *)dev;

    l->offload_send = send;
    l->offload = opaque;
    timer_rearm(l);
    for (unsigned c = 0; c < l->cpus; c++)
        update_intr(l, c);
}

static void lapic_offload_get(VmrDevice *dev, unsigned c, VmrX86LapicRegisters *r)
{
    Lapic *l = (Lapic *)dev;

    *r = (VmrX86LapicRegisters){0};
    if (c >= l->cpus)
        return;
    r->apic_base = l->apic_base[c];
    r->tsc_deadline = l->tsc_deadline[c];
    r->reg[REG_ID] = l->apic_id[c] << 24;
    r->reg[REG_VERSION] = VERSION;
    r->reg[REG_TPR] = l->tpr[c];
    r->reg[REG_LDR] = l->ldr[c];
    r->reg[REG_DFR] = l->dfr[c];
    r->reg[REG_SVR] = l->svr[c];
    for (unsigned i = 0; i < VECTOR_WORDS; i++) {
        r->reg[REG_ISR + i] = l->isr[c][i];
        r->reg[REG_TMR + i] = l->tmr[c][i];
        r->reg[REG_IRR + i] = l->irr[c][i];
    }
    r->reg[REG_ESR] = l->esr[c];
    r->reg[REG_ICR] = (uint32_t)l->icr[c];
    r->reg[REG_ICR_HI] = l->icr[c] >> 32;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        r->reg[REG_LVT + i] = l->lvt[c][i];
    r->reg[REG_INITIAL_COUNT] = l->initial_count[c];
    r->reg[REG_CURRENT_COUNT] = timer_current_count(l, c);
    r->reg[REG_DIVIDE] = l->divide[c];
}

static void lapic_offload_set(VmrDevice *dev, unsigned c, const VmrX86LapicRegisters *r)
{
    Lapic *l = (Lapic *)dev;

    if (c >= l->cpus)
        return;
    int64_t now = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);
    l->apic_base[c] = r->apic_base;
    l->tpr[c] = r->reg[REG_TPR];
    l->ldr[c] = r->reg[REG_LDR];
    l->dfr[c] = r->reg[REG_DFR];
    l->svr[c] = r->reg[REG_SVR] & SVR_VALID;
    for (unsigned i = 0; i < VECTOR_WORDS; i++) {
        l->isr[c][i] = r->reg[REG_ISR + i];
        l->tmr[c][i] = r->reg[REG_TMR + i];
        l->irr[c][i] = r->reg[REG_IRR + i];
    }
    l->esr[c] = r->reg[REG_ESR];
    l->icr[c] = (uint64_t)r->reg[REG_ICR_HI] << 32 | (r->reg[REG_ICR] & ~(uint32_t)ICR_STATUS);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[c][i] = r->reg[REG_LVT + i] & lvt_valid[i];
    l->divide[c] = r->reg[REG_DIVIDE] & 0xb;
    l->initial_count[c] = r->reg[REG_INITIAL_COUNT];
    l->tsc_deadline[c] = r->tsc_deadline;
    l->timer_next[c] = NEVER;
    uint32_t count = MIN(r->reg[REG_CURRENT_COUNT], l->initial_count[c]);
    if (timer_mode(l, c) == TIMER_TSC_DEADLINE) {
        if (l->tsc_deadline[c])
            l->timer_next[c] = now + tsc_delay(l, c);
    } else if (count) {
        l->timer_start[c] = now - ((int64_t)(l->initial_count[c] - count) << timer_shift(l, c));
        l->timer_next[c] = l->timer_start[c] + timer_period(l, c);
    }
    timer_rearm(l);
    update_intr(l, c);
}

static void lapic_offload_eoi(VmrDevice *dev, uint8_t vector)
{
    tell_eoi((Lapic *)dev, vector);
}

/* ---- life ------------------------------------------------------------------ */

/* What INIT and reset have in common: all but the APIC ID and IA32_APIC_BASE.
   Touches no one else. */
static void clear_registers(Lapic *l, unsigned c)
{
    uint32_t id = l->apic_id[c];

    l->ldr[c] = is_x2apic(l, c) ? (id >> 4) << 16 | 1u << (id & 0xf) : 0;
    l->dfr[c] = 0xffffffffu;
    l->svr[c] = 0xff;
    l->esr[c] = l->esr_pending[c] = 0;
    l->icr[c] = 0;
    l->tpr[c] = 0;
    l->extint_latched[c] = false;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[c][i] = LVT_MASKED;
    for (unsigned i = 0; i < VECTOR_WORDS; i++)
        l->isr[c][i] = l->tmr[c][i] = l->irr[c][i] = 0;
    l->initial_count[c] = 0;
    l->divide[c] = 0;
    l->timer_start[c] = 0;
    l->timer_next[c] = NEVER;
    l->tsc_deadline[c] = 0;
}

static void init_cpu(Lapic *l, unsigned c)
{
    clear_registers(l, c);
    update_intr(l, c);
}

static void lapic_init(VmrDevice *dev, unsigned c)
{
    Lapic *l = (Lapic *)dev;
    if (c < l->cpus)
        init_cpu(l, c);
}

static void lapic_add_eoi_listener(VmrDevice *dev, void (*fn)(VmrDevice *, uint8_t),
                                   VmrDevice *listener)
{
    Lapic *l = (Lapic *)dev;
    EoiListener e = {fn, listener};

    /* The I/O APIC may be realized first. */
    if (!l->eoi_listeners)
        l->eoi_listeners = g_array_new(FALSE, FALSE, sizeof(EoiListener));
    g_array_append_val(l->eoi_listeners, e);
}

static bool lapic_realize(VmrDevice *dev, GError **error)
{
    Lapic *l = (Lapic *)dev;

    l->cpus = vmr_cpu_count(dev);
    if (l->cpus > MAX_CPUS) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%u CPUs, at most %d are supported",
                    l->cpus, MAX_CPUS);
        return false;
    }
    if (!l->eoi_listeners)
        l->eoi_listeners = g_array_new(FALSE, FALSE, sizeof(EoiListener));
    l->timer = vmr_timer_new(dev, VMR_CLOCK_VIRTUAL, lapic_timer_fired);
    l->timer_armed = NEVER;
    for (unsigned c = 0; c < MAX_CPUS; c++)
        l->timer_next[c] = NEVER;
    return true;
}

static void lapic_unrealize(VmrDevice *dev)
{
    Lapic *l = (Lapic *)dev;

    vmr_timer_free(dev, l->timer);
    g_array_free(l->eoi_listeners, TRUE);
    l->eoi_listeners = NULL;
}

static void lapic_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Lapic *l = (Lapic *)dev;

    if (phase == VMR_RESET_ENTER) {
        find_apic_ids(l);
        for (unsigned c = 0; c < MAX_CPUS; c++) {
            l->apic_base[c] = MSI_BASE | BASE_EN | (c == 0 ? BASE_BSP : 0);
            clear_registers(l, c);
        }
        if (l->virtual_wire) {
            l->svr[0] = 0xff | SVR_ENABLE;
            l->lvt[0][LVT_LINT0] = MODE_EXTINT << 8;
            l->lvt[0][LVT_LINT1] = MODE_NMI << 8;
        }
        timer_rearm(l);
    } else if (phase == VMR_RESET_HOLD) {
        for (unsigned c = 0; c < l->cpus; c++) {
            l->intr[c] = true; /* whatever it was, say it again */
            update_intr(l, c);
            if (l->intr[c] && cpu_iface(l, c))
                cpu_iface(l, c)->set_intr(l->cpu[c], true);
        }
    }
}

static bool lapic_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Lapic *l = (Lapic *)dev;
    const int64_t bound = G_MAXINT64 / 4; /* so that sums of times cannot overflow */

    memset(l->cpu_iface, 0, sizeof(l->cpu_iface)); /* another accelerator may run them now */
    find_apic_ids(l);
    for (unsigned c = 0; c < MAX_CPUS; c++) {
        uint64_t mode = l->apic_base[c] & BASE_MODE;
        bool bad = (l->apic_base[c] & BASE_RESERVED) || mode == BASE_EXTD ||
                   (mode == BASE_MODE && !l->x2apic) || l->timer_start[c] > bound ||
                   l->timer_start[c] < -bound || l->timer_next[c] < -bound ||
                   (l->timer_next[c] > 2 * bound && l->timer_next[c] != NEVER);
        if (bad) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                        "CPU %u: impossible local APIC state", c);
            return false;
        }
        l->svr[c] &= SVR_VALID;
        l->divide[c] &= 0xb;
        for (unsigned i = 0; i < LVT_COUNT; i++)
            l->lvt[c][i] &= lvt_valid[i];
        /* Vectors 0..15 cannot have been accepted. */
        l->irr[c][0] &= 0xffff0000u;
        l->isr[c][0] &= 0xffff0000u;
    }
    timer_rearm(l);
    lapic_reset(dev, VMR_RESET_HOLD, VMR_RESET_WARM);
    return true;
}

static void lapic_describe(VmrDevice *dev, VmrDescription *d)
{
    vmr_describe_string(d, "interrupt-controller", "x86-lapic");
    vmr_describe_number(d, "cpu-local", 1);
}

static const void *lapic_get_interface(VmrDevice *dev, const char *id)
{
    static const VmrX86IntcInterface intc = {sizeof intc, lapic_acknowledge};
    static const VmrX86LapicInterface lapic = {
        sizeof lapic,    lapic_get_cr8, lapic_set_cr8,          lapic_read_msr,
        lapic_write_msr, lapic_init,    lapic_add_eoi_listener,
    };
    static const VmrMsiSinkInterface msi = {sizeof msi, lapic_msi_send};
    static const VmrX86LapicOffloadInterface offload = {sizeof offload, lapic_offload_take,
                                                        lapic_offload_get, lapic_offload_set,
                                                        lapic_offload_eoi};

    if (g_strcmp0(id, VMR_X86_INTC) == 0)
        return &intc;
    if (g_strcmp0(id, VMR_X86_LAPIC) == 0)
        return &lapic;
    if (g_strcmp0(id, VMR_MSI_SINK) == 0)
        return &msi;
    if (g_strcmp0(id, VMR_X86_LAPIC_OFFLOAD) == 0)
        return &offload;
    return NULL;
}

static const VmrProperty lapic_properties[] = {
    {.name = "extint", .type = VMR_PROP_LINK, .offset = offsetof(Lapic, extint),
     .interface = VMR_X86_INTC, .doc = "the 8259 that gives the vector of an ExtINT"},
    {.name = "virtual-wire", .type = VMR_PROP_BOOL, .offset = offsetof(Lapic, virtual_wire),
     .default_text = "on",
     .doc = "after reset, CPU 0 is as a BIOS leaves it: enabled, LINT0 ExtINT, LINT1 NMI"},
    {.name = "x2apic", .type = VMR_PROP_BOOL, .offset = offsetof(Lapic, x2apic),
     .default_text = "on", .doc = "allow x2APIC mode"},
    {0},
};

static const VmrRegion lapic_regions[] = {
    {.name = "regs", .kind = VMR_REGION_MMIO, .size = 0x100000, .impl_min = 4, .impl_max = 4,
     .read = lapic_read, .write = lapic_write,
     .doc = "first page: a CPU's own registers; all of it: MSIs, if a device writes"},
    {0},
};

static const VmrLine lapic_lines[] = {
    {"lint0", VMR_LINE_IN, 1, 0, lapic_lint0_changed, "LINT0 of all CPUs; from the 8259"},
    {"lint1", VMR_LINE_IN, 1, 0, lapic_lint1_changed, "LINT1 of all CPUs; NMI"},
    {0},
};

static const VmrField lapic_fields[] = {
    VMR_FIELD_N(U64, Lapic, apic_base, MAX_CPUS),
    VMR_FIELD_N(U32, Lapic, ldr, MAX_CPUS),
    VMR_FIELD_N(U32, Lapic, dfr, MAX_CPUS),
    VMR_FIELD_N(U32, Lapic, svr, MAX_CPUS),
    VMR_FIELD_N(U32, Lapic, esr, MAX_CPUS),
    VMR_FIELD_N(U32, Lapic, esr_pending, MAX_CPUS),
    VMR_FIELD_N(U64, Lapic, icr, MAX_CPUS),
    VMR_FIELD_N(U32, Lapic, lvt, MAX_CPUS * LVT_COUNT),
    VMR_FIELD_N(U32, Lapic, isr, MAX_CPUS * VECTOR_WORDS),
    VMR_FIELD_N(U32, Lapic, tmr, MAX_CPUS * VECTOR_WORDS),
    VMR_FIELD_N(U32, Lapic, irr, MAX_CPUS * VECTOR_WORDS),
    VMR_FIELD_N(U8, Lapic, tpr, MAX_CPUS),
    VMR_FIELD_N(BOOL, Lapic, extint_latched, MAX_CPUS),
    VMR_FIELD_N(U32, Lapic, initial_count, MAX_CPUS),
    VMR_FIELD_N(U8, Lapic, divide, MAX_CPUS),
    VMR_FIELD_N(I64, Lapic, timer_start, MAX_CPUS),
    VMR_FIELD_N(I64, Lapic, timer_next, MAX_CPUS),
    VMR_FIELD_N(U64, Lapic, tsc_deadline, MAX_CPUS),
    VMR_FIELD_N(BOOL, Lapic, lint, 2),
    {0},
};

static const VmrDeviceClass lapic_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "lapic",
    .summary = "local APICs (xAPIC and x2APIC) of all CPUs, up to 64",
    .doc = "One device for all CPUs of the machine: [machine] interrupt-controller = lapic0.\n"
           "An 8259 is wired to it as irq = lapic0:lint0, and named by extint = pic0.\n"
           "The timer counts at 1 GHz of virtual time, and knows one-shot, periodic and\n"
           "TSC-deadline mode; a periodic timer interrupts every 20 microseconds at most.\n"
           "Place regs at 0xfee00000; IA32_APIC_BASE does not move it.",
    .instance_size = sizeof(Lapic),
    .properties = lapic_properties,
    .regions = lapic_regions,
    .lines = lapic_lines,
    .fields = lapic_fields,
    .realize = lapic_realize,
    .unrealize = lapic_unrealize,
    .reset = lapic_reset,
    .post_load = lapic_post_load,
    .describe = lapic_describe,
    .get_interface = lapic_get_interface,
};

VMR_PLUGIN_DEVICE("lapic", "1.0", &lapic_class);
