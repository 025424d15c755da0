/* The ventilator's core: idempotency keys (R7): one task for a key, across restarts, for a time. */
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

static void restart(struct world *w)
{
    world_restart(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
}

static const struct world_task keyed = {.key = "invoice:7", .body = "cargo"};

/* Task n is submitted and answered. */
static const struct dtqi_submitted *submit(struct world *w, uint32_t n, struct world_task task)
{
    world_clear(w);
    world_submit(w, n, 1, task);
    world_pass(w, 50);
    return &world_take(w, WORLD_SEND, DTQI_SUBMITTED)->msg.submitted;
}

static void accept(struct world *w, uint32_t n, struct world_task task)
{
    const struct dtqi_submitted *s = submit(w, n, task);

    assert_int_equal(s->refused_n, 0);
    assert_int_equal(s->same_n, 0);
}

static void same_as(struct world *w, uint32_t n, struct world_task task, uint32_t first)
{
    const struct dtqi_submitted *s = submit(w, n, task);

    assert_int_equal(s->refused_n, 0);
    assert_int_equal(s->same_n, 1);
    assert_int_equal(s->same_index[0], 0);
    assert_int_equal(world_number(&s->same_ids[0]), first);
}

static void refused_with(struct world *w, uint32_t n, struct world_task task,
                         enum dtqi_refusal reason)
{
    const struct dtqi_submitted *s = submit(w, n, task);

    assert_int_equal(s->refused_n, 1);
    assert_int_equal(s->refused_reason[0], reason);
}

static void a_key_stands_for_its_first_task(void **state)
{
    struct world *w = *state;

    accept(w, 1, keyed);
    same_as(w, 2, keyed, 1);
    same_as(w, 3, keyed, 1);
    accept(w, 4, (struct world_task){.key = "invoice:8", .body = "cargo"});
    assert_int_equal(vent_counters(w->v)->tasks_submitted, 2);
}

static void a_key_runs_once(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    accept(w, 1, keyed);
    same_as(w, 2, keyed, 1);
    assert_int_equal(vent_counters(w->v)->tasks_dispatched, 1);
    (void)x;
}

static void other_content_under_the_same_key_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct world_task other = keyed;

    accept(w, 1, keyed);
    other.body = "other";
    refused_with(w, 2, other, DTQI_CONFLICT);
    other = keyed;
    other.retries = 9;
    refused_with(w, 3, other, DTQI_CONFLICT);
}

static void a_key_is_known_after_a_restart(void **state)
{
    struct world *w = *state;

    accept(w, 1, keyed);
    restart(w);
    same_as(w, 2, keyed, 1);
}

static void a_key_outlives_its_task(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    accept(w, 1, keyed);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_live(w, 500, &x, NULL);
    same_as(w, 2, keyed, 1);
    restart(w);
    same_as(w, 3, keyed, 1);
}

/* A confirmation that goes out before the key is durable could be forgotten. */
static void a_keyed_task_that_settles_first_is_confirmed_with_its_key(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    world_submit(w, 1, 1, keyed);
    world_journal(w); /* the key is looked up */
    w->journal_stuck = true;
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_SUBMITTED));
    restart(w); /* before the commit: nothing is known of it */
    w->journal_stuck = false;
    w->settled = 0;
    accept(w, 2, keyed);
    x = world_worker(w, 1, 1, 10);
    world_live(w, 6000, &x, NULL);
    world_settle(w, 2, DTQ_SUCCEEDED);
    world_live(w, 500, &x, NULL);
    restart(w);
    same_as(w, 3, keyed, 2);
}

static void a_key_that_is_on_its_way_into_the_journal_is_waited_for(void **state)
{
    struct world *w = *state;
    const struct dtqi_submitted *s;

    world_submit(w, 1, 1, keyed);
    world_journal(w);
    w->journal_stuck = true;
    world_submit(w, 2, 1, keyed);
    world_tick(w);
    assert_null(world_find(w, WORLD_SEND, DTQI_SUBMITTED));
    w->journal_stuck = false;
    world_tick(w);
    assert_true(world_confirmed(w, 1));
    s = &world_take(w, WORLD_SEND, DTQI_SUBMITTED)->msg.submitted;
    assert_int_equal(s->same_n, 1);
    assert_int_equal(world_number(&s->same_ids[0]), 1);
}

