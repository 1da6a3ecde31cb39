/*
 * core/net-user.c - type = user: a private network whose gateway is vmrun, by libslirp.
 *
 * libslirp answers DHCP, DNS and ARP, and turns the guest's connections into
 * sockets of this process, so no privileges are needed.  Its sockets are polled by
 * a source of the main loop; a guest's frame is worked on in the thread that sends
 * it.  Whoever called libslirp tells the source what to wait for now, which wakes the
 * main loop only if that has changed.  All of it is under the domain lock.  Its time
 * is the machine's: it stands while the guest does.
 *
 * The guest leaves checksums and TCP segments to us.  libslirp takes a segment of
 * any size, so it is never cut: one frame brings up to 64 KiB.  The other way, what
 * libslirp cut is put together again.
 * Leaves out saving its state: a machine that is restored finds its connections gone.
 */
#include "net.h"
#include "runtime.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

typedef struct Forward {
    bool udp;
    struct in_addr host, guest;
    uint16_t host_port, guest_port;
} Forward;

typedef struct User {
    VmrNet n;
    /* properties */
    const char *hostfwd, *network, *hostname, *domain, *tftp, *bootfile;
    bool restricted, loopback, ipv6;

    struct in_addr net, mask;
    GArray *forwards;
    struct Slirp *slirp;
    VmrNetMerge *merge;
    GSource *source;
    GPtrArray *timers;
    GArray *polled; /* Polled */
    unsigned polled_count; /* of them, in this iteration */
    uint64_t guest_errors;
} User;

#define U(member_) offsetof(User, member_)

static const VmrProperty properties[] = {
    VMR_NET_PROPERTIES,
    {.name = "hostfwd", .type = VMR_PROP_STRING, .offset = U(hostfwd),
     .doc = "Ports of the host that lead to ports of the guest, with commas: "
            "PROTOCOL:[HOST-ADDRESS]:PORT-[GUEST-ADDRESS]:PORT, as tcp:127.0.0.1:8080-:80"},
    {.name = "restrict", .type = VMR_PROP_BOOL, .offset = U(restricted), .default_text = "off",
     .doc = "The guest reaches nothing outside of this network; hostfwd still works"},
    {.name = "host-loopback", .type = VMR_PROP_BOOL, .offset = U(loopback), .default_text = "on",
     .doc = "The gateway's address leads to the host's own services"},
    {.name = "network", .type = VMR_PROP_STRING, .offset = U(network),
     .default_text = "10.0.2.0/24",
     .doc = "Its addresses: the gateway is number 2, DNS 3, DHCP gives from 15 on"},
    {.name = "ipv6", .type = VMR_PROP_BOOL, .offset = U(ipv6), .default_text = "on",
     .doc = "IPv6 too, with the prefix fec0::/64"},
    {.name = "hostname", .type = VMR_PROP_STRING, .offset = U(hostname),
     .doc = "The guest's name, as DHCP tells it"},
    {.name = "domain", .type = VMR_PROP_STRING, .offset = U(domain),
     .doc = "The domain's name, as DHCP tells it"},
    {.name = "tftp", .type = VMR_PROP_PATH, .offset = U(tftp),
     .doc = "A folder that the gateway serves by TFTP"},
    {.name = "bootfile", .type = VMR_PROP_STRING, .offset = U(bootfile),
     .doc = "The file that DHCP tells the guest to boot, within the folder of tftp"},
    {0},
};

/* ---- what the file says ----------------------------------------------- */

static bool parse_address(const char *text, struct in_addr *address)
{
    return !*text || inet_pton(AF_INET, text, address) == 1;
}

static bool parse_end(char *text, struct in_addr *address, uint16_t *port)
{
    char *colon = strchr(text, ':');
    guint64 number;
    if (!colon)
        return false;
    *colon = '\0';
    if (!parse_address(text, address) || !vmr_parse_number(colon + 1, &number) || !number ||
        number > UINT16_MAX)
        return false;
    *port = (uint16_t)number;
    return true;
}

/* PROTOCOL:[ADDRESS]:PORT-[ADDRESS]:PORT; the text is cut up. */
static bool parse_forward(char *text, Forward *f)
{
    char *dash = strchr(text, '-');
    *f = (Forward){.udp = g_str_has_prefix(text, "udp:")};
    if (!dash || !(f->udp || g_str_has_prefix(text, "tcp:")))
        return false;
    *dash = '\0';
    f->host.s_addr = htonl(INADDR_LOOPBACK); /* everybody is to be said aloud: 0.0.0.0 */
    return parse_end(text + 4, &f->host, &f->host_port) &&
           parse_end(dash + 1, &f->guest, &f->guest_port);
}

