/* Workers come and go, slots crash, tasks take too long: with the real programs. */
#include "cluster.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

struct duration {
    char at[16];
};

/* Milliseconds of a task that others must get to see running. */
static struct duration scaled(unsigned ms)
{
    struct duration d;

    snprintf(d.at, sizeof d.at, "%u", ms * DTQ_SLOWNESS);
    return d;
}

static struct run *start_named(struct cluster *c, const char *name)
{
    return cluster_start_worker(c, "--module", HANDLERS_MODULE, "-c1", "-n", name, NULL);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        n++;
    return n;
}

/* "payload\n" n times, as a file. */
static const char *same_lines(struct cluster *c, const char *payload, size_t n)
{
    size_t bytes = strlen(payload) + 1;
    char *text = malloc(n * bytes + 1);
    const char *path;

    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        sprintf(text + i * bytes, "%s\n", payload);
    path = cluster_file(c, text, n * bytes);
    free(text);
    return path;
}

struct is_running {
    const char *id;
    const char *state;
};

static bool is_in_state(struct cluster *c, void *arg)
{
    const struct is_running *wanted = arg;

    return strstr(dtq_run(c, NULL, "show", wanted->id, NULL)->text, wanted->state) != NULL;
}

static void wait_for_state(struct cluster *c, const char *id, const char *state)
{
    struct is_running wanted = {id, state};

    wait_until(c, is_in_state, &wanted);
}

static void a_worker_that_starts_later_gets_work(void **state)
{
    struct cluster *c = *state;
    const char *lines = same_lines(c, "100", 40);
    struct run *submit;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    start_named(c, "first");
    submit =
        run_start(c, lines, "dtq", "submit", "--each-line", "-", "--wait", "--json", "sleep", NULL);
    run_wait_lines(submit, 2);
    start_named(c, "second");
    assert_int_equal(run_end(submit), 0);
    assert_int_equal(count(submit->text, "\"succeeded\""), 40);
    assert_true(count(submit->text, "\"worker\":\"first\"") >= 2);
    assert_true(count(submit->text, "\"worker\":\"second\"") >= 2);
}

