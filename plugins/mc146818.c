/*
 * plugins/mc146818.c - the PC/AT's real-time clock and 128 bytes of CMOS RAM,
 * after the MC146818A data sheet (Motorola), with the century at 0x32 and the
 * memory sizes where PC firmware looks for them.
 *
 * The time is the host's wall clock plus what the guest made of it; nothing
 * ticks while no interrupt is enabled, flags are worked out when register C is
 * read.  The periodic interrupt runs in the guest's virtual time.
 *
 * Left out: daylight saving (DSE), the square wave, other crystals than 32768 Hz,
 * made-up periodic interrupts after a delay.
 */
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

#include <string.h>

enum { CMOS_SIZE = 128 };
#define NS_PER_S ((int64_t)1000000000)

enum {
    SECONDS = 0x00,
    SECONDS_ALARM = 0x01,
    MINUTES = 0x02,
    MINUTES_ALARM = 0x03,
    HOURS = 0x04,
    HOURS_ALARM = 0x05,
    DAY_OF_WEEK = 0x06,
    DAY_OF_MONTH = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    CENTURY = 0x32,

    A_UIP = 0x80,
    A_DV = 0x70,
    A_DV_32768 = 0x20, /* the chain runs; all else holds it */
    A_RS = 0x0f,

    B_SET = 0x80,
    B_PIE = 0x40,
    B_AIE = 0x20,
    B_UIE = 0x10,
    B_SQWE = 0x08,
    B_DM = 0x04, /* binary */
    B_24H = 0x02,

    C_IRQF = 0x80,
    C_PF = 0x40,
    C_AF = 0x20,
    C_UF = 0x10,

    D_VRT = 0x80,

    HOUR_PM = 0x80,
    DONT_CARE = 0xc0,

    /* UIP is set 244 us before the update, which takes 1984 us. */
    UIP_NS = 2228000,
    DAY_S = 86400,
    JULIAN_1970 = 719163, /* as GDate counts */
    JULIAN_LAST = 3652059, /* 9999-12-31 */
};

enum { BASE_UTC, BASE_LOCALTIME };

typedef struct Rtc {
    VmrDevice dev;
    uint32_t base;
    VmrIrq irq, nmi_mask_line;
    VmrTimer *update_timer;   /* wall; while UIE or AIE is set */
    VmrTimer *periodic_timer; /* virtual; while PIE is set */

    uint8_t cmos[CMOS_SIZE]; /* the time registers count only while the clock is stopped */
    uint8_t index;
    bool nmi_mask;
    int64_t offset_s;  /* guest's seconds = floor((wall + phase_ns) / s) + offset_s */
    int64_t phase_ns;  /* 0..999999999 */
    uint8_t weekday_delta; /* the guest may call any day Sunday */
    int64_t last_update;   /* the guest's second that UF and AF know of */
    uint64_t last_period;  /* likewise the period of PF */
} Rtc;

/* ---- time ---- */

static bool running(const Rtc *r)
{
    return !(r->cmos[REG_B] & B_SET) && (r->cmos[REG_A] & A_DV) == A_DV_32768;
}

