/*
 * Stories of the whole system in virtual time. Links take 10 ms, commits 5 ms, and nothing is
 * random, so each line of a story is where it is for a reason; milliseconds are in brackets.
 */
#include "sim_stories.h"

/* ---------------------------------------------------------------- stories */

static void a_task_runs_and_its_result_arrives(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 30, .payload_bytes = 100, .result_bytes = 50};

    (void)state;
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 2000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1050] W0 ends a: done\n"
           "[  1065] S0 commits a: succeeded\n"
           "[  1074] P0: a is confirmed\n"
           "[  1075] P0: a succeeded\n");
    end(s);
}

static void a_silent_worker_loses_its_task(void **state)
{
    struct sim *s = begin(2);
    struct sim_plan plan = {.duration_ms = 10000};

    (void)state;
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 2000);
    sim_cut_off(s, SIM_WORKER, 0);
    sim_run_until_ms(s, 20000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  2000] W0 is cut off\n"
           "[  4060] W1 runs a (attempt 2)\n"
           "[ 11020] W0 ends a: done\n"
           "[ 14060] W1 ends a: done\n"
           "[ 14075] S0 commits a: succeeded\n"
           "[ 14085] P0: a succeeded\n");
    end(s);
}

static void a_killed_worker_loses_its_task_to_another(void **state)
{
    struct sim *s = begin(2);
    struct sim_plan plan = {.duration_ms = 1000};

    (void)state;
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 1500);
    sim_kill(s, SIM_WORKER, 0);
    sim_run_until_ms(s, 10000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1500] W0 is killed\n"
           "[  4060] W1 runs a (attempt 2)\n"
           "[  5060] W1 ends a: done\n"
           "[  5075] S0 commits a: succeeded\n"
           "[  5085] P0: a succeeded\n");
    end(s);
}

static void a_restarted_ventilator_adopts_what_runs(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 3000};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 2000);
    sim_kill(s, SIM_VENTILATOR, 0);
    sim_run_until_ms(s, 2500);
    sim_start(s, SIM_VENTILATOR, 0);
    sim_run_until_ms(s, 10000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  2000] V is killed\n"
           "[  2500] V starts\n"
           "[  4020] W0 ends a: done\n"
           "[  4035] S0 commits a: succeeded\n"
           "[  4045] P0: a succeeded\n");
    assert_int_equal(sim_runs(s, a), 1);
    end(s);
}

static void a_sink_that_restarts_gets_what_was_kept(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 500};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 1200);
    sim_kill(s, SIM_SINK, 0);
    sim_run_until_ms(s, 3000);
    sim_start(s, SIM_SINK, 0);
    sim_run_until_ms(s, 10000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1200] S0 is killed\n"
           "[  1520] W0 ends a: done\n"
           "[  3000] S0 starts\n"
           "[  4425] S0 commits a: succeeded\n"
           "[  4435] P0: a succeeded\n");
    assert_int_equal(sim_runs(s, a), 1);
    end(s);
}

/* R34: b's outcome is lost with the disk, and was settled; c waits until the operator has spoken.
 */
static void a_sink_with_an_old_disk_gets_nothing_until_it_is_accepted(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 30};

    (void)state;
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 2000);
    sim_copy_disk(s, 0);
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 3000);
    sim_restore_disk(s, 0);
    sim_run_until_ms(s, 8000);
    sim_start(s, SIM_SINK, 0);
    sim_run_until_ms(s, 9000);
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 20000);
    sim_accept(s, 0);
    sim_run_until_ms(s, 21000);
    expect(s, "S0: its disk is copied",
           "[  2000] S0: its disk is copied\n"
           "[  2000] P0 submits b\n"
           "[  2020] W0 runs b (attempt 1)\n"
           "[  2050] W0 ends b: done\n"
           "[  2065] S0 commits b: succeeded\n"
           "[  2075] P0: b is confirmed\n"
           "[  2075] P0: b succeeded\n"
           "[  3000] S0 is killed\n"
           "[  3000] S0: its disk is the copy\n"
           "[  8000] S0 starts\n"
           "[  9000] P0 submits c\n"
           "[  9092] P0: c is confirmed\n"
           "[ 20020] W0 runs c (attempt 1)\n"
           "[ 20025] S0 is accepted\n"
           "[ 20050] W0 ends c: done\n"
           "[ 20065] S0 commits c: succeeded\n"
           "[ 20075] P0: c succeeded\n");
    end(s);
}

