/*
 * hpet - a high precision event timer block.
 *
 * Models the IA-PC HPET specification 1.0a (Intel, 2004): a 64-bit main counter
 * with a period of 10 ns, 3 to 32 comparators, each 64 bits wide or 32 by its
 * 32MODE bit, one-shot or periodic, edge or level, and legacy replacement routing.
 *
 * A comparator matches when it equals the main counter.  In periodic mode it then
 * grows by the value that was last written to it; TIMn_VAL_SET lets a write go to
 * the comparator itself as well.
 *
 * Legacy replacement: timer 0 drives legacy[0] and timer 1 legacy[1] (ISA IRQ 0 and
 * 8).  Without it, these outputs repeat the inputs legacy-in[0] (from the PIT) and
 * legacy-in[1] (from the RTC), so that a machine can put the block between them and
 * the interrupt controllers, as a chipset does.
 *
 * An edge-triggered timer leaves its line asserted until shortly before its next
 * edge, so that an 8259 does not see a spurious interrupt.  A periodic timer does not
 * interrupt more often than every MIN_PERIOD_NS; ticks in between coalesce, and what a
 * guest reads of the comparator stays exact.
 *
 * Leaves out: FSB (message) delivery, whose capability bit is 0; writes to the main
 * counter while it runs (ignored: the specification forbids them).
 */
#include <glib.h>
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

enum { MAX_TIMERS = 32, OUT_COUNT = 24, LEGACY_COUNT = 2 };

#define NEVER G_MAXINT64
#define TICK_NS 10
#define TICK_FS 10000000ull /* COUNTER_CLK_PERIOD */
#define MIN_PERIOD_NS 20000
#define MAX_AHEAD (1ull << 58) /* ticks; what is further off counts as never */

/* Registers, all 64 bits wide */
enum {
    GCAP_ID = 0x000,
    GEN_CONF = 0x010,
    GINTR_STA = 0x020,
    MAIN_CNT = 0x0f0,
    TIMERS = 0x100,
    TIMER_STRIDE = 0x20,
    TIM_CONF = 0x00,
    TIM_COMP = 0x08,
    TIM_FSB = 0x10,
};

#define GCAP_VENDOR (0x8086ull << 16)
#define GCAP_LEG_RT_CAP (1ull << 15)
#define GCAP_COUNT_SIZE (1ull << 13)
#define GCAP_NUM_TIM_SHIFT 8
#define GCAP_REVISION 1ull

#define ENABLE_CNF 1ull
#define LEG_RT_CNF 2ull

#define INT_TYPE (1ull << 1) /* level */
#define INT_ENB (1ull << 2)
#define TYPE_PERIODIC (1ull << 3)
#define PER_INT_CAP (1ull << 4)
#define SIZE_CAP (1ull << 5)
#define VAL_SET (1ull << 6)
#define MODE_32 (1ull << 8)
#define INT_ROUTE_SHIFT 9
#define INT_ROUTE (0x1full << INT_ROUTE_SHIFT)
#define CONF_WRITABLE (INT_TYPE | INT_ENB | TYPE_PERIODIC | VAL_SET | MODE_32 | INT_ROUTE)

typedef struct Hpet {
    VmrDevice dev;
    uint32_t timers, route_cap;
    VmrIrq legacy[LEGACY_COUNT];
    VmrIrq out[OUT_COUNT];
    VmrTimer *timer;
    uint32_t out_level;    /* what the outputs were set to */
    uint32_t legacy_level;

    uint64_t config;       /* GEN_CONF */
    uint32_t status;       /* GINTR_STA */
    uint32_t edge_high;    /* by timer: edge-triggered, and left asserted */
    uint64_t counter;      /* the main counter at counter_time, or as it stands */
    int64_t counter_time;
    uint64_t tim_conf[MAX_TIMERS]; /* the writable bits */
    uint64_t comparator[MAX_TIMERS];
    uint64_t period[MAX_TIMERS];   /* the last value written to the comparator */
    int64_t match[MAX_TIMERS];     /* virtual time of the comparator's next match, or NEVER */
    int64_t due[MAX_TIMERS];       /* when to act on it: `match`, or later for tiny periods */
    bool legacy_in[LEGACY_COUNT];  /* levels of the inputs; not touched by a reset */
} Hpet;

/* ---- the main counter ---------------------------------------------------- */

static bool is_running(const Hpet *h)
{
    return h->config & ENABLE_CNF;
}