static int64_t wall_and_phase(Rtc *r)
{
    return vmr_clock_now(&r->dev, VMR_CLOCK_WALL) + r->phase_ns;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t now_s(Rtc *r)
{
    return floor_div(wall_and_phase(r), NS_PER_S) + r->offset_s;
}

static int64_t fraction_ns(Rtc *r)
{
    int64_t t = wall_and_phase(r);
    return t - floor_div(t, NS_PER_S) * NS_PER_S;
}

static uint8_t encode(const Rtc *r, unsigned v)
{
    return r->cmos[REG_B] & B_DM ? v : (v / 10) << 4 | v % 10;
}

/* What a guest wrote, forced into lo..hi. */
static unsigned decode(const Rtc *r, uint8_t v, unsigned lo, unsigned hi)
{
    unsigned n = r->cmos[REG_B] & B_DM ? v : (v >> 4) * 10u + (v & 15);
    return CLAMP(n, lo, hi);
}

static uint8_t encode_hour(const Rtc *r, unsigned hour)
{
    if (r->cmos[REG_B] & B_24H)
        return encode(r, hour);
    return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const Rtc *r, uint8_t v)
{
    if (r->cmos[REG_B] & B_24H)
        return decode(r, v, 0, 23);
    return decode(r, v & ~HOUR_PM, 1, 12) % 12 + (v & HOUR_PM ? 12 : 0);
}

static int64_t day_of(int64_t s)
{
    return CLAMP(floor_div(s, DAY_S), 1 - JULIAN_1970, JULIAN_LAST - JULIAN_1970);
}

static unsigned weekday_of(int64_t day)
{
    return (unsigned)((day + JULIAN_1970) % 7); /* 0: Sunday */
}

/* The guest's second `s` into the time registers. */
static void time_to_registers(Rtc *r, int64_t s)
{
    int64_t day = day_of(s);
    unsigned second = (unsigned)(s - floor_div(s, DAY_S) * DAY_S);
    GDate date;
    g_date_clear(&date, 1);
    g_date_set_julian(&date, (guint32)(day + JULIAN_1970));
    unsigned year = g_date_get_year(&date);
    r->cmos[SECONDS] = encode(r, second % 60);
    r->cmos[MINUTES] = encode(r, second / 60 % 60);
    r->cmos[HOURS] = encode_hour(r, second / 3600);
    r->cmos[DAY_OF_WEEK] = encode(r, (weekday_of(day) + r->weekday_delta) % 7 + 1);
    r->cmos[DAY_OF_MONTH] = encode(r, g_date_get_day(&date));
    r->cmos[MONTH] = encode(r, g_date_get_month(&date));
    r->cmos[YEAR] = encode(r, year % 100);
    r->cmos[CENTURY] = encode(r, year / 100);
}

/* The clock goes on from what the registers say. */
static void time_from_registers(Rtc *r)
{
    unsigned year = decode(r, r->cmos[CENTURY], 0, 99) * 100 + decode(r, r->cmos[YEAR], 0, 99);
    GDate date;
    g_date_clear(&date, 1);
    g_date_set_dmy(&date, 1, (GDateMonth)decode(r, r->cmos[MONTH], 1, 12), MAX(year, 1));
    int64_t day = (int64_t)g_date_get_julian(&date) - JULIAN_1970 +
                  decode(r, r->cmos[DAY_OF_MONTH], 1, 31) - 1;
    int64_t s = day * DAY_S + decode_hour(r, r->cmos[HOURS]) * 3600 +
                decode(r, r->cmos[MINUTES], 0, 59) * 60 + decode(r, r->cmos[SECONDS], 0, 59);
    r->weekday_delta = (decode(r, r->cmos[DAY_OF_WEEK], 1, 7) - 1 + 7 - weekday_of(day)) % 7;
    r->offset_s = s - floor_div(wall_and_phase(r), NS_PER_S);
    r->last_update = s;
}

static bool is_time_register(unsigned n)
{
    return n == SECONDS || n == MINUTES || n == HOURS || (n >= DAY_OF_WEEK && n <= YEAR) ||
           n == CENTURY;
}

/* ---- interrupts ---- */

static bool alarm_field_matches(uint8_t alarm, uint8_t now)
{
    return (alarm & DONT_CARE) == DONT_CARE || alarm == now;
}

static bool alarm_matches(const Rtc *r, int64_t s)
{
    unsigned second = (unsigned)(s - floor_div(s, DAY_S) * DAY_S);
    return alarm_field_matches(r->cmos[SECONDS_ALARM], encode(r, second % 60)) &&
           alarm_field_matches(r->cmos[MINUTES_ALARM], encode(r, second / 60 % 60)) &&
           alarm_field_matches(r->cmos[HOURS_ALARM], encode_hour(r, second / 3600));
}

/* The period in ticks of 32768 Hz; 0: no periodic interrupt. */
static unsigned period_ticks(const Rtc *r)
{
    unsigned rs = r->cmos[REG_A] & A_RS;
    if (!rs || (r->cmos[REG_A] & A_DV) != A_DV_32768)
        return 0;
    return rs <= 2 ? 64u << rs : 1u << (rs - 1);
}

static uint64_t current_period(Rtc *r)
{
    unsigned period = period_ticks(r);
    int64_t ns = vmr_clock_now(&r->dev, VMR_CLOCK_VIRTUAL);
    if (!period || ns < 0)
        return 0;
    return (uint64_t)((unsigned __int128)ns * 32768 / NS_PER_S) / period;
}

/* Bring the flags of register C up to now. */
static void sync_flags(Rtc *r)
{
    if (running(r)) {
        int64_t s = now_s(r);
        if (s > r->last_update) {
            r->cmos[REG_C] |= C_UF;
            /* A day holds every alarm. */
            for (int64_t t = MAX(r->last_update, s - DAY_S) + 1;
                 t <= s && !(r->cmos[REG_C] & C_AF); t++)
                if (alarm_matches(r, t))
                    r->cmos[REG_C] |= C_AF;
        }
        r->last_update = s; /* the host's clock may also have gone back */
    }
    uint64_t period = current_period(r);
    if (period > r->last_period)
        r->cmos[REG_C] |= C_PF;
    r->last_period = period;
}

static void update_irq(Rtc *r)
{
    bool level = r->cmos[REG_C] & r->cmos[REG_B] & (C_PF | C_AF | C_UF);
    r->cmos[REG_C] = (r->cmos[REG_C] & ~C_IRQF) | (level ? C_IRQF : 0);
    vmr_irq_set(&r->dev, r->irq, level);
}

static void arm_timers(Rtc *r)
{
    if (running(r) && (r->cmos[REG_B] & (B_UIE | B_AIE)))
        vmr_timer_set(&r->dev, r->update_timer,
                      (floor_div(wall_and_phase(r), NS_PER_S) + 1) * NS_PER_S - r->phase_ns);
    else
        vmr_timer_cancel(&r->dev, r->update_timer);
    unsigned period = period_ticks(r);
    if (period && (r->cmos[REG_B] & B_PIE)) {
        unsigned __int128 tick = (unsigned __int128)(current_period(r) + 1) * period;
        vmr_timer_set(&r->dev, r->periodic_timer,
                      (int64_t)((tick * NS_PER_S + 32767) / 32768));
    } else {
        vmr_timer_cancel(&r->dev, r->periodic_timer);
    }
}

static void timer_fired(VmrDevice *dev)
{
    Rtc *r = (Rtc *)dev;
    sync_flags(r);
    update_irq(r);
    arm_timers(r);
}

/* ---- registers ---- */

static void write_control(Rtc *r, unsigned reg, uint8_t value)
{
    bool ran = running(r), chain_ran = (r->cmos[REG_A] & A_DV) == A_DV_32768;
    if (ran)
        time_to_registers(r, now_s(r));
    if (reg == REG_A) {
        r->cmos[REG_A] = value & ~A_UIP;
    } else {
        if (value & B_SET)
            value &= ~B_UIE;
        r->cmos[REG_B] = value;
        if (ran && running(r)) /* DM or 24H may differ */
            time_to_registers(r, now_s(r));
    }
    if (!chain_ran && (r->cmos[REG_A] & A_DV) == A_DV_32768) {
        /* The first update comes half a second after the chain is released. */
        int64_t part = fraction_ns(r);
        r->phase_ns = (r->phase_ns + NS_PER_S / 2 - part + NS_PER_S) % NS_PER_S;
    }
    if (!ran && running(r))
        time_from_registers(r);
    r->last_period = current_period(r);
    arm_timers(r);
}

static uint8_t cmos_read(Rtc *r, unsigned n)
{
    uint8_t value;
    switch (n) {
    case REG_A:
        return r->cmos[n] | (running(r) && fraction_ns(r) >= NS_PER_S - UIP_NS ? A_UIP : 0);
    case REG_C:
        sync_flags(r);
        update_irq(r);
        value = r->cmos[n];
        r->cmos[n] = 0;
        update_irq(r);
        return value;
    case REG_D:
        return D_VRT;
    default:
        if (is_time_register(n) && running(r))
            time_to_registers(r, now_s(r));
        return r->cmos[n];
    }
}

static void cmos_write(Rtc *r, unsigned n, uint8_t value)
{
    sync_flags(r); /* by the rules until now */
    if (n == REG_A || n == REG_B) {
        write_control(r, n, value);
    } else if (is_time_register(n) && running(r)) {
        time_to_registers(r, now_s(r));
        r->cmos[n] = value;
        time_from_registers(r);
    } else if (n != REG_C && n != REG_D) {
        r->cmos[n] = value;
    }
    update_irq(r);
}

/* ---- glue ---- */

static uint64_t regs_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    Rtc *r = (Rtc *)dev;
    return offset & 1 ? cmos_read(r, r->index) : 0xff; /* the index is write-only */
}

