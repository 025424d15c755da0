/* The ventilator's core: the journal is the queue, memory holds a window of it (R22, R41, R42); and
 * what happens when the journal cannot write. */
#include "vent_world.h"

#define TASKS 1000u

static int begin(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 256; /* a window of 64 */
    cfg.load_tasks = 16;
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

/* n tasks from `first` on, in portions that the table takes. */
static void fill(struct world *w, uint32_t first, uint32_t n, struct world_task task)
{
    for (uint32_t i = 0; i < n; i += 50) {
        uint64_t request = world_submit(w, first + i, n - i < 50 ? n - i : 50, task);

        world_live(w, 200, NULL, NULL);
        assert_true(world_confirmed(w, request));
        assert_true(census_of(w).tasks <= 256);
    }
}

/* What a greedy worker gets, in order, each task settled at once. */
static uint32_t drain(struct world *w, struct world_worker *x, uint32_t *ret, uint32_t room)
{
    uint32_t n = 0;
    uint32_t tickets[8];

    for (int idle = 0; idle < 20;) {
        uint32_t got = 0;

        world_credit(w, x, n + 5);
        world_pass(w, 5);
        assert_true(n + 8 <= room + 8);
        got = world_tasks(w, x, ret + n, tickets, room - n < 8 ? room - n : 8);
        idle = got == 0 ? idle + 1 : 0;
        world_done(w, x, tickets, got);
        for (uint32_t i = 0; i < got; i++)
            world_settle(w, ret[n + i], DTQ_SUCCEEDED);
        n += got;
        if (n % 100 < 8) {
            world_sink_beat(w, false);
            world_beat(w, x);
        }
        world_clear(w);
    }
    return n;
}

static void expect_in_order(const uint32_t *got, uint32_t n, uint32_t first)
{
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(got[i], first + i);
}

static void memory_does_not_grow_with_the_backlog(void **state)
{
    struct world *w = *state;

    fill(w, 1, TASKS, (struct world_task){0});
    assert_int_equal(w->puts, TASKS);
    assert_true(census_of(w).tasks <= 80);
    assert_true(census_of(w).ready >= 50);
}

static void a_backlog_beyond_the_window_is_worked_off_in_order(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[TASKS + 8];

    fill(w, 1, TASKS, (struct world_task){0});
    x = world_worker(w, 1, 2, 0);
    assert_int_equal(drain(w, &x, got, TASKS), TASKS);
    expect_in_order(got, TASKS, 1);
    world_pass(w, 500);
    assert_int_equal(census_of(w).tasks, 0);
    assert_int_equal(vent_counters(w->v)->journal_deleted, TASKS);
}

/* More than they have room for together. */
static void queues_that_are_loaded_at_once_share_the_room(void **state)
{
    static const char *const queues[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct world *w = *state;
    struct world_worker x;

    for (uint32_t i = 0; i < 8; i++)
        fill(w, 100 * i + 1, 60, (struct world_task){.queue = queues[i]});
    world_restart(w);
    world_producer(w, PRODUCER);
    world_sink(w);
    x = world_worker(w, 1, 2, 0);
    world_live(w, 2000, &x, NULL);
    assert_true(census_of(w).ready >= 64);
    assert_int_equal(vent_counters(w->v)->tasks_evicted, 0);
}

static void a_restart_goes_on_with_the_backlog(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[TASKS + 8];

    fill(w, 1, TASKS, (struct world_task){0});
    world_restart(w);
    world_producer(w, PRODUCER);
    world_sink(w);
    assert_true(census_of(w).tasks <= 80);
    x = world_worker(w, 1, 2, 0);
    assert_int_equal(drain(w, &x, got, TASKS), TASKS);
    expect_in_order(got, TASKS, 1);
}

static void a_new_task_of_higher_priority_goes_before_a_full_window(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[TASKS + 108];

    fill(w, 1, TASKS, (struct world_task){.priority = 5});
    fill(w, 2001, 100, (struct world_task){.priority = 9});
    assert_true(census_of(w).tasks <= 120);
    x = world_worker(w, 1, 2, 0);
    assert_int_equal(drain(w, &x, got, TASKS + 100), TASKS + 100);
    expect_in_order(got, 100, 2001);
    expect_in_order(got + 100, TASKS, 1);
}

static void lower_priorities_are_loaded_after_higher_ones(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[808];

    fill(w, 1, 300, (struct world_task){.priority = 1});
    fill(w, 301, 300, (struct world_task){.priority = 3});
    fill(w, 601, 200, (struct world_task){.priority = 2});
    x = world_worker(w, 1, 2, 0);
    assert_int_equal(drain(w, &x, got, 800), 800);
    expect_in_order(got, 300, 301);
    expect_in_order(got + 300, 200, 601);
    expect_in_order(got + 500, 300, 1);
}

/* R2: the number of an attempt is not given twice. */
static void a_task_that_was_given_back_and_leaves_memory_keeps_its_attempt(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 10, 10);
    dtq_id ids[10];
    struct dtqi_report back = {.returned_ids = ids, .returned_n = 10};
    struct dtqi_msg msg = {.type = DTQI_QUERY};
    struct world_sent *s;

    for (uint32_t i = 0; i < 10; i++)
        ids[i] = world_id(1 + i);
    world_submit(w, 1, 10, (struct world_task){.priority = 1});
    world_pass(w, 300);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 10);
    world_report(w, &x, &back);
    x.credit_tasks = 0;
    world_live(w, 5000, NULL, NULL); /* and is gone */
    fill(w, 101, 300, (struct world_task){.priority = 2});
    assert_true(vent_counters(w->v)->tasks_evicted > 200);
    msg.query = (struct dtqi_query){
        .request = 77, .kind = DTQI_QUERY_TASK, .prefix = world_id(10), .prefix_bits = 128};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
    assert_int_equal(s->msg.query_reply.tasks_n, 1);
    assert_int_equal(s->msg.query_reply.tasks[0].attempt, 1);
    world_drop(w, s);
}

