/* The sink's core in virtual time, with the real result store in memory behind it. Tests are
 * stories: what the core says is written down line by line and compared.
 *
 *     V< TYPE ..       to the ventilator
 *     P7< TYPE ..      to the client on route 7
 *     commit, read     to the commit thread; answered by work()
 *
 * Ids are named by their last byte; an outcome is "id=kind" or "id=kind:body", kind 5 is
 * succeeded. */
#include "results.h"
#include "sink_core.h"

#include "store.h"
#include "touch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define START_MS 1700000000000ull
#define QUEUE_MAX 64

struct fixture {
    struct store *store;
    struct results *results;
    struct sink *sink;
    struct sink_cfg cfg;
    struct sink_actions actions;
    uint64_t now_ms;
    uint64_t told_committed_ms;
    uint64_t host_ahead_ms; /* the host's wall clock has jumped by so much */
    struct work {
        struct results_batch *batch;
        struct results_read *read;
    } queue[QUEUE_MAX]; /* what the commit thread was given */
    uint32_t queue_n;
    dtq_err fail; /* what the next commits end with; DTQ_OK: they are real */
    bool logs;    /* write LOG lines down too */
    char said[8192];
};

static dtqi_uid uid(uint8_t n)
{
    dtqi_uid u = {{n}};

    return u;
}

static dtq_id id_of(uint8_t n)
{
    dtq_id id = {{0}};
    uint64_t ms = START_MS;

    for (int i = 5; i >= 0; i--, ms >>= 8)
        id.bytes[i] = (uint8_t)ms;
    id.bytes[15] = n;
    return id;
}

__attribute__((format(printf, 2, 3))) static void say(struct fixture *f, const char *format, ...)
{
    size_t at = strlen(f->said);
    va_list args;

    va_start(args, format);
    vsnprintf(f->said + at, sizeof f->said - at, format, args);
    va_end(args);
}

/* ---- what the core says, in words */

static void say_results(struct fixture *f, const struct dtqi_results *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        say(f, " %u=%u", r->ids[i].bytes[15], dtqi_col32(r->kinds, i, DTQ_SUCCEEDED));
        f->told_committed_ms = dtqi_col64(r->committed_wall_ms, i);
        if (r->bodies[i].len != 0 && r->bodies[i].len < 32)
            say(f, ":%.*s", (int)r->bodies[i].len, (const char *)r->bodies[i].at);
    }
}

static void say_settled(struct fixture *f, const struct dtqi_settled *m)
{
    say(f, " %llu/%llu", (unsigned long long)m->number_first, (unsigned long long)m->number_head);
    if (m->number_dropped != 0)
        say(f, " dropped %llu", (unsigned long long)m->number_dropped);
    if (m->diverged)
        say(f, " diverged");
    say(f, m->n != 0 ? ":" : "");
    for (uint32_t i = 0; i < m->n; i++)
        say(f, " %u=%u", m->ids[i].bytes[15], dtqi_col32(m->kinds, i, DTQ_SUCCEEDED));
}

static void say_msg(struct fixture *f, const struct dtqi_msg *m)
{
    touch_msg(m);
    if (m->type == DTQI_HELLO)
        say(f, "HELLO");
    else if (m->type == DTQI_SINK_HEARTBEAT)
        say(f, "HEARTBEAT%s", m->sink_heartbeat.full ? " full" : "");
    else if (m->type == DTQI_SETTLED) {
        say(f, "SETTLED");
        say_settled(f, &m->settled);
    } else if (m->type == DTQI_CLAIM_REPLY) {
        say(f, "CLAIM_REPLY");
        for (uint32_t i = 0; i < m->claim_reply.n; i++)
            say(f, " %u", m->claim_reply.kinds[i]);
    } else if (m->type == DTQI_BYE)
        say(f, "BYE");
    else if (m->type == DTQI_REFUSED)
        say(f, "REFUSED %d", (int)m->refused.reason);
    else if (m->type == DTQI_RESULTS) {
        say(f, "RESULTS %llu:", (unsigned long long)m->results.request);
        say_results(f, &m->results);
    } else if (m->type == DTQI_RESULTS_REPLY) {
        say(f, "PAGE held %llu:", (unsigned long long)m->results_reply.held);
        say_results(f, &m->results_reply.results);
        say(f, m->results_reply.has_next ? " .." : "");
    } else
        say(f, "?");
    say(f, "\n");
}

static void queue_work(struct fixture *f, struct results_batch *batch, struct results_read *read)
{
    assert_true(f->queue_n < QUEUE_MAX);
    f->queue[f->queue_n++] = (struct work){batch, read};
}

static void say_log(struct fixture *f, const struct sink_log *log)
{
    for (uint32_t i = 0; i < log->pairs_n; i++)
        touch_str(log->pairs[i].text);
    if (!f->logs)
        return;
    say(f, "log %s", log->event);
    if (log->pairs_n != 0 && strcmp(log->pairs[0].key, "endpoint") == 0)
        say(f, " %.*s", (int)log->pairs[0].text.len, log->pairs[0].text.at);
    say(f, "\n");
}

static void do_action(struct fixture *f, const struct sink_action *a)
{
    switch (a->type) {
    case SINK_ACT_CONTROL_SEND:
        say(f, "V< ");
        say_msg(f, &a->msg);
        return;
    case SINK_ACT_RESULTS_SEND:
        say(f, "P%u< ", a->route);
        say_msg(f, &a->msg);
        return;
    case SINK_ACT_CONTROL_RECONNECT: say(f, "reconnect\n"); return;
    case SINK_ACT_COMMIT:
        if (a->batch->proposals_n != 0)
            say(f, "commit\n");
        queue_work(f, a->batch, NULL);
        return;
    case SINK_ACT_READ:
        say(f, "read\n");
        queue_work(f, NULL, a->read);
        return;
    case SINK_ACT_INTAKE_PAUSE: say(f, "pause\n"); return;
    case SINK_ACT_INTAKE_RESUME: say(f, "resume\n"); return;
    case SINK_ACT_LOG: say_log(f, &a->log); return;
    case SINK_ACT_EXIT: say(f, "exit %d %.*s\n", a->status, (int)a->text.len, a->text.at); return;
    }
}

static void step(struct fixture *f, struct sink_event event)
{
    event.now_ms = f->now_ms;
    event.wall_ms = START_MS + f->now_ms;
    event.host_wall_ms = event.wall_ms + f->host_ahead_ms;
    sink_step(f->sink, &event, &f->actions);
    for (uint32_t i = 0; i < f->actions.n; i++)
        do_action(f, &f->actions.items[i]);
    sink_actions_reset(&f->actions);
}

