/* What `dtq` says of tasks, and how it exits: failures, retries, cancelling, times, priorities. */
#include "cluster.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A ventilator and a sink: nothing runs. */
static void start_without_worker(struct cluster *c)
{
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
}

/* The one JSON object that was printed; json_decref() it. */
static json_t *object_of(const char *text)
{
    json_error_t error;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &error);

    if (!json_is_object(o))
        fail_msg("no JSON object (%s): %s", error.text, text);
    return o;
}

static void expect_field(const char *text, const char *key, const char *value)
{
    json_t *o = object_of(text);
    const char *got = json_string_value(json_object_get(o, key));

    if (got == NULL || strcmp(got, value) != 0)
        fail_msg("\"%s\" is not \"%s\": %s", key, value, text);
    json_decref(o);
}

static json_int_t integer_of(const char *text, const char *key)
{
    json_t *o = object_of(text);
    json_t *value = json_object_get(o, key);
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value))
        fail_msg("no number \"%s\": %s", key, text);
    json_decref(o);
    return n;
}

/* ---- failures and retries */

static void an_unknown_task_name_fails_with_the_names_that_there_are(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start(c);
    r = dtq_run(c, NULL, "submit", "nosuch", "x", "--no-retry", "--wait", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "no handler is called 'nosuch'");
    expect_in(r, r->said, "echo");
    assert_string_equal(r->text, "");
}

static void a_failure_that_is_not_retried_ends_the_task(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char id[64];
    char worker[160];

    run_ready_value(cluster_start(c), "name", worker, sizeof worker);
    dtq_submit_id(c, id, "fail", "for this reason", "--no-retry", NULL);
    r = dtq_run(c, NULL, "wait", id, NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->text, "failed (error)");
    r = dtq_run(c, NULL, "result", id, NULL);
    assert_int_equal(r->status, 1);
    assert_string_equal(r->text, "");
    expect_in(r, r->said, "for this reason");
    r = dtq_run(c, NULL, "show", id, "--json", NULL);
    assert_int_equal(r->status, 0);
    expect_field(r->text, "state", "failed");
    expect_field(r->text, "reason", "error");
    expect_field(r->text, "error", "for this reason");
    expect_field(r->text, "worker", worker);
    assert_int_equal(integer_of(r->text, "attempt"), 1);
}

static void a_task_that_fails_twice_succeeds_in_its_third_attempt(void **state)
{
    struct cluster *c = *state;
    const char *text;

    cluster_start(c);
    text = dtq_expect(c, 0, NULL, "submit", "flaky", "3", "--backoff=10ms..20ms", "--wait",
                      "--json", NULL);
    expect_field(text, "state", "succeeded");
    assert_int_equal(integer_of(text, "attempt"), 3);
}

static void retries_have_an_end(void **state)
{
    struct cluster *c = *state;
    const char *text;

    cluster_start(c);
    text = dtq_expect(c, 1, NULL, "submit", "fail", "always", "--retries=2", "--backoff=10ms..20ms",
                      "--wait", "--json", NULL);
    expect_field(text, "state", "failed");
    assert_int_equal(integer_of(text, "attempt"), 3);
}

static bool has_failed_once(struct cluster *c, void *arg)
{
    struct run *r = dtq_run(c, NULL, "show", arg, "--json", NULL);

    return r->status == 0 && integer_of(r->text, "failures") == 1;
}

static void show_tells_the_attempts_of_a_task_that_will_be_retried(void **state)
{
    struct cluster *c = *state;
    json_t *task;
    json_t *attempt;
    struct run *r;
    char id[64];

    cluster_start(c);
    dtq_submit_id(c, id, "fail", "the first time", "--backoff=1h..1h", NULL);
    wait_until(c, has_failed_once, id);
    r = dtq_run(c, NULL, "show", id, "--json", NULL);
    expect_field(r->text, "state", "scheduled");
    task = object_of(r->text);
    assert_int_equal(json_array_size(json_object_get(task, "attempts")), 1);
    attempt = json_array_get(json_object_get(task, "attempts"), 0);
    assert_int_equal(json_integer_value(json_object_get(attempt, "attempt")), 1);
    assert_string_equal(json_string_value(json_object_get(attempt, "error")), "the first time");
    json_decref(task);
    r = dtq_run(c, NULL, "show", id, NULL);
    expect_in(r, r->text, "attempt 1 on");
    expect_in(r, r->text, "the first time");
    dtq_expect(c, 0, NULL, "cancel", id, NULL);
    dtq_expect(c, 130, NULL, "wait", id, NULL);
}

