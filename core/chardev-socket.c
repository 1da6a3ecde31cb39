/*
 * core/chardev-socket.c - a UNIX stream socket: a server for one client at a time,
 * or (listen = off) a client.
 *
 * While nobody is connected, output goes nowhere.
 */
#include "chardev-private.h"
#include "runtime.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct Socket {
    VmrChardev base;
    int listen_fd; /* valid while `serving` */
    bool serving;
    GSource *accept_source;
} Socket;

static bool fail(GError **error, const char *path, const char *what)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s: %s", path, what,
                g_strerror(errno));
    return false;
}

static void hang_up(VmrChardev *c)
{
    if (c->in_fd < 0)
        return;
    vmr_chardev_stream_end(c);
    vmr_chardev_event(c, VMR_CHARDEV_CLOSED);
}

static gboolean incoming(int fd, GIOCondition condition, gpointer data)
{
    Socket *s = data;
    VmrChardev *c = &s->base;
    vmr_domain_lock_urgent(c->machine->domain);
    int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client >= 0 && c->in_fd >= 0) {
        close(client); /* one at a time */
    } else if (client >= 0) {
        vmr_chardev_stream(c, client, client);
        vmr_chardev_event(c, VMR_CHARDEV_OPENED);
    }
    vmr_domain_unlock(c->machine->domain);
    return G_SOURCE_CONTINUE;
}

/* A socket that a former server left behind: nobody answers there. */
static bool is_stale(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool stale = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 &&
                 errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static bool open_socket(VmrChardev *c, GError **error)
{
    Socket *s = (Socket *)c;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = c->options.path;
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return fail(error, path, "socket");
    }
    strcpy(address.sun_path, path);
    c->hangup = hang_up;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(error, path, "socket");
    if (!c->options.listen) {
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
            !g_unix_set_fd_nonblocking(fd, TRUE, NULL)) {
            fail(error, path, "connect");
            close(fd);
            return false;
        }
        vmr_chardev_stream(c, fd, fd);
        vmr_chardev_event(c, VMR_CHARDEV_OPENED);
        return true;
    }
    if (is_stale(&address))
        unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
        fail(error, path, "listen");
        close(fd);
        return false;
    }
    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    s->listen_fd = fd;
    s->serving = true;
    s->accept_source = vmr_chardev_source(c, fd, G_IO_IN, incoming);
    return true;
}

static void close_socket(VmrChardev *c)
{
    Socket *s = (Socket *)c;
    vmr_chardev_stream_end(c);
    vmr_chardev_source_end(&s->accept_source);
    if (s->serving) {
        close(s->listen_fd);
        unlink(c->options.path);
        s->serving = false;
    }
}

static const VmrProperty properties[] = {
    {.name = "path", .type = VMR_PROP_PATH, .offset = offsetof(VmrChardevOptions, path),
     .flags = VMR_PROP_REQUIRED, .doc = "the socket"},
    {.name = "listen", .type = VMR_PROP_BOOL, .offset = offsetof(VmrChardevOptions, listen),
     .default_text = "on", .doc = "be the server; off: connect to one that is there"},
    {0}};

const VmrChardevClass vmr_chardev_unix = {
    .type = "unix",
    .summary = "a UNIX stream socket",
    .doc = "As a server it takes one client at a time; another may come when it has gone.  "
           "Output is dropped while there is none.",
    .properties = properties,
    .instance_size = sizeof(Socket),
    .open = open_socket,
    .close = close_socket,
};
