/*
 * Submit many tasks at once, each confirmed or refused, and count what became of them.
 *
 *     submit_many [VENTILATOR]
 */
#include "example.h"

#include <string.h>

#define N 1000

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_NONE);
    static dtq_submitted submitted[N];
    static dtq_task tasks[N];
    static char payloads[N][16];
    int accepted = 0;
    dtq_err err;

    for (int i = 0; i < N; i++) {
        snprintf(payloads[i], sizeof payloads[i], "%d", i);
        dtq_task_init(&tasks[i], "echo", payloads[i], strlen(payloads[i]));
        tasks[i].priority = i < 10 ? 9 : 5; /* ten of them overtake the others */
    }
    tasks[7].queue = "no spaces, please"; /* this one will be refused; the others are not hurt */

    /* The error of the first task that was not accepted, and one verdict per task. */
    err = dtq_submit_many(client, tasks, N, 30000, submitted);
    if (err != DTQ_OK)
        fprintf(stderr, "not all were accepted: %s\n", dtq_client_errmsg(client));
    for (int i = 0; i < N; i++) {
        if (submitted[i].err == DTQ_OK)
            accepted++;
        else
            printf("task %d: %s: %s\n", i, dtq_errname(submitted[i].err), submitted[i].text);
    }
    printf("%d of %d accepted\n", accepted, N);
    dtq_client_close(client);
    return 0;
}
