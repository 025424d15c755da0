/*
 * Makes ids: UUIDs of version 7 (RFC 9562, 5.7) that grow within one generator, also within a
 * millisecond and when the clock goes back. Pure: time and random bits come from the caller, and so
 * does the memory.
 *
 *   48 bits  milliseconds since the Unix epoch, as the ventilator's clock has it (R4)
 *    4 bits  version, 7
 *   12 bits  high part of a counter
 *    2 bits  variant, 10
 *   14 bits  low part of the counter
 *   48 bits  random, new for each id
 *
 * The counter starts at a random number below 2^25 in each new millisecond, so that neither it nor
 * the time tells how many ids there are; when it is used up, the time is set one millisecond ahead.
 */
#ifndef DTQI_ID_H
#define DTQI_ID_H

#include "dtq/base.h"

/* All zero at first. */
struct dtqi_idgen {
    uint64_t wall_ms; /* of the last id */
    uint32_t counter; /* of the last id; 26 bits */
};

/*
 * The next id; greater, byte by byte, than every one before it from this generator. When `wall_ms`
 * is behind the last id's time, that time is kept and the counter goes on. `random` are 64 random
 * bits that were not used before.
 */
dtq_id dtqi_id_next(struct dtqi_idgen *gen, uint64_t wall_ms, uint64_t random);

#endif
