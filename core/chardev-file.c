/*
 * core/chardev-file.c - output into a file, input from another.
 */
#include "chardev-private.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int open_one(const char *path, int flags, GError **error)
{
    int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0666);
    if (fd < 0)
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", path,
                    g_strerror(errno));
    return fd;
}

static bool open_file(VmrChardev *c, GError **error)
{
    int in = -1, out = -1;
    if (c->options.path) {
        int mode = c->options.append ? O_APPEND : O_TRUNC;
        out = open_one(c->options.path, O_WRONLY | O_CREAT | mode, error);
        if (out < 0)
            return false;
    }
    if (c->options.input) {
        in = open_one(c->options.input, O_RDONLY, error);
        if (in < 0) {
            if (out >= 0)
                close(out);
            return false;
        }
    }
    vmr_chardev_stream(c, in, out);
    return true;
}

static const VmrProperty properties[] = {
    {.name = "path", .type = VMR_PROP_PATH, .offset = offsetof(VmrChardevOptions, path),
     .flags = VMR_PROP_REQUIRED, .doc = "the file that output is written to"},
    {.name = "append", .type = VMR_PROP_BOOL, .offset = offsetof(VmrChardevOptions, append),
     .default_text = "off", .doc = "write behind what the file holds, rather than replace it"},
    {.name = "input", .type = VMR_PROP_PATH, .offset = offsetof(VmrChardevOptions, input),
     .doc = "a file that input is read from, once"},
    {0}};

const VmrChardevClass vmr_chardev_file = {
    .type = "file",
    .summary = "output into a file, input from another",
    .properties = properties,
    .instance_size = sizeof(VmrChardev),
    .open = open_file,
    .close = vmr_chardev_stream_end,
};
