#include "handlers.h"

#include <stdio.h>
#include <time.h>

/* ---------------------------------------------------------------- the table */

const struct handler *handlers_find(const struct handlers *h, struct dtqi_str name)
{
    for (uint32_t i = 0; i < h->n; i++)
        if (dtqi_str_eq((struct dtqi_str){h->at[i].name, h->at[i].name_bytes}, name))
            return &h->at[i];
    return NULL;
}

static bool is_name(struct dtqi_str name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_.:-";

    if (name.len == 0 || name.len > DTQI_NAME_BYTES_MAX)
        return false;
    for (uint32_t i = 0; i < name.len; i++)
        if (name.at[i] == 0 || strchr(allowed, name.at[i]) == NULL)
            return false;
    return true;
}

static bool make_room(struct handlers *h)
{
    uint32_t room = h->room > 0 ? 2 * h->room : 16;
    struct handler *at;

    if (h->n < h->room)
        return true;
    at = realloc(h->at, room * sizeof *at);
    if (at == NULL)
        return false;
    h->at = at;
    h->room = room;
    return true;
}

dtq_err handlers_add(struct handlers *h, struct dtqi_str name, const char *origin, char *why,
                     size_t why_bytes, struct handler **ret_handler)
{
    const struct handler *other = handlers_find(h, name);
    struct handler *new;

    if (!is_name(name)) {
        snprintf(why, why_bytes,
                 "%s: '%.*s' is not a name of a task: 1 to %u letters, digits and _ . : - are",
                 origin, (int)(name.len < 200 ? name.len : 200), name.at, DTQI_NAME_BYTES_MAX);
        return DTQ_EINVAL;
    }
    if (other != NULL) {
        snprintf(why, why_bytes, "%s: there is a handler '%s' already, of %s", origin, other->name,
                 other->origin);
        return DTQ_EINVAL;
    }
    if (!make_room(h))
        return DTQ_ENOMEM;
    new = &h->at[h->n];
    *new = (struct handler){.name_bytes = name.len, .origin = strdup(origin)};
    if (new->origin == NULL)
        return DTQ_ENOMEM;
    memcpy(new->name, name.at, name.len);
    h->n++;
    *ret_handler = new;
    return DTQ_OK;
}

char *handlers_names(const struct handlers *h, const char *separator)
{
    size_t bytes = 1;
    char *names;
    char *at;

    for (uint32_t i = 0; i < h->n; i++)
        bytes += h->at[i].name_bytes + strlen(separator);
    names = malloc(bytes);
    if (names == NULL)
        return NULL;
    at = names;
    *at = 0;
    for (uint32_t i = 0; i < h->n; i++)
        at = stpcpy(stpcpy(at, i > 0 ? separator : ""), h->at[i].name);
    return names;
}

void handlers_done(struct handlers *h)
{
    for (uint32_t i = 0; i < h->n; i++) {
        command_done(&h->at[i].command);
        free(h->at[i].origin);
    }
    free(h->at);
    *h = (struct handlers){0};
}

/* ---------------------------------------------------------------- one task */

static void fail_unknown(const struct handlers *h, struct task_run *run)
{
    char *names = handlers_names(h, ", ");

    task_run_failf(run, DTQ_REASON_UNKNOWN_TASK, 0, "no handler is called '%s' here; there are: %s",
                   run->task.name.at, names != NULL ? names : "?");
    free(names);
}

void handlers_run(const struct handlers *h, struct task_run *run)
{
    const struct handler *handler = handlers_find(h, run->task.name);

    if (handler != NULL)
        handler->run(handler, run);
    else
        fail_unknown(h, run);
}

void *task_run_result(struct task_run *run, uint32_t bytes)
{
    void *at = bytes <= run->result_bytes_max ? ring_slot_reserve(run->ring, bytes) : NULL;

    if (at == NULL)
        return NULL;
    run->outcome.reason = DTQ_REASON_NONE;
    run->outcome.code = 0;
    run->outcome.body.len = bytes;
    return at;
}

void task_run_fail(struct task_run *run, dtq_reason reason, int32_t code, const char *text,
                   size_t bytes)
{
    uint32_t len = (uint32_t)(bytes < DTQI_TEXT_BYTES_MAX ? bytes : DTQI_TEXT_BYTES_MAX);
    void *at = ring_slot_reserve(run->ring, len);

    run->outcome.reason = reason;
    run->outcome.code = code;
    run->outcome.body.len = at != NULL ? len : 0;
    if (at != NULL)
        memcpy(at, text, len);
}

__attribute__((format(printf, 4, 0))) static void
failv(struct task_run *run, dtq_reason reason, int32_t code, const char *format, va_list args)
{
    char text[DTQI_TEXT_BYTES_MAX + 1];
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): the caller started it
    int n = vsnprintf(text, sizeof text, format, args);

    task_run_fail(run, reason, code, text, n > 0 ? strnlen(text, sizeof text) : 0);
}

