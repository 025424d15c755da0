/*
 * The client's core, in a program that submits, waits and asks, against a ventilator and sinks that
 * say anything. Each task that was taken in gets one verdict at the most, results are only those of
 * ids that somebody asked for, and everything it says can be encoded.
 */
#include "fuzz.h"

#include "client_core.h"
#include "talk.h"
#include "touch.h"

#define WALL_MS 1700000000000ull
#define STEPS_MAX 400u

static const enum dtqi_msg_type said_by_ventilators[] = {DTQI_WELCOME,
                                                         DTQI_WELCOME,
                                                         DTQI_SUBMITTED,
                                                         DTQI_SUBMITTED,
                                                         DTQI_REFUSED,
                                                         DTQI_SINKS,
                                                         DTQI_BYE,
                                                         DTQI_UNKNOWN_SESSION,
                                                         DTQI_QUERY_REPLY,
                                                         DTQI_CANCEL_REPLY,
                                                         0};
static const enum dtqi_msg_type said_by_sinks[] = {DTQI_RESULTS, DTQI_RESULTS, DTQI_RESULTS_REPLY,
                                                   0};

struct bench {
    struct talk talk;
    struct client_cfg cfg;
    struct client *c;
    struct dtqi_buf *buf; /* of the specs */
    struct dtqi_slice specs[4];
    struct client_actions out;
    uint64_t now_ms;
    bool open[CLIENT_PEERS_MAX];
    uint32_t taken_in;
    uint32_t verdicts;
    struct dtqi_msg question;
    bool asked;
};

static struct client_time now(const struct bench *b)
{
    return (struct client_time){b->now_ms, b->talk.wall_ms};
}

static void do_action(struct bench *b, const struct client_action *a)
{
    assert(a->peer < CLIENT_PEERS_MAX);
    switch (a->type) {
    case CLIENT_OPEN:
        touch_str(a->endpoint);
        b->open[a->peer] = true;
        break;
    case CLIENT_CLOSE: b->open[a->peer] = false; break;
    case CLIENT_SEND:
        assert(b->open[a->peer]);
        talk_hear(&b->talk, &a->msg);
        break;
    }
}

static void step(struct bench *b, struct client_event ev)
{
    ev.at = now(b);
    talk_starve(&b->talk);
    client_step(b->c, &ev, &b->out);
    talk_feed();
    for (uint32_t i = 0; i < b->out.n; i++)
        do_action(b, &b->out.at[i]);
    client_actions_reset(&b->out);
    assert(client_unconfirmed(b->c) <= b->cfg.unconfirmed_max);
    assert(client_answered(b->c) <= client_watched(b->c));
}

static void message(struct bench *b)
{
    struct client_event ev = {.type = CLIENT_MESSAGE};
    struct dtqi_msg msg;

    ev.peer = talk_choice(&b->talk, 8);
    if (ev.peer > 3)
        ev.peer = 0;
    if (!b->open[ev.peer] ||
        !talk_msg(&b->talk, ev.peer == 0 ? said_by_ventilators : said_by_sinks, &msg))
        return;
    ev.msg = &msg;
    step(b, ev);
    dtqi_msg_done(&msg);
}

static void submit(struct bench *b)
{
    dtq_id again = talk_id(&b->talk);
    struct client_task task = {
        .spec = b->specs[talk_choice(&b->talk, 4)],
        .payload = talk_bytes(&b->talk, talk_choice(&b->talk, 16)),
        .again = talk_choice(&b->talk, 8) == 7 ? &again : NULL,
        .delay_ms = talk_choice(&b->talk, 2) * 1000,
        .timeout_ms = talk_choice(&b->talk, 2) * 60000,
        .tell = talk_choice(&b->talk, 2) != 0 ? CLIENT_TELL_CALL : CLIENT_TELL_EVENT,
    };
    dtq_id id;

    talk_starve(&b->talk);
    b->taken_in += client_submit(b->c, &task, now(b), &id) == DTQ_OK;
    talk_feed();
}

static void read_result(const struct client_result *r)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < r->body.len; i++)
        sum += ((const uint8_t *)r->body.at)[i];
    for (uint32_t i = 0; i < r->worker.len; i++)
        sum += (uint8_t)r->worker.at[i];
    for (uint32_t i = 0; i < r->name.len + r->queue.len; i++)
        sum += (uint8_t)(i < r->name.len ? r->name.at[i] : r->queue.at[i - r->name.len]);
    assert(sum < UINT32_MAX); /* it was read: that is what counts */
}