static void a_key_that_is_being_looked_up_is_busy(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, keyed);
    world_submit(w, 2, 1, keyed);
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BUSY);
    assert_true(world_confirmed(w, 1));
    world_submit(w, 3, 1, (struct world_task){.key = "k"});
    world_submit(w, 4, 1, (struct world_task){.key = "k", .body = "x"});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_CONFLICT);
}

static void a_resend_of_the_first_task_is_that_task(void **state)
{
    struct world *w = *state;
    struct world_task again = keyed;

    accept(w, 1, keyed);
    again.resend = true;
    accept(w, 1, again); /* in memory */
    restart(w);
    accept(w, 1, again); /* in the journal */
    assert_int_equal(vent_counters(w->v)->tasks_submitted, 0);
}

static void a_key_is_forgotten_when_its_time_is_over(void **state)
{
    struct world *w = *state;
    struct world_task task = keyed;

    task.key_ttl_ms = 60000;
    accept(w, 1, task);
    world_pass(w, 50000);
    world_sink(w);
    same_as(w, 2, task, 1);
    world_pass(w, 20000);
    world_sink(w);
    accept(w, 3, task);
    same_as(w, 4, task, 3);
    restart(w);
    same_as(w, 5, task, 3);
}

static void keys_are_bounded_and_there_is_room_again_when_old_ones_go(void **state)
{
    struct world *w;
    struct vent_cfg cfg;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.keys_max = 2;
    world_free(*state);
    *state = w = world_of(&cfg);
    accept(w, 1, (struct world_task){.key = "a", .key_ttl_ms = 30000});
    accept(w, 2, (struct world_task){.key = "b", .key_ttl_ms = 30000});
    refused_with(w, 3, (struct world_task){.key = "c"}, DTQI_BUSY);
    accept(w, 4, (struct world_task){0});
    world_pass(w, 45000);
    world_sink(w);
    accept(w, 3, (struct world_task){.key = "c"});
}

/* They count when their keys have been looked up: many may be under way at a time. */
static void a_full_queue_keeps_out_tasks_with_keys_too(void **state)
{
    static const char *const keys[] = {"a", "b", "c", "d"};
    struct world *w;
    struct vent_cfg cfg;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.queue_tasks_max = 2;
    world_free(*state);
    *state = w = world_of(&cfg);
    for (uint32_t n = 1; n <= 4; n++)
        world_submit(w, n, 1, (struct world_task){.key = keys[n - 1]});
    world_pass(w, 50);
    assert_int_equal(vent_counters(w->v)->tasks_submitted, 2);
    assert_int_equal(world_refused(w), DTQI_BUSY);
    world_settle(w, 1, DTQ_SUCCEEDED);
    accept(w, 3, (struct world_task){.key = "c"});
}

static void a_full_disk_loses_no_key(void **state)
{
    struct world *w = *state;

    w->journal_err = DTQ_ENOSPC;
    world_submit(w, 1, 1, keyed);
    world_pass(w, 500);
    assert_null(world_find(w, WORLD_SEND, DTQI_SUBMITTED));
    w->journal_err = DTQ_OK;
    world_pass(w, 3000);
    assert_true(world_confirmed(w, 1));
    restart(w);
    same_as(w, 2, keyed, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_key_stands_for_its_first_task),
        T(a_key_runs_once),
        T(other_content_under_the_same_key_is_a_conflict),
        T(a_key_is_known_after_a_restart),
        T(a_key_outlives_its_task),
        T(a_keyed_task_that_settles_first_is_confirmed_with_its_key),
        T(a_key_that_is_on_its_way_into_the_journal_is_waited_for),
        T(a_key_that_is_being_looked_up_is_busy),
        T(a_resend_of_the_first_task_is_that_task),
        T(a_key_is_forgotten_when_its_time_is_over),
        T(keys_are_bounded_and_there_is_room_again_when_old_ones_go),
        T(a_full_queue_keeps_out_tasks_with_keys_too),
        T(a_full_disk_loses_no_key),
    };

    return cmocka_run_group_tests_name("vent_key", tests, NULL, NULL);
}
