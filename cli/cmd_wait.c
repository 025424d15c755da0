/* dtq wait: until tasks are finished. */
#include "cli.h"

#include "proc.h"
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wait_options {
    uint64_t timeout_ms;
    bool timeout_given;
};

static const struct opt wait_table[] = {
    {.name = "timeout",
     .type = OPT_DURATION,
     OPT_AT(struct wait_options, timeout_ms),
     OPT_GIVEN(struct wait_options, timeout_given),
     .meta = "D",
     .help = "longest wait; then the status is 124 (default: for ever)"},
};

struct waiting {
    struct cli *c;
    struct cli_ids ids;
    struct dtq_result
        *results; /* state and reason of each, in the order of the operands; bodies are not kept */
    size_t finished;
    size_t failed;
    uint64_t deadline_ms;
    struct progress bar;
};

static int32_t time_left(const struct waiting *w)
{
    uint64_t now_ms = proc_now_ms();

    if (w->deadline_ms == UINT64_MAX)
        return -1;
    if (w->deadline_ms <= now_ms)
        return 0;
    return w->deadline_ms - now_ms < INT32_MAX ? (int32_t)(w->deadline_ms - now_ms) : INT32_MAX;
}

static int compare(const void *a, const void *b)
{
    return memcmp(*(const dtq_id *const *)a, *(const dtq_id *const *)b, sizeof(dtq_id));
}

/* Results come in any order: where each belongs is found among the sorted ids. */
static size_t index_of(const struct waiting *w, const dtq_id **sorted, const dtq_id *id)
{
    const dtq_id **at = bsearch(&id, sorted, w->ids.n, sizeof *sorted, compare);

    return at != NULL ? (size_t)(*at - w->ids.at) : w->ids.n;
}

static dtq_err take_results(struct waiting *w, const dtq_id **sorted, size_t until)
{
    while (w->finished < until) {
        dtq_result r;
        dtq_err err = dtq_next_result(w->c->client, time_left(w), &r);
        size_t i;

        if (err != DTQ_OK)
            return err == DTQ_EAGAIN ? DTQ_ETIMEOUT : err; /* looked once: --timeout is over */
        i = index_of(w, sorted, &r.id);
        if (i == w->ids.n)
            continue;
        w->results[i] = (dtq_result){.state = r.state, .reason = r.reason, .code = r.code};
        w->finished++;
        w->failed += r.state != DTQ_SUCCEEDED;
        progress_show(&w->bar, w->finished, w->failed);
    }
    return DTQ_OK;
}

#define WATCH_AT_ONCE 65536u /* the library remembers a bounded number of tasks */

static dtq_err wait_for_all(struct waiting *w)
{
    const dtq_id **sorted = malloc((w->ids.n + 1) * sizeof *sorted);
    dtq_err err = DTQ_OK;
    size_t all = w->ids.n;

    if (sorted == NULL)
        cli_out_of_memory();
    for (size_t i = 0; i < all; i++)
        sorted[i] = &w->ids.at[i];
    qsort(sorted, all, sizeof *sorted, compare);
    for (size_t at = 0; err == DTQ_OK && at < all; at += WATCH_AT_ONCE) {
        size_t n = all - at < WATCH_AT_ONCE ? all - at : WATCH_AT_ONCE;

        err = dtq_watch(w->c->client, w->ids.at + at, n);
        if (err == DTQ_OK)
            err = take_results(w, sorted, at + n);
    }
    free(sorted);
    return err;
}

static void print_one(const struct waiting *w, size_t i)
{
    const dtq_result *r = &w->results[i];
    char text[DTQ_ID_TEXT_BYTES];
    char reason[64];

    dtq_id_format(&w->ids.at[i], text);
    cli_reason_text(r->reason, r->code, reason, sizeof reason);
    if (w->c->json)
        cli_print_json(
            r->state == DTQ_FAILED
                ? json_pack("{s:s, s:s, s:s}", "id", text, "state", dtq_state_name(r->state),
                            "reason", reason)
                : json_pack("{s:s, s:s}", "id", text, "state", dtq_state_name(r->state)));
    else if (r->state == DTQ_FAILED)
        printf("%s %s (%s)\n", text, dtq_state_name(r->state), reason);
    else
        printf("%s %s\n", text, dtq_state_name(r->state));
}

static int run_wait(struct waiting *w)
{
    int status = CLI_DONE;
    dtq_err err;

    w->results = calloc(w->ids.n + 1, sizeof *w->results);
    if (w->results == NULL)
        cli_out_of_memory();
    progress_start(&w->bar, "finished", w->ids.n);
    err = wait_for_all(w);
    progress_end(&w->bar);
    if (err != DTQ_OK) {
        status = cli_fail(w->c, err, "%zu of %zu tasks are not finished", w->ids.n - w->finished,
                          w->ids.n);
    } else {
        for (size_t i = 0; i < w->ids.n; i++) {
            print_one(w, i);
            status = cli_worse(status, cli_status_of_state(w->results[i].state));
        }
    }
    free(w->results);
    return cli_flush(w->c, status);
}

int cmd_wait(int argc, char **argv)
{
    struct wait_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "wait",
        .usage = "[OPTION...] [ID...]",
        .summary = "Wait until tasks are finished (default: those of the last submit) and print "
                   "how each ended.",
        .epilog = "The status is 0 if all succeeded, 1 if one failed or is not found, 130 if one "
                  "was cancelled.",
        .opts = wait_table,
        .opts_n = sizeof wait_table / sizeof *wait_table,
        .values = &o,
        .operands_max = SIZE_MAX,
    };
    struct waiting w = {.c = &c, .deadline_ms = UINT64_MAX};
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO && o.timeout_given)
        w.deadline_ms = proc_now_ms() + o.timeout_ms;
    if (status == OPT_GO)
        status = cli_ids(&c, &w.ids);
    if (status == OPT_GO && c.client == NULL)
        status = cli_connect(&c, DTQ_FOLLOW_NONE);
    if (status == OPT_GO)
        status = run_wait(&w);
    free(w.ids.at);
    cli_done(&c);
    return status;
}
