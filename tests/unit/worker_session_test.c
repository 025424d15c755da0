/* The worker's session with its ventilator: HELLO, lane, heartbeats, fencing, holdings, verdicts.
 */
#include "worker_world.h"

static struct world *one_slot(void)
{
    struct worker_cfg cfg = world_cfg(1);

    return world_in_session(&cfg);
}

static struct world *two_slots(void)
{
    struct worker_cfg cfg = world_cfg(2);

    return world_in_session(&cfg);
}

/* The session is lost, HELLO said again, and the next one open; its holdings are in `out`. */
static void new_session(struct world *t)
{
    world_unknown(t);
    t->now_ms += 1000;
    world_tick(t);
    assert_non_null(world_sent(t, DTQI_HELLO, 0));
    world_clear(t);
    world_welcome(t);
    world_tick(t);
    world_echo(t, 1, 1);
}

static const struct dtqi_holdings *holdings(const struct world *t)
{
    const struct dtqi_msg *msg = world_sent(t, DTQI_HOLDINGS, 0);

    assert_non_null(msg);
    return &msg->holdings;
}

/* ---------------------------------------------------------------- HELLO */

static void a_worker_says_hello_when_its_first_slot_is_ready(void **state)
{
    struct worker_cfg cfg = world_cfg(2);
    struct world *t = world_new(&cfg);
    const struct dtqi_msg *hello;

    (void)state;
    t->slots_start = false;
    world_pass(t, 500);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_START), 2);
    assert_null(world_sent(t, DTQI_HELLO, 0));
    world_step(t, (struct worker_event){.type = WORKER_EV_SLOT_READY, .slot.index = 1});
    world_tick(t);
    hello = world_sent(t, DTQI_HELLO, 0);
    assert_non_null(hello);
    assert_int_equal(hello->hello.role, DTQI_ROLE_WORKER);
    assert_int_equal(hello->hello.slots, 2);
    assert_int_equal(hello->hello.holdings, 0);
    assert_int_equal(hello->hello.previous_session, 0);
    assert_true(dtqi_str_eq(hello->hello.name, dtqi_str("w1")));
    world_free(t);
}

static void hello_is_repeated_with_backoff_and_on_a_new_connection(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t = world_new(&cfg);
    uint32_t said;

    (void)state;
    world_pass(t, 1000);
    said = world_sent_count(t, DTQI_HELLO);
    assert_in_range(said, 3, 6);
    world_clear(t);
    world_pass(t, 10000);
    assert_in_range(world_sent_count(t, DTQI_HELLO), 10, 20);
    assert_in_range(world_count(t, WORKER_ACT_CONTROL_RECONNECT), 3, 4);
    world_clear(t);
    world_step(t, (struct worker_event){.type = WORKER_EV_CONTROL_CONNECTED});
    world_tick(t);
    assert_int_equal(world_sent_count(t, DTQI_HELLO), 1);
    world_free(t);
}

static uint32_t silences(const struct world *t)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->out.n; i++) {
        const struct worker_action *a = &t->out.at[i];

        if (a->type != WORKER_ACT_LOG || strcmp(a->log.event, "ventilator_silent") != 0)
            continue;
        assert_int_equal(a->log.level, WORKER_LOG_WARN);
        assert_true(dtqi_str_eq(a->log.text, dtqi_str("endpoint=\"tcp://v:1\"")));
        n++;
    }
    return n;
}

static void a_ventilator_that_does_not_answer_is_told_once(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.ventilator = dtqi_str("tcp://v:1");
    t = world_new(&cfg);
    world_pass(t, 2000);
    assert_int_equal(silences(t), 0);
    world_pass(t, 1000);
    assert_int_equal(silences(t), 1);
    world_step(t, (struct worker_event){.type = WORKER_EV_CONTROL_CONNECTED});
    world_pass(t, 20000);
    assert_int_equal(silences(t), 1);
    world_welcome(t);
    world_clear(t);
    world_pass(t, 40000); /* lost again */
    assert_int_equal(silences(t), 1);
    world_free(t);
}

static void welcome_opens_lane_and_sinks_and_credit_is_told(void **state)
{
    struct worker_cfg cfg = world_cfg(2);
    struct world *t = world_new(&cfg);
    const struct worker_action *a;
    const struct dtqi_worker_heartbeat *beat;

    (void)state;
    world_tick(t);
    world_tick(t);
    world_welcome(t);
    world_tick(t);
    a = world_find(t, WORKER_ACT_LANE_OPEN, 0);
    assert_non_null(a);
    assert_true(dtqi_str_eq(a->lane.endpoint, dtqi_str("tcp://127.0.0.1:20000")));
    a = world_find(t, WORKER_ACT_SINK_OPEN, 0);
    assert_non_null(a);
    assert_true(dtqi_str_eq(a->sink.endpoint, dtqi_str("tcp://127.0.0.1:5571")));
    assert_null(world_sent(t, DTQI_HOLDINGS, 0)); /* none were announced */
    beat = &world_sent(t, DTQI_WORKER_HEARTBEAT, 0)->worker_heartbeat;
    assert_int_equal(beat->session, 1);
    assert_in_range(beat->credit_tasks, 2, 8);
    assert_true(beat->credit_bytes > DTQI_TASK_BYTES_MAX);
    assert_int_equal(beat->held, 0);
    world_free(t);
}

static void a_version_that_nobody_speaks_ends_the_worker(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t = world_new(&cfg);
    struct dtqi_msg msg = {.type = DTQI_REFUSED,
                           .refused = {.reason = DTQI_BAD_VERSION, .text = dtqi_str("speak 2")}};

    (void)state;
    world_tick(t);
    world_tick(t);
    world_control(t, &msg);
    assert_non_null(world_find(t, WORKER_ACT_EXIT, 0));
    assert_int_equal(world_find(t, WORKER_ACT_EXIT, 0)->exit.status, 1);
    world_clear(t);
    world_pass(t, 5000);
    assert_int_equal(t->out.n, 0);
    world_free(t);
}

