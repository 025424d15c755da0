/* The ventilator's core: what operators say of queues: pause, limit, rate, purge; and the
 * cancellation of all of a queue (R36, R43, R44). */
#include "vent_world.h"

static int begin(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    *state = w;
    return 0;
}

static int end(void **state)
{
    world_free(*state);
    return 0;
}

static void operate(struct world *w, struct dtqi_operate order)
{
    struct dtqi_msg msg = {.type = DTQI_OPERATE};

    order.request = ++w->requests;
    if (order.target.at == NULL)
        order.target = dtqi_str("q");
    msg.operate = order;
    world_msg(w, PRODUCER, &msg);
}

/* The answer to the last order, which must be there. */
static struct dtqi_operate_reply answered(struct world *w)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_OPERATE_REPLY);
    struct dtqi_operate_reply reply = s->msg.operate_reply;

    assert_int_equal(reply.request, w->requests);
    world_drop(w, s);
    return reply;
}

/* An order that is taken, and committed. */
static void order(struct world *w, enum dtqi_operation operation, double number, uint64_t period_ms)
{
    operate(
        w, (struct dtqi_operate){.operation = operation, .number = number, .period_ms = period_ms});
    world_tick(w);
    assert_int_equal(answered(w).reason, DTQI_REFUSAL_NONE);
}

static void queue_info(struct world *w, const char *name, struct dtqi_queue_info *ret)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY};
    struct world_sent *s;

    msg.query = (struct dtqi_query){.request = ++w->requests, .kind = DTQI_QUERY_QUEUES};
    world_msg(w, PRODUCER, &msg);
    s = world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
    *ret = (struct dtqi_queue_info){0};
    for (uint32_t i = 0; i < s->msg.query_reply.queues_n; i++)
        if (dtqi_str_eq(s->msg.query_reply.queues[i].name, dtqi_str(name)))
            *ret = s->msg.query_reply.queues[i];
    ret->name = dtqi_str(name);
    world_drop(w, s);
}

/* Why task n waits; in `ret`. */
static void why(struct world *w, uint32_t n, char *ret, size_t bytes)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY};
    struct world_sent *s;

    msg.query = (struct dtqi_query){.request = ++w->requests,
                                    .kind = DTQI_QUERY_TASK,
                                    .prefix = world_id(n),
                                    .prefix_bits = 128};
    world_msg(w, PRODUCER, &msg);
    s = world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
    assert_int_equal(s->msg.query_reply.tasks_n, 1);
    snprintf(ret, bytes, "%.*s", (int)s->msg.query_reply.tasks[0].why.len,
             s->msg.query_reply.tasks[0].why.at);
    world_drop(w, s);
}

/* What came down the worker's lane is done and settled at once; how many it was. */
static uint32_t work_off(struct world *w, struct world_worker *x)
{
    uint32_t numbers[4096];
    uint32_t tickets[4096];
    uint32_t n = world_tasks(w, x, numbers, tickets, 4096);

    if (n == 0)
        return 0;
    world_done(w, x, tickets, n);
    for (uint32_t i = 0; i < n; i++)
        world_settle(w, numbers[i], DTQ_SUCCEEDED);
    world_clear(w);
    return n;
}

/* ---------------------------------------------------------------- orders */

static void an_order_is_answered_when_it_is_committed(void **state)
{
    struct world *w = *state;

    w->journal_stuck = true;
    operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE});
    world_pass(w, 1000);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    world_journal(w);
    world_tick(w);
    assert_int_equal(answered(w).reason, DTQI_REFUSAL_NONE);
}

static void an_order_that_could_not_be_written_waits_until_it_is(void **state)
{
    struct world *w = *state;

    w->journal_err = DTQ_ENOSPC;
    operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE});
    world_pass(w, 1500);
    assert_null(world_find(w, WORLD_SEND, DTQI_OPERATE_REPLY));
    w->journal_err = DTQ_OK;
    world_pass(w, 1500);
    assert_int_equal(answered(w).reason, DTQI_REFUSAL_NONE);
    world_restart(w);
    world_producer(w, PRODUCER);
    operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_RESUME}); /* so it is known */
    world_tick(w);
    assert_int_equal(answered(w).reason, DTQI_REFUSAL_NONE);
}

static void settings_survive_a_restart(void **state)
{
    struct world *w = *state;
    struct dtqi_queue_info q;

    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    order(w, DTQI_QUEUE_LIMIT, 7, 0);
    order(w, DTQI_QUEUE_RATE, 10, 60000);
    world_restart(w);
    world_producer(w, PRODUCER);
    queue_info(w, "q", &q);
    assert_true(q.paused);
    assert_int_equal(q.limit, 7);
    assert_int_equal(q.rate, 10);
    assert_int_equal(q.rate_period_ms, 60000);
    order(w, DTQI_QUEUE_RESUME, 0, 0);
    order(w, DTQI_QUEUE_LIMIT, 0, 0);
    order(w, DTQI_QUEUE_RATE, 0, 0);
    world_restart(w);
    world_producer(w, PRODUCER);
    queue_info(w, "q", &q);
    assert_false(q.paused);
    assert_int_equal(q.limit, 0);
    assert_int_equal(q.rate, 0);
}

/* Never silence: nobody would ask again. */
static void an_order_whose_answer_has_no_place_to_wait_is_refused(void **state)
{
    struct vent_cfg cfg;
    struct dtqi_queue_info q;
    struct world *w;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.submits_max = 1;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    w->journal_stuck = true;
    world_submit(w, 1, 1, (struct world_task){0});
    operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE});
    assert_int_equal(answered(w).reason, DTQI_BUSY);
    w->journal_stuck = false;
    world_journal(w);
    world_live(w, 300, NULL, NULL);
    queue_info(w, "q", &q);
    assert_false(q.paused);
    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    world_free(w);
}

static struct dtqi_cancel_reply cancel_one(struct world *w, const dtq_id *id, const char *queue)
{
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    struct world_sent *s;
    struct dtqi_cancel_reply reply;

    msg.cancel = (struct dtqi_cancel){
        .request = ++w->requests, .ids = id, .n = id != NULL, .queue = dtqi_str(queue)};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY);
    reply = s->msg.cancel_reply;
    assert_int_equal(reply.request, w->requests);
    world_drop(w, s);
    return reply;
}

static void a_cancel_whose_answer_has_no_place_to_wait_is_refused(void **state)
{
    struct vent_cfg cfg;
    struct world *w;
    dtq_id id = world_id(1);

    (void)state;
    vent_cfg_default(&cfg);
    cfg.resident_tasks_max = 4096;
    cfg.submits_max = 1;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_clear(w);
    w->journal_stuck = true;
    world_submit(w, 1, 1, (struct world_task){0});
    assert_int_equal(cancel_one(w, &id, "").reason, DTQI_BUSY);
    assert_int_equal(cancel_one(w, NULL, "q").reason, DTQI_BUSY);
    w->journal_stuck = false;
    world_journal(w);
    world_live(w, 300, NULL, NULL);
    assert_int_equal(vent_counters(w->v)->tasks_cancelled, 0);
    assert_int_equal(cancel_one(w, NULL, "q").count, 1);
    world_free(w);
}

