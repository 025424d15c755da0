/*
 * The sink's core, with the real result store in memory: ventilators, workers and clients that say
 * anything on any of its sockets, clients that read nothing, commits that fail, and starts anew.
 * Its memory stays within the limits it was given, and everything it says can be encoded.
 */
#include "fuzz.h"

#include "sink_core.h"
#include "store.h"
#include "talk.h"
#include "touch.h"

#define WALL_MS 1700000000000ull
#define STEPS_MAX 400u
#define JOBS_MAX 64u
#define ROUTES 6u
#define INTAKE_BYTES_MAX (256u * 1024)

static const enum dtqi_msg_type said_on_control[] = {
    DTQI_WELCOME, DTQI_VENTILATOR_HEARTBEAT, DTQI_RESUME,          DTQI_SETTLED_ACK, DTQI_CLAIM,
    DTQI_RESUME,  DTQI_SETTLED_ACK,          DTQI_UNKNOWN_SESSION, DTQI_REFUSED,     0};
static const enum dtqi_msg_type said_to_the_intake[] = {DTQI_OUTCOMES, 0};
static const enum dtqi_msg_type said_by_clients[] = {DTQI_FOLLOW, DTQI_WAIT, DTQI_WAIT,
                                                     DTQI_RESULTS_QUERY, 0};

struct bench {
    struct talk talk;
    struct sink_cfg cfg;
    struct sink *sink;
    struct sink_actions out;
    struct store *store;
    struct results *results;
    uint64_t now_ms;
    struct {
        struct results_batch *batch;
        struct results_read *read;
    } jobs[JOBS_MAX];
    uint32_t jobs_n;
    bool paused;
    bool over;
};

static void check_bounds(const struct bench *b)
{
    struct sink_census c;

    sink_census(b->sink, &c);
    assert(c.waiters <= b->cfg.waiters_max);
    assert(c.routes <= b->cfg.routes_max);
    assert(c.reads <= b->cfg.reads_max + b->cfg.peers);
    assert(c.paused == b->paused);
    /* What had been read when it paused is still taken: one message. */
    assert(c.intake_bytes <= b->cfg.intake_bytes_max + DTQI_FRAME_BYTES_MAX);
}

static void add_job(struct bench *b, struct results_batch *batch, struct results_read *read)
{
    assert(b->jobs_n < JOBS_MAX);
    b->jobs[b->jobs_n].batch = batch;
    b->jobs[b->jobs_n++].read = read;
}

static void touch_log(const struct sink_log *log)
{
    for (uint32_t i = 0; i < log->pairs_n; i++)
        touch_str(log->pairs[i].text);
}

static void do_action(struct bench *b, const struct sink_action *a)
{
    switch (a->type) {
    case SINK_ACT_CONTROL_SEND:
    case SINK_ACT_RESULTS_SEND: talk_hear(&b->talk, &a->msg); break;
    case SINK_ACT_COMMIT: add_job(b, a->batch, NULL); break;
    case SINK_ACT_READ: add_job(b, NULL, a->read); break;
    case SINK_ACT_INTAKE_PAUSE: b->paused = true; break;
    case SINK_ACT_INTAKE_RESUME: b->paused = false; break;
    case SINK_ACT_EXIT:
        touch_str(a->text);
        b->over = true;
        break;
    case SINK_ACT_LOG: touch_log(&a->log); break;
    case SINK_ACT_CONTROL_RECONNECT: break;
    }
}

static void step(struct bench *b, struct sink_event ev)
{
    if (b->over)
        return;
    ev.now_ms = b->now_ms;
    ev.wall_ms = ev.host_wall_ms = b->talk.wall_ms;
    talk_starve(&b->talk);
    sink_step(b->sink, &ev, &b->out);
    talk_feed();
    for (uint32_t i = 0; i < b->out.n; i++)
        do_action(b, &b->out.items[i]);
    sink_actions_reset(&b->out);
    check_bounds(b);
}

static void start(struct bench *b)
{
    struct results_cfg cfg = {.ttl_ms = 60000, .outcome_memory_ms = DTQI_OUTCOME_MEMORY_MS};
    char why[200];

    b->cfg.run.bytes[0]++;
    if (results_open(b->store, &cfg, &b->cfg.run, &b->results, why, sizeof why) != DTQ_OK)
        abort();
    if (sink_new(&b->cfg, &b->sink) != DTQ_OK)
        abort();
    b->paused = false;
    step(b, (struct sink_event){.type = SINK_EV_TICK});
}

/* As with kill -9. */
static void stop(struct bench *b)
{
    b->jobs_n = 0;
    sink_free(b->sink);
    results_close(b->results);
}

