/* The ventilator's core: attempts that failed are kept, dead letters are listed, shown, requeued,
 * purged and forgotten with age (R21, R37). */
#include "vent_world.h"

static struct world *world_of(const struct vent_cfg *cfg)
{
    struct world *w = world_new(cfg);

    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    return w;
}

static int begin(void **state)
{
    struct vent_cfg cfg;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    *state = world_of(&cfg);
    return 0;
}

static int end(void **state)
{
    world_free(*state);
    return 0;
}

/* As begin(), after a kill -9: peers come back. */
static void restart(struct world *w)
{
    world_restart(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
}

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

static const struct dtqi_query_reply *dead(struct world *w)
{
    return &query(w, (struct dtqi_query){.kind = DTQI_QUERY_DEAD})->msg.query_reply;
}

static const struct dtqi_task_info *shown(struct world *w, enum dtqi_query_kind kind, dtq_id id)
{
    struct dtqi_query q = {.kind = kind, .prefix = id, .prefix_bits = 128, .bodies = true};
    const struct dtqi_query_reply *reply = &query(w, q)->msg.query_reply;

    assert_int_equal(reply->tasks_n, 1);
    return reply->tasks;
}

static void operate(struct world *w, struct dtqi_operate m)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    world_clear(w);
    m.request = ++w->requests;
    msg.operate = m;
    world_msg(w, PRODUCER, &msg);
}

static const struct dtqi_operate_reply *reply_of(struct world *w)
{
    return &world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY)->msg.operate_reply;
}

static const struct dtqi_operate_reply *operated(struct world *w, struct dtqi_operate m)
{
    operate(w, m);
    world_tick(w);
    return reply_of(w);
}

static struct dtqi_operate requeue_of(const dtq_id *ids, uint32_t n)
{
    return (struct dtqi_operate){.operation = DTQI_DEAD_REQUEUE, .ids = ids, .n = n};
}

/* What the worker was given last, and is to report of. */
static void fail_next(struct world *w, struct world_worker *x)
{
    struct world_sent *s = world_take(w, WORLD_LANE, DTQI_TASKS);
    struct dtqi_failure f = {.id = s->msg.tasks.ids[0],
                             .epoch = x->epoch,
                             .attempt = dtqi_col32(s->msg.tasks.attempts, 0, 1),
                             .reason = DTQ_REASON_EXIT,
                             .code = 7,
                             .text = dtqi_str("no such file"),
                             .started_wall_ms = world_wall_ms(w),
                             .duration_us = 1500};
    struct dtqi_report r = {.failures = &f, .failures_n = 1};

    x->lane_seq++;
    world_drop(w, s);
    world_report(w, x, &r);
    world_tick(w);
}

static void settle_id(struct world *w, const dtq_id *id, dtq_state kind)
{
    uint32_t kinds = kind;

    w->settled++;
    world_settled(w, SINK_ROUTE, 0x51, w->settled, w->settled, id, &kinds, NULL, 1);
    world_live(w, 300, NULL, NULL);
}

/* Task n fails for good. */
static void die(struct world *w, struct world_worker *x, uint32_t n, struct world_task task)
{
    dtq_id id = world_id(n);

    world_submit(w, n, 1, task);
    world_tick(w);
    fail_next(w, x);
    settle_id(w, &id, DTQ_FAILED);
}

static void is_dead_count(struct world *w, uint32_t n)
{
    assert_int_equal(dead(w)->tasks_n, n);
}

/* ---------------------------------------------------------------- what is kept */

static void what_failed_for_good_is_listed_with_its_error(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    const struct dtqi_task_info *t;

    die(w, &x, 1, (struct world_task){.queue = "mail"});
    is_dead_count(w, 1);
    t = dead(w)->tasks;
    assert_int_equal(world_number(&t->id), 1);
    assert_int_equal(t->state, DTQ_FAILED);
    assert_int_equal(t->reason, DTQ_REASON_EXIT);
    assert_int_equal(t->code, 7);
    assert_true(dtqi_str_eq(t->error, dtqi_str("no such file")));
    assert_true(dtqi_str_eq(t->spec.queue, dtqi_str("mail")));
    assert_int_equal(t->payload_bytes, 4);
    assert_int_equal(t->payload.len, 0); /* not asked for */
    assert_true(t->dead_wall_ms != 0);
}

