/*
 * The ventilator's core: it decides, a shell acts (vent_io, or the simulation). Events go in,
 * actions come out; time is inside the event, random numbers come from a generator seeded by the
 * configuration. No socket, clock, file, log, thread or global is used here.
 *
 * The shell drains its sockets with one vent_step() per message, then makes one VENT_EV_TICK step,
 * in which the core gives out what it batches (TASKS, FORGET, SUBMITTED, a journal batch, ..) and
 * runs its timers. A TICK is also due when vent_deadline_ms() is reached. After *every* step the
 * shell executes the actions in order and calls vent_actions_reset(): messages point into memory
 * that the next step may free.
 */
#ifndef DTQ_VENT_CORE_H
#define DTQ_VENT_CORE_H

#include "bounds.h"
#include "journal.h"
#include "msg.h"

struct vent;
struct cron; /* an expression that was read; not the core's to look into */

struct vent_cfg { /* vent_cfg_default() fills it from bounds.h */
    uint64_t seed;
    bool trace; /* a VENT_LOG at level trace for every change of a task's state */

    /* dtqi_spec_decode() of the codec, which the core does not link: each distinct spec is read
     * with it once, whether it came in a message or out of the journal. Must be set. */
    dtq_err (*spec_decode)(struct dtqi_slice raw, struct dtqi_buf *buf, struct dtqi_spec *ret_spec,
                           char *why, size_t why_bytes);
    /* dtqi_spec_encode() of the codec: for tasks that the ventilator makes. Must be set. */
    struct dtqi_slice (*spec_encode)(const struct dtqi_spec *spec, struct dtqi_buf *buf);

    /* cron_parse(), cron_next() and cron_free() of common/cron, which know time zones. NULL:
     * entries with expressions are refused, and those of the journal wait; intervals need none of
     * it. */
    struct vent_cron_calls {
        dtq_err (*parse)(struct dtqi_str text, struct dtqi_str zone, struct cron **ret_cron,
                         char *why, size_t why_bytes);
        bool (*next)(const struct cron *c, uint64_t after_wall_ms, uint64_t *ret_wall_ms);
        void (*free)(struct cron *c);
    } cron;

    uint64_t heartbeat_ms;
    uint32_t liveness;              /* silent intervals until a peer is dead (R13) */
    uint64_t grace_ms;              /* R33 (a): workers of the roster may be away for so long .. */
    uint64_t grace_begun_ms;        /* .. and for so long when their holdings have begun */
    uint64_t lane_stall_ms;         /* R18 */
    uint64_t settle_overdue_ms;     /* R30, R19, R24 */
    uint64_t settle_overdue_ms_max; /* RESEND's interval doubles up to this */
    uint64_t reroute_ms;            /* R30 */
    uint64_t dedupe_window_ms;      /* R6 */
    uint64_t clock_ahead_ms;        /* R6: an id may be from so far in the future */
    uint64_t outcome_fence_ms;      /* R14; told to workers */
    uint64_t outcome_slack_ms;      /* R31: a sink must remember dedupe + fence + this */
    uint64_t hold_ms_min;      /* a task is put into the journal when it is older than 3 x .. */
    uint64_t hold_ms_max;      /* .. the running settle time, within these bounds; */
    uint64_t hold_ms_start;    /* what holds before anything has settled */
    uint64_t journal_retry_ms; /* after a full disk, uncommitted tasks are tried again */

    uint32_t task_bytes_max;   /* payload */
    uint32_t result_bytes_max; /* told to workers */
    uint32_t crash_limit;      /* for tasks that do not say (R21) */
    uint32_t batch_entries_max;
    uint32_t batch_bytes_max;
    uint32_t journal_ops_max;   /* of one journal batch */
    uint32_t settle_window;     /* R28; half of it applied: the journal is written to, and it is
                                   acknowledged */
    uint64_t backlog_bytes_max; /* specs and payloads accepted and not settled; then BUSY */
    uint64_t backlog_tasks_max; /* .. and tasks; 0: any number */
    uint64_t queue_bytes_max;   /* the same of each queue; 0: no bound */
    uint64_t queue_tasks_max;
    uint64_t resident_bytes_max; /* of tasks in memory, records included: ready ones may take half
                                    of it (R41); at all of it new ones are refused */
    uint32_t resident_tasks_max; /* records of tasks in memory, < 4,194,304; ready, delayed and
                                    held ones may take a quarter */
    uint32_t load_tasks;         /* one JOURNAL_LOAD asks for so many */
    uint32_t load_bytes;         /* .. and so many bytes */
    uint32_t queues_max;
    uint32_t
        groups_max; /* that have tasks, of all queues; an eighth of resident_tasks_max at most */
    uint32_t producers_max;
    uint32_t workers_max;
    uint32_t proposals_max;
    uint32_t submits_max;    /* SUBMITs that wait for their confirmation */
    uint32_t claims_max;     /* resent SUBMITs that the journal or their sink is asked about */
    uint32_t queries_max;    /* queries that wait for the journal */
    uint64_t keys_max;       /* idempotency keys that are remembered */
    uint32_t crons_max;      /* cron entries .. */
    uint64_t cron_bytes_max; /* .. and their specs and payloads */
    uint64_t dead_ttl_ms;    /* dead letters are forgotten so long after they failed; 0: never */
    uint64_t
        history_ttl_ms; /* attempts that failed are kept so long after the end; 0: not at all */
};

