/*
 * Runs the programs: as a process of the host, or as the first and only process of a Linux guest
 * (rdinit=/bench), where the settings come as environment, that is, from the kernel's command line:
 *
 *   BENCH_ONLY=crc,sieve   these programs         BENCH_PERCENT=5   so much of the work
 *   BENCH_REPEAT=3         each so many times
 *
 * A line BEGIN and a line END stand around each run; who reads them takes the CPU time of the
 * emulator there.  The guest sleeps a little after each, so that the reader need not be quick.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* Rounds that take some 300 million instructions each. */
static const struct {
    const char *name;
    uint64_t (*run)(unsigned long rounds);
    unsigned long rounds;
} programs[] = {
    { "crc", bench_crc, 600 },          { "xorshift", bench_xorshift, 300 },
    { "sieve", bench_sieve, 700 },      { "sort", bench_sort, 140 },
    { "chase-64K", bench_chase_small, 400 }, { "chase-16M", bench_chase_large, 400 },
    { "copy", bench_copy, 15000 },
    { "nbody", bench_nbody, 900 },      { "mandelbrot", bench_mandelbrot, 200 },
    { "matrix", bench_matrix, 450 },    { "saxpy", bench_saxpy, 30000 },
    { "syscall", bench_syscall, 1000 }, { "pipe", bench_pipe, 400 },
    { "exec", bench_exec, 600 },        { "fault", bench_fault, 300 },
};

static unsigned long setting(const char *name, unsigned long fallback)
{
    const char *value = getenv(name);
    return value ? strtoul(value, NULL, 10) : fallback;
}

static bool wanted(const char *name)
{
    const char *only = getenv("BENCH_ONLY");
    size_t length = strlen(name);
    if (!only)
        return true;
    for (const char *at = only; (at = strstr(at, name)); at += length)
        if ((at == only || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
            return true;
    return false;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* In a process of its own, so that each finds fresh memory. */
static void time_one(unsigned n, unsigned long percent)
{
    unsigned long rounds = (programs[n].rounds * percent + 99) / 100;
    pid_t child = fork();
    if (child == 0) {
        printf("BENCH-BEGIN %s\n", programs[n].name);
        usleep(50000);
        uint64_t sum = programs[n].run(rounds);
        printf("BENCH-END %s %016llx", programs[n].name, (unsigned long long)sum);
        struct rusage self, children;
        getrusage(RUSAGE_SELF, &self);
        getrusage(RUSAGE_CHILDREN, &children);
        printf(" user %.6f system %.6f\n", seconds(self.ru_utime) + seconds(children.ru_utime),
               seconds(self.ru_stime) + seconds(children.ru_stime));
        usleep(50000);
        exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "nothing") == 0)
        return 0;
    setenv("BENCH_SELF", getpid() == 1 ? "/bench" : argv[0], 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    unsigned long repeat = setting("BENCH_REPEAT", 1), percent = setting("BENCH_PERCENT", 100);
    printf("BENCH-START\n");
    for (unsigned long i = 0; i < repeat; i++)
        for (unsigned n = 0; n < sizeof programs / sizeof programs[0]; n++)
            if (wanted(programs[n].name))
                time_one(n, percent);
    printf("BENCH-DONE\n");
    if (getpid() == 1) {
        usleep(200000);
        reboot(RB_POWER_OFF); /* not everywhere does that end the machine */
        for (;;)
            pause();
    }
    return 0;
}
