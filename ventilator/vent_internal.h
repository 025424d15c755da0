/*
 * What the files of the ventilator's core share. A task is one record of a fixed table, named by
 * its index; it is in at most one list of its state and one list of its paper (what the journal is
 * still to be told). Nothing is allocated per task once the tables have grown.
 *
 *   vent_core.c      configuration, the step, the tick, actions, logs
 *   vent_task.c      the table, states and their transitions, specs, the past of a task
 *   vent_queue.c     queues, ready lists, the window of the journal
 *   vent_group.c     groups of a queue: fair shares, order
 *   vent_age.c       priorities that rise with waiting
 *   vent_time.c      due times, expiry, backoff
 *   vent_submit.c    SUBMIT, confirmations, claims
 *   vent_peer.c      routes, HELLO, producers
 *   vent_worker.c    sessions of workers, heartbeats, death
 *   vent_holdings.c  HOLDINGS and verdicts
 *   vent_report.c    REPORT, failures, retries
 *   vent_gate.c      queues that are closed for a while: paused, or at a limit
 *   vent_dispatch.c  which task goes to which worker; recall, stops
 *   vent_sink.c      sinks, settlement
 *   vent_removed.c   sinks that were removed, and who has their tasks
 *   vent_propose.c   outcomes that the ventilator proposes
 *   vent_journal.c   batches and reads
 *   vent_cancel.c    CANCEL
 *   vent_operate.c   OPERATE
 *   vent_move.c      what waits in a queue goes to another one
 *   vent_query.c     QUERY
 *   vent_explain.c   why a task does not run, and what comes first
 *   vent_key.c       idempotency keys
 *   vent_note.c      what is kept of attempts that failed
 *   vent_dead.c      dead letters: OPERATE, and how they age
 *   vent_dying.c     what is about to be one, and who waits for that
 *   vent_cron.c      cron entries: when they fire, and what of that is written
 *   vent_cron_operate.c  OPERATE and QUERY of cron entries
 *   vent_check.c     census, invariants
 */
#ifndef DTQ_VENT_INTERNAL_H
#define DTQ_VENT_INTERNAL_H

#include "idmap.h"
#include "nummap.h"
#include "vent_core.h"

#define NONE UINT32_MAX
#define NEVER UINT64_MAX

#define TASK_INDEX_BITS 22u
#define TICKET_INDEX_MASK ((1u << TASK_INDEX_BITS) - 1)
#define TASK_GENERATIONS (1u << (32 - TASK_INDEX_BITS))
#define TASK_OVERHEAD_BYTES 64u   /* of a message's columns, about; added to what is counted */
#define QUEUE_SHARE_TASKS_MAX 64u /* every queue may have so many ready, window full or not .. */
#define GROUP_SHARE_TASKS 2u      /* .. and every group of one that is served */
#define WORKER_QUEUES_MAX 256u
#define NOTES_MAX 8u
#define NOTE_TEXT_BYTES 256u
#define LAZY_MS 100u /* deletes, counters and the like wait so long for company */
#define BACKLOG_PERCENT 90u
#define PAGES_BYTES_MAX (64u * 1024 * 1024)
#define ATTEMPTS_MAX 1000000000u
#define LEASES_MAX 65536u /* of one worker, whatever credit it gives */
#define SESSION_INDEX_BITS 16u
#define BLIND_BEATS 10u /* heartbeats without a comparison, until holdings are asked for */

/* ---------------------------------------------------------------- tasks */

enum task_state {
    TASK_FREE,
    TASK_CLAIMED, /* resent: the journal and then its sink are asked whether they know it (R6) */
    TASK_HELD,    /* recovered, not released yet (R33) */
    TASK_READY,
    TASK_PARKED,    /* behind what is not loaded: leaves memory once it is written (R41) */
    TASK_SCHEDULED, /* waits for its time */
    TASK_LEASED,
    TASK_STOPPING, /* leased, and its worker was told to stop it (R36) */
    TASK_DONE,     /* reported done, waits for its settlement */
    TASK_DEADWAIT, /* as DONE, but its worker is gone (R19) */
    TASK_MARKING,  /* cancelled (R36), or failed for good (R24): proposed once that is committed */
    TASK_PROPOSED,
    TASK_GONE, /* settled; leaves memory once the journal has forgotten it */
    TASK_STATES,
};

enum task_paper {
    PAPER_NONE,    /* not in the journal */
    PAPER_HANDED,  /* the journal has been asked to write it */
    PAPER_WRITTEN, /* durable */
};

enum paper_list { PAPER_NOWHERE, PAPER_FRESH, PAPER_WRITE, PAPER_DIRTY, PAPER_DELETES };

enum task_flags {
    TASK_DIRTY = 1,         /* its counters are to be written */
    TASK_MOVE = 2,          /* its record is to be moved to the other order */
    TASK_IN_BATCH = 4,      /* counters or a move are under way */
    TASK_NO_BODY = 8,       /* GONE: dropped */
    TASK_CANCEL = 16,       /* R36 */
    TASK_MARKED = 32,       /* .. and the mark is committed */
    TASK_SUSPECT = 64,      /* R21 */
    TASK_PROBATION = 128,   /* this lease is one, R21 */
    TASK_RUNNING = 256,     /* this lease is known to have started */
    TASK_LISTED = 512,      /* named in the HOLDINGS that are coming in */
    TASK_NO_KEY = 1024,     /* where the journal keeps it is not known */
    TASK_DELAYED = 2048,    /* the journal keeps it in the order of due times: past->key_due */
    TASK_DEAD = 4096,       /* GONE: a dead letter */
    TASK_LATE = 8192,       /* READY: in the heap of its list, not in the list */
    TASK_OWN_BODY = 16384,  /* its body was copied out of the message it came in */
    TASK_RECOVERED = 32768, /* came out of the journal */
};

enum task_marks {
    TASK_ALWAYS = 1,    /* written to the journal even when it is settled before */
    TASK_KEYED = 4,     /* has an idempotency key that the journal does not have yet */
    TASK_REQUEUED = 2,  /* takes the place of a dead letter, in one commit with it */
    TASK_TRANSFER = 16, /* the journal is to have it in the queue of its spec */
    TASK_CRON = 8,      /* a run of past->cron, which is told of it in one commit with it */
    TASK_BLOCKS = 32,   /* SCHEDULED: waits for its retry, and its group for it */
};

struct task {
    dtq_id id;
    const void *body; /* in buf */
    struct dtqi_buf *buf;
    uint64_t seq;      /* order of admission */
    uint64_t since_ms; /* in this state; SCHEDULED: wall time that it waits for, maybe with
                          JOURNAL_DUE_BY_WALL; DONE: see report */
    uint32_t body_len;
    uint32_t spec;
    uint32_t attempt; /* number of the last one given or adopted (R2) */
    uint32_t worker;  /* LEASED, STOPPING, DONE: who has it; CLAIMED: number of the claim;
                         PROPOSED: NONE: it is not sent yet */

    uint64_t reply_to;
    uint64_t admitted_ms;
    uint32_t next; /* list of the state; SCHEDULED and late ones: place in the heap */
    uint32_t prev; /* CLAIMED: index in the SUBMIT that waits for it */
    uint32_t paper_next;
    uint32_t paper_prev;
    uint32_t wait; /* who waits for its commit; more of them are in past */
    uint32_t past;
    uint32_t expiry; /* place in the heap of expiring tasks */
    uint16_t generation;
    uint16_t flags;
    uint8_t state;
    uint8_t paper;
    uint8_t sink;
    uint8_t resends; /* DONE: times that its worker was asked to send again; PROPOSED: the kind */
    uint8_t paper_list;
    uint8_t marks;
    uint8_t dying; /* a dying_stage */
    uint8_t padding[5];
};

/* On its way to the dead letters: counted in one of two rounds. */
enum dying_stage {
    DYING_NOT,
    DYING_PROPOSED_0,
    DYING_PROPOSED_1,
    DYING_SETTLED_0, /* the journal is to be told */
    DYING_SETTLED_1,
};

struct list {
    uint32_t head;
    uint32_t tail;
    uint32_t n;
};

/* A task's index in a binary heap; the order is the heap's owner's. */
struct heap {
    uint32_t *at;
    uint32_t n;
    uint32_t room;
};

enum note_paper { NOTE_NEW, NOTE_HANDED, NOTE_LOGGED };

/* One attempt that failed, for people. */
struct note {
    uint8_t paper;
    uint32_t attempt;
    int32_t code;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    uint8_t reason;
    uint8_t worker_len;
    uint16_t text_len;
    char texts[]; /* worker, then text */
};

/* What only some tasks have. */
struct past {
    struct journal_counters counters; /* `last` is filled in when written */
    uint64_t key_due_wall_ms;         /* TASK_DELAYED; with JOURNAL_DUE_BY_WALL */
    uint64_t epoch;                   /* of task->attempt, when that is not of this epoch; else 0 */
    struct note *notes[NOTES_MAX];    /* the last ones, oldest first */
    uint32_t notes_n;
    uint32_t key_next;       /* TASK_KEYED: others in its bucket */
    dtqi_uid digest;         /* TASK_KEYED: of its content */
    struct cron_entry *cron; /* TASK_CRON */
    uint32_t waits;          /* chain: more that wait for the commit of the task */
    uint32_t cancels;        /* chain: those that wait for the commit of the cancel mark */
    uint32_t next_free;
};

struct spec {
    struct dtqi_spec spec; /* in buf, raw included */
    struct dtqi_buf *buf;
    uint32_t refs;
    uint32_t hash;
    uint32_t next_same_hash;
    uint32_t next; /* free or unused */
    uint32_t prev;
    uint32_t queue;
    uint64_t mark;  /* number of the message whose dictionary it is in .. */
    uint32_t local; /* .. and where */
    uint8_t rank;
};

/* Something that points to something, in a chain. */
struct link {
    uint32_t to;
    uint32_t next;
};

/* ---------------------------------------------------------------- queues */

/* Workers that could take a task, the least loaded one first: a heap. */
struct seats {
    struct seat {
        uint32_t worker;
        uint32_t k; /* the how manieth of its queues it is; NONE: it serves every queue */
    } * at;
    uint32_t n;
    uint32_t room;
};

/* Ready tasks of one queue and sink. A list is in order of seq; what comes back out of order is in
 * the heap beside it. */
