/* The ventilator's core: dispatch, credit, reports, recall, settlement (R15 to R20, R27 to R30). */
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

static void a_configuration_that_cannot_work_is_refused(void **state)
{
    struct vent_cfg cfg;
    struct journal_start start = {0};
    struct vent *v = NULL;

    (void)state;
    vent_cfg_default(&cfg);
    assert_int_equal(vent_new(&cfg, &start, 0, 0, &v), DTQ_EINVAL); /* no decoder of specs */
    cfg.spec_decode = dtqi_spec_decode;
    cfg.spec_encode = dtqi_spec_encode;
    cfg.batch_entries_max = 0;
    assert_int_equal(vent_new(&cfg, &start, 0, 0, &v), DTQ_EINVAL);
    assert_null(v);
}

/* ---------------------------------------------------------------- order */

static void tasks_go_out_in_the_order_of_their_submission(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 0);
    uint32_t got[10];

    world_submit(w, 1, 5, (struct world_task){0});
    world_submit(w, 6, 5, (struct world_task){0});
    world_tick(w);
    world_credit(w, &x, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, got, NULL, 10), 10);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(got[i], i + 1);
}

static void a_higher_priority_goes_first(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 0);
    uint32_t got[6];

    world_submit(w, 1, 2, (struct world_task){.priority = 1});
    world_submit(w, 3, 2, (struct world_task){.priority = 5});
    world_submit(w, 5, 2, (struct world_task){.priority = 9});
    world_tick(w);
    world_credit(w, &x, 6);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, got, NULL, 6), 6);
    assert_int_equal(got[0], 5);
    assert_int_equal(got[1], 6);
    assert_int_equal(got[2], 3);
    assert_int_equal(got[4], 1);
}

static void the_message_names_what_the_worker_needs(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 10);
    struct world_sent *s;
    const struct dtqi_tasks *m;

    world_submit(w, 1, 2,
                 (struct world_task){.body = "hello", .reply_to = 77, .expires_ms = 60000});
    world_tick(w);
    s = world_take(w, WORLD_LANE, DTQI_TASKS);
    m = &s->msg.tasks;
    assert_int_equal(m->session, x.session);
    assert_int_equal(m->lane_seq, 1);
    assert_int_equal(m->n, 2);
    assert_int_equal(m->specs_n, 1);
    assert_true(dtqi_str_eq(m->specs[0].name, dtqi_str("t")));
    assert_int_equal(m->bodies[1].len, 5);
    assert_memory_equal(m->bodies[1].at, "hello", 5);
    assert_int_equal(m->reply_to[0], 77);
    assert_int_equal(m->sinks_n, 1);
    assert_true(m->expires_in_ms[0] > 0 && m->expires_in_ms[0] <= 60000);
    assert_null(m->attempts); /* the first ones */
    world_drop(w, s);
}

/* ---------------------------------------------------------------- credit (R15) */

static void no_more_goes_out_than_credit_allows(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 3);
    uint32_t tickets[10];

    world_submit(w, 1, 10, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 10), 3);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
    world_done(w, &x, tickets, 3); /* credit is absolute: what ends gives none back */
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
    world_credit(w, &x, 5);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 2);
}

static void bytes_bound_what_goes_out_too(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 0);
    struct dtqi_report r = {0};
    static char body[1000];
    uint32_t n;

    world_submit(w, 1, 10, (struct world_task){.body = body, .body_len = sizeof body});
    x.credit_tasks = 10;
    x.credit_bytes = 3300;
    world_report(w, &x, &r);
    world_tick(w);
    n = world_tasks(w, &x, NULL, NULL, 10);
    assert_true(n == 2 || n == 3);
    x.credit_bytes = 1u << 20;
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 10 - n);
}

static void an_empty_worker_takes_one_task_of_any_size(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 0);
    struct dtqi_report r = {0};
    static char body[5000];

    world_submit(w, 1, 3, (struct world_task){.body = body, .body_len = sizeof body});
    x.credit_tasks = 10;
    x.credit_bytes = 100;
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 1);
}

