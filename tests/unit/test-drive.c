/*
 * test-drive - raw files, cache modes, locks and throw-away overlays, against a copy in memory;
 * and what a drive says of requests that are wrong.
 */
#include "core/block.h"
#include "imagefixture.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 1 << 20 };

typedef struct Image {
    char *path;
    uint8_t *bytes; /* what it should hold */
} Image;

static Image image(gsize size)
{
    Image i = {.bytes = g_malloc(SIZE + 4096)};
    GError *error = NULL;
    int fd = g_file_open_tmp("vmrun-drive-XXXXXX", &i.path, &error);
    g_assert_no_error(error);
    close(fd);
    for (unsigned n = 0; n < SIZE; n++)
        i.bytes[n] = (uint8_t)(n * 7 + (n >> 9));
    g_file_set_contents(i.path, (char *)i.bytes, (gssize)size, &error);
    g_assert_no_error(error);
    return i;
}

static void image_free(Image *i)
{
    unlink(i->path);
    g_free(i->path);
    g_free(i->bytes);
}

/* Cut [p, p + len) into random buffers. */
static unsigned cut(uint8_t *p, size_t len, VmrBuffer *out)
{
    unsigned n = 0;
    while (len) {
        size_t part = n == 7 ? len : MIN(len, 1 + (size_t)pick((unsigned)len));
        out[n++] = (VmrBuffer){p, part};
        p += part;
        len -= part;
    }
    return n;
}

static void exercise(VmrBlock *b, uint8_t *bytes, unsigned rounds)
{
    uint8_t *buffer = g_malloc(SIZE), *got = g_malloc(SIZE);
    for (unsigned i = 0; i < rounds; i++) {
        VmrBuffer parts[8];
        size_t length = (1 + pick(i % 8 ? 32 : 600)) * 512;
        uint64_t offset = (uint64_t)pick((unsigned)((SIZE - length) / 512 + 1)) * 512;
        switch (pick(8)) {
        case 0:
            g_assert_cmpint(b->klass->zero(b, offset, length, pick(2)), ==, 0);
            memset(bytes + offset, 0, length);
            break;
        case 1:
            g_assert_cmpint(b->klass->flush(b), ==, 0);
            break;
        case 2:
        case 3:
            memset(buffer, (int)i, length);
            g_assert_cmpint(b->klass->write(b, offset, length, parts, cut(buffer, length, parts)),
                            ==, 0);
            memcpy(bytes + offset, buffer, length);
            break;
        default:
            g_assert_cmpint(b->klass->read(b, offset, length, parts, cut(got, length, parts)), ==,
                            0);
            g_assert_cmpmem(got, length, bytes + offset, length);
        }
    }
    g_free(buffer);
    g_free(got);
}

static void expect_file(const Image *i, const uint8_t *bytes, gsize size)
{
    char *text;
    gsize length;
    g_assert_true(g_file_get_contents(i->path, &text, &length, NULL));
    g_assert_cmpmem(text, length, bytes, size);
    g_free(text);
}

static void test_raw(gconstpointer mode)
{
    GError *error = NULL;
    Image i = image(SIZE);
    VmrCacheMode cache = (VmrCacheMode)GPOINTER_TO_INT(mode);
    VmrBlock *b = vmr_block_raw_open(i.path, false, true, cache, &error);
    if (!b && cache == VMR_CACHE_NONE) {
        g_test_skip("no O_DIRECT here");
    } else {
        g_assert_no_error(error);
        g_assert_cmpuint(b->size, ==, SIZE);
        g_assert_true(b->volatile_cache == (cache != VMR_CACHE_WRITETHROUGH));
        exercise(b, i.bytes, b->alignment == 512 ? 1500 : 0);
        vmr_block_close(b);
        expect_file(&i, i.bytes, SIZE);
    }
    g_clear_error(&error);
    image_free(&i);
}

static void test_odd_size(void)
{
    Image i = image(1000);
    VmrBlock *b = vmr_block_raw_open(i.path, false, true, VMR_CACHE_WRITEBACK, NULL);
    uint8_t got[1024];
    VmrBuffer all = {got, 1024};
    static const uint8_t zeros[24];
    g_assert_cmpuint(b->size, ==, 1024);
    g_assert_cmpint(b->klass->read(b, 0, 1024, &all, 1), ==, 0);
    g_assert_cmpmem(got, 1000, i.bytes, 1000);
    g_assert_cmpmem(got + 1000, 24, zeros, 24);
    vmr_block_close(b);
    image_free(&i);
}

static void test_overlay(void)
{
    GError *error = NULL;
    Image i = image(SIZE);
    uint8_t *before = g_memdup2(i.bytes, SIZE);
    VmrBlock *b = vmr_block_raw_open(i.path, true, true, VMR_CACHE_WRITEBACK, &error);
    g_assert_no_error(error);
    b = vmr_block_overlay_new(b, &error);
    g_assert_no_error(error);
    g_assert_false(b->read_only);
    exercise(b, i.bytes, 1500);
    vmr_block_close(b);
    expect_file(&i, before, SIZE);
    g_free(before);
    image_free(&i);
}