static bool is_last(struct cluster *c, void *arg)
{
    (void)arg;
    return dtq_run(c, NULL, "show", "last", NULL)->status == 0;
}

static void an_interrupted_wait_says_which_task_goes_on(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    start_without_worker(c);
    r = run_start(c, NULL, "dtq", "submit", "echo", "x", "--wait", NULL);
    wait_until(c, is_last, NULL);
    assert_int_equal(run_stop(r, SIGINT), 130);
    expect_in(r, r->said, "goes on");
    cluster_start_worker(c, "--module", HANDLERS_MODULE, NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", "last", "--wait", NULL), "x\n");
}

/* ---- exit statuses */

static void exit_statuses_tell_how_far_a_task_is(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char id[64];

    start_without_worker(c);
    dtq_submit_id(c, id, "echo", "x", NULL);
    dtq_expect(c, 75, NULL, "result", id, NULL);
    dtq_expect(c, 124, NULL, "wait", "--timeout=200ms", id, NULL);
    r = dtq_run(c, NULL, "wait", "--timeout=0", id, NULL);
    assert_int_equal(r->status, 124);
    expect_in(r, r->said, "1 of 1 tasks are not finished: the time is up");
    dtq_expect(c, 124, NULL, "wait", "--timeout=1ms", id, NULL);
    dtq_expect(c, 124, NULL, "result", "--wait", "--timeout=1ms", id, NULL);
    r = dtq_run(c, NULL, "result", "--wait", "--timeout=200ms", id, NULL);
    assert_int_equal(r->status, 124);
    assert_string_equal(r->text, "");
    r = dtq_run(c, NULL, "submit", "echo", "y", "--wait", "--timeout=200ms", NULL);
    assert_int_equal(r->status, 124);
    expect_in(r, r->said, "was accepted");
    cluster_start_worker(c, "--module", HANDLERS_MODULE, NULL);
    r = dtq_run(c, NULL, "wait", id, NULL);
    assert_int_equal(r->status, 0);
    expect_in(r, r->text, "succeeded");
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, NULL), "x\n");
    r = dtq_run(c, NULL, "wait", "--timeout=0", id, NULL); /* a look is enough */
    assert_int_equal(r->status, 0);
    expect_in(r, r->text, "succeeded");
}

static void the_worst_outcome_of_several_is_the_status(void **state)
{
    struct cluster *c = *state;
    char good[64];
    char bad[64];

    cluster_start(c);
    dtq_submit_id(c, good, "echo", "x", NULL);
    dtq_submit_id(c, bad, "fail", "y", "--no-retry", NULL);
    dtq_expect(c, 1, NULL, "wait", good, bad, NULL);
    assert_string_equal(dtq_expect(c, 1, NULL, "result", bad, good, NULL), "x\n");
    dtq_expect(c, 0, NULL, "wait", good, good, NULL);
}

static void results_are_bytes(void **state)
{
    struct cluster *c = *state;
    static const char bytes[] = "zero\0byte\xff\r\n\n";
    struct run *r;

    cluster_start(c);
    r = run_start(c, cluster_file(c, bytes, sizeof bytes), "dtq", "submit", "--stdin", "echo",
                  NULL);
    assert_int_equal(run_end(r), 0);
    r = dtq_run(c, NULL, "result", "--wait", "--raw", "last", NULL);
    assert_int_equal(r->status, 0);
    assert_int_equal(r->bytes, sizeof bytes);
    assert_memory_equal(r->text, bytes, sizeof bytes);
    expect_in(r, dtq_expect(c, 0, NULL, "result", "--json", NULL), "\"result_base64\":\"emVyb");
}

