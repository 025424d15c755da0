#include "task_print.h"

#include "msg.h"
#include "proc.h"
#include "text.h"

#include <stdio.h>

void task_age_text(const dtq_id *id, char *ret, size_t bytes)
{
    uint64_t now_ms = proc_wall_ms();
    uint64_t at_ms = dtqi_id_wall_ms(id);
    char human[TEXT_HUMAN_BYTES];

    text_human_duration(now_ms > at_ms ? (now_ms - at_ms) * 1000 : 0, human);
    snprintf(ret, bytes, "%s", human);
}

static json_t *attempts_json(const dtq_task_info *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < t->attempts_n; i++) {
        const dtq_attempt_info *a = &t->attempts[i];
        char reason[64];
        json_t *o;

        cli_reason_text(a->reason, a->code, reason, sizeof reason);
        o = json_pack("{s:i, s:s, s:s}", "attempt", (int)a->attempt, "worker", a->worker, "reason",
                      reason);
        if (o == NULL)
            cli_out_of_memory();
        cli_json_time(o, "started", a->started_wall_ms);
        json_object_set_new(o, "duration_us", json_integer((json_int_t)a->duration_us));
        json_object_set_new(o, "error", json_string(a->text));
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
    cli_json_time(o, "submitted", dtqi_id_wall_ms(&t->id));
    cli_json_time(o, "due", t->due_wall_ms);
    if (t->attempts_n > 0)
        json_object_set_new(o, "attempts", attempts_json(t));
    return o;
}
