/*
 * The same load for every server that a client of ours speaks to over a connection: what is
 * different is how to say it.
 */
#ifndef DTQ_BENCH_WIRED_H
#define DTQ_BENCH_WIRED_H

#include "peer.h"
#include "server.h"
#include "wire.h"

#define WIRED_RESULT_BYTES (sizeof(uint64_t) + PEER_RESULT_BYTES) /* the task's number first */

/* What came back: each task's number once. */
struct tally {
    uint8_t *seen;
    uint64_t n;
    uint64_t left;
};

void tally_open(struct tally *t, uint64_t n);
/* @param result  the number of the task, 8 bytes, in front of its result */
void tally_count(struct tally *t, const void *result);
void tally_done(struct tally *t);

struct wired {
    void (*start)(struct server *s, bool durable);
    /* What a new connection says first, for tasks before there are workers; NULL: nothing. */
    void (*open_tasks)(struct wire *w);
    void (*open_results)(struct wire *w);
    server_work *work; /* a worker, over a connection of its own */
    /* Put tasks into the pipeline, with their numbers in their first 8 bytes; then wait until they
     * are confirmed. */
    void (*put_tasks)(struct wire *w, uint64_t first, uint64_t n);
    void (*read_confirmations)(struct wire *w, uint64_t n);
    /* Wait for results until none is left. */
    void (*collect)(struct wire *w, struct tally *t);
};

void wired_queue(const struct wired *d, bool durable, uint64_t tasks, struct peer_figures *ret);
void wired_run(const struct wired *d, bool durable, uint64_t tasks, uint32_t trips,
               struct peer_figures *ret);

#endif
