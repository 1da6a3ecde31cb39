/*
 * core/net-socket.c - type = socket: each frame is a datagram to another vmrun.
 *
 * A UNIX socket is addressed by a path, UDP by ADDRESS:PORT; either end may come and
 * go, and frames are lost while the other one is not there.  UDP is for hosts that
 * trust each other: anybody who can send to the port is on the network.
 */
#include "net.h"
#include "runtime.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BUFFER = 4 << 20, PARTS_MAX = 256 };

typedef struct Socket {
    VmrNet n;
    /* properties */
    const char *local_path, *remote_path, *local_udp, *remote_udp;

    struct sockaddr_storage remote;
    socklen_t remote_length;
    bool connected, bound;
    uint8_t *frame; /* VMR_NET_FRAME_MAX */
} Socket;

#define S(member_) offsetof(Socket, member_)

static const VmrProperty properties[] = {
    VMR_NET_PROPERTIES,
    {.name = "local", .type = VMR_PROP_PATH, .offset = S(local_path),
     .doc = "The UNIX socket of this end, which is made"},
    {.name = "remote", .type = VMR_PROP_PATH, .offset = S(remote_path),
     .doc = "The UNIX socket of the other end"},
    {.name = "local-udp", .type = VMR_PROP_STRING, .offset = S(local_udp),
     .doc = "Instead: the ADDRESS:PORT of this end, as 127.0.0.1:5000"},
    {.name = "remote-udp", .type = VMR_PROP_STRING, .offset = S(remote_udp),
     .doc = "The ADDRESS:PORT of the other end"},
    {0},
};

static void socket_check(VmrNet *n, const VmrSection *section, VmrErrors *errors)
{
    Socket *s = (Socket *)n;
    bool path = s->local_path && s->remote_path, udp = s->local_udp && s->remote_udp;
    bool any_path = s->local_path || s->remote_path, any_udp = s->local_udp || s->remote_udp;
    if (path == udp || any_path != path || any_udp != udp)
        vmr_errors_add(errors, section->place, section->title, NULL,
                       "either local and remote, or local-udp and remote-udp are wanted");
}

static bool fail(GError **error, const char *what)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", what,
                g_strerror(errno));
    return false;
}

static bool unix_address(const char *path, struct sockaddr_storage *to, socklen_t *length,
                         GError **error)
{
    struct sockaddr_un *un = (struct sockaddr_un *)to;
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    *length = sizeof(*un);
    if (strlen(path) >= sizeof(un->sun_path)) {
        errno = ENAMETOOLONG;
        return fail(error, path);
    }
    strcpy(un->sun_path, path);
    return true;
}

/* ADDRESS:PORT, an IPv6 address in brackets. */
static bool udp_address(const char *text, int family, struct sockaddr_storage *to,
                        socklen_t *length, GError **error)
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_DGRAM,
                             .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const char *colon = strrchr(text, ':');
    bool bracket = *text == '[' && colon && colon > text + 1 && colon[-1] == ']';
    char *host = colon ? g_strndup(text + bracket, (size_t)(colon - text) - 2 * bracket) : NULL;
    int code = host ? getaddrinfo(host, colon + 1, &hints, &found) : EAI_NONAME;
    g_free(host);
    if (code) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "'%s': %s; ADDRESS:PORT is wanted",
                    text, gai_strerror(code));
        return false;
    }
    memcpy(to, found->ai_addr, found->ai_addrlen);
    *length = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

/* A socket that an earlier vmrun left behind: nobody listens there. */
static void remove_stale(const char *path, const struct sockaddr *address, socklen_t length)
{
    struct stat st;
    int fd = lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)
                 ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return;
    if (connect(fd, address, length) < 0 && errno == ECONNREFUSED)
        unlink(path);
    close(fd);
}

static bool socket_open(VmrNet *n, GError **error)
{
    Socket *s = (Socket *)n;
    struct sockaddr_storage local = {0};
    socklen_t length;
    const char *name = s->local_path ? s->local_path : s->local_udp;
    bool ok = s->local_path
                  ? unix_address(s->local_path, &local, &length, error) &&
                        unix_address(s->remote_path, &s->remote, &s->remote_length, error)
                  : udp_address(s->local_udp, AF_UNSPEC, &local, &length, error) &&
                        udp_address(s->remote_udp, local.ss_family, &s->remote,
                                    &s->remote_length, error);
    if (!ok)
        return false;
    n->fd = socket(local.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (n->fd < 0)
        return fail(error, name);
    if (s->local_path)
        remove_stale(s->local_path, (struct sockaddr *)&local, length);
    if (bind(n->fd, (struct sockaddr *)&local, length) < 0)
        return fail(error, name);
    s->bound = true;
    int bytes = BUFFER; /* a wish */
    setsockopt(n->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    setsockopt(n->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    s->frame = g_malloc(VMR_NET_FRAME_MAX);
    vmr_net_read(n);
    return true;
}

static void socket_close(VmrNet *n)
{
    Socket *s = (Socket *)n;
    vmr_net_end(n);
    if (s->bound && s->local_path)
        unlink(s->local_path);
    s->bound = s->connected = false;
    g_clear_pointer(&s->frame, g_free);
}

/* Connected, so that the socket is writable when the other end has room. */
static bool is_connected(Socket *s)
{
    if (!s->connected)
        s->connected = connect(s->n.fd, (struct sockaddr *)&s->remote, s->remote_length) == 0;
    return s->connected;
}

static bool socket_send(VmrNet *n, const VmrNetFrame *frame)
{
    Socket *s = (Socket *)n;
    struct iovec parts[PARTS_MAX];
    if (frame->buffer_count > PARTS_MAX)
        return true;
    for (unsigned i = 0; i < frame->buffer_count; i++)
        parts[i] = (struct iovec){frame->buffers[i].base, frame->buffers[i].len};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = frame->buffer_count};
    /* The first attempt may hear that an earlier other end has gone. */
    for (unsigned attempt = 0; attempt < 2 && is_connected(s); attempt++) {
        if (sendmsg(n->fd, &message, MSG_NOSIGNAL) >= 0)
            return true;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
            vmr_net_want_writable(n);
            return false;
        }
        if (errno == EMSGSIZE)
            break;
        s->connected = s->local_udp != NULL;
    }
    n->dropped++;
    return true;
}

static bool socket_receive(VmrNet *n)
{
    Socket *s = (Socket *)n;
    ssize_t length = recv(n->fd, s->frame, VMR_NET_FRAME_MAX, 0);
    if (length < 0)
        return errno == EINTR || errno == ECONNREFUSED; /* of an earlier send: go on */
    vmr_net_deliver_bytes(n, s->frame, (size_t)length);
    return true;
}

const VmrNetClass vmr_net_socket = {
    .type = "socket",
    .summary = "a cable to another vmrun, over a UNIX or UDP socket",
    .doc = "Each frame is a datagram. Both ends name their own socket and the other one's; they may "
           "start in any order.",
    .properties = properties,
    .instance_size = sizeof(Socket),
    .check = socket_check,
    .open = socket_open,
    .close = socket_close,
    .send = socket_send,
    .receive = socket_receive,
};
