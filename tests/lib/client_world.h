/*
 * A client core in virtual time, whose ventilator and sinks are the test: it looks at what was sent
 * and says what is answered. Everything that is sent is written down as a copy.
 */
#ifndef CLIENT_WORLD_H
#define CLIENT_WORLD_H

#include "client_core.h"
#include "touch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka wants the three above first. */
#include <cmocka.h>

#define SENT_MAX 400u
#define SENT_IDS_MAX 600u

struct sent {
    enum client_action_type type;
    uint32_t peer;
    enum dtqi_msg_type msg;
    uint64_t request;
    uint64_t reply_to;
    uint32_t n;
    dtq_id ids[SENT_IDS_MAX];
    uint64_t first_not_before_wall_ms;
    uint64_t first_delay_ms;
    int64_t id_clock_ms;
    char first_body[64];
    uint32_t specs_n;
    dtqi_uid sink;
    bool resend;
    bool once;
    uint32_t also_sent_to_n;
    dtqi_uid also_sent_to;
};

struct world {
    struct client *c;
    struct client_cfg cfg;
    struct client_actions actions;
    struct client_time at;
    uint32_t sinks_n; /* that WELCOME tells of */
    uint8_t vent;     /* first byte of the ventilator's store */
    uint64_t vent_wall_ms;
    struct sent *sent;
    uint32_t sent_n;
    uint32_t seen_n; /* of these the test has looked at */
    struct dtqi_buf *buf;
};

static inline dtqi_uid uid_of(uint8_t first)
{
    dtqi_uid uid = {{first}};

    return uid;
}

static inline void note_submit(struct sent *s, const struct dtqi_submit *m)
{
    s->n = m->n;
    s->request = m->request;
    s->reply_to = m->reply_to;
    s->sink = m->sink;
    s->resend = m->resend;
    s->specs_n = m->specs_n;
    s->also_sent_to_n = m->also_sent_to_n;
    if (m->also_sent_to_n != 0)
        s->also_sent_to = m->also_sent_to[0];
    s->first_not_before_wall_ms = dtqi_col64(m->not_before_wall_ms, 0);
    s->first_delay_ms = dtqi_col64(m->delay_ms, 0);
    s->id_clock_ms = m->id_clock_ms;
    memcpy(s->ids, m->ids, (m->n < SENT_IDS_MAX ? m->n : SENT_IDS_MAX) * sizeof *s->ids);
    snprintf(s->first_body, sizeof s->first_body, "%.*s", (int)m->bodies[0].len,
             (const char *)m->bodies[0].at);
}

static inline void note_wait(struct sent *s, const struct dtqi_wait *m)
{
    s->n = m->n;
    s->request = m->request;
    s->once = m->once;
    memcpy(s->ids, m->ids, (m->n < SENT_IDS_MAX ? m->n : SENT_IDS_MAX) * sizeof *s->ids);
}

static inline void note(struct world *w, const struct client_action *a)
{
    struct sent *s = &w->sent[w->sent_n++];

    assert_true(w->sent_n < SENT_MAX);
    *s = (struct sent){.type = a->type, .peer = a->peer};
    if (a->type == CLIENT_OPEN)
        touch_str(a->endpoint);
    if (a->type != CLIENT_SEND)
        return;
    touch_msg(&a->msg);
    s->msg = a->msg.type;
    if (s->msg == DTQI_SUBMIT)
        note_submit(s, &a->msg.submit);
    else if (s->msg == DTQI_WAIT)
        note_wait(s, &a->msg.wait);
    else if (s->msg == DTQI_FOLLOW)
        s->reply_to = a->msg.follow.reply_to;
    else if (s->msg == DTQI_QUERY)
        s->request = a->msg.query.request;
    else if (s->msg == DTQI_CANCEL)
        s->request = a->msg.cancel.request;
    else if (s->msg == DTQI_RESULTS_QUERY)
        s->request = a->msg.results_query.request;
    if (s->msg == DTQI_QUERY)
        s->ids[0] = a->msg.query.prefix;
}

