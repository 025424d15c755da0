/* Sinks that are gone for good are removed: with the real programs. */
#include "cluster.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES 40

struct a_sink {
    struct run *run;
    char results[256];
};

static struct a_sink start_sink(struct cluster *c, const char *name)
{
    struct a_sink s;
    char path[PATH_MAX];
    char data[PATH_MAX + 8];

    cluster_path(c, name, path, sizeof path);
    (void)snprintf(data, sizeof data, "--data=%s", path);
    s.run = run_start(c, NULL, "dtq-sink", "-V", c->control, "--intake=tcp://127.0.0.1:*",
                      "--results=tcp://127.0.0.1:*", data, NULL);
    run_wait_ready(s.run);
    run_ready_value(s.run, "results", s.results, sizeof s.results);
    return s;
}

static void lose_disk(struct cluster *c, struct a_sink *s, const char *name)
{
    char command[PATH_MAX + 16];
    char path[PATH_MAX];

    assert_int_equal(run_stop(s->run, SIGKILL), 1000 + SIGKILL);
    cluster_path(c, name, path, sizeof path);
    (void)snprintf(command, sizeof command, "rm -r '%s'", path);
    assert_int_equal(system(command), 0);
}

struct wanted_text {
    const char *verb;
    const char *operand;
    const char *text;
};

static bool is_said(struct cluster *c, void *arg)
{
    const struct wanted_text *w = arg;

    return strstr(dtq_run(c, NULL, w->verb, w->operand, NULL)->text, w->text) != NULL;
}

static void wait_said(struct cluster *c, const char *verb, const char *operand, const char *text)
{
    struct wanted_text w = {verb, operand, text};

    wait_until(c, is_said, &w);
}

static struct run *submit_lines(struct cluster *c)
{
    char lines[2 * LINES + 1];

    for (size_t i = 0; i < LINES; i++)
        memcpy(lines + 2 * i, "x\n", 3);
    return run_start(c, cluster_file(c, lines, 2 * LINES), "dtq", "submit", "--each-line", "-",
                     "--wait", "--json", "echo", NULL);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        n++;
    return n;
}

static void start_fast(struct cluster *c)
{
    cluster_start_ventilator(c, "--heartbeat=200ms", NULL);
}

static bool all_wait(struct cluster *c, void *arg)
{
    char all[32];

    (void)arg;
    (void)snprintf(all, sizeof all, "\"ready\":%d", LINES);
    return strstr(dtq_run(c, NULL, "queue", "list", "--json", NULL)->text, all) != NULL;
}

/* Half of the tasks are of either sink. */
static void tasks_of_a_sink_that_is_lost_end_at_another(void **state)
{
    struct cluster *c = *state;
    struct run *producer;
    struct a_sink lost;

    start_fast(c);
    lost = start_sink(c, "lost");
    (void)start_sink(c, "kept");
    wait_said(c, "sink", "list", lost.results);
    (void)cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c2", NULL);
    dtq_expect(c, 0, NULL, "queue", "pause", "default", NULL);
    producer = submit_lines(c);
    wait_until(c, all_wait, NULL);
    lose_disk(c, &lost, "lost");
    wait_said(c, "sink", "list", "UNREACHABLE");
    (void)dtq_expect(c, 0, NULL, "sink", "remove", "--yes", lost.results, NULL);
    dtq_expect(c, 0, NULL, "queue", "resume", "default", NULL);
    assert_int_equal(run_end(producer), 0);
    assert_int_equal(count(producer->text, "\"succeeded\""), LINES);
    assert_null(strstr(dtq_expect(c, 0, NULL, "sink", "list", NULL), lost.results));
    assert_int_equal(
        count(dtq_expect(c, 0, NULL, "results", "--limit=100", "--json", NULL), "\"succeeded\""),
        LINES);
}

