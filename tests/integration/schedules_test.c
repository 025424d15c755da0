/* Cron entries with the real programs: they fire, once for each time, across kills, and are shown
 * and changed at the command line. */
#include "cluster.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static json_t *object_of(const char *text)
{
    json_error_t error;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &error);

    if (!json_is_object(o))
        fail_msg("no JSON object (%s): %s", error.text, text);
    return o;
}

static json_t *shown(struct cluster *c, const char *name)
{
    return object_of(dtq_expect(c, 0, NULL, "cron", "show", name, "--json", NULL));
}

static long long number_of(struct cluster *c, const char *name, const char *key)
{
    json_t *o = shown(c, name);
    long long n = json_integer_value(json_object_get(o, key));

    json_decref(o);
    return n;
}

struct runs {
    const char *name;
    long long n;
};

static bool has_run(struct cluster *c, void *arg)
{
    const struct runs *r = arg;

    return number_of(c, r->name, "runs") >= r->n;
}

static void wait_for_runs(struct cluster *c, const char *name, long long n)
{
    struct runs r = {name, n};

    wait_until(c, has_run, &r);
}

static size_t lines_of(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

/* The time in an id, in seconds: its first 48 bits are milliseconds. */
static unsigned long long second_of(const char *id)
{
    char digits[16];

    snprintf(digits, sizeof digits, "%.8s%.4s", id, id + 9);
    return strtoull(digits, NULL, 16) / 1000;
}

static void refuse(struct cluster *c, const char *expression, const char *zone, const char *part)
{
    struct run *r =
        dtq_run(c, NULL, "cron", "add", "x", "--cron", expression, "--tz", zone, "echo", NULL);

    assert_int_equal(r->status, 2);
    expect_in(r, r->said, part);
}

static void an_entry_makes_tasks_that_run(void **state)
{
    struct cluster *c = *state;
    json_t *o;
    char id[64];

    cluster_start(c);
    dtq_expect(c, 0, NULL, "cron", "add", "beat", "--every", "1s", "echo", "hello", NULL);
    wait_for_runs(c, "beat", 2);
    o = shown(c, "beat");
    snprintf(id, sizeof id, "%s", json_string_value(json_object_get(o, "last_id")));
    json_decref(o);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, "--wait", NULL), "hello\n");
    dtq_expect(c, 0, NULL, "cron", "rm", "beat", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "cron", "list", "--json", NULL), "");
    dtq_expect(c, 1, NULL, "cron", "rm", "beat", NULL);
    dtq_expect(c, 1, NULL, "cron", "show", "beat", NULL);
}

/* Each second that was due has one task; the ventilator is killed at no moment in particular. */
static void each_time_makes_one_task_across_kills(void **state)
{
    struct cluster *c = *state;
    unsigned long long last = 0;
    long long runs;
    json_t *tasks;
    const char *text;
    json_t *task;
    size_t i;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, NULL, "cron", "add", "tick", "--cron", "* * * * * *", "--missed", "all:1000",
               "-q", "idle", "echo", NULL);
    for (long long kill = 1; kill <= 3; kill++) {
        wait_for_runs(c, "tick", kill);
        run_stop(c->ventilator, 9);
        cluster_start_ventilator(c, NULL);
    }
    wait_for_runs(c, "tick", 5);
    dtq_expect(c, 0, NULL, "cron", "pause", "tick", NULL);
    runs = number_of(c, "tick", "runs");
    text = dtq_expect(c, 0, NULL, "list", "-q", "idle", "--limit", "0", "--json", NULL);
    assert_int_equal(lines_of(text), runs);
    expect_in(c->ventilator, text, "\"cron\":\"tick\"");
    tasks = json_array();
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        json_error_t error;

        json_array_append_new(tasks, json_loads(line, JSON_DISABLE_EOF_CHECK, &error));
    }
    json_array_foreach(tasks, i, task)
    {
        unsigned long long at = second_of(json_string_value(json_object_get(task, "id")));

        if (last != 0)
            assert_int_equal(at, last + 1);
        last = at;
    }
    json_decref(tasks);
    assert_int_equal(number_of(c, "tick", "missed_runs"), 0);
}

