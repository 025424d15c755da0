/*
 * Many lines through `dtq submit --each-line`, and a process killed half-way: all come back, in
 * order, equal. DTQ_TEST_LINES in the environment says how many, DTQ_TEST_DURABILITY with which
 * --durability.
 */
#include "cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct lines {
    char *text;
    size_t bytes;
    size_t n;
    const char *path;
};

/* Different from each other, and of different lengths. Long enough that the pipe of the results
 * holds only a few: whoever reads half of them stops the other end there. */
static struct lines make_some_lines(struct cluster *c, size_t n)
{
    struct lines l = {.n = n};
    FILE *f = open_memstream(&l.text, &l.bytes);

    assert_non_null(f);
    for (size_t i = 0; i < l.n; i++)
        fprintf(f, "line %zu %0*zu\n", i, (int)(40 + i * 7 % 80), i * i);
    fclose(f);
    l.path = cluster_file(c, l.text, l.bytes);
    return l;
}

static struct lines make_lines(struct cluster *c)
{
    const char *wanted = getenv("DTQ_TEST_LINES");

    return make_some_lines(c, wanted != NULL ? strtoul(wanted, NULL, 10) : DTQ_LINES);
}

static struct run *start_submit(struct cluster *c, const struct lines *l)
{
    return run_start(c, l->path, "dtq", "submit", "--each-line", "-", "--wait", "echo", NULL);
}

static void expect_all(struct run *submit, struct lines *l)
{
    (void)run_end(submit);
    assert_string_equal(submit->said, "");
    assert_int_equal(submit->status, 0);
    assert_int_equal(submit->lines, l->n);
    assert_int_equal(submit->bytes, l->bytes);
    assert_memory_equal(submit->text, l->text, l->bytes);
    free(l->text);
}

static struct run *start_worker(struct cluster *c)
{
    return cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c2", NULL);
}

static void lines_come_back_complete_in_order_and_equal(void **state)
{
    struct cluster *c = *state;
    struct lines l = make_lines(c);

    cluster_start(c);
    start_worker(c);
    expect_all(start_submit(c, &l), &l);
}

/* A thousand times a second: of daemons and slots, and of a command that prints less than a pipe
 * holds: libc gives up an output that must wait and is interrupted. */
static void system_calls_that_are_interrupted_lose_none(void **state)
{
    struct cluster *c = *state;
    struct lines few = make_some_lines(c, 400);
    struct lines l = make_lines(c);

    setenv("LD_PRELOAD", INTERRUPT_SHIM, 1);
    setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0); /* it wants to be the first library */
    cluster_start(c);
    start_worker(c);
    expect_all(start_submit(c, &few), &few);
    unsetenv("LD_PRELOAD");
    expect_all(start_submit(c, &l), &l);
}

static void a_worker_killed_half_way_loses_none(void **state)
{
    struct cluster *c = *state;
    struct lines l = make_lines(c);
    struct run *victim = cluster_start(c);
    struct run *submit;

    start_worker(c);
    submit = start_submit(c, &l);
    run_wait_lines(submit, l.n / 2);
    assert_int_equal(run_stop(victim, SIGKILL), 1000 + SIGKILL);
    expect_all(submit, &l);
}

static void a_ventilator_killed_half_way_loses_none(void **state)
{
    struct cluster *c = *state;
    struct lines l = make_lines(c);
    struct run *submit;

    cluster_start(c);
    start_worker(c);
    submit = start_submit(c, &l);
    run_wait_lines(submit, l.n / 2);
    assert_int_equal(run_stop(c->ventilator, SIGKILL), 1000 + SIGKILL);
    cluster_start_ventilator(c, NULL);
    expect_all(submit, &l);
}

static void a_sink_killed_half_way_loses_none(void **state)
{
    struct cluster *c = *state;
    struct lines l = make_lines(c);
    struct run *submit;

    cluster_start(c);
    start_worker(c);
    submit = start_submit(c, &l);
    run_wait_lines(submit, l.n / 2);
    assert_int_equal(run_stop(c->sink, SIGKILL), 1000 + SIGKILL);
    cluster_start_sink(c, NULL);
    expect_all(submit, &l);
}

/* One after the other, at each tenth of the lines, each started again at once. */
static void everything_killed_in_turn_loses_none(void **state)
{
    struct cluster *c = *state;
    struct lines l = make_lines(c);
    struct run *workers[2];
    struct run *submit;

    cluster_start_ventilator(c, "--heartbeat=200ms", NULL);
    cluster_start_sink(c, NULL);
    workers[0] = start_worker(c);
    workers[1] = start_worker(c);
    submit = start_submit(c, &l);
    for (size_t i = 1; i < 10; i++) {
        struct run **victim = i % 3 == 0   ? &c->ventilator
                              : i % 3 == 1 ? &workers[i / 3 % 2]
                                           : &c->sink;

        run_wait_lines(submit, l.n * i / 10);
        assert_int_equal(run_stop(*victim, SIGKILL), 1000 + SIGKILL);
        if (i % 3 == 0)
            cluster_start_ventilator(c, "--heartbeat=200ms", NULL);
        else if (i % 3 == 1)
            *victim = start_worker(c);
        else
            cluster_start_sink(c, NULL);
    }
    expect_all(submit, &l);
}

