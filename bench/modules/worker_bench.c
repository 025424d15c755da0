/*
 * What the worker's core costs per task, alone: TASKS in, into slots, ends, OUTCOMES and REPORT,
 * FORGET. No socket, no codec, no slot process; only time inside worker_step() counts.
 *
 *   worker_bench [TASKS [BATCH [IN_FLIGHT]]]     default 4000000 256 4096
 */
#include "worker_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SLOTS 2u
#define PAYLOAD_BYTES ((size_t)128)
#define RESULT_BYTES ((size_t)16)
#define STORE_MARK 7

struct bench {
    struct worker *w;
    struct worker_actions out;
    uint64_t now_ms;
    uint64_t spent_ns;
    uint32_t batch;
    uint32_t in_flight;
    uint64_t given;
    uint64_t ended;
    uint64_t forgotten;
    uint32_t lane_seq;
    uint64_t beat;
    uint64_t report_seq;
    uint32_t handles[SLOTS][WORKER_RING_TASKS_MAX];
    uint32_t handles_n[SLOTS];
    dtq_id *sent; /* ring of ids that went to the sink, to be forgotten in order */
    uint64_t sent_n;
    uint64_t outcomes;
    uint64_t reports;
};

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* other programs do not count */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *need(void *at)
{
    if (at == NULL) {
        fputs("worker_bench: no memory\n", stderr);
        exit(1);
    }
    return at;
}

static dtqi_uid uid(uint8_t mark)
{
    dtqi_uid u;

    memset(u.bytes, mark, sizeof u.bytes);
    return u;
}

static dtq_id id_of(uint64_t number)
{
    uint64_t halves[2] = {number >> 8, dtqi_mix64(number)};
    dtq_id id;

    memcpy(id.bytes, halves, sizeof id.bytes);
    return id;
}

static void step(struct bench *b, struct worker_event ev)
{
    uint64_t before = clock_ns();

    ev.now_ms = b->now_ms;
    ev.wall_ms = b->now_ms;
    worker_step(b->w, &ev, &b->out);
    b->spent_ns += clock_ns() - before;
}

static void take_feed(struct bench *b, const struct worker_action *a)
{
    uint32_t slot = a->feed.index;

    for (uint32_t i = 0; i < a->feed.n; i++)
        b->handles[slot][b->handles_n[slot]++] = a->feed.tasks[i].handle;
}

static void take_outcomes(struct bench *b, const struct dtqi_outcomes *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        b->sent[b->sent_n++ % b->in_flight] = o->ids[i];
    b->outcomes++;
}

static void give_back(struct bench *b, uint32_t slot)
{
    uint32_t handles[WORKER_RING_TASKS_MAX];
    uint32_t n = b->handles_n[slot];

    memcpy(handles, b->handles[slot], n * sizeof *handles);
    b->handles_n[slot] = 0;
    step(b, (struct worker_event){.type = WORKER_EV_SLOT_RETURNED,
                                  .slot = {.index = slot, .handles = handles, .handles_n = n}});
}

/* Do what the core wants, as a shell would. */
static void carry_out(struct bench *b)
{
    for (uint32_t i = 0; i < b->out.n; i++) {
        const struct worker_action a = b->out.at[i];

        if (a.type == WORKER_ACT_SLOT_FEED)
            take_feed(b, &a);
        else if (a.type == WORKER_ACT_SINK_SEND)
            take_outcomes(b, &a.send.msg.outcomes);
        else if (a.type == WORKER_ACT_SLOT_START)
            step(b,
                 (struct worker_event){.type = WORKER_EV_SLOT_READY, .slot.index = a.slot.index});
        else if (a.type == WORKER_ACT_SLOT_TAKE_BACK)
            give_back(b, a.slot.index);
        else if (a.type == WORKER_ACT_SINK_OPEN)
            step(b, (struct worker_event){.type = WORKER_EV_SINK_CONNECTED,
                                          .sink.index = a.sink.index});
        else if (a.type == WORKER_ACT_CONTROL_SEND && a.msg.type == DTQI_WORKER_HEARTBEAT)
            b->beat = a.msg.worker_heartbeat.sequence;
        else if (a.type == WORKER_ACT_CONTROL_SEND && a.msg.type == DTQI_REPORT)
            b->report_seq = a.msg.report.report_seq, b->reports++;
    }
    worker_actions_reset(&b->out);
}

static void tick(struct bench *b)
{
    step(b, (struct worker_event){.type = WORKER_EV_TICK});
    carry_out(b);
}

static void control(struct bench *b, const struct dtqi_msg *msg)
{
    step(b, (struct worker_event){.type = WORKER_EV_CONTROL_MSG, .msg = msg});
}

static void welcome(struct bench *b)
{
    struct dtqi_sink_info sink = {.store = uid(STORE_MARK + 1),
                                  .intake = dtqi_str("tcp://sink:1"),
                                  .results = dtqi_str(""),
                                  .reachable = true};
    struct dtqi_msg msg = {.type = DTQI_WELCOME};

    msg.welcome = (struct dtqi_welcome){.version = DTQI_PROTOCOL_VERSION,
                                        .store = uid(STORE_MARK),
                                        .epoch = 1,
                                        .session = 1,
                                        .lane = dtqi_str("tcp://lane:1"),
                                        .sinks = &sink,
                                        .sinks_n = 1};
    control(b, &msg);
}

