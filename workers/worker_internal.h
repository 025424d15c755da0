/*
 * What the files of the worker's core share. One attempt is one entry of a table; it is in one list
 * at a time, linked by indexes. Nothing is allocated per task once the table has grown.
 *
 *   worker_core.c     the step, the tick, configuration, stopping
 *   worker_entries.c  the table, its states, lookup by id, specs
 *   worker_session.c  HELLO, WELCOME, heartbeats, fencing, messages of the session
 *   worker_holdings.c HOLDINGS and verdicts; what the ventilator says of single attempts
 *   worker_lane.c     TASKS
 *   worker_credit.c   estimate, window, credit, REPORT
 *   worker_results.c  sinks, what is kept for them, OUTCOMES
 *   worker_slots.c    slots: start, feed, take back, time limits, exits
 */
#ifndef DTQ_WORKER_INTERNAL_H
#define DTQ_WORKER_INTERNAL_H

#include "idmap.h"
#include "worker_core.h"

#include <stdio.h>
#include <stdlib.h>

#define NONE UINT32_MAX

/* What an entry costs besides its bytes: its record, its place in the map, a buffer's head. */
#define ENTRY_OVERHEAD_BYTES 320u
#define ENTRIES_MAX (1u << 22)
#define ATTEMPTS_OF_ONE_ID_MAX 4u
#define STOPS_AHEAD_MAX 256u
#define SPECS_UNUSED_MAX 256u
#define SENDS_PER_TICK 4u
#define ENTRY_NO_SINK UINT8_MAX

enum entry_state {
    ENTRY_FREE,
    ENTRY_LIMBO,   /* not started, and not to be started before its verdict (R10) */
    ENTRY_WAITING, /* in the inbox */
    ENTRY_FED,     /* in a slot's ring, perhaps running */
    ENTRY_DONE,    /* its result is kept (R23) */
    ENTRY_FAILED,  /* its failure is kept (R23) */
    ENTRY_STATES,
};

enum entry_flags {
    ENTRY_HELD = 1,       /* counted in held, held_sum */
    ENTRY_STALE = 2,      /* not the current lease: its end is not reported as done (R11) */
    ENTRY_STOP = 4,       /* to be stopped, and reported as stopped */
    ENTRY_DROP = 8,       /* to be stopped, and forgotten */
    ENTRY_LISTED = 16,    /* named in HOLDINGS, its verdict has not come */
    ENTRY_TOLD = 32,      /* the ventilator knows of its end */
    ENTRY_OWN = 64,       /* its body was copied out of the batch it came in */
    ENTRY_NO_RETRY = 128, /* its handler said so */
    ENTRY_STARTED = 256,  /* known to run; its payload is gone */
};

struct entry {
    dtq_id id;
    uint64_t hash; /* of the id */
    uint32_t attempt;
    uint32_t ticket;
    uint32_t next;
    uint32_t prev;
    uint32_t older; /* the same task's attempt before this one, held too */
    uint32_t spec;
    uint16_t origin;
    uint16_t slot;
    uint16_t flags;
    uint8_t state;
    uint8_t sink;
    uint8_t reason;
    int32_t code;
    uint32_t len;
    const void *at; /* payload; of what has ended: result or error text; inside buf or static */
    struct dtqi_buf *buf;
    uint64_t until_ms; /* not ended: it expires; fading: it is dropped; 0: never */
    uint64_t reply_to;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    uint64_t number; /* in a slot: bytes it takes of the ring; done: of the message it was last sent
                        in; failed: retry_after_ms */
};
_Static_assert(sizeof(struct entry) == 128, "two cache lines, and an index is a shift away");

struct list {
    uint32_t head;
    uint32_t tail;
    uint32_t n;
};

/* Where attempts come from: one start of one ventilator. */
struct origin {
    dtqi_uid store;
    uint64_t epoch;
    uint64_t heard_wall_ms; /* its wall time, as last heard (R24) */
    uint64_t first_mix;     /* what dtqi_holding_hash() makes of the epoch and attempt 1 */
    uint32_t refs;          /* entries, and 1 for the session */
};

struct spec {
    char *texts; /* its raw bytes, name and queue */
    struct dtqi_slice raw;
    struct dtqi_str name;
    struct dtqi_str queue;
    uint64_t time_limit_ms;
    bool no_result;
    uint32_t refs;
    uint32_t hash;
    uint32_t next_same_hash;
    uint32_t next; /* free or unused list */
    uint32_t prev;
    uint64_t mark;  /* number of the message whose dictionary it is in .. */
    uint32_t local; /* .. and its index there */
};