void vent_cfg_default(struct vent_cfg *cfg);

enum vent_event_type {
    VENT_EV_TICK,              /* the input is drained, or a deadline is reached */
    VENT_EV_MSG,               /* msg from route, on the control socket */
    VENT_EV_ROUTE_GONE,        /* a send to route failed, or its connection is known to be gone */
    VENT_EV_LANE_OPENED,       /* answer to VENT_LANE_OPEN: session, endpoint */
    VENT_EV_LANE_FAILED,       /* answer to VENT_LANE_OPEN: no port or socket was to be had */
    VENT_EV_LANE_BROKEN,       /* session: a send was refused, or the connection ended */
    VENT_EV_SINK_BLOCKED,      /* sink: the last VENT_SINK_SEND was not sent; it comes again */
    VENT_EV_SINK_CONNECTED,    /* sink: the connection to its intake is there, or there again */
    VENT_EV_JOURNAL_WRITTEN,   /* batch: the very one of VENT_JOURNAL_WRITE, its answer filled in */
    VENT_EV_JOURNAL_READ_DONE, /* read: likewise */
    VENT_EV_STOP, /* warm stop: take nothing new, dispatch nothing, write everything down, then
                     VENT_STOPPED */
};

struct vent_event {
    enum vent_event_type type;
    uint64_t now_ms;       /* monotonic; never goes back */
    uint64_t wall_ms;      /* since the Unix epoch, by the steady clock: does not jump */
    uint64_t host_wall_ms; /* what the wall clock of the host says; may jump */
    union {
        struct {
            uint32_t route;
            const struct dtqi_msg *msg; /* borrowed during the step; the core takes references to
                                           msg->buf for bodies that it keeps */
        } msg;
        uint32_t route; /* ROUTE_GONE */
        uint32_t sink;  /* SINK_BLOCKED, SINK_CONNECTED */
        struct {        /* LANE_*; endpoint for LANE_OPENED only */
            uint64_t session;
            struct dtqi_str endpoint; /* copied */
        } lane;
        struct journal_batch *batch; /* the core's again */
        struct journal_read *read;   /* the core's again, with its answer */
    };
};

enum vent_action_type {
    VENT_SEND,         /* msg to route, on the control socket; cannot be sent: ROUTE_GONE */
    VENT_LANE_OPEN,    /* bind a fresh PUSH for session; answered by an event, in any later step */
    VENT_LANE_CLOSE,   /* session's lane, at once and without linger; no event follows */
    VENT_LANE_SEND,    /* msg (TASKS) on session's lane; not sent: LANE_BROKEN */
    VENT_SINK_CONNECT, /* a fresh PUSH to the intake `endpoint` of sink; replaces an older one */
    VENT_SINK_DISCONNECT, /* sink */
    VENT_SINK_SEND,       /* msg (OUTCOMES) to sink's intake; not sent: SINK_BLOCKED */
    VENT_JOURNAL_WRITE,   /* batch: the shell's until JOURNAL_WRITTEN. At most one is under way */
    VENT_JOURNAL_READ,    /* read: the shell's until JOURNAL_READ_DONE. Writes and reads are worked
                             off in the order they were given (R22) */
    VENT_LOG,
    VENT_FATAL,   /* log `text` and exit non-zero; further steps do nothing */
    VENT_STOPPED, /* everything is written down: exit */
};

enum vent_level { VENT_TRACE, VENT_DEBUG, VENT_INFO, VENT_WARN, VENT_ERROR };

#define VENT_LOG_PAIRS_MAX 6

struct vent_log {
    enum vent_level level;
    const char *event; /* static: "worker_joined" */
    uint32_t pairs_n;
    struct vent_log_pair {
        const char *key; /* static */
        struct dtqi_str value;
    } pairs[VENT_LOG_PAIRS_MAX];
};

struct vent_action {
    enum vent_action_type type;
    uint32_t route;   /* SEND */
    uint32_t sink;    /* SINK_*: index, 0..DTQI_SINKS_MAX - 1 */
    uint64_t session; /* LANE_* */
    union {
        struct dtqi_msg msg;
        struct dtqi_str endpoint; /* SINK_CONNECT */
        struct dtqi_str text;     /* FATAL */
        struct vent_log log;
        struct journal_batch *batch;
        struct journal_read *read;
    };
};

