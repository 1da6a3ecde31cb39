/*
 * accel/interp/engine.h - the ISA-neutral part of the interpreter.
 *
 * A front end decodes a guest block once into an array of 32-byte ops; an
 * executor runs the array.  This file has what every front end shares: the op,
 * the block and its cache, the software TLB, events, and the bookkeeping that
 * keeps translated code true when it is written to.
 *
 * Threads: each vCPU owns its InterpCpu.  Others touch only `events`, `limit`
 * and the invalidation queue, or the whole of it within an exclusive section.
 */
#ifndef VMR_INTERP_ENGINE_H
#define VMR_INTERP_ENGINE_H

#include "core/machine.h"

#include <stdatomic.h>
#include <string.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* ---- ops and blocks --------------------------------------------------- */

/*
 * One op.  d, s, b and i are byte offsets into the front end's register file,
 * so that an 8-bit register is addressed like any other.  A memory operand is
 * b + (i << scale) + disp, each register 64 bits wide.
 */
typedef struct InterpOp {
    const void *handler; /* the threaded executor's label */
    uint16_t code;
    uint8_t d, s, b, i;
    uint8_t scale;
    uint8_t x;       /* what the op makes of it: condition, sub-operation, ... */
    uint16_t pc;     /* of the instruction, relative to the block's start */
    uint8_t length;  /* of the instruction, bytes */
    uint8_t index;   /* how many instructions of the block come before */
    int32_t disp;
    union {
        uint64_t imm;
        void *fn;
    };
} InterpOp;

_Static_assert(sizeof(InterpOp) == 32, "an op is 32 bytes");

#define INTERP_BLOCK_INSNS 64  /* at most, a block */
#define INTERP_BLOCK_OPS 192   /* at most, a block; a front end ends the block in time */

/*
 * A translated block: lies within one page of RAM (or is a single instruction
 * that crosses into a second one).  next[k] may be followed if
 * link_gen[k] >= cpu->map_gen: a link within a page holds UINT64_MAX, one to
 * another page the generation of the virtual map in which it was made.
 */
typedef struct InterpBlock {
    uint64_t ram2;     /* second page of a crossing instruction, or UINT64_MAX */
    struct InterpBlock *page_next[2]; /* in the lists of the one or two pages */
    uint64_t ram;      /* offset of the first byte in the machine's RAM */
    struct InterpBlock *hash_next;
    uint32_t key;      /* mode key of the front end */
    uint16_t bytes;
    uint8_t insns;
    bool dead;
    /* what each run uses is together, and no op is in two cache lines */
    uint64_t link_gen[2];
    struct InterpBlock *next[2];
    _Alignas(32) InterpOp ops[];
} InterpBlock;

/* ---- software TLB ----------------------------------------------------- */

#define INTERP_TLB_BITS 10
#define INTERP_TLB_SIZE (1u << INTERP_TLB_BITS)
#define INTERP_PAGE_BITS 12
#define INTERP_PAGE 4096ull
#define INTERP_PAGE_MASK (~(INTERP_PAGE - 1))

/* Low tag bits that send an access to the slow path. */
enum {
    TLB_MMIO = 1,   /* not RAM, or ROM being written */
    TLB_CODE = 2,   /* the page holds translated code (tag_w) */
    TLB_WATCH = 4,  /* a debugger watches the page */
    TLB_INVALID = 0x800,
};

typedef struct InterpTlbEntry {
    uint64_t tag_r, tag_w, tag_x; /* virtual page | flags; ~0: invalid */
    uint64_t addend;              /* host address - virtual address */
} InterpTlbEntry;

/* Beside each entry, for the slow path only. */
typedef struct InterpTlbInfo {
    uint64_t phys; /* physical page */
    uint64_t ram;  /* its offset in RAM, or UINT64_MAX */
    uint64_t size; /* of the guest's page, bytes: INVLPG of a large one */
} InterpTlbInfo;

typedef struct InterpTlb {
    _Alignas(64) InterpTlbEntry e[INTERP_TLB_SIZE];
    InterpTlbInfo info[INTERP_TLB_SIZE];
    bool used; /* something was filled since the last flush */
} InterpTlb;