static uint64_t counter_at(const Hpet *h, int64_t now)
{
    if (!is_running(h) || now < h->counter_time)
        return h->counter;
    return h->counter + (uint64_t)(now - h->counter_time) / TICK_NS;
}

/* The time at which the counter will be `ticks` further than at `now`. */
static int64_t time_ahead(const Hpet *h, int64_t now, uint64_t ticks)
{
    if (ticks > MAX_AHEAD)
        return NEVER;
    int64_t phase = now < h->counter_time ? 0 : (now - h->counter_time) % TICK_NS;
    int64_t when = now - phase + (int64_t)ticks * TICK_NS;
    return MAX(when, now);
}

/* ---- lines ----------------------------------------------------------------- */

static bool is_level(const Hpet *h, unsigned n)
{
    return h->tim_conf[n] & INT_TYPE;
}

static void update_lines(Hpet *h)
{
    uint32_t out = 0, legacy = 0;
    bool leg_rt = h->config & LEG_RT_CNF;

    for (unsigned n = 0; n < h->timers; n++) {
        uint32_t active = is_level(h, n) ? h->status : h->edge_high;
        if (!(active >> n & 1) || !(h->tim_conf[n] & INT_ENB))
            continue;
        if (leg_rt && n < LEGACY_COUNT)
            legacy |= 1u << n;
        else
            out |= 1u << ((h->tim_conf[n] & INT_ROUTE) >> INT_ROUTE_SHIFT);
    }
    out &= h->route_cap;
    for (unsigned i = 0; !leg_rt && i < LEGACY_COUNT; i++)
        legacy |= (uint32_t)h->legacy_in[i] << i;

    uint32_t out_changed = out ^ h->out_level, legacy_changed = legacy ^ h->legacy_level;
    h->out_level = out;
    h->legacy_level = legacy;
    for (; out_changed; out_changed &= out_changed - 1) {
        unsigned i = __builtin_ctz(out_changed);
        vmr_irq_set(&h->dev, h->out[i], out >> i & 1);
    }
    for (; legacy_changed; legacy_changed &= legacy_changed - 1) {
        unsigned i = __builtin_ctz(legacy_changed);
        vmr_irq_set(&h->dev, h->legacy[i], legacy >> i & 1);
    }
}

static void hpet_legacy_in_changed(VmrDevice *dev, unsigned n, bool level)
{
    Hpet *h = (Hpet *)dev;

    if (n >= LEGACY_COUNT)
        return;
    h->legacy_in[n] = level;
    update_lines(h);
}

static void raise_interrupt(Hpet *h, unsigned n)
{
    if (is_level(h, n)) {
        h->status |= 1u << n;
    } else if (h->tim_conf[n] & INT_ENB) {
        h->edge_high &= ~(1u << n);
        update_lines(h);
        h->edge_high |= 1u << n;
    }
    update_lines(h);
}

/* ---- comparators ------------------------------------------------------------ */

static uint64_t width_mask(const Hpet *h, unsigned n)
{
    return h->tim_conf[n] & MODE_32 ? 0xffffffffu : ~0ull;
}

/* The increment of a periodic timer; 0 if it is not one. */
static uint64_t increment(const Hpet *h, unsigned n)
{
    return h->tim_conf[n] & TYPE_PERIODIC ? h->period[n] & width_mask(h, n) : 0;
}

/* A periodic comparator whose match is past, moved to its first match after `counter`. */
static uint64_t comparator_after(const Hpet *h, unsigned n, uint64_t counter)
{
    uint64_t step = increment(h, n), mask = width_mask(h, n);

    if (step == 0)
        return h->comparator[n];
    uint64_t passed = (counter - h->comparator[n]) & mask;
    /* Up to one step further than `passed`; wraps as the comparator does. */
    return (h->comparator[n] + (passed / step + 1) * step) & mask;
}

/* Does a match show anywhere?  An edge with interrupts off does not, and costs no host timer. */
static bool shows(const Hpet *h, unsigned n)
{
    return is_level(h, n) || (h->tim_conf[n] & INT_ENB);
}

static void rearm(Hpet *h)
{
    int64_t next = NEVER;

    for (unsigned n = 0; n < h->timers; n++) {
        if (shows(h, n))
            next = MIN(next, h->due[n]);
    }
    if (next == NEVER)
        vmr_timer_cancel(&h->dev, h->timer);
    else
        vmr_timer_set(&h->dev, h->timer, next);
}

