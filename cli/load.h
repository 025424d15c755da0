/*
 * Work that measures a cluster through libdtq: many tasks as fast as they go, one task at a time, a
 * mix of short and long ones. `dtq bench` gives it to a user's cluster, bench/ to one of its own.
 */
#ifndef DTQ_CLI_LOAD_H
#define DTQ_CLI_LOAD_H

#include "dtq/client.h"

#include <stdbool.h>

/* What each task of a load is. */
struct load_task {
    const char *name;
    const char *queue;
    const void *payload; /* borrowed */
    size_t payload_bytes;
};

/* What a producer that takes its results keeps under way. */
#define LOAD_WINDOW 16384u

/* Called now and then with how many are done. */
typedef void load_progress(void *arg, uint64_t done);

struct load {
    dtq_client *client; /* DTQ_FOLLOW_OWN, unless only submitting */
    struct load_task task;
    load_progress *progress; /* NULL: nobody wants to know */
    void *arg;
    int32_t silence_ms; /* longest wait for anything to happen */
    uint64_t window;    /* tasks without a result at a time; 0: as many as the client remembers */
    uint64_t failed;    /* tasks that were refused or did not succeed, counted here */
};

/* Submit `tasks` of them as fast as the cluster takes them. Without `submit_only` every result is
 * taken too. @return DTQ_OK and the seconds it took, or why it could not be finished. */
dtq_err load_flow(struct load *l, uint64_t tasks, bool submit_only, double *ret_seconds);

/* One after the other: from submitting each to its result. @param ret_us  n of them */
dtq_err load_trips(struct load *l, uint32_t n, double *ret_us);

/* n tasks at once, each with the decimal text of its `ms` as the payload, and all their results. */
dtq_err load_mix(struct load *l, const uint32_t *ms, uint32_t n, double *ret_seconds);

#define LOAD_MIX_TASKS 100u

/* The orders of the mix, 10 tasks of 200 ms and 90 of 2 ms: order 0 has a long one at every second
 * place, which defeats dealing in turn; every other number seeds a shuffle. */
void load_mix_order(uint32_t order, uint32_t ret_ms[LOAD_MIX_TASKS]);
/* How long `slots` that each take the next task as soon as they are free need for them. */
double load_greedy_seconds(const uint32_t *ms, uint32_t n, uint32_t slots);

/* Sorts `values`. @param q  0.5: the median */
double load_quantile(double *values, size_t n, double q);

#endif
