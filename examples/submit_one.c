/*
 * Submit one task and wait for its result.
 *
 *     submit_one [VENTILATOR]
 */
#include "example.h"

#include <string.h>

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    const char *payload = "hello";
    dtq_result result;
    dtq_task task;
    dtq_err err;
    dtq_id id;

    dtq_task_init(&task, "echo", payload, strlen(payload));
    task.time_limit_ms = 10000;

    /* Back when the task is durable: from here on it runs, whatever crashes. */
    err = dtq_submit(client, &task, 5000, &id);
    if (err != DTQ_OK)
        fail(client, "cannot submit", err);

    err = dtq_wait_one(client, &id, 30000, &result);
    if (err != DTQ_OK)
        fail(client, "cannot wait", err);

    /* A failed task is a result too. */
    printf("%s: %s\n", dtq_state_name(result.state), (const char *)result.body);
    dtq_client_close(client);
    return result.state == DTQ_SUCCEEDED ? 0 : 1;
}