/* ---- cancelling */

static void a_task_that_waits_for_its_time_can_be_cancelled(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char id[64];

    cluster_start(c);
    dtq_submit_id(c, id, "echo", "x", "--delay=1h", NULL);
    r = dtq_run(c, NULL, "cancel", id, NULL);
    assert_int_equal(r->status, 0);
    expect_in(r, r->text, "cancelling");
    r = dtq_run(c, NULL, "wait", id, NULL);
    assert_int_equal(r->status, 130);
    expect_in(r, r->text, "cancelled");
    dtq_expect(c, 130, NULL, "result", id, NULL);
    dtq_expect(c, 0, NULL, "cancel", id, NULL); /* again: it is what was asked for */
}

static void tasks_of_a_queue_without_workers_can_be_cancelled(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    start_without_worker(c);
    dtq_expect(c, 0, "a\nb\nc\n", "submit", "--each-line", "-", "-q", "nobody", "echo", NULL);
    r = dtq_run(c, NULL, "cancel", "last", NULL);
    assert_int_equal(r->status, 0);
    assert_int_equal(r->lines, 3);
    r = dtq_run(c, NULL, "wait", NULL);
    assert_int_equal(r->status, 130);
    assert_int_equal(r->lines, 3);
    assert_string_equal(dtq_expect(c, 0, NULL, "list", "--json", NULL), "");
}

static void it_is_too_late_to_cancel_what_has_ended(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char id[64];

    cluster_start(c);
    dtq_submit_id(c, id, "echo", "x", NULL);
    dtq_expect(c, 0, NULL, "wait", id, NULL);
    r = dtq_run(c, NULL, "cancel", id, NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->text, "succeeded");
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, NULL), "x\n");
}

static bool is_running(struct cluster *c, void *arg)
{
    return strstr(dtq_run(c, NULL, "show", arg, NULL)->text, "running") != NULL;
}

static void a_running_task_is_stopped(void **state)
{
    struct cluster *c = *state;
    char id[64];

    cluster_start(c);
    dtq_submit_id(c, id, "sleep", "3600000", NULL);
    wait_until(c, is_running, id);
    dtq_expect(c, 0, NULL, "cancel", id, NULL);
    dtq_expect(c, 130, NULL, "wait", id, NULL);
}

/* ---- times */

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void a_delayed_task_starts_when_its_time_has_come(void **state)
{
    struct cluster *c = *state;
    uint64_t from_ms;
    char id[64];

    cluster_start(c);
    from_ms = now_ms();
    dtq_submit_id(c, id, "echo", "x", "--delay=1500ms", NULL);
    expect_field(dtq_expect(c, 0, NULL, "show", "--json", id, NULL), "state", "scheduled");
    assert_string_equal(dtq_expect(c, 0, NULL, "result", "--wait", id, NULL), "x\n");
    assert_true(now_ms() - from_ms >= 1500);
}

static void a_task_that_did_not_start_in_time_expires(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char id[64];

    start_without_worker(c);
    dtq_submit_id(c, id, "echo", "x", "--expires=300ms", NULL);
    r = dtq_run(c, NULL, "wait", id, NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->text, "expired");
    dtq_expect(c, 1, NULL, "result", id, NULL);
}

/* ---- priorities */

static void higher_priorities_start_first(void **state)
{
    struct cluster *c = *state;
    static const char order[] = "3715908264";
    char exec[PATH_MAX + 64];
    char path[PATH_MAX];
    char digits[64] = "";
    char priority[] = "-p0";
    char payload[] = "0";
    FILE *f;

    start_without_worker(c);
    for (const char *p = order; *p != '\0'; p++) {
        priority[2] = *p;
        payload[0] = *p;
        dtq_expect(c, 0, NULL, "submit", priority, "note", payload, NULL);
    }
    cluster_path(c, "order", path, sizeof path);
    snprintf(exec, sizeof exec, "--exec=note=sh -c 'cat >> %s'", path);
    /* Ends when all are done. */
    assert_int_equal(run_end(cluster_start_worker(c, exec, "-c1", "--burst", NULL)), 0);
    f = fopen(path, "re");
    assert_non_null(f);
    assert_non_null(fgets(digits, sizeof digits, f));
    fclose(f);
    assert_string_equal(digits, "9876543210");
}

