/* What the worker keeps for its sinks: sending, sending again, forgetting; sinks that come and go.
 */
#include "worker_world.h"

static struct world *one_slot(void)
{
    struct worker_cfg cfg = world_cfg(1);

    return world_in_session(&cfg);
}

static struct world *two_sinks(void)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t = world_new(&cfg);

    t->sinks_n = 2;
    world_tick(t);
    world_tick(t);
    world_welcome(t);
    world_tick(t);
    world_echo(t, 1, 1);
    world_clear(t);
    return t;
}

static void sink_event(struct world *t, enum worker_event_type type, uint32_t sink, uint64_t number)
{
    world_step(t, (struct worker_event){.type = type, .sink = {.index = sink, .number = number}});
}

/* Run one task to its end and send what it leaves. @return its number */
static uint32_t one_result(struct world *t, struct world_tasks g, struct world_end how)
{
    uint32_t number = world_give(t, g);

    world_tick(t);
    world_ends(t, 0, how);
    world_tick(t);
    return number;
}

static const struct dtqi_outcomes *sent(const struct world *t, uint32_t nth)
{
    const struct worker_action *a = world_find(t, WORKER_ACT_SINK_SEND, nth);

    assert_non_null(a);
    return &a->send.msg.outcomes;
}

static void sinks(struct world *t)
{
    struct dtqi_msg msg = {
        .type = DTQI_SINKS,
        .sinks = {.session = t->session, .sinks = t->sinks, .sinks_n = t->sinks_n}};

    world_control(t, &msg);
    world_tick(t);
}

/* ---------------------------------------------------------------- sending */

static void an_outcome_carries_all_that_the_sink_needs(void **state)
{
    struct world *t = one_slot();
    const struct dtqi_outcomes *o;

    (void)state;
    one_result(t, (struct world_tasks){.attempt = 2, .reply_to = 88},
               (struct world_end){.text = "forty-two", .took_us = 77});
    o = sent(t, 0);
    assert_true(dtqi_uid_eq(&o->ventilator, &t->store));
    assert_int_equal(o->epoch, WORLD_EPOCH);
    assert_true(dtqi_str_eq(o->worker, dtqi_str("w1")));
    assert_true(dtqi_uid_eq(&o->sink, &t->sinks[0].store));
    assert_true(o->heard_wall_ms >= WORLD_WALL_MS);
    assert_int_equal(o->n, 1);
    assert_int_equal(world_number(&o->ids[0]), 1);
    assert_int_equal(o->tickets[0], 1001);
    assert_int_equal(o->attempts[0], 2);
    assert_null(o->kinds); /* succeeded: what failed goes to the ventilator */
    assert_int_equal(o->reply_to[0], 88);
    assert_int_equal(o->durations_us[0], 77);
    assert_int_equal(o->specs_n, 1);
    assert_memory_equal(o->specs[o->spec_index[0]].raw.at, "spec/0/0", 8);
    assert_int_equal(o->bodies[0].len, 9);
    assert_memory_equal(o->bodies[0].at, "forty-two", 9);
    world_free(t);
}

static void the_wall_time_is_the_one_last_heard(void **state)
{
    struct world *t = one_slot();
    uint64_t heard;

    (void)state;
    world_live(t, 1000); /* a heartbeat was answered now */
    heard = WORLD_WALL_MS + t->now_ms;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    world_pass(t, 60000); /* fenced, and heard nothing */
    world_clear(t);
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    assert_int_equal(sent(t, 0)->heard_wall_ms, heard);
    world_free(t);
}

static void distinct_specs_travel_once(void **state)
{
    struct world *t = one_slot();
    const struct dtqi_outcomes *o;

    (void)state;
    world_teach(t, 1);
    world_give(t, (struct world_tasks){.n = 3, .spec = "a"});
    world_give(t, (struct world_tasks){.n = 3, .spec = "b"});
    world_tick(t);
    world_ends(t, 0, (struct world_end){.n = 6});
    world_tick(t);
    o = sent(t, 0);
    assert_int_equal(o->n, 6);
    assert_int_equal(o->specs_n, 2);
    for (uint32_t i = 0; i < 6; i++)
        assert_memory_equal(o->specs[o->spec_index[i]].raw.at, i < 3 ? "a" : "b", 1);
    world_free(t);
}

