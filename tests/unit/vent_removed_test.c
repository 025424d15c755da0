/* The ventilator's core: sinks that are removed, and who has what was theirs (R52). */
#include "vent_world.h"

#include "alloc_fail.h"

#define OLD 0x51
#define NEW 0x55
#define THIRD 0x59
#define NEW_ROUTE 901u
#define THIRD_ROUTE 902u

static void join(struct world *w, uint32_t route, uint8_t mark)
{
    world_sink_hello(w, route, mark, (uint8_t)(mark + 1));
    world_settled(w, route, mark, 1, 0, NULL, NULL, NULL, 0);
    world_tick(w);
}

static void leave(struct world *w, uint32_t route)
{
    struct dtqi_msg msg = {.type = DTQI_BYE};

    world_msg(w, route, &msg);
    world_tick(w);
}

static struct world *world_default(void)
{
    struct vent_cfg cfg;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    return world_new(&cfg);
}

/* Both sinks are there, and the old one has left. */
static int begin(void **state)
{
    struct world *w = world_default();

    world_sink(w);
    join(w, NEW_ROUTE, NEW);
    world_producer(w, PRODUCER);
    leave(w, SINK_ROUTE);
    world_clear(w);
    *state = w;
    return 0;
}

/* There is but one sink, and it has left. */
static int begin_alone(void **state)
{
    struct world *w = world_default();

    world_sink(w);
    world_producer(w, PRODUCER);
    leave(w, SINK_ROUTE);
    world_clear(w);
    *state = w;
    return 0;
}

static int end(void **state)
{
    world_free(*state);
    return 0;
}

static void order(struct world *w, uint8_t mark, uint8_t successor, bool force)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};
    dtqi_uid stores[2] = {world_uid(mark), world_uid(successor)};
    dtq_id ids[2];

    memcpy(ids, stores, sizeof ids);
    msg.operate = (struct dtqi_operate){.operation = DTQI_SINK_REMOVE,
                                        .request = ++w->requests,
                                        .ids = ids,
                                        .n = successor != 0 ? 2 : 1,
                                        .force = force};
    world_msg(w, PRODUCER, &msg);
}

/* Of the order that was given last. */
static enum dtqi_refusal answered(struct world *w, uint64_t *ret_count)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY);
    enum dtqi_refusal reason;

    assert_int_equal(s->msg.operate_reply.request, w->requests);
    reason = s->msg.operate_reply.reason;
    *ret_count = s->msg.operate_reply.count;
    world_drop(w, s);
    return reason;
}

static void remove_sink(struct world *w, uint8_t mark, uint8_t successor)
{
    uint64_t count;

    order(w, mark, successor, false);
    world_tick(w);
    assert_int_equal(answered(w, &count), DTQI_REFUSAL_NONE);
    assert_int_equal(count, 1);
}

static enum dtqi_refusal refusal_of(struct world *w, uint8_t mark, uint8_t successor)
{
    uint64_t count;

    order(w, mark, successor, false);
    world_tick(w);
    return answered(w, &count);
}

/* The tasks of the last TASKS are of this sink. */
static void expect_dispatched_for(struct world *w, struct world_worker *x, uint8_t mark, uint32_t n)
{
    struct world_sent *s = world_find(w, WORLD_LANE, DTQI_TASKS);
    dtqi_uid store = world_uid(mark);

    assert_non_null(s);
    assert_int_equal(s->msg.tasks.sinks_n, 1);
    assert_true(dtqi_uid_eq(&s->msg.tasks.sinks[0], &store));
    assert_int_equal(world_tasks(w, x, NULL, NULL, 16), n);
}

/* ---------------------------------------------------------------- whose tasks they are */

static void what_waits_is_dispatched_for_the_successor(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 3, (struct world_task){0});
    world_submit(w, 4, 1, (struct world_task){.delay_ms = 1800});
    world_pass(w, 1000);
    remove_sink(w, OLD, NEW);
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    expect_dispatched_for(w, &x, NEW, 3);
    world_pass(w, 1000);
    expect_dispatched_for(w, &x, NEW, 1);
}