static void give(struct bench *b)
{
    uint32_t n = b->batch;
    struct dtqi_buf *buf = need(dtqi_buf_new(n * (PAYLOAD_BYTES + 64) + 1024, SIZE_MAX));
    dtq_id *ids = need(dtqi_buf_alloc(buf, n * sizeof *ids));
    uint32_t *tickets = need(dtqi_buf_alloc(buf, n * sizeof *tickets));
    struct dtqi_slice *bodies = need(dtqi_buf_alloc(buf, n * sizeof *bodies));
    char *body = need(dtqi_buf_alloc(buf, n * PAYLOAD_BYTES));
    struct dtqi_spec spec = {.raw = {"\n\004noop\022\007default", 15},
                             .name = dtqi_str("noop"),
                             .queue = dtqi_str("default")};
    dtqi_uid sink = uid(STORE_MARK + 1);
    struct dtqi_msg msg = {.type = DTQI_TASKS, .buf = buf};

    for (uint32_t i = 0; i < n; i++) {
        ids[i] = id_of(b->given++);
        tickets[i] = (uint32_t)b->given;
        bodies[i] = (struct dtqi_slice){body + i * PAYLOAD_BYTES, PAYLOAD_BYTES};
    }
    msg.tasks = (struct dtqi_tasks){.session = 1,
                                    .lane_seq = ++b->lane_seq,
                                    .n = n,
                                    .ids = ids,
                                    .tickets = tickets,
                                    .specs = &spec,
                                    .specs_n = 1,
                                    .sinks = &sink,
                                    .sinks_n = 1,
                                    .bodies = bodies};
    step(b, (struct worker_event){.type = WORKER_EV_LANE_MSG, .msg = &msg});
    dtqi_buf_unref(buf);
}

static void end(struct bench *b, uint32_t slot)
{
    struct worker_result results[WORKER_RING_TASKS_MAX];
    uint32_t n = b->handles_n[slot];
    struct dtqi_buf *buf = need(dtqi_buf_new(n * RESULT_BYTES + 64, SIZE_MAX));
    char *body = need(dtqi_buf_alloc(buf, n * RESULT_BYTES));

    for (uint32_t i = 0; i < n; i++)
        results[i] = (struct worker_result){.handle = b->handles[slot][i],
                                            .body = {body + i * RESULT_BYTES, RESULT_BYTES},
                                            .started_wall_ms = 1};
    b->handles_n[slot] = 0;
    b->ended += n;
    step(b, (struct worker_event){.type = WORKER_EV_SLOT_ENDED, .ended = {slot, n, results, buf}});
    dtqi_buf_unref(buf);
}

static void forget(struct bench *b)
{
    uint64_t behind = b->in_flight - b->in_flight / 4;
    struct dtqi_msg msg = {.type = DTQI_FORGET};

    while (b->sent_n - b->forgotten > behind) {
        uint32_t at = (uint32_t)(b->forgotten % b->in_flight);
        uint32_t n = b->in_flight - at < b->batch ? b->in_flight - at : b->batch;

        if (n > b->sent_n - b->forgotten)
            n = (uint32_t)(b->sent_n - b->forgotten);
        msg.forget = (struct dtqi_forget){.session = 1, .epoch = 1, .n = n, .ids = &b->sent[at]};
        control(b, &msg);
        b->forgotten += n;
    }
}

static void echo(struct bench *b)
{
    struct dtqi_msg msg = {.type = DTQI_VENTILATOR_HEARTBEAT};

    msg.ventilator_heartbeat = (struct dtqi_ventilator_heartbeat){
        .session = 1, .echo = b->beat, .report_seq = b->report_seq, .wall_ms = b->now_ms};
    control(b, &msg);
}

static void run(struct bench *b, uint64_t tasks)
{
    uint64_t rounds = 0;

    while (b->ended < tasks) {
        if (b->given - b->forgotten + b->batch <= b->in_flight)
            give(b);
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            if (b->handles_n[slot] != 0)
                end(b, slot);
        }
        forget(b);
        tick(b);
        if (++rounds % 4 == 0) {
            b->now_ms++;
            echo(b);
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t tasks = argc > 1 ? strtoull(argv[1], NULL, 10) : 4000000;
    struct bench b = {.now_ms = 1};
    struct worker_cfg cfg = {.instance = uid(1),
                             .name = dtqi_str("bench"),
                             .program = dtqi_str("bench"),
                             .slots = SLOTS};

    b.batch = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 256;
    b.in_flight = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 4096;
    if (tasks == 0 || b.batch == 0 || b.batch > DTQI_BATCH_ENTRIES_MAX ||
        b.in_flight < 4 * b.batch) {
        fputs("usage: worker_bench [TASKS [BATCH [IN_FLIGHT >= 4 x BATCH]]]\n", stderr);
        return 2;
    }
    b.sent = need(calloc(b.in_flight, sizeof *b.sent));
    if (worker_new(&cfg, &b.w) != DTQ_OK)
        need(NULL);
    tick(&b);
    tick(&b);
    welcome(&b);
    tick(&b);
    run(&b, 100000);
    b.spent_ns = b.outcomes = b.reports = 0;
    run(&b, tasks + 100000);
    printf("worker_core: %.1f ns/task, %.0f tasks per OUTCOMES, %.0f per REPORT\n",
           (double)b.spent_ns / (double)tasks, (double)tasks / (double)b.outcomes,
           (double)tasks / (double)b.reports);
    worker_free(b.w);
    worker_actions_done(&b.out);
    free(b.sent);
    return 0;
}
