/*
 * Wait for one task, for whichever of several finishes first, and for all of several.
 *
 *     wait [VENTILATOR]
 */
#include "example.h"

#include <string.h>

#define N 3

static dtq_id submit_sleep(dtq_client *client, const char *ms)
{
    dtq_task task;
    dtq_err err;
    dtq_id id;

    dtq_task_init(&task, "sleep", ms, strlen(ms));
    err = dtq_submit(client, &task, 5000, &id);
    if (err != DTQ_OK)
        fail(client, "cannot submit", err);
    return id;
}

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    dtq_result results[N];
    dtq_id ids[N];
    dtq_err err;
    size_t n;

    ids[0] = submit_sleep(client, "400");
    ids[1] = submit_sleep(client, "0");
    ids[2] = submit_sleep(client, "500");

    /* A short time-out is no failure of the task: it goes on. */
    err = dtq_wait_one(client, &ids[2], 1, &results[0]);
    printf("after 1 ms: %s\n", err == DTQ_OK ? "finished" : dtq_strerror(err));

    err = dtq_wait_some(client, ids, N, 30000, results, &n);
    if (err != DTQ_OK)
        fail(client, "cannot wait for some", err);
    printf("first: task %zu\n", results[0].index);

    err = dtq_wait_all(client, ids, N, 30000, results);
    if (err != DTQ_OK)
        fail(client, "cannot wait for all", err);
    for (int i = 0; i < N; i++)
        printf("task %d: %s\n", i, dtq_state_name(results[i].state));

    /* Whoever knows an id may ask for it; one that nobody knows is said to be so. */
    ids[0].bytes[0] ^= 1;
    err = dtq_wait_one(client, &ids[0], 30000, &results[0]);
    printf("an unknown id: %s\n", dtq_errname(err));
    dtq_client_close(client);
    return 0;
}
