#include "client_world.h"

static int setup_with(void **state, struct world w)
{
    struct world *kept = malloc(sizeof *kept);

    assert_non_null(kept);
    *kept = w;
    world_open(kept);
    *state = kept;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, (struct world){0});
}

static int setup_following(void **state)
{
    return setup_with(state, (struct world){.cfg.follow = CLIENT_FOLLOW_OWN});
}

static int setup_two_sinks(void **state)
{
    return setup_with(state, (struct world){.sinks_n = 2});
}

static int teardown(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

/* ---------------------------------------------------------------- connections */

static void a_new_client_opens_a_connection_and_says_hello(void **state)
{
    struct world *w = *state;

    tick(w);
    assert_int_equal(w->sent_n, 2);
    assert_int_equal(w->sent[0].type, CLIENT_OPEN);
    assert_int_equal(w->sent[1].msg, DTQI_HELLO);
    assert_false(client_is_welcome(w->c));
    welcome(w);
    assert_true(client_is_welcome(w->c));
}

static void a_connection_that_fails_is_made_again_after_a_while(void **state)
{
    struct world *w = *state;
    uint64_t before;

    tick(w);
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    w->seen_n = w->sent_n;
    before = w->at.now_ms;
    assert_true(client_deadline_ms(w->c) > before);
    pass(w, CLIENT_REOPEN_MS_MIN);
    assert_non_null(next_action(w, CLIENT_OPEN));
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
}

static void a_hello_without_answer_is_said_on_a_new_connection(void **state)
{
    struct world *w = *state;

    tick(w);
    w->seen_n = w->sent_n;
    pass(w, CLIENT_ANSWER_MS - 1);
    assert_null(next_action(w, CLIENT_CLOSE));
    pass(w, CLIENT_REOPEN_MS_MAX + 1);
    assert_non_null(next_action(w, CLIENT_CLOSE));
    assert_non_null(next_action(w, CLIENT_OPEN));
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
}

static void what_comes_before_the_welcome_is_no_answer_to_hello(void **state)
{
    struct world *w = *state;
    struct dtqi_msg sinks = {.type = DTQI_SINKS};

    tick(w);
    w->seen_n = w->sent_n;
    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &sinks);
    pass(w, CLIENT_ANSWER_MS);
    assert_non_null(next_action(w, CLIENT_CLOSE));
    pass(w, CLIENT_REOPEN_MS_MAX);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
}

/* R3: a ventilator that does not know our session has acted on nothing. */
static void an_unknown_session_leads_to_a_new_hello(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_UNKNOWN_SESSION};

    connect_up(w);
    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &msg);
    assert_false(client_is_welcome(w->c));
    pass(w, CLIENT_REOPEN_MS_MIN);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
}

static void a_client_with_nothing_to_do_needs_no_tick(void **state)
{
    struct world *w = *state;

    connect_up(w);
    assert_int_equal(client_deadline_ms(w->c), UINT64_MAX);
}

/* ---------------------------------------------------------------- submitting */

static void a_task_waits_for_welcome_and_then_goes_out_with_its_sink(void **state)
{
    struct world *w = *state;
    dtq_id id = submit(w, "hello");
    const struct sent *s;

    tick(w);
    assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
    welcome(w);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_non_null(s);
    assert_int_equal(s->n, 1);
    assert_true(has_id(s, &id));
    assert_string_equal(s->first_body, "hello");
    assert_int_equal(s->sink.bytes[0], 'A');
    assert_false(s->resend);
    assert_int_equal(s->reply_to, 0);
    assert_int_equal(client_unconfirmed(w->c), 1);
}

static void a_confirmation_is_told_once(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_false(client_has_event(w->c));
    submitted(w, s->request);
    submitted(w, s->request);
    expect_verdict(w, &id, DTQ_OK);
    assert_false(client_has_event(w->c));
    assert_int_equal(client_unconfirmed(w->c), 0);
    assert_int_equal(client_deadline_ms(w->c), UINT64_MAX);
}

static void verdicts_of_calls_are_told_apart_from_events(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    struct client_verdict v;
    dtq_id id;

    connect_up(w);
    t.tell = CLIENT_TELL_CALL;
    t.call = 5;
    t.tag = 9;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    tick(w);
    submitted(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request);
    assert_false(client_has_event(w->c));
    assert_true(client_take_verdict(w->c, &v));
    assert_int_equal(v.call, 5);
    assert_int_equal(v.tag, 9);
    assert_false(client_take_verdict(w->c, &v));
}

/* R4: the ventilator's clock counts, not ours, nor how ours jumps. */
static void ids_take_their_time_from_the_ventilator(void **state)
{
    struct world *w = *state;
    dtq_id id;

    w->vent_wall_ms = w->at.wall_ms + 7200000;
    connect_up(w);
    w->at.now_ms += 1000;
    w->at.wall_ms -= 86400000;
    id = submit(w, "x");
    assert_int_equal(dtqi_id_wall_ms(&id), w->vent_wall_ms + 1000);
}

static void ids_grow(void **state)
{
    struct world *w = *state;
    dtq_id last;

    connect_up(w);
    last = submit(w, "x");
    for (int i = 0; i < 1000; i++) {
        dtq_id id = submit(w, "x");

        assert_true(memcmp(last.bytes, id.bytes, sizeof id.bytes) < 0);
        last = id;
    }
}

static void a_local_clock_that_is_ahead_spoils_no_ids_after_welcome(void **state)
{
    struct world *w = *state;
    dtq_id id;

    w->at.wall_ms += 86400000;
    submit(w, "x");
    connect_up(w);
    id = submit(w, "x");
    assert_int_equal(dtqi_id_wall_ms(&id), w->vent_wall_ms);
}

/* R4: highest hash of id and store wins, whoever computes it. */
static uint8_t rendezvous(const dtq_id *id)
{
    dtq_id a = {{'A'}};
    dtq_id b = {{'B'}};

    return dtqi_mix64(dtqi_id_hash(id) ^ dtqi_id_hash(&a)) >
                   dtqi_mix64(dtqi_id_hash(id) ^ dtqi_id_hash(&b))
               ? 'A'
               : 'B';
}

static void each_task_goes_to_the_sink_of_its_id(void **state)
{
    struct world *w = *state;
    uint32_t seen[2] = {0, 0};
    const struct sent *s;

    for (int i = 0; i < 50; i++) /* before the sinks are known .. */
        submit(w, "early");
    connect_up(w);
    for (int i = 0; i < 50; i++) /* .. and after */
        submit(w, "late");
    tick(w);
    while ((s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)) != NULL) {
        for (uint32_t i = 0; i < s->n; i++)
            assert_int_equal(s->sink.bytes[0], rendezvous(&s->ids[i]));
        seen[s->sink.bytes[0] - 'A'] += s->n;
    }
    assert_int_equal(seen[0] + seen[1], 100);
    assert_true(seen[0] > 20);
    assert_true(seen[1] > 20);
}

/* The ventilator keeps the order in which it accepts them: that of SUBMITs of one sink. */
static void tasks_of_one_order_go_to_one_sink(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    const struct sent *s;
    uint8_t sink = 0;
    uint32_t n = 0;
    dtq_id ids[40];

    t.order = 7;
    for (int i = 0; i < 40; i++) {
        if (i == 20)
            connect_up(w);
        assert_int_equal(client_submit(w->c, &t, w->at, &ids[i]), DTQ_OK);
        submit(w, "of another sink, perhaps");
    }
    tick(w);
    while ((s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)) != NULL) {
        for (uint32_t i = 0; i < s->n; i++) {
            if (n == 40 || !dtqi_id_eq(&s->ids[i], &ids[n]))
                continue;
            assert_true(sink == 0 || sink == s->sink.bytes[0]);
            sink = s->sink.bytes[0];
            n++;
        }
    }
    assert_int_equal(n, 40);
}

