/*
 * The ventilator's core against peers of every role on a few connections, that say anything at any
 * time, while lanes break, the journal is slow, full or lost, clocks jump and the process is
 * restarted. Its invariants hold after every step, its memory stays within the limits it was given,
 * and everything it says can be encoded.
 */
#include "fuzz.h"

#include "bounds.h"
#include "talk.h"
#include "touch.h"
#include "vent_core.h"

#define WALL_MS 1700000000000ull
#define STEPS_MAX 400u
#define JOBS_MAX 64u
#define ROUTES 8u
#define LANES_MAX 16u

static const enum dtqi_msg_type said_to_ventilators[] = {
    DTQI_HELLO,    DTQI_HELLO,          DTQI_BYE,
    DTQI_SUBMIT,   DTQI_SUBMIT,         DTQI_CANCEL,
    DTQI_QUERY,    DTQI_REPORT,         DTQI_WORKER_HEARTBEAT,
    DTQI_REPORT,   DTQI_REPORT,         DTQI_SETTLED,
    DTQI_HOLDINGS, DTQI_SINK_HEARTBEAT, DTQI_SETTLED,
    DTQI_OPERATE,  DTQI_CLAIM_REPLY,    DTQI_UNKNOWN_SESSION,
    DTQI_REFUSED,  DTQI_RESUME,         0};

struct bench {
    struct talk talk;
    struct vent_cfg cfg;
    struct vent *v;
    struct vent_actions out;
    struct store *store;
    struct journal *journal;
    uint64_t now_ms;
    int64_t wall_offset_ms;
    struct {
        struct journal_batch *batch;
        struct journal_read *read;
    } jobs[JOBS_MAX];
    uint32_t jobs_n;
    uint64_t lanes[LANES_MAX]; /* asked for, or open */
    uint32_t lanes_n;
    bool over;
};

static void check_bounds(const struct bench *b)
{
    struct vent_census c;

    vent_check(b->v);
    vent_census(b->v, &c);
    assert(c.tasks <= b->cfg.resident_tasks_max);
    assert(c.workers <= b->cfg.workers_max);
    assert(c.submits <= b->cfg.submits_max);
}

static void touch_log(const struct vent_log *log)
{
    for (uint32_t i = 0; i < log->pairs_n; i++)
        touch_str(log->pairs[i].value);
}

static void do_action(struct bench *b, const struct vent_action *a)
{
    switch (a->type) {
    case VENT_SEND:
    case VENT_LANE_SEND:
    case VENT_SINK_SEND: talk_hear(&b->talk, &a->msg); break;
    case VENT_LANE_OPEN: b->lanes[b->lanes_n++ % LANES_MAX] = a->session; break;
    case VENT_JOURNAL_WRITE:
        assert(b->jobs_n < JOBS_MAX);
        b->jobs[b->jobs_n].read = NULL;
        b->jobs[b->jobs_n++].batch = a->batch;
        break;
    case VENT_JOURNAL_READ:
        assert(b->jobs_n < JOBS_MAX);
        b->jobs[b->jobs_n].batch = NULL;
        b->jobs[b->jobs_n++].read = a->read;
        break;
    case VENT_FATAL:
        touch_str(a->text);
        b->over = true;
        break;
    case VENT_STOPPED: b->over = true; break;
    case VENT_SINK_CONNECT: touch_str(a->endpoint); break;
    case VENT_LOG: touch_log(&a->log); break;
    case VENT_LANE_CLOSE:
    case VENT_SINK_DISCONNECT: break;
    }
}

static void step(struct bench *b, struct vent_event ev)
{
    if (b->over)
        return;
    ev.now_ms = b->now_ms;
    ev.wall_ms = b->talk.wall_ms;
    ev.host_wall_ms = WALL_MS + (uint64_t)((int64_t)b->now_ms + b->wall_offset_ms);
    talk_starve(&b->talk);
    vent_step(b->v, &ev, &b->out);
    talk_feed();
    for (uint32_t i = 0; i < b->out.n; i++)
        do_action(b, &b->out.at[i]);
    vent_actions_reset(&b->out);
    check_bounds(b);
}

static void tick(struct bench *b)
{
    step(b, (struct vent_event){.type = VENT_EV_TICK});
}

static void start(struct bench *b)
{
    struct journal_start start;
    char why[200];

    if (journal_open(b->store, talk_choice(&b->talk, 256), &b->journal, &start, why, sizeof why) !=
        DTQ_OK)
        abort();
    if (vent_new(&b->cfg, &start, b->now_ms, b->talk.wall_ms, &b->v) != DTQ_OK)
        abort();
    journal_start_done(&start);
    tick(b);
}

/* As with kill -9. */
static void stop(struct bench *b)
{
    b->jobs_n = 0;
    vent_free(b->v);
    journal_close(b->journal);
}

static void journal_job(struct bench *b, dtq_err err)
{
    struct vent_event ev = {.type = VENT_EV_JOURNAL_READ_DONE};

    if (b->jobs_n == 0)
        return;
    if (b->jobs[0].batch != NULL) {
        ev = (struct vent_event){.type = VENT_EV_JOURNAL_WRITTEN, .batch = b->jobs[0].batch};
        ev.batch->err = err;
        if (err == DTQ_OK)
            journal_apply(b->journal, ev.batch);
    } else {
        ev.read = b->jobs[0].read;
        ev.read->err = err == DTQ_ENOMEM ? err : DTQ_OK;
        if (ev.read->err == DTQ_OK)
            journal_read(b->journal, ev.read);
    }
    memmove(b->jobs, b->jobs + 1, --b->jobs_n * sizeof *b->jobs);
    step(b, ev);
}

