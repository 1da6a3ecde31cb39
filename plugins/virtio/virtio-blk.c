/*
 * virtio-blk - a virtio block device on a drive.
 *
 * After VIRTIO 1.2, 5.2: read, write, flush, discard, write zeroes, get ID, several
 * queues, read-only, topology, and a cache that the driver can turn off.
 *
 * Data goes straight between the drive and guest memory.  A request is checked in
 * full before anything is begun.
 * Leaves out secure erase, lifetime, zones and resizing.
 */
#include "virtio.h"

#include <errno.h>
#include <string.h>
#include <vmrun/plugin.h>

enum {
    SECTOR = 512,

    F_SEG_MAX = 1 << 2,
    F_RO = 1 << 5,
    F_BLK_SIZE = 1 << 6,
    F_FLUSH = 1 << 9,
    F_TOPOLOGY = 1 << 10,
    F_CONFIG_WCE = 1 << 11,
    F_MQ = 1 << 12,
    F_DISCARD = 1 << 13,
    F_WRITE_ZEROES = 1 << 14,

    /* configuration */
    CAPACITY = 0,
    SEG_MAX = 12,
    BLK_SIZE = 20,
    PHYSICAL_BLOCK_EXP = 24,
    MIN_IO_SIZE = 26,
    OPT_IO_SIZE = 28,
    WRITEBACK = 32,
    NUM_QUEUES = 34,
    MAX_DISCARD_SECTORS = 36,
    MAX_DISCARD_SEG = 40,
    DISCARD_ALIGNMENT = 44,
    MAX_WRITE_ZEROES_SECTORS = 48,
    MAX_WRITE_ZEROES_SEG = 52,
    WRITE_ZEROES_MAY_UNMAP = 56,
    CONFIG_SIZE = 60,

    T_IN = 0,
    T_OUT = 1,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_WRITE_ZEROES = 13,

    S_OK = 0,
    S_IOERR = 1,
    S_UNSUPP = 2,

    HEADER = 16,      /* type, reserved, sector */
    RANGE = 16,       /* of a discard: sector, sectors, flags */
    RANGES_MAX = 16,  /* in one request */
    ID_LENGTH = 20,
    RANGE_SECTORS_MAX = 1 << 22, /* 2 GiB */
    BUFFERS_MAX = 1024,
};

typedef struct VirtioBlk {
    VirtioDevice v;
    /* properties */
    VmrDrive *drive;
    uint32_t queues;

    VmrDriveInfo info;
    uint8_t writeback; /* saved: what the driver has set */
} VirtioBlk;

/* A request in flight. */
typedef struct Request {
    VmrDriveRequest r; /* first */
    VirtioBlk *b;
    VirtioChain *chain;
    uint32_t type;
    uint64_t written;              /* bytes of the chain's in part, without the status */
    uint8_t ranges[RANGES_MAX * RANGE]; /* discard, write zeroes */
    unsigned range_count, range;
    bool flushing; /* the flush after a write, without write-back */
    VmrBuffer buffers[];
} Request;

/* ---- the end of a request --------------------------------------------- */

static void answer(VirtioBlk *b, VirtioChain *c, uint64_t written, uint8_t status)
{
    unsigned queue = c->queue;
    /* The status is the last byte of the in part; that there is one has been checked. */
    virtio_write(&b->v, c, c->in_length - 1, &status, 1);
    virtio_push(&b->v, c, (uint32_t)MIN(written + 1, (uint64_t)UINT32_MAX));
    virtio_signal(&b->v, queue);
}

static void done(VmrDevice *dev, VmrDriveRequest *r, int error);

/* The next range of a discard, or the flush of a write-through; false: there is nothing. */
static bool go_on(Request *q)
{
    VirtioBlk *b = q->b;
    if (q->range < q->range_count) {
        const uint8_t *range = q->ranges + RANGE * q->range++;
        q->r.offset = virtio_get64(range) * SECTOR;
        q->r.length = (uint64_t)virtio_get32(range + 8) * SECTOR;
        q->r.flags = virtio_get32(range + 12) & 1 ? VMR_DRIVE_UNMAP : 0;
    } else if ((q->type == T_OUT || q->type == T_WRITE_ZEROES) && !b->writeback &&
               b->info.volatile_cache && !q->flushing) {
        q->flushing = true;
        q->r.op = VMR_DRIVE_FLUSH;
    } else {
        return false;
    }
    vmr_drive_submit(&b->v.dev, b->drive, &q->r);
    return true;
}

