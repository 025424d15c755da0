/* The journal over both backends: what a ventilator writes is what it, or the next one, reads. */
#include "journal_parts.h"
#include "journal_repair.h"
#include "store_memory.h"

#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1024ull * 1024)
#define OPS_MAX 5000

struct world {
    bool in_memory;
    char root[64]; /* removed at the end */
    char dir[80];
    struct store_cfg cfg;
    struct store *store;
    struct journal *journal;
    struct journal_start start;
    char why[512];

    /* The batch that is being made, and the read that was answered last. */
    struct journal_batch batch;
    struct journal_op ops[OPS_MAX];
    uint32_t present[OPS_MAX];
    struct journal_read read;
};

/* ---- worlds */

static void open_store(struct world *w)
{
    static const dtqi_uid uid = {.bytes = "journal of tests"};
    dtq_err err = w->in_memory ? store_open_memory(&w->cfg, &uid, &w->store)
                               : store_open(&w->cfg, &w->store, w->why, sizeof w->why);

    if (err != DTQ_OK)
        fail_msg("cannot open the store: %s", w->why);
}

static void open_journal(struct world *w)
{
    if (journal_open(w->store, 7, &w->journal, &w->start, w->why, sizeof w->why) != DTQ_OK)
        fail_msg("cannot open the journal: %s", w->why);
}

static void close_journal(struct world *w)
{
    journal_start_done(&w->start);
    journal_close(w->journal);
    w->journal = NULL;
}

/* As after kill -9: in memory from a clone of what was committed. */
static void restart(struct world *w)
{
    struct store *old = w->store;

    close_journal(w);
    if (w->in_memory)
        assert_int_equal(store_memory_clone(old, &w->store), DTQ_OK);
    store_close(old);
    if (!w->in_memory)
        open_store(w);
    open_journal(w);
}

static int new_world(void **state, bool in_memory)
{
    struct world *w = calloc(1, sizeof *w);

    w->in_memory = in_memory;
    (void)snprintf(w->root, sizeof w->root, "/tmp/dtq-journal-test-XXXXXX");
    if (!in_memory)
        assert_non_null(mkdtemp(w->root));
    (void)snprintf(w->dir, sizeof w->dir, "%s/large", w->root);
    w->cfg = (struct store_cfg){.dir = w->dir,
                                .kind = JOURNAL_KIND,
                                .tables = journal_tables,
                                .tables_n = JOURNAL_TABLES_N,
                                .map_bytes_max = 512 * MIB};
    open_store(w);
    open_journal(w);
    *state = w;
    return 0;
}

static int in_memory(void **state)
{
    return new_world(state, true);
}

static int in_directory(void **state)
{
    return new_world(state, false);
}

static int end_world(void **state)
{
    struct world *w = *state;
    char command[PATH_MAX + 16];

    dtqi_buf_unref(w->read.buf);
    close_journal(w);
    store_close(w->store);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", w->root);
    if (!w->in_memory)
        assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a path of our own
    free(w);
    return 0;
}

/* ---- making batches */

static struct dtqi_slice text(const char *s)
{
    return (struct dtqi_slice){s, (uint32_t)strlen(s)};
}

static void assert_slice(struct dtqi_slice slice, const char *words)
{
    assert_int_equal(slice.len, strlen(words));
    if (slice.len > 0)
        assert_memory_equal(slice.at, words, slice.len);
}

/* Ids in the order of n. */
static dtq_id id(uint32_t n)
{
    dtq_id made = {{0x01, 0x9a, 0, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), 0x70}};

    made.bytes[6] |= n >> 12 & 15;
    made.bytes[7] = (uint8_t)(n >> 4);
    made.bytes[8] = (uint8_t)(0x80 | (n & 15));
    return made;
}

static struct journal_key ready(uint32_t queue, uint8_t rank, uint64_t seq)
{
    return (struct journal_key){.queue = queue, .rank = rank, .seq = seq};
}

static struct journal_key delayed(uint64_t due, uint32_t queue, uint8_t rank, uint64_t seq)
{
    return (struct journal_key){
        .delayed = true, .due_wall_ms = due, .queue = queue, .rank = rank, .seq = seq};
}

static struct journal_op *add(struct world *w, enum journal_op_type type, uint32_t n)
{
    struct journal_op *op = &w->ops[w->batch.ops_n++];

    assert_true(w->batch.ops_n <= OPS_MAX);
    *op = (struct journal_op){.type = type, .task.id = id(n)};
    return op;
}

static struct journal_op *add_put(struct world *w, uint32_t n, struct journal_key key)
{
    struct journal_op *op = add(w, JOURNAL_PUT, n);

    op->task.key = key;
    op->task.spec = text("a spec");
    op->task.body = text("a payload");
    return op;
}

static dtq_err apply(struct world *w)
{
    w->batch.ops = w->ops;
    w->batch.present = w->present;
    journal_apply(w->journal, &w->batch);
    w->batch.ops_n = 0;
    w->batch.queues_n = 0;
    w->batch.applied_n = 0;
    w->batch.workers_n = 0;
    w->batch.sinks_n = 0;
    return w->batch.err;
}

static void apply_ok(struct world *w)
{
    if (apply(w) != DTQ_OK)
        fail_msg("the batch failed: %s", journal_errmsg(w->journal));
}

/* Queues 1 .. n, named "q1" and so on. */
static void make_queues(struct world *w, uint32_t n)
{
    struct journal_queue queues[16] = {{0}};

    for (uint32_t i = 0; i < n; i++) {
        queues[i].number = i + 1;
        (void)snprintf(queues[i].name, sizeof queues[i].name, "q%u", i + 1);
    }
    w->batch.queues = queues;
    w->batch.queues_n = n;
    apply_ok(w);
}

static void put_one(struct world *w, uint32_t n, struct journal_key key)
{
    add_put(w, n, key);
    apply_ok(w);
    assert_int_equal(w->batch.present_n, 0);
}

/* ---- reading */

static dtq_err read_any(struct world *w, struct journal_read read)
{
    dtqi_buf_unref(w->read.buf);
    w->read = read;
    journal_read(w->journal, &w->read);
    return w->read.err;
}

static void read_ok(struct world *w, struct journal_read read)
{
    if (read_any(w, read) != DTQ_OK)
        fail_msg("the read failed: %s", journal_errmsg(w->journal));
}

static void load(struct world *w, uint32_t queue)
{
    read_ok(w, (struct journal_read){.type = JOURNAL_LOAD, .queue = queue, .limit = UINT32_MAX});
    assert_true(w->read.end);
}

static void lookup(struct world *w, uint32_t n)
{
    dtq_id wanted = id(n);

    read_ok(w, (struct journal_read){
                   .type = JOURNAL_LOOKUP, .ids = &wanted, .ids_n = 1, .bodies = true});
}

/* The numbers that id() made the answer's ids from, in order, and "." behind the end. */
static void expect_tasks(struct world *w, const char *numbers)
{
    char got[512] = "";

    for (uint32_t i = 0; i < w->read.tasks_n; i++) {
        const uint8_t *b = w->read.tasks[i].id.bytes;
        uint32_t n = (uint32_t)(b[6] & 15) << 12 | (uint32_t)b[7] << 4 | (b[8] & 15);

        (void)snprintf(got + strlen(got), sizeof got - strlen(got), "%u ", n);
    }
    if (w->read.end)
        (void)snprintf(got + strlen(got), sizeof got - strlen(got), ".");
    assert_string_equal(got, numbers);
}

static const struct journal_queue *queue_at_start(struct world *w, uint32_t number)
{
    for (uint32_t i = 0; i < w->start.queues_n; i++)
        if (w->start.queues[i].number == number)
            return &w->start.queues[i];
    fail_msg("queue %u is not there", number);
    return NULL;
}

static void expect_counts(struct world *w, uint32_t queue, uint64_t ready_n, uint64_t delayed_n,
                          uint64_t bytes)
{
    const struct journal_queue *q;

    restart(w);
    q = queue_at_start(w, queue);
    assert_int_equal(q->ready, ready_n);
    assert_int_equal(q->delayed, delayed_n);
    assert_int_equal(q->bytes, bytes);
}

static uint64_t records_in(struct world *w, enum journal_table table)
{
    struct store_tx *tx;
    uint64_t n;

    assert_int_equal(store_begin(w->store, false, &tx), DTQ_OK);
    n = store_count(tx, table);
    store_abort(tx);
    return n;
}

/* ---- tasks come and go */

static void a_task_is_read_as_it_was_written(void **state)
{
    struct world *w = *state;
    struct journal_op *op;
    const struct journal_task *t;
    uint8_t body[5000];

    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 31);
    make_queues(w, 1);
    op = add_put(w, 1, ready(1, 4, 10));
    op->task.sink = (dtqi_uid){.bytes = "the first sink.."};
    op->task.reply_to = 0xfedcba9876543210;
    op->task.body = (struct dtqi_slice){body, sizeof body};
    apply_ok(w);
    restart(w);
    load(w, 1);
    expect_tasks(w, "1 .");
    t = &w->read.tasks[0];
    assert_int_equal(t->reply_to, 0xfedcba9876543210);
    assert_memory_equal(t->sink.bytes, "the first sink..", 16);
    assert_slice(t->spec, "a spec");
    assert_int_equal(t->body.len, sizeof body);
    assert_memory_equal(t->body.at, body, sizeof body);
    assert_int_equal(
        journal_key_compare(&t->key, &(struct journal_key){.queue = 1, .rank = 4, .seq = 10}), 0);
    assert_int_equal(t->counters.last.n, 0);
}

static void the_smallest_task_is_kept_too(void **state)
{
    struct world *w = *state;
    struct journal_op *op;

    make_queues(w, 1);
    op = add_put(w, 1, ready(1, 0, 0));
    op->task.spec = (struct dtqi_slice){0};
    op->task.body = (struct dtqi_slice){0};
    apply_ok(w);
    load(w, 1);
    expect_tasks(w, "1 .");
    assert_int_equal(w->read.tasks[0].spec.len, 0);
    assert_int_equal(w->read.tasks[0].body.len, 0);
    assert_int_equal(w->read.tasks[0].reply_to, 0);
    assert_true(dtqi_uid_is_zero(&w->read.tasks[0].sink));
}

static void a_queue_is_in_order_of_rank_then_seq(void **state)
{
    struct world *w = *state;

    make_queues(w, 3);
    add_put(w, 1, ready(2, 4, 7));
    add_put(w, 2, ready(2, 0, 300));
    add_put(w, 3, ready(1, 4, 1));
    add_put(w, 4, ready(2, 9, 2));
    add_put(w, 5, ready(2, 4, 5000000));
    add_put(w, 6, ready(2, 4, 3));
    add_put(w, 7, delayed(5, 2, 0, 1));
    add_put(w, 8, ready(3, 0, 8));
    apply_ok(w);
    load(w, 2);
    expect_tasks(w, "2 6 1 5 4 .");
    load(w, 1);
    expect_tasks(w, "3 .");
    load(w, 3);
    expect_tasks(w, "8 .");
    read_ok(w, (struct journal_read){.type = JOURNAL_LOAD, .queue = 4, .limit = 1});
    expect_tasks(w, ".");
}

static void an_id_that_is_there_is_left_alone_and_named(void **state)
{
    struct world *w = *state;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    add_put(w, 2, ready(1, 4, 2));
    add_put(w, 1, ready(1, 4, 3))->task.body = text("another payload");
    add_put(w, 3, ready(1, 4, 4));
    add_put(w, 3, ready(1, 4, 5));
    apply_ok(w);
    assert_int_equal(w->batch.present_n, 2);
    assert_int_equal(w->present[0], 1);
    assert_int_equal(w->present[1], 3);
    load(w, 1);
    expect_tasks(w, "1 2 3 .");
    assert_slice(w->read.tasks[0].body, "a payload");
    expect_counts(w, 1, 3, 0, 3 * 15ull);
}

