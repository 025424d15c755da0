/* The ventilator's core: groups of a queue: fair shares, bounds of each, and order (R49, R50). */
#include "vent_world.h"

#include "journal_parts.h"

static int begin_with(void **state, uint32_t records)
{
    struct vent_cfg cfg;
    struct world *w;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = records;
    cfg.load_tasks = 16;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    *state = w;
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, 4096);
}

static int begin_small(void **state)
{
    return begin_with(state, 256); /* a window of 64 */
}

static int end(void **state)
{
    world_free(*state);
    return 0;
}

/* ---------------------------------------------------------------- helpers */

static struct vent_census census_of(struct world *w)
{
    struct vent_census census;

    vent_census(w->v, &census);
    return census;
}

/* n tasks from `first` on, in portions that the table takes. */
static void fill(struct world *w, uint32_t first, uint32_t n, struct world_task task)
{
    for (uint32_t i = 0; i < n; i += 50) {
        uint64_t request = world_submit(w, first + i, n - i < 50 ? n - i : 50, task);

        world_live(w, 200, NULL, NULL);
        assert_true(world_confirmed(w, request));
    }
}

/* A worker that can take one task more than it was given. */
static struct world_worker greedy(struct world *w, uint32_t number)
{
    return world_worker(w, number, 1, 1);
}

static struct world_worker busy_worker(struct world *w, uint32_t number)
{
    return world_worker(w, number, 50, 100);
}

/* The numbers that came down the lane now. */
static uint32_t got(struct world *w, struct world_worker *x, uint32_t *ret, uint32_t *ret_tickets)
{
    world_pass(w, 5);
    return world_tasks(w, x, ret, ret_tickets, 64);
}

static void expect(struct world *w, struct world_worker *x, uint32_t number)
{
    uint32_t numbers[64];

    assert_int_equal(got(w, x, numbers, NULL), 1);
    assert_int_equal(numbers[0], number);
}

static void expect_none(struct world *w, struct world_worker *x)
{
    assert_int_equal(got(w, x, NULL, NULL), 0);
}

/* The next `n` tasks of a greedy worker, each done and settled at once. */
static void work(struct world *w, struct world_worker *x, uint32_t *ret, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t ticket;
        uint32_t idle = 0;

        while (got(w, x, &ret[i], &ticket) == 0) {
            assert_true(idle++ < 100);
            world_sink_beat(w, false);
            world_beat(w, x);
        }
        world_done(w, x, &ticket, 1);
        world_settle(w, ret[i], DTQ_SUCCEEDED);
        world_credit(w, x, x->credit_tasks + 1);
        if (i % 50 == 0) {
            world_sink_beat(w, false);
            world_beat(w, x);
        }
        world_clear(w);
    }
}

static void settled(struct world *w, uint32_t number)
{
    world_settle(w, number, DTQ_SUCCEEDED);
    world_tick(w);
}

static uint32_t query(struct world *w, const struct dtqi_query *q, struct world_sent **ret)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY, .query = *q};

    msg.query.request = ++w->requests;
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    *ret = world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
    return (*ret)->msg.query_reply.tasks_n;
}

static struct dtqi_queue_info info_of(struct world *w)
{
    struct world_sent *s;
    struct dtqi_queue_info info = {0};

    query(w, &(struct dtqi_query){.kind = DTQI_QUERY_QUEUES}, &s);
    for (uint32_t i = 0; i < s->msg.query_reply.queues_n; i++)
        if (dtqi_str_eq(s->msg.query_reply.queues[i].name, dtqi_str("q")))
            info = s->msg.query_reply.queues[i];
    world_drop(w, s);
    return info;
}

static void expect_why(struct world *w, uint32_t number, const char *why)
{
    struct dtqi_query q = {
        .kind = DTQI_QUERY_TASK, .prefix = world_id(number), .prefix_bits = 128, .explain = true};
    struct world_sent *s;
    char text[200];

    assert_int_equal(query(w, &q, &s), 1);
    snprintf(text, sizeof text, "%.*s", (int)s->msg.query_reply.tasks[0].why.len,
             s->msg.query_reply.tasks[0].why.at);
    if (strstr(text, why) == NULL)
        fail_msg("'%s' is not '%s'", text, why);
    world_drop(w, s);
}

