/* `dtq queue`: what it orders holds for all workers, and over kill -9 of the ventilator. Limits and
 * rates are measured by what the tasks themselves say of their beginnings and ends. */
#include "cluster.h"

#include "text.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 1000

struct span { /* of one task, microseconds since the first of all began */
    int64_t from_us;
    int64_t to_us;
};

static int by_start(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;

    return x->from_us < y->from_us ? -1 : x->from_us > y->from_us;
}

static struct span span_of(const char *line)
{
    json_t *o = json_loadb(line, strcspn(line, "\n"), 0, NULL);
    const char *started = json_string_value(json_object_get(o, "started"));
    struct span s = {0};
    uint64_t wall_ms = 0;

    if (started == NULL || text_parse_time(started, &wall_ms) != DTQ_OK)
        fail_msg("no time: %s", line);
    s.from_us = (int64_t)wall_ms * 1000;
    s.to_us = s.from_us + json_integer_value(json_object_get(o, "duration_us"));
    json_decref(o);
    return s;
}

/* Wall time, microseconds. */
static int64_t first_start(struct cluster *c, const char *queue)
{
    const char *line =
        dtq_expect(c, 0, NULL, "results", "--json", "--queue", queue, "--limit", "1000", NULL);
    int64_t first = INT64_MAX;

    for (; *line != '\0'; line = strchr(line, '\n') + 1) {
        struct span s = span_of(line);

        first = s.from_us < first ? s.from_us : first;
    }
    return first;
}

/* When the tasks of a queue ran, in order. */
static size_t spans_of(struct cluster *c, const char *queue, struct span *ret)
{
    const char *line =
        dtq_expect(c, 0, NULL, "results", "--json", "--queue", queue, "--limit", "1000", NULL);
    int64_t begin_us;
    size_t n = 0;

    for (; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(n < RUNS_MAX);
        ret[n++] = span_of(line);
    }
    qsort(ret, n, sizeof *ret, by_start);
    begin_us = n > 0 ? ret[0].from_us : 0;
    for (size_t i = 0; i < n; i++) {
        ret[i].from_us -= begin_us;
        ret[i].to_us -= begin_us;
    }
    return n;
}

static size_t count_outcomes(struct cluster *c, const char *of_state)
{
    const char *line =
        dtq_expect(c, 0, NULL, "results", "--json", "--state", of_state, "--limit", "1000", NULL);
    size_t n = 0;

    for (; (line = strchr(line, '\n')) != NULL; line++)
        n++;
    return n;
}

static bool has_no_tasks(struct cluster *c, void *arg)
{
    (void)arg;
    return dtq_expect(c, 0, NULL, "list", "--json", NULL)[0] == '\0';
}

/* Times are given in milliseconds: tasks overlap when they share more than one. */
static size_t most_at_a_time(const struct span *s, size_t n)
{
    size_t most = 0;

    for (size_t i = 0; i < n; i++) {
        size_t at_a_time = 0;

        for (size_t k = 0; k <= i; k++)
            at_a_time += s[k].to_us > s[i].from_us + 1000;
        if (at_a_time > most)
            most = at_a_time;
    }
    return most;
}

/* `n` lines, until the next call. */
static const char *lines_of(const char *payload, size_t n)
{
    static char text[8192];
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "%s\n", payload);
    assert_true(bytes < sizeof text);
    return text;
}

static void start_two_workers(struct cluster *c)
{
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    for (int i = 0; i < 2; i++)
        cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c4", NULL);
}

static void kill_ventilator(struct cluster *c)
{
    run_stop(c->ventilator, SIGKILL);
    cluster_start_ventilator(c, NULL);
}

