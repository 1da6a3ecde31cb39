/*
 * test-qcow2-crash - the power fails at each write to the file of a qcow2 image, and what had not
 * been synced by then is in the file or not, as it happens: what the guest had flushed is there,
 * and the image is sound but for leaked clusters.
 *
 * The linker puts the functions below in front of those of core/block-file.c.
 */
#include "core/block-file.h"
#include "imagefixture.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTORS = 256, SIZE = SECTORS * 512, STEPS = 60, CRASHES = 60 };

int __real_vmr_file_write(VmrFile *f, uint64_t offset, uint64_t length, const VmrBuffer *from, unsigned count);
int __wrap_vmr_file_write(VmrFile *f, uint64_t offset, uint64_t length, const VmrBuffer *from, unsigned count);
int __real_vmr_file_sync(VmrFile *f);
int __wrap_vmr_file_sync(VmrFile *f);

/* A write that no sync has followed. */
typedef struct Write {
    uint64_t offset, length;
    uint8_t *before, *after;
} Write;

static GQueue unsynced = G_QUEUE_INIT;
static off_t synced_size;
static int writes_left = -1; /* until the power fails; -1: it does not */
static bool failed;

static void write_free(void *data)
{
    Write *w = data;
    g_free(w->before);
    g_free(w->after);
    g_free(w);
}

/* Nothing reaches the file any more. */
int __wrap_vmr_file_write(VmrFile *f, uint64_t offset, uint64_t length, const VmrBuffer *from, unsigned count)
{
    if (failed || writes_left == 0) {
        failed = true;
        return EIO;
    }
    writes_left -= writes_left > 0;
    Write *w = g_new(Write, 1);
    *w = (Write){offset, length, g_malloc0(length), g_malloc(length)};
    g_assert_cmpint(pread(f->fd, w->before, length, (off_t)offset), >=, 0);
    int error = __real_vmr_file_write(f, offset, length, from, count);
    g_assert_cmpint(pread(f->fd, w->after, length, (off_t)offset), ==, (ssize_t)length);
    g_queue_push_tail(&unsynced, w);
    return error;
}

int __wrap_vmr_file_sync(VmrFile *f)
{
    if (failed)
        return EIO;
    struct stat st;
    g_assert_cmpint(fstat(f->fd, &st), ==, 0);
    synced_size = st.st_size;
    g_queue_foreach(&unsynced, (GFunc)(void *)write_free, NULL);
    g_queue_clear(&unsynced);
    return __real_vmr_file_sync(f);
}

/* Of the writes that were not synced some are lost, whichever came first. */
static void lose_some(const char *path)
{
    int fd = open(path, O_RDWR);
    g_assert_cmpint(fd, >=, 0);
    for (GList *l = unsynced.tail; l; l = l->prev) {
        Write *w = l->data;
        g_assert_cmpint(pwrite(fd, w->before, w->length, (off_t)w->offset), ==, (ssize_t)w->length);
    }
    g_assert_cmpint(ftruncate(fd, synced_size), ==, 0);
    unsigned keep = pick(4); /* none, few, most, all */
    for (GList *l = unsynced.head; l; l = l->next) {
        Write *w = l->data;
        if (keep == 3 || (keep && pick(keep == 1 ? 8 : 2)))
            g_assert_cmpint(pwrite(fd, w->after, w->length, (off_t)w->offset), ==, (ssize_t)w->length);
    }
    close(fd);
    g_queue_foreach(&unsynced, (GFunc)(void *)write_free, NULL);
    g_queue_clear(&unsynced);
}

static char *folder;

static int run(const char *command, int allowed)
{
    return run_in(folder, command, allowed);
}

