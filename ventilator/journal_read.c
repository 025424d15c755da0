/* Answers of the journal: everything is copied into one buffer, which then is the core's. */
#include "journal_past.h"

#define BUF_FIRST_BYTES_MAX 262144u
#define BUF_FIRST_TASK_BYTES 320u

struct answer {
    struct journal *j;
    struct journal_read *read;
    struct store_tx *tx;
    bool bodies;
    struct journal_task *tasks; /* grown here, copied into the buffer at the end */
    uint32_t *index;
    uint32_t n;
    uint32_t room;
    uint64_t bytes;                             /* of specs and payloads */
    const void *specs[JOURNAL_COMMONS_MAX + 1]; /* copied already, by number of the combination */
};

/* ---- building */

static dtq_err no_memory(struct answer *a)
{
    return journal_error(a->j, DTQ_ENOMEM, "out of memory for an answer of %u tasks", a->n);
}

static dtq_err answer_grow(struct answer *a)
{
    uint32_t room = a->room == 0 ? 64 : 2 * a->room;
    struct journal_task *tasks = realloc(a->tasks, room * sizeof *tasks);
    uint32_t *index;

    if (tasks == NULL)
        return no_memory(a);
    a->tasks = tasks;
    index = realloc(a->index, room * sizeof *index);
    if (index == NULL)
        return no_memory(a);
    a->index = index;
    a->room = room;
    return DTQ_OK;
}

static dtq_err answer_add(struct answer *a, const struct journal_task *task, uint32_t index)
{
    if (a->n == a->room) {
        dtq_err err = answer_grow(a);

        if (err != DTQ_OK)
            return err;
    }
    a->tasks[a->n] = *task;
    a->index[a->n++] = index;
    a->bytes += task->spec.len + task->body.len;
    return DTQ_OK;
}

/* A copy in the answer's buffer. */
static dtq_err keep(struct answer *a, const void *at, size_t bytes, const void **ret)
{
    void *copy;

    *ret = NULL;
    if (bytes == 0)
        return DTQ_OK;
    copy = dtqi_buf_alloc(a->read->buf, bytes);
    if (copy == NULL)
        return no_memory(a);
    memcpy(copy, at, bytes);
    *ret = copy;
    return DTQ_OK;
}

static dtq_err keep_slice(struct answer *a, struct dtqi_slice *slice)
{
    return keep(a, slice->at, slice->len, &slice->at);
}

/* A spec that tasks have in common is copied once. */
static dtq_err keep_bodies(struct answer *a, uint32_t common, struct journal_task *task)
{
    dtq_err err = keep_slice(a, &task->body);

    if (err != DTQ_OK)
        return err;
    if (common != 0 && a->specs[common] != NULL) {
        task->spec.at = a->specs[common];
        return DTQ_OK;
    }
    err = keep_slice(a, &task->spec);
    a->specs[common] = task->spec.at;
    return err;
}

static dtq_err sink_of(struct answer *a, const dtq_id *id, uint32_t number, dtqi_uid *ret)
{
    const struct journal *j = a->j;

    *ret = (dtqi_uid){0};
    if (number == 0)
        return DTQ_OK;
    for (uint32_t i = 0; i < j->sinks_n; i++)
        if (j->sinks[i].number == number) {
            *ret = j->sinks[i].store;
            return DTQ_OK;
        }
    return journal_bad_task(a->j, id);
}

/* All but counters, history and what only dead letters have. */
static dtq_err task_of(struct answer *a, const struct journal_key *key, struct dtqi_slice value,
                       struct journal_task *ret)
{
    struct journal_record record;
    struct journal_task task = {.key = *key};
    uint32_t common;
    dtq_err err;

    if (!journal_record_in(value, &record))
        return journal_error(a->j, DTQ_ECORRUPT,
                             "the journal is damaged: the record of seq %llu in queue %u",
                             (unsigned long long)key->seq, key->queue);
    common = record.common;
    err = journal_resolve(a->j, &record);
    if (err != DTQ_OK)
        return err;
    task.id = record.id;
    task.reply_to = record.reply_to;
    err = sink_of(a, &record.id, record.sink, &task.sink);
    if (err == DTQ_OK && a->bodies) {
        task.spec = record.spec;
        task.body = record.body;
        err = keep_bodies(a, common, &task);
    }
    *ret = task;
    return err;
}

/* ---- by order: LOAD and DUE */

