/*
 * What is known of every task of a chaos run, from three sides: what producers were told and what
 * handlers did (both read from logs that survive `kill -9`), and what the sink holds. In the end
 * the three must agree.
 */
#ifndef DTQ_CHAOS_CHECK_H
#define DTQ_CHAOS_CHECK_H

#include "job.h"

#include <dtq/dtq.h>

#include "idmap.h"

#define CHECK_LOGS_MAX 32u
#define CHECK_SAYS_MAX 20u

struct fact {
    dtq_id id;
    uint64_t number; /* 0: not known */
    uint32_t producer;
    uint16_t begun;
    uint16_t successes;
    uint16_t failures;
    bool queued;
    bool confirmed;
    bool refused;
    bool cancelled; /* that was asked for */
    bool proven;    /* the attempt of its outcome succeeded at a handler */
    /* Outcomes as producers were told, as the follower saw, as the sink holds in the end. */
    struct view {
        uint8_t state; /* 0: none */
        uint8_t reason;
        uint32_t attempt;
    } told, seen, held;
};

struct check_totals {
    uint64_t submitted;
    uint64_t confirmed;
    uint64_t refused;
    uint64_t settled; /* seen or held */
    uint64_t states[DTQ_CANCELLED + 1];
    uint64_t told;
    uint64_t executions;
    uint64_t again;  /* executions that succeeded although another one had */
    uint64_t untold; /* outcomes of tasks whose producer was killed before it could write the id */
    uint64_t lost;
    uint64_t second; /* two different outcomes of one id */
    uint64_t wrong;  /* anything else */
};

struct check {
    uint64_t seed;
    uint32_t slow_ms;
    struct dtqi_idmap map;
    struct fact *facts;
    uint32_t n;
    uint32_t room;
    uint64_t intent[CHECK_LOGS_MAX];
    struct {
        char *path;
        int fd;
        uint64_t at;
    } logs[CHECK_LOGS_MAX];
    uint32_t logs_n;
    struct check_totals totals;
    uint32_t said;
    void (*say)(const char *text);
};

void check_init(struct check *c, uint64_t seed, uint32_t slow_ms, void (*say)(const char *text));
void check_done(struct check *c);
void check_add_log(struct check *c, const char *path);
/* Take in what the logs have got since the last time. */
void check_read(struct check *c);
/* An outcome as it was committed, or (`held`) as the sink has it in the end, with its body. */
void check_outcome(struct check *c, const dtq_result *result, bool held);
/* Confirmed, and no outcome was seen. */
uint64_t check_open(const struct check *c);
/* After everything was read and every held outcome was given. A confirmed task without an outcome
 * is lost, unless not all was `settled`. @return nothing is wrong. */
bool check_end(struct check *c, bool settled);

#endif
