/* dtq cron: entries that make a task again and again. */
#include "cron.h"
#include "cron_zone.h"

#include "proc.h"
#include "submit.h"
#include "table.h"
#include "task_print.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEXT_MAX 1000
#define WHEN_BYTES (TEXT_DURATION_BYTES + 8)
#define WHY_BYTES 512

struct cron_options {
    struct submit_options submit; /* first: its table is used as it is */
    const char *expression;
    uint64_t every_ms;
    bool every_given;
    const char *zone;
    const char *missed;
    int overlap;
    bool replace;
    uint64_t count;
    bool count_given;
    uint64_t from_wall_ms;
};

static const char *const overlap_words[] = {"allow", "skip", NULL};

static const struct opt cron_table[] = {
    {.name = "cron",
     .type = OPT_STRING,
     OPT_AT(struct cron_options, expression),
     .meta = "EXPR",
     .command_line_only = true,
     .help = "add: when, as '*/5 * * * *', with a sixth field in front for the second, or @daily"},
    {.name = "every",
     .type = OPT_DURATION,
     OPT_AT(struct cron_options, every_ms),
     OPT_GIVEN(struct cron_options, every_given),
     .meta = "D",
     .min = 1000,
     .command_line_only = true,
     .help = "add: or so often, from now on"},
    {.name = "tz",
     .type = OPT_STRING,
     OPT_AT(struct cron_options, zone),
     .meta = "ZONE",
     .command_line_only = true,
     .help = "add, next: time zone of the expression, as Europe/Berlin (default: UTC)"},
    {.name = "missed",
     .type = OPT_STRING,
     OPT_AT(struct cron_options, missed),
     .meta = "skip|once|all[:N]",
     .initial = "once",
     .command_line_only = true,
     .help = "add: what becomes of runs that were due while the ventilator was down or the entry "
             "paused: none, one for all of them, or the last N (100) of them"},
    {.name = "overlap",
     .type = OPT_ENUM,
     OPT_AT(struct cron_options, overlap),
     .words = overlap_words,
     .initial = "allow",
     .command_line_only = true,
     .help = "add: no run while the task of the last one is open, with skip"},
    {.name = "replace",
     .type = OPT_FLAG,
     OPT_AT(struct cron_options, replace),
     .command_line_only = true,
     .help = "add: change the entry of that name if there is one"},
    {.name = "count",
     .letter = 'n',
     .type = OPT_INTEGER,
     OPT_AT(struct cron_options, count),
     OPT_GIVEN(struct cron_options, count_given),
     .meta = "N",
     .initial = "5",
     .min = 1,
     .max = NEXT_MAX,
     .command_line_only = true,
     .help = "next: so many times"},
    {.name = "from",
     .type = OPT_TIME,
     OPT_AT(struct cron_options, from_wall_ms),
     .meta = "TIME",
     .command_line_only = true,
     .help = "next: behind this time (RFC 3339; default: now)"},
};

#define CRON_TABLE_N (sizeof cron_table / sizeof *cron_table)

