/* The ventilator's core: priorities that rise with waiting (R51). */
#include "vent_world.h"

#define STEP_MS 1000u

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

static dtq_id ids[10000]; /* by number */

static void submit_some(struct world *w, uint32_t first, uint32_t n, const struct world_task *task)
{
    uint64_t request;

    for (uint32_t i = 0; i < n; i++)
        ids[first + i] = world_id_at(first + i, world_wall_ms(w));
    request = world_submit_ids(w, &ids[first], n, task);
    for (int i = 0; i < 50 && !world_confirmed(w, request); i++) {
        world_pass(w, 10);
        assert_int_not_equal(i, 49);
    }
}

/* n tasks that are made now. */
static void submit(struct world *w, uint32_t first, uint32_t n, uint32_t priority,
                   struct world_task task)
{
    task.priority = priority;
    for (uint32_t i = 0; i < n; i += 50) {
        submit_some(w, first + i, n - i < 50 ? n - i : 50, &task);
        if (i % 200 == 150)
            world_live(w, 10, NULL, NULL);
    }
}

static void settle(struct world *w, uint32_t number)
{
    uint32_t kind = DTQ_SUCCEEDED;

    w->settled++;
    world_settled(w, SINK_ROUTE, 0x51, w->settled, w->settled, &ids[number], &kind, NULL, 1);
}

static uint32_t operate(struct world *w, enum dtqi_operation operation, uint64_t period_ms)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};
    struct world_sent *s;
    uint32_t reason;

    msg.operate = (struct dtqi_operate){.request = ++w->requests,
                                        .operation = operation,
                                        .target = dtqi_str("q"),
                                        .period_ms = period_ms};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY);
    reason = s->msg.operate_reply.reason;
    world_drop(w, s);
    return reason;
}

static void age(struct world *w, uint64_t step_ms)
{
    assert_int_equal(operate(w, DTQI_QUEUE_AGEING, step_ms), DTQI_REFUSAL_NONE);
}

static void restart(struct world *w)
{
    world_restart(w);
    world_producer(w, PRODUCER);
    world_sink(w);
    world_clear(w);
}

/* One slot, and no task in stock: what it gets next is decided when it has nothing. */
static struct world_worker worker(struct world *w, uint32_t number)
{
    return world_worker(w, number, 1, 0);
}

/* Its next task, settled at once. 0: it got none for a second. */
static uint32_t next(struct world *w, struct world_worker *x)
{
    uint32_t number = 0;
    uint32_t ticket;

    world_credit(w, x, x->credit_tasks + 1);
    for (int i = 0; i < 100 && number == 0; i++) {
        world_pass(w, 10);
        if (world_tasks(w, x, &number, &ticket, 1) == 0 && i % 20 == 19) {
            world_sink_beat(w, false);
            world_beat(w, x);
        }
    }
    if (number == 0)
        return 0;
    world_done(w, x, &ticket, 1);
    settle(w, number);
    world_sink_beat(w, false);
    world_beat(w, x);
    world_clear(w);
    return number;
}

static void expect_next(struct world *w, struct world_worker *x, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(next(w, x), first + i);
}

static struct dtqi_query_reply ask(struct world *w, const struct dtqi_query *q,
                                   struct world_sent **ret)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY, .query = *q};

    msg.query.request = ++w->requests;
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    *ret = world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
    return (*ret)->msg.query_reply;
}

static uint64_t ageing_of(struct world *w)
{
    struct world_sent *s;
    struct dtqi_query_reply reply = ask(w, &(struct dtqi_query){.kind = DTQI_QUERY_QUEUES}, &s);
    uint64_t ms = reply.queues_n == 1 ? reply.queues[0].ageing_ms : UINT64_MAX;

    world_drop(w, s);
    return ms;
}

static uint64_t before(struct world *w, uint32_t number)
{
    struct dtqi_query q = {
        .kind = DTQI_QUERY_TASK, .prefix = ids[number], .prefix_bits = 128, .explain = true};
    struct world_sent *s;
    struct dtqi_query_reply reply = ask(w, &q, &s);
    uint64_t n = reply.tasks_n == 1 ? reply.tasks[0].before : UINT64_MAX;

    world_drop(w, s);
    return n;
}

static const struct world_task plain = {
    .retries = 2, .backoff_min_ms = 5000, .backoff_max_ms = 5000};

/* ---------------------------------------------------------------- the rule */

