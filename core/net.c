/*
 * core/net.c - network back ends: what is the same for all types.
 *
 * Frames that the device has no room for are kept, a bounded number of them; while
 * some are, no more are read from the host.
 */
#include "net.h"
#include "properties.h"
#include "runtime.h"

#include <glib-unix.h>
#include <string.h>
#include <unistd.h>

enum {
    WAITING_MAX = 1024, /* frames */
    BATCH = 64,         /* frames that are read before the lock is given up */
};

/* A frame that waits: its bytes follow. */
typedef struct Kept {
    VmrNetFrame frame;
    VmrBuffer buffer;
    uint8_t bytes[];
} Kept;

const VmrNetClass *const vmr_net_classes[] = {&vmr_net_user, &vmr_net_tap, &vmr_net_socket,
                                              NULL};

/* ---- life ------------------------------------------------------------- */

const VmrNetClass *vmr_net_class(const char *type)
{
    for (unsigned i = 0; vmr_net_classes[i]; i++)
        if (!strcmp(vmr_net_classes[i]->type, type))
            return vmr_net_classes[i];
    return NULL;
}

VmrNet *vmr_net_new(VmrMachine *m, const VmrSection *section, VmrErrors *errors)
{
    const VmrValue *type = vmr_section_value(section, "type");
    if (!type) {
        vmr_errors_add(errors, section->place, section->title, "type", "it must be set");
        return NULL;
    }
    const VmrNetClass *klass = vmr_net_class(type->text);
    if (!klass) {
        const char *names[G_N_ELEMENTS(vmr_net_classes)] = {NULL};
        for (unsigned i = 0; vmr_net_classes[i]; i++)
            names[i] = vmr_net_classes[i]->type;
        char *hint = vmr_nearest_hint(type->text, names);
        vmr_errors_add(errors, type->place, section->title, "type",
                       "no back end type '%s' is built in%s", type->text, hint);
        g_free(hint);
        return NULL;
    }
    if (klass->missing) {
        vmr_errors_add(errors, type->place, section->title, "type", "%s", klass->missing);
        return NULL;
    }
    VmrNet *n = g_malloc0(klass->instance_size);
    n->klass = klass;
    n->machine = m;
    n->section = section;
    n->takes = klass->takes;
    n->gives = klass->gives;
    n->fd = -1;
    g_queue_init(&n->waiting);
    vmr_properties_apply(klass->properties, n, section, section->place, errors);
    if (klass->check)
        klass->check(n, section, errors);
    g_ptr_array_add(m->priv->nets, n);
    return n;
}

static bool open_one(VmrNet *n, GError **error)
{
    const char *key = "pcap";
    bool ok = true;
    if (n->pcap_file)
        ok = (n->pcap = vmr_pcap_new(n->pcap_file, error)) != NULL;
    if (ok) {
        key = "type";
        vmr_domain_lock(n->machine->domain);
        n->opened = true; /* close() also undoes half an open() */
        ok = n->klass->open(n, error);
        vmr_domain_unlock(n->machine->domain);
    }
    if (ok)
        return true;
    VmrPlace place = vmr_section_place(n->section, key);
    g_prefix_error(error, "[%s]: ", n->section->title);
    if (place.file)
        g_prefix_error(error, "%s:%u: ", place.file, place.line);
    return false;
}

bool vmr_nets_open(VmrMachine *m, GError **error)
{
    for (unsigned i = 0; i < m->priv->nets->len; i++) {
        VmrNet *n = m->priv->nets->pdata[i];
        if (!n->opened && !open_one(n, error))
            return false;
    }
    return true;
}

void vmr_nets_free(VmrMachine *m)
{
    for (unsigned i = 0; i < m->priv->nets->len; i++) {
        VmrNet *n = m->priv->nets->pdata[i];
        vmr_domain_lock(m->domain);
        if (n->opened)
            n->klass->close(n);
        vmr_domain_unlock(m->domain);
        g_queue_clear_full(&n->waiting, g_free);
        vmr_pcap_free(n->pcap);
        if (n->klass->free)
            n->klass->free(n);
        g_free(n);
    }
    g_clear_pointer(&m->priv->nets, g_ptr_array_unref);
}