/* Options of `dtq submit` that mean nothing for a task that is made again and again. */
static bool is_left_out(const char *name)
{
    static const char *const names[] = {"eta",   "key",  "key-ttl", "each-line",
                                        "jsonl", "wait", "timeout"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Both tables. @return so many; `ret` has room for all. */
static size_t join_tables(struct opt *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < CRON_TABLE_N; i++)
        ret[n++] = cron_table[i];
    for (size_t i = 0; i < submit_table_n; i++)
        if (!is_left_out(submit_table[i].name))
            ret[n++] = submit_table[i];
    return n;
}

/* ---------------------------------------------------------------- entries as text and JSON */

static void when_text(const dtq_cron_info *e, char ret[WHEN_BYTES])
{
    char every[TEXT_DURATION_BYTES];

    text_format_duration(e->every_ms, every);
    snprintf(ret, WHEN_BYTES, "every %s", every);
}

static void missed_text(const dtq_cron_info *e, char *ret, size_t bytes)
{
    if (e->missed == DTQ_MISSED_ALL)
        snprintf(ret, bytes, "all:%u", e->missed_max);
    else
        snprintf(ret, bytes, "%s", e->missed == DTQ_MISSED_SKIP ? "skip" : "once");
}

static json_t *entry_json(const dtq_cron_info *e)
{
    const dtq_task *t = e->task;
    char missed[32];
    char id[DTQ_ID_TEXT_BYTES];
    json_t *o = json_pack("{s:s, s:s, s:s, s:b}", "name", e->name, "task", t->name, "queue",
                          t->queue, "paused", e->paused);

    missed_text(e, missed, sizeof missed);
    if (e->every_ms != 0)
        json_object_set_new(o, "every_ms", json_integer((json_int_t)e->every_ms));
    else
        json_object_set_new(o, "cron", json_string(e->expression));
    if (e->every_ms == 0)
        json_object_set_new(o, "tz", json_string(e->zone[0] != '\0' ? e->zone : "UTC"));
    json_object_set_new(o, "missed", json_string(missed));
    json_object_set_new(o, "overlap", json_string(overlap_words[e->skip_overlap != 0]));
    cli_json_time(o, "next", e->next_wall_ms);
    cli_json_time(o, "last", e->fired_wall_ms);
    cli_json_time(o, "last_due", e->due_wall_ms);
    dtq_id_format(&e->last_id, id);
    if (e->fired_wall_ms != 0)
        json_object_set_new(o, "last_id", json_string(id));
    json_object_set_new(o, "runs", json_integer((json_int_t)e->fired));
    json_object_set_new(o, "missed_runs", json_integer((json_int_t)e->missed_n));
    json_object_set_new(o, "skipped_runs", json_integer((json_int_t)e->skipped));
    cli_json_time(o, "created", e->created_wall_ms);
    json_object_set_new(o, "why", json_string(e->why));
    if (t->group[0] != '\0') {
        json_object_set_new(o, "group", json_string(t->group));
        json_object_set_new(o, "ordered", json_boolean(t->group_ordered));
    }
    json_object_set_new(o, "priority", json_integer(t->priority));
    json_object_set_new(o, "retries", json_integer(t->retries));
    json_object_set_new(o, "delay_ms", json_integer((json_int_t)t->delay_ms));
    json_object_set_new(o, "expires_ms", json_integer((json_int_t)t->expires_ms));
    json_object_set_new(o, "time_limit_ms", json_integer((json_int_t)t->time_limit_ms));
    json_object_set_new(o, "backoff_min_ms", json_integer((json_int_t)t->backoff_min_ms));
    json_object_set_new(o, "backoff_max_ms", json_integer((json_int_t)t->backoff_max_ms));
    json_object_set_new(o, "retry_on", json_string(t->retry_on));
    json_object_set_new(o, "no_retry_on", json_string(t->no_retry_on));
    json_object_set_new(o, "payload_bytes", json_integer((json_int_t)e->payload_bytes));
    if (t->payload != NULL)
        cli_json_bytes(o, "payload", t->payload, t->payload_bytes);
    return o;
}

static void number_field(const char *name, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    task_field(name, text);
}

static void duration_field(const char *name, uint64_t ms)
{
    char text[TEXT_DURATION_BYTES];

    text_format_duration(ms, text);
    if (ms != 0)
        task_field(name, text);
}

static void print_entry(const dtq_cron_info *e)
{
    char text[WHEN_BYTES];

    printf("%s\n", e->name);
    when_text(e, text);
    task_field("when", e->every_ms != 0 ? text : e->expression);
    if (e->every_ms == 0)
        task_field("zone", e->zone[0] != '\0' ? e->zone : "UTC");
    missed_text(e, text, sizeof text);
    task_field("missed", text);
    task_field("overlap", overlap_words[e->skip_overlap != 0]);
    task_field_time("next", e->next_wall_ms);
    task_field("why", e->why);
    task_field_time("last", e->fired_wall_ms);
    task_field_time("was due", e->due_wall_ms);
    if (e->fired_wall_ms != 0) {
        dtq_id_format(&e->last_id, text);
        task_field("last id", text);
    }
    number_field("runs", e->fired);
    number_field("missed", e->missed_n);
    number_field("skipped", e->skipped);
    task_field_time("created", e->created_wall_ms);
    task_field("task", e->task->name);
    task_field("queue", e->task->queue);
    task_print_group(e->task->group, e->task->group_ordered);
    number_field("priority", e->task->priority);
    number_field("retries", e->task->retries);
    duration_field("delay", e->task->delay_ms);
    duration_field("expires", e->task->expires_ms);
    duration_field("limit", e->task->time_limit_ms);
    task_field("retry on", e->task->retry_on);
    task_field("not on", e->task->no_retry_on);
    number_field("bytes", e->payload_bytes);
    task_print_payload(e->task->payload, e->task->payload_bytes);
}

/* ---------------------------------------------------------------- list, show */

static void time_cell(struct table *t, uint64_t wall_ms)
{
    char text[TEXT_TIME_BYTES] = "-";

    if (wall_ms != 0)
        text_format_time(wall_ms, text);
    table_cell(t, "%s", text);
}

static void add_row(struct table *t, const dtq_cron_info *e)
{
    char when[WHEN_BYTES];

    when_text(e, when);
    table_cell(t, "%s", e->name);
    table_cell(t, "%s", e->every_ms != 0 ? when : e->expression);
    table_cell(t, "%s", e->every_ms != 0 ? "-" : e->zone[0] != '\0' ? e->zone : "UTC");
    table_cell(t, "%s", e->task->name);
    time_cell(t, e->next_wall_ms);
    time_cell(t, e->fired_wall_ms);
    table_cell(t, "%llu", (unsigned long long)e->fired);
    table_cell(t, "%llu", (unsigned long long)e->missed_n);
    table_cell(t, "%llu", (unsigned long long)e->skipped);
    table_cell(t, "%s", e->why);
}

static dtq_err list_pages(struct cli *c, struct table *t)
{
    char after[129] = "";
    dtq_cron_list page;
    dtq_err err;

    do {
        err = dtq_crons(c->client, after[0] != '\0' ? after : NULL, CLI_ANSWER_MS, &page);
        for (size_t i = 0; err == DTQ_OK && i < page.n; i++) {
            if (c->json)
                cli_print_json(entry_json(&page.entries[i]));
            else
                add_row(t, &page.entries[i]);
        }
        if (err == DTQ_OK && page.n != 0)
            snprintf(after, sizeof after, "%s", page.entries[page.n - 1].name);
    } while (err == DTQ_OK && page.more && page.n != 0);
    return err;
}

static int list(struct cli *c, const struct cron_options *o)
{
    static const char *const titles[] = {"NAME",  "WHEN",    "ZONE",     "TASK", "NEXT", "LAST",
                                         ">RUNS", ">MISSED", ">SKIPPED", "WHY",  NULL};
    struct table t;
    dtq_err err;

    (void)o;
    table_init(&t, titles);
    err = list_pages(c, &t);
    if (err == DTQ_OK && !c->json)
        table_print(&t, stdout);
    table_done(&t);
    return err == DTQ_OK ? CLI_DONE : cli_fail(c, err, "cannot list cron entries");
}

static int show_one(struct cli *c, const char *name, const void *arg)
{
    dtq_cron_info e;
    dtq_err err = dtq_cron_show(c->client, name, CLI_ANSWER_MS, &e);

    (void)arg;
    if (err != DTQ_OK)
        return cli_fail(c, err, "cron entry '%s'", name);
    if (c->json)
        cli_print_json(entry_json(&e));
    else
        print_entry(&e);
    return CLI_DONE;
}

static int show(struct cli *c, const struct cron_options *o)
{
    (void)o;
    return cli_each(c, show_one, NULL);
}

/* ---------------------------------------------------------------- add */

static bool parse_missed(const char *text, dtq_cron *cron)
{
    uint64_t max;

    if (strcmp(text, "once") == 0)
        cron->missed = DTQ_MISSED_ONCE;
    else if (strcmp(text, "skip") == 0)
        cron->missed = DTQ_MISSED_SKIP;
    else if (strncmp(text, "all", 3) == 0)
        cron->missed = DTQ_MISSED_ALL;
    else
        return false;
    if (cron->missed != DTQ_MISSED_ALL || text[3] == '\0')
        return true;
    if (text[3] != ':' || text_parse_u64(text + 4, &max) != DTQ_OK || max < 1 || max > 1000)
        return false;
    cron->missed_max = (uint32_t)max;
    return true;
}

/* The entry as it is now: above all, when it fires next. */
static int say_added(struct cli *c, const char *name)
{
    char next[TEXT_TIME_BYTES];
    dtq_cron_info e;
    dtq_err err = dtq_cron_show(c->client, name, CLI_ANSWER_MS, &e);

    if (err != DTQ_OK)
        return cli_fail(c, err, "cron entry '%s' was added, but cannot be shown", name);
    text_format_time(e.next_wall_ms, next);
    if (c->json)
        cli_print_json(entry_json(&e));
    else
        printf("%s %s%s\n", name, e.next_wall_ms != 0 ? "next " : e.why,
               e.next_wall_ms != 0 ? next : "");
    return CLI_DONE;
}

static bool knows_zone(const struct cron_options *o)
{
    struct cron *cron = NULL;
    char why[WHY_BYTES];
    dtq_err err = o->zone != NULL
                      ? cron_parse(dtqi_str("@daily"), dtqi_str(o->zone), &cron, why, sizeof why)
                      : DTQ_OK;

    cron_free(cron);
    return err == DTQ_OK;
}

static int send_entry(struct cli *c, const struct cron_options *o, struct submit_payload payload)
{
    const char *name = c->parsed.operands[1];
    dtq_task task;
    dtq_cron cron;
    dtq_err err;

    submit_task_init(&o->submit, &task);
    task.name = c->parsed.operands[2];
    task.payload = payload.at;
    task.payload_bytes = payload.bytes;
    dtq_cron_init(&cron, name, &task);
    cron.expression = o->expression;
    cron.every_ms = o->every_ms;
    cron.zone = o->zone;
    cron.skip_overlap = o->overlap;
    cron.replace = o->replace;
    (void)parse_missed(o->missed, &cron);
    err = dtq_cron_add(c->client, &cron, CLI_ANSWER_MS);
    if (err == DTQ_EREFUSED && !knows_zone(o))
        return cli_error(c, CLI_USAGE, "--tz: %s", dtq_client_errmsg(c->client));
    if (err != DTQ_OK)
        return cli_fail(c, err, "cron entry '%s' was not added", name);
    return say_added(c, name);
}

static int add(struct cli *c, const struct cron_options *o)
{
    struct submit_payload payload;
    int status = submit_payload_get(
        c, &o->submit, c->parsed.operands_n == 4 ? c->parsed.operands[3] : NULL, &payload);

    if (status == OPT_GO)
        status = send_entry(c, o, payload);
    submit_payload_done(&payload);
    return status;
}

/* Where there is no database of zones, only the ventilator can tell. */
static bool can_tell_zones(void)
{
    struct cron_zone *any = cron_zone_open(dtqi_str("Etc/UTC"));
    bool is_there = any != NULL;

    cron_zone_close(any);
    return is_there;
}

static int check_zone(const struct cli *c, const struct cron_options *o)
{
    struct cron *cron = NULL;
    char why[WHY_BYTES] = "out of memory";

    if (o->zone == NULL || !can_tell_zones() ||
        cron_parse(dtqi_str("@daily"), dtqi_str(o->zone), &cron, why, sizeof why) == DTQ_OK) {
        cron_free(cron);
        return OPT_GO;
    }
    return cli_error(c, CLI_USAGE, "--tz: %s", why);
}

static int check_when(const struct cli *c, const struct cron_options *o)
{
    struct cron *cron = NULL;
    char why[WHY_BYTES] = "out of memory";

    if ((o->expression != NULL) == o->every_given)
        return cli_error(c, CLI_USAGE, "add: give one of --cron EXPR and --every D");
    if (o->every_given && o->zone != NULL)
        return cli_error(c, CLI_USAGE, "add: --tz goes with --cron; an interval has no zone");
    if (o->zone != NULL && o->zone[0] == '\0')
        return cli_error(c, CLI_USAGE, "--tz: give the name of a time zone, as Europe/Berlin");
    if (!o->every_given &&
        cron_parse(dtqi_str(o->expression), dtqi_str(""), &cron, why, sizeof why) != DTQ_OK)
        return cli_error(c, CLI_USAGE, "--cron: %s", why);
    cron_free(cron);
    return check_zone(c, o);
}

/* What can be said without asking anybody. */
static int check_add(const struct cli *c, const struct cron_options *o)
{
    dtq_cron scratch;

    if (submit_refuse_command(c) != OPT_GO || check_when(c, o) != OPT_GO)
        return CLI_USAGE;
    if (!parse_missed(o->missed, &scratch))
        return cli_error(c, CLI_USAGE,
                         "--missed: '%s' is not skip, once, all or all:N with N from 1 to 1000",
                         o->missed);
    if (o->submit.ordered && o->submit.group == NULL)
        return cli_error(c, CLI_USAGE, "--ordered: of which group? Give --group KEY");
    if (cli_check_name(c, "NAME", c->parsed.operands[1]) != OPT_GO ||
        cli_check_name(c, "TASK", c->parsed.operands[2]) != OPT_GO)
        return CLI_USAGE;
    return submit_check_task(c, &o->submit);
}

/* ---------------------------------------------------------------- rm, pause, resume, run */

struct order {
    const char *done;
    const char *key; /* of JSON .. */
    bool is;         /* .. and what it is now */
    dtq_err (*give)(dtq_client *client, const char *name, int32_t timeout_ms);
};

static int order_one(struct cli *c, const char *name, const void *arg)
{
    const struct order *order = arg;
    dtq_err err = order->give(c->client, name, CLI_ANSWER_MS);

    if (err != DTQ_OK)
        return cli_fail(c, err, "cron entry '%s' was not changed", name);
    if (c->json)
        cli_print_json(json_pack("{s:s, s:b}", "name", name, order->key, order->is));
    else
        printf("%s %s\n", name, order->done);
    return CLI_DONE;
}

static int remove_each(struct cli *c, const struct cron_options *o)
{
    (void)o;
    return cli_each(c, order_one, &(struct order){"removed", "removed", true, dtq_cron_remove});
}

static int pause_each(struct cli *c, const struct cron_options *o)
{
    (void)o;
    return cli_each(c, order_one, &(struct order){"paused", "paused", true, dtq_cron_pause});
}

static int resume_each(struct cli *c, const struct cron_options *o)
{
    (void)o;
    return cli_each(c, order_one, &(struct order){"resumed", "paused", false, dtq_cron_resume});
}

static int run_one(struct cli *c, const char *name, const void *arg)
{
    char text[DTQ_ID_TEXT_BYTES];
    dtq_id id = {{0}};
    dtq_err err = dtq_cron_run(c->client, name, CLI_ANSWER_MS, &id);

    (void)arg;
    if (err != DTQ_OK)
        return cli_fail(c, err, "cron entry '%s' was not run", name);
    dtq_id_format(&id, text);
    if (c->json)
        cli_print_json(json_pack("{s:s, s:s}", "name", name, "id", text));
    else
        puts(text);
    return CLI_DONE;
}

static int run_each(struct cli *c, const struct cron_options *o)
{
    (void)o;
    return cli_each(c, run_one, NULL);
}

/* ---------------------------------------------------------------- next */

/* The time as clocks of the zone show it: "2026-03-29T03:00:00+02:00". */
static void local_text(const struct cron *cron, uint64_t wall_ms, char *ret, size_t bytes)
{
    int32_t offset = cron_offset(cron, wall_ms);
    uint32_t minutes = (uint32_t)(offset < 0 ? -offset : offset) / 60;
    int64_t shown_ms = (int64_t)wall_ms + (int64_t)offset * 1000;
    char utc[TEXT_TIME_BYTES];

    text_format_time(shown_ms > 0 ? (uint64_t)shown_ms : 0, utc);
    snprintf(ret, bytes, "%.19s%c%02u:%02u", utc, offset < 0 ? '-' : '+', minutes / 60,
             minutes % 60);
}

static int print_times(const struct cli *c, const struct cron *cron, const struct cron_options *o)
{
    uint64_t at = o->from_wall_ms != 0 ? o->from_wall_ms : proc_wall_ms();

    for (uint64_t i = 0; i < o->count && cron_next(cron, at, &at); i++) {
        char local[TEXT_TIME_BYTES + 8];
        json_t *row;

        local_text(cron, at, local, sizeof local);
        if (!c->json) {
            puts(local);
            continue;
        }
        row = json_pack("{s:s}", "local", local);
        cli_json_time(row, "time", at);
        cli_print_json(row);
    }
    return CLI_DONE;
}

/* Asks nobody: the expression is read here as the ventilator reads it. */
static int next(struct cli *c, const struct cron_options *o)
{
    const char *zone = o->zone != NULL ? o->zone : "";
    struct cron *cron = NULL;
    char why[WHY_BYTES] = "out of memory";
    dtq_err err =
        cron_parse(dtqi_str(c->parsed.operands[1]), dtqi_str(zone), &cron, why, sizeof why);
    int status;

    if (err != DTQ_OK)
        return cli_error(c, err == DTQ_EINVAL ? CLI_USAGE : CLI_FAILED, "%s", why);
    status = print_times(c, cron, o);
    cron_free(cron);
    return status;
}

/* ---------------------------------------------------------------- the command */

static const struct verb {
    const char *name;
    size_t operands_min; /* behind the verb */
    size_t operands_max;
    const char *operands;
    const char *takes; /* options; NULL: those of a task, too */
    bool is_alone;     /* it needs no ventilator */
    int (*run)(struct cli *c, const struct cron_options *o);
} verbs[] = {
    {"add", 2, 3, " NAME --cron EXPR|--every D [OPTION...] TASK [PAYLOAD]", NULL, false, add},
    {"list", 0, 0, "", "", false, list},
    {"show", 1, SIZE_MAX - 1, " NAME...", "", false, show},
    {"rm", 1, SIZE_MAX - 1, " NAME...", "", false, remove_each},
    {"pause", 1, SIZE_MAX - 1, " NAME...", "", false, pause_each},
    {"resume", 1, SIZE_MAX - 1, " NAME...", "", false, resume_each},
    {"run", 1, SIZE_MAX - 1, " NAME...", "", false, run_each},
    {"next", 1, 1, " EXPR [--tz ZONE] [-n N] [--from TIME]", "tz count from", true, next},
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

static int run_verb(struct cli *c, const struct cli_spec *spec, const struct cron_options *o)
{
    const struct verb *verb = find_verb(c);
    size_t n = c->parsed.operands_n - 1;
    int status = OPT_GO;

    if (verb == NULL)
        return CLI_USAGE;
    if (n < verb->operands_min || n > verb->operands_max)
        return cli_error(c, CLI_USAGE, "usage: dtq cron %s%s", verb->name, verb->operands);
    if (verb->takes != NULL)
        status = cli_check_options(c, spec, verb->name, verb->takes);
    else if (o->count_given || o->from_wall_ms != 0)
        status =
            cli_error(c, CLI_USAGE, "add has no option --%s", o->count_given ? "count" : "from");
    else
        status = check_add(c, o);
    if (status != OPT_GO)
        return status;
    if (!verb->is_alone)
        status = cli_connect(c, DTQ_FOLLOW_NONE);
    return status == OPT_GO ? cli_flush(c, verb->run(c, o)) : status;
}

int cmd_cron(int argc, char **argv)
{
    struct opt table[CRON_TABLE_N + 64];
    struct cron_options o = {.submit = {0}};
    struct cli c;
    struct cli_spec spec = {
        .command = "cron",
        .usage = "add NAME --cron EXPR|--every D [OPTION...] TASK [PAYLOAD]\n"
                 "list\nshow|rm|pause|resume|run NAME...\n"
                 "next EXPR [--tz ZONE] [-n N] [--from TIME]",
        .summary = "Entries that submit a task again and again: by the clock, or at an interval.",
        .epilog =
            "An expression has the fields minute (0-59), hour (0-23), day of month (1-31), month "
            "(1-12, JAN-DEC) and\n"
            "day of week (0-7, SUN-SAT), and may have the second (0-59) before them; in each *, "
            "lists (1,2), ranges\n"
            "(1-5) and steps (*/2, 8-18/2). With both days given one of them suffices. Or: "
            "@yearly, @monthly,\n"
            "@weekly, @daily, @hourly.\n"
            "When clocks are set, a fixed time runs once: right after the gap that leaves it out, "
            "and the first of two;\n"
            "with * or / in the hour it goes by elapsed time.\n"
            "run prints the id of a run that is made at once, of a paused entry too. next says "
            "when an expression\n"
            "would fire, and asks nobody.\n\n"
            "  dtq cron add nightly --cron '0 3 * * *' --tz Europe/Berlin --missed once report\n"
            "  dtq cron add beat --every 30s --overlap skip --expires 20s ping host-1\n"
            "  dtq cron next '30 2 * * *' --tz Europe/Berlin --from 2026-03-27T00:00:00Z",
        .opts = table,
        .values = &o,
        .operands_min = 1,
        .operands_max = SIZE_MAX,
    };
    int status;

    assert(submit_table_n <= 64);
    spec.opts_n = join_tables(table);
    status = cli_parse(&c, &spec, argc, argv);
    if (status == OPT_GO)
        status = run_verb(&c, &spec, &o);
    cli_done(&c);
    return status;
}
