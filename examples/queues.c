/*
 * Operate queues: pause one, bound what of it runs, see what they are set to, let it go, purge it.
 *
 *     queues [VENTILATOR]
 */
#include "example.h"

#include <string.h>

static void print_queue(const dtq_queue_info *q)
{
    printf("%s: %llu ready%s, limit %llu, rate %llu in %llu ms\n", q->name,
           (unsigned long long)q->ready, q->paused ? ", paused" : "", (unsigned long long)q->limit,
           (unsigned long long)q->rate, (unsigned long long)q->rate_period_ms);
}

/* What waits can go to another queue, page by page. */
static void move_all(dtq_client *client, const dtq_task *task)
{
    dtq_cursor cursor = {{0}};
    uint64_t moved = 0;
    int more = 1;
    dtq_id id;
    dtq_err err = dtq_queue_pause(client, "mail", 5000);

    if (err == DTQ_OK)
        err = dtq_submit(client, task, 5000, &id);
    while (err == DTQ_OK && more) {
        uint64_t n = 0;

        err = dtq_queue_move_page(client, "mail", "post", &cursor, 5000, &n, &more);
        moved += n;
    }
    if (err != DTQ_OK)
        fail(client, "cannot move", err);
    printf("%llu moved\n", (unsigned long long)moved);
}

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    const dtq_queue_info *queues;
    dtq_result result;
    dtq_task_info info;
    dtq_task task;
    dtq_err err;
    dtq_id id;
    uint64_t purged = 0;
    uint64_t cancelled = 0;
    size_t n;

    /* Nothing of it starts. When the call returns this is on the ventilator's disk. */
    err = dtq_queue_pause(client, "mail", 5000);
    if (err != DTQ_OK)
        fail(client, "cannot pause", err);

    /* At most 4 at a time, and 10 a second, however many workers there are. */
    err = dtq_queue_limit(client, "mail", 4, 5000);
    if (err != DTQ_OK)
        fail(client, "cannot set the limit", err);
    err = dtq_queue_rate(client, "mail", 10, 1000, 5000);
    if (err != DTQ_OK)
        fail(client, "cannot set the rate", err);

    dtq_task_init(&task, "echo", "hello", 5);
    task.queue = "mail";
    err = dtq_submit(client, &task, 5000, &id);
    if (err != DTQ_OK)
        fail(client, "cannot submit", err);
    err = dtq_queues(client, 5000, &queues, &n);
    if (err != DTQ_OK)
        fail(client, "cannot list the queues", err);
    for (size_t i = 0; i < n; i++)
        print_queue(&queues[i]);
    err = dtq_explain(client, &id, 5000, &info);
    if (err != DTQ_OK)
        fail(client, "cannot explain", err);
    printf("the task waits: %s; %llu come first\n", info.why, (unsigned long long)info.before);

    err = dtq_queue_resume(client, "mail", 5000);
    if (err != DTQ_OK)
        fail(client, "cannot resume", err);
    err = dtq_wait_one(client, &id, 30000, &result);
    if (err != DTQ_OK)
        fail(client, "cannot wait", err);
    printf("the task %s\n", dtq_state_name(result.state));
    move_all(client, &task);

    /* What waits can be dropped, and all that is open can be cancelled, running or not. */
    err = dtq_queue_pause(client, "mail", 5000);
    if (err == DTQ_OK)
        err = dtq_submit(client, &task, 5000, &id);
    if (err == DTQ_OK)
        err = dtq_queue_purge(client, "mail", 5000, &purged);
    if (err != DTQ_OK)
        fail(client, "cannot purge", err);
    err = dtq_wait_one(client, &id, 30000, &result);
    if (err != DTQ_OK)
        fail(client, "cannot wait", err);
    printf("%llu purged: %s\n", (unsigned long long)purged, dtq_state_name(result.state));
    err = dtq_cancel_queue(client, "mail", 5000, &cancelled);
    if (err != DTQ_OK)
        fail(client, "cannot cancel", err);
    printf("%llu left to cancel\n", (unsigned long long)cancelled);
    dtq_client_close(client);
    return 0;
}
