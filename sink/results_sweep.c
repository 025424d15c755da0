#include "results_parts.h"

#define DAMAGED_MAX 1000u /* records that one step may pass over */
#define FULL_PASS_MS 3600000u

/* ---------------------------------------------------------------- expiry */

struct sweep_list { /* what to cut after the walk: a cursor does not outlive changes */
    dtq_id *ids;
    uint32_t n;
};

/* The next time that something of a record ends. */
static uint64_t record_due_ms(const struct results *r, const struct record *rec)
{
    uint64_t ttl_ms = add_sat(rec->committed_wall_ms, rec->ttl_ms);
    uint64_t memory_ms = add_sat(rec->committed_wall_ms, r->cfg.outcome_memory_ms);

    return rec->flags & RECORD_CUT ? max_u64(ttl_ms, memory_ms) : ttl_ms;
}

static bool is_forgotten(const struct results *r, const struct record *rec, uint64_t wall_ms)
{
    return wall_ms >= max_u64(add_sat(rec->committed_wall_ms, rec->ttl_ms),
                              add_sat(rec->committed_wall_ms, r->cfg.outcome_memory_ms));
}

static dtq_err del_body(struct store_tx *tx, const dtq_id *id)
{
    dtq_err err = store_del(tx, BODIES, id_key(id));

    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static void sweep_leave(struct sweep *s, const dtq_id *id, uint64_t due_ms)
{
    s->left_due_ms = min_u64(s->left_due_ms, due_ms);
    s->left_life_ms = min_u64(s->left_life_ms, results_life_of(id, due_ms));
}

static dtq_err sweep_visit(struct results *r, struct store_tx *tx, struct store_cursor *c,
                           const dtq_id *id, struct dtqi_slice value, struct results_batch *batch,
                           struct sweep_list *cut)
{
    struct record rec;
    dtq_err err;

    if (!record_parse(value, &rec))
        return DTQ_ECORRUPT;
    if (is_forgotten(r, &rec, batch->wall_ms)) {
        batch->swept++;
        err = store_cursor_del(c);
        if (err == DTQ_OK && (rec.flags & RECORD_BODY_APART))
            err = del_body(tx, id);
        return err;
    }
    if (batch->wall_ms >= record_due_ms(r, &rec) && !(rec.flags & RECORD_CUT)) {
        cut->ids[cut->n++] = *id;
        rec.flags = RECORD_CUT;
    }
    sweep_leave(&r->sweep, id, record_due_ms(r, &rec));
    return DTQ_OK;
}

static dtq_err cut_to_tombstone(struct store_tx *tx, const dtq_id *id)
{
    unsigned char tombstone[RECORD_HEAD_BYTES_MAX + 3 * UINT8_MAX];
    struct record rec;
    struct dtqi_slice value;
    size_t head;
    size_t names;
    bool apart;
    dtq_err err = store_get(tx, OUTCOMES, id_key(id), &value);

    if (err != DTQ_OK)
        return err;
    if (!record_parse(value, &rec))
        return DTQ_ECORRUPT;
    apart = (rec.flags & RECORD_BODY_APART) != 0;
    rec.flags = RECORD_CUT;
    head = record_write_head(&rec, tombstone);
    names = (size_t)rec.worker.len + rec.name.len + rec.queue.len;
    memcpy(tombstone + head, rec.worker.at, names);
    err = store_put(tx, OUTCOMES, id_key(id), slice(tombstone, head + names), STORE_SPARE);
    return err == DTQ_OK && apart ? del_body(tx, id) : err;
}

static void sweep_start(struct results *r, uint64_t wall_ms)
{
    struct sweep *s = &r->sweep;
    bool is_full = s->life_ms == 0 || wall_ms >= add_sat(s->full_wall_ms, FULL_PASS_MS);

    s->life_ms = min_u64(s->life_ms, s->new_life_ms);
    s->new_life_ms = UINT64_MAX;
    s->left_life_ms = UINT64_MAX;
    s->left_due_ms = UINT64_MAX;
    s->due_wall_ms = UINT64_MAX; /* lowered by what is committed from now on */
    s->is_under_way = true;
    s->is_full = is_full;
    memset(&s->at, 0, sizeof s->at);
}

/* @param young  the first id that was too young to look at; NULL: the pass came to the end */
static void sweep_end(struct results *r, uint64_t wall_ms, const dtq_id *young)
{
    struct sweep *s = &r->sweep;

    s->is_under_way = false;
    if (young != NULL)
        s->left_due_ms = min_u64(s->left_due_ms, add_sat(dtqi_id_wall_ms(young), s->life_ms));
    else
        s->life_ms = s->left_life_ms;
    if (s->is_full)
        s->full_wall_ms = wall_ms;
    s->due_wall_ms = min_u64(s->due_wall_ms, s->left_due_ms);
}

static bool is_too_young(const struct sweep *s, const dtq_id *id, uint64_t wall_ms)
{
    return !s->is_full && s->life_ms != 0 && add_sat(dtqi_id_wall_ms(id), s->life_ms) > wall_ms;
}

static dtq_err sweep_walk(struct results *r, struct store_tx *tx, struct results_batch *batch,
                          struct sweep_list *cut)
{
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    uint32_t visits = 0;
    uint32_t damaged = 0;
    dtq_err err = store_cursor_open(tx, OUTCOMES, false, &c);

    if (err != DTQ_OK)
        return err;
    err = store_seek(c, id_key(&r->sweep.at), &key, &value);
    while (err == DTQ_OK || (err == DTQ_ECORRUPT && damaged < DAMAGED_MAX)) {
        dtq_id id;

        if (err == DTQ_OK && key.len != sizeof id.bytes)
            err = DTQ_ECORRUPT;
        if (err == DTQ_ECORRUPT) { /* one damaged record must not keep the others for ever */
            damaged++;
            err = store_next(c, &key, &value);
            continue;
        }
        memcpy(id.bytes, key.at, sizeof id.bytes);
        if (is_too_young(&r->sweep, &id, batch->wall_ms)) {
            sweep_end(r, batch->wall_ms, &id);
            break;
        }
        if (visits++ == batch->sweep_max) {
            r->sweep.at = id;
            break;
        }
        err = sweep_visit(r, tx, c, &id, value, batch, cut);
        if (err == DTQ_OK)
            err = store_next(c, &key, &value);
    }
    if (err == DTQ_ENOTFOUND || err == DTQ_ECORRUPT) {
        sweep_end(r, batch->wall_ms, NULL);
        err = DTQ_OK;
    }
    store_cursor_close(c);
    return err;
}

dtq_err results_sweep(struct results *r, struct store_tx *tx, struct results_batch *batch)
{
    struct sweep_list cut = {.ids = malloc(batch->sweep_max * sizeof *cut.ids)};
    dtq_err err = DTQ_ENOMEM;

    if (cut.ids == NULL)
        return err;
    if (!r->sweep.is_under_way)
        sweep_start(r, batch->wall_ms);
    err = sweep_walk(r, tx, batch, &cut);
    for (uint32_t i = 0; err == DTQ_OK && i < cut.n; i++)
        err = cut_to_tombstone(tx, &cut.ids[i]);
    batch->swept += cut.n;
    free(cut.ids);
    return err;
}
