#include "talk.h"

#include "alloc_fail.h"
#include "bounds.h"
#include "sample.h"

#include <stdio.h>
#include <stdlib.h>

static void learn(struct talk *t, enum talk_kind kind, uint64_t value)
{
    t->rings[kind].at[t->rings[kind].n++ % TALK_RING] = value;
}

static void learn_ids(struct talk *t, const dtq_id *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        t->ids[t->ids_n++ % TALK_IDS] = ids[i];
}

void talk_init(struct talk *t, const uint8_t *at, size_t bytes, uint64_t wall_ms)
{
    *t = (struct talk){.at = at, .left = bytes, .wall_ms = wall_ms};
    for (uint32_t i = 0; i < TALK_IDS; i++) {
        uint64_t ms = wall_ms - (i % 8 == 7 ? 2 * DTQI_DEDUPE_WINDOW_MS : i);

        for (int k = 0; k < 6; k++)
            t->ids[i].bytes[k] = (uint8_t)(ms >> (40 - 8 * k));
        t->ids[i].bytes[6] = 0x70;
        t->ids[i].bytes[8] = 0x80;
        t->ids[i].bytes[15] = (uint8_t)i;
    }
    for (uint32_t i = 0; i < TALK_UIDS; i++)
        memset(t->uids[i].bytes, 0x51 + (int)i, 16);
    t->starves = talk_choice(t, 2) != 0;
}

uint32_t talk_choice(struct talk *t, uint32_t below)
{
    uint32_t value = 0;

    for (uint32_t span = 1; span < below && t->left != 0; span <<= 8) {
        value = value << 8 | *t->at++;
        t->left--;
        if (span > UINT32_MAX >> 8)
            break;
    }
    return value % below;
}

struct dtqi_slice talk_bytes(struct talk *t, uint32_t bytes_max)
{
    uint32_t bytes = bytes_max < t->left ? bytes_max : (uint32_t)t->left;
    struct dtqi_slice slice = {t->at, bytes};

    t->at += bytes;
    t->left -= bytes;
    return slice;
}

dtq_id talk_id(struct talk *t)
{
    return t->ids[talk_choice(t, TALK_IDS)];
}

static dtqi_uid pick_uid(struct talk *t)
{
    return t->uids[talk_choice(t, TALK_UIDS)];
}

uint64_t talk_pick(struct talk *t, enum talk_kind kind)
{
    uint32_t n = t->rings[kind].n < TALK_RING ? t->rings[kind].n : TALK_RING;
    uint32_t choice = talk_choice(t, 64);

    if (choice == 63)
        return (uint64_t)talk_choice(t, 256) << talk_choice(t, 57);
    if (n == 0)
        return choice % 8;
    return t->rings[kind].at[(t->rings[kind].n - 1 - choice % n) % TALK_RING];
}

/* The next number of a session's reports or lane messages, now and then a wrong one. */
static uint64_t next_sequence(struct talk *t, uint64_t session)
{
    uint32_t i = (uint32_t)(dtqi_mix64(session) % TALK_RING);

    if (talk_choice(t, 32) == 31)
        return talk_choice(t, 256);
    if (t->sequences[i].session != session) {
        t->sequences[i].session = session;
        t->sequences[i].reports = 0;
    }
    return ++t->sequences[i].reports;
}

void talk_starve(struct talk *t)
{
    alloc_fail_at(t->starves && talk_choice(t, 16) == 15 ? 1 + talk_choice(t, 32) : 0);
    alloc_fail_arm(true);
}

void talk_feed(void)
{
    alloc_fail_arm(false);
}

/* ---------------------------------------------------------------- what is heard */

