/*
 * acpi-pm - the ACPI fixed hardware of a PC: PM1a event and control blocks, the
 * power-management timer, one general-purpose event block, and the reset register.
 *
 * After the ACPI specification 6.5, chapter 4 (4.8.3 fixed registers, 4.8.4.1
 * GPE blocks, 4.8.3.6 reset register) in the layout of Intel's ICH (PMBASE), and
 * the ICH's RST_CNT register (I/O port 0xcf9).
 *
 * The hardware is in ACPI mode from reset on: SCI_EN is always set and there is
 * no SMI command port.  Leaves out sleep states other than S5, the sleep button,
 * RTC wake, bus-master status and the BIOS/OS global lock events.
 */
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

enum {
    /* offsets in the pm region */
    PM1_STS = 0x00,
    PM1_EN = 0x02,
    PM1_CNT = 0x04,
    PM_TMR = 0x08,
    GPE0_STS = 0x20,
    GPE0_EN = 0x24,
    PM_SIZE = 0x40,

    TMR_STS = 1 << 0,
    GBL_STS = 1 << 5,
    PWRBTN_STS = 1 << 8,
    PM1_STS_BITS = TMR_STS | GBL_STS | PWRBTN_STS,
    RTC_EN = 1 << 10, /* kept, as Linux checks that it sticks; nothing sets RTC_STS */
    PM1_EN_BITS = PM1_STS_BITS | RTC_EN, /* TMR_EN, GBL_EN and PWRBTN_EN have the same places */

    SCI_EN = 1 << 0,
    BM_RLD = 1 << 1,
    SLP_TYP_SHIFT = 10,
    SLP_TYP = 7 << SLP_TYP_SHIFT,
    SLP_EN = 1 << 13,
    PM1_CNT_KEPT = BM_RLD | SLP_TYP,
    SLP_TYP_S5 = 7,

    /* RST_CNT */
    SYS_RST = 1 << 1,  /* hard rather than soft; all the same here */
    RST_CPU = 1 << 2,  /* 0 -> 1: reset */
    FULL_RST = 1 << 3, /* power cycle */
    RST_CNT_BITS = SYS_RST | RST_CPU | FULL_RST,

    GPES = 32,
};

#define PM_TIMER_HZ 3579545u
#define NS_PER_S 1000000000u

typedef struct AcpiPm {
    VmrDevice dev;
    uint32_t timer_bits; /* property: 24 or 32 */
    uint16_t pm1_sts, pm1_en, pm1_cnt;
    uint32_t gpe0_sts, gpe0_en;
    uint32_t gpe_lines; /* levels of the inputs: the edge sets the status */
    bool power_button;
    uint8_t rst_cnt;
    int64_t tmr_start; /* virtual time at which the timer was 0 */
    uint64_t tmr_half; /* half periods that TMR_STS has been told of */
    VmrTimer *tmr_toggle;
    VmrIrq sci;
} AcpiPm;

/* ---- the timer ---- */

/* Ticks since reset, never wrapping.  Both conversions split off whole seconds, so that
   nothing overflows in any lifetime. */
static uint64_t tmr_ticks(AcpiPm *p)
{
    int64_t since = vmr_clock_now(&p->dev, VMR_CLOCK_VIRTUAL) - p->tmr_start;
    uint64_t ns = since > 0 ? since : 0;

    return ns / NS_PER_S * PM_TIMER_HZ + ns % NS_PER_S * PM_TIMER_HZ / NS_PER_S;
}

/* The first time at which `ticks` have passed. */
static int64_t tmr_time_of(AcpiPm *p, uint64_t ticks)
{
    uint64_t part = ticks % PM_TIMER_HZ * NS_PER_S;
    uint64_t ns = ticks / PM_TIMER_HZ * NS_PER_S + (part + PM_TIMER_HZ - 1) / PM_TIMER_HZ;

    return p->tmr_start + (int64_t)MIN(ns, (uint64_t)INT64_MAX / 2);
}

static uint32_t tmr_value(AcpiPm *p)
{
    return tmr_ticks(p) & (p->timer_bits == 32 ? UINT32_MAX : 0xffffff);
}