static void two_backlogs_are_both_worked_off(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[808];
    uint32_t in_first_half = 0;

    fill(w, 1, 400, (struct world_task){.queue = "a"});
    fill(w, 401, 400, (struct world_task){.queue = "b"});
    x = world_worker(w, 1, 2, 0);
    assert_int_equal(drain(w, &x, got, 800), 800);
    for (uint32_t i = 0; i < 400; i++)
        in_first_half += got[i] > 400;
    assert_true(in_first_half > 50);
}

static void tasks_that_arrive_while_a_backlog_is_worked_off_come_last(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[808];
    uint32_t n = 0;

    fill(w, 1, 400, (struct world_task){0});
    x = world_worker(w, 1, 2, 0);
    while (n < 800) {
        uint32_t tickets[8];
        uint32_t part;

        if (n % 40 == 0 && n < 400)
            world_submit(w, 401 + n, 40, (struct world_task){0});
        world_credit(w, &x, n + 4);
        for (int i = 0; (part = world_tasks(w, &x, got + n, tickets, 8)) == 0; i++) {
            assert_true(i < 50);
            world_pass(w, 5);
        }
        world_done(w, &x, tickets, part);
        for (uint32_t i = 0; i < part; i++)
            world_settle(w, got[n + i], DTQ_SUCCEEDED);
        n += part;
        world_sink_beat(w, false);
        world_beat(w, &x);
        world_clear(w);
    }
    expect_in_order(got, 800, 1);
}

