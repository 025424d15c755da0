/**
 * @file dtq/admin.h
 * Look into a cluster: open tasks, outcomes, queues, workers, sinks, counters; and operate its
 * queues. These calls ask the ventilator or the sinks and wait for the answer. Lists and all they
 * point to are borrowed until the next call with the same client. Threads and time-outs: see
 * dtq/client.h.
 *
 * Each returns DTQ_OK; DTQ_ETIMEOUT (no answer in time); DTQ_EUNREACHABLE (no connection);
 * DTQ_EREFUSED, DTQ_EBUSY (with the reason in dtq_client_errmsg()); DTQ_EINVAL, DTQ_ENOMEM or
 * DTQ_EVERSION. Outputs are set on DTQ_OK only.
 */
#ifndef DTQ_ADMIN_H
#define DTQ_ADMIN_H

#include "client.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One attempt of a task that did not succeed. It ended at started_wall_ms + duration_us / 1000. */
typedef struct dtq_attempt_info {
    uint32_t attempt;
    const char *worker;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    dtq_reason reason;
    int32_t code;
    const char *text;
} dtq_attempt_info;

/** An open task, as the ventilator sees it. */
typedef struct dtq_task_info {
    dtq_id id;
    dtq_state state; /**< DTQ_SCHEDULED, DTQ_READY, DTQ_DISPATCHED or DTQ_RUNNING */
    const char *name;
    const char *queue;
    uint32_t priority;
    uint32_t retries;
    uint64_t time_limit_ms;
    uint64_t expires_ms;
    uint64_t payload_bytes;
    uint32_t attempt;     /**< the last one that was started; 0: none */
    uint32_t failures;    /**< attempts that failed */
    uint32_t crashes;     /**< slots that died under it */
    const char *worker;   /**< who holds it; "": nobody */
    uint64_t due_wall_ms; /**< of a scheduled one; else 0 */
    const char *why;      /**< why it does not run, for people; may be "" */
    const dtq_attempt_info *attempts;
    size_t attempts_n;
    int cancelling;  /**< not 0: it is being cancelled */
    int durable;     /**< not 0: it is in the journal */
    uint64_t before; /**< dtq_explain() only: tasks of its queue (dispatched: of its worker) that
                        come first .. */
    int before_is_least;         /**< .. not 0: so many at least */
    const dtq_id *requeued_from; /**< the dead letter that it repeats; NULL: none */
    const char
        *moved_from;   /**< the queue that it was submitted to, if it was moved since; else "" */
    const char *cron;  /**< the cron entry that it is a run of; "": none */
    const char *group; /**< "": none */
    int group_ordered; /**< not 0: its group runs one at a time, in order */
} dtq_task_info;

/** What to list; zero everything for all of it. */
typedef struct dtq_filter {
    dtq_state state;      /**< DTQ_NOT_FOUND (0): any */
    const char *queue;    /**< NULL: any */
    const char *name;     /**< of tasks, dtq_outcomes() only; NULL: any */
    dtq_id prefix;        /**< ids that begin with these bits .. */
    uint32_t prefix_bits; /**< .. so many, 0..128 */
    uint32_t limit;       /**< entries of one page, at most; 0: 1000 */
    int bodies;           /**< dtq_outcomes() only: with the results' bodies */
    int newest_first;     /**< dtq_outcomes() only: else the oldest id first */
} dtq_filter;

/** Where a list goes on. Zero it before the first page; 64 bytes of the library's own. */
typedef struct dtq_cursor {
    uint64_t opaque[8];
} dtq_cursor;

/** A page of open tasks. */
typedef struct dtq_task_list {
    const dtq_task_info *tasks;
    size_t n;
    int more; /**< not 0: call again with the same cursor */
} dtq_task_list;

/** Open tasks, oldest id first. */
DTQ_API DTQ_MUST_USE dtq_err dtq_tasks(dtq_client *client, const dtq_filter *filter,
                                       dtq_cursor *cursor, int32_t timeout_ms,
                                       dtq_task_list *ret_list);

