/* dtq up: a ventilator, a sink and a worker on this machine, until ^C. */
#include "bounds.h"
#include "cli.h"
#include "proc.h"
#include "supervise.h"
#include "text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESTART_MS_MIN 200u
#define RESTART_MS_MAX 5000u
#define STOP_SECONDS 60u

enum member { VENTILATOR, SINK, WORKER, MEMBERS };

struct up_options {
    const char *bind;
    const char *intake;
    const char *results;
    const char *data;
    uint64_t concurrency;
    bool concurrency_given;
    struct opt_strings modules;
    struct opt_strings execs;
    struct opt_strings queues;
    bool queues_given;
    uint64_t time_limit_ms;
    bool time_limit_given;
    int durability;
    int log_level;
};

static const char *const durabilities[] = {"sync", "async", NULL};
static const char *const levels[] = {"trace", "debug", "info", "warn", "error", NULL};

static const struct opt up_table[] = {
    {.name = "concurrency",
     .letter = 'c',
     .type = OPT_INTEGER,
     OPT_AT(struct up_options, concurrency),
     OPT_GIVEN(struct up_options, concurrency_given),
     .meta = "N",
     .min = 1,
     .max = DTQI_SLOTS_MAX,
     .help = "tasks that the worker runs at once (default: one for each core)"},
    {.name = "module",
     .type = OPT_STRINGS,
     OPT_AT(struct up_options, modules),
     .meta = "FILE.so",
     .help = "serve the tasks of this module; may be repeated"},
    {.name = "exec",
     .type = OPT_STRINGS,
     OPT_AT(struct up_options, execs),
     .meta = "NAME=COMMAND",
     .help = "serve the task NAME by this command; may be repeated"},
    {.name = "queues",
     .letter = 'Q',
     .type = OPT_WEIGHTS,
     .min = 1,
     .max = 1000,
     OPT_AT(struct up_options, queues),
     OPT_GIVEN(struct up_options, queues_given),
     .meta = "A[=N],B",
     .help = "queues that the worker serves, in shares of N (default: every queue)"},
    {.name = "time-limit",
     .type = OPT_DURATION,
     OPT_AT(struct up_options, time_limit_ms),
     OPT_GIVEN(struct up_options, time_limit_given),
     .meta = "D",
     .min = 1,
     .help = "kill a task that runs longer, unless it has a limit of its own"},
    {.name = "data",
     .type = OPT_PATH,
     OPT_AT(struct up_options, data),
     .meta = "DIR",
     .help = "folder of the journal and the results (default: where the daemons keep them)"},
    {.name = "bind",
     .type = OPT_ENDPOINT,
     OPT_AT(struct up_options, bind),
     .meta = "ENDPOINT",
     .initial = "tcp://127.0.0.1:5570",
     .help = "the ventilator's endpoint"},
    {.name = "intake",
     .type = OPT_ENDPOINT,
     OPT_AT(struct up_options, intake),
     .meta = "ENDPOINT",
     .initial = "tcp://127.0.0.1:5571",
     .help = "the sink's endpoint for outcomes"},
    {.name = "results",
     .type = OPT_ENDPOINT,
     OPT_AT(struct up_options, results),
     .meta = "ENDPOINT",
     .initial = "tcp://127.0.0.1:5572",
     .help = "the sink's endpoint for results"},
    {.name = "durability",
     .type = OPT_ENUM,
     OPT_AT(struct up_options, durability),
     .meta = "MODE",
     .words = durabilities,
     .initial = "sync",
     .help = "sync: on the disk before it is confirmed; async: survives a crash of dtq, not of the "
             "machine"},
    {.name = "log-level",
     .type = OPT_ENUM,
     OPT_AT(struct up_options, log_level),
     .meta = "LEVEL",
     .words = levels,
     .initial = "warn",
     .help = "what the daemons log to stderr"},
};

/* A command line that grows; every word is a copy. */
struct words {
    char **at;
    size_t n;
};