static void regs_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Rtc *r = (Rtc *)dev;
    if (offset & 1) {
        cmos_write(r, r->index, (uint8_t)value);
        return;
    }
    r->index = value & (CMOS_SIZE - 1);
    r->nmi_mask = value & 0x80;
    vmr_irq_set(dev, r->nmi_mask_line, r->nmi_mask);
}

static void put16(Rtc *r, unsigned n, uint64_t value)
{
    value = MIN(value, 0xffff);
    r->cmos[n] = (uint8_t)value;
    r->cmos[n + 1] = (uint8_t)(value >> 8);
}

/* How much RAM lies in from..to-1. */
static uint64_t ram_within(Rtc *r, uint64_t from, uint64_t to)
{
    VmrMemoryRange ranges[64];
    unsigned n = MIN(vmr_ram_ranges(&r->dev, ranges, 64), 64);
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t first = MAX(ranges[i].base, from);
        uint64_t end = ranges[i].base + ranges[i].size;
        end = MIN(end < ranges[i].base ? UINT64_MAX : end, to);
        if (first < end)
            sum += end - first;
    }
    return sum;
}

static void put_memory_sizes(Rtc *r)
{
    const uint64_t M = 1 << 20, G4 = (uint64_t)1 << 32;
    put16(r, 0x15, ram_within(r, 0, 640 << 10) >> 10);
    put16(r, 0x17, ram_within(r, M, G4) >> 10);
    put16(r, 0x30, ram_within(r, M, G4) >> 10);
    put16(r, 0x34, ram_within(r, 16 * M, G4) >> 16);
    uint64_t high = MIN(ram_within(r, G4, UINT64_MAX) >> 16, 0xffffff);
    put16(r, 0x5b, high & 0xffff);
    r->cmos[0x5d] = (uint8_t)(high >> 16);
    unsigned sum = 0;
    for (unsigned n = 0x10; n <= 0x2d; n++)
        sum += r->cmos[n];
    r->cmos[0x2e] = (uint8_t)(sum >> 8);
    r->cmos[0x2f] = (uint8_t)sum;
}

