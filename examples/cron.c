/*
 * Cron entries: submit a task again and again, by the clock.
 *
 *     cron [VENTILATOR]
 */
#include "example.h"

#include <time.h>

#define RUNS 2

static void show(dtq_client *client, const char *name, dtq_cron_info *ret)
{
    dtq_err err = dtq_cron_show(client, name, 5000, ret);

    if (err != DTQ_OK)
        fail(client, "cannot show", err);
}

/* Every night at three in Berlin, once whatever clocks do; if it was missed, once. */
static void add_nightly(dtq_client *client, const dtq_task *task)
{
    dtq_cron cron;
    dtq_err err;

    dtq_cron_init(&cron, "nightly", task);
    cron.expression = "0 3 * * *";
    cron.zone = "Europe/Berlin";
    cron.skip_overlap = 1;
    err = dtq_cron_add(client, &cron, 5000);
    if (err != DTQ_OK)
        fail(client, "cannot add", err);
}

/* Every second. */
static void add_beat(dtq_client *client, const dtq_task *task)
{
    dtq_cron cron;
    dtq_err err;

    dtq_cron_init(&cron, "beat", task);
    cron.every_ms = 1000;
    cron.missed = DTQ_MISSED_SKIP;
    err = dtq_cron_add(client, &cron, 5000);
    if (err != DTQ_OK)
        fail(client, "cannot add", err);
}

/* What is wrong with an expression is told in words. */
static void add_wrong(dtq_client *client, const dtq_task *task)
{
    dtq_cron cron;

    dtq_cron_init(&cron, "wrong", task);
    cron.expression = "0 25 * * *";
    if (dtq_cron_add(client, &cron, 5000) == DTQ_EREFUSED)
        printf("%s\n", dtq_client_errmsg(client));
}

static void remove_all(dtq_client *client)
{
    dtq_cron_list page;
    dtq_err err = dtq_crons(client, NULL, 5000, &page);
    char names[8][129];
    size_t n = 0;

    if (err != DTQ_OK)
        fail(client, "cannot list", err);
    for (; n < page.n && n < 8; n++) /* the page goes with the next call */
        snprintf(names[n], sizeof names[n], "%s", page.entries[n].name);
    for (size_t i = 0; i < n; i++) {
        err = dtq_cron_remove(client, names[i], 5000);
        if (err != DTQ_OK)
            fail(client, "cannot remove", err);
        printf("%s removed\n", names[i]);
    }
}

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    dtq_cron_info entry;
    dtq_result result;
    dtq_task task;
    dtq_id id;
    dtq_err err;

    dtq_task_init(&task, "echo", "report", 6);
    add_nightly(client, &task);
    add_beat(client, &task);
    add_wrong(client, &task);

    /* Now, out of turn; also of one that is paused. */
    err = dtq_cron_pause(client, "nightly", 5000);
    if (err == DTQ_OK)
        err = dtq_cron_run(client, "nightly", 5000, &id);
    if (err == DTQ_OK)
        err = dtq_wait_one(client, &id, 30000, &result);
    if (err != DTQ_OK)
        fail(client, "cannot run", err);
    printf("%.*s\n", (int)result.body_bytes, (const char *)result.body);
    err = dtq_cron_resume(client, "nightly", 5000);
    if (err != DTQ_OK)
        fail(client, "cannot resume", err);

    do {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        show(client, "beat", &entry);
    } while (entry.fired < RUNS);
    show(client, "nightly", &entry);
    printf("%s: '%s' in %s, %llu run\n", entry.name, entry.expression, entry.zone,
           (unsigned long long)entry.fired);

    remove_all(client);
    dtq_client_close(client);
    return 0;
}
