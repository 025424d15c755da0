/*
 * The worker's decisions: the session with the ventilator, what is held (waiting, in a slot, done,
 * failed), credit, the slots' bookkeeping, results kept until the ventilator lets them go. Event
 * in, actions out; it touches no socket, clock or process (R8-R24, R35, R40 in docs/PROTOCOL.md).
 *
 * The shell drains all its inputs, one worker_step() per input, then gives one WORKER_EV_TICK; it
 * carries out the actions after every step, in order, and resets the list. It sleeps until
 * worker_deadline_ms() or the next input.
 */
#ifndef DTQ_WORKER_CORE_H
#define DTQ_WORKER_CORE_H

#include "bounds.h"
#include "buf.h"
#include "msg.h"

#define WORKER_RING_TASKS_MAX 256u /* unended tasks in one slot's ring, never more */

/* The mean time that prefetched tasks should take, all slots working. */
#define WORKER_TARGET_US 4000u
#define WORKER_WINDOW_MAX 8192u
#define WORKER_MEMORY_BYTES (256ull * 1024 * 1024)

struct worker;

struct worker_cfg {
    dtqi_uid instance; /* random, new for every start of the process */
    uint64_t seed;     /* of the core's random numbers */
    struct dtqi_str name;
    struct dtqi_str program;       /* for people: "dtq-worker 0.1.0" */
    struct dtqi_str ventilator;    /* its endpoint, for the log */
    const struct dtqi_str *queues; /* none: every queue */
    uint32_t queues_n;
    const uint32_t *queue_weights; /* NULL: 1 for each */
    bool queues_strict;            /* in the order named, else by weights */
    uint32_t slots;                /* 1..DTQI_SLOTS_MAX */
    uint64_t result_bytes_max;     /* 0: DTQI_RESULT_BYTES_MAX */
    uint64_t memory_bytes_max;     /* of tasks and results; 0: worker_memory_default(); at least
                                      worker_memory_min() */
    uint64_t ring_bytes;    /* specs and payloads of unended tasks that one slot's ring is sure to
                               take, any mix; an empty ring takes any legal task. 0: 1 MiB */
    uint64_t time_limit_ms; /* of tasks that name none; 0: none */
    uint32_t tasks_per_child_max; /* 0: any number */
    uint64_t idle_timeout_ms;     /* leave after so long without a task; 0: never */
    bool burst;                   /* leave when the ventilator has nothing and nothing is held */
    uint64_t stop_kept_ms; /* warm stop: wait so long for kept results to be settled, after the
                              last task ended; 0: 10 s */
    uint32_t window_max;   /* tasks asked for in advance, at most; 0: WORKER_WINDOW_MAX */
    uint32_t target_us;    /* 0: WORKER_TARGET_US */
};

/* What so many slots need at least: a result in each, one task of any size, and something to keep
 * results in. */
uint64_t worker_memory_min(uint32_t slots, uint64_t result_bytes_max);
/* WORKER_MEMORY_BYTES, or more where the minimum is more than half of that. */
uint64_t worker_memory_default(uint32_t slots, uint64_t result_bytes_max);

/* ---------------------------------------------------------------- events */

enum worker_event_type {
    WORKER_EV_TICK, /* all inputs are drained, or the deadline has come */

    WORKER_EV_CONTROL_CONNECTED, /* the control connection is up (first time, or again); advisory */
    WORKER_EV_CONTROL_MSG,       /* .msg */
    WORKER_EV_LANE_MSG,          /* .msg */
    WORKER_EV_LANE_BROKEN,       /* .lane: it ended, or it could not be connected */

    WORKER_EV_SINK_CONNECTED, /* .sink.index: its connection is up; after SINK_OPEN nothing is sent
                                 before this came */
    WORKER_EV_SINK_LOST,      /* .sink.index: the connection ended */
    WORKER_EV_SINK_FULL,      /* .sink: the message `number` and all later ones were not sent */
    WORKER_EV_SINK_WRITABLE,  /* .sink.index: after SINK_FULL, a send may succeed again */

