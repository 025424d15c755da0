/* dtq submit: one task, or many. */
#include "submit.h"

#include "bounds.h"
#include "last.h"
#include "proc.h"
#include "retry_rules.h"
#include "text.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct opt submit_table[] = {
    {.name = "queue",
     .letter = 'q',
     .type = OPT_STRING,
     OPT_AT(struct submit_options, queue),
     .meta = "NAME",
     .initial = "default",
     .help = "the queue to put it into"},
    {.name = "priority",
     .letter = 'p',
     .type = OPT_INTEGER,
     OPT_AT(struct submit_options, priority),
     .meta = "0..9",
     .initial = "5",
     .max = 9,
     .help = "within its queue; 9 comes first"},
    {.name = "delay",
     .type = OPT_DURATION,
     OPT_AT(struct submit_options, delay_ms),
     .meta = "D",
     .help = "do not start it before so long from now"},
    {.name = "eta",
     .type = OPT_TIME,
     OPT_AT(struct submit_options, eta_wall_ms),
     .meta = "TIME",
     .help = "do not start it before this time (RFC 3339), by the clock of the ventilator's host"},
    {.name = "expires",
     .type = OPT_DURATION,
     OPT_AT(struct submit_options, expires_ms),
     .meta = "D",
     .min = 1,
     .help = "if it has not started by then, it never does"},
    {.name = "retries",
     .type = OPT_INTEGER,
     OPT_AT(struct submit_options, retries),
     .meta = "N",
     .initial = "3",
     .max = DTQI_RETRIES_MAX,
     .help = "how many failed attempts are repeated"},
    {.name = "backoff",
     .type = OPT_STRING,
     OPT_AT(struct submit_options, backoff),
     .meta = "MIN..MAX",
     .initial = "1s..10m",
     .help = "wait before a retry: doubles from MIN up to MAX, at random below that"},
    {.name = "no-retry",
     .type = OPT_FLAG,
     OPT_AT(struct submit_options, no_retry),
     .help = "the same as --retries 0"},
    {.name = "retry-on",
     .type = OPT_STRING,
     OPT_AT(struct submit_options, retry_on),
     .meta = "LIST",
     .help = "repeat only these failures, as in exit:75,exit:100-120,timeout,signal:KILL; exit "
             "statuses are 1 to 255, signals 1 to 64"},
    {.name = "no-retry-on",
     .type = OPT_STRING,
     OPT_AT(struct submit_options, no_retry_on),
     .meta = "LIST",
     .help = "never repeat these failures, also if --retry-on names them"},
    {.name = "key",
     .type = OPT_STRING,
     OPT_AT(struct submit_options, key),
     .meta = "K",
     .command_line_only = true,
     .help =
         "idempotency key, 1 to 128 letters, digits and any of _ . : -; while it is remembered, "
         "the same task is not accepted twice; the first one's id is printed"},
    {.name = "key-ttl",
     .type = OPT_DURATION,
     OPT_AT(struct submit_options, key_ttl_ms),
     .meta = "D",
     .help = "with --key: how long it is remembered (default: 1d)"},
    {.name = "group",
     .letter = 'g',
     .type = OPT_STRING,
     OPT_AT(struct submit_options, group),
     .meta = "KEY",
     .command_line_only = true,
     .help = "say one for each user: the groups of a queue get fair shares of it; 1 to 128 "
             "letters, digits and any of _ . : -"},
    {.name = "ordered",
     .type = OPT_FLAG,
     OPT_AT(struct submit_options, ordered),
     .command_line_only = true,
     .help = "its group runs one task at a time, in the order of submission"},
    {.name = "time-limit",
     .type = OPT_DURATION,
     OPT_AT(struct submit_options, time_limit_ms),
     .meta = "D",
     .help = "kill an attempt that runs longer"},
    {.name = "result-ttl",
     .type = OPT_DURATION,
     OPT_AT(struct submit_options, result_ttl_ms),
     .meta = "D",
     .help = "how long the sink keeps the outcome and the result"},
    {.name = "no-result",
     .type = OPT_FLAG,
     OPT_AT(struct submit_options, no_result),
     .help = "keep the outcome, drop the result"},
    {.name = "payload-file",
     .type = OPT_PATH,
     OPT_AT(struct submit_options, payload_file),
     .meta = "F",
     .command_line_only = true,
     .help = "the payload is the content of this file"},
    {.name = "stdin",
     .type = OPT_FLAG,
     OPT_AT(struct submit_options, from_stdin),
     .command_line_only = true,
     .help = "the payload is read from standard input"},
    {.name = "each-line",
     .type = OPT_PATH,
     OPT_AT(struct submit_options, each_line),
     .meta = "FILE|-",
     .command_line_only = true,
     .help = "one task for each line, which is its payload"},
    {.name = "jsonl",
     .type = OPT_PATH,
     OPT_AT(struct submit_options, jsonl),
     .meta = "FILE|-",
     .command_line_only = true,
     .help = "one task for each line, a JSON object"},
    {.name = "wait",
     .type = OPT_FLAG,
     OPT_AT(struct submit_options, wait),
     .command_line_only = true,
     .help = "wait for the outcome and print the result instead of the id"},
    {.name = "timeout",
     .type = OPT_DURATION,
     OPT_AT(struct submit_options, timeout_ms),
     OPT_GIVEN(struct submit_options, timeout_given),
     .meta = "D",
     .help = "longest time that the whole command waits for the cluster; of many lines, it begins "
             "anew when all have their answers (default: 30 s for a confirmation, of many lines "
             "for the next one; for ever for results)"},
};
const size_t submit_table_n = sizeof submit_table / sizeof *submit_table;

