/* The ventilator's core: clocks that jump, and starts after which only they say what time it is
 * (R47). Durations go by the steady clock, times of day by that of the host. */
#include "vent_world.h"

#define DAY_MS (24 * 3600 * 1000ll)

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

static int begin_small(void **state)
{
    struct vent_cfg cfg;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 200;
    cfg.load_tasks = 40;
    *state = world_of(&cfg);
    return 0;
}

static int end(void **state)
{
    world_free(*state);
    return 0;
}

static void jump(struct world *w, int64_t ms)
{
    w->wall_offset_ms += ms;
}

/* From now on; the ids of the world were made when it began. */
static struct world_task in(const struct world *w, uint64_t ms)
{
    return (struct world_task){.delay_ms = w->now_ms - WORLD_START_MS + ms};
}

static uint32_t arrived(struct world *w, struct world_worker *x)
{
    return world_tasks(w, x, NULL, NULL, 4096);
}

/* As kill -9: nothing but what the journal has is left. The host is down for a while if it boots.
 */
static void start_again(struct world *w, uint64_t down_ms, bool boots)
{
    world_kill(w);
    w->now_ms += down_ms;
    if (boots) {
        w->boot++;
        w->boot_ms = w->now_ms;
    }
    world_start(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    world_sink(w);
}

static struct world_worker back(struct world *w, uint64_t down_ms, bool boots)
{
    start_again(w, down_ms, boots);
    return world_worker(w, 1, 1, 100);
}

/* Not before so many ms, and then at once. */
static void expect_after(struct world *w, struct world_worker *x, uint64_t ms)
{
    world_live(w, ms - 50, x, NULL);
    assert_int_equal(arrived(w, x), 0);
    world_live(w, 100, x, NULL);
    assert_int_equal(arrived(w, x), 1);
}

/* ---------------------------------------------------------------- while it runs */

static void a_jump_by(struct world *w, int64_t ms)
{
    struct world_worker x = world_worker(w, 1, 1, 10);

    world_submit(w, 1, 1, in(w, 10000));
    world_live(w, 2000, &x, NULL);
    jump(w, ms);
    expect_after(w, &x, 8000);
    assert_int_equal(vent_counters(w->v)->workers_lost, 0);
}

static void a_jump_forward_ends_no_delay(void **state)
{
    a_jump_by(*state, DAY_MS);
}

static void a_jump_back_makes_no_delay_longer(void **state)
{
    a_jump_by(*state, -DAY_MS);
}

static void fail_once(struct world *w, struct world_worker *x)
{
    world_submit(
        w, 1, 1,
        (struct world_task){.retries = 1, .backoff_min_ms = 10000, .backoff_max_ms = 10000});
    world_tick(w);
    assert_int_equal(arrived(w, x), 1);
    world_fail(w, x, 1, x->epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
}

static void a_jump_ends_no_backoff(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    fail_once(w, &x);
    jump(w, DAY_MS);
    world_live(w, 4000, &x, NULL);
    jump(w, -2 * DAY_MS);
    expect_after(w, &x, 6000);
}

static void a_jump_expires_nothing(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){.expires_ms = 10000});
    jump(w, DAY_MS);
    world_live(w, 9900, NULL, NULL);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    world_live(w, 200, NULL, NULL);
    assert_int_equal(world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes.kinds[0], DTQ_EXPIRED);
}

static void a_jump_back_keeps_nothing_from_expiring(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){.expires_ms = 10000});
    jump(w, -DAY_MS);
    world_live(w, 10100, NULL, NULL);
    assert_int_equal(world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes.kinds[0], DTQ_EXPIRED);
}

/* And the time that is left to it is what a worker is told. */
static void a_worker_is_told_the_time_that_is_left(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 0);
    struct world_sent *s;

    world_submit(w, 1, 1, (struct world_task){.expires_ms = 10000});
    jump(w, -DAY_MS);
    world_live(w, 3000, &x, NULL);
    world_credit(w, &x, 1);
    world_tick(w);
    s = world_find(w, WORLD_LANE, DTQI_TASKS);
    assert_non_null(s);
    assert_int_equal(s->msg.tasks.expires_in_ms[0], 10000 - (w->now_ms - WORLD_START_MS));
}

static void a_time_of_day_is_that_of_the_wall_clock(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    world_submit(w, 1, 1,
                 (struct world_task){.not_before_wall_ms = world_host(w).wall_ms + DAY_MS});
    world_live(w, 5000, &x, NULL);
    assert_int_equal(arrived(w, &x), 0);
    jump(w, DAY_MS - 8000);
    expect_after(w, &x, 3000);
}

static void expect_the_later(struct world *w, uint64_t delay_ms, uint64_t time_of_day_ms)
{
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct world_task task = in(w, delay_ms);

    task.not_before_wall_ms = world_host(w).wall_ms + time_of_day_ms;
    world_submit(w, 1, 1, task);
    expect_after(w, &x, 5000);
}