    WORKER_EV_SLOT_READY,    /* .slot.index: it has loaded its handlers and waits for tasks */
    WORKER_EV_SLOT_BROKEN,   /* .slot.index, .slot.text: it cannot start, and why; SLOT_EXITED
                                follows */
    WORKER_EV_SLOT_STARTED,  /* .slot.index, .slot.handle, .slot.started_ms: optional; makes time
                                limits exact */
    WORKER_EV_SLOT_ENDED,    /* .slot.index, .ended: tasks of this slot came to their end */
    WORKER_EV_SLOT_RETURNED, /* .slot.index, .slot.handles: the answer to SLOT_TAKE_BACK; what is
                                not in it has started */
    WORKER_EV_SLOT_FULL,     /* .slot.index, .slot.handles: these of a SLOT_FEED did not fit */
    WORKER_EV_SLOT_EXITED,   /* .slot: the process and its group are gone, everything it reported
                                was handed over before */

    WORKER_EV_STOP, /* .cold */
};

/* The end of one attempt. `reason` DTQ_REASON_NONE: success, and `body` is the result; else `body`
 * is the error text. */
struct worker_result {
    uint32_t handle;
    dtq_reason reason;
    int32_t code; /* exit status or signal */
    bool no_retry;
    struct dtqi_slice body; /* inside .ended.buf */
    uint64_t retry_after_ms;
    uint64_t started_wall_ms;
    uint64_t duration_us;
};

/*
 * Everything pointed to is borrowed during the step; the core takes a reference to msg->buf or
 * ended.buf when it keeps bytes of it. Indexes, handles and numbers from slots are checked: a wrong
 * one changes nothing but a counter.
 */
struct worker_event {
    enum worker_event_type type;
    uint64_t now_ms; /* monotonic; never goes back */
    uint64_t wall_ms;
    union {
        const struct dtqi_msg *msg;
        uint32_t lane;
        bool cold; /* false: warm */
        struct {
            uint32_t index;
            uint64_t number;
        } sink;
        struct {
            uint32_t index;
            uint32_t n;
            const struct worker_result *results;
            struct dtqi_buf *buf; /* holds the bodies; NULL: all are empty */
        } ended;
        struct {
            uint32_t index;
            uint32_t handle;
            uint64_t started_ms;     /* monotonic */
            const uint32_t *handles; /* RETURNED, FULL, EXITED: exactly what had not started, in the
                                        order of the ring */
            uint32_t handles_n;
            bool by_signal;       /* EXITED: `status` is the signal, else the exit status */
            int32_t status;       /* EXITED */
            struct dtqi_str text; /* BROKEN */
        } slot;
    };
};

/* ---------------------------------------------------------------- actions */

enum worker_action_type {
    WORKER_ACT_CONTROL_SEND, /* .msg; not sent when the socket would block: V notices the gap */
    WORKER_ACT_CONTROL_RECONNECT, /* close the control socket and make a new one */
    WORKER_ACT_LANE_OPEN,         /* .lane: a fresh PULL */
    WORKER_ACT_LANE_CLOSE,        /* close it; nothing of it is delivered any more */
    WORKER_ACT_SINK_OPEN,         /* .sink */
    WORKER_ACT_SINK_CLOSE,        /* .sink.index */
    WORKER_ACT_SINK_SEND,      /* .send; once one was not sent (SINK_FULL), later ones of the same
                                  sink and list must not be sent either */
    WORKER_ACT_SLOT_START,     /* .slot.index: start a process; SLOT_READY or SLOT_EXITED follows */
    WORKER_ACT_SLOT_FEED,      /* .feed: append to its ring, in this order */
    WORKER_ACT_SLOT_TAKE_BACK, /* .slot.index: SLOT_RETURNED follows, at once, or SLOT_EXITED */
    WORKER_ACT_SLOT_RETIRE,    /* .slot.index: it has nothing to do and may end by itself;
                                  SLOT_EXITED follows */
    WORKER_ACT_SLOT_KILL,      /* .slot: SIGKILL its process group; SLOT_EXITED follows */
    WORKER_ACT_LOG,            /* .log */
    WORKER_ACT_EXIT,           /* .exit: the last action; give what was sent a moment to leave */
};

enum worker_kill { WORKER_KILL_TIMEOUT, WORKER_KILL_STOP, WORKER_KILL_HUNG };

/* One task for a slot. Text and body stay valid until the action is carried out. */
struct worker_feed {
    uint32_t handle;
    uint32_t attempt;
    dtq_id id;
    struct dtqi_str name;
    struct dtqi_str queue;
    struct dtqi_slice body;
    uint64_t time_limit_ms; /* from its start; 0: none */
};

