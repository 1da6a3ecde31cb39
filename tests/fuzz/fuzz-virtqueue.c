/*
 * fuzz-virtqueue - rings of virtio devices, split and packed, rewritten while they are read.
 *
 * An input: which device, which features the driver takes, then what the driver does: descriptors,
 * heads, bytes anywhere in memory, notifications, registers, input for the device, and bytes that
 * change just before the device's Nth read from now.
 */
#include "fuzz.h"
#include "tests/unit/fakehost.h"

enum {
    QUEUES = 6,
    SIZE = 8,            /* of each queue */
    RING = 0x400,        /* bytes of a queue's rings: descriptors, ... */
    AVAIL = 0x100,       /* ... from there on the driver area */
    USED = 0x200,        /* and the device area */
    TABLES = 0x2000,     /* indirect descriptors */
    RAM = 0x10000,

    R_DRIVER_FEATURES = 0x20,
    R_DRIVER_SEL = 0x24,
    R_QUEUE_SEL = 0x30,
    R_QUEUE_NUM = 0x38,
    R_QUEUE_READY = 0x44,
    R_NOTIFY = 0x50,
    R_STATUS = 0x70,
    R_DESC = 0x80,
    R_DRIVER = 0x90,
    R_DEVICE = 0xa0,

    CHANGES = 16,
};

#define F_PACKED (UINT64_C(1) << 34)

static const struct {
    const char *plugin, *properties;
} devices[] = {
    {"virtio-blk", "regs=0x1000;drive=fake:64K;packed=on"},
    {"virtio-net", "regs=0x1000;net=fake:offloads;packed=on"},
    {"virtio-console", "regs=0x1000;chardev=fake;packed=on"},
    {"virtio-rng", "regs=0x1000;packed=on"},
    {"virtio-balloon", "regs=0x1000;packed=on"},
};

/* A byte that changes: when `reads` more reads have been done. */
typedef struct Change {
    uint8_t reads, value;
    uint16_t address;
} Change;

typedef struct Driver {
    FakeHost *h;
    VmrDevice *dev;
    unsigned kind; /* of devices[] */
    uint64_t features;
    Change change[CHANGES];
    unsigned changes;
} Driver;

static void reg(Driver *d, unsigned offset, uint32_t value)
{
    fake_write(d->dev, "regs", offset, value, 4);
}

static void put(Driver *d, uint64_t at, uint64_t value, unsigned size)
{
    memcpy(fake_ram(d->h) + at % (RAM - 8), &value, size);
}

static void before_read(FakeHost *h, void *data)
{
    Driver *d = data;
    for (unsigned i = 0; i < d->changes;) {
        Change *c = &d->change[i];
        if (c->reads--) {
            i++;
            continue;
        }
        fake_ram(h)[c->address] = c->value;
        *c = d->change[--d->changes];
    }
}

static void start(Driver *d)
{
    reg(d, R_STATUS, 0);
    reg(d, R_STATUS, 3);
    for (unsigned i = 0; i < 2; i++) {
        reg(d, R_DRIVER_SEL, i);
        reg(d, R_DRIVER_FEATURES, (uint32_t)(d->features >> (32 * i)));
    }
    reg(d, R_STATUS, 0xb);
    memset(fake_ram(d->h), 0, QUEUES * RING);
    for (unsigned q = 0; q < QUEUES; q++) {
        reg(d, R_QUEUE_SEL, q);
        reg(d, R_QUEUE_NUM, SIZE);
        reg(d, R_DESC, q * RING);
        reg(d, R_DRIVER, q * RING + AVAIL);
        reg(d, R_DEVICE, q * RING + USED);
        reg(d, R_QUEUE_READY, 1);
    }
    reg(d, R_STATUS, 0xf);
}

/* A descriptor of a ring, or of the one indirect table. */
static void descriptor(Driver *d, FuzzInput *in)
{
    unsigned where = (unsigned)fuzz_take(in, 1), index = (unsigned)fuzz_take(in, 1);
    uint64_t table = where < 0x80 ? where % QUEUES * RING : TABLES;
    uint64_t at = table + 16 * (index % SIZE);
    uint64_t address = fuzz_take(in, 2), length = fuzz_take(in, 2);
    uint16_t flags = (uint16_t)fuzz_take(in, 2), other = (uint16_t)fuzz_take(in, 1);
    put(d, at, address, 8);
    put(d, at + 8, length, 4);
    put(d, at + 12, d->features & F_PACKED ? other : flags, 2);
    put(d, at + 14, d->features & F_PACKED ? flags : other, 2);
}

