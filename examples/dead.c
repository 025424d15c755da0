/*
 * Tasks that failed for good: list them, let them run again, forget the rest.
 *
 *     dead [VENTILATOR]
 */
#include "example.h"

#include <time.h>

#define N 3

/* Those of the queue "letters", page by page. @return how many there are. */
static size_t list(dtq_client *client, int print)
{
    dtq_filter filter = {.queue = "letters", .bodies = 1};
    dtq_cursor cursor = {{0}};
    dtq_dead_list page;
    size_t n = 0;

    do {
        dtq_err err = dtq_dead_letters(client, &filter, &cursor, 5000, &page);

        if (err != DTQ_OK)
            fail(client, "cannot list", err);
        n += page.n;
        for (size_t i = 0; print && i < page.n; i++) {
            const dtq_dead_letter *x = &page.letters[i];

            printf("%s '%s' failed: %s\n", x->task.name, (const char *)x->payload, x->error);
        }
    } while (page.more);
    return n;
}

/* The ventilator makes a dead letter of a task a moment after the sink has its outcome. */
static void wait_for_letters(dtq_client *client, size_t n)
{
    while (list(client, 0) < n)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
}

static void wait_for(dtq_client *client, const dtq_id *id)
{
    dtq_result result;
    dtq_err err = dtq_wait_one(client, id, 30000, &result);

    if (err != DTQ_OK)
        fail(client, "cannot wait", err);
}

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    dtq_cursor cursor = {{0}};
    dtq_requeued_list again;
    dtq_task task;
    dtq_id ids[N];
    dtq_id new_id;
    uint64_t purged;
    dtq_err err;

    for (int i = 0; i < N; i++) {
        dtq_task_init(&task, "fail", i == 0 ? "one" : i == 1 ? "two" : "three", i == 2 ? 5 : 3);
        task.queue = "letters";
        task.retries = 0;
        err = dtq_submit(client, &task, 5000, &ids[i]);
        if (err != DTQ_OK)
            fail(client, "cannot submit", err);
    }
    for (int i = 0; i < N; i++)
        wait_for(client, &ids[i]);
    wait_for_letters(client, N);
    list(client, 1);

    /* One by its id: it runs again as another task, and fails again. */
    err = dtq_dead_requeue(client, &ids[0], 1, 5000, &new_id);
    if (err != DTQ_OK)
        fail(client, "cannot requeue", err);
    wait_for(client, &new_id);
    wait_for_letters(client, N);

    /* The rest, page by page. What fails while this goes on is left alone. */
    do {
        err = dtq_dead_requeue_page(client, "letters", &cursor, 5000, &again);
        if (err != DTQ_OK)
            fail(client, "cannot requeue", err);
        printf("%zu requeued\n", again.n);
    } while (again.more);

    err = dtq_dead_purge(client, &ids[1], 1, 5000, &purged);
    if (err != DTQ_OK)
        fail(client, "cannot purge", err);
    printf("%d of the old ones purged\n", (int)purged); /* it was requeued: there is none */
    err = dtq_dead_purge_all(client, "letters", 0, 5000, NULL);
    if (err != DTQ_OK)
        fail(client, "cannot purge", err);
    dtq_client_close(client);
    return 0;
}
