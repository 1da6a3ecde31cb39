/*
 * Cases on the host's CPU.  A child process maps the pages and lives in one
 * signal handler: returning from it runs the next case with all of its state
 * (general registers, flags, x87, SSE), and the exception that ends the case
 * comes back into the handler with all of the result.
 *
 * The child shares cases and results with the parent through memory, a pair of
 * pipes says go and done.  A case that kills the child or runs for ever costs
 * only that child.
 */
#include "oracle.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <asm/prctl.h>
#include <cpuid.h>
#include <ucontext.h>
#include <unistd.h>

typedef struct Shared {
    Case cases[ORACLE_BATCH];
    Result results[ORACLE_BATCH];
    volatile unsigned count, at;
} Shared;

static Shared *shared;
static pid_t child;
static int to_child = -1, from_child = -1;

/* ---- in the child --------------------------------------------------------------------- */

static struct { gregset_t gregs; uint8_t fp[4096]; size_t fp_bytes; } home;
static bool away; /* in the batch, rather than at the starting UD2 */
static uint64_t last_code;
static unsigned ymmh_offset; /* in the XSAVE image; 0: no AVX */

static const int gpr_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static uint64_t *xstate_bv(void *fp)
{
    return (uint64_t *)((char *)fp + 512);
}

static void capture(const Case *c, Result *r, const ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    for (unsigned i = 0; i < 16; i++)
        r->s.gpr[i] = (uint64_t)g[gpr_of[i]];
    r->s.rip = (uint64_t)g[REG_RIP];
    r->s.rflags = (uint64_t)g[REG_EFL];
    r->vector = (uint32_t)g[REG_TRAPNO];
    r->error = (uint32_t)g[REG_ERR];
    r->cr2 = r->vector == 14 ? (uint64_t)g[REG_CR2] : 0;
    const char *fp = (const char *)uc->uc_mcontext.fpregs;
    memcpy(&r->s.fx, fp, sizeof r->s.fx);
    memset(r->s.fx.rest, 0, sizeof r->s.fx.rest);
    memset(r->s.ymmh, 0, sizeof r->s.ymmh);
    if (ymmh_offset && (*xstate_bv((void *)fp) & 4))
        memcpy(r->s.ymmh, fp + ymmh_offset, sizeof r->s.ymmh);
    memcpy(r->data, (void *)c->data_at, DATA_WINDOW);
    memcpy(r->stack, (void *)c->stack_at, STACK_WINDOW);
}

static void load(const Case *c, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    for (unsigned i = 0; i < 16; i++)
        g[gpr_of[i]] = (greg_t)c->in.gpr[i];
    g[REG_RIP] = (greg_t)c->in.rip;
    g[REG_EFL] = (greg_t)c->in.rflags;
    char *fp = (char *)uc->uc_mcontext.fpregs;
    /* bytes 464 on are the kernel's */
    memcpy(fp, &c->in.fx, offsetof(FxImage, rest));
    *xstate_bv(fp) |= 3;
    if (ymmh_offset) {
        *xstate_bv(fp) |= 4;
        memcpy(fp + ymmh_offset, c->in.ymmh, sizeof c->in.ymmh);
    }
    if (last_code)
        memset((void *)last_code, 0xf4, CODE_MAX);
    last_code = c->code_at;
    memcpy((void *)c->code_at, c->code, c->length);
    memcpy((void *)c->data_at, c->data, DATA_WINDOW);
    memcpy((void *)c->stack_at, c->stack, STACK_WINDOW);
}

