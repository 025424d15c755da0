/* The ventilator's core: sessions of workers, their death, holdings and verdicts, restarts (R8 to
 * R14, R18 to R21, R33). */
#include "vent_world.h"

static int begin(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    *state = w;
    return 0;
}

static int end(void **state)
{
    world_free(*state);
    return 0;
}

static struct vent_census census_of(struct world *w)
{
    struct vent_census census;

    vent_census(w->v, &census);
    return census;
}

/* The verdict on task `number` in the oldest VERDICTS; takes the message when it is the last. */
static enum dtqi_verdict verdict_on(struct world *w, uint32_t number)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_VERDICTS);

    for (uint32_t i = 0; i < s->msg.verdicts.n; i++)
        if (world_number(&s->msg.verdicts.ids[i]) == number)
            return (enum dtqi_verdict)dtqi_col32(s->msg.verdicts.verdicts, i, DTQI_VERDICT_FORGET);
    fail_msg("no verdict on %u", number);
    return DTQI_VERDICT_FORGET;
}

static uint32_t ticket_of(struct world *w, uint32_t number)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_VERDICTS);

    for (uint32_t i = 0; i < s->msg.verdicts.n; i++)
        if (world_number(&s->msg.verdicts.ids[i]) == number)
            return dtqi_col32(s->msg.verdicts.tickets, i, 0);
    fail_msg("no verdict on %u", number);
    return 0;
}

/* The kind of the first proposal that was sent to the sink. */
static dtq_state proposed(struct world *w)
{
    struct world_sent *s = world_take(w, WORLD_SINK, DTQI_OUTCOMES);

    return (dtq_state)dtqi_col32(s->msg.outcomes.kinds, 0, DTQ_SUCCEEDED);
}

/* ---------------------------------------------------------------- beginning a session */

static void welcome_follows_the_lane(void **state)
{
    struct world *w = *state;
    struct world_worker x = {.route = 5, .instance = 7, .slots = 1};
    struct world_sent *s;

    w->lanes_by_hand = true;
    world_worker_hello(w, &x, NULL, 0);
    assert_int_equal(x.session, 0);
    assert_int_not_equal(w->lane_opened, 0);
    world_lane_opened(w, w->lane_opened);
    s = world_take(w, WORLD_SEND, DTQI_WELCOME);
    assert_int_equal(s->msg.welcome.session, w->lane_opened);
    assert_true(dtqi_str_eq(s->msg.welcome.lane, dtqi_str("tcp://127.0.0.1:20001")));
    assert_int_equal(s->msg.welcome.sinks_n, 1);
    assert_true(s->msg.welcome.sinks[0].reachable);
}

static void without_a_port_for_its_lane_a_worker_is_refused(void **state)
{
    struct world *w = *state;
    struct world_worker x = {.route = 5, .instance = 7, .slots = 1};
    struct vent_event failed = {.type = VENT_EV_LANE_FAILED};
    struct world_sent *s;

    w->lanes_by_hand = true;
    world_worker_hello(w, &x, NULL, 0);
    failed.lane.session = w->lane_opened;
    world_event(w, &failed);
    s = world_take(w, WORLD_SEND, DTQI_REFUSED);
    assert_int_equal(s->msg.refused.reason, DTQI_BUSY);
    world_pass(w, 4000);
    w->lanes_by_hand = false;
    world_worker_hello(w, &x, NULL, 0);
    assert_int_not_equal(x.session, 0);
}

static void a_lane_that_nobody_waits_for_any_more_is_closed(void **state)
{
    struct world *w = *state;
    struct world_worker x = {.route = 5, .instance = 7, .slots = 1};
    uint64_t first;

    w->lanes_by_hand = true;
    world_worker_hello(w, &x, NULL, 0);
    first = w->lane_opened;
    world_worker_hello(w, &x, NULL, 0);
    assert_int_not_equal(w->lane_opened, first);
    assert_int_equal(w->lane_closed, first);
    w->lane_closed = 0;
    world_lane_opened(w, first);
    assert_int_equal(w->lane_closed, first);
    assert_null(world_find(w, WORLD_SEND, DTQI_WELCOME));
}

