/*
 * See how tasks are doing, cancel some, look at the cluster.
 *
 *     cancel [VENTILATOR]
 */
#include "example.h"

#include <string.h>

#define N 2

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    dtq_cancelled cancelled[N];
    dtq_result results[N];
    dtq_status status;
    dtq_task task;
    dtq_id ids[N];
    dtq_err err;

    /* One that is done soon, one that is not to start for an hour. */
    dtq_task_init(&task, "echo", "now", 3);
    err = dtq_submit(client, &task, 5000, &ids[0]);
    if (err != DTQ_OK)
        fail(client, "cannot submit", err);
    task.delay_ms = 3600 * 1000;
    err = dtq_submit(client, &task, 5000, &ids[1]);
    if (err != DTQ_OK)
        fail(client, "cannot submit", err);
    err = dtq_wait_one(client, &ids[0], 30000, &results[0]);
    if (err != DTQ_OK)
        fail(client, "cannot wait", err);

    err = dtq_look(client, ids, N, 5000, results);
    if (err != DTQ_OK)
        fail(client, "cannot look", err);
    for (int i = 0; i < N; i++)
        printf("task %d is %s\n", i, dtq_state_name(results[i].state));

    /* The first is too late; the second never starts. */
    err = dtq_cancel(client, ids, N, 5000, cancelled);
    if (err != DTQ_OK)
        fail(client, "cannot cancel", err);
    for (int i = 0; i < N; i++)
        printf("task %d: %s\n", i, cancelled[i].cancelling ? "cancelling" : "too late");
    err = dtq_wait_one(client, &ids[1], 30000, &results[1]);
    if (err != DTQ_OK)
        fail(client, "cannot wait for the cancelled one", err);
    printf("task 1 is %s\n", dtq_state_name(results[1].state));

    err = dtq_status_get(client, 5000, &status);
    if (err != DTQ_OK)
        fail(client, "cannot get the status", err);
    printf("%zu sink%s\n", status.sinks_n, status.sinks_n == 1 ? "" : "s");
    dtq_client_close(client);
    return 0;
}
