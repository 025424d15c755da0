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

#endif
