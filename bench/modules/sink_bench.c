/*
 * What a sink can do on this machine, per outcome, without the network:
 *
 *   commit   the result store on the disk, one transaction (and its flushes) per batch
 *   core     decode OUTCOMES, the core, encode RESULTS and SETTLED; the store answers at once
 *
 * usage: sink_bench commit|core [outcomes [per_commit [body_bytes]]] < DIR-less; data goes to
 * $TMPDIR
 */
#include "codec.h"
#include "results.h"
#include "sink_core.h"
#include "store.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define PER_MESSAGE 512u
#define START_MS 1700000000000ull

struct options {
    uint64_t outcomes;
    uint32_t per_commit;
    uint32_t body_bytes;
};

static double wall_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void check(dtq_err err, const char *what)
{
    if (err == DTQ_OK)
        return;
    fprintf(stderr, "sink_bench: %s: %s\n", what, dtq_strerror(err));
    exit(1);
}

/* Ids as a producer makes them: the time, then a counter, then random bits. */
static dtq_id next_id(uint64_t n)
{
    dtq_id id;
    uint64_t ms = START_MS + n / 500;
    uint64_t low = dtqi_mix64(n);

    for (int i = 5; i >= 0; i--, ms >>= 8)
        id.bytes[i] = (uint8_t)ms;
    id.bytes[6] = (uint8_t)(0x70 | (n % 500) >> 8);
    id.bytes[7] = (uint8_t)(n % 500);
    memcpy(id.bytes + 8, &low, 8);
    return id;
}

struct columns {
    dtq_id ids[PER_MESSAGE];
    uint32_t tickets[PER_MESSAGE];
    uint64_t reply_to[PER_MESSAGE];
    uint64_t started[PER_MESSAGE];
    uint64_t durations[PER_MESSAGE];
    struct dtqi_slice bodies[PER_MESSAGE];
    struct dtqi_spec spec;
};

static void fill(struct columns *c, uint64_t first, uint32_t n, const char *body, uint32_t bytes,
                 struct dtqi_outcomes *ret)
{
    for (uint32_t i = 0; i < n; i++) {
        c->ids[i] = next_id(first + i);
        c->tickets[i] = (uint32_t)(first + i);
        c->reply_to[i] = 77;
        c->started[i] = START_MS;
        c->durations[i] = 10;
        c->bodies[i] = (struct dtqi_slice){body, bytes};
    }
    *ret = (struct dtqi_outcomes){
        .ventilator = {{9}},
        .epoch = 1,
        .instance = {{8}},
        .worker = dtqi_str("host.example:4711"),
        .heard_wall_ms = START_MS,
        .sink = {{0xaa}},
        .n = n,
        .ids = c->ids,
        .tickets = c->tickets,
        .specs = &c->spec,
        .specs_n = 1,
        .reply_to = c->reply_to,
        .started_wall_ms = c->started,
        .durations_us = c->durations,
        .bodies = c->bodies,
    };
}

static void report(const char *name, const struct options *o, double wall, double cpu)
{
    printf("%s: %llu outcomes of %u bytes, %u per commit: %.0f/s, %.3f us of CPU each\n", name,
           (unsigned long long)o->outcomes, o->body_bytes, o->per_commit,
           (double)o->outcomes / wall, cpu * 1e6 / (double)o->outcomes);
}

/* ---------------------------------------------------------------- commit */

struct commit {
    struct results_batch batch;
    struct results_proposals *proposals;
    struct columns *columns;
    uint8_t *stands;
    uint32_t messages;
};

static void commit_init(struct commit *c, const struct options *o)
{
    c->messages = (o->per_commit + PER_MESSAGE - 1) / PER_MESSAGE;
    c->proposals = calloc(c->messages, sizeof *c->proposals);
    c->columns = calloc(c->messages, sizeof *c->columns);
    c->stands = calloc(c->messages, PER_MESSAGE);
    c->batch.proposals = c->proposals;
    c->batch.ranges = calloc(c->messages, sizeof *c->batch.ranges);
    if (c->proposals == NULL || c->columns == NULL || c->stands == NULL || c->batch.ranges == NULL)
        check(DTQ_ENOMEM, "commit");
}

