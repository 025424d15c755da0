/*
 * Scenario S: tasks that wait for their time: how late they start, and what a million of them cost;
 * a million that are ready, of mixed priority, and how soon an urgent one runs.
 */
#include "bed.h"
#include "bench.h"
#include "dtq/admin.h"
#include "gauge.h"
#include "proc.h"
#include "stamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MANY 1000000u
#define AT_ONCE 10000u
#define FIRED 5000u    /* tasks with a delay each .. */
#define FROM_MS 2000u  /* .. from this .. */
#define OVER_MS 20000u /* .. to so much more */
#define URGENT 50u
#define TASK_MS 20u /* of the backlog that urgent ones overtake */
#define WAIT_MS 120000

static uint64_t since_boot_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static dtq_task stamp_task(const char *sleep_ms)
{
    dtq_task task;

    dtq_task_init(&task, "bench.stamp", sleep_ms, strlen(sleep_ms));
    return task;
}

/* ---------------------------------------------------------------- how late delayed tasks start */

static void submit_delayed(struct bed *b, uint64_t *due_us)
{
    for (uint32_t i = 0; i < FIRED; i++) {
        dtq_task task = stamp_task("0");

        task.delay_ms = FROM_MS + (uint64_t)i * 7919 % FIRED * OVER_MS / FIRED;
        task.tag = i;
        due_us[i] = since_boot_us() + task.delay_ms * 1000;
        if (dtq_submit_async(b->client, &task, WAIT_MS, NULL) != DTQ_OK)
            bed_fail("%s", dtq_client_errmsg(b->client));
    }
    if (dtq_flush(b->client, WAIT_MS) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(b->client));
}

static void take_lateness(struct bed *b, const uint64_t *due_us, double *ret_ms)
{
    for (uint32_t i = 0; i < FIRED; i++) {
        struct stamp stamp;
        dtq_result r;

        if (dtq_next_result(b->client, WAIT_MS, &r) != DTQ_OK)
            bed_fail("%s", dtq_client_errmsg(b->client));
        if (r.state != DTQ_SUCCEEDED || r.body_bytes != sizeof stamp || r.tag >= FIRED)
            bed_fail("a task failed: %s", (const char *)r.body);
        memcpy(&stamp, r.body, sizeof stamp);
        ret_ms[r.tag] = ((double)stamp.began_us - (double)due_us[r.tag]) / 1000;
    }
}

static void firing(const struct bench_opts *o)
{
    uint64_t *due_us = calloc(FIRED, sizeof *due_us);
    double *late_ms = calloc(FIRED, sizeof *late_ms);
    double others = bench_calm(o);
    struct bed b;

    if (due_us == NULL || late_ms == NULL)
        bed_fail("out of memory");
    bed_open(&b, (struct bed_cfg){.workers = 1, .slots = 2});
    bed_connect(&b, DTQ_FOLLOW_OWN);
    submit_delayed(&b, due_us);
    take_lateness(&b, due_us, late_ms);
    bed_close(&b);
    report_say("%u tasks, a delay each of %.0f to %.0f s, 1 worker of 2 slots; others use %.2f "
               "processors",
               FIRED, FROM_MS / 1e3, (FROM_MS + OVER_MS) / 1e3, others);
    report_say("%28s %8s %8s %8s %8s", "start late by, ms", "least", "p50", "p99", "most");
    report_say("%28s %8.2f %8.2f %8.2f %8.2f", "", load_quantile(late_ms, FIRED, 0),
               load_quantile(late_ms, FIRED, 0.5), load_quantile(late_ms, FIRED, 0.99),
               load_quantile(late_ms, FIRED, 1));
    report_line("firing",
                json_pack("{s:i, s:f, s:f, s:f, s:f, s:f}", "tasks", (int)FIRED, "least_ms",
                          late_ms[0], "p50_ms", load_quantile(late_ms, FIRED, 0.5), "p99_ms",
                          load_quantile(late_ms, FIRED, 0.99), "most_ms", late_ms[FIRED - 1],
                          "others_processors", others));
    report_verdict("a delayed task starts late by, p99", load_quantile(late_ms, FIRED, 0.99), "ms",
                   false, 20);
    report_verdict("or early by, at most", late_ms[0] < 0 ? -late_ms[0] : 0, "ms", false, 2);
    free(due_us);
    free(late_ms);
}

