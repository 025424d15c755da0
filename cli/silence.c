#include "cli.h"

#include "progress.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Why the host name of an endpoint stands for nothing (a name means its IPv4 address); NULL: it
 * does stand for something, or it is none. */
static const char *name_problem(const char *endpoint, char *ret_host, size_t bytes)
{
    static const char tcp[] = "tcp://";
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const char *host = endpoint + strlen(tcp);
    const char *colon = strrchr(endpoint, ':');
    int rc;

    if (strncmp(endpoint, tcp, strlen(tcp)) != 0 || *host == '[' || colon < host)
        return NULL;
    snprintf(ret_host, bytes, "%.*s", (int)(colon - host), host);
    rc = getaddrinfo(ret_host, NULL, &hints, &found);
    if (rc != 0)
        return gai_strerror(rc);
    freeaddrinfo(found);
    return NULL;
}

void cli_say_silence(void *arg, const dtq_silence *silence)
{
    const struct cli *c = arg;
    char host[256];
    const char *problem = name_problem(silence->endpoint, host, sizeof host);

    progress_clear_line();
    if (problem != NULL)
        cli_error(c, 0, "%s does not answer yet, still trying; the name '%s' is not known: %s",
                  silence->endpoint, host, problem);
    else if (silence->is_sink)
        cli_error(
            c, 0,
            "the sink at %s does not answer yet, still trying; is it running? `dtq sink list` "
            "shows all sinks",
            silence->endpoint);
    else
        cli_error(c, 0, "%s does not answer yet, still trying; is the ventilator running?",
                  silence->endpoint);
}

void cli_hint_unreachable(const struct cli *c)
{
    dtq_silence silence = {.endpoint = c->ventilator.endpoints.at[0]};
    char host[256];
    const char *problem;

    if (c->client != NULL)
        dtq_client_silence(c->client, &silence);
    problem = name_problem(silence.endpoint, host, sizeof host);
    if (problem != NULL)
        cli_error(c, 0, "the name '%s' is not known: %s", host, problem);
    else if (silence.is_sink)
        cli_error(
            c, 0,
            "the ventilator answers, this sink does not: is dtq-sink running there? `dtq sink "
            "list` shows all sinks");
    else
        cli_error(c, 0,
                  "is it running at %s? -V or DTQ_VENTILATOR names another; `dtq up` starts one "
                  "here",
                  silence.endpoint);
}
