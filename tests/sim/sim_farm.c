#include "sim_farm.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 50u
#define PROGRESS_MS 500u
#define RUN_SECONDS_MAX 300.0 /* a run takes a millisecond: this one does not end */

/* One process. It writes, the parent reads once it is gone, or for the progress. */
struct job {
    pid_t pid; /* 0: none */
    _Atomic uint64_t done;
    _Atomic uint64_t seed;
    _Atomic double since; /* when this seed was begun; 0: none is under way */
    bool has_failed;
    char why[FARM_WHY_BYTES];
    struct sim_totals totals;
};

/* Memory that all of them share. */
struct farm {
    struct farm_cfg cfg;
    uint32_t jobs_n;
    _Atomic uint64_t next; /* the first that nobody has begun */
    atomic_bool is_over;
    uint64_t done; /* by processes that are gone */
    struct job jobs[FARM_JOBS_MAX];
};

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---------------------------------------------------------------- in a process */

static struct job *mine; /* NULL: not in one */

/* The C library's: a core that asserts says so in the failure of the seed. */
void __assert_fail(const char *what, const char *file, unsigned int line, const char *function)
{
    if (mine != NULL)
        snprintf(mine->why, sizeof mine->why, "assertion: %s in %s(), %s:%u", what, function, file,
                 line);
    else
        fprintf(stderr, "assertion: %s in %s(), %s:%u\n", what, function, file, line);
    abort();
}

static bool run_seed(const struct farm *f, struct job *j, uint64_t seed)
{
    struct sim_fault_cfg cfg = {
        .seed = seed, .restores = f->cfg.restores, .removes = f->cfg.removes, .cut = f->cfg.cut};
    uint64_t first;
    uint64_t second;
    bool good;

    j->why[0] = 0;
    good = sim_random_run(&cfg, j->why, sizeof j->why, &j->totals, &first);
    if (!good || !f->cfg.twice)
        return good;
    good = sim_random_run(&cfg, j->why, sizeof j->why, &j->totals, &second);
    if (good && first != second)
        snprintf(j->why, sizeof j->why, "two runs of seed %llu were not the same",
                 (unsigned long long)seed);
    return good && first == second;
}

static uint64_t seed_at(const struct farm *f, uint64_t i)
{
    return f->cfg.list != NULL ? f->cfg.list[i] : f->cfg.seed + i;
}

/* Until there are no more seeds, or one has failed. */
static void work(struct farm *f, struct job *j)
{
    uint64_t i;

    mine = j;
    while (!f->is_over && !j->has_failed && (i = f->next++) < f->cfg.seeds_n) {
        j->seed = seed_at(f, i);
        j->since = seconds();
        j->has_failed = !run_seed(f, j, j->seed);
        j->since = 0;
        j->done++;
    }
    _exit(0); /* and none of what the parent registered to be done at its end */
}

/* ---------------------------------------------------------------- the parent */

static struct farm *farm_new(const struct farm_cfg *cfg)
{
    struct farm *f =
        mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (f == MAP_FAILED) {
        perror("sim_run: no memory");
        exit(2);
    }
    f->cfg = *cfg;
    f->jobs_n = cfg->jobs != 0 ? cfg->jobs : processors > 0 ? (uint32_t)processors : 1;
    if (f->jobs_n > FARM_JOBS_MAX)
        f->jobs_n = FARM_JOBS_MAX;
    if (f->jobs_n > cfg->seeds_n)
        f->jobs_n = (uint32_t)cfg->seeds_n;
    return f;
}

static void start(struct farm *f, struct job *j)
{
    pid_t pid;

    j->has_failed = false;
    j->why[0] = 0;
    j->done = 0;
    j->since = 0;
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        perror("sim_run: fork");
        exit(2);
    }
    if (pid == 0)
        work(f, j);
    j->pid = pid;
}

static void note_failure(struct farm *f, const struct job *j, struct farm_result *ret)
{
    struct farm_failure *failure = &ret->failures[ret->failures_n];

    if (ret->failures_n == FARM_FAILURES_MAX)
        return;
    ret->failures_n++;
    failure->seed = j->seed;
    memcpy(failure->why, j->why, sizeof failure->why);
    if (f->cfg.until_failure || ret->failures_n == FARM_FAILURES_MAX)
        f->is_over = true;
}

