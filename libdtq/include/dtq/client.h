/**
 * @file dtq/client.h
 * Submit tasks and get their results.
 *
 * **Threads.** A client is used by one thread at a time; handing it over needs a lock, like any
 * other object. Several clients in several threads are independent. There is no background thread
 * of dtq's: everything is sent, received and timed inside the calls below (libzmq has one I/O
 * thread per client, which runs none of your code). After fork() the child must not use the
 * parent's client; dtq_client_close() there frees its memory and nothing else.
 *
 * **Manners.** Nothing here prints, logs, exits, installs a signal handler or needs SIGPIPE
 * ignored. A signal that interrupts a wait does not end it.
 *
 * **Time-outs** are in milliseconds: 0 does what can be done without waiting, a negative number
 * waits as long as it takes.
 *
 * **What a call hands out** (results, texts, lists) is borrowed until the next call with the same
 * client, unless its description says otherwise. What a call is given is copied before it returns.
 */
#ifndef DTQ_CLIENT_H
#define DTQ_CLIENT_H

#include "base.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A connection to one cluster: its ventilator, and each of its sinks as needed. */
typedef struct dtq_client dtq_client;

/* ---------------------------------------------------------------------------------- opening */

/** Whose results come to dtq_next_result() and dtq_next_event() by themselves. */
typedef enum dtq_follow {
    DTQ_FOLLOW_NONE = 0, /**< nobody's: ask with dtq_wait_one() and its like, or dtq_watch() */
    DTQ_FOLLOW_OWN = 1,  /**< those of the tasks that this client submits, each exactly once */
    /** Those of everybody, as they are committed from now on. A client that is slower than the
     * cluster, or cut off for a while, misses some: page through dtq_outcomes() for what was. */
    DTQ_FOLLOW_ALL = 2
} dtq_follow;

/** Somebody who is needed and does not answer. */
typedef struct dtq_silence {
    const char *endpoint; /**< where; borrowed until the next call with this client */
    int is_sink;          /**< not 0: it is a sink; else the ventilator */
} dtq_silence;

/** How to open a client. Fill it with dtq_options_init(), then change what you like. */
typedef struct dtq_options {
    size_t size;            /**< set by dtq_options_init() */
    const char *ventilator; /**< endpoint; NULL: "tcp://127.0.0.1:5570" */
    const char *name;       /**< shown to operators, up to 128 bytes; NULL: "HOST:PID" */
    dtq_follow follow;      /**< default DTQ_FOLLOW_NONE */
    /** Tasks that are submitted and not yet confirmed, at most; 0: 16384. */
    uint32_t unconfirmed_max;
    /** Tasks remembered at most: unconfirmed ones, unread events, and with DTQ_FOLLOW_OWN those
     * whose result was not taken yet; each costs some 150 bytes. 0: 262144. */
    uint32_t open_max;
    /** Bytes of unconfirmed tasks kept to be sent again, at most (one larger task alone is
     * taken); 0: 64 MiB. */
    uint64_t unconfirmed_bytes_max;
    /** Bytes of results kept that nobody took yet, at most. What does not fit is left at the sink
     * and fetched when there is room. 0: 64 MiB. */
    uint64_t results_bytes_max;
    /** Called with silence_arg, from inside a call, also one that does not wait, when somebody who
     * is needed has not answered for 2.5 s; the call goes on. Once, until he has answered. It must
     * not use the client. NULL: nothing is called. */
    void (*on_silence)(void *silence_arg, const dtq_silence *silence);
    void *silence_arg;
} dtq_options;

