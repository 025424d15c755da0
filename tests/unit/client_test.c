/* The library as its users see it, against a scripted ventilator and sink on loopback. */
#include "dtq/dtq.h"
#include "fake_cluster.h"

#include "msg.h" /* refusals */

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka wants some of the above first. */
#include <cmocka.h>

#define LONG_MS 20000 /* far longer than anything takes here */

struct fixture {
    struct fake_cluster *cluster;
    struct fake_flags *flags;
    dtq_client *client;
};

static dtq_client *open_client(const struct fixture *x, dtq_follow follow)
{
    dtq_options options;
    dtq_client *client;

    dtq_options_init(&options);
    options.ventilator = fake_cluster_endpoint(x->cluster);
    options.follow = follow;
    assert_int_equal(dtq_client_open(&options, &client), DTQ_OK);
    return client;
}

static int setup_with(void **state, dtq_follow follow)
{
    struct fixture *x = calloc(1, sizeof *x);

    assert_non_null(x);
    x->cluster = fake_cluster_open();
    x->flags = fake_cluster_flags(x->cluster);
    x->client = open_client(x, follow);
    *state = x;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, DTQ_FOLLOW_NONE);
}

static int setup_following(void **state)
{
    return setup_with(state, DTQ_FOLLOW_OWN);
}

static int teardown(void **state)
{
    struct fixture *x = *state;

    dtq_client_close(x->client);
    fake_cluster_close(x->cluster);
    free(x);
    return 0;
}

static dtq_task task_of(const char *payload)
{
    dtq_task task;

    dtq_task_init(&task, "test.echo", payload, strlen(payload));
    return task;
}

static dtq_id submit(struct fixture *x, const char *payload)
{
    dtq_task task = task_of(payload);
    dtq_id id;

    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, &id), DTQ_OK);
    return id;
}

static void expect_body(const dtq_result *r, const char *body)
{
    assert_int_equal(r->state, DTQ_SUCCEEDED);
    assert_int_equal(r->body_bytes, strlen(body));
    assert_string_equal(r->body, body);
}

/* ---------------------------------------------------------------- opening */

static void opening_does_not_wait_for_anybody(void **state)
{
    dtq_options options;
    dtq_client *client;

    (void)state;
    dtq_options_init(&options);
    options.ventilator = "tcp://127.0.0.1:1";
    assert_int_equal(dtq_client_open(&options, &client), DTQ_OK);
    dtq_client_close(client);
    dtq_client_close(NULL);
}

static void what_is_no_endpoint_is_refused(void **state)
{
    static const char *const bad[] = {
        "",         "5570",      "http://x:1", "tcp://",   "tcp://a:1,tcp://b:1",
        "tcp://:1", "tcp://a:0", "tcp://a:x",  "tcp://a:", "tcp://a:65536"};
    dtq_options options;
    dtq_client *client;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dtq_options_init(&options);
        options.ventilator = bad[i];
        assert_int_equal(dtq_client_open(&options, &client), DTQ_EINVAL);
    }
}

static void options_that_were_not_initialised_are_refused(void **state)
{
    dtq_options options = {0};
    dtq_client *client;

    (void)state;
    assert_int_equal(dtq_client_open(&options, &client), DTQ_EINVAL);
}

static void without_a_ventilator_calls_end_as_unreachable(void **state)
{
    dtq_task task = task_of("x");
    dtq_options options;
    dtq_client *client;
    dtq_result result;
    dtq_status status;
    dtq_id id = {{1}};

    (void)state;
    dtq_options_init(&options);
    options.ventilator = "tcp://127.0.0.1:1";
    assert_int_equal(dtq_client_open(&options, &client), DTQ_OK);
    assert_int_equal(dtq_submit(client, &task, 200, &id), DTQ_EUNREACHABLE);
    assert_int_equal(dtq_wait_one(client, &id, 200, &result), DTQ_EUNREACHABLE);
    assert_int_equal(dtq_status_get(client, 200, &status), DTQ_EUNREACHABLE);
    assert_true(strlen(dtq_client_errmsg(client)) > 0);
    dtq_client_close(client);
}

/* libzmq would end the process. */
static void count_silence(void *arg, const dtq_silence *silence)
{
    int *told = arg;

    assert_string_equal(silence->endpoint, "tcp://127.0.0.1:1");
    assert_false(silence->is_sink);
    ++*told;
}

