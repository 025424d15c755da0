/*
 * The chaos run: the real programs under load and faults, and a checker that knows what must hold.
 * See README.md here.
 */
#include "cast.h"
#include "check.h"
#include "netns.h"
#include "plan.h"

#include <dtq/dtq.h>

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LIVENESS 3u
#define SKIPPED 77        /* exit status: not possible here */
#define SHORT_SECONDS 30u /* runs that are shorter are in a hurry */
#define FILES_MAX 400u    /* of a program, when all is quiet again */

struct options {
    uint64_t seed;
    uint64_t seconds;
    uint64_t away_s;
    uint64_t settle_s;
    uint64_t workers;
    uint64_t producers;
    uint64_t rate;
    uint64_t open_max;
    uint64_t heartbeat_ms;
    uint64_t keep;
    uint64_t plan;
    uint64_t packets;
    uint64_t delay_ms;
    uint64_t async;
    const char *act; /* NULL: all of them */
};

struct chaos {
    struct options options;
    char dir[PATH_MAX / 2];
    struct plan_cfg plan_cfg;
    struct plan plan;
    size_t step; /* the next one */
    struct cast_cfg cast_cfg;
    struct cast cast;
    struct check check;
    dtq_client *client; /* not behind the proxy */
    const char *act;
    uint64_t started_ms;
    uint64_t said_ms;
    uint64_t settle_ms; /* how long it took */
    uint64_t refused;   /* second proposals at the sink */
    uint32_t findings;
    FILE *log;
};

static struct chaos chaos;

/* ------------------------------------------------------------------------ talk */

static bool at_terminal(void)
{
    return isatty(2) == 1;
}

static uint64_t since_ms(const struct chaos *x)
{
    return job_now_ms() - x->started_ms;
}

