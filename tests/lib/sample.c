#include "sample.h"

#include "bounds.h"

#include <stdio.h>

const enum dtqi_msg_type sample_types[] = {
    DTQI_HELLO,
    DTQI_WELCOME,
    DTQI_REFUSED,
    DTQI_UNKNOWN_SESSION,
    DTQI_BYE,
    DTQI_SUBMIT,
    DTQI_SUBMITTED,
    DTQI_CANCEL,
    DTQI_CANCEL_REPLY,
    DTQI_QUERY,
    DTQI_QUERY_REPLY,
    DTQI_OPERATE,
    DTQI_OPERATE_REPLY,
    DTQI_TASKS,
    DTQI_WORKER_HEARTBEAT,
    DTQI_VENTILATOR_HEARTBEAT,
    DTQI_REPORT,
    DTQI_FORGET,
    DTQI_RECALL,
    DTQI_RESEND,
    DTQI_STOP_ATTEMPTS,
    DTQI_HOLDINGS,
    DTQI_HOLDINGS_WANTED,
    DTQI_VERDICTS,
    DTQI_SINKS,
    DTQI_RESUME,
    DTQI_SETTLED,
    DTQI_SETTLED_ACK,
    DTQI_CLAIM,
    DTQI_CLAIM_REPLY,
    DTQI_SINK_HEARTBEAT,
    DTQI_OUTCOMES,
    DTQI_FOLLOW,
    DTQI_WAIT,
    DTQI_RESULTS,
    DTQI_RESULTS_QUERY,
    DTQI_RESULTS_REPLY,
    0,
};

struct maker {
    uint64_t random;
    bool full;
    struct dtqi_buf *buf;
};

uint64_t sample_random(uint64_t *state)
{
    return dtqi_mix64(*state += 0x9e3779b97f4a7c15ull);
}

/* 1..max */
static uint64_t number(struct maker *m, uint64_t max)
{
    return 1 + sample_random(&m->random) % max;
}

static bool is_there(struct maker *m)
{
    return m->full || sample_random(&m->random) % 4 != 0;
}

static void *room(struct maker *m, size_t bytes)
{
    void *at = dtqi_buf_alloc(m->buf, bytes);

    assert(at != NULL);
    return at;
}

static void fill(struct maker *m, void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)at)[i] = (unsigned char)number(m, 255);
}

static dtq_id id(struct maker *m)
{
    dtq_id id;

    fill(m, &id, sizeof id);
    return id;
}

static dtqi_uid uid(struct maker *m)
{
    dtqi_uid uid;

    fill(m, &uid, sizeof uid);
    return uid;
}

static struct dtqi_str str(struct maker *m, const char *stem)
{
    char *at;
    int len;

    if (!is_there(m))
        return (struct dtqi_str){"", 0};
    at = room(m, 64);
    len = snprintf(at, 64, "%s%u", stem, (unsigned)number(m, 100000));
    return (struct dtqi_str){at, (uint32_t)len};
}

static struct dtqi_str name(struct maker *m, const char *stem)
{
    bool full = m->full;
    struct dtqi_str name;

    m->full = true;
    name = str(m, stem);
    m->full = full;
    return name;
}

static const struct dtqi_str *strs(struct maker *m, const char *stem, uint32_t n)
{
    struct dtqi_str *list = room(m, n * sizeof *list);

    for (uint32_t i = 0; i < n; i++)
        list[i] = name(m, stem);
    return n != 0 ? list : NULL;
}

static const dtq_id *ids(struct maker *m, uint32_t n)
{
    dtq_id *list = room(m, n * sizeof *list);

    for (uint32_t i = 0; i < n; i++)
        list[i] = id(m);
    return n != 0 ? list : NULL;
}

static const dtqi_uid *uids(struct maker *m, uint32_t n)
{
    return (const dtqi_uid *)ids(m, n);
}

static const uint32_t *full32(struct maker *m, uint32_t n, uint32_t max)
{
    uint32_t *column = room(m, n * sizeof *column);

    for (uint32_t i = 0; i < n; i++)
        column[i] = (uint32_t)number(m, max);
    return n != 0 ? column : NULL;
}

static const uint32_t *col32(struct maker *m, uint32_t n, uint32_t max)
{
    return is_there(m) ? full32(m, n, max) : NULL;
}

static const int32_t *col32s(struct maker *m, uint32_t n)
{
    return (const int32_t *)col32(m, n, UINT32_MAX);
}

