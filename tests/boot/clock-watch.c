/*
 * For a Linux guest: reads CLOCK_MONOTONIC until SIGTERM, and says whether it ever went back and what
 * its largest step was, with as many CPUs as there are: "CLOCK back N largest N us".
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static volatile sig_atomic_t done;

static void end(int signal) { done = 1; }

static int64_t now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(void)
{
    int64_t last = now(CLOCK_MONOTONIC), raw = now(CLOCK_MONOTONIC_RAW), largest = 0, back = 0;
    signal(SIGTERM, end);
    while (!done) {
        for (unsigned i = 0; i < 100; i++) {
            int64_t t = now(CLOCK_MONOTONIC), r = now(CLOCK_MONOTONIC_RAW);
            back += t < last;
            back += r < raw;
            largest = t - last > largest ? t - last : largest;
            last = t;
            raw = r;
        }
        /* leave the CPU to the work: but the sleep's length counts, too */
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    printf("CLOCK back %lld largest %lld us\n", (long long)back, (long long)largest / 1000);
    return 0;
}
