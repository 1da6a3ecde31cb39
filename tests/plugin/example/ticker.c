/*
 * ticker - raises its interrupt at a fixed period.
 *
 * The example of docs/plugins.md, and no real chip.  Two registers:
 *
 *   0  COUNT   ticks since the last reset, modulo 2^32; read only
 *   4  CONTROL bit 0 ENABLE: it ticks; bit 1 PENDING: it has ticked, the line is asserted
 *              (write 1 to clear)
 *
 * Left out: a guest cannot change the period.
 */
#include <vmrun/host.h>
#include <vmrun/plugin.h>

enum { REG_COUNT = 0, REG_CONTROL = 4 };
enum { CONTROL_ENABLE = 1 << 0, CONTROL_PENDING = 1 << 1 };

typedef struct Ticker {
    VmrDevice dev;      /* always first */
    uint32_t period_ms; /* property */
    VmrIrq irq;         /* output line */
    uint32_t count;     /* the rest is state */
    uint8_t control;
    int64_t due; /* the next tick, on the timer's clock */
    VmrTimer *timer;
} Ticker;

static void set_control(Ticker *t, uint8_t control)
{
    t->control = control;
    vmr_irq_set(&t->dev, t->irq, control & CONTROL_PENDING);
}

/* Counted from when the last tick was due: one that came late does not make all others late. */
static void next_tick(Ticker *t)
{
    t->due = MAX(t->due + (int64_t)t->period_ms * 1000000, vmr_clock_now(&t->dev, VMR_CLOCK_VIRTUAL));
    vmr_timer_set(&t->dev, t->timer, t->due);
}

static void tick(VmrDevice *dev)
{
    Ticker *t = (Ticker *)dev;
    t->count++;
    vmr_trace(dev, "tick %u", t->count);
    set_control(t, t->control | CONTROL_PENDING);
    next_tick(t);
}

static uint64_t ticker_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    Ticker *t = (Ticker *)dev;
    return offset == REG_COUNT ? t->count : t->control;
}

static void ticker_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    Ticker *t = (Ticker *)dev;
    uint8_t control = t->control;

    if (offset != REG_CONTROL) {
        vmr_guest_error(dev, "write to COUNT, which is read only");
        return;
    }
    if (value & CONTROL_PENDING)
        control &= ~CONTROL_PENDING;
    control = (control & ~CONTROL_ENABLE) | (value & CONTROL_ENABLE);
    if (!(control & CONTROL_ENABLE)) {
        vmr_timer_cancel(dev, t->timer);
    } else if (!(t->control & CONTROL_ENABLE)) {
        t->due = vmr_clock_now(dev, VMR_CLOCK_VIRTUAL);
        next_tick(t);
    }
    set_control(t, control);
}

static bool ticker_realize(VmrDevice *dev, GError **error)
{
    Ticker *t = (Ticker *)dev;
    t->timer = vmr_timer_new(dev, VMR_CLOCK_VIRTUAL, tick);
    return true;
}

static void ticker_unrealize(VmrDevice *dev)
{
    vmr_timer_free(dev, ((Ticker *)dev)->timer);
}

static void ticker_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Ticker *t = (Ticker *)dev;
    switch (phase) {
    case VMR_RESET_ENTER: /* forget */
        vmr_timer_cancel(dev, t->timer);
        t->count = 0;
        t->control = 0;
        t->due = 0;
        break;
    case VMR_RESET_HOLD: /* drive the lines */
        set_control(t, t->control);
        break;
    case VMR_RESET_EXIT:
        break;
    }
}

static bool ticker_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Ticker *t = (Ticker *)dev;
    t->control &= CONTROL_ENABLE | CONTROL_PENDING; /* a file is as hostile as a guest */
    return true;
}

static const VmrProperty ticker_properties[] = {
    {.name = "period", .type = VMR_PROP_U32, .offset = offsetof(Ticker, period_ms),
     .default_text = "10", .min = 1, .max = 60000, .unit = "ms", .doc = "time between two ticks"},
    {0},
};

static const VmrRegion ticker_regions[] = {
    {.name = "regs", .kind = VMR_REGION_MMIO, .size = 8, .impl_min = 4, .impl_max = 4,
     .read = ticker_read, .write = ticker_write, .doc = "COUNT and CONTROL"},
    {0},
};

static const VmrLine ticker_lines[] = {
    {.name = "irq", .direction = VMR_LINE_OUT, .count = 1, .offset = offsetof(Ticker, irq),
     .doc = "asserted while PENDING is set"},
    {0},
};

static const VmrField ticker_fields[] = {
    VMR_FIELD(U32, Ticker, count),
    VMR_FIELD(U8, Ticker, control),
    VMR_FIELD(I64, Ticker, due),
    VMR_FIELD(TIMER, Ticker, timer),
    {0},
};

static const VmrDeviceClass ticker_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "ticker",
    .summary = "raises its interrupt at a fixed period",
    .doc = "The example of docs/plugins.md.",
    .instance_size = sizeof(Ticker),
    .properties = ticker_properties,
    .regions = ticker_regions,
    .lines = ticker_lines,
    .fields = ticker_fields,
    .realize = ticker_realize,
    .unrealize = ticker_unrealize,
    .reset = ticker_reset,
    .post_load = ticker_post_load,
};

VMR_PLUGIN_DEVICE("ticker", "1.0", &ticker_class);
