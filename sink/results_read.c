#include "results_parts.h"

#define VISITS_PER_PAGE 8192u
#define DAMAGED_MAX 100u /* records that one answer may leave out */
#define PAGE_ROWS_MAX DTQI_BATCH_ENTRIES_MAX

/* ---------------------------------------------------------------- reads */

struct reader {
    struct results *r;
    struct results_read *read;
    struct store_tx *tx;
    uint32_t rows_max;
    uint32_t bytes;
};

static void *room(struct reader *q, size_t n, size_t bytes)
{
    return dtqi_buf_alloc(q->read->buf, n * bytes + 1);
}

static bool copy_bytes(struct reader *q, const void *at, uint32_t n, const void **ret)
{
    void *copy = room(q, n, 1);

    if (copy == NULL)
        return false;
    if (n != 0)
        memcpy(copy, at, n);
    *ret = copy;
    return true;
}

static bool copy_names(struct reader *q, const struct record *rec, struct results_outcome *row)
{
    const void *copy;

    if (!copy_bytes(q, rec->worker.at, rec->worker.len + rec->name.len + rec->queue.len, &copy))
        return false;
    row->worker = (struct dtqi_str){copy, rec->worker.len};
    row->name = (struct dtqi_str){row->worker.at + rec->worker.len, rec->name.len};
    row->queue = (struct dtqi_str){row->name.at + rec->name.len, rec->queue.len};
    return true;
}

static dtq_err find_body(struct reader *q, const struct record *rec, const dtq_id *id,
                         struct dtqi_slice *ret_body)
{
    dtq_err err;

    if (!(rec->flags & RECORD_BODY_APART)) {
        *ret_body = rec->tail;
        return DTQ_OK;
    }
    err = store_get(q->tx, BODIES, id_key(id), ret_body);
    return err == DTQ_ENOTFOUND ? DTQ_ECORRUPT : err;
}

static bool is_readable(const struct record *rec, uint64_t wall_ms)
{
    return !(rec->flags & RECORD_CUT) && wall_ms < add_sat(rec->committed_wall_ms, rec->ttl_ms);
}

static void note_damage(struct reader *q)
{
    q->read->damaged++;
    results_explain(q->r, DTQ_ECORRUPT, q->read->why, sizeof q->read->why);
}

static dtq_err add_row(struct reader *q, const dtq_id *id, const struct record *rec, bool with_body)
{
    struct results_outcome *row = &q->read->outcomes[q->read->outcomes_n];
    struct dtqi_slice body = {0};
    dtq_err err = with_body ? find_body(q, rec, id, &body) : DTQ_OK;

    if (err != DTQ_OK)
        return err;
    *row = (struct results_outcome){
        .id = *id,
        .state = (dtq_state)rec->state,
        .reason = (dtq_reason)rec->reason,
        .code = rec->code,
        .attempt = rec->attempt,
        .epoch = rec->epoch,
        .started_wall_ms = rec->started_wall_ms,
        .duration_us = rec->duration_us,
        .committed_wall_ms = rec->committed_wall_ms,
        .body = {NULL, body.len},
    };
    if (!copy_names(q, rec, row) || !copy_bytes(q, body.at, body.len, &row->body.at))
        return DTQ_ENOMEM;
    q->bytes += body.len;
    q->read->outcomes_n++;
    return DTQ_OK;
}

static dtq_err make_rows(struct reader *q, uint32_t n)
{
    q->rows_max = n;
    q->read->outcomes = room(q, n, sizeof *q->read->outcomes);
    q->read->index = room(q, n, sizeof *q->read->index);
    return q->read->outcomes != NULL && q->read->index != NULL ? DTQ_OK : DTQ_ENOMEM;
}

static dtq_err look_up(struct reader *q, const dtq_id *id)
{
    struct dtqi_slice value;
    struct record rec;
    dtq_err err = store_get(q->tx, OUTCOMES, id_key(id), &value);

    if (err != DTQ_OK)
        return err;
    if (!record_parse(value, &rec))
        return DTQ_ECORRUPT;
    if (is_readable(&rec, q->read->wall_ms))
        return add_row(q, id, &rec, true);
    q->read->outcomes[q->read->outcomes_n++] = (struct results_outcome){.id = *id};
    return DTQ_OK;
}