static void a_batch_is_cut_at_its_bounds(void **state)
{
    struct vent_cfg cfg;
    struct world *w;
    struct world_worker x;
    static char body[600];

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.batch_entries_max = 3;
    cfg.batch_bytes_max = 1000;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    x = world_worker(w, 1, 4, 100);
    world_submit(w, 1, 14, (struct world_task){0});
    for (int i = 0; i < 20; i++)
        world_tick(w);
    for (struct world_sent *s = w->sent; s != NULL; s = s->next)
        assert_true(s->kind != WORLD_LANE || s->msg.tasks.n <= 3);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 20), 14);
    world_submit(w, 21, 4, (struct world_task){.body = body, .body_len = sizeof body});
    for (int i = 0; i < 20; i++)
        world_tick(w);
    for (struct world_sent *s = w->sent; s != NULL; s = s->next)
        assert_true(s->kind != WORLD_LANE || s->msg.tasks.n == 1);
    world_free(w);
}

/* ---------------------------------------------------------------- who gets it */

static void a_burst_is_dealt_to_all_workers(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 100);
    struct world_worker y = world_worker(w, 2, 1, 100);
    uint32_t a;
    uint32_t b;

    world_submit(w, 1, 40, (struct world_task){0});
    world_tick(w);
    a = world_tasks(w, &x, NULL, NULL, 40);
    b = world_tasks(w, &y, NULL, NULL, 40);
    assert_int_equal(a + b, 40);
    assert_true(a >= 12 && b >= 12);
}

static void a_worker_gets_only_the_queues_that_it_names(void **state)
{
    struct world *w = *state;
    struct world_worker x = {.route = 2001, .instance = 0x21, .slots = 2};
    struct world_worker y = {.route = 2002, .instance = 0x22, .slots = 2};
    uint32_t got[10];

    world_worker_hello(w, &x, "a", 0);
    world_worker_hello(w, &y, "b", 0);
    world_credit(w, &x, 10);
    world_credit(w, &y, 10);
    world_submit(w, 1, 3, (struct world_task){.queue = "a"});
    world_submit(w, 4, 2, (struct world_task){.queue = "b"});
    world_submit(w, 6, 1, (struct world_task){.queue = "c"});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, got, NULL, 10), 3);
    assert_int_equal(got[0], 1);
    assert_int_equal(world_tasks(w, &y, got, NULL, 10), 2);
    assert_int_equal(got[0], 4);
}

static void one_queue_does_not_starve_another(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 0);
    uint32_t got[20];
    uint32_t n;
    uint32_t of_b = 0;

    world_submit(w, 1, 100, (struct world_task){.queue = "a"});
    world_submit(w, 101, 100, (struct world_task){.queue = "b"});
    world_tick(w);
    world_credit(w, &x, 20);
    world_tick(w);
    n = world_tasks(w, &x, got, NULL, 20);
    assert_int_equal(n, 20);
    for (uint32_t i = 0; i < n; i++)
        of_b += got[i] > 100;
    assert_true(of_b >= 5 && of_b <= 15);
}

/* R20: what was prefetched and not started is asked back for a worker that idles. */
static void an_idle_worker_makes_a_busy_one_give_back(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 10);
    struct world_worker y;
    struct world_sent *s;
    dtq_id ids[2] = {world_id(9), world_id(10)};
    struct dtqi_report r = {.returned_ids = ids, .returned_n = 2};
    uint32_t got[10];

    world_submit(w, 1, 10, (struct world_task){0});
    world_pass(w, 10);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 10);
    y = world_worker(w, 2, 2, 10);
    world_pass(w, 10);
    s = world_take(w, WORLD_SEND, DTQI_RECALL);
    assert_int_equal(s->msg.recall.session, x.session);
    assert_int_equal(s->msg.recall.count, 4);
    world_drop(w, s);
    assert_null(world_find(w, WORLD_SEND, DTQI_RECALL)); /* one at a time */
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, got, NULL, 10), 2);
    assert_int_equal(got[0], 9);
    assert_int_equal(got[1], 10);
    assert_int_equal(vent_counters(w->v)->attempts_returned, 2);
}

static void what_is_returned_comes_before_what_waits(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 3);
    dtq_id ids[2] = {world_id(2), world_id(3)};
    struct dtqi_report r = {.returned_ids = ids, .returned_n = 2};
    uint32_t got[6];

    world_submit(w, 1, 6, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 6), 3);
    x.credit_tasks = 8;
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, got, NULL, 6), 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(got[i], i + 2);
}

/* ---------------------------------------------------------------- reports (R1) */

