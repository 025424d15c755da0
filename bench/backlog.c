/*
 * Scenario E: millions of queued tasks: what they cost in memory and on the disk, whether rates
 * keep up, how long a restart takes, and the same work through the whole pipeline.
 */
#include "bed.h"
#include "bench.h"
#include "dtq/admin.h"
#include "gauge.h"
#include "proc.h"

#include <stdio.h>
#include <time.h>

#define TASKS 10000000u
#define FEW 100000u      /* the small backlog that the large one is compared with */
#define PROBE 1000000u   /* tasks over which a rate is measured */
#define STEPS 10u        /* in which the large one is submitted */
#define STATUS_MS 20000  /* longest wait for an answer */
#define FORGOTTEN_MS 400 /* longer than the journal waits for company of what is deleted */
#define ROUNDS_MAX 64

static uint64_t open_tasks(struct bed *b)
{
    const dtq_queue_info *queues;
    uint64_t n = 0;
    size_t queues_n;

    if (dtq_queues(b->client, STATUS_MS, &queues, &queues_n) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(b->client));
    for (size_t i = 0; i < queues_n; i++)
        n += queues[i].ready + queues[i].dispatched + queues[i].scheduled + queues[i].ending;
    return n;
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000};

    nanosleep(&t, NULL);
}

static double memory_mib(const struct bed *b)
{
    return (double)gauge_anonymous_bytes(b->members[BED_VENTILATOR].pid) / (1 << 20);
}

struct drained {
    double rate;   /* tasks a second */
    double cpu_us; /* of all programs, a task */
    double ventilator_us;
    double mib; /* most of the ventilator's memory meanwhile */
};

static uint64_t cpu_ns(const struct bed *b)
{
    uint64_t ns = gauge_descendants_cpu_ns(b->members[BED_WORKER].pid);

    for (int m = BED_VENTILATOR; m <= BED_WORKER; m++)
        ns += gauge_cpu_ns(b->members[m].pid);
    return ns;
}

/* Until no more than `left` are open. The journal forgets what is settled a little later: at the
 * end that is waited for, so that it is counted in a short backlog as it is in a long one. */
static void drain(struct bed *b, uint64_t left, struct drained *ret)
{
    pid_t ventilator = b->members[BED_VENTILATOR].pid;
    uint64_t from_us = proc_now_us();
    uint64_t cpu_from_ns = cpu_ns(b);
    uint64_t ventilator_from_ns = gauge_cpu_ns(ventilator);
    uint64_t first = open_tasks(b);
    uint64_t now = first;
    double mib;

    *ret = (struct drained){0};
    while (now > left) {
        pause_ms(10);
        now = open_tasks(b);
        mib = memory_mib(b);
        ret->mib = mib > ret->mib ? mib : ret->mib;
    }
    ret->rate = (double)(first - now) * 1e6 / (double)(proc_now_us() - from_us);
    if (now == 0)
        pause_ms(FORGOTTEN_MS);
    ret->cpu_us = (double)(cpu_ns(b) - cpu_from_ns) / 1000 / (double)(first - now);
    ret->ventilator_us =
        (double)(gauge_cpu_ns(ventilator) - ventilator_from_ns) / 1000 / (double)(first - now);
}

static double submit(struct bed *b, uint64_t tasks)
{
    struct load load = bed_noops(b);
    double seconds;

    load.window = 0;
    if (load_flow(&load, tasks, true, &seconds) != DTQ_OK || load.failed != 0)
        bed_fail("%s", dtq_client_errmsg(b->client));
    return (double)tasks / seconds;
}

struct backlog {
    double submit_rate;     /* of the last step */
    struct drained drained; /* the first million or all of it */
    double mib_queued;      /* most of the ventilator's memory until all are queued .. */
    double mib;             /* .. and until all are drained */
    double mib_early;       /* at a tenth of it */
    double disk_bytes;      /* a task */
    double restart_ms;      /* until a worker has done the first one */
};

static void fill(struct bed *b, uint64_t tasks, struct backlog *r)
{
    for (unsigned i = 0; i < STEPS; i++) {
        double mib;

        r->submit_rate = submit(b, tasks / STEPS);
        mib = memory_mib(b);
        r->mib_queued = mib > r->mib_queued ? mib : r->mib_queued;
        if (i == 0)
            r->mib_early = mib;
    }
    r->disk_bytes = (double)bed_disk_bytes(b, BED_VENTILATOR) / (double)tasks;
}