struct ids {
    dtq_id *at;
    uint32_t n;
    uint32_t room;
};

struct indexes {
    uint32_t *at;
    uint32_t n;
    uint32_t room;
};

enum slot_state {
    SLOT_DOWN, /* no process; started again at retry_ms */
    SLOT_STARTING,
    SLOT_READY,
    SLOT_RETIRING,
    SLOT_KILLED,
};

struct slot {
    enum slot_state state;
    struct list fed;
    uint64_t fed_bytes;
    uint64_t head_since_ms; /* its first task runs since then, at the latest */
    uint64_t state_since_ms;
    uint64_t retry_ms;
    uint32_t fed_ever; /* tasks given to this process */
    uint32_t ended_ever;
    uint32_t fails;  /* processes in a row that ended without having ended a task */
    uint32_t victim; /* KILLED: the entry that is meant, or NONE */
    uint32_t want;   /* scratch of one feeding */
    enum worker_kill why;
    bool taking_back;
    bool full;  /* it did not take all it was given; until one of its tasks has ended */
    bool named; /* its running task was named in started_ids */
};

struct sink {
    dtqi_uid store;
    bool used;
    bool listed; /* the ventilator names it */
    bool open;
    bool connected;
    bool blocked; /* a send was refused; since blocked_ms */
    bool told_unreachable;
    char intake[DTQI_ENDPOINT_BYTES_MAX];
    uint32_t intake_len;
    uint32_t refs; /* entries */
    uint64_t down_ms;
    uint64_t blocked_ms;
    uint64_t kept_bytes;
    struct list to_send;
    struct list sent;
};

enum stopping { STOP_NO, STOP_WARM, STOP_COLD, STOP_GONE };

struct session {
    uint64_t id; /* 0: none */
    uint64_t previous;
    uint32_t origin; /* NONE: never had one */
    uint32_t lane;   /* number of the lane that is open; 0: none */
    uint32_t lanes;  /* numbers given */
    uint32_t lane_seq;
    uint64_t report_seq;
    uint64_t heartbeat_ms;
    uint64_t liveness_ms;
    uint64_t outcome_fence_ms;
    uint64_t result_bytes_max;

    uint64_t hello_ms;      /* the next one is due */
    uint64_t hello_last_ms; /* the last one was said */
    uint64_t hello_wait_ms; /* backoff */
    uint64_t reconnect_ms;  /* unanswered until then: a new connection */
    uint32_t hello_holdings;
    uint64_t
        silent_ms; /* HELLO has been said since then without an answer; UINT64_MAX: it has not .. */
    bool silence_told; /* .. and the log says so */
    bool list_due;

    uint64_t beat; /* sequence of the last heartbeat */
    uint64_t beat_echoed;
    uint64_t beat_sent_ms[2];    /* by the sequence's lowest bit */
    uint64_t beat_report_seq[2]; /* report_seq when it was sent */
    uint64_t beat_due_ms;
    uint64_t echo_ms;     /* the newest echoed heartbeat was sent then */
    bool beat_now;        /* do not wait for the interval */
    bool beat_idle;       /* the last heartbeat was sent with nothing held */
    uint64_t lost_ms;     /* without a session: since when */
    bool outcomes_fenced; /* R14 */
    uint32_t listed;      /* entries that wait for their verdict .. */
    uint64_t listed_ms;   /* .. since then */

    uint64_t received; /* tasks in this session; credit counts from here (R15) */
    uint64_t received_bytes;
    uint64_t told_tasks;
    uint64_t told_bytes;
    uint32_t told_window;
    uint32_t ended; /* since the last REPORT */
};

struct worker {
    struct worker_cfg cfg;
    char *texts; /* name, program, ventilator, queues */
    struct dtqi_str *queues;
    uint32_t *queue_weights;
    uint64_t now_ms;
    uint64_t wall_ms;
    uint64_t random;
    uint64_t deadline_ms;
    struct worker_actions *out; /* during a step */