static void a_ticket_of_another_worker_changes_nothing(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 2);
    struct world_worker y = world_worker(w, 2, 1, 0);
    struct vent_census census;
    uint32_t tickets[4];

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 2), 2);
    world_done(w, &y, tickets, 2);
    vent_census(w->v, &census);
    assert_int_equal(census.leased, 2);
    assert_int_equal(vent_counters(w->v)->reports_stale, 2);
    tickets[0] += 1u << 22; /* another generation */
    tickets[1] = 0xffffffff;
    world_done(w, &x, tickets, 2);
    vent_census(w->v, &census);
    assert_int_equal(census.leased, 2);
    assert_int_equal(vent_counters(w->v)->reports_stale, 4);
}

static void ids_that_a_worker_does_not_hold_change_nothing(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_worker y = world_worker(w, 2, 1, 0);
    dtq_id ids[2] = {world_id(1), world_id(999)};
    struct dtqi_report r = {.returned_ids = ids,
                            .returned_n = 2,
                            .stopped_ids = ids,
                            .stopped_n = 2,
                            .started_ids = ids,
                            .started_n = 2};
    struct vent_census census;

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1);
    world_report(w, &y, &r);
    vent_census(w->v, &census);
    assert_int_equal(census.leased, 1);
    assert_int_equal(vent_counters(w->v)->reports_stale, 6);
}

/* A gap in the reports: the session is over, its leases are not. */
static void a_missing_report_ends_the_session(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 2);
    struct vent_census census;
    uint32_t tickets[2];

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 2), 2);
    x.report_seq++;
    world_done(w, &x, tickets, 2);
    assert_non_null(world_find(w, WORLD_SEND, DTQI_UNKNOWN_SESSION));
    assert_int_equal(w->lane_closed, x.session);
    vent_census(w->v, &census);
    assert_int_equal(census.leased, 2);
    assert_int_equal(census.done, 0);
    assert_int_equal(vent_counters(w->v)->reports_gap, 1);
}

static void a_repeated_report_is_not_applied_twice(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    uint32_t ticket;

    world_submit(w, 1, 1, (struct world_task){.retries = 5});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, &ticket, 1), 1);
    world_fail(w, &x, 1, 0, 1, DTQ_REASON_ERROR);
    x.report_seq--;
    world_fail(w, &x, 1, 0, 1, DTQ_REASON_ERROR);
    assert_int_equal(vent_counters(w->v)->reports_stale, 1); /* a wrong epoch, and only once */
}

/* ---------------------------------------------------------------- settlement (R27 to R29) */

static void a_settled_task_is_forgotten_by_its_worker(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 2);
    struct world_sent *s;
    uint32_t tickets[2];

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 2), 2);
    world_done(w, &x, tickets, 2);
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_FORGET)); /* not before it is settled */
    world_settle(w, 2, DTQ_SUCCEEDED);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_FORGET);
    assert_int_equal(s->to, x.route);
    assert_int_equal(s->msg.forget.n, 1);
    assert_int_equal(world_number(&s->msg.forget.ids[0]), 2);
    world_drop(w, s);
}

static void a_settled_task_is_not_dispatched(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 0);
    uint32_t got[3];

    world_submit(w, 1, 3, (struct world_task){0});
    world_tick(w);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_credit(w, &x, 3);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, got, NULL, 3), 2);
    assert_int_equal(got[0], 2);
}

static void the_stream_is_applied_in_order_only(void **state)
{
    struct world *w = *state;
    dtq_id ids[3] = {world_id(1), world_id(2), world_id(3)};
    struct world_sent *s;

    world_submit(w, 1, 3, (struct world_task){0});
    world_tick(w);
    world_clear(w);
    world_settled(w, SINK_ROUTE, 0x51, 2, 3, ids + 1, NULL, NULL, 2);
    assert_int_equal(vent_counters(w->v)->settled_gap, 1);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 0);
    s = world_take(w, WORLD_SEND, DTQI_RESUME);
    assert_int_equal(s->msg.resume.after, 0);
    world_drop(w, s);
    world_settled(w, SINK_ROUTE, 0x51, 1, 3, ids, NULL, NULL, 2);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 2);
    world_settled(w, SINK_ROUTE, 0x51, 1, 3, ids, NULL, NULL,
                  3); /* overlaps: the new part counts */
    assert_int_equal(vent_counters(w->v)->tasks_settled, 3);
    world_settled(w, SINK_ROUTE, 0x51, 1, 3, ids, NULL, NULL, 3);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 3);
}