/* More delayed tasks than memory has room for; all of them fire in their time. */
static void delayed_tasks_beyond_the_window_fire_in_time(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[608];
    uint32_t n = 0;
    uint64_t from_wall_ms = world_wall_ms(w) + 60000;

    for (uint32_t i = 0; i < 600; i += 20) {
        world_submit(w, 1 + i, 20,
                     (struct world_task){.not_before_wall_ms = from_wall_ms + (i * 7919) % 600});
        world_live(w, 150, NULL, NULL);
        assert_true(census_of(w).tasks <= 200);
    }
    x = world_worker(w, 1, 2, 0);
    x.credit_tasks = 1000;
    x.credit_bytes = 1ull << 40;
    while (world_wall_ms(w) + 1000 < from_wall_ms) {
        world_live(w, 1000, &x, NULL);
        world_clear(w);
    }
    assert_int_equal(vent_counters(w->v)->tasks_dispatched, 0);
    for (int i = 0; i < 200; i++) {
        uint32_t tickets[608];
        uint32_t part;

        world_credit(w, &x, 1000);
        world_pass(w, 20);
        part = world_tasks(w, &x, got + n, tickets, 608 - n);
        world_done(w, &x, tickets, part);
        for (uint32_t k = 0; k < part; k++)
            world_settle(w, got[n + k], DTQ_SUCCEEDED);
        n += part;
        world_sink_beat(w, false);
        world_clear(w);
    }
    assert_int_equal(n, 600);
    world_pass(w, 500);
    assert_int_equal(census_of(w).tasks, 0);
}

/* R42: a great many in backoff make room too. */
static void tasks_in_backoff_beyond_the_window_are_not_lost(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t failed = 0;
    uint32_t settled = 0;

    fill(w, 1, 300,
         (struct world_task){.retries = 3, .backoff_min_ms = 20000, .backoff_max_ms = 20000});
    x = world_worker(w, 1, 2, 0);
    for (int i = 0; i < 4000 && settled < 300; i++) {
        struct world_sent *next;

        world_credit(w, &x, failed + settled + 4);
        world_pass(w, 10);
        for (struct world_sent *s = w->sent; s != NULL; s = next) {
            next = s->next;
            for (uint32_t k = 0; s->kind == WORLD_LANE && k < s->msg.tasks.n; k++) {
                uint32_t number = world_number(&s->msg.tasks.ids[k]);
                uint32_t attempt = dtqi_col32(s->msg.tasks.attempts, k, 1);

                x.lane_seq = s->msg.tasks.lane_seq;
                if (attempt == 1) {
                    world_fail(w, &x, number, x.epoch, 1, DTQ_REASON_ERROR);
                    failed++;
                } else {
                    world_settle(w, number, DTQ_SUCCEEDED);
                    settled++;
                }
            }
        }
        world_clear(w);
        if (i % 50 == 0) {
            world_sink_beat(w, false);
            world_beat(w, &x);
        }
        assert_true(census_of(w).tasks <= 256);
    }
    assert_int_equal(failed, 300);
    assert_int_equal(settled, 300);
    assert_true(vent_counters(w->v)->tasks_evicted > 100);
}

/* R22: what leaves memory while a load is on its way is not behind what that load brings. */
static void a_load_that_an_eviction_overtook_leaves_no_hole(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[308];
    uint32_t tickets[64];
    uint32_t n;

    fill(w, 1, 200, (struct world_task){.priority = 1});
    x = world_worker(w, 1, 2, 0);
    w->journal_stuck = true;
    world_credit(w, &x, 36);
    world_tick(w);
    n = world_tasks(w, &x, got, tickets, 64);
    assert_int_equal(n, 36);
    assert_int_equal(w->jobs_n, 1); /* the load */
    assert_non_null(w->jobs[0].read);
    world_submit(w, 301, 60, (struct world_task){.priority = 9});
    world_tick(w); /* too much: the last ones go */
    assert_true(vent_counters(w->v)->tasks_evicted > 136);
    w->journal_stuck = false;
    world_journal(w);
    world_done(w, &x, tickets, n);
    for (uint32_t i = 0; i < n; i++)
        world_settle(w, got[i], DTQ_SUCCEEDED);
    x.credit_tasks = 36;
    for (uint32_t more = 1; n < 260 && more < 2000; more++) {
        uint32_t part;

        world_credit(w, &x, n + 4);
        world_pass(w, 5);
        part = world_tasks(w, &x, got + n, tickets, 64);
        world_done(w, &x, tickets, part);
        for (uint32_t i = 0; i < part; i++)
            world_settle(w, got[n + i], DTQ_SUCCEEDED);
        n += part;
        if (more % 50 == 0) {
            world_sink_beat(w, false);
            world_beat(w, &x);
        }
        world_clear(w);
    }
    assert_int_equal(n, 260);
    expect_in_order(got + 36, 60, 301);
    expect_in_order(got + 96, 164, 37);
}