static void a_paused_queue_stays_paused_over_kill_9(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char id[64];

    start_two_workers(c);
    assert_string_equal(dtq_expect(c, 0, NULL, "queue", "pause", "mail", NULL), "mail paused\n");
    kill_ventilator(c);
    dtq_submit_id(c, id, "-q", "mail", "echo", "late", NULL);
    dtq_expect(c, 0, NULL, "submit", "-q", "other", "echo", "at once", "--wait", NULL);
    r = dtq_run(c, NULL, "list", "--json", NULL);
    expect_in(r, r->text, "\"why\":\"its queue is paused\"");
    r = dtq_run(c, NULL, "queue", "list", NULL);
    expect_in(r, r->text, "paused");
    assert_string_equal(dtq_expect(c, 0, NULL, "queue", "resume", "mail", "--json", NULL),
                        "{\"queue\":\"mail\",\"paused\":false}\n");
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, "--wait", NULL), "late\n");
}

static void no_more_tasks_run_than_the_limit_of_their_queue(void **state)
{
    struct cluster *c = *state;
    struct span spans[RUNS_MAX];
    size_t n;

    start_two_workers(c);
    dtq_expect(c, 0, NULL, "queue", "limit", "few", "3", NULL);
    dtq_expect(c, 0, lines_of("50", 30), "submit", "-q", "few", "--each-line", "-", "--wait",
               "sleep", NULL);
    n = spans_of(c, "few", spans);
    assert_int_equal(n, 30);
    assert_int_equal(most_at_a_time(spans, n), 3);
}

/* 151 tasks of this queue at 50 a second. @return from the first start to the last. */
static uint64_t time_at_a_rate(struct cluster *c, const char *queue)
{
    struct span spans[RUNS_MAX];
    size_t n;

    dtq_expect(c, 0, NULL, "queue", "rate", queue, "50/s", NULL);
    dtq_expect(c, 0, lines_of("x", 151), "submit", "-q", queue, "--each-line", "-", "--wait",
               "echo", NULL);
    n = spans_of(c, queue, spans);
    assert_int_equal(n, 151);
    return spans[n - 1].from_us;
}

/* Never faster. A busy machine makes it slower: then the best of three counts. */
static void tasks_start_at_the_rate_of_their_queue(void **state)
{
    static const char *const queues[] = {"slow", "slow.again", "slow.once.more"};
    uint64_t best_us = UINT64_MAX;

    start_two_workers(*state);
    for (size_t i = 0; i < 3 && best_us > 3000 * 1050; i++) {
        uint64_t us = time_at_a_rate(*state, queues[i]);

        assert_true(us >= 3000 * 950);
        best_us = us < best_us ? us : best_us;
    }
    assert_true(best_us <= 3000 * 1050 * DTQ_SLOWNESS);
}

/* The long one is the low one: of two tasks, it came first or second. */
static size_t place_of_the_low_one(struct cluster *c, const char *queue)
{
    struct span spans[RUNS_MAX];

    dtq_expect(c, 0, NULL, "submit", "-q", queue, "-p0", "sleep", "30", NULL);
    dtq_expect(c, 0, NULL, "queue", "list", NULL); /* takes more than 9 ms, or the next one does */
    dtq_expect(c, 0, NULL, "submit", "-q", queue, "-p9", "echo", "x", NULL);
    dtq_expect(c, 0, NULL, "queue", "resume", queue, NULL);
    wait_until(c, has_no_tasks, NULL);
    assert_int_equal(spans_of(c, queue, spans), 2);
    return spans[0].to_us - spans[0].from_us >= 30000 ? 1 : 2;
}

static void priorities_rise_with_waiting_if_so_ordered(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, NULL, "queue", "pause", "a", "b", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "queue", "ageing", "a", "1ms", NULL),
                        "a ageing 1ms\n");
    kill_ventilator(c);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c1", NULL);
    assert_int_equal(place_of_the_low_one(c, "a"), 1);
    assert_int_equal(place_of_the_low_one(c, "b"), 2);
    r = dtq_run(c, NULL, "queue", "list", NULL);
    expect_in(r, r->text, "ageing 1ms");
    r = dtq_run(c, NULL, "queue", "ageing", "a", "1h30m", "--json", NULL);
    assert_string_equal(r->text, "{\"queue\":\"a\",\"ageing_ms\":5400000}\n");
    dtq_expect(c, 0, NULL, "queue", "ageing", "a", "none", NULL);
    r = dtq_run(c, NULL, "queue", "list", "--json", NULL);
    expect_in(r, r->text, "\"ageing_ms\":0");
}

