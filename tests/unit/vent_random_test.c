/*
 * The ventilator's core against peers, a journal and a clock that do anything at all: what they
 * send is well formed, and often not true. After every step the core's own invariants hold. Then
 * peace comes: an honest worker and the sink settle everything, and what was confirmed has an
 * outcome.
 */
#include "vent_world.h"

#define IDS 400u
#define WORKERS 4u
#define SEEDS 60u
#define STEPS 1500u

struct chaos {
    struct world *w;
    uint64_t random;
    bool confirmed[IDS + 1];
    bool settled[IDS + 1];
    uint32_t requests[IDS + 1]; /* the last SUBMIT that named the id */
    dtq_id log[IDS + 1];        /* the sink's stream */
    uint32_t kinds[IDS + 1];
    uint32_t log_n;
    uint32_t delivered;
    bool sink_up;
    bool broken_store; /* the journal went away: no more steps before a restart */
    struct world_worker workers[WORKERS];
    uint32_t tickets[64]; /* seen lately, of anybody */
    uint32_t tickets_n;
    struct {
        uint64_t request;
        uint32_t first;
        uint32_t n;
    } submits[4096];
    uint32_t submits_n;
};

static uint64_t rnd(struct chaos *c, uint64_t below)
{
    c->random += 0x9e3779b97f4a7c15ull;
    return dtqi_mix64(c->random) % below;
}

static uint32_t some_id(struct chaos *c)
{
    return 1 + (uint32_t)rnd(c, IDS);
}

/* ---------------------------------------------------------------- the sink */

static void deliver(struct chaos *c)
{
    if (!c->sink_up)
        return;
    while (c->delivered < c->log_n) {
        uint32_t n = 1 + (uint32_t)rnd(c, 8);

        if (n > c->log_n - c->delivered)
            n = c->log_n - c->delivered;
        world_settled(c->w, SINK_ROUTE, 0x51, c->delivered + 1, c->log_n, c->log + c->delivered,
                      c->kinds + c->delivered, NULL, n);
        c->delivered += n;
    }
}

/* Always answered, also when there is nothing to send. */
static void on_resume(struct chaos *c, const struct dtqi_resume *m)
{
    c->delivered = (uint32_t)m->after;
    if (c->sink_up && c->delivered == c->log_n)
        world_settled(c->w, SINK_ROUTE, 0x51, c->log_n + 1, c->log_n, NULL, NULL, NULL, 0);
}

static void sink_commits(struct chaos *c, const dtq_id *id, uint32_t kind)
{
    uint32_t number = world_number(id);

    if (number == 0 || number > IDS)
        return;
    if (c->settled[number]) { /* R27 */
        if (c->sink_up)
            world_settled(c->w, SINK_ROUTE, 0x51, 0, c->log_n, id, &kind, NULL, 1);
        return;
    }
    c->settled[number] = true;
    c->log[c->log_n] = *id;
    c->kinds[c->log_n++] = kind;
}

static void sink_says_hello(struct chaos *c)
{
    world_sink_hello(c->w, SINK_ROUTE, 0x51, 0x61);
    c->sink_up = true;
}

/* ---------------------------------------------------------------- what was sent */

static void on_welcome(struct chaos *c, const struct world_sent *s)
{
    if (s->to == SINK_ROUTE)
        c->w->sink_session = s->msg.welcome.session;
    for (uint32_t i = 0; i < WORKERS; i++)
        if (c->workers[i].route == s->to) {
            c->workers[i].session = s->msg.welcome.session;
            c->workers[i].epoch = s->msg.welcome.epoch;
            c->workers[i].report_seq = c->workers[i].lane_seq = 0;
        }
}

static void on_submitted(struct chaos *c, const struct dtqi_submitted *m)
{
    for (uint32_t i = 0; i < c->submits_n; i++) {
        if (c->submits[i].request != m->request)
            continue;
        for (uint32_t k = 0; k < c->submits[i].n; k++) {
            bool refused = false;

            for (uint32_t r = 0; r < m->refused_n; r++)
                refused |= m->refused_index[r] == k;
            if (!refused)
                c->confirmed[c->submits[i].first + k] = true;
        }
    }
}