static void done(VmrDevice *dev, VmrDriveRequest *r, int error)
{
    Request *q = (Request *)r;
    VirtioBlk *b = q->b;
    bool current = q->chain->epoch == b->v.epoch;
    if (!error && current && go_on(q))
        return;
    if (q->r.buffer_count)
        virtio_unmap(&b->v, q->buffers, q->r.buffer_count, q->type == T_IN ? q->r.length : 0);
    answer(b, q->chain, error ? 0 : q->written, error ? S_IOERR : S_OK);
    g_free(q);
}

/* ---- the beginning ---------------------------------------------------- */

static bool in_bounds(const VirtioBlk *b, uint64_t sector, uint64_t length)
{
    uint64_t sectors = b->info.bytes / SECTOR;
    return length % b->info.logical_block == 0 && sector <= sectors &&
           length / SECTOR <= sectors - sector &&
           sector * SECTOR % b->info.logical_block == 0;
}

static Request *new_request(VirtioBlk *b, VirtioChain *c, uint32_t type, VmrDriveOp op,
                            unsigned buffers)
{
    Request *q = g_malloc(sizeof(*q) + buffers * sizeof(VmrBuffer));
    memset(q, 0, sizeof(*q));
    q->r.op = op;
    q->r.done = done;
    q->r.buffers = q->buffers;
    q->b = b;
    q->chain = c;
    q->type = type;
    return q;
}

static uint8_t transfer(VirtioBlk *b, VirtioChain *c, uint32_t type, uint64_t sector)
{
    bool in = type == T_IN;
    uint64_t length = in ? c->in_length - 1 : c->out_length - HEADER;
    if (!length || !in_bounds(b, sector, length))
        return S_IOERR;
    if (!in && b->info.read_only)
        return S_IOERR;
    unsigned max = MIN((in ? c->in_count : c->out_count) + 8, (unsigned)BUFFERS_MAX);
    Request *q = new_request(b, c, type, in ? VMR_DRIVE_READ : VMR_DRIVE_WRITE, max);
    q->r.buffer_count = virtio_map(&b->v, c, in, in ? 0 : HEADER, length, q->buffers, max);
    if (!q->r.buffer_count) {
        vmr_guest_error(&b->v.dev, "a buffer is not in memory");
        g_free(q);
        return S_IOERR;
    }
    q->r.offset = sector * SECTOR;
    q->r.length = length;
    q->written = in ? length : 0;
    vmr_drive_submit(&b->v.dev, b->drive, &q->r);
    return S_OK;
}

static uint8_t ranges(VirtioBlk *b, VirtioChain *c, uint32_t type)
{
    bool zeroes = type == T_WRITE_ZEROES;
    uint64_t length = c->out_length - HEADER;
    if (!virtio_has(&b->v, zeroes ? F_WRITE_ZEROES : F_DISCARD))
        return S_UNSUPP;
    if (!length || length % RANGE || length > RANGES_MAX * RANGE || b->info.read_only)
        return S_IOERR;
    Request *q = new_request(b, c, type, zeroes ? VMR_DRIVE_WRITE_ZEROES : VMR_DRIVE_DISCARD, 0);
    if (virtio_read(&b->v, c, HEADER, q->ranges, (size_t)length) != length) {
        g_free(q);
        return S_IOERR;
    }
    q->range_count = (unsigned)(length / RANGE);
    uint8_t status = S_OK;
    for (unsigned i = 0; i < q->range_count; i++) {
        const uint8_t *r = q->ranges + RANGE * i;
        uint32_t sectors = virtio_get32(r + 8), flags = virtio_get32(r + 12);
        if (flags & ~(zeroes ? 1u : 0u))
            status = S_UNSUPP;
        else if (sectors > RANGE_SECTORS_MAX ||
                 !in_bounds(b, virtio_get64(r), (uint64_t)sectors * SECTOR))
            status = S_IOERR;
    }
    if (status != S_OK) {
        g_free(q);
        return status;
    }
    go_on(q);
    return S_OK;
}

