/*
 * core/chardev.c - character back ends: what is the same for all types.
 *
 * Output goes out at once if it can, else into a bounded buffer; a full buffer
 * makes writes short, and the device is told when there is room again.  Input is
 * read ahead by one buffer; a device that takes none stops the reading.
 */
#include "chardev-private.h"
#include "display.h"
#include "runtime.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

const VmrChardevClass *const vmr_chardev_classes[] = {
    &vmr_chardev_stdio, &vmr_chardev_file, &vmr_chardev_unix, &vmr_chardev_pty, &vmr_chardev_null,
    NULL};

/* ---- life ------------------------------------------------------------- */

VmrChardev *vmr_chardev_make(VmrMachine *m, const char *name, const VmrChardevClass *klass,
                             const VmrChardevOptions *options)
{
    g_assert(klass->instance_size >= sizeof(VmrChardev));
    VmrChardev *c = g_malloc0(klass->instance_size);
    c->klass = klass;
    c->machine = m;
    c->name = g_strdup(name);
    c->options = *options;
    c->options.path = g_strdup(options->path);
    c->options.input = g_strdup(options->input);
    c->in_fd = c->out_fd = -1;
    c->out = g_byte_array_new();
    g_ptr_array_add(m->priv->chardevs, c);
    return c;
}

const char *vmr_chardev_name(const VmrChardev *c)
{
    return c->name;
}

VmrDevice *vmr_chardev_device(const VmrChardev *c)
{
    return c->device;
}

bool vmr_chardevs_open(VmrMachine *m, GError **error)
{
    for (unsigned i = 0; i < m->priv->chardevs->len; i++) {
        VmrChardev *c = m->priv->chardevs->pdata[i];
        if (c->klass == &vmr_chardev_stdio && !c->device && vmr_displays_take_terminal(m))
            continue; /* nobody reads it, and the terminal is wanted */
        vmr_domain_lock(m->domain);
        bool ok = c->klass->open(c, error);
        c->opened = true; /* close() also undoes half an open() */
        vmr_domain_unlock(m->domain);
        if (!ok) {
            g_prefix_error(error, "[chardev %s]: ", c->name);
            return false;
        }
    }
    return true;
}

static void flush_some(VmrChardev *c);

void vmr_chardevs_close(VmrMachine *m, unsigned flush_ms)
{
    int64_t until = g_get_monotonic_time() + (int64_t)flush_ms * 1000;
    vmr_domain_lock(m->domain);
    for (unsigned i = 0; i < m->priv->chardevs->len; i++) {
        VmrChardev *c = m->priv->chardevs->pdata[i];
        while (c->out->len && c->out_fd >= 0) {
            int64_t left = (until - g_get_monotonic_time()) / 1000;
            struct pollfd p = {.fd = c->out_fd, .events = POLLOUT};
            if (left <= 0 || (poll(&p, 1, (int)left) < 0 && errno != EINTR))
                break;
            flush_some(c);
        }
        if (c->opened)
            c->klass->close(c);
        c->opened = false;
    }
    vmr_domain_unlock(m->domain);
}

void vmr_chardevs_free(VmrMachine *m)
{
    for (unsigned i = 0; i < m->priv->chardevs->len; i++) {
        VmrChardev *c = m->priv->chardevs->pdata[i];
        g_byte_array_unref(c->out);
        g_free((char *)c->options.path);
        g_free((char *)c->options.input);
        g_free(c->name);
        g_free(c);
    }
    g_clear_pointer(&m->priv->chardevs, g_ptr_array_unref);
}

/* ---- sources ---------------------------------------------------------- */

GSource *vmr_chardev_source(VmrChardev *c, int fd, GIOCondition condition, GUnixFDSourceFunc fn)
{
    GSource *s = g_unix_fd_source_new(fd, condition);
    g_source_set_callback(s, G_SOURCE_FUNC(fn), c, NULL);
    g_source_attach(s, c->machine->priv->context);
    return s;
}

void vmr_chardev_source_end(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        g_source_unref(*source);
        *source = NULL;
    }
}

/* A source may have been destroyed by a vCPU while its callback waited for the lock. */
static bool enter(VmrChardev *c, GSource *const *source)
{
    vmr_domain_lock_urgent(c->machine->domain);
    return *source && *source == g_main_current_source();
}

static gboolean leave(VmrChardev *c, GSource *const *source)
{
    gboolean go_on = *source && *source == g_main_current_source();
    vmr_domain_unlock(c->machine->domain);
    return go_on;
}

/* ---- input ------------------------------------------------------------ */

static void read_on(VmrChardev *c);

void vmr_chardev_event(VmrChardev *c, VmrChardevEvent event)
{
    if (c->handler && c->handler->event)
        c->handler->event(c->device, event);
}

static void deliver(VmrChardev *c)
{
    if (c->delivering || !c->handler)
        return;
    c->delivering = true; /* receive() may say accept_input: the loop sees to it */
    while (c->in_len) {
        uint8_t chunk[256];
        unsigned n = MIN(c->handler->can_receive(c->device), MIN(c->in_len, sizeof chunk));
        if (!n)
            break;
        memcpy(chunk, c->in, n);
        c->in_len -= n;
        memmove(c->in, c->in + n, c->in_len);
        c->handler->receive(c->device, chunk, n);
    }
    c->delivering = false;
    read_on(c);
}

static void hang_up(VmrChardev *c)
{
    if (c->hangup)
        c->hangup(c);
}