static void answer_claim(struct chaos *c, const struct dtqi_claim *m)
{
    struct dtqi_msg msg = {.type = DTQI_CLAIM_REPLY};
    uint32_t kinds[64] = {0};

    assert_true(m->n <= 64);
    for (uint32_t i = 0; i < m->n; i++)
        kinds[i] = c->settled[world_number(&m->ids[i])] ? DTQ_SUCCEEDED : DTQ_NOT_FOUND;
    msg.claim_reply = (struct dtqi_claim_reply){m->request, m->n, kinds};
    if (rnd(c, 4) != 0 && c->sink_up)
        world_msg(c->w, SINK_ROUTE, &msg);
}

static void read_sent(struct chaos *c, bool honest)
{
    struct world_sent *s;

    while ((s = c->w->sent) != NULL) {
        struct world_sent own = *s;

        c->w->sent = s->next;
        if (c->w->sent == NULL)
            c->w->sent_tail = &c->w->sent;
        free(s);
        if (own.kind == WORLD_LANE)
            for (uint32_t i = 0; i < own.msg.tasks.n; i++)
                c->tickets[c->tickets_n++ % 64] = own.msg.tasks.tickets[i];
        if (own.msg.type == DTQI_WELCOME)
            on_welcome(c, &own);
        else if (own.msg.type == DTQI_SUBMITTED)
            on_submitted(c, &own.msg.submitted);
        else if (own.msg.type == DTQI_CLAIM)
            answer_claim(c, &own.msg.claim);
        else if (own.msg.type == DTQI_RESUME)
            on_resume(c, &own.msg.resume);
        else if (own.kind == WORLD_SINK && (honest || rnd(c, 3) != 0))
            for (uint32_t i = 0; i < own.msg.outcomes.n; i++)
                sink_commits(c, &own.msg.outcomes.ids[i], own.msg.outcomes.kinds[i]);
        else if (own.kind == WORLD_LANE && honest)
            for (uint32_t i = 0; i < own.msg.tasks.n; i++)
                sink_commits(c, &own.msg.tasks.ids[i], DTQ_SUCCEEDED);
        dtqi_msg_done(&own.msg);
    }
}

/* ---------------------------------------------------------------- one random thing */

static void submit(struct chaos *c)
{
    uint32_t n = 1 + (uint32_t)rnd(c, 20);
    uint32_t first = 1 + (uint32_t)rnd(c, IDS - 20);
    static const char *const queues[] = {"a", "b", "c"};
    static const char *const groups[] = {NULL, "x", "x", "y"};
    struct world_task task = {
        .queue = queues[first / 140 % 3], /* the same id is always the same task */
        .priority = first / 14 % 10,
        .retries = 2,
        .backoff_min_ms = 10,
        .backoff_max_ms = 4000,
        .crash_limit = 2,
        .resend = rnd(c, 2) != 0,
    };

    first = 1 + (first - 1) / 20 * 20;
    task.queue = queues[first / 140 % 3];
    task.priority = first / 20 % 10;
    task.expires_ms = first / 20 % 7 == 0 ? 20000 : 0;
    task.not_before_wall_ms = first / 20 % 5 == 0 ? WORLD_WALL_MS + 15000 + first : 0;
    task.group = groups[first / 20 % 4];
    task.ordered = first / 20 % 4 > 1;
    c->submits[c->submits_n % 4096].request = world_submit(c->w, first, n < 20 ? n : 20, task);
    c->submits[c->submits_n % 4096].first = first;
    c->submits[c->submits_n++ % 4096].n = n < 20 ? n : 20;
}

static void cancel(struct chaos *c)
{
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    dtq_id ids[3] = {world_id(some_id(c)), world_id(some_id(c)), world_id(some_id(c))};

    msg.cancel = (struct dtqi_cancel){.request = 1, .ids = ids, .n = 3};
    if (rnd(c, 20) == 0)
        msg.cancel = (struct dtqi_cancel){.request = 1, .queue = dtqi_str("b")};
    world_msg(c->w, PRODUCER, &msg);
}

static void order(struct chaos *c, uint32_t operation, const char *queue, uint32_t number)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    msg.operate = (struct dtqi_operate){.request = 1,
                                        .operation = operation,
                                        .target = dtqi_str(queue),
                                        .destination = dtqi_str(number == 0 ? "a" : "c"),
                                        .number = number,
                                        .period_ms = 100};
    world_msg(c->w, PRODUCER, &msg);
}

