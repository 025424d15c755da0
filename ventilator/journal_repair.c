#include "journal_repair.h"

#include "journal_parts.h"

#include <stdio.h>
#include <time.h>

#define QUEUES_ROOM 64u
#define SINKS_MAX 4096u /* numbers of sinks that can be told apart; there are never as many */

struct queue_count {
    struct journal_queue is;  /* as counted */
    struct journal_queue was; /* as stored; number 0: it was not */
};

struct repair {
    struct journal_repair *r;
    struct store_tx *tx;
    struct queue_count *queues;
    uint32_t queues_n;
    uint32_t queues_room;
    struct nummap queue_numbers;               /* number -> index */
    uint64_t commons[JOURNAL_COMMONS_MAX + 1]; /* tasks of each number .. */
    bool has_common[JOURNAL_COMMONS_MAX + 1];  /* .. and whether it is there */
    uint32_t common_spec_bytes[JOURNAL_COMMONS_MAX + 1];
    uint32_t common_sink[JOURNAL_COMMONS_MAX + 1];
    bool has_sink[SINKS_MAX];
    bool needs_sink[SINKS_MAX];
    uint64_t seq_next;
};

typedef dtq_err visit(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                      struct dtqi_slice value);

/* Every record of a table; the visit may delete the one it is given. */
static dtq_err each(struct repair *p, enum journal_table table, visit *take)
{
    struct store_cursor *c;
    struct dtqi_slice key;
    struct dtqi_slice value;
    dtq_err err = store_cursor_open(p->tx, table, false, &c);

    if (err != DTQ_OK)
        return err;
    err = store_seek(c, (struct dtqi_slice){0}, &key, &value);
    while (err == DTQ_OK) {
        err = take(p, c, key, value);
        if (err == DTQ_OK)
            err = store_next(c, &key, &value);
    }
    store_cursor_close(c);
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

static dtq_err lose(struct repair *p, struct store_cursor *c, const dtq_id *id)
{
    p->r->lost++;
    if (p->r->on_lost != NULL)
        p->r->on_lost(p->r->arg, id);
    return store_cursor_del(c);
}

/* Is there a record? An answer of DTQ_OK or DTQ_ENOTFOUND is one; the others are errors. */
static dtq_err has(struct repair *p, enum journal_table table, struct dtqi_slice key, bool *ret)
{
    struct dtqi_slice value;
    dtq_err err = store_get(p->tx, table, key, &value);

    *ret = err == DTQ_OK;
    return err == DTQ_ENOTFOUND ? DTQ_OK : err;
}

/* ---- queues */

static struct queue_count *find_queue(struct repair *p, uint32_t number)
{
    uint32_t at = nummap_get(&p->queue_numbers, number);

    return at != NUMMAP_NONE ? &p->queues[at] : NULL;
}

/* A queue whose record is lost gets a name that says so: its tasks are there, and can be listed. */
static struct queue_count *add_queue(struct repair *p, uint32_t number)
{
    struct queue_count *q;

    if (p->queues_n == p->queues_room) {
        uint32_t room = 2 * p->queues_room + QUEUES_ROOM;
        struct queue_count *grown = realloc(p->queues, room * sizeof *grown);

        if (grown == NULL)
            return NULL;
        p->queues = grown;
        p->queues_room = room;
    }
    if (!nummap_set(&p->queue_numbers, number, p->queues_n))
        return NULL;
    q = &p->queues[p->queues_n++];
    *q = (struct queue_count){.is.number = number};
    (void)snprintf(q->is.name, sizeof q->is.name, "recovered-%u", number);
    return q;
}

static dtq_err take_queue(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                          struct dtqi_slice value)
{
    struct journal_queue queue;
    struct queue_count *q;

    if (!journal_queue_in(key, value, &queue))
        return store_cursor_del(c);
    q = add_queue(p, queue.number);
    if (q == NULL)
        return DTQ_ENOMEM;
    q->was = q->is = queue;
    q->is.ready = q->is.delayed = q->is.bytes = 0;
    return DTQ_OK;
}

static dtq_err put_queues(struct repair *p)
{
    dtq_err err = DTQ_OK;

    for (uint32_t i = 0; i < p->queues_n && err == DTQ_OK; i++) {
        struct queue_count *q = &p->queues[i];
        uint8_t key_room[4];
        uint8_t room[JOURNAL_QUEUE_BYTES_MAX];
        struct journal_out key = {.at = key_room};
        struct journal_out value = {.at = room};

        if (q->was.number != 0 && q->was.ready == q->is.ready && q->was.delayed == q->is.delayed &&
            q->was.bytes == q->is.bytes)
            continue;
        journal_out_u32(&key, q->is.number);
        journal_queue_out(&value, &q->is);
        err = store_put(p->tx, TABLE_QUEUES, journal_out_slice(&key), journal_out_slice(&value),
                        STORE_SPARE);
    }
    return err;
}

/* ---- what tasks have in common */

static bool parse_common(struct dtqi_slice key, struct dtqi_slice value, uint32_t *ret_number,
                         uint64_t *ret_tasks, struct dtqi_slice *ret_rest, uint32_t *ret_spec_bytes,
                         uint32_t *ret_sink)
{
    struct journal_in number = journal_in_of(key);
    struct journal_in in = journal_in_of(value);
    uint64_t reply_to;

    if (!journal_in_u32(&number, ret_number) || number.len != 0 || *ret_number == 0 ||
        *ret_number > JOURNAL_COMMONS_MAX || !journal_in_plain(&in, ret_tasks))
        return false;
    *ret_rest = (struct dtqi_slice){in.at, in.len};
    if (!journal_in_plain32(&in, ret_sink) || !journal_in_u64(&in, &reply_to))
        return false;
    *ret_spec_bytes = in.len;
    return true;
}

static dtq_err take_common(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                           struct dtqi_slice value)
{
    struct dtqi_slice rest;
    uint32_t number;
    uint32_t spec_bytes;
    uint32_t sink;
    uint64_t tasks;

    if (!parse_common(key, value, &number, &tasks, &rest, &spec_bytes, &sink))
        return store_cursor_del(c);
    p->has_common[number] = true;
    p->common_spec_bytes[number] = spec_bytes;
    p->common_sink[number] = sink;
    return DTQ_OK;
}

static dtq_err put_common(struct repair *p, uint32_t number)
{
    uint8_t key_room[4];
    uint8_t value_room[JOURNAL_COMMON_SPEC_BYTES_MAX + JOURNAL_HEAD_BYTES_MAX];
    struct journal_out key = {.at = key_room};
    struct journal_out value = {.at = value_room};
    struct dtqi_slice old;
    struct dtqi_slice rest;
    uint32_t spec_bytes;
    uint32_t sink;
    uint64_t tasks;
    dtq_err err;

    journal_out_u32(&key, number);
    if (p->commons[number] == 0)
        return store_del(p->tx, TABLE_COMMON, journal_out_slice(&key));
    err = store_get(p->tx, TABLE_COMMON, journal_out_slice(&key), &old);
    if (err != DTQ_OK)
        return err;
    if (!parse_common(journal_out_slice(&key), old, &number, &tasks, &rest, &spec_bytes, &sink) ||
        spec_bytes > JOURNAL_COMMON_SPEC_BYTES_MAX)
        return DTQ_ECORRUPT;
    if (tasks == p->commons[number])
        return DTQ_OK;
    journal_out_plain(&value, p->commons[number]);
    journal_out_bytes(&value, rest.at, rest.len);
    return store_put(p->tx, TABLE_COMMON, journal_out_slice(&key), journal_out_slice(&value),
                     STORE_SPARE);
}

static dtq_err put_commons(struct repair *p)
{
    dtq_err err = DTQ_OK;

    for (uint32_t i = 1; i <= JOURNAL_COMMONS_MAX && err == DTQ_OK; i++)
        if (p->has_common[i])
            err = put_common(p, i);
    return err;
}

/* ---- sinks */

static dtq_err take_sink(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                         struct dtqi_slice value)
{
    struct journal_sink_record record;

    if (!journal_sink_in(key, value, &record) || record.number >= SINKS_MAX)
        return store_cursor_del(c);
    p->has_sink[record.number] = true;
    return DTQ_OK;
}

/* Tasks whose sink is lost are kept: under a sink that nobody is, they wait for its successor. */
static dtq_err put_lost_sink(struct repair *p, uint32_t number)
{
    struct journal_sink_record record = {.number = number};
    uint8_t room[JOURNAL_SINK_BYTES_MAX];
    struct journal_out out = {.at = room};

    memset(record.sink.store.bytes, 0xff, sizeof record.sink.store.bytes);
    record.sink.store.bytes[14] = (uint8_t)(number >> 8);
    record.sink.store.bytes[15] = (uint8_t)number;
    journal_sink_out(&out, &record);
    return store_put(p->tx, TABLE_SINKS, journal_uid_slice(&record.sink.store),
                     journal_out_slice(&out), STORE_SPARE);
}

static dtq_err put_lost_sinks(struct repair *p)
{
    dtq_err err = DTQ_OK;

    for (uint32_t i = 1; i < SINKS_MAX && err == DTQ_OK; i++)
        if (p->needs_sink[i] && !p->has_sink[i])
            err = put_lost_sink(p, i);
    return err;
}

/* ---- tasks */

/* What the index should say of a task. */
static dtq_err make_entry(struct repair *p, struct dtqi_slice key,
                          const struct journal_record *record, struct journal_entry *ret)
{
    uint32_t spec_bytes =
        record->common != 0 ? p->common_spec_bytes[record->common] : record->spec.len;
    bool has_counters;
    bool has_history;
    dtq_err err = has(p, TABLE_COUNTERS, key, &has_counters);

    if (err == DTQ_OK)
        err = has(p, TABLE_HISTORY, journal_id_slice(&record->id), &has_history);
    if (err != DTQ_OK)
        return err;
    ret->flags =
        (has_counters ? JOURNAL_HAS_COUNTERS : 0u) | (has_history ? JOURNAL_HAS_HISTORY : 0u);
    ret->bytes = spec_bytes + record->body.len;
    ret->common = record->common;
    return DTQ_OK;
}

static dtq_err put_entry(struct repair *p, const dtq_id *id, const struct journal_entry *entry)
{
    uint8_t room[JOURNAL_ENTRY_BYTES_MAX];
    struct journal_out out = {.at = room};
    struct dtqi_slice old;
    dtq_err err = store_get(p->tx, TABLE_IDS, journal_id_slice(id), &old);

    journal_entry_out(&out, entry);
    if (err == DTQ_OK && old.len == out.len && memcmp(old.at, room, out.len) == 0)
        return DTQ_OK;
    if (err != DTQ_OK && err != DTQ_ENOTFOUND)
        return err;
    return store_put(p->tx, TABLE_IDS, journal_id_slice(id), journal_out_slice(&out), STORE_SPARE);
}

static dtq_err count(struct repair *p, const struct journal_entry *entry)
{
    struct queue_count *q = find_queue(p, entry->key.queue);

    if (q == NULL)
        q = add_queue(p, entry->key.queue);
    if (q == NULL)
        return DTQ_ENOMEM;
    *(entry->key.delayed ? &q->is.delayed : &q->is.ready) += 1;
    q->is.bytes += entry->bytes;
    p->commons[entry->common]++;
    if (entry->key.seq >= p->seq_next)
        p->seq_next = entry->key.seq + 1;
    p->r->tasks++;
    return DTQ_OK;
}

static dtq_err take_task(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                         struct dtqi_slice value)
{
    struct journal_record record;
    struct journal_entry entry = {0};
    struct journal_in in = journal_in_of(key);
    uint32_t sink;
    dtq_err err;

    if (!journal_record_in(value, &record))
        return store_cursor_del(c);
    if (!journal_key_in(&in, &entry.key) || in.len != 0 ||
        (record.common != 0 &&
         (record.common > JOURNAL_COMMONS_MAX || !p->has_common[record.common])))
        return lose(p, c, &record.id);
    sink = record.common != 0 ? p->common_sink[record.common] : record.sink;
    if (sink >= SINKS_MAX)
        return lose(p, c, &record.id);
    p->needs_sink[sink] = true;
    err = make_entry(p, key, &record, &entry);
    if (err == DTQ_OK)
        err = put_entry(p, &record.id, &entry);
    return err == DTQ_OK ? count(p, &entry) : err;
}

/* ---- what is left of tasks that are not there */

static dtq_err take_id(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                       struct dtqi_slice value)
{
    uint8_t room[JOURNAL_KEY_BYTES_MAX];
    struct journal_out out = {.at = room};
    struct journal_entry entry;
    struct journal_record record;
    struct dtqi_slice found;
    dtq_id id;
    dtq_err err;

    if (key.len != sizeof id.bytes)
        return store_cursor_del(c);
    memcpy(id.bytes, key.at, sizeof id.bytes);
    if (!journal_entry_in(value, &entry))
        return lose(p, c, &id);
    journal_key_out(&out, &entry.key);
    err = store_get(p->tx, TABLE_TASKS, journal_out_slice(&out), &found);
    if (err == DTQ_OK && journal_record_in(found, &record) && dtqi_id_eq(&record.id, &id))
        return DTQ_OK;
    return err == DTQ_OK || err == DTQ_ENOTFOUND ? lose(p, c, &id) : err;
}

static dtq_err take_of(struct repair *p, struct store_cursor *c, enum journal_table table,
                       struct dtqi_slice key)
{
    bool is_there;
    dtq_err err = has(p, table, key, &is_there);

    return err == DTQ_OK && !is_there ? store_cursor_del(c) : err;
}

static dtq_err take_counters(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                             struct dtqi_slice value)
{
    (void)value;
    return take_of(p, c, TABLE_TASKS, key);
}

static dtq_err take_history(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                            struct dtqi_slice value)
{
    (void)value;
    return take_of(p, c, TABLE_IDS, key);
}

/* ---- cron entries */

static dtq_err take_cron(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                         struct dtqi_slice value)
{
    struct journal_cron cron;

    (void)p;
    return journal_cron_in(key, value, &cron) ? DTQ_OK : store_cursor_del(c);
}

static dtq_err take_cron_state(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                               struct dtqi_slice value)
{
    struct journal_cron_state state;
    struct journal_cron cron;
    struct dtqi_slice entry;
    dtq_err err = store_get(p->tx, TABLE_CRON, key, &entry);

    if (err != DTQ_OK && err != DTQ_ENOTFOUND)
        return err;
    if (err == DTQ_OK && journal_cron_in(key, entry, &cron) &&
        journal_cron_state_in(value, &state) && dtqi_uid_eq(&state.uid, &cron.uid))
        return DTQ_OK;
    return store_cursor_del(c);
}

/* An entry whose state is lost goes on from now, and says itself that it is paused: nobody knows
 * whether it was. */
static dtq_err put_cron_state(struct repair *p, struct store_cursor *c, struct dtqi_slice key,
                              struct dtqi_slice value)
{
    uint64_t wall_ms = (uint64_t)time(NULL) * 1000;
    uint8_t name[STORE_KEY_BYTES_MAX]; /* what the store lends is not given to a write */
    uint8_t room[JOURNAL_CRON_STATE_BYTES_MAX];
    struct journal_out out = {.at = room};
    struct journal_cron cron;
    bool is_there;
    dtq_err err = has(p, TABLE_CRON_STATES, key, &is_there);

    (void)c;
    if (err != DTQ_OK || is_there || !journal_cron_in(key, value, &cron))
        return err;
    cron.state = (struct journal_cron_state){
        .uid = cron.uid, .paused = true, .cursor_wall_ms = wall_ms, .anchor_wall_ms = wall_ms};
    journal_cron_state_out(&out, &cron.state);
    memcpy(name, key.at, key.len);
    return store_put(p->tx, TABLE_CRON_STATES, (struct dtqi_slice){name, key.len},
                     journal_out_slice(&out), STORE_SPARE);
}

/* ---- numbers of the journal itself */

/* The stored number, or what stands for it when it is lost. At least `least`. */
static dtq_err mend_number(struct repair *p, const char *name, uint64_t lost, uint64_t least)
{
    struct dtqi_slice key = {name, (uint32_t)strlen(name)};
    uint8_t room[8];
    struct journal_out out = {.at = room};
    struct dtqi_slice value;
    struct journal_in in;
    uint64_t number = lost;
    dtq_err err = store_get(p->tx, TABLE_META, key, &value);

    if (err != DTQ_OK && err != DTQ_ENOTFOUND)
        return err;
    in = journal_in_of(err == DTQ_OK ? value : (struct dtqi_slice){0});
    if (err == DTQ_OK && journal_in_u64(&in, &number) && number >= least)
        return DTQ_OK;
    journal_out_u64(&out, number > least ? number : least);
    return store_put(p->tx, TABLE_META, key, journal_out_slice(&out), STORE_SPARE);
}

/* A lost count of starts becomes the time in seconds: more than any number of starts there was. */
static dtq_err mend_numbers(struct repair *p)
{
    dtq_err err = mend_number(p, "format", 1, 1);

    if (err == DTQ_OK)
        err = mend_number(p, "epoch", (uint64_t)time(NULL), 0);
    return err == DTQ_OK ? mend_number(p, "seq", p->seq_next, p->seq_next) : err;
}

static dtq_err repair_all(struct repair *p)
{
    dtq_err err = each(p, TABLE_QUEUES, take_queue);

    if (err == DTQ_OK)
        err = each(p, TABLE_SINKS, take_sink);
    if (err == DTQ_OK)
        err = each(p, TABLE_COMMON, take_common);
    if (err == DTQ_OK)
        err = each(p, TABLE_TASKS, take_task);
    if (err == DTQ_OK)
        err = each(p, TABLE_IDS, take_id);
    if (err == DTQ_OK)
        err = each(p, TABLE_COUNTERS, take_counters);
    if (err == DTQ_OK)
        err = each(p, TABLE_HISTORY, take_history);
    if (err == DTQ_OK)
        err = each(p, TABLE_CRON, take_cron);
    if (err == DTQ_OK)
        err = each(p, TABLE_CRON_STATES, take_cron_state);
    if (err == DTQ_OK)
        err = each(p, TABLE_CRON, put_cron_state);
    if (err == DTQ_OK)
        err = put_queues(p);
    if (err == DTQ_OK)
        err = put_lost_sinks(p);
    if (err == DTQ_OK)
        err = put_commons(p);
    return err == DTQ_OK ? mend_numbers(p) : err;
}

dtq_err journal_repair(struct store *s, struct journal_repair *r)
{
    struct repair *p = calloc(1, sizeof *p);
    dtq_err err = p != NULL ? DTQ_OK : DTQ_ENOMEM;

    r->tasks = r->lost = 0;
    if (err == DTQ_OK)
        err = store_begin(s, true, &p->tx);
    if (err == DTQ_OK) {
        p->r = r;
        err = repair_all(p);
        if (err == DTQ_OK)
            err = store_commit(p->tx);
        else
            store_abort(p->tx);
    }
    if (p != NULL) {
        nummap_done(&p->queue_numbers);
        free(p->queues);
    }
    free(p);
    return err;
}
