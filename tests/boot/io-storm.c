/*
 * io-storm - a bare-metal guest that writes random values to every port and every device.
 *
 * A PVH kernel in 32-bit protected mode without paging, interrupts off.  Command line:
 *
 *     SEED [wild]
 *
 * For ever: reads and writes of random sizes at random ports and device addresses, as plain moves,
 * string instructions, locked instructions and 8-byte FPU moves, aligned or not.  Half of them
 * go where devices are known to be, the others anywhere.
 *
 * Unless "wild", it always leaves out what would end or reset the machine (debug-exit, pvpanic, reset
 * registers, ACPI sleep) or the processor (interrupt messages other than fixed ones), so that only
 * vmrun's time limit ends it.  An exception, which none of this may cause, gives exit status 0xee.
 */
#include <stdbool.h>
#include <stdint.h>

typedef struct StartInfo {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line;
} StartInfo;

/* The entry, and one handler each for NMI and for all other vectors. */
__asm__(".section .note.pvh, \"a\", @note\n"
        ".balign 4\n"
        ".long 4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
        ".asciz \"Xen\"\n"
        ".long start\n"
        ".text\n"
        ".globl start, on_nmi, on_exception\n"
        "start:\n"
        "    cli\n"
        "    cld\n"
        "    mov $stack_top, %esp\n"
        "    lgdt gdt_pointer\n"
        "    ljmp $8, $1f\n"
        "1:  mov $16, %eax\n"
        "    mov %eax, %ds\n"
        "    mov %eax, %es\n"
        "    mov %eax, %ss\n"
        "    fninit\n"
        "    push %ebx\n" /* the start info */
        "    call guest_main\n"
        "on_nmi:\n"
        "    iretl\n"
        "on_exception:\n"
        "    mov $0x501, %edx\n"
        "    mov $0xee, %al\n"
        "    out %al, %dx\n"
        "1:  jmp 1b\n"
        ".data\n"
        ".balign 8\n"
        "gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
        "gdt_pointer: .word 23\n"
        "    .long gdt\n"
        ".bss\n"
        ".balign 16\n"
        "    .skip 8192\n"
        "stack_top:\n"
        ".text\n");

void on_nmi(void);
void on_exception(void);
void guest_main(const StartInfo *info);

/* ---- numbers ---------------------------------------------------------- */

static uint32_t state[4];

/* xorshift128 */
static uint32_t random32(void)
{
    uint32_t t = state[3] ^ state[3] << 11;
    t ^= t >> 8;
    state[3] = state[2];
    state[2] = state[1];
    state[1] = state[0];
    return state[0] ^= state[0] >> 19 ^ t;
}

static uint32_t below(uint32_t bound)
{
    return random32() % bound;
}

/* Numbers that devices have opinions about, more often than chance has them. */
static uint32_t random_value(void)
{
    static const uint32_t edges[] = {0, 1, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
    switch (below(4)) {
    case 0:
        return edges[below(sizeof edges / sizeof edges[0])];
    case 1:
        return 1u << below(32);
    case 2:
        return random32() & 0xff;
    default:
        return random32();
    }
}

/* ---- where ------------------------------------------------------------ */

static bool wild;
static uint8_t buffer[256];

typedef struct Range {
    uint32_t first, count;
} Range;

static const Range ports[] = {
    {0x00, 0x20}, {0x20, 2},  {0xa0, 2},  {0x40, 4},  {0x60, 5},     {0x70, 2},
    {0x80, 16},   {0x92, 1},  {0x3f8, 8}, {0x4d0, 2}, {0x600, 0x40}, {0xcf8, 8},
};
static const Range addresses[] = {
    {0xfee00000, 0x400},   /* local APIC */
    {0xfee00000, 0x1000},
    {0xfec00000, 0x40},    /* I/O APIC */
    {0xfec00000, 0x1000},
    {0xfed00000, 0x400},   /* HPET */
    {0xa0000, 0x20000},    /* where a PC has no RAM */
    {0xc0000000, 0x40000000 - 64},
};

static uint32_t pick(const Range *ranges, unsigned count)
{
    const Range *r = &ranges[below(count)];
    return r->first + below(r->count);
}

static bool touches(uint32_t at, unsigned size, uint32_t first, uint32_t count)
{
    return at < first + count && first < at + size;
}

/* Is a write of `size` bytes at `port` to be left out, since it may end the storm?  When wild,
   now and then it is not: always would give short storms. */
static bool fatal_port(uint32_t port, unsigned size)
{
    bool fatal = touches(port, size, 0x501, 8) || /* debug-exit, pvpanic */
                 touches(port, size, 0x604, 2) || /* ACPI: PM1a_CNT */
                 touches(port, size, 0xcf9, 1) || /* reset */
                 touches(port, size, 0x92, 1) ||  /* bit 0: reset; bit 1: A20 */
                 touches(port, size, 0x64, 1);    /* commands that reset */
    return fatal && (!wild || below(16));
}

/* The part of those that may be written, in a safe way. */
static void tame_port(void)
{
    uint8_t value = (uint8_t)random_value();
    if (below(2)) {
        value &= ~1;
        __asm__ volatile("outb %b0, $0x92" : : "a"(value));
    } else if (value != 0xd1 && value < 0xf0) { /* 0xd1: write output port; 0xf0-0xff: pulse it */
        __asm__ volatile("outb %b0, $0x64" : : "a"(value));
    }
}

/* Bits of delivery mode, which could make a message an INIT, an NMI or an SMI. */
static bool fatal_address(uint32_t at, unsigned size)
{
    return !wild && (touches(at, size, 0xfee00300, 0x10) || touches(at, size, 0xfee00320, 0x60) ||
                     touches(at, size, 0xfec00010, 0x10));
}

static void tame_address(void)
{
    static const uint32_t at[] = {0xfee00300, 0xfee00320, 0xfee00330, 0xfee00340, 0xfee00350,
                                  0xfee00360, 0xfee00370, 0xfec00010};
    *(volatile uint32_t *)at[below(8)] = random_value() & ~0x700u;
}

/* ---- what ------------------------------------------------------------- */

static void storm_port(void)
{
    uint32_t port = below(2) ? pick(ports, sizeof ports / sizeof ports[0]) : below(0x10000);
    uint32_t value = random_value(), count = below(16) ? 1 : 1 + below(32);
    unsigned size = 1u << below(3);
    bool write = below(2), string = !below(4);
    void *p = buffer;

    if (write && fatal_port(port, size)) {
        tame_port();
        return;
    }
    if (string && write) {
        if (size == 1)
            __asm__ volatile("rep outsb" : "+S"(p), "+c"(count) : "d"(port) : "memory");
        else if (size == 2)
            __asm__ volatile("rep outsw" : "+S"(p), "+c"(count) : "d"(port) : "memory");
        else
            __asm__ volatile("rep outsl" : "+S"(p), "+c"(count) : "d"(port) : "memory");
    } else if (string) {
        if (size == 1)
            __asm__ volatile("rep insb" : "+D"(p), "+c"(count) : "d"(port) : "memory");
        else if (size == 2)
            __asm__ volatile("rep insw" : "+D"(p), "+c"(count) : "d"(port) : "memory");
        else
            __asm__ volatile("rep insl" : "+D"(p), "+c"(count) : "d"(port) : "memory");
    } else if (write) {
        if (size == 1)
            __asm__ volatile("outb %b0, %w1" : : "a"(value), "d"(port));
        else if (size == 2)
            __asm__ volatile("outw %w0, %w1" : : "a"(value), "d"(port));
        else
            __asm__ volatile("outl %0, %w1" : : "a"(value), "d"(port));
    } else {
        if (size == 1)
            __asm__ volatile("inb %w1, %b0" : "=a"(value) : "d"(port));
        else if (size == 2)
            __asm__ volatile("inw %w1, %w0" : "=a"(value) : "d"(port));
        else
            __asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(port));
    }
}