static void dead_letters_are_listed_by_queue_and_in_pages(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct dtqi_query q = {.kind = DTQI_QUERY_DEAD, .limit = 2};
    const struct dtqi_query_reply *r;
    uint8_t after[16];

    for (uint32_t n = 1; n <= 3; n++)
        die(w, &x, n, (struct world_task){.queue = n == 2 ? "b" : "a"});
    r = &query(w, q)->msg.query_reply;
    assert_int_equal(r->tasks_n, 2);
    assert_int_equal(r->next.len, sizeof after);
    memcpy(after, r->next.at, sizeof after);
    q.after = (struct dtqi_slice){after, sizeof after};
    r = &query(w, q)->msg.query_reply;
    assert_int_equal(r->tasks_n, 1);
    assert_int_equal(world_number(&r->tasks[0].id), 3);
    assert_int_equal(r->next.len, 0);
    r = &query(w, (struct dtqi_query){.kind = DTQI_QUERY_DEAD, .queue = dtqi_str("b")})
             ->msg.query_reply;
    assert_int_equal(r->tasks_n, 1);
    assert_int_equal(world_number(&r->tasks[0].id), 2);
    r = &query(w, (struct dtqi_query){.kind = DTQI_QUERY_DEAD, .queue = dtqi_str("nobodys")})
             ->msg.query_reply;
    assert_int_equal(r->tasks_n, 0);
}

static void attempts_of_before_a_restart_are_shown(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    const struct dtqi_task_info *t;

    world_submit(
        w, 1, 1,
        (struct world_task){.retries = 5, .backoff_min_ms = 60000, .backoff_max_ms = 60000});
    world_tick(w);
    fail_next(w, &x);
    world_live(w, 300, &x, NULL);
    restart(w);
    world_live(w, 6000, NULL, NULL); /* R33 */
    t = shown(w, DTQI_QUERY_TASK, world_id(1));
    assert_int_equal(t->state, DTQ_SCHEDULED);
    assert_int_equal(t->failures, 1);
    assert_int_equal(t->attempts_n, 1);
    assert_int_equal(t->attempts[0].attempt, 1);
    assert_int_equal(t->attempts[0].duration_us, 1500);
    assert_true(dtqi_str_eq(t->attempts[0].worker, dtqi_str("worker")));
    assert_true(dtqi_str_eq(t->attempts[0].text, dtqi_str("no such file")));
}

/* R24: whoever settled it before that would leave a dead letter that knows nothing, or none. */
static void a_failure_for_good_is_proposed_when_it_is_written(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    w->journal_stuck = true;
    fail_next(w, &x);
    world_live(w, 1000, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 0);
    w->journal_stuck = false;
    world_journal(w);
    world_live(w, 300, &x, NULL);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 1);
}

static void what_failed_for_good_is_not_cancelled(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    w->journal_stuck = true;
    fail_next(w, &x);
    msg.cancel = (struct dtqi_cancel){.n = 1, .ids = &id};
    world_msg(w, PRODUCER, &msg);
    w->journal_stuck = false;
    world_journal(w);
    world_live(w, 300, &x, NULL);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY)->msg.cancel_reply.cancelling[0],
                     0);
    assert_int_equal(world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes.kinds[0], DTQ_FAILED);
}

static void what_was_about_to_be_a_dead_letter_is_one_after_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    const struct dtqi_task_info *t;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    fail_next(w, &x);
    world_live(w, 50, &x, NULL); /* proposed, not settled */
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 1);
    restart(w);
    settle_id(w, &id, DTQ_FAILED);
    t = shown(w, DTQI_QUERY_DEAD, id);
    assert_int_equal(t->payload.len, 4);
    assert_int_equal(t->attempts_n, 1);
    assert_true(dtqi_str_eq(t->attempts[0].text, dtqi_str("no such file")));
}

static void a_dead_letter_has_its_payload_and_all_attempts_across_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    const struct dtqi_task_info *t;
    dtq_id id = world_id(1);

    world_submit(w, 1, 1,
                 (struct world_task){
                     .retries = 1, .backoff_min_ms = 500, .backoff_max_ms = 500, .body = "cargo"});
    world_tick(w);
    fail_next(w, &x);
    world_live(w, 300, &x, NULL);
    restart(w);
    x = world_worker(w, 1, 1, 10);
    world_live(w, 6000, &x, NULL);
    fail_next(w, &x);
    settle_id(w, &id, DTQ_FAILED);
    restart(w);
    t = shown(w, DTQI_QUERY_DEAD, id);
    assert_int_equal(t->failures, 2);
    assert_int_equal(t->attempts_n, 2);
    assert_int_equal(t->attempts[0].attempt, 1);
    assert_int_equal(t->attempts[1].attempt, 2);
    assert_int_equal(t->payload.len, 5);
    assert_memory_equal(t->payload.at, "cargo", 5);
}

/* ---------------------------------------------------------------- tasks that are no more */

static const struct dtqi_query_reply *attempts(struct world *w, dtq_id id)
{
    struct dtqi_query q = {.kind = DTQI_QUERY_ATTEMPTS, .prefix = id, .prefix_bits = 128};

    return &query(w, q)->msg.query_reply;
}

