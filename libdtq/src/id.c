#include "id.h"

#define COUNTER_BITS 26
#define WALL_MS_MASK ((1ull << 48) - 1)

/* The counter takes 25 of the random bits, the tail 48: they overlap in 9 bits, and only in the
 * first id of a millisecond, where the sum of both is still unique. */
static uint32_t counter_start(uint64_t random)
{
    return (uint32_t)(random >> 39);
}

static void step(struct dtqi_idgen *gen, uint64_t wall_ms, uint64_t random)
{
    if (wall_ms > gen->wall_ms) {
        gen->wall_ms = wall_ms;
        gen->counter = counter_start(random);
        return;
    }
    if (++gen->counter >> COUNTER_BITS != 0) {
        gen->wall_ms++;
        gen->counter = counter_start(random);
    }
}

dtq_id dtqi_id_next(struct dtqi_idgen *gen, uint64_t wall_ms, uint64_t random)
{
    dtq_id id;

    step(gen, wall_ms & WALL_MS_MASK, random);
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(gen->wall_ms >> (40 - 8 * i));
    id.bytes[6] = (uint8_t)(0x70 | gen->counter >> 22);
    id.bytes[7] = (uint8_t)(gen->counter >> 14);
    id.bytes[8] = (uint8_t)(0x80 | (gen->counter >> 8 & 0x3f));
    id.bytes[9] = (uint8_t)gen->counter;
    for (int i = 0; i < 6; i++)
        id.bytes[10 + i] = (uint8_t)(random >> (40 - 8 * i));
    return id;
}
