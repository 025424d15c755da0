#include "work.h"

#include "journal.h"
#include "results.h"
#include "store_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define OPS 24u
#define BODY_BYTES_MAX 9000u
#define QUEUES 3u
#define START_MS 1700000000000ull

struct disk_work {
    struct journal *journal;
    struct journal_start start;
    struct results *results;
};

static uint8_t body[BODY_BYTES_MAX];

static uint64_t seed_of(uint64_t seed, unsigned n)
{
    uint64_t mixed = (seed + 1) * 0x9E3779B97F4A7C15ull + (n + 1) * 0xBF58476D1CE4E5B9ull;

    for (int i = 0; i < 4; i++)
        (void)disk_random(&mixed);
    return mixed;
}

static struct dtqi_slice body_of(uint64_t *seed)
{
    uint64_t random = disk_random(seed);
    uint32_t bytes = (uint32_t)(random % 8 == 0 ? random / 8 % BODY_BYTES_MAX : random / 8 % 300);

    return (struct dtqi_slice){body, bytes};
}

static dtq_id id_of(uint64_t n)
{
    dtq_id id = {{0}};

    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(START_MS >> (40 - 8 * i));
    id.bytes[6] = 0x70;
    id.bytes[8] = 0x80;
    for (int i = 0; i < 4; i++)
        id.bytes[12 + i] = (uint8_t)(n >> (24 - 8 * i));
    return id;
}

/* ---- the journal */

static void journal_cfg(struct store_cfg *cfg)
{
    cfg->kind = JOURNAL_KIND;
    cfg->tables = journal_tables;
    cfg->tables_n = JOURNAL_TABLES_N;
}

static struct disk_work *open_journal(struct store *s, char *why, size_t why_bytes)
{
    struct disk_work *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    if (journal_open(s, 7, &w->journal, &w->start, why, why_bytes) == DTQ_OK)
        return w;
    free(w);
    return NULL;
}

static struct journal_key key_of(uint64_t *seed, uint64_t seq)
{
    uint64_t random = disk_random(seed);

    return (struct journal_key){.delayed = random % 4 == 0,
                                .rank = (uint8_t)(random / 4 % 10),
                                .queue = 1 + (uint32_t)(random / 64 % QUEUES),
                                .due_wall_ms =
                                    random % 4 == 0 ? START_MS + random / 1024 % 10000 : 0,
                                .seq = seq};
}

/* Half of the operations are new tasks; the others are about any that was ever put. */
static void make_op(struct journal_op *op, uint64_t *seed, uint64_t seq, uint64_t known)
{
    static const enum journal_op_type types[] = {
        JOURNAL_DEL,         JOURNAL_DEL,  JOURNAL_COUNTERS, JOURNAL_MOVE,
        JOURNAL_ATTEMPT_LOG, JOURNAL_DEAD, JOURNAL_DEAD_DEL};
    uint64_t random = disk_random(seed);

    *op = (struct journal_op){.type = JOURNAL_PUT, .task.id = id_of(seq)};
    op->task.key = key_of(seed, seq);
    op->task.spec = (struct dtqi_slice){"spec of a task", 8 + (uint32_t)(random / 7 % 3)};
    op->task.body = body_of(seed);
    op->task.sink.bytes[0] = 1 + (uint8_t)(random / 32 % 2);
    op->task.counters.cancel = random % 32 == 0;
    if (known == 0 || random % 2 == 0)
        return;
    op->type = types[disk_random(seed) % (sizeof types / sizeof *types)];
    op->task.id = id_of(1 + disk_random(seed) % known);
    op->task.counters = (struct journal_counters){.failures = 1 + (uint32_t)(random / 64 % 5),
                                                  .last = {random | 1, 3}};
    op->to = key_of(seed, seq);
    op->at_wall_ms = START_MS;
    op->text = (struct dtqi_slice){"why", 3};
}

/* As the core does, by the names that the journal came with. */
static void name_queues(const struct disk_work *w, struct journal_queue queues[QUEUES])
{
    for (uint32_t i = 0; i < QUEUES; i++) {
        queues[i] = (struct journal_queue){.number = i + 1};
        (void)snprintf(queues[i].name, sizeof queues[i].name, "q%u", i + 1);
    }
    for (uint32_t i = 0; i < w->start.queues_n; i++)
        if (w->start.queues[i].number <= QUEUES)
            queues[w->start.queues[i].number - 1] = w->start.queues[i];
}

