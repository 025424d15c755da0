/* What stays bounded however much goes through: slots that leak, the worker around them, and a sink
 * whose results nobody fetches. */
#include "cluster.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---------------------------------------------------------------- looking at a process */

struct look {
    unsigned descriptors;
    unsigned children;
    unsigned long private_kib;
};

static unsigned descriptors_of(pid_t pid)
{
    char path[64];
    unsigned n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* The last of them into `ret_last`, unless that is NULL. */
static unsigned children_of(pid_t pid, pid_t *ret_last)
{
    char path[96];
    char text[4096] = "";
    unsigned n = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    f = fopen(path, "re");
    assert_non_null(f);
    if (fgets(text, sizeof text, f) != NULL)
        for (char *at = text, *end; *at >= '0' && *at <= '9'; at = end + 1, n++) {
            long child = strtol(at, &end, 10);

            if (ret_last != NULL)
                *ret_last = (pid_t)child;
        }
    fclose(f);
    return n;
}

static unsigned long status_kib(pid_t pid, const char *key)
{
    char path[64];
    char line[256];
    unsigned long kib = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    f = fopen(path, "re");
    assert_non_null(f);
    while (kib == 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoul(line + strlen(key), NULL, 10);
    fclose(f);
    return kib;
}

/* Memory that is its own, not of files that it maps. */
static unsigned long private_kib_of(pid_t pid)
{
    return status_kib(pid, "RssAnon:");
}

static struct look look_at(const struct run *r)
{
    return (struct look){descriptors_of(r->pid), children_of(r->pid, NULL), private_kib_of(r->pid)};
}

/* "payload" n times, submitted and waited for, all of them succeeding. */
static const char *run_many(struct cluster *c, const char *name, const char *payload, unsigned n)
{
    size_t bytes = strlen(payload) + 1;
    char *lines = malloc(n * bytes + 1);
    struct run *submit;
    unsigned succeeded = 0;

    assert_non_null(lines);
    for (unsigned i = 0; i < n; i++)
        sprintf(lines + i * bytes, "%s\n", payload);
    submit = run_start(c, cluster_file(c, lines, n * bytes), "dtq", "submit", "--each-line", "-",
                       "--wait", "--json", "--no-retry", name, NULL);
    free(lines);
    assert_int_equal(run_end(submit), 0);
    for (const char *at = submit->text; (at = strstr(at, "\"succeeded\"")) != NULL; at++)
        succeeded++;
    assert_int_equal(succeeded, n);
    return submit->text;
}

/* ---------------------------------------------------------------- slots that leak */

#define LEAK_TASKS 400
#define TASKS_PER_CHILD 20

/* Each task keeps a mebibyte and an open file for ever, and tells how much its process has by then.
 */
static void a_slot_that_leaks_is_replaced_in_time(void **state)
{
    struct cluster *c = *state;
    char at_most[16];
    const char *text;
    unsigned tasks_most = 0;
    unsigned files_most = 0;

    snprintf(at_most, sizeof at_most, "%d", TASKS_PER_CHILD);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    (void)cluster_start_worker(c, "--module", ROGUE_MODULE, "-c2", "--max-tasks-per-child", at_most,
                               NULL);
    text = run_many(c, "leak", "x", LEAK_TASKS);
    for (; (text = strstr(text, "\"leaks ")) != NULL; text++) {
        unsigned tasks;
        unsigned files;

        assert_int_equal(sscanf(text, "\"leaks %u %u", &tasks, &files), 2);
        tasks_most = tasks > tasks_most ? tasks : tasks_most;
        files_most = files > files_most ? files : files_most;
    }
    assert_int_equal(tasks_most, TASKS_PER_CHILD); /* it did leak, up to there .. */
    assert_true(files_most >= TASKS_PER_CHILD);
    assert_true(files_most < 2 * TASKS_PER_CHILD + 20); /* .. and no further */
}

/* ---------------------------------------------------------------- the worker */

/* Of all kinds: handlers, commands, slots that are replaced, slots that crash. */
static void some_of_each(struct cluster *c, unsigned n)
{
    (void)run_many(c, "echo", "x", n);
    (void)run_many(c, "cat", "x", n / 10);
    (void)dtq_run(c, NULL, "submit", "crash", "x", "--no-retry", "--wait", NULL);
}

static void thousands_of_tasks_leave_a_worker_as_it_was(void **state)
{
    struct cluster *c = *state;
    struct look before;
    struct look after;
    struct run *worker;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    worker = cluster_start_worker(c, "--module", HANDLERS_MODULE, "--exec", "cat=/bin/cat", "-c2",
                                  "--max-tasks-per-child", "50", NULL);
    some_of_each(c, 1000);
    before = look_at(worker);
    for (unsigned i = 0; i < 3; i++)
        some_of_each(c, 1000);
    after = look_at(worker);
    if (after.descriptors > before.descriptors + 4 || after.children > before.children + 2 ||
        after.private_kib > before.private_kib + 2048ul * DTQ_SLOWNESS * DTQ_SLOWNESS)
        fail_msg("%u descriptors, %u children, %lu KiB have become %u, %u, %lu", before.descriptors,
                 before.children, before.private_kib, after.descriptors, after.children,
                 after.private_kib);
}

/* ---------------------------------------------------------------- outputs */

#define PEAK_KIB (64 * 1024ul * DTQ_SLOWNESS)

static void an_output_of_a_gigabyte_takes_no_memory_of_a_worker(void **state)
{
    struct cluster *c = *state;
    struct run *worker;
    struct run *submit;
    pid_t slot;

    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, NULL);
    worker = cluster_start_worker(c, "--exec", "large=head -c 1000000000 /dev/zero", "-c1", NULL);
    submit = dtq_run(c, NULL, "submit", "large", "--no-retry", "--wait", NULL);
    assert_int_equal(submit->status, 1);
    expect_in(submit, submit->said, "result-too-large");
    assert_int_equal(children_of(worker->pid, &slot), 2); /* its keeper came first */
    assert_in_range(status_kib(worker->pid, "VmHWM:"), 1, PEAK_KIB);
    assert_in_range(status_kib(slot, "VmHWM:"), 1, PEAK_KIB);
}

/* ---------------------------------------------------------------- results */

#define RESULTS 250

static bool is_drained(struct cluster *c, void *arg)
{
    (void)arg;
    return dtq_expect(c, 0, NULL, "list", "--limit", "1", "--json", NULL)[0] == '\0';
}

static bool is_swept(struct cluster *c, void *arg)
{
    (void)arg;
    return dtq_expect(c, 0, NULL, "results", "--json", NULL)[0] == '\0';
}

/* 25 MB of results come to a sink that may have 16 MiB, and nobody asks for any: it forgets those
 * whose time is over, takes no more while it is full, and all of them are settled in the end. */
static void results_that_nobody_fetches_keep_to_the_bounds_of_the_sink(void **state)
{
    struct cluster *c = *state;
    struct stat st;
    char path[PATH_MAX];
    char *lines = malloc(2 * RESULTS + 1);
    char settled[64];

    assert_non_null(lines);
    for (unsigned i = 0; i < RESULTS; i++)
        sprintf(lines + (size_t)2 * i, "x\n");
    cluster_path(c, "sink/data.mdb", path, sizeof path);
    cluster_start_ventilator(c, NULL);
    cluster_start_sink(c, "--max-results-bytes=16m", "--result-ttl=500ms", NULL);
    (void)cluster_start_worker(c, "--exec", "large=head -c 100000 /dev/zero", "-c2", NULL);
    (void)dtq_expect(c, 0, lines, "submit", "--each-line", "-", "large", NULL);
    free(lines);
    wait_until(c, is_drained, NULL);
    wait_until(c, is_swept, NULL);
    snprintf(settled, sizeof settled, "\"tasks_settled\":%d,", RESULTS);
    expect_in(c->sink, dtq_expect(c, 0, NULL, "status", "--json", NULL), settled);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 8 << 20);   /* it came near .. */
    assert_true(st.st_size <= 20 << 20); /* with what is kept back for deletes */
    assert_true(private_kib_of(c->sink->pid) < 64 * 1024ul * DTQ_SLOWNESS);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        STORY(a_slot_that_leaks_is_replaced_in_time),
        STORY(an_output_of_a_gigabyte_takes_no_memory_of_a_worker),
        STORY(thousands_of_tasks_leave_a_worker_as_it_was),
        STORY(results_that_nobody_fetches_keep_to_the_bounds_of_the_sink),
    };

    return RUN_STORIES(argc, argv, tests);
}
