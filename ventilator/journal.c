#include "journal_past.h"

#include <stdarg.h>
#include <stdio.h>

#define JOURNAL_FORMAT 1u
#define CRON_BUF_FIRST_BYTES ((size_t)16 * 1024)
#define SEQ_BLOCK 65536u /* seqs reserved at once: one write of "seq" for so many tasks */

const char *const journal_tables[JOURNAL_TABLES_N] = {
    [TABLE_META] = "meta",         [TABLE_TASKS] = "tasks",
    [TABLE_IDS] = "ids",           [TABLE_COUNTERS] = "counters",
    [TABLE_HISTORY] = "history",   [TABLE_DEAD] = "dead",
    [TABLE_QUEUES] = "queues",     [TABLE_APPLIED] = "applied",
    [TABLE_WORKERS] = "workers",   [TABLE_SINKS] = "sinks",
    [TABLE_COMMON] = "common",     [TABLE_KEYS] = "keys",
    [TABLE_KEY_ENDS] = "key_ends", [TABLE_PAST] = "past",
    [TABLE_CRON] = "cron",         [TABLE_CRON_STATES] = "cron_states",
};

/* ---- errors */

dtq_err journal_error(struct journal *j, dtq_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(j->errmsg, sizeof j->errmsg, format, args);
    va_end(args);
    return err;
}

static void id_text(const dtq_id *id, char ret_text[33])
{
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(ret_text + 2 * i, 3, "%02x", id->bytes[i]);
}

dtq_err journal_bad_task(struct journal *j, const dtq_id *id)
{
    char text[33];

    id_text(id, text);
    return journal_error(j, DTQ_ECORRUPT, "the journal is damaged: the records of task %s", text);
}

static dtq_err bad_record(struct journal *j, enum journal_table table)
{
    return journal_error(j, DTQ_ECORRUPT, "the journal is damaged: a record of table '%s'",
                         journal_tables[table]);
}

dtq_err journal_result(struct journal *j, dtq_err err)
{
    if (err != DTQ_OK && j->errmsg[0] == '\0')
        (void)journal_error(j, err, "%s", store_errmsg(j->store));
    return err;
}

const char *journal_errmsg(const struct journal *j)
{
    return j->errmsg;
}

/* ---- memory */

/* Room for one more; false: no memory, and nothing changed. */
static bool grow(void **array, uint32_t n, uint32_t *room, size_t entry_bytes)
{
    uint32_t wanted = dtqi_more_room(*room, 16);
    void *grown;

    if (n < *room)
        return true;
    grown = realloc(*array, (size_t)wanted * entry_bytes);
    if (grown == NULL)
        return false;
    *array = grown;
    *room = wanted;
    return true;
}

static dtq_err no_memory(struct journal *j)
{
    return journal_error(j, DTQ_ENOMEM, "out of memory");
}

static dtq_err scratch_of(struct journal *j, size_t bytes, struct journal_out *ret)
{
    if (bytes > j->scratch_room) {
        uint8_t *grown = realloc(j->scratch, bytes);

        if (grown == NULL)
            return no_memory(j);
        j->scratch = grown;
        j->scratch_room = bytes;
    }
    *ret = (struct journal_out){.at = j->scratch};
    return DTQ_OK;
}

/* ---- queues in memory */

static struct journal_queue_slot *queue_find(struct journal *j, uint32_t number)
{
    uint32_t at = j->queue_last;

    if (at >= j->queues_n || j->queues[at].queue.number != number)
        at = nummap_get(&j->queue_numbers, number);
    if (at == NUMMAP_NONE)
        return NULL;
    assert(j->queues != NULL);
    j->queue_last = at;
    return &j->queues[at];
}

static dtq_err queue_insert(struct journal *j, const struct journal_queue *queue)
{
    if (!grow((void **)&j->queues, j->queues_n, &j->queues_room, sizeof *j->queues) ||
        !nummap_set(&j->queue_numbers, queue->number, j->queues_n))
        return no_memory(j);
    j->queues[j->queues_n++] = (struct journal_queue_slot){.queue = *queue};
    return DTQ_OK;
}

/* Only when none is marked: the last one takes its place. */
static void queue_remove(struct journal *j, uint32_t number)
{
    uint32_t at = nummap_get(&j->queue_numbers, number);
    uint32_t last = j->queues_n - 1;

    assert(at != NUMMAP_NONE);
    nummap_remove(&j->queue_numbers, number);
    j->queues_n = last;
    if (at == last)
        return;
    j->queues[at] = j->queues[last];
    /* Its number is there: changing what it stands for needs no memory. */
    (void)nummap_set(&j->queue_numbers, j->queues[at].queue.number, at);
}

uint32_t journal_queue_of(struct journal *j, uint32_t number)
{
    const struct journal_queue_slot *slot = queue_find(j, number);

    return slot != NULL && slot->queue.parent != 0 ? slot->queue.parent : number;
}

static dtq_err queue_mark(struct journal *j, struct journal_queue_slot *slot)
{
    if (slot->dirty)
        return DTQ_OK;
    if (!grow((void **)&j->dirty, j->dirty_n, &j->dirty_room, sizeof *j->dirty))
        return no_memory(j);
    slot->dirty = true;
    j->dirty[j->dirty_n++] = (uint32_t)(slot - j->queues);
    return DTQ_OK;
}

/* A task comes to its queue. The queue of a new key is known, or the core has a bug. */
static dtq_err queue_add(struct journal *j, const struct journal_key *key, uint32_t bytes)
{
    struct journal_queue_slot *slot = queue_find(j, key->queue);

    assert(slot != NULL);
    *(key->delayed ? &slot->queue.delayed : &slot->queue.ready) += 1;
    slot->queue.bytes += bytes;
    return queue_mark(j, slot);
}

/* A task leaves its queue, as the store's index has it. */
static dtq_err queue_take(struct journal *j, const dtq_id *id, const struct journal_entry *entry)
{
    struct journal_queue_slot *slot = queue_find(j, entry->key.queue);
    uint64_t *count;

    if (slot == NULL)
        return journal_bad_task(j, id);
    count = entry->key.delayed ? &slot->queue.delayed : &slot->queue.ready;
    if (*count == 0 || slot->queue.bytes < entry->bytes)
        return journal_error(j, DTQ_ECORRUPT,
                             "the journal is damaged: the counts of queue '%s' are too low",
                             slot->queue.name);
    *count -= 1;
    slot->queue.bytes -= entry->bytes;
    return queue_mark(j, slot);
}

/* ---- sinks in memory: tasks name theirs by a small number, never used for another one */

static struct journal_sink_number *sink_find(const struct journal *j, const dtqi_uid *store)
{
    for (uint32_t i = 0; i < j->sinks_n; i++)
        if (dtqi_uid_eq(&j->sinks[i].store, store))
            return &j->sinks[i];
    return NULL;
}

static uint32_t sink_number_next(const struct journal *j)
{
    uint32_t number = 1;

    for (uint32_t i = 0; i < j->sinks_n; i++)
        if (j->sinks[i].number >= number)
            number = j->sinks[i].number + 1;
    return number;
}

static dtq_err sink_remember(struct journal *j, const dtqi_uid *store, uint32_t number,
                             bool registered)
{
    if (!grow((void **)&j->sinks, j->sinks_n, &j->sinks_room, sizeof *j->sinks))
        return no_memory(j);
    j->sinks[j->sinks_n++] =
        (struct journal_sink_number){.store = *store, .number = number, .registered = registered};
    return DTQ_OK;
}

/* ---- reading back what memory holds */

