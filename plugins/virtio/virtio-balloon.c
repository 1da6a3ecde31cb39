/*
 * virtio-balloon - a virtio memory balloon: pages that the guest does not use go back to the host.
 *
 * After VIRTIO 1.2, 5.5: inflate, deflate, statistics, deflate on OOM, free page reporting.
 * Leaves out free page hints, which are for migration, and page poison: a driver that needs to tell
 * one does not report pages.
 *
 * Queues are numbered as if there were those only that were negotiated, as Linux does; as the
 * specification numbers it, 4, the reporting queue is there too.
 */
#include "virtio.h"

#include <string.h>
#include <vmrun/balloon.h>
#include <vmrun/plugin.h>

enum {
    INFLATE,
    DEFLATE,
    STATS,
    REPORTING = 4,
    QUEUES = 5,

    F_STATS_VQ = 1 << 1,
    F_DEFLATE_ON_OOM = 1 << 2,
    F_PAGE_REPORTING = 1 << 5,

    NUM_PAGES = 0, /* of the configuration */
    ACTUAL = 4,
    CONFIG_SIZE = 8,

    PAGE_BITS = 12,
    PAGES_MAX = 1024, /* of a buffer: what is beyond is not given back */
    PIECE = 256,      /* page numbers that are read at once */
    STAT_SIZE = 10,    /* bytes: tag, value */
    STAT_COUNT = 10,
    STAT_BUFFER_MAX = 64, /* statistics of a buffer */
};

static const char *const stat_names[STAT_COUNT] = {
    "swap-in", "swap-out", "major-faults", "minor-faults", "free-memory", "total-memory",
    "available-memory", "disk-caches", "hugetlb-allocations", "hugetlb-failures",
};

typedef struct VirtioBalloon {
    VirtioDevice v;
    /* properties */
    bool deflate_on_oom, reporting;

    VirtioChain *asked; /* of STATS: given back when new ones are wanted */
    /* saved */
    uint32_t num_pages, actual; /* 4 KiB pages in the balloon: wanted, and as the driver says */
    uint64_t stat[STAT_COUNT];
} VirtioBalloon;

/* ---- inflate and deflate ---------------------------------------------- */

/* Neighbours among the page numbers are given back at once. */
typedef struct Run {
    uint64_t first, count; /* pages */
} Run;

static void run_end(VirtioDevice *v, Run *r)
{
    if (r->count)
        vmr_ram_release(&v->dev, r->first << PAGE_BITS, r->count << PAGE_BITS);
    r->count = 0;
}

static void run_add(VirtioDevice *v, Run *r, uint32_t page)
{
    if (r->count && page == r->first + r->count) {
        r->count++;
    } else if (r->count && page + UINT64_C(1) == r->first) {
        r->first = page;
        r->count++;
    } else {
        run_end(v, r);
        *r = (Run){page, 1};
    }
}

static void inflate(VirtioDevice *v, const VirtioChain *c)
{
    uint64_t left = MIN(c->out_length / 4, (uint64_t)PAGES_MAX), at = 0;
    Run run = {0, 0};
    while (left) {
        uint8_t pages[4 * PIECE];
        size_t wanted = 4 * (size_t)MIN(left, (uint64_t)PIECE);
        if (virtio_read(v, c, at, pages, wanted) != wanted)
            break;
        for (size_t i = 0; i < wanted; i += 4)
            run_add(v, &run, virtio_get32(pages + i));
        at += wanted;
        left -= wanted / 4;
    }
    run_end(v, &run);
}

/* ---- free page reporting ---------------------------------------------- */

/* Each buffer is a piece of free memory. */
static void report(VirtioDevice *v, const VirtioChain *c)
{
    for (unsigned i = c->out_count; i < c->out_count + c->in_count; i++)
        vmr_ram_release(&v->dev, c->segments[i].address, c->segments[i].length);
}

/* ---- statistics ------------------------------------------------------- */

