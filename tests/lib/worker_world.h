/*
 * A worker core in a small world of virtual time: the test plays ventilator, sinks and shell. Slots
 * are simulated: started, retired, killed and taken back from as the actions say, but they run
 * nothing by themselves; the test says which tasks start and end.
 *
 * Actions pile up in `out` until world_clear(); the test looks them up by type.
 */
#ifndef WORKER_WORLD_H
#define WORKER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "touch.h"
#include "worker_core.h"

/* A test may put something around each step. */
#ifndef WORLD_STEP
#define WORLD_STEP worker_step
#endif

#define WORLD_SLOTS_MAX 8
#define WORLD_EPOCH 7u
#define WORLD_WALL_MS 1700000000000ull
#define MIB ((uint32_t)1 << 20)

struct world_slot {
    bool up;
    bool killed;
    bool deaf; /* take-backs, kills and retirements are not answered by themselves */
    uint32_t handles[WORKER_RING_TASKS_MAX];
    struct dtqi_slice bodies[WORKER_RING_TASKS_MAX];
    dtq_id ids[WORKER_RING_TASKS_MAX];
    uint32_t n;
    bool head_runs;
};

struct world {
    struct worker *w;
    struct worker_actions out;
    uint32_t done_n; /* actions carried out */
    uint64_t now_ms;
    struct world_slot slots[WORLD_SLOTS_MAX];
    bool slots_start; /* SLOT_START is answered by READY */
    bool sinks_connect;
    dtqi_uid store;
    uint64_t epoch;
    uint64_t session;
    uint32_t lane_seq;
    uint32_t reports; /* REPORTs of the session so far, as the ventilator applied them */
    uint32_t id_next; /* of the next task given */
    struct dtqi_sink_info sinks[DTQI_SINKS_MAX];
    uint32_t sinks_n;
};

static inline dtq_id world_id(uint32_t number)
{
    dtq_id id = {{1, 2, 3, 4, 5, 6, 0x70}};

    for (int i = 0; i < 4; i++)
        id.bytes[12 + i] = (uint8_t)(number >> (24 - 8 * i));
    return id;
}

static inline uint32_t world_number(const dtq_id *id)
{
    uint32_t number = 0;

    for (int i = 0; i < 4; i++)
        number = number << 8 | id->bytes[12 + i];
    return number;
}

static inline dtqi_uid world_uid(uint8_t mark)
{
    dtqi_uid uid;

    memset(uid.bytes, mark, sizeof uid.bytes);
    return uid;
}

/* ---------------------------------------------------------------- steps */

static inline void world_step(struct world *t, struct worker_event ev);

static inline void world_answer_start(struct world *t, uint32_t slot)
{
    t->slots[slot] = (struct world_slot){.up = true, .deaf = t->slots[slot].deaf};
    if (t->slots_start)
        world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_READY, .slot.index = slot});
}

/* What has not started goes back. */
static inline void world_give_back(struct world *t, uint32_t slot)
{
    struct world_slot *s = &t->slots[slot];
    uint32_t first = s->head_runs ? 1 : 0;
    uint32_t handles[WORKER_RING_TASKS_MAX];
    uint32_t n = s->n - first;

    memcpy(handles, s->handles + first, n * sizeof *handles);
    s->n = first;
    world_step(t,
               (struct worker_event){.type = WORKER_EV_SLOT_RETURNED,
                                     .slot = {.index = slot, .handles = handles, .handles_n = n}});
}

/* The slot's process is gone. */
static inline void world_slot_exits(struct world *t, uint32_t slot, bool by_signal, int status)
{
    struct world_slot *s = &t->slots[slot];
    uint32_t first = s->head_runs ? 1 : 0;
    uint32_t handles[WORKER_RING_TASKS_MAX];
    uint32_t n = s->n - first;

    memcpy(handles, s->handles + first, n * sizeof *handles);
    s->n = 0;
    s->up = s->head_runs = s->killed = false;
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_EXITED,
                                        .slot = {.index = slot,
                                                 .handles = handles,
                                                 .handles_n = n,
                                                 .by_signal = by_signal,
                                                 .status = status}});
}

static inline void world_feed(struct world *t, uint32_t slot, const struct worker_feed *tasks,
                              uint32_t n)
{
    struct world_slot *s = &t->slots[slot];

    assert_true(s->up);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(s->n < WORKER_RING_TASKS_MAX);
        s->handles[s->n] = tasks[i].handle;
        s->bodies[s->n] = tasks[i].body;
        s->ids[s->n] = tasks[i].id;
        s->n++;
    }
}