static void place_msg(struct talk *t, const struct dtqi_msg *m)
{
    switch (m->type) {
    case DTQI_WELCOME:
        learn(t, TALK_SESSION, m->welcome.session);
        learn(t, TALK_EPOCH, m->welcome.epoch);
        break;
    case DTQI_TASKS:
        learn_ids(t, m->tasks.ids, m->tasks.n);
        for (uint32_t i = 0; i < m->tasks.n; i++)
            learn(t, TALK_TICKET, m->tasks.tickets[i]);
        break;
    case DTQI_SUBMIT:
        learn(t, TALK_REQUEST, m->submit.request);
        learn(t, TALK_REPLY_TO, m->submit.reply_to);
        learn_ids(t, m->submit.ids, m->submit.n);
        break;
    case DTQI_WAIT: learn(t, TALK_REQUEST, m->wait.request); break;
    case DTQI_FOLLOW: learn(t, TALK_REPLY_TO, m->follow.reply_to); break;
    case DTQI_QUERY: learn(t, TALK_REQUEST, m->query.request); break;
    case DTQI_CANCEL: learn(t, TALK_REQUEST, m->cancel.request); break;
    case DTQI_RESULTS_QUERY: learn(t, TALK_REQUEST, m->results_query.request); break;
    case DTQI_CLAIM: learn(t, TALK_REQUEST, m->claim.request); break;
    case DTQI_RESUME: learn(t, TALK_NUMBER, m->resume.after); break;
    case DTQI_SETTLED: learn(t, TALK_NUMBER, m->settled.number_head); break;
    case DTQI_WORKER_HEARTBEAT: learn(t, TALK_BEAT, m->worker_heartbeat.sequence); break;
    case DTQI_SINK_HEARTBEAT: learn(t, TALK_BEAT, m->sink_heartbeat.sequence); break;
    default: break; /* nothing to learn */
    }
}

void talk_hear(struct talk *t, const struct dtqi_msg *said)
{
    struct sample_frame frame = sample_encode(said);
    struct dtqi_msg read;
    char why[200];

    assert(frame.at != NULL);
    if (dtqi_decode(frame.at, frame.bytes, &read, why, sizeof why) != DTQ_OK) {
        fprintf(stderr, "said what nobody reads: %s: %s\n", dtqi_msg_type_name(said->type), why);
        abort();
    }
    assert(read.type == said->type);
    place_msg(t, &read);
    dtqi_msg_done(&read);
    free(frame.at);
}

/* ---------------------------------------------------------------- what is said */

static void *room(struct dtqi_buf *buf, size_t bytes)
{
    void *at = dtqi_buf_alloc(buf, bytes + 1);

    assert(at != NULL);
    return at;
}

static const dtq_id *pick_ids(struct talk *t, struct dtqi_buf *buf, uint32_t n)
{
    dtq_id *ids = room(buf, n * sizeof *ids);
    uint32_t first = talk_choice(t, TALK_IDS);
    uint32_t step = talk_choice(t, 4);

    for (uint32_t i = 0; i < n; i++)
        ids[i] = t->ids[(first + i * step) % TALK_IDS];
    return n != 0 ? ids : NULL;
}

static const uint32_t *pick_tickets(struct talk *t, struct dtqi_buf *buf, uint32_t n)
{
    uint32_t *tickets = room(buf, n * sizeof *tickets);

    for (uint32_t i = 0; i < n; i++)
        tickets[i] = (uint32_t)talk_pick(t, TALK_TICKET);
    return n != 0 ? tickets : NULL;
}

static const uint64_t *pick_epochs(struct talk *t, struct dtqi_buf *buf, uint32_t n)
{
    uint64_t *epochs = room(buf, n * sizeof *epochs);

    for (uint32_t i = 0; i < n; i++)
        epochs[i] = talk_pick(t, TALK_EPOCH);
    return n != 0 ? epochs : NULL;
}

static const uint32_t *pick_small(struct talk *t, struct dtqi_buf *buf, uint32_t n)
{
    uint32_t *numbers = room(buf, n * sizeof *numbers);
    uint32_t first = talk_choice(t, 4);

    for (uint32_t i = 0; i < n; i++)
        numbers[i] = first + i % 2;
    return n != 0 ? numbers : NULL;
}

static struct dtqi_str pick_queue(struct talk *t)
{
    static const char *const queues[] = {"a", "b", "c", "d", "e"};

    return dtqi_str(queues[talk_choice(t, 5)]);
}

