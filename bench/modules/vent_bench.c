/*
 * What the ventilator's core costs per task, alone: no sockets, no codec, no disk. Messages are
 * made before the clock starts.
 *
 *   vent_bench [TASKS [WORKERS [short]]]     short: the first part only
 *
 * "short circuit": SUBMIT of 512, dispatch, REPORT done, SETTLED; nothing reaches the journal.
 * "backlog": SUBMIT only, no worker; every task is handed to a journal that answers at once.
 * "drain": the same tasks are loaded again, dispatched, done and settled.
 */
#include "codec.h"
#include "vent_core.h"

#include <stdio.h>
#include <time.h>

#define BATCH 512u
#define WALL_MS 1700000000000ull
#define SINK 900u
#define WORKER 1000u
#define BODY 128u

struct bench {
    struct vent *v;
    struct vent_actions out;
    uint64_t now_ms;
    uint32_t tasks;
    uint32_t workers;
    struct dtqi_msg *submits;
    uint32_t submits_n;
    uint64_t sessions[4096];
    uint64_t report_seq[4096];
    uint64_t sent[4096];
    uint64_t settled;
    dtq_id *ids; /* dispatched, not reported */
    uint32_t *tickets;
    uint32_t *holders;
    uint32_t n;
    struct journal_task *journal; /* what was put, in order */
    uint32_t journal_n;
    bool keeps; /* the journal keeps what is put */
    struct journal_read *read;
    struct journal_batch *batch;
};

/* Of the processor: other programs do not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static dtqi_uid uid(uint8_t mark)
{
    dtqi_uid u;

    memset(&u, mark, sizeof u);
    return u;
}

/* Nothing is requeued here. */
static struct dtqi_slice encode(const struct dtqi_spec *spec, struct dtqi_buf *buf)
{
    (void)buf;
    return spec->raw;
}

/* Enough of a decoder for the one spec that is used. */
static dtq_err decode(struct dtqi_slice raw, struct dtqi_buf *buf, struct dtqi_spec *ret, char *why,
                      size_t why_bytes)
{
    (void)buf;
    (void)why;
    (void)why_bytes;
    *ret = (struct dtqi_spec){.raw = raw,
                              .name = dtqi_str("noop"),
                              .queue = dtqi_str("default"),
                              .priority = 5,
                              .retries = 3};
    return DTQ_OK;
}

static void keep(struct bench *b, const struct journal_batch *batch)
{
    for (uint32_t i = 0; b->keeps && i < batch->ops_n; i++)
        if (batch->ops[i].type == JOURNAL_PUT) {
            b->journal[b->journal_n] = batch->ops[i].task;
            b->journal[b->journal_n].spec = (struct dtqi_slice){"spec", 4};
            b->journal_n++;
        }
}

static void load(struct bench *b, struct journal_read *r)
{
    uint32_t i = 0;
    uint32_t n = 0;

    r->buf = dtqi_buf_new(64, 64);
    r->end = true;
    if (r->type != JOURNAL_LOAD)
        return;
    if (r->has_after) { /* seqs are consecutive here */
        uint64_t first = b->journal_n != 0 ? b->journal[0].key.seq : 0;

        i = r->after.seq + 1 > first ? (uint32_t)(r->after.seq + 1 - first) : 0;
    }
    n = b->journal_n > i ? b->journal_n - i : 0;
    if (n > r->limit) {
        n = r->limit;
        r->end = false;
    }
    r->tasks = b->journal + i;
    r->tasks_n = n;
}

static void collect(struct bench *b)
{
    for (uint32_t i = 0; i < b->out.n; i++) {
        struct vent_action *a = &b->out.at[i];

        if (a->type == VENT_LANE_SEND) {
            uint32_t w = (uint32_t)(a->session & UINT16_MAX);

            for (uint32_t k = 0; k < a->msg.tasks.n; k++) {
                b->ids[b->n] = a->msg.tasks.ids[k];
                b->tickets[b->n] = a->msg.tasks.tickets[k];
                b->holders[b->n++] = w;
            }
            b->sent[w] += a->msg.tasks.n;
        } else if (a->type == VENT_LANE_OPEN) {
            b->sessions[a->session & UINT16_MAX] = a->session;
        } else if (a->type == VENT_JOURNAL_WRITE) {
            b->batch = a->batch;
        } else if (a->type == VENT_JOURNAL_READ) {
            b->read = a->read;
        }
    }
}

static void step(struct bench *b, struct vent_event *ev)
{
    ev->now_ms = b->now_ms;
    ev->wall_ms = ev->host_wall_ms = WALL_MS + b->now_ms;
    vent_step(b->v, ev, &b->out);
    collect(b);
    vent_actions_reset(&b->out);
}

static void message(struct bench *b, uint32_t route, const struct dtqi_msg *msg)
{
    struct vent_event ev = {.type = VENT_EV_MSG};

    ev.msg.route = route;
    ev.msg.msg = msg;
    step(b, &ev);
}

