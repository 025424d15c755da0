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

#define LOOK_AT_ONCE 1000u

/* --timeout 0s: how they are doing now is asked for, and the answer takes its time. */
static dtq_err look_once(struct waiting *w)
{
    dtq_err err = DTQ_OK;

    for (size_t at = 0; err == DTQ_OK && at < w->ids.n; at += LOOK_AT_ONCE) {
        size_t n = w->ids.n - at < LOOK_AT_ONCE ? w->ids.n - at : LOOK_AT_ONCE;

        err = dtq_look(w->c->client, w->ids.at + at, n, CLI_ANSWER_MS, w->results + at);
        for (size_t i = at; err == DTQ_OK && i < at + n; i++) {
            const dtq_result *r = &w->results[i];

            w->finished += r->state >= DTQ_SUCCEEDED || r->state == DTQ_NOT_FOUND;
            w->results[i] = (dtq_result){.state = r->state, .reason = r->reason, .code = r->code};
        }
    }
    return err == DTQ_OK && w->finished < w->ids.n ? DTQ_ETIMEOUT : err;
}

static int say_unfinished(const struct waiting *w, dtq_err err)
{
    size_t n = w->ids.n - w->finished;

    if (err == DTQ_ETIMEOUT)
        return cli_error(w->c, CLI_TIMED_OUT, "%zu of %zu tasks are not finished: the time is up",
                         n, w->ids.n);
    return cli_fail(w->c, err, "%zu of %zu tasks are not finished", n, w->ids.n);
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

static int run_wait(struct waiting *w, bool only_look)
{
    int status = CLI_DONE;
    dtq_err err;

    w->results = calloc(w->ids.n + 1, sizeof *w->results);
    if (w->results == NULL)
        cli_out_of_memory();
    progress_start(&w->bar, "finished", w->ids.n);
    err = only_look ? look_once(w) : wait_for_all(w);
    progress_end(&w->bar);
    if (err != DTQ_OK) {
        status = say_unfinished(w, err);
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
        status = run_wait(&w, o.timeout_given && o.timeout_ms == 0);
    free(w.ids.at);
    cli_done(&c);
    return status;
}
