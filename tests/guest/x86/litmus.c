/*
 * Memory ordering between CPUs, after the SDM volume 3, "Memory Ordering", with the names that the
 * literature gives the tests: what must never be seen (message passing, load buffering, write to
 * read causality, independent reads of independent writes, store buffering with fences or locked
 * instructions).  What may be seen (store buffering without) is counted and printed.
 */
#include "lib.h"

enum { ROUNDS = 4000, ROUNDS_MANY = 500, SIDES = 4 };
static struct {
    volatile u32 x __attribute__((aligned(64)));
    volatile u32 y __attribute__((aligned(64)));
    volatile u32 r0 __attribute__((aligned(64))), r1, r2, r3;
    struct {
        volatile u32 n __attribute__((aligned(64)));
    } at[SIDES];
} m;

/* All of them leave this at about the same time. */
static void barrier(u32 mine, u32 sides, u32 n)
{
    __atomic_store_n(&m.at[mine].n, n, __ATOMIC_SEQ_CST);
    for (u32 other = 0; other < sides; other++)
        for (u32 i = 0; i < 400000000 && __atomic_load_n(&m.at[other].n, __ATOMIC_SEQ_CST) < n; i++)
            pause();
}

typedef void Side(void);

#define STORE(v) asm volatile("movl $1, %0" : "=m"(v) : : "memory")
#define LOAD(r, v) asm volatile("movl %1, %0" : "=r"(r) : "m"(v) : "memory")

static void sb0(void) { u32 r; STORE(m.x); LOAD(r, m.y); m.r0 = r; }
static void sb1(void) { u32 r; STORE(m.y); LOAD(r, m.x); m.r1 = r; }
static void sbf0(void)
{
    u32 r;
    STORE(m.x);
    asm volatile("mfence" : : : "memory");
    LOAD(r, m.y);
    m.r0 = r;
}
static void sbf1(void)
{
    u32 r;
    STORE(m.y);
    asm volatile("mfence" : : : "memory");
    LOAD(r, m.x);
    m.r1 = r;
}
static void sbx0(void)
{
    u32 r = 1;
    asm volatile("xchg %0, %1" : "+r"(r), "+m"(m.x) : : "memory");
    LOAD(r, m.y);
    m.r0 = r;
}
static void sbx1(void)
{
    u32 r = 1;
    asm volatile("xchg %0, %1" : "+r"(r), "+m"(m.y) : : "memory");
    LOAD(r, m.x);
    m.r1 = r;
}
static void sbl0(void)
{
    u32 r;
    STORE(m.x);
    asm volatile("lock addl $0, (%%rsp)" : : : "memory", "cc");
    LOAD(r, m.y);
    m.r0 = r;
}
static void sbl1(void)
{
    u32 r;
    STORE(m.y);
    asm volatile("lock addl $0, (%%rsp)" : : : "memory", "cc");
    LOAD(r, m.x);
    m.r1 = r;
}
static void mp0(void) { STORE(m.x); STORE(m.y); m.r2 = 0; }
static void mp1(void) { u32 a, b; LOAD(a, m.y); LOAD(b, m.x); m.r0 = a; m.r1 = b; }
static void lb0(void) { u32 a; LOAD(a, m.x); STORE(m.y); m.r0 = a; }
static void lb1(void) { u32 a; LOAD(a, m.y); STORE(m.x); m.r1 = a; }
/* Two readers see the stores of two writers in the same order. */
static void write_x(void) { STORE(m.x); }
static void write_y(void) { STORE(m.y); }
static void iriw2(void) { u32 a, b; LOAD(a, m.x); LOAD(b, m.y); m.r0 = a; m.r1 = b; }
static void iriw3(void) { u32 a, b; LOAD(a, m.y); LOAD(b, m.x); m.r2 = a; m.r3 = b; }
static void iriwf2(void)
{
    u32 a, b;
    LOAD(a, m.x);
    asm volatile("mfence" : : : "memory");
    LOAD(b, m.y);
    m.r0 = a;
    m.r1 = b;
}
static void iriwf3(void)
{
    u32 a, b;
    LOAD(a, m.y);
    asm volatile("mfence" : : : "memory");
    LOAD(b, m.x);
    m.r2 = a;
    m.r3 = b;
}
static void swap_x(void) { u32 r = 1; asm volatile("xchg %0, %1" : "+r"(r), "+m"(m.x) : : "memory"); }
static void swap_y(void) { u32 r = 1; asm volatile("xchg %0, %1" : "+r"(r), "+m"(m.y) : : "memory"); }
/* Who sees the store of one who had seen another store sees that one, too. */
static void wrc1(void) { u32 a; LOAD(a, m.x); STORE(m.y); m.r0 = a; }
static void wrc2(void) { u32 a, b; LOAD(a, m.y); LOAD(b, m.x); m.r1 = a; m.r2 = b; }
/* Two loads of the same place never go back in time. */
static void corr1(void) { u32 a, b; LOAD(a, m.x); LOAD(b, m.x); m.r0 = a; m.r1 = b; }
/* Own stores are seen at once, before others see them (allowed), never lost. */
static void own0(void) { u32 a; STORE(m.x); LOAD(a, m.x); m.r0 = a; }
static void own1(void) { u32 a; STORE(m.y); LOAD(a, m.y); m.r1 = a; }