static const uint64_t *full64(struct maker *m, uint32_t n, uint64_t max)
{
    uint64_t *column = room(m, n * sizeof *column);

    for (uint32_t i = 0; i < n; i++)
        column[i] = number(m, max);
    return n != 0 ? column : NULL;
}

static const uint64_t *col64(struct maker *m, uint32_t n, uint64_t max)
{
    return is_there(m) ? full64(m, n, max) : NULL;
}

/* 0..dictionary_n - 1 */
static const uint32_t *index_col(struct maker *m, uint32_t n, uint32_t dictionary_n)
{
    uint32_t *column;

    if (!is_there(m) || n == 0)
        return NULL;
    column = room(m, n * sizeof *column);
    for (uint32_t i = 0; i < n; i++)
        column[i] = (uint32_t)(number(m, dictionary_n) - 1);
    return column;
}

static struct dtqi_slice body(struct maker *m, uint32_t bytes)
{
    void *at = room(m, bytes);

    fill(m, at, bytes);
    return (struct dtqi_slice){bytes != 0 ? at : NULL, bytes};
}

static const struct dtqi_slice *bodies(struct maker *m, uint32_t n)
{
    struct dtqi_slice *list = room(m, n * sizeof *list);
    bool some = is_there(m);

    for (uint32_t i = 0; i < n; i++)
        list[i] = body(m, some ? (uint32_t)number(m, 200) - (m->full ? 0 : 1) : 0);
    return n != 0 ? list : NULL;
}

static struct dtqi_spec spec(struct maker *m)
{
    struct dtqi_spec s = {
        .name = name(m, "work."),
        .queue = name(m, "queue:"),
        .priority = (uint32_t)number(m, 9),
        .retries = (uint32_t)number(m, DTQI_RETRIES_MAX),
        .backoff_min_ms = number(m, 1000),
        .backoff_max_ms = 1000 + number(m, 1000),
        .time_limit_ms = number(m, DTQI_DURATION_MS_MAX),
        .soft_time_limit_ms = number(m, 1000),
        .crash_limit = (uint32_t)number(m, 100),
        .expires_ms = number(m, 1000),
        .result_ttl_ms = number(m, 1000),
        .no_result = true,
        .key = str(m, "key-"),
        .key_ttl_ms = number(m, 1000),
        .group = str(m, "group_"),
        .group_ordered = true,
        .argc = is_there(m) ? (uint32_t)number(m, 5) : 0,
    };

    s.argv = strs(m, "--word=", s.argc);
    if (is_there(m))
        s.requeued_from = body(m, 16);
    s.cron = str(m, "nightly.");
    if (is_there(m))
        s.retry_on = dtqi_str("exit:75,timeout");
    if (is_there(m))
        s.no_retry_on = dtqi_str("signal:KILL,exit:1-9");
    if (is_there(m))
        s.moved_from = str(m, "queue:");
    s.raw = dtqi_spec_encode(&s, m->buf);
    assert(s.raw.len != 0);
    return s;
}

static const struct dtqi_spec *specs(struct maker *m, uint32_t n)
{
    struct dtqi_spec *list = room(m, n * sizeof *list);

    for (uint32_t i = 0; i < n; i++)
        list[i] = spec(m);
    return n != 0 ? list : NULL;
}

static const struct dtqi_sink_info *sinks(struct maker *m, uint32_t n)
{
    struct dtqi_sink_info *list = room(m, n * sizeof *list);

    for (uint32_t i = 0; i < n; i++)
        list[i] = (struct dtqi_sink_info){.store = uid(m),
                                          .intake = str(m, "tcp://127.0.0.1:"),
                                          .results = str(m, "tcp://127.0.0.1:"),
                                          .reachable = is_there(m),
                                          .diverged = is_there(m),
                                          .full = is_there(m),
                                          .removed = is_there(m),
                                          .waiting_is_least = is_there(m),
                                          .applied = number(m, UINT64_MAX),
                                          .waiting = number(m, UINT64_MAX),
                                          .dispatched = number(m, UINT64_MAX),
                                          .unsettled = number(m, UINT64_MAX)};
    return n != 0 ? list : NULL;
}

static struct dtqi_removed removed(struct maker *m)
{
    uint32_t n = is_there(m) ? (uint32_t)number(m, 3) : 0;

    return (struct dtqi_removed){uids(m, n), uids(m, n), n};
}