static void a_busy_ventilator_is_asked_again(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t = world_new(&cfg);
    struct dtqi_msg msg = {.type = DTQI_REFUSED,
                           .refused = {.reason = DTQI_BUSY, .text = dtqi_str("workers_max")}};

    (void)state;
    world_tick(t);
    world_tick(t);
    world_control(t, &msg);
    world_clear(t);
    world_pass(t, 2000);
    assert_null(world_find(t, WORKER_ACT_EXIT, 0));
    assert_in_range(world_sent_count(t, DTQI_HELLO), 1, 3);
    world_free(t);
}

static void only_a_newer_welcome_changes_the_session(void **state)
{
    struct world *t = one_slot();

    (void)state;
    t->session = 0; /* the same number again */
    world_welcome(t);
    assert_int_equal(world_view(t).session, 1);
    assert_null(world_find(t, WORKER_ACT_LANE_OPEN, 0));
    t->store = world_uid(77); /* another ventilator, unasked */
    world_welcome(t);
    assert_int_equal(world_view(t).session, 1);
    t->store = world_uid(1);
    t->session = 4;
    world_welcome(t);
    assert_int_equal(world_view(t).session, 5);
    assert_true(world_where(t, WORKER_ACT_LANE_CLOSE) < world_where(t, WORKER_ACT_LANE_OPEN));
    world_free(t);
}

/* The answer to a second HELLO comes when tasks of the first one's session are here: the ventilator
 * believed that nothing is held. */
static void a_welcome_that_does_not_know_of_holdings_is_answered_by_hello(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_welcome(t);
    assert_false(world_view(t).in_session);
    t->now_ms += 100;
    world_clear(t);
    world_tick(t);
    assert_int_equal(world_sent(t, DTQI_HELLO, 0)->hello.holdings, 1);
    world_free(t);
}

/* ---------------------------------------------------------------- what is not of the session */

/* R8 */
static void messages_of_other_sessions_change_nothing(void **state)
{
    struct world *t = one_slot();
    uint32_t number = world_give(t, (struct world_tasks){0});
    struct worker_view before;
    struct worker_view after;

    (void)state;
    world_tick(t);
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    before = world_view(t);
    t->session = 99;
    world_forget(t, number, 1);
    world_verdict(t, number, DTQI_VERDICT_FORGET, 0);
    world_ids(t, DTQI_STOP_ATTEMPTS, number);
    world_unknown(t);
    after = world_view(t);
    assert_int_equal(after.session, before.session);
    assert_int_equal(after.done, 1);
    assert_int_equal(after.done, before.done);
    assert_int_equal(worker_stats(t->w)->foreign_msgs, 4);
    world_free(t);
}

static void messages_that_are_not_for_workers_change_nothing(void **state)
{
    static const enum dtqi_msg_type types[] = {
        DTQI_HELLO,    DTQI_BYE,    DTQI_SUBMIT,  DTQI_SUBMITTED, DTQI_TASKS,  DTQI_REPORT,
        DTQI_HOLDINGS, DTQI_RESUME, DTQI_SETTLED, DTQI_OUTCOMES,  DTQI_FOLLOW, DTQI_RESULTS,
        DTQI_CLAIM,    DTQI_WAIT,   DTQI_QUERY,   DTQI_OPERATE,   DTQI_CANCEL, DTQI_SETTLED_ACK,
    };
    struct world *t = one_slot();

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct dtqi_msg msg = {.type = types[i]};

        world_control(t, &msg);
    }
    assert_true(world_view(t).in_session);
    assert_int_equal(worker_stats(t->w)->foreign_msgs, sizeof types / sizeof *types);
    world_free(t);
}

/* ---------------------------------------------------------------- the lane */

/* R17 */
static void a_gap_on_the_lane_closes_it_before_hello(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){.skip = true});
    assert_int_equal(world_count(t, WORKER_ACT_LANE_CLOSE), 1);
    assert_int_equal(world_view(t).waiting, 0);
    t->now_ms += 100;
    world_tick(t);
    assert_non_null(world_sent(t, DTQI_HELLO, 0));
    assert_int_equal(world_sent(t, DTQI_HELLO, 0)->hello.previous_session, 1);
    assert_int_equal(worker_stats(t->w)->lane_gaps, 1);
    world_free(t);
}

static void a_foreign_session_on_the_lane_is_a_gap(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){.session = 42});
    assert_false(world_view(t).in_session);
    assert_int_equal(world_view(t).waiting, 0);
    world_free(t);
}

/* R9 */
static void a_broken_lane_is_not_used_again(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_step(t, (struct worker_event){.type = WORKER_EV_LANE_BROKEN, .lane = 99});
    assert_true(world_view(t).in_session); /* that was another one */
    world_step(t, (struct worker_event){.type = WORKER_EV_LANE_BROKEN, .lane = 1});
    assert_false(world_view(t).in_session);
    assert_int_equal(world_count(t, WORKER_ACT_LANE_CLOSE), 1);
    world_give(t, (struct world_tasks){0});
    assert_int_equal(world_view(t).waiting, 0);
    world_free(t);
}

/* R15: a ventilator that ignores credit cannot fill this process. */
static void tasks_far_beyond_credit_end_the_session(void **state)
{
    struct world *t = one_slot();

    (void)state;
    for (int i = 0; i < 8 && world_view(t).in_session; i++)
        world_give(t, (struct world_tasks){.n = 4096});
    assert_false(world_view(t).in_session);
    assert_in_range(world_view(t).waiting, 4096, 5 * 4096);
    world_free(t);
}

