/*
 * loop - bare-metal work for a CPU, without devices; ends the machine with exit status 0.
 *
 * A PVH kernel in 32-bit protected mode without paging.  Command line: WHAT ROUNDS
 *
 *   alu     arithmetic on registers: xorshift
 *   memory  a table of 64 KiB, read and written at random places
 *   sort    quicksort: branches that cannot be foretold, recursion
 *   call    fibonacci: calls and returns
 */
#include <stdint.h>

typedef struct StartInfo {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line;
} StartInfo;

__asm__(".section .note.pvh, \"a\", @note\n"
        ".balign 4\n"
        ".long 4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
        ".asciz \"Xen\"\n"
        ".long start\n"
        ".text\n"
        ".globl start\n"
        "start:\n"
        "    mov $stack_top, %esp\n"
        "    cld\n"
        "    push %ebx\n" /* the start info */
        "    call guest_main\n"
        "    mov $0x501, %edx\n"
        "    out %al, %dx\n"
        "1:  hlt\n"
        "    jmp 1b\n"
        ".bss\n"
        ".balign 16\n"
        "    .skip 65536\n"
        "stack_top:\n"
        ".text\n");

uint32_t guest_main(const StartInfo *info);

static uint32_t table[16384];
static volatile uint32_t sink;

static uint32_t next(uint32_t x)
{
    x ^= x << 13;
    x ^= x >> 17;
    return x ^ x << 5;
}

static void alu(uint32_t rounds)
{
    uint32_t x = 1;
    for (uint32_t i = 0; i < rounds; i++)
        x = next(x) + i;
    sink = x;
}

static void memory(uint32_t rounds)
{
    uint32_t x = 1;
    for (uint32_t i = 0; i < rounds; i++) {
        x = next(x);
        table[x % 16384] += table[i % 16384] + 1;
    }
    sink = table[0];
}

static void quicksort(uint32_t *a, int32_t low, int32_t high)
{
    while (low < high) {
        uint32_t pivot = a[(low + high) / 2];
        int32_t i = low, j = high;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        quicksort(a, low, j);
        low = i;
    }
}

static void sort(uint32_t rounds)
{
    uint32_t x = 1;
    for (uint32_t n = 0; n < rounds; n++) {
        for (uint32_t i = 0; i < 16384; i++)
            table[i] = x = next(x);
        quicksort(table, 0, 16383);
    }
}

__attribute__((noinline)) static uint32_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

uint32_t guest_main(const StartInfo *info)
{
    const char *p = (const char *)(uint32_t)info->command_line;
    char what = *p;
    uint32_t rounds = 0;
    for (; *p; p++)
        if (*p >= '0' && *p <= '9')
            rounds = rounds * 10 + (uint32_t)(*p - '0');
    if (what == 'a')
        alu(rounds);
    else if (what == 'm')
        memory(rounds);
    else if (what == 's')
        sort(rounds);
    else if (what == 'c')
        sink = fibonacci(rounds);
    else
        return 1;
    return 0;
}