/* With the backlog on the disk: from the start of the ventilator to the first task that a worker,
 * started when it is ready, has done. */
static void restart(struct bed *b, uint64_t tasks, struct backlog *r)
{
    uint64_t from_us;

    bed_stop(b, BED_VENTILATOR);
    from_us = proc_now_us();
    bed_start(b, BED_VENTILATOR);
    bed_start(b, BED_WORKER);
    while (open_tasks(b) >= tasks)
        pause_ms(1);
    r->restart_ms = (double)(proc_now_us() - from_us) / 1000;
}

static void run(uint64_t tasks, struct backlog *r)
{
    struct drained rest;
    struct bed b;
    double mib;

    *r = (struct backlog){0};
    bed_open(&b, (struct bed_cfg){.slots = 2});
    bed_connect(&b, DTQ_FOLLOW_NONE);
    fill(&b, tasks, r);
    restart(&b, tasks, r);
    drain(&b, tasks > 2 * PROBE ? tasks - PROBE : 0, &r->drained);
    drain(&b, 0, &rest);
    mib = rest.mib > r->drained.mib ? rest.mib : r->drained.mib;
    r->mib = mib > r->mib_queued ? mib : r->mib_queued;
    report_say("%10llu %10.0f %10.0f %8.2f %8.2f %8.1f %8.1f %8.0f %10.0f",
               (unsigned long long)tasks, r->submit_rate, r->drained.rate, r->drained.cpu_us,
               r->drained.ventilator_us, r->mib_early, r->mib, r->disk_bytes, r->restart_ms);
    report_line("backlog",
                json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "tasks",
                          (json_int_t)tasks, "submit_per_second", r->submit_rate,
                          "drain_per_second", r->drained.rate, "drain_cpu_us", r->drained.cpu_us,
                          "drain_ventilator_us", r->drained.ventilator_us, "mib_early",
                          r->mib_early, "mib", r->mib, "disk_bytes", r->disk_bytes, "restart_ms",
                          r->restart_ms));
    bed_close(&b);
}

static double submit_rate_of(const struct backlog *r)
{
    return r->submit_rate;
}

static double drain_rate_of(const struct backlog *r)
{
    return r->drained.rate;
}

static double drain_cpu_of(const struct backlog *r)
{
    return r->drained.cpu_us;
}

static double median_of(const struct backlog *few, unsigned n,
                        double (*value)(const struct backlog *))
{
    double values[ROUNDS_MAX];

    for (unsigned i = 0; i < n; i++)
        values[i] = value(&few[i]);
    return load_quantile(values, n, 0.5);
}

/* The short backlog takes a fraction of a second and the long one a minute, in which the machine
 * has other moods: so the short one is measured several times, on both sides of the long one. */
void bench_e(const struct bench_opts *o)
{
    uint64_t tasks = o->tasks != 0 ? o->tasks : TASKS;
    unsigned before = o->rounds / 2 + 1;
    struct backlog few[ROUNDS_MAX];
    struct backlog many;

    report_say("others use %.2f processors", bench_calm(o));
    report_say("%10s %10s %10s %8s %8s %8s %8s %8s %10s", "queued", "submit/s", "drain/s", "CPU us",
               "of vent.", "MiB early", "MiB", "disk B", "restart ms");
    for (unsigned i = 0; i < before; i++)
        run(FEW, &few[i]);
    run(tasks, &many);
    for (unsigned i = before; i < o->rounds; i++)
        run(FEW, &few[i]);
    report_verdict("ventilator's memory", many.mib, "MiB", false, 256);
    report_verdict("its growth from a tenth to all", many.mib_queued / many.mib_early, "x", false,
                   1.2);
    report_verdict("drain, few to many",
                   median_of(few, o->rounds, drain_rate_of) / many.drained.rate, "x", false, 1.3);
    report_verdict("CPU of that, many to few",
                   many.drained.cpu_us / median_of(few, o->rounds, drain_cpu_of), "x", false, 1.3);
    report_verdict("submit, few to many",
                   median_of(few, o->rounds, submit_rate_of) / many.submit_rate, "x", false, 2);
    report_verdict("restart to the first task done", many.restart_ms, "ms", false, 1000);
    report_verdict("disk, a task", many.disk_bytes, "bytes", false, 260);
}