static void offer(Driver *d, FuzzInput *in)
{
    unsigned q = (unsigned)fuzz_take(in, 1) % QUEUES, head = (unsigned)fuzz_take(in, 1);
    uint64_t avail = q * RING + AVAIL;
    uint16_t index;
    memcpy(&index, fake_ram(d->h) + avail + 2, 2);
    put(d, avail + 4 + 2 * (index % SIZE), head, 2);
    put(d, avail + 2, index + 1u, 2);
}

static void give(Driver *d, FuzzInput *in)
{
    uint8_t bytes[256];
    size_t n = fuzz_copy(in, bytes, (size_t)fuzz_take(in, 1));
    VmrBuffer all = {bytes, n};
    VmrNetFrame frame = {.buffers = &all, .buffer_count = 1};
    if (!strcmp(devices[d->kind].plugin, "virtio-console"))
        fake_chardev_input(d->dev, bytes, (unsigned)n);
    else if (!strcmp(devices[d->kind].plugin, "virtio-net") && n >= 14)
        fake_net_input(d->dev, &frame);
}

static void step(Driver *d, FuzzInput *in)
{
    unsigned op = (unsigned)fuzz_take(in, 1), n;
    uint64_t at;
    switch (op % 10) {
    case 0:
    case 1:
        descriptor(d, in);
        break;
    case 2:
        offer(d, in);
        break;
    case 3:
        reg(d, R_NOTIFY, (uint32_t)fuzz_take(in, 1) % QUEUES);
        break;
    case 4:
        fake_advance(d->h, (int64_t)fuzz_take(in, 2));
        break;
    case 5:
        at = fuzz_take(in, 2);
        n = 1 + (unsigned)fuzz_take(in, 1) % 32;
        fuzz_copy(in, fake_ram(d->h) + at % (RAM - n), n);
        break;
    case 6:
        if (d->changes < CHANGES) {
            Change *c = &d->change[d->changes++];
            c->reads = (uint8_t)fuzz_take(in, 1);
            c->address = (uint16_t)fuzz_take(in, 2);
            c->value = (uint8_t)fuzz_take(in, 1);
        }
        break;
    case 7:
        give(d, in);
        break;
    case 8:
        n = 1u << fuzz_take(in, 1) % 3;
        at = fuzz_take(in, 2) % 0x200;
        fake_write(d->dev, "regs", at, fuzz_take(in, n), n);
        fake_read(d->dev, "regs", at, n);
        break;
    case 9:
        start(d);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FakeHost *keep; /* so that the plugins stay loaded */
    if (!keep) {
        keep = fake_host_new(0, 0);
        for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++)
            fake_device_new(keep, devices[i].plugin, devices[i].plugin, devices[i].properties);
    }
    FuzzInput in = {data, size};
    Driver d = {.h = fake_host_new(RAM, 1)};
    d.kind = (unsigned)fuzz_take(&in, 1) % G_N_ELEMENTS(devices);
    d.features = fuzz_take(&in, 5) | UINT64_C(1) << 32;
    d.dev = fake_device_new(d.h, devices[d.kind].plugin, "dev", devices[d.kind].properties);
    fake_reset(d.h, VMR_RESET_COLD);
    /* Of what was not offered, the device will have none: leave that out. */
    for (unsigned i = 0; i < 2; i++) {
        reg(&d, 0x14, i);
        uint64_t offered = fake_read(d.dev, "regs", 0x10, 4);
        d.features &= offered << (32 * i) | (i ? UINT32_MAX : UINT64_C(0xffffffff00000000));
    }
    start(&d);
    fake_dma_hook(d.h, before_read, &d);
    while (in.left)
        step(&d, &in);
    fake_advance(d.h, 0);
    fake_dma_hook(d.h, NULL, NULL);
    fake_host_free(d.h);
    return 0;
}