static void outcomes_stay_within_a_batch(void **state)
{
    struct world *t = one_slot();
    uint32_t total = 0;

    (void)state;
    world_teach(t, 1);
    world_give(t, (struct world_tasks){.n = 20});
    world_tick(t);
    world_clear(t);
    world_ends(t, 0, (struct world_end){.n = 20, .body_bytes = 50000});
    for (int i = 0; i < 3; i++)
        world_tick(t);
    for (uint32_t i = 0; i < world_count(t, WORKER_ACT_SINK_SEND); i++) {
        const struct dtqi_outcomes *o = sent(t, i);

        assert_in_range(o->n, 1, 5); /* 5 x 50,000 < 256 KiB */
        total += o->n;
    }
    assert_int_equal(total, 20);
    world_free(t);
}

static void a_larger_result_travels_alone(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_teach(t, 1);
    world_give(t, (struct world_tasks){.n = 3});
    world_tick(t);
    world_clear(t);
    world_ends(t, 0, (struct world_end){.body_bytes = 10});
    world_ends(t, 0, (struct world_end){.body_bytes = 1000000});
    world_ends(t, 0, (struct world_end){.body_bytes = 10});
    world_tick(t);
    assert_int_equal(world_count(t, WORKER_ACT_SINK_SEND), 3);
    assert_int_equal(sent(t, 1)->bodies[0].len, 1000000);
    world_free(t);
}

static void each_epoch_has_its_own_message(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    t->epoch++;
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    world_welcome(t);
    world_tick(t);
    sink_event(t, WORKER_EV_SINK_LOST, 0, 0);
    world_ends(t, 0, (struct world_end){0});
    one_result(t, (struct world_tasks){0}, (struct world_end){0});
    world_clear(t);
    sink_event(t, WORKER_EV_SINK_CONNECTED, 0, 0);
    world_tick(t);
    assert_int_equal(world_count(t, WORKER_ACT_SINK_SEND), 2);
    assert_int_equal(sent(t, 0)->epoch, WORLD_EPOCH);
    assert_int_equal(sent(t, 1)->epoch, WORLD_EPOCH + 1);
    world_free(t);
}

static void each_sink_gets_its_own(void **state)
{
    struct world *t = two_sinks();

    (void)state;
    one_result(t, (struct world_tasks){.sink = 101}, (struct world_end){0});
    one_result(t, (struct world_tasks){.sink = 102}, (struct world_end){0});
    assert_int_equal(world_count(t, WORKER_ACT_SINK_SEND), 2);
    assert_true(dtqi_uid_eq(&sent(t, 0)->sink, &t->sinks[0].store));
    assert_true(dtqi_uid_eq(&sent(t, 1)->sink, &t->sinks[1].store));
    world_free(t);
}

/* R24 */
static void a_result_that_is_too_large_fails_the_attempt(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;
    uint32_t number;

    (void)state;
    cfg.result_bytes_max = 1000;
    t = world_in_session(&cfg);
    number = one_result(t, (struct world_tasks){0}, (struct world_end){.body_bytes = 1001});
    assert_int_equal(world_failure(t, number)->reason, DTQ_REASON_RESULT_TOO_LARGE);
    assert_int_equal(world_outcomes(t, number), 0);
    number = one_result(t, (struct world_tasks){0}, (struct world_end){.body_bytes = 1000});
    assert_int_equal(world_outcomes(t, number), 1);
    world_free(t);
}

static void an_unwanted_result_is_not_kept(void **state)
{
    struct world *t = one_slot();

    (void)state;
    one_result(t, (struct world_tasks){.no_result = true}, (struct world_end){.body_bytes = 5000});
    assert_int_equal(sent(t, 0)->n, 1);
    assert_int_equal(sent(t, 0)->bodies[0].len, 0);
    assert_true(world_view(t).kept_bytes < 5000);
    world_free(t);
}

/* ---------------------------------------------------------------- sending again, forgetting */

/* R23 */
static void a_result_is_sent_once_and_kept_until_it_is_forgotten(void **state)
{
    struct world *t = one_slot();
    uint32_t number = one_result(t, (struct world_tasks){0}, (struct world_end){0});

    (void)state;
    world_live(t, 10000);
    assert_int_equal(world_outcomes(t, number), 1);
    assert_int_equal(world_view(t).done, 1);
    world_forget(t, number, 1);
    assert_int_equal(world_view(t).done, 0);
    assert_int_equal(world_view(t).kept_bytes, 0);
    world_free(t);
}