/* ---- purge and cancel */

static bool can_move_nothing(struct cluster *c, void *arg)
{
    struct run *r = dtq_run(c, NULL, "queue", "move", "old", "new", NULL);

    (void)arg;
    return r->status == 0 && strcmp(r->text, "old moved 0 to new\n") == 0;
}

static void what_waits_is_moved_and_stays_so_after_kill_9(void **state)
{
    struct cluster *c = *state;
    char late[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_submit_id(c, late, "echo", "late", "-q", "old", "--delay", "1h", NULL);
    dtq_expect(c, 0, lines_of("x", 800), "submit", "-q", "old", "--each-line", "-", "echo", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "queue", "move", "old", "new", "--json", NULL),
                        "{\"queue\":\"old\",\"to\":\"new\",\"moved\":801}\n");
    kill_ventilator(c);
    wait_until(c, can_move_nothing, NULL); /* it lets go of what it recovered */
    expect_in(c->ventilator, dtq_expect(c, 0, NULL, "show", late, NULL), "was in     old");
    expect_in(c->ventilator, dtq_expect(c, 0, NULL, "show", late, "--json", NULL),
              "\"queue\":\"new\"");
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c1", "-Q", "new", NULL);
    dtq_expect(c, 0, NULL, "wait", NULL);
    assert_int_equal(count_outcomes(c, "succeeded"), 800);
    dtq_expect(c, 1, NULL, "queue", "move", "nobodys", "new", NULL);
    dtq_expect(c, 1, NULL, "queue", "move", "new", "new", NULL);
    dtq_expect(c, 2, NULL, "queue", "move", "new", NULL);
}

static void a_purge_says_how_many_and_is_completed_after_kill_9(void **state)
{
    struct cluster *c = *state;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, lines_of("x", 500), "submit", "-q", "old", "--each-line", "-", "echo", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "queue", "purge", "old", "--json", NULL),
                        "{\"queue\":\"old\",\"purged\":500}\n");
    kill_ventilator(c);
    dtq_expect(c, 0, NULL, "submit", "-q", "old", "echo", "new", NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c1", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", "--wait", NULL), "new\n");
    wait_until(c, has_no_tasks, NULL);
    assert_int_equal(count_outcomes(c, "cancelled"), 500);
    assert_int_equal(count_outcomes(c, "succeeded"), 1);
}

/* A command, and a process that it started: both say who they are. */
struct tree {
    char parent[PATH_MAX];
    char child[PATH_MAX];
    char id[64];
};

static void start_tree(struct cluster *c, struct tree *t)
{
    char exec[3 * PATH_MAX];
    char line[32];

    cluster_path(c, "parent", t->parent, sizeof t->parent);
    cluster_path(c, "child", t->child, sizeof t->child);
    snprintf(exec, sizeof exec,
             "--exec=tree=sh -c 'trap \"\" TERM; echo $$ >%s; sleep 1000 & echo $! >%s; wait'",
             t->parent, t->child);
    cluster_start_worker(c, exec, "-c1", NULL);
    dtq_submit_id(c, t->id, "-q", "trees", "tree", NULL);
    wait_line_of_file(t->child, line, sizeof line);
}

static bool is_gone(const char *path)
{
    char line[32];

    wait_line_of_file(path, line, sizeof line);
    return kill((pid_t)atol(line), 0) != 0 && errno == ESRCH;
}

static void expect_cancelled(struct cluster *c, const struct tree *t)
{
    struct run *r = dtq_run(c, NULL, "wait", t->id, NULL);

    assert_int_equal(r->status, 130);
    expect_in(r, r->text, "cancelled");
    assert_true(is_gone(t->parent)); /* at once: the outcome says so */
    assert_true(is_gone(t->child));
}

