/* `make bench-peers`: the same work on dtq and on other task queues, in alternating rounds. */
#include "bed.h"
#include "bench.h"
#include "load.h"
#include "opt.h"
#include "peer.h"
#include "proc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS_MAX 64
#define STATUS_SKIPPED 77 /* what automake and ctest know */

#define REDIS                                   \
    {                                           \
        "redis-server", "/usr/bin/redis-server" \
    }
#define PYTHON_REDIS                                                        \
    {                                                                       \
        "python3-redis", "/usr/lib/python3/dist-packages/redis/__init__.py" \
    }
#define CELERY                                                                \
    {                                                                         \
        "python3-celery", "/usr/lib/python3/dist-packages/celery/__init__.py" \
    }
#define RQ                                                            \
    {                                                                 \
        "python3-rq", "/usr/lib/python3/dist-packages/rq/__init__.py" \
    }
#define BEANSTALKD                          \
    {                                       \
        "beanstalkd", "/usr/bin/beanstalkd" \
    }

static const struct peer peers[] = {
    {.name = "dtq",
     .setting = "default: journal and results on the disk",
     .tasks = 300000,
     .trips = 300,
     .is_durable = true,
     .queue = dtq_queue,
     .run = dtq_run},
    {.name = "dtq-async",
     .setting = "--durability=async",
     .tasks = 300000,
     .trips = 300,
     .is_async = true,
     .queue = dtq_queue,
     .run = dtq_run},
    {.name = "redis-fsync",
     .setting = "stream, consumer group; appendfsync always",
     .packages = {REDIS},
     .tasks = 200000,
     .trips = 300,
     .is_durable = true,
     .queue = redis_queue,
     .run = redis_run},
    {.name = "redis",
     .setting = "stream, consumer group; in memory",
     .packages = {REDIS},
     .tasks = 200000,
     .trips = 300,
     .queue = redis_queue,
     .run = redis_run},
    {.name = "beanstalkd-fsync",
     .setting = "binlog, -f0",
     .packages = {BEANSTALKD},
     .tasks = 2000,
     .trips = 200,
     .is_durable = true,
     .queue = beanstalkd_queue,
     .run = beanstalkd_run},
    {.name = "beanstalkd",
     .setting = "in memory",
     .packages = {BEANSTALKD},
     .tasks = 100000,
     .trips = 300,
     .queue = beanstalkd_queue,
     .run = beanstalkd_run},
    {.name = "celery",
     .setting = "prefork, Redis in memory",
     .packages = {REDIS, PYTHON_REDIS, CELERY},
     .tasks = 3000,
     .trips = 100,
     .queue = python_queue,
     .run = python_run,
     .program = "celery_peer.py",
     .worker = "worker",
     .workers = 1},
    {.name = "rq-simple",
     .setting = "SimpleWorker: no fork; Redis in memory",
     .packages = {REDIS, PYTHON_REDIS, RQ},
     .tasks = 1500,
     .trips = 100,
     .queue = python_queue,
     .run = python_run,
     .program = "rq_peer.py",
     .worker = "simple-worker",
     .workers = PEER_WORKERS},
    {.name = "rq",
     .setting = "a fork for each task; Redis in memory",
     .packages = {REDIS, PYTHON_REDIS, RQ},
     .tasks = 400,
     .trips = 50,
     .queue = python_queue,
     .run = python_run,
     .program = "rq_peer.py",
     .worker = "worker",
     .workers = PEER_WORKERS},
};

#define PEERS (sizeof peers / sizeof *peers)

struct values {
    struct opt_strings only;
    uint64_t rounds;
    uint64_t tasks;
    uint64_t trips;
    uint64_t calm_ms;
    const char *out;
};