static void a_lost_confirmation_is_asked_for_again(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 30};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 1005);
    sim_block(s, SIM_VENTILATOR, 0, SIM_CLIENT, 0);
    sim_block(s, SIM_SINK, 0, SIM_CLIENT, 0);
    sim_run_until_ms(s, 2000);
    sim_break(s, SIM_VENTILATOR, 0, SIM_CLIENT, 0);
    sim_break(s, SIM_SINK, 0, SIM_CLIENT, 0);
    sim_heal(s, SIM_VENTILATOR, 0, SIM_CLIENT, 0);
    sim_heal(s, SIM_SINK, 0, SIM_CLIENT, 0);
    sim_run_until_ms(s, 10000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1005] V to P0 is blocked\n"
           "[  1005] S0 to P0 is blocked\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1050] W0 ends a: done\n"
           "[  1065] S0 commits a: succeeded\n"
           "[  2000] connections of V and P0 break\n"
           "[  2000] connections of S0 and P0 break\n"
           "[  2000] V to P0 is healed\n"
           "[  2000] S0 to P0 is healed\n"
           "[  2180] P0: a is confirmed\n"
           "[  2205] P0: a succeeded\n");
    assert_int_equal(sim_runs(s, a), 1);
    end(s);
}

static void a_failure_is_retried_with_backoff_then_final(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10, .fail_runs = 9, .retries = 2, .backoff_ms = 1000};

    (void)state;
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 20000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1030] W0 ends a: error\n"
           "[  1074] P0: a is confirmed\n"
           "[  2204] W0 runs a (attempt 2)\n"
           "[  2214] W0 ends a: error\n"
           "[  4515] W0 runs a (attempt 3)\n"
           "[  4525] W0 ends a: error\n"
           "[  4555] S0 commits a: failed\n"
           "[  4565] P0: a failed\n");
    end(s);
}

static void a_task_that_kills_its_slot_is_poison(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 10, .crash_runs = 9, .retries = 100};

    (void)state;
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 30000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1030] W0: slot dies under a\n"
           "[  1052] W0 runs a (attempt 2)\n"
           "[  1062] W0: slot dies under a\n"
           "[  1074] P0: a is confirmed\n"
           "[  1084] W0 runs a (attempt 3)\n"
           "[  1094] W0: slot dies under a\n"
           "[  1126] S0 commits a: failed\n"
           "[  1136] P0: a failed\n");
    end(s);
}

static void what_waits_on_a_busy_worker_is_recalled_for_an_idle_one(void **state)
{
    struct sim *s = begin(2);
    struct sim_plan quick = {.duration_ms = 1};
    struct sim_plan slow = {.duration_ms = 2000};

    (void)state;
    sim_kill(s, SIM_WORKER, 1);
    sim_run_until_ms(s, 5000); /* V knows that it is dead */
    for (uint32_t i = 0; i < 4; i++)
        sim_submit(s, 0, &quick);
    sim_run_until_ms(s, 5500); /* W0 believes that tasks are quick, and asks for several */
    for (uint32_t i = 0; i < 3; i++)
        sim_submit(s, 0, &slow);
    sim_run_until_ms(s, 6000);
    sim_start(s, SIM_WORKER, 1);
    sim_run_until_ms(s, 20000);
    expect(s, "P0 submits e",
           "[  5500] P0 submits e\n"
           "[  5500] P0 submits f\n"
           "[  5500] P0 submits g\n"
           "[  5520] W0 runs e (attempt 1)\n"
           "[  5597] P0: e is confirmed\n"
           "[  5597] P0: f is confirmed\n"
           "[  5597] P0: g is confirmed\n"
           "[  6000] W1 starts\n"
           "[  6070] W1 runs f (attempt 2)\n"
           "[  7520] W0 ends e: done\n"
           "[  7535] S0 commits e: succeeded\n"
           "[  7540] W0 runs g (attempt 2)\n"
           "[  7545] P0: e succeeded\n"
           "[  8070] W1 ends f: done\n"
           "[  8085] S0 commits f: succeeded\n"
           "[  8095] P0: f succeeded\n"
           "[  9540] W0 ends g: done\n"
           "[  9555] S0 commits g: succeeded\n"
           "[  9565] P0: g succeeded\n");
    end(s);
}

