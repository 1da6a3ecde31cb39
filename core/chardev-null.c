/*
 * core/chardev-null.c - a back end where all output goes nowhere.
 */
#include "chardev-private.h"

static bool open_null(VmrChardev *c, GError **error)
{
    return true;
}

static void close_null(VmrChardev *c)
{
}

const VmrChardevClass vmr_chardev_null = {
    .type = "null",
    .summary = "takes all output and gives no input",
    .instance_size = sizeof(VmrChardev),
    .open = open_null,
    .close = close_null,
};