/* Zero-initialised by the shell; grows as needed, keeps its memory over resets. */
struct vent_actions {
    struct vent_action *at;
    uint32_t n;
    uint32_t room;
    struct dtqi_buf *scratch; /* columns and texts of the actions */
};

void vent_actions_reset(struct vent_actions *actions);
void vent_actions_done(struct vent_actions *actions);

/*
 * `start` is copied. The first actions (connecting known sinks, first loads) come with the first
 * step.
 * @return DTQ_OK, DTQ_EINVAL (a configuration that cannot work) or DTQ_ENOMEM.
 */
DTQ_MUST_USE dtq_err vent_new(const struct vent_cfg *cfg, const struct journal_start *start,
                              uint64_t now_ms, uint64_t wall_ms, struct vent **ret_vent);
/* Takes NULL. Batches and reads that the shell still has are freed too: end the journal thread
 * first. */
void vent_free(struct vent *v);

/* Handle one event. Never waits, never fails: what cannot be done is refused, or repaired later by
 * the protocol. */
void vent_step(struct vent *v, const struct vent_event *event, struct vent_actions *actions);

/* Monotonic time at which the next TICK is due at the latest; UINT64_MAX: not before a message. */
uint64_t vent_deadline_ms(const struct vent *v);

/* What was counted since the start; names as in QUERY_STATUS. */
#define VENT_COUNTERS(X)                                                  \
    X(tasks_submitted)                                                    \
    X(tasks_duplicate)                                                    \
    X(tasks_refused)                                                      \
    X(tasks_dispatched)                                                   \
    X(tasks_settled)                                                      \
    X(tasks_retried)                                                      \
    X(tasks_failed)                                                       \
    X(tasks_expired)                                                      \
    X(tasks_cancelled)                                                    \
    X(attempts_lost)                                                      \
    X(attempts_crashed)                                                   \
    X(attempts_returned)                                                  \
    X(attempts_adopted)                                                   \
    X(reports_stale)                                                      \
    X(reports_gap)                                                        \
    X(holdings_wanted)                                                    \
    X(settled_unknown)                                                    \
    X(settled_gap)                                                        \
    X(outcomes_overdue)                                                   \
    X(tasks_rerouted)                                                     \
    X(proposals_sent)                                                     \
    X(journal_batches)                                                    \
    X(journal_written)                                                    \
    X(journal_skipped)                                                    \
    X(journal_deleted)                                                    \
    X(journal_errors)                                                     \
    X(tasks_moved)                                                        \
    X(cron_fired)                                                         \
    X(cron_missed)                                                        \
    X(cron_skipped)                                                       \
    X(dead_requeued)                                                      \
    X(dead_purged)                                                        \
    X(dead_aged)                                                          \
    X(tasks_loaded)                                                       \
    X(tasks_evicted)                                                      \
    X(recalls)                                                            \
    X(workers_joined)                                                     \
    X(workers_lost)                                                       \
    X(lanes_stalled)                                                      \
    X(answers_withheld) /* the producer went away, or must ask again */   \
    X(messages_foreign) /* of an unknown session, or of the wrong role */ \
    X(messages_dropped) /* no memory, or a limit of the core's tables */

struct vent_counters {
#define VENT_COUNTER_FIELD(name) uint64_t name;
    VENT_COUNTERS(VENT_COUNTER_FIELD)
#undef VENT_COUNTER_FIELD
};

const struct vent_counters *vent_counters(const struct vent *v);

/* For tests and the simulation's invariants: what the core holds in memory now. */
struct vent_census {
    uint32_t tasks;      /* records, of every state */
    uint64_t task_bytes; /* specs and payloads that they keep alive, as counted against limits */
    uint32_t ready;
    uint32_t scheduled;
    uint32_t leased;
    uint32_t done; /* reported, not settled */
    uint32_t proposed;
    uint32_t held; /* recovered, not released (R33) */
    uint32_t workers;
    uint32_t submits;  /* that wait for their confirmation */
    bool journal_busy; /* a batch or a read is under way, or something waits for one */
};

void vent_census(const struct vent *v, struct vent_census *ret);
/* Of its `task_bytes` those of tasks that workers have, or have done and are not settled. Counted
 * anew. */
uint64_t vent_given_bytes(const struct vent *v);

/* Of an open task, for the same: it waits in the journal for its turn to come into memory, or is on
 * its way there (R41). */
bool vent_is_left_to_journal(const struct vent *v, const dtq_id *id);

/* Check every invariant of the core's structures, by assertion. Costs time in proportion to what is
 * held: for tests and the simulation. */
void vent_check(const struct vent *v);

#endif