static void what_the_journal_has_is_dispatched_for_the_successor_after_a_start(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 3, (struct world_task){0});
    world_pass(w, 1000);
    remove_sink(w, OLD, NEW);
    world_restart(w);
    join(w, NEW_ROUTE, NEW);
    world_pass(w, 6000);
    join(w, NEW_ROUTE, NEW);
    world_clear(w);
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    expect_dispatched_for(w, &x, NEW, 3);
}

static void new_tasks_that_name_it_are_the_successors(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    remove_sink(w, OLD, NEW);
    world_submit(w, 1, 1, (struct world_task){0});
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    expect_dispatched_for(w, &x, NEW, 1);
}

static void a_resent_task_that_names_it_is_asked_for_at_the_successor(void **state)
{
    struct world *w = *state;

    remove_sink(w, OLD, NEW);
    world_clear(w);
    world_submit(w, 1, 1, (struct world_task){.resend = true});
    world_tick(w);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_CLAIM)->to, NEW_ROUTE);
}

/* Whatever became of them: those whose worker is gone, too. */
static void proposals_go_to_the_successor(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id(1);
    dtqi_uid store = world_uid(NEW);
    struct dtqi_msg msg = {.type = DTQI_CANCEL};

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 1000);
    msg.cancel = (struct dtqi_cancel){.request = ++w->requests, .ids = &id, .n = 1};
    world_msg(w, PRODUCER, &msg);
    world_pass(w, 1000);
    assert_int_equal(world_count(w, WORLD_SINK, DTQI_OUTCOMES), 0);
    remove_sink(w, OLD, NEW);
    assert_true(dtqi_uid_eq(&world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes.sink, &store));
}

static void leases_stay_and_workers_are_told_who_has_their_results(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    const struct dtqi_removed *removed;
    dtqi_uid stores[2] = {world_uid(OLD), world_uid(NEW)};

    x = world_worker(w, 1, 4, 8);
    world_submit(w, 1, 1, (struct world_task){0}); /* one is sent though its sink is away (R16) */
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 4), 1);
    world_clear(w);
    remove_sink(w, OLD, NEW);
    for (struct world_sent *s = world_take(w, WORLD_SEND, DTQI_SINKS);; s = s->next) {
        assert_non_null(s);
        if (s->msg.type != DTQI_SINKS || s->to != x.route || s->msg.sinks.removed.n == 0)
            continue;
        removed = &s->msg.sinks.removed;
        break;
    }
    assert_int_equal(removed->n, 1);
    assert_true(dtqi_uid_eq(&removed->stores[0], &stores[0]));
    assert_true(dtqi_uid_eq(&removed->successors[0], &stores[1]));
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_FORGET), 0);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_STOP_ATTEMPTS), 0);
}

/* Every state of a task, with a check of all lists after each step. */
static void tasks_in_any_state_are_moved(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 4);
    uint32_t tickets[8];
    uint32_t n;

    world_submit(
        w, 1, 8,
        (struct world_task){.retries = 3, .backoff_min_ms = 60000, .backoff_max_ms = 60000});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 8), 2);
    world_done(w, &x, tickets, 1);
    world_fail(w, &x, 2, x.epoch, 1, DTQ_REASON_ERROR);
    world_submit(w, 20, 1, (struct world_task){.resend = true});
    world_pass(w, 1000);
    n = 2 + world_tasks(w, &x, NULL, NULL, 8);
    world_clear(w);
    remove_sink(w, OLD, NEW);
    world_credit(w, &x, 64);
    world_tick(w);
    expect_dispatched_for(w, &x, NEW, 8 - n);
}

static void a_successor_may_be_removed_in_turn(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    join(w, THIRD_ROUTE, THIRD);
    world_submit(w, 1, 2, (struct world_task){0});
    world_pass(w, 1000);
    remove_sink(w, OLD, NEW);
    leave(w, NEW_ROUTE);
    remove_sink(w, NEW, THIRD);
    world_restart(w);
    join(w, THIRD_ROUTE, THIRD);
    world_pass(w, 6000);
    join(w, THIRD_ROUTE, THIRD);
    world_clear(w);
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    expect_dispatched_for(w, &x, THIRD, 2);
}

