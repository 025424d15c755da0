/*
 * A ventilator's core in a small world of virtual time, with the real journal over a store in
 * memory: the test plays producers, workers, sinks and shell. Every message that the core sends
 * goes through the codec and is kept until the test takes it; every message to the core does too.
 */
#ifndef VENT_WORLD_H
#define VENT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec.h"
#include "journal.h"
#include "touch.h"
#include "vent_core.h"

#define WORLD_WALL_MS 1700000000000ull
#define WORLD_START_MS 1000000u
#define PRODUCER 1u /* routes */
#define SINK_ROUTE 900u
#define WORKER_ROUTE 1000u
#define WORLD_QUEUE_MAX 64

enum world_kind { WORLD_SEND, WORLD_LANE, WORLD_SINK };

struct world_sent {
    struct world_sent *next;
    enum world_kind kind;
    uint64_t to; /* route, session or sink */
    struct dtqi_msg msg;
};

struct world_log {
    const char *event;
    enum vent_level level;
};

struct world {
    struct vent *v;
    struct vent_cfg cfg;
    struct vent_actions out;
    struct store *store;
    struct journal *journal;
    uint64_t now_ms;
    int64_t wall_offset_ms; /* the host's wall clock has jumped by so much */
    uint64_t boot;          /* another number: the host has booted */
    uint64_t boot_ms;       /* .. at this time */
    struct steady clock;

    struct world_sent *sent;
    struct world_sent **sent_tail;
    struct {
        struct journal_batch *batch;
        struct journal_read *read;
    } jobs[WORLD_QUEUE_MAX];
    uint32_t jobs_n;
    bool journal_stuck;  /* nothing is answered until world_journal() is called */
    dtq_err journal_err; /* of every write, instead of doing it */
    uint64_t space_used; /* 0: what the store says */
    uint64_t space_max;
    bool lanes_by_hand;   /* LANE_OPEN is not answered by itself */
    uint64_t lane_opened; /* session of the last LANE_OPEN */
    uint64_t lane_closed;
    uint32_t lanes_closed;
    uint32_t sink_connects;
    uint32_t writes;
    uint32_t reads;
    uint32_t puts;
    bool fatal;
    bool stopped;
    uint32_t id_next;
    uint64_t requests;
    uint64_t settled;      /* numbers used by world_settle() */
    uint64_t sink_session; /* 0: the sink is not there */
};

static inline dtqi_uid world_uid(uint8_t mark)
{
    dtqi_uid uid;

    memset(&uid, mark, sizeof uid);
    return uid;
}

static inline struct host_time world_host(const struct world *w)
{
    uint64_t wall_ms = WORLD_WALL_MS + w->now_ms - WORLD_START_MS + (uint64_t)w->wall_offset_ms;

    return (struct host_time){w->boot + 1, w->now_ms - w->boot_ms, wall_ms};
}

/* By the steady clock of the ventilator. */
static inline uint64_t world_wall_ms(const struct world *w)
{
    struct host_time now = world_host(w);

    return steady_ms(&w->clock, &now);
}

/* Id number n, made when the world began. */
static inline dtq_id world_id_at(uint32_t n, uint64_t wall_ms)
{
    dtq_id id = {{0}};

    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    id.bytes[6] = 0x70;
    id.bytes[8] = 0x80;
    for (int i = 0; i < 4; i++)
        id.bytes[12 + i] = (uint8_t)(n >> (24 - 8 * i));
    return id;
}

static inline dtq_id world_id(uint32_t n)
{
    return world_id_at(n, WORLD_WALL_MS);
}

static inline uint32_t world_number(const dtq_id *id)
{
    return (uint32_t)id->bytes[12] << 24 | (uint32_t)id->bytes[13] << 16 |
           (uint32_t)id->bytes[14] << 8 | id->bytes[15];
}

/* ---------------------------------------------------------------- what comes out */

struct world_frame {
    void *at;
    size_t bytes;
};

static inline void *world_place(void *arg, size_t bytes)
{
    struct world_frame *f = arg;

    f->bytes = bytes;
    f->at = malloc(bytes);
    return f->at;
}

