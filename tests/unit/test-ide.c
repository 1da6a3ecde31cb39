/* tests/unit/test-ide.c - the IDE controller: PIO, ATAPI, bus master, what hostile guests do. */
#include "fakehost.h"

#include <vmrun/pci.h>

enum { DATA, ERROR, COUNT, LBA0, LBA1, LBA2, DEVICE, STATUS };
enum { ERR = 0x01, DRQ = 0x08, DRDY = 0x40, BSY = 0x80 };

static VmrDevice *make(FakeHost *h, const char *properties)
{
    VmrDevice *d = fake_device_new(h, "ide", "ide0", properties);
    fake_reset(h, VMR_RESET_COLD);
    return d;
}

static unsigned status(VmrDevice *d)
{
    return (unsigned)fake_read(d, "primary-control", 0, 1);
}

static void out(VmrDevice *d, unsigned reg, unsigned value)
{
    fake_write(d, "primary", reg, value, 1);
}

static unsigned in(VmrDevice *d, unsigned reg)
{
    return (unsigned)fake_read(d, "primary", reg, 1);
}

static void command28(VmrDevice *d, unsigned unit, unsigned lba, unsigned count, unsigned command)
{
    out(d, DEVICE, 0xe0 | unit << 4 | lba >> 24);
    out(d, COUNT, count);
    out(d, LBA0, lba & 0xff);
    out(d, LBA1, lba >> 8 & 0xff);
    out(d, LBA2, lba >> 16 & 0xff);
    out(d, STATUS, command);
}

static void read_data(VmrDevice *d, uint8_t *to, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 2) {
        unsigned w = (unsigned)fake_read(d, "primary", DATA, 2);
        to[i] = (uint8_t)w;
        to[i + 1] = (uint8_t)(w >> 8);
    }
}

static void write_data(VmrDevice *d, const uint8_t *from, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 4)
        fake_write(d, "primary", DATA, from[i] | from[i + 1] << 8 | from[i + 2] << 16 |
                                           (uint32_t)from[i + 3] << 24, 4);
}

static void pattern(uint8_t *p, unsigned bytes, unsigned seed)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(i * 7 + i / 512 * 3 + seed);
}

static void test_presence(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "drive0=fake:1M");

    g_assert_cmphex(status(d), ==, 0x50);
    g_assert_cmphex(in(d, COUNT), ==, 1);
    g_assert_cmphex(in(d, LBA0), ==, 1);
    g_assert_cmphex(in(d, LBA1), ==, 0);
    out(d, DEVICE, 0xf0); /* no slave */
    g_assert_cmphex(in(d, STATUS), ==, 0);
    g_assert_cmphex(fake_read(d, "secondary", STATUS, 1), ==, 0xff); /* an empty channel */
    out(d, STATUS, 0xec);
    fake_advance(h, 0);
    g_assert_cmpuint(fake_irq_edges(d, "irq", 0), ==, 0);
    fake_host_free(h);
}

static void test_identify(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "drive0=fake:8M");
    uint8_t b[512];

    command28(d, 0, 0, 0, 0xec);
    g_assert_true(fake_irq_level(d, "irq", 0));
    g_assert_cmphex(in(d, STATUS), ==, 0x58);
    g_assert_false(fake_irq_level(d, "irq", 0));
    read_data(d, b, 512);
    g_assert_cmphex(status(d), ==, 0x50);
    g_assert_cmpuint(b[120] | b[121] << 8 | b[122] << 16, ==, 16384);
    g_assert_cmpuint(b[200] | b[201] << 8, ==, 16384);
    g_assert_cmpuint(b[6], ==, 16);
    g_assert_cmpint(memcmp(b + 20, "AFEK0-00", 8), ==, 0);
    g_assert_cmphex(b[99] & 1, ==, 0); /* no DMA on an ISA bus */
    g_assert_cmphex(b[213] << 8 | b[212], ==, 0x6003); /* 4 KiB blocks beneath */
    fake_host_free(h);
}