/**
 * One open task, with its attempts.
 * @return also DTQ_ENOTFOUND: the ventilator does not have it; the sink may (see dtq_look())
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_show(dtq_client *client, const dtq_id *id, int32_t timeout_ms,
                                      dtq_task_info *ret_task);

/**
 * As dtq_show(), with the tasks that come first: `why` says why the task does not run, `before` and
 * `before_is_least` how many of its queue are dispatched before it, as things are. Costs the
 * ventilator more than dtq_show(): for people, not for loops.
 * @return as dtq_show()
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_explain(dtq_client *client, const dtq_id *id, int32_t timeout_ms,
                                         dtq_task_info *ret_task);

/** Attempts of one task. */
typedef struct dtq_attempt_list {
    const dtq_attempt_info *attempts; /**< the oldest first */
    size_t n;
} dtq_attempt_list;

/**
 * The attempts of a task that did not succeed, as many as are kept, whether it is open, a dead
 * letter or has ended otherwise. The ventilator keeps those of a task that has ended for a day
 * unless it was told otherwise, or until 100,000 more have ended. None is no error.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_attempts(dtq_client *client, const dtq_id *id, int32_t timeout_ms,
                                          dtq_attempt_list *ret_list);

/**
 * The id that begins with these bits, among open tasks, outcomes and dead letters.
 * @param prefix_bits  1..128
 * @return also DTQ_ENOTFOUND (none does), DTQ_ECONFLICT (several do)
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_resolve(dtq_client *client, const dtq_id *prefix,
                                         uint32_t prefix_bits, int32_t timeout_ms, dtq_id *ret_id);

/** A page of outcomes. */
typedef struct dtq_outcome_list {
    const dtq_result *results;
    size_t n;
    int more;         /**< not 0: call again with the same cursor */
    uint64_t held;    /**< outcomes in the store of the sink that answered */
    uint64_t refused; /**< proposals it refused because another outcome came first */
} dtq_outcome_list;

/** Outcomes that the sinks hold, in order of ids within each sink, one sink after the other. A page
 * may have fewer entries than its limit, or none, and still more may follow. */
DTQ_API DTQ_MUST_USE dtq_err dtq_outcomes(dtq_client *client, const dtq_filter *filter,
                                          dtq_cursor *cursor, int32_t timeout_ms,
                                          dtq_outcome_list *ret_list);

typedef struct dtq_queue_info {
    const char *name;
    uint64_t ready;
    uint64_t scheduled;
    uint64_t dispatched; /**< held by workers, waiting there or running; or done, their outcome on
                            its way to the sink */
    uint64_t bytes;
    int paused;
    uint32_t workers;              /**< that serve it */
    uint64_t oldest_wall_ms;       /**< when the oldest ready task was submitted; 0: none */
    uint64_t limit;                /**< dtq_queue_limit(); 0: none */
    uint64_t rate;                 /**< dtq_queue_rate(): so many tasks .. */
    uint64_t rate_period_ms;       /**< .. in so much time; 0: any number */
    uint32_t groups;               /**< that have tasks, which are counted above, too */
    uint64_t group_limit;          /**< dtq_queue_group_limit(); 0: none */
    uint64_t group_rate;           /**< dtq_queue_group_rate(): so many tasks of each group .. */
    uint64_t group_rate_period_ms; /**< .. in so much time; 0: any number */
    uint64_t ageing_ms;            /**< dtq_queue_ageing(); 0: none */
    uint64_t ending; /**< cancelled, expired or failed for good: a sink is to record that */
} dtq_queue_info;

typedef struct dtq_worker_info {
    const char *name;
    const char *program;       /**< name and version */
    const char *const *queues; /**< it serves; none: all */
    size_t queues_n;
    uint8_t instance[16];
    uint64_t session;
    uint32_t slots;
    uint32_t held;    /**< tasks it holds */
    uint32_t running; /**< of these */
    uint64_t credit;  /**< tasks that may be sent to it now */
    uint64_t done;
    uint64_t failed;
    uint64_t silent_ms; /**< since it was last heard of */
} dtq_worker_info;