static void test_lock(void)
{
    GError *error = NULL;
    Image i = image(4096);
    VmrBlock *a = vmr_block_raw_open(i.path, false, true, VMR_CACHE_WRITEBACK, &error);
    g_assert_no_error(error);
    g_assert_null(vmr_block_raw_open(i.path, false, true, VMR_CACHE_WRITEBACK, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_ACCES);
    g_clear_error(&error);
    g_assert_null(vmr_block_raw_open(i.path, true, true, VMR_CACHE_WRITEBACK, &error));
    g_clear_error(&error);
    VmrBlock *forced = vmr_block_raw_open(i.path, false, false, VMR_CACHE_WRITEBACK, &error);
    g_assert_nonnull(forced);
    vmr_block_close(forced);
    vmr_block_close(a);
    /* Readers share, and keep writers off. */
    a = vmr_block_raw_open(i.path, true, true, VMR_CACHE_WRITEBACK, &error);
    VmrBlock *b = vmr_block_raw_open(i.path, true, true, VMR_CACHE_WRITEBACK, &error);
    g_assert_no_error(error);
    g_assert_null(vmr_block_raw_open(i.path, false, true, VMR_CACHE_WRITEBACK, NULL));
    vmr_block_close(a);
    vmr_block_close(b);
    image_free(&i);
}

/* In another process: how does opening end?  0, or the error's code plus one. */
static int open_elsewhere(const char *path, bool read_only)
{
    GError *error = NULL;
    pid_t child = fork();
    if (child == 0) {
        VmrBlock *b = vmr_block_raw_open(path, read_only, true, VMR_CACHE_WRITEBACK, &error);
        _exit(b ? 0 : strstr(error->message, path) ? error->code + 1 : 255);
    }
    int status;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_lock_processes(void)
{
    GError *error = NULL;
    Image i = image(4096);
    int in_use = G_FILE_ERROR_ACCES + 1;
    VmrBlock *b = vmr_block_raw_open(i.path, false, true, VMR_CACHE_WRITEBACK, &error);
    g_assert_no_error(error);
    g_assert_cmpint(open_elsewhere(i.path, false), ==, in_use);
    g_assert_cmpint(open_elsewhere(i.path, true), ==, in_use);
    vmr_block_close(b);
    b = vmr_block_raw_open(i.path, true, true, VMR_CACHE_WRITEBACK, &error);
    g_assert_no_error(error);
    g_assert_cmpint(open_elsewhere(i.path, true), ==, 0);
    g_assert_cmpint(open_elsewhere(i.path, false), ==, in_use);
    vmr_block_close(b);
    /* A process that has died keeps nothing. */
    int ends[2];
    char byte;
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    pid_t child = fork();
    if (child == 0) {
        b = vmr_block_raw_open(i.path, false, true, VMR_CACHE_WRITEBACK, NULL);
        if (write(ends[1], b ? "y" : "n", 1) == 1)
            pause();
        _exit(1);
    }
    g_assert_cmpint((int)read(ends[0], &byte, 1), ==, 1);
    g_assert_cmpint(byte, ==, 'y');
    g_assert_null(vmr_block_raw_open(i.path, true, true, VMR_CACHE_WRITEBACK, NULL));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    b = vmr_block_raw_open(i.path, false, true, VMR_CACHE_WRITEBACK, &error);
    g_assert_no_error(error);
    vmr_block_close(b);
    close(ends[0]);
    close(ends[1]);
    image_free(&i);
}

/* QEMU does not write to what we have open, for writing or reading. */
static void test_lock_qemu(void)
{
    GError *error = NULL;
    char *tool = g_find_program_in_path("qemu-io");
    if (!tool) {
        g_test_skip("no qemu-io here (package qemu-utils)");
        return;
    }
    Image i = image(SIZE);
    const char *argv[] = {tool, "-f", "raw", "-c", "write 0 512", i.path, NULL};
    for (int writer = 0; writer < 3; writer++) {
        char *said, *wrong;
        int status;
        VmrBlock *b = writer == 2 ? NULL : vmr_block_raw_open(i.path, !writer, true,
                                                              VMR_CACHE_WRITEBACK, &error);
        g_assert_no_error(error);
        g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &said, &wrong, &status,
                                   &error));
        g_test_message("%d: %s%s", writer, said, wrong);
        g_assert_true((status == 0) == (writer == 2));
        g_assert_true((strstr(wrong, "lock") != NULL) == (writer < 2));
        g_free(said);
        g_free(wrong);
        vmr_block_close(b);
    }
    g_free(tool);
    image_free(&i);
}

static void test_refused(void)
{
    GError *error = NULL;
    Image i = image(0);
    g_assert_null(vmr_block_raw_open(i.path, false, true, VMR_CACHE_WRITEBACK, &error));
    g_assert_nonnull(error); /* empty */
    g_clear_error(&error);
    g_assert_null(vmr_block_raw_open("/dev/null", true, true, VMR_CACHE_WRITEBACK, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_assert_null(vmr_block_raw_open("/nonexistent", true, true, VMR_CACHE_WRITEBACK, &error));
    g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
    g_clear_error(&error);
    image_free(&i);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/drive/writeback", GINT_TO_POINTER(VMR_CACHE_WRITEBACK), test_raw);
    g_test_add_data_func("/drive/writethrough", GINT_TO_POINTER(VMR_CACHE_WRITETHROUGH), test_raw);
    g_test_add_data_func("/drive/none", GINT_TO_POINTER(VMR_CACHE_NONE), test_raw);
    g_test_add_data_func("/drive/unsafe", GINT_TO_POINTER(VMR_CACHE_UNSAFE), test_raw);
    g_test_add_func("/drive/odd-size", test_odd_size);
    g_test_add_func("/drive/overlay", test_overlay);
    g_test_add_func("/drive/lock", test_lock);
    g_test_add_func("/drive/lock-processes", test_lock_processes);
    g_test_add_func("/drive/lock-qemu", test_lock_qemu);
    g_test_add_func("/drive/refused", test_refused);
    return g_test_run();
}
