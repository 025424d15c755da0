/* dtq sink: list sinks, and go on with one that was restored from an old copy. */
#include "cli.h"

#include "sink_print.h"
#include "table.h"
#include "text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct sink_options {
    bool yes;
};

static const struct opt sink_table[] = {
    {.name = "yes",
     .letter = 'y',
     .type = OPT_FLAG,
     OPT_AT(struct sink_options, yes),
     .command_line_only = true,
     .help = "accept without asking"},
};

/* ---------------------------------------------------------------- list */

static void print_row(struct table *t, const dtq_sink_info *s)
{
    char store[DTQ_ID_TEXT_BYTES];

    sink_store_text(s, store);
    table_cell(t, "%s", store);
    table_cell(t, "%s", s->results);
    table_cell(t, "%s", s->intake);
    table_cell(t, "%s", sink_state_text(s));
    table_cell(t, "%llu", (unsigned long long)s->applied);
    table_cell(t, "%llu%s", (unsigned long long)s->waiting, s->waiting_is_least ? "+" : "");
    table_cell(t, "%llu", (unsigned long long)s->dispatched);
    table_cell(t, "%llu", (unsigned long long)s->unsettled);
}

static void print_table(const dtq_sink_info *sinks, size_t n)
{
    static const char *const titles[] = {"SINK",        "RESULTS",    "INTAKE",
                                         "STATE",       ">APPLIED",   ">WAITING",
                                         ">DISPATCHED", ">UNSETTLED", NULL};
    struct table t;

    table_init(&t, titles);
    for (size_t i = 0; i < n; i++)
        print_row(&t, &sinks[i]);
    table_print(&t, stdout);
    table_done(&t);
}

static void print_json(const dtq_sink_info *s)
{
    json_t *json = sink_json(s);

    json_object_set_new(json, "waiting", json_integer((json_int_t)s->waiting));
    json_object_set_new(json, "waiting_is_least", json_boolean(s->waiting_is_least));
    json_object_set_new(json, "dispatched", json_integer((json_int_t)s->dispatched));
    json_object_set_new(json, "unsettled", json_integer((json_int_t)s->unsettled));
    cli_print_json(json);
}

static int do_list(const struct cli *c, const dtq_sink_info *sinks, size_t n)
{
    if (!c->json)
        print_table(sinks, n);
    for (size_t i = 0; c->json && i < n; i++)
        print_json(&sinks[i]);
    return CLI_DONE;
}

/* ---------------------------------------------------------------- accept */

/* A sink is named by its store, or the beginning of that, or by one of its endpoints. */
static bool is_named(const dtq_sink_info *s, const char *word)
{
    char store[DTQ_ID_TEXT_BYTES];

    sink_store_text(s, store);
    return (word[0] != 0 && strncmp(store, word, strlen(word)) == 0) ||
           strcmp(s->results, word) == 0 || strcmp(s->intake, word) == 0;
}

static const dtq_sink_info *find(const struct cli *c, const dtq_sink_info *sinks, size_t n,
                                 const char *word)
{
    const dtq_sink_info *found = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!is_named(&sinks[i], word))
            continue;
        if (found != NULL) {
            cli_error(c, 0, "there are several sinks '%s'", word);
            return NULL;
        }
        found = &sinks[i];
    }
    if (found == NULL)
        cli_error(c, 0, "there is no sink '%s'; `dtq sink list` has them", word);
    return found;
}

/* Somebody who sits there is asked; a script knows what it does. */
static bool is_wanted(const char *store)
{
    char answer[16] = "";

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    fprintf(stderr,
            "Outcomes that sink %s had and has lost cannot be asked for any more, and some of "
            "their tasks may run again.\nIf there is a newer copy of its data directory, put that "
            "in place instead. Go on with the old one? [y/N] ",
            store);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static int do_accept(struct cli *c, const struct sink_options *o, const dtq_sink_info *sinks,
                     size_t n)
{
    const dtq_sink_info *sink = find(c, sinks, n, c->parsed.operands[1]);
    char store[DTQ_ID_TEXT_BYTES];
    uint64_t accepted;
    dtq_err err;

    if (sink == NULL)
        return CLI_FAILED;
    sink_store_text(sink, store);
    if (!sink->diverged)
        return cli_error(c, CLI_FAILED, "sink %s has not diverged: there is nothing to accept",
                         store);
    if (!o->yes && !is_wanted(store))
        return cli_error(c, CLI_CANCELLED, "sink %s was not accepted", store);
    err = dtq_sink_accept(c->client, sink->store, CLI_ANSWER_MS, &accepted);
    if (err != DTQ_OK)
        return cli_fail(c, err, "sink %s was not accepted", store);
    if (c->json)
        cli_print_json(json_pack("{s:s, s:b}", "store", store, "accepted", 1));
    else
        printf("%s accepted\n", store);
    return CLI_DONE;
}

/* ---------------------------------------------------------------- the command */

/* Whatever is wanted, the sinks are asked for first. */
static int run(struct cli *c, const struct sink_options *o, bool accept)
{
    const dtq_sink_info *sinks;
    size_t n;
    dtq_err err;
    int status = cli_connect(c, DTQ_FOLLOW_NONE);

    if (status != OPT_GO)
        return status;
    err = dtq_sinks(c->client, CLI_ANSWER_MS, &sinks, &n);
    if (err != DTQ_OK)
        return cli_fail(c, err, "cannot list sinks");
    return cli_flush(c, accept ? do_accept(c, o, sinks, n) : do_list(c, sinks, n));
}

static int run_verb(struct cli *c, const struct sink_options *o)
{
    const char *word = c->parsed.operands[0];
    size_t n = c->parsed.operands_n - 1;
    const char *near;

    if (strcmp(word, "list") == 0 && n == 0)
        return run(c, o, false);
    if (strcmp(word, "accept") == 0 && n == 1)
        return run(c, o, true);
    if (strcmp(word, "list") == 0 || strcmp(word, "accept") == 0)
        return cli_error(c, CLI_USAGE, "usage: dtq sink list|accept SINK");
    near = text_nearest(word, (const char *[]){"list", "accept"}, 2);
    return cli_error(c, CLI_USAGE, "there is no '%s'; did you mean '%s'?", word,
                     near != NULL ? near : "list");
}

int cmd_sink(int argc, char **argv)
{
    struct sink_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "sink",
        .usage = "[OPTION...] list\n"
                 "[OPTION...] accept [--yes] SINK",
        .summary = "List sinks; go on with one that was restored from an old copy.",
        .epilog =
            "SINK is its store as `dtq sink list` prints it, the beginning of that, or one of its "
            "endpoints.\n\n"
            "A sink whose data directory is an older copy of what it was is DIVERGED: nothing is "
            "dispatched for it, and\nwhat it says settles nothing. Stop it and put the newer "
            "copy in place, and all goes on. If there is none:\n"
            "accept  takes its present history for the true one. Outcomes in the lost part "
            "cannot be asked for any\n        more. Tasks whose outcome the ventilator had not "
            "heard of get one again, and may run again.\n\n"
            "applied     number of the last settlement of the sink that the ventilator applied\n"
            "waiting     tasks of the sink that wait for a worker or for their time; n+: more "
            "are in the journal\n"
            "unsettled   tasks that are done, or failed for good, and whose outcome the sink is "
            "to record",
        .opts = sink_table,
        .opts_n = sizeof sink_table / sizeof *sink_table,
        .values = &o,
        .operands_min = 1,
        .operands_max = 2,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO)
        status = run_verb(&c, &o);
    cli_done(&c);
    return status;
}
