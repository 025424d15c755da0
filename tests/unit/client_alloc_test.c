/*
 * Each allocation of the library fails once: no crash, no leak (ASan looks), every task gets its
 * verdict and its result. libzmq's own allocations are not touched: it ends the process without
 * memory.
 */
#include "alloc_fail.h"
#include "client_core.h"

/* In virtual time, only what the core allocates counts. */
static void armed_step(struct client *c, const struct client_event *e, struct client_actions *out)
{
    alloc_fail_arm(true);
    client_step(c, e, out);
    alloc_fail_arm(false);
}

static dtq_err armed_submit(struct client *c, const struct client_task *t, struct client_time at,
                            dtq_id *ret_id)
{
    dtq_err err;

    alloc_fail_arm(true);
    err = client_submit(c, t, at, ret_id);
    alloc_fail_arm(false);
    return err;
}

static dtq_err armed_ask(struct client *c, const dtq_id *ids, uint32_t n,
                         enum client_interest interest, struct client_time at)
{
    dtq_err err;

    alloc_fail_arm(true);
    err = client_ask(c, ids, n, interest, at);
    alloc_fail_arm(false);
    return err;
}

#define client_step armed_step
#include "client_world.h"
#undef client_step

#include "dtq/dtq.h"
#include "fake_cluster.h"

#define TASKS 30
#define LONG_MS 20000

/* ---------------------------------------------------------------- the core */

/* The peer that WELCOME's order of sinks and R4 make of an id. */
static uint32_t sink_of(const dtq_id *id)
{
    dtq_id a = {{'A'}};
    dtq_id b = {{'B'}};
    uint64_t hash = dtqi_id_hash(id);

    return dtqi_mix64(hash ^ dtqi_id_hash(&a)) > dtqi_mix64(hash ^ dtqi_id_hash(&b)) ? 1 : 2;
}

/* Answers whatever was sent; false: there was nothing new. */
static bool answer(struct world *w)
{
    bool any = w->seen_n < w->sent_n;

    while (w->seen_n < w->sent_n) {
        struct sent s = w->sent[w->seen_n++];

        if (s.type != CLIENT_SEND)
            continue;
        if (s.msg == DTQI_HELLO)
            welcome(w);
        else if (s.msg == DTQI_SUBMIT)
            submitted(w, s.request);
        else if (s.msg == DTQI_QUERY)
            query_reply(w, s.request, &s.ids[0], DTQ_NOT_FOUND);
        else if (s.msg == DTQI_WAIT && s.ids[0].bytes[0] != 0x42)
            results(w, s.peer, s.request, s.ids, s.n, DTQ_NOT_FOUND, "");
        else if (s.msg == DTQI_WAIT)
            results(w, s.peer, s.request, s.ids, s.n, DTQ_SUCCEEDED, "r");
    }
    w->sent_n = w->seen_n = 0;
    return any;
}

static void settle(struct world *w)
{
    do {
        pass(w, 0);
    } while (answer(w));
    pass(w, 200); /* after missing memory it tries again a little later */
    while (answer(w))
        pass(w, 200);
}

static void submit_all(struct world *w, dtq_id *ids)
{
    for (int i = 0; i < TASKS; i++) {
        struct client_task t = a_task("payload");
        dtq_err err;

        t.spec = i % 2 != 0 ? (struct dtqi_slice){"one", 3} : (struct dtqi_slice){"two", 3};
        err = armed_submit(w->c, &t, w->at, &ids[i]);
        if (err == DTQ_ENOMEM)
            err = armed_submit(w->c, &t, w->at, &ids[i]);
        assert_int_equal(err, DTQ_OK);
    }
}

static void take_all(struct world *w)
{
    struct client_verdict v;
    struct client_result r;
    int verdicts = 0;
    int taken = 0;

    while (client_take_event_verdict(w->c, &v)) {
        assert_int_equal(v.err, DTQ_OK);
        verdicts++;
    }
    while (client_take_result(w->c, &r))
        taken++;
    assert_int_equal(verdicts, TASKS);
    assert_int_equal(taken, TASKS);
}

/* @return false: the scenario has fewer allocations than that. */
static bool core_scenario(unsigned long n)
{
    struct world w = {.cfg.follow = CLIENT_FOLLOW_OWN, .sinks_n = 2};
    dtq_id foreign = {{0x42}};
    dtq_id ids[TASKS];
    dtq_err err;

    alloc_fail_at(n);
    world_open(&w);
    submit_all(&w, ids);
    settle(&w);
    step(&w, CLIENT_DOWN, CLIENT_VENTILATOR, NULL);
    settle(&w);
    for (int i = 0; i < TASKS; i++)
        results(&w, sink_of(&ids[i]), 0, &ids[i], 1, DTQ_SUCCEEDED, "result");
    pass(&w, 2 * CLIENT_ASK_AGAIN_MS);
    w.sent_n = w.seen_n = 0;
    for (int i = 0; i < TASKS; i++) /* the one that found no memory comes when it is asked for */
        results(&w, sink_of(&ids[i]), 0, &ids[i], 1, DTQ_SUCCEEDED, "result");
    take_all(&w);
    err = armed_ask(w.c, &foreign, 1, CLIENT_WAIT, w.at);
    if (err == DTQ_ENOMEM)
        err = armed_ask(w.c, &foreign, 1, CLIENT_WAIT, w.at);
    assert_int_equal(err, DTQ_OK);
    for (int i = 0; i < 4 && client_answered(w.c) == 0; i++) {
        settle(&w);
        pass(&w, CLIENT_ASK_AGAIN_MS);
    }
    assert_int_equal(client_answered(w.c), 1);
    client_ask_done(w.c);
    world_close(&w);
    return alloc_failed();
}