static void without_a_name_another_sink_is_chosen(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 1000);
    remove_sink(w, OLD, 0);
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    expect_dispatched_for(w, &x, NEW, 1);
}

/* ---------------------------------------------------------------- without another sink */

static void without_another_sink_tasks_wait_for_the_next_one(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 1000);
    remove_sink(w, OLD, 0);
    world_clear(w);
    x = world_worker(w, 1, 4, 8);
    world_submit(w, 2, 1, (struct world_task){0});
    world_pass(w, 1000);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 4), 0);
    assert_int_equal(world_refused(w), DTQI_NO_SINK);
    join(w, NEW_ROUTE, NEW);
    expect_dispatched_for(w, &x, NEW, 1);
}

static void they_wait_over_a_restart_as_well(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 1000);
    remove_sink(w, OLD, 0);
    world_restart(w);
    world_pass(w, 6000);
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 4), 0);
    join(w, NEW_ROUTE, NEW);
    world_restart(w);
    join(w, NEW_ROUTE, NEW);
    world_pass(w, 6000);
    join(w, NEW_ROUTE, NEW);
    world_clear(w);
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    expect_dispatched_for(w, &x, NEW, 1);
}

/* ---------------------------------------------------------------- the order */

static void it_is_answered_and_holds_when_it_is_written(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 1000);
    world_clear(w);
    w->journal_stuck = true;
    order(w, OLD, NEW, false);
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 0);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 4), 0);
    w->journal_stuck = false;
    world_journal(w);
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 1);
    expect_dispatched_for(w, &x, NEW, 1);
}

static void it_is_tried_again_when_it_could_not_be_written(void **state)
{
    struct world *w = *state;

    world_clear(w);
    w->journal_err = DTQ_ENOSPC;
    order(w, OLD, NEW, false);
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 0);
    w->journal_err = DTQ_OK;
    world_pass(w, 5000);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 1);
}

static void a_successor_that_could_not_be_written_is_tried_again(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 1000);
    remove_sink(w, OLD, 0);
    w->journal_stuck = true;
    join(w, NEW_ROUTE, NEW); /* .. its own record goes first */
    w->journal_stuck = false;
    world_journal(w);
    w->journal_err = DTQ_ENOSPC;
    world_tick(w);
    w->journal_err = DTQ_OK;
    world_pass(w, 5000);
    join(w, NEW_ROUTE, NEW);
    world_clear(w);
    x = world_worker(w, 1, 4, 8);
    world_tick(w);
    expect_dispatched_for(w, &x, NEW, 1);
}

static void given_again_it_is_answered_with_nothing_to_do(void **state)
{
    struct world *w = *state;
    uint64_t count = 1;

    remove_sink(w, OLD, NEW);
    order(w, OLD, 0, false);
    assert_int_equal(answered(w, &count), DTQI_REFUSAL_NONE);
    assert_int_equal(count, 0);
    world_restart(w);
    world_producer(w, PRODUCER);
    order(w, OLD, NEW, false);
    assert_int_equal(answered(w, &count), DTQI_REFUSAL_NONE);
    assert_int_equal(refusal_of(w, OLD, OLD), DTQI_CONFLICT);
}

static void whoever_asks_while_it_is_written_is_answered_too(void **state)
{
    struct world *w = *state;

    world_clear(w);
    w->journal_stuck = true;
    order(w, OLD, NEW, false);
    world_tick(w);
    order(w, OLD, NEW, false);
    w->journal_stuck = false;
    world_journal(w);
    world_tick(w);
    assert_int_equal(world_count(w, WORLD_SEND, DTQI_OPERATE_REPLY), 2);
}

static void a_connected_sink_is_removed_by_force_only(void **state)
{
    struct world *w = *state;
    uint64_t count;

    join(w, SINK_ROUTE, OLD);
    assert_int_equal(refusal_of(w, OLD, NEW), DTQI_BAD_TASK);
    order(w, OLD, NEW, true);
    world_tick(w);
    assert_int_equal(answered(w, &count), DTQI_REFUSAL_NONE);
    world_clear(w);
    world_settled(w, SINK_ROUTE, OLD, 1, 1, &(dtq_id){{1}}, NULL, NULL, 1);
    (void)world_take(w, WORLD_SEND, DTQI_UNKNOWN_SESSION);
}