/* ---------------------------------------------------------------- many */

typedef void vary_fn(dtq_task *task, uint64_t i);

static double submit_many(struct bed *b, uint64_t n, vary_fn *vary)
{
    static dtq_task tasks[AT_ONCE];
    static dtq_submitted submitted[AT_ONCE];
    char sleep_ms[16];
    uint64_t from_us = proc_now_us();

    snprintf(sleep_ms, sizeof sleep_ms, "%u", TASK_MS);
    for (uint64_t i = 0; i < n; i += AT_ONCE) {
        size_t part = n - i < AT_ONCE ? (size_t)(n - i) : AT_ONCE;

        for (size_t k = 0; k < part; k++) {
            tasks[k] = stamp_task(sleep_ms);
            vary(&tasks[k], i + k);
        }
        if (dtq_submit_many(b->client, tasks, part, WAIT_MS, submitted) != DTQ_OK)
            bed_fail("%s", dtq_client_errmsg(b->client));
    }
    return (double)(proc_now_us() - from_us) / 1e6;
}

static double own_mib(const struct bed *b, int member)
{
    return (double)gauge_anonymous_bytes(b->members[member].pid) / (1 << 20);
}

static double rss_mib(const struct bed *b, int member)
{
    return (double)gauge_resident_bytes(b->members[member].pid) / (1 << 20);
}

/* Memory of its own, and with pages of the journal that it has mapped. */
static void say_memory(const struct bed *b, const char *what, const char *when)
{
    report_say("%-10s %-28s %11.1f %11.1f %11.1f %11.1f", what, when, own_mib(b, BED_VENTILATOR),
               rss_mib(b, BED_VENTILATOR), own_mib(b, BED_WORKER), rss_mib(b, BED_WORKER));
    report_line("memory",
                json_pack("{s:s, s:s, s:f, s:f, s:f, s:f}", "tasks", what, "when", when,
                          "ventilator_mib", own_mib(b, BED_VENTILATOR), "ventilator_rss_mib",
                          rss_mib(b, BED_VENTILATOR), "worker_mib", own_mib(b, BED_WORKER),
                          "worker_rss_mib", rss_mib(b, BED_WORKER)));
}

static uint64_t scheduled(struct bed *b)
{
    const dtq_queue_info *queues;
    size_t n;
    uint64_t sum = 0;

    if (dtq_queues(b->client, WAIT_MS, &queues, &n) != DTQ_OK)
        bed_fail("%s", dtq_client_errmsg(b->client));
    for (size_t i = 0; i < n; i++)
        sum += queues[i].scheduled;
    return sum;
}

/* The ventilator is back, and knows the sink and the worker again. */
static void restart(struct bed *b)
{
    bed_stop(b, BED_VENTILATOR);
    bed_start(b, BED_VENTILATOR);
    pause_ms(8000); /* what it may hold after a start (R33) is over */
}

static void an_hour(dtq_task *task, uint64_t i)
{
    (void)i;
    task->delay_ms = 3600 * 1000;
}

