/* The worker's credit: estimate, window, what REPORT tells and when. */
#include "worker_world.h"

static struct world *with_slots(uint32_t n)
{
    struct worker_cfg cfg = world_cfg(n);

    return world_in_session(&cfg);
}

/* Run everything that is in rings, at so long a task. */
static void run_all(struct world *t, uint64_t took_us)
{
    for (uint32_t i = 0; i < WORLD_SLOTS_MAX; i++) {
        if (t->slots[i].n != 0)
            world_ends(t, i, (struct world_end){.n = t->slots[i].n, .took_us = took_us});
    }
    world_tick(t);
}

/* As a ventilator that always has more: send what credit allows, run it, forget it. */
static void pump(struct world *t, int rounds, uint64_t took_us)
{
    for (int i = 0; i < rounds; i++) {
        uint64_t allowed = world_view(t).credit_tasks;
        uint64_t received = worker_stats(t->w)->tasks_received;
        uint32_t n = allowed > received ? (uint32_t)(allowed - received) : 0;
        uint32_t first = t->id_next;

        if (n > DTQI_BATCH_ENTRIES_MAX)
            n = DTQI_BATCH_ENTRIES_MAX;
        if (n != 0)
            world_give(t, (struct world_tasks){.n = n});
        world_tick(t);
        for (int k = 0; k < 100 && world_view(t).waiting + world_view(t).in_slots != 0; k++)
            run_all(t, took_us);
        if (n != 0)
            world_forget(t, first, n);
        world_tick(t);
        world_clear(t);
    }
}

/* ---------------------------------------------------------------- window */

static void a_new_worker_asks_for_little(void **state)
{
    struct world *t = with_slots(4);

    (void)state;
    assert_int_equal(world_view(t).window, 8); /* slots, and as many ahead */
    world_free(t);
}

static void the_window_is_what_the_slots_do_in_the_target_time(void **state)
{
    struct world *t = with_slots(2);

    (void)state;
    pump(t, 200, 100);
    assert_in_range(world_view(t).window, 70, 82); /* 2 + 2 x 4 ms / 100 us */
    world_free(t);
}

static void the_window_has_a_bound(void **state)
{
    struct world *t = with_slots(2);

    (void)state;
    pump(t, 60, 0);
    assert_int_equal(world_view(t).window, WORKER_WINDOW_MAX);
    world_free(t);
}

static void the_window_at_most_doubles_at_a_time(void **state)
{
    struct world *t = with_slots(1);
    uint32_t before = world_view(t).window;

    (void)state;
    for (int i = 0; i < 300; i++) {
        uint32_t now;

        pump(t, 1, 0);
        now = world_view(t).window;
        assert_true(now <= 2 * before * 4); /* a round is at most a window, four quarters */
        before = now;
        if (now == WORKER_WINDOW_MAX)
            break;
    }
    assert_int_equal(before, WORKER_WINDOW_MAX);
    world_free(t);
}

static void one_long_task_closes_the_window(void **state)
{
    struct world *t = with_slots(2);

    (void)state;
    pump(t, 60, 0);
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    run_all(t, 200000);
    assert_int_equal(world_view(t).window, 3);
    assert_int_equal(world_last(t, DTQI_REPORT)->report.credit_tasks,
                     worker_stats(t->w)->tasks_received + 3);
    world_free(t);
}

/* One bad sample (a preempted slot) must not shut the window for long. */
static void the_estimate_falls_within_some_tasks(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    pump(t, 60, 10);
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    run_all(t, 3000);
    assert_true(world_view(t).task_ns > 1000000);
    pump(t, 20, 10);
    assert_true(world_view(t).task_ns < 100000);
    world_free(t);
}

static void slots_that_are_down_ask_for_nothing(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    t->slots_start = false;
    world_slot_exits(t, 0, true, 11); /* idle: not started again at once */
    world_tick(t);
    assert_int_equal(world_view(t).window, 0);
    world_live(t, 200);
    assert_true(world_view(t).window > 0);
    world_free(t);
}

/* ---------------------------------------------------------------- credit */

