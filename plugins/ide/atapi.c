/*
 * atapi.c - a CD-ROM drive: the packets that systems send to boot and mount a disc.
 *
 * After SFF-8020i and MMC-3.  One data track of 2048-byte blocks, whose content is the
 * image.  Leaves out audio, writing, subchannels and changing the disc.
 */
#include "ide.h"

enum {
    KEY_ILLEGAL_REQUEST = 5,
    KEY_UNIT_ATTENTION = 6,
    ASC_INVALID_COMMAND = 0x20,
    ASC_OUT_OF_RANGE = 0x21,
    ASC_INVALID_FIELD = 0x24,
    ASC_RESET = 0x29,
};

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)be16(p) << 16 | be16(p + 2);
}

static void put_be(uint8_t *p, uint32_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

void ide_cd_fail(IdeChannel *c, uint8_t key, uint8_t code)
{
    IdeUnit *u = ide_unit(c);
    u->sense_key = key;
    u->sense_code = code;
    ide_fail(c, (uint8_t)(key << 4) | ERROR_ABRT);
}

static uint32_t block_count(const IdeUnit *u)
{
    return (uint32_t)MIN(u->size / IDE_CD_BLOCK, UINT32_MAX);
}

/* At most what the packet allows of the `length` bytes in buf. */
static void reply(IdeChannel *c, uint32_t length, uint32_t allowed)
{
    length = MIN(length, allowed);
    if (length)
        ide_reply(c, length);
    else
        ide_finish(c);
}

static void inquiry(IdeChannel *c, uint32_t allowed)
{
    uint8_t *b = c->buf;
    memset(b, 0, 36);
    b[0] = 0x05; /* CD-ROM */
    b[1] = 0x80; /* removable */
    b[3] = 0x21; /* ATAPI */
    b[4] = 31;
    memcpy(b + 8, "VMRUN   CD-ROM          1.0 ", 28);
    reply(c, 36, allowed);
}

static void request_sense(IdeChannel *c, uint32_t allowed)
{
    IdeUnit *u = ide_unit(c);
    uint8_t *b = c->buf;
    memset(b, 0, 18);
    b[0] = 0x70;
    b[2] = u->sense_key;
    b[7] = 10;
    b[12] = u->sense_code;
    u->sense_key = u->sense_code = 0;
    reply(c, 18, allowed);
}

/* Minutes, seconds and frames, as addresses of discs are. */
static void put_msf(uint8_t *p, uint32_t block)
{
    block += 150;
    p[0] = 0;
    p[1] = (uint8_t)(block / (60 * 75));
    p[2] = block / 75 % 60;
    p[3] = block % 75;
}

static uint8_t *put_track(uint8_t *p, uint8_t track, uint32_t block, bool msf)
{
    memset(p, 0, 8);
    p[1] = 0x14; /* a data track */
    p[2] = track;
    if (msf)
        put_msf(p + 4, block);
    else
        put_be(p + 4, block, 4);
    return p + 8;
}

static void read_toc(IdeChannel *c, const uint8_t *packet)
{
    const IdeUnit *u = ide_unit(c);
    uint8_t *b = c->buf, *end = b + 4;
    bool msf = packet[1] & 2;
    unsigned format = packet[2] & 0x0f ? packet[2] & 0x0f : packet[9] >> 6, first = packet[6];
    memset(b, 0, 4);
    b[2] = b[3] = 1;
    if (format == 0 && (first <= 1 || first == 0xaa)) {
        if (first <= 1)
            end = put_track(end, 1, 0, msf);
        end = put_track(end, 0xaa, block_count(u), msf);
    } else if (format == 1) {
        end = put_track(end, 1, 0, msf); /* the last session starts there */
    } else {
        ide_cd_fail(c, KEY_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return;
    }
    put_be(b, (uint32_t)(end - b) - 2, 2);
    reply(c, (uint32_t)(end - b), be16(packet + 7));
}

static void get_configuration(IdeChannel *c, uint32_t allowed)
{
    static const uint8_t features[] = {
        0x00, 0x00, 0x03, 4, 0x00, 0x08, 1, 0, /* profile list: CD-ROM, current */
        0x00, 0x01, 0x03, 4, 0, 0, 0, 2,       /* core: ATAPI */
        0x00, 0x10, 0x01, 8, 0, 0, 0x08, 0x00, 0, 1, 0, 0, /* random readable, 2048 bytes */
    };
    uint8_t *b = c->buf;
    memset(b, 0, 8);
    b[7] = 0x08; /* the profile */
    memcpy(b + 8, features, sizeof(features));
    put_be(b, sizeof(features) + 4, 4);
    reply(c, 8 + sizeof(features), allowed);
}

static void event_status(IdeChannel *c, const uint8_t *packet)
{
    uint8_t *b = c->buf;
    if (!(packet[1] & 1)) {
        ide_cd_fail(c, KEY_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return;
    }
    memset(b, 0, 8);
    b[3] = 0x10; /* only media events */
    if (packet[4] & 0x10) {
        b[1] = 6;
        b[2] = 0x04;
        b[5] = 0x02; /* no event; a disc is there */
        reply(c, 8, be16(packet + 7));
    } else {
        b[1] = 2;
        b[2] = 0x80; /* none of those asked for */
        reply(c, 4, be16(packet + 7));
    }
}

static void mode_sense(IdeChannel *c, const uint8_t *packet)
{
    uint8_t *b = c->buf;
    unsigned page = packet[2] & 0x3f, length = 8;
    memset(b, 0, 64);
    if (page == 0x2a || page == 0x3f) { /* capabilities */
        b[8] = 0x2a;
        b[9] = 0x12;
        b[8 + 4] = 0x71;
        b[8 + 6] = 0x29; /* tray, may be locked */
        put_be(b + 8 + 8, 4 * 176, 2);
        put_be(b + 8 + 12, 256, 2);
        put_be(b + 8 + 14, 4 * 176, 2);
        length += 20;
    } else if (page == 0x01) { /* error recovery */
        b[8] = 0x01;
        b[9] = 0x06;
        length += 8;
    } else {
        ide_cd_fail(c, KEY_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return;
    }
    put_be(b, length - 2, 2);
    b[2] = 0x01; /* a data disc */
    reply(c, length, be16(packet + 7));
}

static void read_capacity(IdeChannel *c)
{
    put_be(c->buf, block_count(ide_unit(c)) - 1, 4);
    put_be(c->buf + 4, IDE_CD_BLOCK, 4);
    reply(c, 8, 8);
}

static void read_blocks(IdeChannel *c, uint32_t first, uint32_t count)
{
    const IdeUnit *u = ide_unit(c);
    uint32_t blocks = block_count(u);
    if (count == 0)
        ide_finish(c);
    else if (first >= blocks || count > blocks - first)
        ide_cd_fail(c, KEY_ILLEGAL_REQUEST, ASC_OUT_OF_RANGE);
    else
        ide_begin(c, false, (uint64_t)first * IDE_CD_BLOCK, (uint64_t)count * IDE_CD_BLOCK);
}

static void disc_information(IdeChannel *c, uint32_t allowed)
{
    uint8_t *b = c->buf;
    memset(b, 0, 34);
    b[1] = 32;
    b[2] = 0x0e; /* complete */
    b[3] = b[4] = b[5] = b[6] = 1;
    memset(b + 17, 0xff, 7);
    b[16] = 0xff;
    reply(c, 34, allowed);
}

void ide_cd_packet(IdeChannel *c)
{
    IdeUnit *u = ide_unit(c);
    uint8_t packet[IDE_PACKET];
    memcpy(packet, c->buf, sizeof(packet));
    /* What a DRQ block may have; even, unless it is all. */
    uint32_t limit = u->regs[IDE_LBA1][0] | (uint32_t)u->regs[IDE_LBA2][0] << 8;
    c->block = limit > 1 ? limit & ~1u : 0xfffe;
    if (u->attention && packet[0] != 0x03 && packet[0] != 0x12 && packet[0] != 0x4a) {
        u->attention = false;
        ide_cd_fail(c, KEY_UNIT_ATTENTION, ASC_RESET); /* told once after a reset */
        return;
    }
    if (packet[0] != 0x03)
        u->sense_key = u->sense_code = 0;
    switch (packet[0]) {
    case 0x00: /* TEST UNIT READY */
    case 0x1b: /* START STOP UNIT */
    case 0x1e: /* PREVENT ALLOW MEDIUM REMOVAL */
    case 0x2b: /* SEEK */
    case 0xbb: /* SET CD SPEED */
        ide_finish(c);
        break;
    case 0x03:
        request_sense(c, packet[4]);
        break;
    case 0x12:
        inquiry(c, be16(packet + 3));
        break;
    case 0x25:
        read_capacity(c);
        break;
    case 0x28:
        read_blocks(c, be32(packet + 2), be16(packet + 7));
        break;
    case 0xa8:
        read_blocks(c, be32(packet + 2), be32(packet + 6));
        break;
    case 0x43:
        read_toc(c, packet);
        break;
    case 0x46:
        get_configuration(c, be16(packet + 7));
        break;
    case 0x4a:
        event_status(c, packet);
        break;
    case 0x51:
        disc_information(c, be16(packet + 7));
        break;
    case 0x5a:
        mode_sense(c, packet);
        break;
    default:
        ide_cd_fail(c, KEY_ILLEGAL_REQUEST, ASC_INVALID_COMMAND);
        break;
    }
}