/* user, supervisor, supervisor that may touch user pages, user with alignment checks */
#define INTERP_TLBS 4

/* ---- per-vCPU --------------------------------------------------------- */

/* From virtual address to block, in front of the block hash. */
#define INTERP_JUMP_BITS 12
typedef struct InterpJump {
    uint64_t pc, gen;
    uint64_t key;
    InterpBlock *block;
} InterpJump;

/* Events; any thread sets one with interp_cpu_event(). */
enum {
    INTERP_EV_KICK = 1u << 0,      /* return to the caller of cpu_run */
    INTERP_EV_EXCLUSIVE = 1u << 1, /* somebody wants all others to stand still */
    INTERP_EV_INVALIDATE = 1u << 2,/* pages in the queue */
    INTERP_EV_FLUSH = 1u << 3,     /* the memory map has changed */
    INTERP_EV_FRONT = 1u << 8,     /* this and higher bits: the front end's */
};

typedef struct InterpCpu {
    /* hot */
    uint64_t icount;          /* instructions begun; exact at the end of a block */
    _Atomic uint64_t limit;   /* leave the executor at a block's start when icount >= limit */
    uint64_t map_gen;         /* generation of the virtual map, from 1 */
    InterpTlb *tlb;           /* the current one of tlbs[] */
    uint64_t value;           /* what a slow load read */

    _Atomic uint32_t events;
    struct InterpVm *vm;
    VmrCpu *core;
    unsigned index;
    bool code_hit;            /* a store of this instruction hit translated code of this vCPU */

    _Alignas(64) InterpJump jumps[1u << INTERP_JUMP_BITS];
    _Alignas(64) InterpTlb tlbs[INTERP_TLBS];
    /* Where pages larger than 4 KiB were seen since the last flush, one range a half
       of the address space: INVLPG of such a page drops more than one entry. */
    uint64_t large_low[2], large_high[2];

    /* block cache */
    uint8_t *pool;
    size_t pool_used;
    uint64_t pool_gen;        /* counts flushes of the pool: older block pointers are gone */
    const void *dead_handler; /* first op of a block that was invalidated */
    uint16_t dead_code;
    InterpBlock **hash;       /* by RAM offset and key */
    GHashTable *pages;        /* page number in RAM -> first block (page lists) */

    GMutex queue_lock;
    GArray *queue;            /* uint64_t RAM pages to invalidate */

    bool running;             /* inside cpu_run and not at a safe point; under vm->lock */
    VmrCpuStats stats;
} InterpCpu;

#define INTERP_POOL_BYTES (8u << 20)
#define INTERP_HASH_BITS 16

typedef struct InterpVm {
    VmrMachine *machine;
    _Atomic uint64_t a20_mask; /* of physical addresses */
    InterpCpu **cpus;
    unsigned cpu_count;
    /* One word a page of RAM: bit n is set if the 64-byte line n holds
       translated code of any vCPU.  Changed under code_lock. */
    _Atomic uint64_t *code_lines;
    uint64_t pages;
    GMutex code_lock;
    /* exclusive sections */
    GMutex lock;
    GCond resumed, stopped;
    InterpCpu *exclusive_owner;
} InterpVm;

void interp_vm_init(InterpVm *vm, VmrMachine *machine);
void interp_vm_clear(InterpVm *vm);
bool interp_cpu_init(InterpCpu *cpu, InterpVm *vm, VmrCpu *core, unsigned index, GError **error);
void interp_cpu_clear(InterpCpu *cpu);

/* Make the executor leave at its next block, and note why.  [any] */
void interp_cpu_event(InterpCpu *cpu, uint32_t event);
static inline void interp_cpu_ack(InterpCpu *cpu, uint32_t event)
{
    atomic_fetch_and_explicit(&cpu->events, ~event, memory_order_acq_rel);
}

/* Enter and leave cpu_run; between them the vCPU honours exclusive sections by
   calling interp_cpu_safe_point() when INTERP_EV_EXCLUSIVE is set. */
void interp_cpu_enter(InterpCpu *cpu);
void interp_cpu_leave(InterpCpu *cpu);
void interp_cpu_safe_point(InterpCpu *cpu);
/* Handle the engine's own events (all but KICK and the front end's). */
void interp_cpu_handle_events(InterpCpu *cpu);

