/* The benchmarks: `make bench`, `make bench-A`, .. */
#include "bed.h"
#include "bench.h"
#include "opt.h"
#include "proc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    const char *title;
    scenario *run;
} scenarios[] = {
    {"A", "end to end: no-op tasks, durable, results in the producer's hand", bench_a},
    {"B", "confirmed durable submission, no worker", bench_b},
    {"C", "round trips of single tasks, idle system", bench_c},
    {"D", "fairness: long and short tasks, with the settings of A", bench_d},
    {"E", "a backlog of millions: memory, rates, restart, disk", bench_e},
    {"F", "many workers: what a session costs the ventilator", bench_f},
    {"G", "sizes: small tasks beside the largest ones", bench_g},
    {"I", "dtq up to the first result", bench_i},
    {"L", "limits, rates and groups over 4 workers: how exact and how fair", bench_l},
    {"P", "instructions per task of each process, by callgrind", bench_p},
    {"S", "delays and priorities: how late tasks start, and a million of them waiting", bench_s},
};

#define SCENARIOS (sizeof scenarios / sizeof *scenarios)

struct values {
    uint64_t rounds;
    uint64_t tasks;
    uint64_t calm_ms;
    const char *out;
};

static const struct opt table[] = {
    {.name = "rounds",
     .type = OPT_INTEGER,
     OPT_AT(struct values, rounds),
     .meta = "N",
     .initial = "5",
     .min = 1,
     .max = 64,
     .command_line_only = true,
     .help = "alternating rounds; figures are their medians"},
    {.name = "tasks",
     .type = OPT_INTEGER,
     OPT_AT(struct values, tasks),
     .meta = "N",
     .initial = "0",
     .command_line_only = true,
     .help = "tasks of a round; 0: as many as the scenario wants"},
    {.name = "calm",
     .type = OPT_DURATION,
     OPT_AT(struct values, calm_ms),
     .meta = "DURATION",
     .initial = "0",
     .command_line_only = true,
     .help = "before each round wait up to so long for others to leave the machine"},
    {.name = "out",
     .type = OPT_PATH,
     OPT_AT(struct values, out),
     .meta = "DIR",
     .initial = "build/bench",
     .command_line_only = true,
     .help = "where JSON lines and, meanwhile, the data go: on the disk to measure"},
};

static bool is_wanted(const struct opt_result *parsed, const char *name)
{
    for (size_t i = 0; i < parsed->operands_n; i++)
        if (strcmp(parsed->operands[i], name) == 0)
            return true;
    return parsed->operands_n == 0;
}

static bool is_known(const char *name)
{
    for (size_t i = 0; i < SCENARIOS; i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return true;
    return false;
}

static void run_all(const struct values *v, const struct opt_result *parsed)
{
    struct bench_opts o = {.rounds = (unsigned)v->rounds, .tasks = v->tasks, .calm_ms = v->calm_ms};

    printf("%ld processors; \"others\" is how many of them the rest of the machine uses\n\n",
           sysconf(_SC_NPROCESSORS_ONLN));
    for (size_t i = 0; i < SCENARIOS; i++) {
        if (!is_wanted(parsed, scenarios[i].name))
            continue;
        report_begin(v->out, scenarios[i].name, scenarios[i].title);
        scenarios[i].run(&o);
        report_end();
    }
    printf("%u aims missed\n", report_missed());
}

int main(int argc, char **argv)
{
    struct values v;
    struct opt_group group = {"Options", OPT_TABLE(table), &v};
    struct opt_spec spec = {
        .program = "dtq_bench",
        .usage = "[OPTION...] [SCENARIO...]",
        .summary = "Measure dtq beside bare ZeroMQ: scenarios A to S; all of them unless "
                   "some are named.",
        .groups = &group,
        .groups_n = 1,
        .operands_max = SCENARIOS,
    };
    struct opt_result parsed = {0};
    int status = opt_parse(&spec, argc, argv, &parsed);

    for (size_t i = 0; status == OPT_GO && i < parsed.operands_n; i++)
        if (!is_known(parsed.operands[i]))
            status = opt_error(&spec, "there is no scenario %s", parsed.operands[i]);
    if (status == OPT_GO) {
        proc_setup();
        if (!bed_isolate())
            puts("no network namespace of our own (root has one): bytes on the wire include "
                 "everybody's");
        if (mkdir(v.out, 0777) != 0 && errno != EEXIST)
            bed_fail("%s: %s", v.out, strerror(errno));
        bed_set_folder(v.out);
        run_all(&v, &parsed);
        status = report_missed() == 0 ? 0 : 1;
    }
    opt_done(&parsed);
    return status;
}