static void tick(struct fixture *f)
{
    step(f, (struct sink_event){.type = SINK_EV_TICK});
}

static void expect(struct fixture *f, const char *expected)
{
    assert_string_equal(f->said, expected);
    f->said[0] = 0;
}

static void forget_said(struct fixture *f)
{
    f->said[0] = 0;
}

/* The commit thread does what it was given, in order, and answers. */
static void work_one(struct fixture *f)
{
    struct work w = f->queue[0];

    memmove(f->queue, f->queue + 1, --f->queue_n * sizeof *f->queue);
    if (w.read != NULL) {
        results_read(f->results, w.read);
        step(f, (struct sink_event){.type = SINK_EV_READ_DONE, .read = w.read});
        return;
    }
    if (f->fail == DTQ_OK) {
        results_apply(f->results, w.batch);
    } else {
        w.batch->err = f->fail;
        snprintf(w.batch->why, sizeof w.batch->why, "made up");
    }
    step(f, (struct sink_event){.type = SINK_EV_COMMITTED, .batch = w.batch});
}

static void work(struct fixture *f)
{
    while (f->queue_n != 0)
        work_one(f);
}

/* Time goes on, TICK by TICK as the core asks for them. */
static void run_until(struct fixture *f, uint64_t now_ms)
{
    while (f->now_ms < now_ms) {
        uint64_t due_ms = sink_deadline_ms(f->sink);

        if (due_ms > f->now_ms)
            f->now_ms = due_ms < now_ms ? due_ms : now_ms;
        tick(f);
        work(f);
    }
}

/* ---- messages */

static struct dtqi_msg msg_new(enum dtqi_msg_type type)
{
    struct dtqi_msg m = {.type = type, .buf = dtqi_buf_new(1024, SIZE_MAX)};

    assert_non_null(m.buf);
    return m;
}

/* "1 2 3": these ids, in memory of the message. */
static uint32_t parse_ids(struct dtqi_msg *m, const char *text, dtq_id **ret_ids)
{
    uint32_t n = 0;
    dtq_id *ids = dtqi_buf_alloc(m->buf, (strlen(text) + 1) * sizeof *ids);
    char *end;

    for (; *text != 0; text = end) {
        ids[n++] = id_of((uint8_t)strtoul(text, &end, 10));
        while (*end == ' ')
            end++;
    }
    *ret_ids = ids;
    return n;
}

static void give(struct fixture *f, enum sink_event_type type, uint32_t route,
                 const struct dtqi_msg *m)
{
    step(f, (struct sink_event){.type = type, .route = route, .msg = m});
    dtqi_buf_unref(m->buf);
}

static void *column(struct dtqi_msg *m, uint32_t n, size_t bytes)
{
    void *at = dtqi_buf_alloc(m->buf, n * bytes + 1);

    assert_non_null(at);
    memset(at, 0, n * bytes);
    return at;
}

/* OUTCOMES of ventilator `v` with these ids, all of one kind, each with this body. */
static struct dtqi_msg outcomes(struct fixture *f, uint8_t v, const char *ids, uint32_t kind,
                                const char *body)
{
    struct dtqi_msg m = msg_new(DTQI_OUTCOMES);
    struct dtqi_outcomes *o = &m.outcomes;
    dtq_id *at;
    uint32_t *kinds;
    uint32_t *tickets;
    uint64_t *reply_to;
    struct dtqi_slice *bodies;
    struct dtqi_spec *spec = column(&m, 1, sizeof *spec);
    uint32_t bytes = (uint32_t)strlen(body);
    char *copy = column(&m, bytes, 1);

    memcpy(copy, body, bytes);
    o->n = parse_ids(&m, ids, &at);
    kinds = column(&m, o->n, sizeof *kinds);
    tickets = column(&m, o->n, sizeof *tickets);
    reply_to = column(&m, o->n, sizeof *reply_to);
    bodies = column(&m, o->n, sizeof *bodies);
    for (uint32_t i = 0; i < o->n; i++) {
        kinds[i] = kind;
        tickets[i] = 100 + at[i].bytes[15];
        reply_to[i] = 77;
        bodies[i] = (struct dtqi_slice){copy, bytes};
    }
    *spec = (struct dtqi_spec){.name = dtqi_str("sum"), .queue = dtqi_str("default")};
    o->ventilator = uid(v);
    o->epoch = 1;
    o->sink = f->cfg.store;
    o->worker = dtqi_str("w1");
    o->heard_wall_ms = START_MS + f->now_ms;
    o->ids = at;
    o->kinds = kinds;
    o->tickets = tickets;
    o->reply_to = reply_to;
    o->bodies = bodies;
    o->specs = spec;
    o->specs_n = 1;
    return m;
}

static void propose(struct fixture *f, const char *ids, uint32_t kind, const char *body)
{
    struct dtqi_msg m = outcomes(f, 9, ids, kind, body);

    give(f, SINK_EV_INTAKE, 0, &m);
}

static void say_welcome(struct fixture *f, uint64_t session, uint64_t dedupe_ms)
{
    struct dtqi_msg m = msg_new(DTQI_WELCOME);

    m.welcome = (struct dtqi_welcome){
        .version = DTQI_PROTOCOL_VERSION,
        .store = uid(9),
        .epoch = 1,
        .session = session,
        .wall_ms = START_MS + f->now_ms,
        .heartbeat_ms = 1000,
        .liveness = 3,
        .dedupe_window_ms = dedupe_ms,
        .outcome_fence_ms = DTQI_OUTCOME_FENCE_MS,
    };
    give(f, SINK_EV_CONTROL, 0, &m);
}

static void resume(struct fixture *f, uint8_t run, uint64_t after)
{
    struct dtqi_msg m = msg_new(DTQI_RESUME);

    m.resume = (struct dtqi_resume){uid(9), uid(run), after};
    give(f, SINK_EV_CONTROL, 0, &m);
}

static void acknowledge(struct fixture *f, uint64_t number)
{
    struct dtqi_msg m = msg_new(DTQI_SETTLED_ACK);

    m.settled_ack = (struct dtqi_settled_ack){uid(9), number};
    give(f, SINK_EV_CONTROL, 0, &m);
}

static void beat(struct fixture *f)
{
    struct dtqi_msg m = msg_new(DTQI_VENTILATOR_HEARTBEAT);

    m.ventilator_heartbeat.session = 5;
    m.ventilator_heartbeat.wall_ms = START_MS + f->now_ms;
    give(f, SINK_EV_CONTROL, 0, &m);
}