struct lot {
    uint16_t ranks; /* that have any */
    struct list fifo[DTQI_PRIORITIES];
    struct heap late[DTQI_PRIORITIES];
};

enum queue_place {
    QUEUE_IDLE, /* nothing is ready */
    QUEUE_ACTIVE,
    QUEUE_STUCK,  /* nobody could take anything */
    QUEUE_CLOSED, /* paused, or at a limit; what changes that opens it */
};

#define GROUP_RINGS (DTQI_PRIORITIES + 1)
#define RING_SUSPECTS DTQI_PRIORITIES
#define RING_NONE UINT8_MAX

/* What a queue knows of its groups. Only those that are open are in its rings; a group is in the
 * ring of the best rank that it has ready, and in that of the suspects. So is the queue itself, for
 * its tasks without a group: with a rank only. */
struct groups {
    struct list rings[GROUP_RINGS];
    uint32_t filled;                /* rings that are not empty: mask */
    uint32_t sinks[DTQI_SINKS_MAX]; /* open groups that have tasks of each .. */
    uint32_t sinks_mask;
    uint32_t offered; /* .. and their ready tasks */

    /* Of all of them together; what has no group is counted with the queue itself. */
    uint32_t resident[TASK_STATES];
    uint32_t unloaded; /* groups */
    uint64_t tasks;
    uint64_t delayed;
    uint64_t delayed_here;
    uint64_t bytes;
    uint32_t with_tasks; /* groups */

    struct list members;
    uint32_t evict_next; /* of these, to look at first when memory is short; NONE: the head */
};

/* Place of a group in a ring. */
struct hook {
    uint32_t next;
    uint32_t prev;
    uint8_t ring;
};

/* A queue, or a group of one: with lists, a window and a gate of its own. */
struct queue {
    bool used;
    bool is_changed; /* the journal has not been told of it as it is */
    bool is_handed;  /* .. and was told of it in the batch under way */
    bool is_gone;    /* a group that the journal is to forget */
    bool is_ordered; /* a group of which one task runs at a time, in order of seq */
    bool is_hungry;  /* in the list of those that ran out of ready tasks */
    bool rate_waits; /* it has tasks for more than its rate */
    uint8_t place;
    uint32_t number; /* in the journal; 0: it does not know it, nor will with the batch under way */
    uint32_t parent; /* NONE: it is a queue */
    uint32_t family; /* in whose rings it is: its parent's; its own, if it has groups; NONE: none */
    struct groups *groups; /* NULL: it never had any */
    struct hook hooks[2];  /* ranks, suspects */
    struct list_place {
        uint32_t next;
        uint32_t prev;
    } sibling;
    uint32_t offered_sinks; /* what its parent has counted of it */
    uint32_t offered;
    uint32_t backing_off; /* tasks with TASK_BLOCKS */
    uint32_t tried;       /* of a group in order: the ready task that was dispatched before; NONE */
    uint32_t changed_next;
    uint32_t hungry_next;
    uint32_t name_len;
    char name[DTQI_NAME_BYTES_MAX + 1];
    uint32_t next_same_hash;
    uint32_t specs; /* that name it */

    struct lot *lots[DTQI_SINKS_MAX];
    uint32_t lots_mask; /* that have any */
    struct list suspects;
    uint32_t ready; /* in lots and suspects */
    uint32_t resident[TASK_STATES];
    uint64_t tasks;        /* open, in memory or not */
    uint64_t delayed;      /* of these: in the order of due times in the journal .. */
    uint64_t delayed_here; /* .. and in memory, where their state says whether their time came */
    uint64_t bytes;
    uint32_t unmarked; /* cancelled, and the mark is not committed; those of groups, too */

    /* R41: what is not resident is at the boundary or behind it. */
    bool unloaded;
    bool loading;
    uint32_t unloaded_place;
    uint64_t load_after_ms;
    uint8_t boundary_rank;
    uint64_t boundary_seq;
    uint64_t boundary_moves; /* times that it moved back */
    struct ahead *ahead;     /* what is in memory behind it; NULL: nothing was yet */
    struct list parked;

    uint32_t next; /* active or stuck */
    uint32_t prev;
    struct seats able;    /* that name this queue */
    uint32_t servers;     /* open sessions that name this queue */
    uint32_t subscribers; /* sessions that name it, open or not */
    uint32_t settle_us;   /* running mean from admission to settlement */

    struct journal_queue_settings settings;
    uint64_t ageing_ms;    /* R51; of a group that of its queue; 0: it has an order of its own */
    uint64_t turn;         /* of all tasks of groups, the number of the last one of this */
    uint32_t asks;         /* chain: waits for the batch that tells of its settings .. */
    uint32_t asked;        /* .. and for the one that is under way */
    uint32_t gate_place;   /* in the heap of those that their rate closes; NONE: it is not there */
    uint64_t rate_step_ns; /* between two tasks; 0: it has no rate */
    uint64_t rate_next_ns; /* monotonic time of the next one */
};

/* ---------------------------------------------------------------- peers */

struct peer { /* of a route */
    uint32_t route;
    uint8_t role; /* dtqi_role; DTQI_ROLE_NONE: free */
    uint32_t index;
    uint32_t next; /* producers: least recently heard first; or free */
    uint32_t prev;
    uint64_t session; /* producers */
};

struct map32 { /* route -> index of peer */
    struct map32_entry {
        uint32_t key;
        uint32_t value; /* NONE: free */
    } * entries;
    uint32_t mask;
    uint32_t count;
};

struct ids {
    dtq_id *at;
    uint32_t *attempts;
    uint32_t n;
    uint32_t room;
};

enum worker_state {
    WORKER_FREE,
    WORKER_LANE,    /* its lane is being opened; WELCOME follows */
    WORKER_LISTING, /* its holdings are coming in */
    WORKER_OPEN,
    WORKER_LOST, /* its session ended; it may say HELLO until it is dead (R13) */
};

struct worker {
    uint8_t state;
    bool in_roster; /* the journal's */
    bool is_open;   /* counted as a server of its queues */
    bool able;      /* in the heaps: it could take a task */
    bool any_queue;
    bool asked;       /* holdings were asked for in the session */
    bool drying;      /* nothing is sent to it, so that holdings can be asked for */
    bool reserved;    /* nothing is sent to it, so that a suspect can be (R21) */
    bool probation;   /* it has one (R21) */
    bool bytes_short; /* its credit in bytes did not suffice for the next task */
    bool touched;
    bool has_lane;
    uint8_t blind; /* heartbeats in a row without a comparison */
    uint32_t index;
    uint32_t route;
    uint64_t session;
    uint64_t lane_session; /* of the lane that is open or being opened */
    dtqi_uid instance;
    uint32_t slots;
    uint32_t name_len;
    uint32_t program_len;
    char name[DTQI_NAME_BYTES_MAX + 1];
    char program[DTQI_NAME_BYTES_MAX + 1];
    uint32_t queues_n;
    uint32_t *queues;
    uint32_t *places; /* in their heaps of able workers */
    bool picks;       /* it says which of its queues comes first: */
    bool is_strict;   /* .. in the order of `queues`; else by shares: */
    uint32_t *weights;
    uint64_t *passes; /* of each queue: what it got, by its weight; the lowest is next .. */
    uint64_t pass;    /* .. and those that had nothing begin here */
    uint32_t place;   /* in the heap of those that serve every queue */
    uint64_t load;    /* its order there: leases per slot, when it was last put in order */

    struct list leased; /* in order of dispatch */
    struct list done;   /* in order of their reports */
    uint64_t held_sum;  /* over both (R12) */
    uint32_t stale_n;   /* of its last list: what it keeps without a lease .. */
    uint64_t stale_sum; /* .. and its part of the sum (R12) */
    uint32_t per_sink[DTQI_SINKS_MAX];
    uint32_t unreachable; /* sinks, as it says: mask */
    uint32_t muted;       /* sinks that its outcomes do not come to, whatever it says (R30) .. */
    uint64_t muted_ms;    /* .. as was found then */

    uint32_t lane_seq;
    uint32_t lane_acked;
    uint64_t lane_progress_ms;
    uint64_t lane_bytes_acked; /* sent_bytes when lane_acked was last equal to lane_seq */
    uint64_t report_seq;
    uint64_t credit_tasks;
    uint64_t credit_bytes;
    uint64_t sent_tasks;
    uint64_t sent_bytes;

    uint64_t heard_ms;
    uint64_t heard_stall_ms;
    uint32_t older; /* by heard_ms */
    uint32_t newer;
    uint64_t asked_ms;    /* its list was begun: by HELLO, or by HOLDINGS_WANTED */
    uint64_t wanted_ms;   /* the last HOLDINGS_WANTED of this session; 0: none */
    uint64_t recalled_ms; /* 0: none is under way */
    bool forgot;          /* a FORGET went out since the last heartbeat */

    uint32_t holdings;  /* announced by HELLO */
    struct page *pages; /* not worked off */
    struct page *pages_tail;
    bool list_ended; /* the last page is among them */

    uint32_t fresh; /* first of the leases that no TASKS carries yet */
    uint32_t fresh_n;
    struct ids forget; /* to be sent */
    uint64_t forget_epoch;
    struct ids stop; /* to be sent; without attempts */

    uint64_t done_total;
    uint64_t failed_total;
};

/* One message of HOLDINGS that waits: for those before it, the journal, or a claim. */
struct page {
    struct page *next;
    struct dtqi_holdings m; /* in buf */
    struct dtqi_buf *buf;
    size_t bytes;
    bool asked;              /* the journal */
    struct vent_read *found; /* its answer */
    uint32_t positions[];    /* in this page, of the ids that it was asked for */
};

