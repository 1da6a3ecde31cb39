/*
 * tests/unit/fakehost.c - a VmrHost for unit tests: fake lines, DMA, clock, chardevs and vCPUs.
 *
 * Single-threaded and deterministic.  Nothing here is shared with the core, so
 * that a mistake in one of the two shows as a difference.
 * Left out: watches never become ready.
 */
#include "fakehost.h"

#include <errno.h>
#include <gmodule.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_ERROR g_quark_from_static_string("fakehost")
#define FIRINGS_MAX 20000000u /* of one advance: more is a timer that never gets on */

typedef struct FakeDev FakeDev;

typedef struct Connection {
    FakeDev *to; /* NULL: a vCPU or the machine */
    unsigned input; /* index into to->inputs */
    int cpu;
    char *line;
    unsigned index;
    bool inverted;
    bool level; /* as driven, after inversion */
} Connection;

typedef struct Output {
    FakeHost *host;
    const char *line;
    unsigned n;
    bool level;
    unsigned edges;
    GPtrArray *connections;
} Output;

typedef struct Input {
    const VmrLine *line;
    unsigned n;
    unsigned drivers; /* connections that assert it */
    bool external;    /* fake_line_set() */
} Input;

struct VmrTimer {
    FakeHost *host;
    VmrDevice *dev;
    VmrClock clock;
    VmrTimerFired *fired;
    bool pending;
    int64_t deadline;
    uint64_t order;
};

struct VmrWatch {
    int fd;
};

typedef struct Work {
    VmrDevice *dev;
    VmrWork *work;
    VmrWorkDone *done;
    void *data;
} Work;

struct VmrChardev {
    VmrDevice *dev;
    const VmrChardevHandler *handler;
    GByteArray *pending;
    GString *out;
    unsigned limit;
    bool short_write, pumping;
};

struct VmrDrive {
    VmrDevice *dev;
    char *property;
    uint8_t *data;
    size_t size;
    bool read_only;
    int error;
    unsigned submitted, in_flight;
};

struct VmrNet {
    VmrDevice *dev;
    const VmrNetHandler *handler;
    uint32_t offers, wanted;
    unsigned sent;
    GByteArray *last, *waiting;
    VmrNetFrame last_frame, waiting_frame;
    bool full, owes_writable, waits;
};

struct VmrDisplay {
    VmrDevice *dev;
    const VmrDisplaySource *source;
};

typedef struct FakeVcpu {
    FakeHost *host;
    unsigned index;
    FakeCpu pub;
} FakeVcpu;

typedef struct FakeDescription {
    VmrDescription d; /* first */
    GArray *facts;
    GPtrArray *owned;
} FakeDescription;

struct FakeDev {
    FakeHost *host;
    VmrDevice *dev;
    GPtrArray *outputs, *inputs, *owned;
    GArray *placed; /* VmrPlacedRegion */
    struct {
        bool enabled;
        VmrSpaceId space;
        uint64_t base;
    } mapped[16]; /* by region: what a bus has placed */
    GHashTable *memory; /* region name -> backing of RAM and ROM */
    VmrChardev *chardev;
    FakeDescription *description;
    unsigned guest_errors;
};

struct FakeHost {
    VmrHost table; /* first */
    uint8_t *ram;
    size_t ram_size;
    GArray *ranges;
    GPtrArray *devs, *timers, *chardevs, *drives, *nets, *displays, *modules;
    GQueue works;
    FakeVcpu *cpus;
    unsigned cpu_count;
    int64_t now, wall_offset;
    uint64_t order;
    int initiator;
    GHashTable *values;
    bool requested;
    VmrRequest request;
    uint32_t request_code;
    uint32_t random;
    uint64_t released;
    unsigned releases;
    void (*dma_hook)(FakeHost *h, void *data);
    void *dma_hook_data;
};

static FakeDev *fake(VmrDevice *dev)
{
    return (FakeDev *)dev->handle;
}

/* ---- lines ---- */

static Input *find_input(FakeDev *f, const char *line, unsigned n)
{
    for (unsigned i = 0; i < f->inputs->len; i++) {
        Input *in = f->inputs->pdata[i];
        if (in->n == n && (!line || !strcmp(in->line->name, line)))
            return in;
    }
    return NULL;
}

static Output *find_output(FakeDev *f, const char *line, unsigned n)
{
    for (unsigned i = 0; i < f->outputs->len; i++) {
        Output *out = f->outputs->pdata[i];
        if (out->n == n && !strcmp(out->line, line))
            return out;
    }
    g_error("fakehost: device %s has no output %s[%u]", f->dev->name, line, n);
}

static void drive_cpu(FakeVcpu *cpu, const char *line, bool level)
{
    if (!strcmp(line, "intr"))
        cpu->pub.intr = level;
    else if (level && !strcmp(line, "nmi"))
        cpu->pub.nmis++;
    else if (level && !strcmp(line, "smi"))
        cpu->pub.smis++;
    else if (level && !strcmp(line, "init"))
        cpu->pub.inits++;
}

static void drive_connection(FakeHost *h, Connection *c, bool output)
{
    bool level = output != c->inverted;
    if (level == c->level)
        return;
    c->level = level;
    if (!c->to) {
        if (c->cpu >= 0)
            drive_cpu(&h->cpus[c->cpu], c->line, level);
        return;
    }
    Input *in = c->to->inputs->pdata[c->input];
    bool before = in->drivers || in->external;
    in->drivers += level ? 1 : -1;
    bool after = in->drivers || in->external;
    if (before != after)
        in->line->changed(c->to->dev, in->n, after);
}

static void host_irq_set(VmrIrq irq, bool level)
{
    Output *out = (Output *)irq.sink;
    if (out->level == level)
        return;
    out->level = level;
    out->edges += level;
    for (unsigned i = 0; i < out->connections->len; i++)
        drive_connection(out->host, out->connections->pdata[i], level);
}

bool fake_irq_level(VmrDevice *dev, const char *line, unsigned n)
{
    return find_output(fake(dev), line, n)->level;
}

unsigned fake_irq_edges(VmrDevice *dev, const char *line, unsigned n)
{
    return find_output(fake(dev), line, n)->edges;
}

void fake_line_set(VmrDevice *dev, const char *line, unsigned n, bool level)
{
    Input *in = find_input(fake(dev), line, n);
    if (!in)
        g_error("fakehost: device %s has no input %s[%u]", dev->name, line, n);
    bool before = in->drivers || in->external;
    in->external = level;
    bool after = in->drivers || in->external;
    if (before != after)
        in->line->changed(dev, n, after);
}

/* ---- DMA ---- */

static VmrResult dma_check(FakeHost *h, uint64_t address, size_t len)
{
    if (len && address + (len - 1) < address)
        return VMR_ERR_BOUNDS;
    if (address > h->ram_size || len > h->ram_size - address)
        return VMR_ERR_UNASSIGNED;
    return VMR_OK;
}

static VmrResult host_dma_read(VmrDevice *dev, uint64_t address, void *buf, size_t len)
{
    FakeHost *h = fake(dev)->host;
    if (h->dma_hook)
        h->dma_hook(h, h->dma_hook_data);
    VmrResult r = dma_check(h, address, len);
    if (r == VMR_OK && len)
        memcpy(buf, h->ram + address, len);
    return r;
}

static VmrResult host_dma_write(VmrDevice *dev, uint64_t address, const void *buf, size_t len)
{
    FakeHost *h = fake(dev)->host;
    VmrResult r = dma_check(h, address, len);
    if (r == VMR_OK && len)
        memcpy(h->ram + address, buf, len);
    return r;
}

static void *host_dma_map(VmrDevice *dev, uint64_t address, size_t *len, bool for_write)
{
    FakeHost *h = fake(dev)->host;
    if (!*len || address >= h->ram_size)
        return NULL;
    *len = MIN(*len, h->ram_size - address);
    return h->ram + address;
}