static void claim(struct fixture *f, const char *ids)
{
    struct dtqi_msg m = msg_new(DTQI_CLAIM);
    dtq_id *at;

    m.claim.n = parse_ids(&m, ids, &at);
    m.claim.store = uid(9);
    m.claim.ids = at;
    give(f, SINK_EV_CONTROL, 0, &m);
}

static void follow(struct fixture *f, uint32_t route, uint64_t reply_to)
{
    struct dtqi_msg m = msg_new(DTQI_FOLLOW);

    m.follow.reply_to = reply_to;
    give(f, SINK_EV_RESULTS, route, &m);
}

static void wait_for(struct fixture *f, uint32_t route, const char *ids, bool once,
                     uint64_t request)
{
    struct dtqi_msg m = msg_new(DTQI_WAIT);
    dtq_id *at;

    m.wait.n = parse_ids(&m, ids, &at);
    m.wait.ids = at;
    m.wait.once = once;
    m.wait.request = request;
    give(f, SINK_EV_RESULTS, route, &m);
}

/* ---- set-up */

static void open_all(struct fixture *f, uint8_t run)
{
    struct results_cfg cfg = {.ttl_ms = DTQI_RESULT_TTL_MS,
                              .outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS};
    char why[200] = "";

    f->cfg.run = uid(run);
    assert_int_equal(results_open(f->store, &cfg, &f->cfg.run, &f->results, why, sizeof why),
                     DTQ_OK);
    assert_int_equal(sink_new(&f->cfg, &f->sink), DTQ_OK);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct store_cfg cfg = {.map_bytes_max = 1 << 30};
    dtqi_uid its = uid(0xaa);

    assert_non_null(f);
    results_store_cfg(&cfg);
    assert_int_equal(store_open_memory(&cfg, &its, &f->store), DTQ_OK);
    sink_cfg_init(&f->cfg);
    f->cfg.store = its;
    f->now_ms = 1000;
    open_all(f, 1);
    *state = f;
    return 0;
}

static void close_all(struct fixture *f)
{
    sink_free(f->sink);
    results_close(f->results);
    f->queue_n = 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    close_all(f);
    store_close(f->store);
    sink_actions_done(&f->actions);
    free(f);
    return 0;
}

/* A sink with other bounds, which is why it begins anew. */
static void begin_anew(struct fixture *f)
{
    close_all(f);
    open_all(f, 1);
}

/* In session 5 with a ventilator that has nothing yet. */
static void connect(struct fixture *f)
{
    tick(f);
    say_welcome(f, 5, DTQI_DEDUPE_WINDOW_MS);
    resume(f, 0, 0);
    work(f);
    forget_said(f);
}

/* ---------------------------------------------------------------- outcomes */

static void outcome_is_committed_then_settled(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1 2", DTQ_SUCCEEDED, "x");
    propose(f, "3", DTQ_FAILED, "y");
    expect(f, "");
    tick(f);
    expect(f, "commit\n");
    work(f);
    expect(f, "V< SETTLED 1/3: 1=5 2=5 3=6\n");
}

/* R25: nobody is told before the commit. */
static void nobody_is_told_before_the_commit(void **state)
{
    struct fixture *f = *state;

    connect(f);
    follow(f, 7, 77);
    wait_for(f, 8, "1", false, 1);
    work(f);
    forget_said(f);
    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    tick(f);
    expect(f, "commit\n");
    work(f);
    expect(f, "P7< RESULTS 0: 1=5:x\n"
              "P8< RESULTS 0: 1=5:x\n"
              "V< SETTLED 1/1: 1=5\n");
}

/* R27: with number 0, and the kind that stands. */
static void second_proposal_is_answered_with_what_stands(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    forget_said(f);
    propose(f, "1 2", DTQ_FAILED, "y");
    tick(f);
    work(f);
    expect(f, "commit\n"
              "V< SETTLED 2/2: 2=6\n"
              "V< SETTLED 0/2: 1=5\n");
    assert_int_equal(sink_counters(f->sink)->second, 1);
}

/* While one batch is committed the next one forms. */
static void batches_form_while_one_commits(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    propose(f, "2", DTQ_SUCCEEDED, "");
    tick(f);
    propose(f, "3", DTQ_SUCCEEDED, "");
    tick(f);
    expect(f, "commit\n");
    work(f);
    tick(f);
    work(f);
    expect(f, "V< SETTLED 1/1: 1=5\n"
              "commit\n"
              "V< SETTLED 2/3: 2=5 3=5\n");
}

static void batches_are_bounded_in_entries(void **state)
{
    struct fixture *f = *state;

    f->cfg.batch_entries_max = 2;
    begin_anew(f);
    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    propose(f, "2", DTQ_SUCCEEDED, "");
    propose(f, "3 4 5", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    expect(f, "commit\nV< SETTLED 1/2: 1=5 2=5\n");
    tick(f);
    work(f);
    expect(f, "commit\nV< SETTLED 3/5: 3=5 4=5 5=5\n");
}

static void outcomes_for_another_sink_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg m = outcomes(f, 9, "1 2", DTQ_SUCCEEDED, "");

    m.outcomes.sink = uid(0xbb);
    give(f, SINK_EV_INTAKE, 0, &m);
    tick(f);
    assert_int_equal(sink_counters(f->sink)->wrong_sink, 2);
    assert_int_equal(sink_counters(f->sink)->commits, 0);
}

/* R24: by the clock of the ventilator that the worker heard. */
static void outcomes_that_slept_too_long_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg m;

    tick(f);
    f->now_ms += 2 * (DTQI_OUTCOME_FENCE_MS + DTQI_OUTCOME_SLACK_MS);
    m = outcomes(f, 9, "1", DTQ_SUCCEEDED, "");
    m.outcomes.heard_wall_ms -= DTQI_OUTCOME_FENCE_MS + DTQI_OUTCOME_SLACK_MS + 1;
    give(f, SINK_EV_INTAKE, 0, &m);
    assert_int_equal(sink_counters(f->sink)->too_old, 1);
    m = outcomes(f, 9, "2", DTQ_SUCCEEDED, "");
    m.outcomes.heard_wall_ms -= DTQI_OUTCOME_FENCE_MS + DTQI_OUTCOME_SLACK_MS;
    give(f, SINK_EV_INTAKE, 0, &m);
    assert_int_equal(sink_counters(f->sink)->too_old, 1);
}