static void a_delete_needs_no_key_and_no_task(void **state)
{
    struct world *w = *state;
    struct journal_op *op;

    make_queues(w, 1);
    for (uint32_t n = 1; n <= 4; n++)
        add_put(w, n, ready(1, 4, n));
    apply_ok(w);
    add(w, JOURNAL_DEL, 2);
    add(w, JOURNAL_DEL, 77);
    op = add(w, JOURNAL_DEL, 3);
    op->has_key = true;
    op->task.key = ready(1, 4, 3);
    add(w, JOURNAL_DEL, 3);
    op = add(w, JOURNAL_DEL, 4); /* the core may be wrong about the place */
    op->has_key = true;
    op->task.key = ready(1, 4, 1);
    apply_ok(w);
    load(w, 1);
    expect_tasks(w, "1 .");
    lookup(w, 2);
    expect_tasks(w, "");
    expect_counts(w, 1, 1, 0, 15);
}

static void operations_of_a_batch_see_those_before_them(void **state)
{
    struct world *w = *state;

    make_queues(w, 1);
    add_put(w, 1, ready(1, 4, 1));
    add(w, JOURNAL_DEL, 1);
    add_put(w, 1, ready(1, 4, 2));
    add(w, JOURNAL_MOVE, 1)->to = ready(1, 0, 2);
    add(w, JOURNAL_COUNTERS, 1)->task.counters.failures = 3;
    apply_ok(w);
    assert_int_equal(w->batch.present_n, 0);
    load(w, 1);
    expect_tasks(w, "1 .");
    assert_int_equal(w->read.tasks[0].key.rank, 0);
    assert_int_equal(w->read.tasks[0].counters.failures, 3);
}

static const struct journal_counters some_counters = {.last = {0x100000007, 4},
                                                      .counted = {0x0fffffff7, 70000},
                                                      .failures = 3,
                                                      .crashes = 65535,
                                                      .proposed = DTQ_FAILED,
                                                      .cancel = 1,
                                                      .suspect = 1,
                                                      .reason = DTQ_REASON_OOM,
                                                      .code = -9,
                                                      .due_wall_ms = 1795000000000};

static void expect_counters(const struct journal_counters *got, const struct journal_counters *want)
{
    assert_int_equal(got->last.epoch, want->last.epoch);
    assert_int_equal(got->last.n, want->last.n);
    assert_int_equal(got->counted.epoch, want->counted.epoch);
    assert_int_equal(got->counted.n, want->counted.n);
    assert_int_equal(got->failures, want->failures);
    assert_int_equal(got->crashes, want->crashes);
    assert_int_equal(got->proposed, want->proposed);
    assert_int_equal(got->cancel, want->cancel);
    assert_int_equal(got->suspect, want->suspect);
    assert_int_equal(got->reason, want->reason);
    assert_int_equal(got->code, want->code);
    assert_int_equal(got->due_wall_ms, want->due_wall_ms);
}

static void counters_are_kept_beside_the_task(void **state)
{
    struct world *w = *state;
    struct journal_counters later = some_counters;

    make_queues(w, 1);
    for (uint32_t n = 1; n <= 9; n++)
        add_put(w, n, ready(1, 4, n));
    apply_ok(w);
    add(w, JOURNAL_COUNTERS, 3)->task.counters = some_counters;
    add(w, JOURNAL_COUNTERS, 7)->task.counters.crashes = 1;
    add(w, JOURNAL_COUNTERS, 99)->task.counters = some_counters; /* not there */
    apply_ok(w);
    later.failures = 4;
    add(w, JOURNAL_COUNTERS, 3)->task.counters = later;
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_COUNTERS), 2);
    load(w, 1);
    expect_tasks(w, "1 2 3 4 5 6 7 8 9 .");
    expect_counters(&w->read.tasks[2].counters, &later);
    assert_int_equal(w->read.tasks[6].counters.crashes, 1);
    assert_int_equal(w->read.tasks[7].counters.crashes, 0);
    lookup(w, 3);
    expect_counters(&w->read.tasks[0].counters, &later);
    read_ok(w, (struct journal_read){.type = JOURNAL_LOAD,
                                     .queue = 1,
                                     .limit = 9,
                                     .has_after = true,
                                     .after = ready(1, 4, 3)});
    expect_tasks(w, "4 5 6 7 8 9 .");
    assert_int_equal(w->read.tasks[3].counters.crashes, 1);
    add(w, JOURNAL_DEL, 3);
    add(w, JOURNAL_DEL, 7);
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_COUNTERS), 0);
}

static void a_put_may_bring_counters(void **state)
{
    struct world *w = *state;

    make_queues(w, 1);
    add_put(w, 1, ready(1, 4, 1))->task.counters = some_counters;
    apply_ok(w);
    load(w, 1);
    expect_counters(&w->read.tasks[0].counters, &some_counters);
}

static void a_move_takes_payload_and_counters_along(void **state)
{
    struct world *w = *state;

    make_queues(w, 2);
    put_one(w, 1, ready(1, 4, 1));
    put_one(w, 2, ready(1, 4, 2));
    add(w, JOURNAL_COUNTERS, 1)->task.counters = some_counters;
    add(w, JOURNAL_MOVE, 1)->to = delayed(1000, 2, 3, 1);
    add(w, JOURNAL_MOVE, 2)->to = ready(1, 4, 2); /* where it is */
    add(w, JOURNAL_MOVE, 99)->to = ready(1, 4, 3);
    apply_ok(w);
    load(w, 1);
    expect_tasks(w, "2 .");
    read_ok(w, (struct journal_read){.type = JOURNAL_DUE, .limit = 9});
    expect_tasks(w, "1 .");
    assert_true(w->read.tasks[0].key.delayed);
    assert_int_equal(w->read.tasks[0].key.due_wall_ms, 1000);
    assert_int_equal(w->read.tasks[0].key.queue, 2);
    assert_int_equal(w->read.tasks[0].key.rank, 3);
    assert_slice(w->read.tasks[0].body, "a payload");
    expect_counters(&w->read.tasks[0].counters, &some_counters);
    expect_counts(w, 1, 1, 0, 15);
    expect_counts(w, 2, 0, 1, 15);
    add(w, JOURNAL_MOVE, 1)->to = ready(2, 3, 1);
    apply_ok(w);
    lookup(w, 1);
    expect_counters(&w->read.tasks[0].counters, &some_counters);
    expect_counts(w, 2, 1, 0, 15);
    assert_int_equal(records_in(w, TABLE_COUNTERS), 1);
}

/* ---- history and dead letters */

static void a_transfer_takes_everything_to_the_other_queue(void **state)
{
    static const char *const body = "a payload";
    struct world *w = *state;
    const struct journal_task *t;

    make_queues(w, 2);
    for (uint32_t n = 1; n <= 3; n++)
        add_put(w, n, n == 3 ? delayed(1000, 1, 4, 3) : ready(1, (uint8_t)n, n))->task.reply_to = 5;
    add(w, JOURNAL_COUNTERS, 1)->task.counters = some_counters;
    add(w, JOURNAL_ATTEMPT_LOG, 1)->text = text("failed");
    apply_ok(w);
    for (uint32_t n = 1; n <= 4; n++) { /* 4 is not there, and 2 comes twice */
        add(w, JOURNAL_TRANSFER, n)->to.queue = 2;
        w->ops[w->batch.ops_n - 1].task.spec = text("other spec");
    }
    add(w, JOURNAL_TRANSFER, 2)->to.queue = 2;
    apply_ok(w);
    restart(w);
    load(w, 1);
    expect_tasks(w, ".");
    load(w, 2);
    expect_tasks(w, "1 2 .");
    t = &w->read.tasks[0];
    assert_int_equal(t->key.rank, 1);
    assert_int_equal(t->key.seq, 1);
    assert_int_equal(t->reply_to, 5);
    assert_slice(t->spec, "other spec");
    assert_slice(t->body, body);
    expect_counters(&t->counters, &some_counters);
    read_ok(w, (struct journal_read){.type = JOURNAL_DUE, .limit = 9});
    expect_tasks(w, "3 .");
    assert_int_equal(w->read.tasks[0].key.queue, 2);
    lookup(w, 1);
    assert_int_equal(w->read.tasks[0].history.len, 4 + strlen("failed"));
    expect_counts(w, 1, 0, 0, 0);
    expect_counts(w, 2, 2, 1, 3 * (strlen("other spec") + strlen(body)));
    for (uint32_t n = 1; n <= 3; n++)
        add(w, JOURNAL_DEL, n);
    apply_ok(w);
    expect_counts(w, 2, 0, 0, 0);
    for (int table = TABLE_TASKS; table <= TABLE_HISTORY; table++)
        assert_int_equal(records_in(w, (enum journal_table)table), 0);
    assert_int_equal(records_in(w, TABLE_COMMON), 0);
}

static void add_log(struct world *w, uint32_t n, const char *words)
{
    add(w, JOURNAL_ATTEMPT_LOG, n)->text = text(words);
}

static void expect_history(struct dtqi_slice history, const char *entries)
{
    char got[256] = "";
    struct dtqi_slice entry;

    while (journal_history_next(&history, &entry))
        (void)snprintf(got + strlen(got), sizeof got - strlen(got), "%.*s ", (int)entry.len,
                       (const char *)entry.at);
    assert_string_equal(got, entries);
}

static void a_history_grows_and_goes_with_its_task(void **state)
{
    struct world *w = *state;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    add_log(w, 1, "first");
    add_log(w, 99, "of nobody");
    apply_ok(w);
    add_log(w, 1, "second");
    add(w, JOURNAL_MOVE, 1)->to = delayed(9, 1, 4, 1);
    apply_ok(w);
    lookup(w, 1);
    expect_history(w->read.tasks[0].history, "first second ");
    add(w, JOURNAL_DEL, 1);
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_HISTORY), 0);
}

static void a_history_keeps_its_newest_entries(void **state)
{
    struct world *w = *state;
    static const char large[JOURNAL_HISTORY_BYTES_MAX];
    struct dtqi_slice history;
    struct dtqi_slice entry = {0};
    char words[16];
    int n = 0;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    for (int i = 0; i < 3 * JOURNAL_HISTORY_MAX; i++) {
        (void)snprintf(words, sizeof words, "%d", i);
        add_log(w, 1, words);
        apply_ok(w);
    }
    lookup(w, 1);
    history = w->read.tasks[0].history;
    while (journal_history_next(&history, &entry))
        if (n++ == 0)
            assert_slice(entry, "32");
    assert_int_equal(n, JOURNAL_HISTORY_MAX);
    assert_slice(entry, "47");
    add(w, JOURNAL_ATTEMPT_LOG, 1)->text = (struct dtqi_slice){large, sizeof large};
    apply_ok(w);
    lookup(w, 1);
    assert_int_equal(w->read.tasks[0].history.len, sizeof large + 4);
}

static void a_dead_letter_keeps_everything_out_of_its_queue(void **state)
{
    struct world *w = *state;
    struct journal_op *op;
    const struct journal_task *t;

    make_queues(w, 1);
    for (uint32_t n = 1; n <= 3; n++) {
        op = add_put(w, n, ready(1, 4, n));
        op->task.reply_to = 5;
        op->task.sink = (dtqi_uid){.bytes = "the first sink.."};
    }
    add(w, JOURNAL_COUNTERS, 3)->task.counters = some_counters;
    add_log(w, 3, "it failed");
    apply_ok(w);
    for (uint32_t n = 0; n < 2; n++) {
        op = add(w, JOURNAL_DEAD, n == 0 ? 3 : 99);
        op->at_wall_ms = 1795000000123;
        op->text = text("no such file");
    }
    apply_ok(w);
    load(w, 1);
    expect_tasks(w, "1 2 .");
    lookup(w, 3);
    expect_tasks(w, "");
    expect_counts(w, 1, 2, 0, 30);
    assert_int_equal(records_in(w, TABLE_COUNTERS), 0);
    assert_int_equal(records_in(w, TABLE_HISTORY), 0);
    read_ok(w, (struct journal_read){.type = JOURNAL_DEAD_LIST, .limit = 9, .bodies = true});
    expect_tasks(w, "3 .");
    t = &w->read.tasks[0];
    assert_slice(t->spec, "a spec");
    assert_slice(t->body, "a payload");
    assert_slice(t->text, "no such file");
    expect_history(t->history, "it failed ");
    assert_int_equal(t->dead_wall_ms, 1795000000123);
    assert_int_equal(t->reply_to, 5);
    assert_memory_equal(t->sink.bytes, "the first sink..", 16);
    assert_int_equal(t->key.seq, 3);
    expect_counters(&t->counters, &some_counters);
    add(w, JOURNAL_DEAD_DEL, 3);
    add(w, JOURNAL_DEAD_DEL, 99);
    apply_ok(w);
    read_ok(w, (struct journal_read){.type = JOURNAL_DEAD_LIST, .limit = 9});
    expect_tasks(w, ".");
}

