/* dtq results: the outcomes that the sinks hold. */
#include "cli.h"

#include "table.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

struct results_options {
    const char *state;
    const char *queue;
    const char *name;
    uint64_t limit;
    bool follow;
    bool oldest_first;
};

static const struct opt results_table[] = {
    {.name = "state",
     .type = OPT_STRING,
     OPT_AT(struct results_options, state),
     .meta = "S",
     .help = "only this outcome: succeeded, failed, expired or cancelled"},
    {.name = "queue",
     .letter = 'q',
     .type = OPT_STRING,
     OPT_AT(struct results_options, queue),
     .meta = "Q",
     .help = "only tasks of this queue"},
    {.name = "name",
     .type = OPT_STRING,
     OPT_AT(struct results_options, name),
     .meta = "NAME",
     .help = "only tasks of this name"},
    {.name = "limit",
     .type = OPT_INTEGER,
     OPT_AT(struct results_options, limit),
     .meta = "N",
     .initial = "20",
     .help = "so many at most; 0: all"},
    {.name = "oldest-first",
     .type = OPT_FLAG,
     OPT_AT(struct results_options, oldest_first),
     .help = "in the order of submission (default: newest first)"},
    {.name = "follow",
     .letter = 'f',
     .type = OPT_FLAG,
     OPT_AT(struct results_options, follow),
     .command_line_only = true,
     .help = "print outcomes as they are recorded from now on, until ^C"},
};

#define RESULT_WIDTH 40

static void duration_text(const dtq_result *r, char ret[TEXT_HUMAN_BYTES])
{
    if (r->started_wall_ms == 0)
        snprintf(ret, TEXT_HUMAN_BYTES, "-");
    else
        text_human_duration(r->duration_us, ret);
}

static void outcome_text(const dtq_result *r, char *ret, size_t bytes)
{
    if (r->state == DTQ_FAILED)
        cli_reason_text(r->reason, r->code, ret, bytes);
    else
        snprintf(ret, bytes, "%s", dtq_state_name(r->state));
}

static void add_row(struct table *t, const dtq_result *r)
{
    char id[DTQ_ID_TEXT_BYTES];
    char duration[TEXT_HUMAN_BYTES];
    char reason[64];

    dtq_id_format(&r->id, id);
    duration_text(r, duration);
    outcome_text(r, reason, sizeof reason);
    table_cell(t, "%s", id);
    table_cell(t, "%s", dtq_state_name(r->state));
    table_cell(t, "%s", r->name);
    table_cell(t, "%s", r->queue);
    table_cell(t, "%u", r->attempt);
    table_cell(t, "%s", duration);
    table_cell(t, "%s", r->worker[0] != '\0' ? r->worker : "-");
    table_cell(t, "%s%s%.*s", r->state == DTQ_FAILED ? reason : "",
               r->state == DTQ_FAILED && r->body_bytes > 0 ? ": " : "",
               r->body_bytes < RESULT_WIDTH ? (int)r->body_bytes : RESULT_WIDTH,
               (const char *)r->body);
}

static const char *const titles[] = {"ID",    "STATE",  "NAME",   "QUEUE", ">ATTEMPT",
                                     ">TOOK", "WORKER", "RESULT", NULL};

static dtq_err print_pages(struct cli *c, const struct results_options *o, dtq_filter *filter,
                           struct table *t, uint64_t *ret_n)
{
    dtq_cursor cursor = {{0}};
    dtq_outcome_list page;
    dtq_err err;

    do {
        uint64_t left = o->limit != 0 ? o->limit - *ret_n : 1000;

        filter->limit = left < 1000 ? (uint32_t)left : 1000;
        err = dtq_outcomes(c->client, filter, &cursor, CLI_ANSWER_MS, &page);
        for (size_t i = 0; err == DTQ_OK && i < page.n; i++) {
            if (c->json)
                cli_print_json(cli_json_result(&page.results[i], true));
            else
                add_row(t, &page.results[i]);
            ++*ret_n;
        }
    } while (err == DTQ_OK && page.more && (o->limit == 0 || *ret_n < o->limit));
    return err;
}

static int list_results(struct cli *c, const struct results_options *o, dtq_filter *filter)
{
    struct table t;
    uint64_t n = 0;
    dtq_err err;

    table_init(&t, titles);
    err = print_pages(c, o, filter, &t, &n);
    if (err == DTQ_OK && !c->json)
        table_print(&t, stdout);
    table_done(&t);
    if (err != DTQ_OK)
        return cli_fail(c, err, "cannot list results");
    return cli_flush(c, CLI_DONE);
}

static bool is_wanted(const struct results_options *o, const dtq_filter *filter,
                      const dtq_result *r)
{
    return (filter->state == DTQ_NOT_FOUND || filter->state == r->state) &&
           (o->queue == NULL || strcmp(o->queue, r->queue) == 0) &&
           (o->name == NULL || strcmp(o->name, r->name) == 0);
}

/* One line each, as it comes: columns cannot know what is still to come. */
static int follow_results(struct cli *c, const struct results_options *o, const dtq_filter *filter)
{
    for (;;) {
        char id[DTQ_ID_TEXT_BYTES];
        char duration[TEXT_HUMAN_BYTES];
        char outcome[64];
        dtq_result r;
        dtq_err err = dtq_next_result(c->client, -1, &r);

        if (err != DTQ_OK)
            return cli_fail(c, err, "cannot follow results");
        if (!is_wanted(o, filter, &r))
            continue;
        if (c->json) {
            cli_print_json(cli_json_result(&r, true));
        } else {
            struct table t;

            table_init(&t, (const char *const[]){"", NULL});
            dtq_id_format(&r.id, id);
            duration_text(&r, duration);
            outcome_text(&r, outcome, sizeof outcome);
            table_cell(&t, "%s %s %s %s %s %.*s", id, outcome, r.name, duration, r.worker,
                       r.body_bytes < RESULT_WIDTH ? (int)r.body_bytes : RESULT_WIDTH,
                       (const char *)r.body);
            puts(t.cells[0]);
            table_done(&t);
        }
        if (cli_flush(c, CLI_DONE) != CLI_DONE)
            return CLI_FAILED;
    }
}

int cmd_results(int argc, char **argv)
{
    struct results_options o;
    dtq_filter filter = {.bodies = 1};
    struct cli c;
    struct cli_spec spec = {
        .command = "results",
        .usage = "[OPTION...]",
        .summary = "List the outcomes that the sinks hold.",
        .opts = results_table,
        .opts_n = sizeof results_table / sizeof *results_table,
        .values = &o,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO && o.state != NULL) {
        int state = cli_state(&c, o.state);

        if (state >= 0 && state < DTQ_SUCCEEDED)
            state = cli_error(&c, -1, "--state: '%s' is no outcome; `dtq list` has the open tasks",
                              o.state);
        if (state < 0)
            status = CLI_USAGE;
        else
            filter.state = (dtq_state)state;
    }
    filter.queue = o.queue;
    filter.name = o.name;
    filter.newest_first = !o.oldest_first;
    if (status == OPT_GO)
        status = cli_connect(&c, o.follow ? DTQ_FOLLOW_ALL : DTQ_FOLLOW_NONE);
    if (status == OPT_GO)
        status = o.follow ? follow_results(&c, &o, &filter) : list_results(&c, &o, &filter);
    cli_done(&c);
    return status;
}