static void entries_are_paused_run_by_hand_and_replaced(void **state)
{
    struct cluster *c = *state;
    char id[64];
    json_t *o;

    cluster_start(c);
    dtq_expect(c, 0, NULL, "cron", "add", "nightly", "--cron", "0 3 * * mon-fri", "--tz",
               "Europe/Berlin", "--missed", "all:5", "--overlap", "skip", "-q", "slow", "-p", "7",
               "echo", "x", NULL);
    dtq_expect(c, 0, NULL, "cron", "pause", "nightly", NULL);
    snprintf(id, sizeof id, "%s", dtq_expect(c, 0, NULL, "cron", "run", "nightly", NULL));
    id[strcspn(id, "\n")] = '\0';
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, "--wait", NULL), "x\n");
    run_stop(c->ventilator, 15);
    cluster_start_ventilator(c, NULL);
    o = shown(c, "nightly");
    assert_true(json_is_true(json_object_get(o, "paused")));
    assert_null(json_object_get(o, "next"));
    assert_string_equal(json_string_value(json_object_get(o, "cron")), "0 3 * * mon-fri");
    assert_string_equal(json_string_value(json_object_get(o, "tz")), "Europe/Berlin");
    assert_string_equal(json_string_value(json_object_get(o, "missed")), "all:5");
    assert_string_equal(json_string_value(json_object_get(o, "overlap")), "skip");
    assert_string_equal(json_string_value(json_object_get(o, "last_id")), id);
    assert_string_equal(json_string_value(json_object_get(o, "payload")), "x");
    assert_int_equal(json_integer_value(json_object_get(o, "priority")), 7);
    assert_int_equal(json_integer_value(json_object_get(o, "runs")), 1);
    json_decref(o);
    dtq_expect(c, 0, NULL, "cron", "resume", "nightly", NULL);
    dtq_expect(c, 1, NULL, "cron", "add", "nightly", "--every", "1h", "echo", NULL);
    dtq_expect(c, 0, NULL, "cron", "add", "nightly", "--replace", "--every", "1h", "echo", NULL);
    o = object_of(dtq_expect(c, 0, NULL, "cron", "list", "--json", NULL));
    assert_int_equal(json_integer_value(json_object_get(o, "every_ms")), 3600000);
    assert_false(json_is_true(json_object_get(o, "paused")));
    assert_non_null(json_object_get(o, "next"));
    json_decref(o);
}

static void what_cannot_be_is_refused_in_words(void **state)
{
    struct cluster *c = *state;

    cluster_start_ventilator(c, NULL);
    refuse(c, "61 * * * *", "UTC", "minute: '61' is not allowed; allowed are 0-59");
    refuse(c, "* * L * *", "UTC", "day of month: 'L'");
    refuse(c, "* * * * *", "Europe/Nowhere", "zone: 'Europe/Nowhere'");
    dtq_expect(c, 2, NULL, "cron", "add", "x", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--cron", "@daily", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--tz", "UTC", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--missed", "all:0", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--overlap", "no", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--eta", "2030-01-01T00:00:00Z",
               "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--", "ls", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "500ms", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--group", "", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--ordered", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--cron", "@daily", "--tz", "", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x y", "--every", "1s", "echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "an echo", NULL);
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--queue", "a b", "echo", NULL);
    dtq_expect(c, 1, NULL, "cron", "run", "x", NULL);
    dtq_expect(c, 2, NULL, "cron", "remove", "x", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "cron", "list", "--json", NULL), "");
}

/* An option of another verb would do nothing, and is named. */
static void refuse_option(struct cluster *c, const char *noun, const char *verb, const char *option)
{
    struct run *r = dtq_run(c, NULL, noun, verb, option, "x", NULL);
    char words[64];

    snprintf(words, sizeof words, "%s has no option --%.*s", verb, (int)strcspn(option + 2, "="),
             option + 2);
    assert_int_equal(r->status, 2);
    expect_in(r, r->said, words);
}

