/**
 * @file dtq/handler.h
 * What a module of task handlers is built against. A module is a shared object that dtq-worker
 * loads (`--module FILE.so`); it needs this header and nothing else: no library is linked.
 *
 *     #include <dtq/handler.h>
 *
 *     static int shout(dtq_context *ctx, const void *payload, size_t bytes)
 *     {
 *         ...
 *         return dtq_set_result(ctx, text, text_bytes);
 *     }
 *
 *     static const dtq_handler handlers[] = {{"text.shout", shout}};
 *     DTQ_MODULE("text", handlers);
 *
 *     cc -shared -fPIC -o libtext.so text.c
 *
 * Handlers run in slots: processes of their own, one task at a time, many tasks one after the
 * other, in the thread that loaded the module. A handler that crashes, exits or runs over its time
 * limit costs its task that attempt, and the worker one slot, which is replaced. What a handler can
 * rely on:
 *
 *  - Standard input is empty. Standard output and standard error both go to the standard error of
 *    the worker: they are for people; results are given by dtq_set_result().
 *  - SIGPIPE is ignored. The directory and the environment are the worker's.
 *  - Threads and child processes are allowed. Child processes that a handler leaves behind live as
 *    long as its slot at most, also when the worker itself is killed with SIGKILL; those that have
 *    ended are reaped by the slot between two tasks. Processes in a session of their own (setsid)
 *    are not reached.
 *  - Memory of the task (payload, id, names) is valid until the handler returns.
 *  - At the time limit the slot is killed (SIGKILL) with everything it started: nothing is cleaned
 * up.
 *  - A task can run more than once (after a crash, a lost machine, a failure that is retried).
 *
 * A handler in C++ must not let an exception escape: that ends the process, as std::terminate()
 * does.
 */
#ifndef DTQ_HANDLER_H
#define DTQ_HANDLER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Version of everything in this header. A worker loads modules of its own version only, and says
 * so when it refuses one. */
#define DTQ_HANDLER_ABI 1u

/** The task that runs, for as long as its handler does. To be used by the thread that called the
 * handler only. */
typedef struct dtq_context dtq_context;

/**
 * Run one task.
 * @param ctx      what there is to ask and to tell about this task
 * @param payload  its payload, aligned to 16 bytes; a zero byte follows it; never NULL
 * @param bytes    of the payload, without that zero byte
 * @return 0: the task has succeeded, with the result of the last dtq_set_result(), else with an
 * empty one. Anything else, or after dtq_fail(): it has failed, with reason "error" and this number
 * as its code.
 */
typedef int dtq_handler_fn(dtq_context *ctx, const void *payload, size_t bytes);

/** A handler and the name that tasks call it by: 1 to 128 letters, digits and "_.:-", unique among
 * all handlers of a worker. */
typedef struct dtq_handler {
    const char *name;
    dtq_handler_fn *run;
} dtq_handler;

/** What the worker looks for in a module, as a symbol `dtq_module`. Made by DTQ_MODULE(). */
typedef struct dtq_module_info {
    uint32_t abi;   /**< DTQ_HANDLER_ABI */
    uint32_t bytes; /**< sizeof(dtq_module_info) */
    const char *name;
    const dtq_handler *handlers;
    size_t handlers_n;
    const char *(*start)(void); /**< may be NULL */
} dtq_module_info;

/** Use DTQ_MODULE() or DTQ_MODULE_STARTED() once in a module, outside of functions. `table` is an
 * array of dtq_handler, `module_name` is for logs. */
#define DTQ_MODULE(module_name, table) DTQ_MODULE_STARTED(module_name, table, NULL)

/** The same, with a function that every slot calls once, before its first task. It returns NULL, or
 * a sentence that says why the module cannot work: the slot then does not start. */
#define DTQ_MODULE_STARTED(module_name, table, start_function)                                   \
    DTQ_MODULE_LINKAGE_ const dtq_module_info dtq_module __attribute__((visibility("default"))); \
    const dtq_module_info dtq_module = {                                                         \
        DTQ_HANDLER_ABI, (uint32_t)sizeof(dtq_module_info),   (module_name),                     \
        (table),         sizeof(table) / sizeof(dtq_handler), (start_function)}