static void a_silent_ventilator_is_told_of_once_while_it_is_waited_for(void **state)
{
    dtq_options options;
    dtq_client *client;
    dtq_status status;
    int told = 0;

    (void)state;
    dtq_options_init(&options);
    options.ventilator = "tcp://127.0.0.1:1";
    options.on_silence = count_silence;
    options.silence_arg = &told;
    assert_int_equal(dtq_client_open(&options, &client), DTQ_OK);
    assert_int_equal(dtq_status_get(client, 500, &status), DTQ_EUNREACHABLE);
    assert_int_equal(told, 0);
    assert_int_equal(dtq_status_get(client, 3000, &status), DTQ_EUNREACHABLE);
    assert_int_equal(told, 1);
    assert_int_equal(dtq_status_get(client, 300, &status), DTQ_EUNREACHABLE);
    assert_int_equal(told, 1);
    assert_non_null(strstr(dtq_client_errmsg(client), "the ventilator at tcp://127.0.0.1:1 "));
    dtq_client_close(client);
}

static void without_descriptors_there_is_no_client(void **state)
{
    struct rlimit limit;
    struct rlimit few;
    dtq_client *client;
    int next = dup(STDERR_FILENO);

    (void)state;
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    few = (struct rlimit){.rlim_cur = (rlim_t)next + 5, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(dtq_client_open(NULL, &client), DTQ_EIO);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* ---------------------------------------------------------------- submitting */

static void a_task_is_submitted_and_waited_for(void **state)
{
    struct fixture *x = *state;
    dtq_result r;
    dtq_id id = submit(x, "hello");

    assert_int_equal(dtq_wait_one(x->client, &id, LONG_MS, &r), DTQ_OK);
    expect_body(&r, "hello");
    assert_memory_equal(r.id.bytes, id.bytes, sizeof id.bytes);
    assert_string_equal(r.worker, "fake-worker");
    assert_string_equal(r.queue, "");
    assert_int_equal(r.attempt, 1);
}

static void an_empty_payload_gives_an_empty_result(void **state)
{
    struct fixture *x = *state;
    dtq_task task;
    dtq_result r;
    dtq_id id;

    dtq_task_init(&task, "test.echo", NULL, 0);
    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, &id), DTQ_OK);
    assert_int_equal(dtq_wait_one(x->client, &id, LONG_MS, &r), DTQ_OK);
    expect_body(&r, "");
}

static void a_payload_of_4_mib_comes_back_and_one_byte_more_is_too_big(void **state)
{
    struct fixture *x = *state;
    size_t bytes = DTQ_PAYLOAD_BYTES_MAX;
    char *payload = malloc(bytes + 1);
    dtq_task task;
    dtq_result r;
    dtq_id id;

    assert_non_null(payload);
    memset(payload, 'p', bytes + 1);
    dtq_task_init(&task, "test.echo", payload, bytes);
    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, &id), DTQ_OK);
    assert_int_equal(dtq_wait_one(x->client, &id, LONG_MS, &r), DTQ_OK);
    assert_int_equal(r.body_bytes, bytes);
    assert_memory_equal(r.body, payload, bytes);
    task.payload_bytes = bytes + 1;
    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, &id), DTQ_ETOOBIG);
    free(payload);
}

static void a_bad_task_is_refused_with_a_sentence(void **state)
{
    struct fixture *x = *state;
    dtq_task task = task_of("x");

    task.queue = "no spaces please";
    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, NULL), DTQ_EINVAL);
    assert_non_null(strstr(dtq_client_errmsg(x->client), "queue"));
    task = task_of("x");
    task.priority = 10;
    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, NULL), DTQ_EINVAL);
    assert_non_null(strstr(dtq_client_errmsg(x->client), "priority"));
    task = task_of("x");
    task.name = NULL;
    assert_int_equal(dtq_submit_async(x->client, &task, 0, NULL), DTQ_EINVAL);
    memset(&task, 0, sizeof task);
    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, NULL), DTQ_EINVAL);
    assert_int_equal(x->flags->tasks, 0);
}

static void many_tasks_get_a_verdict_each_in_their_order(void **state)
{
    enum { N = 3000 };
    struct fixture *x = *state;
    dtq_submitted *submitted = calloc(N, sizeof *submitted);
    dtq_task *tasks = calloc(N, sizeof *tasks);
    char(*payloads)[8] = calloc(N, sizeof *payloads);
    dtq_result r;

    for (int i = 0; i < N; i++) {
        snprintf(payloads[i], sizeof *payloads, "%d", i);
        tasks[i] = task_of(payloads[i]);
        tasks[i].tag = (uint64_t)i;
        tasks[i].queue = i % 3 != 0 ? "a" : "b";
    }
    tasks[1234].priority = 77;
    assert_int_equal(dtq_submit_many(x->client, tasks, N, LONG_MS, submitted), DTQ_EINVAL);
    for (int i = 0; i < N; i++) {
        assert_int_equal(submitted[i].err, i == 1234 ? DTQ_EINVAL : DTQ_OK);
        assert_int_equal(submitted[i].text[0] != 0, i == 1234);
    }
    assert_int_equal(submitted[2999].tag, 2999);
    assert_int_equal(x->flags->tasks, N - 1);
    assert_true(x->flags->submits < 40); /* batches, not single tasks */
    assert_int_equal(dtq_wait_one(x->client, &submitted[2999].id, LONG_MS, &r), DTQ_OK);
    expect_body(&r, "2999");
    free(payloads);
    free(tasks);
    free(submitted);
}