static void get_id(VirtioBlk *b, VirtioChain *c)
{
    char id[ID_LENGTH] = {0};
    const char *serial = b->info.serial ? b->info.serial : b->info.name;
    strncpy(id, serial ? serial : "", sizeof(id)); /* no final zero if it is full */
    size_t n = (size_t)MIN(c->in_length - 1, (uint64_t)ID_LENGTH);
    virtio_write(&b->v, c, 0, id, n);
    answer(b, c, n, S_OK);
}

static void begin(VirtioBlk *b, VirtioChain *c)
{
    uint8_t header[HEADER], status = S_UNSUPP;
    if (c->in_length < 1 || c->out_length < HEADER) {
        virtio_broken(&b->v, "a request without a header or a status");
        virtio_drop(&b->v, c);
        return;
    }
    if (virtio_read(&b->v, c, 0, header, HEADER) != HEADER) {
        virtio_drop(&b->v, c);
        return;
    }
    uint32_t type = virtio_get32(header);
    switch (type) {
    case T_IN:
    case T_OUT:
        status = transfer(b, c, type, virtio_get64(header + 8));
        break;
    case T_FLUSH:
        vmr_drive_submit(&b->v.dev, b->drive,
                         &new_request(b, c, type, VMR_DRIVE_FLUSH, 0)->r);
        status = S_OK;
        break;
    case T_DISCARD:
    case T_WRITE_ZEROES:
        status = ranges(b, c, type);
        break;
    case T_GET_ID:
        get_id(b, c);
        return;
    default:
        break;
    }
    if (status != S_OK)
        answer(b, c, 0, status);
}

static void blk_notify(VirtioDevice *v, unsigned queue)
{
    VirtioChain *c;
    while ((c = virtio_pop(v, queue)))
        begin((VirtioBlk *)v, c);
}

/* ---- configuration and life ------------------------------------------- */

static void blk_config_written(VirtioDevice *v, unsigned offset, unsigned size)
{
    VirtioBlk *b = (VirtioBlk *)v;
    if (offset <= WRITEBACK && WRITEBACK < offset + size && virtio_has(v, F_CONFIG_WCE))
        b->writeback = v->config[WRITEBACK] & 1;
}

static void fill_config(VirtioBlk *b)
{
    uint8_t *c = b->v.config;
    unsigned per_block = b->info.logical_block / SECTOR, exponent = 0;
    memset(c, 0, CONFIG_SIZE);
    while (b->info.logical_block << (exponent + 1) <= b->info.physical_block)
        exponent++;
    virtio_put64(c + CAPACITY, b->info.bytes / SECTOR);
    virtio_put32(c + SEG_MAX, b->v.queue_size > 2 ? b->v.queue_size - 2 : 1);
    virtio_put32(c + BLK_SIZE, b->info.logical_block);
    c[PHYSICAL_BLOCK_EXP] = (uint8_t)exponent;
    virtio_put16(c + MIN_IO_SIZE, 1);
    c[WRITEBACK] = b->writeback;
    virtio_put16(c + NUM_QUEUES, (uint16_t)b->queues);
    virtio_put32(c + MAX_DISCARD_SECTORS, RANGE_SECTORS_MAX / per_block * per_block);
    virtio_put32(c + MAX_DISCARD_SEG, RANGES_MAX);
    virtio_put32(c + DISCARD_ALIGNMENT, MAX(b->info.physical_block / SECTOR, 1));
    virtio_put32(c + MAX_WRITE_ZEROES_SECTORS, RANGE_SECTORS_MAX / per_block * per_block);
    virtio_put32(c + MAX_WRITE_ZEROES_SEG, RANGES_MAX);
    c[WRITE_ZEROES_MAY_UNMAP] = b->info.discard;
}

static void blk_reset(VirtioDevice *v)
{
    VirtioBlk *b = (VirtioBlk *)v;
    b->writeback = b->info.volatile_cache;
    fill_config(b);
}

