/*
 * A module with one handler, `primes.check`: is this number prime? The payload is a decimal number
 * of up to 19 digits, the result "prime" or its smallest factor. By trial division, the slow way on
 * purpose: a job whose tasks take from microseconds to seconds.
 *
 *     dtq-worker --module libprimes.so
 *     dtq submit primes.check 3333333333333301 --wait
 */
#include <dtq/handler.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define DIGITS_MAX 19
#define SMALL_FACTOR 4096u    /* below it by integer division, which is always exact */
#define LOOK_UP_EVERY 1000000 /* candidates between two looks at whether anybody still waits */

/* @return 0 and the number, or -1: it is none. */
static int parse(const char *text, size_t bytes, uint64_t *ret)
{
    uint64_t n = 0;

    if (bytes > 0 && text[bytes - 1] == '\n')
        bytes--; /* as `echo` sends it */
    if (bytes == 0 || bytes > DIGITS_MAX)
        return -1;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        n = 10 * n + (uint64_t)(text[i] - '0');
    }
    *ret = n;
    return 0;
}

static uint64_t root_of(uint64_t n)
{
    uint64_t root = (uint64_t)sqrt((double)n);

    while (root * root > n) /* n < 10^19: root * root fits into 64 bits */
        root--;
    while ((root + 1) * (root + 1) <= n)
        root++;
    return root;
}

/*
 * Does d, at least SMALL_FACTOR, divide n? A division of doubles costs a fifth of one of 64-bit
 * integers. Its quotient is below 2^52 and so at most 1 off: the remainder is then 0, d or -d.
 */
static int divides(uint64_t d, uint64_t n, double n_rounded)
{
    uint64_t quotient = (uint64_t)(int64_t)(n_rounded / (double)(int64_t)d);
    uint64_t rest = n - quotient * d;

    return rest == 0 || rest == d || rest + d == 0;
}

/* The smallest factor above 3, among 6k - 1 and 6k + 1; n itself if there is none up to its root; 0
 * if nobody waits for it any more. */
static uint64_t large_factor(const dtq_context *ctx, uint64_t n)
{
    const uint64_t root = root_of(n);
    const double n_rounded = (double)n;
    uint64_t d = 5;

    for (; d <= root && d < SMALL_FACTOR; d += 6) {
        if (n % d == 0)
            return d;
        if (n % (d + 2) == 0) /* above the root: then n / (d + 2) was found before */
            return d + 2;
    }
    while (d <= root) {
        for (int i = 0; i < LOOK_UP_EVERY && d <= root; i++, d += 6) {
            if (divides(d, n, n_rounded))
                return d;
            if (divides(d + 2, n,
                        n_rounded)) /* above the root: then n / (d + 2) was found before */
                return d + 2;
        }
        if (dtq_context_cancelled(ctx))
            return 0;
    }
    return n;
}

static uint64_t smallest_factor(const dtq_context *ctx, uint64_t n)
{
    if (n % 2 == 0)
        return 2;
    if (n % 3 == 0)
        return 3;
    return large_factor(ctx, n);
}

static int check(dtq_context *ctx, const void *payload, size_t bytes)
{
    char text[32];
    uint64_t n;
    uint64_t factor;

    if (parse(payload, bytes, &n) != 0) {
        dtq_no_retry(ctx);
        return dtq_failf(ctx, "the payload is not a decimal number of 1 to %d digits: '%.*s'",
                         DIGITS_MAX, (int)(bytes < 100 ? bytes : 100), (const char *)payload);
    }
    if (n < 2) {
        dtq_no_retry(ctx);
        return dtq_failf(ctx, "%" PRIu64 " is neither prime nor a product of primes", n);
    }
    factor = smallest_factor(ctx, n);
    if (factor == 0)
        return dtq_fail(ctx, "cancelled");
    if (factor == n)
        return dtq_set_result_text(ctx, "prime");
    snprintf(text, sizeof text, "%" PRIu64, factor);
    return dtq_set_result_text(ctx, text);
}

static const dtq_handler handlers[] = {{"primes.check", check}};
DTQ_MODULE("primes", handlers);
