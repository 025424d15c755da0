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

/* R34. */
static void a_diverged_sink_settles_nothing(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_SETTLED};

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    msg.settled =
        (struct dtqi_settled){.sink = world_uid(0x51), .run = world_uid(0x52), .diverged = true};
    world_msg(w, SINK_ROUTE, &msg);
    world_settle(w, 1, DTQ_SUCCEEDED);
    assert_int_equal(vent_counters(w->v)->tasks_settled, 0);
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
    };

    return cmocka_run_group_tests_name("vent_core", tests, NULL, NULL);
}