static void host_dma_unmap(VmrDevice *dev, void *p, size_t len, size_t written)
{
    FakeHost *h = fake(dev)->host;
    g_assert_true((uint8_t *)p >= h->ram && (uint8_t *)p + len <= h->ram + h->ram_size);
    g_assert_cmpuint(written, <=, len);
}

/* As a host whose pages are 4 KiB and in one piece. */
static void host_ram_release(VmrDevice *dev, uint64_t address, uint64_t length)
{
    FakeHost *h = fake(dev)->host;
    if (!length || dma_check(h, address, length) != VMR_OK)
        return;
    uint64_t from = (address + 4095) & ~(uint64_t)4095, to = (address + length) & ~(uint64_t)4095;
    if (from < to)
        memset(h->ram + from, 0, to - from);
    h->released += from < to ? to - from : 0;
    h->releases++;
}

uint64_t fake_released(FakeHost *h, unsigned *calls)
{
    *calls = h->releases;
    return h->released;
}

void fake_dma_hook(FakeHost *h, void (*hook)(FakeHost *h, void *data), void *data)
{
    h->dma_hook = hook;
    h->dma_hook_data = data;
}

static bool host_region_placed(VmrDevice *dev, uint32_t region)
{
    FakeDev *f = fake(dev);
    for (unsigned i = 0; i < f->placed->len; i++)
        if (!strcmp(g_array_index(f->placed, VmrPlacedRegion, i).name,
                    dev->klass->regions[region].name))
            return true;
    return false;
}

static VmrResult host_region_map(VmrDevice *dev, uint32_t region, VmrSpaceId space, uint64_t base,
                                 bool enabled)
{
    FakeDev *f = fake(dev);
    g_assert_cmpuint(region, <, G_N_ELEMENTS(f->mapped));
    g_assert_false(host_region_placed(dev, region));
    f->mapped[region].enabled = enabled;
    f->mapped[region].space = space;
    f->mapped[region].base = base;
    return VMR_OK;
}

bool fake_mapped(VmrDevice *dev, const char *region, VmrSpaceId *space, uint64_t *base)
{
    FakeDev *f = fake(dev);
    for (unsigned i = 0; dev->klass->regions[i].name; i++) {
        if (strcmp(dev->klass->regions[i].name, region) || !f->mapped[i].enabled)
            continue;
        *space = f->mapped[i].space;
        *base = f->mapped[i].base;
        return true;
    }
    return false;
}

uint8_t *fake_ram(FakeHost *h)
{
    return h->ram;
}

void fake_set_ram_ranges(FakeHost *h, const VmrMemoryRange *ranges, unsigned count)
{
    g_array_set_size(h->ranges, 0);
    g_array_append_vals(h->ranges, ranges, count);
}

/* ---- clock, timers, watches, work ---- */

static int64_t clock_of(FakeHost *h, VmrClock clock)
{
    return clock == VMR_CLOCK_WALL ? h->now + h->wall_offset : h->now;
}

static int64_t host_clock_now(VmrDevice *dev, VmrClock clock)
{
    return clock_of(fake(dev)->host, clock);
}

static VmrTimer *host_timer_new(VmrDevice *dev, VmrClock clock, VmrTimerFired *fired)
{
    VmrTimer *t = g_new0(VmrTimer, 1);
    t->host = fake(dev)->host;
    t->dev = dev;
    t->clock = clock;
    t->fired = fired;
    g_ptr_array_add(t->host->timers, t);
    return t;
}

static void host_timer_set(VmrTimer *t, int64_t deadline)
{
    t->pending = true;
    t->deadline = deadline;
    t->order = t->host->order++;
}

static void host_timer_cancel(VmrTimer *t)
{
    t->pending = false;
}

static bool host_timer_pending(VmrTimer *t, int64_t *deadline)
{
    if (t->pending && deadline)
        *deadline = t->deadline;
    return t->pending;
}

static void host_timer_free(VmrTimer *t)
{
    g_ptr_array_remove(t->host->timers, t);
    g_free(t);
}

static VmrWatch *host_watch_new(VmrDevice *dev, int fd, unsigned cond, VmrWatchReady *ready)
{
    VmrWatch *w = g_new0(VmrWatch, 1);
    w->fd = fd;
    return w;
}

static void host_watch_free(VmrWatch *w)
{
    g_free(w);
}

static void host_work_submit(VmrDevice *dev, VmrWork *work, VmrWorkDone *done, void *data)
{
    Work *w = g_new0(Work, 1);
    *w = (Work){dev, work, done, data};
    g_queue_push_tail(&fake(dev)->host->works, w);
}

int64_t fake_now(FakeHost *h)
{
    return h->now;
}

void fake_set_wall(FakeHost *h, int64_t ns)
{
    h->wall_offset = ns - h->now;
}

/* A timer's deadline on the virtual clock, without overflow. */
static int64_t due(FakeHost *h, VmrTimer *t)
{
    int64_t r;
    if (t->clock != VMR_CLOCK_WALL)
        return t->deadline;
    if (__builtin_sub_overflow(t->deadline, h->wall_offset, &r))
        return h->wall_offset > 0 ? INT64_MIN : INT64_MAX;
    return r;
}

void fake_advance(FakeHost *h, int64_t ns)
{
    g_assert_cmpint(ns, >=, 0);
    int64_t end = h->now + ns;
    Work *w;
    while ((w = g_queue_pop_head(&h->works))) {
        w->work(w->data);
        if (w->done)
            w->done(w->dev, w->data);
        g_free(w);
    }
    for (unsigned fired = 0;; fired++) {
        VmrTimer *first = NULL;
        for (unsigned i = 0; i < h->timers->len; i++) {
            VmrTimer *t = h->timers->pdata[i];
            if (!t->pending || due(h, t) > end)
                continue;
            if (!first || due(h, t) < due(h, first) ||
                (due(h, t) == due(h, first) && t->order < first->order))
                first = t;
        }
        if (!first)
            break;
        if (fired >= FIRINGS_MAX)
            g_error("fakehost: a timer of %s fires without end", first->dev->name);
        h->now = MAX(h->now, due(h, first));
        first->pending = false;
        first->fired(first->dev);
    }
    h->now = end;
}

/* ---- drives and displays ---- */

static bool host_drive_attach(VmrDevice *dev, VmrDrive *d, VmrDriveInfo *info, GError **error)
{
    VmrDriveInfo all = {
        .size = MIN(info->size, sizeof(all)),
        .logical_block = 512,
        .bytes = d->size,
        .physical_block = 4096,
        .read_only = d->read_only,
        .volatile_cache = true,
        .discard = true,
        .name = d->property,
        .serial = "FAKE-0001",
    };
    g_assert_true(d->dev == dev);
    memcpy(info, &all, all.size);
    return true;
}

static int drive_copy(VmrDrive *d, const VmrDriveRequest *r)
{
    bool data = r->op == VMR_DRIVE_READ || r->op == VMR_DRIVE_WRITE;
    if (d->error || r->op == VMR_DRIVE_FLUSH)
        return d->error;
    if (d->read_only && r->op != VMR_DRIVE_READ)
        return EROFS;
    if (r->offset > d->size || r->length > d->size - r->offset || r->offset % 512 ||
        r->length % 512)
        return EINVAL;
    if (r->op == VMR_DRIVE_WRITE_ZEROES)
        memset(d->data + r->offset, 0, r->length);
    uint64_t at = 0;
    for (unsigned i = 0; data && i < r->buffer_count; i++) {
        const VmrBuffer *b = &r->buffers[i];
        g_assert_cmpuint(b->len, <=, r->length - at);
        if (r->op == VMR_DRIVE_READ)
            memcpy(b->base, d->data + r->offset + at, b->len);
        else
            memcpy(d->data + r->offset + at, b->base, b->len);
        at += b->len;
    }
    g_assert_true(!data || at == r->length);
    return 0;
}

static void drive_work(void *data)
{
    VmrDriveRequest *r = data;
    r->error = drive_copy(r->host[0], r);
}

