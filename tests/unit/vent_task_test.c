/* The ventilator's core: what becomes of a task: failures and retries, proposals, delay, expiry,
 * cancellation, overdue outcomes, sinks out of reach, queries (R16, R21 to R24, R30, R36). */
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

/* Task 1 is submitted and comes to the worker; its ticket. */
static uint32_t give(struct world *w, struct world_worker *x, struct world_task task)
{
    uint32_t ticket;

    world_submit(w, 1, 1, task);
    world_tick(w);
    assert_int_equal(world_tasks(w, x, NULL, &ticket, 1), 1);
    return ticket;
}

/* The oldest OUTCOMES; it stays where it is. */
static const struct dtqi_outcomes *proposal(struct world *w)
{
    return &world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes;
}

/* ---------------------------------------------------------------- failures (R21) */

static void a_failed_task_is_tried_again_after_its_backoff(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct world_sent *s;

    give(w, &x, (struct world_task){.retries = 1, .backoff_min_ms = 1000, .backoff_max_ms = 8000});
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_FORGET); /* R23 */
    assert_int_equal(s->msg.forget.attempts[0], 1);
    assert_int_equal(census_of(w).scheduled, 1);
    world_live(w, 990, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
    world_live(w, 1100, &x, NULL); /* at most twice the minimum, the first time */
    s = world_take(w, WORLD_LANE, DTQI_TASKS);
    assert_int_equal(s->msg.tasks.attempts[0], 2);
    assert_int_equal(vent_counters(w->v)->tasks_retried, 1);
}

static void backoff_grows_and_stays_within_its_bounds(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 100);
    uint64_t longest = 0;

    give(w, &x, (struct world_task){.retries = 9, .backoff_min_ms = 100, .backoff_max_ms = 1500});
    for (uint32_t attempt = 1; attempt < 9; attempt++) {
        uint64_t from_ms = w->now_ms;

        world_fail(w, &x, 1, x.epoch, attempt, DTQ_REASON_ERROR);
        while (world_tasks(w, &x, NULL, NULL, 1) == 0) {
            world_live(w, 50, &x, NULL);
            assert_true(w->now_ms - from_ms <= 1600);
        }
        assert_true(w->now_ms - from_ms >= 100);
        if (w->now_ms - from_ms > longest)
            longest = w->now_ms - from_ms;
    }
    assert_true(longest > 250);
}

static void the_last_failure_is_proposed_to_the_sink(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    const struct dtqi_outcomes *m;

    give(w, &x, (struct world_task){.retries = 1, .reply_to = 5});
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_fail(w, &x, 1, x.epoch, 2, DTQ_REASON_EXIT);
    world_tick(w);
    m = proposal(w);
    assert_int_equal(m->n, 1);
    assert_int_equal(m->kinds[0], DTQ_FAILED);
    assert_int_equal(m->attempts[0], 2);
    assert_int_equal(m->reasons[0], DTQ_REASON_EXIT);
    assert_int_equal(m->reply_to[0], 5);
    assert_int_equal(m->bodies[0].len, strlen("it broke"));
    assert_memory_equal(m->bodies[0].at, "it broke", 8);
    assert_true(dtqi_str_eq(m->worker, dtqi_str("worker")));
    world_settle(w, 1, DTQ_FAILED);
    world_pass(w, 300);
    assert_int_equal(vent_counters(w->v)->tasks_failed, 1);
    assert_int_equal(census_of(w).tasks, 0);
}

/* R24: at each settle_overdue, until the sink answers. */
static void a_proposal_is_repeated_until_it_is_settled(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    give(w, &x, (struct world_task){0});
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_live(w, 4000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 1);
    world_live(w, 2000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 2);
    world_settle(w, 1, DTQ_SUCCEEDED); /* another attempt's success came first */
    world_live(w, 8000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 2);
    assert_int_equal(vent_counters(w->v)->tasks_failed, 0);
}

static void a_proposal_that_could_not_be_sent_comes_again_soon(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct vent_event blocked = {.type = VENT_EV_SINK_BLOCKED, .sink = 0};

    give(w, &x, (struct world_task){0});
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 1);
    world_event(w, &blocked);
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 1);
    world_pass(w, 300);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 2);
}