    struct entry *entries;
    uint32_t entries_n; /* used at least once */
    uint32_t entries_room;
    uint32_t free_head;
    uint32_t free_tail;
    uint32_t count[ENTRY_STATES]; /* of records in each state */
    struct dtqi_idmap map;
    uint32_t held; /* of the current ventilator (R12) */
    uint64_t held_sum;
    uint64_t active_bytes; /* of what has not ended */
    uint64_t kept_bytes;   /* of what has */

    struct origin *origins;
    uint32_t origins_n;
    struct spec *specs;
    uint32_t specs_n;
    uint32_t specs_room;
    uint32_t specs_free;
    struct list specs_unused;
    uint32_t *spec_buckets;
    uint32_t spec_buckets_mask;
    uint64_t marks;

    struct list inbox;
    struct list limbo;
    struct list failed;
    struct list fading; /* stale and orphaned results, by the time they are dropped */

    struct ids returned;
    struct ids stopped;
    struct ids started;
    struct indexes done;     /* entries to be named in done_tickets, unless forgotten before */
    struct indexes failures; /* entries to be named in failures */
    bool report_is_short;    /* something could not be noted for want of memory */
    dtq_id stops_ahead[STOPS_AHEAD_MAX]; /* told to stop what has not arrived yet */
    uint32_t stops_ahead_n;
    uint32_t stops_ahead_next;

    struct session session;
    struct sink sinks[DTQI_SINKS_MAX];
    uint32_t sinks_listed;
    dtqi_uid *removed; /* stores of sinks that are no more (R52) .. */
    uint32_t removed_n;
    dtqi_uid *successors; /* .. and who has what is theirs; in the same memory */
    uint64_t sends;

    struct slot *slots;
    uint32_t slots_usable; /* that are not down */
    uint32_t slots_rotate;
    uint32_t taking_back; /* slots */
    bool ready_once;
    uint32_t recall; /* tasks still to be given back (R20) */

    uint64_t task_ns;
    uint64_t result_bytes; /* expected of a task */
    uint32_t window;
    uint32_t grown; /* ended since the window last grew */
    bool all_overrun;
    uint64_t reserve_bytes; /* one result for each slot */
    uint64_t inbox_bytes_max;
    uint64_t kept_bytes_max;

    enum stopping stop;
    uint64_t stop_ms;      /* it began */
    uint64_t stop_kept_ms; /* warm: the last task ended; 0: not yet */
    uint64_t busy_ms;      /* something was held last */
    struct worker_stats stats;
};

/* ---------------------------------------------------------------- worker_core.c */

/* A zeroed action at the end of the list; NULL: no memory, nothing was changed. */
struct worker_action *wk_act(struct worker *w, enum worker_action_type type);
/* Memory for n entries of a size that lives as long as the actions; NULL: none left. */
void *wk_scratch(struct worker *w, size_t n, size_t size);
/* A message to the ventilator, zeroed but for its type. NULL: no memory. */
struct dtqi_msg *wk_send(struct worker *w, enum dtqi_msg_type type);
__attribute__((format(printf, 4, 5))) void wk_log(struct worker *w, enum worker_log_level level,
                                                  const char *event, const char *format, ...);
/* As by a signal. */
void wk_stop(struct worker *w, bool cold);
/* The last thing this worker does. */
void wk_exit(struct worker *w, int status, struct dtqi_str text);
uint64_t wk_random_below(struct worker *w, uint64_t bound);
/* false: no memory, nothing added. */
bool wk_ids_add(struct ids *ids, const dtq_id *id);
bool wk_indexes_add(struct indexes *x, uint32_t index);
/* Lower-case hexadecimal digits of an id, for logs. */
struct id_text {
    char at[33];
};
struct id_text wk_id_text(const dtq_id *id);

/* The tick is wanted at this time, or before. */
static inline void due(struct worker *w, uint64_t at_ms)
{
    if (at_ms < w->deadline_ms)
        w->deadline_ms = at_ms;
}

/* ---------------------------------------------------------------- lists */

static inline uint32_t index_of(const struct worker *w, const struct entry *e)
{
    return (uint32_t)(e - w->entries);
}

static inline struct entry *entry_at(const struct worker *w, uint32_t index)
{
    return index != NONE ? &w->entries[index] : NULL;
}

static inline struct list list_empty(void)
{
    return (struct list){NONE, NONE, 0};
}

static inline void list_push(struct worker *w, struct list *l, struct entry *e)
{
    uint32_t at = index_of(w, e);

    e->prev = l->tail;
    e->next = NONE;
    if (l->tail != NONE)
        w->entries[l->tail].next = at;
    else
        l->head = at;
    l->tail = at;
    l->n++;
}