const char *submit_parse_backoff(const char *text, uint64_t *ret_min_ms, uint64_t *ret_max_ms)
{
    static const char no_range[] = "is not MIN..MAX, as in 1s..10m";
    const char *dots = strstr(text, "..");
    char min[64];

    if (dots == NULL || (size_t)(dots - text) >= sizeof min)
        return no_range;
    memcpy(min, text, (size_t)(dots - text));
    min[dots - text] = '\0';
    if (text_parse_duration(min, ret_min_ms) != DTQ_OK ||
        text_parse_duration(dots + 2, ret_max_ms) != DTQ_OK)
        return no_range;
    return *ret_min_ms <= *ret_max_ms ? NULL : "has a MIN that is above its MAX";
}

void submit_task_init(const struct submit_options *o, dtq_task *ret_task)
{
    dtq_task_init(ret_task, NULL, NULL, 0);
    ret_task->queue = o->queue;
    ret_task->priority = (uint32_t)o->priority;
    ret_task->retries = o->no_retry ? 0 : (uint32_t)o->retries;
    submit_parse_backoff(o->backoff, &ret_task->backoff_min_ms, &ret_task->backoff_max_ms);
    ret_task->time_limit_ms = o->time_limit_ms;
    ret_task->delay_ms = o->delay_ms;
    ret_task->not_before_wall_ms = o->eta_wall_ms;
    ret_task->expires_ms = o->expires_ms;
    ret_task->result_ttl_ms = o->result_ttl_ms;
    ret_task->no_result = o->no_result;
    ret_task->retry_on = o->retry_on;
    ret_task->no_retry_on = o->no_retry_on;
    ret_task->key = o->key;
    ret_task->key_ttl_ms = o->key_ttl_ms;
    ret_task->group = o->group;
    ret_task->group_ordered = o->ordered;
}

/* One byte more than allowed is read, so that a file that is too large is refused and not cut. */
static int read_payload(const struct cli *c, FILE *f, const char *path, struct submit_payload *ret)
{
    size_t room = (size_t)DTQ_PAYLOAD_BYTES_MAX + 1;

    ret->at = malloc(room);
    if (ret->at == NULL)
        cli_out_of_memory();
    ret->is_owned = true;
    ret->bytes = fread(ret->at, 1, room, f);
    if (ferror(f))
        return cli_error(c, CLI_FAILED, "cannot read %s: %s", path, strerror(errno));
    if (ret->bytes == room)
        return cli_error(c, CLI_USAGE, "%s is larger than a payload may be (%u bytes)", path,
                         DTQ_PAYLOAD_BYTES_MAX);
    return OPT_GO;
}

