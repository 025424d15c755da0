/*
 * Scenario P: instructions per task, counted by callgrind: the difference of two lengths of the
 * same load. How fast the machine is and how busy does not change them; in whole programs the sizes
 * of batches do, a little. Of the ventilator and the worker the cores are counted, by the
 * benchmarks of these modules: under callgrind the one is so slow that its tasks reach the journal,
 * and the other cannot start its slots.
 */
#include "bed.h"
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHORT_TASKS 10240u /* whole batches */
#define LONG_TASKS 40960u

/* What each may use: about a quarter more than it does. */
static const struct part {
    const char *name;
    const char *module; /* its program, and behind it the number of tasks .. */
    const char *more;   /* .. and this; NULL: a member of a real cluster */
    int member;
    double most;
} parts[] = {
    {.name = "producer", .member = BED_PRODUCER, .most = 4000},
    {.name = "sink", .member = BED_SINK, .most = 4000},
    {.name = "ventilator's core", .module = "vent_bench", .more = "1 short", .most = 2800},
    {.name = "worker's core", .module = "worker_bench", .more = "256 4096", .most = 1900},
};

#define PARTS (sizeof parts / sizeof *parts)

static double read_total(const char *path)
{
    char line[512];
    double total = 0;
    FILE *f = fopen(path, "re");

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "totals: %lf", &total) == 1)
            break;
    if (f == NULL || total == 0)
        bed_fail("callgrind left nothing in %s", path);
    fclose(f);
    return total;
}

/* All instructions of a member in its life with so many tasks. */
static double of_member(int member, uint64_t tasks)
{
    struct bed_cfg cfg = {.workers = 1, .slots = 2, .is_watched = true, .watched = member};
    char path[PATH_MAX + 32];
    struct bed bed;
    double total;

    bed_open(&bed, cfg);
    bed_produce(&bed, tasks);
    for (int m = BED_MEMBERS - 1; m >= 0; m--)
        bed_stop(&bed, m);
    snprintf(path, sizeof path, "%s/callgrind", bed.dir);
    total = read_total(path);
    bed_close(&bed);
    return total;
}

static double of_module(const struct part *p, uint64_t tasks)
{
    char programs[PATH_MAX] = "";
    char path[PATH_MAX];
    char command[3 * PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", programs, sizeof programs - 1);
    double total;

    while (n > 0 && programs[n - 1] != '/')
        n--;
    snprintf(path, sizeof path, "/tmp/dtq-bench-%d", getpid());
    snprintf(command, sizeof command,
             "valgrind --quiet --tool=callgrind --callgrind-out-file=%s %.*s%s %llu %s >/dev/null",
             path, (int)n, programs, p->module, (unsigned long long)tasks, p->more);
    if (system(command) != 0)
        bed_fail("%s failed", command);
    total = read_total(path);
    unlink(path);
    return total;
}

static double instructions(const struct part *p, uint64_t tasks)
{
    return p->module != NULL ? of_module(p, tasks) : of_member(p->member, tasks);
}

void bench_p(const struct bench_opts *o)
{
    (void)o;
    for (size_t i = 0; i < PARTS; i++) {
        double more = instructions(&parts[i], LONG_TASKS) - instructions(&parts[i], SHORT_TASKS);

        report_verdict(parts[i].name, more / (LONG_TASKS - SHORT_TASKS), "instr/task", false,
                       parts[i].most);
    }
}
