/* What every example begins with: a client for the ventilator named on the command line. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <dtq/dtq.h>

#include <stdio.h>
#include <stdlib.h>

/* Say what went wrong and end. Real programs look at the error: dtq_err_is_retryable() helps. */
static inline void fail(const dtq_client *client, const char *what, dtq_err err)
{
    const char *text = dtq_client_errmsg(client);

    fprintf(stderr, "%s: %s\n", what, *text != 0 ? text : dtq_strerror(err));
    exit(1);
}

static inline dtq_client *open_client(int argc, char **argv, dtq_follow follow)
{
    dtq_options options;
    dtq_client *client;
    dtq_err err;

    dtq_options_init(&options);
    options.ventilator = argc > 1 ? argv[1] : NULL; /* NULL: tcp://127.0.0.1:5570 */
    options.follow = follow;
    err = dtq_client_open(&options, &client);
    if (err != DTQ_OK)
        fail(NULL, "cannot open a client", err);
    return client;
}

#endif
