/* The worker's slots: feeding, taking back, time limits, crashes, restarts. */
#include "worker_world.h"

static struct world *with_slots(uint32_t n)
{
    struct worker_cfg cfg = world_cfg(n);

    return world_in_session(&cfg);
}

static void ended(struct world *t, uint32_t number, uint64_t took_us)
{
    int slot = world_slot_of(t, number);

    assert_true(slot >= 0);
    world_ends(t, (uint32_t)slot, (struct world_end){.took_us = took_us});
}

/* ---------------------------------------------------------------- feeding */

static void each_slot_gets_a_task_before_one_gets_two(void **state)
{
    struct world *t = with_slots(3);

    (void)state;
    world_teach(t, 100);
    world_give(t, (struct world_tasks){.n = 1});
    world_tick(t);
    world_give(t, (struct world_tasks){.n = 3});
    world_tick(t);
    for (int i = 0; i < 3; i++)
        assert_in_range(t->slots[i].n, 1, 2);
    world_free(t);
}

static void slots_share_what_there_is_equally(void **state)
{
    struct world *t = with_slots(4);

    (void)state;
    world_teach(t, 1);
    world_give(t, (struct world_tasks){.n = 100});
    world_tick(t);
    for (int i = 0; i < 4; i++)
        assert_int_equal(t->slots[i].n, 25);
    world_free(t);
}

/* As many as half the target takes, so that a ring is neither dry nor a queue of its own. */
static void rings_are_as_deep_as_the_estimate_allows(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    world_teach(t, 100);
    world_give(t, (struct world_tasks){.n = 60});
    world_tick(t);
    assert_in_range(t->slots[0].n, 15, 21); /* 1 + 2000 us / 100 us */
    world_free(t);

    t = with_slots(1);
    world_teach(t, 0);
    world_give(t, (struct world_tasks){.n = 1000});
    world_tick(t);
    assert_int_equal(t->slots[0].n, WORKER_RING_TASKS_MAX);
    world_free(t);

    t = with_slots(1);
    world_teach(t, 50000);
    world_give(t, (struct world_tasks){.n = 10});
    world_tick(t);
    assert_int_equal(t->slots[0].n, 1);
    world_free(t);
}

static void tasks_are_fed_in_order_with_what_they_need(void **state)
{
    struct world *t = with_slots(1);
    const struct worker_action *a;

    (void)state;
    world_teach(t, 1);
    uint32_t first = world_give(
        t, (struct world_tasks){.n = 3, .attempt = 4, .body_bytes = 5, .time_limit_ms = 70});
    world_tick(t);
    a = world_find(t, WORKER_ACT_SLOT_FEED, 0);
    assert_int_equal(a->feed.n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct worker_feed *f = &a->feed.tasks[i];

        assert_int_equal(world_number(&f->id), first + i);
        assert_int_equal(f->attempt, 4);
        assert_int_equal(f->time_limit_ms, 70);
        assert_int_equal(f->body.len, 5);
        assert_memory_equal(f->body.at, "ppppp", 5);
        assert_true(dtqi_str_eq(f->name, dtqi_str("test.work")));
        assert_true(dtqi_str_eq(f->queue, dtqi_str("default")));
    }
    world_free(t);
}

static void a_ring_takes_no_more_bytes_than_it_has(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.ring_bytes = 100000;
    t = world_in_session(&cfg);
    world_teach(t, 1);
    world_give(t, (struct world_tasks){.n = 9, .body_bytes = 30000});
    world_tick(t);
    assert_int_equal(t->slots[0].n, 3);
    world_ends(t, 0, (struct world_end){.n = 3});
    world_give(t, (struct world_tasks){.n = 1, .body_bytes = 4000000});
    for (int i = 0; i < 2; i++) {
        world_tick(t);
        world_ends(t, 0, (struct world_end){.n = 3});
    }
    world_tick(t);
    assert_int_equal(t->slots[0].n, 1); /* the large one, alone */
    world_free(t);
}

