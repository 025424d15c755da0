/*
 * Scenario G: sizes: round trips of small tasks, alone and while the largest ones that are allowed
 * go through the same programs, and the memory that these take.
 */
#include "bed.h"
#include "bench.h"
#include "gauge.h"
#include "proc.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE_BYTES DTQ_PAYLOAD_BYTES_MAX
#define LARGE_WINDOW 8u
#define TRIPS 200u
#define MOST_MS                                                                                   \
    500.0              /* that a small one may wait longer: two commits of a window of large ones \
                        */
#define MOST_MIB 512.0 /* of a program: credit is 64 MiB, and the rest is in several hands */

/* A producer of tasks whose payload and result have the largest size, for ever. */
static void flood(const struct bed *bed)
{
    struct bed own = {0};
    char *payload = calloc(1, LARGE_BYTES);
    struct load load;
    double seconds;

    if (payload == NULL)
        bed_fail("out of memory");
    memset(payload, ' ', LARGE_BYTES);
    memcpy(payload, "4194304", 7);
    memcpy(own.control, bed->control, sizeof own.control);
    bed_connect(&own, DTQ_FOLLOW_OWN);
    load = bed_noops(&own);
    load.task = (struct load_task){"bench.size", "large", payload, LARGE_BYTES};
    load.window = LARGE_WINDOW;
    if (load_flow(&load, UINT64_MAX, false, &seconds) != DTQ_OK)
        bed_fail("large tasks: %s", dtq_client_errmsg(own.client));
}

static pid_t start_flood(const struct bed *bed)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid < 0)
        bed_fail("cannot fork");
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        flood(bed);
    _exit(1);
}

static double trips(struct bed *bed, double *us)
{
    struct load load = bed_noops(bed);

    if (load_trips(&load, TRIPS, us) != DTQ_OK || load.failed != 0)
        bed_fail("%s", dtq_client_errmsg(bed->client));
    return load_quantile(us, TRIPS, 0.99) / 1000;
}

static double mib_of(const struct bed *bed, int member)
{
    return (double)gauge_anonymous_bytes(bed->members[member].pid) / (1 << 20);
}

static uint64_t disk_of(const struct bed *bed)
{
    return bed_disk_bytes(bed, BED_SINK);
}

void bench_g(const struct bench_opts *o)
{
    struct bed bed;
    double us[TRIPS];
    double alone_ms;
    double beside_ms;
    uint64_t from_us;
    uint64_t before;
    pid_t pid;

    report_say("others use %.2f processors", bench_calm(o));
    bed_open(&bed, (struct bed_cfg){.workers = 1, .slots = 2});
    pid = start_flood(&bed); /* before we have threads of ZeroMQ */
    kill(pid, SIGSTOP);
    bed_connect(&bed, DTQ_FOLLOW_OWN);
    (void)trips(&bed, us);
    alone_ms = trips(&bed, us);
    before = disk_of(&bed);
    from_us = proc_now_us();
    kill(pid, SIGCONT);
    (void)trips(&bed, us);
    beside_ms = trips(&bed, us);
    report_say("small tasks, 99 of 100 within: %.1f ms alone, %.1f ms beside large ones", alone_ms,
               beside_ms);
    report_say("large tasks: %.0f results of 4 MiB a second reached the disk",
               (double)(disk_of(&bed) - before) / LARGE_BYTES /
                   ((double)(proc_now_us() - from_us) / 1e6));
    report_line("sizes",
                json_pack("{s:f, s:f, s:f, s:f, s:f}", "alone_p99_ms", alone_ms, "beside_p99_ms",
                          beside_ms, "ventilator_mib", mib_of(&bed, BED_VENTILATOR), "worker_mib",
                          mib_of(&bed, BED_WORKER), "sink_mib", mib_of(&bed, BED_SINK)));
    report_verdict("small tasks wait longer", beside_ms - alone_ms, "ms", false, MOST_MS);
    report_verdict("ventilator's memory", mib_of(&bed, BED_VENTILATOR), "MiB", false, MOST_MIB);
    report_verdict("worker's memory", mib_of(&bed, BED_WORKER), "MiB", false, MOST_MIB);
    report_verdict("sink's memory", mib_of(&bed, BED_SINK), "MiB", false, MOST_MIB);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    bed_close(&bed);
}