static void each_step_of_waiting_is_one_priority(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);

    age(w, STEP_MS);
    submit(w, 1, 1, 3, plain);
    world_live(w, 2000, &x, NULL);
    submit(w, 2, 1, 6, plain); /* the first one counts as 5 now */
    submit(w, 3, 1, 5, plain);
    submit(w, 4, 1, 4, plain);
    expect_next(w, &x, 2, 1);
    expect_next(w, &x, 1, 1);
    expect_next(w, &x, 3, 2);
}

static void without_it_a_low_one_waits_for_ever(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);

    submit(w, 1, 1, 0, plain);
    submit(w, 1000, 1, 9, plain);
    for (uint32_t i = 0; i < 100; i++) {
        submit(w, 1001 + i, 1, 9, plain);
        assert_int_equal(next(w, &x), 1000 + i);
    }
}

static void with_it_the_lowest_has_its_turn_after_nine_steps(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);
    uint64_t begin_ms = w->now_ms;
    uint32_t i = 1000;

    age(w, STEP_MS);
    submit(w, 1, 1, 0, plain);
    submit(w, i, 2, 9, plain);
    for (uint32_t got = 0; got != 1; i++) {
        submit(w, i + 2, 1, 9, plain);
        world_live(w, 200, &x, NULL);
        got = next(w, &x);
        assert_int_equal(got == 1, w->now_ms - begin_ms >= 9 * STEP_MS);
        assert_true(i < 1100);
    }
}

static void between_equal_ones_the_first_comes_first(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);

    age(w, STEP_MS);
    submit(w, 1, 3, 2, plain);
    submit(w, 4, 3, 9, plain);
    submit(w, 7, 3, 0, plain);
    world_live(w, 20000, &x, NULL); /* they all count as 9 */
    expect_next(w, &x, 1, 9);
}

static void it_is_changed_while_tasks_wait(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);

    submit(w, 1, 4, 0, plain);
    world_live(w, 20000, &x, NULL);
    submit(w, 11, 4, 9, plain);
    expect_next(w, &x, 11, 1);
    age(w, STEP_MS);
    expect_next(w, &x, 1, 2);
    age(w, 3600 * 1000);
    expect_next(w, &x, 12, 1);
    age(w, STEP_MS);
    expect_next(w, &x, 3, 1);
    age(w, 0);
    expect_next(w, &x, 13, 2);
    expect_next(w, &x, 4, 1);
}

static void what_is_delayed_has_not_waited(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);
    struct world_task later = plain;

    age(w, STEP_MS);
    later.delay_ms = 10000;
    submit(w, 1, 1, 0, later);
    world_live(w, 11000, &x, NULL); /* it is due for a second */
    submit(w, 2, 1, 2, plain);
    expect_next(w, &x, 2, 1);
    expect_next(w, &x, 1, 1);
}

/* Within a priority the order is that of admission, and its first task counts for all of it. */
static void one_that_was_delayed_holds_up_those_of_its_priority(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    struct world_task later = plain;

    age(w, STEP_MS);
    later.delay_ms = 10000;
    submit(w, 1, 1, 0, later);
    submit(w, 2, 1, 0, plain);
    world_live(w, 10500, NULL, NULL);
    submit(w, 101, 1, 5, plain);
    x = worker(w, 1);
    expect_next(w, &x, 101, 1);
    world_live(w, 9000, &x, NULL);
    submit(w, 102, 1, 9, plain);
    expect_next(w, &x, 1, 2);
    expect_next(w, &x, 102, 1);
}

static void a_time_of_day_counts_from_when_it_came(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    struct world_task later = plain;

    age(w, STEP_MS);
    later.not_before_wall_ms = WORLD_WALL_MS + 10000;
    submit(w, 1, 1, 0, later);
    world_live(w, 13000, NULL, NULL);
    restart(w);
    submit(w, 2, 1, 5, plain);
    submit(w, 3, 1, 1, plain);
    x = worker(w, 1);
    expect_next(w, &x, 2, 1);
    expect_next(w, &x, 1, 1);
}

