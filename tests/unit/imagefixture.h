/*
 * tests/unit/imagefixture.h - numbers at random that are the same in every run, and commands such as
 * qemu-img, for tests of disk images.
 */
#ifndef IMAGEFIXTURE_H
#define IMAGEFIXTURE_H

#include <glib.h>
#include <sys/wait.h>

static inline uint32_t pick(uint32_t bound)
{
    static uint32_t x = 2463534242;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x % bound;
}

/* A shell command in a folder: its exit status, which is 0 or `allowed`. */
static inline int run_in(const char *folder, const char *command, int allowed)
{
    GError *error = NULL;
    char *said, *wrong, *text = g_strdup_printf("cd '%s' && %s", folder, command);
    const char *argv[] = {"/bin/sh", "-c", text, NULL};
    int status;
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &said, &wrong, &status, &error));
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code && code != allowed)
        g_error("%s: exit status %d\n%s%s", command, code, said, wrong);
    g_test_message("%s: %s%s", command, said, wrong);
    g_free(said);
    g_free(wrong);
    g_free(text);
    return code;
}

#endif