static void tasks_gather_into_one_batch_until_the_input_is_drained(void **state)
{
    struct world *w = *state;
    const struct sent *s;

    connect_up(w);
    for (int i = 0; i < 100; i++)
        submit(w, "x");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_int_equal(s->n, 100);
    assert_int_equal(s->specs_n, 1);
    assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
}

static void a_batch_is_full_at_512_tasks(void **state)
{
    struct world *w = *state;

    connect_up(w);
    for (int i = 0; i < 1000; i++)
        submit(w, "x");
    assert_true(client_wants_tick(w->c));
    tick(w);
    assert_int_equal(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->n, 512);
    assert_int_equal(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->n, 488);
}

static void a_batch_is_full_at_256_kib_and_a_larger_task_goes_alone(void **state)
{
    static char large[300000];
    struct world *w = *state;

    memset(large, 'x', sizeof large - 1);
    connect_up(w);
    submit(w, "small");
    submit(w, large);
    submit(w, "small");
    tick(w);
    for (int i = 0; i < 3; i++)
        assert_int_equal(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->n, 1);
}

static void the_first_task_wants_to_go_at_once_and_later_ones_gather(void **state)
{
    struct world *w = *state;

    connect_up(w);
    assert_false(client_wants_tick(w->c));
    submit(w, "x");
    assert_true(client_wants_tick(w->c));
    tick(w);
    submit(w, "x");
    assert_false(client_wants_tick(w->c));
}

static void different_specs_are_carried_once_each(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    dtq_id id;

    connect_up(w);
    for (int i = 0; i < 10; i++) {
        t.spec = i % 2 != 0 ? (struct dtqi_slice){"one", 3} : (struct dtqi_slice){"two", 3};
        assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    }
    tick(w);
    assert_int_equal(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->specs_n, 2);
}

/* So that it is the same however late and often the task is sent (R47). */
static void a_delay_counts_from_the_time_in_the_id(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    t.delay_ms = 100;
    t.not_before_wall_ms = 77;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_int_equal(s->first_delay_ms, 100);
    assert_int_equal(s->first_not_before_wall_ms, 77);
    assert_int_equal(s->id_clock_ms, 0);
}

/* What was made before the first WELCOME has the time of the local clock as it was at the first of
 * them, and says how far that is off; what is made later has the ventilator's (R47). */
static void ids_of_a_local_clock_say_how_far_it_is_off(void **state)
{
    const int64_t day_ms = 24 * 3600 * 1000;
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    w->at.wall_ms = w->vent_wall_ms + (uint64_t)day_ms;
    id = submit(w, "early");
    assert_int_equal(dtqi_id_wall_ms(&id), w->at.wall_ms);
    w->at.wall_ms -= (uint64_t)(5 * day_ms);
    connect_up(w);
    submit(w, "late");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_int_equal(s->n, 1);
    assert_int_equal(s->id_clock_ms, -day_ms);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_int_equal(s->n, 1);
    assert_int_equal(s->id_clock_ms, 0);
}

/* A ventilator that starts again after a boot may have another clock: what is sent again says so.
 */
static void ids_of_the_last_start_of_a_ventilator_say_how_far_its_clock_was_off(void **state)
{
    const int64_t day_ms = 24 * 3600 * 1000;
    struct world *w = *state;
    const struct sent *s;

    connect_up(w);
    submit(w, "x");
    tick(w);
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    w->seen_n = w->sent_n;
    w->vent_wall_ms += (uint64_t)day_ms;
    welcome(w);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_true(s->resend);
    assert_int_equal(s->id_clock_ms, day_ms - CLIENT_REOPEN_MS_MIN); /* the world's stands still */
}

/* ---------------------------------------------------------------- resending */

/* R5: the connection is closed first; then the same id goes out as a resend. */
static void a_lost_connection_makes_the_unconfirmed_go_out_again(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    tick(w);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    assert_non_null(next_action(w, CLIENT_CLOSE));
    assert_non_null(next_action(w, CLIENT_OPEN));
    welcome(w);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_non_null(s);
    assert_true(s->resend);
    assert_true(has_id(s, &id));
    assert_int_equal(s->also_sent_to_n, 0);
    submitted(w, s->request);
    expect_verdict(w, &id, DTQ_OK);
}

static void silence_closes_the_connection_and_sends_again(void **state)
{
    struct world *w = *state;
    const struct sent *s;

    connect_up(w);
    submit(w, "x");
    tick(w);
    next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    pass(w, CLIENT_ANSWER_MS + CLIENT_REOPEN_MS_MIN);
    assert_non_null(next_action(w, CLIENT_CLOSE));
    welcome(w);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_non_null(s);
    assert_true(s->resend);
}

/* An overloaded ventilator must not be asked more and more. */
static void patience_doubles_while_confirmations_fail_to_come(void **state)
{
    struct world *w = *state;

    connect_up(w);
    submit(w, "x");
    tick(w);
    pass(w, CLIENT_ANSWER_MS + CLIENT_REOPEN_MS_MIN);
    welcome(w);
    tick(w);
    w->seen_n = w->sent_n;
    pass(w, 2 * CLIENT_ANSWER_MS - 100);
    assert_null(next_action(w, CLIENT_CLOSE));
    pass(w, 200);
    assert_non_null(next_action(w, CLIENT_CLOSE));
}

/* Others are answered, so the ventilator lives; this answer was lost. */
static void one_lost_answer_is_noticed_although_others_come(void **state)
{
    struct world *w = *state;
    dtq_id lost;
    const struct sent *s;
    bool closed = false;

    connect_up(w);
    lost = submit(w, "lost");
    tick(w);
    next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    for (int i = 0; i < 32 && !closed; i++) {
        pass(w, 1000);
        submit(w, "x");
        tick(w);
        s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
        if (s == NULL)
            closed = true;
        else
            submitted(w, s->request);
    }
    assert_true(closed);
    pass(w, CLIENT_REOPEN_MS_MIN);
    welcome(w);
    tick(w);
    w->seen_n = 0;
    while ((s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)) != NULL)
        if (s->resend)
            break;
    assert_non_null(s);
    assert_true(has_id(s, &lost));
}

/* R5: who may hold the task too is named. */
static void another_ventilator_is_told_who_may_hold_the_task(void **state)
{
    struct world *w = *state;
    const struct sent *s;

    connect_up(w);
    submit(w, "x");
    tick(w);
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    w->seen_n = w->sent_n;
    w->vent = 'W';
    welcome(w);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_int_equal(s->also_sent_to_n, 1);
    assert_int_equal(s->also_sent_to.bytes[0], 'V');
}

/* R5: a definite refusal says that this one does not hold it. */
static void a_ventilator_that_refused_the_task_is_not_named(void **state)
{
    struct world *w = *state;
    const struct sent *s;

    connect_up(w);
    submit(w, "x");
    tick(w);
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    w->seen_n = w->sent_n;
    welcome(w);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_true(s->resend);
    refused(w, s->request, 0, DTQI_BUSY, "limit");
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_RETRY_MS_MIN);
    w->vent = 'W';
    welcome(w);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_non_null(s);
    assert_true(s->resend);
    assert_int_equal(s->also_sent_to_n, 0);
}

/* R4, R5: sinks that come and go do not move a task that was sent. */
static void a_resend_names_the_sink_of_the_first_copy(void **state)
{
    struct world *w = *state;

    connect_up(w);
    for (int i = 0; i < 20; i++)
        submit(w, "x");
    tick(w);
    assert_int_equal(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->sink.bytes[0], 'A');
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    w->sinks_n = 2;
    welcome(w);
    tick(w);
    assert_int_equal(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->sink.bytes[0], 'A');
    assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
}

static void busy_is_tried_again_and_is_no_resend(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    refused(w, s->request, 0, DTQI_BUSY, "max_backlog_bytes");
    assert_false(client_has_event(w->c));
    tick(w);
    assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
    pass(w, CLIENT_RETRY_MS_MIN);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_non_null(s);
    assert_false(s->resend); /* R5: a definite refusal had no effect */
    submitted(w, s->request);
    expect_verdict(w, &id, DTQ_OK);
}