/* R17 */
static void an_entry_that_cannot_be_run_is_reported_failed(void **state)
{
    struct world *t = one_slot();
    uint32_t a = world_give(t, (struct world_tasks){.no_spec = true});
    uint32_t b = world_give(t, (struct world_tasks){.no_sink = true});

    (void)state;
    world_tick(t);
    assert_int_equal(world_failure(t, a)->reason, DTQ_REASON_BAD_ENTRY);
    assert_int_equal(world_failure(t, b)->reason, DTQ_REASON_BAD_ENTRY);
    assert_int_equal(world_view(t).failed, 2);
    world_forget(t, a, 2);
    assert_int_equal(world_view(t).failed, 0);
    world_free(t);
}

/* ---------------------------------------------------------------- attempts of one task */

/* The ventilator has counted the failure, or it would not send the task again; its FORGET comes on
 * another connection than the lane. */
static void a_higher_attempt_takes_the_place_of_a_failed_one(void **state)
{
    struct world *t = one_slot();
    uint32_t number = world_give(t, (struct world_tasks){0});

    (void)state;
    world_tick(t);
    world_ends(t, 0, (struct world_end){.reason = DTQ_REASON_ERROR, .text = "no"});
    world_tick(t);
    assert_int_equal(world_view(t).failed, 1);
    world_give(t, (struct world_tasks){.first = number, .attempt = 2});
    assert_int_equal(world_view(t).failed, 0);
    world_forget(t, number, 1); /* of attempt 1: late */
    world_tick(t);
    assert_int_equal(world_slot_of(t, number), 0);
    assert_int_equal(world_view(t).in_slots, 1);
    world_free(t);
}

static void a_done_attempt_is_kept_beside_a_higher_one(void **state)
{
    struct world *t = one_slot();
    uint32_t number = world_give(t, (struct world_tasks){0});

    (void)state;
    world_tick(t);
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    world_give(t, (struct world_tasks){.first = number, .attempt = 2});
    world_tick(t);
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    assert_int_equal(world_view(t).done, 2);
    world_forget(t, number, 1); /* attempt 1 alone */
    assert_int_equal(world_view(t).done, 1);
    world_free(t);
}

static void the_same_attempt_twice_is_held_once(void **state)
{
    struct world *t = one_slot();
    uint32_t number = world_give(t, (struct world_tasks){.attempt = 3});

    (void)state;
    world_give(t, (struct world_tasks){.first = number, .attempt = 3});
    world_give(t, (struct world_tasks){.first = number, .attempt = 2});
    assert_int_equal(world_view(t).waiting, 1);
    assert_int_equal(worker_stats(t->w)->tasks_refused, 2);
    world_free(t);
}

/* ---------------------------------------------------------------- heartbeats */

/* R12 */
static void at_most_two_heartbeats_are_unanswered(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_pass(t, 2900);
    assert_int_equal(world_sent_count(t, DTQI_WORKER_HEARTBEAT), 2);
    world_echo(t, 2, 1);
    world_tick(t);
    assert_int_equal(world_sent_count(t, DTQI_WORKER_HEARTBEAT), 2);
    world_pass(t, 200);
    assert_int_equal(world_sent_count(t, DTQI_WORKER_HEARTBEAT), 3);
    world_free(t);
}

/* R14: silence is counted from when what is echoed was sent. */
static void long_round_trips_fence_nobody(void **state)
{
    struct world *t = one_slot();
    uint64_t from_ms = t->now_ms;

    (void)state;
    for (uint64_t echo = 2; echo < 20; echo++) {
        uint64_t at_ms = from_ms + (echo - 1) * 1000 + 1900; /* heartbeat 2 is due 1 s from now */

        world_pass(t, at_ms - t->now_ms);
        world_echo(t, echo, 1);
        world_tick(t);
    }
    assert_int_equal(world_sent_count(t, DTQI_HELLO), 0);
    assert_true(world_sent_count(t, DTQI_WORKER_HEARTBEAT) >= 18);
    world_free(t);
}

/* R12: nothing about a prefetched task is listed, its hash is in the sum. */
static void heartbeats_count_and_sum_what_is_held(void **state)
{
    struct world *t = one_slot();
    const struct dtqi_worker_heartbeat *beat;
    uint64_t sum = 0;
    uint32_t a = world_give(t, (struct world_tasks){.n = 2});

    (void)state;
    world_tick(t);
    world_ends(t, (uint32_t)world_slot_of(t, a), (struct world_end){0});
    world_live(t, 1000);
    beat = &world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat;
    for (uint32_t i = 0; i < 2; i++) {
        dtq_id id = world_id(a + i);

        sum += dtqi_holding_hash(&id, WORLD_EPOCH, 1);
    }
    assert_int_equal(beat->held, 2); /* one done, one in its slot */
    assert_int_equal(beat->held_sum, sum);
    assert_int_equal(beat->lane_seq, 1);
    assert_int_equal(beat->running_n, 1);
    assert_int_equal(world_number(&beat->running_ids[0]), a + 1);
    world_forget(t, a, 1);
    world_clear(t);
    world_live(t, 1000);
    beat = &world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat;
    assert_int_equal(beat->held, 1);
    world_free(t);
}

/* The control connection keeps its order: what went out before an answered heartbeat has come, or
 * is lost. */
static void a_report_that_was_lost_ends_the_session(void **state)
{
    struct world *t = one_slot();
    uint32_t sequence;

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_ends(t, 0, (struct world_end){.reason = DTQ_REASON_ERROR});
    world_tick(t);
    assert_true(t->reports > 0);
    world_live(t, 900);
    assert_true(world_view(t).in_session);
    t->now_ms += 200;
    world_tick(t);
    sequence = (uint32_t)world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.sequence;
    t->reports -= 1;
    world_echo(t, sequence, 1);
    assert_false(world_view(t).in_session);
    world_free(t);
}

/* ---------------------------------------------------------------- fencing */

