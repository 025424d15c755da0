/*
 * What the commands of `dtq` share: their table, their common options, how they fail, how they name
 * tasks and how they print. stdout is data, stderr is talk. A command is one function in a file of
 * its own; it parses its options and returns the status to exit with.
 */
#ifndef DTQ_CLI_H
#define DTQ_CLI_H

#include "dtq/admin.h"
#include "dtq/client.h"
#include "dtq/cron.h"
#include "dtq/dead.h"
#include "opt.h"

#include <jansson.h>
#include <stdbool.h>

enum cli_status { /* as the contract of the command line has them */
                  CLI_DONE = 0,
                  CLI_FAILED = 1,
                  CLI_USAGE = 2,
                  CLI_UNREACHABLE = 69,
                  CLI_BUSY = 75,
                  CLI_TIMED_OUT = 124,
                  CLI_CANCELLED = 130
};

struct cli_command {
    const char *name;
    const char *summary;               /* one line of `dtq --help` */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

extern const struct cli_command cli_commands[]; /* ended by one without a name */

int cmd_bench(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_cron(int argc, char **argv);
int cmd_dead(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_queue(int argc, char **argv);
int cmd_result(int argc, char **argv);
int cmd_results(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_sink(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_store(int argc, char **argv);
int cmd_submit(int argc, char **argv);
int cmd_up(int argc, char **argv);
int cmd_wait(int argc, char **argv);

/* Longest wait for an answer of the ventilator or a sink, where the user gave none. */
#define CLI_ANSWER_MS 10000

/* A command at work. */
struct cli {
    const char *command;
    struct opt_result parsed;
    struct opt_ventilator ventilator;
    bool json;
    dtq_client *client; /* NULL until cli_connect() */
};

struct cli_spec {
    const char *command;
    const char *usage;
    const char *summary;
    const char *epilog;
    const struct opt *opts; /* of this command alone; NULL: it has none */
    size_t opts_n;
    void *values;
    size_t operands_min;
    size_t operands_max;
};

/*
 * Parse the options of the command, of every command (-V, --json) and its operands.
 * @return OPT_GO, or the status to exit with. cli_done() is to be called in any case.
 */
int cli_parse(struct cli *c, const struct cli_spec *spec, int argc, char **argv);
/* @return OPT_GO, or the status to exit with, after a message. */
int cli_connect(struct cli *c, dtq_follow follow);
void cli_done(struct cli *c);

/* A command with verbs: of its table `opts`, those that were given on the command line must be
 * among `takes`, long names with spaces between. @return OPT_GO, or the status after a message. */
int cli_check_options(const struct cli *c, const struct cli_spec *spec, const char *verb,
                      const char *takes);
/* `dtq queue WORD`, and it has no such verb: a message with the nearest, or with all of them. */
void cli_no_verb(const struct cli *c, const char *word, const char *const *verbs, size_t n);
/* Was this option given on the command line? */
bool cli_is_typed(const struct cli *c, const char *name);
/* `name` (NULL: not given) can be the name of a task, queue, .., or a key. @return as above. */
int cli_check_name(const struct cli *c, const char *what, const char *name);
/* The same for each operand behind the verb, whatever became of those before it, unless nobody
 * answers. @return the worst status. */
int cli_each(struct cli *c, int (*one)(struct cli *c, const char *operand, const void *arg),
             const void *arg);

/* "dtq wait: the text: what libdtq says of its last error" on stderr, and what to do about it.
 * @return the status. */
int cli_fail(const struct cli *c, dtq_err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "dtq wait: the text" on stderr. @return `status`. */
int cli_error(const struct cli *c, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void cli_out_of_memory(void) __attribute__((noreturn));
/* For dtq_options.on_silence, `arg` is the struct cli: somebody does not answer yet. */
void cli_say_silence(void *arg, const dtq_silence *silence);
/* After DTQ_EUNREACHABLE: who it is, and what to do about it. */
void cli_hint_unreachable(const struct cli *c);
/* stdout could not be written (a full disk): a command that prints ends with this. A reader that
 * has closed its pipe has seen enough. @return the status, `status` itself if all went well. */
int cli_flush(const struct cli *c, int status);

struct cli_ids {
    dtq_id *at;
    size_t n;
};

/*
 * The tasks that operands name: full ids, unique prefixes of 8 digits or more, `last` (all tasks of
 * the last submit). No operands: as `last`. Needs a connection for prefixes only. @return OPT_GO,
 * or the status to exit with.
 */
int cli_ids(struct cli *c, struct cli_ids *ret_ids);

typedef int cli_id_fn(struct cli *c, const dtq_id *id);
/* A command of no options but the common ones, that does `one` to each task that operands name, and
 * goes on behind one that it failed for. @return the status to exit with. */
int cli_each_id(const struct cli_spec *spec, int argc, char **argv, cli_id_fn *one);

/* The status that a finished task gives its command: 0, 1 or 130. */
int cli_status_of_state(dtq_state state);
/* The worse of two statuses: failed, then cancelled, then done. */
int cli_worse(int a, int b);

/* A task that nobody knows. @return the status, after saying so. */
int cli_not_found(const struct cli *c, const dtq_id *id);

/* "exit 3", "signal KILL", "timeout", ..: what a failure says of itself. */
void cli_reason_text(dtq_reason reason, int32_t code, char *ret, size_t bytes);
/* Milliseconds as the library takes them; `given` false: for ever. */
int32_t cli_timeout(bool given, uint64_t ms);
/* The state of that name, or -1 after a message. */
int cli_state(const struct cli *c, const char *word);

/* One JSON value a line; takes the reference. */
void cli_print_json(json_t *value);
/* Set `key` to bytes: a string where they are UTF-8, else `key`_base64. */
void cli_json_bytes(json_t *object, const char *key, const void *at, size_t bytes);
/* Set `key` to a time (RFC 3339); 0 is left out. */
void cli_json_time(json_t *object, const char *key, uint64_t wall_ms);
/* The fields that every outcome has, and its body when `body`. */
json_t *cli_json_result(const dtq_result *result, bool body);

#endif
