/*
 * Stories of what a task queue does with a task: retries, times, priorities, limits, keys, dead
 * letters; and the same when the ventilator dies in the middle of it.
 */
#include "sim_stories.h"

/* The ventilator is killed, and is back a little later. */
static void restart(struct sim *s)
{
    sim_kill(s, SIM_VENTILATOR, 0);
    sim_run_until_ms(s, sim_now_ms(s) + 500);
    sim_start(s, SIM_VENTILATOR, 0);
}

static void order(struct sim *s, enum sim_order_kind kind, uint32_t number)
{
    struct sim_order o = {
        .kind = kind, .number = number, .period_ms = number != 0 ? 5000 : 0, .task = SIM_ALL};

    sim_give_order(s, 0, &o);
}

static void pass(struct sim *s, uint64_t ms)
{
    sim_run_until_ms(s, sim_now_ms(s) + ms);
}

/* ---------------------------------------------------------------- queues */

static void a_paused_queue_stays_paused_over_a_restart(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10};
    struct sim_plan other = {.duration_ms = 10, .queue = 1};

    (void)state;
    order(s, SIM_PAUSE, 0);
    pass(s, 100);
    sim_submit(s, 0, &plan);
    sim_submit(s, 0, &other);
    pass(s, 1000);
    restart(s);
    pass(s, 10000);
    order(s, SIM_RESUME, 0);
    pass(s, 1000);
    expect(s, "P0 orders: pause",
           "[  1000] P0 orders: pause q0\n"
           "[  1025] P0: pause q0 is done: 0\n"
           "[  1100] P0 submits a\n"
           "[  1100] P0 submits b\n"
           "[  1120] W0 runs b (attempt 1)\n"
           "[  1130] W0 ends b: done\n"
           "[  1145] S0 commits b: succeeded\n"
           "[  1155] P0: b is confirmed\n"
           "[  1155] P0: b succeeded\n"
           "[  1165] P0: a is confirmed\n"
           "[  2100] V is killed\n"
           "[  2600] V starts\n"
           "[ 12600] P0 orders: resume q0\n"
           "[ 12620] W0 runs a (attempt 1)\n"
           "[ 12625] P0: resume q0 is done: 0\n"
           "[ 12630] W0 ends a: done\n"
           "[ 12645] S0 commits a: succeeded\n"
           "[ 12655] P0: a succeeded\n");
    end(s);
}

/* It is told what it holds before it gives out more. */
static void a_limit_counts_what_runs_over_a_restart(void **state)
{
    struct sim *s = begin(2);
    struct sim_plan plan = {.duration_ms = 8000};
    uint32_t b;

    (void)state;
    order(s, SIM_LIMIT, 1);
    pass(s, 100);
    sim_submit(s, 0, &plan);
    b = sim_submit(s, 0, &plan);
    pass(s, 1000);
    restart(s);
    pass(s, 6000);
    assert_int_equal(sim_runs(s, b), 0);
    pass(s, 3000);
    expect(s, "P0 orders: limit",
           "[  1000] P0 orders: limit q0 1\n"
           "[  1025] P0: limit q0 1 is done: 0\n"
           "[  1100] P0 submits a\n"
           "[  1100] P0 submits b\n"
           "[  1120] W0 runs a (attempt 1)\n"
           "[  1125] P0: a is confirmed\n"
           "[  1125] P0: b is confirmed\n"
           "[  2100] V is killed\n"
           "[  2600] V starts\n"
           "[  9120] W0 ends a: done\n"
           "[  9135] S0 commits a: succeeded\n"
           "[  9140] W1 runs b (attempt 1)\n"
           "[  9145] P0: a succeeded\n");
    end(s);
}