static void busy_until_the_deadline_is_told_with_its_text(void **state)
{
    struct world *w = *state;
    struct client_verdict v;
    uint32_t copies = 0;

    connect_up(w);
    submit(w, "x");
    tick(w);
    for (int ms = 0; ms < 70000 && !client_has_event(w->c); ms += 100) {
        const struct sent *s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);

        if (s != NULL) {
            copies++;
            refused(w, s->request, 0, DTQI_BUSY, "max_backlog_bytes");
        }
        pass(w, 100);
    }
    assert_true(client_take_event_verdict(w->c, &v));
    assert_int_equal(v.err, DTQ_EBUSY);
    assert_int_equal(v.text.len, strlen("max_backlog_bytes"));
    assert_true(copies > 10); /* 0.2 s to 5 s apart, in 60 s */
    assert_true(copies < 30);
}

/* .. and as long as the ventilator answers, what it said last is why a task is not confirmed. */
static void why_a_task_is_put_off_is_known_until_the_ventilator_is_silent(void **state)
{
    struct world *w = *state;
    struct dtqi_str text;

    connect_up(w);
    submit(w, "x");
    assert_int_equal(client_put_off(w->c, &text), DTQ_OK);
    tick(w);
    assert_int_equal(client_put_off(w->c, &text), DTQ_OK);
    refused(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request, 0, DTQI_NO_SPACE, "full");
    assert_int_equal(client_put_off(w->c, &text), DTQ_ENOSPC);
    assert_int_equal(text.len, strlen("full"));
    pass(w, CLIENT_RETRY_MS_MIN);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
    assert_int_equal(client_put_off(w->c, &text), DTQ_ENOSPC);
    pass(w, CLIENT_RETRY_MS_MIN);
    tick(w);
    assert_int_equal(client_put_off(w->c, &text), DTQ_OK);
}

static void of_a_batch_only_what_was_refused_goes_out_again(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id a;
    dtq_id b;

    connect_up(w);
    a = submit(w, "a");
    b = submit(w, "b");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    refused(w, s->request, 0, DTQI_NO_SPACE, "disk");
    expect_verdict(w, &b, DTQ_OK);
    pass(w, CLIENT_RETRY_MS_MIN);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_int_equal(s->n, 1);
    assert_true(has_id(s, &a));
    assert_string_equal(s->first_body, "a");
    submitted(w, s->request);
    expect_verdict(w, &a, DTQ_OK);
}

static void a_final_refusal_is_told_with_its_text(void **state)
{
    static const struct {
        enum dtqi_refusal reason;
        dtq_err err;
    } cases[] = {
        {DTQI_TOO_LARGE, DTQ_ETOOBIG},    {DTQI_CONFLICT, DTQ_ECONFLICT},
        {DTQI_TOO_OLD, DTQ_EREFUSED},     {DTQI_BAD_TIME, DTQ_EREFUSED},
        {DTQI_BAD_TASK, DTQ_EREFUSED},    {DTQI_NO_SUCH_SINK, DTQ_EREFUSED},
        {DTQI_BAD_VERSION, DTQ_EVERSION}, {DTQI_REFUSAL_NONE, DTQ_EREFUSED},
    };
    struct world *w = *state;

    connect_up(w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client_verdict v;

        submit(w, "x");
        tick(w);
        refused(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request, 0, cases[i].reason,
                "because");
        assert_true(client_take_event_verdict(w->c, &v));
        assert_int_equal(v.err, cases[i].err);
        assert_memory_equal(v.text.at, "because", 7);
    }
    assert_int_equal(client_unconfirmed(w->c), 0);
}

static void a_task_that_was_sent_and_not_answered_ends_as_unknown(void **state)
{
    struct world *w = *state;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    tick(w);
    pass(w, 60000);
    expect_verdict(w, &id, DTQ_EUNKNOWN);
    assert_int_equal(client_unconfirmed(w->c), 0);
}

static void the_core_gives_up_after_30_minutes_at_the_latest(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    dtq_id id;

    t.timeout_ms = UINT64_MAX;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    tick(w);
    w->at.now_ms += CLIENT_GIVE_UP_MS - 1;
    tick(w);
    assert_false(client_has_event(w->c));
    w->at.now_ms += 1;
    tick(w);
    expect_verdict(w, &id, DTQ_EUNREACHABLE);
}

static void a_task_that_could_never_be_sent_ends_as_unreachable(void **state)
{
    struct world *w = *state;
    dtq_id id = submit(w, "x");

    pass(w, 60000);
    expect_verdict(w, &id, DTQ_EUNREACHABLE);
}

static void a_confirmation_that_comes_too_late_changes_nothing(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;
    dtq_id other;
    struct client_task t = a_task("y");

    connect_up(w);
    t.timeout_ms = 1000;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    other = submit(w, "x");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    pass(w, 1000);
    expect_verdict(w, &id, DTQ_EUNKNOWN);
    submitted(w, s->request);
    expect_verdict(w, &other, DTQ_OK);
    assert_false(client_has_event(w->c));
}

static void without_a_sink_tasks_wait_and_the_ventilator_is_asked_again(void **state)
{
    struct world *w = *state;
    struct dtqi_str why;
    dtq_id id;

    tick(w);
    w->sinks_n = 0;
    welcome(w);
    id = submit(w, "x");
    w->seen_n = w->sent_n;
    pass(w, CLIENT_RETRY_MS_MIN);
    assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
    assert_int_equal(client_put_off(w->c, &why), DTQ_EBUSY); /* that is why nothing is confirmed */
    assert_true(dtqi_str_eq(why, dtqi_str("no sink is registered with the ventilator")));
    w->seen_n = 0;
    next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
    w->sinks_n = 1;
    welcome(w);
    tick(w);
    assert_int_equal(client_put_off(w->c, &why), DTQ_OK);
    assert_true(has_id(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT), &id));
}

static void without_a_sink_until_the_deadline_a_task_ends_as_busy(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    dtq_id id;

    tick(w);
    w->sinks_n = 0;
    welcome(w);
    t.timeout_ms = 1000;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    for (int i = 0; i < 12; i++) {
        pass(w, 100);
        welcome(w);
    }
    expect_verdict(w, &id, DTQ_EBUSY);
}

static void refuse_hello(struct world *w, enum dtqi_refusal reason, const char *text)
{
    struct dtqi_msg msg = {.type = DTQI_REFUSED,
                           .refused = {.reason = reason, .text = dtqi_str(text)}};

    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &msg);
}

static void another_version_fails_what_was_never_sent_at_once(void **state)
{
    struct world *w = *state;
    dtq_id id = submit(w, "x");
    struct client_task t = a_task("x");
    struct dtqi_str text;

    tick(w);
    refuse_hello(w, DTQI_BAD_VERSION, "speaks 2 to 3");
    expect_verdict(w, &id, DTQ_EVERSION);
    assert_int_equal(client_refusal(w->c, &text), DTQ_EVERSION);
    assert_memory_equal(text.at, "speaks 2 to 3", 13);
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_EVERSION);
    pass(w, CLIENT_RETRY_MS_MAX);
    welcome(w);
    assert_int_equal(client_refusal(w->c, &text), DTQ_OK);
}

static void a_frame_of_another_version_is_a_refusal_too(void **state)
{
    struct world *w = *state;
    dtq_id id = submit(w, "x");

    tick(w);
    step(w, CLIENT_BAD_FRAME, CLIENT_VENTILATOR, NULL);
    expect_verdict(w, &id, DTQ_EVERSION);
}

static void a_ventilator_with_too_many_producers_is_asked_again(void **state)
{
    struct world *w = *state;

    submit(w, "x");
    tick(w);
    refuse_hello(w, DTQI_BUSY, "producers_max");
    w->seen_n = w->sent_n;
    pass(w, CLIENT_REOPEN_MS_MAX);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
    assert_false(client_has_event(w->c));
}

