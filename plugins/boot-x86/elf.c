/*
 * plugins/boot-x86/elf.c - ELF images: with a PVH entry note, or plain.
 *
 * After the System V ABI (ELF header, program headers, notes) and Xen's
 * "x86/HVM direct boot ABI" (PVH) with hvm_start_info version 1.  ELF32 and
 * ELF64, little endian, executables for i386 and x86-64.  Left out: relocation
 * (ET_DYN is loaded where it says), sections, symbols, the RSDP's address in
 * hvm_start_info (0: the guest looks for it).
 */
#include "boot.h"

enum {
    PT_LOAD = 1, PT_NOTE = 4,
    EM_386 = 3, EM_X86_64 = 62,
    XEN_ELFNOTE_PHYS32_ENTRY = 18,
    /* How far the note is looked for: an image could have 65535 segments of gigabytes. */
    NOTE_SEGMENTS_MAX = 16, NOTE_BYTES_MAX = 1 << 20,
};

/* One program header of either class. */
typedef struct Segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
} Segment;

typedef struct Elf {
    const BootFile *file;
    bool is64;
    uint64_t entry, phoff;
    uint16_t phentsize, phnum;
} Elf;

bool boot_is_elf(const BootFile *f)
{
    return f->size >= 52 && memcmp(f->data, "\177ELF", 4) == 0;
}

static bool within(const BootFile *f, uint64_t offset, uint64_t size)
{
    return offset <= f->size && size <= f->size - offset;
}

static bool elf_open(Elf *e, const BootFile *f, GError **error)
{
    if (!boot_is_elf(f))
        return boot_fail(error, f, "is not an ELF image");
    const uint8_t *h = f->data;
    uint8_t klass = h[4];
    if (klass < 1 || klass > 2 || h[5] != 1 || (klass == 2 && f->size < 64))
        return boot_fail(error, f, "is not a little-endian ELF32 or ELF64 image");
    uint16_t type = get16(h + 16), machine = get16(h + 18);
    if (machine != EM_386 && machine != EM_X86_64)
        return boot_fail(error, f, "is for another architecture (ELF machine %u)", machine);
    if (type != 2 && type != 3)
        return boot_fail(error, f, "is not an executable (ELF type %u)", type);
    bool is64 = klass == 2;
    *e = (Elf){.file = f,
               .is64 = is64,
               .entry = is64 ? get64(h + 24) : get32(h + 24),
               .phoff = is64 ? get64(h + 32) : get32(h + 28),
               .phentsize = get16(h + (is64 ? 54 : 42)),
               .phnum = get16(h + (is64 ? 56 : 44))};
    if (e->phentsize < (is64 ? 56 : 32) ||
        !within(f, e->phoff, (uint64_t)e->phnum * e->phentsize))
        return boot_fail(error, f, "is truncated, or its program headers lie outside of it");
    return true;
}

/* i < phnum; elf_open() has checked that it lies within the file. */
static Segment elf_segment(const Elf *e, unsigned i)
{
    const uint8_t *h = e->file->data + e->phoff + (uint64_t)i * e->phentsize;
    if (e->is64)
        return (Segment){get32(h),      get64(h + 8),  get64(h + 16), get64(h + 24),
                         get64(h + 32), get64(h + 40), get64(h + 48)};
    return (Segment){get32(h),      get32(h + 4),  get32(h + 8), get32(h + 12),
                     get32(h + 16), get32(h + 20), get32(h + 28)};
}

/* The PHYS32 entry among the notes of a segment that lies within the file, or 0. */
static uint64_t find_pvh_note(const Elf *e, const Segment *s)
{
    const uint8_t *p = e->file->data + s->offset;
    uint64_t align = s->align == 8 ? 8 : 4, at = 0;
    while (at < NOTE_BYTES_MAX && s->filesz - at >= 12) {
        uint64_t namesz = get32(p + at), descsz = get32(p + at + 4);
        uint32_t type = get32(p + at + 8);
        uint64_t name = at + 12;
        uint64_t desc = (name + namesz + align - 1) & ~(align - 1);
        uint64_t next = (desc + descsz + align - 1) & ~(align - 1);
        if (desc > s->filesz || descsz > s->filesz - desc)
            return 0;
        if (type == XEN_ELFNOTE_PHYS32_ENTRY && namesz == 4 && memcmp(p + name, "Xen", 4) == 0 &&
            (descsz == 4 || descsz == 8))
            return descsz == 4 ? get32(p + desc) : get64(p + desc);
        if (next > s->filesz)
            return 0;
        at = next;
    }
    return 0;
}