static void is_first_attempt(struct world *w, dtq_id id)
{
    const struct dtqi_query_reply *r = attempts(w, id);

    assert_int_equal(r->attempts_n, 1);
    assert_int_equal(r->attempts[0].attempt, 1);
    assert_int_equal(r->attempts[0].reason, DTQ_REASON_EXIT);
    assert_int_equal(r->attempts[0].duration_us, 1500);
    assert_true(dtqi_str_eq(r->attempts[0].worker, dtqi_str("worker")));
    assert_true(dtqi_str_eq(r->attempts[0].text, dtqi_str("no such file")));
}

static void attempts_of_a_task_that_ends_otherwise_are_kept_across_a_restart(void **state)
{
    static const dtq_state ends[] = {DTQ_SUCCEEDED, DTQ_EXPIRED, DTQ_CANCELLED};
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    for (uint32_t n = 0; n < 3; n++) {
        dtq_id id = world_id(n);

        world_submit(
            w, n, 1,
            (struct world_task){.retries = 5, .backoff_min_ms = 60000, .backoff_max_ms = 60000});
        world_tick(w);
        fail_next(w, &x);
        world_live(w, 300, &x, NULL);
        is_first_attempt(w, id);
        settle_id(w, &id, ends[n]);
        is_first_attempt(w, id);
    }
    restart(w);
    for (uint32_t n = 0; n < 3; n++)
        is_first_attempt(w, world_id(n));
}

static void attempts_of_a_task_that_was_never_written_are_kept(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    uint32_t kinds = DTQ_SUCCEEDED;

    world_submit(w, 1, 1, (struct world_task){.retries = 5});
    world_tick(w);
    fail_next(w, &x);
    w->settled++;
    world_settled(w, SINK_ROUTE, 0x51, w->settled, w->settled, &id, &kinds, NULL, 1);
    is_first_attempt(w, id); /* memory has it */
    w->journal_err = DTQ_ENOSPC;
    world_live(w, 300, &x, NULL);
    w->journal_err = DTQ_OK;
    world_live(w, 2000, &x, NULL);
    assert_int_equal(w->puts, 0);
    restart(w);
    is_first_attempt(w, id);
}

static void cancel_one(struct world *w, dtq_id id)
{
    struct dtqi_msg msg = {.type = DTQI_CANCEL, .cancel = {.ids = &id, .n = 1}};

    msg.cancel.request = ++w->requests;
    world_msg(w, PRODUCER, &msg);
    world_live(w, 300, NULL, NULL);
}

static void an_attempt_that_was_cancelled_while_it_ran_is_kept(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    struct dtqi_report stopped = {
        .started_ids = &id, .started_n = 1, .stopped_ids = &id, .stopped_n = 1};
    const struct dtqi_query_reply *r;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_live(w, 5000, &x, NULL);
    cancel_one(w, id);
    world_live(w, 2000, &x, NULL);
    world_report(w, &x, &stopped);
    world_tick(w);
    settle_id(w, &id, DTQ_CANCELLED);
    restart(w);
    r = attempts(w, id);
    assert_int_equal(r->attempts_n, 1);
    assert_int_equal(r->attempts[0].reason, DTQ_REASON_NONE);
    assert_true(dtqi_str_eq(r->attempts[0].text, dtqi_str("cancelled")));
    assert_true(dtqi_str_eq(r->attempts[0].worker, dtqi_str("worker")));
    assert_in_range(r->attempts[0].duration_us, 7000 * 1000, 7500 * 1000);
}

/* Task 1 runs, is cancelled, and its worker says how that ended. */
static void end_stopped(struct world *w, dtq_reason reason, const char *text)
{
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct dtqi_failure f = {.id = world_id(1),
                             .epoch = x.epoch,
                             .attempt = 1,
                             .reason = reason,
                             .code = 15,
                             .text = dtqi_str(text),
                             .started_wall_ms = world_wall_ms(w),
                             .duration_us = 1500};
    struct dtqi_report r = {.failures = &f, .failures_n = 1};

    world_submit(w, 1, 1, (struct world_task){.retries = 3});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    cancel_one(w, f.id);
    world_report(w, &x, &r);
    world_tick(w);
}

static void what_was_stopped_was_cancelled_and_has_not_failed(void **state)
{
    struct world *w = *state;
    const struct dtqi_task_info *t;
    const struct dtqi_outcomes *m;

    end_stopped(w, DTQ_REASON_SIGNAL, "killed by SIGTERM");
    m = &world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes;
    assert_int_equal(m->kinds[0], DTQ_CANCELLED);
    assert_true(dtqi_str_eq(m->worker, dtqi_str("worker")));
    assert_int_equal(m->durations_us[0], 1500);
    assert_int_not_equal(m->started_wall_ms[0], 0);
    assert_int_equal(m->bodies[0].len, 0);
    t = shown(w, DTQI_QUERY_TASK, world_id(1));
    assert_int_equal(t->failures, 0);
    assert_int_equal(t->attempts_n, 1);
    assert_int_equal(t->attempts[0].reason, DTQ_REASON_NONE);
    assert_int_equal(t->attempts[0].duration_us, 1500);
    assert_true(dtqi_str_eq(t->attempts[0].text, dtqi_str("cancelled")));
}