/* ---------------------------------------------------------------- bounds */

static void the_window_of_unconfirmed_tasks_is_bounded(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    dtq_id id;

    connect_up(w);
    for (uint32_t i = 0; i < CLIENT_UNCONFIRMED_MAX; i++)
        submit(w, "x");
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_EAGAIN);
    tick(w);
    submitted(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request);
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
}

static int setup_small(void **state)
{
    return setup_with(state, (struct world){.cfg.open_max = 4,
                                            .cfg.unconfirmed_bytes_max = 1000,
                                            .cfg.follow = CLIENT_FOLLOW_OWN});
}

static void the_bytes_of_unconfirmed_tasks_are_bounded_but_one_task_fits(void **state)
{
    static char large[3000];
    struct world *w = *state;
    struct client_task t;
    dtq_id id;

    memset(large, 'x', sizeof large - 1);
    t = a_task(large);
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    t = a_task("x");
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_EAGAIN);
}

static void tasks_whose_results_nobody_takes_are_bounded(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    struct client_verdict v;
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    for (int i = 0; i < 4; i++)
        submit(w, "x");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    submitted(w, s->request);
    while (client_take_event_verdict(w->c, &v))
        continue;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_EBUSY);
    results(w, 1, 0, s->ids, 1, DTQ_SUCCEEDED, "r");
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_EBUSY);
    expect_result(w, &s->ids[0], DTQ_SUCCEEDED, "r");
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
}

static void a_payload_over_the_ventilators_limit_is_refused_here(void **state)
{
    struct world *w = *state;
    static char large[DTQI_TASK_BYTES_MAX + 2];
    struct client_task t;
    dtq_id id;

    memset(large, 'x', sizeof large - 1);
    t = a_task(large);
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_ETOOBIG);
}

/* ---------------------------------------------------------------- results of own tasks */

static const struct sent *follow_up(struct world *w)
{
    const struct sent *s;

    connect_up(w);
    s = next_sent(w, 1, DTQI_FOLLOW);
    assert_non_null(s);
    prove(w, 1);
    return s;
}

static dtq_id confirm_one(struct world *w)
{
    dtq_id id = submit(w, "x");

    tick(w);
    submitted(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request);
    expect_verdict(w, &id, DTQ_OK);
    return id;
}

static void a_followed_result_comes_by_itself_and_once(void **state)
{
    struct world *w = *state;
    dtq_id id;

    assert_int_equal(follow_up(w)->reply_to, w->cfg.reply_to);
    assert_false(client_expects_result(w->c));
    id = confirm_one(w);
    assert_true(client_expects_result(w->c));
    assert_false(client_has_event(w->c));
    results(w, 1, 0, &id, 1, DTQ_SUCCEEDED, "result");
    results(w, 1, 0, &id, 1, DTQ_FAILED, "second");
    expect_result(w, &id, DTQ_SUCCEEDED, "result");
    results(w, 1, 0, &id, 1, DTQ_SUCCEEDED, "third");
    assert_false(client_has_event(w->c));
    assert_false(client_expects_result(w->c));
}

static void a_submit_carries_the_number_that_is_followed(void **state)
{
    struct world *w = *state;

    follow_up(w);
    submit(w, "x");
    tick(w);
    assert_int_equal(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->reply_to, w->cfg.reply_to);
}

static void the_tag_comes_back_with_the_result(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    struct client_result r;
    dtq_id id;

    follow_up(w);
    t.tag = 42;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    tick(w);
    submitted(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request);
    results(w, 1, 0, &id, 1, DTQ_SUCCEEDED, "r");
    assert_true(client_take_result(w->c, &r));
    assert_int_equal(r.tag, 42);
}

/* The outcome is committed, so the task was accepted, whatever became of SUBMITTED. */
static void a_result_confirms_its_task(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    follow_up(w);
    id = submit(w, "x");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    results(w, 1, 0, &id, 1, DTQ_SUCCEEDED, "r");
    assert_int_equal(client_unconfirmed(w->c), 0);
    expect_verdict(w, &id, DTQ_OK);
    expect_result(w, &id, DTQ_SUCCEEDED, "r");
    submitted(w, s->request);
    assert_false(client_has_event(w->c));
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    w->seen_n = w->sent_n;
    welcome(w);
    tick(w);
    assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
}

/* FOLLOW may arrive after the outcome was committed: then it was pushed to nobody. */
static void what_was_sent_before_the_sink_knew_us_is_looked_up(void **state)
{
    struct world *w = *state;
    const struct sent *probe;
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    tick(w);
    probe = next_sent(w, 1, DTQI_WAIT);
    submitted(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request);
    tick(w);
    assert_null(next_sent(w, 1, DTQI_WAIT));
    results(w, 1, probe->request, probe->ids, 1, DTQ_NOT_FOUND, "");
    tick(w);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_true(s->once);
    assert_true(has_id(s, &id));
    results(w, 1, s->request, &id, 1, DTQ_SUCCEEDED, "r");
    expect_verdict(w, &id, DTQ_OK);
    expect_result(w, &id, DTQ_SUCCEEDED, "r");
}

/* The first copy may have run and been pushed to nobody, whatever the sink knew at the second. */
static void a_resend_of_what_was_sent_before_the_sink_knew_us_is_looked_up_too(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    tick(w);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT));
    w->seen_n = 0;
    prove(w, 1);
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    w->seen_n = w->sent_n;
    welcome(w);
    tick(w);
    submitted(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request);
    tick(w);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_true(has_id(s, &id));
}