/* R14 */
static void three_silent_intervals_fence_the_worker(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    world_pass(t, 2999);
    assert_true(world_view(t).in_session);
    t->now_ms++;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    assert_false(world_view(t).in_session);
    assert_int_equal(world_view(t).waiting, 1);
    assert_int_equal(world_view(t).in_slots, 1);
    assert_non_null(world_find(t, WORKER_ACT_CONTROL_RECONNECT, 0));
    assert_non_null(world_sent(t, DTQI_HELLO, 0));
    world_ends(t, 0, (struct world_end){0}); /* runs on, and what it leaves is sent */
    world_clear(t);
    world_tick(t);
    assert_int_equal(world_slot_of(t, 2), -1); /* but nothing starts */
    assert_int_equal(world_view(t).done, 1);
    world_free(t);
}

/* R14: one-way loss. Messages of the ventilator come, but no echo of what it was told. */
static void traffic_without_an_echo_does_not_help(void **state)
{
    struct world *t = one_slot();

    (void)state;
    for (int i = 0; i < 32; i++) {
        world_pass(t, 100);
        world_echo(t, 1, 1);
    }
    assert_false(world_view(t).in_session);
    world_free(t);
}

/* R14, R31: a zombie may not outlive the sink's memory. */
static void after_the_outcome_fence_nothing_is_sent_before_verdicts(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    world_pass(t, 4000);
    world_pass(t, DTQI_OUTCOME_FENCE_MS);
    world_ends(t, 0, (struct world_end){0});
    world_clear(t);
    world_pass(t, 1000);
    assert_int_equal(world_outcomes(t, 1), 0);
    world_welcome(t);
    world_tick(t);
    assert_int_equal(holdings(t)->states[0], DTQI_DONE);
    assert_int_equal(world_outcomes(t, 1), 0);
    world_verdict(t, 1, DTQI_VERDICT_ADOPT, 5);
    world_tick(t);
    assert_int_equal(world_outcomes(t, 1), 1);
    world_free(t);
}

static void before_the_outcome_fence_outcomes_are_sent_without_a_session(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    world_pass(t, 60000);
    world_ends(t, 0, (struct world_end){0});
    world_clear(t);
    world_tick(t);
    assert_int_equal(world_outcomes(t, 1), 1);
    world_free(t);
}

/* ---------------------------------------------------------------- holdings and verdicts */

/* R10 */
static void holdings_tell_the_state_of_each_attempt(void **state)
{
    struct world *t = two_slots();
    const struct dtqi_holdings *h;
    uint32_t seen[4] = {0};

    (void)state;
    world_give(t, (struct world_tasks){.n = 2});
    world_tick(t);
    world_ends(t, (uint32_t)world_slot_of(t, 1), (struct world_end){0});
    world_ends(t, (uint32_t)world_slot_of(t, 2),
               (struct world_end){.reason = DTQ_REASON_EXIT, .code = 3, .text = "oh"});
    world_give(t, (struct world_tasks){.n = 4});
    world_tick(t);
    world_begin(t, 0);
    world_begin(t, 1);
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    assert_int_equal(world_last(t, DTQI_HELLO)->hello.holdings, 6);
    world_clear(t);
    world_welcome(t);
    world_tick(t);
    h = holdings(t);
    assert_int_equal(h->n, 6);
    assert_true(h->last);
    assert_int_equal(h->session, 2);
    for (uint32_t i = 0; i < h->n; i++) {
        assert_int_equal(h->epochs[i], WORLD_EPOCH);
        assert_int_equal(h->attempts[i], 1);
        seen[h->states[i]]++;
    }
    assert_int_equal(seen[DTQI_WAITING], 2);
    assert_int_equal(seen[DTQI_HELD_RUNNING], 2);
    assert_int_equal(seen[DTQI_DONE], 1);
    assert_int_equal(seen[DTQI_HELD_FAILED], 1);
    assert_int_equal(h->failures_n, 1);
    assert_int_equal(h->failures[0].code, 3);
    assert_true(dtqi_str_eq(h->failures[0].text, dtqi_str("oh")));
    world_free(t);
}

static void an_empty_list_is_sent_when_one_was_announced(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    assert_int_equal(world_last(t, DTQI_HELLO)->hello.holdings, 1);
    t->store = world_uid(66); /* another ventilator: nothing is held of it */
    world_clear(t);
    world_welcome(t);
    world_tick(t);
    assert_int_equal(holdings(t)->n, 0);
    assert_true(holdings(t)->last);
    world_free(t);
}

/* R10 */
static void long_lists_come_in_pages(void **state)
{
    struct world *t = one_slot();
    const struct dtqi_msg *page;
    uint32_t listed = 0;
    uint32_t pages = 0;

    (void)state;
    world_give(t, (struct world_tasks){.n = 4096});
    world_give(t, (struct world_tasks){.n = 4096});
    world_give(t, (struct world_tasks){.n = 10});
    new_session(t);
    while ((page = world_sent(t, DTQI_HOLDINGS, pages)) != NULL) {
        assert_in_range(page->holdings.n, 1, DTQI_BATCH_ENTRIES_MAX);
        listed += page->holdings.n;
        pages++;
        assert_int_equal(page->holdings.last, listed == 8202);
    }
    assert_int_equal(listed, 8202);
    assert_int_equal(pages, 3);
    world_free(t);
}

/* R10, R11 */
static void nothing_that_waits_starts_before_its_verdict(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){.n = 4});
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    world_welcome(t);
    world_live(t, 100);
    assert_int_equal(world_view(t).waiting, 4);
    assert_int_equal(world_view(t).in_slots, 0);
    world_verdict(t, 3, DTQI_VERDICT_ADOPT, 77);
    world_verdict(t, 2, DTQI_VERDICT_STALE, 0);
    world_verdict(t, 1, DTQI_VERDICT_FORGET, 0);
    world_tick(t);
    assert_int_equal(world_slot_of(t, 3), 0);
    assert_int_equal(world_view(t).waiting, 1); /* 4: no verdict yet */
    world_ends(t, 0, (struct world_end){0});
    world_clear(t);
    world_tick(t);
    assert_true(world_done(t, 77)); /* by the new ticket */
    world_free(t);
}