static void open_proposals_are_bounded(void **state)
{
    struct vent_cfg cfg;
    struct world *w;
    struct world_worker x;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 256;
    cfg.proposals_max = 2;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    x = world_worker(w, 1, 5, 10);
    world_submit(w, 1, 5, (struct world_task){0});
    world_tick(w);
    for (uint32_t i = 1; i <= 5; i++)
        world_fail(w, &x, i, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    assert_int_equal(proposal(w)->n, 2);
    world_clear(w);
    world_settle(w, 1, DTQ_FAILED);
    world_tick(w);
    assert_int_equal(proposal(w)->n, 1);
    world_free(w);
}

/* A handler may say that there is no point, or when to come again. */
static void what_the_handler_says_is_honoured(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 10);
    struct dtqi_failure f[2] = {
        {.id = world_id(1), .epoch = x.epoch, .attempt = 1, .reason = 1, .no_retry = true},
        {.id = world_id(2), .epoch = x.epoch, .attempt = 1, .reason = 1, .retry_after_ms = 3000}};
    struct dtqi_report r = {.failures = f, .failures_n = 2};
    uint32_t got[2];

    world_submit(w, 1, 2, (struct world_task){.retries = 9});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(world_number(&proposal(w)->ids[0]), 1);
    world_live(w, 2900, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 0);
    world_live(w, 200, &x, NULL);
    assert_int_equal(world_tasks(w, &x, got, NULL, 2), 1);
    assert_int_equal(got[0], 2);
}

/* R21: a slot that died counts to crash_limit, not to the retries. */
/* Fails once, with this reason and code 7; is it tried again? */
static bool is_retried(struct world *w, struct world_task task, dtq_reason reason)
{
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct dtqi_failure f = {.id = world_id(1), .attempt = 1, .reason = reason, .code = 7};
    struct dtqi_report r = {.failures = &f, .failures_n = 1};

    give(w, &x, task);
    f.epoch = x.epoch;
    world_report(w, &x, &r);
    world_tick(w);
    return world_find(w, WORLD_SINK, DTQI_OUTCOMES) == NULL;
}

static void only_failures_that_the_task_names_are_tried_again(void **state)
{
    assert_true(is_retried(*state,
                           (struct world_task){.retries = 3, .retry_on = "timeout,exit:5-9"},
                           DTQ_REASON_EXIT));
}

static void failures_that_the_task_does_not_name_are_final(void **state)
{
    assert_false(is_retried(*state, (struct world_task){.retries = 3, .retry_on = "timeout,exit:8"},
                            DTQ_REASON_EXIT));
}

static void failures_that_the_task_excludes_are_final(void **state)
{
    assert_false(is_retried(
        *state,
        (struct world_task){.retries = 3, .retry_on = "signal", .no_retry_on = "signal:BUS"},
        DTQ_REASON_SIGNAL));
}

static void a_crash_counts_to_its_own_limit(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    give(w, &x, (struct world_task){.retries = 9, .crash_limit = 2});
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_CRASH);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    world_fail(w, &x, 1, x.epoch, 2, DTQ_REASON_OOM);
    world_tick(w);
    assert_int_equal(proposal(w)->reasons[0], DTQ_REASON_OOM);
}