/* A backlog that nobody serves fills the window; what somebody serves gets its place. */
static void a_backlog_that_nobody_serves_does_not_starve_another(void **state)
{
    struct world *w = *state;
    struct world_worker x = {.route = 2001, .instance = 0x21, .slots = 2};
    static uint32_t got[308];

    fill(w, 1, 400, (struct world_task){.queue = "nobody"});
    fill(w, 401, 300, (struct world_task){.queue = "b"});
    world_submit(w, 701, 1,
                 (struct world_task){.queue = "b", .not_before_wall_ms = world_wall_ms(w) + 3000});
    world_live(w, 200, NULL, NULL);
    world_worker_hello(w, &x, "b", 0);
    assert_int_equal(drain(w, &x, got, 300), 300);
    expect_in_order(got, 300, 401);
    world_live(w, 3500, &x, NULL);
    world_credit(w, &x, 400);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, got, NULL, 8), 1);
    assert_int_equal(got[0], 701);
}

/* An idle ventilator sleeps, however much waits for workers. */
static void an_idle_ventilator_sleeps(void **state)
{
    struct world *w = *state;
    uint32_t ticks = 0;

    for (uint32_t i = 0; i < 35; i++) { /* more than are looked at in one tick */
        static char name[35][8];

        snprintf(name[i], sizeof name[i], "q%u", i);
        fill(w, 1 + 10 * i, 10, (struct world_task){.queue = name[i]});
    }
    world_submit(w, 900, 20, (struct world_task){.not_before_wall_ms = world_wall_ms(w) + 900000});
    world_live(w, 1000, NULL, NULL);
    for (uint64_t until_ms = w->now_ms + 2500; w->now_ms < until_ms; ticks++) {
        uint64_t next_ms = vent_deadline_ms(w->v);

        assert_true(next_ms > w->now_ms);
        w->now_ms = next_ms < until_ms ? next_ms : until_ms;
        world_tick(w);
    }
    assert_true(ticks <= 6);
}

/* ---------------------------------------------------------------- what changed since (R22) */

static void what_settles_while_it_is_loaded_stays_settled(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[408];

    fill(w, 1, 400, (struct world_task){0});
    world_restart(w);
    world_producer(w, PRODUCER);
    w->journal_stuck = true;
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
    w->sink_session = world_take(w, WORLD_SEND, DTQI_WELCOME)->msg.welcome.session;
    for (uint32_t i = 1; i <= 100; i += 2) /* a load is on its way meanwhile */
        world_settle(w, i, DTQ_SUCCEEDED);
    world_tick(w);
    w->journal_stuck = false;
    world_journal(w);
    x = world_worker(w, 1, 2, 0);
    assert_int_equal(drain(w, &x, got, 400), 350);
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(got[i], 2 * i + 2);
    expect_in_order(got + 50, 300, 101);
}

static void a_task_outside_the_window_is_cancelled(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    dtq_id id = world_id(900);
    struct world_worker x;
    static uint32_t got[TASKS + 8];

    fill(w, 1, TASKS, (struct world_task){0});
    msg.cancel = (struct dtqi_cancel){.request = 9, .ids = &id, .n = 1};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    world_tick(w);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY)->msg.cancel_reply.states[0],
                     DTQ_READY);
    assert_int_equal(world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes.kinds[0],
                     DTQ_CANCELLED);
    world_settle(w, 900, DTQ_CANCELLED);
    x = world_worker(w, 1, 2, 0);
    assert_int_equal(drain(w, &x, got, TASKS), TASKS - 1);
}