/* R32: on reconnect. */
static void a_new_connection_to_the_sink_follows_and_looks_up_again(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    follow_up(w);
    id = confirm_one(w);
    step(w, CLIENT_DOWN, 1, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    assert_non_null(next_sent(w, 1, DTQI_FOLLOW));
    prove(w, 1);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_true(has_id(s, &id));
    results(w, 1, s->request, &id, 1, DTQ_FAILED, "text");
    expect_result(w, &id, DTQ_FAILED, "text");
}

/* R32: a push that was lost is repaired in 10 s. */
static void an_open_task_is_looked_up_now_and_then(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    follow_up(w);
    id = confirm_one(w);
    w->seen_n = w->sent_n;
    pass(w, CLIENT_ASK_AGAIN_MS - 1);
    assert_null(next_sent(w, 1, DTQI_WAIT));
    pass(w, 2);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_true(has_id(s, &id));
    results(w, 1, s->request, &id, 1, DTQ_NOT_FOUND, "");
    assert_false(client_has_event(w->c));
    pass(w, CLIENT_ASK_AGAIN_MS);
    assert_non_null(next_sent(w, 1, DTQI_WAIT));
}

/* R32: even of a task that was accepted, a wait does not hang when nobody knows it any more. */
static void an_outcome_that_everybody_forgot_is_not_found_in_the_end(void **state)
{
    struct world *w = *state;
    dtq_id id;
    bool ended = false;

    follow_up(w);
    id = confirm_one(w);
    for (int s = 0; s < 120 && !ended; s++) {
        const struct sent *a;
        uint32_t from = w->sent_n;

        pass(w, 1000);
        w->seen_n = from;
        while ((a = next_sent(w, 1, DTQI_WAIT)) != NULL)
            results(w, 1, a->request, a->ids, a->n, DTQ_NOT_FOUND, "");
        w->seen_n = from;
        while ((a = next_sent(w, CLIENT_VENTILATOR, DTQI_QUERY)) != NULL)
            query_reply(w, a->request, &id, DTQ_NOT_FOUND);
        ended = client_has_event(w->c);
    }
    expect_result(w, &id, DTQ_NOT_FOUND, "");
}

static int setup_little_memory(void **state)
{
    return setup_with(
        state, (struct world){.cfg.results_bytes_max = 3000, .cfg.follow = CLIENT_FOLLOW_OWN});
}

static void results_without_room_stay_at_the_sink_until_there_is(void **state)
{
    static char body[2000];
    struct world *w = *state;
    const struct sent *s;
    dtq_id ids[3];

    memset(body, 'x', sizeof body - 1);
    follow_up(w);
    for (int i = 0; i < 3; i++)
        ids[i] = confirm_one(w);
    for (int i = 0; i < 3; i++)
        results(w, 1, 0, &ids[i], 1, DTQ_SUCCEEDED, body);
    w->seen_n = w->sent_n;
    tick(w);
    assert_null(next_sent(w, 1, DTQI_WAIT));
    expect_result(w, &ids[0], DTQ_SUCCEEDED, body);
    assert_false(client_has_event(w->c));
    tick(w);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_false(has_id(s, &ids[0]));
    results(w, 1, s->request, &ids[1], 1, DTQ_SUCCEEDED, body);
    expect_result(w, &ids[1], DTQ_SUCCEEDED, body);
}

static void a_refused_task_has_no_result_to_come(void **state)
{
    struct world *w = *state;

    follow_up(w);
    submit(w, "x");
    assert_true(client_expects_result(w->c));
    tick(w);
    refused(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request, 0, DTQI_BAD_TASK, "bad");
    assert_false(client_expects_result(w->c));
}

static int setup_follow_all(void **state)
{
    return setup_with(state, (struct world){.cfg.follow = CLIENT_FOLLOW_ALL, .cfg.open_max = 2});
}

static void who_follows_all_gets_results_of_others_as_far_as_there_is_room(void **state)
{
    struct world *w = *state;
    dtq_id ids[3] = {{{1}}, {{2}}, {{3}}};

    assert_int_equal(follow_up(w)->reply_to, 0);
    assert_true(client_expects_result(w->c));
    results(w, 1, 0, ids, 3, DTQ_SUCCEEDED, "r");
    expect_result(w, &ids[0], DTQ_SUCCEEDED, "r");
    expect_result(w, &ids[1], DTQ_SUCCEEDED, "r");
    assert_false(client_has_event(w->c));
}

/* ---------------------------------------------------------------- asking for given ids */

static const dtq_id foreign = {{0x42}};

static void ask(struct world *w, const dtq_id *id, enum client_interest interest)
{
    assert_int_equal(client_ask(w->c, id, 1, interest, w->at), DTQ_OK);
    tick(w);
}

/* As ask(), with the sink connected. */
static void ask_connected(struct world *w, const dtq_id *id, enum client_interest interest)
{
    connect_up(w);
    ask(w, id, interest);
    prove(w, 1);
}

static void expect_answer(struct world *w, const dtq_id *id, dtq_state state)
{
    struct client_result r;

    assert_int_equal(client_answered(w->c), 1);
    assert_true(client_read_answer(w->c, id, &r));
    assert_int_equal(r.state, state);
}

static const struct sent *expect_look(struct world *w)
{
    const struct sent *s = next_sent(w, 1, DTQI_WAIT);

    assert_non_null(s);
    assert_true(s->once);
    assert_int_equal(s->n, 1);
    return s;
}

static void a_sink_is_connected_only_when_it_is_needed(void **state)
{
    struct world *w = *state;

    connect_up(w);
    confirm_one(w);
    for (uint32_t i = 0; i < w->sent_n; i++)
        assert_int_equal(w->sent[i].peer, CLIENT_VENTILATOR);
    ask(w, &foreign, CLIENT_WAIT);
    w->seen_n = 0;
    assert_non_null(next_sent(w, 1, DTQI_WAIT));
}

static void an_outcome_that_is_there_is_found_by_one_look(void **state)
{
    struct world *w = *state;
    const struct sent *s;

    ask_connected(w, &foreign, CLIENT_WAIT);
    s = expect_look(w);
    assert_int_equal(client_watched(w->c), 1);
    assert_int_equal(client_answered(w->c), 0);
    results(w, 1, s->request, &foreign, 1, DTQ_CANCELLED, "");
    expect_answer(w, &foreign, DTQ_CANCELLED);
    client_ask_done(w->c);
    assert_false(client_has_event(w->c));
    assert_int_equal(client_deadline_ms(w->c), UINT64_MAX);
}

static const struct sent *say_missing(struct world *w, const struct sent *s)
{
    const struct sent *q;

    results(w, 1, s->request, s->ids, 1, DTQ_NOT_FOUND, "");
    tick(w);
    q = next_sent(w, CLIENT_VENTILATOR, DTQI_QUERY);
    assert_non_null(q);
    return q;
}

/* R32: the sink does not have it, the ventilator does not, the sink still does not. */
static void an_id_that_nobody_knows_is_not_found(void **state)
{
    struct world *w = *state;
    const struct sent *q;
    const struct sent *s;

    ask_connected(w, &foreign, CLIENT_WAIT);
    q = say_missing(w, expect_look(w));
    query_reply(w, q->request, &foreign, DTQ_NOT_FOUND);
    assert_int_equal(client_answered(w->c), 0);
    tick(w);
    s = expect_look(w);
    results(w, 1, s->request, &foreign, 1, DTQ_NOT_FOUND, "");
    expect_answer(w, &foreign, DTQ_NOT_FOUND);
}

static void a_task_settled_while_we_asked_is_found_by_the_last_look(void **state)
{
    struct world *w = *state;
    const struct sent *q;

    ask_connected(w, &foreign, CLIENT_WAIT);
    q = say_missing(w, expect_look(w));
    query_reply(w, q->request, &foreign, DTQ_NOT_FOUND);
    tick(w);
    results(w, 1, expect_look(w)->request, &foreign, 1, DTQ_SUCCEEDED, "r");
    expect_answer(w, &foreign, DTQ_SUCCEEDED);
}

/* An answer to the first look that comes late must not pass for the answer to the last one. */
static void a_stale_no_of_the_sink_does_not_count(void **state)
{
    struct world *w = *state;
    const struct sent *look;
    const struct sent *q;

    ask_connected(w, &foreign, CLIENT_WAIT);
    look = expect_look(w);
    q = say_missing(w, look);
    query_reply(w, q->request, &foreign, DTQ_NOT_FOUND);
    tick(w);
    results(w, 1, look->request, &foreign, 1, DTQ_NOT_FOUND, "");
    assert_int_equal(client_answered(w->c), 0);
}

/* R32: WAIT, each 10 s again. */
static void an_open_task_is_waited_for(void **state)
{
    struct world *w = *state;
    const struct sent *q;
    const struct sent *s;

    ask_connected(w, &foreign, CLIENT_WAIT);
    q = say_missing(w, expect_look(w));
    query_reply(w, q->request, &foreign, DTQ_RUNNING);
    tick(w);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_false(s->once);
    assert_int_equal(client_answered(w->c), 0);
    pass(w, CLIENT_ASK_AGAIN_MS);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_false(s->once);
    results(w, 1, s->request, &foreign, 1, DTQ_SUCCEEDED, "r");
    expect_answer(w, &foreign, DTQ_SUCCEEDED);
}

static void a_waiting_client_asks_for_it_again_on_a_new_connection(void **state)
{
    struct world *w = *state;
    const struct sent *q;
    const struct sent *s;

    ask_connected(w, &foreign, CLIENT_WAIT);
    q = say_missing(w, expect_look(w));
    query_reply(w, q->request, &foreign, DTQ_READY);
    tick(w);
    next_sent(w, 1, DTQI_WAIT);
    step(w, CLIENT_DOWN, 1, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    prove(w, 1);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_true(has_id(s, &foreign));
    assert_false(s->once);
}

static void a_look_is_content_with_an_open_state(void **state)
{
    struct world *w = *state;
    struct client_result r;
    const struct sent *q;

    ask_connected(w, &foreign, CLIENT_LOOK);
    q = say_missing(w, expect_look(w));
    query_reply(w, q->request, &foreign, DTQ_RUNNING);
    expect_answer(w, &foreign, DTQ_RUNNING);
    assert_true(client_read_answer(w->c, &foreign, &r));
    assert_memory_equal(r.worker.at, "w1", 2);
    client_ask_done(w->c);
    assert_int_equal(client_deadline_ms(w->c), UINT64_MAX);
}

static void a_look_at_an_own_task_leaves_it_followed(void **state)
{
    struct world *w = *state;
    const struct sent *q;
    dtq_id id;

    follow_up(w);
    id = confirm_one(w);
    ask(w, &id, CLIENT_LOOK);
    q = say_missing(w, expect_look(w));
    query_reply(w, q->request, &id, DTQ_READY);
    expect_answer(w, &id, DTQ_READY);
    client_ask_done(w->c);
    results(w, 1, 0, &id, 1, DTQ_SUCCEEDED, "r");
    expect_result(w, &id, DTQ_SUCCEEDED, "r");
}

static void a_result_taken_by_a_wait_is_no_event_any_more(void **state)
{
    struct world *w = *state;
    dtq_id id;

    follow_up(w);
    id = confirm_one(w);
    ask(w, &id, CLIENT_WAIT);
    results(w, 1, 0, &id, 1, DTQ_SUCCEEDED, "r");
    expect_answer(w, &id, DTQ_SUCCEEDED);
    client_answer_taken(w->c, &id);
    client_ask_done(w->c);
    assert_false(client_has_event(w->c));
    assert_false(client_expects_result(w->c));
}

static void a_wait_that_ends_early_leaves_the_result_an_event(void **state)
{
    struct world *w = *state;
    dtq_id id;

    follow_up(w);
    id = confirm_one(w);
    ask(w, &id, CLIENT_WAIT);
    client_ask_done(w->c);
    results(w, 1, 0, &id, 1, DTQ_SUCCEEDED, "r");
    expect_result(w, &id, DTQ_SUCCEEDED, "r");
}

/* Without FOLLOW: it was accepted, so WAIT is enough. */
static void an_own_unconfirmed_task_is_asked_for_once_it_is_confirmed(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    assert_int_equal(client_ask(w->c, &id, 1, CLIENT_WAIT, w->at), DTQ_OK);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_null(next_sent(w, 1, DTQI_WAIT));
    submitted(w, s->request);
    tick(w);
    prove(w, 1);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    assert_false(s->once);
    results(w, 1, s->request, &id, 1, DTQ_SUCCEEDED, "r");
    expect_answer(w, &id, DTQ_SUCCEEDED);
    client_ask_done(w->c);
    expect_verdict(w, &id, DTQ_OK);
}

static void waiting_for_a_refused_task_ends_as_not_found(void **state)
{
    struct world *w = *state;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    assert_int_equal(client_ask(w->c, &id, 1, CLIENT_WAIT, w->at), DTQ_OK);
    tick(w);
    refused(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request, 0, DTQI_BAD_TASK, "bad");
    expect_answer(w, &id, DTQ_NOT_FOUND);
}

static void a_watched_task_of_somebody_else_becomes_an_event(void **state)
{
    struct world *w = *state;
    const struct sent *q;

    ask_connected(w, &foreign, CLIENT_KEEP);
    assert_true(client_expects_result(w->c));
    q = say_missing(w, expect_look(w));
    query_reply(w, q->request, &foreign, DTQ_SCHEDULED);
    tick(w);
    results(w, 1, next_sent(w, 1, DTQI_WAIT)->request, &foreign, 1, DTQ_EXPIRED, "");
    expect_result(w, &foreign, DTQ_EXPIRED, "");
    assert_false(client_expects_result(w->c));
}

static void with_several_sinks_an_id_is_not_found_only_when_all_say_so(void **state)
{
    struct world *w = *state;
    const struct sent *looks[3];

    connect_up(w);
    ask(w, &foreign, CLIENT_WAIT);
    for (uint32_t peer = 1; peer <= 2; peer++) {
        w->seen_n = 0;
        prove(w, peer);
        looks[peer] = next_sent(w, peer, DTQI_WAIT);
        assert_non_null(looks[peer]);
    }
    w->seen_n = 0;
    while (next_sent(w, 1, DTQI_WAIT) != NULL)
        looks[1] = &w->sent[w->seen_n - 1];
    results(w, 1, looks[1]->request, &foreign, 1, DTQ_NOT_FOUND, "");
    tick(w);
    w->seen_n = 0;
    assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_QUERY));
    results(w, 2, looks[2]->request, &foreign, 1, DTQ_NOT_FOUND, "");
    tick(w);
    w->seen_n = 0;
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_QUERY));
}