static void a_dead_letter_has_the_counters_of_its_operation(void **state)
{
    struct world *w = *state;
    struct journal_counters last = some_counters;

    make_queues(w, 1);
    add_put(w, 1, ready(1, 4, 1))->task.counters = some_counters;
    last.failures++;
    add(w, JOURNAL_DEAD, 1)->task.counters = last;
    apply_ok(w);
    read_ok(w, (struct journal_read){.type = JOURNAL_DEAD_LIST, .limit = 9});
    expect_counters(&w->read.tasks[0].counters, &last);
}

static void dead_letters_are_bounded_and_the_oldest_ids_go(void **state)
{
    struct world *w = *state;

    make_queues(w, 1);
    for (uint32_t n = 0; n < JOURNAL_DEAD_MAX + 5; n++) {
        add_put(w, n, ready(1, 4, n));
        add(w, JOURNAL_DEAD, n);
        if (w->batch.ops_n >= 4000)
            apply_ok(w);
    }
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_DEAD), JOURNAL_DEAD_MAX);
    read_ok(w, (struct journal_read){.type = JOURNAL_DEAD_LIST, .limit = 2});
    expect_tasks(w, "5 6 ");
}

/* ---- attempts of tasks that are no more */

/* One entry, as a history has it. */
static struct dtqi_slice entry_of(const char *words, uint8_t room[64])
{
    size_t bytes = strlen(words);

    memset(room, 0, 4);
    room[3] = (uint8_t)bytes;
    memcpy(room + 4, words, bytes);
    return (struct dtqi_slice){room, (uint32_t)bytes + 4};
}

static void expect_attempts(struct world *w, uint32_t n, const char *entries)
{
    dtq_id wanted[2] = {id(JOURNAL_PAST_MAX + 100), id(n)};

    read_ok(w, (struct journal_read){.type = JOURNAL_ATTEMPTS, .ids = wanted, .ids_n = 2});
    if (entries == NULL) {
        assert_int_equal(w->read.tasks_n, 0);
        return;
    }
    assert_int_equal(w->read.tasks_n, 1);
    assert_int_equal(w->read.index[0], 1);
    expect_history(w->read.tasks[0].history, entries);
}

static void forget_pasts(struct world *w, uint64_t wall_ms)
{
    add(w, JOURNAL_PAST_FORGET, 0)->at_wall_ms = wall_ms;
    apply_ok(w);
}

static void attempts_of_a_task_that_has_ended_are_kept_until_their_time(void **state)
{
    struct world *w = *state;
    uint8_t room[64];
    struct journal_op *op;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    add_log(w, 1, "first");
    apply_ok(w);
    expect_attempts(w, 1, "first ");
    op = add(w, JOURNAL_DEL, 1);
    op->at_wall_ms = 1795000001000;
    op->text = entry_of("second", room);
    apply_ok(w);
    assert_int_equal(w->batch.past_n, 1);
    restart(w);
    assert_int_equal(w->start.past_n, 1);
    expect_attempts(w, 1, "first second ");
    forget_pasts(w, 1795000000999);
    expect_attempts(w, 1, "first second ");
    forget_pasts(w, 1795000001000);
    expect_attempts(w, 1, NULL);
    assert_int_equal(w->batch.past_n, 0);
    assert_int_equal(records_in(w, TABLE_PAST), 0);
}

static void a_task_that_never_failed_leaves_nothing(void **state)
{
    struct world *w = *state;
    uint8_t room[64];
    struct journal_op *op;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    add(w, JOURNAL_DEL, 1)->at_wall_ms = 1795000001000;
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_PAST), 0);
    op = add(w, JOURNAL_DEL, 2); /* it was never written, but failed */
    op->at_wall_ms = 1795000001000;
    op->text = entry_of("quick", room);
    apply_ok(w);
    expect_attempts(w, 2, "quick ");
}

static void attempts_are_found_wherever_the_task_is(void **state)
{
    struct world *w = *state;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    add_log(w, 1, "first");
    apply_ok(w);
    expect_attempts(w, 1, "first ");
    add(w, JOURNAL_DEAD, 1);
    apply_ok(w);
    expect_attempts(w, 1, "first ");
    add(w, JOURNAL_DEAD_DEL, 1)->at_wall_ms = 1795000001000;
    apply_ok(w);
    restart(w);
    expect_attempts(w, 1, "first ");
    assert_int_equal(records_in(w, TABLE_DEAD), 0);
}

static void a_task_that_ends_twice_has_its_last_attempts(void **state)
{
    struct world *w = *state;
    uint8_t rooms[2][64];

    for (uint64_t i = 0; i < 2; i++) {
        struct journal_op *op = add(w, JOURNAL_DEL, 1);

        op->at_wall_ms = 1795000001000 + i;
        op->text = entry_of(i == 0 ? "before" : "after", rooms[i]);
        apply_ok(w);
    }
    expect_attempts(w, 1, "after ");
    assert_int_equal(records_in(w, TABLE_PAST), 2);
    forget_pasts(w, 1795000001000);
    expect_attempts(w, 1, "after ");
}

static void kept_attempts_are_bounded_and_the_first_to_go_go(void **state)
{
    struct world *w = *state;
    uint8_t room[64];

    for (uint32_t n = 0; n < JOURNAL_PAST_MAX + 5; n++) {
        struct journal_op *op = add(w, JOURNAL_DEL, n);

        op->at_wall_ms = 1795000000000 + (n < 10 ? 1000000000 : n); /* the oldest ids go last */
        op->text = entry_of("x", room);
        if (w->batch.ops_n >= 4000)
            apply_ok(w);
    }
    apply_ok(w);
    assert_int_equal(w->batch.past_n, JOURNAL_PAST_MAX);
    expect_attempts(w, 9, "x ");
    expect_attempts(w, 14, NULL);
    expect_attempts(w, 15, "x ");
}

/* ---- idempotency keys */

static struct journal_op *add_key(struct world *w, const char *key, uint32_t n, uint64_t until)
{
    struct journal_op *op = add(w, JOURNAL_KEY, n);

    op->text = text(key);
    op->at_wall_ms = until;
    memset(op->digest.bytes, (int)n, sizeof op->digest.bytes);
    return op;
}

static void expect_key(struct world *w, const char *key, uint32_t n, uint64_t until)
{
    struct dtqi_str keys[2] = {dtqi_str("nobodys"), dtqi_str(key)};
    dtq_id wanted = id(n);
    const struct journal_key_record *r;

    read_ok(w, (struct journal_read){.type = JOURNAL_KEYS, .keys = keys, .keys_n = 2});
    r = w->read.key_records;
    assert_false(r[0].found);
    assert_int_equal(r[1].found, until != 0);
    if (until == 0)
        return;
    assert_memory_equal(&r[1].id, &wanted, sizeof wanted);
    assert_int_equal(r[1].until_wall_ms, until);
    assert_int_equal(r[1].digest.bytes[15], n);
}

static void a_key_stands_for_its_task_across_a_restart(void **state)
{
    struct world *w = *state;

    make_queues(w, 1);
    add_put(w, 1, ready(1, 4, 1));
    add_key(w, "order-1", 1, 1795000001000);
    apply_ok(w);
    assert_int_equal(w->batch.keys_n, 1);
    restart(w);
    assert_int_equal(w->start.keys_n, 1);
    expect_key(w, "order-1", 1, 1795000001000);
    expect_key(w, "order-", 0, 0);
    add(w, JOURNAL_DEL, 1); /* whatever becomes of the task */
    apply_ok(w);
    expect_key(w, "order-1", 1, 1795000001000);
}

static void a_key_stands_for_the_last_task_that_it_was_given_to(void **state)
{
    struct world *w = *state;

    add_key(w, "order-1", 1, 1795000001000);
    apply_ok(w);
    add_key(w, "order-1", 2, 1795000002000);
    apply_ok(w);
    restart(w);
    expect_key(w, "order-1", 2, 1795000002000);
    assert_int_equal(records_in(w, TABLE_KEYS), 1);
    assert_int_equal(records_in(w, TABLE_KEY_ENDS), 1);
}

static void keys_are_forgotten_when_their_time_is_over(void **state)
{
    struct world *w = *state;

    for (uint32_t n = 1; n <= 5; n++) {
        char key[16];

        (void)snprintf(key, sizeof key, "order-%u", n);
        add_key(w, key, n, 1795000000000 + n);
        apply_ok(w);
    }
    restart(w);
    add(w, JOURNAL_KEYS_FORGET, 0)->at_wall_ms = 1795000000003;
    apply_ok(w);
    assert_int_equal(w->batch.keys_n, 2);
    restart(w);
    expect_key(w, "order-3", 0, 0);
    expect_key(w, "order-4", 4, 1795000000004);
    assert_int_equal(records_in(w, TABLE_KEY_ENDS), 2);
}

static void so_many_keys_are_forgotten_at_once_and_no_more(void **state)
{
    struct world *w = *state;

    for (uint32_t n = 0; n < JOURNAL_KEYS_FORGOTTEN_MAX + 10; n++) {
        static char keys[JOURNAL_KEYS_FORGOTTEN_MAX + 10][16];

        (void)snprintf(keys[n], sizeof keys[n], "k%u", n);
        add_key(w, keys[n], n, 1795000000000 + n);
        if (w->batch.ops_n >= 4000)
            apply_ok(w);
    }
    apply_ok(w);
    for (uint64_t left = 10;; left = 0) {
        add(w, JOURNAL_KEYS_FORGET, 0)->at_wall_ms = UINT64_MAX;
        apply_ok(w);
        assert_int_equal(w->batch.keys_n, left);
        if (left == 0)
            break;
    }
    assert_int_equal(records_in(w, TABLE_KEY_ENDS), 0);
}

/* ---- restart */

static void each_start_has_a_larger_epoch(void **state)
{
    struct world *w = *state;
    uint64_t first = w->start.epoch;

    assert_int_equal(first, 1ull << 32 | 7);
    restart(w);
    assert_int_equal(w->start.epoch, 2ull << 32 | 7);
    journal_start_done(&w->start);
    journal_close(w->journal);
    assert_int_equal(
        journal_open(w->store, 0xfffffff1, &w->journal, &w->start, w->why, sizeof w->why), DTQ_OK);
    assert_int_equal(w->start.epoch, 3ull << 32 | 0xfffffff1);
    assert_true(dtqi_uid_eq(&w->start.store, store_uid(w->store)));
}

static void no_seq_comes_twice_after_a_restart(void **state)
{
    struct world *w = *state;
    uint64_t seq;

    make_queues(w, 1);
    restart(w);
    assert_int_equal(w->start.seq_next, 1);
    put_one(w, 1, ready(1, 4, 1));
    add(w, JOURNAL_DEL, 1);
    apply_ok(w);
    restart(w);
    seq = w->start.seq_next;
    assert_in_range(seq, 2, 100000);
    put_one(w, 2, ready(1, 4, seq + 200000)); /* beyond the block that was reserved */
    restart(w);
    assert_true(w->start.seq_next > seq + 200000);
    seq = w->start.seq_next;
    add(w, JOURNAL_MOVE, 2)->to = ready(1, 4, seq);
    apply_ok(w);
    restart(w);
    assert_true(w->start.seq_next > seq);
}

/* The number is written once for many tasks, not with each batch. */
static void seqs_are_reserved_in_blocks(void **state)
{
    struct world *w = *state;
    uint64_t next;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    restart(w);
    next = w->start.seq_next;
    put_one(w, 2, ready(1, 4, 2));
    put_one(w, 3, ready(1, 4, next - 1));
    restart(w);
    assert_int_equal(w->start.seq_next, next);
}

