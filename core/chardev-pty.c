/*
 * core/chardev-pty.c - a pseudo-terminal; its name is told on standard error.
 *
 * A master whose slave nobody has open is in a permanent hang-up, which would
 * make the main loop spin; so it is then looked at four times a second instead.
 * Output is dropped while nobody is there.
 */
#include "chardev-private.h"
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

enum { LOOK_MS = 250 };

typedef struct Pty {
    VmrChardev base;
    int master; /* valid while `open` */
    bool open;
    GSource *look;
} Pty;

static bool somebody(int master)
{
    struct pollfd p = {.fd = master};
    return poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP);
}

static gboolean look(gpointer data)
{
    Pty *p = data;
    VmrChardev *c = &p->base;
    vmr_domain_lock_urgent(c->machine->domain);
    if (p->open && c->in_fd < 0 && somebody(p->master)) {
        int fd = fcntl(p->master, F_DUPFD_CLOEXEC, 0);
        if (fd >= 0) {
            vmr_chardev_stream(c, fd, fd);
            vmr_chardev_event(c, VMR_CHARDEV_OPENED);
        }
    }
    bool go_on = c->in_fd < 0;
    if (!go_on)
        vmr_chardev_source_end(&p->look);
    vmr_domain_unlock(c->machine->domain);
    return go_on;
}

static void start_looking(Pty *p)
{
    if (p->look)
        return;
    p->look = g_timeout_source_new(LOOK_MS);
    g_source_set_callback(p->look, look, p, NULL);
    g_source_attach(p->look, p->base.machine->priv->context);
}

static void hang_up(VmrChardev *c)
{
    if (c->in_fd < 0)
        return;
    vmr_chardev_stream_end(c);
    vmr_chardev_event(c, VMR_CHARDEV_CLOSED);
    start_looking((Pty *)c);
}

static bool open_pty(VmrChardev *c, GError **error)
{
    Pty *p = (Pty *)c;
    char name[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
        ptsname_r(master, name, sizeof name)) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "pty: %s",
                    g_strerror(errno));
        if (master >= 0)
            close(master);
        return false;
    }
    p->master = master;
    p->open = true;
    c->hangup = hang_up;
    /* Raw; and once opened and closed, it says that nobody is there. */
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;
    if (slave >= 0 && tcgetattr(slave, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(slave, TCSANOW, &t);
    }
    if (slave >= 0)
        close(slave);
    vmr_core_log(VMR_LOG_INFO, "[chardev %s] is %s", c->name, name);
    start_looking(p);
    return true;
}

static void close_pty(VmrChardev *c)
{
    Pty *p = (Pty *)c;
    vmr_chardev_stream_end(c);
    vmr_chardev_source_end(&p->look);
    if (p->open)
        close(p->master);
    p->open = false;
}

const VmrChardevClass vmr_chardev_pty = {
    .type = "pty",
    .summary = "a pseudo-terminal, whose name is told at the start",
    .instance_size = sizeof(Pty),
    .open = open_pty,
    .close = close_pty,
};