bool boot_elf_load(BootPlan *p, uint64_t *entry, uint64_t *pvh, bool *is64, GError **error)
{
    const BootFile *f = &p->kernel;
    Elf e = {0};
    if (!elf_open(&e, f, error))
        return false;
    bool physical = false, found = false;
    uint64_t translated = 0;
    unsigned loads = 0, notes = 0;
    *pvh = 0;
    for (unsigned i = 0; i < e.phnum; i++) {
        Segment s = elf_segment(&e, i);
        if (s.type != PT_LOAD && s.type != PT_NOTE)
            continue;
        if (!within(f, s.offset, s.filesz))
            return boot_fail(error, f, "is truncated: program header %u lies outside of it", i);
        if (s.type == PT_NOTE) {
            if (!*pvh && notes++ < NOTE_SEGMENTS_MAX)
                *pvh = find_pvh_note(&e, &s);
            continue;
        }
        if (s.memsz == 0)
            continue;
        if (!boot_plan_add(p, f, "a segment of the kernel", s.paddr, s.memsz, f->data + s.offset,
                           s.filesz, error))
            return false;
        loads++;
        if (e.entry - s.paddr < s.memsz)
            physical = true;
        if (!found && e.entry - s.vaddr < s.memsz) {
            found = true;
            translated = s.paddr + (e.entry - s.vaddr);
        }
    }
    if (loads == 0)
        return boot_fail(error, f, "has nothing to load (no PT_LOAD program header)");
    /* An entry is physical or, if nothing is loaded there, virtual. */
    *entry = physical ? e.entry : translated;
    if (!physical && !found && !*pvh)
        return boot_fail(error, f,
                         "the entry 0x%" G_GINT64_MODIFIER "x is in none of its segments",
                         e.entry);
    *is64 = e.is64;
    return true;
}

/* hvm_start_info, then module list and memory map, all in one page. */
static void start_info(BootPlan *p, uint64_t initrd)
{
    enum { MODLIST = 64, MEMMAP = 128 };
    G_STATIC_ASSERT(MEMMAP + BOOT_MAX_MAP * 24 <= 4096);
    uint8_t *si = boot_low(p, BOOT_INFO);
    put32(si, 0x336ec578); /* "xEn3" with bit 7 of the E set */
    put32(si + 4, 1);      /* version */
    put64(si + 24, BOOT_CMDLINE);
    if (p->initrd.data) {
        put32(si + 12, 1); /* nr_modules */
        put64(si + 16, BOOT_INFO + MODLIST);
        put64(si + MODLIST, initrd);
        put64(si + MODLIST + 8, p->initrd.size);
    }
    BootMapEntry map[BOOT_MAX_MAP];
    unsigned n = boot_memory_map(p, map);
    put64(si + 40, BOOT_INFO + MEMMAP);
    put32(si + 48, n);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *e = si + MEMMAP + 24 * i;
        put64(e, map[i].base);
        put64(e + 8, map[i].size);
        put32(e + 16, map[i].type);
    }
}

/* While nothing but the segments is in the plan. */
static bool in_segments(const BootPlan *p, uint64_t address)
{
    for (unsigned i = 0; i < p->chunk_count; i++)
        if (address - p->chunks[i].address < p->chunks[i].size)
            return true;
    return false;
}

bool boot_plan_elf(BootPlan *p, GError **error)
{
    uint64_t entry, pvh, initrd = 0;
    bool is64;
    if (!boot_elf_load(p, &entry, &pvh, &is64, error))
        return false;
    p->mode = !pvh && is64 ? BOOT_LONG : BOOT_PROTECTED;
    p->entry = pvh ? pvh : entry;
    p->format = pvh ? "ELF, PVH entry" : is64 ? "ELF64" : "ELF32";
    if (!in_segments(p, p->entry) || p->entry >= BOOT_4G)
        return boot_fail(error, &p->kernel,
                         "the entry 0x%" G_GINT64_MODIFIER
                         "x is in none of its segments, or not below 4 GiB", p->entry);
    if (!boot_plan_add_low(p, error) || !boot_plan_cmdline(p, BOOT_CMDLINE_MAX - 1, error))
        return false;
    if (p->initrd.data &&
        !boot_plan_add_high(p, &p->initrd, "the initrd", BOOT_4G, &initrd, error))
        return false;
    start_info(p, initrd);
    p->gpr[RBX] = BOOT_INFO;
    if (!pvh)
        p->gpr[RSI] = p->gpr[RDI] = BOOT_INFO;
    p->gpr[RSP] = BOOT_EBDA;
    return true;
}