/* Without what is not served yet. */
static const struct dtqi_spec *pick_specs(struct talk *t, struct dtqi_buf *buf, uint32_t n)
{
    static const uint64_t backoffs[] = {0, 1, 1000, 60000};
    static const char *const groups[] = {"", "", "x", "y"};
    struct dtqi_spec *specs = room(buf, n * sizeof *specs);

    for (uint32_t i = 0; i < n; i++) {
        specs[i] = (struct dtqi_spec){
            .name = pick_queue(t),
            .queue = pick_queue(t),
            .priority = talk_choice(t, 10),
            .retries = talk_choice(t, 4),
            .backoff_max_ms = backoffs[talk_choice(t, 4)],
            .crash_limit = talk_choice(t, 3),
            .expires_ms = backoffs[talk_choice(t, 4)],
            .time_limit_ms = backoffs[talk_choice(t, 4)],
            .result_ttl_ms = backoffs[talk_choice(t, 4)],
            .no_result = talk_choice(t, 8) == 7,
            .group = dtqi_str(groups[talk_choice(t, 4)]),
            .group_ordered = talk_choice(t, 2) != 0,
        };
        specs[i].raw = dtqi_spec_encode(&specs[i], buf);
        assert(specs[i].raw.len != 0);
    }
    return n != 0 ? specs : NULL;
}

static const struct dtqi_sink_info *pick_sinks(struct talk *t, struct dtqi_buf *buf, uint32_t *n)
{
    struct dtqi_sink_info *sinks;

    if (*n > TALK_UIDS)
        *n = TALK_UIDS;
    sinks = room(buf, *n * sizeof *sinks);
    for (uint32_t i = 0; i < *n; i++)
        sinks[i] = (struct dtqi_sink_info){
            .store = pick_uid(t),
            .intake = dtqi_str(talk_choice(t, 2) != 0 ? "tcp://127.0.0.1:1" : "tcp://[::1]:2"),
            .results = dtqi_str("tcp://127.0.0.1:3"),
            .reachable = talk_choice(t, 2) != 0,
        };
    return *n != 0 ? sinks : NULL;
}

static void steer_hello(struct talk *t, struct dtqi_hello *h)
{
    h->version_min = h->version_max = 1;
    if (talk_choice(t, 32) == 31)
        h->version_min = h->version_max = talk_choice(t, 4);
    h->role = (enum dtqi_role)talk_choice(t, 4);
    h->instance = pick_uid(t);
    h->slots = talk_choice(t, 9);
    h->holdings = talk_choice(t, 3);
    h->result_max_bytes = talk_choice(t, 4) != 0 ? DTQI_RESULT_BYTES_MAX : 0;
    h->store = pick_uid(t);
    h->run = pick_uid(t);
    h->outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS * talk_choice(t, 3);
    h->intake = dtqi_str("tcp://127.0.0.1:1");
    h->results = dtqi_str("tcp://127.0.0.1:3");
    if (talk_choice(t, 2) != 0)
        h->queues_n = 0;
}

static void steer_welcome(struct talk *t, struct dtqi_buf *buf, struct dtqi_welcome *w)
{
    w->store = pick_uid(t);
    w->epoch = talk_pick(t, TALK_EPOCH);
    w->session = talk_pick(t, TALK_SESSION) + talk_choice(t, 3);
    w->wall_ms = t->wall_ms + talk_choice(t, 256);
    w->heartbeat_ms = 1000;
    w->liveness = 3;
    w->lane = dtqi_str("tcp://127.0.0.1:20000");
    w->sinks = pick_sinks(t, buf, &w->sinks_n);
    w->task_bytes_max = talk_choice(t, 8) == 7 ? 10 : DTQI_TASK_BYTES_MAX;
    w->result_bytes_max = DTQI_RESULT_BYTES_MAX;
    w->dedupe_window_ms = DTQI_DEDUPE_WINDOW_MS;
    w->outcome_fence_ms = DTQI_OUTCOME_FENCE_MS;
    learn(t, TALK_SESSION, w->session);
    learn(t, TALK_EPOCH, w->epoch);
}