/* ---- frames ----------------------------------------------------------- */

size_t vmr_net_length(const VmrNetFrame *frame)
{
    size_t length = 0;
    for (unsigned i = 0; i < frame->buffer_count; i++)
        length += frame->buffers[i].len;
    return length;
}

void vmr_net_flatten(const VmrNetFrame *frame, uint8_t *to)
{
    for (unsigned i = 0; i < frame->buffer_count; i++) {
        memcpy(to, frame->buffers[i].base, frame->buffers[i].len);
        to += frame->buffers[i].len;
    }
}

bool vmr_net_waits(const VmrNet *n)
{
    return n->waiting.length > 0;
}

static void keep(VmrNet *n, const VmrNetFrame *frame)
{
    if (n->waiting.length >= WAITING_MAX) {
        n->dropped++;
        return;
    }
    size_t length = vmr_net_length(frame);
    Kept *k = g_malloc(sizeof(*k) + length);
    k->frame = *frame;
    k->buffer = (VmrBuffer){k->bytes, length};
    k->frame.buffers = &k->buffer;
    k->frame.buffer_count = 1;
    vmr_net_flatten(frame, k->bytes);
    g_queue_push_tail(&n->waiting, k);
}

void vmr_net_deliver(VmrNet *n, const VmrNetFrame *frame)
{
    static const uint32_t segments[] = {0, VMR_NET_TCP4, VMR_NET_TCP6};
    size_t length = vmr_net_length(frame);
    /* What the driver does not take any more may still be on its way. */
    uint32_t needs = segments[frame->segments];
    if (frame->flags & VMR_NET_NEEDS_CHECKSUM)
        needs |= VMR_NET_CHECKSUM;
    if (!n->link || length < 14 || length > VMR_NET_FRAME_MAX || (needs & ~n->wanted)) {
        n->dropped++;
        return;
    }
    vmr_pcap_frame(n->pcap, frame);
    if (!n->handler)
        return;
    /* Within a delivery (the device sends, and is answered at once) it is not called again. */
    if (n->delivering || vmr_net_waits(n)) {
        keep(n, frame);
        return;
    }
    n->delivering = true;
    bool taken = n->handler->receive(n->device, frame);
    n->delivering = false;
    if (!taken)
        keep(n, frame);
}

void vmr_net_deliver_bytes(VmrNet *n, const void *data, size_t length)
{
    VmrBuffer buffer = {(void *)data, length};
    VmrNetFrame frame = {.buffers = &buffer, .buffer_count = 1};
    if (n->gives & VMR_NET_CHECKSUM)
        frame.flags = VMR_NET_CHECKED;
    vmr_net_deliver(n, &frame);
}

/* ---- sources ---------------------------------------------------------- */

static void source_end(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_source_unref(*source);
    *source = NULL;
}

static GSource *source_new(VmrNet *n, GIOCondition condition, GUnixFDSourceFunc fn)
{
    GSource *s = g_unix_fd_source_new(n->fd, condition);
    g_source_set_callback(s, G_SOURCE_FUNC(fn), n, NULL);
    g_source_attach(s, n->machine->priv->context);
    return s;
}

/* A source may have been destroyed by a vCPU while its callback waited for the lock. */
static bool alive(GSource *const *source)
{
    return *source && *source == g_main_current_source();
}

static gboolean readable(int fd, GIOCondition condition, gpointer data)
{
    VmrNet *n = data;
    vmr_domain_lock_urgent(n->machine->domain);
    for (unsigned i = 0; i < BATCH && alive(&n->reader) && !vmr_net_waits(n); i++)
        if (!n->klass->receive(n))
            break;
    if (alive(&n->reader) && vmr_net_waits(n))
        source_end(&n->reader);
    gboolean go_on = alive(&n->reader);
    vmr_domain_unlock(n->machine->domain);
    return go_on;
}

void vmr_net_read(VmrNet *n)
{
    if (n->fd >= 0 && !n->reader && !vmr_net_waits(n) && n->klass->receive)
        n->reader = source_new(n, G_IO_IN, readable);
}

