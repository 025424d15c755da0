#include "task_print.h"

#include "msg.h"
#include "proc.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

#define PAYLOAD_SHOWN_BYTES 4096u

void task_age_text(const dtq_id *id, char *ret, size_t bytes)
{
    uint64_t now_ms = proc_wall_ms();
    uint64_t at_ms = dtqi_id_wall_ms(id);
    char human[TEXT_HUMAN_BYTES];

    text_human_duration(now_ms > at_ms ? (now_ms - at_ms) * 1000 : 0, human);
    snprintf(ret, bytes, "%s", human);
}

static json_t *id_json(const dtq_id *id)
{
    char text[DTQ_ID_TEXT_BYTES];

    dtq_id_format(id, text);
    return json_string(text);
}

/* When it ended; 0 where nobody heard of its start. */
static uint64_t ended_wall_ms(const dtq_attempt_info *a)
{
    return a->started_wall_ms != 0 ? a->started_wall_ms + a->duration_us / 1000 : 0;
}

static void reason_text(const dtq_attempt_info *a, char *ret, size_t bytes)
{
    if (a->reason == DTQ_REASON_NONE)
        snprintf(ret, bytes, "%s",
                 dtq_state_name(DTQ_CANCELLED)); /* what else it ended for is named */
    else
        cli_reason_text(a->reason, a->code, ret, bytes);
}

/* Of one that was stopped and said nothing, the text is the reason once more. */
static const char *error_text(const dtq_attempt_info *a)
{
    bool says_no_more =
        a->reason == DTQ_REASON_NONE && strcmp(a->text, dtq_state_name(DTQ_CANCELLED)) == 0;

    return says_no_more ? "" : a->text;
}

json_t *attempts_json(const dtq_attempt_info *attempts, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        const dtq_attempt_info *a = &attempts[i];
        char reason[64];
        json_t *o;

        reason_text(a, reason, sizeof reason);
        o = json_pack("{s:i, s:s, s:s}", "attempt", (int)a->attempt, "worker", a->worker, "reason",
                      reason);
        if (o == NULL)
            cli_out_of_memory();
        cli_json_time(o, "started", a->started_wall_ms);
        cli_json_time(o, "ended", ended_wall_ms(a));
        json_object_set_new(o, "duration_us", json_integer((json_int_t)a->duration_us));
        json_object_set_new(o, "error", json_string(error_text(a)));
        json_array_append_new(list, o);
    }
    return list;
}

json_t *task_json(const dtq_task_info *t)
{
    char id[DTQ_ID_TEXT_BYTES];
    json_t *o;

    dtq_id_format(&t->id, id);
    o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:I, s:b, s:b, s:s}", "id", id,
                  "state", dtq_state_name(t->state), "name", t->name, "queue", t->queue, "priority",
                  (int)t->priority, "attempt", (int)t->attempt, "failures", (int)t->failures,
                  "crashes", (int)t->crashes, "worker", t->worker, "payload_bytes",
                  (json_int_t)t->payload_bytes, "cancelling", t->cancelling, "durable", t->durable,
                  "why", t->why);
    if (o == NULL)
        cli_out_of_memory();
    json_object_set_new(o, "retries", json_integer(t->retries));
    if (t->group[0] != '\0') {
        json_object_set_new(o, "group", json_string(t->group));
        json_object_set_new(o, "ordered", json_boolean(t->group_ordered));
    }
    cli_json_time(o, "submitted", dtqi_id_wall_ms(&t->id));
    cli_json_time(o, "due", t->due_wall_ms);
    if (t->requeued_from != NULL)
        json_object_set_new(o, "requeued_from", id_json(t->requeued_from));
    if (t->moved_from[0] != '\0')
        json_object_set_new(o, "moved_from", json_string(t->moved_from));
    if (t->cron[0] != '\0')
        json_object_set_new(o, "cron", json_string(t->cron));
    if (t->attempts_n > 0)
        json_object_set_new(o, "attempts", attempts_json(t->attempts, t->attempts_n));
    return o;
}

void task_print_group(const char *group, int ordered)
{
    char text[DTQI_NAME_BYTES_MAX + 32];

    snprintf(text, sizeof text, "%s%s", group, ordered ? ", one at a time, in order" : "");
    task_field("group", text);
}

void task_field(const char *name, const char *value)
{
    if (value[0] != '\0')
        printf("  %-9s  %s\n", name, value);
}

void task_field_time(const char *name, uint64_t wall_ms)
{
    char text[TEXT_TIME_BYTES];

    if (wall_ms == 0)
        return;
    text_format_time(wall_ms, text);
    task_field(name, text);
}