static void a_whole_backlog_is_cancelled(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    uint32_t cancelled = 0;

    fill(w, 1, 500, (struct world_task){0});
    msg.cancel = (struct dtqi_cancel){.request = 9, .queue = dtqi_str("q")};
    world_msg(w, PRODUCER, &msg);
    for (int i = 0; i < 2000 && cancelled < 500; i++) {
        struct world_sent *next;

        world_pass(w, 10);
        for (struct world_sent *s = w->sent; s != NULL; s = next) {
            next = s->next;
            for (uint32_t k = 0; s->kind == WORLD_SINK && k < s->msg.outcomes.n; k++) {
                assert_int_equal(s->msg.outcomes.kinds[k], DTQ_CANCELLED);
                world_settle(w, world_number(&s->msg.outcomes.ids[k]), DTQ_CANCELLED);
                cancelled++;
            }
        }
        world_clear(w);
        world_sink_beat(w, false);
    }
    assert_int_equal(cancelled, 500);
    world_submit(w, 601, 1, (struct world_task){0}); /* what comes after is not meant */
    world_pass(w, 300);
    assert_int_equal(census_of(w).ready, 1);
}

/* An id of the journal that is not in memory: the put says so, and the older record stands. */
static void a_fresh_copy_of_a_task_outside_the_window_is_not_run_twice(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t got[408];
    uint64_t request;

    fill(w, 1, 400, (struct world_task){0});
    request = world_submit(w, 390, 2, (struct world_task){0});
    world_pass(w, 300);
    assert_true(world_confirmed(w, request));
    assert_int_equal(vent_counters(w->v)->tasks_duplicate, 2);
    x = world_worker(w, 1, 2, 0);
    assert_int_equal(drain(w, &x, got, 400), 400);
    expect_in_order(got, 400, 1);
}

/* ---------------------------------------------------------------- the journal fails */

static void a_full_disk_refuses_new_tasks_and_recovers(void **state)
{
    struct world *w = *state;
    uint64_t request;
    uint64_t second;

    w->journal_err = DTQ_ENOSPC;
    request = world_submit(w, 1, 2, (struct world_task){0});
    world_pass(w, 100);
    assert_null(world_find(w, WORLD_SEND, DTQI_SUBMITTED)); /* neither yes nor no */
    world_submit(w, 3, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_NO_SPACE);
    world_pass(w, 3000);
    assert_false(world_confirmed(w, request));
    assert_true(vent_counters(w->v)->journal_errors >= 3);
    assert_false(w->fatal);
    w->journal_err = DTQ_OK;
    world_pass(w, 1500);
    assert_true(world_confirmed(w, request));
    second = world_submit(w, 3, 1, (struct world_task){0});
    world_tick(w);
    assert_true(world_confirmed(w, second));
}

static void a_full_disk_does_not_keep_what_is_there_from_being_settled(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    uint32_t ticket;

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 200);
    assert_int_equal(world_tasks(w, &x, NULL, &ticket, 1), 1);
    w->journal_err = DTQ_ENOSPC;
    world_submit(w, 2, 1, (struct world_task){0});
    world_pass(w, 300);
    w->journal_err = DTQ_OK; /* deletes fit again before any put is tried */
    world_done(w, &x, &ticket, 1);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 150);
    assert_int_equal(vent_counters(w->v)->journal_deleted, 1);
    assert_int_equal(vent_counters(w->v)->journal_written, 1);
}

/* A failed fsync says nothing about the past: stop confirming, and go. */
static void a_failed_write_is_fatal(void **state)
{
    struct world *w = *state;

    w->journal_err = DTQ_EIO;
    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_true(w->fatal);
    assert_null(world_find(w, WORLD_SEND, DTQI_SUBMITTED));
}

static void a_nearly_full_map_refuses_new_tasks(void **state)
{
    struct world *w = *state;

    w->space_used = 91;
    w->space_max = 100;
    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    world_submit(w, 2, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BUSY);
    w->space_used = 10;
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 300);
    world_submit(w, 2, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
}