static void a_wrong_ticket_does_not_settle_another_task(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 2);
    uint32_t tickets[2];
    dtq_id id = world_id(1);

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 2), 2);
    world_settled(w, SINK_ROUTE, 0x51, 1, 1, &id, NULL, &tickets[1], 1);
    world_tick(w);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 1);
    assert_int_equal(world_number(&world_take(w, WORLD_SEND, DTQI_FORGET)->msg.forget.ids[0]), 1);
}

/* R28: acknowledged when the deletes are durable, not before. */
static void the_stream_is_acknowledged_after_the_commit(void **state)
{
    struct world *w = *state;
    struct world_sent *s;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_clear(w);
    w->journal_stuck = true;
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 300);
    assert_null(world_find(w, WORLD_SEND, DTQI_SETTLED_ACK));
    w->journal_stuck = false;
    world_journal(w);
    s = world_take(w, WORLD_SEND, DTQI_SETTLED_ACK);
    assert_int_equal(s->msg.settled_ack.number, 1);
    world_drop(w, s);
    assert_int_equal(vent_counters(w->v)->journal_deleted, 1);
}

/* .. and only as far as this commit went. */
static void what_is_applied_during_a_commit_is_not_acknowledged_with_it(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    world_clear(w);
    w->journal_stuck = true;
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 300);
    world_settle(w, 2, DTQ_SUCCEEDED);
    world_journal(w);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_SETTLED_ACK)->msg.settled_ack.number, 1);
}

static void the_stream_goes_on_behind_its_last_number_after_a_restart(void **state)
{
    struct world *w = *state;
    struct world_sent *s;

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 300);
    world_restart(w);
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
    s = world_take(w, WORLD_SEND, DTQI_RESUME);
    assert_int_equal(s->msg.resume.after, 1);
    world_drop(w, s);
}

/* R27: an answer outside the stream settles, and moves no number. */
static void an_answer_outside_the_stream_settles(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_settled(w, SINK_ROUTE, 0x51, 0, 5, &id, NULL, NULL, 1);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 1);
    world_settle(w, 7, DTQ_SUCCEEDED); /* number 1 is still to come */
    assert_int_equal(vent_counters(w->v)->settled_gap, 0);
    assert_int_equal(vent_counters(w->v)->settled_unknown, 1);
}

static void numbers_that_the_sink_dropped_are_skipped(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id(1);
    struct dtqi_msg msg = {.type = DTQI_SETTLED};

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    msg.settled = (struct dtqi_settled){.sink = world_uid(0x51),
                                        .run = world_uid(0x52),
                                        .number_first = 10,
                                        .number_head = 10,
                                        .n = 1,
                                        .ids = &id,
                                        .number_dropped = 9};
    world_msg(w, SINK_ROUTE, &msg);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 1);
    assert_int_equal(vent_counters(w->v)->settled_gap, 0);
}

/* Nobody but the sink itself settles. */
static void a_settlement_from_elsewhere_changes_nothing(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 0);
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_settled(w, x.route, 0x51, 1, 1, &id, NULL, NULL, 1);
    world_settled(w, PRODUCER, 0x51, 1, 1, &id, NULL, NULL, 1);
    world_settled(w, SINK_ROUTE, 0x77, 1, 1, &id, NULL, NULL, 1);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 0);
}

/* Who has applied nothing has no past that another could differ from. */
static void have_a_past(struct world *w)
{
    struct dtqi_msg msg = {.type = DTQI_SETTLED};

    msg.settled = (struct dtqi_settled){.sink = world_uid(0x51),
                                        .run = world_uid(0x52),
                                        .number_first = 10,
                                        .number_head = 9,
                                        .number_dropped = 9};
    world_msg(w, SINK_ROUTE, &msg);
    w->settled = 9;
}

/* R34. */
static void a_diverged_sink_settles_nothing(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_SETTLED};

    have_a_past(w);
    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    msg.settled =
        (struct dtqi_settled){.sink = world_uid(0x51), .run = world_uid(0x52), .diverged = true};
    world_msg(w, SINK_ROUTE, &msg);
    world_settle(w, 1, DTQ_SUCCEEDED);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 0);
}

static void diverge(struct world *w)
{
    struct dtqi_msg msg = {.type = DTQI_SETTLED};

    msg.settled =
        (struct dtqi_settled){.sink = world_uid(0x51), .run = world_uid(0x52), .diverged = true};
    world_msg(w, SINK_ROUTE, &msg);
}

