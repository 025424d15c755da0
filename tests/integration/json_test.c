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

/* ---- docs/JSON.md */

/* A row of a table there: "| `field` | type | what | absent |". */
struct row {
    char field[64];
    char type[16];
    bool is_always_there;
};

#define ROWS_MAX 64

/* The rows of a section; fails if there is none of that name. */
static size_t rows_of(const char *section, struct row *rows)
{
    FILE *f = fopen(JSON_DOC, "re");
    bool is_in = false;
    char line[1024];
    char head[128];
    size_t n = 0;

    assert_non_null(f);
    snprintf(head, sizeof head, "## %s\n", section);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "## ", 3) == 0)
            is_in = strcmp(line, head) == 0;
        if (!is_in || strncmp(line, "| `", 3) != 0)
            continue;
        assert_true(n < ROWS_MAX);
        assert_int_equal(sscanf(line, "| `%63[^`]` | %15[a-z] |", rows[n].field, rows[n].type), 2);
        rows[n].is_always_there = strstr(line, "| never |\n") != NULL;
        n++;
    }
    fclose(f);
    if (n == 0)
        fail_msg("docs/JSON.md has no section '%s'", section);
    return n;
}

static bool is_time(const char *text)
{
    int end = 0;

    return sscanf(text, "%*4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ%n", &end) == 0 && end == 24 &&
           text[end] == '\0';
}

static bool is_of_type(const json_t *value, const char *type)
{
    if (strcmp(type, "id") == 0)
        return json_is_string(value) && json_string_length(value) == 36;
    if (strcmp(type, "time") == 0)
        return json_is_string(value) && is_time(json_string_value(value));
    return (strcmp(type, "text") == 0 && json_is_string(value)) ||
           (strcmp(type, "integer") == 0 && json_is_integer(value)) ||
           (strcmp(type, "number") == 0 && json_is_number(value)) ||
           (strcmp(type, "flag") == 0 && json_is_boolean(value)) ||
           (strcmp(type, "list") == 0 && json_is_array(value)) ||
           (strcmp(type, "object") == 0 && json_is_object(value));
}

static const struct row *row_of(const struct row *rows, size_t n, const char *field)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].field, field) == 0)
            return &rows[i];
    return NULL;
}

/* The object has what the section (and a second one, unless NULL) says, and nothing else. */
static void expect_as_documented(json_t *o, const char *section, const char *more)
{
    struct row rows[2 * ROWS_MAX];
    size_t n = rows_of(section, rows);
    const char *field;
    json_t *value;

    if (more != NULL)
        n += rows_of(more, rows + n);
    json_object_foreach(o, field, value)
    {
        const struct row *row = row_of(rows, n, field);

        if (row == NULL)
            fail_msg("docs/JSON.md, %s: \"%s\" is not there", section, field);
        else if (!is_of_type(value, row->type))
            fail_msg("docs/JSON.md, %s: \"%s\" is not of type %s", section, field, row->type);
    }
    for (size_t i = 0; i < n; i++)
        if (rows[i].is_always_there && json_object_get(o, rows[i].field) == NULL)
            fail_msg("docs/JSON.md, %s: \"%s\" is never absent, and is", section, rows[i].field);
}

static void expect_list_as_documented(json_t *list, const char *section)
{
    size_t i;
    json_t *o;

    assert_true(json_array_size(list) > 0);
    json_array_foreach(list, i, o) expect_as_documented(o, section, NULL);
}

/* Every line that a command printed. */
static void expect_lines(const char *text, const char *section, const char *more)
{
    json_t *list = objects_of(text);
    size_t i;
    json_t *o;

    if (json_array_size(list) == 0)
        fail_msg("%s: nothing was printed", section);
    json_array_foreach(list, i, o)
    {
        expect_as_documented(o, section, more);
        if (json_object_get(o, "attempts") != NULL)
            expect_list_as_documented(json_object_get(o, "attempts"), "attempt");
        if (json_object_get(o, "queue_info") != NULL)
            expect_as_documented(json_object_get(o, "queue_info"), "queue", NULL);
    }
    json_decref(list);
}

/* One command with --json, and the section that it prints. */
#define DOCUMENTED(c, status, input, section, ...) \
    expect_lines(dtq_expect(c, status, input, "--json", __VA_ARGS__, NULL), section, NULL)

static void fields_of_tasks_are_documented(void **state)
{
    struct cluster *c = *state;
    char open[64];
    char good[64];
    char bad[64];

    cluster_start(c);
    DOCUMENTED(c, 0, NULL, "submit", "submit", "echo", "x");
    DOCUMENTED(c, 0, "a\nb\n", "submit", "submit", "--each-line", "-", "echo");
    DOCUMENTED(c, 0, NULL, "outcome", "submit", "echo", "x", "--wait");
    DOCUMENTED(c, 0, "a\nb\n", "outcome", "submit", "--each-line", "-", "echo", "--wait");
    dtq_submit_id(c, open, "echo", "x", "--delay=1h", "--group=g", NULL);
    dtq_submit_id(c, good, "echo", "x", NULL);
    dtq_submit_id(c, bad, "fail", "\xff", "--no-retry", NULL);
    DOCUMENTED(c, 1, NULL, "wait", "wait", good, bad);
    DOCUMENTED(c, 75, NULL, "outcome", "result", good, open);
    DOCUMENTED(c, 1, NULL, "outcome", "result", bad);
    DOCUMENTED(c, 0, NULL, "outcome", "results");
    DOCUMENTED(c, 0, NULL, "task", "list");
    DOCUMENTED(c, 0, NULL, "task", "show", open);
    expect_lines(dtq_expect(c, 0, NULL, "explain", "--json", open, NULL), "task", "explain");
    DOCUMENTED(c, 0, NULL, "outcome", "show", good, bad);
    DOCUMENTED(c, 0, NULL, "outcome", "explain", good, bad);
    DOCUMENTED(c, 0, NULL, "dead letter", "dead", "list");
    DOCUMENTED(c, 0, NULL, "dead letter", "dead", "show", bad);
    DOCUMENTED(c, 0, NULL, "dead requeue", "dead", "requeue", bad);
    DOCUMENTED(c, 0, NULL, "dead purge", "dead", "purge");
    DOCUMENTED(c, 0, NULL, "cancel", "cancel", open);
    dtq_expect(c, 0, NULL, "submit", "-q", "q", "echo", "--delay=1h", NULL);
    DOCUMENTED(c, 0, NULL, "cancel --queue", "cancel", "--queue", "q");
}