static json_int_t attempts_of(struct cluster *c, const char *option, const char *list)
{
    char id[64];

    dtq_submit_id(c, id, "seven", "--retries", "1", "--backoff", "0s..0s", option, list, NULL);
    dtq_expect(c, 1, NULL, "wait", id, NULL);
    return integer_of(dtq_expect(c, 1, NULL, "result", id, "--json", NULL), "attempt");
}

static void which_failures_are_repeated_is_the_tasks_choice(void **state)
{
    struct cluster *c = *state;

    start_without_worker(c);
    cluster_start_worker(c, "--exec", "seven=sh -c 'exit 7'", NULL);
    assert_int_equal(attempts_of(c, "--retry-on", "timeout,exit:7"), 2);
    assert_int_equal(attempts_of(c, "--retry-on", "timeout,exit:8"), 1);
    assert_int_equal(attempts_of(c, "--no-retry-on", "exit:1-9"), 1);
    dtq_expect(c, 2, NULL, "submit", "seven", "--retry-on", "now and then", NULL);
}

static void a_key_stands_for_one_task_across_restarts(void **state)
{
    static const char line[] = "{\"name\":\"echo\",\"payload\":\"x\",\"key\":\"k:1\"}\n";
    struct cluster *c = *state;
    char first[64];
    char said[80];
    struct run *r;

    cluster_start(c);
    dtq_submit_id(c, first, "echo", "x", "--key", "k:1", NULL);
    snprintf(said, sizeof said, "%s\n", first);
    r = dtq_run(c, NULL, "submit", "echo", "x", "--key", "k:1", NULL);
    assert_int_equal(r->status, 0);
    assert_string_equal(r->text, said);
    expect_in(r, r->said, "submitted before");
    run_stop(c->ventilator, 9);
    cluster_start_ventilator(c, NULL);
    r = dtq_run(c, NULL, "submit", "echo", "x", "--key", "k:1", "--wait", NULL);
    assert_int_equal(r->status, 0);
    assert_string_equal(r->text, "x\n");
    r = dtq_run(c, NULL, "submit", "echo", "y", "--key", "k:1", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "the key stands for another task");
    r = dtq_run(c, line, "submit", "--jsonl", "-", NULL);
    expect_in(r, r->text, first);
    assert_int_equal(r->status, 0);
    expect_in(r, r->said, first);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(an_unknown_task_name_fails_with_the_names_that_there_are),
        STORY(a_failure_that_is_not_retried_ends_the_task),
        STORY(a_task_that_fails_twice_succeeds_in_its_third_attempt),
        STORY(retries_have_an_end),
        STORY(show_tells_the_attempts_of_a_task_that_will_be_retried),
        STORY(an_interrupted_wait_says_which_task_goes_on),
        STORY(exit_statuses_tell_how_far_a_task_is),
        STORY(the_worst_outcome_of_several_is_the_status),
        STORY(results_are_bytes),
        STORY(a_task_that_waits_for_its_time_can_be_cancelled),
        STORY(tasks_of_a_queue_without_workers_can_be_cancelled),
        STORY(it_is_too_late_to_cancel_what_has_ended),
        STORY(a_running_task_is_stopped),
        STORY(a_delayed_task_starts_when_its_time_has_come),
        STORY(a_task_that_did_not_start_in_time_expires),
        STORY(higher_priorities_start_first),
        STORY(which_failures_are_repeated_is_the_tasks_choice),
        STORY(a_key_stands_for_one_task_across_restarts),
    };

    return RUN_STORIES(argc, argv, tests);
}