typedef struct dtq_sink_info {
    uint8_t store[16];
    const char *intake;
    const char *results;
    int reachable;    /**< from the ventilator, and tasks are dispatched for it */
    int diverged;     /**< its store is an older copy of what it was; see dtq_sink_accept() */
    int full;         /**< it takes no more outcomes */
    uint64_t applied; /**< number of the last settlement of its that the ventilator applied */
    uint64_t waiting; /**< dtq_sinks() only: its tasks that wait for a worker or their time .. */
    int waiting_is_least; /**< .. or so many at least: more wait in the journal */
    uint64_t dispatched;  /**< dtq_sinks() only: its tasks that workers hold .. */
    uint64_t unsettled;   /**< .. and those whose outcome it is to record */
    int removed; /**< dtq_sinks() only: it is no more, and its tasks wait for another one to
                    register */
} dtq_sink_info;

typedef struct dtq_counter {
    const char *name;
    uint64_t value;
} dtq_counter;

/** The cluster at a glance. */
typedef struct dtq_status {
    const dtq_queue_info *queues;
    size_t queues_n;
    const dtq_worker_info *workers;
    size_t workers_n;
    const dtq_sink_info *sinks;
    size_t sinks_n;
    const dtq_counter *counters; /**< of the ventilator, since its start; named in its manual */
    size_t counters_n;
} dtq_status;

/** What the ventilator says of itself, its sinks, and as far as it lists them of queues and
 * workers.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_status_get(dtq_client *client, int32_t timeout_ms,
                                            dtq_status *ret_status);

/** All queues. */
DTQ_API DTQ_MUST_USE dtq_err dtq_queues(dtq_client *client, int32_t timeout_ms,
                                        const dtq_queue_info **ret_queues, size_t *ret_n);

/** All workers. */
DTQ_API DTQ_MUST_USE dtq_err dtq_workers(dtq_client *client, int32_t timeout_ms,
                                         const dtq_worker_info **ret_workers, size_t *ret_n);

/** All sinks, with what waits for them. Costs the ventilator more than dtq_status_get(), which has
 * the sinks without that. */
DTQ_API DTQ_MUST_USE dtq_err dtq_sinks(dtq_client *client, int32_t timeout_ms,
                                       const dtq_sink_info **ret_sinks, size_t *ret_n);

/* --------------------------------------------------------------------------------- operating */

/*
 * These change a queue for the whole cluster. A change holds from the moment the ventilator hears
 * of it, and the call returns when it is on the ventilator's disk: it survives any crash from then
 * on. After DTQ_ETIMEOUT or DTQ_EUNREACHABLE it may have been made all the same; asking again does
 * no harm. A queue that is not known yet is made by the first order that sets something.
 */

