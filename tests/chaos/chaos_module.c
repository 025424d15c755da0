/* The handler of the chaos run: does what its payload says, and writes down every execution in the
 * file that CHAOS_LOG names, before and after: what is written there survives `kill -9`. */
#include "job.h"

#include <dtq/handler.h>

#include <signal.h>
#include <stdlib.h>
#include <time.h>

static int log_fd = -1;

static void note(const dtq_context *ctx, const struct job *job, enum record_kind kind)
{
    struct record r = {
        .number = job->number,
        .producer = job->producer,
        .attempt = dtq_context_attempt(ctx),
        .kind = (uint8_t)kind,
    };
    const char *text = dtq_context_id(ctx);

    for (size_t i = 0, digits = 0; text[i] != '\0' && digits < 32; i++) {
        char pair[3] = {text[i], text[i + 1], '\0'};

        if (text[i] == '-')
            continue;
        r.id.bytes[digits / 2] = (uint8_t)strtoul(pair, NULL, 16);
        digits += 2;
        i++;
    }
    record_append(log_fd, r);
}

static void work(const dtq_context *ctx, uint32_t ms)
{
    uint64_t end_ms = job_now_ms() + ms;

    for (uint64_t now_ms; (now_ms = job_now_ms()) < end_ms && !dtq_context_cancelled(ctx);) {
        uint64_t piece_ms = end_ms - now_ms < 20 ? end_ms - now_ms : 20;

        nanosleep(&(struct timespec){.tv_nsec = (long)piece_ms * 1000000}, NULL);
    }
}

static int run_job(dtq_context *ctx, const void *payload, size_t bytes)
{
    static uint8_t result[JOB_BYTES_MAX];
    struct job job;

    if (!job_read(payload, bytes, &job)) {
        dtq_no_retry(ctx);
        return dtq_fail(ctx, "damaged payload");
    }
    note(ctx, &job, RECORD_BEGUN);
    work(ctx, job.work_ms);
    if (dtq_context_attempt(ctx) <= job.crashes) {
        note(ctx, &job, RECORD_CRASH);
        raise(SIGKILL);
    }
    if (dtq_context_attempt(ctx) <= job.fails) {
        note(ctx, &job, RECORD_FAILURE);
        return dtq_fail(ctx, "on purpose");
    }
    dtq_set_result(ctx, result, job_result(&job, result));
    note(ctx, &job, RECORD_SUCCESS);
    return 0;
}

static const char *open_log(void)
{
    const char *path = getenv("CHAOS_LOG");

    log_fd = path != NULL ? record_open(path) : -1;
    return log_fd >= 0 ? NULL : "CHAOS_LOG names no file that can be written";
}

static const dtq_handler handlers[] = {{JOB_NAME, run_job}};
DTQ_MODULE_STARTED("chaos", handlers, open_log);
