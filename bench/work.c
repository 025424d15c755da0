/*
 * Scenario P: instructions per task of each process, counted by callgrind: the difference of two
 * lengths of the same load. What a machine does besides, how fast it is and how busy, does not
 * change them; only the sizes of batches do, a little.
 */
#include "bed.h"
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHORT_TASKS 20000u
#define LONG_TASKS 60000u

/* Instructions per task that each process may use: about a quarter more than it does. */
static const struct part {
    const char *name;
    int member;
    double most;
} parts[] = {
    {"producer", BED_PRODUCER, 1000},
    {"ventilator", BED_VENTILATOR, 1000},
    {"sink", BED_SINK, 2500},
    {"worker", BED_WORKER, 1000},
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

/* All instructions of one process in its life with so many tasks. */
static double instructions(int member, uint64_t tasks)
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

void bench_p(const struct bench_opts *o)
{
    (void)o;
    for (size_t i = 0; i < PARTS; i++) {
        double first = instructions(parts[i].member, SHORT_TASKS);
        double second = instructions(parts[i].member, LONG_TASKS);

        report_verdict(parts[i].name, (second - first) / (LONG_TASKS - SHORT_TASKS), "instr/task",
                       false, parts[i].most);
    }
}
