/* dtq status: the cluster at a glance. */
#include "cli.h"

#include "queue_print.h"
#include "sink_print.h"
#include "table.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct status_options {
    bool counters;
};

static const struct opt status_table[] = {
    {.name = "counters",
     .type = OPT_FLAG,
     OPT_AT(struct status_options, counters),
     .command_line_only = true,
     .help = "the ventilator's counters too (--json always has them)"},
};

static void queues_cell(struct table *t, const dtq_worker_info *w)
{
    char text[256] = "";

    for (size_t i = 0; i < w->queues_n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? "," : "",
                 w->queues[i]);
    table_cell(t, "%s", w->queues_n > 0 ? text : "(all)");
}

static void print_workers(const dtq_worker_info *workers, size_t n)
{
    static const char *const titles[] = {"WORKER",  ">SLOTS",  ">RUNNING", ">HELD",   ">DONE",
                                         ">FAILED", ">SILENT", "QUEUES",   "PROGRAM", NULL};
    struct table t;

    table_init(&t, titles);
    for (size_t i = 0; i < n; i++) {
        char silent[TEXT_HUMAN_BYTES];

        text_human_duration(workers[i].silent_ms * 1000, silent);
        table_cell(&t, "%s", workers[i].name);
        table_cell(&t, "%u", workers[i].slots);
        table_cell(&t, "%u", workers[i].running);
        table_cell(&t, "%u", workers[i].held);
        table_cell(&t, "%llu", (unsigned long long)workers[i].done);
        table_cell(&t, "%llu", (unsigned long long)workers[i].failed);
        table_cell(&t, "%s", silent);
        queues_cell(&t, &workers[i]);
        table_cell(&t, "%s", workers[i].program);
    }
    table_print(&t, stdout);
    table_done(&t);
}

static void print_sinks(const dtq_sink_info *sinks, size_t n)
{
    static const char *const titles[] = {"SINK", "RESULTS", "INTAKE", "STATE", NULL};
    struct table t;

    table_init(&t, titles);
    for (size_t i = 0; i < n; i++) {
        char store[DTQ_ID_TEXT_BYTES];

        sink_store_text(sinks[i].store, store);
        table_cell(&t, "%s", store);
        table_cell(&t, "%s", sinks[i].results);
        table_cell(&t, "%s", sinks[i].intake);
        table_cell(&t, "%s", sink_state_text(&sinks[i]));
    }
    table_print(&t, stdout);
    table_done(&t);
}

static void print_counters(const dtq_status *s)
{
    struct table t;

    table_init(&t, (const char *const[]){"COUNTER", ">VALUE", NULL});
    for (size_t i = 0; i < s->counters_n; i++) {
        table_cell(&t, "%s", s->counters[i].name);
        table_cell(&t, "%llu", (unsigned long long)s->counters[i].value);
    }
    table_print(&t, stdout);
    table_done(&t);
}

static json_t *workers_json(const dtq_worker_info *workers, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        const dtq_worker_info *w = &workers[i];
        json_t *queues = json_array();

        for (size_t q = 0; q < w->queues_n; q++)
            json_array_append_new(queues, json_string(w->queues[q]));
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:o}", "name", w->name,
                            "program", w->program, "slots", (int)w->slots, "running",
                            (int)w->running, "held", (int)w->held, "credit", (json_int_t)w->credit,
                            "done", (json_int_t)w->done, "failed", (json_int_t)w->failed,
                            "silent_ms", (json_int_t)w->silent_ms, "queues", queues));
    }
    return list;
}

static json_t *sinks_json(const dtq_sink_info *sinks, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        json_t *o = sink_json(&sinks[i]);

        json_object_set_new(o, "removed", json_boolean(sinks[i].removed));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *counters_json(const dtq_status *s)
{
    json_t *o = json_object();

    for (size_t i = 0; i < s->counters_n; i++)
        json_object_set_new(o, s->counters[i].name, json_integer((json_int_t)s->counters[i].value));
    return o;
}

/* Four questions, as each answer is borrowed until the next: every part is printed, or made into
 * JSON, before that. */
static int show_status(struct cli *c, const struct status_options *o)
{
    json_t *json = json_object();
    const dtq_queue_info *queues;
    const dtq_worker_info *workers;
    const dtq_sink_info *sinks;
    dtq_status status;
    size_t n;
    dtq_err err = dtq_queues(c->client, CLI_ANSWER_MS, &queues, &n);

    if (err == DTQ_OK && c->json)
        json_object_set_new(json, "queues", queue_json(queues, n));
    else if (err == DTQ_OK)
        queue_print(queues, n);
    if (err == DTQ_OK)
        err = dtq_workers(c->client, CLI_ANSWER_MS, &workers, &n);
    if (err == DTQ_OK && c->json)
        json_object_set_new(json, "workers", workers_json(workers, n));
    else if (err == DTQ_OK) {
        putchar('\n');
        print_workers(workers, n);
    }
    if (err == DTQ_OK)
        err = dtq_sinks(c->client, CLI_ANSWER_MS, &sinks, &n);
    if (err == DTQ_OK && c->json)
        json_object_set_new(json, "sinks", sinks_json(sinks, n));
    else if (err == DTQ_OK) {
        putchar('\n');
        print_sinks(sinks, n);
    }
    if (err == DTQ_OK && (c->json || o->counters))
        err = dtq_status_get(c->client, CLI_ANSWER_MS, &status);
    if (err == DTQ_OK && c->json) {
        json_object_set_new(json, "counters", counters_json(&status));
        cli_print_json(json_incref(json));
    } else if (err == DTQ_OK && o->counters) {
        putchar('\n');
        print_counters(&status);
    }
    json_decref(json);
    return err == DTQ_OK ? cli_flush(c, CLI_DONE) : cli_fail(c, err, "no status");
}

int cmd_status(int argc, char **argv)
{
    struct status_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "status",
        .usage = "[OPTION...]",
        .summary = "Show queues, workers and sinks.",
        .opts = status_table,
        .opts_n = sizeof status_table / sizeof *status_table,
        .values = &o,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO)
        status = cli_connect(&c, DTQ_FOLLOW_NONE);
    if (status == OPT_GO)
        status = show_status(&c, &o);
    cli_done(&c);
    return status;
}