static void a_running_command_is_gone_when_it_is_cancelled(void **state)
{
    struct cluster *c = *state;
    struct tree t;
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    start_tree(c, &t);
    dtq_expect(c, 0, NULL, "cancel", t.id, NULL);
    expect_cancelled(c, &t);
    dtq_expect(c, 0, NULL, "cancel", t.id, NULL); /* again */
    r = dtq_run(c, NULL, "show", t.id, NULL);
    expect_in(r, r->text, "attempt 1 on");
    expect_in(r, r->text, ": cancelled");
    r = dtq_run(c, NULL, "show", t.id, "--json", NULL);
    expect_in(r, r->text, "\"reason\":\"cancelled\"");
    assert_null(strstr(r->text, "\"worker\":\"\""));
    assert_null(strstr(r->text, "\"duration_us\":0,"));
    r = dtq_run(c, NULL, "cancel", "--queue", "threes", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "there is no queue of that name");
}

static void a_cancellation_is_remembered_over_kill_9(void **state)
{
    struct cluster *c = *state;
    struct tree t;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    start_tree(c, &t);
    assert_string_equal(dtq_expect(c, 0, NULL, "cancel", "--queue", "trees", NULL),
                        "trees 1 cancelling\n");
    kill_ventilator(c);
    expect_cancelled(c, &t);
}

/* ---- bounds */

static void a_full_queue_is_busy_until_it_has_room(void **state)
{
    struct cluster *c = *state;
    struct run *submit;
    struct run *r;

    cluster_start_ventilator(c, "--max-queue-tasks", "3", NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, lines_of("x", 3), "submit", "-q", "full", "--each-line", "-", "echo", NULL);
    r = dtq_run(c, NULL, "submit", "-q", "full", "--timeout", "1s", "echo", "x", NULL);
    assert_int_equal(r->status, 75);
    expect_in(r, r->said, "max_queue_tasks is reached");
    expect_in(r, r->said, "queue full: try again later");
    r = dtq_run(c, lines_of("x", 5), "submit", "-q", "full", "--timeout", "1s", "--each-line", "-",
                "echo", NULL);
    assert_int_equal(r->status, 75); /* many lines are told the same as one */
    expect_in(r, r->said, "5 of 5 lines are not confirmed");
    expect_in(r, r->said, "max_queue_tasks is reached");
    expect_in(r, r->said, "queue full: try again later");
    dtq_expect(c, 0, NULL, "submit", "-q", "other", "echo", "x", NULL);
    submit = run_start(c, NULL, "dtq", "submit", "-V", c->control, "-q", "full", "echo", "x", NULL);
    dtq_expect(c, 0, NULL, "queue", "purge", "full", NULL);
    assert_int_equal(run_end(submit), 0); /* it waited */
}

/* ---- queues of a worker */

static void a_strict_worker_empties_its_first_queue_first(void **state)
{
    struct cluster *c = *state;
    struct span spans[RUNS_MAX];
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, lines_of("5", 20), "submit", "-q", "low", "--each-line", "-", "sleep", NULL);
    dtq_expect(c, 0, lines_of("5", 20), "submit", "-q", "high", "--each-line", "-", "sleep", NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c1", "-Q", "high,low", "--strict-queues",
                         NULL);
    wait_until(c, has_no_tasks, NULL);
    assert_int_equal(spans_of(c, "high", spans), 20);
    assert_true(first_start(c, "low") >= first_start(c, "high") + spans[19].from_us);
    r = run_start(c, NULL, "dtq-worker", "-V", c->control, "-Q", "high=0", NULL);
    assert_int_equal(run_end(r), 2);
    expect_in(r, r->said, "'high=0'");
}

/* ---- explain */

