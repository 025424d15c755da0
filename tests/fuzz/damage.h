/*
 * Records of a store that are not what they were when their checksum was made: as after a bug of a
 * writer, or by the hand of somebody who can write to the disk. What a bad disk does is found by
 * the checksum and tested elsewhere.
 */
#ifndef DAMAGE_H
#define DAMAGE_H

#include "store.h"
#include "talk.h"

#include <stdlib.h>

#define DAMAGE_BYTES_MAX 65536u

/* Copy the record that so many steps from the first one lead to. false: the table is empty. */
static inline bool damage_find(struct store_tx *tx, unsigned table, uint32_t steps, uint8_t *key,
                               uint32_t *key_bytes, uint8_t *value, uint32_t *value_bytes)
{
    struct store_cursor *c;
    struct dtqi_slice k;
    struct dtqi_slice v;
    bool found;

    if (store_cursor_open(tx, table, false, &c) != DTQ_OK)
        abort();
    found = store_seek(c, (struct dtqi_slice){NULL, 0}, &k, &v) == DTQ_OK;
    while (found && steps-- > 0 && store_next(c, &k, &v) == DTQ_OK)
        ;
    if (found && k.len <= STORE_KEY_BYTES_MAX && v.len <= DAMAGE_BYTES_MAX) {
        memcpy(key, k.at, *key_bytes = k.len);
        memcpy(value, v.at, *value_bytes = v.len);
    } else {
        found = false;
    }
    store_cursor_close(c);
    return found;
}

static inline void damage_bytes(struct talk *t, uint8_t *at, uint32_t *bytes, uint32_t bytes_max)
{
    struct dtqi_slice raw;

    switch (talk_choice(t, 4)) {
    case 0: *bytes = talk_choice(t, *bytes + 1); break;
    case 1:
        raw = talk_bytes(t, talk_choice(t, 64));
        if (raw.len > bytes_max - *bytes)
            raw.len = bytes_max - *bytes;
        if (raw.len != 0)
            memcpy(at + *bytes, raw.at, raw.len);
        *bytes += raw.len;
        break;
    default:
        for (uint32_t i = 0; i < 1 + talk_choice(t, 3) && *bytes != 0; i++)
            at[talk_choice(t, *bytes < 64 ? *bytes : 64)] = (uint8_t)talk_choice(t, 256);
    }
}

/* One record is removed, changed, or put under a key that was changed. */
static inline void damage(struct talk *t, struct store *s, unsigned tables_n)
{
    static uint8_t value[DAMAGE_BYTES_MAX];
    uint8_t key[STORE_KEY_BYTES_MAX + 1] = {0};
    uint32_t key_bytes = 0;
    uint32_t value_bytes = 0;
    unsigned table = talk_choice(t, tables_n);
    uint32_t what = talk_choice(t, 8);
    struct store_tx *tx;

    if (store_begin(s, true, &tx) != DTQ_OK)
        abort();
    if (!damage_find(tx, table, talk_choice(t, 24), key, &key_bytes, value, &value_bytes))
        what = 7;
    if (what == 0)
        (void)!store_del(tx, table, (struct dtqi_slice){key, key_bytes});
    else if (what < 6)
        damage_bytes(t, value, &value_bytes, DAMAGE_BYTES_MAX);
    else
        damage_bytes(t, key, &key_bytes, STORE_KEY_BYTES_MAX);
    if (what != 0 && key_bytes != 0)
        (void)!store_put(tx, table, (struct dtqi_slice){key, key_bytes},
                         (struct dtqi_slice){value, value_bytes}, 0);
    if (store_commit(tx) != DTQ_OK)
        abort();
}

#endif
