/*
 * The task queues that dtq is compared with. Each does the same work: N tasks of 128 bytes that do
 * nothing, by 2 worker processes, with results of 16 bytes, all of them in the producer's hand; and
 * one task at a time on an idle system.
 */
#ifndef DTQ_BENCH_PEER_H
#define DTQ_BENCH_PEER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PEER_PAYLOAD_BYTES 128
#define PEER_RESULT_BYTES 16
#define PEER_WORKERS 2
#define PEER_PACKAGES_MAX 4

struct peer_figures {
    double submit_rate;  /* confirmed tasks a second, no worker attached */
    double queued_bytes; /* anonymous memory of the server (dtq: the ventilator), a queued task */
    double rate;         /* tasks a second, from the first submission to the last result */
    double p50_us;       /* round trips on the idle system */
    double p99_us;
};

struct peer_package {
    const char *name; /* Debian's */
    const char *file; /* that it brings: here if this is */
};

struct peer {
    const char *name;
    const char *setting; /* what was chosen, in short */
    struct peer_package packages[PEER_PACKAGES_MAX];
    uint64_t tasks; /* of a round */
    uint32_t trips;
    bool is_durable; /* a task that is confirmed is on the disk */
    /* Set submit_rate and queued_bytes: a new server without workers. */
    void (*queue)(const struct peer *p, uint64_t tasks, struct peer_figures *ret);
    /* Set the others: a new server with workers. */
    void (*run)(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret);
    bool is_async; /* dtq */
    /* Celery, RQ: the Python program in this folder, how its worker is called there, and how many
     * of these make PEER_WORKERS processes. */
    const char *program;
    const char *worker;
    unsigned workers;
};

/* In bench/peers/NAME.c. */
void dtq_queue(const struct peer *p, uint64_t tasks, struct peer_figures *ret);
void dtq_run(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret);
void redis_queue(const struct peer *p, uint64_t tasks, struct peer_figures *ret);
void redis_run(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret);
void beanstalkd_queue(const struct peer *p, uint64_t tasks, struct peer_figures *ret);
void beanstalkd_run(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret);
void python_queue(const struct peer *p, uint64_t tasks, struct peer_figures *ret);
void python_run(const struct peer *p, uint64_t tasks, uint32_t trips, struct peer_figures *ret);

#endif