static void a_queue_that_is_not_there_is_not_cancelled(void **state)
{
    struct world *w = *state;

    assert_int_equal(cancel_one(w, NULL, "nosuch").reason, DTQI_BAD_TASK);
    world_submit(w, 1, 1, (struct world_task){.queue = "nosuch"});
    world_tick(w);
    assert_int_equal(cancel_one(w, NULL, "nosuch").reason, DTQI_REFUSAL_NONE);
    assert_int_equal(cancel_one(w, NULL, "nosuch").count, 0);
}

static enum dtqi_refusal refusal(struct world *w, struct dtqi_operate o)
{
    operate(w, o);
    world_tick(w);
    return answered(w).reason;
}

static void orders_that_mean_nothing_are_refused(void **state)
{
    struct world *w = *state;

    assert_int_equal(refusal(w, (struct dtqi_operate){.operation = 999}), DTQI_BAD_TASK);
    assert_int_equal(refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_RESUME}),
                     DTQI_BAD_TASK); /* there is none of that name */
    assert_int_equal(refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE,
                                                      .target = dtqi_str("no name")}),
                     DTQI_BAD_TASK);
    for (int i = 0; i < 5; i++) {
        const double numbers[] = {-1, 0.5, 1e18, 0.0 / 0.0, 1.0 / 0.0};

        assert_int_equal(
            refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_LIMIT, .number = numbers[i]}),
            DTQI_BAD_TASK);
        assert_int_equal(refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_RATE,
                                                          .number = numbers[i],
                                                          .period_ms = 1000}),
                         DTQI_BAD_TASK);
    }
    assert_int_equal(refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_RATE, .number = 5}),
                     DTQI_BAD_TASK);
    assert_int_equal(refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_RATE,
                                                      .number = 5,
                                                      .period_ms = UINT64_MAX}),
                     DTQI_BAD_TASK);
    assert_int_equal(refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_RATE,
                                                      .number = 1e9,
                                                      .period_ms = 1000}),
                     DTQI_BAD_TASK);
}

static void no_more_queues_than_allowed_are_made(void **state)
{
    struct vent_cfg cfg;
    struct world *w;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.queues_max = 1;
    w = world_new(&cfg);
    world_producer(w, PRODUCER);
    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    assert_int_equal(refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE,
                                                      .target = dtqi_str("other")}),
                     DTQI_BUSY);
    world_free(w);
}

/* ---------------------------------------------------------------- pause */

static void a_paused_queue_gives_out_nothing_until_it_is_resumed(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 100);
    char text[200];

    w->journal_stuck = true; /* it holds at once, not from its commit on */
    operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE});
    world_submit(w, 1, 5, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
    w->journal_stuck = false;
    world_journal(w);
    world_pass(w, 1000);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
    why(w, 3, text, sizeof text);
    assert_string_equal(text, "its queue is paused");
    world_clear(w);
    order(w, DTQI_QUEUE_RESUME, 0, 0);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 5);
}

static void a_paused_queue_is_paused_after_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 5, (struct world_task){0});
    world_pass(w, 300);
    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    world_restart(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    x = world_worker(w, 1, 4, 100);
    world_live(w, 10000, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 0);
    order(w, DTQI_QUEUE_RESUME, 0, 0);
    world_live(w, 1000, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 5);
}

static void tasks_of_a_paused_queue_are_confirmed_without_a_hold(void **state)
{
    struct world *w = *state;
    uint64_t request;

    world_worker(w, 1, 4, 100);
    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    world_submit(w, 1, 1, (struct world_task){0});
    world_tick(w); /* it is found to be closed */
    request = world_submit(w, 2, 1, (struct world_task){0});
    world_tick(w);
    assert_true(world_confirmed(w, request));
}

static void what_a_worker_has_not_started_is_asked_back(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 3);
    dtq_id ids[2] = {world_id(2), world_id(3)};
    struct dtqi_report r = {.returned_ids = ids, .returned_n = 2};

    world_submit(w, 1, 3, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 3), 3);
    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_RECALL)->msg.recall.count, 3);
    x.credit_tasks = 10;
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 3), 0);
}

/* The queue of the first 2,000 tasks, more than the window, gives out so many. */
static void others_flow(struct world *w, uint32_t of_the_first)
{
    struct world_worker x = world_worker(w, 1, 4, 0);
    uint32_t wanted = 2000 + of_the_first;

    for (uint32_t i = 0; i < 2000; i += 100)
        world_submit(w, 1 + i, 100, (struct world_task){0});
    world_pass(w, 1000);
    for (uint32_t i = 0; i < 2000; i += 100)
        world_submit(w, 10001 + i, 100, (struct world_task){.queue = "other"});
    x.credit_tasks = 1 << 20;
    world_credit(w, &x, x.credit_tasks);
    for (uint32_t i = 0, n = 0; n < wanted; n += world_tasks(w, &x, NULL, NULL, 4000)) {
        assert_true(i++ < 1000);
        world_pass(w, 1);
    }
}

static void a_paused_queue_blocks_no_other(void **state)
{
    order(*state, DTQI_QUEUE_PAUSE, 0, 0);
    others_flow(*state, 0);
}

static void a_queue_at_its_limit_blocks_no_other(void **state)
{
    order(*state, DTQI_QUEUE_LIMIT, 1, 0);
    others_flow(*state, 1);
}

static void a_queue_at_its_rate_blocks_no_other(void **state)
{
    order(*state, DTQI_QUEUE_RATE, 1, 3600 * 1000);
    others_flow(*state, 1);
}

/* ---------------------------------------------------------------- limit */

static void workers_hold_no_more_of_a_queue_than_its_limit(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 8, 100);
    struct world_worker y = world_worker(w, 2, 8, 100);
    uint32_t tickets[10];
    uint32_t n;
    char text[200];

    order(w, DTQI_QUEUE_LIMIT, 3, 0);
    world_submit(w, 1, 20, (struct world_task){0});
    world_submit(w, 101, 5, (struct world_task){.queue = "other"});
    world_tick(w);
    n = world_tasks(w, &x, NULL, tickets, 10);
    assert_int_equal(n + world_tasks(w, &y, NULL, tickets + n, 10 - n), 3 + 5);
    why(w, 20, text, sizeof text);
    assert_string_equal(text, "its queue is at its limit: workers hold 3 tasks of it");
}

static void the_end_of_one_lets_the_next_one_go(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 8, 100);
    uint32_t tickets[2];

    order(w, DTQI_QUEUE_LIMIT, 2, 0);
    world_submit(w, 1, 6, (struct world_task){.retries = 5});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 2), 2);
    world_done(w, &x, tickets, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1);
    world_fail(w, &x, 2, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1);
    order(w, DTQI_QUEUE_LIMIT, 3, 0); /* a higher one holds at once */
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1);
    order(w, DTQI_QUEUE_LIMIT, 0, 0);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
}