static void what_does_not_fit_comes_back_and_waits_its_turn(void **state)
{
    struct world *t = with_slots(1);
    uint32_t handles[2];
    uint32_t first;

    (void)state;
    world_teach(t, 1);
    first = world_give(t, (struct world_tasks){.n = 4});
    world_tick(t);
    memcpy(handles, &t->slots[0].handles[2], sizeof handles);
    t->slots[0].n = 2;
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_FULL,
                                        .slot = {.index = 0, .handles = handles, .handles_n = 2}});
    world_tick(t);
    assert_int_equal(t->slots[0].n, 2); /* not tried again at once */
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    assert_int_equal(t->slots[0].n, 3);
    assert_int_equal(world_number(&t->slots[0].ids[1]), first + 2);
    world_free(t);
}

static void what_not_even_an_empty_ring_takes_fails(void **state)
{
    struct world *t = with_slots(1);
    uint32_t number = world_give(t, (struct world_tasks){0});

    (void)state;
    world_tick(t);
    t->slots[0].n = 0;
    world_step(t, (struct worker_event){
                      .type = WORKER_EV_SLOT_FULL,
                      .slot = {.index = 0, .handles = t->slots[0].handles, .handles_n = 1}});
    world_tick(t);
    assert_int_equal(world_failure(t, number)->reason, DTQ_REASON_BAD_ENTRY);
    world_free(t);
}

/* R17 */
static void an_expired_task_is_returned_and_never_starts(void **state)
{
    struct world *t = with_slots(1);
    uint32_t a;
    uint32_t b;

    (void)state;
    world_teach(t, 1000);
    a = world_give(t, (struct world_tasks){.n = 1});
    world_tick(t);
    world_begin(t, 0);
    b = world_give(t, (struct world_tasks){.n = 3, .expires_in_ms = 3});
    t->now_ms += 3;
    ended(t, a, 3000);
    world_tick(t);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(world_returned(t, b + i));
    assert_int_equal(t->slots[0].n, 0);
    assert_int_equal(worker_stats(t->w)->tasks_expired, 3);
    world_free(t);
}

/* ---------------------------------------------------------------- taking back */

static void what_waits_behind_a_long_task_goes_to_another_slot(void **state)
{
    struct world *t = with_slots(2);
    uint32_t first;

    (void)state;
    world_teach(t, 1);
    first = world_give(t, (struct world_tasks){.n = 40});
    world_tick(t);
    assert_int_equal(t->slots[0].n, 20);
    world_begin(t, 0);
    world_begin(t, 1);
    t->now_ms += 3;
    world_tick(t);
    world_ends(t, 1, (struct world_end){.n = 10}); /* this one makes progress */
    t->now_ms += 1;
    world_tick(t); /* 4 ms at one task: the target */
    world_tick(t);
    assert_int_equal(t->slots[0].n, 1);
    assert_true(t->slots[1].n > 10);
    world_live(t, 2);
    assert_int_equal(world_view(t).waiting + t->slots[1].n, 29);
    assert_int_equal(world_number(&t->slots[0].ids[0]), first);
    world_free(t);
}

static void tasks_taken_back_keep_their_order_at_the_head(void **state)
{
    struct world *t = with_slots(2);

    (void)state;
    world_teach(t, 1);
    world_give(t, (struct world_tasks){.first = 5001, .n = 8});
    world_tick(t);
    t->now_ms += 3; /* slot 0 gets to work at once, slot 1 after a while */
    world_ends(t, 1, (struct world_end){.n = 4});
    world_begin(t, 0);
    t->now_ms += 1;
    world_tick(t);
    world_tick(t);
    assert_int_equal(t->slots[0].n, 1);
    for (uint32_t i = 1; i < t->slots[1].n; i++)
        assert_true(world_number(&t->slots[1].ids[i - 1]) < world_number(&t->slots[1].ids[i]));
    world_free(t);
}

/* Nothing is held in advance by a worker whose slots are all at long tasks. */
static void all_slots_at_long_tasks_return_the_rest(void **state)
{
    struct world *t = with_slots(2);
    uint32_t first;

    (void)state;
    world_teach(t, 100);
    first = world_give(t, (struct world_tasks){.n = 30});
    world_tick(t);
    world_begin(t, 0);
    world_begin(t, 1);
    world_live(t, 6);
    assert_int_equal(world_view(t).in_slots, 2);
    assert_int_equal(world_view(t).waiting, 0);
    assert_int_equal(worker_stats(t->w)->tasks_returned, 28);
    assert_true(world_returned(t, first + 29));
    assert_int_equal(world_view(t).window, 2);
    assert_int_equal(world_view(t).credit_tasks, world_last(t, DTQI_REPORT)->report.credit_tasks);
    assert_int_equal(world_view(t).credit_tasks, 430); /* all that came, and no more */
    world_free(t);
}

