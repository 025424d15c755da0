#include "journal_past.h"

enum { BY_ID, BY_END }; /* how a key begins */

#define END_KEY_BYTES 25

struct past_key {
    uint8_t room[END_KEY_BYTES];
    struct dtqi_slice slice;
};

static struct dtqi_slice id_key(const dtq_id *id, struct past_key *key)
{
    struct journal_out out = {.at = key->room};

    journal_out_u8(&out, BY_ID);
    journal_out_bytes(&out, id->bytes, sizeof id->bytes);
    return journal_out_slice(&out);
}

/* The first of these keys is the first to go. */
static struct dtqi_slice end_key(uint64_t until_wall_ms, const dtq_id *id, struct past_key *key)
{
    struct journal_out out = {.at = key->room};

    journal_out_u8(&out, BY_END);
    journal_key_end_out(&out, until_wall_ms, journal_id_slice(id));
    return journal_out_slice(&out);
}

static bool end_key_in(struct dtqi_slice key, uint64_t *ret_until_wall_ms, dtq_id *ret_id)
{
    struct journal_in in = journal_in_of(key);
    struct dtqi_slice id;
    uint8_t kind;

    if (!journal_in_u8(&in, &kind) || kind != BY_END ||
        !journal_key_end_in((struct dtqi_slice){in.at, in.len}, ret_until_wall_ms, &id) ||
        id.len != sizeof ret_id->bytes)
        return false;
    memcpy(ret_id->bytes, id.at, id.len);
    return true;
}

static dtq_err del_if_there(struct store_tx *tx, struct dtqi_slice key)
{
    dtq_err err = store_del(tx, TABLE_PAST, key);

    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

/* A damaged one is nothing that could be of use: it is replaced. */
static dtq_err drop_old(struct store_tx *tx, const dtq_id *id)
{
    struct past_key key;
    struct dtqi_slice value;
    struct journal_in in;
    uint64_t until;
    dtq_err err = store_get(tx, TABLE_PAST, id_key(id, &key), &value);

    if (err != DTQ_OK)
        return err == DTQ_ENOTFOUND || err == DTQ_ECORRUPT ? DTQ_OK : err;
    in = journal_in_of(value);
    return journal_in_u64(&in, &until) ? del_if_there(tx, end_key(until, id, &key)) : DTQ_OK;
}

/* The first to go, if its time is over. DTQ_ENOTFOUND: there is none. */
static dtq_err drop_first(struct store_tx *tx, struct store_cursor *c, uint64_t wall_ms)
{
    static const uint8_t first = BY_END;
    struct past_key key_room;
    struct dtqi_slice key;
    struct dtqi_slice value;
    uint64_t until;
    dtq_id id;
    dtq_err err = store_seek(c, (struct dtqi_slice){&first, 1}, &key, &value);

    if (err == DTQ_ECORRUPT)
        return store_cursor_del(c);
    if (err != DTQ_OK)
        return err;
    if (!end_key_in(key, &until, &id))
        return store_cursor_del(c);
    if (until > wall_ms)
        return DTQ_ENOTFOUND;
    err = store_cursor_del(c);
    return err == DTQ_OK ? del_if_there(tx, id_key(&id, &key_room)) : err;
}

static dtq_err drop_some(struct store_tx *tx, uint64_t wall_ms, uint32_t n)
{
    struct store_cursor *c;
    dtq_err err = store_cursor_open(tx, TABLE_PAST, false, &c);

    for (uint32_t i = 0; err == DTQ_OK && i < n; i++)
        err = drop_first(tx, c, wall_ms);
    store_cursor_close(c);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

dtq_err journal_past_keep(struct store_tx *tx, const dtq_id *id, uint64_t until_wall_ms,
                          struct dtqi_slice history, struct dtqi_slice more)
{
    uint8_t until_room[8];
    struct journal_out until = {.at = until_room};
    struct dtqi_slice pieces[3] = {[1] = history, [2] = more};
    struct past_key key;
    dtq_err err;

    if (history.len + more.len == 0)
        return DTQ_OK;
    journal_out_u64(&until, until_wall_ms);
    pieces[0] = journal_out_slice(&until);
    err = drop_old(tx, id);
    if (err == DTQ_OK && store_count(tx, TABLE_PAST) >= 2 * JOURNAL_PAST_MAX)
        err = drop_some(tx, UINT64_MAX, 1);
    if (err == DTQ_OK)
        err = store_put_pieces(tx, TABLE_PAST, id_key(id, &key), pieces, 3, STORE_SPARE);
    if (err == DTQ_OK)
        err = store_put(tx, TABLE_PAST, end_key(until_wall_ms, id, &key), (struct dtqi_slice){0},
                        STORE_SPARE);
    return err;
}

dtq_err journal_past_forget(struct store_tx *tx, uint64_t wall_ms)
{
    return drop_some(tx, wall_ms, JOURNAL_PAST_FORGOTTEN_MAX);
}

dtq_err journal_past_get(struct journal *j, struct store_tx *tx, const dtq_id *id,
                         struct dtqi_slice *ret_history)
{
    struct past_key key;
    struct dtqi_slice value;
    struct journal_in in;
    uint64_t until;
    dtq_err err = store_get(tx, TABLE_PAST, id_key(id, &key), &value);

    if (err != DTQ_OK)
        return err;
    in = journal_in_of(value);
    if (!journal_in_u64(&in, &until))
        return journal_bad_task(j, id);
    *ret_history = (struct dtqi_slice){in.at, in.len};
    return DTQ_OK;
}