/* A walk over the counters beside the one over the tasks; both have the same keys. */
struct counters_walk {
    struct store_cursor *cursor;
    dtq_err err; /* DTQ_OK: it stands on `key` */
    bool begun;
    struct dtqi_slice key;
    struct dtqi_slice value;
};

static int slice_compare(struct dtqi_slice a, struct dtqi_slice b)
{
    int c = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);

    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static dtq_err counters_at(struct answer *a, struct counters_walk *w, struct dtqi_slice key,
                           struct journal_task *task)
{
    if (!w->begun) {
        w->begun = true;
        w->err = store_seek(w->cursor, key, &w->key, &w->value);
    }
    while (w->err == DTQ_OK && slice_compare(w->key, key) < 0)
        w->err = store_next(w->cursor, &w->key, &w->value);
    if (w->err == DTQ_ENOTFOUND || (w->err == DTQ_OK && slice_compare(w->key, key) > 0))
        return DTQ_OK;
    if (w->err == DTQ_OK && !journal_counters_in(w->value, &task->counters))
        return journal_bad_task(a->j, &task->id);
    return w->err;
}

static dtq_err load_one(struct answer *a, struct counters_walk *w, struct dtqi_slice key,
                        struct dtqi_slice value)
{
    struct journal_in in = journal_in_of(key);
    struct journal_key decoded;
    struct journal_task task = {0};
    dtq_err err;

    if (!journal_key_in(&in, &decoded) || in.len != 0)
        return journal_error(a->j, DTQ_ECORRUPT, "the journal is damaged: a key of table 'tasks'");
    err = task_of(a, &decoded, value, &task);
    if (err == DTQ_OK)
        err = counters_at(a, w, key, &task);
    return err == DTQ_OK ? answer_add(a, &task, a->n) : err;
}

static bool is_full(const struct answer *a)
{
    return a->n >= a->read->limit ||
           (a->n > 0 && a->read->bytes_max > 0 && a->bytes >= a->read->bytes_max);
}

static bool has_prefix(struct dtqi_slice key, const struct journal_out *prefix)
{
    return key.len >= prefix->len && memcmp(key.at, prefix->at, prefix->len) == 0;
}

