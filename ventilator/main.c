/* dtq-ventilator: options, then vent_io. */
#include "codec.h"
#include "cron.h"
#include "log.h"
#include "opt.h"
#include "proc.h"
#include "vent_io.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JOURNAL_BYTES_MIN (1ull << 30)

struct values {
    const char *bind;
    struct opt_range lane_ports;
    const char *data;
    int durability;
    uint64_t max_backlog_bytes;
    uint64_t max_backlog_tasks;
    uint64_t max_queue_bytes;
    uint64_t max_queue_tasks;
    uint64_t heartbeat_ms;
    uint64_t liveness;
    uint64_t dead_ttl_ms;
    uint64_t history_ttl_ms;
    bool insecure;
};

static const char *const durability_words[] = {"sync", "async", NULL};

static char default_data[PATH_MAX];

static struct opt table[] = {
    {.name = "bind",
     .type = OPT_ENDPOINT,
     OPT_AT(struct values, bind),
     .meta = "ENDPOINT",
     .initial = "tcp://127.0.0.1:5570",
     .help = "where producers, workers, sinks and the command line connect; port * lets the "
             "system choose one"},
    {.name = "lane-ports",
     .type = OPT_RANGE,
     OPT_AT(struct values, lane_ports),
     .meta = "LO-HI",
     .min = 1,
     .max = 65535,
     .initial = "20000-29999",
     .help = "ports for the lanes, one for each worker, on the host of --bind"},
    {.name = "data",
     .type = OPT_PATH,
     OPT_AT(struct values, data),
     .meta = "DIR",
     .initial = default_data,
     .help = "directory of the journal; made when missing"},
    {.name = "durability",
     .type = OPT_ENUM,
     OPT_AT(struct values, durability),
     .words = durability_words,
     .initial = "sync",
     .help = "sync: what is confirmed survives a crash of the machine; async: it survives a crash "
             "of the process only, and the last second may be lost with the machine"},
    {.name = "max-backlog-bytes",
     .type = OPT_SIZE,
     OPT_AT(struct values, max_backlog_bytes),
     .meta = "SIZE",
     .min = 1 << 20,
     .max = 1ull << 44,
     .initial = "16g",
     .help =
         "payloads kept for tasks that have not ended; beyond it, new tasks are refused as busy"},
    {.name = "max-backlog-tasks",
     .type = OPT_INTEGER,
     OPT_AT(struct values, max_backlog_tasks),
     .meta = "N",
     .initial = "0",
     .help = "the same for their number; 0: any number"},
    {.name = "max-queue-bytes",
     .type = OPT_SIZE,
     OPT_AT(struct values, max_queue_bytes),
     .meta = "SIZE",
     .initial = "0",
     .help = "the same for the payloads of each queue; 0: no bound of its own"},
    {.name = "max-queue-tasks",
     .type = OPT_INTEGER,
     OPT_AT(struct values, max_queue_tasks),
     .meta = "N",
     .initial = "0",
     .help = "the same for the number of tasks of each queue; 0: any number"},
    {.name = "heartbeat",
     .type = OPT_DURATION,
     OPT_AT(struct values, heartbeat_ms),
     .meta = "DURATION",
     .min = 50,
     .max = 60000,
     .initial = "1s",
     .help = "interval of heartbeats, for all who connect"},
    {.name = "liveness",
     .type = OPT_INTEGER,
     OPT_AT(struct values, liveness),
     .meta = "N",
     .min = 2,
     .max = 100,
     .initial = "3",
     .help = "silent intervals until a peer counts as dead"},
    {.name = "dead-ttl",
     .type = OPT_DURATION,
     OPT_AT(struct values, dead_ttl_ms),
     .meta = "DURATION",
     .initial = "30d",
     .help = "dead letters are forgotten so long after they failed; 0s: never"},
    {.name = "history-ttl",
     .type = OPT_DURATION,
     OPT_AT(struct values, history_ttl_ms),
     .meta = "DURATION",
     .initial = "1d",
     .help = "attempts that failed are shown so long after their task has ended; 0s: no longer"},
    {.name = "insecure",
     .type = OPT_FLAG,
     OPT_AT(struct values, insecure),
     .help = "allow --bind on an address that other machines reach: anybody there can submit and "
             "take tasks"},
};