static bool parse_network(User *u)
{
    char **part = g_strsplit(u->network ? u->network : "", "/", 2);
    guint64 bits = 0;
    bool ok = part[0] && part[1] && inet_pton(AF_INET, part[0], &u->net) == 1 &&
              vmr_parse_number(part[1], &bits) && bits >= 8 && bits <= 27;
    g_strfreev(part);
    if (ok)
        u->mask.s_addr = htonl(UINT32_MAX << (32 - bits));
    return ok && !(u->net.s_addr & ~u->mask.s_addr);
}

static void user_check(VmrNet *n, const VmrSection *section, VmrErrors *errors)
{
    User *u = (User *)n;
    u->forwards = g_array_new(FALSE, FALSE, sizeof(Forward));
    if (!parse_network(u))
        vmr_errors_add(errors, vmr_section_place(section, "network"), section->title, "network",
                       "'%s': an address and 8 to 27 bits are wanted, as 10.0.2.0/24",
                       u->network ? u->network : "");
    char **texts = g_strsplit(u->hostfwd ? u->hostfwd : "", ",", 0);
    for (unsigned i = 0; texts[i]; i++) {
        Forward f;
        char *text = g_strstrip(texts[i]), *shown = g_strdup(text);
        if (parse_forward(text, &f))
            g_array_append_val(u->forwards, f);
        else
            vmr_errors_add(errors, vmr_section_place(section, "hostfwd"), section->title,
                           "hostfwd", "'%s': tcp:127.0.0.1:8080-:80 or the like is wanted", shown);
        g_free(shown);
    }
    g_strfreev(texts);
}

#ifdef VMR_HAVE_SLIRP

#include <slirp/libslirp.h>

/* ---- libslirp's callbacks --------------------------------------------- */

typedef struct SlirpTimer {
    SlirpTimerCb fired;
    void *opaque;
    int64_t deadline; /* ms; INT64_MAX: not set */
} SlirpTimer;

typedef struct Polled {
    int fd;
    GIOCondition condition;
    gpointer tag;
} Polled;

static ssize_t to_guest(const void *data, size_t length, void *opaque)
{
    vmr_net_merge(((User *)opaque)->merge, data, length);
    return (ssize_t)length;
}

static void guest_error(const char *message, void *opaque)
{
    User *u = opaque;
    if (u->guest_errors++ < 10)
        vmr_core_log(VMR_LOG_INFO, "[%s]: %s", u->n.section->title, message);
}

static int64_t clock_ns(void *opaque)
{
    return vmr_machine_time(((User *)opaque)->n.machine);
}

static void *timer_new(SlirpTimerCb fired, void *fired_opaque, void *opaque)
{
    SlirpTimer *t = g_new(SlirpTimer, 1);
    *t = (SlirpTimer){fired, fired_opaque, INT64_MAX};
    g_ptr_array_add(((User *)opaque)->timers, t);
    return t;
}

static void timer_free(void *timer, void *opaque)
{
    g_ptr_array_remove_fast(((User *)opaque)->timers, timer);
    g_free(timer);
}

static void timer_mod(void *timer, int64_t deadline_ms, void *opaque)
{
    ((SlirpTimer *)timer)->deadline = deadline_ms;
}

static void ignore_fd(int fd, void *opaque)
{
}

static void ignore_notify(void *opaque)
{
}

static const SlirpCb callbacks = {
    .send_packet = to_guest,
    .guest_error = guest_error,
    .clock_get_ns = clock_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = ignore_fd,
    .unregister_poll_fd = ignore_fd,
    .notify = ignore_notify,
};

/* ---- polling ---------------------------------------------------------- */

typedef struct UserSource {
    GSource source;
    User *user;
} UserSource;

static int add_poll(int fd, int events, void *opaque)
{
    User *u = opaque;
    GIOCondition condition = 0;
    if (events & SLIRP_POLL_IN)
        condition |= G_IO_IN;
    if (events & SLIRP_POLL_OUT)
        condition |= G_IO_OUT;
    if (events & SLIRP_POLL_PRI)
        condition |= G_IO_PRI;
    /* Mostly the same as before, in the same order. */
    unsigned i = u->polled_count++;
    if (i == u->polled->len)
        g_array_append_val(u->polled, ((Polled){.fd = -1}));
    Polled *p = &g_array_index(u->polled, Polled, i);
    if (p->tag && p->fd != fd) {
        g_source_remove_unix_fd(u->source, p->tag);
        p->tag = NULL;
    }
    if (!p->tag)
        p->tag = g_source_add_unix_fd(u->source, fd, condition);
    else if (p->condition != condition)
        g_source_modify_unix_fd(u->source, p->tag, condition);
    p->fd = fd;
    p->condition = condition;
    return (int)i;
}

