/* dtq-sink: collects outcomes, keeps them durably, hands them to whoever waits. */
#include "bounds.h"
#include "log.h"
#include "opt.h"
#include "proc.h"
#include "sink_io.h"

#include <stdio.h>

struct values {
    const char *intake;
    const char *results;
    const char *advertise_host;
    const char *data;
    uint64_t result_ttl_ms;
    uint64_t store_bytes_max;
    int durability;
    bool insecure;
};

static const char *const durability_names[] = {
    [STORE_SYNC] = "sync",
    [STORE_ASYNC] = "async",
    NULL,
};

static const struct opt table[] = {
    {.name = "intake",
     .type = OPT_ENDPOINT,
     OPT_AT(struct values, intake),
     .meta = "ENDPOINT",
     .initial = "tcp://127.0.0.1:5571",
     .help = "where workers and ventilators push outcomes to"},
    {.name = "results",
     .type = OPT_ENDPOINT,
     OPT_AT(struct values, results),
     .meta = "ENDPOINT",
     .initial = "tcp://127.0.0.1:5572",
     .help = "where results are asked for"},
    {.name = "advertise-host",
     .type = OPT_STRING,
     OPT_AT(struct values, advertise_host),
     .meta = "HOST",
     .help = "the host others reach this sink at, if it listens on *; default: the address "
             "under which this machine talks to the ventilator"},
    {.name = "data",
     .type = OPT_PATH,
     OPT_AT(struct values, data),
     .meta = "DIR",
     .help = "where outcomes are kept; default: sink in the state directory"},
    {.name = "result-ttl",
     .type = OPT_DURATION,
     OPT_AT(struct values, result_ttl_ms),
     .meta = "DURATION",
     .initial = "1d",
     .min = 1,
     .max = DTQI_DURATION_MS_MAX,
     .help = "how long a result can be read, unless its task says otherwise"},
    {.name = "max-results-bytes",
     .type = OPT_SIZE,
     OPT_AT(struct values, store_bytes_max),
     .meta = "SIZE",
     .initial = "64g",
     .min = 16ull << 20,
     .max = 1ull << 46,
     .help = "bound of the file of outcomes; near it the sink takes no more"},
    {.name = "durability",
     .type = OPT_ENUM,
     OPT_AT(struct values, durability),
     .initial = "sync",
     .words = durability_names,
     .help = "sync: an outcome is on the disk before anybody is told; async: at most a second "
             "later"},
    {.name = "insecure",
     .type = OPT_FLAG,
     OPT_AT(struct values, insecure),
     .help = "listen on other than loopback addresses, without encryption, to anybody"},
};

static int run(const struct values *v, const struct opt_ventilator *ventilator, const char *data)
{
    struct sink_io_cfg cfg = {
        .ventilator = ventilator->endpoints.at[0],
        .intake = v->intake,
        .results = v->results,
        .advertise_host = v->advertise_host,
        .data = data,
        .result_ttl_ms = v->result_ttl_ms,
        .store_bytes_max = v->store_bytes_max,
        .durability = (enum store_durability)v->durability,
        .insecure = v->insecure,
    };

    return sink_io_run(&cfg);
}

int main(int argc, char **argv)
{
    struct values values;
    struct opt_ventilator ventilator;
    struct opt_log log;
    const struct opt_group groups[] = {
        {.title = "Options", OPT_TABLE(table), .values = &values},
        {.title = "Ventilator",
         .opts = opt_ventilator_table,
         .opts_n = opt_ventilator_table_n,
         .values = &ventilator},
        {.title = "Log", .opts = opt_log_table, .opts_n = opt_log_table_n, .values = &log},
    };
    const struct opt_spec spec = {
        .program = "dtq-sink",
        .usage = "[OPTION...]",
        .summary = "Collects the outcomes of tasks, keeps them durably, and hands them to whoever "
                   "waits.",
        .groups = groups,
        .groups_n = sizeof groups / sizeof *groups,
    };
    struct opt_result parsed;
    char data[4096];
    const char *dir;
    int status;

    proc_setup();
    status = opt_parse(&spec, argc, argv, &parsed);
    if (status == OPT_GO)
        status = opt_ventilator_check(&spec, &ventilator);
    if (status == OPT_GO) {
        opt_log_apply(&log);
        dir = values.data != NULL ? values.data : opt_data_dir("sink", data, sizeof data);
        status = dir != NULL ? run(&values, &ventilator, dir)
                             : opt_error(&spec, "--data: there is no home directory; say where");
    }
    opt_done(&parsed);
    return status;
}
