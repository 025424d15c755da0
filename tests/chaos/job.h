/*
 * What producers, handlers and the checker of the chaos run agree on: which task has which number
 * (all of it follows from the seed), what its payload and its result are, and the records of the
 * logs that survive `kill -9`.
 */
#ifndef DTQ_CHAOS_JOB_H
#define DTQ_CHAOS_JOB_H

#include <dtq/base.h>

#include <stdbool.h>

#define JOB_BYTES_MAX (96u * 1024) /* of a payload or a result */
#define JOB_NAME "chaos.job"
#define JOB_FAILS_ALWAYS UINT32_MAX

enum job_kind {
    JOB_PLAIN,
    JOB_SLOW,
    JOB_LARGE,
    JOB_RETRIED,  /* its first attempts fail, then it succeeds */
    JOB_FAILING,  /* every attempt fails */
    JOB_CRASHING, /* its first attempt kills its slot */
    JOB_DELAYED,
    JOB_EXPIRING,
    JOB_CANCELLED, /* its producer asks for that once it is confirmed */
    JOB_KINDS
};

struct job {
    uint64_t number; /* of its producer: 1, 2, .. */
    uint32_t producer;
    enum job_kind kind;
    uint32_t priority;
    uint32_t retries;
    uint32_t crash_limit;
    uint32_t work_ms;
    uint32_t fails; /* attempts that fail */
    uint32_t crashes;
    uint32_t delay_ms;
    uint32_t expires_ms;
    uint32_t payload_bytes;
    uint32_t result_bytes;
    char queue[16];
};

/* The next of a sequence that follows from its start. */
uint64_t job_random(uint64_t *state);
/* 0 .. n - 1 */
uint32_t job_below(uint64_t *state, uint32_t n);
uint64_t job_now_ms(void); /* CLOCK_MONOTONIC: one clock for all processes of a run */

/* @param slow_ms  how long the slow ones work, at most */
void job_make(uint64_t seed, uint32_t producer, uint64_t number, uint32_t slow_ms,
              struct job *ret_job);
/* `ret` has room for JOB_BYTES_MAX. @return bytes */
size_t job_payload(const struct job *job, void *ret);
size_t job_result(const struct job *job, void *ret);
/* The handler's side: what a payload says. @return false: it is damaged. */
bool job_read(const void *payload, size_t bytes, struct job *ret_job);

enum record_kind {
    /* of a producer */
    RECORD_INTENT = 'I',    /* numbers up to this one may be submitted from now on */
    RECORD_QUEUED = 'Q',    /* id and number belong together */
    RECORD_CONFIRMED = 'C', /* the promise */
    RECORD_REFUSED = 'X',
    RECORD_UNKNOWN = 'U',
    RECORD_CANCEL = 'K', /* is about to be asked for */
    RECORD_RESULT = 'R',
    /* of a handler */
    RECORD_BEGUN = 'b',
    RECORD_SUCCESS = 's',
    RECORD_FAILURE = 'f',
    RECORD_CRASH = 'k',
};

/* One write() with O_APPEND each: whole, or not there. */
struct record {
    dtq_id id;
    uint64_t number;
    uint64_t now_ms;
    uint64_t not_before_wall_ms;
    uint32_t producer;
    uint32_t attempt;
    uint32_t pid;
    uint8_t kind;
    uint8_t state;
    uint8_t reason;
    uint8_t err;
    uint64_t spare;
};
_Static_assert(sizeof(struct record) == 64, "records have one size");

/* @return the descriptor, or -1 with errno set. */
int record_open(const char *path);
/* Fills in time and process. Ends the process when it cannot: a run without its log proves nothing.
 */
void record_append(int fd, struct record record);

#endif