static void drive_done(VmrDevice *dev, void *data)
{
    VmrDriveRequest *r = data;
    ((VmrDrive *)r->host[0])->in_flight--;
    r->done(dev, r, r->error);
}

static void host_drive_submit(VmrDevice *dev, VmrDrive *d, VmrDriveRequest *r)
{
    g_assert_true(d->dev == dev);
    d->submitted++;
    d->in_flight++;
    r->host[0] = d;
    host_work_submit(dev, drive_work, drive_done, r);
}

static void host_drive_drain(VmrDevice *dev, VmrDrive *d)
{
    if (d->in_flight)
        fake_advance(fake(dev)->host, 0);
    g_assert_cmpuint(d->in_flight, ==, 0);
}

static VmrDrive *find_drive(VmrDevice *dev, const char *property)
{
    const GPtrArray *all = fake(dev)->host->drives;
    for (unsigned i = 0; i < all->len; i++) {
        VmrDrive *d = all->pdata[i];
        if (d->dev == dev && !strcmp(d->property, property))
            return d;
    }
    g_error("fakehost: %s has no drive at %s", dev->name, property);
}

uint8_t *fake_drive_data(VmrDevice *dev, const char *property)
{
    return find_drive(dev, property)->data;
}

void fake_drive_fail(VmrDevice *dev, const char *property, int error)
{
    find_drive(dev, property)->error = error;
}

unsigned fake_drive_requests(VmrDevice *dev, const char *property)
{
    return find_drive(dev, property)->submitted;
}

/* ---- nets ---- */

static bool host_net_attach(VmrDevice *dev, VmrNet *n, const VmrNetHandler *handler,
                            VmrNetInfo *info, GError **error)
{
    g_assert_true(n->dev == dev);
    n->handler = handler;
    if (!handler)
        return true;
    VmrNetInfo all = {.size = MIN(info->size, sizeof(all)), .takes = n->offers,
                      .gives = n->offers, .link = true, .name = "fake"};
    memcpy(info, &all, all.size);
    return true;
}

static void host_net_offloads(VmrDevice *dev, VmrNet *n, uint32_t wanted)
{
    g_assert_cmpuint(wanted & ~n->offers, ==, 0);
    n->wanted = wanted;
}

static void gather_frame(GByteArray *to, const VmrNetFrame *frame)
{
    g_byte_array_set_size(to, 0);
    for (unsigned i = 0; i < frame->buffer_count; i++)
        g_byte_array_append(to, frame->buffers[i].base, frame->buffers[i].len);
}

static bool host_net_send(VmrDevice *dev, VmrNet *n, const VmrNetFrame *frame)
{
    g_assert_true(n->dev == dev && n->handler);
    n->owes_writable = n->full;
    if (n->full)
        return false;
    gather_frame(n->last, frame);
    g_assert_cmpuint(n->last->len, <=, VMR_NET_FRAME_MAX);
    n->last_frame = *frame;
    n->last_frame.buffers = NULL;
    n->sent++;
    return true;
}

static void host_net_accept(VmrDevice *dev, VmrNet *n)
{
    if (!n->waits)
        return;
    VmrBuffer whole = {n->waiting->data, n->waiting->len};
    n->waiting_frame.buffers = &whole;
    n->waiting_frame.buffer_count = 1;
    n->waits = !n->handler->receive(dev, &n->waiting_frame);
}

static VmrNet *find_net(VmrDevice *dev)
{
    const GPtrArray *all = fake(dev)->host->nets;
    for (unsigned i = 0; i < all->len; i++)
        if (((VmrNet *)all->pdata[i])->dev == dev)
            return all->pdata[i];
    g_error("fakehost: %s has no net", dev->name);
}

bool fake_net_input(VmrDevice *dev, const VmrNetFrame *frame)
{
    VmrNet *n = find_net(dev);
    if (n->handler->receive(dev, frame))
        return true;
    gather_frame(n->waiting, frame);
    n->waiting_frame = *frame;
    n->waits = true;
    return false;
}

unsigned fake_net_sent(VmrDevice *dev)
{
    return find_net(dev)->sent;
}

const GByteArray *fake_net_last(VmrDevice *dev, VmrNetFrame *frame)
{
    VmrNet *n = find_net(dev);
    if (frame)
        *frame = n->last_frame;
    return n->last;
}

uint32_t fake_net_offloads(VmrDevice *dev)
{
    return find_net(dev)->wanted;
}

void fake_net_room(VmrDevice *dev, bool room)
{
    VmrNet *n = find_net(dev);
    n->full = !room;
    if (room && n->owes_writable) {
        n->owes_writable = false;
        n->handler->writable(dev);
    }
}

const VmrNetHandler *fake_net_handler(VmrDevice *dev)
{
    return find_net(dev)->handler;
}

static void host_display_attach(VmrDevice *dev, VmrDisplay *d, const VmrDisplaySource *source)
{
    g_assert_true(d->dev == dev);
    d->source = source;
}

const VmrDisplaySource *fake_display(VmrDevice *dev)
{
    const GPtrArray *all = fake(dev)->host->displays;
    for (unsigned i = 0; i < all->len; i++) {
        const VmrDisplay *d = all->pdata[i];
        if (d->dev == dev)
            return d->source;
    }
    return NULL;
}

/* ---- chardevs ---- */

static void host_chardev_attach(VmrDevice *dev, VmrChardev *c, const VmrChardevHandler *handler)
{
    g_assert_true(!c->handler || c->dev == dev || !handler);
    c->dev = dev;
    c->handler = handler;
}

static unsigned host_chardev_write(VmrChardev *c, const uint8_t *data, unsigned len)
{
    unsigned n = MIN(len, c->limit);
    if (c->limit != G_MAXUINT)
        c->limit -= n;
    if (n < len)
        c->short_write = true;
    g_string_append_len(c->out, (const char *)data, n);
    return n;
}

static void host_chardev_accept_input(VmrChardev *c)
{
    if (!c->handler || c->pumping)
        return;
    c->pumping = true;
    while (c->pending->len) {
        unsigned n = MIN(c->handler->can_receive(c->dev), c->pending->len);
        if (!n)
            break;
        uint8_t *copy = g_memdup2(c->pending->data, n);
        g_byte_array_remove_range(c->pending, 0, n);
        c->handler->receive(c->dev, copy, n);
        g_free(copy);
    }
    c->pumping = false;
}

static VmrChardev *chardev_of(VmrDevice *dev)
{
    if (!fake(dev)->chardev)
        g_error("fakehost: device %s has no chardev: give it a property chardev=fake", dev->name);
    return fake(dev)->chardev;
}

void fake_chardev_input(VmrDevice *dev, const void *data, unsigned len)
{
    VmrChardev *c = chardev_of(dev);
    g_byte_array_append(c->pending, data, len);
    host_chardev_accept_input(c);
}

const GString *fake_chardev_output(VmrDevice *dev)
{
    return chardev_of(dev)->out;
}

void fake_chardev_limit(VmrDevice *dev, unsigned bytes)
{
    VmrChardev *c = chardev_of(dev);
    c->limit = bytes;
    if (bytes && c->short_write) {
        c->short_write = false;
        if (c->handler && c->handler->writable)
            c->handler->writable(c->dev);
    }
}

void fake_chardev_event(VmrDevice *dev, VmrChardevEvent event)
{
    VmrChardev *c = chardev_of(dev);
    if (c->handler && c->handler->event)
        c->handler->event(c->dev, event);
}

/* ---- machine, vCPUs, logs ---- */

static void host_request(VmrDevice *dev, VmrRequest request, uint32_t code)
{
    FakeHost *h = fake(dev)->host;
    h->requested = true;
    h->request = request;
    h->request_code = code;
}

bool fake_last_request(FakeHost *h, VmrRequest *request, uint32_t *code)
{
    if (h->requested && request)
        *request = h->request;
    if (h->requested && code)
        *code = h->request_code;
    return h->requested;
}