static void a_slow_rate_goes_on_over_a_restart(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10};

    (void)state;
    order(s, SIM_RATE, 1);
    pass(s, 100);
    for (uint32_t i = 0; i < 3; i++)
        sim_submit(s, 0, &plan);
    pass(s, 3000);
    restart(s);
    pass(s, 9000);
    expect(s, "P0 orders: rate",
           "[  1000] P0 orders: rate q0 1 in 5000 ms\n"
           "[  1025] P0: rate q0 1 in 5000 ms is done: 0\n"
           "[  1100] P0 submits a\n"
           "[  1100] P0 submits b\n"
           "[  1100] P0 submits c\n"
           "[  1120] W0 runs a (attempt 1)\n"
           "[  1125] P0: a is confirmed\n"
           "[  1125] P0: b is confirmed\n"
           "[  1125] P0: c is confirmed\n"
           "[  1130] W0 ends a: done\n"
           "[  1145] S0 commits a: succeeded\n"
           "[  1155] P0: a succeeded\n"
           "[  4100] V is killed\n"
           "[  4600] V starts\n"
           "[  6115] W0 runs b (attempt 1)\n"
           "[  6125] W0 ends b: done\n"
           "[  6140] S0 commits b: succeeded\n"
           "[  6150] P0: b succeeded\n"
           "[ 11115] W0 runs c (attempt 1)\n"
           "[ 11125] W0 ends c: done\n"
           "[ 11140] S0 commits c: succeeded\n"
           "[ 11150] P0: c succeeded\n");
    end(s);
}

static void what_was_purged_does_not_come_back_with_a_restart(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10};
    struct sim_plan later = {.duration_ms = 10, .delay_ms = 3000};

    (void)state;
    order(s, SIM_PAUSE, 0);
    pass(s, 100);
    sim_submit(s, 0, &plan);
    sim_submit(s, 0, &later);
    pass(s, 1000);
    sim_block(s, SIM_VENTILATOR, 0, SIM_SINK, 0); /* which hears nothing of it */
    order(s, SIM_PURGE, 0);
    pass(s, 100);
    restart(s);
    sim_heal(s, SIM_VENTILATOR, 0, SIM_SINK, 0);
    pass(s, 1000);
    order(s, SIM_RESUME, 0);
    pass(s, 8000);
    expect(s, "P0 orders: purge",
           "[  2100] P0 orders: purge q0\n"
           "[  2125] P0: purge q0 is done: 2\n"
           "[  2200] V is killed\n"
           "[  2700] V starts\n"
           "[  2700] V to S0 is healed\n"
           "[  3700] P0 orders: resume q0\n"
           "[  3725] P0: resume q0 is done: 0\n"
           "[  7355] S0 commits a: cancelled\n"
           "[  7355] S0 commits b: cancelled\n"
           "[  7365] P0: a cancelled\n"
           "[  7365] P0: b cancelled\n");
    end(s);
}

static void a_queue_that_is_cancelled_stops_what_runs_over_a_restart(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 60000};
    uint32_t b;

    (void)state;
    sim_submit(s, 0, &plan);
    b = sim_submit(s, 0, &plan);
    pass(s, 1000);
    sim_block(s, SIM_VENTILATOR, 0, SIM_WORKER, 0);
    order(s, SIM_CANCEL_QUEUE, 0);
    pass(s, 100);
    restart(s);
    sim_heal(s, SIM_VENTILATOR, 0, SIM_WORKER, 0);
    pass(s, 8000);
    expect(s, "P0 orders: cancel",
           "[  2000] P0 orders: cancel q0\n"
           "[  2025] P0: cancel q0: 2 tasks\n"
           "[  2030] S0 commits b: cancelled\n"
           "[  2040] P0: b cancelled\n"
           "[  2100] V is killed\n"
           "[  2600] V starts\n"
           "[  2600] V to W0 is healed\n"
           "[  5170] W0 kills the slot of a\n"
           "[  5195] S0 commits a: cancelled\n"
           "[  5205] P0: a cancelled\n");
    assert_int_equal(sim_runs(s, b), 0);
    end(s);
}

static void a_queue_that_is_full_makes_producers_wait_over_a_restart(void **state)
{
    struct sim_cfg cfg = sim_story_cfg(1);
    struct sim_plan plan = {.duration_ms = 3000};
    struct sim_plan other = {.duration_ms = 10, .queue = 1};
    struct sim *s;

    (void)state;
    cfg.queue_tasks_max = 1;
    cfg.slots = 2;
    s = sim_new(&cfg);
    sim_run_until_ms(s, 1000);
    sim_submit(s, 0, &plan);
    pass(s, 100);
    sim_submit(s, 0, &plan);
    sim_submit(s, 0, &other);
    pass(s, 1000);
    restart(s);
    pass(s, 12000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1100] P0 submits b\n"
           "[  1100] P0 submits c\n"
           "[  1120] W0 runs c (attempt 1)\n"
           "[  1130] W0 ends c: done\n"
           "[  1145] S0 commits c: succeeded\n"
           "[  1155] P0: c is confirmed\n"
           "[  1155] P0: c succeeded\n"
           "[  2100] V is killed\n"
           "[  2600] V starts\n"
           "[  4020] W0 ends a: done\n"
           "[  4035] S0 commits a: succeeded\n"
           "[  4045] P0: a succeeded\n"
           "[  4342] W0 runs b (attempt 1)\n"
           "[  4396] P0: b is confirmed\n"
           "[  7342] W0 ends b: done\n"
           "[  7357] S0 commits b: succeeded\n"
           "[  7367] P0: b succeeded\n");
    end(s);
}

