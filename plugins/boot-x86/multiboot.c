/*
 * plugins/boot-x86/multiboot.c - Multiboot kernels.
 *
 * After the Multiboot Specification version 0.6.96 (header magic 0x1badb002).
 * Given: command line, memory size and map, one module (the initrd), loader
 * name.  Left out: video modes (a kernel that asks for one gets none), boot
 * device, symbols, drives, APM; Multiboot 2.
 */
#include "boot.h"

enum {
    MB_SEARCH = 8192,
    MB_HEADER_MAGIC = 0x1badb002,
    MB_ENTRY_MAGIC = 0x2badb002,
    MB_ALIGN_MODULES = 1u << 0,
    MB_MEMORY_INFO = 1u << 1,
    MB_VIDEO = 1u << 2,
    MB_REQUIRED = 0xffff, /* flags that a loader must refuse if it does not know them */
    MB_ADDRESSES = 1u << 16,
    /* multiboot info flags */
    MBI_MEM = 1u << 0,
    MBI_CMDLINE = 1u << 2,
    MBI_MODS = 1u << 3,
    MBI_MMAP = 1u << 6,
    MBI_LOADER_NAME = 1u << 9,
};

/* The offset of a header whose checksum is right, or -1. */
static int64_t find_header(const BootFile *f)
{
    for (uint64_t at = 0; at < MB_SEARCH - 8 && at + 12 <= f->size; at += 4) {
        const uint8_t *h = f->data + at;
        if (get32(h) == MB_HEADER_MAGIC &&
            (uint32_t)(get32(h) + get32(h + 4) + get32(h + 8)) == 0)
            return (int64_t)at;
    }
    return -1;
}

bool boot_is_multiboot(const BootFile *f)
{
    return find_header(f) >= 0;
}

/* The "a.out kludge": the header says what to load, and where. */
static bool load_by_header(BootPlan *p, uint64_t at, uint64_t *entry, GError **error)
{
    const BootFile *f = &p->kernel;
    if (f->size - at < 32)
        return boot_fail(error, f, "is truncated within its Multiboot header");
    const uint8_t *h = f->data + at;
    uint64_t header = get32(h + 12), load = get32(h + 16), load_end = get32(h + 20);
    uint64_t bss_end = get32(h + 24);
    *entry = get32(h + 28);
    if (load > header || header - load > at)
        return boot_fail(error, f, "Multiboot header: load_addr lies outside of the file");
    uint64_t offset = at - (header - load);
    if (load_end == 0)
        load_end = load + (f->size - offset);
    if (load_end <= load || load_end - load > f->size - offset)
        return boot_fail(error, f,
                         "is truncated, or its Multiboot header's load_end_addr is wrong");
    if (bss_end == 0)
        bss_end = load_end;
    if (bss_end < load_end)
        return boot_fail(error, f, "Multiboot header: bss_end_addr is below load_end_addr");
    if (*entry < load || *entry >= bss_end)
        return boot_fail(error, f, "Multiboot header: entry_addr lies outside of the image");
    return boot_plan_add(p, f, "the kernel", load, bss_end - load, f->data + offset,
                         load_end - load, error);
}

static void multiboot_info(BootPlan *p, uint64_t initrd)
{
    enum { MODS = 0x80, NAME = 0xa0, MMAP = 0x100 };
    G_STATIC_ASSERT(MMAP + BOOT_MAX_MAP * 24 <= 4096);
    uint8_t *mbi = boot_low(p, BOOT_INFO);
    uint32_t flags = MBI_MEM | MBI_CMDLINE | MBI_MODS | MBI_MMAP | MBI_LOADER_NAME;
    put32(mbi, flags);
    put32(mbi + 4, BOOT_EBDA / 1024);
    put32(mbi + 16, BOOT_CMDLINE);
    if (p->initrd.data) {
        put32(mbi + 20, 1);
        put32(mbi + 24, BOOT_INFO + MODS);
        put32(mbi + MODS, (uint32_t)initrd);
        put32(mbi + MODS + 4, (uint32_t)(initrd + p->initrd.size));
        put32(mbi + MODS + 8, BOOT_INFO + NAME + 8); /* its string: empty */
    }
    memcpy(mbi + NAME, "vmrun", 6);
    put32(mbi + 64, BOOT_INFO + NAME);

    BootMapEntry map[BOOT_MAX_MAP];
    unsigned n = boot_memory_map(p, map);
    put32(mbi + 44, n * 24);
    put32(mbi + 48, BOOT_INFO + MMAP);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *e = mbi + MMAP + 24 * i;
        put32(e, 20); /* size, without itself */
        put64(e + 4, map[i].base);
        put64(e + 12, map[i].size);
        put32(e + 20, map[i].type);
        /* mem_upper: KiB from 1 MiB to the first hole */
        if (map[i].base == BOOT_1M && map[i].type == 1)
            put32(mbi + 8, (uint32_t)MIN(map[i].size / 1024, UINT32_MAX));
    }
}

bool boot_plan_multiboot(BootPlan *p, GError **error)
{
    const BootFile *f = &p->kernel;
    int64_t at = find_header(f);
    if (at < 0)
        return boot_fail(error, f, "has no Multiboot header in its first 8 KiB");
    uint32_t flags = get32(f->data + at + 4);
    uint32_t unknown = flags & MB_REQUIRED & ~(MB_ALIGN_MODULES | MB_MEMORY_INFO | MB_VIDEO);
    if (unknown)
        return boot_fail(error, f, "its Multiboot header asks for unknown features 0x%x", unknown);

    uint64_t entry, pvh, initrd = 0;
    bool is64;
    if (flags & MB_ADDRESSES) {
        if (!load_by_header(p, (uint64_t)at, &entry, error))
            return false;
    } else if (!boot_elf_load(p, &entry, &pvh, &is64, error)) {
        return false;
    }
    if (entry == 0 || entry >= BOOT_4G)
        return boot_fail(error, f, "the entry 0x%" G_GINT64_MODIFIER "x cannot be", entry);
    if (!boot_plan_add_low(p, error) || !boot_plan_cmdline(p, BOOT_CMDLINE_MAX - 1, error))
        return false;
    if (p->initrd.data &&
        !boot_plan_add_high(p, &p->initrd, "the module", BOOT_4G, &initrd, error))
        return false;
    multiboot_info(p, initrd);
    p->format = "Multiboot";
    p->mode = BOOT_PROTECTED;
    p->entry = entry;
    p->gpr[RAX] = MB_ENTRY_MAGIC;
    p->gpr[RBX] = BOOT_INFO;
    p->gpr[RSP] = BOOT_EBDA;
    return true;
}