static inline void world_carry_out(struct world *t, const struct worker_action a)
{
    switch (a.type) {
    case WORKER_ACT_SLOT_START: world_answer_start(t, a.slot.index); break;
    case WORKER_ACT_SLOT_FEED: world_feed(t, a.feed.index, a.feed.tasks, a.feed.n); break;
    case WORKER_ACT_SLOT_TAKE_BACK:
        if (!t->slots[a.slot.index].deaf)
            world_give_back(t, a.slot.index);
        break;
    case WORKER_ACT_SLOT_RETIRE:
        if (!t->slots[a.slot.index].deaf)
            world_slot_exits(t, a.slot.index, false, 0);
        break;
    case WORKER_ACT_SLOT_KILL:
        t->slots[a.slot.index].killed = true;
        if (!t->slots[a.slot.index].deaf)
            world_slot_exits(t, a.slot.index, true, 9);
        break;
    case WORKER_ACT_SINK_OPEN:
        if (t->sinks_connect)
            world_step(t, (struct worker_event){.type = WORKER_EV_SINK_CONNECTED,
                                                .sink.index = a.sink.index});
        break;
    case WORKER_ACT_CONTROL_SEND:
        if (a.msg.type == DTQI_REPORT)
            t->reports = (uint32_t)a.msg.report.report_seq;
        break;
    case WORKER_ACT_CONTROL_RECONNECT:
    case WORKER_ACT_LANE_OPEN:
    case WORKER_ACT_LANE_CLOSE:
    case WORKER_ACT_SINK_CLOSE:
    case WORKER_ACT_SINK_SEND:
    case WORKER_ACT_LOG:
    case WORKER_ACT_EXIT: break;
    }
}

static inline void world_touch_feed(const struct worker_feed *tasks, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        touch_str(tasks[i].name);
        touch_str(tasks[i].queue);
        touch_bytes(tasks[i].body.at, tasks[i].body.len);
    }
}

static inline void world_touch(const struct worker_action *a)
{
    switch (a->type) {
    case WORKER_ACT_CONTROL_SEND: touch_msg(&a->msg); break;
    case WORKER_ACT_SINK_SEND: touch_msg(&a->send.msg); break;
    case WORKER_ACT_LANE_OPEN: touch_str(a->lane.endpoint); break;
    case WORKER_ACT_SINK_OPEN: touch_str(a->sink.endpoint); break;
    case WORKER_ACT_SLOT_FEED: world_touch_feed(a->feed.tasks, a->feed.n); break;
    case WORKER_ACT_LOG: touch_str(a->log.text); break;
    case WORKER_ACT_EXIT: touch_str(a->exit.text); break;
    case WORKER_ACT_CONTROL_RECONNECT:
    case WORKER_ACT_LANE_CLOSE:
    case WORKER_ACT_SINK_CLOSE:
    case WORKER_ACT_SLOT_START:
    case WORKER_ACT_SLOT_TAKE_BACK:
    case WORKER_ACT_SLOT_RETIRE:
    case WORKER_ACT_SLOT_KILL: break;
    }
}

static inline void world_step(struct world *t, struct worker_event ev)
{
    uint32_t before = t->out.n;

    ev.now_ms = t->now_ms;
    ev.wall_ms = WORLD_WALL_MS + t->now_ms;
    WORLD_STEP(t->w, &ev, &t->out);
    for (uint32_t i = before; i < t->out.n; i++) /* the rest may be gone with the next step */
        world_touch(&t->out.at[i]);
    while (t->done_n < t->out.n)
        world_carry_out(t, t->out.at[t->done_n++]);
}

static inline void world_tick(struct world *t)
{
    world_step(t, (struct worker_event){.type = WORKER_EV_TICK});
}

/* Ticks at every deadline until so much later. */
static inline void world_pass(struct world *t, uint64_t ms)
{
    uint64_t until = t->now_ms + ms;

    for (int ticks = 0; t->now_ms < until; ticks++) {
        uint64_t next = worker_deadline_ms(t->w);

        assert_true(ticks < 100000);
        if (next > until)
            next = until;
        if (next > t->now_ms)
            t->now_ms = next;
        world_tick(t);
        if (next <= t->now_ms && worker_deadline_ms(t->w) <= t->now_ms && t->now_ms < until)
            t->now_ms++; /* a tick that wants the next one at once is not a loop */
    }
}