/* R15 */
static void credit_is_cumulative_in_the_session(void **state)
{
    struct world *t = with_slots(1);
    uint64_t received;

    (void)state;
    pump(t, 10, 100);
    received = worker_stats(t->w)->tasks_received;
    assert_true(received > 20);
    assert_int_equal(world_view(t).credit_tasks, received + world_view(t).window);
    world_free(t);
}

/* R15 */
static void a_new_session_starts_from_zero(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    pump(t, 10, 100);
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    world_welcome(t);
    world_tick(t);
    assert_int_equal(world_view(t).credit_tasks, world_view(t).window);
    world_free(t);
}

/* R15: what was adopted takes its part of the window. */
static void what_is_held_from_before_counts(void **state)
{
    struct world *t = with_slots(1);
    uint32_t window;

    (void)state;
    pump(t, 20, 1000);
    window = world_view(t).window;
    world_give(t, (struct world_tasks){.n = 3});
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    world_welcome(t);
    world_tick(t);
    assert_int_equal(world_view(t).credit_tasks, window - 3);
    world_free(t);
}

static void bytes_are_bounded_too(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;
    uint64_t before;
    uint64_t spec_bytes;

    (void)state;
    cfg.memory_bytes_max = worker_memory_min(1, 0) + (uint64_t)8 * MIB;
    t = world_in_session(&cfg);
    before = world_view(t).credit_bytes;
    assert_int_equal(before, (uint64_t)10 * MIB); /* a quarter of what the reserve leaves */
    world_give(t, (struct world_tasks){.n = 2, .body_bytes = 1000000});
    world_tick(t);
    assert_int_equal(world_view(t).credit_bytes, before); /* in use: no new credit */
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    spec_bytes = strlen("spec/0/0");
    assert_int_equal(world_view(t).credit_bytes, before + 2 * (1000000 + spec_bytes));
    world_free(t);
}

/* R16 */
static void kept_results_withhold_credit_until_they_are_forgotten(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;
    uint32_t first;

    (void)state;
    cfg.result_bytes_max = MIB;
    cfg.memory_bytes_max = worker_memory_min(1, cfg.result_bytes_max);
    t = world_in_session(&cfg);
    first = t->id_next;
    for (int i = 0; i < 60; i++) {
        uint64_t received = worker_stats(t->w)->tasks_received;

        if (world_view(t).credit_tasks <= received)
            break;
        world_give(t, (struct world_tasks){0});
        world_tick(t);
        world_ends(t, 0, (struct world_end){.body_bytes = MIB});
        world_tick(t);
    }
    assert_in_range(world_view(t).done, 20, 26); /* 24 MiB are for results */
    assert_int_equal(world_view(t).credit_tasks, worker_stats(t->w)->tasks_received);
    world_clear(t);
    world_forget(t, first, 10);
    world_tick(t);
    assert_int_equal(world_sent_count(t, DTQI_REPORT), 1); /* at once, not at a heartbeat */
    assert_true(world_view(t).credit_tasks > worker_stats(t->w)->tasks_received);
    world_free(t);
}

/* R16 */
static void nothing_starts_while_there_is_no_room_for_results(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.result_bytes_max = MIB;
    cfg.memory_bytes_max = worker_memory_min(1, cfg.result_bytes_max);
    t = world_in_session(&cfg);
    for (int i = 0; i < 60 && world_view(t).waiting == 0; i++) {
        world_give(t, (struct world_tasks){0}); /* also without credit */
        world_tick(t);
        if (t->slots[0].n != 0)
            world_ends(t, 0, (struct world_end){.body_bytes = MIB});
    }
    assert_int_equal(world_view(t).waiting, 1);
    assert_int_equal(world_view(t).in_slots, 0);
    assert_true(worker_result_room_bytes(t->w) > 0); /* the reserve of the slot */
    world_forget(t, 1, 5);
    world_tick(t);
    assert_int_equal(world_view(t).in_slots, 1);
    world_free(t);
}

/* ---------------------------------------------------------------- REPORT */