/* R47: people are told the time of their clocks; what ends goes by one that does not jump. */
static void a_jump_is_told_and_changes_no_age(void **state)
{
    struct fixture *f = *state;
    const uint64_t day_ms = 24ull * 3600 * 1000;

    connect(f);
    follow(f, 7, 77);
    work(f);
    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    f->host_ahead_ms = day_ms;
    propose(f, "2", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    assert_int_equal(sink_counters(f->sink)->too_old, 0);
    assert_int_equal(sink_counters(f->sink)->committed, 2);
    wait_for(f, 7, "1", true, 3);
    work(f);
    assert_int_equal(f->told_committed_ms, START_MS + f->now_ms + day_ms);
}

/* The two clocks are read one after the other, in whole ms. */
static void an_outcome_has_the_same_time_whenever_it_is_told(void **state)
{
    struct fixture *f = *state;
    uint64_t at_ms;

    connect(f);
    follow(f, 7, 77);
    work(f);
    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    at_ms = START_MS + f->now_ms;
    work(f);
    for (uint32_t i = 0; i < 5; i++) {
        f->host_ahead_ms = (uint64_t)(int64_t[]){1, 0, -1, 2, 9}[i];
        wait_for(f, 7, "1", true, 3 + i);
        work(f);
        assert_int_equal(f->told_committed_ms, at_ms);
    }
    f->host_ahead_ms = 100; /* it was set */
    wait_for(f, 7, "1", true, 10);
    work(f);
    assert_int_equal(f->told_committed_ms, at_ms + 100);
}

/* A start after a boot is not to take it for time that has passed. */
static void a_jump_is_written_down_at_once(void **state)
{
    struct fixture *f = *state;

    connect(f);
    f->host_ahead_ms = 0 - (uint64_t)24 * 3600 * 1000;
    tick(f);
    assert_int_equal(f->queue_n, 1);
    assert_non_null(f->queue[0].batch);
    work(f);
    tick(f);
    assert_int_equal(f->queue_n, 0);
}

/* R24: the two machines' clocks need not agree. */
static void age_is_told_by_the_ventilators_clock(void **state)
{
    struct fixture *f = *state;
    const uint64_t apart_ms = 10 * (uint64_t)DTQI_OUTCOME_SLACK_MS;
    struct dtqi_msg m;

    connect(f);
    m = msg_new(DTQI_VENTILATOR_HEARTBEAT);
    m.ventilator_heartbeat.session = 5;
    m.ventilator_heartbeat.wall_ms = START_MS + f->now_ms - apart_ms;
    give(f, SINK_EV_CONTROL, 0, &m);
    m = outcomes(f, 9, "1", DTQ_SUCCEEDED, "");
    m.outcomes.heard_wall_ms -= apart_ms;
    give(f, SINK_EV_INTAKE, 0, &m);
    assert_int_equal(sink_counters(f->sink)->too_old, 0);
    m = outcomes(f, 9, "2", DTQ_SUCCEEDED, "");
    give(f, SINK_EV_INTAKE, 0, &m);
    assert_int_equal(sink_counters(f->sink)->too_old, 1);
}

static void too_large_a_result_does_not_keep_its_neighbours(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg m;

    f->cfg.result_bytes_max = 3;
    begin_anew(f);
    connect(f);
    m = outcomes(f, 9, "1 2 3", DTQ_SUCCEEDED, "1234");
    ((struct dtqi_slice *)(uintptr_t)m.outcomes.bodies)[0].len = 3;
    ((struct dtqi_slice *)(uintptr_t)m.outcomes.bodies)[2].len = 2;
    give(f, SINK_EV_INTAKE, 0, &m);
    tick(f);
    work(f);
    expect(f, "commit\nV< SETTLED 1/2: 1=5 3=5\n");
    assert_int_equal(sink_counters(f->sink)->too_large, 1);
}

static void what_is_no_outcome_is_not_committed(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_RUNNING, "");
    tick(f);
    work(f);
    expect(f, "commit\n");
    assert_int_equal(sink_counters(f->sink)->bad_kind, 1);
    assert_int_equal(sink_counters(f->sink)->committed, 0);
}

static void foreign_messages_are_counted(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg m;

    connect(f);
    m = msg_new(DTQI_WAIT);
    give(f, SINK_EV_INTAKE, 0, &m);
    m = msg_new(DTQI_OUTCOMES);
    give(f, SINK_EV_RESULTS, 7, &m);
    m = msg_new(DTQI_TASKS);
    give(f, SINK_EV_CONTROL, 0, &m);
    assert_int_equal(sink_counters(f->sink)->unexpected, 3);
    expect(f, "P7< REFUSED 11\n");
}

/* ---------------------------------------------------------------- bounds and full disks */

static void intake_pauses_at_its_bound_of_bytes(void **state)
{
    struct fixture *f = *state;

    f->cfg.intake_bytes_max = 2500;
    begin_anew(f);
    connect(f);
    for (uint8_t i = 1; i < 20 && strstr(f->said, "pause") == NULL; i++)
        propose(f, "1", DTQ_SUCCEEDED, "");
    expect(f, "pause\n");
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "resume\n"));
}

/* R31: nothing is acknowledged, the ventilator is told, and it goes on when there is space. */
static void full_disk_stops_the_intake_until_there_is_space(void **state)
{
    struct fixture *f = *state;

    connect(f);
    f->fail = DTQ_ENOSPC;
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    expect(f, "commit\n"
              "V< HEARTBEAT full\n"
              "pause\n");
    assert_true(sink_is_full(f->sink));
    f->now_ms += 500;
    beat(f);
    propose(f, "2", DTQ_SUCCEEDED, "");
    tick(f);
    expect(f, "");
    f->now_ms += 500;
    f->fail = DTQ_OK;
    tick(f);
    work(f);
    tick(f);
    work(f);
    expect(f, "V< HEARTBEAT full\n"
              "commit\n"
              "V< SETTLED 1/1: 1=5\n"
              "V< HEARTBEAT\n"
              "resume\n"
              "commit\n"
              "V< SETTLED 2/2: 2=5\n");
}

/* A batch that does not fit as a whole must not stand in the way of its parts for ever. */
static void batch_that_does_not_fit_is_split(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    propose(f, "2", DTQ_SUCCEEDED, "");
    propose(f, "3", DTQ_SUCCEEDED, "");
    claim(f, "3");
    f->fail = DTQ_ENOSPC;
    tick(f);
    work(f);
    f->fail = DTQ_OK;
    tick(f);
    work(f);
    tick(f);
    work(f);
    expect(f, "commit\nread\n"
              "commit\n"
              "V< SETTLED 1/1: 1=5\n"
              "commit\nread\n"
              "V< SETTLED 2/3: 2=5 3=5\n"
              "V< CLAIM_REPLY 5\n");
}

