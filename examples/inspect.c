/*
 * What is in the cluster: queues, workers, open tasks, outcomes.
 *
 *     inspect [VENTILATOR]
 */
#include "example.h"

#include <string.h>

#define ANSWER_MS 5000

static dtq_id submit(dtq_client *client, const char *name, uint64_t delay_ms)
{
    dtq_task task;
    dtq_err err;
    dtq_id id;

    dtq_task_init(&task, name, "x", 1);
    task.queue = "inspected";
    task.retries = 0;
    task.delay_ms = delay_ms;
    err = dtq_submit(client, &task, ANSWER_MS, &id);
    if (err != DTQ_OK)
        fail(client, "cannot submit", err);
    return id;
}

static void print_queues(dtq_client *client)
{
    const dtq_queue_info *queues;
    size_t n;
    dtq_err err = dtq_queues(client, ANSWER_MS, &queues, &n);

    if (err != DTQ_OK)
        fail(client, "cannot list queues", err);
    for (size_t i = 0; i < n; i++)
        printf("queue %s: %llu scheduled, %u worker\n", queues[i].name,
               (unsigned long long)queues[i].scheduled, queues[i].workers);
}

static void print_workers(dtq_client *client)
{
    const dtq_worker_info *workers;
    size_t n;
    dtq_err err = dtq_workers(client, ANSWER_MS, &workers, &n);

    if (err != DTQ_OK)
        fail(client, "cannot list workers", err);
    for (size_t i = 0; i < n; i++)
        printf("worker with %u slots, %llu failed\n", workers[i].slots,
               (unsigned long long)workers[i].failed);
}

static void print_sinks(dtq_client *client)
{
    const dtq_sink_info *sinks;
    size_t n;
    dtq_err err = dtq_sinks(client, ANSWER_MS, &sinks, &n);

    if (err != DTQ_OK)
        fail(client, "cannot list sinks", err);
    for (size_t i = 0; i < n; i++)
        printf("sink that %s, %llu tasks wait\n", sinks[i].reachable ? "answers" : "is away",
               (unsigned long long)sinks[i].waiting);
}

/* Page by page: a list may be longer than memory. */
static void print_tasks(dtq_client *client)
{
    dtq_filter filter = {.queue = "inspected", .limit = 100};
    dtq_cursor cursor = {{0}};
    dtq_task_list page;

    do {
        dtq_err err = dtq_tasks(client, &filter, &cursor, ANSWER_MS, &page);

        if (err != DTQ_OK)
            fail(client, "cannot list tasks", err);
        for (size_t i = 0; i < page.n; i++)
            printf("task %s is %s\n", page.tasks[i].name, dtq_state_name(page.tasks[i].state));
    } while (page.more);
}

static void print_outcomes(dtq_client *client)
{
    dtq_filter filter = {.state = DTQ_FAILED, .queue = "inspected"};
    dtq_cursor cursor = {{0}};
    dtq_outcome_list page;

    do {
        dtq_err err = dtq_outcomes(client, &filter, &cursor, ANSWER_MS, &page);

        if (err != DTQ_OK)
            fail(client, "cannot list outcomes", err);
        for (size_t i = 0; i < page.n; i++)
            printf("task %s failed: %s\n", page.results[i].name,
                   dtq_reason_name(page.results[i].reason));
    } while (page.more);
}

/* People give the first digits of an id. Here: its first 100 bits. */
static void print_one(dtq_client *client, dtq_id prefix)
{
    dtq_task_info task;
    dtq_err err;
    dtq_id id;

    memset(prefix.bytes + 13, 0, 3);
    err = dtq_resolve(client, &prefix, 100, ANSWER_MS, &id);
    if (err != DTQ_OK)
        fail(client, "no such task", err);
    err = dtq_show(client, &id, ANSWER_MS, &task);
    if (err != DTQ_OK)
        fail(client, "cannot show it", err);
    printf("%s: priority %u, %llu byte, attempt %u, %s\n", task.name, task.priority,
           (unsigned long long)task.payload_bytes, task.attempt, dtq_state_name(task.state));
}

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    dtq_id later = submit(client, "echo", (uint64_t)3600 * 1000);
    dtq_id failing = submit(client, "nobody.has.this", 0);
    dtq_result result;
    dtq_err err = dtq_wait_one(client, &failing, 30000, &result);

    if (err != DTQ_OK)
        fail(client, "cannot wait", err);
    print_queues(client);
    print_workers(client);
    print_sinks(client);
    print_tasks(client);
    print_outcomes(client);
    print_one(client, later);
    dtq_client_close(client);
    return 0;
}
