/*
 * tests/unit/virtiofixture.h - a driver of a virtio device on MMIO with split rings, VIRTIO 1.2, 4.2.2
 * and 2.7.
 *
 * Queue q has its descriptors, available and used ring in a page each, from RING on.
 */
#ifndef VIRTIOFIXTURE_H
#define VIRTIOFIXTURE_H

#include "fakehost.h"

#include <string.h>

enum { SIZE = 16 /* of a queue */, QUEUES_MAX = 5, RING = 0x1000, PAGE = 0x1000, NEXT = 1, WRITE = 2 };

#define F_VERSION_1 (1ull << 32)

typedef struct Driver {
    FakeHost *h;
    VmrDevice *dev;
    uint16_t avail[QUEUES_MAX];
} Driver;

static inline void reg(Driver *d, unsigned offset, uint32_t value)
{
    fake_write(d->dev, "regs", offset, value, 4);
}

static inline uint8_t status(Driver *d)
{
    return (uint8_t)fake_read(d->dev, "regs", 0x70, 4);
}

static inline void put(Driver *d, uint64_t at, uint64_t value, unsigned size)
{
    memcpy(fake_ram(d->h) + at, &value, size);
}

static inline unsigned used(Driver *d, unsigned q)
{
    uint16_t value;
    memcpy(&value, fake_ram(d->h) + RING + (3 * q + 2) * PAGE + 2, 2);
    return value;
}

static inline void enable(Driver *d, unsigned q)
{
    reg(d, 0x30, q);
    reg(d, 0x38, SIZE);
    for (unsigned i = 0; i < 3; i++)
        reg(d, 0x80 + 0x10 * i, RING + (3 * q + i) * PAGE);
    reg(d, 0x44, 1);
}

/* Reset it, and have it work with these features and queues. */
static inline void start(Driver *d, uint64_t features, unsigned queues)
{
    memset(fake_ram(d->h) + RING, 0, 3 * QUEUES_MAX * PAGE);
    memset(d->avail, 0, sizeof(d->avail));
    reg(d, 0x70, 0);
    reg(d, 0x70, 3);
    for (unsigned half = 0; half < 2; half++) {
        reg(d, 0x24, half);
        reg(d, 0x20, (uint32_t)((features | F_VERSION_1) >> (32 * half)));
    }
    reg(d, 0x70, 0xb);
    g_assert_cmphex(status(d), ==, 0xb);
    for (unsigned q = 0; q < queues; q++)
        enable(d, q);
    reg(d, 0x70, 0xf);
    g_assert_cmphex(status(d), ==, 0xf);
}

/* The chain that begins with descriptor `head` is available: tell. */
static inline void make_available(Driver *d, unsigned q, unsigned head)
{
    uint64_t ring = RING + (3 * q + 1) * PAGE;
    put(d, ring + 4 + 2 * (d->avail[q] % SIZE), head, 2);
    put(d, ring + 2, ++d->avail[q], 2);
    reg(d, 0x50, q);
}

static inline void describe(Driver *d, unsigned q, unsigned n, uint64_t at, uint32_t length, uint16_t flags,
                            uint16_t next)
{
    uint64_t ring = RING + 3 * q * PAGE + 16 * n;
    put(d, ring, at, 8);
    put(d, ring + 8, length, 4);
    put(d, ring + 12, flags, 2);
    put(d, ring + 14, next, 2);
}

/* A new device with these properties beside its registers' place, after a cold reset. */
static inline Driver driver(const char *plugin, const char *properties)
{
    Driver d = {.h = fake_host_new(1 << 20, 1)};
    char *text = g_strdup_printf("regs=0x10000000;%s", properties);
    d.dev = fake_device_new(d.h, plugin, "dev", text);
    g_free(text);
    fake_reset(d.h, VMR_RESET_COLD);
    return d;
}

#endif