/* A failed write or flush says nothing about the past: start again from the disk. */
static void lost_disk_ends_the_program(void **state)
{
    struct fixture *f = *state;

    connect(f);
    f->fail = DTQ_EIO;
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    tick(f);
    expect(f, "commit\nexit 1 made up\n");
}

static void store_used_up_to_its_bound_is_full(void **state)
{
    struct fixture *f = *state;
    struct results_batch *b;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    b = f->queue[0].batch;
    f->queue_n = 0;
    results_apply(f->results, b);
    b->space_used = 96 * 1000;
    b->space_max = 100 * 1000;
    step(f, (struct sink_event){.type = SINK_EV_COMMITTED, .batch = b});
    expect(f, "commit\n"
              "V< SETTLED 1/1: 1=5\n"
              "V< HEARTBEAT full\n"
              "pause\n");
    run_until(f, f->now_ms + 1500); /* the store is asked again, and there is room */
    assert_false(sink_is_full(f->sink));
}

/* ---------------------------------------------------------------- sessions */

static void says_hello_until_it_is_welcome(void **state)
{
    struct fixture *f = *state;

    run_until(f, 1800);
    expect(f, "V< HELLO\nV< HELLO\nV< HELLO\nV< HELLO\n");
    say_welcome(f, 5, DTQI_DEDUPE_WINDOW_MS);
    expect(f, "");
    assert_true(sink_has_session(f->sink, 0));
}

static void unanswered_hellos_make_a_new_connection(void **state)
{
    struct fixture *f = *state;

    run_until(f, 2600);
    forget_said(f);
    run_until(f, 3600);
    expect(f, "reconnect\nV< HELLO\n");
}

static void a_ventilator_that_does_not_answer_is_told_once(void **state)
{
    struct fixture *f = *state;

    f->cfg.ventilator = "tcp://v:1";
    begin_anew(f);
    f->logs = true;
    run_until(f, 3400);
    assert_null(strstr(f->said, "ventilator_silent"));
    run_until(f, 3600);
    assert_non_null(strstr(f->said, "log ventilator_silent tcp://v:1\n"));
    forget_said(f);
    step(f, (struct sink_event){.type = SINK_EV_CONNECTED});
    run_until(f, 20000);
    assert_null(strstr(f->said, "ventilator_silent"));
    forget_said(f);
    say_welcome(f, 5, DTQI_DEDUPE_WINDOW_MS);
    assert_non_null(strstr(f->said, "log session_open"));
    forget_said(f);
    run_until(f, 40000); /* lost again */
    assert_non_null(strstr(f->said, "log ventilator_silent tcp://v:1\n"));
}

/* R31 */
static void ventilator_that_needs_a_longer_memory_is_not_served(void **state)
{
    struct fixture *f = *state;

    tick(f);
    forget_said(f);
    say_welcome(f, 5, DTQI_OUTCOME_MEMORY_MS);
    assert_non_null(strstr(f->said, "exit 1"));
}

static void silent_ventilator_loses_its_session(void **state)
{
    struct fixture *f = *state;

    connect(f);
    run_until(f, 2100);
    beat(f);
    run_until(f, 5000);
    assert_true(sink_has_session(f->sink, 0));
    forget_said(f);
    run_until(f, 5100);
    expect(f, "V< HELLO\n");
    assert_false(sink_has_session(f->sink, 0));
}

/* R13: the time in which this process did not run is nobody's silence. */
static void own_stall_is_not_the_ventilators_silence(void **state)
{
    struct fixture *f = *state;

    connect(f);
    f->now_ms += 60000;
    tick(f);
    assert_true(sink_has_session(f->sink, 0));
}

static void unknown_session_says_hello_at_once(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg m = msg_new(DTQI_UNKNOWN_SESSION);

    connect(f);
    m.unknown_session.session = 5;
    give(f, SINK_EV_CONTROL, 0, &m);
    tick(f);
    expect(f, "V< HELLO\n");
}

static void a_new_connection_says_hello_at_once(void **state)
{
    struct fixture *f = *state;

    run_until(f, 1800); /* the fifth would come at 1,700 more */
    forget_said(f);
    step(f, (struct sink_event){.type = SINK_EV_CONNECTED});
    tick(f);
    expect(f, "V< HELLO\n");
}

/* The ventilator answers that it knows no session there. */
static void a_session_on_a_new_connection_is_tried_at_once(void **state)
{
    struct fixture *f = *state;

    connect(f);
    run_until(f, 300);
    forget_said(f);
    step(f, (struct sink_event){.type = SINK_EV_CONNECTED});
    tick(f);
    expect(f, "V< HEARTBEAT\n");
    assert_true(sink_has_session(f->sink, 0));
}

static void unknown_session_of_long_ago_is_ignored(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg m = msg_new(DTQI_UNKNOWN_SESSION);

    connect(f);
    m.unknown_session.session = 4;
    give(f, SINK_EV_CONTROL, 0, &m);
    assert_true(sink_has_session(f->sink, 0));
}

static void session_without_resume_begins_anew(void **state)
{
    struct fixture *f = *state;

    tick(f);
    say_welcome(f, 5, DTQI_DEDUPE_WINDOW_MS);
    run_until(f, 2500);
    beat(f);
    run_until(f, 3999);
    forget_said(f);
    run_until(f, 4000);
    expect(f, "V< HELLO\n");
}

/* ---------------------------------------------------------------- the settlement stream */