static void a_delay_that_is_longer_than_a_time_of_day_is_waited_for(void **state)
{
    expect_the_later(*state, 5000, 2000);
}

static void a_time_of_day_that_is_later_than_a_delay_is_waited_for(void **state)
{
    expect_the_later(*state, 2000, 5000);
}

static uint64_t told_due_ms(struct world *w)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY,
                           .query = {.request = 1, .kind = DTQI_QUERY_TASK, .prefix_bits = 128}};

    msg.query.prefix = world_id(1);
    world_clear(w);
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    return world_take(w, WORLD_SEND, DTQI_QUERY_REPLY)->msg.query_reply.tasks[0].due_wall_ms;
}

/* People are shown the time of their clocks, whatever that has done. */
static void the_time_a_task_is_due_is_told_by_the_wall_clock(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, in(w, 60000));
    jump(w, DAY_MS);
    world_pass(w, 1000);
    assert_int_equal(told_due_ms(w), world_host(w).wall_ms + 59000);
}

/* The host's two clocks are read one after the other, in whole ms. */
static void the_time_a_task_is_due_is_the_same_whenever_it_is_told(void **state)
{
    static const int64_t apart_ms[] = {1, -1, -1, 2};
    struct world *w = *state;
    uint64_t due_ms;

    world_submit(w, 1, 1, in(w, 60000));
    due_ms = told_due_ms(w);
    for (uint32_t i = 0; i < 4; i++) {
        jump(w, apart_ms[i]);
        assert_int_equal(told_due_ms(w), due_ms);
    }
}

static void a_jump_forgets_no_key(void **state)
{
    struct world *w = *state;
    struct world_task keyed = {.key = "k", .key_ttl_ms = 3600 * 1000};

    world_submit(w, 1, 1, keyed);
    world_pass(w, 300);
    jump(w, DAY_MS);
    world_pass(w, 60000);
    world_clear(w);
    world_submit(w, 2, 1, keyed);
    world_pass(w, 300);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_SUBMITTED)->msg.submitted.same_n, 1);
}

/* ---------------------------------------------------------------- ids */

/* Who was told the time in WELCOME goes on from there. */
static void ids_of_producers_are_as_good_after_a_jump(void **state)
{
    struct world *w = *state;
    const int64_t jumps[] = {DAY_MS, -2 * DAY_MS};
    struct world_sent *s;

    for (uint32_t i = 0; i < 2; i++) {
        dtq_id id;
        struct world_task task = {.queue = "q"};

        jump(w, jumps[i]);
        world_pass(w, 1000);
        id = world_id_at(i + 1, world_wall_ms(w));
        world_submit_ids(w, &id, 1, &task);
        world_pass(w, 300);
        assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    }
    world_producer(w, PRODUCER + 1);
    s = world_take(w, WORLD_SEND, DTQI_WELCOME);
    assert_int_equal(s->msg.welcome.wall_ms, WORLD_WALL_MS + w->now_ms - WORLD_START_MS);
}

static void an_id_of_another_clock_is_as_old_as_it_says(void **state)
{
    struct world *w = *state;
    struct world_task task = {.id_clock_ms = -DAY_MS};
    dtq_id id = world_id_at(1, world_wall_ms(w) + DAY_MS - 1000);

    world_submit_ids(w, &id, 1, &task);
    world_pass(w, 300);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    id = world_id_at(2, world_wall_ms(w) + DAY_MS - 2 * 3600 * 1000);
    world_submit_ids(w, &id, 1, &task);
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_TOO_OLD);
    id = world_id_at(3, world_wall_ms(w) + DAY_MS + 3600 * 1000);
    world_submit_ids(w, &id, 1, &task);
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BAD_TIME);
}

/* What counts from when it was made does so, whatever its id says, and after a restart too. */
static void a_task_with_an_id_of_another_clock_expires_in_its_time(void **state)
{
    struct world *w = *state;
    struct world_task task = {.id_clock_ms = -DAY_MS, .expires_ms = 10000};
    dtq_id id = world_id_at(1, world_wall_ms(w) + DAY_MS);

    world_submit_ids(w, &id, 1, &task);
    world_pass(w, 1000);
    start_again(w, 1000, false);
    world_live(w, 7900, NULL, NULL);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    world_live(w, 200, NULL, NULL);
    assert_int_equal(world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes.kinds[0], DTQ_EXPIRED);
}

static void a_delay_counts_from_when_the_task_was_made(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct world_task task = {.delay_ms = 10000};
    dtq_id id = world_id_at(1, world_wall_ms(w) - 4000);

    world_submit_ids(w, &id, 1, &task);
    expect_after(w, &x, 6000);
}