/* ---------------------------------------------------------------- order */

static void a_high_priority_comes_first_over_a_restart(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan low = {.duration_ms = 1000, .priority = 1};
    struct sim_plan high = {.duration_ms = 1000, .priority = 9};

    (void)state;
    order(s, SIM_PAUSE, 0);
    pass(s, 100);
    sim_submit(s, 0, &low);
    sim_submit(s, 0, &low);
    sim_submit(s, 0, &high);
    pass(s, 1000);
    restart(s);
    pass(s, 7000);
    order(s, SIM_RESUME, 0);
    pass(s, 4000);
    expect(s, "P0 orders: resume",
           "[  9600] P0 orders: resume q0\n"
           "[  9620] W0 runs c (attempt 1)\n"
           "[  9625] P0: resume q0 is done: 0\n"
           "[ 10620] W0 ends c: done\n"
           "[ 10635] S0 commits c: succeeded\n"
           "[ 10640] W0 runs a (attempt 2)\n"
           "[ 10645] P0: c succeeded\n"
           "[ 11640] W0 ends a: done\n"
           "[ 11655] S0 commits a: succeeded\n"
           "[ 11660] W0 runs b (attempt 2)\n"
           "[ 11665] P0: a succeeded\n"
           "[ 12660] W0 ends b: done\n"
           "[ 12675] S0 commits b: succeeded\n"
           "[ 12685] P0: b succeeded\n");
    end(s);
}

static void a_strict_order_of_queues_is_kept(void **state)
{
    struct sim_cfg cfg = sim_story_cfg(1);
    struct sim_plan first = {.duration_ms = 1000, .queue = 1};
    struct sim_plan second = {.duration_ms = 1000, .queue = 0, .priority = 9};
    struct sim *s;

    (void)state;
    cfg.served[0] = (struct sim_served){.n = 2, .queues = {1, 0}, .strict = true};
    s = sim_new(&cfg);
    sim_run_until_ms(s, 1000);
    sim_submit(s, 0, &second);
    pass(s, 100);
    sim_submit(s, 0, &second);
    sim_submit(s, 0, &first);
    sim_submit(s, 0, &first);
    pass(s, 500);
    restart(s);
    pass(s, 10000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1100] P0 submits b\n"
           "[  1100] P0 submits c\n"
           "[  1100] P0 submits d\n"
           "[  1174] P0: b is confirmed\n"
           "[  1174] P0: c is confirmed\n"
           "[  1174] P0: d is confirmed\n"
           "[  1600] V is killed\n"
           "[  2020] W0 ends a: done\n"
           "[  2035] S0 commits a: succeeded\n"
           "[  2045] P0: a succeeded\n"
           "[  2100] V starts\n"
           "[  2470] W0 runs c (attempt 1)\n"
           "[  3470] W0 ends c: done\n"
           "[  3485] S0 commits c: succeeded\n"
           "[  3490] W0 runs d (attempt 2)\n"
           "[  3495] P0: c succeeded\n"
           "[  4490] W0 ends d: done\n"
           "[  4505] S0 commits d: succeeded\n"
           "[  4510] W0 runs b (attempt 2)\n"
           "[  4515] P0: d succeeded\n"
           "[  5510] W0 ends b: done\n"
           "[  5525] S0 commits b: succeeded\n"
           "[  5535] P0: b succeeded\n");
    end(s);
}

/* ---------------------------------------------------------------- time */