/* Forget the actions so far. */
static inline void world_clear(struct world *t)
{
    worker_actions_reset(&t->out);
    t->done_n = 0;
}

/* ---------------------------------------------------------------- looking at actions */

static inline const struct worker_action *world_find(const struct world *t,
                                                     enum worker_action_type type, uint32_t nth)
{
    for (uint32_t i = 0; i < t->out.n; i++) {
        if (t->out.at[i].type == type && nth-- == 0)
            return &t->out.at[i];
    }
    return NULL;
}

static inline uint32_t world_count(const struct world *t, enum worker_action_type type)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->out.n; i++)
        n += t->out.at[i].type == type;
    return n;
}

/* The nth message to the ventilator of a type, or NULL. */
static inline const struct dtqi_msg *world_sent(const struct world *t, enum dtqi_msg_type type,
                                                uint32_t nth)
{
    for (uint32_t i = 0; i < t->out.n; i++) {
        const struct worker_action *a = &t->out.at[i];

        if (a->type == WORKER_ACT_CONTROL_SEND && a->msg.type == type && nth-- == 0)
            return &a->msg;
    }
    return NULL;
}

static inline uint32_t world_sent_count(const struct world *t, enum dtqi_msg_type type)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->out.n; i++)
        n += t->out.at[i].type == WORKER_ACT_CONTROL_SEND && t->out.at[i].msg.type == type;
    return n;
}

/* The last one, of those since action number `from`. */
static inline const struct dtqi_msg *world_last_from(const struct world *t, uint32_t from,
                                                     enum dtqi_msg_type type)
{
    for (uint32_t i = t->out.n; i > from; i--) {
        const struct worker_action *a = &t->out.at[i - 1];

        if (a->type == WORKER_ACT_CONTROL_SEND && a->msg.type == type)
            return &a->msg;
    }
    return NULL;
}

static inline const struct dtqi_msg *world_last(const struct world *t, enum dtqi_msg_type type)
{
    return world_last_from(t, 0, type);
}

/* Position of the first action of a type, for order; UINT32_MAX: none. */
static inline uint32_t world_where(const struct world *t, enum worker_action_type type)
{
    for (uint32_t i = 0; i < t->out.n; i++) {
        if (t->out.at[i].type == type)
            return i;
    }
    return UINT32_MAX;
}

static inline bool world_names(const dtq_id *ids, uint32_t n, uint32_t number)
{
    for (uint32_t i = 0; i < n; i++) {
        if (world_number(&ids[i]) == number)
            return true;
    }
    return false;
}

/* Does a REPORT since the last world_clear() name the task as returned, stopped, started? */
static inline bool world_returned(const struct world *t, uint32_t number)
{
    const struct dtqi_msg *m;

    for (uint32_t i = 0; (m = world_sent(t, DTQI_REPORT, i)) != NULL; i++) {
        if (world_names(m->report.returned_ids, m->report.returned_n, number))
            return true;
    }
    return false;
}

static inline bool world_stopped(const struct world *t, uint32_t number)
{
    const struct dtqi_msg *m;

    for (uint32_t i = 0; (m = world_sent(t, DTQI_REPORT, i)) != NULL; i++) {
        if (world_names(m->report.stopped_ids, m->report.stopped_n, number))
            return true;
    }
    return false;
}

static inline bool world_started(const struct world *t, uint32_t number)
{
    const struct dtqi_msg *m;

    for (uint32_t i = 0; (m = world_sent(t, DTQI_REPORT, i)) != NULL; i++) {
        if (world_names(m->report.started_ids, m->report.started_n, number))
            return true;
    }
    return false;
}

/* Does a REPORT name this ticket as done? Tickets given by the world are 1000 + number. */
static inline bool world_done(const struct world *t, uint32_t ticket)
{
    const struct dtqi_msg *m;

    for (uint32_t i = 0; (m = world_sent(t, DTQI_REPORT, i)) != NULL; i++) {
        for (uint32_t k = 0; k < m->report.done_n; k++) {
            if (m->report.done_tickets[k] == ticket)
                return true;
        }
    }
    return false;
}

static inline const struct dtqi_failure *world_failure(const struct world *t, uint32_t number)
{
    const struct dtqi_msg *m;

    for (uint32_t i = 0; (m = world_sent(t, DTQI_REPORT, i)) != NULL; i++) {
        for (uint32_t k = 0; k < m->report.failures_n; k++) {
            if (world_number(&m->report.failures[k].id) == number)
                return &m->report.failures[k];
        }
    }
    return NULL;
}