static void words_add(struct words *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void words_add(struct words *w, const char *format, ...)
{
    va_list args;
    char **grown = realloc(w->at, (w->n + 2) * sizeof *grown);
    char *word = NULL;
    int n;

    va_start(args, format);
    n = vasprintf(&word, format, args);
    va_end(args);
    if (grown == NULL || n < 0) {
        fputs("dtq up: out of memory\n", stderr);
        exit(CLI_FAILED);
    }
    w->at = grown;
    w->at[w->n++] = word;
    w->at[w->n] = NULL;
}

static void words_free(struct words *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->at[i]);
    free(w->at);
    *w = (struct words){0};
}

struct up {
    const struct up_options *o;
    struct child children[MEMBERS];
    struct words words[MEMBERS];
    uint64_t restart_at_ms[MEMBERS]; /* 0: it runs, or waits for its turn at the start */
    uint64_t restart_ms[MEMBERS];
    char control[DTQI_ENDPOINT_BYTES_MAX + 1];
    int signals;
    bool announced;
    bool stopping;
    int status;
};

static void add_data(struct up *up, enum member m, const char *leaf)
{
    if (up->o->data != NULL)
        words_add(&up->words[m], "--data=%s/%s", up->o->data, leaf);
}

static void ventilator_words(struct up *up)
{
    struct words *w = &up->words[VENTILATOR];

    words_add(w, "dtq-ventilator");
    /* After a restart it must come back where its peers look for it. */
    words_add(w, "--bind=%s", up->control[0] != '\0' ? up->control : up->o->bind);
    words_add(w, "--durability=%s", durabilities[up->o->durability]);
    words_add(w, "--log-level=%s", levels[up->o->log_level]);
    add_data(up, VENTILATOR, "ventilator");
}

static void sink_words(struct up *up)
{
    struct words *w = &up->words[SINK];

    words_add(w, "dtq-sink");
    words_add(w, "--ventilator=%s", up->control);
    words_add(w, "--intake=%s", up->o->intake);
    words_add(w, "--results=%s", up->o->results);
    words_add(w, "--durability=%s", durabilities[up->o->durability]);
    words_add(w, "--log-level=%s", levels[up->o->log_level]);
    add_data(up, SINK, "sink");
}

static void worker_words(struct up *up)
{
    struct words *w = &up->words[WORKER];

    words_add(w, "dtq-worker");
    words_add(w, "--ventilator=%s", up->control);
    words_add(w, "--log-level=%s", levels[up->o->log_level]);
    if (up->o->concurrency_given)
        words_add(w, "--concurrency=%llu", (unsigned long long)up->o->concurrency);
    if (up->o->time_limit_given)
        words_add(w, "--time-limit=%llums", (unsigned long long)up->o->time_limit_ms);
    for (size_t i = 0; i < up->o->modules.n; i++)
        words_add(w, "--module=%s", up->o->modules.at[i]);
    for (size_t i = 0; i < up->o->execs.n; i++)
        words_add(w, "--exec=%s", up->o->execs.at[i]);
    for (size_t i = 0; up->o->queues_given && i < up->o->queues.n; i++)
        words_add(w, "--queues=%s", up->o->queues.at[i]);
}

static const struct {
    const char *program;
    void (*words)(struct up *up);
    int stop_signal;
} members[MEMBERS] = {
    [VENTILATOR] = {"dtq-ventilator", ventilator_words, SIGTERM},
    [SINK] = {"dtq-sink", sink_words, SIGTERM},
    /* Its parent is gone, and so will be its ventilator: nothing can be finished in peace. */
    [WORKER] = {"dtq-worker", worker_words, SIGQUIT},
};

static void start_member(struct up *up, enum member m)
{
    struct child *c = &up->children[m];
    char why[PATH_MAX + 128];

    words_free(&up->words[m]);
    members[m].words(up);
    c->program = members[m].program;
    c->stop_signal = members[m].stop_signal;
    c->argv = up->words[m].at;
    up->restart_at_ms[m] = 0;
    if (child_start(c, why, sizeof why) != DTQ_OK) {
        fprintf(stderr, "dtq up: %s\n", why);
        up->stopping = true;
        up->status = CLI_FAILED;
    }
}