/* R1: of another attempt, epoch or worker: forgotten, and nothing else. */
static void a_stale_failure_changes_nothing(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct world_worker y = world_worker(w, 2, 1, 0);

    give(w, &x, (struct world_task){0});
    world_fail(w, &x, 1, x.epoch, 2, DTQ_REASON_ERROR);
    world_fail(w, &x, 1, x.epoch - 1, 1, DTQ_REASON_ERROR);
    world_fail(w, &x, 77, x.epoch, 1, DTQ_REASON_ERROR);
    world_fail(w, &y, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    assert_int_equal(vent_counters(w->v)->reports_stale, 4);
    assert_int_equal(census_of(w).leased, 1);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    assert_true(world_count(w, WORLD_SEND, DTQI_FORGET) >= 2); /* one for each epoch and worker */
}

static void counts_survive_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    give(w, &x, (struct world_task){.retries = 1, .backoff_min_ms = 100, .backoff_max_ms = 100});
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_pass(w, 400);
    world_kill(w);
    world_start(w);
    world_sink(w);
    world_live(w, 6000, NULL, NULL);
    x = world_worker(w, 2, 1, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_fail(w, &x, 1, x.epoch, 2, DTQ_REASON_ERROR);
    world_tick(w);
    assert_int_equal(proposal(w)->kinds[0], DTQ_FAILED);
}

/* R24: the mark in the journal makes a restarted ventilator propose it again, and not run it. */
static void a_proposal_survives_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    give(w, &x, (struct world_task){0});
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_pass(w, 400);
    world_kill(w);
    world_start(w);
    world_sink(w);
    x = world_worker(w, 2, 1, 10);
    world_live(w, 6000, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
    assert_int_equal(proposal(w)->kinds[0], DTQ_FAILED);
    assert_int_equal(proposal(w)->reasons[0], DTQ_REASON_ERROR);
}

/* ---------------------------------------------------------------- time */

static void a_delayed_task_waits_for_its_time(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    world_submit(w, 1, 1, (struct world_task){.not_before_wall_ms = world_wall_ms(w) + 5000});
    world_live(w, 4900, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
    assert_int_equal(census_of(w).scheduled, 1);
    world_live(w, 200, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
}

static void a_delayed_task_fires_on_the_millisecond(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    uint64_t due_ms = w->now_ms + 1234;

    world_submit(w, 1, 1, (struct world_task){.not_before_wall_ms = world_wall_ms(w) + 1234});
    world_pass(w, 1233);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
    world_pass(w, 1);
    assert_int_equal(w->now_ms, due_ms);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
}

static void a_jump_of_the_wall_clock_is_noticed(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    world_submit(w, 1, 1, (struct world_task){.not_before_wall_ms = world_wall_ms(w) + 3600000});
    world_live(w, 1000, &x, NULL);
    w->wall_offset_ms = 3600000;
    world_live(w, 1100, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    assert_int_equal(vent_counters(w->v)->workers_lost, 0);
}

static void a_delayed_task_survives_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 2, (struct world_task){.not_before_wall_ms = world_wall_ms(w) + 8000});
    world_pass(w, 300);
    world_restart(w);
    world_sink(w);
    x = world_worker(w, 1, 1, 10);
    world_live(w, 6500, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 0);
    world_live(w, 1500, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
}

static void an_expired_task_is_never_dispatched(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 0);

    world_submit(w, 1, 1, (struct world_task){.expires_ms = 2000});
    world_live(w, 1900, &x, NULL);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    world_live(w, 200, &x, NULL);
    assert_int_equal(proposal(w)->kinds[0], DTQ_EXPIRED);
    world_credit(w, &x, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
    world_settle(w, 1, DTQ_EXPIRED);
    assert_int_equal(vent_counters(w->v)->tasks_expired, 1);
}

/* A worker returns what expired before it started; it is not given out again. */
static void a_task_that_expired_at_a_worker_is_proposed(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    struct dtqi_report r = {.returned_ids = &id, .returned_n = 1};

    give(w, &x, (struct world_task){.expires_ms = 2000});
    world_live(w, 2100, &x, NULL);
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(proposal(w)->kinds[0], DTQ_EXPIRED);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
}

/* ---------------------------------------------------------------- cancel (R36) */

static void cancel(struct world *w, const dtq_id *ids, uint32_t n)
{
    struct dtqi_msg msg = {.type = DTQI_CANCEL};

    msg.cancel = (struct dtqi_cancel){.request = ++w->requests, .ids = ids, .n = n};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
}

static void a_waiting_task_is_cancelled(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 0);
    dtq_id id = world_id(1);
    struct world_sent *s;

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    cancel(w, &id, 1);
    s = world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY);
    assert_int_equal(s->msg.cancel_reply.n, 1);
    assert_int_equal(s->msg.cancel_reply.states[0], DTQ_READY);
    assert_int_equal(s->msg.cancel_reply.cancelling[0], 1);
    world_tick(w);
    assert_int_equal(proposal(w)->kinds[0], DTQ_CANCELLED);
    world_credit(w, &x, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1);
    world_settle(w, 1, DTQ_CANCELLED);
    assert_int_equal(vent_counters(w->v)->tasks_cancelled, 1);
}

/* The mark is durable before anybody is told. */
static void a_cancellation_is_answered_after_its_commit(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    w->journal_stuck = true;
    cancel(w, &id, 1);
    assert_null(world_find(w, WORLD_SEND, DTQI_CANCEL_REPLY));
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    w->journal_stuck = false;
    world_journal(w);
    world_tick(w);
    assert_non_null(world_find(w, WORLD_SEND, DTQI_CANCEL_REPLY));
    assert_non_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
}

static void a_running_task_is_stopped_before_it_is_cancelled(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    struct dtqi_report r = {.stopped_ids = &id, .stopped_n = 1};
    struct world_sent *s;

    give(w, &x, (struct world_task){0});
    cancel(w, &id, 1);
    s = world_take(w, WORLD_SEND, DTQI_STOP_ATTEMPTS);
    assert_int_equal(s->to, x.route);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY)->msg.cancel_reply.states[0],
                     DTQ_DISPATCHED);
    world_tick(w);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES)); /* its tree may still be there */
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(proposal(w)->kinds[0], DTQ_CANCELLED);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
}