/* The same object from every command, and the same exit status. */
static void a_task_that_nobody_knows_is_not_found(void **state)
{
    static const char id[] = "01900000-0000-7000-8000-000000000000";
    static const char *const commands[] = {"show", "explain", "wait", "result", "cancel"};
    struct cluster *c = *state;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        json_t *list = objects_of(dtq_expect(c, 1, NULL, commands[i], "--json", id, NULL));

        assert_int_equal(json_array_size(list), 1);
        assert_string_equal(text_in(list, 0, "id"), id);
        assert_string_equal(text_in(list, 0, "state"), "not found");
        json_decref(list);
    }
}

static void fields_of_queues_are_documented(void **state)
{
    struct cluster *c = *state;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, NULL, "submit", "-q", "q", "echo", NULL);
    DOCUMENTED(c, 0, NULL, "queue", "queue", "list");
    DOCUMENTED(c, 0, NULL, "queue pause, queue resume", "queue", "pause", "q");
    DOCUMENTED(c, 0, NULL, "queue pause, queue resume", "queue", "resume", "q");
    DOCUMENTED(c, 0, NULL, "queue limit", "queue", "limit", "q", "3");
    DOCUMENTED(c, 0, NULL, "queue limit", "queue", "limit", "--per-group", "q", "3");
    DOCUMENTED(c, 0, NULL, "queue rate", "queue", "rate", "q", "5/s");
    DOCUMENTED(c, 0, NULL, "queue rate", "queue", "rate", "--per-group", "q", "5/s");
    DOCUMENTED(c, 0, NULL, "queue ageing", "queue", "ageing", "q", "1m");
    DOCUMENTED(c, 0, NULL, "queue move", "queue", "move", "q", "r");
    DOCUMENTED(c, 0, NULL, "queue purge", "queue", "purge", "r");
}

static void fields_of_cron_entries_are_documented(void **state)
{
    static const char turn[] = "cron pause, cron resume";
    struct cluster *c = *state;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    DOCUMENTED(c, 0, NULL, "cron entry", "cron", "add", "x", "--every=1h", "echo", "a");
    DOCUMENTED(c, 0, NULL, "cron entry", "cron", "add", "y", "--cron=@daily", "--group=g", "echo");
    DOCUMENTED(c, 0, NULL, "cron run", "cron", "run", "x");
    DOCUMENTED(c, 0, NULL, "cron entry", "cron", "list");
    DOCUMENTED(c, 0, NULL, "cron entry", "cron", "show", "x");
    DOCUMENTED(c, 0, NULL, turn, "cron", "pause", "x");
    DOCUMENTED(c, 0, NULL, turn, "cron", "resume", "x");
    DOCUMENTED(c, 0, NULL, "cron rm", "cron", "rm", "x");
    DOCUMENTED(c, 0, NULL, "cron next", "cron", "next", "@daily");
}

static void fields_of_the_cluster_are_documented(void **state)
{
    struct cluster *c = *state;
    json_t *list;
    json_t *status;
    char path[PATH_MAX];

    cluster_start(c);
    dtq_expect(c, 0, NULL, "submit", "echo", "x", "--wait", NULL);
    list = objects_of(dtq_expect(c, 0, NULL, "status", "--json", NULL));
    status = json_array_get(list, 0);
    expect_as_documented(status, "status", NULL);
    expect_list_as_documented(json_object_get(status, "queues"), "queue");
    expect_list_as_documented(json_object_get(status, "workers"), "worker");
    expect_list_as_documented(json_object_get(status, "sinks"), "sink");
    json_decref(list);
    DOCUMENTED(c, 0, NULL, "sink", "sink", "list");
    DOCUMENTED(c, 0, NULL, "bench", "bench", "--tasks=100", "--trips=3", "--orders=1");
    assert_int_equal(run_stop(c->sink, SIGKILL), 1000 + SIGKILL);
    DOCUMENTED(c, 0, NULL, "sink remove", "sink", "remove", "--yes", "--force", c->results);
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    snprintf(path, sizeof path, "%s/ventilator", c->dir);
    DOCUMENTED(c, 0, NULL, "store", "store", "check", path);
    DOCUMENTED(c, 0, NULL, "store", "store", "stats", path);
    DOCUMENTED(c, 0, NULL, "store", "store", "compact", path);
}

/* ---- what is in them */

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
        STORY(fields_of_tasks_are_documented),
        STORY(a_task_that_nobody_knows_is_not_found),
        STORY(fields_of_queues_are_documented),
        STORY(fields_of_cron_entries_are_documented),
        STORY(fields_of_the_cluster_are_documented),
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
