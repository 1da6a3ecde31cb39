/*
 * plugins/i8254.c - an 8254 programmable interval timer and the PC's port 0x61,
 * after the 82C54 data sheet (Intel, 231244) and the PIIX3's NMI status register.
 *
 * Three counters, six modes, binary and BCD, latch and read-back.  Nothing is
 * counted: the virtual clock gives the number of 1193182 Hz ticks since the
 * machine was made, and a counter is the tick at which it was loaded.  So there
 * is no drift, and reading costs no timer.  One timer serves the edges of OUT0.
 *
 * Left out: the speaker's sound; the count between a control word and the first
 * count; a new count in mode 3 takes effect at the end of the period rather
 * than of the half; OUT0's low pulses of one tick (modes 2, 4, 5) last no time.
 */
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

enum { PIT_HZ = 1193182, NS_PER_S = 1000000000 };
enum { COUNTERS = 3 };

/* What a guest can make of us: at most so many edges a second, and after a
   delay at most so many periods are made up for. */
enum { MIN_INTERVAL_NS = 20000, MAX_BACKLOG = 8 };

enum { RW_LATCH, RW_LSB, RW_MSB, RW_WORD };

enum {
    CONTROL = 3, /* offset of the control word */
    READ_BACK_NO_COUNT = 0x20,
    READ_BACK_NO_STATUS = 0x10,
    STATUS_OUT = 0x80,
    STATUS_NULL = 0x40,

    NMI_SC_GATE2 = 0x01,
    NMI_SC_WRITABLE = 0x0f,
    NMI_SC_REFRESH = 0x10,
    NMI_SC_OUT2 = 0x20,
    REFRESH_NS = 15085,
};

typedef struct Pit {
    VmrDevice dev;
    VmrIrq irq;
    VmrTimer *timer;

    uint8_t mode[COUNTERS], rw[COUNTERS];
    bool bcd[COUNTERS], gate[COUNTERS];
    bool write_msb[COUNTERS], read_msb[COUNTERS]; /* of a word: which byte is next */
    uint8_t lsb[COUNTERS];
    bool count_latched[COUNTERS], status_latched[COUNTERS];
    uint16_t count_latch[COUNTERS];
    uint8_t status_latch[COUNTERS];

    uint16_t reload[COUNTERS];  /* CR: as written */
    uint32_t initial[COUNTERS]; /* what CE was loaded with, 1..65536 */
    bool written[COUNTERS];     /* CR holds a count */
    bool armed[COUNTERS];       /* CE was loaded, at tick `start` */
    bool null_count[COUNTERS];  /* CR has not reached CE yet */
    uint64_t start[COUNTERS];
    bool frozen[COUNTERS]; /* stopped by its gate, `elapsed` ticks after start */
    uint64_t elapsed[COUNTERS];
    bool reload_due[COUNTERS]; /* CR goes to CE at tick `reload_at` */
    uint64_t reload_at[COUNTERS];

    uint64_t event; /* the tick of OUT0's next edge, while the timer is set */
    uint8_t port61;
} Pit;

/* ---- time ---- */

static uint64_t ns_to_tick(int64_t ns)
{
    return ns <= 0 ? 0 : (uint64_t)((unsigned __int128)ns * PIT_HZ / NS_PER_S);
}

/* The first ns that lies in the tick. */
static int64_t tick_to_ns(uint64_t tick)
{
    unsigned __int128 ns = ((unsigned __int128)tick * NS_PER_S + (PIT_HZ - 1)) / PIT_HZ;
    return ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}

static uint64_t now_tick(Pit *p)
{
    return ns_to_tick(vmr_clock_now(&p->dev, VMR_CLOCK_VIRTUAL));
}

/* ---- one counter ---- */

static bool periodic(const Pit *p, unsigned c)
{
    return p->mode[c] == 2 || p->mode[c] == 3;
}

static bool triggered_by_gate(const Pit *p, unsigned c)
{
    return p->mode[c] == 1 || p->mode[c] == 5;
}

static uint32_t decode(const Pit *p, unsigned c)
{
    uint32_t v = p->reload[c];
    if (p->bcd[c])
        v = (v >> 12) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
    if (!v)
        v = p->bcd[c] ? 10000 : 65536;
    return v;
}