static int payload_of_options(const struct cli *c, const struct submit_options *o,
                              struct submit_payload *ret)
{
    FILE *f;
    int status;

    if (o->from_stdin)
        return read_payload(c, stdin, "standard input", ret);
    f = fopen(o->payload_file, "re");
    if (f == NULL)
        return cli_error(c, CLI_FAILED, "cannot open %s: %s", o->payload_file, strerror(errno));
    status = read_payload(c, f, o->payload_file, ret);
    fclose(f);
    return status;
}

int submit_payload_get(const struct cli *c, const struct submit_options *o, char *operand,
                       struct submit_payload *ret)
{
    bool is_elsewhere = o->from_stdin || o->payload_file != NULL;

    *ret = (struct submit_payload){0};
    if (o->from_stdin && o->payload_file != NULL)
        return cli_error(c, CLI_USAGE, "give one of --stdin and --payload-file");
    if (is_elsewhere && operand != NULL)
        return cli_error(c, CLI_USAGE, "the payload is given twice: as '%s' and by %s", operand,
                         o->from_stdin ? "--stdin" : "--payload-file");
    if (is_elsewhere)
        return payload_of_options(c, o, ret);
    if (operand != NULL)
        *ret = (struct submit_payload){operand, strlen(operand), false};
    return OPT_GO;
}

void submit_payload_done(struct submit_payload *payload)
{
    if (payload->is_owned)
        free(payload->at);
}

/* ^C while it waits: the task goes on, and its id is still to be had. */
static char interrupted_text[DTQ_ID_TEXT_BYTES + 128];

static void on_interrupt(int number)
{
    ssize_t n = write(STDERR_FILENO, interrupted_text, strlen(interrupted_text));

    (void)number;
    (void)n;
    _exit(CLI_CANCELLED);
}

static void say_id_when_interrupted(const char *id)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    snprintf(interrupted_text, sizeof interrupted_text,
             "\ndtq submit: %s goes on; `dtq wait` waits for it, `dtq cancel` takes it back\n", id);
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

static int wait_for_result(struct cli *c, const dtq_id *id, int32_t timeout_ms)
{
    char text[DTQ_ID_TEXT_BYTES];
    char reason[64];
    dtq_result r;
    dtq_err err;

    dtq_id_format(id, text);
    err = dtq_wait_one(c->client, id, timeout_ms, &r);
    if (err != DTQ_OK)
        return cli_fail(c, err, "%s was accepted, but its outcome is not known yet", text);
    if (c->json) {
        cli_print_json(cli_json_result(&r, true));
    } else if (r.state == DTQ_SUCCEEDED) {
        fwrite(r.body, 1, r.body_bytes, stdout);
        if (r.body_bytes > 0 && ((const char *)r.body)[r.body_bytes - 1] != '\n')
            putchar('\n');
    } else {
        cli_reason_text(r.reason, r.code, reason, sizeof reason);
        cli_error(c, 0, "%s %s%s%s%s%.*s", text, dtq_state_name(r.state),
                  r.state == DTQ_FAILED ? " (" : "", r.state == DTQ_FAILED ? reason : "",
                  r.state == DTQ_FAILED ? "): " : "", (int)r.body_bytes, (const char *)r.body);
    }
    return cli_flush(c, cli_status_of_state(r.state));
}

void submit_say_busy(const struct cli *c, const struct submit_options *o, int status)
{
    const char *queue = o->jsonl != NULL ? NULL : o->queue; /* each line may name another */

    if (status == CLI_BUSY)
        cli_error(c, status,
                  "%s%s%stry again later, or give a longer --timeout; `dtq status` shows sinks and "
                  "workers, `dtq queue list` what waits",
                  queue != NULL ? "queue " : "", queue != NULL ? queue : "",
                  queue != NULL ? ": " : "");
}