static uint64_t order(struct world *w, enum dtqi_operation operation, double number,
                      uint64_t period_ms)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};
    struct world_sent *s;
    uint64_t count;

    msg.operate = (struct dtqi_operate){.request = ++w->requests,
                                        .operation = operation,
                                        .target = dtqi_str("q"),
                                        .number = number,
                                        .period_ms = period_ms};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY);
    assert_int_equal(s->msg.operate_reply.reason, DTQI_REFUSAL_NONE);
    count = s->msg.operate_reply.count;
    world_drop(w, s);
    return count;
}

/* Queues and groups that the journal has. */
static uint64_t records(struct world *w)
{
    struct store_tx *tx;
    uint64_t n;

    assert_int_equal(store_begin(w->store, false, &tx), DTQ_OK);
    n = store_count(tx, TABLE_QUEUES);
    store_abort(tx);
    return n;
}

static void restart(struct world *w)
{
    world_restart(w);
    world_producer(w, PRODUCER);
    world_sink(w);
    world_clear(w);
}

static const struct world_task of_a = {
    .group = "a", .retries = 2, .backoff_min_ms = 5000, .backoff_max_ms = 5000};
static const struct world_task of_b = {.group = "b"};
static const struct world_task in_order = {
    .group = "a", .ordered = true, .retries = 2, .backoff_min_ms = 5000, .backoff_max_ms = 5000};

/* ---------------------------------------------------------------- fair shares */