/* A new count of a periodic mode waits for the end of the period. */
static void catch_up(Pit *p, unsigned c, uint64_t tick)
{
    if (p->reload_due[c] && !p->frozen[c] && tick >= p->reload_at[c]) {
        p->reload_due[c] = p->null_count[c] = false;
        p->start[c] = p->reload_at[c];
        p->initial[c] = decode(p, c);
    }
}

static uint64_t ticks_since_load(const Pit *p, unsigned c, uint64_t tick)
{
    if (p->frozen[c])
        return p->elapsed[c];
    return tick > p->start[c] ? tick - p->start[c] : 0;
}

static bool out_level(const Pit *p, unsigned c, uint64_t tick)
{
    if (!p->armed[c])
        return p->mode[c] != 0;
    uint64_t d = ticks_since_load(p, c, tick), n = p->initial[c];
    switch (p->mode[c]) {
    case 0:
    case 1:
        return d >= n;
    case 2:
        return p->frozen[c] || n == 1 || d % n != n - 1;
    case 3:
        return p->frozen[c] || d % n < (n + 1) / 2;
    default:
        return d != n;
    }
}

static uint16_t count_value(const Pit *p, unsigned c, uint64_t tick)
{
    uint32_t modulus = p->bcd[c] ? 10000 : 65536;
    uint64_t d = p->armed[c] ? ticks_since_load(p, c, tick) : 0;
    uint32_t n = p->initial[c], v, half;
    switch (p->mode[c]) {
    case 2:
        v = n - (uint32_t)(d % n);
        break;
    case 3: /* by two, twice; an odd count is made even first */
        half = (n + 1) / 2;
        v = (uint32_t)(d % n);
        v = (n & ~1u) - 2 * (v < half ? v : v - half);
        break;
    default:
        v = (n % modulus + modulus - (uint32_t)(d % modulus)) % modulus;
        break;
    }
    v %= modulus;
    if (p->bcd[c])
        v = v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10;
    return (uint16_t)v;
}

/* ---- edges of OUT0 ---- */

/* The first tick after `tick` at which OUT0 has an edge; false: there is none. */
static bool next_event(const Pit *p, uint64_t tick, uint64_t *event)
{
    uint64_t n = p->initial[0], start = p->start[0];
    if (!p->armed[0] || p->frozen[0])
        return false;
    uint64_t d = tick > start ? tick - start : 0, at;
    switch (p->mode[0]) {
    case 0:
    case 1:
        at = n;
        break;
    case 2:
        *event = start + (d / n + 1) * n;
        return true;
    case 3:
        at = d % n < (n + 1) / 2 && n > 1 ? (n + 1) / 2 : n;
        *event = start + d / n * n + at;
        return true;
    default:
        at = n + 1; /* the end of the strobe */
        break;
    }
    if (start + at <= tick)
        return false;
    *event = start + at;
    return true;
}

static void set_timer(Pit *p, int64_t not_before)
{
    vmr_timer_set(&p->dev, p->timer, MAX(tick_to_ns(p->event), not_before));
}

/* Counter 0 was changed: OUT0 is what it says, and the edges start anew. */
static void restart_events(Pit *p, uint64_t tick)
{
    bool strobes = p->mode[0] == 2 || p->mode[0] >= 4;
    vmr_irq_set(&p->dev, p->irq, strobes || out_level(p, 0, tick));
    if (next_event(p, tick, &p->event))
        set_timer(p, 0);
    else
        vmr_timer_cancel(&p->dev, p->timer);
}

static void timer_fired(VmrDevice *dev)
{
    Pit *p = (Pit *)dev;
    int64_t now_ns = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);
    uint64_t tick = ns_to_tick(now_ns);
    catch_up(p, 0, p->event);
    bool level = p->mode[0] == 2 || p->mode[0] >= 4 || p->initial[0] == 1 ||
                 out_level(p, 0, p->event);
    if (level)
        vmr_irq_set(dev, p->irq, false);
    vmr_irq_set(dev, p->irq, level);

    if (!next_event(p, p->event, &p->event))
        return;
    /* Late: make up for some periods, at no more than twice the rate, and forget the others. */
    uint64_t n = p->initial[0];
    if (periodic(p, 0) && tick > p->event && (tick - p->event) / n > MAX_BACKLOG)
        p->event += ((tick - p->event) / n - MAX_BACKLOG) * n;
    int64_t spacing = tick_to_ns(p->mode[0] == 3 ? n / 4 : n / 2);
    set_timer(p, periodic(p, 0) ? now_ns + MAX(MIN_INTERVAL_NS, tick <= p->event ? 0 : spacing)
                                : 0);
}

