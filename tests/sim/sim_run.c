/*
 * Random runs of the simulation:
 *   sim_run --seeds N      N seeds, from --seed S on (default 1)
 *   sim_run --seed S --trace   one of them, message by message
 *   --twice                each seed runs twice, and must do exactly the same
 *   --counters             print what the ventilators counted, over all seeds
 * Exits with 1 when a promise was broken; the seed is named, and replays it.
 */
#include "sim.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char seed_now[64];

/* An assertion of a core: say which seed it was. */
static void on_abort(int signal)
{
    (void)signal;
    if (write(STDERR_FILENO, seed_now, strlen(seed_now)) < 0)
        _exit(1);
    _exit(1);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool run(uint64_t seed, bool trace, bool twice, uint64_t *steps)
{
    struct sim_fault_cfg cfg = {.seed = seed, .trace = trace};
    char why[1200] = "";
    uint64_t first = 0;
    uint64_t second = 0;
    bool good;

    snprintf(seed_now, sizeof seed_now, "seed %" PRIu64 " was aborted\n", seed);
    good = sim_random_run(&cfg, why, sizeof why, steps, &first);
    if (!good)
        printf("FAILED %s\n", why);
    if (!twice)
        return good;
    (void)sim_random_run(&cfg, why, sizeof why, steps, &second);
    if (first == second)
        return good;
    printf("FAILED seed %" PRIu64 ": two runs were not the same\n", seed);
    return false;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
        {"trace", no_argument, NULL, 't'},       {"twice", no_argument, NULL, '2'},
        {"counters", no_argument, NULL, 'c'},    {NULL, 0, NULL, 0}};
    uint64_t seeds = 1;
    uint64_t seed = 1;
    uint64_t failed = 0;
    uint64_t steps = 0;
    bool trace = false;
    bool twice = false;
    bool counters = false;
    double from = seconds();
    int o;

    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (o) {
        case 'n': seeds = strtoull(optarg, NULL, 10); break;
        case 's': seed = strtoull(optarg, NULL, 10); break;
        case 't': trace = true; break;
        case '2': twice = true; break;
        case 'c': counters = true; break;
        default: return 2;
        }
    }
    signal(SIGABRT, on_abort);
    for (uint64_t i = 0; i < seeds; i++)
        failed += !run(seed + i, trace, twice, &steps);
    printf("%" PRIu64 " seeds, %" PRIu64 " failed, %" PRIu64 " steps, %.1f s\n", seeds, failed,
           steps, seconds() - from);
    if (counters) {
        sim_print_counters();
        sim_print_settle();
    }
    return failed != 0;
}
