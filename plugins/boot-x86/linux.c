/*
 * plugins/boot-x86/linux.c - the Linux/x86 boot protocol, 32- and 64-bit entry.
 *
 * After Documentation/arch/x86/boot.rst and zero-page.rst of the Linux sources.
 * Boot protocol 2.02 and later, images that load high (bzImage).  Left out: the
 * 16-bit entry, zImage, kernels or initrds above 4 GiB, setup_data, EFI hand-over.
 * The zero page says nothing of ACPI: the kernel finds the RSDP by itself.
 */
#include "boot.h"

/* Offsets in the image and, for the setup header, in struct boot_params as well. */
enum {
    BP_E820_ENTRIES = 0x1e8,
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4,
    HDR_VID_MODE = 0x1fa,
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x200,
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_TYPE_OF_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_CODE32_START = 0x214,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_EXT_LOADER_VER = 0x226,
    HDR_EXT_LOADER_TYPE = 0x227,
    HDR_CMD_LINE_PTR = 0x228,
    HDR_INITRD_ADDR_MAX = 0x22c,
    HDR_KERNEL_ALIGNMENT = 0x230,
    HDR_RELOCATABLE = 0x234,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_SETUP_DATA = 0x250,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END_MAX = 0x290, /* struct boot_params has something else from here on */
    BP_E820_TABLE = 0x2d0,
    E820_MAX = 128,
    LOADED_HIGH = 1u << 0,
    XLF_KERNEL_64 = 1u << 0,
    ENTRY_64 = 0x200, /* startup_64, from the start of the protected-mode code */
};

G_STATIC_ASSERT((int)BOOT_MAX_MAP <= (int)E820_MAX);

bool boot_is_linux(const BootFile *f)
{
    return f->size >= HDR_VERSION && get16(f->data + HDR_BOOT_FLAG) == 0xaa55 &&
           memcmp(f->data + HDR_MAGIC, "HdrS", 4) == 0;
}

/* The setup header as this protocol version has it, checked. */
typedef struct Setup {
    uint16_t version;
    uint32_t header_end;     /* offset */
    uint64_t payload_offset; /* of the protected-mode code in the file */
    uint64_t payload_size;
    bool has_64;
    uint64_t load_address, memory_size;
    uint64_t initrd_limit; /* exclusive */
    uint32_t cmdline_max;
} Setup;

static bool setup_read(const BootFile *f, Setup *s, GError **error)
{
    const uint8_t *h = f->data;
    if (!boot_is_linux(f))
        return boot_fail(error, f, "is not a Linux kernel image (no setup header)");
    if (f->size < HDR_END_MAX)
        return boot_fail(error, f, "is truncated within its setup header");
    s->version = get16(h + HDR_VERSION);
    if (s->version < 0x202)
        return boot_fail(error, f, "boot protocol %u.%02u is too old, 2.02 is needed",
                         s->version >> 8, s->version & 0xff);
    if (!(h[HDR_LOADFLAGS] & LOADED_HIGH))
        return boot_fail(error, f, "is a zImage, which is not supported");

    s->header_end = HDR_MAGIC + h[HDR_JUMP + 1];
    if (s->header_end < HDR_CMD_LINE_PTR + 4 || s->header_end > HDR_END_MAX)
        return boot_fail(error, f, "the setup header ends at 0x%x, which cannot be",
                         s->header_end);

    unsigned sects = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : 4;
    s->payload_offset = (sects + 1) * UINT64_C(512);
    /* syssize counts paragraphs, rounded up; before 2.04 its upper half is not valid. */
    uint64_t syssize = s->version >= 0x204 ? get32(h + HDR_SYSSIZE) : get16(h + HDR_SYSSIZE);
    if (f->size <= s->payload_offset ||
        f->size - s->payload_offset + 15 < syssize * 16)
        return boot_fail(error, f,
                         "is truncated: %" G_GUINT64_FORMAT " bytes of %" G_GUINT64_FORMAT,
                         f->size, s->payload_offset + syssize * 16);
    s->payload_size = f->size - s->payload_offset;

    s->has_64 = s->version >= 0x20c && (get16(h + HDR_XLOADFLAGS) & XLF_KERNEL_64) &&
                s->payload_size > ENTRY_64;
    s->initrd_limit = s->version >= 0x203 ? get32(h + HDR_INITRD_ADDR_MAX) + UINT64_C(1)
                                          : UINT64_C(0x38000000);
    s->cmdline_max = s->version >= 0x206 ? get32(h + HDR_CMDLINE_SIZE) : 255;

    s->load_address = BOOT_1M;
    s->memory_size = s->payload_size;
    if (s->version >= 0x205 && h[HDR_RELOCATABLE]) {
        uint32_t alignment = get32(h + HDR_KERNEL_ALIGNMENT);
        if (alignment == 0 || (alignment & (alignment - 1)))
            return boot_fail(error, f, "kernel_alignment 0x%x is not a power of two", alignment);
        s->load_address = (BOOT_1M + alignment - 1) & ~((uint64_t)alignment - 1);
    }
    if (s->version >= 0x20a) {
        /* A relocatable kernel would move itself to this address anyway. */
        s->load_address = get64(h + HDR_PREF_ADDRESS);
        s->memory_size = MAX(s->payload_size, get32(h + HDR_INIT_SIZE));
    }
    if (s->load_address < BOOT_1M || s->load_address >= BOOT_4G ||
        s->memory_size > BOOT_4G - s->load_address)
        return boot_fail(error, f,
                         "wants to be loaded at 0x%" G_GINT64_MODIFIER "x with 0x%"
                         G_GINT64_MODIFIER "x bytes, which is not between 1 MiB and 4 GiB",
                         s->load_address, s->memory_size);
    return true;
}