static dtq_err read_lookup(struct reader *q)
{
    struct results_read *read = q->read;
    dtq_err err = make_rows(q, read->ids_n);

    for (; err == DTQ_OK && read->done < read->ids_n; read->done++) {
        if (q->bytes >= read->bytes_max && read->done > 0)
            break;
        read->index[read->outcomes_n] = read->done;
        err = look_up(q, &read->ids[read->done]);
        if (err == DTQ_ECORRUPT)
            note_damage(q);
        if (err == DTQ_ENOTFOUND || err == DTQ_ECORRUPT)
            err = DTQ_OK;
    }
    return err;
}

static dtq_err read_claim(struct reader *q)
{
    struct results_read *read = q->read;

    read->kinds = room(q, read->ids_n, sizeof *read->kinds);
    if (read->kinds == NULL)
        return DTQ_ENOMEM;
    for (uint32_t i = 0; i < read->ids_n; i++) {
        uint8_t state = DTQ_NOT_FOUND;
        dtq_err err = results_get_state(q->tx, &read->ids[i], &state);

        if (err == DTQ_ECORRUPT)
            note_damage(q); /* nobody can be told what it was: the task runs again */
        else if (err != DTQ_OK && err != DTQ_ENOTFOUND)
            return err;
        read->kinds[i] = state;
    }
    return DTQ_OK;
}

/* ---- a page */

static bool has_prefix(const dtq_id *id, const struct dtqi_results_query *query)
{
    uint32_t bytes = query->prefix_bits / 8;
    uint32_t bits = query->prefix_bits % 8;

    if (memcmp(id->bytes, query->prefix.bytes, bytes) != 0)
        return false;
    return bits == 0 || (id->bytes[bytes] ^ query->prefix.bytes[bytes]) >> (8 - bits) == 0;
}

/* The first or the last id that has the prefix. */
static dtq_id prefix_end(const struct dtqi_results_query *query)
{
    dtq_id id = query->prefix;

    for (uint32_t bit = query->prefix_bits; bit < 128; bit++) {
        uint8_t mask = (uint8_t)(0x80 >> bit % 8);

        if (query->newest_first)
            id.bytes[bit / 8] |= mask;
        else
            id.bytes[bit / 8] &= (uint8_t)~mask;
    }
    return id;
}

static bool is_wanted(const struct dtqi_results_query *query, const struct record *rec)
{
    return (query->state == 0 || query->state == rec->state) &&
           (query->name.len == 0 || dtqi_str_eq(query->name, rec->name)) &&
           (query->queue.len == 0 || dtqi_str_eq(query->queue, rec->queue));
}

static dtq_err visit_for_page(struct reader *q, const dtq_id *id, struct dtqi_slice value)
{
    const struct dtqi_results_query *query = &q->read->query;
    struct record rec;

    if (!record_parse(value, &rec))
        return DTQ_ECORRUPT;
    if (!is_readable(&rec, q->read->wall_ms) || !is_wanted(query, &rec))
        return DTQ_OK;
    return add_row(q, id, &rec, query->bodies);
}

static bool is_page_full(const struct reader *q, uint32_t visits)
{
    return visits >= VISITS_PER_PAGE || q->read->outcomes_n == q->rows_max ||
           q->bytes >= q->read->bytes_max;
}

/* One record of the walk. @return DTQ_ENOTFOUND: the page ends here. */
static dtq_err step_page(struct reader *q, struct dtqi_slice key, struct dtqi_slice value,
                         uint32_t visits)
{
    const struct dtqi_results_query *query = &q->read->query;
    dtq_id id;

    if (key.len != sizeof id.bytes)
        return DTQ_ECORRUPT;
    memcpy(id.bytes, key.at, sizeof id.bytes);
    if (query->has_after && dtqi_id_eq(&id, &query->after))
        return DTQ_OK;
    if (!has_prefix(&id, query))
        return DTQ_ENOTFOUND;
    if (is_page_full(q, visits)) {
        q->read->has_next = true;
        return DTQ_ENOTFOUND;
    }
    q->read->next = id;
    return visit_for_page(q, &id, value);
}