static void a_refusal_is_told_with_its_text(void **state)
{
    struct fixture *x = *state;
    dtq_task task = task_of("x");

    x->flags->refuse_tasks = DTQI_CONFLICT;
    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, NULL), DTQ_ECONFLICT);
    assert_non_null(strstr(dtq_client_errmsg(x->client), "no such luck"));
}

static void busy_is_waited_out(void **state)
{
    struct fixture *x = *state;
    dtq_task task = task_of("x");
    dtq_event event;

    x->flags->refuse_tasks = DTQI_BUSY;
    assert_int_equal(dtq_submit(x->client, &task, 300, NULL), DTQ_EBUSY);
    assert_int_equal(dtq_submit_async(x->client, &task, 0, NULL), DTQ_OK);
    assert_int_equal(dtq_flush(x->client, 300), DTQ_EBUSY);
    assert_non_null(strstr(dtq_client_errmsg(x->client), "no such luck"));
    x->flags->refuse_tasks = 0;
    assert_int_equal(dtq_flush(x->client, LONG_MS), DTQ_OK);
    assert_int_equal(dtq_next_event(x->client, 0, &event), DTQ_OK);
    assert_int_equal(event.submitted.err, DTQ_OK);
}

static void no_answer_leaves_it_unknown_and_the_task_can_be_submitted_again(void **state)
{
    struct fixture *x = *state;
    dtq_task task = task_of("x");
    dtq_id id;
    dtq_id again;

    submit(x, "connected");
    x->flags->mute = true;
    assert_int_equal(dtq_submit(x->client, &task, 100, &id), DTQ_EUNKNOWN);
    x->flags->mute = false;
    task.again = &id;
    assert_int_equal(dtq_submit(x->client, &task, LONG_MS, &again), DTQ_OK);
    assert_memory_equal(id.bytes, again.bytes, sizeof id.bytes);
    assert_int_equal(x->flags->resends, 1);
}

/* R5 end to end: nothing is lost, nothing runs twice. */
static void a_restart_of_the_ventilator_loses_no_task(void **state)
{
    enum { N = 2000 };
    struct fixture *x = *state;
    dtq_event event;
    int confirmed = 0;

    x->flags->mute = true;
    for (int i = 0; i < N; i++) {
        dtq_task task = task_of("x");

        assert_int_equal(dtq_submit_async(x->client, &task, LONG_MS, NULL), DTQ_OK);
    }
    assert_int_equal(dtq_flush(x->client, 100), DTQ_ETIMEOUT);
    x->flags->mute = false;
    fake_cluster_restart_ventilator(x->cluster);
    assert_int_equal(dtq_flush(x->client, LONG_MS), DTQ_OK);
    while (dtq_next_event(x->client, 0, &event) == DTQ_OK) {
        assert_int_equal(event.type, DTQ_EVENT_SUBMITTED);
        assert_int_equal(event.submitted.err, DTQ_OK);
        confirmed++;
    }
    assert_int_equal(confirmed, N);
    assert_int_equal(x->flags->tasks, N);
    assert_true(x->flags->resends > 0);
}

static void a_ventilator_that_comes_late_is_found(void **state)
{
    struct fixture *x = *state;
    dtq_task task = task_of("x");
    dtq_client *early;

    fake_cluster_stop_ventilator(x->cluster);
    early = open_client(x, DTQ_FOLLOW_NONE);
    assert_int_equal(dtq_submit(early, &task, 200, NULL), DTQ_EUNREACHABLE);
    fake_cluster_restart_ventilator(x->cluster);
    assert_int_equal(dtq_submit(early, &task, LONG_MS, NULL), DTQ_OK);
    dtq_client_close(early);
}

static void a_refused_client_is_told_at_once(void **state)
{
    struct fixture *x = *state;
    dtq_task task = task_of("x");
    dtq_client *other;
    dtq_event event;

    x->flags->refuse_hello = DTQI_BAD_VERSION;
    other = open_client(x, DTQ_FOLLOW_OWN);
    assert_int_equal(dtq_submit_async(other, &task, 0, NULL), DTQ_OK);
    assert_int_equal(dtq_next_event(other, LONG_MS, &event), DTQ_OK);
    assert_int_equal(event.submitted.err, DTQ_EVERSION);
    assert_int_equal(dtq_submit(other, &task, LONG_MS, NULL), DTQ_EVERSION);
    assert_non_null(strstr(dtq_client_errmsg(other), "not you"));
    dtq_client_close(other);
}