static void reports_come_for_a_quarter_of_the_window(void **state)
{
    struct world *t = with_slots(1);
    uint32_t window;

    (void)state;
    pump(t, 200, 40);
    window = world_view(t).window;
    assert_in_range(window, 80, 110);
    world_give(t, (struct world_tasks){.n = window});
    world_tick(t);
    world_clear(t);
    world_ends(t, 0, (struct world_end){.n = window / 4 - 4, .took_us = 40});
    world_tick(t);
    assert_int_equal(world_sent_count(t, DTQI_REPORT), 0);
    world_ends(t, 0, (struct world_end){.n = 8, .took_us = 40});
    world_tick(t);
    assert_int_equal(world_sent_count(t, DTQI_REPORT), 1);
    assert_in_range(world_last(t, DTQI_REPORT)->report.done_n, window / 4, window / 4 + 6);
    world_free(t);
}

/* Long tasks: a report for each, or a slot would wait for the next heartbeat. */
static void a_slot_that_runs_dry_is_reported_at_once(void **state)
{
    struct world *t = with_slots(8);
    uint32_t n;

    (void)state;
    world_teach(t, 100000);
    n = world_view(t).window;
    assert_int_equal(n, 9);
    world_give(t, (struct world_tasks){.n = n});
    world_tick(t);
    world_clear(t);
    world_ends(t, 3, (struct world_end){.took_us = 100000});
    world_tick(t);
    assert_int_equal(world_sent_count(t, DTQI_REPORT), 1);
    world_free(t);
}

static void the_last_end_is_reported_at_once(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    pump(t, 200, 10);
    world_give(t, (struct world_tasks){.first = 900001});
    world_tick(t);
    world_clear(t);
    world_ends(t, 0, (struct world_end){.took_us = 10});
    world_tick(t);
    assert_true(world_done(t, 901001));
    world_free(t);
}

static void outcomes_go_before_their_report(void **state)
{
    struct world *t = with_slots(1);
    uint32_t report = UINT32_MAX;

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_clear(t);
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    for (uint32_t i = 0; i < t->out.n; i++) {
        if (t->out.at[i].type == WORKER_ACT_CONTROL_SEND && t->out.at[i].msg.type == DTQI_REPORT)
            report = i;
    }
    assert_true(world_where(t, WORKER_ACT_SINK_SEND) < report);
    assert_true(report != UINT32_MAX);
    world_free(t);
}

/* Settled faster than reported: the ticket may belong to another task already. */
static void what_is_forgotten_before_the_report_is_not_in_it(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    pump(t, 200, 40);
    world_give(t, (struct world_tasks){.first = 900001, .n = 40});
    world_tick(t);
    world_ends(t, 0, (struct world_end){.n = 2, .took_us = 40});
    world_tick(t);
    world_forget(t, 900001, 1);
    world_live(t, 1000);
    assert_false(world_done(t, 901001));
    assert_true(world_done(t, 901002)); /* with the heartbeat at the latest */
    world_free(t);
}

static void failures_are_reported_with_all_that_is_known(void **state)
{
    struct world *t = with_slots(1);
    const struct dtqi_failure *f;

    (void)state;
    world_give(t, (struct world_tasks){.attempt = 3});
    world_tick(t);
    world_ends(t, 0,
               (struct world_end){.took_us = 1234,
                                  .reason = DTQ_REASON_EXIT,
                                  .code = 75,
                                  .text = "try later",
                                  .no_retry = true,
                                  .retry_after_ms = 60000});
    world_tick(t);
    f = world_failure(t, 1);
    assert_int_equal(f->epoch, WORLD_EPOCH);
    assert_int_equal(f->attempt, 3);
    assert_int_equal(f->reason, DTQ_REASON_EXIT);
    assert_int_equal(f->code, 75);
    assert_true(dtqi_str_eq(f->text, dtqi_str("try later")));
    assert_int_equal(f->duration_us, 1234);
    assert_int_equal(f->started_wall_ms, WORLD_WALL_MS + t->now_ms);
    assert_true(f->no_retry);
    assert_int_equal(f->retry_after_ms, 60000);
    assert_int_equal(world_outcomes(t, 1), 0); /* the ventilator decides */
    world_free(t);
}