static void new_tasks_run_while_old_ones_wait_for_their_verdict(void **state)
{
    struct world *t = one_slot();
    uint32_t number;

    (void)state;
    world_give(t, (struct world_tasks){0});
    new_session(t);
    number = world_give(t, (struct world_tasks){0});
    world_tick(t);
    assert_int_equal(world_slot_of(t, number), 0);
    assert_int_equal(world_view(t).waiting, 1);
    world_free(t);
}

/* It would wait for ever, as what is held agrees with what the ventilator believes. */
static void a_verdict_that_does_not_come_ends_the_session(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){.n = 2});
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    world_welcome(t);
    world_tick(t);
    world_echo(t, 1, 1);
    world_verdict(t, 2, DTQI_VERDICT_ADOPT, 77);
    world_live(t, 29000);
    assert_true(world_view(t).in_session);
    world_live(t, 2000);
    assert_false(world_view(t).in_session);
    world_welcome(t);
    world_tick(t);
    world_echo(t, 1, 1);
    world_verdict(t, 1, DTQI_VERDICT_ADOPT, 78);
    world_verdict(t, 2, DTQI_VERDICT_ADOPT, 79);
    world_live(t, 40000);
    assert_true(world_view(t).in_session);
    world_free(t);
}

/* R11: its end is reported under the ticket that the verdict brings, not before. */
static void what_ends_before_its_verdict_is_reported_after_it(void **state)
{
    struct world *t = two_slots();

    (void)state;
    world_give(t, (struct world_tasks){.n = 2});
    world_tick(t);
    world_begin(t, 0);
    world_begin(t, 1);
    new_session(t);
    assert_int_equal(holdings(t)->states[0], DTQI_HELD_RUNNING);
    world_ends(t, (uint32_t)world_slot_of(t, 1), (struct world_end){0});
    world_ends(t, (uint32_t)world_slot_of(t, 2), (struct world_end){.reason = DTQ_REASON_ERROR});
    world_clear(t);
    world_live(t, 1500);
    assert_false(world_done(t, 1001));
    assert_null(world_failure(t, 2));
    world_verdict(t, 1, DTQI_VERDICT_ADOPT, 55);
    world_verdict(t, 2, DTQI_VERDICT_ADOPT, 56);
    world_live(t, 1500);
    assert_true(world_done(t, 55));
    assert_non_null(world_failure(t, 2));
    world_free(t);
}

static void what_was_listed_as_ended_is_not_reported_again(void **state)
{
    struct world *t = two_slots();

    (void)state;
    world_give(t, (struct world_tasks){.n = 2});
    world_tick(t);
    world_begin(t, 0);
    world_begin(t, 1);
    world_unknown(t);
    world_ends(t, (uint32_t)world_slot_of(t, 1), (struct world_end){0});
    world_ends(t, (uint32_t)world_slot_of(t, 2), (struct world_end){.reason = DTQ_REASON_ERROR});
    t->now_ms += 500;
    world_tick(t);
    world_clear(t);
    world_welcome(t);
    world_tick(t);
    world_verdict(t, 1, DTQI_VERDICT_ADOPT, 55);
    world_verdict(t, 2, DTQI_VERDICT_ADOPT, 56);
    world_live(t, 1500);
    assert_false(world_done(t, 55));
    assert_null(world_failure(t, 2));
    assert_int_equal(world_outcomes(t, 1), 1); /* R23: but its outcome is sent, on ADOPT */
    world_forget(t, 1, 2);
    assert_int_equal(world_view(t).done + world_view(t).failed, 0);
    world_free(t);
}

/* R11 */
static void a_stale_task_runs_on_and_its_result_goes_to_the_sink_only(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    new_session(t);
    world_verdict(t, 1, DTQI_VERDICT_STALE, 0);
    assert_int_equal(world_view(t).in_slots, 1);
    world_ends(t, 0, (struct world_end){0});
    world_clear(t);
    world_live(t, 1500);
    assert_int_equal(world_outcomes(t, 1), 1);
    assert_false(world_done(t, 1001));
    assert_int_equal(world_view(t).done, 1);
    world_live(t, DTQI_ORPHAN_MS); /* nobody may ever forget it: it fades */
    assert_int_equal(world_view(t).done, 0);
    world_free(t);
}

/* R11 */
static void a_running_task_that_is_to_be_forgotten_is_stopped(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    new_session(t);
    t->slots[0].deaf = true;
    world_verdict(t, 1, DTQI_VERDICT_FORGET, 0);
    world_give_back(t, 0);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 1);
    world_live(t, 1000); /* forgotten is forgotten, though its slot is not gone yet */
    assert_int_equal(world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.held, 0);
    world_slot_exits(t, 0, true, 9);
    assert_int_equal(world_view(t).in_slots, 0);
    world_tick(t);
    assert_false(world_stopped(t, 1));
    assert_true(t->slots[0].up); /* a fresh one */
    world_free(t);
}

/* R23 */
static void adopted_and_stale_results_are_sent_again(void **state)
{
    struct world *t = one_slot();

    (void)state;
    for (int i = 0; i < 2; i++) {
        world_give(t, (struct world_tasks){0});
        world_tick(t);
        world_ends(t, 0, (struct world_end){0});
        world_tick(t);
    }
    new_session(t);
    world_clear(t);
    world_live(t, 1200);
    assert_int_equal(world_outcomes(t, 1) + world_outcomes(t, 2), 0);
    world_verdict(t, 1, DTQI_VERDICT_ADOPT, 5);
    world_verdict(t, 2, DTQI_VERDICT_STALE, 0);
    world_tick(t);
    assert_int_equal(world_outcomes(t, 1), 1);
    assert_int_equal(world_outcomes(t, 2), 1);
    world_free(t);
}