static void another_version_of_the_protocol_is_refused(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_HELLO};
    struct world_sent *s;

    msg.hello = (struct dtqi_hello){.version_min = 2,
                                    .version_max = 3,
                                    .role = DTQI_ROLE_WORKER,
                                    .instance = world_uid(9),
                                    .slots = 1};
    world_msg(w, 5, &msg);
    s = world_take(w, WORLD_SEND, DTQI_REFUSED);
    assert_int_equal(s->msg.refused.reason, DTQI_BAD_VERSION);
    assert_int_equal(s->msg.refused.version_max, 1);
}

static void a_sink_that_forgets_too_soon_is_refused(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_HELLO};

    msg.hello = (struct dtqi_hello){.version_min = 1,
                                    .version_max = 1,
                                    .role = DTQI_ROLE_SINK,
                                    .instance = world_uid(9),
                                    .store = world_uid(0x77),
                                    .run = world_uid(1),
                                    .intake = dtqi_str("tcp://a:1"),
                                    .results = dtqi_str("tcp://a:2"),
                                    .outcome_memory_ms = DTQI_DEDUPE_WINDOW_MS};
    world_msg(w, 901, &msg);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_REFUSED)->msg.refused.reason, DTQI_BAD_PEER);
}

/* R38. */
static void a_second_live_sink_of_the_same_store_is_refused(void **state)
{
    struct world *w = *state;

    world_sink_hello(w, 901, 0x51, 0x62);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_REFUSED)->msg.refused.reason, DTQI_BUSY);
    world_clear(w);
    world_pass(w, 5000); /* the first one is silent for too long */
    world_clear(w);
    world_sink_hello(w, 901, 0x51, 0x62);
    assert_non_null(world_find(w, WORLD_SEND, DTQI_WELCOME));
}

/* R3, R8: a session belongs to the connection that said HELLO. */
static void a_session_from_another_connection_is_not_known(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_worker thief = x;
    struct vent_census census;
    uint32_t ticket;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, &ticket, 1), 1);
    world_clear(w);
    thief.route = 4000; /* never said HELLO */
    world_done(w, &thief, &ticket, 1);
    assert_non_null(world_find(w, WORLD_SEND, DTQI_UNKNOWN_SESSION));
    thief = world_worker(w, 2, 1, 0);
    thief.session = x.session; /* said HELLO, and names another's session */
    world_done(w, &thief, &ticket, 1);
    vent_census(w->v, &census);
    assert_int_equal(census.leased, 1);
    assert_int_equal(vent_counters(w->v)->messages_foreign, 2);
}

/* A connection that says HELLO under ever new names keeps one place, not all of them. */
static void one_connection_takes_one_place(void **state)
{
    struct vent_cfg cfg;
    struct world *w;
    struct world_worker x = {.route = 5, .slots = 1};
    struct world_worker y = {.route = 6, .instance = 0xcc, .slots = 1};

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 64;
    cfg.workers_max = 3;
    w = world_new(&cfg);
    for (uint8_t i = 1; i < 100; i++) {
        x.instance = i;
        world_worker_hello(w, &x, NULL, 0);
    }
    world_worker_hello(w, &y, NULL, 0);
    assert_int_not_equal(y.session, 0);
    assert_null(world_find(w, WORLD_SEND, DTQI_REFUSED));
    world_free(w);
}

static void a_heartbeat_is_answered_with_what_was_applied(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_sent *s;
    uint32_t number = 1;

    world_submit(w, 1, 5, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 5), 1);
    world_hold(&x, x.epoch, &number, 1, 1);
    world_beat(w, &x);
    s = world_take(w, WORLD_SEND, DTQI_VENTILATOR_HEARTBEAT);
    assert_int_equal(s->msg.ventilator_heartbeat.echo, 1);
    assert_int_equal(s->msg.ventilator_heartbeat.report_seq, 1);
    assert_int_equal(s->msg.ventilator_heartbeat.lane_seq, 1);
    assert_int_equal(s->msg.ventilator_heartbeat.backlog, 4);
    assert_int_equal(s->msg.ventilator_heartbeat.wall_ms, world_wall_ms(w));
    assert_null(world_find(w, WORLD_SEND, DTQI_HOLDINGS_WANTED));
}

