/* dtq queue: list queues, pause, resume, purge and move them, say what of them runs when. */
#include "cli.h"

#include "msg.h"
#include "progress.h"
#include "queue_print.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct queue_options {
    bool yes;
    bool per_group;
};

static const struct opt queue_table[] = {
    {.name = "yes",
     .letter = 'y',
     .type = OPT_FLAG,
     OPT_AT(struct queue_options, yes),
     .command_line_only = true,
     .help = "purge, move: do not ask"},
    {.name = "per-group",
     .type = OPT_FLAG,
     OPT_AT(struct queue_options, per_group),
     .command_line_only = true,
     .help = "rate, limit: of each group of the queue (dtq submit --group)"},
};

/* Fails where a user would not know why the ventilator did not take it. */
static int order_failed(const struct cli *c, dtq_err err, const char *queue)
{
    return cli_fail(c, err, "queue '%s' was not changed", queue);
}

static void say(const struct cli *c, const char *queue, const char *text, const char *key,
                json_t *value)
{
    if (c->json)
        cli_print_json(json_pack("{s:s, s:o}", "queue", queue, key, value));
    else
        printf("%s %s\n", queue, text);
    if (!c->json)
        json_decref(value);
}

/* ---------------------------------------------------------------- list */

static int list(struct cli *c, const struct queue_options *o)
{
    const dtq_queue_info *queues;
    size_t n;
    dtq_err err = dtq_queues(c->client, CLI_ANSWER_MS, &queues, &n);
    json_t *all;

    (void)o;
    if (err != DTQ_OK)
        return cli_fail(c, err, "cannot list queues");
    if (!c->json) {
        queue_print(queues, n);
        return CLI_DONE;
    }
    all = queue_json(queues, n);
    for (size_t i = 0; i < n; i++)
        cli_print_json(json_incref(json_array_get(all, i)));
    json_decref(all);
    return CLI_DONE;
}

/* ---------------------------------------------------------------- pause, resume */

static int pause_one(struct cli *c, const char *queue, const void *arg)
{
    dtq_err err = dtq_queue_pause(c->client, queue, CLI_ANSWER_MS);

    (void)arg;
    if (err != DTQ_OK)
        return order_failed(c, err, queue);
    say(c, queue, "paused", "paused", json_true());
    return CLI_DONE;
}

static int resume_one(struct cli *c, const char *queue, const void *arg)
{
    dtq_err err = dtq_queue_resume(c->client, queue, CLI_ANSWER_MS);

    (void)arg;
    if (err != DTQ_OK)
        return order_failed(c, err, queue);
    say(c, queue, "resumed", "paused", json_false());
    return CLI_DONE;
}

static int do_pause(struct cli *c, const struct queue_options *o)
{
    (void)o;
    return cli_each(c, pause_one, NULL);
}

static int do_resume(struct cli *c, const struct queue_options *o)
{
    (void)o;
    return cli_each(c, resume_one, NULL);
}

/* ---------------------------------------------------------------- rate, limit, ageing */

enum value_kind { VALUE_NONE, VALUE_RATE, VALUE_LIMIT, VALUE_STEP };

/* What stands behind the "/": a unit, or a duration. */
static bool parse_period(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *word;
        uint64_t ms;
    } units[] = {{"s", 1000},          {"sec", 1000},         {"second", 1000},
                 {"m", 60 * 1000},     {"min", 60 * 1000},    {"minute", 60 * 1000},
                 {"h", 3600 * 1000},   {"hour", 3600 * 1000}, {"d", 86400 * 1000},
                 {"day", 86400 * 1000}};

    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(text, units[i].word) == 0) {
            *ret_ms = units[i].ms;
            return true;
        }
    return text_parse_duration(text, ret_ms) == DTQ_OK && *ret_ms != 0;
}

static bool parse_number(const char *text, uint64_t *ret)
{
    return text_parse_u64(text, ret) == DTQ_OK && *ret >= 1 && *ret <= 1000000000;
}

static bool parse_rate(const char *text, uint64_t *ret_tasks, uint64_t *ret_period_ms)
{
    const char *slash = strchr(text, '/');
    char number[24] = "";

    *ret_tasks = *ret_period_ms = 0;
    if (strcmp(text, "none") == 0)
        return true;
    if (slash == NULL || (size_t)(slash - text) >= sizeof number)
        return false;
    memcpy(number, text, (size_t)(slash - text));
    return parse_number(number, ret_tasks) && parse_period(slash + 1, ret_period_ms);
}