static void take_stats(VirtioBalloon *b, const VirtioChain *c)
{
    uint8_t s[STAT_SIZE];
    for (unsigned i = 0; i < STAT_COUNT; i++)
        b->stat[i] = UINT64_MAX;
    for (unsigned i = 0; i < STAT_BUFFER_MAX; i++) {
        if (virtio_read(&b->v, c, i * (uint64_t)STAT_SIZE, s, sizeof(s)) != sizeof(s))
            break;
        unsigned tag = virtio_get16(s);
        if (tag < STAT_COUNT)
            b->stat[tag] = virtio_get64(s + 2);
    }
}

static void give_back(VirtioBalloon *b)
{
    VirtioChain *c = b->asked;
    b->asked = NULL;
    if (c) {
        virtio_push(&b->v, c, 0);
        virtio_signal(&b->v, STATS);
    }
}

static void stats_notify(VirtioBalloon *b)
{
    VirtioChain *c;
    while ((c = virtio_pop(&b->v, STATS))) {
        give_back(b); /* one is enough */
        take_stats(b, c);
        b->asked = c;
    }
}

/* ---- queues ----------------------------------------------------------- */

static void balloon_notify(VirtioDevice *v, unsigned queue)
{
    VirtioBalloon *b = (VirtioBalloon *)v;
    bool stats = virtio_has(v, F_STATS_VQ), reporting = virtio_has(v, F_PAGE_REPORTING);
    if (stats && queue == STATS) {
        stats_notify(b);
        return;
    }
    reporting &= queue == REPORTING || queue == (stats ? STATS + 1 : STATS);
    if (queue > DEFLATE && !reporting)
        return;
    VirtioChain *c;
    bool any = false;
    while ((c = virtio_pop(v, queue))) {
        if (queue == INFLATE)
            inflate(v, c);
        else if (reporting)
            report(v, c);
        virtio_push(v, c, 0); /* DEFLATE: its pages come back when they are touched */
        any = true;
    }
    if (any)
        virtio_signal(v, queue);
}

/* ---- configuration ---------------------------------------------------- */

static void show_config(VirtioBalloon *b)
{
    virtio_put32(b->v.config + NUM_PAGES, b->num_pages);
    virtio_put32(b->v.config + ACTUAL, b->actual);
}

static void balloon_config_written(VirtioDevice *v, unsigned offset, unsigned size)
{
    VirtioBalloon *b = (VirtioBalloon *)v;
    b->actual = virtio_get32(v->config + ACTUAL);
    show_config(b); /* num_pages is not the driver's */
}

/* ---- the monitor's side ----------------------------------------------- */

static uint64_t ram_size(VmrDevice *dev)
{
    VmrMemoryRange ranges[8];
    unsigned count = vmr_ram_ranges(dev, ranges, G_N_ELEMENTS(ranges));
    uint64_t all = 0;
    for (unsigned i = 0; i < MIN(count, G_N_ELEMENTS(ranges)); i++)
        all += ranges[i].size;
    return all;
}

static void balloon_set_memory(VmrDevice *dev, uint64_t bytes)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    uint64_t all = ram_size(dev), pages = bytes < all ? (all - bytes) >> PAGE_BITS : 0;
    b->num_pages = (uint32_t)MIN(pages, (uint64_t)UINT32_MAX);
    show_config(b);
    virtio_config_changed(&b->v);
}

static uint64_t balloon_memory(VmrDevice *dev)
{
    const VirtioBalloon *b = (VirtioBalloon *)dev;
    uint64_t all = ram_size(dev), in = (uint64_t)b->actual << PAGE_BITS;
    return in < all ? all - in : 0;
}

static unsigned balloon_stats(VmrDevice *dev, VmrBalloonStat *stats, unsigned max)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    for (unsigned i = 0; i < MIN(max, (unsigned)STAT_COUNT); i++)
        stats[i] = (VmrBalloonStat){stat_names[i], b->stat[i]};
    give_back(b);
    return STAT_COUNT;
}

static const VmrBalloonInterface balloon_interface = {
    .size = sizeof(VmrBalloonInterface),
    .set_memory = balloon_set_memory,
    .memory = balloon_memory,
    .stats = balloon_stats,
};