/* Call `take` for every record of a table. */
static dtq_err each_record(struct journal *j, struct store_tx *tx, enum journal_table table,
                           dtq_err (*take)(struct journal *j, void *arg, struct dtqi_slice key,
                                           struct dtqi_slice value),
                           void *arg)
{
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    dtq_err err = store_cursor_open(tx, table, false, &c);

    if (err != DTQ_OK)
        return err;
    err = store_seek(c, (struct dtqi_slice){0}, &key, &value);
    while (err == DTQ_OK) {
        err = take(j, arg, key, value);
        if (err == DTQ_OK)
            err = store_next(c, &key, &value);
    }
    store_cursor_close(c);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err take_queue(struct journal *j, void *arg, struct dtqi_slice key,
                          struct dtqi_slice value)
{
    struct journal_queue queue;

    (void)arg;
    if (!journal_queue_in(key, value, &queue))
        return bad_record(j, TABLE_QUEUES);
    return queue_insert(j, &queue);
}

static dtq_err take_sink_number(struct journal *j, void *arg, struct dtqi_slice key,
                                struct dtqi_slice value)
{
    struct journal_sink_record record;

    (void)arg;
    if (!journal_sink_in(key, value, &record))
        return bad_record(j, TABLE_SINKS);
    return sink_remember(j, &record.sink.store, record.number, record.registered);
}

static dtq_err take_common(struct journal *j, void *arg, struct dtqi_slice key,
                           struct dtqi_slice value)
{
    dtq_err err = journal_commons_load(j->commons, key, value);

    (void)arg;
    if (err == DTQ_ECORRUPT)
        return bad_record(j, TABLE_COMMON);
    return err == DTQ_ENOMEM ? no_memory(j) : err;
}

static struct dtqi_slice text_key(const char *name)
{
    return (struct dtqi_slice){name, (uint32_t)strlen(name)};
}

/* A number of the table `meta`; 0 when it is not there. */
static dtq_err meta_get(struct journal *j, struct store_tx *tx, const char *name, uint64_t *ret)
{
    struct dtqi_slice value;
    struct journal_in in;
    dtq_err err = store_get(tx, TABLE_META, text_key(name), &value);

    if (err == DTQ_ENOTFOUND) {
        *ret = 0;
        return DTQ_OK;
    }
    if (err != DTQ_OK)
        return err;
    in = journal_in_of(value);
    return journal_in_u64(&in, ret) && in.len == 0 ? DTQ_OK : bad_record(j, TABLE_META);
}

static dtq_err meta_put(struct store_tx *tx, const char *name, uint64_t number)
{
    uint8_t room[8];
    struct journal_out out = {.at = room};

    journal_out_u64(&out, number);
    return store_put(tx, TABLE_META, text_key(name), journal_out_slice(&out), STORE_SPARE);
}

/* The mark of the steady clock; all of it 0 when there is none yet. */
static dtq_err mark_get(struct journal *j, struct store_tx *tx, struct steady_mark *ret)
{
    struct steady_mark mark = {0};
    struct dtqi_slice value;
    struct journal_in in;
    dtq_err err = store_get(tx, TABLE_META, text_key("clock"), &value);

    if (err == DTQ_ENOTFOUND) {
        *ret = mark;
        return DTQ_OK;
    }
    if (err != DTQ_OK)
        return err;
    in = journal_in_of(value);
    if (!journal_in_u64(&in, &mark.steady_ms) || !journal_in_u64(&in, &mark.host.boot) ||
        !journal_in_u64(&in, &mark.host.up_ms) || !journal_in_u64(&in, &mark.host.wall_ms) ||
        in.len != 0)
        return bad_record(j, TABLE_META);
    *ret = mark;
    return DTQ_OK;
}

static dtq_err mark_put(struct store_tx *tx, const struct steady_mark *mark)
{
    uint8_t room[32];
    struct journal_out out = {.at = room};

    journal_out_u64(&out, mark->steady_ms);
    journal_out_u64(&out, mark->host.boot);
    journal_out_u64(&out, mark->host.up_ms);
    journal_out_u64(&out, mark->host.wall_ms);
    return store_put(tx, TABLE_META, text_key("clock"), journal_out_slice(&out), STORE_SPARE);
}

static dtq_err load_memory(struct journal *j, struct store_tx *tx)
{
    dtq_err err;

    j->queues_n = 0;
    nummap_done(&j->queue_numbers);
    j->dirty_n = 0;
    j->sinks_n = 0;
    journal_commons_clear(j->commons);
    err = each_record(j, tx, TABLE_QUEUES, take_queue, NULL);
    if (err == DTQ_OK)
        err = each_record(j, tx, TABLE_SINKS, take_sink_number, NULL);
    if (err == DTQ_OK)
        err = each_record(j, tx, TABLE_COMMON, take_common, NULL);
    if (err == DTQ_OK)
        err = meta_get(j, tx, "seq", &j->seq_reserved);
    if (err == DTQ_OK)
        err = mark_get(j, tx, &j->mark);
    j->seq_next = j->seq_reserved;
    return err;
}

/* A batch was dropped, and with it what memory has counted for it. */
static void restore_memory(struct journal *j)
{
    struct store_tx *tx;
    uint64_t seq_next = j->seq_next;

    j->stale = true;
    if (store_begin(j->store, false, &tx) != DTQ_OK)
        return;
    if (load_memory(j, tx) == DTQ_OK)
        j->stale = false;
    if (j->seq_next < seq_next)
        j->seq_next = seq_next;
    store_abort(tx);
}

/* ---- finding */

dtq_err journal_find(struct journal *j, struct store_tx *tx, const dtq_id *id,
                     struct journal_entry *ret_entry)
{
    struct dtqi_slice value;
    dtq_err err = store_get(tx, TABLE_IDS, journal_id_slice(id), &value);

    if (err != DTQ_OK)
        return err;
    return journal_entry_in(value, ret_entry) ? DTQ_OK : journal_bad_task(j, id);
}

struct key_bytes {
    uint8_t room[JOURNAL_KEY_BYTES_MAX];
    struct dtqi_slice slice;
};

static struct dtqi_slice key_of(const struct journal_key *key, struct key_bytes *bytes)
{
    struct journal_out out = {.at = bytes->room};

    journal_key_out(&out, key);
    return journal_out_slice(&out);
}

dtq_err journal_find_counters(struct journal *j, struct store_tx *tx, const dtq_id *id,
                              const struct journal_entry *entry, struct journal_counters *ret)
{
    struct key_bytes bytes;
    struct dtqi_slice value;
    dtq_err err;

    *ret = (struct journal_counters){0};
    if ((entry->flags & JOURNAL_HAS_COUNTERS) == 0)
        return DTQ_OK;
    err = store_get(tx, TABLE_COUNTERS, key_of(&entry->key, &bytes), &value);
    if (err == DTQ_ENOTFOUND || (err == DTQ_OK && !journal_counters_in(value, ret)))
        return journal_bad_task(j, id);
    return err;
}

/* ---- writing: one task */

static dtq_err put_entry(struct store_tx *tx, const dtq_id *id, const struct journal_entry *entry,
                         unsigned flags)
{
    uint8_t room[JOURNAL_ENTRY_BYTES_MAX];
    struct journal_out out = {.at = room};

    journal_entry_out(&out, entry);
    return store_put(tx, TABLE_IDS, journal_id_slice(id), journal_out_slice(&out), flags);
}

static dtq_err put_counters(struct store_tx *tx, const struct journal_key *key,
                            const struct journal_counters *counters)
{
    uint8_t room[JOURNAL_COUNTERS_BYTES_MAX];
    struct journal_out out = {.at = room};
    struct key_bytes bytes;

    journal_counters_out(&out, counters);
    return store_put(tx, TABLE_COUNTERS, key_of(key, &bytes), journal_out_slice(&out), STORE_SPARE);
}

static dtq_err put_sink(struct store_tx *tx, const struct journal_sink_record *record)
{
    uint8_t room[JOURNAL_SINK_BYTES_MAX];
    struct journal_out out = {.at = room};

    journal_sink_out(&out, record);
    return store_put(tx, TABLE_SINKS, journal_uid_slice(&record->sink.store),
                     journal_out_slice(&out), STORE_SPARE);
}

/* The small number of a task's sink; a sink that never registered gets one too. */
static dtq_err sink_number(struct journal *j, struct store_tx *tx, const dtqi_uid *store,
                           uint32_t *ret_number)
{
    const struct journal_sink_number *known = sink_find(j, store);
    struct journal_sink_record record = {.sink.store = *store};
    dtq_err err;

    if (dtqi_uid_is_zero(store)) {
        *ret_number = 0;
        return DTQ_OK;
    }
    if (known != NULL) {
        *ret_number = known->number;
        return DTQ_OK;
    }
    record.number = sink_number_next(j);
    err = put_sink(tx, &record);
    if (err == DTQ_OK)
        err = sink_remember(j, store, record.number, false);
    *ret_number = record.number;
    return err;
}

static void seq_seen(struct journal *j, uint64_t seq)
{
    if (seq >= j->seq_next)
        j->seq_next = seq + 1;
}

static bool has_counters(const struct journal_counters *c)
{
    return c->last.n != 0 || c->last.epoch != 0 || c->counted.n != 0 || c->counted.epoch != 0 ||
           c->failures != 0 || c->crashes != 0 || c->proposed != 0 || c->cancel != 0 ||
           c->suspect != 0 || c->reason != 0 || c->code != 0 || c->due_wall_ms != 0 ||
           c->made_wall_ms != 0;
}

static dtq_err put_record(struct journal *j, struct store_tx *tx, const struct journal_task *task,
                          const struct journal_record *record, unsigned flags)
{
    uint8_t room[JOURNAL_HEAD_BYTES_MAX];
    struct journal_out head = {.at = room};
    struct dtqi_slice pieces[3];
    unsigned n = 0;
    struct key_bytes bytes;
    dtq_err err;

    journal_head_out(&head, record);
    pieces[n++] = journal_out_slice(&head);
    if (record->common == 0)
        pieces[n++] = task->spec;
    pieces[n++] = task->body;
    err = store_put_pieces(tx, TABLE_TASKS, key_of(&task->key, &bytes), pieces, n, flags);
    return err == DTQ_ECONFLICT ? journal_bad_task(j, &task->id) : err;
}

/* Nothing has been written yet when the id turns out to be there; only a count in memory has to be
 * taken back. */
static dtq_err op_put(struct journal *j, struct store_tx *tx, const struct journal_task *task)
{
    struct journal_record record = {.id = task->id, .reply_to = task->reply_to, .spec = task->spec};
    struct journal_entry entry = {.key = task->key, .bytes = task->spec.len + task->body.len};
    dtq_err err = sink_number(j, tx, &task->sink, &record.sink);

    assert(task->key.rank < DTQI_PRIORITIES);
    if (err != DTQ_OK)
        return err;
    record.common = journal_commons_add(j->commons, record.sink, record.reply_to, record.spec);
    entry.common = record.common;
    if (has_counters(&task->counters))
        entry.flags = JOURNAL_HAS_COUNTERS;
    err = put_entry(tx, &task->id, &entry, STORE_IF_ABSENT);
    if (err == DTQ_ECONFLICT && record.common != 0 &&
        !journal_commons_take(j->commons, record.common))
        return journal_bad_task(j, &task->id);
    if (err == DTQ_OK)
        err = put_record(j, tx, task, &record, STORE_IF_ABSENT);
    if (err == DTQ_OK && entry.flags != 0)
        err = put_counters(tx, &task->key, &task->counters);
    if (err != DTQ_OK)
        return err;
    seq_seen(j, task->key.seq);
    return queue_add(j, &task->key, entry.bytes);
}

/* What must be there by the index, and is not, is damage. */
static dtq_err del_of_task(struct journal *j, struct store_tx *tx, enum journal_table table,
                           struct dtqi_slice key, const dtq_id *id)
{
    dtq_err err = store_del(tx, table, key);

    return err == DTQ_ENOTFOUND ? journal_bad_task(j, id) : err;
}

/* All records of a task go. Counters and history are looked for only when the index has their
 * flags, so that most deletes touch two tables. */
static dtq_err remove_task(struct journal *j, struct store_tx *tx, const dtq_id *id,
                           const struct journal_entry *entry)
{
    struct key_bytes bytes;
    struct dtqi_slice key = key_of(&entry->key, &bytes);
    dtq_err err = del_of_task(j, tx, TABLE_IDS, journal_id_slice(id), id);

    if (err == DTQ_OK)
        err = del_of_task(j, tx, TABLE_TASKS, key, id);
    if (err == DTQ_OK && (entry->flags & JOURNAL_HAS_COUNTERS) != 0)
        err = del_of_task(j, tx, TABLE_COUNTERS, key, id);
    if (err == DTQ_OK && (entry->flags & JOURNAL_HAS_HISTORY) != 0)
        err = del_of_task(j, tx, TABLE_HISTORY, journal_id_slice(id), id);
    if (err == DTQ_OK && entry->common != 0 && !journal_commons_take(j->commons, entry->common))
        err = journal_bad_task(j, id);
    return err == DTQ_OK ? queue_take(j, id, entry) : err;
}

/* What is removed may be of a queue that the core does not know of this task. */
static void say_where(struct journal_op *op, const struct journal_entry *entry)
{
    op->task.key = entry->key;
    op->bytes = entry->bytes;
}

static dtq_err op_counters(struct journal *j, struct store_tx *tx, const struct journal_task *task)
{
    struct journal_entry entry;
    dtq_err err = journal_find(j, tx, &task->id, &entry);

    if (err != DTQ_OK)
        return err;
    if ((entry.flags & JOURNAL_HAS_COUNTERS) == 0) {
        entry.flags |= JOURNAL_HAS_COUNTERS;
        err = put_entry(tx, &task->id, &entry, STORE_SPARE);
    }
    return err == DTQ_OK ? put_counters(tx, &entry.key, &task->counters) : err;
}

dtq_err journal_resolve(struct journal *j, struct journal_record *record)
{
    struct journal_common common;

    if (record->common == 0)
        return DTQ_OK;
    if (!journal_commons_get(j->commons, record->common, &common))
        return journal_bad_task(j, &record->id);
    record->common = 0;
    record->sink = common.sink;
    record->reply_to = common.reply_to;
    record->spec = common.spec;
    return DTQ_OK;
}

/* A copy of the task's record, since the next write may move what the store lends. */
static dtq_err copy_record(struct journal *j, struct store_tx *tx, const dtq_id *id,
                           const struct journal_entry *entry, struct dtqi_slice *ret_record)
{
    struct key_bytes bytes;
    struct dtqi_slice value;
    struct journal_record record;
    struct journal_out out;
    dtq_err err = store_get(tx, TABLE_TASKS, key_of(&entry->key, &bytes), &value);

    if (err == DTQ_ENOTFOUND ||
        (err == DTQ_OK && (!journal_record_in(value, &record) || !dtqi_id_eq(&record.id, id))))
        return journal_bad_task(j, id);
    if (err == DTQ_OK)
        err = scratch_of(j, value.len, &out);
    if (err != DTQ_OK)
        return err;
    journal_out_bytes(&out, value.at, value.len);
    *ret_record = journal_out_slice(&out);
    return DTQ_OK;
}

/* More of what the store lends, behind the copy that was made last. */
static dtq_err copy_behind(struct journal *j, struct dtqi_slice *copied, struct dtqi_slice *more)
{
    struct journal_out out;
    dtq_err err = scratch_of(j, (size_t)copied->len + more->len, &out);

    if (err != DTQ_OK)
        return err;
    out.len = copied->len;
    journal_out_bytes(&out, more->at, more->len);
    *copied = (struct dtqi_slice){out.at, copied->len};
    *more = (struct dtqi_slice){out.at + copied->len, more->len};
    return DTQ_OK;
}

/* Put at `to` what was read at entry->key: the record, and the counters if there are any. */
static dtq_err move_records(struct journal *j, struct store_tx *tx, const dtq_id *id,
                            const struct journal_entry *entry, const struct journal_key *to)
{
    struct key_bytes from_bytes;
    struct key_bytes to_bytes;
    struct dtqi_slice from_key = key_of(&entry->key, &from_bytes);
    struct dtqi_slice record = {0};
    struct journal_counters counters;
    dtq_err err = copy_record(j, tx, id, entry, &record);

    if (err == DTQ_OK)
        err = journal_find_counters(j, tx, id, entry, &counters);
    if (err == DTQ_OK)
        err = store_put(tx, TABLE_TASKS, key_of(to, &to_bytes), record,
                        STORE_IF_ABSENT | STORE_SPARE);
    if (err == DTQ_ECONFLICT)
        return journal_bad_task(j, id);
    if (err == DTQ_OK)
        err = del_of_task(j, tx, TABLE_TASKS, from_key, id);
    if (err != DTQ_OK || (entry->flags & JOURNAL_HAS_COUNTERS) == 0)
        return err;
    err = put_counters(tx, to, &counters);
    return err == DTQ_OK ? del_of_task(j, tx, TABLE_COUNTERS, from_key, id) : err;
}

static bool is_same_place(const struct journal_key *a, const struct journal_key *b)
{
    return journal_key_compare(a, b) == 0 && a->queue == b->queue && a->rank == b->rank;
}

static dtq_err op_move(struct journal *j, struct store_tx *tx, const dtq_id *id,
                       const struct journal_key *to)
{
    struct journal_entry entry;
    struct journal_entry moved;
    dtq_err err = journal_find(j, tx, id, &entry);

    assert(to->rank < DTQI_PRIORITIES);
    if (err != DTQ_OK || is_same_place(&entry.key, to))
        return err;
    moved = entry;
    moved.key = *to;
    err = move_records(j, tx, id, &entry, to);
    if (err == DTQ_OK)
        err = put_entry(tx, id, &moved, STORE_SPARE);
    if (err == DTQ_OK)
        err = queue_take(j, id, &entry);
    if (err != DTQ_OK)
        return err;
    seq_seen(j, to->seq);
    return queue_add(j, to, entry.bytes);
}

/* As a move, of a record that is written anew. */
static dtq_err transfer_record(struct journal *j, struct store_tx *tx, const struct journal_op *op,
                               const struct journal_entry *entry, struct journal_entry *moved)
{
    const dtq_id *id = &op->task.id;
    struct journal_task task = {.id = *id, .key = moved->key, .spec = op->task.spec};
    struct journal_record record = {0};
    struct dtqi_slice raw = {0};
    struct key_bytes bytes;
    dtq_err err = copy_record(j, tx, id, entry, &raw);

    if (err == DTQ_OK && !journal_record_in(raw, &record))
        err = journal_bad_task(j, id);
    if (err == DTQ_OK)
        err = journal_resolve(j, &record);
    if (err != DTQ_OK)
        return err;
    task.body = record.body;
    record.spec = task.spec;
    record.common = journal_commons_add(j->commons, record.sink, record.reply_to, record.spec);
    moved->common = record.common;
    moved->bytes = record.spec.len + record.body.len;
    err = put_record(j, tx, &task, &record, STORE_IF_ABSENT | STORE_SPARE);
    if (err == DTQ_OK)
        err = del_of_task(j, tx, TABLE_TASKS, key_of(&entry->key, &bytes), id);
    if (err == DTQ_OK && entry->common != 0 && !journal_commons_take(j->commons, entry->common))
        err = journal_bad_task(j, id);
    return err;
}

static dtq_err transfer_counters(struct journal *j, struct store_tx *tx, const dtq_id *id,
                                 const struct journal_entry *entry, const struct journal_key *to)
{
    struct journal_counters counters;
    struct key_bytes bytes;
    dtq_err err = journal_find_counters(j, tx, id, entry, &counters);

    if (err != DTQ_OK || (entry->flags & JOURNAL_HAS_COUNTERS) == 0)
        return err;
    err = put_counters(tx, to, &counters);
    return err == DTQ_OK ? del_of_task(j, tx, TABLE_COUNTERS, key_of(&entry->key, &bytes), id)
                         : err;
}

static dtq_err op_transfer(struct journal *j, struct store_tx *tx, const struct journal_op *op)
{
    const dtq_id *id = &op->task.id;
    struct journal_entry entry;
    struct journal_entry moved;
    dtq_err err = journal_find(j, tx, id, &entry);

    if (err != DTQ_OK || entry.key.queue == op->to.queue)
        return err;
    moved = entry;
    moved.key.queue = op->to.queue;
    err = transfer_record(j, tx, op, &entry, &moved);
    if (err == DTQ_OK)
        err = transfer_counters(j, tx, id, &entry, &moved.key);
    if (err == DTQ_OK)
        err = put_entry(tx, id, &moved, STORE_SPARE);
    if (err == DTQ_OK)
        err = queue_take(j, id, &entry);
    return err == DTQ_OK ? queue_add(j, &moved.key, moved.bytes) : err;
}

/* ---- history */

static uint32_t history_entries(struct dtqi_slice history)
{
    struct dtqi_slice entry;
    uint32_t n = 0;

    while (journal_history_next(&history, &entry))
        n++;
    return n;
}

/* What stays of a history when an entry of `bytes` comes. */
static struct dtqi_slice history_cut(struct dtqi_slice history, uint32_t bytes)
{
    uint32_t n = history_entries(history);
    struct dtqi_slice entry;

    while (n > 0 &&
           (n >= JOURNAL_HISTORY_MAX || history.len + bytes + 4 > JOURNAL_HISTORY_BYTES_MAX)) {
        (void)journal_history_next(&history, &entry);
        n--;
    }
    return n > 0 ? history : (struct dtqi_slice){0};
}

/* Borrowed from the store; empty when there is none. */
static dtq_err find_history(struct journal *j, struct store_tx *tx, const dtq_id *id,
                            const struct journal_entry *entry, struct dtqi_slice *ret)
{
    dtq_err err;

    *ret = (struct dtqi_slice){0};
    if ((entry->flags & JOURNAL_HAS_HISTORY) == 0)
        return DTQ_OK;
    err = store_get(tx, TABLE_HISTORY, journal_id_slice(id), ret);
    return err == DTQ_ENOTFOUND ? journal_bad_task(j, id) : err;
}

static dtq_err op_attempt_log(struct journal *j, struct store_tx *tx, const dtq_id *id,
                              struct dtqi_slice text)
{
    struct journal_entry entry;
    struct dtqi_slice old;
    struct journal_out out;
    dtq_err err = journal_find(j, tx, id, &entry);

    if (err == DTQ_OK)
        err = find_history(j, tx, id, &entry, &old);
    if (err != DTQ_OK)
        return err;
    old = history_cut(old, text.len);
    err = scratch_of(j, (size_t)old.len + 4 + text.len, &out);
    if (err != DTQ_OK)
        return err;
    journal_out_bytes(&out, old.at, old.len);
    journal_out_u32(&out, text.len);
    journal_out_bytes(&out, text.at, text.len);
    err = store_put(tx, TABLE_HISTORY, journal_id_slice(id), journal_out_slice(&out), STORE_SPARE);
    if (err != DTQ_OK || (entry.flags & JOURNAL_HAS_HISTORY) != 0)
        return err;
    entry.flags |= JOURNAL_HAS_HISTORY;
    return put_entry(tx, id, &entry, STORE_SPARE);
}

/* ---- attempts of tasks that are no more */

/* A copy, since the next write may move what the store lends. */
static dtq_err keep_past(struct journal *j, struct store_tx *tx, const struct journal_op *op,
                         struct dtqi_slice history)
{
    struct journal_out out;
    dtq_err err = scratch_of(j, history.len + 1u, &out);

    if (err != DTQ_OK)
        return err;
    journal_out_bytes(&out, history.at, history.len);
    return journal_past_keep(tx, &op->task.id, op->at_wall_ms, journal_out_slice(&out), op->text);
}

static dtq_err op_del(struct journal *j, struct store_tx *tx, struct journal_op *op)
{
    const dtq_id *id = &op->task.id;
    struct dtqi_slice history = {0};
    struct journal_entry entry = {0};
    dtq_err found = journal_find(j, tx, id, &entry);
    dtq_err err = found;

    say_where(op, &entry);
    if (found == DTQ_OK)
        err = find_history(j, tx, id, &entry, &history);
    if ((err == DTQ_OK || err == DTQ_ENOTFOUND) && op->at_wall_ms != 0)
        err = keep_past(j, tx, op, history);
    return err == DTQ_OK && found == DTQ_OK ? remove_task(j, tx, id, &entry) : err;
}

/* ---- dead letters */

/* Forget the oldest ids, so that there is room for one more. */
static dtq_err bound_dead(struct store_tx *tx)
{
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    dtq_err err;

    if (store_count(tx, TABLE_DEAD) < JOURNAL_DEAD_MAX)
        return DTQ_OK;
    err = store_cursor_open(tx, TABLE_DEAD, false, &c);
    if (err != DTQ_OK)
        return err;
    err = store_seek(c, (struct dtqi_slice){0}, &key, &value);
    if (err == DTQ_OK || err == DTQ_ECORRUPT) /* a damaged one may go as well */
        err = store_cursor_del(c);
    store_cursor_close(c);
    return err;
}

/* A dead letter stands alone: what the task had in common with others is written out. */
static dtq_err write_dead(struct store_tx *tx, const dtq_id *id, const struct journal_dead *dead,
                          const struct journal_record *record)
{
    uint8_t dead_room[JOURNAL_DEAD_HEAD_BYTES_MAX];
    uint8_t record_room[JOURNAL_HEAD_BYTES_MAX];
    struct journal_out dead_head = {.at = dead_room};
    struct journal_out record_head = {.at = record_room};
    struct dtqi_slice pieces[6] = {
        [1] = dead->text, [2] = dead->history, [4] = record->spec, [5] = record->body};

    journal_dead_head_out(&dead_head, dead);
    journal_head_out(&record_head, record);
    pieces[0] = journal_out_slice(&dead_head);
    pieces[3] = journal_out_slice(&record_head);
    return store_put_pieces(tx, TABLE_DEAD, journal_id_slice(id), pieces, 6, STORE_SPARE);
}

static dtq_err put_dead(struct journal *j, struct store_tx *tx, const struct journal_op *op,
                        const struct journal_entry *entry)
{
    struct journal_dead dead = {.key = entry->key, .at_wall_ms = op->at_wall_ms, .text = op->text};
    struct journal_record record = {0};
    struct dtqi_slice raw = {0};
    const dtq_id *id = &op->task.id;
    dtq_err err = copy_record(j, tx, id, entry, &raw);

    dead.key.queue = journal_queue_of(j, entry->key.queue);
    if (err == DTQ_OK)
        err = find_history(j, tx, id, entry, &dead.history);
    if (err == DTQ_OK)
        err = copy_behind(j, &raw, &dead.history);
    if (err == DTQ_OK && !journal_record_in(raw, &record))
        err = journal_bad_task(j, id);
    if (err == DTQ_OK)
        err = journal_resolve(j, &record);
    if (has_counters(&op->task.counters))
        dead.counters = op->task.counters;
    else if (err == DTQ_OK)
        err = journal_find_counters(j, tx, id, entry, &dead.counters);
    return err == DTQ_OK ? write_dead(tx, id, &dead, &record) : err;
}

static dtq_err op_dead(struct journal *j, struct store_tx *tx, struct journal_op *op)
{
    struct journal_entry entry = {0};
    dtq_err err = journal_find(j, tx, &op->task.id, &entry);

    say_where(op, &entry);
    if (err == DTQ_OK)
        err = bound_dead(tx);
    if (err == DTQ_OK)
        err = put_dead(j, tx, op, &entry);
    return err == DTQ_OK ? remove_task(j, tx, &op->task.id, &entry) : err;
}

/* ---- writing: a batch */

static dtq_err apply_queue(struct journal *j, const struct journal_queue *wanted)
{
    struct journal_queue_slot *slot = queue_find(j, wanted->number);

    assert(wanted->number != 0);
    assert(memchr(wanted->name, '\0', sizeof wanted->name) != NULL);
    if (slot == NULL) {
        struct journal_queue fresh = *wanted;

        fresh.ready = 0;
        fresh.delayed = 0;
        fresh.bytes = 0;
        return queue_insert(j, &fresh);
    }
    assert(strcmp(slot->queue.name, wanted->name) == 0);
    slot->queue.settings = wanted->settings;
    return DTQ_OK;
}

static dtq_err apply_queues(struct journal *j, const struct journal_batch *batch)
{
    dtq_err err = DTQ_OK;

    for (uint32_t i = 0; i < batch->queues_n && err == DTQ_OK; i++) {
        const struct journal_queue *wanted = &batch->queues[i];

        if (wanted->gone)
            continue;
        err = apply_queue(j, wanted);
        if (err == DTQ_OK)
            err = queue_mark(j, queue_find(j, wanted->number));
    }
    return err;
}

/* Nothing that a sink says counts any more once it was removed. */
static dtq_err forget_applied(struct store_tx *tx, const dtqi_uid *sink)
{
    dtq_err err = store_del(tx, TABLE_APPLIED, journal_uid_slice(sink));

    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err apply_sink(struct journal *j, struct store_tx *tx, const struct journal_sink *sink)
{
    struct journal_sink_number *known = sink_find(j, &sink->store);
    struct journal_sink_record record = {.registered = !sink->removed, .sink = *sink};
    dtq_err err;

    assert(memchr(sink->intake, '\0', sizeof sink->intake) != NULL);
    assert(memchr(sink->results, '\0', sizeof sink->results) != NULL);
    record.number = known != NULL ? known->number : sink_number_next(j);
    err = put_sink(tx, &record);
    if (err == DTQ_OK && sink->removed)
        err = forget_applied(tx, &sink->store);
    if (err != DTQ_OK)
        return err;
    if (known == NULL)
        return sink_remember(j, &sink->store, record.number, record.registered);
    known->registered = record.registered;
    return DTQ_OK;
}

static dtq_err apply_worker(struct store_tx *tx, const struct journal_worker *worker)
{
    struct dtqi_slice key = journal_uid_slice(&worker->instance);
    dtq_err err;

    if (!worker->gone)
        return store_put(tx, TABLE_WORKERS, key, (struct dtqi_slice){0}, STORE_SPARE);
    err = store_del(tx, TABLE_WORKERS, key);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err apply_applied(struct store_tx *tx, const struct journal_applied *applied)
{
    uint8_t room[24];
    struct journal_out out = {.at = room};

    journal_out_bytes(&out, applied->run.bytes, 16);
    journal_out_u64(&out, applied->number);
    return store_put(tx, TABLE_APPLIED, journal_uid_slice(&applied->sink), journal_out_slice(&out),
                     STORE_SPARE);
}

static dtq_err apply_rosters(struct journal *j, struct store_tx *tx,
                             const struct journal_batch *batch)
{
    dtq_err err = DTQ_OK;

    for (uint32_t i = 0; i < batch->sinks_n && err == DTQ_OK; i++)
        err = apply_sink(j, tx, &batch->sinks[i]);
    for (uint32_t i = 0; i < batch->workers_n && err == DTQ_OK; i++)
        err = apply_worker(tx, &batch->workers[i]);
    for (uint32_t i = 0; i < batch->applied_n && err == DTQ_OK; i++)
        err = apply_applied(tx, &batch->applied[i]);
    return err;
}

static dtq_err op_dead_del(struct journal *j, struct store_tx *tx, const struct journal_op *op)
{
    struct dtqi_slice key = journal_id_slice(&op->task.id);
    struct dtqi_slice value;
    struct journal_dead dead;
    dtq_err err = DTQ_OK;

    if (op->at_wall_ms != 0 && store_get(tx, TABLE_DEAD, key, &value) == DTQ_OK &&
        journal_dead_in(value, &dead))
        err = keep_past(j, tx, op, dead.history);
    return err == DTQ_OK ? store_del(tx, TABLE_DEAD, key) : err;
}

/* ---- idempotency keys */

static dtq_err del_key_end(struct store_tx *tx, uint64_t until_wall_ms, struct dtqi_slice key)
{
    uint8_t room[JOURNAL_KEY_END_BYTES_MAX];
    struct journal_out end = {.at = room};
    dtq_err err;

    journal_key_end_out(&end, until_wall_ms, key);
    err = store_del(tx, TABLE_KEY_ENDS, journal_out_slice(&end));
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

dtq_err journal_find_key(struct journal *j, struct store_tx *tx, struct dtqi_slice key,
                         struct journal_key_record *ret)
{
    struct dtqi_slice value;
    dtq_err err = store_get(tx, TABLE_KEYS, key, &value);

    *ret = (struct journal_key_record){0};
    if (err == DTQ_OK && !journal_key_record_in(value, ret))
        return bad_record(j, TABLE_KEYS);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err op_key(struct journal *j, struct store_tx *tx, const struct journal_op *op)
{
    struct journal_key_record record = {
        .id = op->task.id, .digest = op->digest, .until_wall_ms = op->at_wall_ms};
    struct journal_key_record before;
    uint8_t room[JOURNAL_KEY_RECORD_BYTES];
    uint8_t end_room[JOURNAL_KEY_END_BYTES_MAX];
    struct journal_out out = {.at = room};
    struct journal_out end = {.at = end_room};
    dtq_err err = journal_find_key(j, tx, op->text, &before);

    assert(op->text.len != 0);
    assert(op->text.len <= DTQI_NAME_BYTES_MAX);
    if (err == DTQ_OK && before.found)
        err = del_key_end(tx, before.until_wall_ms, op->text);
    if (err != DTQ_OK)
        return err;
    journal_key_record_out(&out, &record);
    journal_key_end_out(&end, record.until_wall_ms, op->text);
    err = store_put(tx, TABLE_KEYS, op->text, journal_out_slice(&out), 0);
    return err == DTQ_OK
               ? store_put(tx, TABLE_KEY_ENDS, journal_out_slice(&end), (struct dtqi_slice){0}, 0)
               : err;
}

/* The first of the table whose time is over. DTQ_ENOTFOUND: there is none. */
static dtq_err first_ended_key(struct journal *j, struct store_cursor *c, uint64_t wall_ms,
                               uint8_t *ret_key, uint32_t *ret_bytes)
{
    struct dtqi_slice end;
    struct dtqi_slice value;
    struct dtqi_slice key;
    uint64_t until;
    dtq_err err = store_seek(c, (struct dtqi_slice){0}, &end, &value);

    if (err != DTQ_OK)
        return err;
    if (!journal_key_end_in(end, &until, &key) || key.len > DTQI_NAME_BYTES_MAX)
        return bad_record(j, TABLE_KEY_ENDS);
    if (until > wall_ms)
        return DTQ_ENOTFOUND;
    memcpy(ret_key, key.at, key.len);
    *ret_bytes = key.len;
    return store_cursor_del(c);
}

static dtq_err op_keys_forget(struct journal *j, struct store_tx *tx, uint64_t wall_ms)
{
    uint8_t key[DTQI_NAME_BYTES_MAX];
    struct store_cursor *c;
    uint32_t bytes = 0;
    dtq_err err = store_cursor_open(tx, TABLE_KEY_ENDS, false, &c);

    for (uint32_t i = 0; err == DTQ_OK && i < JOURNAL_KEYS_FORGOTTEN_MAX; i++) {
        err = first_ended_key(j, c, wall_ms, key, &bytes);
        if (err == DTQ_OK)
            err = store_del(tx, TABLE_KEYS, (struct dtqi_slice){key, bytes});
    }
    store_cursor_close(c);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

/* ---- cron entries */

static struct dtqi_slice cron_key(const struct journal_cron *cron)
{
    return (struct dtqi_slice){cron->name.at, cron->name.len};
}

static dtq_err put_cron_state(struct store_tx *tx, const struct journal_cron *cron)
{
    uint8_t room[JOURNAL_CRON_STATE_BYTES_MAX];
    struct journal_out out = {.at = room};

    journal_cron_state_out(&out, &cron->state);
    return store_put(tx, TABLE_CRON_STATES, cron_key(cron), journal_out_slice(&out), STORE_SPARE);
}

static dtq_err op_cron_put(struct store_tx *tx, const struct journal_cron *cron)
{
    uint8_t room[JOURNAL_CRON_HEAD_BYTES_MAX];
    struct journal_out head = {.at = room};
    struct dtqi_slice pieces[3];
    dtq_err err;

    assert(dtqi_is_name(cron->name));
    assert(cron->expression.len <= DTQI_CRON_TEXT_BYTES_MAX);
    assert(cron->zone.len <= DTQI_CRON_TEXT_BYTES_MAX);
    journal_cron_head_out(&head, cron);
    pieces[0] = journal_out_slice(&head);
    pieces[1] = cron->spec;
    pieces[2] = cron->body;
    err = store_put_pieces(tx, TABLE_CRON, cron_key(cron), pieces, 3, 0);
    return err == DTQ_OK ? put_cron_state(tx, cron) : err;
}

static dtq_err op_cron_state(struct journal *j, struct store_tx *tx,
                             const struct journal_cron *cron)
{
    struct journal_cron_state was;
    struct dtqi_slice value;
    dtq_err err = store_get(tx, TABLE_CRON_STATES, cron_key(cron), &value);

    if (err != DTQ_OK)
        return err;
    if (!journal_cron_state_in(value, &was))
        return bad_record(j, TABLE_CRON_STATES);
    return dtqi_uid_eq(&was.uid, &cron->state.uid) ? put_cron_state(tx, cron) : DTQ_ENOTFOUND;
}

static dtq_err op_cron_del(struct store_tx *tx, const struct journal_cron *cron)
{
    dtq_err err = store_del(tx, TABLE_CRON, cron_key(cron));

    return err == DTQ_OK ? store_del(tx, TABLE_CRON_STATES, cron_key(cron)) : err;
}

/* @return DTQ_ENOTFOUND and DTQ_ECONFLICT, too: the id is not there, or is there already. */
static dtq_err apply_op(struct journal *j, struct store_tx *tx, struct journal_op *op)
{
    switch (op->type) {
    case JOURNAL_PUT: return op_put(j, tx, &op->task);
    case JOURNAL_DEL: return op_del(j, tx, op);
    case JOURNAL_COUNTERS: return op_counters(j, tx, &op->task);
    case JOURNAL_MOVE: return op_move(j, tx, &op->task.id, &op->to);
    case JOURNAL_DEAD: return op_dead(j, tx, op);
    case JOURNAL_ATTEMPT_LOG: return op_attempt_log(j, tx, &op->task.id, op->text);
    case JOURNAL_DEAD_DEL: return op_dead_del(j, tx, op);
    case JOURNAL_KEY: return op_key(j, tx, op);
    case JOURNAL_KEYS_FORGET: return op_keys_forget(j, tx, op->at_wall_ms);
    case JOURNAL_TRANSFER: return op_transfer(j, tx, op);
    case JOURNAL_PAST_FORGET: return journal_past_forget(tx, op->at_wall_ms);
    case JOURNAL_CRON_PUT: return op_cron_put(tx, op->cron);
    case JOURNAL_CRON_STATE: return op_cron_state(j, tx, op->cron);
    case JOURNAL_CRON_DEL: return op_cron_del(tx, op->cron);
    }
    assert(!"a type of struct journal_op");
    return DTQ_EINVAL;
}

static dtq_err apply_ops(struct journal *j, struct store_tx *tx, struct journal_batch *batch)
{
    for (uint32_t i = 0; i < batch->ops_n; i++) {
        dtq_err err = apply_op(j, tx, &batch->ops[i]);

        if (err == DTQ_ECONFLICT)
            batch->present[batch->present_n++] = i;
        else if (err != DTQ_OK && err != DTQ_ENOTFOUND)
            return err;
    }
    return DTQ_OK;
}

static dtq_err write_queues(struct journal *j, struct store_tx *tx)
{
    uint8_t key[4];
    uint8_t value[JOURNAL_QUEUE_BYTES_MAX];

    for (uint32_t i = 0; i < j->dirty_n; i++) {
        const struct journal_queue *queue = &j->queues[j->dirty[i]].queue;
        struct journal_out key_out = {.at = key};
        struct journal_out value_out = {.at = value};
        dtq_err err;

        journal_out_u32(&key_out, queue->number);
        journal_queue_out(&value_out, queue);
        err = store_put(tx, TABLE_QUEUES, journal_out_slice(&key_out),
                        journal_out_slice(&value_out), STORE_SPARE);
        if (err != DTQ_OK)
            return err;
    }
    return DTQ_OK;
}

/* A group that is to be forgotten, and has tasks all the same, stays. */
static bool is_empty(struct journal *j, uint32_t number)
{
    const struct journal_queue_slot *slot = queue_find(j, number);

    return slot == NULL || (slot->queue.ready == 0 && slot->queue.delayed == 0);
}

static dtq_err delete_queues(struct journal *j, struct store_tx *tx, struct journal_batch *batch)
{
    for (uint32_t i = 0; i < batch->queues_n; i++) {
        struct journal_queue *queue = &batch->queues[i];
        uint8_t room[4];
        struct journal_out key = {.at = room};
        dtq_err err;

        queue->gone = queue->gone && is_empty(j, queue->number);
        if (!queue->gone)
            continue;
        journal_out_u32(&key, queue->number);
        err = store_del(tx, TABLE_QUEUES, journal_out_slice(&key));
        if (err != DTQ_OK && err != DTQ_ENOTFOUND)
            return err;
    }
    return DTQ_OK;
}

static void queues_written(struct journal *j, const struct journal_batch *batch)
{
    while (j->dirty_n > 0)
        j->queues[j->dirty[--j->dirty_n]].dirty = false;
    for (uint32_t i = 0; i < batch->queues_n; i++)
        if (batch->queues[i].gone && queue_find(j, batch->queues[i].number) != NULL)
            queue_remove(j, batch->queues[i].number);
}

/* Reserve a block ahead, so that most batches need not write this. */
static dtq_err write_seq(struct journal *j, struct store_tx *tx)
{
    if (j->seq_next <= j->seq_reserved)
        return DTQ_OK;
    j->seq_reserved = j->seq_next + SEQ_BLOCK;
    return meta_put(tx, "seq", j->seq_reserved);
}

static bool is_mark_due(const struct journal *j, const struct steady_mark *mark)
{
    return mark->steady_ms != 0 && steady_is_mark_due(&j->mark, mark);
}

static dtq_err apply_batch(struct journal *j, struct journal_batch *batch)
{
    struct store_tx *tx;
    dtq_err err = store_begin(j->store, true, &tx);

    if (err != DTQ_OK)
        return err;
    err = apply_queues(j, batch);
    if (err == DTQ_OK)
        err = apply_rosters(j, tx, batch);
    if (err == DTQ_OK)
        err = apply_ops(j, tx, batch);
    if (err == DTQ_OK)
        err = write_queues(j, tx);
    if (err == DTQ_OK)
        err = delete_queues(j, tx, batch);
    if (err == DTQ_OK)
        err = journal_commons_write(j->commons, tx, TABLE_COMMON);
    if (err == DTQ_OK)
        err = write_seq(j, tx);
    if (err == DTQ_OK && is_mark_due(j, &batch->mark))
        err = mark_put(tx, &batch->mark);
    if (err != DTQ_OK) {
        store_abort(tx);
        return err;
    }
    batch->keys_n = store_count(tx, TABLE_KEYS);
    batch->past_n = store_count(tx, TABLE_PAST) / 2;
    return store_commit(tx);
}

void journal_apply(struct journal *j, struct journal_batch *batch)
{
    j->errmsg[0] = '\0';
    batch->present_n = 0;
    if (j->stale)
        restore_memory(j);
    batch->err = journal_result(j, j->stale ? DTQ_EIO : apply_batch(j, batch));
    if (batch->err == DTQ_OK) {
        queues_written(j, batch);
        journal_commons_written(j->commons);
        if (is_mark_due(j, &batch->mark))
            j->mark = batch->mark;
    } else {
        batch->present_n = 0;
        restore_memory(j);
    }
    store_space(j->store, &batch->space_used, &batch->space_max);
}

/* ---- opening */

static dtq_err check_format(struct journal *j, struct store_tx *tx)
{
    uint64_t format;
    dtq_err err = meta_get(j, tx, "format", &format);

    if (err != DTQ_OK)
        return err;
    if (format == 0 && store_count(tx, TABLE_META) == 0)
        return meta_put(tx, "format", JOURNAL_FORMAT);
    if (format == 0)
        return bad_record(j, TABLE_META);
    if (format > JOURNAL_FORMAT)
        return journal_error(j, DTQ_ECORRUPT,
                             "the journal was written by a newer dtq (format %llu, this one knows "
                             "%u); use that version",
                             (unsigned long long)format, JOURNAL_FORMAT);
    return DTQ_OK;
}

/* The epoch of this start is on the disk before anybody can hear of it (R, Names). */
static dtq_err commit_epoch(struct journal *j, uint32_t random32, uint64_t *ret_epoch)
{
    struct store_tx *tx;
    uint64_t counter;
    dtq_err err = store_begin(j->store, true, &tx);

    if (err != DTQ_OK)
        return err;
    err = check_format(j, tx);
    if (err == DTQ_OK)
        err = meta_get(j, tx, "epoch", &counter);
    if (err == DTQ_OK && counter >= UINT32_MAX)
        err = bad_record(j, TABLE_META);
    if (err == DTQ_OK)
        err = meta_put(tx, "epoch", counter + 1);
    if (err != DTQ_OK) {
        store_abort(tx);
        return err;
    }
    *ret_epoch = (counter + 1) << 32 | random32;
    err = store_commit(tx);
    return err == DTQ_OK ? store_sync(j->store) : err; /* with STORE_ASYNC the commit may be lost */
}

static dtq_err take_applied(struct journal *j, void *arg, struct dtqi_slice key,
                            struct dtqi_slice value)
{
    struct journal_start *start = arg;
    struct journal_applied applied;
    struct journal_in sink = journal_in_of(key);
    struct journal_in in = journal_in_of(value);

    if (!journal_in_bytes(&sink, applied.sink.bytes, 16) || sink.len != 0 ||
        !journal_in_bytes(&in, applied.run.bytes, 16) || !journal_in_u64(&in, &applied.number) ||
        in.len != 0)
        return bad_record(j, TABLE_APPLIED);
    start->applied[start->applied_n++] = applied;
    return DTQ_OK;
}

static dtq_err take_worker(struct journal *j, void *arg, struct dtqi_slice key,
                           struct dtqi_slice value)
{
    struct journal_start *start = arg;
    struct journal_worker worker = {0};
    struct journal_in in = journal_in_of(key);

    if (!journal_in_bytes(&in, worker.instance.bytes, 16) || in.len != 0 || value.len != 0)
        return bad_record(j, TABLE_WORKERS);
    start->workers[start->workers_n++] = worker;
    return DTQ_OK;
}

static dtq_err take_sink(struct journal *j, void *arg, struct dtqi_slice key,
                         struct dtqi_slice value)
{
    struct journal_start *start = arg;
    struct journal_sink_record record;

    if (!journal_sink_in(key, value, &record))
        return bad_record(j, TABLE_SINKS);
    if (record.registered || record.sink.removed)
        start->sinks[start->sinks_n++] = record.sink;
    return DTQ_OK;
}

static bool keep_slice(struct dtqi_buf *buf, const void **at, uint32_t bytes)
{
    void *copy = dtqi_buf_alloc(buf, bytes + 1u);

    if (copy == NULL)
        return false;
    if (bytes != 0)
        memcpy(copy, *at, bytes);
    *at = copy;
    return true;
}

static bool keep_cron(struct dtqi_buf *buf, struct journal_cron *cron)
{
    return keep_slice(buf, (const void **)&cron->name.at, cron->name.len) &&
           keep_slice(buf, (const void **)&cron->expression.at, cron->expression.len) &&
           keep_slice(buf, (const void **)&cron->zone.at, cron->zone.len) &&
           keep_slice(buf, &cron->spec.at, cron->spec.len) &&
           keep_slice(buf, &cron->body.at, cron->body.len);
}

static dtq_err take_cron(struct journal *j, void *arg, struct dtqi_slice key,
                         struct dtqi_slice value)
{
    struct journal_start *start = arg;
    struct journal_cron *cron = &start->crons[start->crons_n];

    if (!journal_cron_in(key, value, cron))
        return bad_record(j, TABLE_CRON);
    if (!keep_cron(start->cron_buf, cron))
        return no_memory(j);
    start->crons_n++;
    return DTQ_OK;
}

static dtq_err load_crons(struct journal *j, struct store_tx *tx, struct journal_start *start)
{
    dtq_err err;

    start->cron_buf = dtqi_buf_new(CRON_BUF_FIRST_BYTES, SIZE_MAX);
    err = start->cron_buf != NULL ? each_record(j, tx, TABLE_CRON, take_cron, start) : no_memory(j);
    for (uint32_t i = 0; err == DTQ_OK && i < start->crons_n; i++) {
        struct journal_cron *cron = &start->crons[i];
        struct dtqi_slice value;

        err = store_get(tx, TABLE_CRON_STATES, cron_key(cron), &value);
        if (err == DTQ_ENOTFOUND ||
            (err == DTQ_OK && (!journal_cron_state_in(value, &cron->state) ||
                               !dtqi_uid_eq(&cron->state.uid, &cron->uid))))
            err = bad_record(j, TABLE_CRON_STATES);
    }
    return err;
}

/* An array for every record of a table. */
static dtq_err room_for(struct journal *j, struct store_tx *tx, enum journal_table table,
                        size_t entry_bytes, void *ret_array)
{
    void *array = calloc(store_count(tx, table) + 1, entry_bytes);

    if (array == NULL)
        return no_memory(j);
    memcpy(ret_array, &array, sizeof array);
    return DTQ_OK;
}

static dtq_err load_start(struct journal *j, struct store_tx *tx, struct journal_start *start)
{
    dtq_err err = load_memory(j, tx);

    if (err == DTQ_OK)
        err = room_for(j, tx, TABLE_QUEUES, sizeof *start->queues, &start->queues);
    if (err == DTQ_OK)
        err = room_for(j, tx, TABLE_APPLIED, sizeof *start->applied, &start->applied);
    if (err == DTQ_OK)
        err = room_for(j, tx, TABLE_WORKERS, sizeof *start->workers, &start->workers);
    if (err == DTQ_OK)
        err = room_for(j, tx, TABLE_SINKS, sizeof *start->sinks, &start->sinks);
    if (err == DTQ_OK)
        err = room_for(j, tx, TABLE_CRON, sizeof *start->crons, &start->crons);
    if (err == DTQ_OK)
        err = load_crons(j, tx, start);
    if (err == DTQ_OK)
        err = each_record(j, tx, TABLE_APPLIED, take_applied, start);
    if (err == DTQ_OK)
        err = each_record(j, tx, TABLE_WORKERS, take_worker, start);
    if (err == DTQ_OK)
        err = each_record(j, tx, TABLE_SINKS, take_sink, start);
    if (err != DTQ_OK)
        return err;
    for (start->queues_n = 0; start->queues_n < j->queues_n; start->queues_n++)
        start->queues[start->queues_n] = j->queues[start->queues_n].queue;
    start->seq_next = j->seq_next > 0 ? j->seq_next : 1;
    start->keys_n = store_count(tx, TABLE_KEYS);
    start->past_n = store_count(tx, TABLE_PAST) / 2;
    start->dead_n = store_count(tx, TABLE_DEAD);
    start->mark = j->mark;
    return DTQ_OK;
}

static dtq_err read_start(struct journal *j, struct journal_start *start)
{
    struct store_tx *tx;
    dtq_err err = store_begin(j->store, false, &tx);

    if (err != DTQ_OK)
        return err;
    err = load_start(j, tx, start);
    store_abort(tx);
    return err;
}

dtq_err journal_open(struct store *store, uint32_t random32, struct journal **ret_journal,
                     struct journal_start *ret_start, char *why, size_t why_bytes)
{
    struct journal_start start = {.store = *store_uid(store)};
    struct journal *j = calloc(1, sizeof *j);
    dtq_err err;

    if (j != NULL)
        j->commons = journal_commons_new();
    if (j == NULL || j->commons == NULL) {
        free(j);
        (void)snprintf(why, why_bytes, "out of memory");
        return DTQ_ENOMEM;
    }
    j->store = store;
    err = commit_epoch(j, random32, &start.epoch);
    if (err == DTQ_OK)
        err = read_start(j, &start);
    if (err != DTQ_OK) {
        (void)journal_result(j, err);
        (void)snprintf(why, why_bytes, "%s", j->errmsg);
        journal_start_done(&start);
        journal_close(j);
        return err;
    }
    *ret_journal = j;
    *ret_start = start;
    return DTQ_OK;
}

dtq_err journal_start_clock(struct journal *j, const struct journal_start *start,
                            const struct host_time *now, struct steady *ret_clock)
{
    struct journal_batch batch = {0};
    bool is_empty = start->keys_n == 0 && start->dead_n == 0 && start->past_n == 0;

    for (uint32_t i = 0; i < start->queues_n; i++)
        is_empty &= start->queues[i].ready == 0 && start->queues[i].delayed == 0;
    steady_start(ret_clock, &start->mark, now, is_empty);
    batch.mark = steady_mark(ret_clock, now);
    journal_apply(j, &batch);
    if (batch.err == DTQ_OK) /* with STORE_ASYNC it may be lost, and must not be left to be done
                                by the thread that goes on */
        batch.err = store_sync(j->store);
    return batch.err != DTQ_ENOSPC ? batch.err : DTQ_OK;
}

void journal_start_done(struct journal_start *start)
{
    free(start->queues);
    free(start->applied);
    free(start->workers);
    free(start->sinks);
    free(start->crons);
    dtqi_buf_unref(start->cron_buf);
    *start = (struct journal_start){0};
}

void journal_close(struct journal *j)
{
    if (j == NULL)
        return;
    free(j->queues);
    nummap_done(&j->queue_numbers);
    free(j->dirty);
    free(j->sinks);
    free(j->scratch);
    journal_commons_free(j->commons);
    free(j);
}