static void groups_have_their_turns(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[8];
    const uint32_t turns[] = {1, 21, 2, 22, 3, 23, 4, 5};

    world_submit(w, 1, 20, of_a);
    world_submit(w, 21, 3, of_b);
    x = greedy(w, 1);
    work(w, &x, n, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(n[i], turns[i]);
}

static void tasks_without_a_group_are_one_more(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[7];
    const uint32_t turns[] = {1, 21, 31, 2, 22, 32, 3};

    world_submit(w, 1, 10, (struct world_task){0});
    world_submit(w, 21, 3, of_a);
    world_submit(w, 31, 3, of_b);
    x = greedy(w, 1);
    work(w, &x, n, 7);
    for (int i = 0; i < 7; i++)
        assert_int_equal(n[i], turns[i]);
}

static void a_group_that_comes_late_has_its_turn_at_once(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[4];

    world_submit(w, 1, 50, of_a);
    x = greedy(w, 1);
    work(w, &x, n, 4);
    assert_int_equal(n[3], 4); /* and 5 is with the worker */
    world_submit(w, 101, 1, of_b);
    work(w, &x, n, 3);
    assert_int_equal(n[0], 5);
    assert_true(n[1] == 101 || n[2] == 101);
}

static void priority_comes_before_fair_shares(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[6];
    const uint32_t turns[] = {21, 22, 11, 1, 12, 2};

    world_submit(w, 1, 2, (struct world_task){.group = "a", .priority = 1});
    world_submit(w, 11, 2, (struct world_task){.group = "b", .priority = 1});
    world_submit(w, 21, 2, (struct world_task){.group = "a", .priority = 7});
    x = greedy(w, 1);
    work(w, &x, n, 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(n[i], turns[i]);
}

static void a_new_task_of_higher_priority_takes_its_group_forward(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[3];

    world_submit(w, 1, 20, of_a);
    world_submit(w, 21, 20, of_b);
    world_submit(w, 41, 1, (struct world_task){.group = "b", .priority = 3});
    x = greedy(w, 1);
    work(w, &x, n, 3);
    assert_int_equal(n[0], 41);
    assert_int_equal(n[1], 1);
    assert_int_equal(n[2], 21);
}

static void a_backlog_beyond_the_window_delays_nobody_else(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t n[1003];

    fill(w, 1, 1000, of_a);
    fill(w, 2001, 3, of_b);
    assert_true(census_of(w).tasks <= 90);
    x = greedy(w, 1);
    work(w, &x, n, 1003);
    assert_int_equal(n[0], 1);
    assert_int_equal(n[2], 2001); /* which was not in memory while nobody served the queue */
    assert_int_equal(n[4], 2002);
    assert_int_equal(n[6], 2003);
    assert_int_equal(n[1002], 1000);
}

static void backlogs_of_many_groups_are_worked_off_fairly(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t n[1200];
    uint32_t done[6] = {0};
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f"};

    for (uint32_t i = 0; i < 6; i++)
        fill(w, 1 + 200 * i, 200, (struct world_task){.group = keys[i]});
    assert_true(census_of(w).tasks <= 120);
    x = greedy(w, 1);
    work(w, &x, n, 1200);
    for (uint32_t i = 0; i < 600; i++)
        assert_int_equal((n[i] - 1) % 200, done[(n[i] - 1) / 200]++);
    for (uint32_t i = 0; i < 6; i++) /* half of all is half of each */
        assert_in_range(done[i], 60, 140);
}

static void the_queues_share_as_before(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[40];
    uint32_t of_other = 0;

    world_submit(w, 1, 20, of_a);
    world_submit(w, 21, 20, of_b);
    world_submit(w, 101, 40, (struct world_task){.queue = "other"});
    x = greedy(w, 1);
    work(w, &x, n, 40);
    for (int i = 0; i < 40; i++)
        of_other += n[i] > 100;
    assert_in_range(of_other, 15, 25);
}

static void suspects_of_groups_are_tried_alone(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 3);
    struct world_worker y;
    uint32_t n[8];
    uint32_t tickets[8];

    world_submit(w, 1, 2, of_a);
    world_submit(w, 11, 1, of_b);
    assert_int_equal(got(w, &x, n, NULL), 3);
    world_live(w, 5000, NULL, NULL); /* it died */
    y = world_worker(w, 2, 4, 100);
    assert_int_equal(got(w, &y, n, tickets), 1);
    world_done(w, &y, tickets, 1);
    settled(w, n[0]);
    assert_int_equal(got(w, &y, n, tickets), 1);
    world_done(w, &y, tickets, 1);
    settled(w, n[0]);
    assert_int_equal(got(w, &y, n, tickets), 1);
}

/* ---------------------------------------------------------------- order */

static void a_group_in_order_runs_one_at_a_time(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    uint32_t ticket;
    uint32_t n;

    world_submit(w, 1, 3, in_order);
    world_submit(w, 11, 2, (struct world_task){.group = "b", .ordered = true});
    assert_int_equal(world_count(w, WORLD_LANE, DTQI_TASKS), 0);
    world_pass(w, 5);
    {
        uint32_t both[4];

        assert_int_equal(world_tasks(w, &x, both, NULL, 4), 2);
        assert_int_equal(both[0] + both[1], 12);
    }
    expect_why(w, 2, "an earlier task of its group runs");
    settled(w, 1);
    assert_int_equal(got(w, &x, &n, &ticket), 1);
    assert_int_equal(n, 2);
    world_done(w, &x, &ticket, 1); /* its outcome may still be lost */
    expect_none(w, &x);
    expect_why(w, 3, "the outcome of an earlier task of its group is being recorded");
    settled(w, 2);
    expect(w, &x, 3);
}

static void priorities_count_between_groups_in_order_only(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[4];

    world_submit(w, 1, 1, (struct world_task){.group = "b", .priority = 4});
    world_submit(w, 11, 1, (struct world_task){.group = "a", .ordered = true, .priority = 1});
    world_submit(w, 12, 1, (struct world_task){.group = "a", .ordered = true, .priority = 9});
    world_submit(w, 2, 1, (struct world_task){.group = "b", .priority = 4});
    x = greedy(w, 1);
    work(w, &x, n, 4);
    assert_int_equal(n[0], 1);
    assert_int_equal(n[1], 2);
    assert_int_equal(n[2], 11);
    assert_int_equal(n[3], 12);
}

static void a_retry_keeps_its_place(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);

    world_submit(w, 1, 3, in_order);
    expect(w, &x, 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    expect_none(w, &x);
    expect_why(w, 2, "an earlier task of its group waits for its retry");
    world_live(w, 4500, &x, NULL);
    expect_none(w, &x);
    world_live(w, 600, &x, NULL);
    expect(w, &x, 1);
    settled(w, 1);
    expect(w, &x, 2);
}

static void what_fails_for_good_lets_the_next_one_go(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);

    world_submit(w, 1, 3, (struct world_task){.group = "a", .ordered = true});
    expect(w, &x, 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    expect_none(w, &x); /* after a crash it might be tried again */
    world_settle(w, 1, DTQ_FAILED);
    expect(w, &x, 2);
}

static void a_worker_that_dies_does_not_change_the_order(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_worker y;
    dtq_id running = world_id(1);

    world_submit(w, 1, 3, in_order);
    expect(w, &x, 1);
    x.running = &running;
    x.running_n = 1;
    world_beat(w, &x);
    world_live(w, 5000, NULL, NULL);
    y = busy_worker(w, 2);
    expect(w, &y, 1);
    settled(w, 1);
    expect(w, &y, 2);
}

static void a_suspect_keeps_its_place(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_worker y;

    world_submit(w, 1, 3, in_order);
    expect(w, &x, 1);
    world_live(w, 5000, NULL, NULL); /* it died, and had not started the task */
    y = busy_worker(w, 2);
    expect(w, &y, 1);
    settled(w, 1);
    expect(w, &y, 2);
}

static void a_cancelled_task_lets_the_next_one_go(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    dtq_id id = world_id(2);

    world_submit(w, 1, 3, in_order);
    expect(w, &x, 1);
    msg.cancel = (struct dtqi_cancel){.request = 1, .ids = &id, .n = 1};
    world_msg(w, PRODUCER, &msg);
    settled(w, 1);
    world_settle(w, 2, DTQ_CANCELLED);
    expect(w, &x, 3);
}

static void a_delayed_task_takes_its_place_when_its_time_comes(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_task later = in_order;

    later.not_before_wall_ms = WORLD_WALL_MS + 10000;
    world_submit(w, 1, 1, later);
    world_submit(w, 2, 3, in_order);
    expect(w, &x, 2);
    settled(w, 2);
    expect(w, &x, 3);
    world_hold(&x, x.epoch, (const uint32_t[]){3}, 1, 1);
    world_live(w, 11000, &x, NULL);
    settled(w, 3);
    expect(w, &x, 1);
    settled(w, 1);
    expect(w, &x, 4);
}

static void a_restart_does_not_change_the_order(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_worker y;
    uint64_t epoch = x.epoch;
    struct world_holding held = {1, epoch, 1, DTQI_HELD_RUNNING};

    world_submit(w, 1, 4, in_order);
    expect(w, &x, 1);
    world_live(w, 500, &x, NULL);
    restart(w);
    y = busy_worker(w, 2);
    world_submit(w, 11, 2, in_order); /* new ones are not held, but come later */
    world_live(w, 2000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 4), 0);
    world_worker_hello(w, &x, NULL, 1);
    world_holdings(w, &x, &held, 1, true);
    world_hold(&x, epoch, &held.number, 1, 1);
    world_live(w, 8000, &y, &x);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 4), 0);
    settled(w, 1);
    expect(w, &y, 2);
    settled(w, 2);
    expect(w, &y, 3);
    settled(w, 3);
    expect(w, &y, 4);
    settled(w, 4);
    expect(w, &y, 11);
}

