/* dtq show: everything about a few tasks. */
#include "cli.h"

#include "msg.h"
#include "task_print.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void field(const char *name, const char *value)
{
    if (value[0] != '\0')
        printf("  %-9s  %s\n", name, value);
}

static void field_time(const char *name, uint64_t wall_ms)
{
    char text[TEXT_TIME_BYTES];

    if (wall_ms == 0)
        return;
    text_format_time(wall_ms, text);
    field(name, text);
}

static void print_attempts(const dtq_task_info *t)
{
    for (size_t i = 0; i < t->attempts_n; i++) {
        const dtq_attempt_info *a = &t->attempts[i];
        char took[TEXT_HUMAN_BYTES];
        char reason[64];

        cli_reason_text(a->reason, a->code, reason, sizeof reason);
        text_human_duration(a->duration_us, took);
        printf("  attempt %u on %s took %s: %s%s%s\n", a->attempt,
               a->worker[0] != '\0' ? a->worker : "-", took, reason, a->text[0] != '\0' ? ": " : "",
               a->text);
    }
}

static void print_task(const dtq_task_info *t)
{
    char text[128];
    char age[64];

    dtq_id_format(&t->id, text);
    task_age_text(&t->id, age, sizeof age);
    printf("%s  %s%s\n", text, dtq_state_name(t->state),
           t->cancelling ? ", is being cancelled" : "");
    field("name", t->name);
    field("queue", t->queue);
    snprintf(text, sizeof text, "%u", t->priority);
    field("priority", text);
    snprintf(text, sizeof text, "%llu bytes", (unsigned long long)t->payload_bytes);
    field("payload", text);
    field_time("submitted", dtqi_id_wall_ms(&t->id));
    field("age", age);
    field_time("due", t->due_wall_ms);
    field("worker", t->worker);
    snprintf(text, sizeof text, "%u, %u failed of %u that may, %u crashed", t->attempt, t->failures,
             t->retries + 1, t->crashes);
    field("attempts", text);
    field("durable", t->durable ? "yes" : "not yet");
    field("waits for", t->why);
    print_attempts(t);
}

static void print_outcome(const dtq_result *r)
{
    char text[128];
    char reason[64];

    dtq_id_format(&r->id, text);
    cli_reason_text(r->reason, r->code, reason, sizeof reason);
    printf("%s  %s%s%s%s\n", text, dtq_state_name(r->state), r->state == DTQ_FAILED ? " (" : "",
           r->state == DTQ_FAILED ? reason : "", r->state == DTQ_FAILED ? ")" : "");
    field("name", r->name);
    field("queue", r->queue);
    field_time("submitted", dtqi_id_wall_ms(&r->id));
    field_time("started", r->started_wall_ms);
    if (r->started_wall_ms != 0) {
        text_human_duration(r->duration_us, text);
        field("took", text);
    }
    field_time("finished", r->committed_wall_ms);
    field("worker", r->worker);
    snprintf(text, sizeof text, "%u", r->attempt);
    field("attempt", text);
    if (r->state == DTQ_FAILED)
        printf("  %-9s  %.*s\n", "error", (int)r->body_bytes, (const char *)r->body);
    else
        printf("  %-9s  %zu bytes\n", "result", r->body_bytes);
}

/* The ventilator knows open tasks best; what it does not have, the sinks may. */
static int show_one(struct cli *c, const dtq_id *id)
{
    dtq_task_info task;
    dtq_result result;
    char text[DTQ_ID_TEXT_BYTES];
    dtq_err err = dtq_show(c->client, id, CLI_ANSWER_MS, &task);

    dtq_id_format(id, text);
    if (err == DTQ_OK) {
        if (c->json)
            cli_print_json(task_json(&task));
        else
            print_task(&task);
        return CLI_DONE;
    }
    if (err == DTQ_ENOTFOUND)
        err = dtq_look(c->client, id, 1, CLI_ANSWER_MS, &result);
    if (err != DTQ_OK)
        return cli_fail(c, err, "%s", text);
    if (result.state == DTQ_NOT_FOUND)
        return cli_error(c, CLI_FAILED, "%s: not found", text);
    if (c->json)
        cli_print_json(cli_json_result(&result, true));
    else
        print_outcome(&result);
    return CLI_DONE;
}

int cmd_show(int argc, char **argv)
{
    struct cli_ids ids = {0};
    struct cli c;
    struct cli_spec spec = {
        .command = "show",
        .usage = "[OPTION...] [ID...]",
        .summary =
            "Print everything that is known about tasks (default: those of the last submit).",
        .operands_max = SIZE_MAX,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO)
        status = cli_ids(&c, &ids);
    if (status == OPT_GO && c.client == NULL)
        status = cli_connect(&c, DTQ_FOLLOW_NONE);
    if (status == OPT_GO) {
        status = CLI_DONE;
        for (size_t i = 0; i < ids.n && (status == CLI_DONE || status == CLI_FAILED); i++) {
            int one = show_one(&c, &ids.at[i]);

            status = one == CLI_DONE ? status : one;
        }
        status = cli_flush(&c, status);
    }
    free(ids.at);
    cli_done(&c);
    return status;
}