static dtq_err walk_page(struct reader *q, struct store_cursor *c)
{
    struct results_read *read = q->read;
    const struct dtqi_results_query *query = &read->query;
    dtq_id from = query->has_after ? query->after : prefix_end(query);
    struct dtqi_slice key;
    struct dtqi_slice value;
    dtq_err err = store_seek(c, id_key(&from), &key, &value);

    for (uint32_t visits = 0; err == DTQ_OK || (err == DTQ_ECORRUPT && read->damaged < DAMAGED_MAX);
         visits++) {
        if (err == DTQ_OK)
            err = step_page(q, key, value, visits);
        if (err == DTQ_ECORRUPT)
            note_damage(q);
        if (err != DTQ_OK && err != DTQ_ECORRUPT)
            break;
        err = store_next(c, &key, &value);
    }
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err read_page(struct reader *q)
{
    struct results_read *read = q->read;
    struct store_cursor *c;
    uint32_t rows = read->query.limit < PAGE_ROWS_MAX ? read->query.limit : PAGE_ROWS_MAX;
    dtq_err err = make_rows(q, rows != 0 ? rows : PAGE_ROWS_MAX);

    if (err == DTQ_OK)
        err = store_cursor_open(q->tx, OUTCOMES, read->query.newest_first, &c);
    if (err != DTQ_OK)
        return err;
    err = walk_page(q, c);
    store_cursor_close(c);
    read->held = store_count(q->tx, OUTCOMES);
    return err;
}

/* ---- streams */

static void tell_where(struct results_read *read, const struct ventilator *v)
{
    read->head = v != NULL ? v->now.next - 1 : 0;
    read->dropped = v != NULL ? v->now.acked : 0;
}

static dtq_err run_at(struct reader *q, const struct ventilator *v, uint64_t start,
                      struct run_record *ret)
{
    struct pair_key key = pair_key(v->now.number, start);
    struct dtqi_slice value;
    dtq_err err = store_get(q->tx, RUNS, slice(&key, sizeof key), &value);

    if (err == DTQ_OK && value.len != sizeof *ret)
        err = DTQ_ECORRUPT;
    if (err == DTQ_OK)
        memcpy(ret, value.at, sizeof *ret);
    return err;
}

/* R34: did the run that the ventilator heard last give out numbers that far? The numbers of a run
 * end where those of the next one begin. */
static dtq_err read_resume(struct reader *q)
{
    struct results_read *read = q->read;
    const struct ventilator *v = results_find_ventilator(q->r, &read->ventilator);
    uint64_t end;
    dtq_err err = DTQ_OK;

    tell_where(read, v);
    read->diverged = read->after != 0;
    if (read->after == 0 || v == NULL)
        return DTQ_OK;
    end = v->now.next;
    for (uint64_t start = v->now.starts; start-- > 0;) {
        struct run_record rec = {.first = 0};

        err = run_at(q, v, start, &rec);
        if (err != DTQ_OK)
            break;
        if (dtqi_uid_eq(&rec.run, &read->run)) {
            read->diverged = read->after >= end;
            break;
        }
        end = rec.first;
    }
    return err == DTQ_ENOTFOUND ? DTQ_OK : err; /* forgotten, as too many runs ago */
}

static dtq_err make_entries(struct reader *q)
{
    struct results_read *read = q->read;

    read->entry_ids = room(q, read->limit, sizeof *read->entry_ids);
    read->tickets = room(q, read->limit, sizeof *read->tickets);
    read->kinds = room(q, read->limit, sizeof *read->kinds);
    if (read->entry_ids == NULL || read->tickets == NULL || read->kinds == NULL)
        return DTQ_ENOMEM;
    return DTQ_OK;
}

static bool is_well_formed(const struct chunk *chunk, struct dtqi_slice value)
{
    size_t bytes = sizeof *chunk + 16 * (size_t)chunk->n;

    bytes += chunk->flags & CHUNK_TICKETS ? 4 * (size_t)chunk->n : 0;
    bytes += chunk->flags & CHUNK_KINDS ? (size_t)chunk->n : 0;
    return bytes == value.len;
}

/* Entry `i` of a chunk, at the end of the answer. */
static void take_entry(struct results_read *read, const struct chunk *chunk,
                       struct dtqi_slice value, uint64_t i)
{
    const uint8_t *ids = (const uint8_t *)value.at + sizeof *chunk;
    const uint8_t *tickets = ids + 16 * (size_t)chunk->n;
    const uint8_t *kinds = tickets + (chunk->flags & CHUNK_TICKETS ? 4 * (size_t)chunk->n : 0);
    uint32_t at = read->entries_n++;

    memcpy(read->entry_ids[at].bytes, ids + 16 * i, 16);
    read->tickets[at] = 0;
    if (chunk->flags & CHUNK_TICKETS)
        memcpy(&read->tickets[at], tickets + 4 * i, 4);
    read->kinds[at] = chunk->flags & CHUNK_KINDS ? kinds[i] : DTQ_SUCCEEDED;
}

/* Copy the entries of a chunk that are wanted and fit. @return false: the answer ends before the
 * end of this chunk, since it is full, or since numbers are missing between it and this chunk. */
static bool take_chunk(struct results_read *read, const struct chunk *chunk, uint64_t first,
                       struct dtqi_slice value)
{
    uint64_t want = read->first + read->entries_n;

    if (read->entries_n == 0)
        want = first > read->after ? first : read->after + 1;
    if (want < first || !is_well_formed(chunk, value))
        return false;
    if (want - first >= chunk->n)
        return true; /* all of it is before */
    read->first = read->entries_n == 0 ? want : read->first;
    for (uint64_t i = want - first; i < chunk->n; i++) {
        if (read->entries_n == read->limit)
            return false;
        take_entry(read, chunk, value, i);
    }
    return true;
}

/* Where the chunk that has number after + 1 begins: it is the last one that begins no later. */
static dtq_err find_chunk(struct reader *q, const struct ventilator *v, uint64_t *ret_first)
{
    struct pair_key from = pair_key(v->now.number, q->read->after + 1);
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    struct chunk chunk;
    dtq_err err = store_cursor_open(q->tx, STREAM, true, &c);

    if (err != DTQ_OK)
        return err;
    *ret_first = q->read->after + 1;
    err = store_seek(c, slice(&from, sizeof from), &key, &value);
    if (err == DTQ_OK && !results_chunk_of(key, value, v->now.number, ret_first, &chunk))
        *ret_first = q->read->after + 1;
    store_cursor_close(c);
    if (err == DTQ_ECORRUPT)
        note_damage(q); /* the answer begins behind it */
    return err == DTQ_ENOTFOUND || err == DTQ_ECORRUPT ? DTQ_OK : err;
}

static dtq_err walk_stream(struct reader *q, const struct ventilator *v, uint64_t first)
{
    struct pair_key from = pair_key(v->now.number, first);
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    struct chunk chunk;
    dtq_err err = store_cursor_open(q->tx, STREAM, false, &c);

    if (err != DTQ_OK)
        return err;
    err = store_seek(c, slice(&from, sizeof from), &key, &value);
    while (err == DTQ_OK || (err == DTQ_ECORRUPT && q->read->damaged < DAMAGED_MAX)) {
        if (err == DTQ_OK && !results_chunk_of(key, value, v->now.number, &first, &chunk))
            break;
        if (err == DTQ_OK && !take_chunk(q->read, &chunk, first, value))
            break;
        if (err == DTQ_ECORRUPT)
            note_damage(q);
        err = store_next(c, &key, &value);
    }
    store_cursor_close(c);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err read_stream(struct reader *q)
{
    struct results_read *read = q->read;
    const struct ventilator *v = results_find_ventilator(q->r, &read->ventilator);
    uint64_t first;
    dtq_err err;

    tell_where(read, v);
    if (v == NULL || read->after >= read->head)
        return DTQ_OK;
    err = make_entries(q);
    if (err == DTQ_OK)
        err = find_chunk(q, v, &first);
    return err == DTQ_OK ? walk_stream(q, v, first) : err;
}

/* ---- all of them */

static dtq_err read_in(struct reader *q)
{
    switch (q->read->type) {
    case RESULTS_LOOKUP: return read_lookup(q);
    case RESULTS_CLAIM: return read_claim(q);
    case RESULTS_PAGE: return read_page(q);
    case RESULTS_RESUME: return read_resume(q);
    case RESULTS_STREAM: return read_stream(q);
    }
    assert(!"a type of read");
    return DTQ_EINVAL;
}

void results_read(struct results *r, struct results_read *read)
{
    struct reader q = {.r = r, .read = read};
    dtq_err err = DTQ_ENOMEM;

    read->buf = dtqi_buf_new(4096, SIZE_MAX);
    if (read->buf != NULL)
        err = store_begin(r->store, false, &q.tx);
    if (err == DTQ_OK) {
        err = read_in(&q);
        store_abort(q.tx);
    }
    read->err = err;
    if (err != DTQ_OK)
        results_explain(r, err, read->why, sizeof read->why);
}
