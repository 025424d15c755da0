/*
 * Stories of cron entries (R48): what fires, and what of it when the ventilator dies in the middle.
 * The world begins at 22:13:20 UTC on 2023-11-14; a run says for which millisecond it is.
 */
#include "sim_stories.h"

static void pass(struct sim *s, uint64_t ms)
{
    sim_run_until_ms(s, sim_now_ms(s) + ms);
}

static void order(struct sim *s, enum sim_order_kind kind)
{
    struct sim_order o = {.kind = kind};

    sim_give_order(s, 0, &o);
}

static void add(struct sim *s, const struct sim_cron *cron)
{
    struct sim_order o = {.kind = SIM_CRON_ADD, .cron = *cron};

    sim_give_order(s, 0, &o);
    pass(s, 500);
}

/* How many tasks there are so far. */
static uint32_t tasks_n(const struct sim *s)
{
    uint32_t n = 0;

    for (const char *at = sim_story(s); (at = strstr(at, "] V makes ")) != NULL; at++)
        n++;
    return n;
}

/* The ventilator is down from now on, for so long. */
static void down(struct sim *s, uint64_t ms)
{
    sim_kill(s, SIM_VENTILATOR, 0);
    pass(s, ms);
    sim_start(s, SIM_VENTILATOR, 0);
}

static const struct sim_plan quick = {.duration_ms = 10};

/* ---------------------------------------------------------------- a restart in the middle */

/* A slow disk that fails: it runs, and is not in the journal. The same time is the same task again,
 * of which the first outcome stands. */
static void a_run_that_was_given_away_and_not_written_is_the_same_task_again(void **state)
{
    static const struct sim_plan plan = {.duration_ms = 2000};
    struct sim_cron cron = {.every_ms = 5000, .plan = &plan};
    struct sim_cfg cfg = sim_story_cfg(1);
    struct sim *s;

    (void)state;
    cfg.disk_us[0] = cfg.disk_us[1] = 300000;
    s = sim_new(&cfg);
    sim_run_until_ms(s, 2000);
    add(s, &cron);
    sim_disk_fail(s, SIM_VENTILATOR, 0);
    pass(s, 5500);
    sim_start(s, SIM_VENTILATOR, 0);
    pass(s, 6000);
    expect(s, "V makes a",
           "[  7010] V makes a of c0, due at 7010\n"
           "[  7020] W0 runs a (attempt 1)\n"
           "[  7310] V exits with 1\n"
           "[  8000] V starts\n"
           "[  9020] W0 ends a: done\n"
           "[  9330] S0 commits a: succeeded\n"
           "[ 12010] V makes b of c0, due at 12010\n"
           "[ 12020] W0 runs b (attempt 1)\n");
    end(s);
}

