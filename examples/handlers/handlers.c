/*
 * The smallest handlers there can be, to start from and to try things out with:
 *
 *     echo      the result is the payload
 *     noop      nothing
 *     sleep     payload: milliseconds; the result is empty
 *     fail      fails with its payload as the reason
 *     flaky     payload: a number; fails until it is run for that many times
 *     crash     payload: abort, segv, or exit with a number behind it; never returns
 *
 *     cc -shared -fPIC -o libhandlers.so handlers.c
 *     dtq-worker --module ./libhandlers.so
 */
#include <dtq/handler.h>

#include <signal.h>
#include <stdlib.h>
#include <time.h>

static int run_echo(dtq_context *ctx, const void *payload, size_t bytes)
{
    return dtq_set_result(ctx, payload, bytes);
}

static int run_noop(dtq_context *ctx, const void *payload, size_t bytes)
{
    (void)ctx;
    (void)payload;
    (void)bytes;
    return 0;
}

/* A number, and nothing else. A zero byte follows every payload, so it can be read as a text. */
static int parse(const char *text, unsigned long *ret)
{
    char *end;

    *ret = strtoul(text, &end, 10);
    return end != text && *end == 0 ? 0 : -1;
}

static void sleep_ms(unsigned long ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* In pieces, so that it notices when nobody waits any more. */
static int run_sleep(dtq_context *ctx, const void *payload, size_t bytes)
{
    unsigned long ms;

    (void)bytes;
    if (parse(payload, &ms) != 0) {
        dtq_no_retry(ctx);
        return dtq_fail(ctx, "the payload is not a number of milliseconds");
    }
    while (ms > 0 && !dtq_context_cancelled(ctx)) {
        unsigned long piece = ms < 50 ? ms : 50;

        sleep_ms(piece);
        ms -= piece;
    }
    return ms == 0 ? 0 : dtq_fail(ctx, "cancelled");
}

static int run_fail(dtq_context *ctx, const void *payload, size_t bytes)
{
    return bytes > 0 ? dtq_fail(ctx, payload) : 1;
}

static int run_flaky(dtq_context *ctx, const void *payload, size_t bytes)
{
    unsigned long enough;

    (void)bytes;
    if (parse(payload, &enough) != 0) {
        dtq_no_retry(ctx);
        return dtq_fail(ctx, "the payload is not a number of attempts");
    }
    if (dtq_context_attempt(ctx) < enough)
        return dtq_failf(ctx, "attempt %u of %lu", dtq_context_attempt(ctx), enough);
    return 0;
}

static int run_crash(dtq_context *ctx, const void *payload, size_t bytes)
{
    const char *how = payload;
    unsigned long status;

    (void)bytes;
    if (strcmp(how, "segv") == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    if (strncmp(how, "exit ", 5) == 0 && parse(how + 5, &status) == 0)
        exit((int)status);
    if (bytes == 0 || strcmp(how, "abort") == 0)
        abort();
    return dtq_fail(ctx, "the payload is none of: abort, segv, exit N");
}

static const dtq_handler handlers[] = {
    {"echo", run_echo}, {"noop", run_noop},   {"sleep", run_sleep},
    {"fail", run_fail}, {"flaky", run_flaky}, {"crash", run_crash},
};
DTQ_MODULE("handlers", handlers);
