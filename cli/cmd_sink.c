/* dtq sink: list sinks, go on with one that was restored from an old copy, remove one. */
#include "cli.h"

#include "sink_print.h"
#include "table.h"
#include "text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct sink_options {
    bool yes;
    bool force;
    const char *successor;
};

static const struct opt sink_table[] = {
    {.name = "yes",
     .letter = 'y',
     .type = OPT_FLAG,
     OPT_AT(struct sink_options, yes),
     .command_line_only = true,
     .help = "accept, remove: do not ask; where nobody can be asked, remove needs it"},
    {.name = "successor",
     .type = OPT_STRING,
     OPT_AT(struct sink_options, successor),
     .command_line_only = true,
     .meta = "SINK",
     .help = "remove: who gets its tasks; without it the ventilator chooses"},
    {.name = "force",
     .type = OPT_FLAG,
     OPT_AT(struct sink_options, force),
     .command_line_only = true,
     .help = "remove: even if it is connected"},
};

/* ---------------------------------------------------------------- list */

static void print_row(struct table *t, const dtq_sink_info *s)
{
    char store[DTQ_ID_TEXT_BYTES];

    sink_store_text(s->store, store);
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
    json_object_set_new(json, "removed", json_boolean(s->removed));
    cli_print_json(json);
}

static int do_list(struct cli *c, const struct sink_options *o, const dtq_sink_info *sinks,
                   size_t n)
{
    (void)o;
    if (!c->json)
        print_table(sinks, n);
    for (size_t i = 0; c->json && i < n; i++)
        print_json(&sinks[i]);
    return CLI_DONE;
}

/* ---------------------------------------------------------------- which one */

/* A sink is named by its store, or the beginning of that, or by one of its endpoints. */
static bool is_named(const dtq_sink_info *s, const char *word)
{
    char store[DTQ_ID_TEXT_BYTES];

    if (strcmp(s->results, word) == 0 || strcmp(s->intake, word) == 0)
        return true;
    sink_store_text(s->store, store);
    return word[0] != 0 && strncmp(store, word, strlen(word)) == 0;
}

static const dtq_sink_info *find(const struct cli *c, const dtq_sink_info *sinks, size_t n,
                                 const char *word)
{
    const dtq_sink_info *found = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!is_named(&sinks[i], word))
            continue;
        if (found != NULL) {
            cli_error(c, 0, "there are several sinks '%s'; name the store of one", word);
            return NULL;
        }
        found = &sinks[i];
    }
    if (found == NULL)
        cli_error(c, 0, "there is no sink '%s'; `dtq sink list` has them", word);
    return found;
}