static void a_run_that_was_written_does_not_fire_again(void **state)
{
    struct sim_cron cron = {.every_ms = 5000, .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    sim_run_until_ms(s, 6017);
    down(s, 500);
    pass(s, 8000);
    expect(s, "V makes a",
           "[  6010] V makes a of c0, due at 6010\n"
           "[  6017] V is killed\n"
           "[  6517] V starts\n"
           "[  6887] W0 runs a (attempt 2)\n"
           "[  6897] W0 ends a: done\n"
           "[  6912] S0 commits a: succeeded\n"
           "[ 11010] V makes b of c0, due at 11010\n"
           "[ 11020] W0 runs b (attempt 1)\n"
           "[ 11030] W0 ends b: done\n"
           "[ 11045] S0 commits b: succeeded\n");
    end(s);
}

/* ---------------------------------------------------------------- down over several times */

static void one_run_makes_up_for_all_that_were_missed(void **state)
{
    struct sim_cron cron = {.expression = "*/5 * * * * *", .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    down(s, 30000);
    pass(s, 6000);
    expect(s, "V is killed",
           "[  1500] V is killed\n"
           "[ 31500] V starts\n"
           "[ 31505] V makes a of c0, due at 30000\n"
           "[ 31580] W0 runs a (attempt 1)\n"
           "[ 31590] W0 ends a: done\n"
           "[ 31605] S0 commits a: succeeded\n"
           "[ 35000] V makes b of c0, due at 35000\n"
           "[ 35010] W0 runs b (attempt 1)\n"
           "[ 35020] W0 ends b: done\n"
           "[ 35035] S0 commits b: succeeded\n");
    end(s);
}

static void what_was_missed_may_be_left_out(void **state)
{
    struct sim_cron cron = {.every_ms = 20000, .missed = DTQI_MISSED_SKIP, .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    down(s, 54000);
    pass(s, 10000);
    expect(s, "V is killed",
           "[  1500] V is killed\n"
           "[ 55500] V starts\n"
           "[ 61010] V makes a of c0, due at 61010\n"
           "[ 61020] W0 runs a (attempt 1)\n"
           "[ 61030] W0 ends a: done\n"
           "[ 61045] S0 commits a: succeeded\n");
    end(s);
}

static void what_was_missed_may_be_made_up_for_up_to_a_number(void **state)
{
    struct sim_cron cron = {
        .every_ms = 5000, .missed = DTQI_MISSED_ALL, .missed_max = 3, .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    down(s, 28000);
    pass(s, 4000);
    expect(s, "V is killed",
           "[  1500] V is killed\n"
           "[ 29500] V starts\n"
           "[ 29505] V makes a of c0, due at 16010\n"
           "[ 29510] V makes b of c0, due at 21010\n"
           "[ 29515] V makes c of c0, due at 26010\n"
           "[ 30080] W0 runs a (attempt 1)\n"
           "[ 30090] W0 ends a: done\n"
           "[ 30105] S0 commits a: succeeded\n"
           "[ 30110] W0 runs b (attempt 2)\n"
           "[ 30120] W0 ends b: done\n"
           "[ 30135] S0 commits b: succeeded\n"
           "[ 30140] W0 runs c (attempt 2)\n"
           "[ 30150] W0 ends c: done\n"
           "[ 30165] S0 commits c: succeeded\n"
           "[ 31010] V makes d of c0, due at 31010\n"
           "[ 31020] W0 runs d (attempt 1)\n"
           "[ 31030] W0 ends d: done\n"
           "[ 31045] S0 commits d: succeeded\n");
    end(s);
}

/* The second start goes on where the first one stopped. */
static void a_restart_while_it_makes_up_makes_none_twice(void **state)
{
    struct sim_cron cron = {
        .every_ms = 5000, .missed = DTQI_MISSED_ALL, .missed_max = 3, .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    down(s, 28000);
    while (tasks_n(s) < 2)
        pass(s, 1);
    down(s, 300);
    pass(s, 4000);
    expect(s, "V is killed",
           "[  1500] V is killed\n"
           "[ 29500] V starts\n"
           "[ 29505] V makes a of c0, due at 16010\n"
           "[ 29510] V makes b of c0, due at 21010\n"
           "[ 29511] V is killed\n"
           "[ 29511] V makes c of c0, due at 26010\n"
           "[ 29811] V starts\n"
           "[ 31010] V makes d of c0, due at 31010\n"
           "[ 31020] W0 runs d (attempt 1)\n"
           "[ 31030] W0 ends d: done\n"
           "[ 31045] S0 commits d: succeeded\n"
           "[ 31620] W0 runs a (attempt 1)\n"
           "[ 31630] W0 ends a: done\n"
           "[ 31645] S0 commits a: succeeded\n"
           "[ 31650] W0 runs b (attempt 2)\n"
           "[ 31660] W0 ends b: done\n"
           "[ 31675] S0 commits b: succeeded\n"
           "[ 31680] W0 runs c (attempt 2)\n"
           "[ 31690] W0 ends c: done\n"
           "[ 31705] S0 commits c: succeeded\n");
    end(s);
}

/* ---------------------------------------------------------------- overlap */

/* Its run fails, waits for its retry, and is open all that time, over a restart, too. */
static void nothing_begins_while_the_last_run_is_retried(void **state)
{
    static const struct sim_plan plan = {
        .duration_ms = 10, .fail_runs = 1, .retries = 3, .backoff_ms = 9000};
    struct sim_cron cron = {.every_ms = 5000, .skip_overlap = true, .plan = &plan};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    sim_run_until_ms(s, 8000);
    down(s, 500);
    sim_run_until_ms(s, 27000);
    expect(s, "V makes a",
           "[  6010] V makes a of c0, due at 6010\n"
           "[  6020] W0 runs a (attempt 1)\n"
           "[  6030] W0 ends a: error\n"
           "[  8000] V is killed\n"
           "[  8500] V starts\n"
           "[ 22181] W0 runs a (attempt 2)\n"
           "[ 22191] W0 ends a: done\n"
           "[ 22206] S0 commits a: succeeded\n"
           "[ 26010] V makes b of c0, due at 26010\n"
           "[ 26020] W0 runs b (attempt 1)\n"
           "[ 26030] W0 ends b: error\n");
    end(s);
}

static void runs_that_may_overlap_do(void **state)
{
    static const struct sim_plan plan = {.duration_ms = 9000};
    struct sim_cron cron = {.every_ms = 5000, .plan = &plan};
    struct sim *s = begin(2);

    (void)state;
    add(s, &cron);
    sim_run_until_ms(s, 12000);
    expect(s, "V makes a",
           "[  6010] V makes a of c0, due at 6010\n"
           "[  6020] W0 runs a (attempt 1)\n"
           "[ 11010] V makes b of c0, due at 11010\n"
           "[ 11020] W1 runs b (attempt 1)\n");
    end(s);
}

/* ---------------------------------------------------------------- operators */

static void a_run_by_hand_that_is_asked_for_again_is_one_task(void **state)
{
    struct sim_cron cron = {.every_ms = 50000, .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    sim_block(s, SIM_VENTILATOR, 0, SIM_CLIENT, 0); /* the answer does not come .. */
    order(s, SIM_CRON_RUN);
    pass(s, 500);
    sim_kill(s, SIM_CLIENT, 0);
    sim_heal(s, SIM_VENTILATOR, 0, SIM_CLIENT, 0);
    down(s, 500);
    sim_start(s, SIM_CLIENT, 0); /* .. and is asked for by another process, of another start */
    pass(s, 2000);
    expect(s, "P0 orders: cron run",
           "[  1500] P0 orders: cron run c0\n"
           "[  1510] V makes a of c0, due at 1015\n"
           "[  1520] W0 runs a (attempt 1)\n"
           "[  1530] W0 ends a: done\n"
           "[  1545] S0 commits a: succeeded\n"
           "[  2000] P0 is killed\n"
           "[  2000] V to P0 is healed\n"
           "[  2000] V is killed\n"
           "[  2500] V starts\n"
           "[  2500] P0 starts\n"
           "[  2550] P0 orders: cron run c0\n"
           "[  2570] P0: cron run c0 is done: 1\n");
    end(s);
}

static void what_was_paused_is_paused_after_a_restart_and_then_makes_up(void **state)
{
    struct sim_cron cron = {.every_ms = 5000, .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    order(s, SIM_CRON_PAUSE);
    pass(s, 100);
    down(s, 500);
    sim_run_until_ms(s, 18000);
    order(s, SIM_CRON_RESUME);
    pass(s, 4000);
    expect(s, "P0 orders: cron pause",
           "[  1500] P0 orders: cron pause c0\n"
           "[  1525] P0: cron pause c0 is done: 1\n"
           "[  1600] V is killed\n"
           "[  2100] V starts\n"
           "[ 18000] P0 orders: cron resume c0\n"
           "[ 18010] V makes a of c0, due at 16010\n"
           "[ 18020] W0 runs a (attempt 1)\n"
           "[ 18025] P0: cron resume c0 is done: 1\n"
           "[ 18030] W0 ends a: done\n"
           "[ 18045] S0 commits a: succeeded\n"
           "[ 21010] V makes b of c0, due at 21010\n"
           "[ 21020] W0 runs b (attempt 1)\n"
           "[ 21030] W0 ends b: done\n"
           "[ 21045] S0 commits b: succeeded\n");
    end(s);
}

static void what_was_removed_does_not_come_back(void **state)
{
    struct sim_cron cron = {.every_ms = 5000, .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    order(s, SIM_CRON_REMOVE);
    pass(s, 28);
    down(s, 500);
    sim_run_until_ms(s, 12000);
    expect(s, "P0 orders: cron remove",
           "[  1500] P0 orders: cron remove c0\n"
           "[  1525] P0: cron remove c0 is done: 1\n"
           "[  1528] V is killed\n"
           "[  2028] V starts\n");
    end(s);
}

/* ---------------------------------------------------------------- clocks */

/* Twelve hours of times were missed, say; then the same hours come again, and are not. */
static void a_clock_that_jumps_fires_no_time_twice(void **state)
{
    struct sim_cron cron = {.expression = "0 3 * * *", .zone = "Europe/Berlin", .plan = &quick};
    struct sim *s = begin(1);

    (void)state;
    add(s, &cron);
    sim_jump_clock(s, SIM_VENTILATOR, 0, 12 * 3600 * 1000);
    pass(s, 2000);
    sim_jump_clock(s, SIM_VENTILATOR, 0, -12 * 3600 * 1000);
    pass(s, 2000);
    down(s, 500);
    sim_jump_clock(s, SIM_VENTILATOR, 0, 12 * 3600 * 1000);
    pass(s, 2000);
    assert_int_equal(tasks_n(s), 1);
    expect(s, "V: the clock jumps",
           "[  1500] V: the clock jumps by 43200000 ms\n"
           "[  2050] V makes a of c0, due at 13600000\n"
           "[  2060] W0 runs a (attempt 1)\n"
           "[  2070] W0 ends a: done\n"
           "[  2085] S0 commits a: succeeded\n"
           "[  3500] V: the clock jumps by -43200000 ms\n"
           "[  5500] V is killed\n"
           "[  6000] V starts\n"
           "[  6000] V: the clock jumps by 43200000 ms\n");
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_was_given_away_and_not_written_is_the_same_task_again),
        cmocka_unit_test(a_run_that_was_written_does_not_fire_again),
        cmocka_unit_test(one_run_makes_up_for_all_that_were_missed),
        cmocka_unit_test(what_was_missed_may_be_left_out),
        cmocka_unit_test(what_was_missed_may_be_made_up_for_up_to_a_number),
        cmocka_unit_test(a_restart_while_it_makes_up_makes_none_twice),
        cmocka_unit_test(nothing_begins_while_the_last_run_is_retried),
        cmocka_unit_test(runs_that_may_overlap_do),
        cmocka_unit_test(a_run_by_hand_that_is_asked_for_again_is_one_task),
        cmocka_unit_test(what_was_paused_is_paused_after_a_restart_and_then_makes_up),
        cmocka_unit_test(what_was_removed_does_not_come_back),
        cmocka_unit_test(a_clock_that_jumps_fires_no_time_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