static inline void step(struct world *w, enum client_event_type type, uint32_t peer,
                        const struct dtqi_msg *msg)
{
    struct client_event e = {.type = type, .at = w->at, .peer = peer, .msg = msg};

    client_step(w->c, &e, &w->actions);
    for (uint32_t i = 0; i < w->actions.n; i++)
        note(w, &w->actions.at[i]);
    client_actions_reset(&w->actions);
}

static inline void tick(struct world *w)
{
    step(w, CLIENT_TICK, 0, NULL);
}

/* Ticks whenever the core wants one, for so long. */
static inline void pass(struct world *w, uint64_t ms)
{
    uint64_t end = w->at.now_ms + ms;
    uint32_t rounds = 0;

    for (;;) {
        uint64_t next = client_deadline_ms(w->c);

        assert_true(rounds++ < 10000); /* else the core never comes to rest */
        if (next < w->at.now_ms)
            next = w->at.now_ms;
        if (next > end)
            break;
        w->at.wall_ms += next - w->at.now_ms;
        w->at.now_ms = next;
        tick(w);
    }
    w->at.wall_ms += end - w->at.now_ms;
    w->at.now_ms = end;
}

static inline void world_open(struct world *w)
{
    w->at = (struct client_time){1000000, 1700000000000ull};
    w->vent = 'V';
    w->vent_wall_ms = 1700000000000ull;
    if (w->sinks_n == 0)
        w->sinks_n = 1;
    w->cfg.endpoint = dtqi_str("tcp://vent:1");
    w->cfg.name = dtqi_str("test");
    w->cfg.program = dtqi_str("test 1");
    w->cfg.seed = 7;
    w->cfg.reply_to = 77;
    w->sent = calloc(SENT_MAX, sizeof *w->sent);
    assert_non_null(w->sent);
    assert_int_equal(client_new(&w->cfg, &w->c), DTQ_OK);
}

static inline void world_close(struct world *w)
{
    client_free(w->c);
    client_actions_done(&w->actions);
    free(w->sent);
}

static inline void welcome(struct world *w)
{
    struct dtqi_sink_info sinks[DTQI_SINKS_MAX];
    struct dtqi_msg msg = {.type = DTQI_WELCOME,
                           .welcome = {.version = 1,
                                       .store = uid_of(w->vent),
                                       .epoch = 1,
                                       .session = 1,
                                       .wall_ms = w->vent_wall_ms,
                                       .sinks = sinks,
                                       .sinks_n = w->sinks_n,
                                       .task_bytes_max = DTQI_TASK_BYTES_MAX}};

    for (uint32_t i = 0; i < w->sinks_n && i < DTQI_SINKS_MAX; i++)
        sinks[i] = (struct dtqi_sink_info){.store = uid_of((uint8_t)('A' + i)),
                                           .results = dtqi_str("tcp://sink:1"),
                                           .reachable = true};
    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &msg);
}

/* The next unseen action of this kind, skipping others; NULL: none. */
static inline const struct sent *next_sent(struct world *w, uint32_t peer, enum dtqi_msg_type msg)
{
    while (w->seen_n < w->sent_n) {
        const struct sent *s = &w->sent[w->seen_n++];

        if (s->type == CLIENT_SEND && s->peer == peer && s->msg == msg)
            return s;
    }
    return NULL;
}

static inline const struct sent *next_action(struct world *w, enum client_action_type type)
{
    while (w->seen_n < w->sent_n)
        if (w->sent[w->seen_n++].type == type)
            return &w->sent[w->seen_n - 1];
    return NULL;
}

static inline void connect_up(struct world *w)
{
    tick(w);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
    welcome(w);
    tick(w);
}

static inline void submitted(struct world *w, uint64_t request)
{
    struct dtqi_msg msg = {.type = DTQI_SUBMITTED, .submitted = {.request = request}};

    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &msg);
}

static inline void refused(struct world *w, uint64_t request, uint32_t index, enum dtqi_refusal why,
                           const char *text)
{
    uint32_t reason = why;
    struct dtqi_str str = dtqi_str(text);
    struct dtqi_msg msg = {.type = DTQI_SUBMITTED,
                           .submitted = {.request = request,
                                         .refused_n = 1,
                                         .refused_index = &index,
                                         .refused_reason = &reason,
                                         .refused_text = &str}};

    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &msg);
}