static void tick(struct bench *b)
{
    struct vent_event ev = {.type = VENT_EV_TICK};

    step(b, &ev);
    while (b->read != NULL || b->batch != NULL) {
        struct vent_event done = {.type = VENT_EV_JOURNAL_WRITTEN};

        if (b->batch != NULL) {
            keep(b, b->batch);
            done.batch = b->batch;
            b->batch = NULL;
        } else {
            load(b, b->read);
            done.type = VENT_EV_JOURNAL_READ_DONE;
            done.read = b->read;
            b->read = NULL;
        }
        step(b, &done);
    }
}

static void hello(struct bench *b, uint32_t route, enum dtqi_role role, uint32_t number)
{
    struct dtqi_msg msg = {.type = DTQI_HELLO};
    struct vent_event opened = {.type = VENT_EV_LANE_OPENED};

    msg.hello = (struct dtqi_hello){.version_min = 1,
                                    .version_max = 1,
                                    .role = role,
                                    .slots = 2,
                                    .store = uid(0x51),
                                    .run = uid(0x52),
                                    .intake = dtqi_str("tcp://a:1"),
                                    .results = dtqi_str("tcp://a:2"),
                                    .outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS};
    memcpy(msg.hello.instance.bytes, &number, sizeof number);
    msg.hello.instance.bytes[8] = (uint8_t)(1 + role);
    message(b, route, &msg);
    if (role != DTQI_ROLE_WORKER)
        return;
    opened.lane.session = b->sessions[number];
    opened.lane.endpoint = dtqi_str("tcp://a:3");
    step(b, &opened);
}

static void credit(struct bench *b, uint32_t w, uint64_t window)
{
    struct dtqi_msg msg = {.type = DTQI_REPORT};

    msg.report = (struct dtqi_report){.session = b->sessions[w],
                                      .report_seq = ++b->report_seq[w],
                                      .credit_tasks = b->sent[w] + window,
                                      .credit_bytes = UINT64_MAX / 2};
    message(b, WORKER + w, &msg);
}

/* Everything that is out is reported done, settled, and its credit given again. */
static void finish(struct bench *b, uint64_t window)
{
    struct dtqi_msg report = {.type = DTQI_REPORT};
    struct dtqi_msg settled = {.type = DTQI_SETTLED};
    uint32_t n = b->n;

    for (uint32_t i = 0; i < n;) {
        uint32_t w = b->holders[i];
        uint32_t k = i;

        while (k < n && b->holders[k] == w && k - i < 4096)
            k++;
        report.report = (struct dtqi_report){.session = b->sessions[w],
                                             .report_seq = ++b->report_seq[w],
                                             .credit_tasks = b->sent[w] + window,
                                             .credit_bytes = UINT64_MAX / 2,
                                             .done_tickets = b->tickets + i,
                                             .done_n = k - i};
        message(b, WORKER + w, &report);
        i = k;
    }
    for (uint32_t i = 0; i < n; i += 4096) {
        uint32_t part = n - i < 4096 ? n - i : 4096;

        settled.settled = (struct dtqi_settled){.sink = uid(0x51),
                                                .run = uid(0x52),
                                                .number_first = b->settled + 1,
                                                .number_head = b->settled + part,
                                                .n = part,
                                                .ids = b->ids + i,
                                                .tickets = b->tickets + i};
        message(b, SINK, &settled);
        b->settled += part;
    }
    b->n = 0;
}

static void make_submits(struct bench *b)
{
    b->submits_n = (b->tasks + BATCH - 1) / BATCH;
    b->submits = calloc(b->submits_n, sizeof *b->submits);
    for (uint32_t i = 0; i < b->submits_n; i++) {
        struct dtqi_buf *buf = dtqi_buf_new(128 * 1024, 1u << 20);
        dtq_id *ids = dtqi_buf_alloc(buf, BATCH * sizeof *ids);
        struct dtqi_slice *bodies = dtqi_buf_alloc(buf, BATCH * sizeof *bodies);
        uint8_t *bytes = dtqi_buf_alloc(buf, (size_t)BATCH * BODY);
        struct dtqi_spec *spec = dtqi_buf_alloc(buf, sizeof *spec);

        memset(bytes, 1, (size_t)BATCH * BODY);
        (void)decode((struct dtqi_slice){"spec", 4}, buf, spec, NULL, 0);
        for (uint32_t k = 0; k < BATCH; k++) {
            uint64_t n = (uint64_t)i * BATCH + k;
            uint64_t ms = WALL_MS + n / 1000;

            for (uint32_t z = 0; z < 6; z++)
                ids[k].bytes[z] = (uint8_t)(ms >> (40 - 8 * z));
            ids[k].bytes[6] = 0x70;
            ids[k].bytes[7] = 0;
            memcpy(ids[k].bytes + 8, &n, 8);
            bodies[k] = (struct dtqi_slice){bytes + (size_t)k * BODY, BODY};
        }
        b->submits[i] = (struct dtqi_msg){.type = DTQI_SUBMIT, .buf = buf};
        b->submits[i].submit = (struct dtqi_submit){.request = i + 1,
                                                    .n = BATCH,
                                                    .ids = ids,
                                                    .sink = uid(0x51),
                                                    .specs = spec,
                                                    .specs_n = 1,
                                                    .bodies = bodies};
    }
}