/* Due, and then out of memory. */
static void what_was_delayed_has_not_waited_in_the_journal_either(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    struct world_task later = plain;

    age(w, STEP_MS);
    later.delay_ms = 20000;
    submit(w, 1, 100, 0, later);
    submit(w, 101, 100, 1, plain);
    world_live(w, 22000, NULL, NULL);
    restart(w);
    submit(w, 5001, 100, 5, plain);
    x = worker(w, 1);
    expect_next(w, &x, 101, 100);
    expect_next(w, &x, 5001, 30);
    for (uint32_t i = 0; i < 170; i++)
        assert_int_not_equal(next(w, &x), 0);
    assert_int_equal(next(w, &x), 0);
}

static void an_id_by_another_clock_has_not_waited(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    struct world_task other = plain;

    age(w, STEP_MS);
    world_live(w, 10000, NULL, NULL);
    other.id_clock_ms = 10000;
    world_submit(w, 1, 1, other);
    world_live(w, 500, NULL, NULL);
    submit(w, 2, 1, 3, plain);
    x = worker(w, 1);
    expect_next(w, &x, 2, 1);
}

static void a_retry_counts_from_when_it_is_due(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);
    uint32_t number;
    uint32_t ticket;

    age(w, STEP_MS);
    submit(w, 1, 1, 0, plain);
    world_credit(w, &x, 1);
    world_pass(w, 10);
    assert_int_equal(world_tasks(w, &x, &number, &ticket, 1), 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_live(w, 6000, &x, NULL);
    submit(w, 2, 1, 3, plain);
    expect_next(w, &x, 2, 1);
    expect_next(w, &x, 1, 1);
}

static void what_is_explained_counts_what_has_risen(void **state)
{
    struct world *w = *state;

    submit(w, 1, 5, 0, plain);
    world_live(w, 20000, NULL, NULL);
    submit(w, 11, 3, 9, plain);
    assert_int_equal(before(w, 12), 1);
    assert_int_equal(before(w, 2), 4);
    age(w, STEP_MS);
    assert_int_equal(before(w, 12), 6);
    assert_int_equal(before(w, 2), 1);
}

static void a_step_without_end_is_refused(void **state)
{
    struct world *w = *state;

    assert_int_equal(operate(w, DTQI_QUEUE_AGEING, DTQI_DURATION_MS_MAX + 1), DTQI_BAD_TASK);
    age(w, DTQI_DURATION_MS_MAX);
    assert_int_equal(ageing_of(w), DTQI_DURATION_MS_MAX);
}

/* ---------------------------------------------------------------- restarts */

static void it_goes_on_after_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    age(w, STEP_MS);
    submit(w, 1, 1, 1, plain);
    world_live(w, 3000, NULL, NULL);
    restart(w);
    assert_int_equal(ageing_of(w), STEP_MS);
    world_live(w, 3000, NULL, NULL);
    submit(w, 2, 1, 8, plain); /* the first one counts as 7 now */
    submit(w, 3, 1, 6, plain);
    x = worker(w, 1);
    expect_next(w, &x, 2, 1);
    expect_next(w, &x, 1, 1);
    expect_next(w, &x, 3, 1);
    age(w, 0);
    restart(w);
    assert_int_equal(ageing_of(w), 0);
}

/* ---------------------------------------------------------------- beyond the window */

/* The next `n`, each once, those of each thousand of numbers in order. `seen`: so many of each have
 * gone. */
static void drain_some(struct world *w, struct world_worker *x, uint32_t n, uint32_t seen[10])
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = next(w, x);

        assert_int_not_equal(number, 0);
        assert_int_equal(number % 1000, ++seen[number / 1000]);
    }
}

static void drain_all(struct world *w, struct world_worker *x, uint32_t n, uint32_t seen[10])
{
    drain_some(w, x, n, seen);
    assert_int_equal(next(w, x), 0);
}

static void low_ones_far_behind_the_window_have_their_turn(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t seen[10] = {150};

    age(w, STEP_MS);
    submit(w, 1, 200, 0, plain);
    world_live(w, 9000, NULL, NULL);
    submit(w, 9001, 400, 9, plain);
    submit(w, 5001, 200, 5, plain);
    assert_true(vent_counters(w->v)->tasks_evicted > 500);
    x = worker(w, 1);
    expect_next(w, &x, 1, 150);
    drain_all(w, &x, 650, seen);
}

static void all_priorities_come_from_the_journal(void **state)
{
    struct world *w = *state;
    uint32_t seen[10] = {0};
    struct world_worker x;

    age(w, 20);
    for (uint32_t p = 0; p < 10; p++)
        submit(w, 1000 * p + 1, 100, p, plain);
    x = worker(w, 1);
    drain_all(w, &x, 1000, seen);
}