static void test_pio(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "drive0=fake:1M;drive1=fake:1M");
    uint8_t *disk = fake_drive_data(d, "drive0"), b[2048], p[2048];

    pattern(disk, 1 << 20, 1);
    command28(d, 0, 3, 2, 0x20);
    g_assert_cmphex(status(d), ==, BSY);
    out(d, LBA0, 0xff); /* a busy unit takes nothing */
    fake_advance(h, 0);
    g_assert_cmphex(status(d), ==, 0x58);
    g_assert_cmpuint(fake_irq_edges(d, "irq", 0), ==, 1);
    in(d, STATUS);
    read_data(d, b, 512);
    g_assert_cmpuint(fake_irq_edges(d, "irq", 0), ==, 2); /* one a sector */
    read_data(d, b + 512, 512);
    g_assert_cmpint(memcmp(b, disk + 3 * 512, 1024), ==, 0);
    g_assert_cmphex(status(d), ==, 0x50);
    g_assert_cmphex(fake_read(d, "primary", DATA, 2), ==, 0xffff);

    /* Writes to the slave, in blocks of 4. */
    pattern(p, sizeof(p), 9);
    out(d, DEVICE, 0xf0);
    out(d, COUNT, 4);
    out(d, STATUS, 0xc6);
    g_assert_cmphex(in(d, STATUS), ==, 0x50);
    command28(d, 1, 100, 4, 0xc5);
    g_assert_cmphex(status(d), ==, 0x58);
    g_assert_false(fake_irq_level(d, "irq", 0)); /* none for the first block */
    write_data(d, p, sizeof(p));
    g_assert_cmphex(status(d), ==, BSY);
    fake_advance(h, 0);
    g_assert_true(fake_irq_level(d, "irq", 0));
    g_assert_cmphex(in(d, STATUS), ==, 0x50);
    g_assert_cmpint(memcmp(fake_drive_data(d, "drive1") + 100 * 512, p, sizeof(p)), ==, 0);

    /* nIEN keeps the interrupt back. */
    fake_write(d, "primary-control", 0, 0x02, 1);
    command28(d, 0, 0, 1, 0x20);
    fake_advance(h, 0);
    g_assert_false(fake_irq_level(d, "irq", 0));
    fake_write(d, "primary-control", 0, 0x00, 1);
    g_assert_true(fake_irq_level(d, "irq", 0));

    /* Cylinder 0, head 1, sector 1. */
    out(d, DEVICE, 0xa1);
    out(d, COUNT, 1);
    out(d, LBA0, 1);
    out(d, LBA1, 0);
    out(d, LBA2, 0);
    out(d, STATUS, 0x20);
    fake_advance(h, 0);
    read_data(d, b, 512);
    g_assert_cmpint(memcmp(b, disk + 63 * 512, 512), ==, 0);
    fake_host_free(h);
}

static void test_large(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "drive0=fake:4M");
    uint8_t *disk = fake_drive_data(d, "drive0"), b[512];

    pattern(disk, 4 << 20, 5);
    out(d, DEVICE, 0xe0);
    for (unsigned i = 0; i < 2; i++) { /* 0x0400 = 1024 sectors from 7000 = 0x1b58 on */
        out(d, COUNT, i ? 0x00 : 0x04);
        out(d, LBA0, i ? 0x58 : 0);
        out(d, LBA1, i ? 0x1b : 0);
        out(d, LBA2, 0);
    }
    g_assert_cmphex(in(d, COUNT), ==, 0);
    fake_write(d, "primary-control", 0, 0x80, 1);
    g_assert_cmphex(in(d, COUNT), ==, 4);
    out(d, STATUS, 0x24);
    for (unsigned i = 0; i < 1024; i++) {
        if (i % 256 == 0) {
            g_assert_cmphex(status(d), ==, BSY);
            fake_advance(h, 0);
        }
        g_assert_cmphex(in(d, STATUS), ==, 0x58);
        read_data(d, b, 512);
        g_assert_cmpint(memcmp(b, disk + (7000 + i) * 512, 512), ==, 0);
    }
    g_assert_cmphex(in(d, STATUS), ==, 0x50);
    g_assert_cmpuint(fake_drive_requests(d, "drive0"), ==, 4);
    fake_host_free(h);
}

