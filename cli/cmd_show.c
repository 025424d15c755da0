/* dtq show: everything about a few tasks. */
#include "cli.h"

#include "msg.h"
#include "task_print.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_task(const dtq_task_info *t)
{
    char text[128];
    char age[64];

    dtq_id_format(&t->id, text);
    task_age_text(&t->id, age, sizeof age);
    printf("%s  %s%s\n", text, dtq_state_name(t->state),
           t->cancelling ? ", is being cancelled" : "");
    task_field("name", t->name);
    task_field("queue", t->queue);
    task_field("was in", t->moved_from);
    task_print_group(t->group, t->group_ordered);
    snprintf(text, sizeof text, "%u", t->priority);
    task_field("priority", text);
    snprintf(text, sizeof text, "%llu bytes", (unsigned long long)t->payload_bytes);
    task_field("payload", text);
    task_field_time("submitted", dtqi_id_wall_ms(&t->id));
    task_field("age", age);
    task_field_time("due", t->due_wall_ms);
    task_field("worker", t->worker);
    snprintf(text, sizeof text, "%u, %u failed of %u that may, %u crashed", t->attempt, t->failures,
             t->retries + 1, t->crashes);
    task_field("attempts", text);
    task_field("durable", t->durable ? "yes" : "not yet");
    task_field("waits for", t->why);
    task_print_lineage(t);
    attempts_print(t->attempts, t->attempts_n);
}

static void print_outcome(const dtq_result *r)
{
    char text[128];
    char reason[64];

    dtq_id_format(&r->id, text);
    cli_reason_text(r->reason, r->code, reason, sizeof reason);
    printf("%s  %s%s%s%s\n", text, dtq_state_name(r->state), r->state == DTQ_FAILED ? " (" : "",
           r->state == DTQ_FAILED ? reason : "", r->state == DTQ_FAILED ? ")" : "");
    task_field("name", r->name);
    task_field("queue", r->queue);
    task_field_time("submitted", dtqi_id_wall_ms(&r->id));
    task_field_time("started", r->started_wall_ms);
    if (r->started_wall_ms != 0) {
        text_human_duration(r->duration_us, text);
        task_field("took", text);
    }
    task_field_time("finished", r->committed_wall_ms);
    task_field("worker", r->worker);
    snprintf(text, sizeof text, "%u", r->attempt);
    task_field("attempt", text);
    if (r->state == DTQ_FAILED)
        printf("  %-9s  %.*s\n", "error", (int)r->body_bytes, (const char *)r->body);
    else
        printf("  %-9s  %zu bytes\n", "result", r->body_bytes);
}

static int show_open(const struct cli *c, const dtq_task_info *task)
{
    if (c->json)
        cli_print_json(task_json(task));
    else
        print_task(task);
    return CLI_DONE;
}

/* Attempts of a task that has ended. The outcome is worth printing without them. */
static dtq_attempt_list attempts_of(struct cli *c, const dtq_id *id)
{
    dtq_attempt_list list = {NULL, 0};

    if (dtq_attempts(c->client, id, CLI_ANSWER_MS, &list) != DTQ_OK)
        return (dtq_attempt_list){NULL, 0};
    return list;
}

static json_t *add_attempts(struct cli *c, const dtq_id *id, json_t *outcome)
{
    dtq_attempt_list list = attempts_of(c, id);

    if (list.n != 0)
        json_object_set_new(outcome, "attempts", attempts_json(list.attempts, list.n));
    return outcome;
}

static void print_attempts(struct cli *c, const dtq_id *id)
{
    dtq_attempt_list list = attempts_of(c, id);

    attempts_print(list.attempts, list.n);
}

/* What failed for good has its attempts at the ventilator, which may remember it longer than the
 * sink. */
static int show_dead(struct cli *c, const dtq_id *id, json_t *outcome)
{
    dtq_dead_letter letter;
    dtq_err err = dead_find(c, id, &letter);

    if (err == DTQ_OK && c->json)
        cli_print_json(outcome != NULL ? dead_add_json(outcome, &letter) : dead_json(&letter));
    else if (err == DTQ_OK && outcome == NULL)
        dead_print(&letter);
    else if (outcome != NULL)
        cli_print_json(add_attempts(c, id, outcome));
    else
        return err == DTQ_ENOTFOUND ? cli_not_found(c, id) : cli_fail(c, err, "no answer");
    return CLI_DONE;
}

static void print_dead_attempts(struct cli *c, const dtq_id *id)
{
    dtq_dead_letter letter;

    if (dead_find(c, id, &letter) != DTQ_OK) { /* requeued, purged or too old */
        print_attempts(c, id);
        return;
    }
    task_print_lineage(&letter.task);
    attempts_print(letter.task.attempts, letter.task.attempts_n);
}

static int show_outcome(struct cli *c, const dtq_id *id, const dtq_result *result)
{
    bool is_failure = result->state == DTQ_FAILED;

    if (result->state == DTQ_NOT_FOUND)
        return show_dead(c, id, NULL);
    if (c->json && is_failure)
        return show_dead(c, id, cli_json_result(result, true));
    if (c->json) {
        cli_print_json(add_attempts(c, id, cli_json_result(result, true)));
        return CLI_DONE;
    }
    print_outcome(result);
    if (is_failure)
        print_dead_attempts(c, id);
    else
        print_attempts(c, id);
    return CLI_DONE;
}

/* The ventilator knows open tasks best; what it does not have, the sinks may. */
static int show_one(struct cli *c, const dtq_id *id)
{
    dtq_task_info task;
    dtq_result result;
    char text[DTQ_ID_TEXT_BYTES];
    dtq_err err = dtq_show(c->client, id, CLI_ANSWER_MS, &task);

    if (err == DTQ_OK)
        return show_open(c, &task);
    if (err == DTQ_ENOTFOUND)
        err = dtq_look(c->client, id, 1, CLI_ANSWER_MS, &result);
    if (err == DTQ_OK)
        return show_outcome(c, id, &result);
    dtq_id_format(id, text);
    return cli_fail(c, err, "%s", text);
}

int cmd_show(int argc, char **argv)
{
    const struct cli_spec spec = {
        .command = "show",
        .usage = "[OPTION...] [ID...]",
        .summary =
            "Print everything that is known about tasks (default: those of the last submit).",
        .operands_max = SIZE_MAX,
    };

    return cli_each_id(&spec, argc, argv, show_one);
}