static dtq_err step_journal(struct disk_work *w, uint64_t seed, unsigned n)
{
    struct journal_op ops[OPS];
    uint32_t present[OPS];
    struct journal_queue queues[QUEUES];
    struct journal_applied applied = {.sink.bytes = {1}, .run.bytes = {2}, .number = n + 1};
    struct journal_batch batch = {.ops = ops,
                                  .ops_n = OPS,
                                  .present = present,
                                  .applied = &applied,
                                  .applied_n = 1,
                                  .queues = queues,
                                  .queues_n = QUEUES};
    uint64_t random = seed_of(seed, n);

    name_queues(w, queues);
    for (uint32_t i = 0; i < OPS; i++)
        make_op(&ops[i], &random, (uint64_t)n * OPS + i + 1, (uint64_t)n * OPS);
    journal_apply(w->journal, &batch);
    return batch.err;
}

static uint32_t see(uint32_t digest, const void *at, size_t bytes)
{
    return store_crc32c(digest, at, bytes);
}

static uint32_t view_tasks(struct disk_work *w, enum journal_read_type type)
{
    struct journal_read read = {.type = type, .limit = 10000, .bodies = true};
    uint32_t digest = 0;

    journal_read(w->journal, &read);
    if (read.err != DTQ_OK)
        fail_msg("%s", journal_errmsg(w->journal));
    for (uint32_t i = 0; i < read.tasks_n; i++) {
        const struct journal_task *t = &read.tasks[i];

        digest = see(digest, t->id.bytes, 16);
        digest = see(digest, &t->key.queue, sizeof t->key.queue);
        digest = see(digest, &t->key.seq, sizeof t->key.seq);
        digest = see(digest, &t->counters.failures, sizeof t->counters.failures);
        digest = see(digest, t->sink.bytes, 16);
        digest = see(digest, t->spec.at, t->spec.len);
        digest = see(digest, t->body.at, t->body.len);
        digest = see(digest, t->history.at, t->history.len);
    }
    dtqi_buf_unref(read.buf);
    return digest;
}

static uint32_t view_journal(struct disk_work *w)
{
    return view_tasks(w, JOURNAL_SCAN) ^ view_tasks(w, JOURNAL_DEAD_LIST) * 31;
}

static void close_work(struct disk_work *w)
{
    if (w == NULL)
        return;
    journal_start_done(&w->start);
    journal_close(w->journal);
    results_close(w->results);
    free(w);
}

const struct disk_kind disk_journal = {"journal",    journal_cfg, open_journal,
                                       step_journal, close_work,  view_journal};

/* ---- the results */

static struct disk_work *open_results(struct store *s, char *why, size_t why_bytes)
{
    struct results_cfg cfg = {.ttl_ms = 1000, .outcome_memory_ms = 60000};
    struct disk_work *w = calloc(1, sizeof *w);
    dtqi_uid run = {{9}};

    if (w == NULL)
        return NULL;
    if (results_open(s, &cfg, &run, &w->results, why, why_bytes) == DTQ_OK)
        return w;
    free(w);
    return NULL;
}

struct message {
    dtq_id ids[OPS];
    uint32_t tickets[OPS];
    uint32_t kinds[OPS];
    struct dtqi_slice bodies[OPS];
    uint8_t stands[OPS];
    struct dtqi_spec spec;
};

/* Two of three ids are new; the others stand already, or are proposed twice in this batch. */
static void make_message(struct message *m, struct results_proposals *p, uint64_t *seed,
                         uint64_t first)
{
    m->spec = (struct dtqi_spec){.name = dtqi_str("sum"), .queue = dtqi_str("q")};
    for (uint32_t i = 0; i < OPS; i++) {
        uint64_t random = disk_random(seed);

        m->ids[i] = id_of(random % 3 == 0 ? random / 4 % (first + 1) : first + i + 1);
        m->tickets[i] = (uint32_t)(random / 256 % 1000);
        m->kinds[i] = random % 5 == 0 ? DTQ_FAILED : DTQ_SUCCEEDED;
        m->bodies[i] = body_of(seed);
    }
    *p = (struct results_proposals){.stands = m->stands};
    p->outcomes = (struct dtqi_outcomes){.ventilator.bytes = {1 + (uint8_t)(*seed % 2)},
                                         .epoch = 7,
                                         .worker = dtqi_str("w"),
                                         .ids = m->ids,
                                         .tickets = m->tickets,
                                         .kinds = m->kinds,
                                         .bodies = m->bodies,
                                         .specs = &m->spec,
                                         .specs_n = 1,
                                         .n = OPS};
}

