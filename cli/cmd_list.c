/* dtq list: open tasks. */
#include "cli.h"

#include "table.h"
#include "task_print.h"

#include <stdio.h>

struct list_options {
    const char *state;
    const char *queue;
    uint64_t limit;
};

static const struct opt list_table[] = {
    {.name = "state",
     .type = OPT_STRING,
     OPT_AT(struct list_options, state),
     .meta = "S",
     .help = "only tasks in this state: scheduled, ready, dispatched or running"},
    {.name = "queue",
     .letter = 'q',
     .type = OPT_STRING,
     OPT_AT(struct list_options, queue),
     .meta = "Q",
     .help = "only tasks of this queue"},
    {.name = "limit",
     .type = OPT_INTEGER,
     OPT_AT(struct list_options, limit),
     .meta = "N",
     .initial = "100",
     .help = "so many at most; 0: all"},
};

static void add_row(struct table *t, const dtq_task_info *task)
{
    char id[DTQ_ID_TEXT_BYTES];
    char age[64];

    dtq_id_format(&task->id, id);
    task_age_text(&task->id, age, sizeof age);
    table_cell(t, "%s", id);
    table_cell(t, "%s%s", dtq_state_name(task->state), task->cancelling ? " (cancelling)" : "");
    table_cell(t, "%s", task->name);
    table_cell(t, "%s", task->queue);
    table_cell(t, "%u", task->priority);
    table_cell(t, "%u", task->attempt);
    table_cell(t, "%s", age);
    table_cell(t, "%s", task->worker[0] != '\0' ? task->worker : "-");
    table_cell(t, "%s", task->why);
}

static dtq_err print_pages(struct cli *c, const struct list_options *o, dtq_filter *filter,
                           struct table *t, bool *ret_more)
{
    dtq_cursor cursor = {{0}};
    dtq_task_list page;
    uint64_t n = 0;
    dtq_err err;

    do {
        uint64_t left = o->limit != 0 ? o->limit - n : 1000;

        filter->limit = left < 1000 ? (uint32_t)left : 1000;
        err = dtq_tasks(c->client, filter, &cursor, CLI_ANSWER_MS, &page);
        for (size_t i = 0; err == DTQ_OK && i < page.n; i++, n++) {
            if (c->json)
                cli_print_json(task_json(&page.tasks[i]));
            else
                add_row(t, &page.tasks[i]);
        }
        *ret_more = err == DTQ_OK && page.more;
    } while (*ret_more && (o->limit == 0 || n < o->limit));
    return err;
}

static int list_tasks(struct cli *c, const struct list_options *o, dtq_filter *filter)
{
    static const char *const titles[] = {"ID",       "STATE", "NAME",   "QUEUE", ">PRIORITY",
                                         ">ATTEMPT", ">AGE",  "WORKER", "WHY",   NULL};
    struct table t;
    bool more = false;
    dtq_err err;

    table_init(&t, titles);
    err = print_pages(c, o, filter, &t, &more);
    if (err == DTQ_OK && !c->json)
        table_print(&t, stdout);
    table_done(&t);
    if (err != DTQ_OK)
        return cli_fail(c, err, "cannot list tasks");
    if (more)
        cli_error(c, 0, "there are more than %llu; --limit 0 lists all",
                  (unsigned long long)o->limit);
    return cli_flush(c, CLI_DONE);
}

int cmd_list(int argc, char **argv)
{
    struct list_options o;
    dtq_filter filter = {0};
    struct cli c;
    struct cli_spec spec = {
        .command = "list",
        .usage = "[OPTION...]",
        .summary = "List open tasks, the oldest first. Outcomes are in `dtq results`.",
        .opts = list_table,
        .opts_n = sizeof list_table / sizeof *list_table,
        .values = &o,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO && o.state != NULL) {
        int state = cli_state(&c, o.state);

        if (state >= DTQ_SUCCEEDED)
            state =
                cli_error(&c, -1, "--state: '%s' is an outcome; `dtq results` has those", o.state);
        if (state < 0)
            status = CLI_USAGE;
        else
            filter.state = (dtq_state)state;
    }
    filter.queue = o.queue;
    if (status == OPT_GO)
        status = cli_connect(&c, DTQ_FOLLOW_NONE);
    if (status == OPT_GO)
        status = list_tasks(&c, &o, &filter);
    cli_done(&c);
    return status;
}
