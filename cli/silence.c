#include "cli.h"

#include "progress.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define NAME_NS 300000000 /* a command that waits for a name waits for nothing else */

/* It lives as long as the process: where no name server answers, the question stays open. */
struct lookup {
    struct lookup *next;
    char host[256];
    struct addrinfo hints;
    struct gaicb request;
};

static struct lookup *lookups;

static struct lookup *find_lookup(const char *host)
{
    for (struct lookup *l = lookups; l != NULL; l = l->next)
        if (strcmp(l->host, host) == 0)
            return l;
    return NULL;
}

/* NULL: it cannot be asked. */
static struct lookup *begin_lookup(const char *host)
{
    struct lookup *l = calloc(1, sizeof *l);

    if (l == NULL)
        return NULL;
    snprintf(l->host, sizeof l->host, "%s", host);
    l->hints = (struct addrinfo){.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    l->request = (struct gaicb){.ar_name = l->host, .ar_request = &l->hints};
    if (getaddrinfo_a(GAI_NOWAIT, (struct gaicb *[]){&l->request}, 1, NULL) != 0) {
        free(l);
        return NULL;
    }
    l->next = lookups;
    lookups = l;
    return l;
}

/* @return what is wrong with the name; NULL: nothing. */
static const char *look_up(const char *host)
{
    struct lookup *l = find_lookup(host);
    struct timespec wait = {.tv_nsec = NAME_NS};
    int rc;

    if (l == NULL)
        l = begin_lookup(host);
    if (l == NULL)
        return NULL;
    (void)gai_suspend((const struct gaicb *[]){&l->request}, 1, &wait);
    rc = gai_error(&l->request);
    if (rc == EAI_INPROGRESS)
        return "no name server has answered yet";
    return rc != 0 ? gai_strerror(rc) : NULL;
}

/* Why the host name of an endpoint stands for nothing (a name means its IPv4 address); NULL: it
 * does stand for something, or it is none. */
static const char *name_problem(const char *endpoint, char *ret_host, size_t bytes)
{
    static const char tcp[] = "tcp://";
    const char *host = endpoint + strlen(tcp);
    const char *colon = strrchr(endpoint, ':');

    if (strncmp(endpoint, tcp, strlen(tcp)) != 0 || *host == '[' || colon < host)
        return NULL;
    snprintf(ret_host, bytes, "%.*s", (int)(colon - host), host);
    return look_up(ret_host);
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
