/*
 * core/drive.c - [drive NAME] sections, and the requests of their devices.
 *
 * Each request is one job of the work pool.  What a guest may get wrong (bounds,
 * alignment, writes to a read-only drive) is answered with an errno.
 * Leaves out resizing.
 */
#include "drive.h"
#include "properties.h"
#include "runtime.h"

#include <errno.h>
#include <string.h>

typedef struct DriveOptions {
    const char *file, *serial;
    uint32_t format, cache;
    bool readonly, snapshot, lock;
} DriveOptions;

struct VmrDrive {
    VmrMachine *machine;
    const VmrSection *section;
    const char *name;
    DriveOptions options;
    VmrBlock *block; /* NULL: not opened */
    VmrDevice *user;
    unsigned in_flight; /* under the domain lock */
};

static const char *const formats[] = {"auto", "raw", "qcow2", NULL};
static const char *const caches[] = {"writeback", "writethrough", "none", "unsafe", NULL};

#define D(member_) offsetof(DriveOptions, member_)

const VmrProperty vmr_drive_properties[] = {
    {.name = "file", .type = VMR_PROP_PATH, .flags = VMR_PROP_REQUIRED, .offset = D(file),
     .doc = "The image: a file, or a block device"},
    {.name = "format", .type = VMR_PROP_ENUM, .offset = D(format), .default_text = "auto",
     .names = formats, .doc = "What is in the file; auto looks, and refuses what it cannot read; to a disk taken "
            "for raw, a write that makes it look like an image fails"},
    {.name = "readonly", .type = VMR_PROP_BOOL, .offset = D(readonly), .default_text = "off",
     .doc = "The guest cannot write"},
    {.name = "snapshot", .type = VMR_PROP_BOOL, .offset = D(snapshot), .default_text = "off",
     .doc = "What the guest writes is thrown away at the end; the file is not changed"},
    {.name = "cache", .type = VMR_PROP_ENUM, .offset = D(cache), .default_text = "writeback",
     .names = caches,
     .doc = "The host's page cache: writeback (safe after a flush), writethrough (safe at once), "
            "none (goes around it), unsafe (flushes are ignored)"},
    {.name = "lock", .type = VMR_PROP_BOOL, .offset = D(lock), .default_text = "on",
     .doc = "Keep other machines from writing the same file"},
    {.name = "serial", .type = VMR_PROP_STRING, .offset = D(serial),
     .doc = "What the guest sees as its serial number, at most 20 characters"},
    {0},
};

/* ---- life ------------------------------------------------------------- */

VmrDrive *vmr_drive_new(VmrMachine *m, const VmrSection *section, VmrErrors *errors)
{
    VmrDrive *d = g_new0(VmrDrive, 1);
    d->machine = m;
    d->section = section;
    d->name = section->name;
    vmr_properties_apply(vmr_drive_properties, &d->options, section, section->place, errors);
    if (d->options.serial && strlen(d->options.serial) > 20)
        vmr_errors_add(errors, vmr_section_place(section, "serial"), section->title, "serial",
                       "more than 20 characters");
    g_ptr_array_add(m->priv->drives, d);
    return d;
}

static bool open_one(VmrDrive *d, GError **error)
{
    const DriveOptions *o = &d->options;
    bool base_only = o->readonly || o->snapshot;
    VmrBlockOptions how = {
        .format = (VmrBlockFormat)o->format,
        .cache = (VmrCacheMode)o->cache,
        .read_only = base_only,
        .lock = o->lock,
    };
    d->block = vmr_block_open(o->file, &how, error);
    if (!d->block || !o->snapshot || o->readonly)
        return d->block != NULL;
    d->block = vmr_block_overlay_new(d->block, error);
    return d->block != NULL;
}