static void settlements_wait_for_resume(void **state)
{
    struct fixture *f = *state;

    tick(f);
    propose(f, "1 2", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    say_welcome(f, 5, DTQI_DEDUPE_WINDOW_MS);
    propose(f, "3", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    forget_said(f);
    resume(f, 0, 0);
    work(f);
    expect(f, "read\nread\nV< SETTLED 1/3: 1=5 2=5 3=5\n");
}

/* R28 */
static void resume_goes_on_where_the_ventilator_is(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1 2 3", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    forget_said(f);
    resume(f, 1, 2);
    work(f);
    expect(f, "read\nread\nV< SETTLED 3/3: 3=5\n");
    resume(f, 1, 3);
    work(f);
    expect(f, "read\nV< SETTLED 4/3\n");
}

/* R34 */
static void resume_of_another_history_has_diverged(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    forget_said(f);
    resume(f, 1, 2);
    work(f);
    expect(f, "read\nV< SETTLED 0/1 diverged\n");
    propose(f, "2", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    expect(f, "commit\n"); /* nothing follows */
}

/* R28: at most settle_window unacknowledged. */
static void window_bounds_what_is_not_acknowledged(void **state)
{
    struct fixture *f = *state;

    f->cfg.settle_window = 3;
    begin_anew(f);
    connect(f);
    propose(f, "1 2", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    propose(f, "3 4 5", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    propose(f, "6", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    expect(f, "commit\nV< SETTLED 1/2: 1=5 2=5\n"
              "commit\nread\nV< SETTLED 3/5: 3=5\n"
              "commit\n");
    acknowledge(f, 2);
    work(f);
    expect(f, "read\nV< SETTLED 4/6: 4=5 5=5\n");
    acknowledge(f, 5);
    work(f);
    expect(f, "read\nV< SETTLED 6/6: 6=5\n");
}

/* R28: stream entries go only when their deletes are durable at the ventilator. */
static void acknowledged_settlements_are_dropped(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    propose(f, "2", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    acknowledge(f, 1);
    run_until(f, 2500);
    forget_said(f);
    resume(f, 0, 0);
    work(f);
    expect(f, "read\nread\nV< SETTLED 2/2 dropped 1: 2=5\n");
}

/* The end of the stream may be lost: its position is told until it is acknowledged. */
static void position_is_told_while_something_is_not_acknowledged(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    run_until(f, 2000);
    beat(f);
    forget_said(f);
    run_until(f, 3000);
    expect(f, "V< HEARTBEAT\nV< SETTLED 2/1\n");
    acknowledge(f, 1);
    beat(f);
    run_until(f, 4000);
    expect(f, "V< HEARTBEAT\n");
}

static void sink_that_starts_again_goes_on_with_the_stream(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1 2", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    close_all(f);
    open_all(f, 2);
    tick(f);
    say_welcome(f, 5, DTQI_DEDUPE_WINDOW_MS);
    forget_said(f);
    resume(f, 1, 1);
    work(f);
    expect(f, "read\nread\nV< SETTLED 2/2: 2=5\n");
}

/* ---------------------------------------------------------------- claims */

static void claim_is_answered_with_what_stands(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_CANCELLED, "");
    tick(f);
    work(f);
    forget_said(f);
    claim(f, "1 2");
    work(f);
    expect(f, "read\nV< CLAIM_REPLY 8 0\n");
}

/* R6: what was received before is committed first. */
static void claim_waits_for_what_was_received_before(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    propose(f, "2", DTQ_SUCCEEDED, "");
    claim(f, "1 2");
    tick(f);
    expect(f, "commit\n");
    work(f);
    tick(f);
    work(f);
    expect(f, "V< SETTLED 1/1: 1=5\n"
              "commit\nread\n"
              "V< SETTLED 2/2: 2=5\n"
              "V< CLAIM_REPLY 5 5\n");
}

/* R6: nor is it answered past a commit that failed. */
static void claim_waits_for_a_commit_that_is_tried_again(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    f->fail = DTQ_ENOSPC;
    tick(f);
    claim(f, "1");
    work(f);
    assert_null(strstr(f->said, "CLAIM_REPLY"));
    f->fail = DTQ_OK;
    forget_said(f);
    f->now_ms += 1000;
    beat(f);
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "CLAIM_REPLY 5"));
}

/* ---------------------------------------------------------------- results */

static void follower_gets_its_results_and_no_others(void **state)
{
    struct fixture *f = *state;

    follow(f, 7, 77);
    follow(f, 8, 78);
    propose(f, "1 2", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "P7< RESULTS 0: 1=5:x 2=5:x\n"));
    assert_null(strstr(f->said, "P8<"));
}

static void newest_follower_of_a_number_gets_the_results(void **state)
{
    struct fixture *f = *state;

    follow(f, 7, 77);
    follow(f, 8, 77);
    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "P8< RESULTS 0: 1=5:x\n"));
    assert_null(strstr(f->said, "P7<"));
}

static void follower_of_all_gets_each_result_once(void **state)
{
    struct fixture *f = *state;

    follow(f, 7, 0);
    follow(f, 7, 77);
    wait_for(f, 7, "1", false, 1);
    work(f);
    forget_said(f);
    propose(f, "1 2", DTQ_FAILED, "y");
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "P7< RESULTS 0: 1=6:y 2=6:y\n"));
    assert_int_equal(sink_counters(f->sink)->pushed, 2);
}

static void second_proposals_are_not_pushed(void **state)
{
    struct fixture *f = *state;

    follow(f, 7, 77);
    propose(f, "1", DTQ_SUCCEEDED, "x");
    propose(f, "1", DTQ_SUCCEEDED, "y");
    tick(f);
    work(f);
    assert_int_equal(sink_counters(f->sink)->pushed, 1);
}

/* R32 */
static void wait_is_answered_with_what_is_there(void **state)
{
    struct fixture *f = *state;

    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    forget_said(f);
    wait_for(f, 7, "1 2", false, 3);
    work(f);
    expect(f, "read\nP7< RESULTS 3: 1=5:x\n");
    propose(f, "2", DTQ_SUCCEEDED, "y");
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "P7< RESULTS 0: 2=5:y\n"));
}

/* R32: registered before it is looked up, so nothing falls between the two. */
static void outcome_committed_during_the_lookup_is_not_missed(void **state)
{
    struct fixture *f = *state;

    propose(f, "1", DTQ_SUCCEEDED, "x");
    wait_for(f, 7, "1", false, 3); /* looked up before the commit */
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "P7< RESULTS 0: 1=5:x\n"));
}

static void waiting_again_is_registered_once(void **state)
{
    struct fixture *f = *state;
    struct sink_census c;

    wait_for(f, 7, "1 2", false, 3);
    wait_for(f, 7, "2 1 1", false, 4);
    wait_for(f, 8, "1", false, 1);
    work(f);
    sink_census(f->sink, &c);
    assert_int_equal(c.waiters, 3);
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    work(f);
    assert_int_equal(sink_counters(f->sink)->pushed, 2);
    sink_census(f->sink, &c);
    assert_int_equal(c.waiters, 1);
}