static void storm_memory(void)
{
    uint32_t at = pick(addresses, sizeof addresses / sizeof addresses[0]), value = random_value();
    uint32_t count = 1 + below(16), low = random32(), high = random32();
    volatile void *p = (void *)at;
    void *source = buffer, *target = (void *)at;

    if (below(8))
        at &= ~3u, p = target = (void *)at;
    if (fatal_address(at, 64)) {
        tame_address();
        return;
    }
    switch (below(12)) {
    case 0:
        *(volatile uint8_t *)p;
        break;
    case 1:
        *(volatile uint16_t *)p;
        break;
    case 2:
        *(volatile uint32_t *)p;
        break;
    case 3:
        *(volatile uint8_t *)p = (uint8_t)value;
        break;
    case 4:
        *(volatile uint16_t *)p = (uint16_t)value;
        break;
    case 5:
    case 6:
        *(volatile uint32_t *)p = value;
        break;
    case 7: /* eight bytes at once */
        __asm__ volatile("fildll %0\n\tfistpll %1" : : "m"(*(uint64_t *)buffer), "m"(*(uint64_t *)p));
        break;
    case 8:
        __asm__ volatile("lock xaddl %0, %1" : "+r"(value), "+m"(*(uint32_t *)p));
        break;
    case 9:
        __asm__ volatile("lock cmpxchg8b %0"
                         : "+m"(*(uint64_t *)p), "+a"(low), "+d"(high)
                         : "b"(value), "c"(value));
        break;
    case 10:
        __asm__ volatile("rep movsl" : "+S"(source), "+D"(target), "+c"(count) : : "memory");
        break;
    default: /* from the device */
        target = buffer;
        source = (void *)at;
        __asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(count) : : "memory");
        break;
    }
}

/* ---- all of it -------------------------------------------------------- */

static void catch_exceptions(void)
{
    static uint64_t idt[256];
    struct __attribute__((packed)) {
        uint16_t limit;
        const void *base;
    } pointer = {sizeof idt - 1, idt};

    for (unsigned i = 0; i < 256; i++) {
        uint32_t at = (uint32_t)(i == 2 ? on_nmi : on_exception);
        idt[i] = (uint64_t)(at >> 16) << 48 | 0x8e00ull << 32 | 8u << 16 | (at & 0xffff);
    }
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

void guest_main(const StartInfo *info)
{
    uint32_t seed = 0;
    for (const char *p = (const char *)(uint32_t)info->command_line; p && *p; p++) {
        if (*p >= '0' && *p <= '9')
            seed = seed * 10 + (uint32_t)(*p - '0');
        if (*p == 'w')
            wild = true;
    }
    state[0] = seed ^ 0x9e3779b9;
    state[1] = seed * 0x85ebca6b + 1;
    state[2] = ~seed;
    state[3] = 0x2545f491;
    for (unsigned i = 0; i < 64; i++)
        random32();
    for (unsigned i = 0; i < sizeof buffer; i++)
        buffer[i] = (uint8_t)random32();
    catch_exceptions();
    for (;;) {
        if (below(2))
            storm_port();
        else
            storm_memory();
        if (!below(64))
            buffer[below(sizeof buffer)] = (uint8_t)random32();
    }
}