static struct dtqi_failure failure(struct maker *m, const dtq_id *of)
{
    return (struct dtqi_failure){
        .id = *of,
        .epoch = number(m, UINT64_MAX),
        .attempt = (uint32_t)number(m, UINT32_MAX),
        .reason = (dtq_reason)number(m, DTQ_REASON_BAD_ENTRY),
        .code = (int32_t)number(m, UINT32_MAX),
        .text = str(m, "it failed, n\xc2\xb0 "),
        .started_wall_ms = number(m, DTQI_WALL_MS_MAX),
        .duration_us = number(m, UINT64_MAX),
        .no_retry = is_there(m),
        .retry_after_ms = number(m, DTQI_DURATION_MS_MAX),
    };
}

static const struct dtqi_failure *failures(struct maker *m, uint32_t n)
{
    struct dtqi_failure *list = room(m, n * sizeof *list);

    for (uint32_t i = 0; i < n; i++) {
        dtq_id of = id(m);

        list[i] = failure(m, &of);
    }
    return n != 0 ? list : NULL;
}

/* ---- the messages */

static void make_hello(struct maker *m, struct dtqi_hello *h)
{
    h->version_min = (uint32_t)number(m, 9);
    h->version_max = (uint32_t)number(m, 9);
    h->role = (enum dtqi_role)number(m, DTQI_ROLE_SINK);
    h->instance = uid(m);
    h->name = str(m, "host:");
    h->program = str(m, "program 0.");
    h->queues_n = is_there(m) ? (uint32_t)number(m, 4) : 0;
    h->queues = strs(m, "queue.", h->queues_n);
    h->queue_weights = full32(m, h->queues_n, DTQI_QUEUE_WEIGHT_MAX - 1);
    h->queues_strict = is_there(m);
    h->slots = (uint32_t)number(m, 64);
    h->previous_session = number(m, UINT64_MAX);
    h->holdings = (uint32_t)number(m, 10000);
    h->result_max_bytes = number(m, UINT64_MAX);
    if (is_there(m)) {
        h->store = uid(m);
        h->run = uid(m);
    }
    h->intake = str(m, "tcp://127.0.0.1:");
    h->results = str(m, "tcp://127.0.0.1:");
    h->outcome_memory_ms = number(m, DTQI_DURATION_MS_MAX);
}

static void make_welcome(struct maker *m, struct dtqi_welcome *w)
{
    w->version = 1;
    w->store = uid(m);
    w->epoch = number(m, UINT64_MAX);
    w->session = number(m, UINT64_MAX);
    w->wall_ms = number(m, DTQI_WALL_MS_MAX);
    w->heartbeat_ms = number(m, 10000);
    w->liveness = (uint32_t)number(m, 10);
    w->lane = str(m, "tcp://127.0.0.1:");
    w->sinks_n = is_there(m) ? (uint32_t)number(m, 4) : 0;
    w->sinks = sinks(m, w->sinks_n);
    w->task_bytes_max = number(m, UINT64_MAX);
    w->result_bytes_max = number(m, UINT64_MAX);
    w->dedupe_window_ms = number(m, DTQI_DURATION_MS_MAX);
    w->outcome_fence_ms = number(m, DTQI_DURATION_MS_MAX);
    w->removed = removed(m);
}

static void make_submit(struct maker *m, uint32_t n, struct dtqi_submit *s)
{
    s->request = number(m, UINT64_MAX);
    s->n = n;
    s->ids = ids(m, n);
    s->sink = uid(m);
    s->specs_n = (uint32_t)number(m, n);
    s->specs = specs(m, s->specs_n);
    s->spec_index = index_col(m, n, s->specs_n);
    s->not_before_wall_ms = col64(m, n, DTQI_WALL_MS_MAX);
    s->delay_ms = col64(m, n, DTQI_DURATION_MS_MAX);
    s->id_clock_ms = (int64_t)number(m, DTQI_WALL_MS_MAX);
    s->id_clock_ms = is_there(m) ? -s->id_clock_ms : s->id_clock_ms;
    s->resend = is_there(m);
    s->also_sent_to_n = is_there(m) ? (uint32_t)number(m, 3) : 0;
    s->also_sent_to = uids(m, s->also_sent_to_n);
    s->reply_to = number(m, UINT64_MAX);
    s->bodies = bodies(m, n);
}

static void make_submitted(struct maker *m, uint32_t n, struct dtqi_submitted *s)
{
    s->request = number(m, UINT64_MAX);
    s->refused_n = is_there(m) ? n : 0;
    s->refused_index = full32(m, s->refused_n, DTQI_BATCH_ENTRIES_MAX - 1);
    s->refused_reason = full32(m, s->refused_n, DTQI_BAD_PEER);
    s->refused_text = strs(m, "the queue is full: ", s->refused_n);
    s->same_n = is_there(m) ? n : 0;
    s->same_index = full32(m, s->same_n, DTQI_BATCH_ENTRIES_MAX - 1);
    s->same_ids = ids(m, s->same_n);
}