/* A process has ended: with its work, with a failure, or by an assertion. */
static void on_end(struct farm *f, struct job *j, int status, struct farm_result *ret)
{
    bool is_good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    j->pid = 0;
    f->done += j->done;
    if (is_good && !j->has_failed)
        return;
    if (!is_good) {
        f->done++;
        if (j->why[0] == 0)
            snprintf(j->why, sizeof j->why, "the process ended with %s %d",
                     WIFSIGNALED(status) ? "signal" : "status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    note_failure(f, j, ret);
    if (!f->is_over && f->next < f->cfg.seeds_n)
        start(f, j);
}

static void end_endless(struct job *j)
{
    double since = j->since; /* once: the process goes on meanwhile */

    if (since == 0 || seconds() - since < RUN_SECONDS_MAX)
        return;
    snprintf(j->why, sizeof j->why, "the run does not end");
    kill(j->pid, SIGKILL);
}

/* @return false: all have ended. */
static bool look(struct farm *f, struct farm_result *ret)
{
    bool any = false;

    for (uint32_t i = 0; i < f->jobs_n; i++) {
        struct job *j = &f->jobs[i];
        int status;

        if (j->pid == 0)
            continue;
        if (waitpid(j->pid, &status, WNOHANG) == j->pid)
            on_end(f, j, status, ret);
        else
            end_endless(j);
        any |= j->pid != 0;
    }
    return any;
}

static uint64_t done_so_far(const struct farm *f)
{
    uint64_t done = f->done;

    for (uint32_t i = 0; i < f->jobs_n; i++)
        if (f->jobs[i].pid != 0)
            done += f->jobs[i].done;
    return done;
}

static void show_progress(const struct farm *f, const struct farm_result *ret, double from)
{
    uint64_t done = done_so_far(f);

    fprintf(stderr, "\r%llu of %llu seeds, %.0f a minute, %u failed ", (unsigned long long)done,
            (unsigned long long)f->cfg.seeds_n, 60 * (double)done / (seconds() - from),
            ret->failures_n);
}

static void add_totals(struct sim_totals *to, const struct sim_totals *t)
{
    to->steps += t->steps;
    to->tasks += t->tasks;
    to->runs += t->runs;
    to->orders += t->orders;
    to->cron_made += t->cron_made;
    to->cron_again += t->cron_again;
    to->requeued += t->requeued;
    to->keys_same += t->keys_same;
    to->keys_conflict += t->keys_conflict;
    to->frames_lost += t->frames_lost;
    to->frames_twice += t->frames_twice;
    to->removes += t->removes;
    to->restores += t->restores;
    to->accepts += t->accepts;
    to->outcomes_lost += t->outcomes_lost;
    to->outcomes_again += t->outcomes_again;
    if (t->settle_ms_max > to->settle_ms_max)
        to->settle_ms_max = t->settle_ms_max;
    for (uint32_t i = 0; i < SIM_FAULT_KINDS; i++)
        to->faults[i] += t->faults[i];
#define ADD(name) to->ventilators.name += t->ventilators.name;
    VENT_COUNTERS(ADD)
#undef ADD
}

void farm_run(const struct farm_cfg *cfg, struct farm_result *ret)
{
    const struct timespec pause = {0, LOOK_MS * 1000000l};
    struct farm *f = farm_new(cfg);
    double from = seconds();
    double shown = from;

    memset(ret, 0, sizeof *ret);
    for (uint32_t i = 0; i < f->jobs_n; i++)
        start(f, &f->jobs[i]);
    while (look(f, ret)) {
        nanosleep(&pause, NULL);
        if (!cfg->shows_progress || seconds() - shown < PROGRESS_MS / 1000.0)
            continue;
        shown = seconds();
        show_progress(f, ret, from);
    }
    if (cfg->shows_progress)
        fputs("\r\033[K", stderr);
    ret->done = f->done;
    ret->seconds = seconds() - from;
    for (uint32_t i = 0; i < f->jobs_n; i++)
        add_totals(&ret->totals, &f->jobs[i].totals);
    munmap(f, sizeof *f);
}

/* ---------------------------------------------------------------- shrinking */

struct shrink {
    uint64_t seed;
    bool restores;
    bool removes;
    struct sim_cut cut; /* fails */
    struct farm_failure failure;
};

static bool fails_with(const struct shrink *s, const struct sim_cut *cut,
                       struct farm_failure *ret_failure)
{
    struct farm_cfg cfg = {.jobs = 1,
                           .seed = s->seed,
                           .seeds_n = 1,
                           .cut = *cut,
                           .restores = s->restores,
                           .removes = s->removes};
    struct farm_result *r = malloc(sizeof *r);
    bool fails;

    assert(r != NULL);
    farm_run(&cfg, r);
    fails = r->failures_n != 0;
    if (fails)
        *ret_failure = r->failures[0];
    free(r);
    return fails;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The next word of three letters or more: what is not the name of a task or node, or a number. */
static const char *next_word(const char *at, size_t *ret_n)
{
    for (; *at != 0; at += *ret_n + 1) {
        *ret_n = 0;
        while (is_letter(at[*ret_n]))
            ++*ret_n;
        if (*ret_n >= 3)
            return at;
        if (at[*ret_n] == 0)
            break;
    }
    *ret_n = 0;
    return NULL;
}

/* The same words: they failed in the same way, though perhaps another task at another time. */
static bool is_same_kind(const char *a, const char *b)
{
    for (;;) {
        size_t a_n;
        size_t b_n;

        a = next_word(a, &a_n);
        b = next_word(b, &b_n);
        if (a == NULL || b == NULL)
            return a == b;
        if (a_n != b_n || memcmp(a, b, a_n) != 0)
            return false;
        a += a_n;
        b += b_n;
    }
}

static bool try_cut(struct shrink *s, const struct sim_cut *cut)
{
    struct farm_failure failure;

    if (!fails_with(s, cut, &failure) || !is_same_kind(failure.why, s->failure.why))
        return false;
    s->cut = *cut;
    s->failure = failure;
    return true;
}

/* Leave out as many bits as possible, in runs of `size`, then half of it, .. */
static bool shrink_bits(struct shrink *s, size_t offset, uint32_t bits_n)
{
    bool any = false;

    for (uint32_t size = bits_n; size > 0; size /= 2)
        for (uint32_t at = 0; at < bits_n; at += size) {
            struct sim_cut cut = s->cut;
            uint64_t *bits = (uint64_t *)(void *)((char *)&cut + offset);
            uint64_t before = *bits;

            for (uint32_t i = at; i < at + size && i < bits_n; i++)
                *bits |= 1ull << i;
            if (*bits != before)
                any |= try_cut(s, &cut);
        }
    return any;
}

/* As few as possible of one kind of node. */
static bool shrink_number(struct shrink *s, size_t offset)
{
    for (uint32_t n = 1; n <= 3; n++) {
        struct sim_cut cut = s->cut;
        uint32_t *number = (uint32_t *)(void *)((char *)&cut + offset);

        if (*number != 0)
            return false;
        *number = n;
        if (try_cut(s, &cut))
            return true;
    }
    return false;
}

static bool shrink_world(struct shrink *s)
{
    bool any = false;

    for (uint32_t bit = 1; bit < SIM_PLAIN_ALL; bit *= 2) {
        struct sim_cut cut = s->cut;

        cut.plain |= bit;
        if (cut.plain != s->cut.plain)
            any |= try_cut(s, &cut);
    }
    any |= shrink_number(s, offsetof(struct sim_cut, workers));
    any |= shrink_number(s, offsetof(struct sim_cut, sinks));
    any |= shrink_number(s, offsetof(struct sim_cut, clients));
    any |= shrink_number(s, offsetof(struct sim_cut, slots));
    return any;
}

bool farm_shrink(const struct farm_cfg *cfg, struct sim_cut *ret_cut,
                 struct farm_failure *ret_failure)
{
    struct shrink s = {.seed = cfg->seed, .restores = cfg->restores, .removes = cfg->removes};
    bool any;

    if (!fails_with(&s, &s.cut, &s.failure))
        return false;
    do {
        any = shrink_bits(&s, offsetof(struct sim_cut, faults), SIM_FAULTS_MAX);
        any |= shrink_bits(&s, offsetof(struct sim_cut, orders),
                           SIM_ORDERS_MAX + SIM_CRON_ORDERS_MAX + SIM_AGEING_ORDERS_MAX);
        any |= shrink_bits(&s, offsetof(struct sim_cut, tasks), SIM_TASKS_MAX);
        any |= shrink_world(&s);
    } while (any);
    *ret_cut = s.cut;
    *ret_failure = s.failure;
    return true;
}