static dtq_err step_results(struct disk_work *w, uint64_t seed, unsigned n)
{
    static struct message messages[2];
    struct results_proposals proposals[2];
    struct results_range ranges[2];
    struct results_ack ack = {.ventilator.bytes = {1}, .number = n};
    struct results_batch batch = {.wall_ms = START_MS + 100 * n,
                                  .proposals = proposals,
                                  .proposals_n = 2,
                                  .ranges = ranges,
                                  .acks = &ack,
                                  .acks_n = n > 2 ? 1 : 0,
                                  .sweep_max = n % 4 == 3 ? 50 : 0};
    uint64_t random = seed_of(seed, n);

    for (uint32_t i = 0; i < 2; i++)
        make_message(&messages[i], &proposals[i], &random, (2ull * n + i) * OPS);
    results_apply(w->results, &batch);
    return batch.err;
}

static uint32_t view_results(struct disk_work *w)
{
    static dtq_id ids[2 * OPS * WORK_STEPS_MAX];
    uint32_t ids_n = sizeof ids / sizeof *ids;
    struct results_read read = {
        .type = RESULTS_CLAIM, .ids = ids, .ids_n = ids_n, .wall_ms = START_MS};
    uint32_t digest;

    for (uint32_t i = 0; i < ids_n; i++)
        ids[i] = id_of(i);
    results_read(w->results, &read);
    assert_int_equal(read.err, DTQ_OK);
    digest = see(0, read.kinds, ids_n * sizeof *read.kinds);
    dtqi_buf_unref(read.buf);
    return digest;
}

const struct disk_kind disk_results = {"results",    results_store_cfg, open_results,
                                       step_results, close_work,        view_results};

/* ---- models */

uint32_t disk_digest(struct store *s, const struct disk_kind *kind)
{
    struct store_cfg cfg = {0};
    struct store_tx *tx;
    uint32_t digest = 0;

    kind->store_cfg(&cfg);
    assert_int_equal(store_begin(s, false, &tx), DTQ_OK);
    for (unsigned table = 0; table < cfg.tables_n; table++) {
        struct store_cursor *c;
        struct dtqi_slice key;
        struct dtqi_slice value;
        dtq_err err;

        assert_int_equal(store_cursor_open(tx, table, false, &c), DTQ_OK);
        for (err = store_seek(c, (struct dtqi_slice){0}, &key, &value); err == DTQ_OK;
             err = store_next(c, &key, &value)) {
            digest = see(see(digest, &table, sizeof table), key.at, key.len);
            digest = see(digest, value.at, value.len);
        }
        assert_int_equal(err, DTQ_ENOTFOUND);
        store_cursor_close(c);
    }
    store_abort(tx);
    return digest;
}

void disk_model_make(struct disk_model *m, const struct disk_kind *kind, uint64_t seed,
                     unsigned steps)
{
    dtqi_uid uid = {{5}};
    struct store_cfg cfg = {.map_bytes_max = 1ull << 30};
    struct disk_work *w;
    struct store *s;
    char why[256];

    assert_true(steps <= WORK_STEPS_MAX);
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 31 >> 3);
    kind->store_cfg(&cfg);
    *m = (struct disk_model){.steps = steps};
    assert_int_equal(store_open_memory(&cfg, &uid, &s), DTQ_OK);
    m->digests[0] = disk_digest(s, kind);
    w = kind->open(s, why, sizeof why);
    assert_non_null(w);
    m->digests[1] = disk_digest(s, kind);
    for (unsigned i = 0; i < steps; i++) {
        assert_int_equal(kind->step(w, seed, i), DTQ_OK);
        m->digests[2 + i] = disk_digest(s, kind);
    }
    m->view = kind->view(w);
    kind->close(w);
    store_close(s);
}
