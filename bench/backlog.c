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
#define FEW 100000u     /* the small backlog that the large one is compared with */
#define PROBE 1000000u  /* tasks over which a rate is measured */
#define STEPS 10u       /* in which the large one is submitted */
#define STATUS_MS 20000 /* longest wait for an answer */

static uint64_t open_tasks(struct bed *b)
{
    const dtq_queue_info *queues;
    uint64_t n = 0;
    size_t queues_n;

    if (dtq_queues(b->client, STATUS_MS, &queues, &queues_n) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(b->client));
    for (size_t i = 0; i < queues_n; i++)
        n += queues[i].ready + queues[i].dispatched + queues[i].scheduled;
    return n;
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000};

    nanosleep(&t, NULL);
}

/* Until no more than `left` are open. @return tasks a second. */
static double drain(struct bed *b, uint64_t left)
{
    uint64_t from_us = proc_now_us();
    uint64_t first = open_tasks(b);
    uint64_t now = first;

    while (now > left) {
        pause_ms(10);
        now = open_tasks(b);
    }
    return (double)(first - now) * 1e6 / (double)(proc_now_us() - from_us);
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

static double memory_mib(const struct bed *b)
{
    return (double)gauge_anonymous_bytes(b->members[BED_VENTILATOR].pid) / (1 << 20);
}

struct backlog {
    double submit_rate; /* of the last step */
    double drain_rate;  /* of the first million or of all of it */
    double mib;         /* most of the ventilator's memory */
    double mib_early;   /* at a tenth of it */
    double disk_bytes;  /* a task */
    double restart_ms;  /* until a worker has done the first one */
};

static void fill(struct bed *b, uint64_t tasks, struct backlog *r)
{
    for (unsigned i = 0; i < STEPS; i++) {
        double mib;

        r->submit_rate = submit(b, tasks / STEPS);
        mib = memory_mib(b);
        r->mib = mib > r->mib ? mib : r->mib;
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
    struct bed b;
    double mib;

    *r = (struct backlog){0};
    bed_open(&b, (struct bed_cfg){.slots = 2});
    bed_connect(&b, DTQ_FOLLOW_NONE);
    fill(&b, tasks, r);
    restart(&b, tasks, r);
    r->drain_rate = drain(&b, tasks > 2 * PROBE ? tasks - PROBE : 0);
    mib = memory_mib(&b);
    r->mib = mib > r->mib ? mib : r->mib;
    (void)drain(&b, 0);
    report_say("%10llu %10.0f %10.0f %8.1f %8.1f %8.0f %10.0f", (unsigned long long)tasks,
               r->submit_rate, r->drain_rate, r->mib_early, r->mib, r->disk_bytes, r->restart_ms);
    report_line("backlog",
                json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "tasks", (json_int_t)tasks,
                          "submit_per_second", r->submit_rate, "drain_per_second", r->drain_rate,
                          "mib_early", r->mib_early, "mib", r->mib, "disk_bytes", r->disk_bytes,
                          "restart_ms", r->restart_ms));
    bed_close(&b);
}

void bench_e(const struct bench_opts *o)
{
    uint64_t tasks = o->tasks != 0 ? o->tasks : TASKS;
    struct backlog few;
    struct backlog many;

    report_say("others use %.2f processors", bench_calm(o));
    report_say("%10s %10s %10s %8s %8s %8s %10s", "queued", "submit/s", "drain/s", "MiB early",
               "MiB", "disk B", "restart ms");
    run(FEW, &few);
    run(tasks, &many);
    report_verdict("ventilator's memory", many.mib, "MiB", false, 256);
    report_verdict("its growth from a tenth to all", many.mib / many.mib_early, "x", false, 1.2);
    report_verdict("drain, few to many", few.drain_rate / many.drain_rate, "x", false, 1.3);
    report_verdict("submit, few to many", few.submit_rate / many.submit_rate, "x", false, 2);
    report_verdict("restart to the first task done", many.restart_ms, "ms", false, 1000);
    report_verdict("disk, a task", many.disk_bytes, "bytes", false, 260);
}
