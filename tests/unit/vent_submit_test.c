/* The ventilator's core: SUBMIT, confirmation, hold, refusals, resends (R4 to R7). */
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

/* R7: without a worker there is nothing to wait for: it is written at once, then confirmed. */
static void a_task_is_confirmed_once_it_is_committed(void **state)
{
    struct world *w = *state;
    uint64_t request;

    w->journal_stuck = true;
    request = world_submit(w, 1, 3, (struct world_task){0});
    world_tick(w);
    assert_int_equal(w->puts, 3);
    assert_false(world_confirmed(w, request));
    world_journal(w);
    world_tick(w);
    assert_true(world_confirmed(w, request));
    assert_int_equal(vent_counters(w->v)->journal_written, 3);
}

/* R7: the short circuit. A task that is settled during its hold never reaches the journal. */
static void a_task_settled_during_its_hold_is_never_written(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 10);
    uint64_t request = world_submit(w, 1, 2, (struct world_task){0});
    uint32_t tickets[2];

    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 2), 2);
    world_done(w, &x, tickets, 2);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_tick(w);
    assert_false(world_confirmed(w, request));
    world_settle(w, 2, DTQ_SUCCEEDED);
    world_tick(w);
    assert_true(world_confirmed(w, request));
    world_pass(w, 1000);
    assert_int_equal(w->puts, 0);
    assert_int_equal(vent_counters(w->v)->journal_skipped, 2);
}

static void an_unsettled_task_is_written_when_its_hold_is_over(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 10);
    uint64_t request;

    world_pass(w, 500);
    request = world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, w->cfg.hold_ms_start - 5);
    assert_int_equal(w->puts, 0);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_pass(w, 10);
    assert_int_equal(w->puts, 1);
    assert_true(world_confirmed(w, request));
}

/* R7: a put that was handed over is followed by its delete. */
static void a_task_settled_while_it_is_written_is_deleted_after(void **state)
{
    struct world *w = *state;
    uint64_t request;

    w->journal_stuck = true;
    request = world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_tick(w);
    assert_true(world_confirmed(w, request));
    w->journal_stuck = false;
    world_journal(w);
    world_pass(w, 1000);
    assert_int_equal(vent_counters(w->v)->journal_deleted, 1);
    world_restart(w);
    world_pass(w, 6000);
    assert_int_equal(vent_counters(w->v)->tasks_loaded, 0);
}

/* R6: a duplicate of what is not yet durable waits with it. */
static void a_duplicate_of_an_unwritten_task_waits_with_it(void **state)
{
    struct world *w = *state;
    uint64_t first;
    uint64_t second;

    w->journal_stuck = true;
    first = world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    second = world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_SUBMITTED));
    world_journal(w);
    world_tick(w);
    assert_true(world_confirmed(w, first));
    assert_true(world_confirmed(w, second));
    assert_int_equal(vent_counters(w->v)->tasks_duplicate, 1);
}

static void a_duplicate_of_a_written_task_is_confirmed_at_once(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_clear(w);
    w->journal_stuck = true;
    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
}

static void another_task_under_the_same_id_is_a_conflict(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_clear(w);
    world_submit(w, 1, 1, (struct world_task){.body = "another"});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_CONFLICT);
    world_submit(w, 1, 1, (struct world_task){.queue = "another"});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_CONFLICT);
}

/* R5: refusals come before any effect. */
static void what_cannot_be_served_is_refused_and_named(void **state)
{
    struct world *w = *state;
    dtq_id old = world_id_at(1, WORLD_WALL_MS - DTQI_DEDUPE_WINDOW_MS - 1000);
    dtq_id early = world_id_at(1, WORLD_WALL_MS + DTQI_CLOCK_AHEAD_MS + 60000);

    world_submit_ids(w, &old, 1, &(struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_TOO_OLD);
    world_submit_ids(w, &early, 1, &(struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BAD_TIME);
    world_submit(w, 1, 1, (struct world_task){.sink = 0x99});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_NO_SUCH_SINK);
    world_submit(w, 1, 1, (struct world_task){.ordered = true});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BAD_TASK);
    assert_int_equal(vent_counters(w->v)->tasks_refused, 4);
    assert_int_equal(vent_counters(w->v)->tasks_submitted, 0);
}

/* What is wrong with a spec stands in the memory of its message, which goes before its answer. */
static void a_spec_that_is_not_allowed_is_refused_with_what_is_wrong(void **state)
{
    static const uint8_t priority_77[] = {0x0a, 1, 't', 0x12, 1, 'q', 0x18, 77};
    struct dtqi_spec spec = {.raw = {priority_77, sizeof priority_77}};
    struct dtqi_slice body = {"body", 4};
    struct world *w = *state;
    dtq_id id = world_id(1);
    struct dtqi_msg msg = {.type = DTQI_SUBMIT};
    struct world_sent *s;
    struct dtqi_str text;

    msg.submit = (struct dtqi_submit){.request = ++w->requests,
                                      .n = 1,
                                      .ids = &id,
                                      .sink = world_uid(0x51),
                                      .specs = &spec,
                                      .specs_n = 1,
                                      .bodies = &body};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_SUBMITTED);
    assert_int_equal(s->msg.submitted.refused_n, 1);
    assert_int_equal(s->msg.submitted.refused_reason[0], DTQI_BAD_TASK);
    text = s->msg.submitted.refused_text[0];
    assert_non_null(memmem(text.at, text.len, "priority", 8));
    world_drop(w, s);
}