/* Through the codec: what comes out of it owns its memory. */
static inline void world_copy(const struct dtqi_msg *msg, struct dtqi_msg *ret)
{
    struct world_frame f = {0};
    char why[200] = "";

    assert_int_equal(dtqi_encode(msg, world_place, &f), DTQ_OK);
    if (dtqi_decode(f.at, f.bytes, ret, why, sizeof why) != DTQ_OK)
        fail_msg("%s", why);
    free(f.at);
}

static inline void world_keep(struct world *w, enum world_kind kind, uint64_t to,
                              const struct dtqi_msg *msg)
{
    struct world_sent *s = calloc(1, sizeof *s);

    assert_non_null(s);
    world_copy(msg, &s->msg);
    s->kind = kind;
    s->to = to;
    *w->sent_tail = s;
    w->sent_tail = &s->next;
}

static inline void world_event(struct world *w, struct vent_event *ev);

static inline void world_lane_opened(struct world *w, uint64_t session)
{
    struct vent_event ev = {.type = VENT_EV_LANE_OPENED};

    ev.lane.session = session;
    ev.lane.endpoint = dtqi_str("tcp://127.0.0.1:20001");
    world_event(w, &ev);
}

static inline void world_log(const struct vent_log *log)
{
    for (uint32_t i = 0; i < log->pairs_n; i++)
        touch_str(log->pairs[i].value);
}

static inline void world_execute(struct world *w)
{
    struct vent_actions out = w->out; /* answering steps again */
    uint64_t opened[256];
    uint32_t opened_n = 0;

    w->out = (struct vent_actions){0};
    for (uint32_t i = 0; i < out.n; i++) {
        struct vent_action *a = &out.at[i];

        switch (a->type) {
        case VENT_SEND: world_keep(w, WORLD_SEND, a->route, &a->msg); break;
        case VENT_LANE_SEND: world_keep(w, WORLD_LANE, a->session, &a->msg); break;
        case VENT_SINK_SEND: world_keep(w, WORLD_SINK, a->sink, &a->msg); break;
        case VENT_LANE_OPEN:
            w->lane_opened = a->session;
            if (!w->lanes_by_hand && opened_n < 256)
                opened[opened_n++] = a->session;
            break;
        case VENT_LANE_CLOSE:
            w->lane_closed = a->session;
            w->lanes_closed++;
            break;
        case VENT_SINK_CONNECT:
            touch_str(a->endpoint);
            w->sink_connects++;
            break;
        case VENT_SINK_DISCONNECT: break;
        case VENT_JOURNAL_WRITE:
            assert_true(w->jobs_n < WORLD_QUEUE_MAX);
            w->writes++;
            for (uint32_t k = 0; k < a->batch->ops_n; k++)
                w->puts += a->batch->ops[k].type == JOURNAL_PUT;
            w->jobs[w->jobs_n++].batch = a->batch;
            break;
        case VENT_JOURNAL_READ:
            assert_true(w->jobs_n < WORLD_QUEUE_MAX);
            w->reads++;
            w->jobs[w->jobs_n].batch = NULL;
            w->jobs[w->jobs_n++].read = a->read;
            break;
        case VENT_LOG: world_log(&a->log); break;
        case VENT_FATAL:
            touch_str(a->text);
            w->fatal = true;
            break;
        case VENT_STOPPED: w->stopped = true; break;
        }
    }
    vent_actions_done(&out);
    for (uint32_t i = 0; i < opened_n; i++)
        world_lane_opened(w, opened[i]);
}

/* ---------------------------------------------------------------- what goes in */

static inline void world_event(struct world *w, struct vent_event *ev)
{
    ev->now_ms = w->now_ms;
    ev->wall_ms = world_wall_ms(w);
    ev->host_wall_ms = world_host(w).wall_ms;
    vent_step(w->v, ev, &w->out);
    vent_check(w->v);
    world_execute(w);
}

