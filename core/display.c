/*
 * core/display.c - [display NAME] sections, and the pictures that they give.
 */
#include "display-private.h"
#include "properties.h"
#include "runtime.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char *const types[] = {"png", "text", "terminal", NULL};

#define D(member_) offsetof(VmrDisplay, options.member_)

const VmrProperty vmr_display_properties[] = {
    {.name = "type", .type = VMR_PROP_ENUM, .offset = D(type), .default_text = "png",
     .names = types,
     .doc = "png and text write the screen when asked to: at the end, by SIGUSR2, by the monitor; "
            "terminal shows the text screen in the terminal, whose keys are the machine's"},
    {.name = "file", .type = VMR_PROP_PATH, .offset = D(file),
     .doc = "Where the screen is written; .png and .ppm are pictures, all else is text"},
    {.name = "keyboard", .type = VMR_PROP_STRING, .offset = D(keyboard),
     .doc = "terminal: the device that gets the keys; without it the machine's first keyboard"},
    {.name = "refresh", .type = VMR_PROP_U32, .offset = D(refresh), .default_text = "40",
     .min = 5, .max = 10000, .unit = "ms", .doc = "terminal: how often the screen is looked at"},
    {0},
};

/* ---- life ------------------------------------------------------------- */

VmrDisplay *vmr_display_new(VmrMachine *m, const VmrSection *section, VmrErrors *errors)
{
    VmrDisplay *d = g_new0(VmrDisplay, 1);
    d->machine = m;
    d->section = section;
    vmr_properties_apply(vmr_display_properties, d, section, section->place, errors);
    g_ptr_array_add(m->priv->displays, d);
    return d;
}

const char *vmr_display_name(const VmrDisplay *d)
{
    return d->section->name;
}

void vmr_display_host_attach(VmrDevice *dev, VmrDisplay *d, const VmrDisplaySource *source)
{
    vmr_domain_lock(d->machine->domain);
    d->device = source ? dev : NULL;
    d->source = source;
    vmr_domain_unlock(d->machine->domain);
}

bool vmr_displays_take_terminal(const VmrMachine *m)
{
    for (unsigned i = 0; i < m->priv->displays->len; i++) {
        const VmrDisplay *d = m->priv->displays->pdata[i];
        if (d->options.type == VMR_DISPLAY_TERMINAL)
            return true;
    }
    return false;
}

bool vmr_displays_open(VmrMachine *m, GError **error)
{
    for (unsigned i = 0; i < m->priv->displays->len; i++) {
        VmrDisplay *d = m->priv->displays->pdata[i];
        if (d->options.type == VMR_DISPLAY_TERMINAL && !vmr_display_terminal_open(d, error)) {
            g_prefix_error(error, "[display %s]: ", vmr_display_name(d));
            return false;
        }
    }
    return true;
}

void vmr_displays_dump(VmrMachine *m)
{
    for (unsigned i = 0; i < m->priv->displays->len; i++) {
        VmrDisplay *d = m->priv->displays->pdata[i];
        const char *file = d->options.file;
        GError *error = NULL;
        if (!file && d->options.type == VMR_DISPLAY_TEXT)
            file = "-";
        if (!file || vmr_display_screendump(d, file, &error))
            continue;
        vmr_core_log(VMR_LOG_WARNING, "[display %s]: %s", vmr_display_name(d), error->message);
        g_error_free(error);
    }
}

void vmr_displays_close(VmrMachine *m)
{
    for (unsigned i = 0; i < m->priv->displays->len; i++)
        vmr_display_terminal_close(m->priv->displays->pdata[i]);
}

void vmr_displays_free(VmrMachine *m)
{
    vmr_displays_close(m);
    for (unsigned i = 0; i < m->priv->displays->len; i++)
        g_free(m->priv->displays->pdata[i]);
    g_clear_pointer(&m->priv->displays, g_ptr_array_unref);
}

/* ---- the screen in a file --------------------------------------------- */

bool vmr_display_take_text(VmrDisplay *d, VmrTextScreen *screen)
{
    vmr_domain_lock_urgent(d->machine->domain);
    bool ok = d->source && d->source->text && d->source->text(d->device, screen);
    vmr_domain_unlock(d->machine->domain);
    return ok;
}

/* NULL: nothing is shown.  Owned by the caller. */
static uint32_t *take_pixels(VmrDisplay *d, uint32_t *width, uint32_t *height)
{
    uint32_t *pixels = NULL;
    *width = *height = 0;
    vmr_domain_lock_urgent(d->machine->domain);
    if (d->source)
        d->source->extent(d->device, width, height);
    if (*width && *height && *width <= VMR_DISPLAY_WIDTH_MAX && *height <= VMR_DISPLAY_HEIGHT_MAX &&
        (pixels = g_try_malloc0((size_t)*width * *height * sizeof(*pixels))))
        d->source->draw(d->device, pixels, *width, *height);
    vmr_domain_unlock(d->machine->domain);
    return pixels;
}

static bool write_text(VmrDisplay *d, FILE *to, GError **error)
{
    VmrTextScreen *screen = g_new0(VmrTextScreen, 1);
    GString *text = g_string_new(NULL);
    bool ok = vmr_display_take_text(d, screen);
    if (ok) {
        vmr_text_append(text, screen);
        fwrite(text->str, 1, text->len, to);
    } else {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "it shows no text now");
    }
    g_string_free(text, TRUE);
    g_free(screen);
    return ok;
}

static bool write_picture(VmrDisplay *d, FILE *to, const char *path, GError **error)
{
    uint32_t width, height, *pixels = take_pixels(d, &width, &height);
    bool ok = pixels && vmr_image_write(to, path, pixels, width, height, error);
    if (!pixels)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "it shows nothing now");
    g_free(pixels);
    return ok;
}

bool vmr_display_screendump(VmrDisplay *d, const char *path, GError **error)
{
    if (strcmp(path, "-") == 0) {
        bool shown = write_text(d, stdout, error);
        fflush(stdout);
        return shown;
    }
    char *part = g_strconcat(path, ".part", NULL);
    FILE *to = fopen(part, "we");
    bool ok = to && (vmr_image_is_path(path) ? write_picture(d, to, path, error)
                                             : write_text(d, to, error));
    if (to && fclose(to) != 0)
        ok = false;
    if (ok && rename(part, path) != 0)
        ok = false;
    if (!ok && error && !*error)
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", path,
                    g_strerror(errno));
    if (!ok && to)
        unlink(part);
    g_free(part);
    return ok;
}