static void a_payload_over_the_limit_is_refused(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 64;
    cfg.task_bytes_max = 3;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_submit(w, 1, 1, (struct world_task){.body = "abcd"});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_TOO_LARGE);
    world_submit(w, 1, 1, (struct world_task){.body = "abc"});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    world_free(w);
}

static void without_a_sink_nothing_is_taken(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 64;
    w = world_new(&cfg);
    world_producer(w, PRODUCER);
    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_NO_SINK);
    world_free(w);
}

/* R3: whoever did not say HELLO is told so, and changes nothing. */
static void a_submit_without_a_hello_is_not_taken(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){.route = 77});
    assert_non_null(world_find(w, WORLD_SEND, DTQI_UNKNOWN_SESSION));
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_SUBMITTED));
    assert_int_equal(vent_counters(w->v)->tasks_submitted, 0);
    assert_int_equal(vent_counters(w->v)->messages_foreign, 1);
}

/* R6: resent, unknown here: claimed at the sink before anything else. */
static void a_resent_unknown_task_is_claimed_first(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 10);
    struct dtqi_msg reply = {.type = DTQI_CLAIM_REPLY};
    uint32_t kinds[2] = {DTQ_NOT_FOUND, DTQ_SUCCEEDED};
    struct world_sent *claim;
    uint64_t request = world_submit(w, 1, 2, (struct world_task){.resend = true});

    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 0);
    assert_int_equal(w->puts, 0);
    claim = world_take(w, WORLD_SEND, DTQI_CLAIM);
    assert_int_equal(claim->to, SINK_ROUTE);
    assert_int_equal(claim->msg.claim.n, 2);
    reply.claim_reply = (struct dtqi_claim_reply){claim->msg.claim.request, 2, kinds};
    world_msg(w, SINK_ROUTE, &reply);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1); /* the other one is settled */
    assert_false(world_confirmed(w, request));
    world_pass(w, 60);
    assert_true(world_confirmed(w, request));
}

/* An id that was settled stands for what was settled, whatever is sent under it: V has nothing left
 * to compare with, and nothing runs. */
static void another_task_under_an_id_that_was_settled_is_not_run(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 10);
    struct dtqi_msg reply = {.type = DTQI_CLAIM_REPLY};
    uint32_t kind = DTQ_SUCCEEDED;
    uint64_t request;
    struct world_sent *claim;

    world_submit(w, 1, 1, (struct world_task){.body = "one", .body_len = 3});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_pass(w, 1000);
    request =
        world_submit(w, 1, 1, (struct world_task){.body = "two", .body_len = 3, .resend = true});
    world_tick(w);
    claim = world_take(w, WORLD_SEND, DTQI_CLAIM);
    reply.claim_reply = (struct dtqi_claim_reply){claim->msg.claim.request, 1, &kind};
    world_msg(w, SINK_ROUTE, &reply);
    world_pass(w, 100);
    assert_true(world_confirmed(w, request));
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 0);
}

/* The sink answers late what the start before asked, about another task. */
static void an_answer_to_a_claim_of_the_last_start_confirms_nothing(void **state)
{
    struct world *w = *state;
    struct dtqi_msg reply = {.type = DTQI_CLAIM_REPLY};
    uint32_t kind = DTQ_SUCCEEDED;
    struct world_sent *claim;
    uint64_t request;

    world_submit(w, 1, 1, (struct world_task){.resend = true});
    world_tick(w);
    claim = world_take(w, WORLD_SEND, DTQI_CLAIM);
    reply.claim_reply = (struct dtqi_claim_reply){claim->msg.claim.request, 1, &kind};
    world_restart(w);
    world_producer(w, PRODUCER);
    world_sink(w);
    world_clear(w);
    request = world_submit(w, 2, 1, (struct world_task){.resend = true});
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_CLAIM), 1);
    world_msg(w, SINK_ROUTE, &reply);
    world_pass(w, 60);
    assert_false(world_confirmed(w, request));
}

static void a_resent_task_that_the_journal_has_is_confirmed(void **state)
{
    struct world *w = *state;
    uint64_t request;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_restart(w);
    world_producer(w, PRODUCER);
    world_sink(w);
    world_clear(w);
    request = world_submit(w, 1, 1, (struct world_task){.resend = true});
    world_tick(w);
    assert_true(world_confirmed(w, request));
    assert_null(world_find(w, WORLD_SEND, DTQI_CLAIM));
    assert_int_equal(vent_counters(w->v)->tasks_submitted, 0);
}