static void it_is_switched_on_with_a_backlog(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);

    submit(w, 1001, 100, 1, plain);
    submit(w, 9001, 400, 9, plain);
    world_live(w, 20000, &x, NULL);
    expect_next(w, &x, 9001, 20);
    age(w, STEP_MS);
    world_live(w, 200, &x, NULL);
    expect_next(w, &x, 1001, 100);
    expect_next(w, &x, 9021, 10);
    age(w, 0);
    submit(w, 2001, 50, 2, plain);
    expect_next(w, &x, 9031, 370);
    expect_next(w, &x, 2001, 50);
    assert_int_equal(next(w, &x), 0);
}

static void low_ones_behind_the_window_rise_over_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    age(w, STEP_MS);
    submit(w, 1, 100, 0, plain);
    world_live(w, 10000, NULL, NULL);
    submit(w, 9001, 300, 9, plain);
    x = worker(w, 1);
    expect_next(w, &x, 1, 40);
    world_live(w, 500, &x, NULL);
    restart(w);
    x = worker(w, 2);
    world_live(w, 8000, &x, NULL); /* R33 */
    expect_next(w, &x, 41, 60);
    expect_next(w, &x, 9001, 300);
    assert_int_equal(next(w, &x), 0);
}

/* The high ones keep coming, and more of them than there is room for. */
static void a_flood_does_not_keep_low_ones_in_the_journal(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);
    struct vent_census census;
    uint32_t flood = 9000;
    uint32_t low = 1;

    age(w, 100);
    submit(w, 1, 200, 0, plain);
    while (low <= 200) {
        uint32_t number;

        submit(w, flood + 1, 3, 9, plain);
        flood += 3;
        number = next(w, &x);
        if (number < 9000)
            assert_int_equal(number, low++);
        vent_census(w->v, &census);
        assert_true(census.tasks <= 230);
        assert_true(flood < 9000 + 3 * 300);
    }
}

/* ---------------------------------------------------------------- groups */

static const struct world_task of_a = {.group = "a"};
static const struct world_task of_b = {.group = "b"};

static void a_low_task_of_a_group_has_its_turn(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);

    age(w, STEP_MS);
    submit(w, 1, 1, 0, of_a);
    world_live(w, 12000, &x, NULL);
    submit(w, 11, 4, 9, of_a); /* the same group */
    submit(w, 21, 4, 9, of_b);
    expect_next(w, &x, 1, 1);
    expect_next(w, &x, 21, 1);
    expect_next(w, &x, 11, 1);
}

static void what_has_risen_does_not_push_in_before_other_groups(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);

    age(w, STEP_MS);
    submit(w, 1, 50, 2, of_a);
    world_live(w, 20000, &x, NULL);
    submit(w, 101, 3, 9, of_b);
    for (uint32_t i = 0; i < 3; i++) {
        expect_next(w, &x, 1 + i, 1);
        expect_next(w, &x, 101 + i, 1);
    }
    expect_next(w, &x, 4, 47);
}

static void a_group_of_low_ones_has_its_turn(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);
    uint32_t i = 9000;

    age(w, STEP_MS);
    submit(w, 1, 3, 0, of_a);
    submit(w, i, 2, 9, of_b);
    for (uint32_t low = 1; low <= 3; i++) {
        uint32_t number;

        submit(w, i + 2, 1, 9, of_b);
        world_live(w, 200, &x, NULL);
        number = next(w, &x);
        low += number == low;
        assert_true(i < 9100);
    }
}

static void a_group_in_order_keeps_it(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);
    struct world_task in_order = {.group = "o", .ordered = true};

    age(w, STEP_MS);
    submit(w, 1, 1, 0, in_order);
    submit(w, 2, 1, 9, in_order);
    submit(w, 3, 1, 4, in_order);
    submit(w, 11, 1, 3, plain);
    expect_next(w, &x, 11, 1);
    world_live(w, 3500, &x, NULL);
    submit(w, 12, 1, 3, plain); /* the first one counts as 4 now, at least */
    expect_next(w, &x, 1, 3);
    expect_next(w, &x, 12, 1);
}