static void what_was_due_while_nobody_looked_runs_after_the_start(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10, .delay_ms = 3000};

    (void)state;
    sim_submit(s, 0, &plan);
    pass(s, 1000);
    sim_kill(s, SIM_VENTILATOR, 0);
    pass(s, 4000);
    sim_start(s, SIM_VENTILATOR, 0);
    pass(s, 8000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1025] P0: a is confirmed\n"
           "[  2000] V is killed\n"
           "[  6000] V starts\n"
           "[  6620] W0 runs a (attempt 1)\n"
           "[  6630] W0 ends a: done\n"
           "[  6645] S0 commits a: succeeded\n"
           "[  6655] P0: a succeeded\n");
    end(s);
}

static void what_expired_while_nobody_looked_does_not_run(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10, .expires_ms = 3000};
    uint32_t a;

    (void)state;
    order(s, SIM_PAUSE, 0);
    pass(s, 100);
    a = sim_submit(s, 0, &plan);
    pass(s, 1000);
    sim_kill(s, SIM_VENTILATOR, 0);
    pass(s, 4000);
    sim_start(s, SIM_VENTILATOR, 0);
    order(s, SIM_RESUME, 0);
    pass(s, 8000);
    expect(s, "P0 submits a",
           "[  1100] P0 submits a\n"
           "[  1125] P0: a is confirmed\n"
           "[  2100] V is killed\n"
           "[  6100] V starts\n"
           "[  6100] P0 orders: resume q0\n"
           "[  6240] P0: resume q0 is done: 0\n"
           "[  7625] S0 commits a: expired\n"
           "[  7635] P0: a expired\n");
    assert_int_equal(sim_runs(s, a), 0);
    end(s);
}

/* R17: W0 believes that tasks are quick, and has taken both. */
static void what_expires_while_it_waits_at_a_worker_does_not_start(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan quick = {.duration_ms = 1};
    struct sim_plan slow = {.duration_ms = 3000};
    struct sim_plan hasty = {.duration_ms = 10, .expires_ms = 2000};
    uint32_t last;

    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        sim_submit(s, 0, &quick);
    pass(s, 500);
    sim_submit(s, 0, &slow);
    last = sim_submit(s, 0, &hasty);
    pass(s, 5000);
    expect(s, "P0 submits e",
           "[  1500] P0 submits e\n"
           "[  1500] P0 submits f\n"
           "[  1520] W0 runs e (attempt 1)\n"
           "[  1597] P0: e is confirmed\n"
           "[  1597] P0: f is confirmed\n"
           "[  3505] S0 commits f: expired\n"
           "[  3515] P0: f expired\n"
           "[  4520] W0 ends e: done\n"
           "[  4535] S0 commits e: succeeded\n"
           "[  4545] P0: e succeeded\n");
    assert_int_equal(sim_runs(s, last), 0);
    end(s);
}

/* ---------------------------------------------------------------- failures */

static void attempts_are_counted_over_restarts(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10, .fail_runs = 9, .retries = 2, .backoff_ms = 2000};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    pass(s, 500);
    restart(s);
    pass(s, 11000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1030] W0 ends a: error\n"
           "[  1074] P0: a is confirmed\n"
           "[  1500] V is killed\n"
           "[  2000] V starts\n"
           "[  4814] W0 runs a (attempt 2)\n"
           "[  4824] W0 ends a: error\n"
           "[  9755] W0 runs a (attempt 3)\n"
           "[  9765] W0 ends a: error\n"
           "[  9795] S0 commits a: failed\n"
           "[  9805] P0: a failed\n");
    assert_int_equal(sim_runs(s, a), 3);
    end(s);
}

static void only_failures_that_a_task_names_are_repeated(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan temporary = {.duration_ms = 10,
                                 .fail_runs = 1,
                                 .fail_code = 75,
                                 .retries = 5,
                                 .backoff_ms = 100,
                                 .rules = 2};
    struct sim_plan other = temporary;

    (void)state;
    other.fail_code = 0;
    sim_submit(s, 0, &temporary); /* retry_on = exit:75,crash */
    pass(s, 1000);
    sim_submit(s, 0, &other);
    pass(s, 1000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1030] W0 ends a: exit\n"
           "[  1074] P0: a is confirmed\n"
           "[  1234] W0 runs a (attempt 2)\n"
           "[  1244] W0 ends a: done\n"
           "[  1259] S0 commits a: succeeded\n"
           "[  1269] P0: a succeeded\n"
           "[  2000] P0 submits b\n"
           "[  2020] W0 runs b (attempt 1)\n"
           "[  2030] W0 ends b: error\n"
           "[  2055] P0: b is confirmed\n"
           "[  2060] S0 commits b: failed\n"
           "[  2070] P0: b failed\n");
    end(s);
}