static const struct opt table[] = {
    {.name = "only",
     .type = OPT_NAMES,
     OPT_AT(struct values, only),
     .meta = "NAME,..",
     .command_line_only = true,
     .help = "these and no others"},
    {.name = "rounds",
     .type = OPT_INTEGER,
     OPT_AT(struct values, rounds),
     .meta = "N",
     .initial = "5",
     .min = 1,
     .max = ROUNDS_MAX,
     .command_line_only = true,
     .help = "alternating rounds; figures are their medians"},
    {.name = "tasks",
     .type = OPT_INTEGER,
     OPT_AT(struct values, tasks),
     .meta = "N",
     .initial = "0",
     .command_line_only = true,
     .help = "tasks of a round, at most; 0: as many as each does in about a second"},
    {.name = "trips",
     .type = OPT_INTEGER,
     OPT_AT(struct values, trips),
     .meta = "N",
     .initial = "0",
     .max = 10000,
     .command_line_only = true,
     .help = "single tasks of a round, at most; 0: 50 to 300"},
    {.name = "calm",
     .type = OPT_DURATION,
     OPT_AT(struct values, calm_ms),
     .meta = "DURATION",
     .initial = "0",
     .command_line_only = true,
     .help = "before each measurement wait up to so long for others to leave the machine"},
    {.name = "out",
     .type = OPT_PATH,
     OPT_AT(struct values, out),
     .meta = "DIR",
     .initial = "build/bench",
     .command_line_only = true,
     .help = "where JSON lines and, meanwhile, the data go: on the disk to measure"},
};

static bool is_wanted(const struct values *v, const struct peer *p)
{
    for (size_t i = 0; i < v->only.n; i++)
        if (strcmp(v->only.at[i], p->name) == 0)
            return true;
    return v->only.n == 0;
}

static bool is_known(const char *name)
{
    for (size_t i = 0; i < PEERS; i++)
        if (strcmp(peers[i].name, name) == 0)
            return true;
    return false;
}

/* ---------------------------------------------------------------- packages */

/* Add a word to a list of words, once. */
static void add_once(char *list, size_t bytes, const char *word)
{
    char spaced[64];

    snprintf(spaced, sizeof spaced, " %s", word);
    if (strstr(list, spaced) == NULL && strlen(list) + strlen(spaced) < bytes)
        strcat(list, spaced);
}

/* @return how many packages are not here, for those that are wanted. */
static unsigned missing_packages(const struct values *v, char *ret_here, char *ret_missing,
                                 size_t bytes)
{
    unsigned n = 0;

    *ret_here = '\0';
    *ret_missing = '\0';
    for (size_t i = 0; i < PEERS; i++)
        for (const struct peer_package *k = peers[i].packages; k->name != NULL; k++) {
            bool is_here = access(k->file, R_OK) == 0;

            if (!is_wanted(v, &peers[i]))
                continue;
            n += !is_here;
            add_once(is_here ? ret_here : ret_missing, bytes, k->name);
        }
    return n;
}

static void report_versions(const char *packages)
{
    char command[512];
    char line[128];
    FILE *f;

    if (*packages == '\0')
        return;
    snprintf(command, sizeof command, "dpkg-query -W -f '${Package} ${Version}\\n'%s", packages);
    f = popen(command, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        report_say("%s", line);
        report_line("version", json_pack("{s:s}", "package", line));
    }
    if (f != NULL)
        pclose(f);
}

/* ---------------------------------------------------------------- rounds */

static uint64_t at_most(uint64_t own, uint64_t wanted)
{
    return wanted != 0 && wanted < own ? wanted : own;
}

static json_t *figures_json(const struct peer *p, const struct peer_figures *f)
{
    return json_pack("{s:s, s:s, s:b, s:f, s:f, s:f, s:f, s:f}", "peer", p->name, "setting",
                     p->setting, "durable", p->is_durable, "submit_per_second", f->submit_rate,
                     "per_second", f->rate, "p50_us", f->p50_us, "p99_us", f->p99_us,
                     "queued_bytes", f->queued_bytes);
}

static void say_figures(const char *round, const struct peer *p, uint64_t tasks,
                        const struct peer_figures *f, const char *more)
{
    report_say("%5s %-17s %8llu %10.0f %10.0f %8.0f %8.0f %9.0f  %s", round, p->name,
               (unsigned long long)tasks, f->submit_rate, f->rate, f->p50_us, f->p99_us,
               f->queued_bytes, more);
}

static void measure(const struct values *v, const struct peer *p, unsigned round,
                    struct peer_figures *ret)
{
    struct bench_opts calm = {.calm_ms = v->calm_ms};
    uint64_t tasks = at_most(p->tasks, v->tasks);
    double others = bench_calm(&calm);
    char number[8];
    char busy[32];
    json_t *line;

