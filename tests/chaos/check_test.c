/* The checker of the chaos run sees what it is there for: each thing that must not be is made up
 * here, and found. */
#include "check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SEED 7u
#define SLOW_MS 100u

struct fixture {
    struct check check;
    char path[64];
    int log;
    struct job job; /* a plain one */
    dtq_id id;
    uint8_t body[JOB_BYTES_MAX];
};

static uint32_t said;

static void say(const char *text)
{
    (void)text;
    said++;
}

/* The first number whose task is of this kind. */
static struct job job_of(enum job_kind kind)
{
    struct job job;

    for (uint64_t number = 1;; number++) {
        job_make(SEED, 1, number, SLOW_MS, &job);
        if (job.kind == kind)
            return job;
    }
}

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);

    assert_non_null(x);
    said = 0;
    snprintf(x->path, sizeof x->path, "/tmp/dtq-check-XXXXXX");
    close(mkstemp(x->path));
    x->log = record_open(x->path);
    assert_true(x->log >= 0);
    check_init(&x->check, SEED, SLOW_MS, say);
    check_add_log(&x->check, x->path);
    x->job = job_of(JOB_PLAIN);
    memset(&x->id, 1, sizeof x->id);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;

    check_done(&x->check);
    close(x->log);
    unlink(x->path);
    free(x);
    return 0;
}

static void note_state(struct fixture *x, enum record_kind kind, uint32_t attempt, dtq_state state)
{
    record_append(x->log, (struct record){.id = x->id,
                                          .number = x->job.number,
                                          .producer = 1,
                                          .attempt = attempt,
                                          .state = (uint8_t)state,
                                          .kind = (uint8_t)kind});
}

static void note(struct fixture *x, enum record_kind kind, uint32_t attempt)
{
    note_state(x, kind, attempt, DTQ_SUCCEEDED);
}

static void confirmed(struct fixture *x)
{
    note(x, RECORD_INTENT, 0);
    note(x, RECORD_QUEUED, 0);
    note(x, RECORD_CONFIRMED, 0);
}

static void executed(struct fixture *x, uint32_t attempt)
{
    note(x, RECORD_BEGUN, attempt);
    note(x, RECORD_SUCCESS, attempt);
}

static void outcome(struct fixture *x, dtq_state state, uint32_t attempt, bool held)
{
    dtq_result result = {.id = x->id, .state = state, .attempt = attempt, .body = x->body};

    result.reason = state == DTQ_FAILED ? DTQ_REASON_ERROR : DTQ_REASON_NONE;
    result.body_bytes = state == DTQ_SUCCEEDED ? job_result(&x->job, x->body) : 0;
    check_read(&x->check);
    check_outcome(&x->check, &result, held);
}

static void what_was_confirmed_executed_and_recorded_is_right(void **state)
{
    struct fixture *x = *state;

    confirmed(x);
    executed(x, 1);
    executed(x, 2);
    note(x, RECORD_RESULT, 2);
    outcome(x, DTQ_SUCCEEDED, 2, false);
    outcome(x, DTQ_SUCCEEDED, 2, true);
    assert_true(check_end(&x->check, true));
    assert_int_equal(x->check.totals.again, 1);
    assert_int_equal(x->check.totals.settled, 1);
    assert_int_equal(said, 0);
}

static void a_confirmed_task_without_an_outcome_is_lost(void **state)
{
    struct fixture *x = *state;

    confirmed(x);
    executed(x, 1);
    assert_false(check_end(&x->check, true));
    assert_int_equal(x->check.totals.lost, 1);
    assert_int_equal(said, 1);
}

static void an_outcome_that_was_seen_and_is_gone_is_lost(void **state)
{
    struct fixture *x = *state;

    note(x, RECORD_INTENT, 0);
    note(x, RECORD_QUEUED, 0);
    executed(x, 1);
    outcome(x, DTQ_SUCCEEDED, 1, false);
    assert_false(check_end(&x->check, true));
    assert_int_equal(x->check.totals.lost, 1);
}

static void another_outcome_than_the_producer_was_told_is_a_second_one(void **state)
{
    struct fixture *x = *state;

    confirmed(x);
    executed(x, 1);
    executed(x, 2);
    note(x, RECORD_RESULT, 1);
    outcome(x, DTQ_SUCCEEDED, 2, true);
    assert_false(check_end(&x->check, true));
    assert_int_equal(x->check.totals.second, 1);
}