static void explain_says_why_a_task_waits(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char first[64];
    char second[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_submit_id(c, first, "-q", "mail", "echo", "a", NULL);
    dtq_submit_id(c, second, "-q", "mail", "echo", "b", NULL);
    r = dtq_run(c, NULL, "explain", second, NULL);
    assert_int_equal(r->status, 0);
    expect_in(r, r->text, "ready");
    expect_in(r, r->text, "why       no worker serves its queue");
    expect_in(r, r->text, "position  1 task comes first");
    expect_in(r, r->text, "mail: 2 ready");
    dtq_expect(c, 0, NULL, "queue", "pause", "mail", NULL);
    r = dtq_run(c, NULL, "explain", second, "--json", NULL);
    expect_in(r, r->text, "\"state\":\"ready\"");
    expect_in(r, r->text, "\"why\":\"its queue is paused\"");
    expect_in(r, r->text, "\"before\":1");
    expect_in(r, r->text, "\"queue_info\":{\"name\":\"mail\"");
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c1", NULL);
    dtq_expect(c, 0, NULL, "queue", "resume", "mail", NULL);
    dtq_expect(c, 0, NULL, "wait", first, second, NULL);
    r = dtq_run(c, NULL, "explain", second, NULL);
    expect_in(r, r->text, "succeeded");
    r = dtq_run(c, NULL, "explain", "00000000-0000-7000-8000-000000000000", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "not found");
}

/* ---- groups */

static size_t outcomes_in(struct cluster *c, const char *queue)
{
    const char *line =
        dtq_expect(c, 0, NULL, "results", "--json", "--queue", queue, "--limit", "1000", NULL);
    size_t n = 0;

    for (; (line = strchr(line, '\n')) != NULL; line++)
        n++;
    return n;
}

static bool has_two_outcomes(struct cluster *c, void *arg)
{
    return outcomes_in(c, arg) >= 2;
}

static void many_tasks_of_one_group_do_not_delay_another(void **state)
{
    struct cluster *c = *state;
    char queue[] = "shared";

    start_two_workers(c);
    dtq_expect(c, 0, lines_of("20", 900), "submit", "-q", "shared", "-g", "alice", "--each-line",
               "-", "sleep", NULL);
    wait_until(c, has_two_outcomes, queue);
    dtq_expect(c, 0, NULL, "submit", "-q", "shared", "-g", "bob", "sleep", "20", "--wait", NULL);
    assert_true(outcomes_in(c, "shared") < 600);
    dtq_expect(c, 0, NULL, "queue", "purge", "-y", "shared", NULL);
}

/* In the order of their ids, of which the list has the newest first: each starts when the one
 * before has ended. */
static void expect_one_after_the_other(struct cluster *c, const char *queue, size_t n)
{
    const char *line =
        dtq_expect(c, 0, NULL, "results", "--json", "--queue", queue, "--limit", "1000", NULL);
    struct span next = {.from_us = INT64_MAX - 1000};

    assert_int_equal(outcomes_in(c, queue), n);
    for (; *line != '\0'; line = strchr(line, '\n') + 1) {
        struct span s = span_of(line);

        assert_true(s.to_us <= next.from_us + 1000); /* starts are told in milliseconds */
        next = s;
    }
}

static void a_group_in_order_stays_so_over_kill_9(void **state)
{
    struct cluster *c = *state;
    char queue[] = "steps";
    char text[4096] = "";

    start_two_workers(c);
    for (int i = 0; i < 24; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "{\"name\":\"%s\",\"payload\":\"20\",\"group\":\"g\",\"ordered\":true,"
                 "\"retries\":1,\"backoff\":\"100ms..200ms\"}\n",
                 i % 8 == 3 ? "fail" : "sleep");
    dtq_expect(c, 0, text, "submit", "-q", "steps", "--jsonl", "-", NULL);
    wait_until(c, has_two_outcomes, queue);
    kill_ventilator(c);
    wait_until(c, has_no_tasks, NULL);
    expect_one_after_the_other(c, "steps", 24);
    assert_int_equal(count_outcomes(c, "failed"), 3);
}

static void each_group_has_its_own_limit(void **state)
{
    struct cluster *c = *state;
    struct span spans[RUNS_MAX];
    size_t n;

    start_two_workers(c);
    assert_string_equal(dtq_expect(c, 0, NULL, "queue", "limit", "--per-group", "few", "2", NULL),
                        "few limit 2 per group\n");
    dtq_expect(c, 0, NULL, "queue", "pause", "few", NULL);
    for (int i = 0; i < 2; i++)
        dtq_expect(c, 0, lines_of("50", 20), "submit", "-q", "few", "-g", i == 0 ? "a" : "b",
                   "--each-line", "-", "sleep", NULL);
    dtq_expect(c, 0, NULL, "queue", "resume", "few", NULL);
    wait_until(c, has_no_tasks, NULL);
    n = spans_of(c, "few", spans);
    assert_int_equal(n, 40);
    assert_int_equal(most_at_a_time(spans, n), 4);
}

static void groups_are_shown(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char id[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_submit_id(c, id, "-q", "mail", "-g", "alice", "--ordered", "echo", "a", NULL);
    dtq_expect(c, 0, NULL, "queue", "rate", "--per-group", "mail", "5/s", NULL);
    r = dtq_run(c, NULL, "show", id, NULL);
    expect_in(r, r->text, "alice, one at a time, in order");
    r = dtq_run(c, NULL, "show", id, "--json", NULL);
    expect_in(r, r->text, "\"group\":\"alice\",\"ordered\":true");
    r = dtq_run(c, NULL, "explain", id, NULL);
    expect_in(r, r->text, "1 group of it has tasks");
    expect_in(r, r->text, "the rate of each group is 5/s");
    r = dtq_run(c, NULL, "queue", "list", NULL);
    expect_in(r, r->text, "5/s per group");
    r = dtq_run(c, NULL, "queue", "list", "--json", NULL);
    expect_in(r, r->text, "\"groups\":1");
    r = dtq_run(c, NULL, "submit", "--ordered", "echo", NULL);
    assert_int_equal(r->status, 2);
    expect_in(r, r->said, "of which group?");
    assert_int_equal(dtq_run(c, NULL, "queue", "pause", "--per-group", "q", NULL)->status, 2);
}

static void what_is_no_order_is_a_usage_error(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start_ventilator(c, NULL);
    r = dtq_run(c, NULL, "queue", "rate", "q", "fast", NULL);
    assert_int_equal(r->status, 2);
    expect_in(r, r->said, "'fast' is no rate");
    assert_int_equal(dtq_run(c, NULL, "queue", "limit", "q", "0", NULL)->status, 2);
    assert_int_equal(dtq_run(c, NULL, "queue", "stop", "q", NULL)->status, 2);
    assert_int_equal(dtq_run(c, NULL, "queue", "ageing", "q", "0s", NULL)->status, 2);
    assert_int_equal(dtq_run(c, NULL, "queue", "ageing", "q", "soon", NULL)->status, 2);
    assert_int_equal(dtq_run(c, NULL, "queue", "limit", "q", NULL)->status, 2);
    r = dtq_run(c, NULL, "queue", "resume", "nosuch", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "there is no queue of that name");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(a_paused_queue_stays_paused_over_kill_9),
        STORY(no_more_tasks_run_than_the_limit_of_their_queue),
        STORY(tasks_start_at_the_rate_of_their_queue),
        STORY(priorities_rise_with_waiting_if_so_ordered),
        STORY(what_waits_is_moved_and_stays_so_after_kill_9),
        STORY(a_purge_says_how_many_and_is_completed_after_kill_9),
        STORY(a_running_command_is_gone_when_it_is_cancelled),
        STORY(a_cancellation_is_remembered_over_kill_9),
        STORY(a_full_queue_is_busy_until_it_has_room),
        STORY(a_strict_worker_empties_its_first_queue_first),
        STORY(explain_says_why_a_task_waits),
        STORY(many_tasks_of_one_group_do_not_delay_another),
        STORY(a_group_in_order_stays_so_over_kill_9),
        STORY(each_group_has_its_own_limit),
        STORY(groups_are_shown),
        STORY(what_is_no_order_is_a_usage_error),
    };

    return RUN_STORIES(argc, argv, tests);
}