static void a_handler_may_say_when_it_is_tried_again(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {
        .duration_ms = 10, .fail_runs = 1, .retry_after_ms = 4000, .retries = 1, .backoff_ms = 10};

    (void)state;
    sim_submit(s, 0, &plan);
    pass(s, 500);
    restart(s);
    pass(s, 7000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1030] W0 ends a: error\n"
           "[  1074] P0: a is confirmed\n"
           "[  1500] V is killed\n"
           "[  2000] V starts\n"
           "[  5050] W0 runs a (attempt 2)\n"
           "[  5060] W0 ends a: done\n"
           "[  5075] S0 commits a: succeeded\n"
           "[  5085] P0: a succeeded\n");
    end(s);
}

/* The failure is known, and nothing of it is written down. */
static void a_dead_letter_is_whole_whenever_the_ventilator_dies(void **state)
{
    for (uint64_t ms = 20; ms < 120; ms += 5) {
        struct sim *s = begin(1);
        struct sim_plan plan = {.duration_ms = 10, .fail_runs = 9, .payload_bytes = 100};

        (void)state;
        sim_submit(s, 0, &plan);
        pass(s, ms);
        restart(s);
        pass(s, 9000);
        end(s); /* looks at dead letters */
    }
}

static void a_dead_letter_is_requeued_once_over_a_restart(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10, .fail_runs = 9, .payload_bytes = 100};

    (void)state;
    sim_submit(s, 0, &plan);
    pass(s, 1000);
    restart(s);
    order(s, SIM_REQUEUE, 0);
    pass(s, 500);
    order(s, SIM_REQUEUE, 0);
    pass(s, 1000);
    expect(s, "V is killed",
           "[  2000] V is killed\n"
           "[  2500] V starts\n"
           "[  2500] P0 orders: requeue dead letters of q0\n"
           "[  2860] V makes b of the dead letter a\n"
           "[  2870] W0 runs b (attempt 1)\n"
           "[  2875] P0: requeue dead letters of q0 is done: 1\n"
           "[  2880] W0 ends b: done\n"
           "[  2895] S0 commits b: succeeded\n"
           "[  3000] P0 orders: requeue dead letters of q0\n"
           "[  3020] P0: requeue dead letters of q0 is done: 0\n");
    end(s);
}

/* At any moment: the order is given again, and there is one new task. */
static void a_ventilator_that_dies_while_it_requeues_makes_one_task(void **state)
{
    for (uint64_t ms = 8; ms < 60; ms += 2) {
        struct sim *s = begin(1);
        struct sim_plan plan = {.duration_ms = 10, .fail_runs = 9};

        (void)state;
        sim_submit(s, 0, &plan);
        pass(s, 1000);
        order(s, SIM_REQUEUE, 0);
        pass(s, ms);
        restart(s);
        pass(s, 9000);
        end(s); /* counts what was made of it */
    }
}

/* ---------------------------------------------------------------- idempotency keys */

static void a_key_stands_for_one_task_over_a_restart(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10, .payload_bytes = 10, .payload_of = 100, .key = 1};
    struct sim_plan other = plan;

    (void)state;
    other.payload_of = 101;
    sim_submit(s, 0, &plan);
    pass(s, 1000);
    restart(s);
    sim_submit(s, 0, &plan);
    pass(s, 500);
    sim_submit(s, 0, &other);
    pass(s, 1000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1025] P0: a is confirmed\n"
           "[  1030] W0 ends a: done\n"
           "[  1045] S0 commits a: succeeded\n"
           "[  1055] P0: a succeeded\n"
           "[  2000] V is killed\n"
           "[  2500] V starts\n"
           "[  2500] P0 submits b\n"
           "[  2563] P0: the key of b stands for a\n"
           "[  2563] P0: b is refused: DTQ_EEXISTS\n"
           "[  3000] P0 submits c\n"
           "[  3020] P0: c is refused: DTQ_ECONFLICT\n");
    end(s);
}