static void tasks_of_a_dead_worker_do_not_count(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 8, 100);
    struct world_worker y;

    order(w, DTQI_QUEUE_LIMIT, 2, 0);
    world_submit(w, 1, 6, (struct world_task){.retries = 5});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    y = world_worker(w, 2, 8, 100);
    world_live(w, 2000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 2), 0);
    world_live(w, 4000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 2), 1); /* a suspect, alone */
}

/* What the workers hold counts, also when they have not said so yet. */
static void a_limit_holds_over_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 8, 100);
    struct world_worker y;
    struct world_holding held[2];
    uint64_t epoch = x.epoch;

    order(w, DTQI_QUEUE_LIMIT, 2, 0);
    world_submit(w, 1, 6, (struct world_task){0});
    world_pass(w, 300);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    world_restart(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    y = world_worker(w, 2, 8, 100);
    world_submit(w, 11, 2, (struct world_task){0}); /* a new one is not held, but of that queue */
    world_live(w, 1000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 2), 0);
    world_worker_hello(w, &x, NULL, 2);
    held[0] = (struct world_holding){1, epoch, 1, DTQI_HELD_RUNNING};
    held[1] = (struct world_holding){2, epoch, 1, DTQI_HELD_RUNNING};
    world_holdings(w, &x, held, 2, true);
    world_live(w, 1000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 2), 0);
    world_fail(w, &x, 1, epoch, 1, DTQ_REASON_ERROR);
    world_live(w, 1000, &y, NULL);
    assert_int_equal(world_tasks(w, &y, NULL, NULL, 2), 1);
}

/* ---------------------------------------------------------------- rate */

/* With endless work for it, and a worker that is fast enough: how many go out in so long. */
static uint32_t count_in(struct world *w, struct world_worker *x, uint64_t ms, uint64_t step_ms)
{
    uint32_t n = 0;

    for (uint64_t at_ms = 0; at_ms < ms; at_ms += step_ms) {
        w->now_ms += step_ms;
        world_tick(w);
        n += work_off(w, x);
        if (at_ms % 1000 == 0) {
            world_sink_beat(w, false);
            world_beat(w, x);
            world_clear(w);
        }
    }
    return n;
}

static void submit_many(struct world *w, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 500)
        world_submit(w, first + i, n - i < 500 ? n - i : 500, (struct world_task){0});
    world_tick(w);
}

static void no_more_goes_out_than_the_rate(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 1 << 20);
    uint32_t n;

    order(w, DTQI_QUEUE_RATE, 100, 1000);
    submit_many(w, 1, 500);
    n = work_off(w, &x);
    n += count_in(w, &x, 4000, 2);
    assert_in_range(n, 400, 402);
}

/* Ticks that come late are made up for: each of 40 ms, between steps of 10 ms. */
static void late_ticks_do_not_lower_the_rate(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 1 << 20);
    uint32_t n;

    order(w, DTQI_QUEUE_RATE, 100, 1000);
    submit_many(w, 1, 500);
    n = work_off(w, &x);
    n += count_in(w, &x, 4000, 40);
    assert_in_range(n, 396, 404);
}

static void a_fast_rate_is_as_exact(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 1 << 20);
    uint32_t n;

    order(w, DTQI_QUEUE_RATE, 3000, 1000);
    submit_many(w, 1, 3500);
    n = work_off(w, &x);
    n += count_in(w, &x, 1000, 1);
    assert_in_range(n, 2990, 3030);
}

static void a_slow_rate_goes_out_evenly(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 1 << 20);
    char text[200];

    order(w, DTQI_QUEUE_RATE, 10, 60000);
    submit_many(w, 1, 20);
    assert_int_equal(work_off(w, &x), 1);
    why(w, 15, text, sizeof text);
    assert_string_equal(text, "its queue is at its rate: the next task goes out in 6000 ms");
    for (int i = 0; i < 10; i++) {
        assert_int_equal(count_in(w, &x, 5990, 10), 0);
        assert_int_equal(count_in(w, &x, 9, 1), 0);
        assert_int_equal(count_in(w, &x, 1, 1), 1);
    }
}

static void idle_time_is_not_saved_up(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 1 << 20);

    order(w, DTQI_QUEUE_RATE, 100, 1000);
    world_live(w, 60000, &x, NULL);
    submit_many(w, 1, 500);
    assert_in_range(work_off(w, &x), 1, 2);
    assert_in_range(count_in(w, &x, 1000, 5), 99, 101);
}

static void a_slow_rate_holds_over_a_restart(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 1 << 20);

    order(w, DTQI_QUEUE_RATE, 1, 3600 * 1000);
    submit_many(w, 1, 3);
    assert_int_equal(work_off(w, &x), 1);
    world_live(w, 600 * 1000, &x, NULL);
    world_restart(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    x = world_worker(w, 1, 100, 1 << 20);
    world_live(w, 2990 * 1000, &x, NULL); /* an hour less ten minutes and ten seconds */
    assert_int_equal(work_off(w, &x), 0);
    world_live(w, 20 * 1000, &x, NULL);
    assert_int_equal(work_off(w, &x), 1);
}

static void what_was_given_back_unstarted_does_not_count(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 100);
    dtq_id id = world_id(1);
    struct dtqi_report r = {.returned_ids = &id, .returned_n = 1};

    order(w, DTQI_QUEUE_RATE, 1, 3600 * 1000);
    world_submit(w, 1, 2, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1);
    world_report(w, &x, &r);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 1);
    world_pass(w, 1000);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 0);
}

/* A rate is a time to wait for, not something to look at again and again. */
static void an_idle_ventilator_with_a_rate_sleeps(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 1 << 20);

    order(w, DTQI_QUEUE_RATE, 1, 60000);
    submit_many(w, 1, 3);
    assert_int_equal(work_off(w, &x), 1);
    world_pass(w, 500);
    world_tick(w);
    assert_in_range(vent_deadline_ms(w->v) - w->now_ms, 500, 60000);
}

/* The time of its next task has come, and something else keeps it closed. */
static void a_queue_whose_time_has_come_and_that_stays_closed_keeps_nobody_busy(void **state)
{
    static const enum dtqi_operation operations[] = {DTQI_QUEUE_PAUSE, DTQI_QUEUE_LIMIT};

    for (uint32_t i = 0; i < 2; i++) {
        struct world *w = *state;
        struct world_worker x = world_worker(w, 1, 100, 1 << 20);

        order(w, DTQI_QUEUE_RATE, 1, 2000);
        submit_many(w, 1, 3);
        assert_int_equal(world_tasks(w, &x, NULL, NULL, 3), 1);
        order(w, operations[i], 1, 0);
        world_pass(w, 2100);
        assert_true(vent_deadline_ms(w->v) > w->now_ms);
        (void)end(state);
        (void)begin(state);
    }
}