static int64_t local_offset_s(Rtc *r)
{
    int64_t s = floor_div(vmr_clock_now(&r->dev, VMR_CLOCK_WALL), NS_PER_S);
    GDateTime *local = g_date_time_new_from_unix_local(s);
    int64_t offset = local ? g_date_time_get_utc_offset(local) / G_TIME_SPAN_SECOND : 0;
    if (local)
        g_date_time_unref(local);
    return offset;
}

static void rtc_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Rtc *r = (Rtc *)dev;
    if (phase == VMR_RESET_HOLD) {
        update_irq(r);
        vmr_irq_set(dev, r->nmi_mask_line, false);
    }
    if (phase != VMR_RESET_ENTER)
        return;
    if (kind == VMR_RESET_COLD) { /* the battery keeps it over a warm one */
        memset(r->cmos, 0, sizeof(r->cmos));
        r->cmos[REG_A] = A_DV_32768 | 6;
        r->cmos[REG_B] = B_24H;
        r->cmos[0x14] = 0x02; /* equipment: coprocessor */
        r->phase_ns = 0;
        r->weekday_delta = 0;
        r->offset_s = r->base == BASE_LOCALTIME ? local_offset_s(r) : 0;
        r->last_update = now_s(r);
        time_to_registers(r, r->last_update);
    }
    r->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    r->cmos[REG_C] = 0;
    r->index = 0;
    r->nmi_mask = false;
    r->last_period = current_period(r);
    put_memory_sizes(r);
    arm_timers(r);
}