static inline void list_push_head(struct worker *w, struct list *l, struct entry *e)
{
    uint32_t at = index_of(w, e);

    e->prev = NONE;
    e->next = l->head;
    if (l->head != NONE)
        w->entries[l->head].prev = at;
    else
        l->tail = at;
    l->head = at;
    l->n++;
}

static inline void list_remove(struct worker *w, struct list *l, struct entry *e)
{
    assert(l->n > 0);
    if (e->prev != NONE)
        w->entries[e->prev].next = e->next;
    else
        l->head = e->next;
    if (e->next != NONE)
        w->entries[e->next].prev = e->prev;
    else
        l->tail = e->prev;
    l->n--;
}

/* The first n of one list, of which `last` is the last, to the tail of another. */
static inline void list_splice(struct worker *w, struct list *from, struct entry *last, uint32_t n,
                               struct list *to)
{
    uint32_t first = from->head;

    from->head = last->next;
    if (last->next != NONE)
        w->entries[last->next].prev = NONE;
    else
        from->tail = NONE;
    from->n -= n;
    w->entries[first].prev = to->tail;
    if (to->tail != NONE)
        w->entries[to->tail].next = first;
    else
        to->head = first;
    to->tail = index_of(w, last);
    last->next = NONE;
    to->n += n;
}

/* ---------------------------------------------------------------- worker_entries.c */

dtq_err wk_entries_init(struct worker *w);
void wk_entries_done(struct worker *w);
/* Room for n more, so that wk_entry_new() cannot fail. */
bool wk_entries_reserve(struct worker *w, uint32_t n);
/*
 * A new attempt of the session's ventilator; in no state and no list yet. `place`: where the map
 * has room for it, from wk_entry_place(), if nothing has changed since; NONE: look for it.
 */
struct entry *wk_entry_new(struct worker *w, const dtq_id *id, uint64_t hash, uint32_t place,
                           uint32_t attempt, uint32_t spec, uint32_t sink);
/* Give up all that a record holds; its list is the caller's business. */
void wk_entry_release(struct worker *w, struct entry *e);
/* The place of a task in the map; `ret_newest` is its newest attempt held, or NULL. */
uint32_t wk_entry_place(const struct worker *w, const dtq_id *id, uint64_t hash,
                        struct entry **ret_newest);
/* The newest attempt of a task that is held, or NULL. */
struct entry *wk_entry_newest(const struct worker *w, const dtq_id *id);
/* This attempt, of the session's ventilator, or NULL. */
struct entry *wk_entry_find(const struct worker *w, const dtq_id *id, uint64_t epoch,
                            uint32_t attempt);
/* No longer counted as held. */
void wk_entry_unhold(struct worker *w, struct entry *e);
/* The session has another ventilator now: count anew what is held of it. */
void wk_entries_recount(struct worker *w);
/* Of another ventilator than the session's, or the last one's. */
bool wk_entry_is_foreign(const struct worker *w, const struct entry *e);
/* The payload is not needed any more: it has started. */
void wk_entry_drop_payload(struct worker *w, struct entry *e);
/* It has ended: result or error text instead of the payload; takes a reference to `buf`. */
void wk_entry_set_end(struct worker *w, struct entry *e, struct dtqi_slice body,
                      struct dtqi_buf *buf);
/* Copy result or text out of the batch it came in, which may be much larger. */
void wk_entry_own_end(struct entry *e);

/* The origin with this store and epoch, held once more; NONE: no memory. */
uint32_t wk_origin_hold(struct worker *w, const dtqi_uid *store, uint64_t epoch);
void wk_origin_drop(struct worker *w, uint32_t origin);
/* The wall time of this store's ventilator, as heard just now. */
void wk_origin_heard(struct worker *w, const dtqi_uid *store, uint64_t wall_ms);

/* The interned spec, held by nobody if it is new; NONE: no memory. */
uint32_t wk_spec_get(struct worker *w, const struct dtqi_spec *spec);
void wk_spec_hold(struct worker *w, uint32_t spec);
void wk_spec_drop(struct worker *w, uint32_t spec);

static inline uint32_t entry_spec_bytes(const struct worker *w, const struct entry *e)
{
    return e->spec != NONE ? w->specs[e->spec].raw.len : 0;
}

