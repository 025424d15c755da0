#include "queue_print.h"

#include "proc.h"
#include "table.h"

#include <stdio.h>

void queue_rate_text(uint64_t tasks, uint64_t period_ms, char ret[QUEUE_RATE_BYTES])
{
    char period[TEXT_DURATION_BYTES];
    const char *per = period;

    text_format_duration(period_ms, period);
    if (period_ms == 1000)
        per = "s";
    else if (period_ms == 60 * 1000)
        per = "m";
    else if (period_ms == 3600 * 1000)
        per = "h";
    if (tasks == 0)
        snprintf(ret, QUEUE_RATE_BYTES, "none");
    else
        snprintf(ret, QUEUE_RATE_BYTES, "%llu/%s", (unsigned long long)tasks, per);
}

static void limit_cell(struct table *t, uint64_t limit)
{
    if (limit != 0)
        table_cell(t, "%llu", (unsigned long long)limit);
    else
        table_cell(t, "-");
}

static void age_cell(struct table *t, uint64_t wall_ms)
{
    char text[TEXT_HUMAN_BYTES] = "-";
    uint64_t now_ms = proc_wall_ms();

    if (wall_ms != 0)
        text_human_duration(now_ms > wall_ms ? (now_ms - wall_ms) * 1000 : 0, text);
    table_cell(t, "%s", text);
}

/* Its own bound, and that of each of its groups: "20, 2 per group". */
static void bound_cell(struct table *t, const dtq_queue_info *q, bool is_rate)
{
    char own[QUEUE_RATE_BYTES];
    char each[QUEUE_RATE_BYTES];
    bool has_own = (is_rate ? q->rate : q->limit) != 0;
    bool has_each = (is_rate ? q->group_rate : q->group_limit) != 0;

    snprintf(own, sizeof own, "%llu", (unsigned long long)q->limit);
    snprintf(each, sizeof each, "%llu", (unsigned long long)q->group_limit);
    if (is_rate) {
        queue_rate_text(q->rate, q->rate_period_ms, own);
        queue_rate_text(q->group_rate, q->group_rate_period_ms, each);
    }
    table_cell(t, "%s%s%s%s", has_own ? own : (has_each ? "" : "-"),
               has_own && has_each ? ", " : "", has_each ? each : "", has_each ? " per group" : "");
}

static void state_cell(struct table *t, const dtq_queue_info *q)
{
    const char *state = q->paused ? "paused" : q->workers == 0 ? "no worker serves it" : "";
    char step[TEXT_DURATION_BYTES];

    text_format_duration(q->ageing_ms, step);
    table_cell(t, "%s%s%s%s", state, state[0] != '\0' && q->ageing_ms != 0 ? ", " : "",
               q->ageing_ms != 0 ? "ageing " : "", q->ageing_ms != 0 ? step : "");
}

void queue_print(const dtq_queue_info *queues, size_t n)
{
    static const char *const titles[] = {
        "QUEUE",    ">READY",  ">SCHEDULED", ">DISPATCHED", ">ENDING", ">GROUPS", ">BYTES",
        ">WORKERS", ">OLDEST", ">LIMIT",     ">RATE",       "STATE",   NULL};
    struct table t;

    table_init(&t, titles);
    for (size_t i = 0; i < n; i++) {
        char bytes[TEXT_HUMAN_BYTES];

        text_human_size(queues[i].bytes, bytes);
        table_cell(&t, "%s", queues[i].name);
        table_cell(&t, "%llu", (unsigned long long)queues[i].ready);
        table_cell(&t, "%llu", (unsigned long long)queues[i].scheduled);
        table_cell(&t, "%llu", (unsigned long long)queues[i].dispatched);
        table_cell(&t, "%llu", (unsigned long long)queues[i].ending);
        limit_cell(&t, queues[i].groups);
        table_cell(&t, "%s", bytes);
        table_cell(&t, "%u", queues[i].workers);
        age_cell(&t, queues[i].oldest_wall_ms);
        bound_cell(&t, &queues[i], false);
        bound_cell(&t, &queues[i], true);
        state_cell(&t, &queues[i]);
    }
    table_print(&t, stdout);
    table_done(&t);
}

json_t *queue_json(const dtq_queue_info *queues, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        const dtq_queue_info *q = &queues[i];
        json_t *o = json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:i, s:b}", "name", q->name, "ready", (json_int_t)q->ready,
            "scheduled", (json_int_t)q->scheduled, "dispatched", (json_int_t)q->dispatched, "bytes",
            (json_int_t)q->bytes, "workers", (int)q->workers, "paused", q->paused);

        if (o == NULL)
            cli_out_of_memory();
        json_object_set_new(o, "ending", json_integer((json_int_t)q->ending));
        json_object_set_new(o, "limit", json_integer((json_int_t)q->limit));
        json_object_set_new(o, "rate", json_integer((json_int_t)q->rate));
        json_object_set_new(o, "rate_period_ms", json_integer((json_int_t)q->rate_period_ms));
        json_object_set_new(o, "groups", json_integer((json_int_t)q->groups));
        json_object_set_new(o, "group_limit", json_integer((json_int_t)q->group_limit));
        json_object_set_new(o, "group_rate", json_integer((json_int_t)q->group_rate));
        json_object_set_new(o, "group_rate_period_ms",
                            json_integer((json_int_t)q->group_rate_period_ms));
        json_object_set_new(o, "ageing_ms", json_integer((json_int_t)q->ageing_ms));
        cli_json_time(o, "oldest", q->oldest_wall_ms);
        json_array_append_new(list, o);
    }
    return list;
}
