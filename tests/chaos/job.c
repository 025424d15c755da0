#include "job.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x62F0C4A5u

struct payload {
    uint32_t magic;
    uint32_t producer;
    uint64_t number;
    uint32_t work_ms;
    uint32_t fails;
    uint32_t crashes;
    uint32_t result_bytes;
    uint64_t check; /* of what follows */
};

uint64_t job_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

uint32_t job_below(uint64_t *state, uint32_t n)
{
    return n > 0 ? (uint32_t)(job_random(state) % n) : 0;
}

uint64_t job_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static enum job_kind kind_of(uint32_t percent)
{
    static const uint8_t share[JOB_KINDS] = {
        [JOB_PLAIN] = 67,  [JOB_SLOW] = 1,     [JOB_LARGE] = 4,
        [JOB_RETRIED] = 8, [JOB_FAILING] = 6,  [JOB_CRASHING] = 1,
        [JOB_DELAYED] = 5, [JOB_EXPIRING] = 4, [JOB_CANCELLED] = 4,
    };
    uint32_t at = 0;

    while (percent >= share[at])
        percent -= share[at++];
    return (enum job_kind)at;
}

void job_make(uint64_t seed, uint32_t producer, uint64_t number, uint32_t slow_ms,
              struct job *ret_job)
{
    uint64_t state = seed ^ ((uint64_t)producer << 48) ^ number;
    struct job *job = ret_job;

    *job = (struct job){
        .number = number,
        .producer = producer,
        .kind = kind_of(job_below(&state, 100)),
        .priority = job_below(&state, 10),
        .retries = 3,
        /* Workers are killed all the time: that alone must not make a task fail. */
        .crash_limit = 10000,
        .work_ms = job_below(&state, 4),
        .payload_bytes = (uint32_t)sizeof(struct payload) + job_below(&state, 200),
        .result_bytes = job_below(&state, 300),
    };
    snprintf(job->queue, sizeof job->queue, "q%u", job_below(&state, 3));
    switch (job->kind) {
    case JOB_SLOW: job->work_ms = slow_ms / 4 + job_below(&state, slow_ms); break;
    case JOB_LARGE:
        job->payload_bytes = JOB_BYTES_MAX / 4 + job_below(&state, JOB_BYTES_MAX / 2);
        job->result_bytes = job_below(&state, JOB_BYTES_MAX);
        break;
    case JOB_RETRIED: job->fails = 1 + job_below(&state, 3); break;
    case JOB_FAILING:
        job->fails = JOB_FAILS_ALWAYS;
        job->retries = job_below(&state, 3);
        break;
    case JOB_CRASHING: job->crashes = 1; break;
    case JOB_DELAYED: job->delay_ms = 1 + job_below(&state, 2000); break;
    case JOB_EXPIRING: job->expires_ms = 1 + job_below(&state, 2000); break;
    case JOB_CANCELLED: job->work_ms = job_below(&state, slow_ms / 4); break;
    case JOB_PLAIN:
    case JOB_KINDS: break;
    }
}

/* Bytes that follow from `start`. @return their check */
static uint64_t fill(uint64_t start, uint8_t *ret, size_t bytes)
{
    uint64_t state = start;
    uint64_t check = start;

    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t x = job_random(&state);

        memcpy(ret + i, &x, bytes - i < 8 ? bytes - i : 8);
        check = check * 31 + x;
    }
    return check;
}

size_t job_payload(const struct job *job, void *ret)
{
    struct payload head = {
        .magic = MAGIC,
        .producer = job->producer,
        .number = job->number,
        .work_ms = job->work_ms,
        .fails = job->fails,
        .crashes = job->crashes,
        .result_bytes = job->result_bytes,
    };

    head.check = fill(job->number ^ (uint64_t)job->producer << 32, (uint8_t *)ret + sizeof head,
                      job->payload_bytes - sizeof head);
    memcpy(ret, &head, sizeof head);
    return job->payload_bytes;
}

size_t job_result(const struct job *job, void *ret)
{
    fill(~job->number ^ (uint64_t)job->producer << 32, ret, job->result_bytes);
    return job->result_bytes;
}

bool job_read(const void *payload, size_t bytes, struct job *ret_job)
{
    static uint8_t expected[JOB_BYTES_MAX];
    struct payload head;

    if (bytes < sizeof head || bytes > sizeof expected)
        return false;
    memcpy(&head, payload, sizeof head);
    *ret_job = (struct job){
        .number = head.number,
        .producer = head.producer,
        .work_ms = head.work_ms,
        .fails = head.fails,
        .crashes = head.crashes,
        .payload_bytes = (uint32_t)bytes,
        .result_bytes = head.result_bytes,
    };
    if (head.magic != MAGIC || head.result_bytes > JOB_BYTES_MAX)
        return false;
    job_payload(ret_job, expected);
    return memcmp(expected, payload, bytes) == 0;
}

int record_open(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

void record_append(int fd, struct record record)
{
    record.now_ms = job_now_ms();
    record.pid = (uint32_t)getpid();
    if (write(fd, &record, sizeof record) != (ssize_t)sizeof record) {
        perror("a record of the chaos run");
        _exit(97);
    }
}