/* ---------------------------------------------------------------- death (R13, R19, R21) */

static void tasks_of_a_silent_worker_go_to_another(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_worker y;
    uint32_t got[1];

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    y = world_worker(w, 2, 1, 1);
    world_live(w, 2000, &y, NULL);
    assert_int_equal(vent_counters(w->v)->workers_lost, 0);
    world_live(w, 1500, &y, NULL);
    assert_int_equal(vent_counters(w->v)->workers_lost, 1);
    assert_int_equal(w->lane_closed, x.session);
    assert_int_equal(world_tasks(w, &y, got, NULL, 1), 1);
    assert_int_equal(got[0], 1);
    world_beat(w, &x); /* it comes back: it must say HELLO */
    assert_non_null(world_find(w, WORLD_SEND, DTQI_UNKNOWN_SESSION));
}

/* R13: what the loop was late by is nobody's silence. */
static void a_stall_of_the_loop_kills_nobody(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 0);

    world_live(w, 1000, &x, NULL);
    w->now_ms += 10000; /* stopped, and continued */
    world_tick(w);
    assert_int_equal(vent_counters(w->v)->workers_lost, 0);
    world_pass(w, 3500);
    assert_int_equal(vent_counters(w->v)->workers_lost, 1);
}

/* R19: done and not settled: its outcome may be on its way. */
static void done_tasks_of_a_dead_worker_wait_for_their_settlement(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_worker y = world_worker(w, 2, 1, 0);
    uint32_t ticket;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, &ticket, 1), 1);
    world_done(w, &x, &ticket, 1);
    y.credit_tasks = 5;
    y.credit_bytes = 1 << 20;
    world_live(w, 4000, &y, NULL);
    assert_int_equal(vent_counters(w->v)->workers_lost, 1);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 1), 0);
    world_live(w, 6000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 1), 1);
}

/* R21: only what ran counts a crash; the others run next alone. */
static void what_ran_counts_a_crash_and_the_others_are_suspect(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 4);
    struct world_worker y;
    dtq_id running = world_id(1);
    struct dtqi_report r = {.started_ids = &running, .started_n = 1};
    uint32_t got[4];
    uint32_t tickets[4];

    world_submit(w, 1, 4, (struct world_task){.crash_limit = 1});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 4), 4);
    world_report(w, &x, &r);
    world_live(w, 4000, NULL, NULL);
    assert_int_equal(vent_counters(w->v)->attempts_crashed, 1);
    assert_int_equal(proposed(w), DTQ_FAILED);
    world_clear(w);
    y = world_worker(w, 2, 2, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, got, tickets, 4), 1); /* one, on probation */
    assert_int_equal(got[0], 2);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 4), 0);
    world_done(w, &y, tickets, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, got, tickets, 4), 1);
    assert_int_equal(got[0], 3);
}

/* R21: what ran goes on elsewhere at once, side by side; the last crash that it may have, it has
 * alone. */
static void what_ran_is_not_alone_before_its_last_crash(void **state)
{
    struct world *w = *state;
    struct dtqi_report r = {.started_ids = (dtq_id[]){world_id(1), world_id(2)}, .started_n = 2};
    static const uint32_t together[] = {2, 2, 1};

    world_submit(w, 1, 2, (struct world_task){.crash_limit = 3});
    for (uint32_t i = 0; i < 3; i++) {
        struct world_worker x = world_worker(w, i + 1, 2, 10);

        world_tick(w);
        assert_int_equal(world_tasks(w, &x, NULL, NULL, 4), together[i]);
        world_report(w, &x, &r);
        world_live(w, 4000, NULL, NULL);
    }
    assert_int_equal(vent_counters(w->v)->attempts_crashed, 5);
    assert_int_equal(proposed(w), DTQ_FAILED);
}

