/*
 * Scenario L: limits and rates of queues and groups over several workers, as the tasks themselves
 * saw them: how many ran at once, how many began in a second; and how long the only task of one
 * group waits beside a million of another.
 */
#include "bed.h"
#include "bench.h"
#include "dtq/admin.h"
#include "stamp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORKERS 4u
#define SLOTS 2u
#define SECONDS 6u /* of work at its rate */
#define GROUPS 4u
#define LIMIT 5u
#define LIMITED 1000u
#define TASK_MS 20u
#define CROWD 1000000u
#define LONE 50u
#define AT_ONCE 10000u
#define WAIT_MS 120000

struct runs {
    struct stamp *at;
    size_t n;
};

static void need(dtq_err err, const struct bed *b)
{
    if (err != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(b->client));
}

static dtq_task stamp_task(const char *queue, const char *sleep_ms, const char *group)
{
    dtq_task task;

    dtq_task_init(&task, "bench.stamp", sleep_ms, strlen(sleep_ms));
    task.queue = queue;
    task.group = group;
    return task;
}

static struct stamp stamp_of(const dtq_result *r)
{
    struct stamp stamp;

    if (r->state != DTQ_SUCCEEDED || r->body_bytes != sizeof stamp)
        bed_fail("a task failed");
    memcpy(&stamp, r->body, sizeof stamp);
    return stamp;
}

/* n tasks, in turn of each group if there are any: when they ran, those of a group beside each
 * other. */
static struct runs run_tasks(struct bed *b, dtq_task task, size_t n, unsigned groups)
{
    static const char *const names[GROUPS] = {"g0", "g1", "g2", "g3"};
    struct runs all = {calloc(n, sizeof *all.at), n};

    if (all.at == NULL)
        bed_fail("out of memory");
    for (size_t i = 0; i < n; i++) {
        unsigned group = groups != 0 ? (unsigned)i % groups : 0;

        task.tag = groups != 0 ? group * (n / groups) + i / groups : i;
        if (groups != 0)
            task.group = names[group];
        need(dtq_submit_async(b->client, &task, WAIT_MS, NULL), b);
    }
    for (size_t i = 0; i < n; i++) {
        dtq_result r;

        need(dtq_next_result(b->client, WAIT_MS, &r), b);
        if (r.tag >= n)
            bed_fail("a result of nobody");
        all.at[r.tag] = stamp_of(&r);
    }
    return all;
}

static struct runs runs_of_group(const struct runs *all, unsigned group, unsigned groups)
{
    size_t n = all->n / groups;

    return (struct runs){all->at + group * n, n};
}

/* ---------------------------------------------------------------- what the tasks saw */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t *sorted(const struct runs *r, bool of_ends)
{
    uint64_t *us = calloc(r->n, sizeof *us);

    if (us == NULL)
        bed_fail("out of memory");
    for (size_t i = 0; i < r->n; i++)
        us[i] = of_ends ? r->at[i].ended_us : r->at[i].began_us;
    qsort(us, r->n, sizeof *us, compare);
    return us;
}

struct pace {
    double mean;    /* begun in a second, first to last */
    size_t busiest; /* begun within any one second */
};

static struct pace pace_of(const struct runs *r)
{
    uint64_t *began_us = sorted(r, false);
    struct pace pace = {.mean =
                            (double)(r->n - 1) * 1e6 / (double)(began_us[r->n - 1] - *began_us)};
    size_t first = 0;

    for (size_t i = 0; i < r->n; i++) {
        while (began_us[i] - began_us[first] >= 1000000)
            first++;
        if (i + 1 - first > pace.busiest)
            pace.busiest = i + 1 - first;
    }
    free(began_us);
    return pace;
}

struct crowd {
    size_t most;   /* that ran at once */
    double steady; /* that ran on average, but for the first and the last tenth */
};

static struct crowd crowd_of(const struct runs *r)
{
    uint64_t *began_us = sorted(r, false);
    uint64_t *ended_us = sorted(r, true);
    uint64_t from_us = began_us[r->n / 10];
    uint64_t to_us = began_us[r->n - r->n / 10 - 1];
    struct crowd crowd = {0};
    double busy_us = 0;
    size_t ended = 0;

