/* dtq-worker: runs tasks in isolated slots, by functions of modules or by commands. */
#include "handlers.h"
#include "log.h"
#include "opt.h"
#include "proc.h"
#include "slot.h"
#include "slot_keeper.h"
#include "text.h"
#include "worker_io.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

struct values {
    uint64_t concurrency; /* 0: not given */
    struct opt_strings queues;
    bool strict_queues;
    const char *name;
    struct opt_strings modules;
    struct opt_strings execs;
    uint64_t time_limit_ms;
    uint64_t tasks_per_child_max;
    bool burst;
    uint64_t idle_timeout_ms;
};

static const struct opt table[] = {
    {.name = "concurrency",
     .letter = 'c',
     .type = OPT_INTEGER,
     OPT_AT(struct values, concurrency),
     .meta = "N",
     .min = 1,
     .max = DTQI_SLOTS_MAX,
     .help = "slots: tasks that run at a time; default: one per core"},
    {.name = "queues",
     .letter = 'Q',
     .type = OPT_WEIGHTS,
     OPT_AT(struct values, queues),
     .meta = "QUEUE[=N],...",
     .min = 1,
     .max = DTQI_QUEUE_WEIGHT_MAX,
     .help = "queues to take tasks from, in shares of N (default 1); default: every queue"},
    {.name = "strict-queues",
     .type = OPT_FLAG,
     OPT_AT(struct values, strict_queues),
     .help = "with -Q: take from a queue only when those named before it have nothing"},
    {.name = "name",
     .letter = 'n',
     .type = OPT_STRING,
     OPT_AT(struct values, name),
     .meta = "NAME",
     .initial = "%h-%p",
     .help = "name of this worker for people; %h is the host, %p the process id"},
    {.name = "module",
     .type = OPT_STRINGS,
     OPT_AT(struct values, modules),
     .meta = "FILE.so",
     .help = "load the handlers of this module (see dtq/handler.h); may be repeated"},
    {.name = "exec",
     .type = OPT_STRINGS,
     OPT_AT(struct values, execs),
     .meta = "NAME=COMMAND",
     .help = "run tasks called NAME by this command: payload on stdin, result from stdout, no "
             "shell; may be repeated"},
    {.name = "time-limit",
     .type = OPT_DURATION,
     OPT_AT(struct values, time_limit_ms),
     .meta = "DURATION",
     .min = 1,
     .help = "kill a task that runs longer, unless the task says otherwise; default: no limit"},
    {.name = "max-tasks-per-child",
     .type = OPT_INTEGER,
     OPT_AT(struct values, tasks_per_child_max),
     .meta = "N",
     .min = 1,
     .max = UINT32_MAX,
     .help = "replace a slot's process after so many tasks; default: never"},
    {.name = "burst",
     .type = OPT_FLAG,
     OPT_AT(struct values, burst),
     .help = "end when there is nothing left to do"},
    {.name = "idle-timeout",
     .type = OPT_DURATION,
     OPT_AT(struct values, idle_timeout_ms),
     .meta = "DURATION",
     .min = 1,
     .help = "end after so long without a task; default: never"},
};

static const char epilog[] =
    "A task runs by the handler of its name: a function of a --module, or an --exec command. The\n"
    "words of COMMAND are separated by blanks; '..', \"..\" and \\ quote; variables, patterns and "
    "pipes\n"
    "need a shell: --exec \"up=sh -c 'tr a-z A-Z | rev'\". Exit status 0 is success, anything else "
    "a\n"
    "failure, with the end of stderr as its text; DTQ_TASK_ID, DTQ_TASK_NAME, DTQ_ATTEMPT, "
    "DTQ_QUEUE\n"
    "and DTQ_DEADLINE (milliseconds since 1970) are in its environment.\n"
    "SIGTERM or SIGINT: finish what runs, then end. SIGQUIT or a second SIGINT: end at once.";

/* Cores that this process may run on. */
static uint32_t cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n < (int)DTQI_SLOTS_MAX ? (uint32_t)n : DTQI_SLOTS_MAX;
}

static uint64_t files_max(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < UINT32_MAX ? limit.rlim_cur
                                                                                : UINT32_MAX;
}

/* %h, %p and %%. @return false: it does not fit, or would not be a name. */
static bool make_name(const char *pattern, char ret_name[DTQI_NAME_BYTES_MAX + 1])
{
    char host[256] = "host";
    size_t n = 0;

    (void)gethostname(host, sizeof host - 1);
    for (const char *at = pattern; *at != 0; at++) {
        char one[2] = {*at, 0};
        char number[16];
        const char *add = one;

        snprintf(number, sizeof number, "%d", (int)getpid());
        if (*at == '%' && at[1] != 0) {
            at++;
            add = *at == 'h' ? host : *at == 'p' ? number : *at == '%' ? "%" : NULL;
        }
        if (add == NULL || (unsigned char)*add <= ' ' || n + strlen(add) > DTQI_NAME_BYTES_MAX)
            return false;
        n += (size_t)(stpcpy(ret_name + n, add) - (ret_name + n));
    }
    return n > 0;
}

