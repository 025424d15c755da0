/*
 * Submit a stream of tasks as fast as possible and take each result as it comes.
 *
 *     follow [VENTILATOR]
 */
#include "example.h"

#include <string.h>

#define N 10000

int main(int argc, char **argv)
{
    /* DTQ_FOLLOW_OWN: results of what this client submits come by themselves. */
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_OWN);
    long long sum = 0;
    int refused = 0;
    int results = 0;
    dtq_event event;
    dtq_err err;

    for (int i = 0; i < N; i++) {
        char payload[16];
        dtq_task task;

        snprintf(payload, sizeof payload, "%d", i);
        dtq_task_init(&task, "echo", payload, strlen(payload)); /* copied by the next call */
        task.tag = (uint64_t)i;
        /* Waits only while too many are unconfirmed, and never for the task to run. */
        err = dtq_submit_async(client, &task, 30000, NULL);
        if (err != DTQ_OK)
            fail(client, "cannot submit", err);
    }

    /* Every task gives one event that says whether it was accepted, and if so one with its result.
     */
    while ((err = dtq_next_event(client, 30000, &event)) == DTQ_OK) {
        if (event.type == DTQ_EVENT_RESULT) {
            results++;
            sum += strtoll(event.result.body, NULL, 10);
        } else if (event.submitted.err != DTQ_OK) {
            refused++;
            fprintf(stderr, "task %llu: %s\n", (unsigned long long)event.submitted.tag,
                    event.submitted.text);
        }
    }
    if (err != DTQ_ENOTFOUND) /* DTQ_ENOTFOUND: nothing more will come */
        fail(client, "cannot get the next event", err);
    printf("%d results, %d refused, sum %lld\n", results, refused, sum);
    dtq_client_close(client);
    return 0;
}
