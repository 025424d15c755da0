/*
 * The result store: one final outcome per task, for ever (R25), and the settlement streams that
 * ventilators resume from (R26, R28), over `store`. The first proposal of an id that reaches a
 * commit is the outcome; a later one is answered with what stands.
 *
 * An outcome can be read until its time to live is over, and stands as a tombstone until at least
 * `outcome_memory_ms` after its commit (R31). Everything here runs in the commit thread, writes and
 * reads in one order. The structs of requests and answers are plain data that cross threads by
 * pointer: the core makes one, the thread works on it, the core frees it. Wall times are those of
 * the steady clock (steady.h), whose mark is kept in here, too: no jump of the host's clock makes
 * an outcome end early.
 */
#ifndef DTQ_RESULTS_H
#define DTQ_RESULTS_H

#include "bounds.h"
#include "buf.h"
#include "msg.h"
#include "steady.h"

#include <stdbool.h>

struct results;
struct store;
struct store_cfg;

#define RESULTS_VENTILATORS_MAX 1024 /* stores of ventilators that have a stream */
#define RESULTS_RUNS_MAX 1024 /* starts remembered per stream; then the oldest is forgotten */

struct results_cfg {
    uint64_t ttl_ms;            /* of outcomes whose task names none */
    uint64_t outcome_memory_ms; /* R31 */
};

/* One OUTCOMES message of a batch. */
struct results_proposals {
    struct dtqi_outcomes outcomes; /* its memory is the maker's, until the answer came */
    const uint8_t *skip;           /* NULL, or 1 for each entry that must not be committed */

    /* Answer, one for each entry, in memory of the maker: 0: it is the outcome now. Else the
     * dtq_state that stood before. Skipped entries: 0 too. */
    uint8_t *stands;
    bool refused; /* answer: no room for a stream of this ventilator; nothing of it was committed */
};

/* What a ventilator has applied and made durable: its stream may be dropped up to here (R28). */
struct results_ack {
    dtqi_uid ventilator;
    uint64_t number;
};

/* Answer: the outcomes of one ventilator in this batch got the numbers first .. first + n - 1, in
 * the order of the batch. */
struct results_range {
    dtqi_uid ventilator;
    uint64_t first;
    uint32_t n;
};

/* One transaction. */
struct results_batch {
    uint64_t number;  /* of the batch; echoed */
    uint64_t wall_ms; /* the commit's time */
    struct results_proposals *proposals;
    uint32_t proposals_n;
    struct results_ack *acks;
    uint32_t acks_n;
    uint32_t sweep_max;      /* look at so many records for what has expired; 0: none */
    struct steady_mark mark; /* the shell's; written now and then. All 0: none */

    /* answer */
    dtq_err err; /* DTQ_OK: everything is durable. DTQ_ENOSPC, DTQ_ENOMEM: nothing of it is, the
                    same batch may be tried again. DTQ_EIO, DTQ_ECORRUPT: the store is lost */
    struct results_range *ranges; /* room for proposals_n, memory of the maker; at most one for each
                                     ventilator */
    uint32_t ranges_n;
    uint32_t won;
    uint32_t second;
    uint32_t replaced;          /* of those won: the outcome that stood before does not read back */
    uint32_t swept;             /* records removed or cut to a tombstone */
    bool sweep_more;            /* the pass has not ended: go on with the next batch */
    uint64_t sweep_due_wall_ms; /* nothing expires before; UINT64_MAX: nothing is there */
    uint64_t held;              /* outcomes and tombstones in the store */
    uint64_t space_used;
    uint64_t space_max;
    char why[200]; /* of an error, for people */
};

enum results_read_type {
    RESULTS_LOOKUP, /* `ids` in order: the outcome of each that can be read */
    RESULTS_CLAIM,  /* `ids`: kinds[], tombstones count (R6), what does not read back does not */
    RESULTS_PAGE,   /* outcomes in id order, as `query` says */
    RESULTS_RESUME, /* is (run, after) of `ventilator` in the history (R34)? */
    RESULTS_STREAM, /* the entries of `ventilator` behind `after`, at most `limit` */
};

struct results_outcome {
    dtq_id id;
    dtq_state state; /* LOOKUP: DTQ_NOT_FOUND when its time to live is over */
    dtq_reason reason;
    int32_t code;
    uint32_t attempt;
    uint64_t epoch;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    uint64_t committed_wall_ms;
    struct dtqi_str worker;
    struct dtqi_str name;
    struct dtqi_str queue;
    struct dtqi_slice body; /* of a failure, its text */
};

struct results_read {
    enum results_read_type type;
    uint64_t number; /* echoed */
    uint64_t wall_ms;
    const dtq_id *ids; /* the maker's */
    uint32_t ids_n;
    uint32_t bytes_max;              /* LOOKUP, PAGE: stop behind so many bytes of bodies */
    struct dtqi_results_query query; /* PAGE; its strings are the maker's */
    dtqi_uid ventilator;
    dtqi_uid run;
    uint64_t after;
    uint32_t limit; /* STREAM */

    /* answer; everything in `buf`, which belongs to the core then */
    dtq_err err; /* DTQ_OK, DTQ_ECORRUPT, DTQ_ENOMEM, DTQ_EIO */
    struct dtqi_buf *buf;
    struct results_outcome *outcomes;
    uint32_t outcomes_n;
    uint32_t *index;    /* LOOKUP: outcomes[i] is of ids[index[i]] */
    uint32_t done;      /* LOOKUP: ids looked up; fewer than ids_n when bytes_max was reached */
    uint32_t *kinds;    /* CLAIM: dtq_state of each id, or DTQ_NOT_FOUND. STREAM: of each entry */
    bool has_next;      /* PAGE: there may be more behind .. */
    dtq_id next;        /* .. this id */
    uint64_t held;      /* PAGE: outcomes and tombstones in the store */
    bool diverged;      /* RESUME */
    uint64_t head;      /* RESUME, STREAM: the newest number committed; 0: none */
    uint64_t dropped;   /* RESUME, STREAM: numbers up to this one are dropped */
    uint64_t first;     /* STREAM: number of the first entry; 0: none */
    uint32_t entries_n; /* STREAM */
    dtq_id *entry_ids;  /* STREAM */
    uint32_t *tickets;  /* STREAM */
    uint32_t damaged;   /* records left out because they do not read back */
    char why[200];      /* of an error, or of the last damaged record, for people */
};

/* What store_open() needs to know: kind and tables. `dir`, bound and durability are the caller's.
 */
void results_store_cfg(struct store_cfg *cfg);

/*
 * Open the result store in `store`, and commit that `run` (16 random bytes of this start) begins
 * (R34). `store` stays the caller's and must outlive it.
 * @return DTQ_OK, or as store_commit(); `why` then gets a sentence.
 */
DTQ_MUST_USE dtq_err results_open(struct store *store, const struct results_cfg *cfg,
                                  const dtqi_uid *run, struct results **ret_results, char *why,
                                  size_t why_bytes);
/* The steady clock of this start. */
void results_start_clock(const struct results *r, const struct host_time *now,
                         struct steady *ret_clock);
void results_close(struct results *r); /* takes NULL; does not close the store */

/* Apply one batch in one transaction, and commit it; the result is in batch->err. */
void results_apply(struct results *r, struct results_batch *batch);
/* Answer one read; the result is in read->err. */
void results_read(struct results *r, struct results_read *read);

#endif