static void test_errors(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "drive0=fake:1M;drive1=fake:1M:ro");

    command28(d, 0, 2048, 1, 0x20); /* beyond the end */
    g_assert_cmphex(in(d, STATUS), ==, 0x51);
    g_assert_cmphex(in(d, ERROR), ==, 0x10);
    command28(d, 0, 2047, 2, 0x30);
    g_assert_cmphex(in(d, ERROR), ==, 0x10);
    command28(d, 1, 0, 1, 0x30); /* read only */
    g_assert_cmphex(in(d, ERROR), ==, 0x04);
    command28(d, 0, 0, 1, 0xc4); /* no multiple mode is set */
    g_assert_cmphex(in(d, ERROR), ==, 0x04);
    command28(d, 0, 0, 1, 0xc8); /* no bus master */
    g_assert_cmphex(in(d, ERROR), ==, 0x04);
    command28(d, 0, 0, 1, 0xa0); /* a disk takes no packets */
    g_assert_cmphex(in(d, ERROR), ==, 0x04);
    fake_drive_fail(d, "drive0", 5);
    command28(d, 0, 0, 1, 0x20);
    fake_advance(h, 0);
    g_assert_cmphex(in(d, STATUS), ==, 0x51);
    g_assert_cmphex(in(d, ERROR), ==, 0x40);
    fake_drive_fail(d, "drive0", 0);
    command28(d, 0, 0, 0, 0xe7); /* flush */
    g_assert_cmphex(status(d), ==, BSY);
    fake_advance(h, 0);
    g_assert_cmphex(in(d, STATUS), ==, 0x50);
    /* Software reset, with a request in flight. */
    command28(d, 0, 0, 1, 0x20);
    fake_write(d, "primary-control", 0, 0x04, 1);
    g_assert_cmphex(status(d), ==, BSY);
    fake_write(d, "primary-control", 0, 0x00, 1);
    g_assert_cmphex(status(d), ==, BSY);
    fake_advance(h, 0);
    g_assert_cmphex(status(d), ==, 0x50);
    g_assert_cmphex(in(d, ERROR), ==, 1);
    /* A reset of the machine. */
    command28(d, 0, 0, 1, 0x20);
    fake_reset(h, VMR_RESET_WARM);
    g_assert_cmphex(status(d), ==, 0x50);
    g_assert_false(fake_irq_level(d, "irq", 0));
    fake_host_free(h);
}

/* The reply of a packet; how many bytes. */
static unsigned packet(FakeHost *h, VmrDevice *d, const char *hex, uint8_t *reply, unsigned room)
{
    uint8_t p[12] = {0};
    unsigned got = 0;
    for (unsigned i = 0; hex[2 * i]; i++)
        p[i] = (uint8_t)(g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]));
    out(d, DEVICE, 0xa0);
    out(d, ERROR, 0);
    out(d, LBA1, 0x00);
    out(d, LBA2, 0x08);
    out(d, STATUS, 0xa0);
    g_assert_cmphex(in(d, STATUS), ==, 0x58);
    g_assert_cmphex(in(d, COUNT), ==, 1); /* a command is wanted */
    write_data(d, p, 12);
    fake_advance(h, 0);
    while (status(d) & DRQ) {
        unsigned n = in(d, LBA1) | in(d, LBA2) << 8;
        g_assert_cmphex(in(d, COUNT), ==, 2);
        g_assert_cmpuint(n, <=, 0x800);
        g_assert_cmpuint(got + n, <=, room);
        read_data(d, reply + got, n);
        got += n;
        fake_advance(h, 0);
    }
    g_assert_cmphex(in(d, COUNT), ==, 3);
    return got;
}

static void test_cdrom(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *d = make(h, "drive0=fake:2M:ro;kind0=cdrom");
    uint8_t *disc = fake_drive_data(d, "drive0"), *b = g_malloc(1 << 20);

    pattern(disc, 2 << 20, 3);
    g_assert_cmphex(in(d, LBA1), ==, 0x14);
    g_assert_cmphex(in(d, LBA2), ==, 0xeb);
    out(d, STATUS, 0xec);
    g_assert_cmphex(in(d, STATUS) & ERR, ==, ERR);
    g_assert_cmphex(in(d, LBA1), ==, 0x14);
    out(d, STATUS, 0xa1);
    read_data(d, b, 512);
    g_assert_cmphex(b[0] | b[1] << 8, ==, 0x85c0);
    packet(h, d, "00", b, 0); /* unit attention, once */
    g_assert_cmphex(in(d, STATUS) & ERR, ==, ERR);
    g_assert_cmpuint(packet(h, d, "030000001200", b, 18), ==, 18);
    g_assert_cmphex(b[2] << 8 | b[12], ==, 0x0629);
    packet(h, d, "00", b, 0);
    g_assert_cmphex(in(d, STATUS) & ERR, ==, 0);
    g_assert_cmpuint(packet(h, d, "120000002400", b, 36), ==, 36);
    g_assert_cmphex(b[0], ==, 5);
    g_assert_cmpuint(packet(h, d, "25", b, 8), ==, 8);
    g_assert_cmphex(b[2] << 8 | b[3], ==, 1023);
    g_assert_cmpuint(packet(h, d, "43000000000000000c00", b, 12), ==, 12);
    g_assert_cmphex(b[6], ==, 1);
    /* 100 blocks from 5 on: two requests to the drive. */
    g_assert_cmpuint(packet(h, d, "28000000000500006400", b, 204800), ==, 204800);
    g_assert_cmpint(memcmp(b, disc + 5 * 2048, 204800), ==, 0);
    packet(h, d, "28000000040000000100", b, 0); /* beyond the end */
    g_assert_cmpuint(packet(h, d, "030000001200", b, 18), ==, 18);
    g_assert_cmphex(b[2] << 8 | b[12], ==, 0x0521);
    packet(h, d, "ff", b, 0);
    g_assert_cmphex(in(d, ERROR), ==, 0x54);
    g_free(b);
    fake_host_free(h);
}