static void broken_frames_are_dropped_and_harm_nothing(void **state)
{
    struct fixture *x = *state;

    x->flags->garbage = true;
    for (int i = 0; i < 10; i++)
        submit(x, "x");
    assert_int_equal(x->flags->tasks, 10);
    assert_int_equal(x->flags->hellos, 1);
}

/* ---------------------------------------------------------------- results */

static void ten_thousand_results_come_by_themselves_each_once(void **state)
{
    enum { N = 10000 };
    struct fixture *x = *state;
    unsigned char *seen = calloc(N, 1);
    dtq_result r;

    for (int i = 0; i < N; i++) {
        char payload[8];
        dtq_task task;

        snprintf(payload, sizeof payload, "%d", i);
        task = task_of(payload);
        task.tag = (uint64_t)i;
        assert_int_equal(dtq_submit_async(x->client, &task, LONG_MS, NULL), DTQ_OK);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(dtq_next_result(x->client, LONG_MS, &r), DTQ_OK);
        assert_int_equal(atoi(r.body), r.tag);
        assert_int_equal(seen[r.tag]++, 0);
    }
    assert_int_equal(dtq_next_result(x->client, LONG_MS, &r), DTQ_ENOTFOUND);
    free(seen);
}

static void results_that_were_not_pushed_are_fetched(void **state)
{
    struct fixture *x = *state;
    dtq_result r;

    submit(x, "first");
    assert_int_equal(dtq_next_result(x->client, LONG_MS, &r), DTQ_OK);
    x->flags->hold_results = true;
    submit(x, "a");
    submit(x, "b");
    x->flags->push_nothing = true;
    fake_cluster_run(x->cluster);
    fake_cluster_restart_sink(x->cluster);
    for (int i = 0; i < 2; i++)
        assert_int_equal(dtq_next_result(x->client, LONG_MS, &r), DTQ_OK);
    assert_int_equal(dtq_next_result(x->client, LONG_MS, &r), DTQ_ENOTFOUND);
}

static void an_id_that_nobody_knows_is_not_found(void **state)
{
    struct fixture *x = *state;
    dtq_id id = {{1, 2, 3}};
    dtq_result r;

    assert_int_equal(dtq_wait_one(x->client, &id, LONG_MS, &r), DTQ_ENOTFOUND);
    assert_int_equal(dtq_look(x->client, &id, 1, LONG_MS, &r), DTQ_OK);
    assert_int_equal(r.state, DTQ_NOT_FOUND);
}

static void a_wait_for_an_open_task_times_out_and_succeeds_later(void **state)
{
    struct fixture *x = *state;
    dtq_result r;
    dtq_id id;

    x->flags->hold_results = true;
    id = submit(x, "x");
    assert_int_equal(dtq_wait_one(x->client, &id, 100, &r), DTQ_ETIMEOUT);
    fake_cluster_run(x->cluster);
    assert_int_equal(dtq_wait_one(x->client, &id, LONG_MS, &r), DTQ_OK);
    expect_body(&r, "x");
}

static void somebody_elses_task_can_be_waited_for_again_and_again(void **state)
{
    struct fixture *x = *state;
    dtq_client *other = open_client(x, DTQ_FOLLOW_NONE);
    dtq_id id = submit(x, "x");
    dtq_result r;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(dtq_wait_one(other, &id, LONG_MS, &r), DTQ_OK);
        expect_body(&r, "x");
    }
    dtq_client_close(other);
}

static void some_and_all_of_several_tasks_are_waited_for(void **state)
{
    struct fixture *x = *state;
    dtq_id ids[4];
    dtq_result r[4];
    size_t n;

    ids[0] = submit(x, "0");
    x->flags->hold_results = true;
    ids[1] = submit(x, "1");
    ids[2] = (dtq_id){{9}};
    ids[3] = ids[0];
    assert_int_equal(dtq_wait_all(x->client, ids, 4, 100, r), DTQ_ETIMEOUT);
    assert_int_equal(dtq_wait_some(x->client, ids, 2, LONG_MS, r, &n), DTQ_OK);
    assert_int_equal(n, 1);
    assert_int_equal(r[0].index, 0);
    fake_cluster_run(x->cluster);
    assert_int_equal(dtq_wait_all(x->client, ids, 4, LONG_MS, r), DTQ_OK);
    expect_body(&r[0], "0");
    expect_body(&r[1], "1");
    assert_int_equal(r[2].state, DTQ_NOT_FOUND);
    expect_body(&r[3], "0");
    assert_int_equal(dtq_wait_some(x->client, ids, 0, 0, r, &n), DTQ_EINVAL);
    assert_int_equal(dtq_wait_all(x->client, ids, 0, 0, r), DTQ_OK);
}