static void what_was_stopped_may_say_more(void **state)
{
    struct world *w = *state;
    const struct dtqi_query_reply *r;

    end_stopped(w, DTQ_REASON_ERROR, "half of it is done");
    r = attempts(w, world_id(1));
    assert_true(dtqi_str_eq(r->attempts[0].text, dtqi_str("half of it is done")));
}

static void one_that_is_cancelled_while_it_waits_for_its_retry_ends_at_no_worker(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    const struct dtqi_outcomes *m;

    world_submit(
        w, 1, 1,
        (struct world_task){.retries = 3, .backoff_min_ms = 60000, .backoff_max_ms = 60000});
    world_tick(w);
    fail_next(w, &x);
    cancel_one(w, world_id(1));
    m = &world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes;
    assert_int_equal(m->kinds[0], DTQ_CANCELLED);
    assert_int_equal(m->worker.len, 0);
    assert_int_equal(m->durations_us[0], 0);
    assert_int_equal(attempts(w, world_id(1))->attempts[0].reason, DTQ_REASON_EXIT);
}

static void an_attempt_that_had_not_started_is_not_kept(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    struct dtqi_report stopped = {.stopped_ids = &id, .stopped_n = 1};

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    cancel_one(w, id);
    world_report(w, &x, &stopped);
    world_tick(w);
    settle_id(w, &id, DTQ_CANCELLED);
    assert_int_equal(attempts(w, id)->attempts_n, 0);
}

static void a_task_that_never_failed_is_not_written_for_its_attempts(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    uint32_t writes;

    world_live(w, 300, &x, NULL);
    writes = w->writes;
    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_live(w, 300, &x, NULL);
    assert_int_equal(w->puts, 0);
    assert_int_equal(w->writes, writes + 1); /* the settlement's number */
    assert_int_equal(attempts(w, id)->attempts_n, 0);
}

static void attempts_of_what_was_requeued_can_be_looked_at(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id old = world_id(1);

    die(w, &x, 1, (struct world_task){.queue = "a"});
    is_first_attempt(w, old);
    assert_int_equal(operated(w, requeue_of(&old, 1))->count, 1);
    is_first_attempt(w, old);
    restart(w);
    is_first_attempt(w, old);
}

static void old_attempts_are_forgotten(void **state)
{
    struct world *w;
    struct world_worker x;
    struct vent_cfg cfg;
    dtq_id id = world_id(1);

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.history_ttl_ms = 3600000;
    world_free(*state);
    *state = w = world_of(&cfg);
    x = world_worker(w, 1, 1, 10);
    world_submit(w, 1, 1, (struct world_task){.retries = 5});
    world_tick(w);
    fail_next(w, &x);
    settle_id(w, &id, DTQ_SUCCEEDED);
    world_pass(w, 1800000);
    is_first_attempt(w, id);
    restart(w);
    world_pass(w, 2600000);
    assert_int_equal(attempts(w, id)->attempts_n, 0);
}

/* ---------------------------------------------------------------- what is about to be one */

static void settle_now(struct world *w, uint32_t n, dtq_state kind)
{
    world_settle(w, n, kind);
    world_tick(w);
}

/* Task n failed for good, and the sink has been asked to record that. */
static void propose(struct world *w, struct world_worker *x, uint32_t n)
{
    world_submit(w, n, 1, (struct world_task){0});
    world_tick(w);
    fail_next(w, x);
    assert_non_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
}

/* A question without waiting for its answer. */
static void ask_dead(struct world *w)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY,
                           .query = {.kind = DTQI_QUERY_DEAD, .request = ++w->requests}};

    world_clear(w);
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
}

static bool is_answered(struct world *w)
{
    return world_find(w, WORLD_SEND, DTQI_QUERY_REPLY) != NULL;
}

static uint32_t answered_n(struct world *w)
{
    return world_take(w, WORLD_SEND, DTQI_QUERY_REPLY)->msg.query_reply.tasks_n;
}

/* The sink tells whoever waits for the outcome no later than the ventilator. */
static void who_saw_the_outcome_and_asks_sees_the_dead_letter(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    propose(w, &x, 1);
    ask_dead(w);
    assert_false(is_answered(w));
    settle_now(w, 1, DTQ_FAILED); /* no time passes */
    assert_int_equal(answered_n(w), 1);
    propose(w, &x, 2);
    settle_now(w, 2, DTQ_FAILED);
    ask_dead(w); /* the journal has not been told */
    assert_int_equal(answered_n(w), 2);
}