/* R21: on probation, even a task that was never seen to run counts. */
static void a_poison_task_is_found_by_probation(void **state)
{
    struct world *w = *state;
    uint32_t got[4];

    world_submit(w, 1, 3, (struct world_task){.crash_limit = 2});
    for (uint32_t i = 1; i <= 3; i++) {
        struct world_worker x = world_worker(w, i, 1, 10);

        world_tick(w);
        assert_true(world_tasks(w, &x, got, NULL, 4) >= 1);
        assert_int_equal(got[0], 1);
        world_live(w, 4000, NULL, NULL); /* it kills its worker at once */
    }
    assert_int_equal(vent_counters(w->v)->attempts_crashed, 2);
    assert_int_equal(proposed(w), DTQ_FAILED);
    assert_int_equal(census_of(w).ready, 2);
}

/* R21: a worker that is busy is emptied for a suspect, so that it does not wait for ever. */
static void a_suspect_gets_a_worker_of_its_own(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_worker y;
    uint32_t got[8];
    uint32_t tickets[8];
    uint32_t held = 0;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    y = world_worker(w, 2, 1, 2);
    world_submit(w, 2, 30, (struct world_task){0});
    world_tick(w);
    held = world_tasks(w, &y, got, tickets, 8);
    assert_int_equal(held, 2);
    world_hold(&y, y.epoch, got, 2, 1);
    world_live(w, 4000, &y, NULL); /* x is dead: task 1 is suspect */
    y.credit_tasks = 4;
    world_done(w, &y, tickets, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 8), 0); /* it is being emptied */
    world_done(w, &y, tickets + 1, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, got, NULL, 8), 1);
    assert_int_equal(got[0], 1);
}

/* Task 1 is suspect, and y, which runs 2, is being emptied for it; z runs 3. Both have a slot
 * free. @return the ticket of 3 */
static uint32_t two_workers_and_a_suspect(struct world *w, struct world_worker *y,
                                          struct world_worker *z)
{
    struct world_worker x = world_worker(w, 1, 1, 1);
    uint32_t numbers[] = {2, 3};
    uint32_t ticket;

    world_submit(w, 1, 1, (struct world_task){.queue = "other"});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    *y = world_worker(w, 2, 2, 4);
    world_submit(w, 2, 1, (struct world_task){.expires_ms = 3500});
    world_tick(w);
    assert_int_equal(world_tasks(w, y, NULL, NULL, 1), 1);
    *z = world_worker(w, 3, 2, 4);
    world_submit(w, 3, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, z, NULL, &ticket, 1), 1);
    world_hold(y, y->epoch, &numbers[0], 1, 1);
    world_hold(z, z->epoch, &numbers[1], 1, 1);
    world_live(w, 4000, y, z); /* x is dead */
    assert_int_equal(world_tasks(w, y, NULL, NULL, 1), 0);
    assert_int_equal(world_tasks(w, z, NULL, NULL, 1), 0);
    return ticket;
}

/* R21: it does not wait for a worker that is gone, while another that was never full is idle. */
static void a_suspect_whose_worker_dies_gets_another(void **state)
{
    struct world *w = *state;
    struct world_worker y;
    struct world_worker z;
    uint32_t ticket = two_workers_and_a_suspect(w, &y, &z);
    uint32_t got;

    world_live(w, 4000, &z, NULL); /* y is dead, and 2 has expired with it */
    world_done(w, &z, &ticket, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &z, &got, NULL, 1), 1);
    assert_int_equal(got, 1);
}

/* R21: nor for one that is busy for long; and that one is not kept from other work then. */
static void a_suspect_takes_the_first_worker_that_is_empty(void **state)
{
    struct world *w = *state;
    struct world_worker y;
    struct world_worker z;
    uint32_t ticket = two_workers_and_a_suspect(w, &y, &z);
    uint32_t got;

    world_done(w, &z, &ticket, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &z, &got, NULL, 1), 1);
    assert_int_equal(got, 1);
    world_submit(w, 4, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, &got, NULL, 1), 1);
    assert_int_equal(got, 4);
}

