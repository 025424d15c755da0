/*
 * What the files of the result store share: its records and its state. results.c opens it and
 * applies batches, results_sweep.c removes what has expired, results_read.c answers reads. Nothing
 * outside of these files includes this header.
 */
#ifndef DTQ_RESULTS_PARTS_H
#define DTQ_RESULTS_PARTS_H

#include "results.h"
#include "store.h"

/*
 * Tables. Numbers in keys are big-endian, so that keys sort as numbers; values are in the machine's
 * byte order, as the file of the store itself is.
 *
 * outcomes     id -> head of a record, its names, its body if that is small
 * bodies       id -> body, if it is large: a sweep or a list then reads past it
 * stream       ventilator number, first settlement number -> struct chunk, ids, tickets, kinds
 * ventilators  store of a ventilator -> struct ventilator_record
 * runs         ventilator number, start -> struct run_record
 */
enum results_table { OUTCOMES, BODIES, STREAM, VENTILATORS, RUNS, CLOCK, TABLES };

enum record_flag {
    RECORD_BODY_APART = 1, /* in table `bodies` */
    RECORD_CUT = 2,        /* a tombstone: its time to live is over, its body is gone */
};

#define RECORD_HEAD_BYTES_MAX 80u

struct record {
    uint8_t flags;
    uint8_t state;
    uint8_t reason;
    uint32_t attempt;
    int32_t code;
    uint64_t epoch;
    uint64_t started_wall_ms;
    uint64_t duration_us;
    uint64_t committed_wall_ms;
    uint64_t ttl_ms;
    struct dtqi_str worker; /* the three next to each other */
    struct dtqi_str name;
    struct dtqi_str queue;
    struct dtqi_slice tail; /* behind them: the body, if it is in the record */
};

enum chunk_flag {
    CHUNK_TICKETS = 1, /* else all are 0 */
    CHUNK_KINDS = 2,   /* else all are DTQ_SUCCEEDED */
};

struct chunk {
    uint32_t n;
    uint32_t flags;
};

struct ventilator_record {
    uint64_t number; /* of the ventilator, in keys */
    uint64_t next;   /* settlement number */
    uint64_t starts; /* of the sink, since it knows this ventilator */
    uint64_t acked;
};

struct run_record {
    dtqi_uid run;
    uint64_t first; /* the number that was next when it began */
};

struct ventilator {
    dtqi_uid uid;
    struct ventilator_record now;
    struct ventilator_record before; /* the transaction, which may be dropped */
    bool is_changed;
    bool is_new;
};

/* A walk over all outcomes, in steps, which removes what has expired. Ids are in order of time, and
 * nothing ends earlier than `life_ms` after the time in its id: a pass may stop at the first id
 * that is too young. One pass an hour goes to the end, to learn anew what the shortest life is. */
struct sweep {
    bool is_under_way;
    bool is_full;
    dtq_id at;             /* the next id to look at */
    uint64_t life_ms;      /* shortest life of what was there when the pass began; 0: not known */
    uint64_t new_life_ms;  /* .. of what was committed since */
    uint64_t left_life_ms; /* .. of what the pass has left standing */
    uint64_t left_due_ms;  /* the first end among these */
    uint64_t due_wall_ms;  /* nothing ends before */
    uint64_t full_wall_ms; /* end of the last full pass */
};

struct results {
    struct store *store;
    struct results_cfg cfg;
    dtqi_uid run;
    struct ventilator *ventilators;
    uint32_t ventilators_n;
    struct sweep sweep;
    struct sweep sweep_before;
    struct steady_mark mark; /* as committed */
    bool is_empty;           /* there was no outcome at the start */
    dtq_id *ids;             /* scratch: entries of one stream chunk */
    uint32_t *tickets;
    uint8_t *kinds;
    uint32_t scratch_size;
};

static inline uint64_t add_sat(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline void put_be64(uint8_t *at, uint64_t number)
{
    for (int i = 7; i >= 0; i--, number >>= 8)
        at[i] = (uint8_t)number;
}

static inline uint64_t get_be64(const uint8_t *at)
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | at[i];
    return number;
}

static inline struct dtqi_slice slice(const void *at, size_t bytes)
{
    return (struct dtqi_slice){at, (uint32_t)bytes};
}

static inline struct dtqi_slice id_key(const dtq_id *id)
{
    return slice(id->bytes, sizeof id->bytes);
}

/* Keys of `stream` and `runs`: a ventilator's number, then a number of its own. */
struct pair_key {
    uint8_t bytes[16];
};

static inline struct pair_key pair_key(uint64_t a, uint64_t b)
{
    struct pair_key key;

    put_be64(key.bytes, a);
    put_be64(key.bytes + 8, b);
    return key;
}

/* The part of a value before the names. @return its bytes. */
size_t record_write_head(const struct record *rec, unsigned char ret[RECORD_HEAD_BYTES_MAX]);
/* What it says points into `value`. @return false: it is not well formed. */
bool record_parse(struct dtqi_slice value, struct record *ret);

/* NULL: not known yet. */
const struct ventilator *results_find_ventilator(const struct results *r, const dtqi_uid *uid);
/* A sentence for an error of the store. */
void results_explain(const struct results *r, dtq_err err, char *why, size_t why_bytes);
/* From the time in an id to `due_wall_ms`; 0 if that is not known to be later. */
uint64_t results_life_of(const dtq_id *id, uint64_t due_wall_ms);
/* The state of an outcome that is there: DTQ_NOTFOUND, DTQ_ECORRUPT. */
dtq_err results_get_state(struct store_tx *tx, const dtq_id *id, uint8_t *ret_state);
/* Does `key` name a chunk of ventilator `number`? */
bool results_chunk_of(struct dtqi_slice key, struct dtqi_slice value, uint64_t number,
                      uint64_t *ret_first, struct chunk *ret_chunk);
/* Look at up to batch->sweep_max records, and remove what has expired (R31). */
dtq_err results_sweep(struct results *r, struct store_tx *tx, struct results_batch *batch);

#endif