/* TMR_STS is set whenever the highest bit changes: notice that it has. */
static void tmr_catch_up(AcpiPm *p)
{
    uint64_t half = tmr_ticks(p) >> (p->timer_bits - 1);

    if (half != p->tmr_half) {
        p->tmr_half = half;
        p->pm1_sts |= TMR_STS;
    }
}

/* ---- events ---- */

static void update(AcpiPm *p)
{
    tmr_catch_up(p);
    vmr_irq_set(&p->dev, p->sci, (p->pm1_sts & p->pm1_en) || (p->gpe0_sts & p->gpe0_en));
    /* Only a toggle that would raise the SCI needs a timer; else a read catches up. */
    if ((p->pm1_en & TMR_STS) && !(p->pm1_sts & TMR_STS))
        vmr_timer_set(&p->dev, p->tmr_toggle,
                      tmr_time_of(p, (p->tmr_half + 1) << (p->timer_bits - 1)));
    else
        vmr_timer_cancel(&p->dev, p->tmr_toggle);
}

static void tmr_toggled(VmrDevice *dev)
{
    update((AcpiPm *)dev);
}

static void power_button_changed(VmrDevice *dev, unsigned n, bool level)
{
    AcpiPm *p = (AcpiPm *)dev;

    if (level && !p->power_button)
        p->pm1_sts |= PWRBTN_STS;
    p->power_button = level;
    update(p);
}

static void gpe_changed(VmrDevice *dev, unsigned n, bool level)
{
    AcpiPm *p = (AcpiPm *)dev;
    uint32_t bit = 1u << (n % GPES);

    if (level && !(p->gpe_lines & bit))
        p->gpe0_sts |= bit;
    p->gpe_lines = level ? p->gpe_lines | bit : p->gpe_lines & ~bit;
    update(p);
}

/* ---- registers: byte by byte, since guests use any width ---- */

static uint8_t byte_of(uint32_t value, uint64_t n)
{
    return value >> (8 * n);
}

static uint8_t pm_read_byte(const AcpiPm *p, uint64_t offset, uint32_t tmr)
{
    switch (offset) {
    case PM1_STS ... PM1_STS + 1:
        return byte_of(p->pm1_sts, offset - PM1_STS);
    case PM1_EN ... PM1_EN + 1:
        return byte_of(p->pm1_en, offset - PM1_EN);
    case PM1_CNT ... PM1_CNT + 1:
        return byte_of(p->pm1_cnt | SCI_EN, offset - PM1_CNT);
    case PM_TMR ... PM_TMR + 3:
        return byte_of(tmr, offset - PM_TMR);
    case GPE0_STS ... GPE0_STS + 3:
        return byte_of(p->gpe0_sts, offset - GPE0_STS);
    case GPE0_EN ... GPE0_EN + 3:
        return byte_of(p->gpe0_en, offset - GPE0_EN);
    default:
        return 0;
    }
}

static void sleep_now(AcpiPm *p)
{
    unsigned type = (p->pm1_cnt & SLP_TYP) >> SLP_TYP_SHIFT;

    if (type == SLP_TYP_S5)
        vmr_request(&p->dev, VMR_REQUEST_POWEROFF, 0);
    else
        vmr_log(&p->dev, VMR_LOG_UNIMPLEMENTED, "sleep type %u", type);
}

static void pm_write_byte(AcpiPm *p, uint64_t offset, uint8_t value)
{
    switch (offset) {
    case PM1_STS ... PM1_STS + 1:
        p->pm1_sts &= ~(value << (8 * (offset - PM1_STS)));
        break;
    case PM1_EN:
        p->pm1_en = ((p->pm1_en & 0xff00) | value) & PM1_EN_BITS;
        break;
    case PM1_EN + 1:
        p->pm1_en = ((p->pm1_en & 0x00ff) | value << 8) & PM1_EN_BITS;
        break;
    case PM1_CNT:
        p->pm1_cnt = ((p->pm1_cnt & 0xff00) | value) & PM1_CNT_KEPT;
        break;
    case PM1_CNT + 1:
        p->pm1_cnt = ((p->pm1_cnt & 0x00ff) | value << 8) & PM1_CNT_KEPT;
        if (value & SLP_EN >> 8)
            sleep_now(p);
        break;
    case GPE0_STS ... GPE0_STS + 3:
        p->gpe0_sts &= ~((uint32_t)value << (8 * (offset - GPE0_STS)));
        break;
    case GPE0_EN ... GPE0_EN + 3: {
        unsigned shift = 8 * (offset - GPE0_EN);
        p->gpe0_en = (p->gpe0_en & ~(0xffu << shift)) | (uint32_t)value << shift;
        break;
    }
    default: /* the timer and the gaps are read-only */
        break;
    }
}

