/* dtq explain: why a task does not run, and what comes first. */
#include "cli.h"

#include "msg.h"
#include "proc.h"
#include "queue_print.h"
#include "task_print.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t age_ms(const dtq_id *id)
{
    uint64_t now_ms = proc_wall_ms();
    uint64_t at_ms = dtqi_id_wall_ms(id);

    return now_ms > at_ms ? now_ms - at_ms : 0;
}

static const char *why(const dtq_task_info *t)
{
    if (t->why[0] != '\0')
        return t->why;
    return t->state == DTQ_RUNNING ? "it runs" : "nothing keeps it waiting";
}

/* Of a group the tasks of others come between, as the groups take turns. */
static void print_position(const dtq_task_info *t)
{
    const char *verb = t->before == 1 ? "comes" : "come";
    const char *s = t->before == 1 ? "" : "s";
    unsigned long long n = t->before;

    if (!t->before_is_least)
        printf("  position  %llu task%s %s first\n", n, s, verb);
    else if (n == 0 && t->group[0] != '\0')
        puts("  position  no task of its group is known to come first; the groups take turns");
    else if (t->group[0] != '\0')
        printf("  position  at least %llu task%s of its group %s first; the groups take turns\n", n,
               s, verb);
    else if (n == 0)
        puts("  position  not known");
    else
        printf("  position  at least %llu task%s %s first\n", n, s, verb);
}

static void print_task(const dtq_task_info *t)
{
    char id[DTQ_ID_TEXT_BYTES];
    char age[TEXT_HUMAN_BYTES];
    char due[TEXT_TIME_BYTES];

    dtq_id_format(&t->id, id);
    text_human_duration(age_ms(&t->id) * 1000, age);
    printf("%s  %s%s\n", id, dtq_state_name(t->state), t->cancelling ? ", is being cancelled" : "");
    printf("  why       %s\n", why(t));
    if (t->state == DTQ_SCHEDULED) {
        text_format_time(t->due_wall_ms, due);
        printf("  due       %s\n", due);
    } else if (t->state == DTQ_READY || (t->state == DTQ_DISPATCHED && t->worker[0] != '\0')) {
        print_position(t);
    }
    printf("  age       %s\n", age);
    if (t->worker[0] != '\0')
        printf("  worker    %s\n", t->worker);
    if (t->attempt != 0)
        printf("  attempt   %u, %u failed, %u crashed\n", t->attempt, t->failures, t->crashes);
}

static void print_queue(const dtq_queue_info *q)
{
    char rate[QUEUE_RATE_BYTES];
    char step[TEXT_DURATION_BYTES];

    text_format_duration(q->ageing_ms, step);
    printf("  queue     %s: %llu ready, %llu scheduled, %llu dispatched; %u worker%s serve%s it\n",
           q->name, (unsigned long long)q->ready, (unsigned long long)q->scheduled,
           (unsigned long long)q->dispatched, q->workers, q->workers == 1 ? "" : "s",
           q->workers == 1 ? "s" : "");
    if (q->ending != 0)
        printf("            of %llu more the outcome is being recorded\n",
               (unsigned long long)q->ending);
    if (q->paused)
        printf("            it is paused: dtq queue resume %s\n", q->name);
    if (q->limit != 0)
        printf("            its limit is %llu at a time\n", (unsigned long long)q->limit);
    queue_rate_text(q->rate, q->rate_period_ms, rate);
    if (q->rate != 0)
        printf("            its rate is %s\n", rate);
    if (q->ageing_ms != 0)
        printf("            each %s of waiting counts as one priority more\n", step);
    if (q->groups != 0)
        printf("            %u group%s of it ha%s tasks\n", q->groups, q->groups == 1 ? "" : "s",
               q->groups == 1 ? "s" : "ve");
    if (q->group_limit != 0)
        printf("            the limit of each group is %llu at a time\n",
               (unsigned long long)q->group_limit);
    queue_rate_text(q->group_rate, q->group_rate_period_ms, rate);
    if (q->group_rate != 0)
        printf("            the rate of each group is %s\n", rate);
}

static json_t *json_of(const dtq_task_info *t)
{
    json_t *o = task_json(t);

    json_object_set_new(o, "why", json_string(why(t)));
    json_object_set_new(o, "before", json_integer((json_int_t)t->before));
    json_object_set_new(o, "before_is_least", json_boolean(t->before_is_least));
    json_object_set_new(o, "age_ms", json_integer((json_int_t)age_ms(&t->id)));
    return o;
}

/* What is known of the task's queue; the answer about the task is gone when this one is there. */
static int explain_queue(struct cli *c, const char *name, json_t *task)
{
    const dtq_queue_info *queues;
    size_t n;
    dtq_err err = dtq_queues(c->client, CLI_ANSWER_MS, &queues, &n);
    json_t *list;

    if (err != DTQ_OK)
        return cli_fail(c, err, "cannot look at queue '%s'", name);
    list = c->json ? queue_json(queues, n) : NULL;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(queues[i].name, name) != 0)
            continue;
        if (c->json)
            json_object_set(task, "queue_info", json_array_get(list, i));
        else
            print_queue(&queues[i]);
    }
    json_decref(list);
    return CLI_DONE;
}

static int explain_open(struct cli *c, const dtq_task_info *t)
{
    char *name = strdup(t->queue);
    json_t *o = c->json ? json_of(t) : NULL;
    int status;

    if (name == NULL)
        cli_out_of_memory();
    if (!c->json)
        print_task(t);
    status = explain_queue(c, name, o);
    if (o != NULL)
        cli_print_json(o);
    free(name);
    return status;
}

static int explain_ended(struct cli *c, const dtq_id *id)
{
    static const char ended[] = "it has ended; dtq show tells how";
    char text[DTQ_ID_TEXT_BYTES];
    dtq_result result;
    dtq_err err = dtq_look(c->client, id, 1, CLI_ANSWER_MS, &result);

    dtq_id_format(id, text);
    if (err != DTQ_OK)
        return cli_fail(c, err, "%s", text);
    if (result.state == DTQ_NOT_FOUND)
        return cli_not_found(c, id);
    if (c->json) {
        json_t *o = cli_json_result(&result, false);

        json_object_set_new(o, "why", json_string(ended));
        cli_print_json(o);
    } else {
        printf("%s  %s\n  why       %s\n", text, dtq_state_name(result.state), ended);
    }
    return CLI_DONE;
}

static int explain_one(struct cli *c, const dtq_id *id)
{
    dtq_task_info task;
    dtq_err err = dtq_explain(c->client, id, CLI_ANSWER_MS, &task);

    if (err == DTQ_OK)
        return explain_open(c, &task);
    return err == DTQ_ENOTFOUND ? explain_ended(c, id) : cli_fail(c, err, "cannot explain");
}

int cmd_explain(int argc, char **argv)
{
    const struct cli_spec spec = {
        .command = "explain",
        .usage = "[OPTION...] [ID...]",
        .summary = "Say why tasks do not run, and how many come first (default: those of the last "
                   "submit).",
        .operands_max = SIZE_MAX,
    };

    return cli_each_id(&spec, argc, argv, explain_one);
}