static void commit_fill(struct commit *c, const struct options *o, uint64_t first, const char *body)
{
    c->batch.proposals_n = c->messages;
    for (uint32_t m = 0; m < c->messages; m++) {
        uint32_t left = o->per_commit - m * PER_MESSAGE;

        c->columns[m].spec =
            (struct dtqi_spec){.name = dtqi_str("sum"), .queue = dtqi_str("default")};
        fill(&c->columns[m], first + (uint64_t)m * PER_MESSAGE,
             left < PER_MESSAGE ? left : PER_MESSAGE, body, o->body_bytes,
             &c->proposals[m].outcomes);
        c->proposals[m].stands = c->stands + (size_t)m * PER_MESSAGE;
    }
}

static void bench_commit(const struct options *o, const char *body)
{
    char dir[] = "/tmp/dtq-sink-bench-XXXXXX";
    struct store_cfg cfg = {.dir = mkdtemp(dir), .map_bytes_max = 16ull << 30};
    struct results_cfg limits = {.ttl_ms = 86400000, .outcome_memory_ms = 7200000};
    struct results *r;
    struct store *store;
    struct commit c = {0};
    dtqi_uid run = {{1}};
    char why[300] = "";
    char command[64];
    double wall = 0;
    double cpu = 0;

    results_store_cfg(&cfg);
    check(store_open(&cfg, &store, why, sizeof why), why);
    check(results_open(store, &limits, &run, &r, why, sizeof why), why);
    commit_init(&c, o);
    for (uint64_t n = 0; n < o->outcomes; n += o->per_commit) {
        double wall_from;
        double cpu_from;

        commit_fill(&c, o, n, body);
        wall_from = wall_s();
        cpu_from = cpu_s();
        c.batch.wall_ms = START_MS + n / 500;
        results_apply(r, &c.batch);
        check(c.batch.err, c.batch.why);
        wall += wall_s() - wall_from;
        cpu += cpu_s() - cpu_from;
    }
    report("commit", o, wall, cpu);
    printf("commit: %.0f bytes of file an outcome\n",
           (double)c.batch.space_used / (double)c.batch.held);
    free(c.proposals);
    free(c.columns);
    free(c.stands);
    free(c.batch.ranges);
    results_close(r);
    store_close(store);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    if (system(command) != 0)
        fprintf(stderr, "sink_bench: %s is left behind\n", dir);
}

/* ---------------------------------------------------------------- core */

struct frame {
    void *at;
    size_t bytes;
};

struct world {
    struct sink *sink;
    struct sink_actions actions;
    struct frame out;
    struct results_batch *batch; /* that is to be committed */
    struct results_read *read;   /* that is to be answered */
    uint64_t settled;            /* numbers given */
};

static void *place(void *arg, size_t bytes)
{
    struct frame *f = arg;

    f->bytes = bytes;
    f->at = realloc(f->at, bytes);
    return f->at;
}

/* Encode what the core says, as the shell does. */
static void do_actions(struct world *w)
{
    for (uint32_t i = 0; i < w->actions.n; i++) {
        struct sink_action *act = &w->actions.items[i];

        if (act->type == SINK_ACT_COMMIT)
            w->batch = act->batch;
        if (act->type == SINK_ACT_READ)
            w->read = act->read;
        if (act->type == SINK_ACT_RESULTS_SEND || act->type == SINK_ACT_CONTROL_SEND)
            check(dtqi_encode(&act->msg, place, &w->out), "encode");
    }
    sink_actions_reset(&w->actions);
}

static void step(struct world *w, struct sink_event event)
{
    event.now_ms = 1000;
    event.wall_ms = event.host_wall_ms = START_MS;
    sink_step(w->sink, &event, &w->actions);
    do_actions(w);
}

static void tell(struct world *w, enum sink_event_type type, struct dtqi_msg msg)
{
    step(w, (struct sink_event){.type = type, .msg = &msg});
}

/* Answer a commit as a store that takes no time, and acknowledge as a ventilator that takes none.
 */