static void a_cancelled_task_of_a_dead_worker_is_proposed(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);

    give(w, &x, (struct world_task){0});
    cancel(w, &id, 1);
    world_live(w, 4000, NULL, NULL);
    assert_int_equal(proposal(w)->kinds[0], DTQ_CANCELLED);
}

/* A success that came first is the outcome. */
static void a_task_that_was_done_first_is_not_cancelled(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    uint32_t ticket = give(w, &x, (struct world_task){0});

    cancel(w, &id, 1);
    world_done(w, &x, &ticket, 1);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 500);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    assert_int_equal(vent_counters(w->v)->tasks_cancelled, 0);
    assert_int_equal(census_of(w).tasks, 0);
}

static void a_delayed_task_is_cancelled(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){.not_before_wall_ms = world_wall_ms(w) + 90000});
    world_tick(w);
    cancel(w, &id, 1);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY)->msg.cancel_reply.states[0],
                     DTQ_SCHEDULED);
    world_tick(w);
    assert_int_equal(proposal(w)->kinds[0], DTQ_CANCELLED);
}

static void ids_that_nobody_knows_are_not_found(void **state)
{
    struct world *w = *state;
    dtq_id ids[2] = {world_id(50), world_id(51)};
    struct world_sent *s;

    cancel(w, ids, 2);
    s = world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY);
    assert_int_equal(s->msg.cancel_reply.states[1], DTQ_NOT_FOUND);
    assert_int_equal(s->msg.cancel_reply.cancelling[1], 0);
}

static void cancelling_twice_changes_nothing(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    cancel(w, &id, 1);
    world_clear(w);
    cancel(w, &id, 1);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY)->msg.cancel_reply.cancelling[0],
                     1);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
}

static void a_cancel_mark_survives_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    cancel(w, &id, 1);
    world_restart(w);
    world_sink(w);
    x = world_worker(w, 1, 1, 10);
    world_live(w, 6000, &x, NULL);
    assert_int_equal(proposal(w)->kinds[0], DTQ_CANCELLED);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
}

static void a_whole_queue_is_cancelled(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    uint32_t n = 0;

    world_submit(w, 1, 5, (struct world_task){.queue = "a"});
    world_submit(w, 6, 2, (struct world_task){.queue = "b"});
    world_tick(w);
    msg.cancel = (struct dtqi_cancel){.request = 9, .queue = dtqi_str("a")};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    world_tick(w);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY)->msg.cancel_reply.count, 5);
    for (struct world_sent *s = w->sent; s != NULL; s = s->next)
        n += s->kind == WORLD_SINK ? s->msg.outcomes.n : 0;
    assert_int_equal(n, 5);
    assert_int_equal(census_of(w).ready, 2);
}

/* ---------------------------------------------------------------- sinks out of reach */

/* R30: done and not settled: asked for again, at growing intervals, then run elsewhere. */
static void an_overdue_outcome_is_asked_for_again(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    uint32_t ticket = give(w, &x, (struct world_task){0});
    uint32_t one = 1;

    world_done(w, &x, &ticket, 1);
    world_hold(&x, x.epoch, &one, 1, 1);
    world_live(w, 4000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_RESEND), 0);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_SINKS), 0);
    world_live(w, 4000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_RESEND), 1);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_SINKS), 1); /* where that is, once more */
    world_live(w, 4000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_RESEND), 1);
    world_live(w, 6000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_RESEND), 2);
    world_live(w, 45000, &x, NULL);
    assert_int_equal(vent_counters(w->v)->tasks_rerouted, 1);
    assert_int_equal(census_of(w).ready, 1);
}