/** Set every field to its default. */
static inline void dtq_options_init(dtq_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

/**
 * Open a client. Does not wait for the connection: that is made, and made again whenever it is
 * lost, inside later calls.
 * @param options  NULL: all defaults
 * @param ret_client  set on DTQ_OK only; close it with dtq_client_close()
 * @return DTQ_OK; DTQ_EINVAL (an option, or what is no endpoint: tcp://HOST:PORT, ipc://PATH);
 *         DTQ_ENOMEM; DTQ_EIO (no file descriptors left: a client needs 9, 4 more for each sink
 *         that it asks, and 2 more for dtq_client_fd())
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_client_open(const dtq_options *options, dtq_client **ret_client);

/**
 * Close at once. Tasks that were not confirmed may or may not have been accepted: call dtq_flush()
 * first. Tasks that were confirmed go on; their results stay at the sink. Takes NULL.
 */
DTQ_API void dtq_client_close(dtq_client *client);

/** One sentence about the last error of this client, for people; never NULL. */
DTQ_API const char *dtq_client_errmsg(const dtq_client *client);

/** After DTQ_EUNREACHABLE: who did not answer. */
DTQ_API void dtq_client_silence(const dtq_client *client, dtq_silence *ret_silence);

/* ------------------------------------------------------------------------------- submitting */

/** What to run. Fill it with dtq_task_init(), then change what you like. */
typedef struct dtq_task {
    size_t size;          /**< set by dtq_task_init() */
    const char *name;     /**< which handler: 1..128 bytes of letters, digits and "_.:-" */
    const char *queue;    /**< the same characters; default "default" */
    const void *payload;  /**< any bytes; NULL if there are none */
    size_t payload_bytes; /**< at most DTQ_PAYLOAD_BYTES_MAX */
    uint64_t tag;         /**< yours; comes back in events and results of this client; default 0 */
    /** NULL: a new id. Else an id that a submit reported with DTQ_EUNKNOWN: the same task is
     * submitted again under it, and stays one task whether or not it was accepted then. Within an
     * hour of that submit: later it is refused, with DTQ_EUNKNOWN again; ask dtq_look() then. */
    const dtq_id *again;
    uint32_t priority;           /**< 0..9, 9 first; default 5 */
    uint32_t retries;            /**< so many failed attempts are repeated; default 3 */
    uint64_t backoff_min_ms;     /**< before the first retry; default 1 s; doubles each time .. */
    uint64_t backoff_max_ms;     /**< .. up to this; default 10 min */
    uint64_t time_limit_ms;      /**< of one attempt, then its process group is killed; 0: the
                                    worker's default */
    uint32_t crash_limit;        /**< slots it may kill before it fails for good; 0: 3 */
    uint64_t delay_ms;           /**< do not start before so long from now; default 0. A wall clock
                                    that jumps makes it neither shorter nor longer */
    uint64_t not_before_wall_ms; /**< or: not before this time, ms since 1970 UTC, by the wall clock
                                    of the ventilator's host; default 0. With both: the later */
    uint64_t expires_ms;         /**< must start within so long from now; 0: never expires. As with
                                    delay_ms, clocks that jump do not matter */
    uint64_t result_ttl_ms;      /**< the sink keeps the result so long; 0: the sink's default */
    int no_result;               /**< not 0: the outcome is kept, its body is not */
    /** Only failures of this list are repeated; NULL: any. Reasons with commas between them, each
     * alone or with a code or a range of codes, as in "exit:75,exit:100-120,timeout,signal:KILL";
     * the reasons are those of dtq_reason_name(), exit statuses 1 to 255, signals 1 to 64. At most
     * 256 bytes; a list that is empty is an error. */
    const char *retry_on;
    const char *no_retry_on; /**< failures of this list are never repeated, also if the other one
                                names them; NULL: none */
    /** Idempotency key, of the characters of a name; NULL: none. While the ventilator remembers it,
     * further tasks with this key are not accepted: one with the same content (payload and all
     * fields but tag, again and times) ends with DTQ_EEXISTS and the id of the first one, any other
     * one with DTQ_ECONFLICT. So a program that does not know whether it has submitted something
     * submits it again, under a key that it makes from what the task is about. */
    const char *key;
    uint64_t key_ttl_ms; /**< how long the key is remembered, from the first submit; 0: a day */
    /** The groups of a queue, say one for each user, get fair shares of it, however many tasks one
     * of them has; priorities come first. Of the characters of a name; NULL: none, and all tasks
     * without one share as one group. */
    const char *group;
    /** Not 0: of this group one task at a time runs, in the order in which they were accepted. The
     * next one starts when the one before has its outcome: a retry is waited for, what failed for
     * good is not. Priorities count between groups only, then. A task with a delay takes its place
     * when its time comes. Ordered tasks and others of the same key are two groups. */
    int group_ordered;
} dtq_task;

/** Set the name and the payload, and every other field to its default. The payload is borrowed. */
static inline void dtq_task_init(dtq_task *task, const char *name, const void *payload,
                                 size_t payload_bytes)
{
    memset(task, 0, sizeof *task);
    task->size = sizeof *task;
    task->name = name;
    task->queue = "default";
    task->payload = payload;
    task->payload_bytes = payload_bytes;
    task->priority = 5;
    task->retries = 3;
    task->backoff_min_ms = 1000;
    task->backoff_max_ms = 600000;
}

/** What became of submitting one task. */
typedef struct dtq_submitted {
    dtq_id id;        /**< with DTQ_EEXISTS that of the first task with its key */
    dtq_err err;      /**< as dtq_submit() returns it */
    const char *text; /**< why not, for people; "" when err is DTQ_OK; never NULL */
    uint64_t tag;     /**< of the task */
} dtq_submitted;

/**
 * Submit one task and wait until it is confirmed: durable, and certain to run at least once until
 * one final outcome is recorded. Not waited for: that it runs.
 *
 * "Busy" answers and lost connections are retried, always under the same id, so that it stays one
 * task, until the time is up (after 30 minutes at the latest).
 * @param timeout_ms  0 is of no use here
 * @param ret_id  the task's id, set with DTQ_OK, DTQ_EUNKNOWN, and DTQ_EEXISTS (then it is the
 * first task's); may be NULL
 * @return DTQ_OK: confirmed.
 *         DTQ_EEXISTS: its key stands for a task that was submitted before and is as safe.
 *         Not accepted, now or later: DTQ_EINVAL, DTQ_ETOOBIG (the task), DTQ_EBUSY, DTQ_ENOSPC
 *         (a limit of the cluster, for as long as was waited; or DTQ_EBUSY: this client remembers
 *         open_max tasks already, take results), DTQ_EUNREACHABLE, DTQ_ETIMEOUT, DTQ_ECONFLICT,
 *         DTQ_EREFUSED, DTQ_EVERSION, DTQ_ENOMEM, DTQ_EIO.
 *         Not known: DTQ_EUNKNOWN (sent, and no answer in time): to be sure, submit it again with
 *         `again` set to the id.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_submit(dtq_client *client, const dtq_task *task,
                                        int32_t timeout_ms, dtq_id *ret_id);

/**
 * Submit many tasks and wait until each is confirmed or refused. They travel in batches, several
 * at a time: about as fast as the network and the ventilator's disk allow.
 * @param tasks  n of them, all initialised by the same version of dtq_task_init()
 * @param ret_submitted  n entries, in the order of tasks; filled whatever is returned, except with
 *                       DTQ_EINVAL for a NULL argument. Texts are borrowed until the next call.
 * @return DTQ_OK if all were confirmed, else the error of the first that was not.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_submit_many(dtq_client *client, const dtq_task *tasks, size_t n,
                                             int32_t timeout_ms, dtq_submitted *ret_submitted);

/**
 * Queue one task and return; its confirmation comes as an event of type DTQ_EVENT_SUBMITTED, one
 * for each call that returned DTQ_OK, which dtq_next_event() hands out.
 *
 * The first task is sent at once; while confirmations are under way further ones form batches,
 * which are sent when they are full (512 tasks or 256 KiB) or inside dtq_next_event(), dtq_flush()
 * or dtq_client_process(). A program that goes away to do something else calls one of these first.
 * @param timeout_ms  longest wait for room among the unconfirmed tasks; it does not limit how long
 *                    the confirmation may take, which is 30 minutes
 * @param ret_id  set on DTQ_OK only; may be NULL
 * @return DTQ_OK: queued. DTQ_EAGAIN: unconfirmed_max or unconfirmed_bytes_max was reached and no
 *         room came within timeout_ms. DTQ_EBUSY: open_max is reached; take events and results.
 *         DTQ_EINVAL, DTQ_ETOOBIG, DTQ_ENOMEM, DTQ_EVERSION, DTQ_EREFUSED (the cluster does not
 *         want this client). After an error nothing was queued.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_submit_async(dtq_client *client, const dtq_task *task,
                                              int32_t timeout_ms, dtq_id *ret_id);

/**
 * Send everything that is queued and wait until all of it is confirmed or refused. The events stay
 * to be read.
 * @return DTQ_OK: nothing is unconfirmed any more (some may have been refused: see their events).
 *         DTQ_ETIMEOUT, DTQ_EUNREACHABLE, or DTQ_EBUSY and DTQ_ENOSPC (the ventilator refuses some
 *         for now, and dtq_client_errmsg() has its reason): the time is up; the client goes on in
 *         later calls.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_flush(dtq_client *client, int32_t timeout_ms);

/* ---------------------------------------------------------------------------------- results */

/** What became of one task. Pointers are borrowed until the next call with this client. */
typedef struct dtq_result {
    dtq_id id;
    dtq_state state;    /**< DTQ_SUCCEEDED, DTQ_FAILED, DTQ_EXPIRED, DTQ_CANCELLED; from dtq_look()
                           any state; DTQ_NOT_FOUND: nobody knows it */
    dtq_reason reason;  /**< of a failure */
    int32_t code;       /**< of a failure: exit status, or the number of the signal */
    uint32_t attempt;   /**< the attempt that made this outcome, from 1 */
    const void *body;   /**< the result, or the text of a failure; a NUL follows it; never NULL */
    size_t body_bytes;  /**< without that NUL; 0 also when the sink's time to keep it is over */
    const char *worker; /**< name of the worker that ran it; "" if none did */
    const char *name;   /**< of the task; "" if not known */
    const char *queue;  /**< of the task; "" if not known */
    uint64_t started_wall_ms;   /**< when that attempt started, ms since 1970 UTC; 0: it did not */
    uint64_t duration_us;       /**< how long it ran, microseconds */
    uint64_t committed_wall_ms; /**< when the sink recorded the outcome */
    uint64_t tag;               /**< of the dtq_task, if this client submitted it; else 0 */
    size_t index; /**< dtq_wait_some(), dtq_wait_all(), dtq_look(): which of `ids` this is */
} dtq_result;

/**
 * Wait for the outcome of one task: of this client or of anybody.
 * @param ret_result  set on DTQ_OK, also when the task failed: see its state
 * @return DTQ_OK, DTQ_ENOTFOUND (neither the ventilator nor the sinks know the id: it was never
 *         accepted, or its outcome was forgotten), DTQ_ETIMEOUT (not finished yet),
 *         DTQ_EUNREACHABLE (not finished as far as is known, and somebody who may know cannot be
 *         reached), DTQ_EINVAL, DTQ_ENOMEM, DTQ_EVERSION, DTQ_EREFUSED
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_wait_one(dtq_client *client, const dtq_id *id, int32_t timeout_ms,
                                          dtq_result *ret_result);

/**
 * Wait until at least one of several tasks is finished, and get all of them that are. Drop these
 * from `ids` before the next call, or they are reported again. For thousands of tasks
 * dtq_next_result() is the cheaper way, since each call here looks at all n.
 * @param ids  n of them
 * @param ret_results  room for n; the first *ret_n are set; `index` says which each one is. An
 *                     unknown id counts as finished, with state DTQ_NOT_FOUND.
 * @return DTQ_OK (*ret_n is 1 or more), and errors as dtq_wait_one(), with *ret_n 0
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_wait_some(dtq_client *client, const dtq_id *ids, size_t n,
                                           int32_t timeout_ms, dtq_result *ret_results,
                                           size_t *ret_n);

/**
 * Wait until all of several tasks are finished. All n results are held in memory at once.
 * @param ids  n of them
 * @param ret_results  n of them, in the order of ids; set on DTQ_OK only. An unknown id has state
 *                     DTQ_NOT_FOUND.
 * @return DTQ_OK, and errors as dtq_wait_one(); results that did arrive are not lost by an error
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_wait_all(dtq_client *client, const dtq_id *ids, size_t n,
                                          int32_t timeout_ms, dtq_result *ret_results);

/**
 * How several tasks are doing now; does not wait for them to finish.
 * @param ids  n of them
 * @param ret_results  n of them, in the order of ids: an outcome with its body, or an open state
 *                     (id, state, attempt, worker, name and queue are set), or DTQ_NOT_FOUND
 * @return DTQ_OK; DTQ_ETIMEOUT, DTQ_EUNREACHABLE (somebody who may know did not answer);
 * DTQ_EINVAL, DTQ_ENOMEM, DTQ_EVERSION, DTQ_EREFUSED
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_look(dtq_client *client, const dtq_id *ids, size_t n,
                                      int32_t timeout_ms, dtq_result *ret_results);

/**
 * The next result that came by itself (see dtq_follow and dtq_watch()), in the order of arrival.
 * Each is handed out once, here or by a dtq_wait_*() for its id. Events of other types stay.
 * @return DTQ_OK; DTQ_EAGAIN (none is here and timeout_ms is 0); DTQ_ETIMEOUT; DTQ_ENOTFOUND (no
 *         result will come: nothing is followed, or every result was taken);
 *         DTQ_EUNREACHABLE, DTQ_ENOMEM, DTQ_EVERSION, DTQ_EREFUSED
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_next_result(dtq_client *client, int32_t timeout_ms,
                                             dtq_result *ret_result);

/**
 * From now on the results of these tasks, of whoever submitted them, come to dtq_next_result() and
 * dtq_next_event(), each once; at once if they are there already. An id that nobody knows comes
 * with state DTQ_NOT_FOUND. Does not wait.
 * @return DTQ_OK, DTQ_EBUSY (open_max is reached), DTQ_ENOMEM, DTQ_EINVAL; after an error none of
 *         them is watched that was not before
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_watch(dtq_client *client, const dtq_id *ids, size_t n);

/* --------------------------------------------------------------------------- with event loops */

typedef enum dtq_event_type {
    DTQ_EVENT_SUBMITTED = 1, /**< what became of one dtq_submit_async() */
    DTQ_EVENT_RESULT = 2     /**< a result that came by itself */
} dtq_event_type;

/** One event; pointers in it are borrowed until the next call with this client. */
typedef struct dtq_event {
    dtq_event_type type;
    dtq_submitted submitted; /**< of DTQ_EVENT_SUBMITTED */
    dtq_result result;       /**< of DTQ_EVENT_RESULT */
} dtq_event;

/**
 * The next event. A task's DTQ_EVENT_SUBMITTED comes before its DTQ_EVENT_RESULT.
 * @return as dtq_next_result()
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_next_event(dtq_client *client, int32_t timeout_ms,
                                            dtq_event *ret_event);

/**
 * A file descriptor that is readable when the client has something to do: then call
 * dtq_client_process(), and dtq_next_event() with time-out 0 until it returns DTQ_EAGAIN or
 * DTQ_ENOTFOUND. Poll it for reading (it is an epoll descriptor) and do nothing else with it; it is
 * closed with the client. Timers are behind it too: nothing needs to be called otherwise.
 * @return the descriptor, or -1 (no descriptors left: see dtq_client_errmsg())
 */
DTQ_API int dtq_client_fd(dtq_client *client);

/**
 * Send what is queued, take in what arrived, fire what is due; never waits.
 * @return DTQ_OK: an event is there for dtq_next_event(). DTQ_EAGAIN: none is. DTQ_ENOMEM,
 *         DTQ_EVERSION, DTQ_EREFUSED
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_client_process(dtq_client *client);

/* ------------------------------------------------------------------------------- cancelling */

/** What cancelling one task met. */
typedef struct dtq_cancelled {
    dtq_id id;
    dtq_state state; /**< what the task was doing; an outcome: too late; DTQ_NOT_FOUND */
    int cancelling;  /**< not 0: it will not start any more, or is being stopped. The outcome, which
                        may still be a success that came first, is what dtq_wait_one() gets. */
    int dead;        /**< not 0: it had failed and was a dead letter; that is forgotten, so that it
                        cannot be requeued */
} dtq_cancelled;

/**
 * Ask for tasks to be cancelled. Waits for the answer of the ventilator, and for what the sinks say
 * about those that it does not know any more; not for the outcome. A task that is cancelled already
 * is reported so, again. Of a task that failed for good the dead letter is forgotten.
 * @param ret_cancelled  n entries, in the order of ids
 * @return DTQ_OK; DTQ_ETIMEOUT, DTQ_EUNREACHABLE (some may be cancelled all the same; ask again);
 *         DTQ_EINVAL, DTQ_ENOMEM, DTQ_EVERSION, DTQ_EREFUSED
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_cancel(dtq_client *client, const dtq_id *ids, size_t n,
                                        int32_t timeout_ms, dtq_cancelled *ret_cancelled);

/**
 * Ask for all open tasks of a queue to be cancelled: what waits never starts, what runs is stopped.
 * Returns when that is on the ventilator's disk; outcomes come in time. Tasks that are submitted
 * later are not meant.
 * @param queue  its name
 * @param ret_n  so many tasks
 * @return as dtq_cancel(); DTQ_EREFUSED: there is no such queue
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_cancel_queue(dtq_client *client, const char *queue,
                                              int32_t timeout_ms, uint64_t *ret_n);

#ifdef __cplusplus
}
#endif
#endif