static void the_backlog_in_bytes_is_bounded(void **state)
{
    struct vent_cfg cfg;
    struct world_sent *s;
    struct world *w;
    uint32_t taken;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 256;
    cfg.backlog_bytes_max = 100;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_submit(w, 1, 20, (struct world_task){0});
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_SUBMITTED);
    assert_in_range(s->msg.submitted.refused_n, 1, 19); /* what fits is taken */
    assert_true(
        dtqi_str_eq(s->msg.submitted.refused_text[0], dtqi_str("max_backlog_bytes is reached")));
    taken = 20 - s->msg.submitted.refused_n;
    world_drop(w, s);
    world_submit(w, 21, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BUSY);
    for (uint32_t i = 1; i <= taken; i++)
        world_settle(w, i, DTQ_SUCCEEDED);
    world_submit(w, 21, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    world_free(w);
}

/* Workers go on with these while the journal commits. */
static void a_backlog_is_read_several_loads_ahead(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 256;
    cfg.load_tasks = 4;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    fill(w, 1, 200, (struct world_task){0});
    world_restart(w);
    world_sink(w);
    (void)world_worker(w, 1, 1, 0); /* it serves the queue, and takes nothing yet */
    world_pass(w, 500);
    assert_in_range(census_of(w).ready, 29, 36);
    world_free(w);
}

/* The window is shared by those that wait to be loaded. */
static void many_backlogs_are_read_less_far_ahead(void **state)
{
    static const char *const queues[] = {"a", "b", "c", "d", "e"};
    struct vent_cfg cfg;
    struct world *w;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 512; /* a window of 128 */
    cfg.load_tasks = 4;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    for (uint32_t i = 0; i < 5; i++)
        fill(w, 1 + 100 * i, 100, (struct world_task){.queue = queues[i]});
    world_restart(w);
    world_sink(w);
    (void)world_worker(w, 1, 1, 0);
    world_pass(w, 500);
    assert_in_range(census_of(w).ready, 5 * 21, 5 * 24);
    world_free(w);
}

/* ---------------------------------------------------------------- large tasks */

static char large_body[64 * 1024];

/* 64 of them fill it. */
static struct world *world_for_large(void)
{
    struct vent_cfg cfg;
    struct world *w;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.resident_bytes_max = 64 * sizeof large_body;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    return w;
}

static void backlogs_of_large_tasks_leave_room_for_new_ones(void **state)
{
    static const char *const queues[] = {"a", "b", "c", "d", "e"};
    struct world *w = world_for_large();

    *state = w;
    for (uint32_t i = 0; i < 40; i++)
        fill(w, 1 + 5 * i, 5,
             (struct world_task){
                 .queue = queues[i % 5], .body = large_body, .body_len = sizeof large_body});
}

/* So they come into memory all the same, and leave it. */
static void large_tasks_that_come_before_others_do(void **state)
{
    struct world *w = world_for_large();

    *state = w;
    fill(w, 1, 1, (struct world_task){.priority = 1});
    for (uint32_t i = 0; i < 40; i++)
        fill(w, 2 + 5 * i, 5,
             (struct world_task){.priority = 9, .body = large_body, .body_len = sizeof large_body});
}

/* What a worker has fills memory: a delayed task that is read is put out, and would be read again.
 */
static void delayed_tasks_are_not_read_again_and_again_while_memory_is_full(void **state)
{
    struct world *w = world_for_large();
    struct world_worker x = world_worker(w, 1, 64, 64);
    uint32_t tickets[64];

    *state = w;
    for (uint32_t i = 0; i < 50; i += 5) {
        world_submit(w, 1 + i, 5,
                     (struct world_task){.body = large_body, .body_len = sizeof large_body});
        world_tick(w);
    }
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 64), 50);
    world_submit(w, 100, 5, (struct world_task){.delay_ms = 3600000});
    for (uint32_t i = 0; i < 200; i++) /* as many messages that change nothing */
        world_tick(w);
    assert_in_range(vent_counters(w->v)->tasks_evicted, 1, 10);
}

/* ---------------------------------------------------------------- what leaves memory first */