static void wait_once_answers_for_every_id(void **state)
{
    struct fixture *f = *state;
    struct sink_census c;

    propose(f, "2 4", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    forget_said(f);
    wait_for(f, 7, "1 2 3 4 5", true, 3);
    work(f);
    expect(f, "read\nP7< RESULTS 3: 1=0 2=5:x 3=0 4=5:x 5=0\n");
    sink_census(f->sink, &c);
    assert_int_equal(c.waiters, 0);
}

/* A result whose time to live is over will not come any more: who waits is told. */
static void expired_result_ends_the_wait(void **state)
{
    struct fixture *f = *state;

    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    f->now_ms += DTQI_RESULT_TTL_MS;
    forget_said(f);
    wait_for(f, 7, "1", false, 3);
    work(f);
    expect(f, "read\nP7< RESULTS 3: 1=0\n");
}

static void route_that_is_gone_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct sink_census c;

    follow(f, 7, 77);
    follow(f, 7, 0);
    wait_for(f, 7, "1", false, 3);
    step(f, (struct sink_event){.type = SINK_EV_ROUTE_GONE, .route = 7});
    work(f);
    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    assert_null(strstr(f->said, "P7<"));
    sink_census(f->sink, &c);
    assert_int_equal(c.waiters, 0);
    assert_int_equal(c.routes, 0);
}

static void waiter_that_does_not_ask_again_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct sink_census c;

    wait_for(f, 7, "1", false, 3);
    work(f);
    run_until(f, 30000);
    wait_for(f, 8, "1", false, 3);
    work(f);
    run_until(f, 75000);
    sink_census(f->sink, &c);
    assert_int_equal(c.waiters, 1);
}

static void waiters_are_bounded(void **state)
{
    struct fixture *f = *state;

    f->cfg.waiters_max = 3;
    begin_anew(f);
    wait_for(f, 7, "1 2", false, 3);
    expect(f, "read\n");
    wait_for(f, 8, "1 2", false, 3);
    expect(f, "P8< REFUSED 1\nread\n");
}

static void longest_silent_route_makes_room(void **state)
{
    struct fixture *f = *state;

    f->cfg.routes_max = 2;
    begin_anew(f);
    follow(f, 7, 77);
    f->now_ms++;
    follow(f, 8, 0);
    f->now_ms++;
    follow(f, 7, 77);
    f->now_ms++;
    follow(f, 9, 0);
    propose(f, "1", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "P7< RESULTS"));
    assert_non_null(strstr(f->said, "P9< RESULTS"));
    assert_null(strstr(f->said, "P8< RESULTS"));
}

static void questions_are_bounded(void **state)
{
    struct fixture *f = *state;

    f->cfg.reads_max = 1;
    begin_anew(f);
    wait_for(f, 7, "1", true, 3);
    wait_for(f, 7, "1", true, 4);
    expect(f, "read\nP7< REFUSED 1\n");
}

static void slow_consumer_is_counted(void **state)
{
    struct fixture *f = *state;

    step(f, (struct sink_event){.type = SINK_EV_ROUTE_FULL, .route = 7});
    assert_int_equal(sink_counters(f->sink)->pushes_dropped, 1);
}

static void results_are_sent_in_messages_of_bounded_size(void **state)
{
    struct fixture *f = *state;
    size_t bytes = DTQI_BATCH_BYTES_MAX / 2 - 1000;
    char *body = malloc(bytes + 1);

    assert_non_null(body);
    memset(body, 'x', bytes);
    body[bytes] = 0;
    follow(f, 7, 77);
    propose(f, "1 2 3", DTQ_SUCCEEDED, body);
    tick(f);
    work(f);
    assert_non_null(strstr(f->said, "P7< RESULTS 0: 1=5 2=5\nP7< RESULTS 0: 3=5\n"));
    forget_said(f);
    wait_for(f, 7, "1 2 3", false, 3);
    work(f);
    expect(f, "read\nP7< RESULTS 3: 1=5 2=5\nP7< RESULTS 3: 3=5\n");
    free(body);
}

