/* The ventilator's core: what waits in a queue goes to another one (R46). */
#include "vent_world.h"

#define MANY 5000u

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

/* After a kill -9: peers come back, and what is held is let go (R33). */
static void restart(struct world *w)
{
    world_restart(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_live(w, 6000, NULL, NULL);
    world_clear(w);
}

static void ask(struct world *w, const char *from, const char *to, const dtq_id *after)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    world_clear(w);
    msg.operate = (struct dtqi_operate){.operation = DTQI_QUEUE_MOVE,
                                        .request = ++w->requests,
                                        .target = dtqi_str(from),
                                        .destination = dtqi_str(to)};
    if (after != NULL) {
        msg.operate.has_after = true;
        msg.operate.after = *after;
    }
    world_msg(w, PRODUCER, &msg);
}

static struct dtqi_operate_reply answer(struct world *w)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY);
    struct dtqi_operate_reply reply = s->msg.operate_reply;

    assert_int_equal(reply.request, w->requests);
    return reply;
}

static struct dtqi_operate_reply page(struct world *w, const dtq_id *after)
{
    ask(w, "a", "b", after);
    world_tick(w);
    return answer(w);
}

/* All pages; so many tasks. */
static uint64_t move(struct world *w)
{
    struct dtqi_operate_reply r = {0};
    uint64_t n = 0;

    do {
        dtq_id after = r.next;

        r = page(w, r.has_next ? &after : NULL);
        assert_int_equal(r.reason, DTQI_REFUSAL_NONE);
        n += r.count;
    } while (r.has_next);
    return n;
}

static struct dtqi_queue_info queue_info(struct world *w, const char *name)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY,
                           .query = {.request = ++w->requests, .kind = DTQI_QUERY_QUEUES}};
    const struct dtqi_query_reply *r;

    world_clear(w);
    world_msg(w, PRODUCER, &msg);
    r = &world_take(w, WORLD_SEND, DTQI_QUERY_REPLY)->msg.query_reply;
    for (uint32_t i = 0; i < r->queues_n; i++)
        if (dtqi_str_eq(r->queues[i].name, dtqi_str(name)))
            return r->queues[i];
    return (struct dtqi_queue_info){0};
}

static void expect_waiting(struct world *w, uint64_t in_a, uint64_t in_b)
{
    struct dtqi_queue_info a = queue_info(w, "a");
    struct dtqi_queue_info b = queue_info(w, "b");

    assert_int_equal(a.ready + a.scheduled, in_a);
    assert_int_equal(b.ready + b.scheduled, in_b);
    if (in_a == 0)
        assert_int_equal(a.bytes, 0);
}

static struct dtqi_task_info shown(struct world *w, uint32_t n)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY,
                           .query = {.request = ++w->requests,
                                     .kind = DTQI_QUERY_TASK,
                                     .prefix = world_id(n),
                                     .prefix_bits = 128}};
    const struct dtqi_query_reply *r;

    world_clear(w);
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    r = &world_take(w, WORLD_SEND, DTQI_QUERY_REPLY)->msg.query_reply;
    assert_int_equal(r->tasks_n, 1);
    return r->tasks[0];
}

static void expect_queue(struct world *w, uint32_t n, const char *queue)
{
    assert_true(dtqi_str_eq(shown(w, n).spec.queue, dtqi_str(queue)));
}

/* A worker of one queue. */
static struct world_worker numbered_worker_of(struct world *w, uint8_t number, const char *queue,
                                              uint64_t credit)
{
    struct world_worker x = {
        .route = WORKER_ROUTE + number, .instance = (uint8_t)(0x80 + number), .slots = 1};

    world_worker_hello(w, &x, queue, 0);
    world_credit(w, &x, credit);
    world_tick(w);
    return x;
}

static struct world_worker worker_of(struct world *w, const char *queue, uint64_t credit)
{
    return numbered_worker_of(w, 7, queue, credit);
}

/* What the worker gets, one after the other, each of which succeeds. */
static void expect_order(struct world *w, struct world_worker *x, const uint32_t *numbers,
                         uint32_t n)
{
    for (uint32_t i = 0; i < n;) {
        uint32_t got[4096];
        uint32_t tickets[4096];
        uint32_t some = world_tasks(w, x, got, tickets, 4096);

        assert_true(some != 0);
        for (uint32_t k = 0; k < some; k++, i++) {
            assert_int_equal(got[k], numbers != NULL ? numbers[i] : i + 1);
            world_settle(w, got[k], DTQ_SUCCEEDED);
        }
        world_done(w, x, tickets, some);
        world_pass(w, 200);
    }
}