static void many_queues_with_rates_keep_to_each(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 100, 1 << 20);
    uint32_t n = 0;

    for (uint32_t i = 0; i < 20; i++) {
        char name[8];

        snprintf(name, sizeof name, "q%u", i);
        operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_RATE,
                                         .target = dtqi_str(name),
                                         .number = 1 + i,
                                         .period_ms = 1000});
        world_submit(w, 1 + 100 * i, 60, (struct world_task){.queue = name});
    }
    world_tick(w);
    n = work_off(w, &x);
    assert_int_equal(n, 20);
    n = count_in(w, &x, 2000, 5);
    assert_in_range(n, 2 * 210 - 20, 2 * 210 + 20);
}

/* ---------------------------------------------------------------- purge, cancel */

/* The sink takes every proposal that was sent; how many were cancellations. */
static uint32_t settle_proposals(struct world *w)
{
    struct world_sent *s;
    uint32_t n = 0;

    while ((s = world_find(w, WORLD_SINK, DTQI_OUTCOMES)) != NULL) {
        for (uint32_t i = 0; i < s->msg.outcomes.n; i++) {
            n += s->msg.outcomes.kinds[i] == DTQ_CANCELLED;
            world_settle(w, world_number(&s->msg.outcomes.ids[i]),
                         (dtq_state)s->msg.outcomes.kinds[i]);
        }
        world_drop(w, s);
    }
    return n;
}

/* .. until no more come for a while. */
static uint32_t settle_all(struct world *w, struct world_worker *x)
{
    uint32_t n = 0;

    for (uint32_t idle = 0; idle < 30;) {
        uint32_t some;

        world_live(w, 100, x, NULL);
        some = settle_proposals(w);
        idle = some != 0 ? 0 : idle + 1;
        n += some;
    }
    return n;
}

static void cancel_queue(struct world *w, const char *name)
{
    struct dtqi_msg msg = {.type = DTQI_CANCEL};

    msg.cancel = (struct dtqi_cancel){.request = ++w->requests, .queue = dtqi_str(name)};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
}

static uint64_t cancelled(struct world *w)
{
    struct world_sent *s = world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY);
    uint64_t n = s->msg.cancel_reply.count;

    world_drop(w, s);
    return n;
}

static uint64_t purge(struct world *w)
{
    operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PURGE});
    world_tick(w);
    return answered(w).count;
}

static void a_purge_cancels_what_waits_and_says_how_many(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 4, 2);
    struct dtqi_queue_info q;

    world_submit(w, 1, 10, (struct world_task){0});
    world_submit(w, 21, 3, (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 3600 * 1000});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    world_submit(w, 31, 3, (struct world_task){.queue = "other"});
    assert_int_equal(purge(w), 8 + 3);
    queue_info(w, "q", &q);
    assert_int_equal(q.dispatched, 2);
    assert_int_equal(q.ending, 11);
    world_submit(w, 41, 5, (struct world_task){0});
    assert_int_equal(settle_all(w, &x), 11);
    queue_info(w, "q", &q);
    assert_int_equal(q.dispatched, 2);
    assert_int_equal(q.ready, 5); /* came after it */
    assert_int_equal(q.scheduled, 0);
    queue_info(w, "other", &q);
    assert_int_equal(q.ready, 3);
}

/* ---------------------------------------------------------------- what is counted of delayed ones
 */

static void expect_counts(struct world *w, uint64_t ready, uint64_t scheduled, uint64_t dispatched)
{
    struct dtqi_queue_info q;

    queue_info(w, "q", &q);
    assert_int_equal(q.ready, ready);
    assert_int_equal(q.scheduled, scheduled);
    assert_int_equal(q.dispatched, dispatched);
}

static void what_is_due_counts_as_ready_though_its_queue_is_paused(void **state)
{
    struct world *w = *state;

    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    world_submit(w, 1, 5, (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 20000});
    world_submit(w, 11, 2, (struct world_task){0});
    world_submit(w, 21, 3, (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 60000});
    world_live(w, 1000, NULL, NULL);
    expect_counts(w, 2, 8, 0);
    world_live(w, 20000, NULL, NULL);
    expect_counts(w, 7, 3, 0);
    world_restart(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_live(w, 5000, NULL, NULL);
    expect_counts(w, 7, 3, 0);
}

static void what_is_due_of_a_group_counts_as_ready(void **state)
{
    struct world *w = *state;

    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    world_submit(w, 1, 5,
                 (struct world_task){.group = "g", .not_before_wall_ms = WORLD_WALL_MS + 20000});
    world_submit(w, 11, 2, (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 60000});
    world_live(w, 1000, NULL, NULL);
    expect_counts(w, 0, 7, 0);
    world_live(w, 20000, NULL, NULL);
    expect_counts(w, 5, 2, 0);
}

static void what_was_delayed_and_is_with_a_worker_is_dispatched_only(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    world_submit(w, 1, 3, (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 20000});
    world_live(w, 21000, NULL, NULL);
    x = world_worker(w, 1, 1, 1);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 3), 1);
    expect_counts(w, 2, 0, 1);
}

static void what_waits_for_its_retry_is_scheduled_beside_what_is_delayed(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    uint32_t tickets[1];

    world_submit(
        w, 1, 1,
        (struct world_task){.retries = 3, .backoff_min_ms = 60000, .backoff_max_ms = 60000});
    world_submit(w, 11, 2, (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 60000});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, tickets, 1), 1);
    world_live(w, 1000, &x, NULL);
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    expect_counts(w, 0, 3, 0);
    world_live(w, 1000, &x, NULL); /* the journal has it in the order of due times, too */
    expect_counts(w, 0, 3, 0);
}

/* More than memory has room for: the journal moves them to the order of what is ready. */
static void a_backlog_that_is_due_counts_as_ready(void **state)
{
    struct world *w = *state;

    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    for (uint32_t i = 0; i < 6000; i += 100) {
        world_submit(w, 1 + i, 100,
                     (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 20000});
        world_pass(w, 10);
    }
    world_live(w, 1000, NULL, NULL);
    expect_counts(w, 0, 6000, 0);
    world_live(w, 30000, NULL, NULL);
    expect_counts(w, 6000, 0, 0);
}

static void what_runs_is_not_purged(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);

    world_submit(w, 1, 1, (struct world_task){.retries = 5});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    assert_int_equal(purge(w), 0);
    x.credit_tasks = 10;
    world_fail(w, &x, 1, x.epoch, 1, DTQ_REASON_ERROR);
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
}

static void a_queue_that_is_not_there_is_not_purged(void **state)
{
    struct world *w = *state;

    assert_int_equal(refusal(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PURGE}),
                     DTQI_BAD_TASK);
}

/* Ready and delayed tasks, most of them in the journal only. */
static void submit_backlog(struct world *w)
{
    for (uint32_t i = 0; i < 3000; i += 100) {
        world_submit(w, 1 + i, 100, (struct world_task){0});
        world_pass(w, 10);
    }
    for (uint32_t i = 0; i < 2000; i += 100) {
        world_submit(w, 5001 + i, 100,
                     (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 3600 * 1000 + i});
        world_pass(w, 10);
    }
    world_pass(w, 1000);
    world_clear(w);
}