struct sink {
    bool used;
    bool live;       /* a session is open */
    bool connected;  /* its intake was asked to be connected */
    bool dirty;      /* roster: to be written */
    bool is_durable; /* the journal has it: tasks may name it */
    bool full;
    bool caught_up; /* applied up to the head that it had (R33) */
    bool is_old;    /* the journal knew it at the start */
    bool diverged;  /* R34: until it answers RESUME as itself, or is accepted */
    bool rewound;   /* accepted: numbers begin anew, and the journal is to be told .. */
    bool rewinding; /* .. in the batch under way */
    bool removing;  /* R52: it is to go, and nothing is dispatched for it */
    bool removed;   /* it has gone: the place of tasks that wait for another one */
    dtqi_uid store;
    dtqi_uid instance;
    dtqi_uid run; /* as last applied */
    char intake[256];
    char results[256];
    uint32_t route;
    uint64_t session;
    uint64_t heard_ms;
    uint64_t heard_stall_ms;
    uint64_t applied;
    uint64_t applied_durable;
    uint64_t applied_handed; /* in the batch under way */
    uint32_t resumes;        /* sent and not answered with "diverged", in this session */
    uint64_t resumed_ms;
    uint64_t settled_ms;  /* the last SETTLED, or RESUME */
    uint64_t gap_ms;      /* numbers are missing since; 0: none are */
    struct list proposed; /* least recently sent first */
    struct list unsent;   /* PROPOSED, not sent yet */
    uint64_t sent_ms;     /* the last OUTCOMES */
    uint64_t blocked_until_ms;
    uint32_t dying[2]; /* proposed as failed: of each round */
    uint32_t asks;     /* chain: waits for the batch that tells that it is accepted .. */
    uint32_t asked;    /* .. and for the one that is under way */
};

/* A sink that was removed, for ever (R52). */
struct removal {
    dtqi_uid store;
    dtqi_uid successor; /* who gets what is its; zeros: nobody yet */
    dtqi_uid written;   /* the same, as the journal has it */
    bool is_durable;    /* the journal has it: it holds */
    uint32_t asks;      /* chain: waits for the batch that tells of it .. */
    uint32_t asked;     /* .. and for the one that is under way */
};

/* ---------------------------------------------------------------- what waits */

enum wait_kind { WAIT_FREE, WAIT_SUBMIT, WAIT_CANCEL, WAIT_OPERATE, WAIT_REQUEUE };

/* A SUBMIT, CANCEL or OPERATE that will be answered when `left` is 0. */
struct wait {
    uint8_t kind;
    bool silent; /* it cannot be answered in full: the producer asks again */
    uint32_t route;
    uint64_t request;
    uint32_t left;
    uint32_t n; /* refused entries; of a CANCEL: ids */
    uint32_t room;
    uint32_t *index;    /* CANCEL: states */
    uint32_t *reasons;  /* CANCEL: cancelling */
    const char **texts; /* static, or in buf */
    struct dtqi_buf *buf;
    struct same { /* SUBMIT: entries whose key stands for another task */
        uint32_t index;
        dtq_id id;
    } * same;
    uint32_t same_n;
    uint32_t same_room;
    uint64_t count;
    uint32_t next; /* to be answered, or free */
};

/* Ids of one resent SUBMIT that nobody here knows: the journal is asked, then their sink (R6). */
struct claim {
    bool resend; /* else only the keys of its tasks are to be looked up */
    bool asked;  /* the sink; before that, the journal */
    uint8_t sink;
    uint32_t number; /* in the `worker` of its tasks */
    uint64_t since_ms;
    uint64_t asked_ms;
    uint32_t n;
    dtq_id *ids;
    uint32_t also_n;
    dtqi_uid *also; /* behind ids */
    struct claim *next;
    struct claim *prev;
};

enum read_kind {
    READ_LOAD,
    READ_DUE,
    READ_HOLDINGS,
    READ_CLAIM,
    READ_KEYS,
    READ_CANCEL,
    READ_RECOVER,
    READ_QUERY,
    READ_PURGE,
    READ_DEAD_JOB,
    READ_DEAD_SWEEP,
    READ_MOVE,
    READ_CRON,
};

struct query {
    uint32_t route;
    struct dtqi_query q;
    dtq_id after; /* TASKS: as asked */
    bool has_after;
    char queue_name[DTQI_NAME_BYTES_MAX + 1];
};

enum dead_state { DEAD_IDLE, DEAD_READING, DEAD_WRITING };

/* The operation on dead letters that is under way: one at a time, so that none of them is requeued
 * twice. */
struct dead_job {
    uint8_t state;
    uint8_t operation; /* dtqi_operation */
    uint32_t route;
    uint64_t request;
    char queue[DTQI_NAME_BYTES_MAX + 1]; /* of these only; "": of any */
    uint64_t before_wall_ms;
    dtq_id *old_ids;
    dtq_id *new_ids; /* behind old_ids */
    uint32_t n;
    bool has_next;
    dtq_id next;
    enum dtqi_refusal reason; /* why not all of them */
    const char *text;
    uint64_t until; /* PURGE: so many deletes are to be durable */
};

enum move_state { MOVE_IDLE, MOVE_READING, MOVE_WRITING };

/* The page of a queue that is being moved. */
struct move_job {
    uint8_t state;
    uint32_t route;
    uint64_t request;
    char from[DTQI_NAME_BYTES_MAX + 1];
    char to[DTQI_NAME_BYTES_MAX + 1];
    bool has_after;
    dtq_id after;
    uint32_t n;
    bool has_next;
    dtq_id next;
    const char *text;   /* why not all of them */
    uint32_t spec_from; /* of the last task, and what it became; NONE: none */
    uint32_t spec_to;
    uint32_t *specs; /* old ones, used until the end */
    uint32_t specs_n;
    uint32_t specs_room;
};

struct vent_read {
    struct journal_read read; /* first: the shell gives back its address */
    uint8_t kind;
    bool out; /* the shell has it */
    uint32_t queue;
    uint64_t bytes_asked; /* READ_LOAD: about so many may come */
    uint64_t boundary_moves;
    uint8_t clock; /* READ_DUE */
    bool is_ahead; /* READ_LOAD: of this rank, which lies behind the window */
    uint8_t rank;
    uint32_t worker;
    uint64_t session;
    uint32_t owner;          /* claim, wait */
    struct cron_entry *cron; /* NULL: it is gone */
    struct query *query;
    struct dtqi_buf *keys;        /* what read.keys points into */
    struct vent_read *waits_next; /* for what is dying: */
    uint64_t turn;                /* .. the end of this one */
    uint64_t until_ms;            /* .. but not for longer */
    struct vent_read *next;
    struct vent_read *prev;
};

/* Delayed tasks wait by one of two clocks, which may drift apart at any time: so each has an order
 * of its own, in memory and in the journal. */
enum due_clock { DUE_STEADY, DUE_BY_WALL, DUE_CLOCKS };

struct due {
    struct heap heap;
    bool unloaded; /* there are delayed tasks at or behind the boundary */
    bool loading;
    uint64_t boundary_wall_ms;
    uint64_t boundary_seq;
    uint64_t moves;
    uint64_t load_after_ms; /* there was no memory */
};

/* What a cron entry was told to be. */
struct cron_def {
    struct journal_cron record; /* texts, spec and payload are in buf; its state is not read */
    struct dtqi_buf *buf;
    struct cron *expression; /* NULL: it has an interval, or is flawed */
    const char *flaw;        /* why its expression cannot be read here; NULL: it can */
};

/* A run whose task is not committed yet. */
struct cron_fire {
    uint32_t task; /* NONE: there is none under way */
    bool by_hand;
    dtq_id id;
    uint64_t due_wall_ms;
    uint64_t wall_ms;
    uint64_t missed; /* times before it that are counted with it */
};

enum cron_change { CRON_SAME, CRON_STATE, CRON_PUT, CRON_DEL };

struct cron_entry {
    char name[DTQI_NAME_BYTES_MAX + 1];
    struct cron_def *def;            /* as committed; NULL: it never was .. */
    struct cron_def *next;           /* .. and what it becomes with the commit; NULL: it stays */
    struct journal_cron_state state; /* but for the run that is under way */
    struct cron_fire fire;
    uint8_t change;                /* what the journal is to be told .. */
    uint8_t handed;                /* .. and was told in the batch under way */
    struct journal_cron told;      /* so, .. */
    struct journal_cron told_fire; /* .. and of its run */
    uint32_t asks;                 /* chain: waits for the batch that tells of it .. */
    uint32_t asked;                /* .. and for the one that is under way */
    uint32_t runs;                 /* chain: runs by hand that wait for the one under way */
    uint32_t place;                /* in the heap of times; NONE: it is not there */
    uint64_t next_wall_ms;         /* its next time; NEVER: there is none */
    uint64_t pinned_wall_ms;       /* this time came while it could not fire; 0: none did */
    const char *blocked;           /* why not; NULL: nothing keeps it */
    struct vent_read *look;        /* the journal is asked whether its last run is open */
    bool last_closed;              /* it is not */
    struct cron_entry *changed_next;
    struct cron_entry *changed_prev;
    struct cron_entry *handed_next; /* it may be in both lists */
};

struct vent {
    struct vent_cfg cfg;
    dtqi_uid store;
    uint64_t epoch;
    uint64_t random;
    struct vent_actions *out; /* during a step */
    struct vent_counters counters;
    bool fatal;
    bool stopping;
    bool stopped;

    uint64_t now_ms;
    uint64_t wall_ms;        /* of the steady clock: ids, durations .. */
    uint64_t host_wall_ms;   /* .. and of the host, which may jump .. */
    uint64_t shown_ahead_ms; /* .. and is ahead by so much in what people are told */
    uint64_t start_ms;
    uint64_t deadline_ms;
    uint64_t stall_ms; /* sum of what the loop was late by (R13) */

    /* tasks */
    struct task *tasks;
    void *tasks_memory;
    uint32_t tasks_used; /* records that were ever used */
    struct list free_tasks;
    uint32_t counts[TASK_STATES];
    struct dtqi_idmap map;
    uint64_t seq;
    uint64_t resident_bytes;
    uint32_t share; /* ready tasks that every queue may have in memory */
    uint64_t backlog_bytes;
    uint64_t backlog_tasks;
    struct past *pasts;
    uint32_t pasts_n;
    uint32_t pasts_room;
    uint32_t pasts_free;
    struct link *links;
    uint32_t links_n;
    uint32_t links_room;
    uint32_t links_free;

    struct spec *specs;
    uint32_t specs_n;
    uint32_t specs_room;
    uint32_t specs_free;
    struct list specs_unused;
    uint32_t *spec_buckets;
    uint32_t spec_buckets_mask;
    uint32_t specs_count;
    uint32_t ghost; /* spec of records that stand for an id only */
    uint64_t marks;