static void make_tasks(struct maker *m, uint32_t n, struct dtqi_tasks *t)
{
    t->session = number(m, UINT64_MAX);
    t->lane_seq = (uint32_t)number(m, UINT32_MAX);
    t->n = n;
    t->ids = ids(m, n);
    t->tickets = full32(m, n, UINT32_MAX);
    t->attempts = col32(m, n, UINT32_MAX);
    t->specs_n = (uint32_t)number(m, n);
    t->specs = specs(m, t->specs_n);
    t->spec_index = index_col(m, n, t->specs_n);
    t->expires_in_ms = col64(m, n, DTQI_DURATION_MS_MAX);
    t->sinks_n = (uint32_t)number(m, n);
    t->sinks = uids(m, t->sinks_n);
    t->sink_index = index_col(m, n, t->sinks_n);
    t->reply_to = col64(m, n, UINT64_MAX);
    t->bodies = bodies(m, n);
}

static void make_worker_heartbeat(struct maker *m, uint32_t n, struct dtqi_worker_heartbeat *h)
{
    h->session = number(m, UINT64_MAX);
    h->sequence = number(m, UINT64_MAX);
    h->lane_seq = (uint32_t)number(m, UINT32_MAX);
    h->report_seq = number(m, UINT64_MAX);
    h->credit_tasks = number(m, UINT64_MAX);
    h->credit_bytes = number(m, UINT64_MAX);
    h->held = (uint32_t)number(m, UINT32_MAX);
    h->held_sum = number(m, UINT64_MAX);
    h->running_n = is_there(m) ? n : 0;
    h->running_ids = ids(m, h->running_n);
    h->unreachable_n = is_there(m) ? (uint32_t)number(m, 3) : 0;
    h->unreachable_sinks = uids(m, h->unreachable_n);
}

static void make_report(struct maker *m, uint32_t n, struct dtqi_report *r)
{
    r->session = number(m, UINT64_MAX);
    r->report_seq = number(m, UINT64_MAX);
    r->credit_tasks = number(m, UINT64_MAX);
    r->credit_bytes = number(m, UINT64_MAX);
    r->done_n = is_there(m) ? n : 0;
    r->done_tickets = full32(m, r->done_n, UINT32_MAX);
    r->failures_n = is_there(m) ? (uint32_t)number(m, 3) : 0;
    r->failures = failures(m, r->failures_n);
    r->returned_n = is_there(m) ? (uint32_t)number(m, 3) : 0;
    r->returned_ids = ids(m, r->returned_n);
    r->stopped_n = is_there(m) ? (uint32_t)number(m, 3) : 0;
    r->stopped_ids = ids(m, r->stopped_n);
    r->started_n = is_there(m) ? (uint32_t)number(m, 3) : 0;
    r->started_ids = ids(m, r->started_n);
}

static void make_holdings(struct maker *m, uint32_t n, struct dtqi_holdings *h)
{
    uint32_t *states = room(m, n * sizeof *states);
    struct dtqi_failure *list = room(m, n * sizeof *list);

    h->session = number(m, UINT64_MAX);
    h->n = n;
    h->ids = ids(m, n);
    h->epochs = full64(m, n, UINT64_MAX);
    h->attempts = full32(m, n, UINT32_MAX);
    for (uint32_t i = 0; i < n; i++) {
        states[i] = i == 0 ? DTQI_HELD_FAILED : (uint32_t)number(m, DTQI_HELD_FAILED);
        if (states[i] == DTQI_HELD_FAILED)
            list[h->failures_n++] = failure(m, &h->ids[i]);
    }
    h->states = states;
    h->failures = list;
    h->last = is_there(m);
}

static void make_verdicts(struct maker *m, uint32_t n, struct dtqi_verdicts *v)
{
    v->session = number(m, UINT64_MAX);
    v->n = n;
    v->ids = ids(m, n);
    v->epochs = full64(m, n, UINT64_MAX);
    v->attempts = full32(m, n, UINT32_MAX);
    v->verdicts = col32(m, n, DTQI_VERDICT_STALE);
    v->tickets = col32(m, n, UINT32_MAX);
}

