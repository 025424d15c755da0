/*
 * The primes job: which of these 20 numbers are primes? The workers check them, side by side, with
 * the module beside this file; each verdict is printed as it comes, and in the end how much faster
 * that was than one after the other.
 *
 *     dtq-worker --module libprimes.so         on as many hosts as you like
 *     primes [VENTILATOR]
 */
#include <dtq/dtq.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const numbers[] = {
    "2",
    "142702110479723",
    "299593572317531",
    "3333333333333301",
    "3333333333333333",
    "3333335652092209",
    "4444444444444423",
    "4444444444444444",
    "4444444488888889",
    "5555553133149889",
    "5555555555555503",
    "5555555555555555",
    "6666666666666666",
    "6666666666666719",
    "6666667141414921",
    "7777777536340681",
    "7777777777777753",
    "7777777777777777",
    "9999999999999917",
    "9999999999999999",
};

#define NUMBERS (sizeof numbers / sizeof *numbers)
#define WAIT_MS 600000
#define BAR_COLUMNS 30

static double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* On standard error, and at a terminal only: standard output is for the results. */
static void show_bar(size_t done)
{
    char bar[BAR_COLUMNS + 1];
    size_t filled = done * BAR_COLUMNS / NUMBERS;

    if (!isatty(STDERR_FILENO))
        return;
    memset(bar, '.', sizeof bar - 1);
    memset(bar, '#', filled);
    bar[BAR_COLUMNS] = 0;
    fprintf(stderr, "\r[%s] %zu of %zu", bar, done, NUMBERS);
}

static void clear_bar(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

static void submit_all(dtq_client *client)
{
    dtq_submitted submitted[NUMBERS];
    dtq_task tasks[NUMBERS];

    for (size_t i = 0; i < NUMBERS; i++) {
        dtq_task_init(&tasks[i], "primes.check", numbers[i], strlen(numbers[i]));
        tasks[i].tag = i;
    }
    if (dtq_submit_many(client, tasks, NUMBERS, 30000, submitted) == DTQ_OK)
        return;
    fprintf(stderr, "primes: cannot submit: %s\n", dtq_client_errmsg(client));
    exit(1);
}

static int is_prime(const dtq_result *r)
{
    return strcmp(r->body, "prime") == 0;
}

static void print_result(const dtq_result *r)
{
    const char *number = numbers[r->tag];
    double seconds = (double)r->duration_us / 1e6;

    if (r->state != DTQ_SUCCEEDED)
        printf("%16s  %s: %s\n", number, dtq_state_name(r->state), (const char *)r->body);
    else if (is_prime(r))
        printf("%16s  %-27s %8.3f s  %s\n", number, "prime", seconds, r->worker);
    else
        printf("%16s  smallest factor %-11s %8.3f s  %s\n", number, (const char *)r->body, seconds,
               r->worker);
    fflush(stdout);
}

/* @return how many succeeded; adds up the time that the tasks took. */
static size_t take_results(dtq_client *client, double *ret_seconds)
{
    size_t succeeded = 0;

    for (size_t done = 0; done < NUMBERS; done++) {
        dtq_result r;

        show_bar(done);
        if (dtq_next_result(client, WAIT_MS, &r) != DTQ_OK) {
            clear_bar();
            fprintf(stderr, "primes: cannot get the next result: %s\n", dtq_client_errmsg(client));
            exit(1);
        }
        clear_bar();
        print_result(&r);
        succeeded += r.state == DTQ_SUCCEEDED;
        *ret_seconds += (double)r.duration_us / 1e6;
    }
    return succeeded;
}

int main(int argc, char **argv)
{
    dtq_options options;
    dtq_client *client;
    double in_tasks = 0;
    double begun;
    double total;
    size_t succeeded;
    dtq_err err;

    dtq_options_init(&options);
    options.ventilator = argc > 1 ? argv[1] : NULL;
    options.follow = DTQ_FOLLOW_OWN; /* results come by themselves */
    err = dtq_client_open(&options, &client);
    if (err != DTQ_OK) {
        fprintf(stderr, "primes: %s\n", dtq_strerror(err));
        return 1;
    }
    begun = seconds_now();
    submit_all(client);
    succeeded = take_results(client, &in_tasks);
    total = seconds_now() - begun;
    printf("%zu numbers in %.3f s; their tasks took %.3f s: %.2f times as fast as one after the "
           "other\n",
           succeeded, total, in_tasks, in_tasks / total);
    dtq_client_close(client);
    return succeeded == NUMBERS ? 0 : 1;
}