static void a_restart_knows_queues_rosters_and_settlements(void **state)
{
    struct world *w = *state;
    struct journal_queue queues[2] = {{.number = 5, .name = "mail", .ready = 99},
                                      {.number = 2, .name = "web"}};
    struct journal_worker workers[2] = {{.instance = {.bytes = "worker one......"}},
                                        {.instance = {.bytes = "worker two......"}}};
    struct journal_sink sink = {.store = {.bytes = "a sink.........."},
                                .intake = "tcp://a:5571",
                                .results = "tcp://a:5572"};
    struct journal_applied applied = {
        .sink = {.bytes = "a sink.........."}, .run = {.bytes = "its first run..."}, .number = 7};

    w->batch.queues = queues;
    w->batch.queues_n = 2;
    w->batch.workers = workers;
    w->batch.workers_n = 2;
    w->batch.sinks = &sink;
    w->batch.sinks_n = 1;
    w->batch.applied = &applied;
    w->batch.applied_n = 1;
    apply_ok(w);
    restart(w);
    assert_int_equal(w->start.queues_n, 2);
    assert_string_equal(w->start.queues[0].name, "web");
    assert_string_equal(w->start.queues[1].name, "mail");
    assert_int_equal(w->start.queues[1].number, 5);
    assert_int_equal(w->start.queues[1].ready, 0);
    assert_int_equal(w->start.workers_n, 2);
    assert_int_equal(w->start.sinks_n, 1);
    assert_string_equal(w->start.sinks[0].results, "tcp://a:5572");
    assert_int_equal(w->start.applied_n, 1);
    assert_int_equal(w->start.applied[0].number, 7);
    assert_memory_equal(w->start.applied[0].run.bytes, "its first run...", 16);

    workers[0].gone = true;
    workers[1].instance = (dtqi_uid){.bytes = "was never here.."};
    workers[1].gone = true;
    queues[0].settings = (struct journal_queue_settings){
        true, 3, 10, 60000, 1700000000000, 77, 5, 20, 1000, 30000, 70};
    applied.number = 9;
    (void)snprintf(sink.intake, sizeof sink.intake, "tcp://b:1");
    w->batch.workers_n = 2;
    w->batch.queues_n = 1;
    w->batch.applied_n = 1;
    w->batch.sinks_n = 1;
    apply_ok(w);
    restart(w);
    assert_int_equal(w->start.workers_n, 1);
    assert_memory_equal(w->start.workers[0].instance.bytes, "worker two......", 16);
    assert_true(queue_at_start(w, 5)->settings.paused);
    assert_int_equal(queue_at_start(w, 5)->settings.limit, 3);
    assert_int_equal(queue_at_start(w, 5)->settings.rate, 10);
    assert_int_equal(queue_at_start(w, 5)->settings.rate_period_ms, 60000);
    assert_int_equal(queue_at_start(w, 5)->settings.rate_next_wall_ms, 1700000000000);
    assert_int_equal(queue_at_start(w, 5)->settings.purge_seq, 77);
    assert_int_equal(queue_at_start(w, 5)->settings.cancel_seq, 70);
    assert_int_equal(queue_at_start(w, 5)->settings.group_limit, 5);
    assert_int_equal(queue_at_start(w, 5)->settings.group_rate, 20);
    assert_int_equal(queue_at_start(w, 5)->settings.group_rate_period_ms, 1000);
    assert_int_equal(queue_at_start(w, 5)->settings.ageing_ms, 30000);
    assert_false(queue_at_start(w, 2)->settings.paused);
    assert_int_equal(w->start.applied[0].number, 9);
    assert_int_equal(w->start.sinks_n, 1);
    assert_string_equal(w->start.sinks[0].intake, "tcp://b:1");
}

/* ---- groups */

/* Queue 1, and group 2 of it, in order. */
static void make_group(struct world *w)
{
    struct journal_queue queues[2] = {
        {.number = 1, .name = "mail"},
        {.number = 2, .parent = 1, .ordered = true, .name = "alice", .settings.rate = 3}};

    w->batch.queues = queues;
    w->batch.queues_n = 2;
    apply_ok(w);
}

/* @return is it forgotten? */
static bool forget_group(struct world *w)
{
    struct journal_queue queue = {.number = 2, .parent = 1, .name = "alice", .gone = true};

    w->batch.queues = &queue;
    w->batch.queues_n = 1;
    apply_ok(w);
    return queue.gone;
}

static void a_group_is_kept_beside_its_queue(void **state)
{
    struct world *w = *state;
    const struct journal_queue *q;

    make_group(w);
    put_one(w, 1, ready(2, 0, 10));
    expect_counts(w, 2, 1, 0, 15);
    q = queue_at_start(w, 2);
    assert_int_equal(q->parent, 1);
    assert_true(q->ordered);
    assert_string_equal(q->name, "alice");
    assert_int_equal(q->settings.rate, 3);
    assert_int_equal(queue_at_start(w, 1)->parent, 0);
    assert_int_equal(queue_at_start(w, 1)->ready, 0);
}

static void a_group_is_forgotten_when_it_has_no_tasks(void **state)
{
    struct world *w = *state;
    struct journal_queue again = {.number = 2, .parent = 1, .name = "bob"};

    make_group(w);
    put_one(w, 1, ready(2, 0, 10));
    assert_false(forget_group(w));
    add(w, JOURNAL_DEL, 1);
    apply_ok(w);
    assert_true(forget_group(w));
    assert_int_equal(records_in(w, TABLE_QUEUES), 1);
    assert_true(forget_group(w)); /* what is not there is gone */
    w->batch.queues = &again;     /* its number is used again */
    w->batch.queues_n = 1;
    apply_ok(w);
    put_one(w, 2, ready(2, 3, 11));
    restart(w);
    assert_string_equal(queue_at_start(w, 2)->name, "bob");
    assert_int_equal(queue_at_start(w, 2)->ready, 1);
}

static void a_scan_of_a_queue_takes_its_groups_along(void **state)
{
    struct world *w = *state;

    make_group(w);
    put_one(w, 1, ready(1, 0, 10));
    put_one(w, 2, ready(2, 0, 11));
    read_ok(w, (struct journal_read){.type = JOURNAL_SCAN, .limit = 9, .queue = 1});
    expect_tasks(w, "1 2 .");
    read_ok(w, (struct journal_read){.type = JOURNAL_SCAN, .limit = 9, .queue = 2});
    expect_tasks(w, "2 .");
    load(w, 1);
    expect_tasks(w, "1 .");
}

static void a_dead_letter_of_a_group_names_the_queue(void **state)
{
    struct world *w = *state;
    struct journal_op *op;

    make_group(w);
    put_one(w, 1, ready(2, 0, 10));
    op = add(w, JOURNAL_DEAD, 1);
    apply_ok(w);
    assert_int_equal(op->task.key.queue, 2); /* where it was */
    assert_int_equal(op->bytes, 15);
    read_ok(w, (struct journal_read){.type = JOURNAL_DEAD_LIST, .limit = 9});
    assert_int_equal(w->read.tasks[0].key.queue, 1);
    assert_true(forget_group(w));
}

static void a_restart_recovers_the_counts(void **state)
{
    struct world *w = *state;

    make_queues(w, 3);
    for (uint32_t n = 0; n < 100; n++)
        add_put(w, n, n % 4 == 0 ? delayed(n, 1 + n % 3, 4, n) : ready(1 + n % 3, 4, n));
    apply_ok(w);
    expect_counts(w, 1, 25, 9, 34 * 15ull);
    expect_counts(w, 2, 25, 8, 33 * 15ull);
    for (uint32_t n = 0; n < 50; n++)
        add(w, JOURNAL_DEL, n);
    apply_ok(w);
    expect_counts(w, 1, 13, 4, 17 * 15ull);
    for (uint32_t n = 50; n < 100; n++)
        add(w, JOURNAL_DEL, n);
    apply_ok(w);
    expect_counts(w, 1, 0, 0, 0);
    expect_counts(w, 3, 0, 0, 0);
}

static void the_sink_of_a_task_need_not_have_registered(void **state)
{
    struct world *w = *state;
    struct journal_sink sink = {.store = {.bytes = "a registered one"}};

    make_queues(w, 1);
    add_put(w, 1, ready(1, 4, 1))->task.sink = (dtqi_uid){.bytes = "an unknown one.."};
    apply_ok(w);
    w->batch.sinks = &sink;
    w->batch.sinks_n = 1;
    add_put(w, 2, ready(1, 4, 2))->task.sink = sink.store;
    apply_ok(w);
    restart(w);
    assert_int_equal(w->start.sinks_n, 1);
    assert_true(dtqi_uid_eq(&w->start.sinks[0].store, &sink.store));
    load(w, 1);
    assert_memory_equal(w->read.tasks[0].sink.bytes, "an unknown one..", 16);
    assert_memory_equal(w->read.tasks[1].sink.bytes, "a registered one", 16);
    sink.store = (dtqi_uid){.bytes = "an unknown one.."};
    w->batch.sinks_n = 1;
    apply_ok(w);
    restart(w);
    assert_int_equal(w->start.sinks_n, 2);
    load(w, 1);
    assert_memory_equal(w->read.tasks[0].sink.bytes, "an unknown one..", 16);
}

/* ---- reads */

static void a_load_goes_on_behind_its_last_task(void **state)
{
    struct world *w = *state;
    struct journal_read read = {.type = JOURNAL_LOAD, .queue = 1, .limit = 4};

    make_queues(w, 2);
    for (uint32_t n = 1; n <= 9; n++)
        add_put(w, n, ready(1, 4, n));
    add_put(w, 20, ready(2, 4, 20));
    apply_ok(w);
    read_ok(w, read);
    expect_tasks(w, "1 2 3 4 ");
    read.has_after = true;
    read.after = w->read.tasks[3].key;
    add(w, JOURNAL_DEL, 4); /* `after` need not exist */
    add(w, JOURNAL_DEL, 5);
    apply_ok(w);
    read_ok(w, read);
    expect_tasks(w, "6 7 8 9 .");
    read.after = ready(1, 4, 9);
    read_ok(w, read);
    expect_tasks(w, ".");
    read.limit = 0;
    read.after = ready(1, 4, 8);
    read_ok(w, read);
    expect_tasks(w, "");
}

static void a_load_stops_at_its_bytes(void **state)
{
    struct world *w = *state;
    struct journal_read read = {.type = JOURNAL_LOAD, .queue = 1, .limit = 100};

    make_queues(w, 1);
    for (uint32_t n = 1; n <= 9; n++)
        add_put(w, n, ready(1, 4, n));
    apply_ok(w);
    read.bytes_max = 1;
    read_ok(w, read);
    expect_tasks(w, "1 ");
    read.bytes_max = 30;
    read_ok(w, read);
    expect_tasks(w, "1 2 ");
    read.bytes_max = 31;
    read_ok(w, read);
    expect_tasks(w, "1 2 3 ");
    read.bytes_max = 9 * 15;
    read_ok(w, read);
    expect_tasks(w, "1 2 3 4 5 6 7 8 9 .");
}

static void due_tasks_come_in_order_of_time_from_all_queues(void **state)
{
    struct world *w = *state;
    struct journal_read read = {.type = JOURNAL_DUE, .limit = 2};

    make_queues(w, 3);
    add_put(w, 1, delayed(500, 1, 0, 9));
    add_put(w, 2, delayed(20, 3, 9, 8));
    add_put(w, 3, delayed(1795000000000, 2, 0, 7));
    add_put(w, 4, delayed(500, 2, 9, 3));
    add_put(w, 5, ready(1, 0, 1));
    add_put(w, 6, delayed(70000, 1, 0, 2));
    apply_ok(w);
    read_ok(w, read);
    expect_tasks(w, "2 4 ");
    read.has_after = true;
    read.after = w->read.tasks[1].key;
    read_ok(w, read);
    expect_tasks(w, "1 6 ");
    read.after = w->read.tasks[1].key;
    read_ok(w, read);
    expect_tasks(w, "3 .");
}

static void a_lookup_names_what_it_found(void **state)
{
    struct world *w = *state;
    dtq_id ids[5] = {id(9), id(2), id(5), id(1), id(2)};

    make_queues(w, 1);
    for (uint32_t n = 1; n <= 3; n++)
        add_put(w, n, ready(1, 4, n));
    apply_ok(w);
    read_ok(w, (struct journal_read){.type = JOURNAL_LOOKUP, .ids = ids, .ids_n = 5});
    expect_tasks(w, "2 1 2 ");
    assert_int_equal(w->read.index[0], 1);
    assert_int_equal(w->read.index[1], 3);
    assert_int_equal(w->read.index[2], 4);
    assert_int_equal(w->read.tasks[0].key.seq, 2);
    assert_int_equal(w->read.tasks[0].spec.len, 0); /* no bodies were asked for */
}

