/*
 * The sink's core: takes proposals of outcomes, has them committed in groups, tells whoever waits,
 * and streams settlements to the ventilator. Pure: event in, actions out; the shell (or the
 * simulation) moves messages, runs the result store and says what time it is.
 *
 * Memory is bounded by the configuration. What a slow or hostile peer may cost is in its limits:
 * intake bytes (then INTAKE_PAUSE), waiters, followers, reads.
 */
#ifndef DTQ_SINK_CORE_H
#define DTQ_SINK_CORE_H

#include "results.h"

struct sink;

struct sink_cfg {
    dtqi_uid store;    /* identity of the data directory */
    dtqi_uid run;      /* of this start; the one results_open() was given */
    dtqi_uid instance; /* of this start */
    const char *name;  /* for people; borrowed for the sink's life, as the next four */
    const char *program;
    const char *ventilator; /* its endpoint, for the log */
    const char *intake;     /* endpoints that are announced */
    const char *results;
    uint64_t outcome_memory_ms; /* R31 */
    uint32_t result_bytes_max;  /* larger results are refused */
    uint32_t peers;             /* ventilators, each with a control connection of its own: 1 */
    uint32_t batch_entries_max; /* proposals per commit, unless one message has more */
    uint64_t intake_bytes_max;  /* of proposals not yet committed; then the intake pauses */
    uint32_t settle_window;     /* R28 */
    uint32_t waiters_max;       /* (route, id) pairs */
    uint32_t routes_max;        /* connections to the results socket that follow or wait */
    uint32_t follows_max;       /* reply_to numbers in all */
    uint32_t reads_max;         /* lookups and pages under way or waiting */
    uint32_t full_percent;      /* of the store's space used: the sink is full */
};

/* The defaults; identities, names and endpoints are left empty. */
void sink_cfg_init(struct sink_cfg *cfg);

enum sink_event_type {
    SINK_EV_TICK,       /* the input is drained, or a deadline is reached */
    SINK_EV_CONTROL,    /* a message of ventilator `peer` */
    SINK_EV_CONNECTED,  /* the connection to `peer` is up, for the first time or again; advisory */
    SINK_EV_INTAKE,     /* a message of the intake */
    SINK_EV_RESULTS,    /* a message of `route` on the results socket */
    SINK_EV_ROUTE_GONE, /* `route` does not exist any more */
    SINK_EV_ROUTE_FULL, /* a message to `route` was not sent: its queue is full */
    SINK_EV_COMMITTED,  /* the answer to SINK_ACT_COMMIT */
    SINK_EV_READ_DONE,  /* the answer to SINK_ACT_READ */
    SINK_EV_STOP,       /* stop taking outcomes, commit what is here, say BYE, exit */
};

struct sink_event {
    enum sink_event_type type;
    uint64_t now_ms;       /* monotonic */
    uint64_t wall_ms;      /* by the steady clock: does not jump */
    uint64_t host_wall_ms; /* what the wall clock of the host says; may jump */
    uint32_t peer;
    uint32_t route;
    const struct dtqi_msg *msg; /* borrowed during the step */
    struct results_batch *batch;
    struct results_read *read;
};

enum sink_action_type {
    SINK_ACT_CONTROL_SEND,      /* msg to ventilator `peer`; not sent: drop it */
    SINK_ACT_CONTROL_RECONNECT, /* close the connection to `peer` and make a new one */
    SINK_ACT_RESULTS_SEND,      /* msg to `route`; not sent: ROUTE_FULL or ROUTE_GONE */
    SINK_ACT_COMMIT,            /* results_apply(batch), then COMMITTED */
    SINK_ACT_READ,              /* results_read(read), then READ_DONE */
    SINK_ACT_INTAKE_PAUSE,      /* read nothing from the intake: TCP holds the senders */
    SINK_ACT_INTAKE_RESUME,
    SINK_ACT_LOG,
    SINK_ACT_EXIT, /* exit with `status`; `text`, when there is one, says why. Further steps do
                      nothing */
};

