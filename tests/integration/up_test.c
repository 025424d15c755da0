/* `dtq up`: the whole of dtq on one machine, without a line of code. */
#include "cluster.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static struct run *start_up(struct cluster *c)
{
    char data[PATH_MAX];
    struct run *up;

    cluster_path(c, "data", data, sizeof data);
    up = run_start(c, NULL, "dtq", "up", "--bind=tcp://127.0.0.1:*", "--intake=tcp://127.0.0.1:*",
                   "--results=tcp://127.0.0.1:*", "--data", data, "--exec", "upper=tr a-z A-Z",
                   "-c2", NULL);
    run_wait_ready(up);
    run_ready_value(up, "ventilator", c->control, sizeof c->control);
    return up;
}

/* Everything that `up` started is its child, and our grandchild: had one been left, it would be
 * ours now. */
static void expect_no_process_left(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void two_lines_come_back_in_capitals(void **state)
{
    struct cluster *c = *state;
    struct run *up = start_up(c);

    dtq_expect(c, 0, "a\nb\n", "submit", "--each-line", "-", "upper", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", "--wait", NULL), "A\nB\n");
    assert_int_equal(run_stop(up, SIGTERM), 0);
    expect_no_process_left();
}

static void results_are_still_there_after_a_stop_and_a_start(void **state)
{
    struct cluster *c = *state;
    struct run *up = start_up(c);
    char id[64];

    dtq_submit_id(c, id, "upper", "kept", NULL);
    dtq_expect(c, 0, NULL, "wait", NULL);
    assert_int_equal(run_stop(up, SIGINT), 0);
    c->control[0] = '\0';
    up = start_up(c); /* on the same data */
    assert_string_equal(dtq_expect(c, 0, NULL, "result", id, NULL), "KEPT\n");
    assert_int_equal(run_stop(up, SIGTERM), 0);
}

static bool is_told_of_restart(struct cluster *c, void *arg)
{
    (void)arg;
    return strcmp(
               dtq_run(c, "again", "submit", "--stdin", "upper", "--wait", "--timeout", "5s", NULL)
                   ->text,
               "AGAIN\n") == 0;
}

/* The first three children of `up` are its members; the one that is killed comes back. */
static void a_member_that_dies_is_started_again(void **state)
{
    struct cluster *c = *state;
    struct run *up = start_up(c);
    char path[64];
    long members[3];
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)up->pid, (long)up->pid);
    f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld %ld", &members[0], &members[1], &members[2]), 3);
    fclose(f);
    for (size_t i = 0; i < 3; i++) {
        kill((pid_t)members[i], SIGKILL);
        wait_until(c, is_told_of_restart, NULL);
    }
    assert_int_equal(run_stop(up, SIGTERM), 0);
    expect_in(up, up->said, "dtq-ventilator was killed by SIGKILL; starting it again");
    expect_in(up, up->said, "dtq-sink was killed by SIGKILL; starting it again");
    expect_in(up, up->said, "dtq-worker was killed by SIGKILL; starting it again");
}

static void killed_it_takes_its_members_with_it(void **state)
{
    struct cluster *c = *state;
    struct run *up = start_up(c);
    char id[64];

    dtq_submit_id(c, id, "upper", "x", NULL);
    assert_int_equal(run_stop(up, SIGKILL), 1000 + SIGKILL);
    assert_true(wait_childless());
}

static void nothing_to_serve_is_an_error_of_usage(void **state)
{
    struct cluster *c = *state;
    struct run *up = dtq_run(c, NULL, "up", NULL);

    assert_int_equal(up->status, 2);
    expect_in(up, up->said, "--exec NAME=COMMAND");
}

/* What a member says of itself is the message; nothing else stays. */
static void a_member_that_cannot_start_ends_it(void **state)
{
    struct cluster *c = *state;
    struct run *up =
        dtq_run(c, NULL, "up", "--bind=tcp://127.0.0.1:*", "--intake=tcp://127.0.0.1:*",
                "--results=tcp://127.0.0.1:*", "--data=/proc/nothing", "--exec=a=cat", NULL);

    assert_int_equal(up->status, 1);
    expect_in(up, up->said, "/proc/nothing");
    expect_no_process_left();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(two_lines_come_back_in_capitals),
        STORY(results_are_still_there_after_a_stop_and_a_start),
        STORY(a_member_that_dies_is_started_again),
        STORY(killed_it_takes_its_members_with_it),
        STORY(nothing_to_serve_is_an_error_of_usage),
        STORY(a_member_that_cannot_start_ends_it),
    };

    return RUN_STORIES(argc, argv, tests);
}
