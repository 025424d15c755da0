/*
 * dtq inside an event loop: lines of standard input become tasks while their results are printed
 * as they come. Nothing here ever blocks but poll().
 *
 *     event_loop [VENTILATOR] <lines
 */
#include "example.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

struct input {
    char bytes[65536];
    size_t n;
    int is_open;
};

/* All that are there. @return DTQ_EAGAIN: more will come; DTQ_ENOTFOUND: everything is answered. */
static dtq_err take_events(dtq_client *client)
{
    dtq_event event;
    dtq_err err;

    while ((err = dtq_next_event(client, 0, &event)) == DTQ_OK) {
        if (event.type == DTQ_EVENT_RESULT)
            printf("%llu: %s\n", (unsigned long long)event.result.tag,
                   (const char *)event.result.body);
        else if (event.submitted.err != DTQ_OK)
            fprintf(stderr, "%llu: %s\n", (unsigned long long)event.submitted.tag,
                    event.submitted.text);
    }
    fflush(stdout);
    return err;
}

/* Each whole line that is there. When the client takes no more just now, the rest stays for later.
 */
static void submit_lines(dtq_client *client, struct input *in, uint64_t *number)
{
    char *end;

    while ((end = memchr(in->bytes, '\n', in->n)) != NULL) {
        size_t length = (size_t)(end - in->bytes);
        dtq_task task;
        dtq_err err;

        dtq_task_init(&task, "echo", in->bytes, length);
        task.tag = ++*number;
        err = dtq_submit_async(client, &task, 0, NULL);
        if (err == DTQ_EAGAIN || err == DTQ_EBUSY) {
            --*number;
            return;
        }
        if (err != DTQ_OK)
            fail(client, "cannot submit", err);
        in->n -= length + 1;
        memmove(in->bytes, end + 1, in->n);
    }
    if (in->n == sizeof in->bytes) {
        fprintf(stderr, "a line of more than %zu bytes\n", sizeof in->bytes);
        exit(1);
    }
}

static void read_input(struct input *in)
{
    ssize_t n = read(STDIN_FILENO, in->bytes + in->n, sizeof in->bytes - in->n);

    if (n > 0)
        in->n += (size_t)n;
    else if (n == 0 || errno != EINTR)
        in->is_open = 0;
}

int main(int argc, char **argv)
{
    dtq_client *client = open_client(argc, argv, DTQ_FOLLOW_OWN);
    static struct input in = {.is_open = 1};
    uint64_t number = 0;
    dtq_err err;

    do {
        int wants_input = in.is_open && in.n < sizeof in.bytes;
        struct pollfd fds[2] = {
            {.fd = dtq_client_fd(client), .events = POLLIN},
            {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN},
        };

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            fail(NULL, "cannot poll", DTQ_EIO);
        if (fds[1].revents != 0)
            read_input(&in);
        submit_lines(client, &in, &number);
        err = take_events(client); /* does what dtq_client_process() does, too */
        if (err != DTQ_EAGAIN && err != DTQ_ENOTFOUND)
            fail(client, "cannot go on", err);
    } while (in.is_open || memchr(in.bytes, '\n', in.n) != NULL || err != DTQ_ENOTFOUND);
    dtq_client_close(client);
    return 0;
}