static void an_idle_slot_takes_from_the_fullest(void **state)
{
    struct world *t = with_slots(2);

    (void)state;
    world_teach(t, 100);
    world_give(t, (struct world_tasks){.n = 20});
    world_tick(t);
    world_begin(t, 0);
    world_ends(t, 1, (struct world_end){.n = 10, .took_us = 100});
    world_tick(t);
    world_tick(t);
    assert_int_equal(t->slots[0].n + t->slots[1].n, 10);
    assert_in_range(t->slots[1].n, 4, 6);
    world_free(t);
}

/* R20 */
static void a_recall_takes_the_last_received_first(void **state)
{
    struct world *t = with_slots(1);
    struct dtqi_msg msg = {.type = DTQI_RECALL, .recall = {.session = 1, .count = 3}};
    uint32_t first;

    (void)state;
    world_teach(t, 1000);
    first = world_give(t, (struct world_tasks){.n = 6});
    world_tick(t);
    world_begin(t, 0);
    world_control(t, &msg);
    world_tick(t);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(world_returned(t, first + i), i >= 3);
    world_free(t);
}

/* R20 */
static void a_recall_reaches_into_the_rings_but_not_to_what_runs(void **state)
{
    struct world *t = with_slots(1);
    struct dtqi_msg msg = {.type = DTQI_RECALL, .recall = {.session = 1, .count = 100}};
    uint32_t first;

    (void)state;
    world_teach(t, 1);
    first = world_give(t, (struct world_tasks){.n = 10});
    world_tick(t);
    world_begin(t, 0);
    assert_int_equal(t->slots[0].n, 10);
    world_control(t, &msg);
    world_tick(t);
    world_tick(t);
    assert_false(world_returned(t, first));
    for (uint32_t i = 1; i < 10; i++)
        assert_true(world_returned(t, first + i));
    world_give(t, (struct world_tasks){.n = 2}); /* the recall is over */
    world_tick(t);
    assert_int_equal(t->slots[0].n, 3);
    world_free(t);
}

/* ---------------------------------------------------------------- time limits */

static void a_task_over_its_limit_is_killed_and_fails(void **state)
{
    struct world *t = with_slots(1);
    uint32_t number = world_give(t, (struct world_tasks){.time_limit_ms = 500});

    (void)state;
    world_tick(t);
    world_begin(t, 0);
    world_live(t, 500);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 0);
    world_live(t, 2);
    assert_int_equal(world_find(t, WORKER_ACT_SLOT_KILL, 0)->slot.why, WORKER_KILL_TIMEOUT);
    world_tick(t);
    assert_int_equal(world_failure(t, number)->reason, DTQ_REASON_TIMEOUT);
    assert_in_range(world_failure(t, number)->duration_us, 500000, 510000);
    assert_true(world_failure(t, number)->started_wall_ms != 0);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_START), 1); /* a fresh slot, at once */
    world_free(t);
}

static void the_workers_limit_holds_for_tasks_without_one(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.time_limit_ms = 100;
    t = world_in_session(&cfg);
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    world_live(t, 103);
    assert_int_equal(worker_stats(t->w)->slots_timed_out, 1);
    world_give(t, (struct world_tasks){.time_limit_ms = 5000}); /* its own counts */
    world_tick(t);
    world_begin(t, 0);
    world_live(t, 4000);
    assert_int_equal(worker_stats(t->w)->slots_timed_out, 1);
    world_free(t);
}

/* A slot that hangs before it takes the task: the limit holds. */
static void the_limit_holds_when_the_slot_hangs(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    world_give(t, (struct world_tasks){.time_limit_ms = 500});
    world_tick(t);
    world_live(t, 502); /* never begun */
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 1);
    world_free(t);
}

static void the_time_counts_from_the_start_that_the_slot_told(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    world_give(t, (struct world_tasks){.time_limit_ms = 500});
    world_tick(t);
    world_begin(t, 0);
    world_live(t, 200);
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_STARTED,
                                        .slot = {.index = 0,
                                                 .handle = t->slots[0].handles[0],
                                                 .started_ms = t->now_ms - 10}});
    world_live(t, 490);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 0);
    world_live(t, 2);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 1);
    world_free(t);
}