static void a_question_waits_for_its_commit_as_well(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    propose(w, &x, 1);
    ask_dead(w);
    w->journal_err = DTQ_ENOSPC;
    settle_now(w, 1, DTQ_FAILED);
    assert_false(is_answered(w));
    w->journal_err = DTQ_OK;
    world_live(w, 2000, &x, NULL);
    assert_int_equal(answered_n(w), 1);
}

static void an_operation_on_dead_letters_waits_for_what_is_dying(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);

    propose(w, &x, 1);
    operate(w, requeue_of(&id, 1));
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    settle_now(w, 1, DTQ_FAILED);
    assert_int_equal(reply_of(w)->count, 1);
}

/* As dtq_cancel() does with a task that it is too late to cancel. */
static void an_operation_waits_for_what_has_failed_and_is_not_proposed_yet(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    w->journal_err = DTQ_ENOSPC; /* what was counted is not written down */
    fail_next(w, &x);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    operate(w, (struct dtqi_operate){.operation = DTQI_DEAD_PURGE, .ids = &id, .n = 1});
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    w->journal_err = DTQ_OK;
    world_live(w, 2000, &x, NULL);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    settle_now(w, 1, DTQ_FAILED);
    assert_int_equal(reply_of(w)->count, 1);
}

static void a_question_does_not_wait_for_what_begins_to_die_later(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    propose(w, &x, 1);
    ask_dead(w);
    world_submit(w, 2, 1, (struct world_task){0});
    world_tick(w);
    fail_next(w, &x);
    assert_false(is_answered(w));
    settle_now(w, 1, DTQ_FAILED);
    assert_int_equal(answered_n(w), 1);
    ask_dead(w);
    assert_false(is_answered(w));
    settle_now(w, 2, DTQ_FAILED);
    assert_int_equal(answered_n(w), 2);
}

static void a_question_that_comes_while_another_waits_waits_for_more(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    propose(w, &x, 1);
    ask_dead(w);
    world_submit(w, 2, 1, (struct world_task){0});
    world_tick(w);
    fail_next(w, &x);
    ask_dead(w);
    settle_now(w, 1, DTQ_FAILED);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_QUERY_REPLY), 1);
    settle_now(w, 2, DTQ_SUCCEEDED); /* a zombie came first */
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_QUERY_REPLY), 2);
}

static void a_question_waits_neither_for_ever_nor_for_a_sink_that_is_gone(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    propose(w, &x, 1);
    ask_dead(w);
    world_live(w, 2900, &x, NULL);
    assert_false(is_answered(w));
    world_live(w, 200, &x, NULL);
    assert_int_equal(answered_n(w), 0);
    world_live(w, 10000, &x, NULL);
    world_pass(w, 5000); /* the sink is silent */
    ask_dead(w);
    assert_int_equal(answered_n(w), 0);
}

static void after_a_restart_a_question_waits_for_what_the_sink_has_to_tell(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);
    uint32_t kinds = DTQ_FAILED;

    propose(w, &x, 1);
    world_live(w, 300, &x, NULL);
    world_restart(w);
    world_producer(w, PRODUCER);
    ask_dead(w);
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
    world_tick(w);
    assert_false(is_answered(w));
    world_settled(w, SINK_ROUTE, 0x51, 1, 1, &id, &kinds, NULL, 1);
    world_tick(w);
    assert_int_equal(answered_n(w), 1);
}

/* ---------------------------------------------------------------- requeue (R37) */

static void a_requeued_task_runs_under_a_new_id_that_names_the_old_one(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    const struct dtqi_operate_reply *r;
    struct world_sent *s;
    dtq_id old = world_id(1);
    dtq_id fresh;

    die(w, &x, 1, (struct world_task){.body = "cargo", .key = NULL});
    r = operated(w, requeue_of(&old, 1));
    assert_int_equal(r->reason, DTQI_REFUSAL_NONE);
    assert_int_equal(r->count, 1);
    assert_int_equal(r->n, 1);
    assert_true(dtqi_id_eq(&r->old_ids[0], &old));
    fresh = r->ids[0];
    assert_false(dtqi_id_eq(&fresh, &old));
    assert_int_equal(dtqi_id_wall_ms(&fresh), world_wall_ms(w));
    s = world_take(w, WORLD_LANE, DTQI_TASKS);
    assert_true(dtqi_id_eq(&s->msg.tasks.ids[0], &fresh));
    assert_int_equal(dtqi_col32(s->msg.tasks.attempts, 0, 1), 1);
    assert_memory_equal(s->msg.tasks.bodies[0].at, "cargo", 5);
    assert_int_equal(s->msg.tasks.specs[0].requeued_from.len, 16);
    assert_memory_equal(s->msg.tasks.specs[0].requeued_from.at, old.bytes, 16);
    is_dead_count(w, 0);
}