static void announce(struct up *up)
{
    char sink[DTQI_ENDPOINT_BYTES_MAX + 1] = "";
    char pairs[2 * DTQI_ENDPOINT_BYTES_MAX + 64];

    child_ready_value(&up->children[SINK], "results", sink, sizeof sink);
    snprintf(pairs, sizeof pairs, "ventilator=%s results=%s", up->control, sink);
    proc_ready(pairs);
    if (isatty(STDERR_FILENO))
        fprintf(stderr,
                "dtq is up at %s. Submit from another terminal: dtq submit NAME PAYLOAD --wait. "
                "^C stops it.\n",
                up->control);
    up->announced = true;
}

/* The sink and the worker are started once the ventilator's endpoint is known. */
static void on_output(struct up *up, enum member m)
{
    struct child *c = &up->children[m];
    bool was_ready = c->ready;

    child_read(c);
    if (was_ready || !c->ready)
        return;
    up->restart_ms[m] = RESTART_MS_MIN;
    if (m == VENTILATOR && up->control[0] == '\0') {
        if (!child_ready_value(c, "control", up->control, sizeof up->control)) {
            fprintf(stderr, "dtq up: %s did not say its endpoint\n", c->program);
            up->stopping = true;
            up->status = CLI_FAILED;
            return;
        }
        start_member(up, SINK);
        start_member(up, WORKER);
    }
    if (!up->announced && up->children[VENTILATOR].ready && up->children[SINK].ready &&
        up->children[WORKER].ready)
        announce(up);
}

/* One that never was ready will not be the next time either: its own message said why. */
static void on_end(struct up *up, enum member m, uint64_t now_ms)
{
    struct child *c = &up->children[m];
    char how[64];

    child_status_text(c->status, how, sizeof how);
    if (up->stopping)
        return;
    if (!up->announced) {
        fprintf(stderr, "dtq up: %s %s, so nothing was started\n", c->program, how);
        up->stopping = true;
        up->status = CLI_FAILED;
        return;
    }
    fprintf(stderr, "dtq up: %s %s; starting it again in %llu ms\n", c->program, how,
            (unsigned long long)up->restart_ms[m]);
    up->restart_at_ms[m] = now_ms + up->restart_ms[m];
    up->restart_ms[m] =
        2 * up->restart_ms[m] < RESTART_MS_MAX ? 2 * up->restart_ms[m] : RESTART_MS_MAX;
}

static int poll_timeout(const struct up *up, uint64_t now_ms)
{
    uint64_t at = UINT64_MAX;

    for (int m = 0; m < MEMBERS; m++)
        if (up->restart_at_ms[m] != 0 && up->restart_at_ms[m] < at)
            at = up->restart_at_ms[m];
    if (at == UINT64_MAX)
        return -1;
    return at > now_ms ? (int)(at - now_ms) : 0;
}

static void wait_for_something(const struct up *up, uint64_t now_ms)
{
    struct pollfd fds[1 + 2 * MEMBERS] = {{.fd = up->signals, .events = POLLIN}};

    for (int m = 0; m < MEMBERS; m++) {
        bool runs = up->children[m].pid > 0;

        fds[1 + 2 * m] = (struct pollfd){.fd = runs ? up->children[m].out : -1, .events = POLLIN};
        fds[2 + 2 * m] = (struct pollfd){.fd = runs ? up->children[m].pidfd : -1, .events = POLLIN};
    }
    if (poll(fds, 1 + 2 * MEMBERS, poll_timeout(up, now_ms)) < 0 && errno != EINTR)
        perror("dtq up: poll");
}