/* The journal thread: one request after the other. */
static inline void world_journal(struct world *w)
{
    while (w->jobs_n != 0) {
        struct journal_batch *batch = w->jobs[0].batch;
        struct journal_read *read = w->jobs[0].read;
        struct vent_event ev = {.type = VENT_EV_JOURNAL_READ_DONE};
        struct host_time host = world_host(w);

        w->jobs_n--;
        memmove(w->jobs, w->jobs + 1, w->jobs_n * sizeof w->jobs[0]);
        if (batch != NULL) {
            ev.type = VENT_EV_JOURNAL_WRITTEN;
            ev.batch = batch;
            batch->err = w->journal_err;
            batch->mark = steady_mark(&w->clock, &host);
            if (w->journal_err == DTQ_OK)
                journal_apply(w->journal, batch);
            if (w->space_max != 0) {
                batch->space_used = w->space_used;
                batch->space_max = w->space_max;
            }
        } else {
            journal_read(w->journal, read);
            ev.read = read;
        }
        world_event(w, &ev);
    }
}

/* One message through the codec, as from the wire. */
static inline void world_msg(struct world *w, uint32_t route, const struct dtqi_msg *msg)
{
    struct dtqi_msg decoded;
    struct vent_event ev = {.type = VENT_EV_MSG};

    world_copy(msg, &decoded);
    ev.msg.route = route;
    ev.msg.msg = &decoded;
    world_event(w, &ev);
    dtqi_msg_done(&decoded);
}

/* TICK, and the journal's answers, until nothing is under way. */
static inline void world_tick(struct world *w)
{
    for (int i = 0; i < 1000; i++) {
        struct vent_event ev = {.type = VENT_EV_TICK};

        world_event(w, &ev);
        if (w->jobs_n == 0 || w->journal_stuck)
            return;
        world_journal(w);
    }
    fail_msg("the journal is never at rest");
}

/* Let time pass, with a TICK at every deadline. */
static inline void world_pass(struct world *w, uint64_t ms)
{
    uint64_t until_ms = w->now_ms + ms;

    world_tick(w);
    while (w->now_ms < until_ms) {
        uint64_t next_ms = vent_deadline_ms(w->v);

        if (next_ms <= w->now_ms)
            next_ms = w->now_ms + 1;
        w->now_ms = next_ms < until_ms ? next_ms : until_ms;
        world_tick(w);
    }
}

/* ---------------------------------------------------------------- taking what was sent */

static inline struct world_sent *world_find(struct world *w, enum world_kind kind,
                                            enum dtqi_msg_type type)
{
    for (struct world_sent *s = w->sent; s != NULL; s = s->next)
        if (s->kind == kind && s->msg.type == type)
            return s;
    return NULL;
}

static inline uint32_t world_count(struct world *w, enum world_kind kind, enum dtqi_msg_type type)
{
    uint32_t n = 0;

    for (struct world_sent *s = w->sent; s != NULL; s = s->next)
        n += s->kind == kind && s->msg.type == type;
    return n;
}

static inline void world_drop(struct world *w, struct world_sent *s)
{
    struct world_sent **at = &w->sent;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    if (s->next == NULL)
        w->sent_tail = at;
    dtqi_msg_done(&s->msg);
    free(s);
}

/* The oldest message of a type, which must be there; world_drop() it when done. */
static inline struct world_sent *world_take(struct world *w, enum world_kind kind,
                                            enum dtqi_msg_type type)
{
    struct world_sent *s = world_find(w, kind, type);

    if (s == NULL)
        fail_msg("no %s was sent", dtqi_msg_type_name(type));
    return s;
}

static inline void world_clear(struct world *w)
{
    while (w->sent != NULL)
        world_drop(w, w->sent);
}

/* ---------------------------------------------------------------- beginning and end */

static inline void world_start(struct world *w)
{
    struct journal_start start;
    struct host_time now = world_host(w);
    char why[200] = "";

    if (journal_open(w->store, w->id_next + 77, &w->journal, &start, why, sizeof why) != DTQ_OK)
        fail_msg("%s", why);
    assert_int_equal(journal_start_clock(w->journal, &start, &now, &w->clock), DTQ_OK);
    assert_int_equal(vent_new(&w->cfg, &start, w->now_ms, world_wall_ms(w), &w->v), DTQ_OK);
    journal_start_done(&start);
    world_tick(w);
}

/* As after kill -9: what the journal has not committed is gone. */
static inline void world_kill(struct world *w)
{
    w->jobs_n = 0;
    vent_free(w->v);
    journal_close(w->journal);
    w->v = NULL;
    w->journal = NULL;
    world_clear(w);
}

