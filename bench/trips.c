/*
 * Scenarios C and I: one task at a time on a system that has nothing else to do, and the first task
 * of a new cluster.
 */
#include "bare.h"
#include "bed.h"
#include "bench.h"
#include "gauge.h"
#include "proc.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIPS 300u
#define WARM_TRIPS 30u
#define ROUNDS_MAX 64

struct trips { /* us, medians */
    double bare;
    double flush;
    double bare_durable;
    double sync_p50;
    double sync_p99;
    double async_p50;
    double async_p99;
    double others;
};

static void run(bool is_async, uint32_t n, double *us)
{
    struct bed bed;
    struct load load;

    bed_open(&bed, (struct bed_cfg){.workers = 1, .slots = 2, .is_async = is_async});
    bed_connect(&bed, DTQ_FOLLOW_OWN);
    load = bed_noops(&bed);
    if (load_trips(&load, WARM_TRIPS, us) != DTQ_OK || load_trips(&load, n, us) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(bed.client));
    bed_close(&bed);
}

static void measure(uint32_t n, double *us, struct trips *t)
{
    struct bed empty;

    bed_open(&empty, (struct bed_cfg){.workers = 0}); /* for its folder */
    bare_flushes(n, empty.dir, us);
    t->flush = load_quantile(us, n, 0.5);
    bare_trips(n, NULL, us);
    t->bare = load_quantile(us, n, 0.5);
    bare_trips(n, empty.dir, us);
    t->bare_durable = load_quantile(us, n, 0.5);
    bed_close(&empty);
    run(false, n, us);
    t->sync_p50 = load_quantile(us, n, 0.5);
    t->sync_p99 = load_quantile(us, n, 0.99);
    run(true, n, us);
    t->async_p50 = load_quantile(us, n, 0.5);
    t->async_p99 = load_quantile(us, n, 0.99);
}

static void report_trips(unsigned number, const struct trips *t)
{
    report_say("%5u %6.0f %6.0f %9.0f %9.0f %9.0f %9.0f %9.0f %8.2f", number, t->flush, t->bare,
               t->bare_durable, t->sync_p50, t->sync_p99, t->async_p50, t->async_p99, t->others);
    report_line("round", json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "round",
                                   (int)number, "flush_us", t->flush, "bare_us", t->bare,
                                   "bare_durable_us", t->bare_durable, "sync_p50_us", t->sync_p50,
                                   "sync_p99_us", t->sync_p99, "async_p50_us", t->async_p50,
                                   "async_p99_us", t->async_p99, "others_processors", t->others));
}

static double median_ratio(const struct trips *t, unsigned n, size_t over, size_t under)
{
    double values[ROUNDS_MAX];

    for (unsigned i = 0; i < n; i++) {
        const char *at = (const char *)&t[i];
        double above;
        double below;

        memcpy(&above, at + over, sizeof above);
        memcpy(&below, at + under, sizeof below);
        values[i] = above / below;
    }
    return load_quantile(values, n, 0.5);
}

#define RATIO(over, under) \
    median_ratio(t, o->rounds, offsetof(struct trips, over), offsetof(struct trips, under))

void bench_c(const struct bench_opts *o)
{
    uint32_t n = o->tasks != 0 ? (uint32_t)o->tasks : TRIPS;
    struct trips t[ROUNDS_MAX];
    double *us = malloc(((size_t)n + WARM_TRIPS) * sizeof *us);

    if (us == NULL)
        bed_fail("out of memory");
    report_say(
        "us; bare: four hops of bare ZeroMQ; +LMDB: with an LMDB commit in the last but one");
    report_say("%5s %6s %6s %9s %9s %9s %9s %9s %8s", "round", "flush", "bare", "bare+LMDB", "sync",
               "p99", "async", "p99", "others");
    for (unsigned i = 0; i < o->rounds; i++) {
        double others = bench_calm(o);

        measure(n, us, &t[i]);
        t[i].others = others;
        report_trips(i + 1, &t[i]);
    }
    free(us);
    report_verdict("sync: p50 to bare with LMDB", RATIO(sync_p50, bare_durable), "x", false, 3);
    report_verdict("async: p50 to bare", RATIO(async_p50, bare), "x", false, 3);
    report_verdict("sync: p99 to p50", RATIO(sync_p99, sync_p50), "x", false, 5);
    report_verdict("async: p99 to p50", RATIO(async_p99, async_p50), "x", false, 5);
}

/* ---------------------------------------------------------------- I */

static double first_result_ms(double *ret_ready_ms)
{
    struct bed bed;
    struct load load;
    double us;
    uint64_t from_us = proc_now_us();

    bed_up(&bed);
    *ret_ready_ms = (double)(proc_now_us() - from_us) / 1000;
    bed_connect(&bed, DTQ_FOLLOW_OWN);
    load = bed_noops(&bed);
    if (load_trips(&load, 1, &us) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(bed.client));
    us = (double)(proc_now_us() - from_us);
    bed_close(&bed);
    return us / 1000;
}

void bench_i(const struct bench_opts *o)
{
    double ms[ROUNDS_MAX];

    report_say("%5s %9s %9s %8s", "round", "ready ms", "result ms", "others");
    for (unsigned i = 0; i < o->rounds; i++) {
        double others = bench_calm(o);
        double ready_ms;

        ms[i] = first_result_ms(&ready_ms);
        report_say("%5u %9.1f %9.1f %8.2f", i + 1, ready_ms, ms[i], others);
        report_line("round", json_pack("{s:i, s:f, s:f, s:f}", "round", (int)i + 1, "ready_ms",
                                       ready_ms, "result_ms", ms[i], "others_processors", others));
    }
    report_verdict("dtq up to the first result", load_quantile(ms, o->rounds, 0.5), "ms", false,
                   150);
}