static bool rtc_realize(VmrDevice *dev, GError **error)
{
    Rtc *r = (Rtc *)dev;
    r->update_timer = vmr_timer_new(dev, VMR_CLOCK_WALL, timer_fired);
    r->periodic_timer = vmr_timer_new(dev, VMR_CLOCK_VIRTUAL, timer_fired);
    return true;
}

static void rtc_unrealize(VmrDevice *dev)
{
    Rtc *r = (Rtc *)dev;
    vmr_timer_free(dev, r->update_timer);
    vmr_timer_free(dev, r->periodic_timer);
}

static bool rtc_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Rtc *r = (Rtc *)dev;
    const int64_t far = (int64_t)1 << 40; /* 34000 years */
    r->index &= CMOS_SIZE - 1;
    r->offset_s = CLAMP(r->offset_s, -far, far);
    r->last_update = CLAMP(r->last_update, -far, far);
    r->phase_ns = CLAMP(r->phase_ns, 0, NS_PER_S - 1);
    r->weekday_delta %= 7;
    update_irq(r);
    vmr_irq_set(dev, r->nmi_mask_line, r->nmi_mask);
    return true;
}

static void rtc_describe(VmrDevice *dev, VmrDescription *d)
{
    vmr_describe_string(d, "compatible", "motorola,mc146818");
    vmr_describe_string(d, "acpi-hid", "PNP0B00");
    vmr_describe_number(d, "century", CENTURY);
}

static const char *const base_names[] = {"utc", "localtime", NULL};

static const VmrProperty rtc_properties[] = {
    {.name = "base",
     .type = VMR_PROP_ENUM,
     .offset = offsetof(Rtc, base),
     .default_text = "utc",
     .names = base_names,
     .doc = "what the clock shows at power-on"},
    {.name = NULL},
};

static const VmrRegion rtc_regions[] = {
    {.name = "regs",
     .kind = VMR_REGION_PIO,
     .size = 2,
     .impl_min = 1,
     .impl_max = 1,
     .read = regs_read,
     .write = regs_write,
     .doc = "index (bit 7: NMI masked) and data.  On a PC at 0x70"},
    {.name = NULL},
};

static const VmrLine rtc_lines[] = {
    {.name = "irq",
     .direction = VMR_LINE_OUT,
     .count = 1,
     .offset = offsetof(Rtc, irq),
     .doc = "asserted while IRQF is set; reading register C ends it"},
    {.name = "nmi-mask",
     .direction = VMR_LINE_OUT,
     .count = 1,
     .offset = offsetof(Rtc, nmi_mask_line),
     .doc = "bit 7 of the index register: NMIs are masked"},
    {.name = NULL},
};

static const VmrField rtc_fields[] = {
    VMR_FIELD_N(U8, Rtc, cmos, CMOS_SIZE),
    VMR_FIELD(U8, Rtc, index),
    VMR_FIELD(BOOL, Rtc, nmi_mask),
    VMR_FIELD(I64, Rtc, offset_s),
    VMR_FIELD(I64, Rtc, phase_ns),
    VMR_FIELD(U8, Rtc, weekday_delta),
    VMR_FIELD(I64, Rtc, last_update),
    VMR_FIELD(U64, Rtc, last_period),
    VMR_FIELD(TIMER, Rtc, update_timer),
    VMR_FIELD(TIMER, Rtc, periodic_timer),
    {.name = NULL},
};

static const VmrDeviceClass rtc_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "mc146818",
    .summary = "MC146818 real-time clock with 128 bytes of CMOS RAM",
    .doc = "The clock follows the host's; a guest that sets it moves it away from there until "
           "the next power-on. At each reset the sizes of RAM are put into CMOS bytes 0x15-0x18, "
           "0x30, 0x31, 0x34, 0x35 and 0x5b-0x5d. A warm reset keeps the other bytes.",
    .instance_size = sizeof(Rtc),
    .properties = rtc_properties,
    .regions = rtc_regions,
    .lines = rtc_lines,
    .fields = rtc_fields,
    .realize = rtc_realize,
    .unrealize = rtc_unrealize,
    .reset = rtc_reset,
    .post_load = rtc_post_load,
    .describe = rtc_describe,
};

VMR_PLUGIN_DEVICE("mc146818", "1.0", &rtc_class);