uint32_t fake_random(FakeHost *h, uint32_t bound)
{
    h->random ^= h->random << 13; /* xorshift32 (Marsaglia, 2003) */
    h->random ^= h->random >> 17;
    h->random ^= h->random << 5;
    return bound ? h->random % bound : h->random;
}

static unsigned host_cpu_count(VmrDevice *dev)
{
    return fake(dev)->host->cpu_count;
}

static VmrCpu *host_cpu(VmrDevice *dev, unsigned index)
{
    FakeHost *h = fake(dev)->host;
    return index < h->cpu_count ? (VmrCpu *)&h->cpus[index] : NULL;
}

static uint32_t cpu_apic_id(VmrCpu *cpu)
{
    return ((FakeVcpu *)cpu)->index;
}

static void cpu_set_intr(VmrCpu *cpu, bool level)
{
    ((FakeVcpu *)cpu)->pub.intr = level;
}

static void cpu_nmi(VmrCpu *cpu)
{
    ((FakeVcpu *)cpu)->pub.nmis++;
}

static void cpu_smi(VmrCpu *cpu)
{
    ((FakeVcpu *)cpu)->pub.smis++;
}

static void cpu_init(VmrCpu *cpu)
{
    ((FakeVcpu *)cpu)->pub.inits++;
}

static void cpu_sipi(VmrCpu *cpu, uint8_t vector)
{
    ((FakeVcpu *)cpu)->pub.sipis++;
    ((FakeVcpu *)cpu)->pub.sipi_vector = vector;
}

static void cpu_get_state(VmrCpu *cpu, VmrX86State *state)
{
    *state = ((FakeVcpu *)cpu)->pub.state;
}

static bool cpu_set_state(VmrCpu *cpu, const VmrX86State *state, GError **error)
{
    ((FakeVcpu *)cpu)->pub.state = *state;
    return true;
}

static uint64_t cpu_tsc_hz(VmrCpu *cpu)
{
    return 1000000000;
}

static uint64_t cpu_tsc_now(VmrCpu *cpu)
{
    return ((FakeVcpu *)cpu)->host->now;
}

static const VmrX86CpuInterface cpu_x86 = {
    .size = sizeof(VmrX86CpuInterface),
    .apic_id = cpu_apic_id,
    .set_intr = cpu_set_intr,
    .nmi = cpu_nmi,
    .smi = cpu_smi,
    .init = cpu_init,
    .sipi = cpu_sipi,
    .get_state = cpu_get_state,
    .set_state = cpu_set_state,
    .tsc_hz = cpu_tsc_hz,
    .tsc_now = cpu_tsc_now,
};

static const void *host_cpu_interface(VmrCpu *cpu, const char *id)
{
    return cpu && !strcmp(id, VMR_X86_CPU) ? &cpu_x86 : NULL;
}

FakeCpu *fake_cpu(FakeHost *h, unsigned index)
{
    g_assert_cmpuint(index, <, h->cpu_count);
    return &h->cpus[index].pub;
}

static int host_initiator(VmrDevice *dev)
{
    return fake(dev)->host->initiator;
}

void fake_set_initiator(FakeHost *h, int cpu)
{
    h->initiator = cpu;
}

static unsigned host_ram_ranges(VmrDevice *dev, VmrMemoryRange *ranges, unsigned max)
{
    GArray *all = fake(dev)->host->ranges;
    for (unsigned i = 0; i < MIN(max, all->len); i++)
        ranges[i] = g_array_index(all, VmrMemoryRange, i);
    return all->len;
}

static const char *host_machine_value(VmrDevice *dev, const char *section, const char *key)
{
    char *name = g_strdup_printf("%s.%s", section, key);
    const char *value = g_hash_table_lookup(fake(dev)->host->values, name);
    g_free(name);
    return value;
}

void fake_machine_value(FakeHost *h, const char *section, const char *key, const char *value)
{
    g_hash_table_replace(h->values, g_strdup_printf("%s.%s", section, key), g_strdup(value));
}

static VmrDevice *host_device_next(VmrDevice *dev, VmrDevice *after)
{
    GPtrArray *devs = fake(dev)->host->devs;
    unsigned i = 0;
    if (after)
        while (i < devs->len && ((FakeDev *)devs->pdata[i++])->dev != after)
            ;
    return i < devs->len ? ((FakeDev *)devs->pdata[i])->dev : NULL;
}

static void host_log(VmrDevice *dev, VmrLogLevel level, const char *format, va_list args)
{
    char *text = g_strdup_vprintf(format, args);
    if (level == VMR_LOG_GUEST_ERROR)
        fake(dev)->guest_errors++;
    if (level <= VMR_LOG_WARNING || g_test_verbose())
        g_test_message("%s: %s", dev->name, text);
    g_free(text);
}

unsigned fake_guest_errors(VmrDevice *dev)
{
    return fake(dev)->guest_errors;
}

static bool host_trace_enabled(VmrDevice *dev)
{
    return g_test_verbose();
}

static void host_trace(VmrDevice *dev, const char *format, va_list args)
{
    char *text = g_strdup_vprintf(format, args);
    g_test_message("%s: %s", dev->name, text);
    g_free(text);
}

/* ---- descriptions ---- */

static VmrFact *fact_for(FakeDescription *d, const char *key, VmrFactType type)
{
    for (unsigned i = 0; i < d->facts->len; i++) {
        VmrFact *f = &g_array_index(d->facts, VmrFact, i);
        if (!strcmp(f->key, key)) {
            if (f->type != type)
                g_error("fakehost: fact %s is both a string and a number", key);
            return f;
        }
    }
    VmrFact f = {.key = g_strdup(key), .type = type};
    g_ptr_array_add(d->owned, (void *)f.key);
    g_array_append_val(d->facts, f);
    return &g_array_index(d->facts, VmrFact, d->facts->len - 1);
}

static void *grown(FakeDescription *d, const void *old, size_t old_size, size_t more)
{
    uint8_t *p = g_malloc0(old_size + more);
    if (old_size)
        memcpy(p, old, old_size);
    g_ptr_array_add(d->owned, p);
    return p;
}

static void add_string(VmrDescription *vd, const char *key, const char *value)
{
    FakeDescription *d = (FakeDescription *)vd;
    VmrFact *f = fact_for(d, key, VMR_FACT_STRING);
    const char **list = grown(d, f->strings, f->count * sizeof(*list), sizeof(*list));
    char *copy = g_strdup(value);
    g_ptr_array_add(d->owned, copy);
    list[f->count++] = copy;
    f->strings = list;
}

static void add_numbers(VmrDescription *vd, const char *key, const uint64_t *values, uint32_t count)
{
    FakeDescription *d = (FakeDescription *)vd;
    VmrFact *f = fact_for(d, key, VMR_FACT_NUMBERS);
    uint64_t *list = grown(d, f->numbers, f->count * sizeof(*list), count * sizeof(*list));
    memcpy(list + f->count, values, count * sizeof(*list));
    f->count += count;
    f->numbers = list;
}

static void describe_lines(FakeDev *f, FakeDescription *d)
{
    GArray *lines = g_array_new(FALSE, TRUE, sizeof(VmrRoutedLine));
    for (unsigned i = 0; i < f->outputs->len; i++) {
        Output *out = f->outputs->pdata[i];
        for (unsigned j = 0; j < out->connections->len; j++) {
            Connection *c = out->connections->pdata[j];
            VmrRoutedLine l = {out->line, out->n,  c->to ? c->to->dev : NULL,
                               c->line,   c->index, c->inverted};
            g_array_append_val(lines, l);
        }
    }
    d->d.line_count = lines->len;
    d->d.lines = (VmrRoutedLine *)g_array_free(lines, FALSE);
    g_ptr_array_add(d->owned, (void *)d->d.lines);
}

static const VmrRegion *find_region(VmrDevice *dev, const char *name);
static uint64_t region_size(VmrDevice *dev, const VmrRegion *r);