    /* queues */
    struct queue *queues; /* queues_room of them; then groups_room groups */
    uint32_t queues_n;
    uint32_t queues_room;
    uint32_t queues_count;
    uint32_t *queue_buckets;
    uint32_t groups_n; /* ever used */
    uint32_t groups_room;
    uint32_t groups_count;
    uint32_t groups_free;
    uint32_t *group_buckets;
    uint32_t group_buckets_mask;
    uint32_t queue_number;  /* last one given */
    uint32_t *numbers_free; /* of groups that the journal has forgotten */
    uint32_t numbers_free_n;
    uint32_t numbers_free_room;
    struct nummap numbers; /* of the journal -> index */
    struct list changed;   /* queues and groups that the journal is to be told of */
    struct list hungry;    /* that have nothing ready and more in the journal */
    bool settings_due;     /* of one of them an operator, or the rate, waits to be written down */
    struct list active;
    struct list stuck;
    uint64_t stuck_ms; /* looked at again */
    uint32_t queues_free;
    uint32_t *unloaded; /* queues that are */
    uint32_t unloaded_n;
    uint64_t turns;       /* tasks of groups that went out */
    uint32_t load_next;   /* of these, to look at first */
    uint32_t loads_asked; /* tasks that reads under way may bring: two must not fill one room */
    uint64_t load_bytes_asked; /* .. and about so many bytes */
    uint32_t load_idle;        /* of these, looked at without finding anything to do */
    uint64_t dispatched_seen;
    uint64_t seq_start; /* tasks before it are from before the start */

    /* What queues were told to cancel is looked for in the journal, one queue after the other. */
    uint32_t purging;     /* queues with a purge_seq */
    uint32_t purge_queue; /* the one that is worked on; NONE: none */
    uint64_t purge_round; /* .. which is begun anew when it is told again */
    bool purge_reading;
    bool purge_has_after;
    bool purge_ended; /* all of it has been looked at */
    bool purge_small; /* the last answer was too large for memory */
    dtq_id purge_after;
    uint64_t purge_after_ms; /* not before this */

    /* time */
    struct due due[DUE_CLOCKS];
    struct heap expiries;
    struct heap gates;      /* queues that their rate closes */
    uint64_t host_ahead_ms; /* what the host's wall clock was ahead of ours when that was written */
    uint64_t mark_at_ms;    /* when the journal is to be told the time, for a start after a boot */
    bool mark_due;
    bool due_current; /* what was due when this start was made has been loaded */
    struct list deadwait;
    struct list held[DTQI_SINKS_MAX];
    uint64_t done_check_ms;

    /* paper */
    struct list fresh; /* PAPER_NONE, waits for its hold to end */
    struct list write; /* PAPER_NONE, goes with the next batch */
    struct list dirty;
    struct list deletes;
    bool urgent;      /* the dirty ones do not wait */
    uint64_t lazy_ms; /* oldest of what waits for company; 0: nothing does */
    bool no_space;
    uint64_t puts_after_ms;  /* after a failure */
    uint64_t batch_after_ms; /* likewise, without puts */
    bool map_full;
    uint64_t map_full_ms; /* when that was learned */
    struct journal_batch *flight;
    struct dtqi_buf *flight_texts; /* of its ops; NULL: none */
    bool flight_has_puts;
    struct journal_batch batch; /* its arrays are kept */
    uint32_t *batch_tasks;      /* of each op */
    uint32_t *batch_queues;     /* indexes of its queues */
    uint32_t batch_queues_room;
    uint32_t batch_records_room;
    uint64_t batches;
    uint64_t read_numbers;
    struct vent_read *reads; /* the shell has them, or they wait */
    uint32_t reads_n;
    uint32_t queries_n;

    /* idempotency keys that the journal does not have yet */
    uint32_t *key_buckets;
    uint64_t keys_n;         /* in the journal, as it said last */
    uint64_t keys_forget_ms; /* the next time that it is told to forget old ones */
    bool keys_forget_due;

    struct move_job move_job;
    uint32_t transfers; /* tasks with that mark */

    /* attempts of tasks that are no more */
    uint64_t past_n; /* of so many tasks, as the journal said last */
    uint64_t past_forget_ms;
    bool past_forget_due;

    /* dead letters */
    struct dead_job dead_job;
    struct dead_del {
        dtq_id id;
        uint64_t past_until_wall_ms; /* its attempts are kept so long; 0: not at all */
    } * dead_dels;                   /* to be forgotten by the journal */
    uint32_t dead_dels_n;
    uint32_t dead_dels_room;
    uint32_t dead_dels_handed;
    uint64_t dead_dels_done; /* in all */
    bool dead_sweeping;
    uint64_t dead_sweep_ms; /* the next look for old ones */
    bool dead_sweep_goes_on;
    dtq_id dead_sweep_after;
    uint32_t dying_settled[2];     /* of each round */
    uint8_t dying_round;           /* what begins to die now is counted there */
    bool dying_turning;            /* the other round is being waited for */
    uint64_t dying_turn;           /* number of the one that is under way, or was last */
    struct vent_read *dying_reads; /* they wait, the oldest first */
    struct vent_read *dying_reads_last;

    /* cron */
    struct cron_entry **crons; /* in order of names */
    uint32_t crons_n;
    uint32_t crons_room;
    uint64_t cron_bytes;
    struct cron_entry **cron_heap; /* by next time; room for all */
    uint32_t cron_heap_n;
    uint32_t cron_heap_room;
    uint32_t crons_blocked;
    uint64_t cron_retry_ms; /* those are looked at again */
    uint64_t cron_wall_ms;  /* of the last look */
    bool crons_begun;
    struct cron_entry *cron_changed; /* oldest first */
    struct cron_entry *cron_changed_tail;
    struct cron_entry *cron_handed; /* told of in the batch under way */

    /* peers */
    struct peer *peers;
    uint32_t peers_n;
    uint32_t peers_room;
    uint32_t peers_free;
    struct map32 routes;
    struct list producers; /* least recently heard first */
    uint64_t sessions;
    struct worker *workers;
    uint32_t workers_n; /* used at least once */
    uint32_t workers_count;
    uint32_t workers_open;
    uint32_t workers_able;
    uint32_t workers_reserved;
    uint32_t suspects_n; /* ready ones, of all queues */
    struct seats any;    /* that serve every queue */
    uint32_t any_servers;
    uint32_t oldest; /* worker heard longest ago */
    uint32_t newest;
    uint32_t *touched;
    uint32_t touched_n;
    uint64_t recall_ms; /* looked for a reason to */
    uint64_t pages_bytes;
    struct journal_worker *roster; /* changes to be written */
    uint32_t roster_n;
    uint32_t roster_room;
    uint32_t roster_handed;
    dtqi_uid *expected; /* of the roster, not heard from since the start (R33) */
    uint32_t expected_n;
    bool grace_over;

    struct sink sinks[DTQI_SINKS_MAX];
    uint32_t sinks_n;
    bool sinks_changed;
    uint32_t down;     /* mask of sinks that cannot be reached .. */
    uint32_t diverged; /* .. and of those, of which nothing is dispatched (R34, R52) */
    struct removal *removals;
    uint32_t removals_n;
    uint32_t removals_room;
    bool removals_due;    /* some are to be written */
    bool removals_left;   /* tasks of some could not be moved for want of memory .. */
    uint64_t removals_ms; /* .. and this is tried again then */
    uint32_t proposals;   /* sent and not settled */

    struct wait *waits;
    uint32_t waits_n;
    uint32_t waits_room;
    uint32_t waits_free;
    uint32_t waits_used;
    uint32_t answers; /* chain of waits to be answered */
    uint32_t answers_tail;
    struct claim *claims;
    uint32_t claims_n;
    uint32_t claim_numbers;
    uint64_t claims_done; /* changes whenever a claim ends .. */
    uint64_t claims_seen; /* .. and pages that wait for one are looked at again */
};

/* ---------------------------------------------------------------- small helpers */

static inline struct task *task_at(const struct vent *v, uint32_t index)
{
    return &v->tasks[index];
}

/* The record of a task that an event names further on: by then it is in the cache. */
DTQI_EXPECTS vent_record_expect(const struct vent *v, uint32_t index)
{
    if (index >= v->tasks_used)
        return;
    __builtin_prefetch(task_at(v, index), 1);
    __builtin_prefetch((const char *)task_at(v, index) + 64, 1);
}

static inline uint32_t task_index(const struct vent *v, const struct task *t)
{
    return (uint32_t)(t - v->tasks);
}

static inline struct spec *spec_of(const struct vent *v, const struct task *t)
{
    return &v->specs[t->spec];
}

static inline struct queue *queue_of(const struct vent *v, const struct task *t)
{
    return &v->queues[v->specs[t->spec].queue];
}

/* The queue that it is a group of; or itself. */
static inline struct queue *head_of(const struct vent *v, const struct queue *q)
{
    return &v->queues[q->parent != NONE ? q->parent : (uint32_t)(q - v->queues)];
}

/* Tasks of a queue in a state, with those of its groups. */
static inline uint32_t resident_of(const struct queue *q, enum task_state state)
{
    return q->resident[state] + (q->groups != NULL ? q->groups->resident[state] : 0);
}

static inline uint64_t tasks_of(const struct queue *q)
{
    return q->tasks + (q->groups != NULL ? q->groups->tasks : 0);
}

/* Whether the time of a delayed task came is told by its state; but what is held after a start is
 * counted with what only the journal has. */
static inline bool is_told(enum task_state state)
{
    return state != TASK_FREE && state != TASK_CLAIMED && state != TASK_HELD && state != TASK_GONE;
}

/* Tasks that wait for their time, as far as memory knows. */
static inline uint64_t scheduled_of(const struct queue *q)
{
    uint64_t delayed = q->delayed + (q->groups != NULL ? q->groups->delayed : 0);
    uint64_t here = q->delayed_here + (q->groups != NULL ? q->groups->delayed_here : 0);

    return resident_of(q, TASK_SCHEDULED) + (delayed > here ? delayed - here : 0);
}

static inline uint64_t bytes_of(const struct queue *q)
{
    return q->bytes + (q->groups != NULL ? q->groups->bytes : 0);
}

/* Nothing of its group is dispatched before it, and it does not leave memory. */
static inline bool is_tried(const struct queue *q, const struct task *t)
{
    return q->is_ordered && t->attempt != 0;
}

/* Sinks of its ready tasks, those of closed groups left out: mask. */
static inline uint32_t sinks_of(const struct queue *q)
{
    return q->lots_mask | (q->groups != NULL ? q->groups->sinks_mask : 0);
}