/* R28: the sink settles what is asked for while it is looked up: the journal forgets it as well. */
static void a_task_that_is_settled_while_it_is_looked_up_is_not_run_again(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    struct vent_census census;
    uint64_t request;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    w->journal_stuck = true;
    world_restart(w);
    world_producer(w, PRODUCER);
    world_sink(w);
    world_clear(w);
    request = world_submit(w, 1, 1, (struct world_task){.resend = true});
    world_settle(w, 1, DTQ_SUCCEEDED);
    w->journal_stuck = false;
    world_tick(w);
    assert_true(world_confirmed(w, request));
    x = world_worker(w, 1, 2, 10);
    world_pass(w, 10000); /* what was recovered has been released by then (R33) */
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 0);
    vent_census(w->v, &census);
    assert_int_equal(census.tasks, 0);
}

static void a_resent_task_is_refused_while_its_sink_is_out_of_reach(void **state)
{
    struct world *w = *state;

    world_pass(w, 10000); /* the sink is silent */
    world_submit(w, 1, 1, (struct world_task){.resend = true});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_NO_SINK);
    assert_int_equal(vent_counters(w->v)->tasks_submitted, 0);
}

static void a_claim_that_the_sink_does_not_answer_is_refused(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){.resend = true});
    world_tick(w);
    world_clear(w);
    world_pass(w, 4000);
    assert_int_equal(world_refused(w), DTQI_NO_SINK);
}

/* A fresh submit of an id that only the journal knows: the older record stands. */
static void an_id_that_was_in_the_journal_keeps_its_record(void **state)
{
    struct world *w = *state;
    struct vent_census census;
    uint64_t request;

    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w);
    world_kill(w);
    world_start(w); /* the record is not loaded before it is looked for */
    world_producer(w, PRODUCER);
    world_sink(w);
    w->journal_stuck = true;
    world_clear(w);
    request = world_submit(w, 1, 1, (struct world_task){0});
    w->journal_stuck = false;
    world_tick(w);
    world_pass(w, 6000);
    assert_true(world_confirmed(w, request));
    vent_census(w->v, &census);
    assert_int_equal(census.tasks, 1);
}

/* Warm stop: everything is written, then it says so. */
static void a_warm_stop_writes_everything_down(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 1);
    struct vent_event stop = {.type = VENT_EV_STOP};
    uint64_t request = world_submit(w, 1, 5, (struct world_task){0});

    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 5), 1);
    world_event(w, &stop);
    world_tick(w);
    assert_true(world_confirmed(w, request));
    world_tick(w);
    assert_true(w->stopped);
    assert_int_equal(w->puts, 5);
    world_submit(w, 9, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BUSY);
}

static void too_many_unconfirmed_submits_are_refused(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 64;
    cfg.submits_max = 2;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    w->journal_stuck = true;
    world_submit(w, 1, 1, (struct world_task){0});
    world_submit(w, 2, 1, (struct world_task){0});
    world_submit(w, 3, 1, (struct world_task){0});
    assert_int_equal(world_refused(w), DTQI_BUSY);
    world_free(w);
}

/* The table of tasks is bounded; what does not fit is refused by name. */
static void a_full_table_refuses_and_recovers(void **state)
{
    struct vent_cfg cfg;
    struct world *w;
    struct vent_census census;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 64;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    w->journal_stuck = true;
    world_submit(w, 1, 60, (struct world_task){0});
    world_tick(w);
    world_submit(w, 100, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BUSY);
    vent_census(w->v, &census);
    assert_true(census.tasks <= 64);
    w->journal_stuck = false;
    world_journal(w);
    world_pass(w, 200);
    world_clear(w);
    world_submit(w, 100, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    world_free(w);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_task_is_confirmed_once_it_is_committed),
        T(a_task_settled_during_its_hold_is_never_written),
        T(an_unsettled_task_is_written_when_its_hold_is_over),
        T(a_task_settled_while_it_is_written_is_deleted_after),
        T(a_duplicate_of_an_unwritten_task_waits_with_it),
        T(a_duplicate_of_a_written_task_is_confirmed_at_once),
        T(another_task_under_the_same_id_is_a_conflict),
        T(what_cannot_be_served_is_refused_and_named),
        T(a_spec_that_is_not_allowed_is_refused_with_what_is_wrong),
        cmocka_unit_test(a_payload_over_the_limit_is_refused),
        cmocka_unit_test(without_a_sink_nothing_is_taken),
        T(a_submit_without_a_hello_is_not_taken),
        T(a_resent_unknown_task_is_claimed_first),
        T(another_task_under_an_id_that_was_settled_is_not_run),
        T(an_answer_to_a_claim_of_the_last_start_confirms_nothing),
        T(a_resent_task_that_the_journal_has_is_confirmed),
        T(a_task_that_is_settled_while_it_is_looked_up_is_not_run_again),
        T(a_resent_task_is_refused_while_its_sink_is_out_of_reach),
        T(a_claim_that_the_sink_does_not_answer_is_refused),
        T(an_id_that_was_in_the_journal_keeps_its_record),
        T(a_warm_stop_writes_everything_down),
        cmocka_unit_test(too_many_unconfirmed_submits_are_refused),
        cmocka_unit_test(a_full_table_refuses_and_recovers),
    };

    return cmocka_run_group_tests_name("vent_submit", tests, NULL, NULL);
}
