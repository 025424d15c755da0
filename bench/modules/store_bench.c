/*
 * How fast the ventilator's journal takes tasks and lets them go, on the disk where DIR is.
 *
 *     store_bench DIR [TASKS]
 *
 * For 1,000 and 4,096 tasks a commit: put them in order of one queue, walk them as a ventilator
 * loads its window, delete them in order; and with two queues in turn. Ids are in order of time, as
 * producers make them; payloads have 128 bytes, specs 32. DIR is made, and its store is left there.
 */
#include "journal.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD_BYTES 128
#define SPEC_BYTES 32
#define BATCH_MAX 4096u

struct bench {
    const char *dir;
    uint32_t tasks;
    uint32_t per_commit;
    uint32_t queues; /* in turn */
    struct store *store;
    struct journal *journal;
    struct journal_op ops[BATCH_MAX];
    uint32_t present[BATCH_MAX];
    uint8_t payload[PAYLOAD_BYTES];
    uint8_t spec[SPEC_BYTES];
};

struct timing {
    double wall_s;
    double cpu_s;
    double commit_worst_s;
};

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void check(dtq_err err, const char *what)
{
    if (err == DTQ_OK)
        return;
    (void)fprintf(stderr, "store_bench: %s failed: error %d\n", what, err);
    _exit(1);
}

static void open_bench(struct bench *b)
{
    struct store_cfg cfg = {.dir = b->dir,
                            .kind = JOURNAL_KIND,
                            .tables = journal_tables,
                            .tables_n = JOURNAL_TABLES_N,
                            .map_bytes_max = 64ull << 30};
    struct journal_start start;
    char why[512];

    if (store_open(&cfg, &b->store, why, sizeof why) != DTQ_OK ||
        journal_open(b->store, 1, &b->journal, &start, why, sizeof why) != DTQ_OK) {
        (void)fprintf(stderr, "store_bench: %s\n", why);
        _exit(1);
    }
    journal_start_done(&start);
}

static void close_bench(struct bench *b)
{
    journal_close(b->journal);
    store_close(b->store);
}

/* UUIDv7s of a producer that makes ten a millisecond. */
static dtq_id id_of(uint32_t i)
{
    uint64_t ms = 1795000000000ull + i / 10;
    uint64_t random = dtqi_mix64(i);
    dtq_id id = {{0}};

    for (int k = 0; k < 6; k++)
        id.bytes[k] = (uint8_t)(ms >> 8 * (5 - k));
    id.bytes[6] = 0x70;
    id.bytes[7] = (uint8_t)(i % 10);
    memcpy(id.bytes + 8, &random, 8);
    return id;
}

static void fill_batch(struct bench *b, enum journal_op_type type, uint32_t from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct journal_task *task = &b->ops[i].task;

        b->ops[i].type = type;
        *task = (struct journal_task){.id = id_of(from + i),
                                      .reply_to = 0x0123456789abcdef,
                                      .sink = {.bytes = "the only sink"},
                                      .spec = {b->spec, SPEC_BYTES},
                                      .body = {b->payload, PAYLOAD_BYTES}};
        task->key = (struct journal_key){
            .queue = 1 + (from + i) % b->queues, .rank = 4, .seq = from + i + 1};
    }
}

static struct timing run_batches(struct bench *b, enum journal_op_type type)
{
    struct journal_queue queues[2] = {{.number = 1, .name = "one"}, {.number = 2, .name = "two"}};
    struct journal_batch batch = {.ops = b->ops,
                                  .present = b->present,
                                  .queues = queues,
                                  .queues_n = type == JOURNAL_PUT ? b->queues : 0};
    struct timing t = {0};

    for (uint32_t from = 0; from < b->tasks; from += b->per_commit) {
        uint32_t n = b->tasks - from < b->per_commit ? b->tasks - from : b->per_commit;
        double wall;
        double cpu;

        fill_batch(b, type, from, n);
        batch.ops_n = n;
        wall = seconds(CLOCK_MONOTONIC);
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        journal_apply(b->journal, &batch);
        wall = seconds(CLOCK_MONOTONIC) - wall;
        check(batch.err, journal_errmsg(b->journal));
        batch.queues_n = 0;
        t.wall_s += wall;
        t.cpu_s += seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        if (wall > t.commit_worst_s)
            t.commit_worst_s = wall;
    }
    return t;
}

static struct timing run_loads(struct bench *b)
{
    struct timing t = {.wall_s = -seconds(CLOCK_MONOTONIC),
                       .cpu_s = -seconds(CLOCK_PROCESS_CPUTIME_ID)};
    uint32_t loaded = 0;

    for (uint32_t queue = 1; queue <= b->queues; queue++) {
        struct journal_read read = {
            .type = JOURNAL_LOAD, .queue = queue, .limit = b->per_commit, .bytes_max = 4u << 20};

        do {
            journal_read(b->journal, &read);
            check(read.err, journal_errmsg(b->journal));
            loaded += read.tasks_n;
            if (read.tasks_n > 0)
                read.after = read.tasks[read.tasks_n - 1].key;
            read.has_after = true;
            dtqi_buf_unref(read.buf);
        } while (!read.end);
    }
    check(loaded == b->tasks ? DTQ_OK : DTQ_ECORRUPT, "loading all tasks");
    t.wall_s += seconds(CLOCK_MONOTONIC);
    t.cpu_s += seconds(CLOCK_PROCESS_CPUTIME_ID);
    return t;
}

static void print_row(const struct bench *b, const char *what, struct timing t)
{
    printf("%-6s %6u %10.0f %8.3f %8.3f %9.1f\n", what, b->per_commit, b->tasks / t.wall_s,
           t.wall_s / b->tasks * 1e6, t.cpu_s / b->tasks * 1e6, t.commit_worst_s * 1e3);
}

static void print_disk(const struct bench *b)
{
    char path[4096];
    struct stat st;
    uint64_t used;
    uint64_t max;

    store_space(b->store, &used, &max);
    (void)snprintf(path, sizeof path, "%s/data.mdb", b->dir);
    if (stat(path, &st) != 0)
        return;
    printf("disk: %.1f bytes a task in use, %.1f in the file\n", (double)used / b->tasks,
           (double)st.st_blocks * 512 / b->tasks);
}

static void run(struct bench *b, uint32_t per_commit, uint32_t queues)
{
    struct timing put;

    b->per_commit = per_commit;
    b->queues = queues;
    printf("%u tasks in %u queue%s\n", b->tasks, queues, queues > 1 ? "s" : "");
    printf("%-6s %6s %10s %8s %8s %9s\n", "", "batch", "tasks/s", "us", "cpu us", "worst ms");
    open_bench(b);
    put = run_batches(b, JOURNAL_PUT);
    print_row(b, "put", put);
    print_row(b, "load", run_loads(b));
    print_disk(b);
    print_row(b, "delete", run_batches(b, JOURNAL_DEL));
    close_bench(b);
}

int main(int argc, char **argv)
{
    static struct bench b;

    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: store_bench DIR [TASKS]\n");
        return 2;
    }
    b.dir = argv[1];
    b.tasks = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 200000;
    if (b.tasks == 0)
        return 2;
    memset(b.payload, 'p', sizeof b.payload);
    memset(b.spec, 's', sizeof b.spec);
    run(&b, 1000, 1);
    run(&b, 4096, 1);
    run(&b, 4096, 2);
    return 0;
}