static inline struct past *past_of(const struct vent *v, const struct task *t)
{
    return t->past != NONE ? &v->pasts[t->past] : NULL;
}

static inline uint64_t task_epoch(const struct vent *v, const struct task *t)
{
    const struct past *p = past_of(v, t);

    return p != NULL && p->epoch != 0 ? p->epoch : v->epoch;
}

static inline uint64_t task_bytes(const struct vent *v, const struct task *t)
{
    return (uint64_t)t->body_len + spec_of(v, t)->spec.raw.len;
}

/* What it takes of the memory for tasks. */
static inline uint64_t vent_cost(const struct vent *v, const struct task *t)
{
    return sizeof *t + TASK_OVERHEAD_BYTES + task_bytes(v, t);
}

static inline uint32_t task_ticket(const struct vent *v, const struct task *t)
{
    return (uint32_t)t->generation << TASK_INDEX_BITS | task_index(v, t);
}

static inline bool attempt_is_after(uint64_t epoch, uint32_t n, const struct journal_attempt *than)
{
    return epoch != than->epoch ? epoch > than->epoch : n > than->n;
}

static inline void list_init(struct list *l)
{
    *l = (struct list){NONE, NONE, 0};
}

static inline void due_at(struct vent *v, uint64_t ms)
{
    if (ms < v->deadline_ms)
        v->deadline_ms = ms;
}

static inline uint64_t at_least_1(uint64_t n)
{
    return n != 0 ? n : 1;
}

/* ---------------------------------------------------------------- vent_core.c */

/* A zeroed action at the end of the list; NULL: no memory. Valid until the next one is added. */
struct vent_action *vent_act(struct vent *v, enum vent_action_type type);
/* Memory until the actions have been executed: n times bytes, at least one byte. NULL: none. */
void *vent_scratch(struct vent *v, size_t n, size_t bytes);
/* A message to be sent to a route, type and the rest are the caller's to fill in. NULL: no memory.
 */
struct dtqi_msg *vent_send(struct vent *v, uint32_t route, enum dtqi_msg_type type);
void vent_fatal(struct vent *v, const char *text);
/* Pairs are (static key, kind, value): see the L_ macros. */
struct log_value {
    const char *key;
    enum { LOG_STR, LOG_TEXT, LOG_U64, LOG_ID } kind;
    struct dtqi_str str;
    const char *text;
    uint64_t number;
    const void *id;
};
void vent_log(struct vent *v, enum vent_level level, const char *event,
              const struct log_value *values, uint32_t values_n);
#define L_STR(k, s)                             \
    {                                           \
        .key = (k), .kind = LOG_STR, .str = (s) \
    }
#define L_TEXT(k, t)                              \
    {                                             \
        .key = (k), .kind = LOG_TEXT, .text = (t) \
    }
#define L_U64(k, n)                                \
    {                                              \
        .key = (k), .kind = LOG_U64, .number = (n) \
    }
#define L_ID(k, i)                            \
    {                                         \
        .key = (k), .kind = LOG_ID, .id = (i) \
    }
#define VENT_LOG(v, level, event, ...)                                                      \
    do {                                                                                    \
        const struct log_value log_values_[] = {__VA_ARGS__};                               \
        vent_log(v, level, event, log_values_, sizeof log_values_ / sizeof log_values_[0]); \
    } while (0)
/* Uniform in 0 .. bound (included). */
uint64_t vent_random(struct vent *v, uint64_t bound);
/* Room for one more in an array that grows by doubling. false: no memory, nothing changed. */
bool vent_grow(void *array, uint32_t n, uint32_t *room, size_t bytes);

/* ---------------------------------------------------------------- vent_task.c */

dtq_err vent_tasks_init(struct vent *v);
void vent_tasks_done(struct vent *v);
/* By id; NULL: not in memory. */
struct task *vent_task_find(const struct vent *v, const dtq_id *id);
DTQI_EXPECTS vent_task_expect(const struct vent *v, const dtq_id *id)
{
    dtqi_idmap_expect(&v->map, id);
}
/* A record in no state but FREE and no list, holding a reference to buf, and taking over that to
 * the spec; NULL: none left. */
struct task *vent_task_new(struct vent *v, const dtq_id *id, uint32_t spec, struct dtqi_slice body,
                           struct dtqi_buf *buf);
/* Leaves its state; out of the id map and of every list. */
void vent_task_free(struct vent *v, struct task *t);
/* Its payload is not needed any more. */
void vent_task_drop_body(struct vent *v, struct task *t);
/* Every change of state goes through here: checks the table, unlinks from the old state's list,
 * counts. The caller links into the new one. */
void vent_task_move(struct vent *v, struct task *t, enum task_state to);
const char *vent_task_state_name(enum task_state state);
/* A record that stands for an id that is to be deleted from the journal; NULL: none left. */
struct task *vent_ghost(struct vent *v, const dtq_id *id);
/* The spec counted as used by a task, made where missing. NONE: no memory. */
uint32_t vent_spec_get(struct vent *v, struct dtqi_slice raw);
void vent_spec_drop(struct vent *v, uint32_t spec);
/* Specs that no task uses are forgotten now, and the groups that only they name. */
void vent_specs_trim(struct vent *v);
/* The past of a task, made where missing; NULL: no memory. */
struct past *vent_past(struct vent *v, struct task *t);
/* Keep a copy of the body, and let the message go that it came in. */
void vent_task_own_body(struct task *t);
/* Make an id of this time out of 16 bytes that nothing else has. */
void vent_id_stamp(dtq_id *id, uint64_t wall_ms);
/* An id that no producer has made, of this time. */
dtq_id vent_new_id(struct vent *v, uint64_t wall_ms);
/* A chain of links. */
bool vent_link_add(struct vent *v, uint32_t *chain, uint32_t to);
uint32_t vent_link_take(struct vent *v, uint32_t *chain); /* NONE: empty */

void vent_list_push(struct vent *v, struct list *l, struct task *t);
void vent_list_push_head(struct vent *v, struct list *l, struct task *t);
void vent_list_remove(struct vent *v, struct list *l, struct task *t);
void vent_paper_push(struct vent *v, struct list *l, struct task *t);
void vent_paper_push_head(struct vent *v, struct list *l, struct task *t);
void vent_paper_remove(struct vent *v, struct list *l, struct task *t);

/* ---------------------------------------------------------------- vent_queue.c */

dtq_err vent_queues_init(struct vent *v, const struct journal_start *start);
void vent_queues_done(struct vent *v);
/* NONE: none of that name. */
uint32_t vent_queue_find(const struct vent *v, struct dtqi_str name);
/* Made where missing; NONE: no memory, or queues_max. */
uint32_t vent_queue_get(struct vent *v, struct dtqi_str name);
/* Make ready what its ready tasks of this sink need. false: no memory. */
bool vent_queue_lot(struct vent *v, uint32_t queue, uint32_t sink);
/* It gets tasks: the journal must know it. */
void vent_queue_number(struct vent *v, struct queue *q);
/* NULL: none has it. */
struct queue *vent_queue_of_number(const struct vent *v, uint32_t number);
/* One task more, or less. */
void vent_queue_add(struct vent *v, struct queue *q, uint64_t bytes, bool is_delayed);
void vent_queue_take(struct vent *v, struct queue *q, uint64_t bytes, bool is_delayed);
/* It is (not) in the order of due times any more. */
void vent_queue_delayed(struct vent *v, struct queue *q, bool is_delayed);
/* A task that the journal has in the order of due times changes its state in memory. */
void vent_queue_delayed_here(struct vent *v, const struct task *t, enum task_state from,
                             enum task_state to);
/* Room for what stands for one more number. false: no memory. */
bool vent_numbers_reserve(struct vent *v);
/* It may have something at the boundary of what is loaded, or behind it. */
void vent_queue_unloaded(struct vent *v, struct queue *q, bool unloaded);
/* A record for it, with nothing in it; and the end of that. */
void vent_queue_reset(struct vent *v, uint32_t queue, struct dtqi_str name);
void vent_queue_clear(struct vent *v, struct queue *q);
/* As the journal has it. */
void vent_queue_start(struct vent *v, struct queue *q, const struct journal_queue *jq);
/* Its settings changed: the journal is told. */
void vent_queue_changed(struct vent *v, struct queue *q);
/* Drop it when nothing uses it and the journal does not know it. */
void vent_queue_unuse(struct vent *v, uint32_t queue);
/* R44: it was in the journal when its queue was purged. */
bool vent_is_purged(const struct vent *v, const struct queue *q, const struct task *t);
/* The task may run: READY, or what else is right for it (R22, R33, R36, R41). */
void vent_release(struct vent *v, struct task *t);
/* The task of these sinks (mask) that is next; NULL: none. It stays where it is. */
struct task *vent_queue_peek(struct vent *v, struct queue *q, uint32_t sinks);
/* The same of its own tasks, not those of its groups. */
struct task *vent_lots_peek(const struct vent *v, const struct queue *q, uint32_t sinks);
/* The first of a rank that has any. */
struct task *vent_lot_first(const struct vent *v, const struct lot *lot, uint32_t rank);
/* R41: it is at the boundary of what is loaded, or behind it. */
bool vent_is_behind(const struct vent *v, const struct queue *q, const struct task *t);
/* It leaves its last `n` ready tasks, or more than `floor`, to the journal. */
void vent_evict_ready(struct vent *v, struct queue *q, uint32_t n, uint32_t floor);
/* .. and those that are behind its window. */
void vent_evict_behind(struct vent *v, struct queue *q);
/* So many ready tasks it may have when the window is full; with R51, so many of each rank. */
uint32_t vent_share_of(const struct vent *v, const struct queue *q);
bool vent_is_served(const struct vent *v, const struct queue *q);
/* A READY task into the lists of its queue and sink. */
void vent_ready_link(struct vent *v, struct task *t);
void vent_ready_unlink(struct vent *v, struct task *t);
/* PARKED, or SCHEDULED and behind the boundary: out of memory if nothing is to be written (R42). */
void vent_unpark(struct vent *v, struct task *t);
/* Behind the boundary: it leaves memory once it is written. */
void vent_park(struct vent *v, struct task *t);
uint32_t vent_records(const struct vent *v); /* in use */
void vent_window_tick(struct vent *v);
void vent_loaded(struct vent *v, struct vent_read *r);
/* A task of the journal that is not in memory comes into it, in no state (FREE) yet. NULL: no
 * record or memory left, or it cannot be read. */