static int get_events(int index, void *opaque)
{
    User *u = opaque;
    int events = 0;
    if (index < 0 || (unsigned)index >= u->polled_count)
        return 0;
    const Polled *p = &g_array_index(u->polled, Polled, index);
    GIOCondition c = p->tag ? g_source_query_unix_fd(u->source, p->tag) : 0;
    if (c & G_IO_IN)
        events |= SLIRP_POLL_IN;
    if (c & G_IO_OUT)
        events |= SLIRP_POLL_OUT;
    if (c & G_IO_PRI)
        events |= SLIRP_POLL_PRI;
    if (c & G_IO_ERR)
        events |= SLIRP_POLL_ERR;
    if (c & G_IO_HUP)
        events |= SLIRP_POLL_HUP;
    return events;
}

static void drop_polled(User *u, unsigned from)
{
    for (unsigned i = from; i < u->polled->len; i++) {
        Polled *p = &g_array_index(u->polled, Polled, i);
        if (p->tag)
            g_source_remove_unix_fd(u->source, p->tag);
    }
    g_array_set_size(u->polled, from);
}

/* After each call of libslirp: its frames are on their way, and the source waits for what it
   wants now.  Its timeouts count from now on, so until they are due they may only come nearer. */
static void look(VmrNet *n)
{
    User *u = (User *)n;
    uint32_t wait = UINT32_MAX;
    if (!u->source)
        return;
    vmr_net_merge_end(u->merge);
    u->polled_count = 0;
    /* What the guest has no room for is best left in the sockets. */
    if (!vmr_net_waits(n))
        slirp_pollfds_fill(u->slirp, &wait, add_poll, u);
    drop_polled(u, u->polled_count);
    int64_t time = clock_ns(u) / 1000000, next = INT64_MAX;
    for (unsigned i = 0; i < u->timers->len; i++)
        next = MIN(next, ((SlirpTimer *)u->timers->pdata[i])->deadline);
    if (next != INT64_MAX)
        wait = (uint32_t)MIN((int64_t)wait, MAX(next - time, 0));
    if (!n->machine->priv->clock_running)
        wait = MAX(wait, 100); /* time stands: nothing is due sooner */
    int64_t now = g_get_monotonic_time(), set = g_source_get_ready_time(u->source);
    int64_t due = wait == UINT32_MAX ? -1 : now + (int64_t)wait * 1000;
    if (set <= now || (due >= 0 && due < set))
        g_source_set_ready_time(u->source, due); /* wakes the main loop */
}

static void fire_timers(User *u)
{
    int64_t now = clock_ns(u) / 1000000;
    for (unsigned i = 0; i < u->timers->len; i++) {
        SlirpTimer *t = u->timers->pdata[i];
        if (t->deadline > now)
            continue;
        t->deadline = INT64_MAX;
        t->fired(t->opaque);
    }
}

static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    User *u = ((UserSource *)source)->user;
    vmr_domain_lock_urgent(u->n.machine->domain);
    fire_timers(u);
    slirp_pollfds_poll(u->slirp, 0, get_events, u);
    look(&u->n);
    vmr_domain_unlock(u->n.machine->domain);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = {.dispatch = dispatch};

/* ---- life ------------------------------------------------------------- */

static struct in_addr number(const User *u, uint32_t host)
{
    return (struct in_addr){htonl(ntohl(u->net.s_addr) | host)};
}