static void a_retry_keeps_its_place_over_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_task slow = in_order;

    slow.backoff_min_ms = slow.backoff_max_ms = 60000;
    world_submit(w, 1, 3, slow);
    expect(w, &x, 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_live(w, 500, &x, NULL);
    restart(w);
    x = busy_worker(w, 3);
    world_live(w, 50000, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 4), 0);
    world_live(w, 20000, &x, NULL);
    expect(w, &x, 1);
}

/* Its record is in the order of due times, whose head is loaded beside that of the group. */
static void a_delayed_task_that_was_tried_keeps_its_place_over_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_task later = in_order;

    later.not_before_wall_ms = WORLD_WALL_MS + 1000;
    later.backoff_min_ms = later.backoff_max_ms = 60000;
    world_submit(w, 1, 1, later);
    world_live(w, 1500, &x, NULL);
    expect(w, &x, 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_submit(w, 2, 2, in_order);
    world_live(w, 500, &x, NULL);
    restart(w);
    x = busy_worker(w, 3);
    world_live(w, 50000, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 4), 0);
    world_live(w, 20000, &x, NULL);
    expect(w, &x, 1);
}

static void an_order_holds_far_beyond_the_window(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    static uint32_t n[900];
    uint32_t next[3] = {1, 1001, 2001};

    fill(w, 1, 400, in_order);
    fill(w, 1001, 300, (struct world_task){.group = "b", .ordered = true, .priority = 2});
    fill(w, 2001, 200, (struct world_task){0});
    assert_true(census_of(w).tasks <= 120);
    x = greedy(w, 1);
    work(w, &x, n, 300);
    world_live(w, 500, NULL, NULL);
    restart(w);
    world_live(w, 6000, NULL, NULL);
    x = greedy(w, 2);
    work(w, &x, n + 300, 600);
    for (uint32_t i = 0; i < 900; i++)
        assert_int_equal(n[i], next[n[i] / 1000]++);
}

