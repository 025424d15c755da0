/*
 * The real programs in want of memory: each place in our code that allocates is found by listening
 * to a run (shim.c), and then fails, one in each run. The program goes on, or refuses what was
 * asked, or ends and says why; what was confirmed gets its outcome all the same, with this program
 * or its next start.
 *
 * Without DTQ_MEMORY_ALL in the environment it is a sample, by DTQ_MEMORY_SEED.
 */
#include "cluster.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LONG_MS (60000 * DTQ_SLOWNESS)
#define SAMPLE 1u          /* places of a daemon, if not all */
#define SAMPLE_COMMANDS 1u /* of each command */
#define SHORTAGE "20"      /* allocations that fail in a row, where it is not one */
#define ID_BYTES 36u

/* ---- places */

struct places {
    char **at; /* as MEMORY_FAIL takes them */
    size_t n;
};

static char *content_of(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;

    assert_non_null(f);
    if (getdelim(&text, &room, '\0', f) < 0)
        assert_non_null(text = strdup(""));
    fclose(f);
    return text;
}

/* Slots of a worker list theirs, too: those that two processes have are there twice. */
static bool has_place(const struct places *p, const char *place)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->at[i], place) == 0)
            return true;
    return false;
}

static struct places read_places(const char *path)
{
    struct places p = {0};
    char *text = content_of(path);
    char *at;

    for (char *line = strtok_r(text, "\n", &at); line != NULL; line = strtok_r(NULL, "\n", &at)) {
        line[strcspn(line, " ")] = '\0';
        if (has_place(&p, line))
            continue;
        assert_non_null(p.at = realloc(p.at, (p.n + 1) * sizeof *p.at));
        assert_non_null(p.at[p.n++] = strdup(line));
    }
    free(text);
    assert_true(p.n > 0);
    return p;
}

static void free_places(struct places *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->at[i]);
    free(p->at);
}

static uint64_t random_number(void)
{
    static uint64_t state;
    const char *seed = getenv("DTQ_MEMORY_SEED");

    if (state == 0)
        state = (seed != NULL ? strtoull(seed, NULL, 10) : 1) * 0x9e3779b97f4a7c15ull;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return state >> 33;
}

/* The first `n`, after mixing; all of them if asked. */
static size_t choose_places(struct places *p, size_t n)
{
    if (getenv("DTQ_MEMORY_ALL") != NULL)
        return p->n;
    for (size_t i = p->n - 1; i > 0; i--) {
        size_t other = random_number() % (i + 1);
        char *place = p->at[i];

        p->at[i] = p->at[other];
        p->at[other] = place;
    }
    return n < p->n ? n : p->n;
}

/* ---- programs with the shim */

static void preload(void)
{
    setenv("LD_PRELOAD", SHIM_LIBRARY, 1);
    /* Its runtime wants to be the first library. */
    setenv("ASAN_OPTIONS", "verify_asan_link_order=0:abort_on_error=1:detect_leaks=0", 1);
}

static void unload(void)
{
    unsetenv("LD_PRELOAD");
    unsetenv("MEMORY_LIST");
    unsetenv("MEMORY_FAIL");
    unsetenv("MEMORY_RUN");
    unsetenv("MEMORY_STRUCK");
    unsetenv("ASAN_OPTIONS");
}

static void listen_to(struct cluster *c, char ret_path[PATH_MAX])
{
    char name[32];

    (void)snprintf(name, sizeof name, "places-%lu", c->files_n++);
    cluster_path(c, name, ret_path, PATH_MAX);
    preload();
    setenv("MEMORY_LIST", ret_path, 1);
}

/* Every second time it is a shortage that lasts. */
static void order_failure(struct cluster *c, const char *place, size_t i, char ret_struck[PATH_MAX])
{
    char name[32];

    (void)snprintf(name, sizeof name, "struck-%lu", c->files_n++);
    cluster_path(c, name, ret_struck, PATH_MAX);
    preload();
    setenv("MEMORY_FAIL", place, 1);
    setenv("MEMORY_RUN", i % 2 == 0 ? "1" : SHORTAGE, 1);
    setenv("MEMORY_STRUCK", ret_struck, 1);
}

/* ---- a program that is tried */

struct subject {
    struct cluster *cluster;
    struct run *(*start)(struct cluster *c);
    struct run *run;
    char place[32]; /* "": none, it is well */
    size_t ended_n; /* of those that were tried */
};