static void handler(int sig, siginfo_t *info, void *data)
{
    ucontext_t *uc = data;
    /* whatever the case has left there */
    __asm__ volatile("cld; pushq %0; popfq" : : "r"(0x202ull) : "memory", "cc");
    if (!away) {
        uint32_t size = *(uint32_t *)((char *)uc->uc_mcontext.fpregs + 468); /* extended_size */
        home.fp_bytes = MIN((size_t)size, sizeof home.fp);
        memcpy(home.gregs, uc->uc_mcontext.gregs, sizeof home.gregs);
        memcpy(home.fp, uc->uc_mcontext.fpregs, home.fp_bytes);
        away = true;
    } else {
        if (sig == SIGALRM) {
            memset(&shared->results[shared->at], 0, sizeof(Result));
            shared->results[shared->at].vector = 255;
        } else {
            capture(&shared->cases[shared->at], &shared->results[shared->at], uc);
        }
        shared->at++;
    }
    if (shared->at < shared->count) {
        load(&shared->cases[shared->at], uc);
        return;
    }
    memcpy(uc->uc_mcontext.gregs, home.gregs, sizeof home.gregs);
    memcpy(uc->uc_mcontext.fpregs, home.fp, home.fp_bytes);
    uc->uc_mcontext.gregs[REG_RIP] += 2; /* UD2 */
    away = false;
}

static void map(uint64_t at, size_t bytes, int prot, int fill)
{
    void *p = mmap((void *)at, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);
    if (p != (void *)at) {
        fprintf(stderr, "oracle: cannot map 0x%" G_GINT64_MODIFIER "x\n", at);
        _exit(1);
    }
    memset(p, fill, bytes);
    if (prot != (PROT_READ | PROT_WRITE))
        mprotect(p, bytes, prot);
}

static G_GNUC_NORETURN void child_main(int in, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    map(CODE_AT, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, 0xf4);
    map(DATA_AT, DATA_BYTES, PROT_READ | PROT_WRITE, 0);
    map(RO_AT, RO_BYTES, PROT_READ, 0x5a);
    map(STACK_AT, STACK_BYTES, PROT_READ | PROT_WRITE, 0);
    syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)GS_BASE);
    stack_t ss = {.ss_size = 1 << 17};
    ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaltstack(&ss, NULL);
    unsigned a, b, c, d;
    if (__get_cpuid_count(0xd, 2, &a, &b, &c, &d) && a == 256)
        ymmh_offset = b;
    static const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP, SIGALRM};
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&sa.sa_mask);
    /* but not the synchronous ones: blocked, they would kill */
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        if (signals[i] != SIGALRM)
            sigdelset(&sa.sa_mask, signals[i]);
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &sa, NULL);
    char byte;
    while (read(in, &byte, 1) == 1) {
        alarm(5);
        __asm__ volatile("ud2" : : : "memory");
        alarm(0);
        if (write(out, &byte, 1) != 1)
            break;
    }
    _exit(0);
}

/* ---- in the parent ------------------------------------------------------------------------ */

static void native_start(void)
{
    int a[2], b[2];
    if (!shared) {
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED)
            g_error("oracle: no memory");
    }
    if (pipe(a) || pipe(b))
        g_error("oracle: %s", g_strerror(errno));
    fflush(NULL);
    child = fork();
    if (child < 0)
        g_error("oracle: %s", g_strerror(errno));
    if (child == 0) {
        close(a[1]);
        close(b[0]);
        child_main(a[0], b[1]);
    }
    close(a[0]);
    close(b[1]);
    to_child = a[1];
    from_child = b[0];
}

void native_stop(void)
{
    if (child <= 0)
        return;
    close(to_child);
    close(from_child);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    child = 0;
}

bool native_run(const Case *cases, Result *results, unsigned n, unsigned *bad)
{
    if (child <= 0)
        native_start();
    memcpy(shared->cases, cases, n * sizeof *cases);
    shared->count = n;
    shared->at = 0;
    char byte = 1;
    struct pollfd pfd = {.fd = from_child, .events = POLLIN};
    bool ok = write(to_child, &byte, 1) == 1 && poll(&pfd, 1, 20000) == 1 && read(from_child, &byte, 1) == 1;
    memcpy(results, shared->results, n * sizeof *results);
    if (!ok) {
        *bad = shared->at;
        native_stop();
    }
    return ok;
}
