/*
 * What the files of the sink's core share. sink_core.c takes events, the intake and the commits;
 * sink_peer.c keeps the sessions with ventilators and their settlement streams; sink_route.c knows
 * who follows and who waits; sink_results.c gives them results. Nothing outside of these files
 * includes this header.
 */
#ifndef DTQ_SINK_PARTS_H
#define DTQ_SINK_PARTS_H

#include "bounds.h"
#include "idmap.h"
#include "nummap.h"
#include "sink_core.h"

#include <assert.h>

#define NONE UINT32_MAX
#define SINK_PEERS_MAX 16u

#define HELLO_MS_MIN 100u
#define HELLO_MS_MAX 1000u
#define HELLOS_PER_CONNECTION 5u /* unanswered; then the connection is made anew */
#define RETRY_MS 1000u           /* after a full disk */
#define ACK_MS 1000u             /* acknowledgements wait so long for outcomes to commit with */
#define LOG_MS 10000u            /* one line an interval for what a peer can cause at will */
#define WAITER_MS 60000u         /* clients repeat WAIT every 10 s; who has not is gone */
#define WAITERS_SWEEP_MS 10000u
#define LOOKUP_BYTES_MAX 1048576u
#define SWEEP_VISITS 1024u
#define SWEEP_STEP_MS 100u
#define SWEEP_PAUSE_MS 1000u
#define SWEEP_WAIT_MS_MAX 3600000u

/* ---- intake and commits */

enum skip { SKIP_NOT, SKIP_BAD_KIND, SKIP_TOO_LARGE };

struct proposal { /* one OUTCOMES message */
    struct dtqi_outcomes outcomes;
    struct dtqi_buf *buf;
    uint8_t *skip; /* owned; NULL: nothing is skipped */
    uint64_t bytes;
};

/* Proposals that are committed together: the one that forms, the one under way, the one that must
 * be tried again. */
struct group {
    struct group *next;
    struct results_batch batch;
    struct proposal *items;
    uint32_t n;
    uint32_t size;
    uint32_t entries;
    uint64_t bytes;
    struct results_proposals *proposals; /* made when it is handed over, as are all below */
    struct results_range *ranges;
    struct results_ack acks[SINK_PEERS_MAX];
    uint8_t *stands;
};

/* ---- reads: questions that the commit thread answers */

struct job {
    struct results_read read;
    struct job *next;
    uint32_t peer;
    uint32_t generation; /* of the peer's stream, or of the route */
    uint32_t route;      /* index */
    uint64_t request;
    bool once;
    bool is_asked;     /* with the commit thread; else waits until .. */
    uint64_t after;    /* .. this batch is committed */
    const dtq_id *ids; /* all of them, in `buf` */
    uint32_t ids_n;
    uint32_t ids_done;
    struct dtqi_buf *buf; /* of the message that asked */
};

/* ---- ventilators */

struct peer {
    bool is_welcome;
    bool was_welcome; /* at some time */
    dtqi_uid store;
    uint64_t session;
    uint64_t heartbeat_ms;
    uint32_t liveness;
    uint64_t sequence;
    uint64_t heard_ms;
    uint64_t heartbeat_at_ms;
    uint64_t hello_at_ms;
    uint64_t hello_wait_ms;
    uint32_t hellos;   /* unanswered */
    bool silence_told; /* the log says that it does not answer */
    int64_t clock_ms;  /* its wall clock - ours */

    /* Its settlement stream (R28). */
    bool has_resumed;  /* in this session */
    bool is_streaming; /* RESUME was answered */
    bool is_reading;   /* entries are being read */
    uint64_t resume_by_ms;
    uint32_t generation;
    uint64_t sent;
    uint64_t head;
    uint64_t dropped;
    uint64_t acked;
    uint64_t resumed; /* RESUME's number: what is before is not waited for */
    uint64_t sent_at_heartbeat;
    bool has_ack; /* not yet written */
    uint64_t ack_at_ms;
};

/* ---- clients */

struct follow {
    uint64_t reply_to;
    uint32_t route;
    uint32_t next; /* of the route, or of the free list */
    uint32_t previous;
};

struct waiter {
    dtq_id id;
    uint32_t route;
    uint32_t next_of_id;
    uint32_t next; /* of the route, or of the free list */
    uint32_t previous;
};

struct route {
    uint32_t handle;
    bool is_used;
    bool follows_all;
    uint32_t generation;
    uint32_t follows; /* lists */
    uint32_t waiters;
    uint64_t heard_ms;
    uint32_t count; /* while results are given out: so many go there .. */
    uint32_t from;  /* .. and stand in the list from here on */
};

struct sink {
    struct sink_cfg cfg;
    struct sink_counters counters;
    struct sink_actions *out; /* of this step */
    uint64_t now_ms;
    uint64_t wall_ms;        /* of the steady clock .. */
    uint64_t host_wall_ms;   /* .. and of the host .. */
    uint64_t host_ahead_ms;  /* .. which was ahead by so much when that was noted .. */
    uint64_t shown_ahead_ms; /* .. and is by so much in what people are told */
    bool is_stopping;
    bool must_exit;
    bool has_exited;
    int exit_status;
    char exit_text[256];
    uint32_t exit_text_bytes;
    bool is_paused;
    bool is_full;
    bool is_over; /* the store's space is used up to the bound */