/* ---- DMA --------------------------------------------------------------- */

static void bm_start(VmrDevice *d, uint32_t table, unsigned direction)
{
    fake_write(d, "bus-master", 4, table, 4);
    fake_write(d, "bus-master", 2, 0x06, 1);
    fake_write(d, "bus-master", 0, direction, 1);
    fake_write(d, "bus-master", 0, direction | 1, 1);
}

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static VmrDevice *make_pci(FakeHost *h)
{
    fake_device_new(h, "pci-host", "pci0", "");
    VmrDevice *d = make(h, "drive0=fake:1M;bus=@pci0");
    const VmrPciFunctionInterface *fn = vmr_device_interface(d, VMR_PCI_FUNCTION);
    vmr_pci_state(d, fn)->config[VMR_PCI_COMMAND] |= VMR_PCI_COMMAND_MASTER;
    return d;
}

static void test_dma(void)
{
    FakeHost *h = fake_host_new(1 << 20, 1);
    VmrDevice *d = make_pci(h);
    uint8_t *disk = fake_drive_data(d, "drive0"), *ram = fake_ram(h);

    pattern(disk, 1 << 20, 2);
    put32(ram + 0x1000, 0x20000);
    put32(ram + 0x1004, 0x600);
    put32(ram + 0x1008, 0x30000);
    put32(ram + 0x100c, 0x80000a00);
    command28(d, 0, 10, 8, 0xc8);
    fake_advance(h, 0);
    g_assert_false(fake_irq_level(d, "irq", 0));
    bm_start(d, 0x1000, 8);
    g_assert_true(fake_irq_level(d, "irq", 0));
    g_assert_cmphex(fake_read(d, "bus-master", 2, 1), ==, 0x04);
    g_assert_cmphex(in(d, STATUS), ==, 0x50);
    g_assert_cmpint(memcmp(ram + 0x20000, disk + 10 * 512, 0x600), ==, 0);
    g_assert_cmpint(memcmp(ram + 0x30000, disk + 10 * 512 + 0x600, 0xa00), ==, 0);
    fake_write(d, "bus-master", 0, 0, 1);

    /* A write, the bus master first. */
    pattern(ram + 0x20000, 0x1000, 77);
    bm_start(d, 0x1000, 0);
    g_assert_cmphex(fake_read(d, "bus-master", 2, 1), ==, 0x01);
    command28(d, 0, 50, 8, 0xca);
    fake_advance(h, 0);
    g_assert_cmphex(fake_read(d, "bus-master", 2, 1), ==, 0x04);
    g_assert_cmphex(in(d, STATUS), ==, 0x50);
    g_assert_cmpint(memcmp(ram + 0x20000, disk + 50 * 512, 0x600), ==, 0);
    fake_write(d, "bus-master", 0, 0, 1);

    /* A table that is too short. */
    command28(d, 0, 50, 9, 0xc8);
    fake_advance(h, 0);
    bm_start(d, 0x1000, 8);
    g_assert_cmphex(fake_read(d, "bus-master", 2, 1) & 0x03, ==, 0x02);
    g_assert_cmphex(in(d, STATUS) & ERR, ==, ERR);
    fake_write(d, "bus-master", 0, 0, 1);

    /* Outside of RAM. */
    command28(d, 0, 50, 1, 0xc8);
    fake_advance(h, 0);
    bm_start(d, 0xfffffff8, 8);
    g_assert_cmphex(fake_read(d, "bus-master", 2, 1) & 0x03, ==, 0x02);
    fake_host_free(h);
}

/* ---- state and hostility ----------------------------------------------- */

