/*
 * From a task's id to the index of its record: open addressing, linear probing, no tombstones. The
 * map holds 8 bytes an entry and asks its owner for the id of a record, so that ids are stored
 * once. Grows by doubling, at most 3/4 full.
 */
#ifndef DTQI_IDMAP_H
#define DTQI_IDMAP_H

#include "msg.h"

#define DTQI_IDMAP_NONE UINT32_MAX

typedef const dtq_id *dtqi_id_of(const void *owner, uint32_t index);

struct dtqi_idmap {
    struct dtqi_idmap_entry {
        uint32_t hash;
        uint32_t index; /* DTQI_IDMAP_NONE: free */
    } * entries;
    uint32_t mask; /* places - 1; 0: nothing allocated */
    uint32_t count;
};

static inline void dtqi_idmap_done(struct dtqi_idmap *m)
{
    free(m->entries);
    *m = (struct dtqi_idmap){0};
}

static inline uint32_t dtqi_idmap_place(const struct dtqi_idmap *m, const void *owner,
                                        dtqi_id_of *id_of, const dtq_id *id, uint32_t hash)
{
    uint32_t at = hash & m->mask;

    while (m->entries[at].index != DTQI_IDMAP_NONE) {
        if (m->entries[at].hash == hash && dtqi_id_eq(id_of(owner, m->entries[at].index), id))
            break;
        at = (at + 1) & m->mask;
    }
    return at;
}

/* The index of the record with this id, or DTQI_IDMAP_NONE. */
static inline uint32_t dtqi_idmap_get(const struct dtqi_idmap *m, const void *owner,
                                      dtqi_id_of *id_of, const dtq_id *id)
{
    if (m->count == 0)
        return DTQI_IDMAP_NONE;
    return m->entries[dtqi_idmap_place(m, owner, id_of, id, (uint32_t)dtqi_id_hash(id))].index;
}

/* Of functions that do nothing but fetch ahead, since gcc finds that they do nothing at all. */
#define DTQI_EXPECTS static inline __attribute__((always_inline)) void

/* This id is looked up, added or removed soon: by then its place is in the cache. A look-up waits
 * for memory mostly, and of ids that are known ahead many can wait at once. */
DTQI_EXPECTS dtqi_idmap_expect(const struct dtqi_idmap *m, const dtq_id *id)
{
    if (m->mask != 0)
        __builtin_prefetch(&m->entries[(uint32_t)dtqi_id_hash(id) & m->mask]);
}

/* Of n ids that are looked up one after the other, number i is the next. What comes further on is
 * in the cache by then: first its place, and then the record that it probably leads to. */
#define DTQI_IDMAP_AHEAD 8u
DTQI_EXPECTS dtqi_idmap_expect_records(const struct dtqi_idmap *m, const dtq_id *ids, uint32_t i,
                                       uint32_t n, const void *records, size_t record_bytes)
{
    uint32_t index = DTQI_IDMAP_NONE;

    if (i + 2 * DTQI_IDMAP_AHEAD < n)
        dtqi_idmap_expect(m, &ids[i + 2 * DTQI_IDMAP_AHEAD]);
    if (i + DTQI_IDMAP_AHEAD < n && m->mask != 0)
        index = m->entries[(uint32_t)dtqi_id_hash(&ids[i + DTQI_IDMAP_AHEAD]) & m->mask].index;
    for (size_t at = 0; index != DTQI_IDMAP_NONE && at < record_bytes; at += 64)
        __builtin_prefetch((const char *)records + index * record_bytes + at, 1);
}

/* Make room for `count` entries in all. false: no memory, and nothing changed. */
static inline bool dtqi_idmap_reserve(struct dtqi_idmap *m, uint32_t count)
{
    struct dtqi_idmap grown = {.mask = m->mask != 0 ? m->mask : 63, .count = m->count};

    while (count > grown.mask / 4 * 3)
        grown.mask = 2 * grown.mask + 1;
    if (grown.mask == m->mask)
        return true;
    grown.entries = malloc(((size_t)grown.mask + 1) * sizeof *grown.entries);
    if (grown.entries == NULL)
        return false;
    memset(grown.entries, 0xff, ((size_t)grown.mask + 1) * sizeof *grown.entries);
    for (size_t i = 0; m->mask != 0 && i <= m->mask; i++) {
        uint32_t at = m->entries[i].hash & grown.mask;

        if (m->entries[i].index == DTQI_IDMAP_NONE)
            continue;
        while (grown.entries[at].index != DTQI_IDMAP_NONE)
            at = (at + 1) & grown.mask;
        grown.entries[at] = m->entries[i];
    }
    free(m->entries);
    *m = grown;
    return true;
}

/* Add a record whose id is not in the map. Room must have been reserved. */
static inline void dtqi_idmap_add(struct dtqi_idmap *m, const dtq_id *id, uint32_t index)
{
    uint32_t hash = (uint32_t)dtqi_id_hash(id);
    uint32_t at = hash & m->mask;

    assert(m->mask != 0);
    assert(m->count < m->mask);
    while (m->entries[at].index != DTQI_IDMAP_NONE)
        at = (at + 1) & m->mask;
    m->entries[at] = (struct dtqi_idmap_entry){hash, index};
    m->count++;
}

/* Take the free place that dtqi_idmap_place() found for an id with this hash. Room must have been
 * reserved. */
static inline void dtqi_idmap_put(struct dtqi_idmap *m, uint32_t at, uint32_t hash, uint32_t index)
{
    assert(m->entries[at].index == DTQI_IDMAP_NONE);
    assert(m->count < m->mask);
    m->entries[at] = (struct dtqi_idmap_entry){hash, index};
    m->count++;
}

/* Empty a place that is taken. Entries behind it move up, so that no tombstone is left. */
static inline void dtqi_idmap_remove_at(struct dtqi_idmap *m, uint32_t at)
{
    uint32_t next = at;

    assert(m->entries[at].index != DTQI_IDMAP_NONE);
    for (;;) {
        uint32_t home;

        next = (next + 1) & m->mask;
        if (m->entries[next].index == DTQI_IDMAP_NONE)
            break;
        home = m->entries[next].hash & m->mask;
        if (((next - home) & m->mask) < ((next - at) & m->mask))
            continue; /* it would move before its home */
        m->entries[at] = m->entries[next];
        at = next;
    }
    m->entries[at].index = DTQI_IDMAP_NONE;
    m->count--;
}

/* Remove the record with this id, which is in the map. */
static inline void dtqi_idmap_remove(struct dtqi_idmap *m, const void *owner, dtqi_id_of *id_of,
                                     const dtq_id *id)
{
    dtqi_idmap_remove_at(m, dtqi_idmap_place(m, owner, id_of, id, (uint32_t)dtqi_id_hash(id)));
}

#endif