static void only_sinks_that_are_there_can_be_removed_or_succeed(void **state)
{
    struct world *w = *state;

    assert_int_equal(refusal_of(w, THIRD, 0), DTQI_BAD_TASK);
    assert_int_equal(refusal_of(w, OLD, THIRD), DTQI_BAD_TASK);
    assert_int_equal(refusal_of(w, OLD, OLD), DTQI_BAD_TASK);
}

static void a_removed_sink_is_refused_for_ever(void **state)
{
    struct world *w = *state;

    remove_sink(w, OLD, NEW);
    world_clear(w);
    world_sink_hello(w, SINK_ROUTE, OLD, 0x61);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_REFUSED)->msg.refused.reason, DTQI_BAD_PEER);
    world_restart(w);
    world_sink_hello(w, SINK_ROUTE, OLD, 0x62);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_REFUSED)->msg.refused.reason, DTQI_BAD_PEER);
}

/* What was removed would be one of ours again. */
static void a_start_without_memory_for_them_fails(void **state)
{
    struct world *w = *state;
    struct journal_start start;
    struct vent *v = NULL;
    char why[200] = "";
    dtq_err err;

    remove_sink(w, OLD, NEW);
    world_kill(w);
    assert_int_equal(journal_open(w->store, 77, &w->journal, &start, why, sizeof why), DTQ_OK);
    alloc_fail_at(2); /* the first one is for the core itself */
    alloc_fail_arm(true);
    err = vent_new(&w->cfg, &start, w->now_ms, world_wall_ms(w), &v);
    alloc_fail_arm(false);
    vent_free(v);
    journal_start_done(&start);
    assert_int_equal(err, DTQ_ENOMEM);
}

/* Each of 20 strangers has a place of its own for as long as it is there. */
static void the_place_of_a_removed_sink_is_free(void **state)
{
    struct world *w = *state;

    for (uint8_t i = 0; i < 20; i++) {
        world_sink_hello(w, THIRD_ROUTE, (uint8_t)(THIRD + i), (uint8_t)(0x80 + i));
        (void)world_take(w, WORLD_SEND, DTQI_WELCOME);
        world_tick(w);
        leave(w, THIRD_ROUTE);
        remove_sink(w, (uint8_t)(THIRD + i), NEW);
        world_clear(w);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
#define ALONE(name) cmocka_unit_test_setup_teardown(name, begin_alone, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_waits_is_dispatched_for_the_successor),
        T(what_the_journal_has_is_dispatched_for_the_successor_after_a_start),
        T(new_tasks_that_name_it_are_the_successors),
        T(a_resent_task_that_names_it_is_asked_for_at_the_successor),
        T(proposals_go_to_the_successor),
        T(leases_stay_and_workers_are_told_who_has_their_results),
        T(tasks_in_any_state_are_moved),
        T(a_successor_may_be_removed_in_turn),
        T(without_a_name_another_sink_is_chosen),
        ALONE(without_another_sink_tasks_wait_for_the_next_one),
        ALONE(they_wait_over_a_restart_as_well),
        T(it_is_answered_and_holds_when_it_is_written),
        T(it_is_tried_again_when_it_could_not_be_written),
        ALONE(a_successor_that_could_not_be_written_is_tried_again),
        T(given_again_it_is_answered_with_nothing_to_do),
        T(whoever_asks_while_it_is_written_is_answered_too),
        T(a_connected_sink_is_removed_by_force_only),
        T(only_sinks_that_are_there_can_be_removed_or_succeed),
        T(a_removed_sink_is_refused_for_ever),
        T(a_start_without_memory_for_them_fails),
        T(the_place_of_a_removed_sink_is_free),
    };

    return cmocka_run_group_tests_name("vent_removed", tests, NULL, NULL);
}