/* Somebody who sits there is asked; a script knows what it does, and says so before a removal. */
static bool is_asked(const struct sink_options *o)
{
    return !o->yes && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static bool says_yes(void)
{
    char answer[16] = "";

    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

/* ---------------------------------------------------------------- accept */

static bool accept_is_wanted(const char *store)
{
    fprintf(stderr,
            "Outcomes that sink %s had and has lost cannot be asked for any more, and some of "
            "their tasks may run again.\nIf there is a newer copy of its data directory, put that "
            "in place instead. Go on with the old one? [y/N] ",
            store);
    return says_yes();
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
    sink_store_text(sink->store, store);
    if (!sink->diverged)
        return cli_error(c, CLI_FAILED, "sink %s has not diverged: there is nothing to accept",
                         store);
    if (is_asked(o) && !accept_is_wanted(store))
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

/* ---------------------------------------------------------------- remove */

struct removal {
    uint8_t store[16];
    const dtq_sink_info *sink;      /* NULL: it is not there any more */
    const dtq_sink_info *successor; /* NULL: none is named */
};

static bool is_listed(const dtq_sink_info *sinks, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (is_named(&sinks[i], word))
            return true;
    return false;
}

/* What was removed is not in the list; the order can be repeated all the same. */
static bool take_store(const struct cli *c, const dtq_sink_info *sinks, size_t n,
                       struct removal *ret)
{
    const char *word = c->parsed.operands[1];
    dtq_id id;

    if (!is_listed(sinks, n, word) && dtq_id_parse(word, &id) == DTQ_OK) {
        memcpy(ret->store, id.bytes, sizeof ret->store);
        return true;
    }
    ret->sink = find(c, sinks, n, word);
    if (ret->sink == NULL)
        return false;
    memcpy(ret->store, ret->sink->store, sizeof ret->store);
    return true;
}

static const char *heir_text(const struct removal *r, const dtq_sink_info *sinks, size_t n,
                             char store[DTQ_ID_TEXT_BYTES])
{
    if (r->successor != NULL) {
        sink_store_text(r->successor->store, store);
        return store;
    }
    for (size_t i = 0; i < n; i++)
        if (&sinks[i] != r->sink && sinks[i].intake[0] != '\0')
            return "another sink, which the ventilator chooses";
    return "the next sink that registers: there is no other one now";
}

static bool remove_is_wanted(const struct removal *r, const char *store, const char *heir)
{
    const dtq_sink_info *s = r->sink;

    fprintf(stderr,
            "Sink %s: %llu%s tasks wait for it, workers hold %llu, and of %llu it is to record "
            "the outcome.\nOutcomes that it has recorded are lost with it, and it can never come "
            "back with this store. Tasks of whose outcome\nthe ventilator has not heard may run "
            "again. All of its tasks go to %s.\nRemove it? [y/N] ",
            store, (unsigned long long)s->waiting, s->waiting_is_least ? " or more" : "",
            (unsigned long long)s->dispatched, (unsigned long long)s->unsettled, heir);
    return says_yes();
}

static int print_removed(const struct cli *c, const char *store, uint64_t removed)
{
    if (c->json)
        cli_print_json(
            json_pack("{s:s, s:b, s:b}", "store", store, "removed", 1, "before", removed == 0));
    else
        printf("%s %s\n", store, removed != 0 ? "removed" : "had been removed before");
    return CLI_DONE;
}

static int do_remove(struct cli *c, const struct sink_options *o, const dtq_sink_info *sinks,
                     size_t n)
{
    struct removal r = {.sink = NULL};
    char store[DTQ_ID_TEXT_BYTES];
    char heir[DTQ_ID_TEXT_BYTES];
    uint64_t removed;
    dtq_err err;

    if (!take_store(c, sinks, n, &r))
        return CLI_FAILED;
    sink_store_text(r.store, store);
    if (o->successor != NULL && (r.successor = find(c, sinks, n, o->successor)) == NULL)
        return CLI_FAILED;
    if (r.successor != NULL && r.successor == r.sink)
        return cli_error(c, CLI_USAGE,
                         "--successor: %s is the sink that is to be removed; name another one, "
                         "which gets its tasks",
                         o->successor);
    if (r.sink != NULL && r.sink->reachable && !o->force)
        return cli_error(c, CLI_FAILED,
                         "sink %s is connected: stop it first, or remove it with --force", store);
    if (r.sink != NULL && !o->yes && !is_asked(o))
        return cli_error(c, CLI_USAGE, "a sink is removed for ever: --yes says that you mean %s",
                         store);
    if (r.sink != NULL && is_asked(o) &&
        !remove_is_wanted(&r, store, heir_text(&r, sinks, n, heir)))
        return cli_error(c, CLI_CANCELLED, "sink %s was not removed", store);
    err = dtq_sink_remove(c->client, r.store, r.successor != NULL ? r.successor->store : NULL,
                          o->force, CLI_ANSWER_MS, &removed);
    if (err != DTQ_OK)
        return cli_fail(c, err, "sink %s was not removed", store);
    return print_removed(c, store, removed);
}

/* ---------------------------------------------------------------- the command */

typedef int verb_fn(struct cli *c, const struct sink_options *o, const dtq_sink_info *sinks,
                    size_t n);

/* Whatever is wanted, the sinks are asked for first. */
static int run(struct cli *c, const struct sink_options *o, verb_fn *verb)
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
    return cli_flush(c, verb(c, o, sinks, n));
}

static const struct sink_verb {
    const char *name;
    const char *takes; /* the options of `dtq sink` that mean something to it */
    size_t operands;
    verb_fn *run;
} verbs[] = {
    {"list", "", 0, do_list},
    {"accept", "yes", 1, do_accept},
    {"remove", "yes successor force", 1, do_remove},
};

static int run_verb(struct cli *c, const struct cli_spec *spec, const struct sink_options *o)
{
    const char *word = c->parsed.operands[0];

    for (const struct sink_verb *v = verbs; v < verbs + sizeof verbs / sizeof *verbs; v++) {
        if (strcmp(word, v->name) != 0)
            continue;
        if (cli_check_options(c, spec, v->name, v->takes) != OPT_GO)
            return CLI_USAGE;
        if (c->parsed.operands_n - 1 != v->operands)
            return cli_error(c, CLI_USAGE, "usage: dtq sink list|accept SINK|remove SINK");
        return run(c, o, v->run);
    }
    cli_no_verb(c, word, (const char *[]){"list", "accept", "remove"}, 3);
    return CLI_USAGE;
}

int cmd_sink(int argc, char **argv)
{
    struct sink_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "sink",
        .usage = "[OPTION...] list\n"
                 "[OPTION...] accept [--yes] SINK\n"
                 "[OPTION...] remove [--yes] [--successor SINK] [--force] SINK",
        .summary = "List sinks; go on with one that was restored from an old copy; remove one.",
        .epilog =
            "SINK is its store as `dtq sink list` prints it, the beginning of that, or one of its "
            "endpoints.\n\n"
            "A sink whose data directory is an older copy of what it was is DIVERGED: nothing is "
            "dispatched for it, and\nwhat it says settles nothing. Stop it and put the newer "
            "copy in place, and all goes on. If there is none:\n"
            "accept  takes its present history for the true one. Outcomes in the lost part "
            "cannot be asked for any\n        more. Tasks whose outcome the ventilator had not "
            "heard of get one again, and may run again.\n\n"
            "A sink that is gone for good, with its disk, or that is none of yours:\n"
            "remove  gives all its tasks, also those that run, to another sink: to the one of "
            "--successor, or one that the\n        ventilator chooses; when there is no other, to "
            "the next one that registers. Outcomes that it had recorded\n        are lost. "
            "Tasks whose outcome the ventilator had not heard of get one again, and may run "
            "again. It is for ever:\n        started again with that data directory the sink "
            "is refused; with an empty one it is a new sink. At a terminal it asks\n        first, "
            "anywhere "
            "else it needs --yes.\n\n"
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
        status = run_verb(&c, &spec, &o);
    cli_done(&c);
    return status;
}