enum worker_log_level { WORKER_LOG_DEBUG, WORKER_LOG_INFO, WORKER_LOG_WARN, WORKER_LOG_ERROR };

struct worker_action {
    enum worker_action_type type;
    union {
        struct dtqi_msg msg;
        struct {
            uint32_t number; /* to name in LANE_BROKEN */
            struct dtqi_str endpoint;
        } lane;
        struct {
            uint32_t index; /* < DTQI_SINKS_MAX, from OPEN to CLOSE */
            struct dtqi_str endpoint;
        } sink;
        struct {
            uint32_t index;
            uint64_t number; /* to name in SINK_FULL; grows */
            struct dtqi_msg msg;
        } send;
        struct {
            uint32_t index; /* < cfg.slots */
            enum worker_kill why;
        } slot;
        struct {
            uint32_t index;
            uint32_t n;
            const struct worker_feed *tasks;
        } feed;
        struct {
            enum worker_log_level level;
            const char *event;    /* static: "session_open", .. */
            struct dtqi_str text; /* "key=value key=value", no newline */
        } log;
        struct {
            int status; /* 0: did what it was told; 1: cannot work */
            struct dtqi_str text;
        } exit;
    };
};

/* The shell owns it; zeroed is empty. Reset when the actions of a step are carried out, done at the
 * end. Text, columns and messages of the actions live in `scratch` or in buffers the core holds. */
struct worker_actions {
    struct worker_action *at;
    uint32_t n;
    uint32_t room;
    struct dtqi_buf *scratch;
};

void worker_actions_reset(struct worker_actions *a);
void worker_actions_done(struct worker_actions *a);

/* ---------------------------------------------------------------- the core */

/*
 * A worker with no session and no slot running; the first TICK starts the slots, and the first slot
 * that is ready lets it say HELLO. `cfg` is copied.
 * @return DTQ_OK, DTQ_EINVAL (slots, or memory below worker_memory_min()) or DTQ_ENOMEM.
 */
DTQ_MUST_USE dtq_err worker_new(const struct worker_cfg *cfg, struct worker **ret_worker);
/* Takes NULL. */
void worker_free(struct worker *w);

/* Take in one event; what is to be done is appended to `out`. */
void worker_step(struct worker *w, const struct worker_event *ev, struct worker_actions *out);

/* When the next TICK is due at the latest, on the clock of now_ms; UINT64_MAX: never. */
uint64_t worker_deadline_ms(const struct worker *w);

/*
 * Bytes of results that there is memory for now. The shell reads no more results out of the slots'
 * rings while this is 0 (a slot waits with its result, R16) and looks again after each step.
 */
uint64_t worker_result_room_bytes(const struct worker *w);

/* Since the start; for logs, tests and the simulation. */
struct worker_stats {
    uint64_t tasks_received;
    uint64_t tasks_done;
    uint64_t tasks_failed;
    uint64_t tasks_returned;
    uint64_t tasks_stopped;
    uint64_t tasks_expired; /* among the returned */
    uint64_t tasks_refused; /* duplicates and entries that cannot be held */
    uint64_t outcomes_sent; /* repeats included */
    uint64_t results_faded; /* stale or orphaned results that were dropped (R35) */
    uint64_t slots_started;
    uint64_t slots_crashed;
    uint64_t slots_timed_out;
    uint64_t sessions;
    uint64_t lane_gaps;
    uint64_t foreign_msgs; /* of another session, or of a type that no worker expects */
    uint64_t bad_slot_reports;
};

const struct worker_stats *worker_stats(const struct worker *w);

/* What is held now, in numbers. */
struct worker_view {
    bool in_session;
    uint64_t session;
    uint32_t waiting; /* in the inbox, or before their verdict */
    uint32_t in_slots;
    uint32_t done;
    uint32_t failed;
    uint32_t window;       /* tasks wanted in advance, slots included */
    uint64_t credit_tasks; /* as last told */
    uint64_t credit_bytes;
    uint64_t kept_bytes;
    uint64_t task_ns; /* estimate */
    bool stopping;
};

void worker_view(const struct worker *w, struct worker_view *ret_view);

#endif