static void what_fails_again_is_a_dead_letter_again(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    const struct dtqi_task_info *t;
    dtq_id old = world_id(1);
    dtq_id fresh;

    die(w, &x, 1, (struct world_task){0});
    fresh = operated(w, requeue_of(&old, 1))->ids[0];
    fail_next(w, &x);
    settle_id(w, &fresh, DTQ_FAILED);
    is_dead_count(w, 1);
    t = shown(w, DTQI_QUERY_DEAD, fresh);
    assert_memory_equal(t->spec.requeued_from.at, old.bytes, 16);
    assert_int_equal(t->attempts_n, 1); /* its own */
}

static void a_requeue_is_answered_after_its_commit(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id old = world_id(1);

    die(w, &x, 1, (struct world_task){0});
    operate(w, requeue_of(&old, 1));
    world_journal(w); /* it is read */
    w->journal_stuck = true;
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    w->journal_stuck = false;
    world_tick(w);
    assert_int_equal(reply_of(w)->count, 1);
}

/* One commit: there is never both, and never neither. */
static void a_restart_in_the_middle_of_a_requeue_loses_and_doubles_nothing(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id old = world_id(1);
    dtq_id fresh;

    die(w, &x, 1, (struct world_task){.queue = "idle"});
    operate(w, requeue_of(&old, 1));
    world_journal(w);
    w->journal_stuck = true;
    world_tick(w);
    w->journal_stuck = false;
    restart(w);
    is_dead_count(w, 1);
    assert_int_equal(
        query(w, (struct dtqi_query){.kind = DTQI_QUERY_TASKS})->msg.query_reply.tasks_n, 0);
    fresh = operated(w, requeue_of(&old, 1))->ids[0];
    restart(w);
    is_dead_count(w, 0);
    assert_memory_equal(shown(w, DTQI_QUERY_TASK, fresh)->spec.requeued_from.at, old.bytes, 16);
}

static void a_task_that_settles_before_its_commit_still_takes_its_dead_letter_along(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id old = world_id(1);
    struct world_sent *s;
    uint32_t kinds = DTQ_SUCCEEDED;
    dtq_id fresh;

    die(w, &x, 1, (struct world_task){0});
    operate(w, requeue_of(&old, 1));
    world_journal(w);
    w->journal_err = DTQ_ENOSPC; /* the commit fails, and is tried again */
    world_tick(w);
    s = world_take(w, WORLD_LANE, DTQI_TASKS);
    fresh = s->msg.tasks.ids[0];
    w->settled++;
    world_settled(w, SINK_ROUTE, 0x51, w->settled, w->settled, &fresh, &kinds, NULL, 1);
    world_pass(w, 500);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    w->journal_err = DTQ_OK;
    world_pass(w, 2000);
    assert_int_equal(reply_of(w)->count, 1);
    is_dead_count(w, 0);
    restart(w);
    is_dead_count(w, 0);
    assert_int_equal(
        query(w, (struct dtqi_query){.kind = DTQI_QUERY_TASKS})->msg.query_reply.tasks_n, 0);
}

static void what_is_no_dead_letter_is_not_requeued(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id ids[2] = {world_id(7), world_id(1)};
    const struct dtqi_operate_reply *r;

    die(w, &x, 1, (struct world_task){0});
    r = operated(w, requeue_of(ids, 2));
    assert_int_equal(r->count, 1);
    assert_true(dtqi_id_eq(&r->old_ids[0], &ids[1]));
    r = operated(w, requeue_of(ids, 2));
    assert_int_equal(r->count, 0);
    assert_int_equal(r->reason, DTQI_REFUSAL_NONE);
    r = operated(w, (struct dtqi_operate){.operation = DTQI_DEAD_REQUEUE});
    assert_int_equal(r->reason, DTQI_BAD_TASK);
}

static void all_of_a_queue_are_requeued_but_for_those_of_later(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct dtqi_operate m = {.operation = DTQI_DEAD_REQUEUE, .all = true, .target = dtqi_str("a")};
    const struct dtqi_operate_reply *r;

    for (uint32_t n = 1; n <= 3; n++)
        die(w, &x, n, (struct world_task){.queue = n == 2 ? "b" : "a"});
    m.before_wall_ms = WORLD_WALL_MS; /* the time of their ids */
    assert_int_equal(operated(w, m)->count, 0);
    m.before_wall_ms++;
    r = operated(w, m);
    assert_int_equal(r->count, 2);
    assert_false(r->has_next);
    assert_int_equal(world_number(&r->old_ids[0]), 1);
    assert_int_equal(world_number(&r->old_ids[1]), 3);
    is_dead_count(w, 1);
}

