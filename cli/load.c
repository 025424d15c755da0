#include "load.h"

#include "proc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define BURST 512u          /* submitted before events are looked at */
#define PROGRESS_EVERY 4096 /* tasks */

#define MIX_LONG 10u
#define MIX_LONG_MS 200u
#define MIX_SHORT_MS 2u

struct flow {
    uint64_t tasks;
    uint64_t submitted;
    uint64_t done; /* confirmed, or with a result, whichever is waited for */
    bool submit_only;
};

static dtq_task task_of(const struct load_task *t)
{
    dtq_task task;

    dtq_task_init(&task, t->name, t->payload, t->payload_bytes);
    task.queue = t->queue;
    task.retries = 0;
    return task;
}

static bool has_no_room(dtq_err err)
{
    return err == DTQ_EAGAIN || err == DTQ_EBUSY;
}

/* @return DTQ_EAGAIN: no room for more now. */
static dtq_err submit_burst(struct load *l, struct flow *f, const dtq_task *task)
{
    for (uint32_t i = 0; i < BURST && f->submitted < f->tasks; i++) {
        dtq_err err = DTQ_EAGAIN;

        if (l->window == 0 || f->submitted - f->done < l->window)
            err = dtq_submit_async(l->client, task, 0, NULL);
        if (err != DTQ_OK)
            return has_no_room(err) ? DTQ_EAGAIN : err;
        f->submitted++;
    }
    return DTQ_OK;
}

static void count_event(struct load *l, struct flow *f, const dtq_event *ev)
{
    bool refused = ev->type == DTQ_EVENT_SUBMITTED && ev->submitted.err != DTQ_OK;
    bool failed = ev->type == DTQ_EVENT_RESULT && ev->result.state != DTQ_SUCCEEDED;

    if (refused || failed)
        l->failed++;
    if (!refused && (ev->type == DTQ_EVENT_SUBMITTED) != f->submit_only)
        return;
    if (++f->done % PROGRESS_EVERY == 0 && l->progress != NULL)
        l->progress(l->arg, f->done);
}

/* Every event that is here; with `wait`, one more that is waited for. */
static dtq_err take_events(struct load *l, struct flow *f, bool wait)
{
    dtq_event ev;
    dtq_err err;

    while ((err = dtq_next_event(l->client, wait ? l->silence_ms : 0, &ev)) == DTQ_OK) {
        count_event(l, f, &ev);
        wait = false;
    }
    return err == DTQ_EAGAIN || (err == DTQ_ENOTFOUND && !wait) ? DTQ_OK : err;
}

dtq_err load_flow(struct load *l, uint64_t tasks, bool submit_only, double *ret_seconds)
{
    struct flow f = {.tasks = tasks, .submit_only = submit_only};
    dtq_task task = task_of(&l->task);
    uint64_t from_us = proc_now_us();

    while (f.done < tasks) {
        dtq_err err = submit_burst(l, &f, &task);

        if (err == DTQ_OK || err == DTQ_EAGAIN)
            err = take_events(l, &f, err == DTQ_EAGAIN || f.submitted == tasks);
        if (err != DTQ_OK)
            return err;
    }
    *ret_seconds = (double)(proc_now_us() - from_us) / 1e6;
    return DTQ_OK;
}

static dtq_err take_result(struct load *l)
{
    dtq_event ev;
    dtq_err err;

    while ((err = dtq_next_event(l->client, l->silence_ms, &ev)) == DTQ_OK) {
        if (ev.type == DTQ_EVENT_SUBMITTED && ev.submitted.err != DTQ_OK)
            return ev.submitted.err;
        if (ev.type == DTQ_EVENT_RESULT) {
            l->failed += ev.result.state != DTQ_SUCCEEDED;
            return DTQ_OK;
        }
    }
    return err;
}

dtq_err load_trips(struct load *l, uint32_t n, double *ret_us)
{
    dtq_task task = task_of(&l->task);

    for (uint32_t i = 0; i < n; i++) {
        uint64_t from_us = proc_now_us();
        dtq_err err = dtq_submit_async(l->client, &task, l->silence_ms, NULL);

        if (err == DTQ_OK)
            err = take_result(l);
        if (err != DTQ_OK)
            return err;
        ret_us[i] = (double)(proc_now_us() - from_us);
        if (l->progress != NULL)
            l->progress(l->arg, i + 1);
    }
    return DTQ_OK;
}

dtq_err load_mix(struct load *l, const uint32_t *ms, uint32_t n, double *ret_seconds)
{
    struct flow f = {.tasks = n};
    dtq_task task = task_of(&l->task);
    uint64_t from_us = proc_now_us();
    char text[16];

    for (uint32_t i = 0; i < n; i++) {
        dtq_err err;

        task.payload = text;
        task.payload_bytes = (size_t)snprintf(text, sizeof text, "%u", ms[i]);
        err = dtq_submit_async(l->client, &task, l->silence_ms, NULL);
        if (err != DTQ_OK)
            return err;
    }
    while (f.done < n) {
        dtq_err err = take_events(l, &f, true);

        if (err != DTQ_OK)
            return err;
    }
    *ret_seconds = (double)(proc_now_us() - from_us) / 1e6;
    return DTQ_OK;
}

/* splitmix64: the same orders on every machine. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static void shuffle(uint32_t *ms, uint32_t n, uint64_t seed)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = (uint32_t)(next_random(&seed) % i);
        uint32_t swap = ms[i - 1];

        ms[i - 1] = ms[k];
        ms[k] = swap;
    }
}

void load_mix_order(uint32_t order, uint32_t ret_ms[LOAD_MIX_TASKS])
{
    for (uint32_t i = 0; i < LOAD_MIX_TASKS; i++)
        ret_ms[i] = i % 2 == 0 && i / 2 < MIX_LONG ? MIX_LONG_MS : MIX_SHORT_MS;
    if (order != 0)
        shuffle(ret_ms, LOAD_MIX_TASKS, order);
}

double load_greedy_seconds(const uint32_t *ms, uint32_t n, uint32_t slots)
{
    uint64_t busy_ms[64] = {0};
    uint64_t end_ms = 0;

    assert(slots > 0);
    assert(slots <= sizeof busy_ms / sizeof *busy_ms);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = 0;

        for (uint32_t s = 1; s < slots; s++)
            if (busy_ms[s] < busy_ms[first])
                first = s;
        busy_ms[first] += ms[i];
        if (busy_ms[first] > end_ms)
            end_ms = busy_ms[first];
    }
    return (double)end_ms / 1000;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double load_quantile(double *values, size_t n, double q)
{
    assert(n > 0);
    qsort(values, n, sizeof *values, compare);
    return values[(size_t)(q * (double)(n - 1) + 0.5)];
}