static uint64_t pm_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    AcpiPm *p = (AcpiPm *)dev;
    uint64_t value = 0;

    tmr_catch_up(p);
    uint32_t tmr = tmr_value(p); /* once, so that its bytes belong together */
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)pm_read_byte(p, offset + i, tmr) << (8 * i);
    return value;
}

static void pm_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiPm *p = (AcpiPm *)dev;

    tmr_catch_up(p); /* a toggle before this write is one that it may clear */
    for (unsigned i = 0; i < size; i++)
        pm_write_byte(p, offset + i, value >> (8 * i));
    update(p);
}

static uint64_t reset_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    return ((AcpiPm *)dev)->rst_cnt;
}

static void reset_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiPm *p = (AcpiPm *)dev;
    uint8_t old = p->rst_cnt;

    p->rst_cnt = value & RST_CNT_BITS;
    if (!(old & RST_CPU) && (p->rst_cnt & RST_CPU))
        vmr_request(dev, VMR_REQUEST_RESET, 0);
}

/* ---- life ---- */

static bool acpi_pm_realize(VmrDevice *dev, GError **error)
{
    AcpiPm *p = (AcpiPm *)dev;

    if (p->timer_bits != 24 && p->timer_bits != 32) {
        g_set_error(error, g_quark_from_static_string("acpi-pm"), 0,
                    "timer-bits is %u: it must be 24 or 32", p->timer_bits);
        return false;
    }
    p->tmr_toggle = vmr_timer_new(dev, VMR_CLOCK_VIRTUAL, tmr_toggled);
    return true;
}

static void acpi_pm_unrealize(VmrDevice *dev)
{
    vmr_timer_free(dev, ((AcpiPm *)dev)->tmr_toggle);
}

static void acpi_pm_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    AcpiPm *p = (AcpiPm *)dev;

    if (phase == VMR_RESET_ENTER) {
        p->pm1_sts = p->pm1_en = p->pm1_cnt = 0;
        p->gpe0_sts = p->gpe0_en = 0;
        p->rst_cnt = 0;
        p->tmr_start = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);
        p->tmr_half = 0;
        vmr_timer_cancel(dev, p->tmr_toggle);
    } else if (phase == VMR_RESET_HOLD) {
        vmr_irq_set(dev, p->sci, false);
    }
}

static bool acpi_pm_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    AcpiPm *p = (AcpiPm *)dev;

    p->pm1_sts &= PM1_STS_BITS;
    p->pm1_en &= PM1_EN_BITS;
    p->pm1_cnt &= PM1_CNT_KEPT;
    p->rst_cnt &= RST_CNT_BITS;
    p->tmr_start = CLAMP(p->tmr_start, 0, INT64_MAX / 2); /* differences cannot overflow */
    update(p);
    return true;
}

static void acpi_pm_describe(VmrDevice *dev, VmrDescription *d)
{
    AcpiPm *p = (AcpiPm *)dev;

    vmr_describe_string(d, "acpi-pm", "pm1a-evt");
    vmr_describe_number(d, "pm1a-evt", PM1_STS);
    vmr_describe_string(d, "acpi-pm", "pm1a-cnt");
    vmr_describe_number(d, "pm1a-cnt", PM1_CNT);
    vmr_describe_string(d, "acpi-pm", "pm-timer");
    vmr_describe_number(d, "pm-timer", PM_TMR);
    vmr_describe_number(d, "pm-timer-bits", p->timer_bits);
    vmr_describe_string(d, "acpi-pm", "gpe0");
    vmr_describe_number(d, "gpe0", GPE0_STS);
    vmr_describe_number(d, "gpe0-length", 2 * GPES / 8);
    vmr_describe_string(d, "sci-line", "sci");
    vmr_describe_number(d, "power-button", 1);
    vmr_describe_number(d, "sleep-s5", SLP_TYP_S5);
    vmr_describe_number(d, "sleep-s5", SLP_TYP_S5);
    vmr_describe_string(d, "reset-region", "reset");
    vmr_describe_number(d, "reset-value", SYS_RST | RST_CPU);
}

