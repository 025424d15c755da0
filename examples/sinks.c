/*
 * List the sinks; remove one that is gone for good, with its disk.
 *
 *     sinks [VENTILATOR [GONE]]     GONE: its endpoint for results
 */
#include "example.h"

#include <string.h>

#define ANSWER_MS 5000

static void print(const dtq_sink_info *sink)
{
    printf("%s: %s, %llu%s tasks wait for it\n", sink->results,
           sink->reachable ? "reachable" : "out of reach", (unsigned long long)sink->waiting,
           sink->waiting_is_least ? " or more" : "");
}

/* The ventilator chooses who gets what was its. */
static void remove_sink(dtq_client *client, const dtq_sink_info *sink)
{
    uint64_t removed;
    dtq_err err = dtq_sink_remove(client, sink->store, NULL, 0, ANSWER_MS, &removed);

    if (err != DTQ_OK)
        fail(client, "cannot remove it", err);
    puts(removed != 0 ? "removed" : "somebody else removed it");
}

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    const dtq_sink_info *sinks;
    dtq_sink_info gone = {.results = NULL};
    size_t n;
    dtq_err err = dtq_sinks(client, ANSWER_MS, &sinks, &n);

    if (err != DTQ_OK)
        fail(client, "cannot list sinks", err);
    for (size_t i = 0; i < n; i++) {
        print(&sinks[i]);
        if (argc > 2 && strcmp(sinks[i].results, argv[2]) == 0)
            gone = sinks[i]; /* a copy: the list is good until the next call */
    }
    if (gone.results != NULL)
        remove_sink(client, &gone);
    dtq_client_close(client);
    return 0;
}
