/*
 * How soon work goes on after a death: figures that the README promises, measured with the real
 * programs. Times are printed; the bounds here are loose, for busy machines.
 *
 * CHAOS_TASKS in the environment says how many tasks are queued when the ventilator is killed.
 */
#include "cluster.h"
#include "job.h"

#include <dtq/dtq.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEARTBEAT_MS (300u * DTQ_SLOWNESS)
#define LONG_MS (60000 * DTQ_SLOWNESS)

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* The records of handlers go to a file of the cluster's directory. */
static void log_executions(struct cluster *c, char ret_path[PATH_MAX])
{
    cluster_path(c, "handlers.records", ret_path, PATH_MAX);
    assert_int_equal(setenv("CHAOS_LOG", ret_path, 1), 0);
}

/* @return how many executions began; the time of the last one. */
static size_t begun(const char *path, uint32_t attempt_min, uint64_t *ret_last_ms)
{
    FILE *file = fopen(path, "re");
    struct record r;
    size_t n = 0;

    while (file != NULL && fread(&r, sizeof r, 1, file) == 1)
        if (r.kind == RECORD_BEGUN && r.attempt >= attempt_min) {
            n++;
            *ret_last_ms = r.now_ms;
        }
    if (file != NULL)
        fclose(file);
    return n;
}

static uint64_t wait_begun(const char *path, uint32_t attempt_min, size_t n)
{
    uint64_t deadline_ms = job_now_ms() + (uint64_t)LONG_MS;
    uint64_t last_ms = 0;

    while (begun(path, attempt_min, &last_ms) < n) {
        if (job_now_ms() > deadline_ms)
            fail_msg("%zu tasks did not begin", n);
        pause_ms(2);
    }
    return last_ms;
}

static dtq_client *open_client(const struct cluster *c)
{
    dtq_options options;
    dtq_client *client;

    dtq_options_init(&options);
    options.ventilator = c->control;
    assert_int_equal(dtq_client_open(&options, &client), DTQ_OK);
    return client;
}

/* `n` tasks that work so long, from this number on. */
static void submit_jobs(dtq_client *client, uint64_t number, size_t n, uint32_t work_ms)
{
    dtq_task *tasks = calloc(n, sizeof *tasks);
    dtq_submitted *submitted = calloc(n, sizeof *submitted);
    uint8_t(*payloads)[64] = calloc(n, sizeof *payloads);

    assert_true(tasks != NULL && submitted != NULL && payloads != NULL);
    for (size_t i = 0; i < n; i++) {
        struct job job = {
            .number = number + i, .producer = 1, .work_ms = work_ms, .payload_bytes = 64};

        dtq_task_init(&tasks[i], JOB_NAME, payloads[i], job_payload(&job, payloads[i]));
    }
    assert_int_equal(dtq_submit_many(client, tasks, n, LONG_MS, submitted), DTQ_OK);
    free(tasks);
    free(submitted);
    free(payloads);
}

static struct run *start_worker(struct cluster *c, const char *name, const char *slots)
{
    return cluster_start_worker(c, "--module", CHAOS_MODULE, "-c", slots, "-n", name, NULL);
}

/* From its death until the last of its tasks has begun elsewhere: any of them may have killed the
 * worker, so that each is given to a worker of its own at first (R21). */
static void tasks_of_a_killed_worker_run_elsewhere_within_three_heartbeats(void **state)
{
    struct cluster *c = *state;
    char heartbeat[32];
    char path[PATH_MAX];
    struct run *victim;
    dtq_client *client;
    uint64_t killed_ms;
    uint64_t took_ms;

    snprintf(heartbeat, sizeof heartbeat, "--heartbeat=%ums", HEARTBEAT_MS);
    log_executions(c, path);
    cluster_start_ventilator(c, heartbeat, NULL);
    cluster_start_sink(c, NULL);
    victim = start_worker(c, "victim", "3");
    client = open_client(c);
    submit_jobs(client, 1, 3, 3000);
    wait_begun(path, 1, 3);
    start_worker(c, "other-1", "1");
    start_worker(c, "other-2", "1");
    start_worker(c, "other-3", "1");
    killed_ms = job_now_ms();
    assert_int_equal(run_stop(victim, SIGKILL), 1000 + SIGKILL);
    took_ms = wait_begun(path, 2, 3) - killed_ms;
    print_message("heartbeat %u ms: the tasks of a killed worker ran elsewhere after %llu ms\n",
                  HEARTBEAT_MS, (unsigned long long)took_ms);
    /* Three heartbeats, and one for what a busy machine adds. */
    assert_in_range(took_ms, 0, 4 * HEARTBEAT_MS);
    dtq_client_close(client);
}

/* Tasks that the ventilator has dispatched since its start; 0: it does not answer yet. */
static uint64_t dispatched(dtq_client *client)
{
    dtq_status status;

    if (dtq_status_get(client, 50, &status) == DTQ_OK)
        for (size_t i = 0; i < status.counters_n; i++)
            if (strcmp(status.counters[i].name, "tasks_dispatched") == 0)
                return status.counters[i].value;
    return 0;
}

static void a_ventilator_killed_with_a_long_queue_dispatches_again_at_once(void **state)
{
    const char *wanted = getenv("CHAOS_TASKS");
    size_t tasks = wanted != NULL ? strtoul(wanted, NULL, 10) : (size_t)DTQ_LINES / 5;
    struct cluster *c = *state;
    char path[PATH_MAX];
    dtq_client *client;
    uint64_t started_ms;
    uint64_t ready_ms;
    uint64_t took_ms;

    log_executions(c, path);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    client = open_client(c);
    for (size_t n = 0; n < tasks; n += 10000)
        submit_jobs(client, n, tasks - n < 10000 ? tasks - n : 10000, 20);
    start_worker(c, "w", "2");
    wait_begun(path, 1, 20);
    assert_int_equal(run_stop(c->ventilator, SIGKILL), 1000 + SIGKILL);
    started_ms = job_now_ms();
    cluster_start_ventilator(c, NULL);
    ready_ms = job_now_ms() - started_ms;
    while (dispatched(client) == 0 && job_now_ms() < started_ms + (uint64_t)LONG_MS)
        pause_ms(2);
    took_ms = job_now_ms() - started_ms;
    print_message("%zu tasks queued: ready %llu ms, dispatching %llu ms after the new start\n",
                  tasks, (unsigned long long)ready_ms, (unsigned long long)took_ms);
    assert_in_range(took_ms, 0, 4000 * DTQ_SLOWNESS);
    dtq_client_close(client);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(tasks_of_a_killed_worker_run_elsewhere_within_three_heartbeats),
        STORY(a_ventilator_killed_with_a_long_queue_dispatches_again_at_once),
    };

    return RUN_STORIES(argc, argv, tests);
}