/* Find the next match at or after `now`; `fired`: the current tick's is done with. */
static void plan(Hpet *h, unsigned n, int64_t now, bool fired)
{
    if (!is_running(h)) {
        h->match[n] = h->due[n] = NEVER;
        return;
    }
    uint64_t mask = width_mask(h, n);
    uint64_t ahead = (h->comparator[n] - counter_at(h, now)) & mask;
    if (ahead == 0 && fired)
        ahead = mask == ~0ull ? mask : mask + 1; /* once around */
    h->match[n] = h->due[n] = time_ahead(h, now, ahead);
}

static void replan(Hpet *h, unsigned n)
{
    plan(h, n, vmr_clock_now(&h->dev, VMR_CLOCK_VIRTUAL), false);
    rearm(h);
}

static void hpet_timer_fired(VmrDevice *dev)
{
    Hpet *h = (Hpet *)dev;
    int64_t now = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);

    for (unsigned n = 0; n < h->timers; n++) {
        if (h->due[n] > now)
            continue;
        int64_t earliest = h->due[n] + MIN_PERIOD_NS;
        h->comparator[n] = comparator_after(h, n, counter_at(h, now));
        plan(h, n, now, true);
        if (increment(h, n))
            h->due[n] = MAX(h->due[n], earliest);
        raise_interrupt(h, n);
    }
    rearm(h);
}

/* ---- registers -------------------------------------------------------------- */

static uint64_t capabilities(const Hpet *h)
{
    return TICK_FS << 32 | GCAP_VENDOR | GCAP_LEG_RT_CAP | GCAP_COUNT_SIZE |
           (uint64_t)(h->timers - 1) << GCAP_NUM_TIM_SHIFT | GCAP_REVISION;
}

static uint64_t timer_register_read(Hpet *h, unsigned n, unsigned reg)
{
    int64_t now = vmr_clock_now(&h->dev, VMR_CLOCK_VIRTUAL);

    switch (reg) {
    case TIM_CONF:
        return (uint64_t)h->route_cap << 32 | h->tim_conf[n] | PER_INT_CAP | SIZE_CAP;
    case TIM_COMP:
        /* The match may be past, but not acted on yet. */
        if (h->match[n] < now)
            return comparator_after(h, n, counter_at(h, now));
        return h->comparator[n];
    default:
        return 0;
    }
}

static uint64_t register_read(Hpet *h, unsigned reg)
{
    if (reg >= TIMERS && (reg - TIMERS) / TIMER_STRIDE < h->timers)
        return timer_register_read(h, (reg - TIMERS) / TIMER_STRIDE, (reg - TIMERS) % TIMER_STRIDE);
    switch (reg) {
    case GCAP_ID:
        return capabilities(h);
    case GEN_CONF:
        return h->config;
    case GINTR_STA:
        return h->status;
    case MAIN_CNT:
        return counter_at(h, vmr_clock_now(&h->dev, VMR_CLOCK_VIRTUAL));
    default:
        return 0;
    }
}

static void config_write(Hpet *h, uint64_t value)
{
    int64_t now = vmr_clock_now(&h->dev, VMR_CLOCK_VIRTUAL);
    uint64_t old = h->config;

    value &= ENABLE_CNF | LEG_RT_CNF;
    if ((value ^ old) & ENABLE_CNF) {
        if (old & ENABLE_CNF) {
            /* Comparators whose match is past have moved on by then. */
            for (unsigned n = 0; n < h->timers; n++) {
                if (h->match[n] < now)
                    h->comparator[n] = comparator_after(h, n, counter_at(h, now));
            }
            h->counter = counter_at(h, now);
        }
        h->counter_time = now;
        h->config = value;
        for (unsigned n = 0; n < h->timers; n++)
            plan(h, n, now, false);
        rearm(h);
    }
    h->config = value;
    if (!(value & ENABLE_CNF))
        h->edge_high = 0;
    else if ((value ^ old) & LEG_RT_CNF)
        h->edge_high &= ~((1u << LEGACY_COUNT) - 1);
    update_lines(h);
}

static void timer_config_write(Hpet *h, unsigned n, uint64_t value)
{
    uint64_t old = h->tim_conf[n];

    h->tim_conf[n] = value & CONF_WRITABLE;
    if (!(value & TYPE_PERIODIC))
        h->tim_conf[n] &= ~VAL_SET;
    if ((value & MODE_32) && !(old & MODE_32)) {
        h->comparator[n] &= 0xffffffffu;
        h->period[n] &= 0xffffffffu;
    }
    if ((value & INT_TYPE) || !(value & INT_ENB))
        h->edge_high &= ~(1u << n);
    if (!(value & INT_TYPE))
        h->status &= ~(1u << n);
    update_lines(h);
    if ((value ^ old) & (MODE_32 | TYPE_PERIODIC)) {
        replan(h, n);
    } else if ((value ^ old) & (INT_TYPE | INT_ENB)) {
        /* what matched unseen stays unseen */
        int64_t now = vmr_clock_now(&h->dev, VMR_CLOCK_VIRTUAL);
        if (h->match[n] < now) {
            h->comparator[n] = comparator_after(h, n, counter_at(h, now));
            plan(h, n, now, false);
        }
        rearm(h);
    }
}

