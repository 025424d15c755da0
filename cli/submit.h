/* The options of a task, shared by the ways to submit: one task, one for each line, one for each
 * JSON object. */
#ifndef DTQ_CLI_SUBMIT_H
#define DTQ_CLI_SUBMIT_H

#include "cli.h"

struct submit_options {
    const char *queue;
    uint64_t priority;
    uint64_t delay_ms;
    uint64_t eta_wall_ms;
    uint64_t expires_ms;
    uint64_t retries;
    const char *backoff; /* "MIN..MAX" */
    bool no_retry;
    const char *retry_on;
    const char *no_retry_on;
    const char *key;
    uint64_t key_ttl_ms;
    const char *group;
    bool ordered;
    uint64_t time_limit_ms;
    uint64_t result_ttl_ms;
    bool no_result;
    bool wait;
    uint64_t timeout_ms;
    bool timeout_given;
    const char *payload_file;
    bool from_stdin;
    const char *each_line;
    const char *jsonl;
};

#define SUBMIT_CONFIRM_MS \
    30000 /* so long a confirmation is waited for, unless --timeout is given */

extern const struct opt submit_table[];
extern const size_t submit_table_n;

struct submit_payload {
    void *at;
    size_t bytes;
    bool is_owned;
};

/* The payload that an operand (NULL: there is none), --stdin or --payload-file gives.
 * @return OPT_GO, or the status after a message. submit_payload_done() in any case. */
int submit_payload_get(const struct cli *c, const struct submit_options *o, char *operand,
                       struct submit_payload *ret);
void submit_payload_done(struct submit_payload *payload);
/* What to do about a cluster that is full, if `status` says that it is. */
void submit_say_busy(const struct cli *c, const struct submit_options *o, int status);
/* A "--" and what follows it. @return OPT_GO: there is none; or the status after a message. */
int submit_refuse_command(const struct cli *c);

/* "1s..10m". @return what is wrong with it, to be said behind it; NULL: nothing. */
const char *submit_parse_backoff(const char *text, uint64_t *ret_min_ms, uint64_t *ret_max_ms);
/* What can be said of the options of any task. @return OPT_GO, or the status after a message. */
int submit_check_task(const struct cli *c, const struct submit_options *o);
/* A task with everything but its name and payload from the options. Strings are borrowed. */
void submit_task_init(const struct submit_options *o, dtq_task *ret_task);

/*
 * Where the tasks of a bulk submission come from. `next` fills in `task`; what it points to may go
 * at the following call. It calls `wait`, set by submit_bulk(), before each read: that goes on with
 * what was submitted until the descriptor is readable. @return of `wait`, false: read no more.
 */
enum bulk_next { BULK_TASK, BULK_BAD_LINE, BULK_END, BULK_ERROR };
struct bulk_source {
    enum bulk_next (*next)(struct bulk_source *s, dtq_task *task);
    uint64_t line;                   /* number of the line that the last call read, from 1 */
    char why[256];                   /* BULK_BAD_LINE, BULK_ERROR: what is wrong with it */
    bool (*wait)(void *arg, int fd); /* for input; false: no more is to be read */
    void *wait_arg;
    uint64_t total; /* lines in all, for the progress bar; 0: not known */
};

/* Submit everything, print ids (or with --wait the results) in the order of the lines. @return the
 * status. */
int submit_bulk(struct cli *c, const struct submit_options *o, struct bulk_source *source);

/* Lines of a file, or of standard input ("-"): the payloads of tasks called `name`. */
int submit_each_line(struct cli *c, const struct submit_options *o, const char *name);
/* JSON objects, one a line. */
int submit_jsonl(struct cli *c, const struct submit_options *o);

#endif