static void an_outcome_that_changes_is_a_second_one(void **state)
{
    struct fixture *x = *state;

    confirmed(x);
    executed(x, 1);
    outcome(x, DTQ_EXPIRED, 0, false);
    outcome(x, DTQ_SUCCEEDED, 1, true);
    assert_false(check_end(&x->check, true));
    assert_int_equal(x->check.totals.second, 1);
}

static void a_success_that_nobody_executed_is_wrong(void **state)
{
    struct fixture *x = *state;

    confirmed(x);
    executed(x, 1);
    outcome(x, DTQ_SUCCEEDED, 2, true);
    assert_false(check_end(&x->check, true));
    assert_int_equal(x->check.totals.wrong, 1);
}

static void a_result_of_another_task_is_wrong(void **state)
{
    struct fixture *x = *state;
    struct job mine = x->job;

    confirmed(x);
    executed(x, 1);
    x->job.number++;
    x->job.result_bytes = 10;
    outcome(x, DTQ_SUCCEEDED, 1, true);
    x->job = mine;
    assert_false(check_end(&x->check, true));
}

static void an_outcome_of_a_task_that_nobody_submitted_is_wrong(void **state)
{
    struct fixture *x = *state;

    executed(x, 1);
    outcome(x, DTQ_SUCCEEDED, 1, true);
    assert_false(check_end(&x->check, true));
}

static void a_producer_killed_before_it_wrote_the_id_is_no_finding(void **state)
{
    struct fixture *x = *state;

    note(x, RECORD_INTENT, 0);
    executed(x, 1);
    outcome(x, DTQ_SUCCEEDED, 1, true);
    assert_true(check_end(&x->check, true));
    assert_int_equal(x->check.totals.untold, 1);
}

static void a_producer_told_that_nobody_knows_its_task_is_wrong(void **state)
{
    struct fixture *x = *state;

    confirmed(x);
    executed(x, 1);
    note_state(x, RECORD_RESULT, 0, DTQ_NOT_FOUND);
    outcome(x, DTQ_SUCCEEDED, 1, true);
    assert_false(check_end(&x->check, true));
    assert_int_equal(x->check.totals.wrong, 1);
}

static void a_failure_with_retries_left_is_wrong(void **state)
{
    struct fixture *x = *state;

    do {
        struct job job;

        job_make(SEED, 1, x->job.number + 1, SLOW_MS, &job);
        x->job = job;
    } while (x->job.kind != JOB_FAILING || x->job.retries == 0);
    confirmed(x);
    note(x, RECORD_FAILURE, 1);
    outcome(x, DTQ_FAILED, 1, true);
    assert_false(check_end(&x->check, true));
    assert_int_equal(x->check.totals.wrong, 1);
}

static void an_end_that_the_task_cannot_have_is_wrong(void **state)
{
    static const dtq_state ends[] = {DTQ_FAILED, DTQ_EXPIRED, DTQ_CANCELLED};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct fixture *x;

        assert_int_equal(setup(state), 0);
        x = *state;
        confirmed(x);
        outcome(x, ends[i], 1, true);
        assert_false(check_end(&x->check, true));
        if (i + 1 < sizeof ends / sizeof *ends)
            teardown(state);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_was_confirmed_executed_and_recorded_is_right),
        CASE(a_confirmed_task_without_an_outcome_is_lost),
        CASE(an_outcome_that_was_seen_and_is_gone_is_lost),
        CASE(another_outcome_than_the_producer_was_told_is_a_second_one),
        CASE(an_outcome_that_changes_is_a_second_one),
        CASE(a_success_that_nobody_executed_is_wrong),
        CASE(a_result_of_another_task_is_wrong),
        CASE(an_outcome_of_a_task_that_nobody_submitted_is_wrong),
        CASE(a_producer_killed_before_it_wrote_the_id_is_no_finding),
        CASE(a_producer_told_that_nobody_knows_its_task_is_wrong),
        CASE(a_failure_with_retries_left_is_wrong),
        cmocka_unit_test_teardown(an_end_that_the_task_cannot_have_is_wrong, teardown),
    };

    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
