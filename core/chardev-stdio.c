/*
 * core/chardev-stdio.c - standard input and output; a terminal goes into raw mode.
 *
 * Ctrl-A is the escape key if standard input is a terminal.  O_NONBLOCK belongs
 * to the open file, which a shell shares; so terminals and pipes are opened anew,
 * and where that fails the flag is set and given back at the end.
 */
#include "chardev-private.h"
#include "monitor.h"
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ESCAPE = 'A' - '@' };

typedef struct Stdio {
    VmrChardev base;
    bool escaped; /* Ctrl-A was typed */
} Stdio;

static VmrChardev *taken; /* there is one standard input */
static int flags_before[2] = {-1, -1}; /* of 0 and 1, if they were changed */

void vmr_stdio_give_back(void)
{
    for (int fd = 0; fd < 2; fd++)
        if (flags_before[fd] >= 0) {
            fcntl(fd, F_SETFL, flags_before[fd]);
            flags_before[fd] = -1;
        }
}

int vmr_stdio_own(int fd)
{
    static bool at_exit;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    if (!at_exit)
        atexit(vmr_stdio_give_back);
    at_exit = true;
    if (S_ISFIFO(st.st_mode) || isatty(fd)) {
        char name[32];
        g_snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        int anew = open(name, (fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_NOCTTY |
                                  O_CLOEXEC);
        if (anew >= 0)
            return anew;
    }
    if (!S_ISREG(st.st_mode)) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && !(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
            flags_before[fd] = flags;
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static void help(void)
{
    fputs("\nCtrl-A x       leave\n"
          "Ctrl-A h       these keys\n"
          "Ctrl-A b       send a break\n"
          "Ctrl-A c       the monitor, and back\n"
          "Ctrl-A s       run on with the other accelerator\n"
          "Ctrl-A Ctrl-A  send Ctrl-A\n",
          stderr);
}

static unsigned filter(VmrChardev *c, uint8_t *data, unsigned len)
{
    Stdio *s = (Stdio *)c;
    unsigned left = 0;
    for (unsigned i = 0; i < len; i++) {
        uint8_t key = data[i];
        if (!s->escaped) {
            if (key == ESCAPE)
                s->escaped = true;
            else if (vmr_monitor_terminal_on(c->machine))
                vmr_monitor_terminal_key(c->machine, key);
            else
                data[left++] = key;
            continue;
        }
        s->escaped = false;
        if (key == ESCAPE)
            data[left++] = key;
        else if (key == 'x')
            vmr_machine_leave(c->machine, 0, NULL);
        else if (key == 'b')
            vmr_chardev_event(c, VMR_CHARDEV_BREAK);
        else if (key == 'h' || key == '?')
            help();
        else if (key == 'c')
            vmr_monitor_terminal_toggle(c->machine);
        else if (key == 's')
            vmr_monitor_terminal_line(c->machine, "swap-accel");
    }
    return left;
}

static bool open_stdio(VmrChardev *c, GError **error)
{
    if (taken) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "[chardev %s] has standard input already", taken->name);
        return false;
    }
    taken = c;
    fflush(stdout);
    int in = vmr_stdio_own(STDIN_FILENO), out = vmr_stdio_own(STDOUT_FILENO);
    if (isatty(STDIN_FILENO)) {
        if (c->options.escape) {
            c->filter = filter;
            c->drop_input = true;
        }
        vmr_terminal_raw(STDIN_FILENO);
    }
    vmr_chardev_stream(c, in, out);
    return true;
}

static void close_stdio(VmrChardev *c)
{
    if (taken != c)
        return;
    taken = NULL;
    vmr_chardev_stream_end(c);
    vmr_stdio_give_back();
    vmr_terminal_release();
}

static const VmrProperty properties[] = {
    {.name = "escape", .type = VMR_PROP_BOOL, .offset = offsetof(VmrChardevOptions, escape),
     .default_text = "on", .doc = "on a terminal, Ctrl-A is the escape key"},
    {0}};

const VmrChardevClass vmr_chardev_stdio = {
    .type = "stdio",
    .summary = "standard input and output; a terminal is put into raw mode",
    .doc = "Keys on a terminal: Ctrl-A x leaves, Ctrl-A h lists the keys, Ctrl-A b sends a break, "
           "Ctrl-A c the monitor, Ctrl-A s swaps the accelerator, Ctrl-A Ctrl-A sends Ctrl-A.",
    .properties = properties,
    .instance_size = sizeof(Stdio),
    .open = open_stdio,
    .close = close_stdio,
};
