#include "wired.h"

#include "bed.h"
#include "gauge.h"
#include "load.h"
#include "proc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 512u
#define WARM_TRIPS 20u

void tally_open(struct tally *t, uint64_t n)
{
    *t = (struct tally){.seen = calloc(n, 1), .n = n, .left = n};
    if (t->seen == NULL)
        bed_fail("out of memory");
}

void tally_count(struct tally *t, const void *result)
{
    uint64_t number;

    memcpy(&number, result, sizeof number);
    if (number >= t->n || t->seen[number] != 0)
        bed_fail("a result that was not expected, of task %llu", (unsigned long long)number);
    t->seen[number] = 1;
    t->left--;
}

void tally_done(struct tally *t)
{
    free(t->seen);
    *t = (struct tally){0};
}

static struct wire *open_for(uint16_t port, void (*say)(struct wire *w))
{
    struct wire *w = wire_open(port);

    if (say != NULL)
        say(w);
    return w;
}

/* One batch is on its way while the one before it is answered. */
static void submit(const struct wired *d, struct wire *w, uint64_t n)
{
    uint64_t put = 0;
    uint64_t before = 0; /* tasks of the batch before */

    while (put < n) {
        uint64_t batch = n - put < BATCH ? n - put : BATCH;

        d->put_tasks(w, put, batch);
        wire_flush(w);
        if (before > 0)
            d->read_confirmations(w, before);
        put += batch;
        before = batch;
    }
    d->read_confirmations(w, before);
}

void wired_queue(const struct wired *d, bool durable, uint64_t tasks, struct peer_figures *ret)
{
    struct server s;
    struct wire *w;
    uint64_t from_us;
    uint64_t bytes;

    d->start(&s, durable);
    w = open_for(s.port, d->open_tasks);
    bytes = gauge_anonymous_bytes(s.child.pid);
    from_us = proc_now_us();
    submit(d, w, tasks);
    ret->submit_rate = (double)tasks * 1e6 / (double)(proc_now_us() - from_us);
    ret->queued_bytes = (double)(gauge_anonymous_bytes(s.child.pid) - bytes) / (double)tasks;
    server_stop(&s); /* it first: servers complain of connections that break */
    wire_close(w);
}

struct producer {
    const struct wired *d;
    struct wire *tasks;
    struct wire *results;
    uint64_t n;
};

static void *run_submitter(void *arg)
{
    const struct producer *p = arg;

    submit(p->d, p->tasks, p->n);
    return NULL;
}

/* Submit and collect at once. @return tasks a second. */
static double flow(struct producer *p, uint64_t n)
{
    uint64_t from_us = proc_now_us();
    pthread_t thread;
    struct tally t;

    p->n = n;
    tally_open(&t, n);
    if (pthread_create(&thread, NULL, run_submitter, p) != 0)
        bed_fail("no thread");
    p->d->collect(p->results, &t);
    pthread_join(thread, NULL);
    tally_done(&t);
    return (double)n * 1e6 / (double)(proc_now_us() - from_us);
}

static double trip_us(const struct producer *p)
{
    uint64_t from_us;
    struct tally t;
    double us;

    tally_open(&t, 1);
    from_us = proc_now_us();
    p->d->put_tasks(p->tasks, 0, 1);
    wire_flush(p->tasks);
    p->d->collect(p->results, &t);
    us = (double)(proc_now_us() - from_us);
    p->d->read_confirmations(p->tasks, 1);
    tally_done(&t);
    return us;
}

static void make_trips(const struct producer *p, uint32_t n, struct peer_figures *ret)
{
    double *us = malloc(n * sizeof *us);

    if (us == NULL)
        bed_fail("out of memory");
    for (uint32_t i = 0; i < WARM_TRIPS; i++)
        (void)trip_us(p);
    for (uint32_t i = 0; i < n; i++)
        us[i] = trip_us(p);
    ret->p50_us = load_quantile(us, n, 0.5);
    ret->p99_us = load_quantile(us, n, 0.99);
    free(us);
}

void wired_run(const struct wired *d, bool durable, uint64_t tasks, uint32_t trips,
               struct peer_figures *ret)
{
    pid_t workers[PEER_WORKERS];
    struct server s;
    struct producer p = {.d = d};

    d->start(&s, durable);
    p.tasks = open_for(s.port, d->open_tasks);
    p.results = open_for(s.port, d->open_results);
    for (unsigned i = 0; i < PEER_WORKERS; i++)
        workers[i] = worker_start(d->work, s.port, i);
    (void)flow(&p, tasks / 10 + 1);
    ret->rate = flow(&p, tasks);
    make_trips(&p, trips, ret);
    for (unsigned i = 0; i < PEER_WORKERS; i++)
        worker_stop(workers[i]);
    server_stop(&s);
    wire_close(p.tasks);
    wire_close(p.results);
}