static void a_cancelled_task_does_not_start(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.delay_ms = 3000};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 2000);
    sim_cancel(s, a);
    sim_run_until_ms(s, 10000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1025] P0: a is confirmed\n"
           "[  2000] P0 cancels a\n"
           "[  2030] S0 commits a: cancelled\n"
           "[  2040] P0: a cancelled\n");
    assert_int_equal(sim_runs(s, a), 0);
    end(s);
}

/* The first one runs though it cannot be written, and is confirmed by its settlement (R7); so is
 * the second, once the ventilator tries again. */
static void with_a_full_disk_what_is_settled_is_confirmed_and_the_rest_waits(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 1000, .payload_bytes = 3000};

    (void)state;
    sim_disk_limit(s, SIM_VENTILATOR, 0, 1000);
    sim_submit(s, 0, &plan); /* runs, and cannot be written */
    sim_run_until_ms(s, 1500);
    sim_submit(s, 0, &plan); /* is refused for now */
    sim_run_until_ms(s, 4000);
    sim_disk_limit(s, SIM_VENTILATOR, 0, UINT64_MAX);
    sim_run_until_ms(s, 30000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1500] P0 submits b\n"
           "[  2020] W0 ends a: done\n"
           "[  2035] S0 commits a: succeeded\n"
           "[  2045] P0: a is confirmed\n"
           "[  2045] P0: a succeeded\n"
           "[  2490] W0 runs b (attempt 1)\n"
           "[  3490] W0 ends b: done\n"
           "[  3505] S0 commits b: succeeded\n"
           "[  3515] P0: b is confirmed\n"
           "[  3515] P0: b succeeded\n");
    end(s);
}

/* W0 believes that its outcome has left; V asks it to send again, then gives the task away (R30).
 */
static void a_worker_that_cannot_reach_the_sink_loses_its_task(void **state)
{
    struct sim *s = begin(2);
    struct sim_plan plan = {.duration_ms = 100};

    (void)state;
    sim_submit(s, 0, &plan);
    sim_block(s, SIM_WORKER, 0, SIM_SINK, 0);
    sim_run_until_ms(s, 120000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1000] W0 to S0 is blocked\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1120] W0 ends a: done\n"
           "[ 61188] W1 runs a (attempt 2)\n"
           "[ 61288] W1 ends a: done\n"
           "[ 61303] S0 commits a: succeeded\n"
           "[ 61313] P0: a succeeded\n");
    end(s);
}

static void a_ventilator_that_was_down_for_long_learns_what_was_settled(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 1000};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 1500);
    sim_kill(s, SIM_VENTILATOR, 0);
    sim_run_until_ms(s, 3000);
    sim_kill(s, SIM_WORKER, 0); /* the only one that could tell it of the task */
    sim_run_until_ms(s, 20000);
    sim_start(s, SIM_VENTILATOR, 0);
    sim_start(s, SIM_WORKER, 0);
    sim_run_until_ms(s, 40000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1500] V is killed\n"
           "[  2020] W0 ends a: done\n"
           "[  2035] S0 commits a: succeeded\n"
           "[  2045] P0: a succeeded\n"
           "[  3000] W0 is killed\n"
           "[ 20000] V starts\n"
           "[ 20000] W0 starts\n");
    assert_int_equal(sim_runs(s, a), 1);
    end(s);
}

/* W0 sleeps while its slot works, and comes back with a result that nobody waits for. */
static void a_zombie_that_comes_back_changes_nothing(void **state)
{
    struct sim *s = begin(2);
    struct sim_plan plan = {.duration_ms = 5000};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 2000);
    sim_pause(s, SIM_WORKER, 0);
    sim_run_until_ms(s, 20000);
    sim_resume(s, SIM_WORKER, 0);
    sim_run_until_ms(s, 40000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  2000] W0 is paused\n"
           "[  4060] W1 runs a (attempt 2)\n"
           "[  6020] W0 ends a: done\n"
           "[  9060] W1 ends a: done\n"
           "[  9075] S0 commits a: succeeded\n"
           "[  9085] P0: a succeeded\n"
           "[ 20000] W0 goes on\n");
    assert_int_equal(sim_runs(s, a), 2);
    end(s);
}

/* R21: a kills its slot again and again; b and c, which wait in the same ring, are given back each
 * time and lose nothing by it. */
