/* dtq dead: tasks that failed for good. */
#include "cli.h"

#include "proc.h"
#include "table.h"
#include "task_print.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEUE_AT_ONCE 256u

struct dead_options {
    const char *queue;
    uint64_t limit;
    bool all;
    uint64_t older_than_ms;
    bool yes;
};

static const struct opt dead_table[] = {
    {.name = "queue",
     .letter = 'q',
     .type = OPT_STRING,
     OPT_AT(struct dead_options, queue),
     .meta = "Q",
     .command_line_only = true,
     .help = "list, requeue --all, purge: only dead letters of this queue"},
    {.name = "limit",
     .type = OPT_INTEGER,
     OPT_AT(struct dead_options, limit),
     .meta = "N",
     .initial = "100",
     .command_line_only = true,
     .help = "list: so many at most; 0: all"},
    {.name = "all",
     .type = OPT_FLAG,
     OPT_AT(struct dead_options, all),
     .command_line_only = true,
     .help = "requeue: all that are there now"},
    {.name = "older-than",
     .type = OPT_DURATION,
     OPT_AT(struct dead_options, older_than_ms),
     .meta = "D",
     .command_line_only = true,
     .help = "purge: only what was submitted longer ago"},
    {.name = "yes",
     .letter = 'y',
     .type = OPT_FLAG,
     OPT_AT(struct dead_options, yes),
     .command_line_only = true,
     .help = "purge: do not ask"},
};

/* ---------------------------------------------------------------- list */

static void add_row(struct table *t, const dtq_dead_letter *x)
{
    char text[TEXT_TIME_BYTES + DTQ_ID_TEXT_BYTES];

    dtq_id_format(&x->task.id, text);
    table_cell(t, "%s", text);
    text_format_time(x->dead_wall_ms, text);
    table_cell(t, "%s", text);
    table_cell(t, "%s", x->task.name);
    table_cell(t, "%s", x->task.queue);
    table_cell(t, "%u", x->task.attempt);
    cli_reason_text(x->reason, x->code, text, sizeof text);
    table_cell(t, "%s", text);
    table_cell(t, "%s", x->error);
}

static dtq_err list_pages(struct cli *c, const struct dead_options *o, struct table *t,
                          bool *ret_more)
{
    dtq_filter filter = {.queue = o->queue};
    dtq_cursor cursor = {{0}};
    dtq_dead_list page;
    uint64_t n = 0;
    dtq_err err;

    do {
        uint64_t left = o->limit != 0 ? o->limit - n : 1000;

        filter.limit = left < 1000 ? (uint32_t)left : 1000;
        err = dtq_dead_letters(c->client, &filter, &cursor, CLI_ANSWER_MS, &page);
        for (size_t i = 0; err == DTQ_OK && i < page.n; i++, n++) {
            if (c->json)
                cli_print_json(dead_json(&page.letters[i]));
            else
                add_row(t, &page.letters[i]);
        }
        *ret_more = err == DTQ_OK && page.more;
    } while (*ret_more && (o->limit == 0 || n < o->limit));
    return err;
}

static int list(struct cli *c, const struct dead_options *o)
{
    static const char *const titles[] = {"ID",        "DEAD SINCE", "NAME",  "QUEUE",
                                         ">ATTEMPTS", "REASON",     "ERROR", NULL};
    struct table t;
    bool more = false;
    dtq_err err;

    table_init(&t, titles);
    err = list_pages(c, o, &t, &more);
    if (err == DTQ_OK && !c->json)
        table_print(&t, stdout);
    table_done(&t);
    if (err != DTQ_OK)
        return cli_fail(c, err, "cannot list dead letters");
    if (more)
        cli_error(c, 0, "there are more than %llu; --limit 0 lists all",
                  (unsigned long long)o->limit);
    return cli_flush(c, CLI_DONE);
}

/* ---------------------------------------------------------------- show */

static int show_one(struct cli *c, const dtq_id *id)
{
    dtq_dead_letter letter;
    char text[DTQ_ID_TEXT_BYTES];
    dtq_err err = dead_find(c, id, &letter);

    dtq_id_format(id, text);
    if (err == DTQ_ENOTFOUND)
        return cli_error(c, CLI_FAILED, "%s is no dead letter", text);
    if (err != DTQ_OK)
        return cli_fail(c, err, "%s", text);
    if (c->json)
        cli_print_json(dead_json(&letter));
    else
        dead_print(&letter);
    return CLI_DONE;
}

