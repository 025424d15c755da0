/*
 * The worker's core against a ventilator that says anything, on the control socket and the lane,
 * and slots that do: they report handles that they never had, ends of tasks that have not begun,
 * and die. What waits, runs and is kept stays within the memory that it was given, and everything
 * it says can be encoded.
 */
#include "fuzz.h"

#include "talk.h"
#include "touch.h"
#include "worker_core.h"

#define WALL_MS 1700000000000ull
#define STEPS_MAX 500u
#define SLOTS_MAX 3u
#define HANDLES 64u

static const enum dtqi_msg_type said_to_workers[] = {
    DTQI_WELCOME,         DTQI_VENTILATOR_HEARTBEAT,
    DTQI_FORGET,          DTQI_RECALL,
    DTQI_RESEND,          DTQI_STOP_ATTEMPTS,
    DTQI_HOLDINGS_WANTED, DTQI_VERDICTS,
    DTQI_SINKS,           DTQI_WELCOME,
    DTQI_UNKNOWN_SESSION, DTQI_REFUSED,
    DTQI_FORGET,          0};
static const enum dtqi_msg_type said_on_lanes[] = {DTQI_TASKS, 0};

struct bench {
    struct talk talk;
    struct worker_cfg cfg;
    struct worker *w;
    struct worker_actions out;
    uint64_t now_ms;
    bool up[SLOTS_MAX];
    bool sinks[DTQI_SINKS_MAX]; /* asked for */
    uint32_t handles[HANDLES];  /* fed lately, to any slot */
    uint32_t handles_n;
    uint64_t sends;
    uint32_t lane;
    bool over;
};

static void feed(struct bench *b, const struct worker_feed *t)
{
    b->handles[b->handles_n++ % HANDLES] = t->handle;
    touch_str(t->name);
    touch_str(t->queue);
    touch_bytes(t->body.at, t->body.len);
}

static void do_action(struct bench *b, const struct worker_action *a)
{
    switch (a->type) {
    case WORKER_ACT_CONTROL_SEND: talk_hear(&b->talk, &a->msg); break;
    case WORKER_ACT_SINK_SEND:
        assert(b->sinks[a->send.index]);
        b->sends = a->send.number;
        talk_hear(&b->talk, &a->send.msg);
        break;
    case WORKER_ACT_LANE_OPEN:
        touch_str(a->lane.endpoint);
        b->lane = a->lane.number;
        break;
    case WORKER_ACT_SINK_OPEN:
        touch_str(a->sink.endpoint);
        b->sinks[a->sink.index] = true;
        break;
    case WORKER_ACT_SINK_CLOSE: b->sinks[a->sink.index] = false; break;
    case WORKER_ACT_SLOT_START:
        assert(!b->up[a->slot.index]);
        b->up[a->slot.index] = true;
        break;
    case WORKER_ACT_SLOT_FEED:
        assert(b->up[a->feed.index]);
        for (uint32_t i = 0; i < a->feed.n; i++)
            feed(b, &a->feed.tasks[i]);
        break;
    case WORKER_ACT_SLOT_TAKE_BACK:
    case WORKER_ACT_SLOT_RETIRE:
    case WORKER_ACT_SLOT_KILL: assert(b->up[a->slot.index]); break;
    case WORKER_ACT_EXIT:
        touch_str(a->exit.text);
        b->over = true;
        break;
    case WORKER_ACT_LOG: touch_str(a->log.text); break;
    case WORKER_ACT_CONTROL_RECONNECT:
    case WORKER_ACT_LANE_CLOSE: break;
    }
}

static void check_bounds(const struct bench *b)
{
    struct worker_view v;

    worker_view(b->w, &v);
    assert(v.kept_bytes <= b->cfg.memory_bytes_max);
    assert(v.in_slots <= b->cfg.slots * WORKER_RING_TASKS_MAX);
    /* As much as two sessions may give, and what one message can be over that. */
    assert(v.waiting <= 2 * b->cfg.window_max + 2 * DTQI_BATCH_ENTRIES_MAX);
}