/* ---- life ------------------------------------------------------------- */

static void balloon_forget(VirtioDevice *v)
{
    VirtioBalloon *b = (VirtioBalloon *)v;
    virtio_drop(v, b->asked);
    b->asked = NULL;
    b->actual = 0; /* the guest's memory is its own again */
    for (unsigned i = 0; i < STAT_COUNT; i++)
        b->stat[i] = UINT64_MAX;
    show_config(b);
}

static const VirtioType balloon_type = {
    .id = 5,
    .pci_class = 0x00ff00,
    .config_size = CONFIG_SIZE,
    .queue_notify = balloon_notify,
    .config_written = balloon_config_written,
    .reset = balloon_forget,
};

static bool balloon_realize(VmrDevice *dev, GError **error)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    b->v.offered = F_STATS_VQ | (b->deflate_on_oom ? F_DEFLATE_ON_OOM : 0) |
                   (b->reporting ? F_PAGE_REPORTING : 0);
    return virtio_realize(&b->v, &balloon_type, QUEUES, error);
}

static void balloon_unrealize(VmrDevice *dev)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    virtio_drop(&b->v, b->asked);
    virtio_unrealize(&b->v);
}

static void balloon_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    virtio_device_reset((VirtioDevice *)dev, phase);
}

static void balloon_pause(VmrDevice *dev)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    if (b->asked)
        virtio_unpop(&b->v, b->asked); /* resume takes it again */
    b->asked = NULL;
}

static void balloon_resume(VmrDevice *dev)
{
    virtio_resume((VirtioDevice *)dev);
}

static bool balloon_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    show_config((VirtioBalloon *)dev);
    return virtio_post_load((VirtioDevice *)dev, error);
}

static void balloon_describe(VmrDevice *dev, VmrDescription *d)
{
    virtio_describe((VirtioDevice *)dev, d);
}

static const void *balloon_get_interface(VmrDevice *dev, const char *id)
{
    return !strcmp(id, VMR_BALLOON) ? &balloon_interface : virtio_get_interface(dev, id);
}

static const VmrProperty balloon_properties[] = {
    VIRTIO_PROPERTIES,
    {.name = "deflate-on-oom", .type = VMR_PROP_BOOL, .offset = offsetof(VirtioBalloon, deflate_on_oom),
     .default_text = "off", .doc = "the guest may take pages back when it is out of memory"},
    {.name = "free-page-reporting", .type = VMR_PROP_BOOL, .offset = offsetof(VirtioBalloon, reporting),
     .default_text = "on", .doc = "the guest gives free memory back by itself"},
    {.name = NULL},
};
static const VmrRegion balloon_regions[] = {VIRTIO_REGIONS, {.name = NULL}};
static const VmrLine balloon_lines[] = {VIRTIO_LINES, {.name = NULL}};
static const VmrField balloon_fields[] = {
    VIRTIO_FIELDS,
    VMR_FIELD(U32, VirtioBalloon, num_pages),
    VMR_FIELD(U32, VirtioBalloon, actual),
    VMR_FIELD_N(U64, VirtioBalloon, stat, STAT_COUNT),
    {.name = NULL},
};

static const VmrDeviceClass balloon_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "virtio-balloon",
    .summary = "virtio memory balloon",
    .doc = "On PCI with bus = pci0, or memory-mapped with regs = ADDRESS and irq = LINE.  The monitor's "
           "command balloon says how much memory the guest is to have.",
    .instance_size = sizeof(VirtioBalloon),
    .properties = balloon_properties,
    .regions = balloon_regions,
    .lines = balloon_lines,
    .fields = balloon_fields,
    .realize = balloon_realize,
    .unrealize = balloon_unrealize,
    .reset = balloon_reset,
    .pause = balloon_pause,
    .resume = balloon_resume,
    .post_load = balloon_post_load,
    .describe = balloon_describe,
    .get_interface = balloon_get_interface,
};

VMR_PLUGIN_DEVICE("virtio-balloon", "1.0", &balloon_class);