static void bystanders_of_a_poison_task_go_on(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan poison = {.duration_ms = 100, .crash_runs = 9, .retries = 100};
    struct sim_plan plan = {.duration_ms = 50};

    (void)state;
    sim_submit(s, 0, &poison);
    sim_submit(s, 0, &plan);
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 30000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1000] P0 submits b\n"
           "[  1000] P0 submits c\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1074] P0: b is confirmed\n"
           "[  1074] P0: c is confirmed\n"
           "[  1120] W0: slot dies under a\n"
           "[  1142] W0 runs a (attempt 2)\n"
           "[  1242] W0: slot dies under a\n"
           "[  1264] W0 runs a (attempt 3)\n"
           "[  1364] W0: slot dies under a\n"
           "[  1386] W0 runs b (attempt 4)\n"
           "[  1396] S0 commits a: failed\n"
           "[  1406] P0: a failed\n"
           "[  1436] W0 ends b: done\n"
           "[  1451] S0 commits b: succeeded\n"
           "[  1456] W0 runs c (attempt 2)\n"
           "[  1461] P0: b succeeded\n"
           "[  1506] W0 ends c: done\n"
           "[  1521] S0 commits c: succeeded\n"
           "[  1531] P0: c succeeded\n");
    end(s);
}

/* R21: a runs each time its worker dies, and is poison at last; b, which came with it, is not. */
static void what_kills_its_worker_again_and_again_is_poison(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan poison = {.duration_ms = 60000};
    struct sim_plan plan = {.duration_ms = 50};

    (void)state;
    sim_submit(s, 0, &poison);
    sim_submit(s, 0, &plan);
    for (uint32_t i = 1; i <= 3; i++) {
        sim_run_until_ms(s, 5000 * i);
        sim_kill(s, SIM_WORKER, 0);
        sim_start(s, SIM_WORKER, 0);
    }
    sim_run_until_ms(s, 30000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1000] P0 submits b\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1074] P0: b is confirmed\n"
           "[  5000] W0 is killed\n"
           "[  5000] W0 starts\n"
           "[  5070] W0 runs b (attempt 2)\n"
           "[  5120] W0 ends b: done\n"
           "[  5135] S0 commits b: succeeded\n"
           "[  5145] P0: b succeeded\n"
           "[  7060] W0 runs a (attempt 2)\n"
           "[ 10000] W0 is killed\n"
           "[ 10000] W0 starts\n"
           "[ 12060] W0 runs a (attempt 3)\n"
           "[ 15000] W0 is killed\n"
           "[ 15000] W0 starts\n"
           "[ 17070] S0 commits a: failed\n"
           "[ 17080] P0: a failed\n");
    end(s);
}

/* P0 dies before it hears of the confirmation, and submits again under the id on its disk. */
static void a_producer_that_crashes_sends_again_and_has_one_task(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 30};
    uint32_t a;

    (void)state;
    a = sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 1015);
    sim_kill(s, SIM_CLIENT, 0);
    sim_run_until_ms(s, 3000);
    sim_start(s, SIM_CLIENT, 0);
    sim_run_until_ms(s, 10000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1015] P0 is killed\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1050] W0 ends a: done\n"
           "[  1065] S0 commits a: succeeded\n"
           "[  3000] P0 starts\n"
           "[  3001] P0 submits a\n"
           "[  3080] P0: a is confirmed\n"
           "[  3100] P0: a succeeded\n");
    assert_int_equal(sim_runs(s, a), 1);
    end(s);
}

/* All machines at once. What was confirmed is on the disk; what was not, its producer sends again.
 */
static void a_power_cut_loses_nothing_confirmed(void **state)
{
    struct sim *s = begin(1);
    struct sim_plan plan = {.duration_ms = 1000};

    (void)state;
    sim_submit(s, 0, &plan);
    sim_run_until_ms(s, 1500);
    sim_submit(s, 0, &plan); /* waits at W0, not confirmed yet */
    sim_run_until_ms(s, 1520);
    sim_kill(s, SIM_VENTILATOR, 0);
    sim_kill(s, SIM_WORKER, 0);
    sim_kill(s, SIM_SINK, 0);
    sim_run_until_ms(s, 3000);
    sim_start(s, SIM_VENTILATOR, 0);
    sim_start(s, SIM_WORKER, 0);
    sim_start(s, SIM_SINK, 0);
    sim_run_until_ms(s, 30000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1074] P0: a is confirmed\n"
           "[  1500] P0 submits b\n"
           "[  1520] V is killed\n"
           "[  1520] W0 is killed\n"
           "[  1520] S0 is killed\n"
           "[  3000] V starts\n"
           "[  3000] W0 starts\n"
           "[  3000] S0 starts\n"
           "[  3500] W0 runs b (attempt 1)\n"
           "[  3554] P0: b is confirmed\n"
           "[  4500] W0 ends b: done\n"
           "[  4515] S0 commits b: succeeded\n"
           "[  4525] P0: b succeeded\n"
           "[  8010] W0 runs a (attempt 1)\n"
           "[  9010] W0 ends a: done\n"
           "[  9025] S0 commits a: succeeded\n"
           "[  9035] P0: a succeeded\n");
    end(s);
}