static void a_whole_backlog_is_purged_though_nobody_serves_it(void **state)
{
    struct world *w = *state;
    struct vent_census census;

    submit_backlog(w);
    assert_int_equal(purge(w), 5000);
    assert_int_equal(settle_all(w, NULL), 5000);
    vent_census(w->v, &census);
    assert_int_equal(census.tasks, 0);
    assert_int_equal(purge(w), 0);
}

static void a_purge_that_was_answered_is_completed_after_a_crash(void **state)
{
    struct world *w = *state;
    struct dtqi_queue_info q;
    uint32_t n;

    submit_backlog(w);
    assert_int_equal(purge(w), 5000);
    n = settle_proposals(w);
    world_pass(w, 500);
    assert_in_range(n, 1, 4999);
    world_restart(w);
    w->sink_session = 0;
    world_sink(w);
    world_producer(w, PRODUCER);
    world_submit(w, 8001, 5, (struct world_task){0});
    n += settle_all(w, NULL);
    assert_in_range(n, 5000, 5000 + 2048); /* some are told to the sink twice */
    queue_info(w, "q", &q);
    assert_int_equal(q.ready, 5);
    assert_int_equal(q.scheduled, 0);
}

static void expect_purging(struct world *w, uint64_t ready, uint64_t scheduled, uint64_t ending)
{
    struct dtqi_queue_info q;

    queue_info(w, "q", &q);
    assert_int_equal(q.ready, ready);
    assert_int_equal(q.scheduled, scheduled);
    assert_int_equal(q.ending, ending);
}

/* The journal does not know yet that each of them is cancelled, but none of them starts any more.
 */
static void what_a_purge_has_not_found_yet_counts_as_ending(void **state)
{
    struct world *w = *state;

    submit_backlog(w);
    assert_int_equal(purge(w), 5000);
    expect_purging(w, 0, 0, 5000);
    world_restart(w);
    w->journal_stuck = true; /* nothing of it is in memory yet */
    world_producer(w, PRODUCER);
    expect_purging(w, 0, 0, 5000);
    w->journal_stuck = false;
    w->sink_session = 0;
    world_sink(w);
    (void)settle_all(w, NULL);
    expect_purging(w, 0, 0, 0);
}

/* .. but not what was submitted since. */
static void what_comes_after_a_purge_does_not_count_as_ending(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 0; i < 3000; i += 100) {
        world_submit(w, 1 + i, 100, (struct world_task){0});
        world_pass(w, 10);
    }
    world_pass(w, 1000);
    assert_int_equal(purge(w), 3000);
    world_submit(w, 8001, 5, (struct world_task){0});
    world_submit(w, 8011, 2,
                 (struct world_task){.not_before_wall_ms = WORLD_WALL_MS + 3600 * 1000});
    world_tick(w);
    expect_purging(w, 5, 2, 3000);
    (void)settle_all(w, NULL);
    expect_purging(w, 5, 2, 0);
}

/* What is recovered after the whole is worked off is not touched by a purge of long ago. */
static void a_purge_ends(void **state)
{
    struct world *w = *state;
    struct world_worker x;

    submit_backlog(w);
    assert_int_equal(purge(w), 5000);
    assert_int_equal(settle_all(w, NULL), 5000);
    world_submit(w, 8001, 5, (struct world_task){0});
    world_pass(w, 1000);
    world_restart(w);
    w->sink_session = 0;
    world_sink(w);
    x = world_worker(w, 1, 1, 10);
    world_live(w, 6000, &x, NULL);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 10), 5);
}

static void all_of_a_queue_is_cancelled_also_what_runs(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 2);
    dtq_id ids[2] = {world_id(1), world_id(2)};
    struct dtqi_report r = {.stopped_ids = ids, .stopped_n = 2};

    world_submit(w, 1, 10, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 2), 2);
    cancel_queue(w, "q");
    assert_int_equal(cancelled(w), 10);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_STOP_ATTEMPTS)->msg.stop_attempts.n, 2);
    assert_int_equal(settle_all(w, &x), 8);
    world_report(w, &x, &r);
    assert_int_equal(settle_all(w, &x), 2);
    cancel_queue(w, "q");
    assert_int_equal(cancelled(w), 0);
}

static void what_takes_long_to_stop_keeps_no_other_queue_waiting(void **state)
{
    struct world *w = *state;
    struct world_worker x = {.route = WORKER_ROUTE + 1, .instance = 0x81, .slots = 1};

    world_worker_hello(w, &x, "q", 0); /* nobody loads what is of the other */
    world_credit(w, &x, 1);
    world_submit(w, 9001, 1, (struct world_task){0});
    world_tick(w);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    submit_backlog(w);
    for (uint32_t i = 0; i < 3000; i += 100) {
        world_submit(w, 10001 + i, 100, (struct world_task){.queue = "other"});
        world_pass(w, 10);
    }
    cancel_queue(w, "q");
    assert_int_equal(cancelled(w), 5001);
    cancel_queue(w, "other");
    assert_int_equal(cancelled(w), 3000);
    assert_int_equal(settle_all(w, &x), 8000);
    operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_MOVE,
                                     .target = dtqi_str("other"),
                                     .destination = dtqi_str("third")});
    world_tick(w);
    assert_int_equal(answered(w).reason, DTQI_REFUSAL_NONE); /* nothing of it is left to do */
}

static void a_cancelled_queue_is_cancelled_after_a_crash(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 2, 2);
    struct world_holding held[2];
    uint64_t epoch = x.epoch;
    dtq_id ids[2] = {world_id(1), world_id(2)};
    struct dtqi_report r = {.stopped_ids = ids, .stopped_n = 2};

    submit_backlog(w);
    cancel_queue(w, "q");
    assert_int_equal(cancelled(w), 5000);
    world_restart(w); /* at once */
    w->sink_session = 0;
    world_sink(w);
    world_producer(w, PRODUCER);
    world_worker_hello(w, &x, NULL, 2);
    held[0] = (struct world_holding){1, epoch, 1, DTQI_HELD_RUNNING};
    held[1] = (struct world_holding){2, epoch, 1, DTQI_WAITING};
    world_holdings(w, &x, held, 2, true);
    world_tick(w);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_STOP_ATTEMPTS)->msg.stop_attempts.n, 2);
    assert_in_range(settle_all(w, &x), 4998, 4998 + 2048);
    world_report(w, &x, &r);
    assert_int_equal(settle_all(w, &x), 2);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
}