/* What runs is finished there, what was handed out behind it runs elsewhere; nothing runs twice. */
static void a_worker_told_to_stop_hands_back_what_it_has_not_started(void **state)
{
    struct cluster *c = *state;
    const char *lines = same_lines(c, "x", 100);
    struct run *first;
    struct run *echoes;
    char id[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    first = start_named(c, "first");
    dtq_submit_id(c, id, "sleep", scaled(1500).at, NULL);
    wait_for_state(c, id, "running");
    echoes =
        run_start(c, lines, "dtq", "submit", "--each-line", "-", "--wait", "--json", "echo", NULL);
    kill(first->pid, SIGTERM);
    start_named(c, "second");
    assert_int_equal(run_end(first), 0);
    expect_in(first, dtq_expect(c, 0, NULL, "result", id, "--json", "--wait", NULL),
              "\"attempt\":1,\"worker\":\"first\"");
    assert_int_equal(run_end(echoes), 0);
    assert_int_equal(count(echoes->text, "\"worker\":\"second\""), 100);
}

static void a_worker_told_to_quit_stops_at_once_and_its_task_runs_elsewhere(void **state)
{
    struct cluster *c = *state;
    struct run *first;
    char id[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    first = start_named(c, "first");
    dtq_submit_id(c, id, "sleep", scaled(3000).at, NULL);
    wait_for_state(c, id, "running");
    assert_int_equal(run_stop(first, SIGQUIT), 0);
    start_named(c, "second");
    expect_in(first, dtq_expect(c, 0, NULL, "result", id, "--json", "--wait", NULL),
              "\"worker\":\"second\"");
}

/* Killed, it says nothing: its silence does. */
static void the_running_task_of_a_killed_worker_runs_elsewhere(void **state)
{
    struct cluster *c = *state;
    struct run *first;
    char id[64];

    cluster_start_ventilator(c, "--heartbeat=200ms", NULL);
    cluster_start_sink(c, NULL);
    first = start_named(c, "first");
    dtq_submit_id(c, id, "sleep", scaled(3000).at, NULL);
    wait_for_state(c, id, "running");
    assert_int_equal(run_stop(first, SIGKILL), 1000 + SIGKILL);
    start_named(c, "second");
    expect_in(first, dtq_expect(c, 0, NULL, "result", id, "--json", "--wait", NULL),
              "\"attempt\":2,\"worker\":\"second\"");
}

/* As libzmq does when memory or descriptors run out in its depths. */
static void whoever_aborts_is_missed_no_more_than_who_is_killed(void **state)
{
    struct cluster *c = *state;
    struct rlimit none = {0, 0};
    struct run *worker;
    char id[64];

    assert_int_equal(setrlimit(RLIMIT_CORE, &none), 0);
    cluster_start_ventilator(c, "--heartbeat=200ms", NULL);
    cluster_start_sink(c, NULL);
    worker = start_named(c, "first");
    dtq_submit_id(c, id, "sleep", scaled(1000).at, NULL);
    wait_for_state(c, id, "running");
    assert_int_equal(run_stop(worker, SIGABRT), 1000 + SIGABRT);
    assert_int_equal(run_stop(c->ventilator, SIGABRT), 1000 + SIGABRT);
    assert_int_equal(run_stop(c->sink, SIGABRT), 1000 + SIGABRT);
    cluster_start_ventilator(c, "--heartbeat=200ms", NULL);
    cluster_start_sink(c, NULL);
    start_named(c, "second");
    expect_in(worker, dtq_expect(c, 0, NULL, "result", id, "--json", "--wait", NULL),
              "\"worker\":\"second\"");
}

/* Names are for people: what counts is the identity of the process. */
static void two_workers_of_one_name_both_work(void **state)
{
    struct cluster *c = *state;
    char first[64];
    char second[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    start_named(c, "twin");
    start_named(c, "twin");
    dtq_submit_id(c, first, "sleep", "60000", NULL);
    dtq_submit_id(c, second, "sleep", "60000", NULL);
    wait_for_state(c, first, "running"); /* each has one slot */
    wait_for_state(c, second, "running");
    dtq_expect(c, 0, NULL, "cancel", first, second, NULL);
}

/* A command that says when it has begun, waits until it may end, and adds a line to a file: as many
 * lines as times it ran. */
struct slow {
    char begun[PATH_MAX];
    char may_end[PATH_MAX];
    char ended[PATH_MAX];
    char id[64];
};

static void start_slow_task(struct cluster *c, struct slow *s)
{
    char exec[4 * PATH_MAX];
    char line[64];

    cluster_path(c, "begun", s->begun, sizeof s->begun);
    cluster_path(c, "may_end", s->may_end, sizeof s->may_end);
    cluster_path(c, "ended", s->ended, sizeof s->ended);
    assert_int_equal(mkfifo(s->may_end, 0600), 0);
    snprintf(exec, sizeof exec, "--exec=slow=sh -c 'echo begun > %s; read x < %s; echo $x >> %s'",
             s->begun, s->may_end, s->ended);
    cluster_start_worker(c, exec, "-c1", NULL);
    dtq_submit_id(c, s->id, "slow", NULL);
    wait_line_of_file(s->begun, line, sizeof line);
}

static void let_it_end(const struct slow *s)
{
    FILE *f = fopen(s->may_end, "w");
    char line[64];

    assert_non_null(f);
    fputs("once\n", f);
    fclose(f);
    wait_line_of_file(s->ended, line, sizeof line);
}

static void expect_it_ran_once(struct cluster *c, const struct slow *s)
{
    struct run *r = dtq_run(c, NULL, "result", "--wait", "--json", s->id, NULL);
    char text[64] = "";
    FILE *f;

    assert_int_equal(r->status, 0);
    expect_in(r, r->text, "\"succeeded\"");
    expect_in(r, r->text, "\"attempt\":1");
    f = fopen(s->ended, "re");
    assert_non_null(f);
    assert_int_equal(fread(text, 1, sizeof text, f), 5);
    fclose(f);
    assert_string_equal(text, "once\n");
}

static void a_task_that_ends_while_the_ventilator_is_away_is_not_run_again(void **state)
{
    struct cluster *c = *state;
    struct slow slow;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    start_slow_task(c, &slow);
    assert_int_equal(run_stop(c->ventilator, SIGKILL), 1000 + SIGKILL);
    let_it_end(&slow);
    cluster_start_ventilator(c, NULL);
    expect_it_ran_once(c, &slow);
}

static void a_restarted_ventilator_adopts_what_runs(void **state)
{
    struct cluster *c = *state;
    struct slow slow;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    start_slow_task(c, &slow);
    assert_int_equal(run_stop(c->ventilator, SIGKILL), 1000 + SIGKILL);
    cluster_start_ventilator(c, NULL);
    wait_for_state(c, slow.id, "running");
    let_it_end(&slow);
    expect_it_ran_once(c, &slow);
}

/* Sink and worker say who they are when they are connected again. If they only noticed at their
 * next heartbeat that nobody knows their sessions, the task would wait for 20 s. */
static void a_restarted_ventilator_waits_for_no_heartbeat(void **state)
{
    struct cluster *c = *state;
    char id[64];

    cluster_start_ventilator(c, "--heartbeat=20s", NULL);
    cluster_start_sink(c, NULL);
    start_named(c, "w1");
    dtq_expect(c, 0, NULL, "queue", "pause", "default", NULL);
    dtq_submit_id(c, id, "echo", "x", NULL);
    assert_int_equal(run_stop(c->ventilator, SIGKILL), 1000 + SIGKILL);
    cluster_start_ventilator(c, "--heartbeat=20s", NULL);
    dtq_expect(c, 0, NULL, "queue", "resume", "default", NULL);
    dtq_expect(c, 0, NULL, "wait", "--timeout=10s", id, NULL);
}

static void a_result_waits_at_the_worker_while_the_sink_is_away(void **state)
{
    struct cluster *c = *state;
    struct slow slow;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    start_slow_task(c, &slow);
    assert_int_equal(run_stop(c->sink, SIGKILL), 1000 + SIGKILL);
    let_it_end(&slow);
    dtq_expect(c, 69, NULL, "result", "--wait", "--timeout=500ms", slow.id, NULL);
    cluster_start_sink(c, NULL);
    expect_it_ran_once(c, &slow);
}

static void a_crash_costs_one_slot_and_no_other_task(void **state)
{
    struct cluster *c = *state;
    struct run *worker = cluster_start(c);
    struct run *others;
    struct run *crash;

    others = run_start(c, same_lines(c, "100", 40), "dtq", "submit", "--each-line", "-", "--wait",
                       "--json", "sleep", NULL);
    run_wait_lines(others, 1);
    crash = dtq_run(c, NULL, "submit", "crash", "segv", "--wait", "--backoff=10ms..20ms", NULL);
    assert_int_equal(crash->status, 1);
    expect_in(crash, crash->said, "failed (crash)");
    assert_int_equal(run_end(others), 0);
    assert_int_equal(count(others->text, "\"succeeded\""), 40);
    assert_true(run_is_alive(worker));
    /* The limit of crashes, which is not that of failures. */
    assert_int_equal(run_stop(worker, SIGTERM), 0);
    assert_int_equal(count(worker->said, "ev=slot_died"), 3);
}

static void a_handler_that_exits_has_crashed(void **state)
{
    struct cluster *c = *state;
    struct run *worker = cluster_start(c);
    struct run *crash =
        dtq_run(c, NULL, "submit", "crash", "exit 0", "--wait", "--backoff=10ms..20ms", NULL);

    assert_int_equal(crash->status, 1);
    expect_in(crash, crash->said, "failed (crash)");
    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "echo", "fine", "--wait", NULL), "fine\n");
    assert_true(run_is_alive(worker));
}

/* A module's handler that left a child and a grandchild behind before it went on for ever. */
static void the_time_limit_kills_all_processes_of_a_handler(void **state)
{
    struct cluster *c = *state;
    char path[PATH_MAX];
    struct run *worker;
    struct run *r;
    FILE *f;
    int child;
    int grandchild;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    worker = cluster_start_worker(c, "--module", ROGUE_MODULE, "-c2", NULL);
    cluster_path(c, "pids", path, sizeof path);
    r = dtq_run(c, NULL, "submit", "fork", path, "--time-limit=500ms", "--no-retry", "--wait",
                NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "failed (timeout)");
    f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d %d", &child, &grandchild), 2);
    fclose(f);
    wait_gone(child);
    wait_gone(grandchild);
    assert_true(run_is_alive(worker));
}

/* A command, and what it started in the background. */
static void the_time_limit_kills_all_processes_of_a_command(void **state)
{
    struct cluster *c = *state;
    char exec[PATH_MAX + 100];
    char path[PATH_MAX];
    char pid[64];
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_path(c, "pid", path, sizeof path);
    snprintf(exec, sizeof exec, "--exec=tree=sh -c 'sleep 1000 & echo $! > %s; wait'", path);
    cluster_start_worker(c, exec, "--time-limit=1s", NULL);
    r = dtq_run(c, NULL, "submit", "tree", "--no-retry", "--wait", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "failed (timeout)");
    wait_line_of_file(path, pid, sizeof pid);
    wait_gone((pid_t)atol(pid));
}

static int pid_in(struct cluster *c, const char *name)
{
    char path[PATH_MAX];
    char pid[64];

    cluster_path(c, name, path, sizeof path);
    wait_line_of_file(path, pid, sizeof pid);
    return atoi(pid);
}

static void forget_file(struct cluster *c, const char *name)
{
    char path[PATH_MAX];

    cluster_path(c, name, path, sizeof path);
    assert_int_equal(unlink(path), 0);
}

static bool is_keeper(int pid)
{
    static const char begin[] = "dtq-worker\0--keeper";
    char path[64];
    char text[64] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    (void)!fread(text, 1, sizeof text, f);
    fclose(f);
    return memcmp(text, begin, sizeof begin) == 0;
}

static int keeper_of(const struct run *worker)
{
    char path[64];
    FILE *children;
    int pid;
    int keeper = 0;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", worker->pid, worker->pid);
    children = fopen(path, "re");
    assert_non_null(children);
    while (keeper == 0 && fscanf(children, "%d", &pid) == 1)
        if (is_keeper(pid))
            keeper = pid;
    fclose(children);
    assert_int_not_equal(keeper, 0);
    return keeper;
}

/* A command with a child that ignores what it can, and one in a group of its own. */
static struct run *start_families(struct cluster *c)
{
    char exec[3 * PATH_MAX];
    char one[PATH_MAX];
    char other[PATH_MAX];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_path(c, "one", one, sizeof one);
    cluster_path(c, "other", other, sizeof other);
    snprintf(exec, sizeof exec,
             "--exec=family=sh -m -c 'trap \"\" INT TERM HUP; sleep 1000 & echo $! > %s; "
             "sh -c \"sleep 1000; true\" & echo $! > %s; wait'",
             one, other);
    return cluster_start_worker(c, exec, "-c1", NULL);
}

static void what_a_task_started_dies_with_a_worker_that_is_killed(void **state)
{
    struct cluster *c = *state;
    struct run *worker = start_families(c);
    int keeper = keeper_of(worker);

    dtq_expect(c, 0, NULL, "submit", "family", "--no-retry", NULL);
    (void)pid_in(c, "one");
    (void)pid_in(c, "other");
    kill(keeper, SIGTERM); /* as for all processes of a unit: not what ends it */
    assert_int_equal(run_stop(worker, SIGKILL), 1000 + SIGKILL);
    wait_gone(pid_in(c, "one"));
    wait_gone(pid_in(c, "other"));
    wait_gone(keeper);
}

static void a_keeper_that_was_killed_is_replaced_with_the_next_slot(void **state)
{
    struct cluster *c = *state;
    struct run *worker = start_families(c);
    int keeper = keeper_of(worker);
    char id[64];
    int first;

    assert_int_equal(kill(keeper, SIGKILL), 0);
    wait_gone(keeper);
    dtq_submit_id(c, id, "family", "--no-retry", NULL);
    first = pid_in(c, "other");
    dtq_expect(c, 0, NULL, "cancel", id, NULL); /* which costs its slot */
    wait_gone(first);
    forget_file(c, "one");
    forget_file(c, "other");
    dtq_expect(c, 0, NULL, "submit", "family", "--no-retry", NULL);
    (void)pid_in(c, "one");
    (void)pid_in(c, "other");
    (void)keeper_of(worker);
    assert_int_equal(run_stop(worker, SIGKILL), 1000 + SIGKILL);
    wait_gone(pid_in(c, "one"));
    wait_gone(pid_in(c, "other"));
}

/* It is killed while it still starts more; what got away would be found when the test ends. Nothing
 * of dtq's bounds how many there are: that is for the limits of the worker's user or its unit. */
static void hundreds_of_processes_of_a_task_die_with_it(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_start_worker(c,
                         "--exec=many=sh -c 'n=0; while [ $n -lt 400 ]; do "
                         "sh -c \"sleep 1000 & sleep 1000\" & n=$((n + 1)); done; wait'",
                         "--exec=fine=echo fine", "--time-limit=1s", "-c1", NULL);
    for (unsigned i = 0; i < 2; i++) {
        r = dtq_run(c, NULL, "submit", "many", "--no-retry", "--wait", NULL);
        assert_int_equal(r->status, 1);
        expect_in(r, r->said, "failed (timeout)");
    }
    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "fine", "--wait", NULL), "fine\n");
}

