/*
 * The journal: what a ventilator must not forget, over `store`. The journal is the queue; the core
 * holds a window of it.
 *
 * Order of a queue is (rank, seq), rank = 9 - priority, seq given at admission. Tasks that wait for
 * their time have an order of their own, (due, seq). An index leads from an id to its key. Counters
 * (attempts, failures, crashes) are in a table of their own, so that a retry does not write the
 * payload again.
 *
 * Wall times in here are those of the steady clock (steady.h), whose mark is kept in here, too. A
 * due time that is to follow the wall clock of the host has JOURNAL_DUE_BY_WALL added, and so comes
 * behind all others in the order of due times.
 *
 * Everything here runs in the journal thread, writes and reads in one order (R22). The structs of
 * requests and answers are plain data that cross threads by pointer: the core makes a batch, the
 * thread works on it, the core frees it.
 */
#ifndef DTQ_JOURNAL_H
#define DTQ_JOURNAL_H

#include "bounds.h"
#include "buf.h"
#include "msg.h"
#include "steady.h"
#include "store.h"

struct journal;

/* What to give store_open() or store_open_memory(). */
#define JOURNAL_KIND "journal"
#define JOURNAL_TABLES_N 16
extern const char *const journal_tables[JOURNAL_TABLES_N];

#define JOURNAL_HISTORY_MAX 16           /* entries kept of a task, the newest ones .. */
#define JOURNAL_HISTORY_BYTES_MAX 16384u /* .. and their bytes */
#define JOURNAL_DEAD_MAX 100000u         /* dead letters kept; then the oldest id goes */
#define JOURNAL_KEYS_FORGOTTEN_MAX 4096u /* by one JOURNAL_KEYS_FORGET */
#define JOURNAL_PAST_MAX 100000u         /* histories kept; then the first to go goes */
#define JOURNAL_PAST_FORGOTTEN_MAX 4096u /* by one JOURNAL_PAST_FORGET */
#define JOURNAL_SCAN_MAX 65536u          /* ids that one SCAN looks at */
#define JOURNAL_READ_BYTES_MAX (256ull * 1024 * 1024) /* of one answer; beyond: DTQ_ENOMEM */

#define JOURNAL_DUE_BY_WALL (DTQI_WALL_MS_MAX + 1)

struct journal_key {
    bool delayed;
    uint8_t rank;
    uint32_t queue;       /* number of the queue in the journal */
    uint64_t due_wall_ms; /* delayed only */
    uint64_t seq;
};

struct journal_attempt {
    uint64_t epoch;
    uint32_t n;
};

struct journal_counters {
    struct journal_attempt last;    /* highest ever given or adopted (R2) */
    struct journal_attempt counted; /* the last whose end was counted (R2) */
    uint32_t failures;
    uint16_t crashes;
    uint8_t proposed; /* dtq_state of the outcome that the ventilator proposes (R24); 0: none */
    uint8_t cancel;   /* 1: cancel mark (R36) */
    uint8_t suspect;  /* 1: was prefetched on a worker that died (R21) */
    uint8_t reason;   /* dtq_reason of the last failure */
    int32_t code;
    uint64_t due_wall_ms;  /* in backoff until then; 0: no */
    uint64_t made_wall_ms; /* when the producer made the task, if the time in its id is by another
                              clock; 0: it is not */
};

struct journal_task {
    dtq_id id;
    struct journal_key key;
    dtqi_uid sink;
    uint64_t reply_to;
    struct journal_counters counters; /* zero for a new task; as stored, for a loaded one */
    struct dtqi_slice spec;
    struct dtqi_slice body;

    /* Answers only. */
    struct dtqi_slice history; /* LOOKUP, PREFIX, SCAN with `bodies`, DEAD_*: what
                                  JOURNAL_ATTEMPT_LOG appended; see journal_history_next() */
    uint64_t dead_wall_ms;     /* DEAD_*: the op's at_wall_ms .. */
    struct dtqi_slice text;    /* .. and text */
};

#define JOURNAL_CRON_HAND_MAX 8u

