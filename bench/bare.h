/*
 * The references: what bare ZeroMQ and the bare disk do on this machine, now.
 */
#ifndef DTQ_BENCH_BARE_H
#define DTQ_BENCH_BARE_H

#include <stddef.h>
#include <stdint.h>

struct bare_flow {
    double seconds;
    double cpu_us; /* of all four processes, per message */
};

/* ventilator -> 2 workers -> sink: four processes, PUSH and PULL over TCP, one 200-byte message for
 * each task, nothing kept, nothing batched. */
struct bare_flow bare_flow(uint64_t messages);

/* producer -> ventilator -> worker -> sink -> producer: as many hops as a task and its result have
 * in dtq, else as above. */
struct bare_flow bare_circle(uint32_t messages);

/* us of `n` round trips over four hops: producer -> ventilator -> worker -> sink -> producer, each
 * a process. With `dir`, the sink commits each to an LMDB environment there first: two flushes. */
void bare_trips(uint32_t n, const char *dir, double *ret_us);

/* us of `n` fdatasync() calls, each after 512 bytes that were written in place. */
void bare_flushes(uint32_t n, const char *dir, double *ret_us);

#endif