static void many_are_requeued_a_page_at_a_time(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1000);
    struct dtqi_operate m = {.operation = DTQI_DEAD_REQUEUE, .all = true};
    const struct dtqi_operate_reply *r;

    for (uint32_t n = 1; n <= 300; n++)
        die(w, &x, n, (struct world_task){.queue = "a"});
    r = operated(w, m);
    assert_int_equal(r->count, 256);
    assert_true(r->has_next);
    m.has_after = true;
    m.after = r->next;
    r = operated(w, m);
    assert_int_equal(r->count, 44);
    assert_false(r->has_next);
    is_dead_count(w, 0);
}

static void one_operation_at_a_time(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id old = world_id(1);

    die(w, &x, 1, (struct world_task){0});
    operate(w, requeue_of(&old, 1));
    operate(w, requeue_of(&old, 1));
    assert_int_equal(reply_of(w)->reason, DTQI_BUSY);
    world_clear(w);
    world_tick(w);
    assert_int_equal(reply_of(w)->count, 1);
}

static void a_full_ventilator_requeues_nothing_and_says_so(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id old = world_id(1);

    die(w, &x, 1, (struct world_task){0});
    w->space_used = 99;
    w->space_max = 100;
    world_submit(w, 2, 1, (struct world_task){.queue = "other"});
    world_pass(w, 200);
    assert_int_equal(operated(w, requeue_of(&old, 1))->reason, DTQI_BUSY);
    is_dead_count(w, 1);
}

static void a_full_queue_takes_no_dead_letter_back(void **state)
{
    struct world *w;
    struct world_worker x;
    struct vent_cfg cfg;
    dtq_id ids[2] = {world_id(1), world_id(2)};

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.queue_tasks_max = 1;
    world_free(*state);
    *state = w = world_of(&cfg);
    x = world_worker(w, 1, 1, 10);
    for (uint32_t n = 1; n <= 2; n++)
        die(w, &x, n, (struct world_task){0});
    assert_int_equal(operated(w, requeue_of(ids, 2))->count, 1);
    is_dead_count(w, 1);
    assert_int_equal(operated(w, requeue_of(&ids[1], 1))->reason, DTQI_BUSY);
    is_dead_count(w, 1);
}

static void a_delayed_task_that_is_held_after_a_start_is_scheduled(void **state)
{
    struct world *w = *state;
    uint64_t due_wall_ms = world_wall_ms(w) + 60000;
    const struct dtqi_task_info *t;

    world_submit(w, 1, 1, (struct world_task){.not_before_wall_ms = due_wall_ms});
    world_live(w, 300, NULL, NULL);
    world_restart(w); /* its sink is not there */
    world_producer(w, PRODUCER);
    world_pass(w, 300);
    t = shown(w, DTQI_QUERY_TASK, world_id(1));
    assert_int_equal(t->state, DTQ_SCHEDULED);
    assert_int_equal(t->due_wall_ms, due_wall_ms);
    world_pass(w, 60000);
    assert_int_equal(shown(w, DTQI_QUERY_TASK, world_id(1))->state, DTQ_READY);
}

/* ---------------------------------------------------------------- purge and age */

static void dead_letters_are_purged_by_id_and_all_at_once(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id ids[2] = {world_id(2), world_id(9)};

    for (uint32_t n = 1; n <= 3; n++)
        die(w, &x, n, (struct world_task){.queue = n == 2 ? "b" : "a"});
    assert_int_equal(
        operated(w, (struct dtqi_operate){.operation = DTQI_DEAD_PURGE, .ids = ids, .n = 2})->count,
        1);
    is_dead_count(w, 2);
    assert_int_equal(operated(w, (struct dtqi_operate){.operation = DTQI_DEAD_PURGE,
                                                       .all = true,
                                                       .target = dtqi_str("b")})
                         ->count,
                     0);
    assert_int_equal(
        operated(w, (struct dtqi_operate){.operation = DTQI_DEAD_PURGE, .all = true})->count, 2);
    restart(w);
    is_dead_count(w, 0);
}

static void purge(struct world *w, const dtq_id *id)
{
    struct dtqi_operate m = {.operation = DTQI_DEAD_PURGE, .ids = id, .n = 1};

    assert_int_equal(operated(w, m)->count, 1);
}

static void attempts_outlast_a_purge(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    dtq_id id = world_id(1);

    die(w, &x, 1, (struct world_task){0});
    purge(w, &id);
    restart(w);
    is_first_attempt(w, id);
    assert_int_equal(dead(w)->tasks_n, 0);
}

/* Its end was longer ago than attempts are kept. */
static void attempts_of_long_ago_go_with_a_purge(void **state)
{
    struct vent_cfg cfg;
    struct world *w;
    struct world_worker x;
    dtq_id id = world_id(1);

    (void)state;
    vent_cfg_default(&cfg);
    cfg.history_ttl_ms = 2000;
    w = world_of(&cfg);
    x = world_worker(w, 1, 1, 10);
    die(w, &x, 1, (struct world_task){0});
    world_live(w, 3000, &x, NULL);
    purge(w, &id);
    assert_int_equal(attempts(w, id)->attempts_n, 0);
    world_free(w);
}