static void commit(struct world *w)
{
    struct results_batch *b = w->batch;
    struct dtqi_msg ack = {.type = DTQI_SETTLED_ACK};

    b->won = 0;
    for (uint32_t i = 0; i < b->proposals_n; i++)
        b->won += b->proposals[i].outcomes.n;
    b->sweep_due_wall_ms = UINT64_MAX;
    if (b->won != 0)
        b->ranges[b->ranges_n++] = (struct results_range){{{9}}, w->settled + 1, b->won};
    w->settled += b->won;
    step(w, (struct sink_event){.type = SINK_EV_COMMITTED, .batch = b});
    ack.settled_ack = (struct dtqi_settled_ack){{{9}}, w->settled};
    tell(w, SINK_EV_CONTROL, ack);
}

static void world_init(struct world *w)
{
    struct sink_cfg cfg;

    sink_cfg_init(&cfg);
    cfg.store = (dtqi_uid){{0xaa}};
    check(sink_new(&cfg, &w->sink), "sink");
    tell(w, SINK_EV_RESULTS, (struct dtqi_msg){.type = DTQI_FOLLOW, .follow.reply_to = 77});
    tell(w, SINK_EV_CONTROL,
         (struct dtqi_msg){.type = DTQI_WELCOME,
                           .welcome = {.version = 1, .store = {{9}}, .wall_ms = START_MS}});
    tell(w, SINK_EV_CONTROL, (struct dtqi_msg){.type = DTQI_RESUME, .resume.store = {{9}}});
    step(w, (struct sink_event){.type = SINK_EV_READ_DONE, .read = w->read});
}

static void world_done(struct world *w)
{
    sink_free(w->sink);
    sink_actions_done(&w->actions);
    free(w->out.at);
}

static void take_message(struct world *w, const struct frame *in)
{
    struct dtqi_msg m;
    char why[200] = "";

    check(dtqi_decode(in->at, in->bytes, &m, why, sizeof why), why);
    step(w, (struct sink_event){.type = SINK_EV_INTAKE, .msg = &m});
    dtqi_msg_done(&m);
}

static void bench_core(const struct options *o, const char *body)
{
    static struct columns columns;
    struct world w = {0};
    struct frame in = {0};
    struct dtqi_buf *specs = dtqi_buf_new(1024, 4096);
    double wall = 0;
    double cpu = 0;

    check(specs != NULL ? DTQ_OK : DTQ_ENOMEM, "specs");
    world_init(&w);
    columns.spec = (struct dtqi_spec){.name = dtqi_str("sum"), .queue = dtqi_str("default")};
    columns.spec.raw = dtqi_spec_encode(&columns.spec, specs);
    for (uint64_t n = 0; n < o->outcomes; n += PER_MESSAGE) {
        struct dtqi_msg m = {.type = DTQI_OUTCOMES};
        double wall_from;
        double cpu_from;

        fill(&columns, n, PER_MESSAGE, body, o->body_bytes, &m.outcomes);
        check(dtqi_encode(&m, place, &in), "encode");
        wall_from = wall_s();
        cpu_from = cpu_s();
        take_message(&w, &in);
        if ((n + PER_MESSAGE) % o->per_commit < PER_MESSAGE) {
            step(&w, (struct sink_event){.type = SINK_EV_TICK});
            commit(&w);
        }
        wall += wall_s() - wall_from;
        cpu += cpu_s() - cpu_from;
    }
    report("core", o, wall, cpu);
    world_done(&w);
    dtqi_buf_unref(specs);
    free(in.at);
}

static uint64_t number(int argc, char **argv, int i, uint64_t otherwise)
{
    return argc > i ? strtoull(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    struct options o = {
        .outcomes = number(argc, argv, 2, 1000000),
        .per_commit = (uint32_t)number(argc, argv, 3, 4096),
        .body_bytes = (uint32_t)number(argc, argv, 4, 16),
    };
    static char body[DTQI_RESULT_BYTES_MAX];

    mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024); /* as the programs have it */
    mallopt(M_TRIM_THRESHOLD, 256 * 1024 * 1024);
    if (argc < 2 || o.per_commit == 0 || o.body_bytes > sizeof body) {
        fprintf(stderr, "usage: sink_bench commit|core [OUTCOMES [PER_COMMIT [BODY_BYTES]]]\n");
        return 2;
    }
    if (strcmp(argv[1], "commit") == 0)
        bench_commit(&o, body);
    else
        bench_core(&o, body);
    return 0;
}