/* Up to the last key with the prefix, or as much as was asked for. */
static dtq_err load_walk(struct answer *a, struct store_cursor *tasks, struct counters_walk *w)
{
    uint8_t prefix_room[JOURNAL_KEY_BYTES_MAX];
    uint8_t after_room[JOURNAL_KEY_BYTES_MAX];
    struct journal_out prefix = {.at = prefix_room};
    struct journal_out after = {.at = after_room};
    struct journal_read *read = a->read;
    struct dtqi_slice key;
    struct dtqi_slice value;
    dtq_err err;

    journal_key_prefix_out(&prefix, read->type == JOURNAL_DUE ? 0 : read->queue);
    if (read->has_after)
        journal_key_out(&after, &read->after);
    err = store_seek(tasks, journal_out_slice(read->has_after ? &after : &prefix), &key, &value);
    if (err == DTQ_OK && read->has_after && slice_compare(key, journal_out_slice(&after)) == 0)
        err = store_next(tasks, &key, &value);
    while (err == DTQ_OK && has_prefix(key, &prefix) && !is_full(a)) {
        err = load_one(a, w, key, value);
        if (err == DTQ_OK)
            err = store_next(tasks, &key, &value);
    }
    read->end = err == DTQ_ENOTFOUND || (err == DTQ_OK && !has_prefix(key, &prefix));
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err read_in_order(struct answer *a)
{
    struct counters_walk w = {0};
    struct store_cursor *tasks;
    dtq_err err;

    assert(a->read->type == JOURNAL_DUE || a->read->queue != 0);
    assert(!a->read->has_after || a->read->after.delayed == (a->read->type == JOURNAL_DUE));
    a->bodies = true;
    err = store_cursor_open(a->tx, TABLE_TASKS, false, &tasks);
    if (err != DTQ_OK)
        return err;
    err = store_cursor_open(a->tx, TABLE_COUNTERS, false, &w.cursor);
    if (err == DTQ_OK)
        err = load_walk(a, tasks, &w);
    store_cursor_close(w.cursor);
    store_cursor_close(tasks);
    return err;
}

/* ---- by id: LOOKUP, PREFIX, SCAN, DEAD_LIST and DEAD_LOOKUP */

static dtq_err add_history(struct answer *a, const struct journal_entry *entry,
                           struct journal_task *task)
{
    dtq_err err;

    if (!a->bodies || (entry->flags & JOURNAL_HAS_HISTORY) == 0)
        return DTQ_OK;
    err = store_get(a->tx, TABLE_HISTORY, journal_id_slice(&task->id), &task->history);
    if (err == DTQ_ENOTFOUND)
        return journal_bad_task(a->j, &task->id);
    return err == DTQ_OK ? keep_slice(a, &task->history) : err;
}

/* The task that the index has under `id`. */
static dtq_err add_by_id(struct answer *a, const dtq_id *id, const struct journal_entry *entry,
                         uint32_t index)
{
    uint8_t room[JOURNAL_KEY_BYTES_MAX];
    struct journal_out key = {.at = room};
    struct dtqi_slice value;
    struct journal_task task = {0};
    dtq_err err;

    journal_key_out(&key, &entry->key);
    err = store_get(a->tx, TABLE_TASKS, journal_out_slice(&key), &value);
    if (err == DTQ_ENOTFOUND)
        return journal_bad_task(a->j, id);
    if (err == DTQ_OK)
        err = task_of(a, &entry->key, value, &task);
    if (err == DTQ_OK && !dtqi_id_eq(&task.id, id))
        return journal_bad_task(a->j, id);
    if (err == DTQ_OK)
        err = journal_find_counters(a->j, a->tx, id, entry, &task.counters);
    if (err == DTQ_OK)
        err = add_history(a, entry, &task);
    return err == DTQ_OK ? answer_add(a, &task, index) : err;
}

static dtq_err read_lookup(struct answer *a)
{
    for (uint32_t i = 0; i < a->read->ids_n; i++) {
        struct journal_entry entry;
        dtq_err err = journal_find(a->j, a->tx, &a->read->ids[i], &entry);

        if (err == DTQ_OK)
            err = add_by_id(a, &a->read->ids[i], &entry, i);
        if (err != DTQ_OK && err != DTQ_ENOTFOUND)
            return err;
    }
    return DTQ_OK;
}

static bool has_id_prefix(const dtq_id *id, const dtq_id *prefix, uint32_t bits)
{
    uint32_t bytes = bits / 8;
    uint8_t mask = (uint8_t)(0xff00u >> bits % 8);

    if (memcmp(id->bytes, prefix->bytes, bytes) != 0)
        return false;
    return bits % 8 == 0 || ((id->bytes[bytes] ^ prefix->bytes[bytes]) & mask) == 0;
}

/* What a walk over ids begins behind, and what its ids begin with. */
struct id_range {
    const dtq_id *after; /* NULL: from the first one */
    const dtq_id *prefix;
    uint32_t prefix_bits;
};

static struct id_range range_of(const struct journal_read *read)
{
    struct id_range range = {0};

    if (read->type == JOURNAL_PREFIX || read->prefix_bits != 0) {
        assert(read->ids_n >= 1);
        assert(read->prefix_bits <= 128);
        range.prefix = &read->ids[0];
        range.prefix_bits = read->prefix_bits;
        range.after = read->ids_n > 1 ? &read->ids[1] : NULL;
    } else {
        range.after = read->ids_n > 0 ? &read->ids[0] : NULL;
    }
    return range;
}

static bool is_in_range(const struct id_range *range, const dtq_id *id)
{
    return range->prefix == NULL || has_id_prefix(id, range->prefix, range->prefix_bits);
}

static dtq_err range_seek(const struct id_range *range, struct store_cursor *c,
                          struct dtqi_slice *ret_key, struct dtqi_slice *ret_value)
{
    dtq_id first = {{0}};
    dtq_err err;

    if (range->prefix != NULL) {
        memcpy(first.bytes, range->prefix->bytes, range->prefix_bits / 8);
        if (range->prefix_bits % 8 != 0)
            first.bytes[range->prefix_bits / 8] = range->prefix->bytes[range->prefix_bits / 8] &
                                                  (uint8_t)(0xff00u >> range->prefix_bits % 8);
    }
    if (range->after != NULL && memcmp(range->after, &first, sizeof first) >= 0)
        first = *range->after;
    err = store_seek(c, journal_id_slice(&first), ret_key, ret_value);
    if (err == DTQ_OK && range->after != NULL && ret_key->len == sizeof first &&
        memcmp(ret_key->at, range->after->bytes, sizeof first) == 0)
        err = store_next(c, ret_key, ret_value);
    return err;
}

/* One entry of the index: added, unless another queue was asked for. */
static dtq_err scan_one(struct answer *a, const dtq_id *id, struct dtqi_slice value)
{
    const struct journal_read *read = a->read;
    struct journal_entry entry;

    if (!journal_entry_in(value, &entry))
        return journal_bad_task(a->j, id);
    if (read->type == JOURNAL_SCAN && read->queue != 0 && entry.key.queue != read->queue &&
        journal_queue_of(a->j, entry.key.queue) != read->queue)
        return DTQ_OK;
    return add_by_id(a, id, &entry, a->n);
}

/* One dead letter. */
static dtq_err add_dead(struct answer *a, const dtq_id *id, struct dtqi_slice value, uint32_t index)
{
    struct journal_dead dead;
    struct journal_task task = {0};
    dtq_err err;

    if (!journal_dead_in(value, &dead))
        return journal_bad_task(a->j, id);
    err = task_of(a, &dead.key, dead.record, &task);
    if (err == DTQ_OK && !dtqi_id_eq(&task.id, id))
        return journal_bad_task(a->j, id);
    task.counters = dead.counters;
    task.dead_wall_ms = dead.at_wall_ms;
    task.text = dead.text;
    task.history = dead.history;
    if (err == DTQ_OK)
        err = keep_slice(a, &task.text);
    if (err == DTQ_OK)
        err = keep_slice(a, &task.history);
    return err == DTQ_OK ? answer_add(a, &task, index) : err;
}

static dtq_err dead_one(struct answer *a, const dtq_id *id, struct dtqi_slice value)
{
    return add_dead(a, id, value, a->n);
}

static dtq_err read_dead_lookup(struct answer *a)
{
    for (uint32_t i = 0; i < a->read->ids_n && !is_full(a); i++) {
        const dtq_id *id = &a->read->ids[i];
        struct dtqi_slice value;
        dtq_err err = store_get(a->tx, TABLE_DEAD, journal_id_slice(id), &value);

        if (err == DTQ_OK)
            err = add_dead(a, id, value, i);
        if (err != DTQ_OK && err != DTQ_ENOTFOUND)
            return err;
        a->read->last = *id;
        a->read->end = i + 1 == a->read->ids_n;
    }
    return DTQ_OK;
}

static dtq_err walk_ids(struct answer *a, struct store_cursor *c,
                        dtq_err (*one)(struct answer *a, const dtq_id *id, struct dtqi_slice value))
{
    struct journal_read *read = a->read;
    struct id_range range = range_of(read);
    struct dtqi_slice key;
    struct dtqi_slice value;
    uint32_t looked = 0;
    dtq_err err = range_seek(&range, c, &key, &value);

    for (; err == DTQ_OK && !is_full(a) && looked < JOURNAL_SCAN_MAX; looked++) {
        dtq_id id;

        if (key.len != sizeof id.bytes)
            return journal_error(a->j, DTQ_ECORRUPT, "the journal is damaged: a key of 'ids'");
        memcpy(id.bytes, key.at, sizeof id.bytes);
        if (!is_in_range(&range, &id)) {
            err = DTQ_ENOTFOUND;
            break;
        }
        err = one(a, &id, value);
        if (err != DTQ_OK)
            return err;
        read->last = id;
        err = store_next(c, &key, &value);
    }
    if (err == DTQ_OK && key.len == sizeof(dtq_id))
        read->end = !is_in_range(&range, key.at);
    else
        read->end = err == DTQ_ENOTFOUND;
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err read_by_id(struct answer *a)
{
    bool dead = a->read->type == JOURNAL_DEAD_LIST;
    struct store_cursor *c;
    dtq_err err = store_cursor_open(a->tx, dead ? TABLE_DEAD : TABLE_IDS, false, &c);

    if (err != DTQ_OK)
        return err;
    err = walk_ids(a, c, dead ? dead_one : scan_one);
    store_cursor_close(c);
    return err;
}

/* ---- attempts */

static dtq_err dead_history(struct answer *a, const dtq_id *id, struct dtqi_slice *ret)
{
    struct dtqi_slice value;
    struct journal_dead dead;
    dtq_err err = store_get(a->tx, TABLE_DEAD, journal_id_slice(id), &value);

    if (err != DTQ_OK)
        return err;
    if (!journal_dead_in(value, &dead))
        return journal_bad_task(a->j, id);
    *ret = dead.history;
    return DTQ_OK;
}

static dtq_err find_attempts(struct answer *a, const dtq_id *id, struct dtqi_slice *ret)
{
    dtq_err err = store_get(a->tx, TABLE_HISTORY, journal_id_slice(id), ret);

    if (err == DTQ_ENOTFOUND)
        err = dead_history(a, id, ret);
    if (err == DTQ_ENOTFOUND)
        err = journal_past_get(a->j, a->tx, id, ret);
    return err;
}

static dtq_err read_attempts(struct answer *a)
{
    for (uint32_t i = 0; i < a->read->ids_n; i++) {
        struct journal_task task = {.id = a->read->ids[i]};
        dtq_err err = find_attempts(a, &task.id, &task.history);

        if (err == DTQ_OK)
            err = keep_slice(a, &task.history);
        if (err == DTQ_OK)
            err = answer_add(a, &task, i);
        if (err != DTQ_OK && err != DTQ_ENOTFOUND)
            return err;
    }
    return DTQ_OK;
}

/* ---- idempotency keys */

static dtq_err read_keys(struct answer *a)
{
    struct journal_read *read = a->read;

    read->key_records = dtqi_buf_alloc(read->buf, (read->keys_n + 1) * sizeof *read->key_records);
    if (read->key_records == NULL)
        return no_memory(a);
    for (uint32_t i = 0; i < read->keys_n; i++) {
        dtq_err err =
            journal_find_key(a->j, a->tx, (struct dtqi_slice){read->keys[i].at, read->keys[i].len},
                             &read->key_records[i]);

        if (err != DTQ_OK)
            return err;
    }
    return DTQ_OK;
}

/* ---- the entry */

static dtq_err read_any(struct answer *a)
{
    switch (a->read->type) {
    case JOURNAL_LOAD:
    case JOURNAL_DUE: return read_in_order(a);
    case JOURNAL_LOOKUP: return read_lookup(a);
    case JOURNAL_PREFIX:
    case JOURNAL_SCAN:
    case JOURNAL_DEAD_LIST: return read_by_id(a);
    case JOURNAL_DEAD_LOOKUP: return read_dead_lookup(a);
    case JOURNAL_KEYS: return read_keys(a);
    case JOURNAL_ATTEMPTS: return read_attempts(a);
    }
    assert(!"a type of struct journal_read");
    return DTQ_EINVAL;
}

static dtq_err answer_finish(struct answer *a)
{
    const void *tasks;
    const void *index;
    dtq_err err = keep(a, a->tasks, a->n * sizeof *a->tasks, &tasks);

    if (err == DTQ_OK)
        err = keep(a, a->index, a->n * sizeof *a->index, &index);
    if (err != DTQ_OK)
        return err;
    a->read->tasks = (struct journal_task *)(uintptr_t)tasks;
    a->read->index = (uint32_t *)(uintptr_t)index;
    a->read->tasks_n = a->n;
    return DTQ_OK;
}

static dtq_err answer_make(struct answer *a)
{
    dtq_err err = store_begin(a->j->store, false, &a->tx);

    if (err != DTQ_OK)
        return err;
    err = read_any(a);
    if (err == DTQ_OK)
        err = answer_finish(a);
    store_abort(a->tx);
    return err;
}

static size_t first_bytes(const struct journal_read *read)
{
    bool is_lookup = read->type == JOURNAL_LOOKUP || read->type == JOURNAL_DEAD_LOOKUP ||
                     read->type == JOURNAL_ATTEMPTS;
    uint64_t tasks = is_lookup ? read->ids_n : read->limit;
    uint64_t bytes = tasks * BUF_FIRST_TASK_BYTES;

    return bytes < BUF_FIRST_BYTES_MAX ? (size_t)bytes : BUF_FIRST_BYTES_MAX;
}

void journal_read(struct journal *j, struct journal_read *read)
{
    struct answer a = {.j = j, .read = read, .bodies = read->bodies};

    j->errmsg[0] = '\0';
    read->tasks = NULL;
    read->index = NULL;
    read->tasks_n = 0;
    read->key_records = NULL;
    read->end = false;
    read->last = (dtq_id){{0}};
    read->buf = dtqi_buf_new(first_bytes(read), JOURNAL_READ_BYTES_MAX);
    read->err = read->buf == NULL ? no_memory(&a) : journal_result(j, answer_make(&a));
    free(a.tasks);
    free(a.index);
    if (read->err == DTQ_OK)
        return;
    dtqi_buf_unref(read->buf);
    read->buf = NULL;
}