const VmrDescription *fake_description(VmrDevice *dev)
{
    FakeDev *f = fake(dev);
    if (f->description)
        return &f->description->d;
    FakeDescription *d = f->description = g_new0(FakeDescription, 1);
    d->facts = g_array_new(FALSE, TRUE, sizeof(VmrFact));
    d->owned = g_ptr_array_new_with_free_func(g_free);
    d->d.device = dev;
    d->d.add_string = add_string;
    d->d.add_numbers = add_numbers;
    if (dev->klass->describe)
        dev->klass->describe(dev, &d->d);
    d->d.facts = (VmrFact *)d->facts->data;
    d->d.fact_count = d->facts->len;
    for (unsigned i = 0; i < f->placed->len; i++) { /* known for all after realize only */
        VmrPlacedRegion *r = &g_array_index(f->placed, VmrPlacedRegion, i);
        r->size = region_size(dev, find_region(dev, r->name));
    }
    d->d.regions = (VmrPlacedRegion *)f->placed->data;
    d->d.region_count = f->placed->len;
    describe_lines(f, d);
    return &d->d;
}

static const VmrDescription *host_description(VmrDevice *dev, VmrDevice *of)
{
    return fake_description(of);
}

/* ---- making devices ---- */

static bool fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool fail(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, FAKE_ERROR, 0, "%s", text);
    g_free(text);
    return false;
}

/* The core tells all inputs their levels in a reset, changed or not. */
static void redrive(FakeHost *h)
{
    for (unsigned i = 0; i < h->devs->len; i++) {
        FakeDev *f = h->devs->pdata[i];
        for (unsigned j = 0; j < f->inputs->len; j++) {
            Input *in = f->inputs->pdata[j];
            in->line->changed(f->dev, in->n, in->drivers || in->external);
        }
    }
}

static FakeDev *find_device(FakeHost *h, const char *name)
{
    for (unsigned i = 0; i < h->devs->len; i++)
        if (!strcmp(((FakeDev *)h->devs->pdata[i])->dev->name, name))
            return h->devs->pdata[i];
    return NULL;
}

static bool parse_number(const char *text, bool suffix, uint64_t *value)
{
    char *end;
    *value = g_ascii_strtoull(text, &end, 0);
    if (end == text)
        return false;
    if (suffix && *end) {
        const char *p = strchr("KMGT", *end);
        if (p) {
            *value <<= 10 * (p - "KMGT" + 1);
            end++;
        }
    }
    return !*end;
}

static bool is_one_of(const char *text, const char *const *list)
{
    return g_strv_contains(list, text);
}

static bool set_link(FakeDev *f, const VmrProperty *p, const char *text, GError **error)
{
    FakeDev *to = find_device(f->host, *text == '@' ? text + 1 : text);
    if (!to)
        return fail(error, "%s: no device %s", p->name, text);
    VmrLink *link = (VmrLink *)((uint8_t *)f->dev + p->offset);
    link->device = to->dev;
    if (p->interface) {
        link->iface = vmr_device_interface(to->dev, p->interface);
        if (!link->iface)
            return fail(error, "%s: device %s does not offer %s", p->name, text, p->interface);
    }
    return true;
}

/* fake, fake:SIZE, fake:SIZE:ro */
static bool set_drive(FakeDev *f, const VmrProperty *p, const char *text, GError **error)
{
    char **part = g_strsplit(text, ":", 3);
    uint64_t size = 1 << 20;
    bool ok = part[0] && !strcmp(part[0], "fake") &&
              (!part[1] || parse_number(part[1], true, &size));
    if (ok) {
        VmrDrive *d = g_new0(VmrDrive, 1);
        d->dev = f->dev;
        d->property = g_strdup(p->name);
        d->size = size;
        d->data = g_malloc0(size);
        d->read_only = part[1] && part[2];
        g_ptr_array_add(f->host->drives, d);
        *(VmrDrive **)((uint8_t *)f->dev + p->offset) = d;
    }
    g_strfreev(part);
    return ok || fail(error, "%s: fake[:SIZE[:ro]] is wanted", p->name);
}

static bool set_property(FakeDev *f, const VmrProperty *p, const char *text, GError **error)
{
    static const char *const yes[] = {"on", "true", "yes", "1", NULL};
    static const char *const no[] = {"off", "false", "no", "0", NULL};
    void *at = (uint8_t *)f->dev + p->offset;
    uint64_t n = 0;
    switch (p->type) {
    case VMR_PROP_BOOL:
        if (!is_one_of(text, yes) && !is_one_of(text, no))
            return fail(error, "%s: \"%s\" is not a boolean", p->name, text);
        *(bool *)at = is_one_of(text, yes);
        return true;
    case VMR_PROP_U32:
    case VMR_PROP_U64:
    case VMR_PROP_SIZE:
        if (!parse_number(text, p->type == VMR_PROP_SIZE, &n))
            return fail(error, "%s: \"%s\" is not a number", p->name, text);
        if ((p->min || p->max) && (n < p->min || n > p->max))
            return fail(error, "%s: %s is out of range", p->name, text);
        if (p->type == VMR_PROP_U32 && n > G_MAXUINT32)
            return fail(error, "%s: %s does not fit", p->name, text);
        if (p->type == VMR_PROP_U32)
            *(uint32_t *)at = n;
        else
            *(uint64_t *)at = n;
        return true;
    case VMR_PROP_STRING:
    case VMR_PROP_PATH: {
        char *copy = g_strdup(text);
        g_ptr_array_add(f->owned, copy);
        *(const char **)at = copy;
        return true;
    }
    case VMR_PROP_ENUM:
        for (uint32_t i = 0; p->names[i]; i++)
            if (!strcmp(p->names[i], text)) {
                *(uint32_t *)at = i;
                return true;
            }
        return fail(error, "%s: no value \"%s\"", p->name, text);
    case VMR_PROP_LINK:
        return set_link(f, p, text, error);
    case VMR_PROP_CHARDEV: {
        VmrChardev *c = g_new0(VmrChardev, 1);
        c->dev = f->dev;
        c->pending = g_byte_array_new();
        c->out = g_string_new(NULL);
        c->limit = G_MAXUINT;
        g_ptr_array_add(f->host->chardevs, c);
        *(VmrChardev **)at = f->chardev = c;
        return true;
    }
    case VMR_PROP_DRIVE:
        return set_drive(f, p, text, error);
    case VMR_PROP_NET: {
        VmrNet *net = g_new0(VmrNet, 1);
        net->dev = f->dev;
        net->last = g_byte_array_new();
        net->waiting = g_byte_array_new();
        if (g_str_has_suffix(text, ":offloads"))
            net->offers = VMR_NET_CHECKSUM | VMR_NET_TCP4 | VMR_NET_TCP6 | VMR_NET_ECN;
        g_ptr_array_add(f->host->nets, net);
        *(VmrNet **)at = net;
        return true;
    }
    case VMR_PROP_DISPLAY: {
        VmrDisplay *d = g_new0(VmrDisplay, 1);
        d->dev = f->dev;
        g_ptr_array_add(f->host->displays, d);
        *(VmrDisplay **)at = d;
        return true;
    }
    default:
        return fail(error, "%s: fakehost has no back ends of this type", p->name);
    }
}