/* `mask`: the bits that the access writes. */
static void comparator_write(Hpet *h, unsigned n, uint64_t value, uint64_t mask)
{
    uint64_t width = width_mask(h, n);

    if (!(mask & width))
        return; /* the upper half in 32-bit mode */
    h->period[n] = ((h->period[n] & ~mask) | (value & mask)) & width;
    if (!(h->tim_conf[n] & TYPE_PERIODIC) || (h->tim_conf[n] & VAL_SET)) {
        h->comparator[n] = ((h->comparator[n] & ~mask) | (value & mask)) & width;
        h->tim_conf[n] &= ~VAL_SET;
        replan(h, n);
    }
}

static void timer_register_write(Hpet *h, unsigned n, unsigned reg, uint64_t value, uint64_t mask)
{
    switch (reg) {
    case TIM_CONF:
        timer_config_write(h, n, (h->tim_conf[n] & ~mask) | (value & mask));
        break;
    case TIM_COMP:
        comparator_write(h, n, value, mask);
        break;
    default:
        break; /* FSB route: not there without the capability */
    }
}

static void register_write(Hpet *h, unsigned reg, uint64_t value, uint64_t mask)
{
    if (reg >= TIMERS && (reg - TIMERS) / TIMER_STRIDE < h->timers) {
        timer_register_write(h, (reg - TIMERS) / TIMER_STRIDE, (reg - TIMERS) % TIMER_STRIDE, value,
                             mask);
        return;
    }
    switch (reg) {
    case GEN_CONF:
        config_write(h, (h->config & ~mask) | (value & mask));
        break;
    case GINTR_STA:
        h->status &= ~(uint32_t)(value & mask);
        update_lines(h);
        break;
    case MAIN_CNT:
        if (is_running(h))
            vmr_guest_error(&h->dev, "write to the main counter while it runs");
        else
            h->counter = (h->counter & ~mask) | (value & mask);
        break;
    default:
        vmr_guest_error(&h->dev, "write at 0x%x: no register there, or read-only", reg);
    }
}

static uint64_t hpet_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    uint64_t value = register_read((Hpet *)dev, offset & ~7u);
    return size == 8 ? value : (offset & 4 ? value >> 32 : (uint32_t)value);
}

static void hpet_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    uint64_t mask = size == 8 ? ~0ull : (offset & 4 ? 0xffffffffull << 32 : 0xffffffffull);

    if (size != 8 && (offset & 4))
        value <<= 32;
    register_write((Hpet *)dev, offset & ~7u, value, mask);
}

/* ---- life ------------------------------------------------------------------- */

static bool hpet_realize(VmrDevice *dev, GError **error)
{
    Hpet *h = (Hpet *)dev;

    /* A timer may be routed where its wire leads. */
    for (unsigned i = 0; i < OUT_COUNT; i++) {
        if (!h->out[i].sink)
            h->route_cap &= ~(1u << i);
    }
    h->timer = vmr_timer_new(dev, VMR_CLOCK_VIRTUAL, hpet_timer_fired);
    return true;
}

static void hpet_unrealize(VmrDevice *dev)
{
    Hpet *h = (Hpet *)dev;
    vmr_timer_free(dev, h->timer);
}

static void hpet_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Hpet *h = (Hpet *)dev;

    if (phase == VMR_RESET_ENTER) {
        h->config = 0;
        h->status = h->edge_high = 0;
        h->counter = 0;
        h->counter_time = 0;
        for (unsigned n = 0; n < MAX_TIMERS; n++) {
            h->tim_conf[n] = 0;
            h->comparator[n] = ~0ull;
            h->period[n] = 0;
            h->match[n] = h->due[n] = NEVER;
        }
        rearm(h);
    } else if (phase == VMR_RESET_HOLD) {
        update_lines(h);
    }
}

