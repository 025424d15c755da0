/* `--json` prints JSON that a program can read, and nothing else, whatever is in the tasks. */
#include "cluster.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Every line one object; the array is to be json_decref()ed. */
static json_t *objects_of(const char *text)
{
    json_t *list = json_array();

    while (*text != '\0') {
        json_error_t error;
        size_t n = strcspn(text, "\n");
        json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);

        if (!json_is_object(o) || text[n] != '\n')
            fail_msg("no JSON object (%s): %.*s", error.text, (int)n, text);
        json_array_append_new(list, o);
        text += n + 1;
    }
    return list;
}

static const char *text_in(const json_t *list, size_t i, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(list, i), key));

    if (text == NULL)
        fail_msg("object %zu has no text \"%s\"", i, key);
    return text;
}

static void submit_prints_an_id_a_line(void **state)
{
    struct cluster *c = *state;
    json_t *list;

    cluster_start(c);
    list = objects_of(dtq_expect(c, 0, NULL, "submit", "--json", "echo", "x", NULL));
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(strlen(text_in(list, 0, "id")), 36);
    json_decref(list);
    list = objects_of(
        dtq_expect(c, 0, "a\nb\n", "submit", "--json", "--each-line", "-", "echo", NULL));
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 1), "line")), 2);
    json_decref(list);
}

static void list_prints_open_tasks_of_the_wanted_kind(void **state)
{
    struct cluster *c = *state;
    json_t *list;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, NULL, "submit", "-q", "one", "first", "\"quoted\" \\ text", "-p7", NULL);
    dtq_expect(c, 0, NULL, "submit", "-q", "two", "second", "--delay=1h", NULL);
    list = objects_of(dtq_expect(c, 0, NULL, "list", "--json", NULL));
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(text_in(list, 0, "name"), "first");
    assert_string_equal(text_in(list, 0, "state"), "ready");
    assert_string_equal(text_in(list, 0, "queue"), "one");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "priority")), 7);
    assert_string_equal(text_in(list, 1, "state"), "scheduled");
    text_in(list, 1, "due");
    json_decref(list);

    list = objects_of(dtq_expect(c, 0, NULL, "list", "--json", "--queue=two", NULL));
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(text_in(list, 0, "name"), "second");
    json_decref(list);
    list = objects_of(dtq_expect(c, 0, NULL, "list", "--json", "--state=ready", NULL));
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(text_in(list, 0, "name"), "first");
    json_decref(list);
    list = objects_of(dtq_expect(c, 0, NULL, "list", "--json", "--limit=1", NULL));
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
}

/* More than one page of the protocol and of the command. */
static void list_prints_all_of_many(void **state)
{
    struct cluster *c = *state;
    char lines[3000 * 5 + 1];
    size_t n = 0;
    json_t *list;

    for (int i = 0; i < 3000; i++)
        n += (size_t)sprintf(lines + n, "%d\n", i);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, lines, "submit", "--each-line", "-", "-q", "many", "echo", NULL);
    list = objects_of(dtq_expect(c, 0, NULL, "list", "--json", "--limit=0", NULL));
    assert_int_equal(json_array_size(list), 3000);
    for (size_t i = 1; i < 3000; i++)
        assert_true(strcmp(text_in(list, i - 1, "id"), text_in(list, i, "id")) < 0);
    json_decref(list);
}

static void status_is_one_object(void **state)
{
    struct cluster *c = *state;
    json_t *list;
    json_t *status;
    json_t *worker;
    json_t *queue;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c3", "-n", "w", "-Q", "served", NULL);
    dtq_expect(c, 0, NULL, "submit", "-q", "nobody", "echo", "12345", NULL);
    dtq_expect(c, 0, NULL, "submit", "-q", "served", "echo", "x", "--wait", NULL);
    list = objects_of(dtq_expect(c, 0, NULL, "status", "--json", NULL));
    assert_int_equal(json_array_size(list), 1);
    status = json_array_get(list, 0);
    worker = json_array_get(json_object_get(status, "workers"), 0);
    assert_string_equal(json_string_value(json_object_get(worker, "name")), "w");
    assert_int_equal(json_integer_value(json_object_get(worker, "slots")), 3);
    assert_int_equal(json_array_size(json_object_get(status, "sinks")), 1);
    assert_true(json_is_true(
        json_object_get(json_array_get(json_object_get(status, "sinks"), 0), "reachable")));
    assert_true(json_object_size(json_object_get(status, "counters")) > 0);
    for (size_t i = 0; i < json_array_size(json_object_get(status, "queues")); i++) {
        queue = json_array_get(json_object_get(status, "queues"), i);
        if (strcmp(json_string_value(json_object_get(queue, "name")), "nobody") == 0)
            break;
        queue = NULL;
    }
    assert_non_null(queue);
    assert_int_equal(json_integer_value(json_object_get(queue, "ready")), 1);
    assert_int_equal(json_integer_value(json_object_get(queue, "workers")), 0);
    json_decref(list);
}

