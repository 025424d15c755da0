/*
 * Handlers of the benchmarks:
 *
 *     bench.noop    does nothing; the result is 16 bytes
 *     bench.sleep   payload: milliseconds; the result is empty
 *     bench.stamp   payload: milliseconds to sleep; the result is a struct stamp
 *     bench.size    payload: a number of bytes, any blanks behind it; the result has so many
 */
#include "stamp.h"

#include <dtq/handler.h>

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static int run_noop(dtq_context *ctx, const void *payload, size_t bytes)
{
    static const char result[16] = {1};

    (void)payload;
    (void)bytes;
    return dtq_set_result(ctx, result, sizeof result);
}

static int run_sleep(dtq_context *ctx, const void *payload, size_t bytes)
{
    unsigned long ms = strtoul(payload, NULL, 10);
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)ctx;
    (void)bytes;
    nanosleep(&t, NULL);
    return 0;
}

static uint64_t since_boot_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int run_stamp(dtq_context *ctx, const void *payload, size_t bytes)
{
    struct stamp stamp = {.began_us = since_boot_us()};

    run_sleep(ctx, payload, bytes);
    stamp.ended_us = since_boot_us();
    return dtq_set_result(ctx, &stamp, sizeof stamp);
}

static int run_size(dtq_context *ctx, const void *payload, size_t bytes)
{
    size_t n = strtoul(payload, NULL, 10);
    char *result = calloc(1, n + 1);
    int status;

    (void)bytes;
    if (result == NULL)
        return dtq_fail(ctx, "out of memory");
    status = dtq_set_result(ctx, result, n);
    free(result);
    return status;
}

static const dtq_handler handlers[] = {{"bench.noop", run_noop},
                                       {"bench.sleep", run_sleep},
                                       {"bench.stamp", run_stamp},
                                       {"bench.size", run_size}};
DTQ_MODULE("bench", handlers);