/* ---------------------------------------------------------------- what is moved */

static void what_waits_goes_to_the_other_queue_in_its_order(void **state)
{
    static const uint32_t order[] = {3, 1, 10, 2};
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 1, (struct world_task){.queue = "a", .priority = 5});
    world_submit(w, 10, 1, (struct world_task){.queue = "b", .priority = 5});
    world_submit(w, 2, 1, (struct world_task){.queue = "a", .priority = 5});
    world_submit(w, 3, 1, (struct world_task){.queue = "a", .priority = 9});
    world_pass(w, 300);
    assert_int_equal(move(w), 3);
    expect_waiting(w, 0, 4);
    for (uint32_t n = 1; n <= 3; n++)
        expect_queue(w, n, "b");
    restart(w);
    expect_waiting(w, 0, 4);
    expect_queue(w, 2, "b");
    x = worker_of(w, "b", 100);
    expect_order(w, &x, order, 4);
}

static void what_waits_for_its_time_goes_on_waiting(void **state)
{
    struct world *w = *state;
    uint64_t due_ms = world_wall_ms(w) + 60000;
    struct world_worker x;

    world_submit(w, 1, 2, (struct world_task){.queue = "a", .not_before_wall_ms = due_ms});
    world_pass(w, 300);
    assert_int_equal(move(w), 2);
    assert_int_equal(queue_info(w, "b").scheduled, 2);
    assert_int_equal(shown(w, 1).state, DTQ_SCHEDULED);
    restart(w);
    assert_int_equal(queue_info(w, "a").scheduled, 0);
    assert_int_equal(queue_info(w, "b").scheduled, 2);
    assert_int_equal(shown(w, 2).due_wall_ms, due_ms);
    x = worker_of(w, "b", 10);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
    world_live(w, 60000, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 2);
}

static void attempts_and_history_go_along(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker_of(w, "a", 10);
    struct dtqi_task_info t;

    world_submit(w, 1, 1,
                 (struct world_task){
                     .queue = "a", .retries = 5, .backoff_min_ms = 60000, .backoff_max_ms = 60000});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_live(w, 300, &x, NULL);
    assert_int_equal(move(w), 1);
    restart(w);
    t = shown(w, 1);
    assert_true(dtqi_str_eq(t.spec.queue, dtqi_str("b")));
    assert_int_equal(t.state, DTQ_SCHEDULED);
    assert_int_equal(t.attempt, 1);
    assert_int_equal(t.failures, 1);
    assert_int_equal(t.attempts_n, 1);
}

static void what_a_worker_holds_stays(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker_of(w, "a", 1);
    struct dtqi_task_info t;

    world_submit(w, 1, 2, (struct world_task){.queue = "a"});
    world_live(w, 300, &x, NULL);
    assert_int_equal(move(w), 1);
    t = shown(w, 1);
    assert_int_equal(t.state, DTQ_DISPATCHED);
    assert_true(dtqi_str_eq(t.spec.queue, dtqi_str("a")));
    expect_queue(w, 2, "b");
}

static void what_is_cancelled_stays(void **state)
{
    struct world *w = *state;
    dtq_id id = world_id(1);
    struct dtqi_msg msg = {.type = DTQI_CANCEL};

    world_submit(w, 1, 2, (struct world_task){.queue = "a"});
    world_pass(w, 300);
    msg.cancel = (struct dtqi_cancel){.request = ++w->requests, .ids = &id, .n = 1};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    assert_int_equal(move(w), 1);
    expect_queue(w, 1, "a");
}

/* ---------------------------------------------------------------- the journal */

static void a_page_is_answered_after_its_commit(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 2, (struct world_task){.queue = "a"});
    world_pass(w, 300);
    ask(w, "a", "b", NULL);
    world_journal(w); /* it is read */
    w->journal_err = DTQ_ENOSPC;
    world_tick(w);
    world_pass(w, 300);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    w->journal_err = DTQ_OK;
    world_pass(w, 2000);
    assert_int_equal(answer(w).count, 2);
    restart(w);
    expect_waiting(w, 0, 2);
}