static void test_save_load(void)
{
    FakeHost *h = fake_host_new(0, 1);
    VmrDevice *a = make(h, "drive0=fake:1M");
    VmrDevice *b = fake_device_new(h, "ide", "ide1", "drive0=fake:1M");
    uint8_t *disk = fake_drive_data(a, "drive0"), got[1024];

    pattern(disk, 1 << 20, 4);
    command28(a, 0, 8, 2, 0x20);
    fake_advance(h, 0);
    read_data(a, got, 600);
    fake_save_load(a, b);
    read_data(b, got + 600, 424);
    g_assert_cmpint(memcmp(got, disk + 8 * 512, 1024), ==, 0);
    g_assert_cmphex(status(b), ==, 0x50);
    /* What cannot be is refused. */
    static const char *const fields[] = {"phase", "pos", "drq_end", "len", "left", "offset", "op"};
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        g_autofree char *name = g_strdup_printf("channel[0].%s", fields[i]);
        g_autoptr(GError) error = NULL;
        fake_save_load(a, b);
        fake_field_set(b, name, 0, UINT64_MAX);
        g_assert_false(fake_post_load(b, &error));
        g_assert_nonnull(error);
        fake_reset(h, VMR_RESET_COLD);
        command28(a, 0, 8, 2, 0x20);
        fake_advance(h, 0);
    }
    fake_host_free(h);
}

static void test_hostile(void)
{
    static const uint8_t commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0xa0, 0xa1,
                                       0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xce, 0xe7, 0xec, 0xef, 0x90,
                                       0x91, 0x3d, 0x08, 0xf8, 0x27, 0x40};
    FakeHost *h = fake_host_new(1 << 16, 1);
    VmrDevice *p = fake_device_new(h, "pci-host", "pci0", "");
    VmrDevice *d = make(h, "bus=@pci0;drive0=fake:1M;drive1=fake:64K:ro;drive2=fake:1M:ro;"
                           "kind2=cdrom");
    const VmrPciFunctionInterface *fn = vmr_device_interface(d, VMR_PCI_FUNCTION);
    const char *const blocks[] = {"primary", "secondary"};
    const char *const controls[] = {"primary-control", "secondary-control"};

    for (unsigned i = 0; i < 150000; i++) {
        unsigned c = fake_random(h, 2);
        switch (fake_random(h, 12)) {
        case 0:
            fake_write(d, blocks[c], STATUS, commands[fake_random(h, sizeof(commands))], 1);
            break;
        case 1:
            fake_write(d, blocks[c], STATUS, fake_random(h, 256), 1);
            break;
        case 2:
        case 3:
            fake_write(d, blocks[c], fake_random(h, 8), fake_random(h, 4) ? fake_random(h, 8) : 0xff,
                       1);
            break;
        case 4:
            for (unsigned n = fake_random(h, 400); n > 0; n--)
                fake_write(d, blocks[c], DATA, fake_random(h, 0), 4);
            break;
        case 5:
            for (unsigned n = fake_random(h, 400); n > 0; n--)
                fake_read(d, blocks[c], DATA, 1u << fake_random(h, 3));
            break;
        case 6:
            fake_write(d, controls[c], 0, fake_random(h, 20) ? 0 : fake_random(h, 256), 1);
            break;
        case 7:
            fake_write(d, "bus-master", fake_random(h, 13), fake_random(h, 0), 4);
            break;
        case 8:
            bm_start(d, fake_random(h, 3) ? fake_random(h, 1 << 16) : fake_random(h, 0),
                     fake_random(h, 2) * 8);
            break;
        case 9:
            fake_read(d, blocks[c], fake_random(h, 8), 1);
            vmr_pci_state(d, fn)->config[VMR_PCI_COMMAND] = fake_random(h, 8);
            break;
        case 10:
            put32(fake_ram(h) + fake_random(h, (1 << 16) - 4), fake_random(h, 0));
            break;
        case 11:
            if (fake_random(h, 500) == 0)
                fake_reset(h, VMR_RESET_WARM);
            fake_advance(h, 0);
            break;
        }
    }
    g_assert_nonnull(p);
    fake_host_free(h); /* perhaps with requests in flight */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ide/presence", test_presence);
    g_test_add_func("/ide/identify", test_identify);
    g_test_add_func("/ide/pio", test_pio);
    g_test_add_func("/ide/large", test_large);
    g_test_add_func("/ide/errors", test_errors);
    g_test_add_func("/ide/cdrom", test_cdrom);
    g_test_add_func("/ide/dma", test_dma);
    g_test_add_func("/ide/save-load", test_save_load);
    g_test_add_func("/ide/hostile", test_hostile);
    return g_test_run();
}