static int say_unconfirmed(const struct cli *c, const struct submit_options *o, dtq_err err,
                           const char *id)
{
    bool is_unknown = err == DTQ_EUNKNOWN;
    int status = cli_fail(c, err, "not confirmed%s%s",
                          is_unknown ? ", it may run all the same: " : "", is_unknown ? id : "");

    submit_say_busy(c, o, status);
    return status;
}

static void remember(const dtq_id *id)
{
    struct last last;

    last_begin(&last);
    last_add(&last, id);
    last_end(&last);
}

static int submit_one(struct cli *c, const struct submit_options *o, const char *name,
                      struct submit_payload payload)
{
    char text[DTQ_ID_TEXT_BYTES];
    uint64_t started_ms = proc_now_ms();
    dtq_task task;
    dtq_err err;
    dtq_id id;

    submit_task_init(o, &task);
    task.name = name;
    task.payload = payload.at;
    task.payload_bytes = payload.bytes;
    err = dtq_submit(c->client, &task,
                     o->timeout_given ? cli_timeout(true, o->timeout_ms) : SUBMIT_CONFIRM_MS, &id);
    if (err == DTQ_OK || err == DTQ_EUNKNOWN || err == DTQ_EEXISTS) {
        dtq_id_format(&id, text);
        if (o->wait)
            say_id_when_interrupted(text);
        remember(&id);
    }
    if (err == DTQ_EEXISTS)
        cli_error(c, 0, "the key stands for a task that was submitted before; this is its id");
    else if (err != DTQ_OK)
        return say_unconfirmed(c, o, err, text);
    if (o->wait) {
        uint64_t spent_ms = proc_now_ms() - started_ms;

        return wait_for_result(
            c, &id,
            cli_timeout(o->timeout_given, o->timeout_ms > spent_ms ? o->timeout_ms - spent_ms : 0));
    }
    if (c->json)
        cli_print_json(json_pack("{s:s, s:b}", "id", text, "existing", err == DTQ_EEXISTS));
    else
        puts(text);
    return cli_flush(c, CLI_DONE) == CLI_DONE
               ? CLI_DONE
               : cli_error(c, CLI_FAILED, "%s was accepted all the same", text);
}

static int submit_single(struct cli *c, const struct submit_options *o)
{
    struct submit_payload payload;
    int status = submit_payload_get(c, o, c->parsed.operands_n == 2 ? c->parsed.operands[1] : NULL,
                                    &payload);

    if (status == OPT_GO)
        status = submit_one(c, o, c->parsed.operands[0], payload);
    submit_payload_done(&payload);
    return status;
}

int submit_refuse_command(const struct cli *c)
{
    if (c->parsed.dashes_at == SIZE_MAX)
        return OPT_GO;
    return cli_error(c, CLI_USAGE,
                     "tasks that are commands ('-- COMMAND') are not in this version: name a "
                     "handler of the workers instead");
}

static int check_rules(const struct cli *c, const char *option, const char *rules)
{
    const char *flaw = rules != NULL ? dtqi_retry_rules_flaw(dtqi_str(rules)) : NULL;

    if (rules != NULL && rules[0] == '\0')
        return cli_error(c, CLI_USAGE, "%s: the list is empty", option);
    return flaw == NULL ? OPT_GO : cli_error(c, CLI_USAGE, "%s: '%s' %s", option, rules, flaw);
}

int submit_check_task(const struct cli *c, const struct submit_options *o)
{
    uint64_t min_ms;
    uint64_t max_ms;
    const char *flaw = submit_parse_backoff(o->backoff, &min_ms, &max_ms);

    if (flaw != NULL)
        return cli_error(c, CLI_USAGE, "--backoff: '%s' %s", o->backoff, flaw);
    if (check_rules(c, "--retry-on", o->retry_on) != OPT_GO ||
        check_rules(c, "--no-retry-on", o->no_retry_on) != OPT_GO)
        return CLI_USAGE;
    if (cli_check_name(c, "--queue", o->queue) != OPT_GO ||
        cli_check_name(c, "--key", o->key) != OPT_GO ||
        cli_check_name(c, "--group", o->group) != OPT_GO)
        return CLI_USAGE;
    return OPT_GO;
}