/* Results that all have the same kind and body. */
static inline void results(struct world *w, uint32_t peer, uint64_t request, const dtq_id *ids,
                           uint32_t n, dtq_state kind, const char *body)
{
    struct dtqi_buf *buf = dtqi_buf_new(0, SIZE_MAX);
    uint32_t *kinds = dtqi_buf_alloc(buf, n * sizeof *kinds);
    dtq_id *copy = dtqi_buf_alloc(buf, n * sizeof *copy);
    struct dtqi_slice *bodies = dtqi_buf_alloc(buf, n * sizeof *bodies);
    struct dtqi_msg msg = {.type = DTQI_RESULTS,
                           .buf = buf,
                           .results = {.sink = uid_of((uint8_t)('A' + peer - 1)),
                                       .request = request,
                                       .n = n,
                                       .ids = copy,
                                       .kinds = kinds,
                                       .bodies = bodies}};

    for (uint32_t i = 0; i < n; i++) {
        size_t len = strlen(body);
        char *at = dtqi_buf_alloc(buf, len + 1);

        memcpy(at, body, len + 1);
        copy[i] = ids[i];
        kinds[i] = kind;
        bodies[i] = (struct dtqi_slice){at, (uint32_t)len};
    }
    step(w, CLIENT_MESSAGE, peer, &msg);
    dtqi_buf_unref(buf);
}

/* Answers the look-up that a sink's new connection begins with. */
static inline void prove(struct world *w, uint32_t peer)
{
    const struct sent *probe = next_sent(w, peer, DTQI_WAIT);

    assert_non_null(probe);
    assert_true(probe->once);
    results(w, peer, probe->request, probe->ids, 1, DTQ_NOT_FOUND, "");
    tick(w);
}

static inline void query_reply(struct world *w, uint64_t request, const dtq_id *id, dtq_state state)
{
    struct dtqi_buf *buf = dtqi_buf_new(0, SIZE_MAX);
    struct dtqi_task_info *task = dtqi_buf_alloc(buf, sizeof *task);
    struct dtqi_msg msg = {
        .type = DTQI_QUERY_REPLY,
        .buf = buf,
        .query_reply = {.request = request, .tasks = task, .tasks_n = state != DTQ_NOT_FOUND}};

    *task = (struct dtqi_task_info){.id = *id,
                                    .state = state,
                                    .worker = dtqi_str("w1"),
                                    .spec = {.name = dtqi_str("name"), .queue = dtqi_str("q")}};
    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &msg);
    dtqi_buf_unref(buf);
}

static inline struct client_task a_task(const char *payload)
{
    return (struct client_task){.spec = {"spec", 4},
                                .payload = {payload, (uint32_t)strlen(payload)},
                                .timeout_ms = 60000,
                                .tell = CLIENT_TELL_EVENT};
}

static inline dtq_id submit(struct world *w, const char *payload)
{
    struct client_task t = a_task(payload);
    dtq_id id;

    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    return id;
}

static inline void expect_verdict(struct world *w, const dtq_id *id, dtq_err err)
{
    struct client_verdict v;

    assert_true(client_take_event_verdict(w->c, &v));
    assert_memory_equal(v.id.bytes, id->bytes, sizeof id->bytes);
    assert_int_equal(v.err, err);
}

static inline void expect_result(struct world *w, const dtq_id *id, dtq_state state,
                                 const char *body)
{
    struct client_result r;

    assert_true(client_take_result(w->c, &r));
    assert_memory_equal(r.id.bytes, id->bytes, sizeof id->bytes);
    assert_int_equal(r.state, state);
    assert_int_equal(r.body.len, strlen(body));
    assert_memory_equal(r.body.at, body, r.body.len);
}

static inline bool has_id(const struct sent *s, const dtq_id *id)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (dtqi_id_eq(&s->ids[i], id))
            return true;
    return false;
}

#endif