static void a_prefix_may_end_inside_a_byte(void **state)
{
    struct world *w = *state;
    dtq_id ids[2];
    struct journal_read read = {.type = JOURNAL_PREFIX, .ids = ids, .ids_n = 1, .limit = 100};

    make_queues(w, 1);
    for (uint32_t n = 0x123; n <= 0x150; n += 7) /* 123 12a 131 138 13f 146 14d */
        add_put(w, n, ready(1, 4, n));
    apply_ok(w);
    ids[0] = id(0x130);
    read.prefix_bits = 64; /* up to the last digit */
    read_ok(w, read);
    expect_tasks(w, "305 312 319 .");
    read.prefix_bits = 60;
    read_ok(w, read);
    expect_tasks(w, "291 298 305 312 319 326 333 .");
    ids[0] = id(0x138);
    read.prefix_bits = 69; /* its last digit from 8 on */
    read_ok(w, read);
    expect_tasks(w, "312 319 .");
    read.prefix_bits = 128;
    read_ok(w, read);
    expect_tasks(w, "312 .");
    ids[0] = id(0x139);
    read_ok(w, read);
    expect_tasks(w, ".");
    read.prefix_bits = 0;
    read.limit = 3;
    read_ok(w, read);
    expect_tasks(w, "291 298 305 ");
    ids[1] = w->read.last;
    read.ids_n = 2;
    read_ok(w, read);
    expect_tasks(w, "312 319 326 ");
    ids[1] = w->read.last;
    read_ok(w, read);
    expect_tasks(w, "333 .");
    ids[0] = id(0x130);
    read.prefix_bits = 64;
    ids[1] = id(0x131);
    read_ok(w, read);
    expect_tasks(w, "312 319 .");
    ids[1] = id(0x100); /* before the prefix */
    read_ok(w, read);
    expect_tasks(w, "305 312 319 .");
    ids[1] = id(0x150); /* behind it */
    read_ok(w, read);
    expect_tasks(w, ".");
}

static void a_scan_goes_through_all_queues_in_order_of_ids(void **state)
{
    struct world *w = *state;
    dtq_id after;
    struct journal_read read = {.type = JOURNAL_SCAN, .limit = 4, .bodies = true};

    make_queues(w, 3);
    for (uint32_t n = 1; n <= 9; n++)
        add_put(w, n, n == 5 ? delayed(1, 1, 0, n) : ready(1 + n % 3, 4, 100 - n));
    apply_ok(w);
    read_ok(w, read);
    expect_tasks(w, "1 2 3 4 ");
    after = w->read.last;
    read.ids = &after;
    read.ids_n = 1;
    read_ok(w, read);
    expect_tasks(w, "5 6 7 8 ");
    assert_slice(w->read.tasks[0].body, "a payload");
    after = w->read.last;
    read_ok(w, read);
    expect_tasks(w, "9 .");
    read.ids_n = 0;
    read.queue = 1;
    read_ok(w, read);
    expect_tasks(w, "3 5 6 9 .");
    read.limit = 3;
    read_ok(w, read);
    expect_tasks(w, "3 5 6 ");
    read.queue = 7;
    read_ok(w, read);
    expect_tasks(w, ".");
}

static void a_scan_looks_at_so_many_ids_and_no_more(void **state)
{
    struct world *w = *state;
    dtq_id after;
    struct journal_read read = {.type = JOURNAL_SCAN, .limit = 4, .queue = 2};

    make_queues(w, 2);
    for (uint32_t n = 0; n < JOURNAL_SCAN_MAX + 10; n++) {
        add_put(w, n, ready(n == JOURNAL_SCAN_MAX + 9 ? 2 : 1, 4, n));
        if (w->batch.ops_n >= 4000)
            apply_ok(w);
    }
    apply_ok(w);
    read_ok(w, read);
    expect_tasks(w, "");
    after = w->read.last;
    read.ids = &after;
    read.ids_n = 1;
    read_ok(w, read);
    assert_int_equal(w->read.tasks_n, 1);
    assert_true(w->read.end);
}

static void dead_letters_are_listed_in_pages(void **state)
{
    struct world *w = *state;
    dtq_id after;
    struct journal_read read = {.type = JOURNAL_DEAD_LIST, .limit = 3};

    make_queues(w, 1);
    for (uint32_t n = 1; n <= 5; n++) {
        add_put(w, n, ready(1, 4, n));
        add(w, JOURNAL_DEAD, n);
    }
    apply_ok(w);
    read_ok(w, read);
    expect_tasks(w, "1 2 3 ");
    assert_int_equal(w->read.tasks[0].body.len, 0);
    after = w->read.last;
    read.ids = &after;
    read.ids_n = 1;
    read_ok(w, read);
    expect_tasks(w, "4 5 .");
}

static void a_hundred_thousand_tasks_come_and_go_in_order(void **state)
{
    struct world *w = *state;
    struct journal_read read = {
        .type = JOURNAL_LOAD, .queue = 1, .limit = 4096, .bytes_max = 1 << 20};
    uint64_t seq = 0;

    make_queues(w, 1);
    for (uint32_t n = 1; n <= 100000; n++) {
        add_put(w, n, ready(1, 4, n));
        if (w->batch.ops_n == 4096)
            apply_ok(w);
    }
    apply_ok(w);
    do {
        read_ok(w, read);
        for (uint32_t i = 0; i < w->read.tasks_n; i++) {
            assert_int_equal(w->read.tasks[i].key.seq, ++seq);
            add(w, JOURNAL_DEL, (uint32_t)seq);
        }
        apply_ok(w);
    } while (!w->read.end);
    assert_int_equal(seq, 100000);
    assert_int_equal(records_in(w, TABLE_TASKS), 0);
    assert_int_equal(records_in(w, TABLE_IDS), 0);
    assert_int_equal(records_in(w, TABLE_COMMON), 0);
    expect_counts(w, 1, 0, 0, 0);
}

static uint64_t file_bytes(const struct world *w)
{
    char path[128];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/data.mdb", w->dir);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

/* There is no log that it could hold back. */
static void a_task_that_stays_does_not_make_the_file_grow(void **state)
{
    struct world *w = *state;
    uint64_t early_bytes = 0;
    uint32_t n = 1;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    for (uint32_t round = 1; round <= 40; round++) {
        uint32_t first = n + 1;

        for (; n < first + 2000; n++)
            add_put(w, n + 1, ready(1, 4, n + 1));
        apply_ok(w);
        while (first <= n)
            add(w, JOURNAL_DEL, first++);
        apply_ok(w);
        if (round == 10)
            early_bytes = file_bytes(w);
    }
    assert_int_equal(file_bytes(w), early_bytes);
    load(w, 1);
    expect_tasks(w, "1 .");
}

/* ---- what tasks have in common */

static void what_tasks_have_in_common_is_kept_once(void **state)
{
    struct world *w = *state;
    static const char *const specs[] = {"one", "two", "one", "two", "one", "three"};

    make_queues(w, 1);
    for (uint32_t n = 0; n < 6; n++) {
        struct journal_op *op = add_put(w, n, ready(1, 4, n));

        op->task.spec = text(specs[n]);
        op->task.reply_to = n == 4 ? 2 : 1;
        op->task.sink = (dtqi_uid){.bytes = "a sink.........."};
    }
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_COMMON), 2); /* "one" and "two" came twice */
    restart(w);
    load(w, 1);
    assert_int_equal(w->read.tasks_n, 6);
    for (uint32_t n = 0; n < 6; n++) {
        assert_slice(w->read.tasks[n].spec, specs[n]);
        assert_int_equal(w->read.tasks[n].reply_to, n == 4 ? 2 : 1);
        assert_memory_equal(w->read.tasks[n].sink.bytes, "a sink..........", 16);
    }
    add(w, JOURNAL_DEL, 2);
    add(w, JOURNAL_DEAD, 3);
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_COMMON), 0);
    read_ok(w, (struct journal_read){.type = JOURNAL_DEAD_LIST, .limit = 9, .bodies = true});
    assert_slice(w->read.tasks[0].spec, "two");
    assert_int_equal(w->read.tasks[0].reply_to, 1);
}

/* More combinations than there are numbers, and specs too long to be kept once. */
static void tasks_without_a_number_carry_everything_themselves(void **state)
{
    struct world *w = *state;
    const uint64_t tasks = JOURNAL_COMMONS_MAX + 100;
    static char long_spec[JOURNAL_COMMON_SPEC_BYTES_MAX + 1];
    struct journal_op *op;

    make_queues(w, 1);
    memset(long_spec, 'x', sizeof long_spec);
    for (uint32_t n = 0; n < 3 * tasks; n++) {
        op = add_put(w, n, ready(1, 4, n));
        op->task.reply_to = 1 + n / 3;
    }
    apply_ok(w);
    for (uint32_t n = 3 * tasks; n < 3 * tasks + 5; n++) {
        op = add_put(w, n, ready(1, 4, n));
        op->task.spec = (struct dtqi_slice){long_spec, sizeof long_spec};
    }
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_COMMON), JOURNAL_COMMONS_MAX);
    for (uint32_t n = 0; n < 30; n++) /* some numbers become free .. */
        add(w, JOURNAL_DEL, n);
    apply_ok(w);
    restart(w);
    for (uint32_t n = 0; n < 30; n++) { /* .. and are given to others */
        op = add_put(w, n, ready(1, 0, n));
        op->task.reply_to = 100000 + n / 6;
    }
    apply_ok(w);
    load(w, 1);
    assert_int_equal(w->read.tasks_n, 3 * tasks + 5);
    for (uint32_t i = 0; i < w->read.tasks_n; i++) {
        const struct journal_task *t = &w->read.tasks[i];

        if (t->key.seq >= 3 * tasks)
            assert_int_equal(t->spec.len, sizeof long_spec);
        else
            assert_int_equal(t->reply_to,
                             t->key.rank == 0 ? 100000 + t->key.seq / 6 : 1 + t->key.seq / 3);
    }
}

/* ---- failures */

static void a_failed_commit_changes_nothing(void **state)
{
    struct world *w = *state;
    struct journal_queue queue = {.number = 2, .name = "new"};

    make_queues(w, 1);
    for (uint32_t n = 1; n <= 4; n++)
        add_put(w, n, ready(1, 4, n));
    apply_ok(w);
    store_memory_fail_commit(w->store, DTQ_ENOSPC);
    w->batch.queues = &queue;
    w->batch.queues_n = 1;
    add_put(w, 1, ready(1, 4, 1));
    add_put(w, 5, ready(2, 4, 5))->task.sink = (dtqi_uid){.bytes = "a new sink......"};
    add(w, JOURNAL_DEL, 1);
    add(w, JOURNAL_MOVE, 2)->to = delayed(1, 1, 1, 1);
    assert_int_equal(apply(w), DTQ_ENOSPC);
    assert_int_equal(w->batch.present_n, 0);
    assert_string_equal(journal_errmsg(w->journal), "writing to the disk failed");
    load(w, 1);
    expect_tasks(w, "1 2 3 4 .");
    add(w, JOURNAL_DEL, 4);
    apply_ok(w);
    expect_counts(w, 1, 3, 0, 45);
    assert_int_equal(w->start.queues_n, 1);
}

static void after_an_io_error_nothing_is_written_any_more(void **state)
{
    struct world *w = *state;

    make_queues(w, 1);
    put_one(w, 1, ready(1, 4, 1));
    store_memory_fail_commit(w->store, DTQ_EIO);
    add(w, JOURNAL_DEL, 1);
    assert_int_equal(apply(w), DTQ_EIO);
    add(w, JOURNAL_DEL, 1);
    assert_int_equal(apply(w), DTQ_EIO);
    assert_string_equal(journal_errmsg(w->journal), "writing to the disk failed");
    load(w, 1);
    expect_tasks(w, "1 .");
    restart(w);
    load(w, 1);
    expect_tasks(w, "1 .");
}