static void serve_children(struct up *up)
{
    uint64_t now_ms = proc_now_ms();

    for (int m = 0; m < MEMBERS; m++) {
        if (up->children[m].pid > 0)
            on_output(up, (enum member)m);
        if (child_reap(&up->children[m]))
            on_end(up, (enum member)m, now_ms);
        if (up->restart_at_ms[m] != 0 && now_ms >= up->restart_at_ms[m] && !up->stopping)
            start_member(up, (enum member)m);
    }
}

static bool is_anyone_left(const struct up *up)
{
    for (int m = 0; m < MEMBERS; m++)
        if (up->children[m].pid > 0)
            return true;
    return false;
}

/* The worker first, while the others still take its results; then the sink, so that the ventilator
 * hears of them. */
static void stop_all(struct up *up)
{
    static const enum member order[MEMBERS] = {WORKER, SINK, VENTILATOR};
    int next = 0;
    int asked = -1;
    bool cold = false;

    proc_shutdown_watchdog(STOP_SECONDS);
    for (int m = 0; m < MEMBERS; m++)
        up->restart_at_ms[m] = 0;
    while (is_anyone_left(up)) {
        int signal;

        while (next < MEMBERS && up->children[order[next]].pid == 0)
            next++;
        if (next < MEMBERS && asked != next) {
            child_signal(&up->children[order[next]], cold ? SIGQUIT : SIGTERM);
            asked = next;
        }
        wait_for_something(up, proc_now_ms());
        while ((signal = proc_signals_next(up->signals)) != 0) {
            cold = cold || signal != SIGHUP;
            for (int m = 0; cold && m < MEMBERS; m++)
                child_signal(&up->children[m], SIGQUIT);
        }
        serve_children(up);
    }
    proc_shutdown_watchdog(0);
}

static int run_up(const struct up_options *o)
{
    struct up up = {.o = o, .signals = proc_signals_open()};
    int signal;

    for (int m = 0; m < MEMBERS; m++) {
        up.children[m] = (struct child){.pidfd = -1, .out = -1};
        up.restart_ms[m] = RESTART_MS_MIN;
    }
    start_member(&up, VENTILATOR);
    while (!up.stopping) {
        wait_for_something(&up, proc_now_ms());
        while ((signal = proc_signals_next(up.signals)) != 0) {
            if (signal == SIGHUP)
                for (int m = 0; m < MEMBERS; m++)
                    child_signal(&up.children[m], SIGHUP);
            else
                up.stopping = true;
        }
        serve_children(&up);
    }
    proc_stopping();
    stop_all(&up);
    for (int m = 0; m < MEMBERS; m++)
        words_free(&up.words[m]);
    close(up.signals);
    return up.status;
}

int cmd_up(int argc, char **argv)
{
    struct up_options o;
    struct opt_group group = {"Options", OPT_TABLE(up_table), &o};
    struct opt_spec spec = {
        .program = "dtq",
        .command = "up",
        .usage = "[OPTION...]",
        .summary = "Run a ventilator, a sink and a worker on this machine, until ^C.",
        .epilog = "A member that dies is started again. ^C lets running tasks finish; a second ^C "
                  "stops them.\n\n"
                  "  dtq up --exec upper='tr a-z A-Z'\n"
                  "  dtq submit upper hello --wait        (in another terminal)",
        .groups = &group,
        .groups_n = 1,
    };
    struct opt_result parsed = {0};
    int status = opt_parse(&spec, argc, argv, &parsed);

    if (status == OPT_GO && o.modules.n == 0 && o.execs.n == 0)
        status = opt_error(
            &spec, "the worker would serve no task: give --module FILE.so or --exec NAME=COMMAND");
    if (status == OPT_GO) {
        proc_setup();
        if (o.data != NULL && mkdir(o.data, 0700) != 0 && errno != EEXIST) {
            fprintf(stderr, "dtq up: cannot make the folder %s: %s\n", o.data, strerror(errno));
            status = CLI_FAILED;
        } else {
            status = run_up(&o);
        }
    }
    opt_done(&parsed);
    return status;
}