    *ret = (struct peer_figures){0};
    p->queue(p, tasks, ret);
    p->run(p, tasks, (uint32_t)at_most(p->trips, v->trips), ret);
    snprintf(number, sizeof number, "%u", round);
    snprintf(busy, sizeof busy, "%.2f", others);
    say_figures(number, p, tasks, ret, busy);
    line = figures_json(p, ret);
    json_object_set_new(line, "round", json_integer(round));
    json_object_set_new(line, "tasks", json_integer((json_int_t)tasks));
    json_object_set_new(line, "others_processors", json_real(others));
    report_line("round", line);
}

static double median(const struct peer_figures *f, unsigned n, size_t offset)
{
    double values[ROUNDS_MAX];

    for (unsigned i = 0; i < n; i++)
        memcpy(&values[i], (const char *)&f[i] + offset, sizeof values[i]);
    return load_quantile(values, n, 0.5);
}

#define MEDIAN(field) median(f, n, offsetof(struct peer_figures, field))

static void report_medians(const struct peer *p, uint64_t tasks, const struct peer_figures *f,
                           unsigned n)
{
    struct peer_figures mid = {.submit_rate = MEDIAN(submit_rate),
                               .queued_bytes = MEDIAN(queued_bytes),
                               .rate = MEDIAN(rate),
                               .p50_us = MEDIAN(p50_us),
                               .p99_us = MEDIAN(p99_us)};

    say_figures("mid", p, tasks, &mid, p->setting);
    report_line("peer", figures_json(p, &mid));
}

static void run_all(const struct values *v, const char *packages)
{
    static struct peer_figures figures[PEERS][ROUNDS_MAX];

    report_begin(v->out, "peers", "the same work on other task queues");
    report_versions(packages);
    report_say("%5s %-17s %8s %10s %10s %8s %8s %9s  %s", "round", "", "tasks", "submit/s",
               "done/s", "p50 us", "p99 us", "B queued", "others");
    for (unsigned round = 0; round < v->rounds; round++)
        for (size_t i = 0; i < PEERS; i++)
            if (is_wanted(v, &peers[i]))
                measure(v, &peers[i], round + 1, &figures[i][round]);
    for (size_t i = 0; i < PEERS; i++)
        if (is_wanted(v, &peers[i]))
            report_medians(&peers[i], at_most(peers[i].tasks, v->tasks), figures[i],
                           (unsigned)v->rounds);
    report_end();
}

static int run_if_all_are_here(const struct values *v)
{
    char here[256];
    char missing[256];

    if (missing_packages(v, here, missing, sizeof here) > 0) {
        fprintf(stderr,
                "dtq_bench_peers: these Debian packages are missing:%s\n"
                "dtq_bench_peers: apt-get install%s (or scripts/setup peers), or choose with "
                "--only\n",
                missing, missing);
        return STATUS_SKIPPED;
    }
    proc_setup();
    if (!bed_isolate())
        puts("no network namespace of our own (root has one): ports are those of the machine");
    if (mkdir(v->out, 0777) != 0 && errno != EEXIST)
        bed_fail("%s: %s", v->out, strerror(errno));
    bed_set_folder(v->out);
    run_all(v, here);
    return 0;
}

int main(int argc, char **argv)
{
    struct values v;
    struct opt_group group = {"Options", OPT_TABLE(table), &v};
    struct opt_spec spec = {
        .program = "dtq_bench_peers",
        .usage = "[OPTION...]",
        .summary = "Measure dtq beside Celery, RQ, Redis streams and beanstalkd: "
                   "see bench/peers/README.md.",
        .groups = &group,
        .groups_n = 1,
    };
    struct opt_result parsed = {0};
    int status = opt_parse(&spec, argc, argv, &parsed);

    for (size_t i = 0; status == OPT_GO && i < v.only.n; i++)
        if (!is_known(v.only.at[i]))
            status = opt_error(&spec, "--only: there is no %s", v.only.at[i]);
    if (status == OPT_GO)
        status = run_if_all_are_here(&v);
    opt_done(&parsed);
    return status;
}
