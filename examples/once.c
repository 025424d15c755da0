/*
 * Submit something once, however often the program runs: an idempotency key made from what the task
 * is about.
 *
 *     once [VENTILATOR [ORDER [AMOUNT]]]
 */
#include "example.h"

#include <string.h>

/* What a program does that may have died in the middle of this: it just does it again. */
static dtq_err charge(dtq_client *client, const char *order, const char *amount, dtq_id *ret_id)
{
    char key[64];
    dtq_task task;

    snprintf(key, sizeof key, "charge:%s", order);
    dtq_task_init(&task, "echo", amount, strlen(amount));
    task.key = key;
    task.key_ttl_ms = (uint64_t)7 * 86400 * 1000; /* later it would be another task */
    return dtq_submit(client, &task, 5000, ret_id);
}

static void say(const char *order, const char *amount, dtq_err err, const dtq_id *id,
                const dtq_id *first)
{
    const char *which = memcmp(id, first, sizeof *id) == 0 ? "the same task" : "another task";

    switch (err) {
    case DTQ_OK: printf("%s, %s: submitted\n", order, amount); break;
    case DTQ_EEXISTS: printf("%s, %s: submitted before, %s\n", order, amount, which); break;
    case DTQ_ECONFLICT: printf("%s, %s: that order is another task\n", order, amount); break;
    default: printf("%s, %s: %s\n", order, amount, dtq_errname(err));
    }
}

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    const char *order = argc > 2 ? argv[2] : "order-17";
    const char *amount = argc > 3 ? argv[3] : "20 EUR";
    dtq_id first = {{0}};
    dtq_id id = {{0}};
    dtq_result result;
    dtq_err err;

    err = charge(client, order, amount, &first);
    say(order, amount, err, &first, &first);
    if (err != DTQ_OK && err != DTQ_EEXISTS)
        return 1;

    /* Again: not a second task, but the first one's id, as safe as an answer to the first. */
    err = charge(client, order, amount, &id);
    say(order, amount, err, &id, &first);

    /* Other content under the same key would be a mistake of somebody's. */
    err = charge(client, order, "a million EUR", &id);
    say(order, "a million EUR", err, &id, &first);

    err = dtq_wait_one(client, &first, 30000, &result);
    if (err != DTQ_OK)
        fail(client, "cannot wait", err);
    printf("%s: %s\n", dtq_state_name(result.state), (const char *)result.body);
    dtq_client_close(client);
    return 0;
}