static void a_command_says_by_its_status_how_it_ended(void **state)
{
    struct cluster *c = *state;
    struct run *r;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_start_worker(c, "--exec=three=sh -c 'echo for this reason >&2; exit 3'",
                         "--exec=killed=sh -c 'kill -9 $$'",
                         "--exec=where=sh -c 'echo $DTQ_TASK_NAME "
                         "$DTQ_QUEUE $DTQ_ATTEMPT'",
                         "--exec=again=sh -c 'test $DTQ_ATTEMPT = 2 || exit 75'", "-c2", NULL);
    r = dtq_run(c, NULL, "submit", "three", "--no-retry", "--wait", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "failed (exit 3): for this reason");
    r = dtq_run(c, NULL, "submit", "killed", "--no-retry", "--wait", NULL);
    assert_int_equal(r->status, 1);
    expect_in(r, r->said, "failed (signal KILL)");
    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "where", "-q", "here", "--wait", NULL),
                        "where here 1\n");
    expect_in(
        r,
        dtq_expect(c, 0, NULL, "submit", "again", "--backoff=10ms..20ms", "--wait", "--json", NULL),
        "\"attempt\":2");
}

static void a_worker_serves_the_queues_it_is_told(void **state)
{
    struct cluster *c = *state;
    char other[64];

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-Q", "one,two", NULL);
    dtq_submit_id(c, other, "-q", "three", "echo", "3", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "-q", "one", "echo", "1", "--wait", NULL),
                        "1\n");
    assert_string_equal(dtq_expect(c, 0, NULL, "submit", "-q", "two", "echo", "2", "--wait", NULL),
                        "2\n");
    dtq_expect(c, 75, NULL, "result", other, NULL);
    cluster_start_worker(c, "--module", HANDLERS_MODULE, "-Q", "three", NULL);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", "--wait", other, NULL), "3\n");
}