void attempts_print(const dtq_attempt_info *attempts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const dtq_attempt_info *a = &attempts[i];
        char started[TEXT_TIME_BYTES] = "?";
        char took[TEXT_HUMAN_BYTES];
        char reason[64];

        reason_text(a, reason, sizeof reason);
        text_human_duration(a->duration_us, took);
        if (a->started_wall_ms != 0)
            text_format_time(a->started_wall_ms, started);
        printf("  attempt %u on %s at %s took %s: %s%s%s\n", a->attempt,
               a->worker[0] != '\0' ? a->worker : "-", started, took, reason,
               error_text(a)[0] != '\0' ? ": " : "", error_text(a));
    }
}

void task_print_lineage(const dtq_task_info *t)
{
    char text[DTQ_ID_TEXT_BYTES];

    task_field("run of", t->cron);
    if (t->requeued_from == NULL)
        return;
    dtq_id_format(t->requeued_from, text);
    task_field("repeats", text);
}

void task_print_payload(const void *payload, size_t bytes)
{
    const unsigned char *at = payload;
    size_t n = bytes < PAYLOAD_SHOWN_BYTES ? bytes : PAYLOAD_SHOWN_BYTES;

    if (n == 0)
        return;
    fputs("  | ", stdout);
    for (size_t i = 0; i < n; i++) {
        putchar(at[i] == '\n' || (at[i] >= ' ' && at[i] != 127) ? at[i] : '.');
        if (at[i] == '\n' && i + 1 < n)
            fputs("  | ", stdout);
    }
    puts(n < bytes ? " .." : "");
}

/* ---------------------------------------------------------------- dead letters */

dtq_err dead_find(struct cli *c, const dtq_id *id, dtq_dead_letter *ret_letter)
{
    dtq_filter filter = {.prefix = *id, .prefix_bits = 128, .limit = 1, .bodies = 1};
    dtq_dead_list list;
    dtq_err err = dtq_dead_letters(c->client, &filter, NULL, CLI_ANSWER_MS, &list);

    if (err == DTQ_OK && list.n == 0)
        return DTQ_ENOTFOUND;
    if (err == DTQ_OK)
        *ret_letter = list.letters[0];
    return err;
}

json_t *dead_add_json(json_t *o, const dtq_dead_letter *x)
{
    cli_json_time(o, "dead_since", x->dead_wall_ms);
    if (x->task.requeued_from != NULL)
        json_object_set_new(o, "requeued_from", id_json(x->task.requeued_from));
    if (x->task.attempts_n > 0)
        json_object_set_new(o, "attempts", attempts_json(x->task.attempts, x->task.attempts_n));
    return o;
}

json_t *dead_json(const dtq_dead_letter *x)
{
    const dtq_task_info *t = &x->task;
    char id[DTQ_ID_TEXT_BYTES];
    char reason[64];
    json_t *o;

    dtq_id_format(&t->id, id);
    cli_reason_text(x->reason, x->code, reason, sizeof reason);
    o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:I}", "id", id, "state",
                  dtq_state_name(t->state), "name", t->name, "queue", t->queue, "priority",
                  (int)t->priority, "attempt", (int)t->attempt, "failures", (int)t->failures,
                  "crashes", (int)t->crashes, "reason", reason, "payload_bytes",
                  (json_int_t)t->payload_bytes);
    if (o == NULL)
        cli_out_of_memory();
    cli_json_bytes(o, "error", x->error, strlen(x->error));
    cli_json_time(o, "submitted", dtqi_id_wall_ms(&t->id));
    if (x->payload != NULL)
        cli_json_bytes(o, "payload", x->payload, x->payload_bytes);
    return dead_add_json(o, x);
}

void dead_print(const dtq_dead_letter *x)
{
    const dtq_task_info *t = &x->task;
    char text[128];

    dtq_id_format(&t->id, text);
    printf("%s  dead letter\n", text);
    task_field("name", t->name);
    task_field("queue", t->queue);
    task_print_group(t->group, t->group_ordered);
    snprintf(text, sizeof text, "%u", t->priority);
    task_field("priority", text);
    task_field_time("submitted", dtqi_id_wall_ms(&t->id));
    task_field_time("dead since", x->dead_wall_ms);
    task_print_lineage(t);
    snprintf(text, sizeof text, "%u, %u failed of %u that may, %u crashed", t->attempt, t->failures,
             t->retries + 1, t->crashes);
    task_field("attempts", text);
    attempts_print(t->attempts, t->attempts_n);
    cli_reason_text(x->reason, x->code, text, sizeof text);
    task_field("reason", text);
    task_field("error", x->error);
    printf("  %-9s  %zu bytes\n", "payload", x->payload_bytes);
    task_print_payload(x->payload, x->payload_bytes);
}