static void a_worker_that_leaves_counts_nothing(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 2);
    struct world_worker y;
    struct dtqi_msg bye = {.type = DTQI_BYE};

    world_submit(w, 1, 2, (struct world_task){.crash_limit = 1});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    bye.bye.session = x.session;
    world_msg(w, x.route, &bye);
    y = world_worker(w, 2, 1, 2);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 2), 2);
    assert_int_equal(vent_counters(w->v)->attempts_crashed, 0);
    assert_int_equal(vent_counters(w->v)->workers_lost, 0);
}

/* ---------------------------------------------------------------- lanes */

static void a_broken_lane_ends_the_session_and_keeps_its_leases(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 2);
    struct vent_event broken = {.type = VENT_EV_LANE_BROKEN};
    struct world_holding list[1] = {{1, 0, 1, DTQI_HELD_RUNNING}};

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    broken.lane.session = x.session;
    world_event(w, &broken);
    assert_int_equal(w->lane_closed, x.session);
    assert_non_null(world_find(w, WORLD_SEND, DTQI_UNKNOWN_SESSION));
    assert_int_equal(census_of(w).leased, 2);
    world_clear(w);
    world_worker_hello(w, &x, NULL, 1);
    assert_int_equal(census_of(w).leased, 2); /* R8: until its list is whole */
    list[0].epoch = x.epoch;
    world_holdings(w, &x, list, 1, true);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_ADOPT);
    assert_int_equal(census_of(w).leased, 1);
    assert_int_equal(census_of(w).ready, 1); /* it never arrived */
    assert_int_equal(vent_counters(w->v)->attempts_crashed, 0);
}

/* R18. */
static void a_stalled_lane_is_given_up(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 2);

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w); /* nothing of it is ever acknowledged, while heartbeats flow */
    world_live(w, DTQI_LANE_STALL_MS - 1000, &x, NULL);
    assert_int_equal(vent_counters(w->v)->lanes_stalled, 0);
    world_live(w, 3000, &x, NULL);
    assert_int_equal(vent_counters(w->v)->lanes_stalled, 1);
    assert_int_equal(w->lane_closed, x.session);
}

static void a_worker_whose_connection_is_gone_has_time_to_come_back(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct vent_event gone = {.type = VENT_EV_ROUTE_GONE};
    struct world_holding list[1] = {{1, 0, 1, DTQI_WAITING}};

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    gone.route = x.route;
    world_event(w, &gone);
    world_pass(w, 1500);
    assert_int_equal(census_of(w).leased, 1);
    x.route = 3333;
    list[0].epoch = x.epoch;
    world_worker_hello(w, &x, NULL, 1);
    world_holdings(w, &x, list, 1, true);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_ADOPT);
    assert_int_not_equal(ticket_of(w, 1), 0);
    assert_int_equal(census_of(w).leased, 1);
}

/* R12, R18: what arrived and is not held is lost; the numbers say so, the list says which. */
static void a_different_account_asks_for_the_holdings(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 3);
    uint32_t two[] = {1, 3};
    struct world_holding list[] = {{1, x.epoch, 1, DTQI_HELD_RUNNING},
                                   {3, x.epoch, 1, DTQI_WAITING}};

    world_submit(w, 1, 3, (struct world_task){0});
    world_tick(w);
    world_hold(&x, x.epoch, two, 2, 1);
    world_beat(w, &x); /* the batch is on its way: no comparison */
    assert_null(world_find(w, WORLD_SEND, DTQI_HOLDINGS_WANTED));
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 3), 3);
    world_beat(w, &x);
    assert_non_null(world_find(w, WORLD_SEND, DTQI_HOLDINGS_WANTED));
    x.credit_tasks = 100;
    world_holdings(w, &x, list, 2, true);
    assert_int_equal(vent_counters(w->v)->attempts_lost, 1);
    assert_int_equal(census_of(w).leased, 2);
    world_clear(w);
    world_beat(w, &x); /* now they agree */
    assert_null(world_find(w, WORLD_SEND, DTQI_HOLDINGS_WANTED));
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 3), 1);
}