/* R44: it was in the journal only when its queue was cancelled, and again when it is listed. */
static void what_runs_of_a_cancelled_backlog_is_stopped(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_holding held = {3000, x.epoch, 1, DTQI_HELD_RUNNING};
    dtq_id id = world_id(3000);
    struct dtqi_report r = {.stopped_ids = &id, .stopped_n = 1};

    submit_backlog(w);
    world_restart(w);
    w->sink_session = 0;
    world_sink(w);
    world_producer(w, PRODUCER);
    cancel_queue(w, "q");
    (void)cancelled(w);
    world_restart(w);
    w->sink_session = 0;
    world_sink(w);
    world_worker_hello(w, &x, NULL, 1);
    world_holdings(w, &x, &held, 1, true);
    world_tick(w);
    assert_int_equal(world_take(w, WORLD_SEND, DTQI_STOP_ATTEMPTS)->msg.stop_attempts.n, 1);
    (void)settle_all(w, &x);
    world_report(w, &x, &r);
    assert_int_equal(settle_all(w, &x), 1);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 0);
}

/* R36: the mark of before the restart is found when the worker lists what it runs. */
static void a_running_task_is_stopped_though_the_ventilator_restarted(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_holding held = {1, x.epoch, 1, DTQI_HELD_RUNNING};
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    dtq_id id = world_id(1);
    struct dtqi_report r = {.stopped_ids = &id, .stopped_n = 1};

    world_submit(w, 1, 1, (struct world_task){0});
    world_pass(w, 300);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    msg.cancel = (struct dtqi_cancel){.request = 1, .ids = &id, .n = 1};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    world_restart(w);
    w->sink_session = 0;
    world_sink(w);
    world_worker_hello(w, &x, NULL, 1);
    world_holdings(w, &x, &held, 1, true);
    world_tick(w);
    assert_non_null(world_find(w, WORLD_SEND, DTQI_STOP_ATTEMPTS));
    assert_int_equal(settle_all(w, &x), 0); /* not before it is gone */
    world_report(w, &x, &r);
    assert_int_equal(settle_all(w, &x), 1);
}

/* R33, R36: nobody knows yet whether it runs. */
static void a_held_task_is_cancelled_when_its_worker_has_stopped_it(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct world_holding held = {1, x.epoch, 1, DTQI_HELD_RUNNING};
    struct dtqi_msg msg = {.type = DTQI_CANCEL};
    dtq_id ids[2] = {world_id(1), world_id(2)};
    struct dtqi_report r = {.stopped_ids = ids, .stopped_n = 1};
    struct world_sent *s;

    world_submit(w, 1, 2, (struct world_task){0});
    world_pass(w, 300);
    assert_int_equal(world_tasks(w, &x, NULL, NULL, 1), 1);
    world_restart(w);
    w->sink_session = 0;
    world_sink(w);
    world_producer(w, PRODUCER);
    msg.cancel = (struct dtqi_cancel){.request = 1, .ids = ids, .n = 2};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_CANCEL_REPLY);
    assert_int_equal(s->msg.cancel_reply.cancelling[0], 1);
    assert_int_equal(s->msg.cancel_reply.cancelling[1], 1);
    assert_null(world_find(w, WORLD_SINK, DTQI_OUTCOMES));
    world_worker_hello(w, &x, NULL, 1);
    world_holdings(w, &x, &held, 1, true);
    world_tick(w);
    assert_non_null(world_find(w, WORLD_SEND, DTQI_STOP_ATTEMPTS));
    assert_int_equal(settle_all(w, &x), 1); /* the other one, which nobody listed */
    world_report(w, &x, &r);
    assert_int_equal(settle_all(w, &x), 1);
}

/* ---------------------------------------------------------------- queues of a worker */

static struct world_worker picky_worker(struct world *w, const uint32_t *weights, bool strict)
{
    const struct dtqi_str queues[3] = {dtqi_str("a"), dtqi_str("b"), dtqi_str("c")};
    struct world_worker x = {.route = WORKER_ROUTE + 1, .instance = 0x81, .slots = 1};
    struct dtqi_msg msg = {.type = DTQI_HELLO};

    msg.hello = (struct dtqi_hello){.version_min = 1,
                                    .version_max = 1,
                                    .role = DTQI_ROLE_WORKER,
                                    .instance = world_uid(x.instance),
                                    .name = dtqi_str("worker"),
                                    .queues = queues,
                                    .queues_n = 3,
                                    .queue_weights = weights,
                                    .queues_strict = strict,
                                    .slots = x.slots};
    world_msg(w, x.route, &msg);
    x.session = world_take(w, WORLD_SEND, DTQI_WELCOME)->msg.welcome.session;
    world_clear(w);
    return x;
}

/* Ids from 1 on are of a, from 1001 on of b, from 2001 on of c. */
static void submit_to_three(struct world *w, uint32_t n)
{
    static const char *const queues[] = {"a", "b", "c"};

    for (uint32_t i = 0; i < 3; i++)
        world_submit(w, 1 + 1000 * i, n, (struct world_task){.queue = queues[i]});
    world_tick(w);
}

/* Give credit for `step` tasks again and again; how many of `n` came from each queue. */
static void take_in_steps(struct world *w, struct world_worker *x, uint32_t n, uint32_t step,
                          uint32_t ret[3])
{
    uint32_t numbers[64];

    memset(ret, 0, 3 * sizeof *ret);
    for (uint32_t got = 0; got < n;) {
        uint32_t some;

        world_credit(w, x, x->credit_tasks + step);
        world_tick(w);
        some = world_tasks(w, x, numbers, NULL, 64);
        assert_true(some != 0);
        for (uint32_t i = 0; i < some; i++)
            ret[numbers[i] / 1000]++;
        got += some;
    }
}

static void a_worker_takes_from_its_queues_by_their_weights(void **state)
{
    struct world *w = *state;
    const uint32_t weights[3] = {6, 3, 1};
    struct world_worker x = picky_worker(w, weights, false);
    uint32_t n[3];

    submit_to_three(w, 300);
    take_in_steps(w, &x, 100, 1, n);
    assert_in_range(n[0], 59, 61);
    assert_in_range(n[1], 29, 31);
    assert_in_range(n[2], 9, 11);
    take_in_steps(w, &x, 200, 10, n);
    assert_in_range(n[0], 110, 130);
    assert_in_range(n[1], 50, 70);
    assert_in_range(n[2], 10, 30);
}

/* The others go on with their shares; what comes back gets its own, and no more. */
static void a_queue_that_was_empty_has_saved_nothing_up(void **state)
{
    struct world *w = *state;
    const uint32_t weights[3] = {1, 1, 2};
    struct world_worker x = picky_worker(w, weights, false);
    uint32_t n[3];

    world_submit(w, 1, 300, (struct world_task){.queue = "a"});
    world_submit(w, 1001, 300, (struct world_task){.queue = "b"});
    take_in_steps(w, &x, 200, 1, n);
    assert_int_equal(n[2], 0);
    world_submit(w, 2001, 300, (struct world_task){.queue = "c"});
    take_in_steps(w, &x, 80, 1, n);
    assert_in_range(n[0], 19, 21);
    assert_in_range(n[1], 19, 21);
    assert_in_range(n[2], 39, 41);
}