static bool user_open(VmrNet *n, GError **error)
{
    User *u = (User *)n;
    SlirpConfig config = {
        .version = 1,
        .restricted = u->restricted,
        .in_enabled = true,
        .vnetwork = u->net,
        .vnetmask = u->mask,
        .vhost = number(u, 2),
        .vnameserver = number(u, 3),
        .vdhcp_start = number(u, 15),
        .in6_enabled = u->ipv6,
        .vprefix_len = 64,
        .vhostname = u->hostname,
        .vdomainname = u->domain,
        .tftp_path = u->tftp,
        .bootfile = u->bootfile,
        .disable_host_loopback = !u->loopback,
    };
    inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &config.vhost6);
    inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
    u->merge = vmr_net_merge_new(n);
    u->timers = g_ptr_array_new();
    u->polled = g_array_new(FALSE, TRUE, sizeof(Polled));
    u->slirp = slirp_new(&config, &callbacks, u);
    if (!u->slirp) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "libslirp refuses to start");
        return false;
    }
    for (unsigned i = 0; i < u->forwards->len; i++) {
        const Forward *f = &g_array_index(u->forwards, Forward, i);
        if (slirp_add_hostfwd(u->slirp, f->udp, f->host, f->host_port, f->guest,
                              f->guest_port) == 0)
            continue;
        char address[INET_ADDRSTRLEN];
        int code = errno;
        inet_ntop(AF_INET, &f->host, address, sizeof(address));
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(code), "hostfwd: %s %s:%u: %s",
                    f->udp ? "udp" : "tcp", address, f->host_port, g_strerror(code));
        return false;
    }
    u->source = g_source_new(&source_funcs, sizeof(UserSource));
    ((UserSource *)u->source)->user = u;
    g_source_attach(u->source, n->machine->priv->context);
    look(n);
    return true;
}

static void user_close(VmrNet *n)
{
    User *u = (User *)n;
    n->handler = NULL; /* its last words go nowhere */
    if (u->slirp)
        slirp_cleanup(u->slirp);
    u->slirp = NULL;
    if (u->source) {
        g_source_destroy(u->source);
        g_source_unref(u->source);
        u->source = NULL;
    }
    g_ptr_array_set_free_func(u->timers, g_free);
    g_clear_pointer(&u->timers, g_ptr_array_unref);
    g_clear_pointer(&u->polled, g_array_unref);
    g_clear_pointer(&u->merge, g_free);
}

/* The ones' complement sum (RFC 1071) of big-endian words; never 0, which means none to UDP. */
static uint16_t checksum(const uint8_t *p, size_t length)
{
    uint64_t sum = 0;
    for (; length >= 2; length -= 2, p += 2)
        sum += (uint32_t)p[0] << 8 | p[1];
    if (length)
        sum += (uint32_t)p[0] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff ? 0xffff : (uint16_t)~sum;
}

static bool user_send(VmrNet *n, const VmrNetFrame *frame)
{
    User *u = (User *)n;
    size_t length = vmr_net_length(frame);
    uint8_t *flat = NULL;
    const uint8_t *bytes = frame->buffers[0].base;
    if (frame->buffer_count > 1 || (frame->flags & VMR_NET_NEEDS_CHECKSUM)) {
        bytes = flat = g_malloc(length);
        vmr_net_flatten(frame, flat);
    }
    if (frame->flags & VMR_NET_NEEDS_CHECKSUM) {
        /* The sum of the pseudo header is there already. */
        uint16_t sum = checksum(flat + frame->checksum_start, length - frame->checksum_start);
        uint8_t *to = flat + frame->checksum_start + frame->checksum_offset;
        to[0] = (uint8_t)(sum >> 8);
        to[1] = (uint8_t)sum;
    }
    slirp_input(u->slirp, bytes, (int)length);
    g_free(flat);
    look(n);
    return true;
}

#define MISSING NULL

#else

static bool user_open(VmrNet *n, GError **error)
{
    return false;
}

static void user_close(VmrNet *n)
{
}

static bool user_send(VmrNet *n, const VmrNetFrame *frame)
{
    return true;
}

static void look(VmrNet *n)
{
}

#define MISSING "this vmrun was built without libslirp (Debian: libslirp-dev), which user needs"

#endif

static void user_free(VmrNet *n)
{
    g_clear_pointer(&((User *)n)->forwards, g_array_unref);
}

const VmrNetClass vmr_net_user = {
    .type = "user",
    .summary = "a private network behind this process, without privileges",
    .doc = "The guest gets an address by DHCP and reaches what the host reaches: TCP, UDP and ping. "
           "The gateway, 10.0.2.2, is the host itself; DNS is at 10.0.2.3. Nobody reaches the guest "
           "but by hostfwd.",
    .missing = MISSING,
    .properties = properties,
    .instance_size = sizeof(User),
    .takes = VMR_NET_CHECKSUM | VMR_NET_TCP4 | VMR_NET_TCP6 | VMR_NET_ECN,
    .gives = VMR_NET_CHECKSUM | VMR_NET_TCP4,
    .check = user_check,
    .open = user_open,
    .close = user_close,
    .send = user_send,
    .accepted = look,
    .free = user_free,
};
