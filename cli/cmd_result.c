/* dtq result: what tasks returned. */
#include "cli.h"

#include "proc.h"

#include <stdio.h>
#include <stdlib.h>

struct result_options {
    bool wait;
    bool raw;
    uint64_t timeout_ms;
    bool timeout_given;
};

static const struct opt result_table[] = {
    {.name = "wait",
     .type = OPT_FLAG,
     OPT_AT(struct result_options, wait),
     .command_line_only = true,
     .help = "wait for tasks that are not finished"},
    {.name = "raw",
     .type = OPT_FLAG,
     OPT_AT(struct result_options, raw),
     .command_line_only = true,
     .help = "the bytes of the results as they are, without a newline behind each"},
    {.name = "timeout",
     .type = OPT_DURATION,
     OPT_AT(struct result_options, timeout_ms),
     OPT_GIVEN(struct result_options, timeout_given),
     .meta = "D",
     .help = "with --wait: longest wait (default: for ever)"},
};

#define PAGE 256u /* results in memory at once */

static void print_failure(const struct cli *c, const dtq_result *r)
{
    char text[DTQ_ID_TEXT_BYTES];
    char reason[64];

    dtq_id_format(&r->id, text);
    cli_reason_text(r->reason, r->code, reason, sizeof reason);
    if (r->state == DTQ_FAILED)
        cli_error(c, 0, "%s failed (%s): %.*s", text, reason, (int)r->body_bytes,
                  (const char *)r->body);
    else if (r->state < DTQ_SUCCEEDED && r->state != DTQ_NOT_FOUND)
        cli_error(c, 0, "%s is %s; --wait waits for it", text, dtq_state_name(r->state));
    else
        cli_error(c, 0, "%s: %s", text, dtq_state_name(r->state));
}

static int print_result(const struct cli *c, const struct result_options *o, const dtq_result *r)
{
    if (c->json) {
        cli_print_json(cli_json_result(r, true));
    } else if (r->state != DTQ_SUCCEEDED) {
        print_failure(c, r);
    } else {
        fwrite(r->body, 1, r->body_bytes, stdout);
        if (!o->raw && (r->body_bytes == 0 || ((const char *)r->body)[r->body_bytes - 1] != '\n'))
            putchar('\n');
    }
    return cli_status_of_state(r->state);
}

/* @return false: the page could not be had, `status` is what to exit with. */
static bool print_page(struct cli *c, const struct result_options *o, const dtq_id *ids, size_t n,
                       uint64_t deadline_ms, int *status)
{
    dtq_result results[PAGE];
    uint64_t now_ms = proc_now_ms();
    int32_t left =
        cli_timeout(deadline_ms != UINT64_MAX, deadline_ms > now_ms ? deadline_ms - now_ms : 0);
    dtq_err err = o->wait ? dtq_wait_all(c->client, ids, n, left, results)
                          : dtq_look(c->client, ids, n, CLI_ANSWER_MS, results);

    if (err != DTQ_OK) {
        *status = cli_fail(c, err, "no result");
        return false;
    }
    for (size_t i = 0; i < n; i++)
        *status = cli_worse(*status, print_result(c, o, &results[i]));
    return true;
}

static int print_results(struct cli *c, const struct result_options *o, const struct cli_ids *ids)
{
    uint64_t deadline_ms = o->timeout_given ? proc_now_ms() + o->timeout_ms : UINT64_MAX;
    int status = CLI_DONE;

    for (size_t i = 0; i < ids->n; i += PAGE) {
        size_t n = ids->n - i < PAGE ? ids->n - i : PAGE;

        if (!print_page(c, o, ids->at + i, n, deadline_ms, &status))
            return status;
    }
    return cli_flush(c, status);
}

int cmd_result(int argc, char **argv)
{
    struct result_options o;
    struct cli_ids ids = {0};
    struct cli c;
    struct cli_spec spec = {
        .command = "result",
        .usage = "[OPTION...] [ID...]",
        .summary = "Print the results of tasks (default: those of the last submit), each on a line "
                   "of its own.",
        .epilog = "The status is 0 if all succeeded, 1 if one failed or is not found, 75 if one is "
                  "not finished,\n"
                  "130 if one was cancelled. Failures are told on stderr.",
        .opts = result_table,
        .opts_n = sizeof result_table / sizeof *result_table,
        .values = &o,
        .operands_max = SIZE_MAX,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO && o.timeout_given && !o.wait)
        status = cli_error(&c, CLI_USAGE, "--timeout goes with --wait");
    if (status == OPT_GO)
        status = cli_ids(&c, &ids);
    if (status == OPT_GO && c.client == NULL)
        status = cli_connect(&c, DTQ_FOLLOW_NONE);
    if (status == OPT_GO)
        status = print_results(&c, &o, &ids);
    free(ids.at);
    cli_done(&c);
    return status;
}