static gboolean writable(int fd, GIOCondition condition, gpointer data)
{
    VmrNet *n = data;
    vmr_domain_lock_urgent(n->machine->domain);
    if (alive(&n->writer)) {
        source_end(&n->writer);
        vmr_net_writable(n);
    }
    vmr_domain_unlock(n->machine->domain);
    return G_SOURCE_REMOVE;
}

void vmr_net_want_writable(VmrNet *n)
{
    if (n->fd >= 0 && !n->writer)
        n->writer = source_new(n, G_IO_OUT, writable);
}

void vmr_net_writable(VmrNet *n)
{
    if (!n->owes_writable)
        return;
    n->owes_writable = false;
    if (n->handler)
        n->handler->writable(n->device);
}

void vmr_net_end(VmrNet *n)
{
    source_end(&n->reader);
    source_end(&n->writer);
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

/* ---- devices ---------------------------------------------------------- */

/* If no frame waits any more, the host's are read again. */
static void go_on(VmrNet *n)
{
    vmr_net_read(n);
    if (!vmr_net_waits(n) && n->klass->accepted)
        n->klass->accepted(n);
}

static void drop_waiting(VmrNet *n)
{
    g_queue_clear_full(&n->waiting, g_free);
    go_on(n);
}

bool vmr_net_host_attach(VmrDevice *dev, VmrNet *n, const VmrNetHandler *handler, VmrNetInfo *info,
                         GError **error)
{
    if (handler && (!n->opened || (n->device && n->device != dev))) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "[%s] %s%s", n->section->title,
                    n->opened ? "is taken by " : "is not open", n->opened ? n->device->name : "");
        return false;
    }
    vmr_domain_lock(n->machine->domain);
    n->device = handler ? dev : NULL;
    n->handler = handler;
    drop_waiting(n);
    vmr_domain_unlock(n->machine->domain);
    if (!handler)
        return true;
    VmrNetInfo all = {
        .size = MIN(info->size, sizeof(all)),
        .takes = n->takes,
        .gives = n->gives,
        .link = n->link,
        .name = n->section->name,
    };
    memcpy(info, &all, all.size);
    return true;
}

void vmr_net_host_offloads(VmrDevice *dev, VmrNet *n, uint32_t wanted)
{
    vmr_domain_lock(n->machine->domain);
    wanted &= n->gives;
    if (n->wanted & ~wanted)
        drop_waiting(n);
    n->wanted = wanted;
    if (n->klass->offloads)
        n->klass->offloads(n, wanted);
    vmr_domain_unlock(n->machine->domain);
}

bool vmr_net_host_send(VmrDevice *dev, VmrNet *n, const VmrNetFrame *frame)
{
    vmr_domain_check(n->machine->domain, "vmr_net_send");
    size_t length = vmr_net_length(frame);
    bool good = length >= 14 && length <= VMR_NET_FRAME_MAX;
    if (frame->flags & VMR_NET_NEEDS_CHECKSUM)
        good = good && (n->takes & VMR_NET_CHECKSUM) &&
               (size_t)frame->checksum_start + frame->checksum_offset + 2 <= length;
    if (frame->segments)
        good = good && frame->segment_size && (n->takes & (VMR_NET_TCP4 | VMR_NET_TCP6));
    if (!n->link || !good) {
        n->dropped++;
        return true;
    }
    /* Before it is sent, as the answer may come at once; and not again if it comes again. */
    if (!n->captured)
        vmr_pcap_frame(n->pcap, frame);
    n->captured = !n->klass->send(n, frame);
    n->owes_writable |= n->captured;
    return !n->captured;
}

void vmr_net_host_accept(VmrDevice *dev, VmrNet *n)
{
    vmr_domain_check(n->machine->domain, "vmr_net_accept");
    if (n->delivering || !vmr_net_waits(n))
        return;
    n->delivering = true;
    while (n->handler && vmr_net_waits(n)) {
        Kept *k = g_queue_peek_head(&n->waiting);
        if (!n->handler->receive(n->device, &k->frame))
            break;
        g_queue_pop_head(&n->waiting);
        g_free(k);
    }
    n->delivering = false;
    go_on(n);
}