static void a_waiting_retry_is_not_evicted(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_task slow = in_order;

    slow.backoff_min_ms = slow.backoff_max_ms = 3600 * 1000;
    world_submit(w, 1, 2, slow);
    expect(w, &x, 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_live(w, 500, &x, NULL);
    fill(w, 1001, 300, (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 7200 * 1000});
    world_live(w, 1000, &x, NULL);
    assert_true(vent_counters(w->v)->tasks_evicted > 100);
    expect_none(w, &x);
    expect_why(w, 2, "an earlier task of its group waits for its retry");
}

/* ---------------------------------------------------------------- bounds of each group */

static void each_group_has_its_limit(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_worker y = busy_worker(w, 2);
    uint32_t n[16];
    uint32_t m[16];

    order(w, DTQI_QUEUE_GROUP_LIMIT, 2, 0);
    world_submit(w, 1, 10, of_a);
    world_submit(w, 11, 1, of_b);
    world_submit(w, 21, 5, (struct world_task){0});
    world_pass(w, 50);
    assert_int_equal(got(w, &x, n, NULL) + got(w, &y, m, NULL), 2 + 1 + 5);
    expect_why(w, 9, "its group is at its limit: workers hold 2 tasks of it");
    assert_int_equal(info_of(w).group_limit, 2);
    settled(w, 1);
    assert_int_equal(got(w, &x, n, NULL) + got(w, &y, m, NULL), 1);
    order(w, DTQI_QUEUE_GROUP_LIMIT, 0, 0);
    assert_int_equal(got(w, &x, n, NULL) + got(w, &y, m, NULL), 7);
}

static void a_limit_of_groups_holds_over_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct world_worker y;
    struct world_holding held[2] = {{1, x.epoch, 1, DTQI_HELD_RUNNING},
                                    {2, x.epoch, 1, DTQI_HELD_RUNNING}};

    order(w, DTQI_QUEUE_GROUP_LIMIT, 2, 0);
    world_submit(w, 1, 6, of_a);
    world_pass(w, 300);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    restart(w);
    y = busy_worker(w, 2);
    world_live(w, 1000, &y, NULL);
    world_worker_hello(w, &x, NULL, 2);
    world_holdings(w, &x, held, 2, true);
    world_hold(&x, held[0].epoch, (const uint32_t[]){1, 2}, 2, 1);
    world_live(w, 8000, &y, &x);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 2), 0);
    settled(w, 1);
    assert_int_equal(got(w, &y, NULL, NULL), 1);
}

static void the_limit_of_a_queue_is_for_all_of_its_groups(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);

    order(w, DTQI_QUEUE_LIMIT, 3, 0);
    world_submit(w, 1, 10, of_a);
    world_submit(w, 11, 10, of_b);
    world_pass(w, 50);
    assert_int_equal(got(w, &x, NULL, NULL), 3);
    expect_why(w, 9, "its queue is at its limit: workers hold 3 tasks of it");
    settled(w, 1);
    assert_int_equal(got(w, &x, NULL, NULL), 1);
}

/* Tasks that reach a worker in so long, each settled at once; of each thousand of numbers. */
static void rate_of(struct world *w, struct world_worker *x, uint64_t ms, uint32_t ret[3])
{
    for (uint64_t end_ms = w->now_ms + ms; w->now_ms < end_ms;) {
        uint32_t numbers[64];
        uint32_t tickets[64];
        uint32_t n = got(w, x, numbers, tickets);

        if (n != 0)
            world_done(w, x, tickets, n);
        for (uint32_t i = 0; i < n; i++) {
            ret[numbers[i] / 1000]++;
            world_settle(w, numbers[i], DTQ_SUCCEEDED);
        }
        if (w->now_ms % 500 < 6) {
            world_sink_beat(w, false);
            world_beat(w, x);
        }
        world_clear(w);
    }
}

static void each_group_has_its_rate(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 100000);
    uint32_t n[3] = {0};

    order(w, DTQI_QUEUE_GROUP_RATE, 20, 1000);
    world_submit(w, 1, 600, of_a);
    world_submit(w, 1001, 600, of_b);
    world_submit(w, 2001, 5, (struct world_task){.group = "c"});
    rate_of(w, &x, 10000, n);
    assert_in_range(n[0], 198, 202);
    assert_in_range(n[1], 198, 202);
    assert_int_equal(n[2], 5);
    expect_why(w, 590, "its group is at its rate");
}

/* A group that has nothing left is remembered until its next task may go. */
static void a_group_that_comes_back_has_its_rate_still(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);

    order(w, DTQI_QUEUE_GROUP_RATE, 1, 60000);
    world_submit(w, 1, 1, of_a);
    expect(w, &x, 1);
    settled(w, 1);
    world_live(w, 1000, &x, NULL);
    world_submit(w, 2, 1, of_a);
    expect_none(w, &x);
    restart(w);
    x = busy_worker(w, 2);
    world_live(w, 40000, &x, NULL);
    expect_none(w, &x);
    world_live(w, 25000, &x, NULL);
    expect(w, &x, 2);
    settled(w, 2);
    world_live(w, 70000, &x, NULL);
    assert_int_equal(records(w), 2); /* its spec is remembered for a while, and so is it */
}