static void take(struct bench *b)
{
    struct client_verdict v;
    struct client_result r;

    switch (talk_choice(&b->talk, 4)) {
    case 0: b->verdicts += client_take_verdict(b->c, &v); break;
    case 1: b->verdicts += client_take_event_verdict(b->c, &v); break;
    case 2:
        if (client_take_result(b->c, &r))
            read_result(&r);
        break;
    default:
        switch (client_take_event(b->c, &v, &r)) {
        case CLIENT_TOOK_NOTHING: break;
        case CLIENT_TOOK_VERDICT: b->verdicts++; break;
        case CLIENT_TOOK_RESULT: read_result(&r); break;
        }
    }
    assert(b->verdicts <= b->taken_in);
}

static void ask(struct bench *b)
{
    dtq_id ids[4];
    uint32_t n = 1 + talk_choice(&b->talk, 4);
    struct client_result r;

    for (uint32_t i = 0; i < n; i++)
        ids[i] = talk_id(&b->talk);
    switch (talk_choice(&b->talk, 4)) {
    case 0: client_ask_done(b->c); break;
    case 1:
        if (client_read_answer(b->c, ids, &r)) {
            read_result(&r);
            client_answer_taken(b->c, ids);
        }
        break;
    default:
        (void)!client_ask(b->c, ids, n, (enum client_interest)talk_choice(&b->talk, 3), now(b));
    }
}

static void question(struct bench *b)
{
    static const enum dtqi_msg_type types[] = {DTQI_QUERY, DTQI_CANCEL, DTQI_RESULTS_QUERY};
    uint32_t type = talk_choice(&b->talk, 3);

    if (b->asked) {
        (void)client_answer(b->c);
        client_question_done(b->c);
        b->asked = false;
        return;
    }
    b->question = (struct dtqi_msg){.type = types[type]};
    client_question(b->c, type == 2 ? 1 : CLIENT_VENTILATOR, &b->question);
    b->asked = true;
}

static void time_passes(struct bench *b)
{
    static const uint64_t spans[] = {1, 20, 200, 1000, 5000, 10000, 60000, 1800000};
    uint64_t ms = spans[talk_choice(&b->talk, 8)];

    b->now_ms += ms;
    b->talk.wall_ms += ms;
    step(b, (struct client_event){.type = CLIENT_TICK});
}

static void anything(struct bench *b)
{
    struct client_event ev = {.type = CLIENT_TICK};
    uint32_t choice = talk_choice(&b->talk, 64);

    if (choice < 24)
        message(b);
    else if (choice < 34)
        submit(b);
    else if (choice < 40)
        take(b);
    else if (choice < 45)
        ask(b);
    else if (choice < 48)
        question(b);
    else if (choice < 54)
        time_passes(b);
    else if (choice < 60)
        step(b, ev);
    else {
        ev.type = choice < 63 ? CLIENT_DOWN : CLIENT_BAD_FRAME;
        ev.peer = talk_choice(&b->talk, 4);
        if (b->open[ev.peer])
            step(b, ev);
    }
}

static void make_specs(struct bench *b)
{
    b->buf = dtqi_buf_new(1024, SIZE_MAX);
    assert(b->buf != NULL);
    for (uint32_t i = 0; i < 4; i++) {
        struct dtqi_spec spec = {.name = dtqi_str("t"), .queue = dtqi_str("q"), .retries = i};

        b->specs[i] = dtqi_spec_encode(&spec, b->buf);
        assert(b->specs[i].len != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct bench b = {.now_ms = 1000000};

    talk_init(&b.talk, at, bytes, WALL_MS);
    b.cfg = (struct client_cfg){
        .endpoint = dtqi_str("tcp://127.0.0.1:5570"),
        .name = dtqi_str("p"),
        .program = dtqi_str("fuzz"),
        .instance = b.talk.uids[3],
        .seed = talk_choice(&b.talk, 256),
        .reply_to = 1,
        .follow = (enum client_follow)talk_choice(&b.talk, 3),
        .unconfirmed_max = 16,
        .open_max = 32,
        .unconfirmed_bytes_max = 4096,
        .results_bytes_max = 16384,
    };
    make_specs(&b);
    if (client_new(&b.cfg, &b.c) != DTQ_OK)
        abort();
    for (uint32_t i = 0; i < STEPS_MAX && b.talk.left != 0; i++)
        anything(&b);
    client_free(b.c);
    client_actions_done(&b.out);
    dtqi_buf_unref(b.buf);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    return fuzz_noise(number, 4, at, bytes_max);
}