static void the_core_survives_each_failed_allocation(void **state)
{
    unsigned long n = 1;

    (void)state;
    while (core_scenario(n))
        n++;
    assert_true(n > 20); /* else the failures were not where they should be */
}

/* A task whose payload found no memory leaves nothing of itself in the SUBMIT that was forming: one
 * that lists a spec for nothing is dropped whole by the ventilator. */
static void a_task_that_found_no_memory_leaves_no_spec(void **state)
{
    static const char large[100000];
    struct client_task t = a_task("payload");
    const struct sent *sent;
    struct world w = {.sinks_n = 1};
    unsigned long refused = 0;
    dtq_err err = DTQ_ENOMEM;
    dtq_id id;

    (void)state;
    alloc_fail_at(0);
    world_open(&w);
    connect_up(&w);
    submit(&w, "payload");
    t.payload = (struct dtqi_slice){large, sizeof large};
    for (unsigned long n = 1; err == DTQ_ENOMEM; n++) {
        t.spec = (struct dtqi_slice){&"abcdefgh"[n % 8], 1};
        alloc_fail_at(n);
        err = armed_submit(w.c, &t, w.at, &id);
        refused += err == DTQ_ENOMEM;
    }
    alloc_fail_at(0);
    assert_int_equal(err, DTQ_OK);
    assert_true(refused > 0);
    pass(&w, 0);
    sent = next_sent(&w, CLIENT_VENTILATOR, DTQI_SUBMIT);
    assert_non_null(sent);
    assert_int_equal(sent->n, 2);
    assert_int_equal(sent->specs_n, 2);
    world_close(&w);
}

static void a_core_that_cannot_be_made_leaves_nothing_behind(void **state)
{
    struct client_cfg cfg = {.reply_to = 1};
    struct client *c;
    dtq_err err;

    (void)state;
    for (unsigned long n = 1;; n++) {
        alloc_fail_at(n);
        alloc_fail_arm(true);
        err = client_new(&cfg, &c);
        alloc_fail_arm(false);
        if (err == DTQ_OK)
            break;
        assert_int_equal(err, DTQ_ENOMEM);
        assert_true(alloc_failed());
    }
    client_free(c);
}

/* ---------------------------------------------------------------- the whole library */

static dtq_err run_library(dtq_client *client)
{
    dtq_submitted submitted[3];
    dtq_result results[3];
    dtq_status status;
    dtq_task tasks[3];
    dtq_event event;
    dtq_id ids[3];
    dtq_err err = DTQ_OK;

    for (int i = 0; i < 3; i++)
        dtq_task_init(&tasks[i], "name", "payload", 7);
    tasks[1].queue = "other";
    err = dtq_submit_many(client, tasks, 3, LONG_MS, submitted);
    for (int i = 0; i < 3; i++)
        ids[i] = submitted[i].id;
    if (err == DTQ_OK)
        err = dtq_wait_all(client, ids, 3, LONG_MS, results);
    if (err == DTQ_OK)
        assert_string_equal(results[2].body, "payload");
    if (err == DTQ_OK)
        err = dtq_submit_async(client, &tasks[0], LONG_MS, &ids[0]);
    for (int i = 0; i < 2 && err == DTQ_OK; i++)
        err = dtq_next_event(client, LONG_MS, &event);
    if (err == DTQ_OK)
        err = dtq_status_get(client, LONG_MS, &status);
    return err;
}

static bool library_scenario(const char *endpoint, unsigned long n)
{
    dtq_client *client = NULL;
    dtq_options options;
    dtq_result result;
    dtq_err err;

    dtq_options_init(&options);
    options.ventilator = endpoint;
    options.follow = DTQ_FOLLOW_OWN;
    alloc_fail_at(n);
    alloc_fail_arm(true);
    err = dtq_client_open(&options, &client);
    if (err == DTQ_OK)
        err = run_library(client);
    alloc_fail_arm(false);
    assert_true(err == DTQ_OK || err == DTQ_ENOMEM);
    if (client != NULL) { /* after an error it is as good as before */
        while (dtq_next_result(client, LONG_MS, &result) == DTQ_OK)
            continue;
        assert_int_equal(run_library(client), DTQ_OK);
    }
    dtq_client_close(client);
    return alloc_failed();
}

static void the_library_survives_each_failed_allocation(void **state)
{
    struct fake_cluster *cluster = fake_cluster_open();
    unsigned long n = 1;

    (void)state;
    while (library_scenario(fake_cluster_endpoint(cluster), n))
        n++;
    assert_true(n > 30);
    fake_cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_core_that_cannot_be_made_leaves_nothing_behind),
        cmocka_unit_test(a_task_that_found_no_memory_leaves_no_spec),
        cmocka_unit_test(the_core_survives_each_failed_allocation),
        cmocka_unit_test(the_library_survives_each_failed_allocation),
    };

    return cmocka_run_group_tests_name("client_alloc", tests, NULL, NULL);
}
