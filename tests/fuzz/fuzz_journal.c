/*
 * A journal whose records were tampered with: it opens or says that it is damaged, every read gives
 * an answer or an error, writes go on, and a ventilator's core starts with what it gave.
 */
#include "fuzz.h"

#include "damage.h"
#include "journal_record.h"
#include "store_memory.h"
#include "vent_core.h"

#define WALL_MS 1700000000000ull
#define TASKS 14u

static const struct store_cfg store_cfg = {.dir = "memory",
                                           .kind = JOURNAL_KIND,
                                           .tables = journal_tables,
                                           .tables_n = JOURNAL_TABLES_N,
                                           .map_bytes_max = 1ull << 30};
static struct store *whole;        /* made once; each input has a clone of it */
static struct dtqi_slice specs[3]; /* of queues 1 and 2, and of group 3, which is of queue 1 */

static dtq_id id_of(uint32_t n)
{
    struct talk t;

    talk_init(&t, NULL, 0, WALL_MS);
    return t.ids[n];
}

static struct journal_task task_of(uint32_t n)
{
    struct journal_task task = {
        .id = id_of(n),
        .key = {.delayed = n % 5 == 0, .rank = (uint8_t)(n % 10), .queue = 1 + n % 3, .seq = n},
        .reply_to = n % 3,
        .spec = specs[n % 3],
        .body = {"body", n % 5},
    };

    task.key.due_wall_ms = task.key.delayed ? WALL_MS + n : 0;
    memset(task.sink.bytes, 0x51, 16);
    if (n % 4 == 0)
        task.counters = (struct journal_counters){
            .last = {7, n}, .counted = {7, n / 2}, .failures = n, .cancel = n % 8 == 0};
    return task;
}

static void apply(struct journal *j, struct journal_op *ops, uint32_t n,
                  struct journal_queue *queues, uint32_t queues_n)
{
    uint32_t present[2 * TASKS];
    struct journal_worker worker = {.gone = false};
    struct journal_sink sink = {.intake = "tcp://127.0.0.1:1", .results = "tcp://127.0.0.1:3"};
    struct journal_applied applied = {.number = 9};
    struct journal_batch batch = {.ops = ops,
                                  .ops_n = n,
                                  .applied = &applied,
                                  .applied_n = 1,
                                  .queues = queues,
                                  .queues_n = queues_n,
                                  .workers = &worker,
                                  .workers_n = 1,
                                  .sinks = &sink,
                                  .sinks_n = 1,
                                  .present = present};

    memset(worker.instance.bytes, 0x80, 16);
    memset(sink.store.bytes, 0x51, 16);
    applied.sink = applied.run = sink.store;
    journal_apply(j, &batch);
}

static void make_specs(void)
{
    struct dtqi_buf *buf = dtqi_buf_new(1024, 1 << 16);
    struct dtqi_spec spec = {.name = dtqi_str("t"), .queue = dtqi_str("a"), .retries = 3};

    assert(buf != NULL);
    specs[0] = dtqi_spec_encode(&spec, buf);
    spec.queue = dtqi_str("b");
    specs[1] = dtqi_spec_encode(&spec, buf);
    spec.queue = dtqi_str("a");
    spec.group = dtqi_str("x");
    specs[2] = dtqi_spec_encode(&spec, buf);
    for (int i = 0; i < 3; i++) {
        void *copy = malloc(specs[i].len);

        assert(copy != NULL);
        memcpy(copy, specs[i].at, specs[i].len);
        specs[i].at = copy;
    }
    dtqi_buf_unref(buf);
}

static void make_whole(void)
{
    dtqi_uid uid = {{0x11}};
    struct journal_start start;
    struct journal_op ops[2 * TASKS];
    struct journal_queue queues[] = {
        {.number = 1, .name = "a"},
        {.number = 2,
         .name = "b",
         .settings =
             {.limit = 3, .rate = 10, .rate_period_ms = 60000, .purge_seq = 9, .ageing_ms = 30000}},
        {.number = 3, .parent = 1, .name = "x", .settings.group_limit = 2}};
    struct journal *j;
    uint32_t n = 0;
    char why[200];

    make_specs();
    if (store_open_memory(&store_cfg, &uid, &whole) != DTQ_OK ||
        journal_open(whole, 1, &j, &start, why, sizeof why) != DTQ_OK)
        abort();
    for (uint32_t i = 0; i < TASKS; i++)
        ops[n++] = (struct journal_op){.type = JOURNAL_PUT, .task = task_of(i)};
    for (uint32_t i = 0; i < TASKS / 2; i++)
        ops[n++] = (struct journal_op){.type = i % 3 == 0 ? JOURNAL_DEAD : JOURNAL_ATTEMPT_LOG,
                                       .task = task_of(2 * i),
                                       .at_wall_ms = WALL_MS,
                                       .text = {"it failed", 9}};
    ops[n++] = (struct journal_op){
        .type = JOURNAL_DEL, .task = task_of(2), .at_wall_ms = WALL_MS}; /* its history stays */
    apply(j, ops, n, queues, 3);
    journal_start_done(&start);
    journal_close(j);
}

static uint32_t look(struct dtqi_slice slice)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < slice.len; i++)
        sum += ((const uint8_t *)slice.at)[i];
    return sum;
}