static void steer_submit(struct talk *t, struct dtqi_buf *buf, struct dtqi_submit *s)
{
    uint64_t *not_before = room(buf, s->n * sizeof *not_before);

    s->request = talk_choice(t, 256);
    s->ids = pick_ids(t, buf, s->n);
    s->sink = pick_uid(t);
    if (s->specs_n > 2 && s->spec_index == NULL)
        s->specs_n = 2;
    if (talk_choice(t, 16) != 15)
        s->specs = pick_specs(t, buf, s->specs_n);
    s->resend = talk_choice(t, 2) != 0;
    if (talk_choice(t, 4) != 3)
        s->also_sent_to_n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        not_before[i] = t->wall_ms + i * 100;
    s->not_before_wall_ms = talk_choice(t, 4) == 3 ? not_before : NULL;
    s->reply_to = talk_choice(t, 3);
    s->delay_ms = s->reply_to == 2 ? not_before : NULL; /* far away */
    s->id_clock_ms = s->reply_to == 1 ? s->id_clock_ms % 600000 : 0;
}

static struct dtqi_failure *copy_failures(struct dtqi_buf *buf, const struct dtqi_failure *list,
                                          uint32_t n)
{
    struct dtqi_failure *copy = room(buf, n * sizeof *copy);

    for (uint32_t i = 0; i < n; i++)
        copy[i] = list[i];
    return copy;
}

static void steer_report(struct talk *t, struct dtqi_buf *buf, struct dtqi_report *r)
{
    struct dtqi_failure *failures = copy_failures(buf, r->failures, r->failures_n);

    r->session = talk_pick(t, TALK_SESSION);
    r->report_seq = next_sequence(t, r->session);
    r->credit_tasks = (uint64_t)talk_choice(t, 8) * r->report_seq * 8;
    r->credit_bytes = r->report_seq << 20;
    r->done_tickets = pick_tickets(t, buf, r->done_n);
    r->returned_ids = pick_ids(t, buf, r->returned_n);
    r->stopped_ids = pick_ids(t, buf, r->stopped_n);
    r->started_ids = pick_ids(t, buf, r->started_n);
    for (uint32_t i = 0; i < r->failures_n; i++) {
        failures[i].id = talk_id(t);
        failures[i].epoch = talk_pick(t, TALK_EPOCH);
        failures[i].attempt = talk_choice(t, 4);
    }
    r->failures = failures;
}

static void steer_holdings(struct talk *t, struct dtqi_buf *buf, struct dtqi_holdings *h)
{
    struct dtqi_failure *failures = copy_failures(buf, h->failures, h->failures_n);

    h->failures = failures;
    h->session = talk_pick(t, TALK_SESSION);
    h->ids = pick_ids(t, buf, h->n);
    h->epochs = pick_epochs(t, buf, h->n);
    h->attempts = pick_small(t, buf, h->n);
    for (uint32_t i = 0; i < h->n; i++)
        if (dtqi_col32(h->states, i, DTQI_WAITING) == DTQI_HELD_FAILED) {
            failures->id = h->ids[i];
            failures->epoch = h->epochs[i];
            failures->attempt = h->attempts[i];
            failures++;
        }
}

static void steer_verdicts(struct talk *t, struct dtqi_buf *buf, struct dtqi_verdicts *v)
{
    v->session = talk_pick(t, TALK_SESSION);
    v->ids = pick_ids(t, buf, v->n);
    v->epochs = pick_epochs(t, buf, v->n);
    v->attempts = pick_small(t, buf, v->n);
    v->tickets = pick_tickets(t, buf, v->n);
}

static void steer_tasks(struct talk *t, struct dtqi_buf *buf, struct dtqi_tasks *m)
{
    dtqi_uid *sinks = room(buf, m->sinks_n * sizeof *sinks);

    m->session = talk_pick(t, TALK_SESSION);
    m->lane_seq = (uint32_t)next_sequence(t, m->session);
    m->ids = pick_ids(t, buf, m->n);
    m->attempts = pick_small(t, buf, m->n);
    m->specs = pick_specs(t, buf, m->specs_n);
    for (uint32_t i = 0; i < m->sinks_n; i++)
        sinks[i] = pick_uid(t);
    m->sinks = sinks;
    for (uint32_t i = 0; i < m->n; i++)
        learn(t, TALK_TICKET, m->tickets[i]);
}