static gboolean readable(int fd, GIOCondition condition, gpointer data)
{
    VmrChardev *c = data;
    if (!enter(c, &c->in_source))
        return leave(c, &c->in_source);
    uint8_t buf[VMR_CHARDEV_IN];
    unsigned room = VMR_CHARDEV_IN - c->in_len;
    ssize_t n = 0;
    if (room || c->drop_input) {
        n = read(fd, buf, c->drop_input ? sizeof buf : room);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            /* The end: never poll it again, it would be ready for ever. */
            vmr_chardev_source_end(&c->in_source);
            c->reading = false;
            hang_up(c);
            n = 0;
        }
    }
    if (n > 0) {
        unsigned left = c->filter ? c->filter(c, buf, (unsigned)n) : (unsigned)n;
        left = MIN(left, room); /* more only with drop_input */
        memcpy(c->in + c->in_len, buf, left);
        c->in_len += left;
        deliver(c);
    }
    if (c->in_len == VMR_CHARDEV_IN && !c->drop_input)
        vmr_chardev_source_end(&c->in_source);
    return leave(c, &c->in_source);
}

/* There is room: see that somebody reads. */
static void read_on(VmrChardev *c)
{
    if (c->in_fd >= 0 && !c->in_source && c->in_len < VMR_CHARDEV_IN && c->reading)
        c->in_source = vmr_chardev_source(c, c->in_fd, G_IO_IN, readable);
}

void vmr_chardev_host_attach(VmrDevice *dev, VmrChardev *c, const VmrChardevHandler *handler)
{
    vmr_domain_lock(c->machine->domain);
    if (c->device && handler && c->device != dev)
        vmr_core_log(VMR_LOG_ERROR, "[chardev %s] has two readers, %s and %s: %s gets the input",
                     c->name, c->device->name, dev->name, dev->name);
    c->device = handler ? dev : NULL;
    c->handler = handler;
    deliver(c);
    vmr_domain_unlock(c->machine->domain);
}

void vmr_chardev_host_accept_input(VmrChardev *c)
{
    vmr_domain_check(c->machine->domain, "vmr_chardev_accept_input");
    deliver(c);
}

/* ---- output ----------------------------------------------------------- */

/* How many bytes went out.  With an end of the other side, all of them. */
static unsigned put(VmrChardev *c, const uint8_t *data, unsigned len)
{
    unsigned done = 0;
    while (done < len && c->out_fd >= 0) {
        ssize_t n = write(c->out_fd, data + done, len - done);
        if (n > 0) {
            done += (unsigned)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno != EAGAIN) {
            if (errno != EPIPE && errno != EIO && errno != ECONNRESET)
                vmr_core_log(VMR_LOG_WARNING, "[chardev %s]: output is lost: %s", c->name,
                             g_strerror(errno));
            if (c->hangup) {
                hang_up(c);
            } else {
                if (c->out_fd != c->in_fd)
                    close(c->out_fd);
                c->out_fd = -1;
            }
            return len;
        } else {
            break;
        }
    }
    return c->out_fd < 0 ? len : done;
}

static void flush_some(VmrChardev *c)
{
    if (!c->out->len)
        return;
    unsigned n = put(c, c->out->data, c->out->len);
    if (n && c->out->len) /* hanging up may have emptied it */
        g_byte_array_remove_range(c->out, 0, MIN(n, c->out->len));
}

static gboolean writable(int fd, GIOCondition condition, gpointer data)
{
    VmrChardev *c = data;
    if (!enter(c, &c->out_source))
        return leave(c, &c->out_source);
    flush_some(c);
    if (!c->out->len)
        vmr_chardev_source_end(&c->out_source);
    if (c->owes_writable && c->out->len <= VMR_CHARDEV_OUT / 2) {
        c->owes_writable = false;
        if (c->handler && c->handler->writable)
            c->handler->writable(c->device);
    }
    return leave(c, &c->out_source);
}

unsigned vmr_chardev_host_write(VmrChardev *c, const uint8_t *data, unsigned len)
{
    vmr_domain_check(c->machine->domain, "vmr_chardev_write");
    if (c->out_fd < 0)
        return len; /* nobody is there */
    unsigned done = c->out->len ? 0 : put(c, data, len);
    if (done < len && c->out_fd >= 0) {
        unsigned more = MIN(len - done, VMR_CHARDEV_OUT - c->out->len);
        g_byte_array_append(c->out, data + done, more);
        done += more;
        if (!c->out_source)
            c->out_source = vmr_chardev_source(c, c->out_fd, G_IO_OUT, writable);
        if (done < len)
            c->owes_writable = true;
    }
    return done;
}

/* ---- streams ---------------------------------------------------------- */

void vmr_chardev_stream(VmrChardev *c, int in_fd, int out_fd)
{
    c->in_fd = in_fd;
    c->out_fd = out_fd;
    c->reading = true;
    read_on(c);
}

void vmr_chardev_stream_end(VmrChardev *c)
{
    vmr_chardev_source_end(&c->in_source);
    vmr_chardev_source_end(&c->out_source);
    c->reading = false;
    if (c->in_fd >= 0)
        close(c->in_fd);
    if (c->out_fd >= 0 && c->out_fd != c->in_fd)
        close(c->out_fd);
    c->in_fd = c->out_fd = -1;
    g_byte_array_set_size(c->out, 0);
    if (c->owes_writable) {
        c->owes_writable = false;
        if (c->handler && c->handler->writable)
            c->handler->writable(c->device); /* writes go nowhere now, but they are taken */
    }
}
