/*
 * Scenarios A and B: many tasks as fast as they go, in alternating rounds with the bare pipeline.
 */
#include "bare.h"
#include "bed.h"
#include "bench.h"
#include "gauge.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS 1000000u
#define WARM_TASKS 50000u
#define ROUNDS_MAX 64

enum part { PRODUCER, VENTILATOR, SINK, WORKER, SLOTS, PARTS };

static const char *const part_names[PARTS] = {"producer", "ventilator", "sink", "worker", "slots"};

struct cost {
    double cpu_us[PARTS]; /* per task, as all below */
    double wire_bytes;
    double calls[PARTS];
    double flushes; /* fdatasync, fsync, msync: per task */
    bool counted;
};

struct round {
    double dtq; /* tasks a second */
    double bare;
    double bare_cpu_us;
    double circle; /* bare, with the hops of A */
    double circle_cpu_us;
    double others;
    struct cost cost;
};

static pid_t pid_of(const struct bed *b, enum part part)
{
    switch (part) {
    case PRODUCER: return getpid();
    case VENTILATOR: return b->members[BED_VENTILATOR].pid;
    case SINK: return b->members[BED_SINK].pid;
    case WORKER:
    case SLOTS: return b->members[BED_WORKER].pid;
    case PARTS: break;
    }
    return 0;
}

static bool is_there(const struct bed *b, enum part part)
{
    return pid_of(b, part) != 0;
}

static void read_cpu(const struct bed *b, double sign, struct cost *cost)
{
    for (enum part p = 0; p < PARTS; p++)
        if (is_there(b, p))
            cost->cpu_us[p] += sign / 1000 *
                               (double)(p == SLOTS ? gauge_descendants_cpu_ns(pid_of(b, p))
                                                   : gauge_cpu_ns(pid_of(b, p)));
    cost->wire_bytes += sign * (double)gauge_wire_bytes();
}

/* System calls, in a run of their own: to count them slows them down. The slots are counted with
 * their worker. */
static void start_counting(const struct bed *b, struct gauge_calls calls[PARTS])
{
    memset(calls, 0, PARTS * sizeof *calls);
    for (enum part p = 0; p < SLOTS; p++)
        if (is_there(b, p) && p != PRODUCER)
            gauge_calls_add(&calls[p], pid_of(b, p));
    /* Our children are no part of the producer. */
    gauge_calls_add_threads(&calls[PRODUCER], getpid());
}

static void stop_counting(struct gauge_calls calls[PARTS], struct cost *cost)
{
    cost->counted = true;
    for (enum part p = 0; p < SLOTS; p++) {
        cost->calls[p] = (double)gauge_calls_read(&calls[p], GAUGE_CALLS);
        cost->flushes += (double)(gauge_calls_read(&calls[p], GAUGE_FDATASYNC) +
                                  gauge_calls_read(&calls[p], GAUGE_FSYNC) +
                                  gauge_calls_read(&calls[p], GAUGE_MSYNC));
        cost->counted &= !calls[p].denied;
        gauge_calls_done(&calls[p]);
    }
}

static void per_task(struct cost *cost, double tasks)
{
    for (enum part p = 0; p < PARTS; p++) {
        cost->cpu_us[p] /= tasks;
        cost->calls[p] /= tasks;
    }
    cost->wire_bytes /= tasks;
    cost->flushes /= tasks;
}

/* @return tasks a second. */
static double run(bool submit_only, uint64_t tasks, bool count, struct cost *ret_cost)
{
    struct gauge_calls calls[PARTS];
    struct bed bed;
    struct load load;
    double seconds;

    memset(ret_cost, 0, sizeof *ret_cost);
    bed_open(&bed, (struct bed_cfg){.workers = submit_only ? 0 : 1, .slots = 2});
    bed_connect(&bed, submit_only ? DTQ_FOLLOW_NONE : DTQ_FOLLOW_OWN);
    load = bed_noops(&bed);
    if (load_flow(&load, WARM_TASKS, submit_only, &seconds) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(bed.client));
    if (count)
        start_counting(&bed, calls);
    read_cpu(&bed, -1, ret_cost);
    if (load_flow(&load, tasks, submit_only, &seconds) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(bed.client));
    read_cpu(&bed, 1, ret_cost);
    if (count)
        stop_counting(calls, ret_cost);
    if (load.failed != 0)
        bed_fail("%llu tasks failed", (unsigned long long)load.failed);
    per_task(ret_cost, (double)tasks);
    bed_close(&bed);
    return (double)tasks / seconds;
}

static double median_of(const struct round *rounds, unsigned n,
                        double (*value)(const struct round *))
{
    double values[ROUNDS_MAX];

    for (unsigned i = 0; i < n; i++)
        values[i] = value(&rounds[i]);
    return load_quantile(values, n, 0.5);
}

static double dtq_of(const struct round *r)
{
    return r->dtq;
}

static double bare_of(const struct round *r)
{
    return r->bare;
}

static double bare_cpu_of(const struct round *r)
{
    return r->bare_cpu_us;
}

static double circle_of(const struct round *r)
{
    return r->circle;
}

static double circle_cpu_of(const struct round *r)
{
    return r->circle_cpu_us;
}

static double ratio_of(const struct round *r)
{
    return r->dtq / r->bare;
}

static double circle_ratio_of(const struct round *r)
{
    return r->dtq / r->circle;
}