/* How often outcomes of this task went to a sink since the last world_clear(). */
static inline uint32_t world_outcomes(const struct world *t, uint32_t number)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->out.n; i++) {
        const struct worker_action *a = &t->out.at[i];

        if (a->type == WORKER_ACT_SINK_SEND &&
            world_names(a->send.msg.outcomes.ids, a->send.msg.outcomes.n, number))
            n++;
    }
    return n;
}

/* The slot that has this task in its ring, or -1. */
static inline int world_slot_of(const struct world *t, uint32_t number)
{
    for (int i = 0; i < WORLD_SLOTS_MAX; i++) {
        if (world_names(t->slots[i].ids, t->slots[i].n, number))
            return i;
    }
    return -1;
}

/* ---------------------------------------------------------------- the ventilator */

static inline void world_control(struct world *t, const struct dtqi_msg *msg)
{
    world_step(t, (struct worker_event){.type = WORKER_EV_CONTROL_MSG, .msg = msg});
}

static inline void world_welcome(struct world *t)
{
    struct dtqi_msg msg = {.type = DTQI_WELCOME};

    t->session++;
    t->lane_seq = 0;
    t->reports = 0;
    msg.welcome = (struct dtqi_welcome){
        .version = DTQI_PROTOCOL_VERSION,
        .store = t->store,
        .epoch = t->epoch,
        .session = t->session,
        .wall_ms = WORLD_WALL_MS + t->now_ms,
        .lane = dtqi_str("tcp://127.0.0.1:20000"),
        .sinks = t->sinks,
        .sinks_n = t->sinks_n,
    };
    world_control(t, &msg);
}

/* Answer the last heartbeat. */
static inline void world_echo(struct world *t, uint64_t sequence, uint64_t backlog)
{
    struct dtqi_msg msg = {.type = DTQI_VENTILATOR_HEARTBEAT};

    msg.ventilator_heartbeat = (struct dtqi_ventilator_heartbeat){
        .session = t->session,
        .echo = sequence,
        .report_seq = t->reports,
        .lane_seq = t->lane_seq,
        .backlog = backlog,
        .wall_ms = WORLD_WALL_MS + t->now_ms,
    };
    world_control(t, &msg);
}

/* So much later, with every heartbeat answered at once. */
static inline void world_live(struct world *t, uint64_t ms)
{
    uint64_t until = t->now_ms + ms;

    for (int ticks = 0; t->now_ms < until; ticks++) {
        uint64_t next = worker_deadline_ms(t->w);
        const struct dtqi_msg *beat;
        uint32_t before = t->out.n;

        assert_true(ticks < 100000);
        if (next > until)
            next = until;
        t->now_ms = next > t->now_ms ? next : t->now_ms + 1;
        world_tick(t);
        beat = world_last_from(t, before, DTQI_WORKER_HEARTBEAT);
        if (beat != NULL)
            world_echo(t, beat->worker_heartbeat.sequence, 1);
    }
}

/* What a TASKS message shall hold; zeros mean the plain thing. */
struct world_tasks {
    uint32_t n;       /* 0: 1 */
    uint32_t first;   /* number of the first task; 0: the next ones */
    uint32_t attempt; /* 0: 1 */
    uint32_t body_bytes;
    uint64_t time_limit_ms;
    uint64_t expires_in_ms;
    uint8_t sink; /* mark of its store; 0: the first one */
    bool no_result;
    bool no_spec;
    bool no_sink;
    bool skip;        /* a gap in lane_seq */
    uint64_t session; /* 0: the right one */
    const char *spec; /* its encoding; NULL: made from the numbers above */
    uint64_t reply_to;
};