static void forget_must_name_the_attempt(void **state)
{
    struct world *t = one_slot();
    uint32_t number = one_result(t, (struct world_tasks){.attempt = 2}, (struct world_end){0});

    (void)state;
    world_forget(t, number, 1); /* attempt 1 */
    assert_int_equal(world_view(t).done, 1);
    world_free(t);
}

/* R23 */
static void resend_and_a_new_connection_send_again(void **state)
{
    struct world *t = one_slot();
    uint32_t number = one_result(t, (struct world_tasks){0}, (struct world_end){0});

    (void)state;
    world_clear(t);
    world_ids(t, DTQI_RESEND, number);
    world_tick(t);
    assert_int_equal(world_outcomes(t, number), 1);
    world_clear(t);
    sink_event(t, WORKER_EV_SINK_LOST, 0, 0);
    world_tick(t);
    assert_int_equal(world_outcomes(t, number), 0);
    sink_event(t, WORKER_EV_SINK_CONNECTED, 0, 0);
    world_tick(t);
    assert_int_equal(world_outcomes(t, number), 1);
    world_free(t);
}

static void what_a_full_socket_refused_is_sent_later_in_order(void **state)
{
    struct world *t = one_slot();
    uint64_t number;

    (void)state;
    world_teach(t, 1);
    world_give(t, (struct world_tasks){.first = 501, .n = 20});
    world_tick(t);
    world_clear(t);
    world_ends(t, 0, (struct world_end){.n = 20, .body_bytes = 50000});
    world_tick(t);
    assert_int_equal(world_count(t, WORKER_ACT_SINK_SEND), 4);
    number = world_find(t, WORKER_ACT_SINK_SEND, 1)->send.number;
    world_clear(t);
    sink_event(t, WORKER_EV_SINK_FULL, 0, number);
    world_live(t, 500);
    assert_int_equal(world_count(t, WORKER_ACT_SINK_SEND), 0);
    sink_event(t, WORKER_EV_SINK_WRITABLE, 0, 0);
    world_tick(t);
    assert_int_equal(world_count(t, WORKER_ACT_SINK_SEND), 3);
    assert_int_equal(world_number(&sent(t, 0)->ids[0]), 506);
    assert_int_equal(world_number(&sent(t, 2)->ids[4]), 520);
    world_free(t);
}

static void a_result_forgotten_while_it_could_not_be_sent_is_gone(void **state)
{
    struct world *t = one_slot();
    uint32_t number;

    (void)state;
    sink_event(t, WORKER_EV_SINK_LOST, 0, 0);
    number = one_result(t, (struct world_tasks){0}, (struct world_end){0});
    world_forget(t, number, 1);
    sink_event(t, WORKER_EV_SINK_CONNECTED, 0, 0);
    world_tick(t);
    assert_int_equal(world_outcomes(t, number), 0);
    world_free(t);
}

/* What waits for a sink that is away does not hold the batches that other results came in. */
static void results_for_a_lost_sink_are_copied_out_of_their_batch(void **state)
{
    struct world *t = one_slot();
    struct dtqi_buf *buf = dtqi_buf_new(1000, 1000);
    struct worker_result result = {.body = {dtqi_buf_alloc(buf, 100), 100}};

    (void)state;
    memset(dtqi_buf_alloc(buf, 10), 'x', 10);
    memset((void *)(uintptr_t)result.body.at, 'y', 100);
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    result.handle = t->slots[0].handles[0];
    t->slots[0].n = 0;
    world_step(t,
               (struct worker_event){.type = WORKER_EV_SLOT_ENDED, .ended = {0, 1, &result, buf}});
    assert_int_equal(buf->refs, 2); /* it is kept in place */
    world_tick(t);
    assert_int_equal(world_count(t, WORKER_ACT_SINK_SEND), 1);
    world_clear(t);
    sink_event(t, WORKER_EV_SINK_LOST, 0, 0);
    assert_int_equal(buf->refs, 1);
    dtqi_buf_unref(buf);
    sink_event(t, WORKER_EV_SINK_CONNECTED, 0, 0);
    world_tick(t);
    assert_int_equal(sent(t, 0)->bodies[0].len, 100);
    assert_int_equal(((const char *)sent(t, 0)->bodies[0].at)[99], 'y');
    world_free(t);
}