/* In no batch yet, and in the one that is under way with the old queue in it. */
static void what_is_not_written_yet_is_moved_too(void **state)
{
    struct world *w = *state;
    uint64_t request;

    w->journal_stuck = true;
    request = world_submit(w, 1, 2, (struct world_task){.queue = "a"});
    world_pass(w, 300);
    world_submit(w, 3, 1, (struct world_task){.queue = "a"});
    ask(w, "a", "b", NULL);
    w->journal_stuck = false;
    world_pass(w, 300);
    assert_int_equal(answer(w).count, 3);
    assert_true(world_confirmed(w, request));
    expect_waiting(w, 0, 3);
    restart(w);
    expect_waiting(w, 0, 3);
    expect_queue(w, 1, "b");
    expect_queue(w, 3, "b");
}

static void submit_many_of(struct world *w, struct world_task task)
{
    for (uint32_t n = 1; n <= MANY; n += 500) {
        world_submit(w, n, 500, task);
        world_live(w, 200, NULL, NULL);
    }
    world_clear(w);
}

static void submit_many(struct world *w)
{
    submit_many_of(w, (struct world_task){.queue = "a"});
}

static void a_backlog_that_memory_has_no_room_for_is_moved(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    submit_many(w);
    assert_int_equal(move(w), MANY);
    expect_waiting(w, 0, MANY);
    restart(w);
    expect_waiting(w, 0, MANY);
    x = worker_of(w, "b", MANY);
    expect_order(w, &x, NULL, MANY);
}

static void a_kill_in_the_middle_leaves_each_task_in_one_queue(void **state)
{
    struct world *w = *state;
    struct dtqi_operate_reply r;
    struct world_worker x;
    dtq_id after;

    submit_many(w);
    r = page(w, NULL);
    assert_true(r.has_next);
    after = r.next;
    ask(w, "a", "b", &after);
    world_journal(w);
    w->journal_stuck = true;
    world_tick(w);
    w->journal_stuck = false;
    restart(w);
    expect_waiting(w, MANY - r.count, r.count);
    assert_int_equal(move(w), MANY - r.count);
    expect_waiting(w, 0, MANY);
    x = worker_of(w, "b", MANY);
    expect_order(w, &x, NULL, MANY);
}

static void a_moved_task_that_runs_and_ends_before_its_commit_is_gone(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker_of(w, "b", 10);
    uint32_t ticket;

    world_submit(w, 1, 1, (struct world_task){.queue = "a"});
    world_live(w, 300, &x, NULL);
    ask(w, "a", "b", NULL);
    world_journal(w);
    w->journal_stuck = true;
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, &ticket, 1), 1);
    world_done(w, &x, &ticket, 1);
    world_settle(w, 1, DTQ_SUCCEEDED);
    w->journal_stuck = false;
    world_pass(w, 300);
    assert_int_equal(answer(w).count, 1);
    expect_waiting(w, 0, 0);
    restart(w);
    expect_waiting(w, 0, 0);
}

/* ---------------------------------------------------------------- what else knows the task */

static void a_task_that_is_sent_again_after_it_was_moved_is_no_conflict(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){.queue = "a"});
    world_pass(w, 300);
    assert_int_equal(move(w), 1);
    world_clear(w);
    world_submit(w, 1, 1, (struct world_task){.queue = "a", .resend = true});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
    world_submit(w, 1, 1, (struct world_task){.queue = "a", .priority = 3, .resend = true});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_CONFLICT);
    world_submit(w, 1, 1, (struct world_task){.queue = "b", .resend = true});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_CONFLICT); /* nobody submitted that */
    ask(w, "b", "c", NULL);
    world_tick(w);
    assert_int_equal(answer(w).count, 1);
    world_clear(w);
    world_submit(w, 1, 1, (struct world_task){.queue = "a", .resend = true});
    world_tick(w);
    assert_int_equal(world_refused(w), DTQI_REFUSAL_NONE);
}

static void a_key_stays_with_its_task(void **state)
{
    struct world *w = *state;
    struct world_sent *s;
    dtq_id first = world_id(1);

    world_submit(w, 1, 1, (struct world_task){.queue = "a", .key = "order-1"});
    world_pass(w, 300);
    assert_int_equal(move(w), 1);
    world_clear(w);
    world_submit(w, 2, 1, (struct world_task){.queue = "a", .key = "order-1"});
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_SUBMITTED);
    assert_int_equal(s->msg.submitted.same_n, 1);
    assert_true(dtqi_id_eq(&s->msg.submitted.same_ids[0], &first));
}

/* ---------------------------------------------------------------- refusals */

