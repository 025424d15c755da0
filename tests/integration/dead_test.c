/* Dead letters with the real programs: what failed for good is kept, shown, requeued and purged. */
#include "cluster.h"

#include <jansson.h>
#include <signal.h>
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

static void expect_text(json_t *o, const char *key, const char *value)
{
    const char *got = json_string_value(json_object_get(o, key));

    if (got == NULL || strcmp(got, value) != 0)
        fail_msg("\"%s\" is '%s', not '%s'", key, got != NULL ? got : "(none)", value);
}

static bool is_listed(struct cluster *c, void *arg)
{
    return strstr(dtq_expect(c, 0, NULL, "dead", "list", "--json", NULL), arg) != NULL;
}

/* A task that fails for good. Who knows that finds its dead letter at once. */
static void die(struct cluster *c, char id[64], const char *queue, const char *payload)
{
    dtq_submit_id(c, id, "fail", payload, "-q", queue, "--retries", "1", "--backoff", "0s..0s",
                  NULL);
    dtq_expect(c, 1, NULL, "wait", id, NULL);
    assert_true(is_listed(c, id));
}

/* Again and again, since it would be a matter of milliseconds. */
static void who_saw_a_task_fail_finds_its_dead_letter_at_once(void **state)
{
    struct cluster *c = *state;
    char id[64];

    cluster_start(c);
    for (int i = 0; i < 10; i++) {
        dtq_submit_id(c, id, "fail", "x", "--retries", "0", NULL);
        dtq_expect(c, 1, NULL, "wait", id, NULL);
        switch (i % 3) {
        case 0: assert_true(is_listed(c, id)); break;
        case 1: dtq_expect(c, 0, NULL, "dead", "show", id, NULL); break;
        case 2:
            assert_string_equal(dtq_expect(c, 0, NULL, "dead", "purge", id, NULL), "1\n");
            break;
        }
    }
}

static void a_dead_letter_is_listed_and_shown_with_its_attempts(void **state)
{
    struct cluster *c = *state;
    char id[64];
    json_t *o;
    json_t *attempt;

    cluster_start(c);
    die(c, id, "mail", "the reason");
    o = object_of(dtq_expect(c, 0, NULL, "dead", "show", id, "--json", NULL));
    expect_text(o, "id", id);
    expect_text(o, "state", "failed");
    expect_text(o, "queue", "mail");
    expect_text(o, "payload", "the reason");
    expect_text(o, "error", "the reason");
    expect_text(o, "reason", "error");
    assert_int_equal(json_array_size(json_object_get(o, "attempts")), 2);
    attempt = json_array_get(json_object_get(o, "attempts"), 1);
    assert_int_equal(json_integer_value(json_object_get(attempt, "attempt")), 2);
    assert_non_null(json_string_value(json_object_get(attempt, "started")));
    assert_non_null(json_string_value(json_object_get(attempt, "ended")));
    assert_true(strlen(json_string_value(json_object_get(attempt, "worker"))) > 0);
    expect_text(attempt, "error", "the reason");
    json_decref(o);
    o = object_of(dtq_expect(c, 0, NULL, "show", id, "--json", NULL));
    assert_int_equal(json_array_size(json_object_get(o, "attempts")), 2);
    json_decref(o);
    expect_in(c->ventilator, dtq_expect(c, 0, NULL, "show", id, NULL), "attempt 2 on ");
    assert_string_equal(dtq_expect(c, 0, NULL, "dead", "list", "-q", "other", "--json", NULL), "");
}

static void a_dead_letter_survives_a_restart_and_runs_again_under_a_new_id(void **state)
{
    struct cluster *c = *state;
    char id[64];
    char fresh[64] = "";
    json_t *o;

    cluster_start(c);
    die(c, id, "mail", "again");
    run_stop(c->ventilator, 9);
    cluster_start_ventilator(c, NULL);
    assert_true(is_listed(c, id));
    o = object_of(dtq_expect(c, 0, NULL, "dead", "requeue", id, "--json", NULL));
    expect_text(o, "requeued_from", id);
    snprintf(fresh, sizeof fresh, "%s", json_string_value(json_object_get(o, "id")));
    json_decref(o);
    assert_string_not_equal(fresh, id);
    dtq_expect(c, 1, NULL, "wait", fresh, NULL);
    o = object_of(dtq_expect(c, 0, NULL, "dead", "show", fresh, "--json", NULL));
    expect_text(o, "requeued_from", id);
    json_decref(o);
    expect_in(c->ventilator, dtq_expect(c, 0, NULL, "show", fresh, NULL), "repeats");
    dtq_expect(c, 1, NULL, "dead", "requeue", id, NULL); /* it is none any more */
    dtq_expect(c, 1, NULL, "wait", id, NULL);            /* its outcome stands */
}