static void zero_page(BootPlan *p, const Setup *s, uint64_t initrd)
{
    uint8_t *bp = boot_low(p, BOOT_PARAMS);
    memcpy(bp + HDR_SETUP_SECTS, p->kernel.data + HDR_SETUP_SECTS,
           s->header_end - HDR_SETUP_SECTS);
    put16(bp + HDR_VID_MODE, 0xffff); /* normal */
    bp[HDR_TYPE_OF_LOADER] = 0xff;    /* no assigned number */
    bp[HDR_EXT_LOADER_VER] = bp[HDR_EXT_LOADER_TYPE] = 0;
    put32(bp + HDR_CODE32_START, (uint32_t)s->load_address);
    put32(bp + HDR_RAMDISK_IMAGE, (uint32_t)initrd);
    put32(bp + HDR_RAMDISK_SIZE, (uint32_t)p->initrd.size);
    put32(bp + HDR_CMD_LINE_PTR, BOOT_CMDLINE);
    if (s->header_end >= HDR_SETUP_DATA + 8)
        put64(bp + HDR_SETUP_DATA, 0);

    BootMapEntry map[BOOT_MAX_MAP];
    unsigned n = boot_memory_map(p, map);
    bp[BP_E820_ENTRIES] = (uint8_t)n;
    for (unsigned i = 0; i < n; i++) {
        uint8_t *e = bp + BP_E820_TABLE + 20 * i;
        put64(e, map[i].base);
        put64(e + 8, map[i].size);
        put32(e + 16, map[i].type);
    }
}

bool boot_plan_linux(BootPlan *p, GError **error)
{
    const BootFile *f = &p->kernel;
    Setup s;
    if (!setup_read(f, &s, error))
        return false;
    if (p->set.entry_bits == 64 && !s.has_64)
        return boot_fail(error, f, "has no 64-bit entry, but [boot] entry = 64");
    bool use_64 = s.has_64 && p->set.entry_bits != 32;

    uint64_t initrd = 0;
    /* The payload, and behind it room that the kernel decompresses itself into; it
       clears that room itself. */
    if (!boot_plan_add_low(p, error) || !boot_plan_cmdline(p, s.cmdline_max, error) ||
        !boot_plan_add(p, f, "the kernel", s.load_address, s.payload_size,
                       f->data + s.payload_offset, s.payload_size, error))
        return false;
    if (s.memory_size > s.payload_size &&
        !boot_plan_add(p, f, "the room for the decompressed kernel (init_size)",
                       s.load_address + s.payload_size, s.memory_size - s.payload_size, NULL, 0,
                       error))
        return false;
    if (p->initrd.data && !boot_plan_add_high(p, &p->initrd, "the initrd", s.initrd_limit,
                                              &initrd, error))
        return false;
    zero_page(p, &s, initrd);
    p->format = use_64 ? "Linux, 64-bit entry" : "Linux, 32-bit entry";
    p->mode = use_64 ? BOOT_LONG : BOOT_PROTECTED;
    p->entry = s.load_address + (use_64 ? ENTRY_64 : 0);
    p->gpr[RSI] = BOOT_PARAMS;
    return true;
}