static struct run *start_ventilator(struct cluster *c)
{
    char data[PATH_MAX];
    char data_option[PATH_MAX + 8];
    char bind[300];

    cluster_path(c, "ventilator", data, sizeof data);
    (void)snprintf(data_option, sizeof data_option, "--data=%s", data);
    (void)snprintf(bind, sizeof bind, "--bind=%s", c->control);
    return run_start(c, NULL, "dtq-ventilator", bind, data_option, "--heartbeat=200ms", NULL);
}

static struct run *start_sink(struct cluster *c)
{
    char data[PATH_MAX];
    char data_option[PATH_MAX + 8];
    char intake[300];
    char results[300];

    cluster_path(c, "sink", data, sizeof data);
    (void)snprintf(data_option, sizeof data_option, "--data=%s", data);
    (void)snprintf(intake, sizeof intake, "--intake=%s", c->intake);
    (void)snprintf(results, sizeof results, "--results=%s", c->results);
    return run_start(c, NULL, "dtq-sink", intake, results, data_option, NULL);
}

static struct run *start_worker(struct cluster *c)
{
    return run_start(c, NULL, "dtq-worker", "--module", HANDLERS_MODULE, "--exec", "cat=/bin/cat",
                     "-c2", "--max-tasks-per-child=5", NULL);
}