static int out_of_memory(void)
{
    log_error("exit", log_str("why", dtq_strerror(DTQ_ENOMEM)));
    return 1;
}

/* Commands can be looked at before anything is started; modules are foreign code, so that only
 * slots load them. */
static int check_handlers(const struct opt_spec *spec, const struct values *v)
{
    struct handlers handlers = {0};
    char why[HANDLERS_WHY_BYTES];
    int status = OPT_GO;

    if (v->modules.n == 0 && v->execs.n == 0)
        return opt_error(spec, "there is nothing it could run: give --module FILE.so, or --exec "
                               "NAME=COMMAND, for example --exec upper='tr a-z A-Z'");
    for (size_t i = 0; i < v->execs.n && status == OPT_GO; i++) {
        dtq_err err = handlers_add_exec(&handlers, v->execs.at[i], why, sizeof why);

        if (err == DTQ_ENOMEM)
            status = out_of_memory();
        else if (err != DTQ_OK)
            status = opt_error(spec, "--%s", why);
    }
    handlers_done(&handlers);
    return status;
}

/* "mail=3" */
static void read_queue(const char *text, struct dtqi_str *ret_name, uint32_t *ret_weight)
{
    const char *equals = strchrnul(text, '=');
    uint64_t weight = 1;

    if (*equals != '\0' && text_parse_u64(equals + 1, &weight) != DTQ_OK)
        weight = 1; /* cannot be: it was checked as an option */
    *ret_name = (struct dtqi_str){text, (uint32_t)(equals - text)};
    *ret_weight = (uint32_t)weight;
}

static int run(const struct opt_spec *spec, const struct values *v, const char *ventilator,
               uint64_t files)
{
    struct dtqi_str *queues = calloc(v->queues.n + 1, sizeof *queues);
    uint32_t *weights = calloc(v->queues.n + 1, sizeof *weights);
    char name[DTQI_NAME_BYTES_MAX + 1];
    uint32_t slots = v->concurrency != 0 ? (uint32_t)v->concurrency : cores();
    struct worker_io_cfg cfg = {
        .ventilator = ventilator,
        .worker =
            {
                .program = dtqi_str("dtq-worker " DTQ_VERSION),
                .queues = queues,
                .queues_n = (uint32_t)v->queues.n,
                .queue_weights = weights,
                .queues_strict = v->strict_queues,
                .slots = slots,
                .result_bytes_max = DTQI_RESULT_BYTES_MAX,
                .time_limit_ms = v->time_limit_ms,
                .tasks_per_child_max = (uint32_t)v->tasks_per_child_max,
                .idle_timeout_ms = v->idle_timeout_ms,
                .burst = v->burst,
            },
        .slots =
            {
                .slots = slots,
                .result_bytes_max = DTQI_RESULT_BYTES_MAX,
                .files_max = (uint32_t)files,
                .modules = v->modules.at,
                .modules_n = v->modules.n,
                .execs = v->execs.at,
                .execs_n = v->execs.n,
            },
    };
    int status;

    for (size_t i = 0; queues != NULL && weights != NULL && i < v->queues.n; i++)
        read_queue(v->queues.at[i], &queues[i], &weights[i]);
    if (queues == NULL || weights == NULL) {
        free(queues);
        free(weights);
        return out_of_memory();
    }
    if (make_name(v->name, name)) {
        cfg.worker.name = dtqi_str(name);
        status = worker_io_run(&cfg);
    } else {
        status = opt_error(spec, "--name: '%s' is not a name of 1 to %u bytes without blanks",
                           v->name, DTQI_NAME_BYTES_MAX);
    }
    free(queues);
    free(weights);
    return status;
}

static int check_queues(const struct opt_spec *spec, const struct values *v)
{
    if (!v->strict_queues || v->queues.n != 0)
        return OPT_GO;
    return opt_error(spec, "--strict-queues: in which order? Name the queues: -Q high,low");
}

static int worker_main(int argc, char **argv)
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
        .program = "dtq-worker",
        .usage = "[OPTION...]",
        .summary = "Runs tasks in isolated slots, by functions of modules or by commands.",
        .epilog = epilog,
        .groups = groups,
        .groups_n = sizeof groups / sizeof *groups,
    };
    struct opt_result parsed;
    uint64_t files = files_max();
    int status;

    proc_setup();
    status = opt_parse(&spec, argc, argv, &parsed);
    if (status == OPT_GO)
        status = opt_ventilator_check(&spec, &ventilator);
    if (status == OPT_GO)
        status = check_queues(&spec, &values);
    if (status == OPT_GO)
        status = check_handlers(&spec, &values);
    if (status == OPT_GO) {
        opt_log_apply(&log);
        status = run(&spec, &values, ventilator.endpoints.at[0], files);
    }
    opt_done(&parsed);
    return status;
}

int main(int argc, char **argv)
{
    if (slot_keeper_is_asked_for(argc, argv))
        return slot_keeper_main(argc, argv);
    return slot_is_asked_for(argc, argv) ? slot_main(argc, argv) : worker_main(argc, argv);
}