static void with_two_sinks_a_group_in_order_is_in_order(void **state)
{
    struct cluster *c = *state;
    const char *expected = "0123456789abcdefghijklmnopqrstuvwxyzABCD";
    char lines[2 * LINES + 1];
    char command[PATH_MAX + 32];
    char path[PATH_MAX];
    char written[LINES + 1] = "";
    struct a_sink two;
    FILE *file;

    start_fast(c);
    (void)start_sink(c, "one");
    two = start_sink(c, "two");
    wait_said(c, "sink", "list", two.results);
    cluster_path(c, "written", path, sizeof path);
    (void)snprintf(command, sizeof command, "--exec=note=sh -c 'cat >>%s'", path);
    (void)cluster_start_worker(c, command, "-c2", NULL);
    for (size_t i = 0; i < LINES; i++) {
        lines[2 * i] = expected[i];
        lines[2 * i + 1] = '\n';
    }
    assert_int_equal(
        run_end(run_start(c, cluster_file(c, lines, sizeof lines - 1), "dtq", "submit",
                          "--each-line", "-", "--wait", "--group", "g", "--ordered", "note", NULL)),
        0);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(written, 1, LINES, file), LINES);
    (void)fclose(file);
    assert_string_equal(written, expected);
}

static void without_another_sink_tasks_wait_for_the_next_one(void **state)
{
    struct cluster *c = *state;
    struct a_sink old;
    char id[64];

    start_fast(c);
    old = start_sink(c, "old");
    (void)cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c1", NULL);
    dtq_expect(c, 0, NULL, "queue", "pause", "default", NULL);
    dtq_submit_id(c, id, "echo", "x", NULL);
    assert_int_equal(run_stop(old.run, SIGKILL), 1000 + SIGKILL);
    wait_said(c, "sink", "list", "UNREACHABLE");
    (void)dtq_expect(c, 0, NULL, "sink", "remove", "--yes", old.results, NULL);
    dtq_expect(c, 0, NULL, "queue", "resume", "default", NULL);
    wait_said(c, "explain", id, "its sink was removed");
    wait_said(c, "sink", "list", "REMOVED");
    expect_in(c->ventilator, dtq_expect(c, 0, NULL, "status", NULL), "REMOVED");
    expect_in(c->ventilator, dtq_expect(c, 0, NULL, "status", "--json", NULL), "\"removed\":true");
    assert_int_equal(run_stop(c->ventilator, SIGKILL), 1000 + SIGKILL);
    start_fast(c); /* it holds */
    wait_said(c, "explain", id, "its sink was removed");
    (void)start_sink(c, "new");
    dtq_expect(c, 0, NULL, "wait", "--timeout=30s", id, NULL);
}

static bool has_refusal(struct cluster *c, void *arg)
{
    const struct run *r = arg;
    char text[8192] = "";
    FILE *f = fopen(r->said_path, "re");

    (void)c;
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return strstr(text, "removed from this ventilator") != NULL;
}

static void a_removed_sink_that_comes_back_is_refused_and_told_why(void **state)
{
    struct cluster *c = *state;
    struct a_sink old;
    struct a_sink again;

    start_fast(c);
    old = start_sink(c, "old");
    (void)start_sink(c, "other");
    wait_said(c, "sink", "list", old.results);
    assert_int_equal(run_stop(old.run, SIGTERM), 0);
    wait_said(c, "sink", "list", "UNREACHABLE");
    (void)dtq_expect(c, 0, NULL, "sink", "remove", "--yes", old.results, NULL);
    again = start_sink(c, "old");
    wait_until(c, has_refusal, again.run);
    assert_null(strstr(dtq_expect(c, 0, NULL, "sink", "list", NULL), again.results));
}

/* What runs at a worker goes on, and its result goes to the successor. */
static void a_connected_sink_is_removed_by_force_only(void **state)
{
    struct cluster *c = *state;
    struct a_sink stranger;
    struct a_sink ours;
    struct run *refused;
    char id[64];

    start_fast(c);
    stranger = start_sink(c, "stranger");
    (void)cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c1", NULL);
    dtq_submit_id(c, id, "sleep", "3000", NULL);
    wait_said(c, "show", id, "running");
    ours = start_sink(c, "ours");
    wait_said(c, "sink", "list", ours.results);
    refused = dtq_run(c, NULL, "sink", "remove", "--force", stranger.results, NULL);
    assert_int_equal(refused->status, 2); /* there is nobody to ask */
    expect_in(refused, refused->said, "--yes");
    refused = dtq_run(c, NULL, "sink", "remove", "--yes", stranger.results, NULL);
    assert_int_equal(refused->status, 1);
    expect_in(refused, refused->said, "is connected");
    refused = dtq_run(c, NULL, "sink", "remove", "--yes", "--force", "--successor",
                      stranger.results, stranger.results, NULL);
    assert_int_equal(refused->status, 2);
    expect_in(refused, refused->said, "is the sink that is to be removed");
    (void)dtq_expect(c, 0, NULL, "sink", "remove", "--yes", "--force", "--successor", ours.results,
                     stranger.results, NULL);
    dtq_expect(c, 0, NULL, "wait", "--timeout=30s", id, NULL);
    expect_in(refused, dtq_expect(c, 0, NULL, "show", id, NULL), "attempt    1");
}

