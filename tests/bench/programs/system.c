/* Programs that keep the kernel busy: system calls, context switches, processes, page faults. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* 1000 of the cheapest system calls. */
uint64_t bench_syscall(unsigned long rounds)
{
    uint64_t sum = 0;
    for (unsigned long i = 0; i < rounds * 1000; i++)
        sum += syscall(SYS_getppid) >= 0;
    return sum;
}

/* A byte to another process and back, 100 times. */
uint64_t bench_pipe(unsigned long rounds)
{
    int there[2], back[2];
    char byte = 0;
    if (pipe(there) != 0 || pipe(back) != 0)
        return 0;
    pid_t child = fork();
    if (child < 0)
        return 0;
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
            ;
        _exit(0);
    }
    uint64_t sum = 0;
    for (unsigned long i = 0; i < rounds * 100; i++)
        sum += write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1;
    close(there[1]);
    waitpid(child, NULL, 0);
    close(there[0]);
    close(back[0]);
    close(back[1]);
    return sum;
}

/* A process that executes this file, and is waited for. */
uint64_t bench_exec(unsigned long rounds)
{
    uint64_t sum = 0;
    while (rounds-- > 0) {
        pid_t child = fork();
        if (child < 0)
            return 0;
        if (child == 0) {
            execl(getenv("BENCH_SELF"), "bench", "nothing", (char *)NULL);
            _exit(1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        sum += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return sum;
}

/* 256 new pages, touched and given back. */
uint64_t bench_fault(unsigned long rounds)
{
    enum { PAGES = 256 };
    uint64_t sum = 0;
    while (rounds-- > 0) {
        volatile char *p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return 0;
        madvise((void *)p, PAGES * 4096, MADV_NOHUGEPAGE);
        for (int i = 0; i < PAGES; i++)
            p[i * 4096] = 1;
        for (int i = 0; i < PAGES; i++)
            sum += (uint64_t)p[i * 4096];
        munmap((void *)p, PAGES * 4096);
    }
    return sum;
}