/* R12: a list asked for in the session stops nothing. */
static void a_list_that_is_asked_for_disturbs_nothing(void **state)
{
    struct world *t = one_slot();
    struct dtqi_msg msg = {.type = DTQI_HOLDINGS_WANTED, .holdings_wanted.session = 1};

    (void)state;
    world_give(t, (struct world_tasks){.n = 3});
    world_tick(t);
    world_control(t, &msg);
    assert_int_equal(holdings(t)->n, 3);
    assert_true(holdings(t)->last);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_TAKE_BACK), 0);
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    assert_true(world_slot_of(t, 2) == 0 || world_slot_of(t, 3) == 0);
    world_free(t);
}

static void the_list_waits_until_it_is_known_what_has_started(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){.n = 2});
    world_tick(t);
    t->slots[0].deaf = true;
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    world_clear(t);
    world_welcome(t);
    world_tick(t);
    assert_null(world_sent(t, DTQI_HOLDINGS, 0));
    world_give_back(t, 0);
    world_tick(t);
    assert_int_equal(holdings(t)->n, 2);
    assert_int_equal(holdings(t)->states[0], DTQI_WAITING);
    assert_int_equal(holdings(t)->states[1], DTQI_WAITING);
    world_free(t);
}

/* ---------------------------------------------------------------- another ventilator */

/* R35 */
static void another_ventilator_at_the_endpoint_orphans_what_is_kept(void **state)
{
    struct world *t = two_slots();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_ends(t, (uint32_t)world_slot_of(t, 1), (struct world_end){0});
    world_give(t, (struct world_tasks){.n = 5}); /* 2 and 3 run, the others wait */
    world_tick(t);
    world_begin(t, 0);
    world_begin(t, 1);
    world_unknown(t);
    t->now_ms += 500;
    world_tick(t);
    world_clear(t);
    t->store = world_uid(66);
    world_welcome(t);
    world_tick(t);
    assert_int_equal(world_outcomes(t, 1), 1); /* once more */
    assert_int_equal(world_view(t).waiting, 0);
    assert_int_equal(world_view(t).in_slots, 2);
    assert_int_equal(world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.held, 0);
    assert_int_equal(world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.held_sum, 0);
    world_echo(t, world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.sequence, 1);
    world_ends(t, 0, (struct world_end){0});
    world_ends(t, 1, (struct world_end){.reason = DTQ_REASON_ERROR}); /* nobody to tell */
    world_clear(t);
    world_live(t, 2000);
    assert_int_equal(world_view(t).failed, 0);
    assert_int_equal(world_view(t).done, 2);
    assert_int_equal(world_sent_count(t, DTQI_REPORT), 1); /* the credit, nothing of the old */
    assert_int_equal(world_sent(t, DTQI_REPORT, 0)->report.done_n, 0);
    world_live(t, DTQI_ORPHAN_MS);
    assert_int_equal(world_view(t).done, 0);
    assert_int_equal(worker_stats(t->w)->results_faded, 2);
    world_free(t);
}

/* Both count attempts from 1, and an epoch may have the same number. */
static void attempts_of_two_ventilators_are_told_apart(void **state)
{
    struct world *t = one_slot();

    (void)state;
    for (int i = 0; i < 2; i++) {
        world_give(t, (struct world_tasks){.first = 1});
        world_tick(t);
        world_ends(t, 0, (struct world_end){0});
        world_tick(t);
        if (i == 0) {
            t->store = world_uid(66);
            new_session(t);
        }
    }
    assert_int_equal(world_view(t).done, 2);
    t->store = world_uid(1);
    new_session(t);
    assert_int_equal(holdings(t)->n, 1);
    world_verdict(t, 1, DTQI_VERDICT_FORGET, 0);
    assert_int_equal(world_view(t).done, 1);
    new_session(t);
    assert_null(world_sent(t, DTQI_HOLDINGS, 0)); /* nothing of this one is held any more */
    world_free(t);
}

static void a_restarted_ventilator_gets_what_is_kept_under_the_old_epoch(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    t->epoch = WORLD_EPOCH + 1;
    new_session(t);
    assert_int_equal(holdings(t)->epochs[0], WORLD_EPOCH);
    world_verdict(t, 1, DTQI_VERDICT_ADOPT, 5);
    world_give(t, (struct world_tasks){0});
    world_ends(t, 0, (struct world_end){0});
    world_clear(t);
    world_tick(t);
    assert_true(world_done(t, 5));
    assert_int_equal(world_find(t, WORKER_ACT_SINK_SEND, 0)->send.msg.outcomes.epoch, WORLD_EPOCH);
    world_forget(t, 1, 1); /* says the new epoch: another attempt */
    assert_int_equal(world_view(t).done, 1);
    t->epoch = WORLD_EPOCH;
    world_forget(t, 1, 1);
    assert_int_equal(world_view(t).done, 0);
    world_free(t);
}

/* ---------------------------------------------------------------- stop attempts */

static void a_waiting_task_that_is_to_stop_never_starts(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){.n = 3});
    world_tick(t);
    world_begin(t, 0);
    world_ids(t, DTQI_STOP_ATTEMPTS, 3);
    world_tick(t);
    assert_true(world_stopped(t, 3));
    assert_false(world_started(t, 3));
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 0);
    assert_int_equal(world_slot_of(t, 1), 0);
    world_free(t);
}

static void a_running_task_that_is_to_stop_is_killed_and_then_reported(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){.n = 2});
    world_tick(t);
    world_begin(t, 0);
    t->slots[0].deaf = true;
    world_ids(t, DTQI_STOP_ATTEMPTS, 1);
    world_give_back(t, 0);
    assert_int_equal(world_find(t, WORKER_ACT_SLOT_KILL, 0)->slot.why, WORKER_KILL_STOP);
    world_live(t, 50);
    assert_false(world_stopped(t, 1)); /* its processes may still be there */
    world_slot_exits(t, 0, true, 9);
    t->slots[0].deaf = false;
    world_tick(t);
    world_tick(t);
    assert_true(world_stopped(t, 1));
    assert_true(world_started(t, 1)); /* so that people hear that it ran */
    assert_null(world_failure(t, 1));
    assert_int_equal(world_slot_of(t, 2), 0);
    world_free(t);
}