static void operate(struct chaos *c)
{
    static const char *const queues[] = {"a", "b", "c", "d"};
    static const uint32_t operations[] = {
        DTQI_QUEUE_PAUSE,       DTQI_QUEUE_RESUME,     DTQI_QUEUE_RESUME, DTQI_QUEUE_LIMIT,
        DTQI_QUEUE_RATE,        DTQI_QUEUE_PURGE,      DTQI_QUEUE_MOVE,   DTQI_QUEUE_MOVE,
        DTQI_QUEUE_GROUP_LIMIT, DTQI_QUEUE_GROUP_RATE, DTQI_QUEUE_AGEING, 99};

    order(c, operations[rnd(c, 12)], queues[rnd(c, 4)], (uint32_t)rnd(c, 4));
}

static void query(struct chaos *c)
{
    static const enum dtqi_query_kind kinds[] = {
        DTQI_QUERY_STATUS,  DTQI_QUERY_TASKS, DTQI_QUERY_TASK,    DTQI_QUERY_QUEUES,
        DTQI_QUERY_WORKERS, DTQI_QUERY_DEAD,  DTQI_QUERY_ATTEMPTS};
    struct dtqi_msg msg = {.type = DTQI_QUERY};

    msg.query = (struct dtqi_query){
        .request = 1, .kind = kinds[rnd(c, 7)], .prefix = world_id(some_id(c)), .prefix_bits = 128};
    if (msg.query.kind == DTQI_QUERY_TASKS)
        msg.query.prefix_bits = 0;
    world_msg(c->w, PRODUCER, &msg);
}

static struct world_worker *some_worker(struct chaos *c)
{
    return &c->workers[rnd(c, WORKERS)];
}

static void worker_hello(struct chaos *c)
{
    struct world_worker *x = some_worker(c);
    static const char *const queues[] = {"a", "b", NULL};

    if (rnd(c, 3) == 0)
        x->route += WORKERS;
    world_worker_hello(c->w, x, queues[rnd(c, 3)], rnd(c, 2) != 0 ? 5 : 0);
}

static void report(struct chaos *c)
{
    struct world_worker *x = some_worker(c);
    uint32_t tickets[3];
    dtq_id ids[6];
    struct dtqi_failure f = {.id = world_id(some_id(c)),
                             .epoch = x->epoch,
                             .attempt = 1 + (uint32_t)rnd(c, 3),
                             .reason = (dtq_reason)(1 + rnd(c, 9)),
                             .text = dtqi_str("no")};
    struct dtqi_report r = {.done_tickets = tickets, .failures = &f};

    for (uint32_t i = 0; i < 3; i++)
        tickets[i] = rnd(c, 8) == 0 ? (uint32_t)rnd(c, UINT32_MAX) : c->tickets[rnd(c, 64)];
    for (uint32_t i = 0; i < 6; i++)
        ids[i] = world_id(some_id(c));
    r.done_n = (uint32_t)rnd(c, 4);
    r.failures_n = (uint32_t)rnd(c, 2);
    r.returned_ids = ids;
    r.returned_n = (uint32_t)rnd(c, 3);
    r.stopped_ids = ids + 2;
    r.stopped_n = (uint32_t)rnd(c, 3);
    r.started_ids = ids + 4;
    r.started_n = (uint32_t)rnd(c, 3);
    x->credit_tasks += rnd(c, 12);
    x->credit_bytes += rnd(c, 400);
    if (rnd(c, 30) == 0)
        x->report_seq++;
    if (x->session != 0)
        world_report(c->w, x, &r);
}

static void heartbeat(struct chaos *c)
{
    struct world_worker *x = some_worker(c);
    dtq_id running[2] = {world_id(some_id(c)), world_id(some_id(c))};

    x->running = running;
    x->running_n = (uint32_t)rnd(c, 3);
    x->held = (uint32_t)rnd(c, 3);
    x->unreachable = rnd(c, 10) == 0 ? 0x51 : 0;
    x->lane_seq += (uint32_t)rnd(c, 2);
    if (x->session != 0)
        world_beat(c->w, x);
    x->running_n = 0;
}