/* B is the successor of A, and all that there is. */
static void remove_a(struct world *w)
{
    const dtqi_uid a = uid_of('A');
    const dtqi_uid b = uid_of('B');
    struct dtqi_sink_info info = {
        .store = b, .intake = dtqi_str("tcp://b:1"), .results = dtqi_str("tcp://b:2")};
    struct dtqi_msg msg = {.type = DTQI_SINKS};

    msg.sinks = (struct dtqi_sinks){.sinks = &info, .sinks_n = 1, .removed = {&a, &b, 1}};
    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &msg);
    tick(w);
}

/* The first look-up of the task at B. */
static const struct sent *look_at_b(struct world *w, const dtq_id *id)
{
    for (uint32_t i = 0; i < w->sent_n; i++)
        if (w->sent[i].peer == 2 && w->sent[i].msg == DTQI_WAIT && has_id(&w->sent[i], id))
            return &w->sent[i];
    return NULL;
}

/* R52: and hears that it is lost, if nobody knows it. */
static void who_waits_at_a_removed_sink_asks_its_successor(void **state)
{
    struct world *w = *state;
    const struct sent *sent;
    dtq_id id;

    w->sinks_n = 1;
    connect_up(w);
    id = submit(w, "x");
    tick(w);
    sent = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    submitted(w, sent->request);
    expect_verdict(w, &id, DTQ_OK);
    step(w, CLIENT_DOWN, 1, NULL);
    remove_a(w);
    tick(w);
    prove(w, 2);
    sent = look_at_b(w, &id);
    assert_non_null(sent);
    results(w, 2, sent->request, &id, 1, DTQ_NOT_FOUND, "");
    tick(w);
    sent = next_sent(w, CLIENT_VENTILATOR, DTQI_QUERY);
    assert_non_null(sent);
    query_reply(w, sent->request, &id, DTQ_NOT_FOUND);
    tick(w);
    sent = next_sent(w, 2, DTQI_WAIT);
    assert_non_null(sent);
    results(w, 2, sent->request, &id, 1, DTQ_NOT_FOUND, "");
    expect_result(w, &id, DTQ_NOT_FOUND, "");
}

static void what_was_not_confirmed_is_sent_for_the_successor(void **state)
{
    struct world *w = *state;
    const struct sent *sent;

    w->sinks_n = 1;
    connect_up(w);
    (void)submit(w, "x");
    tick(w);
    assert_int_equal(next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->sink.bytes[0], 'A');
    remove_a(w);
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    w->sinks_n = 2;
    welcome(w);
    tick(w);
    sent = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_true(sent->resend);
    assert_int_equal(sent->sink.bytes[0], 'B');
}

/* The message that told of it may be lost. */
static void a_sink_that_owes_an_outcome_and_is_silent_is_asked_after(void **state)
{
    struct world *w = *state;
    dtq_id id;

    connect_up(w);
    id = submit(w, "x");
    tick(w);
    submitted(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request);
    expect_verdict(w, &id, DTQ_OK);
    w->seen_n = w->sent_n;
    step(w, CLIENT_DOWN, 1, NULL);
    pass(w, CLIENT_ASK_AGAIN_MS - 100);
    assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
    pass(w, 200);
    assert_non_null(next_sent(w, CLIENT_VENTILATOR, DTQI_HELLO));
}