/* Leases, silence, backoff and the age of outcomes are measured by clocks that do not jump. */
static void clocks_that_jump_by_a_day_void_no_lease(void **state)
{
    const int64_t day_ms = 24 * 3600 * 1000ll;
    struct sim *s = begin(2);
    struct sim_plan plan = {.duration_ms = 8000};
    struct sim_plan failing = {.duration_ms = 10, .fail_runs = 1, .retries = 1, .backoff_ms = 2000};
    uint32_t a;
    uint32_t b;

    (void)state;
    a = sim_submit(s, 0, &plan);
    b = sim_submit(s, 0, &failing);
    sim_run_until_ms(s, 2000);
    sim_jump_clock(s, SIM_VENTILATOR, 0, day_ms);
    sim_jump_clock(s, SIM_WORKER, 0, -day_ms);
    sim_jump_clock(s, SIM_WORKER, 1, day_ms);
    sim_jump_clock(s, SIM_SINK, 0, -day_ms);
    sim_run_until_ms(s, 5000);
    sim_jump_clock(s, SIM_VENTILATOR, 0, -day_ms);
    sim_run_until_ms(s, 20000);
    expect(s, "P0 submits a",
           "[  1000] P0 submits a\n"
           "[  1000] P0 submits b\n"
           "[  1020] W0 runs a (attempt 1)\n"
           "[  1020] W1 runs b (attempt 1)\n"
           "[  1030] W1 ends b: error\n"
           "[  1074] P0: a is confirmed\n"
           "[  1074] P0: b is confirmed\n"
           "[  2000] V: the clock jumps by 86400000 ms\n"
           "[  2000] W0: the clock jumps by -86400000 ms\n"
           "[  2000] W1: the clock jumps by 86400000 ms\n"
           "[  2000] S0: the clock jumps by -86400000 ms\n"
           "[  4814] W1 runs b (attempt 2)\n"
           "[  4824] W1 ends b: done\n"
           "[  4839] S0 commits b: succeeded\n"
           "[  4849] P0: b succeeded\n"
           "[  5000] V: the clock jumps by -86400000 ms\n"
           "[  9020] W0 ends a: done\n"
           "[  9035] S0 commits a: succeeded\n"
           "[  9045] P0: a succeeded\n");
    assert_int_equal(sim_runs(s, a), 1);
    assert_int_equal(sim_runs(s, b), 2);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_runs_and_its_result_arrives),
        cmocka_unit_test(a_silent_worker_loses_its_task),
        cmocka_unit_test(a_killed_worker_loses_its_task_to_another),
        cmocka_unit_test(a_restarted_ventilator_adopts_what_runs),
        cmocka_unit_test(a_sink_that_restarts_gets_what_was_kept),
        cmocka_unit_test(a_sink_with_an_old_disk_gets_nothing_until_it_is_accepted),
        cmocka_unit_test(a_lost_confirmation_is_asked_for_again),
        cmocka_unit_test(a_failure_is_retried_with_backoff_then_final),
        cmocka_unit_test(a_task_that_kills_its_slot_is_poison),
        cmocka_unit_test(what_waits_on_a_busy_worker_is_recalled_for_an_idle_one),
        cmocka_unit_test(a_worker_that_cannot_reach_the_sink_loses_its_task),
        cmocka_unit_test(a_ventilator_that_was_down_for_long_learns_what_was_settled),
        cmocka_unit_test(a_cancelled_task_does_not_start),
        cmocka_unit_test(a_zombie_that_comes_back_changes_nothing),
        cmocka_unit_test(bystanders_of_a_poison_task_go_on),
        cmocka_unit_test(what_kills_its_worker_again_and_again_is_poison),
        cmocka_unit_test(a_producer_that_crashes_sends_again_and_has_one_task),
        cmocka_unit_test(a_power_cut_loses_nothing_confirmed),
        cmocka_unit_test(clocks_that_jump_by_a_day_void_no_lease),
        cmocka_unit_test(with_a_full_disk_what_is_settled_is_confirmed_and_the_rest_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