static bool is_in(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* With what it was tried by, so that it can be tried again. */
static void fail_trial(const struct subject *s, const struct run *r, const char *what)
{
    fail_msg("%s, with MEMORY_FAIL=%s: %s (status %d); it printed:\n%s\nand said:\n%s", r->program,
             s->place, what, r->status, r->text, r->said);
}

/* It has ended by itself. */
static void expect_good_end(struct subject *s, struct run *r)
{
    (void)run_end(r);
    if (r->status != 1)
        fail_trial(s, r, "did not end well");
    if (!is_in(r->said, "memory"))
        fail_trial(s, r, "does not say why it ended");
    s->ended_n++;
}

/* @return false: it has ended before. */
static bool comes_up(const struct subject *s, struct run *r)
{
    while (run_is_alive(r) && r->lines == 0) {
        struct pollfd p[2] = {{.fd = r->pidfd, .events = POLLIN}, {.fd = r->out, .events = POLLIN}};

        if (poll(p, 2, LONG_MS) <= 0) {
            (void)run_stop(r, SIGKILL);
            fail_trial(s, r, "neither came up nor ended");
        }
        run_take_output(r);
    }
    return r->lines > 0;
}

static void start_well(struct subject *s)
{
    s->place[0] = '\0';
    s->run = s->start(s->cluster);
    run_wait_ready(s->run);
}

/* If it has ended, it is started anew, with enough memory. */
static void keep_alive(struct subject *s)
{
    if (run_is_alive(s->run))
        return;
    expect_good_end(s, s->run);
    start_well(s);
}

/* A status that is not 0 has its reason, among what was asked for or beside it. */
static void expect_reason(const struct subject *s, const struct run *r)
{
    if (r->status >= 1000 || (r->status != 0 && r->said[0] == '\0' && r->bytes == 0))
        fail_trial(s, r, "did not end well");
}

static void wait_for_command(struct subject *s, struct run *command)
{
    while (run_is_alive(command)) {
        struct pollfd p[3] = {{.fd = command->pidfd, .events = POLLIN},
                              {.fd = command->out, .events = POLLIN},
                              {.fd = s->run->pidfd, .events = POLLIN}};

        if (poll(p, 3, LONG_MS) <= 0)
            fail_trial(s, command, "does not end");
        run_take_output(command);
        keep_alive(s);
    }
    (void)run_end(command);
    expect_reason(s, command);
}

/* ---- a small job: something of everything */

struct ids {
    char at[64][64];
    size_t n;
    size_t cancelled; /* the place of one that would only run in an hour; 0: none */
};

static struct run *ask(struct subject *s, ...)
{
    const char *argv[CLUSTER_ARGS_MAX] = {"dtq"};
    size_t n = 1;
    struct run *r;
    va_list args;

    va_start(args, s);
    while ((argv[n] = va_arg(args, const char *)) != NULL)
        n++;
    va_end(args);
    r = run_start_v(s->cluster, NULL, argv);
    wait_for_command(s, r);
    return r;
}

static void take_ids(struct ids *ids, const struct run *r)
{
    for (const char *at = r->text; *at != '\0'; at += strcspn(at, "\n") + 1) {
        if (strcspn(at, "\n") != ID_BYTES)
            continue;
        assert_true(ids->n < 64);
        (void)snprintf(ids->at[ids->n++], 64, "%.36s", at);
    }
}

static void do_job(struct subject *s, struct ids *ids)
{
    struct cluster *c = s->cluster;
    const char *last;

    (void)ask(s, "dead", "purge", "--yes", NULL); /* of the last one */
    take_ids(ids,
             ask(s, "submit", "--each-line", cluster_file(c, "1\n2\n3\n4\n", 8), "echo", NULL));
    take_ids(ids, ask(s, "submit", "fail", "x", "--retries=1", "--backoff=10ms..20ms", NULL));
    take_ids(ids, ask(s, "submit", "cat", "d", "--delay=50ms", "--key=k", "--key-ttl=1s", "-gg",
                      "--ordered", "-p8", "--expires=1h", NULL));
    take_ids(ids, ask(s, "submit", "echo", "later", "--delay=1h", NULL));
    ids->cancelled = ids->n > 0 ? ids->n - 1 : 0;
    last = ids->n > 0 ? ids->at[ids->n - 1] : "00000000-0000-0000-0000-000000000000";
    (void)ask(s, "cancel", last, NULL);
    (void)ask(s, "queue", "pause", "other", NULL);
    take_ids(ids, ask(s, "submit", "-qother", "echo", "o", NULL));
    (void)ask(s, "queue", "limit", "other", "3", NULL);
    (void)ask(s, "queue", "rate", "other", "100/s", NULL);
    (void)ask(s, "list", NULL);
    (void)ask(s, "explain", ids->n > 0 ? ids->at[ids->n - 1] : last, NULL);
    (void)ask(s, "queue", "list", NULL);
    (void)ask(s, "queue", "resume", "other", NULL);
    (void)ask(s, "cron", "add", "e", "--every=1h", "--replace", "echo", "x", NULL);
    take_ids(ids, ask(s, "cron", "run", "e", NULL));
    (void)ask(s, "cron", "list", NULL);
    (void)ask(s, "cron", "rm", "e", NULL);
    (void)ask(s, "status", "--counters", NULL);
    (void)ask(s, "sink", "list", NULL);
    (void)ask(s, "submit", "--wait", "echo", "w", "--timeout=20s", NULL);
    (void)ask(s, "dead", "list", NULL);
    (void)ask(s, "dead", "show", ids->n > 4 ? ids->at[4] : last, NULL);
    take_ids(ids, ask(s, "dead", "requeue", "--all", NULL));
    (void)ask(s, "results", NULL);
}

/* What was confirmed has its outcome, sooner or later. */
static void expect_outcomes(struct subject *s, const struct ids *ids)
{
    struct run *resume;

    do /* a shortage may last for some requests */
        resume = ask(s, "queue", "resume", "other", NULL);
    while (resume->status != 0);
    while (ids->cancelled != 0 && ask(s, "cancel", ids->at[ids->cancelled], NULL)->bytes == 0)
        ;
    for (size_t i = 0; i < ids->n; i++) {
        struct run *r = ask(s, "wait", ids->at[i], "--timeout=60s", NULL);

        for (unsigned again = 0; r->status == 1 && r->lines == 0 && again < 10; again++)
            r = ask(s, "wait", ids->at[i], "--timeout=60s", NULL); /* it was refused */
        if (r->lines != 1 || r->status == 124)
            fail_trial(s, r, "the outcome of a confirmed task is missing");
    }
}

static void list_places(struct subject *s, struct places *ret)
{
    char path[PATH_MAX];
    struct ids ids = {0};

    listen_to(s->cluster, path);
    start_well(s);
    unload();
    do_job(s, &ids);
    expect_outcomes(s, &ids);
    assert_int_equal(run_stop(s->run, SIGTERM), 0);
    *ret = read_places(path);
}

/* @return has it struck? */
static bool try_place(struct subject *s, const char *place, size_t i)
{
    char struck[PATH_MAX];
    struct ids ids = {0};

    order_failure(s->cluster, place, i, struck);
    s->run = s->start(s->cluster);
    (void)snprintf(s->place, sizeof s->place, "%s", place);
    unload();
    if (!comes_up(s, s->run))
        keep_alive(s);
    do_job(s, &ids);
    expect_outcomes(s, &ids);
    if (run_stop(s->run, SIGTERM) != 0)
        expect_good_end(s, s->run);
    return access(struck, F_OK) == 0;
}

static void try_places(struct subject *s)
{
    struct places places;
    size_t n;
    size_t struck = 0;

    list_places(s, &places);
    n = choose_places(&places, SAMPLE);
    for (size_t i = 0; i < n; i++)
        if (try_place(s, places.at[i], i))
            struck++;
    print_message("%zu places, %zu tried, %zu met; it ended by %zu\n", places.n, n, struck,
                  s->ended_n);
    assert_true(struck > 0);
    free_places(&places);
}

/* ---- stories */

static void start_all(struct cluster *c, struct subject *ret)
{
    cluster_start_ventilator(c, "--heartbeat=200ms", NULL);
    cluster_start_sink(c, NULL);
    *ret = (struct subject){.cluster = c};
}

static void a_ventilator_in_want_of_memory_goes_on_or_ends_well(void **state)
{
    struct cluster *c = *state;
    struct subject s;

    start_all(c, &s);
    run_wait_ready(start_worker(c));
    assert_int_equal(run_stop(c->ventilator, SIGTERM), 0);
    s.start = start_ventilator;
    try_places(&s);
}

static void a_sink_in_want_of_memory_goes_on_or_ends_well(void **state)
{
    struct cluster *c = *state;
    struct subject s;

    start_all(c, &s);
    run_wait_ready(start_worker(c));
    assert_int_equal(run_stop(c->sink, SIGTERM), 0);
    s.start = start_sink;
    try_places(&s);
}

static void a_worker_in_want_of_memory_goes_on_or_ends_well(void **state)
{
    struct cluster *c = *state;
    struct subject s;

    start_all(c, &s);
    s.start = start_worker;
    try_places(&s);
}

/* ---- commands */

static struct run *run_command(struct cluster *c, const char *const *words)
{
    const char *argv[CLUSTER_ARGS_MAX] = {"dtq"};

    for (size_t n = 0; words[n] != NULL; n++)
        argv[n + 1] = words[n];
    return run_start_v(c, NULL, argv);
}

static size_t try_command(struct cluster *c, const char *const *words)
{
    char path[PATH_MAX];
    struct places places;
    size_t n;

    listen_to(c, path);
    (void)run_end(run_command(c, words));
    unload();
    places = read_places(path);
    n = choose_places(&places, SAMPLE_COMMANDS);
    for (size_t i = 0; i < n; i++) {
        struct subject s = {.cluster = c};
        struct run *r;

        order_failure(c, places.at[i], i, path);
        r = run_command(c, words);
        (void)snprintf(s.place, sizeof s.place, "%s", places.at[i]);
        unload();
        (void)run_end(r);
        expect_reason(&s, r);
    }
    free_places(&places);
    return n;
}

static void commands_in_want_of_memory_say_so(void **state)
{
    struct cluster *c = *state;
    const char *lines = cluster_file(c, "1\n2\n3\n4\n", 8);
    const char *jsonl = cluster_file(c, "{\"name\":\"echo\",\"payload\":\"j\"}\n", 30);
    const char *const commands[][12] = {
        {"submit", "--wait", "--timeout=20s", "echo", "w"},
        {"submit", "--wait", "--timeout=20s", "--each-line", lines, "echo"},
        {"submit", "--timeout=20s", "--jsonl", jsonl},
        {"wait", "--timeout=20s"},
        {"show", "--json"},
        {"explain"},
        {"result"},
        {"results"},
        {"list"},
        {"status", "--json"},
        {"queue", "rate", "other", "100/s"},
        {"queue", "list"},
        {"cron", "add", "e", "--every=1h", "--replace", "echo", "x"},
        {"cron", "list"},
        {"cron", "next", "*/5 * * * *", "--tz=Europe/Berlin"},
        {"dead", "list"},
        {"sink", "list"},
        {"cancel", "--queue=other"},
    };
    size_t n = 0;

    (void)cluster_start(c);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        n += try_command(c, commands[i]);
    print_message("%zu tried\n", n);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(a_ventilator_in_want_of_memory_goes_on_or_ends_well),
        STORY(a_sink_in_want_of_memory_goes_on_or_ends_well),
        STORY(a_worker_in_want_of_memory_goes_on_or_ends_well),
        STORY(commands_in_want_of_memory_say_so),
    };

    return RUN_STORIES(argc, argv, tests);
}