static void begin(struct bench *b)
{
    struct vent_cfg cfg;
    struct journal_start start = {.store = uid(0x11), .epoch = 1ull << 32, .seq_next = 1};

    vent_cfg_default(&cfg);
    cfg.spec_decode = decode;
    cfg.spec_encode = encode;
    cfg.backlog_bytes_max = UINT64_MAX;
    b->now_ms = 1000000;
    b->settled = 0;
    memset(b->sent, 0, sizeof b->sent);
    memset(b->report_seq, 0, sizeof b->report_seq);
    b->journal_n = 0;
    make_submits(b);
    if (vent_new(&cfg, &start, b->now_ms, WALL_MS + b->now_ms, &b->v) != DTQ_OK)
        exit(1);
    tick(b);
    hello(b, SINK, DTQI_ROLE_SINK, 0);
    tick(b); /* the journal knows the sink: tasks may name it */
}

static void end(struct bench *b)
{
    vent_free(b->v);
    for (uint32_t i = 0; i < b->submits_n; i++)
        dtqi_msg_done(&b->submits[i]);
    free(b->submits);
}

static void give_submit(struct bench *b, uint32_t i)
{
    message(b, 1, &b->submits[i]);
    dtqi_msg_done(&b->submits[i]);
}

static void say(const char *what, uint64_t ns, uint64_t n)
{
    printf("%-28s %8.1f ns/task  (%llu tasks)\n", what, (double)ns / (double)n,
           (unsigned long long)n);
}

static void short_circuit(struct bench *b)
{
    uint64_t window = 16384 / b->workers + 1;
    uint64_t from_ns;
    uint64_t ns;

    begin(b);
    for (uint32_t w = 0; w < b->workers; w++)
        hello(b, WORKER + w, DTQI_ROLE_WORKER, w);
    hello(b, 1, DTQI_ROLE_PRODUCER, 0);
    for (uint32_t w = 0; w < b->workers; w++)
        credit(b, w, window);
    tick(b);
    from_ns = cpu_ns();
    for (uint32_t i = 0; i < b->submits_n; i++) {
        give_submit(b, i);
        if (i % 4 == 3)
            tick(b);
        if (i % 16 == 15) {
            finish(b, window);
            tick(b);
            b->now_ms++;
        }
    }
    tick(b);
    finish(b, window);
    tick(b);
    ns = cpu_ns() - from_ns;
    if (vent_counters(b->v)->tasks_settled != (uint64_t)b->submits_n * BATCH)
        printf("only %llu settled\n", (unsigned long long)vent_counters(b->v)->tasks_settled);
    say("short circuit", ns, (uint64_t)b->submits_n * BATCH);
    end(b);
}

static void backlog_and_drain(struct bench *b)
{
    uint64_t n;
    uint64_t from_ns;
    uint64_t drained = 0;

    b->keeps = true;
    begin(b);
    n = (uint64_t)b->submits_n * BATCH;
    b->journal = calloc(n, sizeof *b->journal);
    hello(b, 1, DTQI_ROLE_PRODUCER, 0);
    from_ns = cpu_ns();
    for (uint32_t i = 0; i < b->submits_n; i++) {
        /* The journal keeps the bodies for us here: the bench stands in for the disk. */
        dtqi_buf_ref(b->submits[i].buf);
        message(b, 1, &b->submits[i]);
        if (i % 8 == 7)
            tick(b);
    }
    tick(b);
    say("backlog", cpu_ns() - from_ns, n);
    for (uint32_t w = 0; w < b->workers; w++)
        hello(b, WORKER + w, DTQI_ROLE_WORKER, w);
    for (uint32_t w = 0; w < b->workers; w++)
        credit(b, w, 8192 / b->workers + 1);
    from_ns = cpu_ns();
    for (int idle = 0; idle < 100;) {
        tick(b);
        idle = b->n == 0 ? idle + 1 : 0;
        drained += b->n;
        finish(b, 8192 / b->workers + 1);
        b->now_ms += 2;
    }
    say("drain", cpu_ns() - from_ns, drained);
    if (drained != n)
        printf("only %llu drained\n", (unsigned long long)drained);
    for (uint32_t i = 0; i < b->submits_n; i++)
        dtqi_buf_unref(b->submits[i].buf);
    free(b->journal);
    end(b);
}

int main(int argc, char **argv)
{
    struct bench b = {.tasks = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000,
                      .workers = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1};

    if (b.workers == 0 || b.workers > 4000)
        return 2;
    b.ids = malloc(1000000 * sizeof *b.ids);
    b.tickets = malloc(1000000 * sizeof *b.tickets);
    b.holders = malloc(1000000 * sizeof *b.holders);
    short_circuit(&b);
    if (argc <= 3)
        backlog_and_drain(&b);
    vent_actions_done(&b.out);
    free(b.ids);
    free(b.tickets);
    free(b.holders);
    return 0;
}