static void nothing_is_overdue_while_the_sink_is_away(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    uint32_t ticket = give(w, &x, (struct world_task){0});
    uint32_t one = 1;

    world_done(w, &x, &ticket, 1);
    world_hold(&x, x.epoch, &one, 1, 1);
    w->sink_session = 0; /* it says nothing any more */
    world_live(w, 90000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_RESEND), 0);
    assert_int_equal(vent_counters(w->v)->tasks_rerouted, 0);
    assert_int_equal(census_of(w).done, 1);
}

/* R16. */
static void tasks_of_a_sink_that_is_away_do_not_fill_the_workers(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 0);

    w->sink_session = 0;
    world_live(w, 5000, &x, NULL);
    world_submit(w, 1, 10, (struct world_task){0});
    world_credit(w, &x, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 2); /* one for each slot */
    world_sink(w);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 8);
}

static void a_worker_gets_no_tasks_of_a_sink_that_it_cannot_reach(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 0);
    struct world_worker y = world_worker(w, 2, 2, 0);
    struct world_sent *s;

    world_sink_hello(w, 901, 0x71, 0x72);
    s = world_take(w, WORLD_SEND, DTQI_WELCOME);
    assert_int_equal(s->to, 901);
    world_tick(w);
    x.unreachable = 0x71;
    world_beat(w, &x);
    world_submit(w, 1, 4, (struct world_task){.sink = 0x71});
    world_submit(w, 5, 2, (struct world_task){0});
    world_credit(w, &x, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 2);
    world_credit(w, &y, 10);
    world_tick(w);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 10), 4);
}

static void everybody_hears_of_a_new_sink(void **state)
{
    struct world *w = *state;

    world_worker(w, 1, 1, 0);
    world_clear(w);
    world_sink_hello(w, 901, 0x71, 0x72);
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_SINKS), 2); /* the worker, the producer */
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_SINKS)->msg.sinks.sinks_n, 2);
}

/* Else a ventilator that dies now would not know what it accepts tasks for (R38). */
static void a_new_sink_is_told_to_nobody_before_the_journal_knows_it(void **state)
{
    struct world *w = *state;

    world_worker(w, 1, 1, 0);
    world_clear(w);
    w->journal_stuck = true;
    world_sink_hello(w, 901, 0x71, 0x72);
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_SINKS), 0);
    world_submit(w, 1, 1, (struct world_task){.sink = 0x71});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_NO_SINK);
    w->journal_stuck = false;
    world_journal(w);
    world_tick(w);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_SINKS)->msg.sinks.sinks_n, 2);
}

/* ---------------------------------------------------------------- queries */

static struct world_sent *query(struct world *w, struct dtqi_query q)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY};

    world_clear(w);
    q.request = ++w->requests;
    msg.query = q;
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    return world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
}

static void one_task_is_shown_with_its_attempts(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    const struct dtqi_task_info *info;

    give(w, &x, (struct world_task){.retries = 3, .backoff_min_ms = 9000, .backoff_max_ms = 9000});
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_EXIT);
    info = query(w, (struct dtqi_query){.kind = DTQI_QUERY_TASK,
                                        .prefix = world_id(1),
                                        .prefix_bits = 128})
               ->msg.query_reply.tasks;
    assert_int_equal(info->state, DTQ_SCHEDULED);
    assert_int_equal(info->failures, 1);
    assert_int_equal(info->attempts_n, 1);
    assert_int_equal(info->attempts[0].reason, DTQ_REASON_EXIT);
    assert_true(dtqi_str_eq(info->attempts[0].worker, dtqi_str("worker")));
    assert_true(dtqi_str_eq(info->attempts[0].text, dtqi_str("it broke")));
    assert_int_equal(info->due_wall_ms, world_wall_ms(w) + 9000);
}

static void tasks_are_listed_in_pages(void **state)
{
    struct world *w = *state;
    struct world_sent *s;
    dtq_id after;

    world_submit(w, 1, 5, (struct world_task){0});
    world_tick(w);
    s = query(w, (struct dtqi_query){.kind = DTQI_QUERY_TASKS, .limit = 3});
    assert_int_equal(s->msg.query_reply.tasks_n, 3);
    assert_int_equal(world_number(&s->msg.query_reply.tasks[0].id), 1);
    assert_int_equal(s->msg.query_reply.next.len, 16);
    memcpy(&after, s->msg.query_reply.next.at, 16);
    s = query(w, (struct dtqi_query){
                     .kind = DTQI_QUERY_TASKS, .limit = 3, .after = {&after, sizeof after}});
    assert_int_equal(s->msg.query_reply.tasks_n, 2);
    assert_int_equal(world_number(&s->msg.query_reply.tasks[1].id), 5);
    assert_int_equal(s->msg.query_reply.next.len, 0);
}