/* One target: [!][@]device[:line]:n, cpuN:line, machine:line. */
static bool connect_one(FakeDev *f, Output *out, const char *text, GError **error)
{
    Connection *c = g_new0(Connection, 1);
    c->cpu = -1;
    g_ptr_array_add(out->connections, c);
    while (*text == ' ')
        text++;
    if (*text == '!') {
        c->inverted = true;
        text++;
    }
    text += *text == '@';
    char **part = g_strsplit(text, ":", 3);
    unsigned parts = g_strv_length(part);
    uint64_t n = 0;
    bool ok = true;
    if (g_str_has_prefix(text, "cpu") && g_ascii_isdigit(text[3]) && parts == 2) {
        c->cpu = atoi(text + 3);
        c->line = g_strdup(part[1]);
        ok = (unsigned)c->cpu < f->host->cpu_count;
    } else if (g_str_has_prefix(text, "machine:") && parts == 2) {
        c->line = g_strdup(part[1]);
    } else if (parts >= 2 && (c->to = find_device(f->host, part[0])) &&
               parse_number(part[parts - 1], false, &n) && c->to->inputs->len) {
        const char *line = ((Input *)c->to->inputs->pdata[0])->line->name;
        Input *in = find_input(c->to, parts == 3 ? part[1] : line, n);
        ok = in && g_ptr_array_find(c->to->inputs, in, &c->input);
        c->line = g_strdup(parts == 3 ? part[1] : line);
        c->index = n;
    } else {
        ok = false;
    }
    g_strfreev(part);
    if (!ok) {
        g_ptr_array_remove(out->connections, c);
        return fail(error, "%s: no input \"%s\"", out->line, text);
    }
    /* A machine without a reset yet: an inverted line starts asserted. */
    drive_connection(f->host, c, out->level);
    return true;
}

static bool connect_line(FakeDev *f, const VmrLine *line, const char *text, GError **error)
{
    char **member = g_strsplit(text, ",", -1);
    bool ok = true;
    for (unsigned i = 0; ok && member[i]; i++) {
        if (i >= line->count) {
            ok = fail(error, "%s: has only %u members", line->name, line->count);
            break;
        }
        char **target = g_strsplit(member[i], "+", -1);
        for (unsigned j = 0; ok && target[j]; j++) {
            g_strstrip(target[j]);
            if (*target[j])
                ok = connect_one(f, find_output(f, line->name, i), target[j], error);
        }
        g_strfreev(target);
    }
    g_strfreev(member);
    return ok;
}

static bool place_region(FakeDev *f, const VmrRegion *r, const char *text, GError **error)
{
    VmrPlacedRegion p = {r->name, r->kind == VMR_REGION_PIO, 0, r->size};
    if (g_str_has_prefix(text, "io:"))
        p.io = true, text += 3;
    else if (g_str_has_prefix(text, "mem:"))
        p.io = false, text += 4;
    if (!parse_number(text, false, &p.base))
        return fail(error, "%s: \"%s\" is not an address", r->name, text);
    g_array_append_val(f->placed, p);
    return true;
}

static bool set_key(FakeDev *f, const char *key, const char *text, GError **error)
{
    const VmrDeviceClass *k = f->dev->klass;
    for (const VmrProperty *p = k->properties; p && p->name; p++)
        if (!strcmp(p->name, key))
            return set_property(f, p, text, error);
    for (const VmrLine *l = k->lines; l && l->name; l++)
        if (l->direction == VMR_LINE_OUT && !strcmp(l->name, key))
            return connect_line(f, l, text, error);
    for (const VmrRegion *r = k->regions; r && r->name; r++)
        if (!strcmp(r->name, key))
            return place_region(f, r, text, error);
    return fail(error, "no property, output or region \"%s\"", key);
}

static void make_lines(FakeDev *f)
{
    for (const VmrLine *l = f->dev->klass->lines; l && l->name; l++) {
        g_assert_cmpuint(l->count, >=, 1);
        for (unsigned i = 0; i < l->count; i++) {
            if (l->direction == VMR_LINE_IN) {
                Input *in = g_new0(Input, 1);
                in->line = l;
                in->n = i;
                g_ptr_array_add(f->inputs, in);
            } else {
                Output *out = g_new0(Output, 1);
                out->host = f->host;
                out->line = l->name;
                out->n = i;
                out->connections = g_ptr_array_new();
                g_ptr_array_add(f->outputs, out);
                VmrIrq *irq = (VmrIrq *)((uint8_t *)f->dev + l->offset) + i;
                *irq = (VmrIrq){(VmrIrqSink *)out, i};
            }
        }
    }
}

static const VmrDeviceClass *load_class(FakeHost *h, const char *id, GError **error)
{
    const char *dir = g_getenv("VMRUN_PLUGIN_DIR");
    char **part = g_strsplit(id, ":", 2);
    char *file = g_strdup_printf("%s/%s.so", dir ? dir : "plugins", part[0]);
    const char *want = part[1] ? part[1] : part[0];
    const VmrDeviceClass *found = NULL, *only = NULL;
    unsigned classes = 0;
    void *symbol;
    GModule *module = g_module_open(file, G_MODULE_BIND_LOCAL);
    if (!module || !g_module_symbol(module, VMR_PLUGIN_SYMBOL, &symbol)) {
        fail(error, "%s: %s", file, g_module_error());
    } else {
        g_ptr_array_add(h->modules, module);
        const VmrPlugin *p = symbol;
        g_assert_cmphex(p->magic, ==, VMR_PLUGIN_MAGIC);
        g_assert_cmpuint(p->abi_major, ==, VMR_ABI_MAJOR);
        for (const VmrFactory *const *fac = p->factories; *fac; fac++) {
            if (strcmp((*fac)->id, VMR_FACTORY_DEVICE))
                continue;
            only = (*fac)->object;
            classes++;
            if (!strcmp(only->id, want))
                found = only;
        }
        if (!found && classes == 1)
            found = only;
        if (!found)
            fail(error, "%s: no class %s", file, want);
    }
    g_free(file);
    g_strfreev(part);
    return found;
}

static void free_dev(FakeDev *f)
{
    for (unsigned i = 0; i < f->outputs->len; i++) {
        Output *out = f->outputs->pdata[i];
        for (unsigned j = 0; j < out->connections->len; j++) {
            g_free(((Connection *)out->connections->pdata[j])->line);
            g_free(out->connections->pdata[j]);
        }
        g_ptr_array_free(out->connections, TRUE);
        g_free(out);
    }
    for (unsigned i = 0; i < f->inputs->len; i++)
        g_free(f->inputs->pdata[i]);
    g_ptr_array_free(f->outputs, TRUE);
    g_ptr_array_free(f->inputs, TRUE);
    g_ptr_array_free(f->owned, TRUE);
    g_array_free(f->placed, TRUE);
    g_hash_table_destroy(f->memory);
    if (f->description) {
        g_array_free(f->description->facts, TRUE);
        g_ptr_array_free(f->description->owned, TRUE);
        g_free(f->description);
    }
    g_free((char *)f->dev->name);
    g_free(f->dev);
    g_free(f);
}

/* Defaults, then the given keys, then what must be there. */
static bool configure(FakeDev *f, const char *properties, GError **error)
{
    const VmrDeviceClass *k = f->dev->klass;
    for (const VmrProperty *p = k->properties; p && p->name; p++)
        if (p->default_text && !set_property(f, p, p->default_text, error))
            return false;
    char **pair = g_strsplit(properties ? properties : "", ";", -1);
    GHashTable *given = g_hash_table_new(g_str_hash, g_str_equal);
    bool ok = true;
    for (unsigned i = 0; ok && pair[i]; i++) {
        g_strstrip(pair[i]);
        if (!*pair[i])
            continue;
        char *eq = strchr(pair[i], '=');
        if (!eq) {
            ok = fail(error, "\"%s\" is not key=value", pair[i]);
            break;
        }
        *eq = 0;
        ok = set_key(f, g_strstrip(pair[i]), g_strstrip(eq + 1), error);
        g_hash_table_add(given, pair[i]);
    }
    for (const VmrProperty *p = k->properties; ok && p && p->name; p++)
        if ((p->flags & VMR_PROP_REQUIRED) && !g_hash_table_contains(given, p->name))
            ok = fail(error, "%s: must be set", p->name);
    g_hash_table_destroy(given);
    g_strfreev(pair);
    return ok;
}