/* STOP_ATTEMPTS overtook TASKS, which come on another connection. */
static void a_stop_that_comes_before_its_task_is_remembered(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_ids(t, DTQI_STOP_ATTEMPTS, 1);
    world_tick(t);
    assert_false(world_stopped(t, 1));
    world_give(t, (struct world_tasks){.n = 2});
    world_tick(t);
    assert_true(world_stopped(t, 1));
    assert_int_equal(world_slot_of(t, 2), 0);
    world_free(t);
}

/* R36 */
static void an_end_that_came_first_is_reported_as_such(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_begin(t, 0);
    t->slots[0].deaf = true;
    world_ids(t, DTQI_STOP_ATTEMPTS, 1);
    world_ends(t, 0, (struct world_end){0});
    world_give_back(t, 0);
    world_tick(t);
    assert_true(world_done(t, 1001));
    assert_false(world_stopped(t, 1));
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 0);
    world_free(t);
}

/* ---------------------------------------------------------------- leaving */

static void stop(struct world *t, bool cold)
{
    world_step(t, (struct worker_event){.type = WORKER_EV_STOP, .cold = cold});
}

/* R40 */
static void a_warm_stop_gives_back_finishes_and_waits_for_forget(void **state)
{
    struct world *t = one_slot();

    (void)state;
    world_give(t, (struct world_tasks){.n = 3});
    world_tick(t);
    world_begin(t, 0);
    stop(t, false);
    world_tick(t);
    assert_true(world_returned(t, 2));
    assert_true(world_returned(t, 3));
    assert_int_equal(world_last(t, DTQI_REPORT)->report.credit_tasks, 3); /* what was sent */
    world_give(t, (struct world_tasks){0});                               /* was on its way */
    world_tick(t);
    assert_true(world_returned(t, 4));
    world_live(t, 60000);
    assert_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_ends(t, 0, (struct world_end){0});
    world_live(t, 1500);
    assert_true(world_done(t, 1001));
    assert_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_forget(t, 1, 1);
    world_clear(t);
    world_tick(t);
    assert_int_equal(world_last(t, DTQI_BYE)->bye.abandoned_n, 0);
    assert_int_equal(world_find(t, WORKER_ACT_EXIT, 0)->exit.status, 0);
    world_free(t);
}

/* R40 */
static void a_warm_stop_ends_at_its_deadline_and_names_what_it_abandons(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.stop_kept_ms = 5000;
    t = world_in_session(&cfg);
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_ends(t, 0, (struct world_end){0});
    stop(t, false);
    world_live(t, 4900);
    assert_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_live(t, 200);
    assert_int_equal(world_last(t, DTQI_BYE)->bye.abandoned_n, 1);
    assert_int_equal(world_number(&world_last(t, DTQI_BYE)->bye.abandoned_ids[0]), 1);
    assert_non_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_free(t);
}

static void a_bye_names_no_more_than_a_message_may_hold(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.stop_kept_ms = 5000;
    t = world_in_session(&cfg);
    for (uint32_t i = 1; i <= DTQI_BATCH_ENTRIES_MAX + 1; i++) {
        world_give(t, (struct world_tasks){.first = i});
        world_tick(t);
        world_ends(t, 0, (struct world_end){0});
    }
    stop(t, false);
    world_live(t, 5100);
    assert_int_equal(world_last(t, DTQI_BYE)->bye.abandoned_n, DTQI_BATCH_ENTRIES_MAX);
    world_free(t);
}

static void a_cold_stop_kills_gives_back_and_leaves(void **state)
{
    struct world *t = two_slots();

    (void)state;
    world_give(t, (struct world_tasks){.n = 3});
    world_tick(t);
    world_begin(t, 0);
    world_begin(t, 1);
    stop(t, true);
    assert_int_equal(world_count(t, WORKER_ACT_SLOT_KILL), 2);
    world_tick(t);
    for (uint32_t i = 1; i <= 3; i++)
        assert_true(world_returned(t, i));
    assert_non_null(world_sent(t, DTQI_BYE, 0));
    assert_int_equal(world_find(t, WORKER_ACT_EXIT, 0)->exit.status, 0);
    world_free(t);
}

static void a_stop_without_a_session_needs_no_ventilator(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t = world_new(&cfg);

    (void)state;
    world_tick(t);
    stop(t, false);
    world_tick(t);
    world_tick(t);
    assert_non_null(world_find(t, WORKER_ACT_EXIT, 0));
    assert_null(world_sent(t, DTQI_BYE, 0));
    world_free(t);
}

static void a_cold_stop_does_not_wait_for_slots_for_ever(void **state)
{
    struct world *t = one_slot();

    (void)state;
    t->slots[0].deaf = true;
    stop(t, true);
    world_live(t, 4000);
    assert_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_live(t, 1100);
    assert_non_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_free(t);
}

static void a_burst_worker_leaves_when_nothing_is_ready(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;
    const struct dtqi_msg *beat;

    (void)state;
    cfg.burst = true;
    t = world_in_session(&cfg);
    assert_null(world_find(t, WORKER_ACT_EXIT, 0)); /* a backlog of one was told */
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_live(t, 2000);
    world_ends(t, 0, (struct world_end){0});
    world_live(t, 2000);
    assert_null(world_find(t, WORKER_ACT_EXIT, 0)); /* its result is kept */
    world_forget(t, 1, 1);
    t->now_ms += 1000;
    world_tick(t);
    beat = world_last(t, DTQI_WORKER_HEARTBEAT);
    assert_int_equal(beat->worker_heartbeat.held, 0);
    world_echo(t, beat->worker_heartbeat.sequence, 0);
    world_tick(t);
    world_tick(t);
    assert_int_equal(world_find(t, WORKER_ACT_EXIT, 0)->exit.status, 0);
    world_free(t);
}