static void holdings(struct chaos *c)
{
    struct world_worker *x = some_worker(c);
    struct world_holding list[16];
    uint32_t n = (uint32_t)rnd(c, 16);

    for (uint32_t i = 0; i < n; i++)
        list[i] = (struct world_holding){some_id(c), x->epoch - rnd(c, 2) * (1ull << 32),
                                         1 + (uint32_t)rnd(c, 3), (enum dtqi_holding)rnd(c, 4)};
    if (x->session != 0)
        world_holdings(c->w, x, list, n, rnd(c, 3) != 0);
}

static void bye(struct chaos *c)
{
    struct dtqi_msg msg = {.type = DTQI_BYE};

    msg.bye.session = some_worker(c)->session;
    world_msg(c->w, some_worker(c)->route, &msg);
}

static void outside_event(struct chaos *c)
{
    struct vent_event ev = {.type = VENT_EV_ROUTE_GONE};

    switch (rnd(c, 6)) {
    case 0: ev.route = some_worker(c)->route; break;
    case 1:
        ev.type = VENT_EV_LANE_BROKEN;
        ev.lane.session = some_worker(c)->session;
        break;
    case 2: ev.type = VENT_EV_SINK_BLOCKED; break;
    case 3: ev.type = VENT_EV_SINK_CONNECTED; break;
    case 4:
        ev.type = VENT_EV_LANE_FAILED;
        ev.lane.session = some_worker(c)->session;
        break;
    default: ev.route = SINK_ROUTE; c->sink_up = false;
    }
    world_event(c->w, &ev);
}

static void sink_thing(struct chaos *c)
{
    dtq_id id = world_id(some_id(c));
    uint32_t kind = DTQ_SUCCEEDED + (uint32_t)rnd(c, 4);

    switch (rnd(c, 5)) {
    case 0:
        if (c->confirmed[world_number(&id)])
            sink_commits(c, &id, kind);
        deliver(c);
        break;
    case 1: sink_says_hello(c); break;
    case 2:
        if (c->sink_up)
            world_sink_beat(c->w, rnd(c, 10) == 0);
        break;
    case 3: /* part of the stream is lost */
        if (c->delivered < c->log_n)
            c->delivered++;
        deliver(c);
        break;
    default: deliver(c);
    }
}

static void journal_thing(struct chaos *c)
{
    switch (rnd(c, 4)) {
    case 0: c->w->journal_stuck = !c->w->journal_stuck; break;
    case 1: c->w->journal_err = rnd(c, 3) == 0 ? DTQ_ENOSPC : DTQ_OK; break;
    default: world_journal(c->w);
    }
}

static void restart(struct chaos *c)
{
    world_restart(c->w);
    c->sink_up = false;
    for (uint32_t i = 0; i < WORKERS; i++)
        c->workers[i].session = 0;
}

static void anything(struct chaos *c)
{
    switch (rnd(c, 26)) {
    case 0:
    case 1:
    case 2: submit(c); break;
    case 3: cancel(c); break;
    case 4: query(c); break;
    case 5: worker_hello(c); break;
    case 6:
    case 7:
    case 8:
    case 9: report(c); break;
    case 10:
    case 11: heartbeat(c); break;
    case 12: holdings(c); break;
    case 13: outside_event(c); break;
    case 14:
    case 15:
    case 16: sink_thing(c); break;
    case 17: journal_thing(c); break;
    case 18: c->w->now_ms += rnd(c, 2000); break;
    case 20: operate(c); break;
    case 19:
        if (rnd(c, 40) == 0)
            restart(c);
        else if (rnd(c, 20) == 0)
            bye(c);
        else
            world_producer(c->w, PRODUCER);
        break;
    default: c->w->now_ms += rnd(c, 5); world_tick(c->w);
    }
    read_sent(c, false);
}

/* ---------------------------------------------------------------- peace */

