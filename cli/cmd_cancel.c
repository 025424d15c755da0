/* dtq cancel: tasks that shall not run, or not any longer. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

#define CANCEL_AT_ONCE 1024u

static const char *what_happens(const dtq_cancelled *x)
{
    if (x->dead)
        return "failed; it will not be requeued";
    return x->cancelling ? "cancelling" : dtq_state_name(x->state);
}

/* Too late, or unknown: the operation failed for this task. One that was cancelled before is what
 * was asked for. */
static int status_of(const dtq_cancelled *x)
{
    return x->cancelling || x->dead || x->state == DTQ_CANCELLED ? CLI_DONE : CLI_FAILED;
}

static int print_one(const struct cli *c, const dtq_cancelled *x)
{
    char text[DTQ_ID_TEXT_BYTES];

    dtq_id_format(&x->id, text);
    if (c->json)
        cli_print_json(json_pack("{s:s, s:s, s:b, s:b}", "id", text, "state",
                                 dtq_state_name(x->state), "cancelling", x->cancelling,
                                 "dead_letter_dropped", x->dead));
    else
        printf("%s %s\n", text, what_happens(x));
    return status_of(x);
}

static int cancel_ids(struct cli *c, const struct cli_ids *ids)
{
    dtq_cancelled *answers = malloc(CANCEL_AT_ONCE * sizeof *answers);
    int status = CLI_DONE;

    if (answers == NULL)
        cli_out_of_memory();
    for (size_t at = 0; at < ids->n; at += CANCEL_AT_ONCE) {
        size_t n = ids->n - at < CANCEL_AT_ONCE ? ids->n - at : CANCEL_AT_ONCE;
        dtq_err err = dtq_cancel(c->client, ids->at + at, n, CLI_ANSWER_MS, answers);

        if (err != DTQ_OK) {
            free(answers);
            return cli_fail(c, err, "%zu of %zu tasks were not cancelled", ids->n - at, ids->n);
        }
        for (size_t i = 0; i < n; i++)
            status = cli_worse(status, print_one(c, &answers[i]));
    }
    free(answers);
    return cli_flush(c, status);
}

struct cancel_options {
    const char *queue;
};

static const struct opt cancel_table[] = {
    {.name = "queue",
     .letter = 'q',
     .type = OPT_STRING,
     OPT_AT(struct cancel_options, queue),
     .meta = "Q",
     .help = "all open tasks of this queue, instead of ids",
     .command_line_only = true},
};

static int cancel_queue(struct cli *c, const char *queue)
{
    uint64_t n;
    dtq_err err = dtq_cancel_queue(c->client, queue, CLI_ANSWER_MS, &n);

    if (err != DTQ_OK)
        return cli_fail(c, err, "the tasks of queue '%s' were not cancelled", queue);
    if (c->json)
        cli_print_json(json_pack("{s:s, s:I}", "queue", queue, "cancelling", (json_int_t)n));
    else
        printf("%s %llu cancelling\n", queue, (unsigned long long)n);
    return cli_flush(c, CLI_DONE);
}

int cmd_cancel(int argc, char **argv)
{
    struct cancel_options o;
    struct cli_ids ids = {0};
    struct cli c;
    struct cli_spec spec = {
        .command = "cancel",
        .usage = "[OPTION...] ID...\n[OPTION...] --queue Q",
        .summary =
            "Cancel tasks: what waits never starts, what runs is stopped, what is dead stays so.",
        .epilog = "Prints for each task `cancelling`, or the state that makes it too late. `dtq "
                  "wait` tells how it ended.\n"
                  "A dead letter is dropped, so that it cannot be requeued; its outcome stands.\n"
                  "The status is 1 if a task had finished before, or is not found. With --queue it "
                  "prints how many tasks\nare meant, and returns when that is on the ventilator's "
                  "disk.",
        .opts = cancel_table,
        .opts_n = sizeof cancel_table / sizeof *cancel_table,
        .values = &o,
        .operands_max = SIZE_MAX,
    };
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO && (o.queue == NULL) == (c.parsed.operands_n == 0))
        status = cli_error(&c, CLI_USAGE, "name tasks, or --queue; not both, not neither");
    if (status == OPT_GO)
        status = cli_check_name(&c, "--queue", o.queue);
    if (status == OPT_GO && o.queue == NULL)
        status = cli_ids(&c, &ids);
    if (status == OPT_GO && c.client == NULL)
        status = cli_connect(&c, DTQ_FOLLOW_NONE);
    if (status == OPT_GO)
        status = o.queue != NULL ? cancel_queue(&c, o.queue) : cancel_ids(&c, &ids);
    free(ids.at);
    cli_done(&c);
    return status;
}