static void changed(Pit *p, unsigned c, uint64_t tick)
{
    if (c == 0)
        restart_events(p, tick);
}

/* ---- what the guest does ---- */

static void load(Pit *p, unsigned c, uint64_t tick)
{
    p->initial[c] = decode(p, c);
    p->start[c] = tick + 1;
    p->armed[c] = true;
    p->null_count[c] = p->reload_due[c] = false;
    p->frozen[c] = !p->gate[c] && !triggered_by_gate(p, c);
    p->elapsed[c] = 0;
}

static void write_count(Pit *p, unsigned c, uint16_t value, uint64_t tick)
{
    catch_up(p, c, tick);
    p->reload[c] = value;
    p->written[c] = p->null_count[c] = true;
    if (triggered_by_gate(p, c))
        return; /* for the next trigger */
    if (periodic(p, c) && p->armed[c]) {
        uint64_t n = p->initial[c];
        p->reload_due[c] = true; /* with a low gate: at its rising edge */
        if (!p->frozen[c])
            p->reload_at[c] = p->start[c] + (ticks_since_load(p, c, tick) / n + 1) * n;
        return;
    }
    load(p, c, tick);
    changed(p, c, tick);
}

static void write_counter(Pit *p, unsigned c, uint8_t value)
{
    uint64_t tick = now_tick(p);
    switch (p->rw[c]) {
    case RW_LSB:
        write_count(p, c, value, tick);
        break;
    case RW_MSB:
        write_count(p, c, value << 8, tick);
        break;
    case RW_WORD:
        p->write_msb[c] = !p->write_msb[c];
        if (!p->write_msb[c]) {
            write_count(p, c, p->lsb[c] | value << 8, tick);
        } else {
            p->lsb[c] = value;
            if (p->mode[c] == 0) { /* stops until the second byte */
                p->armed[c] = false;
                changed(p, c, tick);
            }
        }
        break;
    default:
        vmr_guest_error(&p->dev, "counter %u written before its control word", c);
        break;
    }
}

static void latch_count(Pit *p, unsigned c, uint64_t tick)
{
    if (p->count_latched[c])
        return;
    catch_up(p, c, tick);
    p->count_latch[c] = count_value(p, c, tick);
    p->count_latched[c] = true;
}

static void latch_status(Pit *p, unsigned c, uint64_t tick)
{
    if (p->status_latched[c])
        return;
    catch_up(p, c, tick);
    bool null = p->null_count[c] || (p->armed[c] && !p->frozen[c] && tick < p->start[c]);
    p->status_latch[c] = (out_level(p, c, tick) ? STATUS_OUT : 0) | (null ? STATUS_NULL : 0) |
                         p->rw[c] << 4 | p->mode[c] << 1 | p->bcd[c];
    p->status_latched[c] = true;
}

static void write_control(Pit *p, uint8_t value)
{
    unsigned c = value >> 6;
    uint64_t tick = now_tick(p);
    if (c == 3) {
        for (c = 0; c < COUNTERS; c++) {
            if (!(value & 2u << c))
                continue;
            if (!(value & READ_BACK_NO_COUNT))
                latch_count(p, c, tick);
            if (!(value & READ_BACK_NO_STATUS))
                latch_status(p, c, tick);
        }
        return;
    }
    unsigned rw = value >> 4 & 3, mode = value >> 1 & 7;
    if (rw == RW_LATCH) {
        latch_count(p, c, tick);
        return;
    }
    p->rw[c] = rw;
    p->mode[c] = mode > 5 ? mode - 4 : mode;
    p->bcd[c] = value & 1;
    p->write_msb[c] = p->read_msb[c] = p->count_latched[c] = p->status_latched[c] = false;
    p->written[c] = p->armed[c] = p->frozen[c] = p->reload_due[c] = false;
    p->null_count[c] = true;
    changed(p, c, tick);
}

