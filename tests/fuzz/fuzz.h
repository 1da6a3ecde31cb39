/*
 * tests/fuzz/fuzz.h - an input of a fuzzer, taken as numbers.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* libFuzzer's entry: one input.  Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct FuzzInput {
    const uint8_t *data;
    size_t left; /* bytes */
} FuzzInput;

/* The next 1 to 8 bytes as a little-endian number; behind the end there are zeros. */
static inline uint64_t fuzz_take(FuzzInput *in, unsigned bytes)
{
    uint64_t value = 0;
    unsigned n = in->left < bytes ? (unsigned)in->left : bytes;
    for (unsigned i = 0; i < n; i++)
        value |= (uint64_t)in->data[i] << (8 * i);
    in->data += n;
    in->left -= n;
    return value;
}

/* Up to `length` bytes from it to `to`: how many there were. */
static inline size_t fuzz_copy(FuzzInput *in, void *to, size_t length)
{
    size_t n = in->left < length ? in->left : length;
    if (n)
        memcpy(to, in->data, n);
    in->data += n;
    in->left -= n;
    return n;
}

#endif