/* Not even the one task for each slot that a sink which is away gets (R16). */
static void nothing_is_dispatched_for_a_diverged_sink(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 10);

    have_a_past(w);
    diverge(w);
    world_submit(w, 1, 5, (struct world_task){0});
    world_pass(w, 1000);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x62); /* it has not said yet that it is itself */
    diverge(w);
    world_pass(w, 1000);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
}

static void a_sink_with_its_newer_store_back_is_itself_again(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 10);

    have_a_past(w);
    diverge(w);
    world_submit(w, 1, 5, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
    world_sink(w); /* answers RESUME as it should */
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 5);
    world_settle(w, 1, DTQ_SUCCEEDED);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 1);
}

static void accept(struct world *w, uint64_t request)
{
    dtqi_uid store = world_uid(0x51);
    dtq_id id;
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    memcpy(id.bytes, store.bytes, sizeof id.bytes);
    msg.operate = (struct dtqi_operate){
        .request = request, .operation = DTQI_SINK_ACCEPT, .ids = &id, .n = 1};
    world_msg(w, PRODUCER, &msg);
}

static uint64_t accepted(struct world *w)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY);
    uint64_t count = s->msg.operate_reply.count;

    assert_int_equal(s->msg.operate_reply.reason, DTQI_REFUSAL_NONE);
    world_drop(w, s);
    return count;
}

static uint64_t resumed_after(struct world *w)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_RESUME);
    uint64_t after = s->msg.resume.after;

    assert_true(after != 0 || dtqi_uid_is_zero(&s->msg.resume.run));
    world_drop(w, s);
    return after;
}

/* Its stream is read from the beginning, and what it settles now counts (R34). */
static void an_accepted_sink_goes_on_with_the_history_that_it_has(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 10);
    dtq_id one = world_id(1);

    world_submit(w, 1, 3, (struct world_task){0});
    world_tick(w);
    for (uint32_t n = 1; n <= 2; n++)
        world_settle(w, n, DTQ_SUCCEEDED);
    world_pass(w, 1000);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 3);
    diverge(w);
    world_clear(w);
    accept(w, 7);
    assert_int_equal(resumed_after(w), 0);
    world_tick(w);
    assert_int_equal(accepted(w), 1);
    world_settled(w, SINK_ROUTE, 0x51, 1, 1, &one, NULL, NULL, 1); /* that of task 2 is lost */
    world_submit(w, 4, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 1);
    w->settled = 1;
    world_settle(w, 3, DTQ_SUCCEEDED);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 3);
    accept(w, 8); /* there is nothing to accept */
    assert_int_equal(accepted(w), 0);
}

/* An answer that was under way when it was accepted does not make it diverged for ever. */
static void a_late_word_of_divergence_does_not_undo_an_acceptance(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 10);

    have_a_past(w);
    diverge(w);
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x62);
    diverge(w); /* .. which was said in the session before */
    accept(w, 7);
    diverge(w); /* the answer to the RESUME before that of the acceptance */
    world_settled(w, SINK_ROUTE, 0x51, 1, 0, NULL, NULL, NULL, 0); /* the answer to its RESUME */
    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 1);
}

static void an_acceptance_that_was_answered_holds_after_a_crash(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 1000);
    diverge(w);
    accept(w, 7);
    world_tick(w);
    assert_int_equal(accepted(w), 1);
    world_restart(w);
    w->settled = 0;
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
    assert_int_equal(resumed_after(w), 0);
}

/* What was being written of its old numbers says nothing of the new ones: with 1 acknowledged, the
 * sink would drop an entry that nobody has applied. */
static void a_commit_under_way_does_not_acknowledge_an_accepted_sinks_numbers(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_clear(w);
    w->journal_stuck = true;
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 300);
    diverge(w);
    accept(w, 7);
    world_journal(w);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_SETTLED_ACK)->msg.settled_ack.number, 0);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 0);
    w->journal_stuck = false;
    world_tick(w);
    world_journal(w);
    world_tick(w);
    assert_int_equal(accepted(w), 1);
}

static void only_a_sink_that_is_there_can_be_accepted(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_OPERATE};
    dtq_id ids[2] = {world_id(1), world_id(2)};

    for (uint32_t n = 0; n <= 2; n++) {
        struct world_sent *s;

        msg.operate =
            (struct dtqi_operate){.request = 1, .operation = DTQI_SINK_ACCEPT, .ids = ids, .n = n};
        world_msg(w, PRODUCER, &msg);
        s = world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY);
        assert_int_equal(s->msg.operate_reply.reason, DTQI_BAD_TASK);
        world_drop(w, s);
    }
}