static const struct {
    const char *name;
    Side *side[SIDES]; /* NULL: fewer CPUs */
    u32 results;       /* how many of r0, r1... it has */
    const char *bad;   /* values of them that are never seen, or NULL */
} tests[] = {
    {"store buffering", {sb0, sb1}, 2, NULL},
    {"store buffering, MFENCE", {sbf0, sbf1}, 2, "00"},
    {"store buffering, XCHG", {sbx0, sbx1}, 2, "00"},
    {"store buffering, LOCK", {sbl0, sbl1}, 2, "00"},
    {"message passing", {mp0, mp1}, 2, "10"},
    {"load buffering", {lb0, lb1}, 2, "11"},
    {"read-read coherence", {write_x, corr1}, 2, "10"},
    {"write to read causality", {write_x, wrc1, wrc2}, 3, "110"},
    {"independent reads of independent writes", {write_x, write_y, iriw2, iriw3}, 4, "1010"},
    {"independent reads of independent writes, MFENCE", {write_x, write_y, iriwf2, iriwf3}, 4, "1010"},
    {"independent reads of independent writes, XCHG", {swap_x, swap_y, iriw2, iriw3}, 4, "1010"},
};

static volatile u32 current;
static u32 bad, seen[16];

static u32 sides(void)
{
    u32 n = 0;
    while (n < SIDES && tests[current].side[n])
        n++;
    return n;
}

static u32 rounds(void) { return sides() > 2 ? ROUNDS_MANY : ROUNDS; }

/* What a side does in all rounds; side 0 also clears the memory and counts. */
static void play(u32 mine)
{
    u32 all = sides();
    for (u32 n = 1; n <= rounds(); n++) {
        if (mine == 0)
            m.x = m.y = m.r0 = m.r1 = m.r2 = m.r3 = 0;
        barrier(mine, all, 2 * n - 1);
        for (u32 d = n * (5 + 2 * mine) % (11 + 2 * mine); d; d--)
            asm volatile("" : : : "memory"); /* not all at the very same time */
        tests[current].side[mine]();
        barrier(mine, all, 2 * n);
        if (mine == 0)
            seen[(m.r0 & 1) | (m.r1 & 1) << 1 | (m.r2 & 1) << 2 | (m.r3 & 1) << 3]++;
    }
}

static void other_side(void *arg)
{
    play((u32)(u64)arg);
}

/* The number of rounds with these values of r0, r1... */
static u32 times(const char *values)
{
    u32 at = 0;
    for (u32 i = 0; values[i]; i++)
        at |= (u32)(values[i] - '0') << i;
    return seen[at];
}

static void run_test(void)
{
    memset(seen, 0, sizeof seen);
    memset(&m, 0, sizeof m);
    for (u32 i = 1; i < sides(); i++)
        cpu_run(i, other_side, (void *)(u64)i);
    play(0);
    for (u32 i = 1; i < sides(); i++)
        cpu_wait(i);
    print("%s:", tests[current].name);
    for (u32 i = 0; i < 1u << tests[current].results; i++) {
        char values[SIDES + 1] = "";
        for (u32 k = 0; k < tests[current].results; k++)
            values[k] = (char)('0' + (i >> k & 1));
        if (seen[i])
            print(" %s %u", values, seen[i]);
    }
    print("\n");
    if (tests[current].bad)
        check(times(tests[current].bad), 0, "%s: forbidden outcome", tests[current].name);
}

static void own_side(void *arg)
{
    (void)arg;
    for (u32 n = 0; n < 1000; n++) {
        m.y = 0;
        own1();
        if (m.r1 != 1)
            bad++;
    }
}

/* A 64-bit store is seen whole: aligned, it never tears. */
static volatile u64 whole __attribute__((aligned(64)));
static volatile u32 stop;
static void tearer(void *arg)
{
    (void)arg;
    for (u64 i = 0; !stop; i++)
        whole = i & 1 ? ~0ull : 0;
}

void guest_main(void)
{
    cpus_start();
    if (cpu_count < 2) {
        print("SKIP: one CPU\n");
        finish();
    }
    for (current = 0; current < COUNT(tests); current++) {
        if (sides() <= cpu_count)
            run_test();
        else
            print("%s: not with %u CPUs\n", tests[current].name, cpu_count);
    }
    cpu_run(1, own_side, NULL);
    for (u32 n = 0; n < 1000; n++) {
        m.x = 0;
        own0();
        if (m.r0 != 1)
            bad++;
    }
    cpu_wait(1);
    check(bad, 0, "own stores");
    cpu_run(1, tearer, NULL);
    u32 torn = 0;
    for (u32 n = 0; n < 100000; n++) {
        u64 v = whole;
        if (v && v != ~0ull)
            torn++;
    }
    stop = 1;
    cpu_wait(1);
    check(torn, 0, "torn 64-bit loads");
    finish();
}