static inline void world_restart(struct world *w)
{
    world_kill(w);
    world_start(w);
}

static inline struct world *world_new(const struct vent_cfg *cfg)
{
    struct store_cfg store_cfg = {.dir = "memory",
                                  .kind = JOURNAL_KIND,
                                  .tables = journal_tables,
                                  .tables_n = JOURNAL_TABLES_N,
                                  .map_bytes_max = 1ull << 32};
    dtqi_uid uid = world_uid(0x11);
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->cfg = *cfg;
    w->cfg.spec_decode = dtqi_spec_decode;
    w->cfg.spec_encode = dtqi_spec_encode;
    w->now_ms = WORLD_START_MS;
    w->sent_tail = &w->sent;
    w->id_next = 1;
    assert_int_equal(store_open_memory(&store_cfg, &uid, &w->store), DTQ_OK);
    world_start(w);
    return w;
}

static inline void world_free(struct world *w)
{
    world_kill(w);
    vent_actions_done(&w->out);
    store_close(w->store);
    free(w);
}

/* ---------------------------------------------------------------- producers */

static inline void world_producer(struct world *w, uint32_t route)
{
    struct dtqi_msg msg = {.type = DTQI_HELLO};

    msg.hello = (struct dtqi_hello){
        .version_min = 1,
        .version_max = 1,
        .role = DTQI_ROLE_PRODUCER,
        .instance = world_uid(0x70),
        .name = dtqi_str("producer"),
    };
    world_msg(w, route, &msg);
}

struct world_task {
    const char *queue; /* NULL: "q" */
    uint32_t priority; /* of dtq: 9 first */
    uint32_t retries;
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
    uint32_t crash_limit;
    uint64_t expires_ms;
    uint64_t not_before_wall_ms;
    uint64_t delay_ms;
    int64_t id_clock_ms;
    const char *body;  /* NULL: "body" */
    uint32_t body_len; /* 0: strlen(body) */
    bool resend;
    uint8_t sink; /* mark of its store; 0: 0x51 */
    const char *key;
    uint64_t key_ttl_ms;
    const char *group;
    bool ordered;
    const char *retry_on;
    const char *no_retry_on;
    uint32_t route; /* 0: PRODUCER */
    uint64_t reply_to;
};

/* SUBMIT of n tasks with the ids first, first + 1, ..; returns the number of the request. */
static inline uint64_t world_submit_ids(struct world *w, const dtq_id *ids, uint32_t n,
                                        const struct world_task *task)
{
    struct dtqi_buf *buf = dtqi_buf_new(4096, 1u << 20);
    struct dtqi_spec spec = {
        .name = dtqi_str("t"),
        .queue = dtqi_str(task->queue != NULL ? task->queue : "q"),
        .priority = task->priority,
        .retries = task->retries,
        .backoff_min_ms = task->backoff_min_ms,
        .backoff_max_ms = task->backoff_max_ms,
        .crash_limit = task->crash_limit,
        .expires_ms = task->expires_ms,
        .retry_on = dtqi_str(task->retry_on != NULL ? task->retry_on : ""),
        .no_retry_on = dtqi_str(task->no_retry_on != NULL ? task->no_retry_on : ""),
        .key_ttl_ms = task->key_ttl_ms,
        .group = dtqi_str(task->group != NULL ? task->group : ""),
        .group_ordered = task->ordered,
        .key = task->key != NULL ? dtqi_str(task->key) : (struct dtqi_str){"", 0},
    };
    struct dtqi_slice *bodies = calloc(n, sizeof *bodies);
    uint64_t *not_before = calloc(n, sizeof *not_before);
    uint64_t *delay = calloc(n, sizeof *delay);
    const char *body = task->body != NULL ? task->body : "body";
    struct dtqi_msg msg = {.type = DTQI_SUBMIT};

    spec.raw = dtqi_spec_encode(&spec, buf);
    assert_non_null(spec.raw.at);
    for (uint32_t i = 0; i < n; i++) {
        bodies[i] = (struct dtqi_slice){body, task->body_len != 0 ? task->body_len
                                                                  : (uint32_t)strlen(body)};
        not_before[i] = task->not_before_wall_ms;
        delay[i] = task->delay_ms;
    }
    msg.submit = (struct dtqi_submit){
        .request = ++w->requests,
        .n = n,
        .ids = ids,
        .sink = world_uid(task->sink != 0 ? task->sink : 0x51),
        .specs = &spec,
        .specs_n = 1,
        .not_before_wall_ms = task->not_before_wall_ms != 0 ? not_before : NULL,
        .delay_ms = task->delay_ms != 0 ? delay : NULL,
        .id_clock_ms = task->id_clock_ms,
        .resend = task->resend,
        .reply_to = task->reply_to,
        .bodies = bodies,
    };
    world_msg(w, task->route != 0 ? task->route : PRODUCER, &msg);
    free(bodies);
    free(not_before);
    free(delay);
    dtqi_buf_unref(buf);
    return w->requests;
}