static void expect_refused(struct world *w, const char *from, const char *to,
                           enum dtqi_refusal reason)
{
    ask(w, from, to, NULL);
    assert_int_equal(answer(w).reason, reason);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 1, (struct world_task){.queue = "a"});
    world_pass(w, 300);
    expect_refused(w, "nobodys", "b", DTQI_BAD_TASK);
    expect_refused(w, "a", "a", DTQI_BAD_TASK);
    expect_refused(w, "a", "", DTQI_BAD_TASK);
    expect_refused(w, "a", "two words", DTQI_BAD_TASK);
    ask(w, "a", "b", NULL);
    expect_refused(w, "a", "c", DTQI_BUSY);
    world_tick(w);
    expect_queue(w, 1, "b");
}

static void nothing_is_moved_while_workers_may_hold_what_was_recovered(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker_of(w, "a", 0);

    world_submit(w, 1, 1, (struct world_task){.queue = "a"});
    world_live(w, 300, &x, NULL);
    world_restart(w);
    world_producer(w, PRODUCER);
    expect_refused(w, "a", "b", DTQI_BUSY);
    world_sink(w);
    world_live(w, 6000, NULL, NULL);
    assert_int_equal(move(w), 1);
}

static void a_queue_that_is_being_purged_is_not_moved(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_OPERATE,
                           .operate = {.operation = DTQI_QUEUE_PURGE, .target = dtqi_str("b")}};

    world_submit(w, 1, 1, (struct world_task){.queue = "a"});
    world_submit(w, 2, 1, (struct world_task){.queue = "b"});
    world_pass(w, 300);
    world_msg(w, PRODUCER, &msg);
    expect_refused(w, "a", "b", DTQI_BUSY);
    expect_refused(w, "b", "a", DTQI_BUSY);
    world_settle(w, 2, DTQ_CANCELLED);
    world_live(w, 1000, NULL, NULL);
    assert_int_equal(move(w), 1);
}

/* ---------------------------------------------------------------- groups */

static const struct world_task ordered_of_a = {.queue = "a",
                                               .group = "g",
                                               .ordered = true,
                                               .retries = 3,
                                               .backoff_min_ms = 5000,
                                               .backoff_max_ms = 5000};

/* What the worker gets now; 0: nothing. */
static uint32_t next_of(struct world *w, struct world_worker *x)
{
    uint32_t numbers[8];
    uint32_t n;

    world_pass(w, 5);
    n = world_tasks(w, x, numbers, NULL, 8);
    assert_true(n <= 1);
    return n == 1 ? numbers[0] : 0;
}

static void expect_one_by_one(struct world *w, struct world_worker *x, uint32_t first,
                              uint32_t last)
{
    for (uint32_t i = first; i <= last; i++) {
        assert_int_equal(next_of(w, x), i);
        assert_int_equal(next_of(w, x), 0);
        world_settle(w, i, DTQ_SUCCEEDED);
    }
    assert_int_equal(next_of(w, x), 0);
}

/* Also the admitted order of what is in the journal only. */
static void a_group_in_order_keeps_its_order_in_the_other_queue(void **state)
{
    struct world *w = *state;
    struct world_task high = ordered_of_a;
    struct world_worker x;

    high.priority = 9;
    world_submit(w, 1, 2, ordered_of_a);
    world_submit(w, 3, 1, (struct world_task){.queue = "b", .group = "g", .ordered = true});
    world_submit(w, 4, 1, high);
    world_pass(w, 300);
    assert_int_equal(move(w), 3);
    expect_waiting(w, 0, 4);
    x = worker_of(w, "b", 10);
    expect_one_by_one(w, &x, 1, 4);
}

static void a_group_that_is_moved_while_one_runs_goes_on_in_the_other_queue(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker_of(w, "a", 10);
    struct world_worker y;

    world_submit(w, 1, 3, ordered_of_a);
    assert_int_equal(next_of(w, &x), 1);
    assert_int_equal(move(w), 2);
    expect_queue(w, 1, "a");
    world_submit(w, 4, 1, ordered_of_a); /* of the first queue, behind what runs there */
    assert_int_equal(next_of(w, &x), 0);
    y = numbered_worker_of(w, 8, "b", 10);
    expect_one_by_one(w, &y, 2, 3);
    world_settle(w, 1, DTQ_SUCCEEDED);
    assert_int_equal(next_of(w, &x), 4);
}

static void a_group_waits_in_the_other_queue_for_the_retry_that_it_waited_for(void **state)
{
    struct world *w = *state;
    struct world_worker x = worker_of(w, "a", 10);
    struct world_worker y;

    world_submit(w, 1, 2, ordered_of_a);
    assert_int_equal(next_of(w, &x), 1);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_live(w, 300, &x, NULL);
    assert_int_equal(move(w), 2);
    y = numbered_worker_of(w, 8, "b", 10);
    assert_int_equal(next_of(w, &y), 0);
    world_live(w, 5000, &x, &y);
    expect_one_by_one(w, &y, 1, 2);
}