static int show(struct cli *c, const struct dead_options *o)
{
    struct cli_ids ids;
    int status = cli_ids(c, &ids);

    (void)o;
    if (status != OPT_GO)
        return status;
    status = CLI_DONE;
    for (size_t i = 0; i < ids.n && (status == CLI_DONE || status == CLI_FAILED); i++) {
        int one = show_one(c, &ids.at[i]);

        status = one == CLI_DONE ? status : one;
    }
    free(ids.at);
    return cli_flush(c, status);
}

/* ---------------------------------------------------------------- requeue */

static void print_requeued(const struct cli *c, const dtq_id *old_id, const dtq_id *new_id)
{
    char old_text[DTQ_ID_TEXT_BYTES];
    char new_text[DTQ_ID_TEXT_BYTES];

    dtq_id_format(old_id, old_text);
    dtq_id_format(new_id, new_text);
    if (c->json)
        cli_print_json(json_pack("{s:s, s:s}", "id", new_text, "requeued_from", old_text));
    else
        printf("%s\n", new_text);
}

static int print_page(const struct cli *c, const dtq_id *old_ids, const dtq_id *new_ids, size_t n)
{
    static const dtq_id none;
    int status = CLI_DONE;

    for (size_t i = 0; i < n; i++) {
        char text[DTQ_ID_TEXT_BYTES];

        if (memcmp(&new_ids[i], &none, sizeof none) != 0) {
            print_requeued(c, &old_ids[i], &new_ids[i]);
            continue;
        }
        dtq_id_format(&old_ids[i], text);
        status = cli_error(c, CLI_FAILED, "%s is no dead letter", text);
    }
    return status;
}

static int requeue_all(struct cli *c, const struct dead_options *o)
{
    dtq_cursor cursor = {{0}};
    dtq_requeued_list page;
    uint64_t n = 0;

    do {
        dtq_err err = dtq_dead_requeue_page(c->client, o->queue, &cursor, CLI_ANSWER_MS, &page);

        if (err != DTQ_OK)
            return cli_fail(c, err, "stopped after %llu dead letters", (unsigned long long)n);
        n += page.n;
        (void)print_page(c, page.old_ids, page.new_ids, page.n);
    } while (page.more);
    return cli_flush(c, CLI_DONE);
}

static int requeue_ids(struct cli *c, const struct cli_ids *ids)
{
    dtq_id new_ids[REQUEUE_AT_ONCE];
    int status = CLI_DONE;

    for (size_t at = 0; at < ids->n; at += REQUEUE_AT_ONCE) {
        size_t n = ids->n - at < REQUEUE_AT_ONCE ? ids->n - at : REQUEUE_AT_ONCE;
        dtq_err err = dtq_dead_requeue(c->client, ids->at + at, n, CLI_ANSWER_MS, new_ids);

        if (err != DTQ_OK)
            return cli_fail(c, err, "%zu of %zu may not be requeued", ids->n - at, ids->n);
        status = cli_worse(status, print_page(c, ids->at + at, new_ids, n));
    }
    return cli_flush(c, status);
}

static int requeue(struct cli *c, const struct dead_options *o)
{
    struct cli_ids ids;
    int status;

    if (o->all)
        return requeue_all(c, o);
    status = cli_ids(c, &ids);
    if (status != OPT_GO)
        return status;
    status = requeue_ids(c, &ids);
    free(ids.at);
    return status;
}

/* ---------------------------------------------------------------- purge */