static inline uint64_t world_submit(struct world *w, uint32_t first, uint32_t n,
                                    struct world_task task)
{
    dtq_id *ids = calloc(n, sizeof *ids);
    uint64_t request;

    for (uint32_t i = 0; i < n; i++)
        ids[i] = world_id_at(first + i, world_wall_ms(w));
    for (uint32_t i = 0; i < n; i++)
        ids[i] = world_id(first + i);
    request = world_submit_ids(w, ids, n, &task);
    free(ids);
    return request;
}

/* Was this request answered, with nothing refused? Takes the answer. */
static inline bool world_confirmed(struct world *w, uint64_t request)
{
    for (struct world_sent *s = w->sent; s != NULL; s = s->next)
        if (s->msg.type == DTQI_SUBMITTED && s->msg.submitted.request == request) {
            bool all = s->msg.submitted.refused_n == 0;

            world_drop(w, s);
            return all;
        }
    return false;
}

/* The reason of the first refused entry of an answered request; DTQI_REFUSAL_NONE: none. */
static inline enum dtqi_refusal world_refused(struct world *w)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_SUBMITTED);
    enum dtqi_refusal reason = DTQI_REFUSAL_NONE;

    if (s->msg.submitted.refused_n != 0)
        reason = (enum dtqi_refusal)s->msg.submitted.refused_reason[0];
    world_drop(w, s);
    return reason;
}

/* ---------------------------------------------------------------- sinks */

static inline void world_sink_hello(struct world *w, uint32_t route, uint8_t mark, uint8_t instance)
{
    struct dtqi_msg msg = {.type = DTQI_HELLO};

    msg.hello = (struct dtqi_hello){
        .version_min = 1,
        .version_max = 1,
        .role = DTQI_ROLE_SINK,
        .instance = world_uid(instance),
        .name = dtqi_str("sink"),
        .store = world_uid(mark),
        .run = world_uid(0x52),
        .intake = dtqi_str("tcp://127.0.0.1:5571"),
        .results = dtqi_str("tcp://127.0.0.1:5572"),
        .outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS,
    };
    world_msg(w, route, &msg);
}

static inline void world_settled(struct world *w, uint32_t route, uint8_t mark, uint64_t first,
                                 uint64_t head, const dtq_id *ids, const uint32_t *kinds,
                                 const uint32_t *tickets, uint32_t n)
{
    struct dtqi_msg msg = {.type = DTQI_SETTLED};

    msg.settled = (struct dtqi_settled){
        .sink = world_uid(mark),
        .run = world_uid(0x52),
        .number_first = first,
        .number_head = head,
        .n = n,
        .ids = ids,
        .kinds = kinds,
        .tickets = tickets,
    };
    world_msg(w, route, &msg);
}

/* The sink of the world (0x51) on its route, its stream standing where it stands. */
static inline void world_sink(struct world *w)
{
    struct world_sent *s;

    world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
    s = world_take(w, WORLD_SEND, DTQI_WELCOME);
    while (s->to != SINK_ROUTE || s->msg.type != DTQI_WELCOME) {
        s = s->next;
        assert_non_null(s);
    }
    w->sink_session = s->msg.welcome.session;
    world_drop(w, s);
    world_settled(w, SINK_ROUTE, 0x51, w->settled + 1, w->settled, NULL, NULL, NULL, 0);
    world_tick(w); /* tasks may name it once the journal knows it */
}

