/*
 * core/terminal.c - the user's terminal: raw mode, and the way back on every way out.
 *
 * Ways out: exit(), a fatal signal (restore, then die by it as before), a stop
 * by SIGTSTP (restore, stop, raw again).  What a handler does here is
 * async-signal-safe: tcsetattr, sigaction, raise, tcgetpgrp.
 * SIGKILL is left out, as it must be.
 */
#include "chardev-private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static struct termios before, raw;
static int tty = -1;             /* set once raw mode was entered */
static volatile sig_atomic_t is_raw;
static struct sigaction old_actions[NSIG];

static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS,
                            SIGQUIT, SIGTERM, SIGINT, SIGHUP, SIGXCPU, SIGALRM};

static bool foreground(void)
{
    pid_t group = tcgetpgrp(tty);
    return group < 0 || group == getpgrp();
}

/* Also from the background: SIGTTOU would stop us on the way out.  It must not wait for output
   to drain: nobody may be reading it. */
static void set(const struct termios *t)
{
    sigset_t block, saved;
    sigemptyset(&block);
    sigaddset(&block, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &block, &saved);
    while (tcsetattr(tty, TCSANOW, t) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

void vmr_terminal_restore(void)
{
    int saved = errno;
    if (tty >= 0 && is_raw) {
        is_raw = 0;
        set(&before);
    }
    errno = saved;
}

void vmr_terminal_release(void)
{
    vmr_terminal_restore();
    tty = -1; /* or a SIGCONT would make it raw again */
}

static void on_fatal(int sig, siginfo_t *info, void *context)
{
    vmr_terminal_restore();
    sigaction(sig, &old_actions[sig], NULL);
    /* A fault comes again by itself when we return; what was sent to us must be raised. */
    if (info->si_code <= 0 || sig == SIGABRT || sig == SIGQUIT || sig == SIGTERM ||
        sig == SIGINT || sig == SIGHUP)
        raise(sig);
}

static void on_stop(int sig)
{
    int saved = errno;
    bool again = is_raw;
    vmr_terminal_restore();
    struct sigaction ours, dfl = {.sa_handler = SIG_DFL};
    sigset_t open_mask, old_mask;
    sigaction(SIGTSTP, &dfl, &ours);
    sigemptyset(&open_mask);
    sigaddset(&open_mask, SIGTSTP);
    raise(SIGTSTP);
    pthread_sigmask(SIG_UNBLOCK, &open_mask, &old_mask); /* stops here */
    pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
    sigaction(SIGTSTP, &ours, NULL);
    if (again && foreground()) {
        is_raw = 1;
        set(&raw);
    }
    errno = saved;
}

/* Continued after SIGSTOP, or brought to the foreground: the shell has put its own mode. */
static void on_continue(int sig)
{
    int saved = errno;
    if (tty >= 0 && foreground()) {
        is_raw = 1;
        set(&raw);
    }
    errno = saved;
}

void vmr_terminal_raw(int fd)
{
    static bool handlers;
    if (tcgetattr(fd, &before) < 0)
        return;
    raw = before;
    raw.c_iflag &= ~(tcflag_t)(BRKINT | IGNBRK | ICRNL | INLCR | IGNCR | INPCK | ISTRIP | IXON |
                               PARMRK);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    /* OPOST stays: our own messages end their lines in \n alone. */
    tty = fd;
    if (!handlers) {
        handlers = true;
        atexit(vmr_terminal_restore);
        struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigfillset(&action.sa_mask);
        for (unsigned i = 0; i < G_N_ELEMENTS(fatal); i++) {
            sigaction(fatal[i], NULL, &old_actions[fatal[i]]);
            if (old_actions[fatal[i]].sa_handler != SIG_IGN)
                sigaction(fatal[i], &action, NULL);
        }
        struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
        sigfillset(&stop.sa_mask);
        sigaction(SIGTSTP, &stop, NULL);
        stop.sa_handler = on_continue;
        sigaction(SIGCONT, &stop, NULL);
    }
    if (foreground()) {
        is_raw = 1;
        set(&raw);
    }
}