static void steer_settled(struct talk *t, struct dtqi_buf *buf, struct dtqi_settled *s)
{
    s->sink = pick_uid(t);
    s->run = pick_uid(t);
    s->number_first = talk_choice(t, 8) == 7 ? 0 : talk_pick(t, TALK_NUMBER) + 1;
    s->number_head = s->number_first + s->n + talk_choice(t, 3);
    s->ids = pick_ids(t, buf, s->n);
    s->tickets = pick_tickets(t, buf, s->n);
    s->diverged = talk_choice(t, 32) == 31;
    s->number_dropped = talk_choice(t, 8) == 7 ? talk_pick(t, TALK_NUMBER) : 0;
    if (s->number_first != 0)
        learn(t, TALK_NUMBER, s->number_first + s->n - 1);
}

static void steer_outcomes(struct talk *t, struct dtqi_buf *buf, struct dtqi_outcomes *o)
{
    o->ventilator = pick_uid(t);
    o->epoch = talk_pick(t, TALK_EPOCH);
    o->sink = t->uids[talk_choice(t, 8) == 7];
    o->heard_wall_ms = t->wall_ms - (uint64_t)talk_choice(t, 4) * DTQI_OUTCOME_FENCE_MS;
    o->ids = pick_ids(t, buf, o->n);
    o->specs = pick_specs(t, buf, o->specs_n);
    o->reply_to = NULL;
    if (talk_choice(t, 2) != 0 && o->n != 0) {
        uint64_t *reply_to = room(buf, o->n * sizeof *reply_to);

        for (uint32_t i = 0; i < o->n; i++)
            reply_to[i] = i % 3;
        o->reply_to = reply_to;
    }
}

static void steer_beat(struct talk *t, struct dtqi_buf *buf, struct dtqi_worker_heartbeat *h)
{
    h->session = talk_pick(t, TALK_SESSION);
    h->lane_seq = talk_choice(t, 16);
    h->report_seq = talk_choice(t, 16);
    h->credit_tasks = talk_choice(t, 256);
    h->credit_bytes = (uint64_t)talk_choice(t, 256) << 16;
    h->held = talk_choice(t, 4);
    if (talk_choice(t, 2) != 0)
        h->held_sum = 0;
    h->running_ids = pick_ids(t, buf, h->running_n);
    if (h->unreachable_n > 1)
        h->unreachable_n = 1;
    if (h->unreachable_n != 0) {
        dtqi_uid *sink = room(buf, sizeof *sink);

        *sink = pick_uid(t);
        h->unreachable_sinks = sink;
    }
}

static void steer_ids(struct talk *t, struct dtqi_buf *buf, struct dtqi_ids *m)
{
    m->session = talk_pick(t, TALK_SESSION);
    m->ids = pick_ids(t, buf, m->n);
}

/* Entries that can be, and then fire within the time that passes; some that cannot. */
static void steer_operate(struct talk *t, struct dtqi_buf *buf, struct dtqi_operate *o)
{
    struct dtqi_cron_entry *entry = room(buf, sizeof *entry);

    o->target = pick_queue(t);
    o->destination = pick_queue(t);
    o->ids = pick_ids(t, buf, o->n);
    o->number = talk_choice(t, 4);
    o->period_ms = talk_choice(t, 3) * 100;
    if (o->operation == DTQI_SINK_REMOVE)
        o->operation = DTQI_QUEUE_MOVE;
    if (talk_choice(t, 2) != 0)
        return;
    o->operation = DTQI_CRON_ADD + talk_choice(t, 5);
    *entry = (struct dtqi_cron_entry){
        .every_ms = 500 * (uint64_t)talk_choice(t, 8),
        .missed = talk_choice(t, 3),
        .missed_max = talk_choice(t, 4),
        .skip_overlap = talk_choice(t, 2) != 0,
        .delay_ms = 1000 * (uint64_t)talk_choice(t, 2),
        .spec = *pick_specs(t, buf, 1),
        .payload = talk_bytes(t, talk_choice(t, 64)),
        .replace = talk_choice(t, 2) != 0,
    };
    if (talk_choice(t, 4) == 0)
        entry->expression = dtqi_str("* * * * *");
    o->cron = entry;
}