static const uint32_t *outcome_col(struct maker *m, uint32_t n)
{
    uint32_t *column = room(m, n * sizeof *column);

    if (!is_there(m))
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        column[i] = DTQ_SUCCEEDED + (uint32_t)number(m, 4) - 1;
    return column;
}

static void make_outcomes(struct maker *m, uint32_t n, struct dtqi_outcomes *o)
{
    o->ventilator = uid(m);
    o->epoch = number(m, UINT64_MAX);
    o->instance = uid(m);
    o->worker = str(m, "worker-");
    o->heard_wall_ms = number(m, DTQI_WALL_MS_MAX);
    o->sink = uid(m);
    o->n = n;
    o->ids = ids(m, n);
    o->tickets = col32(m, n, UINT32_MAX);
    o->attempts = col32(m, n, UINT32_MAX);
    o->kinds = outcome_col(m, n);
    o->specs_n = (uint32_t)number(m, n);
    o->specs = specs(m, o->specs_n);
    o->spec_index = index_col(m, n, o->specs_n);
    o->reply_to = col64(m, n, UINT64_MAX);
    o->started_wall_ms = col64(m, n, DTQI_WALL_MS_MAX);
    o->durations_us = col64(m, n, UINT64_MAX);
    o->reasons = col32(m, n, DTQ_REASON_BAD_ENTRY);
    o->codes = col32s(m, n);
    o->bodies = bodies(m, n);
}

static void make_results(struct maker *m, uint32_t n, struct dtqi_results *r)
{
    r->sink = uid(m);
    r->request = number(m, UINT64_MAX);
    r->n = n;
    r->ids = ids(m, n);
    r->kinds = col32(m, n, DTQ_CANCELLED);
    r->attempts = col32(m, n, UINT32_MAX);
    r->reasons = col32(m, n, DTQ_REASON_BAD_ENTRY);
    r->codes = col32s(m, n);
    r->started_wall_ms = col64(m, n, UINT64_MAX);
    r->durations_us = col64(m, n, UINT64_MAX);
    r->committed_wall_ms = col64(m, n, UINT64_MAX);
    r->workers_n = (uint32_t)number(m, n);
    r->workers = strs(m, "worker-", r->workers_n);
    r->worker_index = index_col(m, n, r->workers_n);
    r->names_n = (uint32_t)number(m, n);
    r->names = strs(m, "work.", r->names_n);
    r->name_index = index_col(m, n, r->names_n);
    r->queues_n = (uint32_t)number(m, n);
    r->queues = strs(m, "queue:", r->queues_n);
    r->queue_index = index_col(m, n, r->queues_n);
    r->bodies = bodies(m, n);
}