static void a_look_tells_open_states_without_waiting(void **state)
{
    struct fixture *x = *state;
    dtq_id ids[2];
    dtq_result r[2];

    ids[0] = submit(x, "done");
    x->flags->hold_results = true;
    ids[1] = submit(x, "open");
    assert_int_equal(dtq_look(x->client, ids, 2, LONG_MS, r), DTQ_OK);
    expect_body(&r[0], "done");
    assert_int_equal(r[1].state, DTQ_READY);
    assert_string_equal(r[1].name, "name");
    assert_string_equal(r[1].body, "");
}

static void a_silent_sink_is_unreachable_and_not_not_found(void **state)
{
    struct fixture *x = *state;
    dtq_id id = submit(x, "x");
    dtq_filter filter = {0};
    dtq_cursor cursor = {{0}};
    dtq_outcome_list list;
    dtq_silence silence;
    dtq_result r;

    x->flags->deaf_sink = true;
    assert_int_equal(dtq_wait_one(x->client, &id, 200, &r), DTQ_EUNREACHABLE);
    assert_non_null(strstr(dtq_client_errmsg(x->client), "the sink at tcp://"));
    dtq_client_silence(x->client, &silence);
    assert_true(silence.is_sink);
    assert_non_null(strstr(dtq_client_errmsg(x->client), silence.endpoint));
    assert_int_equal(dtq_outcomes(x->client, &filter, &cursor, 200, &list), DTQ_EUNREACHABLE);
    assert_non_null(strstr(dtq_client_errmsg(x->client), "the sink at tcp://"));
}

static void a_watched_task_becomes_an_event(void **state)
{
    struct fixture *x = *state;
    dtq_event event;
    dtq_id id;

    x->flags->hold_results = true;
    id = submit(x, "x");
    assert_int_equal(dtq_next_event(x->client, 0, &event), DTQ_ENOTFOUND);
    assert_int_equal(dtq_watch(x->client, &id, 1), DTQ_OK);
    assert_int_equal(dtq_next_event(x->client, 100, &event), DTQ_ETIMEOUT);
    fake_cluster_run(x->cluster);
    assert_int_equal(dtq_next_event(x->client, LONG_MS, &event), DTQ_OK);
    assert_int_equal(event.type, DTQ_EVENT_RESULT);
    expect_body(&event.result, "x");
}

/* Many results of 100 kB, more than may be kept: none is lost, and the rest waits at the sink. */
static void results_over_the_bound_are_fetched_as_there_is_room(void **state)
{
    enum { N = 100 };
    struct fixture *x = *state;
    dtq_options options;
    dtq_client *client;
    dtq_result r;

    dtq_options_init(&options);
    options.ventilator = fake_cluster_endpoint(x->cluster);
    options.follow = DTQ_FOLLOW_OWN;
    options.results_bytes_max = 1 << 20;
    assert_int_equal(dtq_client_open(&options, &client), DTQ_OK);
    x->flags->result_bytes = 100000;
    for (int i = 0; i < N; i++) {
        dtq_task task = task_of("x");

        assert_int_equal(dtq_submit(client, &task, LONG_MS, NULL), DTQ_OK);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(dtq_next_result(client, LONG_MS, &r), DTQ_OK);
        assert_int_equal(r.body_bytes, 100000);
    }
    assert_int_equal(dtq_next_result(client, 0, &r), DTQ_ENOTFOUND);
    dtq_client_close(client);
}

static void who_follows_all_sees_the_results_of_others(void **state)
{
    struct fixture *x = *state;
    dtq_client *all = open_client(x, DTQ_FOLLOW_ALL);
    dtq_result r;

    while (x->flags->follows == 0)
        assert_int_not_equal(dtq_next_result(all, 1, &r), DTQ_OK);
    submit(x, "seen");
    assert_int_equal(dtq_next_result(all, LONG_MS, &r), DTQ_OK);
    expect_body(&r, "seen");
    dtq_client_close(all);
}

/* ---------------------------------------------------------------- event loops */

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

static void the_descriptor_drives_an_event_loop(void **state)
{
    enum { N = 500 };
    struct fixture *x = *state;
    int fd = dtq_client_fd(x->client);
    int confirmed = 0;
    int results = 0;
    int sent = 0;

    assert_true(fd >= 0);
    assert_int_equal(dtq_client_fd(x->client), fd);
    while (results < N) {
        dtq_event event;

        if (sent < N) {
            dtq_task task = task_of("x");

            assert_int_equal(dtq_submit_async(x->client, &task, 0, NULL), DTQ_OK);
            sent++;
        }
        if (!is_readable(fd, sent < N ? 0 : LONG_MS)) {
            assert_true(sent < N);
            continue;
        }
        (void)!dtq_client_process(x->client);
        while (dtq_next_event(x->client, 0, &event) == DTQ_OK) {
            confirmed += event.type == DTQ_EVENT_SUBMITTED;
            results += event.type == DTQ_EVENT_RESULT;
        }
    }
    assert_int_equal(confirmed, N);
    assert_int_equal(results, N);
}