/* The one that was over time ended just before the kill; the next one had begun. */
static void a_task_killed_for_another_is_returned_not_failed(void **state)
{
    struct world *t = with_slots(1);
    uint32_t a;
    uint32_t b;

    (void)state;
    world_teach(t, 1000);
    a = world_give(t, (struct world_tasks){.n = 1, .time_limit_ms = 2});
    b = world_give(t, (struct world_tasks){.n = 1});
    world_tick(t);
    assert_int_equal(t->slots[0].n, 2);
    world_begin(t, 0);
    t->slots[0].deaf = true;
    world_live(t, 3);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 1);
    ended(t, a, 3000);
    world_begin(t, 0);
    world_slot_exits(t, 0, true, 9);
    world_tick(t);
    assert_null(world_failure(t, a));
    assert_null(world_failure(t, b));
    assert_true(world_returned(t, b));
    world_free(t);
}

/* A slot waits with its result while there is no memory for it: that is not the task's time. */
static void no_limit_counts_while_results_have_no_room(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.result_bytes_max = MIB;
    cfg.memory_bytes_max = worker_memory_min(1, cfg.result_bytes_max);
    t = world_in_session(&cfg);
    world_teach(t, 1);
    world_give(t, (struct world_tasks){.n = 40, .time_limit_ms = 50});
    world_tick(t);
    while (worker_result_room_bytes(t->w) != 0)
        world_ends(t, 0, (struct world_end){.body_bytes = MIB});
    assert_true(t->slots[0].n > 0);
    world_begin(t, 0);
    assert_int_equal(worker_result_room_bytes(t->w), 0);
    world_live(t, 3000);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 0);
    world_forget(t, t->id_next - 40, 40);
    world_live(t, 52);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 1);
    world_free(t);
}

/* ---------------------------------------------------------------- crashes */

static void a_crash_fails_what_ran_and_nothing_else(void **state)
{
    struct world *t = with_slots(1);
    uint32_t first;

    (void)state;
    world_teach(t, 1);
    first = world_give(t, (struct world_tasks){.n = 5});
    world_tick(t);
    world_ends(t, 0, (struct world_end){0});
    world_begin(t, 0);
    world_slot_exits(t, 0, true, 11);
    world_tick(t);
    assert_int_equal(world_failure(t, first + 1)->reason, DTQ_REASON_CRASH);
    assert_int_equal(world_failure(t, first + 1)->code, 11);
    assert_null(world_failure(t, first + 2));
    world_tick(t);
    assert_int_equal(t->slots[0].n, 3); /* in a fresh slot, in order */
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(world_number(&t->slots[0].ids[i]), first + 2 + i);
    assert_int_equal(worker_stats(t->w)->slots_crashed, 1);
    world_free(t);
}

static void an_exit_status_is_told_apart_from_a_signal(void **state)
{
    struct world *t = with_slots(1);
    uint32_t number = world_give(t, (struct world_tasks){0});
    const struct dtqi_failure *f;

    (void)state;
    world_tick(t);
    world_begin(t, 0);
    world_slot_exits(t, 0, false, 3);
    world_tick(t);
    f = world_failure(t, number);
    assert_int_equal(f->reason, DTQ_REASON_CRASH);
    assert_int_equal(f->code, 3);
    assert_non_null(memmem(f->text.at, f->text.len, "status 3", 8));
    world_free(t);
}

static void a_slot_that_dies_idle_is_restarted_with_backoff(void **state)
{
    struct world *t = with_slots(1);
    uint32_t started = 0;

    (void)state;
    for (int i = 0; i < 6; i++)
        world_slot_exits(t, 0, true, 6), world_live(t, 1);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_START), 0);
    t->slots_start = false;
    for (int i = 0; i < 600; i++) {
        world_live(t, 100);
        if (t->slots[0].up) {
            world_slot_exits(t, 0, true, 6);
            started++;
        }
    }
    assert_in_range(started, 7, 14); /* 0.1, 0.2, .. 10 s in a minute */
    world_free(t);
}