static dtq_id prefix(struct maker *m, uint32_t bits)
{
    dtq_id prefix = id(m);

    for (uint32_t i = bits; i < 128; i++)
        prefix.bytes[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    return prefix;
}

static void make_results_query(struct maker *m, struct dtqi_results_query *q)
{
    q->request = number(m, UINT64_MAX);
    q->has_after = is_there(m);
    if (q->has_after)
        q->after = id(m);
    q->limit = (uint32_t)number(m, 1000);
    q->state = (uint32_t)number(m, DTQ_CANCELLED);
    q->queue = str(m, "queue:");
    q->name = str(m, "work.");
    q->prefix_bits = (uint32_t)number(m, 128);
    q->prefix = prefix(m, q->prefix_bits);
    q->bodies = is_there(m);
    q->newest_first = is_there(m);
}

static void make_results_reply(struct maker *m, uint32_t n, struct dtqi_results_reply *r)
{
    r->request = number(m, UINT64_MAX);
    make_results(m, n, &r->results);
    r->has_next = is_there(m);
    if (r->has_next)
        r->next = id(m);
    r->held = number(m, UINT64_MAX);
    r->refused = number(m, UINT64_MAX);
}

static void make_query(struct maker *m, struct dtqi_query *q)
{
    q->request = number(m, UINT64_MAX);
    q->kind = (enum dtqi_query_kind)number(m, DTQI_QUERY_SINKS);
    q->prefix_bits = (uint32_t)number(m, 128);
    q->prefix = prefix(m, q->prefix_bits);
    q->state = (uint32_t)number(m, DTQ_CANCELLED);
    q->queue = str(m, "queue:");
    q->limit = (uint32_t)number(m, 1000);
    q->after = body(m, 20);
    q->explain = is_there(m);
    q->bodies = is_there(m);
    if (is_there(m))
        q->kind = is_there(m) ? DTQI_QUERY_DEAD : DTQI_QUERY_ATTEMPTS;
    q->cron = str(m, "nightly.");
    if (q->cron.len != 0 && is_there(m))
        q->kind = DTQI_QUERY_CRON;
}

static const struct dtqi_attempt_info *attempt_info(struct maker *m)
{
    struct dtqi_attempt_info *attempt = room(m, sizeof *attempt);

    *attempt = (struct dtqi_attempt_info){
        .attempt = (uint32_t)number(m, 9),
        .worker = str(m, "worker-"),
        .started_wall_ms = number(m, UINT64_MAX),
        .duration_us = number(m, UINT64_MAX),
        .reason = (dtq_reason)number(m, DTQ_REASON_BAD_ENTRY),
        .code = (int32_t)number(m, 255),
        .text = str(m, "failed with "),
    };
    return attempt;
}

static struct dtqi_task_info task_info(struct maker *m)
{
    const struct dtqi_attempt_info *attempts = attempt_info(m);

    return (struct dtqi_task_info){
        .id = id(m),
        .spec = spec(m),
        .state = (dtq_state)number(m, DTQ_CANCELLED),
        .attempt = (uint32_t)number(m, 9),
        .failures = (uint32_t)number(m, 9),
        .crashes = (uint32_t)number(m, 9),
        .worker = str(m, "worker-"),
        .due_wall_ms = number(m, DTQI_WALL_MS_MAX),
        .payload_bytes = number(m, UINT64_MAX),
        .sink = uid(m),
        .why = str(m, "no worker serves queue "),
        .attempts = attempts,
        .attempts_n = 1,
        .cancelling = is_there(m),
        .durable = is_there(m),
        .before = number(m, UINT64_MAX),
        .before_is_least = is_there(m),
        .dead_wall_ms = number(m, DTQI_WALL_MS_MAX),
        .reason = (dtq_reason)number(m, DTQ_REASON_BAD_ENTRY),
        .code = (int32_t)number(m, 255),
        .error = str(m, "no such "),
        .payload = body(m, 30),
    };
}

static struct dtqi_worker_info worker_info(struct maker *m)
{
    return (struct dtqi_worker_info){
        .name = str(m, "worker-"),
        .instance = uid(m),
        .session = number(m, UINT64_MAX),
        .slots = (uint32_t)number(m, 64),
        .held = (uint32_t)number(m, 64),
        .running = (uint32_t)number(m, 64),
        .credit = number(m, 64),
        .done = number(m, UINT64_MAX),
        .failed = number(m, UINT64_MAX),
        .silent_ms = number(m, UINT64_MAX),
        .queues = strs(m, "queue:", 2),
        .queues_n = 2,
        .program = str(m, "program 0."),
    };
}

static struct dtqi_queue_info queue_info(struct maker *m)
{
    return (struct dtqi_queue_info){
        .name = name(m, "queue:"),
        .ready = number(m, UINT64_MAX),
        .scheduled = number(m, UINT64_MAX),
        .dispatched = number(m, UINT64_MAX),
        .bytes = number(m, UINT64_MAX),
        .paused = is_there(m),
        .workers = (uint32_t)number(m, 64),
        .oldest_wall_ms = number(m, UINT64_MAX),
        .limit = number(m, UINT64_MAX),
        .rate = number(m, UINT64_MAX),
        .rate_period_ms = number(m, UINT64_MAX),
        .groups = (uint32_t)number(m, 64),
        .group_limit = number(m, UINT64_MAX),
        .group_rate = number(m, UINT64_MAX),
        .group_rate_period_ms = number(m, UINT64_MAX),
        .ageing_ms = number(m, UINT64_MAX),
        .ending = number(m, UINT64_MAX),
    };
}

static struct dtqi_cron_entry cron_entry(struct maker *m)
{
    return (struct dtqi_cron_entry){
        .expression = str(m, "* * * * "),
        .every_ms = number(m, DTQI_DURATION_MS_MAX),
        .zone = str(m, "Europe/"),
        .missed = (uint32_t)number(m, DTQI_MISSED_ALL),
        .missed_max = (uint32_t)number(m, UINT32_MAX),
        .skip_overlap = is_there(m),
        .delay_ms = number(m, DTQI_DURATION_MS_MAX),
        .spec = spec(m),
        .payload = body(m, 20),
        .replace = is_there(m),
    };
}

static struct dtqi_cron_info cron_info(struct maker *m)
{
    return (struct dtqi_cron_info){
        .name = name(m, "nightly."),
        .entry = cron_entry(m),
        .payload_bytes = number(m, UINT64_MAX),
        .paused = is_there(m),
        .next_wall_ms = number(m, UINT64_MAX),
        .due_wall_ms = number(m, UINT64_MAX),
        .fired_wall_ms = number(m, UINT64_MAX),
        .last_id = uid(m),
        .fired = number(m, UINT64_MAX),
        .missed = number(m, UINT64_MAX),
        .skipped = number(m, UINT64_MAX),
        .created_wall_ms = number(m, UINT64_MAX),
        .why = str(m, "no sink "),
    };
}

static void make_query_reply(struct maker *m, struct dtqi_query_reply *q)
{
    struct dtqi_task_info *task = room(m, sizeof *task);
    struct dtqi_queue_info *queue = room(m, sizeof *queue);
    struct dtqi_worker_info *worker = room(m, sizeof *worker);
    struct dtqi_counter *counter = room(m, sizeof *counter);
    struct dtqi_cron_info *cron = room(m, sizeof *cron);

    *task = task_info(m);
    *queue = queue_info(m);
    *worker = worker_info(m);
    *counter = (struct dtqi_counter){str(m, "tasks_"), number(m, UINT64_MAX)};
    q->request = number(m, UINT64_MAX);
    q->reason = (enum dtqi_refusal)number(m, DTQI_BAD_PEER);
    q->text = str(m, "text ");
    q->tasks = task;
    q->tasks_n = 1;
    q->queues = queue;
    q->queues_n = 1;
    q->workers = worker;
    q->workers_n = 1;
    q->sinks = sinks(m, 2);
    q->sinks_n = 2;
    q->counters = counter;
    q->counters_n = 1;
    *cron = cron_info(m);
    q->crons = cron;
    q->crons_n = 1;
    q->next = body(m, 16);
    q->attempts = attempt_info(m);
    q->attempts_n = 1;
}

void sample_msg(enum dtqi_msg_type type, uint64_t seed, bool full, struct dtqi_buf *buf,
                struct dtqi_msg *ret)
{
    struct maker maker = {seed, full, buf};
    struct maker *m = &maker;
    uint32_t n = (uint32_t)number(m, full ? 5 : 40);
    uint64_t big = number(m, UINT64_MAX);

    *ret = (struct dtqi_msg){.type = type};
    switch (type) {
    case DTQI_HELLO: make_hello(m, &ret->hello); break;
    case DTQI_WELCOME: make_welcome(m, &ret->welcome); break;
    case DTQI_REFUSED:
        ret->refused =
            (struct dtqi_refused){(enum dtqi_refusal)number(m, DTQI_BAD_PEER), str(m, "because "),
                                  (uint32_t)number(m, 9), (uint32_t)number(m, 9)};
        break;
    case DTQI_UNKNOWN_SESSION: ret->unknown_session.session = big; break;
    case DTQI_BYE: ret->bye = (struct dtqi_bye){big, ids(m, n), n}; break;
    case DTQI_SUBMIT: make_submit(m, n, &ret->submit); break;
    case DTQI_SUBMITTED: make_submitted(m, n, &ret->submitted); break;
    case DTQI_CANCEL: ret->cancel = (struct dtqi_cancel){big, n, ids(m, n), str(m, "q-")}; break;
    case DTQI_CANCEL_REPLY:
        ret->cancel_reply = (struct dtqi_cancel_reply){big,
                                                       n,
                                                       full32(m, n, DTQ_CANCELLED),
                                                       full32(m, n, 1),
                                                       number(m, UINT64_MAX),
                                                       DTQI_BUSY,
                                                       str(m, "because ")};
        break;
    case DTQI_QUERY: make_query(m, &ret->query); break;
    case DTQI_QUERY_REPLY: make_query_reply(m, &ret->query_reply); break;
    case DTQI_OPERATE:
        ret->operate = (struct dtqi_operate){.request = big,
                                             .operation = (uint32_t)number(m, 16),
                                             .target = str(m, "queue:"),
                                             .number = 0.5,
                                             .ids = ids(m, n),
                                             .n = n,
                                             .all = is_there(m),
                                             .force = is_there(m),
                                             .period_ms = number(m, UINT64_MAX),
                                             .before_wall_ms = number(m, UINT64_MAX),
                                             .has_after = is_there(m),
                                             .destination = str(m, "queue:")};
        if (ret->operate.has_after)
            ret->operate.after = id(m);
        if (is_there(m)) {
            struct dtqi_cron_entry *entry = room(m, sizeof *entry);

            *entry = cron_entry(m);
            ret->operate.cron = entry;
        }
        break;
    case DTQI_OPERATE_REPLY:
        ret->operate_reply =
            (struct dtqi_operate_reply){.request = big,
                                        .reason = (enum dtqi_refusal)number(m, DTQI_BAD_PEER),
                                        .text = str(m, "text "),
                                        .count = number(m, UINT64_MAX),
                                        .ids = ids(m, n),
                                        .n = n,
                                        .old_ids = ids(m, n),
                                        .has_next = is_there(m)};
        if (ret->operate_reply.has_next)
            ret->operate_reply.next = id(m);
        break;
    case DTQI_TASKS: make_tasks(m, n, &ret->tasks); break;
    case DTQI_WORKER_HEARTBEAT: make_worker_heartbeat(m, n, &ret->worker_heartbeat); break;
    case DTQI_VENTILATOR_HEARTBEAT:
        ret->ventilator_heartbeat =
            (struct dtqi_ventilator_heartbeat){big,
                                               number(m, UINT64_MAX),
                                               number(m, UINT64_MAX),
                                               (uint32_t)number(m, UINT32_MAX),
                                               number(m, UINT64_MAX),
                                               number(m, DTQI_WALL_MS_MAX)};
        break;
    case DTQI_REPORT: make_report(m, n, &ret->report); break;
    case DTQI_FORGET:
        ret->forget =
            (struct dtqi_forget){big, number(m, UINT64_MAX), n, ids(m, n), col32(m, n, UINT32_MAX)};
        break;
    case DTQI_RECALL: ret->recall = (struct dtqi_recall){big, n}; break;
    case DTQI_RESEND: ret->resend = (struct dtqi_ids){big, ids(m, n), n}; break;
    case DTQI_STOP_ATTEMPTS: ret->stop_attempts = (struct dtqi_ids){big, ids(m, n), n}; break;
    case DTQI_HOLDINGS: make_holdings(m, n, &ret->holdings); break;
    case DTQI_HOLDINGS_WANTED: ret->holdings_wanted.session = big; break;
    case DTQI_VERDICTS: make_verdicts(m, n, &ret->verdicts); break;
    case DTQI_SINKS: ret->sinks = (struct dtqi_sinks){big, sinks(m, n), n, removed(m)}; break;
    case DTQI_RESUME: ret->resume = (struct dtqi_resume){uid(m), uid(m), big}; break;
    case DTQI_SETTLED:
        ret->settled = (struct dtqi_settled){uid(m),
                                             uid(m),
                                             number(m, 1ull << 60),
                                             number(m, UINT64_MAX),
                                             n,
                                             ids(m, n),
                                             outcome_col(m, n),
                                             col32(m, n, UINT32_MAX),
                                             is_there(m),
                                             number(m, UINT64_MAX)};
        break;
    case DTQI_SETTLED_ACK: ret->settled_ack = (struct dtqi_settled_ack){uid(m), big}; break;
    case DTQI_CLAIM:
        ret->claim = (struct dtqi_claim){big, uid(m), n, ids(m, n), uids(m, 2), 2};
        break;
    case DTQI_CLAIM_REPLY:
        ret->claim_reply = (struct dtqi_claim_reply){big, n, full32(m, n, DTQ_CANCELLED)};
        break;
    case DTQI_SINK_HEARTBEAT:
        ret->sink_heartbeat = (struct dtqi_sink_heartbeat){big, number(m, UINT64_MAX), is_there(m)};
        break;
    case DTQI_OUTCOMES: make_outcomes(m, n, &ret->outcomes); break;
    case DTQI_FOLLOW: ret->follow.reply_to = big; break;
    case DTQI_WAIT: ret->wait = (struct dtqi_wait){big, n, ids(m, n), is_there(m)}; break;
    case DTQI_RESULTS: make_results(m, n, &ret->results); break;
    case DTQI_RESULTS_QUERY: make_results_query(m, &ret->results_query); break;
    case DTQI_RESULTS_REPLY: make_results_reply(m, n, &ret->results_reply); break;
    }
}

static void *place(void *arg, size_t bytes)
{
    struct sample_frame *f = arg;

    f->bytes = bytes;
    f->at = malloc(bytes);
    return f->at;
}

struct sample_frame sample_encode(const struct dtqi_msg *msg)
{
    struct sample_frame f = {0};

    if (dtqi_encode(msg, place, &f) != DTQ_OK) {
        free(f.at);
        return (struct sample_frame){0};
    }
    return f;
}