/* An id may be from some minutes ahead. */
static void a_delay_is_no_longer_than_was_asked_for(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);
    struct world_task task = {.delay_ms = 10000};
    dtq_id id = world_id_at(1, world_wall_ms(w) + 300000);

    world_submit_ids(w, &id, 1, &task);
    expect_after(w, &x, 10000);
}

/* ---------------------------------------------------------------- restarts in the middle */

/* The clock since boot says how long it was down, whatever the wall clock did meanwhile. */
static void a_restart_in_the_middle_of_a_delay(struct world *w, int64_t jump_ms)
{
    struct world_worker x;

    world_submit(w, 1, 1, in(w, 20000));
    world_pass(w, 4000);
    world_kill(w);
    jump(w, jump_ms);
    world_start(w);
    x = back(w, 6000, false);
    expect_after(w, &x, 10000);
}

static void a_jump_while_it_is_down_ends_no_delay(void **state)
{
    a_restart_in_the_middle_of_a_delay(*state, DAY_MS);
}

static void a_jump_back_while_it_is_down_makes_no_delay_longer(void **state)
{
    a_restart_in_the_middle_of_a_delay(*state, -DAY_MS);
}

static void a_backoff_goes_on_after_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 10);

    fail_once(w, &x);
    world_live(w, 1000, &x, NULL);
    jump(w, -DAY_MS);
    x = back(w, 3000, false);
    world_live(w, 5900, &x, NULL); /* it was said to be dead for a while: grace is over by then */
    assert_int_equal(arrived(w, &x), 0);
    world_live(w, 200, &x, NULL);
    assert_int_equal(arrived(w, &x), 1);
}

static void an_expiry_goes_on_after_a_restart(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){.expires_ms = 20000});
    world_pass(w, 1000);
    jump(w, DAY_MS);
    start_again(w, 9000, false);
    world_live(w, 9900, NULL, NULL);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    world_live(w, 200, NULL, NULL);
    assert_int_equal(world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes.kinds[0], DTQ_EXPIRED);
}

static void what_expired_while_it_was_down_never_starts(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, (struct world_task){.expires_ms = 20000});
    world_pass(w, 1000);
    jump(w, -DAY_MS);
    x = back(w, 30000, false);
    world_live(w, 1000, &x, NULL);
    assert_int_equal(arrived(w, &x), 0);
    assert_int_equal(world_take(w, WORLD_SINK, DTQI_OUTCOMES)->msg.outcomes.kinds[0], DTQ_EXPIRED);
}

/* After a boot the wall clock says how long that took. */
static void a_delay_goes_on_after_a_boot(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, in(w, 20000));
    world_pass(w, 4000);
    x = back(w, 6000, true);
    expect_after(w, &x, 10000);
}

/* It jumped before, and is still wrong: that is no time that has passed. */
static void a_jump_before_a_boot_ends_no_delay(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, in(w, 20000));
    world_pass(w, 2000);
    jump(w, DAY_MS);
    world_pass(w, 2000);
    x = back(w, 6000, true);
    expect_after(w, &x, 10000);
}

/* A wall clock that is behind what was written down says nothing about how long it was: the delay
 * goes on where it was when that was written, and is no longer than it was then. */
static void after_a_boot_into_the_past_a_delay_is_no_longer_than_it_was(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, in(w, 100000));
    world_live(w, 90000, NULL, NULL);
    jump(w, -DAY_MS);
    world_kill(w);
    jump(w, -DAY_MS);
    x = back(w, 6000, true);
    world_live(w, 9000, &x, NULL);
    assert_int_equal(arrived(w, &x), 0);
    world_live(w, 61000, &x, NULL);
    assert_int_equal(arrived(w, &x), 1);
}

static void after_a_boot_into_the_past_ids_of_before_are_taken_and_of_now_too(void **state)
{
    struct world *w = *state;
    uint64_t told_ms = world_wall_ms(w);
    struct world_task task = {.queue = "q"};
    dtq_id id = world_id_at(1, told_ms);

    world_submit(w, 7, 1, in(w, 100000));
    world_pass(w, 1000);
    jump(w, -DAY_MS);
    start_again(w, 6000, true);
    assert_true(world_wall_ms(w) >= told_ms);
    world_submit_ids(w, &id, 1, &task);
    world_pass(w, 300);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
}

/* Without anything that depends on it, and rested for long: the clock of people is as good. */
static void an_empty_journal_follows_the_wall_clock_after_a_rest(void **state)
{
    struct world *w = *state;

    jump(w, DAY_MS);
    start_again(w, 1000, false);
    assert_int_equal(world_wall_ms(w), world_host(w).wall_ms - DAY_MS);
    start_again(w, 3600 * 1000, false);
    assert_int_equal(world_wall_ms(w), world_host(w).wall_ms);
}

