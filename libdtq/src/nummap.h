/*
 * From a u64 to a u32: open addressing, linear probing, no tombstones. Grows by doubling, at most
 * half full.
 */
#ifndef DTQ_NUMMAP_H
#define DTQ_NUMMAP_H

#include "msg.h"

#define NUMMAP_NONE UINT32_MAX

struct nummap {
    struct nummap_entry {
        uint64_t number;
        uint32_t value; /* NUMMAP_NONE: free */
    } * entries;
    uint32_t mask; /* places - 1; 0: nothing allocated */
    uint32_t count;
};

static inline void nummap_done(struct nummap *m)
{
    free(m->entries);
    *m = (struct nummap){0};
}

static inline uint32_t nummap_place(const struct nummap *m, uint64_t number)
{
    uint32_t at = (uint32_t)dtqi_mix64(number) & m->mask;

    while (m->entries[at].value != NUMMAP_NONE && m->entries[at].number != number)
        at = (at + 1) & m->mask;
    return at;
}

static inline uint32_t nummap_get(const struct nummap *m, uint64_t number)
{
    return m->count != 0 ? m->entries[nummap_place(m, number)].value : NUMMAP_NONE;
}

static inline bool nummap_grow(struct nummap *m)
{
    struct nummap grown = {.mask = m->mask != 0 ? 2 * m->mask + 1 : 31, .count = m->count};

    grown.entries = malloc(((size_t)grown.mask + 1) * sizeof *grown.entries);
    if (grown.entries == NULL)
        return false;
    memset(grown.entries, 0xff, ((size_t)grown.mask + 1) * sizeof *grown.entries);
    for (size_t i = 0; m->mask != 0 && i <= m->mask; i++)
        if (m->entries[i].value != NUMMAP_NONE)
            grown.entries[nummap_place(&grown, m->entries[i].number)] = m->entries[i];
    free(m->entries);
    *m = grown;
    return true;
}

/* Add or change. false: no memory, and nothing changed. */
static inline bool nummap_set(struct nummap *m, uint64_t number, uint32_t value)
{
    uint32_t at;

    assert(value != NUMMAP_NONE);
    if (m->count >= m->mask / 2 && !nummap_grow(m))
        return false;
    at = nummap_place(m, number);
    m->count += m->entries[at].value == NUMMAP_NONE;
    m->entries[at] = (struct nummap_entry){number, value};
    return true;
}

/* Entries behind it move up, so that no tombstone is left. What is not there is left alone. */
static inline void nummap_remove(struct nummap *m, uint64_t number)
{
    uint32_t at;
    uint32_t next;

    if (nummap_get(m, number) == NUMMAP_NONE)
        return;
    at = nummap_place(m, number);
    for (next = (at + 1) & m->mask; m->entries[next].value != NUMMAP_NONE;
         next = (next + 1) & m->mask) {
        uint32_t home = (uint32_t)dtqi_mix64(m->entries[next].number) & m->mask;

        if (((next - home) & m->mask) < ((next - at) & m->mask))
            continue; /* it would move before its home */
        m->entries[at] = m->entries[next];
        at = next;
    }
    m->entries[at].value = NUMMAP_NONE;
    m->count--;
}

#endif