static void note(struct chaos *x, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Into the log of the run only. */
static void note(struct chaos *x, const char *format, ...)
{
    va_list args;

    fprintf(x->log, "%8llu ", (unsigned long long)since_ms(x));
    va_start(args, format);
    vfprintf(x->log, format, args);
    va_end(args);
    fputc('\n', x->log);
    fflush(x->log);
}

static void found(const char *text)
{
    chaos.findings++;
    note(&chaos, "FOUND %s", text);
    fprintf(stderr, "%schaos: %s\n", at_terminal() ? "\r\033[K" : "", text);
}

static uint64_t sum(const uint64_t *values, size_t n)
{
    uint64_t all = 0;

    for (size_t i = 0; i < n; i++)
        all += values[i];
    return all;
}

static void progress(struct chaos *x)
{
    const struct check_totals *t = &x->check.totals;

    if (!at_terminal() || job_now_ms() < x->said_ms + 200)
        return;
    x->said_ms = job_now_ms();
    fprintf(stderr,
            "\r\033[K%llu s of %llu: %s; kills %llu, stops %llu, cuts %llu; submitted %llu, "
            "confirmed %llu, settled %llu, run again %llu",
            (unsigned long long)since_ms(x) / 1000, (unsigned long long)x->options.seconds, x->act,
            (unsigned long long)sum(x->cast.counts.kills, ROLES),
            (unsigned long long)sum(x->cast.counts.stops, ROLES),
            (unsigned long long)sum(x->cast.counts.cuts, PAIRS_N), (unsigned long long)t->submitted,
            (unsigned long long)t->confirmed, (unsigned long long)t->settled,
            (unsigned long long)t->again);
}

/* ------------------------------------------------------------------------ the run */

/* Outcomes as they are committed; also what time passes in. */
static void follow(struct chaos *x, uint32_t ms)
{
    uint64_t until_ms = job_now_ms() + ms;
    dtq_result result;
    dtq_err err = DTQ_OK;

    while (job_now_ms() < until_ms && err == DTQ_OK) {
        err = dtq_next_result(x->client, (int32_t)ms, &result);
        if (err == DTQ_OK)
            check_outcome(&x->check, &result, false);
    }
    if (job_now_ms() < until_ms) /* nobody is there */
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static bool go_on(struct chaos *x, uint32_t ms)
{
    cast_reap(&x->cast);
    if (x->cast.why[0] != '\0')
        return false;
    follow(x, ms);
    check_read(&x->check);
    progress(x);
    return true;
}

static void apply_due(struct chaos *x)
{
    while (x->step < x->plan.n && x->plan.steps[x->step].at_ms <= since_ms(x)) {
        const struct step *step = &x->plan.steps[x->step++];

        if (step->op == OP_ACT) {
            x->act = plan_act_name(step->act);
            note(x, "act %s", x->act);
        }
        cast_apply(&x->cast, step);
    }
}

static bool play(struct chaos *x)
{
    for (uint32_t i = 0; i < x->cast.n; i++)
        cast_start(&x->cast, i);
    while (x->step < x->plan.n) {
        uint64_t next_ms = x->plan.steps[x->step].at_ms;
        uint64_t now_ms = since_ms(x);

        if (!go_on(x, next_ms > now_ms + 20 ? 20
                      : next_ms > now_ms    ? (uint32_t)(next_ms - now_ms)
                                            : 1))
            return false;
        apply_due(x);
    }
    return true;
}

/* ------------------------------------------------------------------------ afterwards */

/* @return open tasks at the ventilator; UINT64_MAX: it cannot be asked. */
static uint64_t open_tasks(struct chaos *x, bool say)
{
    dtq_filter filter = {.limit = 5};
    dtq_cursor cursor = {0};
    dtq_task_list list;
    char id[DTQ_ID_TEXT_BYTES];
    char text[512];

    if (dtq_tasks(x->client, &filter, &cursor, 2000, &list) != DTQ_OK)
        return UINT64_MAX;
    for (size_t i = 0; say && i < list.n; i++) {
        const dtq_task_info *t = &list.tasks[i];

        dtq_id_format(&t->id, id);
        snprintf(text, sizeof text, "open: %s %s attempt %u failures %u crashes %u worker '%s': %s",
                 id, dtq_state_name(t->state), t->attempt, t->failures, t->crashes, t->worker,
                 t->why);
        found(text);
    }
    return list.n;
}

static bool producers_end(struct chaos *x, uint64_t until_ms)
{
    while (cast_runs(&x->cast, ROLE_PRODUCER)) {
        for (uint32_t i = 0; i < x->cast.n; i++)
            if (x->cast.actors[i].role == ROLE_PRODUCER && !x->cast.actors[i].told)
                cast_tell(&x->cast, i, SIGTERM);
        if (!go_on(x, 20) || job_now_ms() > until_ms)
            return false;
    }
    return true;
}

/* Somebody was told to end and will begin again. */
static bool is_restarting(const struct chaos *x)
{
    for (uint32_t i = 0; i < x->cast.n; i++)
        if (x->cast.actors[i].pid == 0 || x->cast.actors[i].told || x->cast.actors[i].killed)
            return true;
    return false;
}

/* A client asks by itself for results that were pushed and lost, ten seconds later. A new one asks
 * at once. */
static void replace_producers(struct chaos *x)
{
    for (uint32_t i = 0; i < x->cast.n; i++)
        if (x->cast.actors[i].role == ROLE_PRODUCER)
            cast_apply(&x->cast, &(struct step){.op = OP_TERM, .actor = i});
}

/* Faults are over: everything must come to its end, within the time that is promised. */
static bool settle(struct chaos *x)
{
    uint64_t from_ms = job_now_ms();
    uint64_t until_ms = from_ms + x->options.settle_s * 1000;
    bool all = false;

    x->act = "settling";
    note(x, "settling");
    cast_heal(&x->cast);
    if (x->options.seconds < SHORT_SECONDS)
        replace_producers(x);
    while (is_restarting(x) && job_now_ms() < until_ms)
        if (!go_on(x, 20))
            return false;
    x->cast.closing = true;
    if (producers_end(x, until_ms))
        while (x->cast.why[0] == '\0' && !all && job_now_ms() < until_ms)
            all = go_on(x, 20) && open_tasks(x, false) == 0;
    x->settle_ms = job_now_ms() - from_ms;
    if (all || x->cast.why[0] != '\0')
        return all;
    found(cast_runs(&x->cast, ROLE_PRODUCER) ? "producers still wait for something"
                                             : "tasks are open that should have ended");
    open_tasks(x, true);
    return false;
}

static bool read_sink(struct chaos *x)
{
    dtq_filter filter = {.limit = 1000, .bodies = 1};
    dtq_cursor cursor = {0};
    dtq_outcome_list list = {.more = 1};
    uint64_t until_ms = job_now_ms() + 120000;
    uint64_t n = 0;

    while (list.more && job_now_ms() < until_ms) {
        if (dtq_outcomes(x->client, &filter, &cursor, 10000, &list) != DTQ_OK) {
            list.more = 1;
            continue;
        }
        for (size_t i = 0; i < list.n; i++)
            check_outcome(&x->check, &list.results[i], true);
        n += list.n;
        x->refused = list.refused;
    }
    if (list.more)
        found("the sink could not be read");
    else if (n != list.held)
        found("the sink lists another number of outcomes than it counts");
    return !list.more;
}

static void check_files(struct chaos *x)
{
    char text[128];

    for (uint32_t i = 0; i < x->cast.n; i++) {
        uint32_t files = x->cast.actors[i].pid != 0 ? cast_files(&x->cast, i) : 0;

        note(x, "%s has %u open files", x->cast.actors[i].name, files);
        if (files <= FILES_MAX)
            continue;
        snprintf(text, sizeof text, "%s has %u open files", x->cast.actors[i].name, files);
        found(text);
    }
}

/* Faults on links prove nothing when the links do not go through the proxy. */
static void check_ways(struct chaos *x)
{
    struct proxy_stats stats;

    proxy_stats(x->cast.proxy, &stats);
    for (int way = 0; way < WAYS; way++)
        if (stats.connections[way] == 0)
            found("the proxy has seen no connection of one of the kinds of links");
}

static void stop_role(struct chaos *x, enum role role)
{
    uint64_t until_ms = job_now_ms() + x->cast_cfg.end_ms;
    char text[128];

    for (uint32_t i = 0; i < x->cast.n; i++)
        if (x->cast.actors[i].role == role)
            cast_tell(&x->cast, i, SIGTERM);
    while (cast_runs(&x->cast, role) && job_now_ms() < until_ms && go_on(x, 10))
        ;
    if (cast_runs(&x->cast, role) && x->cast.why[0] == '\0') {
        snprintf(text, sizeof text, "a %s does not end after SIGTERM",
                 role == ROLE_WORKER ? "worker"
                 : role == ROLE_SINK ? "sink"
                                     : "ventilator");
        found(text);
    }
}

/* Errors that our faults are the cause of: a slot that we killed. */
static bool is_expected(const char *line)
{
    return strstr(line, "ev=slot_broken") != NULL;
}

/* Reports of sanitizers and asserts, in whatever the programs said. */
static void search_log(struct chaos *x, const struct actor *a)
{
    static const char *const bad[] = {"Sanitizer", "runtime error:", "Assertion",      "assertion",
                                      "panic",     "level=error",    "was not taken:", "corrupt"};
    char path[PATH_MAX];
    char line[1024];
    char text[1200];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s.log", x->dir, a->name);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            if (strstr(line, bad[i]) != NULL && !is_expected(line)) {
                line[strcspn(line, "\n")] = '\0';
                snprintf(text, sizeof text, "%s said: %s", a->name, line);
                found(text);
                break;
            }
    if (file != NULL)
        fclose(file);
}

static void judge(struct chaos *x, bool settled)
{
    if (x->cast.why[0] != '\0') {
        found(x->cast.why);
        return;
    }
    check_files(x);
    check_ways(x);
    if (read_sink(x) && !check_end(&x->check, settled))
        found("what was promised and what is there do not agree");
    stop_role(x, ROLE_WORKER);
    stop_role(x, ROLE_SINK);
    stop_role(x, ROLE_VENTILATOR);
    if (x->cast.why[0] != '\0')
        found(x->cast.why);
}

/* ------------------------------------------------------------------------ the table */

static void row(const char *what, uint64_t value)
{
    printf("  %-34s %12llu\n", what, (unsigned long long)value);
}

static void table(struct chaos *x, uint64_t ran_ms)
{
    static const char *const roles[] = {"ventilator", "sink", "worker", "producer"};
    const struct cast_counts *n = &x->cast.counts;
    const struct check_totals *t = &x->check.totals;
    struct proxy_stats proxy;
    char text[64];

    proxy_stats(x->cast.proxy, &proxy);
    printf("%schaos: seed %llu, %llu s with settling, %u workers, %u producers, heartbeat %u ms\n",
           at_terminal() ? "\r\033[K" : "", (unsigned long long)x->options.seed,
           (unsigned long long)(ran_ms / 1000), x->plan_cfg.workers, x->plan_cfg.producers,
           x->cast_cfg.heartbeat_ms);
    row("kill -9", sum(n->kills, ROLES));
    for (int role = 0; role < ROLES; role++) {
        snprintf(text, sizeof text, "  of the %s%s", roles[role], role < 2 ? "" : "s");
        row(text, n->kills[role]);
    }
    row("kill -9 of slots", n->slots);
    row("SIGSTOP and SIGCONT", sum(n->stops, ROLES));
    row("restarts by SIGTERM", sum(n->restarts, ROLES));
    row("cuts and delays", sum(n->cuts, PAIRS_N));
    for (int pair = 0; pair < PAIRS_N; pair++) {
        snprintf(text, sizeof text, "  %s", plan_pair_name((enum pair)pair));
        row(text, n->cuts[pair]);
    }
    if (x->options.packets)
        row("packets stopped", n->drops);
    row("connections through the proxy", sum(proxy.connections, WAYS));
    row("  reset", proxy.resets);
    row("tasks submitted", t->submitted);
    row("  confirmed", t->confirmed);
    row("  refused", t->refused);
    row("outcomes at the sink", sum(t->states, DTQ_CANCELLED + 1));
    for (int state = DTQ_SUCCEEDED; state <= DTQ_CANCELLED; state++) {
        snprintf(text, sizeof text, "  %s", dtq_state_name((dtq_state)state));
        row(text, t->states[state]);
    }
    row("  of producers killed too early", t->untold);
    row("results told to producers", t->told);
    row("executions", t->executions);
    row("  succeeded again", t->again);
    row("second proposals refused", x->refused);
    row("settled after the faults in ms", x->settle_ms);
    row("tasks settled per second", t->settled * 1000 / (ran_ms + 1));
    row("confirmed and lost", t->lost);
    row("second outcomes", t->second);
    row("findings", x->findings);
}

/* ------------------------------------------------------------------------ main */

static bool open_run(struct chaos *x)
{
    const char *tmp = getenv("TMPDIR");
    char path[PATH_MAX];
    dtq_options options;

    snprintf(x->dir, sizeof x->dir, "%s/dtq-chaos-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(x->dir) == NULL) {
        perror(x->dir);
        return false;
    }
    snprintf(path, sizeof path, "%s/chaos.log", x->dir);
    x->log = fopen(path, "we");
    x->started_ms = job_now_ms();
    x->cast_cfg.dir = x->dir;
    if (x->log == NULL || !cast_open(&x->cast, &x->cast_cfg)) {
        fprintf(stderr, "chaos: %s\n", x->cast.why);
        return false;
    }
    check_init(&x->check, x->options.seed, x->cast_cfg.slow_ms, found);
    cast_log_path(&x->cast, NULL, path);
    check_add_log(&x->check, path);
    for (uint32_t i = 0; i < x->cast.n; i++) {
        if (x->cast.actors[i].role != ROLE_PRODUCER)
            continue;
        cast_log_path(&x->cast, &x->cast.actors[i], path);
        check_add_log(&x->check, path);
    }
    dtq_options_init(&options);
    options.ventilator = x->cast.control;
    options.follow = DTQ_FOLLOW_ALL;
    return dtq_client_open(&options, &x->client) == DTQ_OK;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    remove(path);
    return 0;
}

static int run(struct chaos *x)
{
    uint64_t ran_ms;
    bool settled;

    if (!open_run(x))
        return 1;
    settled = play(x) && settle(x);
    ran_ms = since_ms(x);
    judge(x, settled);
    for (uint32_t i = 0; i < x->cast.n; i++)
        search_log(x, &x->cast.actors[i]);
    table(x, ran_ms);
    dtq_client_close(x->client);
    cast_close(&x->cast);
    check_done(&x->check);
    plan_free(&x->plan);
    fclose(x->log);
    if (x->findings > 0 || x->options.keep)
        printf("logs and data: %s\n", x->dir);
    else
        nftw(x->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    return x->findings > 0;
}

static void configure(struct chaos *x)
{
    const struct options *o = &x->options;

    x->plan_cfg = (struct plan_cfg){
        .seed = o->seed,
        .run_ms = (uint32_t)o->seconds * 1000,
        .dead_ms = (uint32_t)o->heartbeat_ms * LIVENESS,
        .away_ms = o->away_s > 0       ? (uint32_t)o->away_s * 1000
                   : o->seconds >= 480 ? 120000
                                       : (uint32_t)o->seconds * 1000 / 8,
        .workers = (uint32_t)o->workers,
        .producers = (uint32_t)o->producers,
        .packets = o->packets != 0,
        .delay_ms = (uint32_t)o->delay_ms,
        .only = o->act != NULL ? plan_act_of(o->act) : 0,
    };
    x->cast_cfg = (struct cast_cfg){
        .bin = CHAOS_BIN,
        .module = CHAOS_MODULE,
        .shim = CHAOS_SHIM,
        .seed = o->seed,
        .heartbeat_ms = (uint32_t)o->heartbeat_ms,
        .async = o->async != 0,
        .workers = (uint32_t)o->workers,
        .producers = (uint32_t)o->producers,
        .open_max = (uint32_t)o->open_max,
        .per_second = (uint32_t)(o->rate / o->producers),
        .slow_ms = x->plan_cfg.dead_ms,
        .end_ms = 30000 * CHAOS_SLOWNESS,
    };
}

struct option_row {
    const char *name;
    uint64_t *at;
    uint64_t max;
    const char *help;
};

static int usage(const struct option_row *rows)
{
    fprintf(stderr, "chaos [--NAME=N ..] [--act=NAME]\n");
    for (; rows->name != NULL; rows++)
        fprintf(stderr, "  --%-12s %s (%llu)\n", rows->name, rows->help,
                (unsigned long long)*rows->at);
    fprintf(stderr, "  --%-12s %s\n", "act", "nothing but this one, by its name");
    return 2;
}

static bool parse(const char *word, const struct option_row *rows)
{
    char *end;

    for (; rows->name != NULL; rows++) {
        size_t n = strlen(rows->name);

        if (strncmp(word, "--", 2) != 0 || strncmp(word + 2, rows->name, n) != 0 ||
            word[2 + n] != '=')
            continue;
        *rows->at = strtoull(word + 3 + n, &end, 10);
        return end != word + 3 + n && *end == '\0' && *rows->at <= rows->max;
    }
    return false;
}

int main(int argc, char **argv)
{
    struct options *o = &chaos.options;
    const struct option_row rows[] = {
        {"seed", &o->seed, UINT64_MAX, "decides the faults and the tasks"},
        {"seconds", &o->seconds, 1000000, "of faults"},
        {"away", &o->away_s, 10000, "seconds without a sink; 0: 120, or an eighth of short runs"},
        {"settle", &o->settle_s, 10000, "seconds in which everything must settle afterwards"},
        {"workers", &o->workers, 12, "workers, with two slots each"},
        {"producers", &o->producers, 12, "producers"},
        {"rate", &o->rate, 1000000, "tasks a second, of all producers"},
        {"open", &o->open_max, 100000, "tasks of a producer that have not ended, at most"},
        {"heartbeat", &o->heartbeat_ms, 60000, "milliseconds; three are death"},
        {"keep", &o->keep, 1, "1: keep logs and data"},
        {"plan", &o->plan, 1, "1: print what would be done, do nothing"},
        {"packets", &o->packets, 1, "1: faults below TCP too, in a network namespace of its own"},
        {"delay", &o->delay_ms, 10000,
         "milliseconds of the act, each way, up to three times as many; 0: as the seed says"},
        {"async", &o->async, 1, "1: --durability=async of the ventilator and the sink"},
        {NULL, NULL, 0, NULL},
    };

    *o = (struct options){
        .seed = 1,
        .seconds = 60,
        .settle_s = 60 * CHAOS_SLOWNESS,
        .workers = 3,
        .producers = 3,
        .rate = 1500 / CHAOS_SLOWNESS,
        .open_max = 1500,
        .heartbeat_ms = 200 * CHAOS_SLOWNESS,
    };
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--act=", 6) == 0 && plan_act_of(argv[i] + 6) != 0)
            o->act = argv[i] + 6;
        else if (!parse(argv[i], rows))
            return usage(rows);
    if (o->workers == 0 || o->producers == 0 || o->seconds == 0 || o->heartbeat_ms < 50)
        return usage(rows);
    configure(&chaos);
    plan_make(&chaos.plan_cfg, &chaos.plan);
    if (o->plan) {
        plan_print(&chaos.plan);
        plan_free(&chaos.plan);
        return 0;
    }
    if (o->packets && !netns_enter()) {
        fprintf(stderr, "chaos: skipped: no network namespace can be made here: %s\n",
                strerror(errno));
        return SKIPPED;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    fprintf(stderr, "chaos: seed %llu\n", (unsigned long long)o->seed);
    return run(&chaos);
}
