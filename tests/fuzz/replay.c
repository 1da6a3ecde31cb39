/*
 * tests/fuzz/replay.c - a fuzzer without libFuzzer: give it the files of a corpus once each.
 *
 *     fuzz-NAME FOLDER...
 */
#include "fuzz.h"

#include <glib.h>
#include <stdio.h>

static unsigned replay(const char *folder)
{
    GError *error = NULL;
    GDir *dir = g_dir_open(folder, 0, &error);
    if (!dir)
        g_error("%s", error->message);
    unsigned count = 0;
    const char *name;
    while ((name = g_dir_read_name(dir))) {
        char *path = g_build_filename(folder, name, NULL), *data;
        size_t size;
        if (!g_file_get_contents(path, &data, &size, &error))
            g_error("%s", error->message);
        printf("%s\n", path); /* the last one is at fault */
        fflush(stdout);
        LLVMFuzzerTestOneInput((uint8_t *)data, size);
        g_free(data);
        g_free(path);
        count++;
    }
    g_dir_close(dir);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++)
        count += replay(argv[i]);
    printf("%u inputs\n", count);
    return count ? 0 : 1;
}