static void message(struct bench *b)
{
    struct vent_event ev = {.type = VENT_EV_MSG};
    struct dtqi_msg msg;

    ev.msg.route = 1 + talk_choice(&b->talk, ROUTES);
    ev.msg.msg = &msg;
    if (!talk_msg(&b->talk, said_to_ventilators, &msg))
        return;
    step(b, ev);
    dtqi_msg_done(&msg);
}

static void lane_event(struct bench *b)
{
    static const enum vent_event_type types[] = {VENT_EV_LANE_OPENED, VENT_EV_LANE_OPENED,
                                                 VENT_EV_LANE_FAILED, VENT_EV_LANE_BROKEN};
    struct vent_event ev = {.type = types[talk_choice(&b->talk, 4)]};

    if (b->lanes_n == 0)
        return;
    ev.lane.session = b->lanes[(b->lanes_n - 1 - talk_choice(&b->talk, 4)) % LANES_MAX];
    ev.lane.endpoint = dtqi_str("tcp://127.0.0.1:20001");
    step(b, ev);
}

static void journal_event(struct bench *b)
{
    static const dtq_err errors[] = {DTQ_ENOSPC, DTQ_ENOMEM, DTQ_ENOSPC, DTQ_EIO};
    uint32_t choice = talk_choice(&b->talk, 32);

    journal_job(b, choice < 28 ? DTQ_OK : errors[choice - 28]);
}

static void time_passes(struct bench *b)
{
    static const uint64_t spans[] = {1, 20, 200, 1000, 1000, 4000, 60000, 3600000};
    uint64_t ms = spans[talk_choice(&b->talk, 8)];

    b->now_ms += ms;
    if (talk_choice(&b->talk, 16) == 15)
        b->wall_offset_ms += ((int64_t)talk_choice(&b->talk, 256) - 128) * 60000;
    b->talk.wall_ms = WALL_MS + b->now_ms;
    tick(b);
}

static void anything(struct bench *b)
{
    struct vent_event ev = {.type = VENT_EV_ROUTE_GONE};
    uint32_t choice = talk_choice(&b->talk, 64);

    if (choice < 36)
        message(b);
    else if (choice < 44)
        journal_event(b);
    else if (choice < 49)
        time_passes(b);
    else if (choice < 54)
        tick(b);
    else if (choice < 58)
        lane_event(b);
    else if (choice == 58) {
        ev.route = 1 + talk_choice(&b->talk, ROUTES);
        step(b, ev);
    } else if (choice < 62) {
        ev.type = choice == 59 ? VENT_EV_SINK_BLOCKED : VENT_EV_SINK_CONNECTED;
        ev.sink = talk_choice(&b->talk, DTQI_SINKS_MAX);
        step(b, ev);
    } else if (choice == 62) {
        stop(b);
        start(b);
    } else if (talk_choice(&b->talk, 16) == 15) {
        ev.type = VENT_EV_STOP;
        step(b, ev);
    }
}

/* Small limits, so that they are reached. */
static struct vent_cfg small_cfg(struct talk *t)
{
    struct vent_cfg cfg;

    vent_cfg_default(&cfg);
    cfg.spec_decode = dtqi_spec_decode;
    cfg.spec_encode = dtqi_spec_encode;
    cfg.seed = talk_choice(t, 256);
    cfg.resident_tasks_max = 256u << talk_choice(t, 2);
    cfg.load_tasks = 16;
    cfg.journal_ops_max = 64;
    cfg.settle_window = 64;
    cfg.queues_max = 4;
    cfg.groups_max = 6;
    cfg.producers_max = 3;
    cfg.workers_max = 3;
    cfg.proposals_max = 8;
    cfg.submits_max = 8;
    cfg.claims_max = 4;
    cfg.queries_max = 3;
    cfg.crons_max = 3;
    cfg.cron_bytes_max = 256;
    return cfg;
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t bytes)
{
    static const struct store_cfg store_cfg = {.dir = "memory",
                                               .kind = JOURNAL_KIND,
                                               .tables = journal_tables,
                                               .tables_n = JOURNAL_TABLES_N,
                                               .map_bytes_max = 1ull << 32};
    struct bench b = {.now_ms = 1000000};
    dtqi_uid uid = {{0x11}};

    talk_init(&b.talk, at, bytes, WALL_MS + b.now_ms);
    b.cfg = small_cfg(&b.talk);
    if (store_open_memory(&store_cfg, &uid, &b.store) != DTQ_OK)
        abort();
    start(&b);
    for (uint32_t i = 0; i < STEPS_MAX && b.talk.left != 0 && !b.over; i++)
        anything(&b);
    stop(&b);
    vent_actions_done(&b.out);
    store_close(b.store);
    return 0;
}

size_t fuzz_seed(unsigned number, uint8_t *at, size_t bytes_max)
{
    return fuzz_noise(number, 4, at, bytes_max);
}