static void the_example_removes_a_sink_that_is_out_of_reach(void **state)
{
    struct cluster *c = *state;
    struct a_sink gone;
    struct run *example;

    start_fast(c);
    gone = start_sink(c, "gone");
    wait_said(c, "sink", "list", gone.results);
    assert_int_equal(run_stop(gone.run, SIGKILL), 1000 + SIGKILL);
    wait_said(c, "sink", "list", "UNREACHABLE");
    example = run_start(c, NULL, "example_sinks", c->control, gone.results, NULL);
    assert_int_equal(run_end(example), 0);
    expect_in(example, example->text, ": out of reach, 0 tasks wait for it\nremoved\n");
}

/* By its store, since it is not in the list any more. */
static void a_sink_can_be_removed_again(void **state)
{
    struct cluster *c = *state;
    struct a_sink old;
    char store[64];
    const char *at;

    start_fast(c);
    old = start_sink(c, "old");
    wait_said(c, "sink", "list", old.results);
    at = strstr(dtq_expect(c, 0, NULL, "sink", "list", "--json", NULL), "\"store\":\"");
    assert_non_null(at);
    (void)snprintf(store, sizeof store, "%.36s", at + strlen("\"store\":\""));
    assert_int_equal(run_stop(old.run, SIGTERM), 0);
    wait_said(c, "sink", "list", "UNREACHABLE");
    assert_non_null(
        strstr(dtq_expect(c, 0, NULL, "sink", "remove", "--yes", old.results, NULL), " removed\n"));
    assert_non_null(
        strstr(dtq_expect(c, 0, NULL, "sink", "remove", store, NULL), "removed before"));
    (void)dtq_expect(c, 1, NULL, "sink", "remove", "00000000-0000-7000-8000-000000000000", NULL);
}

/* What was lost is started again, empty, where it was: its endpoints are those of two sinks. */
static void of_two_sinks_at_one_endpoint_none_is_guessed(void **state)
{
    struct cluster *c = *state;
    struct a_sink lost;
    struct run *refused;
    char data[PATH_MAX];
    char path[PATH_MAX + 8];
    char intake[256];

    start_fast(c);
    lost = start_sink(c, "lost");
    run_ready_value(lost.run, "intake", intake, sizeof intake);
    wait_said(c, "sink", "list", lost.results);
    lose_disk(c, &lost, "lost");
    wait_said(c, "sink", "list", "UNREACHABLE");
    cluster_path(c, "again", data, sizeof data);
    (void)snprintf(path, sizeof path, "--data=%s", data);
    run_wait_ready(run_start(c, NULL, "dtq-sink", "-V", c->control, "--intake", intake, "--results",
                             lost.results, path, NULL));
    wait_said(c, "sink", "list", "reachable");
    refused = dtq_run(c, NULL, "sink", "remove", "--yes", lost.results, NULL);
    assert_int_equal(refused->status, 1);
    expect_in(refused, refused->said, "several sinks");
    assert_int_equal(count(refused->said, "several sinks"), 1);
}

static void an_option_of_another_verb_is_refused(void **state)
{
    struct cluster *c = *state;

    (void)dtq_expect(c, 2, NULL, "sink", "list", "--force", NULL);
    (void)dtq_expect(c, 2, NULL, "sink", "list", "--yes", NULL);
    (void)dtq_expect(c, 2, NULL, "sink", "accept", "--successor=x", "y", NULL);
    (void)dtq_expect(c, 2, NULL, "sink", "accept", "--force", "y", NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(tasks_of_a_sink_that_is_lost_end_at_another),
        STORY(with_two_sinks_a_group_in_order_is_in_order),
        STORY(without_another_sink_tasks_wait_for_the_next_one),
        STORY(a_removed_sink_that_comes_back_is_refused_and_told_why),
        STORY(a_connected_sink_is_removed_by_force_only),
        STORY(the_example_removes_a_sink_that_is_out_of_reach),
        STORY(a_sink_can_be_removed_again),
        STORY(of_two_sinks_at_one_endpoint_none_is_guessed),
        STORY(an_option_of_another_verb_is_refused),
    };

    return RUN_STORIES(argc, argv, tests);
}