/* What changes about a cron entry with each run. */
struct journal_cron_state {
    dtqi_uid uid; /* of the entry: another one may have had its name */
    bool paused;
    uint64_t cursor_wall_ms; /* times up to this one have been seen to */
    uint64_t anchor_wall_ms; /* an interval counts from here */
    uint64_t due_wall_ms;    /* the last run: when it was due; 0: there was none .. */
    uint64_t fired_wall_ms;  /* .. and when its task was made */
    dtq_id last_id;
    uint64_t fired;
    uint64_t missed;
    uint64_t skipped;
    dtq_id hand_ids[JOURNAL_CRON_HAND_MAX]; /* the last runs by hand, latest first */
    uint32_t hand_n;
};

struct journal_cron {
    dtqi_uid uid;
    struct dtqi_str name;
    struct dtqi_str expression; /* empty: every_ms */
    struct dtqi_str zone;
    uint64_t every_ms;
    uint8_t missed; /* enum dtqi_missed_runs */
    uint32_t missed_max;
    bool skip_overlap;
    uint64_t delay_ms;
    uint64_t created_wall_ms;
    struct dtqi_slice spec;
    struct dtqi_slice body;
    struct journal_cron_state state;
};

/*
 * What an operation finds depends on the operations before it in the same batch. One for a task
 * that is not there (deleted since the core asked) does nothing: the core need not know. A key that
 * the core gives is a hint only; what counts is where the index says the task is.
 */
enum journal_op_type {
    JOURNAL_PUT,      /* task; an id that is there already is left alone and named in the answer.
                         Counters are written if they are not all zero */
    JOURNAL_DEL,      /* task.id, with counters and history. With at_wall_ms the history is kept
                         until then, and behind it what `text` has, in its form; the task need not
                         be there. In the answer task.key says where it was (queue 0:
                         nowhere) and `bytes` its spec and payload */
    JOURNAL_COUNTERS, /* task.id gets task.counters */
    JOURNAL_MOVE,     /* task.id moves to the place `to`, payload and counters with it */
    JOURNAL_DEAD,     /* task.id leaves the queue for the dead-letter table, with task.counters (the
                         stored ones, if all are zero), history, `at_wall_ms` and `text`; answered
                         as JOURNAL_DEL */
    JOURNAL_ATTEMPT_LOG, /* append `text` (one entry, the core's own) to the bounded history of
                            task.id */
    JOURNAL_DEAD_DEL,    /* the dead letter task.id is forgotten; its history is kept as by
                            JOURNAL_DEL */
    JOURNAL_KEY,         /* the idempotency key `text` stands for task.id, whose content has
                            `digest`, until at_wall_ms; whatever it stood for before */
    JOURNAL_KEYS_FORGET, /* keys whose time was over at at_wall_ms, the oldest first, so many at
                            most; the answer says how many keys there are */
    JOURNAL_PAST_FORGET, /* the same for histories of tasks that are no more */
    JOURNAL_TRANSFER,   /* task.id gets task.spec, and goes to the queue to.queue: to the same place
                           in its order, with all else that it has */
    JOURNAL_CRON_PUT,   /* `cron`, instead of what had its name */
    JOURNAL_CRON_STATE, /* the entry of the name and uid of `cron` gets its state */
    JOURNAL_CRON_DEL,   /* the entry of the name of `cron` is forgotten */
};

struct journal_op {
    enum journal_op_type type;
    bool has_key;
    struct journal_task task;
    struct journal_key to;
    uint64_t at_wall_ms;
    struct dtqi_slice text;
    dtqi_uid digest;
    const struct journal_cron *cron; /* CRON_* */
    uint32_t bytes;                  /* answer */
};

/* What an idempotency key stands for. */
struct journal_key_record {
    bool found;
    dtq_id id;
    dtqi_uid digest;
    uint64_t until_wall_ms;
};

/* The applied settlements of one sink: written with the deletes they caused, in one commit (R28).
 */
struct journal_applied {
    dtqi_uid sink;
    dtqi_uid run;
    uint64_t number;
};

/* What operators said of a queue. */
struct journal_queue_settings {
    bool paused;
    uint64_t limit; /* of tasks that workers hold; 0: none */
    uint64_t rate;  /* of tasks that are dispatched in rate_period_ms; 0: none */
    uint64_t rate_period_ms;
    uint64_t rate_next_wall_ms; /* not before this; 0: not known */
    uint64_t purge_seq; /* what was admitted before this one, and waits, is cancelled; 0: no */

    /* The same of each of its groups. */
    uint64_t group_limit;
    uint64_t group_rate;
    uint64_t group_rate_period_ms;