/* ---------------------------------------------------------------- sinks */

static void a_sink_that_cannot_be_reached_is_named_in_heartbeats(void **state)
{
    struct world *t = one_slot();
    const struct dtqi_worker_heartbeat *beat;

    (void)state;
    sink_event(t, WORKER_EV_SINK_LOST, 0, 0);
    world_live(t, 2500);
    beat = &world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat;
    assert_int_equal(beat->unreachable_n, 0);
    world_live(t, 600); /* at once when it is decided, not a heartbeat later */
    beat = &world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat;
    assert_int_equal(beat->unreachable_n, 1);
    assert_true(dtqi_uid_eq(&beat->unreachable_sinks[0], &t->sinks[0].store));
    sink_event(t, WORKER_EV_SINK_CONNECTED, 0, 0);
    world_live(t, 10);
    assert_int_equal(world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.unreachable_n, 0);
    world_free(t);
}

/* R16 */
static void one_sink_takes_at_most_half_while_there_are_others(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;
    uint32_t a = 0;
    uint32_t b;

    (void)state;
    cfg.result_bytes_max = MIB;
    cfg.memory_bytes_max = worker_memory_min(1, cfg.result_bytes_max);
    t = world_new(&cfg);
    t->sinks_n = 2;
    world_tick(t);
    world_tick(t);
    world_welcome(t);
    world_tick(t);
    world_echo(t, 1, 1);
    for (int i = 0; i < 14 && (a == 0 || !world_returned(t, a)); i++) {
        a = world_give(t, (struct world_tasks){.sink = 101});
        world_live(t, 1);
        if (t->slots[0].n != 0)
            world_ends(t, 0, (struct world_end){.body_bytes = MIB});
        world_live(t, 1);
    }
    assert_true(world_returned(t, a)); /* it was not started */
    assert_in_range(world_view(t).kept_bytes, 12 * MIB, 13 * MIB + 10000);
    world_live(t, 10);
    assert_int_equal(world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.unreachable_n, 1);
    b = world_give(t, (struct world_tasks){.sink = 102});
    world_tick(t);
    assert_int_equal(world_slot_of(t, b), 0);
    world_free(t);
}

/* TASKS and SINKS come on different connections. */
static void a_task_may_come_before_its_sink_is_announced(void **state)
{
    struct world *t = one_slot();
    uint32_t number = one_result(t, (struct world_tasks){.sink = 102}, (struct world_end){0});

    (void)state;
    assert_int_equal(world_view(t).done, 1);
    assert_int_equal(world_outcomes(t, number), 0);
    t->sinks_n = 2;
    sinks(t);
    assert_int_equal(world_outcomes(t, number), 1);
    world_free(t);
}

/* The first of two sinks is no more, and the second has what was its (R52). */
static void remove_first(struct world *t)
{
    struct dtqi_msg msg = {.type = DTQI_SINKS};

    msg.sinks = (struct dtqi_sinks){
        .session = t->session,
        .sinks = &t->sinks[1],
        .sinks_n = 1,
        .removed = {&t->sinks[0].store, &t->sinks[1].store, 1},
    };
    world_control(t, &msg);
    world_tick(t);
}

static void results_kept_for_a_removed_sink_go_to_its_successor(void **state)
{
    struct world *t = two_sinks();
    uint32_t unsent;
    uint32_t sent_before;

    (void)state;
    sent_before = one_result(t, (struct world_tasks){.sink = 101}, (struct world_end){0});
    sink_event(t, WORKER_EV_SINK_LOST, 0, 0);
    unsent = one_result(t, (struct world_tasks){.sink = 101}, (struct world_end){0});
    world_clear(t);
    remove_first(t);
    assert_int_equal(world_outcomes(t, sent_before), 1);
    assert_int_equal(world_outcomes(t, unsent), 1);
    assert_true(dtqi_uid_eq(&sent(t, 0)->sink, &t->sinks[1].store));
    world_forget(t, unsent, 1);
    world_forget(t, sent_before, 1);
    world_tick(t);
    assert_int_equal(world_view(t).done, 0);
    world_free(t);
}

