/*
 * ide.h - what the parts of the IDE controller share.
 *
 * A channel holds two units, disks or CD-ROM drives, and moves data through one buffer:
 *
 *   drive <-> buf <-> data port (PIO), or guest memory (bus master)
 *
 * A command is a chain of chunks of at most a buffer.  While a chunk is on its way from or to
 * the drive the channel is in IDE_DRIVE, and BSY.  Register names are those of ATA/ATAPI-6.
 */
#ifndef IDE_H
#define IDE_H

#include <vmrun/pci.h>

#include <errno.h>
#include <string.h>

enum {
    IDE_SECTOR = 512,
    IDE_CD_BLOCK = 2048,
    IDE_BUFFER = 256 * IDE_SECTOR,
    IDE_MULTIPLE_MAX = 16,
    IDE_PACKET = 12,
    IDE_HEADS = 16, /* as the disk presents itself */
    IDE_SPT = 63,
    IDE_PRD_MAX = 8192, /* descriptors in a table: it may not cross 64 KiB */

    /* command block registers */
    IDE_DATA = 0,
    IDE_ERROR = 1, /* write: features */
    IDE_COUNT = 2, /* ATAPI: interrupt reason */
    IDE_LBA0 = 3,
    IDE_LBA1 = 4, /* ATAPI: byte count */
    IDE_LBA2 = 5,
    IDE_DEVICE = 6,
    IDE_STATUS = 7, /* write: command */

    STATUS_ERR = 1 << 0,
    STATUS_DRQ = 1 << 3,
    STATUS_DSC = 1 << 4,
    STATUS_DRDY = 1 << 6,
    STATUS_BSY = 1 << 7,

    ERROR_ABRT = 1 << 2,
    ERROR_IDNF = 1 << 4,
    ERROR_UNC = 1 << 6,

    DEVICE_DEV = 1 << 4,
    DEVICE_LBA = 1 << 6,

    CONTROL_NIEN = 1 << 1,
    CONTROL_SRST = 1 << 2,
    CONTROL_HOB = 1 << 7,

    REASON_CD = 1 << 0, /* a command packet, not data */
    REASON_IO = 1 << 1, /* to the host */

    BM_COMMAND = 0,
    BM_STATUS = 2,
    BM_PRDT = 4,
    BM_START = 1 << 0,
    BM_TO_MEMORY = 1 << 3,
    BM_ACTIVE = 1 << 0,
    BM_ERROR = 1 << 1,
    BM_INTERRUPT = 1 << 2,
    BM_DRIVES = 0x60, /* for software */
};

typedef enum IdePhase {
    IDE_IDLE,
    IDE_DRIVE, /* the drive works: a request is in flight, or held back by a pause */
    IDE_IN,    /* the guest reads buf by the data port */
    IDE_OUT,   /* the guest writes it */
    IDE_DMA,   /* waits for the bus master */
    IDE_PACKET_OUT,
    IDE_RESET, /* as IDE_DRIVE, but what comes is thrown away */
    IDE_PHASES,
} IdePhase;

typedef struct IdeUnit {
    VmrDrive *drive; /* property; NULL: no unit */
    uint32_t kind;   /* property: 0 disk, 1 CD-ROM */
    VmrDriveInfo info;
    uint64_t size; /* bytes, whole sectors or CD blocks */
    uint8_t regs[8][2]; /* as written; [1]: the time before (LBA48) */
    uint8_t status, error;
    uint8_t multiple; /* sectors; 0: off */
    uint8_t heads, spt;
    uint8_t mwdma, udma; /* chosen mode + 1; 0: none */
    bool write_cache;
    uint8_t sense_key, sense_code; /* ATAPI */
    bool attention;                /* ATAPI: it was reset, and nobody was told */
} IdeUnit;

typedef struct Ide Ide;

typedef struct IdeChannel {
    Ide *ide;
    IdeUnit unit[2];
    uint8_t device, control;
    bool intrq;
    /* the command */
    uint8_t phase, op; /* op: VmrDriveOp of the chunk */
    bool write, dma, fua, packet;
    uint64_t offset, left; /* bytes of the drive after what is in buf */
    uint32_t pos, drq_end, len, block; /* in buf; block: bytes of one DRQ */
    /* the bus master */
    uint8_t bm_command, bm_status;
    uint32_t prdt, prd_at, prd_base, prd_left, prd_count;
    bool prd_last;
    /* the request in flight */
    VmrDriveRequest request;
    VmrBuffer buffer;
    bool in_flight;
    uint8_t buf[IDE_BUFFER];
} IdeChannel;

struct Ide {
    VmrDevice dev;
    IdeChannel channel[2];
    VmrLink bus; /* property: vmr.pci-bus/1 */
    const char *slot;
    VmrPciState pci;
    VmrIrq irq[2];
    bool paused;
};

static inline IdeUnit *ide_unit(IdeChannel *c)
{
    return &c->unit[c->device & DEVICE_DEV ? 1 : 0];
}

static inline bool ide_is_cd(const IdeUnit *u)
{
    return u->kind == 1;
}

/* ide.c: what takes the host. */
void ide_submit(IdeChannel *c, VmrDriveOp op); /* the chunk: offset, len, buf */
void ide_set_irq(IdeChannel *c);               /* intrq or nIEN may have changed */
bool ide_has_dma(const IdeChannel *c);

/* channel.c */
uint8_t ide_read(IdeChannel *c, unsigned reg);
void ide_write(IdeChannel *c, unsigned reg, uint8_t value);
uint32_t ide_data_read(IdeChannel *c, unsigned size);
void ide_data_write(IdeChannel *c, uint32_t value, unsigned size);
uint8_t ide_alt_status(IdeChannel *c);
void ide_control(IdeChannel *c, uint8_t value);
void ide_channel_reset(IdeChannel *c); /* power-on; nothing is in flight */
void ide_drive_done(IdeChannel *c, int error);
bool ide_channel_check(IdeChannel *c); /* after loading */
void ide_raise(IdeChannel *c);
void ide_finish(IdeChannel *c); /* the command is done: status and interrupt */
void ide_fail(IdeChannel *c, uint8_t error);
void ide_reply(IdeChannel *c, uint32_t len); /* buf to the guest, by PIO or by DMA */
void ide_begin(IdeChannel *c, bool write, uint64_t offset, uint64_t length);
void ide_moved(IdeChannel *c); /* the bus master has moved all of buf */

/* disk.c, atapi.c, dma.c */
void ide_disk_command(IdeChannel *c, uint8_t command);
void ide_identify(const IdeChannel *c, const IdeUnit *u, uint8_t out[IDE_SECTOR]);
void ide_cd_packet(IdeChannel *c);
void ide_cd_fail(IdeChannel *c, uint8_t key, uint8_t code);
void ide_dma_try(IdeChannel *c);
uint8_t ide_bm_read(IdeChannel *c, unsigned reg);
void ide_bm_write(IdeChannel *c, unsigned reg, uint8_t value);

#endif