/* What goes together, before anything is sent. */
static int check(const struct cli *c, const struct submit_options *o)
{
    int ways =
        o->from_stdin + (o->payload_file != NULL) + (o->each_line != NULL) + (o->jsonl != NULL);
    size_t operands = c->parsed.operands_n;

    if (submit_refuse_command(c) != OPT_GO)
        return CLI_USAGE;
    if (ways > 1)
        return cli_error(c, CLI_USAGE,
                         "give one of --stdin, --payload-file, --each-line and --jsonl");
    if (o->delay_ms != 0 && o->eta_wall_ms != 0)
        return cli_error(c, CLI_USAGE, "give one of --delay and --eta");
    if (o->ordered && o->group == NULL && o->jsonl == NULL)
        return cli_error(c, CLI_USAGE, "--ordered: of which group? Give --group KEY");
    if (o->key == NULL && o->jsonl == NULL && cli_is_typed(c, "key-ttl"))
        return cli_error(c, CLI_USAGE, "--key-ttl: of which key? Give --key K");
    if (o->jsonl != NULL && operands != 0)
        return cli_error(c, CLI_USAGE, "--jsonl: the objects name their tasks; '%s' is too much",
                         c->parsed.operands[0]);
    if (o->jsonl == NULL && operands == 0)
        return cli_error(c, CLI_USAGE, "which task? Give its NAME; `dtq submit --help` tells more");
    if (o->each_line != NULL && operands != 1)
        return cli_error(c, CLI_USAGE, "--each-line: the lines are the payloads; '%s' is too much",
                         c->parsed.operands[1]);
    if (o->jsonl == NULL && cli_check_name(c, "NAME", c->parsed.operands[0]) != OPT_GO)
        return CLI_USAGE;
    return submit_check_task(c, o);
}

int cmd_submit(int argc, char **argv)
{
    struct submit_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "submit",
        .usage = "[OPTION...] NAME [PAYLOAD]\n--each-line FILE|- [OPTION...] NAME\n--jsonl FILE|- "
                 "[OPTION...]",
        .summary = "Submit tasks and print their ids once they are safe.",
        .epilog = "An object of --jsonl has name (needed), payload (a string, or any JSON value, "
                  "which is passed on as\n"
                  "text) or payload_base64, and as needed queue, priority, delay, eta, expires, "
                  "retries, backoff,\n"
                  "retry_on, no_retry_on, key, key_ttl, group, ordered, time_limit, result_ttl, "
                  "no_result; options are\n"
                  "the default for all. A line that is not valid is named and left out, the others "
                  "are submitted;\n"
                  "the status is then 1.\n\n"
                  "Without an id, `dtq wait`, `result`, `show` and `explain` mean the tasks of the "
                  "last submit, as `last` does;\n"
                  "where none was accepted, none. Scripts that run at once share it: keep the ids, "
                  "or set XDG_STATE_HOME.\n\n"
                  "  dtq submit primes.check 3333333333333301 --wait\n"
                  "  printf 'a\\nb\\n' | dtq submit --each-line - upper\n"
                  "  echo '{\"name\":\"upper\",\"payload\":\"x\",\"delay\":\"5s\"}' | dtq submit "
                  "--jsonl -",
        .opts = submit_table,
        .opts_n = submit_table_n,
        .values = &o,
        .operands_max = 2,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status != CLI_DONE)
        last_forget();
    if (status == OPT_GO)
        status = check(&c, &o);
    if (status == OPT_GO)
        status =
            cli_connect(&c, (o.each_line != NULL || o.jsonl != NULL) && o.wait ? DTQ_FOLLOW_OWN
                                                                               : DTQ_FOLLOW_NONE);
    if (status == OPT_GO) {
        if (o.each_line != NULL)
            status = submit_each_line(&c, &o, c.parsed.operands[0]);
        else if (o.jsonl != NULL)
            status = submit_jsonl(&c, &o);
        else
            status = submit_single(&c, &o);
    }
    cli_done(&c);
    return status;
}