static const VmrProperty acpi_pm_properties[] = {
    {
        .name = "timer-bits",
        .type = VMR_PROP_U32,
        .offset = offsetof(AcpiPm, timer_bits),
        .default_text = "32",
        .min = 24,
        .max = 32,
        .unit = "bits",
        .doc = "width of the power-management timer, 24 or 32",
    },
    {0},
};

static const VmrRegion acpi_pm_regions[] = {
    {
        .name = "pm",
        .kind = VMR_REGION_PIO,
        .size = PM_SIZE,
        .valid_min = 1,
        .valid_max = 4,
        .impl_min = 1,
        .impl_max = 4,
        .read = pm_read,
        .write = pm_write,
        .doc = "PM1a_STS 0x00, PM1a_EN 0x02, PM1a_CNT 0x04, PM_TMR 0x08, GPE0_STS 0x20, "
               "GPE0_EN 0x24",
    },
    {
        .name = "reset",
        .kind = VMR_REGION_PIO,
        .flags = VMR_REGION_OPTIONAL | VMR_REGION_OVERLAY, /* over a PCI host's 0xcf8..0xcfb */
        .size = 1,
        .impl_min = 1,
        .impl_max = 1,
        .read = reset_read,
        .write = reset_write,
        .doc = "RST_CNT (0xcf9): bit 2 going from 0 to 1 resets the machine; ACPI writes 6",
    },
    {0},
};

static const VmrLine acpi_pm_lines[] = {
    {
        .name = "sci",
        .direction = VMR_LINE_OUT,
        .count = 1,
        .offset = offsetof(AcpiPm, sci),
        .doc = "system control interrupt, a level; IRQ 9 on PCs",
    },
    {
        .name = "power-button",
        .direction = VMR_LINE_IN,
        .count = 1,
        .changed = power_button_changed,
        .doc = "pressing it (rising edge) sets PWRBTN_STS",
    },
    {
        .name = "gpe",
        .direction = VMR_LINE_IN,
        .count = GPES,
        .changed = gpe_changed,
        .doc = "general-purpose events: a rising edge sets the bit of GPE0_STS",
    },
    {0},
};

static const VmrField acpi_pm_fields[] = {
    VMR_FIELD(U16, AcpiPm, pm1_sts),
    VMR_FIELD(U16, AcpiPm, pm1_en),
    VMR_FIELD(U16, AcpiPm, pm1_cnt),
    VMR_FIELD(U32, AcpiPm, gpe0_sts),
    VMR_FIELD(U32, AcpiPm, gpe0_en),
    VMR_FIELD(U32, AcpiPm, gpe_lines),
    VMR_FIELD(BOOL, AcpiPm, power_button),
    VMR_FIELD(U8, AcpiPm, rst_cnt),
    VMR_FIELD(I64, AcpiPm, tmr_start),
    VMR_FIELD(U64, AcpiPm, tmr_half),
    {0}, /* tmr_toggle follows from these: post_load() sets it */
};

static const VmrDeviceClass acpi_pm_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "acpi-pm",
    .summary = "ACPI fixed hardware: PM1a block, PM timer, GPE0, reset register",
    .doc = "The power-management block that ACPI operating systems use to power off, to reset, to\n"
           "notice the power button, and as a clock of 3.579545 MHz. Always in ACPI mode.",
    .instance_size = sizeof(AcpiPm),
    .properties = acpi_pm_properties,
    .regions = acpi_pm_regions,
    .lines = acpi_pm_lines,
    .fields = acpi_pm_fields,
    .realize = acpi_pm_realize,
    .unrealize = acpi_pm_unrealize,
    .reset = acpi_pm_reset,
    .post_load = acpi_pm_post_load,
    .describe = acpi_pm_describe,
};

VMR_PLUGIN_DEVICE("acpi-pm", "1.0", &acpi_pm_class);