/* TASKS and SINKS come on different connections. */
static void a_task_of_a_removed_sink_may_come_late(void **state)
{
    struct world *t = two_sinks();
    uint32_t number;

    (void)state;
    remove_first(t);
    world_clear(t);
    number = one_result(t, (struct world_tasks){.sink = 101}, (struct world_end){0});
    assert_int_equal(world_outcomes(t, number), 1);
    assert_true(dtqi_uid_eq(&sent(t, 0)->sink, &t->sinks[1].store));
    world_free(t);
}

static void a_sink_with_a_new_endpoint_is_connected_anew(void **state)
{
    struct world *t = one_slot();
    uint32_t number = one_result(t, (struct world_tasks){0}, (struct world_end){0});

    (void)state;
    world_clear(t);
    sinks(t); /* the same list */
    assert_int_equal(world_count(t, WORKER_ACT_SINK_CLOSE), 0);
    t->sinks[0].intake = dtqi_str("tcp://127.0.0.1:9999");
    sinks(t);
    assert_true(world_where(t, WORKER_ACT_SINK_CLOSE) < world_where(t, WORKER_ACT_SINK_OPEN));
    assert_int_equal(world_outcomes(t, number), 1);
    world_free(t);
}

static void a_removed_sink_stays_while_results_are_kept_for_it(void **state)
{
    struct world *t = two_sinks();
    uint32_t number = one_result(t, (struct world_tasks){.sink = 102}, (struct world_end){0});

    (void)state;
    t->sinks_n = 1;
    sinks(t);
    assert_int_equal(world_count(t, WORKER_ACT_SINK_CLOSE), 0);
    world_forget(t, number, 1);
    world_tick(t);
    assert_int_equal(world_count(t, WORKER_ACT_SINK_CLOSE), 1);
    world_free(t);
}

static void sink_numbers_that_do_not_exist_change_nothing(void **state)
{
    struct world *t = one_slot();

    (void)state;
    for (int type = WORKER_EV_SINK_CONNECTED; type <= WORKER_EV_SINK_WRITABLE; type++) {
        sink_event(t, (enum worker_event_type)type, 5, 1);
        sink_event(t, (enum worker_event_type)type, 1000, 1);
    }
    one_result(t, (struct world_tasks){0}, (struct world_end){0});
    assert_int_equal(world_count(t, WORKER_ACT_SINK_SEND), 1);
    world_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_outcome_carries_all_that_the_sink_needs),
        cmocka_unit_test(the_wall_time_is_the_one_last_heard),
        cmocka_unit_test(distinct_specs_travel_once),
        cmocka_unit_test(outcomes_stay_within_a_batch),
        cmocka_unit_test(a_larger_result_travels_alone),
        cmocka_unit_test(each_epoch_has_its_own_message),
        cmocka_unit_test(each_sink_gets_its_own),
        cmocka_unit_test(a_result_that_is_too_large_fails_the_attempt),
        cmocka_unit_test(an_unwanted_result_is_not_kept),
        cmocka_unit_test(a_result_is_sent_once_and_kept_until_it_is_forgotten),
        cmocka_unit_test(forget_must_name_the_attempt),
        cmocka_unit_test(resend_and_a_new_connection_send_again),
        cmocka_unit_test(what_a_full_socket_refused_is_sent_later_in_order),
        cmocka_unit_test(a_result_forgotten_while_it_could_not_be_sent_is_gone),
        cmocka_unit_test(results_for_a_lost_sink_are_copied_out_of_their_batch),
        cmocka_unit_test(a_sink_that_cannot_be_reached_is_named_in_heartbeats),
        cmocka_unit_test(one_sink_takes_at_most_half_while_there_are_others),
        cmocka_unit_test(a_task_may_come_before_its_sink_is_announced),
        cmocka_unit_test(a_sink_with_a_new_endpoint_is_connected_anew),
        cmocka_unit_test(results_kept_for_a_removed_sink_go_to_its_successor),
        cmocka_unit_test(a_task_of_a_removed_sink_may_come_late),
        cmocka_unit_test(a_removed_sink_stays_while_results_are_kept_for_it),
        cmocka_unit_test(sink_numbers_that_do_not_exist_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