/* All other vCPUs stand still between these two.  Called by a running vCPU. */
void interp_exclusive_begin(InterpCpu *cpu);
void interp_exclusive_end(InterpCpu *cpu);

/* ---- block cache ------------------------------------------------------ */

/* The block for (ram, key), or NULL. */
InterpBlock *interp_block_find(InterpCpu *cpu, uint64_t ram, uint32_t key);
/* Say that [ram, ram + len) is about to be translated: from now on a write to
   it by any vCPU or device is noticed.  Call before reading the bytes. */
void interp_code_mark(InterpCpu *cpu, uint64_t ram, unsigned len);
/* Room for a block of up to INTERP_BLOCK_OPS ops; may flush all blocks of the
   vCPU, so no block may be in use.  Then interp_block_add() keeps it. */
InterpBlock *interp_block_new(InterpCpu *cpu);
void interp_block_add(InterpCpu *cpu, InterpBlock *block, unsigned ops);
void interp_blocks_flush(InterpCpu *cpu);
/* The page at RAM offset `ram` is written by `cpu` (NULL: a device): drop code
   of the lines touched.  Returns whether translated code was there. */
bool interp_code_written(InterpVm *vm, InterpCpu *cpu, uint64_t ram, uint64_t len);

/* ---- virtual map ------------------------------------------------------ */

void interp_tlb_flush(InterpCpu *cpu);                     /* everything */
void interp_tlb_flush_page(InterpCpu *cpu, uint64_t addr); /* whatever maps addr */
/* Fill an entry.  prot: 1 read, 2 write, 4 execute. */
void interp_tlb_fill(InterpCpu *cpu, InterpTlb *tlb, uint64_t vpage, uint64_t phys, unsigned prot,
                     uint64_t page_size);

static inline InterpTlbEntry *interp_tlb_entry(InterpTlb *tlb, uint64_t addr)
{
    return &tlb->e[(addr >> INTERP_PAGE_BITS) & (INTERP_TLB_SIZE - 1)];
}

static inline InterpTlbInfo *interp_tlb_info(InterpTlb *tlb, uint64_t addr)
{
    return &tlb->info[(addr >> INTERP_PAGE_BITS) & (INTERP_TLB_SIZE - 1)];
}

/* ---- guest memory as the host sees it --------------------------------- */

/*
 * Guest RAM is shared by vCPUs and devices without locks, as in the real
 * thing; aligned accesses of up to 8 bytes are single-copy atomic.
 */
#if defined(__SANITIZE_THREAD__)
#define INTERP_RAM_ACCESS static __attribute__((noinline, no_sanitize("thread"), unused))
#else
#define INTERP_RAM_ACCESS static inline __attribute__((always_inline, unused))
#endif

#define INTERP_RAM_TYPE(bits)                                                                      \
    typedef uint##bits##_t __attribute__((aligned(1), may_alias)) InterpRam##bits;                 \
    INTERP_RAM_ACCESS uint64_t interp_ram_ld##bits(const void *p)                                  \
    {                                                                                              \
        return *(const volatile InterpRam##bits *)p;                                               \
    }                                                                                              \
    INTERP_RAM_ACCESS void interp_ram_st##bits(void *p, uint64_t v)                                \
    {                                                                                              \
        *(volatile InterpRam##bits *)p = (uint##bits##_t)v;                                        \
    }
INTERP_RAM_TYPE(8)
INTERP_RAM_TYPE(16)
INTERP_RAM_TYPE(32)
INTERP_RAM_TYPE(64)

/* 16 bytes, in halves at worst: one piece, so that a load of them is not held up by two stores. */
typedef uint64_t __attribute__((vector_size(16), aligned(1), may_alias)) InterpRam128;
INTERP_RAM_ACCESS void interp_ram_ld128(void *to, const void *p)
{
    *(InterpRam128 *)to = *(const volatile InterpRam128 *)p;
}
INTERP_RAM_ACCESS void interp_ram_st128(void *p, const void *from)
{
    *(volatile InterpRam128 *)p = *(const InterpRam128 *)from;
}

#endif