static void without_any_sink_only_the_ventilator_is_asked(void **state)
{
    struct world *w = *state;
    const struct sent *q;

    tick(w);
    ask(w, &foreign, CLIENT_WAIT);
    w->sinks_n = 0;
    welcome(w);
    tick(w);
    pass(w, 0);
    q = next_sent(w, CLIENT_VENTILATOR, DTQI_QUERY);
    assert_non_null(q);
    query_reply(w, q->request, &foreign, DTQ_NOT_FOUND);
    pass(w, 0);
    expect_answer(w, &foreign, DTQ_NOT_FOUND);
}

static void the_ventilator_is_asked_about_few_ids_at_a_time(void **state)
{
    struct world *w = *state;
    dtq_id ids[100];
    const struct sent *s;
    uint32_t n = 0;

    for (uint32_t i = 0; i < 100; i++)
        ids[i] = (dtq_id){{0x50, (uint8_t)i}};
    connect_up(w);
    assert_int_equal(client_ask(w->c, ids, 100, CLIENT_WAIT, w->at), DTQ_OK);
    tick(w);
    prove(w, 1);
    s = next_sent(w, 1, DTQI_WAIT);
    assert_int_equal(s->n, 100);
    results(w, 1, s->request, ids, 100, DTQ_NOT_FOUND, "");
    w->seen_n = w->sent_n;
    tick(w);
    while (next_sent(w, CLIENT_VENTILATOR, DTQI_QUERY) != NULL)
        n++;
    assert_int_equal(n, 64);
}

static void who_is_out_of_reach_is_told_apart_from_who_is_slow(void **state)
{
    struct world *w = *state;

    tick(w);
    assert_false(client_is_cut_off(w->c));
    pass(w, CLIENT_SILENT_MS);
    tick(w);
    assert_true(client_is_cut_off(w->c));
    assert_int_equal(client_silent_peer(w->c, CLIENT_SILENT_MS), CLIENT_VENTILATOR);
    assert_int_equal(client_silent_peer(w->c, CLIENT_SILENT_MS + 1), CLIENT_NOBODY);
    connect_up(w);
    assert_false(client_is_cut_off(w->c));
    assert_int_equal(client_silence_ms(w->c, CLIENT_VENTILATOR), 0);
    ask(w, &foreign, CLIENT_WAIT);
    assert_false(client_is_cut_off(w->c));
    pass(w, CLIENT_SILENT_MS);
    tick(w);
    assert_true(client_is_cut_off(w->c));
    assert_int_equal(client_silent_peer(w->c, CLIENT_SILENT_MS), 1);
    prove(w, 1);
    assert_false(client_is_cut_off(w->c));
    step(w, CLIENT_DOWN, 1, NULL);
    assert_false(client_is_cut_off(w->c));
    pass(w, CLIENT_SILENT_MS);
    tick(w);
    assert_true(client_is_cut_off(w->c));
}

static void too_many_ids_to_ask_for_are_refused_as_a_whole(void **state)
{
    struct world *w = *state;
    dtq_id ids[5] = {{{1}}, {{2}}, {{3}}, {{4}}, {{5}}};

    assert_int_equal(client_ask(w->c, ids, 5, CLIENT_WAIT, w->at), DTQ_EBUSY);
    assert_int_equal(client_watched(w->c), 0);
    assert_int_equal(client_ask(w->c, ids, 4, CLIENT_WAIT, w->at), DTQ_OK);
    assert_int_equal(client_watched(w->c), 4);
    client_ask_done(w->c);
}

/* ---------------------------------------------------------------- submitting again */

static void a_task_submitted_again_goes_out_as_a_resend_and_is_asked_for(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    const struct sent *s;
    dtq_id id;

    follow_up(w);
    t.again = &foreign;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    assert_memory_equal(id.bytes, foreign.bytes, sizeof id.bytes);
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_EINVAL);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_true(s->resend);
    submitted(w, s->request);
    tick(w);
    /* The first copy may have another reply_to, so nothing is pushed to us for sure. */
    s = next_sent(w, 1, DTQI_WAIT);
    assert_non_null(s);
    results(w, 1, s->request, &foreign, 1, DTQ_SUCCEEDED, "r");
    expect_verdict(w, &foreign, DTQ_OK);
    expect_result(w, &foreign, DTQ_SUCCEEDED, "r");
}

/* Its first copy may have been accepted, and may have ended, before the id grew too old. */
static void a_resend_that_comes_too_late_ends_as_unknown(void **state)
{
    struct world *w = *state;
    struct client_task t = a_task("x");
    dtq_id id;

    connect_up(w);
    t.again = &foreign;
    assert_int_equal(client_submit(w->c, &t, w->at, &id), DTQ_OK);
    tick(w);
    refused(w, next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT)->request, 0, DTQI_TOO_OLD, "too old");
    expect_verdict(w, &foreign, DTQ_EUNKNOWN);
    assert_int_equal(client_unconfirmed(w->c), 0);
}

/* ---------------------------------------------------------------- other questions */

static void a_question_is_asked_again_after_a_loss(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_CANCEL, .cancel = {.n = 1, .ids = &foreign}};
    uint32_t column = DTQ_READY;
    struct dtqi_msg answer = {.type = DTQI_CANCEL_REPLY,
                              .cancel_reply = {.n = 1, .states = &column, .cancelling = &column}};
    const struct sent *s;

    connect_up(w);
    client_question(w->c, CLIENT_VENTILATOR, &msg);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_CANCEL);
    assert_non_null(s);
    step(w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    pass(w, CLIENT_REOPEN_MS_MIN);
    welcome(w);
    tick(w);
    answer.cancel_reply.request = s->request;
    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &answer);
    assert_null(client_answer(w->c)); /* of the connection that was lost */
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_CANCEL);
    assert_non_null(s);
    answer.cancel_reply.request = s->request;
    step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &answer);
    assert_non_null(client_answer(w->c));
    client_question_done(w->c);
}

/* Other answers come, so that the connection is not taken for dead. */
static void a_question_without_an_answer_is_asked_again_on_a_connection_that_lives(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_CANCEL, .cancel = {.n = 1, .ids = &foreign}};
    struct dtqi_msg sinks = {.type = DTQI_QUERY_REPLY};
    uint64_t first;
    const struct sent *s;

    connect_up(w);
    client_question(w->c, CLIENT_VENTILATOR, &msg);
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_CANCEL);
    assert_non_null(s);
    first = s->request;
    for (uint32_t ms = 0; ms < CLIENT_ANSWER_MS_MAX; ms += CLIENT_ANSWER_MS / 5) {
        assert_null(next_sent(w, CLIENT_VENTILATOR, DTQI_CANCEL));
        assert_in_range(client_deadline_ms(w->c), w->at.now_ms,
                        w->at.now_ms + CLIENT_ANSWER_MS_MAX);
        pass(w, CLIENT_ANSWER_MS / 5);
        step(w, CLIENT_MESSAGE, CLIENT_VENTILATOR, &sinks);
        tick(w);
    }
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_CANCEL);
    assert_non_null(s);
    assert_true(s->request != first);
    client_question_done(w->c);
}

static void a_question_to_a_sink_connects_it(void **state)
{
    struct world *w = *state;
    struct dtqi_msg msg = {.type = DTQI_RESULTS_QUERY};
    struct dtqi_msg answer = {.type = DTQI_RESULTS_REPLY};
    uint32_t peers[DTQI_SINKS_MAX];
    const struct sent *s;

    connect_up(w);
    assert_int_equal(client_sinks(w->c, peers), 1);
    client_question(w->c, peers[0], &msg);
    tick(w);
    s = next_sent(w, 1, DTQI_RESULTS_QUERY);
    assert_non_null(s);
    answer.results_reply.request = s->request;
    step(w, CLIENT_MESSAGE, 1, &answer);
    assert_non_null(client_answer(w->c));
    client_question_done(w->c);
}

/* ---------------------------------------------------------------- nonsense */