static void a_journal_with_a_task_does_not(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, in(w, DAY_MS));
    world_pass(w, 300);
    jump(w, DAY_MS);
    start_again(w, 3600 * 1000, false);
    assert_int_equal(world_wall_ms(w), world_host(w).wall_ms - DAY_MS);
}

static void the_time_is_written_down_while_a_task_waits(void **state)
{
    struct world *w = *state;
    uint32_t writes = w->writes;

    world_pass(w, 300000);
    assert_int_equal(w->writes, writes); /* nothing depends on it */
    world_submit(w, 1, 1, in(w, DAY_MS));
    world_pass(w, 1000);
    writes = w->writes;
    world_pass(w, 300000);
    assert_in_range(w->writes - writes, 4, 6);
}

static void a_jump_is_written_down_at_once(void **state)
{
    struct world *w = *state;
    uint32_t writes;

    world_pass(w, 1000);
    writes = w->writes;
    jump(w, -DAY_MS);
    world_pass(w, 2000);
    assert_int_equal(w->writes, writes + 1);
}

/* ---------------------------------------------------------------- both orders, beyond the window
 */

/* Those that wait for a time of day leave memory and come back in an order of their own: a jump
 * makes all of them due, and none of the others. */
static void delays_and_times_of_day_keep_apart_beyond_the_window(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[2] = {0, 0};
    uint32_t got[512];

    for (uint32_t i = 0; i < 400; i += 20) {
        struct world_task task = i / 20 % 2 == 0 ? in(w, 60000 + i) : (struct world_task){0};

        if (task.delay_ms == 0)
            task.not_before_wall_ms = world_host(w).wall_ms + DAY_MS + i * 7919 % 600;
        world_submit(w, 1 + i, 20, task);
        world_live(w, 150, NULL, NULL);
    }
    start_again(w, 100, false);
    jump(w, DAY_MS);
    x = back(w, 100, false);
    while (w->now_ms < WORLD_START_MS + 80000) {
        uint32_t tickets[512];
        uint32_t part;

        world_credit(w, &x, 1000);
        world_live(w, 20, &x, NULL);
        part = world_tasks(w, &x, got, tickets, 512);
        for (uint32_t i = 0; i < part; i++)
            n[(got[i] - 1) / 20 % 2]++;
        world_done(w, &x, tickets, part);
        for (uint32_t i = 0; i < part; i++)
            world_settle(w, got[i], DTQ_SUCCEEDED);
        world_clear(w);
        assert_true(n[0] == 0 || w->now_ms >= WORLD_START_MS + 60000);
        if (w->now_ms >= WORLD_START_MS + 50000)
            assert_int_equal(n[1], 200);
    }
    assert_int_equal(n[0], 200);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_jump_forward_ends_no_delay),
        T(a_jump_back_makes_no_delay_longer),
        T(a_jump_ends_no_backoff),
        T(a_jump_expires_nothing),
        T(a_jump_back_keeps_nothing_from_expiring),
        T(a_worker_is_told_the_time_that_is_left),
        T(a_time_of_day_is_that_of_the_wall_clock),
        T(a_delay_that_is_longer_than_a_time_of_day_is_waited_for),
        T(a_time_of_day_that_is_later_than_a_delay_is_waited_for),
        T(the_time_a_task_is_due_is_told_by_the_wall_clock),
        T(the_time_a_task_is_due_is_the_same_whenever_it_is_told),
        T(a_jump_forgets_no_key),
        T(ids_of_producers_are_as_good_after_a_jump),
        T(an_id_of_another_clock_is_as_old_as_it_says),
        T(a_task_with_an_id_of_another_clock_expires_in_its_time),
        T(a_delay_counts_from_when_the_task_was_made),
        T(a_delay_is_no_longer_than_was_asked_for),
        T(a_jump_while_it_is_down_ends_no_delay),
        T(a_jump_back_while_it_is_down_makes_no_delay_longer),
        T(a_backoff_goes_on_after_a_restart),
        T(an_expiry_goes_on_after_a_restart),
        T(what_expired_while_it_was_down_never_starts),
        T(a_delay_goes_on_after_a_boot),
        T(a_jump_before_a_boot_ends_no_delay),
        T(after_a_boot_into_the_past_a_delay_is_no_longer_than_it_was),
        T(after_a_boot_into_the_past_ids_of_before_are_taken_and_of_now_too),
        T(an_empty_journal_follows_the_wall_clock_after_a_rest),
        T(a_journal_with_a_task_does_not),
        T(the_time_is_written_down_while_a_task_waits),
        T(a_jump_is_written_down_at_once),
        cmocka_unit_test_setup_teardown(delays_and_times_of_day_keep_apart_beyond_the_window,
                                        begin_small, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