static uint8_t read_counter(Pit *p, unsigned c)
{
    if (p->status_latched[c]) {
        p->status_latched[c] = false;
        return p->status_latch[c];
    }
    uint64_t tick = now_tick(p);
    catch_up(p, c, tick);
    uint16_t v = p->count_latched[c] ? p->count_latch[c] : count_value(p, c, tick);
    bool msb = p->rw[c] == RW_MSB;
    if (p->rw[c] == RW_WORD) {
        msb = p->read_msb[c];
        p->read_msb[c] = !msb;
    }
    if (p->rw[c] != RW_WORD || msb)
        p->count_latched[c] = false;
    return msb ? v >> 8 : (uint8_t)v;
}

static void set_gate(Pit *p, unsigned c, bool gate)
{
    if (gate == p->gate[c])
        return;
    uint64_t tick = now_tick(p);
    catch_up(p, c, tick);
    p->gate[c] = gate;
    if (gate && (triggered_by_gate(p, c) || periodic(p, c))) {
        if (p->written[c])
            load(p, c, tick);
    } else if (gate && p->frozen[c]) {
        p->frozen[c] = false;
        p->start[c] = tick - MIN(p->elapsed[c], tick);
    } else if (!gate && p->armed[c] && !triggered_by_gate(p, c)) {
        p->elapsed[c] = ticks_since_load(p, c, tick);
        p->frozen[c] = true;
    }
    changed(p, c, tick);
}

/* ---- glue ---- */

/* The host's timer may be late: an edge that is due comes before what the guest does now. */
static void settle(Pit *p)
{
    int64_t due;
    if (vmr_timer_pending(&p->dev, p->timer, &due) && due <= vmr_clock_now(&p->dev, VMR_CLOCK_VIRTUAL)) {
        vmr_timer_cancel(&p->dev, p->timer);
        timer_fired(&p->dev);
    }
}

static uint64_t regs_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    Pit *p = (Pit *)dev;
    settle(p);
    return offset < COUNTERS ? read_counter(p, offset) : 0xff;
}

static void regs_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Pit *p = (Pit *)dev;
    settle(p);
    if (offset == CONTROL)
        write_control(p, (uint8_t)value);
    else if (offset < COUNTERS)
        write_counter(p, offset, (uint8_t)value);
}

static uint64_t speaker_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    Pit *p = (Pit *)dev;
    int64_t ns = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);
    uint64_t tick = ns_to_tick(ns);
    catch_up(p, 2, tick);
    return p->port61 | ((ns / REFRESH_NS) & 1 ? NMI_SC_REFRESH : 0) |
           (out_level(p, 2, tick) ? NMI_SC_OUT2 : 0);
}

static void speaker_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Pit *p = (Pit *)dev;
    p->port61 = (uint8_t)value & NMI_SC_WRITABLE;
    set_gate(p, 2, value & NMI_SC_GATE2);
}

static bool pit_realize(VmrDevice *dev, GError **error)
{
    ((Pit *)dev)->timer = vmr_timer_new(dev, VMR_CLOCK_VIRTUAL, timer_fired);
    return true;
}

static void pit_unrealize(VmrDevice *dev)
{
    vmr_timer_free(dev, ((Pit *)dev)->timer);
}

static void pit_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Pit *p = (Pit *)dev;
    if (phase == VMR_RESET_ENTER) {
        for (unsigned c = 0; c < COUNTERS; c++) {
            p->mode[c] = p->rw[c] = p->lsb[c] = p->status_latch[c] = 0;
            p->bcd[c] = p->write_msb[c] = p->read_msb[c] = false;
            p->count_latched[c] = p->status_latched[c] = false;
            p->count_latch[c] = p->reload[c] = 0;
            p->initial[c] = 65536;
            p->written[c] = p->armed[c] = p->frozen[c] = p->reload_due[c] = false;
            p->null_count[c] = true;
            p->start[c] = p->elapsed[c] = p->reload_at[c] = 0;
            p->gate[c] = c != 2;
        }
        p->port61 = 0;
        p->event = 0;
        vmr_timer_cancel(dev, p->timer);
    } else if (phase == VMR_RESET_HOLD) {
        restart_events(p, now_tick(p));
    }
}