/* An event that was taken in by some other call must not be forgotten by the loop. */
static void the_descriptor_stays_readable_while_events_are_unread(void **state)
{
    struct fixture *x = *state;
    int fd = dtq_client_fd(x->client);
    dtq_event event;

    submit(x, "x");
    while (dtq_client_process(x->client) != DTQ_OK)
        assert_true(is_readable(fd, LONG_MS));
    assert_true(is_readable(fd, 0));
    assert_true(is_readable(fd, 0));
    assert_int_equal(dtq_next_event(x->client, 0, &event), DTQ_OK);
    assert_int_equal(dtq_client_process(x->client), DTQ_EAGAIN);
    assert_false(is_readable(fd, 0));
}

/* ---------------------------------------------------------------- cancelling and looking */

static void cancelling_tells_what_it_met(void **state)
{
    struct fixture *x = *state;
    dtq_cancelled c[3];
    dtq_result r;
    dtq_id ids[3];

    ids[0] = submit(x, "done");
    x->flags->hold_results = true;
    ids[1] = submit(x, "open");
    ids[2] = (dtq_id){{7}};
    assert_int_equal(dtq_cancel(x->client, ids, 3, LONG_MS, c), DTQ_OK);
    assert_int_equal(c[0].state, DTQ_SUCCEEDED);
    assert_int_equal(c[0].cancelling, 0);
    assert_int_equal(c[1].state, DTQ_READY);
    assert_int_equal(c[1].cancelling, 1);
    assert_int_equal(c[2].state, DTQ_NOT_FOUND);
    assert_int_equal(dtq_wait_one(x->client, &ids[1], LONG_MS, &r), DTQ_OK);
    assert_int_equal(r.state, DTQ_CANCELLED);
    /* Again: the outcome is what counts, wherever it is known. */
    x->flags->forget_done = true;
    assert_int_equal(dtq_cancel(x->client, ids, 3, LONG_MS, c), DTQ_OK);
    assert_int_equal(c[0].state, DTQ_SUCCEEDED);
    assert_int_equal(c[1].state, DTQ_CANCELLED);
    assert_int_equal(c[2].state, DTQ_NOT_FOUND);
}

/* Cancelling hands out no result: one that has come is still to be told. */
static void a_task_cancelled_too_late_still_tells_its_result(void **state)
{
    struct fixture *x = *state;
    dtq_cancelled cancelled;
    dtq_result r;
    dtq_id id = submit(x, "done");

    x->flags->forget_done = true;
    assert_int_equal(dtq_cancel(x->client, &id, 1, LONG_MS, &cancelled), DTQ_OK);
    assert_int_equal(cancelled.state, DTQ_SUCCEEDED);
    assert_int_equal(dtq_next_result(x->client, LONG_MS, &r), DTQ_OK);
    assert_memory_equal(&r.id, &id, sizeof id);
    assert_int_equal(r.state, DTQ_SUCCEEDED);
}

static void a_question_is_asked_again_after_a_restart(void **state)
{
    struct fixture *x = *state;
    dtq_status status;

    submit(x, "x");
    fake_cluster_restart_ventilator(x->cluster);
    assert_int_equal(dtq_status_get(x->client, LONG_MS, &status), DTQ_OK);
    assert_int_equal(status.counters_n, 1);
    assert_string_equal(status.counters[0].name, "tasks_submitted");
    assert_int_equal(status.counters[0].value, 1);
    assert_string_equal(status.workers[0].name, "w1");
    assert_string_equal(status.workers[0].queues[0], "default");
}

static void queues_and_workers_are_listed(void **state)
{
    struct fixture *x = *state;
    const dtq_worker_info *workers;
    const dtq_queue_info *queues;
    size_t n;

    assert_int_equal(dtq_queues(x->client, LONG_MS, &queues, &n), DTQ_OK);
    assert_int_equal(n, 1);
    assert_string_equal(queues[0].name, "default");
    assert_int_equal(dtq_workers(x->client, LONG_MS, &workers, &n), DTQ_OK);
    assert_int_equal(n, 1);
    assert_int_equal(workers[0].slots, 2);
}