static const char *of_each(const struct queue_options *o)
{
    return o->per_group ? " per group" : "";
}

/* What stands behind the queue's name, as the verb wants it. */
struct value {
    uint64_t number;
    uint64_t period_ms;
};

static int parse_value(const struct cli *c, enum value_kind kind, struct value *ret)
{
    const char *word = c->parsed.operands[kind == VALUE_NONE ? 0 : 2];
    bool is_none = strcmp(word, "none") == 0;

    *ret = (struct value){0};
    switch (kind) {
    case VALUE_NONE: return OPT_GO;
    case VALUE_RATE:
        if (!parse_rate(word, &ret->number, &ret->period_ms))
            return cli_error(c, CLI_USAGE, "'%s' is no rate; write 10/s, 600/m, 1/h, 5/30s or none",
                             word);
        return OPT_GO;
    case VALUE_LIMIT:
        if (!is_none && !parse_number(word, &ret->number))
            return cli_error(c, CLI_USAGE,
                             "'%s' is no limit; write a number from 1 on, or none (to let nothing "
                             "run: dtq queue pause)",
                             word);
        return OPT_GO;
    case VALUE_STEP:
        if (!is_none && (text_parse_duration(word, &ret->period_ms) != DTQ_OK ||
                         ret->period_ms == 0 || ret->period_ms > DTQI_DURATION_MS_MAX))
            return cli_error(c, CLI_USAGE,
                             "'%s' is no duration that can be; write 30s, 5m, 1h30m or none", word);
        return OPT_GO;
    }
    return OPT_GO;
}

static int do_rate(struct cli *c, const struct queue_options *o)
{
    const char *queue = c->parsed.operands[1];
    char text[QUEUE_RATE_BYTES + 32] = "rate ";
    struct value v;
    dtq_err err;

    (void)parse_value(c, VALUE_RATE, &v);
    err = o->per_group
              ? dtq_queue_group_rate(c->client, queue, v.number, v.period_ms, CLI_ANSWER_MS)
              : dtq_queue_rate(c->client, queue, v.number, v.period_ms, CLI_ANSWER_MS);
    if (err != DTQ_OK)
        return order_failed(c, err, queue);
    queue_rate_text(v.number, v.period_ms, text + strlen(text));
    if (c->json)
        cli_print_json(json_pack("{s:s, s:I, s:I}", "queue", queue,
                                 o->per_group ? "group_rate" : "rate", (json_int_t)v.number,
                                 o->per_group ? "group_rate_period_ms" : "rate_period_ms",
                                 (json_int_t)v.period_ms));
    else
        printf("%s %s%s\n", queue, text, of_each(o));
    return CLI_DONE;
}

static int do_limit(struct cli *c, const struct queue_options *o)
{
    const char *queue = c->parsed.operands[1];
    char text[48];
    struct value v;
    dtq_err err;

    (void)parse_value(c, VALUE_LIMIT, &v);
    err = o->per_group ? dtq_queue_group_limit(c->client, queue, v.number, CLI_ANSWER_MS)
                       : dtq_queue_limit(c->client, queue, v.number, CLI_ANSWER_MS);
    if (err != DTQ_OK)
        return order_failed(c, err, queue);
    snprintf(text, sizeof text, "limit %s%s", c->parsed.operands[2], of_each(o));
    say(c, queue, text, o->per_group ? "group_limit" : "limit", json_integer((json_int_t)v.number));
    return CLI_DONE;
}

static int do_ageing(struct cli *c, const struct queue_options *o)
{
    const char *queue = c->parsed.operands[1];
    char step[TEXT_DURATION_BYTES] = "none";
    char text[TEXT_DURATION_BYTES + 16];
    struct value v;
    dtq_err err;

    (void)o;
    (void)parse_value(c, VALUE_STEP, &v);
    err = dtq_queue_ageing(c->client, queue, v.period_ms, CLI_ANSWER_MS);
    if (err != DTQ_OK)
        return order_failed(c, err, queue);
    if (v.period_ms != 0)
        text_format_duration(v.period_ms, step);
    snprintf(text, sizeof text, "ageing %s", step);
    say(c, queue, text, "ageing_ms", json_integer((json_int_t)v.period_ms));
    return CLI_DONE;
}

