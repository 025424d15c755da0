/*
 * Random runs of the simulation:
 *   sim_run --seeds N             N seeds, from --seed S on (default 1), in --jobs J processes
 *   sim_run --list FILE           the seeds at the beginnings of the lines of FILE
 *   sim_run --seed S --story      what happens in one of them ..
 *   sim_run --seed S --trace      .. message by message
 *   sim_run --seed S --shrink     the smallest part of it that still fails, and its story
 *     --cut CUT                   only that part (CUT as --shrink says it)
 *     --twice                     each seed runs twice, and must do exactly the same
 *     --restores                  with a sink's disk that is replaced by an old copy, in each
 *     --removes                   with a sink that loses its disk and is removed, in each
 *     --counters                  which paths were taken: sums over all seeds
 *     --expect TEXT               there must be a failure, and it must say TEXT: of a core that was
 *                                 broken on purpose. Given again: or this one
 * Exits with 1 when a promise was broken; the seed is named, and replays it.
 */
#include "sim_farm.h"

#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPECT_MAX 4u

struct options {
    struct farm_cfg farm;
    const char *list;
    const char *expect[EXPECT_MAX];
    uint32_t expect_n;
    bool trace;
    bool story;
    bool shrink;
    bool counters;
};

/* ---------------------------------------------------------------- words for a cut */

static const char cut_format[] = "%" PRIx64 ":%" PRIx64 ":%" PRIx64 ":%x:%x:%x:%x:%x";

static const char *mode_of(const struct farm_cfg *cfg)
{
    if (cfg->removes)
        return cfg->restores ? " --restores --removes" : " --removes";
    return cfg->restores ? " --restores" : "";
}

static void print_cut(const struct sim_cut *c)
{
    printf(cut_format, c->tasks, c->faults, c->orders, c->plain, c->workers, c->sinks, c->clients,
           c->slots);
}

static bool read_cut(const char *text, struct sim_cut *c)
{
    return sscanf(text, "%" SCNx64 ":%" SCNx64 ":%" SCNx64 ":%x:%x:%x:%x:%x", &c->tasks, &c->faults,
                  &c->orders, &c->plain, &c->workers, &c->sinks, &c->clients, &c->slots) == 8;
}

/* ---------------------------------------------------------------- lists of seeds */

/* @return how many; what does not begin with a number is a comment. */
static uint64_t read_list(const char *path, uint64_t **ret_list)
{
    FILE *f = fopen(path, "re");
    char line[1000];
    uint64_t *list = NULL;
    uint64_t n = 0;

    if (f == NULL) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof line, f) != NULL) {
        if (!isdigit((unsigned char)line[0]))
            continue;
        list = realloc(list, (n + 1) * sizeof *list);
        if (list == NULL)
            exit(2);
        list[n++] = strtoull(line, NULL, 10);
    }
    fclose(f);
    *ret_list = list;
    return n;
}

/* ---------------------------------------------------------------- what it comes to */

static void print_counters(const struct sim_totals *t)
{
    static const char *const names[] = {
#define NAME(name) #name,
        SIM_FAULTS(NAME)
#undef NAME
    };

#define PRINT(name) printf("%-20s %" PRIu64 "\n", #name, t->name);
    PRINT(tasks)
    PRINT(runs)
    PRINT(orders)
    PRINT(requeued)
    PRINT(cron_made)
    PRINT(cron_again)
    PRINT(keys_same)
    PRINT(keys_conflict)
    PRINT(frames_lost)
    PRINT(frames_twice)
    PRINT(removes)
    PRINT(restores)
    PRINT(accepts)
    PRINT(outcomes_lost)
    PRINT(outcomes_again)
    PRINT(settle_ms_max)
#undef PRINT
    for (uint32_t i = 0; i < SIM_FAULT_KINDS; i++)
        printf("fault %-14s %" PRIu64 "\n", names[i], t->faults[i]);
#define PRINT(name) printf("%-20s %" PRIu64 "\n", #name, t->ventilators.name);
    VENT_COUNTERS(PRINT)
#undef PRINT
}

static void print_failure(const struct farm_failure *f)
{
    printf("FAILED seed %" PRIu64 ": %s\n", f->seed, f->why);
}

static void print_result(const struct options *o, const struct farm_result *r)
{
    for (uint32_t i = 0; i < r->failures_n; i++)
        print_failure(&r->failures[i]);
    printf("%" PRIu64 " seeds, %u failed, %" PRIu64 " steps, %.1f s, %.0f seeds a minute\n",
           r->done, r->failures_n, r->totals.steps, r->seconds, 60 * (double)r->done / r->seconds);
    if (r->failures_n != 0)
        printf("again: sim_run --seed %" PRIu64 "%s --story (--trace, --shrink)\n",
               r->failures[0].seed, mode_of(&o->farm));
    if (o->counters)
        print_counters(&r->totals);
}