static void a_cron_entry_that_cannot_be_is_refused_before_it_is_sent(void **state)
{
    struct fixture *x = *state;
    dtq_cron_info info;
    dtq_task task;
    dtq_cron cron;
    dtq_id again = {{1}};

    dtq_task_init(&task, "name", "x", 1);
    dtq_cron_init(&cron, "nightly", &task);
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_EINVAL); /* no time */
    cron.every_ms = 1000;
    cron.expression = "@daily";
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_EINVAL);
    cron.expression = NULL;
    cron.missed = (dtq_missed)9;
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_EINVAL);
    cron.missed = DTQ_MISSED_ONCE;
    task.not_before_wall_ms = 1700000000000;
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_EINVAL);
    task.not_before_wall_ms = 0;
    task.again = &again;
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_EINVAL);
    task.again = NULL;
    task.payload_bytes = 1u << 20;
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_ETOOBIG);
    task.payload_bytes = 1;
    cron.name = "not a name";
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_EREFUSED);
    cron.name = NULL;
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_EINVAL);
    cron.size = 1;
    assert_int_equal(dtq_cron_add(x->client, &cron, LONG_MS), DTQ_EINVAL);
    assert_int_equal(dtq_cron_run(x->client, "", LONG_MS, NULL), DTQ_EREFUSED);
    assert_int_equal(dtq_cron_pause(x->client, "not a name", LONG_MS), DTQ_EREFUSED);
    assert_int_equal(dtq_cron_show(x->client, "", LONG_MS, &info), DTQ_EINVAL);
    assert_int_equal(dtq_cron_remove(NULL, "x", LONG_MS), DTQ_EINVAL);
}

static void open_tasks_are_listed_page_by_page(void **state)
{
    struct fixture *x = *state;
    dtq_cursor cursor = {{0}};
    dtq_task_list list;
    dtq_task_info one;
    dtq_id ids[5];
    size_t n = 0;

    x->flags->hold_results = true;
    for (int i = 0; i < 5; i++)
        ids[i] = submit(x, "x");
    do {
        assert_int_equal(dtq_tasks(x->client, NULL, &cursor, LONG_MS, &list), DTQ_OK);
        for (size_t i = 0; i < list.n; i++)
            assert_memory_equal(list.tasks[i].id.bytes, ids[n++].bytes, sizeof ids[0].bytes);
    } while (list.more);
    assert_int_equal(n, 5);
    assert_int_equal(dtq_show(x->client, &ids[3], LONG_MS, &one), DTQ_OK);
    assert_int_equal(one.state, DTQ_READY);
    assert_string_equal(one.name, "name");
    ids[0] = (dtq_id){{3}};
    assert_int_equal(dtq_show(x->client, &ids[0], LONG_MS, &one), DTQ_ENOTFOUND);
}

static void outcomes_are_listed_page_by_page(void **state)
{
    struct fixture *x = *state;
    dtq_filter filter = {.limit = 2, .bodies = 1};
    dtq_cursor cursor = {{0}};
    dtq_outcome_list list;
    size_t n = 0;

    for (int i = 0; i < 5; i++)
        submit(x, "body");
    do {
        assert_int_equal(dtq_outcomes(x->client, &filter, &cursor, LONG_MS, &list), DTQ_OK);
        assert_true(list.n <= 2);
        for (size_t i = 0; i < list.n; i++)
            expect_body(&list.results[i], "body");
        n += list.n;
    } while (list.more);
    assert_int_equal(n, 5);
    filter.prefix_bits = 129;
    assert_int_equal(dtq_outcomes(x->client, &filter, NULL, LONG_MS, &list), DTQ_EINVAL);
}

static void a_prefix_finds_its_task_if_there_is_one_only(void **state)
{
    struct fixture *x = *state;
    dtq_id open;
    dtq_id done;
    dtq_id found;

    done = submit(x, "done");
    x->flags->hold_results = true;
    open = submit(x, "open");
    assert_int_equal(dtq_resolve(x->client, &done, 128, LONG_MS, &found), DTQ_OK);
    assert_memory_equal(found.bytes, done.bytes, sizeof found.bytes);
    assert_int_equal(dtq_resolve(x->client, &open, 120, LONG_MS, &found), DTQ_OK);
    assert_memory_equal(found.bytes, open.bytes, sizeof found.bytes);
    assert_int_equal(dtq_resolve(x->client, &open, 8, LONG_MS, &found), DTQ_ECONFLICT);
    open.bytes[0] ^= 1;
    assert_int_equal(dtq_resolve(x->client, &open, 64, LONG_MS, &found), DTQ_ENOTFOUND);
    assert_int_equal(dtq_resolve(x->client, &open, 0, LONG_MS, &found), DTQ_EINVAL);
}

/* ---------------------------------------------------------------- manners */

static void a_forked_child_may_only_close(void **state)
{
    struct fixture *x = *state;
    dtq_task task = task_of("x");
    int status;
    pid_t pid;

    submit(x, "x");
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool refused = dtq_submit(x->client, &task, 1000, NULL) == DTQ_EINVAL;

        dtq_client_close(x->client);
        _exit(refused ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    submit(x, "the parent goes on");
}

/* SIGPIPE has its default action in this process: a write to a closed connection would end it. */
static void lost_connections_raise_no_sigpipe(void **state)
{
    struct fixture *x = *state;
    struct sigaction action;

    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 100; k++) {
            dtq_task task = task_of("some payload that fills a packet or two, now and then");

            assert_int_equal(dtq_submit_async(x->client, &task, LONG_MS, NULL), DTQ_OK);
        }
        fake_cluster_restart_ventilator(x->cluster);
    }
    assert_int_equal(dtq_flush(x->client, LONG_MS), DTQ_OK);
}