/* Each task fails in its first attempt. */
static void retries_outlive_a_killed_ventilator(void **state)
{
    struct cluster *c = *state;
    size_t n = DTQ_LINES / 10;
    char *text = malloc(2 * n + 1);
    struct run *submit;

    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, "2\n", 3);
    cluster_start(c);
    submit = run_start(c, cluster_file(c, text, 2 * n), "dtq", "submit", "--each-line", "-",
                       "--wait", "--json", "--backoff=1ms..100ms", "flaky", NULL);
    free(text);
    run_wait_lines(submit, n / 2);
    assert_int_equal(run_stop(c->ventilator, SIGKILL), 1000 + SIGKILL);
    cluster_start_ventilator(c, NULL);
    assert_int_equal(run_end(submit), 0);
    assert_int_equal(submit->lines, n);
}

/* Confirmed, then all is stopped before anything ran: everything is in the journal. */
static void tasks_that_wait_outlive_a_restart_of_everything(void **state)
{
    struct cluster *c = *state;
    struct lines l = make_lines(c);
    struct run *submit;
    struct run *result;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    submit = run_start(c, l.path, "dtq", "submit", "--each-line", "-", "echo", NULL);
    assert_int_equal(run_end(submit), 0);
    assert_int_equal(submit->lines, l.n);
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);

    cluster_start(c);
    start_worker(c);
    result = run_start(c, NULL, "dtq", "result", "--wait", NULL);
    expect_all(result, &l);
}

/* ---- a source that trickles */

struct trickle {
    int fd; /* the end that the test writes to */
    struct run *submit;
};

static void start_trickle(struct cluster *c, struct trickle *t, const char *option)
{
    char path[PATH_MAX];

    cluster_start(c);
    cluster_path(c, "trickle", path, sizeof path);
    assert_int_equal(mkfifo(path, 0600), 0);
    t->fd = open(path, O_RDWR | O_CLOEXEC); /* a reader too: open() would wait for one */
    assert_true(t->fd >= 0);
    t->submit = run_start(c, path, "dtq", "submit", "--each-line", "-", "echo", option, NULL);
}

static void trickle(struct trickle *t, const char *lines)
{
    assert_int_equal(write(t->fd, lines, strlen(lines)), (ssize_t)strlen(lines));
}

static void lines_that_come_slowly_do_not_wait_for_each_other(void **state)
{
    struct trickle t;

    start_trickle(*state, &t, "--wait");
    trickle(&t, "one\ntwo\n");
    run_wait_lines(t.submit, 2);
    trickle(&t, "three\n");
    run_wait_lines(t.submit, 3);
    assert_int_equal(run_stop(t.submit, SIGINT), 130);
    close(t.fd);
    assert_string_equal(t.submit->text, "one\ntwo\nthree\n");
}

static void an_interrupted_submit_keeps_the_ids_of_what_is_safe(void **state)
{
    struct cluster *c = *state;
    struct trickle t;

    start_trickle(c, &t, NULL);
    trickle(&t, "one\ntwo\n");
    run_wait_lines(t.submit, 2);
    assert_int_equal(run_stop(t.submit, SIGTERM), 130);
    close(t.fd);
    expect_in(t.submit, t.submit->said, "interrupted: 2 lines were submitted");
    dtq_expect(c, 0, NULL, "wait", "last", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", "last", NULL), "one\ntwo\n");
}

/* --timeout is for the cluster: an input that is silent for longer ends nothing. */
static void a_silent_input_is_no_time_out(void **state)
{
    struct cluster *c = *state;
    struct trickle t;
    char id[64];

    start_trickle(c, &t, "--timeout=2s");
    trickle(&t, "one\n");
    run_wait_lines(t.submit, 1);
    dtq_submit_id(c, id, "echo", "x", "--delay=1h", NULL);
    dtq_expect(c, 124, NULL, "wait", id, "--timeout=3s", NULL);
    trickle(&t, "two\n");
    run_wait_lines(t.submit, 2);
    assert_int_equal(run_stop(t.submit, SIGTERM), 130);
    close(t.fd);
    assert_null(strstr(t.submit->said, "nothing behind"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(lines_come_back_complete_in_order_and_equal),
        STORY(system_calls_that_are_interrupted_lose_none),
        STORY(a_worker_killed_half_way_loses_none),
        STORY(a_ventilator_killed_half_way_loses_none),
        STORY(a_sink_killed_half_way_loses_none),
        STORY(everything_killed_in_turn_loses_none),
        STORY(retries_outlive_a_killed_ventilator),
        STORY(tasks_that_wait_outlive_a_restart_of_everything),
        STORY(lines_that_come_slowly_do_not_wait_for_each_other),
        STORY(an_interrupted_submit_keeps_the_ids_of_what_is_safe),
        STORY(a_silent_input_is_no_time_out),
    };

    return RUN_STORIES(argc, argv, tests);
}