/* Puts find no space, then deletes do, then puts again. */
static void a_full_journal_takes_deletes(void **state)
{
    struct world *w = *state;
    static const char large[20000];
    uint32_t n = 0;

    close_journal(w);
    store_close(w->store);
    w->cfg.map_bytes_max = 4 * MIB;
    (void)snprintf(w->dir, sizeof w->dir, "%s/small", w->root);
    open_store(w);
    open_journal(w);
    make_queues(w, 1);
    do {
        add_put(w, n, ready(1, 4, n))->task.body = (struct dtqi_slice){large, sizeof large};
    } while (apply(w) == DTQ_OK && ++n < 1000);
    assert_int_equal(w->batch.err, DTQ_ENOSPC);
    assert_true(w->batch.space_used > 2 * MIB);
    assert_int_equal(w->batch.space_max, 4 * MIB);
    assert_in_range(n, 20, 300);
    add(w, JOURNAL_COUNTERS, 0)->task.counters.failures = 1;
    add(w, JOURNAL_MOVE, 1)->to = delayed(1, 1, 4, 1);
    add(w, JOURNAL_DEAD, 2);
    apply_ok(w);
    for (uint32_t i = 3; i < n; i++) {
        add(w, JOURNAL_DEL, i);
        apply_ok(w);
    }
    expect_counts(w, 1, 1, 1, 2 * (sizeof large + 6));
    put_one(w, 3, ready(1, 4, 1000));
}

/* ---- damage: what the store returns is not what the journal wrote */

static void overwrite(struct world *w, enum journal_table table, struct dtqi_slice key,
                      struct dtqi_slice value)
{
    struct store_tx *tx;

    assert_int_equal(store_begin(w->store, true, &tx), DTQ_OK);
    assert_int_equal(store_put(tx, table, key, value, 0), DTQ_OK);
    assert_int_equal(store_commit(tx), DTQ_OK);
}

static void drop(struct world *w, enum journal_table table, struct dtqi_slice key)
{
    struct store_tx *tx;

    assert_int_equal(store_begin(w->store, true, &tx), DTQ_OK);
    assert_int_equal(store_del(tx, table, key), DTQ_OK);
    assert_int_equal(store_commit(tx), DTQ_OK);
}

static struct dtqi_slice key_slice(struct journal_key key)
{
    static uint8_t room[JOURNAL_KEY_BYTES_MAX];
    struct journal_out out = {.at = room};

    journal_key_out(&out, &key);
    return journal_out_slice(&out);
}

static void expect_damage(struct world *w, const char *words)
{
    if (strstr(journal_errmsg(w->journal), words) == NULL)
        fail_msg("'%s' does not say '%s'", journal_errmsg(w->journal), words);
}

/* Tasks 1 to 3; 2 has counters and a history. */
static void make_three(struct world *w)
{
    make_queues(w, 1);
    for (uint32_t n = 1; n <= 3; n++)
        add_put(w, n, ready(1, 4, n));
    add(w, JOURNAL_COUNTERS, 2)->task.counters = some_counters;
    add_log(w, 2, "an entry");
    apply_ok(w);
}

static void expect_reads_fail(struct world *w, const char *words)
{
    dtq_id ids[3] = {id(1), id(2), id(3)};

    assert_int_equal(read_any(w,
                              (struct journal_read){
                                  .type = JOURNAL_LOOKUP, .ids = ids, .ids_n = 3, .bodies = true}),
                     DTQ_ECORRUPT);
    expect_damage(w, words);
    assert_null(w->read.buf);
    assert_int_equal(w->read.tasks_n, 0);
    assert_int_equal(
        read_any(w, (struct journal_read){.type = JOURNAL_SCAN, .limit = 9, .bodies = true}),
        DTQ_ECORRUPT);
}

static void expect_ops_fail(struct world *w, uint32_t n)
{
    add(w, JOURNAL_DEAD, n);
    assert_int_equal(apply(w), DTQ_ECORRUPT);
    add(w, JOURNAL_MOVE, n)->to = ready(1, 5, 1);
    assert_int_equal(apply(w), DTQ_ECORRUPT);
    expect_damage(w, "the journal is damaged");
}

static void a_damaged_index_entry_is_refused(void **state)
{
    struct world *w = *state;
    dtq_id two = id(2);

    make_three(w);
    overwrite(w, TABLE_IDS, journal_id_slice(&two), text("\x40garbage"));
    expect_reads_fail(w, "the records of task 019a");
    expect_ops_fail(w, 2);
    add(w, JOURNAL_DEL, 2);
    assert_int_equal(apply(w), DTQ_ECORRUPT);
    add(w, JOURNAL_DEL, 3);
    apply_ok(w);
}

static void an_index_that_leads_nowhere_is_refused(void **state)
{
    struct world *w = *state;

    make_three(w);
    drop(w, TABLE_TASKS, key_slice(ready(1, 4, 2)));
    expect_reads_fail(w, "the records of task 019a");
    expect_ops_fail(w, 2);
    add(w, JOURNAL_DEL, 2);
    assert_int_equal(apply(w), DTQ_ECORRUPT);
}

static void a_damaged_record_is_refused(void **state)
{
    struct world *w = *state;

    make_three(w);
    overwrite(w, TABLE_TASKS, key_slice(ready(1, 4, 2)), text("\x03garbage of any kind"));
    expect_reads_fail(w, "the record of seq 2 in queue 1");
    assert_int_equal(
        read_any(w, (struct journal_read){.type = JOURNAL_LOAD, .queue = 1, .limit = 9}),
        DTQ_ECORRUPT);
    expect_ops_fail(w, 2);
}

static void a_record_of_another_task_is_refused(void **state)
{
    struct world *w = *state;
    dtq_id nine = id(9);
    uint8_t room[64];
    struct journal_out out = {.at = room};

    make_three(w);
    journal_head_out(&out, &(struct journal_record){.id = nine});
    overwrite(w, TABLE_TASKS, key_slice(ready(1, 4, 2)), journal_out_slice(&out));
    expect_reads_fail(w, "the records of task 019a");
    expect_ops_fail(w, 2);
}

static void a_record_with_an_unknown_sink_or_number_is_refused(void **state)
{
    struct world *w = *state;
    struct journal_record record = {.id = id(2), .sink = 5};
    uint8_t room[64];
    struct journal_out out = {.at = room};

    make_three(w);
    journal_head_out(&out, &record);
    overwrite(w, TABLE_TASKS, key_slice(ready(1, 4, 2)), journal_out_slice(&out));
    expect_reads_fail(w, "the records of task 019a");
    out.len = 0;
    record.common = 77;
    journal_head_out(&out, &record);
    overwrite(w, TABLE_TASKS, key_slice(ready(1, 4, 2)), journal_out_slice(&out));
    expect_reads_fail(w, "the records of task 019a");
    add(w, JOURNAL_DEAD, 2);
    assert_int_equal(apply(w), DTQ_ECORRUPT);
}

static void damaged_counters_are_refused(void **state)
{
    struct world *w = *state;

    make_three(w);
    overwrite(w, TABLE_COUNTERS, key_slice(ready(1, 4, 2)), text("short"));
    expect_reads_fail(w, "the records of task 019a");
    assert_int_equal(
        read_any(w, (struct journal_read){.type = JOURNAL_LOAD, .queue = 1, .limit = 9}),
        DTQ_ECORRUPT);
    expect_ops_fail(w, 2);
    drop(w, TABLE_COUNTERS, key_slice(ready(1, 4, 2)));
    expect_reads_fail(w, "the records of task 019a");
}

static void a_lost_history_is_refused(void **state)
{
    struct world *w = *state;
    dtq_id two = id(2);

    make_three(w);
    drop(w, TABLE_HISTORY, journal_id_slice(&two));
    expect_reads_fail(w, "the records of task 019a");
    add(w, JOURNAL_DEL, 2);
    assert_int_equal(apply(w), DTQ_ECORRUPT);
}

static void two_tasks_in_one_place_are_refused(void **state)
{
    struct world *w = *state;

    make_three(w);
    add_put(w, 9, ready(1, 4, 2));
    assert_int_equal(apply(w), DTQ_ECORRUPT);
    add(w, JOURNAL_MOVE, 3)->to = ready(1, 4, 2);
    assert_int_equal(apply(w), DTQ_ECORRUPT);
    load(w, 1);
    expect_tasks(w, "1 2 3 .");
    expect_counts(w, 1, 3, 0, 45);
}

static void counts_that_are_too_low_are_refused(void **state)
{
    struct world *w = *state;
    uint8_t room[JOURNAL_QUEUE_BYTES_MAX];
    struct journal_out out = {.at = room};

    make_three(w);
    journal_queue_out(&out, &(struct journal_queue){.number = 1, .name = "q1"});
    overwrite(w, TABLE_QUEUES, (struct dtqi_slice){"\0\0\0\1", 4}, journal_out_slice(&out));
    restart(w);
    add(w, JOURNAL_DEL, 1);
    assert_int_equal(apply(w), DTQ_ECORRUPT);
    expect_damage(w, "the counts of queue 'q1' are too low");
}

static void expect_open_fails(struct world *w, const char *words)
{
    struct journal *journal;
    struct journal_start start;

    assert_int_equal(journal_open(w->store, 1, &journal, &start, w->why, sizeof w->why),
                     DTQ_ECORRUPT);
    if (strstr(w->why, words) == NULL)
        fail_msg("'%s' does not say '%s'", w->why, words);
}

static void a_newer_format_is_refused(void **state)
{
    struct world *w = *state;

    overwrite(w, TABLE_META, text("format"), (struct dtqi_slice){"\2\0\0\0\0\0\0\0", 8});
    expect_open_fails(w, "written by a newer dtq (format 2, this one knows 1)");
    drop(w, TABLE_META, text("format"));
    expect_open_fails(w, "a record of table 'meta'");
    overwrite(w, TABLE_META, text("format"), (struct dtqi_slice){"\1", 1});
    expect_open_fails(w, "a record of table 'meta'");
}

static void damage_that_an_open_meets_is_refused(void **state)
{
    static const struct {
        const char *key;
        enum journal_table table;
        uint32_t key_len;
    } records[] = {{"epoch", TABLE_META, 5},
                   {"seq", TABLE_META, 3},
                   {"\0\0\0\1", TABLE_QUEUES, 4},
                   {"\0\0\0", TABLE_QUEUES, 3},
                   {"a sink..........", TABLE_SINKS, 16},
                   {"worker", TABLE_WORKERS, 6},
                   {"worker of tests.", TABLE_WORKERS, 16},
                   {"a sink..........", TABLE_APPLIED, 16},
                   {"\0\0\0\1", TABLE_COMMON, 4},
                   {"\0\1\0\1", TABLE_COMMON, 4}};
    struct world *w = *state;

    make_three(w);
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        struct store *good = w->store;
        char words[64];

        assert_int_equal(store_memory_clone(good, &w->store), DTQ_OK);
        overwrite(w, records[i].table, (struct dtqi_slice){records[i].key, records[i].key_len},
                  text("\1?"));
        (void)snprintf(words, sizeof words, "a record of table '%s'",
                       journal_tables[records[i].table]);
        expect_open_fails(w, words);
        store_close(w->store);
        w->store = good;
    }
}

static void a_flipped_bit_is_refused_in_words(void **state)
{
    struct world *w = *state;

    make_three(w);
    assert_int_equal(store_memory_damage(w->store, TABLE_TASKS, key_slice(ready(1, 4, 2))), DTQ_OK);
    expect_reads_fail(w, "of table 'tasks' is damaged");
    add(w, JOURNAL_DEL, 2); /* needs the index only */
    apply_ok(w);
    load(w, 1);
    expect_tasks(w, "1 3 .");
}

/* ---- cron entries */

static struct journal_cron cron_of(const char *name, uint8_t mark)
{
    struct journal_cron cron = {
        .name = dtqi_str(name),
        .expression = dtqi_str("0 3 * * *"),
        .zone = dtqi_str("Europe/Berlin"),
        .missed = DTQI_MISSED_ALL,
        .missed_max = 7,
        .skip_overlap = true,
        .delay_ms = 5,
        .created_wall_ms = 1700000000000,
        .spec = text("a spec"),
        .body = text("a payload"),
        .state = {.cursor_wall_ms = 1700000000001, .anchor_wall_ms = 1700000000002},
    };

    memset(cron.uid.bytes, mark, sizeof cron.uid.bytes);
    cron.state.uid = cron.uid;
    return cron;
}