/* A broken core: the checks must say so. */
static int judge_broken(const struct options *o, const struct farm_result *r)
{
    const struct farm_failure *f = &r->failures[0];

    if (r->failures_n == 0) {
        printf("not caught within %" PRIu64 " seeds\n", r->done);
        return 1;
    }
    printf("caught within %" PRIu64 " seeds, by seed %" PRIu64 ": %s\n", r->done, f->seed, f->why);
    for (uint32_t i = 0; i < o->expect_n; i++)
        if (strstr(f->why, o->expect[i]) != NULL)
            return 0;
    for (uint32_t i = 0; i < o->expect_n; i++)
        printf("but expected was: %s\n", o->expect[i]);
    return 1;
}

static int run_many(struct options *o)
{
    struct farm_result *r = malloc(sizeof *r);
    uint64_t *list = NULL;
    int status;

    if (r == NULL)
        return 2;
    if (o->list != NULL) {
        o->farm.seeds_n = read_list(o->list, &list);
        o->farm.list = list;
    }
    o->farm.shows_progress = isatty(STDERR_FILENO) != 0;
    o->farm.until_failure = o->expect_n != 0;
    farm_run(&o->farm, r);
    if (o->expect_n != 0) {
        status = judge_broken(o, r);
    } else {
        print_result(o, r);
        status = r->failures_n != 0;
    }
    free(list);
    free(r);
    return status;
}

/* In this process, so that a debugger can look on. */
static int run_one(const struct options *o, const struct sim_cut *cut)
{
    struct sim_fault_cfg cfg = {.seed = o->farm.seed,
                                .trace = o->trace,
                                .story = !o->trace,
                                .restores = o->farm.restores,
                                .removes = o->farm.removes,
                                .cut = *cut};
    struct sim_totals totals = {0};
    char why[FARM_WHY_BYTES] = "";
    uint64_t fingerprint;
    bool good = sim_random_run(&cfg, why, sizeof why, &totals, &fingerprint);

    if (good)
        printf("seed %" PRIu64 " keeps all promises\n", o->farm.seed);
    else
        printf("FAILED %s\n", why);
    return !good;
}

static int shrink(const struct options *o)
{
    struct farm_failure failure;
    struct sim_cut cut;

    if (!farm_shrink(&o->farm, &cut, &failure)) {
        printf("seed %" PRIu64 " does not fail\n", o->farm.seed);
        return 0;
    }
    print_failure(&failure);
    printf("again: sim_run --seed %" PRIu64 "%s --story --cut ", o->farm.seed, mode_of(&o->farm));
    print_cut(&cut);
    printf("\n");
    fflush(stdout);
    return run_one(o, &cut);
}

static bool read_options(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
        {"jobs", required_argument, NULL, 'j'},  {"list", required_argument, NULL, 'l'},
        {"cut", required_argument, NULL, 'u'},   {"expect", required_argument, NULL, 'e'},
        {"trace", no_argument, NULL, 't'},       {"story", no_argument, NULL, 'y'},
        {"shrink", no_argument, NULL, 'k'},      {"twice", no_argument, NULL, '2'},
        {"counters", no_argument, NULL, 'c'},    {"restores", no_argument, NULL, 'r'},
        {"removes", no_argument, NULL, 'R'},     {NULL, 0, NULL, 0}};
    int c;

    *o = (struct options){.farm = {.seed = 1, .seeds_n = 1}};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n': o->farm.seeds_n = strtoull(optarg, NULL, 10); break;
        case 's': o->farm.seed = strtoull(optarg, NULL, 10); break;
        case 'j': o->farm.jobs = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'l': o->list = optarg; break;
        case 'u':
            if (!read_cut(optarg, &o->farm.cut))
                return false;
            break;
        case 'e':
            if (o->expect_n == EXPECT_MAX)
                return false;
            o->expect[o->expect_n++] = optarg;
            break;
        case 't': o->trace = true; break;
        case 'y': o->story = true; break;
        case 'k': o->shrink = true; break;
        case '2': o->farm.twice = true; break;
        case 'c': o->counters = true; break;
        case 'r': o->farm.restores = true; break;
        case 'R': o->farm.removes = true; break;
        default: return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct options o;

    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: see the beginning of sim_run.c\n");
        return 2;
    }
    if (o.shrink)
        return shrink(&o);
    if (o.story || o.trace)
        return run_one(&o, &o.farm.cut);
    return run_many(&o);
}