static void a_worker_whose_slots_never_start_gives_up(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t = world_new(&cfg);

    (void)state;
    t->slots_start = false;
    for (int i = 0; i < 3; i++) {
        assert_null(world_find(t, WORKER_ACT_EXIT, 0));
        world_pass(t, 1000);
        world_slot_exits(t, 0, true, 11);
    }
    assert_int_equal(world_find(t, WORKER_ACT_EXIT, 0)->exit.status, 1);
    world_free(t);
}

static void a_slot_that_cannot_load_its_handlers_ends_the_worker(void **state)
{
    struct worker_cfg cfg = world_cfg(2);
    struct world *t = world_new(&cfg);
    const struct worker_action *a;

    (void)state;
    t->slots_start = false;
    world_tick(t);
    world_step(
        t, (struct worker_event){.type = WORKER_EV_SLOT_BROKEN,
                                 .slot = {.index = 0, .text = dtqi_str("libx.so: no such file")}});
    a = world_find(t, WORKER_ACT_EXIT, 0);
    assert_int_equal(a->exit.status, 1);
    assert_true(dtqi_str_eq(a->exit.text, dtqi_str("libx.so: no such file")));
    world_free(t);
}

static void a_slot_that_hangs_at_start_is_killed(void **state)
{
    struct world *t = with_slots(2);

    (void)state;
    t->slots_start = false;
    world_slot_exits(t, 0, true, 11);
    world_live(t, 200);
    assert_true(t->slots[0].up);
    world_live(t, 29000);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 0);
    world_live(t, 1500);
    assert_int_equal(world_find(t, WORKER_ACT_SLOT_KILL, 0)->slot.why, WORKER_KILL_HUNG);
    world_free(t);
}

static void a_slot_is_replaced_after_so_many_tasks(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.tasks_per_child_max = 3;
    t = world_in_session(&cfg);
    world_teach(t, 1);
    world_live(t, 1000);
    world_clear(t);
    world_give(t, (struct world_tasks){.n = 4});
    for (int i = 0; i < 8; i++) {
        world_tick(t);
        assert_in_range(t->slots[0].n, 0, 3);
        if (t->slots[0].n != 0)
            world_ends(t, 0, (struct world_end){0});
    }
    assert_in_range(world_count(t, WORKER_ACT_SLOT_RETIRE), 1, 2);
    assert_int_equal(world_view(t).done, 4);
    assert_int_equal(worker_stats(t->w)->slots_crashed, 0);
    world_free(t);
}

/* ---------------------------------------------------------------- slots that lie */

static void nonsense_from_a_slot_changes_nothing(void **state)
{
    struct world *t = with_slots(2);
    struct worker_result results[] = {{.handle = 12345}, {.handle = UINT32_MAX}};
    uint32_t handles[] = {77, UINT32_MAX};

    (void)state;
    world_give(t, (struct world_tasks){.n = 2});
    world_tick(t);
    results[0].handle = t->slots[1].handles[0]; /* another slot's */
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_ENDED,
                                        .ended = {.index = 0, .n = 2, .results = results}});
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_RETURNED,
                                        .slot = {.index = 0, .handles = handles, .handles_n = 2}});
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_STARTED,
                                        .slot = {.index = 1, .handle = 99}});
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_READY, .slot.index = 99});
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_EXITED, .slot.index = 99});
    assert_int_equal(world_view(t).in_slots, 2);
    assert_int_equal(world_view(t).done, 0);
    assert_int_equal(worker_stats(t->w)->bad_slot_reports, 8);
    world_free(t);
}

/* What is known to run is not fed a second time. */
static void a_running_task_cannot_be_returned(void **state)
{
    struct world *t = with_slots(1);
    uint32_t number = world_give(t, (struct world_tasks){.body_bytes = 10});
    uint32_t handle;

    (void)state;
    world_tick(t);
    handle = t->slots[0].handles[0];
    world_step(
        t, (struct worker_event){.type = WORKER_EV_SLOT_STARTED,
                                 .slot = {.index = 0, .handle = handle, .started_ms = t->now_ms}});
    t->slots[0].n = 0;
    t->slots[0].up = false;
    world_step(
        t,
        (struct worker_event){
            .type = WORKER_EV_SLOT_EXITED,
            .slot = {
                .index = 0, .handles = &handle, .handles_n = 1, .by_signal = true, .status = 11}});
    world_tick(t);
    assert_int_equal(world_failure(t, number)->reason, DTQ_REASON_CRASH);
    world_free(t);
}