/* Give tasks; their tickets are 1000 + number. @return the number of the first one */
static inline uint32_t world_give(struct world *t, struct world_tasks g)
{
    uint32_t n = g.n != 0 ? g.n : 1;
    uint32_t first = g.first != 0 ? g.first : t->id_next;
    struct dtqi_buf *buf = dtqi_buf_new(1024, SIZE_MAX);
    dtq_id *ids = dtqi_buf_alloc(buf, n * sizeof *ids);
    uint32_t *tickets = dtqi_buf_alloc(buf, n * sizeof *tickets);
    uint32_t *attempts = dtqi_buf_alloc(buf, n * sizeof *attempts);
    uint64_t *expires = dtqi_buf_alloc(buf, n * sizeof *expires);
    uint64_t *reply_to = dtqi_buf_alloc(buf, n * sizeof *reply_to);
    struct dtqi_slice *bodies = dtqi_buf_alloc(buf, n * sizeof *bodies);
    char *body = dtqi_buf_alloc(buf, g.body_bytes + 1);
    dtqi_uid sink = g.sink != 0 ? world_uid(g.sink) : t->sinks[0].store;
    char raw[64];
    struct dtqi_spec spec = {
        .name = dtqi_str("test.work"),
        .queue = dtqi_str("default"),
        .time_limit_ms = g.time_limit_ms,
        .no_result = g.no_result,
    };
    struct dtqi_msg msg = {.type = DTQI_TASKS, .buf = buf};

    snprintf(raw, sizeof raw, "%s/%llu/%d", g.spec != NULL ? g.spec : "spec",
             (unsigned long long)g.time_limit_ms, g.no_result);
    spec.raw = (struct dtqi_slice){raw, (uint32_t)strlen(raw)};
    memset(body, 'p', g.body_bytes + 1);
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = world_id(first + i);
        tickets[i] = 1000 + first + i;
        attempts[i] = g.attempt != 0 ? g.attempt : 1;
        expires[i] = g.expires_in_ms;
        reply_to[i] = g.reply_to;
        bodies[i] = (struct dtqi_slice){body, g.body_bytes};
    }
    if (g.first == 0)
        t->id_next += n;
    t->lane_seq += g.skip ? 2 : 1;
    msg.tasks = (struct dtqi_tasks){
        .session = g.session != 0 ? g.session : t->session,
        .lane_seq = t->lane_seq,
        .n = n,
        .ids = ids,
        .tickets = tickets,
        .attempts = attempts,
        .specs = &spec,
        .specs_n = g.no_spec ? 0 : 1,
        .expires_in_ms = g.expires_in_ms != 0 ? expires : NULL,
        .sinks = &sink,
        .sinks_n = g.no_sink ? 0 : 1,
        .reply_to = g.reply_to != 0 ? reply_to : NULL,
        .bodies = bodies,
    };
    world_step(t, (struct worker_event){.type = WORKER_EV_LANE_MSG, .msg = &msg});
    dtqi_buf_unref(buf);
    return first;
}

static inline void world_forget(struct world *t, uint32_t first, uint32_t n)
{
    struct dtqi_msg msg = {.type = DTQI_FORGET};
    dtq_id *ids = calloc(n, sizeof *ids);

    for (uint32_t i = 0; i < n; i++)
        ids[i] = world_id(first + i);
    msg.forget = (struct dtqi_forget){.session = t->session, .epoch = t->epoch, .n = n, .ids = ids};
    world_control(t, &msg);
    free(ids);
}

static inline void world_verdict(struct world *t, uint32_t number, enum dtqi_verdict verdict,
                                 uint32_t ticket)
{
    struct dtqi_msg msg = {.type = DTQI_VERDICTS};
    dtq_id id = world_id(number);
    uint64_t epoch = WORLD_EPOCH;
    uint32_t attempt = 1;
    uint32_t what = verdict;

    msg.verdicts = (struct dtqi_verdicts){
        .session = t->session,
        .n = 1,
        .ids = &id,
        .epochs = &epoch,
        .attempts = &attempt,
        .verdicts = &what,
        .tickets = &ticket,
    };
    world_control(t, &msg);
}

/* A message of RESEND or STOP_ATTEMPTS for one task. */
static inline void world_ids(struct world *t, enum dtqi_msg_type type, uint32_t number)
{
    struct dtqi_msg msg = {.type = type};
    dtq_id id = world_id(number);
    struct dtqi_ids ids = {.session = t->session, .ids = &id, .n = 1};

    if (type == DTQI_RESEND)
        msg.resend = ids;
    else
        msg.stop_attempts = ids;
    world_control(t, &msg);
}

static inline void world_unknown(struct world *t)
{
    struct dtqi_msg msg = {.type = DTQI_UNKNOWN_SESSION, .unknown_session.session = t->session};

    world_control(t, &msg);
}

/* ---------------------------------------------------------------- slots at work */

/* The slot takes its next task, if it has one. */
static inline void world_begin(struct world *t, uint32_t slot)
{
    if (t->slots[slot].n != 0)
        t->slots[slot].head_runs = true;
}