static void a_key_is_free_again_when_its_time_is_over(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10, .payload_of = 100, .key = 1, .key_ttl_ms = 3000};

    (void)state;
    sim_submit(s, 0, &plan);
    pass(s, 2000);
    sim_submit(s, 0, &plan);
    restart(s);
    pass(s, 1500);
    sim_submit(s, 0, &plan);
    pass(s, 1000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1025] P0: a is confirmed\n"
           "[  1030] W0 ends a: done\n"
           "[  1045] S0 commits a: succeeded\n"
           "[  1055] P0: a succeeded\n"
           "[  3000] P0 submits b\n"
           "[  3000] V is killed\n"
           "[  3500] V starts\n"
           "[  3653] P0: the key of b stands for a\n"
           "[  3653] P0: b is refused: DTQ_EEXISTS\n"
           "[  5000] P0 submits c\n"
           "[  5020] W0 runs c (attempt 1)\n"
           "[  5025] P0: c is confirmed\n"
           "[  5030] W0 ends c: done\n"
           "[  5045] S0 commits c: succeeded\n"
           "[  5055] P0: c succeeded\n");
    end(s);
}

/* ---------------------------------------------------------------- poison */

/* Each slot that it kills counts, whichever ventilator was told; what waits behind it runs. */
static void poison_is_counted_over_restarts(void **state)
{
    struct sim *s = begin(2);
    struct sim_plan plan = {
        .duration_ms = 1000, .crash_runs = 9, .retries = 9, .backoff_ms = 1, .crash_limit = 3};
    struct sim_plan other = {.duration_ms = 10};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    sim_submit(s, 0, &other);
    pass(s, 1500);
    restart(s);
    pass(s, 20000);
    assert_int_equal(sim_runs(s, a), 3);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1000] P0 submits b\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1020] W1 runs b (attempt 1)\n"
           "[  1030] W1 ends b: done\n"
           "[  1045] S0 commits b: succeeded\n"
           "[  1055] P0: b is confirmed\n"
           "[  1055] P0: b succeeded\n"
           "[  1080] P0: a is confirmed\n"
           "[  2020] W0: slot dies under a\n"
           "[  2043] W0 runs a (attempt 2)\n"
           "[  2500] V is killed\n"
           "[  3000] V starts\n"
           "[  3043] W0: slot dies under a\n"
           "[  3360] W1 runs a (attempt 3)\n"
           "[  4360] W1: slot dies under a\n"
           "[  4392] S0 commits a: failed\n"
           "[  4402] P0: a failed\n");
    end(s);
}

/* ---------------------------------------------------------------- groups */

/* R50: the second one waits for the retry of the first, whoever the ventilator is. */
static void a_group_in_order_keeps_its_order_over_a_restart(void **state)
{
    struct sim *s = begin(2);
    struct sim_plan first = {.duration_ms = 1000,
                             .fail_runs = 1,
                             .retries = 3,
                             .backoff_ms = 3000,
                             .group = 1,
                             .ordered = true};
    struct sim_plan second = {.duration_ms = 100, .priority = 9, .group = 1, .ordered = true};
    struct sim_plan other = {.duration_ms = 100, .group = 4};

    (void)state;
    sim_submit(s, 0, &first);
    sim_submit(s, 0, &second);
    sim_submit(s, 0, &other);
    pass(s, 2500); /* its retry waits */
    restart(s);
    pass(s, 16000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1000] P0 submits b\n"
           "[  1000] P0 submits c\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1020] W1 runs c (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1074] P0: b is confirmed\n"
           "[  1074] P0: c is confirmed\n"
           "[  1120] W1 ends c: done\n"
           "[  1135] S0 commits c: succeeded\n"
           "[  1145] P0: c succeeded\n"
           "[  2020] W0 ends a: error\n"
           "[  3500] V is killed\n"
           "[  4000] V starts\n"
           "[  6355] W1 runs a (attempt 2)\n"
           "[  7355] W1 ends a: done\n"
           "[  7370] S0 commits a: succeeded\n"
           "[  7380] P0: a succeeded\n"
           "[  7390] W1 runs b (attempt 1)\n"
           "[  7490] W1 ends b: done\n"
           "[  7505] S0 commits b: succeeded\n"
           "[  7515] P0: b succeeded\n");
    end(s);
}