static void query_is_answered_page_by_page(void **state)
{
    struct fixture *f = *state;
    struct dtqi_msg m;

    propose(f, "1 2 3", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    forget_said(f);
    m = msg_new(DTQI_RESULTS_QUERY);
    m.results_query.limit = 2;
    m.results_query.bodies = true;
    give(f, SINK_EV_RESULTS, 7, &m);
    work(f);
    expect(f, "read\nP7< PAGE held 3: 1=5:x 2=5:x ..\n");
    m = msg_new(DTQI_RESULTS_QUERY);
    m.results_query.limit = 2;
    m.results_query.has_after = true;
    m.results_query.after = id_of(2);
    give(f, SINK_EV_RESULTS, 7, &m);
    work(f);
    expect(f, "read\nP7< PAGE held 3: 3=5\n");
}

/* ---------------------------------------------------------------- whatever comes */

struct random {
    uint64_t state;
};

static uint32_t below(struct random *r, uint32_t n)
{
    r->state += 0x9e3779b97f4a7c15ull;
    return (uint32_t)(dtqi_mix64(r->state) % n);
}

static const char *random_ids(struct random *r, char ret[64])
{
    uint32_t n = 1 + below(r, 6);

    ret[0] = 0;
    for (uint32_t i = 0; i < n; i++)
        snprintf(ret + strlen(ret), 64 - strlen(ret), "%u ", below(r, 200));
    return ret;
}

static void random_control(struct fixture *f, struct random *r)
{
    char ids[64];
    struct dtqi_msg m;

    switch (below(r, 7)) {
    case 0: say_welcome(f, 5 + below(r, 2), DTQI_DEDUPE_WINDOW_MS); break;
    case 1: resume(f, (uint8_t)below(r, 3), below(r, 50)); break;
    case 2: acknowledge(f, below(r, 60)); break;
    case 3: claim(f, random_ids(r, ids)); break;
    case 4:
        m = msg_new(DTQI_UNKNOWN_SESSION);
        m.unknown_session.session = 4 + below(r, 3);
        give(f, SINK_EV_CONTROL, 0, &m);
        break;
    default: beat(f); break;
    }
}

static void random_client(struct fixture *f, struct random *r)
{
    uint32_t route = below(r, 9);
    char ids[64];

    switch (below(r, 4)) {
    case 0: follow(f, route, 75 + below(r, 4)); break;
    case 1: follow(f, route, 0); break;
    case 2: step(f, (struct sink_event){.type = SINK_EV_ROUTE_GONE, .route = route}); break;
    default: wait_for(f, route, random_ids(r, ids), below(r, 2) == 0, 1); break;
    }
}

static void random_event(struct fixture *f, struct random *r)
{
    static const dtq_err ends[] = {DTQ_OK, DTQ_OK, DTQ_OK, DTQ_ENOSPC, DTQ_ENOMEM};
    char ids[64];

    switch (below(r, 8)) {
    case 0: f->now_ms += below(r, 4000); break;
    case 1: tick(f); break;
    case 2: random_control(f, r); break;
    case 3:
    case 4: random_client(f, r); break;
    case 5:
        f->fail = ends[below(r, 5)];
        if (f->queue_n != 0)
            work_one(f);
        break;
    default: propose(f, random_ids(r, ids), 4 + below(r, 5), "body"); break;
    }
    forget_said(f);
}

/* Nothing that peers say, in whatever order, reaches an assertion; and in the end everything that
 * was not refused has its outcome. */
static void any_order_of_messages_is_survived(void **state)
{
    struct fixture *f = *state;
    struct sink_census c;
    struct random r = {1};

    f->cfg.intake_bytes_max = 20000;
    f->cfg.waiters_max = 20;
    f->cfg.routes_max = 5;
    f->cfg.follows_max = 3;
    f->cfg.settle_window = 7;
    f->cfg.reads_max = 10;
    f->cfg.batch_entries_max = 10;
    begin_anew(f);
    for (int i = 0; i < 20000; i++) {
        random_event(f, &r);
        sink_census(f->sink, &c);
        assert_true(c.waiters <= 20);
        assert_true(c.routes <= 5);
        assert_true(c.reads <= 10);
    }
    f->fail = DTQ_OK;
    work(f);
    for (int i = 0; i < 10000 && (i == 0 || c.pending != 0); i++) {
        f->now_ms += 1000;
        tick(f);
        work(f);
        forget_said(f);
        sink_census(f->sink, &c);
    }
    assert_int_equal(c.pending + c.committing + c.intake_bytes, 0);
    assert_false(c.paused);
}

/* ---------------------------------------------------------------- expiry and the end */

static void expired_outcomes_are_swept(void **state)
{
    struct fixture *f = *state;

    propose(f, "1 2", DTQ_SUCCEEDED, "x");
    tick(f);
    work(f);
    run_until(f, DTQI_RESULT_TTL_MS - 10000);
    assert_int_equal(sink_counters(f->sink)->swept, 0);
    run_until(f, DTQI_RESULT_TTL_MS + 10000);
    assert_int_equal(sink_counters(f->sink)->swept, 2);
}

static void idle_sink_sleeps(void **state)
{
    struct fixture *f = *state;
    uint64_t from_ms;

    connect(f);
    run_until(f, 3000);
    beat(f);
    tick(f);
    from_ms = f->now_ms;
    assert_true(sink_deadline_ms(f->sink) >= from_ms + 1);
    forget_said(f);
    beat(f);
    run_until(f, from_ms + 1000);
    expect(f, "V< HEARTBEAT\n");
}

static void stop_commits_what_is_here_and_says_bye(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    step(f, (struct sink_event){.type = SINK_EV_STOP});
    tick(f);
    expect(f, "pause\ncommit\n");
    work(f);
    tick(f);
    expect(f, "V< SETTLED 1/1: 1=5\nV< BYE\nexit 0 \n");
}

static void second_stop_ends_at_once(void **state)
{
    struct fixture *f = *state;

    connect(f);
    propose(f, "1", DTQ_SUCCEEDED, "");
    tick(f);
    step(f, (struct sink_event){.type = SINK_EV_STOP});
    step(f, (struct sink_event){.type = SINK_EV_STOP});
    expect(f, "commit\npause\nexit 0 \n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(outcome_is_committed_then_settled),
        TEST(nobody_is_told_before_the_commit),
        TEST(second_proposal_is_answered_with_what_stands),
        TEST(batches_form_while_one_commits),
        TEST(batches_are_bounded_in_entries),
        TEST(outcomes_for_another_sink_are_refused),
        TEST(outcomes_that_slept_too_long_are_dropped),
        TEST(age_is_told_by_the_ventilators_clock),
        TEST(a_jump_is_told_and_changes_no_age),
        TEST(an_outcome_has_the_same_time_whenever_it_is_told),
        TEST(a_jump_is_written_down_at_once),
        TEST(too_large_a_result_does_not_keep_its_neighbours),
        TEST(what_is_no_outcome_is_not_committed),
        TEST(foreign_messages_are_counted),
        TEST(intake_pauses_at_its_bound_of_bytes),
        TEST(full_disk_stops_the_intake_until_there_is_space),
        TEST(batch_that_does_not_fit_is_split),
        TEST(lost_disk_ends_the_program),
        TEST(store_used_up_to_its_bound_is_full),
        TEST(says_hello_until_it_is_welcome),
        TEST(unanswered_hellos_make_a_new_connection),
        TEST(a_ventilator_that_does_not_answer_is_told_once),
        TEST(ventilator_that_needs_a_longer_memory_is_not_served),
        TEST(silent_ventilator_loses_its_session),
        TEST(own_stall_is_not_the_ventilators_silence),
        TEST(unknown_session_says_hello_at_once),
        TEST(a_new_connection_says_hello_at_once),
        TEST(a_session_on_a_new_connection_is_tried_at_once),
        TEST(unknown_session_of_long_ago_is_ignored),
        TEST(session_without_resume_begins_anew),
        TEST(settlements_wait_for_resume),
        TEST(resume_goes_on_where_the_ventilator_is),
        TEST(resume_of_another_history_has_diverged),
        TEST(window_bounds_what_is_not_acknowledged),
        TEST(acknowledged_settlements_are_dropped),
        TEST(position_is_told_while_something_is_not_acknowledged),
        TEST(sink_that_starts_again_goes_on_with_the_stream),
        TEST(claim_is_answered_with_what_stands),
        TEST(claim_waits_for_what_was_received_before),
        TEST(claim_waits_for_a_commit_that_is_tried_again),
        TEST(follower_gets_its_results_and_no_others),
        TEST(newest_follower_of_a_number_gets_the_results),
        TEST(follower_of_all_gets_each_result_once),
        TEST(second_proposals_are_not_pushed),
        TEST(wait_is_answered_with_what_is_there),
        TEST(outcome_committed_during_the_lookup_is_not_missed),
        TEST(waiting_again_is_registered_once),
        TEST(wait_once_answers_for_every_id),
        TEST(expired_result_ends_the_wait),
        TEST(route_that_is_gone_is_forgotten),
        TEST(waiter_that_does_not_ask_again_is_forgotten),
        TEST(waiters_are_bounded),
        TEST(longest_silent_route_makes_room),
        TEST(questions_are_bounded),
        TEST(slow_consumer_is_counted),
        TEST(results_are_sent_in_messages_of_bounded_size),
        TEST(query_is_answered_page_by_page),
        TEST(any_order_of_messages_is_survived),
        TEST(expired_outcomes_are_swept),
        TEST(idle_sink_sleeps),
        TEST(stop_commits_what_is_here_and_says_bye),
        TEST(second_stop_ends_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