/* Each write makes all its sectors' first byte one that no write before has used there. */
static void try(const char *make, uint8_t first, int writes)
{
    char *path = g_build_filename(folder, "image", NULL);
    uint8_t flushed[SECTORS], now[SECTORS];
    bool written[SECTORS][256] = {{false}}; /* since it was flushed */
    GError *error = NULL;
    run(make, 0);
    memset(flushed, first, sizeof flushed);
    memset(now, first, sizeof now);
    VmrBlockOptions how = {.format = VMR_FORMAT_QCOW2};
    VmrBlock *b = vmr_block_open(path, &how, &error);
    g_assert_no_error(error);
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    synced_size = st.st_size;
    failed = false;
    writes_left = writes;
    uint8_t *bytes = g_malloc(SIZE);
    for (unsigned i = 0; i < STEPS && !failed; i++) {
        uint32_t n = 1 + pick(24), at = pick(SECTORS - n + 1);
        VmrBuffer all = {bytes, n * 512};
        unsigned what = pick(8);
        if (what == 0) {
            if (b->klass->flush(b))
                break;
            memcpy(flushed, now, sizeof now);
            memset(written, 0, sizeof written);
            continue;
        }
        uint8_t value = what == 1 ? 0 : (uint8_t)(2 + i);
        memset(bytes, value, n * 512);
        for (uint32_t s = at; s < at + n; s++)
            written[s][value] = true; /* or a part of it, if it fails */
        if (what == 1 ? b->klass->zero(b, at * 512, n * 512, true) : b->klass->write(b, at * 512, n * 512, &all, 1))
            break;
        memset(now + at, value, n);
    }
    vmr_block_close(b);
    failed = false;
    writes_left = -1;
    lose_some(path);

    int leaks = run("qemu-img check image", 3);
    b = vmr_block_open(path, &how, &error);
    g_assert_no_error(error);
    VmrBuffer all = {bytes, SIZE};
    g_assert_cmpint(b->klass->read(b, 0, SIZE, &all, 1), ==, 0);
    for (uint32_t s = 0; s < SECTORS; s++) {
        uint8_t value = bytes[s * 512];
        if (value != flushed[s] && !written[s][value])
            g_error("%s, power fails after %d writes: sector %u has 0x%02x, flushed was 0x%02x", make, writes, s, value,
                    flushed[s]);
    }
    /* It goes on to be one that is written to. */
    memset(bytes, 0xee, SIZE);
    g_assert_cmpint(b->klass->write(b, 0, SIZE, &all, 1), ==, 0);
    vmr_block_close(b);
    run("qemu-img check image", leaks ? 3 : 0);
    g_free(bytes);
    g_free(path);
}

static void test_crash(const void *data)
{
    const char *const *image = data;
    for (int i = 0; i < CRASHES; i++)
        try(image[0], (uint8_t)image[1][0], i < CRASHES / 2 ? i : (int)pick(600));
}

int main(int argc, char **argv)
{
    static const char *const images[][2] = {
        {"rm -f image && qemu-img create -q -f qcow2 -o cluster_size=512 image 128K", ""},
        {"rm -f image && qemu-img create -q -f qcow2 -o cluster_size=4k image 128K", ""},
        {"qemu-img convert -c -f raw -O qcow2 -o cluster_size=2k raw image", "\1"},
        {"qemu-img create -q -f qcow2 -F raw -b raw -o cluster_size=1k image", "\1"},
        {"qemu-img convert -f raw -O qcow2 -o cluster_size=1k raw image && qemu-img snapshot -c one image", "\1"},
    };
    g_test_init(&argc, &argv, NULL);
    char *tool = g_find_program_in_path("qemu-img");
    if (!tool) {
        g_print("1..0 # SKIP no qemu-img here (package qemu-utils)\n");
        return 0;
    }
    g_free(tool);
    folder = g_dir_make_tmp("vmrun-crash-XXXXXX", NULL);
    run("head -c 131072 /dev/zero | tr '\\0' '\\1' >raw", 0);
    const char *const names[] = {"small-clusters", "plain", "compressed", "backed", "snapshot"};
    for (unsigned i = 0; i < G_N_ELEMENTS(images); i++) {
        char *name = g_strconcat("/qcow2-crash/", names[i], NULL);
        g_test_add_data_func(name, images[i], test_crash);
        g_free(name);
    }
    int status = g_test_run();
    char *clean = g_strdup_printf("rm -rf '%s'", folder);
    status |= system(clean) != 0;
    g_free(clean);
    g_free(folder);
    return status;
}
