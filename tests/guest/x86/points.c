/*
 * Two functions that are called in turn, for whoever stops at them: the result tells whether any
 * instruction was lost or done twice.  tests/guest/run-points
 */
#include "lib.h"

enum { ROUNDS = 10 };

static volatile u64 sum;
volatile u64 watched; /* written once a round */

__attribute__((noinline)) void first(u64 n)
{
    sum = sum * 3 + n;
}

__attribute__((noinline)) void second(u64 n)
{
    sum = sum * 5 ^ n;
    watched = n;
}

__attribute__((noinline)) void last(void)
{
    sum++;
}

void guest_main(void)
{
    u64 want = 0;
    for (u64 i = 0; i < ROUNDS; i++)
        want = (want * 3 + i) * 5 ^ (i + 7);
    for (u64 i = 0; i < ROUNDS; i++) {
        first(i);
        second(i + 7);
        outb(0x80, (u8)i); /* nobody answers */
    }
    (void)*(volatile u32 *)0xfec00010; /* the I/O APIC */
    outb(0x3fc, 8);
    outb(0x3f9, 2); /* the UART wants an interrupt, which nobody takes */
    outb(0x3f9, 0);
    last();
    check(sum, want + 1, "the sum");
    check(watched, ROUNDS + 6, "the last value");
    finish();
}