static void all_of_a_queue_are_requeued_and_the_rest_is_purged(void **state)
{
    struct cluster *c = *state;
    struct run *r;
    char ids[4][64];

    cluster_start(c);
    for (int i = 0; i < 4; i++)
        die(c, ids[i], i == 3 ? "b" : "a", "x");
    r = dtq_run(c, NULL, "dead", "requeue", "--all", "-q", "a", NULL);
    assert_int_equal(r->status, 0);
    assert_int_equal(r->lines, 3);
    dtq_expect(c, 2, NULL, "dead", "requeue", NULL);
    dtq_expect(c, 2, NULL, "dead", "requeue", "--all", ids[3], NULL);
    assert_true(is_listed(c, ids[3]));
    assert_string_equal(dtq_expect(c, 0, NULL, "dead", "purge", "--older-than", "1h", NULL), "0\n");
    assert_string_equal(dtq_expect(c, 0, NULL, "dead", "purge", ids[3], NULL), "1\n");
    assert_string_equal(dtq_expect(c, 0, NULL, "dead", "purge", ids[3], "--json", NULL),
                        "{\"purged\":0}\n");
    dtq_expect(c, 0, NULL, "dead", "purge", NULL);
    dtq_expect(c, 2, NULL, "dead", "bury", NULL);
}

static void a_dead_letter_that_is_cancelled_never_runs_again(void **state)
{
    struct cluster *c = *state;
    char id[64];
    char line[128];

    cluster_start(c);
    die(c, id, "mail", "x");
    snprintf(line, sizeof line, "%s failed; it will not be requeued\n", id);
    assert_string_equal(dtq_expect(c, 0, NULL, "cancel", id, NULL), line);
    run_stop(c->ventilator, 9);
    cluster_start_ventilator(c, NULL);
    assert_false(is_listed(c, id));
    assert_string_equal(dtq_expect(c, 0, NULL, "dead", "requeue", "--all", NULL), "");
    dtq_expect(c, 1, NULL, "dead", "requeue", id, NULL);
    dtq_expect(c, 1, NULL, "cancel", id, NULL); /* its outcome stands */
    dtq_expect(c, 1, NULL, "wait", id, NULL);
    expect_in(c->ventilator, dtq_expect(c, 0, NULL, "show", id, NULL), "attempt 1 on");
}

/* Two attempts fail, and the third one does not. */
static void all_attempts_of_a_task_are_shown_after_it_succeeded(void **state)
{
    struct cluster *c = *state;
    char id[64];
    json_t *o;
    json_t *attempt;

    cluster_start(c);
    dtq_submit_id(c, id, "flaky", "3", "--backoff", "0s..0s", NULL);
    dtq_expect(c, 0, NULL, "wait", id, NULL);
    for (int restarted = 0; restarted < 2; restarted++) {
        o = object_of(dtq_expect(c, 0, NULL, "show", id, "--json", NULL));
        expect_text(o, "state", "succeeded");
        assert_int_equal(json_integer_value(json_object_get(o, "attempt")), 3);
        assert_true(strlen(json_string_value(json_object_get(o, "worker"))) > 0);
        assert_int_equal(json_array_size(json_object_get(o, "attempts")), 2);
        attempt = json_array_get(json_object_get(o, "attempts"), 1);
        assert_int_equal(json_integer_value(json_object_get(attempt, "attempt")), 2);
        assert_non_null(json_string_value(json_object_get(attempt, "started")));
        assert_non_null(json_string_value(json_object_get(attempt, "ended")));
        assert_true(strlen(json_string_value(json_object_get(attempt, "worker"))) > 0);
        expect_text(attempt, "reason", "error");
        json_decref(o);
        run_stop(c->ventilator, SIGTERM);
        cluster_start_ventilator(c, NULL);
    }
    expect_in(c->ventilator, dtq_expect(c, 0, NULL, "show", id, NULL), "attempt 1 on ");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(who_saw_a_task_fail_finds_its_dead_letter_at_once),
        STORY(a_dead_letter_is_listed_and_shown_with_its_attempts),
        STORY(a_dead_letter_that_is_cancelled_never_runs_again),
        STORY(all_attempts_of_a_task_are_shown_after_it_succeeded),
        STORY(a_dead_letter_survives_a_restart_and_runs_again_under_a_new_id),
        STORY(all_of_a_queue_are_requeued_and_the_rest_is_purged),
    };

    return RUN_STORIES(argc, argv, tests);
}