static void an_option_of_another_verb_is_refused(void **state)
{
    struct cluster *c = *state; /* nobody is asked */

    refuse_option(c, "cron", "rm", "--every=5s");
    refuse_option(c, "cron", "show", "--tz=UTC");
    refuse_option(c, "cron", "run", "--priority=3");
    refuse_option(c, "cron", "next", "--missed=once");
    refuse_option(c, "queue", "pause", "--per-group");
    refuse_option(c, "queue", "rate", "--yes");
    refuse_option(c, "dead", "show", "--queue=a");
    refuse_option(c, "dead", "list", "--yes");
    dtq_expect(c, 2, NULL, "cron", "add", "x", "--every", "1s", "--count", "3", "echo", NULL);
    dtq_expect(c, 2, NULL, "dead", "requeue", "last", "--queue", "a", NULL);
    dtq_expect(c, 2, NULL, "submit", "--group", "", "echo", NULL);
    dtq_expect(c, 2, NULL, "submit", "--key", "", "echo", NULL);
    dtq_expect(c, 2, NULL, "submit", "--expires", "0s", "echo", NULL);
    dtq_expect(c, 2, NULL, "queue", "ageing", "q", "200000d", NULL);
    dtq_expect(c, 2, NULL, "queue", "limit", "q", "many", NULL);
    dtq_expect(c, 2, NULL, "queue", "pause", "a b", NULL);
}

/* Each of them, whatever became of the one before. */
static void orders_about_several_names_do_all_they_can(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start_ventilator(c, NULL);
    dtq_expect(c, 0, NULL, "cron", "add", "a", "--every", "1h", "--group", "g", "--ordered", "echo",
               NULL);
    dtq_expect(c, 0, NULL, "cron", "add", "b", "--every", "1h", "echo", NULL);
    r = dtq_run(c, NULL, "cron", "show", "a", NULL);
    expect_in(r, r->text, "g, one at a time, in order");
    r = dtq_run(c, NULL, "cron", "show", "a", "--json", NULL);
    expect_in(r, r->text, "\"group\":\"g\",\"ordered\":true");
    r = dtq_run(c, NULL, "cron", "rm", "none", "a", "nobody", "b", NULL);
    assert_int_equal(r->status, 1);
    assert_string_equal(r->text, "a removed\nb removed\n");
    expect_in(r, r->said, "'none'");
    expect_in(r, r->said, "'nobody'");
    dtq_expect(c, 0, NULL, "queue", "pause", "q", NULL);
    r = dtq_run(c, NULL, "queue", "resume", "none", "q", NULL);
    assert_int_equal(r->status, 1);
    assert_string_equal(r->text, "q resumed\n");
}

/* No ventilator is asked. */
static void next_says_when_an_expression_fires(void **state)
{
    struct cluster *c = *state;
    json_t *o;

    snprintf(c->control, sizeof c->control, "tcp://127.0.0.1:9"); /* nobody is there */
    assert_string_equal(dtq_expect(c, 0, NULL, "cron", "next", "30 2 * * *", "--tz",
                                   "Europe/Berlin", "-n", "3", "--from", "2026-03-28T00:00:00Z",
                                   NULL),
                        "2026-03-28T02:30:00+01:00\n"
                        "2026-03-29T03:00:00+02:00\n"
                        "2026-03-30T02:30:00+02:00\n");
    o = object_of(dtq_expect(c, 0, NULL, "cron", "next", "@daily", "--json", "-n", "1", "--tz",
                             "America/St_Johns", "--from", "2026-01-01T12:00:00Z", NULL));
    assert_string_equal(json_string_value(json_object_get(o, "time")), "2026-01-02T03:30:00.000Z");
    assert_string_equal(json_string_value(json_object_get(o, "local")),
                        "2026-01-02T00:00:00-03:30");
    json_decref(o);
    dtq_expect(c, 2, NULL, "cron", "next", "30 2 * *", NULL);
    dtq_expect(c, 2, NULL, "cron", "next", NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(an_entry_makes_tasks_that_run),
        STORY(each_time_makes_one_task_across_kills),
        STORY(entries_are_paused_run_by_hand_and_replaced),
        STORY(what_cannot_be_is_refused_in_words),
        STORY(an_option_of_another_verb_is_refused),
        STORY(orders_about_several_names_do_all_they_can),
        STORY(next_says_when_an_expression_fires),
    };

    return RUN_STORIES(argc, argv, tests);
}