static void tasks_that_are_not_written_yet_are_listed_too(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_sent *s;

    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    s = query(w, (struct dtqi_query){.kind = DTQI_QUERY_TASKS});
    assert_int_equal(s->msg.query_reply.tasks_n, 2);
    assert_int_equal(s->msg.query_reply.tasks[0].state, DTQ_DISPATCHED);
    assert_false(s->msg.query_reply.tasks[0].durable);
    assert_true(dtqi_str_eq(s->msg.query_reply.tasks[0].worker, dtqi_str("worker")));
    assert_int_equal(s->msg.query_reply.tasks[1].state, DTQ_READY);
    (void)x;
}

static struct dtqi_task_info shown(struct world *w, uint32_t n)
{
    struct world_sent *s = query(
        w, (struct dtqi_query){.kind = DTQI_QUERY_TASK, .prefix = world_id(n), .prefix_bits = 128});

    assert_int_equal(s->msg.query_reply.tasks_n, 1);
    return s->msg.query_reply.tasks[0];
}

/* Not ready, and listed as nothing else. */
static void is_told_as_ending(struct world *w, uint32_t n, bool cancelling)
{
    struct dtqi_task_info t = shown(w, n);
    const struct dtqi_query_reply *r;

    assert_int_equal(t.state, DTQ_DISPATCHED);
    assert_int_equal(t.cancelling, cancelling);
    assert_int_equal(t.worker.len, 0);
    assert_true(t.why.len != 0);
    r = &query(w, (struct dtqi_query){.kind = DTQI_QUERY_TASKS, .state = DTQ_READY})
             ->msg.query_reply;
    assert_int_equal(r->tasks_n, 0);
}

static void no_queue_counts_it_as_ready(struct world *w)
{
    const struct dtqi_queue_info *q =
        query(w, (struct dtqi_query){.kind = DTQI_QUERY_QUEUES})->msg.query_reply.queues;

    assert_int_equal(q->ready, 0);
    assert_int_equal(q->dispatched, 0);
    assert_int_equal(q->ending, 1);
}

static void what_is_cancelled_is_not_told_as_ready(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 300);
    assert_int_equal(shown(w, 1).state, DTQ_READY);
    w->journal_err = DTQ_ENOSPC; /* the mark is not written */
    cancel(w, &id, 1);
    is_told_as_ending(w, 1, true);
    no_queue_counts_it_as_ready(w);
    w->journal_err = DTQ_OK;
    world_live(w, 2000, NULL, NULL);
    assert_non_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES)); /* the sink says nothing */
    is_told_as_ending(w, 1, true);
    world_restart(w);
    world_producer(w, PRODUCER);
    is_told_as_ending(w, 1, true);
}

static void what_was_purged_is_not_told_as_ready_after_a_restart(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_OPERATE,
                           .operate = {.operation = DTQI_QUEUE_PURGE, .target = dtqi_str("q")}};

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 300);
    world_restart(w);
    world_producer(w, PRODUCER);
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    is_told_as_ending(w, 1, true);
}

static void what_failed_or_expired_is_not_told_as_ready(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    is_told_as_ending(w, 1, false);
    no_queue_counts_it_as_ready(w);
    world_settle(w, 1, DTQ_FAILED);
    world_submit(w, 2, 1, (struct world_task){.expires_ms = 100});
    world_live(w, 1000, &x, NULL);
    is_told_as_ending(w, 2, false);
}

static void queues_workers_and_counters_are_shown(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 3, 2);
    const struct dtqi_query_reply *r;
    bool found = false;

    world_submit(w, 1, 5, (struct world_task){.queue = "a"});
    world_tick(w);
    r = &query(w, (struct dtqi_query){.kind = DTQI_QUERY_QUEUES})->msg.query_reply;
    assert_int_equal(r->queues_n, 1);
    assert_true(dtqi_str_eq(r->queues[0].name, dtqi_str("a")));
    assert_int_equal(r->queues[0].ready, 3);
    assert_int_equal(r->queues[0].dispatched, 2);
    assert_int_equal(r->queues[0].workers, 1);
    r = &query(w, (struct dtqi_query){.kind = DTQI_QUERY_WORKERS})->msg.query_reply;
    assert_int_equal(r->workers_n, 1);
    assert_int_equal(r->workers[0].slots, 3);
    assert_int_equal(r->workers[0].held, 2);
    assert_int_equal(r->workers[0].session, x.session);
    r = &query(w, (struct dtqi_query){.kind = DTQI_QUERY_STATUS})->msg.query_reply;
    assert_int_equal(r->sinks_n, 1);
    for (uint32_t i = 0; i < r->counters_n; i++)
        if (dtqi_str_eq(r->counters[i].name, dtqi_str("tasks_submitted")))
            found = r->counters[i].value == 5;
    assert_true(found);
}

