/*
 * Many runs of the simulation, in several processes: a processor each, and an assertion of a core
 * ends one of them only, and is a failure of its seed.
 */
#ifndef SIM_FARM_H
#define SIM_FARM_H

#include "sim.h"

#define FARM_JOBS_MAX 64u
#define FARM_FAILURES_MAX 10u /* then it gives up */
#define FARM_WHY_BYTES 1200u

struct farm_cfg {
    uint32_t jobs; /* 0: a process for each processor */
    uint64_t seed; /* the first of them, and how many */
    uint64_t seeds_n;
    const uint64_t *list; /* or these */
    struct sim_cut cut;   /* of every run */
    bool twice;           /* each runs twice, and must do exactly the same */
    bool restores;        /* as of struct sim_fault_cfg */
    bool removes;         /* .. */
    bool until_failure;   /* the first failure is enough */
    bool shows_progress;  /* to stderr, on one line */
};

struct farm_failure {
    uint64_t seed;
    char why[FARM_WHY_BYTES];
};

struct farm_result {
    uint64_t done;
    double seconds;
    uint32_t failures_n;
    struct farm_failure failures[FARM_FAILURES_MAX];
    struct sim_totals totals;
};

void farm_run(const struct farm_cfg *cfg, struct farm_result *ret);

/* The smallest part of a failing run that still fails in the same way. @return false: the whole of
 * it does not fail. */
bool farm_shrink(const struct farm_cfg *cfg, struct sim_cut *ret_cut,
                 struct farm_failure *ret_failure);

#endif