static void an_end_is_told_once(void **state)
{
    struct world *t = with_slots(1);
    struct worker_result result;

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    result = (struct worker_result){.handle = t->slots[0].handles[0]};
    t->slots[0].n = 0;
    for (int i = 0; i < 3; i++)
        world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_ENDED,
                                            .ended = {.index = 0, .n = 1, .results = &result}});
    assert_int_equal(world_view(t).done, 1);
    assert_int_equal(worker_stats(t->w)->bad_slot_reports, 2);
    world_free(t);
}

static void numbers_over_their_limits_on_the_wire_are_cut(void **state)
{
    struct world *t = with_slots(1);
    struct worker_result result = {
        .reason = DTQ_REASON_ERROR, .retry_after_ms = UINT64_MAX, .started_wall_ms = UINT64_MAX};
    uint32_t number;

    (void)state;
    number = world_give(t, (struct world_tasks){0});
    world_tick(t);
    result.handle = t->slots[0].handles[0];
    t->slots[0].n = 0;
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_ENDED,
                                        .ended = {.index = 0, .n = 1, .results = &result}});
    world_tick(t);
    assert_int_equal(world_failure(t, number)->retry_after_ms, DTQI_DURATION_MS_MAX);
    assert_int_equal(world_failure(t, number)->started_wall_ms, DTQI_WALL_MS_MAX);
    world_free(t);
}

static void started_tasks_are_named_once(void **state)
{
    struct world *t = with_slots(1);
    uint32_t named = 0;
    const struct dtqi_msg *m;

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    world_live(t, 5000);
    for (uint32_t i = 0; (m = world_sent(t, DTQI_REPORT, i)) != NULL; i++)
        named += m->report.started_n;
    assert_int_equal(named, 1);
    world_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_slot_gets_a_task_before_one_gets_two),
        cmocka_unit_test(slots_share_what_there_is_equally),
        cmocka_unit_test(rings_are_as_deep_as_the_estimate_allows),
        cmocka_unit_test(tasks_are_fed_in_order_with_what_they_need),
        cmocka_unit_test(a_ring_takes_no_more_bytes_than_it_has),
        cmocka_unit_test(what_does_not_fit_comes_back_and_waits_its_turn),
        cmocka_unit_test(what_not_even_an_empty_ring_takes_fails),
        cmocka_unit_test(an_expired_task_is_returned_and_never_starts),
        cmocka_unit_test(what_waits_behind_a_long_task_goes_to_another_slot),
        cmocka_unit_test(tasks_taken_back_keep_their_order_at_the_head),
        cmocka_unit_test(all_slots_at_long_tasks_return_the_rest),
        cmocka_unit_test(an_idle_slot_takes_from_the_fullest),
        cmocka_unit_test(a_recall_takes_the_last_received_first),
        cmocka_unit_test(a_recall_reaches_into_the_rings_but_not_to_what_runs),
        cmocka_unit_test(a_task_over_its_limit_is_killed_and_fails),
        cmocka_unit_test(the_workers_limit_holds_for_tasks_without_one),
        cmocka_unit_test(the_limit_holds_when_the_slot_hangs),
        cmocka_unit_test(the_time_counts_from_the_start_that_the_slot_told),
        cmocka_unit_test(a_task_killed_for_another_is_returned_not_failed),
        cmocka_unit_test(no_limit_counts_while_results_have_no_room),
        cmocka_unit_test(a_crash_fails_what_ran_and_nothing_else),
        cmocka_unit_test(an_exit_status_is_told_apart_from_a_signal),
        cmocka_unit_test(a_slot_that_dies_idle_is_restarted_with_backoff),
        cmocka_unit_test(a_worker_whose_slots_never_start_gives_up),
        cmocka_unit_test(a_slot_that_cannot_load_its_handlers_ends_the_worker),
        cmocka_unit_test(a_slot_that_hangs_at_start_is_killed),
        cmocka_unit_test(a_slot_is_replaced_after_so_many_tasks),
        cmocka_unit_test(nonsense_from_a_slot_changes_nothing),
        cmocka_unit_test(a_running_task_cannot_be_returned),
        cmocka_unit_test(an_end_is_told_once),
        cmocka_unit_test(numbers_over_their_limits_on_the_wire_are_cut),
        cmocka_unit_test(started_tasks_are_named_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