/* REPORT and SETTLED come by different ways: each task counts once, whichever was first. */
static void what_a_worker_has_done_and_runs_is_counted(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 3, 3);
    struct dtqi_report started = {.started_ids = (dtq_id[]){world_id(3)}, .started_n = 1};
    const struct dtqi_query_reply *r;
    uint32_t tickets[3];

    world_submit(w, 1, 3, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 3), 3);
    world_report(w, &x, &started);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_done(w, &x, tickets, 2);
    r = &query(w, (struct dtqi_query){.kind = DTQI_QUERY_WORKERS})->msg.query_reply;
    assert_int_equal(r->workers[0].done, 2);
    assert_int_equal(r->workers[0].running, 1);
    world_settle(w, 2, DTQ_SUCCEEDED);
    world_settle(w, 3, DTQ_SUCCEEDED);
    r = &query(w, (struct dtqi_query){.kind = DTQI_QUERY_WORKERS})->msg.query_reply;
    assert_int_equal(r->workers[0].done, 3);
    assert_int_equal(r->workers[0].running, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_failed_task_is_tried_again_after_its_backoff),
        T(backoff_grows_and_stays_within_its_bounds),
        T(the_last_failure_is_proposed_to_the_sink),
        T(a_proposal_is_repeated_until_it_is_settled),
        T(a_proposal_that_could_not_be_sent_comes_again_soon),
        cmocka_unit_test(open_proposals_are_bounded),
        T(what_the_handler_says_is_honoured),
        T(only_failures_that_the_task_names_are_tried_again),
        T(failures_that_the_task_does_not_name_are_final),
        T(failures_that_the_task_excludes_are_final),
        T(a_crash_counts_to_its_own_limit),
        T(a_stale_failure_changes_nothing),
        T(counts_survive_a_restart),
        T(a_proposal_survives_a_restart),
        T(a_delayed_task_waits_for_its_time),
        T(a_delayed_task_fires_on_the_millisecond),
        T(a_jump_of_the_wall_clock_is_noticed),
        T(a_delayed_task_survives_a_restart),
        T(an_expired_task_is_never_dispatched),
        T(a_task_that_expired_at_a_worker_is_proposed),
        T(a_waiting_task_is_cancelled),
        T(a_cancellation_is_answered_after_its_commit),
        T(a_running_task_is_stopped_before_it_is_cancelled),
        T(a_cancelled_task_of_a_dead_worker_is_proposed),
        T(a_task_that_was_done_first_is_not_cancelled),
        T(a_delayed_task_is_cancelled),
        T(ids_that_nobody_knows_are_not_found),
        T(cancelling_twice_changes_nothing),
        T(a_cancel_mark_survives_a_restart),
        T(a_whole_queue_is_cancelled),
        T(an_overdue_outcome_is_asked_for_again),
        T(nothing_is_overdue_while_the_sink_is_away),
        T(tasks_of_a_sink_that_is_away_do_not_fill_the_workers),
        T(a_worker_gets_no_tasks_of_a_sink_that_it_cannot_reach),
        T(everybody_hears_of_a_new_sink),
        T(a_new_sink_is_told_to_nobody_before_the_journal_knows_it),
        T(one_task_is_shown_with_its_attempts),
        T(tasks_are_listed_in_pages),
        T(tasks_that_are_not_written_yet_are_listed_too),
        T(what_is_cancelled_is_not_told_as_ready),
        T(what_was_purged_is_not_told_as_ready_after_a_restart),
        T(what_failed_or_expired_is_not_told_as_ready),
        T(queues_workers_and_counters_are_shown),
        T(what_a_worker_has_done_and_runs_is_counted),
    };

    return cmocka_run_group_tests_name("vent_task", tests, NULL, NULL);
}