    uint64_t ageing_ms; /* waiting that counts as one priority (R51); 0: none does */

    uint64_t cancel_seq; /* what was admitted before this one is cancelled, also what a worker
                            holds; 0: no. Not without a purge_seq, nor behind it */
};

/* A queue, or one group of a queue: its tasks have an order of their own. */
struct journal_queue {
    uint32_t number; /* from 1. That of a queue is never used again for another name; that of a
                        group is, once the group is gone */
    uint32_t parent; /* number of the queue that it is a group of; 0: it is a queue */
    bool ordered;    /* of a group */
    bool gone; /* write: forget the group, if it has no tasks; in the answer: it is forgotten */
    struct journal_queue_settings settings;
    char name[DTQI_NAME_BYTES_MAX + 1]; /* of a group: its key */
    uint64_t ready;                     /* records in queue order */
    uint64_t delayed;                   /* records in due order */
    uint64_t bytes;                     /* of specs and payloads of both */
};

struct journal_worker { /* roster: who may hold tasks (R33) */
    dtqi_uid instance;
    bool gone; /* write: remove it */
};

struct journal_sink { /* roster (R38) */
    dtqi_uid store;
    char intake[256];
    char results[256];
    bool removed;       /* it is no more: what tasks name it is meant for .. */
    dtqi_uid successor; /* .. this one; zeros: for the next one that registers */
};

/*
 * One transaction. All arrays belong to the core that made it; slices stay valid until the answer
 * came. A queue must be named in `queues` of this batch or an earlier one before a key uses its
 * number.
 *
 * DTQ_ENOSPC: nothing was done. Without its PUTs the same batch still fits in the space that the
 * store keeps back for it, so deletes go on when the disk is full.
 */
struct journal_batch {
    uint64_t number; /* of the batch; echoed */
    struct journal_op *ops;
    uint32_t ops_n;
    struct journal_applied *applied;
    uint32_t applied_n;
    struct journal_queue
        *queues; /* new or changed, a queue before its groups; counts are not read */
    uint32_t queues_n;
    struct journal_worker *workers;
    uint32_t workers_n;
    struct journal_sink *sinks;
    uint32_t sinks_n;
    struct steady_mark mark; /* the shell's; written now and then. All 0: none */

    /* answer */
    dtq_err
        err; /* DTQ_OK: everything is durable; else nothing of it is (DTQ_ENOSPC, DTQ_EIO, ..) */
    uint32_t *present; /* indexes of JOURNAL_PUT ops whose id was there already; room for ops_n */
    uint32_t present_n;
    uint64_t space_used;
    uint64_t space_max;
    uint64_t keys_n; /* idempotency keys that are kept */
    uint64_t past_n; /* histories of tasks that are no more */
};

enum journal_read_type {
    JOURNAL_LOAD,   /* the next `limit` tasks of `queue` in order, behind `after` */
    JOURNAL_DUE,    /* the next `limit` delayed tasks in order of time, behind `after` */
    JOURNAL_LOOKUP, /* `ids`: the task of each */
    JOURNAL_PREFIX, /* tasks whose id begins with `prefix_bits` bits of ids[0], behind ids[1] if
                       ids_n is 2, at most `limit` */
    JOURNAL_SCAN, /* any queue, in id order behind ids[0] if ids_n is 1, at most `limit`; `queue` 0:
                     all; else that one and its groups */
    JOURNAL_DEAD_LIST,   /* dead letters in id order behind ids[0], at most `limit`; with
                            `prefix_bits`   those whose id begins with so many bits of ids[0], behind
                            ids[1] */
    JOURNAL_DEAD_LOOKUP, /* `ids`: the dead letter of each */
    JOURNAL_KEYS,        /* `keys`: what each stands for */
    JOURNAL_ATTEMPTS,    /* `ids`: id and history of each that has one, open, dead or no more */
};

struct journal_read {
    enum journal_read_type type;
    uint64_t number; /* echoed */
    uint32_t queue;
    bool has_after;
    struct journal_key after;
    uint32_t limit;
    uint32_t bytes_max; /* LOAD, DUE, DEAD_LIST, DEAD_LOOKUP: stop when so many bytes of spec and
                           payload are reached; at least one task; 0: no bound */
    dtq_id *ids;
    uint32_t ids_n;
    uint32_t prefix_bits;
    const struct dtqi_str *keys;
    uint32_t keys_n;
    bool bodies; /* LOOKUP, PREFIX, SCAN, DEAD_*: with specs and payloads; LOAD and DUE always
                    have them */