static void apply_cron(struct world *w, enum journal_op_type type, const struct journal_cron *cron)
{
    add(w, type, 0)->cron = cron;
    apply_ok(w);
}

static void cron_entries_are_there_after_a_restart_in_the_order_of_names(void **state)
{
    struct world *w = *state;
    struct journal_cron b = cron_of("b", 2);
    struct journal_cron a = cron_of("a", 1);
    struct journal_cron every = {.name = dtqi_str("c"), .every_ms = 1000, .spec = text("s")};
    const struct journal_cron *c;

    apply_cron(w, JOURNAL_CRON_PUT, &b);
    apply_cron(w, JOURNAL_CRON_PUT, &every);
    apply_cron(w, JOURNAL_CRON_PUT, &a);
    restart(w);
    assert_int_equal(w->start.crons_n, 3);
    c = &w->start.crons[0];
    assert_true(dtqi_str_eq(c->name, a.name));
    assert_true(dtqi_uid_eq(&c->uid, &a.uid));
    assert_true(dtqi_str_eq(c->expression, a.expression));
    assert_true(dtqi_str_eq(c->zone, a.zone));
    assert_int_equal(c->missed, DTQI_MISSED_ALL);
    assert_int_equal(c->missed_max, 7);
    assert_true(c->skip_overlap);
    assert_int_equal(c->delay_ms, 5);
    assert_int_equal(c->created_wall_ms, a.created_wall_ms);
    assert_slice(c->spec, "a spec");
    assert_slice(c->body, "a payload");
    assert_int_equal(c->state.cursor_wall_ms, a.state.cursor_wall_ms);
    assert_int_equal(c->state.anchor_wall_ms, a.state.anchor_wall_ms);
    assert_true(dtqi_str_eq(w->start.crons[1].name, b.name));
    assert_int_equal(w->start.crons[2].every_ms, 1000);
    assert_int_equal(w->start.crons[2].expression.len, 0);
}

static void the_state_of_a_cron_entry_goes_with_its_task(void **state)
{
    struct world *w = *state;
    struct journal_cron cron = cron_of("a", 1);

    make_queues(w, 1);
    apply_cron(w, JOURNAL_CRON_PUT, &cron);
    cron.state.fired = 3;
    cron.state.missed = 4;
    cron.state.skipped = 5;
    cron.state.due_wall_ms = 6;
    cron.state.fired_wall_ms = 7;
    cron.state.last_id = id(9);
    cron.state.hand_n = JOURNAL_CRON_HAND_MAX;
    for (uint32_t i = 0; i < JOURNAL_CRON_HAND_MAX; i++)
        cron.state.hand_ids[i] = id(20 + i);
    cron.state.paused = true;
    add_put(w, 9, ready(1, 4, 1));
    apply_cron(w, JOURNAL_CRON_STATE, &cron);
    restart(w);
    load(w, 1);
    expect_tasks(w, "9 .");
    assert_memory_equal(&w->start.crons[0].state.uid, &cron.state.uid, sizeof cron.state.uid);
    assert_int_equal(w->start.crons[0].state.fired, 3);
    assert_int_equal(w->start.crons[0].state.missed, 4);
    assert_int_equal(w->start.crons[0].state.skipped, 5);
    assert_int_equal(w->start.crons[0].state.due_wall_ms, 6);
    assert_int_equal(w->start.crons[0].state.fired_wall_ms, 7);
    assert_true(dtqi_id_eq(&w->start.crons[0].state.last_id, &cron.state.last_id));
    assert_true(w->start.crons[0].state.paused);
    assert_int_equal(w->start.crons[0].state.hand_n, JOURNAL_CRON_HAND_MAX);
    assert_memory_equal(w->start.crons[0].state.hand_ids, cron.state.hand_ids,
                        sizeof cron.state.hand_ids);
}

static void the_state_of_an_entry_that_is_gone_brings_nothing_back(void **state)
{
    struct world *w = *state;
    struct journal_cron cron = cron_of("a", 1);
    struct journal_cron other = cron_of("a", 2);

    apply_cron(w, JOURNAL_CRON_PUT, &cron);
    cron.state.fired = 1;
    add(w, JOURNAL_CRON_DEL, 0)->cron = &cron;
    apply_cron(w, JOURNAL_CRON_STATE, &cron);
    restart(w);
    assert_int_equal(w->start.crons_n, 0);
    apply_cron(w, JOURNAL_CRON_PUT, &other);
    apply_cron(w, JOURNAL_CRON_STATE, &cron); /* of the one that had the name before */
    restart(w);
    assert_int_equal(w->start.crons[0].state.fired, 0);
    apply_cron(w, JOURNAL_CRON_DEL, &other);
    apply_cron(w, JOURNAL_CRON_DEL, &other);
    restart(w);
    assert_int_equal(w->start.crons_n, 0);
}

static void a_cron_entry_that_is_damaged_is_refused_and_can_be_repaired(void **state)
{
    struct world *w = *state;
    struct journal_cron bad = cron_of("bad", 1);
    struct journal_cron lost = cron_of("lost", 2);
    struct journal_cron good = cron_of("good", 3);
    struct journal_repair repair = {0};

    good.state.fired = 9;
    apply_cron(w, JOURNAL_CRON_PUT, &bad);
    apply_cron(w, JOURNAL_CRON_PUT, &lost);
    apply_cron(w, JOURNAL_CRON_PUT, &good);
    overwrite(w, TABLE_CRON, text("bad"), text("?"));
    expect_open_fails(w, "a record of table 'cron'");
    drop(w, TABLE_CRON, text("bad"));
    drop(w, TABLE_CRON_STATES, text("lost"));
    expect_open_fails(w, "a record of table 'cron_states'");
    overwrite(w, TABLE_CRON, text("bad"), text("?"));
    assert_int_equal(journal_repair(w->store, &repair), DTQ_OK);
    restart(w);
    assert_int_equal(w->start.crons_n, 2);
    assert_true(dtqi_str_eq(w->start.crons[0].name, good.name));
    assert_int_equal(w->start.crons[0].state.fired, 9);
    assert_false(w->start.crons[0].state.paused);
    assert_true(dtqi_str_eq(w->start.crons[1].name, lost.name));
    assert_true(w->start.crons[1].state.paused);
}

/* As dtq wrote it before it knew cron entries. */
static void a_journal_without_the_tables_of_cron_entries_opens(void **state)
{
    struct world *w = *state;
    struct journal_cron cron = cron_of("a", 1);

    close_journal(w);
    store_close(w->store);
    w->cfg.dir = w->root;
    w->cfg.tables_n = TABLE_CRON;
    open_store(w);
    store_close(w->store);
    w->cfg.tables_n = JOURNAL_TABLES_N;
    open_store(w);
    open_journal(w);
    assert_int_equal(w->start.crons_n, 0);
    apply_cron(w, JOURNAL_CRON_PUT, &cron);
    restart(w);
    assert_int_equal(w->start.crons_n, 1);
}

/* ---- records */

static uint64_t random_of(uint64_t *seed)
{
    *seed += 0x9e3779b97f4a7c15ull;
    return dtqi_mix64(*seed);
}

/* Of any size, often at the edge of one more byte. */
static uint64_t random_number(uint64_t *seed)
{
    uint64_t n = random_of(seed) >> random_of(seed) % 64;

    return random_of(seed) % 4 == 0 ? (1ull << random_of(seed) % 64) - random_of(seed) % 2 : n;
}

static struct journal_key random_key(uint64_t *seed)
{
    return (struct journal_key){.delayed = random_of(seed) % 2 == 0,
                                .rank = (uint8_t)(random_of(seed) % 10),
                                .queue = (uint32_t)random_number(seed),
                                .seq = random_number(seed)};
}

static int sign(int n)
{
    return (n > 0) - (n < 0);
}

static void keys_sort_on_the_disk_as_the_core_sorts_them(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct journal_key keys[2] = {random_key(&seed), random_key(&seed)};
        uint8_t room[2][JOURNAL_KEY_BYTES_MAX] = {{0}};
        struct journal_out outs[2] = {{.at = room[0]}, {.at = room[1]}};
        int order;

        if (i % 2 == 0) {
            keys[1].delayed = keys[0].delayed;
            keys[1].queue = keys[0].queue;
        }
        for (int k = 0; k < 2; k++) {
            struct journal_key back;
            struct journal_in in;

            keys[k].due_wall_ms = keys[k].delayed ? random_number(&seed) : 0;
            journal_key_out(&outs[k], &keys[k]);
            in = journal_in_of(journal_out_slice(&outs[k]));
            assert_true(journal_key_in(&in, &back));
            assert_int_equal(in.len, 0);
            assert_int_equal(journal_key_compare(&back, &keys[k]), 0);
            assert_int_equal(back.rank, keys[k].rank);
            assert_int_equal(back.queue, keys[k].queue);
        }
        order = journal_key_compare(&keys[0], &keys[1]);
        if (order != 0)
            assert_int_equal(sign(memcmp(room[0], room[1], sizeof room[0])), sign(order));
    }
}

/* Decoders get what a damaged disk might hold: they refuse it or stay inside it. */
static void decode_all(struct dtqi_slice bytes)
{
    struct journal_in in = journal_in_of(bytes);
    struct journal_key key;
    struct journal_entry entry;
    struct journal_record record;
    struct journal_counters counters;
    struct journal_dead dead;
    struct journal_queue queue;
    struct journal_sink_record sink;
    struct dtqi_slice history = bytes;
    struct dtqi_slice one;

    (void)journal_key_in(&in, &key);
    (void)journal_entry_in(bytes, &entry);
    (void)journal_counters_in(bytes, &counters);
    (void)journal_queue_in((struct dtqi_slice){"\0\0\0\1", 4}, bytes, &queue);
    (void)journal_sink_in((struct dtqi_slice){"0123456789abcdef", 16}, bytes, &sink);
    if (journal_record_in(bytes, &record))
        assert_true(record.spec.len + record.body.len <= bytes.len);
    if (journal_dead_in(bytes, &dead))
        assert_true(dead.text.len + dead.history.len + dead.record.len <= bytes.len);
    while (journal_history_next(&history, &one))
        assert_true(one.len <= bytes.len);
}

static void decoders_stay_inside_what_they_are_given(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (int i = 0; i < 50000; i++) {
        uint32_t n = (uint32_t)(random_of(&seed) % 80);
        uint8_t *bytes = malloc(n + 1); /* of its own, so that a sanitizer sees its end */

        for (uint32_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)(random_of(&seed) >> random_of(&seed) % 8 * 8);
        if (n > 0 && random_of(&seed) % 2 == 0)
            bytes[0] &= 3;
        bytes = realloc(bytes, n > 0 ? n : 1);
        decode_all((struct dtqi_slice){bytes, n});
        free(bytes);
    }
}

static void records_that_are_cut_are_refused(void **state)
{
    uint8_t room[256];
    struct journal_out out = {.at = room};
    struct journal_counters counters;
    struct journal_queue queue = {.number = 1, .name = "mail", .ready = 5, .bytes = 1000000};
    struct journal_entry entry = {.key = ready(3, 4, 70000), .bytes = 150, .common = 3};

    (void)state;
    journal_counters_out(&out, &some_counters);
    for (uint32_t n = 0; n < out.len; n++)
        assert_false(journal_counters_in((struct dtqi_slice){room, n}, &counters));
    assert_true(journal_counters_in(journal_out_slice(&out), &counters));
    out.len = 0;
    journal_queue_out(&out, &queue);
    for (uint32_t n = 0; n < out.len; n++)
        assert_false(journal_queue_in((struct dtqi_slice){"\0\0\0\1", 4},
                                      (struct dtqi_slice){room, n}, &queue));
    out.len = 0;
    journal_entry_out(&out, &entry);
    for (uint32_t n = 0; n < out.len; n++)
        assert_false(journal_entry_in((struct dtqi_slice){room, n}, &entry));
    assert_true(journal_entry_in(journal_out_slice(&out), &entry));
    assert_int_equal(entry.common, 3);
}

/* ---- random work against a model of it */

#define MODEL_TASKS 60
#define MODEL_QUEUES 3
static const char *const model_specs[] = {"", "noop", "mail.send", "a spec of some length"};

struct model_task {
    bool there;
    bool dead;
    struct journal_key key;
    uint32_t failures;
    uint32_t spec;
    uint64_t reply_to;
    uint32_t body_bytes;
    uint32_t logs;
};