    for (size_t i = 0; i < r->n; i++) {
        uint64_t a = r->at[i].began_us > from_us ? r->at[i].began_us : from_us;
        uint64_t z = r->at[i].ended_us < to_us ? r->at[i].ended_us : to_us;

        busy_us += z > a ? (double)(z - a) : 0;
        while (ended_us[ended] <= began_us[i])
            ended++;
        if (i + 1 - ended > crowd.most)
            crowd.most = i + 1 - ended;
    }
    crowd.steady = busy_us / (double)(to_us - from_us);
    free(began_us);
    free(ended_us);
    return crowd;
}

/* ---------------------------------------------------------------- rates */

static double off_percent(double value, double wanted)
{
    return 100 * fabs(value / wanted - 1);
}

static void say_rate(const char *what, unsigned rate, const struct runs *r, double *most_percent,
                     double *over)
{
    struct pace pace = pace_of(r);
    double percent = off_percent(pace.mean, rate);

    report_say("%-24s %8u/s %12.2f %12.2f %% %12zu", what, rate, pace.mean, percent, pace.busiest);
    report_line("rate", json_pack("{s:s, s:i, s:f, s:i}", "of", what, "rate", (int)rate, "mean",
                                  pace.mean, "busiest", (int)pace.busiest));
    if (percent > *most_percent)
        *most_percent = percent;
    if ((double)pace.busiest / rate > *over)
        *over = (double)pace.busiest / rate;
}

static void rates(struct bed *b)
{
    static const unsigned wanted[] = {20, 200, 2000};
    double most_percent = 0;
    double over = 0;
    struct runs r;

    report_say("%-24s %10s %12s %14s %12s", "begun in a second", "rate", "mean", "off by",
               "busiest");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        need(dtq_queue_rate(b->client, "rated", wanted[i], 1000, WAIT_MS), b);
        r = run_tasks(b, stamp_task("rated", "0", NULL), (size_t)wanted[i] * SECONDS, 0);
        say_rate("of a queue", wanted[i], &r, &most_percent, &over);
        free(r.at);
    }
    need(dtq_queue_group_rate(b->client, "shared", 50, 1000, WAIT_MS), b);
    r = run_tasks(b, stamp_task("shared", "0", NULL), (size_t)GROUPS * 50 * SECONDS, GROUPS);
    for (unsigned g = 0; g < GROUPS; g++) {
        struct runs of_group = runs_of_group(&r, g, GROUPS);

        say_rate("of each of 4 groups", 50, &of_group, &most_percent, &over);
    }
    free(r.at);
    report_verdict("rates: off by, at most", most_percent, "%", false, 5);
    report_verdict("rates: the busiest second, of the rate", over, "x", false, 1.1);
}

/* ---------------------------------------------------------------- limits */

static void say_limit(const char *what, unsigned limit, const struct runs *r, size_t *over,
                      double *least)
{
    struct crowd crowd = crowd_of(r);

    report_say("%-24s %10u %12zu %12.2f", what, limit, crowd.most, crowd.steady);
    report_line("limit", json_pack("{s:s, s:i, s:i, s:f}", "of", what, "limit", (int)limit, "most",
                                   (int)crowd.most, "steady", crowd.steady));
    if (crowd.most > limit && crowd.most - limit > *over)
        *over = crowd.most - limit;
    if (crowd.steady / limit < *least)
        *least = crowd.steady / limit;
}

