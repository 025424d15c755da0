/*
 * Groups: alice's tasks run one at a time, in their order; bob's have no order; each of the two
 * gets its share of the queue, and at most two workers' slots.
 *
 *     groups [VENTILATOR]
 */
#include "example.h"

#define TASKS 3

static dtq_id submit(dtq_client *client, const char *name, const char *group, int ordered)
{
    dtq_task task;
    dtq_err err;
    dtq_id id;

    dtq_task_init(&task, name, "hello", 5);
    task.queue = "orders";
    task.group = group;
    task.group_ordered = ordered;
    task.retries = 1;
    task.backoff_min_ms = task.backoff_max_ms = 100;
    err = dtq_submit(client, &task, 5000, &id);
    if (err != DTQ_OK)
        fail(client, "cannot submit", err);
    return id;
}

static dtq_state wait_for(dtq_client *client, const dtq_id *id)
{
    dtq_result result;
    dtq_err err = dtq_wait_one(client, id, 30000, &result);

    if (err != DTQ_OK)
        fail(client, "cannot wait", err);
    return result.state;
}

int main(int argc, char **argv)
{
    static const char *const names[TASKS] = {"fail", "echo", "echo"};
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    dtq_id alice[TASKS];
    dtq_id bob[TASKS];
    dtq_err err = dtq_queue_group_limit(client, "orders", 2, 5000);

    if (err != DTQ_OK)
        fail(client, "cannot set the limit", err);
    err = dtq_queue_pause(client, "orders", 5000);
    if (err != DTQ_OK)
        fail(client, "cannot pause", err);
    for (int i = 0; i < TASKS; i++) {
        alice[i] = submit(client, names[i], "alice", 1);
        bob[i] = submit(client, "echo", "bob", 0);
    }
    err = dtq_queue_resume(client, "orders", 5000);
    if (err != DTQ_OK)
        fail(client, "cannot resume", err);

    for (int i = 0; i < TASKS; i++)
        printf("bob's task %d %s\n", i, dtq_state_name(wait_for(client, &bob[i])));
    /* Alice's first task fails and is repeated before the second starts; then it has failed for
     * good, and the second goes on without it. */
    for (int i = 0; i < TASKS; i++)
        printf("alice's task %d %s\n", i, dtq_state_name(wait_for(client, &alice[i])));
    dtq_client_close(client);
    return 0;
}