    struct group *forming; /* not yet handed over, oldest first */
    struct group *forming_last;
    struct group *under_way;
    struct group *failed; /* to be tried again; what forms stays behind it (R25) */
    uint64_t retry_at_ms;
    uint64_t batches; /* numbers given */
    uint64_t handed;  /* number of the last batch handed over, and not failed */
    uint64_t intake_bytes;
    uint32_t intake_entries; /* of what forms */
    uint64_t sweep_at_ms;
    uint64_t sweep_rest_ms; /* no new pass before */
    uint32_t sweep_steps;   /* of the pass under way */
    struct job *jobs;       /* oldest first */
    struct job *jobs_last;
    uint32_t jobs_n;
    uint64_t refusal_log_at_ms; /* of outcomes */
    uint64_t refused_log_at_ms; /* by ventilators */
    uint64_t tick_due_ms;

    struct peer peers[SINK_PEERS_MAX];

    struct route *routes;
    uint32_t routes_n; /* slots in use or free, in the table */
    uint32_t routes_used;
    uint32_t generations;
    uint32_t follow_alls;
    struct nummap route_of; /* handle -> index */
    struct follow *follows;
    uint32_t follows_n;
    uint32_t follows_size;
    uint32_t follows_free;
    struct nummap follow_of; /* reply_to -> index */
    struct waiter *waiters;
    uint32_t waiters_n;
    uint32_t waiters_size;
    uint32_t waiters_free;
    uint32_t waiters_used;
    struct dtqi_idmap waiter_of; /* id -> the first of its waiters */
    uint64_t waiters_sweep_at_ms;
};

/* sink_core.c */
struct sink_action *sink_act(struct sink *s, enum sink_action_type type);
/* Memory until the actions are done; NULL: none. */
void *sink_scratch(struct sink *s, size_t n, size_t bytes);
/* Make room for sink_hold() of n buffers. false: no memory; then nothing may be sent that points
 * into them. */
bool sink_hold_room(struct sink *s, uint32_t n);
/* Keep `buf` (which may be NULL) until the actions are done; takes the reference. */
void sink_hold(struct sink *s, struct dtqi_buf *buf);
void sink_log(struct sink *s, enum sink_level level, const char *event,
              const struct sink_log_pair *pairs, uint32_t pairs_n);
void sink_exit(struct sink *s, int status, struct dtqi_str text);
/* NULL: no memory, or reads_max. */
struct job *sink_job_new(struct sink *s, enum results_read_type type);
/* Ask the commit thread; `behind` the proposals that were received before. */
void sink_job_ask(struct sink *s, struct job *job, bool behind);
/* A commit that this answer stands behind has failed since: it is asked for again, in time. */
bool sink_job_is_early(struct sink *s, struct job *job);
void sink_job_free(struct sink *s, struct job *job);

/* sink_peer.c */
void sink_peers_init(struct sink *s);
void sink_peers_tick(struct sink *s);
uint64_t sink_peers_deadline_ms(const struct sink *s);
void sink_peer_connected(struct sink *s, uint32_t peer);
void sink_peer_message(struct sink *s, uint32_t peer, const struct dtqi_msg *msg);
/* What the host's wall clock says at a time of the steady clock: for people. */
uint64_t sink_host_wall_ms(const struct sink *s, uint64_t wall_ms);
/* The clock of a ventilator, as far as it is known. */
uint64_t sink_peer_wall_ms(const struct sink *s, const dtqi_uid *store);
void sink_peers_committed(struct sink *s, const struct group *g);
void sink_peer_read(struct sink *s, struct job *job);
uint32_t sink_peers_acks(struct sink *s, struct results_ack *ret_acks);
void sink_peers_heartbeat_now(struct sink *s);
void sink_peers_bye(struct sink *s);

/* sink_route.c */
dtq_err sink_routes_init(struct sink *s);
void sink_routes_done(struct sink *s);
void sink_routes_tick(struct sink *s);
void sink_route_message(struct sink *s, uint32_t handle, const struct dtqi_msg *msg);
void sink_route_gone(struct sink *s, uint32_t handle);
/* The route that gets results with this number, or NONE. */
uint32_t sink_follower_of(const struct sink *s, uint64_t reply_to);
/* The first of an id's waiters, and the one that `route` is; or NONE. */
uint32_t sink_waiter_first(const struct sink *s, const dtq_id *id);
uint32_t sink_waiter_find(const struct sink *s, uint32_t route, const dtq_id *id);
void sink_waiter_free(struct sink *s, uint32_t index);
/* Look up the ids of a WAIT that were not looked up yet. */
void sink_lookup_on(struct sink *s, struct job *job);

/* sink_results.c */
void sink_routes_committed(struct sink *s, const struct group *g);
void sink_route_read(struct sink *s, struct job *job);

static inline bool sink_is_won(const struct results_proposals *p, uint32_t i)
{
    return !p->refused && p->stands[i] == 0 && (p->skip == NULL || !p->skip[i]);
}

static inline uint64_t sink_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