/* ---------------------------------------------------------------- purge */

static uint64_t waiting_in(const dtq_queue_info *queues, size_t n, const char *queue)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(queues[i].name, queue) == 0)
            return queues[i].ready + queues[i].scheduled;
    return 0;
}

/* Somebody who sits there is asked; a script knows what it does. */
static bool is_wanted(struct cli *c, const char *what, const char *queue, const char *to)
{
    const dtq_queue_info *queues;
    char answer[16] = "";
    size_t n;

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    if (dtq_queues(c->client, CLI_ANSWER_MS, &queues, &n) != DTQ_OK)
        return true; /* the order will say what is wrong */
    fprintf(stderr, "%s the %llu tasks that wait in queue '%s'%s%s? [y/N] ", what,
            (unsigned long long)waiting_in(queues, n, queue), queue, to[0] != '\0' ? " to " : "",
            to);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static int purge_one(struct cli *c, const char *queue, const void *arg)
{
    const struct queue_options *o = arg;
    char text[48];
    uint64_t n;
    dtq_err err;

    if (!o->yes && !is_wanted(c, "Cancel", queue, ""))
        return cli_error(c, CLI_CANCELLED, "queue '%s' was not purged", queue);
    err = dtq_queue_purge(c->client, queue, CLI_ANSWER_MS, &n);
    if (err != DTQ_OK)
        return order_failed(c, err, queue);
    snprintf(text, sizeof text, "purged %llu", (unsigned long long)n);
    say(c, queue, text, "purged", json_integer((json_int_t)n));
    return CLI_DONE;
}

static int do_purge(struct cli *c, const struct queue_options *o)
{
    return cli_each(c, purge_one, o);
}

/* ---------------------------------------------------------------- move */

static dtq_err move_pages(struct cli *c, const char *from, const char *to, uint64_t *ret_n)
{
    const dtq_queue_info *queues;
    struct progress bar;
    dtq_cursor cursor = {{0}};
    uint64_t total = 0;
    size_t queues_n;
    int more = 1;
    dtq_err err = dtq_queues(c->client, CLI_ANSWER_MS, &queues, &queues_n);

    if (err == DTQ_OK)
        total = waiting_in(queues, queues_n, from);
    progress_start(&bar, "moving", total);
    while (err == DTQ_OK && more) {
        uint64_t n = 0;

        err = dtq_queue_move_page(c->client, from, to, &cursor, CLI_ANSWER_MS, &n, &more);
        *ret_n += n;
        if (more)
            progress_show(&bar, *ret_n, 0);
    }
    progress_end(&bar);
    return err;
}

static int do_move(struct cli *c, const struct queue_options *o)
{
    const char *from = c->parsed.operands[1];
    const char *to = c->parsed.operands[2];
    uint64_t n = 0;
    dtq_err err;

    if (!o->yes && !is_wanted(c, "Move", from, to))
        return cli_error(c, CLI_CANCELLED, "queue '%s' was not moved", from);
    err = move_pages(c, from, to, &n);
    if (err != DTQ_OK && n == 0)
        return cli_fail(c, err, "queue '%s' was not moved", from);
    if (err != DTQ_OK)
        return cli_fail(c, err, "%llu tasks of queue '%s' were moved; the same command goes on",
                        (unsigned long long)n, from);
    if (c->json)
        cli_print_json(
            json_pack("{s:s, s:s, s:I}", "queue", from, "to", to, "moved", (json_int_t)n));
    else
        printf("%s moved %llu to %s\n", from, (unsigned long long)n, to);
    return CLI_DONE;
}

/* ---------------------------------------------------------------- the command */

static const struct verb {
    const char *name;
    size_t operands_min; /* behind the verb */
    size_t operands_max;
    const char *operands;
    const char *takes; /* options */
    enum value_kind value;
    int (*run)(struct cli *c, const struct queue_options *o);
} verbs[] = {
    {"list", 0, 0, "", "", VALUE_NONE, list},
    {"pause", 1, SIZE_MAX - 1, " QUEUE...", "", VALUE_NONE, do_pause},
    {"resume", 1, SIZE_MAX - 1, " QUEUE...", "", VALUE_NONE, do_resume},
    {"purge", 1, SIZE_MAX - 1, " [--yes] QUEUE...", "yes", VALUE_NONE, do_purge},
    {"move", 2, 2, " [--yes] FROM TO", "yes", VALUE_NONE, do_move},
    {"rate", 2, 2, " [--per-group] QUEUE N/s|N/m|N/h|none", "per-group", VALUE_RATE, do_rate},
    {"limit", 2, 2, " [--per-group] QUEUE N|none", "per-group", VALUE_LIMIT, do_limit},
    {"ageing", 2, 2, " QUEUE DURATION|none", "", VALUE_STEP, do_ageing},
};

#define VERBS_N (sizeof verbs / sizeof *verbs)

static const struct verb *find_verb(const struct cli *c)
{
    const char *word = c->parsed.operands[0];
    const char *names[VERBS_N];

    for (size_t i = 0; i < VERBS_N; i++) {
        if (strcmp(word, verbs[i].name) == 0)
            return &verbs[i];
        names[i] = verbs[i].name;
    }
    cli_no_verb(c, word, names, VERBS_N);
    return NULL;
}

/* What can be said without asking anybody. */
static int check(const struct cli *c, const struct cli_spec *spec, const struct verb *verb)
{
    size_t n = c->parsed.operands_n - 1;
    size_t names = verb->value == VALUE_NONE ? n : 1;
    struct value scratch;

    if (cli_check_options(c, spec, verb->name, verb->takes) != OPT_GO)
        return CLI_USAGE;
    if (n < verb->operands_min || n > verb->operands_max)
        return cli_error(c, CLI_USAGE, "usage: dtq queue %s%s", verb->name, verb->operands);
    for (size_t i = 1; i <= names; i++)
        if (cli_check_name(c, verb->name, c->parsed.operands[i]) != OPT_GO)
            return CLI_USAGE;
    return parse_value(c, verb->value, &scratch);
}

static int run_verb(struct cli *c, const struct cli_spec *spec, const struct queue_options *o)
{
    const struct verb *verb = find_verb(c);
    int status = verb != NULL ? check(c, spec, verb) : CLI_USAGE;

    if (status == OPT_GO)
        status = cli_connect(c, DTQ_FOLLOW_NONE);
    return status == OPT_GO ? cli_flush(c, verb->run(c, o)) : status;
}

int cmd_queue(int argc, char **argv)
{
    struct queue_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "queue",
        .usage = "[OPTION...] list\n"
                 "[OPTION...] pause|resume QUEUE...\n"
                 "[OPTION...] purge [--yes] QUEUE...\n"
                 "[OPTION...] move [--yes] FROM TO\n"
                 "[OPTION...] rate [--per-group] QUEUE N/s|N/m|N/h|none\n"
                 "[OPTION...] limit [--per-group] QUEUE N|none\n"
                 "[OPTION...] ageing QUEUE DURATION|none",
        .summary = "List queues; pause, resume, purge and move them; say what of them runs when.",
        .epilog = "A queue is there from its first task on, or from the first order. Orders hold "
                  "for the whole cluster, at\nonce, and are on the ventilator's disk when the "
                  "command returns.\n"
                  "pause   no more of its tasks start; submitting goes on, and so does what runs\n"
                  "purge   cancels what waits, and says how many; what a worker holds goes on\n"
                  "move    what waits in FROM, due or not, goes to TO; each task keeps its id, "
                  "priority, place and attempts;\n"
                  "        what a worker holds stays. Interrupted, it is begun again to go on\n"
                  "rate    so many tasks are given to workers in a second, minute, hour, or "
                  "DURATION (5/30s), evenly\n"
                  "limit   workers hold so many of its tasks at a time\n"
                  "ageing  each DURATION that a task has waited counts as one priority more, up to "
                  "9, so that none waits for ever\n"
                  "With --per-group rate and limit hold for each group of the queue, beside what "
                  "holds for "
                  "the queue. Pause and purge\n"
                  "are about a queue with all of its groups.",
        .opts = queue_table,
        .opts_n = sizeof queue_table / sizeof *queue_table,
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