/* The next number of the stream: task n ended like this. */
static inline void world_settle(struct world *w, uint32_t n, dtq_state kind)
{
    dtq_id id = world_id(n);
    uint32_t kinds = kind;

    w->settled++;
    world_settled(w, SINK_ROUTE, 0x51, w->settled, w->settled, &id, &kinds, NULL, 1);
}

/* ---------------------------------------------------------------- workers */

struct world_worker {
    uint32_t route;
    uint8_t instance;
    uint64_t session;
    uint64_t epoch; /* of the ventilator, as it said */
    uint32_t slots;
    uint64_t report_seq;
    uint32_t lane_seq;
    uint64_t beats;
    uint64_t credit_tasks;
    uint64_t credit_bytes;
    uint32_t held;
    uint64_t held_sum;
    const dtq_id *running;
    uint32_t running_n;
    uint8_t unreachable; /* mark of a sink's store; 0: none */
};

static inline void world_worker_hello(struct world *w, struct world_worker *x, const char *queue,
                                      uint32_t holdings)
{
    struct dtqi_msg msg = {.type = DTQI_HELLO};
    struct dtqi_str name = queue != NULL ? dtqi_str(queue) : (struct dtqi_str){NULL, 0};
    struct world_sent *s;

    msg.hello = (struct dtqi_hello){
        .version_min = 1,
        .version_max = 1,
        .role = DTQI_ROLE_WORKER,
        .instance = world_uid(x->instance),
        .name = dtqi_str("worker"),
        .queues = &name,
        .queues_n = queue != NULL,
        .slots = x->slots,
        .holdings = holdings,
    };
    world_msg(w, x->route, &msg);
    s = world_find(w, WORLD_SEND, DTQI_WELCOME);
    while (s != NULL && s->to != x->route)
        s = s->next;
    if (s == NULL)
        return;
    x->session = s->msg.welcome.session;
    x->epoch = s->msg.welcome.epoch;
    x->report_seq = x->lane_seq = 0;
    x->beats = 0;
    x->credit_tasks = x->credit_bytes = 0;
    world_drop(w, s);
}

static inline void world_report(struct world *w, struct world_worker *x, struct dtqi_report *r)
{
    struct dtqi_msg msg = {.type = DTQI_REPORT};

    r->session = x->session;
    r->report_seq = ++x->report_seq;
    r->credit_tasks = x->credit_tasks;
    r->credit_bytes = x->credit_bytes;
    msg.report = *r;
    world_msg(w, x->route, &msg);
}

/* It may have so many tasks in all; bytes without end. */
static inline void world_credit(struct world *w, struct world_worker *x, uint64_t tasks)
{
    struct dtqi_report r = {0};

    x->credit_tasks = tasks;
    x->credit_bytes = 1ull << 40;
    world_report(w, x, &r);
}

/* A worker of all queues (or one), welcome, holding nothing, with credit for so many tasks. */
static inline struct world_worker world_worker(struct world *w, uint32_t number, uint32_t slots,
                                               uint64_t credit)
{
    struct world_worker x = {
        .route = WORKER_ROUTE + number, .instance = (uint8_t)(0x80 + number), .slots = slots};

    world_worker_hello(w, &x, NULL, 0);
    assert_true(x.session != 0);
    if (credit != 0)
        world_credit(w, &x, credit);
    return x;
}

static inline void world_beat(struct world *w, struct world_worker *x)
{
    struct dtqi_msg msg = {.type = DTQI_WORKER_HEARTBEAT};
    dtqi_uid unreachable = world_uid(x->unreachable);

    msg.worker_heartbeat = (struct dtqi_worker_heartbeat){
        .session = x->session,
        .sequence = ++x->beats,
        .lane_seq = x->lane_seq,
        .report_seq = x->report_seq,
        .credit_tasks = x->credit_tasks,
        .credit_bytes = x->credit_bytes,
        .held = x->held,
        .held_sum = x->held_sum,
        .running_ids = x->running,
        .running_n = x->running_n,
        .unreachable_sinks = &unreachable,
        .unreachable_n = x->unreachable != 0,
    };
    world_msg(w, x->route, &msg);
}

static inline void world_sink_beat(struct world *w, bool full)
{
    struct dtqi_msg msg = {.type = DTQI_SINK_HEARTBEAT};

    msg.sink_heartbeat = (struct dtqi_sink_heartbeat){w->sink_session, 1, full};
    world_msg(w, SINK_ROUTE, &msg);
}