struct task *vent_recover(struct vent *v, const struct journal_task *jt, struct dtqi_buf *buf);
/* A task of the journal that the window may have passed: into memory, or loaded later. */
void vent_bring_back(struct vent *v, const struct journal_task *jt, struct dtqi_buf *buf);
/* Recovered and not leased: held until R33 allows more. */
void vent_recovered(struct vent *v, struct task *t);
void vent_release_held(struct vent *v);
bool vent_has_room(const struct vent *v);
/* Tasks that are in memory, or being read, have half of what there is for them. */
bool vent_is_full_of_bytes(const struct vent *v);
/* There is some in the table of tasks, window full or not. */
bool vent_has_records(const struct vent *v);
/* So many tasks one read of the queue is to bring. */
uint32_t vent_load_tasks(const struct vent *v, const struct queue *q);
/* So many ready tasks of it are to be in memory while there is room. */
uint32_t vent_stock_of(const struct vent *v, const struct queue *q);
uint32_t vent_window_room(const struct vent *v); /* so many tasks more */
/* .. in lists of active or stuck queues, or in the rings of its parent */
void vent_queue_place(struct vent *v, struct queue *q, enum queue_place place);
/* Of a group, whose rings follow. */
void vent_queue_set_place(struct vent *v, struct queue *q, enum queue_place place);
/* Queues that found no worker are tried again. */
void vent_unstick(struct vent *v);

/* ---------------------------------------------------------------- vent_age.c */

/* The queue has R51: this one comes before that one, both being its own. */
bool vent_age_is_before(const struct vent *v, const struct queue *q, const struct task *a,
                        const struct task *b);
/* The same of the first tasks of two of its groups. */
bool vent_age_is_turn(const struct vent *v, const struct queue *p, const struct task *a,
                      const struct task *b);
/* As vent_lots_peek(). */
struct task *vent_age_peek(const struct vent *v, const struct queue *q, uint32_t sinks);
/* What the settings of its queue say; and when they changed. */
void vent_age_take(const struct vent *v, struct queue *q);
void vent_age_set(struct vent *v, struct queue *p);
/* Ready tasks of it in memory. */
uint32_t vent_rank_n(const struct queue *q, uint32_t rank);
/* It is in memory, though it lies behind the window. */
bool vent_ahead_has(const struct queue *q, uint32_t rank, uint64_t seq);
/* The window will end here; or what is ahead of it does. */
void vent_ahead_window_back(struct queue *q, uint32_t rank, uint64_t seq);
void vent_ahead_back(struct queue *q, uint32_t rank, uint64_t seq);
/* A task of the rank has left memory. */
void vent_ahead_left(struct queue *q, uint32_t rank);
/* Of the share of a queue that has R51, what each of its ranks may have. */
uint32_t vent_ahead_share(const struct vent *v, uint32_t share);
/* So many of each rank do not. */
uint32_t vent_ahead_floor(const struct vent *v, const struct queue *q);
/* The rank to read of ahead of the window, so many tasks; NONE: the window comes first. */
uint32_t vent_ahead_wanted(const struct vent *v, struct queue *q);
uint32_t vent_ahead_limit(const struct vent *v, const struct queue *q);
/* None is in memory, and the journal may have some. */
bool vent_ahead_is_out(const struct queue *q, uint32_t rank);
void vent_ahead_ask(struct queue *q, uint32_t rank, struct vent_read *r);
/* false: not all of it could come into memory. */
bool vent_ahead_loaded(struct vent *v, struct queue *q, const struct vent_read *r);

/* ---------------------------------------------------------------- vent_group.c */

dtq_err vent_groups_init(struct vent *v, const struct journal_start *start);
/* So many there may be at a time. */
uint32_t vent_groups_room(const struct vent_cfg *cfg);
void vent_groups_done(struct vent *v);
/* The group of a queue, made where missing; NONE: no memory, or groups_max. */
uint32_t vent_group_get(struct vent *v, uint32_t parent, struct dtqi_str key, bool is_ordered);
/* Forget it when nothing uses it, here first and then in the journal. */
void vent_group_unuse(struct vent *v, struct queue *q);
/* The journal was told that it is gone: `is_gone` says whether it is there. */
void vent_group_forgotten(struct vent *v, struct queue *q, bool is_gone);
/* It could not be told of: tasks may have come since. */
void vent_group_kept(struct queue *q);
/* A group, or a queue that has groups, has other ready tasks than before, or another place. */
void vent_group_update(struct vent *v, struct queue *q, bool is_more);
/* One of its tasks changes its state. */
void vent_group_moved(struct vent *v, const struct queue *q, enum task_state from,
                      enum task_state to);
/* Of the open groups, by rank and then in turn; NULL: none has any. */
struct task *vent_group_peek(struct vent *v, struct queue *q, uint32_t sinks);
struct task *vent_group_suspect(struct vent *v, struct queue *q);
/* One of its tasks went out: the others come first now. */
void vent_group_served(struct vent *v, struct queue *q);
/* So many may be dispatched, as far as their order goes: 1 or 0. */
uint32_t vent_order_room(const struct vent *v, const struct queue *q);
/* Ready tasks leave memory, of the queue and its groups; `closed`: of those that are closed only.
 */
void vent_family_evict(struct vent *v, struct queue *q, uint32_t n, bool closed);
/* Its limits for groups were read or changed. */
void vent_groups_set(struct vent *v, struct queue *q);
/* Why its order keeps a task of it waiting, for people; NULL: it does not. */
const char *vent_order_why(struct vent *v, const struct queue *q, const struct task *t);
/* Which queue, or group, a task of this spec belongs to; NONE: no memory, or too many. */
uint32_t vent_queue_of_spec(struct vent *v, const struct dtqi_spec *spec);
/* No group can be made: there are too many. */
bool vent_groups_full(const struct vent *v);

/* ---------------------------------------------------------------- vent_time.c */

/* Until a due time, by its clock; 0: it has come. */
uint64_t vent_left_ms(const struct vent *v, uint64_t due_wall_ms);
/* Due times are by the steady clock, or with JOURNAL_DUE_BY_WALL by that of the host. */
bool vent_is_due(const struct vent *v, uint64_t due_wall_ms);
/* What the host's wall clock says at a time of the steady clock: for people. */
uint64_t vent_host_wall_ms(const struct vent *v, uint64_t wall_ms);
uint64_t vent_steady_wall_ms(const struct vent *v, uint64_t host_wall_ms); /* and back */
uint64_t vent_due_host_wall_ms(const struct vent *v, uint64_t due_wall_ms);
uint32_t vent_scheduled(const struct vent *v);
void vent_schedule(struct vent *v, struct task *t, uint64_t due_wall_ms);
void vent_due_unlink(struct vent *v, struct task *t);
/* The key in the journal's order of due times is at the boundary of what is loaded, or behind it.
 */
bool vent_due_is_behind(const struct vent *v, const struct task *t);
/* Ready tasks that came back out of order, by seq. false: no memory. */
bool vent_late_add(struct vent *v, struct heap *h, struct task *t);
void vent_late_remove(struct vent *v, struct heap *h, struct task *t);
/* When its producer made it: the time in its id, unless that is by another clock. */
uint64_t vent_made_wall_ms(const struct vent *v, const struct task *t);
/* 0: never. */
uint64_t vent_expires_wall_ms(const struct vent *v, const struct task *t);
bool vent_is_expired(const struct vent *v, const struct task *t);
void vent_expiry_add(struct vent *v, struct task *t);
void vent_expiry_remove(struct vent *v, struct task *t);
uint64_t vent_backoff_ms(struct vent *v, const struct dtqi_spec *spec, uint32_t failures);
void vent_time_tick(struct vent *v);
dtq_err vent_time_init(struct vent *v);
/* The half of the due heaps that is due last leaves memory, or is moved so that it can (R42). */
void vent_due_evict(struct vent *v);
void vent_due_loaded(struct vent *v, struct vent_read *r);
/* The journal has delayed tasks. */
void vent_due_begin(struct vent *v);
/* The delayed task of this key could not come into memory. */
void vent_due_leave_out(struct vent *v, const struct journal_key *key);
void vent_heap_done(struct heap *h);
/* In order of seq; still a heap. false: no memory. */
bool vent_late_sort(struct vent *v, struct heap *h);
/* Wall time of a due or expiry time as a monotonic deadline; never far off: wall clocks jump. */
void vent_due_wall(struct vent *v, uint64_t wall_ms);

/* Queues that their rate closes, by the time at which it lets go of them; it cannot fail. */
void vent_gate_add(struct vent *v, uint32_t queue);
void vent_gate_remove(struct vent *v, uint32_t queue);

/* ---------------------------------------------------------------- vent_gate.c */

/* So many of its tasks may be dispatched now. 0: the queue is closed, and out of the way. */
uint32_t vent_gate_room(struct vent *v, struct queue *q);
/* One was dispatched; or given back without having run. */
void vent_gate_took(struct vent *v, struct queue *q);
void vent_gate_gave_back(struct vent *v, struct queue *q);
/* What closed it may be over: it is looked at again. */
void vent_gate_open(struct vent *v, struct queue *q);
/* Its settings were read or changed. */
void vent_gate_set(struct vent *v, struct queue *q);
/* Those whose time has come. */
void vent_gates_tick(struct vent *v);
/* What nobody knew after the start is known: queues and groups that waited for that. */
void vent_gates_start_over(struct vent *v);
/* "paused", or the limit that keeps its tasks waiting; NULL: none. In scratch, or static. */
const char *vent_gate_why(struct vent *v, const struct queue *q);

/* ---------------------------------------------------------------- vent_submit.c */

void vent_on_submit(struct vent *v, struct peer *p, const struct dtqi_msg *msg);
/* From here on it is ours: a new task, in no state yet. */
void vent_admit(struct vent *v, struct task *t);
/* Why there can be no task of this spec; NULL: there can. */
const char *vent_flaw_of_spec(const struct dtqi_spec *s);
/* A new task that waits for its time: the journal keeps it in the order of due times. false: no
 * memory. */
bool vent_delay(struct vent *v, struct task *t, uint64_t not_before_wall_ms);
/* Why a task cannot have this id, by the time in it; NULL: it can. */
const char *vent_refusal_of_time(const struct vent *v, const dtq_id *id,
                                 enum dtqi_refusal *ret_reason);