void task_run_failf(struct task_run *run, dtq_reason reason, int32_t code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    failv(run, reason, code, format, args);
    va_end(args);
}

const char *task_run_id(struct task_run *run)
{
    if (run->id_text[0] == 0)
        dtq_id_format(&run->task.id, run->id_text);
    return run->id_text;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t time_left_ns(const struct task_run *run)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t ran_ms = now_ns > run->started_ns ? (now_ns - run->started_ns) / 1000000 : 0;

    return ran_ms < run->task.limit_ms ? (run->task.limit_ms - ran_ms) * 1000000 : 0;
}

uint64_t task_run_deadline_wall_ms(const struct task_run *run)
{
    if (run->task.limit_ms == 0)
        return 0;
    return (clock_ns(CLOCK_REALTIME) + time_left_ns(run)) / 1000000;
}

/* ---------------------------------------------------------------- functions of modules */

static struct task_run *run_of(dtq_context *ctx)
{
    return (struct task_run *)ctx;
}

/* The one member that a question about the run changes is the text of its id. */
static struct task_run *run_asked(const dtq_context *ctx)
{
    union {
        const dtq_context *asked;
        struct task_run *run;
    } u = {.asked = ctx};

    return u.run;
}

static const char *api_id(const dtq_context *ctx)
{
    return task_run_id(run_asked(ctx));
}

static const char *api_name(const dtq_context *ctx)
{
    return run_asked(ctx)->task.name.at;
}

static const char *api_queue(const dtq_context *ctx)
{
    return run_asked(ctx)->task.queue.at;
}

static uint32_t api_attempt(const dtq_context *ctx)
{
    return run_asked(ctx)->task.attempt;
}

static uint64_t api_deadline_wall_ms(const dtq_context *ctx)
{
    return task_run_deadline_wall_ms(run_asked(ctx));
}

static uint64_t api_time_left_ms(const dtq_context *ctx)
{
    const struct task_run *run = run_asked(ctx);

    return run->task.limit_ms != 0 ? time_left_ns(run) / 1000000 : UINT64_MAX;
}

static int api_cancelled(const dtq_context *ctx)
{
    return ring_slot_is_stopped(run_asked(ctx)->ring);
}

static int api_result(dtq_context *ctx, const void *data, size_t bytes)
{
    struct task_run *run = run_of(ctx);
    void *at;

    if (run->failed)
        return 0; /* a failure has no result */
    at = bytes <= run->result_bytes_max ? task_run_result(run, (uint32_t)bytes) : NULL;
    run->too_large = at == NULL;
    if (at != NULL && bytes > 0)
        memcpy(at, data, bytes);
    return run->too_large;
}

static void api_fail(dtq_context *ctx, const char *text, size_t bytes)
{
    run_of(ctx)->failed = true;
    task_run_fail(run_of(ctx), DTQ_REASON_ERROR, 1, text, bytes);
}

__attribute__((format(printf, 2, 0))) static void api_failv(dtq_context *ctx, const char *format,
                                                            va_list args)
{
    run_of(ctx)->failed = true;
    failv(run_of(ctx), DTQ_REASON_ERROR, 1, format, args);
}

static void api_retry_after(dtq_context *ctx, uint64_t ms)
{
    run_of(ctx)->outcome.retry_after_ms = ms;
}

static void api_no_retry(dtq_context *ctx)
{
    run_of(ctx)->outcome.no_retry = true;
}

static const dtq_context_api api = {
    .id = api_id,
    .name = api_name,
    .queue = api_queue,
    .attempt = api_attempt,
    .deadline_wall_ms = api_deadline_wall_ms,
    .time_left_ms = api_time_left_ms,
    .cancelled = api_cancelled,
    .result = api_result,
    .fail = api_fail,
    .failv = api_failv,
    .retry_after = api_retry_after,
    .no_retry = api_no_retry,
};

void handler_module_run(const struct handler *handler, struct task_run *run)
{
    int status;

    run->context.api = &api;
    status = handler->function(&run->context, run->task.body.at, run->task.body.len);
    if (run->too_large && !run->failed && status == 0)
        task_run_failf(run, DTQ_REASON_RESULT_TOO_LARGE, 0,
                       "the result is larger than the %u bytes that are allowed",
                       run->result_bytes_max);
    else if (status != 0 && !run->failed)
        task_run_failf(run, DTQ_REASON_ERROR, status, "the handler returned %d", status);
    else if (run->failed) {
        run->outcome.reason = DTQ_REASON_ERROR;
        run->outcome.code = status;
    }
}
