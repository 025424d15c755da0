/*
 * Submit and go away; somebody else, who knows the ids, takes the results.
 *
 *     watch [VENTILATOR]
 */
#include "example.h"

#include <string.h>

#define N 1000

/* The ids as text, as they would be written to a file or a database. */
static void submit(dtq_client *client, char texts[N][DTQ_ID_TEXT_BYTES])
{
    for (int i = 0; i < N; i++) {
        dtq_task task;
        dtq_err err;
        dtq_id id;

        dtq_task_init(&task, "echo", &i, sizeof i);
        err = dtq_submit_async(client, &task, 5000, &id);
        if (err != DTQ_OK)
            fail(client, "cannot submit", err);
        dtq_id_format(&id, texts[i]);
    }
}

/* Before a client goes away: what was queued is confirmed or refused. */
static void flush(dtq_client *client)
{
    dtq_err err = dtq_flush(client, 30000);
    dtq_event event;

    if (err != DTQ_OK)
        fail(client, "not all are confirmed", err);
    while (dtq_next_event(client, 0, &event) == DTQ_OK)
        if (event.submitted.err != DTQ_OK)
            printf("task refused: %s\n", event.submitted.text);
}

static void watch(dtq_client *client, char texts[N][DTQ_ID_TEXT_BYTES])
{
    dtq_id ids[N];
    dtq_err err;

    for (int i = 0; i < N; i++)
        if (dtq_id_parse(texts[i], &ids[i]) != DTQ_OK)
            fail(client, "this is no id", DTQ_EINVAL);
    err = dtq_watch(client, ids, N);
    if (err != DTQ_OK)
        fail(client, "cannot watch", err);
}

static int take_results(dtq_client *client)
{
    int n = 0;

    while (n < N) {
        dtq_result result;
        dtq_err err = dtq_next_result(client, 30000, &result);

        if (err != DTQ_OK)
            fail(client, "no result", err);
        n += result.state == DTQ_SUCCEEDED;
    }
    return n;
}

int main(int argc, char **argv)
{
    static char texts[N][DTQ_ID_TEXT_BYTES];
    dtq_client *producer = open_client(argc, argv, DTQ_FOLLOW_NONE);
    dtq_client *other;

    submit(producer, texts);
    flush(producer);
    dtq_client_close(producer);

    other = open_client(argc, argv, DTQ_FOLLOW_NONE);
    watch(other, texts);
    printf("%d results of tasks that another client submitted\n", take_results(other));
    dtq_client_close(other);
    return 0;
}
