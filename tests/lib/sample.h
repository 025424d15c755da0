/*
 * One message of any type, well formed, made from a seed: for round trips of the codec, for the
 * seed corpus of the fuzzers, and to check that no field is forgotten.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "codec.h"

#include <stdbool.h>

/* `full`: every column and every optional field is there and not zero; else each may be missing.
 * Everything is in memory of `buf`. */
void sample_msg(enum dtqi_msg_type type, uint64_t seed, bool full, struct dtqi_buf *buf,
                struct dtqi_msg *ret);

/* All types, ended by 0. */
extern const enum dtqi_msg_type sample_types[];

/* A frame in memory of its own, which the caller frees. NULL: the codec refused. */
struct sample_frame {
    unsigned char *at;
    size_t bytes;
};
struct sample_frame sample_encode(const struct dtqi_msg *msg);

/* A generator of numbers that is the same everywhere (SplitMix64). */
uint64_t sample_random(uint64_t *state);

#endif