static void a_burst_worker_waits_for_tasks_on_their_way(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.burst = true;
    t = world_in_session(&cfg);
    t->now_ms += 1000;
    world_tick(t);
    t->lane_seq = 1; /* the ventilator has sent one more than has come */
    world_echo(t, world_last(t, DTQI_WORKER_HEARTBEAT)->worker_heartbeat.sequence, 0);
    world_tick(t);
    assert_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_free(t);
}

static void an_idle_worker_leaves_after_its_timeout(void **state)
{
    struct worker_cfg cfg = world_cfg(1);
    struct world *t;

    (void)state;
    cfg.idle_timeout_ms = 5000;
    t = world_in_session(&cfg);
    world_live(t, 3000);
    world_give(t, (struct world_tasks){0});
    world_tick(t);
    world_live(t, 10000);
    world_ends(t, 0, (struct world_end){0});
    world_tick(t);
    world_forget(t, 1, 1);
    world_live(t, 4000);
    assert_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_live(t, 2000);
    assert_non_null(world_find(t, WORKER_ACT_EXIT, 0));
    world_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_says_hello_when_its_first_slot_is_ready),
        cmocka_unit_test(hello_is_repeated_with_backoff_and_on_a_new_connection),
        cmocka_unit_test(a_ventilator_that_does_not_answer_is_told_once),
        cmocka_unit_test(welcome_opens_lane_and_sinks_and_credit_is_told),
        cmocka_unit_test(a_version_that_nobody_speaks_ends_the_worker),
        cmocka_unit_test(a_busy_ventilator_is_asked_again),
        cmocka_unit_test(only_a_newer_welcome_changes_the_session),
        cmocka_unit_test(a_welcome_that_does_not_know_of_holdings_is_answered_by_hello),
        cmocka_unit_test(messages_of_other_sessions_change_nothing),
        cmocka_unit_test(messages_that_are_not_for_workers_change_nothing),
        cmocka_unit_test(a_gap_on_the_lane_closes_it_before_hello),
        cmocka_unit_test(a_foreign_session_on_the_lane_is_a_gap),
        cmocka_unit_test(a_broken_lane_is_not_used_again),
        cmocka_unit_test(tasks_far_beyond_credit_end_the_session),
        cmocka_unit_test(an_entry_that_cannot_be_run_is_reported_failed),
        cmocka_unit_test(a_higher_attempt_takes_the_place_of_a_failed_one),
        cmocka_unit_test(a_done_attempt_is_kept_beside_a_higher_one),
        cmocka_unit_test(the_same_attempt_twice_is_held_once),
        cmocka_unit_test(at_most_two_heartbeats_are_unanswered),
        cmocka_unit_test(long_round_trips_fence_nobody),
        cmocka_unit_test(heartbeats_count_and_sum_what_is_held),
        cmocka_unit_test(a_report_that_was_lost_ends_the_session),
        cmocka_unit_test(three_silent_intervals_fence_the_worker),
        cmocka_unit_test(traffic_without_an_echo_does_not_help),
        cmocka_unit_test(after_the_outcome_fence_nothing_is_sent_before_verdicts),
        cmocka_unit_test(before_the_outcome_fence_outcomes_are_sent_without_a_session),
        cmocka_unit_test(holdings_tell_the_state_of_each_attempt),
        cmocka_unit_test(an_empty_list_is_sent_when_one_was_announced),
        cmocka_unit_test(long_lists_come_in_pages),
        cmocka_unit_test(nothing_that_waits_starts_before_its_verdict),
        cmocka_unit_test(new_tasks_run_while_old_ones_wait_for_their_verdict),
        cmocka_unit_test(a_verdict_that_does_not_come_ends_the_session),
        cmocka_unit_test(what_ends_before_its_verdict_is_reported_after_it),
        cmocka_unit_test(what_was_listed_as_ended_is_not_reported_again),
        cmocka_unit_test(a_stale_task_runs_on_and_its_result_goes_to_the_sink_only),
        cmocka_unit_test(a_running_task_that_is_to_be_forgotten_is_stopped),
        cmocka_unit_test(adopted_and_stale_results_are_sent_again),
        cmocka_unit_test(a_list_that_is_asked_for_disturbs_nothing),
        cmocka_unit_test(the_list_waits_until_it_is_known_what_has_started),
        cmocka_unit_test(another_ventilator_at_the_endpoint_orphans_what_is_kept),
        cmocka_unit_test(attempts_of_two_ventilators_are_told_apart),
        cmocka_unit_test(a_restarted_ventilator_gets_what_is_kept_under_the_old_epoch),
        cmocka_unit_test(a_waiting_task_that_is_to_stop_never_starts),
        cmocka_unit_test(a_running_task_that_is_to_stop_is_killed_and_then_reported),
        cmocka_unit_test(a_stop_that_comes_before_its_task_is_remembered),
        cmocka_unit_test(an_end_that_came_first_is_reported_as_such),
        cmocka_unit_test(a_warm_stop_gives_back_finishes_and_waits_for_forget),
        cmocka_unit_test(a_warm_stop_ends_at_its_deadline_and_names_what_it_abandons),
        cmocka_unit_test(a_bye_names_no_more_than_a_message_may_hold),
        cmocka_unit_test(a_cold_stop_kills_gives_back_and_leaves),
        cmocka_unit_test(a_stop_without_a_session_needs_no_ventilator),
        cmocka_unit_test(a_cold_stop_does_not_wait_for_slots_for_ever),
        cmocka_unit_test(a_burst_worker_leaves_when_nothing_is_ready),
        cmocka_unit_test(a_burst_worker_waits_for_tasks_on_their_way),
        cmocka_unit_test(an_idle_worker_leaves_after_its_timeout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