static void holdings_that_nobody_asked_for_change_nothing(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_holdings(w, &x, NULL, 0, true);
    assert_int_equal(census_of(w).leased, 1);
    assert_int_equal(vent_counters(w->v)->messages_foreign, 1);
}

/* ---------------------------------------------------------------- verdicts (R11) */

/* A worker that lists these in a new session. */
static struct world_worker lister(struct world *w, uint32_t number,
                                  const struct world_holding *list, uint32_t n)
{
    struct world_worker x = {
        .route = WORKER_ROUTE + number, .instance = (uint8_t)(0x80 + number), .slots = 2};

    world_worker_hello(w, &x, NULL, n);
    assert_int_not_equal(x.session, 0);
    world_holdings(w, &x, list, n, true);
    world_tick(w);
    return x;
}

static uint64_t epoch_of(struct world *w)
{
    struct world_worker x = world_worker(w, 99, 1, 0);

    return x.epoch;
}

static void what_nobody_knows_is_to_be_forgotten(void **state)
{
    struct world *w = *state;
    struct world_holding list[] = {{50, 1, 1, DTQI_DONE}, {51, 1, 1, DTQI_HELD_RUNNING}};

    lister(w, 1, list, 2);
    assert_int_equal(verdict_on(w, 50), DTQI_VERDICT_FORGET);
    assert_int_equal(verdict_on(w, 51), DTQI_VERDICT_FORGET);
    assert_int_equal(census_of(w).tasks, 0);
}

static void attempts_from_the_future_are_not_believed(void **state)
{
    struct world *w = *state;
    uint64_t epoch = epoch_of(w);
    struct world_holding list[] = {{1, epoch + 1, 1, DTQI_HELD_RUNNING},
                                   {2, epoch, 1, DTQI_DONE},
                                   {3, epoch, UINT32_MAX, DTQI_WAITING}};

    world_submit(w, 1, 3, (struct world_task){0}); /* none was ever dispatched */
    world_tick(w);
    lister(w, 1, list, 3);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_FORGET);
    assert_int_equal(verdict_on(w, 2), DTQI_VERDICT_FORGET);
    assert_int_equal(verdict_on(w, 3), DTQI_VERDICT_FORGET);
    assert_int_equal(census_of(w).ready, 3);
}

/* The worker was taken for dead; its task has gone to another since. */
static void an_attempt_that_was_replaced_is_stale(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_worker y;
    struct world_holding list[1] = {{1, x.epoch, 1, DTQI_HELD_RUNNING}};

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    y = world_worker(w, 2, 1, 0);
    world_live(w, 4000, &y, NULL);
    world_credit(w, &y, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 1), 1);
    lister(w, 1, list, 1);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_STALE);
    assert_int_equal(census_of(w).leased, 1);
}

static void an_attempt_of_a_task_that_waits_again_is_adopted(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 2);
    struct world_holding list[] = {{1, x.epoch, 1, DTQI_HELD_RUNNING}, {2, x.epoch, 1, DTQI_DONE}};
    struct world_worker y;

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    world_live(w, 4000, NULL, NULL);
    assert_int_equal(census_of(w).ready, 2);
    y = lister(w, 1, list, 2);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_ADOPT);
    assert_int_equal(verdict_on(w, 2), DTQI_VERDICT_ADOPT);
    assert_int_equal(census_of(w).leased, 1);
    assert_int_equal(census_of(w).done, 1);
    world_done(w, &y, (uint32_t[]){ticket_of(w, 1)}, 1);
    assert_int_equal(census_of(w).done, 2);
}

/* R2: an attempt whose end was counted is never adopted and never counted again. */
static void a_counted_failure_is_not_counted_again(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_holding list[] = {{1, x.epoch, 1, DTQI_HELD_FAILED}};

    world_submit(w, 1, 1, (struct world_task){.retries = 1});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    assert_int_equal(vent_counters(w->v)->tasks_retried, 1);
    lister(w, 1, list, 1); /* the answer was lost, it lists it again */
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_FORGET);
    assert_int_equal(vent_counters(w->v)->tasks_retried, 1);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
}