struct world_end {
    uint32_t n; /* tasks that end, in order; 0: 1 */
    uint64_t took_us;
    dtq_reason reason;
    int32_t code;
    const char *text;    /* result or error text; NULL: "result" */
    uint32_t body_bytes; /* instead of text */
    bool no_retry;
    uint64_t retry_after_ms;
};

static inline void world_ends(struct world *t, uint32_t slot, struct world_end how)
{
    struct world_slot *s = &t->slots[slot];
    uint32_t n = how.n != 0 ? how.n : 1;
    const char *text = how.text != NULL ? how.text : "result";
    uint32_t len = how.body_bytes != 0 ? how.body_bytes : (uint32_t)strlen(text);
    struct dtqi_buf *buf = dtqi_buf_new(1024, SIZE_MAX);
    struct worker_result results[WORKER_RING_TASKS_MAX];
    char *body = dtqi_buf_alloc(buf, len + 1);

    assert_true(n <= s->n);
    if (how.body_bytes != 0)
        memset(body, 'r', len);
    else
        memcpy(body, text, len);
    for (uint32_t i = 0; i < n; i++) {
        results[i] = (struct worker_result){
            .handle = s->handles[i],
            .reason = how.reason,
            .code = how.code,
            .no_retry = how.no_retry,
            .body = {body, len},
            .retry_after_ms = how.retry_after_ms,
            .started_wall_ms = WORLD_WALL_MS + t->now_ms,
            .duration_us = how.took_us,
        };
    }
    s->n -= n;
    memmove(s->handles, s->handles + n, s->n * sizeof *s->handles);
    memmove(s->ids, s->ids + n, s->n * sizeof *s->ids);
    memmove(s->bodies, s->bodies + n, s->n * sizeof *s->bodies);
    s->head_runs = false;
    world_step(
        t, (struct worker_event){.type = WORKER_EV_SLOT_ENDED, .ended = {slot, n, results, buf}});
    dtqi_buf_unref(buf);
}

/* ---------------------------------------------------------------- life */

static inline struct worker_cfg world_cfg(uint32_t slots)
{
    return (struct worker_cfg){
        .instance = world_uid(9),
        .seed = 1,
        .name = dtqi_str("w1"),
        .program = dtqi_str("test"),
        .slots = slots,
    };
}

static inline struct world *world_new(const struct worker_cfg *cfg)
{
    struct world *t = calloc(1, sizeof *t);

    *t = (struct world){
        .now_ms = 1000,
        .slots_start = true,
        .sinks_connect = true,
        .store = world_uid(1),
        .epoch = WORLD_EPOCH,
        .id_next = 1,
        .sinks = {{.store = world_uid(101),
                   .intake = dtqi_str("tcp://127.0.0.1:5571"),
                   .reachable = true},
                  {.store = world_uid(102),
                   .intake = dtqi_str("tcp://127.0.0.1:6571"),
                   .reachable = true}},
        .sinks_n = 1,
    };
    assert_int_equal(worker_new(cfg, &t->w), DTQ_OK);
    return t;
}

static inline void world_free(struct world *t)
{
    worker_free(t->w);
    worker_actions_done(&t->out);
    free(t);
}

/* Slots ready, session open, sink connected, the first heartbeat answered. */
static inline struct world *world_in_session(const struct worker_cfg *cfg)
{
    struct world *t = world_new(cfg);

    world_tick(t);
    world_tick(t);
    assert_non_null(world_sent(t, DTQI_HELLO, 0));
    world_welcome(t);
    world_tick(t);
    assert_non_null(world_sent(t, DTQI_WORKER_HEARTBEAT, 0));
    world_echo(t, 1, 1);
    world_tick(t);
    world_clear(t);
    return t;
}

static inline struct worker_view world_view(const struct world *t)
{
    struct worker_view view;

    worker_view(t->w, &view);
    return view;
}

/* Let the worker believe that tasks take so long. */
static inline void world_teach(struct world *t, uint64_t took_us)
{
    for (int i = 0; i < 400; i++) {
        uint32_t number = world_give(t, (struct world_tasks){0});
        int slot;

        world_tick(t);
        slot = world_slot_of(t, number);
        assert_true(slot >= 0);
        world_ends(t, (uint32_t)slot, (struct world_end){.took_us = took_us});
        world_tick(t);
        world_forget(t, number, 1);
        world_tick(t);
    }
    world_clear(t);
}

#endif
