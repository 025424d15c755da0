#include "link.h"

#include <stdio.h>

#define REOPEN_MS 1000 /* after a peer of the wrong kind answered, or no socket could be made */

static void shut(struct link *l)
{
    sock_monitor_close(&l->monitor, &l->sock);
    sock_close(&l->sock);
    l->reopen_ms = 0;
}

static bool begin(struct link *l, void *context, uint64_t now_ms)
{
    char why[SOCK_WHY_BYTES] = "";
    dtq_err err = sock_connect_monitored(context, l->kind, l->endpoint, &l->sock, &l->monitor, why,
                                         sizeof why);

    if (err == DTQ_OK)
        return true;
    log_error("connect_failed", log_str("endpoint", l->endpoint), log_str("why", why));
    shut(l);
    l->reopen_ms = now_ms + REOPEN_MS;
    return false;
}

bool link_open(struct link *l, void *context, struct dtqi_str endpoint, uint64_t now_ms)
{
    shut(l);
    snprintf(l->endpoint, sizeof l->endpoint, "%.*s", (int)endpoint.len, endpoint.at);
    return begin(l, context, now_ms);
}

void link_close(struct link *l)
{
    shut(l);
    l->endpoint[0] = 0;
}

void link_close_linger(struct link *l, int linger_ms)
{
    sock_monitor_close(&l->monitor, &l->sock);
    sock_close_linger(&l->sock, linger_ms);
}

enum sock_event link_next(struct link *l, uint64_t now_ms)
{
    enum sock_event event = l->monitor.zmq != NULL ? sock_monitor_next(&l->monitor) : SOCK_NOTHING;

    if (event == SOCK_REJECTED)
        l->reopen_ms = now_ms + REOPEN_MS;
    else if (event != SOCK_NOTHING)
        l->reopen_ms = 0;
    return event;
}

/* A connecting socket that met the wrong kind of peer stays dead until it is made anew. */
void link_reopen(struct link *l, void *context, uint64_t now_ms)
{
    if (l->reopen_ms == 0 || now_ms < l->reopen_ms)
        return;
    shut(l);
    (void)begin(l, context, now_ms);
}