/* What keeps all new tasks out; NULL: nothing does. */
const char *vent_refusal_of_any(const struct vent *v, enum dtqi_refusal *ret_reason);
/* What keeps new tasks of a queue out; NULL: nothing does. */
const char *vent_refusal_of_new(const struct vent *v, const struct queue *q,
                                enum dtqi_refusal *ret_reason);
/* The task is durable or settled: whoever waits for that is told. */
void vent_confirm(struct vent *v, struct task *t);
bool vent_wait_has_room(const struct vent *v);
/* NONE: too many. It counts itself until vent_wait_release(). */
uint32_t vent_wait_new(struct vent *v, enum wait_kind kind, uint32_t route, uint64_t request);
void vent_wait_release(struct vent *v, uint32_t wait);
/* The wait counts one more that must be released. */
void vent_wait_hold(struct vent *v, uint32_t wait);
/* .. until the task is committed or settled. false: no memory. */
bool vent_wait_for(struct vent *v, uint32_t wait, struct task *t);
void vent_wait_refuse(struct vent *v, uint32_t wait, uint32_t index, enum dtqi_refusal reason,
                      const char *text);
/* The entry is not taken: its key stands for this task, which is durable or is waited for. */
void vent_wait_same(struct vent *v, uint32_t wait, uint32_t index, const dtq_id *id);
void vent_waits_tick(struct vent *v);
void vent_waits_done(struct vent *v);
void vent_claim_looked_up(struct vent *v, struct vent_read *r);
void vent_keys_looked_up(struct vent *v, struct vent_read *r);
void vent_on_claim_reply(struct vent *v, struct sink *s, const struct dtqi_claim_reply *m);
void vent_claims_tick(struct vent *v);
void vent_claims_sink_lost(struct vent *v, struct sink *s);

/* ---------------------------------------------------------------- vent_peer.c */

dtq_err vent_peers_init(struct vent *v);
void vent_peers_done(struct vent *v);
struct peer *vent_peer_find(const struct vent *v, uint32_t route);
/* NULL: no memory. */
struct peer *vent_peer_new(struct vent *v, uint32_t route, enum dtqi_role role, uint32_t index);
void vent_peer_free(struct vent *v, struct peer *p);
void vent_on_hello(struct vent *v, uint32_t route, const struct dtqi_hello *m);
void vent_on_route_gone(struct vent *v, uint32_t route);
void vent_producer_heard(struct vent *v, struct peer *p);
void vent_unknown_session(struct vent *v, uint32_t route, uint64_t session);
void vent_refuse(struct vent *v, uint32_t route, enum dtqi_refusal reason, const char *text);
/* Those of the registered sinks, in scratch; n 0: none, or no memory. */
const struct dtqi_sink_info *vent_sink_list(struct vent *v, uint32_t *ret_n);
void vent_welcome(struct vent *v, uint32_t route, uint64_t session, struct dtqi_str lane);
void vent_tell_sinks(struct vent *v);
void vent_tell_sinks_again(struct vent *v, const struct worker *w);
struct dtqi_str vent_copy_str(struct vent *v, struct dtqi_str text);

/* ---------------------------------------------------------------- vent_worker.c */

dtq_err vent_workers_init(struct vent *v, const struct journal_start *start);
void vent_workers_done(struct vent *v);
void vent_on_worker_hello(struct vent *v, uint32_t route, const struct dtqi_hello *m);
struct worker *vent_worker_of_session(const struct vent *v, uint64_t session);
void vent_on_lane_opened(struct vent *v, uint64_t session, struct dtqi_str endpoint);
void vent_on_lane_failed(struct vent *v, uint64_t session);
void vent_on_lane_broken(struct vent *v, uint64_t session);
/* It is not emptied for a suspect any more. */
void vent_unreserve(struct vent *v, struct worker *w);
/* The session ends; W says HELLO. Its leases wait for that, or for its death. */
void vent_worker_lose(struct vent *v, struct worker *w, const char *why, bool tell);
void vent_worker_heard(struct vent *v, struct worker *w);
void vent_on_worker_heartbeat(struct vent *v, struct worker *w,
                              const struct dtqi_worker_heartbeat *m);
void vent_on_worker_bye(struct vent *v, struct worker *w);
void vent_workers_tick(struct vent *v);
/* What it could take, or its load, has changed: put it in order. */
void vent_worker_update(struct vent *v, struct worker *w);
/* .. before the next dispatch; and it may have something to be sent. */
void vent_worker_touch(struct vent *v, struct worker *w);
/* Its holdings are complete: it may be served. */
void vent_worker_opened(struct vent *v, struct worker *w);
void vent_roster_seen(struct vent *v, struct worker *w);
/* The task becomes the lease of this worker, attempt and all being set: LEASED or DONE. */
void vent_lease(struct vent *v, struct task *t, struct worker *w, enum task_state state);
/* LEASED, STOPPING or DONE ends: off the worker's books. Called by vent_task_move(). */
void vent_unlease(struct vent *v, struct task *t);
/* How an attempt that is over without a report goes on. */
enum lost { LOST_ON_LANE, LOST_WITH_WORKER, LOST_RETURNED };
void vent_attempt_lost(struct vent *v, struct task *t, enum lost how);
void vent_forget(struct vent *v, struct worker *w, const dtq_id *id, uint64_t epoch,
                 uint32_t attempt);
void vent_stop_attempt(struct vent *v, struct worker *w, const dtq_id *id);
uint64_t vent_silence_ms(const struct vent *v, uint64_t heard_ms, uint64_t heard_stall_ms);

/* ---------------------------------------------------------------- vent_holdings.c */

void vent_on_holdings(struct vent *v, struct worker *w, const struct dtqi_msg *msg);
void vent_holdings_looked_up(struct vent *v, struct vent_read *r);
void vent_pages_tick(struct vent *v);
void vent_pages_drop(struct vent *v, struct worker *w);
/* A list of what it holds is to come: nothing is sent to it until that is whole. */
void vent_listing_begins(struct vent *v, struct worker *w);
void vent_ask_holdings(struct vent *v, struct worker *w);
/* Leases that the complete list did not name are lost (R18). */
void vent_listing_ended(struct vent *v, struct worker *w);

/* ---------------------------------------------------------------- vent_report.c */

void vent_on_report(struct vent *v, struct worker *w, const struct dtqi_report *m);
/* The current attempt failed. */
void vent_failed(struct vent *v, struct task *t, const struct dtqi_failure *f);
/* Until crash_limit is reached (R21); 0: it is. */
uint32_t vent_crashes_left(const struct vent *v, const struct task *t);

/* ---------------------------------------------------------------- vent_dispatch.c */

void vent_dispatch_tick(struct vent *v);
/* FORGET, STOP_ATTEMPTS and TASKS that have been gathered. */
void vent_touched_tick(struct vent *v);
void vent_flush_forget(struct vent *v, struct worker *w);
/* Whoever holds tasks of the queue that have not started is asked to give them back. */
void vent_recall_queue(struct vent *v, const struct queue *q);
uint64_t vent_backlog_for(const struct vent *v, const struct worker *w);

/* ---------------------------------------------------------------- vent_sink.c */

/* The sink has an outcome of this kind (R29). */
void vent_settle(struct vent *v, struct task *t, dtq_state kind);
dtq_err vent_sinks_init(struct vent *v, const struct journal_start *start);
uint32_t vent_sink_find(const struct vent *v, const dtqi_uid *store); /* NONE */
/* Where a producer would send a task of this id: R4. NONE: no sink is registered. */
uint32_t vent_sink_choose(const struct vent *v, const dtq_id *id);
/* NONE: too many. */
uint32_t vent_sink_get(struct vent *v, const dtqi_uid *store);
void vent_on_sink_hello(struct vent *v, uint32_t route, const struct dtqi_hello *m);
void vent_on_sink_msg(struct vent *v, struct sink *s, const struct dtqi_msg *msg);
void vent_sink_lost(struct vent *v, struct sink *s, const char *why);
void vent_sinks_tick(struct vent *v);
void vent_sinks_connect(struct vent *v);
/* Its numbers up to applied_handed are durable. */
void vent_sink_acknowledge(struct vent *v, struct sink *s);
bool vent_sink_is_up(const struct sink *s);
/* An operator takes its present history for the true one (R34). */
void vent_sink_accept(struct vent *v, struct sink *s);
/* It can be reached, or cannot, or nothing is to be dispatched for it any more. */
void vent_sink_note(struct vent *v, struct sink *s);
/* Its place is free. */
void vent_sink_clear(struct sink *s);

/* ---------------------------------------------------------------- vent_removed.c */

void vent_on_sink_remove(struct vent *v, uint32_t route, const struct dtqi_operate *m);
bool vent_is_removed(const struct vent *v, const dtqi_uid *store);
/* .. and no other one has what was its. */
bool vent_is_waiting(const struct vent *v, const dtqi_uid *store);
/* Who has what is meant for this one: itself, unless it was removed. */
const dtqi_uid *vent_store_now(const struct vent *v, const dtqi_uid *store);
/* Its place is that of tasks that wait for another one. */
void vent_sink_vacate(struct vent *v, struct sink *s);
/* As the journal has it; false: no memory. Then, when all sinks are known. */
bool vent_removals_init(struct vent *v, const struct journal_sink *js);
void vent_removals_start(struct vent *v);
void vent_removals_tick(struct vent *v);
/* The journal does not have it as it is. */
bool vent_removal_is_due(const struct removal *r);
uint32_t vent_removals_gather(struct vent *v, struct journal_sink *at, uint32_t room);
/* One of a batch that was committed; then, when all of that batch is known. */
void vent_removal_written(struct vent *v, const struct journal_sink *js);
void vent_removals_written(struct vent *v);
/* For those who are told of sinks; in scratch. */
struct dtqi_removed vent_removed_list(struct vent *v);

/* ---------------------------------------------------------------- vent_propose.c */

/* An outcome that no worker will send (R24). `kind`: DTQ_FAILED, DTQ_EXPIRED or DTQ_CANCELLED. */
void vent_propose(struct vent *v, struct task *t, dtq_state kind);
/* R24: what was counted first, then the proposal. */
void vent_propose_failed(struct vent *v, struct task *t);
/* R36: the mark first, then the proposal. */
void vent_propose_cancelled(struct vent *v, struct task *t);
void vent_proposed_unlink(struct vent *v, struct task *t);
void vent_proposals_tick(struct vent *v);
void vent_on_sink_blocked(struct vent *v, uint32_t sink);
void vent_on_sink_connected(struct vent *v, uint32_t sink);

