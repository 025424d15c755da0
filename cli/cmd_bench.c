/* dtq bench: how fast and how fair a cluster is, seen from here. */
#include "cli.h"

#include "load.h"
#include "progress.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_TASKS 1000u
#define WARM_TRIPS 10u
#define SLOTS_MAX 64u /* more do not make the mix shorter: its longest task does not */
#define SILENCE_MS 30000

struct bench_options {
    uint64_t tasks;
    uint64_t trips;
    uint64_t orders;
    uint64_t payload_bytes;
    const char *noop;
    const char *sleep;
    const char *queue;
};

static const struct opt bench_table[] = {
    {.name = "tasks",
     .type = OPT_INTEGER,
     OPT_AT(struct bench_options, tasks),
     .meta = "N",
     .initial = "100000",
     .min = 1,
     .max = 100000000,
     .command_line_only = true,
     .help = "tasks of A"},
    {.name = "trips",
     .type = OPT_INTEGER,
     OPT_AT(struct bench_options, trips),
     .meta = "N",
     .initial = "200",
     .min = 1,
     .max = 100000,
     .command_line_only = true,
     .help = "round trips of C"},
    {.name = "orders",
     .type = OPT_INTEGER,
     OPT_AT(struct bench_options, orders),
     .meta = "N",
     .initial = "5",
     .min = 1,
     .max = 1000,
     .command_line_only = true,
     .help = "orders of the tasks of D"},
    {.name = "payload",
     .type = OPT_SIZE,
     OPT_AT(struct bench_options, payload_bytes),
     .meta = "SIZE",
     .initial = "128",
     .max = DTQ_PAYLOAD_BYTES_MAX,
     .command_line_only = true,
     .help = "payload of the tasks of A and C"},
    {.name = "noop",
     .type = OPT_STRING,
     OPT_AT(struct bench_options, noop),
     .meta = "NAME",
     .initial = "noop",
     .command_line_only = true,
     .help = "a task that does nothing"},
    {.name = "sleep",
     .type = OPT_STRING,
     OPT_AT(struct bench_options, sleep),
     .meta = "NAME",
     .initial = "sleep",
     .command_line_only = true,
     .help = "a task that sleeps as many milliseconds as its payload says in decimal digits"},
    {.name = "queue",
     .type = OPT_STRING,
     OPT_AT(struct bench_options, queue),
     .meta = "QUEUE",
     .initial = "default",
     .command_line_only = true,
     .help = "where they are submitted to"},
};

struct bench {
    struct cli *cli;
    const struct bench_options *o;
    char *payload;
    uint32_t slots; /* of all workers */
    struct progress progress;
    struct table table;
};

static void on_progress(void *arg, uint64_t done)
{
    progress_show(arg, done, 0);
}

static struct load load_of(struct bench *b, const char *name)
{
    return (struct load){
        .client = b->cli->client,
        .task = {name, b->o->queue, b->payload, b->o->payload_bytes},
        .progress = on_progress,
        .arg = &b->progress,
        .silence_ms = SILENCE_MS,
        .window = LOAD_WINDOW,
    };
}

/* A scenario that did not work out: nobody serves the task, or the cluster went away. */
static int failed(struct bench *b, const struct load *l, dtq_err err)
{
    progress_end(&b->progress);
    if (err != DTQ_OK)
        return cli_fail(b->cli, err, "the tasks of '%s' did not come back", l->task.name);
    return cli_error(b->cli, CLI_FAILED,
                     "%llu tasks of '%s' failed: do the workers serve it? The module of "
                     "examples/handlers has both noop and sleep",
                     (unsigned long long)l->failed, l->task.name);
}

static void add_row(struct bench *b, const char *name, const char *what, double value,
                    const char *unit)
{
    table_cell(&b->table, "%s", name);
    table_cell(&b->table, "%s", what);
    table_cell(&b->table, value < 100 ? "%.3f" : "%.0f", value);
    table_cell(&b->table, "%s", unit);
}

static int run_flow(struct bench *b)
{
    struct load l = load_of(b, b->o->noop);
    double seconds = 0;
    dtq_err err;

    progress_start(&b->progress, "A warm-up", WARM_TASKS);
    err = load_flow(&l, WARM_TASKS, false, &seconds);
    progress_end(&b->progress);
    progress_start(&b->progress, "A throughput", b->o->tasks);
    if (err == DTQ_OK)
        err = load_flow(&l, b->o->tasks, false, &seconds);
    if (err != DTQ_OK || l.failed != 0)
        return failed(b, &l, err);
    progress_end(&b->progress);
    if (b->cli->json)
        cli_print_json(json_pack("{s:s, s:I, s:f, s:f}", "scenario", "A", "tasks",
                                 (json_int_t)b->o->tasks, "seconds", seconds, "tasks_per_second",
                                 (double)b->o->tasks / seconds));
    else
        add_row(b, "A", "throughput, results in hand", (double)b->o->tasks / seconds, "tasks/s");
    return CLI_DONE;
}

static int run_trips(struct bench *b)
{
    struct load l = load_of(b, b->o->noop);
    uint32_t n = (uint32_t)b->o->trips;
    double *us = calloc((size_t)n + WARM_TRIPS, sizeof *us);
    double p50;
    double p99;
    dtq_err err;

    if (us == NULL)
        cli_out_of_memory();
    progress_start(&b->progress, "C round trips", n);
    err = load_trips(&l, WARM_TRIPS, us);
    if (err == DTQ_OK)
        err = load_trips(&l, n, us);
    if (err != DTQ_OK || l.failed != 0) {
        free(us);
        return failed(b, &l, err);
    }
    progress_end(&b->progress);
    p50 = load_quantile(us, n, 0.5);
    p99 = load_quantile(us, n, 0.99);
    free(us);
    if (b->cli->json) {
        cli_print_json(json_pack("{s:s, s:i, s:f, s:f}", "scenario", "C", "trips", (int)n, "p50_us",
                                 p50, "p99_us", p99));
        return CLI_DONE;
    }
    add_row(b, "C", "round trip, median", p50, "us");
    add_row(b, "C", "round trip, 99 of 100 within", p99, "us");
    return CLI_DONE;
}