static void strict_order_takes_from_the_first_that_has_any(void **state)
{
    struct world *w = *state;
    struct world_worker x = picky_worker(w, NULL, true);
    uint32_t n[3];

    submit_to_three(w, 50);
    take_in_steps(w, &x, 40, 1, n);
    assert_int_equal(n[0], 40);
    take_in_steps(w, &x, 50, 1, n);
    assert_int_equal(n[0], 10);
    assert_int_equal(n[1], 40);
    world_submit(w, 101, 5, (struct world_task){.queue = "a"}); /* a new one comes first again */
    take_in_steps(w, &x, 15, 1, n);
    assert_int_equal(n[0], 5);
    assert_int_equal(n[1], 10);
    assert_int_equal(n[2], 0);
}

static void a_paused_queue_blocks_no_strict_worker(void **state)
{
    struct world *w = *state;
    struct world_worker x = picky_worker(w, NULL, true);
    uint32_t n[3];

    submit_to_three(w, 50);
    operate(w, (struct dtqi_operate){.operation = DTQI_QUEUE_PAUSE, .target = dtqi_str("a")});
    operate(w, (struct dtqi_operate){
                   .operation = DTQI_QUEUE_LIMIT, .target = dtqi_str("b"), .number = 3});
    take_in_steps(w, &x, 10, 1, n);
    assert_int_equal(n[0], 0);
    assert_int_equal(n[1], 3);
    assert_int_equal(n[2], 7);
}

/* ---------------------------------------------------------------- bounds */

/* The first refusal of what was submitted last; "": everything was taken. */
static void refused_why(struct world *w, char *ret, size_t bytes, uint32_t *ret_n)
{
    struct world_sent *s;

    world_pass(w, 300);
    s = world_take(w, WORLD_SEND, DTQI_SUBMITTED);
    *ret = '\0';
    *ret_n = s->msg.submitted.refused_n;
    if (*ret_n != 0) {
        assert_int_equal(s->msg.submitted.refused_reason[0], DTQI_BUSY);
        snprintf(ret, bytes, "%.*s", (int)s->msg.submitted.refused_text[0].len,
                 s->msg.submitted.refused_text[0].at);
    }
    world_drop(w, s);
}

/* That a group is closed is seen when it is looked at: for another queue's task here. */
static void a_closed_group_blocks_no_strict_worker(void **state)
{
    struct world *w = *state;
    struct world_task in_order = {.queue = "a", .group = "g", .ordered = true};
    struct world_worker x = picky_worker(w, NULL, true);
    uint32_t numbers[4];

    world_submit(w, 1, 1, in_order);
    world_credit(w, &x, 1);
    world_pass(w, 50);
    assert_int_equal(world_tasks(w, &x, numbers, NULL, 4), 1);
    world_submit(w, 2, 1, (struct world_task){.queue = "b"});
    world_submit(w, 3, 1, in_order);
    world_credit(w, &x, 4);
    world_pass(w, 50);
    assert_int_equal(world_tasks(w, &x, numbers, NULL, 4), 1);
    assert_int_equal(numbers[0], 2);
}

static void a_queue_that_is_full_refuses_and_no_other_does(void **state)
{
    struct vent_cfg cfg;
    struct world *w;
    static const char body[200];
    char text[100];
    uint32_t n;

    (void)state;
    vent_cfg_default(&cfg);
    cfg.queue_tasks_max = 10;
    cfg.queue_bytes_max = 400;
    cfg.backlog_tasks_max = 25;
    w = world_new(&cfg);
    world_sink(w);
    world_producer(w, PRODUCER);
    world_submit(w, 1, 12, (struct world_task){0});
    refused_why(w, text, sizeof text, &n);
    assert_string_equal(text, "the queue is full: max_queue_tasks is reached");
    assert_int_equal(n, 2);
    world_submit(w, 21, 5, (struct world_task){.queue = "large", .body_len = 200, .body = body});
    refused_why(w, text, sizeof text, &n);
    assert_string_equal(text, "the queue is full: max_queue_bytes is reached");
    assert_in_range(n, 3, 4);
    world_restart(w); /* what is in the journal counts */
    w->sink_session = 0;
    world_sink(w);
    world_producer(w, PRODUCER);
    world_submit(w, 31, 1, (struct world_task){0});
    refused_why(w, text, sizeof text, &n);
    assert_string_equal(text, "the queue is full: max_queue_tasks is reached");
    world_settle(w, 1, DTQ_SUCCEEDED);
    world_submit(w, 31, 1, (struct world_task){0});
    refused_why(w, text, sizeof text, &n);
    assert_int_equal(n, 0);
    for (uint32_t i = 0; i < 3; i++)
        world_submit(w, 41 + 10 * i, 5,
                     (struct world_task){.queue = i == 0   ? "a"
                                                  : i == 1 ? "b"
                                                           : "c"});
    refused_why(w, text, sizeof text, &n);
    assert_int_equal(n, 0);
    refused_why(w, text, sizeof text, &n);
    refused_why(w, text, sizeof text, &n);
    assert_string_equal(text, "max_backlog_tasks is reached");
    world_free(w);
}

/* ---------------------------------------------------------------- explain */

struct explained {
    dtq_state state;
    uint64_t before;
    bool is_least;
    char why[200];
};

static struct explained explain(struct world *w, uint32_t n)
{
    struct dtqi_msg msg = {.type = DTQI_QUERY};
    struct explained e = {0};
    const struct dtqi_task_info *info;
    struct world_sent *s;

    msg.query = (struct dtqi_query){.request = ++w->requests,
                                    .kind = DTQI_QUERY_TASK,
                                    .prefix = world_id(n),
                                    .prefix_bits = 128,
                                    .explain = true};
    world_msg(w, PRODUCER, &msg);
    world_tick(w);
    s = world_take(w, WORLD_SEND, DTQI_QUERY_REPLY);
    assert_int_equal(s->msg.query_reply.tasks_n, 1);
    info = s->msg.query_reply.tasks;
    e.state = info->state;
    e.before = info->before;
    e.is_least = info->before_is_least;
    snprintf(e.why, sizeof e.why, "%.*s", (int)info->why.len, info->why.at);
    world_drop(w, s);
    return e;
}

static void the_position_of_a_task_counts_what_comes_first(void **state)
{
    struct world *w = *state;

    world_submit(w, 1, 5, (struct world_task){.priority = 3});
    world_submit(w, 11, 5, (struct world_task){.priority = 7});
    world_submit(w, 21, 5, (struct world_task){.priority = 3, .queue = "other"});
    world_tick(w);
    assert_int_equal(explain(w, 11).before, 0);
    assert_int_equal(explain(w, 15).before, 4);
    assert_int_equal(explain(w, 1).before, 5);
    assert_int_equal(explain(w, 4).before, 8);
    assert_false(explain(w, 4).is_least);
    assert_int_equal(explain(w, 22).before, 1);
    assert_string_equal(explain(w, 4).why, "no worker serves its queue");
}