/* ---------------------------------------------------------------- coming and going */

static void groups_that_end_are_forgotten(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[1];
    char key[16];

    for (uint32_t i = 1; i <= 2000; i++) { /* more than there may be at a time */
        snprintf(key, sizeof key, "user-%u", i);
        fill(w, i, 1, (struct world_task){.group = key, .ordered = i % 2 == 0});
        if (i == 400)
            assert_int_equal(records(w), 401);
        if (i < 400)
            continue;
        x = greedy(w, 1);
        work(w, &x, n, 1);
        world_live(w, 300, &x, NULL);
    }
    assert_int_equal(info_of(w).groups, 399);
    assert_true(records(w) <= 513);
    restart(w);
    world_live(w, 1000, NULL, NULL);
    assert_int_equal(records(w), 400); /* what it finds empty goes at the start */
    assert_int_equal(info_of(w).groups, 399);
}

static void groups_that_end_soon_never_reach_the_journal(void **state)
{
    struct world *w = *state;
    struct world_worker x = greedy(w, 1);
    uint32_t n[1];
    char key[16];

    for (uint32_t i = 1; i <= 100; i++) {
        snprintf(key, sizeof key, "user-%u", i);
        world_submit(w, i, 1, (struct world_task){.group = key});
        work(w, &x, n, 1);
    }
    assert_int_equal(w->puts, 0);
    world_live(w, 1000, &x, NULL);
    assert_true(records(w) <= 1);
}

static void there_are_no_more_groups_than_groups_max(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[40];
    struct world_sent *s;
    char key[16];

    for (uint32_t i = 1; i <= 32; i++) { /* an eighth of 256 */
        snprintf(key, sizeof key, "user-%u", i);
        world_submit(w, i, 1, (struct world_task){.group = key});
        world_tick(w);
    }
    world_live(w, 500, NULL, NULL);
    world_clear(w);
    world_submit(w, 33, 1, (struct world_task){.group = "user-33"});
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_SUBMITTED);
    assert_int_equal(s->msg.submitted.refused_reason[0], DTQI_BUSY);
    assert_true(dtqi_str_eq(s->msg.submitted.refused_text[0], dtqi_str("groups_max is reached")));
    world_drop(w, s);
    world_submit(w, 34, 1, (struct world_task){.group = "user-7"});
    world_submit(w, 35, 1, (struct world_task){0});
    world_live(w, 500, NULL, NULL);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    x = greedy(w, 1);
    work(w, &x, n, 34);
    world_live(w, 500, &x, NULL);
    world_submit(w, 36, 1,
                 (struct world_task){.group = "user-36"}); /* others are let go for it .. */
    world_live(w, 500, &x, NULL);
    world_clear(w);
    world_submit(w, 37, 1, (struct world_task){.group = "user-37"});
    world_live(w, 500, &x, NULL);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE); /* .. with the next batch */
}

static void a_group_may_come_back_while_it_is_forgotten(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[4];

    fill(w, 1, 2, of_a);
    x = greedy(w, 1);
    work(w, &x, n, 2);
    world_live(w, 500, &x, NULL);
    restart(w); /* its record is empty: it is told to go */
    w->journal_stuck = true;
    world_live(w, 500, NULL, NULL);
    world_submit(w, 3, 2, of_a);
    world_live(w, 200, NULL, NULL);
    w->journal_stuck = false;
    world_journal(w);
    world_live(w, 500, NULL, NULL);
    assert_int_equal(records(w), 2);
    restart(w);
    world_live(w, 6000, NULL, NULL);
    x = greedy(w, 2);
    work(w, &x, n, 2);
    assert_int_equal(n[0], 3);
    assert_int_equal(n[1], 4);
}

/* Its outcome came while it was in the journal only. */
static void tasks_that_end_unloaded_are_counted(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);

    world_submit(w, 1, 2, of_a);
    world_pass(w, 300);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    w->journal_stuck = true; /* nothing is loaded */
    world_kill(w);
    w->journal_stuck = true;
    world_start(w);
    world_producer(w, PRODUCER);
    world_sink_hello(w, SINK_ROUTE, 0x51, 0x61);
    world_clear(w);
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_settle(w, 2, DTQ_SUCCEEDED);
    w->journal_stuck = false;
    world_pass(w, 1000);
    world_clear(w);
    assert_int_equal(vent_counters(w->v)->settled_unknown, 2);
    assert_int_equal(info_of(w).ready, 0);
    assert_int_equal(info_of(w).groups, 0);
    assert_int_equal(records(w), 1);
}