static int run_mix(struct bench *b)
{
    struct load l = load_of(b, b->o->sleep);
    uint32_t n = (uint32_t)b->o->orders;
    double *ratios = calloc(n, sizeof *ratios);
    double middle;
    dtq_err err = DTQ_OK;

    if (ratios == NULL)
        cli_out_of_memory();
    progress_start(&b->progress, "D orders of tasks", n);
    for (uint32_t i = 0; i < n && err == DTQ_OK && l.failed == 0; i++) {
        uint32_t ms[LOAD_MIX_TASKS];
        double seconds = 0;

        load_mix_order(i, ms);
        l.progress = NULL; /* of tasks; the bar is of orders */
        err = load_mix(&l, ms, LOAD_MIX_TASKS, &seconds);
        ratios[i] = seconds / load_greedy_seconds(ms, LOAD_MIX_TASKS, b->slots);
        progress_show(&b->progress, i + 1, 0);
    }
    if (err != DTQ_OK || l.failed != 0) {
        free(ratios);
        return failed(b, &l, err);
    }
    progress_end(&b->progress);
    middle = load_quantile(ratios, n, 0.5); /* sorted now */
    if (b->cli->json) {
        cli_print_json(json_pack("{s:s, s:i, s:i, s:f, s:f}", "scenario", "D", "orders", (int)n,
                                 "slots", (int)b->slots, "median", middle, "worst", ratios[n - 1]));
    } else {
        add_row(b, "D", "long and short tasks, median", middle, "x greedy");
        add_row(b, "D", "long and short tasks, worst", ratios[n - 1], "x greedy");
    }
    free(ratios);
    return CLI_DONE;
}

static int count_slots(struct bench *b)
{
    const dtq_worker_info *workers;
    size_t n;
    dtq_err err = dtq_workers(b->cli->client, CLI_ANSWER_MS, &workers, &n);

    if (err != DTQ_OK)
        return cli_fail(b->cli, err, "cannot ask for the workers");
    for (size_t i = 0; i < n; i++)
        b->slots += workers[i].slots;
    if (b->slots == 0)
        return cli_error(b->cli, CLI_FAILED, "there is no worker");
    if (b->slots > SLOTS_MAX)
        b->slots = SLOTS_MAX;
    return OPT_GO;
}

static bool is_wanted(const struct cli *c, const char *name)
{
    for (size_t i = 0; i < c->parsed.operands_n; i++)
        if (strcmp(c->parsed.operands[i], name) == 0)
            return true;
    return c->parsed.operands_n == 0;
}

static int run_bench(struct bench *b)
{
    static const struct {
        const char *name;
        int (*run)(struct bench *b);
    } scenarios[] = {{"A", run_flow}, {"C", run_trips}, {"D", run_mix}};
    int status = count_slots(b);

    if (status != OPT_GO)
        return status;
    b->payload = calloc(1, b->o->payload_bytes + 1);
    if (b->payload == NULL)
        cli_out_of_memory();
    table_init(&b->table, (const char *const[]){"SCENARIO", "WHAT", ">VALUE", "UNIT", NULL});
    status = CLI_DONE;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios && status == CLI_DONE; i++)
        if (is_wanted(b->cli, scenarios[i].name))
            status = scenarios[i].run(b);
    if (!b->cli->json && b->table.cells_n != 0)
        table_print(&b->table, stdout);
    table_done(&b->table);
    free(b->payload);
    return cli_flush(b->cli, status);
}

static int check_operands(const struct cli *c)
{
    for (size_t i = 0; i < c->parsed.operands_n; i++) {
        const char *word = c->parsed.operands[i];

        if (strcmp(word, "A") != 0 && strcmp(word, "C") != 0 && strcmp(word, "D") != 0)
            return cli_error(c, CLI_USAGE, "there is no scenario %s; there are A, C and D", word);
    }
    return OPT_GO;
}

int cmd_bench(int argc, char **argv)
{
    struct bench_options o;
    struct cli c;
    struct cli_spec spec = {
        .command = "bench",
        .usage = "[OPTION...] [A] [C] [D]",
        .summary = "Measure a cluster: A throughput, C round trips of single tasks, D fairness.",
        .epilog = "The workers must serve two tasks, one that does nothing and one that sleeps: "
                  "the module of examples/handlers has both.\n"
                  "Nothing else should be going on: C and D measure waiting. D tells how much "
                  "longer a mix of long and short tasks takes\n"
                  "than if each slot took the next task whenever it is free. The results stay at "
                  "the sink until their time is over.\n\n"
                  "  dtq up --module libhandlers.so\n"
                  "  dtq bench            (in another terminal)",
        .opts = bench_table,
        .opts_n = sizeof bench_table / sizeof *bench_table,
        .values = &o,
        .operands_max = 3,
    };
    struct bench b = {.cli = &c, .o = &o};
    int status = cli_parse(&c, &spec, argc, argv);

    if (status == OPT_GO)
        status = check_operands(&c);
    if (status == OPT_GO)
        status = cli_connect(&c, DTQ_FOLLOW_OWN);
    if (status == OPT_GO)
        status = run_bench(&b);
    cli_done(&c);
    return status;
}