/* Numbers that were dropped are named together with the run that goes on behind them: else the next
 * RESUME would be of no history (R34). */
static void numbers_that_were_dropped_are_the_present_runs(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_SETTLED};
    struct world_sent *s;

    msg.settled = (struct dtqi_settled){.sink = world_uid(0x51),
                                        .run = world_uid(0x53),
                                        .number_first = 10,
                                        .number_head = 9,
                                        .number_dropped = 9};
    world_msg(w, SINK_ROUTE, &msg);
    world_clear(w);
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x62);
    s = world_take(w, WORLD_SEND, DTQI_RESUME);
    assert_int_equal(s->msg.resume.after, 9);
    assert_int_equal(s->msg.resume.run.bytes[0], world_uid(0x53).bytes[0]);
    world_drop(w, s);
}

/* What waits for each sink, for people. */
static void sinks_are_listed_with_what_waits_for_them(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 3);
    struct dtqi_msg msg = {.type = DTQI_QUERY, .query = {.request = 1, .kind = DTQI_QUERY_SINKS}};
    const struct dtqi_sink_info *info;
    struct world_sent *s;
    uint32_t tickets[4];

    world_submit(w, 1, 7, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 4), 3);
    world_done(w, &x, tickets, 1);
    have_a_past(w);
    diverge(w);
    world_msg(w, PRODUCER, &msg);
    s = world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
    assert_int_equal(s->msg.query_reply.sinks_n, 1);
    info = &s->msg.query_reply.sinks[0];
    assert_true(info->diverged);
    assert_false(info->reachable);
    assert_int_equal(info->waiting, 4);
    assert_int_equal(info->dispatched, 2);
    assert_int_equal(info->unsettled, 1);
    assert_false(info->waiting_is_least);
    world_drop(w, s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_that_cannot_work_is_refused),
        T(tasks_go_out_in_the_order_of_their_submission),
        T(a_higher_priority_goes_first),
        T(the_message_names_what_the_worker_needs),
        T(no_more_goes_out_than_credit_allows),
        T(bytes_bound_what_goes_out_too),
        T(an_empty_worker_takes_one_task_of_any_size),
        cmocka_unit_test(a_batch_is_cut_at_its_bounds),
        T(a_burst_is_dealt_to_all_workers),
        T(a_worker_gets_only_the_queues_that_it_names),
        T(one_queue_does_not_starve_another),
        T(an_idle_worker_makes_a_busy_one_give_back),
        T(what_is_returned_comes_before_what_waits),
        T(a_ticket_of_another_worker_changes_nothing),
        T(ids_that_a_worker_does_not_hold_change_nothing),
        T(a_missing_report_ends_the_session),
        T(a_repeated_report_is_not_applied_twice),
        T(a_settled_task_is_forgotten_by_its_worker),
        T(a_settled_task_is_not_dispatched),
        T(the_stream_is_applied_in_order_only),
        T(a_wrong_ticket_does_not_settle_another_task),
        T(the_stream_is_acknowledged_after_the_commit),
        T(what_is_applied_during_a_commit_is_not_acknowledged_with_it),
        T(the_stream_goes_on_behind_its_last_number_after_a_restart),
        T(an_answer_outside_the_stream_settles),
        T(numbers_that_the_sink_dropped_are_skipped),
        T(a_settlement_from_elsewhere_changes_nothing),
        T(a_diverged_sink_settles_nothing),
        T(nothing_is_dispatched_for_a_diverged_sink),
        T(a_sink_with_its_newer_store_back_is_itself_again),
        T(an_accepted_sink_goes_on_with_the_history_that_it_has),
        T(a_late_word_of_divergence_does_not_undo_an_acceptance),
        T(an_acceptance_that_was_answered_holds_after_a_crash),
        T(a_commit_under_way_does_not_acknowledge_an_accepted_sinks_numbers),
        T(only_a_sink_that_is_there_can_be_accepted),
        T(numbers_that_were_dropped_are_the_present_runs),
        T(sinks_are_listed_with_what_waits_for_them),
    };

    return cmocka_run_group_tests_name("vent_core", tests, NULL, NULL);
}