/* Over a restart, too, which finds one half of the group in each queue. */
static void a_kill_in_the_middle_of_moving_a_group_keeps_the_order_of_each_half(void **state)
{
    struct world *w = *state;
    struct dtqi_operate_reply r;
    struct world_worker x;
    struct world_worker y;

    submit_many_of(w, ordered_of_a);
    r = page(w, NULL);
    assert_true(r.has_next);
    restart(w);
    expect_waiting(w, MANY - r.count, r.count);
    x = worker_of(w, "a", MANY);
    y = numbered_worker_of(w, 8, "b", MANY);
    for (uint32_t i = 1; i <= 20; i++) {
        assert_int_equal(next_of(w, &y), i);
        assert_int_equal(next_of(w, &x), r.count + i);
        world_settle(w, i, DTQ_SUCCEEDED);
        world_settle(w, (uint32_t)r.count + i, DTQ_SUCCEEDED);
    }
}

static void each_group_has_the_limit_of_the_queue_that_it_is_in(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_OPERATE};
    struct world_worker x;
    uint32_t numbers[16];

    msg.operate = (struct dtqi_operate){.operation = DTQI_QUEUE_GROUP_LIMIT,
                                        .request = ++w->requests,
                                        .target = dtqi_str("b"),
                                        .number = 2};
    world_msg(w, PRODUCER, &msg);
    world_submit(w, 1, 5, (struct world_task){.queue = "a", .group = "g"});
    world_submit(w, 11, 1, (struct world_task){.queue = "b", .group = "g"});
    world_submit(w, 21, 5, (struct world_task){.queue = "a", .group = "h"});
    world_pass(w, 300);
    assert_int_equal(move(w), 10);
    x = worker_of(w, "b", 100);
    assert_int_equal(world_tasks(w, &x, numbers, NULL, 16), 4);
    world_settle(w, numbers[0], DTQ_SUCCEEDED);
    world_pass(w, 50);
    assert_int_equal(world_tasks(w, &x, numbers, NULL, 16), 1);
}

/* The fair shares are those of the groups that are there. */
static void moved_groups_have_their_turns_in_the_other_queue(void **state)
{
    struct world *w = *state;
    uint32_t of_h = 0;
    struct world_worker x;
    uint32_t numbers[16];

    world_submit(w, 1, 50, (struct world_task){.queue = "b", .group = "g"});
    world_submit(w, 101, 5, (struct world_task){.queue = "a", .group = "h"});
    world_pass(w, 300);
    assert_int_equal(move(w), 5);
    x = worker_of(w, "b", 10);
    assert_int_equal(world_tasks(w, &x, numbers, NULL, 16), 10);
    for (uint32_t i = 0; i < 10; i++)
        of_h += numbers[i] > 100;
    assert_int_equal(of_h, 5);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_waits_goes_to_the_other_queue_in_its_order),
        T(what_waits_for_its_time_goes_on_waiting),
        T(attempts_and_history_go_along),
        T(what_a_worker_holds_stays),
        T(what_is_cancelled_stays),
        T(a_page_is_answered_after_its_commit),
        T(what_is_not_written_yet_is_moved_too),
        T(a_backlog_that_memory_has_no_room_for_is_moved),
        T(a_kill_in_the_middle_leaves_each_task_in_one_queue),
        T(a_moved_task_that_runs_and_ends_before_its_commit_is_gone),
        T(a_task_that_is_sent_again_after_it_was_moved_is_no_conflict),
        T(a_key_stays_with_its_task),
        T(what_makes_no_sense_is_refused),
        T(nothing_is_moved_while_workers_may_hold_what_was_recovered),
        T(a_queue_that_is_being_purged_is_not_moved),
        T(a_group_in_order_keeps_its_order_in_the_other_queue),
        T(a_group_that_is_moved_while_one_runs_goes_on_in_the_other_queue),
        T(a_group_waits_in_the_other_queue_for_the_retry_that_it_waited_for),
        T(a_kill_in_the_middle_of_moving_a_group_keeps_the_order_of_each_half),
        T(each_group_has_the_limit_of_the_queue_that_it_is_in),
        T(moved_groups_have_their_turns_in_the_other_queue),
    };

    return cmocka_run_group_tests_name("vent_move", tests, NULL, NULL);
}
