/*
 * Several CPUs: start, interrupts between them, atomic operations, TLB shoot-down, NMI, HLT.
 */
#include "lib.h"

static volatile u32 ready, go;
static u64 c8[2] __attribute__((aligned(16)));
static volatile u32 counter, counter_inc, locked, plain, plain2, tickets, serving, in_section,
    broken;
static volatile u64 sum8;
static u32 rounds;

static void all(void (*fn)(void *))
{
    ready = go = 0;
    for (u32 i = 1; i < cpu_count; i++)
        cpu_run(i, fn, (void *)(u64)i);
    fn(NULL);
    for (u32 i = 1; i < cpu_count; i++)
        cpu_wait(i);
}

/* All start at about the same time. */
static void meet(void)
{
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    for (u32 i = 0; i < 400000000 && ready < cpu_count; i++)
        pause();
}

static void atomics(void *arg)
{
    u32 me = (u32)(u64)arg;
    meet();
    for (u32 i = 0; i < rounds; i++) {
        asm volatile("lock incl %0" : "+m"(counter_inc) : : "memory");
        asm volatile("lock addl $3, %0" : "+m"(counter) : : "memory");
        u64 n = 1;
        asm volatile("lock xaddq %0, %1" : "+r"(n), "+m"(sum8) : : "memory");
        /* CMPXCHG8B and CMPXCHG16B loops */
        u32 lo, hi;
        u64 old = *(volatile u64 *)&c8[0];
        for (;;) {
            u64 want = old + 1;
            lo = (u32)old;
            hi = (u32)(old >> 32);
            bool ok;
            asm volatile("lock cmpxchg8b %1\n sete %0"
                         : "=q"(ok), "+m"(c8[0]), "+a"(lo), "+d"(hi)
                         : "b"((u32)want), "c"((u32)(want >> 32)) : "memory", "cc");
            if (ok)
                break;
            old = (u64)hi << 32 | lo;
        }
        /* a lock by XCHG, and one by tickets */
        u32 v;
        do {
            v = 1;
            asm volatile("xchg %0, %1" : "+r"(v), "+m"(locked) : : "memory");
            if (v)
                pause();
        } while (v);
        if (in_section++)
            broken++;
        plain = plain + 1;
        in_section--;
        locked = 0;
        u32 t = 1;
        asm volatile("lock xaddl %0, %1" : "+r"(t), "+m"(tickets) : : "memory");
        while (serving != t)
            pause();
        plain2 = plain2 + 1;
        asm volatile("" : : : "memory");
        serving = t + 1;
        /* bit operations on one word, each CPU its own bit */
        static volatile u32 bits;
        asm volatile("lock btsl %1, %0" : "+m"(bits) : "r"(me) : "memory");
        asm volatile("lock btrl %1, %0" : "+m"(bits) : "r"(me) : "memory");
        if (bits >> me & 1)
            broken++;
    }
}

static u64 c16[2] __attribute__((aligned(16)));
static void cx16(void *arg)
{
    (void)arg;
    meet();
    for (u32 i = 0; i < rounds; i++) {
        u64 lo = ((volatile u64 *)c16)[0], hi = ((volatile u64 *)c16)[1];
        bool ok;
        do {
            u64 nlo = lo + 1, nhi = hi + 2;
            asm volatile("lock cmpxchg16b %1\n sete %0"
                         : "=q"(ok), "+m"(*(unsigned __int128 *)c16), "+a"(lo), "+d"(hi)
                         : "b"(nlo), "c"(nhi) : "memory", "cc");
        } while (!ok);
    }
}

/* An unaligned locked access, over a cache line and over a page */
static u8 split[2 * PAGE] __attribute__((aligned(4096)));
static void split_locks(void *arg)
{
    (void)arg;
    meet();
    for (u32 i = 0; i < rounds / 4; i++) {
        asm volatile("lock incq %0" : "+m"(*(u64 *)(split + 61)) : : "memory");
        asm volatile("lock incl %0" : "+m"(*(u32 *)(split + PAGE - 2)) : : "memory");
    }
}

/* ---- interrupts ---- */

static volatile u32 got[CPUS_MAX], nmis[CPUS_MAX];
static void on_ipi(Trap *t)
{
    (void)t;
    __atomic_add_fetch(&got[this_cpu()->index], 1, __ATOMIC_SEQ_CST);
    lapic_eoi();
}
static void on_nmi(Trap *t)
{
    (void)t;
    __atomic_add_fetch(&nmis[this_cpu()->index], 1, __ATOMIC_SEQ_CST);
}

static volatile u32 quit;
static void halt_loop(void *arg)
{
    (void)arg;
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    while (!quit)
        asm volatile("sti\n hlt\n cli" : : : "memory");
}

static void interrupts(void)
{
    quit = ready = 0;
    for (u32 i = 1; i < cpu_count; i++)
        cpu_run(i, halt_loop, NULL);
    check(wait_for(&ready, cpu_count - 1), true, "all in HLT");
    for (u32 n = 1; n <= 100; n++)
        for (u32 i = 1; i < cpu_count; i++) {
            lapic_ipi(cpus[i].apic_id, 0x4070);
            if (!wait_for(&got[i], n))
                die("IPI %u to CPU %u is lost", n, i);
        }
    for (u32 n = 1; n <= 20; n++) {
        lapic_write(LAPIC_ICR, 0xc4070); /* all but self */
        for (u32 i = 1; i < cpu_count; i++)
            if (!wait_for(&got[i], 100 + n))
                die("broadcast %u to CPU %u is lost", n, i);
    }
    check(got[0], 0, "all but self");
    lapic_write(LAPIC_ICR, 0x84070); /* all */
    wait_irq(&got[0], 1);
    check(got[0], 1, "all, with self");
    for (u32 i = 1; i < cpu_count; i++)
        check(wait_for(&got[i], 121), true, "all: CPU %u", i);
    for (u32 i = 1; i < cpu_count; i++) {
        lapic_ipi(cpus[i].apic_id, 0x4400);
        check(wait_for(&nmis[i], 1), true, "NMI to CPU %u in HLT", i);
    }
    quit = 1;
    lapic_write(LAPIC_ICR, 0xc4070);
    for (u32 i = 1; i < cpu_count; i++)
        cpu_wait(i);
}