static void sinks_are_one_object_each(void **state)
{
    struct cluster *c = *state;
    json_t *list;
    json_t *sink;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, NULL, "submit", "echo", "12345", NULL);
    list = objects_of(dtq_expect(c, 0, NULL, "sink", "list", "--json", NULL));
    assert_int_equal(json_array_size(list), 1);
    sink = json_array_get(list, 0);
    assert_string_equal(text_in(list, 0, "results"), c->results);
    assert_int_equal(json_integer_value(json_object_get(sink, "waiting")), 1);
    assert_int_equal(json_integer_value(json_object_get(sink, "unsettled")), 0);
    assert_true(json_is_true(json_object_get(sink, "reachable")));
    assert_true(json_is_false(json_object_get(sink, "diverged")));
    json_decref(list);
}

static void results_prints_outcomes_of_the_wanted_kind(void **state)
{
    struct cluster *c = *state;
    json_t *list;

    cluster_start(c);
    dtq_expect(c, 0, NULL, "submit", "echo", "\tgood\x01\xc3\xa9", "--wait", NULL);
    dtq_expect(c, 1, NULL, "submit", "fail", "bad", "--no-retry", "--wait", NULL);
    list = objects_of(dtq_expect(c, 0, NULL, "results", "--json", NULL));
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(text_in(list, 0, "state"), "failed"); /* the newest first */
    assert_string_equal(text_in(list, 0, "error"), "bad");
    assert_string_equal(text_in(list, 1, "result"), "\tgood\x01\xc3\xa9");
    json_decref(list);
    list = objects_of(dtq_expect(c, 0, NULL, "results", "--json", "--state=succeeded", NULL));
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    list = objects_of(dtq_expect(c, 0, NULL, "results", "--json", "--queue=nosuch", NULL));
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
}

static void results_are_followed_as_they_come(void **state)
{
    struct cluster *c = *state;
    struct run *follow;
    json_t *list;

    cluster_start(c);
    follow = run_start(c, NULL, "dtq", "results", "--follow", "--json", NULL);
    /* It follows from some moment on: the first one is seen only if that has come. */
    while (follow->lines == 0) {
        dtq_expect(c, 0, NULL, "submit", "echo", "x", "--wait", NULL);
        run_take_output(follow);
    }
    dtq_expect(c, 1, NULL, "submit", "fail", "y", "--no-retry", "--wait", NULL);
    run_wait_text(follow, "\"error\":\"y\"");
    assert_int_equal(run_stop(follow, SIGTERM), 1000 + SIGTERM);
    list = objects_of(follow->text);
    assert_true(json_array_size(list) >= 2);
    json_decref(list);
}

/* The tables for people are there as well, and no terminal is written to by a task. */
static void tables_have_no_control_characters(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start(c);
    dtq_expect(c, 0, NULL, "submit", "echo", "a\x1b[31mb", "--wait", NULL);
    r = dtq_run(c, NULL, "results", NULL);
    assert_int_equal(r->status, 0);
    expect_in(r, r->text, "RESULT");
    assert_null(strchr(r->text, '\x1b'));
    r = dtq_run(c, NULL, "status", "--counters", NULL);
    assert_int_equal(r->status, 0);
    expect_in(r, r->text, "WORKER");
    expect_in(r, r->text, "SINK");
    expect_in(r, r->text, "COUNTER");
    r = dtq_run(c, NULL, "list", NULL);
    assert_int_equal(r->status, 0);
    assert_string_equal(r->said, "");
}

static void bench_prints_an_object_a_scenario(void **state)
{
    struct cluster *c = *state;
    json_t *list;
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c2", NULL);
    list = objects_of(
        dtq_expect(c, 0, NULL, "bench", "--json", "--tasks=2000", "--trips=3", "--orders=1", NULL));
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(text_in(list, 0, "scenario"), "A");
    assert_true(json_real_value(json_object_get(json_array_get(list, 0), "tasks_per_second")) > 0);
    assert_true(json_real_value(json_object_get(json_array_get(list, 1), "p50_us")) > 0);
    /* Nothing is faster than slots that are never idle. */
    assert_true(json_real_value(json_object_get(json_array_get(list, 2), "worst")) >= 1);
    json_decref(list);

    r = dtq_run(c, NULL, "bench", "C", "--noop=nobody-serves-this", NULL);
    assert_int_equal(r->status, 1);
    assert_non_null(strstr(r->said, "do the workers serve it?"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(bench_prints_an_object_a_scenario),
        STORY(submit_prints_an_id_a_line),
        STORY(list_prints_open_tasks_of_the_wanted_kind),
        STORY(list_prints_all_of_many),
        STORY(status_is_one_object),
        STORY(sinks_are_one_object_each),
        STORY(results_prints_outcomes_of_the_wanted_kind),
        STORY(results_are_followed_as_they_come),
        STORY(tables_have_no_control_characters),
    };

    return RUN_STORIES(argc, argv, tests);
}