/* Time passes while the sink and these workers send their heartbeats, which say what `x` says. */
static inline void world_live(struct world *w, uint64_t ms, struct world_worker *x,
                              struct world_worker *y)
{
    for (uint64_t until_ms = w->now_ms + ms; w->now_ms < until_ms;) {
        uint64_t left_ms = until_ms - w->now_ms;

        if (w->sink_session != 0)
            world_sink_beat(w, false);
        if (x != NULL)
            world_beat(w, x);
        if (y != NULL)
            world_beat(w, y);
        world_pass(w, left_ms < 1000 ? left_ms : 1000);
    }
}

/* What a worker that holds these attempts of an epoch says in its heartbeats. */
static inline void world_hold(struct world_worker *x, uint64_t epoch, const uint32_t *numbers,
                              uint32_t n, uint32_t attempt)
{
    x->held = n;
    x->held_sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        dtq_id id = world_id(numbers[i]);

        x->held_sum += dtqi_holding_hash(&id, epoch, attempt);
    }
}

/* So many tasks came down the lanes of a session, in their order; numbers in `ret`. Takes them. */
static inline uint32_t world_tasks(struct world *w, struct world_worker *x, uint32_t *ret,
                                   uint32_t *ret_tickets, uint32_t room)
{
    struct world_sent *next;
    uint32_t n = 0;

    for (struct world_sent *s = w->sent; s != NULL; s = next) {
        next = s->next;
        if (s->kind != WORLD_LANE || s->to != x->session)
            continue;
        assert_int_equal(s->msg.tasks.lane_seq, ++x->lane_seq);
        for (uint32_t i = 0; i < s->msg.tasks.n; i++) {
            assert_true(n < room);
            if (ret != NULL)
                ret[n] = world_number(&s->msg.tasks.ids[i]);
            if (ret_tickets != NULL)
                ret_tickets[n] = s->msg.tasks.tickets[i];
            n++;
        }
        world_drop(w, s);
    }
    return n;
}

static inline void world_done(struct world *w, struct world_worker *x, const uint32_t *tickets,
                              uint32_t n)
{
    struct dtqi_report r = {.done_tickets = tickets, .done_n = n};

    world_report(w, x, &r);
}

static inline void world_fail(struct world *w, struct world_worker *x, uint32_t number,
                              uint64_t epoch, uint32_t attempt, dtq_reason reason)
{
    struct dtqi_failure f = {
        .id = world_id(number),
        .epoch = epoch,
        .attempt = attempt,
        .reason = reason,
        .text = dtqi_str("it broke"),
    };
    struct dtqi_report r = {.failures = &f, .failures_n = 1};

    world_report(w, x, &r);
}

struct world_holding {
    uint32_t number;
    uint64_t epoch;
    uint32_t attempt;
    enum dtqi_holding state;
};

static inline void world_holdings(struct world *w, struct world_worker *x,
                                  const struct world_holding *list, uint32_t n, bool last)
{
    struct dtqi_msg msg = {.type = DTQI_HOLDINGS};
    dtq_id ids[64];
    uint64_t epochs[64];
    uint32_t attempts[64];
    uint32_t states[64];
    struct dtqi_failure failures[64];
    uint32_t failures_n = 0;

    assert_true(n <= 64);
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = world_id(list[i].number);
        epochs[i] = list[i].epoch;
        attempts[i] = list[i].attempt;
        states[i] = list[i].state;
        if (list[i].state == DTQI_HELD_FAILED)
            failures[failures_n++] = (struct dtqi_failure){.id = ids[i],
                                                           .epoch = epochs[i],
                                                           .attempt = attempts[i],
                                                           .reason = DTQ_REASON_ERROR,
                                                           .text = dtqi_str("it broke")};
    }
    msg.holdings = (struct dtqi_holdings){
        .session = x->session,
        .n = n,
        .ids = ids,
        .epochs = epochs,
        .attempts = attempts,
        .states = states,
        .failures = failures,
        .failures_n = failures_n,
        .last = last,
    };
    world_msg(w, x->route, &msg);
}

#endif