static void step(struct bench *b, struct worker_event ev)
{
    if (b->over)
        return;
    ev.now_ms = b->now_ms;
    ev.wall_ms = b->talk.wall_ms;
    talk_starve(&b->talk);
    worker_step(b->w, &ev, &b->out);
    talk_feed();
    for (uint32_t i = 0; i < b->out.n; i++)
        do_action(b, &b->out.at[i]);
    worker_actions_reset(&b->out);
    check_bounds(b);
}

static void tick(struct bench *b)
{
    step(b, (struct worker_event){.type = WORKER_EV_TICK});
}

static void message(struct bench *b, enum worker_event_type type, const enum dtqi_msg_type *types)
{
    struct worker_event ev = {.type = type};
    struct dtqi_msg msg;

    if (!talk_msg(&b->talk, types, &msg))
        return;
    ev.msg = &msg;
    step(b, ev);
    dtqi_msg_done(&msg);
}

static uint32_t pick_handle(struct bench *b)
{
    uint32_t choice = talk_choice(&b->talk, 64);
    uint32_t n = b->handles_n < HANDLES ? b->handles_n : HANDLES;

    if (choice == 63 || n == 0)
        return talk_choice(&b->talk, UINT32_MAX);
    return b->handles[(b->handles_n - 1 - choice % n) % HANDLES];
}

static void results_of_slot(struct bench *b, uint32_t slot)
{
    struct worker_result results[4];
    struct worker_event ev = {.type = WORKER_EV_SLOT_ENDED,
                              .ended = {.index = slot, .results = results}};
    uint64_t room = worker_result_room_bytes(b->w);

    if (room == 0) /* the shell reads none then */
        return;
    ev.ended.buf = dtqi_buf_new(1024, SIZE_MAX);
    assert(ev.ended.buf != NULL);
    ev.ended.n = 1 + talk_choice(&b->talk, 4);
    for (uint32_t i = 0; i < ev.ended.n; i++) {
        uint32_t len = talk_choice(&b->talk, 256) << talk_choice(&b->talk, 13);
        char *body;

        if (len > b->cfg.result_bytes_max)
            len = (uint32_t)b->cfg.result_bytes_max;
        if (len > room / ev.ended.n)
            len = 0;
        body = dtqi_buf_alloc(ev.ended.buf, len + 1);
        assert(body != NULL);
        memset(body, 0xc3, len); /* no UTF-8 */
        results[i] = (struct worker_result){
            .handle = pick_handle(b),
            .reason = (dtq_reason)(talk_choice(&b->talk, 2) * talk_choice(&b->talk, 11)),
            .code = (int32_t)talk_choice(&b->talk, 256),
            .no_retry = talk_choice(&b->talk, 8) == 7,
            .body = {body, len},
            .retry_after_ms = (uint64_t)talk_choice(&b->talk, 256) << talk_choice(&b->talk, 56),
            .started_wall_ms = (uint64_t)talk_choice(&b->talk, 256) << talk_choice(&b->talk, 56),
            .duration_us = (uint64_t)talk_choice(&b->talk, 256) << talk_choice(&b->talk, 56),
        };
    }
    step(b, ev);
    dtqi_buf_unref(ev.ended.buf);
}