static void groups_behind_the_window_rise(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t seen[4] = {0};

    age(w, STEP_MS);
    submit(w, 1, 60, 0, of_a);
    submit(w, 1001, 60, 0, of_b);
    world_live(w, 10000, NULL, NULL);
    submit(w, 2001, 200, 9, of_a);
    submit(w, 3001, 200, 9, of_b);
    assert_true(vent_counters(w->v)->tasks_evicted > 200);
    x = worker(w, 1);
    world_live(w, 300, &x, NULL); /* what somebody serves is loaded */
    for (uint32_t i = 0; i < 520; i++) {
        uint32_t number = next(w, &x);

        assert_int_equal(number % 1000, ++seen[number / 1000]);
        if (number > 2000) /* the low ones of the group went before */
            assert_int_equal(seen[number / 1000 - 2], 60);
    }
    assert_int_equal(next(w, &x), 0);
}

/* ---------------------------------------------------------------- at random */

struct model {
    uint64_t ready_ms[301];
    uint32_t priority[301];
    bool done[301];
    uint32_t n;
};

static uint64_t level(const struct world *w, const struct model *m, uint32_t i)
{
    uint64_t level = m->priority[i] + (w->now_ms - m->ready_ms[i]) / STEP_MS;

    return level < 9 ? level : 9;
}

static uint32_t best_of(const struct world *w, const struct model *m)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i <= m->n; i++)
        if (!m->done[i] && (best == 0 || level(w, m, i) > level(w, m, best)))
            best = i;
    return best;
}

/* What comes first of each priority decides, so that is compared as the rule has it, task by task.
 */
static void the_order_is_that_of_the_rule(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker(w, 1);
    static struct model m;
    uint64_t random = 7;

    memset(&m, 0, sizeof m);
    age(w, STEP_MS);
    for (uint32_t done = 0; done < 300;) {
        random = dtqi_mix64(random + 1);
        if (m.n < 300 && random % 3 != 0) {
            m.priority[++m.n] = (uint32_t)(random >> 8) % 10;
            m.ready_ms[m.n] = w->now_ms;
            submit(w, m.n, 1, m.priority[m.n], plain);
        } else if (done < m.n) {
            uint32_t expected = best_of(w, &m);
            uint32_t number;
            uint32_t ticket;

            world_credit(w, &x, x.credit_tasks + 1);
            world_tick(w);
            assert_int_equal(world_tasks(w, &x, &number, &ticket, 1), 1);
            assert_int_equal(number, expected);
            m.done[number] = true;
            done++;
            world_done(w, &x, &ticket, 1);
            settle(w, number);
            world_live(w, random >> 16 & 255, &x, NULL);
            world_clear(w);
        }
    }
}

/* Tasks of each priority, made and seen. */
struct tally {
    uint32_t made[10];
    uint32_t seen[10];
};

static void burst(struct world *w, struct tally *t, uint64_t random)
{
    uint32_t priority = (uint32_t)(random >> 8) % 10;
    uint32_t n = 1 + (uint32_t)(random >> 16) % 40;

    if (t->made[priority] + n >= 999)
        return;
    submit(w, 1000 * priority + 1 + t->made[priority], n, priority, plain);
    t->made[priority] += n;
}

static uint32_t left_of(const struct tally *t)
{
    uint32_t n = 0;

    for (uint32_t p = 0; p < 10; p++)
        n += t->made[p] - t->seen[p];
    return n;
}

static void random_load(struct world *w, uint64_t random)
{
    static const uint64_t steps_ms[] = {0, 1, 20, 1000};
    struct world_worker x = worker(w, 1);
    struct tally t = {0};

    for (uint32_t i = 0; i < 1500; i++) {
        random = dtqi_mix64(random + i);
        if (random % 50 == 0)
            age(w, steps_ms[random >> 40 & 3]);
        else if (random % 16 == 1)
            burst(w, &t, random);
        else if (left_of(&t) != 0)
            drain_some(w, &x, 1, t.seen);
    }
    age(w, 100);
    drain_some(w, &x, left_of(&t), t.seen);
    assert_memory_equal(t.seen, t.made, sizeof t.seen);
}

/* Whatever is in memory and what is not, and however often that and the rule change. */
static void each_priority_stays_in_order(void **state)
{
    const char *from = getenv("VENT_RANDOM_FROM"); /* other seeds, by hand */
    const char *to = getenv("VENT_RANDOM_TO");
    uint64_t last = to != NULL ? strtoull(to, NULL, 10) : 10;

    for (uint64_t i = from != NULL ? strtoull(from, NULL, 10) : 1; i < last; i++) {
        print_message("seed %llu\n", (unsigned long long)i);
        random_load(*state, i);
        end(state);
        begin_small(state);
    }
}