static inline bool is_active(unsigned state)
{
    return state == ENTRY_LIMBO || state == ENTRY_WAITING || state == ENTRY_FED;
}

static inline bool has_ended(unsigned state)
{
    return state == ENTRY_DONE || state == ENTRY_FAILED;
}

static inline void entry_drop_body(struct entry *e)
{
    dtqi_buf_unref(e->buf);
    e->buf = NULL;
    e->at = NULL;
    e->len = 0;
}

/* Which state may follow which: a bit for each. */
static const uint8_t entry_may_follow[ENTRY_STATES] = {
    [ENTRY_FREE] = 1 << ENTRY_FREE | 1 << ENTRY_LIMBO | 1 << ENTRY_WAITING | 1 << ENTRY_FAILED,
    [ENTRY_LIMBO] = 1 << ENTRY_FREE | 1 << ENTRY_WAITING,
    [ENTRY_WAITING] = 1 << ENTRY_FREE | 1 << ENTRY_LIMBO | 1 << ENTRY_FED | 1 << ENTRY_FAILED,
    [ENTRY_FED] = 1 << ENTRY_FREE | 1 << ENTRY_LIMBO | 1 << ENTRY_WAITING | 1 << ENTRY_DONE |
                  1 << ENTRY_FAILED,
    [ENTRY_DONE] = 1 << ENTRY_FREE,
    [ENTRY_FAILED] = 1 << ENTRY_FREE,
};

/*
 * Every change of state goes through here: checks the table, counts, keeps the budgets. What has
 * ended has no payload any more; what is FREE holds nothing. Lists are the caller's business.
 */
static inline void entry_move(struct worker *w, struct entry *e, enum entry_state to)
{
    unsigned from = e->state;

    assert((entry_may_follow[from] >> to & 1) != 0);
    w->count[from]--;
    w->count[to]++;
    e->state = (uint8_t)to;
    if (is_active(from) != is_active(to)) {
        uint64_t bytes = dtqi_task_credit_bytes(entry_spec_bytes(w, e), e->len);

        w->active_bytes += is_active(to) ? bytes : -bytes;
        w->session.ended += !is_active(to);
        w->grown += !is_active(to);
    }
    if (has_ended(from))
        w->kept_bytes -= ENTRY_OVERHEAD_BYTES + e->len;
    if (has_ended(to)) {
        entry_drop_body(e);
        w->kept_bytes += ENTRY_OVERHEAD_BYTES;
    }
    if (to == ENTRY_FREE)
        wk_entry_release(w, e);
}

/* What becomes of an entry. */

/* It has not started, and is in no list: into the inbox, or into limbo, or back to the ventilator
 * when stopping. */
void wk_entry_wait(struct worker *w, struct entry *e, bool head);
/* It has not started (or was killed through no fault of its own), and is in no list: give it back
 * (R20). */
void wk_entry_return(struct worker *w, struct entry *e);
/* It was to be stopped, is gone, and is in no list. V is told if it had started. */
void wk_entry_stopped(struct worker *w, struct entry *e, bool had_started);
/* Its attempt failed; it is in no list. `text` is static, or inside `buf`. */
void wk_entry_fail(struct worker *w, struct entry *e, dtq_reason reason, int32_t code,
                   struct dtqi_slice text, struct dtqi_buf *buf);
/* Unlink from where its state says (not from a slot), and free. */
void wk_entry_discard(struct worker *w, struct entry *e);

/* ---------------------------------------------------------------- worker_session.c */

void wk_session_init(struct worker *w);
/* No session any more: nothing that waits may start, HELLO is due. `why`: for the log. */
void wk_session_lost(struct worker *w, const char *why);
/* Fencing, HELLO, HOLDINGS. */
void wk_session_tick(struct worker *w);
/* WORKER_HEARTBEAT, if it is time. */
void wk_session_beat(struct worker *w);
void wk_on_control_connected(struct worker *w);
void wk_on_control_msg(struct worker *w, const struct dtqi_msg *msg);

/* The session is there, and the ventilator has been told what is held. */
static inline bool session_is_open(const struct worker *w)
{
    return w->session.id != 0 && !w->session.list_due;
}

/* ---------------------------------------------------------------- worker_holdings.c */

/*
 * R10: all pages at once, so that they are one picture. `verdicts`: nothing of it starts or is
 * reported before its verdict. false: no memory, some pages may be lost; so is the session.
 */