/* What is purged is gone: at a terminal one is asked first. */
static bool is_confirmed(const struct dead_options *o)
{
    char answer[16] = "";

    if (o->yes || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    fputs("dtq dead purge: forget these dead letters for good? [y/N] ", stderr);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static int print_purged(const struct cli *c, uint64_t n)
{
    if (c->json)
        cli_print_json(json_pack("{s:I}", "purged", (json_int_t)n));
    else
        printf("%llu\n", (unsigned long long)n);
    return cli_flush(c, CLI_DONE);
}

static int purge(struct cli *c, const struct dead_options *o)
{
    uint64_t now_ms = proc_wall_ms();
    uint64_t before_ms =
        o->older_than_ms != 0 && o->older_than_ms < now_ms ? now_ms - o->older_than_ms : 0;
    struct cli_ids ids = {0};
    uint64_t n = 0;
    int status = OPT_GO;
    dtq_err err;

    if (c->parsed.operands_n != 0)
        status = cli_ids(c, &ids);
    if (status != OPT_GO)
        return status;
    if (!is_confirmed(o)) {
        free(ids.at);
        return cli_error(c, CLI_CANCELLED, "nothing was purged");
    }
    if (ids.n != 0)
        err = dtq_dead_purge(c->client, ids.at, ids.n, CLI_ANSWER_MS, &n);
    else
        err = dtq_dead_purge_all(c->client, o->queue, before_ms, CLI_ANSWER_MS, &n);
    free(ids.at);
    if (err != DTQ_OK)
        return cli_fail(c, err, "stopped after %llu dead letters", (unsigned long long)n);
    return print_purged(c, n);
}

/* ---------------------------------------------------------------- the command */

static const struct verb {
    const char *name;
    const char *takes; /* options */
    int (*run)(struct cli *c, const struct dead_options *o);
} verbs[] = {
    {"list", "queue limit", list},
    {"show", "", show},
    {"requeue", "queue all", requeue},
    {"purge", "queue older-than yes", purge},
};

static const struct verb *find_verb(const struct cli *c)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(c->parsed.operands[0], verbs[i].name) == 0)
            return &verbs[i];
    cli_error(c, CLI_USAGE, "'%s': give list, show, requeue or purge", c->parsed.operands[0]);
    return NULL;
}

/* What can be said without asking anybody. */
static int check(const struct cli *c, const struct cli_spec *spec, const struct verb *verb,
                 const struct dead_options *o)
{
    bool has_ids = c->parsed.operands_n > 1;

    if (cli_check_options(c, spec, verb->name, verb->takes) != OPT_GO ||
        cli_check_name(c, "--queue", o->queue) != OPT_GO)
        return CLI_USAGE;
    if (verb->run == list && has_ids)
        return cli_error(c, CLI_USAGE, "list: '%s' is too much", c->parsed.operands[1]);
    if (verb->run == requeue && o->all == has_ids)
        return cli_error(c, CLI_USAGE, "requeue: give ids, or --all");
    if (has_ids && o->queue != NULL)
        return cli_error(c, CLI_USAGE, "%s: give ids, or --queue", verb->name);
    if (has_ids && o->older_than_ms != 0)
        return cli_error(c, CLI_USAGE, "%s: give ids, or --older-than", verb->name);
    return OPT_GO;
}

static int run_verb(struct cli *c, const struct cli_spec *spec, const struct dead_options *o)
{
    const struct verb *verb = find_verb(c);
    int status = verb != NULL ? check(c, spec, verb, o) : CLI_USAGE;

    if (status == OPT_GO)
        status = cli_connect(c, DTQ_FOLLOW_NONE);
    if (status != OPT_GO)
        return status;
    c->parsed.operands++; /* what is left are ids */
    c->parsed.operands_n--;
    return verb->run(c, o);
}

int cmd_dead(int argc, char **argv)
{
    struct dead_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "dead",
        .usage = "list [-q Q] [--limit N]\nshow ID...\nrequeue ID...|--all [-q Q]\n"
                 "purge [ID...|-q Q] [--older-than D]",
        .summary = "Tasks that failed for good: list them, show them with payload and attempts, "
                   "let them run again, forget them.",
        .epilog = "requeue prints the new ids: each task runs again as another one, with its "
                  "attempts counted afresh; `dtq show`\n"
                  "names the one that it repeats. The old outcome stands. The status is 1 if an "
                  "id is no dead letter.\n"
                  "purge prints how many there were; at a terminal it asks first.",
        .opts = dead_table,
        .opts_n = sizeof dead_table / sizeof *dead_table,
        .values = &o,
        .operands_min = 1,
        .operands_max = SIZE_MAX,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO)
        status = run_verb(&c, &spec, &o);
    cli_done(&c);
    return status;
}