static void job(struct bench *b)
{
    static const dtq_err errors[] = {DTQ_ENOSPC, DTQ_ENOMEM, DTQ_ENOSPC, DTQ_EIO};
    struct sink_event ev = {.type = SINK_EV_READ_DONE};
    uint32_t choice = talk_choice(&b->talk, 32);

    if (b->jobs_n == 0)
        return;
    if (b->jobs[0].batch != NULL) {
        ev = (struct sink_event){.type = SINK_EV_COMMITTED, .batch = b->jobs[0].batch};
        if (choice < 28)
            results_apply(b->results, ev.batch);
        else
            ev.batch->err = errors[choice - 28];
    } else {
        ev.read = b->jobs[0].read;
        if (choice < 30)
            results_read(b->results, ev.read);
        else
            ev.read->err = DTQ_ENOMEM;
    }
    memmove(b->jobs, b->jobs + 1, --b->jobs_n * sizeof *b->jobs);
    step(b, ev);
}

static void message(struct bench *b, enum sink_event_type type, const enum dtqi_msg_type *types)
{
    struct sink_event ev = {.type = type};
    struct dtqi_msg msg;

    if (type == SINK_EV_RESULTS)
        ev.route = 1 + talk_choice(&b->talk, ROUTES);
    if (type == SINK_EV_CONTROL)
        ev.peer = talk_choice(&b->talk, b->cfg.peers);
    ev.msg = &msg;
    if (!talk_msg(&b->talk, types, &msg))
        return;
    step(b, ev);
    dtqi_msg_done(&msg);
}

static void time_passes(struct bench *b)
{
    static const uint64_t spans[] = {1, 20, 200, 1000, 1000, 4000, 120000, 3 * 3600000};
    uint64_t ms = spans[talk_choice(&b->talk, 8)];

    b->now_ms += ms;
    b->talk.wall_ms += ms;
    step(b, (struct sink_event){.type = SINK_EV_TICK});
}

static void anything(struct bench *b)
{
    struct sink_event ev = {.type = SINK_EV_TICK};
    uint32_t choice = talk_choice(&b->talk, 64);

    if (choice < 14)
        message(b, SINK_EV_CONTROL, said_on_control);
    else if (choice < 28 && !b->paused)
        message(b, SINK_EV_INTAKE, said_to_the_intake);
    else if (choice < 40)
        message(b, SINK_EV_RESULTS, said_by_clients);
    else if (choice < 50)
        job(b);
    else if (choice < 55)
        time_passes(b);
    else if (choice < 60) {
        ev.type = choice < 59 ? SINK_EV_TICK : SINK_EV_CONNECTED;
        step(b, ev);
    } else if (choice < 62) {
        ev.type = choice == 60 ? SINK_EV_ROUTE_GONE : SINK_EV_ROUTE_FULL;
        ev.route = 1 + talk_choice(&b->talk, ROUTES);
        step(b, ev);
    } else if (choice == 62) {
        stop(b);
        start(b);
    } else if (talk_choice(&b->talk, 16) == 15) {
        ev.type = SINK_EV_STOP;
        step(b, ev);
    }
}

/* Small limits, so that they are reached. */
static struct sink_cfg small_cfg(const struct talk *t)
{
    struct sink_cfg cfg;

    sink_cfg_init(&cfg);
    cfg.store = t->uids[0];
    cfg.instance = t->uids[1];
    cfg.intake = "tcp://127.0.0.1:1";
    cfg.results = "tcp://127.0.0.1:3";
    cfg.result_bytes_max = 150;
    cfg.batch_entries_max = 64;
    cfg.intake_bytes_max = INTAKE_BYTES_MAX;
    cfg.settle_window = 16;
    cfg.waiters_max = 32;
    cfg.routes_max = 3;
    cfg.follows_max = 4;
    cfg.reads_max = 4;
    return cfg;
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    struct bench b = {.now_ms = 1000000};
    struct store_cfg store_cfg = {.dir = "memory"};

    results_store_cfg(&store_cfg);
    store_cfg.map_bytes_max = 1ull << 32;
    talk_init(&b.talk, at, bytes, WALL_MS);
    b.cfg = small_cfg(&b.talk);
    if (store_open_memory(&store_cfg, &b.cfg.store, &b.store) != DTQ_OK)
        abort();
    start(&b);
    for (uint32_t i = 0; i < STEPS_MAX && b.talk.left != 0 && !b.over; i++)
        anything(&b);
    stop(&b);
    sink_actions_done(&b.out);
    store_close(b.store);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    return fuzz_noise(number, 4, at, bytes_max);
}