    /* answer; everything in `buf`, which belongs to the core then */
    dtq_err err; /* DTQ_OK, DTQ_ECORRUPT, DTQ_ENOMEM, DTQ_EIO */
    struct dtqi_buf *buf;
    struct journal_task *tasks;
    uint32_t *index; /* LOOKUP, DEAD_LOOKUP, ATTEMPTS: tasks[i] is the task of ids[index[i]]; ids
                        without a task are not there */
    uint32_t tasks_n;
    struct journal_key_record *key_records; /* KEYS: keys_n of them */
    bool end;    /* all but LOOKUP: there is nothing behind the last one */
    dtq_id last; /* PREFIX, SCAN, DEAD_*: the last id that was looked at; go on behind it, unless
                    `end`. A SCAN of one queue looks at JOURNAL_SCAN_MAX ids a read, so an answer
                    may have no task and still no end */
};

/* What the core needs to start (R33). */
struct journal_start {
    dtqi_uid store;
    uint64_t epoch; /* this start's: counter committed before the call returned, random low half */
    uint64_t seq_next;
    uint64_t keys_n; /* idempotency keys that are kept */
    uint64_t past_n; /* histories of tasks that are no more */
    uint64_t dead_n; /* dead letters that are kept */
    struct steady_mark mark;
    struct journal_queue *queues;
    uint32_t queues_n;
    struct journal_applied *applied;
    uint32_t applied_n;
    struct journal_worker *workers;
    uint32_t workers_n;
    struct journal_sink *sinks;
    uint32_t sinks_n;
    struct journal_cron *crons; /* in order of names; what they point to is in cron_buf */
    uint32_t crons_n;
    struct dtqi_buf *cron_buf;
};

/*
 * Read what the core needs to start, give this start an epoch and commit it: when the call returns,
 * the epoch is durable and larger than all before it. `random32` makes the low half of the epoch
 * (R, Names). `store` was opened with JOURNAL_KIND and journal_tables and stays the caller's; it
 * must outlive the journal. `why` gets a sentence on errors: DTQ_ECORRUPT (damaged, or written by a
 * newer dtq), DTQ_ENOSPC, DTQ_EIO, DTQ_ENOMEM. On DTQ_OK journal_close() and journal_start_done()
 * are due. Reads no tasks: it takes as long with ten as with a hundred million.
 */
DTQ_MUST_USE dtq_err journal_open(struct store *store, uint32_t random32,
                                  struct journal **ret_journal, struct journal_start *ret_start,
                                  char *why, size_t why_bytes);
/* The steady clock of this start, which is on the disk when the call returns: like the epoch it is
 * not to be forgotten once somebody has heard of it. With a full disk it is written later. */
DTQ_MUST_USE dtq_err journal_start_clock(struct journal *j, const struct journal_start *start,
                                         const struct host_time *now, struct steady *ret_clock);
void journal_start_done(struct journal_start *start);
void journal_close(struct journal *j); /* takes NULL; does not close the store */

/* Apply one batch in one transaction, and commit it; the result is in batch->err. After DTQ_EIO
 * every further batch gets DTQ_EIO too. */
void journal_apply(struct journal *j, struct journal_batch *batch);
/* Answer one read; the result is in read->err. Waits for the disk at most. */
void journal_read(struct journal *j, struct journal_read *read);
/* The last error in words, for the thread that got it. */
const char *journal_errmsg(const struct journal *j);

/* Step through a history, oldest entry first. false: no more (or damage behind what was given). */
static inline bool journal_history_next(struct dtqi_slice *rest, struct dtqi_slice *ret_entry)
{
    const unsigned char *at = rest->at;
    uint32_t bytes;

    if (rest->len < 4)
        return false;
    bytes = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    if (bytes > rest->len - 4)
        return false;
    *ret_entry = (struct dtqi_slice){at + 4, bytes};
    *rest = (struct dtqi_slice){at + 4 + bytes, rest->len - 4 - bytes};
    return true;
}

/* Orders keys as the journal does: <0, 0, >0. */
int journal_key_compare(const struct journal_key *a, const struct journal_key *b);

#endif