struct model {
    struct model_task tasks[MODEL_TASKS];
    uint64_t seq;
    uint64_t seed;
};

static struct journal_key model_key(struct model *m)
{
    struct journal_key key = ready(1 + (uint32_t)(random_of(&m->seed) % MODEL_QUEUES),
                                   (uint8_t)(random_of(&m->seed) % 3), ++m->seq);

    if (random_of(&m->seed) % 4 == 0) {
        key.delayed = true;
        key.due_wall_ms = random_of(&m->seed) % 5;
    }
    return key;
}

static void model_put(struct world *w, struct model *m, uint32_t n)
{
    static const char body[9000];
    struct model_task fresh = {.there = true, .key = model_key(m)};
    struct journal_op *op = add(w, JOURNAL_PUT, n);

    fresh.spec = (uint32_t)(random_of(&m->seed) % 4);
    fresh.reply_to = random_of(&m->seed) % 3;
    fresh.body_bytes = (uint32_t)(random_of(&m->seed) % 10 == 0 ? sizeof body : n);
    fresh.failures = random_of(&m->seed) % 5 == 0 ? 9 : 0;
    fresh.dead = m->tasks[n].dead;
    op->task.key = fresh.key;
    op->task.spec = text(model_specs[fresh.spec]);
    op->task.reply_to = fresh.reply_to;
    op->task.body = (struct dtqi_slice){body, fresh.body_bytes};
    op->task.counters.failures = fresh.failures;
    if (!m->tasks[n].there)
        m->tasks[n] = fresh;
}

static void model_step(struct world *w, struct model *m)
{
    uint32_t n = (uint32_t)(random_of(&m->seed) % MODEL_TASKS);
    struct model_task *t = &m->tasks[n];

    switch (random_of(&m->seed) % 9) {
    case 0:
    case 1:
    case 2: model_put(w, m, n); return;
    case 3:
    case 4:
        add(w, JOURNAL_DEL, n);
        *t = (struct model_task){.dead = t->dead};
        return;
    case 5:
        add(w, JOURNAL_COUNTERS, n)->task.counters.failures = t->failures + 1;
        t->failures += t->there;
        return;
    case 6: {
        struct journal_key to = model_key(m);

        add(w, JOURNAL_MOVE, n)->to = to;
        t->key = to;
        return;
    }
    case 7:
        add_log(w, n, "x");
        t->logs += t->there && t->logs < JOURNAL_HISTORY_MAX;
        return;
    default:
        if (!t->there || random_of(&m->seed) % 2 == 0) {
            add(w, JOURNAL_DEAD_DEL, n);
            t->dead = false;
        } else {
            add(w, JOURNAL_DEAD, n);
            *t = (struct model_task){.dead = true};
        }
        return;
    }
}

static uint32_t number_of(const dtq_id *task)
{
    return (uint32_t)task->bytes[7] << 4 | (task->bytes[8] & 15);
}

static void expect_model_task(const struct model *m, const struct journal_task *got, bool bodies)
{
    const struct model_task *t = &m->tasks[number_of(&got->id)];

    assert_true(t->there);
    assert_int_equal(journal_key_compare(&got->key, &t->key), 0);
    assert_int_equal(got->key.queue, t->key.queue);
    assert_int_equal(got->counters.failures, t->failures);
    assert_int_equal(got->reply_to, t->reply_to);
    if (!bodies)
        return;
    assert_slice(got->spec, model_specs[t->spec]);
    assert_int_equal(got->body.len, t->body_bytes);
}

static uint32_t model_count(const struct model *m, uint32_t queue, bool is_delayed, uint64_t *bytes)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < MODEL_TASKS; i++) {
        const struct model_task *t = &m->tasks[i];

        if (!t->there || t->key.queue != queue || t->key.delayed != is_delayed)
            continue;
        n++;
        *bytes += strlen(model_specs[t->spec]) + t->body_bytes;
    }
    return n;
}

static void expect_model_order(struct world *w, const struct model *m, uint32_t wanted)
{
    assert_int_equal(w->read.tasks_n, wanted);
    for (uint32_t i = 0; i < wanted; i++) {
        expect_model_task(m, &w->read.tasks[i], true);
        if (i > 0)
            assert_true(journal_key_compare(&w->read.tasks[i - 1].key, &w->read.tasks[i].key) < 0);
    }
}

static void expect_model(struct world *w, const struct model *m)
{
    uint32_t all = 0;
    uint32_t all_delayed = 0;
    uint32_t dead = 0;

    for (uint32_t queue = 1; queue <= MODEL_QUEUES; queue++) {
        uint64_t bytes = 0;
        uint32_t ready_n = model_count(m, queue, false, &bytes);
        uint32_t delayed_n = model_count(m, queue, true, &bytes);

        load(w, queue);
        expect_model_order(w, m, ready_n);
        assert_int_equal(queue_at_start(w, queue)->ready, ready_n);
        assert_int_equal(queue_at_start(w, queue)->delayed, delayed_n);
        assert_int_equal(queue_at_start(w, queue)->bytes, bytes);
        all += ready_n + delayed_n;
        all_delayed += delayed_n;
    }
    read_ok(w, (struct journal_read){.type = JOURNAL_DUE, .limit = UINT32_MAX});
    expect_model_order(w, m, all_delayed);
    read_ok(w, (struct journal_read){.type = JOURNAL_SCAN, .limit = UINT32_MAX, .bodies = true});
    assert_int_equal(w->read.tasks_n, all);
    for (uint32_t i = 0; i < all; i++) {
        const struct journal_task *t = &w->read.tasks[i];

        expect_model_task(m, t, true);
        assert_int_equal(t->history.len, m->tasks[number_of(&t->id)].logs * 5ull);
    }
    for (uint32_t i = 0; i < MODEL_TASKS; i++)
        dead += m->tasks[i].dead;
    assert_int_equal(records_in(w, TABLE_DEAD), dead);
    assert_int_equal(records_in(w, TABLE_TASKS), all);
}

static void random_batches_have_the_effect_of_a_model(void **state)
{
    struct world *w = *state;
    struct model m = {.seed = 11};

    make_queues(w, MODEL_QUEUES);
    for (int i = 0; i < 300; i++) {
        struct model before = m;
        bool fails = w->in_memory && random_of(&m.seed) % 5 == 0;
        uint32_t steps = 1 + (uint32_t)(random_of(&m.seed) % 40);

        while (steps-- > 0)
            model_step(w, &m);
        if (fails)
            store_memory_fail_commit(w->store, DTQ_ENOSPC);
        assert_int_equal(apply(w), fails ? DTQ_ENOSPC : DTQ_OK);
        if (fails)
            memcpy(m.tasks, before.tasks, sizeof m.tasks);
        if (i % 10 == 9) {
            restart(w);
            expect_model(w, &m);
        }
    }
    for (uint32_t n = 0; n < MODEL_TASKS; n++)
        add(w, JOURNAL_DEL, n);
    apply_ok(w);
    assert_int_equal(records_in(w, TABLE_TASKS), 0);
    assert_int_equal(records_in(w, TABLE_IDS), 0);
    assert_int_equal(records_in(w, TABLE_COUNTERS), 0);
    assert_int_equal(records_in(w, TABLE_HISTORY), 0);
    assert_int_equal(records_in(w, TABLE_COMMON), 0);
}

#define MEMORY(f)                                     \
    {                                                 \
#f " (memory)", f, in_memory, end_world, NULL \
    }
#define DIRECTORY(f)                         \
    {                                        \
#f, f, in_directory, end_world, NULL \
    }
#define BOTH(f) MEMORY(f), DIRECTORY(f)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_task_is_read_as_it_was_written),
        BOTH(the_smallest_task_is_kept_too),
        BOTH(a_queue_is_in_order_of_rank_then_seq),
        BOTH(an_id_that_is_there_is_left_alone_and_named),
        BOTH(a_delete_needs_no_key_and_no_task),
        BOTH(operations_of_a_batch_see_those_before_them),
        BOTH(counters_are_kept_beside_the_task),
        BOTH(a_put_may_bring_counters),
        BOTH(a_move_takes_payload_and_counters_along),
        BOTH(a_transfer_takes_everything_to_the_other_queue),
        BOTH(a_history_grows_and_goes_with_its_task),
        BOTH(a_history_keeps_its_newest_entries),
        BOTH(a_dead_letter_keeps_everything_out_of_its_queue),
        BOTH(a_dead_letter_has_the_counters_of_its_operation),
        DIRECTORY(dead_letters_are_bounded_and_the_oldest_ids_go),
        BOTH(attempts_of_a_task_that_has_ended_are_kept_until_their_time),
        BOTH(a_task_that_never_failed_leaves_nothing),
        BOTH(attempts_are_found_wherever_the_task_is),
        BOTH(a_task_that_ends_twice_has_its_last_attempts),
        DIRECTORY(kept_attempts_are_bounded_and_the_first_to_go_go),
        BOTH(a_key_stands_for_its_task_across_a_restart),
        BOTH(a_key_stands_for_the_last_task_that_it_was_given_to),
        BOTH(keys_are_forgotten_when_their_time_is_over),
        DIRECTORY(so_many_keys_are_forgotten_at_once_and_no_more),
        BOTH(each_start_has_a_larger_epoch),
        BOTH(no_seq_comes_twice_after_a_restart),
        BOTH(seqs_are_reserved_in_blocks),
        BOTH(a_restart_knows_queues_rosters_and_settlements),
        BOTH(a_group_is_kept_beside_its_queue),
        BOTH(a_group_is_forgotten_when_it_has_no_tasks),
        BOTH(a_scan_of_a_queue_takes_its_groups_along),
        BOTH(a_dead_letter_of_a_group_names_the_queue),
        BOTH(a_restart_recovers_the_counts),
        BOTH(the_sink_of_a_task_need_not_have_registered),
        BOTH(a_load_goes_on_behind_its_last_task),
        BOTH(a_load_stops_at_its_bytes),
        BOTH(due_tasks_come_in_order_of_time_from_all_queues),
        BOTH(a_lookup_names_what_it_found),
        BOTH(a_prefix_may_end_inside_a_byte),
        BOTH(a_scan_goes_through_all_queues_in_order_of_ids),
        DIRECTORY(a_scan_looks_at_so_many_ids_and_no_more),
        BOTH(dead_letters_are_listed_in_pages),
        BOTH(a_hundred_thousand_tasks_come_and_go_in_order),
        DIRECTORY(a_task_that_stays_does_not_make_the_file_grow),
        BOTH(what_tasks_have_in_common_is_kept_once),
        BOTH(tasks_without_a_number_carry_everything_themselves),
        MEMORY(a_failed_commit_changes_nothing),
        MEMORY(after_an_io_error_nothing_is_written_any_more),
        BOTH(a_full_journal_takes_deletes),
        BOTH(a_damaged_index_entry_is_refused),
        BOTH(an_index_that_leads_nowhere_is_refused),
        BOTH(a_damaged_record_is_refused),
        BOTH(a_record_of_another_task_is_refused),
        BOTH(a_record_with_an_unknown_sink_or_number_is_refused),
        BOTH(damaged_counters_are_refused),
        BOTH(a_lost_history_is_refused),
        BOTH(two_tasks_in_one_place_are_refused),
        BOTH(counts_that_are_too_low_are_refused),
        BOTH(a_newer_format_is_refused),
        MEMORY(damage_that_an_open_meets_is_refused),
        MEMORY(a_flipped_bit_is_refused_in_words),
        BOTH(cron_entries_are_there_after_a_restart_in_the_order_of_names),
        BOTH(the_state_of_a_cron_entry_goes_with_its_task),
        BOTH(the_state_of_an_entry_that_is_gone_brings_nothing_back),
        BOTH(a_cron_entry_that_is_damaged_is_refused_and_can_be_repaired),
        cmocka_unit_test_setup_teardown(a_journal_without_the_tables_of_cron_entries_opens,
                                        in_directory, end_world),
        cmocka_unit_test(keys_sort_on_the_disk_as_the_core_sorts_them),
        cmocka_unit_test(decoders_stay_inside_what_they_are_given),
        cmocka_unit_test(records_that_are_cut_are_refused),
        BOTH(random_batches_have_the_effect_of_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