#ifdef __cplusplus
#define DTQ_MODULE_LINKAGE_ extern "C"
#else
#define DTQ_MODULE_LINKAGE_ extern
#endif

/** Not for direct use: the worker's side of the functions below. */
typedef struct dtq_context_api {
    const char *(*id)(const dtq_context *ctx);
    const char *(*name)(const dtq_context *ctx);
    const char *(*queue)(const dtq_context *ctx);
    uint32_t (*attempt)(const dtq_context *ctx);
    uint64_t (*deadline_wall_ms)(const dtq_context *ctx);
    uint64_t (*time_left_ms)(const dtq_context *ctx);
    int (*cancelled)(const dtq_context *ctx);
    int (*result)(dtq_context *ctx, const void *data, size_t bytes);
    void (*fail)(dtq_context *ctx, const char *text, size_t bytes);
    void (*failv)(dtq_context *ctx, const char *format, va_list args);
    void (*retry_after)(dtq_context *ctx, uint64_t ms);
    void (*no_retry)(dtq_context *ctx);
} dtq_context_api;

struct dtq_context {
    const dtq_context_api *api;
};

/** The id of the task, as 8-4-4-4-12 hexadecimal digits. */
static inline const char *dtq_context_id(const dtq_context *ctx)
{
    return ctx->api->id(ctx);
}

/** The name that the task was submitted under: that of its handler. */
static inline const char *dtq_context_name(const dtq_context *ctx)
{
    return ctx->api->name(ctx);
}

/** The queue that the task was submitted to. */
static inline const char *dtq_context_queue(const dtq_context *ctx)
{
    return ctx->api->queue(ctx);
}

/** Which attempt this is: 1, 2, .. */
static inline uint32_t dtq_context_attempt(const dtq_context *ctx)
{
    return ctx->api->attempt(ctx);
}

/** When the slot will be killed: milliseconds since the Unix epoch. 0: there is no time limit. */
static inline uint64_t dtq_context_deadline_wall_ms(const dtq_context *ctx)
{
    return ctx->api->deadline_wall_ms(ctx);
}

/** Milliseconds until then; UINT64_MAX: there is no time limit. Reads the clock. */
static inline uint64_t dtq_context_time_left_ms(const dtq_context *ctx)
{
    return ctx->api->time_left_ms(ctx);
}

/** 1 once nobody wants the result any more: the task was cancelled, or its worker stops at once. A
 * fifth of a second later the slot is killed. 0 otherwise. Cheap enough for an inner loop. */
static inline int dtq_context_cancelled(const dtq_context *ctx)
{
    return ctx->api->cancelled(ctx);
}

/**
 * Set the result; copied. A later call replaces it.
 * @param data  may be NULL when `bytes` is 0
 * @return 0; or 1 when it is larger than the worker allows (4 MiB unless set to less): the task
 * then fails with reason "result_too_large", unless a later call sets a smaller one.
 */
static inline int dtq_set_result(dtq_context *ctx, const void *data, size_t bytes)
{
    return ctx->api->result(ctx, data, bytes);
}

/** The same with a text: without its closing zero byte. */
static inline int dtq_set_result_text(dtq_context *ctx, const char *text)
{
    return ctx->api->result(ctx, text, strlen(text));
}

/**
 * Let the task fail, and say why, for people; copied, and cut to 4,096 bytes.
 * @return 1, so that a handler can `return dtq_fail(ctx, "no such file");`
 */
static inline int dtq_fail(dtq_context *ctx, const char *text)
{
    ctx->api->fail(ctx, text, strlen(text));
    return 1;
}

/** The same with a format, as printf() has it. */
__attribute__((format(printf, 2, 3))) static inline int dtq_failf(dtq_context *ctx,
                                                                  const char *format, ...)
{
    va_list args;

    va_start(args, format);
    ctx->api->failv(ctx, format, args);
    va_end(args);
    return 1;
}

/** If the task fails and is retried: not before so many milliseconds, instead of its backoff. */
static inline void dtq_retry_after(dtq_context *ctx, uint64_t ms)
{
    ctx->api->retry_after(ctx, ms);
}

/** If the task fails: it is not retried, however many retries it has left. */
static inline void dtq_no_retry(dtq_context *ctx)
{
    ctx->api->no_retry(ctx);
}

#ifdef __cplusplus
}
#endif
#endif
