/*
 * tests/fuzz/file.h - an input as a file that has a path, without a disk.
 */
#ifndef FUZZ_FILE_H
#define FUZZ_FILE_H

#include <glib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct FuzzFile {
    int fd;
    char *path;
} FuzzFile;

static inline FuzzFile fuzz_file_new(const uint8_t *data, size_t size)
{
    FuzzFile f = {memfd_create("input", MFD_CLOEXEC), NULL};
    if (f.fd < 0 || write(f.fd, data, size) != (ssize_t)size)
        g_error("a file in memory cannot be made");
    f.path = g_strdup_printf("/proc/self/fd/%d", f.fd);
    return f;
}

static inline void fuzz_file_free(FuzzFile *f)
{
    close(f->fd);
    g_free(f->path);
}

#endif