static bool pit_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Pit *p = (Pit *)dev;
    uint64_t tick = now_tick(p);
    for (unsigned c = 0; c < COUNTERS; c++) {
        p->mode[c] = p->mode[c] > 5 ? 0 : p->mode[c];
        p->rw[c] &= 3;
        p->initial[c] = CLAMP(p->initial[c], 1, 65536);
        p->start[c] = MIN(p->start[c], tick + 1);
        p->elapsed[c] = MIN(p->elapsed[c], tick);
        if (p->reload_due[c] && !p->frozen[c])
            p->reload_at[c] = CLAMP(p->reload_at[c], p->start[c], tick + 65537);
    }
    p->port61 &= NMI_SC_WRITABLE;
    p->event = MIN(p->event, tick + 65538);
    if (!vmr_timer_pending(dev, p->timer, NULL))
        restart_events(p, tick);
    else
        vmr_irq_set(dev, p->irq, p->mode[0] == 2 || p->mode[0] >= 4 || out_level(p, 0, tick));
    return true;
}

static void pit_describe(VmrDevice *dev, VmrDescription *d)
{
    vmr_describe_string(d, "compatible", "intel,i8254");
    vmr_describe_string(d, "acpi-hid", "PNP0100");
    vmr_describe_number(d, "clock-frequency", PIT_HZ);
}

static const VmrRegion pit_regions[] = {
    {.name = "regs",
     .kind = VMR_REGION_PIO,
     .size = 4,
     .impl_min = 1,
     .impl_max = 1,
     .read = regs_read,
     .write = regs_write,
     .doc = "counters 0 to 2 and the control word.  On a PC at 0x40"},
    {.name = "speaker",
     .kind = VMR_REGION_PIO,
     .flags = VMR_REGION_OPTIONAL,
     .size = 1,
     .impl_min = 1,
     .impl_max = 1,
     .read = speaker_read,
     .write = speaker_write,
     .doc = "bit 0 gate of counter 2, 1 speaker data, 4 refresh toggle, 5 OUT2.  On a PC at 0x61"},
    {.name = NULL},
};

static const VmrLine pit_lines[] = {
    {.name = "irq",
     .direction = VMR_LINE_OUT,
     .count = 1,
     .offset = offsetof(Pit, irq),
     .doc = "OUT of counter 0; its rising edge is the interrupt"},
    {.name = NULL},
};

static const VmrField pit_fields[] = {
    VMR_FIELD_N(U8, Pit, mode, COUNTERS),
    VMR_FIELD_N(U8, Pit, rw, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, bcd, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, gate, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, write_msb, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, read_msb, COUNTERS),
    VMR_FIELD_N(U8, Pit, lsb, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, count_latched, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, status_latched, COUNTERS),
    VMR_FIELD_N(U16, Pit, count_latch, COUNTERS),
    VMR_FIELD_N(U8, Pit, status_latch, COUNTERS),
    VMR_FIELD_N(U16, Pit, reload, COUNTERS),
    VMR_FIELD_N(U32, Pit, initial, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, written, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, armed, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, null_count, COUNTERS),
    VMR_FIELD_N(U64, Pit, start, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, frozen, COUNTERS),
    VMR_FIELD_N(U64, Pit, elapsed, COUNTERS),
    VMR_FIELD_N(BOOL, Pit, reload_due, COUNTERS),
    VMR_FIELD_N(U64, Pit, reload_at, COUNTERS),
    VMR_FIELD(U64, Pit, event),
    VMR_FIELD(U8, Pit, port61),
    VMR_FIELD(TIMER, Pit, timer),
    {.name = NULL},
};

static const VmrDeviceClass pit_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "i8254",
    .summary = "8254 interval timer and PC speaker port",
    .doc = "Three 16-bit counters at 1193182 Hz, in the guest's virtual time. Counter 0 drives "
           "the interrupt, counter 2 is gated and read through port 0x61. However small a "
           "period the guest asks for, it interrupts at most every 20 us; the counts that it "
           "reads stay exact. After a delay of the host up to 8 periods are made up for.",
    .instance_size = sizeof(Pit),
    .regions = pit_regions,
    .lines = pit_lines,
    .fields = pit_fields,
    .realize = pit_realize,
    .unrealize = pit_unrealize,
    .reset = pit_reset,
    .post_load = pit_post_load,
    .describe = pit_describe,
};

VMR_PLUGIN_DEVICE("i8254", "1.0", &pit_class);
