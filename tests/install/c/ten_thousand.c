/* Submit 10,000 tasks to the ventilator named on the command line, and collect 10,000 results. */
#include <dtq/dtq.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dtq_submitted submitted[10000];
static dtq_task tasks[10000];
static char payloads[10000][8];

int main(int argc, char **argv)
{
    int correct = 0;
    dtq_options options;
    dtq_client *client;
    dtq_result result;

    dtq_options_init(&options);
    options.ventilator = argc > 1 ? argv[1] : NULL;
    options.follow = DTQ_FOLLOW_OWN;
    if (dtq_client_open(&options, &client) != DTQ_OK)
        return 1;
    for (int i = 0; i < 10000; i++) {
        snprintf(payloads[i], sizeof payloads[i], "%d", i);
        dtq_task_init(&tasks[i], "echo", payloads[i], strlen(payloads[i]));
        tasks[i].tag = (uint64_t)i;
    }
    if (dtq_submit_many(client, tasks, 10000, 60000, submitted) != DTQ_OK) {
        fprintf(stderr, "submit: %s\n", dtq_client_errmsg(client));
        return 1;
    }
    while (dtq_next_result(client, 60000, &result) == DTQ_OK)
        correct += result.state == DTQ_SUCCEEDED && atoi(result.body) == (int)result.tag;
    printf("%d results are right\n", correct);
    dtq_client_close(client);
    return correct == 10000 ? 0 : 1;
}