static void let_go(struct chaos *c)
{
    static const char *const queues[] = {"a", "b", "c"};

    for (uint32_t i = 0; i < 3; i++) {
        order(c, DTQI_QUEUE_RESUME, queues[i], 0);
        order(c, DTQI_QUEUE_LIMIT, queues[i], 0);
        order(c, DTQI_QUEUE_RATE, queues[i], 0);
        order(c, DTQI_QUEUE_GROUP_LIMIT, queues[i], 0);
        order(c, DTQI_QUEUE_GROUP_RATE, queues[i], 0);
    }
}

/* Groups in order take their time: a task after the other. */
static bool is_at_rest(struct chaos *c)
{
    struct vent_census census;

    vent_census(c->w->v, &census);
    return census.tasks == 0 && !census.journal_busy;
}

static void make_peace(struct chaos *c)
{
    struct world *w = c->w;
    struct world_worker x = {.route = 77, .instance = 0xee, .slots = 4};

    w->journal_stuck = false;
    w->journal_err = DTQ_OK;
    world_journal(w);
    sink_says_hello(c);
    world_producer(w, PRODUCER);
    let_go(c);
    read_sent(c, true);
    for (int i = 0; i < 400 || (i < 2000 && !is_at_rest(c)); i++) {
        if (i % 5 == 0)
            world_sink_beat(w, false);
        read_sent(c, true);
        deliver(c);
        world_pass(w, 200);
        read_sent(c, true);
        if (i == 30) { /* the others are dead by now */
            world_worker_hello(w, &x, NULL, 0);
            read_sent(c, true);
        }
        if (i > 30) {
            struct dtqi_msg msg = {.type = DTQI_REPORT};

            msg.report.session = x.session;
            msg.report.report_seq = ++x.report_seq;
            msg.report.credit_tasks = 100000;
            msg.report.credit_bytes = 1ull << 40;
            world_msg(w, x.route, &msg);
        }
    }
}

static void check_promises(struct chaos *c)
{
    struct vent_census census;

    for (uint32_t i = 1; i <= IDS; i++)
        if (c->confirmed[i] && !c->settled[i])
            fail_msg("task %u was confirmed and has no outcome", i);
    vent_census(c->w->v, &census);
    if (census.tasks != 0 || census.journal_busy || census.submits != 0)
        fail_msg("%u tasks are left: %u ready, %u scheduled, %u leased, %u done, %u proposed, %u "
                 "held; %u submits",
                 census.tasks, census.ready, census.scheduled, census.leased, census.done,
                 census.proposed, census.held, census.submits);
}

static void print_counters(struct chaos *c)
{
#define PRINT_COUNTER(name) \
    print_message(" " #name " %llu", (unsigned long long)vent_counters(c->w->v)->name);
    VENT_COUNTERS(PRINT_COUNTER)
#undef PRINT_COUNTER
    print_message("\n");
}

static void nothing_confirmed_is_lost_whatever_peers_do(void **state)
{
    const char *from = getenv("VENT_RANDOM_FROM"); /* other seeds, by hand */
    const char *to = getenv("VENT_RANDOM_TO");
    uint64_t last = to != NULL ? strtoull(to, NULL, 10) : SEEDS;
    static struct chaos c;

    (void)state;
    for (uint64_t seed = from != NULL ? strtoull(from, NULL, 10) : 1; seed <= last; seed++) {
        struct vent_cfg cfg;

        vent_cfg_default(&cfg);
        cfg.resident_tasks_max = seed % 3 == 0 ? 4096 : 512;
        cfg.load_tasks = 16;
        cfg.journal_ops_max = 64;
        cfg.proposals_max = 32;
        c = (struct chaos){.random = seed};
        c.w = world_new(&cfg);
        for (uint32_t i = 0; i < WORKERS; i++)
            c.workers[i] = (struct world_worker){
                .route = WORKER_ROUTE + i, .instance = (uint8_t)(0x80 + i), .slots = 1 + i};
        world_producer(c.w, PRODUCER);
        sink_says_hello(&c);
        read_sent(&c, false);
        for (uint32_t i = 0; i < STEPS; i++)
            anything(&c);
        make_peace(&c);
        check_promises(&c);
        if (from != NULL)
            print_counters(&c);
        world_free(c.w);
        if (from != NULL)
            print_message("seed %llu\n", (unsigned long long)seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_confirmed_is_lost_whatever_peers_do),
    };

    return cmocka_run_group_tests_name("vent_random", tests, NULL, NULL);
}
