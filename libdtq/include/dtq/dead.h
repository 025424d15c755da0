/**
 * @file dtq/dead.h
 * Dead letters: tasks that failed for good. Who has seen the outcome "failed" and asks, finds the
 * dead letter. The ventilator keeps each with its payload and its attempts until it is requeued or
 * purged, or grows old (30 days unless the ventilator was told otherwise), or 100,000 younger ones
 * have come. The outcome "failed" at the sink stands whatever becomes of the dead letter.
 *
 * Lists and all they point to are borrowed until the next call with the same client. Threads and
 * time-outs: see dtq/client.h. Errors: as in dtq/admin.h.
 */
#ifndef DTQ_DEAD_H
#define DTQ_DEAD_H

#include "admin.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One dead letter. */
typedef struct dtq_dead_letter {
    dtq_task_info task;    /**< what it was; its state is DTQ_FAILED, its `attempts` are there if
                              bodies were asked for */
    uint64_t dead_wall_ms; /**< when its failure was settled, ms since 1970 UTC */
    dtq_reason reason;     /**< of the last failure */
    int32_t code;          /**< exit status, or the number of the signal */
    const char *error;     /**< what the last attempt said */
    const void *payload;   /**< if bodies were asked for; else NULL. A NUL follows it */
    size_t payload_bytes;  /**< without that NUL; 0 with payload NULL, see task.payload_bytes */
} dtq_dead_letter;

/** A page of dead letters. */
typedef struct dtq_dead_list {
    const dtq_dead_letter *letters;
    size_t n;
    int more; /**< not 0: call again with the same cursor */
} dtq_dead_list;

/**
 * Dead letters, oldest id first.
 * @param filter  `queue`, `prefix`, `limit` and `bodies` count; NULL: all. With `bodies` a page has
 *                64 entries at most.
 * @param cursor  where to go on; NULL: from the start
 * @param ret_list  a page; it may have fewer entries than its limit, or none, and still more may
 *                  follow
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_dead_letters(dtq_client *client, const dtq_filter *filter,
                                              dtq_cursor *cursor, int32_t timeout_ms,
                                              dtq_dead_list *ret_list);

/**
 * Let dead letters run again: each under a new id, which names the old one, with its attempts
 * counted afresh. Returns when the new tasks are durable; a dead letter is gone in the same
 * instant.
 * @param ids  n of them
 * @param ret_new_ids  n of them, in the order of ids; all zero where there is no dead letter of
 *                     that id
 * @return also DTQ_EBUSY: the ventilator has no room for more tasks, or is working on dead letters
 *         already. After an error some may have been requeued: these are no dead letters any more.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_dead_requeue(dtq_client *client, const dtq_id *ids, size_t n,
                                              int32_t timeout_ms, dtq_id *ret_new_ids);

/** What became of a page of dead letters. */
typedef struct dtq_requeued_list {
    const dtq_id *old_ids;
    const dtq_id *new_ids;
    size_t n;
    int more; /**< not 0: call again with the same cursor */
} dtq_requeued_list;

/**
 * Let all dead letters run again, a page at a time: call until `more` is 0. What fails once more
 * meanwhile is left alone.
 * @param queue  of these only; NULL: of any queue
 * @param cursor  zero it before the first page
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_dead_requeue_page(dtq_client *client, const char *queue,
                                                   dtq_cursor *cursor, int32_t timeout_ms,
                                                   dtq_requeued_list *ret_list);

/**
 * Forget dead letters, with payloads and attempts.
 * @param ids  n of them
 * @param ret_n  how many there were; may be NULL
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_dead_purge(dtq_client *client, const dtq_id *ids, size_t n,
                                            int32_t timeout_ms, uint64_t *ret_n);

/**
 * Forget all dead letters.
 * @param queue  of these only; NULL: of any queue
 * @param before_wall_ms  only those that were submitted before this time; 0: all
 * @param ret_n  how many were forgotten, also after an error; may be NULL
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_dead_purge_all(dtq_client *client, const char *queue,
                                                uint64_t before_wall_ms, int32_t timeout_ms,
                                                uint64_t *ret_n);

#ifdef __cplusplus
}
#endif
#endif