static double sum_of(const double *parts)
{
    double sum = 0;

    for (enum part p = 0; p < PARTS; p++)
        sum += parts[p];
    return sum;
}

/* The parts of the round whose sum is the median. */
static const struct cost *median_cost(const struct round *rounds, unsigned n)
{
    double sums[ROUNDS_MAX];
    double median;

    for (unsigned i = 0; i < n; i++)
        sums[i] = sum_of(rounds[i].cost.cpu_us);
    median = load_quantile(sums, n, 0.5);
    for (unsigned i = 0; i < n; i++)
        if (sum_of(rounds[i].cost.cpu_us) == median)
            return &rounds[i].cost;
    return &rounds[0].cost;
}

static void say_parts(const char *what, const double *parts, int digits, const char *more)
{
    char text[256] = "";

    for (enum part p = 0; p < PARTS; p++)
        if (parts[p] != 0)
            snprintf(text + strlen(text), sizeof text - strlen(text), "  %s %.*f", part_names[p],
                     digits, parts[p]);
    report_say("%-22s %.*f =%s%s", what, digits, sum_of(parts), text, more);
}

static json_t *parts_json(const double *parts)
{
    json_t *object = json_object();

    for (enum part p = 0; p < PARTS; p++)
        json_object_set_new(object, part_names[p], json_real(parts[p]));
    return object;
}

static void report_costs(const struct round *rounds, unsigned n, const struct cost *counted)
{
    const struct cost *cost = median_cost(rounds, n);
    char bare[64];

    snprintf(bare, sizeof bare, "   (bare: %.2f, four hops %.2f)",
             median_of(rounds, n, bare_cpu_of), median_of(rounds, n, circle_cpu_of));
    say_parts("CPU us/task", cost->cpu_us, 3, bare);
    report_say("%-22s %.0f", "wire bytes/task", cost->wire_bytes);
    if (counted->counted) {
        say_parts("system calls/task", counted->calls, 4, "   (worker: with its slots)");
        report_say("%-22s %.3f  (fdatasync and its like; each LMDB commit flushes once more)",
                   "flushes/1000 tasks", counted->flushes * 1000);
    } else {
        report_say("system calls were not counted: perf_event_open is not allowed");
    }
    report_line("profile",
                json_pack("{s:o, s:f, s:f, s:f, s:o, s:f, s:b}", "cpu_us", parts_json(cost->cpu_us),
                          "bare_cpu_us", median_of(rounds, n, bare_cpu_of), "bare_hops_cpu_us",
                          median_of(rounds, n, circle_cpu_of), "wire_bytes", cost->wire_bytes,
                          "calls", parts_json(counted->calls), "flushes", counted->flushes,
                          "counted", counted->counted));
}

static void report_round(unsigned number, const struct round *r)
{
    report_say("%5u %12.0f %12.0f %8.2f %12.0f %8.2f %8.2f %8.2f", number, r->dtq, r->bare,
               ratio_of(r), r->circle, circle_ratio_of(r), sum_of(r->cost.cpu_us), r->others);
    report_line("round", json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "round", (int)number,
                                   "dtq_per_second", r->dtq, "bare_per_second", r->bare,
                                   "bare_cpu_us", r->bare_cpu_us, "bare_hops_per_second", r->circle,
                                   "bare_hops_cpu_us", r->circle_cpu_us, "others_processors",
                                   r->others, "cpu_us", parts_json(r->cost.cpu_us)));
}

static void run_flow(const struct bench_opts *o, bool submit_only, double aim)
{
    uint64_t tasks = o->tasks != 0 ? o->tasks : TASKS;
    struct round rounds[ROUNDS_MAX];
    struct cost counted;

    report_say(
        "four hops: bare from producer to ventilator, worker, sink and back, as dtq has them");
    report_say("%5s %12s %12s %8s %12s %8s %8s %8s", "round", "dtq /s", "bare /s", "ratio",
               "four hops /s", "ratio", "CPU us", "others");
    for (unsigned i = 0; i < o->rounds; i++) {
        struct round *r = &rounds[i];
        struct bare_flow bare;

        r->others = bench_calm(o);
        r->dtq = run(submit_only, tasks, false, &r->cost);
        bare = bare_flow(tasks);
        r->bare = (double)tasks / bare.seconds;
        r->bare_cpu_us = bare.cpu_us;
        bare = bare_circle((uint32_t)tasks);
        r->circle = (double)tasks / bare.seconds;
        r->circle_cpu_us = bare.cpu_us;
        report_round(i + 1, r);
    }
    report_say("%5s %12.0f %12.0f %8.2f %12.0f %8.2f", "mid", median_of(rounds, o->rounds, dtq_of),
               median_of(rounds, o->rounds, bare_of), median_of(rounds, o->rounds, ratio_of),
               median_of(rounds, o->rounds, circle_of),
               median_of(rounds, o->rounds, circle_ratio_of));
    (void)run(submit_only, tasks / 4, true, &counted);
    report_costs(rounds, o->rounds, &counted);
    report_verdict(submit_only ? "confirmed submissions" : "throughput, end to end",
                   median_of(rounds, o->rounds, ratio_of), "x bare", true, aim);
}

void bench_a(const struct bench_opts *o)
{
    run_flow(o, false, 1.5);
}

void bench_b(const struct bench_opts *o)
{
    run_flow(o, true, 1.0);
}