/* R46: what runs stays and ends where it is; the rest goes on in the other queue, in its order. */
static void a_group_that_is_moved_while_one_runs_keeps_its_order_over_a_restart(void **state)
{
    struct sim_cfg cfg = sim_story_cfg(2);
    struct sim_plan plan = {.duration_ms = 6000, .group = 1, .ordered = true};
    struct sim_plan quick = {.duration_ms = 500, .group = 1, .ordered = true};
    struct sim_order move = {.kind = SIM_MOVE, .queue = 0, .number = 1};
    struct sim *s;

    (void)state;
    cfg.served[0] = (struct sim_served){.n = 1, .queues = {0}, .strict = true};
    cfg.served[1] = (struct sim_served){.n = 2, .queues = {1, 2}, .strict = true};
    s = sim_new(&cfg);
    sim_run_until_ms(s, 6000);
    sim_submit(s, 0, &plan);
    for (uint32_t i = 0; i < 3; i++)
        sim_submit(s, 0, &quick);
    pass(s, 1000);
    sim_give_order(s, 0, &move);
    pass(s, 700); /* b is over, and c runs */
    restart(s);
    pass(s, 12000);
    expect(s, "P0 submits a",
           "[  6000] P0 submits a\n"
           "[  6000] P0 submits b\n"
           "[  6000] P0 submits c\n"
           "[  6000] P0 submits d\n"
           "[  6020] W0 runs a (attempt 1)\n"
           "[  6025] P0: a is confirmed\n"
           "[  6025] P0: b is confirmed\n"
           "[  6025] P0: c is confirmed\n"
           "[  6025] P0: d is confirmed\n"
           "[  7000] P0 orders: move q0 to q1\n"
           "[  7020] W1 runs b (attempt 1)\n"
           "[  7025] P0: move q0 to q1 is done: 3\n"
           "[  7520] W1 ends b: done\n"
           "[  7535] S0 commits b: succeeded\n"
           "[  7545] P0: b succeeded\n"
           "[  7555] W1 runs c (attempt 1)\n"
           "[  7700] V is killed\n"
           "[  8055] W1 ends c: done\n"
           "[  8070] S0 commits c: succeeded\n"
           "[  8080] P0: c succeeded\n"
           "[  8200] V starts\n"
           "[  8570] W1 runs d (attempt 1)\n"
           "[  9070] W1 ends d: done\n"
           "[  9085] S0 commits d: succeeded\n"
           "[  9095] P0: d succeeded\n"
           "[ 12020] W0 ends a: done\n"
           "[ 12035] S0 commits a: succeeded\n"
           "[ 12045] P0: a succeeded\n");
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_paused_queue_stays_paused_over_a_restart),
        cmocka_unit_test(a_limit_counts_what_runs_over_a_restart),
        cmocka_unit_test(a_slow_rate_goes_on_over_a_restart),
        cmocka_unit_test(what_was_purged_does_not_come_back_with_a_restart),
        cmocka_unit_test(a_queue_that_is_cancelled_stops_what_runs_over_a_restart),
        cmocka_unit_test(a_queue_that_is_full_makes_producers_wait_over_a_restart),
        cmocka_unit_test(a_high_priority_comes_first_over_a_restart),
        cmocka_unit_test(a_strict_order_of_queues_is_kept),
        cmocka_unit_test(what_was_due_while_nobody_looked_runs_after_the_start),
        cmocka_unit_test(what_expired_while_nobody_looked_does_not_run),
        cmocka_unit_test(what_expires_while_it_waits_at_a_worker_does_not_start),
        cmocka_unit_test(attempts_are_counted_over_restarts),
        cmocka_unit_test(only_failures_that_a_task_names_are_repeated),
        cmocka_unit_test(a_handler_may_say_when_it_is_tried_again),
        cmocka_unit_test(a_dead_letter_is_whole_whenever_the_ventilator_dies),
        cmocka_unit_test(a_dead_letter_is_requeued_once_over_a_restart),
        cmocka_unit_test(a_ventilator_that_dies_while_it_requeues_makes_one_task),
        cmocka_unit_test(a_key_stands_for_one_task_over_a_restart),
        cmocka_unit_test(a_key_is_free_again_when_its_time_is_over),
        cmocka_unit_test(poison_is_counted_over_restarts),
        cmocka_unit_test(a_group_in_order_keeps_its_order_over_a_restart),
        cmocka_unit_test(a_group_that_is_moved_while_one_runs_keeps_its_order_over_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