#define STORY(test) cmocka_unit_test_setup_teardown(test, begin, end)
#define SMALL(test) cmocka_unit_test_setup_teardown(test, begin_small, end)

/* What was ahead of the window is behind it. */
static void lower_priorities_leave_memory_when_ageing_ends(void **state)
{
    struct world *w = *state;
    struct world_worker x;
    uint32_t got[256];
    uint32_t tickets[256];
    uint32_t n;

    age(w, STEP_MS);
    submit(w, 1, 200, 5, plain);
    submit(w, 201, 20, 1, plain);
    x = world_worker(w, 1, 1, 0); /* for which V reads some of each */
    world_live(w, 200, &x, NULL);
    age(w, 0);
    world_credit(w, &x, 200);
    world_live(w, 500, &x, NULL);
    n = world_tasks(w, &x, got, tickets, 256);
    assert_int_equal(n, 200);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(got[i], i + 1);
}

/* ---------------------------------------------------------------- large tasks */

/* 600 of 16 KiB, in a memory of 4 MiB. */
static void submit_large_tasks(void **state, uint64_t step_ms, bool has_groups)
{
    static char body[16 * 1024];
    struct world_task large = plain;
    struct vent_cfg cfg;
    struct world *w;
    struct world_worker x;
    char name[8];

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.resident_bytes_max = 4 << 20;
    cfg.load_bytes = 128 << 10;
    w = world_new(&cfg);
    *state = w;
    world_sink(w);
    world_producer(w, PRODUCER);
    x = world_worker(w, 1, 1, 0);
    age(w, step_ms);
    large.body = body;
    large.body_len = sizeof body;
    for (uint32_t i = 0; i < 600; i++) {
        snprintf(name, sizeof name, "g%u", i / 10);
        large.group = has_groups ? name : NULL;
        submit(w, 1 + i, 1, i % 10, large);
        if (i % 20 == 0)
            world_live(w, 10, &x, NULL);
    }
}

static void large_tasks_of_all_priorities_leave_room_for_new_ones(void **state)
{
    submit_large_tasks(state, STEP_MS, false);
}

static void so_do_those_of_many_groups(void **state)
{
    submit_large_tasks(state, STEP_MS, true);
}

static void reads_of_large_tasks_do_not_fill_the_same_room(void **state)
{
    submit_large_tasks(state, 0, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(each_step_of_waiting_is_one_priority),
        STORY(without_it_a_low_one_waits_for_ever),
        STORY(with_it_the_lowest_has_its_turn_after_nine_steps),
        STORY(between_equal_ones_the_first_comes_first),
        STORY(it_is_changed_while_tasks_wait),
        STORY(what_is_delayed_has_not_waited),
        STORY(one_that_was_delayed_holds_up_those_of_its_priority),
        STORY(a_time_of_day_counts_from_when_it_came),
        SMALL(what_was_delayed_has_not_waited_in_the_journal_either),
        STORY(an_id_by_another_clock_has_not_waited),
        STORY(a_retry_counts_from_when_it_is_due),
        STORY(what_is_explained_counts_what_has_risen),
        STORY(a_step_without_end_is_refused),
        STORY(it_goes_on_after_a_restart),
        SMALL(low_ones_far_behind_the_window_have_their_turn),
        SMALL(all_priorities_come_from_the_journal),
        SMALL(it_is_switched_on_with_a_backlog),
        SMALL(low_ones_behind_the_window_rise_over_a_restart),
        SMALL(a_flood_does_not_keep_low_ones_in_the_journal),
        STORY(a_low_task_of_a_group_has_its_turn),
        STORY(what_has_risen_does_not_push_in_before_other_groups),
        STORY(a_group_of_low_ones_has_its_turn),
        STORY(a_group_in_order_keeps_it),
        SMALL(groups_behind_the_window_rise),
        STORY(the_order_is_that_of_the_rule),
        SMALL(each_priority_stays_in_order),
        SMALL(lower_priorities_leave_memory_when_ageing_ends),
        cmocka_unit_test_teardown(large_tasks_of_all_priorities_leave_room_for_new_ones, end),
        cmocka_unit_test_teardown(so_do_those_of_many_groups, end),
        cmocka_unit_test_teardown(reads_of_large_tasks_do_not_fill_the_same_room, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