/* ---------------------------------------------------------------- vent_journal.c */

dtq_err vent_journal_init(struct vent *v);
void vent_journal_done(struct vent *v);
/* A new task, in its first state: it goes into the journal when its hold is over. */
void vent_paper_new(struct vent *v, struct task *t);
/* Its counters changed. `urgent`: somebody waits for the commit. */
void vent_dirty(struct vent *v, struct task *t, bool urgent);
/* Its record is to be moved to the order that fits its state. */
void vent_paper_move(struct vent *v, struct task *t);
/* Its spec is another one, with another queue. */
void vent_paper_transfer(struct vent *v, struct task *t);
/* It is settled and GONE: the journal forgets it, or nothing was written and it is freed. */
void vent_paper_end(struct vent *v, struct task *t);
void vent_paper_unlink(struct vent *v, struct task *t);
bool vent_is_clean(const struct task *t);
void vent_lazy(struct vent *v);
void vent_journal_tick(struct vent *v);
void vent_on_written(struct vent *v, struct journal_batch *b);
void vent_on_read_done(struct vent *v, struct journal_read *r);
/* A read to be filled in and given to vent_read_send(); NULL: no memory. `ids` are copied. */
struct vent_read *vent_read_new(struct vent *v, enum read_kind kind, enum journal_read_type type,
                                const dtq_id *ids, uint32_t ids_n);
void vent_read_send(struct vent *v, struct vent_read *r);
void vent_read_free(struct vent *v, struct vent_read *r);
struct journal_key vent_task_key(const struct vent *v, const struct task *t);
struct journal_counters vent_task_counters(const struct vent *v, const struct task *t);

/* ---------------------------------------------------------------- vent_cancel.c */

void vent_on_cancel(struct vent *v, uint32_t route, const struct dtqi_msg *msg);
/* It has that flag from now on: TASK_CANCEL, or TASK_MARKED. */
void vent_cancel_flag(struct vent *v, struct task *t, uint16_t flag);
/* It changes its state: its queue counts those that are cancelled and have no mark yet. */
void vent_unmarked(struct vent *v, const struct task *t, enum task_state from, enum task_state to);
void vent_cancel_looked_up(struct vent *v, struct vent_read *r);
/* The cancel mark of the task is committed. */
void vent_cancel_marked(struct vent *v, struct task *t);
void vent_cancel_answer(struct vent *v, struct wait *w);
/* The task is settled before its mark was: whoever waits for the mark is told. */
void vent_cancel_end(struct vent *v, struct task *t);
bool vent_cancel_task(struct vent *v, struct task *t);
/* What waits of the queue is cancelled, wherever it is (R44). @return so many tasks. */
uint64_t vent_purge(struct vent *v, struct queue *q);
void vent_purges_tick(struct vent *v);
void vent_purge_read(struct vent *v, struct vent_read *r);

/* ---------------------------------------------------------------- vent_operate.c */

void vent_on_operate(struct vent *v, uint32_t route, const struct dtqi_operate *m);
void vent_operate_answer(struct vent *v, const struct wait *w);
/* The answer, with this count, waits in `asks` for the commit; without memory to wait with, there
 * is none. */
void vent_operate_answer_later(struct vent *v, uint32_t route, const struct dtqi_operate *m,
                               uint32_t *asks, uint64_t count);
void vent_operate_refuse(struct vent *v, uint32_t route, const struct dtqi_operate *m,
                         enum dtqi_refusal reason, const char *text);

/* ---------------------------------------------------------------- vent_note.c */

void vent_note(struct vent *v, struct task *t, const struct dtqi_failure *f,
               const struct worker *w);
/* The note as the journal keeps it, in `buf`; empty: no memory. */
struct dtqi_slice vent_note_encode(const struct note *note, struct dtqi_buf *buf);
/* Notes that the journal has not been given, as a history has them; empty: none, or no memory. */
struct dtqi_slice vent_notes_encode(const struct past *p, struct dtqi_buf *buf);
/* Something of its attempts is worth telling after its end, and only memory has it. */
bool vent_has_new_notes(const struct vent *v, const struct task *t);
void vent_notes_tick(struct vent *v);
/* Attempts for an answer, in scratch: those of a history of the journal, then what memory (p, may
 * be NULL) knows besides. */
void vent_notes_fill(struct vent *v, struct dtqi_slice history, const struct past *p,
                     struct dtqi_task_info *info);

/* ---------------------------------------------------------------- vent_key.c */

dtq_err vent_keys_init(struct vent *v, const struct journal_start *start);
/* The task that has this key and is not in the journal yet; NULL: none. */
struct task *vent_key_find(const struct vent *v, struct dtqi_str key);
/* The task is the one of its key from now on. false: no memory. */
bool vent_key_add(struct vent *v, struct task *t);
void vent_key_remove(struct vent *v, struct task *t);
bool vent_key_is_same(const struct vent *v, const struct task *t, const dtqi_uid *digest);
dtqi_uid vent_digest(struct dtqi_slice spec, struct dtqi_slice body);
void vent_key_op(const struct vent *v, const struct task *t, struct journal_op *op);
/* Ask the journal about the keys of tasks of a claim; their ids are in `ids`. false: no memory. */
bool vent_keys_ask(struct vent *v, uint32_t claim, const dtq_id *ids, uint32_t n);
void vent_keys_tick(struct vent *v);

/* ---------------------------------------------------------------- vent_dead.c */

/* DEAD_REQUEUE, DEAD_PURGE. */
void vent_on_dead_operation(struct vent *v, uint32_t route, const struct dtqi_operate *m);
void vent_dead_job_read(struct vent *v, struct vent_read *r);
void vent_dead_sweep_read(struct vent *v, struct vent_read *r);
/* The tasks that were made of dead letters are durable. */
void vent_dead_answer(struct vent *v);
void vent_dead_tick(struct vent *v);
/* It is too old to be told of, though the journal has it still. */
bool vent_dead_is_aged(const struct vent *v, const struct journal_task *jt);
void vent_dead_done(struct vent *v);

/* ---------------------------------------------------------------- vent_dying.c */

/* It is proposed as failed; the sink says that it failed; its record leaves memory. */
void vent_dying_proposed(struct vent *v, struct task *t);
void vent_dying_settled(struct vent *v, struct task *t);
void vent_dying_end(struct vent *v, struct task *t);
/* As vent_read_send(), when what is dying now is among the dead letters. */
void vent_dying_read_send(struct vent *v, struct vent_read *r);
void vent_dying_tick(struct vent *v);
/* ---------------------------------------------------------------- vent_cron.c */

dtq_err vent_crons_init(struct vent *v, const struct journal_start *start);
void vent_crons_done(struct vent *v);
void vent_crons_tick(struct vent *v);
/* NULL: none of that name. */
struct cron_entry *vent_cron_find(const struct vent *v, struct dtqi_str name);
/* Of the first name behind this one, in `crons`. */
uint32_t vent_cron_behind(const struct vent *v, struct dtqi_str name);
/* Made where missing; NULL: no memory. */
struct cron_entry *vent_cron_get(struct vent *v, struct dtqi_str name);
/* With copies of everything; NULL: no memory. Its expression is read: a flaw is in the def. */
struct cron_def *vent_cron_def_new(struct vent *v, const struct journal_cron *record);
void vent_cron_def_free(struct vent *v, struct cron_def *def);
/* It becomes this with the next commit. */
void vent_cron_becomes(struct vent *v, struct cron_entry *e, struct cron_def *def);
void vent_cron_remove(struct vent *v, struct cron_entry *e);
void vent_cron_pause(struct vent *v, struct cron_entry *e, bool paused);
/* Make a run of it now, under the id that is in `same` of the wait. `wait` is held for it; or it
 * gets why not. */
void vent_cron_run(struct vent *v, struct cron_entry *e, uint32_t wait);
uint64_t vent_cron_bytes_of(const struct cron_def *def);
/* A journal batch is being built: what changed, ahead of the tasks; and a run, with its task. */
void vent_crons_gather(struct vent *v);
void vent_cron_fire_op(struct vent *v, const struct task *t, struct journal_op *op);
struct journal_op *vent_lone_op(struct vent *v, enum journal_op_type type);
/* The task is durable; or it is gone without having been. */
void vent_cron_fired(struct vent *v, struct task *t);
void vent_cron_not_fired(struct vent *v, struct task *t);
void vent_crons_answered(struct vent *v, dtq_err err);
void vent_cron_looked_up(struct vent *v, struct vent_read *r);
void vent_crons_check(const struct vent *v);

/* ---------------------------------------------------------------- vent_cron_operate.c */

void vent_on_cron_operation(struct vent *v, uint32_t route, const struct dtqi_operate *m);
void vent_on_cron_query(struct vent *v, uint32_t route, const struct dtqi_query *m);

/* ---------------------------------------------------------------- vent_move.c */

void vent_moves_init(struct vent *v);
void vent_moves_done(struct vent *v);
/* QUEUE_MOVE. */
void vent_on_move(struct vent *v, uint32_t route, const struct dtqi_operate *m);
void vent_move_read(struct vent *v, struct vent_read *r);
void vent_moves_tick(struct vent *v);
/* The task had this spec before it was moved. */
bool vent_is_moved(struct vent *v, const struct task *t, uint32_t spec);

/* ---------------------------------------------------------------- vent_query.c */

void vent_on_query(struct vent *v, uint32_t route, const struct dtqi_query *m);
void vent_query_read(struct vent *v, struct vent_read *r);
/* What the task is doing, as people are told. */
dtq_state vent_public_state(const struct vent *v, const struct task *t);

/* ---------------------------------------------------------------- vent_explain.c */

/* Why it does not run, for people; "": it does. Valid as scratch is. */
const char *vent_why(struct vent *v, const struct task *t);
/* The same for one that only the journal has, ready, in the queue of this number. */
const char *vent_why_journaled(struct vent *v, uint32_t number);
/* How many tasks come first. Takes its time: for people who ask. */
void vent_explain(const struct vent *v, const struct task *t, struct dtqi_task_info *info);
void vent_explain_journaled(const struct vent *v, uint32_t number, struct dtqi_task_info *info);

#endif
