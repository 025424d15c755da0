/*
 * What a fuzz target is made of. Built for libFuzzer it is driven by coverage; built without it,
 * tests/lib/fuzz_main.c replays its seeds, mutations of them, and the inputs that once failed.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Try one input; aborts when a promise is broken. */
int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes);

/* Write the seed input of this number, from 0 on. @return its bytes; 0: there are no more. */
size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max);

/* A seed for targets that read their input as choices: bytes of all values, the first `count`
 * numbers being inputs of growing length. */
static inline size_t fuzz_noise(unsigned number, unsigned count, uint8_t *at, size_t bytes_max)
{
    uint64_t random = 0x9e3779b97f4a7c15ull * (number + 1);
    size_t bytes = (size_t)256 * (number % 8 + 1);

    if (number >= count)
        return 0;
    if (bytes > bytes_max)
        bytes = bytes_max;
    for (size_t i = 0; i < bytes; i++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        at[i] = (uint8_t)(random >> 56);
    }
    return bytes;
}

#endif
