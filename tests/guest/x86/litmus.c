/*
 * Memory ordering between two CPUs, after the SDM volume 3, "Memory Ordering": what must never be
 * seen (message passing, load buffering, store buffering with fences or locked instructions).
 * What may be seen (store buffering without) is counted and printed.
 */
#include "lib.h"

enum { ROUNDS = 4000 };
static struct {
    volatile u32 x __attribute__((aligned(64)));
    volatile u32 y __attribute__((aligned(64)));
    volatile u32 r0 __attribute__((aligned(64))), r1, r2, r3;
    volatile u32 at0 __attribute__((aligned(64)));
    volatile u32 at1 __attribute__((aligned(64)));
} m;

/* Both sides leave this at about the same time: a barrier with a little random delay after it. */
static inline void barrier(volatile u32 *mine, volatile u32 *other, u32 n)
{
    __atomic_store_n(mine, n, __ATOMIC_SEQ_CST);
    for (u32 i = 0; i < 400000000 && __atomic_load_n(other, __ATOMIC_SEQ_CST) < n; i++)
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
/* Own stores are seen at once, before others see them (allowed), never lost. */
static void own0(void) { u32 a; STORE(m.x); LOAD(a, m.x); m.r0 = a; }
static void own1(void) { u32 a; STORE(m.y); LOAD(a, m.y); m.r1 = a; }

static const struct {
    Side *side[2];
    const char *name;
    u32 bad0, bad1; /* never r0 == bad0 and r1 == bad1 */
    bool forbidden;
} tests[] = {
    {{sb0, sb1}, "store buffering", 0, 0, false},
    {{sbf0, sbf1}, "store buffering, MFENCE", 0, 0, true},
    {{sbx0, sbx1}, "store buffering, XCHG", 0, 0, true},
    {{sbl0, sbl1}, "store buffering, LOCK", 0, 0, true},
    {{mp0, mp1}, "message passing", 1, 0, true},
    {{lb0, lb1}, "load buffering", 1, 1, true},
};

static volatile u32 current;
static u32 bad, seen[4];

static void other_side(void *arg)
{
    (void)arg;
    for (u32 n = 1; n <= ROUNDS; n++) {
        barrier(&m.at1, &m.at0, 2 * n - 1);
        for (u32 d = n * 7 % 13; d; d--)
            asm volatile("" : : : "memory");
        tests[current].side[1]();
        barrier(&m.at1, &m.at0, 2 * n);
    }
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
        memset(seen, 0, sizeof seen);
        m.at0 = m.at1 = 0;
        m.x = m.y = 0;
        cpu_run(1, other_side, NULL);
        for (u32 n = 1; n <= ROUNDS; n++) {
            m.x = m.y = 0;
            barrier(&m.at0, &m.at1, 2 * n - 1);
            for (u32 d = n * 5 % 11; d; d--)
                asm volatile("" : : : "memory");
            tests[current].side[0]();
            barrier(&m.at0, &m.at1, 2 * n);
            seen[(m.r0 & 1) * 2 + (m.r1 & 1)]++;
        }
        cpu_wait(1);
        print("%s: 00 %u, 01 %u, 10 %u, 11 %u\n", tests[current].name, seen[0], seen[1], seen[2],
              seen[3]);
        if (tests[current].forbidden)
            check(seen[tests[current].bad0 * 2 + tests[current].bad1], 0, "%s: forbidden outcome",
                  tests[current].name);
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