static void what_waits_at_a_worker_waits_for_those_before_it(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 3);
    dtq_id id = world_id(1);
    struct dtqi_report started = {.started_ids = &id, .started_n = 1};

    world_submit(w, 1, 4, (struct world_task){0});
    world_tick(w);
    world_report(w, &x, &started);
    assert_int_equal(explain(w, 1).state, DTQ_RUNNING);
    assert_string_equal(explain(w, 1).why, "");
    assert_string_equal(explain(w, 3).why, "waits for a slot of its worker");
    assert_int_equal(explain(w, 3).before, 1);
    assert_string_equal(explain(w, 4).why, "every worker that serves its queue is busy: 1 of them");
    assert_int_equal(explain(w, 4).before, 0);
}

/* Its attempts are asked of the journal, so the answer takes another way. */
static void what_comes_before_a_task_that_failed_once_is_counted_too(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 1);
    struct dtqi_failure f = {
        .id = world_id(1), .epoch = x.epoch, .attempt = 1, .reason = DTQ_REASON_EXIT};
    struct dtqi_report r = {.failures = &f, .failures_n = 1};

    world_submit(w, 1, 1, (struct world_task){.retries = 3});
    world_live(w, 300, &x, NULL);
    world_submit(w, 2, 2, (struct world_task){.priority = 7});
    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    world_report(w, &x, &r);
    world_live(w, 300, &x, NULL);
    assert_int_equal(explain(w, 1).before, 2);
    assert_string_equal(explain(w, 1).why, "its queue is paused");
}

/* It is behind all that is in memory; how much of the journal is before it nobody has counted. */
static void a_task_outside_of_memory_has_so_many_before_it_at_least(void **state)
{
    struct world *w = *state;
    struct explained e;

    submit_backlog(w);
    e = explain(w, 2900);
    assert_int_equal(e.state, DTQ_READY);
    assert_true(e.is_least);
    assert_in_range(e.before, 1, 2899);
    assert_string_equal(e.why, "no worker serves its queue");
    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    assert_string_equal(explain(w, 2900).why, "its queue is paused");
}

static void a_task_without_a_sink_says_so(void **state)
{
    struct world *w = *state;
    struct world_worker x = world_worker(w, 1, 1, 0);

    world_submit(w, 1, 1, (struct world_task){0});
    w->sink_session = 0;
    world_live(w, 5000, &x, NULL);
    assert_string_equal(explain(w, 1).why, "its sink cannot be reached");
}

static void why_a_task_waits_is_told_over_a_restart(void **state)
{
    struct world *w = *state;
    char before[200];
    struct world_worker x;

    world_submit(w, 1, 3, (struct world_task){0});
    world_submit(w, 4, 1, (struct world_task){.delay_ms = 60000});
    world_pass(w, 300);
    order(w, DTQI_QUEUE_PAUSE, 0, 0);
    strcpy(before, explain(w, 2).why);
    assert_non_null(strstr(before, "paused"));
    world_restart(w);
    world_sink(w);
    world_producer(w, PRODUCER);
    assert_string_equal(explain(w, 2).why, before);
    x = world_worker(w, 1, 4, 100);
    world_live(w, 10000, &x, NULL);
    assert_string_equal(explain(w, 2).why, before);
    assert_int_equal(explain(w, 2).before, 1);
    assert_string_equal(explain(w, 4).why, "its time has not come");
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_order_is_answered_when_it_is_committed),
        T(an_order_that_could_not_be_written_waits_until_it_is),
        T(settings_survive_a_restart),
        T(orders_that_mean_nothing_are_refused),
        cmocka_unit_test(no_more_queues_than_allowed_are_made),
        T(a_paused_queue_gives_out_nothing_until_it_is_resumed),
        T(a_paused_queue_is_paused_after_a_restart),
        T(tasks_of_a_paused_queue_are_confirmed_without_a_hold),
        T(what_a_worker_has_not_started_is_asked_back),
        T(a_paused_queue_blocks_no_other),
        T(a_queue_at_its_limit_blocks_no_other),
        T(a_queue_at_its_rate_blocks_no_other),
        T(workers_hold_no_more_of_a_queue_than_its_limit),
        T(the_end_of_one_lets_the_next_one_go),
        T(tasks_of_a_dead_worker_do_not_count),
        T(a_limit_holds_over_a_restart),
        T(no_more_goes_out_than_the_rate),
        T(late_ticks_do_not_lower_the_rate),
        T(a_fast_rate_is_as_exact),
        T(a_slow_rate_goes_out_evenly),
        T(idle_time_is_not_saved_up),
        T(a_slow_rate_holds_over_a_restart),
        T(what_was_given_back_unstarted_does_not_count),
        T(an_idle_ventilator_with_a_rate_sleeps),
        T(a_queue_whose_time_has_come_and_that_stays_closed_keeps_nobody_busy),
        cmocka_unit_test(an_order_whose_answer_has_no_place_to_wait_is_refused),
        T(many_queues_with_rates_keep_to_each),
        cmocka_unit_test(a_cancel_whose_answer_has_no_place_to_wait_is_refused),
        T(a_queue_that_is_not_there_is_not_cancelled),
        T(a_purge_cancels_what_waits_and_says_how_many),
        T(what_is_due_counts_as_ready_though_its_queue_is_paused),
        T(what_is_due_of_a_group_counts_as_ready),
        T(what_was_delayed_and_is_with_a_worker_is_dispatched_only),
        T(what_waits_for_its_retry_is_scheduled_beside_what_is_delayed),
        T(a_backlog_that_is_due_counts_as_ready),
        T(what_runs_is_not_purged),
        T(a_queue_that_is_not_there_is_not_purged),
        T(a_whole_backlog_is_purged_though_nobody_serves_it),
        T(a_purge_that_was_answered_is_completed_after_a_crash),
        T(what_a_purge_has_not_found_yet_counts_as_ending),
        T(what_comes_after_a_purge_does_not_count_as_ending),
        T(a_purge_ends),
        T(all_of_a_queue_is_cancelled_also_what_runs),
        T(what_takes_long_to_stop_keeps_no_other_queue_waiting),
        T(a_cancelled_queue_is_cancelled_after_a_crash),
        T(what_runs_of_a_cancelled_backlog_is_stopped),
        T(a_running_task_is_stopped_though_the_ventilator_restarted),
        T(a_held_task_is_cancelled_when_its_worker_has_stopped_it),
        T(a_worker_takes_from_its_queues_by_their_weights),
        T(a_queue_that_was_empty_has_saved_nothing_up),
        T(strict_order_takes_from_the_first_that_has_any),
        T(a_paused_queue_blocks_no_strict_worker),
        T(a_closed_group_blocks_no_strict_worker),
        cmocka_unit_test(a_queue_that_is_full_refuses_and_no_other_does),
        T(the_position_of_a_task_counts_what_comes_first),
        T(what_waits_at_a_worker_waits_for_those_before_it),
        T(what_comes_before_a_task_that_failed_once_is_counted_too),
        T(a_task_outside_of_memory_has_so_many_before_it_at_least),
        T(a_task_without_a_sink_says_so),
        T(why_a_task_waits_is_told_over_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