/* ---------------------------------------------------------------- a queue and its groups */

static void what_is_said_of_a_queue_holds_for_its_groups(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct dtqi_queue_info q;

    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    world_submit(w, 1, 5, of_a);
    world_submit(w, 11, 3, in_order);
    world_submit(w, 21, 2, (struct world_task){0});
    world_live(w, 1000, &x, NULL);
    expect_none(w, &x);
    expect_why(w, 3, "its queue is paused");
    q = info_of(w);
    assert_int_equal(q.ready, 10);
    assert_int_equal(q.groups, 2); /* in order and not: two groups */
    assert_true(q.oldest_wall_ms != 0);
    assert_int_equal(order(w, DTQI_QUEUE_PURGE, 0, 0), 10);
    for (uint32_t i = 1; i <= 22; i++)
        if (i <= 5 || (i >= 11 && i <= 13) || i >= 21)
            world_settle(w, i, DTQ_CANCELLED);
    world_live(w, 500, &x, NULL);
    q = info_of(w);
    assert_int_equal(q.ready + q.dispatched + q.ending, 0);
    assert_int_equal(q.groups, 0);
}

static void a_purge_finds_what_is_in_the_journal_only(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[1];

    fill(w, 1, 300, of_a);
    fill(w, 1001, 200, in_order);
    assert_int_equal(order(w, DTQI_QUEUE_PURGE, 0, 0), 500);
    fill(w, 2001, 1, of_a);
    x = greedy(w, 1);
    for (int round = 0; round < 300 && info_of(w).groups != 1; round++) {
        struct world_sent *s;

        world_live(w, 200, &x, NULL);
        while ((s = world_find(w, WORLD_SINK, DTQI_OUTCOMES)) != NULL) {
            for (uint32_t i = 0; i < s->msg.outcomes.n; i++)
                world_settle(w, world_number(&s->msg.outcomes.ids[i]), DTQ_CANCELLED);
            world_drop(w, s);
        }
    }
    assert_int_equal(vent_counters(w->v)->tasks_cancelled, 500);
    work(w, &x, n, 1);
    assert_int_equal(n[0], 2001);
}

static void tasks_are_listed_by_their_queue(void **state)
{
    struct world *w = *state;
    struct world_sent *s;

    fill(w, 1, 30, of_a);
    fill(w, 101, 20, (struct world_task){0});
    fill(w, 201, 5, (struct world_task){.queue = "other", .group = "a"});
    world_submit(w, 301, 2, of_b); /* not written */
    assert_int_equal(
        query(w, &(struct dtqi_query){.kind = DTQI_QUERY_TASKS, .queue = dtqi_str("q")}, &s), 52);
    world_drop(w, s);
}

static void bounds_count_the_groups(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 256;
    cfg.queue_tasks_max = 10;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_submit(w, 1, 6, of_a);
    world_submit(w, 11, 4, of_b);
    world_tick(w);
    world_live(w, 500, NULL, NULL);
    world_clear(w);
    world_submit(w, 21, 1, (struct world_task){.group = "c"});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_BUSY);
    world_free(w);
}

static void a_dead_letter_of_a_group_is_one_of_its_queue(void **state)
{
    struct world *w = *state;
    struct world_worker x = busy_worker(w, 1);
    struct dtqi_msg msg = {.type = DTQI_OPERATE};
    struct world_sent *s;

    world_submit(w, 1, 1, (struct world_task){.group = "a", .ordered = true});
    expect(w, &x, 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_settle(w, 1, DTQ_FAILED);
    world_live(w, 500, &x, NULL);
    assert_int_equal(
        query(w, &(struct dtqi_query){.kind = DTQI_QUERY_DEAD, .queue = dtqi_str("q")}, &s), 1);
    world_drop(w, s);
    msg.operate = (struct dtqi_operate){.request = ++w->requests,
                                        .operation = DTQI_DEAD_REQUEUE,
                                        .all = true,
                                        .target = dtqi_str("q")};
    world_msg(w, PRODUCER, &msg);
    world_live(w, 500, &x, NULL);
    s = world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY);
    assert_int_equal(s->msg.operate_reply.count, 1);
    world_drop(w, s);
    assert_int_equal(info_of(w).groups, 1);
    assert_int_equal(got(w, &x, NULL, NULL), 1);
}