static void answers_to_nothing_and_out_of_range_are_ignored(void **state)
{
    struct world *w = *state;
    const struct sent *s;
    dtq_id id;

    connect_up(w);
    submitted(w, 12345);
    results(w, 1, 9, &foreign, 1, DTQ_SUCCEEDED, "r"); /* of a sink that is not connected */
    id = submit(w, "x");
    tick(w);
    s = next_sent(w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    query_reply(w, s->request, &foreign, DTQ_READY);
    refused(w, s->request, 77, DTQI_BAD_TASK, "there is no entry 77");
    expect_verdict(w, &id, DTQ_OK);
    assert_false(client_has_event(w->c));
}

static void a_state_that_is_no_outcome_ends_nothing(void **state)
{
    struct world *w = *state;
    dtq_id id;

    follow_up(w);
    id = confirm_one(w);
    results(w, 1, 0, &id, 1, DTQ_RUNNING, "");
    results(w, 1, 0, &id, 1, DTQ_NOT_FOUND, ""); /* pushed: no answer to a question */
    assert_false(client_has_event(w->c));
    assert_true(client_expects_result(w->c));
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define FOLLOWING(name) cmocka_unit_test_setup_teardown(name, setup_following, teardown)
#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_new_client_opens_a_connection_and_says_hello),
        STORY(a_connection_that_fails_is_made_again_after_a_while),
        STORY(a_hello_without_answer_is_said_on_a_new_connection),
        STORY(what_comes_before_the_welcome_is_no_answer_to_hello),
        STORY(an_unknown_session_leads_to_a_new_hello),
        STORY(a_client_with_nothing_to_do_needs_no_tick),
        STORY(a_task_waits_for_welcome_and_then_goes_out_with_its_sink),
        STORY(a_confirmation_is_told_once),
        STORY(verdicts_of_calls_are_told_apart_from_events),
        STORY(ids_take_their_time_from_the_ventilator),
        STORY(ids_grow),
        STORY(a_local_clock_that_is_ahead_spoils_no_ids_after_welcome),
        WITH(each_task_goes_to_the_sink_of_its_id, setup_two_sinks),
        WITH(tasks_of_one_order_go_to_one_sink, setup_two_sinks),
        STORY(tasks_gather_into_one_batch_until_the_input_is_drained),
        STORY(a_batch_is_full_at_512_tasks),
        STORY(a_batch_is_full_at_256_kib_and_a_larger_task_goes_alone),
        STORY(the_first_task_wants_to_go_at_once_and_later_ones_gather),
        STORY(different_specs_are_carried_once_each),
        STORY(a_delay_counts_from_the_time_in_the_id),
        STORY(ids_of_a_local_clock_say_how_far_it_is_off),
        STORY(ids_of_the_last_start_of_a_ventilator_say_how_far_its_clock_was_off),
        STORY(a_lost_connection_makes_the_unconfirmed_go_out_again),
        STORY(silence_closes_the_connection_and_sends_again),
        STORY(patience_doubles_while_confirmations_fail_to_come),
        STORY(one_lost_answer_is_noticed_although_others_come),
        STORY(another_ventilator_is_told_who_may_hold_the_task),
        STORY(a_ventilator_that_refused_the_task_is_not_named),
        STORY(a_resend_names_the_sink_of_the_first_copy),
        STORY(busy_is_tried_again_and_is_no_resend),
        STORY(busy_until_the_deadline_is_told_with_its_text),
        STORY(why_a_task_is_put_off_is_known_until_the_ventilator_is_silent),
        STORY(of_a_batch_only_what_was_refused_goes_out_again),
        STORY(a_final_refusal_is_told_with_its_text),
        STORY(a_task_that_was_sent_and_not_answered_ends_as_unknown),
        STORY(the_core_gives_up_after_30_minutes_at_the_latest),
        STORY(a_task_that_could_never_be_sent_ends_as_unreachable),
        STORY(a_confirmation_that_comes_too_late_changes_nothing),
        STORY(without_a_sink_tasks_wait_and_the_ventilator_is_asked_again),
        STORY(without_a_sink_until_the_deadline_a_task_ends_as_busy),
        STORY(another_version_fails_what_was_never_sent_at_once),
        STORY(a_frame_of_another_version_is_a_refusal_too),
        STORY(a_ventilator_with_too_many_producers_is_asked_again),
        STORY(the_window_of_unconfirmed_tasks_is_bounded),
        WITH(the_bytes_of_unconfirmed_tasks_are_bounded_but_one_task_fits, setup_small),
        WITH(tasks_whose_results_nobody_takes_are_bounded, setup_small),
        STORY(a_payload_over_the_ventilators_limit_is_refused_here),
        FOLLOWING(a_followed_result_comes_by_itself_and_once),
        FOLLOWING(a_submit_carries_the_number_that_is_followed),
        FOLLOWING(the_tag_comes_back_with_the_result),
        FOLLOWING(a_result_confirms_its_task),
        FOLLOWING(what_was_sent_before_the_sink_knew_us_is_looked_up),
        FOLLOWING(a_resend_of_what_was_sent_before_the_sink_knew_us_is_looked_up_too),
        FOLLOWING(a_new_connection_to_the_sink_follows_and_looks_up_again),
        FOLLOWING(an_open_task_is_looked_up_now_and_then),
        FOLLOWING(an_outcome_that_everybody_forgot_is_not_found_in_the_end),
        WITH(results_without_room_stay_at_the_sink_until_there_is, setup_little_memory),
        FOLLOWING(a_refused_task_has_no_result_to_come),
        WITH(who_follows_all_gets_results_of_others_as_far_as_there_is_room, setup_follow_all),
        STORY(a_sink_is_connected_only_when_it_is_needed),
        STORY(an_outcome_that_is_there_is_found_by_one_look),
        STORY(an_id_that_nobody_knows_is_not_found),
        STORY(a_task_settled_while_we_asked_is_found_by_the_last_look),
        STORY(a_stale_no_of_the_sink_does_not_count),
        STORY(an_open_task_is_waited_for),
        STORY(a_waiting_client_asks_for_it_again_on_a_new_connection),
        STORY(a_look_is_content_with_an_open_state),
        FOLLOWING(a_look_at_an_own_task_leaves_it_followed),
        FOLLOWING(a_result_taken_by_a_wait_is_no_event_any_more),
        FOLLOWING(a_wait_that_ends_early_leaves_the_result_an_event),
        STORY(an_own_unconfirmed_task_is_asked_for_once_it_is_confirmed),
        STORY(waiting_for_a_refused_task_ends_as_not_found),
        STORY(a_watched_task_of_somebody_else_becomes_an_event),
        WITH(with_several_sinks_an_id_is_not_found_only_when_all_say_so, setup_two_sinks),
        FOLLOWING(who_waits_at_a_removed_sink_asks_its_successor),
        FOLLOWING(what_was_not_confirmed_is_sent_for_the_successor),
        FOLLOWING(a_sink_that_owes_an_outcome_and_is_silent_is_asked_after),
        STORY(without_any_sink_only_the_ventilator_is_asked),
        STORY(the_ventilator_is_asked_about_few_ids_at_a_time),
        STORY(who_is_out_of_reach_is_told_apart_from_who_is_slow),
        WITH(too_many_ids_to_ask_for_are_refused_as_a_whole, setup_small),
        FOLLOWING(a_task_submitted_again_goes_out_as_a_resend_and_is_asked_for),
        FOLLOWING(a_resend_that_comes_too_late_ends_as_unknown),
        STORY(a_question_is_asked_again_after_a_loss),
        STORY(a_question_without_an_answer_is_asked_again_on_a_connection_that_lives),
        STORY(a_question_to_a_sink_connects_it),
        STORY(answers_to_nothing_and_out_of_range_are_ignored),
        FOLLOWING(a_state_that_is_no_outcome_ends_nothing),
    };

    return cmocka_run_group_tests_name("client_core", tests, NULL, NULL);
}
