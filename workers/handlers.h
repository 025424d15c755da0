/*
 * The handlers of a slot: functions of modules and commands, by name. A task_run is one task on its
 * way through a handler: what the handler may ask and say, and the outcome that comes of it.
 */
#ifndef DTQ_HANDLERS_H
#define DTQ_HANDLERS_H

#include "command.h"
#include "dtq/handler.h"
#include "ring.h"

#define HANDLERS_WHY_BYTES 1024

struct task_run {
    dtq_context context; /* first: what a module's handler gets */
    struct ring_slot *ring;
    struct ring_task task;
    uint32_t result_bytes_max;
    uint64_t started_ns;
    bool failed; /* the handler said so */
    bool too_large;
    char id_text[DTQ_ID_TEXT_BYTES]; /* made when asked for */
    struct ring_outcome outcome;
};

/* The outcome of a run that has not been given one is success with an empty result. The last of
 * these calls counts. */
/* Room for a result; the run gets its first `bytes` as its result. @return NULL: larger than
 * allowed. */
void *task_run_result(struct task_run *run, uint32_t bytes);
/* `text` is cut to DTQI_TEXT_BYTES_MAX. */
void task_run_fail(struct task_run *run, dtq_reason reason, int32_t code, const char *text,
                   size_t bytes);
void task_run_failf(struct task_run *run, dtq_reason reason, int32_t code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
const char *task_run_id(struct task_run *run);
/* Wall milliseconds of the time limit; 0: none. */
uint64_t task_run_deadline_wall_ms(const struct task_run *run);

struct handler {
    char name[DTQI_NAME_BYTES_MAX + 1];
    uint32_t name_bytes;
    char *origin; /* the module's file or the command, for messages */
    void (*run)(const struct handler *handler, struct task_run *run);
    dtq_handler_fn *function;
    struct command command;
};

struct handlers {
    struct handler *at;
    uint32_t n;
    uint32_t room;
};

/*
 * Load a module and take in its handlers.
 * @return DTQ_OK; DTQ_EINVAL, DTQ_ENOTFOUND or DTQ_EVERSION (`why` names file and cause) or
 * DTQ_ENOMEM. After an error the process is of no use as a slot.
 */
DTQ_MUST_USE dtq_err handlers_add_module(struct handlers *h, const char *path, char *why,
                                         size_t why_bytes);
/* Take in "NAME=COMMAND"; looks the command up in PATH. Errors as above. */
DTQ_MUST_USE dtq_err handlers_add_exec(struct handlers *h, const char *definition, char *why,
                                       size_t why_bytes);
/* Add an entry; the others use it. `origin` is copied. */
DTQ_MUST_USE dtq_err handlers_add(struct handlers *h, struct dtqi_str name, const char *origin,
                                  char *why, size_t why_bytes, struct handler **ret_handler);
/* NULL: there is none of this name. */
const struct handler *handlers_find(const struct handlers *h, struct dtqi_str name);
/* All names with `separator` between; to be freed. NULL: no memory. */
char *handlers_names(const struct handlers *h, const char *separator);
void handlers_done(struct handlers *h); /* modules stay loaded */

/* Run the task: everything but giving its outcome to the ring. */
void handlers_run(const struct handlers *h, struct task_run *run);

/* The run() of the two kinds. */
void handler_module_run(const struct handler *handler, struct task_run *run);
void handler_exec_run(const struct handler *handler, struct task_run *run);

#endif