enum sink_level { SINK_TRACE, SINK_DEBUG, SINK_INFO, SINK_WARN, SINK_ERROR };

#define SINK_LOG_PAIRS_MAX 4

struct sink_log {
    enum sink_level level;
    const char *event; /* static: "session_open" */
    uint32_t pairs_n;
    struct sink_log_pair {
        const char *key;      /* static */
        struct dtqi_str text; /* at NULL: the number */
        uint64_t number;
    } pairs[SINK_LOG_PAIRS_MAX];
};

struct sink_action {
    enum sink_action_type type;
    uint32_t peer;
    uint32_t route;
    struct dtqi_msg msg; /* columns in the scratch, bodies in buffers that the list holds */
    struct results_batch *batch;
    struct results_read *read;
    struct sink_log log;
    int status;
    struct dtqi_str text;
};

/*
 * What a step leaves to be done, in order. Commits and reads are served one at a time, in the order
 * in which they were asked for. Batches and reads stay the core's: it frees them after their answer
 * (and in sink_free()).
 */
struct sink_actions {
    struct sink_action *items;
    uint32_t n;
    uint32_t size;
    struct dtqi_buf *scratch;
    struct dtqi_buf **held; /* buffers that messages point into */
    uint32_t held_n;
    uint32_t held_size;
};

/* Zero-initialised is empty. reset() after the shell has done what the list says: frees what its
 * messages point to. done() frees the list itself. */
void sink_actions_reset(struct sink_actions *a);
void sink_actions_done(struct sink_actions *a);

/* @return DTQ_OK or DTQ_ENOMEM. The first step makes it say HELLO. */
DTQ_MUST_USE dtq_err sink_new(const struct sink_cfg *cfg, struct sink **ret_sink);
/* Takes NULL. The commit thread must have stopped: batches under way are freed too. */
void sink_free(struct sink *s);

/* Appends to `out`, which may have actions already. */
void sink_step(struct sink *s, const struct sink_event *event, struct sink_actions *out);

/* When the next TICK is due at the latest; monotonic; UINT64_MAX: never. */
uint64_t sink_deadline_ms(const struct sink *s);

/* Counters since the start, for logs and tests. */
struct sink_counters {
    uint64_t committed;      /* outcomes */
    uint64_t replaced;       /* of those: in place of one that does not read back */
    uint64_t second;         /* proposals of ids that had an outcome (R25) */
    uint64_t wrong_sink;     /* proposals meant for another store */
    uint64_t too_old;        /* R24 */
    uint64_t too_large;      /* results over the limit */
    uint64_t bad_kind;       /* proposals that are no outcome */
    uint64_t foreign;        /* proposals of more ventilators than there is room for */
    uint64_t no_memory;      /* messages dropped for want of memory */
    uint64_t pushed;         /* results sent to followers and waiters */
    uint64_t pushes_dropped; /* messages with results that a slow consumer did not get */
    uint64_t waits_refused;  /* WAIT, FOLLOW and queries beyond a limit */
    uint64_t commits;
    uint64_t commits_failed; /* for want of space or memory; tried again */
    uint64_t swept;
    uint64_t unexpected; /* messages of a type that has no place there */
};
const struct sink_counters *sink_counters(const struct sink *s);

/* What the core holds in memory now, for tests and the simulation's invariants. */
struct sink_census {
    uint32_t pending;      /* proposals received and not yet handed to a commit */
    uint32_t committing;   /* proposals of the batch that is under way */
    uint64_t intake_bytes; /* of both */
    uint32_t waiters;
    uint32_t routes;
    uint32_t reads;
    bool paused; /* the intake */
};
void sink_census(const struct sink *s, struct sink_census *ret);

bool sink_is_full(const struct sink *s); /* as SINK_HEARTBEAT says it */
bool sink_has_session(const struct sink *s, uint32_t peer);

#endif