/* .. not even by a worker that says it runs: a zombie of it may send an outcome, and no more. */
static void a_counted_attempt_that_seems_to_run_is_stale(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_holding list[] = {{1, x.epoch, 1, DTQI_HELD_RUNNING}};

    world_submit(w, 1, 1, (struct world_task){.retries = 1});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    lister(w, 1, list, 1);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_STALE);
    assert_int_equal(census_of(w).leased, 0);
}

static void a_failure_that_was_not_heard_of_counts_by_the_list(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_holding list[] = {{1, x.epoch, 1, DTQI_HELD_FAILED}};

    world_submit(w, 1, 1, (struct world_task){.retries = 1});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    lister(w, 1, list, 1);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_FORGET);
    assert_int_equal(vent_counters(w->v)->tasks_retried, 1);
}

static void what_is_proposed_is_stale(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_holding list[] = {{1, x.epoch, 1, DTQI_HELD_RUNNING}};

    world_submit(w, 1, 1, (struct world_task){.crash_limit = 1});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    x.running = (dtq_id[]){world_id(1)};
    x.running_n = 1;
    world_beat(w, &x);
    world_live(w, 4000, NULL, NULL);
    assert_int_equal(proposed(w), DTQ_FAILED);
    lister(w, 1, list, 1);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_STALE);
}

/* ---------------------------------------------------------------- restart (R33) */

/* Tasks 1 to n are in the journal; a worker had the first of them. */
static struct world_worker restarted(struct world *w, uint32_t n, uint32_t dispatched)
{
    struct world_worker x = world_worker(w, 1, 2, dispatched);

    world_submit(w, 1, n, (struct world_task){.retries = 3});
    world_pass(w, 300);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, n), dispatched);
    assert_int_equal(w->puts, n);
    world_restart(w);
    return x;
}

static void recovered_tasks_are_held_until_everybody_has_spoken(void **state)
{
    struct world *w = *state;
    struct world_worker x = restarted(w, 3, 2);
    struct world_worker y;
    struct world_holding list[] = {{1, x.epoch, 1, DTQI_HELD_RUNNING}};
    uint32_t got[3];

    world_producer(w, PRODUCER);
    world_sink(w);
    y = world_worker(w, 2, 2, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 3), 0);
    assert_int_equal(census_of(w).held, 3);
    world_submit(w, 10, 1, (struct world_task){0}); /* new tasks are not held */
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, got, NULL, 3), 1);
    assert_int_equal(got[0], 10);
    world_worker_hello(w, &x, NULL, 1);
    world_holdings(w, &x, list, 1, true);
    world_tick(w);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_ADOPT);
    assert_int_equal(world_tasks(w, &y, got, NULL, 3), 2);
    assert_int_equal(got[0], 2);
    assert_int_equal(got[1], 3);
    assert_int_equal(vent_counters(w->v)->attempts_adopted, 1);
}

static void recovered_tasks_are_released_when_the_grace_is_over(void **state)
{
    struct world *w = *state;
    struct world_worker y;

    restarted(w, 2, 1);
    world_sink(w);
    y = world_worker(w, 2, 2, 10);
    world_live(w, 4000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 3), 0);
    world_live(w, 2000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 3), 2);
}

static void recovered_tasks_wait_for_the_stream_of_their_sink(void **state)
{
    struct world *w = *state;
    struct world_worker y;
    dtq_id id = world_id(1);
    uint32_t got[3];

    restarted(w, 2, 0);
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
    w->sink_session = world_take(w, WORLD_SEND, DTQI_WELCOME)->msg.welcome.session;
    world_clear(w);
    y = world_worker(w, 2, 2, 10);
    world_live(w, 6000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 3), 0);
    world_settled(w, SINK_ROUTE, 0x51, 1, 1, &id, NULL, NULL, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, got, NULL, 3), 1); /* the other is settled */
    assert_int_equal(got[0], 2);
}