/* Without CONFIG_WCE, FLUSH says whether the driver will flush; if not, each write is. */
static void blk_features_ok(VirtioDevice *v)
{
    VirtioBlk *b = (VirtioBlk *)v;
    if (!virtio_has(v, F_CONFIG_WCE))
        b->writeback = b->info.volatile_cache && virtio_has(v, F_FLUSH);
    v->config[WRITEBACK] = b->writeback;
}

static const VirtioType blk_type = {
    .id = 2,
    .pci_class = 0x010000, /* mass storage, SCSI: what guests expect of it */
    .config_size = CONFIG_SIZE,
    .queue_notify = blk_notify,
    .config_written = blk_config_written,
    .reset = blk_reset,
    .features_ok = blk_features_ok,
};

static bool blk_realize(VmrDevice *dev, GError **error)
{
    VirtioBlk *b = (VirtioBlk *)dev;
    if (!vmr_drive_attach(dev, b->drive, &b->info, error))
        return false;
    b->v.offered = F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY | F_FLUSH;
    if (b->info.volatile_cache)
        b->v.offered |= F_CONFIG_WCE;
    if (b->queues > 1)
        b->v.offered |= F_MQ;
    if (b->info.read_only)
        b->v.offered |= F_RO;
    else
        b->v.offered |= F_WRITE_ZEROES | (b->info.discard ? F_DISCARD : 0);
    return virtio_realize(&b->v, &blk_type, b->queues, error);
}

static void blk_unrealize(VmrDevice *dev)
{
    vmr_drive_drain(dev, ((VirtioBlk *)dev)->drive);
    virtio_unrealize((VirtioDevice *)dev);
}

static void blk_device_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    virtio_device_reset((VirtioDevice *)dev, phase);
}

static void blk_pause(VmrDevice *dev)
{
    vmr_drive_drain(dev, ((VirtioBlk *)dev)->drive);
}

static void blk_resume(VmrDevice *dev)
{
    virtio_resume((VirtioDevice *)dev);
}

static bool blk_post_load(VmrDevice *dev, uint32_t version, GError **error)
{
    VirtioBlk *b = (VirtioBlk *)dev;
    b->writeback &= 1;
    fill_config(b);
    return virtio_post_load(&b->v, error);
}

static void blk_describe(VmrDevice *dev, VmrDescription *d)
{
    virtio_describe((VirtioDevice *)dev, d);
}

static const VmrProperty blk_properties[] = {
    {.name = "drive", .type = VMR_PROP_DRIVE, .flags = VMR_PROP_REQUIRED,
     .offset = offsetof(VirtioBlk, drive), .doc = "the [drive NAME] that holds the data"},
    {.name = "queues", .type = VMR_PROP_U32, .offset = offsetof(VirtioBlk, queues),
     .default_text = "1", .min = 1, .max = 32, .doc = "request queues; one for each CPU is best"},
    VIRTIO_PROPERTIES,
    {.name = NULL},
};

static const VmrRegion blk_regions[] = {VIRTIO_REGIONS, {.name = NULL}};

static const VmrLine blk_lines[] = {VIRTIO_LINES, {.name = NULL}};

static const VmrField blk_fields[] = {
    VIRTIO_FIELDS,
    VMR_FIELD(U8, VirtioBlk, writeback),
    {.name = NULL},
};

static const VmrDeviceClass blk_class = {
    .size = sizeof(VmrDeviceClass),
    .state_version = 1,
    .id = "virtio-blk",
    .summary = "virtio block device (a disk)",
    .doc = "On PCI with bus = pci0, or memory-mapped with regs = ADDRESS and irq = LINE. The disk's "
           "data is in a [drive NAME].",
    .instance_size = sizeof(VirtioBlk),
    .properties = blk_properties,
    .regions = blk_regions,
    .lines = blk_lines,
    .fields = blk_fields,
    .realize = blk_realize,
    .unrealize = blk_unrealize,
    .reset = blk_device_reset,
    .pause = blk_pause,
    .resume = blk_resume,
    .post_load = blk_post_load,
    .describe = blk_describe,
    .get_interface = virtio_get_interface,
};

VMR_PLUGIN_DEVICE("virtio-blk", "1.0", &blk_class);
