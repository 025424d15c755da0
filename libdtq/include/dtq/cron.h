/**
 * @file dtq/cron.h
 * Cron entries: the ventilator keeps each, durably, and makes a task of it at each of its times.
 * Each time becomes one task, whatever crashes; such a task is then like any other one.
 *
 * Lists and all they point to are borrowed until the next call with the same client. Threads and
 * time-outs: see dtq/client.h. Errors: as in dtq/admin.h; the calls return when what they change is
 * on the ventilator's disk.
 */
#ifndef DTQ_CRON_H
#define DTQ_CRON_H

#include "admin.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What becomes of times at which the entry could not fire: the ventilator was down, the entry was
 * paused, or the clock was set forward. */
typedef enum dtq_missed {
    DTQ_MISSED_ONCE, /**< one run makes up for all of them; the default */
    DTQ_MISSED_SKIP, /**< none does; up to ten seconds late is not missed */
    DTQ_MISSED_ALL   /**< each gets its run, the last `missed_max` of them */
} dtq_missed;

/** What fires, and when. dtq_cron_init() before anything is set. */
typedef struct dtq_cron {
    size_t size;      /**< set by dtq_cron_init() */
    const char *name; /**< 1..128 bytes of letters, digits and "_.:-" */
    /** Five fields (minute, hour, day of month, month, day of week), six with the second before
     * them, or @yearly, @monthly, @weekly, @daily, @hourly; NULL: an interval. */
    const char *expression;
    const char *zone;     /**< of the expression, as "Europe/Berlin"; NULL: UTC */
    uint64_t every_ms;    /**< an interval, from now on, of a second at least; 0: an expression */
    dtq_missed missed;    /**< see there */
    uint32_t missed_max;  /**< DTQ_MISSED_ALL: 1..1000; default 100 */
    int skip_overlap;     /**< not 0: no run while the task of the last one is open */
    int replace;          /**< not 0: an entry of this name is changed to this one */
    const dtq_task *task; /**< what is submitted each time: all but `tag`, `again`,
                             `not_before_wall_ms` and `key`, which must not be set. At most 64 KiB
                             of payload. `delay_ms` and `expires_ms` count from the entry's time */
} dtq_cron;

/** Defaults for everything. Name, task, and expression or interval are yours to set. */
DTQ_API void dtq_cron_init(dtq_cron *cron, const char *name, const dtq_task *task);

/**
 * Make an entry, or change one. Adding what is there already, word for word, does nothing. A
 * changed entry keeps its counters and stays paused if it was; its times count from now.
 * @return also DTQ_EREFUSED: what is wrong with it is in dtq_client_errmsg(), with the field of
 *         the expression and what is allowed; or there is another entry of that name, and
 *         `replace` is not set. DTQ_ETOOBIG, DTQ_EINVAL: the task cannot be one.
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_cron_add(dtq_client *client, const dtq_cron *cron,
                                          int32_t timeout_ms);

/** Forget an entry. Tasks that it made stay.
 * @return also DTQ_EREFUSED: there is none of that name */
DTQ_API DTQ_MUST_USE dtq_err dtq_cron_remove(dtq_client *client, const char *name,
                                             int32_t timeout_ms);

/** Let an entry fire no more until it is resumed. @return as dtq_cron_remove() */
DTQ_API DTQ_MUST_USE dtq_err dtq_cron_pause(dtq_client *client, const char *name,
                                            int32_t timeout_ms);

/** Let a paused entry fire again: first for what it missed, as `missed` says.
 * @return as dtq_cron_remove() */
DTQ_API DTQ_MUST_USE dtq_err dtq_cron_resume(dtq_client *client, const char *name,
                                             int32_t timeout_ms);

/**
 * Make a run now, also of a paused entry, and whether the last run is open or not. Its times stay
 * as they are.
 * @param ret_id  the task's id; may be NULL
 * @return as dtq_cron_remove(); DTQ_EREFUSED or DTQ_EBUSY also: the ventilator takes no task now
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_cron_run(dtq_client *client, const char *name, int32_t timeout_ms,
                                          dtq_id *ret_id);

/** An entry as the ventilator has it. Times are ms since 1970 UTC. */
typedef struct dtq_cron_info {
    const char *name;
    const char *expression; /**< "": it has an interval */
    const char *zone;       /**< "": UTC */
    uint64_t every_ms;
    dtq_missed missed;
    uint32_t missed_max;
    int skip_overlap;
    const dtq_task *task; /**< what it submits; its payload is NULL where it was not asked for */
    uint64_t payload_bytes;
    int paused;
    uint64_t next_wall_ms;  /**< 0: there is none */
    uint64_t due_wall_ms;   /**< the last run: when it was due; 0: there was none .. */
    uint64_t fired_wall_ms; /**< .. when its task was made .. */
    dtq_id last_id;         /**< .. and the task's id */
    uint64_t fired;         /**< so many runs */
    uint64_t missed_n;      /**< so many times, at least, that were missed */
    uint64_t skipped;       /**< so many times at which the last run was open */
    uint64_t created_wall_ms;
    const char *why; /**< why it does not fire, for people; "": it does */
} dtq_cron_info;

/** A page of entries. */
typedef struct dtq_cron_list {
    const dtq_cron_info *entries;
    size_t n;
    int more; /**< not 0: call again with the name of the last one as `after` */
} dtq_cron_list;

/**
 * Entries in the order of their names, 500 a page.
 * @param after  behind this name; NULL: from the start
 */
DTQ_API DTQ_MUST_USE dtq_err dtq_crons(dtq_client *client, const char *after, int32_t timeout_ms,
                                       dtq_cron_list *ret_list);

/** One entry, with its payload. @return also DTQ_ENOTFOUND: there is none of that name */
DTQ_API DTQ_MUST_USE dtq_err dtq_cron_show(dtq_client *client, const char *name, int32_t timeout_ms,
                                           dtq_cron_info *ret_entry);

#ifdef __cplusplus
}
#endif
#endif