/**
 * Let no more tasks of a queue start. Submitting goes on; what runs goes on; what a worker holds
 * and has not started is asked back. A queue that is paused already stays so.
 * @param queue  its name
 * @return as all calls here, and DTQ_EREFUSED for what is not the name of a queue
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_pause(dtq_client *client, const char *queue,
                                             int32_t timeout_ms);

/**
 * Let the tasks of a queue start again. A queue that is not paused stays so.
 * @return as dtq_queue_pause(); DTQ_EREFUSED: there is no such queue
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_resume(dtq_client *client, const char *queue,
                                              int32_t timeout_ms);

/**
 * Cancel everything that waits in a queue: ready or not due yet. What a worker holds goes on, and
 * is retried if it fails. dtq_cancel_queue() takes that too.
 * @param ret_n  so many; their outcomes, DTQ_CANCELLED, come in time. A call that was repeated
 *               because its answer was lost says how many are left.
 * @return as dtq_queue_pause(); DTQ_EREFUSED: there is no such queue
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_purge(dtq_client *client, const char *queue,
                                             int32_t timeout_ms, uint64_t *ret_n);

/**
 * Move what waits in a queue (ready, not due yet, or in backoff) to another one, a page at a time.
 * Each task keeps its id, priority, place in the order, attempts and idempotency key; what a worker
 * holds stays. Returns when the page is on the ventilator's disk. A task is in one of the two
 * queues whatever happens, and whoever begins anew goes on where he was.
 * @param to      made if it is not there
 * @param cursor  where to go on; zero it before the first page
 * @param ret_n   so many tasks were moved by this call
 * @param ret_more  not 0: call again with the same cursor
 * @return as dtq_queue_pause(); DTQ_EREFUSED: there is no queue `from`; DTQ_EBUSY: one of the two
 *         is being purged, another one is being moved, or the ventilator has just started
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_move_page(dtq_client *client, const char *from,
                                                 const char *to, dtq_cursor *cursor,
                                                 int32_t timeout_ms, uint64_t *ret_n,
                                                 int *ret_more);

/**
 * Bound how many tasks of a queue workers hold at a time, in the whole cluster.
 * @param limit  0: no bound any more. If more are held now, they are finished first.
 * @return as dtq_queue_pause()
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_limit(dtq_client *client, const char *queue, uint64_t limit,
                                             int32_t timeout_ms);

/**
 * Bound how many tasks of a queue are given to workers in a time, in the whole cluster. They go out
 * evenly: with 10 in 60,000 ms, one each 6 s. An attempt that is repeated counts again.
 * @param tasks      so many ..; 0: no bound any more
 * @param period_ms  .. in so much time, at least a millisecond for each thousand tasks
 * @return as dtq_queue_pause(); DTQ_EREFUSED for a rate that is out of bounds
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_rate(dtq_client *client, const char *queue, uint64_t tasks,
                                            uint64_t period_ms, int32_t timeout_ms);

/**
 * The same bounds for each group of a queue (see `group` of dtq_task): so many tasks of one group,
 * whatever the others do. They hold beside those of the queue. Tasks without a group are not bound.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_group_limit(dtq_client *client, const char *queue,
                                                   uint64_t limit, int32_t timeout_ms);
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_group_rate(dtq_client *client, const char *queue,
                                                  uint64_t tasks, uint64_t period_ms,
                                                  int32_t timeout_ms);

/**
 * Let the priorities of a queue's tasks rise while they wait, so that none waits for ever behind
 * others of a higher one: for each `step_ms` that a task has been ready it counts as one priority
 * higher, up to 9. Between tasks that count the same the one that was submitted first comes first.
 * @param step_ms  0: priorities are what they are
 * @return as dtq_queue_pause(); DTQ_EREFUSED for a step of more than a hundred years
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_queue_ageing(dtq_client *client, const char *queue,
                                              uint64_t step_ms, int32_t timeout_ms);

/**
 * Go on with a sink whose store is an older copy of what it was (`diverged`): the ventilator
 * dispatches for it again, and takes its present history for the true one. What the lost part held
 * is lost: outcomes that the ventilator had heard of cannot be asked for any more. Tasks whose
 * outcome it had not heard of are settled anew, and may run again.
 * @param store   identity of the sink, as dtq_sinks() has it
 * @param ret_n   1: it was accepted; 0: there was nothing to accept
 * @return as dtq_queue_pause(); DTQ_EREFUSED: there is no such sink
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_sink_accept(dtq_client *client, const uint8_t store[16],
                                             int32_t timeout_ms, uint64_t *ret_n);

/**
 * Remove a sink that is gone for good, or was none of yours, for ever: the ventilator takes nothing
 * from it any more, and what it was to have is its successor's: tasks that wait, tasks that run,
 * new ones. Outcomes that it had recorded are lost with it: those that the ventilator had heard of
 * cannot be asked for any more; tasks of which it had not heard get one again, and may run again.
 * Whoever waits for an outcome that is lost gets DTQ_NOT_FOUND.
 * @param store      identity of the sink, as dtq_sinks() has it
 * @param successor  of another sink; NULL: the ventilator chooses one. When there is no other, the
 *                   tasks wait for the next one that registers
 * @param force      not 0: even if the sink is connected
 * @param ret_n      1: it was removed; 0: it had been removed before
 * @return as dtq_queue_pause(); DTQ_EREFUSED: there is no such sink or successor, it is connected,
 * or it was removed before with another successor
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_sink_remove(dtq_client *client, const uint8_t store[16],
                                             const uint8_t *successor, int force,
                                             int32_t timeout_ms, uint64_t *ret_n);

#ifdef __cplusplus
}
#endif
#endif