/* ---- TLB ---- */

#define WINDOW 0x200000000ul
static volatile u64 dir[512] __attribute__((aligned(4096)));
static volatile u64 table[512] __attribute__((aligned(4096)));
static volatile u64 pages[64][512] __attribute__((aligned(4096)));
static volatile u32 shot[CPUS_MAX], wrong;
static volatile u64 version;

static void on_shoot(Trap *t)
{
    (void)t;
    invlpg((void *)WINDOW);
    shot[this_cpu()->index]++;
    lapic_eoi();
}

static void reader(void *arg)
{
    (void)arg;
    u32 me = this_cpu()->index;
    (void)me;
    sti();
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    while (!quit) {
        u64 before = version;
        u64 v = *(volatile u64 *)WINDOW;
        u64 after = version;
        /* the mapping changes between `version` odd and even */
        if (before == after && !(before & 1) && v != before / 2)
            wrong++;
    }
}

static void shoot_down(void)
{
    for (unsigned i = 0; i < 64; i++)
        pages[i][0] = i;
    pdpt_host[WINDOW >> 30] = (u64)dir | 3;
    dir[0] = (u64)table | 3;
    table[0] = (u64)pages[0] | 3;
    version = 0;
    quit = ready = 0;
    trap_handlers[0x71] = on_shoot;
    for (u32 i = 1; i < cpu_count; i++)
        cpu_run(i, reader, NULL);
    wait_for(&ready, cpu_count - 1);
    for (u32 n = 1; n < 64; n++) {
        u32 before[CPUS_MAX];
        for (u32 i = 1; i < cpu_count; i++)
            before[i] = shot[i];
        version = 2 * n - 1;
        table[0] = (u64)pages[n] | 3;
        lapic_write(LAPIC_ICR, 0xc4071);
        invlpg((void *)WINDOW);
        for (u32 i = 1; i < cpu_count; i++)
            if (!wait_for(&shot[i], before[i] + 1))
                die("shoot-down %u: CPU %u does not answer", n, i);
        version = 2 * n;
        /* No PAUSE here: it gives the host's core away, and the readers never do. */
        for (volatile u32 i = 0; i < 1000; i++)
            ;
    }
    quit = 1;
    for (u32 i = 1; i < cpu_count; i++)
        cpu_wait(i);
    check(wrong, 0, "stale translations used after a shoot-down");
    pdpt_host[WINDOW >> 30] = 0;
    write_cr3(read_cr3());
}

/* ---- INIT and SIPI again: a CPU is started a second time ---- */

extern volatile u32 ap_ticket;
static void forever(void *arg)
{
    (void)arg;
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    for (;;)
        pause();
}

static void restart(void)
{
    if (cpu_count != 2)
        return; /* the index is by the order of the start */
    ready = 0;
    cpu_run(1, forever, NULL);
    check(wait_for(&ready, 1), true, "restart: runs");
    u32 id = cpus[1].apic_id;
    lapic_ipi(id, 0x4500);
    cpu_count = 1;
    ap_ticket = 1;
    u64 t = rdtsc();
    for (u32 i = 0; i < 200000 && rdtsc() - t < 20000000; i++)
        pause();
    lapic_ipi(id, 0x4600 | AP_VECTOR);
    check(wait_for(&cpu_count, 2), true, "restart: started again");
    cpus[1].apic_id = id;
}

void guest_main(void)
{
    trap_handlers[0x70] = on_ipi;
    trap_handlers[NMI] = on_nmi;
    cpus_start();
    print("%u CPUs\n", cpu_count);
    if (cpu_count < 2) {
        print("SKIP: one CPU\n");
        finish();
    }
    u32 seen = 0;
    for (u32 i = 0; i < cpu_count; i++)
        seen |= 1u << cpus[i].apic_id;
    check(seen, (1u << cpu_count) - 1, "APIC IDs");
    rounds =
        cpu_count > 2 ? 100 : 500; /* more CPUs than the host has: locks wait for its scheduler */
    all(atomics);
    check(counter_inc, rounds * cpu_count, "LOCK INC");
    check(counter, 3 * rounds * cpu_count, "LOCK ADD");
    check(sum8, rounds * cpu_count, "LOCK XADD");
    check(c8[0], rounds * cpu_count, "CMPXCHG8B");
    check(plain, rounds * cpu_count, "counted under the lock by XCHG");
    check(plain2, rounds * cpu_count, "counted under the lock by tickets");
    check(broken, 0, "locks held twice");
    if (HAS_CX16) {
        all(cx16);
        check(c16[0], rounds * cpu_count, "CMPXCHG16B: low");
        check(c16[1], 2 * rounds * cpu_count, "CMPXCHG16B: high");
    }
    all(split_locks);
    check(*(u64 *)(split + 61), rounds / 4 * cpu_count, "LOCK over a cache line");
    check(*(u32 *)(split + PAGE - 2), rounds / 4 * cpu_count, "LOCK over a page");
    interrupts();
    shoot_down();
    restart();
    finish();
}