bool wk_holdings_list(struct worker *w, bool verdicts);
void wk_on_holdings_wanted(struct worker *w);
void wk_on_verdicts(struct worker *w, const struct dtqi_verdicts *m);
void wk_on_forget(struct worker *w, const struct dtqi_forget *m);
void wk_on_resend(struct worker *w, const struct dtqi_ids *m);
void wk_on_stop_attempts(struct worker *w, const struct dtqi_ids *m);
/* STOP_ATTEMPTS named this task before it came. */
bool wk_was_stopped_ahead(const struct worker *w, const dtq_id *id);

/* ---------------------------------------------------------------- worker_lane.c */

void wk_on_lane_msg(struct worker *w, const struct dtqi_msg *msg);
void wk_on_lane_broken(struct worker *w, uint32_t lane);

/* ---------------------------------------------------------------- worker_credit.c */

void wk_credit_init(struct worker *w);
void wk_credit_new_session(struct worker *w);
/* One task took so long and left so much. */
void wk_credit_ended(struct worker *w, uint64_t duration_us, uint32_t result_bytes);
/* Unended tasks that one slot should have in its ring. */
uint32_t wk_credit_depth(const struct worker *w);
/* Fit the window to the estimate. */
void wk_credit_window(struct worker *w);
/* What may be sent in this session, in all (R15). */
uint64_t wk_credit_tasks(const struct worker *w);
uint64_t wk_credit_bytes(const struct worker *w);
/* Both, as they are told now. */
void wk_credit_told(struct worker *w, uint64_t *ret_tasks, uint64_t *ret_bytes);
/* REPORT, if it is time, or if there is anything to say and `now`. */
void wk_report(struct worker *w, bool now);
/* The end of this attempt is to be reported. */
void wk_report_end(struct worker *w, struct entry *e);
/* Reason, text and times of a FAILED entry, as messages have them. */
struct dtqi_failure wk_failure(const struct worker *w, const struct entry *e);
/* What was to be reported belongs to a session that is over. */
void wk_report_clear(struct worker *w);

/* ---------------------------------------------------------------- worker_results.c */

void wk_results_init(struct worker *w);
/* The sink with this store, made where missing; NONE: too many. */
uint32_t wk_sink_get(struct worker *w, const dtqi_uid *store);
void wk_sink_drop(struct worker *w, uint32_t sink);
/* Take in the ventilator's list. */
void wk_sinks_update(struct worker *w, const struct dtqi_sink_info *infos, uint32_t n,
                     const struct dtqi_removed *removed);
/* Its kept results take more than their share of memory: no task for it may start (R16). */
bool wk_sink_is_over_share(const struct worker *w, const struct sink *s);
bool wk_sink_is_unreachable(const struct worker *w, const struct sink *s);
/* Heartbeats must say something new about sinks; also asks for the tick at which they must. */
bool wk_sinks_changed(struct worker *w);
void wk_on_sink(struct worker *w, const struct worker_event *ev);
/* Keep a result that has just come, and send it. */
void wk_result_keep(struct worker *w, struct entry *e);
/* Send it again (R23). */
void wk_result_again(struct worker *w, struct entry *e);
void wk_result_unlink(struct worker *w, struct entry *e);
/* The session has another ventilator: results of others are sent once more and fade (R35). */
void wk_results_orphan(struct worker *w);
void wk_results_send(struct worker *w);
void wk_results_fade(struct worker *w);

/* ---------------------------------------------------------------- worker_slots.c */

dtq_err wk_slots_init(struct worker *w);
void wk_slots_done(struct worker *w);
/* Starts, time limits, slots that hang. */
void wk_slots_tick(struct worker *w);
/* Give back what is recalled, feed, take back where that helps. */
void wk_slots_balance(struct worker *w);
/* Take back what has not started, from all slots. */
void wk_slots_take_back(struct worker *w);
/* Stop a task that is in a slot's ring; `how`: ENTRY_STOP or ENTRY_DROP. */
void wk_slot_stop_entry(struct worker *w, struct entry *e, enum entry_flags how);
void wk_slots_kill(struct worker *w);
/* Those that run are gone. */
bool wk_slots_are_down(const struct worker *w);
/* Report what has been running for a heartbeat, each once. */
void wk_slots_name_started(struct worker *w);
void wk_on_slot(struct worker *w, const struct worker_event *ev);

#endif