static void closing_with_tasks_under_way_does_not_hang(void **state)
{
    struct fixture *x = *state;
    dtq_client *other = open_client(x, DTQ_FOLLOW_OWN);

    x->flags->mute = true;
    for (int i = 0; i < 1000; i++) {
        dtq_task task = task_of("x");

        assert_int_equal(dtq_submit_async(other, &task, 0, NULL), DTQ_OK);
    }
    dtq_client_close(other);
}

static void missing_arguments_are_refused(void **state)
{
    struct fixture *x = *state;
    dtq_task task = task_of("x");

    assert_int_equal(dtq_client_open(NULL, NULL), DTQ_EINVAL);
    assert_int_equal(dtq_submit(NULL, &task, 0, NULL), DTQ_EINVAL);
    assert_int_equal(dtq_submit(x->client, NULL, 0, NULL), DTQ_EINVAL);
    assert_int_equal(dtq_submit_many(x->client, &task, 1, 0, NULL), DTQ_EINVAL);
    assert_int_equal(dtq_wait_one(x->client, NULL, 0, NULL), DTQ_EINVAL);
    assert_int_equal(dtq_next_event(x->client, 0, NULL), DTQ_EINVAL);
    assert_int_equal(dtq_cancel(x->client, NULL, 1, 0, NULL), DTQ_EINVAL);
    assert_int_equal(dtq_client_fd(NULL), -1);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define FOLLOWING(name) cmocka_unit_test_setup_teardown(name, setup_following, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_does_not_wait_for_anybody),
        cmocka_unit_test(what_is_no_endpoint_is_refused),
        cmocka_unit_test(options_that_were_not_initialised_are_refused),
        cmocka_unit_test(without_descriptors_there_is_no_client),
        cmocka_unit_test(without_a_ventilator_calls_end_as_unreachable),
        cmocka_unit_test(a_silent_ventilator_is_told_of_once_while_it_is_waited_for),
        STORY(a_task_is_submitted_and_waited_for),
        STORY(an_empty_payload_gives_an_empty_result),
        STORY(a_payload_of_4_mib_comes_back_and_one_byte_more_is_too_big),
        STORY(a_bad_task_is_refused_with_a_sentence),
        STORY(many_tasks_get_a_verdict_each_in_their_order),
        STORY(a_refusal_is_told_with_its_text),
        STORY(busy_is_waited_out),
        STORY(no_answer_leaves_it_unknown_and_the_task_can_be_submitted_again),
        STORY(a_restart_of_the_ventilator_loses_no_task),
        STORY(a_ventilator_that_comes_late_is_found),
        STORY(a_refused_client_is_told_at_once),
        STORY(broken_frames_are_dropped_and_harm_nothing),
        FOLLOWING(ten_thousand_results_come_by_themselves_each_once),
        FOLLOWING(results_that_were_not_pushed_are_fetched),
        STORY(an_id_that_nobody_knows_is_not_found),
        STORY(a_wait_for_an_open_task_times_out_and_succeeds_later),
        STORY(somebody_elses_task_can_be_waited_for_again_and_again),
        STORY(some_and_all_of_several_tasks_are_waited_for),
        STORY(a_look_tells_open_states_without_waiting),
        STORY(a_silent_sink_is_unreachable_and_not_not_found),
        STORY(a_watched_task_becomes_an_event),
        STORY(results_over_the_bound_are_fetched_as_there_is_room),
        STORY(who_follows_all_sees_the_results_of_others),
        FOLLOWING(the_descriptor_drives_an_event_loop),
        FOLLOWING(the_descriptor_stays_readable_while_events_are_unread),
        STORY(cancelling_tells_what_it_met),
        FOLLOWING(a_task_cancelled_too_late_still_tells_its_result),
        STORY(a_question_is_asked_again_after_a_restart),
        STORY(queues_and_workers_are_listed),
        STORY(a_cron_entry_that_cannot_be_is_refused_before_it_is_sent),
        STORY(open_tasks_are_listed_page_by_page),
        STORY(outcomes_are_listed_page_by_page),
        STORY(a_prefix_finds_its_task_if_there_is_one_only),
        STORY(a_forked_child_may_only_close),
        STORY(lost_connections_raise_no_sigpipe),
        STORY(closing_with_tasks_under_way_does_not_hang),
        STORY(missing_arguments_are_refused),
    };

    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