static void attempts_go_on_from_what_the_journal_knows(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 1);
    struct world_worker y;
    struct world_sent *s;

    world_submit(w, 1, 1, (struct world_task){.retries = 3});
    world_pass(w, 300);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_pass(w, 300);
    world_restart(w);
    world_sink(w);
    world_live(w, 6000, NULL, NULL);
    y = world_worker(w, 2, 2, 10);
    world_tick(w);
    s = world_take(w, WORLD_LANE, DTQI_TASKS);
    assert_int_equal(s->to, y.session);
    assert_int_equal(s->msg.tasks.attempts[0], 2);
}

/* R11: of two listed attempts the higher one is adopted. */
static void of_two_listed_attempts_the_higher_is_adopted(void **state)
{
    struct world *w = *state;
    struct world_worker x = restarted(w, 1, 1);
    struct world_holding low[] = {{1, x.epoch, 1, DTQI_HELD_RUNNING}};
    struct world_holding high[] = {{1, x.epoch, 2, DTQI_HELD_RUNNING}};

    world_sink(w);
    world_clear(w);
    lister(w, 1, low, 1);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_ADOPT);
    world_clear(w);
    lister(w, 2, high, 1);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_ADOPT);
    world_clear(w);
    lister(w, 1, low, 1);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_STALE);
    assert_int_equal(census_of(w).leased, 1);
}

static void settled_while_the_ventilator_was_down_is_forgotten(void **state)
{
    struct world *w = *state;
    struct world_worker x = restarted(w, 1, 1);
    struct world_holding list[] = {{1, x.epoch, 1, DTQI_DONE}};

    world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_clear(w);
    lister(w, 1, list, 1);
    assert_int_equal(verdict_on(w, 1), DTQI_VERDICT_FORGET);
    world_pass(w, 300);
    assert_int_equal(census_of(w).tasks, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(welcome_follows_the_lane),
        T(without_a_port_for_its_lane_a_worker_is_refused),
        T(a_lane_that_nobody_waits_for_any_more_is_closed),
        T(another_version_of_the_protocol_is_refused),
        T(a_sink_that_forgets_too_soon_is_refused),
        T(a_second_live_sink_of_the_same_store_is_refused),
        T(a_session_from_another_connection_is_not_known),
        cmocka_unit_test(one_connection_takes_one_place),
        T(a_heartbeat_is_answered_with_what_was_applied),
        T(tasks_of_a_silent_worker_go_to_another),
        T(a_stall_of_the_loop_kills_nobody),
        T(done_tasks_of_a_dead_worker_wait_for_their_settlement),
        T(what_ran_counts_a_crash_and_the_others_are_suspect),
        T(what_ran_is_not_alone_before_its_last_crash),
        T(a_poison_task_is_found_by_probation),
        T(a_suspect_gets_a_worker_of_its_own),
        T(a_suspect_whose_worker_dies_gets_another),
        T(a_suspect_takes_the_first_worker_that_is_empty),
        T(a_worker_that_leaves_counts_nothing),
        T(a_broken_lane_ends_the_session_and_keeps_its_leases),
        T(a_stalled_lane_is_given_up),
        T(a_worker_whose_connection_is_gone_has_time_to_come_back),
        T(a_different_account_asks_for_the_holdings),
        T(holdings_that_nobody_asked_for_change_nothing),
        T(what_nobody_knows_is_to_be_forgotten),
        T(attempts_from_the_future_are_not_believed),
        T(an_attempt_that_was_replaced_is_stale),
        T(an_attempt_of_a_task_that_waits_again_is_adopted),
        T(a_counted_failure_is_not_counted_again),
        T(a_counted_attempt_that_seems_to_run_is_stale),
        T(a_failure_that_was_not_heard_of_counts_by_the_list),
        T(what_is_proposed_is_stale),
        T(recovered_tasks_are_held_until_everybody_has_spoken),
        T(recovered_tasks_are_released_when_the_grace_is_over),
        T(recovered_tasks_wait_for_the_stream_of_their_sink),
        T(attempts_go_on_from_what_the_journal_knows),
        T(of_two_listed_attempts_the_higher_is_adopted),
        T(settled_while_the_ventilator_was_down_is_forgotten),
    };

    return cmocka_run_group_tests_name("vent_session", tests, NULL, NULL);
}
