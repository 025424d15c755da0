#include "results.h"

#include "results_parts.h"

#include <stdio.h>

static const char *const table_names[TABLES] = {
    [OUTCOMES] = "outcomes",       [BODIES] = "bodies", [STREAM] = "stream",
    [VENTILATORS] = "ventilators", [RUNS] = "runs",     [CLOCK] = "clock",
};

#define INLINE_BODY_BYTES_MAX 512u
#define CHUNK_ENTRIES_MAX 16384u
#define CHUNKS_DROPPED_MAX                                                 \
    256u /* per acknowledgement, so that one after a long silence does not \
            hold up the commit */

/* What all outcomes of one spec in one message have in common. */
struct draft {
    struct record rec;
    bool no_result;
    uint64_t life_ms; /* from the commit to the first end: of its body, or of all of it */
    uint32_t names_bytes;
    char names[3 * DTQI_NAME_BYTES_MAX];
};

static dtq_err load_ventilators(struct results *r);
static dtq_err begin_run(struct results *r);

/* ---------------------------------------------------------------- open */

void results_store_cfg(struct store_cfg *cfg)
{
    cfg->kind = "results";
    cfg->tables = table_names;
    cfg->tables_n = TABLES;
}

/* ---------------------------------------------------------------- the steady clock */

/* One record. */
static dtq_err load_mark(struct results *r)
{
    struct store_tx *tx;
    struct dtqi_slice value;
    dtq_err err = store_begin(r->store, false, &tx);

    if (err != DTQ_OK)
        return err;
    err = store_get(tx, CLOCK, slice("mark", 4), &value);
    if (err == DTQ_OK && value.len == sizeof r->mark)
        memcpy(&r->mark, value.at, sizeof r->mark);
    else if (err == DTQ_OK)
        err = DTQ_ECORRUPT;
    r->is_empty = store_count(tx, OUTCOMES) == 0;
    store_abort(tx);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static bool is_mark_due(const struct results *r, const struct results_batch *batch)
{
    return batch->mark.steady_ms != 0 && steady_is_mark_due(&r->mark, &batch->mark);
}

static dtq_err put_mark(struct store_tx *tx, const struct steady_mark *mark)
{
    return store_put(tx, CLOCK, slice("mark", 4), slice(mark, sizeof *mark), STORE_SPARE);
}

void results_start_clock(const struct results *r, const struct host_time *now,
                         struct steady *ret_clock)
{
    steady_start(ret_clock, &r->mark, now, r->is_empty);
}

dtq_err results_open(struct store *store, const struct results_cfg *cfg, const dtqi_uid *run,
                     struct results **ret_results, char *why, size_t why_bytes)
{
    struct results *r = calloc(1, sizeof *r);
    dtq_err err = DTQ_ENOMEM;

    if (r == NULL)
        goto fail;
    *r = (struct results){.store = store, .cfg = *cfg, .run = *run};
    r->sweep = (struct sweep){.new_life_ms = UINT64_MAX};
    r->ventilators = calloc(RESULTS_VENTILATORS_MAX, sizeof *r->ventilators);
    if (r->ventilators == NULL)
        goto fail;
    err = load_ventilators(r);
    if (err == DTQ_OK)
        err = load_mark(r);
    if (err == DTQ_OK)
        err = begin_run(r);
    if (err != DTQ_OK)
        goto fail;
    *ret_results = r;
    return DTQ_OK;

fail:
    results_explain(r, err, why, why_bytes);
    results_close(r);
    return err;
}

void results_close(struct results *r)
{
    if (r == NULL)
        return;
    free(r->ventilators);
    free(r->ids);
    free(r->tickets);
    free(r->kinds);
    free(r);
}

void results_explain(const struct results *r, dtq_err err, char *why, size_t why_bytes)
{
    const char *more = r != NULL && r->store != NULL ? store_errmsg(r->store) : NULL;

    if (more != NULL && more[0] != 0 && err != DTQ_ENOMEM)
        snprintf(why, why_bytes, "%s: %s", dtq_strerror(err), more);
    else
        snprintf(why, why_bytes, "%s", dtq_strerror(err));
}

static dtq_err load_ventilator(struct results *r, struct dtqi_slice key, struct dtqi_slice value)
{
    struct ventilator *v = &r->ventilators[r->ventilators_n];

    if (key.len != sizeof v->uid.bytes || value.len != sizeof v->now ||
        r->ventilators_n == RESULTS_VENTILATORS_MAX)
        return DTQ_ECORRUPT;
    memcpy(v->uid.bytes, key.at, sizeof v->uid.bytes);
    memcpy(&v->now, value.at, sizeof v->now);
    if (v->now.next == 0 || v->now.acked >= v->now.next)
        return DTQ_ECORRUPT;
    r->ventilators_n++;
    return DTQ_OK;
}

static dtq_err load_ventilators(struct results *r)
{
    struct store_tx *tx;
    struct store_cursor *c = NULL;
    struct dtqi_slice key;
    struct dtqi_slice value;
    dtq_err err = store_begin(r->store, false, &tx);

    if (err != DTQ_OK)
        return err;
    err = store_cursor_open(tx, VENTILATORS, false, &c);
    if (err == DTQ_OK)
        err = store_seek(c, slice("", 0), &key, &value);
    while (err == DTQ_OK) {
        err = load_ventilator(r, key, value);
        if (err == DTQ_OK)
            err = store_next(c, &key, &value);
    }
    store_cursor_close(c);
    store_abort(tx);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

/* Note that numbers from `first` on are given by this run (R34). Old notes go: whoever applied
 * nothing for so many starts of the sink is told that it diverged. */
static dtq_err put_run(struct results *r, struct store_tx *tx, const struct ventilator *v)
{
    struct run_record rec = {r->run, v->now.next};
    struct pair_key key = pair_key(v->now.number, v->now.starts);
    dtq_err err =
        store_put(tx, RUNS, slice(&key, sizeof key), slice(&rec, sizeof rec), STORE_SPARE);

    if (err != DTQ_OK || v->now.starts < RESULTS_RUNS_MAX)
        return err;
    key = pair_key(v->now.number, v->now.starts - RESULTS_RUNS_MAX);
    err = store_del(tx, RUNS, slice(&key, sizeof key));
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err put_ventilator(struct store_tx *tx, const struct ventilator *v)
{
    return store_put(tx, VENTILATORS, slice(v->uid.bytes, sizeof v->uid.bytes),
                     slice(&v->now, sizeof v->now), STORE_SPARE);
}

static dtq_err begin_run_of(struct results *r, struct store_tx *tx, struct ventilator *v)
{
    dtq_err err;

    err = put_run(r, tx, v);
    if (err != DTQ_OK)
        return err;
    v->now.starts++;
    return put_ventilator(tx, v);
}

static dtq_err begin_run(struct results *r)
{
    struct store_tx *tx;
    dtq_err err;

    if (r->ventilators_n == 0)
        return DTQ_OK;
    err = store_begin(r->store, true, &tx);
    if (err != DTQ_OK)
        return err;
    for (uint32_t i = 0; err == DTQ_OK && i < r->ventilators_n; i++)
        err = begin_run_of(r, tx, &r->ventilators[i]);
    if (err != DTQ_OK) {
        store_abort(tx);
        return err;
    }
    err = store_commit(tx);
    /* With STORE_ASYNC it must not be left to be done by the thread that goes on. */
    return err == DTQ_OK ? store_sync(r->store) : err;
}

/* ---------------------------------------------------------------- ventilators in a transaction */

static struct ventilator *find_ventilator(const struct results *r, const dtqi_uid *uid)
{
    for (uint32_t i = 0; i < r->ventilators_n; i++)
        if (dtqi_uid_eq(&r->ventilators[i].uid, uid))
            return &r->ventilators[i];
    return NULL;
}

const struct ventilator *results_find_ventilator(const struct results *r, const dtqi_uid *uid)
{
    return find_ventilator(r, uid);
}

static struct ventilator *add_ventilator(struct results *r, const dtqi_uid *uid)
{
    struct ventilator *v;

    if (r->ventilators_n == RESULTS_VENTILATORS_MAX)
        return NULL;
    v = &r->ventilators[r->ventilators_n];
    *v = (struct ventilator){.uid = *uid, .is_new = true};
    v->now = (struct ventilator_record){.number = r->ventilators_n, .next = 1};
    r->ventilators_n++;
    return v;
}

static void change_ventilator(struct ventilator *v)
{
    if (!v->is_changed)
        v->before = v->now;
    v->is_changed = true;
}

static dtq_err put_changed_ventilators(struct results *r, struct store_tx *tx)
{
    dtq_err err = DTQ_OK;

    for (uint32_t i = 0; err == DTQ_OK && i < r->ventilators_n; i++)
        if (r->ventilators[i].is_changed)
            err = put_ventilator(tx, &r->ventilators[i]);
    return err;
}

static void end_ventilators(struct results *r, bool committed)
{
    for (uint32_t i = r->ventilators_n; i-- > 0;) {
        struct ventilator *v = &r->ventilators[i];

        if (!committed && v->is_new)
            r->ventilators_n = i; /* new ones are the last */
        else if (!committed && v->is_changed)
            v->now = v->before;
        v->is_new = false;
        v->is_changed = false;
    }
}

/* ---------------------------------------------------------------- outcomes */

static struct dtqi_str draft_add_name(struct draft *d, struct dtqi_str name)
{
    uint32_t bytes = name.len < DTQI_NAME_BYTES_MAX ? name.len : DTQI_NAME_BYTES_MAX;
    char *at = d->names + d->names_bytes;

    if (bytes != 0)
        memcpy(at, name.at, bytes);
    d->names_bytes += bytes;
    return (struct dtqi_str){at, bytes};
}

static void draft_make(struct draft *d, const struct results *r, const struct dtqi_outcomes *o,
                       uint32_t spec, uint64_t wall_ms)
{
    static const struct dtqi_spec none;
    const struct dtqi_spec *s = spec < o->specs_n ? &o->specs[spec] : &none;

    d->rec = (struct record){.epoch = o->epoch, .committed_wall_ms = wall_ms};
    d->rec.ttl_ms = s->result_ttl_ms != 0 ? s->result_ttl_ms : r->cfg.ttl_ms;
    d->no_result = s->no_result;
    d->life_ms = d->rec.ttl_ms;
    d->names_bytes = 0;
    d->rec.worker = draft_add_name(d, o->worker);
    d->rec.name = draft_add_name(d, s->name);
    d->rec.queue = draft_add_name(d, s->queue);
}

/* The state of an outcome that is there. */
dtq_err results_get_state(struct store_tx *tx, const dtq_id *id, uint8_t *ret_state)
{
    struct dtqi_slice value;
    struct record rec;
    dtq_err err = store_get(tx, OUTCOMES, id_key(id), &value);

    if (err != DTQ_OK)
        return err;
    if (!record_parse(value, &rec))
        return DTQ_ECORRUPT;
    *ret_state = rec.state;
    return DTQ_OK;
}

/* Of a success whose submitter wants no result, nothing but the fact is kept; the text of a failure
 * is. */
static struct dtqi_slice body_to_keep(const struct draft *d, const struct dtqi_outcomes *o,
                                      uint32_t i)
{
    if (o->bodies == NULL || (d->no_result && d->rec.state == DTQ_SUCCEEDED))
        return (struct dtqi_slice){0};
    return o->bodies[i];
}

/* Make `d` that of entry `i`. @return its body. */
static struct dtqi_slice draft_entry(struct draft *d, const struct dtqi_outcomes *o, uint32_t i)
{
    struct dtqi_slice body;

    d->rec.state = (uint8_t)dtqi_col32(o->kinds, i, DTQ_SUCCEEDED);
    d->rec.reason = (uint8_t)dtqi_col32(o->reasons, i, DTQ_REASON_NONE);
    d->rec.code = dtqi_col32s(o->codes, i);
    d->rec.attempt = dtqi_col32(o->attempts, i, 1);
    d->rec.started_wall_ms = dtqi_col64(o->started_wall_ms, i);
    d->rec.duration_us = dtqi_col64(o->durations_us, i);
    body = body_to_keep(d, o, i);
    d->rec.flags = body.len > INLINE_BODY_BYTES_MAX ? RECORD_BODY_APART : 0;
    return body;
}

/* R25: the first proposal of an id into the commit is the outcome. One that does not read back is
 * no outcome any more: nobody can be told of it, and the next proposal takes its place. */
static dtq_err put_outcome(struct store_tx *tx, struct draft *d, const struct dtqi_outcomes *o,
                           uint32_t i, struct results_batch *batch, uint8_t *ret_stands)
{
    const dtq_id *id = &o->ids[i];
    unsigned char head[RECORD_HEAD_BYTES_MAX];
    struct dtqi_slice body = draft_entry(d, o, i);
    struct dtqi_slice pieces[3];
    unsigned pieces_n = 2;
    dtq_err err;

    pieces[0] = slice(head, record_write_head(&d->rec, head));
    pieces[1] = slice(d->names, d->names_bytes);
    if (body.len != 0 && d->rec.flags == 0)
        pieces[pieces_n++] = body;
    err = store_put_pieces(tx, OUTCOMES, id_key(id), pieces, pieces_n, STORE_IF_ABSENT);
    if (err == DTQ_ECONFLICT) {
        err = results_get_state(tx, id, ret_stands);
        if (err != DTQ_ECORRUPT)
            return err;
        err = store_put_pieces(tx, OUTCOMES, id_key(id), pieces, pieces_n, 0);
        batch->replaced++;
    }
    *ret_stands = 0;
    if (err == DTQ_OK && d->rec.flags != 0)
        err = store_put(tx, BODIES, id_key(id), body, 0);
    return err;
}

/* From the time in an id to `due_wall_ms`; 0 if that is not known to be later. */
uint64_t results_life_of(const dtq_id *id, uint64_t due_wall_ms)
{
    uint64_t born_ms = dtqi_id_wall_ms(id);

    return due_wall_ms > born_ms ? due_wall_ms - born_ms : 0;
}

static dtq_err put_proposals(struct results *r, struct store_tx *tx, struct results_batch *batch,
                             struct results_proposals *p)
{
    const struct dtqi_outcomes *o = &p->outcomes;
    struct draft d;
    uint32_t spec = UINT32_MAX;
    uint64_t due_ms = 0;
    dtq_err err = DTQ_OK;

    for (uint32_t i = 0; i < o->n; i++) {
        uint32_t its = dtqi_col32(o->spec_index, i, 0);

        p->stands[i] = 0;
        if (p->skip != NULL && p->skip[i])
            continue;
        if (its != spec) {
            spec = its;
            draft_make(&d, r, o, spec, batch->wall_ms);
            due_ms = add_sat(batch->wall_ms, d.life_ms);
            r->sweep.due_wall_ms = min_u64(r->sweep.due_wall_ms, due_ms);
        }
        err = put_outcome(tx, &d, o, i, batch, &p->stands[i]);
        if (err != DTQ_OK)
            return err;
        r->sweep.new_life_ms = min_u64(r->sweep.new_life_ms, results_life_of(&o->ids[i], due_ms));
        if (p->stands[i] != 0)
            batch->second++;
        else
            batch->won++;
    }
    return DTQ_OK;
}

/* ---------------------------------------------------------------- streams */

static dtq_err reserve_scratch(struct results *r, uint32_t n)
{
    uint32_t size = r->scratch_size != 0 ? r->scratch_size : 1024;
    dtq_id *ids;
    uint32_t *tickets;
    uint8_t *kinds;

    if (n <= r->scratch_size)
        return DTQ_OK;
    while (size < n)
        size *= 2;
    ids = realloc(r->ids, size * sizeof *ids);
    r->ids = ids != NULL ? ids : r->ids;
    tickets = realloc(r->tickets, size * sizeof *tickets);
    r->tickets = tickets != NULL ? tickets : r->tickets;
    kinds = realloc(r->kinds, size);
    r->kinds = kinds != NULL ? kinds : r->kinds;
    if (ids == NULL || tickets == NULL || kinds == NULL)
        return DTQ_ENOMEM;
    r->scratch_size = size;
    return DTQ_OK;
}

static bool is_won(const struct results_proposals *p, uint32_t i)
{
    return p->stands[i] == 0 && (p->skip == NULL || !p->skip[i]);
}

/* Add the entries of `p` that won to the scratch. */
static uint32_t gather(struct results *r, const struct results_proposals *p, uint32_t n,
                       uint32_t *flags)
{
    const struct dtqi_outcomes *o = &p->outcomes;

    for (uint32_t i = 0; i < o->n; i++) {
        if (!is_won(p, i))
            continue;
        r->ids[n] = o->ids[i];
        r->tickets[n] = dtqi_col32(o->tickets, i, 0);
        r->kinds[n] = (uint8_t)dtqi_col32(o->kinds, i, DTQ_SUCCEEDED);
        *flags |= (r->tickets[n] != 0 ? CHUNK_TICKETS : 0u) |
                  (r->kinds[n] != DTQ_SUCCEEDED ? CHUNK_KINDS : 0u);
        n++;
    }
    return n;
}

/* Entries from..from + n - 1 of the scratch. */
static dtq_err put_chunk(struct results *r, struct store_tx *tx, const struct ventilator *v,
                         uint32_t from, uint32_t n, uint32_t flags)
{
    struct chunk head = {n, flags};
    struct pair_key key = pair_key(v->now.number, v->now.next + from);
    struct dtqi_slice pieces[4] = {slice(&head, sizeof head),
                                   slice(r->ids + from, n * sizeof *r->ids)};
    unsigned pieces_n = 2;

    if (flags & CHUNK_TICKETS)
        pieces[pieces_n++] = slice(r->tickets + from, n * sizeof *r->tickets);
    if (flags & CHUNK_KINDS)
        pieces[pieces_n++] = slice(r->kinds + from, n);
    return store_put_pieces(tx, STREAM, slice(&key, sizeof key), pieces, pieces_n, 0);
}

/* One chunk (or a few) for one ventilator: all its outcomes of this batch, in the order of the
 * batch (R26). */
static dtq_err extend_stream(struct results *r, struct store_tx *tx, struct results_batch *batch,
                             const dtqi_uid *uid)
{
    struct ventilator *v = find_ventilator(r, uid);
    uint32_t n = 0;
    uint32_t flags = 0;
    dtq_err err = DTQ_OK;

    if (v == NULL)
        return DTQ_OK; /* refused */
    for (uint32_t i = 0; i < batch->proposals_n; i++)
        if (dtqi_uid_eq(&batch->proposals[i].outcomes.ventilator, uid))
            n = gather(r, &batch->proposals[i], n, &flags);
    if (n == 0)
        return DTQ_OK;
    change_ventilator(v);
    for (uint32_t from = 0; err == DTQ_OK && from < n; from += CHUNK_ENTRIES_MAX)
        err = put_chunk(r, tx, v, from, n - from < CHUNK_ENTRIES_MAX ? n - from : CHUNK_ENTRIES_MAX,
                        flags);
    batch->ranges[batch->ranges_n++] = (struct results_range){*uid, v->now.next, n};
    v->now.next += n;
    return err;
}

static bool is_first_of_its_ventilator(const struct results_batch *batch, uint32_t i)
{
    const dtqi_uid *uid = &batch->proposals[i].outcomes.ventilator;

    for (uint32_t k = 0; k < i; k++)
        if (dtqi_uid_eq(&batch->proposals[k].outcomes.ventilator, uid))
            return false;
    return true;
}

static dtq_err extend_streams(struct results *r, struct store_tx *tx, struct results_batch *batch)
{
    dtq_err err = reserve_scratch(r, batch->won);

    for (uint32_t i = 0; err == DTQ_OK && i < batch->proposals_n; i++)
        if (is_first_of_its_ventilator(batch, i))
            err = extend_stream(r, tx, batch, &batch->proposals[i].outcomes.ventilator);
    return err;
}

bool results_chunk_of(struct dtqi_slice key, struct dtqi_slice value, uint64_t number,
                      uint64_t *ret_first, struct chunk *ret_chunk)
{
    const uint8_t *at = key.at;

    if (key.len != sizeof(struct pair_key) || get_be64(at) != number ||
        value.len < sizeof *ret_chunk)
        return false;
    memcpy(ret_chunk, value.at, sizeof *ret_chunk);
    *ret_first = get_be64(at + 8);
    return true;
}

/* Drop whole chunks that the ventilator has applied and made durable (R28). */
static dtq_err drop_chunks(struct store_tx *tx, const struct ventilator *v)
{
    struct pair_key from = pair_key(v->now.number, 0);
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    struct chunk chunk;
    uint64_t first;
    dtq_err err = store_cursor_open(tx, STREAM, false, &c);

    if (err != DTQ_OK)
        return err;
    err = store_seek(c, slice(&from, sizeof from), &key, &value);
    for (uint32_t i = 0; err == DTQ_OK && i < CHUNKS_DROPPED_MAX; i++) {
        if (!results_chunk_of(key, value, v->now.number, &first, &chunk) ||
            first + chunk.n - 1 > v->now.acked)
            break;
        err = store_cursor_del(c);
        if (err == DTQ_OK)
            err = store_next(c, &key, &value);
    }
    store_cursor_close(c);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err apply_ack(struct results *r, struct store_tx *tx, const struct results_ack *ack)
{
    struct ventilator *v = find_ventilator(r, &ack->ventilator);

    if (v == NULL || ack->number <= v->now.acked || ack->number >= v->now.next)
        return DTQ_OK; /* old, or of what was never given out */
    change_ventilator(v);
    v->now.acked = ack->number;
    return drop_chunks(tx, v);
}

/* ---------------------------------------------------------------- a batch */

/* Every ventilator that `batch` names gets a stream, as long as there is room. */
static dtq_err find_streams(struct results *r, struct store_tx *tx, struct results_batch *batch)
{
    dtq_err err = DTQ_OK;

    for (uint32_t i = 0; err == DTQ_OK && i < batch->proposals_n; i++) {
        struct results_proposals *p = &batch->proposals[i];
        struct ventilator *v = find_ventilator(r, &p->outcomes.ventilator);

        if (v == NULL && (v = add_ventilator(r, &p->outcomes.ventilator)) != NULL)
            err = begin_run_of(r, tx, v);
        p->refused = v == NULL;
    }
    return err;
}

static dtq_err write_batch(struct results *r, struct store_tx *tx, struct results_batch *batch)
{
    dtq_err err = find_streams(r, tx, batch);

    for (uint32_t i = 0; err == DTQ_OK && i < batch->proposals_n; i++)
        if (!batch->proposals[i].refused)
            err = put_proposals(r, tx, batch, &batch->proposals[i]);
    if (err == DTQ_OK)
        err = extend_streams(r, tx, batch);
    for (uint32_t i = 0; err == DTQ_OK && i < batch->acks_n; i++)
        err = apply_ack(r, tx, &batch->acks[i]);
    if (err == DTQ_OK)
        err = put_changed_ventilators(r, tx);
    if (err == DTQ_OK && batch->sweep_max != 0)
        err = results_sweep(r, tx, batch);
    if (err == DTQ_OK && is_mark_due(r, batch))
        err = put_mark(tx, &batch->mark);
    batch->held = store_count(tx, OUTCOMES);
    return err;
}

static bool has_changes(const struct results *r, const struct results_batch *batch)
{
    if (batch->won != 0 || batch->swept != 0 || is_mark_due(r, batch))
        return true;
    for (uint32_t i = 0; i < r->ventilators_n; i++)
        if (r->ventilators[i].is_changed || r->ventilators[i].is_new)
            return true;
    return false;
}

static dtq_err apply(struct results *r, struct results_batch *batch)
{
    struct store_tx *tx;
    dtq_err err = store_begin(r->store, true, &tx);

    if (err != DTQ_OK)
        return err;
    err = write_batch(r, tx, batch);
    if (err == DTQ_OK && has_changes(r, batch))
        return store_commit(tx);
    store_abort(tx);
    return err;
}

static void clear_answer(struct results_batch *batch)
{
    batch->ranges_n = 0;
    batch->won = 0;
    batch->second = 0;
    batch->replaced = 0;
    batch->swept = 0;
    batch->why[0] = 0;
}

void results_apply(struct results *r, struct results_batch *batch)
{
    clear_answer(batch);
    r->sweep_before = r->sweep;
    batch->err = apply(r, batch);
    end_ventilators(r, batch->err == DTQ_OK);
    if (batch->err == DTQ_OK && is_mark_due(r, batch))
        r->mark = batch->mark;
    if (batch->err != DTQ_OK) {
        r->sweep = r->sweep_before;
        results_explain(r, batch->err, batch->why, sizeof batch->why);
    }
    batch->sweep_more = r->sweep.is_under_way;
    batch->sweep_due_wall_ms = r->sweep.due_wall_ms;
    store_space(r->store, &batch->space_used, &batch->space_max);
}
