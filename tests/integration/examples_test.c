/* The example programs do what they say, against the real cluster. */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Run an example to its end, which must be a success, and compare what it printed. */
static struct run *run_example(struct cluster *c, const char *name, const char *input)
{
    char program[64];
    struct run *r;

    snprintf(program, sizeof program, "example_%s", name);
    r = run_start(c, input, program, c->control, NULL);
    assert_int_equal(run_end(r), 0);
    return r;
}

static void expect_output(struct cluster *c, const char *name, const char *output)
{
    assert_string_equal(run_example(c, name, NULL)->text, output);
}

static void one_task_is_submitted(void **state)
{
    cluster_start(*state);
    expect_output(*state, "submit_one", "succeeded: hello\n");
}

static void many_tasks_are_submitted_and_a_bad_one_is_named(void **state)
{
    struct run *r;

    cluster_start(*state);
    r = run_example(*state, "submit_many", NULL);
    expect_in(r, r->text, "task 7: DTQ_EINVAL");
    expect_in(r, r->text, "999 of 1000 accepted\n");
}

static void one_some_and_all_are_waited_for(void **state)
{
    cluster_start(*state);
    expect_output(*state, "wait",
                  "after 1 ms: the time is up\n"
                  "first: task 1\n"
                  "task 0: succeeded\n"
                  "task 1: succeeded\n"
                  "task 2: succeeded\n"
                  "an unknown id: DTQ_ENOTFOUND\n");
}

static void results_are_followed(void **state)
{
    cluster_start(*state);
    expect_output(*state, "follow", "10000 results, 0 refused, sum 49995000\n");
}

static void an_event_loop_takes_lines_and_gives_results(void **state)
{
    enum { LINES = 5000 };
    struct cluster *c = *state;
    char *text = malloc(LINES * 8);
    unsigned char *seen = calloc(LINES + 1, 1);
    const char *line;
    struct run *r;
    size_t n = 0;

    assert_non_null(text);
    assert_non_null(seen);
    cluster_start(c);
    for (int i = 1; i <= LINES; i++)
        n += (size_t)sprintf(text + n, "%d\n", i);
    r = run_example(c, "event_loop", cluster_file(c, text, n));
    n = 0;
    for (line = r->text; *line != 0; line = strchr(line, '\n') + 1) {
        int number;
        int body;

        assert_int_equal(sscanf(line, "%d: %d\n", &number, &body), 2);
        assert_int_equal(number, body);
        assert_in_range(number, 1, LINES);
        assert_int_equal(seen[number]++, 0);
        n++;
    }
    assert_int_equal(n, LINES);
    free(text);
    free(seen);
}

static void a_task_is_cancelled_and_another_is_too_late(void **state)
{
    cluster_start(*state);
    expect_output(*state, "cancel",
                  "task 0 is succeeded\n"
                  "task 1 is scheduled\n"
                  "task 0: too late\n"
                  "task 1: cancelling\n"
                  "task 1 is cancelled\n"
                  "1 sink\n");
}

static void results_of_tasks_of_others_are_taken(void **state)
{
    cluster_start(*state);
    expect_output(*state, "watch", "1000 results of tasks that another client submitted\n");
}

static void a_cluster_is_inspected(void **state)
{
    cluster_start(*state);
    expect_output(*state, "inspect",
                  "queue inspected: 1 scheduled, 1 worker\n"
                  "worker with 2 slots, 1 failed\n"
                  "sink that answers, 1 tasks wait\n"
                  "task echo is scheduled\n"
                  "task nobody.has.this failed: unknown-task\n"
                  "echo: priority 5, 1 byte, attempt 0, scheduled\n");
}

static void a_queue_is_paused_bounded_and_resumed(void **state)
{
    cluster_start(*state);
    expect_output(*state, "queues",
                  "mail: 1 ready, paused, limit 4, rate 10 in 1000 ms\n"
                  "the task waits: its queue is paused; 0 come first\n"
                  "the task succeeded\n"
                  "1 moved\n"
                  "1 purged: cancelled\n"
                  "0 left to cancel\n");
}

static void a_task_with_a_key_is_submitted_once(void **state)
{
    cluster_start(*state);
    expect_output(*state, "once",
                  "order-17, 20 EUR: submitted\n"
                  "order-17, 20 EUR: submitted before, the same task\n"
                  "order-17, a million EUR: that order is another task\n"
                  "succeeded: 20 EUR\n");
    expect_output(*state, "once", /* as if it had died */
                  "order-17, 20 EUR: submitted before, the same task\n"
                  "order-17, 20 EUR: submitted before, the same task\n"
                  "order-17, a million EUR: that order is another task\n"
                  "succeeded: 20 EUR\n");
}

static void entries_submit_again_and_again(void **state)
{
    cluster_start(*state);
    expect_output(
        *state, "cron",
        "refused: hour: '25' is not allowed; allowed are 0-23, *, lists (1,2), ranges (1-5) and "
        "steps (*/2, 1-5/2)\n"
        "report\n"
        "nightly: '0 3 * * *' in Europe/Berlin, 1 run\n"
        "beat removed\n"
        "nightly removed\n");
}

static void groups_share_a_queue_and_one_runs_in_order(void **state)
{
    cluster_start(*state);
    expect_output(*state, "groups",
                  "bob's task 0 succeeded\n"
                  "bob's task 1 succeeded\n"
                  "bob's task 2 succeeded\n"
                  "alice's task 0 failed\n"
                  "alice's task 1 succeeded\n"
                  "alice's task 2 succeeded\n");
}

static void dead_letters_are_listed_requeued_and_purged(void **state)
{
    cluster_start(*state);
    expect_output(*state, "dead",
                  "fail 'one' failed: one\n"
                  "fail 'two' failed: two\n"
                  "fail 'three' failed: three\n"
                  "3 requeued\n"
                  "0 of the old ones purged\n");
}

static void tasks_are_submitted_from_cpp(void **state)
{
    cluster_start(*state);
    expect_output(*state, "submit_cpp", "from\nC++\ntoo\n");
}

static void the_primes_job_finds_the_primes(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_start_worker(c, "--module", PRIMES_MODULE, "-c2", "-n", "counter", NULL);
    r = run_start(c, NULL, "primes", c->control, NULL);
    assert_int_equal(run_end(r), 0);
    expect_in(r, r->text, "               2  prime ");
    expect_in(r, r->text, "9999999999999917  prime ");
    expect_in(r, r->text, "3333335652092209  smallest factor 57735047 ");
    expect_in(r, r->text, "  counter\n");
    expect_in(r, r->text, "20 numbers in ");
    assert_int_equal(r->lines, 21);
    assert_string_equal(r->said, ""); /* no progress bar where there is no terminal */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(one_task_is_submitted),
        STORY(many_tasks_are_submitted_and_a_bad_one_is_named),
        STORY(one_some_and_all_are_waited_for),
        STORY(results_are_followed),
        STORY(an_event_loop_takes_lines_and_gives_results),
        STORY(a_task_is_cancelled_and_another_is_too_late),
        STORY(results_of_tasks_of_others_are_taken),
        STORY(a_cluster_is_inspected),
        STORY(a_queue_is_paused_bounded_and_resumed),
        STORY(a_task_with_a_key_is_submitted_once),
        STORY(entries_submit_again_and_again),
        STORY(groups_share_a_queue_and_one_runs_in_order),
        STORY(dead_letters_are_listed_requeued_and_purged),
        STORY(tasks_are_submitted_from_cpp),
        STORY(the_primes_job_finds_the_primes),
    };

    return RUN_STORIES(argc, argv, tests);
}
