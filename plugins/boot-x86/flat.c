/*
 * plugins/boot-x86/flat.c - images without a header: flat binaries, boot sectors, BIOS images.
 *
 * A boot sector runs as after a PC BIOS (BIOS Boot Specification 1.01, 6.5): 512
 * bytes at 0:7c00, DL the drive.  Its BIOS is firmware/minibios.S, which serves
 * text, memory size and keyboard calls, and the boot disk if it is an IDE disk.
 */
#include "boot.h"

#include <vmrun/describe.h>

/* firmware/minibios.S; absent from a build on another architecture. */
#ifdef __x86_64__
extern const uint8_t boot_minibios[], boot_minibios_memory[], boot_minibios_disk[],
    boot_minibios_end[];
#else
static const uint8_t boot_minibios[1], *boot_minibios_memory = boot_minibios,
                                       *boot_minibios_disk = boot_minibios,
                                       *boot_minibios_end = boot_minibios;
#endif

enum { SECTOR = 512, SECTOR_AT = 0x7c00, BIOS_AREA = 0xe0000 };

bool boot_is_sector(const BootFile *f)
{
    return f->size >= SECTOR && f->data[510] == 0x55 && f->data[511] == 0xaa;
}

bool boot_plan_flat(BootPlan *p, GError **error)
{
    const BootFile *f = &p->kernel;
    uint64_t at = p->set.load_address;
    p->mode = p->set.mode;
    if (p->mode == BOOT_REAL && at >= BOOT_1M)
        return boot_fail(error, f, "[boot] mode = real needs a load-address below 1 MiB");
    if (at >= BOOT_4G)
        return boot_fail(error, f, "[boot] load-address must be below 4 GiB");
    if (p->initrd.data)
        return boot_fail(error, f, "is a flat image, which takes no initrd");
    if (!boot_plan_add(p, f, "the image", at, f->size, f->data, f->size, error))
        return false;
    p->format = "flat image";
    p->entry = at;
    if (p->mode == BOOT_REAL)
        return true;
    p->gpr[RSP] = BOOT_EBDA;
    return boot_plan_add_low(p, error);
}

/* The mini BIOS with this machine's memory, to the end of the first MiB. */
static bool add_minibios(BootPlan *p, GError **error)
{
    size_t size = (size_t)(boot_minibios_end - boot_minibios);
    if (size == 0)
        return boot_fail(error, &p->kernel, "no BIOS for boot sectors is in this build");
    p->bios = g_memdup2(boot_minibios, size);
    uint8_t *m = p->bios + (boot_minibios_memory - boot_minibios);
    BootMapEntry map[BOOT_MAX_MAP];
    unsigned n = boot_memory_map(p, map);
    put16(m, (uint16_t)n);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *e = m + 8 + 20 * i;
        put64(e, map[i].base);
        put64(e + 8, map[i].size);
        put32(e + 16, map[i].type);
        if (map[i].base != BOOT_1M || map[i].type != 1)
            continue;
        uint64_t above_16m = map[i].size > 15 * BOOT_1M ? map[i].size - 15 * BOOT_1M : 0;
        put16(m + 2, (uint16_t)(MIN(map[i].size, 15 * BOOT_1M) >> 10));
        put16(m + 4, (uint16_t)MIN(above_16m >> 16, 0xffff));
        put16(m + 6, (uint16_t)MIN(map[i].size >> 10, 0xffff));
    }
    return boot_plan_add(p, &p->kernel, "the mini BIOS", BOOT_1M - size, size, p->bios, size,
                         error);
}

bool boot_plan_sector(BootPlan *p, GError **error)
{
    const BootFile *f = &p->kernel;
    if (!boot_is_sector(f))
        return boot_fail(error, f, "is not a boot sector (no 55 aa at its bytes 510 and 511)");
    if (p->initrd.data)
        return boot_fail(error, f, "is a boot sector, which takes no initrd");
    if (!boot_plan_add(p, f, "the boot sector", SECTOR_AT, SECTOR, f->data, SECTOR, error))
        return false;
    p->format = "boot sector";
    p->mode = BOOT_REAL;
    p->entry = BOOT_1M - 16; /* the BIOS's reset vector; it jumps to the sector */
    return add_minibios(p, error);
}

bool boot_plan_disk(BootPlan *p, GError **error)
{
    p->format = "boot disk";
    p->mode = BOOT_REAL;
    p->entry = BOOT_1M - 16; /* the BIOS loads its first sector */
    return add_minibios(p, error);
}

/* Where `of` has the drive `name` as an ATA disk: ports and master or slave. */
static bool find_ata(const VmrDescription *d, const char *name, uint8_t *out)
{
    const VmrFact *f = vmr_fact(d, "ata-drives");
    for (uint32_t i = 0; f && f->type == VMR_FACT_STRING && i < f->count; i++) {
        uint32_t region = i / 2 * 2;
        if (g_strcmp0(f->strings[i], name) != 0 || region + 1 >= d->region_count ||
            !d->regions[region].io || !d->regions[region + 1].io)
            continue;
        put16(out, (uint16_t)d->regions[region].base);
        put16(out + 2, (uint16_t)d->regions[region + 1].base);
        out[4] = i % 2 ? 0xf0 : 0xe0;
        return true;
    }
    return false;
}

bool boot_find_disk(VmrDevice *dev, const BootPlan *p)
{
    uint8_t *out = p->bios + (boot_minibios_disk - boot_minibios);
    for (VmrDevice *of = vmr_device_next(dev, NULL); of; of = vmr_device_next(dev, of))
        if (find_ata(vmr_description(dev, of), p->set.disk, out))
            return true;
    return false;
}

/* A BIOS image ends at 1 MiB and starts at its reset vector. */
bool boot_plan_firmware(BootPlan *p, GError **error)
{
    const BootFile *f = &p->firmware;
    if (f->size < 16 || f->size > BOOT_1M - BIOS_AREA)
        return boot_fail(error, f, "a BIOS image has 16 bytes to 128 KiB, this one has %"
                         G_GUINT64_FORMAT, f->size);
    if (!boot_plan_add(p, f, "the firmware", BOOT_1M - f->size, f->size, f->data, f->size, error))
        return false;
    p->format = "firmware";
    p->mode = BOOT_REAL;
    p->entry = BOOT_1M - 16;
    return true;
}