static void read_all(struct talk *t, struct journal *j)
{
    dtq_id ids[4] = {id_of(1), id_of(2), talk_id(t), talk_id(t)};

    for (int type = JOURNAL_LOAD; type <= JOURNAL_ATTEMPTS; type++) {
        struct dtqi_str keys[2] = {dtqi_str("again"), dtqi_str("a")};
        struct journal_read read = {
            .type = (enum journal_read_type)type,
            .queue = talk_choice(t, 3),
            .limit = 1 + talk_choice(t, 20),
            .ids = ids,
            .ids_n = type == JOURNAL_LOOKUP || type == JOURNAL_ATTEMPTS ? 4 : 1 + talk_choice(t, 2),
            .keys = keys,
            .keys_n = 2,
            .prefix_bits = talk_choice(t, 129),
            .bodies = talk_choice(t, 2) != 0};
        volatile uint32_t sum = 0;

        if (type == JOURNAL_LOAD && read.queue == 0)
            read.queue = 1;
        journal_read(j, &read);
        for (uint32_t i = 0; read.err == DTQ_OK && i < read.tasks_n; i++) {
            struct journal_task *task = &read.tasks[i];
            struct dtqi_slice entry;

            sum += look(task->spec) + look(task->body) + look(task->text);
            while (journal_history_next(&task->history, &entry))
                sum += look(entry);
        }
        (void)sum;
        dtqi_buf_unref(read.buf);
    }
}

/* As a ventilator does: of the queues that the journal named, or a new one. */
static void write_some(struct talk *t, struct journal *j, const struct journal_start *start)
{
    struct journal_op ops[8];
    uint32_t n = talk_choice(t, 9);
    struct journal_queue queue = {.number = 77, .name = "new"};

    if (start->queues_n != 0 && talk_choice(t, 4) != 0)
        queue = start->queues[0];
    for (uint32_t i = 0; i < start->queues_n; i++)
        if (start->queues[i].number == queue.number)
            queue = start->queues[i];
    for (uint32_t i = 0; i < n; i++) {
        ops[i] = (struct journal_op){
            .type = (enum journal_op_type)talk_choice(t, JOURNAL_PAST_FORGET + 1),
            .task = task_of(talk_choice(t, TASKS)),
            .has_key = talk_choice(t, 2) != 0,
            .to = {.rank = 3, .queue = queue.number, .seq = 100 + i},
            .at_wall_ms = WALL_MS,
            .text = {"again", 5}};
        ops[i].task.key.queue = queue.number;
        ops[i].task.key.seq += 50 * talk_choice(t, 2);
    }
    apply(j, ops, n, &queue, 1);
}

/* Gives every answer that the core asks for, until it asks for none. */
static void run_core(struct journal *j, const struct journal_start *start)
{
    struct vent_actions out = {0};
    struct vent_cfg cfg;
    struct vent *v;

    vent_cfg_default(&cfg);
    cfg.spec_decode = dtqi_spec_decode;
    cfg.spec_encode = dtqi_spec_encode;
    cfg.resident_tasks_max = 256;
    if (vent_new(&cfg, start, 1000, WALL_MS, &v) != DTQ_OK)
        return;
    for (uint64_t now_ms = 1000; now_ms < 60000; now_ms += 6000) {
        struct vent_event ev = {
            .type = VENT_EV_TICK, .now_ms = now_ms, .wall_ms = WALL_MS, .host_wall_ms = WALL_MS};
        struct vent_event answers[8];
        uint32_t n = 0;

        vent_step(v, &ev, &out);
        for (uint32_t i = 0; i < out.n && n < 8; i++) {
            answers[n] = ev;
            if (out.at[i].type == VENT_JOURNAL_READ) {
                answers[n].type = VENT_EV_JOURNAL_READ_DONE;
                answers[n++].read = out.at[i].read;
            } else if (out.at[i].type == VENT_JOURNAL_WRITE) {
                answers[n].type = VENT_EV_JOURNAL_WRITTEN;
                answers[n++].batch = out.at[i].batch;
            }
        }
        vent_actions_reset(&out);
        for (uint32_t i = 0; i < n; i++) {
            if (answers[i].type == VENT_EV_JOURNAL_READ_DONE)
                journal_read(j, answers[i].read);
            else
                journal_apply(j, answers[i].batch);
            vent_step(v, &answers[i], &out);
            vent_check(v);
        }
    }
    vent_free(v);
    vent_actions_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct talk t;
    struct store *s;
    struct journal *j;
    struct journal_start start;
    char why[200];

    if (whole == NULL)
        make_whole();
    talk_init(&t, at, bytes, WALL_MS);
    if (store_memory_clone(whole, &s) != DTQ_OK)
        abort();
    for (uint32_t i = 0; i < 8 && t.left > 8; i++)
        damage(&t, s, JOURNAL_TABLES_N);
    if (journal_open(s, 2, &j, &start, why, sizeof why) == DTQ_OK) {
        read_all(&t, j);
        write_some(&t, j, &start);
        read_all(&t, j);
        run_core(j, &start);
        journal_start_done(&start);
        journal_close(j);
    }
    store_close(s);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    return fuzz_noise(number, 16, at, bytes_max < 256 ? bytes_max : 256);
}
