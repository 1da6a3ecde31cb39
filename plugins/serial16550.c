/*
 * plugins/serial16550.c - a 16550A UART, after the PC16550D data sheet (National, 1995).
 *
 * Both FIFOs with trigger levels and the character time-out, all five interrupt
 * sources, loopback, received breaks, overrun.
 *
 * Left out: the bit rate of the transmitter (a byte goes out as soon as the back
 * end takes it; the divisor only times the character time-out), DMA signalling
 * (RXRDY, TXRDY), sending a break outside loopback, parity and framing errors.
 * The modem inputs are those of a peer that is always there: CTS, DSR, DCD.
 */
#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>

enum { FIFO_SIZE = 16 };

enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

enum {
    IER_RDA = 0x01,
    IER_THRE = 0x02,
    IER_RLS = 0x04,
    IER_MODEM = 0x08,
    IER_ALL = 0x0f,

    IIR_MODEM = 0x00,
    IIR_NONE = 0x01,
    IIR_THRE = 0x02,
    IIR_RDA = 0x04,
    IIR_RLS = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFOS = 0xc0,

    FCR_ENABLE = 0x01,
    FCR_CLEAR_RX = 0x02,
    FCR_CLEAR_TX = 0x04,
    FCR_DMA = 0x08,
    FCR_TRIGGER = 0xc0,

    LCR_WLS = 0x03,
    LCR_STB = 0x04,
    LCR_PEN = 0x08,
    LCR_BREAK = 0x40,
    LCR_DLAB = 0x80,

    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_ALL = 0x1f,

    LSR_DR = 0x01,
    LSR_OE = 0x02,
    LSR_PE = 0x04,
    LSR_FE = 0x08,
    LSR_BI = 0x10,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_FIFO_ERROR = 0x80,

    MSR_DELTAS = 0x0f,
    MSR_TERI = 0x04,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
};

typedef struct Serial {
    VmrDevice dev;
    VmrChardev *chardev;
    uint32_t clock_frequency, reg_shift, reg_width;
    bool out2_gates_irq;
    uint64_t region_size;
    VmrIrq irq;
    VmrTimer *timeout_timer;

    uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
    uint8_t rx[FIFO_SIZE], rx_error[FIFO_SIZE]; /* PE, FE, BI of each character */
    uint8_t rx_head, rx_count;
    uint8_t tx[FIFO_SIZE]; /* what the back end has not taken yet */
    uint8_t tx_head, tx_count;
    bool overrun;
    bool thre_pending; /* the THRE interrupt, a latch: reading IIR clears it */
    bool timeout_pending;
} Serial;