static void many_delayed(uint64_t n)
{
    double worker_mib;
    double most_mib;
    struct bed b;

    bed_open(&b, (struct bed_cfg){.workers = 1, .slots = 2});
    bed_connect(&b, DTQ_FOLLOW_NONE);
    worker_mib = own_mib(&b, BED_WORKER);
    report_say("%-10s %-28s %11s %11s %11s %11s", "MiB", "", "ventilator", "its RSS", "worker",
               "its RSS");
    say_memory(&b, "delayed", "before");
    report_say("%-10s submitted in %.1f s", "", submit_many(&b, n, an_hour));
    say_memory(&b, "delayed", "all of them wait");
    most_mib = own_mib(&b, BED_VENTILATOR);
    restart(&b);
    say_memory(&b, "delayed", "after a restart");
    if (own_mib(&b, BED_VENTILATOR) > most_mib)
        most_mib = own_mib(&b, BED_VENTILATOR);
    if (scheduled(&b) != n)
        bed_fail("%llu tasks are left", (unsigned long long)scheduled(&b));
    worker_mib = own_mib(&b, BED_WORKER) - worker_mib;
    bed_close(&b);
    report_verdict("delayed: the ventilator's memory", most_mib, "MiB", false, 256);
    report_verdict("delayed: what the worker's grew by", worker_mib, "MiB", false, 1);
}

/* ---------------------------------------------------------------- an urgent one among many */

static void any_priority(dtq_task *task, uint64_t i)
{
    task->priority = (uint32_t)(i * 7919 % 9); /* 0 .. 8: the urgent ones have 9 */
}

/* From submitting it to its start. */
static double urgent_ms(struct bed *b)
{
    dtq_task task = stamp_task("0");
    struct stamp stamp;
    uint64_t from_us;
    dtq_result r;
    dtq_id id;

    task.priority = 9;
    pause_ms(50 + rand() % TASK_MS);
    from_us = since_boot_us();
    if (dtq_submit(b->client, &task, WAIT_MS, &id) != DTQ_OK ||
        dtq_wait_one(b->client, &id, WAIT_MS, &r) != DTQ_OK || r.body_bytes != sizeof stamp)
        bed_fail("%s", dtq_client_errmsg(b->client));
    memcpy(&stamp, r.body, sizeof stamp);
    return ((double)stamp.began_us - (double)from_us) / 1000;
}

static void many_ready(const struct bench_opts *o, uint64_t n)
{
    double ms[URGENT];
    double most_mib;
    struct bed b;

    bed_open(&b, (struct bed_cfg){.slots = 1});
    bed_connect(&b, DTQ_FOLLOW_NONE);
    say_memory(&b, "ready", "before");
    report_say("%-10s submitted in %.1f s", "", submit_many(&b, n, any_priority));
    say_memory(&b, "ready", "all of them wait");
    most_mib = own_mib(&b, BED_VENTILATOR);
    restart(&b);
    say_memory(&b, "ready", "after a restart");
    bed_start(&b, BED_WORKER);
    pause_ms(2000);
    report_say("%u urgent ones, 1 slot busy with tasks of %u ms; others use %.2f processors",
               URGENT, TASK_MS, bench_calm(o));
    for (uint32_t i = 0; i < URGENT; i++)
        ms[i] = urgent_ms(&b);
    say_memory(&b, "ready", "urgent ones have run");
    if (own_mib(&b, BED_VENTILATOR) > most_mib)
        most_mib = own_mib(&b, BED_VENTILATOR);
    bed_close(&b);
    report_say("%28s %8s %8s", "urgent, to its start, ms", "p50", "most");
    report_say("%28s %8.2f %8.2f", "", load_quantile(ms, URGENT, 0.5),
               load_quantile(ms, URGENT, 1));
    report_line("urgent", json_pack("{s:i, s:f, s:f}", "tasks", (int)URGENT, "p50_ms",
                                    load_quantile(ms, URGENT, 0.5), "most_ms", ms[URGENT - 1]));
    report_verdict("ready: the ventilator's memory", most_mib, "MiB", false, 256);
    report_verdict("an urgent task starts within, p50", load_quantile(ms, URGENT, 0.5), "ms", false,
                   2 * TASK_MS);
}

void bench_s(const struct bench_opts *o)
{
    uint64_t n = o->tasks != 0 ? o->tasks : MANY;

    firing(o);
    report_say("%llu tasks", (unsigned long long)n);
    many_delayed(n);
    many_ready(o, n);
}
