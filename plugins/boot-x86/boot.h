/*
 * plugins/boot-x86/boot.h - what the parts of the x86 boot loader share.
 *
 * A BootPlan is made once, at realize: every image is read, checked and placed,
 * and every error is found there.  A reset only carries the plan out: it copies
 * the chunks and sets vCPU 0's state.
 *
 * Images are hostile: a size or address of one is used only after a check in
 * 64-bit arithmetic, and all placing goes through boot_plan_add().
 */
#ifndef BOOT_X86_BOOT_H
#define BOOT_X86_BOOT_H

#include <vmrun/x86.h>

#include <string.h>

/*
 * Low RAM that the loader uses for itself, unless an image starts in real mode.
 * It lies below the EBDA, where nothing else is loaded.
 */
enum {
    BOOT_LOW = 0x90000,
    BOOT_PML4 = 0x90000, /* one PDPT and four PDs follow: 4 GiB in 2 MiB pages */
    BOOT_PDPT = 0x91000,
    BOOT_PD = 0x92000,
    BOOT_PARAMS = 0x96000,  /* Linux: struct boot_params */
    BOOT_INFO = 0x97000,    /* hvm_start_info or multiboot info, with what they point to */
    BOOT_GDT = 0x98000,
    BOOT_CMDLINE = 0x99000,
    BOOT_CMDLINE_MAX = 0x6000, /* with the NUL */
    BOOT_STACK = 0x9f000,
    BOOT_EBDA = 0x9fc00, /* top of the stack, end of usable low RAM */
    BOOT_LOW_SIZE = BOOT_STACK - BOOT_LOW,
    BOOT_CS = 0x10,
    BOOT_DS = 0x18,
};

#define BOOT_1M UINT64_C(0x100000)
#define BOOT_4G UINT64_C(0x100000000)

enum { BOOT_MAX_RAM = 32, BOOT_MAX_CHUNKS = 64, BOOT_MAX_MAP = BOOT_MAX_RAM + 2 };

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

typedef enum BootMode { BOOT_REAL, BOOT_PROTECTED, BOOT_LONG } BootMode;
typedef enum BootType {
    BOOT_AUTO, BOOT_LINUX, BOOT_ELF, BOOT_MULTIBOOT, BOOT_FLAT, BOOT_SECTOR
} BootType;

/* What [boot] of the machine file says. */
typedef struct BootSettings {
    const char *kernel, *initrd, *firmware; /* paths or NULL */
    const char *disk;                       /* the name of a drive, or NULL */
    const char *cmdline;                    /* never NULL */
    BootType type;
    unsigned entry_bits; /* Linux: 0 = auto, 32, 64 */
    BootMode mode;       /* flat */
    bool has_load_address;
    uint64_t load_address;
} BootSettings;

typedef struct BootFile {
    const char *path;
    uint8_t *data; /* NULL if there is none */
    uint64_t size;
} BootFile;

/* A piece of guest RAM: `data_size` bytes to copy, then zeroes up to `size`. */
typedef struct BootChunk {
    const char *what;
    uint64_t address, size;
    const uint8_t *data; /* NULL: only kept free */
    uint64_t data_size;
} BootChunk;

typedef struct BootMapEntry {
    uint64_t base, size;
    uint32_t type; /* as in e820: 1 RAM, 2 reserved */
} BootMapEntry;

typedef struct BootPlan {
    BootSettings set;
    BootFile kernel, initrd, firmware;
    VmrMemoryRange ram[BOOT_MAX_RAM];
    unsigned ram_count;
    BootChunk chunks[BOOT_MAX_CHUNKS];
    unsigned chunk_count;
    uint8_t low[BOOT_LOW_SIZE]; /* what goes to BOOT_LOW */
    uint8_t *bios;              /* owned, or NULL */
    const char *format;         /* for the trace */
    BootMode mode;
    uint64_t entry;             /* linear; real mode: see boot_entry_state() */
    uint64_t gpr[8];            /* at the entry: RAX... */
} BootPlan;

/* plan.c */
G_GNUC_PRINTF(3, 4)
bool boot_fail(GError **error, const BootFile *file, const char *format, ...);
bool boot_file_read(BootFile *file, const char *path, GError **error);
void boot_file_clear(BootFile *file);
bool boot_plan_add(BootPlan *p, const BootFile *file, const char *what, uint64_t address,
                   uint64_t size, const uint8_t *data, uint64_t data_size, GError **error);
/* Place a file's whole content as high as it fits, page aligned, at or above 1 MiB, ending
   below `limit`; call it after the kernel has its place. */
bool boot_plan_add_high(BootPlan *p, const BootFile *file, const char *what, uint64_t limit,
                        uint64_t *address, GError **error);
bool boot_plan_add_low(BootPlan *p, GError **error);
bool boot_plan_cmdline(BootPlan *p, uint64_t max_length, GError **error);
unsigned boot_memory_map(const BootPlan *p, BootMapEntry map[BOOT_MAX_MAP]);

/* One for each format: true if the image could be planned. */
bool boot_is_linux(const BootFile *f);
bool boot_plan_linux(BootPlan *p, GError **error);
bool boot_is_elf(const BootFile *f);
/* Loads an ELF image's segments; *entry is physical, *pvh its PVH entry or 0. */
bool boot_elf_load(BootPlan *p, uint64_t *entry, uint64_t *pvh, bool *is64, GError **error);
bool boot_plan_elf(BootPlan *p, GError **error);
bool boot_is_multiboot(const BootFile *f);
bool boot_plan_multiboot(BootPlan *p, GError **error);
bool boot_is_sector(const BootFile *f);
bool boot_plan_flat(BootPlan *p, GError **error);
bool boot_plan_sector(BootPlan *p, GError **error);
bool boot_plan_firmware(BootPlan *p, GError **error);
bool boot_plan_disk(BootPlan *p, GError **error);
/* At a reset: tell the mini BIOS where the boot disk is.  False: nowhere. */
bool boot_find_disk(VmrDevice *dev, const BootPlan *p);

/* entry.c */
void boot_entry_tables(BootPlan *p);
void boot_entry_state(const BootPlan *p, VmrX86State *s);

/* Little endian, unaligned. */
static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static inline uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static inline void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)v);
    put16(p + 2, (uint16_t)(v >> 16));
}

static inline void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

/* The byte of the low area that has a guest address. */
static inline uint8_t *boot_low(BootPlan *p, uint64_t address)
{
    return p->low + (address - BOOT_LOW);
}

#endif