VmrDevice *fake_device_try(FakeHost *h, const char *plugin_id, const char *name,
                           const char *properties, GError **error)
{
    const VmrDeviceClass *k = load_class(h, plugin_id, error);
    if (!k)
        return NULL;
    g_assert_cmpuint(k->size, ==, sizeof(VmrDeviceClass));
    g_assert_cmpuint(k->instance_size, >=, sizeof(VmrDevice));
    g_assert_true((k->state_version > 0) == !(k->flags & VMR_DEVICE_NO_STATE));
    g_assert_null(find_device(h, name));

    FakeDev *f = g_new0(FakeDev, 1);
    f->host = h;
    f->outputs = g_ptr_array_new();
    f->inputs = g_ptr_array_new();
    f->owned = g_ptr_array_new_with_free_func(g_free);
    f->placed = g_array_new(FALSE, TRUE, sizeof(VmrPlacedRegion));
    f->memory = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    f->dev = g_malloc0(k->instance_size);
    f->dev->host = &h->table;
    f->dev->handle = (VmrDeviceHandle *)f;
    f->dev->klass = k;
    f->dev->name = g_strdup(name);
    make_lines(f);
    GError *why = NULL;
    if (configure(f, properties, &why) && (!k->realize || k->realize(f->dev, &why))) {
        g_ptr_array_add(h->devs, f);
        return f->dev;
    }
    if (why)
        g_propagate_error(error, why);
    else
        fail(error, "%s: realize failed without saying why", name);
    free_dev(f);
    return NULL;
}

VmrDevice *fake_device_new(FakeHost *h, const char *plugin_id, const char *name,
                           const char *properties)
{
    GError *error = NULL;
    VmrDevice *dev = fake_device_try(h, plugin_id, name, properties, &error);
    if (!dev)
        g_error("fakehost: %s (%s): %s", name, plugin_id, error->message);
    return dev;
}

void fake_reset(FakeHost *h, VmrResetKind kind)
{
    for (int phase = VMR_RESET_ENTER; phase <= VMR_RESET_EXIT; phase++) {
        if (phase == VMR_RESET_EXIT)
            redrive(h);
        for (unsigned i = 0; i < h->devs->len; i++) {
            VmrDevice *dev = ((FakeDev *)h->devs->pdata[i])->dev;
            if (dev->klass->reset)
                dev->klass->reset(dev, phase, kind);
        }
    }
}

/* ---- region accesses ---- */

static const VmrRegion *find_region(VmrDevice *dev, const char *name)
{
    for (const VmrRegion *r = dev->klass->regions; r && r->name; r++)
        if (!strcmp(r->name, name))
            return r;
    g_error("fakehost: device %s has no region %s", dev->name, name);
}

static uint64_t region_size(VmrDevice *dev, const VmrRegion *r)
{
    return r->size ? r->size : *(uint64_t *)((uint8_t *)dev + r->size_offset);
}

static uint8_t *region_memory(VmrDevice *dev, const VmrRegion *r)
{
    GHashTable *memory = fake(dev)->memory;
    uint8_t *p = g_hash_table_lookup(memory, r->name);
    if (!p) {
        p = g_malloc0(region_size(dev, r));
        g_hash_table_insert(memory, (void *)r->name, p);
    }
    return p;
}

static bool access_ok(VmrDevice *dev, const VmrRegion *r, uint64_t offset, unsigned size)
{
    unsigned min = r->valid_min ? r->valid_min : 1, max = r->valid_max ? r->valid_max : 8;
    uint64_t all = region_size(dev, r);
    g_assert_true(size == 1 || size == 2 || size == 4 || size == 8);
    if (size < min || size > max || offset >= all || size > all - offset) {
        if (g_test_verbose())
            g_test_message("%s.%s: access of %u bytes at 0x%" PRIx64 " is not valid", dev->name,
                           r->name, size, offset);
        return false;
    }
    return true;
}

/* How much of an access from `offset` on one call of the handler takes: an aligned piece, or
   what lies in the impl_min bytes around it. */
static unsigned piece(const VmrRegion *r, uint64_t offset, unsigned left)
{
    unsigned min = r->impl_min ? r->impl_min : 1;
    unsigned n = r->impl_max ? r->impl_max : 8;
    while (n > left || (offset & (n - 1)))
        n >>= 1;
    return n < min ? MIN(left, min - (unsigned)(offset & (min - 1))) : n;
}

uint64_t fake_read(VmrDevice *dev, const char *region, uint64_t offset, unsigned size)
{
    const VmrRegion *r = find_region(dev, region);
    uint64_t ones = size == 8 ? ~(uint64_t)0 : ((uint64_t)1 << (8 * size)) - 1;
    if (!access_ok(dev, r, offset, size))
        return ones;
    uint64_t value = 0;
    if (r->kind == VMR_REGION_RAM || r->kind == VMR_REGION_ROM) {
        for (unsigned i = 0; i < size; i++)
            value |= (uint64_t)region_memory(dev, r)[offset + i] << (8 * i);
        return value;
    }
    if (!r->read)
        return ones;
    unsigned min = r->impl_min ? r->impl_min : 1;
    for (unsigned done = 0; done < size;) {
        unsigned n = piece(r, offset + done, size - done);
        unsigned wide = MAX(n, min);
        uint64_t at = (offset + done) & ~(uint64_t)(wide - 1);
        uint64_t v = r->read(dev, at, wide) >> (8 * (offset + done - at));
        if (n < 8)
            v &= ((uint64_t)1 << (8 * n)) - 1;
        value |= v << (8 * done);
        done += n;
    }
    return value;
}

void fake_write(VmrDevice *dev, const char *region, uint64_t offset, uint64_t value, unsigned size)
{
    const VmrRegion *r = find_region(dev, region);
    if (!access_ok(dev, r, offset, size))
        return;
    if (r->kind == VMR_REGION_RAM) {
        for (unsigned i = 0; i < size; i++)
            region_memory(dev, r)[offset + i] = value >> (8 * i);
        return;
    }
    if (!r->write)
        return;
    unsigned min = r->impl_min ? r->impl_min : 1;
    for (unsigned done = 0; done < size;) {
        unsigned n = piece(r, offset + done, size - done);
        unsigned wide = MAX(n, min);
        uint64_t at = (offset + done) & ~(uint64_t)(wide - 1);
        uint64_t v = value >> (8 * done);
        if (n < 8)
            v &= ((uint64_t)1 << (8 * n)) - 1;
        r->write(dev, at, v << (8 * (offset + done - at)), wide);
        done += n;
    }
}

/* ---- state ---- */

static const VmrField *find_field(VmrDevice *dev, const char *name)
{
    for (const VmrField *f = dev->klass->fields; f && f->name; f++)
        if (!strcmp(f->name, name))
            return f;
    g_error("fakehost: device %s has no field %s", dev->name, name);
}

static unsigned field_count(const VmrField *f)
{
    return f->count ? f->count : 1;
}

typedef struct Saved {
    bool set; /* a timer's */
    uint64_t value;
} Saved;

static Saved field_load(VmrDevice *dev, const VmrField *f, unsigned i)
{
    uint8_t *at = (uint8_t *)dev + f->offset;
    int64_t deadline = 0;
    switch (f->type) {
    case VMR_FIELD_BOOL:
        return (Saved){true, ((bool *)at)[i]};
    case VMR_FIELD_U8:
        return (Saved){true, at[i]};
    case VMR_FIELD_U16:
        return (Saved){true, ((uint16_t *)at)[i]};
    case VMR_FIELD_U32:
        return (Saved){true, ((uint32_t *)at)[i]};
    case VMR_FIELD_U64:
    case VMR_FIELD_I64:
        return (Saved){true, ((uint64_t *)at)[i]};
    case VMR_FIELD_TIMER:
        if (!((VmrTimer **)at)[i] || !host_timer_pending(((VmrTimer **)at)[i], &deadline))
            return (Saved){false, 0};
        return (Saved){true, (uint64_t)deadline};
    }
    g_error("fakehost: field %s has an unknown type", f->name);
}