/* Without FIFOs there is one character in each direction. */
static unsigned depth(const Serial *s)
{
    return s->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static unsigned trigger(const Serial *s)
{
    static const uint8_t levels[4] = {1, 4, 8, 14};
    return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

static uint8_t line_status(const Serial *s)
{
    uint8_t lsr = s->overrun ? LSR_OE : 0;
    if (s->rx_count)
        lsr |= LSR_DR | s->rx_error[s->rx_head];
    if (!s->tx_count)
        lsr |= LSR_THRE | LSR_TEMT;
    if (s->fcr & FCR_ENABLE)
        for (unsigned i = 0; i < s->rx_count; i++)
            if (s->rx_error[(s->rx_head + i) % FIFO_SIZE])
                lsr |= LSR_FIFO_ERROR;
    return lsr;
}

/* The pending interrupt of the highest priority, as in IIR bits 3:0. */
static uint8_t interrupt_id(const Serial *s)
{
    if ((s->ier & IER_RLS) && (line_status(s) & (LSR_OE | LSR_PE | LSR_FE | LSR_BI)))
        return IIR_RLS;
    if ((s->ier & IER_RDA) && s->rx_count >= trigger(s))
        return IIR_RDA;
    if ((s->ier & IER_RDA) && s->timeout_pending)
        return IIR_TIMEOUT;
    if ((s->ier & IER_THRE) && s->thre_pending)
        return IIR_THRE;
    if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(Serial *s)
{
    /* In loopback the OUT2 pin itself is inactive, but a PC's driver tests interrupts there
       with the MCR bit set: gate by the bit. */
    bool open = !s->out2_gates_irq || (s->mcr & MCR_OUT2);
    vmr_irq_set(&s->dev, s->irq, open && interrupt_id(s) != IIR_NONE);
}

static int64_t character_ns(const Serial *s)
{
    uint64_t divisor = s->dll | s->dlm << 8;
    uint64_t bits = 1 + 5 + (s->lcr & LCR_WLS) + !!(s->lcr & LCR_PEN) + 1 + !!(s->lcr & LCR_STB);
    return (int64_t)(bits * 16 * (divisor ? divisor : 65536) * 1000000000 / s->clock_frequency);
}

/* After each character in or out: the time-out is four character times from now. */
static void restart_timeout(Serial *s)
{
    if (s->rx_count && s->rx_count < trigger(s))
        vmr_timer_set(&s->dev, s->timeout_timer,
                      vmr_clock_now(&s->dev, VMR_CLOCK_VIRTUAL) + 4 * character_ns(s));
    else
        vmr_timer_cancel(&s->dev, s->timeout_timer);
}

static void timeout_fired(VmrDevice *dev)
{
    Serial *s = (Serial *)dev;
    s->timeout_pending = s->rx_count > 0;
    update_irq(s);
}

/* ---- receiver ---- */

static void receive_one(Serial *s, uint8_t byte, uint8_t error)
{
    if (s->rx_count >= depth(s)) {
        s->overrun = true;
        /* With FIFOs the shift register is lost; without, the holding register is. */
        if (!(s->fcr & FCR_ENABLE)) {
            s->rx[s->rx_head] = byte;
            s->rx_error[s->rx_head] = error;
        }
        return;
    }
    unsigned at = (s->rx_head + s->rx_count++) % FIFO_SIZE;
    s->rx[at] = byte;
    s->rx_error[at] = error;
    restart_timeout(s);
}

static void clear_rx(Serial *s)
{
    s->rx_head = s->rx_count = 0;
    s->timeout_pending = false;
    restart_timeout(s);
}

static uint8_t read_rbr(Serial *s)
{
    uint8_t byte = s->rx[s->rx_head]; /* empty: what was read last */
    if (!s->rx_count)
        return byte;
    s->rx_error[s->rx_head] = 0;
    if (--s->rx_count)
        s->rx_head = (s->rx_head + 1) % FIFO_SIZE;
    s->timeout_pending = false;
    restart_timeout(s);
    update_irq(s);
    vmr_chardev_accept_input(&s->dev, s->chardev);
    return byte;
}

static unsigned can_receive(VmrDevice *dev)
{
    Serial *s = (Serial *)dev;
    return s->mcr & MCR_LOOP ? 0 : depth(s) - s->rx_count;
}

static void chardev_receive(VmrDevice *dev, const uint8_t *data, unsigned len)
{
    Serial *s = (Serial *)dev;
    for (unsigned i = 0; i < len; i++)
        receive_one(s, data[i], 0);
    update_irq(s);
}

static void chardev_event(VmrDevice *dev, VmrChardevEvent event)
{
    Serial *s = (Serial *)dev;
    if (event == VMR_CHARDEV_BREAK && !(s->mcr & MCR_LOOP)) {
        receive_one(s, 0, LSR_BI | LSR_FE);
        update_irq(s);
    }
}

/* ---- transmitter ---- */

static void transmit(Serial *s)
{
    unsigned before = s->tx_count;
    while (s->tx_count) {
        if (s->mcr & MCR_LOOP)
            receive_one(s, s->tx[s->tx_head], 0);
        else if (!vmr_chardev_write(&s->dev, s->chardev, &s->tx[s->tx_head], 1))
            break; /* chardev_writable() goes on */
        s->tx_head = (s->tx_head + 1) % FIFO_SIZE;
        s->tx_count--;
    }
    if (before && !s->tx_count)
        s->thre_pending = true;
    update_irq(s);
}

static void write_thr(Serial *s, uint8_t byte)
{
    s->thre_pending = false;
    if (s->tx_count < depth(s))
        s->tx[(s->tx_head + s->tx_count++) % FIFO_SIZE] = byte;
    else if (!(s->fcr & FCR_ENABLE))
        s->tx[s->tx_head] = byte;
    else
        vmr_guest_error(&s->dev, "THR written while the transmit FIFO is full");
    transmit(s);
}

static void chardev_writable(VmrDevice *dev)
{
    transmit((Serial *)dev);
}

static void clear_tx(Serial *s)
{
    s->thre_pending |= s->tx_count > 0;
    s->tx_head = s->tx_count = 0;
}

/* ---- control ---- */

static void write_ier(Serial *s, uint8_t value)
{
    /* Enabling THRE while the transmitter is empty gives the interrupt at once. */
    if ((value & ~s->ier & IER_THRE) && !s->tx_count)
        s->thre_pending = true;
    s->ier = value & IER_ALL;
    update_irq(s);
}

static void write_fcr(Serial *s, uint8_t value)
{
    if ((value ^ s->fcr) & FCR_ENABLE) {
        clear_rx(s);
        clear_tx(s);
    } else if (value & FCR_ENABLE) {
        if (value & FCR_CLEAR_RX)
            clear_rx(s);
        if (value & FCR_CLEAR_TX)
            clear_tx(s);
    }
    s->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | FCR_DMA | FCR_TRIGGER) : 0;
    restart_timeout(s);
    update_irq(s);
    vmr_chardev_accept_input(&s->dev, s->chardev);
}

static uint8_t modem_inputs(const Serial *s)
{
    if (!(s->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
           (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void write_mcr(Serial *s, uint8_t value)
{
    bool left_loop = (s->mcr & MCR_LOOP) && !(value & MCR_LOOP);
    s->mcr = value & MCR_ALL;
    uint8_t now = modem_inputs(s), changed = (now ^ s->msr) & 0xf0;
    /* Each delta follows a change, but TERI only the trailing edge of RI. */
    uint8_t deltas = changed >> 4;
    if (!(changed & s->msr & MSR_RI))
        deltas &= ~MSR_TERI;
    s->msr = now | (s->msr & MSR_DELTAS) | deltas;
    transmit(s);
    if (left_loop)
        vmr_chardev_accept_input(&s->dev, s->chardev);
}

static void write_lcr(Serial *s, uint8_t value)
{
    bool starts = value & ~s->lcr & LCR_BREAK;
    s->lcr = value;
    if (starts && (s->mcr & MCR_LOOP)) {
        receive_one(s, 0, LSR_BI | LSR_FE);
        update_irq(s);
    }
}

static uint64_t regs_read(VmrDevice *dev, uint64_t offset, unsigned size)
{
    Serial *s = (Serial *)dev;
    if (offset & ((1u << s->reg_shift) - 1))
        return 0;
    bool dlab = s->lcr & LCR_DLAB;
    uint8_t value;
    switch (offset >> s->reg_shift) {
    case RBR_THR:
        return dlab ? s->dll : read_rbr(s);
    case IER:
        return dlab ? s->dlm : s->ier;
    case IIR_FCR:
        value = interrupt_id(s);
        if (value == IIR_THRE) {
            s->thre_pending = false;
            update_irq(s);
        }
        return value | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        value = line_status(s);
        s->overrun = false;
        s->rx_error[s->rx_head] = 0;
        update_irq(s);
        return value;
    case MSR:
        value = s->msr;
        s->msr &= ~MSR_DELTAS;
        update_irq(s);
        return value;
    case SCR:
        return s->scr;
    }
    return 0xff;
}

static void regs_write(VmrDevice *dev, uint64_t offset, uint64_t v, unsigned size)
{
    Serial *s = (Serial *)dev;
    uint8_t value = (uint8_t)v;
    if (offset & ((1u << s->reg_shift) - 1))
        return;
    bool dlab = s->lcr & LCR_DLAB;
    switch (offset >> s->reg_shift) {
    case RBR_THR:
        if (dlab)
            s->dll = value;
        else
            write_thr(s, value);
        break;
    case IER:
        if (dlab)
            s->dlm = value;
        else
            write_ier(s, value);
        break;
    case IIR_FCR:
        write_fcr(s, value);
        break;
    case LCR:
        write_lcr(s, value);
        break;
    case MCR:
        write_mcr(s, value);
        break;
    case SCR:
        s->scr = value;
        break;
    default: /* LSR and MSR are for the factory's tests */
        break;
    }
}

/* ---- glue ---- */

static const VmrChardevHandler chardev_handler = {
    .size = sizeof(VmrChardevHandler),
    .can_receive = can_receive,
    .receive = chardev_receive,
    .event = chardev_event,
    .writable = chardev_writable,
};

static bool serial_realize(VmrDevice *dev, GError **error)
{
    Serial *s = (Serial *)dev;
    if ((s->reg_width != 1 && s->reg_width != 2 && s->reg_width != 4 && s->reg_width != 8) ||
        s->reg_width > 1u << s->reg_shift) {
        g_set_error(error, g_quark_from_static_string("serial16550"), 0,
                    "reg-width: %u is not 1, 2, 4 or 8, or is wider than a register's place of "
                    "%u bytes (reg-shift)", s->reg_width, 1u << s->reg_shift);
        return false;
    }
    s->region_size = (uint64_t)8 << s->reg_shift;
    s->timeout_timer = vmr_timer_new(dev, VMR_CLOCK_VIRTUAL, timeout_fired);
    vmr_chardev_attach(dev, s->chardev, &chardev_handler);
    return true;
}

static void serial_unrealize(VmrDevice *dev)
{
    vmr_timer_free(dev, ((Serial *)dev)->timeout_timer);
}

static void serial_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    Serial *s = (Serial *)dev;
    switch (phase) {
    case VMR_RESET_ENTER:
        s->ier = s->fcr = s->lcr = s->mcr = 0;
        s->msr = modem_inputs(s);
        s->overrun = s->thre_pending = s->timeout_pending = false;
        s->rx_head = s->rx_count = s->tx_head = s->tx_count = 0;
        restart_timeout(s);
        if (kind == VMR_RESET_COLD) { /* the reset pin leaves these alone */
            s->scr = 0;
            s->dll = 12;
            s->dlm = 0;
        }
        break;
    case VMR_RESET_HOLD:
        update_irq(s);
        break;
    case VMR_RESET_EXIT:
        vmr_chardev_accept_input(dev, s->chardev);
        break;
    }
}

/* A snapshot may hold what the back end had not taken. */
static void serial_resume(VmrDevice *dev)
{
    Serial *s = (Serial *)dev;
    transmit(s);
    vmr_chardev_accept_input(dev, s->chardev);
}

static bool serial_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    Serial *s = (Serial *)dev;
    s->rx_head %= FIFO_SIZE;
    s->tx_head %= FIFO_SIZE;
    s->rx_count = MIN(s->rx_count, depth(s));
    s->tx_count = MIN(s->tx_count, depth(s));
    s->ier &= IER_ALL;
    s->mcr &= MCR_ALL;
    update_irq(s);
    return true;
}

static void serial_describe(VmrDevice *dev, VmrDescription *d)
{
    Serial *s = (Serial *)dev;
    vmr_describe_string(d, "compatible", "ns16550a");
    vmr_describe_string(d, "acpi-hid", "PNP0501");
    vmr_describe_number(d, "clock-frequency", s->clock_frequency);
    if (s->reg_shift)
        vmr_describe_number(d, "reg-shift", s->reg_shift);
    if (s->reg_width > 1)
        vmr_describe_number(d, "reg-io-width", s->reg_width);
}

static const VmrProperty serial_properties[] = {
    {.name = "chardev",
     .type = VMR_PROP_CHARDEV,
     .offset = offsetof(Serial, chardev),
     .doc = "what is at the other end of the line; unset: nothing, output is dropped"},
    {.name = "clock-frequency",
     .type = VMR_PROP_U32,
     .offset = offsetof(Serial, clock_frequency),
     .default_text = "1843200",
     .min = 1,
     .max = 1000000000,
     .unit = "Hz",
     .doc = "input clock; 16 times the bit rate at divisor 1"},
    {.name = "reg-shift",
     .type = VMR_PROP_U32,
     .offset = offsetof(Serial, reg_shift),
     .default_text = "0",
     .min = 0,
     .max = 3,
     .doc = "registers lie 1 << reg-shift bytes apart"},
    {.name = "reg-width",
     .type = VMR_PROP_U32,
     .offset = offsetof(Serial, reg_width),
     .default_text = "1",
     .min = 1,
     .max = 8,
     .unit = "bytes",
     .doc = "access width that the description asks drivers for: 1, 2, 4 or 8; all widths work"},
    {.name = "out2-gates-irq",
     .type = VMR_PROP_BOOL,
     .offset = offsetof(Serial, out2_gates_irq),
     .default_text = "off",
     .doc = "the IRQ reaches the line only while MCR.OUT2 is set, as PC adapters are wired"},
    {.name = NULL},
};

static const VmrRegion serial_regions[] = {
    {.name = "regs",
     .kind = VMR_REGION_PIO,
     .size_offset = offsetof(Serial, region_size),
     .impl_min = 1,
     .impl_max = 1,
     .read = regs_read,
     .write = regs_write,
     .doc = "RBR/THR/DLL, IER/DLM, IIR/FCR, LCR, MCR, LSR, MSR, SCR; 8 << reg-shift bytes"},
    {.name = NULL},
};

static const VmrLine serial_lines[] = {
    {.name = "irq",
     .direction = VMR_LINE_OUT,
     .count = 1,
     .offset = offsetof(Serial, irq),
     .doc = "INTR: asserted while an enabled interrupt is pending"},
    {.name = NULL},
};

static const VmrField serial_fields[] = {
    VMR_FIELD(U8, Serial, ier),
    VMR_FIELD(U8, Serial, fcr),
    VMR_FIELD(U8, Serial, lcr),
    VMR_FIELD(U8, Serial, mcr),
    VMR_FIELD(U8, Serial, msr),
    VMR_FIELD(U8, Serial, scr),
    VMR_FIELD(U8, Serial, dll),
    VMR_FIELD(U8, Serial, dlm),
    VMR_FIELD_N(U8, Serial, rx, FIFO_SIZE),
    VMR_FIELD_N(U8, Serial, rx_error, FIFO_SIZE),
    VMR_FIELD(U8, Serial, rx_head),
    VMR_FIELD(U8, Serial, rx_count),
    VMR_FIELD_N(U8, Serial, tx, FIFO_SIZE),
    VMR_FIELD(U8, Serial, tx_head),
    VMR_FIELD(U8, Serial, tx_count),
    VMR_FIELD(BOOL, Serial, overrun),
    VMR_FIELD(BOOL, Serial, thre_pending),
    VMR_FIELD(BOOL, Serial, timeout_pending),
    VMR_FIELD(TIMER, Serial, timeout_timer),
    {.name = NULL},
};

static const VmrDeviceClass serial_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "serial16550",
    .summary = "16550A serial port",
    .doc = "A UART with 16-byte FIFOs, as in PCs and many boards. Output goes to the chardev at "
           "once, whatever the divisor says; while the chardev is full, LSR.THRE stays clear. "
           "Input waits in the chardev until there is room, so that nothing overruns.",
    .instance_size = sizeof(Serial),
    .properties = serial_properties,
    .regions = serial_regions,
    .lines = serial_lines,
    .fields = serial_fields,
    .realize = serial_realize,
    .unrealize = serial_unrealize,
    .reset = serial_reset,
    .resume = serial_resume,
    .post_load = serial_post_load,
    .describe = serial_describe,
};

VMR_PLUGIN_DEVICE("serial16550", "1.0", &serial_class);
