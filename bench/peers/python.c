/*
 * Celery and RQ: their workers and their producer are programs of Python in this folder; broker and
 * results are Redis.
 */
#include "bed.h"
#include "gauge.h"
#include "peer.h"
#include "proc.h"
#include "server.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 60000
#define PRODUCE_MS 600000
#define WORDS 7

/* A Python program: interpreter, options, file, what it is to do, the port, two numbers. */
struct program {
    struct child child;
    char words[WORDS][PATH_MAX];
    char *argv[WORDS + 1];
};

static void begin(const struct peer *p, struct program *g, const char *role, uint16_t port,
                  uint64_t a, uint64_t b)
{
    char why[PATH_MAX + 128];

    memset(g, 0, sizeof *g);
    snprintf(g->words[0], PATH_MAX,
             "/usr/bin/python3");          /* the one that Debian's packages are for */
    snprintf(g->words[1], PATH_MAX, "-B"); /* it leaves no compiled files */
    snprintf(g->words[2], PATH_MAX, "%s/%s", BENCH_PEERS, p->program);
    snprintf(g->words[3], PATH_MAX, "%s", role);
    snprintf(g->words[4], PATH_MAX, "%u", port);
    snprintf(g->words[5], PATH_MAX, "%llu", (unsigned long long)a);
    snprintf(g->words[6], PATH_MAX, "%llu", (unsigned long long)b);
    for (int i = 0; i < WORDS; i++)
        g->argv[i] = g->words[i];
    g->child = (struct child){.program = g->argv[0], .argv = g->argv, .stop_signal = SIGKILL};
    if (child_start(&g->child, why, sizeof why) != DTQ_OK)
        bed_fail("%s", why);
}

/* Until it has written its line, "ready key=value ..". */
static void wait_line(const struct peer *p, struct program *g, uint64_t patience_ms)
{
    uint64_t until_ms = proc_now_ms() + patience_ms;

    while (!g->child.ready) {
        struct pollfd poll_out = {.fd = g->child.out, .events = POLLIN};

        if (proc_now_ms() > until_ms || child_reap(&g->child))
            bed_fail("%s: %s %s", p->name, g->words[3],
                     g->child.pid == 0 ? "ended before it was done" : "takes too long");
        poll(&poll_out, 1, 100);
        child_read(&g->child);
    }
}

/* With all that it started. */
static void finish(struct program *g)
{
    pid_t group = g->child.pid;

    kill(-group, SIGKILL);
    while (!child_reap(&g->child)) {
        struct pollfd p = {.fd = g->child.pidfd, .events = POLLIN};

        poll(&p, 1, 100);
    }
}

static double value_of(const struct peer *p, const struct program *g, const char *key)
{
    char text[64];

    if (!child_ready_value(&g->child, key, text, sizeof text))
        bed_fail("%s does not say its %s: %s", p->name, key, g->child.line);
    return strtod(text, NULL);
}

void python_queue(const struct peer *p, uint64_t tasks, struct peer_figures *ret)
{
    struct server s;
    struct program producer;
    uint64_t bytes;

    redis_start(&s, p->is_durable);
    bytes = gauge_anonymous_bytes(s.child.pid);
    begin(p, &producer, "submit", s.port, tasks, 0);
    wait_line(p, &producer, PRODUCE_MS);
    ret->submit_rate = (double)tasks / value_of(p, &producer, "seconds");
    ret->queued_bytes = (double)(gauge_anonymous_bytes(s.child.pid) - bytes) / (double)tasks;
    finish(&producer);
    server_stop(&s);
}

void python_run(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret)
{
    struct server s;
    struct program workers[PEER_WORKERS];
    struct program producer;

    redis_start(&s, p->is_durable);
    for (unsigned i = 0; i < p->workers; i++)
        begin(p, &workers[i], p->worker, s.port, PEER_WORKERS / p->workers, 0);
    for (unsigned i = 0; i < p->workers; i++)
        wait_line(p, &workers[i], PATIENCE_MS);
    begin(p, &producer, "run", s.port, tasks, trips);
    wait_line(p, &producer, PRODUCE_MS);
    ret->rate = (double)tasks / value_of(p, &producer, "seconds");
    ret->p50_us = value_of(p, &producer, "p50");
    ret->p99_us = value_of(p, &producer, "p99");
    finish(&producer);
    for (unsigned i = 0; i < p->workers; i++)
        finish(&workers[i]);
    server_stop(&s);
}