static void settings_for_groups_survive_a_restart(void **state)
{
    struct world *w = *state;
    struct dtqi_queue_info q;

    order(w, DTQI_QUEUE_GROUP_LIMIT, 7, 0);
    order(w, DTQI_QUEUE_GROUP_RATE, 10, 60000);
    restart(w);
    q = info_of(w);
    assert_int_equal(q.group_limit, 7);
    assert_int_equal(q.group_rate, 10);
    assert_int_equal(q.group_rate_period_ms, 60000);
}

static void a_sink_that_is_away_keeps_no_other_group_waiting(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t n[64];

    world_sink_hello(w, SINK_ROUTE + 1, 0x99, 0x62); /* and is not heard of any more */
    world_live(w, 1000, NULL, NULL);
    world_submit(w, 1, 20, (struct world_task){.group = "a", .sink = 0x99});
    world_submit(w, 21, 20, (struct world_task){.group = "b", .sink = 0x99, .ordered = true});
    world_submit(w, 41, 20, of_b);
    world_live(w, 4000, NULL, NULL);
    x = world_worker(w, 1, 2, 60);
    world_live(w, 500, &x, NULL);
    assert_int_equal(world_tasks(w, &x, n, NULL, 64), 22); /* two of the sink that is away, R16 */
}

#define GROUP_TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)
#define SMALL_TEST(test) cmocka_unit_test_setup_teardown(test, begin_small, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUP_TEST(groups_have_their_turns),
        GROUP_TEST(tasks_without_a_group_are_one_more),
        GROUP_TEST(a_group_that_comes_late_has_its_turn_at_once),
        GROUP_TEST(priority_comes_before_fair_shares),
        GROUP_TEST(a_new_task_of_higher_priority_takes_its_group_forward),
        SMALL_TEST(a_backlog_beyond_the_window_delays_nobody_else),
        SMALL_TEST(backlogs_of_many_groups_are_worked_off_fairly),
        GROUP_TEST(the_queues_share_as_before),
        GROUP_TEST(suspects_of_groups_are_tried_alone),
        GROUP_TEST(a_group_in_order_runs_one_at_a_time),
        GROUP_TEST(priorities_count_between_groups_in_order_only),
        GROUP_TEST(a_retry_keeps_its_place),
        GROUP_TEST(what_fails_for_good_lets_the_next_one_go),
        GROUP_TEST(a_worker_that_dies_does_not_change_the_order),
        GROUP_TEST(a_suspect_keeps_its_place),
        GROUP_TEST(a_cancelled_task_lets_the_next_one_go),
        GROUP_TEST(a_delayed_task_takes_its_place_when_its_time_comes),
        GROUP_TEST(a_restart_does_not_change_the_order),
        GROUP_TEST(a_retry_keeps_its_place_over_a_restart),
        GROUP_TEST(a_delayed_task_that_was_tried_keeps_its_place_over_a_restart),
        SMALL_TEST(an_order_holds_far_beyond_the_window),
        SMALL_TEST(a_waiting_retry_is_not_evicted),
        GROUP_TEST(each_group_has_its_limit),
        GROUP_TEST(a_limit_of_groups_holds_over_a_restart),
        GROUP_TEST(the_limit_of_a_queue_is_for_all_of_its_groups),
        GROUP_TEST(each_group_has_its_rate),
        GROUP_TEST(a_group_that_comes_back_has_its_rate_still),
        GROUP_TEST(groups_that_end_are_forgotten),
        GROUP_TEST(groups_that_end_soon_never_reach_the_journal),
        SMALL_TEST(there_are_no_more_groups_than_groups_max),
        GROUP_TEST(a_group_may_come_back_while_it_is_forgotten),
        GROUP_TEST(tasks_that_end_unloaded_are_counted),
        GROUP_TEST(what_is_said_of_a_queue_holds_for_its_groups),
        SMALL_TEST(a_purge_finds_what_is_in_the_journal_only),
        GROUP_TEST(tasks_are_listed_by_their_queue),
        cmocka_unit_test(bounds_count_the_groups),
        GROUP_TEST(a_dead_letter_of_a_group_is_one_of_its_queue),
        GROUP_TEST(settings_for_groups_survive_a_restart),
        GROUP_TEST(a_sink_that_is_away_keeps_no_other_group_waiting),
    };

    return cmocka_run_group_tests_name("vent_group", tests, NULL, NULL);
}