static void fill_cfg(const struct values *values, struct vent_io_cfg *ret)
{
    *ret = (struct vent_io_cfg){
        .bind = values->bind,
        .insecure = values->insecure,
        .lane_lo = values->lane_ports.lo,
        .lane_hi = values->lane_ports.hi,
        .data = values->data,
        .durability = values->durability == 0 ? STORE_SYNC : STORE_ASYNC,
        /* Keys, indexes and counters of small tasks take several times their payload. */
        .map_bytes_max = JOURNAL_BYTES_MIN + 4 * values->max_backlog_bytes,
    };
    vent_cfg_default(&ret->core);
    ret->core.spec_decode = dtqi_spec_decode;
    ret->core.spec_encode = dtqi_spec_encode;
    ret->core.cron = (struct vent_cron_calls){cron_parse, cron_next, cron_free};
    ret->core.trace = log_is_on(LOG_LEVEL_TRACE);
    ret->core.heartbeat_ms = values->heartbeat_ms;
    ret->core.liveness = (uint32_t)values->liveness;
    ret->core.dead_ttl_ms = values->dead_ttl_ms;
    ret->core.history_ttl_ms = values->history_ttl_ms;
    ret->core.backlog_bytes_max = values->max_backlog_bytes;
    ret->core.backlog_tasks_max = values->max_backlog_tasks;
    ret->core.queue_bytes_max = values->max_queue_bytes;
    ret->core.queue_tasks_max = values->max_queue_tasks;
}

/* Lanes inside the range from which the system takes ports for outgoing connections will sooner or
 * later find one taken; worse, a worker on this host can then connect to itself. */
static void warn_of_ephemeral_ports(const struct opt_range *lanes)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    char text[64] = "";
    char *behind;
    unsigned long lo;
    unsigned long hi;

    if (file == NULL)
        return;
    (void)!fgets(text, sizeof text, file);
    fclose(file);
    lo = strtoul(text, &behind, 10);
    hi = strtoul(behind, NULL, 10);
    if (lanes->lo <= hi && lanes->hi >= lo)
        log_warn("lane_ports_overlap", log_u64("local_lo", lo), log_u64("local_hi", hi),
                 log_str("why", "the system gives ports of --lane-ports to other connections"));
}

static int run(const struct vent_io_cfg *cfg, int signals)
{
    char why[1024] = "";
    char pairs[512];
    struct vent_io *io;
    int status;

    if (vent_io_open(cfg, signals, &io, why, sizeof why) != DTQ_OK) {
        log_error("start_failed", log_str("why", why));
        return 1;
    }
    log_info("started", log_str("program", "dtq-ventilator " DTQ_VERSION),
             log_str("control", vent_io_endpoint(io)), log_str("data", cfg->data),
             log_i64("pid", getpid()));
    snprintf(pairs, sizeof pairs, "control=%s", vent_io_endpoint(io));
    proc_ready(pairs);
    status = vent_io_run(io);
    vent_io_close(io);
    return status;
}

int main(int argc, char **argv)
{
    struct values values;
    struct opt_log log;
    struct opt_group groups[] = {
        {.title = "Options", OPT_TABLE(table), .values = &values},
        {.title = "Logs", .opts = opt_log_table, .opts_n = opt_log_table_n, .values = &log},
    };
    struct opt_spec spec = {
        .program = "dtq-ventilator",
        .usage = "[OPTION...]",
        .summary = "Accept tasks, keep them, and push each one to a worker that has room for it.",
        .epilog = "Signals: TERM or INT stop it once everything is written down; QUIT, or a second "
                  "INT, at once.\nExit status: 0 stopped, 1 failed, 2 usage.",
        .groups = groups,
        .groups_n = sizeof groups / sizeof *groups,
    };
    struct opt_result options;
    struct vent_io_cfg cfg;
    int signals;
    int status;

    proc_setup();
    signals = proc_signals_open();
    if (signals < 0) {
        perror("dtq-ventilator: signalfd");
        return 1;
    }
    if (opt_data_dir("ventilator", default_data, sizeof default_data) == NULL)
        default_data[0] = '\0'; /* then --data must be given: "" is no path */
    status = opt_parse(&spec, argc, argv, &options);
    if (status == OPT_GO) {
        opt_log_apply(&log);
        fill_cfg(&values, &cfg);
        warn_of_ephemeral_ports(&values.lane_ports);
        status = run(&cfg, signals);
    }
    opt_done(&options);
    return status;
}