/* R23: kept until FORGET, reported once in a session. */
static void a_failure_is_reported_once_and_kept(void **state)
{
    struct world *t = with_slots(1);

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_ends(t, 0, (struct world_end){.reason = DTQ_REASON_ERROR});
    world_tick(t);
    assert_non_null(world_failure(t, 1));
    world_clear(t);
    world_live(t, 5000);
    assert_null(world_failure(t, 1));
    assert_int_equal(world_view(t).failed, 1);
    world_forget(t, 1, 1);
    assert_int_equal(world_view(t).failed, 0);
    world_free(t);
}

static void reports_stay_within_a_batch(void **state)
{
    struct world *t = with_slots(1);
    const struct dtqi_msg *m;
    uint32_t failures = 0;

    (void)state;
    pump(t, 60, 0);
    world_give(t, (struct world_tasks){.n = 200});
    world_tick(t);
    world_clear(t);
    world_ends(t, 0, (struct world_end){.n = 200, .reason = DTQ_REASON_ERROR, .body_bytes = 9000});
    world_tick(t);
    assert_true(world_sent_count(t, DTQI_REPORT) > 2);
    for (uint32_t i = 0; (m = world_sent(t, DTQI_REPORT, i)) != NULL; i++) {
        uint64_t bytes = 0;

        for (uint32_t k = 0; k < m->report.failures_n; k++) {
            assert_int_equal(m->report.failures[k].text.len, DTQI_TEXT_BYTES_MAX); /* cut */
            bytes += m->report.failures[k].text.len;
        }
        assert_true(bytes <= DTQI_BATCH_BYTES_MAX);
        failures += m->report.failures_n;
        assert_int_equal(m->report.report_seq,
                         world_sent(t, DTQI_REPORT, 0)->report.report_seq + i);
    }
    assert_int_equal(failures, 200);
    world_free(t);
}

static void memory_bounds_are_checked(void **state)
{
    struct worker_cfg cfg = world_cfg(4);
    struct worker *w = NULL;

    (void)state;
    cfg.memory_bytes_max = worker_memory_min(4, 0) - 1;
    assert_int_equal(worker_new(&cfg, &w), DTQ_EINVAL);
    cfg.memory_bytes_max = 0;
    cfg.slots = 0;
    assert_int_equal(worker_new(&cfg, &w), DTQ_EINVAL);
    cfg.slots = DTQI_SLOTS_MAX + 1;
    assert_int_equal(worker_new(&cfg, &w), DTQ_EINVAL);
    assert_null(w);
    assert_int_equal(worker_memory_default(2, 0), WORKER_MEMORY_BYTES);
    assert_true(worker_memory_default(64, 0) >= 2 * 64ull * DTQI_RESULT_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_worker_asks_for_little),
        cmocka_unit_test(the_window_is_what_the_slots_do_in_the_target_time),
        cmocka_unit_test(the_window_has_a_bound),
        cmocka_unit_test(the_window_at_most_doubles_at_a_time),
        cmocka_unit_test(one_long_task_closes_the_window),
        cmocka_unit_test(the_estimate_falls_within_some_tasks),
        cmocka_unit_test(slots_that_are_down_ask_for_nothing),
        cmocka_unit_test(credit_is_cumulative_in_the_session),
        cmocka_unit_test(a_new_session_starts_from_zero),
        cmocka_unit_test(what_is_held_from_before_counts),
        cmocka_unit_test(bytes_are_bounded_too),
        cmocka_unit_test(kept_results_withhold_credit_until_they_are_forgotten),
        cmocka_unit_test(nothing_starts_while_there_is_no_room_for_results),
        cmocka_unit_test(reports_come_for_a_quarter_of_the_window),
        cmocka_unit_test(a_slot_that_runs_dry_is_reported_at_once),
        cmocka_unit_test(the_last_end_is_reported_at_once),
        cmocka_unit_test(outcomes_go_before_their_report),
        cmocka_unit_test(what_is_forgotten_before_the_report_is_not_in_it),
        cmocka_unit_test(failures_are_reported_with_all_that_is_known),
        cmocka_unit_test(a_failure_is_reported_once_and_kept),
        cmocka_unit_test(reports_stay_within_a_batch),
        cmocka_unit_test(memory_bounds_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