static void a_purge_is_answered_after_its_commit(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    die(w, &x, 1, (struct world_task){0});
    operate(w, (struct dtqi_operate){.operation = DTQI_DEAD_PURGE, .all = true});
    world_journal(w);
    w->journal_err = DTQ_ENOSPC;
    world_tick(w);
    world_pass(w, 300);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    w->journal_err = DTQ_OK;
    world_pass(w, 2000);
    assert_int_equal(reply_of(w)->count, 1);
    is_dead_count(w, 0);
}

static void old_dead_letters_are_forgotten(void **state)
{
    struct world *w;
    struct world_worker x;
    struct vent_cfg cfg;
    dtq_id id;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.dead_ttl_ms = 3600000;
    world_free(*state);
    *state = w = world_of(&cfg);
    x = world_worker(w, 1, 1, 10);
    die(w, &x, 1, (struct world_task){0});
    world_pass(w, 1800000);
    world_sink(w);
    x = world_worker(w, 1, 1, 10);
    die(w, &x, 2, (struct world_task){0});
    is_dead_count(w, 2);
    world_pass(w, 1790000); /* to its time, before it is looked for again */
    is_dead_count(w, 2);
    world_pass(w, 20000);
    is_dead_count(w, 1);
    id = world_id(1);
    assert_int_equal(operated(w, requeue_of(&id, 1))->count, 0);
    world_pass(w, 600000);
    assert_int_equal(world_number(&dead(w)->tasks[0].id), 2);
    assert_int_equal(vent_counters(w->v)->dead_aged, 1);
    world_pass(w, 3600000);
    is_dead_count(w, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_failed_for_good_is_listed_with_its_error),
        T(dead_letters_are_listed_by_queue_and_in_pages),
        T(attempts_of_before_a_restart_are_shown),
        T(what_was_about_to_be_a_dead_letter_is_one_after_a_restart),
        T(what_failed_for_good_is_not_cancelled),
        T(a_failure_for_good_is_proposed_when_it_is_written),
        T(a_dead_letter_has_its_payload_and_all_attempts_across_a_restart),
        T(attempts_of_a_task_that_ends_otherwise_are_kept_across_a_restart),
        T(an_attempt_that_was_cancelled_while_it_ran_is_kept),
        T(what_was_stopped_was_cancelled_and_has_not_failed),
        T(what_was_stopped_may_say_more),
        T(one_that_is_cancelled_while_it_waits_for_its_retry_ends_at_no_worker),
        T(an_attempt_that_had_not_started_is_not_kept),
        T(attempts_of_a_task_that_was_never_written_are_kept),
        T(a_task_that_never_failed_is_not_written_for_its_attempts),
        T(attempts_of_what_was_requeued_can_be_looked_at),
        T(old_attempts_are_forgotten),
        T(who_saw_the_outcome_and_asks_sees_the_dead_letter),
        T(a_question_waits_for_its_commit_as_well),
        T(an_operation_on_dead_letters_waits_for_what_is_dying),
        T(an_operation_waits_for_what_has_failed_and_is_not_proposed_yet),
        T(a_question_does_not_wait_for_what_begins_to_die_later),
        T(a_question_that_comes_while_another_waits_waits_for_more),
        T(a_question_waits_neither_for_ever_nor_for_a_sink_that_is_gone),
        T(after_a_restart_a_question_waits_for_what_the_sink_has_to_tell),
        T(a_requeued_task_runs_under_a_new_id_that_names_the_old_one),
        T(what_fails_again_is_a_dead_letter_again),
        T(a_requeue_is_answered_after_its_commit),
        T(a_restart_in_the_middle_of_a_requeue_loses_and_doubles_nothing),
        T(a_task_that_settles_before_its_commit_still_takes_its_dead_letter_along),
        T(what_is_no_dead_letter_is_not_requeued),
        T(all_of_a_queue_are_requeued_but_for_those_of_later),
        T(many_are_requeued_a_page_at_a_time),
        T(one_operation_at_a_time),
        T(a_full_ventilator_requeues_nothing_and_says_so),
        T(a_full_queue_takes_no_dead_letter_back),
        T(dead_letters_are_purged_by_id_and_all_at_once),
        T(a_delayed_task_that_is_held_after_a_start_is_scheduled),
        T(attempts_outlast_a_purge),
        cmocka_unit_test(attempts_of_long_ago_go_with_a_purge),
        T(a_purge_is_answered_after_its_commit),
        T(old_dead_letters_are_forgotten),
    };

    return cmocka_run_group_tests_name("vent_dead", tests, NULL, NULL);
}