static bool hpet_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Hpet *h = (Hpet *)dev;
    int64_t now = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);
    const int64_t bound = G_MAXINT64 / 4; /* so that sums of times cannot overflow */

    if (h->counter_time > bound || h->counter_time < -bound) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "impossible HPET counter");
        return false;
    }
    h->config &= ENABLE_CNF | LEG_RT_CNF;
    for (unsigned n = 0; n < MAX_TIMERS; n++) {
        h->tim_conf[n] &= CONF_WRITABLE;
        /* A match may be past and not acted on; anything further back is made up. */
        bool bad = n >= h->timers || !is_running(h) || h->match[n] > h->due[n] ||
                   h->match[n] < -bound || (h->due[n] < NEVER && h->due[n] > 3 * bound);
        if (bad && n < h->timers)
            plan(h, n, now, false);
        else if (bad)
            h->match[n] = h->due[n] = NEVER;
    }
    rearm(h);
    /* Say all levels again: the other ends may be older than this state. */
    update_lines(h);
    return true;
}

static void hpet_describe(VmrDevice *dev, VmrDescription *d)
{
    Hpet *h = (Hpet *)dev;

    vmr_describe_string(d, "acpi-hid", "PNP0103");
    vmr_describe_string(d, "timer-block", "hpet");
    vmr_describe_number(d, "hpet-id", (uint32_t)capabilities(h));
    /* The older clocks keep their interrupts unless the guest turns legacy replacement on. */
    vmr_describe_string(d, "line-through", "legacy-in");
    vmr_describe_string(d, "line-through", "legacy");
}

static const VmrProperty hpet_properties[] = {
    {.name = "timers", .type = VMR_PROP_U32, .offset = offsetof(Hpet, timers), .default_text = "3",
     .min = 3, .max = MAX_TIMERS, .doc = "number of comparators"},
    {.name = "routes", .type = VMR_PROP_U32, .offset = offsetof(Hpet, route_cap),
     .default_text = "0xf00000", .min = 0, .max = 0xffffff,
     .doc = "bit mask of members of `out` that a timer may be routed to, if they are connected"},
    {0},
};

static const VmrRegion hpet_regions[] = {
    {.name = "regs", .kind = VMR_REGION_MMIO, .size = 0x1000, .impl_min = 4, .impl_max = 8,
     .read = hpet_read, .write = hpet_write, .doc = "all registers"},
    {0},
};

static const VmrLine hpet_lines[] = {
    {"legacy", VMR_LINE_OUT, LEGACY_COUNT, offsetof(Hpet, legacy), NULL,
     "to ISA IRQ 0 and 8: timers 0 and 1 in legacy replacement mode, else legacy-in"},
    {"out", VMR_LINE_OUT, OUT_COUNT, offsetof(Hpet, out), NULL, "to I/O APIC pins, by number"},
    {"legacy-in", VMR_LINE_IN, LEGACY_COUNT, 0, hpet_legacy_in_changed,
     "what drives ISA IRQ 0 and 8 without legacy replacement: PIT and RTC"},
    {0},
};

static const VmrField hpet_fields[] = {
    VMR_FIELD(U64, Hpet, config),
    VMR_FIELD(U32, Hpet, status),
    VMR_FIELD(U32, Hpet, edge_high),
    VMR_FIELD(U64, Hpet, counter),
    VMR_FIELD(I64, Hpet, counter_time),
    VMR_FIELD_N(U64, Hpet, tim_conf, MAX_TIMERS),
    VMR_FIELD_N(U64, Hpet, comparator, MAX_TIMERS),
    VMR_FIELD_N(U64, Hpet, period, MAX_TIMERS),
    VMR_FIELD_N(I64, Hpet, match, MAX_TIMERS),
    VMR_FIELD_N(I64, Hpet, due, MAX_TIMERS),
    VMR_FIELD_N(BOOL, Hpet, legacy_in, LEGACY_COUNT),
    {0},
};

static const VmrDeviceClass hpet_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "hpet",
    .summary = "high precision event timer block (IA-PC HPET 1.0a), 100 MHz",
    .doc = "Wire legacy = isa:0, isa:8, and the PIT and the RTC to hpet0:legacy-in:0 and\n"
           "hpet0:legacy-in:1, so that legacy replacement takes their interrupts away.\n"
           "A periodic timer interrupts every 20 microseconds at most.",
    .instance_size = sizeof(Hpet),
    .properties = hpet_properties,
    .regions = hpet_regions,
    .lines = hpet_lines,
    .fields = hpet_fields,
    .realize = hpet_realize,
    .unrealize = hpet_unrealize,
    .reset = hpet_reset,
    .post_load = hpet_post_load,
    .describe = hpet_describe,
};

VMR_PLUGIN_DEVICE("hpet", "1.0", &hpet_class);