static void field_store(VmrDevice *dev, const VmrField *f, unsigned i, Saved s)
{
    uint8_t *at = (uint8_t *)dev + f->offset;
    switch (f->type) {
    case VMR_FIELD_BOOL:
        ((bool *)at)[i] = s.value;
        break;
    case VMR_FIELD_U8:
        at[i] = s.value;
        break;
    case VMR_FIELD_U16:
        ((uint16_t *)at)[i] = s.value;
        break;
    case VMR_FIELD_U32:
        ((uint32_t *)at)[i] = s.value;
        break;
    case VMR_FIELD_U64:
    case VMR_FIELD_I64:
        ((uint64_t *)at)[i] = s.value;
        break;
    case VMR_FIELD_TIMER:
        if (s.set)
            host_timer_set(((VmrTimer **)at)[i], (int64_t)s.value);
        else if (((VmrTimer **)at)[i])
            host_timer_cancel(((VmrTimer **)at)[i]);
        break;
    }
}

uint64_t fake_field_get(VmrDevice *dev, const char *field, unsigned index)
{
    const VmrField *f = find_field(dev, field);
    g_assert_cmpuint(index, <, field_count(f));
    return field_load(dev, f, index).value;
}

void fake_field_set(VmrDevice *dev, const char *field, unsigned index, uint64_t value)
{
    const VmrField *f = find_field(dev, field);
    g_assert_cmpuint(index, <, field_count(f));
    field_store(dev, f, index, (Saved){true, value});
}

bool fake_post_load(VmrDevice *dev, GError **error)
{
    const VmrDeviceClass *k = dev->klass;
    return !k->post_load || k->post_load(dev, k->state_version, error);
}

void fake_save_load(VmrDevice *from, VmrDevice *to)
{
    const VmrDeviceClass *k = from->klass;
    FakeHost *a = fake(from)->host, *b = fake(to)->host;
    g_assert_true(k == to->klass);
    if (a != b) {
        b->now = a->now;
        b->wall_offset = a->wall_offset;
    }
    GArray *saved = g_array_new(FALSE, TRUE, sizeof(Saved));
    for (const VmrField *f = k->fields; f && f->name; f++)
        for (unsigned i = 0; i < field_count(f); i++) {
            Saved s = field_load(from, f, i);
            g_array_append_val(saved, s);
        }
    unsigned n = 0;
    for (const VmrField *f = k->fields; f && f->name; f++)
        for (unsigned i = 0; i < field_count(f); i++)
            field_store(to, f, i, g_array_index(saved, Saved, n++));
    GError *error = NULL;
    if (!fake_post_load(to, &error))
        g_error("fakehost: %s: post_load: %s", to->name, error ? error->message : "no reason");
    n = 0;
    for (const VmrField *f = k->fields; f && f->name; f++)
        for (unsigned i = 0; i < field_count(f); i++) {
            Saved want = g_array_index(saved, Saved, n++), got = field_load(to, f, i);
            if (want.set != got.set || want.value != got.value)
                g_error("fakehost: %s: field %s[%u] is %s0x%" PRIx64 " after the load, was "
                        "%s0x%" PRIx64, to->name, f->name, i, got.set ? "" : "unset ", got.value,
                        want.set ? "" : "unset ", want.value);
        }
    g_array_free(saved, TRUE);
}

/* ---- the host ---- */

FakeHost *fake_host_new(size_t ram_size, unsigned cpus)
{
    FakeHost *h = g_new0(FakeHost, 1);
    h->table = (VmrHost){
        .size = sizeof(VmrHost),
        .abi_major = VMR_ABI_MAJOR,
        .abi_minor = VMR_ABI_MINOR,
        .irq_set = host_irq_set,
        .dma_read = host_dma_read,
        .dma_write = host_dma_write,
        .dma_map = host_dma_map,
        .dma_unmap = host_dma_unmap,
        .clock_now = host_clock_now,
        .timer_new = host_timer_new,
        .timer_set = host_timer_set,
        .timer_cancel = host_timer_cancel,
        .timer_pending = host_timer_pending,
        .timer_free = host_timer_free,
        .watch_new = host_watch_new,
        .watch_free = host_watch_free,
        .work_submit = host_work_submit,
        .chardev_attach = host_chardev_attach,
        .chardev_write = host_chardev_write,
        .chardev_accept_input = host_chardev_accept_input,
        .region_map = host_region_map,
        .region_placed = host_region_placed,
        .drive_attach = host_drive_attach,
        .drive_submit = host_drive_submit,
        .drive_drain = host_drive_drain,
        .net_attach = host_net_attach,
        .net_offloads = host_net_offloads,
        .net_send = host_net_send,
        .net_accept = host_net_accept,
        .ram_release = host_ram_release,
        .display_attach = host_display_attach,
        .request = host_request,
        .cpu_count = host_cpu_count,
        .cpu = host_cpu,
        .cpu_interface = host_cpu_interface,
        .initiator = host_initiator,
        .ram_ranges = host_ram_ranges,
        .machine_value = host_machine_value,
        .device_next = host_device_next,
        .description = host_description,
        .log = host_log,
        .trace_enabled = host_trace_enabled,
        .trace = host_trace,
    };
    h->random = 2463534242u;
    h->ram_size = ram_size;
    h->ram = g_malloc0(ram_size + 1);
    h->ranges = g_array_new(FALSE, TRUE, sizeof(VmrMemoryRange));
    if (ram_size)
        fake_set_ram_ranges(h, &(VmrMemoryRange){0, ram_size}, 1);
    h->devs = g_ptr_array_new();
    h->timers = g_ptr_array_new();
    h->chardevs = g_ptr_array_new();
    h->drives = g_ptr_array_new();
    h->nets = g_ptr_array_new();
    h->displays = g_ptr_array_new_with_free_func(g_free);
    h->modules = g_ptr_array_new();
    g_queue_init(&h->works);
    h->cpus = g_new0(FakeVcpu, cpus + 1);
    for (unsigned i = 0; i < cpus; i++) {
        h->cpus[i].host = h;
        h->cpus[i].index = i;
        h->cpus[i].pub.state.size = sizeof(VmrX86State);
    }
    h->cpu_count = cpus;
    h->initiator = cpus ? 0 : -1;
    h->values = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return h;
}

void fake_host_free(FakeHost *h)
{
    for (unsigned i = h->devs->len; i > 0; i--) {
        VmrDevice *dev = ((FakeDev *)h->devs->pdata[i - 1])->dev;
        if (dev->klass->unrealize)
            dev->klass->unrealize(dev);
    }
    for (unsigned i = h->devs->len; i > 0; i--)
        free_dev(h->devs->pdata[i - 1]);
    for (unsigned i = 0; i < h->timers->len; i++)
        g_test_message("fakehost: a timer was not freed by unrealize");
    g_assert_cmpuint(h->timers->len, ==, 0);
    for (unsigned i = 0; i < h->chardevs->len; i++) {
        VmrChardev *c = h->chardevs->pdata[i];
        g_byte_array_free(c->pending, TRUE);
        g_string_free(c->out, TRUE);
        g_free(c);
    }
    for (unsigned i = 0; i < h->modules->len; i++)
        g_module_close(h->modules->pdata[i]);
    g_queue_clear_full(&h->works, g_free);
    g_ptr_array_free(h->devs, TRUE);
    g_ptr_array_free(h->timers, TRUE);
    g_ptr_array_free(h->chardevs, TRUE);
    for (unsigned i = 0; i < h->drives->len; i++) {
        VmrDrive *d = h->drives->pdata[i];
        g_free(d->property);
        g_free(d->data);
        g_free(d);
    }
    g_ptr_array_free(h->drives, TRUE);
    for (unsigned i = 0; i < h->nets->len; i++) {
        VmrNet *n = h->nets->pdata[i];
        g_byte_array_unref(n->last);
        g_byte_array_unref(n->waiting);
        g_free(n);
    }
    g_ptr_array_free(h->nets, TRUE);
    g_ptr_array_free(h->displays, TRUE);
    g_ptr_array_free(h->modules, TRUE);
    g_array_free(h->ranges, TRUE);
    g_hash_table_destroy(h->values);
    g_free(h->cpus);
    g_free(h->ram);
    g_free(h);
}