/* Whatever is there is done, then it ends by itself. */
static void a_burst_worker_ends_when_there_is_nothing_left(void **state)
{
    struct cluster *c = *state;
    struct run *worker;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    dtq_expect(c, 0, "a\nb\nc\n", "submit", "--each-line", "-", "echo", NULL);
    worker = cluster_start_worker(c, "--module", HANDLERS_MODULE, "--burst", NULL);
    assert_int_equal(run_end(worker), 0);
    assert_string_equal(dtq_expect(c, 0, NULL, "result", NULL), "a\nb\nc\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(a_worker_that_starts_later_gets_work),
        STORY(a_worker_told_to_stop_hands_back_what_it_has_not_started),
        STORY(a_worker_told_to_quit_stops_at_once_and_its_task_runs_elsewhere),
        STORY(the_running_task_of_a_killed_worker_runs_elsewhere),
        STORY(whoever_aborts_is_missed_no_more_than_who_is_killed),
        STORY(two_workers_of_one_name_both_work),
        STORY(a_task_that_ends_while_the_ventilator_is_away_is_not_run_again),
        STORY(a_restarted_ventilator_adopts_what_runs),
        STORY(a_restarted_ventilator_waits_for_no_heartbeat),
        STORY(a_result_waits_at_the_worker_while_the_sink_is_away),
        STORY(a_crash_costs_one_slot_and_no_other_task),
        STORY(a_handler_that_exits_has_crashed),
        STORY(the_time_limit_kills_all_processes_of_a_handler),
        STORY(the_time_limit_kills_all_processes_of_a_command),
        STORY(what_a_task_started_dies_with_a_worker_that_is_killed),
        STORY(a_keeper_that_was_killed_is_replaced_with_the_next_slot),
        STORY(hundreds_of_processes_of_a_task_die_with_it),
        STORY(a_command_says_by_its_status_how_it_ended),
        STORY(a_worker_serves_the_queues_it_is_told),
        STORY(a_burst_worker_ends_when_there_is_nothing_left),
    };

    return RUN_STORIES(argc, argv, tests);
}
