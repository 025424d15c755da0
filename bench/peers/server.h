/*
 * A server of somebody else's for as long as it is measured: on loopback, at a port that is free,
 * with its data and its configuration in a folder of its own; never the machine's own service. And
 * worker processes of ours. All of them die with us.
 */
#ifndef DTQ_BENCH_SERVER_H
#define DTQ_BENCH_SERVER_H

#include "supervise.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define SERVER_WORDS 12

struct server {
    struct child child;
    uint16_t port;
    char dir[PATH_MAX];
    char words[SERVER_WORDS][PATH_MAX + 32];
    char *argv[SERVER_WORDS + 1];
};

/* Both wait until it takes connections. With `durable` what is confirmed is on the disk. */
void redis_start(struct server *s, bool durable);
void beanstalkd_start(struct server *s, bool durable);
/* Ends it, and removes its folder. */
void server_stop(struct server *s);

/* A child process that runs work(port, number) until it is killed, or we are gone. */
typedef void server_work(uint16_t port, unsigned number);
pid_t worker_start(server_work *work, uint16_t port, unsigned number);
void worker_stop(pid_t pid);

#endif