static void slot_event(struct bench *b)
{
    static const enum worker_event_type types[] = {
        WORKER_EV_SLOT_READY,    WORKER_EV_SLOT_READY, WORKER_EV_SLOT_STARTED,
        WORKER_EV_SLOT_RETURNED, WORKER_EV_SLOT_FULL,  WORKER_EV_SLOT_EXITED,
        WORKER_EV_SLOT_BROKEN,   WORKER_EV_SLOT_ENDED, WORKER_EV_SLOT_ENDED};
    struct worker_event ev = {.type = types[talk_choice(&b->talk, 9)]};
    uint32_t handles[4];
    uint32_t slot = talk_choice(&b->talk, b->cfg.slots);

    if (!b->up[slot])
        return;
    if (ev.type == WORKER_EV_SLOT_ENDED) {
        results_of_slot(b, slot);
        return;
    }
    ev.slot.index = slot;
    ev.slot.handle = pick_handle(b);
    ev.slot.started_ms = b->now_ms - talk_choice(&b->talk, 256);
    ev.slot.handles = handles;
    ev.slot.handles_n = talk_choice(&b->talk, 5);
    for (uint32_t i = 0; i < ev.slot.handles_n; i++)
        handles[i] = pick_handle(b);
    ev.slot.by_signal = talk_choice(&b->talk, 2) != 0;
    ev.slot.status = (int32_t)talk_choice(&b->talk, 256);
    ev.slot.text = dtqi_str("it cannot");
    if (ev.type == WORKER_EV_SLOT_EXITED)
        b->up[slot] = false;
    step(b, ev);
}

static void sink_event(struct bench *b)
{
    struct worker_event ev = {
        .type = (enum worker_event_type)(WORKER_EV_SINK_CONNECTED + talk_choice(&b->talk, 4))};

    ev.sink.index = talk_choice(&b->talk, DTQI_SINKS_MAX);
    ev.sink.number = b->sends - talk_choice(&b->talk, 4);
    if (b->sinks[ev.sink.index])
        step(b, ev);
}

static void time_passes(struct bench *b)
{
    static const uint64_t spans[] = {1, 20, 200, 1000, 1000, 4000, 60000, 3600000};
    uint64_t ms = spans[talk_choice(&b->talk, 8)];

    b->now_ms += ms;
    b->talk.wall_ms += ms;
    tick(b);
}

static void anything(struct bench *b)
{
    struct worker_event ev = {.type = WORKER_EV_STOP};
    uint32_t choice = talk_choice(&b->talk, 64);

    if (choice < 18)
        message(b, WORKER_EV_CONTROL_MSG, said_to_workers);
    else if (choice < 26)
        message(b, WORKER_EV_LANE_MSG, said_on_lanes);
    else if (choice < 46)
        slot_event(b);
    else if (choice < 51)
        sink_event(b);
    else if (choice < 56)
        time_passes(b);
    else if (choice < 61)
        tick(b);
    else if (choice == 61) {
        ev.type = WORKER_EV_LANE_BROKEN;
        ev.lane = b->lane - talk_choice(&b->talk, 2);
        step(b, ev);
    } else if (choice == 62) {
        ev.type = WORKER_EV_CONTROL_CONNECTED;
        step(b, ev);
    } else if (talk_choice(&b->talk, 8) == 7) {
        ev.cold = talk_choice(&b->talk, 2) != 0;
        step(b, ev);
    }
}

static struct worker_cfg small_cfg(struct talk *t)
{
    struct worker_cfg cfg = {
        .instance = t->uids[2],
        .seed = talk_choice(t, 256),
        .name = dtqi_str("w"),
        .program = dtqi_str("dtq-worker 0"),
        .slots = 1 + talk_choice(t, SLOTS_MAX),
        .result_bytes_max = 1u << 20,
        .time_limit_ms = talk_choice(t, 2) * 5000,
        .tasks_per_child_max = talk_choice(t, 4),
        .idle_timeout_ms = talk_choice(t, 8) == 7 ? 2000 : 0,
        .burst = talk_choice(t, 8) == 7,
        .window_max = 64,
    };

    cfg.memory_bytes_max = worker_memory_min(cfg.slots, cfg.result_bytes_max);
    return cfg;
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct bench b = {.now_ms = 1000000};

    talk_init(&b.talk, at, bytes, WALL_MS);
    b.cfg = small_cfg(&b.talk);
    if (worker_new(&b.cfg, &b.w) != DTQ_OK)
        abort();
    tick(&b);
    for (uint32_t i = 0; i < STEPS_MAX && b.talk.left != 0 && !b.over; i++)
        anything(&b);
    worker_free(b.w);
    worker_actions_done(&b.out);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    return fuzz_noise(number, 4, at, bytes_max);
}