/* What was delayed becomes ready out of the order of admission. */
static void what_was_delayed_leaves_memory_before_a_higher_priority(void **state)
{
    struct world *w = *state;
    uint32_t got[64];
    uint32_t tickets[64];
    uint32_t n;
    struct world_worker x;

    fill(w, 1, 1, (struct world_task){.priority = 1});
    fill(w, 2, 20, (struct world_task){.priority = 1, .delay_ms = 500});
    fill(w, 22, 1, (struct world_task){.priority = 1});
    world_live(w, 1000, NULL, NULL);
    assert_int_equal(census_of(w).ready, 22);
    fill(w, 101, 55, (struct world_task){.priority = 9}); /* 13 more than the window takes */
    assert_int_equal(census_of(w).ready, 64);
    x = world_worker(w, 1, 1, 0);
    world_credit(w, &x, 64);
    world_tick(w);
    n = world_tasks(w, &x, got, tickets, 64);
    assert_true(n >= 55);
    expect_in_order(got, 55, 101);
}

/* .. and among its own, in the order of admission: so what stays is what comes first. */
static void what_was_delayed_leaves_memory_in_order(void **state)
{
    struct world *w = *state;
    uint32_t got[64];
    uint32_t tickets[64];
    struct world_worker x;

    fill(w, 1, 5, (struct world_task){.priority = 1});
    fill(w, 6, 10, (struct world_task){.priority = 1, .delay_ms = 1500});
    fill(w, 16, 10, (struct world_task){.priority = 1, .delay_ms = 1000});
    fill(w, 26, 5, (struct world_task){.priority = 1});
    world_live(w, 2000, NULL, NULL);
    assert_int_equal(census_of(w).ready, 30);
    fill(w, 101, 45, (struct world_task){.priority = 9}); /* 11 more than the window takes */
    assert_int_equal(census_of(w).ready, 64);
    x = world_worker(w, 1, 1, 0);
    world_credit(w, &x, 64);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, got, tickets, 64), 64);
    expect_in_order(got, 45, 101);
    expect_in_order(got + 45, 19, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(memory_does_not_grow_with_the_backlog),
        T(a_backlog_beyond_the_window_is_worked_off_in_order),
        T(queues_that_are_loaded_at_once_share_the_room),
        T(a_restart_goes_on_with_the_backlog),
        T(a_new_task_of_higher_priority_goes_before_a_full_window),
        T(lower_priorities_are_loaded_after_higher_ones),
        T(a_task_that_was_given_back_and_leaves_memory_keeps_its_attempt),
        T(two_backlogs_are_both_worked_off),
        T(tasks_that_arrive_while_a_backlog_is_worked_off_come_last),
        T(delayed_tasks_beyond_the_window_fire_in_time),
        T(tasks_in_backoff_beyond_the_window_are_not_lost),
        T(a_load_that_an_eviction_overtook_leaves_no_hole),
        T(a_backlog_that_nobody_serves_does_not_starve_another),
        T(an_idle_ventilator_sleeps),
        T(what_settles_while_it_is_loaded_stays_settled),
        T(a_task_outside_the_window_is_cancelled),
        T(a_whole_backlog_is_cancelled),
        T(a_fresh_copy_of_a_task_outside_the_window_is_not_run_twice),
        T(a_full_disk_refuses_new_tasks_and_recovers),
        T(a_full_disk_does_not_keep_what_is_there_from_being_settled),
        T(a_failed_write_is_fatal),
        T(a_nearly_full_map_refuses_new_tasks),
        cmocka_unit_test_teardown(delayed_tasks_are_not_read_again_and_again_while_memory_is_full,
                                  end),
        cmocka_unit_test(the_backlog_in_bytes_is_bounded),
        cmocka_unit_test(a_backlog_is_read_several_loads_ahead),
        cmocka_unit_test(many_backlogs_are_read_less_far_ahead),
        cmocka_unit_test_teardown(backlogs_of_large_tasks_leave_room_for_new_ones, end),
        cmocka_unit_test_teardown(large_tasks_that_come_before_others_do, end),
        T(what_was_delayed_leaves_memory_before_a_higher_priority),
        T(what_was_delayed_leaves_memory_in_order),
    };

    return cmocka_run_group_tests_name("vent_window", tests, NULL, NULL);
}