static void limits(struct bed *b)
{
    size_t over = 0;
    double least = 1;
    char sleep_ms[16];
    struct runs r;

    snprintf(sleep_ms, sizeof sleep_ms, "%u", TASK_MS);
    report_say("%-24s %10s %12s %12s", "run at once", "limit", "most", "on average");
    need(dtq_queue_limit(b->client, "narrow", LIMIT, WAIT_MS), b);
    r = run_tasks(b, stamp_task("narrow", sleep_ms, NULL), LIMITED, 0);
    say_limit("of a queue", LIMIT, &r, &over, &least);
    free(r.at);
    need(dtq_queue_group_limit(b->client, "alone", 1, WAIT_MS), b);
    r = run_tasks(b, stamp_task("alone", sleep_ms, NULL), LIMITED, GROUPS);
    for (unsigned g = 0; g < GROUPS; g++) {
        struct runs of_group = runs_of_group(&r, g, GROUPS);

        say_limit("of each of 4 groups", 1, &of_group, &over, &least);
    }
    free(r.at);
    report_verdict("limits: more at once than allowed", (double)over, "tasks", false, 0);
    report_verdict("limits: of what is allowed, used at least", least, "x", true, 0.95);
}

/* ---------------------------------------------------------------- fair shares */

static uint64_t since_boot_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void submit_crowd(struct bed *b, dtq_task task, uint64_t n)
{
    static dtq_task tasks[AT_ONCE];
    static dtq_submitted submitted[AT_ONCE];

    for (size_t i = 0; i < AT_ONCE; i++)
        tasks[i] = task;
    for (uint64_t i = 0; i < n; i += AT_ONCE)
        need(dtq_submit_many(b->client, tasks, n - i < AT_ONCE ? (size_t)(n - i) : AT_ONCE, WAIT_MS,
                             submitted),
             b);
}

/* From submitting the only task of a group to its start. */
static double lone_ms(struct bed *b, unsigned i)
{
    struct timespec apart = {.tv_nsec = (long)(50 + 7 * i % TASK_MS) * 1000000};
    char group[16];
    dtq_task task;
    dtq_result r;
    uint64_t from_us;
    dtq_id id;

    snprintf(group, sizeof group, "lone-%u", i);
    task = stamp_task("fair", "0", group);
    nanosleep(&apart, NULL);
    from_us = since_boot_us();
    need(dtq_submit(b->client, &task, WAIT_MS, &id), b);
    need(dtq_wait_one(b->client, &id, WAIT_MS, &r), b);
    return ((double)stamp_of(&r).began_us - (double)from_us) / 1000;
}

static void fair_shares(const struct bench_opts *o, uint64_t n)
{
    double ms[LONE];
    char sleep_ms[16];
    struct bed b;

    snprintf(sleep_ms, sizeof sleep_ms, "%u", TASK_MS);
    bed_open(&b, (struct bed_cfg){.workers = WORKERS, .slots = SLOTS});
    bed_connect(&b, DTQ_FOLLOW_NONE);
    submit_crowd(&b, stamp_task("fair", sleep_ms, "crowd"), n);
    report_say("%llu tasks of %u ms of one group; %u times the only one of another; others use "
               "%.2f processors",
               (unsigned long long)n, TASK_MS, LONE, bench_calm(o));
    for (unsigned i = 0; i < LONE; i++)
        ms[i] = lone_ms(&b, i);
    bed_close(&b);
    report_say("%28s %8s %8s", "to its start, ms", "p50", "most");
    report_say("%28s %8.2f %8.2f", "", load_quantile(ms, LONE, 0.5), load_quantile(ms, LONE, 1));
    report_line("fair", json_pack("{s:i, s:f, s:f}", "tasks", (int)n, "p50_ms",
                                  load_quantile(ms, LONE, 0.5), "most_ms", ms[LONE - 1]));
    report_verdict("the only task of a group starts within, p50", load_quantile(ms, LONE, 0.5),
                   "ms", false, TASK_MS);
}

void bench_l(const struct bench_opts *o)
{
    struct bed b;

    report_say("%u workers of %u slots; others use %.2f processors", WORKERS, SLOTS, bench_calm(o));
    bed_open(&b, (struct bed_cfg){.workers = WORKERS, .slots = SLOTS});
    bed_connect(&b, DTQ_FOLLOW_OWN);
    rates(&b);
    limits(&b);
    bed_close(&b);
    fair_shares(o, o->tasks != 0 ? o->tasks : CROWD);
}