bool vmr_drives_open(VmrMachine *m, GError **error)
{
    for (unsigned i = 0; i < m->priv->drives->len; i++) {
        VmrDrive *d = m->priv->drives->pdata[i];
        if (d->block || open_one(d, error))
            continue;
        VmrPlace place = vmr_section_place(d->section, "file");
        if (place.file)
            g_prefix_error(error, "%s:%u: ", place.file, place.line);
        return false;
    }
    return true;
}

void vmr_drives_free(VmrMachine *m)
{
    for (unsigned i = 0; i < m->priv->drives->len; i++) {
        VmrDrive *d = m->priv->drives->pdata[i];
        vmr_block_close(d->block);
        g_free(d);
    }
    g_clear_pointer(&m->priv->drives, g_ptr_array_unref);
}

/* ---- devices ---------------------------------------------------------- */

bool vmr_drive_host_attach(VmrDevice *dev, VmrDrive *d, VmrDriveInfo *info, GError **error)
{
    if (!d->block || (d->user && d->user != dev)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "[drive %s] %s%s", d->name,
                    d->block ? "is taken by " : "is not open", d->block ? d->user->name : "");
        return false;
    }
    d->user = dev;
    VmrDriveInfo all = {
        .size = MIN(info->size, sizeof(all)),
        .logical_block = d->block->alignment,
        .bytes = d->block->size,
        .physical_block = d->block->physical_block,
        .read_only = d->block->read_only,
        .volatile_cache = d->block->volatile_cache,
        .discard = d->block->discards,
        .name = d->name,
        .serial = d->options.serial,
    };
    memcpy(info, &all, all.size);
    return true;
}

static int check_request(const VmrBlock *b, const VmrDriveRequest *r)
{
    bool data = r->op == VMR_DRIVE_READ || r->op == VMR_DRIVE_WRITE;
    if (r->op == VMR_DRIVE_FLUSH)
        return 0;
    if (b->read_only && r->op != VMR_DRIVE_READ)
        return EROFS;
    if (r->offset > b->size || r->length > b->size - r->offset || r->offset % b->alignment ||
        r->length % b->alignment)
        return EINVAL;
    uint64_t held = 0;
    for (unsigned i = 0; data && i < r->buffer_count; i++) {
        if (r->buffers[i].len > r->length - held)
            return EINVAL;
        held += r->buffers[i].len;
    }
    return data && held != r->length ? EINVAL : 0;
}

static void work(void *data)
{
    VmrDriveRequest *r = data;
    VmrBlock *b = ((VmrDrive *)r->host[0])->block;
    r->error = check_request(b, r);
    if (r->error)
        return;
    switch (r->op) {
    case VMR_DRIVE_READ:
        r->error = b->klass->read(b, r->offset, r->length, r->buffers, r->buffer_count);
        break;
    case VMR_DRIVE_WRITE:
        r->error = b->klass->write(b, r->offset, r->length, r->buffers, r->buffer_count);
        break;
    case VMR_DRIVE_FLUSH:
        r->error = b->klass->flush(b);
        break;
    case VMR_DRIVE_DISCARD:
        r->error = b->klass->discard(b, r->offset, r->length);
        break;
    case VMR_DRIVE_WRITE_ZEROES:
        r->error = b->klass->zero(b, r->offset, r->length, r->flags & VMR_DRIVE_UNMAP);
        break;
    default:
        r->error = EINVAL;
    }
}

static void finished(VmrDevice *dev, void *data)
{
    VmrDriveRequest *r = data;
    VmrDrive *d = r->host[0];
    d->in_flight--;
    r->done(dev, r, r->error);
}

void vmr_drive_host_submit(VmrDevice *dev, VmrDrive *d, VmrDriveRequest *r)
{
    vmr_domain_check(d->machine->domain, "vmr_drive_submit");
    d->in_flight++;
    r->host[0] = d;
    vmr_host_work_submit(dev, work, finished, r);
}

void vmr_drive_host_drain(VmrDevice *dev, VmrDrive *d)
{
    if (d->in_flight)
        vmr_workers_drain(d->machine->priv->workers);
}