static dtq_id cut_id(dtq_id id, uint32_t bits)
{
    for (uint32_t i = bits; i < 128; i++)
        id.bytes[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    return id;
}

static void steer(struct talk *t, struct dtqi_buf *buf, struct dtqi_msg *m)
{
    switch (m->type) {
    case DTQI_HELLO: steer_hello(t, &m->hello); break;
    case DTQI_WELCOME: steer_welcome(t, buf, &m->welcome); break;
    case DTQI_UNKNOWN_SESSION: m->unknown_session.session = talk_pick(t, TALK_SESSION); break;
    case DTQI_BYE:
        m->bye.session = talk_pick(t, TALK_SESSION);
        m->bye.abandoned_ids = pick_ids(t, buf, m->bye.abandoned_n);
        break;
    case DTQI_SUBMIT: steer_submit(t, buf, &m->submit); break;
    case DTQI_SUBMITTED: m->submitted.request = talk_pick(t, TALK_REQUEST); break;
    case DTQI_CANCEL:
        m->cancel.ids = pick_ids(t, buf, m->cancel.n);
        m->cancel.queue = pick_queue(t);
        if (talk_choice(t, 4) != 0)
            m->cancel.queue.len = 0;
        else
            m->cancel.n = 0;
        break;
    case DTQI_CANCEL_REPLY: m->cancel_reply.request = talk_pick(t, TALK_REQUEST); break;
    case DTQI_QUERY:
        m->query.kind = (enum dtqi_query_kind)talk_choice(t, 5);
        if (talk_choice(t, 8) == 7)
            m->query.kind = DTQI_QUERY_CRON;
        m->query.cron = (struct dtqi_str){"", 0};
        m->query.prefix = cut_id(talk_id(t), m->query.prefix_bits);
        m->query.queue = pick_queue(t);
        m->query.after = talk_bytes(t, talk_choice(t, 64));
        m->query.limit = talk_choice(t, 8);
        break;
    case DTQI_QUERY_REPLY: m->query_reply.request = talk_pick(t, TALK_REQUEST); break;
    case DTQI_OPERATE: steer_operate(t, buf, &m->operate); break;
    case DTQI_TASKS: steer_tasks(t, buf, &m->tasks); break;
    case DTQI_WORKER_HEARTBEAT: steer_beat(t, buf, &m->worker_heartbeat); break;
    case DTQI_VENTILATOR_HEARTBEAT:
        m->ventilator_heartbeat.session = talk_pick(t, TALK_SESSION);
        m->ventilator_heartbeat.echo = talk_pick(t, TALK_BEAT);
        m->ventilator_heartbeat.wall_ms = t->wall_ms;
        break;
    case DTQI_REPORT: steer_report(t, buf, &m->report); break;
    case DTQI_FORGET:
        m->forget.session = talk_pick(t, TALK_SESSION);
        m->forget.epoch = talk_pick(t, TALK_EPOCH);
        m->forget.ids = pick_ids(t, buf, m->forget.n);
        m->forget.attempts = pick_small(t, buf, m->forget.n);
        break;
    case DTQI_RECALL: m->recall.session = talk_pick(t, TALK_SESSION); break;
    case DTQI_RESEND: steer_ids(t, buf, &m->resend); break;
    case DTQI_STOP_ATTEMPTS: steer_ids(t, buf, &m->stop_attempts); break;
    case DTQI_HOLDINGS: steer_holdings(t, buf, &m->holdings); break;
    case DTQI_HOLDINGS_WANTED: m->holdings_wanted.session = talk_pick(t, TALK_SESSION); break;
    case DTQI_VERDICTS: steer_verdicts(t, buf, &m->verdicts); break;
    case DTQI_SINKS:
        m->sinks.session = talk_pick(t, TALK_SESSION);
        m->sinks.sinks = pick_sinks(t, buf, &m->sinks.sinks_n);
        break;
    case DTQI_RESUME:
        m->resume = (struct dtqi_resume){pick_uid(t), pick_uid(t), talk_pick(t, TALK_NUMBER)};
        break;
    case DTQI_SETTLED: steer_settled(t, buf, &m->settled); break;
    case DTQI_SETTLED_ACK:
        m->settled_ack = (struct dtqi_settled_ack){pick_uid(t), talk_pick(t, TALK_NUMBER)};
        break;
    case DTQI_CLAIM:
        m->claim.store = pick_uid(t);
        m->claim.ids = pick_ids(t, buf, m->claim.n);
        break;
    case DTQI_CLAIM_REPLY: m->claim_reply.request = talk_pick(t, TALK_REQUEST); break;
    case DTQI_SINK_HEARTBEAT: m->sink_heartbeat.session = talk_pick(t, TALK_SESSION); break;
    case DTQI_OUTCOMES: steer_outcomes(t, buf, &m->outcomes); break;
    case DTQI_FOLLOW: m->follow.reply_to = talk_choice(t, 4); break;
    case DTQI_WAIT: m->wait.ids = pick_ids(t, buf, m->wait.n); break;
    case DTQI_RESULTS:
        m->results.sink = pick_uid(t);
        m->results.request = talk_choice(t, 2) != 0 ? 0 : talk_pick(t, TALK_REQUEST);
        m->results.ids = pick_ids(t, buf, m->results.n);
        break;
    case DTQI_RESULTS_QUERY:
        m->results_query.after = talk_id(t);
        m->results_query.prefix = cut_id(talk_id(t), m->results_query.prefix_bits);
        m->results_query.limit = talk_choice(t, 8);
        break;
    case DTQI_RESULTS_REPLY: m->results_reply.request = talk_pick(t, TALK_REQUEST); break;
    case DTQI_REFUSED:
    case DTQI_OPERATE_REPLY: break;
    }
}

static enum dtqi_msg_type any_type(struct talk *t)
{
    uint32_t n = 0;

    while (sample_types[n] != 0)
        n++;
    return sample_types[talk_choice(t, n)];
}

static enum dtqi_msg_type pick_type(struct talk *t, const enum dtqi_msg_type *types)
{
    uint32_t choice = talk_choice(t, 128);
    uint32_t n = 0;

    while (types[n] != 0)
        n++;
    return choice < 120 ? types[choice % n] : any_type(t);
}

static bool decode(const void *at, size_t bytes, struct dtqi_msg *ret)
{
    char why[64];

    return dtqi_decode(at, bytes, ret, why, sizeof why) == DTQ_OK;
}

static bool made_msg(struct talk *t, enum dtqi_msg_type type, struct dtqi_msg *ret)
{
    struct dtqi_buf *buf = dtqi_buf_new(4096, SIZE_MAX);
    struct sample_frame frame;
    struct dtqi_msg msg;
    bool ok;

    assert(buf != NULL);
    sample_msg(type, talk_choice(t, 65536), talk_choice(t, 4) == 3, buf, &msg);
    steer(t, buf, &msg);
    frame = sample_encode(&msg);
    assert(frame.at != NULL);
    for (uint32_t flips = talk_choice(t, 32); flips > 28; flips--)
        frame.at[talk_choice(t, (uint32_t)frame.bytes)] ^= (uint8_t)talk_choice(t, 256);
    ok = decode(frame.at, frame.bytes, ret);
    free(frame.at);
    dtqi_buf_unref(buf);
    return ok;
}

bool talk_msg(struct talk *t, const enum dtqi_msg_type *types, struct dtqi_msg *ret)
{
    struct dtqi_slice raw;

    if (talk_choice(t, 32) != 31)
        return made_msg(t, pick_type(t, types), ret);
    raw = talk_bytes(t, talk_choice(t, 512));
    return decode(raw.at, raw.len, ret);
}
